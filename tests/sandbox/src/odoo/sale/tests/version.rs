use serde_json::{Value, json};

use crate::odoo::ErpOptions;
use crate::odoo::tests::Office;

async fn older(major_version: u32) -> Office {
    Office::with(ErpOptions {
        major_version,
        ..ErpOptions::default()
    })
    .await
}

async fn fields(office: &Office, model: &str) -> Value {
    let found = office.execute(model, "fields_get", json!([[], ["type"]])).await;
    found["result"].clone()
}

#[tokio::test]
async fn fields_are_called_what_the_version_calls_them() {
    let cases = [
        (
            17,
            ["tax_id", "product_uom"],
            &[
                "tax_ids",
                "product_uom_id",
                "extra_tax_data",
                "technical_price_unit",
            ][..],
        ),
        (
            18,
            ["tax_id", "product_uom"],
            &["tax_ids", "product_uom_id", "extra_tax_data"][..],
        ),
        (19, ["tax_ids", "product_uom_id"], &["tax_id", "product_uom"][..]),
    ];
    for (version, known, unknown) in cases {
        let office = older(version).await;
        let line = fields(&office, "sale.order.line").await;
        let product = fields(&office, "product.template").await;

        for name in known {
            assert!(line.get(name).is_some(), "{name} in {version}");
        }
        for name in unknown {
            assert!(line.get(*name).is_none(), "{name} in {version}");
        }
        assert_eq!(product.get("detailed_type").is_some(), version == 17);
        assert_eq!(product.get("is_storable").is_some(), version > 17);
    }
}

#[tokio::test]
async fn seventeen_refuses_what_came_later() {
    let office = older(17).await;

    let stored = json!([{"name": "x", "is_storable": true}]);
    let stored = office.execute("product.template", "create", stored).await;
    let read = office
        .execute("product.template", "search_read", json!([[], ["is_storable"]]))
        .await;

    assert_eq!(
        stored["error"]["data"]["message"],
        "Invalid field 'is_storable' in 'product.template'"
    );
    assert_eq!(read["error"]["data"]["name"], "builtins.ValueError");
}

#[tokio::test]
async fn older_versions_round_the_price_and_know_no_manual_one() {
    let office = older(17).await;
    let partner = office.erp.insert("res.partner", json!({"name": "Ann"}));
    let product =
        json!({"name": "Beanie", "list_price": 20, "detailed_type": "product", "taxes_id": [[6, 0, []]]});
    let product = office.erp.insert("product.product", product);
    let line = json!({"product_id": product, "price_unit": 5.333_333, "product_uom_qty": 3});
    let order = json!({"partner_id": partner, "order_line": [[0, 0, line]]});

    let order = office.erp.insert("sale.order", order);

    let shown = |model: &str| office.erp.records(model)[0].clone();
    assert_eq!(shown("sale.order.line")["price_unit"], 5.33);
    assert_eq!(shown("sale.order")["amount_total"], 15.99);
    let line = shown("sale.order.line")["id"].as_i64().unwrap();
    office
        .erp
        .update("sale.order.line", line, json!({"product_uom_qty": 2}));
    assert_eq!(shown("sale.order.line")["price_unit"], 20.0);
    let confirmed = office
        .execute("sale.order", "action_confirm", json!([[order]]))
        .await;
    assert_eq!(confirmed["result"], true);
    assert_eq!(shown("stock.move")["product_uom_qty"], 2.0);
}
