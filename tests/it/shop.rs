//! Shops as they are: orders with their payments and stock, in both systems' own data.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lockstep_sandbox::fault::{Fault, Rule};
use lockstep_sandbox::seed::{SeedPlan, seed};
use lockstep_shared::sync::{Config, Status};
use lockstep_shared::system::EntityType;
use lockstep_tests::stack::{Finished, Stack};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use lockstep_tests::make::{customer, order, product};

fn amount(value: &Value) -> Decimal {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let amount: Decimal = text.parse().unwrap_or_else(|_| panic!("{value} is no amount"));
    amount.round_dp(2).normalize()
}

/// The totals and taxes of the store's orders, by number.
fn store_totals(stack: &Stack) -> BTreeMap<String, (Decimal, Decimal)> {
    let orders = stack.sandbox.store.orders();
    orders
        .iter()
        .map(|order| {
            let number = order["number"].as_str().unwrap().to_owned();
            (number, (amount(&order["total"]), amount(&order["total_tax"])))
        })
        .collect()
}

/// The totals and taxes of the ERP's orders, by the number that the store gave them.
fn erp_totals(stack: &Stack) -> BTreeMap<String, (Decimal, Decimal)> {
    let orders = stack.sandbox.erp.records("sale.order");
    orders
        .iter()
        .map(|order| {
            let number = order["client_order_ref"].as_str().unwrap_or_default().to_owned();
            (
                number,
                (amount(&order["amount_total"]), amount(&order["amount_tax"])),
            )
        })
        .collect()
}

async fn sync_types(stack: &Stack, types: &[EntityType]) -> Finished {
    let config = Config::new(None, Some(0), None).unwrap();
    let id = stack.start_types(types.to_vec(), config).await;
    stack.finish(id).await
}

/// Fills both systems of a stack with a small shop.
pub fn small_shop(stack: &Stack) {
    stack.forget_partners();
    let plan = SeedPlan {
        seed: 7,
        products: 30,
        customers: 20,
        orders: 25,
        refunds: 4,
    };
    seed(&stack.sandbox.store, &stack.sandbox.erp, &plan);
}

/// Every order of the store stands in the ERP with the same total and tax, to the cent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_orders_of_a_store_stand_in_the_erp_to_the_cent() {
    let mut stack = Stack::new().await;
    small_shop(&stack);
    stack.work();

    let types = [EntityType::Customers, EntityType::Products, EntityType::Orders];
    let sync = sync_types(&stack, &types).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    assert_eq!(store_totals(&stack), erp_totals(&stack));
}

/// What people in both systems would have noticed.
fn noise(stack: &Stack) -> (usize, usize, usize, usize, usize) {
    let (store, erp) = (stack.sandbox.store.noise(), stack.sandbox.erp.noise());
    (
        store.customer_mails,
        store.admin_mails,
        erp.mails,
        erp.messages,
        erp.activities,
    )
}

/// R17: all five types go over in one sync; nobody is written to, and a second sync writes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_shop_goes_over_in_silence_and_stays_still() {
    let mut stack = Stack::new().await;
    small_shop(&stack);
    let before = noise(&stack);
    stack.work();

    let first = stack.sync().await;

    assert_eq!(first.status(), Status::Done, "{:#?}", stack.troubles().await);
    assert_eq!(stack.troubles().await, Vec::<String>::new());
    assert_eq!(store_totals(&stack), erp_totals(&stack));
    let paid: Decimal = stack
        .sandbox
        .store
        .orders()
        .iter()
        .filter(|order| order["date_paid"].is_string())
        .map(|order| amount(&order["total"]))
        .sum();
    let back: Decimal = stack
        .sandbox
        .store
        .refunds()
        .iter()
        .map(|refund| amount(&refund["amount"]))
        .sum();
    let booked = |direction: &str| -> Decimal {
        let payments = stack.sandbox.erp.records("account.payment");
        let counted = payments
            .iter()
            .filter(|payment| payment["payment_type"] == direction && payment["state"] == "in_process");
        counted.map(|payment| amount(&payment["amount"])).sum()
    };
    assert_eq!((booked("inbound"), booked("outbound")), (paid, back));
    assert_eq!(noise(&stack), before, "R17");

    stack.forget_effects();
    let second = stack.sync().await;
    assert_eq!(second.status(), Status::Done, "{:#?}", stack.troubles().await);
    stack.assert_nothing_felt();
    assert_eq!(noise(&stack), before, "R17");
}

