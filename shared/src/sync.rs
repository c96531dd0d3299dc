//! Syncs: one run each, with the states it may pass through, its configuration, and what it came to.

use std::time::Duration;
pub mod retry;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::batch::Counts;
use crate::bucket;
use crate::id::{ConnectionId, OrgId, RecordId, StageId, SyncId};
use crate::stage;
use crate::system::{Direction, EntityType, System};

/// Most syncs of one organisation that may be active at once (R5).
pub const ACTIVE_LIMIT: usize = 5;

/// Where a sync stands. [`Status::allows`] and the table `sync_move` hold the same moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Status {
    Draft,
    Queued,
    Processing,
    /// The door is closed for new external calls; a call under way ends and is settled.
    Pausing,
    Paused,
    Cancelling,
    Cancelled,
    Done,
    /// Some of it failed.
    Partial,
    Failed,
}

impl Status {
    pub const ALL: [Self; 10] = [
        Self::Draft,
        Self::Queued,
        Self::Processing,
        Self::Pausing,
        Self::Paused,
        Self::Cancelling,
        Self::Cancelled,
        Self::Done,
        Self::Partial,
        Self::Failed,
    ];

    /// Says whether a sync may go from this state to another.
    pub const fn allows(self, next: Self) -> bool {
        match self {
            Self::Draft => matches!(next, Self::Queued | Self::Cancelled),
            Self::Queued => matches!(
                next,
                Self::Processing | Self::Paused | Self::Cancelled | Self::Failed
            ),
            Self::Processing => {
                matches!(
                    next,
                    Self::Pausing | Self::Cancelling | Self::Done | Self::Partial | Self::Failed
                )
            }
            Self::Pausing => matches!(next, Self::Paused | Self::Processing | Self::Cancelling),
            Self::Paused => matches!(
                next,
                Self::Processing | Self::Queued | Self::Cancelling | Self::Cancelled
            ),
            Self::Cancelling => matches!(next, Self::Cancelled),
            Self::Cancelled | Self::Done | Self::Partial | Self::Failed => false,
        }
    }

    /// Says whether the sync is over.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Cancelled | Self::Done | Self::Partial | Self::Failed => true,
            Self::Draft
            | Self::Queued
            | Self::Processing
            | Self::Pausing
            | Self::Paused
            | Self::Cancelling => false,
        }
    }

    /// Returns the name used in the API, the tables and the logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Queued => "queued",
            Self::Processing => "processing",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

/// How a sync goes about it. Every value is within its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, try_from = "RawConfig")]
pub struct Config {
    /// Items in one batch, 1 to 200.
    pub batch_size: u16,
    /// Wait between two batches of one stage, 0 to 600,000 ms.
    pub batch_delay_ms: u32,
    /// Times an item is tried again within one sync, 1 to 5.
    pub max_retries: u8,
    /// Does everything but write to the systems, and keeps what it would have written for people to look at.
    pub dry_run: bool,
    /// Reads everything that the systems hold, not only what changed: so it finds what was deleted there, and what was
    /// changed past their times of change.
    pub full_scan: bool,
    /// Requests per minute of this sync alone, where they are to be fewer than its organisation may send.
    // Left out where there is none, so that a version that doesn't know it can still read the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    batch_size: u16,
    batch_delay_ms: u32,
    max_retries: u8,
    dry_run: bool,
    full_scan: bool,
    requests_per_minute: Option<u32>,
}

impl Default for RawConfig {
    fn default() -> Self {
        let Config {
            batch_size,
            batch_delay_ms,
            max_retries,
            dry_run,
            full_scan,
            requests_per_minute,
        } = Config::default();
        Self {
            batch_size,
            batch_delay_ms,
            max_retries,
            dry_run,
            full_scan,
            requests_per_minute,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            batch_size: 50,
            batch_delay_ms: 2_000,
            max_retries: 3,
            dry_run: false,
            full_scan: false,
            requests_per_minute: None,
        }
    }
}

/// A value outside its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` must be from {from} to {to}")]
pub struct ConfigError {
    pub field: &'static str,
    pub from: u32,
    pub to: u32,
}

