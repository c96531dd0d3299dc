//! The shop's data and its indexes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::attribute::GlobalAttribute;
use super::customer::Customer;
use super::media::Library;
use super::order::Book;
use super::product::Product;
use super::refund::Refund;
use super::refusal::Refusal;
use super::setting::Settings;
use super::tax::Taxes;
use super::term::Terms;
use super::text;
use super::webhook::Webhooks;
use crate::ledger::{Effect, Ledger, Operation, Origin};

/// Who is writing just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Actor {
    /// The shop's own people: not in the ledger.
    People,
    /// The request of this index.
    Api(u64),
}

/// What an effect touched, and the thing that it is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Touched {
    id: u64,
    thing: u64,
}

impl From<u64> for Touched {
    fn from(id: u64) -> Self {
        Self { id, thing: id }
    }
}

impl From<&Product> for Touched {
    fn from(product: &Product) -> Self {
        let thing = if product.is_variation() {
            product.parent
        } else {
            product.id
        };
        Self {
            id: product.id,
            thing,
        }
    }
}

impl From<&Refund> for Touched {
    fn from(refund: &Refund) -> Self {
        Self {
            id: refund.id,
            thing: refund.order,
        }
    }
}

/// Everything the shop holds.
#[derive(Debug)]
pub(super) struct Shop {
    pub(super) base_url: String,
    pub(super) offset_secs: i64,
    pub(super) actor: Actor,
    pub(super) ledger: Ledger,
    /// Mails to customers.
    pub(super) mails: usize,
    /// Mails to the shop's people.
    pub(super) admin_mails: usize,
    pub(super) next_post: u64,
    pub(super) next_meta: u64,
    pub(super) next_user: u64,
    pub(super) products: BTreeMap<u64, Product>,
    by_sku: HashMap<String, BTreeSet<u64>>,
    by_global_unique_id: HashMap<String, u64>,
    by_slug: HashMap<String, u64>,
    /// Variation or not, time of change, id.
    pub(super) by_modified: BTreeSet<(bool, i64, u64)>,
    /// Variation or not, time of creation, id.
    pub(super) by_created: BTreeSet<(bool, i64, u64)>,
    pub(super) customers: BTreeMap<u64, Customer>,
    pub(super) by_email: HashMap<String, BTreeSet<u64>>,
    pub(super) by_username: HashMap<String, u64>,
    pub(super) attributes: BTreeMap<u64, GlobalAttribute>,
    pub(super) terms: BTreeMap<u64, Terms>,
    pub(super) categories: Terms,
    pub(super) uncategorized: u64,
    pub(super) tags: Terms,
    pub(super) library: Library,
    pub(super) book: Book,
    pub(super) taxes: Taxes,
    pub(super) settings: Settings,
    /// What is active: the file and the name.
    pub(super) plugins: Vec<(String, String)>,
    /// Resources that can only be read: coupons.
    pub(super) recorded: BTreeMap<String, BTreeMap<u64, Value>>,
    pub(super) webhooks: Webhooks,
}

/// The id of the category that every shop has.
const UNCATEGORIZED: u64 = 15;

/// Terms of all taxonomies share their ids; these stay clear of the others.
const FIRST_TAG: u64 = 500_000;

impl Shop {
    pub(super) fn new(ledger: Ledger, offset_secs: i64) -> Self {
        let mut categories = Terms::tree(UNCATEGORIZED);
        let body = Map::from_iter([("name".to_owned(), json!("Uncategorized"))]);
        let uncategorized = categories.create(&body).expect("the name is free");
        Self {
            base_url: String::new(),
            offset_secs,
            actor: Actor::People,
            ledger,
            mails: 0,
            admin_mails: 0,
            next_post: 10,
            next_meta: 1,
            next_user: 2,
            products: BTreeMap::new(),
            by_sku: HashMap::new(),
            by_global_unique_id: HashMap::new(),
            by_slug: HashMap::new(),
            by_modified: BTreeSet::new(),
            by_created: BTreeSet::new(),
            customers: BTreeMap::new(),
            by_email: HashMap::new(),
            by_username: HashMap::new(),
            attributes: BTreeMap::new(),
            terms: BTreeMap::new(),
            categories,
            uncategorized,
            tags: Terms::flat(FIRST_TAG),
            library: Library::default(),
            book: Book::default(),
            taxes: Taxes::default(),
            settings: Settings::default(),
            plugins: vec![("woocommerce/woocommerce.php".to_owned(), "WooCommerce".to_owned())],
            recorded: BTreeMap::new(),
            webhooks: Webhooks::default(),
        }
    }

