//! One batch, from its bell to its settlement.
//!
//! Claim under a new token; load; then a pull reads one page and a push sends what differs; and everything that came of
//! it is settled in one SERIALIZABLE transaction that the token fences. Whatever dies in between leaves rows that tell
//! the next owner what may have happened.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use lockstep_shared::activity::{self, Activity, Outcome};
use lockstep_shared::backoff;
use lockstep_shared::batch::{self, Batch, Claim, Claimant, Counts, Leave};
use lockstep_shared::bucket::Caller;
use lockstep_shared::check::Check;
use lockstep_shared::circuit::{self, Circuit};
use lockstep_shared::conflict::{self, ConflictType, Course, NewConflict};
use lockstep_shared::connection::{self, Connection};
use lockstep_shared::control::hold;
use lockstep_shared::db::{self, Isolation, OrgTx};
use lockstep_shared::decide::Ownership;
use lockstep_shared::entity::Content;
use lockstep_shared::id::{BatchId, OrgId, Token};
use lockstep_shared::stage::{self, Stage};
use lockstep_shared::strategy::{self, Decider};
use lockstep_shared::sync::{self, Config as SyncConfig, Status};
use lockstep_shared::system::Direction;
use lockstep_shared::telemetry::Chain;
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::config::Config;
use crate::connector::{CallError, Connector, Hold};
use crate::gate::{BatchGate, Meter};
use crate::lease::{Lease, Leases};
use crate::news::News;
use crate::point::{Place, Point};
use crate::remote::{RemoteError, Remotes};
use crate::slot::Slot;
use crate::{check, control, metric, outage, plan, pull, push, scan};

/// Takeovers in a row after which a batch counts as poisonous: its items have outlived that many owners.
const TAKEOVER_CAP: i32 = 3;

/// Longest wait before a call that failed is tried again (R32).
const LONGEST_BACKOFF: Duration = Duration::from_secs(32);

/// What every batch of a process shares.
#[derive(Debug)]
pub struct Fleet {
    pub config: Config,
    pub pool: PgPool,
    pub owner: String,
    pub leases: Arc<Leases>,
    pub remotes: Remotes,
    pub drain: CancellationToken,
    /// Cancelled when the time is up that batches have to stop by themselves.
    pub late: CancellationToken,
    pub news: Arc<News>,
    /// Room for those who wait for tokens.
    pub room: Arc<Semaphore>,
    /// Every batch and check that this process has in hand.
    pub under_way: TaskTracker,
}

/// A batch in hand.
#[derive(Debug)]
pub struct Hand<'a> {
    pub fleet: &'a Fleet,
    pub org: OrgId,
    pub batch: Batch,
    pub stage: Stage,
    pub sync: SyncConfig,
    /// The batch's connection, unless it is gone.
    pub connection: Option<Connection>,
    /// The connection's latest check, if there ever was one.
    pub check: Option<Check>,
    /// What was known of the connection's system, were it not well.
    pub circuit: Option<Circuit>,
    pub lease: Arc<Lease>,
    pub gate: BatchGate,
    /// What the transaction that settles it says became of its items; it counts once that is committed.
    pub settled: Mutex<Counts>,
}

/// Why a batch was put down without being settled. Its lease runs out, and the next owner goes on from the rows.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("the batch has another owner")]
    Lost,
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for BatchError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// How a batch ends, beside what became of its items.
#[derive(Debug)]
pub enum End {
    /// All of it is done.
    Done,
    /// The last page was read, or the stage can't go on: `Some` says why it failed.
    StageOver { failure: Option<String> },
    /// What is left is for later.
    Later {
        at: DateTime<Utc>,
        attempts: i32,
        error: Option<String>,
    },
    /// The connection's credentials were refused: the stage fails, and a person has to look.
    Unauthorised { detail: String },
    /// Nothing may be sent to the connection's address: the stage fails, and a person has to look.
    Forbidden { detail: String },
}

