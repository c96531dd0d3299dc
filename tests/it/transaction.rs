//! Transactions: all or nothing, repeated without repeating a call, and none open while a remote is asked.

use std::time::Duration;

use lockstep_sandbox::fault::Fault;
use lockstep_shared::sync::Status;
use lockstep_tests::stack::{Stack, eventually};

use lockstep_tests::make::product;

/// Has the database refuse the first settlements of batches, at their very end, with the given error code.
async fn refuse_settlements(stack: &Stack, code: &str, times: i32) {
    let sql = format!(
        "create sequence refusals;
         grant usage on sequence refusals to lockstep_worker;
         create function refuse() returns trigger language plpgsql as $$
         begin
             if new.action = 'batch.settled' and nextval('refusals') <= {times} then
                 raise exception 'refused for a test' using errcode = '{code}';
             end if;
             return new;
         end $$;
         create trigger refuse before insert on sync_activity_log for each row execute function refuse();"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&stack.database.superuser)
        .await
        .unwrap();
}

async fn stack_with_products(count: usize) -> Stack {
    let stack = Stack::new().await;
    stack.forget_partners();
    for number in 0..count {
        stack.put(product(&format!("SKU-{number}"), 1000)).await;
    }
    stack
}

/// R11: a settlement that fails for the sake of others is repeated, and no external call with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settlement_is_repeated_without_repeating_a_call() {
    let mut stack = stack_with_products(5).await;
    refuse_settlements(&stack, "40001", 12).await;
    stack.work();

    let sync = stack.sync().await;

    assert_eq!(sync.status(), Status::Done);
    let refused: i64 = sqlx::query_scalar("select last_value from refusals")
        .fetch_one(&stack.database.superuser)
        .await
        .unwrap();
    assert!(refused > 12, "the settlements were refused, and tried again");
    let arrivals = stack.sandbox.store.faults().arrivals();
    assert_eq!(
        arrivals
            .iter()
            .filter(|a| a.path.ends_with("/products/batch"))
            .count(),
        1,
        "R11"
    );
    assert_eq!(stack.sandbox.store.ledger().created("product"), 5, "R11");
    assert_eq!(stack.sandbox.erp.ledger().created("product"), 5, "R11");
}

/// R11: what a settlement that fails had done is undone as a whole; the next owner goes on from what the log says,
/// with no second call for what had arrived.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settlement_that_fails_leaves_nothing_and_what_arrived_is_not_sent_again() {
    let mut stack = stack_with_products(5).await;
    stack.work();
    // Not one that is repeated: the batch is put down, and taken up again when its lease has run out.
    refuse_settlements(&stack, "P0001", 1_000).await;
    let id = stack.start().await;
    // The pulls settle first, so let those through one by one.
    eventually("the write to arrive", || async {
        sqlx::query("select setval('refusals', 1000)")
            .execute(&stack.database.superuser)
            .await
            .unwrap();
        (stack.sandbox.store.ledger().created("product") == 5).then_some(())
    })
    .await;

    let settled_early: i64 =
        sqlx::query_scalar("select count(*) from item where state = 'synced' and external_id is null")
            .fetch_one(&stack.database.superuser)
            .await
            .unwrap();
    let sync = stack.finish(id).await;

    assert_eq!(settled_early, 0, "R11: no half of a settlement is ever seen");
    assert_eq!(sync.status(), Status::Done, "{:#?}", sync.stages);
    let arrivals = stack.sandbox.store.faults().arrivals();
    assert_eq!(
        arrivals
            .iter()
            .filter(|a| a.path.ends_with("/products/batch"))
            .count(),
        1,
        "R10: applied already"
    );
    assert_eq!(sync.pushed(|c| c.created), 10, "R11: counted once");
}

/// R12: while a remote is asked, no transaction of the worker is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_transaction_is_open_while_a_remote_is_asked() {
    let mut stack = stack_with_products(5).await;
    let slow = || Fault::Latency(Duration::from_millis(700));
    stack.sandbox.store.faults().on_path("/products", slow(), None);
    stack.work();
    let id = stack.start().await;

    let mut looks = 0;
    for what in ["/products", "/products/batch"] {
        eventually("a request under way", || async {
            let arrivals = stack.sandbox.store.faults().arrivals();
            let last = arrivals.iter().rfind(|arrival| arrival.path.ends_with(what));
            last.is_some_and(|arrival| arrival.at.elapsed() < Duration::from_millis(300))
                .then_some(())
        })
        .await;
        let open: Vec<String> = sqlx::query_scalar(
            "select state || ': ' || query from pg_stat_activity
              where datname = current_database() and usename = 'lockstep_worker' and xact_start is not null
                and clock_timestamp() - xact_start > interval '250 milliseconds'",
        )
        .fetch_all(&stack.database.superuser)
        .await
        .unwrap();
        assert_eq!(open, Vec::<String>::new(), "R12: while `{what}` was asked");
        looks += 1;
    }

    assert_eq!(looks, 2);
    assert_eq!(stack.finish(id).await.status(), Status::Done);
}

/// R36: what a system takes in one call is sent in one call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_costs_one_writing_call() {
    let mut stack = stack_with_products(40).await;
    stack.work();

    stack.sync().await;

    let writes = |arrivals: Vec<lockstep_sandbox::fault::Arrival>, path: &str| {
        arrivals
            .iter()
            .filter(|arrival| arrival.path.ends_with(path))
            .count()
    };
    assert_eq!(
        writes(stack.sandbox.store.faults().arrivals(), "/products/batch"),
        1,
        "R36"
    );
    assert_eq!(
        writes(stack.sandbox.erp.faults().arrivals(), "/product.template/load"),
        1,
        "R36"
    );
}

/// Migrations run again, and beside each other, change nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_may_run_again_and_beside_each_other() {
    let stack = Stack::new().await;
    let owner = &stack.database.urls.owner;

    for _ in 0..5 {
        let at_once = (0..4).map(|_| lockstep_shared::db::migrate(owner));
        for migrated in futures::future::join_all(at_once).await {
            migrated.unwrap();
        }
    }

    let mut tx = stack.begin_as_api().await;
    let connections = lockstep_shared::connection::list(&mut tx, stack.org)
        .await
        .unwrap();
    assert_eq!(connections.len(), 2, "what was there is there");
}
