//! What the API and the workers both know: the words of the domain, the state machines, the rows and the queries that
//! own them. Nothing here speaks HTTP, knows a remote system's wire format, or reads the wall clock by itself.

pub mod activity;
pub mod backoff;
pub mod batch;
pub mod bucket;
pub mod check;
pub mod command;
pub mod conflict;
pub mod connection;
pub mod cursor;
pub mod db;
pub mod decide;
pub mod deletion;
pub mod effect;
pub mod entity;
pub mod history;
pub mod id;
pub mod item;
pub mod network;
pub mod organisation;
pub mod preview;
pub mod queue;
pub mod record;
pub mod request;
pub mod rotation;
pub mod scan;
pub mod secret;
pub mod stage;
pub mod sync;
pub mod system;
pub mod telemetry;
