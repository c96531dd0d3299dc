//! Prices of variants, as Odoo has them: one price of the template, and an extra per attribute value.
//!
//! A variant costs the template's `list_price` plus the extras of its values. Writing a variant's own `lst_price` would
//! move all its siblings (facts/mapping-odoo.md §1), so prices that are no such sum can't be held.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::entity::Variant;
use rust_decimal::Decimal;

/// An attribute and one of its options, both in lower case.
pub(super) type Value = (String, String);

/// Prices as a sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) base: Decimal,
    /// One per option that a variant has; none is negative.
    pub(super) extras: BTreeMap<Value, Decimal>,
}

/// Takes the variants' prices apart; `None` where they are no such sum. A variant without a price costs nothing.
pub(super) fn solve(variants: &[Variant]) -> Option<Grid> {
    let cells: Vec<Cell> = variants.iter().map(Cell::of).collect();
    let attributes: BTreeSet<&String> = cells
        .iter()
        .flat_map(|cell| cell.values.iter().map(|value| &value.0))
        .collect();
    // With the extras on one attribute there is least to write, and most prices are like that.
    attributes
        .into_iter()
        .find_map(|attribute| on_one_attribute(&cells, attribute))
        .or_else(|| on_several(&cells))
        .filter(|grid| cells.iter().all(|cell| grid.price(&cell.values) == cell.price))
}

struct Cell {
    values: Vec<Value>,
    price: Decimal,
}

impl Cell {
    fn of(variant: &Variant) -> Self {
        let values = variant.attributes.iter();
        Self {
            values: values
                .map(|a| (a.name.to_lowercase(), a.option.to_lowercase()))
                .collect(),
            price: variant.price.map_or(Decimal::ZERO, |price| price.amount),
        }
    }
}

impl Grid {
    fn price(&self, values: &[Value]) -> Decimal {
        let extras = values.iter().filter_map(|value| self.extras.get(value));
        self.base + extras.sum::<Decimal>()
    }
}

fn on_one_attribute(cells: &[Cell], attribute: &str) -> Option<Grid> {
    let base = cells.iter().map(|cell| cell.price).min()?;
    let mut extras = BTreeMap::new();
    for cell in cells {
        for value in &cell.values {
            let extra = if value.0 == attribute {
                cell.price - base
            } else {
                Decimal::ZERO
            };
            if *extras.entry(value.clone()).or_insert(extra) != extra {
                return None;
            }
        }
    }
    Some(Grid { base, extras })
}

/// Settles one unknown extra after the other: the first variant's values have none, and each variant with a single
/// unknown value tells that one. Where no variant does, one unknown value is free and gets none.
fn on_several(cells: &[Cell]) -> Option<Grid> {
    let first = cells.first()?;
    let mut extras: BTreeMap<Value, Decimal> = first
        .values
        .iter()
        .map(|value| (value.clone(), Decimal::ZERO))
        .collect();
    loop {
        let unknown = |cell: &Cell| -> Vec<Value> {
            let values = cell.values.iter();
            values
                .filter(|value| !extras.contains_key(*value))
                .cloned()
                .collect()
        };
        let open: Vec<(&Cell, Vec<Value>)> = cells
            .iter()
            .map(|cell| (cell, unknown(cell)))
            .filter(|(_, unknown)| !unknown.is_empty())
            .collect();
        let Some((cell, values)) = open.iter().min_by_key(|(_, unknown)| unknown.len()) else {
            break;
        };
        let extra = if values.len() == 1 {
            let known = cell.values.iter().filter_map(|value| extras.get(value));
            cell.price - first.price - known.sum::<Decimal>()
        } else {
            Decimal::ZERO
        };
        extras.insert(values[0].clone(), extra);
    }
    lift(first.price, extras)
}

/// Moves what is negative into the base, so that the lowest option of each attribute is the one without an extra.
fn lift(base: Decimal, mut extras: BTreeMap<Value, Decimal>) -> Option<Grid> {
    let mut lowest: BTreeMap<String, Decimal> = BTreeMap::new();
    for ((attribute, _), extra) in &extras {
        let least = lowest.entry(attribute.clone()).or_insert(*extra);
        *least = (*least).min(*extra);
    }
    for ((attribute, _), extra) in &mut extras {
        *extra = (*extra - lowest[attribute]).normalize();
    }
    let base = (base + lowest.values().sum::<Decimal>()).normalize();
    (!base.is_sign_negative() || base.is_zero()).then_some(Grid { base, extras })
}

