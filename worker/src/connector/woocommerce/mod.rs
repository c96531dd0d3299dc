//! WooCommerce, through its REST API `wc/v3`.
//!
//! What is known about it was seen on WooCommerce 11.0.1 and stands in facts/systems.md, part A, and
//! facts/mapping-woocommerce.md; the code names the section it relies on.

mod auth;
mod category;
mod check;
mod customer;
mod error;
mod existing;
#[cfg(test)]
mod fake;
mod image;
mod inventory;
mod lookup;
mod order;
mod payment;
mod product;
mod pull;
mod reference;
mod tag;
mod text;
mod webhook;
mod wire;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::Utc;
use lockstep_shared::connection::Settings;
use lockstep_shared::entity::Content;
use lockstep_shared::system::{EntityType, System};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use self::auth::{Keys, Params, Stamp};
use self::error::Kind;
use self::pull::{Mark, Place, Step, Window};
use super::http::{self, Answer};
use super::webhook::Webhooks;
use super::{
    CallError, Checked, Connector, Cursor, Gate, Outcome, Page, Refusal, Request, Sighting, Theirs, Wanted,
    Write,
};

/// The system's name in errors.
const SYSTEM: &str = "WooCommerce";

/// Most items of one batch call, in sum; more are refused with 413 (facts/systems.md A9).
const BATCH_LIMIT: usize = 100;

/// How long a batch may go on after we hung up: PHP notices that only when it writes its answer, at the end. 100
/// products took 16 s on a loaded machine, and a batch is stopped by `max_execution_time`, which counts computing only;
/// 60 s leave room for both (facts/mapping-woocommerce.md §7, facts/systems.md A11).
const GRACE: Duration = Duration::from_mins(1);

/// Longest value of one list parameter, so that an address stays below what proxies accept.
const LIST_BYTES: usize = 1_800;

/// One store.
#[derive(Clone, Debug)]
pub struct WooCommerce {
    http: http::Client,
    base_url: Url,
    keys: Keys,
    settings: Settings,
    grace: Duration,
}

impl WooCommerce {
    /// Makes a connector for the store at an address, which may have a path. Nothing is sent.
    ///
    /// Over `http` every call is signed and the keys stay here; over `https` they go along with it
    /// (facts/systems.md A1).
    pub fn new(
        http: http::Client,
        mut base_url: Url,
        consumer_key: SecretString,
        consumer_secret: SecretString,
        settings: &Settings,
    ) -> Self {
        base_url.set_query(None);
        base_url.set_fragment(None);
        // Both fail for addresses that can't have any, which is what is wanted.
        let _ = base_url.set_username("");
        let _ = base_url.set_password(None);
        let keys = Keys {
            consumer_key,
            consumer_secret,
        };
        Self {
            http: http.striking(keys.secrets()),
            base_url,
            keys,
            settings: settings.clone(),
            grace: GRACE,
        }
    }

    /// Sets how long the store may go on with a request after the caller has gone; see [`Connector::grace`].
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// Says whether customers may be told of what is made for them (R17).
    fn welcome(&self) -> customer::Welcome {
        if self.settings.notifies_people {
            customer::Welcome::Mailed
        } else {
            customer::Welcome::Silent
        }
    }

    fn endpoint(&self, path: &str) -> Url {
        let mut url = self.base_url.clone();
        let prefix = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{prefix}/wp-json/wc/v3/{path}"));
        url
    }

    /// Addresses a call and proves who sends it.
    fn request(&self, method: &str, path: &str, params: Params) -> reqwest::RequestBuilder {
        let mut url = self.endpoint(path);
        let is_secure = url.scheme() == "https";
        let params = if is_secure {
            params
        } else {
            let stamp = Stamp {
                timestamp: Utc::now().timestamp(),
                nonce: format!("{:032x}", rand::random::<u128>()),
            };
            self.keys.signed(method, &url, params, stamp)
        };
        if !params.is_empty() {
            url.set_query(Some(&auth::query(&params)));
        }
        let builder = match method {
            "POST" => self.http.post(url),
            "PUT" => self.http.put(url),
            "DELETE" => self.http.delete(url),
            _ => self.http.get(url),
        };
        if !is_secure {
            return builder;
        }
        let (key, secret) = (&self.keys.consumer_key, &self.keys.consumer_secret);
        builder.basic_auth(key.expose_secret(), Some(secret.expose_secret()))
    }

