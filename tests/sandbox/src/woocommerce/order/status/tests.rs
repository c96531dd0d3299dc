//! Mails, stock and dates by change of status.

use std::time::Duration;

use serde_json::{Value, json};

use crate::woocommerce::Noise;
use crate::woocommerce::tests::Shop;

/// What an order did to the shop: mails to the customer, mails to its people, pieces taken.
#[derive(Debug, PartialEq)]
struct Felt(usize, usize, i64);

struct Scene {
    shop: Shop,
    product: u64,
}

impl Scene {
    async fn open() -> Self {
        let shop = Shop::open().await;
        let product =
            json!({"name": "x", "regular_price": "10", "manage_stock": true, "stock_quantity": 100});
        let product = shop.product(product).await;
        Self { shop, product }
    }

    fn body(&self, status: &str) -> Value {
        json!({
            "status": status, "billing": {"email": "ann@example.com"},
            "line_items": [{"product_id": self.product, "quantity": 3}],
        })
    }

    async fn felt(&self, work: impl Future<Output = ()>) -> Felt {
        let before = (self.shop.store.noise(), self.stock());
        work.await;
        let Noise {
            customer_mails,
            admin_mails,
        } = self.shop.store.noise();
        Felt(
            customer_mails - before.0.customer_mails,
            admin_mails - before.0.admin_mails,
            before.1 - self.stock(),
        )
    }

    fn stock(&self) -> i64 {
        self.shop.store.product(self.product).unwrap()["stock_quantity"]
            .as_i64()
            .unwrap()
    }

    async fn create(&self, status: &str) -> Felt {
        self.felt(async {
            drop(self.shop.order(self.body(status)).await);
        })
        .await
    }

    async fn change(&self, from: &str, to: &str) -> Felt {
        let id = self.shop.order(self.body(from)).await["id"].clone();
        self.felt(async {
            let path = format!("/orders/{id}");
            self.shop.put(&path, json!({"status": to})).await;
        })
        .await
    }
}

#[tokio::test]
async fn a_new_order_is_felt_by_its_status() {
    let scene = Scene::open().await;

    assert_eq!(scene.create("pending").await, Felt(0, 0, 0));
    assert_eq!(scene.create("checkout-draft").await, Felt(0, 0, 0));
    assert_eq!(scene.create("processing").await, Felt(1, 1, 3));
    assert_eq!(scene.create("on-hold").await, Felt(1, 1, 3));
    assert_eq!(scene.create("completed").await, Felt(1, 1, 3));
    assert_eq!(scene.create("cancelled").await, Felt(0, 1, 0));
    assert_eq!(scene.create("failed").await, Felt(1, 1, 0));
    assert_eq!(scene.create("refunded").await, Felt(1, 0, 0));
}

#[tokio::test]
async fn a_change_of_status_is_felt_by_where_it_comes_from() {
    let scene = Scene::open().await;

    for silent in ["processing", "on-hold"] {
        assert_eq!(
            scene.change("checkout-draft", silent).await,
            Felt(0, 0, 3),
            "{silent}"
        );
    }
    assert_eq!(scene.change("checkout-draft", "cancelled").await, Felt(0, 0, 0));
    assert_eq!(scene.change("checkout-draft", "completed").await, Felt(1, 0, 3));
    assert_eq!(scene.change("pending", "processing").await, Felt(1, 1, 3));
    assert_eq!(scene.change("processing", "completed").await, Felt(1, 0, 0));
    assert_eq!(scene.change("completed", "processing").await, Felt(0, 0, 0));
    assert_eq!(scene.change("processing", "pending").await, Felt(0, 0, -3));
    assert_eq!(scene.change("processing", "cancelled").await, Felt(0, 1, -3));
    assert_eq!(scene.change("processing", "checkout-draft").await, Felt(0, 0, 0));
    assert_eq!(scene.change("processing", "refunded").await, Felt(1, 0, 0));
}

