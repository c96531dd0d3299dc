//! What only WooCommerce does.

use lockstep_sandbox::fault::Fault;
use lockstep_sandbox::woocommerce::StoreOptions;
use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{Content, ProductStatus};
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::http::Options;
use lockstep_worker::connector::{CallError, Cursor, Purpose, Reach, Sighting, Write};
use serde_json::json;

use super::content::{CARRIED, changed, composed, keyless, plain, renamed, shirt};
use super::harness::{Fate, Harness, Turnstile, create, update, wanted};
use super::subject::{Caller, Shop, Subject, thing};

/// Over https the keys go along as they are; over http, as in every other test, a signature does.
#[tokio::test]
async fn over_https_the_store_is_spoken_to_with_its_keys() {
    let options = StoreOptions {
        is_https: true,
        ..StoreOptions::default()
    };
    let subject = Shop::with(options).await;
    let trusting = Options {
        extra_roots: subject.store.certificate_pem().into_iter().collect(),
        ..Options::local()
    };
    let connector = subject.connect(Caller::Known, &trusting);
    let harness = Harness { subject, connector };
    harness
        .connector
        .check(&Turnstile::open())
        .await
        .expect("all is well");

    for entity in CARRIED {
        let write = create(&composed(entity, 1));
        let placed = harness.write(&write).await;

        harness.assert_holds(&write, &placed).await;
        let pulled = harness.pull(entity, &Cursor::default()).await;
        pulled.find(&placed.external_id);
    }
    let stranger = harness.subject.connect(Caller::Stranger, &trusting);
    let refused = stranger.check(&Turnstile::open()).await;
    assert!(
        matches!(refused, Err(CallError::Unauthorised { .. })),
        "R34: {refused:?}"
    );
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_not_trusted() {
    let options = StoreOptions {
        is_https: true,
        ..StoreOptions::default()
    };
    let harness = Harness::of(Shop::with(options).await);

    let result = harness.connector.check(&Turnstile::open()).await;

    let is_told = matches!(
        result,
        Err(CallError::Unwell {
            reach: Reach::NoEffect,
            ..
        })
    );
    assert!(is_told, "{result:?}");
    assert_eq!(harness.arrivals(), 0);
}

/// R13: the process died in the middle of a batch. What it did stays done, and a look-up tells which.
#[tokio::test]
async fn of_a_batch_that_died_the_things_that_were_made_are_found() {
    for entity in CARRIED {
        let harness = Harness::<Shop>::start().await;
        let since = chrono::Utc::now();
        let writes: Vec<Write> = (0..8)
            .map(|number| match number % 2 {
                0 => create(&plain(entity, number)),
                _ => create(&composed(entity, number)),
            })
            .collect();
        harness.fault_on_writes(Fault::PartialBatch(3), Some(1));
        let requests = harness.plan(entity, writes.clone()).await.expect("a plan");
        let result = harness.send(&requests[0]).await;
        let is_in_doubt = matches!(
            result,
            Err(CallError::Unwell {
                reach: Reach::InDoubt,
                ..
            })
        );
        assert!(is_in_doubt, "R13: {result:?}");

        let asked: Vec<_> = writes
            .iter()
            .map(|write| wanted(write, Purpose::InDoubt { since }))
            .collect();
        let found = harness.look_up(entity, &asked).await;

        let mut missing = Vec::new();
        for (place, (sighting, write)) in found.into_iter().zip(&writes).enumerate() {
            match sighting {
                Sighting::One(theirs) if place < 3 => assert_eq!(theirs.marker, Some(write.record), "R13"),
                Sighting::Missing if place >= 3 => missing.push(write.clone()),
                other => panic!("R13: {other:?} for {place}"),
            }
        }
        harness.push(entity, missing).await;
        assert_eq!(harness.subject.ledger().created(thing(entity)), 8, "R13");
        assert_eq!(harness.subject.ledger().duplicates(), []);
    }
}

/// R17: no mail to a shop's customers, neither where a new account is made nor where one is there.
#[tokio::test]
async fn a_new_account_of_a_customer_sends_no_mail() {
    let harness = Harness::<Shop>::start().await;
    let entity = EntityType::Customers;
    let known = harness.subject.add(entity, 1);
    let before = harness.subject.store.mails();
    let taken = create(&changed(&plain(entity, 1), |json| {
        json["email"] = json!("theirs-1@example.com");
    }));
    let others = [plain(entity, 2), composed(entity, 3), keyless(entity, 4)].map(|content| create(&content));
    let writes: Vec<Write> = others.iter().cloned().chain([taken.clone()]).collect();

    let fates = harness.push(entity, writes).await;

    for write in &others {
        harness
            .assert_holds(write, &fates[&write.record].clone().placed())
            .await;
    }
    let holder = match &fates[&taken.record] {
        Fate::Taken { external_id, .. } => external_id.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(holder, Some(known), "the account that is there is told");
    assert_eq!(harness.subject.count(entity), 4, "the one that gave way is gone");
    assert_eq!(harness.subject.store.mails(), before, "R17");
}

#[tokio::test]
async fn a_new_account_is_made_with_its_address_where_people_may_be_told() {
    let subject = Shop::start().await;
    let settings = Settings {
        notifies_people: true,
        ..Settings::default()
    };
    let connector = subject.connect_with(&settings);
    let harness = Harness { subject, connector };
    let write = create(&plain(EntityType::Customers, 1));
    let before = (harness.arrivals(), harness.subject.store.mails());

    harness.write(&write).await;

    assert_eq!(
        (harness.arrivals(), harness.subject.store.mails()),
        (before.0 + 1, before.1 + 1)
    );
}

/// R13: the account is there, and its address did not arrive.
#[tokio::test]
async fn an_account_without_its_address_is_found_and_completed() {
    let harness = Harness::<Shop>::start().await;
    let entity = EntityType::Customers;
    let write = create(&plain(entity, 1));
    let requests = harness.plan(entity, vec![write.clone()]).await.expect("a plan");
    harness.send(&requests[0]).await.expect("an answer");

    let since = chrono::Utc::now();
    let sighting = harness
        .look_up_one(wanted(&write, Purpose::InDoubt { since }))
        .await;

    let Sighting::One(theirs) = sighting else {
        panic!("{sighting:?}")
    };
    assert_eq!(theirs.marker, Some(write.record));
    let found = theirs.content.clone().expect("it can be read");
    let placed = super::harness::Placed {
        external_id: theirs.external_id,
        parts: theirs.parts,
    };
    let rest = update(write.record, &placed, &found, &write.content);
    let placed = harness.write(&rest).await;
    harness.assert_holds(&rest, &placed).await;
    assert_eq!(harness.subject.store.mails(), 0, "R17");
    assert_eq!(harness.subject.ledger().created("customer"), 1);
}

/// A look-up before creating costs a handful of calls, and not one for each of a large store's customers.
#[tokio::test]
async fn accounts_are_looked_for_in_a_few_calls() {
    let harness = Harness::<Shop>::start().await;
    let entity = EntityType::Customers;
    let known: Vec<String> = (0..120)
        .map(|number| harness.subject.add(entity, number))
        .collect();
    let asked: Vec<_> = (110..130)
        .map(|number| {
            let content = changed(&plain(entity, number), |json| {
                json["email"] = json!(format!("theirs-{number}@example.com"));
            });
            wanted(&create(&content), Purpose::BeforeCreate)
        })
        .collect();
    let before = harness.arrivals();

    let found = harness.look_up(entity, &asked).await;

    assert_eq!(harness.arrivals() - before, 2, "120 accounts are two pages");
    for (place, sighting) in found.into_iter().enumerate() {
        match sighting {
            Sighting::One(theirs) => assert_eq!(theirs.external_id, known[110 + place]),
            Sighting::Missing => assert!(place >= 10),
            other => panic!("{other:?}"),
        }
    }
}

/// R17: no mail to a shop's customers.
#[tokio::test]
async fn an_update_of_a_customer_sends_no_mail() {
    let harness = Harness::<Shop>::start().await;
    let entity = EntityType::Customers;
    let write = create(&composed(entity, 1));
    let placed = harness.write(&write).await;
    let before = harness.subject.store.mails();
    let to = changed(&renamed(&write.content, "Renamed"), |json| {
        json["phone"] = json!("1");
        json["tax_number"] = json!("X1");
        json["billing"]["city"] = json!("Köln");
        json["shipping"] = json!({"street": "Else"});
    });

    harness
        .write(&update(write.record, &placed, &write.content, &to))
        .await;

    assert_eq!(harness.subject.store.mails(), before, "R17");
}

/// The trash holds its SKUs, and tells no id.
#[tokio::test]
async fn an_sku_in_the_trash_is_taken_and_its_holder_found_there() {
    let harness = Harness::<Shop>::start().await;
    let entity = EntityType::Products;
    let first = create(&plain(entity, 1));
    let placed = harness.write(&first).await;
    harness
        .subject
        .store
        .trash_product(placed.external_id.parse().expect("a number"));
    let second = create(&renamed(&first.content, "Second"));

    let fates = harness.push(entity, vec![second.clone()]).await;
    let since = chrono::DateTime::UNIX_EPOCH;
    let sighting = harness
        .look_up_one(wanted(&second, Purpose::InDoubt { since }))
        .await;

    assert!(matches!(fates[&second.record], Fate::Taken { .. }), "{fates:?}");
    let Sighting::One(theirs) = sighting else {
        panic!("{sighting:?}")
    };
    assert_eq!(
        (theirs.external_id, theirs.marker),
        (placed.external_id, Some(first.record))
    );
    let status = match theirs.content {
        Ok(Content::Product(product)) => product.status,
        other => panic!("{other:?}"),
    };
    assert_eq!(status, ProductStatus::Archived);
}

/// The id that a refusal names can be a variation's: what is there is its product.
#[tokio::test]
async fn an_sku_of_a_variation_leads_to_its_product() {
    let harness = Harness::<Shop>::start().await;
    let entity = EntityType::Products;
    let first = create(&shirt(1, &[("Blue", "10"), ("Red", "12")]));
    let placed = harness.write(&first).await;
    let second = create(&changed(&plain(entity, 2), |json| {
        json["variants"][0]["sku"] = json!("shirt-1-blue");
    }));

    let before = harness.look_up_one(wanted(&second, Purpose::BeforeCreate)).await;
    let fates = harness.push(entity, vec![second.clone()]).await;

    let Fate::Taken {
        external_id: Some(holder),
        ..
    } = &fates[&second.record]
    else {
        panic!("{fates:?}")
    };
    let after = harness.refreshed(&second, holder).await;
    assert_eq!(after.external_id, placed.external_id);
    assert!(matches!(before, Sighting::One(theirs) if theirs.external_id == placed.external_id));
}

/// R36: three variations or ninety, and more than one call carries.
#[tokio::test]
async fn more_variants_than_one_call_carries_take_two() {
    let harness = Harness::<Shop>::start().await;
    let names: Vec<String> = (0..130).map(|number| format!("Colour {number}")).collect();
    let colours: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "10")).collect();
    let write = create(&shirt(1, &colours));
    let before = harness.arrivals();

    let placed = harness.write(&write).await;

    assert!(harness.arrivals() - before < 20, "R36");
    harness.assert_holds(&write, &placed).await;
    assert_eq!(harness.subject.ledger().created("variation"), 130);
    assert_eq!(harness.subject.ledger().duplicates(), []);
}

