//! What the orders of a batch need to be planned: read in bulk, before each is decided about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{Content, Order};
use serde::Deserialize;
use serde_json::json;

use super::super::super::{Gate, Step, Write};
use super::super::error::Failure;
use super::super::place::Places;
use super::super::rpc::Call;
use super::super::wire::{Link, rows};
use super::super::write::Found;
use super::super::{Odoo, refused, wrong_type};
use super::people::{People, Wish};
use super::plan::{Task, known_id};
use super::read::{self, OrderRow};
use super::setup::Setup;
use super::step;

/// What was read for the orders of a batch.
pub(super) struct Known<'a> {
    pub(super) setup: Arc<Setup>,
    pub(super) places: &'a Places,
    pub(super) settings: &'a Settings,
    pub(super) rows: BTreeMap<i64, OrderRow>,
    /// External ids of the lines of orders that change.
    pub(super) names: BTreeMap<i64, String>,
    pub(super) people: People,
    pub(super) variants: BTreeMap<i64, i64>,
    pub(super) tax_to_copy: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct VariantRow {
    id: i64,
    product_tmpl_id: Link,
}

impl Odoo {
    pub(in super::super) async fn order_drafts(
        &self,
        gate: &dyn Gate,
        writes: Vec<Write>,
    ) -> Result<Vec<(Write, Found)>, Failure> {
        let known = self.known_of_orders(gate, &writes).await?;
        let found = writes.into_iter().map(|write| {
            let found = match &write.content {
                Content::Order(order) => Task::new(&write, order, &known).next().unwrap_or_else(refused),
                _ => refused(wrong_type()),
            };
            (write, found)
        });
        Ok(found.collect())
    }

    async fn known_of_orders(&self, gate: &dyn Gate, writes: &[Write]) -> Result<Known<'_>, Failure> {
        let places = self.places(gate).await?;
        let orders: Vec<(&Write, &Order)> = writes
            .iter()
            .filter_map(|write| match &write.content {
                Content::Order(order) => Some((write, order)),
                _ => None,
            })
            .collect();
        // Something was set up just now.
        let is_set_up = orders
            .iter()
            .any(|(write, _)| write.step > Step::default() && write.step <= step::LAST_SETUP);
        let mut setup = if is_set_up {
            self.fresh_setup(gate).await?
        } else {
            self.setup(gate).await?
        };
        let mut known = Known {
            setup: Arc::clone(&setup),
            places,
            settings: &self.settings,
            rows: self.rows_of_orders(gate, &orders).await?,
            names: BTreeMap::new(),
            people: People::default(),
            variants: BTreeMap::new(),
            tax_to_copy: None,
        };
        let preparing: Vec<Task<'_>> = orders
            .iter()
            .filter(|(write, _)| write.step <= step::NEW_LINES)
            .map(|(write, order)| Task::new(write, order, &known))
            .collect();
        let line_ids: BTreeSet<i64> = preparing
            .iter()
            .filter_map(Task::row)
            .flat_map(|row| row.order_line.iter().map(|line| line.id))
            .collect();
        let templates: BTreeSet<i64> = preparing.iter().flat_map(Task::simple_products).collect();
        let wishes: Vec<Wish> = preparing
            .iter()
            .filter(|task| task.changes_partners())
            .filter_map(|task| Wish::new(task.order, &task.write.links, places).ok())
            .collect();
        let names = self.external_ids_of(gate, read::LINE, &line_ids).await?;
        let variants = self.only_variants(gate, &templates).await?;
        let people = self.people(gate, &wishes).await?;
        (known.names, known.variants, known.people) = (names, variants, people);
        let lacks = |known: &Known<'_>| {
            orders
                .iter()
                .any(|(write, order)| Task::new(write, order, known).lacks())
        };
        if lacks(&known) && !is_set_up {
            setup = self.fresh_setup(gate).await?;
            known.setup = Arc::clone(&setup);
        }
        let lacks_tax = orders
            .iter()
            .any(|(write, order)| !Task::new(write, order, &known).missing_rates().is_empty());
        if lacks_tax {
            known.tax_to_copy = setup.taxes.any();
        }
        Ok(known)
    }

    /// Reads the orders that are there; one whose date is all that is left needs no look.
    async fn rows_of_orders(
        &self,
        gate: &dyn Gate,
        orders: &[(&Write, &Order)],
    ) -> Result<BTreeMap<i64, OrderRow>, Failure> {
        let ids: BTreeSet<i64> = orders
            .iter()
            .filter(|(write, _)| write.step != step::DATE)
            .filter_map(|(write, _)| known_id(write)?.parse().ok())
            .collect();
        let read = self.order_rows(gate, &ids).await?;
        Ok(read.into_iter().map(|row| (row.id, row)).collect())
    }

    /// Finds the only variant of simple products: the one without attributes.
    pub(in super::super) async fn only_variants(
        &self,
        gate: &dyn Gate,
        templates: &BTreeSet<i64>,
    ) -> Result<BTreeMap<i64, i64>, Failure> {
        if templates.is_empty() {
            return Ok(BTreeMap::new());
        }
        let domain = json!([["product_tmpl_id", "in", templates]]);
        // The first that is in use comes last and stays.
        let call = Call::search_read("product.product", domain, &["product_tmpl_id"])
            .option("order", json!("active,id desc"));
        let found: Vec<VariantRow> = rows(self.rpc.read(gate, &call).await?)?;
        Ok(found
            .into_iter()
            .map(|row| (row.product_tmpl_id.0, row.id))
            .collect())
    }
}
