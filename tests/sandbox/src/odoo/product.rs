//! Templates and variants (facts: mapping-odoo 1, systems B6).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::exception::Exception;
use super::session::Session;

const TEMPLATE: &str = "product.template";
const VARIANT: &str = "product.product";
const LINE: &str = "product.template.attribute.line";
const VALUE: &str = "product.template.attribute.value";

impl Session<'_> {
    /// Makes the template of a variant that names none.
    pub(super) fn provide_template(
        &mut self,
        stored: &mut Vec<(String, Value)>,
        inherited: &Map<String, Value>,
    ) -> Result<(), Exception> {
        let named = stored
            .iter()
            .find(|(name, _)| name == "product_tmpl_id")
            .and_then(|(_, value)| value.as_i64());
        if let Some(template) = named {
            if !inherited.is_empty() {
                self.write_one(TEMPLATE, template, inherited)?;
            }
            return Ok(());
        }
        self.skips_variants = true;
        let template = self.create_quietly(TEMPLATE, inherited);
        self.skips_variants = false;
        let template = template?;
        stored.retain(|(name, _)| name != "product_tmpl_id");
        stored.push(("product_tmpl_id".to_owned(), json!(template)));
        Ok(())
    }

    /// Notes the combination of a new variant; an active one may exist once only.
    pub(super) fn settle_new_variant(&mut self, id: i64) -> Result<(), Exception> {
        let mut values = self.db.links(VARIANT, id, "product_template_attribute_value_ids");
        values.sort_unstable();
        let indices = values
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",");
        let template = self.db.link(VARIANT, id, "product_tmpl_id").unwrap_or_default();
        let is_taken = self
            .db
            .with(VARIANT, "product_tmpl_id", template)
            .into_iter()
            .any(|other| {
                other != id
                    && self.db.flag(VARIANT, other, "active")
                    && self.db.text(VARIANT, other, "combination_indices") == indices
            });
        if is_taken && self.db.flag(VARIANT, id, "active") {
            return Err(Exception::validation(format!(
                "The operation cannot be completed: duplicate key value violates unique constraint \
                 \"product_product_combination_unique\"\nDETAIL:  Key (product_tmpl_id, combination_indices)=\
                 ({template}, {indices}) already exists.\n"
            )));
        }
        self.set(VARIANT, id, &[("combination_indices", json!(indices))]);
        self.set(TEMPLATE, template, &[]);
        Ok(())
    }

    /// A tag's name is unique, its case counts (the field's own constraint, in Odoo's source: `product_tag.py`).
    pub(super) fn check_tag(&self, id: i64) -> Result<(), Exception> {
        let name = self.db.text("product.tag", id, "name");
        let mut same = self.db.with("product.tag", "name", name).into_iter();
        if same.any(|other| other != id) {
            let message = "The operation cannot be completed: Tag name already exists!";
            return Err(Exception::validation(message));
        }
        Ok(())
    }

    /// A barcode is unique, archived products count (facts: systems B3, mapping-odoo 1).
    pub(super) fn check_barcode(&self, id: i64) -> Result<(), Exception> {
        let barcode = self.db.text(VARIANT, id, "barcode");
        if barcode.is_empty() {
            return Ok(());
        }
        let holders = self.db.with(VARIANT, "barcode", barcode.clone());
        if holders.len() < 2 {
            return Ok(());
        }
        let names: Vec<String> = holders
            .iter()
            .map(|holder| self.display_name(VARIANT, *holder))
            .collect();
        Err(Exception::validation(format!(
            "Barcode(s) already assigned:\n\n- Barcode \"{barcode}\" already assigned to product(s): {}\n\nNote: \
             products that you don't have access to will not be shown above.",
            names.join(" and ")
        )))
    }

    /// Brings attribute values and variants in line with the attribute lines.
    pub(super) fn sync_variants(&mut self, template: i64) -> Result<(), Exception> {
        let lines = self.db.with(LINE, "product_tmpl_id", template);
        let mut is_dynamic = false;
        let mut axes: Vec<Vec<i64>> = Vec::new();
        for line in &lines {
            let values = self.sync_values(template, *line)?;
            let attribute = self.db.link(LINE, *line, "attribute_id").unwrap_or_default();
            match self
                .db
                .text("product.attribute", attribute, "create_variant")
                .as_str()
            {
                "no_variant" => continue,
                "dynamic" => is_dynamic = true,
                _ => {}
            }
            if !values.is_empty() {
                axes.push(values);
            }
        }
        let wanted: BTreeSet<Vec<i64>> = combinations(&axes).into_iter().collect();
        let mut present = BTreeSet::new();
        for variant in self.db.with(VARIANT, "product_tmpl_id", template) {
            let mut values = self
                .db
                .links(VARIANT, variant, "product_template_attribute_value_ids");
            // A line with one value joins the variants that exist.
            for axis in axes.iter().filter(|axis| axis.len() == 1) {
                if !values.contains(&axis[0]) {
                    values.push(axis[0]);
                }
            }
            values.sort_unstable();
            if wanted.contains(&values) && present.insert(values.clone()) {
                self.place_variant(variant, &values);
            } else {
                self.forget_variant(variant);
            }
        }
        if !is_dynamic {
            for values in wanted.difference(&present).cloned().collect::<Vec<_>>() {
                let mut vals = Map::from_iter([("product_tmpl_id".to_owned(), json!(template))]);
                vals.insert("product_template_attribute_value_ids".to_owned(), json!(values));
                self.create_quietly(VARIANT, &vals)?;
            }
        }
        Ok(())
    }

    /// An archived one is taken into use again.
    fn place_variant(&mut self, variant: i64, values: &[i64]) {
        if !self.db.flag(VARIANT, variant, "active") {
            self.set(VARIANT, variant, &[("active", json!(true))]);
        }
        let indices = values
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",");
        if self.db.text(VARIANT, variant, "combination_indices") != indices {
            let fields = [
                ("combination_indices", json!(indices)),
                ("product_template_attribute_value_ids", json!(values)),
            ];
            self.set(VARIANT, variant, &fields);
        }
    }

    /// An unused variant goes, its external id too (facts: mapping-odoo 1).
    fn forget_variant(&mut self, variant: i64) {
        for external in self
            .db
            .with("ir.model.data", "target", format!("{VARIANT},{variant}"))
        {
            self.db.remove("ir.model.data", external);
        }
        self.db.remove(VARIANT, variant);
    }

    /// Brings the attribute values of one line in line with its values, sorted as the values are.
    fn sync_values(&mut self, template: i64, line: i64) -> Result<Vec<i64>, Exception> {
        let wanted = self.db.links(LINE, line, "value_ids");
        let attribute = self.db.link(LINE, line, "attribute_id").unwrap_or_default();
        let mut kept = Vec::new();
        for row in self.db.with(VALUE, "attribute_line_id", line) {
            let value = self
                .db
                .link(VALUE, row, "product_attribute_value_id")
                .unwrap_or_default();
            if wanted.contains(&value) {
                kept.push((value, row));
            } else {
                self.db.remove(VALUE, row);
            }
        }
        for value in wanted {
            if kept.iter().any(|(known, _)| *known == value) {
                continue;
            }
            let fields = [
                ("attribute_line_id", line),
                ("product_attribute_value_id", value),
                ("attribute_id", attribute),
                ("product_tmpl_id", template),
            ];
            let vals = fields
                .iter()
                .map(|(name, id)| ((*name).to_owned(), json!(id)))
                .collect();
            kept.push((value, self.create_quietly(VALUE, &vals)?));
        }
        kept.sort_unstable();
        Ok(kept.into_iter().map(|(_, row)| row).collect())
    }

    /// The last variant takes its template along, unless variants are made on demand.
    pub(super) fn drop_empty_template(&mut self, template: i64) {
        let has_variants = !self.db.with(VARIANT, "product_tmpl_id", template).is_empty();
        let is_dynamic = self
            .db
            .with(LINE, "product_tmpl_id", template)
            .into_iter()
            .any(|line| {
                let attribute = self.db.link(LINE, line, "attribute_id").unwrap_or_default();
                self.db.text("product.attribute", attribute, "create_variant") == "dynamic"
            });
        if !has_variants && !is_dynamic && self.db.row(TEMPLATE, template).is_some() {
            self.erase(TEMPLATE, template);
        }
    }
}

