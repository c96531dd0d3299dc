//! Writing products: which calls one product needs, in which order, and their rows. Pure.
//!
//! Source: facts/mapping-odoo.md §1. A simple product lives on its template alone, whose single variant Odoo keeps by
//! itself. One with variants takes a call each for its attributes, its template, its variants and their price extras:
//! its attributes are of the `dynamic` kind, so that Odoo makes no variant that we did not ask for.
//!
//! A picture comes last and by itself, as the address from which it is fetched when it is sent. What Odoo makes of it has
//! no address, so it is never read back: the remote's side of what is agreed on has no picture, and ours changes when the
//! address does.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{Content, PartKey, Product, ProductKind, ProductStatus, Variant};
use rust_decimal::Decimal;

use super::super::{Action, Parts, Refusal, Step, Write};
use super::category::{self, Tree};
use super::load::{Held, PICTURE, Source};
use super::name;
use super::price::{self, Grid};
use super::product::{TAG, ValueRow, from_kilograms};
use super::write::{Cells, Draft, DraftRow};

/// The last step that can make a category or a tag. Each of those before makes one level of the tree, or the tags; the
/// stages follow.
const LAST_CATEGORY: Step = Step(7);

/// One call of those that a product can need. Their numbers are the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Attributes = 8,
    Template = 9,
    /// Variants that are there change.
    Variants = 10,
    /// Variants that are no longer wanted are archived: an order may refer to them.
    Retire = 11,
    NewVariants = 12,
    Extras = 13,
    Picture = 14,
}

impl Stage {
    const fn step(self) -> Step {
        Step(self as u8)
    }
}

/// What has to be read before products with variants can be written.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Attribute values by the template that has them.
    pub(super) values: BTreeMap<i64, Vec<ValueRow>>,
    /// Templates that we made.
    pub(super) ours: BTreeSet<i64>,
    /// Variants that are out of use, by template: those of templates whose attribute lines are written.
    pub(super) archived: BTreeMap<i64, Parts>,
    /// All categories, where a write needs one.
    pub(super) categories: Tree,
    /// The tags that writes need, by name.
    pub(super) tags: BTreeMap<String, i64>,
    /// Whether a product may have no category.
    pub(super) may_lack_category: bool,
    /// Whether stock is kept of a kind of product of its own: before version 18.
    pub(super) has_storable_kind: bool,
}

/// Says whether the categories have to be read before this write is planned.
pub(super) fn needs_categories(write: &Write, product: &Product) -> bool {
    match &write.action {
        Action::Create => !product.categories.is_empty(),
        Action::Update { changed, .. } => changed.contains("categories"),
        Action::Delete { .. } => false,
    }
}

/// Says whether the product's tags have to be read before this write is planned.
pub(super) fn needs_tags(write: &Write, product: &Product) -> bool {
    match &write.action {
        Action::Create => !product.tags.is_empty(),
        Action::Update { changed, .. } => changed.contains("tags"),
        Action::Delete { .. } => false,
    }
}

/// Names the template whose attribute values have to be read before this write is planned.
pub(super) fn needs_values(write: &Write, product: &Product) -> Option<i64> {
    let Action::Update { external_id, .. } = &write.action else {
        return None;
    };
    let task = Task::new(write, product);
    let is_needed = !product.is_simple() && (task.has_new() || task.changes("price"));
    external_id.parse().ok().filter(|_| is_needed)
}

/// Names the template that has to be ours for this write: it gets values that it does not have.
pub(super) fn needs_ownership(write: &Write, product: &Product, known: &Known) -> Option<i64> {
    let template = needs_values(write, product)?;
    let task = Task::new(write, product);
    let is_needed = write.step <= Stage::Template.step() && !task.missing_values(known).is_empty();
    is_needed.then_some(template)
}

