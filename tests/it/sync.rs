//! Whole syncs between the two stand-ins.

use std::path::PathBuf;

use lockstep_sandbox::fault::Fault;
use lockstep_sandbox::recorded;
use lockstep_sandbox::seed::{SeedPlan, seed};
use lockstep_shared::entity::{Content, Money};
use lockstep_shared::sync::{Config, Status};
use lockstep_shared::system::{Direction, EntityType};
use lockstep_tests::stack::{Finished, Stack};
use serde_json::json;

use lockstep_tests::make::{customer, product};

fn assert_in_step(stack: &Stack, sync: &Finished) {
    assert_eq!(sync.status(), Status::Done, "{:#?}", sync.stages);
    assert_eq!(
        stack.sandbox.store.ledger().duplicates().len(),
        0,
        "{:?}",
        stack.sandbox.store.ledger().duplicates()
    );
    assert_eq!(
        stack.sandbox.erp.ledger().duplicates().len(),
        0,
        "{:?}",
        stack.sandbox.erp.ledger().duplicates()
    );
}

fn assert_nothing_written(stack: &Stack, sync: &Finished) {
    assert_eq!(
        (sync.pushed(|c| c.created), sync.pushed(|c| c.updated)),
        (0, 0),
        "R17: {:#?}",
        sync.stages
    );
    let effects = stack.effects();
    assert!(effects.0.is_empty() && effects.1.is_empty(), "R17: {effects:?}");
}

/// R1, R3, R17: a full sync from start to completion.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_sync_brings_both_systems_in_step_and_a_second_one_writes_nothing() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let plan = SeedPlan {
        seed: 1,
        products: 60,
        customers: 40,
        orders: 0,
        refunds: 0,
    };
    let seeded = seed(&stack.sandbox.store, &stack.sandbox.erp, &plan);
    stack.work();

    let first = stack.sync().await;

    assert_in_step(&stack, &first);
    let missing = seeded.products.only_store
        + seeded.products.only_erp
        + seeded.customers.only_store
        + seeded.customers.only_erp;
    let made: i64 = first
        .stages
        .iter()
        .filter(|stage| stage.direction == Direction::Push)
        .filter(|stage| matches!(stage.entity_type, EntityType::Customers | EntityType::Products))
        .map(|stage| stage.counts.created)
        .sum();
    assert_eq!(
        usize::try_from(made).unwrap(),
        missing,
        "what one side had, the other got"
    );
    stack.forget_effects();
    let second = stack.sync().await;
    assert_in_step(&stack, &second);
    assert_nothing_written(&stack, &second);
}

/// The data of two real servers goes over whole, and nothing is written the second time (R17).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_data_of_real_servers_goes_over_whole() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/recorded");
    if !folder.exists() {
        eprintln!("skipped: no recorded data beside the project");
        return;
    }
    let mut stack = Stack::new().await;
    recorded::load(&folder, &stack.sandbox.store, &stack.sandbox.erp).unwrap();
    stack.work();

    let first = stack.sync().await;

    assert_in_step(&stack, &first);
    stack.forget_effects();
    let second = stack.sync().await;
    assert_in_step(&stack, &second);
    assert_nothing_written(&stack, &second);
}

/// Records put by the application go to both systems, in batches of the size asked for (R2, R50).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_put_by_the_application_go_to_both_systems() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    for number in 0..7 {
        stack.put(product(&format!("SKU-{number}"), 1990 + number)).await;
        stack.put(customer(&format!("person{number}@example.com"))).await;
    }
    stack.work();
    let config = lockstep_shared::sync::Config::new(Some(3), Some(0), None).unwrap();

    let id = stack.start_with(config).await;
    let sync = stack.finish(id).await;

    assert_in_step(&stack, &sync);
    assert_eq!(stack.sandbox.store.products().len(), 7);
    assert_eq!(stack.sandbox.erp.ledger().created("product"), 7);
    assert_eq!(stack.sandbox.store.ledger().created("customer"), 7);
    let mut tx = stack.begin_as_worker().await;
    let largest: i32 = sqlx::query_scalar("select max(item_count) from sync_batch where sync_id = $1")
        .bind(id.0)
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    assert_eq!(largest, 3, "R2");
}

