//! Where the time goes: many products through the whole system, beside a bare loop that makes the same bulk calls and a
//! bare `COPY` of the same rows. Tells too what an item costs the database, in statements, transactions, rows and log.
//! No target; run it before and after a change.
//!
//! `cargo run --release -p lockstep-tests --bin bench [-- --products 20000]`

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use lockstep_sandbox::Sandbox;
use lockstep_sandbox::odoo::ErpOptions;
use lockstep_sandbox::woocommerce::StoreOptions;
use lockstep_shared::connection::Settings;
use lockstep_shared::id::{ItemId, RecordId};
use lockstep_shared::sync::{Config as SyncConfig, Status};
use lockstep_shared::system::{Direction, EntityType};
use lockstep_tests::stack::{self, Database, Finished, Stack, sealing_key};
use lockstep_worker::config::Config as WorkerConfig;
use lockstep_worker::connector::odoo::Odoo;
use lockstep_worker::connector::woocommerce::WooCommerce;
use lockstep_worker::connector::{Action, CallError, Connector, Cursor, Gate, Step, Write, http};
use serde_json::json;
use sqlx::postgres::PgPoolCopyExt;
use tokio_util::sync::CancellationToken;

/// Carries products from one stand-in to the other and tells what it took.
#[derive(Parser)]
struct Options {
    /// Products that the ERP has and the store has not.
    #[arg(long, default_value_t = 20_000)]
    products: usize,
    /// Items in one batch, 1 to 200.
    #[arg(long, default_value_t = 200)]
    batch_size: u32,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// A worker in a process of its own, so that its memory and processor time can be told apart.
    #[command(hide = true)]
    Worker,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match options.command {
        Some(Command::Worker) => runtime.block_on(worker()),
        None => runtime.block_on(bench(&options)),
    }
}

async fn worker() -> anyhow::Result<()> {
    let url = std::env::var("BENCH_WORKER_DATABASE_URL")?;
    let stop = CancellationToken::new();
    let ended = stop.clone();
    tokio::spawn(async move {
        let mut term =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("signals work");
        term.recv().await;
        ended.cancel();
    });
    lockstep_worker::run(WorkerConfig::new(url.into(), sealing_key()), stop).await?;
    Ok(())
}

fn fill(sandbox: &Sandbox, products: usize) {
    for number in 0..products {
        let product = json!({
            "name": format!("Product {number}"), "default_code": format!("SKU-{number:06}"),
            "list_price": f64::from(u32::try_from(number % 5000).unwrap_or(0)) / 4.0 + 1.0, "weight": 0.25, "type": "consu",
            "is_storable": true, "description_sale": format!("What product {number} is good for."),
        });
        sandbox.erp.insert("product.template", product);
    }
}

async fn bench(options: &Options) -> anyhow::Result<()> {
    let count = options.products;
    println!(
        "{count} products from the ERP stand-in to the store stand-in, batches of {}",
        options.batch_size
    );
    let (whole, contents) = whole_system(options).await?;
    let bare = bare_loop(count).await?;
    let copy = bare_copy(&contents).await?;

    let rate = |time: Duration| count_f64(count) / time.as_secs_f64();
    println!();
    println!("{:<28} {:>10} {:>12}", "", "seconds", "items/s");
    for (name, time) in [
        ("whole system", whole),
        ("bare loop, same calls", bare),
        ("bare COPY of the rows", copy),
    ] {
        println!("{name:<28} {:>10.2} {:>12.0}", time.as_secs_f64(), rate(time));
    }
    println!(
        "whole system / bare loop: {:.2}",
        bare.as_secs_f64() / whole.as_secs_f64()
    );
    Ok(())
}

/// Figures of this size are exact as floats.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a benchmark stay far below 2^52"
)]
fn count_f64(count: usize) -> f64 {
    count as f64
}

