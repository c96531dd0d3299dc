//! The server: every address, what surrounds every request, and the document that says it all.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use lockstep_shared::db;
use percent_encoding::percent_decode_str;
use poem::http::{HeaderMap, HeaderValue, Method, header};
use poem::listener::TcpAcceptor;
use poem::web::{Data, Html};
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response, Route, Server, get, handler};
use secrecy::ExposeSecret;
use tokio::sync::watch;
use tracing::Instrument;
use uuid::Uuid;

use crate::admission;
use crate::auth::Context;
use crate::compression;
use crate::conditional;
use crate::config::Config;
use crate::deliveries;
use crate::document;
use crate::exchange::Exchange;
use crate::health;
use crate::lines;
use crate::metric;
use crate::path::{Asked, Paths};
use crate::problem::{self, Refused, WrongField, of_framework};
use crate::role;
use crate::token::Checker;

/// Connections to the database that one process holds at most.
const POOL_SIZE: u32 = 10;
/// How long a connection of a client may be silent.
const IDLE_LIMIT: Duration = Duration::from_secs(75);
/// How long requests under way may go on after the signal to stop: below the 30 s that Kubernetes waits.
const DRAIN_LIMIT: Duration = Duration::from_secs(25);

/// Longest that a request may take, its body apart, which has limits of its own, and lines, which are stored as they come.
const ANSWER_LIMIT: Duration = Duration::from_secs(90);

/// What the addresses of streams end in.
const EVENTS: &str = "/events";

const REQUEST_ID: &str = "x-request-id";
const REQUEST_ID_LIMIT: usize = 128;

