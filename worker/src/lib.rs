//! The workers: they claim batches, talk to the remote systems through connectors, and settle what became of it.
//!
//! Here: answering bells, the batch protocol, pull and push, the connectors. Not here: what a record is, how the rows
//! look and which moves they allow (all in `shared`), and anything that a user sees (the API's).

pub mod batch;
mod check;
mod commands;
pub mod config;
pub mod connector;
mod control;
mod gate;
mod lease;
pub mod metric;
mod named;
mod news;
mod notify;
pub mod options;
mod outage;
mod plan;
pub mod point;
pub mod process;
mod pull;
mod push;
mod remote;
mod resolution;
mod scan;
mod schedule;
mod silence;
mod slot;
mod sweep;
mod trigger;
mod vanish;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use lockstep_shared::queue::{Bell, Listener};
use lockstep_shared::telemetry::Chain;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::batch::Fleet;
use crate::config::Config;
use crate::lease::Leases;
use crate::news::News;
use crate::remote::Remotes;
use crate::slot::Slot;

/// How often a worker looks for notifications to be delivered, at least.
const NOTIFY_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the worker's HTTP client can't be set up")]
    Http(#[source] connector::http::ClientError),
    #[error("the database's address is wrong")]
    Database(#[source] sqlx::Error),
    #[error("the worker stopped listening to its queue")]
    Listen(#[source] lockstep_shared::queue::ListenError),
    #[error(
        "the database has not answered who is connected for {0:?}, and answers who connects anew; the worker has to be started again"
    )]
    Silent(Duration),
}

/// Runs a worker until `stop` is cancelled: then it takes no new work, batches under way stop at the next item boundary
/// and are given back. It is over within [`Config::drain`], whatever does not answer: what is left then is gone on with when
/// its lease has run out.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), RunError> {
    let late = after(&stop, config.drain.saturating_sub(config.closing() / 2));
    tokio::select! {
        ended = work(config, stop.clone()) => ended,
        () = late => {
            tracing::warn!("not everything stopped in time; what is left is gone on with when its lease has run out");
            Ok(())
        }
    }
}

/// Resolves so long after the worker was asked to end.
fn after(stop: &CancellationToken, length: Duration) -> impl Future<Output = ()> + use<> {
    let stop = stop.clone();
    async move {
        stop.cancelled().await;
        tokio::time::sleep(length).await;
    }
}

async fn work(config: Config, stop: CancellationToken) -> Result<(), RunError> {
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
    let courier = Arc::new(notify::Courier {
        pool: pool.clone(),
        http: http.clone(),
        key: config.sealing_key.clone(),
    });
    let fleet = Arc::new(Fleet {
        remotes: Remotes::new(http, config.sealing_key.clone(), config.grace),
        pool: pool.clone(),
        owner: name.clone(),
        leases: leases.clone(),
        drain: stop.clone(),
        late: CancellationToken::new(),
        news: Arc::default(),
        room: Arc::new(Semaphore::new(config.parked)),
        under_way: TaskTracker::new(),
        config,
    });
    // Aborted where this is dropped: nothing goes on once the worker is over.
    let mut beside = JoinSet::new();
    {
        let (pool, every, stop) = (pool.clone(), fleet.config.sweep_every, stop.clone());
        beside.spawn(async move { sweep::keep(&pool, every, stop).await });
    }
    beside.spawn(notify::keep(
        courier,
        fleet.config.sweep_every.min(NOTIFY_EVERY),
        stop.clone(),
    ));
    {
        let (late, fleet) = (
            after(&stop, fleet.config.drain.saturating_sub(fleet.config.closing())),
            fleet.clone(),
        );
        beside.spawn(async move {
            late.await;
            fleet.late.cancel();
        });
    }
    // Leases are renewed until the last batch is down, longer than bells are answered.
    let over = CancellationToken::new();
    let mut keepers = JoinSet::new();
    {
        let (pool, over) = (pool.clone(), over.clone());
        keepers.spawn(async move { leases.keep(&pool, over).await });
    }
    {
        let (pool, news, over): (_, Arc<News>, _) = (pool.clone(), fleet.news.clone(), over.clone());
        keepers.spawn(async move { news.keep(&pool, over).await });
    }
    let answering = fleet.clone();
    let listener = Listener {
        pool: pool.clone(),
        name,
        command_slots: fleet.config.command_slots,
        batch_slots: fleet.config.batch_slots,
        drain: fleet.config.drain,
        handler: Arc::new(move |bell| {
            let fleet = answering.clone();
            Box::pin(async move { answer(fleet, bell).await })
        }),
    };
    tracing::info!(worker = listener.name, "listening");
    let (database, silence) = (pool.connect_options(), fleet.config.silence);
    let ended = tokio::select! {
        ended = listener.run(async move { stop.cancelled().await }) => ended.map_err(RunError::Listen),
        // Nothing can be given back by connections like these.
        () = silence::noticed(&database, silence) => return Err(RunError::Silent(silence)),
    };
    // Those that are parked have been told by the same signal, and have as long.
    fleet.drain.cancel();
    fleet.under_way.close();
    fleet.under_way.wait().await;
    over.cancel();
    beside.shutdown().await;
    while keepers.join_next().await.is_some() {}
    pool.close().await;
    ended
}

/// Answers a bell. What fails is told here, once; the rows say what is still to be done, and the sweep rings again.
///
/// A batch or a check that has to wait leaves its slot: the bell is answered then, and it goes on by itself.
async fn answer(fleet: Arc<Fleet>, bell: Bell) {
    let left = CancellationToken::new();
    let slot = Slot::new(fleet.room.clone(), left.clone());
    let answered = match bell {
        Bell::Command { org_id, id } => {
            if let Err(error) = commands::answer(&fleet.pool, org_id, id).await {
                tracing::warn!(error = %Chain(&error), org.id = %org_id, command.id = %id, "a command waits for the next bell");
            }
            return;
        }
        Bell::Resolutions { org_id } => {
            if let Err(error) = resolution::answer(&fleet.pool, org_id).await {
                tracing::warn!(error = %Chain(&error), org.id = %org_id, "answers to conflicts wait for the next bell");
            }
            return;
        }
        Bell::Batch { org_id, id } => {
            let fleet = fleet.clone();
            fleet.under_way.clone().spawn(async move {
                if let Err(error) = batch::answer(&fleet, org_id, id, slot).await {
                    tracing::warn!(error = %Chain(&error), org.id = %org_id, batch.id = %id, "a batch was put down");
                }
            })
        }
        Bell::Check { org_id, id } => {
            let fleet = fleet.clone();
            fleet.under_way.clone().spawn(async move {
                if let Err(error) = check::answer(&fleet, org_id, id, slot).await {
                    tracing::warn!(error = %Chain(&error), org.id = %org_id, connection.id = %id, "a check waits for the next bell");
                }
            })
        }
        Bell::Webhook { org_id, id } => {
            let fleet = fleet.clone();
            fleet.under_way.clone().spawn(async move {
                if let Err(error) = webhook::answer(&fleet, org_id, id, slot).await {
                    tracing::warn!(error = %Chain(&error), org.id = %org_id, connection.id = %id, "a look at webhooks waits for the next bell");
                }
            })
        }
    };
    tokio::select! {
        ended = answered => {
            if let Err(error) = ended {
                tracing::error!(%error, ?bell, "answering a bell failed; the sweep rings again");
            }
        }
        () = left.cancelled() => {}
    }
}
