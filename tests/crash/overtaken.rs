//! Two syncs at once: what one read of a system before the other wrote there, and stores after that, is how things were, which
//! nobody wants back; and what one meets that the other is making is nobody else's.

use std::time::Duration;

use lockstep_shared::connection::Settings;
use lockstep_shared::decide::{Owner, Ownership};
use lockstep_shared::id::SyncId;
use lockstep_shared::sync;
use lockstep_shared::system::EntityType;
use lockstep_tests::make::{self, product};
use lockstep_tests::process::Worker;
use lockstep_tests::stack::Stack;
use lockstep_worker::config::Config;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{count, program, until_stopped};

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

/// Starts a sync of products and has its worker stand still at a point.
async fn stand_still(stack: &Stack, point: &str) -> (SyncId, Worker) {
    let worker = program().start(&patient(stack), &format!("{point}1*return(stop)"));
    let sync = start(stack).await;
    until_stopped(&worker).await;
    (sync, worker)
}

/// Has those that stand still go on and end, one after the other.
async fn go_on(stack: &Stack, waiting: impl IntoIterator<Item = (SyncId, Worker)>) {
    for (sync, mut worker) in waiting {
        worker.signal(Signal::CONT);
        stack.finish(sync).await;
    }
}

const READ: &str = "pull.odoo.products.page.after=";

/// R17: a price that was just brought over is not taken back, in no system, and what people changed meanwhile is kept.
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
        );
    };

    let writer = stand_still(&stack, "push.odoo.products.call.before=").await;
    rename();
    let reader = stand_still(&stack, READ).await;
    assert_eq!(template()["list_price"], 10.0);
    go_on(&stack, [writer, reader]).await;

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

/// A shirt in two sizes, whose variants are made in the ERP by a request of their own.
fn insert_shirt(stack: &Stack) {
    let variation = |size: &str, sku: &str| json!({"sku": sku, "regular_price": "20.00", "attributes": [{"name": "Size", "option": size}]});
    stack.sandbox.store.insert_product(json!({
        "name": "Shirt", "type": "variable", "status": "publish",
        "attributes": [{"name": "Size", "options": ["S", "L"], "variation": true, "visible": true}],
        "variations_full": [variation("S", "SHIRT-S"), variation("L", "SHIRT-L")],
    }));
}

fn skus(stack: &Stack) -> Vec<Value> {
    let variants = stack.sandbox.erp.records("product.product");
    let mut skus: Vec<Value> = variants.iter().map(|row| row["default_code"].clone()).collect();
    skus.sort_by_key(Value::to_string);
    skus
}

/// The point at which its template is there, and no variant of it.
const HALF_MADE: &str = "push.odoo.products.call.before=2*off->";

async fn half_make(stack: &Stack) -> (SyncId, Worker) {
    insert_shirt(stack);
    let writer = stand_still(stack, HALF_MADE).await;
    assert_eq!(stack.sandbox.erp.records(TEMPLATE).len(), 1);
    assert_eq!(skus(stack), Vec::<Value>::new());
    writer
}

async fn assert_made_once(stack: &Stack) {
    // Whoever met it in the other's hands has it looked at once more, at the latest by the next sync.
    stack.forget_effects();
    let _worker = program().start(&patient(stack), "");
    stack.in_step().await;
    stack.in_step().await;
    stack.assert_nothing_felt();
    assert_eq!(skus(stack), ["SHIRT-L", "SHIRT-S"], "R13");
    assert_eq!(stack.sandbox.store.products().len(), 1, "R13");
}

/// R13: a product that was only half made when it was read is no conflict once it is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_of_a_product_before_the_rest_of_it_was_made_is_no_conflict() {
    let stack = shared().await;
    let writer = half_make(&stack).await;
    let reader = stand_still(&stack, READ).await;

    go_on(&stack, [writer, reader]).await;

    assert_eq!(stack.troubles().await, Vec::<String>::new(), "R13");
    assert_made_once(&stack).await;
}

/// R13: nor is one that is half made when another sync reads it, and stores that, before anybody knows what it is called.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_that_another_sync_has_half_made_is_no_conflict() {
    let stack = shared().await;
    let writer = half_make(&stack).await;
    let _other = program().start(&patient(&stack), "");
    stack.finish(start(&stack).await).await;

    go_on(&stack, [writer]).await;

    assert_made_once(&stack).await;
}

/// R13: what has no key of its own and was just made by another sync is not taken for something new.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_without_a_key_that_another_sync_has_just_made_is_no_new_one() {
    let stack = shared().await;
    let (store, erp) = (&stack.sandbox.store, &stack.sandbox.erp);
    store.insert_product(json!({"name": "Nameless", "regular_price": "5.00", "status": "publish"}));
    let writer = stand_still(&stack, "push.odoo.products.call.after=").await;
    assert_eq!(erp.records(TEMPLATE).len(), 1);
    let _other = program().start(&patient(&stack), "");
    stack.finish(start(&stack).await).await;

    go_on(&stack, [writer]).await;
    stack.in_step().await;

    assert_eq!(
        (store.products().len(), erp.records(TEMPLATE).len()),
        (1, 1),
        "R13"
    );
    let records = count(
        &stack,
        "select count(*) from record where entity_type = 'products'",
    )
    .await;
    assert_eq!(records, 1, "R13");
}

/// R13, R17: an order without an e-mail address has its account's in the store. That is what the store makes of it, and
/// nothing that anybody wants, also while nobody has settled yet that the order was made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_store_fills_in_of_an_order_that_another_sync_has_just_made_is_no_news() {
    let stack = Stack::new().await;
    stack.forget_partners();
    let ann = stack.put(make::customer("ann@example.com")).await;
    let lamp = stack.put(product("LAMP", 1000)).await;
    let sold = stack.put(make::order("A-1", ann, lamp)).await;
    let point = "push.woocommerce.orders.settle.before=";
    let worker = program().start(&patient(&stack), &format!("{point}1*return(stop)"));
    let writer = stack.start().await;
    until_stopped(&worker).await;
    let billed = || stack.sandbox.store.orders().remove(0)["billing"]["email"].clone();
    assert_eq!(billed(), "ann@example.com");
    let mut other = program().start(&patient(&stack), "");
    stack.finish(stack.start().await).await;
    other.kill();

    go_on(&stack, [(writer, worker)]).await;

    let _worker = program().start(&patient(&stack), "");
    stack.in_step().await;
    let content: Value = sqlx::query_scalar("select content from record where record_id = $1")
        .bind(sold.0)
        .fetch_one(&stack.database.superuser)
        .await
        .expect("the database answers");
    assert_eq!(content.get("billing"), None, "R17: {content}");
    let placed = stack.sandbox.erp.records("sale.order").remove(0);
    assert_eq!(placed["partner_invoice_id"], placed["partner_id"], "R13");
}
