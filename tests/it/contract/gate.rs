//! The gate: asked before every request that reads, and by nothing else.

use lockstep_shared::system::EntityType;
use lockstep_worker::connector::{CallError, Connector, Cursor, Hold, Purpose, Write};

use super::content::{changed, composed, keyless, plain};
use super::harness::{Harness, Turnstile, create, refresh, update, wanted};
use super::subject::Subject;

/// Everything that may read, each with what it needs.
#[derive(Clone, Debug)]
enum Reading {
    Check,
    Pull,
    LookUp(Vec<lockstep_worker::connector::Wanted>),
    Plan(Vec<Write>),
}

impl Reading {
    async fn run(
        &self,
        connector: &dyn Connector,
        gate: &Turnstile,
        entity: EntityType,
    ) -> Result<(), CallError> {
        match self {
            Self::Check => connector.check(gate).await.map(drop),
            Self::Pull => connector
                .pull(gate, entity, &Cursor::default(), 10)
                .await
                .map(drop),
            Self::LookUp(wanted) => connector.look_up(gate, entity, wanted).await.map(drop),
            Self::Plan(writes) => connector.plan(gate, entity, writes.clone()).await.map(drop),
        }
    }
}

/// Readings about things of every shape that are there or are not.
async fn readings<S: Subject>(harness: &Harness<S>, entity: EntityType) -> Vec<Reading> {
    let since = chrono::Utc::now();
    let (simple, whole) = (create(&plain(entity, 1)), create(&composed(entity, 2)));
    let (here, made) = (harness.write(&simple).await, harness.write(&whole).await);
    let (new, unkeyed) = (create(&plain(entity, 3)), create(&keyless(entity, 4)));
    let to = match entity {
        EntityType::Customers => changed(&whole.content, |json| json["shipping"]["street"] = "Else".into()),
        EntityType::Products => changed(&whole.content, |json| json["variants"][0]["sku"] = "ELSE".into()),
        _ => unreachable!("their rules are elsewhere"),
    };
    vec![
        Reading::Check,
        Reading::Pull,
        Reading::LookUp(vec![
            refresh(&simple, &here.external_id),
            refresh(&whole, &made.external_id),
            refresh(&new, "999999"),
        ]),
        Reading::LookUp(vec![
            wanted(&simple, Purpose::BeforeCreate),
            wanted(&new, Purpose::BeforeCreate),
        ]),
        Reading::LookUp(vec![
            wanted(&whole, Purpose::InDoubt { since }),
            wanted(&unkeyed, Purpose::InDoubt { since }),
        ]),
        Reading::Plan(vec![new, unkeyed]),
        Reading::Plan(vec![update(whole.record, &made, &whole.content, &to)]),
    ]
}

/// R30: metered per HTTP request.
async fn every_request_that_reads_passes_the_gate_once<S: Subject>(entity: EntityType) {
    let mut harness = Harness::<S>::start().await;
    for reading in readings(&harness, entity).await {
        // With all to learn, and with all known.
        harness.reconnect();
        for _ in 0..2 {
            let (gate, before) = (Turnstile::open(), harness.arrivals());

            let result = reading.run(harness.connector.as_ref(), &gate, entity).await;

            assert!(result.is_ok(), "{reading:?}: {result:?}");
            assert_eq!(harness.arrivals() - before, gate.passes(), "{reading:?}");
        }
    }
}

/// R6, R30: after the gate has closed, nothing is sent.
async fn a_gate_that_refuses_stops_every_reading_at_once<S: Subject>(entity: EntityType) {
    let mut harness = Harness::<S>::start().await;
    for reading in readings(&harness, entity).await {
        harness.reconnect();
        let gate = Turnstile::open();
        reading
            .run(harness.connector.as_ref(), &gate, entity)
            .await
            .expect("it is answered");
        let needed = gate.passes();

        for limit in 0..needed {
            harness.reconnect();
            let (gate, before) = (Turnstile::closing_after(limit), harness.arrivals());

            let result = reading.run(harness.connector.as_ref(), &gate, entity).await;

            assert!(
                matches!(result, Err(CallError::Held(Hold::Draining))),
                "{reading:?} after {limit} of {needed}: {result:?}"
            );
            assert_eq!(harness.arrivals() - before, limit, "{reading:?}");
        }
    }
}

async fn a_connector_that_was_held_goes_on_when_the_gate_opens<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let write = create(&plain(entity, 1));
    let placed = harness.write(&write).await;
    let harness = Harness::of(harness.subject);
    for limit in 0..3 {
        let closed = Turnstile::closing_after(limit);
        let _ = harness
            .connector
            .pull(&closed, entity, &Cursor::default(), 10)
            .await;
    }

    let pulled = harness.pull(entity, &Cursor::default()).await;

    assert_eq!(
        pulled.find(&placed.external_id).content,
        Ok(harness.connector.project(&write.content))
    );
}

for_each_entity! {
    every_request_that_reads_passes_the_gate_once,
    a_gate_that_refuses_stops_every_reading_at_once,
    a_connector_that_was_held_goes_on_when_the_gate_opens,
}