/// A sync of orders alone brings the customers and products that its orders name, and no others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_of_orders_alone_brings_what_they_name() {
    let mut stack = Stack::new().await;
    small_shop(&stack);
    stack.work();

    let sync = sync_types(&stack, &[EntityType::Orders]).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    assert_eq!(store_totals(&stack), erp_totals(&stack));
    let orders = stack.sandbox.store.orders();
    let named: std::collections::BTreeSet<u64> = orders
        .iter()
        .flat_map(|order| order["line_items"].as_array().unwrap())
        .filter_map(|line| line["product_id"].as_u64())
        .filter(|id| *id != 0)
        .collect();
    let ledger = stack.sandbox.erp.ledger();
    assert!(ledger.created("product") <= named.len());
    assert_eq!(
        stack.sandbox.store.ledger().effects().len(),
        0,
        "nothing was asked for there"
    );
}

/// A sale between the look at a level and its write is not erased.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_between_look_and_write_is_taken_off_again() {
    let mut stack = Stack::new().await;
    small_shop(&stack);
    stack.work();
    stack.sync().await;
    let product = stack
        .sandbox
        .store
        .products()
        .into_iter()
        .find(|product| {
            product["type"] == "simple" && product["manage_stock"] == true && product["sku"] != ""
        })
        .unwrap();
    let (id, sku) = (product["id"].as_u64().unwrap(), product["sku"].as_str().unwrap());
    let variant = stack
        .sandbox
        .erp
        .records("product.product")
        .into_iter()
        .find(|variant| variant["default_code"] == sku)
        .unwrap();
    let outgoing = variant["outgoing_qty"].as_f64().unwrap();
    stack
        .sandbox
        .erp
        .set_stock(variant["id"].as_i64().unwrap(), 5, 100.0 + outgoing);
    let shopper = stack.sandbox.store.shopper();
    let has_bought = AtomicBool::new(false);
    stack.sandbox.store.faults().add(Rule {
        matches: Box::new(move |request| {
            let is_write =
                request.method == "POST" && request.body.to_string().contains("\"stock_quantity\":100");
            if is_write && !has_bought.swap(true, Ordering::SeqCst) {
                shopper.buy(id, 3);
            }
            false
        }),
        fault: Fault::CutConnection,
        times: None,
    });

    let sync = sync_types(&stack, &[EntityType::Orders, EntityType::Inventory]).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    let in_stock = |stack: &Stack| stack.sandbox.store.product(id).unwrap()["stock_quantity"].clone();
    assert_eq!(in_stock(&stack), 97, "in the same sync");
    sync_types(&stack, &[EntityType::Orders, EntityType::Inventory]).await;
    sync_types(&stack, &[EntityType::Orders, EntityType::Inventory]).await;
    assert_eq!(in_stock(&stack), 97, "once the order has arrived");
}

/// A dry run looks and decides, tells what it would do, and writes nothing anywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_tells_what_would_happen_and_writes_nothing() {
    let mut stack = Stack::new().await;
    small_shop(&stack);
    stack.work();
    let config = Config {
        dry_run: true,
        ..Config::new(None, Some(0), None).unwrap()
    };

    let id = stack.start_types(EntityType::ALL.to_vec(), config).await;
    let dry = stack.finish(id).await;

    assert_eq!(dry.status(), Status::Done, "{:#?}", stack.troubles().await);
    stack.assert_nothing_felt();
    let mut tx = stack.begin_as_api().await;
    let previews = lockstep_shared::preview::list(&mut tx, stack.org, id, None, 10_000)
        .await
        .unwrap();
    drop(tx);
    let would_create = |entity: EntityType| {
        let of_type = previews.iter().filter(|preview| preview.entity_type == entity);
        of_type
            .filter(|preview| preview.action == lockstep_shared::preview::Action::Create)
            .count()
    };
    let told = (
        would_create(EntityType::Customers),
        would_create(EntityType::Products),
    );
    let first = stack.sync().await;
    let made = |entity: EntityType| -> usize {
        let stages = first.stages.iter().filter(|stage| stage.entity_type == entity);
        usize::try_from(stages.map(|stage| stage.counts.created).sum::<i64>()).unwrap()
    };
    let pulled_anew = |entity: EntityType| -> usize {
        let stages = first.stages.iter();
        let pulls = stages
            .filter(|s| s.entity_type == entity && s.direction == lockstep_shared::system::Direction::Pull);
        usize::try_from(pulls.map(|stage| stage.counts.created).sum::<i64>()).unwrap()
    };
    let created = |entity| made(entity) - pulled_anew(entity);
    assert_eq!(
        told,
        (created(EntityType::Customers), created(EntityType::Products))
    );
    assert!(told.0 > 0 && told.1 > 0);
    let price = previews
        .iter()
        .find(|preview| preview.entity_type == EntityType::Products)
        .unwrap();
    assert!(
        price
            .changes
            .as_object()
            .is_some_and(|changes| !changes.is_empty()),
        "field by field"
    );
}

