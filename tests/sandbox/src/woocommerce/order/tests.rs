//! The traps of orders, through real HTTP.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::super::tests::Shop;

/// A real recording lies beside the project where it lies at all.
#[tokio::test]
async fn recorded_orders_and_refunds_are_answered_as_they_were() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recorded");
    let Ok(text) = std::fs::read_to_string(folder.join("woocommerce.json")) else {
        eprintln!("skipped: no recorded data beside the project");
        return;
    };
    let recorded: Value = serde_json::from_str(&text).unwrap();
    let shop = Shop::open().await;

    shop.store.put_recorded(&recorded);

    let orders = shop.get("/orders?per_page=100&orderby=id").await.body;
    let without_addresses = |order: &Value| {
        let mut order = order.clone();
        for field in ["_links", "payment_url"] {
            order[field] = Value::Null;
        }
        order
    };
    let rows =
        |rows: &Value| -> Vec<Value> { rows.as_array().unwrap().iter().map(without_addresses).collect() };
    let (shown, expected) = (rows(&orders), rows(&recorded["orders"]));
    assert_eq!(shown.len(), expected.len());
    for (shown, expected) in shown.iter().zip(&expected) {
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&shown[field], value, "{field} of order {}", expected["id"]);
        }
    }
    for (order, refunds) in recorded["refunds"].as_object().unwrap() {
        let shown = shop.get(&format!("/orders/{order}/refunds")).await.body;
        assert_eq!(rows(&shown), rows(refunds), "refunds of order {order}");
    }
    assert_eq!(
        shop.get("/taxes").await.body[0]["rate"],
        recorded["taxes"][0]["rate"]
    );
    assert_eq!(shop.get("/coupons?code=TEN").await.ids(), [651]);
    assert_eq!(shop.store.ledger().effects().len(), 0);
}

/// What the real shop calculated comes out again when it is calculated anew.
#[tokio::test]
async fn recorded_orders_keep_their_totals_when_they_are_calculated_anew() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recorded");
    let Ok(text) = std::fs::read_to_string(folder.join("woocommerce.json")) else {
        eprintln!("skipped: no recorded data beside the project");
        return;
    };
    let recorded: Value = serde_json::from_str(&text).unwrap();
    let shop = Shop::open().await;
    shop.store.put_recorded(&recorded);

    for order in recorded["orders"].as_array().unwrap() {
        let path = format!("/orders/{}", order["id"]);
        let again = shop
            .put(&path, json!({"billing": {"city": order["billing"]["city"]}}))
            .await
            .body;

        for field in [
            "total",
            "total_tax",
            "cart_tax",
            "shipping_tax",
            "discount_total",
            "discount_tax",
            "line_items",
            "tax_lines",
            "shipping_lines",
            "fee_lines",
        ] {
            assert_eq!(again[field], order[field], "{field} of order {}", order["id"]);
        }
        let codes: Vec<Value> = order["coupon_lines"]
            .as_array()
            .unwrap()
            .iter()
            .map(|coupon| json!({"code": coupon["code"]}))
            .collect();
        if !codes.is_empty() {
            let again = shop.put(&path, json!({"coupon_lines": codes})).await.body;
            assert_eq!(again["total"], order["total"], "total of order {}", order["id"]);
            assert_eq!(
                again["coupon_lines"][0]["discount_tax"],
                order["coupon_lines"][0]["discount_tax"]
            );
        }
    }
}

fn item(product: u64, quantity: i64) -> Value {
    json!({"product_id": product, "quantity": quantity})
}

