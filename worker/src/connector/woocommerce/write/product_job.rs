//! What a product needs: itself, its place among categories and tags, its variations, its pictures.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{Content, PartKey, Product};
use serde_json::{Value, json};

use super::super::category::{Missing, Tree};
use super::super::product::{Body, Fields};
use super::super::tag::Words;
use super::super::{BATCH_LIMIT, category, image, product, tag, wire};
use super::request::batch_body;
use super::{Current, Job, Slot, Terms};
use crate::connector::{Action, Parts, Step, Write};

/// The first call for a product's variations. Those before it make categories, one level of the tree each, and then the
/// product itself.
pub(super) const VARIATIONS: Step = Step(16);

/// The last call before it, which can't be one more for categories.
const LAST_PREPARATION: Step = Step(15);

/// The first call for a product's pictures, after all others.
pub(super) const IMAGES: Step = Step(64);

/// Returns the product that an update can't be planned for without a look at it.
pub(super) fn needs_current(write: &Write) -> Option<(&Product, &String, &Parts)> {
    let (
        Content::Product(product),
        Action::Update {
            external_id,
            parts,
            changed,
        },
    ) = (&write.content, &write.action)
    else {
        return None;
    };
    let has_variations = !product.is_simple() || !parts.is_empty();
    let touches_them = changed.iter().any(|path| {
        path.starts_with("variants/") || matches!(path.as_str(), "kind" | "tracks_stock" | "status")
    });
    let needs_variations = has_variations && (touches_them || write.step > Step::default());
    let needs_it = needs_variations || is_about_categories(write) || is_about_images(write);
    needs_it.then_some((product, external_id, parts))
}

/// Says whether a write needs the tree of categories: it goes into some, or out of some.
pub(super) fn is_about_categories(write: &Write) -> bool {
    let Content::Product(product) = &write.content else {
        return false;
    };
    match &write.action {
        _ if write.step >= VARIATIONS => false,
        Action::Create => !product.categories.is_empty(),
        Action::Update { changed, .. } => changed.contains("categories"),
        Action::Delete { .. } => false,
    }
}

/// Says whether a write needs the store's tags: it puts some on a product, or takes some off.
pub(super) fn is_about_tags(write: &Write) -> bool {
    let Content::Product(product) = &write.content else {
        return false;
    };
    match &write.action {
        _ if write.step >= VARIATIONS => false,
        Action::Create => !product.tags.is_empty(),
        Action::Update { changed, .. } => changed.contains("tags"),
        Action::Delete { .. } => false,
    }
}

/// Says whether a write is about a product's pictures.
fn is_about_images(write: &Write) -> bool {
    let Content::Product(product) = &write.content else {
        return false;
    };
    match &write.action {
        Action::Create => !product.images.is_empty(),
        Action::Update { changed, .. } => changed.contains("images"),
        Action::Delete { .. } => false,
    }
}

pub(super) fn has_all(product: &Product, current: &Current) -> bool {
    let keys: BTreeSet<PartKey> = current.variations.iter().map(product::key_of).collect();
    product
        .variants
        .iter()
        .all(|variant| keys.contains(&variant.key()))
}

/// What is known of the store when products are planned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Store<'a> {
    pub(super) current: &'a BTreeMap<u64, Current>,
    pub(super) tree: &'a Tree,
    pub(super) words: &'a Words,
    pub(super) settings: &'a Settings,
}

/// The categories or tags of a product that is written.
enum Placing {
    /// All are there.
    Known(BTreeSet<u64>),
    /// Those that are missing, of categories the outermost: those inside them need their ids.
    Missing(BTreeSet<Missing>),
}

fn placing(found: impl Iterator<Item = Result<u64, Missing>>) -> Placing {
    let (mut known, mut missing) = (BTreeSet::new(), BTreeSet::new());
    for one in found {
        match one {
            Ok(id) => known.insert(id),
            Err(name) => missing.insert(name),
        };
    }
    if missing.is_empty() {
        Placing::Known(known)
    } else {
        Placing::Missing(missing)
    }
}

