//! The integration tests: a real Postgres, real HTTP, real workers.

#![expect(
    clippy::unwrap_used,
    reason = "what fails in a test fails the test, its helpers included"
)]

mod api;
mod carry;
mod catalogue;
mod check;
mod conflict;
mod contract;
mod control;
mod converge;
mod doubt;
mod guard;
mod isolation;
mod limit;
mod newest;
mod protocol;
mod schedule;
mod schema;
mod shop;
mod sync;
mod transaction;
mod vanish;
mod webhook;
