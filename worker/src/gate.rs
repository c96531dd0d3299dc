//! The gate before every external request: is the batch or the check ours, is the door open, is there a token?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use lockstep_shared::batch::{self, Held};
use lockstep_shared::bucket::{self, Caller, Take, Verdict};
use lockstep_shared::check;
use lockstep_shared::circuit;
use lockstep_shared::db::{self, Isolation, OrgTx};
use lockstep_shared::id::SyncId;
use lockstep_shared::telemetry::Chain;
use lockstep_shared::webhook;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::connector::{CallError, Gate, Hold};
use crate::lease::Lease;
use crate::metric;
use crate::news::{Listening, News};
use crate::slot::Slot;

/// Longest wait for a token outside a slot. What waits longer is given back, and what it has read is read again; nothing
/// short of that may be, or a page of several calls would never be read where tokens are far apart.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// How often who waits looks whether it is still the owner, and may go on.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often who has its token looks whether its organisation may have one more batch running: within the second for which a
/// slot that was waited for is good.
const ROOM_EVERY: Duration = Duration::from_millis(200);

/// How tokens are asked for, and what came of it.
#[derive(Debug)]
pub struct Meter {
    pub pool: PgPool,
    pub caller: Caller,
    /// Longest wait on a slot.
    pub patience: Duration,
    pub slot: Slot,
    /// Requests that were let through.
    pub passed: AtomicU32,
    /// Whether the system was not well when a request was let through last.
    pub is_marked: AtomicBool,
    /// Whether it waits, and does not count as running until it goes on.
    is_parked: AtomicBool,
}

impl Meter {
    pub fn new(pool: PgPool, caller: Caller, patience: Duration, slot: Slot) -> Self {
        Self {
            pool,
            caller,
            patience,
            slot,
            passed: AtomicU32::new(0),
            is_marked: AtomicBool::new(false),
            is_parked: AtomicBool::new(false),
        }
    }

    /// Tells how far away a token may be. Whoever has used one waits for the next, off its slot if there is room.
    fn patience(&self) -> Duration {
        if self.passed.load(Ordering::Relaxed) > 0 || self.slot.can_leave() {
            LONGEST_WAIT
        } else {
            self.patience
        }
    }

    async fn ask(&self, owner: &impl Owner, reserved: Option<DateTime<Utc>>) -> Result<Asked, sqlx::Error> {
        let is_parked = self.is_parked.load(Ordering::Relaxed);
        let mut tx = db::begin(&self.pool, self.caller.org, Isolation::ReadCommitted).await?;
        if is_parked {
            batch::lock_claims(&mut tx, self.caller.org).await?;
        }
        if let Some(hold) = owner.admit(&mut tx).await? {
            return Ok(Asked::Held(hold));
        }
        if self.is_marked.load(Ordering::Relaxed) && self.passed.load(Ordering::Relaxed) > 0 {
            // Who asks for the next call has had an answer to the last.
            circuit::succeed(
                &mut tx,
                self.caller.org,
                self.caller.connection,
                self.caller.token,
            )
            .await?;
        }
        let take = bucket::take(&mut tx, self.caller, reserved, self.patience()).await?;
        let goes_on = is_parked && matches!(take.verdict, Verdict::Go);
        if goes_on && !owner.unpark(&mut tx).await? {
            // Nothing of this stands, so that the token is there for others.
            return Ok(Asked::NoRoom);
        }
        tx.commit().await?;
        if goes_on {
            self.is_parked.store(false, Ordering::Relaxed);
        }
        metric::asked_for_token(&take.verdict);
        Ok(Asked::Taken(take))
    }

    /// Leaves the slot, and has whoever waits not count as running.
    async fn park(&self, owner: &impl Owner) {
        if !self.slot.leave() || self.is_parked.swap(true, Ordering::Relaxed) {
            return;
        }
        let parked = async {
            let mut tx = db::begin(&self.pool, self.caller.org, Isolation::ReadCommitted).await?;
            owner.park(&mut tx).await?;
            tx.commit().await
        };
        if let Err(error) = parked.await {
            tracing::warn!(error = %Chain(&error), "a batch that waits counts as running, because the database did not hear");
        }
    }

    /// Waits until a request may be sent.
    async fn pass(&self, owner: &impl Owner) -> Result<(), Hold> {
        let mut reserved = None;
        let mut news = owner.listen();
        loop {
            owner.look()?;
            let take = match self.ask(owner, reserved).await {
                Ok(Asked::Taken(take)) => take,
                Ok(Asked::Held(hold)) => return Err(hold),
                Ok(Asked::NoRoom) => {
                    tokio::select! {
                        () = tokio::time::sleep(ROOM_EVERY) => {}
                        hold = owner.stopped() => return Err(hold),
                        () = heard(&mut news) => {}
                    }
                    continue;
                }
                Err(error) => {
                    let connection = self.caller.connection;
                    tracing::warn!(error = %Chain(&error), connection.id = %connection, "the gate can't ask the database");
                    return Err(Hold::Database);
                }
            };
            self.is_marked.store(take.is_marked, Ordering::Relaxed);
            let at = match take.verdict {
                Verdict::Go => {
                    self.passed.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Verdict::Wait { at } => {
                    reserved = Some(at);
                    at
                }
                Verdict::Later { at } | Verdict::Paused { until: at } => {
                    reserved = None;
                    let has_used = self.passed.load(Ordering::Relaxed) > 0;
                    let is_pause = matches!(take.verdict, Verdict::Paused { .. });
                    if take.until(at) > self.patience() || (is_pause && !has_used) {
                        return Err(Hold::NoToken { until: at });
                    }
                    at
                }
                Verdict::Open { until } => return Err(Hold::CircuitOpen { until }),
            };
            let wait = take.until(at);
            if wait > self.patience {
                self.park(owner).await;
            }
            tokio::select! {
                () = tokio::time::sleep(wait.min(LOOK_EVERY)) => {}
                hold = owner.stopped() => return Err(hold),
                // Or its sync is to stop (R6): asking again tells.
                () = heard(&mut news) => {}
            }
        }
    }
}

/// What came of asking for a token.
enum Asked {
    Taken(Take),
    Held(Hold),
    /// There is one, and its organisation has as many batches running as it may.
    NoRoom,
}

/// Whose gate it is.
trait Owner: Sync {
    /// Says whether it has to stop, as far as the process itself knows.
    fn look(&self) -> Result<(), Hold>;

