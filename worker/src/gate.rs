//! The gate before every external request: is the batch or the check ours, is the door open, is there a token?

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lockstep_shared::batch::{self, Held};
use lockstep_shared::bucket::{self, Take};
use lockstep_shared::check;
use lockstep_shared::db::{self, Isolation};
use lockstep_shared::id::{ConnectionId, OrgId, Token};
use lockstep_shared::telemetry::Chain;
use lockstep_shared::webhook;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::batch::Fleet;
use crate::connector::{CallError, Gate, Hold};
use crate::lease::Lease;

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
    pub patience: Duration,
    pub passed: AtomicU32,
}

#[async_trait]
impl Gate for BatchGate {
    async fn pass(&self) -> Result<(), CallError> {
        let hold = |hold| Err(CallError::Held(hold));
        let mut is_reserved = false;
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
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.drain.cancelled() => return hold(Hold::Draining),
                () = self.lease.lost() => return hold(Hold::LeaseLost),
            }
        }
    }
}

impl BatchGate {
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

/// What is looked at, outside of any batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errand {
    Check,
    Webhooks,
}

/// The gate of one check, or of one look at webhooks, in hand. Passing it keeps that for as long as the request may take.
#[derive(Debug)]
pub struct CheckGate {
    errand: Errand,
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
            errand: Errand::Check,
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

    /// Makes the gate of a look at a connection's webhooks.
    pub fn of_webhooks(
        fleet: &Fleet,
        (org, connection): (OrgId, ConnectionId),
        (token, held_for): (Token, Duration),
    ) -> Self {
        Self {
            errand: Errand::Webhooks,
            ..Self::new(fleet, (org, connection), (token, held_for))
        }
    }

    async fn ask(&self) -> Result<Result<Duration, Hold>, sqlx::Error> {
        let patience = patience(&self.passed, self.patience);
        let mut tx = db::begin(&self.pool, self.org, Isolation::ReadCommitted).await?;
        let held = (self.token, self.held_for);
        let is_kept = match self.errand {
            Errand::Check => check::keep(&mut tx, self.org, self.connection, held).await?,
            Errand::Webhooks => webhook::keep(&mut tx, self.org, self.connection, held).await?,
        };
        if !is_kept {
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
