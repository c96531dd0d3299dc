//! The audit trail: who did what, from where, and how it ended (R71), to be read by the API (R48).

use lockstep_shared::db::{self, Isolation};
use lockstep_shared::id::OrgId;
use lockstep_shared::role::Role;
use lockstep_tests::api::{Api, Client};
use lockstep_tests::stack::Stack;
use reqwest::Method;
use serde_json::{Value, json};

use super::{id, organisation, product, start, store, watch};

async fn items(client: &Client, query: &str) -> Vec<Value> {
    let page = client.get(&format!("/api/v1/activity?{query}")).await.ok(200);
    page["items"].as_array().unwrap().clone()
}

fn texts<'a>(items: &'a [Value], field: &str) -> Vec<&'a str> {
    items.iter().map(|item| item[field].as_str().unwrap()).collect()
}

/// R71: what was accepted stands there with its actor, address and request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_stands_there_with_who_and_from_where() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let request = api
        .client
        .request(Method::POST, "/api/v1/connections")
        .header("x-request-id", "connect-7")
        .json(&store(&stack));

    let made = api.client.send(request).await.ok(201);

    let lines = items(&api.client, "action=connection.created").await;
    assert_eq!(lines.len(), 1, "R71: {lines:?}");
    let line = &lines[0];
    assert_eq!(
        (
            &line["actor"],
            &line["outcome"],
            &line["requestId"],
            &line["sourceAddress"]
        ),
        (
            &json!("ada"),
            &json!("done"),
            &json!("connect-7"),
            &json!("127.0.0.1")
        ),
        "R71: {line}"
    );
    assert_eq!(
        line["details"]["connectionId"], made["connectionId"],
        "R71: {line}"
    );
}

/// R71: every command that is refused stands there, too: for its role, for what it says, for what is there already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_stands_there_with_its_reason() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let viewer = api.client_as(stack.org, Role::Viewer);
    api.client
        .post("/api/v1/connections", &store(&stack))
        .await
        .ok(201);
    let secret = json!({ "system": "woocommerce", "name": "", "baseUrl": "nonsense-hunter2",
        "credentials": { "consumerKey": "ck_hunter2", "consumerSecret": "" } });

    viewer
        .post("/api/v1/connections", &store(&stack))
        .await
        .problem(403, "forbidden");
    api.client
        .post("/api/v1/connections", &store(&stack))
        .await
        .problem(409, "name-taken");
    api.client
        .post("/api/v1/connections", &secret)
        .await
        .problem(422, "invalid");
    let nowhere = format!("/api/v1/connections/{}/check", id());
    api.client
        .post(&nowhere, &json!({}))
        .await
        .problem(404, "not-found");
    viewer.get("/api/v1/api-keys").await.problem(403, "forbidden");

    let lines = items(&api.client, "outcome=refused").await;
    let told: Vec<(&str, u64, &str)> = lines
        .iter()
        .map(|line| {
            (
                line["action"].as_str().unwrap(),
                line["details"]["status"].as_u64().unwrap(),
                line["details"]["problem"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("request.refused", 403, "forbidden"),
            ("connection.check_requested", 404, "not-found"),
            ("connection.created", 422, "invalid"),
            ("connection.created", 409, "name-taken"),
            ("connection.created", 403, "forbidden"),
        ],
        "R71"
    );
    assert_eq!(lines[1]["details"]["path"], nowhere, "R71");
    for line in &lines {
        assert_eq!(line["sourceAddress"], "127.0.0.1", "R71: {line}");
        assert!(line["requestId"].is_string(), "R71: {line}");
        assert!(!line.to_string().contains("hunter2"), "R70: {line}");
    }
}

/// R71: what only reads is not written down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_leaves_no_line() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);

    api.client.get("/api/v1/connections").await.ok(200);
    api.client.get("/api/v1/organisation").await.ok(200);
    api.client
        .get(&format!("/api/v1/syncs/{}", id()))
        .await
        .problem(404, "not-found");

    assert_eq!(items(&api.client, "").await, Vec::<Value>::new(), "R71");
}

