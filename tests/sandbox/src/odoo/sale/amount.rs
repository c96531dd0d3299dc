//! What an order amounts to: the arithmetic of Odoo 19's tax engine as far as orders need it (facts: mapping-odoo 3).
//!
//! Under `round_globally` each tax is summed over all lines and rounded once; under `round_per_line` every amount of a
//! line is rounded. A line alone is an order of one line.

use std::collections::BTreeMap;

/// When amounts are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::odoo) enum Rounding {
    Globally,
    PerLine,
}

/// How a tax is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::odoo) enum Computation {
    Percent,
    Fixed,
    Division,
}

#[derive(Debug, Clone)]
pub(in crate::odoo) struct Tax {
    pub(in crate::odoo) id: i64,
    pub(in crate::odoo) amount: f64,
    pub(in crate::odoo) computation: Computation,
    /// Whether prices include it.
    pub(in crate::odoo) is_included: bool,
}

/// Amounts that take the place of computed ones.
#[derive(Debug, Clone, Default)]
pub(in crate::odoo) struct Forced {
    /// The tax and the base, by tax.
    pub(in crate::odoo) taxes: BTreeMap<i64, (Option<f64>, Option<f64>)>,
    pub(in crate::odoo) excluded: Option<f64>,
}

#[derive(Debug, Clone, Default)]
pub(in crate::odoo) struct Line {
    pub(in crate::odoo) price: f64,
    pub(in crate::odoo) quantity: f64,
    /// In percent.
    pub(in crate::odoo) discount: f64,
    pub(in crate::odoo) taxes: Vec<Tax>,
    pub(in crate::odoo) forced: Option<Forced>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::odoo) struct Totals {
    pub(in crate::odoo) untaxed: f64,
    pub(in crate::odoo) tax: f64,
    pub(in crate::odoo) total: f64,
}

/// A line before the order is rounded.
struct Details {
    excluded: f64,
    /// The tax, its amount, and whether prices include it.
    taxes: Vec<(i64, f64, bool)>,
}

/// Rounds half away from zero to a step such as 0.01, forgiving what binary fractions lack (source: `float_round`).
pub(in crate::odoo) fn round_to(number: f64, step: f64) -> f64 {
    let steps = number / step;
    let rounded = (steps + (steps.abs() * 2_f64.powi(-50)).copysign(steps)).round();
    let per_unit = (1.0 / step).round();
    // Dividing by 100 gives the number closest to the decimal one, multiplying by 0.01 does not.
    if (per_unit * step - 1.0).abs() < 1e-9 {
        rounded / per_unit
    } else {
        rounded * step
    }
}

/// Sums lines up.
pub(in crate::odoo) fn totals(lines: &[Line], rounding: Rounding, step: f64) -> Totals {
    let details: Vec<Details> = lines.iter().map(|line| details(line, rounding, step)).collect();
    let mut by_tax: BTreeMap<(i64, bool), f64> = BTreeMap::new();
    for (tax, amount, is_included) in details.iter().flat_map(|line| &line.taxes) {
        *by_tax.entry((*tax, *is_included)).or_default() += amount;
    }
    let tax: f64 = by_tax.values().map(|amount| round_to(*amount, step)).sum();
    let excluded: f64 = details.iter().map(|line| line.excluded).sum();
    let has_excluded = details
        .iter()
        .flat_map(|line| &line.taxes)
        .any(|(_, amount, is_included)| !is_included && round_to(*amount, step) != 0.0);
    let untaxed = if has_excluded {
        round_to(excluded, step)
    } else {
        // What the customer was told stays: the base is what the taxes leave of it.
        let included: f64 = details
            .iter()
            .flat_map(|line| &line.taxes)
            .map(|(_, amount, _)| amount)
            .sum();
        round_to(excluded + included, step) - tax
    };
    let (untaxed, tax) = (round_to(untaxed, step), round_to(tax, step));
    Totals {
        untaxed,
        tax,
        total: round_to(untaxed + tax, step),
    }
}

