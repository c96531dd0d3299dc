//! The one route of orchestration: each action does what its own route does (R40).

use lockstep_api::config::Access;
use lockstep_shared::id::OrgId;
use lockstep_shared::role::Role;
use lockstep_tests::api::{Answer, Api, Client};
use lockstep_tests::stack::{Stack, eventually};
use reqwest::Method;
use serde_json::{Value, json};

use super::conflict::mismatch;
use super::refusal::{assert_problem, fields};
use super::{id, organisation, product, rows, start, watch};

const ROUTE: &str = "/api/v1/integrations/sync/orchestrate";

/// Asks for an action, with no body where it takes none.
async fn ask(client: &Client, query: &str, body: Option<Value>) -> Answer {
    let request = client.request(Method::POST, &format!("{ROUTE}?{query}"));
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    client.send(request).await
}

fn names(body: &Value) -> Vec<&str> {
    body.as_object().unwrap().keys().map(String::as_str).collect()
}

/// R40, R1: a sync's life by the one route: what goes in, what comes out, and that both routes tell the same of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_is_started_watched_and_commanded_by_one_route() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let api = Api::start(&stack);
    let path = format!("/api/v1/records/products/{}", id());
    api.client.put(&path, &product("SKU-1")).await.ok(201);

    let begin = json!({
        "systems": ["woocommerce", "odoo"], "entityTypes": ["products"], "syncConfig": { "batchDelayMs": 0 },
    });
    let started = ask(&api.client, "action=start", Some(begin)).await.ok(202);
    assert_eq!(names(&started), ["status", "syncId"], "R40");
    assert_eq!(started["status"], "queued", "R40");
    let sync = started["syncId"].as_str().unwrap().to_owned();
    let status = format!("action=status&syncId={sync}");
    let waiting = ask(&api.client, &status, None).await.ok(200);
    assert_eq!(waiting["status"], "queued", "R40");

    for action in ["pause", "resume", "pause"] {
        let query = format!("action={action}&syncId={sync}");
        let accepted = ask(&api.client, &query, None).await.ok(202);
        assert_eq!(accepted, json!({ "success": true }), "R40: {action}");
    }
    stack.work();
    eventually("the sync to be paused", || async {
        let shown = ask(&api.client, &status, None).await.ok(200);
        (shown["status"] == "paused").then_some(())
    })
    .await;
    // Bodies that hold nothing are none.
    let resume = format!("action=resume&syncId={sync}");
    let accepted = ask(&api.client, &resume, Some(json!({}))).await.ok(202);
    assert_eq!(accepted, json!({ "success": true }), "R40");
    watch(&api.client, &sync).await;

    let told = ask(&api.client, &status, None).await.ok(200);
    let shown = api.client.get(&format!("/api/v1/syncs/{sync}")).await.ok(200);
    assert_eq!(names(&told), ["conflicts", "progress", "queues", "status"], "R40");
    assert_eq!(
        (&told["status"], &told["conflicts"]),
        (&json!("done"), &json!(0)),
        "R40"
    );
    assert_eq!(told["progress"], shown["progress"], "R40");
    assert_eq!(shown["entityTypes"], json!(["products"]), "R40");
    let queues = told["queues"].as_array().unwrap();
    assert!(!queues.is_empty(), "R40: {told}");
    for queue in queues {
        assert_eq!(
            names(queue),
            ["entityType", "settled", "system", "waiting"],
            "R40"
        );
        assert_eq!(queue["waiting"], 0, "R40: {queue}");
    }

    let cancel = format!("action=cancel&syncId={sync}");
    let over = ask(&api.client, &cancel, None)
        .await
        .problem(409, "not-possible-now");
    let by_its_own = api
        .client
        .post(&format!("/api/v1/syncs/{sync}/cancel"), &json!({}))
        .await;
    assert_eq!(over, by_its_own.body, "R40");
    let other = start(&api.client).await;
    let cancel = format!("action=cancel&syncId={other}");
    let accepted = ask(&api.client, &cancel, None).await;
    assert!(
        [202, 409].contains(&accepted.status),
        "R40: it may be over: {}",
        accepted.text
    );
}

