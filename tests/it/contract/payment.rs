//! Payments and refunds in WooCommerce.

use chrono::Utc;
use lockstep_sandbox::fault::Fault;
use lockstep_shared::entity::{Content, PartKey, Payment, PaymentKind};
use lockstep_shared::id::RecordId;
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::{Cursor, Outcome, Parts, Purpose, Sighting, Step, Write};
use serde_json::{Value, json};

use super::harness::{Fate, continued};
use super::sale::{Sale, content};

const PAYMENTS: EntityType = EntityType::Payments;

fn payment_of(content: &Content) -> &Payment {
    match content {
        Content::Payment(payment) => payment,
        other => panic!("{other:?}"),
    }
}

/// An order of the ERP that is in the store.
async fn order(sale: &mut Sale) -> (RecordId, String) {
    let write = sale.create(&content(EntityType::Orders, sale.order_of_the_erp("S00021")));
    let placed = sale.harness.write(&write).await;
    sale.know(write.record, &placed.external_id, &write.content);
    (write.record, placed.external_id)
}

/// One of the store's own, paid by Ann.
fn own_order(sale: &mut Sale) -> (RecordId, String) {
    let id = sale.harness.subject.store.insert_order(json!({
        "set_paid": true, "payment_method": "stripe", "transaction_id": "ch_1", "customer_id": sale.ann.id,
        "billing": {"first_name": "Ann", "email": "ann@example.com", "country": "US"},
        "line_items": [{"product_id": sale.mug.id, "quantity": 2}]
    }));
    let record = RecordId::random();
    let any = content(EntityType::Orders, sale.order_of_the_erp("any"));
    sale.know(record, &id.to_string(), &any);
    (record, id.to_string())
}

fn received(order: RecordId, amount: &str) -> Content {
    content(
        PAYMENTS,
        json!({
            "order": {"record": order}, "amount": {"amount": amount, "currency": "USD"},
            "made_at": "2026-01-06T10:00:00Z", "method": "bank", "transaction_id": "PBNK1/2026/1"
        }),
    )
}

fn refunded(order: RecordId, amount: &str, more: &Value) -> Content {
    let mut json = json!({
        "order": {"record": order}, "kind": "refunded", "amount": {"amount": amount, "currency": "USD"},
        "made_at": "2026-01-07T10:00:00Z", "reason": "broken & <b>lost</b>"
    });
    for (field, value) in more.as_object().expect("an object") {
        json[field] = value.clone();
    }
    content(PAYMENTS, json)
}

#[tokio::test]
async fn what_was_paid_and_paid_back_is_pulled() {
    let mut sale = Sale::open().await;
    let (_, id) = own_order(&mut sale);
    sale.harness
        .subject
        .store
        .insert_order(json!({"status": "pending", "line_items": [{"product_id": sale.mug.id}]}));
    let line = sale.order(&id)["line_items"][0]["id"].clone();
    let refund = sale.harness.subject.store.insert_refund(id.parse().unwrap(), json!({
        "amount": "10.00", "reason": "damaged", "line_items": [{"id": line, "quantity": 1, "refund_total": 10.0}]
    }));
    // Nothing was paid back here.
    sale.harness
        .subject
        .store
        .insert_refund(id.parse().unwrap(), json!({}));

    let pulled = sale.harness.pull(PAYMENTS, &Cursor::default()).await;

    let ids: Vec<&str> = pulled.by_id().into_keys().collect();
    let refund_id = format!("{id}/{refund}");
    assert_eq!(ids, [id.as_str(), refund_id.as_str()]);
    let received = pulled.find(&id).content.as_ref().expect("it is valid");
    let received = payment_of(received);
    assert_eq!(
        (received.kind, received.amount.amount.to_string().as_str()),
        (PaymentKind::Received, "20")
    );
    assert_eq!(
        (received.method.as_deref(), received.transaction_id.as_deref()),
        (Some("stripe"), Some("ch_1"))
    );
    let refunded = pulled.find(&refund_id).content.as_ref().expect("it is valid");
    let refunded = payment_of(refunded);
    assert_eq!(refunded.lines[0].line, PartKey::named(line.to_string()));
    assert_eq!(refunded.lines[0].quantity.to_string(), "1");
    assert_eq!(refunded.reason.as_deref(), Some("damaged"));
    // What was seen is read by its id as well.
    assert_eq!(
        sale.read(PAYMENTS, &[id.clone(), refund_id.clone()]).await.len(),
        2
    );
}