#[tokio::test]
async fn an_order_needs_nothing_and_cannot_set_what_the_shop_decides() {
    let shop = Shop::open().await;

    let empty = shop.order(json!({})).await;
    let body = json!({
        "total": "99.00", "order_key": "mine", "number": "SO1", "date_created": "2020-01-01T00:00:00",
        "date_paid": "2020-01-01T00:00:00", "created_via": "lockstep", "transaction_id": "S00001",
        "tax_lines": [{"rate_id": 1, "tax_total": "5"}],
    });
    let full = shop.order(body).await;

    assert_eq!(
        (empty["status"].as_str(), empty["total"].as_str()),
        (Some("pending"), Some("0.00"))
    );
    assert_eq!(empty["created_via"], "rest-api");
    assert_eq!(
        (full["total"].as_str(), full["date_paid"].as_str()),
        (Some("0.00"), None)
    );
    assert_eq!(full["number"], full["id"].to_string());
    assert!(full["order_key"].as_str().unwrap().starts_with("wc_order_"));
    assert!(!full["date_created"].as_str().unwrap().starts_with("2020"));
    assert_eq!(
        (full["created_via"].as_str(), full["transaction_id"].as_str()),
        (Some("lockstep"), Some("S00001"))
    );
}

#[tokio::test]
async fn the_same_order_twice_is_two_orders_and_the_ledger_says_so() {
    let shop = Shop::open().await;
    let body = json!({"status": "processing", "transaction_id": "S1", "created_via": "lockstep",
        "meta_data": [{"key": "_lockstep_record", "value": "odoo/sale.order/1"}]});

    shop.order(body.clone()).await;
    let second = shop.order(body.clone()).await;
    let draft = json!({"status": "checkout-draft", "meta_data": body["meta_data"]});
    shop.order(draft).await;

    let ledger = shop.store.ledger();
    assert_eq!(ledger.created("order"), 3);
    assert_eq!(ledger.effects()[0].key.as_deref(), Some("odoo/sale.order/1"));
    let duplicates = ledger.duplicates();
    assert_eq!(
        (duplicates.len(), duplicates[0].ids.len()),
        (1, 2),
        "a draft is no order that anyone sees"
    );
    shop.delete(&format!("/orders/{}", second["id"])).await;
    assert_eq!(ledger.duplicates(), [], "nor is what lies in the trash");
}

#[tokio::test]
async fn the_payment_is_the_key_of_an_order_that_says_who_made_it() {
    let shop = Shop::open().await;

    shop.order(json!({"transaction_id": "S7", "created_via": "lockstep"}))
        .await;
    shop.order(json!({"transaction_id": "ch_1"})).await;

    let keys: Vec<Option<String>> = shop
        .store
        .ledger()
        .effects()
        .into_iter()
        .map(|effect| effect.key)
        .collect();
    assert_eq!(keys, [Some("S7".to_owned()), None]);
    assert_eq!(shop.store.ledger().duplicates(), []);
}

#[tokio::test]
async fn single_calls_are_checked_and_batches_are_not() {
    let shop = Shop::open().await;
    let product = shop.product(json!({"name": "x", "regular_price": "10"})).await;

    let status = shop.post("/orders", json!({"status": "bogus"})).await;
    let trash = shop.post("/orders", json!({"status": "trash"})).await;
    let email = shop.post("/orders", json!({"billing": {"email": ""}})).await;
    let half = shop
        .post(
            "/orders",
            json!({"line_items": [{"product_id": product, "quantity": 2.5}]}),
        )
        .await;
    let number = shop
        .post(
            "/orders",
            json!({"line_items": [{"product_id": product, "total": 5}]}),
        )
        .await;
    let currency = shop.post("/orders", json!({"currency": "XXX"})).await;
    let create = json!([
        {"status": "bogus"}, {"billing": {"email": ""}}, {"line_items": [{"product_id": product, "quantity": 2.5}]},
        {"line_items": [{"product_id": product, "total": 5}]}, {"currency": "XXX"}, {"billing": {"email": "bad"}},
        {"line_items": [{"quantity": 1}]},
    ]);
    let batch = shop.post("/orders/batch", json!({"create": create})).await;

    let message = "status is not one of auto-draft, pending, processing, on-hold, completed, cancelled, refunded, \
                   failed, and checkout-draft.";
    assert_eq!(status.body["data"]["params"]["status"], message);
    assert_eq!((trash.status, email.status, currency.status), (400, 400, 400));
    assert_eq!(email.body["data"]["params"]["billing"], "Invalid email address.");
    assert_eq!(
        half.body["data"]["params"]["line_items"],
        "line_items[0][quantity] is not of type integer."
    );
    assert_eq!(
        number.body["data"]["params"]["line_items"],
        "line_items[0][total] is not of type string."
    );
    let made = &batch.body["create"];
    assert_eq!((batch.status, made[0]["status"].as_str()), (200, Some("pending")));
    assert_eq!(made[1]["billing"]["email"], "");
    assert_eq!(made[2]["line_items"][0]["quantity"], 2);
    assert_eq!(made[3]["total"], "5.00");
    assert_eq!(made[4]["error"]["code"], "order_invalid_currency");
    assert_eq!(made[5]["error"]["code"], "order_invalid_billing_email");
    assert_eq!(
        made[6]["error"]["code"],
        "woocommerce_rest_required_product_reference"
    );
    assert_eq!(made[6]["id"], 0);
}

