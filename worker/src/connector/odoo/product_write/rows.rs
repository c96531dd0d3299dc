//! The rows of each call that a product needs.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{Content, Product};

use super::super::load::{Held, PICTURE, Source};
use super::super::name;
use super::super::price::{self, Grid};
use super::super::write::{Cells, Draft, DraftRow};
use super::{Known, Task, flag, refusal, weight};
use crate::connector::Refusal;

/// Builds the rows of one stage.
pub(super) struct Builder<'a> {
    pub(super) task: &'a Task<'a>,
    pub(super) known: &'a Known,
    pub(super) grid: &'a Grid,
    pub(super) settings: &'a Settings,
}

impl Builder<'_> {
    /// What a draft of a template that is there starts from.
    fn known_source(&self) -> Source {
        let template = self.task.template;
        template.map_or(Source::Later, |id| Source::Known(id.to_owned()))
    }

    /// Attributes and options by the spelling in which they are written: the record's, and those that the template has
    /// already, because a value that a line no longer names is deleted with its variants (facts/mapping-odoo.md §1).
    fn options(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut options: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut spelt = BTreeSet::new();
        for row in self.task.values(self.known) {
            spelt.insert(row.value());
            let values = options.entry(row.attribute_id.1.clone()).or_default();
            values.insert(row.name.clone());
        }
        for attribute in self.task.product.variants.iter().flat_map(|v| &v.attributes) {
            let value = (attribute.name.to_lowercase(), attribute.option.to_lowercase());
            if !spelt.insert(value) {
                continue;
            }
            let known = options
                .keys()
                .find(|name| name.to_lowercase() == attribute.name.to_lowercase());
            let name = known.cloned().unwrap_or_else(|| attribute.name.clone());
            options.entry(name).or_default().insert(attribute.option.clone());
        }
        options
    }

    /// `create_variant` can't be changed once an attribute is used, so these are ours alone; products share them.
    pub(super) fn attributes(&self) -> Draft {
        let mut rows = Vec::new();
        for (attribute, options) in self.options() {
            for (place, option) in options.iter().enumerate() {
                let is_head = place == 0;
                let head = |cell: String| if is_head { cell } else { String::new() };
                rows.push(DraftRow {
                    cells: vec![
                        head(name::attribute(&attribute)),
                        head(attribute.clone()),
                        head("dynamic".to_owned()),
                        name::attribute_value(&attribute, option),
                        option.clone(),
                    ],
                    is_head,
                });
            }
        }
        let fields = ["id", "name", "create_variant", "value_ids/id", "value_ids/name"];
        self.with_rows("product.attribute", &fields, rows)
    }

    pub(super) fn template(&self) -> Draft {
        let task = self.task;
        let record = task.write.record;
        let has_lines = !task.product.is_simple() && task.needs_lines(self.known);
        let named = match task.template {
            // Lines go by external ids, and those don't mix with a `.id` column (facts/mapping-odoo.md §1).
            Some(id) if !has_lines => Cells::default().with(".id", id),
            _ => Cells::default().with("id", &name::template(record)),
        };
        let mut cells = named.followed_by(task.template_cells(self.known, self.grid, self.settings));
        if task.template.is_none() {
            // An empty cell really clears the company's default tax (facts/mapping-odoo.md §1).
            cells.put("taxes_id", "");
            cells.put("invoice_policy", "order");
        }
        let source = task
            .template
            .map_or(Source::Record(0), |id| Source::Known(id.to_owned()));
        let mut draft = Draft::single("product.template", cells, source);
        if has_lines {
            self.add_lines(&mut draft);
        }
        draft.parts = task.parts.clone();
        if has_lines {
            // They become parts, for the next call to archive.
            draft.parts.append(&mut task.revived(self.known));
        }
        draft
    }

    fn add_lines(&self, draft: &mut Draft) {
        let width = draft.fields.len();
        let columns = [
            "attribute_line_ids/id",
            "attribute_line_ids/attribute_id/id",
            "attribute_line_ids/value_ids/id",
        ];
        draft.fields.extend(columns.map(str::to_owned));
        let head = draft.rows.remove(0).cells;
        for (place, (attribute, options)) in self.options().iter().enumerate() {
            let is_head = place == 0;
            let mut cells = if is_head {
                head.clone()
            } else {
                vec![String::new(); width]
            };
            let values: Vec<String> = options
                .iter()
                .map(|option| name::attribute_value(attribute, option))
                .collect();
            cells.extend([
                name::attribute_line(self.task.write.record, attribute),
                name::attribute(attribute),
                values.join(","),
            ]);
            draft.rows.push(DraftRow { cells, is_head });
        }
    }

    pub(super) fn variants(&self) -> Draft {
        let changed = self.task.changed_variants();
        let rows = changed.iter().map(|(id, variant)| {
            let mut cells = Cells::default().with(".id", id);
            self.task.put_variant(&mut cells, variant, self.settings);
            cells
        });
        let mut draft = Draft::of_cells("product.product", rows.collect(), self.known_source());
        draft.parts = self.task.parts.clone();
        draft
    }

    pub(super) fn retire(&self) -> Draft {
        let gone = self.task.gone();
        let rows = gone
            .iter()
            .map(|id| Cells::default().with(".id", id).with("active", flag(false)));
        let mut draft = Draft::of_cells("product.product", rows.collect(), self.known_source());
        draft.parts = self.task.kept();
        draft
    }

    pub(super) fn new_variants(&self) -> Result<Draft, Refusal> {
        let template = self.task.template.unwrap_or_default();
        let values: BTreeMap<price::Value, i64> = self
            .task
            .values(self.known)
            .iter()
            .map(|row| (row.value(), row.id))
            .collect();
        let mut rows = Vec::new();
        let mut made = Vec::new();
        for (key, variant) in self.task.new_ones() {
            let ids: Option<Vec<String>> = variant
                .attributes
                .iter()
                .map(|a| values.get(&(a.name.to_lowercase(), a.option.to_lowercase())))
                .map(|id| id.map(ToString::to_string))
                .collect();
            let ids = ids.ok_or_else(|| {
                refusal(
                    "attribute_values_missing",
                    &format!("Odoo's product has no attribute values for the variant `{key}`"),
                )
            })?;
            let cells = Cells::default()
                .with("id", &name::variant(self.task.write.record, &key))
                .with("product_tmpl_id/.id", template)
                .with("product_template_attribute_value_ids/.id", &ids.join(","))
                .with("default_code", variant.sku.as_deref().unwrap_or_default())
                .with("barcode", variant.barcode.as_deref().unwrap_or_default())
                .with("weight", &weight(variant, self.settings))
                .with("active", flag(self.task.is_active()));
            made.push((key, rows.len()));
            rows.push(cells);
        }
        let mut draft = Draft::of_cells("product.product", rows, self.known_source());
        draft.parts = self.task.kept();
        draft.made = made;
        Ok(draft)
    }

    pub(super) fn extras(&self) -> Draft {
        let changed = self.task.changed_extras(self.known, self.grid);
        let rows = changed.iter().filter_map(|(id, extra)| {
            let id = (*id)?.to_string();
            let extra = extra.normalize().to_string();
            Some(Cells::default().with(".id", &id).with("price_extra", &extra))
        });
        let model = "product.template.attribute.value";
        let mut draft = Draft::of_cells(model, rows.collect(), self.known_source());
        draft.parts = self.task.kept();
        draft
    }

    pub(super) fn picture(&self) -> Draft {
        let template = self.task.template.unwrap_or_default();
        let address = self.task.product.images.first().map_or("", String::as_str);
        let cells = Cells::default().with(".id", template).with(PICTURE, address);
        let mut draft = Draft::single("product.template", cells, self.known_source());
        draft.parts = self.task.kept();
        let held = Product {
            images: Vec::new(),
            ..self.task.product.clone()
        };
        draft.held = Some(Held::new(&Content::Product(held)));
        draft
    }

    fn with_rows(&self, model: &'static str, fields: &[&str], rows: Vec<DraftRow>) -> Draft {
        Draft {
            model,
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
            rows,
            external_id: self.known_source(),
            parts: self.task.parts.clone(),
            made: Vec::new(),
            next: None,
            held: None,
        }
    }
}
