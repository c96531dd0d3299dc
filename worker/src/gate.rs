//! The gate before every external request: is the batch or the check ours, is the door open, is there a token?

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lockstep_shared::batch::{self, Held};
use lockstep_shared::bucket::{self, Take};
use lockstep_shared::check;
use lockstep_shared::db::{self, Isolation};
use lockstep_shared::id::{ConnectionId, OrgId, SyncId, Token};
use lockstep_shared::telemetry::Chain;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::batch::Fleet;
use crate::connector::{CallError, Gate, Hold};
use crate::lease::Lease;
use crate::news::{Listening, News};

/// Longest wait for a token once a batch has used one: giving it back then would throw the call away, and a page that
/// takes two calls would never be read where tokens are further apart than the usual patience.
pub const PATIENCE_UNDER_WAY: Duration = Duration::from_mins(1);

/// How long a token is waited for by who has passed so many requests.
fn patience(passed: &AtomicU32, usual: Duration) -> Duration {
    if passed.load(Ordering::Relaxed) > 0 {
        PATIENCE_UNDER_WAY
    } else {
        usual
    }
}

/// The gate of one batch in hand.
#[derive(Debug)]
pub struct BatchGate {
    pub pool: PgPool,
    pub org: OrgId,
    pub lease: Arc<Lease>,
    pub drain: CancellationToken,
    pub sync: SyncId,
    pub news: Arc<News>,
    pub patience: Duration,
    pub passed: AtomicU32,
}

#[async_trait]
impl Gate for BatchGate {
    async fn pass(&self) -> Result<(), CallError> {
        let hold = |hold| Err(CallError::Held(hold));
        let mut is_reserved = false;
        let mut news = self.news.of(self.sync);
        loop {
            if self.drain.is_cancelled() {
                return hold(Hold::Draining);
            }
            if !self.lease.is_held() {
                return hold(Hold::LeaseLost);
            }
            let wait = match self.ask(is_reserved).await {
                Ok(Ok(wait)) => wait,
                Ok(Err(reason)) => return hold(reason),
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), batch.id = %self.lease.batch, "the gate can't ask the database");
                    return hold(Hold::Database);
                }
            };
            self.lease.progress();
            if wait.is_zero() {
                self.passed.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            // The slot is reserved; after the wait only the door is looked at again.
            is_reserved = true;
            if let Err(reason) = self.wait(wait, &mut news).await {
                return hold(reason);
            }
        }
    }
}

impl BatchGate {
    /// Waits for the slot that is reserved, and stops as soon as the door is closed (R6).
    async fn wait(&self, wait: Duration, news: &mut Listening) -> Result<(), Hold> {
        let slot = tokio::time::sleep(wait);
        tokio::pin!(slot);
        loop {
            tokio::select! {
                () = &mut slot => return Ok(()),
                () = self.drain.cancelled() => return Err(Hold::Draining),
                () = self.lease.lost() => return Err(Hold::LeaseLost),
                () = news.look() => {}
            }
            match self.ask(true).await {
                Ok(Ok(_)) => self.lease.progress(),
                Ok(Err(reason)) => return Err(reason),
                // Whoever sends asks again.
                Err(error) => {
                    tracing::debug!(error = %Chain(&error), "the door can't be looked at while a token is waited for");
                }
            }
        }
    }

    /// Asks whether the batch may send now, and for a token unless one is reserved already.
    async fn ask(&self, is_reserved: bool) -> Result<Result<Duration, Hold>, sqlx::Error> {
        let patience = patience(&self.passed, self.patience);
        let mut tx = db::begin(&self.pool, self.org, Isolation::ReadCommitted).await?;
        let answer = match batch::hold(&mut tx, self.org, self.lease.batch, self.lease.token).await? {
            Held::Lost => Err(Hold::LeaseLost),
            Held::DoorClosed => Err(Hold::DoorClosed),
            Held::Yes { .. } if is_reserved => Ok(Duration::ZERO),
            Held::Yes { .. } => match bucket::take(&mut tx, self.org, patience).await? {
                Take::Reserved { wait } => Ok(wait),
                Take::Later { at } => Err(Hold::NoToken { until: at }),
            },
        };
        tx.commit().await?;
        Ok(answer)
    }
}

/// The gate of one check in hand. Passing it keeps the check for as long as the request may take.
#[derive(Debug)]
pub struct CheckGate {
    pool: PgPool,
    org: OrgId,
    connection: ConnectionId,
    token: Token,
    held_for: Duration,
    drain: CancellationToken,
    patience: Duration,
    passed: AtomicU32,
}

impl CheckGate {
    pub fn new(
        fleet: &Fleet,
        (org, connection): (OrgId, ConnectionId),
        (token, held_for): (Token, Duration),
    ) -> Self {
        Self {
            pool: fleet.pool.clone(),
            org,
            connection,
            token,
            held_for,
            drain: fleet.drain.clone(),
            patience: fleet.config.patience,
            passed: AtomicU32::new(0),
        }
    }

    async fn ask(&self) -> Result<Result<Duration, Hold>, sqlx::Error> {
        let patience = patience(&self.passed, self.patience);
        let mut tx = db::begin(&self.pool, self.org, Isolation::ReadCommitted).await?;
        if !check::keep(&mut tx, self.org, self.connection, (self.token, self.held_for)).await? {
            return Ok(Err(Hold::LeaseLost));
        }
        let answer = match bucket::take(&mut tx, self.org, patience).await? {
            Take::Reserved { wait } => Ok(wait),
            Take::Later { at } => Err(Hold::NoToken { until: at }),
        };
        tx.commit().await?;
        Ok(answer)
    }
}

#[async_trait]
impl Gate for CheckGate {
    async fn pass(&self) -> Result<(), CallError> {
        let hold = |hold| Err(CallError::Held(hold));
        if self.drain.is_cancelled() {
            return hold(Hold::Draining);
        }
        let wait = match self.ask().await {
            Ok(Ok(wait)) => wait,
            Ok(Err(reason)) => return hold(reason),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), connection.id = %self.connection, "the gate can't ask the database");
                return hold(Hold::Database);
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.drain.cancelled() => return hold(Hold::Draining),
        }
        self.passed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
