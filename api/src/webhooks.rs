//! The webhooks of a connection: whether a store is to tell of changes, and whether it does.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use lockstep_shared::connection;
use lockstep_shared::db::OrgTx;
use lockstep_shared::id::ConnectionId;
use lockstep_shared::secret::{Owner, Sealed};
use lockstep_shared::system::System;
use lockstep_shared::webhook::{self, HookState as CanonicalState, Status, Subscription, Wish};
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::{Authenticated, Session, commit};
use crate::body::{self, Body, FromBody};
use crate::document::Tag;
use crate::problem::{Kind, Refused, WrongField, failed};
use crate::random;

/// Bytes of a secret, drawn at random: as many as the hash that it is used with has.
const SECRET_BYTES: usize = 32;

/// Whether webhooks are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields, example)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PutWebhooksRequest {
    /// Whether the store is to tell of changes.
    enabled: bool,
}

impl FromBody for PutWebhooksRequest {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        body::read(json)
    }
}

impl Example for PutWebhooksRequest {
    fn example() -> Self {
        Self { enabled: true }
    }
}

/// Whether a store delivers. `paused`: somebody paused it in the store, which is left alone. `disabled`: the store gave up
/// after several deliveries that failed; a worker enables it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", remote = "CanonicalState")]
pub(crate) enum WebhookState {
    Active,
    Paused,
    Disabled,
}

/// A webhook that a store has for us.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct Webhook {
    /// Its identifier in the store.
    external_id: String,
    /// What it tells of, such as `order.updated`.
    topic: String,
    /// Whether the store delivers.
    state: WebhookState,
}

/// The webhooks of a connection: what is wanted, and what the last look at the store saw.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none, example)]
pub(crate) struct ConnectionWebhooks {
    /// Whether the store is to tell of changes.
    enabled: bool,
    /// Whether a worker still has something to do about it, or does it just now.
    is_pending: bool,
    /// Where the store delivers to; left out where webhooks were never wanted.
    delivery_url: Option<String>,
    /// What the last look saw.
    webhooks: Vec<Webhook>,
    /// When that was; left out where nobody has looked yet.
    looked_at: Option<DateTime<Utc>>,
    /// Looks that found a webhook disabled, since a delivery arrived last.
    disabled_count: i32,
    /// Why the store did not do what it was asked, or could not be looked at.
    error: Option<String>,
}

impl ConnectionWebhooks {
    fn of(subscription: Option<Subscription>) -> Self {
        let Some(subscription) = subscription else {
            return Self {
                enabled: false,
                is_pending: false,
                delivery_url: None,
                webhooks: Vec::new(),
                looked_at: None,
                disabled_count: 0,
                error: None,
            };
        };
        let is_pending = match subscription.status {
            Status::Idle => false,
            Status::Running => true,
            // What is queued besides is the next regular look.
            Status::Queued => subscription
                .looked_at
                .is_none_or(|looked| looked < subscription.requested_at),
        };
        let hooks = subscription.hooks.into_iter().map(|hook| Webhook {
            external_id: hook.external_id,
            topic: hook.topic,
            state: hook.state.into(),
        });
        Self {
            enabled: subscription.is_wanted,
            is_pending,
            delivery_url: Some(subscription.delivery_url),
            webhooks: hooks.collect(),
            looked_at: subscription.looked_at,
            disabled_count: subscription.disabled_count,
            error: subscription.error,
        }
    }
}

impl Example for ConnectionWebhooks {
    fn example() -> Self {
        Self {
            enabled: true,
            is_pending: false,
            delivery_url: Some(
                "https://lockstep.example.com/webhooks/woocommerce/01983f5e-7c00-7000-8000-000000000001"
                    .to_owned(),
            ),
            webhooks: vec![Webhook {
                external_id: "7".to_owned(),
                topic: "order.updated".to_owned(),
                state: WebhookState::Active,
            }],
            looked_at: Some(DateTime::UNIX_EPOCH + chrono::Duration::days(20_500)),
            disabled_count: 0,
            error: None,
        }
    }
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Shown {
    /// The webhooks.
    #[oai(status = 200, content_type = "application/json")]
    All(Json<ConnectionWebhooks>),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Accepted {
    /// A worker sees to it; getting the webhooks shows what becomes of it.
    #[oai(status = 202, content_type = "application/json")]
    Wanted(Json<ConnectionWebhooks>),
}

pub(crate) struct Webhooks;

#[OpenApi(prefix_path = "/api/v1/connections", tag = "Tag::Connections")]
impl Webhooks {
    /// Get a connection's webhooks
    ///
    /// Returns whether a store is to tell of changes, and what the last look at its webhooks saw.
    #[oai(
        path = "/:connectionId/webhooks",
        method = "get",
        operation_id = "getConnectionWebhooks"
    )]
    async fn get(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the connection.
        #[oai(name = "connectionId")]
        Path(connection_id): Path<Uuid>,
    ) -> Result<Shown, Refused> {
        let id = ConnectionId(connection_id);
        let mut tx = session.begin().await?;
        find(&mut tx, &session, id).await?;
        let found = subscription(&mut tx, &session, id).await?;
        Ok(Shown::All(Json(ConnectionWebhooks::of(found))))
    }

