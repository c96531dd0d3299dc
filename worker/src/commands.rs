//! Applying commands: each sync's in the order in which they were accepted.

use lockstep_shared::activity::{self, Activity, Outcome};
use lockstep_shared::command::{self, Command, Kind};
use lockstep_shared::connection;
use lockstep_shared::db::{self, Isolation};
use lockstep_shared::id::{CommandId, OrgId};
use lockstep_shared::stage;
use lockstep_shared::sync::{self, Running, Status};
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use crate::plan;

/// Answers a command's bell: applies everything that its sync has waiting, one transaction each. A bell for a command
/// that was applied already finds nothing to do.
pub async fn answer(pool: &PgPool, org: OrgId, id: CommandId) -> Result<(), sqlx::Error> {
    while apply_next(pool, org, id).await? {}
    Ok(())
}

async fn apply_next(pool: &PgPool, org: OrgId, id: CommandId) -> Result<bool, sqlx::Error> {
    let mut tx = db::begin(pool, org, Isolation::ReadCommitted).await?;
    let Some(sync_id) = command::sync_of(&mut tx, org, id).await? else {
        return Ok(false);
    };
    let Some(running) = sync::lock(&mut tx, org, sync_id).await? else {
        return Ok(false);
    };
    let Some(command) = command::next(&mut tx, org, sync_id).await? else {
        return Ok(false);
    };
    let outcome = apply(&mut tx, org, &command, &running).await?;
    command::applied(&mut tx, org, command.command_id, outcome).await?;
    tx.commit().await?;
    tracing::info!(org.id = %org, sync.id = %sync_id, command = ?command.kind, outcome, "a command was applied");
    Ok(true)
}

async fn apply(
    tx: &mut PgConnection,
    org: OrgId,
    command: &Command,
    running: &Running,
) -> Result<&'static str, sqlx::Error> {
    match command.kind {
        Kind::Start => start(tx, org, command, running).await,
        // The API accepts these with the workflow that carries them out; a queue shared with a newer API says so.
        Kind::Pause | Kind::Resume | Kind::Cancel => Ok("not supported by this worker"),
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
    let planned = if running.is_restricted {
        stage::plan_listed(&systems, &running.entity_types)
    } else {
        stage::plan(&systems, &running.entity_types)
    };
    stage::insert(tx, org, command.sync, &planned).await?;
    plan::open_next_stage(tx, org, command.sync).await?;
    Ok("applied")
}
