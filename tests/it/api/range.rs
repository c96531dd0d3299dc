//! Numbers of `syncConfig` at both ends of their ranges, and beyond.

use lockstep_tests::api::{Answer, Api};
use serde_json::{Value, json};

use super::limit::usual;
use super::rows;

/// Each number of `syncConfig`, and its range.
const RANGES: [(&str, i64, i64); 4] = [
    ("batchSize", 1, 200),
    ("batchDelayMs", 0, 600_000),
    ("maxRetries", 1, 5),
    // Or what the operator gave the organisation, where that is more (R30).
    ("requestsPerMinute", 1, 50),
];

async fn start(api: &Api, config: &Value) -> Answer {
    api.client
        .post("/api/v1/syncs", &json!({ "syncConfig": config }))
        .await
}

/// R2, R4, R25, R30, R45: a number out of its range is a 400 that names the field and its range.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_out_of_its_range_is_a_400_that_names_the_range() {
    let stack = usual().await;
    let api = Api::start(&stack);
    let before = rows(&stack.database).await;

    for (name, from, to) in RANGES {
        for value in [i64::MIN, -1, from - 1, to + 1, i64::from(i32::MAX) + 1, i64::MAX] {
            let answer = start(&api, &json!({ name: value })).await;
            let problem = answer.problem(400, "out-of-range");
            let [error] = problem["errors"].as_array().unwrap().as_slice() else {
                panic!("{name} = {value}: {problem:#}");
            };
            assert_eq!(
                error["field"],
                format!("syncConfig/{name}"),
                "{value}: {problem:#}"
            );
            let message = error["message"].as_str().unwrap();
            // What the operator gave is looked up only for what could be within it.
            let is_named = message == format!("must be from {from} to {to}")
                || (name == "requestsPerMinute" && message == "must be from 1 to 10000000");
            assert!(is_named, "{name} = {value}: {problem:#}");
        }
    }

    assert_eq!(rows(&stack.database).await, before, "R45");
}

/// R2, R4, R25, R30: both ends of a range are within it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_of_a_range_are_taken() {
    let stack = usual().await;
    let api = Api::start(&stack);

    for (name, from, to) in RANGES {
        for value in [from, to] {
            let accepted = start(&api, &json!({ name: value })).await.ok(202);
            let sync = format!("/api/v1/syncs/{}", accepted["syncId"].as_str().unwrap());
            let shown = api.client.get(&sync).await.ok(200);
            assert_eq!(shown["syncConfig"][name], value, "{name}");
            sqlx::query("update sync_orchestration set status = 'cancelled', completed_at = lockstep_now()")
                .execute(&stack.database.superuser)
                .await
                .unwrap();
        }
    }
}

/// R45: it is a 400 whatever else is wrong, of which all is named; and for a schedule as for a sync.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_wrong_is_named_beside_a_number_out_of_its_range() {
    let stack = usual().await;
    let api = Api::start(&stack);
    let config = json!({ "batchSize": 0, "batchDelayMs": -1, "maxRetries": 6 });
    let fields = |problem: &Value| -> Vec<String> {
        let errors = problem["errors"].as_array().unwrap().iter();
        errors
            .map(|error| error["field"].as_str().unwrap().to_owned())
            .collect()
    };
    let numbers = [
        "syncConfig/batchSize",
        "syncConfig/batchDelayMs",
        "syncConfig/maxRetries",
    ];

    let sync = json!({ "systems": [], "syncConfig": config });
    let of_sync = api.client.post("/api/v1/syncs", &sync).await;
    let schedule = json!({ "name": "Nightly", "cron": "0 2 * * *", "syncConfig": config });
    let of_schedule = api.client.post("/api/v1/schedules", &schedule).await;

    let of_sync = of_sync.problem(400, "out-of-range");
    assert_eq!(fields(&of_sync), [&["systems"][..], &numbers].concat(), "R45");
    assert_eq!(fields(&of_schedule.problem(400, "out-of-range")), numbers, "R45");
}
