//! The deliveries of orders: pickings and their moves (facts: mapping-odoo 3, 5).

use serde_json::{Value, json};

use super::exception::Exception;
use super::model::Kind::{Boolean, Char, Datetime, Measure, Selection};
use super::model::Model;
use super::read::stamp;
use super::sale::{LINE, ORDER, unit_precision};
use super::schema::{computed, field, indexed, lines, to};
use super::session::Session;
use crate::ledger::Operation;

pub(super) const PICKING: &str = "stock.picking";
pub(super) const MOVE: &str = "stock.move";
const QUANT: &str = "stock.quant";

/// `WH/Stock`, where goods leave from (facts: systems B7).
pub(super) const STOCK: i64 = 5;
/// Where they go to, as recorded.
pub(super) const CUSTOMERS: i64 = 2;

const PICKING_STATES: &[(&str, &str)] = &[
    ("draft", "Draft"),
    ("waiting", "Waiting Another Operation"),
    ("confirmed", "Waiting"),
    ("assigned", "Ready"),
    ("done", "Done"),
    ("cancel", "Cancelled"),
];
const MOVE_STATES: &[(&str, &str)] = &[
    ("draft", "New"),
    ("waiting", "Waiting Another Move"),
    ("confirmed", "Waiting"),
    ("partially_available", "Partially Available"),
    ("assigned", "Available"),
    ("done", "Done"),
    ("cancel", "Cancelled"),
];
const DIRECTIONS: &[(&str, &str)] = &[
    ("incoming", "Receipt"),
    ("outgoing", "Delivery"),
    ("internal", "Internal Transfer"),
];

/// Builds both models.
pub(super) fn models(version: u32) -> Vec<Model> {
    let quantity = || Measure(unit_precision(version));
    vec![
        Model::new(
            PICKING,
            "Transfer",
            "scheduled_date asc, id desc",
            vec![
                indexed("name", "Reference", Char),
                field("state", "Status", Selection(PICKING_STATES)).or("draft"),
                field("origin", "Source Document", Char),
                to("partner_id", "Contact", "res.partner"),
                to("sale_id", "Sales Order", ORDER),
                lines("move_ids", "Stock Moves", MOVE, "picking_id"),
                field("picking_type_code", "Type of Operation", Selection(DIRECTIONS)).or("outgoing"),
                field("scheduled_date", "Scheduled Date", Datetime),
                field("date_done", "Date of Transfer", Datetime),
                to("location_id", "Source Location", "stock.location").or(STOCK),
                to("location_dest_id", "Destination Location", "stock.location").or(CUSTOMERS),
                to("backorder_id", "Back Order of", PICKING),
            ],
        ),
        Model::new(
            MOVE,
            "Stock Move",
            "id",
            vec![
                field("reference", "Reference", Char),
                field("origin", "Source Document", Char),
                field("state", "Status", Selection(MOVE_STATES)).or("draft"),
                to("product_id", "Product", "product.product").required(),
                to("product_uom", "Unit", "uom.uom").or(1),
                field("product_uom_qty", "Demand", quantity()),
                // What is reserved, or was moved.
                field("quantity", "Quantity", quantity()),
                field("picked", "Picked", Boolean),
                field("is_inventory", "Inventory", Boolean),
                to("picking_id", "Transfer", PICKING),
                to("sale_line_id", "Sale Line", LINE),
                to("location_id", "Source Location", "stock.location").or(STOCK),
                to("location_dest_id", "Destination Location", "stock.location").or(CUSTOMERS),
                field("date", "Date", Datetime),
                computed("product_qty", "Real Quantity", quantity()),
            ],
        ),
    ]
}

/// One move that is neither done nor cancelled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct OpenMove {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) demand: f64,
    pub(super) reserved: f64,
}

