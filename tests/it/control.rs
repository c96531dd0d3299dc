//! Pausing, resuming and cancelling, under everything that could be in their way. Judged by what the stand-ins felt.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lockstep_sandbox::fault::{Arrival, Fault};
use lockstep_sandbox::ledger::Operation;
use lockstep_shared::command::Kind;
use lockstep_shared::id::SyncId;
use lockstep_shared::sync::{Config, Status};
use lockstep_shared::system::EntityType;
use lockstep_tests::api::Api;
use lockstep_tests::make::{customer, product};
use lockstep_tests::stack::{Finished, Stack, eventually};
use serde_json::{Value, json};

const THINGS: usize = 20;

/// A request may begin for so long after a command was accepted (R6).
const LIMIT: Duration = Duration::from_secs(2);

const LATENCY: Duration = Duration::from_millis(250);

/// Products of the application's that neither system has, carried two at a time by workers with so many slots.
async fn products(slots: usize) -> (Stack, Api) {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    for number in 0..THINGS {
        stack.put(product(&format!("SKU-{number}"), 1000)).await;
    }
    let mut config = stack.worker_config();
    config.batch_slots = slots;
    stack.work_as(config);
    let api = Api::start(&stack);
    (stack, api)
}

async fn start(stack: &Stack) -> SyncId {
    let config = Config::new(Some(2), Some(0), None).unwrap();
    stack.start_types(vec![EntityType::Products], config).await
}

fn slow(stack: &Stack, latency: Duration) {
    for faults in [stack.sandbox.store.faults(), stack.sandbox.erp.faults()] {
        faults.set_latency(latency);
    }
}

/// Waits until products are being written to the store.
async fn under_way(stack: &Stack) {
    eventually("products to be written", || async {
        (stack.sandbox.store.faults().asked("/products/batch") > 1).then_some(())
    })
    .await;
}

async fn tell(api: &Api, id: SyncId, command: &str) -> Value {
    let path = format!("/api/v1/syncs/{id}/{command}");
    api.client.post(&path, &json!({})).await.ok(202)
}

/// Requests about products, which no other sync of these tests makes.
fn about_products(stack: &Stack) -> Vec<Arrival> {
    let (store, erp) = (stack.sandbox.store.faults(), stack.sandbox.erp.faults());
    let mut arrivals = store.arrivals();
    arrivals.extend(erp.arrivals());
    arrivals.retain(|arrival| arrival.path.contains("product"));
    arrivals
}

/// Has the workers carry something else to its end, so that they had every occasion to go on with what is paused.
async fn carry_something_else(stack: &Stack) {
    stack.put(customer("ann@example.com")).await;
    let config = Config::new(None, Some(0), None).unwrap();
    let id = stack.start_types(vec![EntityType::Customers], config).await;
    assert_eq!(stack.finish(id).await.status(), Status::Done);
}

fn assert_each_once(stack: &Stack, sync: &Finished) {
    assert_eq!(sync.status(), Status::Done, "{:#?}", sync.stages);
    for ledger in [stack.sandbox.store.ledger(), stack.sandbox.erp.ledger()] {
        let mut made: BTreeMap<String, usize> = BTreeMap::new();
        for effect in ledger.effects() {
            if effect.entity == "product" && effect.operation == Operation::Created {
                *made.entry(effect.key.unwrap_or_default()).or_default() += 1;
            }
        }
        assert_eq!(made.len(), THINGS, "R6: nothing is lost");
        assert!(
            made.values().all(|times| *times == 1),
            "R6: nothing twice: {made:?}"
        );
        assert!(ledger.duplicates().is_empty(), "R6");
    }
}

async fn count(stack: &Stack, query: &'static str) -> i64 {
    sqlx::query_scalar(query)
        .fetch_one(&stack.database.superuser)
        .await
        .unwrap()
}

/// Nothing is half done: no call is without an outcome, and nobody has anything in hand.
async fn assert_at_rest(stack: &Stack) {
    let open = "select count(*) from sync_idempotency_log where state in ('intended', 'in_doubt')";
    assert_eq!(count(stack, open).await, 0, "R6: every call was settled");
    let running = "select count(*) from sync_batch where status = 'running'";
    assert_eq!(count(stack, running).await, 0, "R6: nothing is in hand");
}

