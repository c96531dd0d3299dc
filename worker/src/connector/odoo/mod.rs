//! Odoo.
//!
//! Reads by `search_read`, writes by `load`: one call writes records and the external ids by which they are known
//! again, all or nothing. Customers are partners, known by their database id; products are templates, known by the
//! template's database id, with the ids of their variants as parts.

mod act;
mod category;
mod check;
mod cursor;
mod error;
mod html;
mod inventory;
mod load;
mod lookup;
mod name;
mod order;
mod partner;
mod partner_write;
mod payment;
mod picture;
mod place;
mod price;
mod product;
mod product_write;
mod pull;
mod rpc;
mod web;
mod wire;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{Content, Product};
use lockstep_shared::id::RecordId;
use lockstep_shared::system::{EntityType, System};
use partner::PartnerRow;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, OnceCell};
use url::Url;

use super::http::Client;
use super::{
    Action, CallError, Checked, Connector, Cursor, Gate, Outcome, Page, Parts, Reach, Refusal, Request,
    Sighting, Theirs, Wanted, Write,
};
use category::Tree;
use error::{Failure, unwell};
use load::{Planned, Settled};
use place::Places;
use product_write::Known;
use rpc::Rpc;
use write::Found;

/// Odoo's name in errors.
const SYSTEM: &str = "Odoo";

/// How long Odoo may go on with a request after we stopped waiting: it retries conflicts by itself for 16 to 25 s
/// (facts/systems.md B5).
const GRACE: Duration = Duration::from_secs(30);

/// Most writes in one request. A load of 500 products took 4.7 s, one of 1500 partners 4.3 s (facts/systems.md B8), and
/// the longer a load, the more transactions it meets.
const REQUEST_LIMIT: usize = 200;

/// One Odoo database, seen as one user.
pub struct Odoo {
    rpc: Rpc,
    /// For what is not Odoo's own: pictures.
    http: Client,
    settings: Settings,
    places: OnceCell<Places>,
    columns: OnceCell<order::Columns>,
    setup: Mutex<Option<Arc<order::Setup>>>,
    /// What the column is called in which a payment says what it is for.
    memo: OnceCell<&'static str>,
    journal: OnceCell<Option<payment::Journal>>,
    /// Where stock is kept.
    location: OnceCell<Option<i64>>,
    /// Whether this Odoo reads one kind of record at a time only.
    is_flat: AtomicBool,
    grace: Duration,
}

/// What a user of Odoo proves itself by, and where.
#[derive(Clone, Debug)]
struct Login {
    database: String,
    user: String,
    api_key: SecretString,
}

impl fmt::Debug for Odoo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Odoo")
            .field("settings", &self.settings)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

impl Odoo {
    /// Makes no call yet: version and user are learnt by the first one that needs them.
    pub fn new(
        http: Client,
        base_url: Url,
        database: String,
        login: String,
        api_key: SecretString,
        settings: &Settings,
    ) -> Self {
        let http = http.striking([api_key.clone()]);
        let login = Login {
            database,
            user: login,
            api_key,
        };
        Self {
            rpc: Rpc::new(http.clone(), base_url, login),
            http,
            settings: settings.clone(),
            places: OnceCell::new(),
            columns: OnceCell::new(),
            setup: Mutex::default(),
            memo: OnceCell::new(),
            journal: OnceCell::new(),
            location: OnceCell::new(),
            is_flat: AtomicBool::new(false),
            grace: GRACE,
        }
    }

    /// Changes how long a request is taken to go on after its caller has gone.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Reads the tables of countries and states, once.
    async fn places(&self, gate: &dyn Gate) -> Result<&Places, Failure> {
        self.places
            .get_or_try_init(|| Places::read(&self.rpc, gate))
            .await
    }

    /// The context of every write: no mail, no chatter, no followers, and three times as fast for it
    /// (facts/mapping-odoo.md §0, §7).
    fn silence(&self) -> Map<String, Value> {
        if self.settings.notifies_people {
            return Map::new();
        }
        let names = [
            "tracking_disable",
            "mail_create_nolog",
            "mail_notrack",
            "mail_create_nosubscribe",
        ];
        names
            .map(|name| (name.to_owned(), json!(true)))
            .into_iter()
            .collect()
    }

    /// Reads things by their ids; what is no id of Odoo's is nothing.
    async fn by_ids(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        external_ids: &[String],
    ) -> Result<Vec<Theirs>, Failure> {
        let ids: BTreeSet<i64> = external_ids.iter().filter_map(|id| id.parse().ok()).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        match entity {
            EntityType::Customers => {
                let wanted: Vec<i64> = ids.into_iter().collect();
                let found = self
                    .partners(gate, json!([["id", "in", wanted]]), &wanted)
                    .await?;
                self.customers(gate, found.into_iter().filter(PartnerRow::is_contact).collect())
                    .await
            }
            EntityType::Products => self.products_by_ids(gate, &ids).await,
            EntityType::Orders => self.orders(gate, &ids).await,
            EntityType::Inventory => self.levels(gate, &ids).await,
            EntityType::Payments => self.payments(gate, &ids).await,
        }
    }

