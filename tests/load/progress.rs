//! How right the estimate of the time is that a sync still takes.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use lockstep_shared::id::SyncId;
use lockstep_tests::api::{Api, product};
use lockstep_tests::stack::{Stack, within};
use serde_json::json;
use uuid::Uuid;

use super::alone;

/// What was shown when.
struct Sample {
    at: Instant,
    settled: i64,
    seconds_left: Option<i64>,
}

/// R7: with a system that answers in constant time, what is estimated after a tenth of the work is right within 20 %, and so
/// is every estimate after it (a second apart: estimates are whole seconds).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_that_is_left_is_estimated_right() {
    const PRODUCTS: usize = 60;
    let _alone = alone().await;
    let mut stack = Stack::new().await;
    let api = Api::start(&stack);
    stack.work();
    let request = json!({
        "connectionIds": [stack.store],
        "entityTypes": ["products"],
        "syncConfig": { "batchSize": 4, "batchDelayMs": 0 },
    });
    // The first sync of a worker asks the store more than the others do.
    let warm = format!("/api/v1/records/products/{}", Uuid::new_v4());
    api.client.put(&warm, &product("WARM")).await.ok(201);
    let first = api.client.post("/api/v1/syncs", &request).await.ok(202);
    let first = SyncId(first["syncId"].as_str().unwrap().parse().unwrap());
    stack.finish(first).await;
    api.client.put_products(PRODUCTS).await;
    // Much longer than what a busy machine adds to each request.
    let latency = Duration::from_millis(600);
    stack.sandbox.store.faults().set_latency(latency);
    let started = api.client.post("/api/v1/syncs", &request).await.ok(202);
    let path = format!("/api/v1/syncs/{}", started["syncId"].as_str().unwrap());
    let samples = Mutex::new(Vec::new());
    let last = within(Duration::from_mins(3), "the sync to end", || async {
        let at = Instant::now();
        let shown = api.client.get(&path).await.ok(200);
        samples.lock().unwrap().push(Sample {
            at,
            settled: shown["progress"]["settled"].as_i64().unwrap(),
            seconds_left: shown["progress"]["estimatedSecondsRemaining"].as_i64(),
        });
        (shown["status"] == "done").then_some(shown)
    })
    .await;
    let samples = samples.into_inner().unwrap();
    let end = samples.last().unwrap().at;

    assert_eq!(samples[0].seconds_left, None, "R7: nothing is known at first");
    let tenth = i64::try_from(PRODUCTS / 10).unwrap();
    let judged: Vec<_> = samples
        .iter()
        .filter(|sample| sample.settled >= tenth && sample.settled < i64::try_from(PRODUCTS).unwrap())
        .collect();
    assert!(judged.len() > 20, "R7: {} samples", judged.len());
    for sample in judged {
        let left = (end - sample.at).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "seconds of a test")]
        let estimated = sample.seconds_left.expect("R7: known by then") as f64;
        assert!(
            (estimated - left).abs() <= 0.2 * left + 1.0,
            "R7: with {} settled, {estimated} s were estimated and {left:.1} s were left",
            sample.settled
        );
    }
    assert_eq!(last["progress"]["percent"], 100, "R7");
    assert_eq!(
        last["progress"].get("estimatedSecondsRemaining"),
        None,
        "R7: it is over"
    );
    let part = &last["progress"]["parts"][0];
    assert_eq!(
        (
            &part["system"],
            &part["entityType"],
            &part["total"],
            &part["settled"]
        ),
        (
            &json!("woocommerce"),
            &json!("products"),
            &json!(PRODUCTS),
            &json!(PRODUCTS)
        ),
        "R7"
    );
    assert_eq!(part["counts"]["created"], PRODUCTS, "R7");
    let stages = last["progress"]["stages"].as_array().unwrap();
    let push = stages.iter().find(|stage| stage["direction"] == "push").unwrap();
    assert!(push["itemsPerSecond"].as_f64().unwrap() > 0.0, "R7");
}
