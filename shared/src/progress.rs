//! How far a sync is, and how long the rest will take: from what was measured, stage by stage.
//!
//! Nothing here is guessed. A rate is what a stage did in the time that it ran, standstill apart; a stage that waits is
//! taken to run at the rate of one like it, for as many items as are due for it by now. Where there is none like it yet,
//! nothing is said.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::batch::Counts;
use crate::id::{ConnectionId, OrgId, SyncId};
use crate::stage;
use crate::sync::{StageView, Status};
use crate::system::{Direction, EntityType, System};

/// Items that are due now for a connection and entity type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub connection_id: ConnectionId,
    pub entity_type: EntityType,
    pub items: i64,
}

/// Counts what is due now for the pushes of a sync that wait. What only those carry that others wait for is left out:
/// finding it takes as long as carrying it.
pub async fn due(db: &mut PgConnection, org: OrgId, id: SyncId) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as!(
        Due,
        r#"
        select t.connection_id as "connection_id: ConnectionId", t.entity_type as "entity_type: EntityType",
               (select count(*) from item i
                 where i.org_id = t.org_id and i.connection_id = t.connection_id and i.entity_type = t.entity_type
                   and i.state in ('pending', 'failed') and i.batch_id is null and i.retry_stage_id is null
                   and i.gone_at is null) as "items!"
          from sync_stage t
         where t.org_id = $1 and t.sync_id = $2
           and t.status = 'waiting' and t.direction = 'push' and t.scope = 'all'
        "#,
        org as _,
        id as _,
    )
    .fetch_all(db)
    .await
}

/// How far a sync is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Items to push, as far as is known: each push counts its items when it opens.
    pub total: i64,
    /// Items that pushes are through with.
    pub settled: i64,
    /// How far the sync is through its stages, 0 to 100; it never goes back.
    pub percent: i32,
    /// How long the rest will take; `None` where that can't be told, or nothing goes on.
    pub remaining: Option<Duration>,
    /// The same by system and entity type, in the order in which the sync first comes to them.
    pub parts: Vec<Part>,
}

/// What became of the items of one entity type in the systems of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub system: System,
    pub entity_type: EntityType,
    pub total: i64,
    pub counts: Counts,
}

impl Progress {
    /// Tells how far a sync is from its stages, what is due for those that wait, and the time.
    pub fn of(status: Status, stages: &[StageView], due: &[Due], now: DateTime<Utc>) -> Self {
        let pushes = || stages.iter().filter(|stage| stage.direction == Direction::Push);
        Self {
            total: pushes().map(|stage| stage.total).sum(),
            settled: pushes().map(|stage| stage.counts.settled()).sum(),
            percent: percent(stages),
            remaining: match status {
                Status::Processing => remaining(stages, due, now),
                // What stands still takes for ever, and what is over takes no more.
                Status::Draft
                | Status::Queued
                | Status::Pausing
                | Status::Paused
                | Status::Cancelling
                | Status::Cancelled
                | Status::Done
                | Status::Partial
                | Status::Failed => None,
            },
            parts: parts(pushes()),
        }
    }
}

/// Every stage counts the same: how many items the later ones have is not known until they open.
fn percent(stages: &[StageView]) -> i32 {
    let done = |stage: &StageView| match stage.status {
        stage::Status::Waiting => 0,
        stage::Status::Finished | stage::Status::Failed => 100,
        stage::Status::Open => (100 * stage.counts.settled())
            .checked_div(stage.total)
            .unwrap_or(0)
            .clamp(0, 100),
    };
    let count = i64::try_from(stages.len()).unwrap_or(i64::MAX);
    let sum: i64 = stages.iter().map(done).sum();
    i32::try_from(sum.checked_div(count).unwrap_or(0)).unwrap_or(100)
}

fn parts<'a>(pushes: impl Iterator<Item = &'a StageView>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for stage in pushes {
        let key = (stage.system, stage.entity_type);
        let place = parts
            .iter()
            .position(|part| (part.system, part.entity_type) == key)
            .unwrap_or_else(|| {
                parts.push(Part {
                    system: stage.system,
                    entity_type: stage.entity_type,
                    total: 0,
                    counts: Counts::default(),
                });
                parts.len() - 1
            });
        parts[place].total += stage.total;
        parts[place].counts.add(&stage.counts);
    }
    parts
}

/// Returns how many items (or things read) a stage does in a second, once that was measured.
pub fn rate(stage: &StageView) -> Option<f64> {
    speed(std::iter::once(stage))
}

