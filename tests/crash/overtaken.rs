//! Two syncs at once: what one read of a system before the other wrote there, and stores after that, is how things were. Nobody
//! wants that back.

use std::time::Duration;

use lockstep_shared::connection::Settings;
use lockstep_shared::decide::{Owner, Ownership};
use lockstep_shared::id::SyncId;
use lockstep_shared::sync;
use lockstep_shared::system::EntityType;
use lockstep_tests::make::product;
use lockstep_tests::process::Worker;
use lockstep_tests::stack::Stack;
use lockstep_worker::config::Config;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{program, until_stopped};

const TEMPLATE: &str = "product.template";

/// Workers that do one thing at a time, so that one that stands still keeps nothing locked, and whose batches nobody takes
/// over meanwhile.
fn patient(stack: &Stack) -> Config {
    let mut config = stack.worker_config();
    config.batch_slots = 1;
    config.lease.length = Duration::from_mins(2);
    config.lease.progress_limit = Duration::from_mins(3);
    config.http.timeout = Duration::from_mins(1);
    config
}

async fn start(stack: &Stack) -> SyncId {
    let config = sync::Config::new(None, None, None).expect("in range");
    stack.start_types(vec![EntityType::Products], config).await
}

/// A stack whose products belong to both systems.
async fn shared() -> Stack {
    let stack = Stack::new().await;
    stack.forget_partners();
    let settings = Settings {
        ownership: [(EntityType::Products, Ownership::of(Owner::Shared))].into(),
        ..Settings::default()
    };
    for connection in [stack.store, stack.erp] {
        stack.set(connection, &settings).await;
    }
    stack
}

/// Two syncs of products, one of which is about to write in the ERP while the other has read what is there.
struct Overtaking {
    writer: (SyncId, Worker),
    reader: (SyncId, Worker),
}

impl Overtaking {
    /// Has a worker stand still before a request of its push, `between` happen, and another read a page then.
    async fn begin(stack: &Stack, request: &str, between: impl FnOnce()) -> Self {
        let points = format!("push.odoo.products.call.before={request}1*return(stop)");
        let worker = program().start(&patient(stack), &points);
        let writer = (start(stack).await, worker);
        until_stopped(&writer.1).await;
        between();
        let worker = program().start(&patient(stack), "pull.odoo.products.page.after=1*return(stop)");
        let reader = (start(stack).await, worker);
        until_stopped(&reader.1).await;
        Self { writer, reader }
    }

    /// Has the first go on and end, and then the second.
    async fn end(mut self, stack: &Stack) {
        for (sync, worker) in [&mut self.writer, &mut self.reader] {
            worker.signal(Signal::CONT);
            stack.finish(*sync).await;
        }
    }
}

/// R17, R22: a price that was just brought over is not taken back, in no system, and what people changed meanwhile is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_before_a_write_takes_nothing_back() {
    let stack = shared().await;
    let mug = stack.put(product("MUG", 1000)).await;
    let mut first = program().start(&patient(&stack), "");
    stack.in_step().await;
    first.kill();
    stack.forget_effects();
    stack.put_as(mug, product("MUG", 1200)).await;
    let erp = &stack.sandbox.erp;
    let template = || erp.records(TEMPLATE).remove(0);
    let rename = || {
        erp.update(
            TEMPLATE,
            template()["id"].as_i64().expect("an id"),
            json!({"name": "Cup"}),
        )
    };

    let overtaking = Overtaking::begin(&stack, "", rename).await;
    assert_eq!(template()["list_price"], 10.0);
    overtaking.end(&stack).await;

    let held = || stack.sandbox.store.products().remove(0);
    assert_eq!(held()["regular_price"], "12.00", "R17");
    let _worker = program().start(&patient(&stack), "");
    stack.in_step().await;
    assert_eq!(
        (&held()["regular_price"], &held()["name"]),
        (&json!("12.00"), &json!("Cup"))
    );
    assert_eq!(
        (&template()["list_price"], &template()["name"]),
        (&json!(12.0), &json!("Cup"))
    );
    assert_eq!(
        erp.ledger().updated("product"),
        1,
        "R17: {:#?}",
        erp.ledger().effects()
    );
}

/// R13: a product that was only half made when it was read is no conflict once it is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_of_a_product_before_the_rest_of_it_was_made_is_no_conflict() {
    let stack = shared().await;
    let variation = |size: &str, sku: &str| json!({"sku": sku, "regular_price": "20.00", "attributes": [{"name": "Size", "option": size}]});
    stack.sandbox.store.insert_product(json!({
        "name": "Shirt", "type": "variable", "status": "publish",
        "attributes": [{"name": "Size", "options": ["S", "L"], "variation": true, "visible": true}],
        "variations_full": [variation("S", "SHIRT-S"), variation("L", "SHIRT-L")],
    }));

    // The template is there by then, and no variant of it.
    let overtaking = Overtaking::begin(&stack, "2*off->", || ()).await;
    let erp = &stack.sandbox.erp;
    let skus = || {
        let mut skus: Vec<Value> = erp
            .records("product.product")
            .into_iter()
            .map(|row| row["default_code"].clone())
            .collect();
        skus.sort_by_key(Value::to_string);
        skus
    };
    assert_eq!(erp.records(TEMPLATE).len(), 1);
    assert_eq!(skus(), Vec::<Value>::new());
    overtaking.end(&stack).await;

    assert_eq!(stack.troubles().await, Vec::<String>::new(), "R13");
    assert_eq!(skus(), ["SHIRT-L", "SHIRT-S"], "R13");
    assert!(erp.ledger().duplicates().is_empty(), "R13");
    stack.forget_effects();
    let _worker = program().start(&patient(&stack), "");
    stack.in_step().await;
    stack.assert_nothing_felt();
}
