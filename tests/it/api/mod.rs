//! The API over real HTTP, on a real database, with real workers where work is done.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]

mod access;
mod audit;
mod broken;
mod check;
mod conflict;
mod connection;
mod control;
mod credentials;
mod issuer;
mod key;
mod leak;
mod limit;
mod lines;
mod notification;
mod orchestrate;
mod page;
mod process;
mod progress;
mod quota;
mod range;
mod record;
mod refusal;
mod repeat;
mod retry;
mod role;
mod schedules;
mod settings;
mod stranger;
mod sync;

use std::collections::BTreeMap;

use lockstep_sandbox::odoo::ErpOptions;
use lockstep_sandbox::woocommerce::StoreOptions;
use lockstep_shared::db::{self, Isolation};
use lockstep_shared::id::OrgId;
use lockstep_shared::organisation::{self, Organisation};
use lockstep_tests::api::{Client, product};
use lockstep_tests::stack::{Database, Stack, eventually};
use serde_json::{Value, json};
use sqlx::Row;

/// Makes an organisation of this id that has nothing yet.
async fn organisation(stack: &Stack, org: OrgId) -> OrgId {
    let mut tx = db::begin(&stack.database.api, org, Isolation::ReadCommitted)
        .await
        .unwrap();
    let other = Organisation {
        org_id: org,
        name: "Other".to_owned(),
        requests_per_minute: 1_000_000,
    };
    organisation::create(&mut tx, &other).await.unwrap();
    tx.commit().await.unwrap();
    org
}

fn customer(email: &str) -> Value {
    json!({ "name": "Ada Lovelace", "email": email })
}

fn id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// What connects the sandbox's store.
fn store(stack: &Stack) -> Value {
    let options = StoreOptions::default();
    json!({
        "system": "woocommerce",
        "name": "Shop",
        "baseUrl": stack.sandbox.store.base_url(),
        "credentials": { "consumerKey": options.consumer_key, "consumerSecret": options.consumer_secret },
    })
}

/// What connects the sandbox's ERP.
fn erp(stack: &Stack) -> Value {
    let options = ErpOptions::default();
    json!({
        "system": "odoo",
        "name": "ERP",
        "baseUrl": stack.sandbox.erp.base_url(),
        "credentials": { "database": options.database, "login": options.login, "apiKey": options.api_key },
    })
}

/// Starts a sync of everything with no delay between batches; returns its id.
async fn start(client: &Client) -> String {
    let started = client
        .post("/api/v1/syncs", &json!({ "syncConfig": { "batchDelayMs": 0 } }))
        .await
        .ok(202);
    started["syncId"].as_str().unwrap().to_owned()
}

/// Asks for a sync until it is over; returns every answer, the last of them final.
async fn watch(client: &Client, sync: &str) -> Vec<Value> {
    let seen = std::sync::Mutex::new(Vec::new());
    eventually("the sync to end", || async {
        let shown = client.get(&format!("/api/v1/syncs/{sync}")).await.ok(200);
        let is_over = ["done", "partial", "failed", "cancelled"].contains(&shown["status"].as_str().unwrap());
        seen.lock().unwrap().push(shown);
        is_over.then_some(())
    })
    .await;
    seen.into_inner().unwrap()
}

/// The names of every table of ours and of the queue, partitions apart.
async fn tables(database: &Database) -> Vec<String> {
    sqlx::query_scalar(
        "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.relkind in ('r', 'p') and not c.relispartition
            and n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema'",
    )
    .fetch_all(&database.superuser)
    .await
    .unwrap()
}

/// Every row of every table as text, as nobody but a superuser sees them; bytes are in hexadecimal. The audit trail's lines
/// of refusals are not among them: a refusal leaves nothing behind but that.
pub(super) async fn rows(database: &Database) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for table in tables(database).await {
        let which = if table.ends_with(".sync_activity_log") {
            "where outcome <> 'refused'"
        } else {
            ""
        };
        let statement = format!("select t::text as line from {table} t {which} order by 1");
        let rows = sqlx::query(sqlx::AssertSqlSafe(statement))
            .fetch_all(&database.superuser)
            .await
            .unwrap();
        all.insert(table, rows.iter().map(|row| row.get("line")).collect());
    }
    all
}
