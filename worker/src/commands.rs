//! Applying commands: each sync's in the order in which they were accepted.

use lockstep_shared::activity::{self, Activity, Outcome};
use lockstep_shared::command::{self, Command, Kind};
use lockstep_shared::connection;
use lockstep_shared::control::is_overtaken;
use lockstep_shared::db::{self, Isolation};
use lockstep_shared::id::{CommandId, OrgId};
use lockstep_shared::stage;
use lockstep_shared::sync::{self, Running, Status};
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use crate::control::{self, Locked};
use crate::{plan, resolution};

/// Times that a command is tried again which failed only because of others beside it.
const REPEATS: u32 = 20;

/// Answers a command's bell: applies everything that its sync has waiting, one transaction each. A bell for a command
/// that was applied already finds nothing to do.
pub async fn answer(pool: &PgPool, org: OrgId, id: CommandId) -> Result<(), sqlx::Error> {
    let mut repeats = 0;
    loop {
        match apply_next(pool, org, id).await {
            Ok(Applied::One) => {}
            Ok(Applied::All) => return Ok(()),
            // A pause must not wait for the sweep because a settlement was in its way.
            Ok(Applied::Moved) if repeats < REPEATS => repeats += 1,
            Ok(Applied::Moved) => return Ok(()),
            Err(error) if db::must_repeat(&error) && repeats < REPEATS => repeats += 1,
            Err(error) => return Err(error),
        }
    }
}

enum Applied {
    One,
    /// Nothing waits any more.
    All,
    /// Nothing was applied: the sync's stages went on meanwhile.
    Moved,
}

async fn apply_next(pool: &PgPool, org: OrgId, id: CommandId) -> Result<Applied, sqlx::Error> {
    let mut tx = db::begin(pool, org, Isolation::ReadCommitted).await?;
    let Some(sync_id) = command::sync_of(&mut tx, org, id).await? else {
        return Ok(Applied::All);
    };
    let Some(locked) = control::lock(&mut tx, org, sync_id).await? else {
        return Ok(Applied::Moved);
    };
    let Some(command) = command::next(&mut tx, org, sync_id).await? else {
        return Ok(Applied::All);
    };
    let outcome = apply(&mut tx, org, &command, &locked).await?;
    command::applied(&mut tx, org, command.command_id, outcome).await?;
    tx.commit().await?;
    tracing::info!(org.id = %org, sync.id = %sync_id, command = ?command.kind, outcome, "a command was applied");
    Ok(Applied::One)
}

async fn apply(
    tx: &mut PgConnection,
    org: OrgId,
    command: &Command,
    locked: &Locked,
) -> Result<&'static str, sqlx::Error> {
    match command.kind {
        Kind::Start if is_overtaken(&command::waiting(tx, org, command.sync).await?) => {
            Ok("overtaken: the sync was stopped before it began")
        }
        Kind::Start => start(tx, org, command, &locked.sync).await,
        Kind::Pause => control::pause(tx, org, command, locked).await,
        // What never began is put back in the queue, and begins.
        Kind::Resume if locked.sync.status == Status::Paused && !locked.sync.has_begun => {
            sync::advance(tx, org, command.sync, (Status::Paused, Status::Queued), None).await?;
            start(tx, org, command, &locked.sync).await
        }
        Kind::Resume => control::resume(tx, org, command, locked).await,
        Kind::Cancel => control::cancel(tx, org, command, locked).await,
    }
}

async fn start(
    tx: &mut PgConnection,
    org: OrgId,
    command: &Command,
    running: &Running,
) -> Result<&'static str, sqlx::Error> {
    if !sync::advance(tx, org, command.sync, (Status::Queued, Status::Processing), None).await? {
        return Ok("refused: the sync is not queued");
    }
    let line = Activity {
        sync: Some(command.sync),
        actor: command.requested_by.clone(),
        action: "sync.started",
        outcome: Outcome::Done,
        details: json!({}),
    };
    activity::record(tx, org, line).await?;
    let systems: Vec<_> = connection::list(tx, org)
        .await?
        .into_iter()
        .filter(|connection| running.connections.contains(&connection.connection_id))
        .map(|connection| (connection.connection_id, connection.system))
        .collect();
    // What it was asked to carry has to be due before its first stage opens.
    resolution::apply_of_sync(tx, org, command.sync).await?;
    let planned = if running.is_restricted {
        stage::plan_listed(&systems, &running.entity_types)
    } else {
        stage::plan(&systems, &running.entity_types)
    };
    stage::insert(tx, org, command.sync, &planned).await?;
    plan::open_next_stage(tx, org, command.sync).await?;
    Ok("applied")
}
