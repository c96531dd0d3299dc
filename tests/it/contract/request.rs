//! Requests that carry many writes.

use lockstep_shared::id::RecordId;
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::{Parts, Write};

use super::content::{CARRIED, composed, plain, renamed};
use super::harness::{Fate, Harness, Placed, create, refresh, update};
use super::subject::{Subject, thing};

/// R36: as many per call as the system takes; the harness asserts the limit and one outcome per write.
async fn many_creates_are_split_into_full_requests<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let limit = harness.connector.request_limit(entity);
    let writes: Vec<Write> = (0..limit + 20)
        .map(|number| create(&plain(entity, number)))
        .collect();

    let requests = harness.plan(entity, writes.clone()).await.expect("a plan");
    let mut fates = harness.push(entity, writes.clone()).await;

    assert_eq!(requests.len(), 2, "R36");
    assert_eq!(harness.subject.ledger().created(thing(entity)), writes.len());
    let placed: Vec<Placed> = writes
        .iter()
        .map(|write| fates.remove(&write.record).expect("a fate").placed())
        .collect();
    let wanted: Vec<_> = writes
        .iter()
        .zip(&placed)
        .map(|(write, placed)| refresh(write, &placed.external_id))
        .collect();
    for (write, sighting) in writes.iter().zip(harness.look_up(entity, &wanted).await) {
        let lockstep_worker::connector::Sighting::One(theirs) = sighting else {
            panic!("{sighting:?}")
        };
        assert_eq!(theirs.content, Ok(harness.connector.project(&write.content)));
    }
}

async fn the_same_fields_of_many_things_change_in_one_request<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let writes: Vec<Write> = (0..50).map(|number| create(&plain(entity, number))).collect();
    let fates = harness.push(entity, writes.clone()).await;
    let changes: Vec<Write> = writes
        .iter()
        .map(|write| {
            let placed = fates[&write.record].clone().placed();
            update(
                write.record,
                &placed,
                &write.content,
                &renamed(&write.content, "Renamed"),
            )
        })
        .collect();

    let requests = harness.plan(entity, changes.clone()).await.expect("a plan");
    let after = harness.push(entity, changes.clone()).await;

    assert_eq!(requests.len(), 1, "R36");
    for change in &changes {
        harness
            .assert_holds(change, &after[&change.record].clone().placed())
            .await;
    }
}

/// R8: one item's failure never fails the batch.
async fn one_thing_that_is_gone_does_not_harm_the_others<S: Subject>(entity: EntityType) {
    for place in [0, 3, 7] {
        let harness = Harness::<S>::start().await;
        let gone = harness.subject.add(entity, 1);
        harness.subject.remove(entity, &gone);
        let writes: Vec<Write> = (0..8).map(|number| create(&plain(entity, number))).collect();
        let fates = harness.push(entity, writes.clone()).await;
        let mut changes: Vec<Write> = writes
            .iter()
            .map(|write| {
                let placed = fates[&write.record].clone().placed();
                update(
                    write.record,
                    &placed,
                    &write.content,
                    &renamed(&write.content, "Renamed"),
                )
            })
            .collect();
        let placed = Placed {
            external_id: gone,
            parts: Parts::new(),
        };
        let content = plain(entity, 99);
        let bad = update(
            RecordId::random(),
            &placed,
            &content,
            &renamed(&content, "Renamed"),
        );
        changes.insert(place, bad.clone());

        let after = harness.push(entity, changes.clone()).await;

        for change in &changes {
            match &after[&change.record] {
                Fate::Placed(placed) => harness.assert_holds(change, placed).await,
                Fate::Rejected(_) if change.record == bad.record => {}
                other => panic!("{other:?} for {change:?}, R8"),
            }
        }
    }
}

/// R8, with the things that fit into no request of others.
async fn things_of_every_shape_go_together<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let contents = (0..6).flat_map(|number| [plain(entity, number), composed(entity, number)]);
    let mut writes: Vec<Write> = contents.map(|content| create(&content)).collect();
    let bad = harness.subject.add(entity, 1);
    harness.subject.remove(entity, &bad);
    let placed = Placed {
        external_id: bad,
        parts: Parts::new(),
    };
    let content = composed(entity, 99);
    let rejected = update(
        RecordId::random(),
        &placed,
        &content,
        &renamed(&content, "Renamed"),
    );
    writes.insert(4, rejected.clone());

    let fates = harness.push(entity, writes.clone()).await;

    for write in &writes {
        match &fates[&write.record] {
            Fate::Placed(placed) => harness.assert_holds(write, placed).await,
            Fate::Rejected(_) if write.record == rejected.record => {}
            other => panic!("{other:?} for {write:?}, R8"),
        }
    }
}

async fn no_writes_take_no_request<S: Subject>() {
    let harness = Harness::<S>::start().await;
    for entity in CARRIED {
        let requests = harness.plan(entity, Vec::new()).await.expect("a plan");
        let sightings = harness.look_up(entity, &[]).await;

        assert!(requests.is_empty() && sightings.is_empty());
    }
}

for_each_entity! {
    many_creates_are_split_into_full_requests,
    the_same_fields_of_many_things_change_in_one_request,
    one_thing_that_is_gone_does_not_harm_the_others,
    things_of_every_shape_go_together,
}

for_each_system! { no_writes_take_no_request }
