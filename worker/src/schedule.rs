//! Firing schedules that are due. Everything that comes of one commits at once, behind a lock on its row.

use std::time::Duration;

use chrono::{DateTime, Utc};
use lockstep_shared::activity::{self, Activity, Outcome as Ending};
use lockstep_shared::connection;
use lockstep_shared::db::{self, Isolation, OrgTx};
use lockstep_shared::id::{OrgId, ScheduleId, SyncId};
use lockstep_shared::schedule::{self, Fired, Outcome, Pattern, PatternError, Schedule};
use lockstep_shared::sync::{self, NewSync, StartError};
use lockstep_shared::system::System;
use lockstep_shared::telemetry::Chain;
use serde_json::json;
use sqlx::PgPool;

use crate::point::Aside;

/// Most schedules that one sweep fires.
const SCHEDULES: i32 = 100;

/// How long a run waits that found as many active syncs as there may be.
const PUT_OFF: Duration = Duration::from_secs(15);

/// How long a schedule rests whose pattern can't be read any more.
const UNREADABLE_RESTS: Duration = Duration::from_hours(1);

/// Fires what is due. What fails is told, and tried again by the next sweep.
pub async fn fire_due(pool: &PgPool) -> Result<(), sqlx::Error> {
    let due = schedule::due(&mut *pool.acquire().await?, SCHEDULES).await?;
    for (org, id) in due {
        if let Err(error) = fire(pool, org, id).await {
            tracing::warn!(error = %Chain(&error), org.id = %org, schedule.id = %id, "a schedule was not fired; the next sweep tries again");
        }
    }
    Ok(())
}

async fn fire(pool: &PgPool, org: OrgId, id: ScheduleId) -> Result<(), sqlx::Error> {
    let mut tx = db::begin(pool, org, Isolation::ReadCommitted).await?;
    let Some(is_under_way) = schedule::lock_due(&mut tx, org, id).await? else {
        return Ok(());
    };
    let Some(schedule) = schedule::find(&mut tx, org, id).await? else {
        return Ok(());
    };
    let now = db::now(&mut tx).await?;
    let due = schedule.next_run_at.unwrap_or(now);
    let pattern = Pattern::parse(&schedule.cron, &schedule.time_zone, now);
    let run = if is_under_way {
        Run::skipped()
    } else {
        start(&mut tx, org, &schedule).await?
    };
    let missed = pattern.as_ref().map_or(0, |pattern| pattern.missed(due, now));
    let fired = Fired {
        at: now,
        outcome: run.outcome,
        detail: run.detail,
        sync: run.sync,
        next_run_at: next(&pattern, run.outcome, now),
    };
    schedule::fired(&mut tx, org, id, &fired).await?;
    // A run that is put off again and again is told once.
    let was_put_off = schedule
        .last_run
        .as_ref()
        .is_some_and(|last| last.outcome == Outcome::PutOff);
    if !(was_put_off && fired.outcome == Outcome::PutOff) {
        record(&mut tx, org, &schedule, &fired, missed).await?;
    }
    Aside::ScheduleInside.reach();
    tx.commit().await?;
    Aside::ScheduleAfter.reach();
    tracing::info!(org.id = %org, schedule.id = %id, outcome = fired.outcome.name(), "a schedule was due");
    Ok(())
}

/// Returns when a schedule is due next: what was missed meanwhile is made up for by the run that comes now.
fn next(pattern: &Result<Pattern, PatternError>, outcome: Outcome, now: DateTime<Utc>) -> DateTime<Utc> {
    if outcome == Outcome::PutOff {
        return now + PUT_OFF;
    }
    let next = pattern.as_ref().ok().and_then(|pattern| pattern.next_after(now));
    next.unwrap_or(now + UNREADABLE_RESTS)
}

/// What a due time came to.
struct Run {
    outcome: Outcome,
    detail: Option<String>,
    sync: Option<SyncId>,
}

impl Run {
    fn skipped() -> Self {
        Self {
            outcome: Outcome::Skipped,
            detail: Some("the sync that it started last is still under way".to_owned()),
            sync: None,
        }
    }
}

async fn start(tx: &mut OrgTx, org: OrgId, schedule: &Schedule) -> Result<Run, sqlx::Error> {
    let connections = connection::list(tx, org).await?;
    let chosen = schedule.target.choose(&connections);
    if chosen.is_empty() {
        return Ok(Run {
            outcome: Outcome::Refused,
            detail: Some("there is no active connection that it could sync with".to_owned()),
            sync: None,
        });
    }
    let mut systems: Vec<System> = chosen.iter().map(|one| one.system).collect();
    systems.sort_unstable();
    systems.dedup();
    let new = NewSync {
        sync_id: SyncId::random(),
        systems,
        entity_types: schedule.target.entity_types.clone(),
        connections: chosen.iter().map(|one| one.connection_id).collect(),
        config: schedule.config,
        requested_by: format!("schedule {}", schedule.name),
        traceparent: None,
    };
    match sync::start(tx, org, &new).await {
        Ok(()) => Ok(Run {
            outcome: Outcome::Started,
            detail: None,
            sync: Some(new.sync_id),
        }),
        Err(StartError::TooManyActive { running }) => Ok(Run {
            outcome: Outcome::PutOff,
            detail: Some(format!(
                "{} syncs are active already, the most there may be; it starts when one of them has ended",
                running.len()
            )),
            sync: None,
        }),
        Err(StartError::Database(error)) => Err(error),
    }
}

async fn record(
    tx: &mut OrgTx,
    org: OrgId,
    schedule: &Schedule,
    fired: &Fired,
    missed: usize,
) -> Result<(), sqlx::Error> {
    let line = Activity {
        sync: fired.sync,
        actor: "schedule".to_owned(),
        action: "schedule.fired",
        outcome: match fired.outcome {
            Outcome::Started => Ending::Done,
            Outcome::Skipped | Outcome::PutOff | Outcome::Refused => Ending::Refused,
        },
        details: json!({
            "scheduleId": schedule.schedule_id, "name": schedule.name, "dueAt": schedule.next_run_at,
            "outcome": fired.outcome.name(), "detail": fired.detail, "missed": missed, "nextRunAt": fired.next_run_at,
        }),
    };
    activity::record(tx, org, line).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn only_a_run_that_is_put_off_comes_before_its_time() {
        let now = at("2026-05-01T09:20:00Z");
        let hourly = Pattern::parse("0 * * * *", "UTC", now);

        for outcome in [Outcome::Started, Outcome::Skipped, Outcome::Refused] {
            assert_eq!(next(&hourly, outcome, now), at("2026-05-01T10:00:00Z"));
        }
        assert_eq!(next(&hourly, Outcome::PutOff, now), now + PUT_OFF);
        let gone = Err(PatternError::Zone);
        assert_eq!(next(&gone, Outcome::Refused, now), now + UNREADABLE_RESTS);
    }
}