#[tokio::test]
async fn a_batch_creates_then_updates_then_deletes_and_may_name_an_id_often() {
    let shop = Shop::open().await;
    let id = shop.order(json!({})).await["id"].clone();

    let done = shop
        .post("/orders/batch", json!({
            "delete": [id, 999], "update": [
                {"id": id, "customer_note": "one"}, {"id": id, "status": "on-hold"}, {"id": 999, "status": "on-hold"},
                {"status": "on-hold"}, {"id": id, "customer_note": "two"},
            ],
            "create": [{"customer_note": "new"}],
        }))
        .await
        .body;

    assert_eq!(done["create"][0]["customer_note"], "new");
    assert_eq!(
        (&done["update"][0]["status"], &done["update"][1]["customer_note"]),
        (&json!("pending"), &json!("one"))
    );
    assert_eq!(done["update"][2]["error"]["data"]["status"], 400);
    assert_eq!(done["update"][2]["error"]["message"], "ID is invalid.");
    assert_eq!(done["update"][3]["id"], Value::Null);
    assert_eq!(
        (&done["delete"][0]["status"], &done["delete"][0]["customer_note"]),
        (&json!("on-hold"), &json!("two"))
    );
    assert_eq!(done["delete"][1]["error"]["data"]["status"], 404);
    assert_eq!(shop.store.orders().len(), 1);
}

#[tokio::test]
async fn parts_that_cannot_be_read_kill_a_batch_after_what_came_before() {
    let shop = Shop::open().await;

    let killed = shop
        .post(
            "/orders/batch",
            json!({"create": [{}, {"line_items": ["x"]}, {}]}),
        )
        .await;

    assert_eq!((killed.status, killed.code()), (500, "internal_server_error"));
    assert_eq!(shop.store.orders().len(), 1);
}

#[tokio::test]
async fn a_batch_of_orders_goes_on_when_its_client_has_left() {
    let shop = Shop::open().await;
    let create = vec![json!({}); 10];
    let slow = crate::fault::Fault::RunsOn(std::time::Duration::from_millis(200));
    shop.store.faults().on_path("/batch", slow, None);

    let left = shop
        .request(reqwest::Method::POST, "/orders/batch")
        .json(&json!({"create": create}))
        .send()
        .await;
    let at_once = shop.store.orders().len();

    assert!(left.is_err());
    assert!(at_once < 10, "{at_once}");
    super::super::tests::eventually(|| shop.store.orders().len() == 10).await;
}

#[tokio::test]
async fn unknown_orders_answer_by_verb_and_the_trash_comes_first() {
    let shop = Shop::open().await;
    let id = shop.order(json!({"status": "completed"})).await["id"].clone();
    let path = format!("/orders/{id}");

    let put = shop.put("/orders/999", json!({})).await;
    let first = shop.delete(&path).await;
    let again = shop.delete(&path).await;
    let in_trash = shop.get(&path).await;
    let forced = shop.delete(&format!("{path}?force=true")).await;

    assert_eq!(shop.get("/orders/999").await.status, 404);
    assert_eq!(
        (put.status, put.code()),
        (400, "woocommerce_rest_shop_order_invalid_id")
    );
    assert_eq!(
        (first.status, first.body["status"].as_str()),
        (200, Some("completed"))
    );
    assert_eq!(
        (again.status, again.code()),
        (410, "woocommerce_rest_already_trashed")
    );
    assert_eq!(
        (in_trash.status, in_trash.body["status"].as_str()),
        (200, Some("trash"))
    );
    assert_eq!((forced.status, shop.get(&path).await.status), (200, 404));
}

