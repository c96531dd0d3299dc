//! The integration tests: a real Postgres, real HTTP, real workers.

mod api;
mod contract;
mod doubt;
mod isolation;
mod make;
mod protocol;
mod schema;
mod sync;
mod transaction;