async fn whole_system(options: &Options) -> anyhow::Result<(Duration, Vec<serde_json::Value>)> {
    let counts_statements = stack::count_statements().await;
    let stack = Stack::new().await;
    stack.forget_partners();
    fill(&stack.sandbox, options.products);
    let statements = match counts_statements {
        Ok(()) => Statements::reset(&stack.database).await,
        Err(reason) => Err(reason),
    };
    let before = Figures::read(&stack.database).await?;
    let mut child = tokio::process::Command::new(std::env::current_exe()?)
        .arg("worker")
        .env("BENCH_WORKER_DATABASE_URL", &stack.database.urls.worker)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().unwrap_or_default();

    let started = Instant::now();
    let config = SyncConfig::new(Some(options.batch_size), Some(0), None)?;
    let id = stack.start_with(config).await;
    let division = Division::watch(&stack.database).await?;
    let took = started.elapsed();

    let usage = Usage::of(pid)?;
    child.kill().await?;
    // A server process hands its figures in when it ends.
    stack::eventually("the worker's sessions to end", || no_session(&stack.database)).await;
    let after = Figures::read(&stack.database).await?;
    let statements = match statements {
        Ok(()) => Statements::read(&stack.database).await,
        Err(reason) => Err(reason),
    };
    let sync = stack.finish(id).await;
    anyhow::ensure!(
        sync.status() == Status::Done,
        "the sync ended {:?}: {:#?}",
        sync.status(),
        sync.stages
    );
    anyhow::ensure!(
        stack.sandbox.store.ledger().created("product") == options.products,
        "not every product arrived"
    );
    println!();
    tell_stages(&sync);
    println!();
    division.tell();
    println!();
    println!(
        "worker: {:.2} CPU s, {:.1} MiB at its peak",
        usage.cpu_secs, usage.peak_mib
    );
    let items = count_f64(options.products);
    println!(
        "database: {:.2} transactions, {:.2} rows written, {:.0} bytes of log an item",
        (after.transactions - before.transactions) / items,
        (after.rows_written - before.rows_written) / items,
        (after.wal_bytes - before.wal_bytes) / items
    );
    match statements {
        Ok(statements) => statements.tell(items),
        Err(reason) => println!("database: statements could not be counted: {reason}"),
    }
    let contents = sqlx::query_scalar("select content from record")
        .fetch_all(&stack.database.superuser)
        .await?;
    Ok((took, contents))
}

/// Tells when each stage was open, counted from the start of the sync. What lies between two is the opening of the next:
/// it belongs to the settling of the last batch.
fn tell_stages(sync: &Finished) {
    let started = sync.view.created_at;
    for stage in &sync.stages {
        let (Some(opened), Some(closed)) = (stage.opened_at, stage.closed_at) else {
            continue;
        };
        println!(
            "{:<6} {:<12} {:<10} from {:>7.2} s to {:>7.2} s  seen {:>6} created {:>6}",
            stage.direction.name(),
            stage.system.name(),
            stage.entity_type.name(),
            (opened - started).as_seconds_f64(),
            (closed - started).as_seconds_f64(),
            stage.counts.seen,
            stage.counts.created
        );
    }
}

async fn no_session(database: &Database) -> Option<()> {
    let sessions: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() and usename = 'lockstep_worker'",
    )
    .fetch_one(&database.superuser)
    .await
    .ok()?;
    (sessions == 0).then_some(())
}

/// Longest wait for a sync.
const PATIENCE: Duration = Duration::from_hours(1);

/// Short beside a sync, long beside what a look costs.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Where a sync's time went, from looking at it again and again.
#[derive(Default)]
struct Division {
    time: BTreeMap<Moment, Duration>,
}

/// What a sync is about at one moment. Batches follow one another, so that it is one thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Unclaimed,
    Rung,
    Settling(Direction),
    Transaction(Direction),
    Calling(Direction),
}

impl Moment {
    fn words(self) -> String {
        let name = Direction::name;
        match self {
            Self::Unclaimed => "from the start to the first claim".to_owned(),
            Self::Rung => "between batches: bell to claim".to_owned(),
            Self::Settling(direction) => format!("{}: settling, serializable", name(direction)),
            Self::Transaction(direction) => format!("{}: other transactions", name(direction)),
            Self::Calling(direction) => format!("{}: calls, and work between statements", name(direction)),
        }
    }
}

