//! Schedules: syncs that start by themselves, by a cron pattern that is read in a time zone.
//!
//! A worker's sweep finds what is due and fires it behind a lock on its row: the sync, its first command and bell, what
//! became of it, and when it is due next commit together or not at all. So one sync is started each time, however many
//! workers sweep, and whoever dies in between. What was missed while nobody swept is made up for once.

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use serde::de::DeserializeOwned;
use sqlx::PgConnection;

use crate::connection::{self, Connection};
use crate::id::{ConnectionId, OrgId, ScheduleId, SyncId};
use crate::sync::Config;
use crate::system::{EntityType, System};

/// Most schedules of one organisation.
pub const LIMIT: i64 = 100;

/// Most due times that are counted as missed.
const MISSED_LIMIT: usize = 1_000;

/// Longest that a clock is set forward or back, and some more.
const CHANGE: TimeDelta = TimeDelta::hours(4);

/// Most minutes that a place has skipped at once: a day.
const GAP_MINUTES: i64 = 25 * 60;

/// When a schedule is due: a cron pattern of five fields, so at most once a minute, read in a time zone.
///
/// Where a day lacks an hour, a fixed time that falls into it comes right after it; where a day has one twice, a fixed time
/// comes in the first of both. A pattern with `*` for its hours goes on by the clock on the wall instead: what would fall
/// into the hour that is not there is left out, and the hour that is there twice has it twice.
#[derive(Clone, Debug)]
pub struct Pattern {
    cron: Cron,
    zone: Tz,
    /// Whether its hours are `*`.
    is_recurring: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("must be a cron pattern of five fields: minute, hour, day of month, month, day of week")]
    Cron,
    #[error("must have five fields, not {fields}: a schedule is due once a minute at most")]
    TooOften { fields: usize },
    #[error("must come due some day")]
    Never,
    #[error("must be a time zone of the IANA database, such as `Europe/Berlin`")]
    Zone,
}

impl PatternError {
    /// Says whether it is the time zone that is wrong, and not the pattern.
    pub const fn is_of_zone(self) -> bool {
        match self {
            Self::Zone => true,
            Self::Cron | Self::TooOften { .. } | Self::Never => false,
        }
    }
}

impl Pattern {
    /// Reads a pattern, which must come due after `now`.
    pub fn parse(cron: &str, zone: &str, now: DateTime<Utc>) -> Result<Self, PatternError> {
        let zone: Tz = zone.parse().map_err(|_| PatternError::Zone)?;
        let fields = cron.split_whitespace().count();
        match fields {
            5 => {}
            6 | 7 => return Err(PatternError::TooOften { fields }),
            _ => return Err(PatternError::Cron),
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let pattern = Self {
            cron: parser.parse(cron).map_err(|_| PatternError::Cron)?,
            zone,
            is_recurring: cron
                .split_whitespace()
                .nth(1)
                .is_some_and(|hours| hours.contains('*')),
        };
        match pattern.next_after(now) {
            Some(_) => Ok(pattern),
            None => Err(PatternError::Never),
        }
    }

    /// Returns the first due time after a moment.
    ///
    /// The crate is asked about clocks that nobody sets only: where it starts within an hour that a day has twice, it
    /// leaves out or repeats what is in it.
    pub fn next_after(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = |time: DateTime<Utc>| time.with_timezone(&self.zone).naive_local();
        let against_utc = |time: DateTime<Utc>| local(time) - time.naive_utc();
        let is_calm = against_utc(moment - CHANGE) == against_utc(moment + CHANGE);
        let mut on_the_wall = if is_calm {
            local(moment)
        } else {
            local(moment) - CHANGE
        };
        let mut best: Option<DateTime<Utc>> = None;
        loop {
            on_the_wall = self.next_on_the_wall(on_the_wall)?;
            if best.is_some_and(|best| on_the_wall > local(best) + CHANGE) {
                return best;
            }
            let times = self.times(on_the_wall).into_iter().flatten();
            best = times.filter(|time| *time > moment).chain(best).min();
            if is_calm && best.is_some() {
                return best;
            }
        }
    }

    fn next_on_the_wall(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        // The crate goes on from the fraction of a second at which it starts.
        let after = after.with_nanosecond(0)?;
        let next = self.cron.find_next_occurrence(&after.and_utc(), false).ok()?;
        Some(next.naive_utc())
    }

    /// Returns when it is what time on the wall: never, once, or twice.
    fn times(&self, on_the_wall: NaiveDateTime) -> [Option<DateTime<Utc>>; 2] {
        let utc = |time: DateTime<Tz>| time.to_utc();
        match self.zone.from_local_datetime(&on_the_wall) {
            LocalResult::Single(time) => [Some(utc(time)), None],
            LocalResult::Ambiguous(first, second) => {
                [Some(utc(first)), self.is_recurring.then(|| utc(second))]
            }
            LocalResult::None if self.is_recurring => [None, None],
            LocalResult::None => {
                let later = (1..GAP_MINUTES).map(|minutes| on_the_wall + TimeDelta::minutes(minutes));
                let mut there = later.filter_map(|later| self.zone.from_local_datetime(&later).earliest());
                [there.next().map(utc), None]
            }
        }
    }

    /// Returns the due times after a moment, the first so many.
    pub fn upcoming(&self, after: DateTime<Utc>, most: usize) -> Vec<DateTime<Utc>> {
        std::iter::successors(self.next_after(after), |last| self.next_after(*last))
            .take(most)
            .collect()
    }

    /// Counts the due times after one that was due, up to now: they are made up for by the one run that comes now.
    pub fn missed(&self, due: DateTime<Utc>, now: DateTime<Utc>) -> usize {
        std::iter::successors(self.next_after(due), |last| self.next_after(*last))
            .take_while(|time| *time <= now)
            .take(MISSED_LIMIT)
            .count()
    }
}

/// What a schedule's syncs are about. `None` does not limit it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    pub systems: Option<Vec<System>>,
    pub connections: Option<Vec<ConnectionId>>,
    pub entity_types: Vec<EntityType>,
}

