//! Lines of an order: what they amount to, to the cent, and the cells that say so. Pure.
//!
//! Source: facts/mapping-odoo.md §3, "The algorithm for exact cents".

use lockstep_shared::entity::{LineKind, OrderLine};
use rust_decimal::Decimal;

use super::super::wire::round;
use super::tax::{self, Forcing};

/// Digits of amounts.
pub(super) const CENTS: u32 = 2;

/// Digits of a quantity: what «Product Unit» is set to by default (facts/mapping-odoo.md §3).
const QUANTITY_DIGITS: u32 = 2;

/// Digits of a discount in percent (facts/mapping-odoo.md §3).
const DISCOUNT_DIGITS: u32 = 2;

/// A product that stands for what is no product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Service {
    Shipping,
    Fee,
    /// Something that was sold and is not in Odoo.
    Item,
    /// What an order's total is more or less than its lines.
    Round,
}

impl Service {
    pub(in super::super) const ALL: [Self; 4] = [Self::Shipping, Self::Fee, Self::Item, Self::Round];

    pub(super) const fn of(kind: LineKind) -> Self {
        match kind {
            LineKind::Item => Self::Item,
            LineKind::Shipping => Self::Shipping,
            LineKind::Fee => Self::Fee,
        }
    }

    /// Its internal reference, by which it is known on the lines that are read.
    pub(in super::super) const fn code(self) -> &'static str {
        match self {
            Self::Shipping => "LOCKSTEP-SHIPPING",
            Self::Fee => "LOCKSTEP-FEE",
            Self::Item => "LOCKSTEP-ITEM",
            Self::Round => "LOCKSTEP-ROUND",
        }
    }

    pub(in super::super) fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.code() == code)
    }

    /// What it is called in its external id.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Shipping => "shipping",
            Self::Fee => "fee",
            Self::Item => "item",
            Self::Round => "round",
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Shipping => "Shipping",
            Self::Fee => "Fee",
            Self::Item => "Item",
            Self::Round => "Rounding",
        }
    }

    /// The kind of line that it stands for.
    pub(super) const fn kind(self) -> LineKind {
        match self {
            Self::Shipping => LineKind::Shipping,
            Self::Fee => LineKind::Fee,
            Self::Item | Self::Round => LineKind::Item,
        }
    }
}

/// Whose the amounts of an order are: only an order of Odoo's own has discounts beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Discounts {
    Held,
    InTotals,
}

/// Returns a line as Odoo can hold it; none where it is nothing there: a line that is gone from an agreed order stays
/// with a quantity of nothing.
pub(super) fn project(line: &OrderLine, discounts: Discounts) -> Option<OrderLine> {
    let total = round(line.total, CENTS);
    let taxes = tax::collapse(line.taxes.iter().map(|tax| (tax.rate, tax.amount)));
    let mut quantity = round(line.quantity, QUANTITY_DIGITS);
    let subtotal = match discounts {
        Discounts::Held => round(line.subtotal, CENTS),
        Discounts::InTotals => total,
    };
    if quantity.is_zero() {
        if total.is_zero() && taxes.is_empty() {
            return None;
        }
        quantity = Decimal::ONE;
    }
    Some(OrderLine {
        key: line.key.clone(),
        kind: line.kind,
        product: line.product.clone().filter(|_| line.kind == LineKind::Item),
        name: Some(
            line.name
                .clone()
                .unwrap_or_else(|| Service::of(line.kind).title().to_owned()),
        ),
        quantity,
        subtotal,
        total,
        taxes,
    })
}

/// Turns a decimal into the float that Odoo keeps of it.
pub(super) fn float(amount: Decimal) -> f64 {
    amount.to_string().parse().expect("a decimal's text is a number")
}

/// What a line's amounts are in Odoo's terms.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Priced {
    pub(super) quantity: Decimal,
    pub(super) net: Decimal,
    pub(super) price_unit: f64,
    pub(super) discount: Decimal,
    /// Each of Odoo's taxes with its amount.
    pub(super) taxes: Vec<(i64, Decimal)>,
}

