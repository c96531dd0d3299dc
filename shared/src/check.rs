//! Checks of connections: what a look at a store or an ERP found, in words, and the row that asks for one.
//!
//! A check writes nothing in the remote. It is asked for through the API, and made by itself once before the first sync of
//! a connection; what it found that makes a sync wrong stops the stages that it is about.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::id::{ConnectionId, OrgId, Token};
use crate::queue::{self, Bell};
use crate::system::{Direction, EntityType};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// A sync would fail or be wrong: the stages that it is about don't begin.
    Blocks,
    /// A sync works; somebody should know.
    Warns,
}

/// One thing that a check found, in words for the person who runs the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub severity: Severity,
    /// Stays the same whatever the words say, such as `key_read_only`.
    pub code: String,
    /// What it is about: a setting, a module, a right.
    pub subject: String,
    pub problem: String,
    /// What to do next.
    pub advice: String,
    /// The types of records that it is about.
    pub concerns: Vec<EntityType>,
    /// The direction that it is about; none: both.
    pub direction: Option<Direction>,
}

impl Finding {
    /// Makes a finding about every type of record, in both directions.
    pub fn new(
        severity: Severity,
        code: &str,
        subject: impl Into<String>,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            code: code.to_owned(),
            subject: subject.into(),
            problem: problem.into(),
            advice: advice.into(),
            concerns: EntityType::ALL.to_vec(),
            direction: None,
        }
    }

    /// Narrows it down to some types of records.
    #[must_use]
    pub fn about(mut self, concerns: &[EntityType]) -> Self {
        self.concerns = concerns.to_vec();
        self
    }

    /// Narrows it down to what is written to the remote.
    #[must_use]
    pub fn of_writing(mut self) -> Self {
        self.direction = Some(Direction::Push);
        self
    }

    /// Says whether a stage may not begin because of it.
    pub fn stops(&self, entity: EntityType, direction: Direction) -> bool {
        self.severity == Severity::Blocks
            && self.concerns.contains(&entity)
            && self.direction.is_none_or(|own| own == direction)
    }

    /// Says all of it in one line.
    pub fn words(&self) -> String {
        format!(
            "{}: {}; {} ({})",
            self.subject, self.problem, self.advice, self.code
        )
    }
}

/// What a check of a connection found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The remote's own version, such as `19.0`; `unknown` where it does not tell.
    pub version: String,
    /// Those that block first.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// Puts findings in order: those that block first, and as they were found among each other.
    pub fn new(version: String, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.severity);
        Self { version, findings }
    }
}

/// How far the check that was asked for last has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Status {
    Queued,
    Running,
    Done,
}

/// The latest check of a connection.
#[derive(Clone, Debug)]
pub struct Check {
    pub connection_id: ConnectionId,
    pub status: Status,
    pub requested_at: Option<DateTime<Utc>>,
    /// When the last one that came to an end did so.
    pub checked_at: Option<DateTime<Utc>>,
    /// What it found; none where the remote could not be looked at, or was not yet.
    pub checked: Option<Checked>,
    /// Why the remote could not be looked at.
    pub error: Option<String>,
}

impl Check {
    /// Returns the first finding that keeps a stage from beginning.
    pub fn stopper(&self, entity: EntityType, direction: Direction) -> Option<&Finding> {
        let findings = &self.checked.as_ref()?.findings;
        findings.iter().find(|finding| finding.stops(entity, direction))
    }
}

struct Row {
    connection_id: ConnectionId,
    status: Status,
    requested_at: Option<DateTime<Utc>>,
    checked_at: Option<DateTime<Utc>>,
    version: Option<String>,
    findings: serde_json::Value,
    error: Option<String>,
}

impl TryFrom<Row> for Check {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let findings =
            serde_json::from_value(row.findings).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Self {
            connection_id: row.connection_id,
            status: row.status,
            requested_at: row.requested_at,
            checked_at: row.checked_at,
            checked: row.version.map(|version| Checked { version, findings }),
            error: row.error,
        })
    }
}

