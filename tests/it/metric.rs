//! What the platform's own people are told: metrics and health, on a listener of their own.

use std::collections::BTreeMap;
use std::net::TcpListener;

use lockstep_sandbox::fault::Fault;
use lockstep_sandbox::odoo::ErpOptions;
use lockstep_sandbox::woocommerce::StoreOptions;
use lockstep_shared::db;
use lockstep_shared::operations::{self, Operations, Scope};
use lockstep_tests::api::{Api, Client, JWT_SECRET};
use lockstep_tests::make::product;
use lockstep_tests::stack::{Stack, eventually};
use prometheus_client::registry::Registry;
use sqlx::PgPool;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A listener of a process of its own.
struct Told {
    client: Client,
    _stop: DropGuard,
}

impl Told {
    fn start(pool: PgPool, registry: &'static Registry, scope: Scope) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let operations = Operations {
            pool,
            registry,
            scope,
        };
        tokio::spawn(async move { operations::serve(operations, listener, stopped).await.unwrap() });
        Self {
            client: Client::new(url),
            _stop: stop.drop_guard(),
        }
    }

    fn of_api(stack: &Stack) -> Self {
        let pool = stack.database.api.clone();
        Self::start(pool, lockstep_api::metric::registry(), Scope::Fleet)
    }

    fn of_worker(stack: &Stack) -> Self {
        let pool = stack.database.worker.clone();
        Self::start(pool, lockstep_worker::metric::registry(), Scope::Process)
    }

    async fn scrape(&self) -> Metrics {
        let answer = self.client.get("/metrics").await;
        assert_eq!(answer.status, 200, "R82: {}", answer.text);
        assert!(
            answer
                .header("content-type")
                .starts_with("application/openmetrics-text"),
            "R82"
        );
        Metrics::parse(&answer.text)
    }
}

/// Metrics as they were told, read by the rules of their form.
#[derive(Debug)]
struct Metrics {
    text: String,
    samples: BTreeMap<String, f64>,
}

impl Metrics {
    fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("R82: it is whole");
        let mut types = BTreeMap::new();
        let mut samples = BTreeMap::new();
        for line in body.lines() {
            if let Some(described) = line.strip_prefix("# TYPE ") {
                let (name, kind) = described.split_once(' ').unwrap();
                assert_eq!(types.insert(name, kind), None, "R82: {name} is told twice");
                continue;
            }
            if line.starts_with("# HELP ") || line.starts_with("# UNIT ") {
                continue;
            }
            let (series, value) = line.rsplit_once(' ').expect(line);
            let name = series.split('{').next().unwrap();
            assert!(
                name.starts_with("lockstep_")
                    && name.chars().all(|letter| letter.is_ascii_lowercase()
                        || letter.is_ascii_digit()
                        || letter == '_'),
                "R82: {name}"
            );
            let is_described = types.iter().any(|(described, kind)| match *kind {
                "counter" => name == format!("{described}_total"),
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|part| name == format!("{described}{part}")),
                _ => name == *described,
            });
            assert!(is_described, "R82: {name} has no type: {types:?}");
            let is_new = samples
                .insert(series.to_owned(), value.parse().expect(line))
                .is_none();
            assert!(is_new, "R82: {series} is told twice");
        }
        Self {
            text: text.to_owned(),
            samples,
        }
    }

    /// The value of a series, or 0 where it is not there yet.
    fn assert_grew<const N: usize>(&self, before: &Self, series: [&str; N]) {
        for series in series {
            assert!(
                self.of(series) > before.of(series),
                "R82: {series}: {}",
                self.text
            );
        }
    }

    fn of(&self, series: &str) -> f64 {
        self.samples.get(series).copied().unwrap_or_default()
    }

    fn assert_is(&self, series: &str, value: f64) {
        assert_eq!(
            self.samples.get(series),
            Some(&value),
            "R82: {series}: {}",
            self.text
        );
    }

    /// Nothing of anybody in particular, least of all a secret.
    fn assert_keeps_secrets(&self, stack: &Stack) {
        let (store, erp) = (StoreOptions::default(), ErpOptions::default());
        for secret in [
            store.consumer_key.as_str(),
            &store.consumer_secret,
            &erp.api_key,
            &erp.login,
            JWT_SECRET,
            &stack.org.to_string(),
            &stack.store.to_string(),
            &stack.erp.to_string(),
            "127.0.0.1",
            "postgres",
            "SKU-",
        ] {
            assert!(!self.text.contains(secret), "R70, R82: {secret}: {}", self.text);
        }
    }
}

