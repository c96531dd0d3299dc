//! What the API says of itself, and what surrounds every answer.

use lockstep_shared::id::OrgId;
use lockstep_tests::api::Api;
use lockstep_tests::stack::Stack;
use reqwest::Method;
use uuid::Uuid;

/// R51 (the document only): what is committed for clients is what the server serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_committed_document_is_served() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);

    let served = api.stranger.get("/openapi.json").await;

    assert_eq!(
        (served.status, served.header("content-type")),
        (200, "application/json"),
        "R51"
    );
    assert!(
        served.text == include_str!("../../../api/openapi.json"),
        "R51: they differ"
    );
}

/// R82 (the two addresses only): a process lives without its database, and is ready with it only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_ready_only_while_its_database_answers() {
    let stack = Stack::new().await;
    let well = Api::start(&stack);
    let mut config = Api::config(&stack);
    config.database_url = "postgres://lockstep_api@127.0.0.1:1/gone".to_owned().into();
    let unwell = Api::start_as(stack.org, config);

    for (api, ready) in [(well, 200), (unwell, 503)] {
        assert_eq!(api.stranger.get("/livez").await.status, 200, "R82");
        assert_eq!(api.stranger.get("/readyz").await.status, ready, "R82");
    }
}

/// R45, R73 (messages only): a database out of reach is a problem that says when to try again, and nothing of the inside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_out_of_reach_is_a_problem_that_passes() {
    let stack = Stack::new().await;
    let mut config = Api::config(&stack);
    config.database_url = "postgres://lockstep_api:hunter2@127.0.0.1:1/gone"
        .to_owned()
        .into();
    let api = Api::start_as(OrgId::random(), config);

    let answer = api.client.get("/api/v1/syncs").await;

    assert!(
        answer.header("retry-after").parse::<u32>().is_ok(),
        "R45: {answer:?}"
    );
    let text = answer.text.clone();
    answer.problem(503, "unavailable");
    for inside in ["127.0.0.1", "hunter2", "refused (os", "sqlx"] {
        assert!(!text.contains(inside), "R73: {text}");
    }
}

/// Every answer can be found in the logs: by the caller's id, or by one made for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_has_a_request_id() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);

    for path in ["/livez", "/api/v1/syncs", "/api/v1/nothing", "/api/v1/syncs/7"] {
        let kept = api
            .client
            .send(
                api.client
                    .request(Method::GET, path)
                    .header("x-request-id", "order-7/a"),
            )
            .await;
        let made = api.client.get(path).await;

        assert_eq!(kept.header("x-request-id"), "order-7/a", "{path}");
        assert!(
            made.header("x-request-id").parse::<Uuid>().is_ok(),
            "{path}: {made:?}"
        );
    }
}
