//! Pictures in a store: each is fetched once, whatever happens to it afterwards.

use chrono::Utc;
use lockstep_sandbox::fault::{Fault, Rule};
use lockstep_shared::entity::Content;
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::{Outcome, Purpose, Sighting, Write};
use serde_json::{Value, json};

use super::content::{changed, plain, renamed, shirt};
use super::harness::{Fate, Harness, Placed, continued, create, update, wanted};
use super::subject::{Shop, Subject};

const PRODUCTS: EntityType = EntityType::Products;

fn address(name: &str) -> String {
    format!("https://cdn.example.com/{name}.png?v=1")
}

/// A product with pictures of these names.
fn with(content: &Content, names: &[&str]) -> Content {
    let images: Vec<String> = names.iter().map(|name| address(name)).collect();
    changed(content, |json| json["images"] = json!(images))
}

fn pictured(number: usize, names: &[&str]) -> Content {
    with(&plain(PRODUCTS, number), names)
}

/// Where the pictures that a product has in the store came from, in their order.
fn shown(harness: &Harness<Shop>, placed: &Placed) -> Vec<String> {
    let id = placed.external_id.parse().expect("a number");
    let product = harness.subject.store.product(id).expect("it is there");
    let library = harness.subject.store.pictures();
    let images = product["images"].as_array().expect("a list").clone();
    images
        .iter()
        .map(|image| {
            let picture = library.iter().find(|one| one["id"] == image["id"]);
            let source = &picture.expect("it is in the library")["source"];
            source.as_str().expect("a text").to_owned()
        })
        .collect()
}

fn addresses(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| address(name)).collect()
}

/// Says whether a request has pictures fetched.
fn fetches(body: &Value) -> bool {
    body.to_string().contains("\"src\"")
}

#[tokio::test]
async fn a_picture_is_fetched_once_whatever_becomes_of_its_product() {
    let mut harness = Harness::<Shop>::start().await;
    let mut before = pictured(1, &["a", "b"]);
    let write = create(&before);
    let placed = harness.write(&write).await;
    harness.assert_holds(&write, &placed).await;
    assert_eq!(shown(&harness, &placed), addresses(&["a", "b"]));

    for (names, uploads) in [
        (&["b", "a"][..], 2),
        (&["b", "c", "a"], 3),
        (&["c"], 3),
        (&["c", "d"], 4),
        (&[], 4),
    ] {
        // Another worker goes on, which knows nothing yet.
        harness.reconnect();
        let after = renamed(&pictured(1, names), &format!("Now with {names:?}"));
        let change = update(write.record, &placed, &before, &after);

        harness.write(&change).await;

        harness.assert_holds(&change, &placed).await;
        assert_eq!(shown(&harness, &placed), addresses(names));
        assert_eq!(harness.subject.store.pictures().len(), uploads, "{names:?}");
        before = after;
    }
}

#[tokio::test]
async fn variants_and_pictures_are_put_on_one_after_the_other() {
    let harness = Harness::<Shop>::start().await;
    let first = with(&shirt(1, &[("Blue", "10"), ("Red", "12")]), &["a"]);
    let write = create(&first);
    let placed = harness.write(&write).await;
    harness.assert_holds(&write, &placed).await;

    let second = with(
        &shirt(1, &[("Blue", "10"), ("Red", "13"), ("Tan", "9")]),
        &["b", "a"],
    );
    let change = update(write.record, &placed, &first, &second);
    let now = harness.write(&change).await;
    harness.assert_holds(&change, &now).await;
    let third = with(&second, &["a"]);
    let alone = update(write.record, &now, &second, &third);
    let now = harness.write(&alone).await;

    harness.assert_holds(&alone, &now).await;
    assert_eq!(harness.subject.store.pictures().len(), 2);
    assert_eq!(harness.subject.ledger().duplicates(), []);
}

