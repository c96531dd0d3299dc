//! The head of an order: what it is made with, and what a change of it entails.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::amount::{Rounding, Totals, totals};
use super::{LINE, ORDER, linked};
use crate::odoo::exception::Exception;
use crate::odoo::read::stamp;
use crate::odoo::session::Session;

/// What follows from the rest, whatever is sent; the currency follows from the price list (facts: mapping-odoo 3).
const FOLLOWS: &[&str] = &[
    "currency_id",
    "amount_untaxed",
    "amount_tax",
    "amount_total",
    "invoice_status",
    "picking_ids",
];

impl Session<'_> {
    pub(super) fn prepared_order(
        &mut self,
        vals: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Exception> {
        let mut vals = vals.clone();
        vals.retain(|name, _| !FOLLOWS.contains(&name.as_str()));
        if let Some(partner) = linked(vals.get("partner_id")) {
            if self.db.row("res.partner", partner).is_none() {
                return Err(Exception::missing("res.partner", partner, self.user));
            }
            self.address_order(partner, &mut vals);
        }
        if vals.get("name").is_none_or(|name| name == "New") {
            let name = self.next_name(ORDER);
            vals.insert("name".to_owned(), json!(name));
        }
        vals.entry("date_order").or_insert_with(|| json!(stamp(self.now)));
        // Who makes an order sells it, unless the cell is there and empty (facts: mapping-odoo 3).
        vals.entry("user_id").or_insert_with(|| json!(self.user));
        Ok(vals)
    }

    /// The order has a row by now and no lines yet.
    pub(in crate::odoo) fn settle_new_order(&mut self, id: i64) {
        self.follow_pricelist(id);
        if self.db.link(ORDER, id, "user_id").is_some() {
            self.follow(ORDER, id);
        }
    }

    pub(super) fn rewritten_order(&mut self, id: i64, vals: &Map<String, Value>) -> Map<String, Value> {
        let mut vals = vals.clone();
        vals.retain(|name, _| !FOLLOWS.contains(&name.as_str()));
        let partner = linked(vals.get("partner_id"));
        if let Some(partner) = partner.filter(|partner| self.db.row("res.partner", *partner).is_some()) {
            // Even the same customer brings the addresses anew, past what a changed address would tell anybody.
            let mut addresses = Map::new();
            self.address_order(partner, &mut addresses);
            addresses.retain(|name, _| !vals.contains_key(name));
            let addresses: Vec<(&str, Value)> = addresses
                .iter()
                .map(|(name, value)| (name.as_str(), value.clone()))
                .collect();
            self.set(ORDER, id, &addresses);
        }
        let is_change = |(name, value): (&str, &Value)| self.db.value(ORDER, id, name) != *value;
        let tracked = ["partner_id", "state", "user_id"];
        let mut tracked = tracked.iter().filter_map(|name| Some((*name, vals.get(*name)?)));
        if !self.quiet.no_tracking && tracked.any(is_change) {
            self.post(ORDER, id, "Sales Order updated");
        }
        vals
    }

    /// What a change entails; lines have been written by now.
    pub(in crate::odoo) fn settle_order(
        &mut self,
        id: i64,
        vals: &Map<String, Value>,
    ) -> Result<(), Exception> {
        if vals.contains_key("pricelist_id") {
            self.follow_pricelist(id);
            for line in self.db.with(LINE, "order_id", id) {
                self.amount_line(line)?;
            }
            self.amount_order(id);
        }
        if vals.contains_key("state") {
            self.bill_order(id);
        }
        // Even the same address (facts: mapping-odoo 3).
        if vals.contains_key("partner_shipping_id") && self.db.text(ORDER, id, "state") == "sale" {
            for picking in self.open_pickings(id) {
                self.remind("stock.picking", picking, "The delivery address has been changed");
            }
        }
        Ok(())
    }

    pub(super) fn check_order_unlink(&self, id: i64) -> Result<(), Exception> {
        if matches!(self.db.text(ORDER, id, "state").as_str(), "draft" | "cancel") {
            return Ok(());
        }
        Err(Exception::user(
            "You can not delete a sent quotation or a confirmed sales order. You must first cancel it.",
        ))
    }

    /// Both addresses come with a customer, unless they are sent along.
    fn address_order(&self, partner: i64, vals: &mut Map<String, Value>) {
        for (name, kind) in [
            ("partner_invoice_id", "invoice"),
            ("partner_shipping_id", "delivery"),
        ] {
            vals.entry(name)
                .or_insert_with(|| json!(self.address_of(partner, kind)));
        }
    }

    /// Finds the address of a kind: below the partner, else below who it is a contact of, else the partner itself.
    fn address_of(&self, partner: i64, kind: &str) -> i64 {
        let mut top = partner;
        loop {
            if let Some(found) = self.address_below(top, kind) {
                return found;
            }
            if self.db.flag("res.partner", top, "is_company") {
                return partner;
            }
            match self.db.link("res.partner", top, "parent_id") {
                Some(parent) if parent != top => top = parent,
                _ => return partner,
            }
        }
    }

    fn address_below(&self, partner: i64, kind: &str) -> Option<i64> {
        if self.db.text("res.partner", partner, "type") == kind {
            return Some(partner);
        }
        let mut children = self.db.with("res.partner", "parent_id", partner);
        children.retain(|child| {
            self.db.flag("res.partner", *child, "active")
                && !self.db.flag("res.partner", *child, "is_company")
        });
        let _ = self.sort("res.partner", &mut children, None);
        children
            .into_iter()
            .find_map(|child| self.address_below(child, kind))
    }

    fn follow_pricelist(&mut self, id: i64) {
        let list = self.db.link(ORDER, id, "pricelist_id");
        let currency = list.and_then(|list| self.db.link("product.pricelist", list, "currency_id"));
        let company = || self.db.link("res.company", 1, "currency_id").unwrap_or(1);
        let currency = currency.unwrap_or_else(company);
        if self.db.link(ORDER, id, "currency_id") != Some(currency) {
            self.set(ORDER, id, &[("currency_id", json!(currency))]);
        }
    }

    /// Returns how amounts of an order are rounded: when, and to what step.
    pub(super) fn rounding(&self, order: i64) -> (Rounding, f64) {
        let method = self.db.text("res.company", 1, "tax_calculation_rounding_method");
        let method = if method == "round_globally" {
            Rounding::Globally
        } else {
            Rounding::PerLine
        };
        let currency = self.db.link(ORDER, order, "currency_id").unwrap_or(1);
        let step = self.amount("res.currency", currency, "rounding");
        (method, if step > 0.0 { step } else { 0.01 })
    }

    /// Sums an order up; nothing is written when nothing changed, so its time stays (facts: systems B6).
    pub(in crate::odoo) fn amount_order(&mut self, id: i64) {
        if self.order_at_work == Some(id) || self.db.row(ORDER, id).is_none() {
            return;
        }
        let (rounding, step) = self.rounding(id);
        let lines = self.db.with(LINE, "order_id", id).into_iter();
        // A line's forced amounts were found well formed when it was written.
        let lines: Vec<_> = lines
            .filter(|line| self.db.text(LINE, *line, "display_type").is_empty())
            .filter_map(|line| self.line_amounts(line).ok())
            .collect();
        let Totals { untaxed, tax, total } = totals(&lines, rounding, step);
        let found = BTreeMap::from([
            ("amount_untaxed", json!(untaxed)),
            ("amount_tax", json!(tax)),
            ("amount_total", json!(total)),
        ]);
        let changed: Vec<(&str, Value)> = found
            .into_iter()
            .filter(|(name, value)| self.db.value(ORDER, id, name) != *value)
            .collect();
        if !changed.is_empty() {
            self.set(ORDER, id, &changed);
        }
        self.bill_order(id);
    }

    /// Says whether anything is left to invoice.
    pub(super) fn bill_order(&mut self, id: i64) {
        let is_due = self.db.text(ORDER, id, "state") == "sale"
            && self
                .db
                .with(LINE, "order_id", id)
                .into_iter()
                .any(|line| self.quantity_to_invoice(line) != 0.0);
        let status = json!(if is_due { "to invoice" } else { "no" });
        let is_known = |name: &str| self.db.value(ORDER, id, "invoice_status") == name;
        if self.db.value(ORDER, id, "invoice_status") != status
            && !is_known("invoiced")
            && !is_known("upselling")
        {
            self.set(ORDER, id, &[("invoice_status", status)]);
        }
    }
}
