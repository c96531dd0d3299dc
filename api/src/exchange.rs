//! Requests that are sent again. A POST with an `Idempotency-Key` is carried out once: its answer is stored in the
//! transaction that makes what it asks for, and given again to whoever sends the same (R46).
//!
//! It stands around the operations and not in them. What an operation commits is only put down here; once its answer is
//! known, both are committed together. An operation that is refused leaves nothing, and its key stays free.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use lockstep_shared::db::OrgTx;
use lockstep_shared::id::OrgId;
use lockstep_shared::request::{self, Answered, Asked};
use lockstep_shared::secret::{Owner, SealingKey};
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{IntoResponse, Request, Response};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::problem::{Kind, Refused, WrongField, failed};
use crate::random;

const KEY: &str = "idempotency-key";
const REPLAYED: &str = "idempotency-replayed";
const KEY_LIMIT: usize = 255;
/// How long the second of two equal requests waits for the first.
const PATIENCE_MS: u32 = 5_000;
/// What belongs to the answer, and not to the one time that it is given.
const KEPT_HEADERS: [HeaderName; 2] = [header::CONTENT_TYPE, header::LOCATION];

/// A request with a key, from its arrival to its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    key: String,
    operation: String,
    body_hash: OnceLock<[u8; 32]>,
    place: Mutex<Place>,
}

#[derive(Debug)]
enum Place {
    /// Nothing was committed.
    Open,
    /// What the operation committed, as far as it knows.
    Done { tx: OrgTx, org: OrgId },
    /// It was answered before.
    Replay(Answered, OrgId),
}

impl Exchange {
    /// Reads a request's key; none where it has none, or where it makes nothing.
    pub(crate) fn of(request: &Request) -> Result<Option<Arc<Self>>, Refused> {
        if request.method() != Method::POST {
            return Ok(None);
        }
        let Some(key) = key(request.headers())? else {
            return Ok(None);
        };
        let address = request
            .uri()
            .path_and_query()
            .map_or("", poem::http::uri::PathAndQuery::as_str);
        Ok(Some(Arc::new(Self {
            key,
            operation: format!("POST {address}"),
            body_hash: OnceLock::new(),
            place: Mutex::new(Place::Open),
        })))
    }

    /// Notes the request's body.
    pub(crate) fn note_body(&self, body: &[u8]) {
        let _ = self.body_hash.set(Sha256::digest(body).into());
    }

    /// Holds the key for the operation's transaction. Refused where it is another request's, or where its own answer is
    /// known already, which is then given in the place of the refusal.
    pub(crate) async fn enter(&self, tx: &mut OrgTx, org: OrgId) -> Result<(), Refused> {
        let is_held = request::hold(tx, org, &self.key, PATIENCE_MS)
            .await
            .map_err(failed("could not hold an idempotency key"))?;
        if !is_held {
            return Err(Refused::conflict(
                Kind::RequestUnderWay,
                "a request with this `Idempotency-Key` is still being carried out; send it again in a moment",
            ));
        }
        let answered = request::find(tx, org, &self.key)
            .await
            .map_err(failed("could not look an idempotency key up"))?;
        let Some(answered) = answered else {
            return Ok(());
        };
        if !answered.answers(&self.asked()) {
            return Err(Refused::key_reused());
        }
        self.put(Place::Replay(answered, org));
        Err(Refused::conflict(Kind::RequestUnderWay, "it was answered before"))
    }

    /// Puts down what the operation commits, until its answer is known.
    pub(crate) fn put_down(&self, tx: OrgTx, org: OrgId) {
        self.put(Place::Done { tx, org });
    }

    /// Takes it up again, where the operation goes on after it: all of it is one transaction.
    pub(crate) fn take_up(&self) -> Option<OrgTx> {
        match self.take() {
            Place::Done { tx, .. } => Some(tx),
            other @ (Place::Open | Place::Replay(..)) => {
                self.put(other);
                None
            }
        }
    }

