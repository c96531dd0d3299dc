//! Taxes: which of Odoo's stands for a rate, and how a line's taxes are forced to the cent. Pure.
//!
//! Source: facts/mapping-odoo.md §3. Odoo 19 computes taxes over the whole order and would be a cent off now and then;
//! `extra_tax_data` makes it take the amounts that were charged. A line that was not taxed here brings no such data, and
//! its amounts are what Odoo has computed.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::entity::TaxAmount;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Map, Number, Value, json};

use super::super::wire::{decimal, falsy, round};
use super::line::{CENTS, float};

pub(in super::super) const MODEL: &str = "account.tax";

pub(super) const FIELDS: [&str; 6] = [
    "name",
    "amount",
    "amount_type",
    "type_tax_use",
    "price_include",
    "active",
];

/// Digits of a rate (facts/mapping-odoo.md §3).
const RATE_DIGITS: u32 = 4;

/// Begins the names of the taxes that Lockstep makes.
const OURS: &str = "Lockstep";

#[derive(Clone, Debug, Deserialize)]
pub(super) struct TaxRow {
    pub(super) id: i64,
    #[serde(deserialize_with = "falsy")]
    name: Option<String>,
    amount: Number,
    amount_type: String,
    type_tax_use: String,
    #[serde(default)]
    pub(super) price_include: bool,
    active: bool,
}

impl TaxRow {
    fn is_percent(&self) -> bool {
        self.amount_type == "percent"
    }

    /// The rate as records know it; what is no percentage, or stands for any amount, has none.
    fn rate(&self) -> Option<Decimal> {
        let rate = decimal(&self.amount);
        (self.is_percent() && !rate.is_zero()).then(|| rate_of(rate))
    }

    fn is_usable(&self) -> bool {
        self.active && self.is_percent() && self.type_tax_use == "sale" && !self.price_include
    }
}

/// Rounds a rate as Odoo does.
pub(super) fn rate_of(rate: Decimal) -> Decimal {
    round(rate, RATE_DIGITS)
}

/// Names the tax that we make for a rate; the one without a rate takes whatever amount it is given.
pub(super) fn name_of(rate: Option<Decimal>) -> String {
    match rate {
        Some(rate) => format!("{OURS} {}%", rate.normalize()),
        None => format!("{OURS} as charged"),
    }
}

/// All taxes of one Odoo.
#[derive(Clone, Debug, Default)]
pub(super) struct Taxes(BTreeMap<i64, TaxRow>);

impl Taxes {
    pub(super) fn new(rows: Vec<TaxRow>) -> Self {
        Self(rows.into_iter().map(|row| (row.id, row)).collect())
    }

    pub(super) fn has_all(&self, ids: &BTreeSet<i64>) -> bool {
        ids.iter().all(|id| self.0.contains_key(id))
    }

    /// Finds the tax for a rate: ours before others, older before younger.
    pub(super) fn find(&self, rate: Option<Decimal>) -> Option<i64> {
        let name = name_of(rate);
        let is_ours = |row: &TaxRow| row.name.as_deref() == Some(name.as_str());
        let fits = |row: &&TaxRow| match rate {
            Some(rate) => row.is_usable() && row.rate() == Some(rate),
            None => row.is_usable() && is_ours(row),
        };
        let found: Vec<&TaxRow> = self.0.values().filter(fits).collect();
        let ours = found.iter().find(|row| is_ours(row));
        ours.or(found.first()).map(|row| row.id)
    }

    /// Finds the tax that is copied for a rate that is missing: the oldest, which is the company's own with its account.
    pub(super) fn any(&self) -> Option<i64> {
        self.0.values().find(|row| row.is_usable()).map(|row| row.id)
    }

    pub(super) fn includes_price(&self, id: i64) -> bool {
        self.0.get(&id).is_some_and(|row| row.price_include)
    }

    /// Takes a line's tax apart into the taxes that it has.
    ///
    /// What was forced counts while it is in force: an edit of the line by hand drops it for good.
    pub(super) fn amounts(&self, ids: &[i64], tax: Decimal, net: Decimal, forced: &Value) -> Vec<TaxAmount> {
        let rate = |id: &i64| self.0.get(id).and_then(TaxRow::rate);
        let split = match ids {
            [] => vec![(None, tax)],
            [id] => vec![(rate(id), tax)],
            several => {
                let told: Option<Vec<Decimal>> =
                    several.iter().map(|id| forced_amount(forced, *id)).collect();
                let told = told.filter(|amounts| amounts.iter().sum::<Decimal>() == tax);
                let rates: Option<Vec<Decimal>> = several.iter().map(rate).collect();
                match (told, rates) {
                    (Some(amounts), _) => several.iter().map(rate).zip(amounts).collect(),
                    (None, Some(rates)) => by_rates(&rates, tax, net),
                    (None, None) => vec![(None, tax)],
                }
            }
        };
        collapse(split)
    }
}

fn by_rates(rates: &[Decimal], tax: Decimal, net: Decimal) -> Vec<(Option<Decimal>, Decimal)> {
    let mut left = tax;
    let mut split: Vec<(Option<Decimal>, Decimal)> = Vec::new();
    for (place, rate) in rates.iter().enumerate() {
        let amount = if place + 1 == rates.len() {
            left
        } else {
            round(net * rate / Decimal::ONE_HUNDRED, CENTS)
        };
        left -= amount;
        split.push((Some(*rate), amount));
    }
    split
}

