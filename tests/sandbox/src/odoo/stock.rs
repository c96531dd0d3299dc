//! Warehouses, locations, quants and the moves between them (facts: systems B7, mapping-odoo 5).

use std::collections::BTreeSet;

use chrono::DateTime;
use serde_json::{Map, Value, json};

use super::base::put;
use super::call::{Arguments, texts};
use super::database::{Database, Row};
use super::exception::Exception;
use super::model::Kind::{Boolean, Char, Date, Datetime, Float, Many2one, Measure, Selection};
use super::model::Model;
use super::quantity::is_open;
use super::schema::{computed, field, to};
use super::session::{Session, Touched, now_micros};
use super::write::number;
use crate::ledger::Operation;

pub(super) const QUANT: &str = "stock.quant";
pub(super) const MOVE: &str = "stock.move";
pub(super) const LOCATION: &str = "stock.location";
pub(super) const WAREHOUSE: &str = "stock.warehouse";

const USAGES: &[(&str, &str)] = &[
    ("supplier", "Vendor"),
    ("view", "Virtual"),
    ("internal", "Internal"),
    ("customer", "Customer"),
    ("inventory", "Inventory Loss"),
    ("production", "Production"),
    ("transit", "Transit"),
];

/// What may come along when stock is counted (source: `_get_inventory_fields_create`).
const COUNTED_FIELDS: [&str; 9] = [
    "product_id",
    "location_id",
    "inventory_quantity",
    "inventory_quantity_auto_apply",
    "inventory_diff_quantity",
    "inventory_quantity_set",
    "inventory_date",
    "is_outdated",
    "user_id",
];

pub(super) fn models() -> Vec<Model> {
    vec![
        Model::new(
            WAREHOUSE,
            "Warehouse",
            "id",
            vec![
                field("name", "Warehouse", Char).required(),
                field("code", "Short Name", Char).required(),
                field("active", "Active", Boolean).or(true),
                to("lot_stock_id", "Location Stock", LOCATION),
                to("view_location_id", "View Location", LOCATION),
                to("company_id", "Company", "res.company").or(1),
            ],
        ),
        Model::new(
            LOCATION,
            "Inventory Locations",
            "complete_name, id",
            vec![
                field("name", "Location Name", Char).required(),
                field("complete_name", "Full Location Name", Char),
                field("usage", "Location Type", Selection(USAGES)).or("internal"),
                field("active", "Active", Boolean).or(true),
                to("location_id", "Parent Location", LOCATION),
                computed("warehouse_id", "Warehouse", Many2one(WAREHOUSE.to_owned())),
            ],
        ),
        quant_model(),
    ]
}

fn quant_model() -> Model {
    let counted = |name: &str, label: &str| field(name, label, Measure("Product Unit"));
    Model::new(
        QUANT,
        "Quants",
        "id",
        vec![
            to("product_id", "Product", "product.product").required(),
            to("location_id", "Location", LOCATION).required(),
            computed("warehouse_id", "Warehouse", Many2one(WAREHOUSE.to_owned())),
            field("quantity", "Quantity", Float),
            computed("reserved_quantity", "Reserved Quantity", Float),
            computed("available_quantity", "Available Quantity", Float),
            counted("inventory_quantity", "Counted Quantity"),
            computed(
                "inventory_quantity_auto_apply",
                "Inventoried Quantity",
                Measure("Product Unit"),
            ),
            counted("inventory_diff_quantity", "Difference"),
            field("inventory_quantity_set", "Inventory Quantity Set", Boolean),
            computed("is_outdated", "Quantity has been moved since last count", Boolean),
            field("inventory_date", "Scheduled Date", Date),
            field("in_date", "Incoming Date", Datetime),
            to("user_id", "Assigned To", "res.users"),
        ],
    )
}