impl Target {
    /// Chooses what a run is about of the connections that there are now. One that needs attention is left out: the
    /// others go on.
    pub fn choose<'a>(&self, connections: &'a [Connection]) -> Vec<&'a Connection> {
        connections
            .iter()
            .filter(|one| one.status == connection::Status::Active)
            .filter(|one| {
                self.connections
                    .as_ref()
                    .is_none_or(|named| named.contains(&one.connection_id))
            })
            .filter(|one| {
                self.systems
                    .as_ref()
                    .is_none_or(|named| named.contains(&one.system))
            })
            .collect()
    }
}

/// What became of a schedule that was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Outcome {
    Started,
    /// The sync that it started last was still under way.
    Skipped,
    /// The organisation had as many active syncs as it may; it is tried again soon.
    PutOff,
    /// There was nothing to sync with.
    Refused,
}

impl Outcome {
    /// Returns the name used in the API, the tables and the logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Skipped => "skipped",
            Self::PutOff => "put_off",
            Self::Refused => "refused",
        }
    }
}

/// A schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub schedule_id: ScheduleId,
    pub name: String,
    pub cron: String,
    pub time_zone: String,
    pub target: Target,
    pub config: Config,
    /// When it is due; none where it is disabled.
    pub next_run_at: Option<DateTime<Utc>>,
    pub last_run: Option<LastRun>,
    /// The sync that it started last.
    pub last_sync_id: Option<SyncId>,
    /// Goes up with every change by a person.
    pub version: i32,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// The last time that a schedule was due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRun {
    pub at: DateTime<Utc>,
    pub outcome: Outcome,
    /// What it came to, in words.
    pub detail: Option<String>,
}

/// What a person sets of a schedule.
#[derive(Clone, Debug)]
pub struct Definition {
    pub name: String,
    pub cron: String,
    pub time_zone: String,
    pub target: Target,
    pub config: Config,
    /// When it is due; none disables it.
    pub next_run_at: Option<DateTime<Utc>>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the organisation has a schedule named `{0}` already")]
    NameTaken(String),
    #[error("the organisation has {LIMIT} schedules already, the most there may be")]
    TooMany,
    #[error("the schedule was changed since: its version is {version}")]
    Changed { version: i32 },
    #[error("could not store the schedule")]
    Database(#[source] sqlx::Error),
}

fn not_stored(error: sqlx::Error, name: &str) -> StoreError {
    match crate::db::constraint(&error) {
        Some("schedule_name_key") => StoreError::NameTaken(name.to_owned()),
        _ => StoreError::Database(error),
    }
}

fn json<T: serde::Serialize>(value: T) -> serde_json::Value {
    serde_json::to_value(value).expect("names and ids are plain JSON")
}

fn decode<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, sqlx::Error> {
    serde_json::from_value(value).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// Stores a schedule.
pub async fn create(
    db: &mut PgConnection,
    org: OrgId,
    id: ScheduleId,
    definition: &Definition,
    created_by: &str,
) -> Result<(), StoreError> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from schedule where org_id = $1"#,
        org as _
    )
    .fetch_one(&mut *db)
    .await
    .map_err(StoreError::Database)?;
    if count >= LIMIT {
        return Err(StoreError::TooMany);
    }
    sqlx::query!(
        "insert into schedule (org_id, schedule_id, name, cron, time_zone, systems, connection_ids, entity_types, config,
                               is_enabled, next_run_at, created_by)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::timestamptz is not null, $10, $11)",
        org as _,
        id as _,
        definition.name,
        definition.cron,
        definition.time_zone,
        definition.target.systems.as_ref().map(json),
        definition.target.connections.as_ref().map(json),
        json(&definition.target.entity_types),
        json(definition.config),
        definition.next_run_at,
        created_by,
    )
    .execute(db)
    .await
    .map_err(|error| not_stored(error, &definition.name))?;
    Ok(())
}

