//! Whatever people do in both systems at once, the systems come to agree or say why not, and then stay still.

use std::collections::BTreeMap;

use lockstep_sandbox::seed::{SeedPlan, seed};
use lockstep_shared::sync::Status;
use lockstep_tests::stack::Stack;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// Syncs after which nothing may be left to write: one for what people did, one for the stock that waits for its orders,
/// and one for what that moved.
const ROUNDS: usize = 4;

fn id(row: &Value) -> u64 {
    row["id"].as_u64().unwrap()
}

fn pick<'a>(random: &mut StdRng, rows: &'a [Value]) -> &'a Value {
    rows.choose(random).expect("the shop is not empty")
}

/// Does one thing that people do, in either system.
fn edit(stack: &Stack, random: &mut StdRng) -> String {
    let (store, erp) = (&stack.sandbox.store, &stack.sandbox.erp);
    let simple: Vec<Value> = store
        .products()
        .into_iter()
        .filter(|product| {
            product["type"] == "simple" && product["manage_stock"] == true && product["sku"] != ""
        })
        .collect();
    let templates: Vec<Value> = erp
        .records("product.template")
        .into_iter()
        .filter(|template| template["active"] == true && template["type"] != "service")
        .collect();
    let number = random.random_range(1..1000);
    match random.random_range(0..8) {
        0 => {
            let product = id(pick(random, &simple));
            store.update_product(product, json!({"name": format!("Renamed in the shop {number}")}));
            format!("product {product} was renamed in the shop")
        }
        1 => {
            let template = pick(random, &templates)["id"].as_i64().unwrap();
            erp.update(
                "product.template",
                template,
                json!({"name": format!("Renamed in the office {number}")}),
            );
            format!("template {template} was renamed in the office")
        }
        2 => {
            let template = pick(random, &templates)["id"].as_i64().unwrap();
            erp.update(
                "product.template",
                template,
                json!({"list_price": f64::from(number) / 4.0}),
            );
            format!("template {template} got another price")
        }
        3 => {
            let product = id(pick(random, &simple));
            store.update_product(product, json!({"regular_price": format!("{number}.50")}));
            format!("product {product} got another price in the shop")
        }
        4 => {
            let customer = id(pick(random, &store.customers()));
            store.update_customer(customer, json!({"first_name": format!("Ann{number}")}));
            format!("customer {customer} has another name")
        }
        5 => {
            let product = id(pick(random, &simple));
            store.sell(product, random.random_range(1..4));
            format!("product {product} was sold")
        }
        6 => {
            let variants = erp.records("product.product");
            let counted: Vec<Value> = variants
                .into_iter()
                .filter(|variant| variant["is_storable"] == true && variant["active"] == true)
                .collect();
            let variant = pick(random, &counted)["id"].as_i64().unwrap();
            erp.set_stock(variant, 5, f64::from(random.random_range(0..200)));
            format!("variant {variant} was counted")
        }
        _ => {
            let orders: Vec<Value> = store
                .orders()
                .into_iter()
                .filter(|order| order["status"] == "processing")
                .collect();
            let order = id(pick(random, &orders));
            store.update_order(order, json!({"status": "completed"}));
            format!("order {order} was completed")
        }
    }
}

/// The names that the goods of both systems have, by SKU.
fn names(stack: &Stack) -> [BTreeMap<String, String>; 2] {
    let text = |value: &Value| value.as_str().unwrap_or_default().replace("&amp;", "&");
    let store = stack.sandbox.store.products();
    let erp = stack.sandbox.erp.records("product.product");
    let in_erp: BTreeMap<String, String> = erp
        .iter()
        .filter(|row| row["default_code"].is_string() && row["active"] == true)
        .map(|row| (text(&row["default_code"]), text(&row["name"])))
        .collect();
    let in_store: BTreeMap<String, String> = store
        .iter()
        .filter(|row| row["type"] == "simple" && in_erp.contains_key(&text(&row["sku"])))
        .map(|row| (text(&row["sku"]), text(&row["name"])))
        .collect();
    let in_both = in_erp
        .into_iter()
        .filter(|(sku, _)| in_store.contains_key(sku))
        .collect();
    [in_store, in_both]
}

/// What both systems say can be sold, by SKU, in whole pieces.
fn stock(stack: &Stack) -> [BTreeMap<String, i64>; 2] {
    let store: BTreeMap<String, i64> = stack
        .sandbox
        .store
        .products()
        .iter()
        .filter(|row| row["type"] == "simple" && row["manage_stock"] == true && row["sku"] != "")
        .map(|row| {
            (
                row["sku"].as_str().unwrap().to_owned(),
                row["stock_quantity"].as_i64().unwrap(),
            )
        })
        .collect();
    #[expect(clippy::cast_possible_truncation, reason = "pieces of a small shop")]
    let available = |row: &Value| {
        (row["qty_available"].as_f64().unwrap() - row["outgoing_qty"].as_f64().unwrap()).floor() as i64
    };
    let erp: BTreeMap<String, i64> = stack
        .sandbox
        .erp
        .records("product.product")
        .iter()
        .filter(|row| {
            row["default_code"]
                .as_str()
                .is_some_and(|sku| store.contains_key(sku))
        })
        .map(|row| (row["default_code"].as_str().unwrap().to_owned(), available(row)))
        .collect();
    [store, erp]
}

async fn comes_to_rest(seed_number: u64) {
    let mut random = StdRng::seed_from_u64(seed_number);
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let plan = SeedPlan {
        seed: seed_number,
        products: 20,
        customers: 10,
        orders: 12,
        refunds: 2,
    };
    seed(&stack.sandbox.store, &stack.sandbox.erp, &plan);
    stack.work();
    let first = stack.sync().await;
    assert_eq!(
        first.status(),
        Status::Done,
        "seed {seed_number}: {:#?}",
        stack.troubles().await
    );

    let edits: Vec<String> = (0..8).map(|_| edit(&stack, &mut random)).collect();

    let mut is_still = false;
    for _ in 0..ROUNDS {
        stack.forget_effects();
        stack.sync().await;
        let (store, erp) = stack.effects();
        is_still = store.is_empty() && erp.is_empty();
        if is_still {
            break;
        }
    }
    let story = format!(
        "seed {seed_number}, {edits:#?}, {:#?}, {:#?}",
        stack.troubles().await,
        stack.effects()
    );
    assert!(is_still, "it does not come to rest: {story}");
    assert_eq!(stack.troubles().await, Vec::<String>::new(), "{story}");
    let [in_store, in_erp] = names(&stack);
    assert_eq!(in_store, in_erp, "{story}");
    let [in_store, in_erp] = stock(&stack);
    assert_eq!(in_store, in_erp, "{story}");
    assert_eq!(stack.sandbox.store.ledger().duplicates(), []);
    assert_eq!(stack.sandbox.erp.ledger().duplicates(), []);
}

/// Random edits of random shops end in agreement; a seed that fails says which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_on_both_sides_come_to_rest() {
    for seed_number in [11, 12, 13, 14] {
        comes_to_rest(seed_number).await;
    }
}
