//! Connections whose credentials change, that are taken away, and that come back (R49, R57); keys that change (R70).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lockstep_shared::connection;
use lockstep_shared::rotation::{self, Rotated};
use lockstep_shared::secret::SealingKey;
use lockstep_tests::api::{Answer, Api, Client};
use lockstep_tests::stack::{Stack, eventually};
use reqwest::Method;
use serde_json::{Value, json};

use super::{id, product, rows, store, watch};

/// Starts a sync of products alone with no delay between batches; returns its id.
async fn start(client: &Client) -> String {
    let request = json!({ "entityTypes": ["products"], "syncConfig": { "batchDelayMs": 0 } });
    let started = client.post("/api/v1/syncs", &request).await.ok(202);
    started["syncId"].as_str().unwrap().to_owned()
}

async fn delete(client: &Client, path: &str) -> Answer {
    client.send(client.request(Method::DELETE, path)).await
}

/// Waits until the check that was asked for is over.
async fn checked(client: &Client, path: &str) -> Value {
    eventually("the check to end", || async {
        let shown = client.get(path).await.ok(200);
        (shown["check"]["status"] == "done").then_some(shown)
    })
    .await
}

/// R49: credentials are replaced; a connection that needed attention is usable once they are found right, not before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_credentials_are_checked_and_end_the_need_for_attention() {
    let mut stack = Stack::new().await;
    let api = Api::start(&stack);
    stack.work();
    let path = format!("/api/v1/connections/{}", stack.store);
    let credentials = format!("{path}/credentials");
    let wrong = json!({ "system": "woocommerce", "consumerKey": "ck_wrong", "consumerSecret": "cs_wrong" });
    let mut right = store(&stack)["credentials"].clone();
    right["system"] = json!("woocommerce");

    api.client.put(&credentials, &wrong).await.ok(202);
    let refused = checked(&api.client, &path).await;
    let accepted = api.client.put(&credentials, &right).await;
    assert_eq!(accepted.header("location"), path, "R49");
    let meanwhile = accepted.ok(202);
    let well = checked(&api.client, &path).await;

    assert_eq!(refused["status"], "needs_attention", "R49: {refused:#}");
    assert_eq!(
        meanwhile["status"], "needs_attention",
        "R49: not before the check"
    );
    assert_eq!(well["status"], "active", "R49: {well:#}");
    let all = format!("{:?}", rows(&stack.database).await);
    assert!(!all.contains("ck_wrong") && !all.contains("cs_wrong"), "R70");
}

/// R45, R49: credentials of another system, or that can't be any, are refused by name and change nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_can_t_be_right_are_refused() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let path = format!("/api/v1/connections/{}/credentials", stack.store);
    let before = rows(&stack.database).await;

    for (body, field) in [
        (
            json!({ "system": "odoo", "database": "d", "login": "l", "apiKey": "k" }),
            "system",
        ),
        (json!({ "consumerKey": "ck", "consumerSecret": "cs" }), "system"),
        (
            json!({ "system": "woocommerce", "consumerKey": " ", "consumerSecret": "cs" }),
            "consumerKey",
        ),
        (
            json!({ "system": "woocommerce", "consumerKey": "ck", "consumerSecret": "cs", "x": 1 }),
            "x",
        ),
    ] {
        let problem = api.client.put(&path, &body).await.problem(422, "invalid");
        assert_eq!(problem["errors"][0]["field"], field, "R45: {problem}");
    }

    assert_eq!(rows(&stack.database).await, before, "R49");
}

/// R49: what was refused to old credentials does not count against new ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_old_credentials_does_not_count_against_new_ones() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let mut tx = stack.begin_as_worker().await;
    let old = connection::find(&mut tx, stack.org, stack.store)
        .await
        .unwrap()
        .unwrap();
    drop(tx);
    let mut right = store(&stack)["credentials"].clone();
    right["system"] = json!("woocommerce");
    let path = format!("/api/v1/connections/{}", stack.store);
    api.client
        .put(&format!("{path}/credentials"), &right)
        .await
        .ok(202);

    let mut tx = stack.begin_as_worker().await;
    let refused = (stack.store, old.credentials_set_at);
    let is_marked = connection::need_attention(&mut tx, stack.org, refused, "refused")
        .await
        .unwrap();
    tx.commit().await.unwrap();

    assert!(!is_marked, "R49");
    assert_eq!(api.client.get(&path).await.ok(200)["status"], "active", "R49");
}

/// R57: a connection that a sync works with, or with requests in doubt, is not deleted, and the refusal says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_needed_is_not_deleted() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let api = Api::start(&stack);
    let path = format!("/api/v1/connections/{}", stack.store);
    api.client
        .put(&format!("/api/v1/records/products/{}", id()), &product("SKU-1"))
        .await
        .ok(201);

    let sync = start(&api.client).await;
    let in_use = delete(&api.client, &path).await.problem(409, "connection-in-use");
    stack.work();
    watch(&api.client, &sync).await;
    // As a worker leaves it that dies for good between its request and the answer.
    sqlx::query(
        "update sync_idempotency_log set state = 'in_doubt', resolved_at = null
          where effect_id = (select effect_id from sync_idempotency_log where connection_id = $1 limit 1)",
    )
    .bind(stack.store.0)
    .execute(&stack.database.superuser)
    .await
    .unwrap();
    let in_doubt = delete(&api.client, &path).await.problem(409, "effects-in-doubt");

    assert_eq!(in_use["runningSyncs"], json!([sync]), "R57");
    assert!(
        in_doubt["detail"].as_str().unwrap().starts_with("1 requests"),
        "R57: {in_doubt}"
    );
    api.client.get(&path).await.ok(200);
}

