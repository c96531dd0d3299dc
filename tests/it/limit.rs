//! Limits towards the systems: buckets, pauses that systems ask for, circuits, and who may go first.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use lockstep_sandbox::fault::{Arrival, Fault, FaultPlan};
use lockstep_shared::bucket::{self, Caller, Take, Verdict};
use lockstep_shared::connection::Settings;
use lockstep_shared::id::{ConnectionId, SyncId, Token};
use lockstep_shared::sync::{Config as SyncConfig, Status};
use lockstep_shared::system::EntityType;
use lockstep_tests::make::product;
use lockstep_tests::stack::{Finished, Stack, eventually, within};
use lockstep_worker::config::Config;
use lockstep_worker::connector::http;

const MINUTE: Duration = Duration::from_mins(1);

/// Longest wait for anything: these tests wait for time to pass, and a busy machine makes that longer.
const PATIENCE: Duration = Duration::from_mins(4);

async fn rate(stack: &Stack, requests_per_minute: i32) {
    sqlx::query("update request_bucket set requests_per_minute = $2 where org_id = $1 and scope = $1")
        .bind(stack.org.0)
        .bind(requests_per_minute)
        .execute(&stack.database.superuser)
        .await
        .unwrap();
}

/// Makes all wait for `connection` at the given rate.
async fn limit(stack: &Stack, connection: ConnectionId, requests_per_minute: u32) {
    let settings = Settings {
        requests_per_minute: Some(requests_per_minute),
        ..Settings::default()
    };
    stack.set(connection, &settings).await;
}

fn caller(stack: &Stack, connection: ConnectionId) -> Caller {
    Caller {
        org: stack.org,
        connection,
        sync: None,
        token: Token::random(),
    }
}

async fn take(stack: &Stack, caller: Caller, patience: Duration) -> Take {
    let mut tx = stack.begin_as_worker().await;
    let take = bucket::take(&mut tx, caller, None, patience).await.unwrap();
    tx.commit().await.unwrap();
    take
}

/// Set up so that a busy machine is not taken for a system that doesn't answer.
fn patient(stack: &Stack) -> Config {
    let mut config = stack.worker_config();
    config.http.timeout = Duration::from_secs(20);
    config.lease.progress_limit = Duration::from_secs(40);
    // The tests' servers have a hundred for all that run at once.
    config.database_connections = 6;
    config
}

/// Most arrivals within any minute.
fn most_in_a_minute(arrivals: &[Arrival]) -> usize {
    let in_the_minute_of = |first: &Arrival| {
        let within = |arrival: &&Arrival| arrival.at >= first.at && arrival.at < first.at + MINUTE;
        arrivals.iter().filter(within).count()
    };
    arrivals.iter().map(in_the_minute_of).max().unwrap_or_default()
}

/// Syncs products alone, however long that takes.
async fn sync_products(stack: &Stack) -> Finished {
    let config = SyncConfig::new(None, Some(0), None).unwrap();
    let id = stack.start_types(vec![EntityType::Products], config).await;
    stack.finish_within(id, PATIENCE).await
}

fn arrivals(plans: &[&FaultPlan]) -> Vec<Arrival> {
    let mut all: Vec<Arrival> = plans.iter().flat_map(|plan| plan.arrivals()).collect();
    all.sort_by_key(|arrival| arrival.at);
    all
}

/// R30: slots are evenly spaced, and no two takers get the same one, however many there are at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn takers_of_tokens_get_evenly_spaced_slots() {
    let stack = Stack::new().await;
    rate(&stack, 60).await;
    let patience = Duration::from_hours(1);

    let taken = join_all((0..5).map(async |_| {
        let mut taken = Vec::new();
        for _ in 0..4 {
            taken.push(take(&stack, caller(&stack, stack.store), patience).await);
        }
        taken
    }))
    .await;

    let mut slots: Vec<DateTime<Utc>> = taken
        .iter()
        .flatten()
        .map(|take| match take.verdict {
            Verdict::Go => take.asked_at,
            Verdict::Wait { at } => at,
            other => panic!("{other:?}"),
        })
        .collect();
    slots.sort();
    for pair in slots.windows(2) {
        let gap = (pair[1] - pair[0]).num_milliseconds();
        assert!(gap >= 1_019, "R30: {gap} ms between {pair:?}");
    }
}

