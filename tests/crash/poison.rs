//! An item that kills whoever touches it.

use std::time::Duration;

use lockstep_shared::sync::Status;
use lockstep_tests::stack::Stack;

use super::{count, program, quick, stack_with};

const THINGS: usize = 8;

/// Most processes that one poisonous item may take along: three for each halving of a batch of eight, and for itself.
const MOST_DEATHS: usize = 12;

async fn item_of(stack: &Stack, sku: &str) -> uuid::Uuid {
    sqlx::query_scalar(
        "select i.item_id from item i join record r on r.org_id = i.org_id and r.record_id = i.record_id
          where i.connection_id = $1 and r.content -> 'variants' -> 0 ->> 'sku' = $2",
    )
    .bind(stack.store.0)
    .bind(sku)
    .fetch_one(&stack.database.superuser)
    .await
    .unwrap()
}

/// A batch that keeps losing its owners is halved until the item to blame stands alone; that one is set aside with a
/// conflict, and the rest gets through in the same sync.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisonous_item_is_set_aside_and_the_rest_goes_on() {
    let stack = stack_with(THINGS).await;
    let item = item_of(&stack, "SKU-3").await;
    let point = format!("item.{item}=return");
    let id = stack.start().await;
    let mut deaths = 0;

    let mut worker = program().start(&quick(&stack), &point);
    let started = std::time::Instant::now();
    while !stack.view(id).await.status.is_final() {
        assert!(
            started.elapsed() < Duration::from_mins(3),
            "{:#?}",
            stack.troubles().await
        );
        if worker.status().is_some() {
            assert!(worker.was_killed());
            deaths += 1;
            worker = program().start(&quick(&stack), &point);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let sync = stack.finish(id).await;

    assert_eq!(sync.status(), Status::Partial, "{:#?}", stack.troubles().await);
    assert!(
        (3..=MOST_DEATHS).contains(&deaths),
        "it took {deaths} processes along"
    );
    let store = stack.sandbox.store.ledger();
    assert_eq!(store.created("product"), THINGS - 1, "the rest goes on");
    assert_eq!(store.created("customer"), THINGS);
    assert_eq!(stack.sandbox.erp.ledger().created("product"), THINGS);
    assert_eq!(
        count(&stack, "select count(*) from sync_conflict where not is_resolved").await,
        1
    );
    let troubles = stack.troubles().await;
    assert!(
        troubles
            .iter()
            .any(|trouble| trouble.contains("conflict products")),
        "{troubles:#?}"
    );
}