/// Replaces a schedule. `false` where there is none; with `version`, refused where it has another by now.
pub async fn replace(
    db: &mut PgConnection,
    org: OrgId,
    id: ScheduleId,
    definition: &Definition,
    version: Option<i32>,
) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar!(
        "select version from schedule where org_id = $1 and schedule_id = $2 for update",
        org as _,
        id as _,
    )
    .fetch_optional(&mut *db)
    .await
    .map_err(StoreError::Database)?;
    match found {
        None => return Ok(false),
        Some(found) if version.is_some_and(|version| version != found) => {
            return Err(StoreError::Changed { version: found });
        }
        Some(_) => {}
    }
    sqlx::query!(
        "update schedule
            set name = $3, cron = $4, time_zone = $5, systems = $6, connection_ids = $7, entity_types = $8, config = $9,
                is_enabled = $10::timestamptz is not null, next_run_at = $10, version = version + 1,
                updated_at = lockstep_now()
          where org_id = $1 and schedule_id = $2",
        org as _,
        id as _,
        definition.name,
        definition.cron,
        definition.time_zone,
        definition.target.systems.as_ref().map(json),
        definition.target.connections.as_ref().map(json),
        json(&definition.target.entity_types),
        json(definition.config),
        definition.next_run_at,
    )
    .execute(db)
    .await
    .map_err(|error| not_stored(error, &definition.name))?;
    Ok(true)
}

/// Deletes a schedule; what it started goes on. `false` where there is none.
pub async fn delete(db: &mut PgConnection, org: OrgId, id: ScheduleId) -> Result<bool, sqlx::Error> {
    let deleted = sqlx::query!(
        "delete from schedule where org_id = $1 and schedule_id = $2",
        org as _,
        id as _,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(deleted == 1)
}

/// Finds one schedule.
pub async fn find(
    db: &mut PgConnection,
    org: OrgId,
    id: ScheduleId,
) -> Result<Option<Schedule>, sqlx::Error> {
    let found = rows(db, org, Some(id), None, 1).await?;
    Ok(found.into_iter().next())
}

/// Lists schedules in the order in which they were made, those after one.
pub async fn list(
    db: &mut PgConnection,
    org: OrgId,
    after: Option<ScheduleId>,
    limit: i64,
) -> Result<Vec<Schedule>, sqlx::Error> {
    rows(db, org, None, after, limit).await
}

async fn rows(
    db: &mut PgConnection,
    org: OrgId,
    id: Option<ScheduleId>,
    after: Option<ScheduleId>,
    limit: i64,
) -> Result<Vec<Schedule>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select schedule_id as "schedule_id: ScheduleId", name, cron, time_zone, systems, connection_ids, entity_types, config,
               next_run_at, last_run_at, last_outcome as "last_outcome: Outcome", last_detail,
               last_sync_id as "last_sync_id: SyncId", version, created_by, created_at, updated_at
          from schedule
         where org_id = $1
           and ($2::uuid is null or schedule_id = $2)
           and ($3::uuid is null or schedule_id > $3)
         order by schedule_id
         limit $4
        "#,
        org as _,
        id as _,
        after as _,
        limit,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let last_run = row.last_run_at.zip(row.last_outcome);
            Ok(Schedule {
                schedule_id: row.schedule_id,
                name: row.name,
                cron: row.cron,
                time_zone: row.time_zone,
                target: Target {
                    systems: row.systems.map(decode).transpose()?,
                    connections: row.connection_ids.map(decode).transpose()?,
                    entity_types: decode(row.entity_types)?,
                },
                config: decode(row.config)?,
                next_run_at: row.next_run_at,
                last_run: last_run.map(|(at, outcome)| LastRun {
                    at,
                    outcome,
                    detail: row.last_detail,
                }),
                last_sync_id: row.last_sync_id,
                version: row.version,
                created_by: row.created_by,
                created_at: row.created_at,
                updated_at: row.updated_at,
            })
        })
        .collect()
}

