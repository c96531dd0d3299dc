//! The workers: they claim batches, talk to the remote systems through connectors, and settle what became of it.
//!
//! Here: answering bells, the batch protocol, pull and push, the connectors. Not here: what a record is, how the rows
//! look and which moves they allow (all in `shared`), and anything that a user sees (the API's).

pub mod batch;
mod check;
mod commands;
pub mod config;
pub mod connector;
mod gate;
mod lease;
mod named;
mod plan;
pub mod point;
pub mod process;
mod pull;
mod push;
mod remote;
mod scan;
mod schedule;
mod sweep;
mod trigger;
mod vanish;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use lockstep_shared::queue::{Bell, Listener};
use lockstep_shared::telemetry::Chain;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::batch::Fleet;
use crate::config::Config;
use crate::lease::Leases;
use crate::remote::Remotes;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the worker's HTTP client can't be set up")]
    Http(#[source] connector::http::ClientError),
    #[error("the database's address is wrong")]
    Database(#[source] sqlx::Error),
    #[error("the worker stopped listening to its queue")]
    Listen(#[source] lockstep_shared::queue::ListenError),
}

/// Runs a worker until `stop` is cancelled: then it takes no new work, batches under way stop at the next item boundary
/// and are given back.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), RunError> {
    use secrecy::ExposeSecret;

    let name = format!("worker-{}", Uuid::new_v4().simple());
    let pool = lockstep_shared::db::pool(
        config.database_url.expose_secret(),
        config.database_connections,
        "lockstep-worker",
    )
    .map_err(RunError::Database)?;
    let http = connector::http::Client::new(&config.http).map_err(RunError::Http)?;
    let leases = Arc::new(Leases::new(config.lease));
    let fleet = Arc::new(Fleet {
        remotes: Remotes::new(http, config.sealing_key.clone(), config.grace),
        pool: pool.clone(),
        owner: name.clone(),
        leases: leases.clone(),
        drain: stop.clone(),
        config,
    });
    // Leases are renewed until the last batch is down, longer than bells are answered.
    let over = CancellationToken::new();
    let lease_keeper = tokio::spawn({
        let (pool, over) = (pool.clone(), over.clone());
        async move { leases.keep(&pool, over).await }
    });
    let sweeper = tokio::spawn({
        let (pool, every, stop) = (pool.clone(), fleet.config.sweep_every, stop.clone());
        async move { sweep::keep(&pool, every, stop).await }
    });
    let listener = Listener {
        pool: pool.clone(),
        name,
        command_slots: fleet.config.command_slots,
        batch_slots: fleet.config.batch_slots,
        drain: fleet.config.drain + Duration::from_secs(1),
        handler: Arc::new(move |bell| {
            let fleet = fleet.clone();
            Box::pin(async move { answer(&fleet, bell).await })
        }),
    };
    tracing::info!(worker = listener.name, "listening");
    let ended = listener.run(async move { stop.cancelled().await }).await;
    over.cancel();
    sweeper.abort();
    let _ = lease_keeper.await;
    pool.close().await;
    ended.map_err(RunError::Listen)
}

/// Answers a bell. What fails is told here, once; the rows say what is still to be done, and the sweep rings again.
async fn answer(fleet: &Fleet, bell: Bell) {
    match bell {
        Bell::Command { org_id, id } => {
            if let Err(error) = commands::answer(&fleet.pool, org_id, id).await {
                tracing::warn!(error = %Chain(&error), org.id = %org_id, command.id = %id, "a command waits for the next bell");
            }
        }
        Bell::Batch { org_id, id } => {
            if let Err(error) = batch::answer(fleet, org_id, id).await {
                tracing::warn!(error = %Chain(&error), org.id = %org_id, batch.id = %id, "a batch was put down");
            }
        }
        Bell::Check { org_id, id } => {
            if let Err(error) = check::answer(fleet, org_id, id).await {
                tracing::warn!(error = %Chain(&error), org.id = %org_id, connection.id = %id, "a check waits for the next bell");
            }
        }
        Bell::Webhook { org_id, id } => {
            if let Err(error) = webhook::answer(fleet, org_id, id).await {
                tracing::warn!(error = %Chain(&error), org.id = %org_id, connection.id = %id, "a look at webhooks waits for the next bell");
            }
        }
    }
}
