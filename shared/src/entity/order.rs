//! Orders, with their lines to the cent.

use std::collections::BTreeSet;

use chrono::{DateTime, SubsecRound, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::customer::Email;
use super::text::{LINE_LIMIT, clean_line, clean_text, optional};
use super::{Address, Currency, FieldError, Invalid, PartKey, Reference};
use crate::system::System;

/// Most lines one order may have.
const LINE_COUNT_LIMIT: usize = 2000;

/// Longest key of a line, in characters: it stands in names that the systems keep.
const LINE_KEY_LIMIT: usize = 60;

/// How far an order has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Placed, not paid.
    #[default]
    Pending,
    /// Placed; waits for somebody.
    OnHold,
    /// Agreed: paid, or to be delivered on account.
    Processing,
    /// Delivered.
    Completed,
    Cancelled,
    /// The payment failed.
    Failed,
    /// All of it was paid back.
    Refunded,
}

/// What a line of an order stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    #[default]
    Item,
    Shipping,
    Fee,
}

/// One tax on one line.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaxAmount {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// In percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Decimal>,
    pub amount: Decimal,
}

/// One line of an order. Amounts are in the order's currency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderLine {
    /// Tells the line apart within its order, in every system: where it came from, it is the id it has there.
    pub key: PartKey,
    #[serde(default)]
    pub kind: LineKind,
    /// What was sold; none for shipping, fees, and things that no longer exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default = "one")]
    pub quantity: Decimal,
    /// Net, before discounts.
    pub subtotal: Decimal,
    /// Net, after discounts.
    pub total: Decimal,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taxes: Vec<TaxAmount>,
}

fn one() -> Decimal {
    Decimal::ONE
}

impl OrderLine {
    pub fn tax(&self) -> Decimal {
        self.taxes.iter().map(|tax| tax.amount).sum()
    }
}

/// Whom an order is billed or sent to, as the order itself says it: addresses of old orders don't move.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Contact {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    #[serde(skip_serializing_if = "Address::is_empty")]
    pub address: Address,
}

impl Contact {
    fn canonical(self, path: &str, errors: &mut Vec<FieldError>) -> Option<Self> {
        let email = optional(self.email, clean_line).map(|text| match Email::parse(&text) {
            Some(email) => email.as_str().to_owned(),
            // Kept as it is: an old order is not refused for what its buyer typed.
            None => text,
        });
        let contact = Self {
            company: optional(self.company, clean_line),
            email,
            phone: optional(self.phone, clean_line),
            address: self
                .address
                .canonical(&format!("{path}/address"), errors)
                .unwrap_or_default(),
        };
        (contact != Self::default()).then_some(contact)
    }
}

/// Something that was bought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The number that people know it by, as the system gave it in which it was placed.
    pub number: String,
    /// The system in which it was placed; none for the organisation's own application. That system has the last word
    /// on what was ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<System>,
    #[serde(default)]
    pub status: OrderStatus,
    pub currency: Currency,
    /// When it was placed, to the second.
    pub placed_at: DateTime<Utc>,
    /// Whose account it belongs to; none for a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing: Option<Contact>,
    /// Where goods go, when that is not the billing address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping: Option<Contact>,
    /// What the buyer wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Codes of the coupons whose discounts the lines have in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coupons: Vec<String>,
    /// In the order of their keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<OrderLine>,
    /// All taxes together.
    #[serde(default)]
    pub total_tax: Decimal,
    /// What the buyer has to pay, taxes included.
    pub total: Decimal,
}

impl Order {
    /// Returns the order in canonical form, or every reason why there is none.
    pub fn canonical(self) -> Result<Self, Invalid> {
        let mut errors = Vec::new();
        let number = clean_line(&self.number);
        if number.is_empty() || number.chars().count() > LINE_LIMIT {
            errors.push(FieldError::new(
                "number",
                format!("must have 1 to {LINE_LIMIT} characters"),
            ));
        }
        if self.lines.len() > LINE_COUNT_LIMIT {
            errors.push(FieldError::new(
                "lines",
                format!("must be at most {LINE_COUNT_LIMIT}"),
            ));
        }
        let mut keys = BTreeSet::new();
        for (position, line) in self.lines.iter().enumerate() {
            let path = |field: &str| format!("lines/{position}/{field}");
            if !is_line_key(line.key.as_str()) {
                errors.push(FieldError::new(
                    path("key"),
                    format!("must be 1 to {LINE_KEY_LIMIT} letters, digits, `-` or `_`"),
                ));
            }
            if !keys.insert(&line.key) {
                errors.push(FieldError::new(
                    path("key"),
                    format!("`{}` must be used once in an order", line.key),
                ));
            }
        }
        let billing = self
            .billing
            .and_then(|contact| contact.canonical("billing", &mut errors));
        let shipping = self
            .shipping
            .and_then(|contact| contact.canonical("shipping", &mut errors))
            .filter(|shipping| {
                let is_same = billing.as_ref().is_some_and(|billing| {
                    billing.address == shipping.address
                        && (shipping.company.is_none() || billing.company == shipping.company)
                });
                !is_same
            });
        if !errors.is_empty() {
            return Err(Invalid(errors));
        }
        let mut lines: Vec<OrderLine> = self.lines.into_iter().map(canonical_line).collect();
        lines.sort_by(|a, b| a.key.cmp(&b.key));
        let mut coupons: Vec<String> = self
            .coupons
            .iter()
            .map(|code| clean_line(code).to_lowercase())
            .filter(|code| !code.is_empty())
            .collect();
        coupons.sort();
        coupons.dedup();
        Ok(Self {
            number,
            origin: self.origin,
            status: self.status,
            currency: self.currency,
            placed_at: self.placed_at.trunc_subsecs(0),
            customer: self.customer,
            billing,
            shipping,
            note: optional(self.note, clean_text),
            coupons,
            lines,
            total_tax: self.total_tax.normalize(),
            total: self.total.normalize(),
        })
    }
}

fn is_line_key(key: &str) -> bool {
    (1..=LINE_KEY_LIMIT).contains(&key.len())
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn canonical_line(line: OrderLine) -> OrderLine {
    let mut taxes: Vec<TaxAmount> = line
        .taxes
        .into_iter()
        .map(|tax| TaxAmount {
            name: optional(tax.name, clean_line),
            rate: tax.rate.map(|rate| rate.normalize()),
            amount: tax.amount.normalize(),
        })
        .filter(|tax| !tax.amount.is_zero() || tax.rate.is_some())
        .collect();
    taxes.sort();
    OrderLine {
        key: line.key,
        kind: line.kind,
        product: line.product,
        name: optional(line.name, clean_line),
        quantity: line.quantity.normalize(),
        subtotal: line.subtotal.normalize(),
        total: line.total.normalize(),
        taxes,
    }
}
