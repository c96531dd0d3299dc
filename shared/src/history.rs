//! The history of a record: everything that is known to have happened to it, and, for each connection, one sentence that
//! answers "why is this not there?" (R56).

mod answer;

pub use answer::{Answer, Asked, Situation, answer};

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::conflict::ConflictType;
use crate::id::{ConnectionId, OrgId, RecordId, SyncId};
use crate::item::State;
use crate::system::{EntityType, System};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum What {
    /// The record was stored for the first time.
    Created,
    /// Its content changed, the last time.
    Changed,
    /// Somebody did something to it through the API; the details say what.
    Asked,
    /// A request that carries it was noted and sent.
    Sent,
    /// The remote did what the request asked.
    Applied,
    /// The remote did not do it.
    Rejected,
    /// The request had no answer.
    InDoubt,
    /// Both sides agreed, the last time.
    Synced,
    /// Its thing counts as deleted there.
    Vanished,
    ConflictOpened,
    ConflictClosed,
}

impl What {
    const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Asked => "asked",
            Self::Sent => "sent",
            Self::Applied => "applied",
            Self::Rejected => "rejected",
            Self::InDoubt => "in_doubt",
            Self::Synced => "synced",
            Self::Vanished => "vanished",
            Self::ConflictOpened => "conflict_opened",
            Self::ConflictClosed => "conflict_closed",
        }
    }
}

/// One thing that happened to a record.
#[derive(Clone, Debug)]
pub struct Event {
    pub at: DateTime<Utc>,
    pub what: What,
    /// With `at` and `what`, what tells it apart.
    pub id: Uuid,
    pub connection: Option<ConnectionId>,
    pub sync: Option<SyncId>,
    /// Who did it, where a person did.
    pub actor: Option<String>,
    pub details: Value,
}

/// Where a history goes on: behind this event.
#[derive(Clone, Copy, Debug)]
pub struct After {
    pub at: DateTime<Utc>,
    pub what: What,
    pub id: Uuid,
}

/// Reads what happened to a record, oldest first. Connections that were deleted are among it: what happened, happened.
pub async fn events(
    db: &mut PgConnection,
    org: OrgId,
    record: RecordId,
    after: Option<After>,
    limit: i64,
) -> Result<Vec<Event>, sqlx::Error> {
    sqlx::query_as!(
        Event,
        r#"
        with own as (
            select item_id, connection_id, last_synced_at, gone_at, external_id
              from item where org_id = $1 and record_id = $2
        ), event as (
            select created_at as at, 'created' as what, record_id as id, null::uuid as connection_id,
                   null::uuid as sync_id, null::text as actor, '{}'::jsonb as details
              from record where org_id = $1 and record_id = $2
            union all
            select updated_at, 'changed', record_id, null, null, null, jsonb_build_object('version', version)
              from record where org_id = $1 and record_id = $2 and version > 1
            union all
            select created_at, 'asked', activity_id, null, sync_id, actor,
                   jsonb_build_object('action', action, 'outcome', outcome)
              from sync_activity_log
             where org_id = $1 and details ? 'recordId' and details ->> 'recordId' = $3
            union all
            select e.created_at, 'sent', e.effect_id, e.connection_id, e.sync_id, null,
                   jsonb_build_object('operation', e.operation, 'step', e.step)
              from own join sync_idempotency_log e on e.org_id = $1 and e.item_id = own.item_id
            union all
            select e.resolved_at, e.state, e.effect_id, e.connection_id, e.sync_id, null,
                   jsonb_strip_nulls(jsonb_build_object('operation', e.operation, 'step', e.step,
                       'externalId', e.external_id, 'code', e.error ->> 'code', 'message', e.error ->> 'message'))
              from own join sync_idempotency_log e on e.org_id = $1 and e.item_id = own.item_id
             where e.resolved_at is not null
            union all
            select e.call_deadline, 'in_doubt', e.effect_id, e.connection_id, e.sync_id, null,
                   jsonb_build_object('operation', e.operation, 'step', e.step)
              from own join sync_idempotency_log e on e.org_id = $1 and e.item_id = own.item_id
             where e.state = 'in_doubt'
            union all
            select last_synced_at, 'synced', item_id, connection_id, null, null,
                   jsonb_strip_nulls(jsonb_build_object('externalId', external_id))
              from own where last_synced_at is not null
            union all
            select gone_at, 'vanished', item_id, connection_id, null, null,
                   jsonb_strip_nulls(jsonb_build_object('externalId', external_id))
              from own where gone_at is not null
            union all
            select f.created_at, 'conflict_opened', f.id, f.connection_id, f.sync_id, null,
                   jsonb_strip_nulls(jsonb_build_object('type', f.conflict_type, 'reason', f.data ->> 'reason'))
              from own join sync_conflict f on f.org_id = $1 and f.item_id = own.item_id
            union all
            select f.resolved_at, 'conflict_closed', f.id, f.connection_id, f.sync_id, null,
                   jsonb_build_object('type', f.conflict_type, 'action', f.resolution_action)
              from own join sync_conflict f on f.org_id = $1 and f.item_id = own.item_id
             where f.resolved_at is not null
        )
        select at as "at!", what as "what!: What", id as "id!", connection_id as "connection?: ConnectionId",
               sync_id as "sync?: SyncId", actor as "actor?", details as "details!"
          from event
         where $4::timestamptz is null or (at, what collate "C", id) > ($4, $5::text collate "C", $6::uuid)
         order by at, what collate "C", id
         limit $7
        "#,
        org as _,
        record as _,
        record.to_string(),
        after.map(|after| after.at),
        after.map(|after| after.what.name()),
        after.map(|after| after.id),
        limit,
    )
    .fetch_all(db)
    .await
}