/// Lists what a fresh database has; the ids are those that were seen.
pub(super) fn rows() -> Vec<(&'static str, i64, Value)> {
    let location = |id: i64, name: &str, usage: &str, parent: Option<i64>| {
        let complete = parent.map_or_else(|| name.to_owned(), |_| format!("WH/{name}"));
        let vals = json!({"name": name, "complete_name": complete, "usage": usage, "location_id": parent});
        (LOCATION, id, vals)
    };
    let warehouse = json!({"name": "My Company", "code": "WH", "lot_stock_id": 5, "view_location_id": 4});
    vec![
        location(1, "Vendors", "supplier", None),
        location(2, "Customers", "customer", None),
        location(3, "Inter-company transit", "transit", None),
        location(4, "WH", "view", None),
        location(5, "Stock", "internal", Some(4)),
        location(11, "Inventory adjustment", "inventory", None),
        (WAREHOUSE, 1, warehouse),
    ]
}

/// Completes a recording: which location is in which, and what was under way.
pub(super) fn complete(db: &mut Database, data: &Map<String, Value>) {
    let mut session = Session::new(db, now_micros());
    session.place_locations();
    session.place_warehouses();
    let products = data.get("product.product").and_then(Value::as_array);
    for view in products.into_iter().flatten() {
        session.put_under_way(view);
    }
}

/// A real list of ids names a quant once, however often it was counted (source: `quants |= quant`).
pub(super) fn once_each(ids: &mut Vec<i64>) {
    let mut seen = BTreeSet::new();
    ids.retain(|id| seen.insert(*id));
}

pub(super) fn no_unlink() -> Exception {
    Exception::access(
        "You are not allowed to delete 'Quants' (stock.quant) records.\n\nNo group currently allows this \
         operation.\n\nContact your administrator to request access if necessary.",
    )
}

/// Stock is kept of goods only.
pub(super) fn untrack_services(values: &mut Vec<(String, Value)>) {
    let is_other = |(name, value): &(String, Value)| name == "type" && value != "consu";
    if values.iter().any(is_other) {
        values.retain(|(name, _)| name != "is_storable");
        values.push(("is_storable".to_owned(), json!(false)));
    }
}

fn is_zero(number: f64) -> bool {
    number.abs() < 1e-6
}

