//! Amounts of money: how they are read, rounded and shown.

use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Value, json};

use super::product::as_text;
use super::text;

/// Reads anything as an amount; what is no number is nothing, without an error.
pub(super) fn read(value: &Value) -> Decimal {
    parse(&as_text(value))
}

/// Reads an amount from text as [`read`] does.
pub(super) fn parse(text: &str) -> Decimal {
    text::decimal(text).parse().unwrap_or_default()
}

/// Rounds halves away from zero, as PHP does.
pub(super) fn rounded(amount: Decimal, digits: u32) -> Decimal {
    amount.round_dp_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero)
}

/// Shows an amount with so many digits.
pub(super) fn shown(amount: Decimal, digits: u32) -> String {
    let mut amount = rounded(amount, digits);
    amount.rescale(digits);
    if amount.is_zero() {
        amount.set_sign_positive(true);
    }
    amount.to_string()
}

/// Shows an amount without zeros at its end.
pub(super) fn plain(amount: Decimal) -> String {
    amount.normalize().to_string()
}

/// Shows an amount as it is stored: all its digits, but no fewer than the shop's.
pub(super) fn stored(amount: Decimal, digits: u32) -> String {
    if amount.normalize().scale() > digits {
        plain(amount)
    } else {
        shown(amount, digits)
    }
}

/// Makes a JSON number: whole when it is whole.
pub(super) fn number(amount: Decimal) -> Value {
    let text = plain(amount);
    match (text.parse::<i64>(), text.parse::<f64>()) {
        (Ok(whole), _) => json!(whole),
        (Err(_), Ok(number)) => json!(number),
        (Err(_), Err(_)) => Value::Null,
    }
}
