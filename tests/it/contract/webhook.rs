//! Webhooks of a store, as its connector makes, reads and removes them.

use std::time::Instant;

use lockstep_sandbox::fault::Fault;
use lockstep_shared::webhook::HookState;
use lockstep_worker::connector::webhook::{Change, Receiver, Webhooks};
use lockstep_worker::connector::{CallError, Connector, Reach};
use serde_json::json;

use super::harness::{Harness, Turnstile, a_while};
use super::subject::{Office, Shop};

const SECRET: &str = "a-secret-that-nobody-is-told";

fn receiver() -> Receiver {
    Receiver {
        delivery_url: "http://127.0.0.1:9/webhooks/1".to_owned(),
        path: "/webhooks/1".to_owned(),
        secret: SECRET.to_owned().into(),
    }
}

fn webhooks(connector: &dyn Connector) -> &dyn Webhooks {
    connector.webhooks().expect("a store has webhooks")
}

/// Sends a change, which is one request.
async fn send(harness: &Harness<Shop>, change: Change) -> Result<(), CallError> {
    let before = harness.arrivals();
    let sent = webhooks(harness.connector.as_ref())
        .send(&change, &receiver(), a_while())
        .await;
    assert_eq!(harness.arrivals() - before, 1, "a change is one request");
    sent
}

async fn list(harness: &Harness<Shop>) -> Vec<lockstep_worker::connector::webhook::Seen> {
    webhooks(harness.connector.as_ref())
        .list(&Turnstile::open())
        .await
        .expect("the store lists them")
}

#[tokio::test]
async fn every_topic_that_is_worth_it_can_be_made_seen_and_removed() {
    let harness = Harness::<Shop>::start().await;
    let topics = webhooks(harness.connector.as_ref()).topics();

    for topic in topics {
        send(&harness, Change::Create { topic }).await.unwrap();
    }

    let seen = list(&harness).await;
    let names: Vec<&str> = seen.iter().map(|one| one.hook.topic.as_str()).collect();
    assert_eq!(names, topics);
    for one in &seen {
        assert_eq!(one.hook.state, HookState::Active);
        assert_eq!(one.delivery_url, receiver().delivery_url);
        assert_eq!(one.name, receiver().name(&one.hook.topic));
        assert!(!one.name.contains(SECRET), "R70");
        let touched = lockstep_shared::webhook::touched_by(&one.hook.topic);
        assert!(!touched.is_empty(), "{} is for nothing", one.hook.topic);
    }
    for one in seen {
        let external_id = one.hook.external_id;
        let remove = Change::Remove {
            external_id: external_id.clone(),
        };
        send(&harness, remove.clone()).await.unwrap();
        send(&harness, remove).await.expect("what is gone is removed");
    }
    assert!(list(&harness).await.is_empty());
}

#[tokio::test]
async fn a_webhook_that_is_disabled_is_seen_so_and_renewed() {
    let harness = Harness::<Shop>::start().await;
    let store = &harness.subject.store;
    let other = json!({ "topic": "order.updated", "delivery_url": "http://old.example.com/webhooks/1" });
    let id = store.insert_webhook(other);
    store.disable_webhook(id);
    assert_eq!(list(&harness).await[0].hook.state, HookState::Disabled);

    let renew = Change::Renew {
        external_id: id.to_string(),
        topic: "order.updated".to_owned(),
    };
    send(&harness, renew).await.unwrap();

    let [renewed] = list(&harness).await.try_into().unwrap();
    assert_eq!(renewed.hook.state, HookState::Active);
    assert_eq!(renewed.delivery_url, receiver().delivery_url);
}

/// More than one page of them, most of others.
#[tokio::test]
async fn all_webhooks_of_a_store_are_listed() {
    let harness = Harness::<Shop>::start().await;
    for number in 0..205 {
        let url = format!("http://127.0.0.1:9/{number}");
        harness
            .subject
            .store
            .insert_webhook(json!({ "topic": "coupon.created", "delivery_url": url }));
    }

    assert_eq!(list(&harness).await.len(), 205);
    assert_eq!(harness.arrivals(), 3);
}

/// R13, R70: a lost reply leaves a change in doubt, a deadline that has passed sends nothing, and no error tells the secret.
#[tokio::test]
async fn what_has_no_answer_is_in_doubt_and_errors_tell_no_secret() {
    let harness = Harness::<Shop>::start().await;
    let create = Change::Create {
        topic: "order.updated",
    };
    harness
        .subject
        .store
        .faults()
        .on_path("/webhooks", Fault::LostReply, Some(1));

    let lost = send(&harness, create.clone()).await.unwrap_err();
    let CallError::Unwell { reach, .. } = &lost else {
        panic!("{lost:?}")
    };
    assert_eq!(*reach, Reach::InDoubt, "R13");
    assert_eq!(harness.subject.store.webhooks().len(), 1, "it had its effect");

    let before = harness.arrivals();
    let past = Instant::now();
    let late = webhooks(harness.connector.as_ref())
        .send(&create, &receiver(), past)
        .await
        .unwrap_err();
    let CallError::Unwell { reach, .. } = &late else {
        panic!("{late:?}")
    };
    assert_eq!((*reach, harness.arrivals()), (Reach::NoEffect, before));
    let unknown = Change::Create {
        topic: "refund.created",
    };
    let refused = send(&harness, unknown).await.unwrap_err();
    for error in [lost, late, refused] {
        assert!(!format!("{error} {error:?}").contains(SECRET), "R70: {error}");
    }
}

/// Odoo has nothing like it: changes there are found by looking.
#[tokio::test]
async fn an_erp_has_no_webhooks() {
    let harness = Harness::<Office<19>>::start().await;

    assert!(harness.connector.webhooks().is_none());
}
