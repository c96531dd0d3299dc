//! What of a product is on hand, free, coming and going (facts: mapping-odoo 5).

use serde_json::Value;

use super::model::Field;
use super::model::Kind::Float;
use super::schema::computed;
use super::session::Session;
use super::stock::{LOCATION, MOVE, QUANT, WAREHOUSE};

const VARIANT: &str = "product.product";

pub(super) fn template_fields() -> Vec<Field> {
    vec![
        computed("qty_available", "Quantity On Hand", Float),
        computed("virtual_available", "Forecasted Quantity", Float),
        computed("incoming_qty", "Incoming", Float),
        computed("outgoing_qty", "Outgoing", Float),
    ]
}

pub(super) fn variant_fields() -> Vec<Field> {
    let mut fields = template_fields();
    fields.push(computed("free_qty", "Free To Use Quantity", Float));
    fields
}

pub(super) fn is_quantity(name: &str) -> bool {
    matches!(
        name,
        "qty_available" | "free_qty" | "virtual_available" | "incoming_qty" | "outgoing_qty"
    )
}

/// Whether a move is neither drafted only nor over.
pub(super) fn is_open(state: &str) -> bool {
    !matches!(state, "draft" | "done" | "cancel")
}

impl Session<'_> {
    /// Returns a quantity of a variant, or of all variants of a template, at the place that the context names.
    ///
    /// Orders lower `qty_available` at delivery only; until then they are in `outgoing_qty`.
    pub(super) fn stock_level(&self, model: &str, id: i64, name: &str) -> f64 {
        let places = self.places();
        let variants = if model == VARIANT {
            vec![id]
        } else {
            self.shown_variants(id)
        };
        let of_variant = |variant: i64| match name {
            "qty_available" => self.in_stock(variant, &places),
            "free_qty" => self.in_stock(variant, &places) - self.reserved(variant, &places),
            "incoming_qty" => self.under_way(variant, &places, "location_dest_id", "location_id"),
            "outgoing_qty" => self.under_way(variant, &places, "location_id", "location_dest_id"),
            _ => {
                self.in_stock(variant, &places)
                    + self.under_way(variant, &places, "location_dest_id", "location_id")
                    - self.under_way(variant, &places, "location_id", "location_dest_id")
            }
        };
        let sum = variants.into_iter().map(of_variant).sum();
        self.rounded(sum, "Product Unit")
    }

    /// Lists the locations that count: a warehouse's, those below a location, or those of every warehouse.
    fn places(&self) -> Vec<i64> {
        let ids = |value: &Value| match value {
            Value::Array(list) => list.iter().filter_map(Value::as_i64).collect(),
            other => other.as_i64().into_iter().collect::<Vec<i64>>(),
        };
        let view = |warehouse: &i64| self.db.link(WAREHOUSE, *warehouse, "view_location_id");
        match (self.context.get("location"), self.context.get("warehouse_id")) {
            (Some(location), _) if !ids(location).is_empty() => ids(location),
            (_, Some(warehouse)) if !ids(warehouse).is_empty() => {
                ids(warehouse).iter().filter_map(view).collect()
            }
            _ => self.db.table(WAREHOUSE).rows.keys().filter_map(view).collect(),
        }
    }

    fn in_stock(&self, variant: i64, places: &[i64]) -> f64 {
        let quants = self.db.with(QUANT, "product_id", variant).into_iter();
        let there = quants.filter(|quant| self.is_at(QUANT, *quant, "location_id", places));
        there.map(|quant| self.float(QUANT, quant, "quantity")).sum()
    }

    /// Sums up what open moves have taken of the stock at these places.
    pub(super) fn reserved(&self, variant: i64, places: &[i64]) -> f64 {
        let moves = self.db.with(MOVE, "product_id", variant).into_iter();
        let open = moves.filter(|id| is_open(&self.db.text(MOVE, *id, "state")));
        let here = open.filter(|id| self.is_at(MOVE, *id, "location_id", places));
        here.map(|id| self.float(MOVE, id, "quantity")).sum()
    }

    /// Sums up the open moves that cross the border of the places in one direction.
    fn under_way(&self, variant: i64, places: &[i64], inside: &str, outside: &str) -> f64 {
        let moves = self.db.with(MOVE, "product_id", variant).into_iter();
        let open = moves.filter(|id| {
            matches!(
                self.db.text(MOVE, *id, "state").as_str(),
                "confirmed" | "partially_available" | "assigned"
            ) && self.is_at(MOVE, *id, inside, places)
                && !self.is_at(MOVE, *id, outside, places)
        });
        open.map(|id| self.float(MOVE, id, "product_uom_qty")).sum()
    }

    fn is_at(&self, model: &str, id: i64, field: &str, places: &[i64]) -> bool {
        let start = self.db.link(model, id, field);
        self.location_path(start)
            .any(|location| places.contains(&location))
    }

    /// Lists a location and those it is in, innermost first.
    pub(super) fn location_path(&self, start: Option<i64>) -> impl Iterator<Item = i64> {
        let parent = |location: &i64| self.db.link(LOCATION, *location, "location_id");
        std::iter::successors(start, parent).take(100)
    }

    pub(super) fn float(&self, model: &str, id: i64, field: &str) -> f64 {
        self.db.value(model, id, field).as_f64().unwrap_or_default()
    }
}
