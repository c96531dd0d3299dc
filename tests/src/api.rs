//! The API of a stack, over real HTTP, and a small client that says what it heard.

use std::net::TcpListener;
use std::time::Duration;

use chrono::Utc;
use lockstep_api::config::{Access, Config, Jwt};
use lockstep_api::server;
use lockstep_api::token::{self, Caller};
use lockstep_shared::id::OrgId;
use lockstep_shared::network::Destinations;
use lockstep_shared::role::Role;
use lockstep_shared::telemetry::LogFormat;
use lockstep_worker::connector::http;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::stack::{Stack, sealing_key};

/// Longest a test waits for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the tokens of tests are signed with.
pub const JWT_SECRET: &str = "the-tests-own-hs256-secret-of-40-bytes!!";

/// A server of the API; it stops when it is dropped.
#[derive(Debug)]
pub struct Api {
    /// Without a token.
    pub stranger: Client,
    /// With a token for the stack's organisation.
    pub client: Client,
    /// Its address, without a slash at its end.
    pub url: String,
    stop: CancellationToken,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Api {
    /// Starts the API on a stack's database; connections may have any base URL.
    pub fn start(stack: &Stack) -> Self {
        Self::start_as(stack.org, Self::config(stack))
    }

    /// Returns the configuration that the API of tests has.
    pub fn config(stack: &Stack) -> Config {
        Config {
            database_url: stack.database.urls.api.clone().into(),
            bind: ([127, 0, 0, 1], 0).into(),
            operations_bind: None,
            jwt: Self::jwt(),
            // A test asks more often in a second than anyone may in a minute.
            access: Access {
                quotas: None,
                ..Access::default()
            },
            sealing_key: sealing_key(),
            base_urls: Destinations::Any,
            public_url: None,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
        }
    }

    /// Starts an API that is set up otherwise.
    pub fn start_as(org: OrgId, config: Config) -> Self {
        let listener = TcpListener::bind(config.bind).expect("a port is free");
        Self::serve(org, config, listener)
    }

    /// Starts an API that knows where others reach it.
    pub fn start_reachable(stack: &Stack) -> Self {
        let mut config = Self::config(stack);
        let listener = TcpListener::bind(config.bind).expect("a port is free");
        let address = listener.local_addr().expect("it listens");
        config.public_url = Some(format!("http://{address}"));
        Self::serve(stack.org, config, listener)
    }

    fn serve(org: OrgId, config: Config, listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("it listens");
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            server::serve(config, listener, stopped)
                .await
                .expect("the API serves");
        });
        let url = format!("http://{address}");
        let stranger = Client::new(url.clone());
        let client = stranger.with_token(&Self::token(org));
        Self {
            stranger,
            client,
            url,
            stop,
        }
    }

    /// Returns how the API of tests checks tokens.
    pub fn jwt() -> Jwt {
        Jwt::of_secret(JWT_SECRET.to_owned().into())
    }

    /// Signs a token that holds for an hour, of the role that may do everything in its organisation.
    pub fn token(org: OrgId) -> String {
        Self::token_as(org, Role::Admin)
    }

    /// Signs a token of a role.
    pub fn token_as(org: OrgId, role: Role) -> String {
        let caller = Caller {
            org,
            subject: "ada".to_owned(),
            role,
        };
        token::issue(&Self::jwt(), &caller, Utc::now(), chrono::Duration::hours(1))
            .expect("HS256 needs a secret only")
    }

    /// Returns a client of a role.
    pub fn client_as(&self, org: OrgId, role: Role) -> Client {
        self.stranger.with_token(&Self::token_as(org, role))
    }

    /// Returns a client that speaks for another organisation.
    pub fn client_of(&self, org: OrgId) -> Client {
        self.stranger.with_token(&Self::token(org))
    }
}

/// A product of one variant, as the API takes it.
pub fn product(sku: &str) -> Value {
    json!({
        "name": format!("Product {sku}"),
        "variants": [{ "sku": sku, "price": { "amount": "19.9", "currency": "USD" } }],
    })
}

/// Somebody who asks the API.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

impl Client {
    pub fn new(url: String) -> Self {
        // The workers' client gives the process what reqwest needs to be built, even where TLS is not used.
        http::Client::new(&http::Options::default()).expect("the options are right");
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .build()
            .expect("the options are right");
        Self {
            http,
            url,
            token: None,
        }
    }

    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Puts so many products that are all new.
    pub async fn put_products(&self, count: usize) {
        for number in 0..count {
            let path = format!("/api/v1/records/products/{}", Uuid::new_v4());
            self.put(&path, &product(&format!("SKU-{number}"))).await.ok(201);
        }
    }

    /// Begins a request that is built otherwise.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.expect("the API answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("the answer arrives whole");
        let body = serde_json::from_str(&text).unwrap_or_default();
        Answer {
            status,
            headers,
            text,
            body,
        }
    }
}

/// An answer of the API, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// `Null` where it is no JSON.
    pub body: Value,
}

impl Answer {
    /// Returns a header's value; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Fails the test unless the status is this one; returns the body.
    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.body
    }

    /// Fails the test unless it is a problem document of this status and type; returns it.
    #[track_caller]
    pub fn problem(self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status, status, "R45: {}", self.text);
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "R45: {}",
            self.text
        );
        assert_eq!(
            self.body["type"],
            format!("https://lockstep.dev/problems/{kind}"),
            "R45: {}",
            self.text
        );
        assert_eq!(self.body["status"], status, "R45: {}", self.text);
        self.body
    }
}
