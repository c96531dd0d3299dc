//! Settings, taxes and what else is read once.

use serde_json::json;

use crate::woocommerce::tests::Shop;

#[tokio::test]
async fn a_setting_is_read_and_changed_by_group_and_id() {
    let shop = Shop::open().await;

    let unit = shop.get("/settings/products/woocommerce_weight_unit").await.body;
    let group = shop.get("/settings/general").await.body;
    let path = "/settings/email_customer_new_account/enabled";
    let off = shop.put(path, json!({"value": "no"})).await;
    shop.post("/customers", json!({"email": "ann@example.com"})).await;

    assert_eq!(unit["value"], "lbs");
    assert!(
        group
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["id"] == "woocommerce_price_num_decimals" && row["value"] == "2")
    );
    assert_eq!(
        (off.status, shop.get(path).await.body["value"].as_str()),
        (200, Some("no"))
    );
    assert_eq!(shop.store.mails(), 0, "the mail of a new account is off");
    assert_eq!(shop.store.ledger().updated("setting"), 1);
}

#[tokio::test]
async fn unknown_settings_and_values_are_refused() {
    let shop = Shop::open().await;

    let group = shop.get("/settings/nope").await;
    let id = shop.get("/settings/general/nope").await;
    let value = shop
        .put(
            "/settings/general/woocommerce_calc_taxes",
            json!({"value": "maybe"}),
        )
        .await;

    assert_eq!(
        (group.status, group.code()),
        (404, "rest_setting_setting_group_invalid")
    );
    assert_eq!((id.status, id.code()), (404, "rest_setting_setting_invalid"));
    assert_eq!((value.status, value.code()), (400, "rest_setting_value_invalid"));
}

#[tokio::test]
async fn taxes_are_made_listed_and_deleted() {
    let shop = Shop::open().await;
    let rate = json!({"country": "us", "state": "NY", "rate": "8.875", "name": "NY Tax", "shipping": true});

    let made = shop.post("/taxes", rate).await;
    let path = format!("/taxes/{}", made.body["id"]);
    let classes = shop.get("/taxes/classes").await.body;
    let trashed = shop.delete(&path).await;
    let gone = shop.delete(&format!("{path}?force=true")).await;

    assert_eq!(
        (made.status, &made.body["rate"], &made.body["class"]),
        (201, &json!("8.8750"), &json!("standard"))
    );
    assert_eq!(made.body["country"], "US");
    let slugs: Vec<&serde_json::Value> = classes
        .as_array()
        .unwrap()
        .iter()
        .map(|class| &class["slug"])
        .collect();
    assert_eq!(slugs, ["standard", "reduced-rate", "zero-rate"]);
    assert_eq!(
        (trashed.status, gone.status, shop.get("/taxes").await.ids().len()),
        (501, 200, 0)
    );
}