/// R30: a request comes under its organisation's bucket, its connection's and its sync's: it takes a slot of all of them or of
/// none, so that a slow connection takes nothing away from the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_taken_of_every_bucket_or_of_none() {
    let stack = Stack::new().await;
    rate(&stack, 6_000).await;
    limit(&stack, stack.store, 6).await;
    let sync = SyncId::random();
    let mut tx = stack.begin_as_api().await;
    bucket::limit_sync(&mut tx, stack.org, sync, Some(1))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let (store, erp) = (caller(&stack, stack.store), caller(&stack, stack.erp));
    let slow_erp = Caller {
        sync: Some(sync),
        ..erp
    };
    let patient = Duration::from_hours(1);

    assert_eq!(take(&stack, store, patient).await.verdict, Verdict::Go);
    let again = take(&stack, store, patient).await;
    let soon = take(&stack, erp, Duration::from_secs(1)).await;
    let of_sync = take(&stack, slow_erp, Duration::from_secs(1)).await;
    let of_sync_again = take(&stack, slow_erp, patient).await;

    let Verdict::Later { at } = again.verdict else {
        panic!("R30: {again:?}")
    };
    assert!((again.until(at)).as_secs_f64() > 8.0, "R30: {again:?}");
    assert!(
        matches!(soon.verdict, Verdict::Go | Verdict::Wait { .. }),
        "R30: {soon:?}"
    );
    assert!(
        matches!(of_sync.verdict, Verdict::Go | Verdict::Wait { .. }),
        "R30: {of_sync:?}"
    );
    let Verdict::Later { at } = of_sync_again.verdict else {
        panic!("R30: {of_sync_again:?}")
    };
    assert!(of_sync_again.until(at) > Duration::from_secs(50), "R30");
}

