//! What a check tells of an ERP, in each of its protocols.

use lockstep_shared::check::Severity;
use lockstep_shared::connection::{Settings, StockSettings};
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::http::{Client, Options};
use lockstep_worker::connector::odoo::Odoo;
use serde_json::json;

use super::check::{blocking, check, codes, find};
use super::harness::Harness;
use super::subject::{Office, Subject};

const NEEDS: [(&str, &str, &[EntityType]); 5] = [
    (
        "res.partner",
        "contacts",
        &[EntityType::Customers, EntityType::Orders],
    ),
    ("product.template", "product", &[EntityType::Products]),
    ("sale.order", "sale_management", &[EntityType::Orders]),
    ("stock.quant", "stock", &[EntityType::Inventory]),
    ("account.payment", "account", &[EntityType::Payments]),
];

/// R49: a right that the user lacks is named with the group that has it.
async fn a_missing_right_is_named<const MAJOR: u32>() {
    let harness = Harness::<Office<MAJOR>>::start().await;
    // Levels are set in a mode in which the user's group counts, and not this right.
    for (model, _, concerns) in NEEDS.into_iter().filter(|(model, ..)| *model != "stock.quant") {
        harness.subject.erp.deny(model);

        let checked = check(harness.connector.as_ref()).await;

        let finding = find(&checked, "right_missing");
        assert_eq!(blocking(&checked), ["right_missing"], "R49: {model}");
        assert!(finding.subject.contains(model), "R49: {}", finding.subject);
        assert!(finding.advice.contains("group"), "R49: {}", finding.advice);
        assert_eq!(finding.concerns, concerns, "R49: {model}");
        harness.subject.erp.allow(model);
    }
}

/// R49: so is a module that is not installed.
async fn a_missing_module_is_named<const MAJOR: u32>() {
    for (model, module, concerns) in NEEDS {
        let harness = Harness::<Office<MAJOR>>::start().await;
        harness.subject.erp.uninstall(model);

        let checked = check(harness.connector.as_ref()).await;

        let finding = find(&checked, "module_missing");
        assert_eq!(blocking(&checked), ["module_missing"], "R49: {model}");
        assert!(
            finding.subject.contains(module) && finding.problem.contains(model),
            "R49"
        );
        assert_eq!(finding.concerns, concerns, "R49: {model}");
    }
}

/// R49: rounding, digits, currency and what else an ERP is set to.
async fn settings_of_an_erp_are_told_in_words<const MAJOR: u32>() {
    let harness = Harness::<Office<MAJOR>>::start().await;
    let erp = &harness.subject.erp;
    let set_rounding = |method: &str| {
        let vals = json!({"tax_calculation_rounding_method": method});
        erp.update("res.company", 1, vals);
    };
    let set_digits = |name: &str, digits: i64| {
        let rows = erp.records("decimal.precision").into_iter();
        let row = rows
            .filter(|row| row["name"].as_str().is_some_and(|own| own.starts_with(name)))
            .find_map(|row| row["id"].as_i64());
        erp.update(
            "decimal.precision",
            row.expect("it is there"),
            json!({"digits": digits}),
        );
    };
    set_rounding("round_per_line");
    let proven = if MAJOR == 19 {
        vec![]
    } else {
        vec!["version_unproven"]
    };
    assert_eq!(codes(&check(harness.connector.as_ref()).await), proven);

    set_rounding("round_globally");
    set_digits("Product Unit", 0);
    set_digits("Product Price", 0);
    erp.insert("res.company", json!({"name": "Other"}));
    let checked = check(harness.connector.as_ref()).await;

    for code in [
        "several_companies",
        "tax_rounded_globally",
        "price_decimals_too_few",
        "decimals_too_few",
    ] {
        find(&checked, code);
    }
    // Version 19 keeps a price as it is given; before, it is stored rounded.
    let blocks: &[&str] = if MAJOR == 19 {
        &[]
    } else {
        &["price_decimals_too_few"]
    };
    assert_eq!(blocking(&checked), blocks);

    erp.update("res.company", 1, json!({"currency_id": 125}));
    let checked = check(harness.connector.as_ref()).await;
    assert_eq!(find(&checked, "currency_differs").severity, Severity::Warns);
}

/// R49: what the connection's own settings name has to be there, and a bank has to take and give.
async fn a_warehouse_and_a_bank_have_to_be_there<const MAJOR: u32>() {
    let office = Office::<MAJOR>::start().await;
    let connect = |warehouse| {
        let known = lockstep_sandbox::odoo::ErpOptions::default();
        let settings = Settings {
            stock: StockSettings {
                warehouse: Some(warehouse),
                ..StockSettings::default()
            },
            ..Settings::default()
        };
        let client = Client::new(&Options::local()).expect("the client can be built");
        let base_url = office.erp.base_url().parse().expect("an address");
        Odoo::new(
            client,
            base_url,
            known.database,
            known.login,
            known.api_key.into(),
            &settings,
        )
    };

    let there = check(&connect(1)).await;
    let missing = check(&connect(99)).await;

    assert_eq!(blocking(&there), Vec::<&str>::new());
    assert_eq!(blocking(&missing), ["warehouse_missing"], "R49");
    assert_eq!(
        find(&missing, "warehouse_missing").concerns,
        [EntityType::Inventory]
    );
    office.erp.unlink("account.payment.method.line", 2);
    let checked = check(&connect(1)).await;
    assert_eq!(blocking(&checked), ["bank_missing"], "R49");
    assert!(find(&checked, "bank_missing").problem.contains("go out"));
}

for_each_office! {
    a_missing_right_is_named,
    a_missing_module_is_named,
    settings_of_an_erp_are_told_in_words,
    a_warehouse_and_a_bank_have_to_be_there,
}
