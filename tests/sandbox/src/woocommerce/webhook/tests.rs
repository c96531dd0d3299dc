//! What the facts say of webhooks, over real HTTP.

use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;

use super::super::{Store, StoreOptions};
use super::*;

/// Takes deliveries and answers each with the same status; keeps what it was sent, head and body.
struct Receiver {
    url: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&heard);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = String::new();
                while !is_whole(&request) {
                    let mut bytes = [0; 4096];
                    let read = stream.read(&mut bytes).await.unwrap();
                    request.push_str(&String::from_utf8_lossy(&bytes[..read]));
                }
                kept.lock().unwrap().push(request);
                let answer = format!("HTTP/1.1 {status} Answer\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { url, heard }
    }

    /// Waits until so many requests have come.
    async fn heard(&self, count: usize) -> Vec<String> {
        loop {
            let heard = self.heard.lock().unwrap().clone();
            if heard.len() >= count {
                return heard;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    length.and_then(|length| length.parse().ok()) == Some(body.len())
}

async fn store() -> Store {
    Store::start(StoreOptions::default()).await.unwrap()
}

fn hook(topic: &str, receiver: &Receiver) -> Value {
    json!({ "topic": topic, "delivery_url": receiver.url, "secret": "s3cret" })
}

fn product(number: u32) -> Value {
    json!({ "name": format!("Lamp {number}"), "sku": format!("LAMP-{number}") })
}

/// Facts: systems A10.
#[tokio::test]
async fn a_ping_comes_at_once_and_is_not_signed() {
    let (store, receiver) = (store().await, Receiver::start(200).await);

    store.insert_webhook(hook("product.created", &receiver));

    let heard = receiver.heard(1).await;
    assert!(heard[0].ends_with("\r\n\r\nwebhook_id=1"), "{}", heard[0]);
    assert!(!heard[0].contains("X-WC-"), "{}", heard[0]);
    assert!(store.deliveries().is_empty());
}

/// Facts: systems A10.
#[tokio::test]
async fn changes_before_a_delivery_are_one_delivery_with_the_last_state() {
    let (store, receiver) = (store().await, Receiver::start(200).await);
    let id = store.insert_product(product(1));
    store.insert_webhook(hook("product.updated", &receiver));

    for name in ["One", "Two", "Three"] {
        store.update_product(id, json!({ "name": name }));
    }

    let heard = receiver.heard(2).await;
    assert!(
        heard[1].contains("X-WC-Webhook-Topic: product.updated"),
        "{}",
        heard[1]
    );
    let body: Value = serde_json::from_str(heard[1].split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((&body["id"], &body["name"]), (&id.into(), &"Three".into()));
    let mut mac = Hmac::<Sha256>::new_from_slice(b"s3cret").unwrap();
    mac.update(heard[1].split_once("\r\n\r\n").unwrap().1.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    assert!(
        heard[1].contains(&format!("X-WC-Webhook-Signature: {signature}")),
        "{}",
        heard[1]
    );
}

/// Facts: systems A10: six failures leave it active, the seventh disables it, and none is tried again.
#[tokio::test]
async fn a_webhook_that_fails_seven_times_is_disabled_and_nothing_is_repeated() {
    let (store, receiver) = (store().await, Receiver::start(500).await);
    store.insert_webhook(hook("product.created", &receiver));

    for number in 1..=6 {
        store.insert_product(product(number));
    }
    receiver.heard(7).await;
    while store.deliveries().len() < 6 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(store.webhooks()[0]["status"], "active");
    store.insert_product(product(7));
    while store.deliveries().len() < 7 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    assert_eq!(store.webhooks()[0]["status"], "disabled");
    assert_eq!(
        receiver.heard(8).await.len(),
        8,
        "the ping, and each delivery once"
    );
}

/// Facts: systems A10, mapping-woocommerce 9.
#[tokio::test]
async fn an_order_that_is_paid_as_it_is_made_is_told_of_as_made_and_as_changed() {
    let (store, receiver) = (store().await, Receiver::start(200).await);
    let lamp = store.insert_product(json!({
        "name": "Lamp", "sku": "LAMP", "regular_price": "5.00", "manage_stock": true, "stock_quantity": 5,
    }));
    for topic in ["order.created", "order.updated", "product.updated"] {
        store.insert_webhook(hook(topic, &receiver));
    }

    store.sell(lamp, 1);
    receiver.heard(6).await;

    let mut told: Vec<String> = Vec::new();
    while told.len() < 3 {
        told = store.deliveries().into_iter().map(|one| one.topic).collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    told.sort();
    assert_eq!(told, ["order.created", "order.updated", "product.updated"]);
}
