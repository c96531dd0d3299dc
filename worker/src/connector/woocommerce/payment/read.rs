//! Payments as WooCommerce answers them, in our form. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{
    Content, FieldError, Invalid, Money, PartKey, Payment, PaymentKind, Reference, RefundedLine,
};
use lockstep_shared::id::RecordId;
use rust_decimal::Decimal;

use super::super::order::{self, Order};
use super::super::text;
use super::wire::{REFUNDED_ITEM, Refund};
use crate::connector::{Parts, Theirs};

/// Says whether an order was paid for. The state `processing` sets the date of the payment by itself; so on an order that
/// we brought, a payment is what was noted as one, by us or by whoever took the money.
pub(super) fn is_paid(order: &Order) -> bool {
    let is_noted = order.marker().is_none()
        || order.meta(order::PAYMENT).is_some()
        || !order.payment_method.trim().is_empty();
    order.date_paid_gmt.is_some() && is_noted
}

/// Reads what was paid for an order, where that is anything.
pub(super) fn received(order: &Order, _settings: &Settings) -> Option<Theirs> {
    let paid_at = order.date_paid_gmt.filter(|_| is_paid(order))?;
    let amount = order::amount(&order.total);
    if amount.is_some_and(|amount| amount <= Decimal::ZERO) {
        return None;
    }
    let id = order.id.to_string();
    // Where no payment id is known, the order's number stands there for people to search by.
    let is_number = order.marker().is_some() && Some(order.transaction_id.as_str()) == order.own_number();
    let content = money(&order.total, &order.currency).and_then(|amount| {
        let payment = Payment {
            order: Reference::remote(id.clone(), None),
            kind: PaymentKind::Received,
            amount,
            made_at: paid_at.and_utc(),
            method: Some(order.payment_method.clone()),
            transaction_id: Some(order.transaction_id.clone()).filter(|_| !is_number),
            reason: None,
            lines: Vec::new(),
        };
        payment.canonical()
    });
    Some(Theirs {
        external_id: id,
        content: content.map(|payment| Content::Payment(super::project(&payment))),
        parts: Parts::new(),
        marker: order.meta(order::PAYMENT).and_then(|text| text.parse().ok()),
        modified_at: order.date_modified_gmt.map(|at| at.and_utc()),
    })
}

/// Reads a refund of an order; one of nothing is none.
pub(super) fn refunded(refund: &Refund, order: &Order) -> Option<Theirs> {
    if order::amount(&refund.amount).is_some_and(|amount| amount <= Decimal::ZERO) {
        return None;
    }
    let content = money(&refund.amount, &order.currency).and_then(|amount| {
        let details = refund.details().filter(|_| refund.marker().is_some());
        let payment = match details {
            Some(details) => Payment {
                order: Reference::remote(order.id.to_string(), None),
                kind: PaymentKind::Refunded,
                amount,
                made_at: details.made_at,
                method: details.method,
                transaction_id: details.transaction_id,
                reason: details.reason,
                lines: details.lines,
            },
            None => Payment {
                order: Reference::remote(order.id.to_string(), None),
                kind: PaymentKind::Refunded,
                amount,
                made_at: made_at(refund)?,
                method: None,
                transaction_id: None,
                reason: Some(text::settled(&refund.reason)),
                lines: lines(refund, order),
            },
        };
        payment.canonical()
    });
    Some(Theirs {
        external_id: external_id(order.id, refund.id),
        content: content.map(|payment| Content::Payment(super::project(&payment))),
        parts: Parts::new(),
        marker: marker(refund),
        // It can't be changed (facts/systems.md A8).
        modified_at: refund.date_created_gmt.map(|at| at.and_utc()),
    })
}

pub(super) fn external_id(order: u64, refund: u64) -> String {
    format!("{order}/{refund}")
}

fn marker(refund: &Refund) -> Option<RecordId> {
    refund.marker()
}

fn made_at(refund: &Refund) -> Result<DateTime<Utc>, Invalid> {
    let missing = || Invalid(vec![FieldError::new("made_at", "must be there")]);
    Ok(refund.date_created_gmt.ok_or_else(missing)?.and_utc())
}

fn money(amount: &str, currency: &str) -> Result<Money, Invalid> {
    let wrong = |field: &str, message: String| Invalid(vec![FieldError::new(field, message)]);
    let currency = currency
        .parse()
        .map_err(|error| wrong("currency", format!("{error}")))?;
    let amount = order::amount(amount)
        .ok_or_else(|| wrong("amount", format!("must be a plain number, not `{amount}`")))?;
    Ok(Money::new(amount, currency))
}

