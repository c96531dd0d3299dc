//! Workers as processes that die, stand still and wake: a real Postgres, real HTTP, real signals. A binary of its own, so
//! that nothing else runs beside it.

#![expect(
    clippy::unwrap_used,
    reason = "what fails in a test fails the test, its helpers included"
)]

mod conflict;
mod control;
mod database;
mod drain;
mod errand;
mod overtaken;
mod owner;
mod poison;
mod suite;

use std::path::Path;
use std::time::Duration;

use lockstep_shared::sync::Status;
use lockstep_tests::make::{customer, product};
use lockstep_tests::process::{Program, Worker};
use lockstep_tests::proxy::Proxy;
use lockstep_tests::stack::{Finished, Server, Stack, eventually};
use lockstep_worker::config::Config;

/// The program whose workers these tests kill.
fn program() -> Program {
    Program::new(Path::new(env!("CARGO_BIN_EXE_crash")))
}

/// A stack with so many products and customers of the application's, in neither system yet.
async fn stack_with(things: usize) -> Stack {
    stack_in(Server::shared().await, things).await
}

/// Such a stack in a cluster of one's own.
async fn stack_in(server: &Server, things: usize) -> Stack {
    let stack = Stack::new_in(server).await;
    stack.forget_partners();
    for number in 0..things {
        stack.put(product(&format!("SKU-{number}"), 1000)).await;
        stack.put(customer(&format!("person{number}@example.com"))).await;
    }
    stack
}

/// Workers whose leases and requests run out soon.
fn quick(stack: &Stack) -> Config {
    let mut config = stack.worker_config();
    config.lease.length = Duration::from_millis(1500);
    config.lease.progress_limit = Duration::from_secs(5);
    config.http.timeout = Duration::from_secs(3);
    config.grace = Some(Duration::from_millis(500));
    config
}

/// Workers that reach their database over a wire.
fn wired(stack: &Stack, proxy: &Proxy) -> Config {
    let mut config = quick(stack);
    config.database_url = proxy.rewired(&stack.database.urls.worker).into();
    config
}

/// Waits until a worker has come to the point at which it stands still.
async fn until_stopped(worker: &Worker) {
    eventually("the worker to stand still", || {
        let is_stopped = worker.is_stopped();
        async move { is_stopped.then_some(()) }
    })
    .await;
}

fn assert_each_once(stack: &Stack, sync: &Finished, things: usize) {
    assert_eq!(sync.status(), Status::Done, "{:#?}", sync.stages);
    let ledgers = [stack.sandbox.store.ledger(), stack.sandbox.erp.ledger()];
    for ledger in ledgers {
        for entity in ["product", "customer"] {
            assert_eq!(ledger.created(entity), things, "R13: {entity}");
        }
        assert!(ledger.duplicates().is_empty(), "R13: {:#?}", ledger.duplicates());
    }
}

/// Counts what the database says.
async fn count(stack: &Stack, query: &'static str) -> i64 {
    sqlx::query_scalar(query)
        .fetch_one(&stack.database.superuser)
        .await
        .unwrap()
}