impl Config {
    /// Builds a configuration; `None` takes the default.
    pub fn new(
        batch_size: Option<u32>,
        batch_delay_ms: Option<u32>,
        max_retries: Option<u32>,
    ) -> Result<Self, ConfigError> {
        let ranged = |field, value: Option<u32>, default: u32, from, to| match value.unwrap_or(default) {
            value if (from..=to).contains(&value) => Ok(value),
            _ => Err(ConfigError { field, from, to }),
        };
        let default = Self::default();
        let batch_size = ranged("batchSize", batch_size, default.batch_size.into(), 1, 200)?;
        let max_retries = ranged("maxRetries", max_retries, default.max_retries.into(), 1, 5)?;
        Ok(Self {
            batch_size: u16::try_from(batch_size).expect("at most 200"),
            batch_delay_ms: ranged("batchDelayMs", batch_delay_ms, default.batch_delay_ms, 0, 600_000)?,
            max_retries: u8::try_from(max_retries).expect("at most 5"),
            dry_run: false,
            full_scan: false,
            requests_per_minute: None,
        })
    }
}

impl Config {
    /// Gives the sync a rate of its own, from 1 to `ceiling` requests per minute; `None` takes its organisation's.
    pub fn at_rate(self, requests_per_minute: Option<u32>, ceiling: u32) -> Result<Self, ConfigError> {
        if requests_per_minute.is_some_and(|rate| !(1..=ceiling).contains(&rate)) {
            return Err(ConfigError {
                field: "requestsPerMinute",
                from: 1,
                to: ceiling,
            });
        }
        Ok(Self {
            requests_per_minute,
            ..self
        })
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = ConfigError;

    fn try_from(raw: RawConfig) -> Result<Self, ConfigError> {
        let config = Self::new(
            Some(raw.batch_size.into()),
            Some(raw.batch_delay_ms),
            Some(raw.max_retries.into()),
        )?;
        Self {
            dry_run: raw.dry_run,
            full_scan: raw.full_scan,
            ..config
        }
        .at_rate(raw.requests_per_minute, bucket::LIMIT)
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct NewSync {
    pub sync_id: SyncId,
    pub systems: Vec<System>,
    pub entity_types: Vec<EntityType>,
    pub connections: Vec<ConnectionId>,
    pub config: Config,
    pub requested_by: String,
    pub traceparent: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the organisation has {} active syncs already, the most there may be", running.len())]
    TooManyActive { running: Vec<SyncId> },
    #[error("could not start the sync")]
    Database(#[source] sqlx::Error),
}

/// Stores a sync as queued, its first command and its bell, all in the caller's transaction. Starts of one
/// organisation go one after another, so that the limit of active syncs holds (R5).
pub async fn start(db: &mut PgConnection, org: OrgId, new: &NewSync) -> Result<(), StartError> {
    sqlx::query!(
        "select org_id from organisation where org_id = $1 for no key update",
        org as _
    )
    .fetch_one(&mut *db)
    .await
    .map_err(StartError::Database)?;
    let running = active(db, org).await.map_err(StartError::Database)?;
    if running.len() >= ACTIVE_LIMIT {
        return Err(StartError::TooManyActive { running });
    }
    insert(db, org, new).await.map_err(StartError::Database)
}

/// Limits a sync that was just stored to some records: it reads nothing, and pushes what of them is due. In the caller's
/// transaction, before a worker can see it.
pub async fn restrict(
    db: &mut PgConnection,
    org: OrgId,
    id: SyncId,
    records: &[RecordId],
) -> Result<(), sqlx::Error> {
    let records: Vec<uuid::Uuid> = records.iter().map(|record| record.0).collect();
    sqlx::query!(
        "insert into sync_record (org_id, sync_id, record_id)
         select distinct $1::uuid, $2::uuid, r.record_id from unnest($3::uuid[]) r (record_id)",
        org as _,
        id as _,
        &records,
    )
    .execute(&mut *db)
    .await?;
    mark_restricted(db, org, id).await
}

/// Marks a sync as one of what it lists, and of nothing where it lists nothing.
async fn mark_restricted(db: &mut PgConnection, org: OrgId, id: SyncId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sync_orchestration set is_restricted = true where org_id = $1 and sync_id = $2",
        org as _,
        id as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn insert(db: &mut PgConnection, org: OrgId, new: &NewSync) -> Result<(), sqlx::Error> {
    let json = |value: serde_json::Result<serde_json::Value>| value.expect("names and ids are plain JSON");
    sqlx::query!(
        "insert into sync_orchestration
             (sync_id, org_id, systems, entity_types, connection_ids, status, config, requested_by, traceparent)
         values ($1, $2, $3, $4, $5, 'queued', $6, $7, $8)",
        new.sync_id as _,
        org as _,
        json(serde_json::to_value(&new.systems)),
        json(serde_json::to_value(&new.entity_types)),
        json(serde_json::to_value(&new.connections)),
        json(serde_json::to_value(new.config)),
        new.requested_by,
        new.traceparent,
    )
    .execute(&mut *db)
    .await?;
    if let Some(rate) = new.config.requests_per_minute {
        bucket::limit_sync(db, org, new.sync_id, Some(rate)).await?;
    }
    let command = crate::command::NewCommand {
        sync: new.sync_id,
        kind: crate::command::Kind::Start,
        requested_by: new.requested_by.clone(),
        traceparent: new.traceparent.clone(),
    };
    crate::command::enqueue(db, org, &command).await.map(|_| ())
}

/// Lists the active syncs of an organisation, oldest first.
pub async fn active(db: &mut PgConnection, org: OrgId) -> Result<Vec<SyncId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select sync_id as "sync_id: SyncId"
          from sync_orchestration
         where org_id = $1 and status in ('queued', 'processing', 'pausing', 'paused', 'cancelling')
         order by created_at
        "#,
        org as _,
    )
    .fetch_all(db)
    .await
}

/// A sync as its workers need it.
#[derive(Clone, Debug)]
pub struct Running {
    pub status: Status,
    /// Whether it was started: its stages are there.
    pub has_begun: bool,
    pub config: Config,
    pub connections: Vec<ConnectionId>,
    pub entity_types: Vec<EntityType>,
    /// Whether it is about the records that it lists, and nothing else.
    pub is_restricted: bool,
}

/// Locks a sync's row and reads it. What only refers to the row (effects, stages) is not kept waiting.
pub async fn lock(db: &mut PgConnection, org: OrgId, id: SyncId) -> Result<Option<Running>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select status as "status: Status", started_at is not null as "has_begun!", config, connection_ids, entity_types,
               is_restricted
          from sync_orchestration
         where org_id = $1 and sync_id = $2
           for no key update
        "#,
        org as _,
        id as _,
    )
    .fetch_optional(db)
    .await?;
    row.map(|row| {
        Ok(Running {
            status: row.status,
            has_begun: row.has_begun,
            config: decode(row.config)?,
            connections: decode(row.connection_ids)?,
            entity_types: decode(row.entity_types)?,
            is_restricted: row.is_restricted,
        })
    })
    .transpose()
}

fn decode<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T, sqlx::Error> {
    serde_json::from_value(value).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// Reads a sync's configuration.
pub async fn config(db: &mut PgConnection, org: OrgId, id: SyncId) -> Result<Config, sqlx::Error> {
    let config = sqlx::query_scalar!(
        "select config from sync_orchestration where org_id = $1 and sync_id = $2",
        org as _,
        id as _,
    )
    .fetch_one(db)
    .await?;
    decode(config)
}

/// Moves a sync from one state to another. `false` where it is not in that state any more.
pub async fn advance(
    db: &mut PgConnection,
    org: OrgId,
    id: SyncId,
    (from, to): (Status, Status),
    error_message: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query!(
        "update sync_orchestration
            set status = $4,
                started_at = case when $4 = 'processing' then coalesce(started_at, lockstep_now()) else started_at end,
                completed_at = case when $5 then lockstep_now() end,
                paused_at = case when $4 in ('pausing', 'paused') then coalesce(paused_at, lockstep_now()) end,
                error_message = coalesce($6, error_message)
          where org_id = $1 and sync_id = $2 and status = $3",
        org as _,
        id as _,
        from as _,
        to.name(),
        to.is_final(),
        error_message,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(moved == 1)
}

/// A sync as it is shown.
#[derive(Clone, Debug)]
pub struct View {
    pub sync_id: SyncId,
    pub status: Status,
    pub systems: Vec<System>,
    pub entity_types: Vec<EntityType>,
    pub config: Config,
    pub requested_by: String,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
    pub error_message: Option<String>,
}

/// One stage of a sync as it is shown.
#[derive(Clone, Debug)]
pub struct StageView {
    pub stage_id: StageId,
    pub direction: Direction,
    pub connection_id: ConnectionId,
    pub system: System,
    pub entity_type: EntityType,
    pub status: stage::Status,
    /// Items due when it opened; 0 for a pull, which learns the number only by reading.
    pub total: i64,
    pub counts: Counts,
    pub opened_at: Option<DateTime<Utc>>,
    pub closed_at: Option<DateTime<Utc>>,
    pub error_message: Option<String>,
    /// What its rate is measured by; `None` until its first batch is done.
    pub measured: Option<Measured>,
}

/// Work that was done in a time that was measured, standstill apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Items that a push is through with, or things that a pull read.
    pub items: i64,
    /// How long that took.
    pub took: Duration,
    /// Until when it was measured.
    pub until: DateTime<Utc>,
}

/// Where a list of syncs goes on: after this one, newest first.
#[derive(Clone, Copy, Debug)]
pub struct After {
    pub created_at: DateTime<Utc>,
    pub sync_id: SyncId,
}

/// Finds one sync.
pub async fn find(db: &mut PgConnection, org: OrgId, id: SyncId) -> Result<Option<View>, sqlx::Error> {
    let found = views(db, org, Some(id), None, None, 1).await?;
    Ok(found.into_iter().next())
}

/// Lists syncs, newest first, optionally of one status only.
pub async fn list(
    db: &mut PgConnection,
    org: OrgId,
    status: Option<Status>,
    after: Option<After>,
    limit: i64,
) -> Result<Vec<View>, sqlx::Error> {
    views(db, org, None, status, after, limit).await
}

async fn views(
    db: &mut PgConnection,
    org: OrgId,
    id: Option<SyncId>,
    status: Option<Status>,
    after: Option<After>,
    limit: i64,
) -> Result<Vec<View>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select sync_id as "sync_id: SyncId", status as "status: Status", systems, entity_types, config, requested_by,
               created_at, started_at, completed_at, error_message
          from sync_orchestration
         where org_id = $1
           and ($2::uuid is null or sync_id = $2)
           and ($3::text is null or status = $3)
           and ($4::timestamptz is null or (created_at, sync_id) < ($4, $5::uuid))
         order by created_at desc, sync_id desc
         limit $6
        "#,
        org as _,
        id as _,
        status.map(Status::name),
        after.map(|after| after.created_at),
        after.map(|after| after.sync_id) as _,
        limit,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(View {
                sync_id: row.sync_id,
                status: row.status,
                systems: decode(row.systems)?,
                entity_types: decode(row.entity_types)?,
                config: decode(row.config)?,
                requested_by: row.requested_by,
                created_at: row.created_at,
                started_at: row.started_at,
                completed_at: row.completed_at,
                error_message: row.error_message,
            })
        })
        .collect()
}

