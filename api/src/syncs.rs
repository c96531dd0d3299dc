//! Syncs: asking for one, and seeing how far it is. A sync is only written down here, with its bell; workers carry it out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use lockstep_shared::activity::Outcome;
use lockstep_shared::batch;
use lockstep_shared::bucket;
use lockstep_shared::connection::{self, Connection};
use lockstep_shared::db;
use lockstep_shared::id::{ConnectionId, SyncId};
use lockstep_shared::progress::{self, Due, Part, Progress};
use lockstep_shared::stage;
use lockstep_shared::sync::{self, After, NewSync, StageView, StartError, Status};
use lockstep_shared::system::{Direction as CanonicalDirection, EntityType as CanonicalEntityType, System};
use lockstep_shared::telemetry::traceparent;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::{Authenticated, Session, commit};
use crate::body::{self, Body, FromBody, present, present_number};
use crate::connections::SystemName;
use crate::document::Tag;
use crate::page;
use crate::problem::{Kind, Problem, Refused, WrongField, boxed, failed};

/// A type of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enum, Deserialize)]
#[oai(rename_all = "lowercase", remote = "CanonicalEntityType")]
#[serde(rename_all = "lowercase")]
pub(crate) enum EntityType {
    Customers,
    Products,
    Orders,
    Inventory,
    Payments,
}

/// Where a sync stands. `partial`: some of it failed. `pausing` and `cancelling`: a call that is under way ends first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase", remote = "Status")]
pub(crate) enum SyncStatus {
    Draft,
    Queued,
    Processing,
    Pausing,
    Paused,
    Cancelling,
    Cancelled,
    Done,
    Partial,
    Failed,
}

/// Which way a stage carries records, as seen from Lockstep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase", remote = "CanonicalDirection")]
pub(crate) enum Direction {
    Pull,
    Push,
}

/// Where a stage stands. `failed`: it could not be carried through; the others go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase", remote = "stage::Status")]
pub(crate) enum StageStatus {
    Waiting,
    Open,
    Finished,
    Failed,
}

/// How a sync goes about it. What is left out has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct SyncConfig {
    /// Items in one batch; 50 where it is not given.
    #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
    #[serde(deserialize_with = "present_number")]
    batch_size: Option<i32>,
    /// Milliseconds between two batches of one stage; 2,000 where it is not given.
    #[oai(validator(minimum(value = "0"), maximum(value = "600000")))]
    #[serde(deserialize_with = "present_number")]
    batch_delay_ms: Option<i32>,
    /// Times an item is tried again within the sync; 3 where it is not given.
    #[oai(validator(minimum(value = "1"), maximum(value = "5")))]
    #[serde(deserialize_with = "present_number")]
    max_retries: Option<i32>,
    /// Does everything but write to the systems; `GET …/previews` tells what would have been written. `false` where it
    /// is not given.
    #[serde(deserialize_with = "present")]
    dry_run: Option<bool>,
    /// Reads everything that the systems hold, not only what changed. So it finds what was deleted there, of which the
    /// connection's settings say what becomes, and what was changed without a time of change. `false` where it is not
    /// given.
    #[serde(deserialize_with = "present")]
    full_scan: Option<bool>,
    /// Requests per minute of this sync alone, within what its organisation and its connections may send: from 1 to 50, or
    /// to what the operator gave the organisation where that is more. Left out: as many as those allow.
    #[oai(validator(minimum(value = "1")))]
    #[serde(deserialize_with = "present_number")]
    requests_per_minute: Option<i32>,
}