/// Plans the next call of a write; `None` where nothing is left to do.
pub(super) fn draft(
    write: &Write,
    product: &Product,
    known: &Known,
    settings: &Settings,
) -> Result<Option<Draft>, Refusal> {
    if let Action::Delete { external_id } = &write.action {
        return Ok(Some(archive(external_id)));
    }
    let task = Task::new(write, product);
    if let Some(draft) = task.category(known)? {
        return Ok(Some(draft));
    }
    if let Some(draft) = task.tags(known) {
        return Ok(Some(draft));
    }
    let grid = price::solve(&product.variants).ok_or_else(|| {
        refusal(
            "prices_not_additive",
            "prices must be one base price plus an extra per attribute value",
        )
    })?;
    let stages = task.stages(known, &grid, settings)?;
    let mut left = stages.into_iter().filter(|stage| stage.step() >= write.step);
    let Some(stage) = left.next() else {
        return Ok(None);
    };
    let next = left.next().map(Stage::step);
    let builder = Builder {
        task: &task,
        known,
        grid: &grid,
        settings,
    };
    let mut draft = match stage {
        Stage::Attributes => builder.attributes(),
        Stage::Template => builder.template(),
        Stage::Variants => builder.variants(),
        Stage::Retire => builder.retire(),
        Stage::NewVariants => builder.new_variants()?,
        Stage::Extras => builder.extras(),
        Stage::Picture => builder.picture(),
    };
    draft.next = next;
    Ok(Some(draft))
}

/// The parts that are there when all of a write is done.
pub(super) fn parts_after(write: &Write, product: &Product) -> Parts {
    Task::new(write, product).kept()
}

fn archive(external_id: &str) -> Draft {
    let cells = Cells::default()
        .with(".id", external_id)
        .with("active", flag(false));
    Draft::single("product.template", cells, Source::Known(external_id.to_owned()))
}

fn refusal(code: &str, message: &str) -> Refusal {
    Refusal {
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

const fn flag(value: bool) -> &'static str {
    // JSON booleans are an error in `load` (facts/systems.md B4).
    if value { "1" } else { "0" }
}

/// A write of a product, seen from its variants.
struct Task<'a> {
    write: &'a Write,
    product: &'a Product,
    /// The template's id, where it is there.
    template: Option<&'a str>,
    parts: Parts,
    changed: Changed<'a>,
}

enum Changed<'a> {
    All,
    Only(&'a BTreeSet<String>),
}

impl<'a> Task<'a> {
    fn new(write: &'a Write, product: &'a Product) -> Self {
        let (template, parts, changed) = match &write.action {
            Action::Create => (None, Parts::new(), Changed::All),
            Action::Update {
                external_id,
                parts,
                changed,
            } => (Some(external_id.as_str()), parts.clone(), Changed::Only(changed)),
            Action::Delete { external_id } => (
                Some(external_id.as_str()),
                Parts::new(),
                Changed::Only(const { &BTreeSet::new() }),
            ),
        };
        Self {
            write,
            product,
            template,
            parts,
            changed,
        }
    }

