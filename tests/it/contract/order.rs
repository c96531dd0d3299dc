//! Orders in WooCommerce: what is read, what is written, and that nobody hears of it.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::Utc;
use lockstep_sandbox::fault::Fault;
use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{Content, LineKind, OrderStatus, Reference};
use lockstep_shared::system::{EntityType, System};
use lockstep_worker::connector::{CallError, Cursor, Outcome, Parts, Purpose, Reach, Sighting, Write};
use serde_json::{Value, json};

use super::harness::continued;
use super::sale::{Sale, content};

pub const ORDERS: EntityType = EntityType::Orders;

pub fn order(json: Value) -> Content {
    content(ORDERS, json)
}

pub fn with(mut json: Value, changes: &[(&str, Value)]) -> Value {
    for (field, value) in changes {
        json[*field] = value.clone();
    }
    json
}

pub fn order_of(content: &Content) -> &lockstep_shared::entity::Order {
    match content {
        Content::Order(order) => order,
        other => panic!("{other:?}"),
    }
}

// Reading

#[tokio::test]
async fn an_order_of_the_store_is_read_with_its_taxes() {
    let sale = Sale::open().await;
    let store = &sale.harness.subject.store;
    store.insert_tax(
        json!({"country": "US", "state": "NY", "rate": "8.8750", "name": "NY Tax", "shipping": true}),
    );
    let id = store.insert_order(json!({
        "status": "processing", "customer_id": sale.ann.id, "customer_note": "ring",
        "billing": {"first_name": "Ann", "last_name": "Lee", "country": "US", "state": "NY", "email": "ann@example.com",
            "address_1": "1 Main St", "city": "Buffalo", "postcode": "14201"},
        "line_items": [{"product_id": sale.mug.id, "quantity": 2}, {"product_id": sale.blue, "quantity": 1}],
        "shipping_lines": [{"method_id": "flat_rate", "method_title": "Flat rate", "total": "5.00"}]
    }));

    let pulled = sale.harness.pull(ORDERS, &Cursor::default()).await;

    let theirs = pulled.find(&id.to_string());
    assert_eq!(theirs.marker, None);
    let raw = sale.order(&id.to_string());
    let read = theirs.content.as_ref().expect("it is valid");
    let read = order_of(read);
    assert_eq!(read.origin, Some(System::Woocommerce));
    assert_eq!(
        (read.number.as_str(), read.status),
        (id.to_string().as_str(), OrderStatus::Processing)
    );
    assert_eq!(
        read.customer,
        Some(Reference::remote(sale.ann.id.to_string(), None))
    );
    let total: rust_decimal::Decimal = raw["total"].as_str().unwrap().parse().unwrap();
    assert_eq!(read.total, total);
    let products: BTreeSet<_> = read
        .lines
        .iter()
        .filter_map(|line| line.product.clone())
        .collect();
    let expected = [
        Reference::remote(sale.mug.id.to_string(), None),
        Reference::remote(sale.shirt.id.to_string(), Some(sale.blue.to_string())),
    ];
    assert_eq!(products, BTreeSet::from(expected));
    let taxes: rust_decimal::Decimal = read
        .lines
        .iter()
        .map(lockstep_shared::entity::OrderLine::tax)
        .sum();
    assert_eq!(taxes, read.total_tax);
    assert!(!read.total_tax.is_zero());
    assert!(read.lines.iter().any(|line| line.kind == LineKind::Shipping));
    let ids: BTreeSet<&str> = theirs
        .parts
        .keys()
        .map(lockstep_shared::entity::PartKey::as_str)
        .collect();
    let keys: BTreeSet<&str> = read.lines.iter().map(|line| line.key.as_str()).collect();
    assert_eq!(ids, keys);
}

