//! Checks of connections through the API: asked for, watched, and read in words.

use lockstep_shared::id::OrgId;
use lockstep_tests::api::{Answer, Api, Client};
use lockstep_tests::stack::{Stack, eventually};
use reqwest::Method;
use serde_json::{Value, json};

use super::{id, organisation, rows};

async fn ask(client: &Client, connection: impl std::fmt::Display) -> Answer {
    let path = format!("/api/v1/connections/{connection}/check");
    client.send(client.request(Method::POST, &path)).await
}

/// Gets a connection until its check is over.
async fn watch(client: &Client, address: &str) -> Value {
    eventually("the check to end", || async {
        let shown = client.get(address).await.ok(200);
        (shown["check"]["status"] == "done").then_some(shown)
    })
    .await
}

/// R41, R49: asking is a row and a bell; a worker looks, and the connection shows what it found, in words.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_is_asked_for_and_shows_what_is_wrong() {
    let mut stack = Stack::new().await;
    let api = Api::start(&stack);
    let store = &stack.sandbox.store;
    store.set_setting("general", "woocommerce_price_num_decimals", "0");

    let answer = ask(&api.client, stack.store).await;

    let address = format!("/api/v1/connections/{}", stack.store);
    assert_eq!(answer.header("location"), address);
    let asked = answer.ok(202);
    assert_eq!(asked["check"]["status"], "queued", "R49");
    assert_eq!(asked["check"]["findings"], json!([]));
    assert_eq!(store.faults().requests_seen(), 0, "R41");
    stack.work();
    let shown = watch(&api.client, &address).await;
    assert_eq!(
        (&shown["status"], &shown["check"]["version"]),
        (&json!("active"), &json!("11.0.1"))
    );
    assert!(shown["check"]["checkedAt"].is_string() && shown["check"]["error"].is_null());
    assert_eq!(
        shown["check"]["findings"][0],
        json!({
            "severity": "blocks",
            "code": "price_decimals_too_few",
            "subject": "the setting `Number of decimals`",
            "problem": "the store rounds every amount to 0 digits, and its currency has 2: totals come out wrong",
            "advice": "set it to 2 under WooCommerce, Settings, General",
            "entityTypes": ["products", "orders", "payments"],
            "onlyWriting": false,
        }),
        "R49"
    );
    let listed = api.client.get("/api/v1/connections").await.ok(200);
    let listed = listed["items"].as_array().unwrap();
    assert!(listed.contains(&shown), "R49");
    let trail: Vec<(String, String)> = sqlx::query_as(
        "select action, actor from sync_activity_log where action like 'connection.check%' order by created_at",
    )
    .fetch_all(&stack.database.superuser)
    .await
    .unwrap();
    let line = |action: &str, actor: &str| (action.to_owned(), actor.to_owned());
    assert_eq!(
        trail,
        [
            line("connection.check_requested", "ada"),
            line("connection.checked", "worker")
        ],
        "R71"
    );
}

/// R43: another organisation's connection is not there, to be checked or to be seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_organisations_connection_can_t_be_checked() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let stranger = api.client_of(organisation(&stack, OrgId::random()).await);
    let before = rows(&stack.database).await;

    for connection in [stack.store.to_string(), id()] {
        ask(&stranger, connection).await.problem(404, "not-found");
    }

    assert_eq!(rows(&stack.database).await, before, "R43");
}