#[tokio::test]
async fn a_customer_must_exist_and_lends_its_address() {
    let shop = Shop::open().await;
    let customer = shop.store.insert_customer(json!({"email": "ann@example.com"}));

    let unknown = shop.post("/orders", json!({"customer_id": 999})).await;
    let made = shop.order(json!({"customer_id": customer})).await;
    let path = format!("/orders/{}", made["id"]);
    let merged = shop.put(&path, json!({"billing": {"city": "Bonn"}})).await.body;
    shop.store.delete_customer(customer);

    assert_eq!(
        (unknown.status, unknown.code()),
        (400, "woocommerce_rest_invalid_customer_id")
    );
    assert_eq!(made["billing"]["email"], "ann@example.com");
    assert_eq!(
        (&merged["billing"]["city"], &merged["billing"]["email"]),
        (&json!("Bonn"), &json!("ann@example.com"))
    );
    assert_eq!(shop.get(&path).await.body["customer_id"], 0);
}

#[tokio::test]
async fn a_line_names_a_product_an_sku_or_nothing() {
    let shop = Shop::open().await;
    let product = shop
        .product(json!({"name": "A & B", "sku": "S", "regular_price": "10"}))
        .await;
    let lines = json!([
        {"sku": "s"}, {"product_id": 999_999, "quantity": 2}, {"sku": "__none__", "name": "Free", "total": "5.00", "quantity": 2},
        {"product_id": product, "subtotal": "50.00"}, {"product_id": product, "subtotal": "3.00", "total": "4.00"},
    ]);

    let order = shop.order(json!({"line_items": lines})).await;
    let missing = shop
        .post(
            "/orders",
            json!({"line_items": [{"name": "Free", "total": "5.00"}]}),
        )
        .await;
    let zero = shop
        .post("/orders", json!({"line_items": [{"product_id": 0}]}))
        .await;

    let line = |at: usize| order["line_items"][at].clone();
    assert_eq!(
        (&line(0)["name"], &line(0)["total"]),
        (&json!("A &amp; B"), &json!("10.00"))
    );
    assert_eq!(
        (&line(1)["product_id"], &line(1)["sku"]),
        (&json!(0), &Value::Null)
    );
    assert_eq!(
        (&line(2)["name"], &line(2)["total"], &line(2)["price"]),
        (&json!("Free"), &json!("5.00"), &json!(2.5))
    );
    assert_eq!(
        (&line(3)["subtotal"], &line(3)["total"]),
        (&json!("50.00"), &json!("10.00")),
        "from the catalogue"
    );
    assert_eq!(line(4)["subtotal"], "4.00", "raised to the total");
    assert_eq!(order["total"], "29.00");
    for refused in [missing, zero] {
        assert_eq!(
            (refused.status, refused.code()),
            (400, "woocommerce_rest_required_product_reference")
        );
    }
    assert_eq!(
        shop.store.orders().len(),
        1,
        "nothing is left of what was refused"
    );
}

#[tokio::test]
async fn a_variation_brings_its_parent_and_its_attributes() {
    let shop = Shop::open().await;
    let color = shop
        .post("/products/attributes", json!({"name": "Color"}))
        .await
        .body["id"]
        .clone();
    let attributes = json!([
        {"id": color, "variation": true, "options": ["Red"]}, {"name": "Logo", "variation": true, "options": ["Yes", "No"]},
    ]);
    let parent = shop
        .product(json!({"name": "Tee", "type": "variable", "attributes": attributes}))
        .await;
    let variation =
        json!({"regular_price": "7", "sku": "TEE-R", "attributes": [{"id": color, "option": "Red"}]});
    let variation = shop
        .post(&format!("/products/{parent}/variations"), variation)
        .await
        .body["id"]
        .clone();

    let order = shop
        .order(json!({"line_items": [{"product_id": variation, "quantity": 2}]}))
        .await;

    let line = &order["line_items"][0];
    assert_eq!(
        (&line["product_id"], &line["variation_id"]),
        (&json!(parent), &variation)
    );
    assert_eq!(
        (&line["parent_name"], &line["sku"], &line["total"]),
        (&json!("Tee"), &json!("TEE-R"), &json!("14.00"))
    );
    let meta = &line["meta_data"];
    assert_eq!(
        (&meta[0]["key"], &meta[0]["value"], &meta[0]["display_value"]),
        (&json!("pa_color"), &json!("red"), &json!("Red"))
    );
    assert_eq!(
        (&meta[1]["key"], &meta[1]["display_key"]),
        (&json!("logo"), &json!("logo")),
        "any is shown raw"
    );
}