#[tokio::test]
async fn drafts_are_not_pulled_and_the_trash_is_a_cancelled_order() {
    let sale = Sale::open().await;
    let store = &sale.harness.subject.store;
    let draft =
        store.insert_order(json!({"status": "checkout-draft", "line_items": [{"product_id": sale.mug.id}]}));
    let trashed =
        store.insert_order(json!({"status": "processing", "line_items": [{"product_id": sale.mug.id}]}));
    store.trash_order(trashed);

    let pulled = sale.harness.pull(ORDERS, &Cursor::default()).await;
    let read = sale.read(ORDERS, &[draft.to_string(), trashed.to_string()]).await;

    assert!(pulled.seen.is_empty(), "{:?}", pulled.seen);
    assert_eq!(read.len(), 1);
    let status = order_of(read[0].content.as_ref().expect("it is valid")).status;
    assert_eq!(status, OrderStatus::Cancelled);
}

#[tokio::test]
async fn only_what_changed_is_pulled_again() {
    let sale = Sale::open().await;
    let store = &sale.harness.subject.store;
    let ids: Vec<u64> = (0..3).map(|_| store.sell(sale.mug.id, 1)).collect();
    let first = sale.harness.pull(ORDERS, &Cursor::default()).await;
    store.age(Duration::from_mins(10));
    let rest = sale.harness.pull(ORDERS, &first.next).await;
    store.update_order(ids[1], json!({"customer_note": "later"}));

    let second = sale.harness.pull(ORDERS, &rest.next).await;

    assert_eq!(first.seen.len(), 3);
    assert!(second.by_id().contains_key(ids[1].to_string().as_str()));
}

// Making

/// R17: whatever its state, nobody is told and no stock is moved.
#[tokio::test]
async fn an_order_from_elsewhere_arrives_unnoticed() {
    for status in [
        "pending",
        "on_hold",
        "processing",
        "completed",
        "cancelled",
        "failed",
        "refunded",
    ] {
        let sale = Sale::open().await;
        let before = (sale.noise(), sale.stock(sale.mug.id), sale.stock(sale.blue));
        let json = with(sale.order_of_the_erp("S00021"), &[("status", json!(status))]);
        let write = sale.create(&order(json));

        let placed = sale.harness.write(&write).await;

        assert_eq!(
            sale.held(&write, &placed.external_id).await,
            write.content,
            "{status}"
        );
        let after = (sale.noise(), sale.stock(sale.mug.id), sale.stock(sale.blue));
        assert_eq!(before, after, "{status}");
        let raw = sale.order(&placed.external_id);
        assert_eq!(raw["total"], "48.60");
        assert_eq!(raw["customer_id"], json!(sale.ann.id), "{status}");
        assert_eq!(raw["billing"]["email"], "ann@example.com", "{status}");
        assert_eq!(sale.harness.subject.store.refunds(), Vec::<Value>::new());
        assert_eq!(sale.harness.subject.store.ledger().duplicates(), []);
    }
}

#[tokio::test]
async fn a_guest_s_order_from_elsewhere_arrives_too() {
    let sale = Sale::open().await;
    for (number, status) in ["processing", "completed"].iter().enumerate() {
        let mut json = with(
            sale.order_of_the_erp(&format!("S{number}")),
            &[("status", json!(status))],
        );
        json.as_object_mut().unwrap().remove("customer");
        json["billing"].as_object_mut().unwrap().remove("email");
        json.as_object_mut().unwrap().remove("origin");
        let write = sale.create(&order(json));

        let placed = sale.harness.write(&write).await;

        assert_eq!(sale.held(&write, &placed.external_id).await, write.content);
    }
}

/// Where people are to be told, they are, and stock still is not moved.
#[tokio::test]
async fn people_are_told_where_the_connection_asks_for_it() {
    let settings = Settings {
        notifies_people: true,
        ..Settings::default()
    };
    let sale = Sale::with(&settings).await;
    let before = (sale.noise(), sale.stock(sale.mug.id));
    let write = sale.create(&order(sale.order_of_the_erp("S00021")));

    sale.harness.write(&write).await;

    assert!(sale.noise().customer_mails > before.0.customer_mails);
    assert_eq!(sale.stock(sale.mug.id), before.1);
}

