//! Products with variants: they come, go and change, and a product that is half there is completed.

use std::collections::BTreeMap;

use lockstep_sandbox::fault::Fault;
use lockstep_shared::entity::{Content, PartKey, fields_of};
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::{Action, CallError, Outcome, Purpose, Reach, Sighting, Step, Write};
use serde_json::json;

use super::content::{changed, plain, renamed, shirt, usd};
use super::harness::{Harness, Placed, continued, create, update, wanted};
use super::subject::Subject;

const PRODUCTS: EntityType = EntityType::Products;

/// Asserts that each variant is there once, and nothing else is.
async fn assert_whole<S: Subject>(harness: &Harness<S>, write: &Write, external_id: &str) {
    let theirs = harness.refreshed(write, external_id).await;
    let expected = harness.connector.project(&write.content);
    assert_eq!(theirs.content.as_ref(), Ok(&expected));
    let Content::Product(product) = expected else {
        unreachable!("a product")
    };
    if !product.is_simple() {
        let keys: Vec<PartKey> = product
            .variants
            .iter()
            .map(lockstep_shared::entity::Variant::key)
            .collect();
        let parts: Vec<PartKey> = theirs.parts.keys().cloned().collect();
        assert_eq!(parts, keys);
    }
    assert_eq!(harness.subject.ledger().duplicates(), []);
}

/// Takes a product through contents, one update each.
async fn go_through<S: Subject>(contents: &[Content]) {
    let harness = Harness::<S>::start().await;
    let write = create(&contents[0]);
    let mut placed = harness.write(&write).await;
    for (from, to) in contents.iter().zip(&contents[1..]) {
        let change = update(write.record, &placed, from, to);

        placed = harness.write(&change).await;

        assert_whole(&harness, &change, &placed.external_id).await;
        let theirs = harness.refreshed(&change, &placed.external_id).await;
        placed.parts = theirs.parts;
    }
}

async fn variants_come_go_and_come_back<S: Subject>() {
    go_through::<S>(&[
        shirt(1, &[("Blue", "10"), ("Red", "12")]),
        shirt(1, &[("Blue", "10"), ("Green", "11"), ("Red", "12")]),
        shirt(1, &[("Blue", "10"), ("Green", "11")]),
        shirt(1, &[("Blue", "10")]),
        shirt(1, &[("Blue", "10"), ("Red", "12")]),
        shirt(1, &[("Tan", "10"), ("Violet", "12")]),
        shirt(
            1,
            &[
                ("Blue", "9"),
                ("Green", "9"),
                ("Red", "9"),
                ("Tan", "8"),
                ("Violet", "7"),
            ],
        ),
    ])
    .await;
}

async fn prices_of_variants_change<S: Subject>() {
    go_through::<S>(&[
        shirt(1, &[("Blue", "10"), ("Red", "12")]),
        shirt(1, &[("Blue", "10"), ("Red", "13.5")]),
        shirt(1, &[("Blue", "20"), ("Red", "13.5")]),
        shirt(1, &[("Blue", "0"), ("Red", "0.01")]),
        shirt(1, &[("Blue", "19.999"), ("Red", "19.999")]),
    ])
    .await;
}

async fn a_variants_own_fields_change<S: Subject>() {
    let first = shirt(1, &[("Blue", "10"), ("Red", "12")]);
    let set = |path: &'static str, value: serde_json::Value| {
        move |content: &Content| changed(content, |json| json["variants"][0][path] = value)
    };
    let with_sku = set("sku", json!("NEW-SKU"))(&first);
    let with_weight = set("weight_kg", json!("1.25"))(&with_sku);
    let with_barcode = set("barcode", json!("4006381333931"))(&with_weight);
    let without = changed(&with_barcode, |json| {
        let variant = json["variants"][0].as_object_mut().expect("an object");
        for field in ["sku", "weight_kg", "barcode"] {
            variant.remove(field);
        }
    });
    go_through::<S>(&[first.clone(), with_sku, with_weight, with_barcode, without, first]).await;
}

async fn what_all_variants_share_changes<S: Subject>() {
    let first = shirt(1, &[("Blue", "10"), ("Red", "12")]);
    let steps = [
        renamed(&first, "Renamed & <b>"),
        changed(&first, |json| json["tracks_stock"] = json!(true)),
        changed(&first, |json| json["kind"] = json!("service")),
        changed(&first, |json| json["status"] = json!("private")),
        changed(&first, |json| json["status"] = json!("draft")),
        first.clone(),
    ];
    // What the system can't hold is no difference there.
    let harness = Harness::<S>::start().await;
    let contents: Vec<Content> = [first]
        .iter()
        .chain(&steps)
        .map(|content| harness.connector.project(content))
        .collect();
    go_through::<S>(&contents).await;
}