/// R57, R13: a deleted connection is gone with its credentials; the same store connected again gets nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_connected_again_is_known_and_gets_nothing_twice() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let api = Api::start(&stack);
    stack.work();
    let [one, two] = [id(), id()].map(|id| format!("/api/v1/records/products/{id}"));
    api.client.put(&one, &product("SKU-1")).await.ok(201);
    watch(&api.client, &start(&api.client).await).await;
    let path = format!("/api/v1/connections/{}", stack.store);

    let deleted = delete(&api.client, &path).await;
    assert_eq!((deleted.status, deleted.text.as_str()), (204, ""), "R57");
    api.client.get(&path).await.problem(404, "not-found");
    delete(&api.client, &path).await.problem(404, "not-found");
    let sealed: Vec<u8> =
        sqlx::query_scalar("select sealed_credentials from connection where connection_id = $1")
            .bind(stack.store.0)
            .fetch_one(&stack.database.superuser)
            .await
            .unwrap();
    assert_eq!(sealed, Vec::<u8>::new(), "R57, R70");
    // Neither what changed meanwhile nor what is new is missed.
    api.client.put(&one, &product("SKU-1B")).await.ok(200);
    api.client.put(&two, &product("SKU-2")).await.ok(201);
    let shown = api.client.get(&one).await.ok(200);
    assert_eq!(
        shown["connections"].as_array().unwrap().len(),
        1,
        "R57: {shown:#}"
    );
    let again = api
        .client
        .post("/api/v1/connections", &store(&stack))
        .await
        .ok(201);
    let end = watch(&api.client, &start(&api.client).await).await.pop().unwrap();

    assert_eq!(again["connectionId"], json!(stack.store), "R57");
    assert_eq!(end["status"], "done", "R57: {:#?}", stack.troubles().await);
    assert_eq!(stack.sandbox.store.ledger().created("product"), 2, "R13, R57");
    assert!(stack.sandbox.store.ledger().duplicates().is_empty(), "R13, R57");
    for record in [&one, &two] {
        let shown = api.client.get(record).await.ok(200);
        for connection in shown["connections"].as_array().unwrap() {
            assert_eq!(connection["state"], "synced", "R57: {shown:#}");
        }
    }
}

/// R49: of two people who change settings at once, the second one is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_changed_since_are_not_overwritten_unseen() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);

    for part in ["settings", "ownership"] {
        let path = format!("/api/v1/connections/{}/{part}", stack.store);
        let seen = api.client.get(&path).await;
        let (tag, body) = (seen.header("etag").to_owned(), seen.ok(200));
        let mut changed = body.clone();
        match part {
            "settings" => changed["notifiesPeople"] = json!(true),
            _ => changed["customers"] = json!({ "all": "odoo" }),
        }
        let put = async |body: &Value| {
            let request = api.client.request(Method::PUT, &path).header("if-match", &tag);
            api.client.send(request.json(body)).await
        };

        let first = put(&changed).await;
        assert_eq!(first.status, 200, "{}", first.text);
        put(&body).await.problem(412, "precondition-failed");
        api.client.put(&path, &body).await.ok(200);
        put(&body).await.ok(200);
    }
}

fn keys(bytes: &[u8]) -> String {
    let keys: Vec<String> = bytes.iter().map(|byte| STANDARD.encode([*byte; 32])).collect();
    keys.join(",")
}

/// R70: what an older key sealed is sealed anew under the first one, beside a running server; a second run does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_changed_beside_a_running_server() {
    let mut stack = Stack::new().await;
    let both = SealingKey::parse(&keys(&[9, 7]).into()).unwrap();
    let mut config = Api::config(&stack);
    config.sealing_key = both.clone();
    let api = Api::start_as(stack.org, config);
    let keyed = |api: &Api| {
        let request = api.client.request(Method::POST, "/api/v1/syncs");
        request.header("idempotency-key", "k").json(&json!({}))
    };
    // Sealed by a server that has the old key only.
    let old = Api::start(&stack);
    let answer = old.client.send(keyed(&old)).await.ok(202);

    let rotated = rotation::rotate(&stack.database.api, &both, rand::random)
        .await
        .unwrap();
    let again = rotation::rotate(&stack.database.api, &both, rand::random)
        .await
        .unwrap();

    assert_eq!(
        rotated,
        Rotated { sealed: 3, left: 0 },
        "R70: two connections and an answer"
    );
    assert_eq!(again, Rotated::default(), "R70");
    assert_eq!(api.client.send(keyed(&api)).await.ok(202), answer, "R46, R70");
    let mut worker = stack.worker_config();
    worker.sealing_key = SealingKey::parse(&keys(&[9]).into()).unwrap();
    stack.work_as(worker);
    let path = format!("/api/v1/connections/{}", stack.store);
    api.client
        .post(&format!("{path}/check"), &json!({}))
        .await
        .ok(202);
    let shown = checked(&api.client, &path).await;
    assert!(
        shown["check"]["version"].is_string(),
        "R70: the new key alone opens it: {shown:#}"
    );
}

/// R70: what no key opens is told, and left as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_key_opens_is_left_as_it_is() {
    let stack = Stack::new().await;
    let before = rows(&stack.database).await;
    let stranger = SealingKey::parse(&keys(&[9, 8]).into()).unwrap();

    let rotated = rotation::rotate(&stack.database.api, &stranger, rand::random)
        .await
        .unwrap();

    assert_eq!(rotated, Rotated { sealed: 0, left: 2 }, "R70");
    assert_eq!(rows(&stack.database).await, before, "R70");
}
