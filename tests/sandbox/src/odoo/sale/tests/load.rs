use serde_json::json;

use super::{Shop, quietly};
use crate::odoo::tests::message;

#[tokio::test]
async fn lines_with_external_ids_load_once_and_those_without_again() {
    let shop = Shop::open().await;
    let line = [
        ("product_uom_qty", "3"),
        ("price_unit", "7.5"),
        ("tax_ids/.id", ""),
    ];
    let first = shop.order("o_1", &[], &[&line, &line]).await;
    let again = shop.order("o_1", &[], &[&line, &line]).await;
    let id = first["ids"][0].clone();
    assert_eq!(first["ids"], again["ids"]);
    let kept = shop.read(&id, json!(["order_line", "amount_untaxed"])).await;
    assert_eq!(kept["order_line"].as_array().unwrap().len(), 2);
    assert_eq!(kept["amount_untaxed"], 45.0);

    let fields = json!([
        "id",
        "partner_id/.id",
        "order_line/product_id/.id",
        "order_line/price_unit"
    ]);
    let row = json!([
        "woo1.o_2",
        shop.partner.to_string(),
        shop.product.to_string(),
        "7.5"
    ]);
    for _ in 0..2 {
        let more = json!(["", "", shop.product.to_string(), "2"]);
        shop.office
            .load("sale.order", fields.clone(), json!([row, more]))
            .await;
    }

    let domain = json!({"domain": [["amount_untaxed", "=", 19.0]], "fields": ["order_line"]});
    let doubled = shop.office.ok("sale.order/search_read", domain).await;
    assert_eq!(doubled[0]["order_line"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_line_left_out_of_a_load_stays() {
    let shop = Shop::open().await;
    let line = [("price_unit", "5"), ("tax_ids/.id", "")];
    let id = shop.order("o_1", &[], &[&line, &line]).await["ids"][0].clone();

    shop.order("o_1", &[], &[&line]).await;

    assert_eq!(shop.lines(&id, json!(["name"])).await.len(), 2);
}

#[tokio::test]
async fn the_same_load_again_changes_nothing_but_the_time() {
    let shop = Shop::open().await;
    let tax = shop.tax("NY", 8.875).to_string();
    let line = [
        ("name", "Beanie"),
        ("price_unit", "16.2"),
        ("tax_ids/.id", tax.as_str()),
    ];
    let head = [
        ("client_order_ref", "WOO-1"),
        ("name", "WOO/1"),
        ("user_id/.id", ""),
    ];

    shop.order("o_1", &head, &[&line]).await;
    shop.order("o_1", &head, &[&line]).await;

    let effects = shop.office.erp.ledger().effects();
    let told: Vec<_> = effects
        .iter()
        .map(|effect| (effect.entity, effect.changed))
        .collect();
    assert_eq!(told, [("sale_order", true), ("sale_order", false)]);
    assert_eq!(effects[0].key.as_deref(), Some("woo1.o_1"));
}

#[tokio::test]
async fn names_come_from_the_sequence_where_none_is_sent() {
    let shop = Shop::open().await;
    let create =
        json!({"vals_list": [{"partner_id": shop.partner}, {"partner_id": shop.partner, "name": "WOO/9"}]});
    let ids = shop.office.ok("sale.order/create", create).await;

    let numbered = shop.read(&ids[0], json!(["name", "user_id", "state"])).await;
    let named = shop.read(&ids[1], json!(["name"])).await;

    assert_eq!(
        (&numbered["name"], &numbered["state"]),
        (&json!("S00001"), &json!("draft"))
    );
    assert_eq!(numbered["user_id"], json!([2, "Administrator"]));
    assert_eq!(named["name"], "WOO/9");
    let none = shop
        .order("o_1", &[("user_id/.id", "")], &[&[("price_unit", "1")]])
        .await;
    assert_eq!(
        shop.read(&none["ids"][0], json!(["user_id"])).await["user_id"],
        false
    );
}

#[tokio::test]
async fn a_missing_customer_and_an_unknown_one_are_two_errors() {
    let shop = Shop::open().await;

    let none = shop
        .office
        .call("sale.order/create", json!({"vals_list": [{}]}))
        .await;
    let unknown = json!({"vals_list": [{"partner_id": 999_999}]});
    let unknown = shop.office.call("sale.order/create", unknown).await;
    let zoned = json!({"vals_list": [{"partner_id": shop.partner, "date_order": "2026-11-20T10:00:00Z"}]});
    let zoned = shop.office.call("sale.order/create", zoned).await;

    assert_eq!((none.0, unknown.0, zoned.0), (422, 404, 500));
    let message = none.1["message"].as_str().unwrap();
    assert!(
        message
            .contains("Missing required value for the field 'Customer' (partner_id).\nModel: 'Sales Order'")
    );
    assert_eq!(unknown.1["name"], "odoo.exceptions.MissingError");
}

#[tokio::test]
async fn a_column_that_a_line_lacks_fails_the_call() {
    let shop = Shop::open().await;
    let fields = json!(["id", "partner_id/.id", "order_line/tax_id/.id"]);
    let body = json!({"fields": fields, "data": [["woo1.o_1", shop.partner.to_string(), "1"]]});

    let load = shop.office.call("sale.order/load", body).await;
    let read = json!({"domain": [], "fields": ["tax_id"]});
    let read = shop.office.call("sale.order.line/search_read", read).await;

    assert_eq!(
        (load.0, load.1["message"].as_str()),
        (500, Some("Invalid field name 'tax_id'"))
    );
    assert_eq!(
        (read.0, read.1["message"].as_str()),
        (500, Some("Invalid field 'tax_id' on 'sale.order.line'"))
    );
}

#[tokio::test]
async fn one_bad_order_undoes_all() {
    let shop = Shop::open().await;
    let partner = shop.partner.to_string();
    let fields = json!([
        "id",
        "partner_id/.id",
        "order_line/product_id/id",
        "order_line/price_unit"
    ]);
    let product = shop.office.erp.insert(
        "ir.model.data",
        json!({
            "module": "woo1", "name": "p_1", "model": "product.product", "res_id": shop.product,
        }),
    );
    assert!(product > 0);
    let rows = json!([
        ["woo1.o_1", partner, "woo1.p_1", "1"],
        ["woo1.o_2", partner, "woo1.p_1", "1"],
        ["", "", "woo1.missing", "1"],
    ]);

    let body = json!({"fields": fields, "data": rows, "context": quietly()});
    let answer = shop.office.ok("sale.order/load", body).await;

    assert_eq!(answer["ids"], false);
    assert_eq!(answer["messages"][0]["rows"], json!({"from": 1, "to": 2}));
    assert_eq!(answer["messages"][0]["record"], 1);
    assert_eq!(shop.office.count("sale.order", json!([])).await, 0);
}

#[tokio::test]
async fn orders_come_with_their_lines_in_one_call() {
    let shop = Shop::open().await;
    let id = shop.simple("o_1", "2").await;
    let specification = json!({
        "name": {}, "amount_total": {}, "partner_id": {}, "currency_id": {"fields": {"name": {}}},
        "order_line": {"fields": {"product_id": {"fields": {"default_code": {}}}, "price_total": {}}},
    });

    let found =
        json!({"domain": [["id", "=", id]], "specification": specification, "limit": 100, "order": "id"});
    let found = shop.office.ok("sale.order/web_search_read", found).await;
    let read = json!({"ids": [id], "specification": specification});
    let read = shop.office.ok("sale.order/web_read", read).await;

    assert_eq!(found["length"], 1);
    assert_eq!(found["records"], read);
    let order = &read[0];
    assert_eq!(
        (&order["partner_id"], &order["amount_total"]),
        (&json!(shop.partner), &json!(40.0))
    );
    assert_eq!(order["currency_id"], json!({"id": 1, "name": "USD"}));
    let line = &order["order_line"][0];
    assert_eq!(
        line["product_id"],
        json!({"id": shop.product, "default_code": "B-1"})
    );
    assert_eq!(line["price_total"], 40.0);
}

#[tokio::test]
async fn addresses_of_the_customer_are_the_default() {
    let shop = Shop::open().await;
    let delivery = json!({"name": "Ann", "type": "delivery", "parent_id": shop.partner});
    let delivery = shop.office.erp.insert("res.partner", delivery);

    let id = shop.simple("o_1", "1").await;

    let order = shop
        .read(&id, json!(["partner_invoice_id", "partner_shipping_id"]))
        .await;
    assert_eq!(order["partner_invoice_id"][0], shop.partner);
    assert_eq!(order["partner_shipping_id"][0], delivery);
}

#[tokio::test]
async fn two_orders_of_one_reference_are_duplicates() {
    let shop = Shop::open().await;
    let vals = json!({"partner_id": shop.partner, "client_order_ref": "WOO-1"});

    shop.office
        .ok("sale.order/create", json!({"vals_list": [vals, vals]}))
        .await;

    let found = shop.office.erp.ledger().duplicates();
    assert_eq!(
        (found[0].entity, found[0].key.as_str()),
        ("sale_order", "ref:WOO-1")
    );
}

#[tokio::test]
async fn a_tree_of_categories_loads_parents_first() {
    let shop = Shop::open().await;
    let fields = json!(["id", "name", "parent_id/id"]);
    let parent = json!(["woo1.cat_1", "Clothing", ""]);
    let child = json!(["woo1.cat_2", "Hats", "woo1.cat_1"]);

    let wrong = json!([child, parent]);
    let wrong = shop.office.load("product.category", fields.clone(), wrong).await;
    let right = json!([parent, child]);
    let right = shop.office.load("product.category", fields, right).await;

    assert!(message(&wrong).starts_with("No matching record found for external id 'woo1.cat_1'"));
    let child = shop
        .office
        .read("product.category", &right["ids"][1], json!(["complete_name"]))
        .await;
    assert_eq!(child["complete_name"], "Clothing / Hats");
}

#[tokio::test]
async fn a_restored_office_sells_on_under_the_next_name() {
    let shop = Shop::open().await;
    let id = shop.simple("o_1", "1").await;
    shop.confirm(&id).await;
    let snapshot = shop.office.erp.snapshot();
    let other = Shop::open().await;

    other.office.erp.restore(&snapshot).unwrap();

    for model in ["sale.order", "sale.order.line", "stock.picking", "stock.move"] {
        assert_eq!(other.office.erp.records(model), shop.office.erp.records(model));
    }
    assert_eq!(other.office.erp.snapshot(), snapshot);
    let next = other.simple("o_2", "1").await;
    assert_eq!(other.read(&next, json!(["name"])).await["name"], "S00002");
}
