//! What a system can hold: laws over generated records, and the records themselves over real HTTP.

use std::sync::LazyLock;

use lockstep_shared::connection::{Settings, WeightUnit};
use lockstep_shared::entity::Content;
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::http::{Client, Options};
use lockstep_worker::connector::odoo::Odoo;
use lockstep_worker::connector::woocommerce::WooCommerce;
use lockstep_worker::connector::{Connector, Write};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::content::usd;
use super::harness::{Harness, create};
use super::subject::Subject;

/// Pieces of which lines are made that come back otherwise than they went.
const PIECES: [&str; 24] = [
    "A",
    "b",
    "Å",
    "ü",
    "张",
    "&",
    "&amp;",
    "&lt;",
    "&#233;",
    "<b>",
    "</b>",
    "<",
    ">",
    "\"",
    "'",
    "\\",
    "%41",
    "0",
    ",",
    ";",
    "  ",
    "=",
    "|",
    "é\u{301}",
];

fn line() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&PIECES[..]), 1..8).prop_map(|pieces| pieces.concat())
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(line(), 1..4).prop_map(|lines| lines.join("\n"))
}

fn some(strategy: impl Strategy<Value = String>) -> impl Strategy<Value = Value> {
    prop::option::of(strategy).prop_map(|value| json!(value))
}

fn without_nulls(mut json: Value) -> Value {
    if let Value::Object(fields) = &mut json {
        fields.retain(|_, value| !value.is_null());
    }
    json
}

fn address() -> impl Strategy<Value = Value> {
    let country = prop::sample::select(vec!["DE", "US", "CN", "JP", "BR", "ZZ"]);
    let state = prop::sample::select(vec!["NW", "DE-NW", "CA", "CN1", "JP13", "SP"]);
    let place = (prop::option::of(country), prop::option::of(state));
    (
        some(line()),
        some(line()),
        some(line()),
        some(line()),
        some(line()),
        place,
    )
        .prop_map(|(name, street, street2, city, postcode, (country, state))| {
            without_nulls(json!({
                "name": name, "street": street, "street2": street2, "city": city, "postcode": postcode,
                "country": country, "state": state
            }))
        })
}

fn customer() -> impl Strategy<Value = Content> {
    let addresses = (prop::option::of(address()), prop::option::of(address()));
    let has_email = prop::bool::ANY;
    let lines = (line(), some(line()), some(line()), some(line()));
    let all = (
        lines,
        addresses,
        has_email,
        0_u64..u64::MAX,
        prop::bool::weighted(0.9),
    );
    all.prop_filter_map(
        "a valid customer",
        |((name, phone, company, tax_number), (billing, shipping), has_email, number, is_active)| {
            let email = has_email.then(|| format!("mail-{number}@example.com"));
            let json = json!({
                "name": name, "email": email, "phone": phone, "company": company, "tax_number": tax_number,
                "billing": billing, "shipping": shipping, "is_active": is_active,
                "language": (number % 3 == 0).then_some("en_US")
            });
            Content::parse(EntityType::Customers, without_nulls(json)).ok()
        },
    )
}

fn amount() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("0".to_owned()),
        (0_u32..100_000).prop_map(|cents| format!("{}.{:02}", cents / 100, cents % 100)),
        (0_u32..1_000_000).prop_map(|mills| format!("{}.{:03}", mills / 1000, mills % 1000)),
    ]
}

fn weight() -> impl Strategy<Value = String> {
    (0_u32..10_000_000)
        .prop_map(|tenths_of_grams| format!("{}.{:04}", tenths_of_grams / 10_000, tenths_of_grams % 10_000))
}

fn categories() -> impl Strategy<Value = Vec<Vec<String>>> {
    let name = prop::sample::select(vec![
        "A",
        "B & C",
        "B &amp; C",
        "<b>D</b>",
        "Ä / ö",
        "All",
        "Uncategorized",
    ]);
    let path = prop::collection::vec(name.prop_map(str::to_owned), 1..4);
    prop::collection::vec(path, 0..3)
}

