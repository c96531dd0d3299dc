//! One transaction of one user: what every method of a model works in.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::database::{Database, Row};
use super::exception::Exception;
use super::model::{Field, Kind, Place};
use super::noise::Quiet;
use super::stock;
use crate::ledger::{Effect, Ledger, Operation, Origin};

/// A transaction. Its time is its start, whenever it commits (facts: systems B6).
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(super) db: &'a mut Database,
    pub(super) now: i64,
    pub(super) user: i64,
    pub(super) may_create: bool,
    /// Whether archived records are hidden.
    pub(super) active_test: bool,
    /// Set while a variant makes its own template, which then makes no variant.
    pub(super) skips_variants: bool,
    /// What the context of the call keeps quiet.
    pub(super) quiet: Quiet,
    /// Who is at work.
    pub(super) origin: Origin,
    /// The order whose lines are being written as a whole; its amounts follow at the end.
    pub(super) order_at_work: Option<i64>,
    /// What the caller sent along.
    pub(super) context: Map<String, Value>,
    felt: Vec<(String, i64, Operation)>,
}

/// The models whose records may be two copies of one thing.
pub(super) const ANNOUNCED: [&str; 5] = [
    "res.partner",
    "product.product",
    "account.payment",
    "account.move",
    "sale.order",
];

/// The user that every database starts with.
pub(super) const ADMIN: i64 = 2;

impl<'a> Session<'a> {
    pub(super) fn new(db: &'a mut Database, now: i64) -> Self {
        Self {
            db,
            now,
            user: ADMIN,
            may_create: true,
            active_test: true,
            skips_variants: false,
            quiet: Quiet::default(),
            origin: Origin::People,
            order_at_work: None,
            context: Map::new(),
            felt: Vec::new(),
        }
    }

    pub(super) fn field(&self, model: &str, name: &str) -> Result<&Field, Exception> {
        let field = self.db.table(model).model.field(name);
        field.ok_or_else(|| Exception::value(format!("Invalid field '{name}' on '{model}'")))
    }

    /// Notes that the caller addressed this record.
    pub(super) fn feel(&mut self, model: &str, id: i64, operation: Operation) {
        self.felt.push((model.to_owned(), id, operation));
    }

    pub(super) fn felt_len(&self) -> usize {
        self.felt.len()
    }

    pub(super) fn forget_after(&mut self, len: usize) {
        self.felt.truncate(len);
    }

    /// Commits, and writes down what happened; without a request it was people.
    pub(super) fn commit(mut self, ledger: &Ledger, request: Option<u64>) {
        let touched = self.db.touched();
        let origin = if request.is_some() {
            Origin::Api
        } else {
            Origin::People
        };
        let mut effects = Vec::new();
        for (model, id, operation) in &self.felt {
            let changed = self.family(model, *id).iter().any(|one| {
                let Some(before) = touched.get(one) else {
                    return false;
                };
                let after = self.db.row(&one.0, one.1);
                if one.0 == stock::QUANT {
                    return self.moved_stock(before.as_ref(), after);
                }
                before.as_ref().map(|row| &row.values) != after.map(|row| &row.values)
            });
            let entity = self.entity(model, *id, &touched);
            let thing = self.thing(model, *id, &touched);
            effects.extend(request.map(|request| Effect {
                at: SystemTime::now(),
                entity,
                operation: *operation,
                id: id.to_string(),
                thing: thing.to_string(),
                key: self.key(model, *id),
                changed: changed || *operation != Operation::Updated,
                request,
            }));
        }
        ledger.record(effects);
        if request.is_some() {
            self.db.count_noise(&touched);
        }
        self.note_stock(&touched);
        for (model, id) in touched.keys() {
            self.announce(model, &[*id], ledger, origin);
        }
        self.db.commit();
    }

