//! The systems under contract: how to start a stand-in, to connect to it, and to be its own people.

use std::time::Duration;

use lockstep_sandbox::fault::{FaultPlan, RequestInfo};
use lockstep_sandbox::ledger::Ledger;
use lockstep_sandbox::odoo::{Erp, ErpOptions};
use lockstep_sandbox::woocommerce::{Permission, Store, StoreOptions};
use lockstep_shared::connection::Settings;
use lockstep_shared::entity::Content;
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::Connector;
use lockstep_worker::connector::http::{Client, Options};
use lockstep_worker::connector::odoo::Odoo;
use lockstep_worker::connector::woocommerce::WooCommerce;
use serde_json::{Value, json};

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Known,
    /// Knows everything but the secret.
    Stranger,
    /// May read and not write.
    Reader,
}

/// One system with its connector and its people.
pub trait Subject: Sized + 'static {
    async fn start() -> Self;

    fn connect(&self, caller: Caller, options: &Options) -> Box<dyn Connector>;
    fn ledger(&self) -> &Ledger;
    fn faults(&self) -> &FaultPlan;

    /// What no error and no log may show.
    fn secrets() -> Vec<String>;
    /// Says whether a request writes.
    fn is_write(request: &RequestInfo) -> bool;
    /// Says whether the system itself keeps a second thing with the same keys from being made.
    fn is_unique(content: &Content) -> bool;
    /// Says whether a pull can be told to leave out what did not change.
    fn tells_changes(entity: EntityType) -> bool;
    /// Says whether a name can be looked for before anything is made.
    fn can_look_before(entity: EntityType) -> bool;

    // What its own people do

    /// Makes a thing that a number tells apart; returns its id.
    fn add(&self, entity: EntityType, number: usize) -> String;
    fn rename(&self, entity: EntityType, id: &str, name: &str);
    /// Changes a mapped field that is not the name: a phone number, a short description.
    fn annotate(&self, entity: EntityType, id: &str, text: &str);
    /// Changes a field that no record has.
    fn note(&self, entity: EntityType, id: &str, text: &str);
    /// Reads what [`Subject::note`] wrote.
    fn noted(&self, entity: EntityType, id: &str) -> String;
    /// Deletes a thing for good.
    fn remove(&self, entity: EntityType, id: &str);
    /// Counts the things there are.
    fn count(&self, entity: EntityType) -> usize;
    /// Lets time pass over what there is.
    fn age(&self, by: Duration);
}

fn client(options: &Options) -> Client {
    Client::new(options).expect("the client can be built")
}

/// WooCommerce over http, with signatures.
#[derive(Debug)]
pub struct Shop {
    pub store: Store,
}

const READ_KEY: &str = "ck_reader";
const READ_SECRET: &str = "cs_reader_secret";
const WRONG_SECRET: &str = "cs_wrong_secret";

impl Shop {
    pub async fn with(options: StoreOptions) -> Self {
        let store = Store::start(options).await.expect("a port is free");
        store.add_key(READ_KEY, READ_SECRET, Permission::Read);
        Self { store }
    }

    /// Connects with settings of its own.
    pub fn connect_with(&self, settings: &Settings) -> Box<dyn Connector> {
        let known = StoreOptions::default();
        Box::new(WooCommerce::new(
            client(&Options::local()),
            self.store.base_url().parse().expect("an address"),
            known.consumer_key.into(),
            known.consumer_secret.into(),
            settings,
        ))
    }

    fn id(id: &str) -> u64 {
        id.parse().expect("ids are numbers")
    }

    fn change(&self, entity: EntityType, id: &str, changes: Value) {
        match entity {
            EntityType::Customers => self.store.update_customer(Self::id(id), changes),
            EntityType::Products => self.store.update_product(Self::id(id), changes),
            _ => unreachable!("their rules are elsewhere"),
        }
    }
}

impl Subject for Shop {
    async fn start() -> Self {
        Self::with(StoreOptions::default()).await
    }

    fn connect(&self, caller: Caller, options: &Options) -> Box<dyn Connector> {
        let known = StoreOptions::default();
        let (key, secret) = match caller {
            Caller::Known => (known.consumer_key, known.consumer_secret),
            Caller::Stranger => (known.consumer_key, WRONG_SECRET.to_owned()),
            Caller::Reader => (READ_KEY.to_owned(), READ_SECRET.to_owned()),
        };
        let base_url = self.store.base_url().parse().expect("an address");
        Box::new(WooCommerce::new(
            client(options),
            base_url,
            key.into(),
            secret.into(),
            &Settings::default(),
        ))
    }

