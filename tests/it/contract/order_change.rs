//! Changes of orders in WooCommerce: nobody hears of them, and no stock moves that should not.

use lockstep_sandbox::fault::Fault;
use lockstep_worker::connector::{Action, Outcome, Parts, Write};
use serde_json::json;

use super::harness::{Placed, continued, update};
use super::order::{assert_in_doubt, order, order_of, send_first, with};
use super::sale::Sale;

async fn arrived(sale: &Sale) -> (Write, Placed) {
    let write = sale.create(&order(sale.order_of_the_erp("S00021")));
    let placed = sale.harness.write(&write).await;
    (write, placed)
}

/// R17: lines change without stock moving, in every state in which a change of lines moves it.
#[tokio::test]
async fn the_lines_of_an_order_from_elsewhere_change_unnoticed() {
    let sale = Sale::open().await;
    let (write, placed) = arrived(&sale).await;
    let before = (sale.noise(), sale.stock(sale.mug.id), sale.stock(sale.blue));
    let changed = with(
        sale.order_of_the_erp("S00021"),
        &[
            (
                "lines",
                json!([
                    {"key": "1", "product": sale.mug(), "name": "Mug", "quantity": "5.5", "subtotal": "55", "total": "50"},
                    {"key": "7", "product": sale.blue_shirt(), "name": "Shirt", "quantity": "2", "subtotal": "40", "total": "40"},
                    {"key": "8", "kind": "fee", "name": "Wrapping", "subtotal": "1", "total": "1"},
                ]),
            ),
            ("total_tax", json!("9.10")),
            ("total", json!("100.12")),
            ("note", json!("changed")),
            (
                "billing",
                json!({"email": "lee@example.com", "address": {"name": "A Lee", "country": "US"}}),
            ),
        ],
    );
    let target = sale.harness.connector.project(&order(changed));
    let change = sale.linked(update(write.record, &placed, &write.content, &target));

    sale.harness.write(&change).await;

    assert_eq!(sale.held(&change, &placed.external_id).await, target);
    assert_eq!(
        before,
        (sale.noise(), sale.stock(sale.mug.id), sale.stock(sale.blue))
    );
    assert_eq!(sale.order(&placed.external_id)["status"], "processing");
    // And back again, with nothing left of it.
    let back = sale.linked(update(write.record, &placed, &target, &write.content));
    sale.harness.write(&back).await;
    assert_eq!(sale.held(&back, &placed.external_id).await, write.content);
    assert_eq!(
        before,
        (sale.noise(), sale.stock(sale.mug.id), sale.stock(sale.blue))
    );
}

/// R17: an order from elsewhere goes from any state to any other.
#[tokio::test]
async fn an_order_from_elsewhere_moves_on_unnoticed() {
    let states = ["pending", "on_hold", "processing", "completed", "cancelled"];
    for from in states {
        let sale = Sale::open().await;
        let json = |status: &str| with(sale.order_of_the_erp("S00021"), &[("status", json!(status))]);
        let write = sale.create(&order(json(from)));
        let placed = sale.harness.write(&write).await;
        let before = (sale.noise(), sale.stock(sale.mug.id));
        for to in states.iter().filter(|to| **to != from) {
            let target = sale.harness.connector.project(&order(json(to)));

            let there = sale.linked(update(write.record, &placed, &write.content, &target));
            sale.harness.write(&there).await;

            assert_eq!(
                sale.held(&there, &placed.external_id).await,
                target,
                "{from} to {to}"
            );
            let back = sale.linked(update(write.record, &placed, &target, &write.content));
            sale.harness.write(&back).await;
            assert_eq!(
                sale.held(&back, &placed.external_id).await,
                write.content,
                "{to} to {from}"
            );
            assert_eq!(before, (sale.noise(), sale.stock(sale.mug.id)), "{from} to {to}");
        }
    }
}

