use serde_json::{Value, json};

use super::Shop;
use crate::odoo::tests::message;

fn forced(tax: i64, amount: f64, price: f64, quantity: f64) -> String {
    let total = price * quantity;
    json!({
        "manual_tax_amounts": {tax.to_string(): {"tax_amount_currency": amount, "base_amount_currency": total}},
        "manual_total_excluded_currency": total, "currency_id": 1, "price_unit": price, "discount": 0,
        "quantity": quantity, "rate": 1.0,
    })
    .to_string()
}

/// An order of two lines of 16.20 with 1.44 of tax each, as one recorded shop order has them; the tax itself says 10 %.
async fn loaded(shop: &Shop) -> Value {
    let tax = shop.tax("NY Tax", 10.0);
    let (id, data) = (tax.to_string(), forced(tax, 1.44, 16.2, 1.0));
    let line = [
        ("product_uom_qty", "1"),
        ("price_unit", "16.2"),
        ("tax_ids/.id", id.as_str()),
        ("technical_price_unit", "0"),
        ("extra_tax_data", data.as_str()),
    ];
    let answer = shop.order("o_669", &[], &[&line, &line]).await;
    assert_eq!(answer["messages"], json!([]));
    answer["ids"][0].clone()
}

#[tokio::test]
async fn forced_taxes_make_an_order_exact() {
    let shop = Shop::open().await;

    let id = loaded(&shop).await;

    let order = shop
        .read(&id, json!(["amount_untaxed", "amount_tax", "amount_total"]))
        .await;
    assert_eq!(
        order,
        json!({"id": id, "amount_untaxed": 32.4, "amount_tax": 2.88, "amount_total": 35.28})
    );
    let line = &shop
        .lines(&id, json!(["price_subtotal", "price_total", "price_tax"]))
        .await[0];
    assert_eq!(
        (&line["price_subtotal"], &line["price_total"]),
        (&json!(16.2), &json!(17.64))
    );
    assert!((line["price_tax"].as_f64().unwrap() - 1.44).abs() < 1e-9);
}

#[tokio::test]
async fn a_changed_quantity_drops_forced_taxes_for_good() {
    let shop = Shop::open().await;
    let id = loaded(&shop).await;
    let line = shop.lines(&id, json!(["name"])).await[0]["id"].clone();
    shop.write_line(&line, json!({"name": "Another text"})).await;
    let kept = shop.read(&id, json!(["amount_tax"])).await;

    shop.write_line(&line, json!({"product_uom_qty": 2})).await;
    shop.write_line(&line, json!({"product_uom_qty": 1})).await;

    assert_eq!(kept["amount_tax"], 2.88);
    let line = shop
        .office
        .read("sale.order.line", &line, json!(["extra_tax_data", "price_unit"]))
        .await;
    assert_eq!(
        (&line["extra_tax_data"], &line["price_unit"]),
        (&json!(false), &json!(16.2))
    );
    let order = shop.read(&id, json!(["amount_tax", "amount_total"])).await;
    // 1.62 that is computed, beside the 1.44 of the other line.
    assert_eq!(
        (&order["amount_tax"], &order["amount_total"]),
        (&json!(3.06), &json!(35.46))
    );
}

#[tokio::test]
async fn another_currency_in_the_forced_amounts_leaves_them_unheard() {
    let shop = Shop::open().await;
    let tax = shop.tax("Odd", 10.0);
    let data = forced(tax, 1.44, 16.2, 1.0).replace("\"currency_id\":1", "\"currency_id\":125");
    let id = tax.to_string();
    let line = [
        ("price_unit", "16.2"),
        ("tax_ids/.id", id.as_str()),
        ("extra_tax_data", &data),
    ];

    let order = shop.order("o_1", &[], &[&line]).await["ids"][0].clone();

    assert_eq!(shop.read(&order, json!(["amount_tax"])).await["amount_tax"], 1.62);
}

#[tokio::test]
async fn a_quantity_of_three_digits_is_cut_and_the_forced_total_stays() {
    let shop = Shop::open().await;
    let tax = shop.tax("Odd", 10.0);
    let id = tax.to_string();
    let data = json!({
        "manual_tax_amounts": {id.as_str(): {"tax_amount_currency": 1.0, "base_amount_currency": 12.34}},
        "manual_total_excluded_currency": 12.34, "currency_id": 1, "price_unit": 10.0, "discount": 0,
        "quantity": 1.234, "rate": 1.0,
    })
    .to_string();
    let line = [
        ("product_uom_qty", "1.234"),
        ("price_unit", "10"),
        ("tax_ids/.id", id.as_str()),
        ("extra_tax_data", data.as_str()),
    ];

    let order = shop.order("o_1", &[], &[&line]).await["ids"][0].clone();

    let line = &shop.lines(&order, json!(["product_uom_qty"])).await[0];
    assert_eq!(line["product_uom_qty"], 1.23);
    let order = shop.read(&order, json!(["amount_untaxed", "amount_total"])).await;
    assert_eq!(
        (&order["amount_untaxed"], &order["amount_total"]),
        (&json!(12.34), &json!(13.34))
    );
}

