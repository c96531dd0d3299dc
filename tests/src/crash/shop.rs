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

/// The SKUs of those that people throw away, in the store and in the ERP.
const THROWN_AWAY: [&str; 2] = ["OWN-3", "OWN-4"];

/// The number of the order that people throw away, in the store.
const THROWN_AWAY_ORDER: &str = "OWN-3";

/// The SKU of what it is about, whose pieces nobody counts: what becomes free when it is cancelled would be the ERP's word on
/// a level beside the application's, and which of them comes first is chance.
const UNCOUNTED_SKU: &str = "OWN-5";

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
    for sku in THROWN_AWAY {
        stack.put(make::product(sku, 700)).await;
    }
    let uncounted = stack.put(make::product(UNCOUNTED_SKU, 700)).await;
    stack
        .put(make::order(THROWN_AWAY_ORDER, customer, uncounted))
        .await;
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

/// Has people throw away a product in either system, and an order in the store: what a full scan is to find.
pub async fn clear_out(stack: &Stack) {
    let (store, erp) = (&stack.sandbox.store, &stack.sandbox.erp);
    let [in_store, in_erp] = THROWN_AWAY;
    for product in store.products().iter().filter(|row| row["sku"] == in_store) {
        store.trash_product(number(product, "id"));
    }
    for template in erp
        .records("product.template")
        .iter()
        .filter(|row| row["default_code"] == in_erp)
    {
        let id = i64::try_from(number(template, "id")).expect("a small number");
        erp.unlink("product.template", id);
    }
    let order: String = sqlx::query_scalar(
        "select i.external_id from item i join record r on r.org_id = i.org_id and r.record_id = i.record_id
          where i.connection_id = $1 and r.entity_type = 'orders' and r.content ->> 'number' = $2",
    )
    .bind(stack.store.0)
    .bind(THROWN_AWAY_ORDER)
    .fetch_one(&stack.database.superuser)
    .await
    .expect("it was carried over before");
    store.trash_order(order.parse().expect("a number"));
}

/// Tells how the product stands in the store that people threw away in the ERP, and whether a sentence says no more than that
/// it has nothing beside it there.
pub fn put_away(store: &Store) -> (String, impl Fn(&String) -> bool) {
    let products = store.products();
    let row = products.iter().find(|row| row["sku"] == THROWN_AWAY[1]);
    let told = row.map_or("nothing is left in the store".to_owned(), |row| {
        format!("the store's is {}", row["status"])
    });
    let name = row
        .and_then(|row| row["name"].as_str())
        .unwrap_or_default()
        .to_owned();
    let is_it = move |sentence: &String| {
        sentence.starts_with(&format!("`{name}`")) && sentence.ends_with("is not in Odoo")
    };
    (told, is_it)
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
    sku.as_str().is_some_and(|sku| sku.starts_with("OWN-"))
}

fn number(row: &serde_json::Value, name: &str) -> u64 {
    row[name].as_u64().expect("a number")
}
