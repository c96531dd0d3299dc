//! Requests that had no answer, and what a look-up says about them; what a look-up costs.

use std::time::Duration;

use chrono::Utc;
use lockstep_sandbox::fault::Fault;
use lockstep_shared::entity::Content;
use lockstep_shared::system::EntityType;
use lockstep_tests::stack::eventually;
use lockstep_worker::connector::{CallError, Purpose, Reach, Sighting, Write};

use super::content::{composed, keyless, plain};
use super::harness::{Harness, Turnstile, create, refresh, wanted};
use super::subject::{Subject, thing};

fn shapes(entity: EntityType) -> Vec<Content> {
    vec![plain(entity, 1), keyless(entity, 2), composed(entity, 3)]
}

/// Sends the first request of a write, which gets no answer.
async fn send_into_the_dark<S: Subject>(harness: &Harness<S>, write: &Write) {
    let requests = harness
        .plan(write.content.entity(), vec![write.clone()])
        .await
        .expect("a plan");
    let result = harness.send(&requests[0]).await;
    let is_in_doubt = matches!(
        result,
        Err(CallError::Unwell {
            reach: Reach::InDoubt,
            ..
        })
    );
    assert!(is_in_doubt, "R13: {result:?}");
}

/// R13: the effect happened, the reply did not arrive.
async fn a_thing_whose_create_had_no_answer_is_found<S: Subject>(entity: EntityType) {
    for fault in [Fault::LostReply, Fault::Truncated] {
        for content in shapes(entity) {
            let mut harness = Harness::<S>::start().await;
            harness.subject.add(entity, 1);
            let since = Utc::now();
            let write = create(&content);
            harness.fault_on_writes(fault.clone(), Some(1));
            send_into_the_dark(&harness, &write).await;
            // Odoo's first step of a product with variants makes what products share; it is only repeated.
            let has_thing = harness.subject.ledger().created(thing(entity)) > 0;
            // Another worker looks.
            harness.reconnect();

            let sighting = harness
                .look_up_one(wanted(&write, Purpose::InDoubt { since }))
                .await;

            match sighting {
                Sighting::One(found) if has_thing => {
                    assert_eq!(found.marker, Some(write.record), "{content:?}");
                }
                Sighting::Missing if !has_thing => assert!(!content_is_simple(&content), "{content:?}"),
                other => panic!("R13: {other:?} for {content:?}"),
            }
        }
    }
}

fn content_is_simple(content: &Content) -> bool {
    match content {
        Content::Customer(_) => true,
        Content::Product(product) => product.is_simple(),
        _ => unreachable!("their rules are elsewhere"),
    }
}

/// R13: nothing happened, and the look-up says so.
async fn a_thing_whose_create_never_arrived_is_missing<S: Subject>(entity: EntityType) {
    for content in shapes(entity) {
        let harness = Harness::<S>::start().await;
        harness.subject.add(entity, 1);
        let since = Utc::now();
        let write = create(&content);
        harness.fault_on_writes(Fault::CutConnection, Some(1));
        send_into_the_dark(&harness, &write).await;

        let sighting = harness
            .look_up_one(wanted(&write, Purpose::InDoubt { since }))
            .await;

        assert!(
            matches!(sighting, Sighting::Missing),
            "{sighting:?} for {content:?}"
        );
    }
}

/// R13: the system goes on after the caller has gone; a look-up after that finds the thing.
async fn a_create_that_runs_on_is_found_in_the_end<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let since = Utc::now();
    let writes: Vec<Write> = (0..5).map(|number| create(&plain(entity, number))).collect();
    harness.fault_on_writes(Fault::RunsOn(Duration::from_millis(300)), Some(1));
    let requests = harness.plan(entity, writes.clone()).await.expect("a plan");
    assert!(harness.send(&requests[0]).await.is_err());
    let wanted: Vec<_> = writes
        .iter()
        .map(|write| wanted(write, Purpose::InDoubt { since }))
        .collect();

    eventually("all five to be there", || async {
        let found = harness.look_up(entity, &wanted).await;
        found
            .iter()
            .all(|sighting| matches!(sighting, Sighting::One(_)))
            .then_some(())
    })
    .await;

    assert_eq!(harness.subject.ledger().created(thing(entity)), 5, "R13");
    assert_eq!(harness.subject.ledger().duplicates(), []);
}

/// R13: what is repeated after a look-up said that it is missing makes one thing, and not two.
async fn repeating_after_a_look_up_makes_one_thing<S: Subject>(entity: EntityType) {
    for fault in [Fault::LostReply, Fault::CutConnection] {
        for content in shapes(entity).into_iter().filter(content_is_simple) {
            let harness = Harness::<S>::start().await;
            let before = harness.subject.count(entity);
            let since = Utc::now();
            let write = create(&content);
            harness.fault_on_writes(fault.clone(), Some(1));
            send_into_the_dark(&harness, &write).await;
            if let Sighting::Missing = harness
                .look_up_one(wanted(&write, Purpose::InDoubt { since }))
                .await
            {
                harness.write(&write).await;
            }

            // A customer's delivery address is a partner too, but these have none.
            assert_eq!(harness.subject.count(entity), before + 1, "R13: {content:?}");
            assert_eq!(harness.subject.ledger().duplicates(), []);
        }
    }
}

