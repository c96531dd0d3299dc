//! A product that the store and the ERP both have and may call by different names, and the conflict that comes of it.

use std::collections::BTreeMap;

use lockstep_shared::connection;
use lockstep_shared::decide::{Owner, Ownership};
use lockstep_shared::id::SyncId;
use lockstep_shared::sync::{Config, Status};
use lockstep_shared::system::EntityType;
use serde_json::{Value, json};

use crate::api::Api;
use crate::stack::{Finished, Stack, eventually};

const TEMPLATE: &str = "product.template";

/// A lamp in both systems, and nothing else.
#[derive(Debug)]
pub struct Dispute {
    pub stack: Stack,
    pub api: Api,
    pub product: u64,
    pub template: i64,
}

impl Dispute {
    /// Makes the lamp of the store, and gives every field of products in either system this owner.
    pub async fn prepare(stack: &Stack, owner: Owner) -> u64 {
        for connection in [stack.store, stack.erp] {
            own(stack, connection, owner).await;
        }
        let lamp = json!({"name": "Lamp", "sku": "LAMP", "regular_price": "10.00"});
        stack.sandbox.store.insert_product(lamp)
    }

    /// Finds the lamp that a first sync has made in the ERP.
    pub fn found(stack: Stack, product: u64) -> Self {
        let templates = stack.sandbox.erp.records(TEMPLATE);
        let template = templates.iter().find(|row| row["name"] == "Lamp");
        let template = template.and_then(|row| row["id"].as_i64());
        Self {
            template: template.expect("the lamp was made in the ERP"),
            product,
            api: Api::start(&stack),
            stack,
        }
    }

    /// Starts a stack with a worker and brings the lamp into step.
    pub async fn new(owner: Owner) -> Self {
        let mut stack = Stack::new().await;
        let product = Self::prepare(&stack, owner).await;
        stack.work();
        let first = sync_products(&stack).await;
        assert_eq!(first.status(), Status::Done, "{:#?}", stack.troubles().await);
        Self::found(stack, product)
    }

    /// Has both systems call it by another name.
    pub fn disagree(&self) {
        self.rename_in_store("Lamp of the shop");
        self.rename_in_erp("Lamp of the office");
    }

    /// Does so, and has a sync find it; returns the conflict that is open then. A person owns the fields.
    pub async fn open(owner: Owner) -> (Self, Value) {
        let lamp = Self::new(owner).await;
        lamp.disagree();
        let sync = sync_products(&lamp.stack).await;
        assert_eq!(
            sync.status(),
            Status::Partial,
            "{:#?}",
            lamp.stack.troubles().await
        );
        let conflict = lamp.conflict().await;
        (lamp, conflict)
    }

    pub fn rename_in_store(&self, name: &str) {
        let store = &self.stack.sandbox.store;
        store.update_product(self.product, json!({"name": name}));
    }

    pub fn rename_in_erp(&self, name: &str) {
        let erp = &self.stack.sandbox.erp;
        erp.update(TEMPLATE, self.template, json!({"name": name}));
    }

    /// The names that it has in the store and in the ERP.
    pub fn names(&self) -> [String; 2] {
        let product = self
            .stack
            .sandbox
            .store
            .product(self.product)
            .expect("it is there");
        let templates = self.stack.sandbox.erp.records(TEMPLATE);
        let template = templates.iter().find(|row| row["id"] == self.template);
        let template = template.expect("it is there");
        [&product["name"], &template["name"]].map(|name| name.as_str().unwrap_or_default().to_owned())
    }

    /// Every conflict, newest first.
    pub async fn conflicts(&self) -> Vec<Value> {
        let page = self.api.client.get("/api/v1/conflicts").await.ok(200);
        page["items"].as_array().cloned().unwrap_or_default()
    }

    /// The one conflict that there ever was.
    pub async fn conflict(&self) -> Value {
        let conflicts = self.conflicts().await;
        assert_eq!(conflicts.len(), 1, "{conflicts:#?}");
        conflicts[0].clone()
    }

    /// Answers a conflict, and waits until a worker has applied the answer.
    pub async fn answer(&self, conflict: &Value, answer: &Value) -> Value {
        self.answered(conflict, answer).await;
        self.applied(conflict).await
    }

    /// Answers a conflict; returns what the API says of it then.
    pub async fn answered(&self, conflict: &Value, answer: &Value) -> Value {
        let path = format!("{}/resolve", path(conflict));
        self.api.client.post(&path, answer).await.ok(202)
    }

    /// Waits until a conflict is resolved.
    pub async fn applied(&self, conflict: &Value) -> Value {
        eventually("the answer to be applied", || async {
            let shown = self.api.client.get(&path(conflict)).await.ok(200);
            (shown["state"] == "resolved").then_some(shown)
        })
        .await
    }

    /// What our record of it says, and its address.
    pub async fn record(&self) -> (String, Value) {
        let list = self.api.client.get("/api/v1/records/products").await.ok(200);
        let record = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|record| record["content"]["variants"][0]["sku"] == "LAMP")
            .expect("it is there");
        let id = record["recordId"].as_str().unwrap_or_default().to_owned();
        (id, record["content"].clone())
    }
}

/// The address of a conflict.
pub fn path(conflict: &Value) -> String {
    format!(
        "/api/v1/conflicts/{}",
        conflict["conflictId"].as_str().expect("it has an identifier")
    )
}

/// Gives every field of a connection's products an owner.
pub async fn own(stack: &Stack, connection: lockstep_shared::id::ConnectionId, owner: Owner) {
    let ownership = BTreeMap::from([(EntityType::Products, Ownership::of(owner))]);
    let mut tx = stack.begin_as_api().await;
    connection::change_ownership(&mut tx, stack.org, connection, &ownership)
        .await
        .expect("the database answers");
    tx.commit().await.expect("the database answers");
}

/// Starts a sync of products.
pub async fn start_products(stack: &Stack) -> SyncId {
    let config = Config::new(None, Some(0), None).expect("in range");
    stack.start_types(vec![EntityType::Products], config).await
}

/// Syncs products, and waits for the end.
pub async fn sync_products(stack: &Stack) -> Finished {
    let id = start_products(stack).await;
    stack.finish(id).await
}
