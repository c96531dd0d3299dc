//! Writing products: which calls one product needs, in which order, and their rows. Pure.
//!
//! Source: facts/mapping-odoo.md §1. A simple product lives on its template alone, whose single variant Odoo keeps by
//! itself. One with variants takes a call each for its attributes, its template, its variants and their price extras:
//! its attributes are of the `dynamic` kind, so that Odoo makes no variant that we did not ask for.
//!
//! A picture comes last and by itself, as the address from which it is fetched when it is sent. What Odoo makes of it has
//! no address, so it is never read back: the remote's side of what is agreed on has no picture, and ours changes when the
//! address does.

mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{PartKey, Product, ProductKind, ProductStatus, Variant};
use rust_decimal::Decimal;

use self::rows::Builder;
use super::super::{Action, Parts, Refusal, Step, Write};
use super::category::{self, Tree};
use super::load::Source;
use super::price::{self, Grid};
use super::product::{TAG, ValueRow, from_kilograms};
use super::write::{Cells, Draft};

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