impl Division {
    /// Watches until the sync is over. Reads as the superuser and rolls back, so that nothing of it is counted.
    async fn watch(database: &Database) -> anyhow::Result<Self> {
        let mut division = Self::default();
        let mut is_claimed = false;
        let started = Instant::now();
        loop {
            let since = Instant::now();
            anyhow::ensure!(
                started.elapsed() < PATIENCE,
                "the sync did not end within {PATIENCE:?}"
            );
            let mut tx = database.superuser.begin().await?;
            let (is_over, is_push, is_running, is_in_transaction, is_serializable): (
                bool,
                bool,
                bool,
                bool,
                bool,
            ) = sqlx::query_as(
                "select exists (select from sync_orchestration where completed_at is not null),
                            exists (select from sync_stage where status = 'open' and direction = 'push'),
                            exists (select from sync_batch where status = 'running'),
                            exists (select from pg_stat_activity
                                     where usename = 'lockstep_worker' and xact_start is not null),
                            exists (select from pg_stat_activity a join pg_locks l on l.pid = a.pid
                                     where a.usename = 'lockstep_worker' and a.xact_start is not null
                                       and l.mode = 'SIReadLock')",
            )
            .fetch_one(&mut *tx)
            .await?;
            tx.rollback().await?;
            if is_over {
                return Ok(division);
            }
            tokio::time::sleep(LOOK_EVERY).await;
            is_claimed |= is_running;
            let direction = if is_push { Direction::Push } else { Direction::Pull };
            let moment = match (is_claimed, is_running) {
                (false, _) => Moment::Unclaimed,
                (true, false) => Moment::Rung,
                (true, true) if is_serializable => Moment::Settling(direction),
                (true, true) if is_in_transaction => Moment::Transaction(direction),
                (true, true) => Moment::Calling(direction),
            };
            *division.time.entry(moment).or_default() += since.elapsed();
        }
    }

    fn tell(&self) {
        let whole: Duration = self.time.values().sum();
        let share = |time: Duration| 100.0 * time.as_secs_f64() / whole.as_secs_f64();
        for (moment, time) in &self.time {
            println!(
                "{:<44} {:>8.2} s {:>5.1} %",
                moment.words(),
                time.as_secs_f64(),
                share(*time)
            );
        }
        if let Some((moment, time)) = self.time.iter().max_by_key(|(_, time)| **time) {
            println!("bound by: {} ({:.0} % of the time)", moment.words(), share(*time));
        }
    }
}

/// The statements of our roles, as pg_stat_statements counts them: those that a program sent, not what they call.
struct Statements {
    calls: f64,
    /// Those of them that only begin, bind or end a transaction.
    framing: f64,
    slowest: Vec<(String, i64, f64)>,
}

impl Statements {
    async fn reset(database: &Database) -> anyhow::Result<()> {
        sqlx::raw_sql("create extension pg_stat_statements; select pg_stat_statements_reset()")
            .execute(&database.superuser)
            .await?;
        Ok(())
    }

    async fn read(database: &Database) -> anyhow::Result<Self> {
        let forgotten: i64 = sqlx::query_scalar("select dealloc from pg_stat_statements_info")
            .fetch_one(&database.superuser)
            .await?;
        anyhow::ensure!(forgotten == 0, "the server had no room for all of them");
        let ours = "from pg_stat_statements s
                    join pg_roles r on r.oid = s.userid and r.rolname in ('lockstep_worker', 'lockstep_api')
                    join pg_database d on d.oid = s.dbid and d.datname = current_database()
                   where s.toplevel";
        let sums = format!(
            "select coalesce(sum(calls), 0)::float8,
                    coalesce(sum(calls) filter (where query ~* '^(begin|commit|rollback|set) ?'), 0)::float8 {ours}"
        );
        let (calls, framing) = sqlx::query_as(sqlx::AssertSqlSafe(sums))
            .fetch_one(&database.superuser)
            .await?;
        let slowest = format!(
            "select left(regexp_replace(query, '\\s+', ' ', 'g'), 100), calls, total_exec_time / 1000 {ours}
              order by total_exec_time desc limit 5"
        );
        let slowest = sqlx::query_as(sqlx::AssertSqlSafe(slowest))
            .fetch_all(&database.superuser)
            .await?;
        Ok(Self {
            calls,
            framing,
            slowest,
        })
    }