/// An order waits in vain for a customer that the ERP refuses: a conflict says so, the rest goes on, and once the customer
/// gets there the order follows and its conflict closes itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_whose_customer_is_refused_says_so_and_follows_later() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let ann = stack.put(customer("ann@example.com")).await;
    let lamp = stack.put(product("LAMP", 1000)).await;
    stack.put(order("A-1", ann, lamp)).await;
    let refusal = json!({
        "name": "odoo.exceptions.ValidationError", "message": "not this one", "arguments": ["not this one"],
        "context": {}, "debug": "",
    });
    let faults = stack.sandbox.erp.faults();
    faults.on_path(
        "/json/2/res.partner/load",
        Fault::Status {
            code: 422,
            retry_after: None,
            body: Some(refusal.to_string()),
        },
        None,
    );
    stack.work();

    let sync = stack.sync().await;

    assert_eq!(
        sync.status(),
        Status::Partial,
        "R8: {:#?}",
        stack.troubles().await
    );
    let troubles = stack.troubles().await;
    let says = |what: &str| troubles.iter().any(|trouble| trouble.contains(what));
    assert!(says("odoo customers failed: not this one"), "{troubles:#?}");
    assert!(
        says(&format!(
            "conflict orders ValidationError: it needs customer `{ann}`"
        )),
        "{troubles:#?}"
    );
    assert!(stack.sandbox.erp.records("sale.order").is_empty());
    assert_eq!(
        stack.sandbox.erp.ledger().created("product"),
        1,
        "the rest went on"
    );

    stack.sandbox.erp.faults().clear();
    let sync = stack.sync().await;
    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    assert_eq!(stack.troubles().await, Vec::<String>::new());
    assert_eq!(stack.sandbox.erp.records("sale.order").len(), 1);
}

/// A sale while the store's stock becomes the ERP's to begin with is taken off once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_while_the_opening_stock_is_on_its_way_is_taken_off_once() {
    for moment in [
        "/product.template/load",
        "/stock.quant/create",
        "/stock.quant/action_apply_inventory",
    ] {
        let mut stack = Stack::new().await;
        stack.forget_partners();
        let lamp = stack.sandbox.store.insert_product(json!({
            "name": "Lamp", "sku": "LAMP", "regular_price": "20.00", "status": "publish", "manage_stock": true,
            "stock_quantity": 50,
        }));
        let shopper = stack.sandbox.store.shopper();
        let has_bought = Arc::new(AtomicBool::new(false));
        let bought = has_bought.clone();
        stack.sandbox.erp.faults().add(Rule {
            matches: Box::new(move |request| {
                if request.path.contains(moment) && !bought.swap(true, Ordering::SeqCst) {
                    shopper.buy(lamp, 3);
                }
                false
            }),
            fault: Fault::CutConnection,
            times: None,
        });
        stack.work();
        for _ in 0..3 {
            stack.sync().await;
        }
        assert!(has_bought.load(Ordering::SeqCst), "{moment}");

        let variants = stack.sandbox.erp.records("product.product").into_iter();
        let variant = variants
            .filter(|row| row["default_code"] == "LAMP")
            .collect::<Vec<_>>()
            .remove(0);
        assert_eq!(
            (&variant["qty_available"], &variant["outgoing_qty"]),
            (&json!(50.0), &json!(3.0)),
            "{moment}"
        );
        assert_eq!(
            stack.sandbox.store.product(lamp).unwrap()["stock_quantity"],
            47,
            "{moment}"
        );
    }
}