/// Sends requests to the store as a worker does, as often as the bucket lets it, until the time is over.
async fn send(stack: &Stack, until: Instant) {
    let client = http::Client::new(&http::Options::local()).unwrap();
    let url: url::Url = stack.sandbox.store.base_url().parse().unwrap();
    let mut reserved = None;
    while Instant::now() < until {
        let mut tx = stack.begin_as_worker().await;
        let caller = caller(stack, stack.store);
        let take = bucket::take(&mut tx, caller, reserved, MINUTE).await.unwrap();
        tx.commit().await.unwrap();
        match take.verdict {
            Verdict::Go => {
                reserved = None;
                // Whatever it answers, it has arrived.
                let _ = client.read("WooCommerce", client.get(url.clone())).await;
            }
            Verdict::Wait { at } => {
                reserved = Some(at);
                tokio::time::sleep(take.until(at)).await;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// R30: eight that take from one bucket never send more than the limit in any minute, and use at least 95 % of it. Whole
/// workers do so in the load scenario `edge`.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_senders_stay_below_the_limit_and_use_it() {
    const RATE: usize = 90;
    let stack = Stack::new().await;
    rate(&stack, i32::try_from(RATE).unwrap()).await;
    // One connection after another: to open them takes processor time, which a test that measures has none of.
    let mut opened = Vec::new();
    for _ in 0..8 {
        opened.push(stack.begin_as_worker().await);
    }
    drop(opened);
    let until = Instant::now() + MINUTE + Duration::from_secs(8);

    join_all((0..8).map(|_| send(&stack, until))).await;

    let arrivals = stack.sandbox.store.faults().arrivals();
    let first = arrivals[0].at;
    let most = most_in_a_minute(&arrivals);
    let used = arrivals
        .iter()
        .filter(|arrival| arrival.at < first + MINUTE)
        .count();
    assert!(most <= RATE, "R30: {most} requests in a minute");
    assert!(used * 100 >= RATE * 95, "R30: {used} of {RATE}");
}

/// R31: one slot, and an organisation that has used its tokens up: another's batches go through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_token_holds_no_slot() {
    let mut exhausted = Stack::new().await;
    let neighbour = exhausted.neighbour().await;
    rate(&exhausted, 1).await;
    let mut config = patient(&exhausted);
    config.batch_slots = 1;
    exhausted.work_as(config);
    let stuck = exhausted.start().await;
    eventually("the exhausted organisation to have used its token", || async {
        (exhausted.sandbox.store.faults().requests_seen() > 0).then_some(())
    })
    .await;

    let sync = sync_products(&neighbour).await;

    assert_eq!(sync.status(), Status::Done, "R31");
    assert_eq!(exhausted.view(stuck).await.status, Status::Processing);
    let requests = exhausted.sandbox.store.faults().requests_seen();
    assert!(requests <= 2, "R30: {requests} requests at one a minute");
}

/// A batch that can't even park is given back before its first call, and one that is under way is carried through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_without_a_token_is_given_back_where_there_is_no_room_to_wait() {
    let mut stack = Stack::new().await;
    sqlx::query("update request_bucket set free_at = lockstep_now() + interval '15 seconds'")
        .execute(&stack.database.superuser)
        .await
        .unwrap();
    let mut config = patient(&stack);
    config.patience = Duration::ZERO;
    config.parked = 0;
    stack.work_as(config);

    let sync = sync_products(&stack).await;

    assert_eq!(sync.status(), Status::Done);
    let given_back: i64 =
        sqlx::query_scalar("select count(*) from sync_activity_log where action = 'batch.given_back'")
            .fetch_one(&stack.database.superuser)
            .await
            .unwrap();
    assert!(given_back > 0);
}

/// What a batch has read is not read again because it had to wait: a sync takes no more calls at a low rate than at a high one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_tokens_costs_no_call() {
    let mut calls = Vec::new();
    for requests_per_minute in [1_000_000, 240] {
        let mut stack = Stack::new().await;
        for number in 0..3 {
            stack.put(product(&format!("SKU-{number}"), 1_000)).await;
        }
        rate(&stack, requests_per_minute).await;
        let mut config = patient(&stack);
        config.patience = Duration::from_millis(10);
        stack.work_as(config);
        let id = stack
            .start_types(
                vec![EntityType::Products],
                SyncConfig::new(None, Some(0), None).unwrap(),
            )
            .await;
        let sync = stack.finish_within(id, PATIENCE).await;
        assert_eq!(sync.status(), Status::Done);
        let plans = [stack.sandbox.store.faults(), stack.sandbox.erp.faults()];
        calls.push(arrivals(&plans).len());
    }

    // A pull may look once more at what changed while it was waiting.
    assert!(calls[1] <= calls[0] + 3, "{calls:?}");
}

/// When a path was asked for, from the first time on.
fn asked(plan: &FaultPlan) -> Vec<Instant> {
    plan.arrivals().iter().map(|arrival| arrival.at).collect()
}