    /// Sends a GET, when the gate lets it pass.
    async fn ask(&self, gate: &dyn Gate, path: &str, params: Params) -> Result<Answer, CallError> {
        gate.pass().await?;
        self.http.read(SYSTEM, self.request("GET", path, params)).await
    }

    /// Reads one page of a list.
    async fn list(&self, gate: &dyn Gate, path: &str, params: Params) -> Result<Vec<Value>, CallError> {
        let answer = self.ask(gate, path, params).await?;
        rows(error::body(&answer, Kind::Read)?)
    }

    /// Reads every row whose value of a list parameter is among the given ones, in as few calls as fit.
    async fn list_by(
        &self,
        gate: &dyn Gate,
        path: &str,
        (name, values): (&'static str, &[String]),
        more: &Params,
    ) -> Result<Vec<Value>, CallError> {
        let mut found = Vec::new();
        for chunk in chunks(values) {
            let mut params = more.clone();
            params.push((name, chunk.join(",")));
            params.push(("per_page", Window::LIMIT.to_string()));
            found.append(&mut self.list(gate, path, params).await?);
        }
        Ok(found)
    }

    /// Turns products into what the rest of the worker knows, with their variations.
    async fn with_variations(
        &self,
        gate: &dyn Gate,
        products: Vec<wire::Product>,
    ) -> Result<Vec<(wire::Product, Vec<wire::Variation>)>, CallError> {
        let mut variations = self.variations(gate, &products).await?;
        Ok(products
            .into_iter()
            .map(|product| {
                let own = variations.remove(&product.id).unwrap_or_default();
                (product, own)
            })
            .collect())
    }

    async fn products_theirs(
        &self,
        gate: &dyn Gate,
        mut products: Vec<wire::Product>,
    ) -> Result<Vec<Theirs>, CallError> {
        if products.iter().any(category::has_any) {
            let tree = self.categories(gate).await?;
            for product in &mut products {
                product.paths = tree.paths(product, &self.settings);
            }
        }
        let complete = self.with_variations(gate, products).await?;
        Ok(complete
            .iter()
            .map(|(product, variations)| product::theirs(product, variations, &self.settings))
            .collect())
    }

    /// Reads the tree of categories: products name theirs without their parents.
    async fn categories(&self, gate: &dyn Gate) -> Result<category::Tree, CallError> {
        let rows = self.terms(gate, "products/categories").await?;
        Ok(category::Tree::new(rows))
    }

    /// Reads all tags: a list of them can't be asked for by name (facts/mapping-woocommerce.md §1).
    async fn tags(&self, gate: &dyn Gate) -> Result<tag::Words, CallError> {
        let rows = self.terms(gate, "products/tags").await?;
        Ok(tag::Words::new(rows))
    }

    async fn terms(&self, gate: &dyn Gate, path: &str) -> Result<Vec<wire::Category>, CallError> {
        let mut found: Vec<wire::Category> = Vec::new();
        loop {
            let params = vec![
                ("per_page", Window::LIMIT.to_string()),
                ("offset", found.len().to_string()),
                ("orderby", "id".to_owned()),
                ("order", "asc".to_owned()),
                ("_fields", "id,name,slug,parent".to_owned()),
            ];
            let page = self.list(gate, path, params).await?;
            let is_last = page.len() < Window::LIMIT;
            found.append(&mut parsed(page));
            if is_last {
                return Ok(found);
            }
        }
    }

    /// Reads the variations of all variable products among the given ones, by parent.
    ///
    /// `GET /variations` answers those of many parents at once; where a store has no such route they are read parent
    /// by parent. A parent that went into the trash took its variations along, which only a list of their own shows;
    /// one whose status was set to the trash kept them (facts/mapping-woocommerce.md §1).
    async fn variations(
        &self,
        gate: &dyn Gate,
        products: &[wire::Product],
    ) -> Result<BTreeMap<u64, Vec<wire::Variation>>, CallError> {
        let variable = || products.iter().filter(|product| product.is_variable());
        let ids: Vec<String> = variable()
            .flat_map(|product| &product.variations)
            .map(u64::to_string)
            .collect();
        let mut all = Vec::new();
        if let Some(mut found) = self.variations_by_id(gate, &ids, "any").await? {
            all.append(&mut found);
        } else {
            for parent in variable() {
                all.append(&mut self.variations_of(gate, parent.id, "any").await?);
            }
        }
        for parent in variable().filter(|product| product.is_trashed()) {
            all.append(&mut self.variations_of(gate, parent.id, "trash").await?);
        }
        let mut by_parent: BTreeMap<u64, Vec<wire::Variation>> = BTreeMap::new();
        for variation in all {
            by_parent.entry(variation.parent_id).or_default().push(variation);
        }
        Ok(by_parent)
    }

    /// Reads variations of any parents; `None` where the store has no such route.
    async fn variations_by_id(
        &self,
        gate: &dyn Gate,
        ids: &[String],
        status: &str,
    ) -> Result<Option<Vec<wire::Variation>>, CallError> {
        let mut found = Vec::new();
        for chunk in chunks(ids) {
            let params = vec![
                ("include", chunk.join(",")),
                ("per_page", Window::LIMIT.to_string()),
                ("status", status.to_owned()),
                ("context", "edit".to_owned()),
                ("_fields", wire::VARIATION_FIELDS.to_owned()),
            ];
            let answer = self.ask(gate, "variations", params).await?;
            if error::is_missing_route(&answer) {
                return Ok(None);
            }
            found.append(&mut parsed(rows(error::body(&answer, Kind::Read)?)?));
        }
        Ok(Some(found))
    }

    /// Reads all variations of one parent.
    async fn variations_of(
        &self,
        gate: &dyn Gate,
        parent: u64,
        status: &str,
    ) -> Result<Vec<wire::Variation>, CallError> {
        let mut found: Vec<wire::Variation> = Vec::new();
        loop {
            let params = vec![
                ("per_page", Window::LIMIT.to_string()),
                ("offset", found.len().to_string()),
                ("orderby", "id".to_owned()),
                ("order", "asc".to_owned()),
                ("status", status.to_owned()),
                ("context", "edit".to_owned()),
                ("_fields", wire::VARIATION_FIELDS.to_owned()),
            ];
            let page = self
                .list(gate, &format!("products/{parent}/variations"), params)
                .await?;
            let is_last = page.len() < Window::LIMIT;
            found.extend(
                parsed::<wire::Variation>(page)
                    .into_iter()
                    .map(|variation| wire::Variation {
                        parent_id: parent,
                        ..variation
                    }),
            );
            if is_last {
                return Ok(found);
            }
        }
    }

    async fn pull_products(&self, gate: &dyn Gate, cursor: &Cursor, limit: usize) -> Result<Page, CallError> {
        let mut mark: Mark = position(cursor)?;
        if mark.is_new() {
            let newest = self.newest_change(gate, "products").await?;
            mark = mark.begun(newest);
        }
        loop {
            let window = mark.place().window(limit);
            let mut params = mark.params(window);
            params.append(&mut lookup::product_view());
            let products: Vec<wire::Product> = parsed(self.list(gate, "products", params).await?);
            let ids: Vec<u64> = products.iter().map(|product| product.id).collect();
            match mark.place().step(&ids, window) {
                Step::Again(place) => mark = mark.at(place, false),
                Step::Page { next, is_last } => {
                    let fresh = products
                        .into_iter()
                        .filter(|product| mark.place().is_new(product.id));
                    let seen = self.products_theirs(gate, fresh.collect()).await?;
                    return page(seen, &mark.at(next, is_last), is_last);
                }
            }
        }
    }

    /// Asks when anything was modified last, in UTC.
    async fn newest_change(
        &self,
        gate: &dyn Gate,
        path: &str,
    ) -> Result<Option<chrono::NaiveDateTime>, CallError> {
        let params = vec![
            ("orderby", "modified".to_owned()),
            ("order", "desc".to_owned()),
            ("status", "any".to_owned()),
            ("per_page", "1".to_owned()),
            ("_fields", "id,date_modified_gmt".to_owned()),
        ];
        let newest: Vec<wire::Product> = parsed(self.list(gate, path, params).await?);
        Ok(newest.first().and_then(|product| product.date_modified_gmt))
    }

    async fn pull_customers(
        &self,
        gate: &dyn Gate,
        cursor: &Cursor,
        limit: usize,
    ) -> Result<Page, CallError> {
        let mut place: Place = position(cursor)?;
        loop {
            let window = place.window(limit);
            let mut params = lookup::customer_view();
            params.push(("orderby", "id".to_owned()));
            params.push(("order", "asc".to_owned()));
            params.append(&mut window.params());
            let customers: Vec<wire::Customer> = parsed(self.list(gate, "customers", params).await?);
            let ids: Vec<u64> = customers.iter().map(|customer| customer.id).collect();
            match place.step(&ids, window) {
                Step::Again(again) => place = again,
                Step::Page { next, is_last } => {
                    let fresh = customers.iter().filter(|customer| place.is_new(customer.id));
                    let next = if is_last { Place::default() } else { next };
                    return page(fresh.map(customer::theirs).collect(), &next, is_last);
                }
            }
        }
    }
}

#[async_trait]
impl Connector for WooCommerce {
    fn system(&self) -> System {
        System::Woocommerce
    }

