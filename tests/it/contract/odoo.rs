//! What only Odoo does.

use std::time::Duration;

use lockstep_sandbox::fault::Fault;
use lockstep_shared::entity::Content;
use lockstep_shared::system::EntityType;
use lockstep_tests::stack::eventually;
use lockstep_worker::connector::{Cursor, Outcome, Purpose, Sighting, Write};
use serde_json::json;

use super::content::{CARRIED, changed, composed, plain, product_of, shirt, usd};
use super::harness::{Fate, Harness, create, update, wanted};
use super::subject::{Office, Subject};

const HOUR: Duration = Duration::from_hours(1);

/// Two transactions met: `load` tells that as if rows were wrong, and nothing was done.
async fn a_conflict_of_transactions_is_transient_for_every_write<const MAJOR: u32>() {
    for entity in CARRIED {
        let harness = Harness::<Office<MAJOR>>::start().await;
        let writes: Vec<Write> = (0..4).map(|number| create(&plain(entity, number))).collect();
        harness.fault_on_writes(Fault::SerializationMessage, Some(1));
        let requests = harness.plan(entity, writes.clone()).await.expect("a plan");

        let outcomes = harness.send(&requests[0]).await.expect("an answer");

        for outcome in outcomes {
            let Outcome::Transient(refusal) = outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!(refusal.code, "concurrent_update");
        }
        assert!(harness.subject.ledger().effects().is_empty());
        let fates = harness.push(entity, writes).await;
        assert!(
            fates.values().all(|fate| matches!(fate, Fate::Placed(_))),
            "{fates:?}"
        );
    }
}

async fn a_conflict_that_comes_back_is_told_as_it_is<const MAJOR: u32>() {
    let harness = Harness::<Office<MAJOR>>::start().await;
    harness.fault_on_writes(Fault::SerializationMessage, None);
    let write = create(&plain(EntityType::Customers, 1));

    let fates = harness.push(EntityType::Customers, vec![write.clone()]).await;

    let Fate::Transient(refusal) = &fates[&write.record] else {
        panic!("{fates:?}")
    };
    assert!(refusal.message.contains("could not serialize"), "{refusal:?}");
}

/// R13: a row's time of change is that of its transaction's start, and others may be seen before it.
async fn a_row_that_becomes_visible_late_is_seen_by_the_next_pull<const MAJOR: u32>() {
    for entity in CARRIED {
        let harness = Harness::<Office<MAJOR>>::start().await;
        let (model, late) = match entity {
            EntityType::Customers => ("res.partner", json!({"name": "Late"})),
            EntityType::Products => ("product.template", json!({"name": "Late"})),
            _ => unreachable!("their rules are elsewhere"),
        };
        let erp = &harness.subject.erp;
        erp.hold_transaction(model, late, Duration::from_secs(3));
        let time = |id: &str| {
            let records = erp.records(model);
            let record = records
                .iter()
                .find(|record| record["id"].as_i64() == id.parse().ok());
            record.expect("it is there")["write_date"].clone()
        };
        // Someone works on until a second has passed since the transaction began.
        let other = harness.subject.add(entity, 1);
        let start = time(&other);
        eventually("the next second", || async {
            harness.subject.rename(entity, &other, "Working");
            (time(&other) != start).then_some(())
        })
        .await;
        let first = harness.pull(entity, &Cursor::default()).await;
        eventually("the transaction to end", || async {
            erp.records(model)
                .iter()
                .any(|record| record["name"] == "Late")
                .then_some(())
        })
        .await;

        let second = harness.pull(entity, &first.next).await;

        let seen = first.seen.iter().chain(&second.seen);
        let is_late = |content: &Content| match content {
            Content::Customer(customer) => customer.name == "Late",
            Content::Product(product) => product.name == "Late",
            _ => unreachable!("their rules are elsewhere"),
        };
        let was_seen = seen
            .into_iter()
            .any(|theirs| theirs.content.as_ref().is_ok_and(is_late));
        assert!(was_seen, "R13: {entity:?}");
    }
}

