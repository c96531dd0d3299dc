//! A stand-in for Odoo 19 Community: JSON-2 and JSON-RPC over one generic model store.
//!
//! Partners, products, stock, payments and what they refer to follow the rules of `facts/systems.md` part B and
//! `facts/mapping-odoo.md`; other models can be read when they were recorded.

mod action;
mod base;
mod call;
mod company;
mod credit_note;
mod database;
mod delivery;
mod domain;
mod exception;
mod group;
mod image;
mod load;
mod model;
mod noise;
mod operation;
mod partner;
mod payment;
mod pricelist;
mod product;
mod quantity;
mod read;
mod rpc;
mod sale;
mod schema;
mod session;
mod snapshot;
mod stock;
mod tax;
#[cfg(test)]
mod tests;
mod vat;
mod web;
mod write;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Map, Value, json};

use self::database::Database;
pub use self::noise::Noise;
use self::read::Links;
use self::rpc::{Office, User};
use self::session::{ADMIN, Session, now_micros};
use crate::fault::FaultPlan;
use crate::ledger::{Ledger, Origin};
use crate::server::{Server, Transport};
use crate::snapshot::SnapshotError;

/// How the ERP is set up.
#[derive(Debug, Clone)]
pub struct ErpOptions {
    pub database: String,
    pub login: String,
    pub api_key: String,
    pub password: String,
    /// Below 19 there is no JSON-2, below 18 no `/web/version` either.
    pub major_version: u32,
    /// Whether `base_vat` is installed, which looks at the tax ids of partners.
    pub has_base_vat: bool,
}

impl Default for ErpOptions {
    fn default() -> Self {
        Self {
            database: "sandbox".to_owned(),
            login: "admin".to_owned(),
            api_key: "sandbox-api-key".to_owned(),
            password: "sandbox-password".to_owned(),
            major_version: 19,
            has_base_vat: false,
        }
    }
}

/// A running ERP; it stops when dropped.
#[derive(Debug)]
pub struct Erp {
    office: Arc<Office>,
    server: Server,
}

