//! Records: put one by one or many at once, and read with how each system sees them.

use lockstep_tests::api::Api;
use lockstep_tests::stack::Stack;
use serde_json::{Value, json};

use super::{customer, id, product, rows, start, watch};

/// A product that says everything a product can, in its canonical form.
fn whole_product() -> Value {
    let variant = |color: &str, sku: &str| {
        json!({
            "attributes": [{ "name": "Color", "option": color }],
            "sku": sku,
            "barcode": "4006381333931",
            "price": { "amount": "19.9", "currency": "EUR" },
            "sale": { "price": "14.5", "from": "2026-11-27T00:00:00Z", "until": "2026-11-30T23:59:59Z" },
            "weightKg": "0.35",
            "dimensions": { "lengthCm": "40", "widthCm": "25.5", "heightCm": "2" },
        })
    };
    json!({
        "name": "Käsebrett “Söjle” 张",
        "status": "private",
        "kind": "goods",
        "tracksStock": true,
        "description": "<p>Holds <b>cheese</b>,\nand a little more.</p>",
        "summary": "Holds cheese",
        "categories": [["Küche"], ["Küche", "Bretter"]],
        "tags": ["Holz", "Käse"],
        "taxClass": "reduced-rate",
        "images": ["https://shop.example.com/board.jpg", "https://shop.example.com/back.jpg"],
        "variants": [variant("Blue", "BOARD-B"), variant("Red", "BOARD-R")],
    })
}

fn whole_customer() -> Value {
    let address = |street: &str| {
        json!({
            "name": "Zoë Weiß", "street": street, "street2": "c/o Brückner", "city": "Zürich", "postcode": "8001",
            "state": "ZH", "country": "CH",
        })
    };
    json!({
        "name": "Sinéad O'Neil",
        "email": "sinead@example.com",
        "phone": "+44 20 7946 0000",
        "company": "Maple & Sons",
        "taxNumber": "CHE-123.456.788",
        "language": "de_CH",
        "billing": address("Bahnhofstrasse 1"),
        "shipping": address("Langstrasse 2"),
        "isActive": false,
    })
}

/// R50: what was put is what comes back, one by one and in lists.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_comes_back_as_it_was_put() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);

    for (entities, content) in [("products", whole_product()), ("customers", whole_customer())] {
        let record = id();
        let list = format!("/api/v1/records/{entities}");
        let path = format!("{list}/{record}");

        let put = api.client.put(&path, &content).await;

        assert_eq!(put.header("location"), path);
        let put = put.ok(201);
        assert_eq!(
            (&put["recordId"], &put["content"]),
            (&json!(record), &content),
            "R50"
        );
        assert_eq!(api.client.get(&path).await.ok(200), put, "R50");
        assert_eq!(
            api.client.get(&list).await.ok(200),
            json!({ "items": [put] }),
            "R50"
        );
    }
}

/// R50: a record has a version for each change of its content; the same content is no change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_change_of_content_makes_a_version_and_work() {
    let mut stack = Stack::new().await;
    let api = Api::start(&stack);
    let path = format!("/api/v1/records/products/{}", id());
    api.client.put(&path, &product("SKU-1")).await.ok(201);
    stack.work();
    watch(&api.client, &start(&api.client).await).await;
    let states = |record: &Value| -> Vec<Value> {
        record["connections"]
            .as_array()
            .unwrap()
            .iter()
            .map(|connection| connection["state"].clone())
            .collect()
    };

    let same = api.client.put(&path, &product("SKU-1")).await.ok(200);
    let changed = api.client.put(&path, &product("SKU-2")).await.ok(200);

    assert_eq!(
        (&same["version"], states(&same)),
        (&json!(1), vec![json!("synced"), json!("synced")]),
        "R50"
    );
    assert_eq!(
        (&changed["version"], states(&changed)),
        (&json!(2), vec![json!("pending"), json!("pending")]),
        "R50"
    );
}

