//! Commands: what people ask of a sync, applied by workers in the order in which they were accepted.

use sqlx::PgConnection;

use crate::id::{CommandId, OrgId, SyncId};
use crate::queue::{self, Bell};

#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Kind {
    Start,
    Pause,
    Resume,
    Cancel,
}

impl Kind {
    /// Returns the name used in the API, the tables and the logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
        }
    }
}

/// A command to be accepted.
#[derive(Clone, Debug)]
pub struct NewCommand {
    pub sync: SyncId,
    pub kind: Kind,
    pub requested_by: String,
    pub traceparent: Option<String>,
}

/// A command that waits to be applied.
#[derive(Clone, Debug)]
pub struct Command {
    pub command_id: CommandId,
    pub sync: SyncId,
    pub kind: Kind,
    pub requested_by: String,
    pub traceparent: Option<String>,
}

/// Stores a command under the sync's next sequence number and rings its bell, in the caller's transaction.
pub async fn enqueue(db: &mut PgConnection, org: OrgId, new: &NewCommand) -> Result<CommandId, sqlx::Error> {
    let id = CommandId::random();
    let sequence = sqlx::query_scalar!(
        "update sync_orchestration set command_sequence = command_sequence + 1
          where org_id = $1 and sync_id = $2
        returning command_sequence",
        org as _,
        new.sync as _,
    )
    .fetch_one(&mut *db)
    .await?;
    sqlx::query!(
        "insert into sync_command (org_id, command_id, sync_id, sequence, kind, requested_by, traceparent)
         values ($1, $2, $3, $4, $5, $6, $7)",
        org as _,
        id as _,
        new.sync as _,
        sequence,
        new.kind as _,
        new.requested_by,
        new.traceparent,
    )
    .execute(&mut *db)
    .await?;
    queue::ring(db, Bell::Command { org_id: org, id }, None).await?;
    Ok(id)
}

/// Finds the sync that a command is for.
pub async fn sync_of(
    db: &mut PgConnection,
    org: OrgId,
    id: CommandId,
) -> Result<Option<SyncId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select sync_id as "sync_id: SyncId" from sync_command where org_id = $1 and command_id = $2"#,
        org as _,
        id as _,
    )
    .fetch_optional(db)
    .await
}

/// Returns the sync's first command that was not applied yet. The caller holds the lock on the sync's row.
pub async fn next(db: &mut PgConnection, org: OrgId, sync: SyncId) -> Result<Option<Command>, sqlx::Error> {
    sqlx::query_as!(
        Command,
        r#"
        select command_id as "command_id: CommandId", sync_id as "sync: SyncId", kind as "kind: Kind", requested_by,
               traceparent
          from sync_command
         where org_id = $1 and sync_id = $2 and applied_at is null
         order by sequence
         limit 1
        "#,
        org as _,
        sync as _,
    )
    .fetch_optional(db)
    .await
}

/// Lists the kinds of a sync's commands that were not applied yet, in their order. The caller holds the lock on the sync's row.
pub async fn waiting(db: &mut PgConnection, org: OrgId, sync: SyncId) -> Result<Vec<Kind>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select kind as "kind: Kind" from sync_command
         where org_id = $1 and sync_id = $2 and applied_at is null
         order by sequence
        "#,
        org as _,
        sync as _,
    )
    .fetch_all(db)
    .await
}

/// Notes what became of a command. `false` where it was applied already.
pub async fn applied(
    db: &mut PgConnection,
    org: OrgId,
    id: CommandId,
    outcome: &str,
) -> Result<bool, sqlx::Error> {
    let noted = sqlx::query!(
        "update sync_command set applied_at = lockstep_now(), outcome = $3
          where org_id = $1 and command_id = $2 and applied_at is null",
        org as _,
        id as _,
        outcome,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(noted == 1)
}