/// Items per second of several stages together.
fn speed<'a>(stages: impl Iterator<Item = &'a StageView>) -> Option<f64> {
    let (mut items, mut secs) = (0, 0.0);
    for measured in stages.filter_map(|stage| stage.measured) {
        items += measured.items;
        secs += measured.took.as_secs_f64();
    }
    (items > 0 && secs > 0.0).then(|| real(items) / secs)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an estimate, and far fewer items than 2^52"
)]
fn real(items: i64) -> f64 {
    items as f64
}

fn remaining(stages: &[StageView], due: &[Due], now: DateTime<Utc>) -> Option<Duration> {
    let secs: Option<f64> = stages
        .iter()
        .map(|stage| match (stage.status, stage.direction) {
            (stage::Status::Finished | stage::Status::Failed, _) => Some(0.0),
            (stage::Status::Open, Direction::Push) => {
                let left = stage.total - stage.counts.settled();
                let since = stage
                    .measured
                    .map_or(0.0, |measured| secs_from(measured.until, now));
                push(left, rate(stage).or_else(|| like(stage, stages)), since)
            }
            (stage::Status::Waiting, Direction::Push) => {
                let items = due
                    .iter()
                    .filter(|due| {
                        (due.connection_id, due.entity_type) == (stage.connection_id, stage.entity_type)
                    })
                    .map(|due| due.items)
                    .sum();
                push(items, like(stage, stages), 0.0)
            }
            (stage::Status::Open, Direction::Pull) => {
                let ran = stage.opened_at.map_or(0.0, |opened_at| secs_from(opened_at, now));
                Some((usual_pull(stage, stages)? - ran).max(0.0))
            }
            (stage::Status::Waiting, Direction::Pull) => usual_pull(stage, stages),
        })
        .sum();
    Duration::try_from_secs_f64(secs?).ok()
}

/// Seconds that so many items take, some of which have passed since the rate was measured.
fn push(items: i64, rate: Option<f64>, since: f64) -> Option<f64> {
    if items <= 0 {
        return Some(0.0);
    }
    rate.map(|rate| (real(items) / rate - since).max(0.0))
}

fn secs_from(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).to_std().unwrap_or_default().as_secs_f64()
}

/// Returns the rate of the pushes that are most like one: of its system and entity type, of its connection, of its entity
/// type, or any.
fn like(stage: &StageView, stages: &[StageView]) -> Option<f64> {
    let measured = |is_like: &dyn Fn(&StageView) -> bool| {
        speed(
            stages
                .iter()
                .filter(|other| other.direction == Direction::Push && is_like(other)),
        )
    };
    measured(&|other| (other.system, other.entity_type) == (stage.system, stage.entity_type))
        .or_else(|| measured(&|other| other.connection_id == stage.connection_id))
        .or_else(|| measured(&|other| other.entity_type == stage.entity_type))
        .or_else(|| measured(&|_| true))
}

