//! Payments and refunds of orders, as the API shows and takes them.

use chrono::{DateTime, Utc};
use lockstep_shared::entity::{self, Content, PartKey};
use lockstep_shared::system::EntityType;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::body::{self, FromBody, instant, line, present, present_line};
use crate::money::{Money, decimal};
use crate::problem::WrongField;
use crate::records::{self, Shown};
use crate::references::{Named, RecordReference};

/// Which way the money went. `received`: from the buyer. `refunded`: back to the buyer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename_all = "lowercase", remote = "entity::PaymentKind")]
#[serde(rename_all = "lowercase")]
pub(crate) enum PaymentKind {
    #[default]
    Received,
    Refunded,
}

/// What a refund gives back of one line of its order.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RefundedLine {
    /// Key of the order's line. Each is named once.
    #[serde(deserialize_with = "line")]
    line: String,
    /// How many units are given back, as a decimal in a text; none where it is money only.
    #[oai(default)]
    #[serde(default, deserialize_with = "decimal")]
    quantity: Decimal,
    /// Net amount that is given back, as a decimal in a text.
    #[serde(deserialize_with = "decimal")]
    total: Decimal,
    /// Tax that is given back, as a decimal in a text.
    #[oai(default)]
    #[serde(default, deserialize_with = "decimal")]
    tax: Decimal,
}

/// Money that changed hands for an order. The method and the transaction have at most 250 characters as they are put.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(
    rename_all = "camelCase",
    deny_unknown_fields,
    skip_serializing_if_is_none,
    example
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Payment {
    /// The order that was paid.
    order: RecordReference,
    /// Which way the money went.
    #[oai(default)]
    #[serde(default)]
    kind: PaymentKind,
    /// How much, taxes included: more than nothing, whichever way it went.
    amount: Money,
    /// When it was made, to the second.
    #[serde(deserialize_with = "instant")]
    made_at: DateTime<Utc>,
    /// How it was paid, such as `stripe`.
    #[serde(default, deserialize_with = "present_line")]
    method: Option<String>,
    /// The payment provider's identifier of it.
    #[serde(default, deserialize_with = "present_line")]
    transaction_id: Option<String>,
    /// Why it was paid back.
    #[serde(default, deserialize_with = "present")]
    reason: Option<String>,
    /// What a refund gives back, line by line; empty where it is just an amount.
    #[oai(default)]
    #[serde(default)]
    lines: Vec<RefundedLine>,
}

impl From<RefundedLine> for entity::RefundedLine {
    fn from(line: RefundedLine) -> Self {
        Self {
            line: PartKey::named(line.line),
            quantity: line.quantity,
            total: line.total,
            tax: line.tax,
        }
    }
}

impl From<entity::RefundedLine> for RefundedLine {
    fn from(line: entity::RefundedLine) -> Self {
        Self {
            line: line.line.to_string(),
            quantity: line.quantity,
            total: line.total,
            tax: line.tax,
        }
    }
}

impl From<entity::Payment> for Payment {
    fn from(payment: entity::Payment) -> Self {
        Self {
            order: payment.order.into(),
            kind: payment.kind.into(),
            amount: payment.amount.into(),
            made_at: payment.made_at,
            method: payment.method,
            transaction_id: payment.transaction_id,
            reason: payment.reason,
            lines: payment.lines.into_iter().map(RefundedLine::from).collect(),
        }
    }
}

impl FromBody for Payment {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        body::read(json)
    }
}

impl Shown for Payment {
    const ENTITY: EntityType = EntityType::Payments;
    const ADDRESS: &'static str = "/api/v1/records/payments";

    fn named(&self) -> Vec<Named> {
        vec![Named::new("order", EntityType::Orders, self.order.record)]
    }

    fn into_content(self) -> Content {
        Content::Payment(entity::Payment {
            order: self.order.into(),
            kind: self.kind.into(),
            amount: self.amount.into(),
            made_at: self.made_at,
            method: self.method,
            transaction_id: self.transaction_id,
            reason: self.reason,
            lines: self.lines.into_iter().map(entity::RefundedLine::from).collect(),
        })
    }

    fn of_content(content: Content) -> Option<Self> {
        let Content::Payment(payment) = content else {
            return None;
        };
        Some(payment.into())
    }
}

impl Example for Payment {
    fn example() -> Self {
        Self {
            order: RecordReference {
                record: Uuid::from_u128(0x0198_3f5e_7c00_7000_8000_0000_0000_0003),
            },
            kind: PaymentKind::Received,
            amount: Money {
                amount: Decimal::new(4737, 2),
                currency: "EUR".to_owned(),
            },
            made_at: DateTime::UNIX_EPOCH + chrono::Duration::days(20_500),
            method: Some("stripe".to_owned()),
            transaction_id: Some("ch_3MmlLrLkdIwHu7ix0snN0B15".to_owned()),
            reason: None,
            lines: Vec::new(),
        }
    }
}

records::operations! {
    Payments of Payment;
    put: "putPayment", "Put a payment";
    put_many: "putPayments", "Put many payments";
    put_lines: "putPaymentsLines", "Put many payments, a line each";
    get: "getPayment", "Get a payment";
    list: "listPayments", "List payments";
}

#[cfg(test)]
mod tests {
    use poem_openapi::types::ToJSON;

    use super::*;

    #[test]
    fn a_payment_comes_back_as_it_was_put() {
        let json = Payment::example().to_json().unwrap();

        let content = Payment::from_body(json.clone()).unwrap().into_content();
        let shown = Payment::of_content(content.canonical().unwrap()).unwrap();

        assert_eq!(shown.to_json().unwrap(), json, "R50");
    }
}
