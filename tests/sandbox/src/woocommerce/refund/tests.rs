//! The traps of refunds, through real HTTP.

use serde_json::{Value, json};

use crate::woocommerce::tests::Shop;

struct Scene {
    shop: Shop,
    product: u64,
    order: Value,
    path: String,
}

impl Scene {
    /// Sells three pieces for 60.00.
    async fn open() -> Self {
        let shop = Shop::open().await;
        let product =
            json!({"name": "x", "regular_price": "20.00", "manage_stock": true, "stock_quantity": 100});
        let product = shop.product(product).await;
        let order = shop
            .order(json!({
                "status": "processing", "payment_method": "stripe", "billing": {"email": "ann@example.com"},
                "line_items": [{"product_id": product, "quantity": 3}],
            }))
            .await;
        let path = format!("/orders/{}/refunds", order["id"]);
        Self {
            shop,
            product,
            order,
            path,
        }
    }

    fn line(&self, quantity: i64, total: f64) -> Value {
        json!([{"id": self.order["line_items"][0]["id"], "quantity": quantity, "refund_total": total}])
    }

    async fn parent(&self) -> Value {
        self.shop.get(&format!("/orders/{}", self.order["id"])).await.body
    }
}

#[tokio::test]
async fn refusals_are_500_with_a_bare_number() {
    let scene = Scene::open().await;
    let refused = async |path: &str, body: Value| {
        let answer = scene.shop.post(path, body).await;
        (
            answer.status,
            answer.body["message"].as_str().unwrap().to_owned(),
            answer.body["data"].clone(),
        )
    };

    let too_much = refused(&scene.path, json!({"amount": "9999.00", "api_refund": false})).await;
    let by_gateway = refused(&scene.path, json!({"amount": "1.00"})).await;
    let unknown = refused(
        "/orders/999/refunds",
        json!({"amount": "1.00", "api_refund": false}),
    )
    .await;
    let negative = refused(&scene.path, json!({"amount": "-1.00", "api_refund": false})).await;
    let number = scene
        .shop
        .post(&scene.path, json!({"amount": 1.0, "api_refund": false}))
        .await;

    assert_eq!(too_much, (500, "Invalid refund amount.".to_owned(), json!(500)));
    assert_eq!(
        by_gateway,
        (
            500,
            "The payment gateway for this order does not exist.".to_owned(),
            json!(500)
        )
    );
    assert_eq!(unknown, (500, "Invalid order ID.".to_owned(), json!(404)));
    assert_eq!((negative.0, negative.2), (500, json!(400)));
    assert_eq!((number.status, number.code()), (400, "rest_invalid_param"));
    assert_eq!(scene.shop.store.refunds().len(), 0);
    assert_eq!(scene.shop.store.ledger().created("refund"), 0);
}