    /// Makes sure that the work is still its own and may go on, and keeps it so. Returns why not.
    async fn admit(&self, tx: &mut OrgTx) -> Result<Option<Hold>, sqlx::Error>;

    /// Notes that it waits off its slot and does nothing.
    async fn park(&self, tx: &mut OrgTx) -> Result<(), sqlx::Error>;

    /// Notes that it goes on; `false` where there is no room for that yet.
    async fn unpark(&self, tx: &mut OrgTx) -> Result<bool, sqlx::Error>;

    /// Resolves when it must not wait any longer.
    async fn stopped(&self) -> Hold;

    /// Begins to listen for what may have it stop, where anything is told of that.
    fn listen(&self) -> Option<Listening>;
}

async fn heard(news: &mut Option<Listening>) {
    match news {
        Some(news) => news.look().await,
        None => std::future::pending().await,
    }
}

/// The gate of one batch in hand.
#[derive(Debug)]
pub struct BatchGate {
    pub meter: Meter,
    pub lease: Arc<Lease>,
    pub drain: CancellationToken,
    pub sync: SyncId,
    pub news: Arc<News>,
}

#[async_trait]
impl Gate for BatchGate {
    async fn pass(&self) -> Result<(), CallError> {
        self.meter.pass(self).await.map_err(CallError::Held)
    }
}

impl Owner for BatchGate {
    fn look(&self) -> Result<(), Hold> {
        if self.drain.is_cancelled() {
            return Err(Hold::Draining);
        }
        if !self.lease.is_held() {
            return Err(Hold::LeaseLost);
        }
        Ok(())
    }

    async fn admit(&self, tx: &mut OrgTx) -> Result<Option<Hold>, sqlx::Error> {
        let held = batch::hold(tx, self.meter.caller.org, self.lease.batch, self.lease.token).await?;
        self.lease.progress();
        Ok(match held {
            Held::Yes { .. } => None,
            Held::DoorClosed => Some(Hold::DoorClosed),
            Held::Lost => Some(Hold::LeaseLost),
        })
    }

    async fn park(&self, tx: &mut OrgTx) -> Result<(), sqlx::Error> {
        // Where it has another owner, the next question tells.
        batch::park(tx, self.meter.caller.org, self.lease.batch, self.lease.token).await?;
        Ok(())
    }

    async fn unpark(&self, tx: &mut OrgTx) -> Result<bool, sqlx::Error> {
        batch::unpark(tx, self.meter.caller.org, self.lease.batch, self.lease.token).await
    }

    async fn stopped(&self) -> Hold {
        tokio::select! {
            () = self.drain.cancelled() => Hold::Draining,
            () = self.lease.lost() => Hold::LeaseLost,
        }
    }

    fn listen(&self) -> Option<Listening> {
        Some(self.news.of(self.sync))
    }
}

/// What is looked at, outside of any batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    Check,
    Webhooks,
}

/// The gate of one check, or of one look at webhooks, in hand. Passing it keeps that for as long as the request may take.
#[derive(Debug)]
pub struct CheckGate {
    pub errand: Errand,
    pub meter: Meter,
    pub held_for: Duration,
    pub drain: CancellationToken,
}

#[async_trait]
impl Gate for CheckGate {
    async fn pass(&self) -> Result<(), CallError> {
        self.meter.pass(self).await.map_err(CallError::Held)
    }
}

impl Owner for CheckGate {
    fn look(&self) -> Result<(), Hold> {
        if self.drain.is_cancelled() {
            return Err(Hold::Draining);
        }
        Ok(())
    }

    async fn admit(&self, tx: &mut OrgTx) -> Result<Option<Hold>, sqlx::Error> {
        let Caller {
            org,
            connection,
            token,
            ..
        } = self.meter.caller;
        let held = (token, self.held_for);
        let is_kept = match self.errand {
            Errand::Check => check::keep(tx, org, connection, held).await?,
            Errand::Webhooks => webhook::keep(tx, org, connection, held).await?,
        };
        Ok((!is_kept).then_some(Hold::LeaseLost))
    }

    // Only batches are counted.
    async fn park(&self, _: &mut OrgTx) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn unpark(&self, _: &mut OrgTx) -> Result<bool, sqlx::Error> {
        Ok(true)
    }

    async fn stopped(&self) -> Hold {
        self.drain.cancelled().await;
        Hold::Draining
    }

    fn listen(&self) -> Option<Listening> {
        None
    }
}

/// How long a check is kept between two looks at it: a wait for a token, and the request after it.
pub fn held_for(call: Duration) -> Duration {
    LOOK_EVERY + call + Duration::from_secs(10)
}
