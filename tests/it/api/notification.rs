//! Notifications: what happens is told at the organisation's addresses, signed, tried again, and logged.

use std::sync::{Arc, Mutex};

use lockstep_sandbox::fault::Fault;
use lockstep_shared::id::{NotificationId, OrgId};
use lockstep_shared::network::Destinations;
use lockstep_shared::notification;
use lockstep_tests::api::{Api, Client};
use lockstep_tests::stack::{Stack, eventually};
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{organisation, rows};

const ENDPOINTS: &str = "/api/v1/notification-endpoints";

/// A notification as it arrived.
#[derive(Clone, Debug)]
struct Arrived {
    head: String,
    body: String,
}

impl Arrived {
    fn header(&self, name: &str) -> &str {
        let line = self
            .head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no `{name}` in {}", self.head))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// An address of an organisation's: it keeps what arrives, and answers with the first of its statuses, the last for good.
#[derive(Clone)]
struct Receiver {
    url: String,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    statuses: Arc<Mutex<Vec<u16>>>,
}

impl Receiver {
    async fn start(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            url: format!("http://{}/hook?from=lockstep", listener.local_addr().unwrap()),
            arrived: Arc::default(),
            statuses: Arc::new(Mutex::new(statuses.to_vec())),
        };
        let own = receiver.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                own.answer(socket).await;
            }
        });
        receiver
    }

    async fn answer(&self, mut socket: TcpStream) {
        let mut bytes = Vec::new();
        let arrived = loop {
            let mut chunk = [0; 4096];
            let read = socket.read(&mut chunk).await.unwrap();
            bytes.extend_from_slice(&chunk[..read]);
            let text = String::from_utf8_lossy(&bytes);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_lowercase();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                if length.is_none_or(|length| body.len() >= length.parse().unwrap()) {
                    let body = body.to_owned();
                    break Arrived { head, body };
                }
            }
            assert!(read > 0, "a request that stops in its middle: {text}");
        };
        let status = {
            let mut statuses = self.statuses.lock().unwrap();
            if statuses.len() > 1 {
                statuses.remove(0)
            } else {
                statuses[0]
            }
        };
        self.arrived.lock().unwrap().push(arrived);
        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        socket.write_all(answer.as_bytes()).await.unwrap();
    }

    fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }

    async fn receive(&self, count: usize) -> Vec<Arrived> {
        eventually("notifications to arrive", || async {
            let arrived = self.arrived();
            (arrived.len() >= count).then_some(arrived)
        })
        .await
    }
}

async fn subscribe(client: &Client, receiver: &Receiver, events: &[&str]) -> Value {
    client
        .post(ENDPOINTS, &json!({ "url": receiver.url, "events": events }))
        .await
        .ok(201)
}

/// The log of an endpoint, once nothing is pending.
async fn log(client: &Client, endpoint: &Value) -> Vec<Value> {
    let path = format!(
        "{ENDPOINTS}/{}/notifications",
        endpoint["endpointId"].as_str().unwrap()
    );
    eventually("notifications to come to an end", || async {
        let page = client.get(&path).await.ok(200);
        let items = page["items"].as_array().unwrap().clone();
        (!items.is_empty() && items.iter().all(|item| item["status"] != "pending")).then_some(items)
    })
    .await
}

/// R54: the end of a sync is told, signed after Standard Webhooks; what is not taken is tried again under the same id, and
/// the log tells of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_sync_is_told_until_it_is_taken() {
    let mut stack = Stack::new().await;
    let api = Api::start(&stack);
    let receiver = Receiver::start(&[503, 204]).await;
    let endpoint = subscribe(&api.client, &receiver, &["sync.finished", "sync.failed"]).await;
    let secret = endpoint["secret"].as_str().unwrap().to_owned();
    // Whoever looks first delivers it: two workers make no two of it.
    stack.work();
    stack.work();

    let sync = stack.sync().await;

    let first = receiver.receive(1).await.remove(0);
    stack.shift_clock("1 minute").await;
    let log = log(&api.client, &endpoint).await;
    let arrived = receiver.arrived();
    assert_eq!(arrived.len(), 2, "R54: {arrived:#?}");
    let (id, sync_id) = (first.header("webhook-id"), sync.view.sync_id.to_string());
    assert_eq!(arrived[1].header("webhook-id"), id, "R54");
    assert_eq!(arrived[1].body, first.body, "R54");
    assert_eq!(first.json()["type"], "sync.finished");
    assert_eq!(first.json()["data"]["syncId"], sync_id);
    assert_eq!(first.json()["data"]["status"], "done");
    for one in &arrived {
        let id: NotificationId = id.parse().unwrap();
        let sent_at = one.header("webhook-timestamp").parse().unwrap();
        let signed = notification::signature(&SecretString::from(secret.clone()), id, sent_at, &one.body);
        assert_eq!(
            one.header("webhook-signature"),
            signed.unwrap().to_lowercase(),
            "R54"
        );
    }
    assert_eq!(log.len(), 1);
    assert_eq!(
        (&log[0]["status"], &log[0]["attempts"], &log[0]["responseStatus"]),
        (&json!("delivered"), &json!(2), &json!(204)),
        "R54"
    );
    let address = format!("{ENDPOINTS}/{}", endpoint["endpointId"].as_str().unwrap());
    for shown in [api.client.get(&address).await, api.client.get(ENDPOINTS).await] {
        let text = shown.ok(200).to_string();
        assert!(
            text.contains(&receiver.url) && !text.contains(&secret),
            "R70: {text}"
        );
    }
}