    /// Ends the exchange: commits what was made together with its answer, or gives the answer that was given before.
    pub(crate) async fn end(&self, response: Response, keys: &SealingKey) -> Response {
        let ended = match self.take() {
            Place::Open => return response,
            // What went wrong after it leaves nothing: a transaction that is dropped is rolled back.
            Place::Done { .. } if response.status().is_server_error() => return response,
            Place::Done { tx, org } => self.store(tx, org, response, keys).await,
            Place::Replay(answered, org) => replay(&answered, org, keys),
        };
        ended.unwrap_or_else(IntoResponse::into_response)
    }

    async fn store(
        &self,
        mut tx: OrgTx,
        org: OrgId,
        mut response: Response,
        keys: &SealingKey,
    ) -> Result<Response, Refused> {
        let body = response
            .take_body()
            .into_string()
            .await
            .map_err(|error| Refused::internal("an answer can't be read", &error))?;
        let request_id = Uuid::now_v7();
        let asked = self.asked();
        let answered = Answered {
            request_id,
            operation: asked.operation,
            body_hash: asked.body_hash.to_vec(),
            status: response.status().as_u16().into(),
            headers: kept(response.headers()),
            sealed_body: keys.seal(random::bytes()?, org, Owner::Request(request_id), &body),
        };
        request::store(&mut tx, org, &self.key, &answered)
            .await
            .map_err(failed("could not store an answer"))?;
        tx.commit().await.map_err(failed("could not commit"))?;
        response.set_body(body);
        Ok(response)
    }

    fn asked(&self) -> Asked {
        Asked {
            key: self.key.clone(),
            operation: self.operation.clone(),
            body_hash: *self.body_hash.get_or_init(|| Sha256::digest([]).into()),
        }
    }

    fn put(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    fn take(&self) -> Place {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *place, Place::Open)
    }
}

/// Reads the header: 1 to 255 visible characters of ASCII.
fn key(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let mut given = headers.get_all(KEY).iter();
    let (first, second) = (given.next(), given.next());
    let Some(first) = first else {
        return Ok(None);
    };
    let is_plain = |key: &HeaderValue| {
        (1..=KEY_LIMIT).contains(&key.len()) && key.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    match first.to_str() {
        Ok(key) if second.is_none() && is_plain(first) => Ok(Some(key.to_owned())),
        _ => {
            let message = format!("must be given once, with 1 to {KEY_LIMIT} visible characters of ASCII");
            let wrong = WrongField::new("Idempotency-Key", message);
            Err(Refused::malformed(
                "the header `Idempotency-Key` is wrong",
                vec![wrong],
            ))
        }
    }
}

fn kept(headers: &HeaderMap) -> serde_json::Value {
    let kept: BTreeMap<&str, &str> = KEPT_HEADERS
        .iter()
        .filter_map(|name| Some((name.as_str(), headers.get(name)?.to_str().ok()?)))
        .collect();
    serde_json::to_value(kept).expect("texts are plain JSON")
}

fn replay(answered: &Answered, org: OrgId, keys: &SealingKey) -> Result<Response, Refused> {
    let body = keys
        .open(org, Owner::Request(answered.request_id), &answered.sealed_body)
        .map_err(|error| Refused::internal("a stored answer can't be opened", &error))?;
    let status = u16::try_from(answered.status)
        .ok()
        .and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = Response::builder()
        .status(status.unwrap_or(StatusCode::OK))
        .body(body.expose_secret().to_owned());
    for (name, value) in answered.headers.as_object().into_iter().flatten() {
        let value = value.as_str().and_then(|value| value.parse().ok());
        if let (Ok(name), Some(value)) = (name.parse::<HeaderName>(), value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(keys: &[&str]) -> Result<Option<String>, Refused> {
        let mut headers = HeaderMap::new();
        for one in keys {
            headers.append(KEY, HeaderValue::from_str(one).unwrap());
        }
        key(&headers)
    }

    #[test]
    fn a_key_is_read_or_refused() {
        assert_eq!(keyed(&[]).unwrap(), None);
        assert_eq!(keyed(&["a-1"]).unwrap().as_deref(), Some("a-1"), "R46");
        for wrong in [vec![""], vec!["a b"], vec!["a", "a"]] {
            assert!(keyed(&wrong).is_err(), "R46: {wrong:?}");
        }
        assert!(keyed(&["x".repeat(256).as_str()]).is_err(), "R46");
    }
}