    /// Put a connection's webhooks
    ///
    /// Has a WooCommerce store tell of changes, or stop telling: a worker makes its webhooks there, watches them, and takes
    /// them away again. What changed is read by a small sync within seconds. A schedule stays necessary: a store does not
    /// deliver twice, and tells of no deletion that is acted on. Odoo has nothing like it, and is read by schedules.
    #[oai(
        path = "/:connectionId/webhooks",
        method = "put",
        operation_id = "putConnectionWebhooks"
    )]
    async fn put(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the connection.
        #[oai(name = "connectionId")]
        Path(connection_id): Path<Uuid>,
        /// Whether they are wanted.
        Body(request): Body<PutWebhooksRequest>,
    ) -> Result<Accepted, Refused> {
        let (org, id) = (session.org(), ConnectionId(connection_id));
        let mut tx = session.begin().await?;
        if find(&mut tx, &session, id).await?.system != System::Woocommerce {
            return Err(Refused::conflict(
                Kind::NoWebhooks,
                "only WooCommerce has webhooks; changes in Odoo are found by schedules",
            ));
        }
        let before = subscription(&mut tx, &session, id).await?;
        match wish(&session, id, request.enabled, before.as_ref())? {
            Some(wish) => webhook::want(&mut tx, org, id, &wish)
                .await
                .map_err(failed("could not store what is wanted"))?,
            // Nothing was ever wanted, and nothing is.
            None => return Ok(Accepted::Wanted(Json(ConnectionWebhooks::of(None)))),
        }
        let details = json!({ "connectionId": id, "enabled": request.enabled });
        session
            .record(&mut tx, "connection.webhooks_changed", details)
            .await?;
        let after = subscription(&mut tx, &session, id).await?;
        commit(tx).await?;
        Ok(Accepted::Wanted(Json(ConnectionWebhooks::of(after))))
    }
}

async fn find(
    tx: &mut OrgTx,
    session: &Session,
    id: ConnectionId,
) -> Result<connection::Connection, Refused> {
    connection::find(tx, session.org(), id)
        .await
        .map_err(failed("could not read a connection"))?
        .ok_or_else(|| Refused::not_found("there is no such connection"))
}

async fn subscription(
    tx: &mut OrgTx,
    session: &Session,
    id: ConnectionId,
) -> Result<Option<Subscription>, Refused> {
    webhook::find(tx, session.org(), id)
        .await
        .map_err(failed("could not read a connection's webhooks"))
}

/// Returns what is to be stored; `None` where there is nothing to be turned off.
fn wish(
    session: &Session,
    id: ConnectionId,
    is_wanted: bool,
    before: Option<&Subscription>,
) -> Result<Option<Wish>, Refused> {
    let delivery_url = match (&session.context.public_url, before) {
        _ if !is_wanted && before.is_none() => return Ok(None),
        (Some(public), _) => format!("{public}{}", webhook::path(id)),
        // Whatever is there can be taken away.
        (None, Some(before)) if !is_wanted => before.delivery_url.clone(),
        (None, _) => {
            return Err(Refused::conflict(
                Kind::NoPublicUrl,
                "this installation does not know its public address, to which a store could deliver: its operator has to set \
                 `LOCKSTEP_PUBLIC_URL`",
            ));
        }
    };
    // The secret stays while it can be opened: deliveries that are on their way are signed with it.
    let kept = before.map(|before| &before.sealed);
    let kept = kept.filter(|sealed| {
        session
            .context
            .sealing_key
            .open(session.org(), Owner::Webhook(id), sealed)
            .is_ok()
    });
    let sealed = match kept {
        Some(sealed) => sealed.clone(),
        None => new_secret(session, id)?,
    };
    Ok(Some(Wish {
        is_wanted,
        delivery_url,
        sealed,
        requested_by: session.caller.subject.clone(),
    }))
}

fn new_secret(session: &Session, id: ConnectionId) -> Result<Sealed, Refused> {
    let plain = URL_SAFE_NO_PAD.encode(random::bytes::<SECRET_BYTES>()?);
    let key = &session.context.sealing_key;
    Ok(key.seal(random::bytes()?, session.org(), Owner::Webhook(id), &plain))
}