/// R50: each record of a bulk request has a result of its own, and one that is refused leaves the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_record_leaves_those_beside_it() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let [new, known, same, foreign, bad, twice] = std::array::from_fn(|_| id());
    let path = |id: &str| format!("/api/v1/records/products/{id}");
    api.client.put(&path(&known), &product("KNOWN")).await.ok(201);
    api.client.put(&path(&same), &product("SAME")).await.ok(201);
    api.client
        .put(
            &format!("/api/v1/records/customers/{foreign}"),
            &customer("ada@example.com"),
        )
        .await
        .ok(201);
    let mut wrong = product("BAD");
    wrong["variants"][0]["price"]["amount"] = json!(19.9);
    let record = |id: &str, content: Value| json!({ "recordId": id, "content": content });

    let request = json!({ "records": [
        record(&new, product("NEW")),
        record(&known, product("KNOWN-2")),
        record(&bad, wrong),
        record(&same, product("SAME")),
        record(&foreign, product("FOREIGN")),
        record(&twice, product("TWICE")),
        record(&twice, product("TWICE-2")),
    ]});
    let answer = api
        .client
        .post("/api/v1/records/products", &request)
        .await
        .ok(200);

    let results = answer["results"].as_array().unwrap();
    let shown: Vec<(&str, &str, &str)> = results
        .iter()
        .map(|result| {
            let field = result["errors"][0]["field"].as_str().unwrap_or_default();
            (
                result["recordId"].as_str().unwrap(),
                result["outcome"].as_str().unwrap(),
                field,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (&*new, "created", ""),
            (&*known, "changed", ""),
            (&*bad, "refused", "content/variants/0/price/amount"),
            (&*same, "unchanged", ""),
            (&*foreign, "refused", "recordId"),
            (&*twice, "created", ""),
            (&*twice, "refused", "recordId"),
        ],
        "R50"
    );
    let sku =
        async |id: &str| api.client.get(&path(id)).await.ok(200)["content"]["variants"][0]["sku"].clone();
    assert_eq!(
        [sku(&new).await, sku(&known).await, sku(&twice).await],
        ["NEW", "KNOWN-2", "TWICE"],
        "R50"
    );
    api.client.get(&path(&bad)).await.problem(404, "not-found");
    api.client.get(&path(&foreign)).await.problem(404, "not-found");
    api.client
        .get(&format!("/api/v1/records/customers/{foreign}"))
        .await
        .ok(200);
}

/// R50: where every record is refused, nothing is stored but the line of the audit trail that says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_stored_of_records_that_are_all_refused() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let mut before = rows(&stack.database).await;

    let request =
        json!({ "records": [{ "recordId": id(), "content": {} }, { "recordId": id(), "content": 7 }] });
    let answer = api
        .client
        .post("/api/v1/records/products", &request)
        .await
        .ok(200);

    let outcomes: Vec<&Value> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| &result["outcome"])
        .collect();
    assert_eq!(outcomes, ["refused", "refused"], "R50");
    let mut after = rows(&stack.database).await;
    let trail = "public.sync_activity_log";
    assert_eq!(
        after.remove(trail).unwrap().len(),
        before.remove(trail).unwrap().len() + 1
    );
    assert_eq!(after, before, "R50");
}

/// R50: an identifier is of one record, whatever its entity type.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_another_entity_type_is_left_alone() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let record = id();
    api.client
        .put(
            &format!("/api/v1/records/customers/{record}"),
            &customer("ada@example.com"),
        )
        .await
        .ok(201);
    let before = rows(&stack.database).await;

    let answer = api
        .client
        .put(&format!("/api/v1/records/products/{record}"), &product("SKU-1"))
        .await;

    answer.problem(409, "other-entity-type");
    assert_eq!(rows(&stack.database).await, before, "R50");
}

/// R8, R50: what one system refuses is shown for that system, and its reason with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_shows_why_a_system_does_not_have_it() {
    let mut stack = Stack::new().await;
    let api = Api::start(&stack);
    let path = format!("/api/v1/records/products/{}", id());
    let mut foreign = product("SKU-1");
    foreign["variants"][0]["price"]["currency"] = json!("EUR");
    api.client.put(&path, &foreign).await.ok(201);
    stack.work();

    let seen = watch(&api.client, &start(&api.client).await).await;

    assert_eq!(seen.last().unwrap()["status"], "partial", "R8");
    let shown = api.client.get(&path).await.ok(200);
    for connection in shown["connections"].as_array().unwrap() {
        assert_eq!(connection["state"], "conflict", "R50: {shown:#}");
        assert!(
            connection["lastError"]
                .as_str()
                .is_some_and(|error| error.contains("EUR")),
            "R50: {shown:#}"
        );
    }
}