/// R17: the store's own orders move on, nobody is told, and the stock stays the store's business.
#[tokio::test]
async fn the_store_s_own_order_moves_on_unnoticed() {
    for (to, left) in [
        ("completed", 98),
        ("cancelled", 100),
        ("on_hold", 98),
        ("pending", 100),
    ] {
        let sale = Sale::open().await;
        let id = sale.harness.subject.store.insert_order(json!({
            "status": "processing", "customer_id": sale.ann.id,
            "billing": {"first_name": "Ann", "email": "ann@example.com", "country": "US"},
            "line_items": [{"product_id": sale.mug.id, "quantity": 2}]
        }));
        let placed = Placed {
            external_id: id.to_string(),
            parts: Parts::new(),
        };
        let noise = sale.noise();
        let probe = sale.create(&order(sale.order_of_the_erp("any")));
        let now = sale.held(&probe, &placed.external_id).await;
        let mut json = now.to_json();
        json["status"] = json!(to);
        let target = order(json);

        let change = sale.linked(update(probe.record, &placed, &now, &target));
        sale.harness.write(&change).await;

        assert_eq!(sale.held(&change, &placed.external_id).await, target, "{to}");
        assert_eq!(sale.noise(), noise, "{to}");
        assert_eq!(sale.stock(sale.mug.id), left, "{to}");
        let raw = sale.order(&placed.external_id);
        assert_eq!(
            (&raw["customer_id"], &raw["billing"]["email"]),
            (&json!(sale.ann.id), &json!("ann@example.com"))
        );
        let meta = raw["meta_data"].as_array().expect("a list");
        assert!(
            meta.iter().all(|entry| entry["key"] != "_lockstep_silence"),
            "{meta:?}"
        );
    }
}

/// The process of the store dies between the changes of one order: what it took away is known still, and comes back.
#[tokio::test]
async fn an_order_whose_address_was_not_given_back_is_read_as_it_was_and_mended() {
    for done in [1, 2] {
        let sale = Sale::open().await;
        let id = sale.harness.subject.store.insert_order(json!({
            "status": "processing", "customer_id": sale.ann.id,
            "billing": {"first_name": "Ann", "email": "ann@example.com", "country": "US"},
            "line_items": [{"product_id": sale.mug.id, "quantity": 2}]
        }));
        let placed = Placed {
            external_id: id.to_string(),
            parts: Parts::new(),
        };
        let probe = sale.create(&order(sale.order_of_the_erp("any")));
        let now = sale.held(&probe, &placed.external_id).await;
        let mut json = now.to_json();
        json["status"] = json!("completed");
        let target = order(json);
        let change = sale.linked(update(probe.record, &placed, &now, &target));
        sale.harness.fault_on_writes(Fault::PartialBatch(done), Some(1));
        assert_in_doubt(&send_first(&sale, &change).await);

        assert_eq!(sale.held(&change, &placed.external_id).await, now, "after {done}");
        sale.harness.write(&change).await;

        assert_eq!(sale.held(&change, &placed.external_id).await, target);
        let raw = sale.order(&placed.external_id);
        assert_eq!(
            (&raw["customer_id"], &raw["billing"]["email"]),
            (&json!(sale.ann.id), &json!("ann@example.com"))
        );
        assert_eq!(sale.noise().customer_mails, 0);
    }
}

#[tokio::test]
async fn a_deleted_order_is_cancelled() {
    let sale = Sale::open().await;
    let (write, placed) = arrived(&sale).await;
    let noise = sale.noise();

    let gone = sale.linked(super::harness::delete(write.record, &placed, &write.content));
    sale.harness.write(&gone).await;

    assert_eq!(sale.order(&placed.external_id)["status"], "cancelled");
    assert_eq!(sale.noise(), noise);
    sale.harness.write(&gone).await;
}

/// What the store makes of it is told, so that the next sight of it is no change.
#[tokio::test]
async fn what_the_store_makes_of_an_order_is_told() {
    let sale = Sale::open().await;
    let mut json = sale.order_of_the_erp("S00021");
    json["lines"][0]["product"] = json!({"record": lockstep_shared::id::RecordId::random()});
    let write = sale.create(&order(json));
    let outcomes = send_first(&sale, &write).await.expect("it is answered");
    let Outcome::Applied {
        external_id,
        parts,
        next: Some(step),
        ..
    } = outcomes[0].clone()
    else {
        panic!("{outcomes:?}")
    };

    let place = continued(write.clone(), external_id, parts, step);
    let outcomes = send_first(&sale, &place).await.expect("it is answered");

    let Outcome::Applied {
        held: Some(held),
        external_id,
        ..
    } = &outcomes[0]
    else {
        panic!("{outcomes:?}")
    };
    assert_eq!(
        order_of(held).lines[0].product,
        None,
        "the store has no such product"
    );
    assert_eq!(sale.held(&write, external_id).await, *held);
    assert!(matches!(place.action, Action::Update { .. }));
}