#[tokio::test]
async fn flags_in_the_meta_data_keep_stock_and_people_quiet() {
    let scene = Scene::open().await;
    let mut body = scene.body("processing");
    body["meta_data"] = json!([
        {"key": "_order_stock_reduced", "value": "yes"}, {"key": "_new_order_email_sent", "value": "true"},
    ]);
    body["billing"] = json!({});

    let mut id = Value::Null;
    let created = scene
        .felt(async { id = scene.shop.order(body).await["id"].clone() })
        .await;
    let path = format!("/orders/{id}");
    let put = async |body: Value| drop(scene.shop.put(&path, body).await);
    let addressed = scene
        .felt(put(json!({"billing": {"email": "ann@example.com"}})))
        .await;
    let cancelled = scene.felt(put(json!({"status": "cancelled"}))).await;
    let unflagged = scene.felt(put(json!({"status": "processing"}))).await;

    assert_eq!(created, Felt(0, 0, 0), "no address, no mail");
    assert_eq!(addressed, Felt(0, 0, 0));
    assert_eq!(cancelled, Felt(0, 1, 0), "nothing was taken, nothing comes back");
    assert_eq!(unflagged, Felt(1, 0, 3), "the flag was cleared");
}

#[tokio::test]
async fn an_account_is_mailed_where_the_order_has_no_address() {
    let scene = Scene::open().await;
    let customer = scene
        .shop
        .store
        .insert_customer(json!({"email": "ann@example.com"}));

    let guest = scene
        .felt(async {
            drop(scene.shop.order(json!({"status": "processing"})).await);
        })
        .await;
    let body = json!({"status": "processing", "customer_id": customer});
    let account = scene
        .felt(async {
            drop(scene.shop.order(body).await);
        })
        .await;

    assert_eq!(guest, Felt(0, 1, 0));
    assert_eq!(account, Felt(1, 1, 0));
}

#[tokio::test]
async fn an_order_becomes_complete_in_silence_while_its_address_is_away() {
    let scene = Scene::open().await;
    let customer = scene
        .shop
        .store
        .insert_customer(json!({"email": "ann@example.com"}));
    let mut body = scene.body("processing");
    body["customer_id"] = json!(customer);
    let id = scene.shop.order(body).await["id"].clone();
    let update = json!({"update": [
        {"id": id, "billing": {"email": ""}, "customer_id": 0}, {"id": id, "status": "completed"},
        {"id": id, "billing": {"email": "ann@example.com"}, "customer_id": customer},
    ]});

    let mut done = Value::Null;
    let felt = scene
        .felt(async { done = scene.shop.post("/orders/batch", update).await.body })
        .await;

    assert_eq!(felt, Felt(0, 0, 0));
    assert_eq!(
        (&done["update"][2]["status"], &done["update"][2]["customer_id"]),
        (&json!("completed"), &json!(customer))
    );
}

#[tokio::test]
async fn lines_of_a_running_order_move_stock_whatever_its_flag_says() {
    let scene = Scene::open().await;
    let mut body = scene.body("processing");
    body["meta_data"] = json!([{"key": "_order_stock_reduced", "value": "yes"}]);
    let order = scene.shop.order(body).await;
    let (path, line) = (
        format!("/orders/{}", order["id"]),
        order["line_items"][0]["id"].clone(),
    );
    let put = async |body: Value| drop(scene.shop.put(&path, body).await);

    let totals = scene
        .felt(put(
            json!({"line_items": [{"id": line, "total": "1.00", "subtotal": "1.00"}]}),
        ))
        .await;
    let more = scene
        .felt(put(json!({"line_items": [{"id": line, "quantity": 5}]})))
        .await;
    let removed = scene
        .felt(put(json!({"line_items": [{"id": line, "quantity": 0}]})))
        .await;

    assert_eq!(totals, Felt(0, 0, 3), "even without another quantity");
    assert_eq!(more, Felt(0, 0, 2));
    assert_eq!(removed, Felt(0, 0, -5));
}

#[tokio::test]
async fn lines_change_in_silence_while_the_order_is_a_draft() {
    let scene = Scene::open().await;
    let mut body = scene.body("processing");
    body["meta_data"] = json!([{"key": "_order_stock_reduced", "value": "yes"}]);
    let order = scene.shop.order(body).await;
    let (id, line) = (&order["id"], &order["line_items"][0]["id"]);
    let dance = json!({"update": [
        {"id": id, "status": "checkout-draft"},
        {"id": id, "line_items": [{"id": line, "quantity": 8, "subtotal": "81.00", "total": "81.00"}]},
        {"id": id, "status": "processing", "meta_data": [{"key": "_order_stock_reduced", "value": "yes"}]},
    ]});

    let mut done = Value::Null;
    let felt = scene
        .felt(async { done = scene.shop.post("/orders/batch", dance).await.body })
        .await;

    assert_eq!(felt, Felt(0, 0, 0));
    assert_eq!(
        (&done["update"][2]["total"], &done["update"][2]["status"]),
        (&json!("81.00"), &json!("processing"))
    );
}

