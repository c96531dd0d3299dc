//! Deliveries of webhooks: a store tells that something changed. Nobody signs in for that; the body's signature says who it
//! is from. A delivery is only noted: a worker starts a small sync for what it told of.
//!
//! The signature is of the body alone. So the id and the topic in the headers prove nothing: whoever sends a body again
//! under another id costs a sync that finds nothing to do, and many of them cost one.

use std::sync::Arc;
use std::time::Duration;

use lockstep_shared::db::{self, Isolation};
use lockstep_shared::id::ConnectionId;
use lockstep_shared::webhook::{self, Receiver};
use lockstep_shared::{telemetry::Chain, trigger};
use poem::http::{Method, StatusCode};
use poem::web::{Data, Path};
use poem::{Body, IntoResponse, Request, Response, handler};
use secrecy::SecretString;

use crate::auth::Context;
use crate::body;
use crate::problem::{Kind, Refused, WrongField, failed, without_bearer, wrong_method};
use lockstep_shared::secret::Owner;

/// Largest body: an order or a product as the store's REST API shows it.
const BODY_LIMIT: usize = 4 << 20;

const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);

/// Longest id of a delivery, and longest topic, in bytes.
const HEADER_LIMIT: usize = 200;

/// Takes a delivery of a WooCommerce store (facts/systems.md A10).
///
/// Answers 200 to what was noted, to what was noted before, and to what nobody cares for; and to the ping that a webhook
/// sends when it is made, which is not signed and has no effect.
#[handler]
pub(crate) async fn woocommerce(
    request: &Request,
    body: Body,
    Path(connection): Path<String>,
    Data(context): Data<&Arc<Context>>,
) -> Response {
    if request.method() != Method::POST {
        return wrong_method("POST");
    }
    match take(request, body, &connection, context).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refused) => refused,
    }
}

async fn take(request: &Request, body: Body, connection: &str, context: &Context) -> Result<(), Response> {
    let refused = |refused: Refused| refused.into_response();
    let Ok(connection) = connection.parse::<ConnectionId>() else {
        return Err(refused(Refused::not_found("there is no such address")));
    };
    let bytes = tokio::time::timeout(ARRIVAL_LIMIT, body::arrive(body, BODY_LIMIT))
        .await
        .map_err(|_| refused(Refused::too_slow()))?
        .map_err(|_| refused(Refused::malformed("the body broke off", Vec::new())))?
        .ok_or_else(|| refused(Refused::too_large(BODY_LIMIT)))?;
    let Some(signature) = request.header("x-wc-webhook-signature") else {
        return if is_ping(&bytes) {
            Ok(())
        } else {
            Err(not_signed())
        };
    };
    let receiver = find(connection, context).await.map_err(refused)?;
    // Whether there is such a connection is not told to whoever can't sign for it.
    let Some((receiver, secret)) = receiver else {
        return Err(not_signed());
    };
    if !webhook::is_signed(&secret, &bytes, signature) {
        tracing::warn!(org.id = %receiver.org, connection.id = %connection, "a delivery's signature is wrong");
        return Err(not_signed());
    }
    let header = |name: &'static str| {
        let value = request.header(name);
        let value = value.filter(|value| (1..=HEADER_LIMIT).contains(&value.len()));
        value.ok_or_else(|| {
            let message = format!("must be given and have at most {HEADER_LIMIT} characters");
            let wrong = vec![WrongField::new(name, message)];
            Refused::malformed("the delivery lacks a header", wrong)
        })
    };
    let delivery_id = header("x-wc-webhook-delivery-id").map_err(refused)?;
    let topic = header("x-wc-webhook-topic").map_err(refused)?;
    note(context, (&receiver, connection), (delivery_id, topic))
        .await
        .map_err(refused)
}

/// Says whether a body is the form that a webhook sends when it is made: `webhook_id=1`.
fn is_ping(body: &[u8]) -> bool {
    let id = body.strip_prefix(b"webhook_id=");
    id.is_some_and(|id| (1..=20).contains(&id.len()) && id.iter().all(u8::is_ascii_digit))
}

fn not_signed() -> Response {
    without_bearer(
        Kind::WrongSignature,
        "the signature is not one of a webhook that delivers to this address",
    )
}

async fn find(
    connection: ConnectionId,
    context: &Context,
) -> Result<Option<(Receiver, SecretString)>, Refused> {
    let mut db = context
        .pool
        .acquire()
        .await
        .map_err(failed("could not reach the database"))?;
    let receiver = webhook::receiver(&mut db, connection)
        .await
        .map_err(failed("could not find who a delivery is for"))?;
    let Some(receiver) = receiver else {
        return Ok(None);
    };
    let opened = context
        .sealing_key
        .open(receiver.org, Owner::Webhook(connection), &receiver.sealed);
    let secret = opened.map_err(|error| {
        tracing::error!(error = %Chain(&error), connection.id = %connection, "a webhook's secret can't be opened: put the connection's webhooks again");
        Refused::internal("a delivery's signature can't be checked", &error)
    })?;
    Ok(Some((receiver, secret)))
}

/// Notes what a delivery told of. One that was noted before has no effect.
async fn note(
    context: &Context,
    (receiver, connection): (&Receiver, ConnectionId),
    (delivery_id, topic): (&str, &str),
) -> Result<(), Refused> {
    let org = receiver.org;
    let mut tx = db::begin(&context.pool, org, Isolation::ReadCommitted)
        .await
        .map_err(failed("could not begin a transaction"))?;
    let is_new = webhook::receive(&mut tx, org, connection, (delivery_id, topic))
        .await
        .map_err(failed("could not note a delivery"))?;
    let touched = webhook::touched_by(topic);
    if !is_new {
        tracing::debug!(org.id = %org, connection.id = %connection, delivery.id = delivery_id, "a delivery came again");
        return Ok(());
    }
    if !touched.is_empty() {
        trigger::touch(&mut tx, org, connection, touched)
            .await
            .map_err(failed("could not note what a delivery told of"))?;
    }
    tx.commit().await.map_err(failed("could not commit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_form_of_a_ping_is_one() {
        assert!(is_ping(b"webhook_id=1"));
        for body in [
            b"".as_slice(),
            b"webhook_id=",
            b"webhook_id=1&x=2",
            b"{\"webhook_id\":1}",
            b"webhook_id=123456789012345678901",
        ] {
            assert!(!is_ping(body));
        }
    }
}