/// R24 has no place here: what the shop's people added is theirs.
async fn a_variant_that_we_do_not_know_stays<S: Subject>() {
    let harness = Harness::<S>::start().await;
    let small = shirt(1, &[("Blue", "10"), ("Red", "12")]);
    let large = shirt(1, &[("Blue", "10"), ("Green", "11"), ("Red", "12")]);
    let write = create(&large);
    let placed = harness.write(&write).await;
    let green = PartKey::of(&[lockstep_shared::entity::Attribute {
        name: "Color".to_owned(),
        option: "Green".to_owned(),
    }]);
    let mut known = placed.clone();
    known
        .parts
        .remove(&green)
        .expect("it has a part for each variant");
    let to = changed(&small, |json| json["variants"][0]["sku"] = json!("NEW-SKU"));
    let change = update(write.record, &known, &small, &to);

    harness.write(&change).await;

    let theirs = harness.refreshed(&change, &placed.external_id).await;
    assert_eq!(theirs.parts.get(&green), placed.parts.get(&green));
    let expected = changed(&large, |json| json["variants"][0]["sku"] = json!("NEW-SKU"));
    assert_eq!(theirs.content, Ok(harness.connector.project(&expected)));
}

/// What a sequence of requests for one write came to.
struct Progress {
    write: Write,
    sent: usize,
}

impl Progress {
    /// Sends up to so many requests of a write; says whether it is done.
    async fn run<S: Subject>(&mut self, harness: &Harness<S>, limit: usize) -> Option<Placed> {
        while self.sent < limit {
            let requests = harness
                .plan(PRODUCTS, vec![self.write.clone()])
                .await
                .expect("a plan");
            assert_eq!(requests.len(), 1);
            let mut outcomes = harness.send(&requests[0]).await.expect("an answer");
            self.sent += 1;
            match outcomes.remove(0) {
                Outcome::Applied {
                    external_id,
                    parts,
                    next: Some(step),
                    ..
                } => self.write = continued(self.write.clone(), external_id, parts, step),
                Outcome::Applied {
                    external_id, parts, ..
                } => return Some(Placed { external_id, parts }),
                other => panic!("{other:?}"),
            }
        }
        None
    }
}

/// Writes a thing again as the worker does after a crash: by what a look-up finds.
async fn complete<S: Subject>(
    harness: &Harness<S>,
    write: &Write,
    since: chrono::DateTime<chrono::Utc>,
) -> Placed {
    let again = match harness
        .look_up_one(wanted(write, Purpose::InDoubt { since }))
        .await
    {
        Sighting::Missing => write.clone(),
        Sighting::One(theirs) => {
            assert_eq!(theirs.marker, Some(write.record), "R13");
            Write {
                action: Action::Update {
                    external_id: theirs.external_id,
                    parts: theirs.parts,
                    changed: fields_of(&write.content).0.into_keys().collect(),
                },
                step: Step::default(),
                ..write.clone()
            }
        }
        other => panic!("R13: {other:?}"),
    };
    harness.write(&again).await
}

/// R13: a process killed between any two of its requests leaves nothing half and nothing twice.
async fn a_create_that_stopped_between_two_steps_is_completed<S: Subject>() {
    let content = shirt(1, &[("Blue", "10"), ("Green", "11"), ("Red", "12")]);
    for stop in 0.. {
        let mut harness = Harness::<S>::start().await;
        let since = chrono::Utc::now();
        let write = create(&content);
        let mut progress = Progress {
            write: write.clone(),
            sent: 0,
        };
        let is_over = progress.run(&harness, stop).await.is_some();
        harness.reconnect();

        let placed = complete(&harness, &write, since).await;

        assert_whole(&harness, &write, &placed.external_id).await;
        assert_eq!(harness.subject.count(PRODUCTS), 1, "R13");
        if is_over {
            assert!(stop >= 2, "a product with variants takes several requests");
            return;
        }
    }
}

