use std::collections::BTreeSet;

use lockstep_shared::connection::{Settings, WeightUnit};
use lockstep_shared::entity::{
    Address, Attribute, Content, Currency, Customer, Dimensions, Fields as Paths, Money, ProductKind,
    ProductStatus, Sale, Variant, fields_of,
};
use lockstep_shared::id::{ItemId, RecordId};
use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::json;
use uuid::Uuid;

use super::super::customer::{self, Welcome};
use super::super::fake::Shop;
use super::super::product;
use super::customer_job::{ADDRESS, DISPUTE};
use super::product_job::VARIATIONS;
use super::*;
use crate::connector::Action;

fn settings() -> Settings {
    Settings {
        currency: Currency::USD,
        weight_unit: WeightUnit::Lbs,
        ..Settings::default()
    }
}

fn record(number: u128) -> RecordId {
    RecordId(Uuid::from_u128(number))
}

fn write(content: &Content, action: Action) -> Write {
    Write {
        item: ItemId(Uuid::nil()),
        record: record(7),
        action,
        content: content.clone(),
        step: Step::default(),
        links: std::sync::Arc::default(),
    }
}

fn projected(content: &Content) -> Content {
    match content {
        Content::Customer(customer) => Content::Customer(customer::project(customer)),
        Content::Product(product) => Content::Product(product::project(product, &settings())),
        _ => content.clone(),
    }
}

/// Plans and sends writes against the store without HTTP, as the worker does with one.
fn run(shop: &mut Shop, writes: Vec<Write>) -> Vec<(Write, Outcome)> {
    let accounts = || shop.customers.keys().map(|id| shop.customer(*id));
    let mut known = Accounts {
        by_id: accounts()
            .map(|account| (account.id.to_string(), account))
            .collect(),
        by_email: BTreeMap::new(),
    };
    for account in accounts() {
        known
            .by_email
            .entry(account.email.to_lowercase())
            .or_default()
            .push(account);
    }
    let current: BTreeMap<u64, Current> = shop
        .products
        .keys()
        .map(|id| {
            let (product, variations) = shop.product(*id);
            (*id, Current { product, variations })
        })
        .collect();
    let is_product = matches!(writes[0].content, Content::Product(_));
    let path = if is_product {
        "products/batch"
    } else {
        "customers/batch"
    };
    let jobs = writes.into_iter().map(|write| {
        let job = if is_product {
            product_job(&write, store(&current, &Tree::default(), &settings()))
        } else {
            customer_job(&write, &known, Welcome::Silent)
        };
        (write, job)
    });
    let mut done = Vec::new();
    for request in requests(path, jobs) {
        let call: Call = serde_json::from_value(request.call).unwrap();
        let answer = call
            .path
            .map_or(Value::Null, |path| shop.batch(&path, &call.body));
        let outcomes = outcomes(&call.slots, &answer).unwrap();
        assert_eq!(outcomes.len(), request.writes.len());
        done.extend(request.writes.into_iter().zip(outcomes));
    }
    done
}

/// Does one write with all its steps.
fn finish(shop: &mut Shop, mut write: Write) -> Outcome {
    loop {
        let (sent, outcome) = run(shop, vec![write]).pop().unwrap();
        let Outcome::Applied {
            external_id,
            parts,
            next: Some(next),
            ..
        } = outcome
        else {
            return outcome;
        };
        let changed = match &sent.action {
            Action::Update { changed, .. } => changed.clone(),
            Action::Create | Action::Delete { .. } => fields_of(&sent.content).0.into_keys().collect(),
        };
        write = Write {
            step: next,
            action: Action::Update {
                external_id,
                parts,
                changed,
            },
            ..sent
        };
    }
}

