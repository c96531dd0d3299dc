//! Inventory levels in WooCommerce.

use lockstep_shared::entity::{Content, Inventory, Reference};
use lockstep_shared::id::RecordId;
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::{Cursor, Outcome, Purpose, Sighting, Write};
use rust_decimal::Decimal;
use serde_json::json;

use super::harness::{Fate, Placed, update};
use super::sale::{Sale, content};

const LEVELS: EntityType = EntityType::Inventory;

fn level(product: &Reference, quantity: &str) -> Content {
    content(LEVELS, json!({"product": product, "quantity": quantity}))
}

fn quantity(content: &Content) -> Decimal {
    match content {
        Content::Inventory(level) => level.quantity,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_the_store_counts_is_pulled_and_again_when_it_changes() {
    let sale = Sale::open().await;
    let store = &sale.harness.subject.store;
    let uncounted = store.insert_product(json!({"name": "Air", "regular_price": "1.00"}));
    let shared = store.insert_product(json!({
        "name": "Cap", "type": "variable", "manage_stock": true, "stock_quantity": 9,
        "attributes": [{"name": "Colour", "variation": true, "options": ["Blue"]}],
        "variations_full": [{"regular_price": "3.00", "attributes": [{"name": "Colour", "option": "Blue"}]}]
    }));

    let first = sale.harness.pull(LEVELS, &Cursor::default()).await;
    let ids: Vec<String> = first.by_id().into_keys().map(str::to_owned).collect();
    store.age(std::time::Duration::from_mins(10));
    let quiet = sale.harness.pull(LEVELS, &first.next).await;
    let quiet = sale.harness.pull(LEVELS, &quiet.next).await;
    store.sell(sale.blue, 2);
    let second = sale.harness.pull(LEVELS, &quiet.next).await;

    let mut expected = vec![
        sale.mug.id.to_string(),
        format!("{}/{}", sale.shirt.id, sale.blue),
        format!("{}/{}", sale.shirt.id, sale.red),
    ];
    expected.sort();
    assert_eq!(ids, expected, "not {uncounted} and not {shared}");
    let blue = second.find(&format!("{}/{}", sale.shirt.id, sale.blue));
    assert_eq!(
        blue.content.as_ref().expect("it is valid"),
        &Content::Inventory(Inventory {
            product: Reference::remote(sale.shirt.id.to_string(), Some(sale.blue.to_string())),
            quantity: Decimal::from(48),
        })
    );
}

#[tokio::test]
async fn levels_are_written_and_read_back() {
    let sale = Sale::open().await;
    let noise = sale.noise();
    for (product, id, external_id) in [
        (sale.mug(), sale.mug.id, sale.mug.id.to_string()),
        (
            sale.blue_shirt(),
            sale.blue,
            format!("{}/{}", sale.shirt.id, sale.blue),
        ),
    ] {
        let write = sale.create(&level(&product, "7.9"));

        let placed = sale.harness.write(&write).await;

        assert_eq!(placed.external_id, external_id);
        assert_eq!(sale.stock(id), 7);
        assert_eq!(sale.held(&write, &external_id).await, write.content);
        let target = level(&product, "-3");
        let change = sale.linked(update(write.record, &placed, &write.content, &target));
        sale.harness.write(&change).await;
        assert_eq!(sale.stock(id), -3);
    }
    assert_eq!(sale.noise(), noise);
}

/// What is not counted yet has no level; the first that is written makes the store count it.
#[tokio::test]
async fn what_is_not_counted_is_missing_and_counted_from_the_first_level_on() {
    let sale = Sale::open().await;
    sale.harness
        .subject
        .store
        .update_product(sale.mug.id, json!({"manage_stock": false}));
    let write = sale.create(&level(&sale.mug(), "7"));

    let sighting = sale.look_up(&write, Purpose::BeforeCreate).await;
    assert!(matches!(sighting, Sighting::Missing), "{sighting:?}");
    sale.harness.write(&write).await;

    let Sighting::One(theirs) = sale.look_up(&write, Purpose::BeforeCreate).await else {
        panic!("it is counted")
    };
    assert_eq!(sale.resolved(&theirs), write.content);
    assert_eq!(sale.stock(sale.mug.id), 7);
}

/// A call about variations of a product that is gone would end in an error that looks like one of the store's own.
#[tokio::test]
async fn a_level_of_what_is_gone_is_refused() {
    let sale = Sale::open().await;
    sale.harness.subject.store.delete_product(sale.shirt.id);
    let write = sale.create(&level(&sale.blue_shirt(), "7"));

    let mut fates = sale.harness.push(LEVELS, vec![write]).await;

    let (_, fate) = fates.pop_first().unwrap();
    assert!(matches!(fate, Fate::Rejected(_)), "{fate:?}");
}

/// R36: one call for all simple products, one for the variations of each parent, one look for all.
#[tokio::test]
async fn levels_share_their_calls() {
    let sale = Sale::open().await;
    let red = Reference::record(
        sale.shirt.record,
        lockstep_shared::entity::PartKey::named("colour=red"),
    );
    let placed = |id: String| Placed {
        external_id: id,
        parts: lockstep_worker::connector::Parts::new(),
    };
    let of = |product: &Reference, id: String| {
        let (from, to) = (level(product, "1"), level(product, "2"));
        sale.linked(update(RecordId::random(), &placed(id), &from, &to))
    };
    let writes: Vec<Write> = vec![
        of(&sale.mug(), sale.mug.id.to_string()),
        of(&sale.blue_shirt(), format!("{}/{}", sale.shirt.id, sale.blue)),
        of(&red, format!("{}/{}", sale.shirt.id, sale.red)),
    ];
    let before = sale.harness.arrivals();

    sale.harness.push(LEVELS, writes).await;

    assert_eq!(sale.harness.arrivals() - before, 2);
    assert_eq!(
        [
            sale.stock(sale.mug.id),
            sale.stock(sale.blue),
            sale.stock(sale.red)
        ],
        [2, 2, 2]
    );
}

/// A sale between the look and the write is not lost without a word.
#[tokio::test]
async fn what_the_store_counts_after_a_write_is_told() {
    let sale = Sale::open().await;
    let write = sale.create(&level(&sale.mug(), "7"));
    let requests = sale
        .harness
        .plan(LEVELS, vec![write.clone()])
        .await
        .expect("a plan");

    let outcomes = sale.harness.send(&requests[0]).await.expect("it is answered");

    assert!(
        matches!(&outcomes[0], Outcome::Applied { held: None, .. }),
        "{outcomes:?}"
    );
    assert_eq!(quantity(&write.content), Decimal::from(7));
}