impl Priced {
    /// A line as [`project`] leaves it never has a quantity of nothing.
    pub(super) fn new(line: &OrderLine, discounts: Discounts, taxes: Vec<(i64, Decimal)>) -> Self {
        let quantity = if line.quantity.is_zero() {
            Decimal::ONE
        } else {
            line.quantity
        };
        let (before, discount) = match discounts {
            Discounts::Held if !line.subtotal.is_zero() => {
                let share = Decimal::ONE - line.total / line.subtotal;
                (
                    line.subtotal,
                    round(share * Decimal::ONE_HUNDRED, DISCOUNT_DIGITS),
                )
            }
            Discounts::Held | Discounts::InTotals => (line.total, Decimal::ZERO),
        };
        Self {
            quantity,
            net: line.total,
            price_unit: float(before / quantity),
            discount,
            taxes,
        }
    }

    /// The untaxed line that makes up for a difference.
    pub(super) fn residual(amount: Decimal) -> Self {
        Self {
            quantity: Decimal::ONE,
            net: amount,
            price_unit: float(amount),
            discount: Decimal::ZERO,
            taxes: Vec::new(),
        }
    }

    pub(super) fn forcing(&self, currency: i64) -> String {
        Forcing {
            taxes: &self.taxes,
            net: self.net,
            currency,
            price_unit: self.price_unit,
            discount: self.discount,
            quantity: self.quantity,
        }
        .text()
    }
}

/// What an order's total is more than its lines and their taxes; nothing where Odoo computes the total itself.
pub(super) fn residual(total: Decimal, lines: &[OrderLine]) -> Decimal {
    let sum: Decimal = lines.iter().map(|line| line.total + line.tax()).sum();
    round(total - sum, CENTS)
}

#[cfg(test)]
mod tests {
    use lockstep_shared::entity::{PartKey, TaxAmount};

    use super::*;

    fn line(quantity: i64, cents: i64, tax: i64) -> OrderLine {
        OrderLine {
            key: PartKey::named("1"),
            name: Some("Beanie".to_owned()),
            quantity: Decimal::from(quantity),
            subtotal: Decimal::new(cents + 100, 2),
            total: Decimal::new(cents, 2),
            taxes: vec![TaxAmount {
                name: Some("NY".to_owned()),
                rate: Some(Decimal::new(8875, 3)),
                amount: Decimal::new(tax, 2),
            }],
            ..OrderLine::default()
        }
    }

    #[test]
    fn a_discount_of_another_system_is_in_the_total() {
        let held = project(&line(1, 1620, 144), Discounts::InTotals).unwrap();
        let native = project(&line(1, 1620, 144), Discounts::Held).unwrap();

        assert_eq!((held.subtotal, held.total), (held.total, Decimal::new(162, 1)));
        assert_eq!(native.subtotal, Decimal::new(172, 1));
        assert_eq!(held.taxes[0].name, None);
    }

    #[test]
    fn a_price_is_the_total_by_the_quantity_as_a_full_float() {
        let priced = Priced::new(&line(3, 1000, 89), Discounts::InTotals, Vec::new());

        assert!((priced.price_unit - 10.0 / 3.0).abs() < f64::EPSILON);
        assert_eq!(priced.discount, Decimal::ZERO);
    }

    #[test]
    fn a_price_of_odoos_own_has_its_discount_beside_it() {
        let mut line = line(2, 1800, 0);
        line.subtotal = Decimal::from(20);

        let priced = Priced::new(&line, Discounts::Held, Vec::new());

        assert!((priced.price_unit - 10.0).abs() < f64::EPSILON);
        assert_eq!(priced.discount, Decimal::from(10));
    }

    #[test]
    fn what_lines_leave_of_a_total_is_told() {
        let lines = [line(1, 1620, 144), line(2, 3240, 288)];

        assert_eq!(residual(Decimal::new(5292, 2), &lines), Decimal::ZERO);
        assert_eq!(residual(Decimal::new(5291, 2), &lines), Decimal::new(-1, 2));
    }

    #[test]
    fn a_line_of_nothing_is_no_line() {
        assert_eq!(project(&line(0, 0, 0), Discounts::InTotals), None);
        assert_eq!(
            project(&line(0, 500, 0), Discounts::InTotals).unwrap().quantity,
            Decimal::ONE
        );
    }
}