/// Reads a sync's stages in their order, each with the sum of its batches' counts.
pub async fn stages(db: &mut PgConnection, org: OrgId, id: SyncId) -> Result<Vec<StageView>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select t.stage_id as "stage_id: StageId", t.direction as "direction: Direction",
               t.connection_id as "connection_id: ConnectionId", c.system as "system: System",
               t.entity_type as "entity_type: EntityType", t.status as "status: stage::Status", t.total,
               t.opened_at, t.closed_at, t.error_message, t.resumed_at,
               extract(epoch from t.paused_for)::float8 as "paused_secs!",
               min(b.closed_at) as first_done_at, max(b.closed_at) as done_at,
               (array_agg(b.seen_count order by b.closed_at) filter (where b.status = 'done'))[1] as seen_by_first,
               (array_agg(b.created_count + b.updated_count + b.unchanged_count + b.skipped_count + b.failed_count
                          + b.conflict_count order by b.closed_at) filter (where b.status = 'done'))[1] as settled_by_first,
               coalesce(sum(b.seen_count) filter (where b.status = 'done'), 0) as "seen_when_done!",
               coalesce(sum(b.created_count + b.updated_count + b.unchanged_count + b.skipped_count + b.failed_count
                            + b.conflict_count) filter (where b.status = 'done'), 0) as "settled_when_done!",
               coalesce(sum(b.seen_count), 0) as "seen!", coalesce(sum(b.created_count), 0) as "created!",
               coalesce(sum(b.updated_count), 0) as "updated!", coalesce(sum(b.unchanged_count), 0) as "unchanged!",
               coalesce(sum(b.skipped_count), 0) as "skipped!", coalesce(sum(b.failed_count), 0) as "failed!",
               coalesce(sum(b.conflict_count), 0) as "conflicts!", coalesce(sum(b.in_doubt_count), 0) as "in_doubt!"
          from sync_stage t
          join connection c on c.org_id = t.org_id and c.connection_id = t.connection_id
          left join sync_batch b on b.org_id = t.org_id and b.stage_id = t.stage_id
         where t.org_id = $1 and t.sync_id = $2
         group by t.org_id, t.stage_id, c.system
         order by t.ordinal
        "#,
        org as _,
        id as _,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let counts = Counts {
                seen: row.seen,
                created: row.created,
                updated: row.updated,
                unchanged: row.unchanged,
                skipped: row.skipped,
                failed: row.failed,
                conflicts: row.conflicts,
                in_doubt: row.in_doubt,
            };
            let items = |seen, settled| match row.direction {
                Direction::Pull => seen,
                Direction::Push => settled,
            };
            let at_end = (row.done_at, items(row.seen_when_done, row.settled_when_done));
            // What was done up to a standstill is in the counts, and not always in a batch that is done.
            let at_standstill = (row.resumed_at, items(counts.seen, counts.settled()));
            let to = at_end.max(at_standstill);
            let by_first = items(
                row.seen_by_first.unwrap_or(0).into(),
                row.settled_by_first.unwrap_or(0).into(),
            );
            let from = match row.first_done_at {
                Some(first) if row.paused_secs == 0.0 => Some((first, by_first)),
                Some(_) | None => None,
            };
            StageView {
                stage_id: row.stage_id,
                direction: row.direction,
                connection_id: row.connection_id,
                system: row.system,
                entity_type: row.entity_type,
                status: row.status,
                total: row.total,
                counts,
                opened_at: row.opened_at,
                closed_at: row.closed_at,
                error_message: row.error_message,
                measured: measured((row.opened_at, row.paused_secs), from, to),
            }
        })
        .collect())
}