#[tokio::test]
async fn a_partial_refund_mails_and_leaves_the_total() {
    let scene = Scene::open().await;
    let mails = scene.shop.store.mails();
    let marker = json!([{"key": "_lockstep_record", "value": "odoo/account.move/5"}]);
    let body = json!({"amount": "10.00", "reason": "damaged", "api_refund": false, "meta_data": marker});

    let made = scene.shop.post(&scene.path, body.clone()).await;

    assert_eq!((made.status, &made.body["amount"]), (201, &json!("10.00")));
    assert_eq!(
        (&made.body["refunded_by"], &made.body["refunded_payment"]),
        (&json!(1), &json!(false))
    );
    let keys: Vec<&Value> = made.body["meta_data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|meta| &meta["key"])
        .collect();
    assert_eq!(keys, ["_refund_type", "_lockstep_record"]);
    assert_eq!(made.body.get("parent_id"), None);
    let all = scene.shop.get("/refunds?parent=999").await.body;
    assert_eq!(
        (&all[0]["parent_id"], &all[0]["meta_data"]),
        (&scene.order["id"], &made.body["meta_data"])
    );
    let parent = scene.parent().await;
    assert_eq!(
        (&parent["status"], &parent["total"]),
        (&json!("processing"), &json!("60.00"))
    );
    let short = json!([{"id": made.body["id"], "reason": "damaged", "total": "-10.00", "total_tax": "0.00"}]);
    assert_eq!(parent["refunds"], short);
    assert_eq!(scene.shop.store.mails(), mails + 1);
    scene.shop.post(&scene.path, body).await;
    assert_eq!(scene.shop.store.ledger().duplicates()[0].entity, "refund");
}

#[tokio::test]
async fn a_refund_of_nothing_has_no_number() {
    let scene = Scene::open().await;

    let made = scene.shop.post(&scene.path, json!({"api_refund": false})).await;

    assert_eq!((made.status, &made.body["amount"]), (201, &json!("")));
    assert_eq!(scene.parent().await["refunds"][0]["total"], "-");
}

#[tokio::test]
async fn goods_go_back_to_the_stock_unless_told_otherwise() {
    let scene = Scene::open().await;

    let silent = json!({"api_refund": false, "api_restock": false, "line_items": scene.line(1, 20.0)});
    let kept = scene.shop.post(&scene.path, silent).await;
    let after_kept = scene.shop.stock(scene.product).await;
    let default = scene
        .shop
        .post(
            &scene.path,
            json!({"api_refund": false, "line_items": scene.line(1, 20.0)}),
        )
        .await;

    assert_eq!((kept.status, after_kept), (201, json!(97)));
    assert_eq!(
        (&default.body["amount"], scene.shop.stock(scene.product).await),
        (&json!("20.00"), json!(98))
    );
    let line = &default.body["line_items"][0];
    assert_eq!(
        (&line["quantity"], &line["total"], &line["price"]),
        (&json!(-1), &json!("-20.00"), &json!(20))
    );
    assert_eq!(line["meta_data"][0]["key"], "_refunded_item_id");
    let tally: Vec<(String, String)> = scene.parent().await["line_items"][0]["meta_data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|meta| {
            (
                meta["key"].as_str().unwrap().to_owned(),
                meta["value"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let entry = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(
        tally,
        [
            entry("_reduced_stock", "2"),
            entry("_restock_refunded_items", "1")
        ]
    );
    let gone = scene
        .shop
        .delete(&format!("{}/{}", scene.path, default.body["id"]))
        .await;
    assert_eq!(
        (gone.status, scene.shop.stock(scene.product).await),
        (200, json!(98)),
        "a delete takes nothing back"
    );
}

#[tokio::test]
async fn the_last_refund_makes_the_order_refunded() {
    let scene = Scene::open().await;

    scene
        .shop
        .post(&scene.path, json!({"amount": "50.00", "api_refund": false}))
        .await;
    let before = scene.parent().await["status"].clone();
    let last = scene
        .shop
        .post(&scene.path, json!({"amount": "10.00", "api_refund": false}))
        .await
        .body;
    let more = scene
        .shop
        .post(&scene.path, json!({"amount": "0.01", "api_refund": false}))
        .await;

    assert_eq!(
        (before, &last["meta_data"][0]["value"]),
        (json!("processing"), &json!("full"))
    );
    assert_eq!(scene.parent().await["status"], "refunded");
    assert_eq!(more.status, 500);
}

#[tokio::test]
async fn a_refund_can_be_deleted_but_not_changed() {
    let scene = Scene::open().await;
    let made = scene
        .shop
        .post(&scene.path, json!({"amount": "1.00", "api_refund": false}))
        .await
        .body;
    let path = format!("{}/{}", scene.path, made["id"]);

    let put = scene.shop.put(&path, json!({"reason": "x"})).await;
    let batch = scene.shop.post(&format!("{}/batch", scene.path), json!({})).await;
    let as_order = scene.shop.get(&format!("/orders/{}", made["id"])).await;
    let first = scene.shop.delete(&path).await;
    let again = scene.shop.delete(&format!("{path}?force=true")).await;

    assert_eq!((put.status, put.code()), (404, "rest_no_route"));
    assert_eq!((batch.code(), as_order.status), ("rest_no_route", 404));
    assert_eq!(first.status, 200);
    assert_eq!(
        (again.status, again.code()),
        (404, "woocommerce_rest_shop_order_refund_invalid_id")
    );
    assert_eq!(scene.parent().await["refunds"], json!([]));
}

#[tokio::test]
async fn tax_goes_back_only_when_it_is_sent() {
    let shop = Shop::open().await;
    let rate = shop.store.insert_tax(json!({"rate": "8.8750", "name": "NY Tax"}));
    let line = json!({"sku": "__none__", "name": "x", "subtotal": "10.00", "total": "10.00"});
    let order = shop
        .order(json!({"status": "completed", "line_items": [line]}))
        .await;
    let line = json!({
        "id": order["line_items"][0]["id"], "quantity": 1, "refund_total": 10.0,
        "refund_tax": [{"id": rate, "refund_total": 0.89}],
    });

    let made = shop
        .post(
            &format!("/orders/{}/refunds", order["id"]),
            json!({"api_refund": false, "line_items": [line]}),
        )
        .await
        .body;

    assert_eq!(
        (&made["amount"], &made["line_items"][0]["total_tax"]),
        (&json!("10.89"), &json!("-0.89"))
    );
    assert_eq!(made["tax_lines"][0]["tax_total"], "-0.89");
    assert_eq!(
        shop.get(&format!("/orders/{}", order["id"])).await.body["status"],
        "refunded"
    );
}

#[tokio::test]
async fn refunds_without_an_address_are_silent() {
    let scene = Scene::open().await;
    let id = &scene.order["id"];
    let mails = scene.shop.store.mails();

    scene
        .shop
        .post(
            "/orders/batch",
            json!({"update": [{"id": id, "billing": {"email": ""}}]}),
        )
        .await;
    scene
        .shop
        .post(&scene.path, json!({"amount": "60.00", "api_refund": false}))
        .await;
    let back = scene
        .shop
        .put(
            &format!("/orders/{id}"),
            json!({"billing": {"email": "ann@example.com"}}),
        )
        .await
        .body;

    assert_eq!(
        (scene.shop.store.mails(), &back["status"]),
        (mails, &json!("refunded"))
    );
}

#[tokio::test]
async fn all_refunds_are_found_by_time_and_id() {
    let scene = Scene::open().await;
    scene.shop.store.age(std::time::Duration::from_hours(1));
    let before = scene.parent().await["date_modified_gmt"]
        .as_str()
        .unwrap()
        .to_owned();
    let made = scene
        .shop
        .post(&scene.path, json!({"amount": "1.00", "api_refund": false}))
        .await
        .body;
    let id = made["id"].as_u64().unwrap();

    let ids = async |query: &str| scene.shop.get(&format!("/refunds?{query}")).await.ids();

    assert_eq!(
        ids(&format!("modified_after={before}&dates_are_gmt=true")).await,
        [id]
    );
    assert_eq!(
        ids(&format!("after={before}&dates_are_gmt=true&include={id}")).await,
        [id]
    );
    assert_eq!(ids("after=2099-01-01T00:00:00").await, [0_u64; 0]);
    let bumped = scene.parent().await["date_modified_gmt"].clone();
    assert_ne!(bumped, json!(before), "the order's time moves");
}
