//! A private Postgres for local runs and tests.
//!
//! Finds the programs of a Postgres with its contrib modules, keeps a cluster of its own in a folder, listens on a free
//! port of 127.0.0.1 with a random password, and goes away with the process that started it, even when that process is
//! killed. Not for production, and not a way to reach a server that somebody else runs.

mod account;
mod cluster;
mod error;
mod folder;
mod keeper;
mod locate;
mod postmaster;
#[cfg(test)]
mod tests;

pub use cluster::{Cluster, ClusterOptions, Durability, StopMode};
pub use error::PostgresError;