/// A product of a number in some categories.
fn placed_in(number: usize, categories: &serde_json::Value) -> Content {
    changed(&plain(EntityType::Products, number), |json| {
        json["categories"] = categories.clone();
    })
}

fn categories_of(harness: &Harness<Shop>, id: &str) -> Vec<String> {
    let product = harness.subject.store.product(id.parse().expect("a number"));
    let product = product.expect("the product is there");
    let categories = product["categories"].as_array().expect("a list");
    let mut names: Vec<String> = categories
        .iter()
        .map(|category| category["name"].as_str().expect("a name").to_owned())
        .collect();
    names.sort();
    names
}

/// Categories are made once each, from the outermost inwards, and those that are there are used.
#[tokio::test]
async fn products_go_into_categories_that_are_made_for_them() {
    let harness = Harness::<Shop>::start().await;
    let entity = EntityType::Products;
    let store = &harness.subject.store;
    let clothing = store.insert_category(json!({"name": "Clothing"}));
    store.insert_category(json!({"name": "Hats & Caps", "parent": clothing}));
    let writes = [
        placed_in(1, &json!([["Clothing", "Hats & Caps"]])),
        placed_in(2, &json!([["Clothing", "Hats & Caps", "Caps"], ["Sale"]])),
        placed_in(3, &json!([["Sale"], ["Music & More", "Vinyl", "12\""]])),
        placed_in(4, &json!([])),
        changed(&composed(entity, 5), |json| {
            json["categories"] = json!([["Clothing"]]);
        }),
    ]
    .map(|content| create(&content));

    let fates = harness.push(entity, writes.to_vec()).await;

    for write in &writes {
        harness
            .assert_holds(write, &fates[&write.record].clone().placed())
            .await;
    }
    assert_eq!(harness.subject.ledger().created("category"), 5);
    assert_eq!(harness.subject.ledger().duplicates(), []);
    let pulled = harness.pull(entity, &Cursor::default()).await;
    for write in &writes {
        let placed = fates[&write.record].clone().placed();
        assert_eq!(
            pulled.find(&placed.external_id).content.as_ref(),
            Ok(&write.content)
        );
    }
}