    /// Tells the ledger which of these records live, and under which keys.
    pub(super) fn announce(&self, model: &str, ids: &[i64], ledger: &Ledger, origin: Origin) {
        let entity = match model {
            "res.partner" => "customer",
            "product.product" => "product",
            "sale.order" => "sale_order",
            "account.payment" => "payment",
            "account.move" => "credit_note",
            _ => return,
        };
        for id in ids {
            let number = u64::try_from(*id).unwrap_or_default();
            if self.db.row(model, *id).is_some() && !self.is_void(model, *id) {
                ledger.lives(entity, number, self.keys(model, *id), origin);
            } else {
                ledger.is_gone(entity, number);
            }
        }
    }

    /// A template and its variants are one thing, as far as a change goes.
    fn family(&self, model: &str, id: i64) -> Vec<(String, i64)> {
        let mut family = vec![(model.to_owned(), id)];
        if model == "product.product" {
            let template = self.db.link(model, id, "product_tmpl_id");
            family.extend(template.map(|template| ("product.template".to_owned(), template)));
        } else if model == "product.template" {
            let variants = self.db.with("product.product", "product_tmpl_id", id);
            family.extend(
                variants
                    .into_iter()
                    .map(|variant| ("product.product".to_owned(), variant)),
            );
        } else if model == stock::QUANT {
            let quants = self.quants_beside(id);
            family.extend(quants.into_iter().map(|quant| (model.to_owned(), quant)));
        }
        family.extend(self.lines_of_order(model, id));
        family
    }

