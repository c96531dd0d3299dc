//! Creating, writing and deleting, with the checks that every model has.

use serde_json::{Map, Value, json};

use super::database::Row;
use super::domain;
use super::exception::Exception;
use super::model::{Field, Kind, Place};
use super::session::Session;
use super::{credit_note, stock};
use crate::ledger::Operation;
use crate::woocommerce::text::without_handlers;

/// Values sorted by where they go.
#[derive(Debug, Default)]
struct Sorted {
    stored: Vec<(String, Value)>,
    inherited: Map<String, Value>,
    lines: Vec<(Field, Value)>,
    indirect: Vec<(String, Value)>,
}

impl Session<'_> {
    /// Creates one record.
    pub(crate) fn create(&mut self, model: &str, vals: &Map<String, Value>) -> Result<i64, Exception> {
        if !self.may_create {
            return Err(self.may_not_create(model));
        }
        if model == stock::QUANT {
            return self.create_quant(vals);
        }
        let id = self.create_quietly(model, vals)?;
        self.feel(model, id, Operation::Created);
        self.note_creation(model, id);
        Ok(id)
    }

    fn may_not_create(&self, model: &str) -> Exception {
        let label = &self.db.table(model).model.label;
        Exception::access(format!(
            "You are not allowed to create '{label}' ({model}) records.\n\nThis operation is allowed for the \
             following groups:\n\t- Contact/Creation\n\t- Inventory/Administrator\n\t- Sales/Administrator\n\n\
             Contact your administrator to request access if necessary."
        ))
    }

    /// Creates one record without telling the ledger that it was asked for.
    pub(super) fn create_quietly(
        &mut self,
        model: &str,
        vals: &Map<String, Value>,
    ) -> Result<i64, Exception> {
        let vals = &self.prepared(model, vals)?;
        let mut sorted = self.sort_values(model, vals)?;
        if model == "product.template" {
            stock::untrack_services(&mut sorted.stored);
        }
        if model == "product.product" {
            self.provide_template(&mut sorted.stored, &sorted.inherited)?;
        }
        let id = self.db.next_id(model);
        let mut row = self.blank(model);
        self.fill(model, &mut row, &sorted.stored);
        self.check_required(model, &row)?;
        self.db.put(model, id, row);
        self.after_create(model, id)?;
        if model == credit_note::LINE {
            self.settle_new_move_line(id, vals);
        }
        self.write_all_lines(model, id, sorted.lines)?;
        if model == "product.template" && !self.skips_variants {
            self.sync_variants(id)?;
        }
        self.write_indirect(model, id, sorted.indirect)?;
        if model == "account.move" {
            self.total_move(id);
        }
        self.check_constraints(model, id)?;
        Ok(id)
    }

    fn after_create(&mut self, model: &str, id: i64) -> Result<(), Exception> {
        match model {
            "res.partner" => {
                self.settle_new_partner(id);
                self.settle_vat(id)?;
            }
            "product.product" => self.settle_new_variant(id)?,
            "ir.model.data" => self.settle_external_id(id)?,
            "sale.order" => self.settle_new_order(id),
            "sale.order.line" => self.settle_new_line(id)?,
            "account.tax" => self.settle_tax(id)?,
            "account.journal" => self.settle_new_journal(id)?,
            "account.payment" => self.settle_new_payment(id)?,
            "account.move" => self.settle_new_move(id),
            "stock.location" => self.settle_new_location(id),
            "stock.warehouse" => self.settle_new_warehouse(id)?,
            "product.template.attribute.line" => {
                if let Some(template) = self.db.link(model, id, "product_tmpl_id") {
                    self.sync_variants(template)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes records; the time of change moves even when nothing does (facts: systems B6).
    pub(super) fn write(
        &mut self,
        model: &str,
        ids: &[i64],
        vals: &Map<String, Value>,
    ) -> Result<(), Exception> {
        for id in ids {
            if self.db.row(model, *id).is_none() {
                return Err(Exception::missing(model, *id, self.user));
            }
        }
        self.check_fixed(model, ids, vals)?;
        if model == stock::QUANT {
            return self.write_quants(ids, vals);
        }
        for id in ids {
            self.write_one(model, *id, vals)?;
            self.feel(model, *id, Operation::Updated);
        }
        Ok(())
    }

    pub(super) fn write_one(
        &mut self,
        model: &str,
        id: i64,
        vals: &Map<String, Value>,
    ) -> Result<(), Exception> {
        let vals = &self.rewritten(model, id, vals)?;
        let mut sorted = self.sort_values(model, vals)?;
        if model == "product.template" {
            self.settle_tracking(id, &mut sorted.stored)?;
        }
        let Some(mut row) = self.db.row(model, id).cloned() else {
            return Ok(());
        };
        self.fill(model, &mut row, &sorted.stored);
        self.check_required(model, &row)?;
        row.written = self.now;
        row.written_by = self.user;
        self.db.put(model, id, row);
        if !sorted.inherited.is_empty()
            && let Some(template) = self.db.link(model, id, "product_tmpl_id")
        {
            self.write_one("product.template", template, &sorted.inherited)?;
        }
        self.write_all_lines(model, id, sorted.lines)?;
        self.write_indirect(model, id, sorted.indirect)?;
        self.after_write(model, id, vals)?;
        self.check_constraints(model, id)
    }

    fn after_write(&mut self, model: &str, id: i64, vals: &Map<String, Value>) -> Result<(), Exception> {
        match model {
            "res.partner" => {
                if vals.contains_key("vat") {
                    self.settle_vat(id)?;
                }
                self.spread_partner(id, vals);
            }
            "account.move" => self.total_move(id),
            "account.payment" => self.settle_payment(id, vals),
            credit_note::LINE => self.total_move(self.db.link(model, id, "move_id").unwrap_or_default()),
            "product.product" => {
                if let Some(template) = self.db.link(model, id, "product_tmpl_id") {
                    self.set("product.template", template, &[]);
                }
            }
            "product.template" => {
                let variants = self.db.with("product.product", "product_tmpl_id", id);
                let is_active = vals.get("active").map(|active| *active != Value::Bool(false));
                let has_variants = variants
                    .iter()
                    .any(|variant| self.db.flag("product.product", *variant, "active"));
                for variant in variants {
                    let archived = (is_active == Some(false)).then_some(("active", Value::Bool(false)));
                    self.set("product.product", variant, archived.as_slice());
                }
                // All that the attribute lines allow come back, whoever archived them (source: `_create_variant_ids`).
                if vals.contains_key("attribute_line_ids") || (is_active == Some(true) && !has_variants) {
                    self.sync_variants(id)?;
                }
            }
            "product.template.attribute.line" => {
                if let Some(template) = self.db.link(model, id, "product_tmpl_id") {
                    self.sync_variants(template)?;
                }
            }
            "sale.order" => self.settle_order(id, vals)?,
            "sale.order.line" => self.settle_line(id, vals)?,
            "account.tax" => self.settle_tax(id)?,
            "stock.move" => self.settle_move(id),
            _ => {}
        }
        Ok(())
    }

    /// Deletes records; their external ids go with them.
    pub(super) fn unlink(&mut self, model: &str, ids: &[i64]) -> Result<(), Exception> {
        for id in ids {
            if self.db.row(model, *id).is_none() {
                return Err(Exception::missing(model, *id, self.user));
            }
        }
        self.check_unlink(model, ids)?;
        self.check_kept(model, ids)?;
        for id in ids {
            self.feel(model, *id, Operation::Deleted);
            self.erase(model, *id);
        }
        Ok(())
    }

    pub(super) fn erase(&mut self, model: &str, id: i64) {
        let owned: &[(&str, &str)] = match model {
            "product.template" => &[
                ("product.product", "product_tmpl_id"),
                ("product.template.attribute.line", "product_tmpl_id"),
                ("product.template.attribute.value", "product_tmpl_id"),
            ],
            "product.template.attribute.line" => &[("product.template.attribute.value", "attribute_line_id")],
            "product.attribute" => &[("product.attribute.value", "attribute_id")],
            "sale.order" => &[("sale.order.line", "order_id")],
            "product.pricelist" => &[("product.pricelist.item", "pricelist_id")],
            _ => &[],
        };
        let template = self.db.link(model, id, "product_tmpl_id");
        let order = self.db.link(model, id, "order_id");
        for external in self.db.with("ir.model.data", "target", format!("{model},{id}")) {
            self.db.remove("ir.model.data", external);
        }
        self.db.remove(model, id);
        for (owned, field) in owned {
            for line in self.db.with(owned, field, id) {
                self.erase(owned, line);
            }
        }
        match (model, template) {
            ("sale.order.line", _) => order.into_iter().for_each(|order| self.amount_order(order)),
            ("product.product", Some(template)) => self.drop_empty_template(template),
            ("product.template.attribute.line", Some(template)) => {
                let _ = self.sync_variants(template);
            }
            _ => {}
        }
    }

    fn fill(&self, model: &str, row: &mut Row, values: &[(String, Value)]) {
        for (name, value) in values {
            if let Some(at) = self.db.table(model).model.position(name) {
                row.values[at] = value.clone();
            }
        }
    }

    fn sort_values(&self, model: &str, vals: &Map<String, Value>) -> Result<Sorted, Exception> {
        let mut sorted = Sorted::default();
        for (name, value) in vals {
            let Some(field) = self.db.table(model).model.field(name) else {
                return Err(Exception::value(format!("Invalid field '{name}' in '{model}'")));
            };
            if matches!(field.kind, Kind::One2many(..)) && field.place == Place::Computed {
                sorted.lines.push((field.clone(), value.clone()));
            } else if field.place == Place::Inherited {
                sorted.inherited.insert(name.clone(), value.clone());
            } else if Session::is_stored(field) {
                let before = Value::Array(Vec::new());
                sorted
                    .stored
                    .push((name.clone(), self.converted(model, field, value, &before)?));
            } else {
                sorted.indirect.push((name.clone(), value.clone()));
            }
        }
        Ok(sorted)
    }

    /// Brings a value into the shape of its field.
    fn converted(
        &self,
        model: &str,
        field: &Field,
        value: &Value,
        before: &Value,
    ) -> Result<Value, Exception> {
        let is_empty = matches!(value, Value::Null | Value::Bool(false));
        Ok(match &field.kind {
            Kind::Char | Kind::Text => match value {
                _ if is_empty => Value::Bool(false),
                Value::String(_) => value.clone(),
                other => json!(domain::python(other)),
            },
            Kind::Html => value
                .as_str()
                .map_or(Value::Bool(false), |text| json!(sanitised(text))),
            Kind::Integer => match value {
                Value::Number(_) => value.clone(),
                Value::String(text) => json!(text.trim().parse::<i64>().map_err(|_| {
                    Exception::value(format!("invalid literal for int() with base 10: '{text}'"))
                })?),
                _ => json!(0),
            },
            Kind::Float => json!(number(value)?),
            Kind::Measure(precision) => json!(self.rounded(number(value)?, precision)),
            Kind::Digits(digits) => json!(super::sale::to_digits(number(value)?, *digits)),
            Kind::Monetary => json!(super::sale::to_digits(number(value)?, 2)),
            Kind::Boolean => json!(is_true(value)),
            Kind::Selection(options) => match value.as_str() {
                Some(text) if options.iter().any(|(key, _)| *key == text) => value.clone(),
                None | Some("") if is_empty || value.is_string() => Value::Bool(false),
                _ => {
                    let (name, value) = (&field.name, domain::python(value));
                    return Err(Exception::value(format!(
                        "Wrong value for {model}.{name}: {value}"
                    )));
                }
            },
            Kind::Many2one(to) => self.converted_link(field, to, value)?,
            Kind::Many2many(_) => json!(commanded(value, before)),
            Kind::One2many(..) => Value::Bool(false),
            Kind::Date => match value.as_str() {
                Some(text) => {
                    domain::seconds(text)?;
                    json!(text.get(..10).unwrap_or(text))
                }
                None => Value::Bool(false),
            },
            Kind::Image => super::image::accepted(value)?,
            Kind::Json => match value {
                _ if is_empty => Value::Bool(false),
                other => other.clone(),
            },
            Kind::Datetime => match value.as_str() {
                Some(text) if text.contains('T') => {
                    let message = format!("time data '{text}' does not match format '%Y-%m-%d %H:%M:%S'");
                    return Err(Exception::value(message));
                }
                Some(text) => {
                    domain::seconds(text)?;
                    value.clone()
                }
                None => Value::Bool(false),
            },
        })
    }

    fn converted_link(&self, field: &Field, to: &str, value: &Value) -> Result<Value, Exception> {
        let id = match value {
            Value::Array(pair) => pair.first().and_then(Value::as_i64),
            other => other.as_i64(),
        };
        match id {
            None | Some(0) => Ok(Value::Bool(false)),
            Some(id) if !self.db.has(to) || self.db.row(to, id).is_some() => Ok(json!(id)),
            Some(id) => {
                let column = &field.name;
                Err(Exception::validation(format!(
                    "The operation cannot be completed: another model requires the record being deleted.\nDETAIL:  \
                     Key ({column})=({id}) is not present in table \"{}\".\n",
                    to.replace('.', "_")
                )))
            }
        }
    }

    /// Writes the lines of a record; the amounts of an order follow once, at the end.
    fn write_all_lines(&mut self, model: &str, id: i64, lines: Vec<(Field, Value)>) -> Result<(), Exception> {
        if model == "sale.order" {
            self.order_at_work = Some(id);
        }
        let has_lines = !lines.is_empty();
        let mut written = lines.into_iter();
        let written = written.try_for_each(|(field, commands)| self.write_lines(&field, id, &commands));
        if model == "sale.order" {
            self.order_at_work = None;
            if has_lines {
                self.amount_order(id);
            }
        }
        written
    }

    /// Carries out the commands of a one2many: create, update, delete.
    fn write_lines(&mut self, field: &Field, id: i64, commands: &Value) -> Result<(), Exception> {
        let Kind::One2many(model, inverse) = &field.kind else {
            return Ok(());
        };
        for command in commands.as_array().into_iter().flatten() {
            let parts = command.as_array().cloned().unwrap_or_default();
            let line = parts.get(1).and_then(Value::as_i64).unwrap_or_default();
            let mut vals = parts
                .get(2)
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default();
            match parts.first().and_then(Value::as_i64) {
                Some(0) => {
                    vals.insert((*inverse).to_owned(), json!(id));
                    self.create_quietly(model, &vals)?;
                }
                Some(1) => {
                    // A line named in the load of another record moves to it.
                    if self.db.link(model, line, inverse) != Some(id) {
                        self.set(model, line, &[(inverse, json!(id))]);
                    }
                    self.write_one(model, line, &vals)?;
                }
                Some(2 | 3) => {
                    self.check_unlink(model, &[line])?;
                    self.erase(model, line);
                }
                Some(4) => self.set(model, line, &[(inverse, json!(id))]),
                Some(5) => {
                    let present = self.db.lines(field, id);
                    self.check_unlink(model, &present)?;
                    for line in present {
                        self.erase(model, line);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes computed fields that have a way back: through the only variant, or to the list price.
    fn write_indirect(
        &mut self,
        model: &str,
        id: i64,
        values: Vec<(String, Value)>,
    ) -> Result<(), Exception> {
        for (name, value) in values {
            match (model, name.as_str()) {
                ("product.template", "default_code" | "barcode" | "weight" | "volume" | "standard_price") => {
                    if let Some(variant) = self.only_variant(id) {
                        self.write_one("product.product", variant, &Map::from_iter([(name, value)]))?;
                    }
                }
                ("product.product", "image_1920") => self.write_variant_image(id, &value)?,
                ("product.product", "lst_price") => {
                    let list = number(&value)? - self.price_extra(id);
                    let vals = Map::from_iter([("list_price".to_owned(), json!(list))]);
                    if let Some(template) = self.db.link(model, id, "product_tmpl_id") {
                        self.write_one("product.template", template, &vals)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_required(&self, model: &str, row: &Row) -> Result<(), Exception> {
        let table = &self.db.table(model).model;
        let value = |name: &str| table.position(name).map(|at| &row.values[at]);
        if model == "res.partner" {
            let is_contact = value("type").is_some_and(|kind| kind == "contact");
            let is_nameless = value("name").is_some_and(|name| !name.is_string());
            if is_contact && is_nameless {
                let message = "The operation cannot be completed: Contacts require a name";
                return Err(Exception::validation(message));
            }
        }
        for field in table.fields.iter().filter(|field| field.is_required) {
            if value(&field.name).is_some_and(|value| matches!(value, Value::Bool(false) | Value::Null)) {
                return Err(Exception::validation(format!(
                    "The operation cannot be completed: Missing required value for the field '{}' ({}).\nModel: \
                     '{}' ({model})\n- create/update: a mandatory field is not set\n- delete: another model requires \
                     the record being deleted, you can archive it instead\n",
                    field.label, field.name, table.label
                )));
            }
        }
        Ok(())
    }

    fn check_constraints(&self, model: &str, id: i64) -> Result<(), Exception> {
        match model {
            "product.product" => self.check_barcode(id),
            "product.tag" => self.check_tag(id),
            "stock.quant" => self.check_quant(id),
            "account.payment" => self.check_payment(id),
            _ => Ok(()),
        }
    }

    /// Keeps external ids unique and findable (facts: systems B4).
    fn settle_external_id(&mut self, id: i64) -> Result<(), Exception> {
        let text = |name: &str| self.db.text("ir.model.data", id, name);
        let (module, name) = (text("module"), text("name"));
        let complete = format!("{module}.{name}");
        if self
            .db
            .with("ir.model.data", "complete_name", complete.clone())
            .into_iter()
            .any(|other| other != id)
        {
            return Err(Exception::validation(format!(
                "The operation cannot be completed: duplicate key value violates unique constraint \
                 \"ir_model_data_module_name_uniq_index\"\nDETAIL:  Key (module, name)=({module}, {name}) already \
                 exists.\n"
            )));
        }
        let record = self.db.link("ir.model.data", id, "res_id").unwrap_or_default();
        let target = format!("{},{record}", text("model"));
        self.set(
            "ir.model.data",
            id,
            &[("complete_name", complete.into()), ("target", target.into())],
        );
        Ok(())
    }
}

/// Carries out the commands of a many2many, or takes a plain list.
fn commanded(value: &Value, before: &Value) -> Vec<i64> {
    let mut ids: Vec<i64> = before
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_i64)
        .collect();
    for command in value.as_array().into_iter().flatten() {
        match command {
            Value::Number(id) => ids.extend(id.as_i64()),
            Value::Array(parts) => match parts.first().and_then(Value::as_i64) {
                Some(6) => {
                    let list = parts.get(2).and_then(Value::as_array);
                    ids = list.into_iter().flatten().filter_map(Value::as_i64).collect();
                }
                Some(5) => ids.clear(),
                Some(4) => ids.extend(parts.get(1).and_then(Value::as_i64)),
                Some(2 | 3) => ids.retain(|id| Some(*id) != parts.get(1).and_then(Value::as_i64)),
                _ => {}
            },
            _ => {}
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    ids.retain(|id| seen.insert(*id));
    ids
}

pub(super) fn number(value: &Value) -> Result<f64, Exception> {
    match value {
        Value::Number(number) => Ok(number.as_f64().unwrap_or_default()),
        Value::String(text) => text
            .trim()
            .parse()
            .map_err(|_| Exception::value(format!("could not convert string to float: '{text}'"))),
        _ => Ok(0.0),
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

/// Drops scripts with their text and event handlers, and wraps plain text (facts: mapping-odoo 1).
fn sanitised(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let Some(end) = rest[start..].find('>') else { break };
        let tag = &rest[start..=start + end];
        out.push_str(&rest[..start]);
        rest = &rest[start + end + 1..];
        let lower = tag.to_ascii_lowercase();
        if let Some(name) = ["script", "style"]
            .into_iter()
            .find(|name| lower.starts_with(&format!("<{name}")))
        {
            let close = format!("</{name}>");
            let after = rest
                .to_ascii_lowercase()
                .find(&close)
                .map_or(rest.len(), |at| at + close.len());
            rest = &rest[after..];
        } else {
            out.push_str(&without_handlers(tag));
        }
    }
    out.push_str(rest);
    if out.contains('<') || out.is_empty() {
        out
    } else {
        format!("<p>{out}</p>")
    }
}
