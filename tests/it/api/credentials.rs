//! Connections: their credentials go in and never come out, and their addresses are looked at.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lockstep_sandbox::odoo::ErpOptions;
use lockstep_sandbox::woocommerce::StoreOptions;
use lockstep_shared::id::OrgId;
use lockstep_shared::network::Destinations;
use lockstep_tests::api::{Api, JWT_SECRET};
use lockstep_tests::stack::Stack;
use reqwest::Method;
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::{customer, erp, id, organisation, product, rows, start, store, watch};

/// Keeps all that is logged on this thread, of every level, with every field.
#[derive(Clone, Debug, Default)]
pub(super) struct Logbook(Arc<Mutex<String>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Logbook {
    /// What was logged so far.
    pub(super) fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    fn add(&self, level: &str, write: impl FnOnce(&mut Line)) {
        let mut line = Line(level.to_owned());
        write(&mut line);
        let mut book = self.0.lock().unwrap();
        book.push_str(&line.0);
        book.push('\n');
    }
}

impl Subscriber for Logbook {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.add(span.metadata().name(), |line| span.record(line));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        self.add("record", |line| values.record(line));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.add(event.metadata().level().as_str(), |line| event.record(line));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The forms in which a secret would be one still.
fn forms(secret: &str) -> Vec<String> {
    let hex = secret
        .bytes()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    vec![secret.to_owned(), hex, STANDARD.encode(secret)]
}

/// R49, R70: credentials go in and come back nowhere: in no answer, no row and no line of the log, though they were used.
///
/// The test's runtime has one thread, so that what the API and the worker log can be kept.
#[tokio::test]
async fn credentials_come_back_nowhere() {
    let logbook = Logbook::default();
    let _kept = tracing::subscriber::set_default(logbook.clone());
    // With one subscriber only, tracing asks the thread that meets a place first, which may be another test's, whether
    // anybody wants to hear of it; with two, it asks them.
    let _other = tracing::Dispatch::new(Logbook::default());
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let api = Api::start(&stack);
    let client = api.client_of(organisation(&stack, OrgId::random()).await);
    let (shop, office) = (StoreOptions::default(), ErpOptions::default());
    let pair = format!("{}:{}", shop.consumer_key, shop.consumer_secret);
    let secrets = [
        &*shop.consumer_key,
        &shop.consumer_secret,
        &office.api_key,
        &pair,
        JWT_SECRET,
    ];
    let mut answers = Vec::new();

    for connection in [store(&stack), erp(&stack)] {
        let made = client.post("/api/v1/connections", &connection).await;
        let path = made.header("location").to_owned();
        assert_eq!(made.status, 201, "{}", made.text);
        answers.extend([
            made,
            client.get(&path).await,
            client.post("/api/v1/connections", &connection).await,
        ]);
    }
    answers.push(client.get("/api/v1/connections").await);
    client
        .put(&format!("/api/v1/records/products/{}", id()), &product("SKU-1"))
        .await
        .ok(201);
    client
        .put(
            &format!("/api/v1/records/customers/{}", id()),
            &customer("ada@example.com"),
        )
        .await
        .ok(201);
    stack.work();
    let sync = start(&client).await;
    assert_eq!(
        watch(&client, &sync).await.last().unwrap()["status"],
        "done",
        "they were used"
    );
    for path in [
        "syncs",
        &format!("syncs/{sync}"),
        "records/products",
        "records/customers",
    ] {
        answers.push(client.get(&format!("/api/v1/{path}")).await);
    }

    let rows = rows(&stack.database).await;
    let logged = logbook.text();
    assert!(
        rows["public.connection"].len() == 4 && !rows["apalis.jobs"].is_empty(),
        "the rows are there to be looked at"
    );
    assert!(
        logged.contains("connection created") && logged.contains("sync requested"),
        "the log was kept"
    );
    assert!(
        logged.contains(&stack.sandbox.store.base_url()["http://".len()..]),
        "of the workers too"
    );
    for form in secrets.into_iter().flat_map(forms) {
        for answer in &answers {
            assert!(!answer.text.contains(&form), "R49: {form} in {}", answer.text);
            assert!(
                !format!("{:?}", answer.headers).contains(&form),
                "R49: {form} in {:?}",
                answer.headers
            );
        }
        for (table, lines) in &rows {
            assert!(
                !lines.iter().any(|line| line.contains(&form)),
                "R70: {form} in {table}"
            );
        }
        let line = logged.lines().find(|line| line.contains(&form));
        assert_eq!(line, None, "R70: {form} was logged");
    }
}

/// R49, R45: a refusal names what is wrong with credentials without saying them again, wherever they were put.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_does_not_say_credentials_again() {
    const SECRET: &str = "cs_misplaced_secret";
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let with = |pointer: &str, value: serde_json::Value| {
        let mut request = store(&stack);
        *request.pointer_mut(pointer).unwrap() = value;
        request.to_string()
    };
    let before = rows(&stack.database).await;

    for (body, status, field) in [
        (with("/credentials", json!(SECRET)), 422, "credentials"),
        (with("/credentials", json!([SECRET])), 422, "credentials"),
        (
            with("/credentials/consumerSecret", json!({ "is": SECRET })),
            422,
            "credentials/consumerSecret",
        ),
        (
            with("/credentials/consumerSecret", json!([SECRET])),
            422,
            "credentials/consumerSecret",
        ),
        (
            with("/credentials/consumerSecret", json!(SECRET.repeat(60))),
            422,
            "credentials/consumerSecret",
        ),
        (
            with("/credentials/consumerSecret", json!(8_154_711_u32)),
            422,
            "credentials/consumerSecret",
        ),
        (
            with(
                "/baseUrl",
                json!(format!("https://ck_1:{SECRET}@shop.example.com")),
            ),
            422,
            "baseUrl",
        ),
        (
            with(
                "/baseUrl",
                json!(format!("https://shop.example.com?consumer_secret={SECRET}")),
            ),
            422,
            "baseUrl",
        ),
        (with("/system", json!(SECRET)), 422, "system"),
        (json!(SECRET).to_string(), 422, "system"),
        (
            format!(r#"{{"credentials": {{"consumerSecret": "{SECRET}" "x": 1}}}}"#),
            400,
            "",
        ),
    ] {
        let request = api
            .client
            .request(Method::POST, "/api/v1/connections")
            .header("content-type", "application/json");
        let answer = api.client.send(request.body(body.clone())).await;

        assert_eq!(
            (
                answer.status,
                answer.body["errors"][0]["field"].as_str().unwrap_or_default()
            ),
            (status, field),
            "R45: {body}: {}",
            answer.text
        );
        for secret in [SECRET, "8154711"] {
            assert!(!answer.text.contains(secret), "R49: {body}: {}", answer.text);
        }
        assert!(
            !answer.text.contains("Credentials"),
            "R45: the name of a type of ours: {}",
            answer.text
        );
    }

    assert_eq!(rows(&stack.database).await, before, "R45");
}

/// Where only public addresses are allowed, any other is refused by its field, and nothing is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_not_public_is_refused_unless_the_operator_allows_it() {
    let stack = Stack::new().await;
    let mut config = Api::config(&stack);
    config.base_urls = Destinations::Public;
    let strict = Api::start_as(stack.org, config);
    let request = |url: &str| {
        let mut request = store(&stack);
        request["baseUrl"] = json!(url);
        request
    };
    let before = rows(&stack.database).await;

    for url in [
        &*stack.sandbox.store.base_url(),
        "http://shop.example.com",
        "https://127.0.0.1",
        "https://localhost",
        "https://[::1]",
        "https://10.0.0.1",
        "https://169.254.169.254",
        "https://shop",
        "ftp://shop.example.com",
        "",
    ] {
        let problem = strict
            .client
            .post("/api/v1/connections", &request(url))
            .await
            .problem(422, "invalid");
        let fields: Vec<&str> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["field"].as_str().unwrap())
            .collect();
        assert_eq!(fields, ["baseUrl"], "{url}: {problem}");
    }

    assert_eq!(rows(&stack.database).await, before);
    strict
        .client
        .post("/api/v1/connections", &request("https://shop.example.com"))
        .await
        .ok(201);
    Api::start(&stack)
        .client
        .post("/api/v1/connections", &store(&stack))
        .await
        .problem(409, "name-taken");
}
