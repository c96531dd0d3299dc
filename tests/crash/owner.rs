//! Owners that stand still, hang, or are slow; and what changes while nobody is there.

use std::time::Duration;

use lockstep_sandbox::fault::Fault;
use lockstep_shared::entity::Content;
use lockstep_shared::sync::Status;
use lockstep_tests::make::{customer, product};
use lockstep_tests::process::Worker;
use lockstep_tests::stack::{Finished, Stack, eventually};
use lockstep_worker::config::Config;
use rust_decimal::Decimal;
use rustix::process::Signal;

use super::{assert_each_once, count, program, quick, stack_with, until_stopped};

const THINGS: usize = 5;

/// Has a worker stand still right before its request for products, for long enough that another takes its batch over.
async fn stand_still(call: Duration, for_how_long: Duration) -> (Stack, Worker, Finished) {
    let stack = stack_with(THINGS).await;
    let mut config = quick(&stack);
    config.http.timeout = call;
    config.lease.progress_limit = call + Duration::from_secs(2);
    let point = "push.woocommerce.products.call.before=1*return(stop)";
    let mut sleeper = program().start(&config, point);
    let id = stack.start().await;
    until_stopped(&sleeper).await;

    let _other = program().start(&config, "");
    tokio::time::sleep(for_how_long).await;
    sleeper.signal(Signal::CONT);
    let sync = stack.finish_within(id, Duration::from_mins(1)).await;
    (stack, sleeper, sync)
}

/// R15: an owner that slept past its lease, but not past its request's deadline, wakes and sends. It can't record what
/// came of it; the new owner waits until nothing can arrive any more, looks, and finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_request_of_a_stale_owner_is_found_and_not_repeated() {
    let (stack, mut sleeper, sync) = stand_still(Duration::from_secs(8), Duration::from_millis(2200)).await;

    assert_each_once(&stack, &sync, THINGS);
    let sent = stack.sandbox.store.faults().asked("/products/batch");
    assert_eq!(sent, 1, "R15: the stale owner's request is the only one");
    assert!(sleeper.status().is_none(), "it goes on with other work");
    assert!(
        count(
            &stack,
            "select coalesce(max(takeovers), 0)::bigint from sync_batch"
        )
        .await
            <= 1
    );
}

/// R15: an owner that slept past its request's deadline does not send any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_owner_that_wakes_after_the_deadline_sends_nothing() {
    let (stack, _sleeper, sync) = stand_still(Duration::from_secs(6), Duration::from_millis(7500)).await;

    assert_each_once(&stack, &sync, THINGS);
    let sent = stack.sandbox.store.faults().asked("/products/batch");
    assert_eq!(sent, 1, "R15: only the new owner's request was sent");
}

/// R14: a worker that lives but makes no progress loses its batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_living_worker_that_hangs_is_taken_over() {
    let stack = stack_with(THINGS).await;
    let mut config = quick(&stack);
    config.lease.progress_limit = Duration::from_secs(3);
    let _hanging = program().start(&config, "push.odoo.products.look.after=1*sleep(20000)");
    let id = stack.start().await;
    eventually("a batch to be claimed", || async {
        let claimed = count(
            &stack,
            "select count(*) from sync_batch where status = 'running' and direction = 'push'",
        )
        .await;
        (claimed > 0).then_some(())
    })
    .await;
    let _other = program().start(&config, "");

    let sync = stack.finish(id).await;

    assert_each_once(&stack, &sync, THINGS);
    let lost = count(
        &stack,
        "select count(*) from sync_batch where direction = 'push' and entity_type = 'products' and status <> 'done'",
    )
    .await;
    assert_eq!(lost, 0);
}

/// R14: a worker that makes progress is never robbed, however slow the remote systems are beside its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_worker_is_never_robbed() {
    let stack = stack_with(THINGS).await;
    for faults in [stack.sandbox.store.faults(), stack.sandbox.erp.faults()] {
        faults.on_path("/batch", Fault::Latency(Duration::from_millis(2500)), None);
        faults.on_path("/load", Fault::Latency(Duration::from_millis(2500)), None);
    }
    let config = quick(&stack);
    assert!(config.lease.length < Duration::from_millis(2500));
    let _workers = [program().start(&config, ""), program().start(&config, "")];

    let sync = stack.sync().await;

    assert_each_once(&stack, &sync, THINGS);
    let owners: i64 =
        sqlx::query_scalar("select count(*) from sync_idempotency_log where state = 'in_doubt'")
            .fetch_one(&stack.database.superuser)
            .await
            .unwrap();
    assert_eq!(owners, 0);
    assert_eq!(
        sync.pushed(|counts| counts.in_doubt),
        0,
        "R14: nobody took anything over"
    );
}

