//! A store's webhooks (facts/systems.md A10, facts/mapping-woocommerce.md §9).

use std::time::Instant;

use async_trait::async_trait;
use lockstep_shared::webhook::{Hook, HookState};
use reqwest::StatusCode;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;

use super::error::{self, Kind};
use super::pull::Window;
use super::{SYSTEM, WooCommerce, parsed};
use crate::connector::webhook::{Change, Receiver, Seen, Webhooks};
use crate::connector::{CallError, Gate};

/// What a store is to tell of. Deletions are not among it: a page of changes doesn't show them, and a full scan finds them.
const TOPICS: &[&str] = &[
    "customer.created",
    "customer.updated",
    "product.created",
    "product.updated",
    "product.restored",
    "order.created",
    "order.updated",
    "order.restored",
];

/// A webhook as the store shows it; its secret is never shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wire {
    id: u64,
    name: String,
    status: String,
    topic: String,
    delivery_url: String,
}

impl From<Wire> for Seen {
    fn from(wire: Wire) -> Self {
        Self {
            hook: Hook {
                external_id: wire.id.to_string(),
                topic: wire.topic,
                state: match wire.status.as_str() {
                    "active" => HookState::Active,
                    "paused" => HookState::Paused,
                    _ => HookState::Disabled,
                },
            },
            name: wire.name,
            delivery_url: wire.delivery_url,
        }
    }
}

#[async_trait]
impl Webhooks for WooCommerce {
    fn topics(&self) -> &'static [&'static str] {
        TOPICS
    }

    async fn list(&self, gate: &dyn Gate) -> Result<Vec<Seen>, CallError> {
        let mut found: Vec<Wire> = Vec::new();
        loop {
            let params = vec![
                ("per_page", Window::LIMIT.to_string()),
                ("offset", found.len().to_string()),
                ("orderby", "id".to_owned()),
                ("order", "asc".to_owned()),
            ];
            let page = self.list(gate, "webhooks", params).await?;
            let is_last = page.len() < Window::LIMIT;
            found.append(&mut parsed(page));
            if is_last {
                return Ok(found.into_iter().map(Seen::from).collect());
            }
        }
    }

    async fn send(&self, change: &Change, receiver: &Receiver, deadline: Instant) -> Result<(), CallError> {
        let body = |topic: &str| {
            json!({
                "name": receiver.name(topic), "topic": topic, "delivery_url": receiver.delivery_url,
                "secret": receiver.secret.expose_secret(), "status": "active",
            })
        };
        let request = match change {
            Change::Create { topic } => self.request("POST", "webhooks", Vec::new()).json(&body(topic)),
            Change::Renew { external_id, topic } => self
                .request("PUT", &format!("webhooks/{external_id}"), Vec::new())
                .json(&body(topic)),
            Change::Remove { external_id } => {
                // There is no trash for them.
                let params = vec![("force", "true".to_owned())];
                self.request("DELETE", &format!("webhooks/{external_id}"), params)
            }
        };
        let answer = self.http.write(SYSTEM, request, deadline).await?;
        if matches!(change, Change::Remove { .. }) && answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        error::body(&answer, Kind::Write).map(|_| ())
    }
}