    fn tell(&self, items: f64) {
        println!(
            "database: {:.2} statements an item, {:.2} of them only to begin, bind or end a transaction",
            self.calls / items,
            self.framing / items
        );
        println!("statements that took longest, waiting for locks included:");
        for (query, calls, secs) in &self.slowest {
            println!("{secs:>8.2} s {calls:>7} times  {query}");
        }
    }
}

/// What the server counts.
struct Figures {
    transactions: f64,
    rows_written: f64,
    wal_bytes: f64,
}

impl Figures {
    async fn read(database: &Database) -> anyhow::Result<Self> {
        sqlx::query("select pg_stat_clear_snapshot()")
            .execute(&database.superuser)
            .await?;
        let (transactions, rows_written, wal_bytes) = sqlx::query_as(
            "select xact_commit::float8, (tup_inserted + tup_updated + tup_deleted)::float8,
                    pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8
               from pg_stat_database where datname = current_database()",
        )
        .fetch_one(&database.superuser)
        .await?;
        Ok(Self {
            transactions,
            rows_written,
            wal_bytes,
        })
    }
}

/// What a process has used, from /proc.
struct Usage {
    cpu_secs: f64,
    peak_mib: f64,
}

impl Usage {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks: f64 = fields
            .iter()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<f64>().ok())
            .sum();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak_kib: f64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|value| value.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or_default();
        // The kernel counts in hundredths of a second wherever user space can see it.
        Ok(Self {
            cpu_secs: ticks / 100.0,
            peak_mib: peak_kib / 1024.0,
        })
    }
}

/// A gate that is always open.
struct Open;

#[async_trait::async_trait]
impl Gate for Open {
    async fn pass(&self) -> Result<(), CallError> {
        Ok(())
    }
}

/// The same calls with nothing between them: no database, no decisions, nothing remembered.
async fn bare_loop(products: usize) -> anyhow::Result<Duration> {
    let sandbox = Sandbox::start().await?;
    fill(&sandbox, products);
    let client = http::Client::new(&http::Options::local())?;
    let (store, erp) = (StoreOptions::default(), ErpOptions::default());
    let settings = Settings::default();
    let store = WooCommerce::new(
        client.clone(),
        sandbox.store.base_url().parse()?,
        store.consumer_key.into(),
        store.consumer_secret.into(),
        &settings,
    );
    let erp = Odoo::new(
        client,
        sandbox.erp.base_url().parse()?,
        erp.database,
        erp.login,
        erp.api_key.into(),
        &settings,
    );

    let started = Instant::now();
    let mut cursor = Cursor::default();
    let mut writes = Vec::new();
    loop {
        let page = erp
            .pull(
                &Open,
                EntityType::Products,
                &cursor,
                erp.request_limit(EntityType::Products),
            )
            .await?;
        for theirs in page.seen {
            let content = store.project(&theirs.content?);
            writes.push(Write {
                item: ItemId::random(),
                record: RecordId::random(),
                action: Action::Create,
                content,
                step: Step(0),
                links: std::sync::Arc::default(),
            });
        }
        cursor = page.next;
        if page.is_last {
            break;
        }
    }
    for request in store.plan(&Open, EntityType::Products, writes).await? {
        store
            .send(&request, Instant::now() + Duration::from_mins(1))
            .await?;
    }
    let took = started.elapsed();
    anyhow::ensure!(
        sandbox.store.ledger().created("product") == products,
        "not every product arrived"
    );
    Ok(took)
}

/// The rows alone, as fast as Postgres takes them.
async fn bare_copy(contents: &[serde_json::Value]) -> anyhow::Result<Duration> {
    let database = Database::new().await;
    sqlx::query("create table bare (content jsonb)")
        .execute(&database.superuser)
        .await?;
    let rows: String = contents
        .iter()
        .map(|content| content.to_string().replace('\\', "\\\\").replace('\t', "\\t") + "\n")
        .collect();
    let started = Instant::now();
    let mut copy = database.superuser.copy_in_raw("copy bare from stdin").await?;
    copy.send(rows.as_bytes()).await?;
    copy.finish().await?;
    Ok(started.elapsed())
}
