//! One organisation never sees another's rows, whatever a query forgets.

use lockstep_shared::db::{self, Isolation};
use lockstep_shared::id::OrgId;
use lockstep_tests::stack::Stack;
use sqlx::PgPool;

use lockstep_tests::make::product;

async fn visible(pool: &PgPool, org: OrgId, table: &str) -> i64 {
    let mut tx = db::begin(pool, org, Isolation::ReadCommitted).await.unwrap();
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from {table}")))
        .fetch_one(&mut *tx)
        .await
        .unwrap()
}

/// R43: a query without any filter still sees its own organisation's rows only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_without_a_filter_sees_its_own_organisation_only() {
    let mut stack = Stack::new().await;
    stack.put(product("SKU-1", 1000)).await;
    stack.work();
    stack.sync().await;
    let tables = [
        "organisation",
        "connection",
        "connection_check",
        "record",
        "record_key",
        "item",
        "sync_orchestration",
        "sync_command",
        "sync_stage",
        "sync_batch",
        "sync_idempotency_log",
        "sync_activity_log",
    ];

    for table in tables {
        for pool in [&stack.database.api, &stack.database.worker] {
            assert!(
                visible(pool, stack.org, table).await > 0,
                "R43: its own rows of `{table}`"
            );
            assert_eq!(
                visible(pool, OrgId::random(), table).await,
                0,
                "R43: another's rows of `{table}`"
            );
        }
    }
}

/// R43: outside of a transaction that names an organisation nothing is seen at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_organisation_nothing_is_seen() {
    let stack = Stack::new().await;

    let seen: i64 = sqlx::query_scalar("select count(*) from connection")
        .fetch_one(&stack.database.api)
        .await
        .unwrap();

    assert_eq!(seen, 0, "R43");
}

/// R43: a row can't be written for another organisation either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_for_another_organisation_is_refused() {
    let stack = Stack::new().await;
    let mut tx = stack.begin_as_api().await;

    let result = sqlx::query("insert into sync_activity_log (org_id, activity_id, actor, action) values ($1, gen_random_uuid(), 'x', 'x')")
        .bind(OrgId::random().0)
        .execute(&mut *tx)
        .await;

    let error = result.unwrap_err().to_string();
    assert!(error.contains("row-level security"), "R43: {error}");
}

/// The audit trail is append-only for both processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_trail_can_be_added_to_and_nothing_else() {
    let stack = Stack::new().await;

    for pool in [&stack.database.api, &stack.database.worker] {
        for statement in [
            "delete from sync_activity_log",
            "update sync_activity_log set actor = 'nobody'",
        ] {
            let mut tx = db::begin(pool, stack.org, Isolation::ReadCommitted)
                .await
                .unwrap();
            let error = sqlx::query(statement)
                .execute(&mut *tx)
                .await
                .unwrap_err()
                .to_string();
            assert!(error.contains("permission denied"), "{error}");
        }
    }
}
