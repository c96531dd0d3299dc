//! What finds an order and what does not.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::woocommerce::tests::{Shop, answer};

#[tokio::test]
async fn any_status_means_neither_trash_nor_draft() {
    let shop = Shop::open().await;
    for status in ["pending", "completed", "cancelled", "checkout-draft"] {
        shop.order(json!({"status": status})).await;
    }
    let gone = shop.order(json!({"status": "on-hold"})).await["id"].clone();
    shop.delete(&format!("/orders/{gone}")).await;

    let count = async |query: &str| shop.get(&format!("/orders?{query}")).await.ids().len();

    assert_eq!(count("").await, 3);
    assert_eq!(count("status=any").await, 3);
    assert_eq!(count("status=checkout-draft").await, 1);
    assert_eq!(count("status=trash").await, 1);
    assert_eq!(count("status=pending,completed").await, 2);
    assert_eq!(count(&format!("include={gone}")).await, 0);
    assert_eq!(count(&format!("include={gone}&status=trash")).await, 1);
    let refused = shop.get("/orders?status=bogus").await;
    assert_eq!((refused.status, refused.code()), (400, "rest_invalid_param"));
}

#[tokio::test]
async fn some_filters_work_and_the_others_are_ignored() {
    let shop = Shop::open().await;
    let product = shop.product(json!({"name": "x"})).await;
    let customer = shop.store.insert_customer(json!({"email": "ann@example.com"}));
    shop.order(json!({"line_items": [{"product_id": product}], "transaction_id": "T1"}))
        .await;
    shop.order(json!({"customer_id": customer, "created_via": "lockstep"}))
        .await;
    shop.order(json!({"created_via": "other"})).await;

    let count = async |query: &str| shop.get(&format!("/orders?{query}")).await.ids().len();

    assert_eq!(count(&format!("product={product}")).await, 1);
    assert_eq!(count(&format!("customer={customer}")).await, 1);
    assert_eq!(count("created_via=lockstep,other").await, 2);
    for ignored in [
        "transaction_id=T1",
        "meta_key=a&meta_value=b",
        "billing_email=ann%40example.com",
        "number=7",
    ] {
        assert_eq!(count(ignored).await, 3, "{ignored}");
    }
    assert_eq!(shop.get("/orders?orderby=total").await.status, 400);
    assert_eq!(shop.get("/orders?modified_after=nodate").await.status, 400);
}

#[tokio::test]
async fn a_search_looks_into_addresses_names_and_the_payment_only() {
    let shop = Shop::open().await;
    shop.product(json!({"name": "Widget", "sku": "SKU-1", "regular_price": "1"}))
        .await;
    let order = shop
        .order(json!({
            "billing": {"first_name": "Bob", "email": "bob@example.com", "company": "REFCO-9", "address_2": "ADR2-77"},
            "shipping": {"company": "SHIPREF-5"}, "transaction_id": "IDEMP-9", "customer_note": "NOTE-XYZ",
            "line_items": [{"sku": "SKU-1", "meta_data": [{"key": "ref", "value": "LINEMETA-3"}]}],
            "fee_lines": [{"name": "FEE-11", "total": "1.00"}],
            "meta_data": [{"key": "erp_order", "value": "SO-0001"}, {"key": "_hidden", "value": "HID-77"}],
        }))
        .await;

    let finds = async |text: &str| shop.get(&format!("/orders?search={text}")).await.ids().len() == 1;

    let id = order["id"].to_string();
    for text in [
        "bob%40example.com",
        "bob",
        "REFCO-9",
        "adr2-77",
        "shipref",
        "widget",
        "FEE-11",
        "idemp",
        id.as_str(),
    ] {
        assert!(finds(text).await, "{text}");
    }
    let key = order["order_key"].as_str().unwrap();
    for text in ["SO-0001", "HID-77", "LINEMETA-3", "SKU-1", "NOTE-XYZ", key] {
        assert!(!finds(text).await, "{text}");
    }
}

#[tokio::test]
async fn changes_are_found_by_time_in_order_and_counted_by_head() {
    let shop = Shop::open().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(shop.order(json!({})).await["id"].as_u64().unwrap());
    }
    shop.store.age(Duration::from_hours(1));
    // The last of them: a second may have passed since the first.
    let before = shop.store.order(ids[2]).unwrap()["date_modified_gmt"]
        .as_str()
        .unwrap()
        .to_owned();
    shop.put(&format!("/orders/{}", ids[1]), json!({})).await;

    let query = format!("/orders?modified_after={before}&dates_are_gmt=true&per_page=1");
    let changed = shop.get(&query).await;
    let head = answer(shop.request(Method::HEAD, &query)).await;
    let sorted = shop.get("/orders?orderby=modified&order=asc").await;
    let beyond = shop.get("/orders?per_page=2&page=9").await;

    assert_eq!(changed.ids(), [ids[1]]);
    assert_eq!(
        (head.status, head.header("x-wp-total")),
        (200, changed.header("x-wp-total"))
    );
    assert_eq!(sorted.ids(), [ids[0], ids[2], ids[1]]);
    assert_eq!((beyond.ids().len(), beyond.header("x-wp-total")), (0, "0"));
    let included = shop
        .get(&format!(
            "/orders?include={},{}&orderby=include&_fields=id",
            ids[2], ids[0]
        ))
        .await;
    assert_eq!(included.ids(), [ids[2], ids[0]]);
}