impl SyncConfig {
    pub(crate) fn check(&self) -> Result<sync::Config, Vec<WrongField>> {
        // A negative number is out of every range, so the largest one stands for it.
        let number = |value: Option<i32>| value.map(|value| u32::try_from(value).unwrap_or(u32::MAX));
        let rate = number(self.requests_per_minute);
        let (size, delay, retries) = (
            number(self.batch_size),
            number(self.batch_delay_ms),
            number(self.max_retries),
        );
        // One at a time first: each wrong value is named, not only the first.
        let wrong: Vec<WrongField> = [(size, None, None), (None, delay, None), (None, None, retries)]
            .into_iter()
            .filter_map(|(size, delay, retries)| sync::Config::new(size, delay, retries).err())
            // What the organisation may ask for, the database says.
            .chain(sync::Config::default().at_rate(rate, bucket::LIMIT).err())
            .map(|error| wrong_value(&error))
            .collect();
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let config = sync::Config::new(size, delay, retries).map_err(|error| vec![wrong_value(&error)])?;
        Ok(sync::Config {
            dry_run: self.dry_run.unwrap_or(config.dry_run),
            full_scan: self.full_scan.unwrap_or(config.full_scan),
            requests_per_minute: rate,
            ..config
        })
    }
}

fn wrong_value(error: &sync::ConfigError) -> WrongField {
    let sync::ConfigError { field, from, to } = error;
    WrongField::out_of_range(
        format!("syncConfig/{field}"),
        format!("must be from {from} to {to}"),
    )
}

impl From<sync::Config> for SyncConfig {
    fn from(config: sync::Config) -> Self {
        Self {
            batch_size: Some(config.batch_size.into()),
            batch_delay_ms: i32::try_from(config.batch_delay_ms).ok(),
            max_retries: Some(config.max_retries.into()),
            dry_run: Some(config.dry_run),
            full_scan: Some(config.full_scan),
            requests_per_minute: config
                .requests_per_minute
                .and_then(|rate| i32::try_from(rate).ok()),
        }
    }
}

/// What to bring into step. What is left out is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Object, Deserialize)]
#[oai(
    rename_all = "camelCase",
    deny_unknown_fields,
    skip_serializing_if_is_none,
    example
)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct StartSyncRequest {
    /// The systems. Each one named must have an active connection. Left out: every system that has one.
    #[oai(validator(min_items = 1))]
    #[serde(deserialize_with = "present")]
    systems: Option<Vec<SystemName>>,
    /// The entity types. Left out: all of them.
    #[oai(validator(min_items = 1))]
    #[serde(deserialize_with = "present")]
    entity_types: Option<Vec<EntityType>>,
    /// The connections, where the organisation has several of one system. Left out: every active connection of the
    /// systems.
    #[oai(validator(min_items = 1))]
    #[serde(deserialize_with = "present")]
    connection_ids: Option<Vec<Uuid>>,
    /// How to go about it.
    #[serde(deserialize_with = "present")]
    sync_config: Option<SyncConfig>,
}

impl FromBody for StartSyncRequest {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        body::read(json)
    }
}

impl Example for StartSyncRequest {
    fn example() -> Self {
        Self {
            systems: Some(vec![SystemName::Woocommerce, SystemName::Odoo]),
            entity_types: Some(vec![EntityType::Customers, EntityType::Products]),
            connection_ids: None,
            sync_config: Some(sync::Config::default().into()),
        }
    }
}

/// A request whose every field is right by itself. Whether its connections are there, the database says.
#[derive(Debug)]
pub(crate) struct Asked {
    systems: Option<BTreeSet<SystemName>>,
    entity_types: Vec<CanonicalEntityType>,
    connection_ids: Option<Vec<Uuid>>,
    config: sync::Config,
}

impl StartSyncRequest {
    pub(crate) fn check(self) -> Result<Asked, Vec<WrongField>> {
        let mut wrong = Vec::new();
        let lengths = [
            ("systems", self.systems.as_ref().map(Vec::len)),
            ("entityTypes", self.entity_types.as_ref().map(Vec::len)),
            ("connectionIds", self.connection_ids.as_ref().map(Vec::len)),
        ];
        for (field, length) in lengths {
            if length == Some(0) {
                wrong.push(WrongField::new(field, "must not be empty"));
            }
        }
        let config = self.sync_config.unwrap_or_default().check();
        if let Err(errors) = &config {
            wrong.extend(errors.iter().cloned());
        }
        let Some(config) = config.ok().filter(|_| wrong.is_empty()) else {
            return Err(wrong);
        };
        let entity_types = self.entity_types.map_or_else(
            || CanonicalEntityType::ALL.to_vec(),
            |named| {
                let named: BTreeSet<EntityType> = named.into_iter().collect();
                named.into_iter().map(CanonicalEntityType::from).collect()
            },
        );
        Ok(Asked {
            systems: self.systems.map(|named| named.into_iter().collect()),
            entity_types,
            connection_ids: self.connection_ids,
            config,
        })
    }
}