/// What is not plainly the same thing is not adopted.
async fn two_things_with_our_key_are_told_as_many<const MAJOR: u32>() {
    let harness = Harness::<Office<MAJOR>>::start().await;
    for entity in CARRIED {
        let ids: Vec<String> = (0..2)
            .map(|_| {
                let id = match entity {
                    EntityType::Customers => harness.subject.erp.insert(
                        "res.partner",
                        json!({"name": "Twin", "email": "Ann-1@example.com"}),
                    ),
                    EntityType::Products => harness.subject.erp.insert(
                        "product.template",
                        json!({"name": "Twin", "default_code": "THING-1"}),
                    ),
                    _ => unreachable!("their rules are elsewhere"),
                };
                id.to_string()
            })
            .collect();
        let write = create(&plain(entity, 1));

        let sighting = harness.look_up_one(wanted(&write, Purpose::BeforeCreate)).await;

        let Sighting::Many(mut found) = sighting else {
            panic!("{sighting:?}")
        };
        found.sort();
        assert_eq!(found, ids);
    }
}

/// R8: `load` is all or nothing, and does not always say for whose sake.
async fn a_barcode_in_use_stops_no_other_product<const MAJOR: u32>() {
    for place in [0, 4, 8] {
        let harness = Harness::<Office<MAJOR>>::start().await;
        let coded = |name: &str| {
            product_of(
                json!({"name": name, "variants": [{"sku": name, "barcode": "4006381333931", "price": usd("1")}]}),
            )
        };
        harness.write(&create(&coded("First"))).await;
        let mut writes: Vec<Write> = (0..8)
            .map(|number| create(&plain(EntityType::Products, number)))
            .collect();
        writes.insert(place, create(&coded("Second")));

        let fates = harness.push(EntityType::Products, writes.clone()).await;

        for (at, write) in writes.iter().enumerate() {
            match &fates[&write.record] {
                Fate::Placed(placed) if at != place => harness.assert_holds(write, placed).await,
                Fate::Taken { .. } if at == place => {}
                other => panic!("R8: {other:?} at {at}, culprit at {place}"),
            }
        }
    }
}

/// A price extra stands beside its product, which need not change with it.
async fn a_price_extra_that_people_change_is_seen_by_the_next_pull<const MAJOR: u32>() {
    let harness = Harness::<Office<MAJOR>>::start().await;
    let write = create(&shirt(1, &[("Blue", "10"), ("Red", "12")]));
    let placed = harness.write(&write).await;
    harness.subject.age(HOUR);
    for number in 0..25 {
        harness.subject.add(EntityType::Products, number);
    }
    let cursor = harness.pull(EntityType::Products, &Cursor::default()).await.next;
    let values = harness.subject.erp.records("product.template.attribute.value");
    let red = values
        .iter()
        .find(|value| value["name"] == "Red")
        .expect("Red has a value");
    harness.subject.erp.update(
        "product.template.attribute.value",
        red["id"].as_i64().expect("a number"),
        json!({"price_extra": 5.0}),
    );

    let pulled = harness.pull(EntityType::Products, &cursor).await;

    let expected = shirt(1, &[("Blue", "10"), ("Red", "15")]);
    assert_eq!(pulled.find(&placed.external_id).content, Ok(expected));
}