/// Measures what a stage did up to a time. The first batch takes longer than those that follow, so it is left out once
/// there are others, unless the stage stood still meanwhile.
fn measured(
    (opened_at, paused_secs): (Option<DateTime<Utc>>, f64),
    first: Option<(DateTime<Utc>, i64)>,
    (until, items): (Option<DateTime<Utc>>, i64),
) -> Option<Measured> {
    let until = until?;
    let since = |from: DateTime<Utc>| (until - from).to_std().ok();
    let after_first = first.and_then(|(done_at, by_first)| {
        let (items, took) = (items - by_first, since(done_at)?);
        (items > 0 && !took.is_zero()).then_some(Measured { items, took, until })
    });
    let paused = Duration::try_from_secs_f64(paused_secs).unwrap_or_default();
    let whole = || {
        let took = since(opened_at?)?.checked_sub(paused)?;
        Some(Measured { items, took, until })
    };
    after_first.or_else(whole)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_status() -> impl Strategy<Value = Status> {
        prop::sample::select(Status::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn nothing_leaves_a_final_state(from in any_status(), to in any_status()) {
            if from.is_final() {
                prop_assert!(!from.allows(to), "R1");
            }
        }

        #[test]
        fn no_state_moves_to_itself(status in any_status()) {
            prop_assert!(!status.allows(status));
        }

        #[test]
        fn every_walk_can_still_end(moves in prop::collection::vec(any_status(), 0..20)) {
            let mut now = Status::Draft;
            for next in moves {
                if now.allows(next) {
                    now = next;
                }
            }
            prop_assert!(now.is_final() || Status::ALL.iter().any(|next| now.allows(*next)));
        }
    }

    #[test]
    fn a_value_out_of_range_names_its_field_and_range() {
        let error = Config::new(Some(201), None, None).unwrap_err();

        assert_eq!(error.to_string(), "`batchSize` must be from 1 to 200");
        assert_eq!(Config::new(None, None, None).unwrap(), Config::default());
        assert_eq!(
            (Config::default().batch_size, Config::default().batch_delay_ms),
            (50, 2_000),
            "R2, R4"
        );
    }
}