/// Answers a batch's bell.
pub async fn answer(fleet: &Fleet, org: OrgId, id: BatchId, slot: Slot) -> Result<(), BatchError> {
    let claimed_at = Instant::now();
    let token = Token::random();
    let claimant = Claimant {
        batch: id,
        token,
        owner: &fleet.owner,
        lease: fleet.config.lease.length,
    };
    let mut tx = db::begin(&fleet.pool, org, Isolation::ReadCommitted).await?;
    let batch = match batch::claim(&mut tx, org, claimant).await? {
        Claim::Claimed(batch) => batch,
        Claim::NotBefore(at) => {
            batch::ring_again(&mut tx, org, id, at).await?;
            return Ok(tx.commit().await?);
        }
        Claim::Nothing => return Ok(()),
    };
    let batch = halve_if_poisonous(&mut tx, org, batch).await?;
    let stage = stage::find(&mut tx, org, batch.stage_id).await?;
    let sync = sync::config(&mut tx, org, batch.sync_id).await?;
    let connection = connection::find(&mut tx, org, batch.connection_id).await?;
    let check = lockstep_shared::check::find(&mut tx, org, batch.connection_id).await?;
    let circuit = circuit::find(&mut tx, org, batch.connection_id).await?;
    let connector = match &connection {
        Some(connection) => fleet.remotes.connector(&mut tx, org, connection).await,
        None => Err(RemoteError::Gone(batch.connection_id)),
    };
    if let Err(RemoteError::Database(_, error)) = connector {
        return Err(error.into());
    }
    let place = Place::of(&batch, connection.as_ref());
    reach(place, Point::ClaimInside);
    tx.commit().await?;
    reach(place, Point::ClaimAfter);
    if batch.is_taken_over {
        metric::taken_over();
    }

    let lease = fleet.leases.hold(batch.batch_id, token, claimed_at);
    let caller = Caller {
        org,
        connection: batch.connection_id,
        sync: Some(batch.sync_id),
        token,
    };
    let gate = BatchGate {
        meter: Meter::new(fleet.pool.clone(), caller, fleet.config.patience, slot),
        lease: lease.clone(),
        drain: fleet.drain.clone(),
        sync: batch.sync_id,
        news: fleet.news.clone(),
    };
    let span = tracing::info_span!(
        "batch",
        org.id = %org,
        sync.id = %batch.sync_id,
        batch.id = %batch.batch_id,
        connection.id = %batch.connection_id,
        entity = batch.entity_type.name(),
        direction = batch.direction.name(),
    );
    let hand = Hand {
        fleet,
        org,
        batch,
        stage,
        sync,
        connection,
        check,
        circuit,
        lease: lease.clone(),
        gate,
        settled: Mutex::default(),
    };
    let result = async {
        tokio::select! {
            result = run(&hand, connector) => result,
            () = fleet.late.cancelled() => give_back(&hand).await,
        }
    }
    .instrument(span)
    .await;
    if result.is_ok()
        && !hand.sync.dry_run
        && let Some(connection) = &hand.connection
    {
        let settled = *hand.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let (entity, direction) = (hand.batch.entity_type, hand.batch.direction.name());
        metric::settled(connection.system, entity, direction, &settled);
    }
    fleet.leases.release(&lease);
    result
}

async fn run(hand: &Hand<'_>, connector: Result<Arc<dyn Connector>, RemoteError>) -> Result<(), BatchError> {
    let connector = match connector {
        Ok(connector) => connector,
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "the stage can't be carried through");
            let end = End::StageOver {
                failure: Some(Chain(&error).to_string()),
            };
            return push::abandon(hand, end).await;
        }
    };
    if let Some(end) = outage::before(hand, &*connector).await? {
        return push::abandon(hand, end).await;
    }
    if let Some(end) = check::before(hand, &*connector).await? {
        return push::abandon(hand, end).await;
    }
    match hand.batch.direction {
        Direction::Pull if hand.batch.takeovers >= TAKEOVER_CAP => {
            let words =
                "every worker that read this page died; nothing more is read until somebody has looked";
            let end = End::StageOver {
                failure: Some(words.to_owned()),
            };
            push::abandon(hand, end).await
        }
        Direction::Pull if hand.sync.full_scan => scan::run(hand, &*connector).await,
        Direction::Pull => pull::run(hand, &*connector).await,
        Direction::Push => push::run(hand, &*connector).await,
    }?;
    outage::after_success(hand).await
}