fn create(shop: &mut Shop, content: &Content) -> u64 {
    match finish(shop, write(content, Action::Create)) {
        Outcome::Applied { external_id, .. } => external_id.parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn theirs(shop: &Shop, id: u64, content: &Content) -> crate::connector::Theirs {
    match content {
        Content::Customer(_) => shop.customer_theirs(id),
        Content::Product(_) => shop.product_theirs(id, &settings()),
        _ => panic!("the fake shop has customers and products only"),
    }
}

/// Changes a thing from what the store holds to what it should be, and returns what it holds then.
fn update(
    shop: &mut Shop,
    id: u64,
    wanted: &Content,
) -> (Outcome, Result<Content, lockstep_shared::entity::Invalid>) {
    let now = theirs(shop, id, wanted);
    let changed = fields_of(wanted).differing(&fields_of(now.content.as_ref().unwrap()));
    let action = Action::Update {
        external_id: id.to_string(),
        parts: now.parts,
        changed,
    };
    let outcome = finish(shop, write(wanted, action));
    (outcome, theirs(shop, id, wanted).content)
}

fn variant(attributes: &[(&str, &str)], sku: &str) -> Variant {
    Variant {
        attributes: attributes
            .iter()
            .map(|(name, option)| Attribute {
                name: (*name).to_owned(),
                option: (*option).to_owned(),
            })
            .collect(),
        sku: Some(sku.to_owned()),
        barcode: None,
        price: Some(Money::new(Decimal::new(1990, 2), Currency::USD)),
        weight_kg: None,
        dimensions: None,
        sale: None,
    }
}

fn shirt(variants: Vec<Variant>) -> Content {
    let product = Product {
        name: "Shirt & Co".to_owned(),
        status: ProductStatus::Published,
        kind: ProductKind::Goods,
        tracks_stock: true,
        description: Some("<p>A & B</p>".to_owned()),
        summary: Some("soft\nand <warm>".to_owned()),
        variants,
        categories: Vec::new(),
        images: Vec::new(),
        tags: Vec::new(),
        tax_class: None,
    };
    projected(&Content::Product(product).canonical().unwrap())
}

fn store<'a>(current: &'a BTreeMap<u64, Current>, tree: &'a Tree, settings: &'a Settings) -> Store<'a> {
    static WORDS: std::sync::LazyLock<Words> = std::sync::LazyLock::new(Words::default);
    Store {
        current,
        tree,
        words: &WORDS,
        settings,
    }
}

#[test]
fn products_that_need_a_category_have_it_made_once_and_before_them() {
    let placed = |path: &[&str]| {
        let mut content = shirt(vec![variant(&[], "S-1")]);
        if let Content::Product(product) = &mut content {
            product.categories = vec![path.iter().map(|name| (*name).to_owned()).collect()];
        }
        write(&content, Action::Create)
    };
    let tree = serde_json::from_value(json!([{"id": 16, "name": "Clothing", "slug": "c", "parent": 0}]));
    let tree = Tree::new(tree.unwrap());
    let (current, settings) = (BTreeMap::new(), settings());
    let writes = [
        placed(&["Clothing", "Hats"]),
        placed(&["clothing", "HATS", "Caps"]),
        placed(&["Music"]),
        placed(&["Clothing"]),
    ];
    let jobs = writes.into_iter().map(|write| {
        let job = product_job(&write, store(&current, &tree, &settings));
        (write, job)
    });

    let requests = requests("products/batch", jobs);

    let calls: Vec<Call> = requests
        .iter()
        .map(|request| serde_json::from_value(request.call.clone()).unwrap())
        .collect();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].body["create"][0]["categories"], json!([{"id": 16}]));
    assert_eq!(calls[1].path.as_deref(), Some("products/categories/batch"));
    assert_eq!(
        calls[1].body,
        json!({"create": [{"name": "Hats", "parent": 16}, {"name": "Music"}]})
    );
    let exists = json!({"create": [
        {"id": 0, "error": {"code": "term_exists", "message": "", "data": {"status": 400, "resource_id": 17}}},
        {"id": 0, "error": {"code": "no", "message": "", "data": {"status": 400}}},
    ]});
    let outcomes = outcomes(&calls[1].slots, &exists).unwrap();
    assert!(
        matches!(&outcomes[0], Outcome::Applied { external_id, next: Some(Step(1)), .. } if external_id.is_empty())
    );
    assert!(matches!(
        outcomes[1],
        Outcome::Applied {
            next: Some(Step(1)),
            ..
        }
    ));
    assert!(matches!(outcomes[2], Outcome::Rejected(_)));
}