/// R6: within two seconds of a pause no new request begins, in the middle of a chain of batches against slow systems; what
/// was not sent stays untouched; and after a resume all of it arrives, each once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_in_a_slow_sync_lets_no_request_begin_and_a_resume_goes_on_where_it_stopped() {
    let (stack, api) = products(8).await;
    slow(&stack, LATENCY);
    let id = start(&stack).await;
    under_way(&stack).await;

    tell(&api, id, "pause").await;
    let accepted = Instant::now();
    stack.until(id, Status::Paused).await;
    let made = stack.sandbox.store.ledger().created("product");
    let touched = count(
        &stack,
        "select count(*) from item where external_id is not null and entity_type = 'products'",
    )
    .await;
    carry_something_else(&stack).await;

    let late: Vec<_> = about_products(&stack)
        .into_iter()
        .filter(|arrival| arrival.at > accepted + LIMIT)
        .collect();
    assert!(late.is_empty(), "R6: {late:#?}");
    assert!(
        (1..THINGS).contains(&made),
        "R6: it stopped in the middle: {made}"
    );
    assert_eq!(stack.sandbox.store.ledger().created("product"), made, "R6");
    assert_eq!(
        i64::try_from(made).unwrap(),
        touched,
        "R6: what was done is known, and nothing else was touched"
    );
    assert_at_rest(&stack).await;
    slow(&stack, Duration::ZERO);
    tell(&api, id, "resume").await;
    let sync = stack.finish(id).await;
    assert_each_once(&stack, &sync);
    let burnt = "select max(greatest(attempts, takeovers))::bigint from sync_batch";
    assert_eq!(count(&stack, burnt).await, 0, "a pause is nobody's failure");
}

/// R6: a batch that waits for a token, one a minute, hears of the pause at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_reaches_a_batch_that_waits_for_a_token() {
    let (stack, api) = products(8).await;
    slow(&stack, Duration::from_millis(100));
    let id = start(&stack).await;
    under_way(&stack).await;
    sqlx::query("update request_bucket set requests_per_minute = 1")
        .execute(&stack.database.superuser)
        .await
        .unwrap();
    // One slot that was free at once, and then one in a minute, which is reserved by somebody who waits for it.
    eventually("a batch to wait for a token", || async {
        let waits =
            "select count(*) from request_bucket where free_at > lockstep_now() + interval '65 seconds'";
        (count(&stack, waits).await == 1).then_some(())
    })
    .await;
    let before = about_products(&stack).len();

    tell(&api, id, "pause").await;
    stack.until(id, Status::Paused).await;

    assert_eq!(about_products(&stack).len(), before, "R6");
    assert_at_rest(&stack).await;
    sqlx::query("update request_bucket set requests_per_minute = 1000000, free_at = '-infinity'")
        .execute(&stack.database.superuser)
        .await
        .unwrap();
    tell(&api, id, "resume").await;
    let sync = stack.finish(id).await;
    assert_each_once(&stack, &sync);
}

/// R6: with the only slot for batches busy in a call, the pause is applied all the same; until the call has ended the sync
/// is pausing, and what the call did is known when it is paused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_applied_while_every_slot_is_busy() {
    let (stack, api) = products(1).await;
    let latency = Fault::Latency(Duration::from_millis(2500));
    stack
        .sandbox
        .store
        .faults()
        .on_path("/products/batch", latency, None);
    let id = start(&stack).await;
    eventually("the slot to be busy", || async {
        (stack.sandbox.store.faults().asked("/products/batch") == 1).then_some(())
    })
    .await;

    let answer = tell(&api, id, "pause").await;
    assert_eq!(answer["status"], "pausing", "R6: {answer}");
    stack.until(id, Status::Pausing).await;
    assert_eq!(
        stack.sandbox.store.ledger().created("product"),
        0,
        "the call is still under way"
    );
    stack.until(id, Status::Paused).await;

    assert_eq!(
        stack.sandbox.store.ledger().created("product"),
        2,
        "the call ended"
    );
    assert_at_rest(&stack).await;
    let known = "select count(*) from item where state = 'synced' and external_id is not null";
    assert_eq!(count(&stack, known).await, 2, "R6: what it did is settled");
    assert_eq!(stack.sandbox.store.faults().asked("/products/batch"), 1, "R6");
}

/// R6: pause, resume, pause in one breath ends paused, and forks no lane.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quick_pause_resume_pause_ends_paused_with_one_batch_open() {
    let (stack, api) = products(8).await;
    slow(&stack, LATENCY);
    let id = start(&stack).await;
    under_way(&stack).await;

    for command in ["pause", "resume", "pause"] {
        tell(&api, id, command).await;
    }
    let applied = "select count(*) from sync_command where outcome = 'applied'";
    eventually("all of it to be applied", || async {
        (count(&stack, applied).await == 4).then_some(())
    })
    .await;
    stack.until(id, Status::Paused).await;
    carry_something_else(&stack).await;

    assert_eq!(stack.view(id).await.status, Status::Paused, "R6");
    let open = "select count(*) from sync_batch where status <> 'done'";
    assert_eq!(count(&stack, open).await, 1, "R6: one lane, not two");
    slow(&stack, Duration::ZERO);
    tell(&api, id, "resume").await;
    let sync = stack.finish(id).await;
    assert_each_once(&stack, &sync);
}

/// R6: neither the delay between batches nor the wait before a failed call is tried again holds a resume back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resume_waits_for_no_delay() {
    let (stack, api) = products(8).await;
    let config = Config::new(Some(10), Some(600_000), None).unwrap();
    let id = stack.start_types(vec![EntityType::Products], config).await;
    let mut resumes = 0;
    // Each batch is followed by ten minutes of delay; only resumes take it away.
    eventually("the sync to end", || {
        let (stack, api) = (&stack, &api);
        let waits = async move {
            if stack.view(id).await.status.is_final() {
                return Some(());
            }
            let waits = "select count(*) from sync_batch where status = 'queued' and run_at > lockstep_now()
                            and not exists (select from sync_batch where status = 'running')";
            if count(stack, waits).await == 1 {
                tell(api, id, "pause").await;
                stack.until(id, Status::Paused).await;
                tell(api, id, "resume").await;
                stack.until(id, Status::Processing).await;
            }
            None
        };
        resumes += 1;
        waits
    })
    .await;

    let sync = stack.finish(id).await;
    assert_each_once(&stack, &sync);
    assert!(resumes > 1);
}