/// R10, R22: 10 → 12 → 10 is three writes, each sent once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_price_that_goes_up_and_back_is_written_each_time() {
    let mut stack = Stack::new().await;
    stack.work();
    let record = stack.put(product("SKU-1", 1000)).await;
    stack.sync().await;
    let mut prices = Vec::new();

    for cents in [1200, 1000, 1200] {
        stack.put_as(record, product("SKU-1", cents)).await;
        stack.sync().await;
        prices.push(
            stack.sandbox.store.products()[0]["regular_price"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }

    assert_eq!(prices, ["12.00", "10.00", "12.00"], "R10");
    assert_eq!(stack.sandbox.store.ledger().updated("product"), 3, "R10");
}

/// A change in the system that owns a field goes to the other; one in the other is put back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_go_from_a_fields_owner_to_the_other_system_and_drift_is_put_back() {
    let mut stack = Stack::new().await;
    stack.work();
    stack.put(product("SKU-1", 1000)).await;
    stack.put(customer("ann@example.com")).await;
    stack.sync().await;
    let store_product = stack.sandbox.store.products()[0]["id"].as_u64().unwrap();
    let store_customer = stack
        .sandbox
        .store
        .customers()
        .iter()
        .find(|c| c["email"] == "ann@example.com")
        .unwrap()["id"]
        .clone();
    let templates = stack.sandbox.erp.records("product.template");
    let template = templates.iter().find(|t| t["default_code"] == "SKU-1").unwrap()["id"]
        .as_i64()
        .unwrap();

    stack.sandbox.erp.update(
        "product.template",
        template,
        json!({ "name": "Renamed in the ERP" }),
    );
    stack
        .sandbox
        .store
        .update_product(store_product, json!({ "regular_price": "99.00" }));
    stack.sandbox.store.update_customer(
        store_customer.as_u64().unwrap(),
        json!({ "last_name": "Lee", "first_name": "Ann" }),
    );
    let sync = stack.sync().await;

    assert_in_step(&stack, &sync);
    let product = stack.sandbox.store.product(store_product).unwrap();
    assert_eq!(product["name"], "Renamed in the ERP", "the ERP owns products");
    assert_eq!(
        product["regular_price"], "10.00",
        "the store does not: its change is drift"
    );
    let partners = stack.sandbox.erp.records("res.partner");
    assert!(
        partners.iter().any(|p| p["name"] == "Ann Lee"),
        "the store owns customers: {partners:#?}"
    );
}

/// A product with a price in a currency that neither system has.
fn foreign_product(sku: &str) -> Content {
    let mut foreign = product(sku, 1000);
    if let Content::Product(product) = &mut foreign {
        product.variants[0].price = Some(Money::new(10.into(), "EUR".parse().unwrap()));
    }
    foreign
}

/// R1, R8: a sync of which anything got through is partial, however much failed beside it; one of which nothing did has failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_is_partial_where_something_got_through_and_failed_where_nothing_did() {
    for (good, foreign, expected) in [
        (1, 1, Status::Partial),
        (1, 3, Status::Partial),
        (0, 1, Status::Failed),
        (0, 3, Status::Failed),
        (2, 0, Status::Done),
    ] {
        let mut stack = Stack::new().await;
        stack.work();
        for number in 0..good {
            stack.put(product(&format!("SKU-{number}"), 1000)).await;
        }
        for number in 0..foreign {
            stack.put(foreign_product(&format!("EUR-{number}"))).await;
        }

        let config = Config::new(None, Some(0), None).unwrap();
        let sync = stack.start_types(vec![EntityType::Products], config).await;
        let sync = stack.finish(sync).await;

        assert_eq!(sync.status(), expected, "R8: {good} good and {foreign} not");
    }
}

