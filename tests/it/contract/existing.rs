//! Asking which things are there: the proof that a full scan rests on.

use std::collections::BTreeSet;

use lockstep_shared::system::EntityType;
use lockstep_worker::connector::{Connector, Refusal};
use serde_json::json;

use super::content::plain;
use super::harness::{Fate, Harness, Turnstile, create, update};
use super::sale::Sale;
use super::subject::{Office, Subject};

async fn existing(connector: &dyn Connector, entity: EntityType, ids: &[String]) -> BTreeSet<String> {
    let there = connector.existing(&Turnstile::open(), entity, ids).await;
    there.expect("the system answers")
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

async fn what_was_removed_is_not_there<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let ids: Vec<String> = (0..130)
        .map(|number| harness.subject.add(entity, number))
        .collect();
    harness.subject.remove(entity, &ids[0]);
    harness.subject.remove(entity, &ids[129]);
    let mut asked = ids.clone();
    asked.extend(["99999999".to_owned(), "nonsense".to_owned()]);

    let there = existing(&*harness.connector, entity, &asked).await;

    assert_eq!(there, ids[1..129].iter().cloned().collect());
    let nothing = existing(&*harness.connector, entity, &[]).await;
    assert_eq!(nothing, BTreeSet::new());
}

/// One of several that is not there is told apart from what else can be wrong.
async fn a_change_of_what_is_gone_says_so<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let writes = [1, 2, 3].map(|number| create(&plain(entity, number)));
    let mut changes = Vec::new();
    for (number, write) in (1..).zip(&writes) {
        let placed = harness.write(write).await;
        changes.push(update(
            write.record,
            &placed,
            &write.content,
            &plain(entity, number + 10),
        ));
        if number == 2 {
            harness.subject.remove(entity, &placed.external_id);
        }
    }

    let fates = harness.push(entity, changes).await;

    for (number, write) in (1..).zip(&writes) {
        match (&fates[&write.record], number) {
            (Fate::Rejected(refusal), 2) => assert!(harness.connector.says_gone(refusal), "{refusal:?}"),
            (Fate::Placed(_), 1 | 3) => {}
            (fate, _) => panic!("{number}: {fate:?}"),
        }
    }
    let other = Refusal {
        code: "load_refused".to_owned(),
        message: "no".to_owned(),
    };
    assert!(!harness.connector.says_gone(&other));
}

for_each_entity! { what_was_removed_is_not_there, a_change_of_what_is_gone_says_so }

/// What lies in the trash of a store is deleted, whatever else is asked about it; a draft of the shop's people is there.
#[tokio::test]
async fn what_lies_in_the_trash_is_not_there() {
    let sale = Sale::open().await;
    let store = &sale.harness.subject.store;
    let order = || {
        let lines = json!([{ "product_id": sale.mug.id, "quantity": 1 }]);
        store.insert_order(json!({ "status": "processing", "set_paid": true, "line_items": lines }))
    };
    let (kept, trashed, deleted) = (order(), order(), order());
    let refund = |order: u64| (order, store.insert_refund(order, json!({ "amount": "1.00" })));
    let refunds = [refund(kept), refund(trashed), refund(deleted)];
    let draft = store.insert_product(json!({ "name": "Plan", "status": "draft" }));
    let old = store.insert_product(json!({ "name": "Old", "sku": "OLD", "regular_price": "1" }));
    store.trash_order(trashed);
    store.delete_order(deleted);
    store.trash_product(old);
    store.delete_product(sale.red);
    let connector = &*sale.harness.connector;
    let texts = |ids: &[u64]| ids.iter().map(u64::to_string).collect::<Vec<_>>();

    let products = existing(
        connector,
        EntityType::Products,
        &texts(&[draft, old, sale.mug.id]),
    )
    .await;
    let orders = existing(connector, EntityType::Orders, &texts(&[kept, trashed, deleted])).await;
    let mut payments = texts(&[kept, trashed, deleted]);
    payments.extend(refunds.iter().map(|(order, refund)| format!("{order}/{refund}")));
    payments.push(format!("{kept}/99999999"));
    let payments = existing(connector, EntityType::Payments, &payments).await;
    let of_shirt = |variation: u64| format!("{}/{variation}", sale.shirt.id);
    let levels = [
        sale.mug.id.to_string(),
        old.to_string(),
        of_shirt(sale.blue),
        of_shirt(sale.red),
    ];
    let levels = existing(connector, EntityType::Inventory, &levels).await;

    assert_eq!(products, texts(&[draft, sale.mug.id]).into_iter().collect());
    assert_eq!(orders, texts(&[kept]).into_iter().collect());
    let kept_refund = format!("{kept}/{}", refunds[0].1);
    assert_eq!(payments, set(&[&kept.to_string(), &kept_refund]));
    assert_eq!(levels, set(&[&sale.mug.id.to_string(), &of_shirt(sale.blue)]));
}

/// What an ERP archived is there.
async fn what_is_archived_is_there<const MAJOR: u32>() {
    let harness = Harness::<Office<MAJOR>>::start().await;
    let erp = &harness.subject.erp;
    let [kept, archived, gone] = [0, 1, 2].map(|number| harness.subject.add(EntityType::Products, number));
    erp.update(
        "product.template",
        archived.parse().unwrap(),
        json!({ "active": false }),
    );
    let variant_of = |template: &str| -> String {
        let variants = erp.records("product.product");
        let found = variants
            .iter()
            .find(|variant| variant["product_tmpl_id"][0].as_i64() == template.parse().ok());
        found.expect("it has one")["id"].to_string()
    };
    let variants = [&kept, &archived, &gone].map(|template| variant_of(template));
    harness.subject.remove(EntityType::Products, &gone);
    let connector = &*harness.connector;

    let products = [kept, archived, gone];
    let there = existing(connector, EntityType::Products, &products).await;
    let counted = existing(connector, EntityType::Inventory, &variants).await;

    assert_eq!(there, products[..2].iter().cloned().collect());
    assert_eq!(counted, variants[..2].iter().cloned().collect());
}

for_each_office! { what_is_archived_is_there }
