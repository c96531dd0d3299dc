//! Conflicts through the API: shown, chosen, refused, counted.

use std::collections::BTreeSet;

use lockstep_shared::conflict::{self, ConflictType, Course, NewConflict};
use lockstep_shared::id::{ItemId, OrgId};
use lockstep_shared::strategy::Strategy;
use lockstep_shared::system::EntityType;
use lockstep_tests::api::Api;
use lockstep_tests::make;
use lockstep_tests::stack::Stack;
use reqwest::Method;
use serde_json::{Value, json};

use super::{id, organisation, rows, start};

/// A conflict about a product of the store that both sides call by other names; returns its address.
pub(super) async fn mismatch(stack: &Stack, sku: &str) -> String {
    let record = stack.put(make::product(sku, 1000)).await;
    let item: ItemId =
        sqlx::query_scalar("select item_id from item where record_id = $1 and connection_id = $2")
            .bind(record.0)
            .bind(stack.store.0)
            .fetch_one(&stack.database.superuser)
            .await
            .unwrap();
    let named = |name: &str| {
        let mut json = make::product(sku, 1000).canonical().unwrap().to_json();
        json["name"] = json!(name);
        json
    };
    let data = json!({
        "reason": "both sides changed: `name`", "fields": ["name", "tax_class"], "externalId": "7",
        "base": named("Old"), "ours": named("Ours"), "theirs": named("Theirs"), "proposed": named("Ours"),
    });
    open(stack, Some(item), ConflictType::DataMismatch, data).await
}

/// A conflict as a worker opens it; returns its address.
async fn open(stack: &Stack, item: Option<ItemId>, conflict_type: ConflictType, data: Value) -> String {
    let new = NewConflict {
        sync: None,
        connection: stack.store,
        item,
        entity: EntityType::Products,
        conflict_type,
        course: Course::of(Strategy::Manual),
        data,
    };
    let mut tx = stack.begin_as_worker().await;
    conflict::open(&mut tx, stack.org, &new).await.unwrap();
    tx.commit().await.unwrap();
    let id: uuid::Uuid = sqlx::query_scalar("select id from sync_conflict order by created_at desc limit 1")
        .fetch_one(&stack.database.superuser)
        .await
        .unwrap();
    format!("/api/v1/conflicts/{id}")
}

fn ids(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| format!("/api/v1/conflicts/{}", item["conflictId"].as_str().unwrap()))
        .collect()
}

/// R23, R47: conflicts are listed newest first, page by page, and by what they are about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_are_listed_by_what_they_are_about() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(mismatch(&stack, &format!("SKU-{number}")).await);
    }
    made.push(open(&stack, None, ConflictType::DuplicateKey, json!({"reason": "two"})).await);
    let list = async |query: String| {
        let page = api
            .client
            .get(&format!("/api/v1/conflicts?{query}"))
            .await
            .ok(200);
        ids(&page)
    };

    let mut seen = Vec::new();
    let mut query = "limit=2".to_owned();
    loop {
        let page = api
            .client
            .get(&format!("/api/v1/conflicts?{query}"))
            .await
            .ok(200);
        seen.extend(ids(&page));
        let Some(next) = page["nextCursor"].as_str() else {
            break;
        };
        query = format!("limit=2&cursor={next}");
    }

    made.reverse();
    assert_eq!(seen, made, "R47");
    assert_eq!(list("type=DuplicateKey".to_owned()).await, made[..1]);
    assert_eq!(list("type=DataMismatch".to_owned()).await, made[1..]);
    assert_eq!(list("field=taxClass".to_owned()).await, made[1..]);
    assert_eq!(list("field=name&state=open".to_owned()).await, made[1..]);
    assert_eq!(list(format!("connectionId={}", stack.store)).await, made);
    for nothing in [
        format!("connectionId={}", stack.erp),
        format!("syncId={}", id()),
        "state=resolved".to_owned(),
        "strategy=AutoRetry".to_owned(),
        "entityType=orders".to_owned(),
        "field=price".to_owned(),
    ] {
        assert_eq!(list(nothing.clone()).await, Vec::<String>::new(), "{nothing}");
    }
    for (query, field) in [
        ("type=Quarrel", "type"),
        ("state=gone", "state"),
        ("limit=0", "limit"),
        ("cursor=x", "cursor"),
        ("color=red", "color"),
    ] {
        let problem = api
            .client
            .get(&format!("/api/v1/conflicts?{query}"))
            .await
            .problem(400, "malformed-request");
        assert_eq!(problem["errors"][0]["field"], field, "R45: {problem}");
    }
}