/// R48: the trail is filtered by action, actor, outcome, sync, request and time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trail_is_filtered() {
    let mut stack = Stack::new().await;
    let api = Api::start(&stack);
    api.client
        .put(&format!("/api/v1/records/products/{}", id()), &product("SKU-1"))
        .await
        .ok(201);
    stack.work();
    let sync = start(&api.client).await;
    watch(&api.client, &sync).await;

    let of_sync = items(&api.client, &format!("syncId={sync}&limit=200")).await;
    assert!(of_sync.len() > 2, "R48: {of_sync:?}");
    assert!(of_sync.iter().all(|line| line["syncId"] == sync), "R48");
    let by_worker = items(&api.client, "actor=worker&limit=200").await;
    assert!(
        texts(&by_worker, "actor").iter().all(|actor| *actor == "worker"),
        "R48"
    );
    assert!(
        by_worker
            .iter()
            .all(|line| line["sourceAddress"].is_null() && line["requestId"].is_null()),
        "R71: a worker was asked by nobody"
    );
    // The worker that takes a command up writes down whose it was.
    let mut by_us = items(&api.client, "actor=ada").await;
    assert_eq!(by_us.remove(0)["action"], "sync.started", "R48");
    assert_eq!(texts(&by_us, "action"), ["sync.requested", "record.put"], "R48");
    let request = by_us[0]["requestId"].as_str().unwrap();
    assert_eq!(
        items(&api.client, &format!("requestId={request}")).await,
        by_us[..1],
        "R48"
    );
    let moment = |line: &Value| line["createdAt"].as_str().unwrap().replace('+', "%2B");
    let (put, requested) = (moment(&by_us[1]), moment(&by_us[0]));
    let between = items(&api.client, &format!("from={put}&to={requested}")).await;
    assert_eq!(texts(&between, "action"), ["record.put"], "R48");
    assert_eq!(items(&api.client, "action=nothing.such").await.len(), 0, "R48");
    assert_eq!(items(&api.client, "outcome=failed").await.len(), 0, "R48");
    api.client
        .get("/api/v1/activity?outcome=lost")
        .await
        .problem(400, "malformed-request");
    api.client
        .get("/api/v1/activity?user=ada")
        .await
        .problem(400, "malformed-request");
}

/// R47, R48: pages follow each other without a gap, newest first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trail_is_read_a_page_at_a_time() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    for number in 0..7 {
        let sku = format!("SKU-{number}");
        api.client
            .put(&format!("/api/v1/records/products/{}", id()), &product(&sku))
            .await
            .ok(201);
    }
    let all = items(&api.client, "").await;

    let mut seen: Vec<Value> = Vec::new();
    let mut path = "/api/v1/activity?limit=3".to_owned();
    loop {
        let page = api.client.get(&path).await.ok(200);
        seen.extend(page["items"].as_array().unwrap().iter().cloned());
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/api/v1/activity?limit=3&cursor={cursor}");
    }

    assert_eq!((seen.len(), &seen), (7, &all), "R47");
    let mut times = texts(&seen, "createdAt");
    times.reverse();
    assert!(times.is_sorted(), "R47: {times:?}");
}

/// R43: the trail is one's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reads_another_organisations_trail() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    api.client
        .post("/api/v1/connections", &store(&stack))
        .await
        .ok(201);
    let stranger = api.client_of(organisation(&stack, OrgId::random()).await);

    assert_eq!(items(&stranger, "").await, Vec::<Value>::new(), "R43");
}

/// R71: no role of ours can change or remove a line, nor say that it came from elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_can_not_be_changed_afterwards() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    api.client
        .post("/api/v1/connections", &store(&stack))
        .await
        .ok(201);
    let before = items(&api.client, "").await;

    for pool in [&stack.database.api, &stack.database.worker] {
        for statement in [
            "update sync_activity_log set source_address = '192.0.2.1'",
            "update sync_activity_log set outcome = 'failed'",
            "delete from sync_activity_log",
            "truncate sync_activity_log",
        ] {
            let mut tx = db::begin(pool, stack.org, Isolation::ReadCommitted)
                .await
                .unwrap();
            let error = sqlx::query(statement)
                .execute(&mut *tx)
                .await
                .unwrap_err()
                .to_string();
            assert!(error.contains("permission denied"), "R71: {error}");
        }
    }

    assert_eq!(items(&api.client, "").await, before, "R71");
}
