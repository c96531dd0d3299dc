//! Records: the organisation's own copy of its things, and the keys by which they are known again.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::entity::Content;
use crate::id::{OrgId, RecordId};
use crate::system::EntityType;

/// A record as it is stored.
#[derive(Clone, Debug)]
pub struct Record {
    pub record_id: RecordId,
    pub entity_type: EntityType,
    pub content: Value,
    pub version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A record to be written, new or with new content.
#[derive(Clone, Debug)]
pub struct Put {
    pub record_id: RecordId,
    pub content: Content,
}

/// Writes records of one entity type, with their keys. One that holds the same content already is left as it is;
/// returns those that changed.
///
/// A record of another entity type under one of the ids is an error of the caller and left as it is.
pub async fn put(
    db: &mut PgConnection,
    org: OrgId,
    entity: EntityType,
    puts: &[Put],
) -> Result<Vec<RecordId>, sqlx::Error> {
    store(db, org, entity, puts, &vec![None; puts.len()]).await
}

/// A record to be written with what a remote system holds.
#[derive(Clone, Debug)]
pub struct Take {
    pub put: Put,
    /// When the remote changed it, where it tells.
    pub changed_at: Option<DateTime<Utc>>,
}

/// Writes records as [`put`] does, with what was taken from a remote system: they count as changed when it changed them,
/// and not before what else they say was changed.
pub async fn take(
    db: &mut PgConnection,
    org: OrgId,
    entity: EntityType,
    takes: &[Take],
) -> Result<Vec<RecordId>, sqlx::Error> {
    let puts: Vec<Put> = takes.iter().map(|take| take.put.clone()).collect();
    let times: Vec<_> = takes.iter().map(|take| take.changed_at).collect();
    store(db, org, entity, &puts, &times).await
}

async fn store(
    db: &mut PgConnection,
    org: OrgId,
    entity: EntityType,
    puts: &[Put],
    times: &[Option<DateTime<Utc>>],
) -> Result<Vec<RecordId>, sqlx::Error> {
    if puts.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = puts.iter().map(|put| put.record_id.0).collect();
    let contents: Vec<Value> = puts.iter().map(|put| put.content.to_json()).collect();
    let hashes: Vec<Vec<u8>> = puts.iter().map(|put| put.content.hash().0.to_vec()).collect();
    let changed = sqlx::query_scalar!(
        r#"
        insert into record (org_id, record_id, entity_type, content, content_hash, changed_at)
        select $1, put.record_id, $2, put.content, put.content_hash, least(put.changed_at, lockstep_now())
          from unnest($3::uuid[], $4::jsonb[], $5::bytea[], $6::timestamptz[])
               put (record_id, content, content_hash, changed_at)
         order by put.record_id
        on conflict (org_id, record_id) do update
           set content = excluded.content, content_hash = excluded.content_hash, version = record.version + 1,
               updated_at = lockstep_now(),
               changed_at = case
                   when excluded.changed_at is not null
                   then greatest(excluded.changed_at, coalesce(record.changed_at, record.updated_at)) end
         where record.content_hash <> excluded.content_hash and record.entity_type = excluded.entity_type
        returning record_id as "record_id: RecordId"
        "#,
        org as _,
        entity as _,
        &ids,
        &contents,
        &hashes,
        times as &[Option<DateTime<Utc>>],
    )
    .fetch_all(&mut *db)
    .await?;
    let is_changed: std::collections::HashSet<RecordId> = changed.iter().copied().collect();
    let changed_puts = || puts.iter().filter(|put| is_changed.contains(&put.record_id));
    write_keys(db, org, entity, changed_puts()).await?;
    write_references(db, org, changed_puts()).await?;
    Ok(changed)
}

async fn write_references(
    db: &mut PgConnection,
    org: OrgId,
    puts: impl Iterator<Item = &Put>,
) -> Result<(), sqlx::Error> {
    let (mut all, mut records, mut referred) = (Vec::new(), Vec::new(), Vec::new());
    for put in puts {
        all.push(put.record_id.0);
        for target in put
            .content
            .references()
            .iter()
            .filter_map(|(_, reference)| reference.target())
        {
            records.push(put.record_id.0);
            referred.push(target.record.0);
        }
    }
    sqlx::query!(
        "delete from record_reference where org_id = $1 and record_id = any($2)",
        org as _,
        &all
    )
    .execute(&mut *db)
    .await?;
    sqlx::query!(
        "insert into record_reference (org_id, record_id, referred_id)
         select distinct $1::uuid, r.record_id, r.referred_id
           from unnest($2::uuid[], $3::uuid[]) r (record_id, referred_id)
          where exists (select from record t where t.org_id = $1 and t.record_id = r.referred_id)",
        org as _,
        &records,
        &referred,
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn write_keys(
    db: &mut PgConnection,
    org: OrgId,
    entity: EntityType,
    puts: impl Iterator<Item = &Put>,
) -> Result<(), sqlx::Error> {
    let (mut owners, mut kinds, mut values, mut all) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for put in puts {
        all.push(put.record_id.0);
        for key in put.content.natural_keys() {
            owners.push(put.record_id.0);
            kinds.push(key.kind.name().to_owned());
            values.push(key.value);
        }
    }
    sqlx::query!(
        "delete from record_key where org_id = $1 and record_id = any($2)",
        org as _,
        &all
    )
    .execute(&mut *db)
    .await?;
    sqlx::query!(
        "insert into record_key (org_id, entity_type, kind, value, record_id)
         select distinct $1::uuid, $2::text, key.kind, key.value, key.record_id
           from unnest($3::text[], $4::text[], $5::uuid[]) key (kind, value, record_id)",
        org as _,
        entity.name(),
        &kinds,
        &values,
        &owners,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What stands under an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub record_id: RecordId,
    pub entity_type: EntityType,
    pub version: i64,
}

/// Says what stands under ids; those under which nothing stands are left out.
pub async fn standing(
    db: &mut PgConnection,
    org: OrgId,
    ids: &[RecordId],
) -> Result<Vec<Standing>, sqlx::Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query_as!(
        Standing,
        r#"
        select record_id as "record_id: RecordId", entity_type as "entity_type: EntityType", version
          from record
         where org_id = $1 and record_id = any($2)
        "#,
        org as _,
        &ids,
    )
    .fetch_all(db)
    .await
}

/// Finds one record.
pub async fn find(db: &mut PgConnection, org: OrgId, id: RecordId) -> Result<Option<Record>, sqlx::Error> {
    sqlx::query_as!(
        Record,
        r#"
        select record_id as "record_id: RecordId", entity_type as "entity_type: EntityType", content, version,
               created_at, updated_at
          from record
         where org_id = $1 and record_id = $2
        "#,
        org as _,
        id as _,
    )
    .fetch_optional(db)
    .await
}

/// Lists records of one entity type in the order of their ids, after a given one.
pub async fn list(
    db: &mut PgConnection,
    org: OrgId,
    entity: EntityType,
    after: Option<RecordId>,
    limit: i64,
) -> Result<Vec<Record>, sqlx::Error> {
    sqlx::query_as!(
        Record,
        r#"
        select record_id as "record_id: RecordId", entity_type as "entity_type: EntityType", content, version,
               created_at, updated_at
          from record
         where org_id = $1 and entity_type = $2 and ($3::uuid is null or record_id > $3)
         order by record_id
         limit $4
        "#,
        org as _,
        entity as _,
        after as _,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Finds the records that answer to keys, by `(kind, value)`.
pub async fn by_keys(
    db: &mut PgConnection,
    org: OrgId,
    entity: EntityType,
    keys: &[(String, String)],
) -> Result<BTreeMap<(String, String), Vec<RecordId>>, sqlx::Error> {
    let (kinds, values): (Vec<String>, Vec<String>) = keys.iter().cloned().unzip();
    let rows = sqlx::query!(
        r#"
        select k.kind, k.value, k.record_id as "record_id: RecordId"
          from unnest($3::text[], $4::text[]) wanted (kind, value)
          -- `offset 0` keeps the look-up by the whole key, one per wanted value, whatever the planner knows of a young table.
         cross join lateral (
              select kind, value, record_id
                from record_key
               where org_id = $1 and entity_type = $2 and kind = wanted.kind and value = wanted.value
              offset 0) k
        "#,
        org as _,
        entity.name(),
        &kinds,
        &values,
    )
    .fetch_all(db)
    .await?;
    let mut hits: BTreeMap<(String, String), Vec<RecordId>> = BTreeMap::new();
    for row in rows {
        let owners = hits.entry((row.kind, row.value)).or_default();
        if !owners.contains(&row.record_id) {
            owners.push(row.record_id);
        }
    }
    Ok(hits)
}

/// Reads the contents of records of one entity type, and when each was changed where it was changed.
pub async fn contents(
    db: &mut PgConnection,
    org: OrgId,
    entity: EntityType,
    ids: &[RecordId],
) -> Result<Vec<(RecordId, Value, DateTime<Utc>)>, sqlx::Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"
        select record_id as "record_id: RecordId", content, coalesce(changed_at, updated_at) as "changed_at!"
          from record
         where org_id = $1 and entity_type = $2 and record_id = any($3)
        "#,
        org as _,
        entity as _,
        &ids,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.record_id, row.content, row.changed_at))
        .collect())
}
