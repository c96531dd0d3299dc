//! Webhooks: how they are made, what makes them deliver, and when the shop gives up (facts: systems A10,
//! mapping-woocommerce 9).
//!
//! The delay is the shortest that was seen. What happens meanwhile to one thing is one delivery with its last state; a
//! delivery that fails is never repeated. Whether a webhook that is enabled again starts counting anew was not seen: here it
//! does not.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::product::{Context, as_text};
use super::refusal::Refusal;
use super::resource::Resource;
use super::route::Site;
use super::shop::Shop;
use super::text;
use crate::ledger::Operation;

/// Failures in a row with which a webhook is disabled: six leave it active (facts: systems A10).
const FAILURE_LIMIT: u32 = 7;

/// The soonest that was seen (facts: systems A10).
const DELAY: Duration = Duration::from_millis(1_700);

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
struct Hook {
    id: u64,
    name: String,
    status: String,
    topic: String,
    delivery_url: String,
    secret: String,
    created: i64,
    modified: i64,
    failures: u32,
}

/// One delivery that was tried.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub webhook: u64,
    pub topic: String,
    pub id: String,
    pub signature: String,
    pub body: String,
    /// What the receiver answered; none where it could not be reached.
    pub status: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Job {
    Ping { hook: u64 },
    Tell { hook: u64, thing: u64 },
}

#[derive(Debug, Default)]
struct Book {
    hooks: BTreeMap<u64, Hook>,
    next: u64,
    queue: VecDeque<(Instant, Job)>,
    deliveries: Vec<Delivery>,
}

/// The shop's webhooks, and what they have to tell.
#[derive(Debug, Default)]
pub(super) struct Webhooks {
    book: Mutex<Book>,
    wake: Arc<Notify>,
}

impl Webhooks {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no holder of the webhooks panics")
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        self.lock().hooks.keys().copied().collect()
    }

    pub(super) fn deliveries(&self) -> Vec<Delivery> {
        self.lock().deliveries.clone()
    }

    /// Notes that something happened to a thing. What waits already tells of this too.
    pub(super) fn note(&self, topic: &str, thing: u64) {
        let mut book = self.lock();
        let hooks = book.hooks.values();
        let told = hooks.filter(|hook| hook.topic == topic && hook.status == "active");
        let jobs: Vec<Job> = told.map(|hook| Job::Tell { hook: hook.id, thing }).collect();
        for job in jobs {
            if !book.queue.iter().any(|(_, waiting)| *waiting == job) {
                book.queue.push_back((Instant::now() + DELAY, job));
            }
        }
        drop(book);
        self.wake.notify_one();
    }

    fn set_status(&self, id: u64, status: &str) {
        if let Some(hook) = self.lock().hooks.get_mut(&id) {
            status.clone_into(&mut hook.status);
        }
    }
}

/// A delivery on its way out.
struct Outgoing {
    url: String,
    headers: Vec<(&'static str, String)>,
    body: String,
    /// None for a ping, whose outcome nobody looks at.
    delivery: Option<Delivery>,
}

impl Shop {
    pub(super) fn render_webhook(&self, id: u64) -> Result<Value, Refusal> {
        let book = self.webhooks.lock();
        let hook = book.hooks.get(&id).ok_or_else(|| unknown(404))?;
        let (resource, event) = hook.topic.split_once('.').unwrap_or_default();
        let local = |secs: i64| text::iso(secs + self.offset_secs);
        Ok(json!({
            "id": hook.id, "name": hook.name, "status": hook.status, "topic": hook.topic, "resource": resource,
            "event": event, "hooks": [], "delivery_url": hook.delivery_url,
            "date_created": local(hook.created), "date_created_gmt": text::iso(hook.created),
            "date_modified": local(hook.modified), "date_modified_gmt": text::iso(hook.modified),
        }))
    }