/// Fractions, amounts below zero, four digits, several taxes and a rest: equal to the cent under every tax setting.
#[tokio::test]
async fn totals_agree_to_the_cent_under_every_tax_setting() {
    let settings: [&[(&str, &str)]; 4] = [
        &[],
        &[("woocommerce_prices_include_tax", "yes")],
        &[("woocommerce_calc_taxes", "no")],
        &[("woocommerce_tax_round_at_subtotal", "yes")],
    ];
    for setting in settings {
        let sale = Sale::open().await;
        let store = &sale.harness.subject.store;
        store.insert_tax(
            json!({"country": "", "state": "", "rate": "19.0000", "name": "VAT", "shipping": true}),
        );
        for (id, value) in setting {
            let group = if *id == "woocommerce_calc_taxes" {
                "general"
            } else {
                "tax"
            };
            store.set_setting(group, id, value);
        }
        let lines = json!([
            {"key": "10", "product": sale.mug(), "name": "Mug", "quantity": "2.5", "subtotal": "29.9975", "total": "26.9978"},
            {"key": "11", "name": "Work by the hour", "quantity": "0.75", "subtotal": "60.005", "total": "60.005"},
            {"key": "12", "name": "Credit", "quantity": "-1", "subtotal": "-8", "total": "-8"},
            {"key": "13", "kind": "fee", "name": "Less", "subtotal": "-500", "total": "-500"},
            {"key": "14", "kind": "fee", "name": "More", "subtotal": "500", "total": "500"},
            {"key": "15", "kind": "shipping", "subtotal": "5.005", "total": "5.005"},
            {"key": "16", "product": sale.blue_shirt(), "quantity": "3", "subtotal": "10", "total": "12"},
        ]);
        for (tax, total) in [("12.34", "108.37"), ("-1.50", "95"), ("0", "96.02")] {
            let json = with(
                sale.order_of_the_erp("S1"),
                &[
                    ("lines", lines.clone()),
                    ("total_tax", json!(tax)),
                    ("total", json!(total)),
                ],
            );
            let write = sale.create(&order(json));

            let placed = sale.harness.write(&write).await;

            assert_eq!(
                sale.held(&write, &placed.external_id).await,
                write.content,
                "{setting:?} {total}"
            );
        }
    }
}

/// A shop that rounds to whole coins can't hold it: the order is not placed.
#[tokio::test]
async fn a_total_that_the_store_can_t_make_is_refused_and_nobody_sees_the_order() {
    let sale = Sale::open().await;
    sale.harness
        .subject
        .store
        .set_setting("general", "woocommerce_price_num_decimals", "0");
    let write = sale.create(&order(sale.order_of_the_erp("S00021")));

    let mut fates = sale.harness.push(ORDERS, vec![write]).await;

    let (_, fate) = fates.pop_first().unwrap();
    let super::harness::Fate::Rejected(refusal) = fate else {
        panic!("{fate:?}")
    };
    assert_eq!(refusal.code, "total_differs");
    assert!(refusal.message.contains("48.6"), "{}", refusal.message);
    let orders = sale.harness.subject.store.orders();
    assert!(orders.iter().all(|order| order["status"] == "checkout-draft"));
}

/// R36: 50 orders take seven calls.
#[tokio::test]
async fn fifty_orders_take_few_calls() {
    let sale = Sale::open().await;
    let writes: Vec<Write> = (0..50)
        .map(|number| sale.create(&order(sale.order_of_the_erp(&format!("S{number}")))))
        .collect();
    let before = sale.harness.arrivals();

    sale.harness.push(ORDERS, writes).await;

    assert_eq!(sale.harness.arrivals() - before, 7);
    let orders = sale.harness.subject.store.orders();
    assert_eq!(orders.len(), 50);
    assert!(orders.iter().all(|order| order["status"] == "processing"));
    assert_eq!(sale.noise().customer_mails + sale.noise().admin_mails, 0);
}

// When things go wrong

pub async fn send_first(sale: &Sale, write: &Write) -> Result<Vec<Outcome>, CallError> {
    let requests = sale
        .harness
        .plan(ORDERS, vec![write.clone()])
        .await
        .expect("a plan");
    sale.harness.send(&requests[0]).await
}

pub fn assert_in_doubt(result: &Result<Vec<Outcome>, CallError>) {
    let is_in_doubt = matches!(
        result,
        Err(CallError::Unwell {
            reach: Reach::InDoubt,
            ..
        })
    );
    assert!(is_in_doubt, "{result:?}");
}