/// Categories are made once each, from the outermost inwards, and those that are there are used.
async fn products_go_into_a_category_that_is_made_for_them<const MAJOR: u32>() {
    let harness = Harness::<Office<MAJOR>>::start().await;
    let entity = EntityType::Products;
    let erp = &harness.subject.erp;
    let before = erp.records("product.category").len();
    let furniture = erp.insert("product.category", json!({"name": "Furniture"}));
    let placed_in = |number: usize, categories: serde_json::Value| {
        let content = changed(&composed(entity, number), |json| json["categories"] = categories);
        create(&harness.connector.project(&content))
    };
    let writes = [
        placed_in(1, json!([["Furniture", "Office", "Desks"]])),
        placed_in(2, json!([["Furniture", "Office"], ["Sale"]])),
        placed_in(3, json!([["Goods"]])),
        placed_in(4, json!([])),
    ];

    let fates = harness.push(entity, writes.to_vec()).await;

    for write in &writes {
        harness
            .assert_holds(write, &fates[&write.record].clone().placed())
            .await;
    }
    let after = erp.records("product.category");
    assert_eq!(after.len(), before + 3, "{after:?}");
    let office = after
        .iter()
        .find(|row| row["name"] == "Office")
        .expect("it is made");
    assert_eq!(
        office["parent_id"].as_i64().or(office["parent_id"][0].as_i64()),
        Some(furniture)
    );
    let to = changed(&writes[1].content, |json| {
        json["categories"] = json!([["Furniture"]]);
    });
    let placed = fates[&writes[1].record].clone().placed();
    let moved = update(writes[1].record, &placed, &writes[1].content, &to);
    harness.write(&moved).await;
    harness.assert_holds(&moved, &placed).await;
    let bare = changed(&to, |json| json["categories"] = json!([]));
    let out = update(writes[1].record, &placed, &to, &bare);
    if MAJOR >= 19 {
        harness.write(&out).await;
        harness.assert_holds(&out, &placed).await;
    }
}

/// A category that its people renamed is another one now, and is not renamed back.
async fn a_category_that_was_renamed_keeps_its_name<const MAJOR: u32>() {
    let harness = Harness::<Office<MAJOR>>::start().await;
    let entity = EntityType::Products;
    let erp = &harness.subject.erp;
    let placed_in = |number: usize| {
        create(&changed(&plain(entity, number), |json| {
            json["categories"] = json!([["Desks"]]);
        }))
    };
    harness.write(&placed_in(1)).await;
    let desks = erp
        .records("product.category")
        .into_iter()
        .find(|row| row["name"] == "Desks");
    let id = desks.expect("it is made")["id"].as_i64().expect("an id");
    erp.update("product.category", id, json!({"name": "Tables"}));

    let write = placed_in(2);
    let placed = harness.write(&write).await;

    harness.assert_holds(&write, &placed).await;
    let names: Vec<String> = erp
        .records("product.category")
        .iter()
        .map(|row| row["name"].as_str().expect("a name").to_owned())
        .collect();
    assert!(
        names.contains(&"Tables".to_owned()) && names.contains(&"Desks".to_owned()),
        "{names:?}"
    );
}

/// One that is not in use would be refused.
async fn a_customer_is_written_to_in_a_language_in_use<const MAJOR: u32>() {
    let harness = Harness::<Office<MAJOR>>::start().await;
    let entity = EntityType::Customers;
    harness
        .subject
        .erp
        .insert("res.lang", json!({"name": "German", "code": "de_DE"}));
    // The tables are read before anything is compared.
    harness.pull(entity, &Cursor::default()).await;
    for (language, held) in [("de_CH", Some("de_DE")), ("fr", None), ("en-us", Some("en_US"))] {
        let content = changed(&composed(entity, 1), |json| {
            json["email"] = json!(format!("{language}@example.com"));
            json["language"] = json!(language);
        });
        let write = create(&harness.connector.project(&content));
        let placed = harness.write(&write).await;

        harness.assert_holds(&write, &placed).await;
        assert_eq!(write.content.to_json()["language"].as_str(), held);
        let to = changed(&write.content, |json| json["language"] = json!("en_US"));
        let change = update(write.record, &placed, &write.content, &to);
        harness.write(&change).await;
        harness.assert_holds(&change, &placed).await;
    }
}

for_each_office! {
    products_go_into_a_category_that_is_made_for_them,
    a_category_that_was_renamed_keeps_its_name,
    a_customer_is_written_to_in_a_language_in_use,
    a_conflict_of_transactions_is_transient_for_every_write,
    a_conflict_that_comes_back_is_told_as_it_is,
    a_row_that_becomes_visible_late_is_seen_by_the_next_pull,
    two_things_with_our_key_are_told_as_many,
    a_barcode_in_use_stops_no_other_product,
    a_price_extra_that_people_change_is_seen_by_the_next_pull,
}
