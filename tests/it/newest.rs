//! `newest` as an owner: of a field that both systems changed, the later change goes to both.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_shared::connection;
use lockstep_shared::decide::{Owner, Ownership};
use lockstep_shared::sync::{Config, Status};
use lockstep_shared::system::EntityType;
use lockstep_tests::stack::{Finished, Stack};
use serde_json::json;

const TEMPLATE: &str = "product.template";

async fn sync_products(stack: &Stack) -> Finished {
    let config = Config::new(None, Some(0), None).unwrap();
    let id = stack.start_types(vec![EntityType::Products], config).await;
    stack.finish(id).await
}

/// A lamp that both systems have, where the newest change counts. All of it happened more than an hour ago.
struct Lamp {
    stack: Stack,
    product: u64,
    template: i64,
}

impl Lamp {
    async fn new() -> Self {
        let mut stack = Stack::new().await;
        let newest = BTreeMap::from([(EntityType::Products, Ownership::of(Owner::Newest))]);
        for connection in [stack.store, stack.erp] {
            let mut tx = stack.begin_as_api().await;
            connection::change_ownership(&mut tx, stack.org, connection, &newest)
                .await
                .unwrap();
            tx.commit().await.unwrap();
        }
        let product = stack
            .sandbox
            .store
            .insert_product(json!({"name": "Lamp", "sku": "LAMP", "regular_price": "10.00"}));
        stack.sandbox.store.age(Duration::from_hours(1));
        stack.work();
        let first = sync_products(&stack).await;
        assert_eq!(first.status(), Status::Done, "{:#?}", stack.troubles().await);
        stack.sandbox.erp.age(Duration::from_hours(1));
        let templates = stack.sandbox.erp.records(TEMPLATE);
        let template = templates.iter().find(|row| row["name"] == "Lamp").unwrap();
        Self {
            template: template["id"].as_i64().unwrap(),
            product,
            stack,
        }
    }

    fn rename_in_store(&self, name: &str) {
        let store = &self.stack.sandbox.store;
        store.update_product(self.product, json!({"name": name}));
    }

    fn rename_in_erp(&self, name: &str) {
        let erp = &self.stack.sandbox.erp;
        erp.update(TEMPLATE, self.template, json!({"name": name}));
    }

    fn names(&self) -> [String; 2] {
        let product = self.stack.sandbox.store.product(self.product).unwrap();
        let templates = self.stack.sandbox.erp.records(TEMPLATE);
        let template = templates.iter().find(|row| row["id"] == self.template).unwrap();
        [&product["name"], &template["name"]].map(|name| name.as_str().unwrap().to_owned())
    }

    /// Syncs, and once more: that writes nothing.
    async fn settle(&self) {
        let sync = sync_products(&self.stack).await;
        assert_eq!(sync.status(), Status::Done, "{:#?}", self.stack.troubles().await);
        self.stack.forget_effects();
        sync_products(&self.stack).await;
        self.stack.assert_nothing_felt();
        assert_eq!(self.stack.troubles().await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_change_in_the_erp_goes_to_the_store() {
    let lamp = Lamp::new().await;
    lamp.rename_in_store("Lamp of the shop");
    lamp.stack.sandbox.store.age(Duration::from_mins(10));
    lamp.rename_in_erp("Lamp of the office");

    lamp.settle().await;

    assert_eq!(lamp.names(), ["Lamp of the office", "Lamp of the office"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_change_in_the_store_goes_to_the_erp() {
    let lamp = Lamp::new().await;
    lamp.rename_in_erp("Lamp of the office");
    lamp.stack.sandbox.erp.age(Duration::from_mins(10));
    lamp.rename_in_store("Lamp of the shop");

    lamp.settle().await;

    assert_eq!(lamp.names(), ["Lamp of the shop", "Lamp of the shop"]);
}

/// What only one side changed is taken from it, whichever has the later time: nothing is put back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_one_system_changed_is_taken_from_it() {
    let lamp = Lamp::new().await;

    lamp.rename_in_store("Lamp of the shop");
    lamp.settle().await;
    assert_eq!(lamp.names(), ["Lamp of the shop", "Lamp of the shop"]);

    lamp.rename_in_erp("Lamp of the office");
    lamp.settle().await;
    assert_eq!(lamp.names(), ["Lamp of the office", "Lamp of the office"]);
}