    /// Says whether a field changes; a variant's field goes by its own name, whichever variant it is.
    fn changes(&self, field: &str) -> bool {
        match self.changed {
            Changed::All => true,
            Changed::Only(paths) => paths
                .iter()
                .any(|path| path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name) == field),
        }
    }

    fn changes_variant(&self, key: &PartKey, fields: &[&str]) -> bool {
        match self.changed {
            Changed::All => true,
            Changed::Only(paths) => fields
                .iter()
                .any(|field| paths.contains(&format!("variants/{key}/{field}"))),
        }
    }

    fn new_ones(&self) -> impl Iterator<Item = (PartKey, &'a Variant)> {
        let variants = self
            .product
            .variants
            .iter()
            .map(|variant| (variant.key(), variant));
        variants.filter(|(key, _)| !self.parts.contains_key(key))
    }

    fn has_new(&self) -> bool {
        self.new_ones().next().is_some()
    }

    fn keys(&self) -> BTreeSet<PartKey> {
        self.product.variants.iter().map(Variant::key).collect()
    }

    /// Ids of variants that are there and wanted.
    fn kept(&self) -> Parts {
        let keys = self.keys();
        let parts = self.parts.clone().into_iter();
        parts.filter(|(key, _)| keys.contains(key)).collect()
    }

    fn gone(&self) -> Vec<&str> {
        let keys = self.keys();
        let parts = self.parts.iter();
        parts
            .filter(|(key, _)| !keys.contains(key))
            .map(|(_, id)| id.as_str())
            .collect()
    }

    fn changed_variants(&self) -> Vec<(&str, &'a Variant)> {
        let fields = ["sku", "barcode", "weight_kg"];
        let variants = self
            .product
            .variants
            .iter()
            .map(|variant| (variant.key(), variant));
        variants
            .filter(|(key, _)| self.changes_variant(key, &fields))
            .filter_map(|(key, variant)| Some((self.parts.get(&key)?.as_str(), variant)))
            .collect()
    }

    fn values<'k>(&self, known: &'k Known) -> &'k [ValueRow] {
        let template = self.template.and_then(|id| id.parse().ok());
        let values = template.and_then(|id: i64| known.values.get(&id));
        values.map_or(&[][..], Vec::as_slice)
    }

    /// Values that new variants need and the template does not have.
    fn missing_values(&self, known: &Known) -> BTreeSet<price::Value> {
        let there: BTreeSet<price::Value> = self.values(known).iter().map(ValueRow::value).collect();
        self.new_ones()
            .flat_map(|(_, variant)| &variant.attributes)
            .map(|a| (a.name.to_lowercase(), a.option.to_lowercase()))
            .filter(|value| !there.contains(value))
            .collect()
    }

    /// Variants that Odoo takes into use again, unasked, when it is given the attribute lines: all whose values the lines
    /// still have. (Odoo's own `_create_variant_ids`, seen in its source and not in a capture.)
    fn revived(&self, known: &Known) -> Parts {
        let template = self.template.and_then(|id| id.parse().ok());
        let Some(archived) = template.and_then(|id: i64| known.archived.get(&id)) else {
            return Parts::new();
        };
        let keys = self.keys();
        let is_unwanted = |key: &PartKey| !keys.contains(key) && !self.parts.contains_key(key);
        let unwanted = archived.iter().filter(|(key, _)| is_unwanted(key));
        unwanted.map(|(key, id)| (key.clone(), id.clone())).collect()
    }

    /// Lists the calls that the write takes as a whole, in their order.
    fn stages(&self, known: &Known, grid: &Grid, settings: &Settings) -> Result<BTreeSet<Stage>, Refusal> {
        let changes_template =
            self.template.is_none() || !self.template_cells(known, grid, settings).is_empty();
        if self.product.is_simple() {
            if !self.parts.is_empty() {
                return Err(refusal(
                    "variants_to_simple",
                    "Odoo's product has variants and this record has none: archive it there and create a new one",
                ));
            }
            let stages = changes_template.then_some(Stage::Template).into_iter();
            return Ok(stages.chain(self.picture()).collect());
        }
        let mut stages: BTreeSet<Stage> = self.picture().into_iter().collect();
        if self.template.is_none() {
            stages.extend([Stage::Attributes, Stage::Template, Stage::NewVariants]);
        } else {
            self.require_ownership(known)?;
            if self.needs_lines(known) {
                stages.extend([Stage::Attributes, Stage::Template]);
            }
            if changes_template {
                stages.insert(Stage::Template);
            }
            if !self.changed_variants().is_empty() {
                stages.insert(Stage::Variants);
            }
            // Archiving the template archives its variants with it.
            let is_any_gone = !self.gone().is_empty() || !self.revived(known).is_empty();
            if is_any_gone && self.is_active() {
                stages.insert(Stage::Retire);
            }
            if self.has_new() {
                stages.insert(Stage::NewVariants);
            }
        }
        if self.changes_prices() && !self.changed_extras(known, grid).is_empty() {
            stages.insert(Stage::Extras);
        }
        Ok(stages)
    }

    /// Returns the call that makes the outermost category which the product needs and which is not there.
    fn category(&self, known: &Known) -> Result<Option<Draft>, Refusal> {
        let step = self.write.step;
        let missing = self
            .product
            .categories
            .first()
            .and_then(|path| known.categories.missing(path));
        let Some(missing) =
            missing.filter(|_| step <= LAST_CATEGORY && needs_categories(self.write, self.product))
        else {
            return Ok(None);
        };
        if step == LAST_CATEGORY {
            return Err(refusal(
                "categories_missing",
                "the product's category can't be made: it is too deep, or vanishes again",
            ));
        }
        let parent = missing.parent.map(|id| id.to_string()).unwrap_or_default();
        let cells = Cells::default()
            .with("id", &missing.external_id)
            .with("name", &missing.name)
            .with("parent_id/.id", &parent);
        let source = self
            .template
            .map_or(Source::Later, |id| Source::Known(id.to_owned()));
        let mut draft = Draft::single(category::MODEL, cells, source);
        draft.parts = self.parts.clone();
        draft.next = Some(Step(step.0 + 1));
        Ok(Some(draft))
    }

    /// Returns the call that makes the product's tags which are not there. They have no external id of ours: their names
    /// tell them apart, and one that was renamed is another one.
    fn tags(&self, known: &Known) -> Option<Draft> {
        let step = self.write.step;
        if step >= LAST_CATEGORY || !needs_tags(self.write, self.product) {
            return None;
        }
        let missing = self
            .product
            .tags
            .iter()
            .filter(|tag| !known.tags.contains_key(*tag));
        let rows: Vec<Cells> = missing.map(|tag| Cells::default().with("name", tag)).collect();
        if rows.is_empty() {
            return None;
        }
        let source = self
            .template
            .map_or(Source::Later, |id| Source::Known(id.to_owned()));
        let mut draft = Draft::of_cells(TAG, rows, source);
        draft.parts = self.parts.clone();
        draft.next = Some(Step(step.0 + 1));
        Some(draft)
    }

    /// A picture that went stays there: what is shown may be another by now.
    fn picture(&self) -> Option<Stage> {
        (self.changes("images") && !self.product.images.is_empty()).then_some(Stage::Picture)
    }

    /// A new variant can move the base from under the others.
    fn changes_prices(&self) -> bool {
        self.changes("price") || (!self.product.is_simple() && self.has_new())
    }

    fn needs_lines(&self, known: &Known) -> bool {
        self.template.is_none()
            || (self.write.step <= Stage::Template.step() && !self.missing_values(known).is_empty())
    }

    /// The attributes of a template that others made are theirs, and of a kind that makes variants by itself: ours
    /// can't be put beside them.
    fn require_ownership(&self, known: &Known) -> Result<(), Refusal> {
        let id = self.template.and_then(|id| id.parse::<i64>().ok());
        let is_ours = id.is_some_and(|id| known.ours.contains(&id));
        if !self.needs_lines(known) || is_ours {
            return Ok(());
        }
        let missing: Vec<String> = self
            .missing_values(known)
            .into_iter()
            .map(|(attribute, option)| format!("`{attribute}` = `{option}`"))
            .collect();
        Err(refusal(
            "attribute_values_missing",
            &format!(
                "this product was not made by Lockstep: add {} to its attributes in Odoo",
                missing.join(", ")
            ),
        ))
    }

    fn is_active(&self) -> bool {
        matches!(
            self.product.status,
            ProductStatus::Published | ProductStatus::Private
        )
    }

    /// Attribute values whose extra is not what it should be; one that is not there yet has none.
    fn changed_extras(&self, known: &Known, grid: &Grid) -> Vec<(Option<i64>, Decimal)> {
        let there: BTreeMap<price::Value, &ValueRow> = self
            .values(known)
            .iter()
            .map(|value| (value.value(), value))
            .collect();
        grid.extras
            .iter()
            .map(|(value, extra)| (there.get(value), *extra))
            .filter(|(row, extra)| row.map_or(Decimal::ZERO, |row| row.extra()) != *extra)
            .map(|(row, extra)| (row.map(|row| row.id), extra))
            .collect()
    }

    /// The template's cells that change, without those that name it.
    fn template_cells(&self, known: &Known, grid: &Grid, settings: &Settings) -> Cells {
        let product = self.product;
        let mut cells = Cells::default();
        if self.changes("name") {
            cells.put("name", &product.name);
        }
        if self.changes("kind") || self.changes("tracks_stock") {
            let is_service = product.kind == ProductKind::Service;
            if known.has_storable_kind {
                let kind = match (is_service, product.tracks_stock) {
                    (true, _) => "service",
                    (false, true) => "product",
                    (false, false) => "consu",
                };
                cells.put("detailed_type", kind);
            } else {
                cells.put("type", if is_service { "service" } else { "consu" });
                cells.put("is_storable", flag(product.tracks_stock && !is_service));
            }
        }
        if self.changes("categories") {
            let wanted = self.product.categories.first();
            let id = wanted.map_or(known.categories.all(), |path| known.categories.find(path));
            match id {
                Some(id) => cells.put("categ_id/.id", &id.to_string()),
                // An empty cell keeps the default away, which may be any category.
                None if known.may_lack_category => cells.put("categ_id/.id", ""),
                None => {}
            }
        }
        if self.changes("tags") {
            let ids = self.product.tags.iter().filter_map(|tag| known.tags.get(tag));
            let ids: Vec<String> = ids.map(i64::to_string).collect();
            cells.put("product_tag_ids/.id", &ids.join(","));
        }
        if self.changes("summary") {
            cells.put("description_sale", product.summary.as_deref().unwrap_or_default());
        }
        if self.changes("status") {
            cells.put("active", flag(self.is_active()));
            if self.template.is_none() || self.is_active() {
                cells.put("sale_ok", flag(product.status == ProductStatus::Published));
            }
        }
        if self.changes_prices() {
            cells.put("list_price", &grid.base.normalize().to_string());
        }
        if let (true, Some(variant)) = (product.is_simple(), product.variants.first()) {
            self.put_variant(&mut cells, variant, settings);
        }
        cells
    }

    fn put_variant(&self, cells: &mut Cells, variant: &Variant, settings: &Settings) {
        if self.changes("sku") {
            cells.put("default_code", variant.sku.as_deref().unwrap_or_default());
        }
        if self.changes("barcode") {
            cells.put("barcode", variant.barcode.as_deref().unwrap_or_default());
        }
        if self.changes("weight_kg") {
            cells.put("weight", &weight(variant, settings));
        }
    }
}

