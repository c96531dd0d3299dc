//! The journey with the client of progenitor.
//!
//! progenitor has types for errors of the media type `application/json` alone, and hands out others as they came: the
//! problem is read into its type here.

mod lockstep {
    #![allow(
        clippy::all,
        clippy::pedantic,
        dead_code,
        mismatched_lifetime_syntaxes,
        unused_imports
    )]
    include!(concat!(env!("OUT_DIR"), "/lockstep.rs"));
}

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use lockstep::types::{
    ClosedBy, Conflict, ConflictState, ConflictType, Customer, EntityType, FieldOwners, Money, Owner,
    Ownership, Problem, Product, PutOutcome, PutRecordCustomer, PutRecordsRequestCustomer, Resolution,
    ResolveConflictRequest, ResolveWhen, StartSyncRequest, SyncConfig, SyncDetails, SyncEvent, SyncEventKind,
    SyncStatus, SystemName, Variant,
};
use lockstep::{ByteStream, Client, Error};
use serde_json::{Value, json};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(120);

/// Reads the problem that a request was answered with.
async fn problem(error: Error<ByteStream>) -> Problem {
    let Error::ErrorResponse(response) = error else {
        panic!("no answer of the API: {error}")
    };
    serde_json::from_slice(&read(response.into_inner()).await).expect("it is a problem")
}

async fn read(stream: ByteStream) -> Vec<u8> {
    let chunks: Vec<bytes::Bytes> = stream.into_inner().try_collect().await.expect("a whole answer");
    chunks.concat()
}

