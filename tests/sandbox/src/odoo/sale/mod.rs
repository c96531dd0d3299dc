//! Orders and their lines (facts: mapping-odoo 3, systems B4 and B7).

pub(super) mod amount;
mod line;
mod order;
mod state;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::database::Database;
use super::exception::Exception;
use super::model::Kind::{
    Boolean, Char, Datetime, Digits, Float, Html, Integer, Json, Many2one, Measure, Monetary, Selection, Text,
};
use super::model::{Field, Model};
use super::schema::{computed, field, indexed, lines, many, to};
use super::session::Session;

pub(super) const ORDER: &str = "sale.order";
pub(super) const LINE: &str = "sale.order.line";

const STATES: &[(&str, &str)] = &[
    ("draft", "Quotation"),
    ("sent", "Quotation Sent"),
    ("sale", "Sales Order"),
    ("cancel", "Cancelled"),
];
const INVOICE_STATES: &[(&str, &str)] = &[
    ("upselling", "Upselling Opportunity"),
    ("invoiced", "Fully Invoiced"),
    ("to invoice", "To Invoice"),
    ("no", "Nothing to Invoice"),
];
const DISPLAY_TYPES: &[(&str, &str)] = &[("line_section", "Section"), ("line_note", "Note")];

/// Returns the name of the field that holds a line's taxes (facts: mapping-odoo 6).
pub(super) const fn tax_column(version: u32) -> &'static str {
    if version >= 19 { "tax_ids" } else { "tax_id" }
}

/// Returns the name of the field that holds a line's unit (facts: mapping-odoo 6).
pub(super) const fn unit_column(version: u32) -> &'static str {
    if version >= 19 {
        "product_uom_id"
    } else {
        "product_uom"
    }
}

/// Returns the name of the digits that quantities have.
pub(super) const fn unit_precision(version: u32) -> &'static str {
    if version >= 19 {
        "Product Unit"
    } else {
        "Product Unit of Measure"
    }
}

/// Rounds to digits.
pub(super) fn to_digits(number: f64, digits: u8) -> f64 {
    amount::round_to(number, 10_f64.powi(-i32::from(digits)))
}

/// Builds both models of a major version.
pub(super) fn models(version: u32) -> Vec<Model> {
    vec![
        Model::new(ORDER, "Sales Order", "date_order desc, id desc", order_fields()),
        Model::new(
            LINE,
            "Sales Order Line",
            "order_id, sequence, id",
            line_fields(version),
        ),
    ]
}

fn order_fields() -> Vec<Field> {
    vec![
        indexed("name", "Order Reference", Char).required(),
        indexed("client_order_ref", "Customer Reference", Char),
        field("origin", "Source Document", Char),
        field("reference", "Payment Ref.", Char),
        field("state", "Status", Selection(STATES)).or("draft"),
        field("locked", "Locked", Boolean),
        to("partner_id", "Customer", "res.partner").required(),
        to("partner_invoice_id", "Invoice Address", "res.partner").required(),
        to("partner_shipping_id", "Delivery Address", "res.partner").required(),
        field("date_order", "Order Date", Datetime).required(),
        field("commitment_date", "Delivery Date", Datetime),
        field("note", "Terms and conditions", Html),
        to("pricelist_id", "Pricelist", "product.pricelist"),
        to("currency_id", "Currency", "res.currency").or(1),
        to("user_id", "Salesperson", "res.users"),
        to("company_id", "Company", "res.company").or(1),
        to("warehouse_id", "Warehouse", "stock.warehouse").or(1),
        lines("order_line", "Order Lines", LINE, "order_id"),
        lines("picking_ids", "Transfers", "stock.picking", "sale_id"),
        field("amount_untaxed", "Untaxed Amount", Monetary),
        field("amount_tax", "Taxes", Monetary),
        field("amount_total", "Total", Monetary),
        field("invoice_status", "Invoice Status", Selection(INVOICE_STATES)).or("no"),
    ]
}

