//! Full scans: what people deleted in one system is taken out of use in the other, and never made again by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lockstep_sandbox::fault::{Fault, Rule};
use lockstep_sandbox::seed::{SeedPlan, seed};
use lockstep_shared::connection::Settings;
use lockstep_shared::deletion::{
    AskAbove, CustomerPolicy, DeletionSettings, OrderPolicy, ProductPolicy, UNASKED,
};
use lockstep_shared::entity::{Content, ProductStatus};
use lockstep_shared::id::{ConnectionId, RecordId};
use lockstep_shared::preview;
use lockstep_shared::sync::{Config, Status};
use lockstep_shared::system::EntityType;
use lockstep_tests::stack::{Stack, eventually};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::shop::small_shop;
use lockstep_tests::make::{customer, product};

fn full() -> Config {
    Config {
        full_scan: true,
        ..Config::new(None, Some(0), None).unwrap()
    }
}

const PRODUCTS: [EntityType; 1] = [EntityType::Products];

/// A stack with products of the application's in both systems; the worker runs.
async fn stack_with_products(count: usize) -> (Stack, Vec<RecordId>) {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let mut records = Vec::new();
    for number in 0..count {
        records.push(stack.put(product(&format!("SKU-{number}"), 1000)).await);
    }
    stack.work();
    let first = stack.scan(&PRODUCTS).await;
    assert_eq!(first.status(), Status::Done, "{:#?}", stack.troubles().await);
    stack.forget_effects();
    (stack, records)
}

fn in_store(stack: &Stack, sku: &str) -> Option<Value> {
    let products = stack.sandbox.store.products();
    products.into_iter().find(|product| product["sku"] == sku)
}

fn store_id(stack: &Stack, sku: &str) -> u64 {
    in_store(stack, sku).unwrap()["id"].as_u64().unwrap()
}

fn in_erp(stack: &Stack, sku: &str) -> Option<Value> {
    let products = stack.sandbox.erp.records("product.template");
    products
        .into_iter()
        .find(|product| product["default_code"] == sku)
}

fn erp_id(stack: &Stack, sku: &str) -> i64 {
    in_erp(stack, sku).unwrap()["id"].as_i64().unwrap()
}

/// The item of a record: its state, whether it counts as deleted, and its last error.
async fn item(stack: &Stack, connection: ConnectionId, record: RecordId) -> (String, bool, String) {
    sqlx::query_as(
        "select state, gone_at is not null, coalesce(last_error, '') from item
          where connection_id = $1 and record_id = $2",
    )
    .bind(connection.0)
    .bind(record.0)
    .fetch_one(&stack.database.superuser)
    .await
    .unwrap()
}

async fn content(stack: &Stack, record: RecordId) -> Value {
    sqlx::query_scalar("select content from record where record_id = $1")
        .bind(record.0)
        .fetch_one(&stack.database.superuser)
        .await
        .unwrap()
}

/// The open conflicts: their type of record and of conflict, whether they are about an item, and their data.
async fn conflicts(stack: &Stack) -> Vec<(String, String, bool, Value)> {
    sqlx::query_as(
        "select entity_type, conflict_type, item_id is not null, data from sync_conflict where not is_resolved order by 1",
    )
    .fetch_all(&stack.database.superuser)
    .await
    .unwrap()
}

async fn cursors(stack: &Stack) -> BTreeMap<String, Value> {
    let rows: Vec<(String, Value)> = sqlx::query_as(
        "select connection_id || ' ' || entity_type, position || jsonb_build_object('generation', generation)
           from pull_cursor",
    )
    .fetch_all(&stack.database.superuser)
    .await
    .unwrap();
    rows.into_iter().collect()
}

async fn assert_still(stack: &Stack, types: &[EntityType]) {
    stack.forget_effects();
    let again = stack.scan(types).await;
    assert_eq!(again.status(), Status::Done, "{:#?}", stack.troubles().await);
    stack.assert_nothing_felt();
}