    fn project(&self, content: &Content) -> Content {
        match content {
            Content::Customer(customer) => Content::Customer(customer::project(customer)),
            Content::Product(product) => Content::Product(product::project(product, &self.settings)),
            Content::Order(order) => Content::Order(order::project(order, &self.settings)),
            Content::Inventory(level) => Content::Inventory(inventory::project(level)),
            Content::Payment(payment) => Content::Payment(payment::project(payment)),
        }
    }

    fn refuses(&self, content: &Content) -> Option<Refusal> {
        match content {
            Content::Customer(customer) => customer::refuses(customer),
            Content::Product(product) => product::refuses(product, &self.settings),
            Content::Order(order) => order::refuses(order),
            Content::Inventory(_) => None,
            Content::Payment(payment) => payment::refuses(payment),
        }
    }

    /// Of an unknown id (facts/systems.md A2). A batch's items have the codes of single calls.
    fn says_gone(&self, refusal: &Refusal) -> bool {
        matches!(
            refusal.code.as_str(),
            "woocommerce_rest_product_invalid_id"
                | "woocommerce_rest_shop_order_invalid_id"
                | "wc_user_invalid_id"
        )
    }

    fn request_limit(&self, entity: EntityType) -> usize {
        match entity {
            EntityType::Customers | EntityType::Products | EntityType::Inventory => BATCH_LIMIT,
            EntityType::Orders => order::REQUEST_LIMIT,
            EntityType::Payments => payment::REQUEST_LIMIT,
        }
    }

