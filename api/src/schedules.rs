//! Schedules: syncs that start by themselves. Here they are written down; workers start what is due.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use lockstep_shared::connection;
use lockstep_shared::db::{self, OrgTx};
use lockstep_shared::entity::clean_line;
use lockstep_shared::id::{ConnectionId, ScheduleId};
use lockstep_shared::schedule::{
    self, Definition, Outcome as CanonicalOutcome, Pattern, Schedule as Canonical, StoreError, Target,
};
use lockstep_shared::sync;
use lockstep_shared::system::EntityType as CanonicalEntityType;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::{Authenticated, Session, commit};
use crate::body::{self, Body, FromBody, present};
use crate::connections::SystemName;
use crate::document::Tag;
use crate::page;
use crate::problem::{Kind, Refused, WrongField, failed};
use crate::syncs::{EntityType, SyncConfig};

const NAME_LIMIT: usize = 200;
const CRON_LIMIT: usize = 100;

/// How many of the next due times are shown.
const PREVIEWED: usize = 5;

/// What became of a schedule that was due. `started`: its sync was started. `skipped`: the sync that it started last was
/// still under way. `put_off`: the organisation had as many active syncs as it may, so it starts when one of them has ended.
/// `refused`: there was no active connection to sync with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", remote = "CanonicalOutcome")]
pub(crate) enum ScheduleOutcome {
    Started,
    Skipped,
    PutOff,
    Refused,
}

/// What to start, and when. What is left out of what to bring into step is not limited.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(
    rename_all = "camelCase",
    deny_unknown_fields,
    skip_serializing_if_is_none,
    example
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PutScheduleRequest {
    /// Name of the schedule, unique in the organisation.
    #[oai(validator(min_length = 1, max_length = 200))]
    name: String,
    /// When it is due: a cron pattern of five fields (minute, hour, day of month, month, day of week), so once a minute at
    /// most. Where a day lacks an hour, a fixed time that falls into it comes right after it; where a day has one twice, it
    /// comes in the first of both.
    #[oai(validator(min_length = 1, max_length = 100))]
    cron: String,
    /// The time zone that the pattern is read in: a name of the IANA database, such as `Europe/Berlin`. `UTC` where it is
    /// not given.
    #[serde(default, deserialize_with = "present")]
    time_zone: Option<String>,
    /// Whether it is to start anything; `true` where it is not given.
    #[serde(default, deserialize_with = "present")]
    enabled: Option<bool>,
    /// The systems. Left out: every system that has an active connection by then.
    #[oai(validator(min_items = 1))]
    #[serde(default, deserialize_with = "present")]
    systems: Option<Vec<SystemName>>,
    /// The connections, where the organisation has several of one system. Left out: every active connection of the systems.
    /// One that needs attention when the schedule is due is left out of that run.
    #[oai(validator(min_items = 1))]
    #[serde(default, deserialize_with = "present")]
    connection_ids: Option<Vec<Uuid>>,
    /// The entity types. Left out: all of them.
    #[oai(validator(min_items = 1))]
    #[serde(default, deserialize_with = "present")]
    entity_types: Option<Vec<EntityType>>,
    /// How its syncs go about it.
    #[serde(default, deserialize_with = "present")]
    sync_config: Option<SyncConfig>,
    /// The version that a change is based on: where somebody else has changed the schedule since, it is refused. Left out:
    /// whatever it is.
    #[serde(default, deserialize_with = "present")]
    version: Option<i32>,
}

impl FromBody for PutScheduleRequest {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        body::read(json)
    }
}

impl Example for PutScheduleRequest {
    fn example() -> Self {
        Self {
            name: "Nightly full scan".to_owned(),
            cron: "30 2 * * *".to_owned(),
            time_zone: Some("Europe/Berlin".to_owned()),
            enabled: Some(true),
            systems: None,
            connection_ids: None,
            entity_types: None,
            sync_config: Some(sync::Config::default().into()),
            version: None,
        }
    }
}