/// Answers stand where their questions did, whatever each is about.
async fn sightings_stand_in_the_order_of_what_was_wanted<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let writes: Vec<Write> = (0..6).map(|number| create(&plain(entity, number))).collect();
    let fates = harness.push(entity, writes.clone()).await;
    let id = |write: &Write| fates[&write.record].clone().placed().external_id;
    let since = Utc::now() - chrono::TimeDelta::hours(1);
    let stranger = create(&plain(entity, 77));
    let asked = vec![
        refresh(&writes[3], &id(&writes[3])),
        wanted(&stranger, Purpose::InDoubt { since }),
        wanted(&writes[5], Purpose::InDoubt { since }),
        refresh(&writes[1], "987654"),
        refresh(&writes[0], &id(&writes[0])),
        refresh(&writes[3], &id(&writes[3])),
        refresh(&writes[2], "not an id"),
    ];

    let found = harness.look_up(entity, &asked).await;

    let ids: Vec<Option<&str>> = found
        .iter()
        .map(|sighting| match sighting {
            Sighting::One(theirs) => Some(theirs.external_id.as_str()),
            Sighting::Missing => None,
            other => panic!("{other:?}"),
        })
        .collect();
    let (third, fifth, first) = (id(&writes[3]), id(&writes[5]), id(&writes[0]));
    assert_eq!(
        ids,
        [
            Some(third.as_str()),
            None,
            Some(&fifth),
            None,
            Some(&first),
            Some(&third),
            None
        ]
    );
}

/// R36: an item's cost in calls is as low as the system allows.
async fn fifty_things_are_refreshed_in_three_calls<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let writes: Vec<Write> = (0..50)
        .map(|number| match number % 2 {
            0 => create(&plain(entity, number)),
            _ => create(&composed(entity, number)),
        })
        .collect();
    let fates = harness.push(entity, writes.clone()).await;
    let asked: Vec<_> = writes
        .iter()
        .map(|write| refresh(write, &fates[&write.record].clone().placed().external_id))
        .collect();
    let gate = Turnstile::open();

    let found = harness
        .connector
        .look_up(&gate, entity, &asked)
        .await
        .expect("an answer");

    assert!(found.iter().all(|sighting| matches!(sighting, Sighting::One(_))));
    assert!(gate.passes() <= 3, "R36: {} calls", gate.passes());
}

/// R36: neither does looking before fifty creates cost more, where it can be done at all, nor planning them.
async fn fifty_creates_are_looked_for_and_planned_in_few_calls<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    harness.write(&create(&plain(entity, 99))).await;
    let writes: Vec<Write> = (0..50).map(|number| create(&plain(entity, number))).collect();
    let asked: Vec<_> = writes
        .iter()
        .map(|write| wanted(write, Purpose::BeforeCreate))
        .collect();
    let gate = Turnstile::open();

    harness
        .connector
        .look_up(&gate, entity, &asked)
        .await
        .expect("an answer");
    let requests = harness
        .connector
        .plan(&gate, entity, writes)
        .await
        .expect("a plan");

    assert!(gate.passes() <= 3, "R36: {} calls", gate.passes());
    assert_eq!(requests.len(), 1, "R36");
}

/// R36: products in doubt are found by one reading of what was made since, not one for each.
async fn fifty_products_in_doubt_are_found_in_few_calls<S: Subject>() {
    let harness = Harness::<S>::start().await;
    let entity = EntityType::Products;
    harness.write(&create(&plain(entity, 99))).await;
    let since = Utc::now();
    let writes: Vec<Write> = (0..50)
        .map(|number| match number % 2 {
            0 => create(&plain(entity, number)),
            _ => create(&keyless(entity, number)),
        })
        .collect();
    harness.push(entity, writes.clone()).await;
    let asked: Vec<_> = writes
        .iter()
        .map(|write| wanted(write, Purpose::InDoubt { since }))
        .collect();
    let gate = Turnstile::open();

    let found = harness
        .connector
        .look_up(&gate, entity, &asked)
        .await
        .expect("an answer");

    for (sighting, write) in found.iter().zip(&writes) {
        assert!(
            matches!(sighting, Sighting::One(theirs) if theirs.marker == Some(write.record)),
            "{sighting:?}"
        );
    }
    assert!(gate.passes() <= 6, "R36: {} calls", gate.passes());
}

for_each_entity! {
    a_thing_whose_create_had_no_answer_is_found,
    a_thing_whose_create_never_arrived_is_missing,
    a_create_that_runs_on_is_found_in_the_end,
    repeating_after_a_look_up_makes_one_thing,
    sightings_stand_in_the_order_of_what_was_wanted,
    fifty_things_are_refreshed_in_three_calls,
    fifty_creates_are_looked_for_and_planned_in_few_calls,
}

for_each_system! { fifty_products_in_doubt_are_found_in_few_calls }