#[tokio::test]
async fn lines_are_appended_changed_and_removed_by_id() {
    let shop = Shop::open().await;
    let product = shop.product(json!({"name": "x", "regular_price": "10"})).await;
    let body = json!({
        "line_items": [item(product, 3)], "shipping_lines": [{"method_id": "flat_rate", "method_title": "Flat", "total": "5.00"}],
        "fee_lines": [{"name": "Wrap", "total": "2.00", "tax_status": "none"}],
    });
    let order = shop.order(body).await;
    let path = format!("/orders/{}", order["id"]);
    let id = |section: &str| order[section][0]["id"].clone();

    let appended = shop
        .put(&path, json!({"line_items": [item(product, 1)]}))
        .await
        .body;
    let more = shop
        .put(
            &path,
            json!({"line_items": [{"id": id("line_items"), "quantity": 9}]}),
        )
        .await
        .body;
    let removal = json!({
        "line_items": [{"id": id("line_items"), "quantity": 0}], "shipping_lines": [{"id": id("shipping_lines"), "method_id": null}],
        "fee_lines": [{"id": id("fee_lines"), "name": null}],
    });
    let removed = shop.put(&path, removal.clone()).await.body;
    let twice = shop
        .put(
            &path,
            json!({"customer_note": "late", "line_items": removal["line_items"]}),
        )
        .await;
    let stranger = shop
        .put(&path, json!({"line_items": [{"id": 999, "quantity": 2}]}))
        .await;

    assert_eq!(
        (&order["total"], &appended["total"]),
        (&json!("37.00"), &json!("47.00"))
    );
    assert_eq!(
        (
            &more["line_items"][0]["quantity"],
            &more["line_items"][0]["total"]
        ),
        (&json!(9), &json!("30.00"))
    );
    assert_eq!(removed["line_items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (
            &removed["total"],
            &removed["fee_lines"],
            &removed["shipping_lines"]
        ),
        (&json!("10.00"), &json!([]), &json!([]))
    );
    for refused in [twice, stranger] {
        assert_eq!(
            (refused.status, refused.code()),
            (400, "woocommerce_rest_invalid_item_id")
        );
    }
    assert_eq!(
        shop.get(&path).await.body["customer_note"],
        "",
        "the whole change was refused"
    );
}