    /// Moves the times of products, accounts and orders back.
    pub(super) fn age(&mut self, secs: i64) {
        for product in self.products.values_mut() {
            product.created -= secs;
            product.modified -= secs;
        }
        for customer in self.customers.values_mut() {
            customer.created -= secs;
            customer.modified -= secs;
        }
        self.book.age(secs);
        let older = |(kind, at, id): &(bool, i64, u64)| (*kind, at - secs, *id);
        self.by_modified = self.by_modified.iter().map(older).collect();
        self.by_created = self.by_created.iter().map(older).collect();
    }

    pub(super) fn product(&self, id: u64) -> Option<&Product> {
        self.products.get(&id)
    }

    /// Finds the holders of an SKU, variations and trash too.
    pub(super) fn with_sku(&self, sku: &str) -> impl Iterator<Item = &Product> {
        let ids = self.by_sku.get(&sku.to_lowercase()).into_iter().flatten();
        ids.filter_map(|id| self.products.get(id))
    }

    /// Refuses a taken SKU; a holder in the trash gives another code and no id (facts: systems A6).
    pub(super) fn check_sku(&self, own: u64, sku: &str) -> Result<(), Refusal> {
        if sku.is_empty() {
            return Ok(());
        }
        let holders: Vec<&Product> = self.with_sku(sku).filter(|holder| holder.id != own).collect();
        if let Some(holder) = holders.iter().find(|holder| !holder.is_in_trash()) {
            let mut free = (1..).map(|number| format!("{sku}-{number}"));
            let unique = free
                .find(|sku| self.with_sku(sku).next().is_none())
                .expect("some number is free");
            return Err(
                Refusal::new(400, "product_invalid_sku", "Invalid or duplicated SKU.")
                    .with("resource_id", holder.id)
                    .with("unique_sku", unique),
            );
        }
        if holders.is_empty() {
            return Ok(());
        }
        let message = format!(
            "The product with SKU ({sku}) you are trying to insert is already present in the lookup table"
        );
        Err(Refusal::new(
            400,
            "woocommerce_rest_product_not_created",
            &message,
        ))
    }

