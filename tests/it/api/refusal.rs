//! What is wrong is refused by name, as a problem document, and leaves nothing behind (R45).

use lockstep_tests::api::{Answer, Api};
use lockstep_tests::stack::Stack;
use reqwest::Method;
use serde_json::{Value, json};

use super::{customer, erp, id, product, rows, store};

/// Words that stand in code and nowhere in an answer.
const INSIDES: [&str; 24] = [
    "i32",
    "u32",
    "struct ",
    "serde",
    "sqlx",
    "poem",
    "lockstep_",
    "::",
    "enum ",
    "src/",
    ".rs",
    "i64",
    "panicked",
    "unwrap",
    "Option<",
    "Error(",
    "Uuid",
    "serde_json",
    "select ",
    "insert into",
    "relation \"",
    "constraint",
    "/home/",
    "/tmp/",
];

#[track_caller]
pub(super) fn assert_problem(answer: &Answer, status: u16, what: &str) {
    assert_eq!(answer.status, status, "R45: {what}: {}", answer.text);
    assert_eq!(
        answer.header("content-type"),
        "application/problem+json",
        "R45: {what}"
    );
    assert_eq!(answer.body["status"], status, "R45: {what}: {}", answer.text);
    let kind = answer.body["type"].as_str().unwrap();
    assert!(
        kind.starts_with("https://lockstep.dev/problems/"),
        "R45: {what}: {}",
        answer.text
    );
    for name in ["title", "detail"] {
        assert!(
            answer.body[name].as_str().is_some_and(|text| !text.is_empty()),
            "R45: {what}: {}",
            answer.text
        );
    }
    for inside in INSIDES {
        let shown = answer.text.replace(kind, "");
        assert!(
            !shown.contains(inside),
            "R45: `{inside}` in the answer to {what}: {}",
            answer.text
        );
    }
}

pub(super) fn fields(answer: &Answer) -> Vec<&str> {
    let errors = answer.body["errors"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    errors
        .iter()
        .map(|error| error["field"].as_str().unwrap())
        .collect()
}

/// A value with some of its fields changed; `null` takes one away.
fn changed(mut value: Value, changes: &[(&str, Value)]) -> Value {
    for (pointer, to) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = value.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match to {
            Value::Null => parent.remove(name),
            to => parent.insert(name.to_owned(), to.clone()),
        };
    }
    value
}