/// R54: a refused key is told once, with the conflict that it opens; an address that is not told of syncs hears of none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_credentials_are_told() {
    let mut stack = Stack::new().await;
    let api = Api::start(&stack);
    let receiver = Receiver::start(&[200]).await;
    let events = ["conflict.opened", "connection.needs_attention"];
    let endpoint = subscribe(&api.client, &receiver, &events).await;
    let refused = Fault::Status {
        code: 401,
        retry_after: None,
        body: None,
    };
    stack.sandbox.store.faults().on_path("/wp-json", refused, None);
    stack.work();

    stack.sync().await;

    let arrived = receiver.receive(2).await;
    let mut told: Vec<(String, String)> = arrived
        .iter()
        .map(|one| {
            let json = one.json();
            let of = json["data"]["connectionId"].as_str().unwrap().to_owned();
            (json["type"].as_str().unwrap().to_owned(), of)
        })
        .collect();
    told.sort();
    let store = stack.store.to_string();
    assert_eq!(told, events.map(|event| (event.to_owned(), store.clone())), "R54");
    assert_eq!(log(&api.client, &endpoint).await.len(), 2, "R54");
}

/// R54: an address that is gone is left alone until somebody puts it again; what it missed can be delivered anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_wants_nothing_more_is_left_alone() {
    let mut stack = Stack::new().await;
    let api = Api::start(&stack);
    let receiver = Receiver::start(&[410, 200]).await;
    let endpoint = subscribe(&api.client, &receiver, &["sync.finished"]).await;
    let address = format!("{ENDPOINTS}/{}", endpoint["endpointId"].as_str().unwrap());
    stack.work();
    stack.sync().await;
    let missed = log(&api.client, &endpoint).await.remove(0);
    assert_eq!(missed["status"], "failed", "R54: {missed}");
    let shown = api.client.get(&address).await.ok(200);
    assert!(shown["disabledBecause"].is_string(), "R54: {shown}");
    stack.sync().await;
    assert_eq!(receiver.arrived().len(), 1, "R54: it hears nothing");

    let body = json!({ "url": receiver.url, "events": ["sync.finished"] });
    let shown = api.client.put(&address, &body).await.ok(200);
    assert!(shown["disabledBecause"].is_null());
    let again = format!(
        "{address}/notifications/{}/retry",
        missed["notificationId"].as_str().unwrap()
    );
    api.client.post(&again, &json!({})).await.ok(202);

    let arrived = receiver.receive(2).await;
    assert_eq!(
        arrived[1].header("webhook-id"),
        missed["notificationId"].as_str().unwrap()
    );
    assert_eq!(log(&api.client, &endpoint).await[0]["status"], "delivered", "R54");
    let deleted = api.client.request(Method::DELETE, &address);
    assert_eq!(api.client.send(deleted).await.ok(200)["url"], receiver.url);
    api.client.get(&address).await.problem(404, "not-found");
}

/// R43, R45, R72: wrong endpoints are refused by field and change nothing; nobody sees another organisation's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_endpoints_are_refused() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let mut config = Api::config(&stack);
    config.base_urls = Destinations::Public;
    let strict = Api::start_as(stack.org, config);
    let before = rows(&stack.database).await;
    for (body, field) in [
        (
            json!({ "url": "http://10.0.0.1/", "events": ["sync.failed"] }),
            "url",
        ),
        (
            json!({ "url": "https://169.254.169.254/", "events": ["sync.failed"] }),
            "url",
        ),
        (
            json!({ "url": "https://hooks.example.com", "events": [] }),
            "events",
        ),
        (
            json!({ "url": "https://hooks.example.com", "events": ["sync.began"] }),
            "events/0",
        ),
        (
            json!({ "url": "https://hooks.example.com", "events": ["sync.failed"], "secret": "x" }),
            "secret",
        ),
    ] {
        let problem = strict.client.post(ENDPOINTS, &body).await.problem(422, "invalid");
        assert_eq!(problem["errors"][0]["field"], field, "R45: {problem}");
    }
    assert_eq!(rows(&stack.database).await, before, "R45");

    let body = json!({ "url": "https://hooks.example.com/a?token=b", "events": ["sync.failed"] });
    let made = strict.client.post(ENDPOINTS, &body).await.ok(201);
    let address = format!("{ENDPOINTS}/{}", made["endpointId"].as_str().unwrap());
    let stranger = api.client_of(organisation(&stack, OrgId::random()).await);
    stranger.get(&address).await.problem(404, "not-found");
    stranger.put(&address, &body).await.problem(404, "not-found");
    let log = format!("{address}/notifications");
    stranger.get(&log).await.problem(404, "not-found");
    assert_eq!(
        stranger.get(ENDPOINTS).await.ok(200),
        json!({ "items": [] }),
        "R43"
    );
    for _ in 1..20 {
        api.client.post(ENDPOINTS, &body).await.ok(201);
    }
    api.client
        .post(ENDPOINTS, &body)
        .await
        .problem(409, "too-many-endpoints");
}