fn call_of(write: Write, current: &BTreeMap<u64, Current>) -> Value {
    let job = product_job(&write, store(current, &Tree::default(), &settings()));
    requests("products/batch", std::iter::once((write, job)))
        .remove(0)
        .call
}

#[test]
fn a_simple_product_is_created_by_one_item() {
    let call = call_of(
        write(&shirt(vec![variant(&[], "S-1")]), Action::Create),
        &BTreeMap::new(),
    );

    assert_eq!(call["path"], "products/batch");
    assert_eq!(
        call["body"],
        json!({"create": [{
            "name": "Shirt & Co", "type": "simple", "status": "publish",
            "description": "<p>A &amp; B</p>", "short_description": "soft<br>and &lt;warm&gt;",
            "sku": "S-1", "regular_price": "19.90", "virtual": false, "manage_stock": true,
            "meta_data": [{"key": "_lockstep_record", "value": record(7).to_string()}],
        }]})
    );
}

#[test]
fn a_variable_product_is_created_first_and_its_variations_next() {
    let mut shop = Shop::default();
    let content = shirt(vec![
        variant(&[("Size", "S")], "S-S"),
        variant(&[("Size", "M")], "S-M"),
    ]);

    let (_, first) = run(&mut shop, vec![write(&content, Action::Create)])
        .pop()
        .unwrap();
    assert!(matches!(&first, Outcome::Applied { next: Some(VARIATIONS), parts, .. } if parts.is_empty()));

    let id = create(&mut Shop::default(), &content);
    let mut shop = Shop::default();
    assert_eq!(create(&mut shop, &content), id);
    let now = shop.product_theirs(id, &settings());
    assert_eq!(now.content.unwrap(), content);
    assert_eq!(now.marker, Some(record(7)));
    assert_eq!(now.parts.len(), 2);
}

#[test]
fn a_step_that_had_no_answer_is_not_done_twice() {
    let mut shop = Shop::default();
    let content = shirt(vec![
        variant(&[("Size", "S")], "S-S"),
        variant(&[("Size", "M")], "S-M"),
    ]);
    let id = create(&mut shop, &content);
    let action = Action::Update {
        external_id: id.to_string(),
        parts: Parts::new(),
        changed: fields_of(&content).0.into_keys().collect(),
    };

    let again = Write {
        step: VARIATIONS,
        ..write(&content, action)
    };
    let outcome = finish(&mut shop, again);

    assert!(matches!(outcome, Outcome::Applied { next: None, parts, .. } if parts.len() == 2));
    assert_eq!(shop.variations.len(), 2);
}

#[test]
fn only_a_variant_s_change_goes_straight_to_the_variations() {
    let mut shop = Shop::default();
    let mut content = shirt(vec![
        variant(&[("Size", "S")], "S-S"),
        variant(&[("Size", "M")], "S-M"),
    ]);
    let id = create(&mut shop, &content);
    let now = shop.product_theirs(id, &settings());
    let key = if let Content::Product(product) = &mut content {
        product.variants[0].price = Some(Money::new(Decimal::new(5, 0), Currency::USD));
        product.variants[0].key()
    } else {
        panic!("a product")
    };
    let (product, variations) = shop.product(id);
    let part = now.parts[&key].parse::<u64>().unwrap();
    let action = Action::Update {
        external_id: id.to_string(),
        parts: now.parts,
        changed: BTreeSet::from([format!("variants/{key}/price")]),
    };

    let call = call_of(
        write(&content, action),
        &BTreeMap::from([(id, Current { product, variations })]),
    );

    assert_eq!(call["path"], format!("products/{id}/variations/batch"));
    assert_eq!(
        call["body"],
        json!({"update": [{"id": part, "regular_price": "5.00"}]})
    );
}

#[test]
fn a_removed_variant_goes_out_of_use_and_comes_back_as_it_was() {
    let mut shop = Shop::default();
    let both = shirt(vec![
        variant(&[("Size", "S")], "S-S"),
        variant(&[("Size", "M")], "S-M"),
    ]);
    let one = shirt(vec![variant(&[("Size", "S")], "S-S")]);
    let id = create(&mut shop, &both);

    let (outcome, content) = update(&mut shop, id, &one);
    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    assert_eq!(content.unwrap(), one);
    assert!(
        shop.variations
            .values()
            .any(|variation| variation["status"] == "private")
    );

    let (_, content) = update(&mut shop, id, &both);
    assert_eq!(content.unwrap(), both);
    assert_eq!(shop.variations.len(), 2, "none was made anew");
}