/// A product that was deleted in the store is archived in the ERP, and made again nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_deleted_in_the_store_is_archived_in_the_erp() {
    let (stack, records) = stack_with_products(3).await;
    let id = store_id(&stack, "SKU-1");
    stack.sandbox.store.delete_product(id);

    let sync = stack.scan(&PRODUCTS).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    assert_eq!(in_erp(&stack, "SKU-1").unwrap()["active"], false);
    assert_eq!(in_erp(&stack, "SKU-0").unwrap()["active"], true);
    assert_eq!(content(&stack, records[1]).await["status"], "archived");
    let (state, is_gone, why) = item(&stack, stack.store, records[1]).await;
    assert_eq!((state.as_str(), is_gone), ("skipped", true));
    assert!(why.contains("deleted in woocommerce"), "{why}");
    assert_eq!(in_store(&stack, "SKU-1"), None);
    assert_eq!(conflicts(&stack).await.len(), 0);
    assert_still(&stack, &PRODUCTS).await;
}

/// A product that was deleted in the ERP is taken from sale in the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_deleted_in_the_erp_is_taken_from_sale_in_the_store() {
    let (stack, records) = stack_with_products(3).await;
    stack
        .sandbox
        .erp
        .unlink("product.template", erp_id(&stack, "SKU-2"));

    let sync = stack.scan(&PRODUCTS).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    assert_eq!(in_store(&stack, "SKU-2").unwrap()["status"], "draft");
    assert_eq!(in_store(&stack, "SKU-0").unwrap()["status"], "publish");
    assert_eq!(in_erp(&stack, "SKU-2"), None);
    assert!(item(&stack, stack.erp, records[2]).await.1);
    assert_still(&stack, &PRODUCTS).await;
}

/// A product that was deleted and made again by hand is the same product.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_made_anew_by_hand_takes_the_place_of_the_one_deleted() {
    for config in [full(), Config::new(None, Some(0), None).unwrap()] {
        let (stack, records) = stack_with_products(3).await;
        let old = in_store(&stack, "SKU-1").unwrap();
        stack.sandbox.store.delete_product(old["id"].as_u64().unwrap());
        stack.sandbox.store.insert_product(json!({
            "name": old["name"], "sku": "SKU-1", "regular_price": "10.00", "status": "publish",
            "short_description": old["short_description"],
        }));

        let id = stack.start_types(PRODUCTS.to_vec(), config).await;
        let sync = stack.finish(id).await;

        assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
        assert_eq!(stack.troubles().await, Vec::<String>::new());
        assert_eq!(stack.sandbox.store.products().len(), 3);
        assert_eq!(in_erp(&stack, "SKU-1").unwrap()["active"], true);
        let (state, is_gone, _) = item(&stack, stack.store, records[1]).await;
        assert_eq!((state.as_str(), is_gone), ("synced", false));
        let count: i64 = sqlx::query_scalar("select count(*) from record")
            .fetch_one(&stack.database.superuser)
            .await
            .unwrap();
        assert_eq!(count, 3);
        assert_still(&stack, &PRODUCTS).await;
    }
}

/// The trash is a deletion that can be taken back: what comes out of it is in use again, everywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_back_from_the_trash_is_in_use_again() {
    let (stack, records) = stack_with_products(3).await;
    let id = store_id(&stack, "SKU-0");
    stack.sandbox.store.trash_product(id);
    stack.scan(&PRODUCTS).await;
    assert_eq!(in_erp(&stack, "SKU-0").unwrap()["active"], false);
    assert_eq!(stack.sandbox.store.product(id).unwrap()["status"], "trash");
    tokio::time::sleep(Duration::from_millis(1_100)).await;

    stack
        .sandbox
        .store
        .update_product(id, json!({ "status": "publish" }));
    let sync = stack.sync().await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    assert_eq!(in_erp(&stack, "SKU-0").unwrap()["active"], true);
    assert_eq!(stack.sandbox.store.product(id).unwrap()["status"], "publish");
    assert!(!item(&stack, stack.store, records[0]).await.1);
    assert_still(&stack, &PRODUCTS).await;
}

