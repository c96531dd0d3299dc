//! Items: records as one connection must see them. The unit of work.

pub mod disputed;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::deletion;
use crate::id::{BatchId, ConnectionId, ItemId, OrgId, RecordId, StageId};
use crate::stage::{Scope, Stage};
use crate::system::{EntityType, System};

/// Where an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum State {
    /// To be looked at by the next stage of its kind.
    Pending,
    Synced,
    /// The remote refused it; tried again by the next sync.
    Failed,
    Skipped,
    /// Waits for a person.
    Conflict,
    /// A request that carries it had no answer; it is looked up before anything is sent again.
    InDoubt,
}

impl State {
    /// Returns the name used in the API, the tables and the logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Synced => "synced",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Conflict => "conflict",
            Self::InDoubt => "in_doubt",
        }
    }
}

/// An item with its record, as a batch works on it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub item_id: ItemId,
    pub record_id: RecordId,
    pub state: State,
    pub due_sequence: i64,
    pub external_id: Option<String>,
    pub parts: Value,
    pub base: Option<Value>,
    /// What the remote made of the base, where that is not the same.
    pub held: Option<Value>,
    pub generation: i64,
    pub retries: i32,
    /// The record's content.
    pub content: Value,
    /// When the record was changed, where it was changed.
    pub changed_at: DateTime<Utc>,
}

/// What was picked for a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Picked {
    pub count: i32,
    /// The highest due sequence among them; where the lane goes on.
    pub position: i64,
}

/// Puts the next items that are due into a batch: those of the stage's kind behind the lane's position and below the
/// stage's high-water mark, of a stage of named things only what others wait for, of one of listed records only these.
/// Items in other hands are passed over, and come with the next sync.
pub async fn pick_due(
    db: &mut PgConnection,
    org: OrgId,
    stage: &Stage,
    (batch, position): (BatchId, i64),
    limit: i64,
) -> Result<Picked, sqlx::Error> {
    if stage.scope == Scope::Listed {
        return pick_listed(db, org, stage, (batch, position), limit).await;
    }
    sqlx::query_as!(
        Picked,
        r#"
        with due as (
            select item_id
              from item
             where org_id = $1 and connection_id = $2 and entity_type = $3
               and state in ('pending', 'failed') and batch_id is null and retry_stage_id is null and gone_at is null
               and due_sequence > $4 and due_sequence <= $5
               and ($8 = 'all' or item_is_awaited(org_id, connection_id, record_id, external_id))
             order by due_sequence
             limit $6
               for update skip locked
        ), picked as (
            update item i set batch_id = $7, retries = 0
              from due
             where i.org_id = $1 and i.item_id = due.item_id
            returning i.due_sequence
        )
        select count(*)::integer as "count!", coalesce(max(due_sequence), $4) as "position!" from picked
        "#,
        org as _,
        stage.connection_id as _,
        stage.entity_type as _,
        position,
        stage.high_water.unwrap_or(0),
        limit,
        batch as _,
        stage.scope.name(),
    )
    .fetch_one(db)
    .await
}

/// Does so for a stage of listed records: a query of its own, which begins with the list, however much else is due.
async fn pick_listed(
    db: &mut PgConnection,
    org: OrgId,
    stage: &Stage,
    (batch, position): (BatchId, i64),
    limit: i64,
) -> Result<Picked, sqlx::Error> {
    sqlx::query_as!(
        Picked,
        r#"
        with due as (
            select i.item_id
              from sync_record l
              join item i on i.org_id = l.org_id and i.record_id = l.record_id
             where l.org_id = $1 and l.sync_id = $8 and i.connection_id = $2 and i.entity_type = $3
               and (l.connection_ids is null or i.connection_id = any (l.connection_ids))
               and i.state in ('pending', 'failed') and i.batch_id is null and i.retry_stage_id is null
               and i.gone_at is null and i.due_sequence > $4 and i.due_sequence <= $5
             order by i.due_sequence
             limit $6
               for update of i skip locked
        ), picked as (
            update item i set batch_id = $7, retries = 0
              from due
             where i.org_id = $1 and i.item_id = due.item_id
            returning i.due_sequence
        )
        select count(*)::integer as "count!", coalesce(max(due_sequence), $4) as "position!" from picked
        "#,
        org as _,
        stage.connection_id as _,
        stage.entity_type as _,
        position,
        stage.high_water.unwrap_or(0),
        limit,
        batch as _,
        stage.sync_id as _,
    )
    .fetch_one(db)
    .await
}