#[test]
fn a_renamed_option_keeps_its_variation() {
    let mut shop = Shop::default();
    let id = create(
        &mut shop,
        &shirt(vec![
            variant(&[("Color", "Blue")], "S-B"),
            variant(&[("Color", "Red")], "S-R"),
        ]),
    );
    let renamed = shirt(vec![
        variant(&[("Color", "Navy & Sky")], "S-B"),
        variant(&[("Color", "Red")], "S-R"),
    ]);

    let (outcome, content) = update(&mut shop, id, &renamed);

    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    assert_eq!(content.unwrap(), renamed);
    assert_eq!(shop.variations.len(), 2);
}

#[test]
fn attributes_of_others_and_global_ones_stay_as_they_are() {
    let mut shop = Shop::default();
    let id = create(&mut shop, &shirt(vec![variant(&[("Size", "S")], "S-S")]));
    let parent = shop.products.get_mut(&id).unwrap();
    parent["attributes"] = json!([
        {"id": 4, "name": "Size", "position": 0, "visible": false, "variation": true, "options": ["S", "XL"]},
        {"id": 0, "name": "Care &amp; Wash", "position": 1, "visible": true, "variation": false, "options": ["30 °C"]},
    ]);
    let wanted = shirt(vec![
        variant(&[("Size", "S")], "S-S"),
        variant(&[("Size", "M")], "S-M"),
    ]);

    let (outcome, content) = update(&mut shop, id, &wanted);

    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    assert_eq!(content.unwrap(), wanted);
    let attributes = &shop.products[&id]["attributes"];
    assert_eq!(attributes[0]["options"], json!(["S", "XL", "M"]));
    assert_eq!(
        (&attributes[0]["id"], &attributes[0]["visible"]),
        (&json!(4), &json!(false))
    );
    assert_eq!(attributes[1]["name"], "Care &amp; Wash");
}

#[test]
fn a_variation_that_is_not_ours_is_left_alone() {
    let mut shop = Shop::default();
    let id = create(
        &mut shop,
        &shirt(vec![
            variant(&[("Size", "S")], "S-S"),
            variant(&[("Size", "M")], "S-M"),
        ]),
    );
    let now = shop.product_theirs(id, &settings());
    let ours = shirt(vec![variant(&[("Size", "S")], "S-9")]);
    let action = Action::Update {
        external_id: id.to_string(),
        parts: now.parts,
        changed: BTreeSet::from(["variants/size=s/sku".to_owned()]),
    };

    finish(&mut shop, write(&ours, action));

    assert!(
        shop.variations
            .values()
            .all(|variation| variation["status"] == "publish")
    );
}

#[test]
fn more_variations_than_a_call_carries_take_more_steps() {
    let mut shop = Shop::default();
    let variants: Vec<Variant> = (0..250)
        .map(|i| variant(&[("No", &i.to_string())], &format!("N-{i}")))
        .collect();
    let content = shirt(variants);

    let id = create(&mut shop, &content);

    assert_eq!(shop.variations.len(), 250);
    assert_eq!(shop.product_theirs(id, &settings()).content.unwrap(), content);
}

#[test]
fn a_simple_product_becomes_variable_and_not_back() {
    let mut shop = Shop::default();
    let simple = shirt(vec![variant(&[], "S-1")]);
    let variable = shirt(vec![
        variant(&[("Size", "S")], "S-1"),
        variant(&[("Size", "M")], "S-2"),
    ]);
    let id = create(&mut shop, &simple);

    let (outcome, content) = update(&mut shop, id, &variable);
    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    assert_eq!(content.unwrap(), variable);

    let (outcome, content) = update(&mut shop, id, &simple);
    assert!(
        matches!(&outcome, Outcome::Rejected(refusal) if refusal.code == "variable_to_simple"),
        "{outcome:?}"
    );
    assert_eq!(content.unwrap(), variable);
}

