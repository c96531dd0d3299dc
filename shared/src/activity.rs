//! The audit trail: one line per thing that happened. Append-only.

use chrono::{DateTime, Utc};
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

/// Writes one line, in the transaction that does what it tells of; `organisation::enter` said from where.
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

/// Which lines to list; what is left out is not asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub action: Option<String>,
    pub actor: Option<String>,
    pub outcome: Option<Outcome>,
    pub sync: Option<SyncId>,
    pub request_id: Option<String>,
    /// From then on.
    pub from: Option<DateTime<Utc>>,
    /// Before then.
    pub to: Option<DateTime<Utc>>,
}

/// A line as it is shown.
#[derive(Clone, Debug)]
pub struct Line {
    pub activity_id: Uuid,
    pub created_at: DateTime<Utc>,
    pub sync_id: Option<SyncId>,
    pub actor: String,
    pub action: String,
    pub outcome: Outcome,
    pub details: Value,
    /// Where the request came from; none for what a worker did.
    pub source_address: Option<String>,
    pub request_id: Option<String>,
}

/// A place in the list.
#[derive(Clone, Copy, Debug)]
pub struct After {
    pub created_at: DateTime<Utc>,
    pub activity_id: Uuid,
}

/// Lists an organisation's lines, newest first.
pub async fn list(
    db: &mut PgConnection,
    org: OrgId,
    filter: &Filter,
    after: Option<After>,
    limit: i64,
) -> Result<Vec<Line>, sqlx::Error> {
    sqlx::query_as!(
        Line,
        r#"
        select activity_id, created_at, sync_id as "sync_id: SyncId", actor, action, outcome as "outcome: Outcome", details,
               source_address, request_id
          from sync_activity_log
         where org_id = $1
           and ($2::text is null or action = $2)
           and ($3::text is null or actor = $3)
           and ($4::text is null or outcome = $4)
           and ($5::uuid is null or sync_id = $5)
           and ($6::text is null or request_id = $6)
           and created_at >= coalesce($7, '-infinity'::timestamptz)
           and created_at < coalesce($8, 'infinity'::timestamptz)
           and ($9::timestamptz is null or (created_at, activity_id) < ($9, $10))
         order by created_at desc, activity_id desc
         limit $11
        "#,
        org as _,
        filter.action,
        filter.actor,
        filter.outcome as _,
        filter.sync as _,
        filter.request_id,
        filter.from,
        filter.to,
        after.map(|after| after.created_at),
        after.map(|after| after.activity_id),
        limit,
    )
    .fetch_all(db)
    .await
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
