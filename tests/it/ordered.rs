//! What was ordered stays what was ordered, while its product is made, looked at and changed around it. Judged by the lines
//! that the ERP's orders have.

use std::time::Duration;

use lockstep_sandbox::fault::{Fault, Rule};
use lockstep_tests::stack::Stack;
use serde_json::{Value, json};

use crate::again::{until_in_doubt, wallet};

const ORDER: &str = "sale.order";
const LINE: &str = "sale.order.line";
const VARIANT: &str = "product.product";

/// Has a guest buy a piece of something.
fn buy(stack: &Stack, product: u64) -> u64 {
    stack.sandbox.store.sell(product, 1)
}

/// The variation of a product in the store that has a SKU.
fn variation(stack: &Stack, product: u64, sku: &str) -> u64 {
    let product = stack.sandbox.store.product(product).unwrap();
    let mut variations = product["variations_full"].as_array().unwrap().iter();
    let found = variations.find(|variation| variation["sku"] == sku).unwrap();
    found["id"].as_u64().unwrap()
}

/// The internal references of what the ERP's orders are about.
fn ordered(stack: &Stack) -> Vec<Value> {
    let variants = stack.sandbox.erp.records(VARIANT);
    let code = |line: &Value| {
        let mut found = variants.iter().filter(|row| row["id"] == line["product_id"][0]);
        found.next().expect("a line is about something")["default_code"].clone()
    };
    stack.sandbox.erp.records(LINE).iter().map(code).collect()
}

/// R3, R13: an order of a product that is only half made waits until all of it is there: it is not carried over with
/// something else in the product's place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_ordered_of_a_product_that_is_half_made_waits_for_all_of_it() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let id = wallet(&stack);
    buy(&stack, variation(&stack, id, "W-RED"));
    // The ERP's worker is killed between the template and its variants each time.
    stack.sandbox.erp.faults().add(Rule {
        matches: Box::new(|request| {
            request.path.ends_with("/product.product/load") && request.body.to_string().contains("W-RED")
        }),
        fault: Fault::PartialBatch(1),
        times: None,
    });
    stack.work();
    stack.sync().await;
    assert_eq!(stack.sandbox.erp.ledger().created("product"), 1);
    assert_eq!(stack.sandbox.erp.records(ORDER), Vec::<Value>::new(), "R3");

    stack.sandbox.erp.faults().clear();
    stack.sync().await;
    stack.sync().await;

    assert_eq!(stack.troubles().await, Vec::<String>::new(), "R13");
    assert_eq!(ordered(&stack), ["W-RED"], "R13");
    assert_eq!(stack.sandbox.erp.noise().messages, 0, "R17");
}

/// R13: an order of what is being made in its own store keeps its product, though no answer has told yet what that is called.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_ordered_of_a_product_in_doubt_is_known() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let (store, erp) = (&stack.sandbox.store, &stack.sandbox.erp);
    erp.insert(
        "product.template",
        json!({"name": "Chair", "default_code": "CHAIR", "list_price": 20.0, "type": "consu", "is_storable": false}),
    );
    store
        .faults()
        .on_path("/products/batch", Fault::LostReply, Some(1));
    let mut config = stack.worker_config();
    config.grace = Some(Duration::from_mins(2));
    stack.work_as(config);
    let first = stack.start().await;
    until_in_doubt(&stack).await;
    let made = stack.sandbox.store.products().remove(0);
    assert_eq!(made["sku"], "CHAIR");
    let chair = made["id"].as_u64().unwrap();
    buy(&stack, chair);

    let second = stack.start().await;
    stack.finish(second).await;
    stack.shift_clock("5 minutes").await;
    stack.finish(first).await;
    stack.in_step().await;

    assert_eq!(ordered(&stack), ["CHAIR"], "R13");
    assert_eq!(stack.sandbox.erp.noise().messages, 0, "R17");
    assert_eq!(stack.sandbox.store.products().len(), 1, "R13");
}

/// R17: a variation that the store does not sell any more is still what was sold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_ordered_stays_when_its_variation_is_deleted() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let id = wallet(&stack);
    let order = buy(&stack, variation(&stack, id, "W-RED"));
    stack.work();
    stack.in_step().await;
    let before = stack.sandbox.erp.records(LINE);
    let store = &stack.sandbox.store;
    store.delete_product(variation(&stack, id, "W-RED"));
    store.update_product(id, json!({"name": "Wallet, blue only"}));
    stack.in_step().await;

    store.update_order(order, json!({"status": "completed"}));
    stack.in_step().await;

    let product =
        |lines: &[Value]| -> Vec<Value> { lines.iter().map(|line| line["product_id"][0].clone()).collect() };
    assert_eq!(product(&stack.sandbox.erp.records(LINE)), product(&before), "R17");
    assert_eq!(stack.sandbox.erp.noise().messages, 0, "R17");
}