/// R45: bodies whose fields are wrong are a 422 that names each of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_field_is_refused_by_its_name_and_nothing_is_stored() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let syncs = |body: Value, field: &'static str| ("/api/v1/syncs".to_owned(), body, field);
    let config = |config: Value, field: &'static str| syncs(json!({ "syncConfig": config }), field);
    let connections = |changes: &[(&str, Value)], field: &'static str| {
        (
            "/api/v1/connections".to_owned(),
            changed(store(&stack), changes),
            field,
        )
    };
    let products = |changes: &[(&str, Value)], field: &'static str| {
        (
            format!("/api/v1/records/products/{}", id()),
            changed(product("SKU-1"), changes),
            field,
        )
    };
    let customers = |changes: &[(&str, Value)], field: &'static str| {
        (
            format!("/api/v1/records/customers/{}", id()),
            changed(customer("ada@example.com"), changes),
            field,
        )
    };
    let record = |entities: &str, body: Value, field: &'static str| {
        (format!("/api/v1/records/{entities}/{}", id()), body, field)
    };
    let orders = |changes: &[(&str, Value)], field: &'static str| {
        let order = json!({
            "number": "1",
            "currency": "EUR",
            "placedAt": "2026-11-02T09:30:15Z",
            "lines": [{ "key": "1", "subtotal": "5", "total": "5" }],
            "total": "5",
        });
        record("orders", changed(order, changes), field)
    };
    let inventory = |body: Value, field: &'static str| record("inventory", body, field);
    let payments = |changes: &[(&str, Value)], field: &'static str| {
        let payment = json!({
            "order": { "record": id() },
            "amount": { "amount": "5", "currency": "EUR" },
            "madeAt": "2026-11-02T09:30:15Z",
        });
        record("payments", changed(payment, changes), field)
    };
    let bulk = |body: Value, field: &'static str| ("/api/v1/records/products".to_owned(), body, field);
    let cases = vec![
        syncs(json!([]), ""),
        syncs(json!("start"), ""),
        syncs(json!(null), ""),
        syncs(json!({ "dryRun": true }), "dryRun"),
        syncs(json!({ "systems": "odoo" }), "systems"),
        syncs(json!({ "systems": [] }), "systems"),
        syncs(json!({ "systems": null }), "systems"),
        syncs(json!({ "systems": ["shopify"] }), "systems/0"),
        syncs(json!({ "systems": ["odoo", 7] }), "systems/1"),
        syncs(json!({ "entityTypes": [] }), "entityTypes"),
        syncs(
            json!({ "entityTypes": ["products", "invoices"] }),
            "entityTypes/1",
        ),
        syncs(json!({ "connectionIds": [] }), "connectionIds"),
        syncs(json!({ "connectionIds": ["x"] }), "connectionIds/0"),
        syncs(json!({ "connectionIds": [stack.store, id()] }), "connectionIds/1"),
        syncs(
            json!({ "connectionIds": [stack.store], "systems": ["odoo"] }),
            "connectionIds/0",
        ),
        config(json!([]), "syncConfig"),
        config(json!(null), "syncConfig"),
        config(json!({ "speed": 1 }), "syncConfig/speed"),
        config(json!({ "fullScan": "yes" }), "syncConfig/fullScan"),
        config(json!({ "batchSize": "50" }), "syncConfig/batchSize"),
        config(json!({ "batchSize": 1.5 }), "syncConfig/batchSize"),
        config(json!({ "batchSize": 1e99 }), "syncConfig/batchSize"),
        connections(&[("/system", json!("shopify"))], "system"),
        connections(&[("/system", Value::Null)], "system"),
        connections(&[("/name", Value::Null)], "name"),
        connections(&[("/name", json!(5))], "name"),
        connections(&[("/name", json!(" "))], "name"),
        connections(&[("/name", json!("x".repeat(201)))], "name"),
        connections(&[("/baseUrl", Value::Null)], "baseUrl"),
        connections(&[("/baseUrl", json!("shop"))], "baseUrl"),
        connections(&[("/password", json!("x"))], "password"),
        connections(&[("/credentials", Value::Null)], "credentials"),
        connections(
            &[("/credentials/consumerKey", Value::Null)],
            "credentials/consumerKey",
        ),
        connections(
            &[("/credentials/consumerKey", json!(""))],
            "credentials/consumerKey",
        ),
        connections(&[("/credentials/apiKey", json!("x"))], "credentials/apiKey"),
        connections(
            &[("/settings", json!({ "currency": "EURO" }))],
            "settings/currency",
        ),
        connections(
            &[("/settings", json!({ "weightUnit": "stone" }))],
            "settings/weightUnit",
        ),
        connections(&[("/settings", json!({ "language": "de" }))], "settings/language"),
        (
            "/api/v1/connections".to_owned(),
            changed(erp(&stack), &[("/credentials/login", Value::Null)]),
            "credentials/login",
        ),
        products(&[("/name", Value::Null)], "name"),
        products(&[("/name", json!(""))], "name"),
        products(&[("/name", json!("a\0b"))], "name"),
        products(&[("/name", json!("x".repeat(251)))], "name"),
        products(&[("/colour", json!("red"))], "colour"),
        products(&[("/status", json!("gone"))], "status"),
        products(&[("/tracksStock", json!("yes"))], "tracksStock"),
        products(&[("/variants", Value::Null)], "variants"),
        products(&[("/variants", json!([]))], "variants"),
        products(&[("/variants", json!([{ "sku": 7 }]))], "variants/0/sku"),
        products(
            &[("/variants", json!([{ "weightKg": "-1" }]))],
            "variants/0/weightKg",
        ),
        products(
            &[(
                "/variants",
                json!([{ "price": { "amount": 9.5, "currency": "EUR" } }]),
            )],
            "variants/0/price/amount",
        ),
        products(
            &[(
                "/variants",
                json!([{ "price": { "amount": "9.5", "currency": "EURO" } }]),
            )],
            "variants/0/price/currency",
        ),
        customers(&[("/name", Value::Null)], "name"),
        customers(&[("/billing", json!("London"))], "billing"),
        customers(
            &[("/billing", json!({ "country": "Germany" }))],
            "billing/country",
        ),
        customers(&[("/email", json!("x".repeat(251)))], "email"),
        customers(&[("/isActive", json!(1))], "isActive"),
        orders(&[("/number", json!(" "))], "number"),
        orders(&[("/number", json!("x".repeat(251)))], "number"),
        orders(&[("/origin", json!("shopify"))], "origin"),
        orders(&[("/status", json!("shipped"))], "status"),
        orders(&[("/currency", json!("EURO"))], "currency"),
        orders(&[("/placedAt", json!("2026-11-02 09:30"))], "placedAt"),
        orders(&[("/placedAt", Value::Null)], "placedAt"),
        orders(&[("/customer", json!(id()))], "customer"),
        orders(&[("/customer", json!({ "record": "x" }))], "customer/record"),
        orders(
            &[("/customer", json!({ "record": id(), "variant": "a=b" }))],
            "customer/variant",
        ),
        orders(
            &[("/billing", json!({ "address": { "country": "Germany" } }))],
            "billing/address/country",
        ),
        orders(&[("/coupons", json!(["x".repeat(251)]))], "coupons/0"),
        orders(&[("/total", json!(5))], "total"),
        orders(&[("/total", json!("1000000000000000"))], "total"),
        orders(&[("/lines/0/key", json!("a b"))], "lines/0/key"),
        orders(&[("/lines/0/key", json!("x".repeat(61)))], "lines/0/key"),
        orders(&[("/lines/0/kind", json!("gift"))], "lines/0/kind"),
        orders(&[("/lines/0/quantity", json!(1))], "lines/0/quantity"),
        orders(&[("/lines/0/price", json!("1"))], "lines/0/price"),
        orders(
            &[("/lines/0/taxes", json!([{ "amount": "much" }]))],
            "lines/0/taxes/0/amount",
        ),
        orders(
            &[("/lines/0/product", json!({ "record": id(), "part": "a=b" }))],
            "lines/0/product/part",
        ),
        inventory(json!({ "quantity": "1" }), "product"),
        inventory(
            json!({ "product": { "record": id() }, "quantity": 1 }),
            "quantity",
        ),
        inventory(
            json!({ "product": { "record": id() }, "quantity": "1", "unit": "kg" }),
            "unit",
        ),
        payments(&[("/order", Value::Null)], "order"),
        payments(&[("/kind", json!("lost"))], "kind"),
        payments(&[("/amount/amount", json!("0"))], "amount"),
        payments(&[("/amount/amount", json!("-1"))], "amount"),
        payments(&[("/madeAt", json!(1_793_000_000))], "madeAt"),
        payments(&[("/method", json!("x".repeat(251)))], "method"),
        payments(&[("/lines", json!([{ "line": "1", "total": "1" }]))], "lines"),
        bulk(json!({}), "records"),
        bulk(json!({ "records": [] }), "records"),
        bulk(
            json!({ "records": [{ "content": product("SKU-1") }] }),
            "records/0/recordId",
        ),
        bulk(
            json!({ "records": [{ "recordId": "x", "content": product("SKU-1") }] }),
            "records/0/recordId",
        ),
        bulk(json!({ "records": [{ "recordId": id() }] }), "records/0/content"),
        bulk(
            json!({ "records": [{ "recordId": id(), "content": product("SKU-1"), "x": 1 }] }),
            "records/0/x",
        ),
        bulk(
            json!({ "records": vec![json!({ "recordId": id(), "content": {} }); 1001] }),
            "records",
        ),
    ];
    let before = rows(&stack.database).await;

    for (path, body, field) in cases {
        let is_one_record = path.matches('/').count() == "/api/v1/records/products/id".matches('/').count();
        let answer = if is_one_record {
            api.client.put(&path, &body).await
        } else {
            api.client.post(&path, &body).await
        };
        let mut what = format!("{path} with {body}");
        what.truncate(300);
        assert_problem(&answer, 422, &what);
        assert_eq!(fields(&answer), [field], "R45: {what}: {}", answer.text);
    }

    assert_eq!(rows(&stack.database).await, before, "R45");
}