    fn ledger(&self) -> &Ledger {
        self.store.ledger()
    }

    fn faults(&self) -> &FaultPlan {
        self.store.faults()
    }

    fn secrets() -> Vec<String> {
        let known = StoreOptions::default();
        let secrets = [known.consumer_key.as_str(), known.consumer_secret.as_str()];
        secrets
            .into_iter()
            .chain([READ_KEY, READ_SECRET, WRONG_SECRET, "oauth_", "http://"])
            .map(str::to_owned)
            .collect()
    }

    fn is_write(request: &RequestInfo) -> bool {
        request.method == "POST"
    }

    /// An account always has an address; a product may have no SKU, and one with variations has none of its own.
    fn is_unique(content: &Content) -> bool {
        match content {
            Content::Customer(_) => true,
            Content::Product(product) => {
                product.is_simple() && product.variants.iter().all(|variant| variant.sku.is_some())
            }
            _ => unreachable!("their rules are elsewhere"),
        }
    }

    fn tells_changes(entity: EntityType) -> bool {
        entity == EntityType::Products
    }

    fn can_look_before(_entity: EntityType) -> bool {
        true
    }

    fn add(&self, entity: EntityType, number: usize) -> String {
        let id = match entity {
            EntityType::Customers => self.store.insert_customer(json!({
                "email": format!("theirs-{number}@example.com"), "first_name": format!("Their {number}"),
                "billing": {"phone": "1"}
            })),
            EntityType::Products => self.store.insert_product(json!({
                "name": format!("Their {number}"), "sku": format!("THEIRS-{number}"), "regular_price": "5.00",
                "short_description": "1"
            })),
            _ => unreachable!("their rules are elsewhere"),
        };
        id.to_string()
    }

    fn rename(&self, entity: EntityType, id: &str, name: &str) {
        match entity {
            EntityType::Customers => self.change(entity, id, json!({"first_name": name, "last_name": ""})),
            EntityType::Products => self.change(entity, id, json!({"name": name})),
            _ => unreachable!("their rules are elsewhere"),
        }
    }

    fn annotate(&self, entity: EntityType, id: &str, text: &str) {
        match entity {
            EntityType::Customers => self.change(entity, id, json!({"billing": {"phone": text}})),
            EntityType::Products => self.change(entity, id, json!({"short_description": text})),
            _ => unreachable!("their rules are elsewhere"),
        }
    }

    fn note(&self, entity: EntityType, id: &str, text: &str) {
        self.change(
            entity,
            id,
            json!({"meta_data": [{"key": "loyalty_card", "value": text}]}),
        );
    }

    fn noted(&self, entity: EntityType, id: &str) -> String {
        let whole = match entity {
            EntityType::Customers => {
                let is_it = |one: &Value| one["id"].as_u64() == Some(Self::id(id));
                self.store.customers().into_iter().find(is_it)
            }
            EntityType::Products => self.store.product(Self::id(id)),
            _ => unreachable!("their rules are elsewhere"),
        };
        let whole = whole.expect("the thing is there");
        let meta = whole["meta_data"].as_array().expect("a list");
        let entry = meta.iter().find(|entry| entry["key"] == "loyalty_card");
        let text = entry.and_then(|entry| entry["value"].as_str());
        text.unwrap_or_default().to_owned()
    }

    fn remove(&self, entity: EntityType, id: &str) {
        match entity {
            EntityType::Customers => self.store.delete_customer(Self::id(id)),
            EntityType::Products => self.store.delete_product(Self::id(id)),
            _ => unreachable!("their rules are elsewhere"),
        }
    }

    fn count(&self, entity: EntityType) -> usize {
        match entity {
            EntityType::Customers => self.store.customers().len(),
            EntityType::Products => self.store.products().len(),
            _ => unreachable!("their rules are elsewhere"),
        }
    }

    fn age(&self, by: Duration) {
        self.store.age(by);
    }
}

/// Odoo of one version: JSON-2 from 19 on, JSON-RPC before.
#[derive(Debug)]
pub struct Office<const MAJOR: u32> {
    pub erp: Erp,
}

const READER: &str = "reader";
const READER_KEY: &str = "reader-api-key";
const WRONG_KEY: &str = "wrong-api-key";

/// What the ledgers call a thing.
pub fn thing(entity: EntityType) -> &'static str {
    match entity {
        EntityType::Customers => "customer",
        EntityType::Products => "product",
        _ => unreachable!("their rules are elsewhere"),
    }
}