impl Session<'_> {
    pub(super) fn computed_stock(&self, model: &str, id: i64, name: &str) -> Value {
        let quantity = |field: &str| self.float(QUANT, id, field);
        match (model, name) {
            (LOCATION, _) => self.warehouse_of(Some(id)),
            (_, "warehouse_id") => self.warehouse_of(self.db.link(QUANT, id, "location_id")),
            (_, "reserved_quantity") => json!(self.reserved_of(id)),
            (_, "available_quantity") => json!(quantity("quantity") - self.reserved_of(id)),
            (_, "inventory_quantity_auto_apply") => json!(quantity("quantity")),
            (_, "is_outdated") => json!(self.is_outdated(id)),
            _ => Value::Bool(false),
        }
    }

    fn warehouse_of(&self, location: Option<i64>) -> Value {
        let mut views = self
            .location_path(location)
            .flat_map(|place| self.db.with(WAREHOUSE, "view_location_id", place));
        views.next().map_or(Value::Bool(false), |id| json!(id))
    }

    /// Whether the stock moved after it was counted.
    fn is_outdated(&self, quant: i64) -> bool {
        let value = |field: &str| self.float(QUANT, quant, field);
        let at_count = value("inventory_quantity") - value("inventory_diff_quantity");
        self.db.flag(QUANT, quant, "inventory_quantity_set") && !is_zero(at_count - value("quantity"))
    }

    /// Returns what open moves have taken of a quant: they take the older ones first.
    fn reserved_of(&self, quant: i64) -> f64 {
        let product = self.db.link(QUANT, quant, "product_id").unwrap_or_default();
        let Some(location) = self.db.link(QUANT, quant, "location_id") else {
            return 0.0;
        };
        let mut quants = self.db.with(QUANT, "product_id", product);
        quants.retain(|other| self.db.link(QUANT, *other, "location_id") == Some(location));
        let moves = self.db.with(MOVE, "product_id", product).into_iter();
        let leaving = moves.filter(|id| {
            is_open(&self.db.text(MOVE, *id, "state"))
                && self.db.link(MOVE, *id, "location_id") == Some(location)
        });
        let mut left: f64 = leaving.map(|id| self.float(MOVE, id, "quantity")).sum();
        let last = quants.last().copied();
        for other in quants {
            let share = if Some(other) == last {
                left
            } else {
                left.min(self.float(QUANT, other, "quantity").max(0.0))
            };
            if other == quant {
                return share;
            }
            left -= share;
        }
        0.0
    }

    /// A location is called by all that it is in.
    pub(super) fn settle_new_location(&mut self, id: i64) {
        if !self.db.text(LOCATION, id, "complete_name").is_empty() {
            return;
        }
        let name = self.db.text(LOCATION, id, "name");
        let complete = match self.db.link(LOCATION, id, "location_id") {
            Some(parent) => format!("{}/{name}", self.db.text(LOCATION, parent, "complete_name")),
            None => name,
        };
        self.set(LOCATION, id, &[("complete_name", json!(complete))]);
    }

    /// A new warehouse comes with its locations.
    pub(super) fn settle_new_warehouse(&mut self, id: i64) -> Result<(), Exception> {
        if self.db.link(WAREHOUSE, id, "view_location_id").is_some() {
            return Ok(());
        }
        let mut made = Vec::new();
        for (name, usage) in [
            (self.db.text(WAREHOUSE, id, "code"), "view"),
            ("Stock".to_owned(), "internal"),
        ] {
            let vals = json!({"name": name, "usage": usage, "location_id": made.last()});
            made.push(self.create_quietly(LOCATION, &vals.as_object().cloned().unwrap_or_default())?);
        }
        let values = [
            ("view_location_id", json!(made[0])),
            ("lot_stock_id", json!(made[1])),
        ];
        self.set(WAREHOUSE, id, &values);
        Ok(())
    }

    fn counts_stock(&self) -> bool {
        self.is_in_context("inventory_mode")
    }

    /// Creates a quant. A count takes the one that is there; without `inventory_mode` there will be a second row.
    pub(super) fn create_quant(&mut self, vals: &Map<String, Value>) -> Result<i64, Exception> {
        let at_once = vals.get("inventory_quantity_auto_apply");
        let counted = vals.get("inventory_quantity");
        if !self.counts_stock() || (at_once.is_none() && counted.is_none()) {
            let id = self.create_quietly(QUANT, vals)?;
            if counted.is_some() {
                self.settle_count(id);
            }
            if vals.contains_key("quantity") {
                self.feel(QUANT, id, Operation::Created);
            }
            return Ok(id);
        }
        if vals
            .keys()
            .any(|name| !COUNTED_FIELDS.contains(&name.as_str()) && self.field(QUANT, name).is_ok())
        {
            return Err(Exception::user(
                "Quant's creation is restricted, you can't do this operation.",
            ));
        }
        let is_at_once = at_once.is_some();
        let amount = number(at_once.or(counted).unwrap_or(&Value::Null))?;
        let mut rest = vals.clone();
        rest.retain(|name, _| !name.starts_with("inventory_quantity"));
        let place = |name: &str| vals.get(name).and_then(Value::as_i64);
        let known = place("product_id")
            .zip(place("location_id"))
            .and_then(|(product, location)| self.gather(product, location).first().copied());
        let id = match known {
            Some(id) => id,
            None => self.create_quietly(QUANT, &rest)?,
        };
        if is_at_once {
            self.count_at_once(id, amount)?;
        } else {
            self.count(id, amount)?;
        }
        Ok(id)
    }

    /// Writes quants. Stock that is written directly changes without a move.
    pub(super) fn write_quants(&mut self, ids: &[i64], vals: &Map<String, Value>) -> Result<(), Exception> {
        if self.counts_stock() && (vals.contains_key("product_id") || vals.contains_key("location_id")) {
            let is_loss = |id: &i64| self.usage(self.db.link(QUANT, *id, "location_id")) == "inventory";
            if ids.iter().any(is_loss) {
                return Ok(());
            }
            return Err(Exception::user(
                "Quant's editing is restricted, you can't do this operation.",
            ));
        }
        for id in ids {
            self.write_one(QUANT, *id, vals)?;
            if vals.contains_key("inventory_quantity") {
                self.settle_count(*id);
            }
            if let Some(amount) = vals.get("inventory_quantity_auto_apply")
                && self.counts_stock()
            {
                self.count_at_once(*id, number(amount)?)?;
            }
            if vals.contains_key("quantity") {
                self.feel(QUANT, *id, Operation::Updated);
            }
        }
        Ok(())
    }

    /// Loads quants: always a count, at the stock of the first warehouse unless a location is named.
    pub(super) fn load_quants(&mut self, arguments: &Arguments) -> Result<Value, Exception> {
        self.context.insert("inventory_mode".to_owned(), json!(true));
        let mut fields = texts(arguments.get("fields").unwrap_or(&Value::Null));
        let data = arguments.get("data").and_then(Value::as_array);
        let mut data = data.cloned().unwrap_or_default();
        let is_located = fields.iter().any(|field| {
            matches!(field.as_str(), ".id" | "location_id") || field.starts_with("location_id/")
        });
        let first = self.db.table(WAREHOUSE).rows.keys().next().copied();
        let stock = first.and_then(|warehouse| self.db.link(WAREHOUSE, warehouse, "lot_stock_id"));
        if let Some(stock) = stock.filter(|_| !is_located) {
            for row in data.iter_mut().filter_map(Value::as_array_mut) {
                row.resize(fields.len(), Value::Null);
                row.push(json!(stock.to_string()));
            }
            fields.push("location_id/.id".to_owned());
        }
        self.load(QUANT, &fields, &data)
    }

    /// Notes what was counted, and how far it is from what the books say now.
    fn count(&mut self, quant: i64, amount: f64) -> Result<(), Exception> {
        let vals = Map::from_iter([("inventory_quantity".to_owned(), json!(amount))]);
        self.write_one(QUANT, quant, &vals)?;
        self.settle_count(quant);
        Ok(())
    }

    fn settle_count(&mut self, quant: i64) {
        let value = |field: &str| self.float(QUANT, quant, field);
        let difference = value("inventory_quantity") - value("quantity");
        let values = [
            ("inventory_diff_quantity", json!(difference)),
            ("inventory_quantity_set", json!(true)),
            ("inventory_date", json!(self.today())),
            ("user_id", json!(self.user)),
        ];
        self.set(QUANT, quant, &values);
    }

    /// Counts and applies; an equal value moves nothing (source: the field's inverse).
    fn count_at_once(&mut self, quant: i64, amount: f64) -> Result<(), Exception> {
        if is_zero(self.float(QUANT, quant, "quantity") - amount) {
            return Ok(());
        }
        self.count(quant, amount)?;
        self.apply_inventory(&[quant]).map(|_| ())
    }

    /// Makes the stock what was counted. What was not counted becomes 0, an equal count still writes a move, and a
    /// count that is outdated stops everything.
    pub(super) fn apply_inventory(&mut self, quants: &[i64]) -> Result<Value, Exception> {
        let outdated: Vec<i64> = quants
            .iter()
            .copied()
            .filter(|id| self.is_outdated(*id))
            .collect();
        if !outdated.is_empty() {
            let mut context = self.context.clone();
            context.insert("default_quant_ids".to_owned(), json!(quants));
            context.insert("default_quant_to_fix_ids".to_owned(), json!(outdated));
            return Ok(json!({
                "name": "Conflict in Inventory Adjustment", "type": "ir.actions.act_window", "view_mode": "form",
                "views": [[false, "form"]], "res_model": "stock.inventory.conflict", "target": "new",
                "context": context,
            }));
        }
        let value = |quant: i64, field: &str| self.float(QUANT, quant, field);
        let difference = |quant: i64| {
            if self.db.flag(QUANT, quant, "inventory_quantity_set") {
                value(quant, "inventory_diff_quantity")
            } else {
                value(quant, "inventory_quantity") - value(quant, "quantity")
            }
        };
        let differences: Vec<(i64, f64)> = quants.iter().map(|id| (*id, difference(*id))).collect();
        for (quant, difference) in differences {
            self.adjust(quant, difference)?;
            self.feel(QUANT, quant, Operation::Updated);
        }
        Ok(Value::Null)
    }

    fn adjust(&mut self, quant: i64, difference: f64) -> Result<(), Exception> {
        let product = self.db.link(QUANT, quant, "product_id").unwrap_or_default();
        let location = self.db.link(QUANT, quant, "location_id").unwrap_or_default();
        let loss = self.loss_location();
        let (from, to) = if difference > 0.0 {
            (loss, location)
        } else {
            (location, loss)
        };
        let named = self.context.get("inventory_name").and_then(Value::as_str);
        let reference = named.unwrap_or(if is_zero(difference) {
            "Product Quantity Confirmed"
        } else {
            "Product Quantity Updated"
        });
        let vals = json!({
            "product_id": product, "product_uom_qty": difference.abs(), "quantity": difference.abs(), "picked": true,
            "state": "done", "location_id": from, "location_dest_id": to, "reference": reference,
        });
        self.create_quietly(MOVE, &vals.as_object().cloned().unwrap_or_default())?;
        self.shift_stock(product, location, difference)?;
        self.shift_stock(product, loss, -difference)?;
        let cleared = [
            ("inventory_quantity", json!(0.0)),
            ("inventory_diff_quantity", json!(0.0)),
            ("inventory_quantity_set", json!(false)),
            ("user_id", json!(false)),
        ];
        self.set(QUANT, quant, &cleared);
        Ok(())
    }

    /// Adds to the stock of a product at a location, below zero too; several quants share it in no order but their age.
    pub(super) fn shift_stock(&mut self, product: i64, location: i64, by: f64) -> Result<(), Exception> {
        if is_zero(by) {
            return Ok(());
        }
        if let Some(quant) = self.gather(product, location).first() {
            let quantity = self.rounded(self.float(QUANT, *quant, "quantity") + by, "Product Unit");
            self.set(QUANT, *quant, &[("quantity", json!(quantity))]);
            return Ok(());
        }
        let vals = json!({"product_id": product, "location_id": location, "quantity": by});
        self.create_quietly(QUANT, &vals.as_object().cloned().unwrap_or_default())?;
        Ok(())
    }

    /// Lists the quants of a product at a location, as far as this transaction sees them: a snapshot, so that
    /// parallel adjustments make a quant each (facts: systems B7).
    pub(super) fn gather(&self, product: i64, location: i64) -> Vec<i64> {
        let mut quants = self.db.with(QUANT, "product_id", product);
        quants.retain(|quant| {
            let since = self.db.quants_since.get(quant);
            self.db.link(QUANT, *quant, "location_id") == Some(location)
                && since.is_none_or(|since| *since <= self.now)
        });
        quants
    }

    /// Notes from when on others see a new quant, and moves the time of quants that something was reserved of.
    pub(super) fn note_stock(&mut self, touched: &Touched) {
        let is_new = |((model, id), before): (&(String, i64), &Option<Row>)| {
            (model == QUANT && before.is_none()).then_some(*id)
        };
        let new: Vec<i64> = touched.iter().filter_map(is_new).collect();
        let now = now_micros();
        self.db.quants_since.extend(new.into_iter().map(|id| (id, now)));
        let mut reserved = BTreeSet::new();
        for ((_, id), before) in touched.iter().filter(|((model, _), _)| model == MOVE) {
            let after = self.db.row(MOVE, *id);
            if is_zero(self.taken(before.as_ref()) - self.taken(after)) {
                continue;
            }
            let product = self.db.link(MOVE, *id, "product_id").unwrap_or_default();
            let location = self.db.link(MOVE, *id, "location_id").unwrap_or_default();
            reserved.extend(self.gather(product, location));
        }
        for quant in reserved {
            self.set(QUANT, quant, &[]);
        }
    }

    /// Returns what a move has taken and not brought away yet.
    fn taken(&self, row: Option<&Row>) -> f64 {
        let table = &self.db.table(MOVE).model;
        let value = |name: &str| Some(&row?.values[table.position(name)?]);
        let is_open = value("state").and_then(Value::as_str).is_some_and(is_open);
        let quantity = value("quantity").and_then(Value::as_f64).unwrap_or_default();
        if is_open { quantity } else { 0.0 }
    }

    /// Lists the other quants of a quant's product, and itself.
    pub(super) fn quants_beside(&self, quant: i64) -> Vec<i64> {
        let product = self.db.link(QUANT, quant, "product_id");
        product.map_or_else(Vec::new, |product| self.db.with(QUANT, "product_id", product))
    }

    /// Whether the stock in a quant is another; what was merely counted does not matter.
    pub(super) fn moved_stock(&self, before: Option<&Row>, after: Option<&Row>) -> bool {
        let table = &self.db.table(QUANT).model;
        let quantity = |row: Option<&Row>| {
            let at = table.position("quantity")?;
            row?.values[at].as_f64()
        };
        !is_zero(quantity(before).unwrap_or_default() - quantity(after).unwrap_or_default())
    }

    /// Only goods that are kept in stock have quants.
    pub(super) fn check_quant(&self, quant: i64) -> Result<(), Exception> {
        let product = self.db.link(QUANT, quant, "product_id").unwrap_or_default();
        if !self.is_kept(product) {
            return Err(Exception::validation(
                "Quants cannot be created for consumables or services.",
            ));
        }
        let location = self.db.link(QUANT, quant, "location_id");
        if self.usage(location) == "view" {
            let name = self.display_name(LOCATION, location.unwrap_or_default());
            return Err(Exception::validation(format!(
                "You cannot take products from or deliver products to a location of type \"view\" ({name})."
            )));
        }
        Ok(())
    }

    /// Whether stock is kept of a template cannot change once it moved (source: `product.template.write`).
    pub(super) fn settle_tracking(
        &self,
        template: i64,
        values: &mut Vec<(String, Value)>,
    ) -> Result<(), Exception> {
        untrack_services(values);
        let wanted = values.iter().find(|(name, _)| name == "is_storable");
        let now = self.db.value("product.template", template, "is_storable");
        if wanted.is_none_or(|(_, wanted)| *wanted == now) {
            return Ok(());
        }
        let variants = self.db.with("product.product", "product_tmpl_id", template);
        let moves = variants
            .into_iter()
            .flat_map(|variant| self.db.with(MOVE, "product_id", variant));
        for id in moves {
            let state = self.db.text(MOVE, id, "state");
            if state == "done" {
                return Err(Exception::user(
                    "You can not change the inventory tracking of a product that was already used.",
                ));
            }
            if is_open(&state) && !is_zero(self.float(MOVE, id, "quantity")) {
                return Err(Exception::user(
                    "You can not change the inventory tracking of a product that is currently reserved on a stock                      move. If you need to change the inventory tracking, you should first unreserve the stock move.",
                ));
            }
        }
        Ok(())
    }

    /// Whether stock is kept of a product; up to 17 one field says so.
    fn is_kept(&self, product: i64) -> bool {
        let value = |name: &str| self.raw("product.product", product, name);
        (value("is_storable") == true && value("type") == "consu") || value("detailed_type") == "product"
    }

    fn usage(&self, location: Option<i64>) -> String {
        self.db.text(LOCATION, location.unwrap_or_default(), "usage")
    }

    /// Returns where adjustments come from and go to: where the last one did, if there was one.
    fn loss_location(&self) -> i64 {
        let quants = self.db.table(QUANT).rows.keys().rev();
        let mut used = quants.filter_map(|quant| self.db.link(QUANT, *quant, "location_id"));
        let is_loss = |location: &i64| self.usage(Some(*location)) == "inventory";
        let first = || self.db.table(LOCATION).rows.keys().copied().find(is_loss);
        used.find(is_loss).or_else(first).unwrap_or_default()
    }

    pub(super) fn today(&self) -> String {
        let at = DateTime::from_timestamp(self.now.div_euclid(1_000_000), 0);
        at.map(|at| at.format("%Y-%m-%d").to_string()).unwrap_or_default()
    }

    /// Sets the stock as a person does who counts and applies.
    pub(super) fn set_stock(&mut self, product: i64, location: i64, quantity: f64) -> Result<(), Exception> {
        self.context.insert("inventory_mode".to_owned(), json!(true));
        let vals = json!({"product_id": product, "location_id": location, "inventory_quantity": quantity});
        let quant = self.create_quant(&vals.as_object().cloned().unwrap_or_default())?;
        self.apply_inventory(&[quant]).map(|_| ())
    }

    /// A recording has the full names of locations only.
    fn place_locations(&mut self) {
        let ids: Vec<i64> = self.db.table(LOCATION).rows.keys().copied().collect();
        let named: Vec<(i64, String)> = ids
            .iter()
            .map(|id| (*id, self.db.text(LOCATION, *id, "complete_name")))
            .collect();
        for (id, name) in &named {
            if self.db.link(LOCATION, *id, "location_id").is_some() {
                continue;
            }
            // Not every location was recorded: the nearest one above it stands in for its parent.
            let parent = named
                .iter()
                .filter(|(_, above)| name.starts_with(&format!("{above}/")))
                .max_by_key(|(_, above)| above.len());
            if let Some((parent, _)) = parent {
                self.put_value(LOCATION, *id, "location_id", json!(parent));
            }
        }
    }

    fn place_warehouses(&mut self) {
        let ids: Vec<i64> = self.db.table(WAREHOUSE).rows.keys().copied().collect();
        for id in ids {
            let stock = self.db.link(WAREHOUSE, id, "lot_stock_id").unwrap_or_default();
            if let Some(view) = self.db.link(LOCATION, stock, "location_id") {
                self.put_value(WAREHOUSE, id, "view_location_id", json!(view));
            }
        }
    }

    /// A recording has no moves, but what a product's forecast owes to them: at least what is reserved goes out.
    fn put_under_way(&mut self, view: &Value) {
        let amount = |name: &str| view[name].as_f64().unwrap_or_default();
        let product = view["id"].as_i64().unwrap_or_default();
        let net = amount("virtual_available") - amount("qty_available");
        let reserved = amount("qty_available") - amount("free_qty");
        let outgoing = reserved.max(-net);
        let first = self.db.table(WAREHOUSE).rows.keys().next().copied();
        let stock = first.and_then(|warehouse| self.db.link(WAREHOUSE, warehouse, "lot_stock_id"));
        let place = |usage: &str| {
            let mut locations = self.db.table(LOCATION).rows.keys().copied();
            locations.find(|id| self.usage(Some(*id)) == usage)
        };
        let (Some(stock), Some(vendor), Some(customer)) = (stock, place("supplier"), place("customer"))
        else {
            return;
        };
        let ways = [
            (outgoing, reserved, stock, customer),
            (net + outgoing, 0.0, vendor, stock),
        ];
        for (demand, taken, from, to) in ways {
            if demand > 0.0 {
                let id = self.db.next_id(MOVE);
                let state = if taken < demand { "confirmed" } else { "assigned" };
                let vals = json!({
                    "product_id": product, "product_uom_qty": demand, "quantity": taken, "state": state,
                    "location_id": from, "location_dest_id": to,
                });
                put(self, MOVE, id, &vals);
            }
        }
    }

    /// Completes a recorded row without moving its time of change.
    fn put_value(&mut self, model: &str, id: i64, name: &str, value: Value) {
        let at = self.db.table(model).model.position(name);
        if let (Some(at), Some(mut row)) = (at, self.db.row(model, id).cloned()) {
            row.values[at] = value;
            self.db.put(model, id, row);
        }
    }
}
