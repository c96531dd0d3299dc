//! What a sync asks about the installation, and tax ids where they are looked at.

use serde_json::{Value, json};

use super::{Office, message};
use crate::odoo::ErpOptions;

#[tokio::test]
async fn settings_currencies_and_rounding_can_be_asked_for() {
    let office = Office::open().await;

    let pounds = json!({"key": "product.weight_in_lbs"});
    let pounds = office.ok("ir.config_parameter/get_param", pounds).await;
    let unknown = json!({"key": "no.such.key", "default": "x"});
    let unknown = office.ok("ir.config_parameter/get_param", unknown).await;
    let rpc = office
        .execute("ir.config_parameter", "get_param", json!(["no.such.key"]))
        .await;
    let fields = json!(["currency_id", "tax_calculation_rounding_method"]);
    let company = office.read("res.company", &json!(1), fields).await;
    let in_use = json!({"domain": [], "fields": ["name", "decimal_places"]});
    let in_use = office.ok("res.currency/search_read", in_use).await;
    let all = json!({"domain": [], "context": {"active_test": false}});
    let all = office.ok("res.currency/search_count", all).await;

    assert_eq!((pounds, unknown), (json!("0"), json!("x")));
    assert_eq!(rpc["result"], json!(false));
    assert_eq!(
        company,
        json!({"id": 1, "currency_id": [1, "USD"], "tax_calculation_rounding_method": "round_globally"})
    );
    assert_eq!(in_use, json!([{"id": 1, "name": "USD", "decimal_places": 2}]));
    assert_eq!(all, json!(3));
}

#[tokio::test]
async fn only_base_vat_looks_at_tax_ids() {
    let lenient = Office::open().await;
    let strict = Office::with(ErpOptions {
        has_base_vat: true,
        ..ErpOptions::default()
    })
    .await;
    let load = async |office: &Office, vat: &str| {
        let rows = json!([["w.c_1", "Ann", vat]]);
        office
            .load("res.partner", json!(["id", "name", "vat"]), rows)
            .await
    };
    let stored = |office: &Office| office.erp.records("res.partner").last().unwrap()["vat"].clone();

    let anything = load(&lenient, "XX1").await;
    assert_eq!(
        (&anything["messages"], stored(&lenient)),
        (&json!([]), json!("XX1"))
    );
    for bad in ["XX1", "GB123", "ESX1234567X"] {
        let refused = load(&strict, bad).await;
        assert_eq!(refused["ids"], json!(false));
        assert!(message(&refused).starts_with(&format!("The VAT number [{bad}]")));
    }
    for (given, kept) in [
        ("be 0477 472 701", "BE0477472701"),
        ("DE123456788", "DE123456788"),
        ("136695976", "136695976"),
        ("/", "/"),
    ] {
        let taken = load(&strict, given).await;
        assert_eq!((&taken["messages"], stored(&strict)), (&json!([]), json!(kept)));
    }
    let context = json!({"no_vat_validation": true});
    let body = json!({"fields": ["id", "vat"], "data": [["w.c_1", "XX1"]], "context": context});
    let unchecked: Value = strict.ok("res.partner/load", body).await;
    assert_eq!(
        (&unchecked["messages"], stored(&strict)),
        (&json!([]), json!("XX1"))
    );
}
