//! The arithmetic, setting by setting.

use serde_json::{Value, json};

use crate::woocommerce::tests::Shop;

fn line(total: &str, class: &str) -> Value {
    json!({"sku": "__none__", "name": "x", "subtotal": total, "total": total, "tax_class": class})
}

async fn taxed(shop: &Shop) {
    let class = shop.post("/taxes/classes", json!({"name": "Odoo 15"})).await;
    assert_eq!(
        (class.status, class.body["slug"].as_str()),
        (201, Some("odoo-15"))
    );
    let rate =
        json!({"country": "", "rate": "15.0000", "name": "Fifteen", "class": "odoo-15", "shipping": false});
    assert_eq!(shop.post("/taxes", rate).await.status, 201);
}

async fn total(shop: &Shop, lines: Value) -> (Value, Value) {
    let order = shop.order(json!({"line_items": lines})).await;
    (order["total"].clone(), order["total_tax"].clone())
}

#[tokio::test]
async fn tax_is_rounded_line_by_line_unless_the_shop_rounds_the_sum() {
    let shop = Shop::open().await;
    taxed(&shop).await;
    let lines = json!([
        line("0.10", "odoo-15"),
        line("0.10", "odoo-15"),
        line("0.10", "odoo-15")
    ]);

    let by_line = total(&shop, lines.clone()).await;
    shop.store
        .set_setting("tax", "woocommerce_tax_round_at_subtotal", "yes");
    let by_sum = total(&shop, lines).await;

    assert_eq!(by_line, (json!("0.36"), json!("0.06")));
    assert_eq!(by_sum, (json!("0.35"), json!("0.05")));
}

#[tokio::test]
async fn half_a_cent_of_tax_goes_down_where_prices_include_it() {
    let shop = Shop::open().await;
    taxed(&shop).await;

    let excluded = total(&shop, json!([line("0.10", "odoo-15")])).await;
    shop.store
        .set_setting("tax", "woocommerce_prices_include_tax", "yes");
    let included = total(&shop, json!([line("0.10", "odoo-15")])).await;

    assert_eq!(excluded, (json!("0.12"), json!("0.02")));
    assert_eq!(
        included,
        (json!("0.11"), json!("0.01")),
        "line totals are net all the same"
    );
}

#[tokio::test]
async fn no_tax_is_owed_by_setting_by_class_by_exemption_or_by_product() {
    let shop = Shop::open().await;
    taxed(&shop).await;
    shop.store.insert_tax(json!({"rate": "10", "name": "Base"}));
    let free = shop
        .product(json!({"name": "x", "regular_price": "10", "tax_status": "none"}))
        .await;

    let order = shop
        .order(json!({"line_items": [
            line("10.00", "odoo-15"), line("10.00", "0"), line("10.00", ""), {"product_id": free},
        ]}))
        .await;
    let exempt = shop
        .order(json!({
            "line_items": [line("10.00", "odoo-15")], "meta_data": [{"key": "is_vat_exempt", "value": "yes"}],
            "fee_lines": [{"name": "Tax", "total": "1.50", "tax_status": "none"}],
            "shipping_lines": [{"method_id": "flat_rate", "total": "5.00"}],
        }))
        .await;
    let again = shop
        .put(
            &format!("/orders/{}", exempt["id"]),
            json!({"billing": {"city": "x"}}),
        )
        .await
        .body;
    shop.store.set_setting("general", "woocommerce_calc_taxes", "no");
    let off = total(&shop, json!([line("10.00", "odoo-15")])).await;

    assert_eq!(
        (&order["total"], &order["total_tax"]),
        (&json!("42.50"), &json!("2.50"))
    );
    assert_eq!(order["tax_lines"][0]["label"], "Fifteen");
    assert_eq!(
        (&exempt["total"], &again["total"], &again["total_tax"]),
        (&json!("16.50"), &json!("16.50"), &json!("0.00"))
    );
    assert_eq!(off, (json!("10.00"), json!("0.00")));
}

#[tokio::test]
async fn an_unknown_class_is_refused_and_nothing_is_left() {
    let shop = Shop::open().await;

    let refused = shop
        .post("/orders", json!({"line_items": [line("1.00", "nope")]}))
        .await;
    let twice = shop.post("/taxes/classes", json!({"name": "Reduced rate"})).await;

    assert_eq!(
        (refused.status, refused.code()),
        (400, "order_item_product_invalid_tax_class")
    );
    assert!(shop.store.orders().is_empty());
    assert_eq!(
        (twice.status, twice.code()),
        (400, "woocommerce_rest_tax_class_exists")
    );
}

#[tokio::test]
async fn negative_lines_are_fine_and_negative_fees_are_capped() {
    let shop = Shop::open().await;

    let lines = total(&shop, json!([line("5.00", ""), line("-8.00", "")])).await;
    let fee = json!({"line_items": [line("30.00", "")], "fee_lines": [{"name": "Credit", "total": "-500.00", "tax_status": "none"}]});
    let fee = shop.order(fee).await;

    assert_eq!(lines.0, "-3.00");
    assert_eq!(
        (&fee["fee_lines"][0]["total"], &fee["total"]),
        (&json!("-30.00"), &json!("0.00"))
    );
}

#[tokio::test]
async fn lines_are_summed_as_sent_but_a_shop_without_digits_rounds_each() {
    let shop = Shop::open().await;
    let lines = json!([line("0.333", ""), line("0.333", ""), line("0.333", "")]);

    let fine = shop.order(json!({"line_items": lines})).await;
    shop.store
        .set_setting("general", "woocommerce_price_num_decimals", "0");
    let coarse = total(&shop, json!([line("5.83", ""), line("5.83", "")])).await;

    assert_eq!(
        (&fine["line_items"][0]["total"], &fine["total"]),
        (&json!("0.33"), &json!("1.00"))
    );
    assert_eq!(coarse.0, "12");
}

#[tokio::test]
async fn shipping_is_taxed_by_the_class_of_the_goods_and_at_its_address() {
    let shop = Shop::open().await;
    shop.store.insert_tax(
        json!({"country": "US", "state": "NY", "rate": "8.8750", "name": "NY Tax", "shipping": true}),
    );
    shop.store.insert_tax(
        json!({"country": "US", "state": "CA", "rate": "7.2500", "name": "CA Tax", "shipping": false}),
    );
    let body = |state: &str| {
        json!({
            "billing": {"country": "DE"}, "shipping": {"country": "US", "state": state}, "line_items": [line("20.00", "")],
            "shipping_lines": [{"method_id": "flat_rate", "total": "7.95"}],
        })
    };

    let new_york = shop.order(body("NY")).await;
    let california = shop.order(body("CA")).await;

    assert_eq!(
        (&new_york["shipping_tax"], &new_york["total_tax"]),
        (&json!("0.71"), &json!("2.49"))
    );
    assert_eq!(new_york["tax_lines"][0]["rate_code"], "US-NY-NY TAX-1");
    assert_eq!(
        (&california["shipping_tax"], &california["total_tax"]),
        (&json!("0.00"), &json!("1.45"))
    );
}