/// Asks for a check and rings its bell, in the caller's transaction. One that is under way is begun anew: what it has
/// seen may be older than what the caller has just put right.
pub async fn request(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    requested_by: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into connection_check (org_id, connection_id, status, requested_at, requested_by)
         values ($1, $2, 'queued', lockstep_now(), $3)
         on conflict (org_id, connection_id) do update
            set status = 'queued', requested_at = excluded.requested_at, requested_by = excluded.requested_by,
                run_at = excluded.requested_at, rung_at = excluded.requested_at, attempts = 0,
                token = null, held_until = null",
        org as _,
        connection as _,
        requested_by,
    )
    .execute(&mut *db)
    .await?;
    ring(db, org, connection, None).await
}

async fn ring(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    at: Option<DateTime<Utc>>,
) -> Result<(), sqlx::Error> {
    let bell = Bell::Check {
        org_id: org,
        id: connection,
    };
    queue::ring(db, bell, at).await
}

/// Finds the latest check of a connection.
pub async fn find(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
) -> Result<Option<Check>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        select connection_id as "connection_id: ConnectionId", status as "status: Status", requested_at, checked_at,
               version, findings, error
          from connection_check
         where org_id = $1 and connection_id = $2
        "#,
        org as _,
        connection as _,
    )
    .fetch_optional(db)
    .await?
    .map(Check::try_from)
    .transpose()
}

/// Lists the latest checks of all of an organisation's connections.
pub async fn list(db: &mut PgConnection, org: OrgId) -> Result<Vec<Check>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        select connection_id as "connection_id: ConnectionId", status as "status: Status", requested_at, checked_at,
               version, findings, error
          from connection_check
         where org_id = $1
        "#,
        org as _,
    )
    .fetch_all(db)
    .await?
    .into_iter()
    .map(Check::try_from)
    .collect()
}

/// What claiming a look at a connection brought: a check, or one at its webhooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is the caller's, under its token.
    Claimed { attempts: i32 },
    /// It is not due yet.
    NotBefore(DateTime<Utc>),
    /// There is nothing to do, or another worker is at it.
    Nothing,
}

/// Claims the check of a connection that is due, for so long unless it is [kept](keep).
pub async fn claim(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    (token, length): (Token, Duration),
) -> Result<Claim, sqlx::Error> {
    let claimed = sqlx::query_scalar!(
        "update connection_check
            set status = 'running', token = $3, held_until = lockstep_now() + make_interval(secs => $4)
          where org_id = $1 and connection_id = $2
            and ((status = 'queued' and run_at <= lockstep_now())
                 or (status = 'running' and held_until <= lockstep_now()))
        returning attempts",
        org as _,
        connection as _,
        token as _,
        length.as_secs_f64(),
    )
    .fetch_optional(&mut *db)
    .await?;
    if let Some(attempts) = claimed {
        return Ok(Claim::Claimed { attempts });
    }
    let run_at = sqlx::query_scalar!(
        "select run_at from connection_check where org_id = $1 and connection_id = $2 and status = 'queued'",
        org as _,
        connection as _,
    )
    .fetch_optional(db)
    .await?;
    Ok(run_at.map_or(Claim::Nothing, Claim::NotBefore))
}