/// Where deletions are ignored, nothing becomes of the record, and it is not made again when it changes elsewhere; only
/// who puts it again has it made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ignored_deletion_stays_until_the_record_is_put_again() {
    let (stack, records) = stack_with_products(3).await;
    let deletions = DeletionSettings {
        products: ProductPolicy::Ignore,
        ..DeletionSettings::default()
    };
    let settings = Settings {
        deletions,
        ..Settings::default()
    };
    stack.set(stack.store, &settings).await;
    let id = store_id(&stack, "SKU-1");
    stack.sandbox.store.delete_product(id);

    let sync = stack.scan(&PRODUCTS).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    stack.assert_nothing_felt();
    assert_eq!(in_erp(&stack, "SKU-1").unwrap()["active"], true);
    let erp = erp_id(&stack, "SKU-1");
    stack
        .sandbox
        .erp
        .update("product.template", erp, json!({ "list_price": 12.0 }));
    stack.scan(&PRODUCTS).await;
    assert_eq!(
        content(&stack, records[1]).await["variants"][0]["price"]["amount"],
        "12"
    );
    assert_eq!(
        in_store(&stack, "SKU-1"),
        None,
        "a change elsewhere makes nothing again"
    );

    stack.put_as(records[1], product("SKU-1", 1300)).await;
    let sync = stack.scan(&PRODUCTS).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    let made = in_store(&stack, "SKU-1").unwrap();
    assert_ne!(made["id"].as_u64(), Some(id));
    assert_eq!(stack.sandbox.store.ledger().created("product"), 1);
    assert_eq!(
        item(&stack, stack.store, records[1]).await,
        ("synced".to_owned(), false, String::new())
    );
    assert_still(&stack, &PRODUCTS).await;
}

/// More than a tenth at once is put to a person, and nothing is deleted; once that person says so, it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_a_tenth_at_once_is_put_to_a_person() {
    let (stack, _) = stack_with_products(20).await;
    for number in 0..=UNASKED {
        let id = store_id(&stack, &format!("SKU-{number}"));
        stack.sandbox.store.delete_product(id);
    }

    let sync = stack.scan(&PRODUCTS).await;

    assert_eq!(sync.status(), Status::Partial, "{:#?}", stack.troubles().await);
    let open = conflicts(&stack).await;
    let [(entity, conflict_type, is_of_item, data)] = open.as_slice() else {
        panic!("one conflict: {open:#?}")
    };
    assert_eq!(
        (entity.as_str(), conflict_type.as_str(), *is_of_item),
        ("products", "DataMismatch", false)
    );
    assert_eq!(
        (&data["known"], &data["missingAtLeast"]),
        (&json!(20), &json!(UNASKED + 1))
    );
    stack.assert_nothing_felt();
    let active = |stack: &Stack| {
        let products = stack.sandbox.erp.records("product.template");
        products
            .iter()
            .filter(|product| product["active"] == true)
            .count()
    };
    assert_eq!(active(&stack), 20);
    assert_eq!(stack.sandbox.store.products().len(), 14);
    let again = stack.scan(&PRODUCTS).await;
    assert_eq!(again.status(), Status::Partial);
    assert_eq!(
        conflicts(&stack).await.len(),
        1,
        "the same again is no second conflict"
    );
    stack.assert_nothing_felt();

    let deletions = DeletionSettings {
        ask_above: AskAbove::try_from(50).unwrap(),
        ..DeletionSettings::default()
    };
    stack
        .set(
            stack.store,
            &Settings {
                deletions,
                ..Settings::default()
            },
        )
        .await;
    let sync = stack.scan(&PRODUCTS).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    assert_eq!(active(&stack), 14);
    assert_eq!(conflicts(&stack).await.len(), 0, "R27");
}