    fn grace(&self) -> Duration {
        self.grace
    }

    async fn check(&self, gate: &dyn Gate) -> Result<Checked, CallError> {
        self.look(gate).await
    }

    async fn ping(&self, gate: &dyn Gate) -> Result<(), CallError> {
        let params = vec![("per_page", "1".to_owned()), ("_fields", "id".to_owned())];
        self.list(gate, "products", params).await.map(drop)
    }

    async fn pull(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        cursor: &Cursor,
        limit: usize,
    ) -> Result<Page, CallError> {
        match entity {
            EntityType::Customers => self.pull_customers(gate, cursor, limit).await,
            EntityType::Products => self.pull_products(gate, cursor, limit).await,
            EntityType::Orders => self.pull_orders(gate, cursor, limit).await,
            EntityType::Inventory => self.pull_inventory(gate, cursor, limit).await,
            EntityType::Payments => self.pull_payments(gate, cursor, limit).await,
        }
    }

    async fn look_up(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        wanted: &[Wanted],
    ) -> Result<Vec<Sighting>, CallError> {
        match entity {
            EntityType::Customers => self.look_up_customers(gate, wanted).await,
            EntityType::Products => self.look_up_products(gate, wanted).await,
            EntityType::Orders => self.look_up_orders(gate, wanted).await,
            EntityType::Inventory => self.look_up_inventory(gate, wanted).await,
            EntityType::Payments => self.look_up_payments(gate, wanted).await,
        }
    }

