//! Payments and refunds of orders.

use std::collections::BTreeSet;

use chrono::{DateTime, SubsecRound, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::text::{clean_line, clean_text, optional};
use super::{FieldError, Invalid, Money, PartKey, Reference};

/// Which way the money went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentKind {
    /// From the buyer.
    #[default]
    Received,
    /// Back to the buyer.
    Refunded,
}

/// What a refund gives back of one line of its order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundedLine {
    /// Key of the order's line.
    pub line: PartKey,
    #[serde(default)]
    pub quantity: Decimal,
    /// Net.
    pub total: Decimal,
    #[serde(default)]
    pub tax: Decimal,
}

/// Money that changed hands for an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payment {
    pub order: Reference,
    #[serde(default)]
    pub kind: PaymentKind,
    /// More than nothing: which way it went is said by the kind.
    pub amount: Money,
    /// When it was made, to the second.
    pub made_at: DateTime<Utc>,
    /// How it was paid, such as `stripe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The payment provider's id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<String>,
    /// Why it was paid back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What a refund gives back, in the order of the lines' keys; empty where it is just an amount.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<RefundedLine>,
}

impl Payment {
    /// Returns the payment in canonical form, or every reason why there is none.
    pub fn canonical(self) -> Result<Self, Invalid> {
        let mut errors = Vec::new();
        let amount = Money::new(self.amount.amount, self.amount.currency);
        if amount.amount <= Decimal::ZERO {
            errors.push(FieldError::new("amount", "must be more than nothing"));
        }
        if self.kind == PaymentKind::Received && !self.lines.is_empty() {
            errors.push(FieldError::new(
                "lines",
                "must be empty where nothing is given back",
            ));
        }
        let mut keys = BTreeSet::new();
        for (position, line) in self.lines.iter().enumerate() {
            if !keys.insert(&line.line) {
                errors.push(FieldError::new(
                    format!("lines/{position}/line"),
                    format!("`{}` must be named once", line.line),
                ));
            }
        }
        if !errors.is_empty() {
            return Err(Invalid(errors));
        }
        let mut lines: Vec<RefundedLine> = self
            .lines
            .into_iter()
            .map(|line| RefundedLine {
                line: line.line,
                quantity: line.quantity.normalize(),
                total: line.total.normalize(),
                tax: line.tax.normalize(),
            })
            .collect();
        lines.sort_by(|a, b| a.line.cmp(&b.line));
        Ok(Self {
            order: self.order,
            kind: self.kind,
            amount,
            made_at: self.made_at.trunc_subsecs(0),
            method: optional(self.method, clean_line),
            transaction_id: optional(self.transaction_id, clean_line),
            reason: optional(self.reason, clean_text),
            lines,
        })
    }
}