/// R13: what is found is a part of an order, which goes on as a change of it.
#[tokio::test]
async fn a_draft_that_was_made_without_an_answer_is_found_and_placed() {
    let sale = Sale::open().await;
    let write = sale.create(&order(sale.order_of_the_erp("S00021")));
    let since = Utc::now();
    sale.harness.fault_on_writes(Fault::LostReply, Some(1));
    assert_in_doubt(&send_first(&sale, &write).await);

    let Sighting::One(theirs) = sale.look_up(&write, Purpose::InDoubt { since }).await else {
        panic!("the draft is found")
    };
    assert!(theirs.content.is_err(), "a draft is not what was sent");
    let again = continued(write.clone(), theirs.external_id, Parts::new(), write.step);
    let placed = sale.harness.write(&again).await;

    assert_eq!(sale.held(&write, &placed.external_id).await, write.content);
    assert_eq!(sale.harness.subject.store.orders().len(), 1);
}

#[tokio::test]
async fn an_order_that_was_placed_without_an_answer_is_found_whole() {
    let sale = Sale::open().await;
    let write = sale.create(&order(sale.order_of_the_erp("S00021")));
    let since = Utc::now();
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
    sale.harness.fault_on_writes(Fault::LostReply, Some(1));
    assert_in_doubt(&send_first(&sale, &place).await);

    let sighting = sale.look_up(&write, Purpose::InDoubt { since }).await;

    let Sighting::One(theirs) = sighting else {
        panic!("{sighting:?}")
    };
    assert_eq!(sale.resolved(&theirs), write.content);
    // Repeated, it changes nothing.
    let placed = sale.harness.write(&place).await;
    assert_eq!(sale.held(&write, &placed.external_id).await, write.content);
    assert_eq!(sale.noise().customer_mails + sale.noise().admin_mails, 0);
}

#[tokio::test]
async fn a_create_that_never_arrived_is_missing() {
    let sale = Sale::open().await;
    let write = sale.create(&order(sale.order_of_the_erp("S00021")));
    let since = Utc::now();
    sale.harness.fault_on_writes(Fault::CutConnection, Some(1));
    assert_in_doubt(&send_first(&sale, &write).await);

    let sighting = sale.look_up(&write, Purpose::InDoubt { since }).await;

    assert!(matches!(sighting, Sighting::Missing), "{sighting:?}");
}

/// A draft that an earlier try left behind is filled and placed instead of a second one.
#[tokio::test]
async fn a_draft_left_behind_is_taken_over() {
    let sale = Sale::open().await;
    let write = sale.create(&order(sale.order_of_the_erp("S00021")));
    send_first(&sale, &write).await.expect("it is answered");
    let changed = with(
        sale.order_of_the_erp("S00021"),
        &[
            (
                "lines",
                json!([{"key": "9", "product": sale.mug(), "name": "Mug", "quantity": "1", "subtotal": "9", "total": "9"}]),
            ),
            ("total_tax", json!("1")),
            ("total", json!("10")),
            ("note", json!("changed")),
        ],
    );
    let second = Write {
        content: sale.harness.connector.project(&order(changed)),
        ..write.clone()
    };

    let placed = sale.harness.write(&second).await;

    assert_eq!(sale.held(&second, &placed.external_id).await, second.content);
    assert_eq!(sale.harness.subject.store.orders().len(), 1);
}

/// The store drops drafts after a day; a worker may be away for longer.
#[tokio::test]
async fn a_draft_that_was_dropped_is_made_again() {
    let sale = Sale::open().await;
    let write = sale.create(&order(sale.order_of_the_erp("S00021")));
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
    sale.harness.subject.store.age(Duration::from_hours(30));
    assert!(sale.harness.subject.store.orders().is_empty());

    let place = continued(write.clone(), external_id.clone(), parts, step);
    let placed = sale.harness.write(&place).await;

    assert_ne!(placed.external_id, external_id);
    assert_eq!(sale.held(&write, &placed.external_id).await, write.content);
}
