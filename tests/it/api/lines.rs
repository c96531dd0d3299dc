//! Records a line each (R50, R73), and what surrounds an answer: tags, and its size on the wire.

use lockstep_tests::api::{Answer, Api, Client};
use lockstep_tests::stack::Stack;
use reqwest::Method;
use serde_json::{Value, json};

use super::{customer, id, product, rows};

async fn put_lines(client: &Client, entities: &str, body: impl Into<reqwest::Body>) -> Answer {
    let path = format!("/api/v1/records/{entities}");
    let request = client
        .request(Method::PUT, &path)
        .header("content-type", "application/x-ndjson")
        .timeout(std::time::Duration::from_mins(5));
    client.send(request.body(body)).await
}

fn results(answer: &Answer) -> Vec<Value> {
    let lines = answer.text.lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// R50: a line that is wrong is told by its number, and the others are stored; a later line of the same record counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_line_is_told_by_its_number_and_the_others_are_stored() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let [one, two] = [id(), id()];
    let line = |id: &str, sku: &str| json!({ "recordId": id, "content": product(sku) }).to_string();
    let body = [
        line(&one, "SKU-1"),
        "{ broken".to_owned(),
        String::new(),
        line(&two, "SKU-2").replace("Product SKU-2", ""),
        line(&two, "SKU-2"),
        line(&one, "SKU-1B"),
        "[".repeat(200),
        json!({ "content": product("SKU-3") }).to_string(),
    ]
    .join("\n");

    let answer = put_lines(&api.client, "products", body).await;

    assert_eq!(answer.status, 200, "R50: {}", answer.text);
    assert_eq!(answer.header("content-type"), "application/x-ndjson", "R50");
    let told: Vec<_> = results(&answer)
        .iter()
        .map(|result| {
            (
                result["line"].as_u64().unwrap(),
                result["outcome"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let expected = [
        (1, "created"),
        (2, "refused"),
        (4, "refused"),
        (5, "created"),
        (6, "changed"),
        (7, "refused"),
        (8, "refused"),
    ];
    assert_eq!(
        told,
        expected.map(|(line, outcome)| (line, outcome.to_owned())),
        "R50: {}",
        answer.text
    );
    let refused = &results(&answer)[2];
    assert_eq!(refused["recordId"], json!(two), "R45: {refused}");
    assert_eq!(refused["errors"][0]["field"], "content/name", "R45: {refused}");
    let shown = api
        .client
        .get(&format!("/api/v1/records/products/{one}"))
        .await
        .ok(200);
    assert_eq!(shown["content"]["variants"][0]["sku"], "SKU-1B", "R50");
}

/// R50, R73: however many lines come, they are stored in bounded batches while the others are still to be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_lines_are_stored_in_bounded_batches() {
    const LINES: usize = 20_000;
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let chunks = (0..LINES / 1_000).map(|chunk| {
        let lines = (0..1_000).map(|number| {
            let content = customer(&format!("person{}@example.com", chunk * 1_000 + number));
            format!("{}\n", json!({ "recordId": id(), "content": content }))
        });
        Ok::<_, std::io::Error>(lines.collect::<String>())
    });
    let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks.collect::<Vec<_>>()));

    let answer = put_lines(&api.client, "customers", body).await;

    let results = results(&answer);
    assert_eq!(results.len(), LINES, "R50");
    assert!(results.iter().all(|result| result["outcome"] == "created"), "R50");
    let batches: Vec<i64> = sqlx::query_scalar(
        "select (details -> 'counts' ->> 'created')::bigint from sync_activity_log where action = 'record.put'",
    )
    .fetch_all(&stack.database.superuser)
    .await
    .unwrap();
    assert_eq!(
        usize::try_from(batches.iter().sum::<i64>()).unwrap(),
        LINES,
        "R50"
    );
    assert!(batches.iter().all(|batch| *batch <= 500), "R50: {batches:?}");
    let transactions: i64 = sqlx::query_scalar("select count(distinct xmin::text) from record")
        .fetch_one(&stack.database.superuser)
        .await
        .unwrap();
    assert_eq!(
        usize::try_from(transactions).unwrap(),
        batches.len(),
        "R50: each batch is a transaction of its own"
    );
}

/// R45: lines are told by their content type, and come as they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_another_form_are_refused() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let before = rows(&stack.database).await;

    for headers in [
        vec![("content-type", "application/json")],
        vec![
            ("content-type", "application/x-ndjson"),
            ("content-encoding", "gzip"),
        ],
    ] {
        let mut request = api.client.request(Method::PUT, "/api/v1/records/products");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = api.client.send(request.body("{}\n")).await;
        answer.problem(415, "unsupported-media-type");
    }

    assert_eq!(rows(&stack.database).await, before, "R45");
}

/// What has not changed is not sent again, and what has is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_not_changed_is_a_304() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let record = format!("/api/v1/records/products/{}", id());
    api.client.put(&record, &product("SKU-1")).await.ok(201);
    let sync = super::start(&api.client).await;

    for path in [record.clone(), format!("/api/v1/syncs/{sync}")] {
        let first = api.client.get(&path).await;
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with('"') && tag.len() > 10, "{path}: {tag}");
        let ask = async || {
            let request = api.client.request(Method::GET, &path);
            api.client.send(request.header("if-none-match", &tag)).await
        };
        let same = ask().await;
        assert_eq!((same.status, same.text.as_str()), (304, ""), "{path}");
        assert_eq!(same.header("etag"), tag, "{path}");
        if path == record {
            api.client.put(&record, &product("SKU-2")).await.ok(200);
            assert_ne!(ask().await.header("etag"), tag, "{path}");
        }
    }
}

/// Answers are compressed for who takes that, and are the same underneath.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_are_compressed_for_who_takes_it() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);

    let plain = api.stranger.get("/openapi.json").await;
    let request = api.stranger.request(Method::GET, "/openapi.json");
    let small = request.header("accept-encoding", "gzip").send().await.unwrap();

    assert_eq!(plain.header("content-encoding"), "");
    assert_eq!(small.headers()["content-encoding"], "gzip");
    let bytes = small.bytes().await.unwrap();
    assert_eq!(bytes[..2], [0x1f, 0x8b], "the mark of gzip, RFC 1952");
    assert!(
        bytes.len() * 4 < plain.text.len(),
        "{} of {}",
        bytes.len(),
        plain.text.len()
    );
}

/// R45: every type of problem is explained by the server itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn problems_are_explained() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);

    let page = api.stranger.get("/docs/problems").await;

    assert_eq!(page.status, 200);
    assert!(page.text.contains("## idempotency-key-reused (422)"), "R45");
}