/// Keeps a claimed check for so long from now. `false` where it is the caller's no longer.
pub async fn keep(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    (token, length): (Token, Duration),
) -> Result<bool, sqlx::Error> {
    let kept = sqlx::query!(
        "update connection_check set held_until = lockstep_now() + make_interval(secs => $4)
          where org_id = $1 and connection_id = $2 and status = 'running' and token = $3",
        org as _,
        connection as _,
        token as _,
        length.as_secs_f64(),
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(kept == 1)
}

/// Rings a check again that is not due yet.
pub async fn ring_again(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    ring(db, org, connection, Some(at)).await
}

/// Gives a claimed check back for later. `false` where it is the caller's no longer.
pub async fn put_off(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    (token, attempts): (Token, i32),
    at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let given_back = sqlx::query!(
        "update connection_check
            set status = 'queued', token = null, held_until = null, run_at = $5, rung_at = lockstep_now(), attempts = $4
          where org_id = $1 and connection_id = $2 and status = 'running' and token = $3",
        org as _,
        connection as _,
        token as _,
        attempts,
        at,
    )
    .execute(&mut *db)
    .await?
    .rows_affected();
    if given_back == 1 {
        ring(db, org, connection, Some(at)).await?;
    }
    Ok(given_back == 1)
}

/// Ends a claimed check with what it found, or with why the remote could not be looked at. `false` where it is the
/// caller's no longer.
pub async fn settle(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    token: Token,
    result: &Result<Checked, String>,
) -> Result<bool, sqlx::Error> {
    let (version, findings, error) = stored(result);
    let settled = sqlx::query!(
        "update connection_check
            set status = 'done', token = null, held_until = null, checked_at = lockstep_now(),
                version = $4, findings = $5, error = $6
          where org_id = $1 and connection_id = $2 and status = 'running' and token = $3",
        org as _,
        connection as _,
        token as _,
        version,
        findings,
        error,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(settled == 1)
}

/// Notes what a check found that nobody had asked for. One that is asked for meanwhile still comes.
pub async fn note(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    checked: &Checked,
) -> Result<(), sqlx::Error> {
    let findings = serde_json::to_value(&checked.findings).expect("findings are plain JSON");
    sqlx::query!(
        "insert into connection_check (org_id, connection_id, status, checked_at, version, findings)
         values ($1, $2, 'done', lockstep_now(), $3, $4)
         on conflict (org_id, connection_id) do update
            set checked_at = excluded.checked_at, version = excluded.version, findings = excluded.findings, error = null",
        org as _,
        connection as _,
        checked.version,
        findings,
    )
    .execute(db)
    .await?;
    Ok(())
}

fn stored(result: &Result<Checked, String>) -> (Option<&str>, serde_json::Value, Option<&str>) {
    match result {
        Ok(checked) => {
            let findings = serde_json::to_value(&checked.findings).expect("findings are plain JSON");
            (Some(&checked.version), findings, None)
        }
        Err(error) => (None, serde_json::json!([]), Some(error)),
    }
}

/// Finds the checks that are due and that nobody has rung for a while, whichever organisation they belong to.
pub async fn silent(db: &mut PgConnection, quiet: Duration, most: i32) -> Result<Vec<Bell>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select org_id as "org_id!: OrgId", connection_id as "id!: ConnectionId"
          from fleet_silent_check(make_interval(secs => $1), $2)
        "#,
        quiet.as_secs_f64(),
        most,
    )
    .fetch_all(db)
    .await?;
    let bells = rows.into_iter().map(|row| Bell::Check {
        org_id: row.org_id,
        id: row.id,
    });
    Ok(bells.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, direction: Option<Direction>) -> Finding {
        let finding = Finding::new(
            severity,
            "key_read_only",
            "the key",
            "it may only read",
            "make another",
        );
        Finding {
            direction,
            ..finding.about(&[EntityType::Orders, EntityType::Payments])
        }
    }

    #[test]
    fn a_finding_stops_only_what_it_is_about() {
        let both = finding(Severity::Blocks, None);
        let pushes = finding(Severity::Blocks, Some(Direction::Push));
        let warning = finding(Severity::Warns, None);

        assert!(both.stops(EntityType::Orders, Direction::Pull));
        assert!(!both.stops(EntityType::Products, Direction::Pull));
        assert!(pushes.stops(EntityType::Payments, Direction::Push));
        assert!(!pushes.stops(EntityType::Payments, Direction::Pull));
        assert!(!warning.stops(EntityType::Orders, Direction::Push));
    }

    #[test]
    fn a_finding_says_what_is_wrong_and_what_to_do() {
        assert_eq!(
            finding(Severity::Blocks, None).words(),
            "the key: it may only read; make another (key_read_only)"
        );
    }
}