/// Has the store ask for a pause, in these words, and starts two syncs that two workers carry out. Returns when it was asked.
async fn pause(stack: &mut Stack, told: String) -> Vec<Instant> {
    stack.put(product("SKU-1", 1_000)).await;
    let refused = Fault::Status {
        code: 429,
        retry_after: Some(told),
        body: None,
    };
    stack.sandbox.store.faults().on_path("/wp-json", refused, Some(1));
    stack.work_as(patient(stack));
    stack.work_as(patient(stack));
    let config = SyncConfig::new(None, Some(0), None).unwrap();
    let first = stack.start_types(vec![EntityType::Products], config).await;
    eventually("the system to have asked for a pause", || async {
        (stack.sandbox.store.faults().requests_seen() > 0).then_some(())
    })
    .await;
    let second = stack.start_types(vec![EntityType::Customers], config).await;
    for sync in [first, second] {
        let sync = stack.finish_within(sync, PATIENCE).await;
        assert_eq!(sync.status(), Status::Done, "R32: {:#?}", sync.stages);
    }
    let unwell: i64 = sqlx::query_scalar("select count(*) from circuit")
        .fetch_one(&stack.database.superuser)
        .await
        .unwrap();
    assert_eq!(unwell, 0, "a success ends it");
    asked(stack.sandbox.store.faults())
}

/// R32: what one worker was told in seconds, all obey.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fleet_waits_for_as_many_seconds_as_a_system_asked_for() {
    let mut stack = Stack::new().await;

    let asked = pause(&mut stack, "4".to_owned()).await;

    assert!(asked[1] - asked[0] >= Duration::from_secs(4), "R32");
}

/// R32: so it does until a date.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fleet_waits_until_the_date_that_a_system_told() {
    let mut stack = Stack::new().await;
    // Dates have whole seconds.
    let (now, pause_secs) = (Instant::now(), 9);
    let until = Utc::now() + TimeDelta::seconds(pause_secs + 1);
    let told = until.format("%a, %d %b %Y %H:%M:%S GMT").to_string();

    let asked = pause(&mut stack, told).await;

    assert!(asked[1] - now >= Duration::from_secs(9), "R32");
}

/// R32: without a word for how long, the waits of the whole fleet grow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_without_a_word_grow() {
    let mut stack = Stack::new().await;
    stack.put(product("SKU-1", 1_000)).await;
    let refused = Fault::Status {
        code: 429,
        retry_after: None,
        body: None,
    };
    stack.sandbox.store.faults().on_path("/wp-json", refused, Some(3));
    stack.work_as(patient(&stack));
    stack.work_as(patient(&stack));

    let sync = sync_products(&stack).await;

    assert_eq!(sync.status(), Status::Done, "R32");
    let asked = asked(stack.sandbox.store.faults());
    for (place, least_ms) in [(0, 500), (1, 1_000), (2, 2_000)] {
        let wait = asked[place + 1] - asked[place];
        assert!(
            wait >= Duration::from_millis(least_ms),
            "R32: {wait:?} at {place}"
        );
    }
}

async fn state(stack: &Stack) -> Option<String> {
    sqlx::query_scalar("select state from operator_circuit")
        .fetch_optional(&stack.database.superuser)
        .await
        .unwrap()
}

/// Has the store answer nothing but errors.
fn breaks(stack: &Stack, times: Option<u32>) {
    let broken = Fault::Status {
        code: 500,
        retry_after: None,
        body: None,
    };
    stack.sandbox.store.faults().on_path("/wp-json", broken, times);
}

