//! Changing and taking out of use.

use lockstep_shared::entity::{Content, Product, fields_of};
use lockstep_shared::id::RecordId;
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::{Action, Parts, Sighting, Write};
use serde_json::json;

use super::content::{changed, composed, plain, renamed, shirt, tricky, usd};
use super::harness::{Fate, Harness, Placed, create, delete, refresh, update};
use super::subject::Subject;

/// From each content to the next and all the way back; what variants do stands with the variants.
async fn every_field_can_be_set_changed_and_cleared<S: Subject>(entity: EntityType) {
    let is_simple =
        |content: &Content| !matches!(content, Content::Product(product) if !Product::is_simple(product));
    let contents: Vec<Content> = tricky(entity).into_iter().filter(is_simple).collect();
    let harness = Harness::<S>::start().await;
    let write = create(&plain(entity, 1));
    let placed = harness.write(&write).await;
    let mut present = harness.connector.project(&write.content);
    for next in contents.iter().chain(contents.iter().rev()) {
        let to = harness.connector.project(next);
        let change = update(write.record, &placed, &present, &to);

        let after = harness.write(&change).await;

        assert_eq!(after.external_id, placed.external_id);
        harness.assert_holds(&change, &after).await;
        present = to;
    }
    assert_eq!(harness.subject.ledger().duplicates(), []);
}

/// R17: what no record holds, and what others changed meanwhile, is not ours to touch.
async fn an_update_writes_the_changed_fields_alone<S: Subject>(entity: EntityType) {
    for (content, to) in [
        (plain(entity, 1), one_field_changed(&plain(entity, 1))),
        (composed(entity, 2), one_field_changed(&composed(entity, 2))),
    ] {
        let harness = Harness::<S>::start().await;
        let write = create(&content);
        let placed = harness.write(&write).await;
        harness.subject.note(entity, &placed.external_id, "Ünmapped & 张");
        harness.subject.rename(entity, &placed.external_id, "By People");
        harness.subject.annotate(entity, &placed.external_id, "99");
        let before = harness
            .refreshed(&write, &placed.external_id)
            .await
            .content
            .expect("a record");
        let change = update(write.record, &placed, &content, &to);

        harness.write(&change).await;

        let theirs = harness.refreshed(&change, &placed.external_id).await;
        let mut expected = fields_of(&before);
        for path in fields_of(&content).differing(&fields_of(&to)) {
            expected.set(&path, fields_of(&to).get(&path).cloned());
        }
        assert_ne!(before, harness.connector.project(&content));
        assert_eq!(theirs.content, expected.into_content(entity));
        assert_eq!(
            harness.subject.noted(entity, &placed.external_id),
            "Ünmapped & 张"
        );
    }
}

fn one_field_changed(content: &Content) -> Content {
    match content {
        Content::Customer(_) => changed(content, |json| json["company"] = json!("Changed & Co")),
        Content::Product(_) => changed(content, |json| json["variants"][0]["price"] = usd("77")),
        _ => unreachable!("their rules are elsewhere"),
    }
}

async fn an_update_of_a_thing_that_is_so_already_changes_nothing<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    for content in [plain(entity, 1), composed(entity, 2)] {
        let write = create(&content);
        let placed = harness.write(&write).await;
        harness.subject.ledger().reset();
        let changed = fields_of(&content).0.into_keys().collect();
        let again = Write {
            action: Action::Update {
                external_id: placed.external_id.clone(),
                parts: placed.parts.clone(),
                changed,
            },
            ..write.clone()
        };

        let after = harness.write(&again).await;

        assert_eq!(after, placed);
        let effects = harness.subject.ledger().effects();
        assert!(effects.iter().all(|effect| !effect.changed), "{effects:?}");
        harness.assert_holds(&write, &placed).await;
    }
}

async fn a_delete_takes_the_thing_out_of_use_and_can_be_repeated<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    for content in [plain(entity, 1), composed(entity, 2)] {
        let write = create(&content);
        let placed = harness.write(&write).await;
        let removal = delete(write.record, &placed, &content);

        for _ in 0..2 {
            let after = harness.write(&removal).await;

            assert_eq!(after.external_id, placed.external_id);
            let sighting = harness.look_up_one(refresh(&write, &placed.external_id)).await;
            let is_out_of_use = match &sighting {
                Sighting::Missing => true,
                Sighting::One(theirs) => theirs
                    .content
                    .as_ref()
                    .is_ok_and(|content| !content.is_wanted_when_new()),
                Sighting::Many(_) | Sighting::NotAsked => false,
            };
            assert!(is_out_of_use, "{sighting:?}");
        }
    }
}

async fn a_thing_that_is_gone_is_missing_and_an_update_of_it_rejected<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let id = harness.subject.add(entity, 1);
    harness.subject.remove(entity, &id);
    let (content, placed) = (
        plain(entity, 1),
        Placed {
            external_id: id.clone(),
            parts: Parts::new(),
        },
    );
    let write = update(RecordId::random(), &placed, &content, &renamed(&content, "New"));

    let sighting = harness.look_up_one(refresh(&write, &id)).await;
    let (_, fate) = harness
        .push(entity, vec![write])
        .await
        .pop_first()
        .expect("a fate");

    assert!(matches!(sighting, Sighting::Missing), "{sighting:?}");
    let Fate::Rejected(refusal) = fate else {
        panic!("{fate:?}")
    };
    assert!(
        !refusal.code.is_empty() && !refusal.message.is_empty(),
        "{refusal:?}"
    );
}

/// The whole of a product may change at once: its texts and its variants.
async fn texts_and_variants_change_together<S: Subject>() {
    let harness = Harness::<S>::start().await;
    let from = shirt(1, &[("Blue", "10"), ("Red", "12"), ("Tan", "14")]);
    let to = renamed(
        &shirt(1, &[("Blue", "11"), ("Green", "9"), ("Red", "12")]),
        "Blouse",
    );
    let write = create(&from);
    let placed = harness.write(&write).await;
    let change = update(write.record, &placed, &from, &to);

    let after = harness.write(&change).await;

    let theirs = harness.refreshed(&change, &after.external_id).await;
    assert_eq!(theirs.content, Ok(harness.connector.project(&to)));
    assert_eq!(harness.subject.ledger().duplicates(), []);
}

async fn a_product_that_was_archived_comes_back_with_its_variants<S: Subject>() {
    let harness = Harness::<S>::start().await;
    for content in [plain(EntityType::Products, 1), composed(EntityType::Products, 2)] {
        let write = create(&content);
        let placed = harness.write(&write).await;
        harness.write(&delete(write.record, &placed, &content)).await;
        let archived = changed(&content, |json| json["status"] = json!("archived"));
        let revival = update(write.record, &placed, &archived, &content);

        let after = harness.write(&revival).await;

        assert_eq!(after, placed);
        harness.assert_holds(&write, &placed).await;
    }
    assert_eq!(harness.subject.ledger().duplicates(), []);
}

for_each_entity! {
    every_field_can_be_set_changed_and_cleared,
    an_update_writes_the_changed_fields_alone,
    an_update_of_a_thing_that_is_so_already_changes_nothing,
    a_delete_takes_the_thing_out_of_use_and_can_be_repeated,
    a_thing_that_is_gone_is_missing_and_an_update_of_it_rejected,
}

for_each_system! {
    texts_and_variants_change_together,
    a_product_that_was_archived_comes_back_with_its_variants,
}