/// Chooses the connections that a sync is about, of those that the organisation has.
fn choose(asked: &Asked, connections: &[Connection]) -> Result<Vec<(ConnectionId, SystemName)>, Refused> {
    let is_active = |connection: &Connection| connection.status == connection::Status::Active;
    let is_named = |system: SystemName| asked.systems.as_ref().is_none_or(|named| named.contains(&system));
    let chosen: BTreeMap<ConnectionId, SystemName> = match &asked.connection_ids {
        Some(ids) => {
            let by_id: BTreeMap<Uuid, &Connection> = connections
                .iter()
                .map(|connection| (connection.connection_id.0, connection))
                .collect();
            let mut wrong = Vec::new();
            let mut chosen = BTreeMap::new();
            for (position, id) in ids.iter().enumerate() {
                match by_id.get(id) {
                    None => wrong.push((position, "must be a connection of the organisation")),
                    Some(connection) if !is_active(connection) => {
                        wrong.push((position, "must be a connection that is active"));
                    }
                    Some(connection) if !is_named(connection.system.into()) => {
                        wrong.push((position, "must be a connection of one of the `systems`"));
                    }
                    Some(connection) => {
                        chosen.insert(connection.connection_id, connection.system.into());
                    }
                }
            }
            if !wrong.is_empty() {
                let wrong = wrong
                    .into_iter()
                    .map(|(position, message)| WrongField::new(format!("connectionIds/{position}"), message));
                return Err(Refused::invalid(wrong.collect()));
            }
            chosen
        }
        None => connections
            .iter()
            .filter(|connection| is_active(connection) && is_named(connection.system.into()))
            .map(|connection| (connection.connection_id, connection.system.into()))
            .collect(),
    };
    let missing = asked.systems.iter().flatten().find(|system| {
        let mut systems = chosen.values();
        !systems.any(|chosen| chosen == *system)
    });
    if let Some(system) = missing {
        let name = System::from(*system).name();
        return Err(Refused::no_connection(format!(
            "there is no active connection of the system `{name}` to sync with"
        )));
    }
    if chosen.is_empty() {
        return Err(Refused::no_connection(
            "the organisation has no active connection",
        ));
    }
    Ok(chosen.into_iter().collect())
}

/// A sync that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct StartSyncResponse {
    /// Identifier of the sync.
    sync_id: Uuid,
    /// Where it stands: `queued`.
    status: SyncStatus,
}

impl StartSyncResponse {
    pub(crate) fn queued(sync_id: SyncId) -> Self {
        Self {
            sync_id: sync_id.0,
            status: SyncStatus::Queued,
        }
    }
}

/// What became of the items of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct StageCounts {
    /// Things that a pull read.
    seen: i64,
    /// Created: in the remote system by a push, here by a pull.
    created: i64,
    /// Changed.
    updated: i64,
    /// Looked at, and found in step.
    unchanged: i64,
    /// Left alone, with a reason.
    skipped: i64,
    /// Refused by the remote system.
    failed: i64,
    /// Waiting for a person.
    conflicts: i64,
    /// Handed to a follow-up batch because a request had no answer.
    in_doubt: i64,
}

impl From<batch::Counts> for StageCounts {
    fn from(counts: batch::Counts) -> Self {
        Self {
            seen: counts.seen,
            created: counts.created,
            updated: counts.updated,
            unchanged: counts.unchanged,
            skipped: counts.skipped,
            failed: counts.failed,
            conflicts: counts.conflicts,
            in_doubt: counts.in_doubt,
        }
    }
}