#[tokio::test]
async fn line_meta_marks_a_line_and_setters_never_come_back() {
    let shop = Shop::open().await;
    let line = json!({"sku": "__none__", "name": "x", "meta_data": [{"key": "_lockstep_line", "value": "odoo/sale.order.line/12"}]});
    let meta = json!([
        {"key": "_date_paid", "value": "2026-01-05T10:00:00Z"}, {"key": "_order_stock_reduced", "value": "yes"},
        {"key": "_new_order_email_sent", "value": "true"}, {"key": "_hidden", "value": 5}, {"key": "seen", "value": {"a": [1]}},
    ]);

    let order = shop.order(json!({"line_items": [line], "meta_data": meta})).await;
    let path = format!("/orders/{}", order["id"]);
    let local = shop
        .put(
            &path,
            json!({"meta_data": [{"key": "_date_paid", "value": "2026-01-05T10:00:00"}]}),
        )
        .await
        .body;
    let epoch = shop.put(&path, json!({"meta_data": [{"key": "_date_paid", "value": "1767600000"}, {"key": "_hidden", "value": null}]})).await.body;

    assert_eq!(order["line_items"][0]["meta_data"][0]["key"], "_lockstep_line");
    assert_eq!(
        (&order["date_paid_gmt"], &order["date_paid"]),
        (&json!("2026-01-05T10:00:00"), &json!("2026-01-05T05:00:00"))
    );
    let metas: Vec<(&str, &Value)> = order["meta_data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|meta| (meta["key"].as_str().unwrap(), &meta["value"]))
        .collect();
    assert_eq!(metas, [("_hidden", &json!("5")), ("seen", &json!({"a": [1]}))]);
    assert_eq!(
        local["date_paid_gmt"], "2026-01-05T15:00:00",
        "without a zone it is the site's clock"
    );
    assert_eq!(epoch["date_paid_gmt"], "2026-01-05T08:00:00");
    assert_eq!(epoch["meta_data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_bad_coupon_leaves_a_draft_behind() {
    let shop = Shop::open().await;
    let product = shop.product(json!({"name": "x", "regular_price": "10"})).await;
    shop.store
        .insert_coupon(json!({"code": "ten", "discount_type": "percent", "amount": "10.00"}));

    let good = shop
        .order(json!({"line_items": [item(product, 2)], "coupon_lines": [{"code": "TEN"}]}))
        .await;
    let bad = shop
        .post(
            "/orders",
            json!({"line_items": [item(product, 2)], "coupon_lines": [{"code": "nope"}]}),
        )
        .await;

    assert_eq!(
        (&good["total"], &good["discount_total"]),
        (&json!("18.00"), &json!("2.00"))
    );
    assert_eq!(
        (
            &good["line_items"][0]["subtotal"],
            &good["coupon_lines"][0]["discount"]
        ),
        (&json!("20.00"), &json!("2"))
    );
    assert_eq!((bad.status, bad.code()), (400, "woocommerce_rest_invalid_coupon"));
    let draft = bad.body["data"]["new_draft_order_id"].as_u64().unwrap();
    assert_eq!(shop.store.order(draft).unwrap()["status"], "checkout-draft");
}

#[tokio::test]
async fn drafts_of_the_checkout_are_gone_after_a_day() {
    let shop = Shop::open().await;
    let draft = shop.order(json!({"status": "checkout-draft"})).await["id"]
        .as_u64()
        .unwrap();
    let order = shop.order(json!({})).await["id"].as_u64().unwrap();

    shop.store.age(std::time::Duration::from_hours(23));
    let after_hours = shop.store.order(draft).is_some();
    shop.put(&format!("/orders/{draft}"), json!({})).await;
    shop.store.age(std::time::Duration::from_hours(23));
    let after_touch = shop.store.order(draft).is_some();
    shop.store.age(std::time::Duration::from_hours(2));

    assert!(after_hours && after_touch);
    assert!(shop.store.order(draft).is_none());
    assert!(shop.store.order(order).is_some());
    assert_eq!(
        shop.store
            .ledger()
            .count("order", crate::ledger::Operation::Deleted),
        0
    );
}

#[tokio::test]
async fn a_change_that_changes_nothing_only_moves_the_time() {
    let shop = Shop::open().await;
    let product = shop.product(json!({"name": "x", "regular_price": "10"})).await;
    shop.store.insert_tax(json!({"rate": "8.8750"}));
    let order = shop
        .order(json!({"line_items": [item(product, 2)], "billing": {"city": "Bonn"}}))
        .await;
    let path = format!("/orders/{}", order["id"]);
    shop.store.age(std::time::Duration::from_mins(1));
    let aged = shop.store.order(order["id"].as_u64().unwrap()).unwrap();

    let same = shop.put(&path, json!({"billing": {"city": "Bonn"}})).await.body;

    assert_ne!(same["date_modified_gmt"], aged["date_modified_gmt"]);
    let effects = shop.store.ledger().effects();
    assert_eq!(
        effects.last().map(|effect| (effect.entity, effect.changed)),
        Some(("order", false))
    );
}
