//! Starting syncs and watching them.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use lockstep_sandbox::ledger::{Ledger, Operation};
use lockstep_shared::id::OrgId;
use lockstep_tests::api::Api;
use lockstep_tests::stack::Stack;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{customer, erp, id, organisation, product, rows, start, store, watch};

/// The numbers of a sync's progress that must never shrink, by what they are of.
fn numbers(sync: &Value) -> BTreeMap<String, i64> {
    let progress = &sync["progress"];
    let mut numbers = BTreeMap::new();
    for name in ["total", "settled", "percent"] {
        numbers.insert(name.to_owned(), progress[name].as_i64().unwrap());
    }
    for stage in progress["stages"].as_array().unwrap() {
        let what = format!(
            "{} {} {}",
            stage["direction"], stage["system"], stage["entityType"]
        );
        numbers.insert(format!("{what} total"), stage["total"].as_i64().unwrap());
        for (name, count) in stage["counts"].as_object().unwrap() {
            numbers.insert(format!("{what} {name}"), count.as_i64().unwrap());
        }
    }
    numbers
}

/// Finds what a stage says it did.
fn count(sync: &Value, (direction, system, entity): (&str, &str, &str), name: &str) -> usize {
    let stages = sync["progress"]["stages"].as_array().unwrap();
    let is_it = |stage: &&Value| {
        (&stage["direction"], &stage["system"], &stage["entityType"])
            == (&json!(direction), &json!(system), &json!(entity))
    };
    let stage = stages
        .iter()
        .find(is_it)
        .unwrap_or_else(|| panic!("no {direction} {system} {entity}: {sync:#}"));
    usize::try_from(stage["counts"][name].as_u64().unwrap()).unwrap()
}

/// Counts the things of a type that were written to and were there before: making one may take several writes.
fn changed_only(ledger: &Ledger, entity: &str) -> usize {
    let effects = ledger.effects();
    let things = |operation: Operation| -> BTreeSet<String> {
        let felt = effects
            .iter()
            .filter(|effect| effect.entity == entity && effect.operation == operation);
        felt.map(|effect| effect.thing.clone()).collect()
    };
    things(Operation::Updated)
        .difference(&things(Operation::Created))
        .count()
}

