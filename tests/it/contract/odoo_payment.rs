//! Payments in Odoo.

use std::sync::Arc;

use lockstep_sandbox::fault::Fault;
use lockstep_shared::entity::Content;
use lockstep_shared::id::RecordId;
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::{Cursor, Links, Purpose, Sighting, Write};
use serde_json::{Value, json};

use super::content::usd;
use super::harness::{Fate, update, wanted};
use super::odoo_order::Desk;

/// A desk with an order, and payments of it.
async fn desk<const MAJOR: u32>() -> (Desk<MAJOR>, RecordId) {
    let mut desk = Desk::<MAJOR>::start().await;
    let content = desk.order_of(&json!({}));
    let write = desk.create(&content);
    let placed = desk.harness.write(&write).await;
    let link = desk.note(write.record, &content, &placed);
    desk.links = Arc::new(Links::new([(write.record, link)]));
    (desk, write.record)
}

fn payment(order: RecordId, change: &Value) -> Content {
    let mut payment = json!({
        "order": {"record": order}, "amount": usd("35.28"), "made_at": "2026-11-22T19:20:27Z", "method": "stripe",
        "transaction_id": "ch_0013"
    });
    for (name, value) in change.as_object().expect("an object") {
        payment[name] = value.clone();
    }
    Content::parse(EntityType::Payments, payment).expect("a valid payment")
}

async fn a_payment_comes_back_as_it_was_written<const MAJOR: u32>() {
    let (desk, order) = desk::<MAJOR>().await;
    for change in [
        json!({}),
        json!({"kind": "refunded", "transaction_id": null, "reason": "damaged"}),
    ] {
        let content = payment(order, &change);
        let write = desk.create(&content);

        let placed = desk.harness.write(&write).await;

        assert_eq!(
            desk.held(&write, &placed).await,
            desk.harness.connector.project(&content),
            "for {change}"
        );
        let pulled = desk.harness.pull(EntityType::Payments, &Cursor::default()).await;
        assert_eq!(
            desk.resolved(pulled.find(&placed.external_id)),
            desk.harness.connector.project(&content)
        );
    }
}

async fn fifty_payments_take_few_calls<const MAJOR: u32>() {
    let (desk, order) = desk::<MAJOR>().await;
    desk.harness
        .write(&desk.create(&payment(order, &json!({}))))
        .await;
    let writes: Vec<Write> = (0..50)
        .map(|number| {
            desk.create(&payment(
                order,
                &json!({"transaction_id": format!("ch_{number}")}),
            ))
        })
        .collect();
    let before = desk.harness.arrivals();

    let fates = desk.harness.push(EntityType::Payments, writes).await;

    assert!(
        fates.values().all(|fate| matches!(fate, Fate::Placed(_))),
        "{fates:?}"
    );
    // Their orders, load, their states, post.
    assert_eq!(desk.harness.arrivals() - before, 4);
}

async fn a_payment_in_doubt_is_finished_and_not_doubled<const MAJOR: u32>() {
    let (desk, order) = desk::<MAJOR>().await;
    desk.harness
        .write(&desk.create(&payment(order, &json!({}))))
        .await;
    let write = desk.create(&payment(order, &json!({"transaction_id": "ch_0014"})));
    desk.harness.fault_on_writes(Fault::LostReply, Some(1));
    let requests = desk
        .harness
        .plan(EntityType::Payments, vec![write.clone()])
        .await
        .expect("a plan");
    desk.harness.send(&requests[0]).await.expect_err("no answer");

    let since = chrono::Utc::now();
    let Sighting::One(theirs) = desk
        .harness
        .look_up_one(wanted(&write, Purpose::InDoubt { since }))
        .await
    else {
        panic!("it is there")
    };

    assert!(theirs.content.is_err(), "it is not posted");
    let placed = desk.harness.write(&write).await;
    assert_eq!(placed.external_id, theirs.external_id);
    assert_eq!(desk.harness.subject.erp.records("account.payment").len(), 2);
}

async fn a_posted_payment_is_never_written<const MAJOR: u32>() {
    let (desk, order) = desk::<MAJOR>().await;
    let before = payment(order, &json!({}));
    let write = desk.create(&before);
    let placed = desk.harness.write(&write).await;
    let after = payment(order, &json!({"amount": usd("30")}));
    let change = desk.with_links(update(write.record, &placed, &before, &after));

    let fates = desk.harness.push(EntityType::Payments, vec![change]).await;

    assert!(
        matches!(&fates[&write.record], Fate::Rejected(refusal) if refusal.code == "payment_posted"),
        "{fates:?}"
    );
}

for_each_office! {
    a_payment_comes_back_as_it_was_written,
    fifty_payments_take_few_calls,
    a_payment_in_doubt_is_finished_and_not_doubled,
    a_posted_payment_is_never_written,
}
