//! Checks: what a look at a system tells before anything depends on it, and that it changes nothing.

use lockstep_sandbox::woocommerce::Permission;
use lockstep_shared::check::{Checked, Finding, Severity};
use lockstep_shared::system::{Direction, EntityType, System};
use lockstep_worker::connector::http::Options;
use lockstep_worker::connector::{CallError, Connector};

use super::harness::{Harness, Turnstile};
use super::subject::{Caller, Shop, Subject};

/// Most calls of one check, logging in included.
const CALLS: usize = 12;

pub async fn check(connector: &dyn Connector) -> Checked {
    let checked = connector.check(&Turnstile::open()).await;
    checked.expect("the system lets us in")
}

pub fn codes(checked: &Checked) -> Vec<&str> {
    checked.findings.iter().map(|found| found.code.as_str()).collect()
}

pub fn find<'a>(checked: &'a Checked, code: &str) -> &'a Finding {
    let found = checked.findings.iter().find(|found| found.code == code);
    found.unwrap_or_else(|| panic!("no `{code}` in {checked:#?}"))
}

pub fn blocking(checked: &Checked) -> Vec<&str> {
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
    let reader = subject.connect(Caller::Reader, &Options::local());

    let checked = check(reader.as_ref()).await;

    for entity in EntityType::ALL {
        let stops = |direction| {
            checked
                .findings
                .iter()
                .any(|found| found.stops(entity, direction))
        };
        // Odoo's levels are set in a mode in which the user's group counts: nobody can tell beforehand.
        let is_told = entity != EntityType::Inventory || reader.system() == System::Woocommerce;
        assert!(stops(Direction::Push) || !is_told, "R49: {entity:?} {checked:#?}");
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
            "price_decimals_too_few",
            "stock_not_managed",
            "currency_differs",
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
        ["price_decimals_too_few", "stock_not_managed"]
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
    let reader = subject.connect(Caller::Reader, &Options::local());

    let checked = check(reader.as_ref()).await;

    insta::assert_snapshot!(
        find(&checked, "key_read_only").words(),
        @"the REST API key: it may only read; make a key with the permission Read/Write and give that to the connection (key_read_only)"
    );
}
