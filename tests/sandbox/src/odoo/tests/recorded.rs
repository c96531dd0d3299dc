//! What a real server held comes back as it was, where a recording lies beside the project.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::Office;

fn recording() -> Option<Map<String, Value>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recorded/odoo.json");
    serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
}

#[tokio::test]
async fn stock_and_journals_are_answered_as_they_were_recorded() {
    let Some(recorded) = recording() else { return };
    let office = Office::open().await;
    office.erp.put_recorded(&recorded);

    for model in [
        "stock.quant",
        "stock.warehouse",
        "stock.location",
        "account.journal",
        "res.currency",
        "res.lang",
        "product.product",
    ] {
        for row in recorded[model].as_array().unwrap() {
            let fields: Vec<&String> = row.as_object().unwrap().keys().collect();
            let answer = office.read(model, &row["id"], json!(fields)).await;
            assert_eq!(&answer, row, "{model}");
        }
    }
}

#[tokio::test]
async fn a_recorded_warehouse_holds_what_its_quants_say() {
    let Some(recorded) = recording() else { return };
    let office = Office::open().await;
    office.erp.put_recorded(&recorded);

    let body = json!({
        "domain": [["location_id.usage", "=", "internal"]], "groupby": ["warehouse_id"], "aggregates": ["quantity:sum"],
    });
    let sums = office.ok("stock.quant/formatted_read_group", body).await;
    let read = async |warehouse: i64| {
        let body = json!({"ids": [53], "fields": ["qty_available"], "context": {"warehouse_id": warehouse}});
        office.ok("product.product/read", body).await[0]["qty_available"].clone()
    };

    assert_eq!(sums.as_array().unwrap().len(), 1);
    assert_eq!(sums[0]["warehouse_id"], json!([1, "YourCompany"]));
    assert_eq!((read(1).await, read(2).await), (json!(90.0), json!(0.0)));
}

#[tokio::test]
async fn a_recorded_bank_takes_payments_and_recorded_stock_adjustments() {
    let Some(recorded) = recording() else { return };
    let office = Office::open().await;
    office.erp.put_recorded(&recorded);

    let vals = json!({"partner_id": 9, "amount": 5, "journal_id": 6, "payment_type": "inbound"});
    let ids = office
        .ok("account.payment/create", json!({"vals_list": [vals]}))
        .await;
    office
        .ok("account.payment/action_post", json!({"ids": ids}))
        .await;
    let product = recorded["stock.quant"][0]["product_id"][0].as_i64().unwrap();
    office.erp.set_stock(product, 5, 20.0);

    let quants = office.erp.records("stock.quant");
    assert_eq!(quants.len(), recorded["stock.quant"].as_array().unwrap().len());
    assert_eq!(
        (&quants[0]["quantity"], &quants[15]["quantity"]),
        (&json!(20.0), &json!(-20.0))
    );
    assert_eq!(office.erp.records("account.payment")[0]["name"], "PAY00001");
}