/// The fields that put a product into its categories and its tags on it.
#[derive(Clone, Debug, Default)]
struct Placed {
    body: Body,
    /// The product as the store spells these, where it spells them otherwise.
    held: Option<Value>,
}

/// Finds a product's categories and tags, or returns the job that makes what is missing.
fn placed(
    write: &Write,
    product: &Product,
    store: Store<'_>,
    known: (&str, &Parts),
) -> Result<Placed, Box<Job>> {
    let (external_id, parts) = known;
    let prepare = |of, missing: BTreeSet<Missing>| {
        if write.step >= LAST_PREPARATION {
            return Box::new(Job::refused(
                "categories_missing",
                "the product's categories or tags can't be made: they are too many, or vanish again",
            ));
        }
        Box::new(Job::Prepare {
            of,
            external_id: external_id.to_owned(),
            parts: parts.clone(),
            missing: missing.into_iter().take(BATCH_LIMIT).collect(),
            next: Step(write.step.0 + 1),
        })
    };
    let mut body = Body::new();
    let mut spelt = product.clone();
    if is_about_categories(write) {
        let ids = match placing(product.categories.iter().map(|path| store.tree.find(path))) {
            Placing::Missing(missing) => return Err(prepare(Terms::Categories, missing)),
            Placing::Known(ids) => ids,
        };
        let id = external_id.parse().unwrap_or_default();
        let current = store.current.get(&id).map(|current| &current.product);
        body = category::body(&ids, current, store.settings);
        spelt.categories = store.tree.spelt(&ids);
    }
    if is_about_tags(write) {
        let ids = match placing(product.tags.iter().map(|name| store.words.find(name))) {
            Placing::Missing(missing) => return Err(prepare(Terms::Tags, missing)),
            Placing::Known(ids) => ids,
        };
        body.insert("tags".to_owned(), tag::body(&ids));
        spelt.tags = store.words.spelt(&ids);
    }
    let held = respelt(product, spelt);
    Ok(Placed { body, held })
}

pub(super) fn product_job(write: &Write, store: Store<'_>) -> Job {
    let Content::Product(product) = &write.content else {
        return Job::refused("wrong_type", "this is no product");
    };
    let (external_id, parts) = match &write.action {
        Action::Create => (String::new(), Parts::new()),
        Action::Update {
            external_id, parts, ..
        } => (external_id.clone(), parts.clone()),
        Action::Delete { external_id } => return trash(external_id),
    };
    let Placed { body: placing, held } = match placed(write, product, store, (&external_id, &parts)) {
        Ok(placed) => placed,
        Err(job) => return *job,
    };
    let last = is_about_images(write).then_some(IMAGES);
    match &write.action {
        Action::Create if write.step < VARIATIONS => Job::Create(
            product::create_body(product, write.record, store.settings, placing),
            Slot::Created {
                next: (!product.is_simple()).then_some(VARIATIONS).or(last),
                held,
            },
        ),
        Action::Create | Action::Delete { .. } => Job::refused(
            "no_parent",
            "variations can only be added to a product that is known",
        ),
        Action::Update {
            external_id,
            parts,
            changed,
        } => {
            let Ok(id) = external_id.parse::<u64>() else {
                return Job::missing();
            };
            let update = Update {
                product,
                id,
                fields: Fields::Only(changed),
                parts,
                step: write.step,
                placing: &placing,
                held: held.as_ref(),
                last,
                settings: store.settings,
            };
            let current = store.current.get(&id);
            match current {
                Some(current) if write.step >= IMAGES => update.images(current, parts.clone()),
                Some(current) if needs_current(write).is_some() => update.with_current(current, changed),
                None if needs_current(write).is_some() => Job::missing(),
                Some(_) | None => update.alone(parts, None),
            }
        }
    }
}

