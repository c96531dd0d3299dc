//! Shops as they are: orders with their payments and stock, in both systems' own data.

use std::collections::BTreeMap;

use lockstep_sandbox::seed::{SeedPlan, seed};
use lockstep_shared::sync::{Config, Status};
use lockstep_shared::system::EntityType;
use lockstep_tests::stack::{Finished, Stack};
use rust_decimal::Decimal;
use serde_json::Value;

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

fn small_shop(stack: &Stack) {
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