/// A request whose every field is right by itself, at a moment. Whether its connections are there, the database says.
struct Asked {
    definition: Definition,
    version: Option<i32>,
}

impl PutScheduleRequest {
    fn check(self, now: DateTime<Utc>) -> Result<Asked, Vec<WrongField>> {
        let mut wrong = Vec::new();
        let name = clean_line(&self.name);
        if name.is_empty() || name.chars().count() > NAME_LIMIT {
            wrong.push(WrongField::new(
                "name",
                format!("must have 1 to {NAME_LIMIT} characters"),
            ));
        }
        let lengths = [
            ("systems", self.systems.as_ref().map(Vec::len)),
            ("connectionIds", self.connection_ids.as_ref().map(Vec::len)),
            ("entityTypes", self.entity_types.as_ref().map(Vec::len)),
        ];
        for (field, length) in lengths {
            if length == Some(0) {
                wrong.push(WrongField::new(field, "must not be empty"));
            }
        }
        let cron = clean_line(&self.cron);
        let time_zone = self.time_zone.unwrap_or_else(|| "UTC".to_owned());
        let pattern = if cron.chars().count() > CRON_LIMIT {
            let message = format!("must have at most {CRON_LIMIT} characters");
            wrong.push(WrongField::new("cron", message));
            None
        } else {
            let read = Pattern::parse(&cron, &time_zone, now);
            if let Err(error) = &read {
                let field = if error.is_of_zone() { "timeZone" } else { "cron" };
                wrong.push(WrongField::new(field, error.to_string()));
            }
            read.ok()
        };
        let config = self.sync_config.unwrap_or_default().check();
        if let Err(errors) = &config {
            wrong.extend(errors.iter().cloned());
        }
        let (Some(pattern), Ok(config), true) = (pattern, config, wrong.is_empty()) else {
            return Err(wrong);
        };
        let entity_types = self.entity_types.map_or_else(
            || CanonicalEntityType::ALL.to_vec(),
            |named| {
                let named: BTreeSet<EntityType> = named.into_iter().collect();
                named.into_iter().map(CanonicalEntityType::from).collect()
            },
        );
        let systems = self.systems.map(|named| {
            let named: BTreeSet<SystemName> = named.into_iter().collect();
            named.into_iter().map(Into::into).collect()
        });
        let is_enabled = self.enabled.unwrap_or(true);
        let definition = Definition {
            name,
            cron,
            time_zone,
            target: Target {
                systems,
                connections: self
                    .connection_ids
                    .map(|ids| ids.into_iter().map(ConnectionId).collect()),
                entity_types,
            },
            config,
            next_run_at: pattern.next_after(now).filter(|_| is_enabled),
        };
        Ok(Asked {
            definition,
            version: self.version,
        })
    }
}

/// A schedule and when it is due.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
#[expect(
    clippy::struct_field_names,
    reason = "identifiers say of what, everywhere in the API"
)]
pub(crate) struct Schedule {
    /// Identifier of the schedule.
    schedule_id: Uuid,
    /// Name of the schedule, unique in the organisation.
    name: String,
    /// When it is due.
    cron: String,
    /// The time zone that the pattern is read in.
    time_zone: String,
    /// Whether it starts anything.
    enabled: bool,
    /// The systems; left out where they are not limited.
    systems: Option<Vec<SystemName>>,
    /// The connections; left out where they are not limited.
    connection_ids: Option<Vec<Uuid>>,
    /// The entity types.
    entity_types: Vec<EntityType>,
    /// How its syncs go about it.
    sync_config: SyncConfig,
    /// When it is due next, later than its pattern says where a run is put off; left out where it is disabled. A worker
    /// starts the sync within seconds.
    next_run_at: Option<DateTime<Utc>>,
    /// The next times at which its pattern is due, whether it is enabled or not.
    upcoming: Vec<DateTime<Utc>>,
    /// When it was due last; left out where it never was.
    last_run_at: Option<DateTime<Utc>>,
    /// What became of that.
    last_outcome: Option<ScheduleOutcome>,
    /// Why it started nothing then, where it did not.
    last_detail: Option<String>,
    /// The sync that it started last.
    last_sync_id: Option<Uuid>,
    /// Goes up with every change.
    version: i32,
    /// Who made it.
    created_by: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it was changed last.
    updated_at: DateTime<Utc>,
}

