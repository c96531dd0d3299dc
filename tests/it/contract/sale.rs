//! A store with things to sell and someone to buy them, and the records behind these.

use std::sync::Arc;

use lockstep_sandbox::woocommerce::{Noise, StoreOptions};
use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{Content, PartKey, RecordPart, Reference, RemoteThing};
use lockstep_shared::id::RecordId;
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::http::{Client, Options};
use lockstep_worker::connector::woocommerce::WooCommerce;
use lockstep_worker::connector::{Link, Links, Purpose, Sighting, Theirs, Wanted, Write};
use serde_json::{Value, json};

use super::harness::{Harness, Turnstile, create};
use super::subject::{Shop, Subject};

/// A store that sells a mug and a shirt in two colours, and has one account.
pub struct Sale {
    pub harness: Harness<Shop>,
    pub mug: Thing,
    pub shirt: Thing,
    pub ann: Thing,
    /// Of the shirt.
    pub blue: u64,
    pub red: u64,
    links: Vec<(RecordId, Link)>,
}

/// A thing of the store and its record.
#[derive(Clone, Copy, Debug)]
pub struct Thing {
    pub id: u64,
    pub record: RecordId,
}

impl Thing {
    fn new(id: u64) -> Self {
        Self {
            id,
            record: RecordId::random(),
        }
    }
}

pub fn content(entity: EntityType, json: Value) -> Content {
    Content::parse(entity, json).expect("the content is valid")
}

impl Sale {
    pub async fn open() -> Self {
        Self::with(&Settings::default()).await
    }

    /// Opens a store whose connection has these settings.
    pub async fn with(settings: &Settings) -> Self {
        let subject = Shop::start().await;
        let store = &subject.store;
        let mug = Thing::new(store.insert_product(json!({
            "name": "Mug", "sku": "MUG", "regular_price": "10.00", "manage_stock": true, "stock_quantity": 100
        })));
        let colour = json!([{"name": "Colour", "variation": true, "options": ["Blue", "Red"]}]);
        let variation = |option: &str, sku: &str| {
            json!({
                "regular_price": "20.00", "sku": sku, "manage_stock": true, "stock_quantity": 50,
                "attributes": [{"name": "Colour", "option": option}]
            })
        };
        let shirt = Thing::new(store.insert_product(json!({
            "name": "Shirt", "type": "variable", "attributes": colour,
            "variations_full": [variation("Blue", "SHIRT-B"), variation("Red", "SHIRT-R")]
        })));
        let ann = Thing::new(store.insert_customer(json!({
            "email": "ann@example.com", "first_name": "Ann", "last_name": "Lee", "billing": {"phone": "1"}
        })));
        let whole = store.product(shirt.id).expect("the shirt is there");
        let variations = whole["variations_full"].as_array().expect("a list").clone();
        let id = |at: usize| variations[at]["id"].as_u64().expect("an id");
        let (blue, red) = (id(0), id(1));
        let link = |thing: Thing, content: Content, parts: &[(&str, u64)]| {
            let parts = parts
                .iter()
                .map(|(key, id)| (PartKey::named(*key), id.to_string()));
            let link = Link {
                external_id: thing.id.to_string(),
                parts: parts.collect(),
                content,
            };
            (thing.record, link)
        };
        let product = |name: &str| content(EntityType::Products, json!({"name": name, "variants": [{}]}));
        let links = vec![
            link(mug, product("Mug"), &[]),
            link(
                shirt,
                product("Shirt"),
                &[("colour=blue", blue), ("colour=red", red)],
            ),
            link(
                ann,
                content(EntityType::Customers, json!({"name": "Ann Lee"})),
                &[],
            ),
        ];
        let known = StoreOptions::default();
        let connector = WooCommerce::new(
            Client::new(&Options::local()).expect("the client can be built"),
            subject.store.base_url().parse().expect("an address"),
            known.consumer_key.into(),
            known.consumer_secret.into(),
            settings,
        );
        let harness = Harness {
            subject,
            connector: Box::new(connector),
        };
        Self {
            harness,
            mug,
            shirt,
            ann,
            blue,
            red,
            links,
        }
    }

    /// Adds an order to what records can name.
    pub fn know(&mut self, record: RecordId, external_id: &str, content: &Content) {
        let link = Link {
            external_id: external_id.to_owned(),
            parts: lockstep_worker::connector::Parts::new(),
            content: content.clone(),
        };
        self.links.push((record, link));
    }

