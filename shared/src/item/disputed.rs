//! Items that a conflict is about, while its answer is applied.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::State;
use crate::decide::Agreed;
use crate::id::{ConnectionId, ItemId, OrgId, RecordId, StageId};

/// An item with its record, both locked.
#[derive(Clone, Debug)]
pub struct Disputed {
    pub record_id: RecordId,
    pub state: State,
    pub base: Option<Value>,
    pub held: Option<Value>,
    /// The record's content.
    pub content: Value,
    /// Whether a batch has it in hand: then nobody else may change it.
    pub is_in_hand: bool,
    /// Whether its thing counts as deleted.
    pub is_gone: bool,
}

/// Locks an item and its record.
pub async fn lock(db: &mut PgConnection, org: OrgId, id: ItemId) -> Result<Option<Disputed>, sqlx::Error> {
    sqlx::query_as!(
        Disputed,
        r#"
        select r.record_id as "record_id: RecordId", i.state as "state: State", i.base, i.held, r.content,
               (i.batch_id is not null) as "is_in_hand!", (i.gone_at is not null) as "is_gone!"
          from record r
          join item i on i.org_id = r.org_id and i.record_id = r.record_id
         where i.org_id = $1 and i.item_id = $2
           for update of r, i
        "#,
        org as _,
        id as _,
    )
    .fetch_optional(db)
    .await
}

/// Sets an item as its conflict was answered. It counts as due from now on; a new base moves its generation on, so that
/// the same write may be needed again. The caller has locked it.
pub async fn answer(
    db: &mut PgConnection,
    org: OrgId,
    id: ItemId,
    (state, base): (State, Option<&Agreed>),
    last_error: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update item
            set state = $3, base = coalesce($4, base), held = case when $4::jsonb is null then held else $5 end,
                generation = generation + ($4::jsonb is not null)::int, due_sequence = nextval('item_due_sequence'),
                retries = 0, retry_stage_id = null, retry_at = null, last_error = $6,
                last_synced_at = case when $3 = 'synced' then lockstep_now() else last_synced_at end
          where org_id = $1 and item_id = $2 and batch_id is null and gone_at is null",
        org as _,
        id as _,
        state.name(),
        base.map(|base| base.ours.to_json()),
        base.and_then(Agreed::held),
        last_error,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Has the items of a record that are due join stages that are open, which would not pick them any more by themselves:
/// as retries that are due now. Returns how many joined. The caller has locked the stages.
pub async fn join(
    db: &mut PgConnection,
    org: OrgId,
    record: RecordId,
    stages: &[(StageId, ConnectionId)],
    now: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let (stages, connections): (Vec<Uuid>, Vec<Uuid>) = stages
        .iter()
        .map(|(stage, connection)| (stage.0, connection.0))
        .unzip();
    let joined = sqlx::query!(
        "update item i set retry_stage_id = s.stage_id, retry_at = $5
           from unnest($3::uuid[], $4::uuid[]) s (stage_id, connection_id)
          where i.org_id = $1 and i.record_id = $2 and i.connection_id = s.connection_id
            and i.state = 'pending' and i.batch_id is null and i.retry_stage_id is null and i.gone_at is null",
        org as _,
        record as _,
        &stages,
        &connections,
        now,
    )
    .execute(db)
    .await?;
    Ok(joined.rows_affected())
}
