//! Answers of people to conflicts: what each comes to, as a pure function, and their rows until a worker has applied them.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::conflict::ConflictType;
use crate::conflict::view::Filter;
use crate::decide::Agreed;
use crate::entity::{Content, FieldError, Fields, Invalid, Order, fields_of};
use crate::id::{ConflictId, ConnectionId, ItemId, OrgId, RecordId, SyncId};
use crate::item::State;
use crate::queue::{self, Bell};
use crate::system::EntityType;

/// What a person answers (R23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Action {
    /// What is proposed, or ours where nothing is, is sent.
    Accept,
    /// What the remote holds is kept.
    Reject,
    /// A given record is sent.
    Custom,
}

impl Action {
    /// Returns the name used in the API, the tables and the logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Custom => "custom",
        }
    }
}

/// When what was answered is to be carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Occasion {
    /// By a sync that is running and has not come past it, else by the next one.
    Running,
    Next,
    /// By a sync of its own.
    Now,
}

/// A conflict about an item, as it stands when it is answered.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub conflict_type: ConflictType,
    /// What the conflict said when the person answered.
    pub seen: &'a Value,
    /// What it says by now.
    pub latest: &'a Value,
    /// Our record, whole.
    pub whole: &'a Content,
    /// What both sides agreed on last.
    pub base: Option<&'a Agreed>,
    pub state: State,
}

/// What an answer comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What our record is to say from now on.
    pub content: Content,
    /// What counts as agreed on from now on; `None`: what did.
    pub base: Option<Agreed>,
    pub state: State,
}

/// Tells what an answer comes to. Pure.
///
/// A mismatch: what the person saw the remote hold becomes the base, so that this is not asked again, and a change that
/// the remote makes later is. Anything else agrees on nothing: it is tried again, with what was given or as it is, or left.
///
/// # Errors
///
/// Where what comes out is no valid record together, or what the person saw can't be read any more.
pub fn answer(question: Question<'_>, action: Action, given: Option<Content>) -> Result<Answered, Invalid> {
    let given = given.map(|given| placed_alike(given, question.whole));
    if question.conflict_type.matter(question.seen) == ConflictType::DataMismatch {
        return settle_mismatch(question, action, given);
    }
    let whole = question.whole.clone();
    Ok(match (action, given) {
        (Action::Reject, _) => Answered {
            content: whole,
            base: None,
            state: State::Skipped,
        },
        (Action::Accept | Action::Custom, given) => Answered {
            content: given.unwrap_or(whole),
            base: None,
            state: State::Pending,
        },
    })
}

/// Keeps where an order was placed, which nobody who gives one can say: its owner depends on it.
fn placed_alike(given: Content, whole: &Content) -> Content {
    match (given, whole) {
        (Content::Order(given), Content::Order(whole)) => Content::Order(Order {
            origin: whole.origin,
            ..given
        }),
        (given, _) => given,
    }
}

fn settle_mismatch(
    question: Question<'_>,
    action: Action,
    given: Option<Content>,
) -> Result<Answered, Invalid> {
    let entity = question.whole.entity();
    let read = |name: &str| match question.seen.get(name) {
        Some(json) if !json.is_null() => Content::parse(entity, json.clone()).map(Some),
        _ => Ok(None),
    };
    let missing = |name: &str| Invalid(vec![FieldError::new(name, "is not known any more")]);
    let ours = read("ours")?.ok_or_else(|| missing("ours"))?;
    let theirs = read("theirs")?.ok_or_else(|| missing("theirs"))?;
    let (our_fields, their_fields) = (fields_of(&ours), fields_of(&theirs));
    let agreed = agreed(question.base, &our_fields, &their_fields);
    let content = match action {
        Action::Custom => given.unwrap_or_else(|| question.whole.clone()),
        Action::Accept => {
            let proposed = read("proposed")?.unwrap_or(ours);
            let proposed = fields_of(&proposed);
            let paths = proposed.differing(&our_fields);
            with(question.whole, &proposed, &paths)?
        }
        Action::Reject => {
            let paths = &our_fields.differing(&their_fields) - &agreed;
            with(question.whole, &their_fields, &paths)?
        }
    };
    // Where the sides agreed to differ, they still do.
    let base = Agreed {
        ours: with(&theirs, &our_fields, &agreed).unwrap_or_else(|_| theirs.clone()),
        theirs,
    };
    // What the remote holds was kept; where either side may have moved on meanwhile, the next sync looks.
    let is_still = question.state == State::Conflict
        && question.latest.get("theirs") == question.seen.get("theirs")
        && question.latest.get("ours") == question.seen.get("ours");
    let state = match action {
        Action::Reject if is_still => State::Synced,
        Action::Accept | Action::Reject | Action::Custom => State::Pending,
    };
    Ok(Answered {
        content,
        base: Some(base),
        state,
    })
}

