//! Addresses that lead into our own network (R72): the API stores none, and a worker that meets one, however it came there,
//! sends nothing, says so once, and comes to an end.

use lockstep_shared::network::Destinations;
use lockstep_shared::sync::Status;
use lockstep_tests::api::Api;
use lockstep_tests::stack::{Stack, eventually};
use serde_json::{Value, json};

/// Gives a connection another address, past the API's look at it.
async fn move_to(stack: &Stack, connection: lockstep_shared::id::ConnectionId, base_url: &str) {
    sqlx::query("update connection set base_url = $2 where connection_id = $1")
        .bind(connection.0)
        .bind(base_url)
        .execute(&stack.database.superuser)
        .await
        .unwrap();
}

fn seen(stack: &Stack) -> (usize, usize) {
    let store = stack.sandbox.store.faults().requests_seen();
    (store, stack.sandbox.erp.faults().requests_seen())
}

/// R72: nothing reaches an address that is not allowed. The sync ends, each connection says why it needs somebody, and who
/// has put its address right only has to check it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_leads_inside_is_not_called_and_needs_attention() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let api = Api::start(&stack);
    let erp = stack.sandbox.erp.base_url();
    // One by its scheme, the other by its host.
    move_to(
        &stack,
        stack.erp,
        &erp.replace("http://127.0.0.1", "https://localhost"),
    )
    .await;
    let before = seen(&stack);
    let mut strict = stack.worker_config();
    strict.http.destinations = Destinations::Public;
    let strict = stack.work_as(strict);

    let finished = stack.sync().await;

    assert_eq!(finished.status(), Status::Failed, "R72");
    assert_eq!(seen(&stack), before, "R72: nothing was sent");
    for (id, why) in [
        (
            stack.store,
            "WooCommerce can't be called: its address must begin with `https://`",
        ),
        (
            stack.erp,
            "Odoo can't be called: its address must not name this computer or a private network",
        ),
    ] {
        let path = format!("/api/v1/connections/{id}");
        let shown = api.client.get(&path).await.ok(200);
        assert_eq!(
            (&shown["status"], &shown["attention"]),
            (&json!("needs_attention"), &json!(why)),
            "R72"
        );
        assert_eq!(
            shown["circuit"]["state"], "closed",
            "nobody knows how it is: {shown}"
        );
        let conflicts = format!("/api/v1/conflicts?connectionId={id}");
        let conflicts = api.client.get(&conflicts).await.ok(200);
        let reasons: Vec<&Value> = conflicts["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|conflict| &conflict["reason"])
            .collect();
        assert_eq!(reasons, [why], "R72: {conflicts}");
    }

    strict.cancel();
    move_to(&stack, stack.erp, &erp).await;
    stack.work();
    for id in [stack.store, stack.erp] {
        let path = format!("/api/v1/connections/{id}");
        api.client
            .post(&format!("{path}/check"), &json!({}))
            .await
            .ok(202);
        eventually("the connection to be well", || async {
            (api.client.get(&path).await.ok(200)["status"] == "active").then_some(())
        })
        .await;
    }
    assert_ne!(seen(&stack), before);
    assert_eq!(stack.sync().await.status(), Status::Done);
}

/// R72: a notification for an address that is not allowed is not sent, and is not tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_that_leads_inside_is_not_sent() {
    let mut stack = Stack::new().await;
    let api = Api::start(&stack);
    let store = stack.sandbox.store.base_url();
    let url = store.replace("http://", "https://");
    let endpoint = json!({ "url": url, "events": ["sync.failed"] });
    let made = api
        .client
        .post("/api/v1/notification-endpoints", &endpoint)
        .await
        .ok(201);
    let log = format!(
        "/api/v1/notification-endpoints/{}/notifications",
        made["endpointId"].as_str().unwrap()
    );
    let before = seen(&stack);
    let mut strict = stack.worker_config();
    strict.http.destinations = Destinations::Public;
    stack.work_as(strict);

    stack.sync().await;

    let told = eventually("the attempt", || async {
        let log = api.client.get(&log).await.ok(200);
        (log["items"][0]["status"] == "failed").then(|| log["items"][0].clone())
    })
    .await;
    assert_eq!(told["attempts"], 1, "R72: {told}");
    assert_eq!(
        told["error"], "its address must not name this computer or a private network",
        "R72"
    );
    assert_eq!(seen(&stack), before, "R72: nothing was sent");
}
