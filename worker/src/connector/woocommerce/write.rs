//! Writing: which request carries what, and what its answer means for each write.
//!
//! Products and customers go into batches of any. Categories and tags that a product needs are made before it, level by
//! level. A variable product takes further calls: its variations have a batch of their own, one per parent. Pictures come
//! last and a few per call, because the store fetches them before it answers, and what can't be fetched must not keep the
//! rest back (facts/mapping-woocommerce.md §1).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{Content, Customer, PartKey, Product};
use lockstep_shared::system::EntityType;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::category::{Missing, Tree};
use super::customer::{Copied, Welcome};
use super::error::{self, ItemError, Kind};
use super::product::{Body, Fields};
use super::tag::Words;
use super::{BATCH_LIMIT, SYSTEM, WooCommerce, category, customer, image, product, tag, wire};
use crate::connector::{Action, CallError, Gate, Outcome, Parts, Refusal, Request, Step, Write};

/// What [`WooCommerce::send_call`] needs to send a request and to read its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Call {
    /// `None` where nothing is to be sent: every outcome is known.
    path: Option<String>,
    body: Value,
    /// One per write, in their order.
    slots: Vec<Slot>,
}

/// Where a write stands in a batch, and what it comes to when it is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Slot {
    /// Not sent: it can't be done.
    Refused(Refusal),
    /// Not sent: it is so already.
    Done { external_id: String, parts: Parts },
    /// The next of `create`.
    Created {
        next: Option<Step>,
        /// What the store makes of it, where that is known and something else.
        held: Option<Value>,
    },
    /// The next of `update`.
    Updated {
        external_id: String,
        parts: Parts,
        next: Option<Step>,
        held: Option<Value>,
    },
    /// Some of `create`, by their places: categories or tags that a product needs before it can be given them. Of a
    /// request that has one of these, all are.
    Prepared {
        external_id: String,
        parts: Parts,
        terms: Vec<usize>,
        next: Step,
    },
    /// The next of `update`, which puts it into the trash.
    Trashed { external_id: String },
    /// The next of `delete`.
    Deleted { external_id: String },
    /// The next of `update`, which gives an account that was made silently its customer's address. Where that can't be
    /// had, the next step finds out why.
    Addressed { external_id: String },
    /// Not sent: the account that was made for a customer who has one already is gone by now.
    Gone {
        holder: Option<String>,
        refusal: Refusal,
    },
    /// The next of `delete`: an account that was made for a customer who has one already, in place of which that one is
    /// to be taken.
    Yielded {
        holder: Option<String>,
        refusal: Refusal,
    },
    /// All of `create` and `update`: one product's variations.
    Varied {
        external_id: String,
        /// Those that need no answer to be known.
        parts: Parts,
        created: Vec<PartKey>,
        updated: usize,
        next: Option<Step>,
    },
}

/// What one write needs.
#[derive(Clone, Debug)]
enum Job {
    Nothing(Slot),
    Create(Body, Slot),
    Update(Body, Slot),
    Delete(u64, Slot),
    /// Categories or tags that have to be made before the product is written.
    Prepare {
        of: Terms,
        external_id: String,
        parts: Parts,
        missing: Vec<Missing>,
        next: Step,
    },
    /// An update that has pictures fetched: so many.
    Fetch(Body, Slot, usize),
    /// A request of its own.
    Own {
        path: String,
        body: Value,
        slot: Slot,
    },
}

/// What is made before the products that need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Terms {
    Categories,
    Tags,
}

impl Job {
    fn refused(code: &str, message: &str) -> Self {
        Self::Nothing(Slot::Refused(Refusal {
            code: code.to_owned(),
            message: message.to_owned(),
        }))
    }

    /// As WooCommerce says it of a product that is not there (facts/systems.md A2).
    fn missing() -> Self {
        Self::refused("woocommerce_rest_product_invalid_id", "Invalid ID.")
    }
}

/// A product as it is before it is changed.
#[derive(Clone, Debug)]
struct Current {
    product: wire::Product,
    variations: Vec<wire::Variation>,
}

