//! Bells: the queue that tells workers to look. The only file that knows apalis.
//!
//! A bell names a command, a batch or a check and its organisation, and nothing more. Whether there is anything to do, our rows
//! say: a bell may ring twice or get lost, and neither matters. Handlers therefore always succeed; what has to be done
//! again is a new bell. The traps this file goes round stand in the documentation of each setting.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::*;
use apalis_postgres::{Config, PostgresStorage};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};

use crate::id::{BatchId, CommandId, ConnectionId, OrgId};

const COMMAND_QUEUE: &str = "lockstep.command";
const BATCH_QUEUE: &str = "lockstep.batch";

/// What a worker is asked to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Bell {
    Command {
        org_id: OrgId,
        id: CommandId,
    },
    Batch {
        org_id: OrgId,
        id: BatchId,
    },
    /// The check of a connection. It asks a remote system, so it rings where batches do: commands never wait for one.
    Check {
        org_id: OrgId,
        id: ConnectionId,
    },
    /// A look at the webhooks of a connection: among batches, as a check is.
    Webhook {
        org_id: OrgId,
        id: ConnectionId,
    },
}

impl Bell {
    const fn queue(self) -> &'static str {
        match self {
            Self::Command { .. } => COMMAND_QUEUE,
            Self::Batch { .. } | Self::Check { .. } | Self::Webhook { .. } => BATCH_QUEUE,
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the queue failed")]
pub struct QueueError(#[source] apalis_postgres::Error);

/// Rings a bell in the caller's transaction: it rings if and when that commits. With `at`, not before that time (whole
/// seconds, rounded up: a bell that rings early finds nothing to do).
pub async fn ring(tx: &mut PgConnection, bell: Bell, at: Option<DateTime<Utc>>) -> Result<(), sqlx::Error> {
    let payload = serde_json::to_vec(&bell).expect("a bell is plain JSON");
    let mut task = TaskBuilder::new(payload).max_attempts(1);
    if let Some(at) = at {
        let secs = at.timestamp() + i64::from(at.timestamp_subsec_nanos() > 0);
        task = task.run_at_timestamp(u64::try_from(secs).unwrap_or_default());
    }
    apalis_postgres::queries::push_tasks(tx, bell.queue(), vec![task.build()])
        .await
        .map_err(|error| match error {
            apalis_postgres::Error::Database(inner) => inner,
            other => sqlx::Error::Protocol(other.to_string()),
        })
}

pub(crate) async fn migrate(pool: &PgPool) -> Result<(), QueueError> {
    PostgresStorage::<()>::setup(pool).await.map_err(QueueError)
}

/// Lets our roles use the queue's tables, makes its claim fast on a large backlog, and shows its bells to operators.
/// Repeated after every migration, because one of the queue's own may have replaced the function.
pub(crate) async fn open_to_roles(owner: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "grant usage on schema apalis to lockstep_api, lockstep_worker;
         grant select, insert on apalis.jobs to lockstep_api;
         grant select, insert, update, delete on all tables in schema apalis to lockstep_worker;
         grant usage on all sequences in schema apalis to lockstep_api, lockstep_worker;
         grant execute on all functions in schema apalis to lockstep_api, lockstep_worker;
         -- The planner takes the limit for 10 % of the table and reads all of it: 18.6 ms a claim at 50,000 jobs,
         -- 0.3 ms with these settings.
         alter function apalis.get_jobs(text, text, integer)
             set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off;
         create or replace view operator_bell as
             select id, job_type as queue, status, convert_from(job, 'UTF8')::jsonb as bell, run_at, lock_at, lock_by,
                    attempts, done_at
               from apalis.jobs;",
    )
    .execute(owner)
    .await
    .map(|_| ())
}

/// Deletes bells that have done their work, a small batch at a time; the queue itself deletes nothing. Returns how
/// many went.
pub async fn forget_finished(db: &mut PgConnection, older_than: Duration) -> Result<u64, sqlx::Error> {
    sqlx::query(
        "delete from apalis.jobs where id in (
             select id from apalis.jobs
              where status in ('Done', 'Failed', 'Killed') and done_at < now() - make_interval(secs => $1)
              limit 1000)",
    )
    .bind(older_than.as_secs_f64())
    .execute(db)
    .await
    .map(|done| done.rows_affected())
}

/// What answers a bell.
pub type Answer = Pin<Box<dyn Future<Output = ()> + Send>>;
type Handler = Arc<dyn Fn(Bell) -> Answer + Send + Sync>;

/// How a process listens.
#[derive(Clone)]
pub struct Listener {
    pub pool: PgPool,
    /// Unique per process start: a name that comes back would beat for the dead one, and its bells stay stuck.
    pub name: String,
    /// Commands answered at once; apart from batches, so that a pause never queues behind them.
    pub command_slots: usize,
    pub batch_slots: usize,
    /// How long bells under way may go on after the signal to stop.
    pub drain: Duration,
    pub handler: Handler,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the queue's listener ended: {0}")]
pub struct ListenError(String);

impl Listener {
    /// Answers bells until `stop` resolves, then lets those under way end.
    ///
    /// # Errors
    ///
    /// When listening ended though nobody asked it to: the process should end then, and be started again.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ListenError> {
        // The builder's type has no name that a function could return, and both queues are served alike.
        macro_rules! serve {
            ($queue:expr, $slots:expr) => {{
                let (pool, name, handler) = (self.pool.clone(), self.name.clone(), self.handler.clone());
                let slots = $slots;
                move |restart: usize| {
                    let handler = handler.clone();
                    // Prefetched jobs starve the heartbeat, hence one at a time; the storage by itself polls only at
                    // heartbeats, and future bells send no notice, hence the listener and the short poll.
                    let config = Config::default()
                        .queue($queue)
                        .batch_size(1)
                        .heartbeat_interval(Duration::from_secs(5))
                        .missed_heartbeats(6);
                    let backend = PostgresStorage::<serde_json::Value>::new(&pool)
                        .with_config(config)
                        .with_pubsub()
                        .poll_with_interval(Duration::from_secs(1));
                    WorkerBuilder::new(format!("{name}.{}.{restart}", $queue))
                        .backend(backend)
                        .concurrency(slots)
                        .parallelize(tokio::spawn)
                        .build(move |payload: serde_json::Value| answer(handler.clone(), payload))
                }
            }};
        }
        Monitor::new()
            .register(serve!(COMMAND_QUEUE, self.command_slots))
            .register(serve!(BATCH_QUEUE, self.batch_slots))
            // A restart of the database ends a worker; without this the process would sit idle from then on.
            .should_restart(|_, _| true)
            .shutdown_timeout(self.drain)
            .run_with_signal(async move {
                stop.await;
                Ok(())
            })
            .await
            .map_err(|error| ListenError(error.to_string()))
    }
}

/// Answers one bell. Always succeeds: an error would be tried again at once, without end, and a payload that can't be
/// read would end the worker; so both are told and forgotten, and the sweep rings again if our rows say so.
async fn answer(handler: Handler, payload: serde_json::Value) -> Result<(), BoxDynError> {
    match serde_json::from_value(payload) {
        Ok(bell) => {
            // A panic must not reach the queue's layers, which would leave the job running for ever.
            if let Err(error) = tokio::spawn(handler(bell)).await {
                tracing::error!(%error, ?bell, "answering a bell failed; the sweep rings again");
            }
        }
        Err(error) => tracing::error!(%error, "a bell can't be read and is dropped"),
    }
    Ok(())
}