/// Lists one of each axis, sorted; without axes there is the empty combination.
fn combinations(axes: &[Vec<i64>]) -> Vec<Vec<i64>> {
    let mut found = vec![Vec::new()];
    for axis in axes {
        found = found
            .iter()
            .flat_map(|start: &Vec<i64>| {
                axis.iter()
                    .map(move |value| [start.as_slice(), &[*value]].concat())
            })
            .collect();
    }
    for one in &mut found {
        one.sort_unstable();
    }
    found
}

impl Session<'_> {
    /// Gives the variants of a template their codes, extra prices and weights, by the name of their value.
    pub(crate) fn dress_variants(&mut self, template: i64, variants: &[(&'static str, String, f64, f64)]) {
        for variant in self.db.with(VARIANT, "product_tmpl_id", template) {
            let values = self
                .db
                .links(VARIANT, variant, "product_template_attribute_value_ids");
            for value in values {
                let name = self.raw(VALUE, value, "name");
                let Some((_, code, extra, weight)) = variants.iter().find(|(known, ..)| name == *known)
                else {
                    continue;
                };
                let code = if code.is_empty() {
                    Value::Bool(false)
                } else {
                    json!(code)
                };
                self.set(
                    VARIANT,
                    variant,
                    &[("default_code", code), ("weight", json!(weight))],
                );
                self.set(VALUE, value, &[("price_extra", json!(extra))]);
            }
        }
    }
}