/// The store answers when it has fetched them all, so that many in one call would outlast it.
#[tokio::test]
async fn many_pictures_are_fetched_a_few_per_call_and_keep_their_order() {
    let harness = Harness::<Shop>::start().await;
    let names: Vec<String> = (0..12).map(|number| format!("p{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let write = create(&pictured(1, &names));

    let placed = harness.write(&write).await;

    harness.assert_holds(&write, &placed).await;
    assert_eq!(shown(&harness, &placed), addresses(&names));
    let arrivals = harness.subject.faults().arrivals();
    assert!(arrivals.len() < 15, "{} calls", arrivals.len());
    assert_eq!(harness.subject.store.pictures().len(), 12);
}

/// R36: what can share a call does. Rounds go as the worker's do: the next steps of all writes are planned together.
#[tokio::test]
async fn the_pictures_of_many_products_share_their_calls() {
    let harness = Harness::<Shop>::start().await;
    let mut round: Vec<Write> = (0..50)
        .map(|number| create(&pictured(number, &[format!("p{number}").as_str()])))
        .collect();

    while !round.is_empty() {
        let mut next = Vec::new();
        for request in harness.plan(PRODUCTS, round).await.expect("a plan") {
            let outcomes = harness.send(&request).await.expect("an answer");
            for (write, outcome) in request.writes.into_iter().zip(outcomes) {
                let Outcome::Applied {
                    external_id,
                    parts,
                    next: step,
                    ..
                } = outcome
                else {
                    panic!("not {outcome:?}")
                };
                next.extend(step.map(|step| continued(write, external_id, parts, step)));
            }
        }
        round = next;
    }

    // One makes them all, ten have five pictures fetched each, one notes their ids; a look goes before each of the latter.
    assert_eq!(harness.arrivals(), 14);
    assert_eq!(harness.subject.store.pictures().len(), 50);
    let products = harness.subject.store.products();
    assert!(products.iter().all(|product| product["images"][0]["id"].is_u64()));
}

/// What was carried out and had no answer is known again by its note, and nothing is fetched a second time.
#[tokio::test]
async fn pictures_whose_request_had_no_answer_are_not_fetched_again() {
    let mut harness = Harness::<Shop>::start().await;
    let before = plain(PRODUCTS, 1);
    let write = create(&before);
    let placed = harness.write(&write).await;
    let after = pictured(1, &["a", "b"]);
    let change = update(write.record, &placed, &before, &after);
    let since = Utc::now();
    harness.subject.faults().add(Rule {
        matches: Box::new(|request| fetches(&request.body)),
        fault: Fault::LostReply,
        times: Some(1),
    });
    let requests = harness
        .plan(PRODUCTS, vec![change.clone()])
        .await
        .expect("a plan");
    harness
        .send(&requests[0])
        .await
        .expect_err("R13: there is no answer");
    harness.reconnect();

    let sighting = harness
        .look_up_one(wanted(&change, Purpose::InDoubt { since }))
        .await;
    let Sighting::One(theirs) = sighting else {
        panic!("R13: {sighting:?}")
    };
    assert_eq!(
        theirs.content.as_ref(),
        Ok(&harness.connector.project(&after)),
        "R13"
    );
    let third = pictured(1, &["b", "c", "a"]);
    let again = update(write.record, &placed, &after, &third);
    harness.write(&again).await;

    harness.assert_holds(&again, &placed).await;
    assert_eq!(shown(&harness, &placed), addresses(&["b", "c", "a"]));
    assert_eq!(harness.subject.store.pictures().len(), 3, "R13: each once");
}

/// The product itself is there, the others of the request have theirs, and the picture follows once it can be had.
#[tokio::test]
async fn a_picture_that_can_t_be_fetched_keeps_nothing_else_back() {
    let harness = Harness::<Shop>::start().await;
    harness.subject.store.lose_picture(&address("gone"));
    let bad = create(&pictured(1, &["gone"]));
    let good = create(&pictured(2, &["fine"]));

    let mut fates = harness.push(PRODUCTS, vec![bad.clone(), good.clone()]).await;

    let fate = fates.remove(&bad.record).expect("a fate");
    let Fate::Transient(refusal) = fate else {
        panic!("not {fate:?}")
    };
    assert_eq!(refusal.code, "woocommerce_product_image_upload_error");
    let placed = fates.remove(&good.record).expect("a fate").placed();
    harness.assert_holds(&good, &placed).await;
    let products = harness.subject.store.products();
    let made = products.iter().find(|product| product["sku"] == "THING-1");
    let made = made.expect("it is there without its picture");
    assert_eq!(made["images"], json!([]));

    harness.subject.store.find_pictures();
    let there = Placed {
        external_id: made["id"].to_string(),
        parts: std::collections::BTreeMap::new(),
    };
    let again = update(bad.record, &there, &plain(PRODUCTS, 1), &bad.content);
    harness.write(&again).await;
    harness.assert_holds(&again, &there).await;
}

/// What the shop's people put on a product is read under the store's address, and stays where it is named.
#[tokio::test]
async fn a_picture_of_the_shop_s_own_is_told_and_kept() {
    let harness = Harness::<Shop>::start().await;
    let id = harness.subject.store.insert_product(json!({
        "name": "Theirs", "sku": "THEIRS", "images": [{"src": address("x"), "alt": "A hat"}, {"src": address("y")}]
    }));
    let record = create(&plain(PRODUCTS, 1));
    let placed = Placed {
        external_id: id.to_string(),
        parts: std::collections::BTreeMap::new(),
    };
    let theirs = harness.refreshed(&record, &placed.external_id).await;
    let before = theirs.content.expect("valid");
    let Content::Product(product) = &before else {
        unreachable!("a product")
    };
    let base = harness.subject.store.base_url();
    assert_eq!(product.images.len(), 2);
    assert!(
        product.images.iter().all(|image| image.starts_with(&base)),
        "{product:?}"
    );

    let own = product.images[0].clone();
    let after = changed(&before, |json| json["images"] = json!([address("new"), own]));
    let change = update(record.record, &placed, &before, &after);
    harness.write(&change).await;

    harness.assert_holds(&change, &placed).await;
    assert_eq!(shown(&harness, &placed), addresses(&["new", "x"]));
    assert_eq!(harness.subject.store.pictures().len(), 3);
    let kept = &harness.subject.store.product(id).expect("it is there")["images"][1];
    assert_eq!(kept["alt"], "A hat");
    // They take ours for another one of theirs.
    let images = json!({"images": [{"src": address("z")}, {"id": kept["id"]}]});
    harness.subject.store.update_product(id, images);
    let theirs = harness.refreshed(&change, &placed.external_id).await;
    let Ok(Content::Product(product)) = theirs.content else {
        panic!("a product")
    };
    assert!(product.images[0].starts_with(&base), "{:?}", product.images);
}