/// Returns the OpenAPI document, the same text each time.
pub fn openapi() -> String {
    document::text()
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the address of the database can't be used")]
    Database(#[source] sqlx::Error),
    #[error("the client for the keys of the issuer of tokens can't be built")]
    Keys(#[source] reqwest::Error),
    #[error("could not take over the listener")]
    Listener(#[source] std::io::Error),
    #[error("the server ended")]
    Server(#[source] std::io::Error),
}

/// Serves the API until `stop` resolves, then lets requests under way end.
pub async fn serve(
    config: Config,
    listener: std::net::TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let pool = db::pool(config.database_url.expose_secret(), POOL_SIZE, "lockstep-api")
        .map_err(ServeError::Database)?;
    listener.set_nonblocking(true).map_err(ServeError::Listener)?;
    let acceptor = TcpAcceptor::from_std(listener).map_err(ServeError::Listener)?;
    let (close, closing) = watch::channel(false);
    let stop = async move {
        stop.await;
        close.send_replace(true);
    };
    let context = Context {
        closing,
        pool: pool.clone(),
        tokens: Checker::new(&config.jwt).map_err(ServeError::Keys)?,
        access: config.access,
        sealing_key: config.sealing_key,
        base_urls: config.base_urls,
        public_url: config.public_url,
    };
    Server::new_with_acceptor(acceptor)
        .name("lockstep-api")
        .idle_timeout(IDLE_LIMIT)
        .run_with_graceful_shutdown(app(context), stop, Some(DRAIN_LIMIT))
        .await
        .map_err(ServeError::Server)?;
    pool.close().await;
    Ok(())
}

struct Document {
    text: String,
    page: String,
}

#[handler]
fn show_document(Data(document): Data<&Arc<Document>>) -> Response {
    Response::builder()
        .content_type("application/json")
        .body(document.text.clone())
}

#[handler]
fn show_page(Data(document): Data<&Arc<Document>>) -> Html<String> {
    Html(document.page.clone())
}

#[handler]
fn show_problems() -> Response {
    Response::builder()
        .content_type("text/markdown; charset=utf-8")
        .body(problem::PAGE)
}

fn app(context: Context) -> impl Endpoint<Output = Response> {
    let text = document::text();
    let (paths, context) = (Arc::new(Paths::of_document(&text)), Arc::new(context));
    let admitting = Arc::clone(&context);
    let document = Document {
        page: document::page(&text),
        text,
    };
    Route::new()
        .at("/livez", get(health::live))
        .at("/readyz", get(health::ready))
        .at("/openapi.json", get(show_document))
        .at("/docs", get(show_page))
        .at("/docs/problems", get(show_problems))
        .at("/webhooks/woocommerce/:connection", deliveries::woocommerce)
        .nest_no_strip("/api/v1", document::service())
        .data(Arc::new(document))
        .data(context)
        .around(move |endpoint, request| {
            surround(endpoint, request, Arc::clone(&paths), Arc::clone(&admitting))
        })
}

/// What surrounds every request: its id, its span, its line in the log, and that whatever goes wrong becomes a problem
/// document.
async fn surround<E: Endpoint<Output = Response>>(
    endpoint: Arc<E>,
    request: Request,
    paths: Arc<Paths>,
    context: Arc<Context>,
) -> poem::Result<Response> {
    let id = request_id(request.headers());
    let shown_id = String::from_utf8_lossy(id.as_bytes()).into_owned();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let rule = paths.find(&path).rule(method.as_str());
    let operation = rule.map_or(metric::NO_OPERATION, |rule| rule.operation);
    let span =
        tracing::info_span!("request", request.id = %shown_id, http.method = %method, http.path = path);
    async move {
        let began = Instant::now();
        let asked = request.headers().clone();
        let response = answer(endpoint, request, &paths, &context, shown_id).await;
        let response = conditional::answer(&method, &asked, response).await;
        let mut response = compression::answer(&asked, response).await;
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id);
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        if path.starts_with("/api/") {
            // What was got may be kept, and is asked for by its tag each time.
            let kept = if matches!(method, Method::GET | Method::HEAD) {
                "private, no-cache"
            } else {
                "no-store"
            };
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
        }
        let (status, took) = (response.status().as_u16(), began.elapsed());
        metric::answered(operation, status, took);
        let took_ms = took.as_millis();
        tracing::debug!(http.status = status, took_ms, "answered with {status}");
        Ok(response)
    }
    .instrument(span)
    .await
}

async fn answer<E: Endpoint<Output = Response>>(
    endpoint: Arc<E>,
    request: Request,
    paths: &Paths,
    context: &Arc<Context>,
    request_id: String,
) -> Response {
    let path = request.uri().path().to_owned();
    let asked = paths.find(&path);
    // The framework loses a parameter that is no text, and then its own way.
    if percent_decode_str(&path).decode_utf8().is_err() {
        return Refused::malformed("the address is not UTF-8", Vec::new()).into_response();
    }
    let form = if path.ends_with(EVENTS) {
        "text/event-stream"
    } else {
        "application/json"
    };
    if path.starts_with("/api/") && !accepts(request.headers(), form) {
        return Refused::not_acceptable().into_response();
    }
    if let Some(name) = asked.unknown_query_parameter(request.method().as_str(), request.uri().query()) {
        let detail = format!("there is no parameter `{name}` here");
        let wrong = WrongField::new(name, "is not a parameter of this operation");
        return Refused::malformed(detail, vec![wrong]).into_response();
    }
    if let Some((name, wrong)) = asked.wrong_query_parameter(request.uri().query()) {
        let detail = format!("the parameter `{name}` is wrong");
        return Refused::malformed(detail, vec![WrongField::new(name, wrong)]).into_response();
    }
    let rule = asked
        .rule(request.method().as_str())
        .map(|rule| role::of_action(rule, request.uri().query()));
    match rule {
        Some(rule) => {
            let carry_out = |request| carry_out(endpoint, request, &asked, context);
            admission::answer(context, rule, request, request_id, carry_out).await
        }
        None => carry_out(endpoint, request, &asked, context).await,
    }
}

/// Has the operation carried out, once where the request may be sent again.
async fn carry_out<E: Endpoint<Output = Response>>(
    endpoint: Arc<E>,
    mut request: Request,
    asked: &Asked<'_>,
    context: &Context,
) -> Response {
    let exchange = match Exchange::of(&request) {
        Ok(exchange) => exchange,
        Err(refused) => return refused.into_response(),
    };
    if let Some(exchange) = &exchange {
        request.set_data(Arc::clone(exchange));
    }
    let limit = (!request.content_type().is_some_and(lines::is_lines)).then_some(ANSWER_LIMIT);
    let answering = AssertUnwindSafe(endpoint.call(request)).catch_unwind();
    let response = match within(limit, answering).await {
        Some(Ok(Ok(response))) => response,
        Some(Ok(Err(error))) => of_framework(error, asked),
        Some(Err(_)) => Refused::internal("a request panicked", &Panicked).into_response(),
        None => Refused::overdue().into_response(),
    };
    match exchange {
        Some(exchange) => exchange.end(response, &context.sealing_key).await,
        None => response,
    }
}

/// Waits for something up to a limit, where there is one; `None` where it took longer.
async fn within<T>(limit: Option<Duration>, answering: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, answering).await.ok(),
        None => Some(answering.await),
    }
}

/// The panic's own words were printed by its hook already.
#[derive(Debug, thiserror::Error)]
#[error("the code that answers it has a bug")]
struct Panicked;

/// Takes the caller's id where it can be logged as it is, and makes one otherwise.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_plain = |id: &HeaderValue| {
        let bytes = id.as_bytes();
        (1..=REQUEST_ID_LIMIT).contains(&bytes.len())
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(b))
    };
    match headers.get(REQUEST_ID).filter(|id| is_plain(id)) {
        Some(id) => id.clone(),
        None => HeaderValue::from_str(&Uuid::now_v7().to_string()).expect("a UUID is plain ASCII"),
    }
}