/// R82: the metrics say that a circuit is open, and nothing of whose it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circuit_that_opens_shows_in_the_metrics() {
    let mut stack = Stack::new().await;
    stack.put(product("SKU-1", 1000)).await;
    let told = Told::of_api(&stack);
    let before = told.scrape().await;
    for system in ["woocommerce", "odoo"] {
        before.assert_is(
            &format!("lockstep_circuits{{state=\"closed\",system=\"{system}\"}}"),
            1.0,
        );
        before.assert_is(
            &format!("lockstep_circuits{{state=\"open\",system=\"{system}\"}}"),
            0.0,
        );
    }
    before.assert_is("lockstep_database_up", 1.0);
    let broken = Fault::Status {
        code: 500,
        retry_after: None,
        body: None,
    };
    stack.sandbox.store.faults().on_path("/wp-json", broken, None);
    stack.work();

    stack.start().await;

    let open = eventually("the circuit to open", || async {
        let metrics = told.scrape().await;
        (metrics.of("lockstep_circuits{state=\"open\",system=\"woocommerce\"}") > 0.0).then_some(metrics)
    })
    .await;
    open.assert_is("lockstep_circuits{state=\"closed\",system=\"woocommerce\"}", 0.0);
    open.assert_is("lockstep_circuits{state=\"closed\",system=\"odoo\"}", 1.0);
    open.assert_is("lockstep_syncs{state=\"processing\"}", 1.0);
    open.assert_keeps_secrets(&stack);
}

/// R82: what stands in the database shows at the next scrape: what is queued, and what ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_and_syncs_show_in_the_metrics() {
    let mut stack = Stack::new().await;
    stack.put(product("SKU-1", 1000)).await;
    let told = Told::of_api(&stack);

    stack.start().await;
    stack.shift_clock("1 minute").await;
    let queued = told.scrape().await;
    stack.work();
    let ended = eventually("the sync to end", || async {
        let metrics = told.scrape().await;
        (metrics.of("lockstep_syncs_ended_last_hour{state=\"done\"}") > 0.0).then_some(metrics)
    })
    .await;

    queued.assert_is("lockstep_syncs{state=\"queued\"}", 1.0);
    queued.assert_is("lockstep_queue_depth{kind=\"command\"}", 1.0);
    assert!(
        queued.of("lockstep_queue_oldest_seconds{kind=\"command\"}") >= 60.0,
        "R82: {}",
        queued.text
    );
    ended.assert_is("lockstep_queue_depth{kind=\"command\"}", 0.0);
    ended.assert_is("lockstep_queue_oldest_seconds{kind=\"command\"}", 0.0);
    ended.assert_is("lockstep_syncs{state=\"processing\"}", 0.0);
    for state in ["intended", "in_doubt"] {
        ended.assert_is(&format!("lockstep_effects_unresolved{{state=\"{state}\"}}"), 0.0);
    }
    for state in ["running", "parked", "waiting"] {
        ended.assert_is(&format!("lockstep_batches{{state=\"{state}\"}}"), 0.0);
    }
}

/// R82: a worker counts its requests by system and outcome, tokens, and items; other tests of this process may add to that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_counts_what_it_does() {
    let mut stack = Stack::new().await;
    stack.put(product("SKU-1", 1000)).await;
    let told = Told::of_worker(&stack);
    let asked =
        "lockstep_external_request_duration_seconds_count{system=\"woocommerce\",outcome=\"answered\"}";
    let made = "lockstep_items_total{system=\"woocommerce\",entity_type=\"products\",direction=\"push\",outcome=\"created\"}";
    let tokens = "lockstep_tokens_total{outcome=\"taken\"}";
    let before = told.scrape().await;

    stack.work();
    stack.sync().await;

    let after = told.scrape().await;
    after.assert_grew(&before, [asked, made, tokens]);
    after.assert_keeps_secrets(&stack);
}

/// R82: the API counts its answers by operation and kind; and its own address tells no metrics to tenants.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_counts_what_it_answers() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let told = Told::of_api(&stack);
    let count = |operation: &str, status: &str| {
        format!(
            "lockstep_http_request_duration_seconds_count{{operation=\"{operation}\",status=\"{status}\"}}"
        )
    };
    let series = [
        count("listSyncs", "2xx"),
        count("listSyncs", "401"),
        count("none", "4xx"),
    ];
    let before = told.scrape().await;

    assert_eq!(api.client.get("/api/v1/syncs").await.status, 200);
    assert_eq!(api.stranger.get("/api/v1/syncs").await.status, 401);
    assert_eq!(api.client.get("/metrics").await.status, 404, "R82");

    let after = told.scrape().await;
    after.assert_grew(&before, series.each_ref().map(String::as_str));
    after.assert_keeps_secrets(&stack);
}

/// R82: a process lives whatever becomes of the database, can serve while that answers, and tells its metrics without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_metrics_are_told_without_a_database() {
    let stack = Stack::new().await;
    let nowhere = db::pool("postgres://nobody@127.0.0.1:1/nothing", 1, "test").unwrap();

    for (told, ready, is_up) in [
        (Told::of_api(&stack), 200, 1.0),
        (
            Told::start(nowhere, lockstep_api::metric::registry(), Scope::Fleet),
            503,
            0.0,
        ),
    ] {
        assert_eq!(told.client.get("/livez").await.status, 200, "R82");
        assert_eq!(told.client.get("/readyz").await.status, ready, "R82");
        told.scrape().await.assert_is("lockstep_database_up", is_up);
        assert_eq!(told.client.get("/api/v1/syncs").await.status, 404);
    }
}