/// R40, R22: conflicts are told and answered by the one route as by their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_are_told_and_answered_by_one_route() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let mut conflicts = Vec::new();
    for number in 0..3 {
        conflicts.push(mismatch(&stack, &format!("SKU-{number}")).await);
    }
    let sync = start(&api.client).await;
    let found = conflicts[2].rsplit('/').next().unwrap();
    sqlx::query("update sync_conflict set sync_id = $1::uuid where id = $2::uuid")
        .bind(&sync)
        .bind(found)
        .execute(&stack.database.superuser)
        .await
        .unwrap();

    let told = ask(&api.client, "action=conflicts", None).await.ok(200);
    assert_eq!(names(&told), ["conflicts", "stats"], "R40");
    assert_eq!(told["stats"]["total"], 3, "R40");
    let listed = api.client.get("/api/v1/conflicts").await.ok(200);
    assert_eq!(told["conflicts"], listed["items"], "R40");
    let query = format!("action=conflicts&syncId={sync}");
    let of_sync = ask(&api.client, &query, None).await.ok(200);
    assert_eq!(
        of_sync["conflicts"].as_array().unwrap().len(),
        1,
        "R40: {of_sync}"
    );
    assert_eq!(of_sync["conflicts"][0]["conflictId"], found, "R40");

    let query = format!("action=resolve-conflict&syncId={sync}");
    for (conflict, query, body) in [
        (
            &conflicts[0],
            "action=resolve-conflict",
            json!({ "resolution": "accept" }),
        ),
        (
            &conflicts[1],
            "action=resolve-conflict",
            json!({ "resolution": "custom", "customData": product("SKU-1") }),
        ),
        (&conflicts[2], &query, json!({ "resolution": "reject" })),
    ] {
        let mut body = body;
        body["conflictId"] = json!(conflict.rsplit('/').next().unwrap());
        let accepted = ask(&api.client, query, Some(body.clone())).await.ok(202);
        assert_eq!(accepted, json!({ "success": true }), "R40");
        let shown = api.client.get(conflict).await.ok(200);
        assert_eq!(shown["answer"]["resolution"], body["resolution"], "R40: {shown}");
        ask(&api.client, query, Some(body))
            .await
            .problem(409, "conflict-answered");
    }

    let fourth = mismatch(&stack, "SKU-4").await;
    let fourth = json!({ "conflictId": fourth.rsplit('/').next().unwrap(), "resolution": "accept" });
    let of_another = ask(&api.client, &query, Some(fourth)).await;
    of_another.problem(404, "not-found");
}

/// R40, R45: what is wrong is refused by its name, and nothing is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_action_is_refused_by_what_is_wrong_with_it() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let sync = start(&api.client).await;
    let before = rows(&stack.database).await;
    let known = format!("syncId={sync}");
    let unknown = format!("syncId={}", id());

    for (query, body, status, field) in [
        (String::new(), None, 400, "action"),
        (known.clone(), None, 400, "action"),
        ("action=".to_owned(), None, 400, "action"),
        ("action=stop".to_owned(), None, 400, "action"),
        ("action=START".to_owned(), None, 400, "action"),
        ("action=status&action=start".to_owned(), None, 400, "action"),
        ("action=status".to_owned(), None, 400, "syncId"),
        ("action=pause".to_owned(), None, 400, "syncId"),
        ("action=resume".to_owned(), None, 400, "syncId"),
        ("action=cancel&syncId=7".to_owned(), None, 400, "syncId"),
        (format!("action=start&{known}"), Some(json!({})), 400, "syncId"),
        (format!("action=pause&{known}&x=1"), None, 400, "x"),
        (
            format!("action=pause&{known}"),
            Some(json!({ "systems": ["odoo"] })),
            422,
            "systems",
        ),
        (
            format!("action=status&{known}"),
            Some(json!({ "x": 1 })),
            422,
            "x",
        ),
        (format!("action=cancel&{known}"), Some(json!([])), 422, ""),
        (
            "action=conflicts".to_owned(),
            Some(json!({ "resolution": "accept" })),
            422,
            "resolution",
        ),
        (
            "action=start".to_owned(),
            Some(json!({ "conflictId": id() })),
            422,
            "conflictId",
        ),
        (
            "action=start".to_owned(),
            Some(json!({ "systems": [] })),
            422,
            "systems",
        ),
        (
            "action=start".to_owned(),
            Some(json!({ "syncConfig": { "batchSize": 201 } })),
            400,
            "syncConfig/batchSize",
        ),
        (
            "action=start".to_owned(),
            Some(json!({ "dryRun": true })),
            422,
            "dryRun",
        ),
        ("action=resolve-conflict".to_owned(), None, 422, "conflictId"),
        (
            "action=resolve-conflict".to_owned(),
            Some(json!({ "conflictId": id() })),
            422,
            "resolution",
        ),
        (
            "action=resolve-conflict".to_owned(),
            Some(json!({ "conflictId": id(), "resolution": "custom" })),
            422,
            "customData",
        ),
        (
            "action=resolve-conflict".to_owned(),
            Some(json!({ "conflictId": id(), "resolution": "accept", "systems": ["odoo"] })),
            422,
            "systems",
        ),
    ] {
        let answer = ask(&api.client, &query, body.clone()).await;
        let what = format!("{query} with {body:?}");
        assert_problem(&answer, status, &what);
        assert_eq!(fields(&answer), [field], "R45: {what}: {}", answer.text);
    }
    for action in ["status", "pause", "resume", "cancel", "conflicts"] {
        let query = format!("action={action}&{unknown}");
        ask(&api.client, &query, None).await.problem(404, "not-found");
    }
    let nobody = json!({ "conflictId": id(), "resolution": "accept" });
    let answer = ask(&api.client, "action=resolve-conflict", Some(nobody)).await;
    answer.problem(404, "not-found");
    let request = api.client.request(Method::POST, &format!("{ROUTE}?action=start"));
    let text = request.header("content-type", "text/plain").body("{}");
    api.client.send(text).await.problem(415, "unsupported-media-type");
    let request = api.client.request(Method::POST, &format!("{ROUTE}?action=start"));
    let broken = request.header("content-type", "application/json").body("{");
    api.client.send(broken).await.problem(400, "malformed-request");
    api.client
        .get(&format!("{ROUTE}?action=start"))
        .await
        .problem(405, "method-not-allowed");

    assert_eq!(rows(&stack.database).await, before, "R45");
}

