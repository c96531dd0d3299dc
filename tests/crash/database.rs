//! A database that is cut off, started anew, out of connections, or loses its patience.

use std::time::Duration;

use lockstep_local::postgres::StopMode;
use lockstep_tests::proxy::Proxy;
use lockstep_tests::stack::{Server, Stack, eventually};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::{assert_each_once, program, quick, stack_in, stack_with, wired};

const THINGS: usize = 6;

/// A stack whose systems take their time.
async fn slow_stack(server: &Server) -> Stack {
    let stack = stack_in(server, THINGS).await;
    for faults in [stack.sandbox.store.faults(), stack.sandbox.erp.faults()] {
        faults.set_latency(Duration::from_millis(100));
    }
    stack
}

/// Waits for the first write, so that what happens next happens in the middle.
async fn under_way(stack: &Stack) {
    eventually("the first write", || async {
        (stack.sandbox.store.ledger().created("customer") > 0).then_some(())
    })
    .await;
}

fn small_batches() -> lockstep_shared::sync::Config {
    lockstep_shared::sync::Config::new(Some(2), Some(0), None).unwrap()
}

/// R16: connections are cut again and again; the process goes on, and nothing is sent twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_are_survived() {
    let stack = slow_stack(Server::shared().await).await;
    let server = Server::shared().await;
    let proxy = Proxy::to(server.cluster.port()).await.unwrap();
    let mut worker = program().start(&wired(&stack, &proxy), "");
    let id = stack.start_with(small_batches()).await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        proxy.cut();
    }

    let sync = stack.finish_within(id, Duration::from_mins(1)).await;

    assert_each_once(&stack, &sync, THINGS);
    assert!(worker.status().is_none(), "R16: the process survives");
}

/// R16: a failover, longer than a lease: nobody is there for a while, and then another server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_is_survived() {
    let server = Server::shared().await;
    let stack = slow_stack(server).await;
    let proxy = Proxy::to(server.cluster.port()).await.unwrap();
    let mut worker = program().start(&wired(&stack, &proxy), "");
    let id = stack.start_with(small_batches()).await;
    under_way(&stack).await;

    proxy.refuse(Duration::from_secs(20)).await;

    let sync = stack.finish_within(id, Duration::from_mins(2)).await;
    assert_each_once(&stack, &sync, THINGS);
    assert!(worker.status().is_none(), "R16: the process survives");
}

/// R13: the machine of the database is lost, and nobody says so to those who are connected: a worker that would wait without
/// end ends by itself, and whoever is started in its place goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_lost_without_a_word_is_noticed() {
    let server = Server::shared().await;
    let stack = slow_stack(server).await;
    let proxy = Proxy::to(server.cluster.port()).await.unwrap();
    let mut config = wired(&stack, &proxy);
    config.silence = Duration::from_secs(2);
    let mut worker = program().start(&config, "");
    let id = stack.start_with(small_batches()).await;
    under_way(&stack).await;

    proxy.lose();
    let (status, _) = worker.end().await;

    assert_eq!(status.code(), Some(1), "its platform is to start it again");
    let _next = program().start(&config, "");
    let sync = stack.finish_within(id, Duration::from_mins(1)).await;
    assert_each_once(&stack, &sync, THINGS);
}

/// R16: the server is started anew, in good order and not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_of_the_server_are_survived() {
    let server = Server::start().await;
    let stack = slow_stack(&server).await;
    let mut worker = program().start(&quick(&stack), "");
    let id = stack.start_with(small_batches()).await;
    under_way(&stack).await;
    for mode in [StopMode::Fast, StopMode::Immediate, StopMode::Fast] {
        server.cluster.restart(mode).await.unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
    }

    let sync = stack.finish_within(id, Duration::from_mins(2)).await;

    assert_each_once(&stack, &sync, THINGS);
    assert!(worker.status().is_none(), "R16: the process survives");
}

/// More slots than connections: who finds none waits for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_exhausted_delays_and_fails_nothing() {
    let stack = stack_with(THINGS).await;
    let mut config = quick(&stack);
    config.database_connections = 4;
    config.batch_slots = 16;
    let _worker = program().start(&config, "");
    let ids = [
        stack.start_with(small_batches()).await,
        stack.start_with(small_batches()).await,
        stack.start_with(small_batches()).await,
    ];

    for id in ids {
        let sync = stack.finish_within(id, Duration::from_mins(1)).await;
        assert_each_once(&stack, &sync, THINGS);
    }
}

/// Cancels whatever a database's workers have running, as a statement timeout does, until told to stop.
async fn lose_patience(pool: PgPool, over: CancellationToken) -> i64 {
    let mut cancelled = 0;
    while !over.is_cancelled() {
        let these: i64 = sqlx::query_scalar(
            "select count(*) filter (where pg_cancel_backend(pid)) from pg_stat_activity
              where datname = current_database() and usename = 'lockstep_worker' and state = 'active'
                and query not like 'LISTEN%' and pid <> pg_backend_pid()",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        cancelled += these;
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    cancelled
}

/// R11: statements that are broken off are repeated, and no request with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_are_broken_off_are_repeated() {
    let stack = stack_with(THINGS).await;
    let over = CancellationToken::new();
    let impatience = tokio::spawn(lose_patience(stack.database.superuser.clone(), over.clone()));
    let _worker = program().start(&quick(&stack), "");
    let id = stack.start_with(small_batches()).await;

    tokio::time::sleep(Duration::from_secs(4)).await;
    over.cancel();
    let cancelled = impatience.await.unwrap();
    let sync = stack.finish_within(id, Duration::from_mins(1)).await;

    assert!(cancelled > 0, "some were hit");
    assert_each_once(&stack, &sync, THINGS);
}