/// The owner of a product replaces what it gave, and nothing that the shop's people added (R17).
#[tokio::test]
async fn categories_that_the_shop_added_stay() {
    let harness = Harness::<Shop>::start().await;
    let store = &harness.subject.store;
    let own = store.insert_category(json!({"name": "Staff Picks"}));
    let write = create(&placed_in(1, &json!([["Clothing", "Hats"]])));
    let placed = harness.write(&write).await;
    let id = placed.external_id.parse().expect("a number");
    let product = store.product(id).expect("the product is there");
    let mut all = product["categories"].as_array().expect("a list").clone();
    all.push(json!({"id": own}));
    store.update_product(id, json!({"categories": all}));

    harness.assert_holds(&write, &placed).await;
    let to = placed_in(1, &json!([["Music"]]));
    let moved = update(write.record, &placed, &write.content, &to);
    harness.write(&moved).await;
    harness.assert_holds(&moved, &placed).await;
    assert_eq!(
        categories_of(&harness, &placed.external_id),
        ["Music", "Staff Picks"]
    );

    let none = update(write.record, &placed, &to, &placed_in(1, &json!([])));
    harness.write(&none).await;
    harness.assert_holds(&none, &placed).await;
    assert_eq!(categories_of(&harness, &placed.external_id), ["Staff Picks"]);
}