/// Returns the product as the store spells its categories and tags, where it spells them otherwise.
fn respelt(product: &Product, spelt: Product) -> Option<Value> {
    let held = Content::Product(spelt).canonical().ok()?;
    (held != Content::Product(product.clone())).then(|| held.to_json())
}

/// A `delete` in a batch is for good; the status `trash` is not (facts/mapping-woocommerce.md §1, «Status»).
fn trash(external_id: &str) -> Job {
    let Ok(id) = external_id.parse::<u64>() else {
        return Job::missing();
    };
    let mut body = Body::new();
    body.insert("id".to_owned(), json!(id));
    body.insert("status".to_owned(), json!("trash"));
    Job::Update(
        body,
        Slot::Trashed {
            external_id: external_id.to_owned(),
        },
    )
}

/// An update of one product.
#[derive(Clone, Copy, Debug)]
struct Update<'a> {
    product: &'a Product,
    id: u64,
    fields: Fields<'a>,
    /// The variations that were known before.
    parts: &'a Parts,
    step: Step,
    /// The fields that put it into categories, and tags on it.
    placing: &'a Body,
    held: Option<&'a Value>,
    /// The call that is made after all others.
    last: Option<Step>,
    settings: &'a Settings,
}

impl Update<'_> {
    /// Plans what needs no look at the product: all of a simple one, the texts of a variable one.
    fn alone(self, parts: &Parts, current: Option<&Current>) -> Job {
        let mut body = product::text_fields(self.product, self.fields);
        body.append(&mut self.placing.clone());
        let only = self
            .product
            .variants
            .first()
            .filter(|_| self.product.is_simple() && parts.is_empty());
        if let Some(variant) = only {
            body.append(&mut product::variant_fields(variant, self.fields, self.settings));
            body.append(&mut product::stock_fields(self.product, self.fields));
        }
        match current {
            Some(current) if body.is_empty() => self.images(current, parts.clone()),
            Some(_) | None => self.update(body, parts.clone(), self.last),
        }
    }

    /// Plans the next call for its pictures, if it is about these.
    fn images(self, current: &Current, parts: Parts) -> Job {
        let external_id = self.id.to_string();
        let change = self
            .last
            .and_then(|_| image::change(&self.product.images, &current.product));
        let Some(mut change) = change else {
            return Job::Nothing(Slot::Done { external_id, parts });
        };
        if self.step == Step(u8::MAX) {
            return Job::refused(
                "too_many_pictures",
                "the product has more pictures than can be fetched",
            );
        }
        change.body.insert("id".to_owned(), json!(self.id));
        let next = (change.fetched > 0).then(|| Step(self.step.max(IMAGES).0 + 1));
        let slot = Slot::Updated {
            external_id,
            parts,
            next,
            held: None,
        };
        if change.fetched > 0 {
            Job::Fetch(change.body, slot, change.fetched)
        } else {
            Job::Update(change.body, slot)
        }
    }

    fn with_current(self, current: &Current, paths: &BTreeSet<String>) -> Job {
        let is_variable = current.product.is_variable();
        match (self.product.is_simple(), is_variable) {
            (true, false) => return self.alone(&Parts::new(), Some(current)),
            (true, true) if !has_all(self.product, current) => {
                let message =
                    "it has variations in the store and none here: WooCommerce can't take them away from it";
                return Job::refused("variable_to_simple", message);
            }
            // The types of plugins too: what they would lose is not ours to know.
            (false, false) if current.product.type_name != "simple" => {
                let message = format!(
                    "it is of the type `{}`, which has no variations",
                    current.product.type_name
                );
                return Job::refused("unfit_type", &message);
            }
            (true | false, _) => {}
        }
        let changes = self.variations(current, paths);
        if self.step < VARIATIONS {
            let body = self.parent(current);
            // What comes back from the trash comes without its variations.
            let is_followed = !is_variable || current.product.is_trashed() || !changes.is_empty();
            if !body.is_empty() {
                let next = is_followed.then_some(VARIATIONS).or(self.last);
                return self.update(body, changes.parts, next);
            }
        }
        if changes.is_empty() {
            return self.images(current, changes.parts);
        }
        changes.into_job(self)
    }

    /// Returns what changes in the parent of variations.
    fn parent(self, current: &Current) -> Body {
        let mut body = product::text_fields(self.product, self.fields);
        body.append(&mut self.placing.clone());
        let present = &current.product.attributes;
        if !product::has_options(present, self.product) {
            let attributes = product::with_options(present, self.product);
            body.insert("attributes".to_owned(), Value::Array(attributes));
        }
        if !current.product.is_variable() {
            // What it was known by goes to a variation, which could not have the same SKU (facts/mapping-woocommerce.md
            // §1); the price goes by itself, and weight and measures would be inherited.
            body.insert("type".to_owned(), json!("variable"));
            body.insert("dimensions".to_owned(), product::measures(None));
            for field in ["sku", "global_unique_id", "weight"] {
                body.insert(field.to_owned(), json!(""));
            }
            body.insert("manage_stock".to_owned(), json!(false));
        } else if self.fields.has("tracks_stock")
            && !self.product.tracks_stock
            && current.product.manage_stock
        {
            body.insert("manage_stock".to_owned(), json!(false));
        }
        body
    }

    fn update(self, mut body: Body, parts: Parts, next: Option<Step>) -> Job {
        let external_id = self.id.to_string();
        if body.is_empty() {
            return Job::Nothing(Slot::Done { external_id, parts });
        }
        body.insert("id".to_owned(), json!(self.id));
        Job::Update(
            body,
            Slot::Updated {
                external_id,
                parts,
                next,
                held: self.held.cloned(),
            },
        )
    }

    /// Compares the variations with the variants they should be.
    fn variations(self, current: &Current, paths: &BTreeSet<String>) -> Changes {
        let mut changes = Changes::default();
        let (matches, rest) = matched(self.product, current);
        for (variant, variation) in self.product.variants.iter().zip(matches) {
            let key = variant.key();
            let Some(variation) = variation else {
                let mut body = self.whole_variation(variant, current);
                body.retain(|_, value| !product::is_blank(value));
                changes.create.push((key, Value::Object(body)));
                continue;
            };
            changes.parts.insert(key.clone(), variation.id.to_string());
            let is_same = product::is_live(variation, &current.product) && product::key_of(variation) == key;
            let body = if is_same {
                self.difference(variant, variation, current)
            } else {
                self.whole_variation(variant, current)
            };
            changes.change(variation.id, body);
        }
        let gone = gone_keys(self.product, paths);
        for variation in rest
            .into_iter()
            .filter(|variation| product::is_live(variation, &current.product))
        {
            let key = product::key_of(variation);
            if gone.contains(key.as_str()) || self.has_lost(&key) {
                changes.change(
                    variation.id,
                    Body::from_iter([("status".to_owned(), json!("private"))]),
                );
            }
        }
        changes
    }

    /// Says whether a variation of ours is no variant any more. Only the first step is told what changes; those that
    /// follow know it by the parts. A variation that is neither is the shop's own.
    fn has_lost(self, key: &PartKey) -> bool {
        self.step >= VARIATIONS && self.parts.contains_key(key)
    }

    fn whole_variation(self, variant: &lockstep_shared::entity::Variant, current: &Current) -> Body {
        let mut body = product::variant_fields(variant, Fields::All, self.settings);
        body.append(&mut product::stock_fields(self.product, Fields::All));
        let attributes = product::variation_attributes(&current.product.attributes, variant);
        body.insert("attributes".to_owned(), attributes);
        body.insert("status".to_owned(), json!("publish"));
        body
    }

    /// Returns the changed fields in which a variation is not yet what it should be.
    fn difference(
        self,
        variant: &lockstep_shared::entity::Variant,
        variation: &wire::Variation,
        current: &Current,
    ) -> Body {
        let mut body = product::variant_fields(variant, self.fields, self.settings);
        let held = product::variation_fields(variation, &current.product, self.settings);
        body.retain(|name, value| held.get(name) != Some(value));
        let mut stock = product::stock_fields(self.product, self.fields);
        let (is_virtual, manages) = (json!(variation.is_virtual), json!(variation.manage_stock));
        stock.retain(|name, value| *value != if name == "virtual" { &is_virtual } else { &manages }.clone());
        body.append(&mut stock);
        body
    }
}

