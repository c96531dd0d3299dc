//! Checks: what a look at a system tells before anything depends on it, and that it changes nothing.

use lockstep_sandbox::woocommerce::Permission;
use lockstep_shared::check::{Checked, Finding, Severity};
use lockstep_shared::connection::{Settings, StockSettings};
use lockstep_shared::system::{Direction, EntityType};
use lockstep_worker::connector::http::{Client, Options};
use lockstep_worker::connector::odoo::Odoo;
use lockstep_worker::connector::{CallError, Connector};
use serde_json::json;

use super::harness::{Harness, Turnstile};
use super::subject::{Caller, Office, Shop, Subject};

/// Most calls of one check, logging in included.
const CALLS: usize = 11;

async fn check(connector: &dyn Connector) -> Checked {
    let checked = connector.check(&Turnstile::open()).await;
    checked.expect("the system lets us in")
}

fn codes(checked: &Checked) -> Vec<&str> {
    checked.findings.iter().map(|found| found.code.as_str()).collect()
}

fn find<'a>(checked: &'a Checked, code: &str) -> &'a Finding {
    let found = checked.findings.iter().find(|found| found.code == code);
    found.unwrap_or_else(|| panic!("no `{code}` in {checked:#?}"))
}

fn blocking(checked: &Checked) -> Vec<&str> {
    let findings = checked.findings.iter();
    findings
        .filter(|found| found.severity == Severity::Blocks)
        .map(|found| found.code.as_str())
        .collect()
}

/// R17, R49: nothing is written, little is asked, and a system that is set up for it is ready.
async fn a_check_changes_nothing_and_takes_few_calls<S: Subject>() {
    let harness = Harness::<S>::start().await;

    let checked = check(harness.connector.as_ref()).await;

    assert_eq!(blocking(&checked), Vec::<&str>::new());
    assert!(harness.arrivals() <= CALLS, "R49: {} calls", harness.arrivals());
    assert!(harness.subject.ledger().effects().is_empty(), "R17");
}

/// R49: who may read and not write is told so, without a write that is refused.
async fn who_may_only_read_is_told_so<S: Subject>() {
    let subject = S::start().await;
    let reader = subject.connect(Caller::Reader, &Options::default());

    let checked = check(reader.as_ref()).await;

    for entity in EntityType::ALL {
        let stops = |direction| {
            checked
                .findings
                .iter()
                .any(|found| found.stops(entity, direction))
        };
        assert!(stops(Direction::Push), "R49: {entity:?} {checked:#?}");
        assert!(!stops(Direction::Pull), "R49: {entity:?} {checked:#?}");
    }
    for finding in &checked.findings {
        let words = finding.words();
        assert!(
            !finding.problem.is_empty() && !finding.advice.is_empty(),
            "{words}"
        );
        assert!(
            S::secrets().iter().all(|secret| !words.contains(secret)),
            "R70: {words}"
        );
    }
    assert!(subject.ledger().effects().is_empty(), "R17");
}

async fn a_clock_that_is_off_is_told<S: Subject>() {
    let harness = Harness::<S>::start().await;
    harness.subject.faults().set_clock_ahead(-300);

    let checked = check(harness.connector.as_ref()).await;

    let finding = find(&checked, "clock_differs");
    assert_eq!(finding.severity, Severity::Warns);
    assert!(finding.problem.contains("behind ours"), "{}", finding.problem);
}

for_each_system! {
    a_check_changes_nothing_and_takes_few_calls,
    who_may_only_read_is_told_so,
    a_clock_that_is_off_is_told,
}

/// R49: each setting of a store that makes totals wrong, or that people should know of.
#[tokio::test]
async fn settings_of_a_store_are_told_in_words() {
    let harness = Harness::<Shop>::start().await;
    // The shop weighs in pounds, and the connection in kilograms.
    let usual = codes(&check(harness.connector.as_ref()).await).join(" ");
    assert_eq!(usual, "weight_unit_differs");

    let store = &harness.subject.store;
    store.set_setting("general", "woocommerce_currency", "EUR");
    store.set_setting("general", "woocommerce_price_num_decimals", "0");
    store.set_setting("general", "woocommerce_calc_taxes", "no");
    store.set_setting("products", "woocommerce_manage_stock", "no");
    store.set_setting("tax", "woocommerce_prices_include_tax", "yes");
    store.set_setting("tax", "woocommerce_tax_round_at_subtotal", "yes");
    store.activate_plugin("multi-currency/multi-currency.php", "Multi Currency");
    let checked = check(harness.connector.as_ref()).await;

    assert_eq!(
        codes(&checked),
        [
            "currency_differs",
            "price_decimals_too_few",
            "stock_not_managed",
            "weight_unit_differs",
            "prices_include_tax",
            "tax_rounded_at_subtotal",
            "taxes_off",
            "plugin_unproven",
        ],
        "what blocks stands first"
    );
    assert_eq!(
        blocking(&checked),
        ["currency_differs", "price_decimals_too_few", "stock_not_managed"]
    );
    assert_eq!(checked.version, "11.0.1");
    insta::assert_snapshot!(
        find(&checked, "price_decimals_too_few").words(),
        @"the setting `Number of decimals`: the store rounds every amount to 0 digits, and its currency has 2: totals come out wrong; set it to 2 under WooCommerce, Settings, General (price_decimals_too_few)"
    );
}

/// A signature is refused where the clocks are too far apart, and the words say that it is the clock.
#[tokio::test]
async fn a_signature_that_a_clock_spoils_is_explained() {
    let harness = Harness::<Shop>::start().await;
    harness.subject.faults().set_clock_ahead(20 * 60);

    let refused = harness.connector.check(&Turnstile::open()).await;

    let Err(CallError::Unauthorised { detail, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        detail.contains("Invalid timestamp") && detail.contains("ahead of ours"),
        "{detail}"
    );
}

#[tokio::test]
async fn a_key_that_may_only_read_has_words_of_its_own() {
    let subject = Shop::start().await;
    subject.store.add_key("ck_r", "cs_r", Permission::Read);
    let reader = subject.connect(Caller::Reader, &Options::default());

    let checked = check(reader.as_ref()).await;

    insta::assert_snapshot!(
        find(&checked, "key_read_only").words(),
        @"the REST API key: it may only read; make a key with the permission Read/Write and give that to the connection (key_read_only)"
    );
}

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
    for (model, _, concerns) in NEEDS {
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
    assert!(blocking(&check(harness.connector.as_ref()).await).contains(&"currency_differs"));
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
        let client = Client::new(&Options::default()).expect("the client can be built");
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
