//! What orders need of an Odoo beside themselves: its columns, taxes, currencies, and the products that stand for what is
//! no product. Read once and again when something is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_shared::entity::Currency;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::super::Gate;
use super::super::Odoo;
use super::super::error::Failure;
use super::super::product::FIRST_WITH_STORABLE;
use super::super::rpc::Call;
use super::super::wire::{Link, falsy, rows};
use super::line::Service;
use super::read::LINE;
use super::tax::{self, TaxRow, Taxes};

/// Which columns orders and their lines have: they differ by version (facts/mapping-odoo.md §6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Columns {
    pub(super) tax: &'static str,
    /// Whether taxes can be forced to the cent.
    pub(super) is_forced: bool,
    pub(super) is_technical: bool,
    pub(super) can_lock: bool,
    /// What kind of product something is.
    pub(super) kind: &'static str,
}

impl Columns {
    /// Until version 18 a line's taxes were in `tax_id`.
    pub(super) const fn is_new_tax(&self) -> bool {
        self.tax.len() == "tax_ids".len()
    }

    fn of(fields: &Map<String, Value>, major: u64) -> Self {
        Self {
            tax: if fields.contains_key("tax_ids") {
                "tax_ids"
            } else {
                "tax_id"
            },
            is_forced: fields.contains_key("extra_tax_data"),
            is_technical: fields.contains_key("technical_price_unit"),
            can_lock: major >= FIRST_WITH_LOCKED,
            kind: if major >= FIRST_WITH_STORABLE {
                "type"
            } else {
                "detailed_type"
            },
        }
    }
}

/// First version that has a field `locked`; before, an order that is locked has a state of its own.
const FIRST_WITH_LOCKED: u64 = 17;

/// Begins the names of the price lists that Lockstep makes.
const PRICELIST: &str = "Lockstep";

#[derive(Clone, Debug)]
pub(in super::super) struct Setup {
    pub(super) columns: Columns,
    pub(super) taxes: Taxes,
    pub(super) services: BTreeMap<Service, i64>,
    currencies: BTreeMap<String, CurrencyRow>,
    pricelists: BTreeMap<String, i64>,
}

#[derive(Clone, Debug, Deserialize)]
struct CurrencyRow {
    id: i64,
    name: String,
    active: bool,
}

#[derive(Debug, Deserialize)]
struct PricelistRow {
    id: i64,
    #[serde(deserialize_with = "falsy")]
    name: Option<String>,
    currency_id: Link,
    active: bool,
}

#[derive(Debug, Deserialize)]
struct CodeRow {
    id: i64,
    #[serde(deserialize_with = "falsy")]
    default_code: Option<String>,
}

/// What became of a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Priced {
    /// Its id, and that of our price list in it: an order's currency is that of its price list
    /// (facts/mapping-odoo.md §3).
    By {
        currency: i64,
        pricelist: i64,
    },
    /// There is no price list in it yet.
    NoPricelist {
        currency: i64,
    },
    Inactive,
    Unknown,
}

impl Setup {
    pub(in super::super) fn priced(&self, currency: Currency) -> Priced {
        match self.currencies.get(currency.code()) {
            Some(row) if !row.active => Priced::Inactive,
            Some(row) => self.pricelists.get(currency.code()).map_or(
                Priced::NoPricelist { currency: row.id },
                |pricelist| Priced::By {
                    currency: row.id,
                    pricelist: *pricelist,
                },
            ),
            None => Priced::Unknown,
        }
    }
}

pub(super) fn pricelist_name(currency: &str) -> String {
    format!("{PRICELIST} {currency}")
}

impl Odoo {
    /// Returns what was read before, or reads it.
    pub(in super::super) async fn setup(&self, gate: &dyn Gate) -> Result<Arc<Setup>, Failure> {
        let mut kept = self.setup.lock().await;
        if let Some(setup) = &*kept {
            return Ok(Arc::clone(setup));
        }
        let setup = Arc::new(self.read_setup(gate).await?);
        *kept = Some(Arc::clone(&setup));
        Ok(setup)
    }

    pub(super) async fn fresh_setup(&self, gate: &dyn Gate) -> Result<Arc<Setup>, Failure> {
        *self.setup.lock().await = None;
        self.setup(gate).await
    }

    /// Returns what orders need, with all of these taxes where there are such.
    pub(super) async fn setup_with(
        &self,
        gate: &dyn Gate,
        taxes: &BTreeSet<i64>,
    ) -> Result<Arc<Setup>, Failure> {
        let setup = self.setup(gate).await?;
        if setup.taxes.has_all(taxes) {
            return Ok(setup);
        }
        self.fresh_setup(gate).await
    }

    pub(super) async fn columns(&self, gate: &dyn Gate) -> Result<&Columns, Failure> {
        let read = || async {
            let major = self.rpc.backend(gate).await?.major;
            let call = Call::new(LINE, "fields_get").option("attributes", json!(["type"]));
            let answer = self.rpc.read(gate, &call).await?;
            let fields = answer.as_object().cloned().unwrap_or_default();
            Ok(Columns::of(&fields, major))
        };
        self.columns.get_or_try_init(read).await
    }

    async fn read_setup(&self, gate: &dyn Gate) -> Result<Setup, Failure> {
        let columns = self.columns(gate).await?.clone();
        let call = Call::search_read(tax::MODEL, json!([]), &tax::FIELDS).option("order", json!("id"));
        let taxes: Vec<TaxRow> = rows(self.rpc.read(gate, &call).await?)?;
        let codes = Service::ALL.map(Service::code);
        let domain = json!([["default_code", "in", codes]]);
        let call =
            Call::search_read("product.product", domain, &["default_code"]).option("order", json!("id desc"));
        let services: Vec<CodeRow> = rows(self.rpc.read(gate, &call).await?)?;
        let call = Call::search_read("res.currency", json!([]), &["name", "active"]);
        let currencies: Vec<CurrencyRow> = rows(self.rpc.read(gate, &call).await?)?;
        let fields = ["name", "currency_id", "active"];
        let call =
            Call::search_read("product.pricelist", json!([]), &fields).option("order", json!("id desc"));
        let pricelists: Vec<PricelistRow> = rows(self.rpc.read(gate, &call).await?)?;
        let codes: BTreeMap<i64, &str> = currencies.iter().map(|row| (row.id, row.name.as_str())).collect();
        let pricelists = pricelists.into_iter().filter_map(|row| {
            let code = codes.get(&row.currency_id.0).copied()?;
            let is_ours = row.active && row.name? == pricelist_name(code);
            is_ours.then(|| (code.to_owned(), row.id))
        });
        let services = services
            .into_iter()
            .filter_map(|row| Some((Service::parse(row.default_code.as_deref()?)?, row.id)));
        Ok(Setup {
            columns,
            taxes: Taxes::new(taxes),
            services: services.collect(),
            pricelists: pricelists.collect(),
            currencies: currencies
                .into_iter()
                .map(|row| (row.name.clone(), row))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(fields: &[&str]) -> Columns {
        let fields = fields
            .iter()
            .map(|field| ((*field).to_owned(), json!({})))
            .collect();
        Columns::of(&fields, 19)
    }

    #[test]
    fn columns_go_by_what_is_there() {
        let new = columns(&["tax_ids", "extra_tax_data", "technical_price_unit"]);
        let old = columns(&["tax_id"]);

        assert_eq!(
            (new.tax, new.is_forced, new.is_technical),
            ("tax_ids", true, true)
        );
        assert_eq!(
            (old.tax, old.is_forced, old.is_technical),
            ("tax_id", false, false)
        );
    }
}