/// The state of an order alone sets the date of its payment.
#[tokio::test]
async fn an_order_that_we_brought_is_not_paid_by_its_state() {
    let mut sale = Sale::open().await;
    let (_, id) = order(&mut sale).await;
    assert!(!sale.order(&id)["date_paid_gmt"].is_null());

    let pulled = sale.harness.pull(PAYMENTS, &Cursor::default()).await;

    assert!(pulled.seen.is_empty(), "{:?}", pulled.seen);
}

#[tokio::test]
async fn a_payment_is_noted_on_its_order_unnoticed() {
    let mut sale = Sale::open().await;
    let (record, id) = order(&mut sale).await;
    let before = (
        sale.noise(),
        sale.stock(sale.mug.id),
        sale.order(&id)["status"].clone(),
    );
    let write = sale.create(&received(record, "48.60"));
    let arrivals = sale.harness.arrivals();

    let placed = sale.harness.write(&write).await;

    assert_eq!(sale.harness.arrivals() - arrivals, 2);
    assert_eq!(placed.external_id, id);
    assert_eq!(sale.held(&write, &id).await, write.content);
    assert_eq!(
        before,
        (
            sale.noise(),
            sale.stock(sale.mug.id),
            sale.order(&id)["status"].clone()
        )
    );
    assert_eq!(sale.order(&id)["date_paid_gmt"], "2026-01-06T10:00:00");
    let since = Utc::now();
    let Sighting::One(theirs) = sale.look_up(&write, Purpose::InDoubt { since }).await else {
        panic!("it is found")
    };
    assert_eq!(theirs.marker, Some(write.record));
    let pulled = sale.harness.pull(PAYMENTS, &Cursor::default()).await;
    assert_eq!(sale.resolved(pulled.find(&id)), write.content);
}

#[tokio::test]
async fn a_part_of_a_total_and_a_second_payment_are_refused() {
    let mut sale = Sale::open().await;
    let (record, _) = order(&mut sale).await;
    let (own, _) = own_order(&mut sale);
    for (content, code) in [
        (received(record, "10"), "partial_payment"),
        (received(own, "20"), "already_paid"),
    ] {
        let write = sale.create(&content);
        let mut fates = sale.harness.push(PAYMENTS, vec![write]).await;
        let (_, fate) = fates.pop_first().unwrap();
        assert!(
            matches!(&fate, Fate::Rejected(refusal) if refusal.code == code),
            "{fate:?}"
        );
    }
}

/// R17: neither mail nor stock, whether the order is the store's or ours, and it has its address back.
#[tokio::test]
async fn a_refund_is_made_once_and_nobody_is_told() {
    let mut sale = Sale::open().await;
    let orders = [own_order(&mut sale), order(&mut sale).await];
    for (record, id) in orders {
        let before = (sale.noise(), sale.stock(sale.mug.id));
        let line = sale.order(&id)["line_items"][0].clone();
        let key = line["meta_data"]
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["key"] == "_lockstep_line");
        let key = key.map_or_else(
            || line["id"].to_string(),
            |entry| entry["value"].as_str().unwrap().to_owned(),
        );
        let write = sale.create(&refunded(
            record,
            "5.50",
            &json!({
                "method": "bank", "lines": [{"line": key, "quantity": "1", "total": "5", "tax": "0.50"}]
            }),
        ));

        let placed = sale.harness.write(&write).await;

        assert_eq!(sale.held(&write, &placed.external_id).await, write.content);
        assert_eq!(before, (sale.noise(), sale.stock(sale.mug.id)));
        let raw = sale.order(&id);
        assert_eq!(
            (&raw["customer_id"], &raw["billing"]["email"]),
            (&json!(sale.ann.id), &json!("ann@example.com"))
        );
        assert_eq!(raw["refunds"].as_array().unwrap().len(), 1);
        let pulled = sale.harness.pull(PAYMENTS, &Cursor::default()).await;
        assert_eq!(sale.resolved(pulled.find(&placed.external_id)), write.content);
    }
}

