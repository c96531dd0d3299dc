//! What a run on one machine needs besides the programs themselves: a private Postgres, a database in it, the API and a
//! worker in this process, and a client that asks the API as anyone would.
//!
//! The one-command local run is built of these, and so are the tests. Nothing here knows what a sync does.

pub mod cli;
mod client;
pub mod compare;
pub mod database;
mod folder;
mod logs;
pub mod postgres;
mod progress;
mod remote;
mod report;
pub mod run;
mod services;
mod stop;
