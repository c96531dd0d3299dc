//! A stand-in for WooCommerce 11 (REST wc/v3): products with their variations, attributes, categories, tags and
//! pictures, customers, orders, refunds, stock, taxes, settings and webhooks.
//!
//! Coupons can only be read. Every statement about the real server is in
//! `facts/systems.md` part A and `facts/mapping-woocommerce.md`.

mod amount;
mod attribute;
mod auth;
mod batch;
mod customer;
mod list;
mod media;
mod meta;
mod order;
mod product;
mod refund;
mod refusal;
mod resource;
mod restore;
mod route;
mod schema;
mod setting;
mod shop;
mod snapshot;
mod stock;
mod tax;
mod term;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod webhook;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use tokio::task::AbortHandle;

use self::auth::Keys;
pub use self::auth::Permission;
use self::resource::{Deletion, Resource};
use self::route::Site;
use self::shop::{Actor, Shop};
pub use self::webhook::Delivery;
use crate::fault::FaultPlan;
use crate::ledger::Ledger;
use crate::server::{Server, Transport};
use crate::snapshot::SnapshotError;

/// How the shop is set up.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    pub consumer_key: String,
    pub consumer_secret: String,
    /// The site's clock against UTC; dates without `_gmt` are told in it.
    pub time_zone_offset_secs: i32,
    /// Whether it speaks TLS with a certificate of its own. Without, Basic credentials are ignored.
    pub is_https: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            consumer_key: "ck_sandbox".to_owned(),
            consumer_secret: "cs_sandbox".to_owned(),
            time_zone_offset_secs: -5 * 3600,
            is_https: false,
        }
    }
}

/// The mails that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Noise {
    /// As [`Store::mails`] counts them.
    pub customer_mails: usize,
    pub admin_mails: usize,
}

/// A guest at the storefront.
#[derive(Debug, Clone)]
pub struct Shopper {
    site: Arc<Site>,
}

impl Shopper {
    /// Buys and pays for some pieces of a product or variation; returns the order.
    ///
    /// # Panics
    /// When there is no such product.
    pub fn buy(&self, id: u64, quantity: u32) -> u64 {
        quietly(&mut lock_for_people(&self.site), |shop| {
            assert!(shop.product(id).is_some(), "there is a product {id}");
            let number = shop.next_post;
            let body = serde_json::json!({
                "created_via": "checkout", "payment_method": "stripe", "payment_method_title": "Credit card",
                "transaction_id": format!("ch_{number}"), "set_paid": true,
                "billing": {
                    "first_name": "Guest", "last_name": number.to_string(), "country": "US", "state": "NY",
                    "city": "Buffalo", "postcode": "14201", "address_1": "1 Main St",
                    "email": format!("guest{number}@example.com"),
                },
                "line_items": [{"product_id": id, "quantity": quantity}],
            });
            let made = shop.create_order(&object(body), now());
            made.expect("whoever pays may buy")
        })
    }
}

/// Does something as the shop's people, whose mails are no noise.
fn quietly<T>(shop: &mut Shop, work: impl FnOnce(&mut Shop) -> T) -> T {
    let mails = (shop.mails, shop.admin_mails);
    let done = work(shop);
    (shop.mails, shop.admin_mails) = mails;
    done
}

fn lock_for_people(site: &Site) -> MutexGuard<'_, Shop> {
    let mut shop = site.lock();
    shop.actor = Actor::People;
    shop
}

/// A running shop; it stops when dropped.
#[derive(Debug)]
pub struct Store {
    site: Arc<Site>,
    server: Server,
    ledger: Ledger,
    base_url: String,
    delivering: AbortHandle,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.delivering.abort();
    }
}

