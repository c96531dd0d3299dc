//! Records: put one by one or many at once, and read with how each system sees them.

use lockstep_shared::id::OrgId;
use lockstep_tests::api::Api;
use lockstep_tests::stack::Stack;
use serde_json::{Value, json};

use super::{customer, id, organisation, product, rows, start, watch};

/// A product that says everything a product can, in its canonical form.
fn whole_product() -> Value {
    let variant = |color: &str, sku: &str| {
        json!({
            "attributes": [{ "name": "Color", "option": color }],
            "sku": sku,
            "barcode": "4006381333931",
            "price": { "amount": "19.9", "currency": "EUR" },
            "sale": { "price": "14.5", "from": "2026-11-27T00:00:00+00:00", "until": "2026-11-30T23:59:59+00:00" },
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

/// An order that says everything an order can, in its canonical form.
fn whole_order(customer: &str, product: &str) -> Value {
    let contact = |street: &str| {
        json!({
            "company": "Maple & Sons",
            "email": "sinead@example.com",
            "phone": "+44 20 7946 0000",
            "address": { "name": "Sinéad O'Neil", "street": street, "city": "Zürich", "country": "CH" },
        })
    };
    json!({
        "number": "#1042",
        "origin": "woocommerce",
        "status": "on_hold",
        "currency": "CHF",
        "placedAt": "2026-11-02T09:30:15+00:00",
        "customer": { "record": customer },
        "billing": contact("Bahnhofstrasse 1"),
        "shipping": contact("Langstrasse 2"),
        "note": "Please ring twice.\nThank you!",
        "coupons": ["autumn", "friends"],
        "lines": [
            {
                "key": "17",
                "kind": "item",
                "product": { "record": product, "variant": "color=blue" },
                "name": "Käsebrett “Söjle”, blue",
                "quantity": "2",
                "subtotal": "39.8",
                "total": "35.82",
                "taxes": [
                    { "name": "City", "amount": "0.5" },
                    { "name": "VAT", "rate": "8.1", "amount": "2.9" },
                ],
            },
            {
                "key": "shipping-1",
                "kind": "shipping",
                "name": "Parcel",
                "quantity": "1",
                "subtotal": "3.98",
                "total": "3.98",
                "taxes": [],
            },
        ],
        "totalTax": "3.4",
        "total": "43.2",
    })
}

fn whole_payment(order: &str) -> Value {
    json!({
        "order": { "record": order },
        "kind": "refunded",
        "amount": { "amount": "19.36", "currency": "CHF" },
        "madeAt": "2026-11-05T16:00:00+00:00",
        "method": "stripe",
        "transactionId": "re_3MmlLrLkdIwHu7ix0snN0B15",
        "reason": "One was broken.",
        "lines": [{ "line": "17", "quantity": "1", "total": "17.91", "tax": "1.45" }],
    })
}

/// R50: what was put is what comes back, one by one and in lists.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_comes_back_as_it_was_put() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);

    let [customer, product, order, level, payment] = std::array::from_fn(|_| id());
    let level_of_it =
        json!({ "product": { "record": product, "variant": "color=blue" }, "quantity": "-2.5" });
    for (entities, record, content) in [
        ("products", &product, whole_product()),
        ("customers", &customer, whole_customer()),
        ("orders", &order, whole_order(&customer, &product)),
        ("inventory", &level, level_of_it),
        ("payments", &payment, whole_payment(&order)),
    ] {
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

/// R50: records of every type can be put many at once, and are listed a page at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_every_type_are_put_and_listed_many_at_once() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let [customer, product, order] = std::array::from_fn(|_| id());
    let put = async |path: &str, content: &Value| api.client.put(path, content).await.ok(201);
    put(
        &format!("/api/v1/records/customers/{customer}"),
        &whole_customer(),
    )
    .await;
    put(&format!("/api/v1/records/products/{product}"), &whole_product()).await;
    let an_order = whole_order(&customer, &product);
    put(&format!("/api/v1/records/orders/{order}"), &an_order).await;
    let level = json!({ "product": { "record": product, "variant": "color=red" }, "quantity": "4" });

    for (entities, content, there) in [
        ("orders", an_order, 1),
        ("inventory", level, 0),
        ("payments", whole_payment(&order), 0),
    ] {
        let path = format!("/api/v1/records/{entities}");
        let records: Vec<Value> = (0..3)
            .map(|_| json!({ "recordId": id(), "content": content }))
            .collect();
        let answer = api
            .client
            .post(&path, &json!({ "records": records }))
            .await
            .ok(200);
        let results = answer["results"].as_array().unwrap();
        assert!(
            results.iter().all(|result| result["outcome"] == "created"),
            "R50: {answer:#}"
        );

        let page = api.client.get(&format!("{path}?limit=2")).await.ok(200);
        let cursor = page["nextCursor"].as_str().unwrap();
        let rest = api.client.get(&format!("{path}?cursor={cursor}")).await.ok(200);
        let count = |page: &Value| page["items"].as_array().unwrap().len();
        assert_eq!((count(&page), count(&rest)), (2, 1 + there), "R47: {entities}");
        assert_eq!(rest["items"][0]["content"], content, "R50");
    }
}

/// R43, R45: a record that names one that is not there, is of another type or of another organisation, is refused by the
/// name of the field, and nothing is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_record_names_has_to_be_there() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let [customer, product, order, theirs] = std::array::from_fn(|_| id());
    let records = |entities: &str, id: &str| format!("/api/v1/records/{entities}/{id}");
    let stranger = api.client_of(organisation(&stack, OrgId::random()).await);
    stranger
        .put(&records("customers", &theirs), &whole_customer())
        .await
        .ok(201);
    for (path, content) in [
        (records("customers", &customer), whole_customer()),
        (records("products", &product), whole_product()),
        (records("orders", &order), whole_order(&customer, &product)),
    ] {
        api.client.put(&path, &content).await.ok(201);
    }
    let mut late = whole_order(&customer, &product);
    // Lines are kept by their keys; the one that is wrong is named by where it came.
    late["lines"].as_array_mut().unwrap().reverse();
    late["lines"][1]["product"]["record"] = json!(id());
    let level = |product: &str| json!({ "product": { "record": product }, "quantity": "1" });
    let before = rows(&stack.database).await;

    for (entities, content, field) in [
        ("orders", whole_order(&id(), &product), "customer"),
        ("orders", whole_order(&product, &product), "customer"),
        ("orders", whole_order(&theirs, &product), "customer"),
        ("orders", whole_order(&customer, &customer), "lines/0/product"),
        ("orders", late, "lines/1/product"),
        ("inventory", level(&id()), "product"),
        ("inventory", level(&order), "product"),
        ("payments", whole_payment(&id()), "order"),
        ("payments", whole_payment(&customer), "order"),
    ] {
        let problem = api
            .client
            .put(&records(entities, &id()), &content)
            .await
            .problem(422, "invalid");
        let fields: Vec<&Value> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| &error["field"])
            .collect();
        assert_eq!(fields, [field], "R45: {problem}");
    }
    assert_eq!(rows(&stack.database).await, before, "R45");

    let [good, bad] = [id(), id()];
    let request = json!({ "records": [
        { "recordId": bad, "content": whole_payment(&product) },
        { "recordId": good, "content": whole_payment(&order) },
    ]});
    let answer = api
        .client
        .post("/api/v1/records/payments", &request)
        .await
        .ok(200);
    let results = &answer["results"];
    assert_eq!(results[0]["outcome"], "refused", "R50: {answer}");
    assert_eq!(results[0]["errors"][0]["field"], "content/order", "R45: {answer}");
    assert_eq!(results[1]["outcome"], "created", "R50: {answer}");
    api.client
        .get(&records("payments", &bad))
        .await
        .problem(404, "not-found");
}
