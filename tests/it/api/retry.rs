//! What failed, tried again by itself (R55), and the history that says why something is not there (R56).

use lockstep_sandbox::fault::Fault;
use lockstep_tests::api::{Api, Client};
use lockstep_tests::stack::Stack;
use serde_json::{Value, json};

use super::{customer, id, organisation, product, watch};

/// Starts a sync of products alone with no delay between batches; returns its id.
async fn start(client: &Client) -> String {
    let request = json!({ "entityTypes": ["products"], "syncConfig": { "batchDelayMs": 0 } });
    let started = client.post("/api/v1/syncs", &request).await.ok(202);
    started["syncId"].as_str().unwrap().to_owned()
}

/// Has the store refuse products for good reason.
fn refuse_products(stack: &Stack) {
    let refused = Fault::Status {
        code: 400,
        retry_after: None,
        body: Some(
            json!({ "code": "rest_invalid", "message": "not today", "data": { "status": 400 } }).to_string(),
        ),
    };
    stack
        .sandbox
        .store
        .faults()
        .on_path("/products/batch", refused, None);
}

async fn state(client: &Client, record: &str, system: &str) -> String {
    let shown = client.get(record).await.ok(200);
    let connections = shown["connections"].as_array().unwrap();
    let mut states = connections
        .iter()
        .filter(|connection| connection["system"] == system)
        .map(|connection| connection["state"].as_str().unwrap().to_owned());
    states.next().unwrap_or_default()
}

/// R55: a retry is a sync of just what failed: it reads nothing, and writes nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_carries_what_failed_and_nothing_else() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let api = Api::start(&stack);
    let [one, two, new] = [id(), id(), id()].map(|id| format!("/api/v1/records/products/{id}"));
    for (path, sku) in [(&one, "SKU-1"), (&two, "SKU-2")] {
        api.client.put(path, &product(sku)).await.ok(201);
    }
    refuse_products(&stack);
    let first = start(&api.client).await;
    let retry = format!("/api/v1/syncs/{first}/retry");
    api.client
        .post(&retry, &json!({}))
        .await
        .problem(409, "sync-not-over");
    stack.work();
    let ended = watch(&api.client, &first).await.pop().unwrap();
    assert_ne!(ended["status"], "done", "{ended:#}");
    assert_eq!(
        state(&api.client, &one, "woocommerce").await,
        "failed",
        "{ended:#}"
    );
    stack.sandbox.store.faults().clear();
    api.client.put(&new, &product("SKU-3")).await.ok(201);

    let accepted = api.client.post(&retry, &json!({})).await;
    let location = accepted.header("location").to_owned();
    let second = accepted.ok(202)["syncId"].as_str().unwrap().to_owned();
    let retried = watch(&api.client, &second).await.pop().unwrap();

    assert_eq!(location, format!("/api/v1/syncs/{second}"), "R55");
    assert_eq!(retried["status"], "done", "R55: {:#?}", stack.troubles().await);
    let stages: Vec<_> = retried["progress"]["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| {
            (
                &stage["direction"],
                &stage["system"],
                &stage["entityType"],
                &stage["total"],
            )
        })
        .collect();
    let only = (
        &json!("push"),
        &json!("woocommerce"),
        &json!("products"),
        &json!(2),
    );
    assert_eq!(stages, [only], "R55");
    assert_eq!(stack.sandbox.store.ledger().created("product"), 2, "R55");
    for (record, expected) in [(&one, "synced"), (&two, "synced"), (&new, "pending")] {
        assert_eq!(state(&api.client, record, "woocommerce").await, expected, "R55");
    }
    api.client
        .post(&retry, &json!({}))
        .await
        .problem(409, "nothing-to-retry");
    let other = api.client_of(organisation(&stack, lockstep_shared::id::OrgId::random()).await);
    other.post(&retry, &json!({})).await.problem(404, "not-found");
}

/// The whole history, a page of two events at a time.
async fn history(client: &Client, record: &str) -> (Value, Vec<Value>) {
    let path = format!("/api/v1/history/{record}?limit=2");
    let mut page = client.get(&path).await.ok(200);
    let standing = page["connections"].clone();
    let mut events = page["items"].as_array().unwrap().clone();
    while let Some(cursor) = page["nextCursor"].as_str() {
        page = client.get(&format!("{path}&cursor={cursor}")).await.ok(200);
        events.extend(page["items"].as_array().unwrap().iter().cloned());
    }
    (standing, events)
}

fn answer_of<'a>(standing: &'a Value, system: &str) -> &'a Value {
    let standing = standing.as_array().unwrap();
    standing.iter().find(|one| one["system"] == system).unwrap()
}

/// R56, R47: a record's history tells all that happened to it in order, and why it is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_of_a_record_says_why_it_is_not_there() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let api = Api::start(&stack);
    // It begins like the address of another list.
    let record = format!("c{}", &id()[1..]);
    let path = format!("/api/v1/records/products/{record}");
    api.client.put(&path, &product("SKU-1")).await.ok(201);
    let (before, _) = history(&api.client, &record).await;
    refuse_products(&stack);
    stack.work();
    watch(&api.client, &start(&api.client).await).await;
    let (refused, events) = history(&api.client, &record).await;
    stack.sandbox.store.faults().clear();
    watch(&api.client, &start(&api.client).await).await;
    let (after, all) = history(&api.client, &record).await;

    let said = |standing: &Value, system| answer_of(standing, system)["answer"].as_str().unwrap().to_owned();
    assert!(
        said(&before, "woocommerce").contains("the next sync"),
        "R56: {before:#}"
    );
    assert!(
        said(&refused, "woocommerce").contains("not today"),
        "R56: {refused:#}"
    );
    assert_eq!(answer_of(&refused, "woocommerce")["inStep"], false, "R56");
    for system in ["woocommerce", "odoo"] {
        assert_eq!(answer_of(&after, system)["inStep"], true, "R56: {after:#}");
        assert!(said(&after, system).starts_with("It is there as `"), "R56");
    }
    let kinds = |events: &[Value]| -> Vec<String> {
        events
            .iter()
            .map(|event| event["kind"].as_str().unwrap().to_owned())
            .collect()
    };
    for kind in ["created", "asked", "sent", "rejected", "conflict_opened"] {
        assert!(
            kinds(&events).contains(&kind.to_owned()),
            "R56: {kind}: {events:#?}"
        );
    }
    for kind in ["applied", "synced", "conflict_closed"] {
        assert!(kinds(&all).contains(&kind.to_owned()), "R56: {kind}: {all:#?}");
    }
    let times: Vec<_> = all
        .iter()
        .map(|event| {
            event["at"]
                .as_str()
                .unwrap()
                .parse::<chrono::DateTime<chrono::Utc>>()
                .unwrap()
        })
        .collect();
    assert!(times.is_sorted(), "R56: {times:?}");
    assert_eq!(
        all.iter().find(|event| event["kind"] == "asked").unwrap()["actor"],
        "ada",
        "R56"
    );
    let other = api.client_of(organisation(&stack, lockstep_shared::id::OrgId::random()).await);
    other
        .get(&format!("/api/v1/history/{record}"))
        .await
        .problem(404, "not-found");
    // The addresses of records are still those of records.
    let person = format!("/api/v1/records/customers/{}", id());
    api.client
        .put(&person, &customer("ada@example.com"))
        .await
        .ok(201);
    api.client.get(&person).await.ok(200);
}