impl Store {
    /// Starts an empty shop on a free port.
    ///
    /// # Errors
    /// When the port cannot be opened.
    pub async fn start(options: StoreOptions) -> std::io::Result<Self> {
        Self::start_on(options, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Starts an empty shop on an address.
    ///
    /// # Errors
    /// When the address is not free.
    pub async fn start_on(options: StoreOptions, address: SocketAddr) -> std::io::Result<Self> {
        let ledger = Ledger::default();
        let shop = Shop::new(ledger.clone(), i64::from(options.time_zone_offset_secs));
        let mut keys = Keys::default();
        keys.add(
            options.consumer_key,
            options.consumer_secret,
            Permission::ReadWrite,
        );
        let site = Arc::new(Site {
            shop: Arc::new(Mutex::new(shop)),
            keys: Mutex::new(keys),
            faults: FaultPlan::default(),
            is_https: options.is_https,
        });
        let (transport, scheme) = if options.is_https {
            (Transport::Tls, "https")
        } else {
            (Transport::Plain, "http")
        };
        let server = Server::start(Arc::clone(&site), address, transport).await?;
        let base_url = format!("{scheme}://{}", server.address);
        let delivering = tokio::spawn(webhook::deliver(Arc::downgrade(&site))).abort_handle();
        let store = Self {
            site,
            server,
            ledger,
            base_url: base_url.clone(),
            delivering,
        };
        store.lock().base_url = base_url;
        Ok(store)
    }

    /// Returns the address without a slash at its end.
    pub fn base_url(&self) -> String {
        self.base_url.clone()
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub fn faults(&self) -> &FaultPlan {
        &self.site.faults
    }

    /// Returns the certificate to trust, if the shop speaks TLS.
    pub fn certificate_pem(&self) -> Option<String> {
        self.server.certificate.clone()
    }

    /// Adds a second key, for instance one that may only read.
    pub fn add_key(&self, key: &str, secret: &str, permission: Permission) {
        let mut keys = self.site.keys.lock().expect("no holder of the keys panics");
        keys.add(key.to_owned(), secret.to_owned(), permission);
    }

    /// Counts the mails that reached customers because of the API or the shop's people.
    pub fn mails(&self) -> usize {
        self.lock().mails
    }

    /// Lists every product with `context=edit`, each with its variations as `variations_full`; trash too.
    pub fn products(&self) -> Vec<Value> {
        let shop = self.lock();
        let own = shop.products.values().filter(|product| !product.is_variation());
        own.map(|product| shop.render_whole(product)).collect()
    }

    /// Shows one product as [`Store::products`] does.
    pub fn product(&self, id: u64) -> Option<Value> {
        let shop = self.lock();
        shop.product(id).map(|product| shop.render_whole(product))
    }

    /// Lists every account.
    pub fn customers(&self) -> Vec<Value> {
        let shop = self.lock();
        shop.customers
            .values()
            .map(|customer| shop.render_customer(customer))
            .collect()
    }

    /// Makes a product as the shop's people would; `variations_full` makes its variations.
    ///
    /// # Panics
    /// When the API would refuse the product.
    pub fn insert_product(&self, product: Value) -> u64 {
        let mut shop = self.lock_for_people();
        let body = object(product);
        let id = Resource::Products
            .create(&mut shop, &body, now())
            .expect("the product can be made");
        for variation in body
            .get("variations_full")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let variation = object(variation.clone());
            let made = Resource::Variations { parent: id }.create(&mut shop, &variation, now());
            made.expect("the variation can be made");
        }
        id
    }

    /// Changes a product or a variation as the shop's people would.
    ///
    /// # Panics
    /// When the API would refuse the change.
    pub fn update_product(&self, id: u64, changes: Value) {
        let mut shop = self.lock_for_people();
        let resource = product_resource(&shop, id);
        resource
            .update(&mut shop, id, &object(changes), now())
            .expect("the product can be changed");
    }

    /// Deletes a product or a variation for good, as the shop's people would.
    pub fn delete_product(&self, id: u64) {
        let mut shop = self.lock_for_people();
        let resource = product_resource(&shop, id);
        let _ = resource.delete(&mut shop, id, Deletion::Forced, now());
    }

    /// Puts a product into the trash as the shop's people would.
    pub fn trash_product(&self, id: u64) {
        let mut shop = self.lock_for_people();
        let resource = product_resource(&shop, id);
        let _ = resource.delete(&mut shop, id, Deletion::Trash, now());
    }

    /// Makes a customer as the shop's people would, without a mail.
    ///
    /// # Panics
    /// When the API would refuse the customer.
    pub fn insert_customer(&self, customer: Value) -> u64 {
        let mut shop = self.lock_for_people();
        let mails = shop.mails;
        let id = Resource::Customers.create(&mut shop, &object(customer), now());
        shop.mails = mails;
        id.expect("the customer can be made")
    }

    /// Makes a second account with the address and the user name of another, as two registrations at the same moment do:
    /// nothing in the store's database stands against it (facts: systems A5).
    ///
    /// # Panics
    /// When there is no such customer.
    pub fn insert_twin(&self, id: u64) -> u64 {
        let mut shop = self.lock_for_people();
        shop.twin_customer(id, now())
    }

    /// Changes a customer as the shop's people would.
    ///
    /// # Panics
    /// When the API would refuse the change.
    pub fn update_customer(&self, id: u64, changes: Value) {
        let mut shop = self.lock_for_people();
        let done = Resource::Customers.update(&mut shop, id, &object(changes), now());
        done.expect("the customer can be changed");
    }

    /// Deletes a customer as the shop's people would.
    pub fn delete_customer(&self, id: u64) {
        let mut shop = self.lock_for_people();
        shop.remove_customer(id);
    }

    /// Makes a category as the shop's people would and returns its id.
    ///
    /// # Panics
    /// When the API would refuse it.
    pub fn insert_category(&self, category: Value) -> u64 {
        let mut shop = self.lock_for_people();
        Resource::Terms(attribute::Taxonomy::Categories)
            .create(&mut shop, &object(category), now())
            .expect("the category can be made")
    }

    /// Makes a tag as the shop's people would and returns its id.
    ///
    /// # Panics
    /// When the API would refuse it.
    pub fn insert_tag(&self, tag: Value) -> u64 {
        let mut shop = self.lock_for_people();
        Resource::Terms(attribute::Taxonomy::Tags)
            .create(&mut shop, &object(tag), now())
            .expect("the tag can be made")
    }

    /// Lists the tags.
    pub fn tags(&self) -> Vec<Value> {
        let shop = self.lock();
        shop.tags.all().map(|tag| shop.tags.render(tag)).collect()
    }

    /// Lists every picture that was ever uploaded, each with the `source` that it was fetched from.
    pub fn pictures(&self) -> Vec<Value> {
        self.lock().render_library()
    }

    /// Has nothing be fetched from an address any more.
    pub fn lose_picture(&self, address: &str) {
        self.lock().library.lost.insert(address.to_owned());
    }

    /// Has what was lost be there again.
    pub fn find_pictures(&self) {
        self.lock().library.lost.clear();
    }

    /// Makes a global attribute as the shop's people would and returns its id.
    ///
    /// # Panics
    /// When the API would refuse it.
    pub fn insert_attribute(&self, attribute: Value) -> u64 {
        let mut shop = self.lock_for_people();
        shop.create_attribute(&object(attribute))
            .expect("the attribute can be made")
    }

    /// Counts the mails that the shop sent to anyone.
    pub fn noise(&self) -> Noise {
        let shop = self.lock();
        Noise {
            customer_mails: shop.mails,
            admin_mails: shop.admin_mails,
        }
    }

    /// Lists every order as the API answers it, drafts and trash too.
    pub fn orders(&self) -> Vec<Value> {
        let shop = self.lock();
        shop.book
            .orders
            .values()
            .map(|order| shop.render_order(order))
            .collect()
    }

    /// Shows one order.
    pub fn order(&self, id: u64) -> Option<Value> {
        let shop = self.lock();
        shop.book.orders.get(&id).map(|order| shop.render_order(order))
    }

    /// Lists every refund, each with the id of its order as `parent_id`.
    pub fn refunds(&self) -> Vec<Value> {
        let shop = self.lock();
        let refunds = shop.book.refunds.values();
        refunds.map(|refund| shop.render_refund_of(refund)).collect()
    }

    /// Makes an order as the shop's people would, without a mail; it takes stock as its status says.
    ///
    /// # Panics
    /// When the API would refuse the order.
    pub fn insert_order(&self, order: Value) -> u64 {
        let body = object(order);
        self.quietly(|shop| shop.create_order(&body, now()).expect("the order can be made"))
    }

    /// Changes an order as the shop's people would, without a mail.
    ///
    /// # Panics
    /// When the API would refuse the change.
    pub fn update_order(&self, id: u64, changes: Value) {
        let body = object(changes);
        self.quietly(|shop| {
            let done = shop.update_order(id, &body, now());
            done.expect("the order can be changed");
        });
    }

    /// Puts an order into the trash as the shop's people would.
    pub fn trash_order(&self, id: u64) {
        let _ = self.lock_for_people().trash_order(id, now());
    }

    /// Deletes an order for good, as the shop's people would.
    pub fn delete_order(&self, id: u64) {
        self.lock_for_people().remove_order(id);
    }

    /// Makes a refund as the shop's people would, without a mail; nothing is paid through a gateway.
    ///
    /// # Panics
    /// When the API would refuse the refund.
    pub fn insert_refund(&self, order: u64, refund: Value) -> u64 {
        let mut body = object(refund);
        body.insert("api_refund".to_owned(), Value::Bool(false));
        self.quietly(|shop| {
            let made = shop.create_refund(order, &body, now());
            made.expect("the refund can be made")
        })
    }

    /// Lets a guest buy and pay for some pieces of a product or variation at the storefront; returns the order.
    ///
    /// # Panics
    /// When there is no such product.
    pub fn sell(&self, id: u64, quantity: u32) -> u64 {
        self.shopper().buy(id, quantity)
    }

    /// Returns somebody who can buy whenever they are let, such as in the middle of a request.
    pub fn shopper(&self) -> Shopper {
        Shopper {
            site: self.site.clone(),
        }
    }

    /// Sets the stock of a product or variation the way the shop's own pages do.
    pub fn set_stock(&self, id: u64, quantity: i64) {
        self.lock_for_people().set_stock(id, quantity, now());
    }

    /// Writes a stock number straight into the database: no time of change moves.
    pub fn set_stock_raw(&self, id: u64, quantity: i64) {
        self.lock_for_people().set_stock_raw(id, quantity);
    }

    /// Changes a setting, such as `general` and `woocommerce_currency`.
    ///
    /// # Panics
    /// When the API would refuse the value.
    pub fn set_setting(&self, group: &str, id: &str, value: &str) {
        let mut shop = self.lock_for_people();
        let body = object(serde_json::json!({"value": value}));
        let done = shop.update_setting(group, id, &body);
        done.expect("the setting can be changed");
    }

    /// Activates a plugin, which does nothing but stand in the list.
    pub fn activate_plugin(&self, file: &str, name: &str) {
        let plugin = (file.to_owned(), name.to_owned());
        self.lock_for_people().plugins.push(plugin);
    }

    /// Lists the webhooks as the API shows them.
    pub fn webhooks(&self) -> Vec<Value> {
        let shop = self.lock();
        let ids = shop.webhooks.ids().into_iter();
        ids.filter_map(|id| shop.render_webhook(id).ok()).collect()
    }

    /// Makes a webhook as the shop's people would.
    ///
    /// # Panics
    /// When the API would refuse it.
    pub fn insert_webhook(&self, webhook: Value) -> u64 {
        let made = self.lock_for_people().create_webhook(&object(webhook), now());
        made.expect("the webhook can be made")
    }

    /// Has the shop give up on a webhook, as it does by itself after failures in a row.
    pub fn disable_webhook(&self, id: u64) {
        self.lock_for_people().disable_webhook(id);
    }

    /// Lists every delivery that was tried, but for pings.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.lock().webhooks.deliveries()
    }

    /// Makes a tax rate as the shop's people would.
    pub fn insert_tax(&self, rate: Value) -> u64 {
        self.lock_for_people().create_rate(&object(rate))
    }

    /// Makes a coupon as the shop's people would: at least a `code`, a `discount_type` and an `amount`.
    pub fn insert_coupon(&self, coupon: Value) -> u64 {
        let mut shop = self.lock_for_people();
        let id = shop.next_post;
        shop.next_post += 1;
        let mut view = serde_json::json!({
            "id": id, "amount": "0.00", "status": "publish", "discount_type": "fixed_cart", "free_shipping": false,
            "date_modified_gmt": text::iso(now()),
        });
        for (name, value) in object(coupon) {
            view[name] = value;
        }
        let coupons = shop.recorded.entry("coupons".to_owned()).or_default();
        coupons.insert(id, view);
        id
    }

    /// Lets time pass: whatever there is was made and changed this much longer ago, and the drafts of the checkout that
    /// are older than a day are gone.
    pub fn age(&self, by: Duration) {
        let secs = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        let mut shop = self.lock_for_people();
        shop.age(secs);
        shop.sweep_drafts(now());
    }

    /// Does something as the shop's people, whose mails are no noise.
    fn quietly<T>(&self, work: impl FnOnce(&mut Shop) -> T) -> T {
        quietly(&mut self.lock_for_people(), work)
    }

    /// Writes down everything that the shop holds, so that a later run can go on with it. Not part of it: the keys, the
    /// faults and the ledger's effects.
    pub fn snapshot(&self) -> Value {
        snapshot::take(&self.lock())
    }

    /// Puts back what [`Store::snapshot`] wrote down, in place of what the shop holds now; the ledger begins anew.
    ///
    /// # Errors
    /// When the value is no snapshot of a shop; then nothing is changed.
    pub fn restore(&self, snapshot: &Value) -> Result<(), SnapshotError> {
        snapshot::put_back(&mut self.lock_for_people(), snapshot)
    }

    pub(crate) fn put_recorded(&self, data: &Value) -> usize {
        let mut shop = self.lock_for_people();
        restore::restore(&mut shop, data)
    }

    fn lock(&self) -> MutexGuard<'_, Shop> {
        self.site.shop.lock().expect("no holder of the shop panics")
    }

    fn lock_for_people(&self) -> MutexGuard<'_, Shop> {
        lock_for_people(&self.site)
    }
}

fn product_resource(shop: &Shop, id: u64) -> Resource {
    match shop.product(id) {
        Some(product) if product.is_variation() => Resource::Variations {
            parent: product.parent,
        },
        _ => Resource::Products,
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// Returns whole seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
