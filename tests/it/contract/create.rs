//! Creating: a second try makes no second thing, and a key that is in use is told.

use lockstep_shared::entity::Content;
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::{Purpose, Sighting};
use serde_json::json;

use super::content::{changed, composed, keyless, plain, tricky, usd};
use super::harness::{Fate, Harness, create, wanted};
use super::subject::Subject;

/// R13: the system's own keys catch what is sent twice.
async fn creating_a_record_again_makes_no_second_thing<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let shapes = tricky(entity).into_iter();
    let others = [plain(entity, 1), composed(entity, 2), keyless(entity, 3)];
    let unique: Vec<Content> = shapes.chain(others).filter(S::is_unique).collect();
    assert!(unique.len() > 5);
    for content in unique {
        let write = create(&harness.connector.project(&content));
        let first = harness.write(&write).await;
        let count = harness.subject.count(entity);

        let (_, second) = harness
            .push(entity, vec![write.clone()])
            .await
            .pop_first()
            .expect("a fate");

        let found = match second {
            Fate::Placed(placed) => Some(placed.external_id),
            Fate::Taken { external_id, .. } => external_id,
            other => panic!("{other:?} for {content:?}"),
        };
        assert!(found.is_none_or(|id| id == first.external_id), "{content:?}");
        assert_eq!(harness.subject.count(entity), count, "{content:?}");
        harness.assert_holds(&write, &first).await;
    }
    assert_eq!(harness.subject.ledger().duplicates(), []);
}

/// A duplicate key that is plainly the same thing can be adopted, because it is found.
async fn what_has_our_key_already_is_found<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let theirs = harness.subject.add(entity, 1);
    harness.subject.add(entity, 2);
    let ours = match entity {
        EntityType::Customers => changed(&plain(entity, 1), |json| {
            json["email"] = json!("Theirs-1@Example.COM");
        }),
        EntityType::Products => changed(&plain(entity, 1), |json| {
            json["variants"][0]["sku"] = json!("theirs-1");
        }),
        _ => unreachable!("their rules are elsewhere"),
    };
    let write = create(&ours);

    let purpose = if S::can_look_before(entity) {
        Purpose::BeforeCreate
    } else {
        // Its own keys say no, and then it is asked for.
        let before = harness.subject.count(entity);
        let (_, fate) = harness
            .push(entity, vec![write.clone()])
            .await
            .pop_first()
            .expect("a fate");
        assert!(matches!(fate, Fate::Taken { .. }), "{fate:?}");
        assert_eq!(harness.subject.count(entity), before);
        Purpose::InDoubt {
            since: chrono::DateTime::UNIX_EPOCH,
        }
    };
    let sighting = harness.look_up_one(wanted(&write, purpose)).await;

    let Sighting::One(found) = sighting else {
        panic!("{sighting:?}")
    };
    assert_eq!((found.external_id, found.marker), (theirs, None));
}

/// What carries the marker of a record is told from what a person made.
async fn what_we_made_is_known_by_its_record<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let write = create(&plain(entity, 1));
    let placed = harness.write(&write).await;
    let mut other = create(&plain(entity, 1));
    other.item = write.item;

    let since = chrono::DateTime::UNIX_EPOCH;
    let sighting = harness
        .look_up_one(wanted(&other, Purpose::InDoubt { since }))
        .await;

    let Sighting::One(found) = sighting else {
        panic!("{sighting:?}")
    };
    assert_eq!(
        (found.external_id, found.marker),
        (placed.external_id, Some(write.record))
    );
}

async fn what_is_nowhere_is_missing<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    harness.subject.add(entity, 1);
    let write = create(&plain(entity, 1));

    let before = harness.look_up_one(wanted(&write, Purpose::BeforeCreate)).await;

    if S::can_look_before(entity) {
        assert!(matches!(before, Sighting::Missing), "{before:?}");
    } else {
        assert!(matches!(before, Sighting::NotAsked), "{before:?}");
    }
}

/// A taken SKU or barcode is no failure of the request and nothing is written.
async fn a_unique_key_in_use_is_told_as_taken<S: Subject>() {
    let harness = Harness::<S>::start().await;
    let coded = |name: &str, sku: &str| {
        let variants = json!([{"sku": sku, "barcode": "4006381333931", "price": usd("1")}]);
        super::content::product_of(json!({"name": name, "variants": variants}))
    };
    let first = create(&coded("First", "A"));
    let placed = harness.write(&first).await;
    let (second, third) = (
        create(&coded("Second", "B")),
        create(&plain(EntityType::Products, 3)),
    );

    let fates = harness
        .push(EntityType::Products, vec![second.clone(), third.clone()])
        .await;

    let Fate::Taken { external_id, refusal } = &fates[&second.record] else {
        panic!("{fates:?}")
    };
    assert!(
        !refusal.code.is_empty() && !refusal.message.is_empty(),
        "{refusal:?}"
    );
    assert!(external_id.as_ref().is_none_or(|id| *id == placed.external_id));
    assert!(matches!(fates[&third.record], Fate::Placed(_)), "{fates:?}");
    let found = harness
        .look_up_one(wanted(
            &second,
            Purpose::InDoubt {
                since: chrono::Utc::now(),
            },
        ))
        .await;
    let is_found = matches!(&found, Sighting::One(theirs) if theirs.external_id == placed.external_id);
    assert!(is_found || external_id.is_some(), "{found:?}");
}

/// What can't be held is known before anything is sent.
async fn a_foreign_currency_is_refused_in_advance<S: Subject>() {
    let harness = Harness::<S>::start().await;
    let content = super::content::product_of(json!({
        "name": "Euro", "variants": [{"price": {"amount": "1", "currency": "EUR"}}]
    }));

    let refusal = harness.connector.refuses(&content);

    assert!(refusal.is_some());
    assert_eq!(harness.arrivals(), 0);
}

/// Options that are all markup would be lost, and their variants become one.
async fn variants_that_can_be_told_apart_nowhere_are_refused_or_kept_apart<S: Subject>() {
    let harness = Harness::<S>::start().await;
    let option =
        |option: &str| json!({"attributes": [{"name": "Color", "option": option}], "price": usd("1")});
    for options in [
        ["<b>", "<i>"],
        ["Blue", "<b>Blue</b>"],
        ["Blue &amp; Red", "Blue & Red"],
    ] {
        let variants: Vec<_> = options.into_iter().map(option).collect();
        let content = super::content::product_of(json!({"name": "Unfit", "variants": variants}));
        if harness.connector.refuses(&content).is_some() {
            continue;
        }
        let write = create(&harness.connector.project(&content));

        let placed = harness.write(&write).await;

        harness.assert_holds(&write, &placed).await;
    }
}

for_each_entity! {
    creating_a_record_again_makes_no_second_thing,
    what_has_our_key_already_is_found,
    what_we_made_is_known_by_its_record,
    what_is_nowhere_is_missing,
}

for_each_system! {
    a_unique_key_in_use_is_told_as_taken,
    a_foreign_currency_is_refused_in_advance,
    variants_that_can_be_told_apart_nowhere_are_refused_or_kept_apart,
}