/// How a record stands with one connection of the organisation, whether the connection has ever seen it or not.
#[derive(Clone, Debug)]
pub struct Standing {
    pub connection: ConnectionId,
    pub system: System,
    pub name: String,
    pub attention: Option<String>,
    pub state: Option<State>,
    pub external_id: Option<String>,
    pub last_error: Option<String>,
    pub last_synced_at: Option<DateTime<Utc>>,
    pub gone_at: Option<DateTime<Utc>>,
    pub retry_at: Option<DateTime<Utc>>,
    pub is_in_hand: bool,
    /// When the request without an answer may be looked up, where there is one.
    pub quiet_at: Option<DateTime<Utc>>,
    pub conflict_type: Option<ConflictType>,
    pub conflict_reason: Option<String>,
    /// Whether another connection of the same system has it.
    pub is_of_another_store: bool,
}

/// Tells how a record stands with each connection.
pub async fn standing(
    db: &mut PgConnection,
    org: OrgId,
    record: RecordId,
) -> Result<Vec<Standing>, sqlx::Error> {
    sqlx::query_as!(
        Standing,
        r#"
        select c.connection_id as "connection: ConnectionId", c.system as "system: System", c.name, c.attention,
               i.state as "state?: State", i.external_id as "external_id?", i.last_error as "last_error?",
               i.last_synced_at as "last_synced_at?", i.gone_at as "gone_at?", i.retry_at as "retry_at?",
               (i.batch_id is not null) as "is_in_hand!", e.quiet_at as "quiet_at?",
               f.conflict_type as "conflict_type?: ConflictType", f.reason as "conflict_reason?",
               exists (
                   select from item o
                     join connection s on s.org_id = o.org_id and s.connection_id = o.connection_id
                    where o.org_id = $1 and o.record_id = $2 and o.connection_id <> c.connection_id
                      and s.system = c.system and o.external_id is not null) as "is_of_another_store!"
          from connection c
          left join item i on i.org_id = c.org_id and i.connection_id = c.connection_id and i.record_id = $2
          left join sync_idempotency_log e on e.org_id = i.org_id and e.item_id = i.item_id
                                          and e.state in ('intended', 'in_doubt')
          left join lateral (
              select o.conflict_type, o.data ->> 'reason' as reason
                from sync_conflict o
               where o.org_id = i.org_id and o.item_id = i.item_id and not o.is_resolved
               order by o.created_at desc
               limit 1) f on true
         where c.org_id = $1 and c.deleted_at is null
         order by c.connection_id
        "#,
        org as _,
        record as _,
    )
    .fetch_all(db)
    .await
}

impl Standing {
    /// Says what an answer is made of.
    pub fn situation<'a>(&'a self, entity: EntityType, stopper: Option<&'a str>) -> Situation<'a> {
        let conflict = self.conflict_type.map(|kind| {
            (
                kind,
                self.conflict_reason.as_deref().unwrap_or("see the conflict"),
            )
        });
        Situation {
            system: self.system,
            entity,
            attention: self.attention.as_deref(),
            stopper,
            is_of_another_store: self.is_of_another_store,
            asked: self.state.map(|state| Asked {
                state,
                external_id: self.external_id.as_deref(),
                last_error: self.last_error.as_deref(),
                last_synced_at: self.last_synced_at,
                gone_at: self.gone_at,
                retry_at: self.retry_at,
                is_in_hand: self.is_in_hand,
                quiet_at: self.quiet_at,
                conflict,
            }),
        }
    }
}