/// Nothing tells which of the categories of a product that others made were given to it by whom.
#[tokio::test]
async fn a_product_of_others_keeps_its_categories() {
    let harness = Harness::<Shop>::start().await;
    let entity = EntityType::Products;
    let store = &harness.subject.store;
    let own = store.insert_category(json!({"name": "Staff Picks"}));
    let id = harness.subject.add(entity, 1);
    store.update_product(
        id.parse().expect("a number"),
        json!({"categories": [{"id": own}]}),
    );
    let pulled = harness.pull(entity, &Cursor::default()).await;
    let Ok(theirs) = pulled.find(&id).content.clone() else {
        panic!("it can be read")
    };
    assert_eq!(theirs.to_json()["categories"], json!([["Staff Picks"]]));
    let to = changed(&theirs, |json| json["categories"] = json!([["Music"]]));
    let placed = super::harness::Placed {
        external_id: id.clone(),
        parts: std::collections::BTreeMap::new(),
    };

    let moved = update(create(&to).record, &placed, &theirs, &to);
    harness.write(&moved).await;

    harness.assert_holds(&moved, &placed).await;
    assert_eq!(categories_of(&harness, &id), ["Music", "Staff Picks"]);
}

/// A store that spells a category otherwise is told from one that changed it.
#[tokio::test]
async fn the_store_s_spelling_of_a_category_is_told() {
    let harness = Harness::<Shop>::start().await;
    harness.subject.store.insert_category(json!({"name": "Clothing"}));
    let write = create(&placed_in(1, &json!([["CLOTHING"]])));

    let requests = harness
        .plan(EntityType::Products, vec![write])
        .await
        .expect("a plan");
    let outcome = harness.send(&requests[0]).await.expect("an answer").remove(0);

    let lockstep_worker::connector::Outcome::Applied { held: Some(held), .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(held.to_json()["categories"], json!([["Clothing"]]));
}

/// What of a product is its shop's business alone.
#[tokio::test]
async fn sales_measures_and_taxes_come_and_go() {
    let harness = Harness::<Shop>::start().await;
    let entity = EntityType::Products;
    let full = |content: &Content| {
        changed(content, |json| {
            json["tax_class"] = json!("reduced-rate");
            for variant in json["variants"].as_array_mut().expect("variants") {
                variant["sale"] =
                    json!({"price": "9.5", "from": "2026-01-01T00:00:00Z", "until": "2026-02-01T12:30:00Z"});
                variant["dimensions"] = json!({"length_cm": "10.5", "height_cm": "3"});
            }
        })
    };
    for bare in [plain(entity, 1), composed(entity, 2)] {
        let write = create(&full(&bare));
        let placed = harness.write(&write).await;
        harness.assert_holds(&write, &placed).await;

        let without = update(write.record, &placed, &write.content, &bare);
        harness.write(&without).await;
        harness.assert_holds(&without, &placed).await;

        let again = update(write.record, &placed, &bare, &write.content);
        harness.write(&again).await;
        harness.assert_holds(&again, &placed).await;
    }
}