    pub(super) fn create_webhook(&mut self, body: &Map<String, Value>, now: i64) -> Result<u64, Refusal> {
        let topic = body.get("topic").map(as_text).unwrap_or_default();
        if !is_topic(&topic) {
            let message = "Webhook topic is required and must be valid.";
            return Err(Refusal::new(
                400,
                "woocommerce_rest_shop_webhook_invalid_topic",
                message,
            ));
        }
        let mut book = self.webhooks.lock();
        book.next += 1;
        let mut hook = Hook {
            id: book.next,
            name: format!("Webhook created on {}", text::iso(now)),
            status: "active".to_owned(),
            topic,
            delivery_url: String::new(),
            secret: format!("{:032x}", rand::random::<u128>()),
            created: now,
            modified: now,
            failures: 0,
        };
        hook.apply(body);
        if !hook.delivery_url.starts_with("http") {
            let message = "Webhook delivery URL must be a valid URL starting with http:// or https://.";
            let code = "woocommerce_rest_shop_webhook_invalid_delivery_url";
            return Err(Refusal::new(400, code, message));
        }
        let (id, key) = (hook.id, hook.key());
        book.hooks.insert(id, hook);
        book.queue.push_front((Instant::now(), Job::Ping { hook: id }));
        drop(book);
        self.webhooks.wake.notify_one();
        self.ledger.lives("webhook", id, vec![key.clone()], self.origin());
        self.felt("webhook", Operation::Created, id, Some(key), true);
        Ok(id)
    }

    /// Changes a webhook. One that is active again still remembers its failures.
    pub(super) fn update_webhook(
        &mut self,
        id: u64,
        body: &Map<String, Value>,
        now: i64,
    ) -> Result<(), Refusal> {
        let mut book = self.webhooks.lock();
        let hook = book.hooks.get_mut(&id).ok_or_else(|| unknown(400))?;
        hook.apply(body);
        hook.modified = now;
        let key = hook.key();
        drop(book);
        self.felt("webhook", Operation::Updated, id, Some(key), true);
        Ok(())
    }

    pub(super) fn remove_webhook(&mut self, id: u64) {
        let removed = self.webhooks.lock().hooks.remove(&id);
        if let Some(hook) = removed {
            self.ledger.is_gone("webhook", id);
            self.felt("webhook", Operation::Deleted, id, Some(hook.key()), true);
        }
    }

    pub(super) fn disable_webhook(&self, id: u64) {
        self.webhooks.set_status(id, "disabled");
    }

    /// Tells the webhooks of an effect. A new variation counts as a new product, a changed one tells nothing; a refund is a
    /// change of its order.
    pub(super) fn announce(&self, entity: &str, operation: Operation, id: u64, thing: u64) {
        let verb = match operation {
            Operation::Created => "created",
            Operation::Updated => "updated",
            Operation::Deleted => "deleted",
        };
        match (entity, operation) {
            ("product" | "customer" | "order", _) => self.webhooks.note(&format!("{entity}.{verb}"), id),
            ("variation", Operation::Created) => self.webhooks.note("product.created", id),
            ("stock", _) if id == thing => self.webhooks.note("product.updated", id),
            ("refund", _) => self.webhooks.note("order.updated", thing),
            _ => {}
        }
    }

    /// Takes the next job that is due; else says when there is one.
    fn next_delivery(&self) -> Result<Outgoing, Option<Instant>> {
        loop {
            let mut book = self.webhooks.lock();
            let next = book.queue.iter().enumerate().min_by_key(|(_, (at, _))| *at);
            let Some((position, at)) = next.map(|(position, (at, _))| (position, *at)) else {
                return Err(None);
            };
            if at > Instant::now() {
                return Err(Some(at));
            }
            let Some((_, job)) = book.queue.remove(position) else {
                return Err(None);
            };
            let id = match job {
                Job::Ping { hook } | Job::Tell { hook, .. } => hook,
            };
            let hook = book.hooks.get(&id).cloned();
            drop(book);
            match (job, hook) {
                (Job::Ping { hook: id }, Some(hook)) => {
                    let form = "application/x-www-form-urlencoded".to_owned();
                    return Ok(Outgoing {
                        url: hook.delivery_url,
                        headers: vec![("Content-Type", form)],
                        body: format!("webhook_id={id}"),
                        delivery: None,
                    });
                }
                (Job::Tell { thing, .. }, Some(hook)) if hook.status == "active" => {
                    return Ok(self.outgoing(&hook, thing));
                }
                (Job::Ping { .. } | Job::Tell { .. }, _) => {}
            }
        }
    }