#[tokio::test]
async fn the_companys_tax_is_added_where_none_is_sent() {
    let shop = Shop::open().await;
    let taxed = shop
        .office
        .erp
        .insert("product.product", json!({"name": "Taxed", "list_price": 11}));
    let lines = json!([
        [0, 0, {"product_id": taxed, "product_uom_qty": 2, "price_unit": 11.0}],
        [0, 0, {"name": "Free text line", "product_uom_qty": 1, "price_unit": 3}],
    ]);
    let vals = json!({"partner_id": shop.partner, "order_line": lines});

    let id = shop
        .office
        .ok("sale.order/create", json!({"vals_list": [vals]}))
        .await[0]
        .clone();

    let order = shop
        .read(&id, json!(["amount_untaxed", "amount_tax", "amount_total"]))
        .await;
    assert_eq!(
        order,
        json!({"id": id, "amount_untaxed": 25.0, "amount_tax": 3.3, "amount_total": 28.3})
    );
}

#[tokio::test]
async fn the_company_says_when_amounts_are_rounded() {
    let shop = Shop::open().await;
    let tax = shop.tax("NY Tax", 8.875).to_string();
    let line = [
        ("product_uom_qty", "2"),
        ("price_unit", "16.2"),
        ("tax_ids/.id", tax.as_str()),
    ];
    let globally = shop.order("o_1", &[], &[&line, &line]).await["ids"][0].clone();
    let method = json!({"tax_calculation_rounding_method": "round_per_line"});
    shop.office.erp.update("res.company", 1, method);

    let per_line = shop.order("o_2", &[], &[&line, &line]).await["ids"][0].clone();

    assert_eq!(
        shop.read(&globally, json!(["amount_total"])).await["amount_total"],
        70.55
    );
    assert_eq!(
        shop.read(&per_line, json!(["amount_total"])).await["amount_total"],
        70.56
    );
}

#[tokio::test]
async fn a_tax_has_four_digits_and_a_name_of_its_own() {
    let shop = Shop::open().await;
    let fields = json!([
        "id",
        "name",
        "amount",
        "amount_type",
        "type_tax_use",
        "invoice_label"
    ]);
    let row = json!(["woo1.t_1", "NY Tax (1)", "8.87554", "percent", "sale", "NY"]);
    let first = shop
        .office
        .load("account.tax", fields.clone(), json!([row]))
        .await;
    let again = shop.office.load("account.tax", fields, json!([row])).await;
    let copied = json!({"ids": [1], "default": {"name": "NY 2", "amount": 8.875}});

    let copied = shop.office.ok("account.tax/copy", copied).await;

    assert_eq!(first["ids"], again["ids"]);
    let loaded = shop
        .office
        .read(
            "account.tax",
            &first["ids"][0],
            json!(["amount", "price_include"]),
        )
        .await;
    assert_eq!(
        loaded,
        json!({"id": first["ids"][0], "amount": 8.8755, "price_include": false})
    );
    let copied = shop
        .office
        .read("account.tax", &copied[0], json!(["name", "type_tax_use"]))
        .await;
    assert_eq!(
        (&copied["name"], &copied["type_tax_use"]),
        (&json!("NY 2"), &json!("sale"))
    );
    let twice = json!([["woo1.t_2", "NY 2", "1"]]);
    let twice = shop
        .office
        .load("account.tax", json!(["id", "name", "amount"]), twice)
        .await;
    assert!(message(&twice).starts_with("Tax names must be unique!"));
    let foreign = json!([["woo1.t_3", "MwSt", "19", "57"]]);
    let foreign = shop
        .office
        .load(
            "account.tax",
            json!(["id", "name", "amount", "country_id/.id"]),
            foreign,
        )
        .await;
    assert!(message(&foreign).starts_with("Missing required value for the field 'Tax Group'"));
}

#[tokio::test]
async fn prices_can_include_a_tax() {
    let shop = Shop::open().await;
    let vals = json!({"name": "MwSt", "amount": 19, "price_include_override": "tax_included"});
    let tax = shop.office.erp.insert("account.tax", vals).to_string();

    let line = [("price_unit", "119"), ("tax_ids/.id", tax.as_str())];
    let id = shop.order("o_1", &[], &[&line]).await["ids"][0].clone();

    let order = shop
        .read(&id, json!(["amount_untaxed", "amount_tax", "amount_total"]))
        .await;
    assert_eq!(
        order,
        json!({"id": id, "amount_untaxed": 100.0, "amount_tax": 19.0, "amount_total": 119.0})
    );
}

#[tokio::test]
async fn extra_tax_data_is_json_in_a_cell_and_an_object_elsewhere() {
    let shop = Shop::open().await;
    let line = [("price_unit", "1"), ("extra_tax_data", "{not json")];

    let answer = shop.order("o_1", &[], &[&line]).await;

    assert!(message(&answer).contains("does not seem to be a valid JSON for field"));
    let data: Value = serde_json::from_str(&forced(1, 2.0, 10.0, 1.0)).unwrap();
    let line = json!({"product_id": shop.product, "price_unit": 10, "tax_ids": [[6, 0, [1]]], "extra_tax_data": data});
    let vals = json!({"partner_id": shop.partner, "order_line": [[0, 0, line]]});
    let id = shop
        .office
        .ok("sale.order/create", json!({"vals_list": [vals]}))
        .await[0]
        .clone();
    assert_eq!(shop.read(&id, json!(["amount_tax"])).await["amount_tax"], 2.0);
}