/// R45: what can't be read as what was asked for at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_can_not_be_read_is_refused_and_nothing_is_stored() {
    const JSON: Option<&str> = Some("application/json");
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let syncs = "/api/v1/syncs";
    let cases = [
        (syncs, JSON, "{".to_owned(), 400, "malformed-request"),
        (syncs, JSON, String::new(), 400, "malformed-request"),
        (syncs, JSON, "{}{}".to_owned(), 400, "malformed-request"),
        (syncs, JSON, "[".repeat(100_000), 400, "malformed-request"),
        (
            syncs,
            JSON,
            "{\"systems\": [\"\u{fffd}\"".to_owned(),
            400,
            "malformed-request",
        ),
        (
            syncs,
            Some("text/plain"),
            "{}".to_owned(),
            415,
            "unsupported-media-type",
        ),
        (
            syncs,
            Some("application/x-www-form-urlencoded"),
            "a=1".to_owned(),
            415,
            "unsupported-media-type",
        ),
        (syncs, None, "{}".to_owned(), 415, "unsupported-media-type"),
        (syncs, JSON, " ".repeat((1 << 20) + 1), 413, "body-too-large"),
        (
            "/api/v1/connections",
            JSON,
            " ".repeat(2 << 20),
            413,
            "body-too-large",
        ),
        (
            "/api/v1/records/products",
            JSON,
            " ".repeat((8 << 20) + 1),
            413,
            "body-too-large",
        ),
        (
            "/api/v1/syncs?dry=1",
            JSON,
            "{}".to_owned(),
            400,
            "malformed-request",
        ),
        ("/api/v1/nothing", JSON, "{}".to_owned(), 404, "not-found"),
        ("/api/v2/syncs", JSON, "{}".to_owned(), 404, "not-found"),
        (
            "/api/v1/records/invoices",
            JSON,
            "{}".to_owned(),
            404,
            "not-found",
        ),
    ];
    let before = rows(&stack.database).await;

    for (path, content_type, body, status, kind) in cases {
        let mut request = api.client.request(Method::POST, path);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let what = format!("{path} as {content_type:?} with {} bytes", body.len());
        let answer = api.client.send(request.body(body)).await;
        assert_problem(&answer, status, &what);
        assert_eq!(
            answer.body["type"],
            format!("https://lockstep.dev/problems/{kind}"),
            "R45: {what}"
        );
    }

    assert_eq!(rows(&stack.database).await, before, "R45");
}