/// Finds each variant's variation: the one with its attributes, in use if there is one, or else the one with its SKU,
/// which keeps it when it is out of use. Also returns the variations that are no variant's.
fn matched<'a>(
    product: &Product,
    current: &'a Current,
) -> (Vec<Option<&'a wire::Variation>>, Vec<&'a wire::Variation>) {
    let mut rest: Vec<&wire::Variation> = current.variations.iter().collect();
    rest.sort_by_key(|variation| (!product::is_live(variation, &current.product), variation.id));
    let mut take = |is_it: &dyn Fn(&wire::Variation) -> bool| {
        let position = rest.iter().position(|variation| is_it(variation))?;
        Some(rest.remove(position))
    };
    let mut matches: Vec<Option<&wire::Variation>> = product
        .variants
        .iter()
        .map(|variant| {
            let key = variant.key();
            take(&|variation| product::key_of(variation) == key)
        })
        .collect();
    for (variant, found) in product.variants.iter().zip(&mut matches) {
        if let (None, Some(sku)) = (&found, &variant.sku) {
            let sku = sku.to_lowercase();
            *found = take(&|variation| variation.sku.to_lowercase() == sku);
        }
    }
    (matches, rest)
}

/// Returns the keys of variants that the product had and is to lose.
fn gone_keys<'a>(product: &Product, changed: &'a BTreeSet<String>) -> BTreeSet<&'a str> {
    let kept: BTreeSet<PartKey> = product
        .variants
        .iter()
        .map(lockstep_shared::entity::Variant::key)
        .collect();
    let named = changed
        .iter()
        .filter_map(|path| path.strip_prefix("variants/")?.rsplit_once('/'));
    named
        .map(|(key, _)| key)
        .filter(|key| !kept.iter().any(|kept| kept.as_str() == *key))
        .collect()
}