/// R1, R6: a sync that is paused before anybody began it is not begun; resumed, it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_is_paused_in_the_queue_does_not_begin() {
    let mut stack = Stack::new().await;
    stack.put(product("SKU-1", 1000)).await;
    let api = Api::start(&stack);
    let id = start(&stack).await;

    let answer = tell(&api, id, "pause").await;
    assert_eq!(answer["command"], "pause");
    stack.work();
    stack.until(id, Status::Paused).await;

    assert_eq!(about_products(&stack).len(), 0, "R6");
    assert_eq!(stack.view(id).await.started_at, None, "R6: it never began");
    tell(&api, id, "resume").await;
    assert_eq!(stack.finish(id).await.status(), Status::Done, "R1");
    assert_eq!(stack.sandbox.store.ledger().created("product"), 1);
    assert_eq!(stack.sandbox.erp.ledger().created("product"), 1);
}

/// R6: a cancelled sync ends its call, settles it, and lets go of the rest; the next sync carries what is left, and nothing
/// twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_sync_leaves_both_sides_as_they_are_known_to_be() {
    let (stack, api) = products(8).await;
    slow(&stack, LATENCY);
    let id = start(&stack).await;
    under_way(&stack).await;

    tell(&api, id, "cancel").await;
    let accepted = Instant::now();
    stack.until(id, Status::Cancelled).await;
    carry_something_else(&stack).await;

    let late = about_products(&stack)
        .into_iter()
        .filter(|arrival| arrival.at > accepted + LIMIT);
    assert_eq!(late.count(), 0, "R6");
    let made = stack.sandbox.store.ledger().created("product");
    assert!(
        (1..THINGS).contains(&made),
        "R6: it stopped in the middle: {made}"
    );
    assert_at_rest(&stack).await;
    let open = "select count(*) from sync_batch where status <> 'done'";
    assert_eq!(count(&stack, open).await, 0, "R6");
    let held = "select count(*) from item where batch_id is not null or retry_stage_id is not null";
    assert_eq!(count(&stack, held).await, 0, "R6: nothing is in hand");
    let told = "select count(*) from sync_activity_log where action in ('sync.cancelling', 'sync.cancelled')";
    assert_eq!(count(&stack, told).await, 2, "R71");
    slow(&stack, Duration::ZERO);
    let next = start(&stack).await;
    let sync = stack.finish(next).await;
    assert_each_once(&stack, &sync);
}

/// R6, R13: a request that had no answer when its sync was cancelled is looked up by the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_doubt_when_a_sync_is_cancelled_is_looked_up_by_the_next() {
    let (stack, api) = products(8).await;
    stack
        .sandbox
        .store
        .faults()
        .on_path("/products/batch", Fault::LostReply, Some(1));
    let id = start(&stack).await;
    eventually("a request to be in doubt", || async {
        let doubt = "select count(*) from sync_idempotency_log where state = 'in_doubt'";
        (count(&stack, doubt).await > 0).then_some(())
    })
    .await;
    tell(&api, id, "cancel").await;
    stack.until(id, Status::Cancelled).await;
    let doubt = "select count(*) from sync_idempotency_log where state = 'in_doubt'";
    assert!(count(&stack, doubt).await > 0, "R57: it stays in the log");
    let held = "select count(*) from item where batch_id is not null";
    assert_eq!(count(&stack, held).await, 0, "R6");

    stack.finish(start(&stack).await).await;
    let sync = stack.finish(start(&stack).await).await;

    assert_each_once(&stack, &sync);
}

/// A sync whose last batch is settled after the door was closed has nothing left: it is paused, and a resume closes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_has_nothing_left_when_it_is_resumed_is_over() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    stack.put(product("SKU-1", 1000)).await;
    let latency = Fault::Latency(Duration::from_millis(1500));
    stack
        .sandbox
        .erp
        .faults()
        .on_path("/product.template/load", latency, None);
    stack.work();
    let id = start(&stack).await;
    eventually("the last request to be under way", || async {
        (stack.sandbox.erp.faults().asked("/product.template/load") > 0).then_some(())
    })
    .await;

    stack.ask(id, Kind::Pause).await;
    stack.until(id, Status::Paused).await;
    let asked = about_products(&stack).len();
    stack.ask(id, Kind::Resume).await;
    let sync = stack.finish(id).await;

    assert_eq!(sync.status(), Status::Done);
    assert_eq!(stack.sandbox.erp.ledger().created("product"), 1);
    assert!(
        about_products(&stack).len() <= asked + 4,
        "nothing was begun anew"
    );
}
