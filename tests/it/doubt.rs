//! Requests without an answer: looked up before anything is sent again. Judged by the stand-ins' ledgers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockstep_sandbox::fault::{Fault, RequestInfo, Rule};
use lockstep_shared::sync::Status;
use lockstep_tests::stack::{Finished, Stack};

use lockstep_tests::make::{customer, order, product};

const THINGS: usize = 12;

async fn stack_with_things() -> Stack {
    let stack = Stack::new().await;
    // An empty ERP has partners of its own, which are no part of what is counted here.
    stack.forget_partners();
    for number in 0..THINGS {
        stack.put(product(&format!("SKU-{number}"), 1000)).await;
        stack.put(customer(&format!("person{number}@example.com"))).await;
    }
    stack
}

fn assert_each_once(stack: &Stack, sync: &Finished) {
    assert_eq!(sync.status(), Status::Done, "{:#?}", sync.stages);
    for entity in ["product", "customer"] {
        assert_eq!(
            stack.sandbox.store.ledger().created(entity),
            THINGS,
            "R13: {entity} in the store"
        );
        assert_eq!(
            stack.sandbox.erp.ledger().created(entity),
            THINGS,
            "R13: {entity} in the ERP"
        );
    }
    assert!(stack.sandbox.store.ledger().duplicates().is_empty(), "R13");
    assert!(stack.sandbox.erp.ledger().duplicates().is_empty(), "R13");
}

async fn survives(on_store: &str, on_erp: &str, fault: impl Fn() -> Fault) {
    let mut stack = stack_with_things().await;
    stack.sandbox.store.faults().on_path(on_store, fault(), Some(1));
    stack.sandbox.erp.faults().on_path(on_erp, fault(), Some(1));
    stack.work();

    let sync = stack.sync().await;

    assert_each_once(&stack, &sync);
    let in_doubt = sync.pushed(|c| c.in_doubt);
    assert!(in_doubt > 0, "the fault was felt: {:#?}", sync.stages);
}

/// R13: the reply is lost after the remote side took effect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn products_whose_reply_was_lost_are_found_and_not_made_again() {
    survives("/products/batch", "/json/2/product.template/load", || {
        Fault::LostReply
    })
    .await;
}

/// R13: e-mail addresses are no unique key in either system; the look-up finds them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn customers_whose_reply_was_lost_are_found_and_not_made_again() {
    survives("/customers/batch", "/json/2/res.partner/load", || {
        Fault::LostReply
    })
    .await;
}

/// R13: the request never arrived, which nobody can tell from a lost reply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn things_whose_request_never_arrived_are_sent_once() {
    survives("/batch", "/load", || Fault::CutConnection).await;
}

/// R13: the remote's process died halfway through a batch that has no transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_of_a_batch_that_died_halfway_is_sent_and_nothing_else() {
    let mut stack = stack_with_things().await;
    stack
        .sandbox
        .store
        .faults()
        .on_path("/products/batch", Fault::PartialBatch(5), Some(1));
    stack.work();

    let sync = stack.sync().await;

    assert_each_once(&stack, &sync);
}

/// A transient error that stands inside a row message is retried, and costs no item.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_serialization_failure_inside_a_row_message_is_tried_again() {
    let mut stack = stack_with_things().await;
    stack
        .sandbox
        .erp
        .faults()
        .on_path("/load", Fault::SerializationMessage, Some(2));
    stack.work();

    let sync = stack.sync().await;

    assert_each_once(&stack, &sync);
}

/// R8, R16: a system that is out of order for a while delays the sync and fails nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_that_is_out_of_order_for_a_while_fails_nothing() {
    let mut stack = stack_with_things().await;
    let broken = || Fault::Status {
        code: 502,
        retry_after: None,
        body: None,
    };
    stack
        .sandbox
        .store
        .faults()
        .on_path("/wp-json", broken(), Some(2));
    stack.sandbox.erp.faults().on_path("/json", broken(), Some(2));
    stack.work();

    let sync = stack.sync().await;

    assert_each_once(&stack, &sync);
}

/// R32: what the remote asks for is waited for, by everyone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_after_is_obeyed() {
    let mut stack = stack_with_things().await;
    let busy = Fault::Status {
        code: 429,
        retry_after: Some("2".to_owned()),
        body: None,
    };
    stack
        .sandbox
        .store
        .faults()
        .on_path("/products/batch", busy, Some(1));
    stack.work();

    let sync = stack.sync().await;

    assert_each_once(&stack, &sync);
    let arrivals = stack.sandbox.store.faults().arrivals();
    let refused = arrivals
        .iter()
        .position(|a| a.path.ends_with("/products/batch"))
        .unwrap();
    let pause = arrivals[refused + 1].at.duration_since(arrivals[refused].at);
    assert!(
        pause >= Duration::from_secs(2),
        "R32: the next request came after {pause:?}"
    );
}