/// What has to happen to one product's variations.
#[derive(Clone, Debug, Default)]
struct Changes {
    create: Vec<(PartKey, Value)>,
    update: Vec<Value>,
    parts: Parts,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty()
    }

    fn change(&mut self, id: u64, mut body: Body) {
        if !body.is_empty() {
            body.insert("id".to_owned(), json!(id));
            self.update.push(Value::Object(body));
        }
    }

    /// Takes as much as one call carries; what is left is found again by the next step's look.
    fn into_job(mut self, update: Update<'_>) -> Job {
        let external_id = update.id.to_string();
        let next = match update.step {
            step if step < VARIATIONS => VARIATIONS,
            step => Step(step.0.saturating_add(1)),
        };
        let is_more = self.create.len() + self.update.len() > BATCH_LIMIT;
        self.create.truncate(BATCH_LIMIT);
        self.update.truncate(BATCH_LIMIT - self.create.len());
        let (created, create): (Vec<PartKey>, Vec<Value>) = self.create.into_iter().unzip();
        let slot = Slot::Varied {
            parts: self.parts,
            created,
            updated: self.update.len(),
            next: is_more.then_some(next).or(update.last),
            external_id,
        };
        Job::Own {
            path: format!("products/{}/variations/batch", update.id),
            body: batch_body(create, self.update, Vec::new()),
            slot,
        }
    }
}