/// In a small shop a few things are more than a tenth, and nobody is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_shop_is_not_asked_about_a_few_things() {
    let (stack, _) = stack_with_products(6).await;
    for number in 0..UNASKED {
        let id = store_id(&stack, &format!("SKU-{number}"));
        stack.sandbox.store.delete_product(id);
    }

    let sync = stack.scan(&PRODUCTS).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    for number in 0..UNASKED {
        assert_eq!(in_erp(&stack, &format!("SKU-{number}")).unwrap()["active"], false);
    }
    assert_eq!(in_erp(&stack, "SKU-5").unwrap()["active"], true);
}

/// A list that leaves things out which are there deletes nothing: each is asked for by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_leaves_things_out_deletes_nothing() {
    let (stack, _) = stack_with_products(8).await;
    let has_lied = Arc::new(AtomicUsize::new(0));
    let lies = has_lied.clone();
    stack.sandbox.store.faults().add(Rule {
        matches: Box::new(move |request| {
            let is_list = request.method == "GET"
                && request.path.ends_with("/products")
                && request.query.contains("orderby=id")
                && !request.query.contains("include=");
            is_list && lies.fetch_add(1, Ordering::SeqCst) < 1
        }),
        fault: Fault::Status {
            code: 200,
            retry_after: None,
            body: Some("[]".to_owned()),
        },
        times: None,
    });

    let sync = stack.scan(&PRODUCTS).await;

    assert!(has_lied.load(Ordering::SeqCst) > 0, "the list was read");
    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    assert_eq!(stack.troubles().await, Vec::<String>::new());
    stack.assert_nothing_felt();
}

/// What is deleted between two pages moves those behind it one place up: none of them is taken to be deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_move_while_they_are_read_delete_only_what_is_gone() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let ids: Vec<u64> = (0..150)
        .map(|number| {
            let sku = format!("P-{number}");
            stack.sandbox.store.insert_product(json!({
                "name": sku, "sku": sku, "regular_price": "10", "status": "publish", "type": "simple",
            }))
        })
        .collect();
    stack.work();
    stack.scan(&PRODUCTS).await;
    stack.forget_effects();
    // The list's second page is about to be read when a thing of the first one is deleted.
    let is_second_read = Arc::new(AtomicBool::new(false));
    let is_read = is_second_read.clone();
    stack.sandbox.store.faults().add(Rule {
        matches: Box::new(move |request| {
            if request.path.ends_with("/products") && request.query.contains("offset=") {
                is_read.store(true, Ordering::SeqCst);
            }
            false
        }),
        fault: Fault::CutConnection,
        times: None,
    });
    let slow = Config {
        batch_delay_ms: 1_500,
        ..full()
    };
    let id = stack.start_types(PRODUCTS.to_vec(), slow).await;
    eventually("the first page to be read", || async {
        let seen: i64 =
            sqlx::query_scalar("select coalesce(sum(seen_count), 0) from sync_batch where sync_id = $1")
                .bind(id.0)
                .fetch_one(&stack.database.superuser)
                .await
                .unwrap();
        (seen > 0).then_some(())
    })
    .await;
    assert!(
        !is_second_read.load(Ordering::SeqCst),
        "the second page is still to be read"
    );
    stack.sandbox.store.delete_product(ids[3]);

    let sync = stack.finish(id).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    stack.assert_nothing_felt();
    let sync = stack.scan(&PRODUCTS).await;
    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    let archived = stack.sandbox.erp.records("product.template");
    let archived: Vec<&Value> = archived
        .iter()
        .filter(|product| product["active"] == false)
        .collect();
    assert_eq!(archived.len(), 1);
    assert_eq!(archived[0]["default_code"], "P-3");
}

/// Starts a worker that dies with the runtime it has to itself: in the middle of whatever it does, with nothing said.
fn mortal(stack: &Stack) -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let config = stack.worker_config();
    runtime.spawn(async move {
        let _ = lockstep_worker::run(config, CancellationToken::new()).await;
    });
    runtime
}