    async fn read(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        external_ids: &[String],
    ) -> Result<Vec<Theirs>, CallError> {
        match entity {
            EntityType::Customers => {
                let accounts = self.customers_by_id(gate, external_ids).await?;
                Ok(accounts.values().map(customer::theirs).collect())
            }
            EntityType::Products => {
                let products = self.products_by_id(gate, external_ids).await?;
                self.products_theirs(gate, products.into_values().collect()).await
            }
            EntityType::Orders => self.read_orders(gate, external_ids).await,
            EntityType::Inventory => self.read_inventory(gate, external_ids).await,
            EntityType::Payments => self.read_payments(gate, external_ids).await,
        }
    }

    async fn existing(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        external_ids: &[String],
    ) -> Result<BTreeSet<String>, CallError> {
        match entity {
            EntityType::Customers => self.existing_customers(gate, external_ids).await,
            EntityType::Products => self.existing_products(gate, external_ids).await,
            EntityType::Orders => self.existing_orders(gate, external_ids).await,
            EntityType::Inventory => self.existing_places(gate, external_ids).await,
            EntityType::Payments => self.existing_payments(gate, external_ids).await,
        }
    }

    async fn plan(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        writes: Vec<Write>,
    ) -> Result<Vec<Request>, CallError> {
        match entity {
            EntityType::Customers => self.plan_customers(gate, writes).await,
            EntityType::Products => self.plan_products(gate, writes).await,
            EntityType::Orders => self.plan_orders(gate, writes).await,
            EntityType::Inventory => self.plan_inventory(gate, writes).await,
            EntityType::Payments => self.plan_payments(gate, writes).await,
        }
    }

    async fn send(&self, request: &Request, deadline: Instant) -> Result<Vec<Outcome>, CallError> {
        // All writes of a request are of one type.
        match request.writes.first().map(|write| &write.content) {
            Some(Content::Customer(_) | Content::Product(_)) | None => {
                self.send_call(request, deadline).await
            }
            Some(Content::Order(_)) => self.send_orders(request, deadline).await,
            Some(Content::Inventory(_)) => self.send_inventory(request, deadline).await,
            Some(Content::Payment(_)) => self.send_payments(request, deadline).await,
        }
    }

    fn webhooks(&self) -> Option<&dyn Webhooks> {
        Some(self)
    }
}

/// Reads where a pull goes on.
fn position<T: DeserializeOwned + Default>(cursor: &Cursor) -> Result<T, CallError> {
    if cursor.0.is_null() {
        return Ok(T::default());
    }
    serde_json::from_value(cursor.0.clone())
        .map_err(|_| error::refused("the cursor is not one of this connector"))
}

fn page(seen: Vec<Theirs>, next: &impl serde::Serialize, is_last: bool) -> Result<Page, CallError> {
    let next = serde_json::to_value(next).map_err(|_| error::refused("the cursor can't be written"))?;
    Ok(Page {
        seen,
        next: Cursor(next),
        is_last,
    })
}

fn rows(body: Value) -> Result<Vec<Value>, CallError> {
    match body {
        Value::Array(rows) => Ok(rows),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            Err(error::unwell("its answer is not a list", Kind::Read))
        }
    }
}

/// Reads rows. One that is no object is an empty one, so that the length of a page stays what it was.
fn parsed<T: DeserializeOwned + Default>(rows: Vec<Value>) -> Vec<T> {
    rows.into_iter()
        .map(|row| serde_json::from_value(row).unwrap_or_default())
        .collect()
}

/// Cuts the values of a list parameter into lists that fit one call, each value once.
fn chunks(values: &[String]) -> Vec<Vec<&str>> {
    let mut chunks: Vec<Vec<&str>> = Vec::new();
    let (mut known, mut bytes) = (BTreeSet::new(), 0);
    for value in values {
        if !known.insert(value) {
            continue;
        }
        let length = auth::query(&[("", value.clone())]).len() + 3;
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < Window::LIMIT && bytes + length <= LIST_BYTES => {
                chunk.push(value);
                bytes += length;
            }
            Some(_) | None => {
                chunks.push(vec![value]);
                bytes = length;
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests;