/// R23: a conflict shows both sides in the names of the API, and what can be done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_shows_both_sides() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let address = mismatch(&stack, "SKU-1").await;

    let answer = api.client.get(&address).await;

    assert_eq!(answer.header("etag"), "\"1\"");
    let shown = answer.ok(200);
    assert_eq!(shown["theirs"]["name"], "Theirs", "R23");
    assert_eq!(
        shown["theirs"]["variants"][0]["price"],
        json!({"amount": "10", "currency": "USD"}),
        "R23"
    );
    assert_eq!(shown["fields"], json!(["name", "taxClass"]));
    assert_eq!(shown["reason"], "both sides changed: `name`");
    assert_eq!(shown["externalId"], "7");
    assert_eq!(shown["details"], Value::Null);
    assert!(shown["next"].as_str().unwrap().contains("`accept`"), "R23");
}

/// R43: another organisation's conflicts are not there, and can't be answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_organisations_conflicts_are_not_there() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let address = mismatch(&stack, "SKU-1").await;
    let stranger = api.client_of(organisation(&stack, OrgId::random()).await);
    let before = rows(&stack.database).await;

    stranger.get(&address).await.problem(404, "not-found");
    let answer = json!({"resolution": "reject"});
    stranger
        .post(&format!("{address}/resolve"), &answer)
        .await
        .problem(404, "not-found");
    let list = stranger.get("/api/v1/conflicts").await.ok(200);
    assert_eq!(list, json!({"items": []}), "R43");
    let statistics = stranger.get("/api/v1/conflicts/statistics").await.ok(200);
    assert_eq!(statistics["total"], 0, "R43");

    assert_eq!(rows(&stack.database).await, before, "R43");
    let many = stranger.post("/api/v1/conflicts/resolve", &answer).await.ok(202);
    assert_eq!(many, json!({"accepted": 0, "left": 0}), "R43");
    assert_eq!(api.client.get(&address).await.ok(200)["state"], "open", "R43");
}

/// R45: an answer that can't be one is refused by name, and leaves nothing behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_answer_is_refused() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let about_item = mismatch(&stack, "SKU-1").await;
    let about_none = open(&stack, None, ConflictType::DuplicateKey, json!({"reason": "two"})).await;
    let about_key = open(&stack, None, ConflictType::AuthError, json!({"reason": "401"})).await;
    let before = rows(&stack.database).await;

    for (body, field) in [
        (json!([]), ""),
        (json!({}), "resolution"),
        (json!({"resolution": "perhaps"}), "resolution"),
        (json!({"resolution": "custom"}), "customData"),
        (json!({"resolution": "accept", "customData": {}}), "customData"),
        (json!({"resolution": "accept", "when": "later"}), "when"),
        (json!({"resolution": "accept", "why": "so"}), "why"),
        (json!({"resolution": "custom", "customData": []}), "customData"),
        (
            json!({"resolution": "custom", "customData": {"name": "", "variants": [{}]}}),
            "customData/name",
        ),
    ] {
        let problem = api
            .client
            .post(&format!("{about_item}/resolve"), &body)
            .await
            .problem(422, "invalid");
        assert_eq!(problem["errors"][0]["field"], field, "R45: {body}: {problem}");
    }
    for (body, field) in [
        (json!({}), "resolution"),
        (json!({"resolution": "custom"}), "resolution"),
        (json!({"resolution": "accept", "type": "Quarrel"}), "type"),
        (json!({"resolution": "accept", "state": "open"}), "state"),
    ] {
        let problem = api
            .client
            .post("/api/v1/conflicts/resolve", &body)
            .await
            .problem(422, "invalid");
        assert_eq!(problem["errors"][0]["field"], field, "R45: {body}: {problem}");
    }
    for (address, resolution) in [
        (&about_none, "accept"),
        (&about_key, "accept"),
        (&about_key, "reject"),
    ] {
        api.client
            .post(&format!("{address}/resolve"), &json!({"resolution": resolution}))
            .await
            .problem(409, "conflict-not-answerable");
    }
    api.client
        .post(
            &format!("/api/v1/conflicts/{}/resolve", id()),
            &json!({"resolution": "accept"}),
        )
        .await
        .problem(404, "not-found");

    assert_eq!(rows(&stack.database).await, before, "R45");
    let answer = json!({"resolution": "reject"});
    api.client
        .post(&format!("{about_none}/resolve"), &answer)
        .await
        .ok(202);
}

/// R5: a sync of an answer's own is an active one like any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_needs_a_sixth_sync_is_refused() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let address = mismatch(&stack, "SKU-1").await;
    for _ in 0..5 {
        start(&api.client).await;
    }
    let before = rows(&stack.database).await;

    let answer = json!({"resolution": "accept", "when": "now"});
    let problem = api
        .client
        .post(&format!("{address}/resolve"), &answer)
        .await
        .problem(409, "too-many-active-syncs");

    assert_eq!(problem["runningSyncs"].as_array().unwrap().len(), 5, "R5");
    assert_eq!(rows(&stack.database).await, before, "R5");
    let next = json!({"resolution": "accept", "when": "next"});
    let answered = api
        .client
        .post(&format!("{address}/resolve"), &next)
        .await
        .ok(202);
    assert_eq!(answered["state"], "resolving");
}