/// A product without a weight weighs 0 there.
fn weight(variant: &Variant, settings: &Settings) -> String {
    let weight = variant
        .weight_kg
        .map(|weight| from_kilograms(weight, settings.weight_unit));
    weight.unwrap_or_default().to_string()
}

/// Builds the rows of one stage.
struct Builder<'a> {
    task: &'a Task<'a>,
    known: &'a Known,
    grid: &'a Grid,
    settings: &'a Settings,
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
    fn attributes(&self) -> Draft {
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

    fn template(&self) -> Draft {
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

    fn variants(&self) -> Draft {
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

    fn retire(&self) -> Draft {
        let gone = self.task.gone();
        let rows = gone
            .iter()
            .map(|id| Cells::default().with(".id", id).with("active", flag(false)));
        let mut draft = Draft::of_cells("product.product", rows.collect(), self.known_source());
        draft.parts = self.task.kept();
        draft
    }

    fn new_variants(&self) -> Result<Draft, Refusal> {
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

    fn extras(&self) -> Draft {
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

    fn picture(&self) -> Draft {
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

#[cfg(test)]
mod tests {
    use lockstep_shared::entity::Content;
    use lockstep_shared::id::{ItemId, RecordId};
    use serde_json::{Value, json};

    use super::super::product::tests::product;
    use super::*;

    fn write(action: Action, content: &Value, step: u8) -> Write {
        Write {
            item: ItemId::random(),
            record: RecordId::random(),
            action,
            content: Content::Product(product(content)),
            step: Step(step),
            links: std::sync::Arc::default(),
        }
    }

    fn update(parts: &[(&str, &str)], changed: &[&str]) -> Action {
        let key = |text: &str| serde_json::from_value(json!(text)).unwrap();
        Action::Update {
            external_id: "9".to_owned(),
            parts: parts.iter().map(|(k, id)| (key(k), (*id).to_owned())).collect(),
            changed: changed.iter().map(|path| (*path).to_owned()).collect(),
        }
    }

    fn plan(write: &Write, known: &Known) -> Result<Option<Draft>, Refusal> {
        let Content::Product(product) = &write.content else {
            panic!("a product")
        };
        draft(write, product, known, &Settings::default())
    }

    fn simple() -> Value {
        json!({
            "name": "Beanie", "tracks_stock": true, "summary": "Warm",
            "variants": [{"sku": "B-1", "weight_kg": "0.2", "price": {"amount": "20", "currency": "USD"}}]
        })
    }

    fn variable(amounts: &[(&str, &str)]) -> Value {
        let variants: Vec<Value> = amounts
            .iter()
            .map(|(option, amount)| {
                json!({
                    "attributes": [{"name": "Color", "option": option}], "sku": format!("V-{option}"),
                    "price": {"amount": amount, "currency": "USD"}
                })
            })
            .collect();
        json!({"name": "Tee", "variants": variants})
    }

    fn known(options: &[(&str, f64)]) -> Known {
        let values = options.iter().zip(1..).map(|((option, extra), id)| {
            serde_json::from_value(json!({
                "id": id, "product_tmpl_id": [9, "Tee"], "attribute_id": [1, "Color"], "name": option,
                "price_extra": extra
            }))
            .unwrap()
        });
        Known {
            values: BTreeMap::from([(9, values.collect())]),
            ours: BTreeSet::from([9]),
            archived: BTreeMap::new(),
            categories: Tree::default(),
            tags: BTreeMap::new(),
            may_lack_category: true,
            has_storable_kind: false,
        }
    }

    fn cell<'a>(draft: &'a Draft, row: usize, field: &str) -> &'a str {
        let column = draft.fields.iter().position(|name| name == field).unwrap();
        &draft.rows[row].cells[column]
    }

    #[test]
    fn a_simple_product_is_made_in_one_call() {
        let write = write(Action::Create, &simple(), 0);

        let draft = plan(&write, &Known::default()).unwrap().unwrap();

        assert_eq!(draft.model, "product.template");
        assert_eq!(draft.next, None);
        assert_eq!(cell(&draft, 0, "id"), name::template(write.record));
        assert_eq!(
            [
                "name",
                "list_price",
                "weight",
                "type",
                "is_storable",
                "active",
                "sale_ok",
                "taxes_id"
            ]
            .map(|field| cell(&draft, 0, field)),
            ["Beanie", "20", "0.2", "consu", "1", "1", "1", ""]
        );
    }

    #[test]
    fn an_update_writes_the_changed_columns_alone() {
        let write = write(update(&[], &["name", "variants//price"]), &simple(), 0);

        let draft = plan(&write, &Known::default()).unwrap().unwrap();

        assert_eq!(draft.fields, [".id", "name", "list_price"]);
        assert_eq!(draft.rows[0].cells, ["9", "Beanie", "20"]);
        assert_eq!(draft.external_id, Source::Known("9".to_owned()));
    }

    #[test]
    fn a_delete_archives() {
        let write = write(
            Action::Delete {
                external_id: "9".to_owned(),
            },
            &simple(),
            0,
        );

        let draft = plan(&write, &Known::default()).unwrap().unwrap();

        assert_eq!(draft.fields, [".id", "active"]);
        assert_eq!(draft.rows[0].cells, ["9", "0"]);
    }

    #[test]
    fn an_update_to_archived_leaves_sale_ok() {
        let mut content = simple();
        content["status"] = json!("archived");
        let write = write(update(&[], &["status"]), &content, 0);

        let draft = plan(&write, &Known::default()).unwrap().unwrap();

        assert_eq!(draft.fields, [".id", "active"]);
    }

    #[test]
    fn a_product_with_variants_is_made_step_by_step() {
        let content = variable(&[("Blue", "12"), ("Red", "10")]);
        let create = |step| write(Action::Create, &content, step);

        let first = plan(&create(0), &Known::default()).unwrap().unwrap();
        assert_eq!(
            (first.model, first.next),
            ("product.attribute", Some(Stage::Template.step()))
        );
        assert_eq!(first.external_id, Source::Later);
        assert_eq!(first.rows.len(), 2);
        assert!(!first.rows[1].is_head);

        let second = plan(&create(9), &Known::default()).unwrap().unwrap();
        assert_eq!(
            (second.model, second.next),
            ("product.template", Some(Stage::NewVariants.step()))
        );
        assert_eq!(second.external_id, Source::Record(0));
        assert_eq!(cell(&second, 0, "list_price"), "10");
        assert_eq!(
            cell(&second, 0, "attribute_line_ids/value_ids/id")
                .split(',')
                .count(),
            2
        );

        let all = [
            "name",
            "status",
            "variants/color=blue/price",
            "variants/color=red/price",
        ];
        let known = known(&[("Blue", 0.0), ("Red", 0.0)]);
        let third = plan(&write(update(&[], &all), &content, 12), &known)
            .unwrap()
            .unwrap();
        assert_eq!(
            (third.model, third.next),
            ("product.product", Some(Stage::Extras.step()))
        );
        assert_eq!(third.made.len(), 2);
        assert_eq!(cell(&third, 0, "product_tmpl_id/.id"), "9");
        assert_eq!(cell(&third, 0, "product_template_attribute_value_ids/.id"), "1");

        let parts = [("color=blue", "21"), ("color=red", "22")];
        let fourth = plan(&write(update(&parts, &all), &content, 13), &known)
            .unwrap()
            .unwrap();
        assert_eq!(fourth.model, "product.template.attribute.value");
        assert_eq!(fourth.next, None);
        assert_eq!(fourth.rows.len(), 1);
        assert_eq!(fourth.rows[0].cells, ["1", "2"]);
    }

    #[test]
    fn extras_that_are_right_take_no_call() {
        let content = variable(&[("Blue", "10"), ("Red", "10")]);
        let known = known(&[("Blue", 0.0), ("Red", 0.0)]);

        let draft = plan(&write(update(&[], &["name"]), &content, 12), &known)
            .unwrap()
            .unwrap();

        assert_eq!(draft.next, None);
    }

    #[test]
    fn a_variants_fields_go_by_its_own_id() {
        let content = variable(&[("Blue", "10"), ("Red", "10")]);
        let parts = [("color=blue", "21"), ("color=red", "22")];
        let write = write(update(&parts, &["variants/color=red/sku"]), &content, 0);

        let draft = plan(&write, &Known::default()).unwrap().unwrap();

        assert_eq!(draft.model, "product.product");
        assert_eq!(draft.fields, [".id", "default_code"]);
        assert_eq!(draft.rows.len(), 1);
        assert_eq!(draft.rows[0].cells, ["22", "V-Red"]);
        assert_eq!(draft.parts.len(), 2);
    }

    #[test]
    fn a_variant_that_went_is_archived() {
        let content = variable(&[("Blue", "10")]);
        let parts = [("color=blue", "21"), ("color=red", "22")];
        let write = write(update(&parts, &["variants/color=red/attributes"]), &content, 0);

        let draft = plan(&write, &Known::default()).unwrap().unwrap();

        assert_eq!(draft.rows.len(), 1);
        assert_eq!(draft.rows[0].cells, ["22", "0"]);
        assert_eq!(draft.parts.len(), 1);
    }

    #[test]
    fn a_new_option_keeps_the_options_that_are_there() {
        let content = variable(&[("Blue", "10"), ("Green", "10")]);
        let parts = [("color=blue", "21")];
        let changed = ["variants/color=green/attributes", "variants/color=green/price"];
        let known = known(&[("Blue", 0.0), ("Old", 0.0)]);

        let first = plan(&write(update(&parts, &changed), &content, 0), &known)
            .unwrap()
            .unwrap();
        let second = plan(&write(update(&parts, &changed), &content, 9), &known)
            .unwrap()
            .unwrap();

        assert_eq!(first.rows.len(), 3);
        assert_eq!(
            cell(&second, 0, "attribute_line_ids/value_ids/id")
                .split(',')
                .count(),
            3
        );
        assert_eq!(second.fields[0], "id");
    }

    #[test]
    fn a_new_option_on_a_template_of_others_is_refused() {
        let content = variable(&[("Blue", "10"), ("Green", "10")]);
        let changed = ["variants/color=green/attributes"];
        let mut known = known(&[("Blue", 0.0)]);
        known.ours.clear();
        let write = write(update(&[("color=blue", "21")], &changed), &content, 0);

        let refusal = plan(&write, &known).unwrap_err();

        assert_eq!(refusal.code, "attribute_values_missing");
        assert!(
            refusal.message.contains("`color` = `green`"),
            "{}",
            refusal.message
        );
    }

    #[test]
    fn a_new_combination_of_known_options_needs_no_ownership() {
        let content = variable(&[("Blue", "10"), ("Red", "10")]);
        let mut known = known(&[("Blue", 0.0), ("Red", 0.0)]);
        known.ours.clear();
        let changed = ["variants/color=red/attributes"];
        let write = write(update(&[("color=blue", "21")], &changed), &content, 10);

        let draft = plan(&write, &known).unwrap().unwrap();

        assert_eq!(draft.made.len(), 1);
    }

    #[test]
    fn variants_do_not_become_a_simple_product() {
        let write = write(update(&[("color=blue", "21")], &["name"]), &simple(), 0);

        assert_eq!(
            plan(&write, &Known::default()).unwrap_err().code,
            "variants_to_simple"
        );
    }

    #[test]
    fn categories_are_made_from_the_outermost_inwards_and_then_the_product() {
        let mut content = simple();
        content["categories"] = json!([["Clothing", "Hats"]]);
        let create = |step| write(Action::Create, &content, step);
        let rows = json!([{"id": 4, "name": "Clothing", "parent_id": false}]);
        let mut known = Known {
            may_lack_category: true,
            has_storable_kind: false,
            ..Known::default()
        };

        let outer = plan(&create(0), &known).unwrap().unwrap();
        known.categories = Tree::new(serde_json::from_value(rows).unwrap());
        let inner = plan(&create(1), &known).unwrap().unwrap();
        let rows = json!([
            {"id": 4, "name": "Clothing", "parent_id": false}, {"id": 7, "name": "Hats", "parent_id": [4, "Clothing"]}
        ]);
        known.categories = Tree::new(serde_json::from_value(rows).unwrap());
        let last = plan(&create(2), &known).unwrap().unwrap();

        assert_eq!((outer.model, outer.next), ("product.category", Some(Step(1))));
        assert_eq!(outer.external_id, Source::Later);
        assert_eq!(
            [cell(&outer, 0, "name"), cell(&outer, 0, "parent_id/.id")],
            ["Clothing", ""]
        );
        assert_eq!(
            [cell(&inner, 0, "name"), cell(&inner, 0, "parent_id/.id")],
            ["Hats", "4"]
        );
        assert_eq!((last.model, last.next), ("product.template", None));
        assert_eq!(cell(&last, 0, "categ_id/.id"), "7");
    }

    #[test]
    fn a_product_without_a_category_is_given_none() {
        let mut known = Known {
            may_lack_category: true,
            has_storable_kind: false,
            ..Known::default()
        };
        let write = write(update(&[], &["categories"]), &simple(), 0);
        let cell_of = |known: &Known| {
            let draft = plan(&write, known).unwrap();
            draft.map(|draft| cell(&draft, 0, "categ_id/.id").to_owned())
        };

        assert_eq!(cell_of(&known).as_deref(), Some(""));
        known.may_lack_category = false;
        assert_eq!(cell_of(&known), None);
        let rows = json!([{"id": 1, "name": "All", "parent_id": false}]);
        known.categories = Tree::new(serde_json::from_value(rows).unwrap());
        assert_eq!(cell_of(&known).as_deref(), Some("1"));
    }

    #[test]
    fn tags_that_are_not_there_are_made_and_all_are_put_on() {
        let mut content = simple();
        content["tags"] = json!(["New", "Old"]);
        let mut known = Known {
            tags: [("Old".to_owned(), 3)].into(),
            ..Known::default()
        };

        let first = plan(&write(Action::Create, &content, 0), &known)
            .unwrap()
            .unwrap();
        known.tags.insert("New".to_owned(), 7);
        let second = plan(&write(Action::Create, &content, 1), &known)
            .unwrap()
            .unwrap();

        assert_eq!((first.model, first.next), ("product.tag", Some(Step(1))));
        assert_eq!(
            first.rows.iter().map(|row| &row.cells[0]).collect::<Vec<_>>(),
            ["New"]
        );
        assert_eq!(cell(&second, 0, "product_tag_ids/.id"), "7,3");
        let without = plan(&write(update(&[], &["tags"]), &simple(), 0), &known);
        let without = without.unwrap().unwrap();
        assert_eq!(without.rows[0].cells, ["9", ""]);
    }

    #[test]
    fn a_picture_comes_last_and_is_not_expected_back() {
        let mut content = simple();
        content["images"] = json!(["https://cdn.example.com/a.png"]);

        let first = plan(&write(Action::Create, &content, 0), &Known::default());
        let first = first.unwrap().unwrap();
        let second = plan(
            &write(update(&[], &["name", "images"]), &content, 14),
            &Known::default(),
        );
        let second = second.unwrap().unwrap();

        assert_eq!(first.next, Some(Stage::Picture.step()));
        assert_eq!(second.fields, [".id", "image_1920"]);
        assert_eq!(second.rows[0].cells, ["9", "https://cdn.example.com/a.png"]);
        assert_eq!(second.next, None);
        let held = second.held.unwrap().content().unwrap();
        assert_eq!(held, Content::Product(product(&simple())));
        assert_eq!(
            plan(&write(update(&[], &["images"]), &simple(), 0), &Known::default()),
            Ok(None)
        );
    }

    #[test]
    fn nothing_changed_takes_no_call() {
        let write = write(update(&[], &["description"]), &simple(), 0);

        assert_eq!(plan(&write, &Known::default()).unwrap(), None);
    }
}