    async fn find_drafts(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        writes: Vec<Write>,
    ) -> Result<Vec<(Write, Found)>, Failure> {
        // Sending must not ask for anything: learn now what it needs.
        self.rpc.backend(gate).await?;
        match entity {
            EntityType::Customers => self.customer_drafts(gate, writes).await,
            EntityType::Products => self.product_drafts(gate, writes).await,
            EntityType::Orders => self.order_drafts(gate, writes).await,
            EntityType::Inventory => self.level_drafts(gate, writes).await,
            EntityType::Payments => self.payment_drafts(gate, writes).await,
        }
    }

    async fn customer_drafts(
        &self,
        gate: &dyn Gate,
        writes: Vec<Write>,
    ) -> Result<Vec<(Write, Found)>, Failure> {
        let places = self.places(gate).await?;
        let parents: Vec<i64> = writes.iter().filter_map(partner_write::needs_delivery).collect();
        let children = self.children(gate, &parents).await?;
        let deliveries = partner::deliveries(&children)
            .into_iter()
            .map(|(parent, child)| (parent, child.id))
            .collect();
        let found = writes.into_iter().map(|write| {
            let found = match &write.content {
                Content::Customer(customer) => {
                    let draft = partner_write::draft(&write, customer, places, &deliveries);
                    draft.map_or_else(|| done(&write, Parts::new()), Found::Call)
                }
                _ => refused(wrong_type()),
            };
            (write, found)
        });
        Ok(found.collect())
    }

    async fn product_drafts(
        &self,
        gate: &dyn Gate,
        writes: Vec<Write>,
    ) -> Result<Vec<(Write, Found)>, Failure> {
        let known = self.known(gate, &writes).await?;
        let found = writes.into_iter().map(|write| {
            let found = match &write.content {
                Content::Product(product) => {
                    match product_write::draft(&write, product, &known, &self.settings) {
                        Ok(Some(draft)) => Found::Call(draft),
                        Ok(None) => done(&write, product_write::parts_after(&write, product)),
                        Err(refusal) => refused(refusal),
                    }
                }
                _ => refused(wrong_type()),
            };
            (write, found)
        });
        Ok(found.collect())
    }

    /// Reads what products with variants need to know of their templates: at most three calls for all of them.
    async fn known(&self, gate: &dyn Gate, writes: &[Write]) -> Result<Known, Failure> {
        let products: Vec<_> = writes
            .iter()
            .filter_map(|write| match &write.content {
                Content::Product(product) => Some((write, product)),
                _ => None,
            })
            .collect();
        let templates: BTreeSet<i64> = products
            .iter()
            .filter_map(|(write, product)| product_write::needs_values(write, product))
            .collect();
        let major = self.rpc.backend(gate).await?.major;
        let mut known = Known {
            values: self.values(gate, &templates).await?,
            ours: BTreeSet::new(),
            archived: BTreeMap::new(),
            categories: Tree::default(),
            tags: BTreeMap::new(),
            has_storable_kind: major < product::FIRST_WITH_STORABLE,
            may_lack_category: major >= CATEGORY_OPTIONAL,
        };
        let is_placed =
            |(write, product): &(&Write, &Product)| product_write::needs_categories(write, product);
        if products.iter().any(is_placed) {
            known.categories = self.categories_to_write(gate, &products).await?;
        }
        let tags: BTreeSet<&String> = products
            .iter()
            .filter(|(write, product)| product_write::needs_tags(write, product))
            .flat_map(|(_, product)| &product.tags)
            .collect();
        if !tags.is_empty() {
            let domain = json!([["name", "in", tags]]);
            let found = self.tags(gate, domain).await?;
            known.tags = found.into_iter().map(|tag| (tag.name, tag.id)).collect();
        }
        let claimed: BTreeMap<i64, String> = products
            .iter()
            .filter_map(|(write, product)| {
                let template = product_write::needs_ownership(write, product, &known)?;
                Some((template, name::template(write.record)))
            })
            .collect();
        let asked = claimed.keys().copied().collect();
        let named = self.external_ids(gate, EntityType::Products, &asked).await?;
        known.ours = claimed
            .into_iter()
            .filter(|(template, name)| named.get(template) == Some(name))
            .map(|(template, _)| template)
            .collect();
        known.archived = self.archived(gate, &known.ours, &known.values).await?;
        Ok(known)
    }

    /// Reads the categories, and where some have to be made, which external ids of ours they have.
    async fn categories_to_write(
        &self,
        gate: &dyn Gate,
        products: &[(&Write, &Product)],
    ) -> Result<Tree, Failure> {
        let tree = self.categories(gate).await?;
        let mut paths = products.iter().flat_map(|(_, product)| &product.categories);
        if paths.all(|path| tree.find(path).is_some()) {
            return Ok(tree);
        }
        let named = self.external_ids_of(gate, category::MODEL, &tree.ids()).await?;
        Ok(tree.with_names(named.into_values()))
    }
}