#[test]
fn an_unknown_parent_is_not_asked_for_variations() {
    let action = Action::Update {
        external_id: "99".to_owned(),
        parts: Parts::new(),
        changed: BTreeSet::from(["variants/size=s/sku".to_owned()]),
    };
    let (_, outcome) = run(
        &mut Shop::default(),
        vec![write(&shirt(vec![variant(&[("Size", "S")], "S")]), action)],
    )
    .pop()
    .unwrap();

    assert!(
        matches!(&outcome, Outcome::Rejected(refusal) if refusal.code == "woocommerce_rest_product_invalid_id")
    );
}

#[test]
fn a_download_that_is_counted_stays_virtual() {
    let mut shop = Shop::default();
    let album = shirt(vec![variant(&[], "ALBUM")]);
    let id = create(&mut shop, &album);
    shop.products.get_mut(&id).unwrap()["virtual"] = json!(true);
    assert_eq!(shop.product_theirs(id, &settings()).content.unwrap(), album);

    let Content::Product(mut product) = album else {
        panic!("a product")
    };
    product.name = "Album".to_owned();
    let (_, content) = update(&mut shop, id, &Content::Product(product.clone()));
    assert_eq!(content.unwrap(), Content::Product(product.clone()));
    assert_eq!(shop.products[&id]["virtual"], true);

    product.tracks_stock = false;
    let (_, content) = update(&mut shop, id, &Content::Product(product.clone()));
    assert_eq!(content.unwrap(), Content::Product(product));
}

#[test]
fn a_deleted_product_is_in_the_trash_and_one_that_is_gone_is_deleted() {
    let mut shop = Shop::default();
    let content = shirt(vec![variant(&[], "S-1")]);
    let id = create(&mut shop, &content);

    for external_id in [id.to_string(), "99".to_owned()] {
        let outcome = finish(&mut shop, write(&content, Action::Delete { external_id }));
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    }

    let Ok(Content::Product(product)) = shop.product_theirs(id, &settings()).content else {
        panic!("a product")
    };
    assert_eq!(product.status, ProductStatus::Archived);
}

#[test]
fn each_write_has_its_own_outcome() {
    let mut shop = Shop::default();
    let held = create(&mut shop, &shirt(vec![variant(&[], "S-1")]));
    let writes = vec![
        write(&shirt(vec![variant(&[], "S-2")]), Action::Create),
        write(&shirt(vec![variant(&[], "s-1")]), Action::Create),
        write(&shirt(vec![variant(&[], "S-3")]), Action::Create),
    ];

    let done = run(&mut shop, writes);

    assert!(matches!(done[0].1, Outcome::Applied { .. }));
    assert!(matches!(&done[1].1, Outcome::Taken { external_id: Some(id), .. } if *id == held.to_string()));
    assert!(matches!(done[2].1, Outcome::Applied { .. }));
}

#[test]
fn an_sku_in_use_refuses_the_variant_by_name() {
    let mut shop = Shop::default();
    create(&mut shop, &shirt(vec![variant(&[], "S-M")]));

    let outcome = finish(
        &mut shop,
        write(
            &shirt(vec![
                variant(&[("Size", "S")], "S-S"),
                variant(&[("Size", "M")], "S-M"),
            ]),
            Action::Create,
        ),
    );

    let Outcome::Rejected(refusal) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(refusal.message, "variant `size=m`: Invalid or duplicated SKU.");
}

#[test]
fn a_batch_holds_no_more_than_it_may() {
    let writes: Vec<Write> = (0..101)
        .map(|i| write(&shirt(vec![variant(&[], &format!("S-{i}"))]), Action::Create))
        .collect();
    let jobs = writes.into_iter().map(|write| {
        let job = product_job(&write, store(&BTreeMap::new(), &Tree::default(), &settings()));
        (write, job)
    });

    let sizes: Vec<usize> = requests("products/batch", jobs)
        .iter()
        .map(|request| request.writes.len())
        .collect();

    assert_eq!(sizes, [100, 1]);
}