/// One direction, connection and entity type within a sync.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct SyncStage {
    /// Which way it carries records.
    direction: Direction,
    /// What kind of system it works with.
    system: SystemName,
    /// The connection that it works with.
    connection_id: Uuid,
    /// The type of its records.
    entity_type: EntityType,
    /// Where it stands.
    status: StageStatus,
    /// Items that were due when it opened. 0 for a pull, which learns the number only by reading.
    total: i64,
    /// What became of them.
    counts: StageCounts,
    /// When it opened.
    started_at: Option<DateTime<Utc>>,
    /// When it was through.
    completed_at: Option<DateTime<Utc>>,
    /// Why it could not be carried through, where it could not.
    error: Option<String>,
    /// Items that it does in a second (things that it reads, for a pull), as was measured so far; the time that the sync
    /// stood still is left out. Absent until anything was measured.
    items_per_second: Option<f64>,
}

impl From<StageView> for SyncStage {
    fn from(stage: StageView) -> Self {
        Self {
            items_per_second: progress::rate(&stage),
            direction: stage.direction.into(),
            system: stage.system.into(),
            connection_id: stage.connection_id.0,
            entity_type: stage.entity_type.into(),
            status: stage.status.into(),
            total: stage.total,
            counts: stage.counts.into(),
            started_at: stage.opened_at,
            completed_at: stage.closed_at,
            error: stage.error_message,
        }
    }
}

/// What became of the items of one type in the systems of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct SyncPart {
    /// The kind of system.
    pub(crate) system: SystemName,
    /// The type of the records.
    pub(crate) entity_type: EntityType,
    /// Items to push, as far as is known.
    pub(crate) total: i64,
    /// Items that pushes are through with, however it ended.
    pub(crate) settled: i64,
    /// What became of them.
    counts: StageCounts,
}

impl From<Part> for SyncPart {
    fn from(part: Part) -> Self {
        Self {
            system: part.system.into(),
            entity_type: part.entity_type.into(),
            total: part.total,
            settled: part.counts.settled(),
            counts: part.counts.into(),
        }
    }
}

/// How far a sync is.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct SyncProgress {
    /// Items to push, as far as is known: each push counts its items when it opens.
    total: i64,
    /// Items that pushes are through with, however it ended.
    settled: i64,
    /// How far the sync is through its stages, from 0 to 100; it never goes back.
    #[oai(validator(minimum(value = "0"), maximum(value = "100")))]
    percent: i32,
    /// Seconds that the rest will take, by the rates that were measured and what is due by now. Absent until they are
    /// known, and while the sync does not go on.
    pub(crate) estimated_seconds_remaining: Option<i64>,
    /// The same by system and entity type.
    pub(crate) parts: Vec<SyncPart>,
    /// The stages in the order in which they run. Empty until a worker has begun.
    stages: Vec<SyncStage>,
}

impl SyncProgress {
    pub(crate) fn of(progress: Progress, stages: Vec<StageView>) -> Self {
        Self {
            total: progress.total,
            settled: progress.settled,
            percent: progress.percent,
            estimated_seconds_remaining: progress.remaining.map(rounded_secs),
            parts: progress.parts.into_iter().map(SyncPart::from).collect(),
            stages: stages.into_iter().map(SyncStage::from).collect(),
        }
    }
}

/// Whole seconds, rounded up: what goes on is not over.
fn rounded_secs(duration: Duration) -> i64 {
    let secs = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i64::try_from(secs).unwrap_or(i64::MAX)
}

/// A sync as it was at a time.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) view: sync::View,
    stages: Vec<StageView>,
    due: Vec<Due>,
    pub(crate) now: DateTime<Utc>,
}

impl Look {
    pub(crate) fn progress(&self) -> SyncProgress {
        let progress = Progress::of(self.view.status, &self.stages, &self.due, self.now);
        SyncProgress::of(progress, self.stages.clone())
    }

    /// Counts the items that were left to a conflict.
    pub(crate) fn conflicts(&self) -> i64 {
        self.stages.iter().map(|stage| stage.counts.conflicts).sum()
    }
}