fn model(entity: EntityType) -> &'static str {
    match entity {
        EntityType::Customers => "res.partner",
        EntityType::Products => "product.template",
        _ => unreachable!("their rules are elsewhere"),
    }
}

impl<const MAJOR: u32> Office<MAJOR> {
    pub fn id(id: &str) -> i64 {
        id.parse().expect("ids are numbers")
    }

    fn record(&self, entity: EntityType, id: &str) -> Value {
        let records = self.erp.records(model(entity)).into_iter();
        let mut found = records.filter(|record| record["id"].as_i64() == Some(Self::id(id)));
        found.next().expect("the thing is there")
    }

    fn change(&self, entity: EntityType, id: &str, vals: Value) {
        self.erp.update(model(entity), Self::id(id), vals);
    }
}

impl<const MAJOR: u32> Subject for Office<MAJOR> {
    async fn start() -> Self {
        let options = ErpOptions {
            major_version: MAJOR,
            ..ErpOptions::default()
        };
        let erp = Erp::start(options).await.expect("a port is free");
        erp.add_user(READER, READER_KEY, false);
        Self { erp }
    }

    fn connect(&self, caller: Caller, options: &Options) -> Box<dyn Connector> {
        let known = ErpOptions::default();
        let (login, key) = match caller {
            Caller::Known => (known.login, known.api_key),
            Caller::Stranger => (known.login, WRONG_KEY.to_owned()),
            Caller::Reader => (READER.to_owned(), READER_KEY.to_owned()),
        };
        let base_url = self.erp.base_url().parse().expect("an address");
        Box::new(Odoo::new(
            client(options),
            base_url,
            known.database,
            login,
            key.into(),
            &Settings::default(),
        ))
    }

    fn ledger(&self) -> &Ledger {
        self.erp.ledger()
    }

    fn faults(&self) -> &FaultPlan {
        self.erp.faults()
    }

    fn secrets() -> Vec<String> {
        let key = ErpOptions::default().api_key;
        vec![
            key,
            READER_KEY.to_owned(),
            WRONG_KEY.to_owned(),
            "http://".to_owned(),
        ]
    }

    fn is_write(request: &RequestInfo) -> bool {
        request.path.ends_with("/load") || request.body["params"]["args"][4] == "load"
    }

    /// Our external ids are.
    fn is_unique(_content: &Content) -> bool {
        true
    }

    fn tells_changes(_entity: EntityType) -> bool {
        true
    }

    fn can_look_before(_entity: EntityType) -> bool {
        true
    }

    fn add(&self, entity: EntityType, number: usize) -> String {
        let vals = match entity {
            EntityType::Customers => json!({
                "name": format!("Their {number}"), "email": format!("theirs-{number}@example.com"), "phone": "1"
            }),
            EntityType::Products => json!({
                "name": format!("Their {number}"), "default_code": format!("THEIRS-{number}"), "list_price": 5.0,
                "description_sale": "1"
            }),
            _ => unreachable!("their rules are elsewhere"),
        };
        self.erp.insert(model(entity), vals).to_string()
    }

    fn rename(&self, entity: EntityType, id: &str, name: &str) {
        self.change(entity, id, json!({"name": name}));
    }

    fn annotate(&self, entity: EntityType, id: &str, text: &str) {
        let field = match entity {
            EntityType::Customers => "phone",
            EntityType::Products => "description_sale",
            _ => unreachable!("their rules are elsewhere"),
        };
        self.change(entity, id, json!({field: text}));
    }

    fn note(&self, entity: EntityType, id: &str, text: &str) {
        let field = match entity {
            EntityType::Customers => "ref",
            EntityType::Products => "description_purchase",
            _ => unreachable!("their rules are elsewhere"),
        };
        self.change(entity, id, json!({field: text}));
    }

    fn noted(&self, entity: EntityType, id: &str) -> String {
        let record = self.record(entity, id);
        let text = match entity {
            EntityType::Customers => &record["ref"],
            EntityType::Products => &record["description_purchase"],
            _ => unreachable!("their rules are elsewhere"),
        };
        text.as_str().unwrap_or_default().to_owned()
    }

    fn remove(&self, entity: EntityType, id: &str) {
        self.erp.unlink(model(entity), Self::id(id));
    }

    /// An address of a partner is a partner too.
    fn count(&self, entity: EntityType) -> usize {
        let records = self.erp.records(model(entity)).into_iter();
        records.filter(|record| record["type"] != "delivery").count()
    }

    fn age(&self, by: Duration) {
        self.erp.age(by);
    }
}
