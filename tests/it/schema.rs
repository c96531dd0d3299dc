//! What the database promises by itself.

use lockstep_tests::stack::{Database, Stack};
use sqlx::Row;

/// R43: every table with an organisation's rows has row-level security, forced on its owner too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_of_an_organisations_rows_has_forced_row_level_security() {
    let database = Database::new().await;

    let rows = sqlx::query(
        "select c.relname, c.relrowsecurity and c.relforcerowsecurity as is_forced,
                exists (select from pg_policy p where p.polrelid = c.oid and p.polname = 'organisation') as has_policy
           from pg_class c
           join pg_attribute a on a.attrelid = c.oid and a.attname = 'org_id' and not a.attisdropped
          where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace",
    )
    .fetch_all(&database.superuser)
    .await
    .unwrap();

    assert!(rows.len() >= 14, "R43: {} tables", rows.len());
    for row in rows {
        let name: &str = row.get("relname");
        assert!(row.get::<bool, _>("is_forced"), "R43: `{name}` is not forced");
        assert!(row.get::<bool, _>("has_policy"), "R43: `{name}` has no policy");
    }
}

/// R43: neither process owns a table or sees through the policies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_processes_roles_own_nothing_and_bypass_nothing() {
    let database = Database::new().await;

    let owned: i64 = sqlx::query_scalar(
        "select count(*) from pg_class c join pg_roles r on r.oid = c.relowner
          where r.rolname in ('lockstep_api', 'lockstep_worker')",
    )
    .fetch_one(&database.superuser)
    .await
    .unwrap();
    let mighty: Vec<String> = sqlx::query_scalar(
        "select rolname::text from pg_roles where rolname like 'lockstep%' and (rolsuper or rolbypassrls or rolcreaterole)",
    )
    .fetch_all(&database.superuser)
    .await
    .unwrap();

    assert_eq!(owned, 0, "R43");
    assert_eq!(mighty, Vec::<String>::new(), "R43");
}

/// The claim of pending items finds them by index, whatever else stands in the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pending_items_are_claimed_without_reading_the_whole_table() {
    let stack = Stack::new().await;
    sqlx::query(
        "with made as (
             insert into record (org_id, record_id, entity_type, content, content_hash)
             select $1, gen_random_uuid(), 'products', '{}', sha256(n::text::bytea) from generate_series(1, 100000) n
             returning record_id
         )
         insert into item (org_id, item_id, connection_id, record_id, entity_type, state)
         select $1, gen_random_uuid(), $2, record_id, 'products', case when random() < 0.5 then 'pending' else 'synced' end
           from made",
    )
    .bind(stack.org.0)
    .bind(stack.store.0)
    .execute(&stack.database.superuser)
    .await
    .unwrap();
    sqlx::query("analyze item")
        .execute(&stack.database.superuser)
        .await
        .unwrap();

    let mut tx = stack.begin_as_worker().await;
    let plan: Vec<String> = sqlx::query_scalar(
        "explain select item_id from item
          where org_id = $1 and connection_id = $2 and entity_type = $3
            and state in ('pending', 'failed') and batch_id is null and retry_stage_id is null
            and due_sequence > $4 and due_sequence <= $5
          order by due_sequence limit $6 for update skip locked",
    )
    .bind(stack.org.0)
    .bind(stack.store.0)
    .bind("products")
    .bind(0_i64)
    .bind(1_000_000_i64)
    .bind(50_i64)
    .fetch_all(&mut *tx)
    .await
    .unwrap();

    let plan = plan.join("\n");
    assert!(plan.contains("item_due_index"), "{plan}");
    assert!(!plan.contains("Seq Scan") && !plan.contains("Sort"), "{plan}");
}

/// The activity log has a partition for this month and the next, and takes lines of any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_activity_log_is_partitioned_by_month_and_never_refuses_a_line() {
    let stack = Stack::new().await;
    let mut tx = stack.begin_as_worker().await;

    lockstep_shared::activity::ensure_partitions(&mut tx)
        .await
        .unwrap();
    lockstep_shared::activity::ensure_partitions(&mut tx)
        .await
        .unwrap();
    for month in [
        "now()",
        "now() + interval '1 month'",
        "now() + interval '3 years'",
    ] {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "insert into sync_activity_log (org_id, activity_id, created_at, actor, action)
             values ($1, gen_random_uuid(), {month}, 'test', 'test')"
        )))
        .bind(stack.org.0)
        .execute(&mut *tx)
        .await
        .unwrap();
    }
    tx.commit().await.unwrap();

    let partitions: Vec<String> =
        sqlx::query_scalar("select distinct tableoid::regclass::text from sync_activity_log order by 1")
            .fetch_all(&stack.database.superuser)
            .await
            .unwrap();
    assert_eq!(partitions.len(), 3, "{partitions:?}");
    assert_eq!(partitions[2], "sync_activity_log_rest");
}

/// Operators' views answer in plain SQL (R62).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_views_answer() {
    let mut stack = Stack::new().await;
    stack.work();
    stack.sync().await;

    let stages: i64 = sqlx::query_scalar("select count(*) from operator_sync")
        .fetch_one(&stack.database.superuser)
        .await
        .unwrap();
    let bells: i64 = sqlx::query_scalar("select count(*) from operator_bell where bell->>'kind' = 'batch'")
        .fetch_one(&stack.database.superuser)
        .await
        .unwrap();
    sqlx::query("select * from operator_stuck_batch, operator_conflict_rate")
        .fetch_all(&stack.database.superuser)
        .await
        .unwrap();

    assert_eq!(stages, 20, "R62");
    assert!(bells >= 4, "R62: {bells}");
}