/// R40, R42, R44, R71: each action has the role, the quota and the line in the audit trail that its own route has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_action_asks_for_what_its_own_route_asks_for() {
    let stack = Stack::new().await;
    let mut config = Api::config(&stack);
    config.access = Access::default();
    let api = Api::start_as(stack.org, config);
    let sync = start(&api.client).await;
    let viewer = api.client_as(stack.org, Role::Viewer);
    let before = rows(&stack.database).await;

    let nobody = json!({ "conflictId": id(), "resolution": "accept" });
    for (action, is_read, body, status) in [
        ("start", false, None, 403),
        ("pause", false, None, 403),
        ("resume", false, None, 403),
        ("cancel", false, None, 403),
        ("resolve-conflict", false, Some(nobody), 403),
        ("status", true, None, 200),
        ("conflicts", true, None, 200),
    ] {
        let query = if action == "start" {
            format!("action={action}")
        } else {
            format!("action={action}&syncId={sync}")
        };
        let answer = ask(&viewer, &query, body).await;
        assert_eq!(answer.status, status, "R42: {action}: {}", answer.text);
        let budget = if is_read { "reads" } else { "commands" };
        let policy = answer.header("ratelimit-policy");
        assert!(policy.contains(budget), "R44: {action}: {policy}");
    }
    // Which action is meant is never two things at once.
    let twice = ask(&viewer, "action=status&%61ction=start", None).await;
    twice.problem(400, "malformed-request");

    let after = rows(&stack.database).await;
    for table in [
        "public.sync_orchestration",
        "public.sync_command",
        "public.conflict_resolution",
    ] {
        assert_eq!(after.get(table), before.get(table), "R42: {table}");
    }
    let refused: Vec<(String, String)> = sqlx::query_as(
        "select action, details ->> 'operation' from sync_activity_log where outcome = 'refused' order by 1, 2",
    )
    .fetch_all(&stack.database.superuser)
    .await
    .unwrap();
    let refused: Vec<(&str, &str)> = refused
        .iter()
        .map(|(action, operation)| (&**action, &**operation))
        .collect();
    assert_eq!(
        refused,
        [
            ("conflict.answered", "resolveConflict"),
            ("sync.cancel_requested", "cancelSync"),
            ("sync.pause_requested", "pauseSync"),
            ("sync.requested", "startSync"),
            ("sync.resume_requested", "resumeSync"),
        ],
        "R71"
    );
    ask(&api.client, &format!("action=cancel&syncId={sync}"), None)
        .await
        .ok(202);
    let line: String = sqlx::query_scalar(
        "select action from sync_activity_log where sync_id = $1::uuid order by created_at desc limit 1",
    )
    .bind(&sync)
    .fetch_one(&stack.database.superuser)
    .await
    .unwrap();
    assert_eq!(line, "sync.cancel_requested", "R71");
}

/// R40, R43, R52: no action reaches what another organisation has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_action_reaches_what_another_organisation_has() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let sync = start(&api.client).await;
    let conflict = mismatch(&stack, "SKU-1").await;
    let conflict = conflict.rsplit('/').next().unwrap();
    let stranger = api.client_of(organisation(&stack, OrgId::random()).await);
    let before = rows(&stack.database).await;

    for action in ["status", "pause", "resume", "cancel", "conflicts"] {
        let answer = ask(&stranger, &format!("action={action}&syncId={sync}"), None).await;
        assert!(
            !answer.text.contains(&sync) && !answer.text.contains(conflict),
            "R43: {}",
            answer.text
        );
        answer.problem(404, "not-found");
    }
    let answer = json!({ "conflictId": conflict, "resolution": "reject" });
    for query in [
        "action=resolve-conflict".to_owned(),
        format!("action=resolve-conflict&syncId={sync}"),
    ] {
        ask(&stranger, &query, Some(answer.clone()))
            .await
            .problem(404, "not-found");
    }
    let told = ask(&stranger, "action=conflicts", None).await.ok(200);
    assert_eq!(
        (&told["conflicts"], &told["stats"]["total"]),
        (&json!([]), &json!(0)),
        "R43"
    );
    let theirs = json!({ "connectionIds": [stack.store] });
    let refused = ask(&stranger, "action=start", Some(theirs)).await;
    assert_eq!(refused.status, 422, "R43, R52: {}", refused.text);

    assert_eq!(rows(&stack.database).await, before, "R43");
}