/// R45: the largest body that is allowed is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_just_the_limit_is_read() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);

    for (path, limit) in [("/api/v1/syncs", 1 << 20), ("/api/v1/records/products", 8 << 20)] {
        let body = format!("{{\"x\": 1}}{}", " ".repeat(limit - 8));
        let request = api
            .client
            .request(Method::POST, path)
            .header("content-type", "application/json");
        let answer = api.client.send(request.body(body)).await;
        assert_problem(&answer, 422, path);
    }
}

/// R45: a method that is not possible is a 405 that says which are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_that_is_not_possible_is_refused_with_those_that_are() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let record = format!("/api/v1/records/products/{}", id());
    api.client.put(&record, &product("SKU-1")).await.ok(201);
    let before = rows(&stack.database).await;

    for (method, path, allow) in [
        (Method::DELETE, "/livez", "GET, HEAD"),
        (Method::POST, "/openapi.json", "GET, HEAD"),
        (Method::DELETE, "/api/v1/syncs", "GET, POST, HEAD"),
        (Method::PUT, "/api/v1/connections", "GET, POST, HEAD"),
        (
            Method::PUT,
            &format!("/api/v1/connections/{}", stack.store),
            "DELETE, GET, HEAD",
        ),
        (Method::PATCH, &record, "GET, PUT, HEAD"),
        (Method::DELETE, &record, "GET, PUT, HEAD"),
    ] {
        let answer = api
            .client
            .send(api.client.request(method.clone(), path).json(&json!({})))
            .await;
        assert_problem(&answer, 405, &format!("{method} {path}"));
        assert_eq!(answer.header("allow"), allow, "R45: {method} {path}");
    }

    assert_eq!(rows(&stack.database).await, before, "R45");
}

/// R45: parameters of the address are checked as fields are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_parameter_is_refused_by_its_name() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    super::start(&api.client).await;
    super::start(&api.client).await;
    let page = api.client.get("/api/v1/syncs?limit=1").await.ok(200);
    let of_syncs = page["nextCursor"].as_str().unwrap();

    for (path, field) in [
        ("/api/v1/syncs/7", "syncId"),
        ("/api/v1/connections/x", "connectionId"),
        (
            "/api/v1/records/products/00000000-0000-0000-0000-00000000000g",
            "recordId",
        ),
        ("/api/v1/records/customers/%20", "recordId"),
        ("/api/v1/syncs?status=gone", "status"),
        ("/api/v1/syncs?stauts=done", "stauts"),
        ("/api/v1/syncs?cursor=", "cursor"),
        ("/api/v1/syncs?cursor=x", "cursor"),
        (&*format!("/api/v1/records/products?cursor={of_syncs}"), "cursor"),
        (
            &*format!("/api/v1/syncs?cursor={}x", &of_syncs[..of_syncs.len() - 4]),
            "cursor",
        ),
        ("/api/v1/connections?limit=1", "limit"),
        ("/api/v1/records/customers?limit=0", "limit"),
    ] {
        let answer = api.client.get(path).await;
        assert_problem(&answer, 400, path);
        assert_eq!(fields(&answer), [field], "R45: {path}: {}", answer.text);
    }
    let answer = api
        .client
        .put("/api/v1/records/products/x", &product("SKU-1"))
        .await;
    assert_problem(&answer, 400, "a put under a wrong identifier");
    assert_eq!(fields(&answer), ["recordId"], "R45");
}

/// R45: who takes no JSON is told that there is nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_another_form_is_not_to_be_had() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);

    let request = api
        .client
        .request(Method::GET, "/api/v1/syncs")
        .header("accept", "text/html");

    assert_problem(&api.client.send(request).await, 406, "accept: text/html");
}