/// R13: a worker that dies in any phase of a scan leaves it to the next, which goes on with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_whose_workers_die_in_its_middle_ends_as_any_other() {
    let stack = Stack::new().await;
    stack.forget_partners();
    let ids: Vec<u64> = (0..230)
        .map(|number| {
            let sku = format!("P-{number}");
            stack.sandbox.store.insert_product(json!({
                "name": sku, "sku": sku, "regular_price": "10", "status": "publish", "type": "simple",
            }))
        })
        .collect();
    let mut worker = mortal(&stack);
    let first = stack.scan(&PRODUCTS).await;
    assert_eq!(first.status(), Status::Done, "{:#?}", stack.troubles().await);
    let before = cursors(&stack).await;
    for id in &ids[..20] {
        stack.sandbox.store.delete_product(*id);
    }
    stack.forget_effects();
    let slow = Config {
        batch_delay_ms: 300,
        ..full()
    };
    let id = stack.start_types(PRODUCTS.to_vec(), slow).await;

    let mut phases = std::collections::BTreeSet::new();
    let deadline = Instant::now() + Duration::from_mins(2);
    let sync = loop {
        let phase: Option<String> = sqlx::query_scalar(
            "select scan ->> 'phase' from sync_stage where sync_id = $1 and status = 'open' and direction = 'pull'",
        )
        .bind(id.0)
        .fetch_optional(&stack.database.superuser)
        .await
        .unwrap()
        .flatten();
        if let Some(phase) = phase
            && phases.insert(phase)
        {
            std::mem::replace(&mut worker, mortal(&stack)).shutdown_background();
        }
        let view = stack.view(id).await;
        if view.status.is_final() {
            break stack.finish(id).await;
        }
        assert!(Instant::now() < deadline, "the scan ends");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    assert_eq!(
        phases.into_iter().collect::<Vec<_>>(),
        ["checking", "reading", "retiring"]
    );
    let erp = stack.sandbox.erp.records("product.template");
    assert_eq!(
        erp.iter().filter(|product| product["active"] == false).count(),
        20
    );
    assert_eq!(stack.sandbox.erp.ledger().updated("product"), 20, "each once");
    assert_eq!(stack.sandbox.store.products().len(), 210);
    assert_eq!(cursors(&stack).await, before, "a scan moves no cursor of changes");
    assert_still(&stack, &PRODUCTS).await;
    worker.shutdown_background();
}

/// An order that was put into the trash, or deleted, before it was carried out is cancelled in the ERP; a completed one
/// stays what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_deleted_in_the_store_is_cancelled_in_the_erp() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let lamp = stack.sandbox.store.insert_product(json!({
        "name": "Lamp", "sku": "LAMP", "regular_price": "10", "status": "publish", "type": "simple",
    }));
    let order = |status: &str| {
        stack.sandbox.store.insert_order(json!({
            "status": status, "billing": { "first_name": "Ann", "last_name": "Lee", "email": "ann@example.com" },
            "line_items": [{ "product_id": lamp, "quantity": 1 }],
        }))
    };
    let (trashed, deleted, completed, kept) = (
        order("processing"),
        order("on-hold"),
        order("completed"),
        order("processing"),
    );
    stack.work();
    let types = [
        EntityType::Customers,
        EntityType::Products,
        EntityType::Orders,
        EntityType::Payments,
    ];
    let first = stack.scan(&types).await;
    assert_eq!(first.status(), Status::Done, "{:#?}", stack.troubles().await);
    stack.sandbox.store.trash_order(trashed);
    stack.sandbox.store.delete_order(deleted);
    stack.sandbox.store.delete_order(completed);

    let sync = stack.scan(&types).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    let states: BTreeMap<String, String> = stack
        .sandbox
        .erp
        .records("sale.order")
        .iter()
        .map(|order| {
            let text = |field: &str| order[field].as_str().unwrap_or_default().to_owned();
            (text("client_order_ref"), text("state"))
        })
        .collect();
    let state = |id: u64| states[&id.to_string()].as_str();
    assert_eq!((state(trashed), state(deleted)), ("cancel", "cancel"));
    assert_eq!((state(completed), state(kept)), ("sale", "sale"));
    assert_eq!(stack.sandbox.store.order(trashed).unwrap()["status"], "trash");
    assert_still(&stack, &types).await;
}