/// R13: the same, with a reply lost at each step.
async fn a_create_of_which_a_reply_was_lost_is_completed<S: Subject>() {
    let content = shirt(1, &[("Blue", "10"), ("Green", "11"), ("Red", "12")]);
    for stop in 0.. {
        let mut harness = Harness::<S>::start().await;
        let since = chrono::Utc::now();
        let write = create(&content);
        let mut progress = Progress {
            write: write.clone(),
            sent: 0,
        };
        if progress.run(&harness, stop).await.is_some() {
            assert!(stop >= 2, "a product with variants takes several requests");
            return;
        }
        harness.fault_on_writes(Fault::LostReply, Some(1));
        let requests = harness
            .plan(PRODUCTS, vec![progress.write.clone()])
            .await
            .expect("a plan");
        let lost = harness.send(&requests[0]).await;
        assert!(
            matches!(
                lost,
                Err(CallError::Unwell {
                    reach: Reach::InDoubt,
                    ..
                })
            ),
            "R13: {lost:?}"
        );
        harness.reconnect();

        let placed = complete(&harness, &write, since).await;

        assert_whole(&harness, &write, &placed.external_id).await;
        assert_eq!(harness.subject.count(PRODUCTS), 1, "R13");
    }
}

/// R13: the very request whose reply was lost may also be planned anew, for the step that it was.
async fn a_step_can_be_repeated<S: Subject>() {
    let content = shirt(1, &[("Blue", "10"), ("Green", "11"), ("Red", "12")]);
    let harness = Harness::<S>::start().await;
    let write = create(&content);
    let mut progress = Progress {
        write: write.clone(),
        sent: 0,
    };
    let first = progress.run(&harness, 1).await;
    assert_eq!(first, None, "a product with variants takes several requests");
    for limit in 2.. {
        let repeated = progress.write.clone();
        let done = progress.run(&harness, limit).await;

        let mut again = Progress {
            write: repeated,
            sent: 0,
        };
        again.run(&harness, 1).await;

        if let Some(placed) = done {
            assert_whole(&harness, &write, &placed.external_id).await;
            return;
        }
    }
}

/// R36: the steps of many products go together where the system can do that.
async fn products_with_variants_share_their_first_request<S: Subject>() {
    let harness = Harness::<S>::start().await;
    let contents = (0..20).map(|number| shirt(number, &[("Blue", "10"), ("Red", "12")]));
    let writes: Vec<Write> = contents.map(|content| create(&content)).collect();

    let requests = harness.plan(PRODUCTS, writes.clone()).await.expect("a plan");
    let fates = harness.push(PRODUCTS, writes.clone()).await;

    assert_eq!(requests.len(), 1, "R36");
    let mut ids = BTreeMap::new();
    for write in &writes {
        let placed = fates[&write.record].clone().placed();
        assert_whole(&harness, write, &placed.external_id).await;
        ids.insert(placed.external_id, write.record);
    }
    assert_eq!(ids.len(), writes.len());
}

/// A simple product may get variants later; where the system can't do that, it says so and nothing breaks.
async fn a_simple_product_gets_variants_or_says_why_not<S: Subject>() {
    let harness = Harness::<S>::start().await;
    let from = plain(PRODUCTS, 1);
    let to = changed(&from, |json| {
        json["variants"] = json!([
            {"attributes": [{"name": "Color", "option": "Blue"}], "sku": "THING-1", "price": usd("12.50")},
            {"attributes": [{"name": "Color", "option": "Red"}], "sku": "THING-1-R", "price": usd("13")},
        ]);
    });
    let write = create(&from);
    let placed = harness.write(&write).await;
    let change = update(write.record, &placed, &from, &to);

    let (_, fate) = harness
        .push(PRODUCTS, vec![change.clone()])
        .await
        .pop_first()
        .expect("a fate");

    match fate {
        super::harness::Fate::Placed(placed) => assert_whole(&harness, &change, &placed.external_id).await,
        super::harness::Fate::Rejected(_) => assert_whole(&harness, &write, &placed.external_id).await,
        other => panic!("{other:?}"),
    }
}

for_each_system! {
    variants_come_go_and_come_back,
    prices_of_variants_change,
    a_variants_own_fields_change,
    what_all_variants_share_changes,
    a_variant_that_we_do_not_know_stays,
    a_create_that_stopped_between_two_steps_is_completed,
    a_create_of_which_a_reply_was_lost_is_completed,
    a_step_can_be_repeated,
    products_with_variants_share_their_first_request,
    a_simple_product_gets_variants_or_says_why_not,
}
