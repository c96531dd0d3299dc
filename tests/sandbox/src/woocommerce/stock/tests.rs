//! The traps of stock, through real HTTP.

use std::time::Duration;

use serde_json::{Value, json};

use crate::woocommerce::tests::Shop;

fn kept(quantity: i64) -> Value {
    json!({"name": "x", "regular_price": "10", "manage_stock": true, "stock_quantity": quantity})
}

async fn variable(shop: &Shop, parent: Value) -> (u64, Value) {
    let mut body = json!({
        "name": "Tee", "type": "variable", "attributes": [{"name": "Size", "variation": true, "options": ["S"]}],
    });
    for (field, value) in parent.as_object().unwrap() {
        body[field] = value.clone();
    }
    let parent = shop.product(body).await;
    let variation = json!({"regular_price": "5", "attributes": [{"name": "Size", "option": "S"}]});
    let variation = shop
        .post(&format!("/products/{parent}/variations"), variation)
        .await
        .body;
    (parent, variation["id"].clone())
}

#[tokio::test]
async fn a_relative_change_is_lost_under_another_one() {
    let shop = Shop::open().await;
    let id = shop.product(kept(1000)).await;
    let path = format!("/products/{id}");

    let one = shop.put(&path, json!({"inventory_delta": -3})).await.body;
    let both = shop
        .put(&path, json!({"inventory_delta": -1, "stock_quantity": 100}))
        .await
        .body;
    let minus = || shop.put(&path, json!({"inventory_delta": -1}));
    tokio::join!(
        minus(),
        minus(),
        minus(),
        minus(),
        minus(),
        minus(),
        minus(),
        minus()
    );

    assert_eq!(
        (&one["stock_quantity"], &both["stock_quantity"]),
        (&json!(997), &json!(100))
    );
    let left = shop.stock(id).await.as_i64().unwrap();
    assert!(left > 92, "{left}: eight pieces went, fewer were counted");
    let batch = json!({"update": [{"id": id, "inventory_delta": 2}]});
    let batched = shop.post("/products/batch", batch).await.body;
    assert_eq!(batched["update"][0]["stock_quantity"], left + 2);
}

#[tokio::test]
async fn orders_at_the_same_time_take_every_piece() {
    let shop = Shop::open().await;
    let id = shop.product(kept(100)).await;
    let sell = || shop.order(json!({"set_paid": true, "line_items": [{"product_id": id}]}));

    tokio::join!(sell(), sell(), sell(), sell(), sell(), sell(), sell(), sell());

    assert_eq!(shop.stock(id).await, 92);
}

#[tokio::test]
async fn a_variation_may_live_on_its_parents_stock() {
    let shop = Shop::open().await;
    let (parent, variation) = variable(&shop, json!({"manage_stock": true, "stock_quantity": 10})).await;
    let path = format!("/products/{parent}/variations/{variation}");

    let shown = shop.get(&path).await.body;
    let ignored = shop.put(&path, json!({"stock_quantity": 99})).await;
    shop.order(json!({"set_paid": true, "line_items": [{"product_id": variation, "quantity": 4}]}))
        .await;

    assert_eq!(
        (&shown["manage_stock"], &shown["stock_quantity"]),
        (&json!("parent"), &json!(10))
    );
    assert_eq!(
        (ignored.status, &ignored.body["stock_quantity"]),
        (200, &json!(10))
    );
    assert_eq!(shop.get(&path).await.body["stock_quantity"], 6);
    assert_eq!(shop.stock(parent).await, 6);
}

#[tokio::test]
async fn regular_changes_move_times_and_raw_ones_do_not() {
    let shop = Shop::open().await;
    let simple = shop.product(kept(10)).await;
    let (parent, variation) = variable(&shop, json!({})).await;
    let variation = variation.as_u64().unwrap();
    shop.put(
        &format!("/products/{parent}/variations/{variation}"),
        json!({"manage_stock": true, "stock_quantity": 5}),
    )
    .await;
    let times = async || {
        let mut times = Vec::new();
        for id in [simple, parent, variation] {
            times.push(shop.get(&format!("/products/{id}")).await.body["date_modified_gmt"].clone());
        }
        times
    };
    let moved = async |work: &dyn Fn()| {
        shop.store.age(Duration::from_mins(1));
        let before = times().await;
        work();
        let after = times().await;
        before
            .iter()
            .zip(&after)
            .map(|(before, after)| before != after)
            .collect::<Vec<bool>>()
    };

    assert_eq!(
        moved(&|| shop.store.set_stock(simple, 9)).await,
        [true, false, false]
    );
    assert_eq!(
        moved(&|| shop.store.set_stock(variation, 4)).await,
        [false, true, true]
    );
    assert_eq!(
        moved(&|| {
            shop.store.sell(simple, 1);
        })
        .await,
        [true, false, false]
    );
    assert_eq!(
        moved(&|| {
            shop.store.sell(variation, 1);
        })
        .await,
        [false, true, true]
    );
    assert_eq!(
        moved(&|| shop.store.set_stock_raw(simple, 77)).await,
        [false, false, false]
    );
    assert_eq!(shop.stock(simple).await, 77);
    assert_eq!(shop.stock(variation).await, 3);
}

#[tokio::test]
async fn a_sale_at_the_storefront_is_a_paid_order_and_no_noise() {
    let shop = Shop::open().await;
    let id = shop.product(kept(10)).await;

    let order = shop.store.sell(id, 2);

    let order = shop.store.order(order).unwrap();
    assert_eq!(
        (&order["status"], &order["created_via"]),
        (&json!("processing"), &json!("checkout"))
    );
    assert!(order["date_paid"].is_string() && order["transaction_id"] != "");
    assert_eq!(
        (&order["total"], shop.stock(id).await),
        (&json!("20.00"), json!(8))
    );
    assert_eq!(shop.store.noise(), crate::woocommerce::Noise::default());
    assert_eq!(shop.store.ledger().created("order"), 0);
}

#[tokio::test]
async fn stock_that_an_order_of_the_api_takes_is_an_effect_of_its_own() {
    let shop = Shop::open().await;
    let id = shop.product(kept(10)).await;
    shop.store.ledger().reset();

    shop.order(json!({"status": "processing", "line_items": [{"product_id": id}]}))
        .await;

    let effects: Vec<(&str, bool)> = shop
        .store
        .ledger()
        .effects()
        .iter()
        .map(|effect| (effect.entity, effect.changed))
        .collect();
    assert_eq!(effects, [("stock", true), ("order", true)]);
}

#[tokio::test]
async fn all_variations_are_listed_across_parents() {
    let shop = Shop::open().await;
    let (one, first) = variable(&shop, json!({})).await;
    let (two, second) = variable(&shop, json!({})).await;

    let rows = shop
        .get("/variations?orderby=id&order=asc&_fields=id,parent_id")
        .await
        .body;
    let batch = json!({"update": [{"id": first, "manage_stock": true, "stock_quantity": 3}, {"id": second, "stock_quantity": 1}]});
    let batch = shop
        .post(&format!("/products/{one}/variations/batch"), batch)
        .await
        .body;

    assert_eq!(
        rows,
        json!([{"id": first, "parent_id": one}, {"id": second, "parent_id": two}])
    );
    assert_eq!(batch["update"][0]["stock_quantity"], 3);
    assert_eq!(
        batch["update"][1]["error"]["code"],
        "woocommerce_rest_product_variation_invalid_id"
    );
}
