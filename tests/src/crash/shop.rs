//! The shop that is carried over while workers die: something of every type in either system, and records of the
//! application's own, so that every stage has something to do.

use std::time::Duration;

use lockstep_sandbox::seed::{SeedPlan, seed};
use lockstep_sandbox::woocommerce::{Shopper, Store};
use lockstep_shared::entity::Content;
use lockstep_shared::id::RecordId;
use serde_json::json;

use crate::make;
use crate::stack::Stack;

/// What guests buy, in pieces.
const SALES: usize = 3;

/// The SKU of the application's own product, which its orders are about.
const OWN_SKU: &str = "OWN-1";

/// The SKU of one that nobody buys: what the ERP has of it changes by nobody but the application, and is written there.
const SHELF_SKU: &str = "OWN-2";

/// The application's own records.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    customer: RecordId,
    product: RecordId,
    level: RecordId,
    shelf_product: RecordId,
    shelf_level: RecordId,
}

/// Fills both systems and puts the application's records.
pub async fn open(stack: &Stack, seed_number: u64) -> Own {
    stack.forget_partners();
    let plan = SeedPlan {
        seed: seed_number,
        products: 10,
        customers: 10,
        orders: 5,
        refunds: 2,
    };
    seed(&stack.sandbox.store, &stack.sandbox.erp, &plan);
    let customer = stack.put(make::customer("own@example.com")).await;
    let product = stack.put(counted(OWN_SKU, 1000)).await;
    let order = stack.put(make::order("OWN-1", customer, product)).await;
    stack.put(make::payment(order, "txn-1")).await;
    let level = stack.put(make::level(product, 40)).await;
    let shelf_product = stack.put(counted(SHELF_SKU, 1500)).await;
    let shelf_level = stack.put(make::level(shelf_product, 20)).await;
    Own {
        customer,
        product,
        level,
        shelf_product,
        shelf_level,
    }
}

fn counted(sku: &str, price_cents: i64) -> Content {
    let Content::Product(mut product) = make::product(sku, price_cents) else {
        unreachable!("it makes products");
    };
    product.tracks_stock = true;
    Content::Product(product)
}

/// Changes something of every type, on all sides: what the second sync has to carry over.
pub async fn change(stack: &Stack, own: Own) {
    let (store, erp) = (&stack.sandbox.store, &stack.sandbox.erp);
    let Content::Customer(mut customer) = make::customer("own@example.com") else {
        unreachable!("it makes customers");
    };
    customer.phone = Some("+1 555 0100".to_owned());
    stack.put_as(own.customer, Content::Customer(customer)).await;
    stack.put_as(own.product, counted(OWN_SKU, 1250)).await;
    stack.put_as(own.level, make::level(own.product, 55)).await;
    stack
        .put_as(own.shelf_level, make::level(own.shelf_product, 25))
        .await;

    for customer in store.customers().iter().take(3) {
        store.update_customer(number(customer, "id"), json!({"first_name": "Renamed"}));
    }
    for template in erp
        .records("product.template")
        .iter()
        .filter(|row| row["active"] == true)
        .take(3)
    {
        let id = i64::try_from(number(template, "id")).expect("a small number");
        erp.update("product.template", id, json!({"name": "Renamed in the office"}));
    }
    let orders = store.orders();
    if let Some(order) = orders.iter().find(|order| order["status"] == "processing") {
        store.update_order(number(order, "id"), json!({"status": "completed"}));
    }
    // By their SKUs: which of them was made first is chance.
    let mut variants = erp.records("product.product");
    variants
        .retain(|row| row["is_storable"] == true && row["active"] == true && !is_own(&row["default_code"]));
    variants.sort_by_key(|row| row["default_code"].as_str().map(str::to_owned));
    for variant in variants.iter().rev().take(2) {
        let id = i64::try_from(number(variant, "id")).expect("a small number");
        erp.set_stock(id, 5, 77.0);
    }
    // More of what is new, besides.
    let order = stack.put(make::order("OWN-2", own.customer, own.product)).await;
    stack.put(make::payment(order, "txn-2")).await;
}

/// Returns what guests buy, a piece of each: the same goods in every shop of a kind.
pub fn goods(store: &Store) -> Vec<u64> {
    let mut counted: Vec<_> = store
        .products()
        .into_iter()
        .filter(|product| {
            product["manage_stock"] == true
                && product["status"] == "publish"
                && product["stock_quantity"].as_i64() > Some(10)
                // The application says how many pieces of its own there are, whatever was sold since it last did.
                && !is_own(&product["sku"])
        })
        .collect();
    counted.sort_by_key(|product| product["sku"].as_str().map(str::to_owned));
    counted
        .iter()
        .take(SALES)
        .map(|product| number(product, "id"))
        .collect()
}

/// Has guests buy, one after another, each after a while.
pub async fn trade(shopper: Shopper, sales: Vec<(u64, Duration)>) {
    for (product, pause) in sales {
        tokio::time::sleep(pause).await;
        shopper.buy(product, 1);
    }
}

fn is_own(sku: &serde_json::Value) -> bool {
    sku == OWN_SKU || sku == SHELF_SKU
}

fn number(row: &serde_json::Value, name: &str) -> u64 {
    row[name].as_u64().expect("a number")
}
