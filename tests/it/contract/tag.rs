//! Tags: one word has one tag, and a product has those that its record names.

use lockstep_shared::entity::Content;
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::Write;
use serde_json::{Value, json};

use super::content::{changed, plain};
use super::harness::{Harness, create, update};
use super::subject::{Shop, Subject};

const PRODUCTS: EntityType = EntityType::Products;

fn tagged(number: usize, tags: &[&str]) -> Content {
    changed(&plain(PRODUCTS, number), |json| json["tags"] = json!(tags))
}

#[tokio::test]
async fn the_tags_that_many_products_share_are_made_once() {
    let harness = Harness::<Shop>::start().await;
    let writes: Vec<Write> = (0..30)
        .map(|number| create(&tagged(number, &["Wool & Silk", &format!("No {}", number % 3)])))
        .collect();

    let mut fates = harness.push(PRODUCTS, writes.clone()).await;

    for write in &writes {
        let placed = fates.remove(&write.record).expect("a fate").placed();
        harness.assert_holds(write, &placed).await;
    }
    assert_eq!(harness.subject.store.tags().len(), 4);
    assert_eq!(harness.subject.ledger().created("tag"), 4);
}

#[tokio::test]
async fn tags_come_and_go_and_those_that_are_there_are_used() {
    let harness = Harness::<Shop>::start().await;
    harness.subject.store.insert_tag(json!({"name": "Wool & Silk"}));
    // Made by hand, with a slug of its own: the older of the two is meant.
    harness
        .subject
        .store
        .insert_tag(json!({"name": "Wool & Silk", "slug": "other"}));
    let mut before = tagged(1, &["Wool & Silk"]);
    let write = create(&before);
    let placed = harness.write(&write).await;
    harness.assert_holds(&write, &placed).await;
    assert_eq!(harness.subject.store.tags().len(), 2);

    for tags in [&["New", "Wool & Silk"][..], &["New"], &[], &["Old"]] {
        let after = tagged(1, tags);
        let change = update(write.record, &placed, &before, &after);
        harness.write(&change).await;
        harness.assert_holds(&change, &placed).await;
        before = after;
    }
    assert_eq!(harness.subject.store.tags().len(), 4);
}

/// The store's spelling stays; what it holds is told, so that its spelling is no change.
#[tokio::test]
async fn a_tag_of_another_case_is_the_same_tag() {
    let harness = Harness::<Shop>::start().await;
    harness.subject.store.insert_tag(json!({"name": "summer"}));
    let write = create(&tagged(1, &["SUMMER"]));
    let requests = harness.plan(PRODUCTS, vec![write.clone()]).await.expect("a plan");

    let outcomes = harness.send(&requests[0]).await.expect("an answer");

    let lockstep_worker::connector::Outcome::Applied {
        held, external_id, ..
    } = &outcomes[0]
    else {
        panic!("not {outcomes:?}")
    };
    let theirs = harness.refreshed(&write, external_id).await;
    assert_eq!(held.as_ref(), theirs.content.as_ref().ok());
    let tags = theirs.content.expect("valid").to_json()["tags"].clone();
    assert_eq!(tags, json!(["summer"]));
    let names: Vec<Value> = harness
        .subject
        .store
        .tags()
        .iter()
        .map(|tag| tag["name"].clone())
        .collect();
    assert_eq!(names, ["summer"]);
}