fn line_fields(version: u32) -> Vec<Field> {
    let mut fields = vec![
        to("order_id", "Order Reference", ORDER).required(),
        field("sequence", "Sequence", Integer).or(10),
        field("name", "Description", Text).required(),
        field("display_type", "Display Type", Selection(DISPLAY_TYPES)),
        to("product_id", "Product", "product.product"),
        to(unit_column(version), "Unit", "uom.uom"),
        field("product_uom_qty", "Quantity", Measure(unit_precision(version))).or(1.0),
        field(
            "price_unit",
            "Unit Price",
            // From 19 on a price keeps all its digits (facts: mapping-odoo 3, 6).
            if version >= 19 {
                Float
            } else {
                Measure("Product Price")
            },
        ),
        field("discount", "Discount (%)", Measure("Discount")),
        many(tax_column(version), "Taxes", "account.tax"),
        field("price_subtotal", "Subtotal", Monetary),
        field("price_tax", "Total Tax", Float),
        field("price_total", "Total", Monetary),
        field(
            "qty_delivered",
            "Delivery Quantity",
            Measure(unit_precision(version)),
        ),
        field(
            "qty_invoiced",
            "Invoiced Quantity",
            Measure(unit_precision(version)),
        ),
        lines("move_ids", "Stock Moves", "stock.move", "sale_line_id"),
        computed("state", "Order Status", Selection(STATES)),
        computed("currency_id", "Currency", Many2one("res.currency".to_owned())),
        computed("order_partner_id", "Customer", Many2one("res.partner".to_owned())),
        computed("salesman_id", "Salesperson", Many2one("res.users".to_owned())),
        computed("company_id", "Company", Many2one("res.company".to_owned())),
        computed(
            "product_template_id",
            "Product Template",
            Many2one("product.template".to_owned()),
        ),
        computed("qty_to_invoice", "Quantity To Invoice", Digits(2)),
    ];
    if version >= 18 {
        fields.push(field("technical_price_unit", "Technical Price Unit", Float));
    }
    if version >= 19 {
        fields.push(field("extra_tax_data", "Extra Tax Data", Json));
    }
    if version == 18 {
        fields.push(to("product_uom_category_id", "UoM Category", "uom.category"));
    }
    fields
}

/// Recordings are of 19; what a field is called in an older version holds the same.
pub(super) fn as_recorded<'v>(version: u32, model: &str, view: &'v Value) -> Cow<'v, Value> {
    let renamed: &[(&str, &str)] = match model {
        LINE if version < 19 => &[("tax_ids", "tax_id"), ("product_uom_id", "product_uom")],
        _ => &[],
    };
    let is_storable = version < 18 && model == "product.template" && view["is_storable"] == json!(true);
    if renamed.iter().all(|(new, _)| view.get(new).is_none()) && version >= 18 {
        return Cow::Borrowed(view);
    }
    let mut view = view.clone();
    for (new, old) in renamed {
        if let Some(value) = view.get(*new).cloned() {
            view[*old] = value;
        }
    }
    if version < 18 && model == "product.template" && view.get("detailed_type").is_none() {
        view["detailed_type"] = if is_storable {
            json!("product")
        } else {
            view.get("type").cloned().unwrap_or_else(|| json!("consu"))
        };
    }
    Cow::Owned(view)
}

/// The sequence of names goes on after those that were recorded.
pub(super) fn continue_names(db: &mut Database) {
    let names = db.table(ORDER).rows.keys().map(|id| db.text(ORDER, *id, "name"));
    let numbers = names.filter_map(|name| {
        name.strip_prefix('S')
            .and_then(|digits| digits.parse::<i64>().ok())
    });
    let Some(last) = numbers.max() else { return };
    let Some(sequence) = db.with("ir.sequence", "code", ORDER).into_iter().next() else {
        return;
    };
    let next = db.link("ir.sequence", sequence, "number_next").unwrap_or(1);
    let mut session = Session::new(db, super::session::now_micros());
    session.set(
        "ir.sequence",
        sequence,
        &[("number_next", json!(next.max(last + 1)))],
    );
}

/// Returns the id that a many2one is written with.
fn linked(value: Option<&Value>) -> Option<i64> {
    let id = match value? {
        Value::Array(pair) => pair.first().and_then(Value::as_i64),
        other => other.as_i64(),
    };
    id.filter(|id| *id != 0)
}

fn is_blank(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => true,
        Some(Value::String(text)) => text.is_empty(),
        _ => false,
    }
}

