//! What is written is what is read, as far as the system can hold it.

use std::collections::BTreeMap;

use lockstep_shared::system::EntityType;
use lockstep_worker::connector::{Cursor, Sighting, Write};

use super::content::{keyless, plain, tricky};
use super::harness::{Harness, Placed, create, refresh};
use super::subject::Subject;

/// Writes every tricky content at once; returns what is where.
async fn written<S: Subject>(harness: &Harness<S>, entity: EntityType) -> Vec<(Write, Placed)> {
    let contents = tricky(entity);
    let writes: Vec<Write> = contents
        .iter()
        .map(|content| create(&harness.connector.project(content)))
        .collect();
    for write in &writes {
        let refusal = harness.connector.refuses(&write.content);
        assert_eq!(refusal, None, "{:?}", write.content);
    }
    let mut fates = harness.push(entity, writes.clone()).await;
    let placed = writes.into_iter().map(|write| {
        let fate = fates.remove(&write.record).expect("every write has a fate");
        (write, fate.placed())
    });
    placed.collect()
}

/// R17 rests on this: what came back changed would be written again by every sync.
async fn a_created_thing_is_looked_up_as_the_system_can_hold_it<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let things = written(&harness, entity).await;

    let wanted: Vec<_> = things
        .iter()
        .map(|(write, placed)| refresh(write, &placed.external_id))
        .collect();
    let found = harness.look_up(entity, &wanted).await;

    for ((write, placed), sighting) in things.iter().zip(found) {
        let Sighting::One(theirs) = sighting else {
            panic!("{sighting:?} for {:?}", write.content)
        };
        let expected = harness.connector.project(&write.content);
        assert_eq!(theirs.content.as_ref(), Ok(&expected), "for {:?}", write.content);
        assert_eq!(theirs.external_id, placed.external_id);
        assert_eq!(theirs.parts, placed.parts, "for {:?}", write.content);
    }
    assert_eq!(harness.subject.ledger().duplicates(), []);
}

/// R17 rests on this, as on the rule for look-ups.
async fn a_created_thing_is_pulled_as_the_system_can_hold_it<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let things = written(&harness, entity).await;

    let pulled = harness.pull(entity, &Cursor::default()).await;

    for (write, placed) in &things {
        let theirs = pulled.find(&placed.external_id);
        let expected = harness.connector.project(&write.content);
        assert_eq!(theirs.content.as_ref(), Ok(&expected), "for {:?}", write.content);
        assert_eq!(theirs.parts, placed.parts, "for {:?}", write.content);
    }
}

async fn what_was_pulled_is_in_the_form_in_which_records_are_compared<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    written(&harness, entity).await;
    harness.subject.add(entity, 1);

    let pulled = harness.pull(entity, &Cursor::default()).await;

    for theirs in pulled.seen {
        let content = theirs.content.expect("what we wrote can be read");
        assert_eq!(harness.connector.project(&content), content);
        assert_eq!(content.clone().canonical().as_ref(), Ok(&content));
    }
}

async fn a_thing_without_any_key_is_another_thing_each_time<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let before = harness.subject.count(entity);
    let writes: Vec<Write> = (0..3).map(|_| create(&keyless(entity, 7))).collect();

    let fates = harness.push(entity, writes).await;

    let ids: BTreeMap<_, _> = fates
        .into_iter()
        .map(|(record, fate)| (fate.placed().external_id, record))
        .collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(harness.subject.count(entity), before + 3);
}

async fn every_thing_of_a_request_gets_its_own_content<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    // Backwards and with another shape between them, so that no order but that of the writes fits.
    let contents = (0..30).rev().map(|number| match number % 3 {
        0 => keyless(entity, number),
        _ => plain(entity, number),
    });
    let writes: Vec<Write> = contents.map(|content| create(&content)).collect();

    let mut fates = harness.push(entity, writes.clone()).await;

    for write in &writes {
        let placed = fates
            .remove(&write.record)
            .expect("every write has a fate")
            .placed();
        harness.assert_holds(write, &placed).await;
    }
}

for_each_entity! {
    a_created_thing_is_looked_up_as_the_system_can_hold_it,
    a_created_thing_is_pulled_as_the_system_can_hold_it,
    what_was_pulled_is_in_the_form_in_which_records_are_compared,
    a_thing_without_any_key_is_another_thing_each_time,
    every_thing_of_a_request_gets_its_own_content,
}