/// R81: a worker that is asked to end gives back what it has in hand; another goes on, and nothing is sent twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_workers_batches_are_gone_on_with_by_another() {
    let mut stack = stack_with_things().await;
    let config = stack.worker_config();
    let stop = stack.work_as(config);
    let id = stack
        .start_with(lockstep_shared::sync::Config::new(Some(2), Some(0), None).unwrap())
        .await;
    lockstep_tests::stack::eventually("the first write", || async {
        (stack.sandbox.store.ledger().created("customer") > 0).then_some(())
    })
    .await;

    stop.cancel();
    stack.work();
    let sync = stack.finish(id).await;

    assert_each_once(&stack, &sync);
}

/// R13, R14: a worker dies in the middle of a request; another takes its batch over, waits until the request can no
/// longer arrive, looks, and sends only what is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_workers_batch_is_taken_over_and_nothing_is_sent_twice() {
    let mut stack = stack_with_things().await;
    // Slow enough for the worker to die while the store is at work, which goes on without it.
    stack
        .sandbox
        .store
        .faults()
        .on_path("/products/batch", Fault::Latency(Duration::from_secs(1)), Some(1));
    let doomed = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let config = stack.worker_config();
    doomed
        .spawn(async move { lockstep_worker::run(config, tokio_util::sync::CancellationToken::new()).await });
    let id = stack.start().await;
    lockstep_tests::stack::eventually("the request that it dies in", || async {
        (stack.sandbox.store.faults().asked("/products/batch") > 0).then_some(())
    })
    .await;

    // Everything of it stops where it is: nothing is given back, no lease is renewed.
    doomed.shutdown_background();
    stack.work();
    let sync = stack.finish(id).await;

    assert_each_once(&stack, &sync);
    let sent = stack.sandbox.store.faults().asked("/products/batch");
    assert_eq!(
        sent, 1,
        "R13, R14: the other worker looked, found all of it, and sent nothing"
    );
}

/// What waits in a lane of its own when refused credentials end its stage is free again: the next sync looks it up, and
/// makes nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_doubt_when_a_stage_ends_early_is_looked_up_by_the_next_sync() {
    let mut stack = stack_with_things().await;
    let faults = stack.sandbox.store.faults();
    let is_cut = Arc::new(AtomicBool::new(false));
    let cuts = is_cut.clone();
    faults.add(Rule {
        matches: Box::new(move |request| {
            let strikes = request.path.ends_with("/products/batch");
            cuts.fetch_or(strikes, Ordering::Relaxed);
            strikes
        }),
        fault: Fault::CutConnection,
        times: Some(1),
    });
    // Every request after the one without an answer.
    faults.add(Rule {
        matches: Box::new(move |_| is_cut.load(Ordering::Relaxed)),
        fault: Fault::Status {
            code: 401,
            retry_after: None,
            body: None,
        },
        times: None,
    });
    // Longer than the sync goes on.
    let mut patient = stack.worker_config();
    patient.grace = Some(Duration::from_mins(2));
    stack.work_as(patient);
    let config = lockstep_shared::sync::Config::new(Some(4), Some(0), None).unwrap();
    let id = stack.start_with(config).await;
    let first = stack.finish(id).await;
    assert_eq!(first.status(), Status::Partial, "{:#?}", first.stages);

    stack.shift_clock("3 minutes").await;
    stack.sandbox.store.faults().clear();
    sqlx::query("update connection set status = 'active', attention = null")
        .execute(&stack.database.superuser)
        .await
        .unwrap();
    let sync = stack.sync().await;

    assert_each_once(&stack, &sync);
    assert_eq!(
        stack
            .troubles()
            .await
            .iter()
            .filter(|trouble| !trouble.contains("stage"))
            .count(),
        1,
        "the conflict about the credentials: {:#?}",
        stack.troubles().await
    );
}

/// Two accounts of one address, which a race in the store makes (facts/systems.md A5), are two customers. Which of them a
/// further record of that address would be, nobody can tell: that is a conflict and not a guess.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_could_be_either_of_two_accounts_is_a_conflict() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let ann = stack.sandbox.store.insert_customer(serde_json::json!({
        "email": "ann@example.com", "username": "ann", "first_name": "Ann", "last_name": "Lee",
    }));
    stack.sandbox.store.insert_twin(ann);
    stack.work();
    let sync = stack.sync().await;
    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    assert_eq!(stack.sandbox.erp.ledger().created("customer"), 2);

    stack.put(customer("ann@example.com")).await;
    for round in 0..2 {
        stack.forget_effects();
        stack.sync().await;

        let (store, erp) = stack.effects();
        assert!(
            store.is_empty() && erp.is_empty(),
            "round {round}: {store:#?} {erp:#?}"
        );
        let told = stack.troubles().await;
        let conflicts = told
            .iter()
            .filter(|trouble| trouble.contains("DuplicateKey"))
            .count();
        assert_eq!(conflicts, 2, "one in either system, round {round}: {told:#?}");
    }
}