impl Session<'_> {
    /// Lists the open moves of a product: what is outgoing, incoming and reserved follows from them.
    pub(super) fn open_moves(&self, product: i64) -> Vec<OpenMove> {
        let moves = self.db.with(MOVE, "product_id", product).into_iter();
        moves
            .filter(|id| self.is_open(MOVE, *id))
            .map(|id| OpenMove {
                from: self.db.link(MOVE, id, "location_id").unwrap_or_default(),
                to: self.db.link(MOVE, id, "location_dest_id").unwrap_or_default(),
                demand: self.quantity(id, "product_uom_qty"),
                reserved: self.quantity(id, "quantity"),
            })
            .collect()
    }

    /// Lists the pickings of an order that are still to be done.
    pub(super) fn open_pickings(&self, order: i64) -> Vec<i64> {
        let mut pickings = self.db.with(PICKING, "sale_id", order);
        pickings.retain(|picking| self.is_open(PICKING, *picking));
        pickings
    }

    /// Brings the moves of a line in line with its quantity: more is added, less comes back in a picking of its own.
    pub(super) fn launch(&mut self, line: i64) {
        let Some(product) = self.db.link(LINE, line, "product_id") else {
            return;
        };
        if !self.is_goods(product) {
            return;
        }
        let order = self.db.link(LINE, line, "order_id").unwrap_or_default();
        let ordered = self
            .db
            .value(LINE, line, "product_uom_qty")
            .as_f64()
            .unwrap_or_default();
        let moves = self.db.with(MOVE, "sale_line_id", line).into_iter();
        let moves = moves.filter(|id| self.db.text(MOVE, *id, "state") != "cancel");
        let procured: f64 = moves
            .map(|id| {
                let demand = self.quantity(id, "product_uom_qty");
                let leaves = self.db.link(MOVE, id, "location_dest_id") == Some(CUSTOMERS);
                if leaves { demand } else { -demand }
            })
            .sum();
        let missing = ordered - procured;
        if missing > 0.004 {
            let is_outgoing =
                |picking: &i64| self.db.text(PICKING, *picking, "picking_type_code") == "outgoing";
            let open = self.open_pickings(order).into_iter().find(is_outgoing);
            let picking = match open {
                Some(picking) => picking,
                None => self.new_picking(order, "outgoing"),
            };
            self.new_move(picking, line, product, missing);
        } else if missing < -0.004 {
            for picking in self.open_pickings(order) {
                self.remind(PICKING, picking, "The ordered quantity has been decreased");
            }
            let picking = self.new_picking(order, "incoming");
            self.new_move(picking, line, product, -missing);
        }
    }

    fn new_picking(&mut self, order: i64, direction: &str) -> i64 {
        let name = self.next_name(if direction == "outgoing" {
            "stock.picking.out"
        } else {
            "stock.picking.in"
        });
        let ends = ends(direction);
        let values = [
            ("name", json!(name)),
            ("origin", self.db.value(ORDER, order, "name")),
            ("partner_id", self.db.value(ORDER, order, "partner_shipping_id")),
            ("sale_id", json!(order)),
            ("picking_type_code", json!(direction)),
            ("scheduled_date", json!(stamp(self.now))),
            ("location_id", json!(ends.0)),
            ("location_dest_id", json!(ends.1)),
        ];
        self.insert_row(PICKING, &values)
    }

    fn new_move(&mut self, picking: i64, line: i64, product: i64, demand: f64) {
        let direction = self.db.text(PICKING, picking, "picking_type_code");
        let ends = ends(&direction);
        let free = if direction == "outgoing" && self.is_storable(product) {
            self.free(product)
        } else {
            demand
        };
        let values = [
            ("reference", self.db.value(PICKING, picking, "name")),
            ("origin", self.db.value(PICKING, picking, "origin")),
            ("product_id", json!(product)),
            ("product_uom", self.raw("product.product", product, "uom_id")),
            ("product_uom_qty", json!(demand)),
            ("quantity", json!(demand.min(free.max(0.0)))),
            ("picking_id", json!(picking)),
            ("sale_line_id", json!(line)),
            ("location_id", json!(ends.0)),
            ("location_dest_id", json!(ends.1)),
            ("date", json!(stamp(self.now))),
            ("state", json!("confirmed")),
        ];
        let id = self.insert_row(MOVE, &values);
        self.settle_move(id);
    }

    fn insert_row(&mut self, model: &str, values: &[(&str, Value)]) -> i64 {
        let id = self.db.next_id(model);
        let row = self.blank(model);
        self.db.put(model, id, row);
        self.set(model, id, values);
        id
    }

    /// Says how ready a move is, and its picking with it.
    pub(super) fn settle_move(&mut self, id: i64) {
        if !self.is_open(MOVE, id) {
            return;
        }
        let (demand, reserved) = (
            self.quantity(id, "product_uom_qty"),
            self.quantity(id, "quantity"),
        );
        let state = if reserved >= demand {
            "assigned"
        } else if reserved > 0.0 {
            "partially_available"
        } else {
            "confirmed"
        };
        if self.db.text(MOVE, id, "state") != state {
            self.set(MOVE, id, &[("state", json!(state))]);
        }
        if let Some(picking) = self.db.link(MOVE, id, "picking_id") {
            self.settle_picking(picking);
        }
    }

    fn settle_picking(&mut self, picking: i64) {
        let moves = self.db.with(MOVE, "picking_id", picking).into_iter();
        let states: Vec<String> = moves.map(|id| self.db.text(MOVE, id, "state")).collect();
        let any = |wanted: &[&str]| states.iter().any(|state| wanted.contains(&state.as_str()));
        let state = if any(&["assigned", "partially_available"]) {
            "assigned"
        } else if any(&["confirmed"]) {
            "confirmed"
        } else if any(&["done"]) {
            "done"
        } else {
            "cancel"
        };
        if self.db.text(PICKING, picking, "state") != state {
            self.set(PICKING, picking, &[("state", json!(state))]);
        }
    }

    /// Cancels what was not delivered yet.
    pub(super) fn cancel_deliveries(&mut self, order: i64) {
        for picking in self.open_pickings(order) {
            for id in self.db.with(MOVE, "picking_id", picking) {
                if self.is_open(MOVE, id) {
                    self.set(MOVE, id, &[("state", json!("cancel")), ("quantity", json!(0.0))]);
                }
            }
            self.settle_picking(picking);
        }
    }

    /// Delivers. Without these keys in the context the answer is a question, and nothing is done (facts: mapping-odoo 3).
    pub(super) fn validate_pickings(&mut self, ids: &[i64]) -> Result<Value, Exception> {
        for picking in ids {
            if !self.is_open(PICKING, *picking) {
                continue;
            }
            if self.picked(*picking).iter().all(|(_, quantity)| *quantity == 0.0) {
                return Err(Exception::user(
                    "You cannot validate a transfer if no quantities are reserved. To force the transfer, encode \
                     quantities.",
                ));
            }
        }
        if !self.quiet.skips_sms {
            return Ok(question("confirm.stock.sms", "SMS", ids));
        }
        let is_short = |picking: &i64| {
            let picked = self.picked(*picking);
            picked
                .iter()
                .any(|(id, quantity)| *quantity < self.quantity(*id, "product_uom_qty"))
        };
        if !self.quiet.skips_backorder && ids.iter().any(is_short) {
            return Ok(question("stock.backorder.confirmation", "Create Backorder?", ids));
        }
        for picking in ids {
            self.feel(PICKING, *picking, Operation::Updated);
            if self.is_open(PICKING, *picking) {
                self.complete(*picking);
            }
        }
        Ok(json!(true))
    }

    /// Lists the open moves with what is picked of them: all that is reserved, when nobody picked any.
    fn picked(&self, picking: i64) -> Vec<(i64, f64)> {
        let mut moves = self.db.with(MOVE, "picking_id", picking);
        moves.retain(|id| self.is_open(MOVE, *id));
        let is_any_picked = moves.iter().any(|id| self.db.flag(MOVE, *id, "picked"));
        let of = |id: i64| {
            let counts = !is_any_picked || self.db.flag(MOVE, id, "picked");
            (
                id,
                if counts {
                    self.quantity(id, "quantity")
                } else {
                    0.0
                },
            )
        };
        moves.into_iter().map(of).collect()
    }

    /// Moves what is picked; the rest waits in a back order.
    fn complete(&mut self, picking: i64) {
        let mut rest = Vec::new();
        for (id, quantity) in self.picked(picking) {
            let demand = self.quantity(id, "product_uom_qty");
            if quantity < demand {
                rest.push((id, demand - quantity));
            }
            if quantity == 0.0 {
                self.set(MOVE, id, &[("state", json!("cancel"))]);
                continue;
            }
            let values = [
                ("state", json!("done")),
                ("picked", json!(true)),
                ("quantity", json!(quantity)),
                ("product_uom_qty", json!(quantity)),
                ("date", json!(stamp(self.now))),
            ];
            self.set(MOVE, id, &values);
            self.carry(id, quantity);
        }
        let done = [("date_done", json!(stamp(self.now)))];
        self.set(PICKING, picking, &done);
        self.settle_picking(picking);
        if rest.is_empty() {
            return;
        }
        let order = self.db.link(PICKING, picking, "sale_id").unwrap_or_default();
        let direction = self.db.text(PICKING, picking, "picking_type_code");
        let next = self.new_picking(order, &direction);
        self.set(PICKING, next, &[("backorder_id", json!(picking))]);
        for (id, missing) in rest {
            let line = self.db.link(MOVE, id, "sale_line_id").unwrap_or_default();
            let product = self.db.link(MOVE, id, "product_id").unwrap_or_default();
            self.new_move(next, line, product, missing);
        }
    }

    /// Takes goods from stock, below zero too, or puts them back; the order line counts them.
    fn carry(&mut self, id: i64, quantity: f64) {
        let product = self.db.link(MOVE, id, "product_id").unwrap_or_default();
        let leaves = self.db.link(MOVE, id, "location_dest_id") == Some(CUSTOMERS);
        let change = if leaves { -quantity } else { quantity };
        if self.is_storable(product) {
            self.change_stock(product, change);
        }
        if let Some(line) = self
            .db
            .link(MOVE, id, "sale_line_id")
            .filter(|line| self.db.row(LINE, *line).is_some())
        {
            let delivered = self
                .db
                .value(LINE, line, "qty_delivered")
                .as_f64()
                .unwrap_or_default();
            self.set(LINE, line, &[("qty_delivered", json!(delivered - change))]);
        }
    }

    fn change_stock(&mut self, product: i64, change: f64) {
        let quants = self.db.with(QUANT, "product_id", product).into_iter();
        let here = quants
            .into_iter()
            .find(|quant| self.db.link(QUANT, *quant, "location_id") == Some(STOCK));
        let quant = match here {
            Some(quant) => quant,
            None => self.insert_row(
                QUANT,
                &[("product_id", json!(product)), ("location_id", json!(STOCK))],
            ),
        };
        let now = self
            .db
            .value(QUANT, quant, "quantity")
            .as_f64()
            .unwrap_or_default();
        self.set(QUANT, quant, &[("quantity", json!(now + change))]);
    }

    /// What is on hand and not reserved for another move.
    fn free(&self, product: i64) -> f64 {
        let on_hand = self.raw("product.product", product, "qty_available");
        let reserved: f64 = self
            .open_moves(product)
            .iter()
            .filter(|one| one.from == STOCK)
            .map(|one| one.reserved)
            .sum();
        on_hand.as_f64().unwrap_or_default() - reserved
    }

    /// Says whether a product is delivered at all.
    fn is_goods(&self, product: i64) -> bool {
        if self.db.version < 18 {
            self.raw("product.product", product, "detailed_type") != "service"
        } else {
            self.raw("product.product", product, "type") == "consu"
        }
    }

    pub(super) fn is_storable(&self, product: i64) -> bool {
        if self.db.version < 18 {
            self.raw("product.product", product, "detailed_type") == "product"
        } else {
            self.raw("product.product", product, "is_storable") == json!(true)
        }
    }

    fn is_open(&self, model: &str, id: i64) -> bool {
        !matches!(self.db.text(model, id, "state").as_str(), "done" | "cancel")
    }

    fn quantity(&self, id: i64, name: &str) -> f64 {
        self.db.value(MOVE, id, name).as_f64().unwrap_or_default()
    }

    pub(super) fn delivery_field(&self, model: &str, id: i64, name: &str) -> Value {
        match (model, name) {
            (MOVE, "product_qty") => self.db.value(MOVE, id, "product_uom_qty"),
            _ => Value::Bool(false),
        }
    }
}

/// Where goods come from and go to.
fn ends(direction: &str) -> (i64, i64) {
    if direction == "incoming" {
        (CUSTOMERS, STOCK)
    } else {
        (STOCK, CUSTOMERS)
    }
}

/// The window that a person would be asked in.
fn question(model: &str, name: &str, pickings: &[i64]) -> Value {
    json!({
        "name": name, "type": "ir.actions.act_window", "res_model": model, "view_mode": "form",
        "views": [[false, "form"]], "target": "new", "context": {"default_pick_ids": pickings},
    })
}
