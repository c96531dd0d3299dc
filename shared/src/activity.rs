//! The audit trail: one line per thing that happened. Append-only.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::id::{OrgId, SyncId};

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Outcome {
    Done,
    Refused,
    Failed,
}

/// One line of the audit trail.
#[derive(Clone, Debug)]
pub struct Activity {
    pub sync: Option<SyncId>,
    /// Who: a user's name from the token, or `worker`.
    pub actor: String,
    /// What, as `thing.verb`: `sync.started`, `batch.settled`.
    pub action: &'static str,
    pub outcome: Outcome,
    /// Never holds a credential or a customer's data.
    pub details: Value,
}

/// Writes one line, in the transaction that does what it tells of.
pub async fn record(db: &mut PgConnection, org: OrgId, activity: Activity) -> Result<(), sqlx::Error> {
    let Activity {
        sync,
        actor,
        action,
        outcome,
        details,
    } = activity;
    sqlx::query!(
        "insert into sync_activity_log (org_id, activity_id, sync_id, actor, action, outcome, details)
         values ($1, $2, $3, $4, $5, $6, $7)",
        org as _,
        Uuid::now_v7(),
        sync as _,
        actor,
        action,
        outcome as _,
        details,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Makes the partitions for this month and the next.
pub async fn ensure_partitions(db: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select ensure_activity_month(lockstep_now())::text, ensure_activity_month(lockstep_now() + interval '1 month')::text as next"
    )
    .fetch_one(db)
    .await?;
    Ok(())
}