/// Returns the fields in which the sides differ as they did when they agreed.
fn agreed(base: Option<&Agreed>, ours: &Fields, theirs: &Fields) -> BTreeSet<String> {
    let Some(base) = base else {
        return BTreeSet::new();
    };
    let (our_base, their_base) = (fields_of(&base.ours), fields_of(&base.theirs));
    let mut paths = ours.differing(theirs);
    paths.retain(|path| ours.get(path) == our_base.get(path) && theirs.get(path) == their_base.get(path));
    paths
}

/// Returns a record with some fields of another.
fn with(content: &Content, other: &Fields, paths: &BTreeSet<String>) -> Result<Content, Invalid> {
    let mut fields = fields_of(content);
    for path in paths {
        fields.set(path, other.get(path).cloned());
    }
    fields.into_content(content.entity())
}

/// A conflict, locked to be answered.
#[derive(Clone, Debug)]
pub struct Locked {
    pub conflict_type: ConflictType,
    pub entity_type: EntityType,
    pub connection_id: ConnectionId,
    pub record_id: Option<RecordId>,
    pub version: i64,
    pub is_resolved: bool,
    pub is_answered: bool,
}

/// Locks a conflict that somebody wants to answer: answers to one go one after another.
pub async fn lock(db: &mut PgConnection, org: OrgId, id: ConflictId) -> Result<Option<Locked>, sqlx::Error> {
    let is_there = sqlx::query_scalar!(
        "select 1 from sync_conflict where org_id = $1 and id = $2 for no key update",
        org as _,
        id as _,
    )
    .fetch_optional(&mut *db)
    .await?;
    if is_there.is_none() {
        return Ok(None);
    }
    // Read by a statement of its own: the one that waited for the lock sees what was there before the wait.
    sqlx::query_as!(
        Locked,
        r#"
        select c.conflict_type as "conflict_type: ConflictType", c.entity_type as "entity_type: EntityType",
               c.connection_id as "connection_id: ConnectionId", i.record_id as "record_id?: RecordId", c.version,
               c.is_resolved, (k.conflict_id is not null) as "is_answered!"
          from sync_conflict c
          left join item i on i.org_id = c.org_id and i.item_id = c.item_id
          left join conflict_resolution k on k.org_id = c.org_id and k.conflict_id = c.id
         where c.org_id = $1 and c.id = $2
        "#,
        org as _,
        id as _,
    )
    .fetch_optional(db)
    .await
}

/// A conflict that is to be answered with others.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    pub conflict_id: ConflictId,
    pub entity_type: EntityType,
    pub record_id: RecordId,
}