impl Erp {
    /// Starts a fresh database on a free port.
    ///
    /// # Errors
    /// When the port cannot be opened.
    pub async fn start(options: ErpOptions) -> std::io::Result<Self> {
        Self::start_on(options, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Starts a fresh database on an address.
    ///
    /// # Errors
    /// When the address is not free.
    pub async fn start_on(options: ErpOptions, address: SocketAddr) -> std::io::Result<Self> {
        let admin = User {
            id: ADMIN,
            login: options.login,
            api_key: options.api_key,
            password: options.password,
            may_create: true,
        };
        let mut db = base::fresh(options.major_version);
        db.has_base_vat = options.has_base_vat;
        let office = Arc::new(Office {
            db: Arc::new(Mutex::new(db)),
            users: Mutex::new(vec![admin]),
            database: options.database,
            major_version: options.major_version,
            faults: FaultPlan::default(),
            ledger: Ledger::default(),
        });
        let server = Server::start(Arc::clone(&office), address, Transport::Plain).await?;
        Ok(Self { office, server })
    }

    /// Returns the address without a slash at its end.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    pub fn ledger(&self) -> &Ledger {
        &self.office.ledger
    }

    /// Counts what the API caused besides its effects, since the start or the last restore.
    pub fn noise(&self) -> Noise {
        self.lock().noise
    }

    pub fn faults(&self) -> &FaultPlan {
        &self.office.faults
    }

    /// Adds a user whose API key is its password too and returns its id.
    pub fn add_user(&self, login: &str, key: &str, can_create: bool) -> i64 {
        let mut users = self.office.users.lock().expect("no holder of the users panics");
        let id = users.iter().map(|user| user.id).max().unwrap_or(ADMIN).max(4) + 1;
        let (login, api_key) = (login.to_owned(), key.to_owned());
        users.push(User {
            id,
            login,
            password: api_key.clone(),
            api_key,
            may_create: can_create,
        });
        id
    }

    /// Takes the right to write a model from all users, as leaving a group does.
    pub fn deny(&self, model: &str) {
        self.lock().denied.insert(model.to_owned());
    }

    /// Gives back what [`Erp::deny`] took.
    pub fn allow(&self, model: &str) {
        self.lock().denied.remove(model);
    }

    /// Has a model be unknown, as if the module that brings it was never installed.
    pub fn uninstall(&self, model: &str) {
        self.lock().uninstalled.insert(model.to_owned());
    }

    /// Lists every record of a model, archived ones too, each with its `external_id` or null.
    pub fn records(&self, model: &str) -> Vec<Value> {
        let mut db = self.lock();
        if !db.has(model) {
            return Vec::new();
        }
        let ids: Vec<i64> = db.table(model).rows.keys().copied().collect();
        let mut session = Session::new(&mut db, now_micros());
        session.active_test = false;
        let mut rows = session.read(model, &ids, &[], Links::Named).unwrap_or_default();
        for (id, row) in ids.iter().zip(&mut rows) {
            row["external_id"] = json!(session.external_id(model, *id));
        }
        rows
    }

    /// Creates a record as a person would, outside the ledger.
    ///
    /// # Panics
    /// When Odoo would refuse it.
    pub fn insert(&self, model: &str, vals: Value) -> i64 {
        let vals = object(vals);
        self.as_person(|session| session.create(model, &vals).expect("the record can be made"))
    }

    /// Changes a record as a person would.
    ///
    /// # Panics
    /// When Odoo would refuse it.
    pub fn update(&self, model: &str, id: i64, vals: Value) {
        let vals = object(vals);
        self.as_person(|session| {
            session
                .write(model, &[id], &vals)
                .expect("the record can be changed");
        });
    }

    /// Presses a button on a record as a person would, such as `action_confirm` on an order, and says yes to what it asks.
    ///
    /// # Panics
    /// When Odoo would refuse it.
    pub fn press(&self, model: &str, id: i64, button: &str) {
        let arguments = object(json!({
            "ids": [id], "context": {"skip_sms": true, "skip_backorder": true},
        }));
        self.as_person(|session| {
            session
                .call(model, button, &arguments)
                .expect("the button can be pressed");
        });
    }

    /// Deletes a record as a person would.
    ///
    /// # Panics
    /// When there is no such record.
    pub fn unlink(&self, model: &str, id: i64) {
        self.as_person(|session| session.unlink(model, &[id]).expect("the record can be deleted"));
    }

    /// Sets the stock of a product at a location as a person does who counts it: a move says so.
    ///
    /// # Panics
    /// When the product is not kept in stock.
    pub fn set_stock(&self, product: i64, location: i64, quantity: f64) {
        self.as_person(|session| {
            session
                .set_stock(product, location, quantity)
                .expect("the product is kept in stock");
        });
    }

    /// Lets time pass: whatever there is was made and changed this much longer ago.
    pub fn age(&self, by: Duration) {
        self.lock().age(i64::try_from(by.as_micros()).unwrap_or(i64::MAX));
    }

    /// Starts a transaction that creates a record and commits after a while.
    ///
    /// Until then the record is invisible, and its time of change is the start (facts: systems B6). Must be called on
    /// a tokio runtime.
    pub fn hold_transaction(&self, model: &str, vals: Value, duration: Duration) {
        let (office, model, vals) = (Arc::clone(&self.office), model.to_owned(), object(vals));
        let start = now_micros();
        tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            let mut db = office.db.lock().expect("no holder of the database panics");
            let mut session = Session::new(&mut db, start);
            if session.create(&model, &vals).is_ok() {
                session.commit(&office.ledger, None);
            }
        });
    }

    /// Writes down everything that the database holds, so that a later run can go on with it. Not part of it: who may
    /// log in, the faults and the ledger's effects.
    pub fn snapshot(&self) -> Value {
        snapshot::take(&self.lock(), &self.office.ledger)
    }

    /// Puts back what [`Erp::snapshot`] wrote down, in place of what the database holds now; the ledger begins anew.
    ///
    /// # Errors
    /// When the value is no snapshot of an ERP; then nothing is changed.
    pub fn restore(&self, snapshot: &Value) -> Result<(), SnapshotError> {
        snapshot::put_back(&mut self.lock(), &self.office.ledger, snapshot)
    }

    pub(crate) fn put_recorded(&self, data: &Map<String, Value>) -> usize {
        let mut db = self.lock();
        let count = base::restore(&mut db, data);
        for model in session::ANNOUNCED {
            let ids: Vec<i64> = db.table(model).rows.keys().copied().collect();
            Session::new(&mut db, now_micros()).announce(model, &ids, &self.office.ledger, Origin::People);
        }
        count
    }

    /// Runs many changes of people as one transaction.
    pub(crate) fn as_person<T>(&self, work: impl FnOnce(&mut Session<'_>) -> T) -> T {
        let mut db = self.lock();
        let mut session = Session::new(&mut db, now_micros());
        let result = work(&mut session);
        session.commit(&self.office.ledger, None);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Database> {
        self.office.db.lock().expect("no holder of the database panics")
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
