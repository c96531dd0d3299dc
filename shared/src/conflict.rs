//! Conflicts as rows: what a rule or a person must decide.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::id::{ConflictId, ConnectionId, ItemId, OrgId, SyncId};
use crate::notification::{self, Event};
use crate::system::EntityType;

/// What kind of disagreement it is (R20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[sqlx(type_name = "text")]
pub enum ConflictType {
    DataMismatch,
    DuplicateKey,
    ValidationError,
    AuthError,
    RetryExhausted,
}

/// A conflict to be stored.
#[derive(Clone, Debug)]
pub struct NewConflict {
    pub sync: Option<SyncId>,
    pub connection: ConnectionId,
    /// None where it is about the connection as a whole.
    pub item: Option<ItemId>,
    pub entity: EntityType,
    pub conflict_type: ConflictType,
    /// Base, ours, theirs, the fields, the proposed merge, and the remote's own words.
    pub data: Value,
}

/// Stores a conflict; where the same is open already, brings its data up to date instead.
pub async fn open(db: &mut PgConnection, org: OrgId, new: &NewConflict) -> Result<(), sqlx::Error> {
    let updated = sqlx::query!(
        "update sync_conflict set data = $5
          where org_id = $1 and connection_id = $2 and item_id is not distinct from $3 and conflict_type = $4
            and entity_type = $6 and not is_resolved",
        org as _,
        new.connection as _,
        new.item as _,
        new.conflict_type as _,
        new.data,
        new.entity as _,
    )
    .execute(&mut *db)
    .await?
    .rows_affected();
    if updated > 0 {
        return Ok(());
    }
    let id = ConflictId::random();
    let opened = sqlx::query!(
        "insert into sync_conflict (id, org_id, sync_id, connection_id, item_id, entity_type, conflict_type, data)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict do nothing",
        id as _,
        org as _,
        new.sync as _,
        new.connection as _,
        new.item as _,
        new.entity as _,
        new.conflict_type as _,
        new.data,
    )
    .execute(&mut *db)
    .await?
    .rows_affected();
    if opened == 1 {
        let told = json!({
            "conflictId": id, "connectionId": new.connection, "syncId": new.sync, "itemId": new.item,
            "entityType": new.entity, "conflictType": new.conflict_type, "reason": new.data["reason"],
        });
        notification::tell(db, org, Event::ConflictOpened, &told).await?;
    }
    Ok(())
}

/// Closes the open conflicts about refused credentials of a connection that lets us in again (R27).
pub async fn close_admitted(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
) -> Result<u64, sqlx::Error> {
    let closed = sqlx::query!(
        "update sync_conflict set is_resolved = true, resolution_action = 'solved_itself', resolved_at = lockstep_now()
          where org_id = $1 and connection_id = $2 and item_id is null and conflict_type = 'AuthError'
            and not is_resolved",
        org as _,
        connection as _,
    )
    .execute(db)
    .await?;
    Ok(closed.rows_affected())
}

/// Closes the open conflicts of items that got through after all (R27).
pub async fn close_settled(db: &mut PgConnection, org: OrgId, items: &[ItemId]) -> Result<u64, sqlx::Error> {
    let items: Vec<uuid::Uuid> = items.iter().map(|id| id.0).collect();
    let closed = sqlx::query!(
        "update sync_conflict set is_resolved = true, resolution_action = 'solved_itself', resolved_at = lockstep_now()
          where org_id = $1 and item_id = any($2) and not is_resolved",
        org as _,
        &items,
    )
    .execute(db)
    .await?;
    Ok(closed.rows_affected())
}

/// Closes the open conflict of one type that is about a connection's records of a type as a whole.
pub async fn close_of_type(
    db: &mut PgConnection,
    org: OrgId,
    (connection, entity): (ConnectionId, EntityType),
    conflict_type: ConflictType,
) -> Result<u64, sqlx::Error> {
    let closed = sqlx::query!(
        "update sync_conflict set is_resolved = true, resolution_action = 'solved_itself', resolved_at = lockstep_now()
          where org_id = $1 and connection_id = $2 and entity_type = $3 and conflict_type = $4 and item_id is null
            and not is_resolved",
        org as _,
        connection as _,
        entity as _,
        conflict_type as _,
    )
    .execute(db)
    .await?;
    Ok(closed.rows_affected())
}