impl Session<'_> {
    /// Completes what a new record is made with.
    pub(super) fn prepared<'v>(
        &mut self,
        model: &str,
        vals: &'v Map<String, Value>,
    ) -> Result<Cow<'v, Map<String, Value>>, Exception> {
        match model {
            ORDER => self.prepared_order(vals).map(Cow::Owned),
            LINE => self.prepared_line(vals).map(Cow::Owned),
            _ => Ok(Cow::Borrowed(vals)),
        }
    }

    /// Refuses or completes what a record is changed to.
    pub(super) fn rewritten<'v>(
        &mut self,
        model: &str,
        id: i64,
        vals: &'v Map<String, Value>,
    ) -> Result<Cow<'v, Map<String, Value>>, Exception> {
        match model {
            ORDER => Ok(Cow::Owned(self.rewritten_order(id, vals))),
            LINE => self.rewritten_line(id, vals).map(Cow::Owned),
            _ => Ok(Cow::Borrowed(vals)),
        }
    }

    /// Refuses to delete what is confirmed, or what orders need (facts: systems B7, mapping-odoo 1, 2).
    pub(super) fn check_unlink(&self, model: &str, ids: &[i64]) -> Result<(), Exception> {
        for id in ids {
            match model {
                ORDER => self.check_order_unlink(*id)?,
                LINE => self.check_line_unlink(*id)?,
                "res.partner" => {
                    let columns = ["partner_id", "partner_invoice_id", "partner_shipping_id"];
                    if columns
                        .iter()
                        .any(|column| !self.db.with(ORDER, column, *id).is_empty())
                    {
                        return Err(needed(model, "Sales Order", ORDER, Exception::user));
                    }
                }
                "product.product" if self.is_sold(*id) => {
                    return Err(needed(model, "Sales Order Line", LINE, Exception::validation));
                }
                "product.template" => {
                    let variants = self.db.with("product.product", "product_tmpl_id", *id);
                    if variants.into_iter().any(|variant| self.is_sold(variant)) {
                        return Err(needed(model, "Sales Order Line", LINE, Exception::validation));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn is_sold(&self, product: i64) -> bool {
        !self.db.with(LINE, "product_id", product).is_empty()
    }

    /// Lists the lines of an order, as parts of it.
    pub(super) fn lines_of_order(&self, model: &str, id: i64) -> Vec<(String, i64)> {
        if model != ORDER {
            return Vec::new();
        }
        let lines = self.db.with(LINE, "order_id", id).into_iter();
        lines.map(|line| (LINE.to_owned(), line)).collect()
    }

    /// Returns what tells an order apart where it has no external id.
    pub(super) fn order_reference(&self, id: i64) -> String {
        match self.db.text(ORDER, id, "client_order_ref") {
            reference if reference.is_empty() => self.db.text(ORDER, id, "name"),
            reference => reference,
        }
    }

    /// Lists what should be unique of an order, although Odoo does not mind.
    pub(super) fn order_keys(&self, id: i64) -> Vec<String> {
        let keys = [("ref", "client_order_ref"), ("name", "name")];
        let keys = keys
            .iter()
            .map(|(prefix, field)| (prefix, self.db.text(ORDER, id, field)));
        keys.filter(|(_, value)| !value.is_empty())
            .map(|(prefix, value)| format!("{prefix}:{value}"))
            .collect()
    }

    /// Takes the next name of a sequence.
    pub(super) fn next_name(&mut self, code: &str) -> String {
        let Some(sequence) = self.db.with("ir.sequence", "code", code).into_iter().next() else {
            return "New".to_owned();
        };
        let number = |name: &str| self.db.link("ir.sequence", sequence, name).unwrap_or(1);
        let (next, padding) = (number("number_next"), number("padding"));
        let width = usize::try_from(padding).unwrap_or_default();
        let name = format!(
            "{}{next:0width$}",
            self.db.text("ir.sequence", sequence, "prefix")
        );
        self.set("ir.sequence", sequence, &[("number_next", json!(next + 1))]);
        name
    }

    fn amount(&self, model: &str, id: i64, field: &str) -> f64 {
        self.db.value(model, id, field).as_f64().unwrap_or_default()
    }

    fn has_field(&self, model: &str, name: &str) -> bool {
        self.db.table(model).model.field(name).is_some()
    }
}

fn needed(model: &str, label: &str, by: &str, kind: impl Fn(String) -> Exception) -> Exception {
    kind(format!(
        "The operation cannot be completed: another model requires the record being deleted. If possible, archive it \
         instead.\n\nModel: '{label}' ({by})\nConstraint: {}_{}_fkey\n",
        by.replace('.', "_"),
        model.replace('.', "_"),
    ))
}
