//! Reading: computed fields, display names, the shapes of relations.

use chrono::DateTime;
use serde_json::{Map, Value, json};

use super::exception::Exception;
use super::model::{Kind, Place};
use super::session::Session;

/// How a many2one is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Named,
    Bare,
}

impl Session<'_> {
    /// Reads records; missing ones are left out (facts: systems B2).
    pub(super) fn read(
        &self,
        model: &str,
        ids: &[i64],
        fields: &[String],
        links: Links,
    ) -> Result<Vec<Value>, Exception> {
        let table = &self.db.table(model).model;
        let names: Vec<&str> = if fields.is_empty() {
            table
                .fields
                .iter()
                .map(|field| field.name.as_str())
                .filter(|name| *name != "target")
                .collect()
        } else {
            fields.iter().map(String::as_str).collect()
        };
        for name in &names {
            self.field(model, name)?;
        }
        let present = ids.iter().filter(|id| self.db.row(model, **id).is_some());
        Ok(present
            .map(|id| {
                let mut row = Map::from_iter([("id".to_owned(), json!(id))]);
                for name in &names {
                    row.insert((*name).to_owned(), self.shown(model, *id, name, links));
                }
                Value::Object(row)
            })
            .collect())
    }

    /// Returns one value as the API shows it.
    fn shown(&self, model: &str, id: i64, name: &str, links: Links) -> Value {
        let value = self.raw(model, id, name);
        let Some(field) = self.db.table(model).model.field(name) else {
            return value;
        };
        match (&field.kind, &value) {
            (Kind::Many2one(to), Value::Number(number)) if links == Links::Named => {
                let target = number.as_i64().unwrap_or_default();
                json!([target, self.display_name(to, target)])
            }
            (Kind::Image, _) if self.is_in_context("bin_size") => super::image::size(&value),
            (Kind::Datetime, Value::Number(number)) => json!(stamp(number.as_i64().unwrap_or_default())),
            _ => value,
        }
    }

    /// Returns one value as the database has it: ids for relations, microseconds for the two times.
    pub(super) fn raw(&self, model: &str, id: i64, name: &str) -> Value {
        let Some(row) = self.db.row(model, id) else {
            return Value::Bool(false);
        };
        match name {
            "id" => return json!(id),
            "create_date" => return json!(row.created),
            "write_date" => return json!(row.written),
            "create_uid" => return json!(row.created_by),
            "write_uid" => return json!(row.written_by),
            "display_name" => return json!(self.display_name(model, id)),
            _ => {}
        }
        let table = &self.db.table(model).model;
        let Some(at) = table.position(name) else {
            return Value::Bool(false);
        };
        let field = &table.fields[at];
        match field.place {
            Place::Inherited => match self.db.link(model, id, "product_tmpl_id") {
                Some(template) => self.raw("product.template", template, name),
                None => Value::Bool(false),
            },
            Place::Computed if matches!(field.kind, Kind::One2many(..)) => {
                let to = field.comodel().unwrap_or_default();
                let mut ids = self.db.lines(field, id);
                ids.retain(|id| self.is_visible(to, *id));
                // Lines come in the order of their own model.
                let _ = self.sort(to, &mut ids, None);
                json!(ids)
            }
            Place::Computed => self.computed(model, id, name),
            Place::Stored | Place::Indexed => row.values[at].clone(),
        }
    }

    pub(super) fn is_visible(&self, model: &str, id: i64) -> bool {
        !self.active_test
            || self.db.table(model).model.field("active").is_none()
            || self.db.flag(model, id, "active")
    }

    pub(super) fn computed(&self, model: &str, id: i64, name: &str) -> Value {
        match (model, name) {
            ("product.template", "product_variant_id") => self
                .shown_variants(id)
                .first()
                .map_or(json!(false), |id| json!(id)),
            ("product.template", "product_variant_count") => json!(self.shown_variants(id).len()),
            ("product.template" | "product.product", _) if super::quantity::is_quantity(name) => {
                json!(self.stock_level(model, id, name))
            }
            ("stock.quant" | "stock.location", _) => self.computed_stock(model, id, name),
            ("account.payment" | "account.journal" | "account.move", _) => {
                self.computed_account(model, id, name)
            }
            ("product.template", "type") => self.db.value(model, id, "detailed_type"),
            ("product.template", _) => match self.only_variant(id) {
                Some(variant) => self.db.value("product.product", variant, name),
                None if matches!(name, "weight" | "volume") => self.agreed_measure(id, name),
                None if name == "standard_price" => json!(0.0),
                None => Value::Bool(false),
            },
            ("product.product", "image_1920") => self.variant_image(id),
            ("product.product", "price_extra") => json!(self.price_extra(id)),
            ("product.product", "lst_price") => {
                let list = self.raw(model, id, "list_price").as_f64().unwrap_or_default();
                json!(list + self.price_extra(id))
            }
            ("product.template.attribute.value", "name") => {
                let value = self
                    .db
                    .link(model, id, "product_attribute_value_id")
                    .unwrap_or_default();
                self.db.value("product.attribute.value", value, "name")
            }
            ("product.category", "complete_name") => json!(self.category_path(id)),
            ("res.partner", "complete_name") => json!(self.partner_name(id)),
            ("res.partner", "email_normalized") => {
                let email = self.db.text(model, id, "email").trim().to_lowercase();
                if email.is_empty() {
                    Value::Bool(false)
                } else {
                    json!(email)
                }
            }
            ("res.partner", "commercial_partner_id") => json!(self.commercial_partner(id)),
            ("sale.order.line", _) => self.line_field(id, name),
            ("stock.move" | "stock.picking", _) => self.delivery_field(model, id, name),
            ("account.tax", "price_include") => json!(self.is_included(id)),
            _ => Value::Bool(false),
        }
    }

    /// Lists the variants of a template, those that are in use unless all are wanted.
    pub(super) fn shown_variants(&self, template: i64) -> Vec<i64> {
        let variants = self.db.with("product.product", "product_tmpl_id", template);
        variants
            .into_iter()
            .filter(|id| self.is_visible("product.product", *id))
            .collect()
    }

    /// A template shows a measure that all its variants share, as was recorded of a real one with two.
    fn agreed_measure(&self, template: i64, name: &str) -> Value {
        let variants = self.shown_variants(template);
        let mut measures = variants
            .iter()
            .map(|id| self.db.value("product.product", *id, name));
        let first = measures.next().unwrap_or_else(|| json!(0.0));
        if measures.all(|measure| measure == first) {
            first
        } else {
            json!(0.0)
        }
    }

    /// Returns the variant of a template that has exactly one; an archived one counts when there is no other.
    pub(super) fn only_variant(&self, template: i64) -> Option<i64> {
        let all = self.db.with("product.product", "product_tmpl_id", template);
        let active: Vec<i64> = all
            .iter()
            .copied()
            .filter(|id| self.db.flag("product.product", *id, "active"))
            .collect();
        match (active.as_slice(), all.as_slice()) {
            ([one], _) | ([], [one]) => Some(*one),
            _ => None,
        }
    }

    pub(super) fn price_extra(&self, variant: i64) -> f64 {
        let values = self
            .db
            .links("product.product", variant, "product_template_attribute_value_ids");
        let extra = |id: &i64| {
            self.db
                .value("product.template.attribute.value", *id, "price_extra")
                .as_f64()
        };
        values.iter().filter_map(extra).sum()
    }

    fn category_path(&self, id: i64) -> String {
        let name = self.db.text("product.category", id, "name");
        match self.db.link("product.category", id, "parent_id") {
            Some(parent) if parent != id => format!("{} / {name}", self.category_path(parent)),
            _ => name,
        }
    }

    pub(super) fn commercial_partner(&self, id: i64) -> i64 {
        match self.db.link("res.partner", id, "parent_id") {
            Some(parent) if !self.db.flag("res.partner", id, "is_company") => self.commercial_partner(parent),
            _ => id,
        }
    }

    fn partner_name(&self, id: i64) -> String {
        let name = self.db.text("res.partner", id, "name");
        let commercial = self.commercial_partner(id);
        let company = match self.db.text("res.partner", id, "company_name") {
            own if commercial == id => own,
            _ => self.db.text("res.partner", commercial, "name"),
        };
        let name = match (name.is_empty(), self.db.text("res.partner", id, "type").as_str()) {
            (true, "invoice") => "Invoice Address".to_owned(),
            (true, "delivery") => "Delivery Address".to_owned(),
            (true, "other") => "Other Address".to_owned(),
            _ => name,
        };
        let is_company = self.db.flag("res.partner", id, "is_company");
        if company.is_empty() || is_company {
            name
        } else {
            format!("{company}, {name}")
        }
    }

    pub(super) fn display_name(&self, model: &str, id: i64) -> String {
        let name = || self.db.text(model, id, "name");
        match model {
            "res.partner" => self.partner_name(id),
            "product.category" => self.category_path(id),
            "res.country.state" => {
                let country = self.db.link(model, id, "country_id").unwrap_or_default();
                format!("{} ({})", name(), self.db.text("res.country", country, "code"))
            }
            "product.template" => with_code(&self.raw(model, id, "default_code"), name()),
            "product.product" => {
                let template = self.db.link(model, id, "product_tmpl_id").unwrap_or_default();
                let title = self.db.text("product.template", template, "name");
                let values = self.distinguishing_values(model, id);
                let title = if values.is_empty() {
                    title
                } else {
                    format!("{title} ({})", values.join(", "))
                };
                with_code(&self.db.value(model, id, "default_code"), title)
            }
            "product.attribute.value" => {
                let attribute = self.db.link(model, id, "attribute_id").unwrap_or_default();
                format!(
                    "{}: {}",
                    self.db.text("product.attribute", attribute, "name"),
                    name()
                )
            }
            "product.template.attribute.value" => {
                let attribute = self.db.link(model, id, "attribute_id").unwrap_or_default();
                let value = self.raw(model, id, "name");
                let value = value.as_str().unwrap_or_default();
                format!(
                    "{}: {value}",
                    self.db.text("product.attribute", attribute, "name")
                )
            }
            "product.template.attribute.line" => {
                let attribute = self.db.link(model, id, "attribute_id").unwrap_or_default();
                self.db.text("product.attribute", attribute, "name")
            }
            "product.pricelist" => self.pricelist_name(id),
            "sale.order.line" => self.line_name(id),
            "stock.move" => self.db.text(model, id, "reference"),
            "ir.model.data" => self.db.text(model, id, "complete_name"),
            "ir.config_parameter" => self.db.text(model, id, "key"),
            "account.payment" | "account.payment.method.line" | "account.move" => {
                self.account_name(model, id)
            }
            _ => {
                let complete = self.db.value(model, id, "complete_name");
                let name = if complete.is_string() {
                    complete
                } else {
                    self.db.value(model, id, "name")
                };
                name.as_str()
                    .map_or_else(|| format!("{model},{id}"), str::to_owned)
            }
        }
    }

    /// Lists the values that tell a variant from its siblings: attributes with one value only do not.
    fn distinguishing_values(&self, model: &str, id: i64) -> Vec<String> {
        let values = self.db.links(model, id, "product_template_attribute_value_ids");
        let tells = values.iter().filter(|value| {
            let line = self
                .db
                .link("product.template.attribute.value", **value, "attribute_line_id");
            line.is_some_and(|line| {
                self.db
                    .links("product.template.attribute.line", line, "value_ids")
                    .len()
                    > 1
            })
        });
        let name = |value: &i64| self.raw("product.template.attribute.value", *value, "name");
        tells
            .map(name)
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    }
}

fn with_code(code: &Value, name: String) -> String {
    match code.as_str() {
        Some(code) if !code.is_empty() => format!("[{code}] {name}"),
        _ => name,
    }
}

/// Formats a time: UTC, whole seconds, no zone (facts: systems B6).
pub(super) fn stamp(micros: i64) -> String {
    let at = DateTime::from_timestamp(micros.div_euclid(1_000_000), 0);
    at.map(|at| at.format("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default()
}
