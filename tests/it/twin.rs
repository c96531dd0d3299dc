//! Conflicts about things that no record is known for: they close when a full scan meets their things no more.

use lockstep_shared::system::EntityType;
use lockstep_tests::make::{customer, order, product};
use lockstep_tests::stack::Stack;
use serde_json::json;

async fn twins(stack: &Stack) -> i64 {
    sqlx::query_scalar(
        "select count(*) from sync_conflict
          where item_id is null and conflict_type = 'DuplicateKey' and not is_resolved",
    )
    .fetch_one(&stack.database.superuser)
    .await
    .expect("the database answers")
}

/// R27: what a late request made twice is told of while it is there, and no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_twin_is_told_of_until_a_full_scan_finds_it_gone() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let ann = stack.put(customer("ann@example.com")).await;
    let lamp = stack.put(product("LAMP", 1000)).await;
    let order = stack.put(order("A-1", ann, lamp)).await;
    stack.work();
    stack.in_step().await;
    let marker = json!([{ "key": "_lockstep_record", "value": order.to_string() }]);
    let twin = stack.sandbox.store.insert_order(json!({
        "status": "processing", "created_via": "lockstep", "meta_data": marker,
    }));
    stack.sync().await;
    assert_eq!(twins(&stack).await, 1, "{:#?}", stack.troubles().await);

    // A pull of what changed does not meet it any more, which says nothing.
    stack.sync().await;
    stack.scan(&[EntityType::Orders]).await;
    assert_eq!(twins(&stack).await, 1, "it is there still");

    stack.sandbox.store.delete_order(twin);
    stack.scan(&[EntityType::Orders]).await;

    assert_eq!(twins(&stack).await, 0, "{:#?}", stack.troubles().await);
}