fn details(line: &Line, rounding: Rounding, step: f64) -> Details {
    let round = |amount: f64| match rounding {
        Rounding::Globally => amount,
        Rounding::PerLine => round_to(amount, step),
    };
    let base = round(line.quantity * (line.price * (1.0 - line.discount / 100.0)));
    let forced = |tax: &Tax| line.forced.as_ref().and_then(|forced| forced.taxes.get(&tax.id));
    let batch = |tax: &Tax| -> f64 {
        let alike = line
            .taxes
            .iter()
            .filter(|other| other.computation == tax.computation && other.is_included == tax.is_included);
        alike.map(|other| other.amount).sum::<f64>() / 100.0
    };
    let amount = |tax: &Tax, base: f64| {
        if let Some((Some(amount), _)) = forced(tax) {
            return *amount;
        }
        round(match (tax.computation, tax.is_included) {
            (Computation::Fixed, _) => line.quantity * tax.amount.copysign(tax.amount * line.price.signum()),
            (Computation::Percent, true) => base * (1.0 / (1.0 + batch(tax))) * tax.amount / 100.0,
            (Computation::Percent, false) | (Computation::Division, true) => base * tax.amount / 100.0,
            (Computation::Division, false) => {
                let rest = 1.0 - batch(tax);
                base * tax.amount / 100.0 / if rest == 0.0 { 1.0 } else { rest }
            }
        })
    };
    let included: Vec<(i64, f64, bool)> = line
        .taxes
        .iter()
        .filter(|tax| tax.is_included)
        .map(|tax| (tax.id, amount(tax, base), true))
        .collect();
    let net = base - included.iter().map(|(_, amount, _)| amount).sum::<f64>();
    let added = line
        .taxes
        .iter()
        .filter(|tax| !tax.is_included)
        .map(|tax| (tax.id, amount(tax, net), false));
    let forced_base = line.taxes.first().and_then(forced).and_then(|(_, base)| *base);
    let forced_total = line.forced.as_ref().and_then(|forced| forced.excluded);
    Details {
        excluded: forced_total.or(forced_base).unwrap_or(net),
        taxes: included.iter().copied().chain(added).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(price: f64, quantity: f64, percent: f64) -> Line {
        let tax = Tax {
            id: 1,
            amount: percent,
            computation: Computation::Percent,
            is_included: false,
        };
        Line {
            price,
            quantity,
            taxes: vec![tax],
            ..Line::default()
        }
    }

    fn included(mut line: Line) -> Line {
        for tax in &mut line.taxes {
            tax.is_included = true;
        }
        line
    }

    #[test]
    fn a_tax_is_rounded_once_for_all_lines_or_in_each() {
        let order = [line(32.4 / 2.0, 2.0, 8.875), line(32.4 / 2.0, 2.0, 8.875)];

        let globally = totals(&order, Rounding::Globally, 0.01);
        let per_line = totals(&order, Rounding::PerLine, 0.01);

        assert_eq!((globally.tax, globally.total), (5.75, 70.55));
        assert_eq!((per_line.tax, per_line.total), (5.76, 70.56));
    }

    #[test]
    fn forced_amounts_take_the_place_of_computed_ones() {
        let mut forced = line(16.2, 1.0, 15.0);
        forced.forced = Some(Forced {
            taxes: BTreeMap::from([(1, (Some(1.44), Some(16.2)))]),
            excluded: Some(16.2),
        });

        let found = totals(&[forced.clone(), forced], Rounding::Globally, 0.01);

        assert_eq!(
            found,
            Totals {
                untaxed: 32.4,
                tax: 2.88,
                total: 35.28
            }
        );
    }

    #[test]
    fn included_taxes_keep_the_price() {
        let found = totals(&[included(line(119.0, 1.0, 19.0))], Rounding::Globally, 0.01);
        let uneven = totals(&[included(line(0.33, 3.0, 7.0))], Rounding::Globally, 0.01);

        assert_eq!((found.untaxed, found.tax, found.total), (100.0, 19.0, 119.0));
        assert_eq!((uneven.untaxed, uneven.tax, uneven.total), (0.93, 0.06, 0.99));
    }

    #[test]
    fn halves_go_away_from_zero() {
        for (number, rounded) in [
            (1.775, 1.78),
            (1.005, 1.01),
            (-1.775, -1.78),
            (2.675, 2.68),
            (0.0, 0.0),
        ] {
            assert!((round_to(number, 0.01) - rounded).abs() < 1e-12, "{number}");
        }
        assert!((round_to(12.5, 1.0) - 13.0).abs() < 1e-12);
    }
}