    pub(super) fn check_global_unique_id(&self, own: u64, code: &str) -> Result<(), Refusal> {
        match self.by_global_unique_id.get(code) {
            Some(holder) if *holder != own => {
                let message = "Invalid or duplicated GTIN, UPC, EAN or ISBN.";
                Err(Refusal::new(400, "product_invalid_global_unique_id", message)
                    .with("resource_id", *holder))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn with_global_unique_id(&self, code: &str) -> Option<&Product> {
        self.by_global_unique_id
            .get(code)
            .and_then(|id| self.products.get(id))
    }

    pub(super) fn with_slug(&self, slug: &str) -> Option<&Product> {
        self.by_slug.get(slug).and_then(|id| self.products.get(id))
    }

    /// Stores a product, keeps the indexes and tells the ledger.
    pub(super) fn put_product(&mut self, mut product: Product) {
        let before = self.unindex(product.id);
        product.slug = self.free_slug(&product);
        let is_variation = product.is_variation();
        if !product.sku.is_empty() {
            self.by_sku
                .entry(product.sku.to_lowercase())
                .or_default()
                .insert(product.id);
        }
        if !product.global_unique_id.is_empty() {
            self.by_global_unique_id
                .insert(product.global_unique_id.clone(), product.id);
        }
        self.by_slug.insert(product.slug.clone(), product.id);
        self.by_modified
            .insert((is_variation, product.modified, product.id));
        self.by_created
            .insert((is_variation, product.created, product.id));
        let entity = entity(&product);
        // A write of nothing but the number in stock is told apart from one of the product.
        let is_stock_alone = before.as_ref().is_some_and(|before| {
            let restocked = Product {
                modified: product.modified,
                slug: product.slug.clone(),
                manages_stock: product.manages_stock,
                stock_quantity: product.stock_quantity,
                stock_status: product.stock_status.clone(),
                ..before.clone()
            };
            product.manages_stock && before.stock_quantity != product.stock_quantity && restocked == product
        });
        let operation = if before.is_some() {
            Operation::Updated
        } else {
            Operation::Created
        };
        let is_different = before.is_none_or(|before| {
            before
                != Product {
                    modified: before.modified,
                    slug: before.slug.clone(),
                    ..product.clone()
                }
        });
        self.ledger
            .lives(entity, product.id, product.keys(), self.origin());
        let felt = if is_stock_alone { "stock" } else { entity };
        self.felt(felt, operation, &product, product.key(), is_different);
        self.next_post = self.next_post.max(product.id + 1);
        self.products.insert(product.id, product);
    }

    /// Removes a product for good, a parent with its variations.
    pub(super) fn remove_product(&mut self, id: u64) -> Option<Product> {
        let product = self.unindex(id)?;
        for variation in &product.variations {
            self.remove_product(*variation);
        }
        if let Some(parent) = self.products.get_mut(&product.parent) {
            parent.variations.retain(|variation| *variation != id);
        }
        self.ledger.is_gone(entity(&product), id);
        self.felt(
            entity(&product),
            Operation::Deleted,
            &product,
            product.key(),
            true,
        );
        Some(product)
    }

    /// Takes what is in the trash out of the book of what lives.
    pub(super) fn forget_trash(&self) {
        for product in self.products.values().filter(|product| product.is_in_trash()) {
            self.ledger.is_gone(entity(product), product.id);
        }
    }

    /// Moves the time of change; a write to a variation does it to its parent (facts: mapping-woocommerce 6).
    pub(super) fn touch(&mut self, id: u64, now: i64) {
        let Some(product) = self.products.get_mut(&id) else {
            return;
        };
        let is_variation = product.is_variation();
        self.by_modified.remove(&(is_variation, product.modified, id));
        product.modified = now;
        self.by_modified.insert((is_variation, now, id));
    }

    fn unindex(&mut self, id: u64) -> Option<Product> {
        let product = self.products.remove(&id)?;
        if let Some(ids) = self.by_sku.get_mut(&product.sku.to_lowercase()) {
            ids.remove(&id);
        }
        self.by_global_unique_id.remove(&product.global_unique_id);
        self.by_slug.remove(&product.slug);
        self.by_modified
            .remove(&(product.is_variation(), product.modified, id));
        self.by_created
            .remove(&(product.is_variation(), product.created, id));
        Some(product)
    }

    /// A taken slug gets a number, without an error (facts: mapping-woocommerce 1).
    fn free_slug(&self, product: &Product) -> String {
        let wanted = match (product.slug.is_empty(), product.is_variation()) {
            (false, _) => product.slug.clone(),
            (true, true) => format!("product-{}-variation-{}", product.parent, product.id),
            (true, false) => Some(text::slug(&product.name))
                .filter(|slug| !slug.is_empty())
                .unwrap_or_else(|| product.id.to_string()),
        };
        if !self.by_slug.contains_key(&wanted) {
            return wanted;
        }
        // Numbers from the id keep this fast when a thousand products have one name.
        let numbers = (2..10).chain(product.id..);
        let mut candidates = numbers.map(|number| format!("{wanted}-{number}"));
        candidates
            .find(|slug| !self.by_slug.contains_key(slug))
            .expect("some number is free")
    }

    pub(super) fn origin(&self) -> Origin {
        match self.actor {
            Actor::People => Origin::People,
            Actor::Api(_) => Origin::Api,
        }
    }

    /// Tells the webhooks of one effect, and puts it into the ledger unless the shop's own people did it.
    pub(super) fn felt(
        &self,
        entity: &'static str,
        operation: Operation,
        touched: impl Into<Touched>,
        key: Option<String>,
        changed: bool,
    ) {
        let Touched { id, thing } = touched.into();
        self.announce(entity, operation, id, thing);
        if let Actor::Api(request) = self.actor {
            self.ledger.record(vec![Effect {
                at: SystemTime::now(),
                entity,
                operation,
                id: id.to_string(),
                thing: thing.to_string(),
                key,
                changed,
                request,
            }]);
        }
    }
}

fn entity(product: &Product) -> &'static str {
    if product.is_variation() {
        "variation"
    } else {
        "product"
    }
}