/// Says whether the caller takes what is answered in one form, or problems in theirs, by RFC 9110, section 12.5.1; weights
/// other than 0 do not matter to who has one form only.
fn accepts(headers: &HeaderMap, form: &str) -> bool {
    let mut ranges = headers.get_all(header::ACCEPT).iter().peekable();
    if ranges.peek().is_none() {
        return true;
    }
    ranges
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            let is_refused = parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)));
            let is_group = |range: &str| {
                range
                    .strip_suffix("/*")
                    .is_some_and(|group| form.split('/').next() == Some(group))
            };
            let is_taken = matches!(media_type.as_str(), "*/*" | "application/problem+json")
                || media_type == form
                || is_group(&media_type);
            is_taken && !is_refused
        })
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use lockstep_shared::id::OrgId;
    use lockstep_shared::role::Role;
    use lockstep_shared::secret::SealingKey;
    use poem::http::StatusCode;
    use poem::test::{TestClient, TestResponse};
    use serde_json::Value;

    use super::*;
    use crate::config::{Access, Jwt};
    use crate::token::{self, Caller};
    use lockstep_shared::network::Destinations;

    fn jwt() -> Jwt {
        Jwt::of_secret("an-hs256-secret-of-at-least-32-bytes".to_owned().into())
    }

    fn token() -> String {
        let caller = Caller {
            org: OrgId(Uuid::from_u128(7)),
            subject: "ada".to_owned(),
            role: Role::Admin,
        };
        token::issue(&jwt(), &caller, Utc::now(), chrono::Duration::hours(1)).unwrap()
    }

    /// A server whose database is not there: for what is answered before anybody asks it.
    fn client() -> TestClient<impl Endpoint<Output = Response>> {
        let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".to_owned();
        TestClient::new(app(Context {
            closing: watch::channel(false).1,
            pool: db::pool("postgres://nobody@127.0.0.1:1/nothing", 1, "test").unwrap(),
            tokens: Checker::new(&jwt()).unwrap(),
            access: Access {
                quotas: None,
                ..Access::default()
            },
            sealing_key: SealingKey::parse(&key.into()).unwrap(),
            base_urls: Destinations::Public,
            public_url: None,
        }))
    }

    async fn problem(response: TestResponse, status: StatusCode) -> Value {
        response.assert_status(status);
        response.assert_content_type("application/problem+json");
        response.json().await.value().deserialize()
    }

    async fn post(path: &str, body: impl Into<poem::Body>) -> TestResponse {
        let client = client();
        let request = client
            .post(path)
            .header("authorization", format!("Bearer {}", token()));
        request.content_type("application/json").body(body).send().await
    }

    #[tokio::test]
    async fn nothing_is_answered_without_a_token_that_holds() {
        let client = client();
        for request in [
            client.get("/api/v1/connections"),
            client.get("/api/v1/syncs").header("authorization", "Basic YTpi"),
            client
                .post("/api/v1/syncs")
                .header("authorization", "Bearer x.y.z"),
        ] {
            let response = request.send().await;
            response.assert_header("www-authenticate", "Bearer");
            let problem = problem(response, StatusCode::UNAUTHORIZED).await;
            assert_eq!(
                problem["type"], "https://lockstep.dev/problems/unauthenticated",
                "R42"
            );
        }
    }

    #[tokio::test]
    async fn an_address_that_is_not_there_is_a_404() {
        for path in [
            "/",
            "/api/v2",
            "/api/v1/nothing",
            "/api/v1/records/invoices",
            "/docs/nothing",
        ] {
            let problem = problem(client().get(path).send().await, StatusCode::NOT_FOUND).await;
            assert_eq!(
                problem["type"], "https://lockstep.dev/problems/not-found",
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn another_method_is_a_405_that_says_which_are_possible() {
        let id = Uuid::from_u128(1);
        for (path, allow) in [
            ("/livez".to_owned(), "GET, HEAD"),
            ("/api/v1/syncs".to_owned(), "GET, POST, HEAD"),
            (format!("/api/v1/syncs/{id}"), "GET, HEAD"),
            (format!("/api/v1/records/products/{id}"), "GET, PUT, HEAD"),
        ] {
            let response = client().request(Method::DELETE, &path).send().await;
            response.assert_header("allow", allow);
            problem(response, StatusCode::METHOD_NOT_ALLOWED).await;
        }
    }

    #[tokio::test]
    async fn what_can_not_be_read_is_refused_before_the_database_is_asked() {
        let pairs = [
            (post("/api/v1/syncs", "{").await, StatusCode::BAD_REQUEST),
            (post("/api/v1/syncs", "").await, StatusCode::BAD_REQUEST),
            (post("/api/v1/syncs?dry=1", "{}").await, StatusCode::BAD_REQUEST),
            (
                post("/api/v1/syncs", "[".repeat(200)).await,
                StatusCode::BAD_REQUEST,
            ),
            (
                post("/api/v1/syncs", r#"{"x": 1}"#).await,
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
            (
                post("/api/v1/syncs", r#"{"systems": null}"#).await,
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
            (
                post("/api/v1/syncs", r#"{"systems": ["a\u0000"]}"#).await,
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
            (
                post("/api/v1/syncs", " ".repeat((1 << 20) + 1)).await,
                StatusCode::PAYLOAD_TOO_LARGE,
            ),
        ];
        for (response, status) in pairs {
            problem(response, status).await;
        }
    }

    #[tokio::test]
    async fn a_body_that_is_no_json_is_a_415() {
        let (client, bearer) = (client(), format!("Bearer {}", token()));
        for content_type in [Some("text/plain"), Some("application/xml"), None] {
            let mut request = client.post("/api/v1/syncs").header("authorization", &bearer);
            if let Some(content_type) = content_type {
                request = request.content_type(content_type);
            }
            let response = request.body("{}").send().await;
            problem(response, StatusCode::UNSUPPORTED_MEDIA_TYPE).await;
        }
    }

    #[tokio::test]
    async fn a_caller_who_takes_no_json_gets_a_406() {
        let client = client();

        let request = client
            .get("/api/v1/syncs")
            .header("accept", "text/html, application/json;q=0");
        problem(request.send().await, StatusCode::NOT_ACCEPTABLE).await;

        let events = format!("/api/v1/syncs/{}/events", Uuid::from_u128(1));
        let request = client.get(&events).header("accept", "application/json");
        problem(request.send().await, StatusCode::NOT_ACCEPTABLE).await;
        let request = client.get(&events).header("accept", "text/event-stream");
        problem(request.send().await, StatusCode::UNAUTHORIZED).await;

        let request = client
            .get("/api/v1/syncs")
            .header("accept", "text/html, */*;q=0.1");
        problem(request.send().await, StatusCode::UNAUTHORIZED).await;
    }

    #[tokio::test]
    async fn a_wrong_parameter_is_named() {
        let (client, bearer) = (client(), format!("Bearer {}", token()));
        for (path, field) in [
            ("/api/v1/syncs/7", "syncId"),
            ("/api/v1/records/customers/x", "recordId"),
            ("/api/v1/syncs?limit=0", "limit"),
            ("/api/v1/syncs?limit=201", "limit"),
            ("/api/v1/syncs?limit=many", "limit"),
            ("/api/v1/syncs?status=gone", "status"),
            ("/api/v1/syncs?cursor=x", "cursor"),
            ("/api/v1/syncs?stauts=done", "stauts"),
        ] {
            let request = client.get(path).header("authorization", &bearer);
            let problem = problem(request.send().await, StatusCode::BAD_REQUEST).await;
            assert_eq!(problem["errors"][0]["field"], field, "{path}: {problem}");
            let text = problem.to_string();
            assert!(!text.contains("pars") && !text.contains("string_"), "R45: {text}");
        }
    }

    #[tokio::test]
    async fn a_request_keeps_its_id_and_gets_one_otherwise() {
        let kept = client()
            .get("/livez")
            .header(REQUEST_ID, "order-7/a")
            .send()
            .await;
        kept.assert_header(REQUEST_ID, "order-7/a");
        let made = client()
            .get("/api/v1/nothing")
            .header(REQUEST_ID, "a b\u{e9}")
            .send()
            .await;
        let id = made.0.header(REQUEST_ID).unwrap();
        assert!(id.parse::<Uuid>().is_ok(), "{id}");
    }

    #[tokio::test]
    async fn a_delivery_without_a_signature_is_refused_and_a_ping_is_answered() {
        let client = client();
        let path = format!("/webhooks/woocommerce/{}", Uuid::from_u128(1));

        let ping = client.post(&path).body("webhook_id=7").send().await;
        ping.assert_status_is_ok();

        let unsigned = client.post(&path).body("{}").send().await;
        let problem = problem(unsigned, StatusCode::UNAUTHORIZED).await;
        assert_eq!(problem["type"], "https://lockstep.dev/problems/wrong-signature");
        let elsewhere = client.post("/webhooks/woocommerce/7").body("webhook_id=7").send();
        elsewhere.await.assert_status(StatusCode::NOT_FOUND);
        let read = client.get(&path).send().await;
        read.assert_header("allow", "POST");
        read.assert_status(StatusCode::METHOD_NOT_ALLOWED);
        let large = client.post(&path).body(" ".repeat((4 << 20) + 1)).send().await;
        large.assert_status(StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn the_process_lives_without_its_database_but_is_not_ready() {
        client().get("/livez").send().await.assert_status_is_ok();

        let ready = client().get("/readyz").send().await;

        ready.assert_status(StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn the_document_and_its_pages_are_there_for_everyone() {
        let document = client().get("/openapi.json").send().await;
        document.assert_status_is_ok();
        document.assert_content_type("application/json");

        let docs = client().get("/docs").send().await;
        docs.assert_status_is_ok();
        docs.assert_content_type("text/html; charset=utf-8");
    }
}