/// Gives a batch back whose worker has to end before its call does: as if it had died right there, but that nobody has to
/// wait until its lease has run out, and that nobody counts it as a death. What was intended stays in the log, and is asked
/// about by the next owner.
async fn give_back(hand: &Hand<'_>) -> Result<(), BatchError> {
    tracing::warn!("the worker ends before a call does; its batch is given back");
    let end = End::Later {
        at: hand.now().await?,
        attempts: hand.batch.attempts,
        error: None,
    };
    push::abandon(hand, end).await
}

/// Splits a batch that outlived too many owners, so that the item that kills them comes to stand alone.
async fn halve_if_poisonous(tx: &mut OrgTx, org: OrgId, mut batch: Batch) -> Result<Batch, sqlx::Error> {
    if batch.takeovers < TAKEOVER_CAP || batch.direction == Direction::Pull || batch.item_count < 2 {
        return Ok(batch);
    }
    let stage = stage::lock(tx, org, batch.stage_id).await?;
    let lane = batch::free_lane(tx, org, stage.stage_id).await?;
    let now = db::now(tx).await?;
    let mut half = plan::new_batch(&stage, BatchId::random(), lane, now);
    batch::insert(tx, org, &half).await?;
    half.item_count = batch::halve(tx, org, batch.batch_id, half.batch_id).await?;
    batch::fill(tx, org, &half, now).await?;
    tracing::warn!(batch.id = %batch.batch_id, takeovers = batch.takeovers, "a batch keeps losing its owners; halved");
    (batch.takeovers, batch.item_count) = (0, batch.item_count - half.item_count);
    Ok(batch)
}

/// Goes by a point, where the batch's connection is still there.
fn reach(place: Option<Place>, point: Point) {
    if let Some(place) = place {
        place.reach(point);
    }
}

