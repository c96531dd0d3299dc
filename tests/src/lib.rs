//! What the integration tests, the benchmark and the crash and load programs share: a whole Lockstep in this process,
//! with a private Postgres and stand-ins for the remote systems.

pub mod api;
pub mod crash;
pub mod dispute;
pub mod load;
pub mod make;
pub mod process;
pub mod proxy;
pub mod schedule;
pub mod stack;