/// R41: an answer is a row and a bell in one transaction; nothing else happens until a worker comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_only_written_down() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let address = mismatch(&stack, "SKU-1").await;
    let before = rows(&stack.database).await;

    let request = api
        .client
        .request(Method::POST, &format!("{address}/resolve"))
        .header("If-Match", "\"1\"")
        .json(&json!({"resolution": "reject"}));
    let answer = api.client.send(request).await;

    assert_eq!(answer.header("etag"), "\"2\"");
    answer.ok(202);
    let after = rows(&stack.database).await;
    let changed: BTreeSet<&str> = after
        .iter()
        .filter(|(table, lines)| before[*table] != **lines)
        .map(|(table, _)| table.as_str())
        .collect();
    assert_eq!(
        changed,
        BTreeSet::from([
            "apalis.jobs",
            "public.conflict_resolution",
            "public.sync_activity_log",
            "public.sync_conflict"
        ]),
        "R41"
    );
}

/// R26: conflicts are counted by what tells them apart, hour by hour and day by day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_are_counted_by_kind_and_over_time() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    // So that a test at the end of an hour is not one of two.
    for (sku, at) in [
        ("SKU-1", "2026-03-01T10:05:00Z"),
        ("SKU-2", "2026-03-01T10:55:00Z"),
        ("SKU-3", "2026-03-01T12:00:00Z"),
        ("SKU-4", "2026-03-02T09:00:00Z"),
    ] {
        let address = mismatch(&stack, sku).await;
        let id = address.rsplit('/').next().unwrap();
        sqlx::query("update sync_conflict set created_at = $2::timestamptz where id = $1::uuid")
            .bind(id)
            .bind(at)
            .execute(&stack.database.superuser)
            .await
            .unwrap();
    }
    sqlx::query(
        "update sync_conflict set is_resolved = true, resolution_action = 'solved_itself', strategy = 'AutoRetry',
                resolved_at = '2026-03-02T09:30:00Z'
          where created_at = '2026-03-01T12:00:00Z'",
    )
    .execute(&stack.database.superuser)
    .await
    .unwrap();

    let span = "from=2026-03-01T00:00:00Z&to=2026-03-03T00:00:00Z";
    let shown = api
        .client
        .get(&format!("/api/v1/conflicts/statistics?{span}"))
        .await
        .ok(200);

    assert_eq!(shown["total"], 4, "R26");
    assert_eq!(shown["byType"], json!({"DataMismatch": 4}), "R26");
    assert_eq!(shown["byStrategy"], json!({"AutoRetry": 1, "Manual": 3}), "R26");
    assert_eq!(shown["bySystem"], json!({"woocommerce": 4}), "R26");
    assert_eq!(shown["byEntityType"], json!({"products": 4}), "R26");
    assert_eq!(shown["byState"], json!({"open": 3, "resolved": 1}), "R26");
    let points = |name: &str| -> Vec<(String, i64, i64, i64)> {
        let number = |point: &Value, name: &str| point[name].as_i64().unwrap();
        let points = shown[name].as_array().unwrap().iter();
        points
            .map(|point| {
                let at = point["at"].as_str().unwrap()[..13].to_owned();
                let opened = number(point, "opened");
                (
                    at,
                    opened,
                    number(point, "resolved"),
                    number(point, "solvedThemselves"),
                )
            })
            .collect()
    };
    let point = |at: &str, opened, resolved| (at.to_owned(), opened, resolved, resolved);
    assert_eq!(
        points("perHour"),
        [
            point("2026-03-01T10", 2, 0),
            point("2026-03-01T12", 1, 0),
            point("2026-03-02T09", 1, 1),
        ],
        "R26"
    );
    assert_eq!(
        points("perDay"),
        [point("2026-03-01T00", 3, 0), point("2026-03-02T00", 1, 1)],
        "R26"
    );
    let first = "from=2026-03-01T00:00:00Z&to=2026-03-01T11:00:00Z";
    let first = api
        .client
        .get(&format!("/api/v1/conflicts/statistics?{first}"))
        .await
        .ok(200);
    assert_eq!(first["total"], 2, "R26");
    for (query, field) in [
        ("from=yesterday", "from"),
        ("from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", "from"),
        ("from=2020-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", "from"),
    ] {
        let problem = api
            .client
            .get(&format!("/api/v1/conflicts/statistics?{query}"))
            .await
            .problem(400, "malformed-request");
        assert_eq!(problem["errors"][0]["field"], field, "R45: {problem}");
    }
}