/// R14: with the defaults, a dead worker's batches are free and rung for within 30 s.
#[test]
fn a_lease_and_a_sweep_together_take_less_than_thirty_seconds() {
    let key = lockstep_tests::stack::sealing_key();
    let config = Config::new("postgres://localhost".to_owned().into(), key);

    assert!(
        config.lease.length + config.sweep_every < Duration::from_secs(30),
        "R14"
    );
    assert!(
        config.lease.progress_limit > config.http.timeout,
        "R14: the longest call is progress"
    );
    assert!(
        config.drain < Duration::from_secs(30),
        "R81: below the platform's own deadline"
    );
}

/// What a dead owner's request brought over is what was agreed on, not what the record says by now; the change follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_that_changes_between_two_owners_is_sent_as_a_change() {
    let stack = Stack::new().await;
    stack.forget_partners();
    let mug = stack.put(product("MUG", 1000)).await;
    let mut doomed = program().start(&quick(&stack), "push.woocommerce.products.call.after=return");
    let id = stack.start().await;
    doomed.end().await;
    assert!(doomed.was_killed());
    assert_eq!(stack.sandbox.store.ledger().created("product"), 1, "it arrived");

    stack.put_as(mug, product("MUG", 1250)).await;
    let _other = program().start(&quick(&stack), "");
    stack.finish(id).await;
    let sync = stack.sync().await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    let products = stack.sandbox.store.products();
    assert_eq!(products.len(), 1, "R13");
    assert_eq!(products[0]["regular_price"], "12.50");
    assert_eq!(stack.sandbox.store.ledger().created("product"), 1, "R13");
}

/// R10: 10 → 12 → 10 is three writes, and each arrives, though its owner dies every time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_back_to_an_earlier_price_is_a_write_of_its_own() {
    let stack = Stack::new().await;
    stack.forget_partners();
    let mug = stack.put(product("MUG", 1000)).await;
    for price in [1000, 1200, 1000] {
        stack.put_as(mug, product("MUG", price)).await;
        let mut doomed = program().start(&quick(&stack), "push.woocommerce.products.outcome.after=return");
        let id = stack.start().await;
        doomed.end().await;
        let _other = program().start(&quick(&stack), "");
        stack.finish(id).await;

        let held = stack.sandbox.store.products()[0]["regular_price"].clone();
        let held: Decimal = held.as_str().unwrap().parse().unwrap();
        assert_eq!(held, Decimal::new(price, 2), "R10");
    }
    assert_eq!(stack.sandbox.store.ledger().created("product"), 1);
    assert_eq!(
        stack.sandbox.store.ledger().updated("product"),
        2,
        "R10: two changes, each once"
    );
}

/// Two syncs of the same things at once bring each over once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_syncs_of_one_item_write_it_once() {
    let stack = stack_with(THINGS).await;
    let (first, second) = (stack.start().await, stack.start().await);
    let _workers = [
        program().start(&quick(&stack), ""),
        program().start(&quick(&stack), ""),
    ];

    let first = stack.finish(first).await;
    stack.finish(second).await;

    assert_each_once(&stack, &first, THINGS);
}

/// Where a remote has no key of ours, a request that arrives after everything that is assumed of it makes a second thing.
/// That is seen, and told of: it is not taken for a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_request_made_twice_beyond_all_bounds_is_a_conflict() {
    let stack = Stack::new().await;
    stack.forget_partners();
    let Content::Product(mut nameless) = product("", 1000) else {
        unreachable!()
    };
    nameless.variants[0].sku = None;
    stack.put(Content::Product(nameless)).await;
    stack.put(customer("ann@example.com")).await;
    // Longer than the deadline and the grace of these workers: 3.5 s.
    let late = Fault::RunsOn(Duration::from_secs(6));
    stack
        .sandbox
        .store
        .faults()
        .on_path("/products/batch", late, Some(1));
    let _worker = program().start(&quick(&stack), "");
    stack
        .finish_within(stack.start().await, Duration::from_mins(1))
        .await;
    eventually("the late request to arrive", || async {
        (stack.sandbox.store.products().len() == 2).then_some(())
    })
    .await;

    stack.sync().await;

    let told = stack.troubles().await;
    assert!(
        told.iter()
            .any(|trouble| trouble.contains("two things of the remote carry the mark of one record")),
        "{told:#?}"
    );
    assert_eq!(
        stack.sandbox.erp.ledger().created("product"),
        1,
        "the second did not go on to the ERP"
    );
}