fn forced_amount(forced: &Value, id: i64) -> Option<Decimal> {
    let tax = forced.get("manual_tax_amounts")?.get(id.to_string())?;
    tax.get("tax_amount_currency")?.as_number().map(decimal)
}

/// Puts taxes of one rate together; the names of taxes are each system's own.
pub(super) fn collapse(taxes: impl IntoIterator<Item = (Option<Decimal>, Decimal)>) -> Vec<TaxAmount> {
    let mut by_rate: BTreeMap<Option<Decimal>, Decimal> = BTreeMap::new();
    for (rate, amount) in taxes {
        let rate = rate.map(rate_of).filter(|rate| !rate.is_zero());
        *by_rate.entry(rate).or_default() += amount;
    }
    by_rate
        .into_iter()
        .map(|(rate, amount)| TaxAmount {
            name: None,
            rate,
            amount: round(amount, CENTS),
        })
        .filter(|tax| !tax.amount.is_zero())
        .collect()
}

/// What `extra_tax_data` says of a line. Price, discount, quantity and currency have to be those of the line, or Odoo
/// takes no notice of the rest.
pub(super) struct Forcing<'a> {
    pub(super) taxes: &'a [(i64, Decimal)],
    pub(super) net: Decimal,
    pub(super) currency: i64,
    pub(super) price_unit: f64,
    pub(super) discount: Decimal,
    pub(super) quantity: Decimal,
}

impl Forcing<'_> {
    /// Returns the JSON text for a cell of `load`; none where the line has no tax.
    pub(super) fn text(&self) -> String {
        if self.taxes.is_empty() {
            return String::new();
        }
        let net = json!(float(self.net));
        let taxes: Map<String, Value> = self
            .taxes
            .iter()
            .map(|(id, amount)| {
                let forced = json!({"tax_amount_currency": float(*amount), "base_amount_currency": net});
                (id.to_string(), forced)
            })
            .collect();
        json!({
            "manual_tax_amounts": taxes,
            "manual_total_excluded_currency": net,
            "currency_id": self.currency,
            "price_unit": self.price_unit,
            "discount": float(self.discount),
            "quantity": float(self.quantity),
            "rate": 1.0,
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cents(amount: i64) -> Decimal {
        Decimal::new(amount, 2)
    }

    fn taxes() -> Taxes {
        let row = |id: i64, name: &str, amount: f64, use_: &str| {
            serde_json::from_value(json!({
                "id": id, "name": name, "amount": amount, "amount_type": "percent", "type_tax_use": use_,
                "price_include": false, "active": true
            }))
            .unwrap()
        };
        Taxes::new(vec![
            row(1, "15%", 15.0, "sale"),
            row(2, "15%", 15.0, "purchase"),
            row(3, "8.875% NY", 8.875, "sale"),
            row(4, "Lockstep 8.875%", 8.875, "sale"),
            row(5, "Lockstep as charged", 0.0, "sale"),
            row(6, "0% exempt", 0.0, "sale"),
        ])
    }

    #[test]
    fn a_tax_is_found_by_its_rate_and_ours_goes_first() {
        assert_eq!(taxes().find(Some(Decimal::from(15))), Some(1));
        assert_eq!(taxes().find(Some(Decimal::new(8875, 3))), Some(4));
        assert_eq!(taxes().find(Some(Decimal::from(7))), None);
        assert_eq!(taxes().find(None), Some(5));
    }

    #[test]
    fn one_tax_has_all_of_the_amount() {
        let amounts = taxes().amounts(&[4], cents(144), cents(1620), &Value::Bool(false));

        assert_eq!(amounts.len(), 1);
        assert_eq!(
            (amounts[0].rate, amounts[0].amount),
            (Some(Decimal::new(8875, 3)), cents(144))
        );
    }

    #[test]
    fn forced_amounts_count_while_they_add_up() {
        let forced = json!({"manual_tax_amounts": {
            "1": {"tax_amount_currency": 1.51}, "4": {"tax_amount_currency": 0.88}
        }});

        let told = taxes().amounts(&[1, 4], cents(239), cents(1000), &forced);
        let edited = taxes().amounts(&[1, 4], cents(478), cents(2000), &forced);

        let amounts =
            |taxes: Vec<TaxAmount>| -> Vec<Decimal> { taxes.iter().map(|tax| tax.amount).collect() };
        assert_eq!(amounts(told), [cents(88), cents(151)]);
        assert_eq!(amounts(edited), [cents(178), cents(300)]);
    }

    #[test]
    fn a_tax_that_takes_any_amount_has_no_rate() {
        let amounts = taxes().amounts(&[5], cents(7), cents(100), &Value::Null);

        assert_eq!((amounts[0].rate, amounts[0].amount), (None, cents(7)));
    }

    #[test]
    fn the_forcing_of_the_facts_is_written() {
        let forcing = Forcing {
            taxes: &[(7, cents(144))],
            net: cents(1620),
            currency: 1,
            price_unit: 16.2,
            discount: Decimal::ZERO,
            quantity: Decimal::ONE,
        };

        let value: Value = serde_json::from_str(&forcing.text()).unwrap();

        assert_eq!(
            value,
            json!({
                "manual_tax_amounts": {"7": {"tax_amount_currency": 1.44, "base_amount_currency": 16.2}},
                "manual_total_excluded_currency": 16.2, "currency_id": 1, "price_unit": 16.2, "discount": 0.0,
                "quantity": 1.0, "rate": 1.0
            })
        );
    }
}