/// Finds the schedules that are due, whichever organisation they belong to, the latest first so many.
pub async fn due(db: &mut PgConnection, most: i32) -> Result<Vec<(OrgId, ScheduleId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select org_id as "org_id!: OrgId", schedule_id as "id!: ScheduleId" from fleet_due_schedule($1)"#,
        most,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.org_id, row.id)).collect())
}

/// Locks a schedule that is due, unless somebody else is about to fire it. Returns whether the sync that it started last is
/// still under way.
pub async fn lock_due(
    db: &mut PgConnection,
    org: OrgId,
    id: ScheduleId,
) -> Result<Option<bool>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
                   select from sync_orchestration s
                    where s.org_id = d.org_id and s.sync_id = d.last_sync_id
                      and s.status not in ('cancelled', 'done', 'partial', 'failed')
               ) as "is_under_way!"
          from schedule d
         where d.org_id = $1 and d.schedule_id = $2 and d.is_enabled and d.next_run_at <= lockstep_now()
           for update of d skip locked
        "#,
        org as _,
        id as _,
    )
    .fetch_optional(db)
    .await
}

/// What firing a schedule came to.
#[derive(Clone, Debug)]
pub struct Fired {
    pub at: DateTime<Utc>,
    pub outcome: Outcome,
    pub detail: Option<String>,
    pub sync: Option<SyncId>,
    pub next_run_at: DateTime<Utc>,
}

