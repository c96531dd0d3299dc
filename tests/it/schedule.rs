//! Schedules at work: what is due is started once, whoever sweeps and whoever dies.

use std::time::Duration;

use lockstep_shared::connection;
use lockstep_shared::db;
use lockstep_shared::id::{ScheduleId, SyncId};
use lockstep_shared::schedule::{self, Outcome, Schedule};
use lockstep_shared::sync;
use lockstep_shared::system::EntityType;
use lockstep_tests::schedule::{come_due, found, hourly};
use lockstep_tests::stack::{Stack, within};
use serde_json::Value;

/// Longest a test waits: several sweeps and a sync, on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until a schedule's last due time came to this.
async fn came_to(stack: &Stack, id: ScheduleId, outcome: Outcome) -> Schedule {
    within(PATIENCE, "the schedule to be fired", || async {
        let found = found(stack, id).await;
        let is_it = found
            .last_run
            .as_ref()
            .is_some_and(|last| last.outcome == outcome);
        is_it.then_some(found)
    })
    .await
}

/// What the trail tells of firings, oldest first.
async fn trail(stack: &Stack) -> Vec<Value> {
    sqlx::query_scalar(
        "select details || jsonb_build_object('sync', sync_id) from sync_activity_log
          where action = 'schedule.fired' order by created_at",
    )
    .fetch_all(&stack.database.superuser)
    .await
    .unwrap()
}

async fn syncs(stack: &Stack) -> Vec<sync::View> {
    let mut tx = stack.begin_as_api().await;
    sync::list(&mut tx, stack.org, None, None, 100).await.unwrap()
}

/// Starts syncs that stay active: nobody resumes them.
async fn paused(stack: &Stack, count: usize) -> Vec<SyncId> {
    let mut started = Vec::new();
    for _ in 0..count {
        started.push(stack.start().await);
    }
    sqlx::query("update sync_orchestration set status = 'paused' where status = 'queued'")
        .execute(&stack.database.superuser)
        .await
        .unwrap();
    started
}