/// Returns the seconds that a pull usually takes: how much there is to read is known only by reading.
fn usual_pull(stage: &StageView, stages: &[StageView]) -> Option<f64> {
    let mean = |is_like: &dyn Fn(&StageView) -> bool| {
        let took: Vec<f64> = stages
            .iter()
            .filter(|other| other.direction == Direction::Pull && other.closed_at.is_some() && is_like(other))
            .filter_map(|other| Some(other.measured?.took.as_secs_f64()))
            .collect();
        let count = i64::try_from(took.len()).ok().filter(|count| *count > 0)?;
        Some(took.iter().sum::<f64>() / real(count))
    };
    mean(&|other| other.connection_id == stage.connection_id).or_else(|| mean(&|_| true))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::id::StageId;
    use crate::sync::Measured;

    fn at(secs: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(secs, 0).unwrap()
    }

    fn stage(direction: Direction, status: stage::Status, total: i64, updated: i64) -> StageView {
        StageView {
            stage_id: StageId(Uuid::from_u128(1)),
            direction,
            connection_id: ConnectionId(Uuid::from_u128(1)),
            system: System::Odoo,
            entity_type: EntityType::Products,
            status,
            total,
            counts: Counts {
                updated,
                ..Counts::default()
            },
            opened_at: None,
            closed_at: None,
            error_message: None,
            measured: None,
        }
    }

    fn push_of(status: stage::Status, total: i64, updated: i64) -> StageView {
        stage(Direction::Push, status, total, updated)
    }

    fn measured(items: i64, secs: u64, until: i64) -> Measured {
        Measured {
            items,
            took: Duration::from_secs(secs),
            until: at(until),
        }
    }

    fn of(stages: &[StageView], due: &[Due], now: i64) -> Progress {
        Progress::of(Status::Processing, stages, due, at(now))
    }

    #[test]
    fn progress_goes_by_stages() {
        use stage::Status::{Finished, Open, Waiting};

        let progress = of(
            &[
                push_of(Finished, 10, 10),
                push_of(Open, 10, 5),
                push_of(Open, 0, 0),
                push_of(Waiting, 0, 0),
            ],
            &[],
            0,
        );

        assert_eq!(
            (progress.total, progress.settled, progress.percent),
            (20, 15, 37),
            "R7"
        );
        assert_eq!(of(&[], &[], 0).percent, 0);
    }

    /// R7: a hundred items in the first ten seconds, nine hundred to go.
    #[test]
    fn what_is_left_takes_as_long_as_what_was_measured() {
        let mut open = push_of(stage::Status::Open, 1000, 100);
        open.measured = Some(measured(100, 10, 10));

        assert_eq!(
            of(std::slice::from_ref(&open), &[], 10).remaining,
            Some(Duration::from_secs(90))
        );
        assert_eq!(
            of(std::slice::from_ref(&open), &[], 14).remaining,
            Some(Duration::from_secs(86)),
            "it runs down between two batches"
        );
        assert!((rate(&open).unwrap() - 10.0).abs() < 1e-9);
    }

    #[test]
    fn a_stage_that_waits_goes_by_one_like_it_and_by_what_is_due() {
        let mut open = push_of(stage::Status::Open, 100, 50);
        open.measured = Some(measured(50, 10, 10));
        let mut waiting = push_of(stage::Status::Waiting, 0, 0);
        waiting.connection_id = ConnectionId(Uuid::from_u128(2));
        let due = [Due {
            connection_id: waiting.connection_id,
            entity_type: EntityType::Products,
            items: 200,
        }];

        let progress = of(&[open, waiting], &due, 10);

        assert_eq!(progress.remaining, Some(Duration::from_secs(10 + 40)));
    }

    #[test]
    fn nothing_is_said_before_anything_was_measured_or_while_nothing_goes_on() {
        let open = push_of(stage::Status::Open, 100, 0);
        let pull = stage(Direction::Pull, stage::Status::Open, 0, 0);

        assert_eq!(of(std::slice::from_ref(&open), &[], 5).remaining, None, "R7");
        assert_eq!(of(&[pull], &[], 5).remaining, None, "R7");
        let mut measurable = open;
        measurable.measured = Some(measured(10, 1, 1));
        let paused = Progress::of(Status::Paused, &[measurable], &[], at(1));
        assert_eq!(paused.remaining, None, "R7");
    }

    #[test]
    fn counts_are_told_by_system_and_entity_type() {
        let mut store = push_of(stage::Status::Finished, 3, 3);
        store.system = System::Woocommerce;
        let stages = [
            store,
            push_of(stage::Status::Open, 10, 4),
            push_of(stage::Status::Open, 5, 1),
        ];

        let parts = of(&stages, &[], 0).parts;

        let told: Vec<_> = parts
            .iter()
            .map(|part| (part.system, part.total, part.counts.updated))
            .collect();
        assert_eq!(told, [(System::Woocommerce, 3, 3), (System::Odoo, 15, 5)], "R7");
    }

    /// How a stage can come to be from another: it opens, gets on, closes.
    fn onward(stage: &StageView, by: i64) -> StageView {
        let mut next = stage.clone();
        match stage.status {
            stage::Status::Waiting => {
                next.status = stage::Status::Open;
                next.total = by;
            }
            stage::Status::Open if stage.counts.settled() >= stage.total => {
                next.status = stage::Status::Finished;
            }
            stage::Status::Open => next.counts.updated += by.max(1),
            stage::Status::Finished | stage::Status::Failed => {}
        }
        next
    }

    proptest! {
        /// R7: whatever happens next, progress does not go back.
        #[test]
        fn progress_never_goes_back(steps in prop::collection::vec((0_usize..4, 0_i64..30), 0..60)) {
            let mut stages = vec![push_of(stage::Status::Waiting, 0, 0); 4];
            let mut before = of(&stages, &[], 0);
            for (place, by) in steps {
                stages[place] = onward(&stages[place], by);
                let after = of(&stages, &[], 0);
                prop_assert!(after.percent >= before.percent && after.settled >= before.settled, "R7");
                prop_assert!((0..=100).contains(&after.percent));
                before = after;
            }
        }
    }
}
