//! The integration tests: a real Postgres, real HTTP, real workers.

#![expect(
    clippy::unwrap_used,
    reason = "what fails in a test fails the test, its helpers included"
)]

mod again;
mod api;
mod carry;
mod catalogue;
mod check;
mod conflict;
mod contract;
mod control;
mod converge;
mod doubt;
mod exhausted;
mod guard;
mod guide;
mod isolation;
mod limit;
mod metric;
mod newest;
mod ordered;
mod parked;
mod protocol;
mod schedule;
mod schema;
mod shop;
mod sync;
mod transaction;
mod twin;
mod vanish;
mod webhook;
