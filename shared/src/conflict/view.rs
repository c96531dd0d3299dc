//! Conflicts as they are shown: one, a list of them, and their numbers.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::ConflictType;
use crate::id::{ConflictId, ConnectionId, OrgId, RecordId, SyncId};
use crate::resolution::{Action, Occasion};
use crate::strategy::Strategy;
use crate::system::{EntityType, System};

/// Where a conflict stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum State {
    Open,
    /// It was answered, and no worker has applied the answer yet.
    Resolving,
    Resolved,
}

impl State {
    /// Returns the name used in the API, the tables and the logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Resolving => "resolving",
            Self::Resolved => "resolved",
        }
    }
}

/// Which conflicts are meant; what is not given does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub state: Option<State>,
    pub conflict_type: Option<ConflictType>,
    pub strategy: Option<Strategy>,
    pub entity_type: Option<EntityType>,
    pub connection: Option<ConnectionId>,
    pub sync: Option<SyncId>,
    /// The path of a field that it is about, in canonical names or in those of the API.
    pub field: Option<String>,
}

impl Filter {
    /// Returns the canonical paths that the field may mean.
    pub fn field_paths(&self) -> Option<Vec<String>> {
        let field = self.field.as_ref()?;
        let mut snake = String::with_capacity(field.len());
        for letter in field.chars() {
            if letter.is_ascii_uppercase() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        Some(vec![field.clone(), snake])
    }
}

/// A conflict as it is shown.
#[derive(Clone, Debug)]
pub struct View {
    pub conflict_id: ConflictId,
    pub sync_id: Option<SyncId>,
    pub connection_id: ConnectionId,
    pub system: System,
    pub record_id: Option<RecordId>,
    pub entity_type: EntityType,
    pub conflict_type: ConflictType,
    pub strategy: Strategy,
    pub state: State,
    pub retries: i32,
    pub next_retry_at: Option<DateTime<Utc>>,
    pub version: i64,
    pub data: Value,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub resolved_at: Option<DateTime<Utc>>,
    /// A person's action, or `solved_itself`.
    pub resolution_action: Option<String>,
    pub resolved_data: Option<Value>,
    pub answer: Option<Answer>,
}

/// A person's answer as it is shown.
#[derive(Clone, Debug)]
pub struct Answer {
    pub action: Action,
    pub occasion: Occasion,
    pub requested_by: String,
    pub requested_at: DateTime<Utc>,
    /// The sync that carries it, where it is known.
    pub sync_id: Option<SyncId>,
    pub applied_at: Option<DateTime<Utc>>,
    pub outcome: Option<String>,
}

/// Where a list of conflicts goes on: after this one, newest first.
#[derive(Clone, Copy, Debug)]
pub struct After {
    pub created_at: DateTime<Utc>,
    pub conflict_id: ConflictId,
}

/// Finds one conflict.
pub async fn find(db: &mut PgConnection, org: OrgId, id: ConflictId) -> Result<Option<View>, sqlx::Error> {
    let found = views(db, org, Some(id), &Filter::default(), None, 1).await?;
    Ok(found.into_iter().next())
}

/// Lists conflicts, newest first.
pub async fn list(
    db: &mut PgConnection,
    org: OrgId,
    filter: &Filter,
    after: Option<After>,
    limit: i64,
) -> Result<Vec<View>, sqlx::Error> {
    views(db, org, None, filter, after, limit).await
}

async fn views(
    db: &mut PgConnection,
    org: OrgId,
    id: Option<ConflictId>,
    filter: &Filter,
    after: Option<After>,
    limit: i64,
) -> Result<Vec<View>, sqlx::Error> {
    let fields = filter.field_paths();
    let rows = sqlx::query!(
        r#"
        select c.id as "conflict_id: ConflictId", c.sync_id as "sync_id: SyncId",
               c.connection_id as "connection_id: ConnectionId", n.system as "system: System",
               i.record_id as "record_id?: RecordId", c.entity_type as "entity_type: EntityType",
               c.conflict_type as "conflict_type: ConflictType", c.strategy as "strategy: Strategy",
               case when c.is_resolved then 'resolved' when k.conflict_id is not null then 'resolving' else 'open' end
                   as "state!: State",
               c.retries, c.next_retry_at, c.version, c.data, c.created_at, c.updated_at, c.resolved_at,
               c.resolution_action, c.resolved_data,
               k.action as "action?: Action", k.occasion as "occasion?: Occasion", k.requested_by as "requested_by?",
               k.requested_at as "requested_at?", k.sync_id as "carried_by?: SyncId", k.applied_at as "applied_at?",
               k.outcome as "outcome?"
          from sync_conflict c
          join connection n on n.org_id = c.org_id and n.connection_id = c.connection_id
          left join item i on i.org_id = c.org_id and i.item_id = c.item_id
          left join conflict_resolution k on k.org_id = c.org_id and k.conflict_id = c.id
         where c.org_id = $1
           and ($2::uuid is null or c.id = $2)
           and ($3::text is null or c.conflict_type = $3)
           and ($4::text is null or c.strategy = $4)
           and ($5::text is null or c.entity_type = $5)
           and ($6::uuid is null or c.connection_id = $6)
           and ($7::uuid is null or c.sync_id = $7)
           and ($8::text[] is null or jsonb_exists_any(c.data -> 'fields', $8))
           and ($9::text is null or $9 = case when c.is_resolved then 'resolved'
                                              when k.conflict_id is not null then 'resolving' else 'open' end)
           and ($10::timestamptz is null or (c.created_at, c.id) < ($10, $11::uuid))
         order by c.created_at desc, c.id desc
         limit $12
        "#,
        org as _,
        id as _,
        filter.conflict_type.map(ConflictType::name),
        filter.strategy.map(Strategy::name),
        filter.entity_type.map(EntityType::name),
        filter.connection as _,
        filter.sync as _,
        fields.as_deref() as _,
        filter.state.map(State::name),
        after.map(|after| after.created_at),
        after.map(|after| after.conflict_id) as _,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| View {
            conflict_id: row.conflict_id,
            sync_id: row.sync_id,
            connection_id: row.connection_id,
            system: row.system,
            record_id: row.record_id,
            entity_type: row.entity_type,
            conflict_type: row.conflict_type,
            strategy: row.strategy,
            state: row.state,
            retries: row.retries,
            next_retry_at: row.next_retry_at,
            version: row.version,
            data: row.data,
            created_at: row.created_at,
            updated_at: row.updated_at,
            resolved_at: row.resolved_at,
            resolution_action: row.resolution_action,
            resolved_data: row.resolved_data,
            answer: match (row.action, row.occasion, row.requested_by, row.requested_at) {
                (Some(action), Some(occasion), Some(requested_by), Some(requested_at)) => Some(Answer {
                    action,
                    occasion,
                    requested_by,
                    requested_at,
                    sync_id: row.carried_by,
                    applied_at: row.applied_at,
                    outcome: row.outcome,
                }),
                _ => None,
            },
        })
        .collect())
}