    fn entity(&self, model: &str, id: i64, touched: &Touched) -> &'static str {
        match model {
            "res.partner" => "customer",
            "product.template" => "product",
            "product.product" => {
                let table = &self.db.table(model).model;
                let at = table.position("combination_indices").unwrap_or_default();
                let before = touched.get(&(model.to_owned(), id)).and_then(Option::as_ref);
                let row = self.db.row(model, id).or(before);
                let is_plain = row.is_none_or(|row| row.values[at].as_str().unwrap_or_default().is_empty());
                if is_plain { "product" } else { "variation" }
            }
            "product.attribute" => "attribute",
            "product.attribute.value" => "term",
            "product.template.attribute.line" => "attribute_line",
            "product.template.attribute.value" => "price_extra",
            "product.category" => "category",
            "ir.model.data" => "external_id",
            "sale.order" => "sale_order",
            "sale.order.line" => "sale_order_line",
            "account.tax" => "tax",
            "stock.picking" | "stock.move" => "delivery",
            "account.payment" => "payment",
            "account.move" if self.is_credit_note(id, touched) => "credit_note",
            "stock.quant" => "stock_quant",
            _ => "other",
        }
    }

    /// Returns the id of the template or partner that a record is a part of, also of one that was deleted just now.
    fn thing(&self, model: &str, id: i64, touched: &Touched) -> i64 {
        let table = &self.db.table(model).model;
        let before = touched.get(&(model.to_owned(), id)).and_then(Option::as_ref);
        let row = self.db.row(model, id).or(before);
        let value = |field: &str| Some(&row?.values[table.position(field)?]);
        let owner = match model {
            "product.product" | "product.template.attribute.line" | "product.template.attribute.value" => {
                value("product_tmpl_id")
            }
            "stock.quant" => value("product_id"),
            // A contact of a company is somebody; every other child is an address of its parent.
            "res.partner" if value("type").is_some_and(|kind| *kind != "contact") => value("parent_id"),
            "sale.order.line" => value("order_id"),
            _ => None,
        };
        owner.and_then(Value::as_i64).unwrap_or(id)
    }

    fn key(&self, model: &str, id: i64) -> Option<String> {
        let natural = match model {
            "res.partner" => self.db.text(model, id, "email"),
            "product.product" => self.db.text(model, id, "default_code"),
            "sale.order" => self.order_reference(id),
            "account.payment" => self.payment_key(id),
            "account.move" => self.db.text(model, id, "ref"),
            stock::QUANT => {
                let product = self.db.link(model, id, "product_id").unwrap_or_default();
                return self.key("product.product", product);
            }
            _ => String::new(),
        };
        self.external_id(model, id)
            .or_else(|| (!natural.is_empty()).then_some(natural))
    }

    /// Lists what should be unique: SKU, external id, and the e-mail of those that are no child address.
    fn keys(&self, model: &str, id: i64) -> Vec<String> {
        let mut keys: Vec<String> = self
            .external_id(model, id)
            .map(|external| format!("marker:{external}"))
            .into_iter()
            .collect();
        if model == "sale.order" {
            keys.extend(self.order_keys(id));
            return keys;
        }
        if model == "account.payment" {
            keys.extend(self.payment_keys(id));
            return keys;
        }
        if model == "account.move" {
            return keys;
        }
        let (field, prefix) = if model == "res.partner" {
            ("email", "email")
        } else {
            ("default_code", "sku")
        };
        let natural = self.db.text(model, id, field).trim().to_lowercase();
        let is_child = model == "res.partner" && self.db.link(model, id, "parent_id").is_some();
        if !natural.is_empty() && !is_child {
            keys.push(format!("{prefix}:{natural}"));
        }
        keys
    }

    /// Returns the first external id of a record, `module.name`.
    pub(super) fn external_id(&self, model: &str, id: i64) -> Option<String> {
        let target = format!("{model},{id}");
        let first = self
            .db
            .with("ir.model.data", "target", target)
            .into_iter()
            .next()?;
        Some(self.db.text("ir.model.data", first, "complete_name"))
    }

    /// Finds what an external id stands for: its own row, the model, the record.
    pub(super) fn resolve(&self, external: &str) -> Option<(i64, String, i64)> {
        let row = self
            .db
            .with("ir.model.data", "complete_name", external)
            .into_iter()
            .next()?;
        let model = self.db.text("ir.model.data", row, "model");
        Some((row, model, self.db.link("ir.model.data", row, "res_id")?))
    }

    /// Gives a record an external id.
    pub(super) fn name_record(&mut self, external: &str, model: &str, id: i64) {
        let (module, name) = external.split_once('.').unwrap_or(("__import__", external));
        let row_id = self.db.next_id("ir.model.data");
        let mut row = self.blank("ir.model.data");
        let table = &self.db.table("ir.model.data").model;
        let values: [(&str, Value); 6] = [
            ("module", module.into()),
            ("name", name.into()),
            ("complete_name", format!("{module}.{name}").into()),
            ("model", model.into()),
            ("res_id", id.into()),
            ("target", format!("{model},{id}").into()),
        ];
        for (field, value) in values {
            if let Some(at) = table.position(field) {
                row.values[at] = value;
            }
        }
        self.db.put("ir.model.data", row_id, row);
    }

    /// Makes a row of defaults.
    pub(super) fn blank(&self, model: &str) -> Row {
        Row {
            values: self.db.table(model).model.defaults(),
            created: self.now,
            written: self.now,
            created_by: self.user,
            written_by: self.user,
        }
    }

    /// Changes stored values and moves the time of change.
    pub(super) fn set(&mut self, model: &str, id: i64, values: &[(&str, Value)]) {
        let Some(mut row) = self.db.row(model, id).cloned() else {
            return;
        };
        for (name, value) in values {
            if let Some(at) = self.db.table(model).model.position(name) {
                row.values[at] = value.clone();
            }
        }
        row.written = self.now;
        row.written_by = self.user;
        self.db.put(model, id, row);
    }

    /// Rounds a measure to its digits (facts: mapping-odoo 1).
    pub(super) fn rounded(&self, number: f64, precision: &str) -> f64 {
        let digits = self.digits(precision);
        super::sale::to_digits(number, u8::try_from(digits).unwrap_or(2))
    }

    /// Returns how many digits a measure has.
    pub(super) fn digits(&self, precision: &str) -> i64 {
        let row = self
            .db
            .with("decimal.precision", "name", precision)
            .into_iter()
            .next();
        row.and_then(|row| self.db.link("decimal.precision", row, "digits"))
            .unwrap_or(2)
    }

    pub(super) fn is_stored(field: &Field) -> bool {
        matches!(field.place, Place::Stored | Place::Indexed) && !matches!(field.kind, Kind::One2many(..))
    }
}

pub(super) type Touched = std::collections::BTreeMap<(String, i64), Option<Row>>;

/// Returns microseconds since 1970.
pub(super) fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