/// Locks the conflicts that a filter chooses and that can be answered, oldest first.
pub async fn choose(
    db: &mut PgConnection,
    org: OrgId,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<Chosen>, sqlx::Error> {
    let fields = filter.field_paths();
    let locked: Vec<Uuid> = sqlx::query_scalar!(
        "select c.id
           from sync_conflict c
          where c.org_id = $1 and not c.is_resolved and c.item_id is not null and c.conflict_type <> 'AuthError'
            and not exists (select from conflict_resolution k where k.org_id = c.org_id and k.conflict_id = c.id)
            and ($2::text is null or c.conflict_type = $2) and ($3::text is null or c.strategy = $3)
            and ($4::text is null or c.entity_type = $4) and ($5::uuid is null or c.connection_id = $5)
            and ($6::uuid is null or c.sync_id = $6)
            and ($7::text[] is null or jsonb_exists_any(c.data -> 'fields', $7))
          order by c.created_at, c.id
          limit $8
            for no key update of c",
        org as _,
        filter.conflict_type.map(ConflictType::name),
        filter.strategy.map(crate::strategy::Strategy::name),
        filter.entity_type.map(EntityType::name),
        filter.connection as _,
        filter.sync as _,
        fields.as_deref() as _,
        limit,
    )
    .fetch_all(&mut *db)
    .await?;
    sqlx::query_as!(
        Chosen,
        r#"
        select c.id as "conflict_id: ConflictId", c.entity_type as "entity_type: EntityType",
               i.record_id as "record_id: RecordId"
          from sync_conflict c
          join item i on i.org_id = c.org_id and i.item_id = c.item_id
         where c.org_id = $1 and c.id = any($2) and not c.is_resolved
           and not exists (select from conflict_resolution k where k.org_id = c.org_id and k.conflict_id = c.id)
         order by c.created_at, c.id
        "#,
        org as _,
        &locked,
    )
    .fetch_all(db)
    .await
}

/// An answer to be noted.
#[derive(Clone, Debug)]
pub struct NewResolution {
    pub action: Action,
    /// The record that is given, for [`Action::Custom`].
    pub content: Option<Content>,
    pub occasion: Occasion,
    /// The sync of its own that carries it, for [`Occasion::Now`].
    pub sync: Option<SyncId>,
    pub requested_by: String,
}

/// Notes an answer to conflicts that the caller has locked, and rings. Returns how many were answered: one that was
/// already is not.
pub async fn insert(
    db: &mut PgConnection,
    org: OrgId,
    conflicts: &[ConflictId],
    new: &NewResolution,
) -> Result<u64, sqlx::Error> {
    let conflicts: Vec<Uuid> = conflicts.iter().map(|id| id.0).collect();
    let noted = sqlx::query!(
        "with noted as (
             insert into conflict_resolution (org_id, conflict_id, action, content, seen, occasion, sync_id, requested_by)
             select c.org_id, c.id, $3, $4, c.data, $5, $6, $7
               from sync_conflict c
              where c.org_id = $1 and c.id = any($2) and not c.is_resolved
             on conflict do nothing
             returning conflict_id
         )
         update sync_conflict c set version = c.version + 1
           from noted
          where c.org_id = $1 and c.id = noted.conflict_id",
        org as _,
        &conflicts,
        new.action as _,
        new.content.as_ref().map(Content::to_json),
        new.occasion as _,
        new.sync as _,
        new.requested_by,
    )
    .execute(&mut *db)
    .await?
    .rows_affected();
    if noted > 0 {
        queue::ring(db, Bell::Resolutions { org_id: org }, None).await?;
    }
    Ok(noted)
}

/// An answer that waits to be applied, with its conflict as it stands.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub conflict_id: ConflictId,
    pub action: Action,
    pub content: Option<Value>,
    pub seen: Value,
    pub occasion: Occasion,
    pub sync_id: Option<SyncId>,
    pub requested_by: String,
    pub connection_id: ConnectionId,
    pub item_id: Option<ItemId>,
    pub entity_type: EntityType,
    pub conflict_type: ConflictType,
    pub is_resolved: bool,
    pub latest: Value,
}

/// Locks the answer that waits longest; one that another worker has in hand is passed over.
pub async fn next(db: &mut PgConnection, org: OrgId) -> Result<Option<Waiting>, sqlx::Error> {
    sqlx::query_as!(
        Waiting,
        r#"
        select k.conflict_id as "conflict_id: ConflictId", k.action as "action: Action", k.content, k.seen,
               k.occasion as "occasion: Occasion", k.sync_id as "sync_id: SyncId", k.requested_by,
               c.connection_id as "connection_id: ConnectionId", c.item_id as "item_id: ItemId",
               c.entity_type as "entity_type: EntityType", c.conflict_type as "conflict_type: ConflictType",
               c.is_resolved, c.data as latest
          from conflict_resolution k
          join sync_conflict c on c.org_id = k.org_id and c.id = k.conflict_id
         where k.org_id = $1 and k.applied_at is null and k.run_at <= lockstep_now()
         order by k.run_at, k.conflict_id
         limit 1
           for update of k skip locked
        "#,
        org as _,
    )
    .fetch_optional(db)
    .await
}

