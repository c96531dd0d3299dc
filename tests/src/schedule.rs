//! Schedules for tests, and the coming of their time.

use lockstep_shared::db;
use lockstep_shared::id::ScheduleId;
use lockstep_shared::schedule::{self, Definition, Pattern, Schedule, Target};
use lockstep_shared::sync::Config;
use lockstep_shared::system::EntityType;

use crate::stack::Stack;

/// Makes a schedule of customers only, every hour.
pub async fn hourly(stack: &Stack, is_enabled: bool) -> ScheduleId {
    let id = ScheduleId::random();
    let mut tx = stack.begin_as_api().await;
    let now = db::now(&mut tx).await.expect("the database answers");
    let pattern = Pattern::parse("0 * * * *", "UTC", now).expect("a pattern");
    let definition = Definition {
        name: "Hourly".to_owned(),
        cron: "0 * * * *".to_owned(),
        time_zone: "UTC".to_owned(),
        target: Target {
            entity_types: vec![EntityType::Customers],
            ..Target::default()
        },
        config: Config::new(None, Some(0), None).expect("in range"),
        next_run_at: pattern.next_after(now).filter(|_| is_enabled),
    };
    schedule::create(&mut tx, stack.org, id, &definition, "ada")
        .await
        .expect("the schedule is stored");
    tx.commit().await.expect("the schedule is stored");
    id
}

pub async fn found(stack: &Stack, id: ScheduleId) -> Schedule {
    let mut tx = stack.begin_as_api().await;
    let found = schedule::find(&mut tx, stack.org, id).await;
    found
        .expect("the database answers")
        .expect("the schedule is there")
}

/// Has the time come at which a schedule is due, and so much more.
pub async fn come_due(stack: &Stack, id: ScheduleId, more: &str) {
    let due = found(stack, id).await.next_run_at.expect("it is enabled");
    let mut tx = stack.begin_as_api().await;
    let now = db::now(&mut tx).await.expect("the database answers");
    let wait = (due - now).num_seconds().max(0) + 1;
    stack.shift_clock(&format!("{wait} seconds {more}")).await;
}