impl Schedule {
    fn of(schedule: Canonical, now: DateTime<Utc>) -> Self {
        let pattern = Pattern::parse(&schedule.cron, &schedule.time_zone, now);
        let upcoming = pattern.map_or_else(|_| Vec::new(), |pattern| pattern.upcoming(now, PREVIEWED));
        let (last_run_at, last_outcome, last_detail) = match schedule.last_run {
            Some(last) => (Some(last.at), Some(last.outcome.into()), last.detail),
            None => (None, None, None),
        };
        let Target {
            systems,
            connections,
            entity_types,
        } = schedule.target;
        Self {
            schedule_id: schedule.schedule_id.0,
            name: schedule.name,
            cron: schedule.cron,
            time_zone: schedule.time_zone,
            enabled: schedule.next_run_at.is_some(),
            systems: systems.map(|systems| systems.into_iter().map(SystemName::from).collect()),
            connection_ids: connections.map(|ids| ids.into_iter().map(|id| id.0).collect()),
            entity_types: entity_types.into_iter().map(EntityType::from).collect(),
            sync_config: schedule.config.into(),
            next_run_at: schedule.next_run_at,
            upcoming,
            last_run_at,
            last_outcome,
            last_detail,
            last_sync_id: schedule.last_sync_id.map(|id| id.0),
            version: schedule.version,
            created_by: schedule.created_by,
            created_at: schedule.created_at,
            updated_at: schedule.updated_at,
        }
    }
}

