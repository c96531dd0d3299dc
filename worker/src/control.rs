//! Pausing, resuming and cancelling, as workers carry them out.
//!
//! A command closes the door for new external calls in its own transaction, and is done. What is in hand is given back by
//! whoever has it: at its next look at the door, which the news has it take at once while it waits. The last one has the
//! sync rest ([`rest`]); where that one died, the sweep does ([`settle_stopping`]).
//!
//! Rows are locked in one order everywhere: a batch of one's own, its stage, its sync.

use lockstep_shared::activity::{self, Activity, Outcome};
use lockstep_shared::command::{Command, Kind};
use lockstep_shared::db::{self, Isolation};
use lockstep_shared::id::{OrgId, StageId, SyncId};
use lockstep_shared::stage::{self, Stage};
use lockstep_shared::sync::{self, Running, Status};
use lockstep_shared::telemetry::Chain;
use lockstep_shared::{batch, control, item};
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use crate::plan;

/// Most syncs that one sweep has rest.
const MOST: i32 = 200;

/// What became of a command that a sync does not allow by the time its turn comes.
const REFUSED: &str = "refused: the sync does not stand where this is possible";

/// A sync with its open stage, both locked until the transaction ends.
#[derive(Debug)]
pub struct Locked {
    pub sync: Running,
    pub open: Option<Stage>,
}

/// Locks a sync's open stage, and then the sync. `None`: the stages went on meanwhile, and the transaction is to be
/// begun anew; or there is no such sync.
pub async fn lock(db: &mut PgConnection, org: OrgId, id: SyncId) -> Result<Option<Locked>, sqlx::Error> {
    let open = match stage::open_one(db, org, id).await? {
        Some(stage) => Some(stage::lock(db, org, stage).await?),
        None => None,
    };
    let Some(sync) = sync::lock(db, org, id).await? else {
        return Ok(None);
    };
    let is_so_still = stage::open_one(db, org, id).await? == open.as_ref().map(|stage| stage.stage_id);
    Ok(is_so_still.then_some(Locked { sync, open }))
}

/// Closes the door for new external calls. What is in hand is given back; nobody claims anything more.
pub async fn pause(
    db: &mut PgConnection,
    org: OrgId,
    command: &Command,
    locked: &Locked,
) -> Result<&'static str, sqlx::Error> {
    stop(db, org, command, locked).await
}

/// Closes the door for good. What has something in hand ends its call and settles it; then the rest is let go of.
pub async fn cancel(
    db: &mut PgConnection,
    org: OrgId,
    command: &Command,
    locked: &Locked,
) -> Result<&'static str, sqlx::Error> {
    stop(db, org, command, locked).await
}

async fn stop(
    db: &mut PgConnection,
    org: OrgId,
    command: &Command,
    locked: &Locked,
) -> Result<&'static str, sqlx::Error> {
    let from = locked.sync.status;
    let Some(to) = from.after(command.kind) else {
        return Ok(REFUSED);
    };
    sync::advance(db, org, command.sync, (from, to), None).await?;
    tell(db, org, command.sync, (&command.requested_by, to)).await?;
    control::announce(db, command.sync).await?;
    let open = locked.open.as_ref().map(|stage| stage.stage_id);
    rest(db, org, (command.sync, to), open).await?;
    Ok("applied")
}

/// Opens the door again. A sync goes on where it stopped: with the batches that are open; with its next stage, where the
/// last batch was settled after the door had been closed; or to its end.
pub async fn resume(
    db: &mut PgConnection,
    org: OrgId,
    command: &Command,
    locked: &Locked,
) -> Result<&'static str, sqlx::Error> {
    let (sync, from) = (command.sync, locked.sync.status);
    let Some(to) = from.after(Kind::Resume) else {
        return Ok(REFUSED);
    };
    if let Some(stage) = &locked.open {
        control::note_standstill(db, org, (sync, stage.stage_id)).await?;
    }
    sync::advance(db, org, sync, (from, to), None).await?;
    let line = Activity {
        sync: Some(sync),
        actor: command.requested_by.clone(),
        action: "sync.resumed",
        outcome: Outcome::Done,
        details: json!({}),
    };
    activity::record(db, org, line).await?;
    control::announce(db, sync).await?;
    match &locked.open {
        Some(stage) => control::wake(db, org, stage.stage_id).await?,
        None => plan::open_next_stage(db, org, sync).await?,
    }
    Ok("applied")
}

/// Has a sync that is to stop come to rest, unless somebody still has something of it in hand. One that is cancelled lets
/// go of its items as they are: what is in doubt stays so in the log of effects, and whoever takes the item up next looks
/// first. The caller holds the locks on the stage and on the sync.
pub async fn rest(
    db: &mut PgConnection,
    org: OrgId,
    (sync, status): (SyncId, Status),
    open: Option<StageId>,
) -> Result<(), sqlx::Error> {
    let Some(to) = status.rest() else {
        return Ok(());
    };
    if control::is_in_hand(db, org, sync).await? {
        return Ok(());
    }
    if let (Status::Cancelled, Some(stage)) = (to, open) {
        item::let_go_of_stage(db, org, stage).await?;
        batch::close_all(db, org, stage).await?;
        stage::close(db, org, stage, Some("the sync was cancelled")).await?;
    }
    if sync::advance(db, org, sync, (status, to), None).await? {
        tell(db, org, sync, ("worker", to)).await?;
        control::announce(db, sync).await?;
    }
    Ok(())
}

async fn tell(
    db: &mut PgConnection,
    org: OrgId,
    sync: SyncId,
    (actor, status): (&str, Status),
) -> Result<(), sqlx::Error> {
    let action = match status {
        Status::Pausing => "sync.pausing",
        Status::Paused => "sync.paused",
        Status::Cancelling => "sync.cancelling",
        Status::Cancelled => "sync.cancelled",
        Status::Draft
        | Status::Queued
        | Status::Processing
        | Status::Done
        | Status::Partial
        | Status::Failed => return Ok(()),
    };
    tracing::info!(org.id = %org, sync.id = %sync, status = status.name(), "the sync stops");
    let line = Activity {
        sync: Some(sync),
        actor: actor.to_owned(),
        action,
        outcome: Outcome::Done,
        details: json!({}),
    };
    activity::record(db, org, line).await
}

/// Has syncs rest whose last owner died while they were to stop. What it had in hand stays as it is, for who resumes.
pub async fn settle_stopping(pool: &PgPool) -> Result<(), sqlx::Error> {
    let found = control::stopping(&mut *pool.acquire().await?, MOST).await?;
    for (org, sync) in found {
        // One that can't be settled now must not keep the others waiting.
        if let Err(error) = settle_one(pool, org, sync).await {
            tracing::warn!(error = %Chain(&error), org.id = %org, sync.id = %sync, "a sync that is to stop waits for the next sweep");
        }
    }
    Ok(())
}

async fn settle_one(pool: &PgPool, org: OrgId, id: SyncId) -> Result<(), sqlx::Error> {
    let mut tx = db::begin(pool, org, Isolation::ReadCommitted).await?;
    if let Some(Locked { sync, open }) = lock(&mut tx, org, id).await? {
        rest(&mut tx, org, (id, sync.status), open.map(|stage| stage.stage_id)).await?;
        tx.commit().await?;
    }
    Ok(())
}