/// A draft that a late request of a stale owner left beside the order that was placed is an order for nobody: no system
/// takes it up, and the store drops it after a day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stray_draft_of_an_order_is_no_order_and_goes_away() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let ann = stack.put(customer("ann@example.com")).await;
    let lamp = stack.put(product("LAMP", 1000)).await;
    let order = stack.put(order("A-1", ann, lamp)).await;
    stack.work();
    let sync = stack.sync().await;
    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    let marker = serde_json::json!([{ "key": "_lockstep_record", "value": order.to_string() }]);
    let stray = stack.sandbox.store.insert_order(serde_json::json!({
        "status": "checkout-draft", "created_via": "lockstep", "meta_data": marker,
    }));

    stack.forget_effects();
    let sync = stack.sync().await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    assert_eq!(stack.troubles().await, Vec::<String>::new());
    let (store, erp) = stack.effects();
    assert!(store.is_empty() && erp.is_empty(), "{store:#?} {erp:#?}");
    assert_eq!(stack.sandbox.erp.records("sale.order").len(), 1);
    stack.sandbox.store.age(Duration::from_hours(25));
    assert!(stack.sandbox.store.order(stray).is_none());
}

/// Has the answer to the first of some writes get lost, and the store be out of order whenever somebody looks for what
/// became of it; workers give up after a while.
fn lose_sight_of(stack: &mut Stack, path: &'static str, is_meant: fn(&RequestInfo) -> bool) {
    let is_lost = Arc::new(AtomicBool::new(false));
    let faults = stack.sandbox.store.faults();
    let lost = is_lost.clone();
    faults.add(Rule {
        matches: Box::new(move |request| {
            request.path.ends_with("/batch") && is_meant(request) && !lost.swap(true, Ordering::SeqCst)
        }),
        fault: Fault::LostReply,
        times: Some(1),
    });
    faults.add(Rule {
        matches: Box::new(move |request| request.path.contains(path) && is_lost.load(Ordering::SeqCst)),
        fault: out_of_order(),
        times: None,
    });
    let mut config = stack.worker_config();
    config.circuit.first_wait = Duration::from_millis(200);
    config.circuit.longest_wait = Duration::from_millis(200);
    config.circuit.outage = Duration::from_secs(2);
    stack.work_as(config);
}

fn out_of_order() -> Fault {
    Fault::Status {
        code: 502,
        retry_after: None,
        body: None,
    }
}

/// R13: a pull may see what a request without an answer made before anybody has looked it up. The effect is resolved all
/// the same, and nothing is in step while one of its effects is in doubt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_pull_sees_of_a_request_in_doubt_resolves_it() {
    let mut stack = stack_with_things().await;
    lose_sight_of(&mut stack, "/products", |request| {
        request.path.contains("/products/batch")
    });
    stack.sync().await;
    assert!(unresolved(&stack).await > 0, "the fault was felt");
    stack.sandbox.store.faults().clear();

    let sync = stack.sync().await;

    assert_each_once(&stack, &sync);
    assert_eq!(unresolved(&stack).await, 0, "R13: effects in doubt");
    let mut troubles = stack.troubles().await;
    troubles.retain(|trouble| !trouble.starts_with("stage "));
    assert_eq!(troubles, Vec::<String>::new());
}

/// R13, R17: the store gives an order that has no e-mail address its account's. Where the answer to that is lost, what is
/// found there is what the store made of the order, and not what anybody wants.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_store_fills_in_of_an_order_in_doubt_is_no_news() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let (ann, lamp) = (
        stack.put(customer("ann@example.com")).await,
        stack.put(product("LAMP", 1000)).await,
    );
    let sold = stack.put(order("A-1", ann, lamp)).await;
    stack
        .sandbox
        .erp
        .faults()
        .on_path("/json/2/sale.order/load", out_of_order(), None);
    // In the last step of making it a draft becomes an order.
    lose_sight_of(&mut stack, "/orders", |request| {
        request.path.contains("/orders/batch") && request.body.get("update").is_some()
    });
    stack.sync().await;
    assert!(unresolved(&stack).await > 0, "the fault was felt");
    assert_eq!(stack.sandbox.erp.records("sale.order").len(), 0);

    stack.sandbox.store.faults().clear();
    stack.sandbox.erp.faults().clear();
    stack.sync().await;

    let content: serde_json::Value = sqlx::query_scalar("select content from record where record_id = $1")
        .bind(sold.0)
        .fetch_one(&stack.database.superuser)
        .await
        .unwrap();
    assert_eq!(content.get("billing"), None, "R13: {content}");
    let placed = stack.sandbox.erp.records("sale.order");
    assert_eq!(placed.len(), 1, "{:#?}", stack.troubles().await);
    assert_eq!(placed[0]["partner_invoice_id"], placed[0]["partner_id"], "R17");
    assert_eq!(stack.sandbox.store.ledger().created("order"), 1, "R13");
}

async fn unresolved(stack: &Stack) -> i64 {
    sqlx::query_scalar("select count(*) from sync_idempotency_log where state in ('intended', 'in_doubt')")
        .fetch_one(&stack.database.superuser)
        .await
        .expect("the database answers")
}