impl WooCommerce {
    pub(super) async fn plan_products(
        &self,
        gate: &dyn Gate,
        writes: Vec<Write>,
    ) -> Result<Vec<Request>, CallError> {
        let current = self.current(gate, &writes).await?;
        let tree = if writes.iter().any(is_about_categories) {
            self.categories(gate).await?
        } else {
            Tree::default()
        };
        let words = if writes.iter().any(is_about_tags) {
            self.tags(gate).await?
        } else {
            Words::default()
        };
        let store = Store {
            current: &current,
            tree: &tree,
            words: &words,
            settings: &self.settings,
        };
        let jobs = writes.into_iter().map(|write| {
            let job = product_job(&write, store);
            (write, job)
        });
        Ok(requests("products/batch", jobs))
    }

    pub(super) async fn plan_customers(
        &self,
        gate: &dyn Gate,
        writes: Vec<Write>,
    ) -> Result<Vec<Request>, CallError> {
        let ids: Vec<String> = writes.iter().filter_map(account_to_read).collect();
        let mut known = Accounts {
            by_id: self.customers_by_id(gate, &ids).await?,
            by_email: BTreeMap::new(),
        };
        for email in writes.iter().filter_map(disputed_email) {
            let holders = self.customers_by_email(gate, email).await?;
            known.by_email.insert(email.to_owned(), holders);
        }
        let welcome = self.welcome();
        let jobs = writes.into_iter().map(|write| {
            let job = customer_job(&write, &known, welcome);
            (write, job)
        });
        Ok(requests("customers/batch", jobs))
    }

    /// Reads the products whose variations or attributes are to change, with their variations, also those that are out
    /// of use: they are used again before new ones are made. Nothing but us keeps two variations from being the same
    /// (facts/mapping-woocommerce.md §1).
    async fn current(&self, gate: &dyn Gate, writes: &[Write]) -> Result<BTreeMap<u64, Current>, CallError> {
        let (pictured, written): (Vec<&Write>, Vec<&Write>) =
            writes.iter().partition(|write| write.step >= IMAGES);
        let needed: Vec<(&Product, &String, &Parts)> =
            written.into_iter().filter_map(needs_current).collect();
        let ids: Vec<String> = needed.iter().map(|(_, id, _)| (*id).clone()).collect();
        let products = self.products_by_id(gate, &ids).await?;
        let complete = self
            .with_variations(gate, products.into_values().collect())
            .await?;
        let mut current: BTreeMap<u64, Current> = complete
            .into_iter()
            .map(|(product, variations)| (product.id, Current { product, variations }))
            .collect();
        let lost: Vec<String> = needed
            .iter()
            .flat_map(|(_, _, parts)| parts.values())
            .filter(|id| {
                let mut known = current.values().flat_map(|current| &current.variations);
                !known.any(|variation| variation.id.to_string() == **id)
            })
            .cloned()
            .collect();
        // The trash takes a parent's variations with it; a parent that came back is without them.
        for variation in self
            .variations_by_id(gate, &lost, "trash")
            .await?
            .unwrap_or_default()
        {
            if let Some(current) = current.get_mut(&variation.parent_id) {
                current.variations.push(variation);
            }
        }
        for (product, id, _) in needed {
            let Some(current) = id.parse().ok().and_then(|id: u64| current.get_mut(&id)) else {
                continue;
            };
            let is_new = current.product.variations.is_empty() && current.variations.is_empty();
            if current.product.is_variable() && !is_new && !has_all(product, current) {
                let listed = self.variations_of(gate, current.product.id, "any").await?;
                let known: BTreeSet<u64> = current.variations.iter().map(|variation| variation.id).collect();
                current.variations.extend(
                    listed
                        .into_iter()
                        .filter(|variation| !known.contains(&variation.id)),
                );
            }
        }
        // For their pictures alone, products are of interest without their variations.
        let ids: Vec<String> = pictured
            .into_iter()
            .filter_map(|write| Some(needs_current(write)?.1.clone()))
            .collect();
        for (id, product) in self.products_by_id(gate, &ids).await? {
            let variations = Vec::new();
            current.entry(id).or_insert(Current { product, variations });
        }
        Ok(current)
    }