/// Returns when the stage's earliest retry is due.
pub async fn earliest_retry(
    db: &mut PgConnection,
    org: OrgId,
    stage: StageId,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!(
        "select min(retry_at) from item where org_id = $1 and retry_stage_id = $2",
        org as _,
        stage as _
    )
    .fetch_one(db)
    .await
}

/// Puts the stage's retries that are due by a time into a batch; returns how many.
pub async fn pick_retries(
    db: &mut PgConnection,
    org: OrgId,
    stage: StageId,
    (batch, by): (BatchId, DateTime<Utc>),
    limit: i64,
) -> Result<i32, sqlx::Error> {
    let picked = sqlx::query!(
        "update item i set batch_id = $3, retry_stage_id = null, retry_at = null
           from (select item_id from item
                  where org_id = $1 and retry_stage_id = $2 and retry_at <= $4
                  order by retry_at limit $5 for update skip locked) due
          where i.org_id = $1 and i.item_id = due.item_id",
        org as _,
        stage as _,
        batch as _,
        by,
        limit,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(i32::try_from(picked).unwrap_or(i32::MAX))
}

/// Loads a batch's items with their records, in the order in which they became due.
pub async fn of_batch(db: &mut PgConnection, org: OrgId, batch: BatchId) -> Result<Vec<Loaded>, sqlx::Error> {
    sqlx::query_as!(
        Loaded,
        r#"
        select i.item_id as "item_id: ItemId", i.record_id as "record_id: RecordId", i.state as "state: State",
               i.due_sequence, i.external_id, i.parts, i.base, i.held, i.generation, i.retries, r.content,
               coalesce(r.changed_at, r.updated_at) as "changed_at!"
          from item i
          join record r on r.org_id = i.org_id and r.record_id = i.record_id
         where i.org_id = $1 and i.batch_id = $2
         order by i.due_sequence
        "#,
        org as _,
        batch as _,
    )
    .fetch_all(db)
    .await
}

/// What a batch came to for one item.
#[derive(Clone, Debug)]
pub struct Settled {
    pub item_id: ItemId,
    /// The due sequence it was loaded with: where it moved since, the item has to be looked at again.
    pub due_sequence: i64,
    pub state: State,
    pub external_id: Option<String>,
    pub parts: Value,
    /// The new base, where both sides agreed on something: the content that was carried, not that of now.
    pub base: Option<Value>,
    /// What the remote made of it, where that is not the same.
    pub held: Option<Value>,
    pub retries: i32,
    pub retry_at: Option<DateTime<Utc>>,
    pub last_error: Option<String>,
    /// The follow-up batch that it moves to.
    pub follow_up: Option<BatchId>,
}

/// Settles items of a batch. The caller's transaction is fenced by the batch's token.
pub async fn settle(
    db: &mut PgConnection,
    org: OrgId,
    (batch, stage): (BatchId, StageId),
    settled: &[Settled],
) -> Result<u64, sqlx::Error> {
    let ids: Vec<Uuid> = settled.iter().map(|s| s.item_id.0).collect();
    let sequences: Vec<i64> = settled.iter().map(|s| s.due_sequence).collect();
    let states: Vec<String> = settled.iter().map(|s| s.state.name().to_owned()).collect();
    let external_ids: Vec<Option<String>> = settled.iter().map(|s| s.external_id.clone()).collect();
    let parts: Vec<Value> = settled.iter().map(|s| s.parts.clone()).collect();
    let bases: Vec<Option<Value>> = settled.iter().map(|s| s.base.clone()).collect();
    let helds: Vec<Option<Value>> = settled.iter().map(|s| s.held.clone()).collect();
    let retries: Vec<i32> = settled.iter().map(|s| s.retries).collect();
    let retry_ats: Vec<Option<DateTime<Utc>>> = settled.iter().map(|s| s.retry_at).collect();
    let errors: Vec<Option<String>> = settled.iter().map(|s| s.last_error.clone()).collect();
    let follow_ups: Vec<Option<Uuid>> = settled.iter().map(|s| s.follow_up.map(|id| id.0)).collect();
    let done = sqlx::query!(
        "update item i
            set state = case when s.state = 'synced' and i.due_sequence <> s.due_sequence then 'pending' else s.state end,
                external_id = coalesce(s.external_id, i.external_id),
                parts = case when s.external_id is null then i.parts else s.parts end, base = coalesce(s.base, i.base),
                held = case when s.base is null then i.held else s.held end,
                generation = i.generation + (s.base is not null)::int,
                retries = s.retries, last_error = s.error, batch_id = s.follow_up,
                settled_sync_id = (select b.sync_id from sync_batch b where b.org_id = $1 and b.batch_id = $2),
                retry_at = s.retry_at, retry_stage_id = case when s.retry_at is not null then $3::uuid end,
                last_synced_at = case when s.state = 'synced' then lockstep_now() else i.last_synced_at end
           from unnest($4::uuid[], $5::bigint[], $6::text[], $7::text[], $8::jsonb[], $9::jsonb[], $10::int[],
                       $11::timestamptz[], $12::text[], $13::uuid[], $14::jsonb[])
                s (item_id, due_sequence, state, external_id, parts, base, retries, retry_at, error, follow_up, held)
          where i.org_id = $1 and i.batch_id = $2 and i.item_id = s.item_id",
        org as _,
        batch as _,
        stage as _,
        &ids,
        &sequences,
        &states,
        &external_ids as &[Option<String>],
        &parts,
        &bases as &[Option<Value>],
        &retries,
        &retry_ats as &[Option<DateTime<Utc>>],
        &errors as &[Option<String>],
        &follow_ups as &[Option<Uuid>],
        &helds as &[Option<Value>],
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Lets go of whatever a batch that is over still has in hand.
pub async fn let_go(db: &mut PgConnection, org: OrgId, batch: BatchId) -> Result<u64, sqlx::Error> {
    let freed = sqlx::query!(
        "update item set batch_id = null, state = case when state = 'in_doubt' then 'pending' else state end
          where org_id = $1 and batch_id = $2",
        org as _,
        batch as _,
    )
    .execute(db)
    .await?;
    Ok(freed.rows_affected())
}

/// Lets go of whatever a stage that ends early still has in hand in any of its lanes, or has put off. What is in doubt stays
/// so in the log of effects: whoever takes the item up next looks first.
pub async fn let_go_of_stage(db: &mut PgConnection, org: OrgId, stage: StageId) -> Result<u64, sqlx::Error> {
    let freed = sqlx::query!(
        "update item
            set batch_id = null, retry_stage_id = null, retry_at = null,
                state = case when state = 'in_doubt' then 'pending' else state end
          where org_id = $1
            and (retry_stage_id = $2
                 or batch_id in (select batch_id from sync_batch where org_id = $1 and stage_id = $2))",
        org as _,
        stage as _,
    )
    .execute(db)
    .await?;
    Ok(freed.rows_affected())
}

/// Makes records due for every connection but one (their source), with an item each where there is none yet. An item
/// in a batch stays there; its due sequence moves, so whoever settles it leaves it pending. Where its thing was deleted
/// nothing is due, unless there is no source: who puts a record again wants it made again.
pub async fn make_due(
    db: &mut PgConnection,
    org: OrgId,
    entity: EntityType,
    records: &[RecordId],
    source: Option<ConnectionId>,
) -> Result<(), sqlx::Error> {
    if records.is_empty() {
        return Ok(());
    }
    if source.is_none() {
        deletion::forget(db, org, records).await?;
    }
    let records: Vec<Uuid> = records.iter().map(|id| id.0).collect();
    sqlx::query!(
        "insert into item (org_id, item_id, connection_id, record_id, entity_type, state)
         select $1, gen_random_uuid(), c.connection_id, r.record_id, $2, 'pending'
           from connection c
          cross join unnest($3::uuid[]) r (record_id)
          where c.org_id = $1 and c.connection_id is distinct from $4
            -- Of a deleted connection only what it knew is kept up, in case it is made again.
            and (c.deleted_at is null or exists (
                select from item k
                 where k.org_id = $1 and k.connection_id = c.connection_id and k.record_id = r.record_id))
            -- What people did in one store never crosses into another of the same system (R52).
            and ($2 in ('products', 'inventory') or not exists (
                select from connection s
                 where s.org_id = $1 and s.connection_id = $4 and s.system = c.system))
          order by r.record_id, c.connection_id
         on conflict (org_id, connection_id, record_id) do update
            set state = case when item.state = 'in_doubt' or item.gone_at is not null then item.state else 'pending' end,
                due_sequence = nextval('item_due_sequence'), retries = 0,
                retry_stage_id = null, retry_at = null",
        org as _,
        entity.name(),
        &records,
        source as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Makes items for the records that a connection has never seen: those older than the connection. Returns how many.
pub async fn make_missing(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    entity: EntityType,
) -> Result<u64, sqlx::Error> {
    let made = sqlx::query!(
        "insert into item (org_id, item_id, connection_id, record_id, entity_type, state)
         select $1, gen_random_uuid(), $2, r.record_id, $3, 'pending'
           from record r
          where r.org_id = $1 and r.entity_type = $3
            -- `offset 0` keeps it a look-up per record, whatever the planner knows of a young table.
            and not exists (
                select from item i
                 where i.org_id = $1 and i.connection_id = $2 and i.record_id = r.record_id
                offset 0)
            -- What people did in one store never crosses into another of the same system (R52).
            and ($3 in ('products', 'inventory') or not exists (
                select from item i
                  join connection other on other.org_id = i.org_id and other.connection_id = i.connection_id
                  join connection own on own.org_id = $1 and own.connection_id = $2 and own.system = other.system
                 where i.org_id = $1 and i.record_id = r.record_id and i.external_id is not null
                offset 0))
         on conflict (org_id, connection_id, record_id) do nothing",
        org as _,
        connection as _,
        entity.name(),
    )
    .execute(db)
    .await?;
    Ok(made.rows_affected())
}

/// An item that a pull met again.
#[derive(Clone, Debug)]
pub struct Met {
    pub item_id: ItemId,
    pub record_id: RecordId,
    pub external_id: Option<String>,
    pub parts: Value,
    pub base: Option<Value>,
    pub held: Option<Value>,
    pub content: Value,
    /// When the record was changed, where it was changed.
    pub changed_at: DateTime<Utc>,
    /// Whether a batch has it in hand: then it is only marked for another look.
    pub is_in_hand: bool,
    /// Whether its thing counts as deleted.
    pub is_gone: bool,
    /// Whether a write that carries it is not through, because a request had no answer or further steps are to follow: only a
    /// push ends that, and it is not in step until then.
    pub is_under_way: bool,
    /// When a write of ours ended after the reading of what was seen began: that may be how the thing was before.
    pub overtaken_at: Option<DateTime<Utc>>,
    /// What the last write carried, where that arrived whole and no batch has settled it: it is agreed on all the same.
    pub arrived: Option<Json<Arrived>>,
    pub state: State,
}

/// What a write carried that arrived, as the log has it.
#[derive(Clone, Debug, Deserialize)]
pub struct Arrived {
    pub content: Value,
    /// What the remote made of it, where that is not just what was sent.
    pub held: Option<Value>,
    /// Fields of the content that are the remote's own change, which our record may not have yet.
    pub taken: BTreeSet<String>,
}

/// Finds a connection's items by the remote's ids or by their records, and what is known of them beside what was seen from
/// `read_at` on. Records and items are locked before anything is read of them: an older page must not be written over a
/// newer one, nor over what a push settles meanwhile.
pub async fn meet(
    db: &mut PgConnection,
    org: OrgId,
    (connection, entity): (ConnectionId, EntityType),
    (external_ids, records): (&[String], &[RecordId]),
    read_at: DateTime<Utc>,
) -> Result<Vec<Met>, sqlx::Error> {
    let records: Vec<Uuid> = records.iter().map(|id| id.0).collect();
    let items = sqlx::query_scalar!(
        r#"
        select i.item_id
          from (
              select item_id from item
               where org_id = $1 and connection_id = $2 and entity_type = $3 and external_id = any($4)
              union
              select item_id from item
               where org_id = $1 and connection_id = $2 and entity_type = $3 and record_id = any($5)
          ) found
          join item i on i.org_id = $1 and i.item_id = found.item_id
          join record r on r.org_id = i.org_id and r.record_id = i.record_id
         order by r.record_id
           for update of r, i
        "#,
        org as _,
        connection as _,
        entity as _,
        external_ids,
        &records,
    )
    .fetch_all(&mut *db)
    .await?;
    sqlx::query_as!(
        Met,
        r#"
        select i.item_id as "item_id: ItemId", i.record_id as "record_id: RecordId", i.external_id, i.parts, i.base, i.held,
                r.content,
                coalesce(r.changed_at, r.updated_at) as "changed_at!", (i.batch_id is not null) as "is_in_hand!",
                (i.gone_at is not null) as "is_gone!", i.state as "state: State",
                coalesce(e.state in ('intended', 'in_doubt') or e.next_step is not null, false) as "is_under_way!",
                case when e.state = 'applied' and e.next_step is null and e.operation <> 'delete'
                     then jsonb_build_object('content', e.content, 'held', e.held, 'taken', e.taken)
                     end as "arrived: Json<Arrived>",
                (select max(e.resolved_at) from sync_idempotency_log e
                  where e.org_id = i.org_id and e.item_id = i.item_id and e.resolved_at >= $3) as overtaken_at
          from item i
          join record r on r.org_id = i.org_id and r.record_id = i.record_id
          left join lateral (
              select e.* from sync_idempotency_log e
               where e.org_id = i.org_id and e.item_id = i.item_id
                 and (e.state in ('intended', 'in_doubt') or (e.state = 'applied' and e.generation = i.generation))
               order by e.resolved_at desc nulls first
               limit 1
          ) e on true
         where i.org_id = $1 and i.item_id = any($2)
        "#,
        org as _,
        &items,
        read_at,
    )
    .fetch_all(db)
    .await
}

/// What a pull says about one item of the connection it reads.
#[derive(Clone, Debug)]
pub struct Sighted {
    pub item_id: ItemId,
    pub record_id: RecordId,
    pub state: State,
    pub external_id: String,
    pub parts: Value,
    pub base: Option<Value>,
    /// What the remote holds in the place of the base, where that is not the same.
    pub held: Option<Value>,
    pub last_error: Option<String>,
}

/// Stores what a pull saw: items are made where there are none, and become due again where we have something to say.
/// Items in a batch keep what they have and are marked for another look; of one whose thing we did not know, what it is
/// called is noted, for what names it. What was seen is not deleted.
pub async fn sight(
    db: &mut PgConnection,
    org: OrgId,
    (connection, entity): (ConnectionId, EntityType),
    sighted: &[Sighted],
) -> Result<(), sqlx::Error> {
    if sighted.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = sighted.iter().map(|s| s.item_id.0).collect();
    let records: Vec<Uuid> = sighted.iter().map(|s| s.record_id.0).collect();
    let states: Vec<String> = sighted.iter().map(|s| s.state.name().to_owned()).collect();
    let external_ids: Vec<String> = sighted.iter().map(|s| s.external_id.clone()).collect();
    let parts: Vec<Value> = sighted.iter().map(|s| s.parts.clone()).collect();
    let bases: Vec<Option<Value>> = sighted.iter().map(|s| s.base.clone()).collect();
    let helds: Vec<Option<Value>> = sighted.iter().map(|s| s.held.clone()).collect();
    let errors: Vec<Option<String>> = sighted.iter().map(|s| s.last_error.clone()).collect();
    sqlx::query!(
        "insert into item (org_id, item_id, connection_id, record_id, entity_type, state, external_id, parts, base, held,
                           generation, last_error, last_synced_at)
         select $1, s.item_id, $2, s.record_id, $3, s.state, s.external_id, s.parts, s.base, s.held,
                (s.base is not null)::int, s.error, case when s.state = 'synced' then lockstep_now() end
           from unnest($4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::jsonb[], $9::jsonb[], $10::text[],
                       $11::jsonb[])
                s (item_id, record_id, state, external_id, parts, base, error, held)
          order by s.record_id
         on conflict (org_id, connection_id, record_id) do update
            set state = case when item.batch_id is null then excluded.state else item.state end,
                external_id = case when item.batch_id is null then excluded.external_id
                                   else coalesce(item.external_id, excluded.external_id) end,
                parts = case when item.batch_id is null or item.external_id is null then excluded.parts
                             else item.parts end,
                base = case when item.batch_id is null then coalesce(excluded.base, item.base) else item.base end,
                held = case when item.batch_id is null and excluded.base is not null then excluded.held else item.held end,
                generation = item.generation + (item.batch_id is null and excluded.base is not null)::int,
                last_error = case when item.batch_id is null then excluded.last_error else item.last_error end,
                last_synced_at = case when item.batch_id is null then excluded.last_synced_at else item.last_synced_at end,
                retry_stage_id = case when item.batch_id is null then null else item.retry_stage_id end,
                retry_at = case when item.batch_id is null then null else item.retry_at end,
                gone_at = null, missing_stage_id = null,
                due_sequence = case
                    when item.batch_id is not null or excluded.state = 'pending' then nextval('item_due_sequence')
                    else item.due_sequence end",
        org as _,
        connection as _,
        entity.name(),
        &ids,
        &records,
        &states,
        &external_ids,
        &parts,
        &bases as &[Option<Value>],
        &errors as &[Option<String>],
        &helds as &[Option<Value>],
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What one connection knows of a record that others refer to.
#[derive(Clone, Debug)]
pub struct Referred {
    pub record_id: RecordId,
    pub entity_type: EntityType,
    pub content: Value,
    pub external_id: Option<String>,
    pub parts: Option<Value>,
    /// `None` where the connection has no item for it.
    pub state: Option<State>,
    /// Whether it was deleted there.
    pub is_gone: bool,
    /// Whether it is being made there and may not be all there yet.
    pub is_being_made: bool,
    /// Whether a batch has it in hand, or it is due and a sync that is active is still to carry what is.
    pub is_on_the_way: bool,
    pub last_error: Option<String>,
}

/// Tells what a connection knows of records.
pub async fn referred(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    records: &[RecordId],
) -> Result<Vec<Referred>, sqlx::Error> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let records: Vec<Uuid> = records.iter().map(|id| id.0).collect();
    sqlx::query_as!(
        Referred,
        r#"
        with to_come as materialized (
            select t.entity_type
              from sync_orchestration s
              join sync_stage t on t.org_id = s.org_id and t.sync_id = s.sync_id
             where s.org_id = $1 and s.status in ('processing', 'pausing', 'paused') and t.connection_id = $2
               and t.direction = 'push' and t.scope = 'all' and t.status in ('waiting', 'open')
        )
        select r.record_id as "record_id: RecordId", r.entity_type as "entity_type: EntityType", r.content,
               i.external_id as "external_id?", i.parts as "parts?", i.state as "state?: State",
               (i.gone_at is not null) as "is_gone!", i.last_error as "last_error?",
               coalesce(i.batch_id is not null
                        or i.state in ('pending', 'failed') and i.entity_type in (select entity_type from to_come), false)
                   as "is_on_the_way!",
               coalesce((select e.operation in ('create', 'complete')
                                and (e.state in ('intended', 'in_doubt') or e.next_step is not null)
                           from sync_idempotency_log e
                          where e.org_id = i.org_id and e.item_id = i.item_id
                            and (e.state in ('intended', 'in_doubt') or (e.state = 'applied' and e.generation = i.generation))
                          order by e.resolved_at desc nulls first
                          limit 1), false) as "is_being_made!"
          from record r
          left join item i on i.org_id = r.org_id and i.record_id = r.record_id and i.connection_id = $2
         where r.org_id = $1 and r.record_id = any($3)
        "#,
        org as _,
        connection as _,
        &records,
    )
    .fetch_all(db)
    .await
}

/// A thing that a connection's remote knows by an external id.
#[derive(Clone, Debug)]
pub struct Known {
    pub entity_type: EntityType,
    pub external_id: String,
    pub record_id: RecordId,
    pub parts: Value,
}

/// Finds the records behind external ids, given as pairs of type and id.
pub async fn known(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    things: &[(EntityType, String)],
) -> Result<Vec<Known>, sqlx::Error> {
    if things.is_empty() {
        return Ok(Vec::new());
    }
    let entities: Vec<String> = things
        .iter()
        .map(|(entity, _)| entity.name().to_owned())
        .collect();
    let ids: Vec<String> = things.iter().map(|(_, id)| id.clone()).collect();
    sqlx::query_as!(
        Known,
        r#"
        select i.entity_type as "entity_type: EntityType", i.external_id as "external_id!",
               i.record_id as "record_id: RecordId", i.parts
          from unnest($3::text[], $4::text[]) thing (entity_type, external_id)
          join item i on i.org_id = $1 and i.connection_id = $2 and i.entity_type = thing.entity_type
                     and i.external_id = thing.external_id
        "#,
        org as _,
        connection as _,
        &entities,
        &ids,
    )
    .fetch_all(db)
    .await
}

/// What was agreed on about a thing of a remote, as it is stored.
#[derive(Clone, Debug)]
pub struct Base {
    pub external_id: String,
    pub base: Option<Value>,
    pub held: Option<Value>,
}

/// Reads what was agreed on about things of a connection's remote, by their ids there.
pub async fn bases(
    db: &mut PgConnection,
    org: OrgId,
    (connection, entity): (ConnectionId, EntityType),
    external_ids: &[String],
) -> Result<Vec<Base>, sqlx::Error> {
    sqlx::query_as!(
        Base,
        r#"
        select external_id as "external_id!", base, held
          from item
         where org_id = $1 and connection_id = $2 and entity_type = $3 and external_id = any($4)
        "#,
        org as _,
        connection as _,
        entity as _,
        external_ids,
    )
    .fetch_all(db)
    .await
}

/// Finds, among inventory levels, those of products that are in an order which has not arrived everywhere yet: what
/// the systems mean by stock differs until it has.
pub async fn of_unsettled_orders(
    db: &mut PgConnection,
    org: OrgId,
    levels: &[RecordId],
) -> Result<Vec<RecordId>, sqlx::Error> {
    let levels: Vec<Uuid> = levels.iter().map(|id| id.0).collect();
    sqlx::query_scalar!(
        r#"
        select distinct level.record_id as "record_id: RecordId"
          from record_reference level
          join record_reference line on line.org_id = level.org_id and line.referred_id = level.referred_id
          join item o on o.org_id = line.org_id and o.record_id = line.record_id
         where level.org_id = $1 and level.record_id = any($2)
           and o.entity_type = 'orders' and o.state not in ('synced', 'skipped')
           and not exists (
               select from connection c
                where c.org_id = o.org_id and c.connection_id = o.connection_id and c.deleted_at is not null)
        "#,
        org as _,
        &levels,
    )
    .fetch_all(db)
    .await
}

/// Says which of a connection's items hold external ids other than their own batch's: to tell whose thing a remote
/// means when it says that a key is taken.
pub async fn owners(
    db: &mut PgConnection,
    org: OrgId,
    (connection, entity): (ConnectionId, EntityType),
    external_ids: &[String],
) -> Result<BTreeMap<String, ItemId>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select external_id as "external_id!", item_id as "item_id: ItemId"
          from item
         where org_id = $1 and connection_id = $2 and entity_type = $3 and external_id = any($4)
        "#,
        org as _,
        connection as _,
        entity as _,
        external_ids,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.external_id, row.item_id))
        .collect())
}

/// How one connection sees a record.
#[derive(Clone, Debug)]
pub struct View {
    pub connection_id: ConnectionId,
    pub system: System,
    pub state: State,
    pub external_id: Option<String>,
    pub retries: i32,
    pub last_error: Option<String>,
    pub last_synced_at: Option<DateTime<Utc>>,
}

/// Lists how the connections see a record.
pub async fn of_record(
    db: &mut PgConnection,
    org: OrgId,
    record: RecordId,
) -> Result<Vec<View>, sqlx::Error> {
    sqlx::query_as!(
        View,
        r#"
        select i.connection_id as "connection_id: ConnectionId", c.system as "system: System",
               i.state as "state: State", i.external_id, i.retries, i.last_error, i.last_synced_at
          from item i
          join connection c on c.org_id = i.org_id and c.connection_id = i.connection_id
         where i.org_id = $1 and i.record_id = $2 and c.deleted_at is null
         order by c.connection_id
        "#,
        org as _,
        record as _,
    )
    .fetch_all(db)
    .await
}

/// Lists how the connections see several records.
pub async fn of_records(
    db: &mut PgConnection,
    org: OrgId,
    records: &[RecordId],
) -> Result<BTreeMap<RecordId, Vec<View>>, sqlx::Error> {
    let records: Vec<Uuid> = records.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"
        select i.record_id as "record_id: RecordId", i.connection_id as "connection_id: ConnectionId",
               c.system as "system: System", i.state as "state: State", i.external_id, i.retries, i.last_error,
               i.last_synced_at
          from item i
          join connection c on c.org_id = i.org_id and c.connection_id = i.connection_id
         where i.org_id = $1 and i.record_id = any($2) and c.deleted_at is null
         order by c.connection_id
        "#,
        org as _,
        &records,
    )
    .fetch_all(db)
    .await?;
    let mut views: BTreeMap<RecordId, Vec<View>> = BTreeMap::new();
    for row in rows {
        views.entry(row.record_id).or_default().push(View {
            connection_id: row.connection_id,
            system: row.system,
            state: row.state,
            external_id: row.external_id,
            retries: row.retries,
            last_error: row.last_error,
            last_synced_at: row.last_synced_at,
        });
    }
    Ok(views)
}