    /// Puts a delivery together: the thing as it is by now.
    fn outgoing(&self, hook: &Hook, thing: u64) -> Outgoing {
        let (resource, event) = hook.topic.split_once('.').unwrap_or_default();
        let shown = match (resource, event) {
            (_, "deleted") => None,
            ("product", _) => self.product(thing).map(|product| {
                if product.is_variation() {
                    self.render_variation(product, Context::View)
                } else {
                    self.render_product(product, Context::View)
                }
            }),
            ("customer", _) => Resource::Customers.render(self, thing, Context::View).ok(),
            ("order", _) => Resource::Orders.render(self, thing, Context::View).ok(),
            _ => None,
        };
        let body = shown.unwrap_or_else(|| json!({ "id": thing })).to_string();
        let key = hook.secret.as_bytes();
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        mac.update(body.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let delivery = Delivery {
            webhook: hook.id,
            topic: hook.topic.clone(),
            id: format!("{:032x}", rand::random::<u128>()),
            signature,
            body: body.clone(),
            status: None,
        };
        Outgoing {
            url: hook.delivery_url.clone(),
            headers: vec![
                ("Content-Type", "application/json".to_owned()),
                (
                    "User-Agent",
                    "WooCommerce/11.0.1 Hookshot (WordPress/7.0.4)".to_owned(),
                ),
                ("X-WC-Webhook-Source", format!("{}/", self.base_url)),
                ("X-WC-Webhook-Topic", hook.topic.clone()),
                ("X-WC-Webhook-Resource", resource.to_owned()),
                ("X-WC-Webhook-Event", event.to_owned()),
                ("X-WC-Webhook-Signature", delivery.signature.clone()),
                ("X-WC-Webhook-ID", hook.id.to_string()),
                ("X-WC-Webhook-Delivery-ID", delivery.id.clone()),
            ],
            body,
            delivery: Some(delivery),
        }
    }

    fn delivered(&self, delivery: Delivery) {
        let mut book = self.webhooks.lock();
        if let Some(hook) = book.hooks.get_mut(&delivery.webhook) {
            if delivery.status.is_some_and(|status| (200..300).contains(&status)) {
                hook.failures = 0;
            } else {
                hook.failures += 1;
                if hook.failures >= FAILURE_LIMIT {
                    "disabled".clone_into(&mut hook.status);
                }
            }
        }
        book.deliveries.push(delivery);
    }
}

impl Hook {
    fn apply(&mut self, body: &Map<String, Value>) {
        let fields = [
            ("name", &mut self.name),
            ("status", &mut self.status),
            ("topic", &mut self.topic),
            ("delivery_url", &mut self.delivery_url),
            ("secret", &mut self.secret),
        ];
        for (name, field) in fields {
            if let Some(value) = body.get(name) {
                *field = as_text(value);
            }
        }
    }

    fn key(&self) -> String {
        format!("{} {}", self.topic, self.delivery_url)
    }
}

fn unknown(status: u16) -> Refusal {
    Refusal::new(status, "woocommerce_rest_shop_webhook_invalid_id", "Invalid ID.")
}

fn is_topic(topic: &str) -> bool {
    match topic.split_once('.') {
        Some(("product" | "order" | "customer" | "coupon", "created" | "updated" | "deleted")) => true,
        Some(("product" | "order", "restored")) => true,
        Some(("action", hook)) => !hook.is_empty(),
        Some(_) | None => false,
    }
}

/// Delivers for as long as the shop is there.
pub(super) async fn deliver(site: Weak<Site>) {
    loop {
        let (next, wake) = {
            let Some(site) = site.upgrade() else {
                return;
            };
            let shop = site.lock();
            (shop.next_delivery(), Arc::clone(&shop.webhooks.wake))
        };
        match next {
            Ok(outgoing) => {
                let sent = tokio::time::timeout(TIMEOUT, send(&outgoing)).await;
                let status = sent.ok().and_then(Result::ok);
                if let (Some(delivery), Some(site)) = (outgoing.delivery, site.upgrade()) {
                    site.lock().delivered(Delivery { status, ..delivery });
                }
            }
            Err(None) => wake.notified().await,
            Err(Some(at)) => {
                tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = wake.notified() => {}
                }
            }
        }
    }
}

/// Posts to an address without TLS, and reads the status of the answer.
async fn send(outgoing: &Outgoing) -> std::io::Result<u16> {
    let wrong = || std::io::Error::other("no such receiver");
    let rest = outgoing.url.strip_prefix("http://").ok_or_else(wrong)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host).await?;
    let mut head = format!("POST /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in &outgoing.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let _ = write!(head, "Content-Length: {}\r\n\r\n", outgoing.body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(outgoing.body.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.ok_or_else(wrong)
}

#[cfg(test)]
mod tests;
