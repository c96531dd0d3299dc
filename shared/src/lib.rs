//! What the API and the workers both know: the words of the domain, the state machines, the rows and the queries that
//! own them. Nothing here speaks HTTP, knows a remote system's wire format, or reads the wall clock by itself.

pub mod connection;
pub mod decide;
pub mod entity;
pub mod id;
pub mod system;
