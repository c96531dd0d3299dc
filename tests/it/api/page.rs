//! Lists, a page at a time (R47: cursors and limits; filters only where a list has one).

use std::collections::BTreeSet;

use lockstep_tests::api::{Api, Client};
use lockstep_tests::stack::Stack;
use serde_json::{Value, json};

use super::{customer, id, product, start};

/// Reads a list to its end; returns the named field of every entry, page by page.
async fn pages(client: &Client, list: &str, limit: usize, field: &str) -> Vec<Vec<String>> {
    let (mut pages, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let after = cursor.map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        let page = client.get(&format!("{list}?limit={limit}{after}")).await.ok(200);
        pages.push(names(&page, field));
        cursor = page["nextCursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return pages;
        }
    }
}

fn names(page: &Value, field: &str) -> Vec<String> {
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| item[field].as_str().unwrap().to_owned())
        .collect()
}

async fn put_many(client: &Client, entities: &str, count: usize) -> BTreeSet<String> {
    let ids: BTreeSet<String> = (0..count).map(|_| id()).collect();
    let content = |n: usize| match entities {
        "products" => product(&format!("SKU-{n}")),
        _ => customer(&format!("person{n}@example.com")),
    };
    let records: Vec<Value> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| json!({ "recordId": id, "content": content(n) }))
        .collect();
    client
        .post(
            &format!("/api/v1/records/{entities}"),
            &json!({ "records": records }),
        )
        .await
        .ok(200);
    ids
}

/// R47: pages hold as many entries as were asked for, each entry once, in the order of their identifiers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_page_without_losing_or_repeating_one() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);

    for entities in ["products", "customers"] {
        let ids = put_many(&api.client, entities, 7).await;
        let list = format!("/api/v1/records/{entities}");
        for (limit, sizes) in [
            (3, vec![3, 3, 1]),
            (7, vec![7]),
            (6, vec![6, 1]),
            (1, vec![1; 7]),
            (200, vec![7]),
        ] {
            let pages = pages(&api.client, &list, limit, "recordId").await;

            assert_eq!(
                pages.iter().map(Vec::len).collect::<Vec<_>>(),
                sizes,
                "R47: {entities}"
            );
            assert_eq!(
                pages.concat(),
                ids.iter().cloned().collect::<Vec<_>>(),
                "R47: {entities}"
            );
        }
    }
}

/// R47: a page has 50 entries unless 1 to 200 are asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_has_fifty_entries_and_at_most_two_hundred() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    put_many(&api.client, "products", 201).await;
    let list = "/api/v1/records/products";

    let default = api.client.get(list).await.ok(200);
    let largest = api.client.get(&format!("{list}?limit=200")).await.ok(200);

    assert_eq!(default["items"].as_array().unwrap().len(), 50, "R47");
    assert_eq!(largest["items"].as_array().unwrap().len(), 200, "R47");
    assert!(
        default["nextCursor"].is_string() && largest["nextCursor"].is_string(),
        "R47"
    );
    for limit in ["0", "-1", "201", "many", ""] {
        let problem = api
            .client
            .get(&format!("{list}?limit={limit}"))
            .await
            .problem(400, "malformed-request");
        assert_eq!(problem["errors"][0]["field"], "limit", "R47: {problem}");
    }
}

/// Makes syncs that are over, several of them of the same instant.
async fn old_syncs(stack: &Stack, api: &Api, count: usize) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for _ in 0..count {
        ids.insert(start(&api.client).await);
        sqlx::query(
            "update sync_orchestration
                set status = 'cancelled', completed_at = now(), created_at = date_trunc('day', now()) - interval '1 day'
              where status = 'queued'",
        )
        .execute(&stack.database.superuser)
        .await
        .unwrap();
    }
    ids
}

/// R47: syncs page newest first, each once, those of the same instant too, and though new ones are started meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syncs_page_without_losing_or_repeating_one() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let old = old_syncs(&stack, &api, 7).await;
    let new = start(&api.client).await;

    let first = api.client.get("/api/v1/syncs?limit=3").await.ok(200);
    start(&api.client).await;
    let mut seen = names(&first, "syncId");
    let mut cursor = first["nextCursor"].as_str().map(str::to_owned);
    while let Some(after) = cursor {
        let page = api
            .client
            .get(&format!("/api/v1/syncs?limit=3&cursor={after}"))
            .await
            .ok(200);
        seen.extend(names(&page, "syncId"));
        cursor = page["nextCursor"].as_str().map(str::to_owned);
    }

    assert_eq!(seen[0], new, "R47: newest first");
    assert_eq!(seen[1..].len(), 7, "R47: {seen:?}");
    assert_eq!(seen[1..].iter().cloned().collect::<BTreeSet<_>>(), old, "R47");
}

/// R47: a list of syncs can be of one status, and pages all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syncs_are_listed_by_status() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let old = old_syncs(&stack, &api, 3).await;
    let new = start(&api.client).await;

    let queued = api.client.get("/api/v1/syncs?status=queued").await.ok(200);
    let first = api
        .client
        .get("/api/v1/syncs?status=cancelled&limit=2")
        .await
        .ok(200);
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = api
        .client
        .get(&format!("/api/v1/syncs?status=cancelled&limit=2&cursor={cursor}"))
        .await
        .ok(200);

    assert_eq!(names(&queued, "syncId"), [new], "R47");
    let cancelled = [names(&first, "syncId"), names(&second, "syncId")];
    assert_eq!(cancelled.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1], "R47");
    assert_eq!(
        cancelled.concat().into_iter().collect::<BTreeSet<_>>(),
        old,
        "R47"
    );
    assert_eq!(
        api.client.get("/api/v1/syncs?status=done").await.ok(200),
        json!({ "items": [] }),
        "R47"
    );
}
