use serde_json::json;

use super::{Shop, quietly};

#[tokio::test]
async fn a_price_keeps_its_digits_and_a_discount_two() {
    let shop = Shop::open().await;
    let line = [
        ("price_unit", "5.333333333333333"),
        ("discount", "12.345"),
        ("tax_ids/.id", ""),
    ];

    let id = shop.order("o_1", &[], &[&line]).await["ids"][0].clone();

    let line = &shop.lines(&id, json!(["price_unit", "discount"])).await[0];
    assert_eq!(line["price_unit"], 5.333_333_333_333_333);
    assert_eq!(line["discount"], 12.35);
}

#[tokio::test]
async fn a_changed_quantity_replaces_the_price_unless_it_is_manual() {
    let shop = Shop::open().await;
    let plain = [("price_unit", "16.2"), ("tax_ids/.id", "")];
    let manual = [
        ("price_unit", "16.2"),
        ("tax_ids/.id", ""),
        ("technical_price_unit", "0"),
    ];
    let plain = shop.order("o_1", &[], &[&plain]).await["ids"][0].clone();
    let manual = shop.order("o_2", &[], &[&manual]).await["ids"][0].clone();

    for order in [&plain, &manual] {
        let line = shop.lines(order, json!(["name"])).await[0]["id"].clone();
        shop.write_line(&line, json!({"product_uom_qty": 2})).await;
    }

    assert_eq!(
        shop.lines(&plain, json!(["price_unit"])).await[0]["price_unit"],
        20.0
    );
    assert_eq!(
        shop.lines(&manual, json!(["price_unit"])).await[0]["price_unit"],
        16.2
    );
}

#[tokio::test]
async fn the_currency_follows_the_price_list_only() {
    let shop = Shop::open().await;
    shop.office
        .erp
        .update("res.currency", 125, json!({"active": true}));
    let fields = json!(["id", "name", "currency_id/.id"]);
    shop.office
        .load(
            "product.pricelist",
            fields,
            json!([["woo1.pl_EUR", "Woo EUR", "125"]]),
        )
        .await;
    let line = [("price_unit", "5"), ("tax_ids/.id", "")];

    let told = shop.order("o_1", &[("currency_id", "EUR")], &[&line]).await;
    let listed = shop
        .order("o_2", &[("pricelist_id/id", "woo1.pl_EUR")], &[&line])
        .await;

    let currency = json!(["currency_id"]);
    assert_eq!(
        shop.read(&told["ids"][0], currency.clone()).await["currency_id"],
        json!([1, "USD"])
    );
    assert_eq!(
        shop.read(&listed["ids"][0], currency).await["currency_id"],
        json!([125, "EUR"])
    );
}

#[tokio::test]
async fn a_line_without_a_price_takes_the_price_lists() {
    let shop = Shop::open().await;
    let fields = json!(["id", "name"]);
    shop.office
        .load("product.pricelist", fields, json!([["woo1.pl_USD", "Woo"]]))
        .await;
    let fields = json!([
        "id",
        "pricelist_id/id",
        "applied_on",
        "compute_price",
        "product_id/.id",
        "fixed_price"
    ]);
    let product = shop.product.to_string();
    let row = json!([
        "woo1.pli_1",
        "woo1.pl_USD",
        "0_product_variant",
        "fixed",
        product,
        "42"
    ]);
    shop.office
        .load("product.pricelist.item", fields, json!([row]))
        .await;
    let line = [("tax_ids/.id", "")];

    let listed = shop
        .order("o_1", &[("pricelist_id/id", "woo1.pl_USD")], &[&line])
        .await;
    let plain = shop.order("o_2", &[], &[&line]).await;

    let price = json!(["price_unit"]);
    assert_eq!(
        shop.lines(&listed["ids"][0], price.clone()).await[0]["price_unit"],
        42.0
    );
    assert_eq!(shop.lines(&plain["ids"][0], price).await[0]["price_unit"], 20.0);
}

#[tokio::test]
async fn a_text_does_not_move_the_orders_time_and_a_quantity_does() {
    let shop = Shop::open().await;
    let id = shop.simple("o_1", "1").await;
    let line = shop.lines(&id, json!(["name"])).await[0]["id"].clone();
    let time = async || shop.read(&id, json!(["write_date"])).await["write_date"].clone();
    let before = time().await;
    shop.office.erp.age(std::time::Duration::from_mins(1));
    let aged = time().await;

    shop.write_line(&line, json!({"name": "Text"})).await;
    let after_text = time().await;
    shop.write_line(&line, json!({"product_uom_qty": 2})).await;

    assert_ne!(before, aged);
    assert_eq!(after_text, aged);
    assert_ne!(time().await, aged);
    let effects = shop.office.erp.ledger().effects();
    let last = effects.last().unwrap();
    assert_eq!(
        (last.entity, last.thing.as_str()),
        ("sale_order_line", id.to_string().as_str())
    );
}

#[tokio::test]
async fn digits_and_types_can_be_asked_for() {
    let shop = Shop::open().await;
    let body = json!({"attributes": ["type", "digits"], "context": quietly()});

    let line = shop.office.ok("sale.order.line/fields_get", body.clone()).await;
    let order = shop.office.ok("sale.order/fields_get", body.clone()).await;
    let tax = shop.office.ok("account.tax/fields_get", body).await;

    assert_eq!(line["price_unit"], json!({"type": "float"}));
    assert_eq!(
        line["product_uom_qty"],
        json!({"type": "float", "digits": [16, 2]})
    );
    assert_eq!(line["extra_tax_data"], json!({"type": "json"}));
    assert_eq!(line.get("tax_id"), None);
    assert_eq!(order["amount_total"], json!({"type": "monetary"}));
    assert_eq!(tax["amount"], json!({"type": "float", "digits": [16, 4]}));
}