/// Customers are left alone unless the connection says otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_account_is_the_end_of_a_partner_only_where_that_is_said() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let records = [
        stack.put(customer("ann@example.com")).await,
        stack.put(customer("bob@example.com")).await,
    ];
    stack.work();
    let types = [EntityType::Customers];
    stack.scan(&types).await;
    let account = |stack: &Stack, email: &str| -> u64 {
        let accounts = stack.sandbox.store.customers();
        let found = accounts.iter().find(|account| account["email"] == email);
        found.unwrap()["id"].as_u64().unwrap()
    };
    let is_active = |stack: &Stack, email: &str| -> bool {
        let partners = stack.sandbox.erp.records("res.partner");
        let found = partners.iter().find(|partner| partner["email"] == email);
        found.unwrap()["active"].as_bool().unwrap()
    };
    stack
        .sandbox
        .store
        .delete_customer(account(&stack, "ann@example.com"));
    stack.scan(&types).await;
    assert!(item(&stack, stack.store, records[0]).await.1);
    assert!(is_active(&stack, "ann@example.com"));

    let deletions = DeletionSettings {
        customers: CustomerPolicy::Archive,
        ..DeletionSettings::default()
    };
    stack
        .set(
            stack.store,
            &Settings {
                deletions,
                ..Settings::default()
            },
        )
        .await;
    stack
        .sandbox
        .store
        .delete_customer(account(&stack, "bob@example.com"));
    let sync = stack.scan(&types).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    assert!(!is_active(&stack, "bob@example.com"));
    assert!(
        is_active(&stack, "ann@example.com"),
        "what was ignored stays ignored"
    );
    assert_still(&stack, &types).await;
}

/// A number that was written behind the shop's back moves no time of change: only a full scan finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_that_was_written_raw_is_found_by_a_full_scan() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let plan = SeedPlan {
        seed: 7,
        products: 12,
        customers: 0,
        orders: 0,
        refunds: 0,
    };
    seed(&stack.sandbox.store, &stack.sandbox.erp, &plan);
    stack.work();
    let first = stack.sync().await;
    assert_eq!(first.status(), Status::Done, "{:#?}", stack.troubles().await);
    let product = stack
        .sandbox
        .store
        .products()
        .into_iter()
        .find(|product| product["type"] == "simple" && product["manage_stock"] == true)
        .unwrap();
    let id = product["id"].as_u64().unwrap();
    let level = product["stock_quantity"].as_i64().unwrap();
    // The newest second is read twice by pulls of changes.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let newer = stack
        .sandbox
        .store
        .products()
        .into_iter()
        .find(|other| other["id"] != product["id"]);
    let newer = newer.unwrap()["id"].as_u64().unwrap();
    stack
        .sandbox
        .store
        .update_product(newer, json!({ "menu_order": 1 }));
    stack.sync().await;
    stack.sandbox.store.set_stock_raw(id, level + 40);
    let types = [EntityType::Inventory];
    let of_changes = stack
        .start_types(types.to_vec(), Config::new(None, Some(0), None).unwrap())
        .await;
    stack.finish(of_changes).await;
    let in_stock = |stack: &Stack| stack.sandbox.store.product(id).unwrap()["stock_quantity"].as_i64();
    assert_eq!(in_stock(&stack), Some(level + 40), "nobody told of it");

    let sync = stack.scan(&types).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    assert_eq!(in_stock(&stack), Some(level), "the ERP owns stock");
    assert_still(&stack, &types).await;
}