impl Hand<'_> {
    /// Goes by a named point of the protocol.
    pub fn reach(&self, point: Point) {
        reach(Place::of(&self.batch, self.connection.as_ref()), point);
    }

    /// Says whether the batch is one item that has outlived too many owners.
    pub fn is_poison(&self) -> bool {
        self.batch.takeovers >= TAKEOVER_CAP && self.batch.item_count <= 1
    }

    /// Begins the transaction that settles the batch, with the batch's row in hand.
    pub async fn begin_settling(&self) -> Result<OrgTx, BatchError> {
        let mut tx = self.begin(Isolation::Serializable).await?;
        if !batch::take_to_settle(&mut tx, self.org, self.batch.batch_id, self.lease.token).await? {
            return Err(BatchError::Lost);
        }
        Ok(tx)
    }

    /// Commits the transaction that settles the batch.
    pub async fn commit(&self, tx: OrgTx) -> Result<(), BatchError> {
        self.reach(Point::SettleInside);
        tx.commit().await?;
        self.reach(Point::SettleAfter);
        Ok(())
    }

    /// Says who has the last word on what a record says.
    pub fn ownership(&self, content: &Content) -> Ownership {
        let settings = self.connection.as_ref().map(|connection| &connection.settings);
        let set = settings.and_then(|settings| settings.ownership.get(&content.entity()));
        set.cloned().unwrap_or_else(|| Ownership::usual(content))
    }

    /// Begins a transaction for the batch's organisation.
    pub async fn begin(&self, isolation: Isolation) -> Result<OrgTx, sqlx::Error> {
        db::begin(&self.fleet.pool, self.org, isolation).await
    }

    /// Reads the time that statements are told.
    pub async fn now(&self) -> Result<DateTime<Utc>, BatchError> {
        self.persist(|| async {
            let mut tx = self.begin(Isolation::ReadCommitted).await?;
            Ok(db::now(&mut tx).await?)
        })
        .await
    }

    /// Does something with the database again and again while it fails only because of others or is out of reach, as
    /// long as the lease is ours. External calls are never part of it.
    pub async fn persist<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, BatchError>
    where
        F: Future<Output = Result<T, BatchError>>,
    {
        let mut tries = 0;
        loop {
            match attempt().await {
                Err(BatchError::Database(error)) if db::must_repeat(&error) && tries < 100 => {
                    tokio::time::sleep(Duration::from_millis(rand::random_range(1..=(5 + tries * 2)))).await;
                }
                Err(BatchError::Database(error)) if db::is_unreachable(&error) && self.lease.is_held() => {
                    tracing::warn!(error = %Chain(&error), "the database is out of reach; trying again");
                    let retry = u32::try_from(tries).unwrap_or(u32::MAX).saturating_add(1);
                    tokio::time::sleep(backoff::wait(retry, LONGEST_BACKOFF, rand::random())).await;
                }
                result => return result,
            }
            tries += 1;
        }
    }

    /// Tells how the batch ends after a whole call failed. A call the gate held costs nothing and is no attempt, nor is one
    /// to a system that is not well; one that failed is tried again later, until the attempts are used up: then
    /// `exhausted` says how it ends.
    pub async fn after(
        &self,
        error: &CallError,
        exhausted: impl FnOnce(String) -> End,
    ) -> Result<End, BatchError> {
        let now = self.now().await?;
        let attempts = self.batch.attempts;
        let failures = u32::try_from(attempts).unwrap_or_default() + 1;
        let wait = backoff::wait(failures, LONGEST_BACKOFF, rand::random());
        let words = error.to_string();
        if let Some(mishap) = outage::mishap(error)
            && let Some(end) = outage::after(self, mishap, &words).await?
        {
            return Ok(end);
        }
        Ok(match error {
            CallError::Held(Hold::LeaseLost) => return Err(BatchError::Lost),
            CallError::Held(Hold::CircuitOpen { until }) => outage::at_gate(self, *until).await?,
            CallError::Held(Hold::NoToken { until }) => End::Later {
                at: *until,
                attempts,
                error: None,
            },
            // With the door closed its time has come as soon as somebody resumes the sync.
            CallError::Held(Hold::Draining | Hold::DoorClosed) => End::Later {
                at: now,
                attempts,
                error: None,
            },
            CallError::Held(Hold::Database) => End::Later {
                at: now + Duration::from_secs(1),
                attempts,
                error: None,
            },
            CallError::Unwell { .. } if attempts < i32::from(self.sync.max_retries) => {
                tracing::warn!(error = words, attempts, "a call failed; the batch goes on later");
                End::Later {
                    at: now + wait,
                    attempts: attempts + 1,
                    error: Some(words),
                }
            }
            CallError::Unwell { .. } | CallError::Throttled { .. } | CallError::Refused { .. } => {
                exhausted(words)
            }
            CallError::Unauthorised { .. } => End::Unauthorised { detail: words },
            CallError::Forbidden { .. } => End::Forbidden { detail: words },
        })
    }

    /// Leaves the batch inside the transaction that settles it: its counts, its end, and what comes next; the last batch of
    /// a sync that is to stop has it rest. Locks the stage first, then the sync.
    ///
    /// # Errors
    ///
    /// [`BatchError::Lost`] where the token is not the batch's any more: the transaction must not be committed.
    pub async fn leave(&self, tx: &mut OrgTx, counts: &Counts, end: &End) -> Result<(), BatchError> {
        let stage = stage::lock(tx, self.org, self.stage.stage_id).await?;
        let status = hold(tx, self.org, self.batch.sync_id).await?;
        let now = db::now(tx).await?;
        let key = (self.batch.batch_id, self.lease.token);
        let left = match end {
            End::Later { at, attempts, error } => {
                let later = Leave::Later {
                    at: *at,
                    attempts: *attempts,
                    error: error.as_deref(),
                };
                batch::leave(tx, self.org, key, counts, later).await?
            }
            End::Done | End::StageOver { .. } | End::Unauthorised { .. } | End::Forbidden { .. } => {
                batch::leave(tx, self.org, key, counts, Leave::Done).await?
            }
        };
        if !left {
            return Err(BatchError::Lost);
        }
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = *counts;
        self.record(tx, counts, end).await?;
        let run_at = now + Duration::from_millis(self.sync.batch_delay_ms.into());
        match end {
            End::Later { at, .. } => batch::ring_again(tx, self.org, self.batch.batch_id, *at).await?,
            // Nothing more is taken up.
            End::Done if status == Status::Cancelling => {}
            End::Done => match stage.direction {
                Direction::Pull => {
                    plan::open_batch(tx, self.org, &stage, &self.sync, run_at).await?;
                }
                Direction::Push => plan::go_on(tx, self.org, &stage, run_at).await?,
            },
            End::StageOver { failure } => plan::end_stage(tx, self.org, &stage, failure.as_deref()).await?,
            End::Unauthorised { detail } => {
                let next = "correct the credentials of the connection, then check it";
                self.call_for_attention(tx, detail, next).await?;
                plan::end_stage(tx, self.org, &stage, Some(detail)).await?;
            }
            End::Forbidden { detail } => {
                let next = "see to it that the connection's address is a public one, then check it";
                self.call_for_attention(tx, detail, next).await?;
                plan::end_stage(tx, self.org, &stage, Some(detail)).await?;
            }
        }
        let sync = (self.batch.sync_id, status);
        Ok(control::rest(tx, self.org, sync, Some(stage.stage_id)).await?)
    }

    async fn record(&self, tx: &mut OrgTx, counts: &Counts, end: &End) -> Result<(), sqlx::Error> {
        let (outcome, note) = match end {
            End::Done | End::StageOver { failure: None } => (Outcome::Done, None),
            End::Later { error, .. } => (Outcome::Done, error.clone()),
            End::StageOver {
                failure: Some(reason),
            } => (Outcome::Failed, Some(reason.clone())),
            End::Unauthorised { detail } | End::Forbidden { detail } => {
                (Outcome::Failed, Some(detail.clone()))
            }
        };
        let line = Activity {
            sync: Some(self.batch.sync_id),
            actor: "worker".to_owned(),
            action: if matches!(end, End::Later { .. }) {
                "batch.given_back"
            } else {
                "batch.settled"
            },
            outcome,
            details: json!({
                "batchId": self.batch.batch_id, "connectionId": self.batch.connection_id,
                "entityType": self.batch.entity_type, "direction": self.batch.direction,
                "seen": counts.seen, "created": counts.created, "updated": counts.updated,
                "unchanged": counts.unchanged, "skipped": counts.skipped, "failed": counts.failed,
                "conflicts": counts.conflicts, "inDoubt": counts.in_doubt,
                "requests": self.gate.meter.passed.load(std::sync::atomic::Ordering::Relaxed), "note": note,
            }),
        };
        activity::record(tx, self.org, line).await
    }

    async fn call_for_attention(&self, tx: &mut OrgTx, detail: &str, next: &str) -> Result<(), sqlx::Error> {
        let Some(connection) = &self.connection else {
            return Ok(());
        };
        let refused = (connection.connection_id, connection.credentials_set_at);
        if !connection::need_attention(tx, self.org, refused, detail).await? {
            return Ok(());
        }
        let conflict = NewConflict {
            sync: Some(self.batch.sync_id),
            connection: self.batch.connection_id,
            item: None,
            entity: self.batch.entity_type,
            conflict_type: ConflictType::AuthError,
            course: Course::of(strategy::choose(ConflictType::AuthError, 0, Decider::Rule)),
            data: json!({ "reason": detail, "next": next }),
        };
        conflict::open(tx, self.org, &conflict).await
    }
}
