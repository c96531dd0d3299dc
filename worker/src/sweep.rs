//! The sweep: rings again what nobody answered, starts what nobody asks for by hand, has syncs rest whose last owner died
//! while they were to stop, and takes away what is old. Runs on every worker; what one has just rung, another leaves alone.

use std::time::Duration;

use lockstep_shared::connection::archive;
use lockstep_shared::telemetry::Chain;
use lockstep_shared::{activity, batch, check, queue, request, resolution, webhook};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{control, schedule, trigger};

/// Most bells that one sweep rings.
const BELLS: i32 = 200;

/// Most rows that one statement tidies away.
const BATCH: i32 = 500;

/// How long a finished bell is kept for operators to look at.
const KEPT: Duration = Duration::from_hours(1);

/// Most deliveries that are forgotten at once.
const DELIVERIES: i32 = 1_000;

/// Sweeps until told to stop.
pub async fn keep(pool: &PgPool, every: Duration, stop: CancellationToken) {
    let mut beat = tokio::time::interval(every);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut sweeps: u64 = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = beat.tick() => {}
        }
        let tidies = sweeps.is_multiple_of(12);
        sweeps += 1;
        if let Err(error) = sweep(pool, every, tidies).await {
            tracing::warn!(error = %Chain(&error), "the sweep failed; the next one tries again");
        }
    }
}

async fn sweep(pool: &PgPool, quiet: Duration, tidies: bool) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    let mut silent = batch::silent_work(&mut tx, quiet, BELLS).await?;
    silent.append(&mut check::silent(&mut tx, quiet, BELLS).await?);
    silent.append(&mut resolution::silent(&mut tx, quiet, BELLS).await?);
    silent.append(&mut webhook::silent(&mut tx, quiet, BELLS).await?);
    for bell in &silent {
        queue::ring(&mut tx, *bell, None).await?;
    }
    tx.commit().await?;
    if !silent.is_empty() {
        tracing::debug!(bells = silent.len(), "rang again");
    }
    control::settle_stopping(pool).await?;
    schedule::fire_due(pool).await?;
    trigger::start_due(pool).await?;
    if tidies {
        let mut db = pool.acquire().await?;
        activity::ensure_partitions(&mut db).await?;
        while queue::forget_finished(&mut db, KEPT).await? >= 1000 {}
        while webhook::forget_deliveries(&mut db, DELIVERIES).await? >= DELIVERIES.into() {}
        while request::forget(&mut db, BATCH).await? >= BATCH.into() {}
        while archive::close_conflicts(&mut db, BATCH).await? >= BATCH.into() {}
    }
    Ok(())
}
