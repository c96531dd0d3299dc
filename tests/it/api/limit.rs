//! Limits as the API takes and shows them: rates of connections and syncs, and whether a system answers.

use std::time::Duration;

use lockstep_api::operator;
use lockstep_sandbox::fault::Fault;
use lockstep_shared::id::OrgId;
use lockstep_tests::api::{Answer, Api};
use lockstep_tests::stack::{Stack, eventually};
use reqwest::Method;
use serde_json::{Value, json};

async fn rates(stack: &Stack) -> Vec<i32> {
    sqlx::query_scalar("select requests_per_minute from request_bucket order by 1")
        .fetch_all(&stack.database.superuser)
        .await
        .unwrap()
}

/// A stack whose organisation its operator has left at what is usual.
pub async fn usual() -> Stack {
    let stack = Stack::new().await;
    sqlx::query("update organisation set requests_per_minute = 10, requests_per_minute_limit = 50")
        .execute(&stack.database.superuser)
        .await
        .unwrap();
    sqlx::query("update request_bucket set requests_per_minute = 10")
        .execute(&stack.database.superuser)
        .await
        .unwrap();
    stack
}

async fn change(api: &Api, change: Value) -> Answer {
    let request = api.client.request(Method::PATCH, "/api/v1/organisation");
    api.client.send(request.json(&change)).await
}

/// R30: an organisation's administrators choose its rate from 1 to 50, or to what its operator allows; what is refused changes
/// nothing, and a limit that is lowered lowers the rate with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organisation_has_the_rate_that_it_chose_within_its_limit() {
    let stack = usual().await;
    let owner = &stack.database.urls.owner;
    let api = Api::start(&stack);
    let shown = async || {
        let shown = api.client.get("/api/v1/organisation").await.ok(200);
        (
            shown["requestsPerMinute"].as_i64(),
            shown["requestsPerMinuteLimit"].as_i64(),
        )
    };
    assert_eq!(shown().await, (Some(10), Some(50)), "R30");

    change(&api, json!({ "requestsPerMinute": 50 })).await.ok(200);
    assert_eq!(
        (rates(&stack).await, shown().await),
        (vec![50], (Some(50), Some(50))),
        "R30"
    );

    for wrong in [0, 51] {
        let problem = change(&api, json!({ "name": "Other", "requestsPerMinute": wrong }))
            .await
            .problem(422, "invalid");
        let named = json!([{ "field": "requestsPerMinute", "message": "must be from 1 to 50" }]);
        assert_eq!(problem["errors"], named, "R30, R45");
    }
    assert_eq!(
        (rates(&stack).await, shown().await),
        (vec![50], (Some(50), Some(50))),
        "R30"
    );

    operator::set_request_limit(owner, stack.org, 600).await.unwrap();
    assert_eq!(shown().await, (Some(50), Some(600)), "R30: what it chose stays");
    change(&api, json!({ "requestsPerMinute": 600 })).await.ok(200);
    assert_eq!(rates(&stack).await, [600], "R30");

    operator::set_request_limit(owner, stack.org, 20).await.unwrap();
    assert_eq!(
        (rates(&stack).await, shown().await),
        (vec![20], (Some(20), Some(20))),
        "R30"
    );
    let by_api = operator::set_request_limit(&stack.database.urls.api, stack.org, 600).await;
    assert!(by_api.is_err(), "R30: the API may not raise what it is allowed");
    let unknown = operator::set_request_limit(owner, OrgId::random(), 600).await;
    assert!(unknown.is_err(), "R30");
    let trail = api.client.get("/api/v1/activity").await.ok(200);
    let actions: Vec<_> = trail["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            (
                line["action"].as_str().unwrap(),
                line["outcome"].as_str().unwrap(),
            )
        })
        .filter(|(action, _)| action.starts_with("organisation."))
        .collect();
    let limited = ("organisation.request_limit_changed", "done");
    let changed = ("organisation.changed", "done");
    let refused = ("organisation.changed", "refused");
    assert_eq!(
        actions,
        [limited, changed, limited, refused, refused, changed],
        "R71: {trail}"
    );
}