/// R8: one record that a system can't take leaves the others alone, and says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_records_failure_fails_neither_its_batch_nor_the_sync() {
    let mut stack = Stack::new().await;
    stack.work();
    stack.put(product("SKU-1", 1000)).await;
    stack.put(foreign_product("SKU-2")).await;
    stack.put(product("SKU-3", 1000)).await;

    let sync = stack.sync().await;

    assert_eq!(sync.status(), Status::Partial, "R8");
    let mut skus: Vec<_> = stack
        .sandbox
        .store
        .products()
        .iter()
        .map(|p| p["sku"].as_str().unwrap().to_owned())
        .collect();
    skus.sort();
    assert_eq!(skus, ["SKU-1", "SKU-3"], "R8");
    let mut tx = stack.begin_as_api().await;
    let reasons: Vec<String> = sqlx::query_scalar(
        "select data->>'reason' from sync_conflict where conflict_type = 'ValidationError'",
    )
    .fetch_all(&mut *tx)
    .await
    .unwrap();
    assert_eq!(reasons.len(), 2, "one for each system");
    assert!(
        reasons
            .iter()
            .all(|reason| reason.contains("EUR") && reason.contains("USD")),
        "{reasons:?}"
    );
}

/// R8, R34: a system that refuses the credentials stops alone; the other goes on, and one conflict says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_credentials_stop_one_system_and_ask_for_attention_once() {
    use lockstep_shared::connection::{self, Status as ConnectionStatus};

    let mut stack = Stack::new().await;
    stack.sandbox.erp.faults().on_path(
        "/json/2",
        Fault::Status {
            code: 401,
            retry_after: None,
            body: Some(r#"{"name":"werkzeug.exceptions.Unauthorized","message":"Invalid apikey","arguments":[],"context":{},"debug":""}"#.to_owned()),
        },
        None,
    );
    stack.work();
    stack.put(product("SKU-1", 1000)).await;
    stack.put(customer("ann@example.com")).await;

    let sync = stack.sync().await;

    assert_eq!(sync.status(), Status::Partial, "R8: {:#?}", sync.stages);
    assert_eq!(
        stack.sandbox.store.products().len(),
        1,
        "R34: other systems go on"
    );
    let mut tx = stack.begin_as_api().await;
    let connection = connection::find(&mut tx, stack.org, stack.erp)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(connection.status, ConnectionStatus::NeedsAttention, "R34");
    let conflicts: i64 =
        sqlx::query_scalar("select count(*) from sync_conflict where conflict_type = 'AuthError'")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
    assert_eq!(conflicts, 1, "R34: one, not one per stage");
}

/// A key that belongs to another record is no guess: the second is skipped, visibly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_partners_of_one_address_become_one_account_and_one_visible_conflict() {
    let mut stack = Stack::new().await;
    for name in ["First", "Second"] {
        stack.sandbox.erp.insert(
            "res.partner",
            json!({ "name": name, "email": "shared@example.com" }),
        );
    }
    stack.work();

    let sync = stack.sync().await;

    let accounts = stack.sandbox.store.customers();
    assert_eq!(
        accounts
            .iter()
            .filter(|c| c["email"] == "shared@example.com")
            .count(),
        1,
        "R24"
    );
    assert_eq!(sync.pushed(|c| c.skipped), 1, "R24: {:#?}", sync.stages);
    let mut tx = stack.begin_as_api().await;
    let (conflicts, reason): (i64, Option<String>) = sqlx::query_as(
        "select count(*), max(data->>'reason') from sync_conflict where conflict_type = 'DuplicateKey'",
    )
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    assert_eq!(conflicts, 1);
    assert!(reason.unwrap().contains("another record"));
}