/// A product that is sold and counted goes with its level and leaves its orders and payments as they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_goes_with_its_level_and_without_its_orders() {
    let mut stack = Stack::new().await;
    small_shop(&stack);
    stack.work();
    let first = stack.sync().await;
    assert_eq!(first.status(), Status::Done, "{:#?}", stack.troubles().await);
    let sold: std::collections::BTreeSet<u64> = stack
        .sandbox
        .store
        .orders()
        .iter()
        .flat_map(|order| order["line_items"].as_array().unwrap().clone())
        .filter_map(|line| line["product_id"].as_u64())
        .collect();
    let product = stack
        .sandbox
        .store
        .products()
        .into_iter()
        .find(|product| {
            let is_sold = sold.contains(&product["id"].as_u64().unwrap());
            product["type"] == "simple" && product["manage_stock"] == true && product["sku"] != "" && is_sold
        })
        .unwrap();
    let orders = stack.sandbox.erp.records("sale.order");
    stack
        .sandbox
        .store
        .delete_product(product["id"].as_u64().unwrap());

    let sync = stack.scan(&EntityType::ALL).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    let gone: Vec<(String, String)> =
        sqlx::query_as("select entity_type, state from item where gone_at is not null order by entity_type")
            .fetch_all(&stack.database.superuser)
            .await
            .unwrap();
    let of = |entity: &str| (entity.to_owned(), "skipped".to_owned());
    assert_eq!(gone, [of("inventory"), of("products")]);
    assert_eq!(stack.troubles().await.len(), 2, "{:#?}", stack.troubles().await);
    let totals = |orders: &[Value]| -> Vec<(Value, Value)> {
        let both = orders.iter();
        both.map(|order| (order["amount_total"].clone(), order["state"].clone()))
            .collect()
    };
    let after = stack.sandbox.erp.records("sale.order");
    assert_eq!(totals(&after), totals(&orders));
    let sku = product["sku"].as_str().unwrap();
    assert_eq!(in_erp(&stack, sku).unwrap()["active"], false);
    assert_still(&stack, &EntityType::ALL).await;
}

/// A change that meets nothing is treated as the scan would: by policy, and not by making the thing again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_what_is_gone_makes_nothing_again() {
    for leave in [
        (|stack: &Stack, id| stack.sandbox.store.delete_product(id)) as fn(&Stack, u64),
        |stack, id| stack.sandbox.store.trash_product(id),
    ] {
        let (stack, records) = stack_with_products(3).await;
        let id = store_id(&stack, "SKU-1");
        leave(&stack, id);
        let erp = erp_id(&stack, "SKU-1");
        stack
            .sandbox
            .erp
            .update("product.template", erp, json!({ "list_price": 15.0 }));

        let sync = stack.sync().await;

        assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
        assert!(stack.effects().0.is_empty(), "nothing in the store");
        assert!(item(&stack, stack.store, records[1]).await.1);
        assert_eq!(in_erp(&stack, "SKU-1").unwrap()["active"], false);
        stack.forget_effects();
        stack.sync().await;
        stack.assert_nothing_felt();
    }
}

/// What is deleted between the look at it and the write is deleted too, as soon as the system says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_told_of_the_deletion_makes_nothing_again() {
    let (stack, records) = stack_with_products(3).await;
    let id = store_id(&stack, "SKU-1");
    let unknown = json!({ "update": [{ "id": id, "error": {
        "code": "woocommerce_rest_product_invalid_id", "message": "Invalid ID.", "data": { "status": 400 }
    } }] });
    stack.sandbox.store.faults().on_path(
        "/products/batch",
        Fault::Status {
            code: 200,
            retry_after: None,
            body: Some(unknown.to_string()),
        },
        Some(1),
    );
    stack.put_as(records[1], product("SKU-1", 1700)).await;

    let sync = stack.sync().await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    assert!(item(&stack, stack.store, records[1]).await.1);
    assert_eq!(conflicts(&stack).await.len(), 0);
    assert_eq!(in_erp(&stack, "SKU-1").unwrap()["active"], false);
}