/// First version whose products need no category: up to 18 `All` is the least that one has. Odoo's own, from its source
/// and not from a capture; the recorded version 19 has no `All`.
const CATEGORY_OPTIONAL: u64 = 19;

fn done(write: &Write, parts: Parts) -> Found {
    let external_id = match &write.action {
        Action::Create => String::new(),
        Action::Update { external_id, .. } | Action::Delete { external_id } => external_id.clone(),
    };
    Found::Settled(Settled::Done {
        external_id,
        parts,
        held: None,
    })
}

fn refused(refusal: Refusal) -> Found {
    Found::Settled(Settled::Refused(refusal))
}

fn wrong_type() -> Refusal {
    Refusal {
        code: "wrong_type".to_owned(),
        message: "the record is of another type than the request".to_owned(),
    }
}

#[async_trait]
impl Connector for Odoo {
    fn system(&self) -> System {
        System::Odoo
    }

    /// Countries and states are compared as this Odoo spells them as soon as its tables are known: every pull, look-up
    /// and plan of customers reads them first.
    fn project(&self, content: &Content) -> Content {
        let projected = match content {
            Content::Customer(customer) => Content::Customer(partner::project(customer, self.places.get())),
            Content::Product(product) => Content::Product(product::project(product, &self.settings)),
            Content::Order(order) => Content::Order(order::project(order, &self.settings, self.places.get())),
            Content::Inventory(level) => Content::Inventory(inventory::project(level)),
            Content::Payment(payment) => Content::Payment(payment::project(payment)),
        };
        // What is left out can leave an address empty, or two addresses equal.
        projected.clone().canonical().unwrap_or(projected)
    }

    fn refuses(&self, content: &Content) -> Option<Refusal> {
        match content {
            Content::Customer(customer) => customer.name.is_empty().then(|| Refusal {
                code: "name_missing".to_owned(),
                message: "a contact needs a name".to_owned(),
            }),
            Content::Product(product) => product::refuses(product, &self.settings),
            Content::Order(_) | Content::Inventory(_) => None,
            Content::Payment(payment) => payment::refuses(payment),
        }
    }

    fn says_gone(&self, refusal: &Refusal) -> bool {
        refusal.code == error::RECORD_GONE
    }

    fn request_limit(&self, _entity: EntityType) -> usize {
        REQUEST_LIMIT
    }

    fn grace(&self) -> Duration {
        self.grace
    }

    async fn check(&self, gate: &dyn Gate) -> Result<Checked, CallError> {
        Ok(self.look(gate).await?)
    }

    async fn ping(&self, gate: &dyn Gate) -> Result<(), CallError> {
        Ok(self.answers(gate).await?)
    }

    async fn pull(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        cursor: &Cursor,
        limit: usize,
    ) -> Result<Page, CallError> {
        Ok(self.page(gate, entity, cursor, limit).await?)
    }

    async fn look_up(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        wanted: &[Wanted],
    ) -> Result<Vec<Sighting>, CallError> {
        Ok(self.sightings(gate, entity, wanted).await?)
    }

    async fn read(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        external_ids: &[String],
    ) -> Result<Vec<Theirs>, CallError> {
        Ok(self.by_ids(gate, entity, external_ids).await?)
    }

    async fn marks(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        external_ids: &[String],
    ) -> Result<BTreeMap<String, RecordId>, CallError> {
        Ok(self.records_of(gate, entity, external_ids).await?)
    }

    async fn existing(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        external_ids: &[String],
    ) -> Result<BTreeSet<String>, CallError> {
        Ok(self.existing_ids(gate, entity, external_ids).await?)
    }

    async fn plan(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        writes: Vec<Write>,
    ) -> Result<Vec<Request>, CallError> {
        let found = self.find_drafts(gate, entity, writes).await?;
        Ok(write::requests(found, REQUEST_LIMIT))
    }

    /// A request whose plan found that nothing is to be done, or that nothing can be, is answered without a call.
    async fn send(&self, request: &Request, deadline: Instant) -> Result<Vec<Outcome>, CallError> {
        let planned = Planned::deserialize(&request.call)
            .map_err(|_| unwell("the request is of another version of ours", Reach::NoEffect))?;
        match planned {
            Planned::Settled(settled) => Ok(settled.iter().map(Settled::outcome).collect()),
            Planned::Load(load) if load.brings_pictures() => self.send_pictures(load, deadline).await,
            Planned::Load(load) => match self.rpc.write(&load.call(&self.silence()), deadline).await {
                Ok(answer) => load.outcomes(answer),
                Err(failure) => load.failed(failure),
            },
            Planned::Act(act) => match self.rpc.write(&act.call(&self.silence()), deadline).await {
                Ok(answer) => act.outcomes(&answer),
                Err(failure) => act.failed(failure),
            },
        }
    }
}