/// Looks at a sync of the caller's organisation.
pub(crate) async fn look(session: &Session, id: SyncId) -> Result<Look, Refused> {
    let org = session.org();
    let mut tx = session.begin().await?;
    let view = sync::find(&mut tx, org, id)
        .await
        .map_err(failed("could not read a sync"))?
        .ok_or_else(|| Refused::not_found("there is no such sync"))?;
    let stages = sync::stages(&mut tx, org, id)
        .await
        .map_err(failed("could not read a sync's stages"))?;
    // Only what goes on is estimated.
    let due = if view.status == Status::Processing {
        progress::due(&mut tx, org, id)
            .await
            .map_err(failed("could not count what is due"))?
    } else {
        Vec::new()
    };
    let now = db::now(&mut tx)
        .await
        .map_err(failed("could not read the time"))?;
    Ok(Look {
        view,
        stages,
        due,
        now,
    })
}

/// A sync and how far it is.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct SyncDetails {
    /// Identifier of the sync.
    sync_id: Uuid,
    /// Where it stands.
    status: SyncStatus,
    /// The systems that it brings into step.
    systems: Vec<SystemName>,
    /// The entity types that it brings into step.
    entity_types: Vec<EntityType>,
    /// How it goes about it.
    sync_config: SyncConfig,
    /// How far it is.
    progress: SyncProgress,
    /// Who asked for it.
    requested_by: String,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// When a worker began.
    started_at: Option<DateTime<Utc>>,
    /// When it was over.
    completed_at: Option<DateTime<Utc>>,
    /// Why it failed, where it did as a whole.
    error: Option<String>,
}

impl SyncDetails {
    fn of(look: Look) -> Self {
        let progress = look.progress();
        let view = look.view;
        Self {
            sync_id: view.sync_id.0,
            status: view.status.into(),
            systems: view.systems.into_iter().map(SystemName::from).collect(),
            entity_types: view.entity_types.into_iter().map(EntityType::from).collect(),
            sync_config: view.config.into(),
            progress,
            requested_by: view.requested_by,
            created_at: view.created_at,
            started_at: view.started_at,
            completed_at: view.completed_at,
            error: view.error_message,
        }
    }
}

/// A sync without its progress.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct SyncSummary {
    /// Identifier of the sync.
    sync_id: Uuid,
    /// Where it stands.
    status: SyncStatus,
    /// The systems that it brings into step.
    systems: Vec<SystemName>,
    /// The entity types that it brings into step.
    entity_types: Vec<EntityType>,
    /// Who asked for it.
    requested_by: String,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// When a worker began.
    started_at: Option<DateTime<Utc>>,
    /// When it was over.
    completed_at: Option<DateTime<Utc>>,
    /// Why it failed, where it did as a whole.
    error: Option<String>,
}

impl From<sync::View> for SyncSummary {
    fn from(view: sync::View) -> Self {
        Self {
            sync_id: view.sync_id.0,
            status: view.status.into(),
            systems: view.systems.into_iter().map(SystemName::from).collect(),
            entity_types: view.entity_types.into_iter().map(EntityType::from).collect(),
            requested_by: view.requested_by,
            created_at: view.created_at,
            started_at: view.started_at,
            completed_at: view.completed_at,
            error: view.error_message,
        }
    }
}

/// A page of syncs.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct SyncPage {
    /// The syncs, newest first.
    items: Vec<SyncSummary>,
    /// Where the list goes on; absent on the last page.
    next_cursor: Option<String>,
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Started {
    /// The sync was accepted and waits for a worker.
    #[oai(status = 202, content_type = "application/json")]
    Queued(
        Json<StartSyncResponse>,
        /// Address of the sync, where its progress is to be seen.
        #[oai(header = "Location")]
        String,
    ),
}

