//! Settings of a connection, and who owns what: read, and changed while it is there.

use lockstep_shared::id::OrgId;
use lockstep_tests::api::Api;
use lockstep_tests::stack::Stack;
use serde_json::{Value, json};

use super::{id, organisation, rows, store};

fn usual() -> Value {
    let all = |owner: &str| json!({ "all": owner, "fields": {} });
    json!({
        "customers": { "all": "woocommerce", "fields": { "language": "odoo" } },
        "products": {
            "all": "odoo",
            "fields": {
                "description": "woocommerce",
                "dimensions": "woocommerce",
                "images": "woocommerce",
                "sale": "woocommerce",
                "tags": "woocommerce",
                "taxClass": "woocommerce",
            },
        },
        "orders": { "all": "origin", "fields": { "status": "shared" } },
        "inventory": all("odoo"),
        "payments": all("woocommerce"),
    })
}

fn whole() -> Value {
    json!({
        "currency": "CHF",
        "weightUnit": "g",
        "stock": { "basis": "forecast", "safetyStock": "3", "warehouse": 2 },
        "orderStatuses": { "on_hold": "awaiting-check", "completed": "shipped" },
        "notifiesPeople": true,
        "ownership": usual(),
        "deletions": { "customers": "archive", "products": "ignore", "orders": "ignore", "askAbovePercent": 25 },
    })
}

/// R49: what is set for a connection is shown, whether it was set as it was made or after; what is left out has its default.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_come_back_as_they_were_put() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let mut request = store(&stack);
    request["settings"] = whole();

    let made = api.client.post("/api/v1/connections", &request).await.ok(201);

    assert_eq!(made["settings"], whole(), "R49");
    let path = format!("/api/v1/connections/{}", made["connectionId"].as_str().unwrap());
    let put = api
        .client
        .put(&format!("{path}/settings"), &json!({ "weightUnit": "oz" }))
        .await
        .ok(200);
    let defaults = json!({
        "currency": "USD",
        "weightUnit": "oz",
        "stock": { "basis": "available", "safetyStock": "0" },
        "orderStatuses": {},
        "notifiesPeople": false,
        "ownership": usual(),
        "deletions": { "customers": "ignore", "products": "archive", "orders": "cancel", "askAbovePercent": 10 },
    });
    assert_eq!(put["settings"], defaults, "R49");
    assert_eq!(api.client.get(&path).await.ok(200), put, "R49");
}

/// The owners of fields are read and changed by themselves, and every change stands in the trail with who made it (R71).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_are_changed_and_the_other_settings_stay() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let path = format!("/api/v1/connections/{}", stack.store);
    api.client
        .put(&format!("{path}/settings"), &whole())
        .await
        .ok(200);
    let owners = format!("{path}/ownership");
    assert_eq!(api.client.get(&owners).await.ok(200), usual());
    let products =
        json!({ "all": "newest", "fields": { "weightKg": "odoo", "price": "manual", "sku": "newest" } });

    let put = api
        .client
        .put(&owners, &json!({ "products": products }))
        .await
        .ok(200);

    let mut expected = usual();
    expected["products"] = products;
    assert_eq!(put, expected);
    assert_eq!(api.client.get(&owners).await.ok(200), expected);
    let mut settings = whole();
    settings["ownership"] = expected;
    assert_eq!(api.client.get(&path).await.ok(200)["settings"], settings);
    let trail: Vec<(String, String)> = sqlx::query_as(
        "select action, actor from sync_activity_log where action like 'connection.%_changed' order by created_at",
    )
    .fetch_all(&stack.database.superuser)
    .await
    .unwrap();
    let line = |action: &str| (format!("connection.{action}_changed"), "ada".to_owned());
    assert_eq!(trail, [line("settings"), line("ownership")], "R71");

    let put = api.client.put(&owners, &json!({})).await.ok(200);
    assert_eq!(put, usual(), "a type that is left out has the usual rules again");
}

/// R45: what is wrong is named, and changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_settings_are_refused_by_name_and_change_nothing() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let before = rows(&stack.database).await;

    for (what, body, field) in [
        ("settings", json!([]), ""),
        ("settings", json!({ "speed": 1 }), "speed"),
        ("settings", json!({ "deletions": null }), "deletions"),
        (
            "settings",
            json!({ "deletions": { "products": "cancel" } }),
            "deletions/products",
        ),
        (
            "settings",
            json!({ "deletions": { "payments": "ignore" } }),
            "deletions/payments",
        ),
        (
            "settings",
            json!({ "deletions": { "askAbovePercent": 101 } }),
            "deletions/askAbovePercent",
        ),
        ("settings", json!({ "currency": "EURO" }), "currency"),
        (
            "settings",
            json!({ "stock": { "basis": "guessed" } }),
            "stock/basis",
        ),
        (
            "settings",
            json!({ "stock": { "safetyStock": 3 } }),
            "stock/safetyStock",
        ),
        (
            "settings",
            json!({ "stock": { "safetyStock": "-1" } }),
            "stock/safetyStock",
        ),
        (
            "settings",
            json!({ "stock": { "warehouse": 0 } }),
            "stock/warehouse",
        ),
        (
            "settings",
            json!({ "orderStatuses": { "lost": "x" } }),
            "orderStatuses/lost",
        ),
        (
            "settings",
            json!({ "orderStatuses": { "failed": "" } }),
            "orderStatuses/failed",
        ),
        ("settings", json!({ "notifiesPeople": "yes" }), "notifiesPeople"),
        (
            "settings",
            json!({ "ownership": { "orders": { "all": "origin" } } }),
            "ownership/orders/all",
        ),
        ("ownership", json!({ "invoices": { "all": "odoo" } }), "invoices"),
        (
            "ownership",
            json!({ "products": { "all": "latest" } }),
            "products/all",
        ),
        ("ownership", json!({ "products": null }), "products"),
        (
            "ownership",
            json!({ "products": { "all": "odoo", "fields": { "colour": "odoo" } } }),
            "products/fields/colour",
        ),
        (
            "ownership",
            json!({ "customers": { "all": "odoo", "fields": { "sku": "odoo" } } }),
            "customers/fields/sku",
        ),
        (
            "ownership",
            json!({ "customers": { "all": "odoo", "fields": { "name": "nobody" } } }),
            "customers/fields/name",
        ),
    ] {
        let path = format!("/api/v1/connections/{}/{what}", stack.store);
        let problem = api.client.put(&path, &body).await.problem(422, "invalid");
        assert_eq!(problem["errors"][0]["field"], field, "R45: {body}: {problem}");
    }

    assert_eq!(rows(&stack.database).await, before, "R45");
}

/// R43: another organisation's connection is not there, to read or to change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_organisations_settings_are_out_of_reach() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let stranger = api.client_of(organisation(&stack, OrgId::random()).await);
    let before = rows(&stack.database).await;

    for connection in [stack.store.to_string(), id()] {
        let path = |what: &str| format!("/api/v1/connections/{connection}/{what}");
        stranger.get(&path("ownership")).await.problem(404, "not-found");
        for what in ["ownership", "settings"] {
            let answer = stranger.put(&path(what), &json!({})).await;
            answer.problem(404, "not-found");
        }
    }

    assert_eq!(rows(&stack.database).await, before, "R43");
}
