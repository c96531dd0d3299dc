//! Syncs that are to stop while their workers die.

use std::time::Duration;

use lockstep_sandbox::fault::Fault;
use lockstep_shared::command::Kind;
use lockstep_shared::id::SyncId;
use lockstep_shared::sync::{Config, Status};
use lockstep_tests::process::Worker;
use lockstep_tests::stack::{Stack, eventually};

use super::{assert_each_once, count, program, quick, stack_with};

const THINGS: usize = 6;

/// Has a worker die with a request for products under way, after it was told to stop by a command.
async fn die_when_told(kind: Kind, told: Status) -> (Stack, SyncId, Worker) {
    let stack = stack_with(THINGS).await;
    let latency = Fault::Latency(Duration::from_millis(1500));
    stack
        .sandbox
        .store
        .faults()
        .on_path("/products/batch", latency, None);
    let mut doomed = program().start(&quick(&stack), "");
    let id = stack
        .start_with(Config::new(Some(2), Some(0), None).unwrap())
        .await;
    eventually("a request to be under way", || async {
        (stack.sandbox.store.faults().asked("/products/batch") > 0).then_some(())
    })
    .await;
    stack.ask(id, kind).await;
    stack.until(id, told).await;
    doomed.kill();
    let (_, _) = doomed.end().await;
    let other = program().start(&quick(&stack), "");
    (stack, id, other)
}

async fn in_hand(stack: &Stack) -> i64 {
    count(stack, "select count(*) from item where batch_id is not null").await
}

/// R6, R13: pause, SIGKILL, resume: the sync does come to stand still, though its last owner is dead; what that one had in
/// hand waits as it was, its request is looked up, and each thing is made once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_whose_worker_dies_while_it_pauses_is_paused_and_goes_on_when_resumed() {
    let (stack, id, _other) = die_when_told(Kind::Pause, Status::Pausing).await;

    stack.until(id, Status::Paused).await;
    let asked = stack.sandbox.store.faults().asked("/products/batch");
    assert_eq!(in_hand(&stack).await, 2, "R6: the dead owner's batch is kept");
    stack.ask(id, Kind::Resume).await;
    let sync = stack.finish_within(id, Duration::from_mins(1)).await;

    assert_each_once(&stack, &sync, THINGS);
    assert_eq!(asked, 1, "R6: nothing was sent while it stood still");
}

/// R6, R13: cancel, SIGKILL: the sync is cancelled though its last owner is dead, and lets go of everything; what that one
/// had sent is looked up by the next sync.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_whose_worker_dies_while_it_is_cancelled_lets_go_of_everything() {
    let (stack, id, _other) = die_when_told(Kind::Cancel, Status::Cancelling).await;

    stack.until(id, Status::Cancelled).await;
    assert_eq!(in_hand(&stack).await, 0, "R6");
    let next = stack.start().await;
    stack.finish_within(next, Duration::from_mins(1)).await;
    // What waited for quiet has been looked up by now; what it held up goes over with this one.
    let last = stack.sync().await;

    assert_each_once(&stack, &last, THINGS);
}