/// A time from which on, and one before which.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
}

/// How many conflicts there are of one kind.
#[derive(Clone, Debug)]
pub struct Count {
    pub conflict_type: ConflictType,
    pub strategy: Strategy,
    pub system: System,
    pub entity_type: EntityType,
    pub state: State,
    pub count: i64,
}

/// Counts the conflicts that were opened within a span, by all that they are told apart by (R26).
pub async fn counts(db: &mut PgConnection, org: OrgId, span: Span) -> Result<Vec<Count>, sqlx::Error> {
    sqlx::query_as!(
        Count,
        r#"
        select c.conflict_type as "conflict_type: ConflictType", c.strategy as "strategy: Strategy",
               n.system as "system: System", c.entity_type as "entity_type: EntityType",
               case when c.is_resolved then 'resolved' when k.conflict_id is not null then 'resolving' else 'open' end
                   as "state!: State",
               count(*) as "count!"
          from sync_conflict c
          join connection n on n.org_id = c.org_id and n.connection_id = c.connection_id
          left join conflict_resolution k on k.org_id = c.org_id and k.conflict_id = c.id
         where c.org_id = $1 and c.created_at >= $2 and c.created_at < $3
         group by 1, 2, 3, 4, 5
        "#,
        org as _,
        span.from,
        span.to,
    )
    .fetch_all(db)
    .await
}

/// The length of the steps of a trend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Hour,
    Day,
}

/// What happened to conflicts within one step.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// When the step began, in UTC.
    pub at: DateTime<Utc>,
    pub opened: i64,
    /// Closed, by a person or by themselves.
    pub resolved: i64,
    pub solved_themselves: i64,
}

/// Tells what happened to conflicts step by step within a span, oldest first; steps in which nothing did are left out
/// (R26).
pub async fn trend(
    db: &mut PgConnection,
    org: OrgId,
    span: Span,
    step: Step,
) -> Result<Vec<Point>, sqlx::Error> {
    let step = match step {
        Step::Hour => "hour",
        Step::Day => "day",
    };
    sqlx::query_as!(
        Point,
        r#"
        select date_trunc($4, happened.at, 'UTC') as "at!", sum(happened.opened) as "opened!",
               sum(happened.resolved) as "resolved!", sum(happened.solved) as "solved_themselves!"
          from (
              select created_at as at, 1 as opened, 0 as resolved, 0 as solved
                from sync_conflict
               where org_id = $1 and created_at >= $2 and created_at < $3
              union all
              select resolved_at, 0, 1, (resolution_action = 'solved_itself')::int
                from sync_conflict
               where org_id = $1 and resolved_at >= $2 and resolved_at < $3
          ) happened
         group by 1
         order by 1
        "#,
        org as _,
        span.from,
        span.to,
        step,
    )
    .fetch_all(db)
    .await
}

/// Returns how many open conflicts a filter chooses that could be answered.
pub async fn answerable(db: &mut PgConnection, org: OrgId, filter: &Filter) -> Result<i64, sqlx::Error> {
    let fields = filter.field_paths();
    sqlx::query_scalar!(
        r#"
        select count(*) as "count!"
          from sync_conflict c
         where c.org_id = $1 and not c.is_resolved and c.item_id is not null and c.conflict_type <> 'AuthError'
           and not exists (select from conflict_resolution k where k.org_id = c.org_id and k.conflict_id = c.id)
           and ($2::text is null or c.conflict_type = $2) and ($3::text is null or c.strategy = $3)
           and ($4::text is null or c.entity_type = $4) and ($5::uuid is null or c.connection_id = $5)
           and ($6::uuid is null or c.sync_id = $6)
           and ($7::text[] is null or jsonb_exists_any(c.data -> 'fields', $7))
        "#,
        org as _,
        filter.conflict_type.map(ConflictType::name),
        filter.strategy.map(Strategy::name),
        filter.entity_type.map(EntityType::name),
        filter.connection as _,
        filter.sync as _,
        fields.as_deref() as _,
    )
    .fetch_one(db)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_the_name_that_the_api_shows() {
        let paths = |field: &str| {
            let filter = Filter {
                field: Some(field.to_owned()),
                ..Filter::default()
            };
            filter.field_paths().unwrap_or_default()
        };

        assert_eq!(paths("taxClass"), ["taxClass", "tax_class"]);
        assert_eq!(paths("name"), ["name", "name"]);
        assert!(Filter::default().field_paths().is_none());
    }
}