/// R7, R50: nothing but the API is needed to bring two systems into step and to watch it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_the_api_alone_records_reach_both_systems_and_progress_says_so() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    stack
        .sandbox
        .store
        .insert_product(json!({ "name": "Of the shop", "sku": "SHOP-1", "regular_price": "5.00" }));
    let api = Api::start(&stack);
    let client = api.client_of(organisation(&stack, OrgId::random()).await);
    let one = format!("/api/v1/records/customers/{}", id());
    assert_eq!(
        client.put(&one, &customer("ada@example.com")).await.ok(201)["version"],
        1
    );
    let many: Vec<Value> = (0..9)
        .map(|n| json!({ "recordId": id(), "content": product(&format!("SKU-{n}")) }))
        .collect();
    client
        .post("/api/v1/records/products", &json!({ "records": many }))
        .await
        .ok(200);
    for connection in [store(&stack), erp(&stack)] {
        let made = client.post("/api/v1/connections", &connection).await;
        let location = made.header("location").to_owned();
        let made = made.ok(201);
        assert_eq!(
            location,
            format!("/api/v1/connections/{}", made["connectionId"].as_str().unwrap())
        );
        assert_eq!(client.get(&location).await.ok(200), made);
    }

    let request = json!({
        "systems": ["woocommerce", "odoo"],
        "entityTypes": ["customers", "products"],
        "syncConfig": { "batchSize": 2, "batchDelayMs": 30 },
    });
    let started = client.post("/api/v1/syncs", &request).await;
    let location = started.header("location").to_owned();
    let started = started.ok(202);
    let sync = started["syncId"].as_str().unwrap();
    assert_eq!(started, json!({ "syncId": sync, "status": "queued" }));
    assert_eq!(location, format!("/api/v1/syncs/{sync}"));
    stack.work();
    let seen = watch(&client, sync).await;

    let last = seen.last().unwrap();
    assert_eq!(last["status"], "done", "{last:#}");
    for pair in seen.windows(2) {
        let later = numbers(&pair[1]);
        for (name, before) in numbers(&pair[0]) {
            assert!(
                later[&name] >= before,
                "R7: {name} shrank from {before} to {}",
                later[&name]
            );
        }
    }
    let steps: BTreeSet<i64> = seen
        .iter()
        .map(|sync| sync["progress"]["settled"].as_i64().unwrap())
        .collect();
    assert!(steps.len() > 2, "R7: progress shows while it happens: {steps:?}");
    for (system, ledger) in [
        ("woocommerce", stack.sandbox.store.ledger()),
        ("odoo", stack.sandbox.erp.ledger()),
    ] {
        for (entities, entity) in [("customers", "customer"), ("products", "product")] {
            let push = ("push", system, entities);
            assert_eq!(
                count(last, push, "created"),
                ledger.created(entity),
                "R7: {system} {entities}: {last:#}"
            );
            assert_eq!(
                count(last, push, "updated"),
                changed_only(ledger, entity),
                "R7: {system} {entities}: {last:#}"
            );
        }
    }
    assert_eq!(
        count(last, ("pull", "woocommerce", "products"), "seen"),
        1,
        "R7: {last:#}"
    );
    assert_eq!(
        count(last, ("pull", "woocommerce", "products"), "created"),
        1,
        "R7: {last:#}"
    );
    assert_eq!(
        count(last, ("push", "odoo", "products"), "created"),
        10,
        "R7: nine of ours and the shop's"
    );
    assert_eq!(last["progress"]["percent"], 100, "R7");
    assert_eq!(last["progress"]["settled"], last["progress"]["total"], "R7");
    let listed = client.get("/api/v1/syncs").await.ok(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&listed["items"][0]["syncId"], &listed["items"][0]["status"]),
        (&json!(sync), &json!("done"))
    );
    let shown = client.get(&one).await.ok(200);
    let mut systems: Vec<&str> = Vec::new();
    for connection in shown["connections"].as_array().unwrap() {
        assert_eq!(connection["state"], "synced", "R50: {shown:#}");
        assert!(
            connection["externalId"].is_string() && connection["lastSyncedAt"].is_string(),
            "R50: {shown:#}"
        );
        systems.push(connection["system"].as_str().unwrap());
    }
    systems.sort_unstable();
    assert_eq!(systems, ["odoo", "woocommerce"], "R50");
}

/// R41: the sync, its command and the bell that wakes a worker are written by one transaction, and nothing else happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_only_writes_its_sync_its_command_and_its_bell_in_one_transaction() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);

    let sync: Uuid = start(&api.client).await.parse().unwrap();

    let (syncs, commands): (Vec<String>, Vec<String>) = sqlx::query_as(
        "select array(select xmin::text from sync_orchestration where sync_id = $1),
                array(select xmin::text from sync_command where sync_id = $1)",
    )
    .bind(sync)
    .fetch_one(&stack.database.superuser)
    .await
    .unwrap();
    let bells: Vec<(String, String)> = sqlx::query_as(
        "select job.xmin::text, command.kind from apalis.jobs job
           left join sync_command command
             on command.command_id::text = convert_from(job.job, 'UTF8')::jsonb ->> 'id'",
    )
    .fetch_all(&stack.database.superuser)
    .await
    .unwrap();
    assert_eq!(syncs.len(), 1);
    assert_eq!(commands, syncs, "R41");
    assert_eq!(bells, [(syncs[0].clone(), "start".to_owned())], "R41");
    let requests = (
        stack.sandbox.store.faults().requests_seen(),
        stack.sandbox.erp.faults().requests_seen(),
    );
    assert_eq!(requests, (0, 0), "R41: the API only enqueues");
}

