//! Orders: what Odoo calls a sale order.
//!
//! Known by their database id; ours carry an external id made of their record, and so do their lines. Read with all that
//! they point to in one call, written by `load`, and agreed or cancelled by Odoo's own methods.

mod change;
mod contact;
mod known;
mod line;
mod people;
mod plan;
mod read;
mod setup;
mod state;
mod step;
mod tax;
mod write;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::{Gate, Theirs};
use super::Odoo;
use super::error::Failure;
use super::wire::rows;
pub(super) use line::Service;
pub(super) use read::{MODEL, project};
use read::{OrderRow, Reader};
pub(super) use setup::{Columns, Priced, Setup};

/// What of an order is looked at to see that it changed. An edit of a line's text does not count as a change of the order
/// (facts/systems.md B6), so it is seen when something else of the order changes.
pub(super) const FEED_FIELDS: [&str; 1] = ["write_date"];

impl Odoo {
    async fn order_rows(&self, gate: &dyn Gate, ids: &BTreeSet<i64>) -> Result<Vec<OrderRow>, Failure> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let shape = read::shape(self.columns(gate).await?);
        let found = self.nested(gate, &shape, json!([["id", "in", ids]])).await?;
        rows(Value::Array(found))
    }

    /// Reads orders by their ids: three calls for all of them.
    pub(super) async fn orders(&self, gate: &dyn Gate, ids: &BTreeSet<i64>) -> Result<Vec<Theirs>, Failure> {
        let found = self.order_rows(gate, ids).await?;
        let setup = self.setup_with(gate, &read::taxes_of(&found)).await?;
        let ours = read::ours(&self.external_ids_of(gate, MODEL, ids).await?);
        // Lines of others are known by their ids.
        let lines: BTreeSet<i64> = found
            .iter()
            .filter(|row| ours.contains_key(&row.id))
            .flat_map(|row| row.order_line.iter().map(|line| line.id))
            .collect();
        let names = self.external_ids_of(gate, read::LINE, &lines).await?;
        let reader = Reader {
            ours: &ours,
            names: &names,
            taxes: &setup.taxes,
            places: self.places(gate).await?,
            settings: &self.settings,
        };
        Ok(found.iter().map(|row| reader.theirs(row)).collect())
    }
}
