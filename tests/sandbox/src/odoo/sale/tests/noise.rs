use serde_json::{Value, json};

use super::{Shop, quietly};
use crate::odoo::Noise;

async fn confirmed(context: Value) -> Noise {
    let shop = Shop::open().await;
    let id = shop.simple("o_1", "1").await;
    assert_eq!(shop.office.erp.noise(), Noise::default());
    let body = json!({"ids": [id], "context": context});
    shop.office.ok("sale.order/action_confirm", body).await;
    shop.office.erp.noise()
}

#[tokio::test]
async fn confirming_is_loud_unless_the_context_says_otherwise() {
    let delivery = Noise {
        pickings: 1,
        moves: 1,
        ..Noise::default()
    };

    assert_eq!(confirmed(quietly()).await, delivery);
    assert_eq!(
        confirmed(json!({})).await,
        Noise {
            messages: 2,
            followers: 1,
            ..delivery
        }
    );
}

#[tokio::test]
async fn who_is_made_the_salesperson_follows() {
    let shop = Shop::open().await;

    shop.order("o_1", &[("user_id/.id", "")], &[&[("price_unit", "1")]])
        .await;
    let without = shop.office.erp.noise();
    shop.order("o_2", &[], &[&[("price_unit", "1")]]).await;

    assert_eq!(without.followers, 0);
    assert_eq!(shop.office.erp.noise().followers, 1);
}

#[tokio::test]
async fn the_same_delivery_address_reminds_of_every_open_picking() {
    let shop = Shop::open().await;
    let id = shop.simple("o_1", "1").await;
    shop.confirm(&id).await;
    let before = shop.office.erp.noise();
    let vals = json!({"partner_shipping_id": shop.partner});

    let body = json!({"ids": [id], "vals": vals, "context": quietly()});
    shop.office.ok("sale.order/write", body).await;

    let after = shop.office.erp.noise();
    assert_eq!(after.activities - before.activities, 1);
    let query = json!({"domain": [], "fields": ["res_model", "summary"]});
    let activity = shop.office.ok("mail.activity/search_read", query).await[0].clone();
    assert_eq!(activity["res_model"], "stock.picking");
}

#[tokio::test]
async fn prices_and_taxes_of_a_confirmed_order_are_told_whatever_the_context() {
    let shop = Shop::open().await;
    let id = shop.simple("o_1", "1").await;
    let line = shop.lines(&id, json!(["name"])).await[0]["id"].clone();
    shop.confirm(&id).await;
    let before = shop.office.erp.noise();

    shop.write_line(&line, json!({"price_unit": 20})).await;
    shop.write_line(&line, json!({"name": "Text"})).await;

    assert_eq!(shop.office.erp.noise().messages - before.messages, 1);
}

#[tokio::test]
async fn people_make_no_noise() {
    let shop = Shop::open().await;

    let vals = json!({"partner_id": shop.partner, "state": "sale", "order_line": [[0, 0, {"product_id": shop.product}]]});
    shop.office.erp.insert("sale.order", vals);

    assert_eq!(shop.office.erp.noise(), Noise::default());
    assert_eq!(shop.office.count("stock.picking", json!([])).await, 1);
}

#[tokio::test]
async fn new_customers_are_logged_and_followed_unless_the_context_says_otherwise() {
    let shop = Shop::open().await;
    let body = |context: Value| json!({"vals_list": [{"name": "x"}], "context": context});

    shop.office.ok("res.partner/create", body(quietly())).await;
    let quiet = shop.office.erp.noise();
    shop.office.ok("res.partner/create", body(json!({}))).await;

    assert_eq!((quiet.messages, quiet.followers), (0, 0));
    let loud = shop.office.erp.noise();
    assert_eq!((loud.messages, loud.followers), (1, 1));
}

#[tokio::test]
async fn the_same_customer_brings_the_default_addresses_back() {
    let shop = Shop::open().await;
    let other = json!({"name": "Parcel shop", "type": "other"});
    let other = shop.office.erp.insert("res.partner", other);
    let id = shop.simple("o_1", "1").await;
    let write = async |vals: Value| {
        let body = json!({"ids": [id], "vals": vals, "context": quietly()});
        shop.office.ok("sale.order/write", body).await;
        shop.read(&id, json!(["partner_shipping_id"])).await["partner_shipping_id"][0].clone()
    };

    let sent = write(json!({"partner_shipping_id": other})).await;
    shop.confirm(&id).await;
    let again = write(json!({"partner_id": shop.partner})).await;

    assert_eq!((sent, again), (json!(other), json!(shop.partner)));
    assert_eq!(shop.office.erp.noise().activities, 0);
}