#[test]
fn an_answer_that_does_not_match_leaves_everything_in_doubt() {
    let created = || Slot::Created {
        next: None,
        held: None,
    };
    let slots = [created(), created()];

    for answer in [
        json!({"create": [{"id": 1}]}),
        json!({"create": [{"id": 1}, {"id": 2}, {"id": 3}]}),
        json!({"create": [{"id": 1}, {"id": 0}]}),
        json!([]),
    ] {
        let error = outcomes(&slots, &answer).unwrap_err();
        let is_in_doubt = matches!(
            error,
            CallError::Unwell {
                reach: crate::connector::Reach::InDoubt,
                ..
            }
        );
        assert!(is_in_doubt, "{answer}");
    }
}

// Customers

fn address(street: &str) -> Address {
    Address {
        street: Some(street.to_owned()),
        city: Some("Köln".to_owned()),
        country: Some("DE".to_owned()),
        ..Address::default()
    }
}

fn ann() -> Customer {
    Customer {
        name: "Ann O'Neil & Sons".to_owned(),
        email: Some("ann@example.com".to_owned()),
        phone: Some("+1 555 0100".to_owned()),
        company: None,
        tax_number: Some("DE123".to_owned()),
        billing: Some(address("Hauptstraße 7")),
        shipping: None,
        is_active: true,
        language: None,
    }
}

#[test]
fn a_customer_without_an_address_to_write_to_gets_one_that_reaches_nobody() {
    let mut shop = Shop::default();
    let content = Content::Customer(Customer { email: None, ..ann() });

    let id = create(&mut shop, &content);

    assert_eq!(shop.customers[&id]["email"], customer::own_email(record(7)));
    assert_eq!(shop.customer_theirs(id).content.unwrap(), content);
    assert_eq!(shop.customer_theirs(id).marker, Some(record(7)));
}

#[test]
fn an_account_is_made_silently_and_then_given_its_address() {
    let mut shop = Shop::default();

    let (sent, first) = run(&mut shop, vec![write(&Content::Customer(ann()), Action::Create)]).remove(0);
    let Outcome::Applied {
        external_id, next, ..
    } = first
    else {
        panic!("{first:?}")
    };
    let id = external_id.parse().unwrap();
    assert_eq!(next, Some(ADDRESS));
    assert_eq!(shop.customers[&id]["email"], customer::own_email(record(7)));

    let action = Action::Update {
        external_id,
        parts: Parts::new(),
        changed: ["email".to_owned()].into(),
    };
    let second = run(
        &mut shop,
        vec![Write {
            action,
            step: ADDRESS,
            ..sent
        }],
    )
    .remove(0)
    .1;
    assert!(
        matches!(second, Outcome::Applied { next: None, .. }),
        "{second:?}"
    );
    assert_eq!(shop.customers[&id]["email"], "ann@example.com");
}

#[test]
fn an_account_whose_customer_has_another_one_gives_way() {
    let mut shop = Shop::default();
    let old = create(&mut shop, &Content::Customer(ann()));
    let other = Write {
        record: record(8),
        ..write(&Content::Customer(ann()), Action::Create)
    };

    let outcome = finish(&mut shop, other);

    let Outcome::Taken { external_id, refusal } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        (external_id, refusal.code.as_str()),
        (Some(old.to_string()), error::UNFIT_EMAIL)
    );
    assert_eq!(shop.customers.keys().copied().collect::<Vec<_>>(), [old]);

    // The answer was lost, and the last step is done once more.
    let action = Action::Update {
        external_id: (old + 1).to_string(),
        parts: Parts::new(),
        changed: ["email".to_owned()].into(),
    };
    let again = Write {
        record: record(8),
        step: DISPUTE,
        ..write(&Content::Customer(ann()), action)
    };
    let outcome = run(&mut shop, vec![again]).remove(0).1;
    assert!(matches!(outcome, Outcome::Taken { external_id: Some(id), .. } if id == old.to_string()));
}

#[test]
fn an_email_that_stays_is_not_sent() {
    let mut shop = Shop::default();
    let id = create(&mut shop, &Content::Customer(ann()));
    shop.customers.get_mut(&id).unwrap()["email"] = json!("Ann@Example.com");
    let moved = Content::Customer(Customer {
        billing: Some(address("Ring 1")),
        ..ann()
    });

    let (outcome, content) = update(&mut shop, id, &moved);

    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    assert_eq!(content.unwrap(), moved);
    assert_eq!(shop.customers[&id]["email"], "Ann@Example.com");
}