/// R33: a system that is down opens its circuit; its batches wait and nothing fails, however long that takes within the limit;
/// the fleet sends one probe at a time; the first that succeeds closes the circuit, and all goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_system_that_is_down_is_probed_by_one_and_its_items_wait() {
    let mut stack = Stack::new().await;
    for number in 0..3 {
        stack.put(product(&format!("SKU-{number}"), 1_000)).await;
    }
    breaks(&stack, None);
    for _ in 0..4 {
        let mut config = patient(&stack);
        config.circuit.first_wait = Duration::from_secs(1);
        config.circuit.longest_wait = Duration::from_secs(1);
        stack.work_as(config);
    }
    let config = SyncConfig::new(None, Some(0), None).unwrap();
    let mut syncs = Vec::new();
    for entity in [EntityType::Products, EntityType::Customers, EntityType::Orders] {
        syncs.push(stack.start_types(vec![entity], config).await);
    }
    eventually("the circuit to open", || async {
        (state(&stack).await.as_deref() != Some("closed") && state(&stack).await.is_some()).then_some(())
    })
    .await;
    let faults = stack.sandbox.store.faults();
    let opened_at = Instant::now();
    within(PATIENCE, "three more probes", || async {
        let probes = faults
            .arrivals()
            .iter()
            .filter(|arrival| arrival.at > opened_at)
            .count();
        (probes >= 4).then_some(())
    })
    .await;

    let probes: Vec<Instant> = asked(faults).into_iter().filter(|at| *at > opened_at).collect();
    for pair in probes.windows(2).skip(1) {
        let gap = pair[1] - pair[0];
        assert!(
            gap >= Duration::from_millis(900),
            "R33: one probe at a time, {gap:?} apart"
        );
    }
    let failed: i64 = sqlx::query_scalar("select count(*) from item where state in ('failed', 'conflict')")
        .fetch_one(&stack.database.superuser)
        .await
        .unwrap();
    assert_eq!(failed, 0, "R33");
    faults.clear();
    for sync in syncs {
        let sync = stack.finish_within(sync, PATIENCE).await;
        assert_eq!(sync.status(), Status::Done, "R33: {:#?}", stack.troubles().await);
    }
    assert_eq!(state(&stack).await, None, "R33: a success closes it");
    let told: Vec<String> = sqlx::query_scalar(
        "select action from sync_activity_log where action like 'circuit.%' order by created_at",
    )
    .fetch_all(&stack.database.superuser)
    .await
    .unwrap();
    assert_eq!(told, ["circuit.opened", "circuit.closed"]);
}

/// R33: a system that stays down ends the stages that need it after a while, and nothing else: the sync does not hang.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_that_stays_down_fails_its_stages_and_no_others() {
    let mut stack = Stack::new().await;
    stack.put(product("SKU-1", 1_000)).await;
    breaks(&stack, None);
    let mut config = patient(&stack);
    config.circuit.first_wait = Duration::from_millis(500);
    config.circuit.longest_wait = Duration::from_secs(1);
    config.circuit.outage = Duration::from_secs(3);
    stack.work_as(config);
    let config = SyncConfig::new(None, Some(0), None).unwrap();

    let id = stack.start_types(vec![EntityType::Products], config).await;
    let sync = stack.finish_within(id, PATIENCE).await;

    assert_eq!(sync.status(), Status::Partial, "R8");
    for stage in &sync.stages {
        let is_down = stage.connection_id == stack.store;
        assert_eq!(stage.error_message.is_some(), is_down, "{stage:?}");
        if let Some(message) = &stage.error_message {
            assert!(
                message.starts_with("the system has not been well since"),
                "{message}"
            );
        }
    }
    assert_eq!(stack.sandbox.erp.ledger().created("product"), 1, "R8");
}

/// R33: a call that fails while the system answers others uses its attempts up, as ever: a probe does not vouch for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_always_breaks_a_system_is_given_up() {
    let mut stack = Stack::new().await;
    stack.put(product("SKU-1", 1_000)).await;
    let broken = Fault::Status {
        code: 500,
        retry_after: None,
        body: None,
    };
    stack
        .sandbox
        .store
        .faults()
        .on_path("/products/batch", broken, None);
    let mut config = patient(&stack);
    config.circuit.first_wait = Duration::from_millis(500);
    config.circuit.threshold = 1;
    stack.work_as(config);
    let config = SyncConfig::new(None, Some(0), Some(1)).unwrap();

    let id = stack.start_types(vec![EntityType::Products], config).await;
    stack.finish_within(id, PATIENCE).await;

    let conflicts: Vec<String> =
        sqlx::query_scalar("select conflict_type from sync_conflict where not is_resolved")
            .fetch_all(&stack.database.superuser)
            .await
            .unwrap();
    assert_eq!(conflicts, ["RetryExhausted"]);
}