/// Locks the answers that a sync of their own is to carry.
pub async fn of_sync(db: &mut PgConnection, org: OrgId, sync: SyncId) -> Result<Vec<Waiting>, sqlx::Error> {
    sqlx::query_as!(
        Waiting,
        r#"
        select k.conflict_id as "conflict_id: ConflictId", k.action as "action: Action", k.content, k.seen,
               k.occasion as "occasion: Occasion", k.sync_id as "sync_id: SyncId", k.requested_by,
               c.connection_id as "connection_id: ConnectionId", c.item_id as "item_id: ItemId",
               c.entity_type as "entity_type: EntityType", c.conflict_type as "conflict_type: ConflictType",
               c.is_resolved, c.data as latest
          from conflict_resolution k
          join sync_conflict c on c.org_id = k.org_id and c.id = k.conflict_id
         where k.org_id = $1 and k.sync_id = $2 and k.occasion = 'now' and k.applied_at is null
         order by k.conflict_id
           for update of k
        "#,
        org as _,
        sync as _,
    )
    .fetch_all(db)
    .await
}

/// Returns when the organisation's earliest answer that waits may be applied.
pub async fn earliest(db: &mut PgConnection, org: OrgId) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!(
        "select min(run_at) from conflict_resolution where org_id = $1 and applied_at is null",
        org as _
    )
    .fetch_one(db)
    .await
}

/// Looks at an answer again a second later, because its item is in the hands of a batch.
pub async fn put_off(db: &mut PgConnection, org: OrgId, id: ConflictId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update conflict_resolution set run_at = lockstep_now() + interval '1 second'
          where org_id = $1 and conflict_id = $2 and applied_at is null",
        org as _,
        id as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes what became of an answer, and which sync carries it where that is known.
pub async fn applied(
    db: &mut PgConnection,
    org: OrgId,
    id: ConflictId,
    outcome: &str,
    sync: Option<SyncId>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update conflict_resolution set applied_at = lockstep_now(), outcome = $3, sync_id = coalesce($4, sync_id)
          where org_id = $1 and conflict_id = $2 and applied_at is null",
        org as _,
        id as _,
        outcome,
        sync as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Closes an answered conflict with what our record says from now on. `false` where it was closed already.
pub async fn close(
    db: &mut PgConnection,
    org: OrgId,
    waiting: &Waiting,
    resolved: Option<&Content>,
) -> Result<bool, sqlx::Error> {
    let closed = sqlx::query!(
        "update sync_conflict
            set is_resolved = true, resolution_action = $3, resolved_data = $4, resolved_by = $5,
                resolved_at = lockstep_now(), updated_at = lockstep_now(), next_retry_at = null, version = version + 1
          where org_id = $1 and id = $2 and not is_resolved",
        org as _,
        waiting.conflict_id as _,
        waiting.action as _,
        resolved.map(Content::to_json),
        waiting.requested_by,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(closed == 1)
}

/// Takes an answer back that can't be carried out: the conflict says why, and may be answered again.
pub async fn discard(
    db: &mut PgConnection,
    org: OrgId,
    id: ConflictId,
    why: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with discarded as (
             delete from conflict_resolution where org_id = $1 and conflict_id = $2 returning conflict_id)
         update sync_conflict c
            set data = jsonb_set(c.data, '{answerRefused}', to_jsonb($3::text)), version = c.version + 1,
                updated_at = lockstep_now()
           from discarded
          where c.org_id = $1 and c.id = discarded.conflict_id",
        org as _,
        id as _,
        why,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Finds the organisations that have answers which are due and which nobody has rung for a while.
pub async fn silent(db: &mut PgConnection, quiet: Duration, most: i32) -> Result<Vec<Bell>, sqlx::Error> {
    let orgs = sqlx::query_scalar!(
        r#"select org_id as "org_id!: OrgId" from fleet_silent_resolution(make_interval(secs => $1), $2)"#,
        quiet.as_secs_f64(),
        most,
    )
    .fetch_all(db)
    .await?;
    let bells = orgs.into_iter().map(|org_id| Bell::Resolutions { org_id });
    Ok(bells.collect())
}

#[cfg(test)]
mod tests;
