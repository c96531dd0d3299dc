//! Workers that are asked to end.

use std::time::Duration;

use lockstep_sandbox::fault::Fault;
use lockstep_tests::process::Worker;
use lockstep_tests::proxy::Proxy;
use lockstep_tests::stack::{Server, eventually};
use lockstep_worker::config::Config;
use rustix::process::Signal;

use super::{assert_each_once, count, program, quick, stack_with, wired};

const THINGS: usize = 6;

/// Asks a worker to end, which it does within its deadline.
async fn ends_in_time(worker: &mut Worker, config: &Config) {
    worker.signal(Signal::TERM);
    let (status, took) = worker.end().await;
    assert_eq!(status.code(), Some(0), "R81");
    assert!(took < config.drain, "R81: it took {took:?}");
}

/// R81: SIGTERM in the middle of a batch: the call under way ends and is settled, the rest is given back with a bell, and
/// the process ends well within its deadline. Another goes on at once, without waiting for a lease to run out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_asked_to_end_gives_back_what_it_has() {
    let stack = stack_with(THINGS).await;
    stack
        .sandbox
        .store
        .faults()
        .on_path("/batch", Fault::Latency(Duration::from_millis(1200)), None);
    let mut config = quick(&stack);
    // Longer than the test takes: who waits for it fails.
    config.lease.length = Duration::from_mins(5);
    let mut worker = program().start(&config, "");
    let id = stack
        .start_with(lockstep_shared::sync::Config::new(Some(2), Some(0), None).unwrap())
        .await;
    eventually("a request to be under way", || async {
        (stack.sandbox.store.faults().asked("/batch") > 0).then_some(())
    })
    .await;

    ends_in_time(&mut worker, &config).await;

    assert_eq!(
        count(&stack, "select count(*) from sync_batch where status = 'running'").await,
        0,
        "R81"
    );
    assert_eq!(
        count(
            &stack,
            "select count(*) from sync_idempotency_log where state in ('intended', 'in_doubt')"
        )
        .await,
        0,
        "R81: the call under way was settled"
    );
    let _other = program().start(&config, "");
    let sync = stack.finish(id).await;
    assert_each_once(&stack, &sync, THINGS);
    assert_eq!(
        count(&stack, "select max(takeovers)::bigint from sync_batch").await,
        0
    );
}

/// R81: a call that goes on for longer than the worker may: the process ends in time all the same, and gives the batch back.
/// Whoever has it next waits until the call can no longer arrive, and asks; nobody counts as having died of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_asked_to_end_leaves_a_call_that_outlasts_it_in_doubt() {
    let stack = stack_with(THINGS).await;
    let faults = stack.sandbox.store.faults();
    faults.on_path("/products/batch", Fault::Latency(Duration::from_secs(5)), Some(1));
    let mut config = quick(&stack);
    // Longer than the test takes: who waits for it fails.
    config.lease.length = Duration::from_mins(5);
    config.http.timeout = Duration::from_secs(6);
    config.lease.progress_limit = Duration::from_secs(8);
    config.drain = Duration::from_secs(4);
    let mut worker = program().start(&config, "");
    let id = stack.start().await;
    eventually("a request to be under way", || async {
        (faults.asked("/products/batch") > 0).then_some(())
    })
    .await;

    ends_in_time(&mut worker, &config).await;

    assert_eq!(
        count(&stack, "select count(*) from sync_batch where status = 'running'").await,
        0,
        "R81: it was given back"
    );
    let _other = program().start(&config, "");
    let sync = stack.finish(id).await;
    assert_each_once(&stack, &sync, THINGS);
    assert_eq!(
        count(&stack, "select max(takeovers)::bigint from sync_batch").await,
        0,
        "nobody died"
    );
}

/// R81: the database says nothing any more while the worker is to end: it ends in time, and the rows tell the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_asked_to_end_does_not_wait_for_a_database_that_is_silent() {
    let stack = stack_with(THINGS).await;
    let server = Server::shared().await;
    let proxy = Proxy::to(server.cluster.port()).await.unwrap();
    stack
        .sandbox
        .store
        .faults()
        .set_latency(Duration::from_millis(150));
    let mut config = wired(&stack, &proxy);
    config.drain = Duration::from_secs(4);
    let mut worker = program().start(&config, "");
    let id = stack
        .start_with(lockstep_shared::sync::Config::new(Some(1), Some(0), None).unwrap())
        .await;
    eventually("a request to be under way", || async {
        (stack.sandbox.store.faults().asked("/batch") > 0).then_some(())
    })
    .await;

    let silence = tokio::spawn(async move { proxy.stall(Duration::from_secs(10)).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    ends_in_time(&mut worker, &config).await;

    silence.abort();
    let _other = program().start(&quick(&stack), "");
    let sync = stack.finish(id).await;
    assert_each_once(&stack, &sync, THINGS);
}

/// SIGKILL right after SIGTERM is one more death.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_while_it_ends_loses_nothing() {
    let stack = stack_with(THINGS).await;
    stack
        .sandbox
        .store
        .faults()
        .on_path("/batch", Fault::Latency(Duration::from_millis(800)), None);
    let mut worker = program().start(&quick(&stack), "");
    let id = stack.start().await;
    eventually("a request to be under way", || async {
        (stack.sandbox.store.faults().asked("/products/batch") > 0).then_some(())
    })
    .await;

    worker.signal(Signal::TERM);
    tokio::time::sleep(Duration::from_millis(100)).await;
    worker.kill();
    let _other = program().start(&quick(&stack), "");

    let sync = stack.finish(id).await;
    assert_each_once(&stack, &sync, THINGS);
}

/// Twenty rolling restarts in a row poison nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restarts_poison_nothing() {
    let stack = stack_with(THINGS).await;
    stack
        .sandbox
        .store
        .faults()
        .set_latency(Duration::from_millis(150));
    stack.sandbox.erp.faults().set_latency(Duration::from_millis(150));
    let config = quick(&stack);
    let id = stack
        .start_with(lockstep_shared::sync::Config::new(Some(1), Some(0), None).unwrap())
        .await;
    for _ in 0..20 {
        let mut worker = program().start(&config, "");
        tokio::time::sleep(Duration::from_millis(500)).await;
        worker.signal(Signal::TERM);
        let (status, _) = worker.end().await;
        assert_eq!(status.code(), Some(0), "R81");
    }

    let _last = program().start(&config, "");
    let sync = stack.finish_within(id, Duration::from_mins(2)).await;

    assert_each_once(&stack, &sync, THINGS);
    assert_eq!(count(&stack, "select count(*) from sync_conflict").await, 0);
    assert_eq!(
        count(&stack, "select max(takeovers)::bigint from sync_batch").await,
        0
    );
}
