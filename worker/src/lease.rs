//! Leases of the batches that this process runs: renewed together, as long as each makes progress.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lockstep_shared::batch;
use lockstep_shared::id::{BatchId, Token};
use lockstep_shared::telemetry::Chain;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::config::LeaseConfig;

/// One batch in hand.
#[derive(Debug)]
pub struct Lease {
    pub batch: BatchId,
    pub token: Token,
    times: Mutex<Times>,
    lost: CancellationToken,
}

#[derive(Debug)]
struct Times {
    valid_until: Instant,
    progressed_at: Instant,
}

impl Lease {
    /// Says whether the lease is still ours: not lost, and not run out by our own watch.
    pub fn is_held(&self) -> bool {
        !self.lost.is_cancelled() && Instant::now() < self.times().valid_until
    }

    /// Resolves when the lease is lost.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Notes that the batch got on: a call was made, an answer came, something was stored.
    pub fn progress(&self) {
        self.times().progressed_at = Instant::now();
    }

    fn times(&self) -> std::sync::MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The leases of a process.
#[derive(Debug)]
pub struct Leases {
    config: LeaseConfig,
    held: Mutex<HashMap<BatchId, Arc<Lease>>>,
}

impl Leases {
    pub fn new(config: LeaseConfig) -> Self {
        Self {
            config,
            held: Mutex::default(),
        }
    }

    /// Takes care of a batch that was claimed at `claimed_at` (read before the claim was sent).
    pub fn hold(&self, batch: BatchId, token: Token, claimed_at: Instant) -> Arc<Lease> {
        let times = Times {
            valid_until: claimed_at + self.config.length,
            progressed_at: claimed_at,
        };
        let lease = Arc::new(Lease {
            batch,
            token,
            times: Mutex::new(times),
            lost: CancellationToken::new(),
        });
        self.all().insert(batch, lease.clone());
        lease
    }

    /// Lets a batch go.
    pub fn release(&self, lease: &Lease) {
        let mut held = self.all();
        if held
            .get(&lease.batch)
            .is_some_and(|other| other.token == lease.token)
        {
            held.remove(&lease.batch);
        }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<BatchId, Arc<Lease>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews leases until told to stop: three times in the length of one.
    pub async fn keep(&self, pool: &PgPool, stop: CancellationToken) {
        let mut beat = tokio::time::interval(self.config.length / 3);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = beat.tick() => {}
            }
            if let Err(error) = self.renew(pool).await {
                tracing::warn!(error = %Chain(&error), "leases could not be renewed; they run out unless the next beat succeeds");
            }
        }
    }

    async fn renew(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let now = Instant::now();
        let living: Vec<Arc<Lease>> = self
            .all()
            .values()
            .filter(|lease| now.duration_since(lease.times().progressed_at) < self.config.progress_limit)
            .cloned()
            .collect();
        if living.is_empty() {
            return Ok(());
        }
        let asked: Vec<_> = living.iter().map(|lease| (lease.batch, lease.token)).collect();
        let renewed = batch::renew(&mut *pool.acquire().await?, &asked, self.config.length).await?;
        for lease in living {
            if renewed.contains(&lease.batch) {
                lease.times().valid_until = now + self.config.length;
            } else if self.all().contains_key(&lease.batch) {
                tracing::warn!(batch.id = %lease.batch, "the batch has another owner; stopping before the next call");
                lease.lost.cancel();
            }
        }
        Ok(())
    }
}