/// R5: the limit of five holds however many start at the same instant, and a refused start leaves nothing behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_starts_at_once_five_are_accepted() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);

    let body = json!({});
    let answers = join_all((0..50).map(|_| api.client.post("/api/v1/syncs", &body))).await;

    let (accepted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 202);
    let accepted: BTreeSet<String> = accepted
        .iter()
        .map(|answer| answer.body["syncId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((accepted.len(), refused.len()), (5, 45), "R5");
    for answer in refused {
        let problem = answer.problem(409, "too-many-active-syncs");
        let running = problem["runningSyncs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_str().unwrap().to_owned());
        assert_eq!(running.collect::<BTreeSet<_>>(), accepted, "R5");
    }
    let rows = rows(&stack.database).await;
    for table in ["public.sync_orchestration", "public.sync_command", "apalis.jobs"] {
        assert_eq!(rows[table].len(), 5, "R5: {table}");
    }
}

/// R5: a sync that is over makes room for another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_is_over_makes_room_for_another() {
    let mut stack = Stack::new().await;
    let api = Api::start(&stack);
    let mut last = String::new();
    for _ in 0..5 {
        last = start(&api.client).await;
    }
    api.client
        .post("/api/v1/syncs", &json!({}))
        .await
        .problem(409, "too-many-active-syncs");

    stack.work();
    watch(&api.client, &last).await;

    api.client.post("/api/v1/syncs", &json!({})).await.ok(202);
}

/// R2, R4, R25: what the request leaves out is stored with its default, and shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_a_configuration_stores_the_defaults() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);

    let started = api
        .client
        .post("/api/v1/syncs", &json!({ "syncConfig": { "batchSize": 200 } }))
        .await
        .ok(202);
    let defaults = api.client.post("/api/v1/syncs", &json!({})).await.ok(202);

    let stored: Value = sqlx::query_scalar("select config from sync_orchestration where sync_id = $1::uuid")
        .bind(defaults["syncId"].as_str().unwrap())
        .fetch_one(&stack.database.superuser)
        .await
        .unwrap();
    assert_eq!(
        stored,
        json!({ "batch_size": 50, "batch_delay_ms": 2000, "max_retries": 3, "dry_run": false, "full_scan": false }),
        "R2, R4, R25"
    );
    let path = format!("/api/v1/syncs/{}", started["syncId"].as_str().unwrap());
    let shown = api.client.get(&path).await.ok(200);
    assert_eq!(
        shown["syncConfig"],
        json!({ "batchSize": 200, "batchDelayMs": 2000, "maxRetries": 3, "dryRun": false, "fullScan": false }),
        "R2, R4, R25"
    );
    assert_eq!(
        shown["systems"],
        json!(["woocommerce", "odoo"]),
        "R3: in this order"
    );
    assert_eq!(
        shown["entityTypes"],
        json!(["customers", "products", "orders", "inventory", "payments"]),
        "R3: in this order"
    );
}

/// The trace of the request that asked for a sync is kept with it, for the workers to go on with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_keeps_the_trace_that_it_belongs_to() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    for (given, kept) in [(trace, Some(trace)), ("hello", None)] {
        let request = api
            .client
            .request(reqwest::Method::POST, "/api/v1/syncs")
            .json(&json!({}));
        let started = api
            .client
            .send(request.header("traceparent", given))
            .await
            .ok(202);

        let stored: (Option<String>, Option<String>) = sqlx::query_as(
            "select s.traceparent, c.traceparent from sync_orchestration s join sync_command c using (org_id, sync_id)
              where s.sync_id = $1::uuid",
        )
        .bind(started["syncId"].as_str().unwrap())
        .fetch_one(&stack.database.superuser)
        .await
        .unwrap();
        let kept = kept.map(str::to_owned);
        assert_eq!(stored, (kept.clone(), kept));
    }
}

/// R52 (part): a sync may name connections, and then it touches no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_of_named_connections_touches_no_other() {
    let mut stack = Stack::new().await;
    stack.work();
    let api = Api::start(&stack);
    api.client
        .put(&format!("/api/v1/records/products/{}", id()), &product("SKU-1"))
        .await
        .ok(201);

    let request = json!({ "connectionIds": [stack.store], "syncConfig": { "batchDelayMs": 0 } });
    let started = api.client.post("/api/v1/syncs", &request).await.ok(202);
    let seen = watch(&api.client, started["syncId"].as_str().unwrap()).await;

    let last = seen.last().unwrap();
    assert_eq!(
        (&last["status"], &last["systems"]),
        (&json!("done"), &json!(["woocommerce"])),
        "R52: {last:#}"
    );
    assert_eq!(stack.sandbox.store.products().len(), 1, "R52");
    assert_eq!(stack.sandbox.erp.faults().requests_seen(), 0, "R52");
}