/// A page of schedules.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct SchedulePage {
    /// The schedules, oldest first.
    items: Vec<Schedule>,
    /// Where the list goes on; absent on the last page.
    next_cursor: Option<String>,
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Created {
    /// The schedule was made.
    #[oai(status = 201, content_type = "application/json")]
    Made(
        Json<Schedule>,
        /// Address of the schedule.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Found {
    /// The schedule.
    #[oai(status = 200, content_type = "application/json")]
    One(Json<Schedule>),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Listed {
    /// A page of schedules.
    #[oai(status = 200, content_type = "application/json")]
    Page(Json<SchedulePage>),
}

pub(crate) struct Schedules;

#[OpenApi(prefix_path = "/api/v1/schedules", tag = "Tag::Schedules")]
impl Schedules {
    /// Create a schedule
    ///
    /// Has syncs start by themselves. One run of a schedule is under way at a time: where the last one is not over when it is
    /// due again, that time is skipped. Times that were missed, because no worker was there, are made up for once. An
    /// organisation may have 100 schedules.
    #[oai(path = "/", method = "post", operation_id = "createSchedule")]
    async fn create(
        &self,
        Authenticated(session): Authenticated,
        /// The schedule to be made.
        Body(request): Body<PutScheduleRequest>,
    ) -> Result<Created, Refused> {
        let org = session.org();
        let id = ScheduleId::random();
        let mut tx = session.begin().await?;
        let now = now(&mut tx).await?;
        let asked = request.check(now).map_err(Refused::invalid)?;
        must_have(&mut tx, &session, &asked.definition.target).await?;
        schedule::create(&mut tx, org, id, &asked.definition, &session.caller.subject)
            .await
            .map_err(not_stored)?;
        let details = json!({ "scheduleId": id, "name": asked.definition.name });
        session.record(&mut tx, "schedule.created", details).await?;
        let schedule = find(&mut tx, &session, id).await?;
        commit(tx).await?;
        tracing::info!(org.id = %org, schedule.id = %id, "schedule created");
        let shown = Schedule::of(schedule, now);
        Ok(Created::Made(Json(shown), format!("/api/v1/schedules/{id}")))
    }

    /// List schedules
    ///
    /// Lists the organisation's schedules in the order in which they were made, a page at a time.
    #[oai(path = "/", method = "get", operation_id = "listSchedules")]
    async fn list(
        &self,
        Authenticated(session): Authenticated,
        /// Where to go on: the `nextCursor` of the page before.
        Query(cursor): Query<Option<String>>,
        /// Most schedules on the page, 50 where it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        Query(limit): Query<Option<i32>>,
    ) -> Result<Listed, Refused> {
        let after: Option<ScheduleId> = page::decode(cursor.as_deref())?;
        let limit = page::rows_for(limit);
        let mut tx = session.begin().await?;
        let now = now(&mut tx).await?;
        let mut schedules = schedule::list(&mut tx, session.org(), after, limit)
            .await
            .map_err(failed("could not list the schedules"))?;
        let next_cursor = page::cut(&mut schedules, limit, |last| last.schedule_id);
        let items = schedules.into_iter().map(|one| Schedule::of(one, now)).collect();
        Ok(Listed::Page(Json(SchedulePage { items, next_cursor })))
    }

    /// Get a schedule
    ///
    /// Returns a schedule, when it is due next, and what became of the last time.
    #[oai(path = "/:scheduleId", method = "get", operation_id = "getSchedule")]
    async fn get(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the schedule.
        #[oai(name = "scheduleId")]
        Path(schedule_id): Path<Uuid>,
    ) -> Result<Found, Refused> {
        let mut tx = session.begin().await?;
        let now = now(&mut tx).await?;
        let schedule = find(&mut tx, &session, ScheduleId(schedule_id)).await?;
        Ok(Found::One(Json(Schedule::of(schedule, now))))
    }

    /// Put a schedule
    ///
    /// Replaces a schedule; what is left out has its default again. It is due next as the new pattern says from now on, and a
    /// sync that it started goes on.
    #[oai(path = "/:scheduleId", method = "put", operation_id = "putSchedule")]
    async fn put(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the schedule.
        #[oai(name = "scheduleId")]
        Path(schedule_id): Path<Uuid>,
        /// The whole schedule.
        Body(request): Body<PutScheduleRequest>,
    ) -> Result<Found, Refused> {
        let (org, id) = (session.org(), ScheduleId(schedule_id));
        let mut tx = session.begin().await?;
        let now = now(&mut tx).await?;
        let asked = request.check(now).map_err(Refused::invalid)?;
        find(&mut tx, &session, id).await?;
        must_have(&mut tx, &session, &asked.definition.target).await?;
        let is_there = schedule::replace(&mut tx, org, id, &asked.definition, asked.version)
            .await
            .map_err(not_stored)?;
        if !is_there {
            return Err(Refused::not_found("there is no such schedule"));
        }
        let details = json!({ "scheduleId": id, "name": asked.definition.name });
        session.record(&mut tx, "schedule.changed", details).await?;
        let schedule = find(&mut tx, &session, id).await?;
        commit(tx).await?;
        Ok(Found::One(Json(Schedule::of(schedule, now))))
    }

    /// Delete a schedule
    ///
    /// Deletes a schedule and returns what it was. A sync that it started goes on.
    #[oai(path = "/:scheduleId", method = "delete", operation_id = "deleteSchedule")]
    async fn delete(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the schedule.
        #[oai(name = "scheduleId")]
        Path(schedule_id): Path<Uuid>,
    ) -> Result<Found, Refused> {
        let (org, id) = (session.org(), ScheduleId(schedule_id));
        let mut tx = session.begin().await?;
        let now = now(&mut tx).await?;
        let schedule = find(&mut tx, &session, id).await?;
        schedule::delete(&mut tx, org, id)
            .await
            .map_err(failed("could not delete a schedule"))?;
        let details = json!({ "scheduleId": id, "name": schedule.name });
        session.record(&mut tx, "schedule.deleted", details).await?;
        commit(tx).await?;
        Ok(Found::One(Json(Schedule::of(schedule, now))))
    }
}

async fn now(tx: &mut OrgTx) -> Result<DateTime<Utc>, Refused> {
    db::now(tx).await.map_err(failed("could not read the time"))
}

async fn find(tx: &mut OrgTx, session: &Session, id: ScheduleId) -> Result<Canonical, Refused> {
    schedule::find(tx, session.org(), id)
        .await
        .map_err(failed("could not read a schedule"))?
        .ok_or_else(|| Refused::not_found("there is no such schedule"))
}

/// Refuses connections that the organisation does not have. Whether they can be used counts when the schedule is due.
async fn must_have(tx: &mut OrgTx, session: &Session, target: &Target) -> Result<(), Refused> {
    let Some(named) = &target.connections else {
        return Ok(());
    };
    let connections = connection::list(tx, session.org())
        .await
        .map_err(failed("could not list the connections"))?;
    let is_named = |system| {
        target
            .systems
            .as_ref()
            .is_none_or(|named| named.contains(&system))
    };
    let mut wrong = Vec::new();
    for (position, id) in named.iter().enumerate() {
        let message = match connections.iter().find(|one| one.connection_id == *id) {
            None => "must be a connection of the organisation",
            Some(one) if !is_named(one.system) => "must be a connection of one of the `systems`",
            Some(_) => continue,
        };
        wrong.push(WrongField::new(format!("connectionIds/{position}"), message));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Refused::invalid(wrong))
    }
}

fn not_stored(error: StoreError) -> Refused {
    match error {
        StoreError::NameTaken(name) => Refused::conflict(
            Kind::NameTaken,
            format!("there is a schedule named `{name}` already"),
        ),
        StoreError::TooMany => Refused::conflict(
            Kind::TooManySchedules,
            format!(
                "an organisation may have {} schedules; delete one first",
                schedule::LIMIT
            ),
        ),
        StoreError::Changed { version } => Refused::conflict(
            Kind::Changed,
            format!("somebody has changed the schedule since; its version is {version} now"),
        ),
        StoreError::Database(error) => failed("could not store a schedule")(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(json: Value) -> Vec<String> {
        let now = "2026-05-01T00:00:00Z".parse().unwrap();
        let checked = PutScheduleRequest::from_body(json).and_then(|request| request.check(now).map(|_| ()));
        let wrong = checked.unwrap_err().into_iter();
        wrong.map(|wrong| wrong.field).collect()
    }

    #[test]
    fn every_wrong_field_of_a_schedule_is_named() {
        let all = json!({
            "name": " ", "cron": "often", "systems": [], "entityTypes": [], "connectionIds": [],
            "syncConfig": { "batchSize": 0 },
        });

        assert_eq!(
            wrong(all),
            [
                "name",
                "systems",
                "connectionIds",
                "entityTypes",
                "cron",
                "syncConfig/batchSize"
            ],
            "R45"
        );
        for (cron, zone, field) in [
            ("*/10 * * * * *", "UTC", "cron"),
            ("0 0 30 2 *", "UTC", "cron"),
            ("0 0 * * *", "Middle/Earth", "timeZone"),
        ] {
            let one = json!({ "name": "Nightly", "cron": cron, "timeZone": zone });
            assert_eq!(wrong(one), [field], "R45");
        }
        let long = "0,".repeat(60) + "0 * * * *";
        assert_eq!(wrong(json!({ "name": "Nightly", "cron": long })), ["cron"], "R45");
        assert_eq!(wrong(json!({ "name": "Nightly" })), ["cron"], "R45");
    }
}
