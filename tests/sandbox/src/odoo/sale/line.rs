//! The lines of an order: prices, taxes, forced amounts (facts: mapping-odoo 3).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::amount::{Computation, Forced, Line, Rounding, Tax, round_to, totals};
use super::{LINE, ORDER, is_blank, linked, tax_column, unit_column};
use crate::odoo::domain;
use crate::odoo::exception::Exception;
use crate::odoo::session::Session;
use crate::odoo::write::number;

/// What follows from the rest, whatever is sent.
const FOLLOWS: &[&str] = &[
    "price_subtotal",
    "price_tax",
    "price_total",
    "qty_to_invoice",
    "state",
    "currency_id",
    "order_partner_id",
    "salesman_id",
    "company_id",
    "product_template_id",
    "move_ids",
];

impl Session<'_> {
    pub(super) fn prepared_line(
        &mut self,
        vals: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Exception> {
        let mut vals = vals.clone();
        vals.retain(|name, _| !FOLLOWS.contains(&name.as_str()));
        if !vals.contains_key("price_unit") {
            vals.remove("technical_price_unit");
        }
        if !is_blank(vals.get("display_type")) {
            vals.insert("product_uom_qty".to_owned(), json!(0.0));
            return Ok(vals);
        }
        let order = linked(vals.get("order_id")).unwrap_or_default();
        let product = self.product_of(&vals);
        self.fill_from_product(product, &mut vals);
        let has_technical = self.has_field(LINE, "technical_price_unit");
        if let Some(price) = vals.get("price_unit").cloned() {
            if has_technical {
                vals.entry("technical_price_unit").or_insert(price);
            }
        } else {
            let quantity = vals.get("product_uom_qty").map_or(Ok(1.0), number)?;
            self.price(order, product, quantity, &mut vals);
        }
        Ok(vals)
    }

    pub(in crate::odoo) fn settle_new_line(&mut self, id: i64) -> Result<(), Exception> {
        let order = self.db.link(LINE, id, "order_id").unwrap_or_default();
        self.amount_line(id)?;
        self.amount_order(order);
        let product = self.db.link(LINE, id, "product_id");
        if let Some(product) = product.filter(|_| self.db.text(ORDER, order, "state") == "sale") {
            // Posted whatever the context says (facts: mapping-odoo 3).
            let name = self.display_name("product.product", product);
            self.post(ORDER, order, &format!("Extra line with {name}"));
            self.launch(id);
        }
        Ok(())
    }

    /// Refuses what the state of the order forbids, and adds what follows from the change.
    pub(super) fn rewritten_line(
        &mut self,
        id: i64,
        vals: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Exception> {
        let mut vals = vals.clone();
        vals.retain(|name, _| !FOLLOWS.contains(&name.as_str()));
        let order = self.db.link(LINE, id, "order_id").unwrap_or_default();
        let state = self.db.text(ORDER, order, "state");
        self.check_line_write(id, order, &state, &vals)?;
        if !vals.contains_key("price_unit") {
            vals.remove("technical_price_unit");
        }
        if let Some(quantity) = vals.get("product_uom_qty").map(number).transpose()?
            && state == "sale"
            && (quantity - self.amount(LINE, id, "product_uom_qty")).abs() > 0.004
        {
            self.post(ORDER, order, "The ordered quantity has been updated.");
        }
        let product = if vals.contains_key("product_id") {
            let product = self.product_of(&vals);
            self.fill_from_product(product, &mut vals);
            product
        } else {
            self.db.link(LINE, id, "product_id")
        };
        let moves_price = ["product_id", "product_uom_qty", unit_column(self.db.version)];
        let moves_price = moves_price.iter().any(|name| vals.contains_key(*name));
        if moves_price && !vals.contains_key("price_unit") && !self.has_manual_price(id) {
            let quantity = match vals.get("product_uom_qty") {
                Some(quantity) => number(quantity)?,
                None => self.amount(LINE, id, "product_uom_qty"),
            };
            self.price(order, product, quantity, &mut vals);
        }
        Ok(vals)
    }

    fn check_line_write(
        &self,
        id: i64,
        order: i64,
        state: &str,
        vals: &Map<String, Value>,
    ) -> Result<(), Exception> {
        let table = &self.db.table(LINE).model;
        if self.db.flag(ORDER, order, "locked") {
            let labels = vals.keys().filter(|name| *name != "order_id");
            let labels: Vec<&str> = labels
                .filter_map(|name| table.field(name).map(|field| field.label.as_str()))
                .collect();
            if !labels.is_empty() {
                return Err(Exception::user(format!(
                    "It is forbidden to modify the following fields in a locked order:\n{}",
                    labels.join("\n")
                )));
            }
        }
        if state == "cancel" && vals.contains_key("product_id") {
            return Err(Exception::user(
                "You cannot modify the product of this order line.",
            ));
        }
        let kind = vals.get("display_type");
        if kind.is_some() && is_blank(kind) != self.db.text(LINE, id, "display_type").is_empty() {
            return Err(Exception::user(
                "You cannot change the type of a sale order line. Instead you should delete the current line and \
                 create a new line of the proper type.",
            ));
        }
        Ok(())
    }

    /// What a change entails; the row is written by now.
    pub(in crate::odoo) fn settle_line(
        &mut self,
        id: i64,
        vals: &Map<String, Value>,
    ) -> Result<(), Exception> {
        let order = self.db.link(LINE, id, "order_id").unwrap_or_default();
        let has = |names: &[&str]| names.iter().any(|name| vals.contains_key(*name));
        let taxes = tax_column(self.db.version);
        let guarded = has(&["price_unit", "product_uom_qty", "discount"]);
        if guarded && !has(&["extra_tax_data"]) && self.has_field(LINE, "extra_tax_data") {
            let data = self.db.value(LINE, id, "extra_tax_data");
            // They don't come back with the old quantity (facts: mapping-odoo 3).
            if data.is_object() && !self.is_as_forced(id, &data)? {
                self.set(LINE, id, &[("extra_tax_data", Value::Bool(false))]);
            }
        }
        if guarded || has(&[taxes, "order_id"]) {
            self.amount_line(id)?;
            self.amount_order(order);
        }
        if self.db.text(ORDER, order, "state") != "sale" {
            return Ok(());
        }
        // Posted whatever the context says, and for the same values too (facts: mapping-odoo 3).
        if has(&["price_unit", taxes, "product_id"]) {
            self.post(ORDER, order, "The order line has been changed.");
        }
        if has(&["product_uom_qty"]) && !self.db.flag(ORDER, order, "locked") {
            self.launch(id);
        }
        Ok(())
    }

    pub(super) fn check_line_unlink(&self, id: i64) -> Result<(), Exception> {
        let order = self.db.link(LINE, id, "order_id").unwrap_or_default();
        let is_plain = self.db.text(LINE, id, "display_type").is_empty();
        if self.db.text(ORDER, order, "state") == "sale" && is_plain {
            return Err(Exception::user(
                "Once a sales order is confirmed, you can't remove one of its lines (we need to track if something \
                 gets invoiced or delivered).\n                Set the quantity to 0 instead.",
            ));
        }
        Ok(())
    }

    fn product_of(&self, vals: &Map<String, Value>) -> Option<i64> {
        let product = linked(vals.get("product_id"))?;
        self.db.row("product.product", product).map(|_| product)
    }

    /// What is not sent comes from the product, the company's tax too (facts: systems B7).
    fn fill_from_product(&self, product: Option<i64>, vals: &mut Map<String, Value>) {
        let version = self.db.version;
        let taxes = product.map(|product| self.raw("product.product", product, "taxes_id"));
        let taxes = taxes.filter(Value::is_array).unwrap_or_else(|| json!([]));
        vals.entry(tax_column(version))
            .or_insert_with(|| json!([[6, 0, taxes]]));
        let Some(product) = product else { return };
        let unit = || self.raw("product.product", product, "uom_id");
        vals.entry(unit_column(version)).or_insert_with(unit);
        vals.entry("name").or_insert_with(|| {
            let name = self.display_name("product.product", product);
            match self.raw("product.product", product, "description_sale").as_str() {
                Some(text) if !text.is_empty() => json!(format!("{name}\n{text}")),
                _ => json!(name),
            }
        });
    }

    /// The price of a line that brings none.
    fn price(&self, order: i64, product: Option<i64>, quantity: f64, vals: &mut Map<String, Value>) {
        let list = self.db.link(ORDER, order, "pricelist_id");
        let at = domain::seconds(&self.db.text(ORDER, order, "date_order")).unwrap_or(self.now / 1_000_000);
        let price = product.map_or(0.0, |product| {
            self.list_price(list, product, if quantity == 0.0 { 1.0 } else { quantity }, at)
        });
        vals.insert("price_unit".to_owned(), json!(price));
        if self.has_field(LINE, "technical_price_unit") {
            vals.insert("technical_price_unit".to_owned(), json!(price));
        }
    }

    /// A price that differs from the technical one was set by hand and stays; 17 does not know the difference.
    fn has_manual_price(&self, id: i64) -> bool {
        let (_, step) = self.rounding(self.db.link(LINE, id, "order_id").unwrap_or_default());
        let rounded = |name: &str| round_to(self.amount(LINE, id, name), step);
        self.has_field(LINE, "technical_price_unit")
            && (rounded("price_unit") - rounded("technical_price_unit")).abs() > step / 2.0
    }

    /// Writes the amounts of one line.
    pub(super) fn amount_line(&mut self, id: i64) -> Result<(), Exception> {
        let order = self.db.link(LINE, id, "order_id").unwrap_or_default();
        let (rounding, step): (Rounding, f64) = self.rounding(order);
        let found = totals(&[self.line_amounts(id)?], rounding, step);
        let values = [
            ("price_subtotal", json!(found.untaxed)),
            ("price_total", json!(found.total)),
            // A difference and not rounded again, as there (source: `_compute_amount`).
            ("price_tax", json!(found.total - found.untaxed)),
        ];
        if values
            .iter()
            .any(|(name, value)| self.db.value(LINE, id, name) != *value)
        {
            self.set(LINE, id, &values);
        }
        Ok(())
    }

    /// Returns what a line is computed from.
    pub(super) fn line_amounts(&self, id: i64) -> Result<Line, Exception> {
        let taxes = self.db.links(LINE, id, tax_column(self.db.version));
        let taxes: Vec<Tax> = taxes.into_iter().map(|tax| self.tax(tax)).collect();
        let data = self.db.value(LINE, id, "extra_tax_data");
        let applies = data["manual_tax_amounts"].is_object() && self.is_as_forced(id, &data)?;
        let forced = applies.then(|| forced(&data)).filter(|forced| {
            // A tax that is not forced spoils them all.
            taxes.iter().all(|tax| forced.taxes.contains_key(&tax.id))
        });
        Ok(Line {
            price: self.amount(LINE, id, "price_unit"),
            quantity: self.amount(LINE, id, "product_uom_qty"),
            discount: self.amount(LINE, id, "discount"),
            taxes,
            forced,
        })
    }

    /// Says whether a line is still what its amounts were forced for, to the cent.
    fn is_as_forced(&self, id: i64, data: &Value) -> Result<bool, Exception> {
        let order = self.db.link(LINE, id, "order_id").unwrap_or_default();
        let (_, step) = self.rounding(order);
        let key = |name: &str| {
            let value = data.get(name);
            value.ok_or_else(|| Exception::web("builtins.KeyError", 500, format!("'{name}'")))
        };
        if key("currency_id")?.as_i64() != self.db.link(ORDER, order, "currency_id") {
            return Ok(false);
        }
        for (name, column) in [
            ("price_unit", "price_unit"),
            ("discount", "discount"),
            ("quantity", "product_uom_qty"),
        ] {
            let told = key(name)?.as_f64().unwrap_or_default();
            if (round_to(told, step) - round_to(self.amount(LINE, id, column), step)).abs() > step / 2.0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn tax(&self, id: i64) -> Tax {
        Tax {
            id,
            amount: self.amount("account.tax", id, "amount"),
            computation: match self.db.text("account.tax", id, "amount_type").as_str() {
                "fixed" => Computation::Fixed,
                "division" => Computation::Division,
                _ => Computation::Percent,
            },
            is_included: self.is_included(id),
        }
    }

    pub(super) fn quantity_to_invoice(&self, id: i64) -> f64 {
        let product = self.db.link(LINE, id, "product_id").unwrap_or_default();
        let order = self.db.link(LINE, id, "order_id").unwrap_or_default();
        let is_sold = self.db.text(ORDER, order, "state") == "sale";
        if !is_sold || !self.db.text(LINE, id, "display_type").is_empty() {
            return 0.0;
        }
        let policy = self.raw("product.product", product, "invoice_policy");
        let due = if policy == "delivery" {
            self.amount(LINE, id, "qty_delivered")
        } else {
            self.amount(LINE, id, "product_uom_qty")
        };
        due - self.amount(LINE, id, "qty_invoiced")
    }

    /// What a line has from its order and its product.
    pub(in crate::odoo) fn line_field(&self, id: i64, name: &str) -> Value {
        let order = self.db.link(LINE, id, "order_id").unwrap_or_default();
        match name {
            "state" | "currency_id" | "company_id" => self.db.value(ORDER, order, name),
            "order_partner_id" => self.db.value(ORDER, order, "partner_id"),
            "salesman_id" => self.db.value(ORDER, order, "user_id"),
            "product_template_id" => {
                let product = self.db.link(LINE, id, "product_id").unwrap_or_default();
                self.db.value("product.product", product, "product_tmpl_id")
            }
            "qty_to_invoice" => json!(self.quantity_to_invoice(id)),
            _ => Value::Bool(false),
        }
    }

    pub(in crate::odoo) fn line_name(&self, id: i64) -> String {
        let order = self.db.link(LINE, id, "order_id").unwrap_or_default();
        let text = self.db.text(LINE, id, "name");
        let first = text.lines().next().unwrap_or_default();
        format!("{} - {first}", self.db.text(ORDER, order, "name"))
    }
}

fn forced(data: &Value) -> Forced {
    let taxes = data["manual_tax_amounts"].as_object().into_iter().flatten();
    let taxes: BTreeMap<i64, (Option<f64>, Option<f64>)> = taxes
        .filter_map(|(tax, amounts)| {
            let amount = |name: &str| amounts[name].as_f64();
            Some((
                tax.parse().ok()?,
                (amount("tax_amount_currency"), amount("base_amount_currency")),
            ))
        })
        .collect();
    Forced {
        taxes,
        excluded: data["manual_total_excluded_currency"].as_f64(),
    }
}