/// Returns what of which line was given back. A refund's lines have quantities and amounts below zero, and name the line
/// of the order that they are about (facts/systems.md A8). What only makes an order's sum right is no line of it.
fn lines(refund: &Refund, order: &Order) -> Vec<RefundedLine> {
    let known: BTreeMap<String, &order::Line> = order
        .lines()
        .map(|(_, line)| (line.id.to_string(), line))
        .collect();
    let mut lines: BTreeMap<PartKey, RefundedLine> = BTreeMap::new();
    let negated = |text: &str| -order::amount(text).unwrap_or_default();
    for line in refund.lines() {
        let of = line.meta(REFUNDED_ITEM).and_then(|id| known.get(id));
        let Some(of) = of.filter(|of| !of.is_makeweight()) else {
            continue;
        };
        let key = PartKey::named(of.key());
        let entry = lines.entry(key.clone()).or_insert_with(|| RefundedLine {
            line: key,
            quantity: Decimal::ZERO,
            total: Decimal::ZERO,
            tax: Decimal::ZERO,
        });
        entry.quantity += negated(&line.quantity);
        entry.total += negated(&line.total);
        entry.tax += negated(&line.total_tax);
    }
    lines.into_values().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn order(json: Value) -> Order {
        serde_json::from_value(json).unwrap()
    }

    fn payment(theirs: Option<Theirs>) -> Payment {
        match theirs.unwrap().content.unwrap() {
            Content::Payment(payment) => payment,
            other => panic!("{other:?}"),
        }
    }

    /// As it was answered (facts/systems.md A7).
    fn paid() -> Value {
        json!({
            "id": 26, "status": "processing", "currency": "USD", "total": "60.00", "number": "26",
            "date_paid_gmt": "2026-11-22T18:31:43", "payment_method": "stripe", "transaction_id": "txn_2", "meta_data": []
        })
    }

    #[test]
    fn an_order_is_its_own_payment() {
        let read = received(&order(paid()), &Settings::default());
        assert_eq!(read.as_ref().unwrap().external_id, "26");

        let payment = payment(read);

        assert_eq!(payment.amount.amount, Decimal::from(60));
        assert_eq!(payment.transaction_id.as_deref(), Some("txn_2"));
        assert_eq!(payment.made_at.to_rfc3339(), "2026-11-22T18:31:43+00:00");
        assert_eq!(payment.order, Reference::remote("26", None));
    }

    #[test]
    fn nothing_is_paid_without_a_date_or_an_amount() {
        for (field, value) in [("date_paid_gmt", Value::Null), ("total", json!("0.00"))] {
            let mut json = paid();
            json[field] = value;
            assert!(received(&order(json), &Settings::default()).is_none());
        }
    }

    #[test]
    fn the_state_of_an_order_that_we_brought_is_no_payment_of_it() {
        let mut json = paid();
        json["payment_method"] = json!("");
        json["transaction_id"] = json!("S00021");
        let record = "0198c0de-0000-7000-8000-000000000001";
        let mut meta = vec![
            json!({"key": "_lockstep_record", "value": record}),
            json!({"key": "_lockstep_number", "value": "S00021"}),
        ];
        json["meta_data"] = json!(meta);
        assert!(received(&order(json.clone()), &Settings::default()).is_none());

        meta.push(json!({"key": "_lockstep_payment", "value": record}));
        json["meta_data"] = json!(meta);
        let read = received(&order(json), &Settings::default());

        assert!(read.as_ref().unwrap().marker.is_some());
        assert_eq!(
            payment(read).transaction_id,
            None,
            "the number is no payment's id"
        );
    }

    /// The captures' own refund of a line (facts/systems.md A8).
    #[test]
    fn a_refund_names_the_lines_of_its_order() {
        let refund: Refund = serde_json::from_value(json!({
            "id": 31, "parent_id": 26, "date_created_gmt": "2026-11-22T18:31:47", "amount": "20.00", "reason": "",
            "meta_data": [{"id": 68, "key": "_refund_type", "value": "partial"}],
            "line_items": [{"id": 14, "name": "Priced", "product_id": 25, "quantity": -1, "subtotal": "-20.00",
                "total": "-20.00", "total_tax": "-0.89",
                "meta_data": [{"id": 138, "key": "_refunded_item_id", "value": "11"}]}],
            "shipping_lines": [], "tax_lines": [], "fee_lines": []
        }))
        .unwrap();
        let mut json = paid();
        json["line_items"] = json!([{"id": 11, "quantity": 3, "total": "60.00"}]);

        let read = refunded(&refund, &order(json));
        assert_eq!(read.as_ref().unwrap().external_id, "26/31");

        let line = RefundedLine {
            line: PartKey::named("11"),
            quantity: Decimal::ONE,
            total: Decimal::from(20),
            tax: Decimal::new(89, 2),
        };
        assert_eq!(payment(read).lines, [line]);
    }

    #[test]
    fn a_refund_of_nothing_is_none() {
        for amount in ["", "-", "0.00"] {
            let refund = Refund {
                amount: amount.to_owned(),
                ..Refund::default()
            };
            assert!(refunded(&refund, &order(paid())).is_none());
        }
    }
}