#[test]
fn a_shipping_address_that_is_a_copy_moves_along() {
    let mut shop = Shop::default();
    let id = create(&mut shop, &Content::Customer(ann()));
    let row = shop.customers.get_mut(&id).unwrap();
    row["shipping"] = row["billing"].clone();
    let moved = Content::Customer(Customer {
        name: "Ann Lee".to_owned(),
        billing: Some(address("Ring 1")),
        ..ann()
    });

    let (_, content) = update(&mut shop, id, &moved);

    assert_eq!(content.unwrap(), moved);
    assert_eq!(shop.customers[&id]["shipping"]["address_1"], "Ring 1");
}

#[test]
fn a_blank_shipping_address_stays_blank() {
    let mut shop = Shop::default();
    let id = create(&mut shop, &Content::Customer(ann()));

    let (outcome, _) = update(
        &mut shop,
        id,
        &Content::Customer(Customer {
            billing: Some(address("Ring 1")),
            ..ann()
        }),
    );

    assert!(matches!(outcome, Outcome::Applied { .. }));

    assert_eq!(shop.customers[&id]["shipping"], json!({}));
}

#[test]
fn an_account_that_may_do_more_than_buy_is_not_deleted() {
    let mut shop = Shop::default();
    let content = Content::Customer(ann());
    let id = create(&mut shop, &content);
    shop.customers.get_mut(&id).unwrap()["role"] = json!("administrator");

    let delete = |external_id: String| write(&content, Action::Delete { external_id });
    let refused = finish(&mut shop, delete(id.to_string()));
    assert!(
        matches!(&refused, Outcome::Rejected(refusal) if refusal.code == "not_a_customer"),
        "{refused:?}"
    );

    shop.customers.get_mut(&id).unwrap()["role"] = json!("customer");
    for _ in 0..2 {
        let gone = finish(&mut shop, delete(id.to_string()));
        assert!(matches!(gone, Outcome::Applied { .. }), "{gone:?}");
    }
    assert!(shop.customers.is_empty());
}

// Laws

fn text() -> impl Strategy<Value = String> {
    "[A-Za-zäß&;,.' -]{0,12}[A-Za-z]"
}

fn optional<S: Strategy + 'static>(of: S) -> impl Strategy<Value = Option<S::Value>>
where
    S::Value: Clone,
{
    prop::option::of(of)
}

prop_compose! {
    fn any_variant()(
        sku in optional("[A-Z]{2}-[0-9]{6}"),
        barcode in optional("[0-9A-B-]{4,13}"),
        price in optional((0_i64..10_000_000, 0_u32..4)),
        weight in optional((0_i64..1_000_000, 0_u32..6)),
        sale in optional((1_i64..100, optional(0_i64..2_000_000_000), optional(0_i64..2_000_000_000))),
        measures in optional((0_i64..1_000_000, 0_i64..1_000_000, 0_u32..6)),
    ) -> Variant {
        let price = price.map(|(cents, scale)| Money::new(Decimal::new(cents, scale), Currency::USD));
        let sale = sale.zip(price).map(|((percent, from, until), price)| Sale {
            price: price.amount * Decimal::new(percent, 2),
            from: from.and_then(|secs| chrono::DateTime::from_timestamp(secs, 0)),
            until: until.and_then(|secs| chrono::DateTime::from_timestamp(secs, 0)),
        });
        Variant {
            attributes: Vec::new(),
            sku,
            // The fake has no two things with one code either; random ones of a product may be the same.
            barcode: barcode.filter(|code| code.contains('A')),
            price,
            weight_kg: weight.map(|(grams, scale)| Decimal::new(grams, scale)),
            dimensions: measures.map(|(length, width, scale)| Dimensions {
                length_cm: Some(Decimal::new(length, scale)), width_cm: Some(Decimal::new(width, scale)), height_cm: None,
            }),
            // Of a price of nothing there is no reduction.
            sale: sale.filter(|sale| !sale.price.is_zero()),
        }
    }
}