/// An ERP that lost its data is not the reason to take a store's whole catalogue from sale.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_meet_nothing_too_often_are_put_to_a_person() {
    let (stack, records) = stack_with_products(12).await;
    for number in 0..8 {
        let id = erp_id(&stack, &format!("SKU-{number}"));
        stack.sandbox.erp.unlink("product.template", id);
    }
    for (number, record) in records.iter().enumerate() {
        let Content::Product(mut changed) = product(&format!("SKU-{number}"), 1000) else {
            unreachable!()
        };
        changed.summary = Some("New words".to_owned());
        changed.status = ProductStatus::Published;
        stack.put_as(*record, Content::Product(changed)).await;
    }

    let sync = stack.sync().await;

    assert_eq!(sync.status(), Status::Partial, "{:#?}", stack.troubles().await);
    let open = conflicts(&stack).await;
    assert_eq!(open.len(), 1, "{open:#?}");
    assert_eq!(open[0].1, "DataMismatch");
    assert_eq!(stack.sandbox.erp.ledger().created("product"), 0);
    let on_sale = stack.sandbox.store.products();
    assert!(on_sale.iter().all(|product| product["status"] == "publish"));
}

/// A dry run tells what vanished, and does nothing about it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_tells_what_vanished() {
    let (stack, records) = stack_with_products(3).await;
    stack.sandbox.store.delete_product(store_id(&stack, "SKU-1"));

    let dry = Config {
        dry_run: true,
        ..full()
    };
    let id = stack.start_types(PRODUCTS.to_vec(), dry).await;
    let sync = stack.finish(id).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    let mut tx = stack.begin_as_api().await;
    let told = preview::list(&mut tx, stack.org, id, None, 10).await.unwrap();
    drop(tx);
    let told: Vec<_> = told.iter().map(|told| (told.record_id, told.action)).collect();
    assert_eq!(told, [(records[1], preview::Action::Vanished)]);
    assert_eq!(content(&stack, records[1]).await["status"], "published");
    assert!(!item(&stack, stack.store, records[1]).await.1);
    stack.assert_nothing_felt();
}

/// What is out of use is not made where it is not there, unless an order names it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_out_of_use_is_made_only_where_something_needs_it() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let Content::Product(mut old) = product("OLD", 1000) else {
        unreachable!()
    };
    old.status = ProductStatus::Archived;
    let record = stack.put(Content::Product(old)).await;
    stack.work();

    let sync = stack.scan(&[EntityType::Products, EntityType::Orders]).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    stack.assert_nothing_felt();
    let ann = stack.put(customer("ann@example.com")).await;
    stack.put(lockstep_tests::make::order("A-1", ann, record)).await;
    stack.sync().await;
    let sync = stack.sync().await;
    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    assert_eq!(stack.sandbox.erp.records("sale.order").len(), 1);
    assert_eq!(in_erp(&stack, "OLD").unwrap()["active"], false);
}

/// The policy of each type is the connection's in which its thing was deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ignored_order_goes_on_in_the_erp() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let deletions = DeletionSettings {
        orders: OrderPolicy::Ignore,
        ..DeletionSettings::default()
    };
    stack
        .set(
            stack.store,
            &Settings {
                deletions,
                ..Settings::default()
            },
        )
        .await;
    let lamp = stack.put(product("LAMP", 1000)).await;
    let ann = stack.put(customer("ann@example.com")).await;
    let record = stack.put(lockstep_tests::make::order("A-1", ann, lamp)).await;
    stack.work();
    let first = stack.sync().await;
    assert_eq!(first.status(), Status::Done, "{:#?}", stack.troubles().await);
    let id = stack.sandbox.store.orders()[0]["id"].as_u64().unwrap();
    stack.sandbox.store.delete_order(id);
    stack.forget_effects();

    let sync = stack.scan(&EntityType::ALL).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    stack.assert_nothing_felt();
    assert!(item(&stack, stack.store, record).await.1);
    assert_eq!(stack.sandbox.erp.records("sale.order")[0]["state"], "sale");
    assert!(stack.sandbox.store.orders().is_empty());
}
