//! Amounts to the cent: what WooCommerce adds up must be what was agreed elsewhere (facts/mapping-woocommerce.md §3,
//! algorithm 3a). Pure.

use lockstep_shared::entity::{Currency, LineKind, Order, OrderLine};
use rust_decimal::{Decimal, RoundingStrategy};

/// Returns how many digits an amount is written with. What is sent with more is shown rounded and summed as sent, so
/// that the parts would not make the whole (facts/mapping-woocommerce.md §3).
fn digits(currency: Currency) -> u32 {
    match currency.code() {
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

/// Rounds an amount as people do.
pub(in super::super) fn rounded(amount: Decimal, currency: Currency) -> Decimal {
    amount
        .round_dp_with_strategy(digits(currency), RoundingStrategy::MidpointAwayFromZero)
        .normalize()
}

/// Writes an amount with all its digits: strings only, with a point (facts/mapping-woocommerce.md §1, «Prices»).
pub(in super::super) fn written(amount: Decimal, currency: Currency) -> String {
    let mut amount = rounded(amount, currency);
    amount.rescale(digits(currency));
    amount.to_string()
}

/// Returns a line's subtotal and total as the store keeps them. A subtotal below the total is raised to it, and what is
/// no item has none of its own.
pub(super) fn of_line(line: &OrderLine, currency: Currency) -> (Decimal, Decimal) {
    let total = rounded(line.total, currency);
    match line.kind {
        LineKind::Item => (rounded(line.subtotal, currency).max(total), total),
        LineKind::Shipping | LineKind::Fee => (total, total),
    }
}

/// What an order's lines leave out of its total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Makeweight {
    pub(super) tax: Decimal,
    pub(super) rounding: Decimal,
}

impl Makeweight {
    pub(super) fn of(order: &Order) -> Self {
        let lines: Decimal = order
            .lines
            .iter()
            .map(|line| of_line(line, order.currency).1)
            .sum();
        let tax = rounded(order.total_tax, order.currency);
        Self {
            tax,
            rounding: rounded(order.total, order.currency) - lines - tax,
        }
    }
}

/// Reads an amount. A refund that was made over nothing says `""`, and its order `"-"` (facts/systems.md A8).
pub(in super::super) fn read(text: &str) -> Option<Decimal> {
    match text.trim() {
        "" | "-" => Some(Decimal::ZERO),
        text => text.parse().ok(),
    }
}