prop_compose! {
    fn any_product()(
        name in text(),
        status in prop::sample::select(vec![
            ProductStatus::Published, ProductStatus::Private, ProductStatus::Draft, ProductStatus::Archived,
        ]),
        kind in prop::sample::select(vec![ProductKind::Goods, ProductKind::Service]),
        tracks_stock in prop::bool::ANY,
        description in optional("<p>[A-Za-z& \n]{0,20}</p>(<script>)?"),
        summary in optional("[A-Za-z&;<> \n]{0,20}"),
        variants in prop::collection::vec(any_variant(), 1..5),
        options in prop::sample::subsequence(vec!["S", "M & L", "XL", "3 1/2", "x=y|z"], 5),
        is_variable in prop::bool::ANY,
        tax_class in prop::sample::select(vec![None, Some("none"), Some("shipping"), Some("reduced-rate"), Some("standard")]),
    ) -> Option<Content> {
        let variants: Vec<Variant> = if is_variable {
            variants.into_iter().zip(options).map(|(variant, option)| {
                let attribute = Attribute { name: "Size & Fit".to_owned(), option: option.to_owned() };
                Variant { attributes: vec![attribute], ..variant }
            }).collect()
        } else {
            variants.into_iter().take(1).collect()
        };
        let product = Product { name, status, kind, tracks_stock, description, summary, variants, categories: Vec::new(), images: Vec::new(), tags: Vec::new(), tax_class: tax_class.map(str::to_owned), };
        Content::Product(product).canonical().ok()
    }
}

prop_compose! {
    fn any_address()(
        name in optional(text()),
        street in optional(text()),
        state in optional("[A-Z]{2}"),
        country in optional("[A-Z]{2}"),
    ) -> Address {
        Address { name, street, state, country, ..Address::default() }
    }
}

prop_compose! {
    fn any_customer()(
        name in text(),
        email in optional("[a-z]{1,70}@example\\.com"),
        phone in optional("[0-9]{1,9}"),
        company in optional(text()),
        tax_number in optional("[A-Z0-9]{1,9}"),
        billing in optional(any_address()),
        shipping in optional(any_address()),
        is_active in prop::bool::ANY,
    ) -> Option<Content> {
        let customer = Customer { name, email, phone, company, tax_number, billing, shipping, is_active, language: None, };
        Content::Customer(customer).canonical().ok()
    }
}

fn is_simple(content: &Content) -> bool {
    matches!(content, Content::Product(product) if product.is_simple())
}

/// Creates one thing, changes it into another, and expects to read each as it was written.
fn round_trip(first: &Content, second: &Content) -> Result<(), TestCaseError> {
    let (first, second) = (projected(first), projected(second));
    prop_assert_eq!(&projected(&first), &first, "projecting twice is projecting once");
    let mut shop = Shop::default();
    let id = create(&mut shop, &first);
    prop_assert_eq!(theirs(&shop, id, &first).content.unwrap(), first.clone());
    if is_simple(&second) && !is_simple(&first) {
        return Ok(());
    }
    let (outcome, content) = update(&mut shop, id, &second);
    // An SKU may move from one variation to another in a way that no single call can do.
    if let Outcome::Rejected(refusal) = &outcome {
        prop_assert_eq!(refusal.code.as_str(), "product_invalid_sku");
        return Ok(());
    }
    prop_assert!(matches!(outcome, Outcome::Applied { .. }), "{:?}", outcome);
    prop_assert_eq!(content.unwrap(), second);
    Ok(())
}

proptest! {
    #[test]
    fn a_product_is_read_as_it_was_written(first in any_product(), second in any_product()) {
        if let (Some(first), Some(second)) = (first, second) {
            round_trip(&first, &second)?;
        }
    }

    #[test]
    fn a_customer_is_read_as_it_was_written(first in any_customer(), second in any_customer()) {
        if let (Some(first), Some(second)) = (first, second) {
            round_trip(&first, &second)?;
        }
    }
}

#[test]
fn the_paths_of_a_variant_are_those_of_the_canonical_form() {
    let Paths(paths) = fields_of(&shirt(vec![variant(&[], "S-1")]));

    assert!(paths.contains_key("variants//sku"), "{paths:?}");
}