impl Started {
    pub(crate) fn queued(sync_id: SyncId) -> Self {
        let accepted = StartSyncResponse::queued(sync_id);
        Self::Queued(Json(accepted), format!("/api/v1/syncs/{sync_id}"))
    }
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Found {
    /// The sync.
    #[oai(status = 200, content_type = "application/json")]
    One(Json<SyncDetails>),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Listed {
    /// A page of syncs.
    #[oai(status = 200, content_type = "application/json")]
    Page(Json<SyncPage>),
}

pub(crate) struct Syncs;

#[OpenApi(prefix_path = "/api/v1/syncs", tag = "Tag::Syncs")]
impl Syncs {
    /// Start a sync
    ///
    /// Accepts a sync and returns at once; workers carry it out. First they read what changed in each system, then they
    /// write what differs: WooCommerce before Odoo, and what is referred to before what refers to it. An organisation
    /// may have five active syncs.
    #[oai(path = "/", method = "post", operation_id = "startSync")]
    async fn start(
        &self,
        Authenticated(session): Authenticated,
        /// Trace that the request belongs to, after W3C Trace Context. The sync's work continues it; what can't be read
        /// is ignored.
        #[oai(name = "traceparent")]
        Header(trace): Header<Option<String>>,
        /// What to bring into step.
        Body(request): Body<StartSyncRequest>,
    ) -> Result<Started, Refused> {
        let asked = request.check().map_err(Refused::invalid)?;
        let sync_id = start(&session, asked, trace.as_deref().and_then(traceparent)).await?;
        Ok(Started::queued(sync_id))
    }

    /// Get a sync
    ///
    /// Returns a sync and how far it is, stage by stage.
    #[oai(path = "/:syncId", method = "get", operation_id = "getSync")]
    async fn get(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the sync.
        #[oai(name = "syncId")]
        Path(sync_id): Path<Uuid>,
    ) -> Result<Found, Refused> {
        let look = look(&session, SyncId(sync_id)).await?;
        Ok(Found::One(Json(SyncDetails::of(look))))
    }

    /// List syncs
    ///
    /// Lists the organisation's syncs, newest first, a page at a time.
    #[oai(path = "/", method = "get", operation_id = "listSyncs")]
    async fn list(
        &self,
        Authenticated(session): Authenticated,
        /// Only syncs that stand there.
        Query(status): Query<Option<SyncStatus>>,
        /// Where to go on: the `nextCursor` of the page before.
        Query(cursor): Query<Option<String>>,
        /// Most syncs on the page, 50 where it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        Query(limit): Query<Option<i32>>,
    ) -> Result<Listed, Refused> {
        let after: Option<(DateTime<Utc>, SyncId)> = page::decode(cursor.as_deref())?;
        let after = after.map(|(created_at, sync_id)| After { created_at, sync_id });
        let limit = page::rows_for(limit);
        let mut tx = session.begin().await?;
        let mut views = sync::list(&mut tx, session.org(), status.map(Status::from), after, limit)
            .await
            .map_err(failed("could not list the syncs"))?;
        let next_cursor = page::cut(&mut views, limit, |last| (last.created_at, last.sync_id));
        let items = views.into_iter().map(SyncSummary::from).collect();
        Ok(Listed::Page(Json(SyncPage { items, next_cursor })))
    }
}

pub(crate) async fn start(session: &Session, asked: Asked, trace: Option<String>) -> Result<SyncId, Refused> {
    let org = session.org();
    let mut tx = session.begin().await?;
    if asked.config.requests_per_minute.is_some() {
        let ceiling = bucket::ceiling(&mut tx, org).await.map_err(failed(
            "could not read how often the organisation's systems may be asked",
        ))?;
        let rate = asked.config.requests_per_minute;
        let at_rate = asked.config.at_rate(rate, ceiling);
        at_rate.map_err(|error| Refused::invalid(vec![wrong_value(&error)]))?;
    }
    let connections = connection::list(&mut tx, org)
        .await
        .map_err(failed("could not list the connections"))?;
    let chosen = choose(&asked, &connections)?;
    let systems: BTreeSet<SystemName> = chosen.iter().map(|(_, system)| *system).collect();
    let new = NewSync {
        sync_id: SyncId::random(),
        systems: systems.into_iter().map(Into::into).collect(),
        entity_types: asked.entity_types,
        connections: chosen.into_iter().map(|(id, _)| id).collect(),
        config: asked.config,
        requested_by: session.caller.subject.clone(),
        traceparent: trace,
    };
    sync::start(&mut tx, org, &new).await.map_err(not_started)?;
    let details = json!({
        "systems": new.systems,
        "entityTypes": new.entity_types,
        "connectionIds": new.connections,
        "syncConfig": new.config,
    });
    let line = ("sync.requested", Outcome::Done);
    session
        .record_line(&mut tx, Some(new.sync_id), line, details)
        .await?;
    commit(tx).await?;
    tracing::info!(org.id = %org, sync.id = %new.sync_id, "sync requested");
    Ok(new.sync_id)
}

pub(crate) fn not_started(error: StartError) -> Refused {
    match error {
        StartError::TooManyActive { running } => {
            let detail = format!(
                "at most {} syncs may be active at once; wait for one of the running ones, or cancel it",
                sync::ACTIVE_LIMIT
            );
            Refused::Conflict(boxed(Problem {
                running_syncs: Some(running.into_iter().map(|id| id.0).collect()),
                ..Problem::new(Kind::TooManyActiveSyncs, detail)
            }))
        }
        StartError::Database(error) => failed("could not start a sync")(error),
    }
}

#[cfg(test)]
mod tests {
    use lockstep_shared::connection::Settings;

    use super::*;

    fn asked(json: Value) -> Result<Asked, Vec<WrongField>> {
        StartSyncRequest::from_body(json).and_then(StartSyncRequest::check)
    }

    fn connection(id: u128, system: System, status: connection::Status) -> Connection {
        Connection {
            connection_id: ConnectionId(Uuid::from_u128(id)),
            system,
            name: id.to_string(),
            base_url: "https://example.com".to_owned(),
            settings: Settings::default(),
            status,
            attention: None,
            credentials_set_at: DateTime::UNIX_EPOCH,
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    fn connections() -> Vec<Connection> {
        use connection::Status::{Active, NeedsAttention};
        vec![
            connection(1, System::Woocommerce, Active),
            connection(2, System::Woocommerce, Active),
            connection(3, System::Odoo, NeedsAttention),
        ]
    }

    fn chosen(json: Value) -> Result<Vec<u128>, i32> {
        let asked = asked(json).unwrap();
        match choose(&asked, &connections()) {
            Ok(chosen) => Ok(chosen.into_iter().map(|(id, _)| id.0.as_u128()).collect()),
            Err(Refused::Invalid(Json(problem))) => Err(problem.status),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let asked = asked(json!({})).unwrap();

        assert_eq!(asked.config, sync::Config::default(), "R2, R4, R25");
        assert_eq!(asked.entity_types, CanonicalEntityType::ALL);
        assert_eq!(asked.systems, None);
    }

    #[test]
    fn every_value_out_of_range_is_named_with_its_range() {
        let config = json!({"batchSize": 201, "batchDelayMs": -1, "maxRetries": 0, "requestsPerMinute": 0});
        let wrong = asked(json!({"systems": [], "syncConfig": config})).unwrap_err();

        let wrong: Vec<String> = wrong
            .into_iter()
            .map(|wrong| format!("{} {}", wrong.field, wrong.message))
            .collect();
        insta::assert_snapshot!(wrong.join("\n"), @r"
        systems must not be empty
        syncConfig/batchSize must be from 1 to 200
        syncConfig/batchDelayMs must be from 0 to 600000
        syncConfig/maxRetries must be from 1 to 5
        syncConfig/requestsPerMinute must be from 1 to 10000000
        ");
    }

    #[test]
    fn a_sync_takes_the_active_connections_of_the_systems() {
        let id = |id: u128| Uuid::from_u128(id);

        assert_eq!(chosen(json!({})), Ok(vec![1, 2]));
        assert_eq!(chosen(json!({"systems": ["woocommerce"]})), Ok(vec![1, 2]), "R52");
        assert_eq!(
            chosen(json!({"connectionIds": [id(2), id(2)]})),
            Ok(vec![2]),
            "R52"
        );
        for refused in [
            json!({"systems": ["odoo"]}),
            json!({"systems": ["woocommerce", "odoo"]}),
            json!({"connectionIds": [id(3)]}),
            json!({"connectionIds": [id(9)]}),
            json!({"connectionIds": [id(1)], "systems": ["odoo"]}),
            json!({"connectionIds": [id(1)], "systems": ["woocommerce", "odoo"]}),
        ] {
            assert_eq!(chosen(refused.clone()), Err(422), "{refused}");
        }
    }
}
