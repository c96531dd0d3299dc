//! Whether this process lives, and whether it can serve.

use std::sync::Arc;
use std::time::Duration;

use poem::handler;
use poem::http::StatusCode;
use poem::web::Data;
use sqlx::{Connection, PgPool};

use crate::auth::Context;

const DATABASE_PATIENCE: Duration = Duration::from_secs(1);

/// Says that the process lives. It asks nothing of the database: a restart of this process would not mend that one.
#[handler]
pub(crate) fn live() -> &'static str {
    "live\n"
}

/// Says whether requests can be served: whether the database answers within a second.
#[handler]
pub(crate) async fn ready(context: Data<&Arc<Context>>) -> (StatusCode, &'static str) {
    match tokio::time::timeout(DATABASE_PATIENCE, ping(&context.pool)).await {
        Ok(Ok(())) => (StatusCode::OK, "ready\n"),
        Ok(Err(_)) | Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n"),
    }
}

async fn ping(pool: &PgPool) -> Result<(), sqlx::Error> {
    pool.acquire().await?.ping().await
}
