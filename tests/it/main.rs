//! The integration tests: a real Postgres, real HTTP, real workers.

mod sync;