/// R30: a connection and a sync may have rates of their own, from 1 to 50, or to what the operator gave the organisation; what
/// is out of range is refused by name, with the range.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rates_are_taken_within_what_the_operator_allows() {
    let stack = usual().await;
    let api = Api::start(&stack);
    let settings = format!("/api/v1/connections/{}/settings", stack.store);

    for (given, ceiling) in [(0, 10_000_000), (51, 50)] {
        let rate = json!({ "requestsPerMinute": given });
        let of_connection = api.client.put(&settings, &rate).await.problem(422, "invalid");
        let sync = json!({ "syncConfig": rate });
        let of_sync = api
            .client
            .post("/api/v1/syncs", &sync)
            .await
            .problem(400, "out-of-range");
        let message = format!("must be from 1 to {ceiling}");
        let named = |field: &str| json!({ "field": field, "message": message });
        assert_eq!(
            of_connection["errors"],
            json!([named("requestsPerMinute")]),
            "R30"
        );
        assert_eq!(
            of_sync["errors"],
            json!([named("syncConfig/requestsPerMinute")]),
            "R30"
        );
    }
    assert_eq!(rates(&stack).await, [10], "R30: what is refused changes nothing");

    let put = api
        .client
        .put(&settings, &json!({ "requestsPerMinute": 50 }))
        .await
        .ok(200);
    assert_eq!(put["settings"]["requestsPerMinute"], 50);
    let sync = json!({ "syncConfig": { "requestsPerMinute": 20 } });
    let started = api.client.post("/api/v1/syncs", &sync).await.ok(202);
    let path = format!("/api/v1/syncs/{}", started["syncId"].as_str().unwrap());
    assert_eq!(
        api.client.get(&path).await.ok(200)["syncConfig"]["requestsPerMinute"],
        20
    );
    assert_eq!(rates(&stack).await, [10, 20, 50], "R30");

    operator::set_request_limit(&stack.database.urls.owner, stack.org, 600)
        .await
        .unwrap();
    api.client
        .put(&settings, &json!({ "requestsPerMinute": 600 }))
        .await
        .ok(200);
    assert_eq!(rates(&stack).await, [10, 20, 600], "R30");
    api.client.put(&settings, &json!({})).await.ok(200);
    assert_eq!(rates(&stack).await, [10, 20], "what is left out is taken away");
}

/// R33: a connection shows whether its system answers; a check that is asked for probes at once and closes the circuit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_shows_its_circuit_and_a_check_closes_it() {
    let mut stack = Stack::new().await;
    let api = Api::start(&stack);
    let path = format!("/api/v1/connections/{}", stack.store);
    let shown = api.client.get(&path).await.ok(200);
    assert_eq!(
        shown["circuit"],
        json!({ "state": "closed", "failures": 0 }),
        "R33"
    );
    let broken = Fault::Status {
        code: 500,
        retry_after: None,
        body: None,
    };
    stack.sandbox.store.faults().on_path("/wp-json", broken, None);
    let mut config = stack.worker_config();
    config.circuit.first_wait = Duration::from_hours(1);
    config.circuit.longest_wait = Duration::from_hours(1);
    stack.work_as(config);
    super::start(&api.client).await;

    let shown = eventually("the circuit to open", || async {
        let shown = api.client.get(&path).await.ok(200);
        (shown["circuit"]["state"] == "open").then_some(shown)
    })
    .await;

    let circuit = &shown["circuit"];
    for field in ["since", "unwellSince", "nextProbeAt", "lastError"] {
        assert!(circuit[field].is_string(), "R33: {circuit}");
    }
    assert_eq!(circuit["failures"], 3, "R33");
    let listed = api.client.get("/api/v1/connections").await.ok(200);
    let states: Vec<&Value> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|connection| &connection["circuit"]["state"])
        .collect();
    assert_eq!(states, ["open", "closed"], "R33");
    stack.sandbox.store.faults().clear();
    api.client
        .post(&format!("{path}/check"), &json!({}))
        .await
        .ok(202);
    eventually("the check to close the circuit", || async {
        let shown = api.client.get(&path).await.ok(200);
        (shown["circuit"]["state"] == "closed").then_some(())
    })
    .await;
}