    pub fn links(&self) -> Arc<Links> {
        Arc::new(Links::new(self.links.clone()))
    }

    pub fn linked(&self, write: Write) -> Write {
        Write {
            links: self.links(),
            ..write
        }
    }

    /// Plans to make a thing, as the store can hold it.
    pub fn create(&self, content: &Content) -> Write {
        let projected = self.harness.connector.project(content);
        self.linked(create(&projected))
    }

    pub fn wanted(&self, write: &Write, purpose: Purpose) -> Wanted {
        Wanted {
            record: write.record,
            purpose,
            content: write.content.clone(),
            links: self.links(),
        }
    }

    pub async fn look_up(&self, write: &Write, purpose: Purpose) -> Sighting {
        self.harness.look_up_one(self.wanted(write, purpose)).await
    }

    pub async fn read(&self, entity: EntityType, ids: &[String]) -> Vec<Theirs> {
        let gate = Turnstile::open();
        let read = self.harness.connector.read(&gate, entity, ids);
        read.await.expect("it is answered")
    }

    /// Reads what the store holds of a thing, with our records in it.
    pub async fn held(&self, write: &Write, external_id: &str) -> Content {
        let purpose = Purpose::Refresh {
            external_id: external_id.to_owned(),
        };
        match self.look_up(write, purpose).await {
            Sighting::One(theirs) => self.resolved(&theirs),
            other => panic!("{external_id} is there, not {other:?}"),
        }
    }

    /// Puts our records in the place of what the store names.
    pub fn resolved(&self, theirs: &Theirs) -> Content {
        let known = |_: EntityType, thing: &RemoteThing| {
            self.links.iter().find_map(|(record, link)| {
                let part = match &thing.part {
                    None => PartKey::default(),
                    Some(id) => link.parts.iter().find(|(_, part)| *part == id)?.0.clone(),
                };
                (link.external_id == thing.external_id).then_some(RecordPart {
                    record: *record,
                    part,
                })
            })
        };
        let content = theirs.content.clone().expect("the thing is valid");
        content.resolved(known).expect("what it names is known")
    }

    pub fn noise(&self) -> Noise {
        self.harness.subject.store.noise()
    }

    pub fn stock(&self, id: u64) -> i64 {
        let products = self.harness.subject.store.products();
        let variations = products
            .iter()
            .flat_map(|product| product["variations_full"].as_array().into_iter().flatten());
        let thing = products
            .iter()
            .chain(variations)
            .find(|one| one["id"] == json!(id));
        thing.expect("the thing is there")["stock_quantity"]
            .as_i64()
            .expect("a number")
    }

    pub fn order(&self, id: &str) -> Value {
        let id = id.parse().expect("ids are numbers");
        self.harness.subject.store.order(id).expect("the order is there")
    }

    pub fn mug(&self) -> Reference {
        Reference::record(self.mug.record, PartKey::default())
    }

    pub fn blue_shirt(&self) -> Reference {
        Reference::record(self.shirt.record, PartKey::named("colour=blue"))
    }

    /// An order of the ERP: 2 mugs with a discount, a shirt, shipping, and taxes of its own.
    pub fn order_of_the_erp(&self, number: &str) -> Value {
        json!({
            "number": number, "origin": "odoo", "status": "processing", "currency": "USD",
            "placed_at": "2026-01-05T10:00:00Z", "customer": {"record": self.ann.record},
            "billing": {"company": "Lee & Co", "email": "ann@example.com", "phone": "1", "address": {
                "name": "Ann Lee", "street": "1 Main St", "city": "Buffalo", "postcode": "14201", "state": "NY",
                "country": "US"
            }},
            "note": "ring twice", "coupons": ["ten"],
            "lines": [
                {"key": "1", "product": self.mug(), "name": "Mug", "quantity": "2", "subtotal": "20", "total": "18",
                    "taxes": [{"name": "15%", "rate": "15", "amount": "2.70"}]},
                {"key": "2", "product": self.blue_shirt(), "name": "Shirt, blue", "quantity": "1", "subtotal": "20",
                    "total": "20", "taxes": [{"name": "15%", "rate": "15", "amount": "3.00"}]},
                {"key": "3", "kind": "shipping", "name": "By post", "subtotal": "4.90", "total": "4.90"}
            ],
            "total_tax": "5.70", "total": "48.60"
        })
    }
}