/// Prices of variants are one for all: what else fits is Odoo's own matter, and proved there.
fn product() -> impl Strategy<Value = Content> {
    let status = prop::sample::select(vec!["published", "private", "draft", "archived"]);
    let kind = prop::sample::select(vec!["goods", "service"]);
    let options = prop_oneof![Just(Vec::new()), prop::collection::vec(line(), 1..4)];
    let variants = (
        line(),
        options,
        prop::option::of(amount()),
        prop::option::of(weight()),
    );
    let all = (
        (line(), status, kind, prop::bool::ANY),
        (some(text()), some(text())),
        variants,
        (0_u64..u64::MAX, prop::bool::ANY),
        (
            categories(),
            prop::option::of(prop::sample::select(vec![
                "none",
                "shipping",
                "reduced-rate",
                "standard",
            ])),
        ),
        (prop::option::of(weight()), prop::bool::ANY),
    );
    all.prop_filter_map(
        "a valid product",
        |(
            (name, status, kind, tracks_stock),
            (description, summary),
            (attribute, options, price, weight_kg),
            (number, has_sku),
            (categories, tax_class),
            (length_cm, has_sale),
        )| {
            let sale = price.as_deref().filter(|price| has_sale && price.parse::<f64>().is_ok_and(|price| price > 1.0));
            let variant = |place: usize, attributes: Value| {
                without_nulls(json!({
                    "attributes": attributes, "sku": has_sku.then(|| format!("SKU {number}-{place}")),
                    "price": price.as_deref().map(usd), "weight_kg": weight_kg, "dimensions": {"length_cm": length_cm},
                    "sale": sale.map(|_| json!({"price": "0.99", "from": "2026-01-01T00:00:00Z"}))
                }))
            };
            let variants: Vec<Value> = if options.is_empty() {
                vec![variant(0, json!([]))]
            } else {
                let named = options.iter().enumerate();
                named
                    .map(|(place, option)| variant(place, json!([{"name": attribute, "option": option}])))
                    .collect()
            };
            let json = json!({
                "name": name, "status": status, "kind": kind, "tracks_stock": tracks_stock,
                "description": description, "summary": summary, "variants": variants, "categories": categories,
                "tax_class": tax_class
            });
            Content::parse(EntityType::Products, without_nulls(json)).ok()
        },
    )
}

const UNITS: [WeightUnit; 4] = [WeightUnit::Kg, WeightUnit::G, WeightUnit::Lbs, WeightUnit::Oz];

/// Both connectors for each unit; none is ever asked to send anything.
static CONNECTORS: LazyLock<Vec<[Box<dyn Connector>; 2]>> = LazyLock::new(|| {
    let client = Client::new(&Options::local()).expect("the client can be built");
    UNITS.into_iter().map(|unit| connectors(&client, unit)).collect()
});

fn connectors(client: &Client, weight_unit: WeightUnit) -> [Box<dyn Connector>; 2] {
    let settings = Settings {
        weight_unit,
        ..Settings::default()
    };
    let nowhere: url::Url = "http://127.0.0.1:9".parse().expect("an address");
    let (key, secret) = ("ck_x".into(), "cs_x".into());
    let shop = WooCommerce::new(client.clone(), nowhere.clone(), key, secret, &settings);
    let (database, login) = ("x".to_owned(), "x".to_owned());
    let office = Odoo::new(client.clone(), nowhere, database, login, "x".into(), &settings);
    [Box::new(shop), Box::new(office)]
}

fn both() -> impl Strategy<Value = &'static [Box<dyn Connector>; 2]> {
    (0..UNITS.len()).prop_map(|place| &CONNECTORS[place])
}

fn any_content() -> impl Strategy<Value = Content> {
    prop_oneof![customer(), product()]
}

proptest! {
    /// R17 rests on this: else a thing would differ from itself for ever.
    #[test]
    fn what_a_system_can_hold_it_holds_as_it_is(content in any_content(), both in both()) {
        for connector in both {
            let once = connector.project(&content);

            prop_assert_eq!(connector.project(&once), once.clone(), "{:?}", connector);
            prop_assert_eq!(once.clone().canonical(), Ok(once), "{:?}", connector);
        }
    }

    #[test]
    fn what_is_refused_stays_refused_in_the_form_in_which_it_is_held(content in any_content(), both in both()) {
        for connector in both {
            let once = connector.project(&content);

            prop_assert_eq!(
                connector.refuses(&once).is_some(), connector.refuses(&content).is_some(), "{:?}", connector
            );
        }
    }

    /// What crosses both systems settles at once, and does not wander.
    #[test]
    fn a_record_that_went_through_both_systems_comes_to_rest(content in any_content(), both in both()) {
        let [shop, office] = both;
        let there = office.project(&shop.project(&content));
        let and_back = office.project(&shop.project(&there));

        prop_assert_eq!(and_back, there);
    }
}

/// The same contents each time: what fails here fails again.
fn generated(entity: EntityType, count: usize) -> Vec<Content> {
    let mut runner = TestRunner::deterministic();
    let one = |runner: &mut TestRunner| match entity {
        EntityType::Customers => customer().new_tree(runner).map(|tree| tree.current()),
        EntityType::Products => product().new_tree(runner).map(|tree| tree.current()),
        _ => unreachable!("their rules are elsewhere"),
    };
    (0..count)
        .map(|_| one(&mut runner).expect("contents can be generated"))
        .collect()
}

/// R17 rests on this: the law of projection is the truth about the system.
async fn generated_things_read_back_as_the_system_can_hold_them<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let contents = generated(entity, 150).into_iter();
    let writes: Vec<Write> = contents
        .filter(|content| harness.connector.refuses(content).is_none())
        .map(|content| create(&harness.connector.project(&content)))
        .collect();
    assert!(writes.len() > 50, "{}", writes.len());

    let mut fates = harness.push(entity, writes.clone()).await;

    for write in &writes {
        let placed = fates
            .remove(&write.record)
            .expect("every write has a fate")
            .placed();
        harness.assert_holds(write, &placed).await;
    }
    assert_eq!(harness.subject.ledger().duplicates(), []);
}

for_each_entity! { generated_things_read_back_as_the_system_can_hold_them }
