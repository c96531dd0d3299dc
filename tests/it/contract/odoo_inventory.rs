//! Stock in Odoo.

use lockstep_shared::entity::{Content, Inventory, PartKey, Reference};
use lockstep_shared::id::RecordId;
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::{Cursor, Purpose, Sighting, Write};
use rust_decimal::Decimal;
use serde_json::json;

use super::harness::{update, wanted};
use super::odoo_order::Desk;

fn level(product: RecordId, part: &str, quantity: i64) -> Content {
    Content::Inventory(Inventory {
        product: Reference::record(product, PartKey::named(part)),
        quantity: Decimal::from(quantity),
    })
}

/// A desk whose products have their stock kept.
async fn desk<const MAJOR: u32>() -> Desk<MAJOR> {
    let desk = Desk::<MAJOR>::start().await;
    let erp = &desk.harness.subject.erp;
    for row in erp.records("product.template") {
        if row["type"] == "consu" || row["detailed_type"] == "consu" {
            let kept = if MAJOR >= 18 {
                json!({"is_storable": true})
            } else {
                json!({"detailed_type": "product"})
            };
            erp.update("product.template", row["id"].as_i64().expect("an id"), kept);
        }
    }
    desk
}

async fn a_level_comes_back_as_it_was_written<const MAJOR: u32>() {
    let desk = desk::<MAJOR>().await;
    for content in [level(desk.product, "", 25), level(desk.shirt, "color=red", 7)] {
        let write = desk.create(&content);

        let placed = desk.harness.write(&write).await;

        assert_eq!(desk.held(&write, &placed).await, content);
        let pulled = desk.harness.pull(EntityType::Inventory, &Cursor::default()).await;
        assert_eq!(desk.resolved(pulled.find(&placed.external_id)), content);
    }
}

async fn what_was_never_counted_is_no_level<const MAJOR: u32>() {
    let desk = desk::<MAJOR>().await;
    let write = desk.create(&level(desk.product, "", 25));
    let mut before = wanted(&write, Purpose::BeforeCreate);
    before.links = desk.links.clone();

    assert!(matches!(
        desk.harness.look_up_one(before.clone()).await,
        Sighting::Missing
    ));
    desk.harness.write(&write).await;
    assert!(matches!(desk.harness.look_up_one(before).await, Sighting::One(_)));
}

async fn what_was_sold_is_not_there_to_be_sold<const MAJOR: u32>() {
    let desk = desk::<MAJOR>().await;
    let write = desk.create(&level(desk.product, "", 25));
    let placed = desk.harness.write(&write).await;
    let first = desk.harness.pull(EntityType::Inventory, &Cursor::default()).await;

    desk.harness.write(&desk.create(&desk.order_of(&json!({})))).await;

    let second = desk.harness.pull(EntityType::Inventory, &first.next).await;
    assert_eq!(
        desk.resolved(second.find(&placed.external_id)),
        level(desk.product, "", 22)
    );
    let to = level(desk.product, "", 10);
    let change = desk.with_links(update(write.record, &placed, &level(desk.product, "", 22), &to));
    desk.harness.write(&change).await;
    assert_eq!(desk.held(&change, &placed).await, to);
}

async fn levels_of_a_batch_take_few_calls_and_the_same_ones_none<const MAJOR: u32>() {
    let desk = desk::<MAJOR>().await;
    let writes = |red: i64| -> Vec<Write> {
        [("color=red", red), ("color=blue", 4)]
            .into_iter()
            .map(|(part, quantity)| desk.create(&level(desk.shirt, part, quantity)))
            .collect()
    };
    desk.harness.push(EntityType::Inventory, writes(7)).await;
    let before = desk.harness.arrivals();

    desk.harness.push(EntityType::Inventory, writes(8)).await;

    // Numbers, quants, count, what was counted, take over.
    assert_eq!(desk.harness.arrivals() - before, 5);
    let effects = desk.harness.subject.erp.ledger().effects().len();
    desk.harness.push(EntityType::Inventory, writes(8)).await;
    assert_eq!(desk.harness.subject.erp.ledger().effects().len(), effects);
}

for_each_office! {
    a_level_comes_back_as_it_was_written,
    what_was_never_counted_is_no_level,
    what_was_sold_is_not_there_to_be_sold,
    levels_of_a_batch_take_few_calls_and_the_same_ones_none,
}
