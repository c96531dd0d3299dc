//! Full scans: a pull that reads everything a system holds of one type, and then asks about what it did not see.
//!
//! How far it is stands with its stage. The cursor of changes is another matter and stays where it is: a scan neither
//! needs it nor moves it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::deletion::Missing;
use crate::id::{ConnectionId, ItemId, OrgId, StageId};
use crate::system::EntityType;

/// How far a full scan is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Scan {
    /// Reading page by page, from the connector's own position.
    Reading { cursor: Value },
    /// Asking for what was not seen, in the order of external ids: behind `after`. Of `known` things that there were,
    /// `missing` are not there so far.
    Checking { after: String, known: i64, missing: i64 },
    /// Carrying out what was found.
    Retiring,
}

impl Default for Scan {
    fn default() -> Self {
        Self::Reading { cursor: Value::Null }
    }
}

/// Reads how far a stage's scan is; the beginning where none is stored.
pub async fn read(db: &mut PgConnection, org: OrgId, stage: StageId) -> Result<Scan, sqlx::Error> {
    let stored = sqlx::query_scalar!(
        "select scan from sync_stage where org_id = $1 and stage_id = $2",
        org as _,
        stage as _,
    )
    .fetch_one(db)
    .await?;
    match stored {
        None => Ok(Scan::default()),
        Some(json) => serde_json::from_value(json).map_err(|error| sqlx::Error::Decode(error.into())),
    }
}

/// Stores how far a stage's scan is. The caller's transaction is fenced by its batch's token.
pub async fn store(
    db: &mut PgConnection,
    org: OrgId,
    stage: StageId,
    scan: &Scan,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sync_stage set scan = $3 where org_id = $1 and stage_id = $2",
        org as _,
        stage as _,
        serde_json::to_value(scan).expect("a scan is plain JSON"),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that things are there.
pub async fn see(
    db: &mut PgConnection,
    org: OrgId,
    (connection, entity): (ConnectionId, EntityType),
    external_ids: &[String],
) -> Result<(), sqlx::Error> {
    if external_ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update item set seen_at = lockstep_now(), missing_stage_id = null
          where org_id = $1 and connection_id = $2 and entity_type = $3 and external_id = any($4) and gone_at is null",
        org as _,
        connection as _,
        entity as _,
        external_ids,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Lists things that nobody has seen since the stage opened, behind an external id, in the order of those. What was
/// found or written meanwhile was there, and what a batch has in hand is looked at by that.
pub async fn unseen(
    db: &mut PgConnection,
    org: OrgId,
    (connection, entity): (ConnectionId, EntityType),
    (stage, after): (StageId, &str),
    limit: i64,
) -> Result<Vec<Missing>, sqlx::Error> {
    sqlx::query_as!(
        Missing,
        r#"
        select i.item_id as "item_id: ItemId", i.record_id as "record_id: crate::id::RecordId",
               i.external_id as "external_id!"
          from item i
         where i.org_id = $1 and i.connection_id = $2 and i.entity_type = $3
           and i.external_id is not null and i.external_id > $5 and i.gone_at is null and i.batch_id is null
           and greatest(i.seen_at, i.last_synced_at, '-infinity')
               < (select opened_at from sync_stage where org_id = $1 and stage_id = $4)
         order by i.external_id
         limit $6
        "#,
        org as _,
        connection as _,
        entity as _,
        stage as _,
        after,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Marks things as missing, as far as this stage knows; returns how many.
pub async fn miss(
    db: &mut PgConnection,
    org: OrgId,
    stage: StageId,
    items: &[ItemId],
) -> Result<i64, sqlx::Error> {
    let items: Vec<Uuid> = items.iter().map(|id| id.0).collect();
    let marked = sqlx::query!(
        "update item set missing_stage_id = $2
          where org_id = $1 and item_id = any($3) and batch_id is null and gone_at is null",
        org as _,
        stage as _,
        &items,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(i64::try_from(marked).unwrap_or(i64::MAX))
}

/// Lists things that a stage marked as missing and that nothing was done about yet.
pub async fn missed(
    db: &mut PgConnection,
    org: OrgId,
    stage: StageId,
    limit: i64,
) -> Result<Vec<Missing>, sqlx::Error> {
    sqlx::query_as!(
        Missing,
        r#"
        select item_id as "item_id: ItemId", record_id as "record_id: crate::id::RecordId",
               external_id as "external_id!"
          from item
         where org_id = $1 and missing_stage_id = $2 and gone_at is null and batch_id is null
           and external_id is not null
         order by item_id
         limit $3
        "#,
        org as _,
        stage as _,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Takes the mark from things again.
pub async fn unmiss(db: &mut PgConnection, org: OrgId, items: &[ItemId]) -> Result<(), sqlx::Error> {
    let items: Vec<Uuid> = items.iter().map(|id| id.0).collect();
    sqlx::query!(
        "update item set missing_stage_id = null where org_id = $1 and item_id = any($2) and gone_at is null",
        org as _,
        &items,
    )
    .execute(db)
    .await?;
    Ok(())
}
