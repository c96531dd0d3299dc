//! Requests that are sent again (R46).

use futures::future::join_all;
use lockstep_tests::api::{Answer, Api, Client};
use lockstep_tests::stack::Stack;
use reqwest::Method;
use serde_json::{Value, json};

use super::{id, organisation, product, rows, store};

async fn post(client: &Client, path: &str, key: &str, body: &Value) -> Answer {
    let request = client.request(Method::POST, path).header("idempotency-key", key);
    client.send(request.json(body)).await
}

async fn count(stack: &Stack, table: &str) -> usize {
    rows(&stack.database).await[&format!("public.{table}")].len()
}

/// R46: the same key and body make one thing and get one answer, the address of it included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_again_gets_the_same_answer_and_makes_nothing() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let products = json!({ "records": [{ "recordId": id(), "content": product("SKU-1") }] });

    for (path, body, status, table) in [
        ("/api/v1/syncs", json!({}), 202, "sync_orchestration"),
        ("/api/v1/connections", store(&stack), 201, "connection"),
        ("/api/v1/records/products", products, 200, "record"),
    ] {
        let first = post(&api.client, path, path, &body).await;
        let made = count(&stack, table).await;
        let second = post(&api.client, path, path, &body).await;

        assert_eq!(first.header("idempotency-replayed"), "", "R46");
        assert_eq!(
            second.header("idempotency-replayed"),
            "true",
            "R46: {}",
            second.text
        );
        for header in ["location", "content-type"] {
            assert_eq!(first.header(header), second.header(header), "R46: {path}");
        }
        assert_eq!(first.text, second.text, "R46: {path}");
        first.ok(status);
        second.ok(status);
        assert_eq!(count(&stack, table).await, made, "R46: {path}");
    }
}

/// R46: a key belongs to its request; another body or address under it is refused, and makes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_with_another_request_is_refused() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    post(&api.client, "/api/v1/syncs", "k", &json!({})).await.ok(202);
    let before = rows(&stack.database).await;

    let body = json!({ "systems": ["odoo"] });
    let other_body = post(&api.client, "/api/v1/syncs", "k", &body).await;
    let other_address = post(&api.client, "/api/v1/connections", "k", &store(&stack)).await;

    for answer in [other_body, other_address] {
        let problem = answer.problem(422, "idempotency-key-reused");
        assert_eq!(problem["errors"][0]["field"], "Idempotency-Key", "R45, R46");
    }
    assert_eq!(rows(&stack.database).await, before, "R46");
    let other = api.client_of(organisation(&stack, lockstep_shared::id::OrgId::random()).await);
    post(&other, "/api/v1/connections", "k", &store(&stack))
        .await
        .ok(201);
}

/// R46: of many equal requests at once one is carried out, and all get its answer, or are told that it is under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_equal_requests_at_once_one_is_carried_out() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);

    let body = json!({});
    let answers = join_all((0..6).map(|_| post(&api.client, "/api/v1/syncs", "at-once", &body))).await;

    assert_eq!(count(&stack, "sync_orchestration").await, 1, "R46");
    let again = post(&api.client, "/api/v1/syncs", "at-once", &json!({})).await;
    assert!(answers.iter().any(|answer| answer.status == 202), "R46");
    for answer in answers {
        if answer.status == 202 {
            assert_eq!(answer.text, again.text, "R46");
        } else {
            answer.problem(409, "request-under-way");
        }
    }
}

/// R46: what was refused leaves its key free, and a key is forgotten after a day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_free_after_a_refusal_and_after_a_day() {
    let mut stack = Stack::new().await;
    let api = Api::start(&stack);
    post(&api.client, "/api/v1/syncs", "k", &json!({ "systems": [] }))
        .await
        .problem(422, "invalid");
    let first = post(&api.client, "/api/v1/syncs", "k", &json!({})).await.ok(202);

    stack.shift_clock("25 hours").await;
    let second = post(&api.client, "/api/v1/syncs", "k", &json!({})).await.ok(202);

    assert_ne!(first, second, "R46");
    stack.shift_clock("25 hours").await;
    stack.work();
    lockstep_tests::stack::eventually("the sweep to forget it", || async {
        (count(&stack, "idempotent_request").await == 0).then_some(())
    })
    .await;
}

/// R45, R46: a key that can't be one is refused by the header's name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_none_is_refused() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);

    for key in ["", "a b", &"x".repeat(256)] {
        let problem = post(&api.client, "/api/v1/syncs", key, &json!({}))
            .await
            .problem(400, "malformed-request");
        assert_eq!(problem["errors"][0]["field"], "Idempotency-Key", "R45: {key}");
    }
    assert_eq!(count(&stack, "sync_orchestration").await, 0, "R46");
}