async fn cancel(stack: &Stack, sync: SyncId) {
    sqlx::query(
        "update sync_orchestration set status = 'cancelled', completed_at = lockstep_now() where sync_id = $1",
    )
    .bind(sync.0)
    .execute(&stack.database.superuser)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_starts_one_sync_however_many_workers_sweep() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let id = hourly(&stack, true).await;
    for _ in 0..4 {
        let mut config = stack.worker_config();
        config.sweep_every = Duration::from_millis(50);
        stack.work_as(config);
    }

    come_due(&stack, id, "").await;
    let fired = came_to(&stack, id, Outcome::Started).await;

    let sync = fired.last_sync_id.unwrap();
    let finished = stack.finish_within(sync, PATIENCE).await;
    assert_eq!(finished.status(), sync::Status::Done);
    assert_eq!(finished.view.requested_by, "schedule Hourly");
    assert_eq!(finished.view.entity_types, [EntityType::Customers]);
    assert_eq!(syncs(&stack).await.len(), 1);
    let [line] = trail(&stack).await.try_into().unwrap();
    assert_eq!(
        (&line["outcome"], &line["missed"]),
        (&"started".into(), &0.into())
    );
    assert_eq!(line["sync"], sync.to_string(), "R71");
    assert!(found(&stack, id).await.next_run_at > fired.last_run.map(|last| last.at));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_that_dies_loses_nothing_and_another_does_not_wait_for_it() {
    let stack = Stack::new().await;
    let id = hourly(&stack, true).await;
    come_due(&stack, id, "").await;
    let mut dies = stack.begin_as_worker().await;
    let mut other = stack.begin_as_worker().await;

    let first = schedule::lock_due(&mut dies, stack.org, id).await.unwrap();
    let second = schedule::lock_due(&mut other, stack.org, id).await.unwrap();
    assert_eq!((first, second), (Some(false), None), "one at a time");
    dies.rollback().await.unwrap();

    let again = schedule::lock_due(&mut other, stack.org, id).await.unwrap();
    assert_eq!(again, Some(false), "it is still due");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_were_missed_are_made_up_for_by_one() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let id = hourly(&stack, true).await;
    come_due(&stack, id, "6 hours").await;

    stack.work();
    let fired = came_to(&stack, id, Outcome::Started).await;
    stack.finish_within(fired.last_sync_id.unwrap(), PATIENCE).await;

    assert_eq!(syncs(&stack).await.len(), 1);
    let [line] = trail(&stack).await.try_into().unwrap();
    assert_eq!(line["missed"], 6);
    let mut tx = stack.begin_as_api().await;
    let now = db::now(&mut tx).await.unwrap();
    assert!(found(&stack, id).await.next_run_at > Some(now));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_last_one_is_under_way_is_skipped_and_says_so() {
    let mut stack = Stack::new().await;
    let id = hourly(&stack, true).await;
    let under_way = paused(&stack, 1).await[0];
    sqlx::query("update schedule set last_sync_id = $1")
        .bind(under_way.0)
        .execute(&stack.database.superuser)
        .await
        .unwrap();
    stack.work();

    come_due(&stack, id, "").await;
    let skipped = came_to(&stack, id, Outcome::Skipped).await;

    assert_eq!(syncs(&stack).await.len(), 1);
    assert_eq!(skipped.last_sync_id, Some(under_way));
    let detail = skipped.last_run.unwrap().detail.unwrap();
    assert_eq!(detail, "the sync that it started last is still under way");
    cancel(&stack, under_way).await;
    come_due(&stack, id, "").await;
    let started = came_to(&stack, id, Outcome::Started).await;
    assert_ne!(started.last_sync_id, Some(under_way));
}

/// R5: a schedule does not start a sixth sync, and starts when there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_beyond_the_limit_of_active_syncs_is_put_off_until_there_is_room() {
    let mut stack = Stack::new().await;
    let id = hourly(&stack, true).await;
    let active = paused(&stack, sync::ACTIVE_LIMIT).await;
    stack.work();
    come_due(&stack, id, "").await;

    let put_off = came_to(&stack, id, Outcome::PutOff).await;
    let first = put_off.last_run.unwrap();
    assert!(
        first.detail.unwrap().starts_with("5 syncs are active already"),
        "R5"
    );
    stack.shift_clock("30 seconds").await;
    within(PATIENCE, "it to be tried again", || async {
        let last = found(&stack, id).await.last_run.unwrap();
        (last.at > first.at).then_some(())
    })
    .await;
    assert_eq!(syncs(&stack).await.len(), 5, "R5");

    cancel(&stack, active[0]).await;
    stack.shift_clock("30 seconds").await;
    came_to(&stack, id, Outcome::Started).await;

    assert_eq!(syncs(&stack).await.len(), 6);
    let told: Vec<Value> = trail(&stack)
        .await
        .iter()
        .map(|line| line["outcome"].clone())
        .collect();
    assert_eq!(told, ["put_off", "started"], "what is put off again is told once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_disabled_starts_nothing_and_what_has_nothing_to_sync_with_says_so() {
    let mut stack = Stack::new().await;
    let disabled = hourly(&stack, false).await;
    let mut tx = stack.begin_as_worker().await;
    for connection in [stack.store, stack.erp] {
        let seen = connection::find(&mut tx, stack.org, connection)
            .await
            .unwrap()
            .unwrap();
        connection::need_attention(
            &mut tx,
            stack.org,
            (connection, seen.credentials_set_at),
            "its key is wrong",
        )
        .await
        .unwrap();
    }
    tx.commit().await.unwrap();
    sqlx::query("update schedule set name = 'Off'")
        .execute(&stack.database.superuser)
        .await
        .unwrap();
    let refused = hourly(&stack, true).await;
    stack.work();

    come_due(&stack, refused, "").await;
    let told = came_to(&stack, refused, Outcome::Refused).await;

    let detail = told.last_run.unwrap().detail.unwrap();
    assert_eq!(detail, "there is no active connection that it could sync with");
    assert_eq!(found(&stack, disabled).await.last_run, None);
    assert!(syncs(&stack).await.is_empty());
}
