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
