//! A listener for the platform's own people: whether a process lives, whether it can serve, and its metrics. It has an address of
//! its own, because nobody is asked there who they are, and what it tells is of all organisations together.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use poem::http::StatusCode;
use poem::listener::TcpAcceptor;
use poem::web::Data;
use poem::{EndpointExt, Response, Route, Server, get, handler};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use sqlx::{Connection, PgPool};

use crate::metric;
use crate::telemetry::Chain;

/// How long the database may take to answer a question about health.
const HEALTH_PATIENCE: Duration = Duration::from_secs(1);

/// How long the database may take for the metrics: less than Prometheus waits by itself (10 s).
const METRICS_PATIENCE: Duration = Duration::from_secs(5);

/// The form of the metrics.
///
/// Source: the OpenMetrics specification 1.0.0, section "Text format", content type; Prometheus asks for it.
const METRICS_FORM: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a process tells.
#[derive(Debug)]
pub struct Operations {
    pub pool: PgPool,
    /// What the process counts.
    pub registry: &'static Registry,
    pub scope: Scope,
}

/// Whose metrics a process tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Its own.
    Process,
    /// Also what stands in the database, of the whole fleet.
    Fleet,
}

/// Tells until `stop` resolves.
pub async fn serve(
    operations: Operations,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), std::io::Error> {
    listener.set_nonblocking(true)?;
    let routes = Route::new()
        .at("/livez", get(live))
        .at("/readyz", get(ready))
        .at("/metrics", get(metrics))
        .data(Arc::new(operations));
    Server::new_with_acceptor(TcpAcceptor::from_std(listener)?)
        .name("lockstep-operations")
        .run_with_graceful_shutdown(routes, stop, Some(METRICS_PATIENCE))
        .await
}

/// Says that the process lives. It asks nothing of the database: a restart of this process would not mend that one.
#[handler]
pub fn live() -> &'static str {
    "live\n"
}

/// Says whether there is anything that can be done: whether the database answers within a second.
pub async fn readiness(pool: &PgPool) -> (StatusCode, &'static str) {
    let ping = async { pool.acquire().await?.ping().await };
    match tokio::time::timeout(HEALTH_PATIENCE, ping).await {
        Ok(Ok(())) => (StatusCode::OK, "ready\n"),
        Ok(Err(_)) | Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n"),
    }
}

#[handler]
async fn ready(Data(operations): Data<&Arc<Operations>>) -> (StatusCode, &'static str) {
    readiness(&operations.pool).await
}

#[handler]
async fn metrics(Data(operations): Data<&Arc<Operations>>) -> Response {
    let mut shown = String::new();
    let encoded = match operations.scope {
        Scope::Process => text::encode_registry(&mut shown, operations.registry),
        Scope::Fleet => {
            let samples = samples(&operations.pool).await;
            text::encode_registry(&mut shown, &metric::registry(samples.as_deref()))
                .and_then(|()| text::encode_registry(&mut shown, operations.registry))
        }
    };
    if encoded.and_then(|()| text::encode_eof(&mut shown)).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into();
    }
    Response::builder().content_type(METRICS_FORM).body(shown)
}

async fn samples(pool: &PgPool) -> Option<Vec<metric::Sample>> {
    match tokio::time::timeout(METRICS_PATIENCE, metric::samples(pool)).await {
        Ok(Ok(samples)) => Some(samples),
        Ok(Err(error)) => {
            tracing::warn!(error = %Chain(&error), "the metrics lack what the database tells");
            None
        }
        Err(_) => {
            tracing::warn!("the metrics lack what the database tells, because it takes too long");
            None
        }
    }
}
