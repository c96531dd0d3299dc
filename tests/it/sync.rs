//! Whole syncs between the two stand-ins.

use lockstep_sandbox::seed::{SeedPlan, seed};
use lockstep_shared::sync::Status;
use lockstep_tests::stack::Stack;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_sync_brings_both_systems_in_step_and_a_second_one_writes_nothing() {
    let mut stack = Stack::new().await;
    let plan = SeedPlan { seed: 1, products: 60, customers: 40 };
    let seeded = seed(&stack.sandbox.store, &stack.sandbox.erp, &plan);
    println!("{seeded:?}");
    stack.work();

    let first = stack.sync().await;
    println!("{first:#?}");
    println!("{:?}", stack.sandbox.store.ledger().duplicates());
    println!("{:?}", stack.sandbox.erp.ledger().duplicates());
    assert_eq!(first.status(), Status::Done, "R1, R3");
    stack.sandbox.store.ledger().reset();
    stack.sandbox.erp.ledger().reset();
    let second = stack.sync().await;

    assert_eq!(second.status(), Status::Done);
    assert_eq!((second.pushed(|c| c.created), second.pushed(|c| c.updated)), (0, 0), "R17");
    assert!(stack.sandbox.store.ledger().effects().is_empty(), "R17: {:?}", stack.sandbox.store.ledger().effects());
    assert!(stack.sandbox.erp.ledger().effects().is_empty(), "R17: {:?}", stack.sandbox.erp.ledger().effects());
}