/// Asks until the answer is what is waited for.
async fn until<T, F: Future<Output = T>>(what: &str, ask: impl Fn() -> F, is_so: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask().await;
        if is_so(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn number<T: TryFrom<NonZeroU64, Error: std::fmt::Debug>>(number: u64) -> T {
    let number = NonZeroU64::new(number).expect("not 0");
    number.try_into().expect("a number of a client's kind")
}

struct Journey {
    client: Client,
    http: reqwest::Client,
    erp: String,
    sku: String,
    record: Uuid,
}

impl Journey {
    async fn put(&self, name: &str) -> String {
        let price = Money::builder().amount("19.90").currency("USD");
        let variant: Variant = Variant::builder()
            .sku(self.sku.clone())
            .price(Some(price.try_into().expect("a price")))
            .try_into()
            .expect("a variant");
        let product = Product::builder().name(name).variants(vec![variant]);
        let put = self
            .client
            .put_product()
            .record_id(self.record)
            .body(product)
            .send()
            .await;
        put.expect("it is put").into_inner().content.name
    }

    async fn start(&self, config: SyncConfig, types: Vec<EntityType>) -> Uuid {
        let request = StartSyncRequest::builder()
            .entity_types(types)
            .sync_config(Some(config));
        let started = self.client.start_sync().body(request).send().await;
        started.expect("it starts").into_inner().sync_id
    }

    async fn sync(&self, id: Uuid) -> SyncDetails {
        self.client
            .get_sync()
            .sync_id(id)
            .send()
            .await
            .expect("the sync")
            .into_inner()
    }

    async fn finish(&self, id: Uuid) -> SyncStatus {
        let is_over = |sync: &SyncDetails| {
            matches!(
                sync.status,
                SyncStatus::Done | SyncStatus::Partial | SyncStatus::Failed | SyncStatus::Cancelled
            )
        };
        until("a sync's end", || self.sync(id), is_over).await.status
    }

    /// Asks the ERP, as its own people might.
    async fn erp_products(&self, method: &str, body: Value) -> Value {
        let url = format!("{}/json/2/product.template/{method}", self.erp);
        let request = self.http.post(url).bearer_auth("sandbox-api-key").json(&body);
        let answer = request.send().await.expect("the ERP answers");
        answer
            .error_for_status()
            .expect("it lets us in")
            .json()
            .await
            .expect("JSON")
    }

    async fn in_erp(&self) -> Value {
        let which = json!({ "domain": [["default_code", "=", self.sku]], "fields": ["name"] });
        self.erp_products("search_read", which).await[0].take()
    }

    async fn rename_in_erp(&self, name: &str) {
        let id = self.in_erp().await["id"].take();
        self.erp_products("write", json!({ "ids": [id], "vals": { "name": name } }))
            .await;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let named = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let mut headers = reqwest::header::HeaderMap::new();
    let bearer = format!("Bearer {}", named("LOCKSTEP_TOKEN"));
    headers.insert("authorization", bearer.parse().expect("a token"));
    let http = reqwest::Client::builder()
        .default_headers(headers)
        .build()
        .expect("a client");
    let client = Client::new_with_client(&named("LOCKSTEP_URL"), http);
    let journey = Journey {
        client: client.clone(),
        http: reqwest::Client::new(),
        erp: named("ERP_URL"),
        sku: format!("RS-{}", &Uuid::new_v4().to_string()[..8]),
        record: Uuid::new_v4(),
    };

    // Records.
    let connections = client
        .list_connections()
        .send()
        .await
        .expect("the connections")
        .into_inner()
        .items;
    let erp = connections
        .iter()
        .find(|connection| connection.system == SystemName::Odoo);
    let erp = erp.expect("there is an ERP").connection_id;
    let manual: FieldOwners = FieldOwners::builder()
        .all(Owner::Manual)
        .try_into()
        .expect("owners");
    let ownership = Ownership::builder().products(Some(manual));
    let put = client
        .put_connection_ownership()
        .connection_id(erp)
        .body(ownership)
        .send()
        .await;
    put.expect("the ownership is put");
    assert_eq!(journey.put("Lamp").await, "Lamp");
    let customer: Customer = serde_json::from_value(json!({
        "name": "Ada", "email": format!("{}@example.com", journey.sku),
    }))
    .expect("a customer");
    let record: PutRecordCustomer = PutRecordCustomer::builder()
        .record_id(Uuid::new_v4())
        .content(customer)
        .try_into()
        .expect("a record");
    let request = PutRecordsRequestCustomer::builder().records(vec![record]);
    let customers = client
        .put_customers()
        .body(request)
        .send()
        .await
        .expect("they are put");
    assert_eq!(customers.results[0].outcome, PutOutcome::Created);

    // A sync, watched until it is done.
    let at_once: SyncConfig = SyncConfig::builder()
        .batch_delay_ms(Some(0))
        .try_into()
        .expect("a configuration");
    let first = journey
        .start(at_once.clone(), vec![EntityType::Customers, EntityType::Products])
        .await;
    let events = client
        .watch_sync()
        .sync_id(first)
        .send()
        .await
        .expect("the events")
        .into_inner();
    let events = String::from_utf8(read(events).await).expect("text");
    let last = events
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .next_back();
    let last: SyncEvent = serde_json::from_str(last.expect("there are events")).expect("an event");
    assert_eq!(last.kind, SyncEventKind::End);
    assert_eq!(journey.finish(first).await, SyncStatus::Done);
    let record = client
        .get_product()
        .record_id(journey.record)
        .send()
        .await
        .expect("the product");
    let seen = record.connections.iter().find(|seen| seen.connection_id == erp);
    assert!(
        seen.is_some_and(|seen| seen.external_id.is_some()),
        "it is in the ERP"
    );

    // Paused, and resumed.
    let slow: SyncConfig = SyncConfig::builder()
        .batch_size(Some(number(1)))
        .try_into()
        .expect("a configuration");
    let second = journey.start(slow, vec![EntityType::Products]).await;
    client
        .pause_sync()
        .sync_id(second)
        .send()
        .await
        .expect("it is to pause");
    until(
        "the pause",
        || journey.sync(second),
        |sync| sync.status == SyncStatus::Paused,
    )
    .await;
    client
        .resume_sync()
        .sync_id(second)
        .send()
        .await
        .expect("it is to go on");
    assert_eq!(journey.finish(second).await, SyncStatus::Done);

    // A conflict, seen and resolved.
    journey.rename_in_erp("Lamp of the office").await;
    journey.put("Reading lamp").await;
    let third = journey.start(at_once, vec![EntityType::Products]).await;
    assert_eq!(journey.finish(third).await, SyncStatus::Partial);
    let open = client
        .list_conflicts()
        .state(ConflictState::Open)
        .connection_id(erp)
        .send()
        .await;
    let open = open.expect("the conflicts").into_inner().items;
    let conflict = open.into_iter().find(|one| one.record_id == Some(journey.record));
    let conflict = conflict.expect("there is a conflict");
    assert_eq!(conflict.type_, ConflictType::DataMismatch);
    assert!(conflict.fields.contains(&"name".to_owned()));
    let answer = ResolveConflictRequest::builder()
        .resolution(Resolution::Accept)
        .when(Some(ResolveWhen::Now));
    let answered = client
        .resolve_conflict()
        .conflict_id(conflict.conflict_id)
        .if_match(format!("\"{}\"", conflict.version))
        .body(answer);
    answered.send().await.expect("it is answered");
    let shown = async || -> Conflict {
        let shown = client
            .get_conflict()
            .conflict_id(conflict.conflict_id)
            .send()
            .await;
        shown.expect("the conflict").into_inner()
    };
    let is_resolved = |conflict: &Conflict| conflict.state == ConflictState::Resolved;
    let resolved = until("the answer's end", &shown, is_resolved).await;
    assert_eq!(resolved.closed_by, Some(ClosedBy::Accept));
    until(
        "the name in the ERP",
        || journey.in_erp(),
        |found| found["name"] == "Reading lamp",
    )
    .await;

    // Errors arrive typed.
    let unknown = client.get_sync().sync_id(Uuid::new_v4()).send().await;
    let unknown = problem(unknown.expect_err("there is none")).await;
    assert!(unknown.status == 404 && unknown.type_.ends_with("/not-found"));
    let large = SyncConfig::builder().batch_size(Some(number(500)));
    let large = StartSyncRequest::builder().sync_config(Some(large.try_into().expect("a configuration")));
    let wrong = client.start_sync().body(large).send().await;
    let wrong = problem(wrong.expect_err("it is wrong")).await;
    assert_eq!(wrong.errors[0].field, "syncConfig/batchSize");
    let late = client.pause_sync().sync_id(first).send().await;
    let late = problem(late.expect_err("it is over")).await;
    assert_eq!(late.sync_status, Some(SyncStatus::Done));

    println!("{}: the journey is over", journey.sku);
}