    pub(super) async fn send_call(
        &self,
        request: &Request,
        deadline: Instant,
    ) -> Result<Vec<Outcome>, CallError> {
        let call: Call = serde_json::from_value(request.call.clone())
            .map_err(|_| error::refused("the call is not one of this connector"))?;
        let Some(path) = &call.path else {
            return outcomes(&call.slots, &Value::Null);
        };
        let builder = self.request("POST", path, Vec::new()).json(&call.body);
        let answer = self.http.write(SYSTEM, builder, deadline).await?;
        outcomes(&call.slots, &error::body(&answer, Kind::Write)?)
    }
}

// Planning: products

/// The first call for a product's variations. Those before it make categories, one level of the tree each, and then the
/// product itself.
const VARIATIONS: Step = Step(16);

/// The last call before it, which can't be one more for categories.
const LAST_PREPARATION: Step = Step(15);

/// The first call for a product's pictures, after all others.
const IMAGES: Step = Step(64);

/// Returns the product that an update can't be planned for without a look at it.
fn needs_current(write: &Write) -> Option<(&Product, &String, &Parts)> {
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
fn is_about_categories(write: &Write) -> bool {
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
fn is_about_tags(write: &Write) -> bool {
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

fn has_all(product: &Product, current: &Current) -> bool {
    let keys: BTreeSet<PartKey> = current.variations.iter().map(product::key_of).collect();
    product
        .variants
        .iter()
        .all(|variant| keys.contains(&variant.key()))
}

/// What is known of the store when products are planned.
#[derive(Clone, Copy, Debug)]
struct Store<'a> {
    current: &'a BTreeMap<u64, Current>,
    tree: &'a Tree,
    words: &'a Words,
    settings: &'a Settings,
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

fn product_job(write: &Write, store: Store<'_>) -> Job {
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

// Planning: customers

/// The call that gives an account that was made silently its customer's address.
const ADDRESS: Step = Step(1);

/// The call for an account that could not have that address.
const DISPUTE: Step = Step(2);

/// Accounts that were read for the writes of a plan.
#[derive(Debug, Default)]
struct Accounts {
    by_id: BTreeMap<String, wire::Customer>,
    /// Those that have an address which another account was refused.
    by_email: BTreeMap<String, Vec<wire::Customer>>,
}

/// Returns the id of an account that has to be read before it is written.
fn account_to_read(write: &Write) -> Option<String> {
    let Content::Customer(customer) = &write.content else {
        return None;
    };
    match &write.action {
        Action::Create => None,
        Action::Update {
            external_id, changed, ..
        } => {
            let is_needed = match write.step {
                ADDRESS => false,
                DISPUTE => true,
                _ => customer::may_leave_copy(customer, Fields::Only(changed)),
            };
            is_needed.then(|| external_id.clone())
        }
        Action::Delete { external_id } => Some(external_id.clone()),
    }
}

/// Returns the address that the write's account was refused.
fn disputed_email(write: &Write) -> Option<&str> {
    match &write.content {
        Content::Customer(customer) if write.step == DISPUTE => customer.email.as_deref(),
        _ => None,
    }
}

fn customer_job(write: &Write, known: &Accounts, welcome: Welcome) -> Job {
    let Content::Customer(customer) = &write.content else {
        return Job::refused("wrong_type", "this is no customer");
    };
    match &write.action {
        Action::Create => {
            let is_addressed_later = welcome == Welcome::Silent && customer.email.is_some();
            Job::Create(
                customer::create_body(customer, write.record, welcome),
                Slot::Created {
                    next: is_addressed_later.then_some(ADDRESS),
                    held: None,
                },
            )
        }
        Action::Update {
            external_id, changed, ..
        } => {
            let Ok(id) = external_id.parse::<u64>() else {
                return Job::refused("wc_user_invalid_id", "Invalid user ID.");
            };
            match (write.step, &customer.email) {
                (ADDRESS, Some(email)) => address(id, email),
                (DISPUTE, Some(email)) => settle_dispute(write, id, email, known),
                _ => update_customer(write, customer, id, changed, known.by_id.get(external_id)),
            }
        }
        Action::Delete { external_id } => delete_customer(external_id, known.by_id.get(external_id)),
    }
}

fn address(id: u64, email: &str) -> Job {
    Job::Update(
        Body::from_iter([("id".to_owned(), json!(id)), ("email".to_owned(), json!(email))]),
        Slot::Addressed {
            external_id: id.to_string(),
        },
    )
}

/// Gives up the account that was just made, where its customer has another one. Nobody knows of it and it has nothing
/// but what we put there, so it is deleted for good; whatever is not plainly so stays. An account that has been there
/// for longer never comes here: it may have orders.
fn settle_dispute(write: &Write, id: u64, email: &str, known: &Accounts) -> Job {
    let account = known.by_id.get(&id.to_string());
    let has_email = account.is_some_and(|account| account.email.trim().eq_ignore_ascii_case(email));
    if has_email {
        // The refused request was a late second one.
        return Job::Nothing(Slot::Done {
            external_id: id.to_string(),
            parts: Parts::new(),
        });
    }
    let holders = known.by_email.get(email).map_or(&[][..], Vec::as_slice);
    let is_ours = account.is_some_and(|account| {
        customer::is_unaddressed(account, write.record) && account.role.as_str() == "customer"
    });
    let refusal = Refusal {
        code: error::UNFIT_EMAIL.to_owned(),
        message: "the e-mail address is another account's, or WooCommerce takes it for none".to_owned(),
    };
    let holder = holders.first().filter(|_| holders.len() == 1);
    let holder = holder.map(|holder| holder.id.to_string());
    if account.is_none() && !holders.is_empty() {
        return Job::Nothing(Slot::Gone { holder, refusal });
    }
    if holders.is_empty() || !is_ours {
        return Job::Nothing(Slot::Refused(refusal));
    }
    Job::Delete(id, Slot::Yielded { holder, refusal })
}

fn update_customer(
    write: &Write,
    customer: &Customer,
    id: u64,
    changed: &BTreeSet<String>,
    account: Option<&wire::Customer>,
) -> Job {
    let copied = account.map_or(Copied::No, customer::copied);
    let mut body = customer::update_body(customer, write.record, Fields::Only(changed), copied);
    let (external_id, parts) = (id.to_string(), Parts::new());
    if body.is_empty() {
        return Job::Nothing(Slot::Done { external_id, parts });
    }
    body.insert("id".to_owned(), json!(id));
    Job::Update(
        body,
        Slot::Updated {
            external_id,
            parts,
            next: None,
            held: None,
        },
    )
}

/// Accounts have no trash, so one that is taken out of use is gone (facts/systems.md A5). Whoever can do more than buy
/// in the store stays.
fn delete_customer(external_id: &str, account: Option<&wire::Customer>) -> Job {
    let Ok(id) = external_id.parse::<u64>() else {
        return Job::refused("wc_user_invalid_id", "Invalid user ID.");
    };
    match account.map(|account| account.role.as_str()) {
        None | Some("customer" | "subscriber") => Job::Delete(
            id,
            Slot::Deleted {
                external_id: external_id.to_owned(),
            },
        ),
        Some(role) => {
            let message = format!("the account has the role `{role}` and is not deleted");
            Job::refused("not_a_customer", &message)
        }
    }
}

// Grouping

/// A batch that is being filled.
#[derive(Debug, Default)]
struct Batch {
    writes: Vec<Write>,
    slots: Vec<Slot>,
    create: Vec<Value>,
    update: Vec<Value>,
    delete: Vec<Value>,
}

impl Batch {
    fn push(&mut self, write: Write, slot: Slot) {
        self.writes.push(write);
        self.slots.push(slot);
    }

    fn into_request(self, path: &str) -> Request {
        let body = batch_body(self.create, self.update, self.delete);
        request(self.writes, Some(path.to_owned()), body, self.slots)
    }
}

/// Categories or tags that are being put together: each is made once, whichever products need it. A second one would be
/// refused all the same (facts/mapping-woocommerce.md §1, «Categories»).
#[derive(Debug)]
struct Preparation {
    path: &'static str,
    writes: Vec<Write>,
    slots: Vec<Slot>,
    places: BTreeMap<(u64, String), usize>,
    create: Vec<Value>,
}

impl Preparation {
    fn of(terms: Terms) -> Self {
        Self {
            path: match terms {
                Terms::Categories => "products/categories/batch",
                Terms::Tags => "products/tags/batch",
            },
            writes: Vec::new(),
            slots: Vec::new(),
            places: BTreeMap::new(),
            create: Vec::new(),
        }
    }

    fn has_room(&self, missing: &[Missing]) -> bool {
        self.writes.len() < BATCH_LIMIT && self.create.len() + missing.len() <= BATCH_LIMIT
    }

    fn place(&mut self, missing: &Missing) -> usize {
        let place = self.create.len();
        *self.places.entry(missing.key()).or_insert_with(|| {
            self.create.push(missing.body());
            place
        })
    }

    fn into_request(self) -> Request {
        let body = batch_body(self.create, Vec::new(), Vec::new());
        request(self.writes, Some(self.path.to_owned()), body, self.slots)
    }
}

/// Puts every write into exactly one request. What need not be sent shares one that is not.
fn requests(path: &str, jobs: impl Iterator<Item = (Write, Job)>) -> Vec<Request> {
    let (mut requests, mut own) = (Vec::new(), Vec::new());
    let (mut batch, mut unsent) = (Batch::default(), Batch::default());
    let (mut fetching, mut fetched) = (Batch::default(), 0);
    let mut preparations = [Terms::Categories, Terms::Tags].map(Preparation::of);
    for (write, job) in jobs {
        if batch.writes.len() == BATCH_LIMIT {
            requests.push(std::mem::take(&mut batch).into_request(path));
        }
        match job {
            Job::Nothing(slot) => unsent.push(write, slot),
            Job::Create(body, slot) => {
                batch.create.push(Value::Object(body));
                batch.push(write, slot);
            }
            Job::Update(body, slot) => {
                batch.update.push(Value::Object(body));
                batch.push(write, slot);
            }
            Job::Delete(id, slot) => {
                batch.delete.push(json!(id));
                batch.push(write, slot);
            }
            Job::Fetch(body, slot, count) => {
                if fetched > 0 && fetched + count > image::FETCH_LIMIT {
                    requests.push(std::mem::take(&mut fetching).into_request(path));
                    fetched = 0;
                }
                fetched += count;
                fetching.update.push(Value::Object(body));
                fetching.push(write, slot);
            }
            Job::Prepare {
                of,
                external_id,
                parts,
                missing,
                next,
            } => {
                let preparation = &mut preparations[usize::from(of == Terms::Tags)];
                if !preparation.has_room(&missing) {
                    requests.push(std::mem::replace(preparation, Preparation::of(of)).into_request());
                }
                let terms = missing.iter().map(|missing| preparation.place(missing)).collect();
                preparation.writes.push(write);
                preparation.slots.push(Slot::Prepared {
                    external_id,
                    parts,
                    terms,
                    next,
                });
            }
            Job::Own { path, body, slot } => own.push(request(vec![write], Some(path), body, vec![slot])),
        }
    }
    if !batch.writes.is_empty() {
        requests.push(batch.into_request(path));
    }
    if !fetching.writes.is_empty() {
        requests.push(fetching.into_request(path));
    }
    let begun = preparations.into_iter().filter(|one| !one.writes.is_empty());
    requests.extend(begun.map(Preparation::into_request));
    requests.append(&mut own);
    if !unsent.writes.is_empty() {
        requests.push(request(unsent.writes, None, Value::Null, unsent.slots));
    }
    requests
}

fn request(writes: Vec<Write>, path: Option<String>, body: Value, slots: Vec<Slot>) -> Request {
    let call = Call { path, body, slots };
    Request {
        writes,
        call: serde_json::to_value(call).expect("a call has string keys and no floats"),
    }
}

fn batch_body(create: Vec<Value>, update: Vec<Value>, delete: Vec<Value>) -> Value {
    let lists = [("create", create), ("update", update), ("delete", delete)];
    let filled = lists.into_iter().filter(|(_, items)| !items.is_empty());
    Value::Object(
        filled
            .map(|(name, items)| (name.to_owned(), Value::Array(items)))
            .collect(),
    )
}

// Answers

/// Reads what became of each write. Answers stand in the order of the request, list by list (facts/systems.md A9); one
/// that has more or fewer says nothing for sure.
fn outcomes(slots: &[Slot], answer: &Value) -> Result<Vec<Outcome>, CallError> {
    let mut lists = Lists::of(answer);
    if slots.iter().any(|slot| matches!(slot, Slot::Prepared { .. })) {
        let terms = lists.create.as_slice();
        let outcomes = slots
            .iter()
            .map(|slot| prepared(slot, terms))
            .collect::<Option<_>>();
        return outcomes.ok_or_else(|| error::unwell("its answer does not match the request", Kind::Write));
    }
    let outcomes = slots
        .iter()
        .map(|slot| outcome(slot, &mut lists))
        .collect::<Option<Vec<_>>>();
    match outcomes {
        Some(outcomes) if lists.are_read() => Ok(outcomes),
        Some(_) | None => Err(error::unwell(
            "its answer does not match the request",
            Kind::Write,
        )),
    }
}

/// The lists of an answer, as far as they are not read.
struct Lists<'a> {
    create: std::slice::Iter<'a, Value>,
    update: std::slice::Iter<'a, Value>,
    delete: std::slice::Iter<'a, Value>,
}

impl<'a> Lists<'a> {
    fn of(answer: &'a Value) -> Self {
        let list = |name: &str| {
            let items = answer.get(name).and_then(Value::as_array);
            items.map(Vec::as_slice).unwrap_or_default().iter()
        };
        Self {
            create: list("create"),
            update: list("update"),
            delete: list("delete"),
        }
    }

    fn are_read(&self) -> bool {
        self.create.len() + self.update.len() + self.delete.len() == 0
    }
}

/// Reads what became of the categories that a product needs. One that is there already is as good; where it is, the
/// next call finds out.
fn prepared(slot: &Slot, terms: &[Value]) -> Option<Outcome> {
    let Slot::Prepared {
        external_id,
        parts,
        terms: places,
        next,
    } = slot
    else {
        return None;
    };
    for place in places {
        match written(terms.get(*place)?)? {
            Ok(_) => {}
            Err(error) if error.refusal.code == "term_exists" => {}
            Err(error) => return Some(error.outcome()),
        }
    }
    Some(Outcome::Applied {
        external_id: external_id.clone(),
        parts: parts.clone(),
        next: Some(*next),
        held: None,
    })
}

/// Reads the outcome of one write; `None` where the answer has none.
fn outcome(slot: &Slot, lists: &mut Lists<'_>) -> Option<Outcome> {
    let applied = |external_id: &str, parts: &Parts, next: Option<Step>| Outcome::Applied {
        external_id: external_id.to_owned(),
        parts: parts.clone(),
        next,
        held: None,
    };
    Some(match slot {
        Slot::Refused(refusal) => Outcome::Rejected(refusal.clone()),
        Slot::Done { external_id, parts } => applied(external_id, parts, None),
        Slot::Prepared { .. } => return None,
        Slot::Created { next, held } => match written(lists.create.next()?)? {
            Ok(id) => holding(applied(&id, &Parts::new(), *next), held.as_ref()),
            Err(error) => error.outcome(),
        },
        Slot::Updated {
            external_id,
            parts,
            next,
            held,
        } => match written(lists.update.next()?)? {
            Ok(_) => holding(applied(external_id, parts, *next), held.as_ref()),
            Err(error) => error.outcome(),
        },
        Slot::Gone { holder, refusal } => Outcome::Taken {
            external_id: holder.clone(),
            refusal: refusal.clone(),
        },
        Slot::Addressed { external_id } => match written(lists.update.next()?)? {
            Ok(_) => applied(external_id, &Parts::new(), None),
            Err(error) if error.is_unfit_email() => applied(external_id, &Parts::new(), Some(DISPUTE)),
            Err(error) => error.outcome(),
        },
        Slot::Yielded { holder, refusal } => match written(lists.delete.next()?)? {
            Err(error) if !error.is_missing() => error.outcome(),
            Ok(_) | Err(_) => Outcome::Taken {
                external_id: holder.clone(),
                refusal: refusal.clone(),
            },
        },
        Slot::Trashed { external_id } => gone(external_id, written(lists.update.next()?)?),
        Slot::Deleted { external_id } => gone(external_id, written(lists.delete.next()?)?),
        Slot::Varied {
            external_id,
            parts,
            created,
            updated,
            next,
        } => {
            let mut parts = parts.clone();
            let mut errors = Vec::new();
            for key in created {
                match written(lists.create.next()?)? {
                    Ok(id) => {
                        parts.insert(key.clone(), id);
                    }
                    Err(error) => errors.push((key.to_string(), error)),
                }
            }
            for _ in 0..*updated {
                let item = lists.update.next()?;
                if let Err(error) = written(item)? {
                    errors.push((format!("id {}", item.get("id").unwrap_or(&Value::Null)), error));
                }
            }
            match varied(errors) {
                None => applied(external_id, &parts, *next),
                Some(failure) => failure,
            }
        }
    })
}

/// Adds what the store holds of a thing.
fn holding(outcome: Outcome, content: Option<&Value>) -> Outcome {
    match outcome {
        Outcome::Applied {
            external_id,
            parts,
            next,
            held: None,
        } => Outcome::Applied {
            external_id,
            parts,
            next,
            held: content.and_then(|json| Content::parse(EntityType::Products, json.clone()).ok()),
        },
        other => other,
    }
}

/// Reads the id of a written item, or why it was not written; `None` where the answer says neither.
fn written(item: &Value) -> Option<Result<String, ItemError>> {
    if let Some(error) = error::of_item(item) {
        return Some(Err(error));
    }
    let id = item.get("id").and_then(Value::as_u64).filter(|id| *id > 0)?;
    Some(Ok(id.to_string()))
}

/// What is not there any more is gone already.
fn gone(external_id: &str, written: Result<String, ItemError>) -> Outcome {
    match written {
        Err(error) if !error.is_missing() => error.outcome(),
        Ok(_) | Err(_) => Outcome::Applied {
            external_id: external_id.to_owned(),
            parts: Parts::new(),
            next: None,
            held: None,
        },
    }
}

/// Puts the failures of a product's variations together. The product itself is there, so a value in use is no reason to
/// look for another product: it is refused. The ones that were written stay, and are found by the next try.
fn varied(errors: Vec<(String, ItemError)>) -> Option<Outcome> {
    let mut transient = None;
    for (variant, error) in errors {
        match error.outcome() {
            Outcome::Transient(refusal) => transient = Some(Outcome::Transient(named(&variant, refusal))),
            Outcome::Rejected(refusal) | Outcome::Taken { refusal, .. } => {
                return Some(Outcome::Rejected(named(&variant, refusal)));
            }
            Outcome::Applied { .. } => {}
        }
    }
    transient
}

fn named(variant: &str, refusal: Refusal) -> Refusal {
    Refusal {
        message: format!("variant `{variant}`: {}", refusal.message),
        code: refusal.code,
    }
}

#[cfg(test)]
mod tests;
