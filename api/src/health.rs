//! Whether this process lives, and whether it can serve: as the listener for the platform's own people tells it.

use std::sync::Arc;

use lockstep_shared::operations;
pub(crate) use lockstep_shared::operations::live;
use poem::handler;
use poem::http::StatusCode;
use poem::web::Data;

use crate::auth::Context;

#[handler]
pub(crate) async fn ready(context: Data<&Arc<Context>>) -> (StatusCode, &'static str) {
    operations::readiness(&context.pool).await
}