#[tokio::test]
async fn a_count_sent_with_the_line_spares_the_stock_until_a_cancel_gives_it_away() {
    let scene = Scene::open().await;
    let mut body = scene.body("processing");
    body["meta_data"] = json!([{"key": "_order_stock_reduced", "value": "yes"}]);
    let order = scene.shop.order(body).await;
    let path = format!("/orders/{}", order["id"]);
    let line = json!({"id": order["line_items"][0]["id"], "quantity": 5, "meta_data": [{"key": "_reduced_stock", "value": "5"}]});
    let put = async |body: Value| drop(scene.shop.put(&path, body).await);

    let changed = scene.felt(put(json!({"line_items": [line]}))).await;
    let cancelled = scene.felt(put(json!({"status": "cancelled"}))).await;

    assert_eq!((changed, cancelled), (Felt(0, 0, 0), Felt(0, 1, -5)));
}

#[tokio::test]
async fn set_paid_pays_once_and_never_an_order_that_costs_nothing() {
    let scene = Scene::open().await;
    let pending = scene.shop.order(scene.body("pending")).await;
    let path = format!("/orders/{}", pending["id"]);
    let pay = |number: &str| json!({"set_paid": true, "transaction_id": number, "payment_method": "stripe"});

    let paid = scene.shop.put(&path, pay("t1")).await.body;
    let again = scene.shop.put(&path, pay("t2")).await.body;
    let free = scene.shop.order(json!({})).await;
    let free_paid = scene
        .shop
        .put(&format!("/orders/{}", free["id"]), pay("t3"))
        .await
        .body;
    let at_once = scene
        .shop
        .order(json!({"set_paid": true, "line_items": [{"product_id": scene.product}]}))
        .await;

    assert_eq!(
        (
            pending["needs_payment"].as_bool(),
            paid["needs_payment"].as_bool()
        ),
        (Some(true), Some(false))
    );
    assert_eq!(
        (
            paid["status"].as_str(),
            paid["line_items"][0]["meta_data"][0]["key"].as_str()
        ),
        (Some("processing"), Some("_reduced_stock"))
    );
    assert_eq!(
        (&again["date_paid"], &again["transaction_id"]),
        (&paid["date_paid"], &json!("t2"))
    );
    assert_eq!(
        (free_paid["status"].as_str(), free_paid["date_paid"].as_str()),
        (Some("pending"), None)
    );
    assert_eq!(free_paid["transaction_id"], "t3");
    assert_eq!(at_once["status"], "processing");
    assert_eq!(scene.stock(), 96);
}

#[tokio::test]
async fn an_order_sells_more_than_there_is() {
    let scene = Scene::open().await;

    scene
        .shop
        .order(json!({"set_paid": true, "line_items": [{"product_id": scene.product, "quantity": 9999}]}))
        .await;

    let product = scene.shop.store.product(scene.product).unwrap();
    assert_eq!(
        (&product["stock_quantity"], &product["stock_status"]),
        (&json!(-9899), &json!("outofstock"))
    );
}

#[tokio::test]
async fn refunded_as_a_status_refunds_the_rest_by_itself() {
    let scene = Scene::open().await;
    let order = scene.shop.order(scene.body("processing")).await;
    let path = format!("/orders/{}", order["id"]);
    scene
        .shop
        .post(
            &format!("{path}/refunds"),
            json!({"amount": "10.00", "api_refund": false}),
        )
        .await;
    scene.shop.store.age(Duration::from_hours(1));

    let refunded = scene.shop.put(&path, json!({"status": "refunded"})).await.body;

    let totals: Vec<&Value> = refunded["refunds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|refund| &refund["total"])
        .collect();
    assert_eq!(totals, ["-20.00", "-10.00"], "the newest first");
    assert_eq!(refunded["total"], "30.00");
    assert_eq!(scene.stock(), 97, "no goods come back");
}

#[tokio::test]
async fn a_mail_that_is_switched_off_is_not_sent() {
    let scene = Scene::open().await;
    let settings = "/settings/email_customer_processing_order/enabled";

    let off = scene.shop.put(settings, json!({"value": "no"})).await;
    let felt = scene.create("processing").await;

    assert_eq!((off.status, off.body["value"].as_str()), (200, Some("no")));
    assert_eq!(felt, Felt(0, 1, 3));
}