#[cfg(test)]
mod tests {
    use lockstep_shared::entity::{Attribute, Currency, Money};
    use proptest::prelude::*;

    use super::*;

    fn variant(values: &[(&str, &str)], cents: i64) -> Variant {
        Variant {
            attributes: values
                .iter()
                .map(|(name, option)| Attribute {
                    name: (*name).to_owned(),
                    option: (*option).to_owned(),
                })
                .collect(),
            price: Some(Money::new(Decimal::new(cents, 2), Currency::USD)),
            ..Variant::default()
        }
    }

    fn extra(grid: &Grid, attribute: &str, option: &str) -> String {
        grid.extras[&(attribute.to_owned(), option.to_owned())]
            .normalize()
            .to_string()
    }

    #[test]
    fn prices_that_vary_with_one_attribute_have_their_extras_there() {
        let grid = solve(&[
            variant(&[("Color", "White"), ("Legs", "Steel")], 75_000),
            variant(&[("Color", "White"), ("Legs", "Aluminium")], 80_040),
            variant(&[("Color", "Black"), ("Legs", "Steel")], 75_000),
        ])
        .unwrap();

        assert_eq!(grid.base, Decimal::from(750));
        assert_eq!(extra(&grid, "legs", "aluminium"), "50.4");
        assert_eq!(extra(&grid, "legs", "steel"), "0");
        assert_eq!(extra(&grid, "color", "black"), "0");
    }

    #[test]
    fn prices_that_are_no_sum_are_not_solved() {
        let grid = solve(&[
            variant(&[("Color", "Red"), ("Size", "S")], 1000),
            variant(&[("Color", "Red"), ("Size", "L")], 1200),
            variant(&[("Color", "Blue"), ("Size", "S")], 1100),
            variant(&[("Color", "Blue"), ("Size", "L")], 1500),
        ]);

        assert_eq!(grid, None);
    }

    #[test]
    fn a_product_of_one_variant_has_its_price_as_base() {
        let grid = solve(&[variant(&[("Size", "S")], 990)]).unwrap();

        assert_eq!(grid.base, Decimal::new(990, 2));
        assert_eq!(extra(&grid, "size", "s"), "0");
    }

    proptest! {
        #[test]
        fn a_sum_is_taken_apart_so_that_it_adds_up_again(
            base in 0..100_000_i64,
            extras in proptest::collection::vec(proptest::collection::vec(0..10_000_i64, 1..4), 1..4),
        ) {
            let mut variants = vec![(Vec::new(), base)];
            for (attribute, options) in extras.iter().enumerate() {
                variants = variants
                    .iter()
                    .flat_map(|(values, price)| {
                        options.iter().enumerate().map(move |(option, extra)| {
                            let mut values: Vec<(String, String)> = values.clone();
                            values.push((format!("a{attribute}"), format!("o{option}")));
                            (values, price + extra)
                        })
                    })
                    .collect();
            }
            let variants: Vec<Variant> = variants
                .iter()
                .map(|(values, price)| {
                    let values: Vec<_> = values.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
                    variant(&values, *price)
                })
                .collect();

            let grid = solve(&variants).expect("it is a sum");

            prop_assert!(grid.extras.values().all(|extra| *extra >= Decimal::ZERO));
            for cell in variants.iter().map(Cell::of) {
                prop_assert_eq!(grid.price(&cell.values), cell.price);
            }
        }

        #[test]
        fn whatever_is_solved_adds_up(prices in proptest::collection::vec((0..3_u8, 0..3_u8, 0..4_i64), 1..9)) {
            let variants: Vec<Variant> = prices
                .iter()
                .map(|(a, b, price)| {
                    variant(&[("A", a.to_string().as_str()), ("B", b.to_string().as_str())], *price)
                })
                .collect();

            if let Some(grid) = solve(&variants) {
                for cell in variants.iter().map(Cell::of) {
                    prop_assert_eq!(grid.price(&cell.values), cell.price);
                }
            }
        }
    }
}
