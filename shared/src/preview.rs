//! Previews: what a dry run would have written, item by item.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::entity::{Content, fields_of};
use crate::id::{ConnectionId, ItemId, OrgId, RecordId, SyncId};
use crate::system::EntityType;

/// What would happen to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Action {
    Create,
    Update,
    Delete,
    Unchanged,
    Conflict,
    /// The system could not hold it.
    Refused,
    /// Something else has to be carried first.
    Waits,
    /// The system does not have it any more: it would count as deleted there.
    Vanished,
}

impl Action {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Unchanged => "unchanged",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Waits => "waits",
            Self::Vanished => "vanished",
        }
    }
}

/// A field that would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What the remote holds.
    pub from: Option<Value>,
    /// What it would be given.
    pub to: Option<Value>,
}

/// What would happen to one item, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    pub item: ItemId,
    pub record: RecordId,
    pub action: Action,
    pub changes: BTreeMap<String, Change>,
    pub reason: Option<String>,
}

/// Compares what a remote holds with what it would be given, field by field. Pure.
pub fn changes(theirs: Option<&Content>, given: &Content) -> BTreeMap<String, Change> {
    let theirs = theirs.map(fields_of).unwrap_or_default();
    let given = fields_of(given);
    theirs
        .differing(&given)
        .into_iter()
        .map(|path| {
            let change = Change {
                from: theirs.get(&path).cloned(),
                to: given.get(&path).cloned(),
            };
            (path, change)
        })
        .collect()
}

/// Stores what a dry run found; an item that it looks at again is told of anew.
pub async fn store(
    db: &mut PgConnection,
    org: OrgId,
    (sync, connection, entity): (SyncId, ConnectionId, EntityType),
    previews: &[Preview],
) -> Result<(), sqlx::Error> {
    if previews.is_empty() {
        return Ok(());
    }
    let items: Vec<Uuid> = previews.iter().map(|preview| preview.item.0).collect();
    let records: Vec<Uuid> = previews.iter().map(|preview| preview.record.0).collect();
    let actions: Vec<String> = previews
        .iter()
        .map(|preview| preview.action.name().to_owned())
        .collect();
    let changes: Vec<Value> = previews
        .iter()
        .map(|preview| serde_json::to_value(&preview.changes).expect("changes have string keys"))
        .collect();
    let reasons: Vec<Option<String>> = previews.iter().map(|preview| preview.reason.clone()).collect();
    sqlx::query!(
        "insert into sync_preview (org_id, sync_id, preview_id, connection_id, entity_type, item_id, record_id, action,
                                   changes, reason)
         select $1, $2, gen_random_uuid(), $3, $4, p.item_id, p.record_id, p.action, p.changes, p.reason
           from unnest($5::uuid[], $6::uuid[], $7::text[], $8::jsonb[], $9::text[])
                p (item_id, record_id, action, changes, reason)
         on conflict (org_id, sync_id, item_id) do update
            set action = excluded.action, changes = excluded.changes, reason = excluded.reason",
        org as _,
        sync as _,
        connection as _,
        entity.name(),
        &items,
        &records,
        &actions,
        &changes,
        &reasons as &[Option<String>],
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A preview as it is listed.
#[derive(Clone, Debug)]
pub struct Listed {
    pub preview_id: Uuid,
    pub connection_id: ConnectionId,
    pub entity_type: EntityType,
    pub record_id: RecordId,
    pub action: Action,
    pub changes: Value,
    pub reason: Option<String>,
}

/// Lists the previews of a dry run in the order of their ids, after a given one.
pub async fn list(
    db: &mut PgConnection,
    org: OrgId,
    sync: SyncId,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Listed>, sqlx::Error> {
    sqlx::query_as!(
        Listed,
        r#"
        select preview_id, connection_id as "connection_id: ConnectionId", entity_type as "entity_type: EntityType",
               record_id as "record_id: RecordId", action as "action: Action", changes, reason
          from sync_preview
         where org_id = $1 and sync_id = $2 and ($3::uuid is null or preview_id > $3)
         order by preview_id
         limit $4
        "#,
        org as _,
        sync as _,
        after,
        limit,
    )
    .fetch_all(db)
    .await
}