/// The rest paid back makes the order a refunded one by itself; of an order that we brought that is no change of state.
#[tokio::test]
async fn all_of_an_order_is_paid_back_unnoticed() {
    let mut sale = Sale::open().await;
    let (record, id) = own_order(&mut sale);
    let noise = sale.noise();
    let write = sale.create(&refunded(record, "20", &json!({})));

    sale.harness.write(&write).await;

    assert_eq!(sale.order(&id)["status"], "refunded");
    assert_eq!(sale.noise(), noise);
}

#[tokio::test]
async fn more_than_the_rest_is_refused_for_good() {
    let mut sale = Sale::open().await;
    let (record, _) = own_order(&mut sale);
    let write = sale.create(&refunded(record, "21", &json!({})));

    let mut fates = sale.harness.push(PAYMENTS, vec![write]).await;

    let (_, fate) = fates.pop_first().unwrap();
    assert!(
        matches!(&fate, Fate::Rejected(refusal) if refusal.message == "Invalid refund amount."),
        "{fate:?}"
    );
}

/// R13: at whatever step the answer is lost, there is one refund and the order has its address.
#[tokio::test]
async fn a_refund_without_an_answer_is_found_and_not_made_again() {
    for lost in 0..3_u8 {
        let mut sale = Sale::open().await;
        let (record, id) = own_order(&mut sale);
        let since = Utc::now();
        let original = sale.create(&refunded(record, "5", &json!({})));
        let mut write = original.clone();
        for step in 0..=lost {
            assert_eq!(write.step, Step(step));
            if step == lost {
                sale.harness.fault_on_writes(Fault::LostReply, Some(1));
            }
            let requests = sale
                .harness
                .plan(PAYMENTS, vec![write.clone()])
                .await
                .expect("a plan");
            let outcomes = sale.harness.send(&requests[0]).await;
            if let Ok(outcomes) = outcomes {
                let Outcome::Applied {
                    external_id,
                    parts,
                    next: Some(next),
                    ..
                } = outcomes[0].clone()
                else {
                    panic!("{outcomes:?}")
                };
                write = continued(write, external_id, parts, next);
            }
        }

        let again: Option<Write> = match sale.look_up(&original, Purpose::InDoubt { since }).await {
            Sighting::Missing => Some(original.clone()),
            Sighting::One(theirs) => match &theirs.content {
                Ok(_) => None,
                Err(_) => Some(continued(
                    original.clone(),
                    theirs.external_id,
                    Parts::new(),
                    Step(0),
                )),
            },
            other => panic!("{other:?}"),
        };
        if let Some(again) = again {
            sale.harness.write(&again).await;
        }

        let raw = sale.order(&id);
        assert_eq!(raw["refunds"].as_array().unwrap().len(), 1, "lost at {lost}");
        assert_eq!(raw["billing"]["email"], "ann@example.com", "lost at {lost}");
        assert_eq!(raw["customer_id"], json!(sale.ann.id), "lost at {lost}");
        assert_eq!(sale.noise().customer_mails, 0, "lost at {lost}");
    }
}

/// R36: one call each, and a handful around them.
#[tokio::test]
async fn refunds_share_the_calls_around_them() {
    let mut sale = Sale::open().await;
    let orders: Vec<(RecordId, String)> = (0..10).map(|_| own_order(&mut sale)).collect();
    let writes: Vec<Write> = orders
        .iter()
        .map(|(record, _)| sale.create(&refunded(*record, "1", &json!({}))))
        .collect();
    let before = sale.harness.arrivals();

    sale.harness.push(PAYMENTS, writes).await;

    assert_eq!(sale.harness.subject.store.refunds().len(), 10);
    // The harness goes on in as many rounds as a worker that keeps each group together.
    assert!(sale.harness.arrivals() - before <= 10 + 10 + 10 + 5);
}
