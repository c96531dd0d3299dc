//! How far a sync is: shown when asked, sent as it happens, and right.

use std::time::Duration;

use lockstep_shared::command::Kind;
use lockstep_shared::sync::Status;
use lockstep_tests::api::{Api, Client};
use lockstep_tests::stack::Stack;
use serde_json::{Value, json};

use super::start;

/// Reads a stream of events to its end: their names and what they carry.
async fn read_events(client: &Client, path: &str) -> Vec<(String, Value)> {
    let request = client.request(reqwest::Method::GET, path);
    let request = request
        .header("accept", "text/event-stream")
        .timeout(Duration::from_mins(3));
    let answer = client.send(request).await;
    assert_eq!(answer.status, 200, "R48: {}", answer.text);
    assert_eq!(answer.header("content-type"), "text/event-stream", "R48");
    answer
        .text
        .split("\n\n")
        .filter_map(|event| {
            let field = |name: &str| {
                event
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                    .map(str::trim)
            };
            let json = serde_json::from_str(field("data")?).unwrap();
            Some((field("event").unwrap_or("message").to_owned(), json))
        })
        .collect()
}

/// R7, R48: the events of a sync tell of everything that happens to it, on another process of the API than the one that
/// was asked to start it, and end with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_can_be_watched_to_its_end() {
    let mut stack = Stack::new().await;
    let (api, other) = (Api::start(&stack), Api::start(&stack));
    api.client.put_products(12).await;
    for faults in [stack.sandbox.store.faults(), stack.sandbox.erp.faults()] {
        faults.set_latency(Duration::from_millis(100));
    }
    let request = json!({ "entityTypes": ["products"], "syncConfig": { "batchSize": 2, "batchDelayMs": 0 } });
    let started = api.client.post("/api/v1/syncs", &request).await.ok(202);
    let sync = started["syncId"].as_str().unwrap();
    let path = format!("/api/v1/syncs/{sync}/events");

    let (events, ()) = tokio::join!(read_events(&other.client, &path), async { stack.work() });

    let (first, last) = (events.first().unwrap(), events.last().unwrap());
    assert_eq!(first.0, "status", "R48: {first:?}");
    assert_eq!(
        (last.0.as_str(), &last.1["status"], &last.1["progress"]["percent"]),
        ("end", &json!("done"), &json!(100)),
        "R48"
    );
    assert!(
        events.iter().any(|(name, _)| name == "progress"),
        "R48: {events:?}"
    );
    for (name, event) in &events {
        assert_eq!(event["kind"], name.as_str(), "R48");
        assert_eq!(event["syncId"], sync, "R48");
    }
    for pair in events.windows(2) {
        for number in ["percent", "settled", "total"] {
            let number = |event: &Value| event["progress"][number].as_i64().unwrap();
            assert!(
                number(&pair[1].1) >= number(&pair[0].1),
                "R7: progress goes on only"
            );
        }
    }
    let again = read_events(&api.client, &path).await;
    assert_eq!(
        again.len(),
        1,
        "R48: of what is over there is one event: {again:?}"
    );
    assert_eq!(again[0].0, "end", "R48");
}

/// R48, R81: who watches a sync that stands still does not keep the API from ending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_when_the_api_does() {
    let mut stack = Stack::new().await;
    let api = Api::start(&stack);
    let sync = start(&api.client).await;
    let id = sync.parse().unwrap();
    stack.ask(id, Kind::Pause).await;
    stack.work();
    stack.until(id, Status::Paused).await;
    let path = format!("/api/v1/syncs/{sync}/events");
    let request = api.client.request(reqwest::Method::GET, &path);
    let mut events = request.send().await.unwrap();
    let first = events.chunk().await.unwrap().unwrap();
    assert!(
        String::from_utf8_lossy(&first).contains("paused"),
        "R48: {first:?}"
    );

    drop(api);

    while let Some(more) = events.chunk().await.unwrap() {
        assert!(!String::from_utf8_lossy(&more).contains("end"), "R48: {more:?}");
    }
}