/// Notes what firing a locked schedule came to.
pub async fn fired(
    db: &mut PgConnection,
    org: OrgId,
    id: ScheduleId,
    fired: &Fired,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update schedule
            set last_run_at = $3, last_outcome = $4, last_detail = $5, last_sync_id = coalesce($6, last_sync_id),
                next_run_at = $7
          where org_id = $1 and schedule_id = $2",
        org as _,
        id as _,
        fired.at,
        fired.outcome.name(),
        fired.detail,
        fired.sync as _,
        fired.next_run_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn pattern(cron: &str, zone: &str) -> Pattern {
        Pattern::parse(cron, zone, at("2026-01-01T00:00:00Z")).unwrap()
    }

    fn times(cron: &str, zone: &str, after: &str, most: usize) -> Vec<String> {
        let times = pattern(cron, zone).upcoming(at(after), most);
        times
            .iter()
            .map(|time| time.format("%m-%dT%H:%M").to_string())
            .collect()
    }

    fn refused(cron: &str, zone: &str) -> PatternError {
        Pattern::parse(cron, zone, at("2026-01-01T00:00:00Z")).unwrap_err()
    }

    #[test]
    fn a_pattern_is_read_in_its_time_zone() {
        assert_eq!(
            times("30 2 * * *", "Asia/Kolkata", "2026-05-01T00:00:00Z", 2),
            ["05-01T21:00", "05-02T21:00"]
        );
        assert_eq!(
            times("0 9 * * MON", "America/New_York", "2026-01-01T00:00:00Z", 2),
            ["01-05T14:00", "01-12T14:00"]
        );
    }

    #[test]
    fn due_times_are_whole_minutes_whenever_they_are_asked_for() {
        let hourly = pattern("0 * * * *", "UTC");
        let (due, next) = (at("2026-05-01T10:00:00Z"), at("2026-05-01T11:00:00Z"));

        assert_eq!(hourly.next_after(at("2026-05-01T09:59:59.999Z")), Some(due));
        assert_eq!(hourly.next_after(due), Some(next));
        assert_eq!(hourly.next_after(at("2026-05-01T10:00:00.001Z")), Some(next));
    }

    #[test]
    fn a_fixed_time_in_an_hour_that_a_day_does_not_have_comes_right_after_it() {
        // On 29 March 2026 in Berlin 01:59:59 is followed by 03:00, which is 01:00 UTC.
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
            ["03-28T01:30", "03-29T01:00", "03-30T00:30"]
        );
    }

    #[test]
    fn a_fixed_time_in_an_hour_that_a_day_has_twice_comes_once() {
        // On 25 October 2026 in Berlin 02:30 is 00:30 and 01:30 UTC.
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z", 3),
            ["10-24T00:30", "10-25T00:30", "10-26T01:30"]
        );
    }

    #[test]
    fn what_recurs_within_the_hour_goes_on_through_a_change_of_the_clock() {
        assert_eq!(
            times("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 4),
            ["03-29T00:30", "03-29T01:00", "03-29T01:30", "03-29T02:00"]
        );
        assert_eq!(
            times("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:40:00Z", 5),
            [
                "10-25T00:00",
                "10-25T00:30",
                "10-25T01:00",
                "10-25T01:30",
                "10-25T02:00"
            ]
        );
    }

    #[test]
    fn what_is_due_more_than_once_a_minute_is_refused() {
        assert_eq!(
            refused("*/10 * * * * *", "UTC"),
            PatternError::TooOften { fields: 6 }
        );
        assert_eq!(
            refused("* * * * * * 2030", "UTC"),
            PatternError::TooOften { fields: 7 }
        );
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        for cron in [
            "",
            "often",
            "* * * *",
            "61 * * * *",
            "* * * * FUNDAY",
            "*/0 * * * *",
        ] {
            assert_eq!(refused(cron, "UTC"), PatternError::Cron, "{cron}");
        }
        assert_eq!(refused("0 0 30 2 *", "UTC"), PatternError::Never);
        for zone in ["", "Middle/Earth", "+02:00"] {
            assert!(refused("0 0 * * *", zone).is_of_zone(), "{zone}");
        }
    }

    #[test]
    fn what_was_missed_is_counted_and_comes_once() {
        let hourly = pattern("0 * * * *", "UTC");
        let (due, now) = (at("2026-05-01T03:00:00Z"), at("2026-05-01T09:20:00Z"));

        assert_eq!(hourly.missed(due, now), 6);
        assert_eq!(hourly.next_after(now), Some(at("2026-05-01T10:00:00Z")));
        assert_eq!(hourly.missed(due, due), 0);
        let minutely = pattern("* * * * *", "UTC");
        assert_eq!(minutely.missed(due, at("2027-05-01T00:00:00Z")), MISSED_LIMIT);
    }

    proptest! {
        #[test]
        fn due_times_are_a_minute_apart_or_more(
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
            cron in prop::sample::select(vec!["* * * * *", "*/7 * * * *", "30 2 * * *", "15 */2 * * *", "0 0 1 * *", "0 0 29 2 *"]),
            minutes in 0_i64..1_000_000,
        ) {
            let after = at("2026-01-01T00:00:00Z") + chrono::Duration::minutes(minutes);

            let times = pattern(cron, zone).upcoming(after, 20);

            prop_assert_eq!(times.len(), 20);
            let apart = times.windows(2).all(|pair| pair[1] - pair[0] >= chrono::Duration::minutes(1));
            prop_assert!(apart && times[0] > after);
        }
    }

    #[test]
    fn a_run_is_about_what_can_be_used_of_what_was_named() {
        let connection = |id: u128, system, status| Connection {
            connection_id: ConnectionId(uuid::Uuid::from_u128(id)),
            system,
            name: id.to_string(),
            base_url: "https://example.com".to_owned(),
            settings: connection::Settings::default(),
            status,
            attention: None,
            credentials_set_at: DateTime::UNIX_EPOCH,
            created_at: DateTime::UNIX_EPOCH,
        };
        let all = [
            connection(1, System::Woocommerce, connection::Status::Active),
            connection(2, System::Woocommerce, connection::Status::Active),
            connection(3, System::Odoo, connection::Status::NeedsAttention),
        ];
        let chosen = |target: &Target| -> Vec<u128> {
            let chosen = target.choose(&all).into_iter();
            chosen.map(|one| one.connection_id.0.as_u128()).collect()
        };
        let named = |ids: &[u128]| Target {
            connections: Some(
                ids.iter()
                    .map(|id| ConnectionId(uuid::Uuid::from_u128(*id)))
                    .collect(),
            ),
            ..Target::default()
        };

        assert_eq!(chosen(&Target::default()), [1, 2]);
        assert_eq!(chosen(&named(&[2, 3])), [2], "R34: the others go on");
        assert_eq!(chosen(&named(&[3])), Vec::<u128>::new());
        let odoo = Target {
            systems: Some(vec![System::Odoo]),
            ..Target::default()
        };
        assert_eq!(chosen(&odoo), Vec::<u128>::new());
    }
}
