//! Public keys of the issuer of tokens, read from the address that the operator configured (RFC 7517) and kept.
//!
//! Whoever sends a token chooses its key id, so that asking anew is bounded: one request at a time, and at most one in
//! [`JwksOptions::refresh_every`], however many unknown ids come.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::StreamExt;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use lockstep_shared::telemetry::Chain;
use serde_json::Value;

use crate::config::JwksOptions;

/// Age at which keys are asked for again, though they are known: one that was taken away must not hold for long.
const FRESH_FOR: Duration = Duration::from_mins(10);
/// Age at which keys no longer count, though the issuer can't be reached to renew them.
const KEPT_FOR: Duration = Duration::from_hours(1);
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most keys that are kept.
const KEY_LIMIT: usize = 50;
/// Longest document that is read, in bytes.
const BODY_LIMIT: usize = 256 * 1024;
/// Fewest bytes of an RSA modulus: 2,048 bits, after RFC 7518, section 3.3.
const RSA_BYTES: usize = 256;

/// A key, and the one algorithm that it is good for.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) decoding: DecodingKey,
    pub(crate) algorithm: Algorithm,
}

/// The keys can't be had for the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the issuer's keys can't be read for the moment")]
pub(crate) struct Unavailable;

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the issuer's keys could not be fetched")]
    Http(#[source] reqwest::Error),
    #[error("the issuer answered with {0}")]
    Status(reqwest::StatusCode),
    #[error("the issuer's keys are larger than {BODY_LIMIT} bytes")]
    TooLarge,
    #[error("the issuer's keys can't be read")]
    Unreadable(#[source] serde_json::Error),
    #[error("the issuer has no key that could be used")]
    None,
}

#[derive(Default)]
struct Known {
    keys: HashMap<String, Arc<Key>>,
    fetched_at: Option<Instant>,
    tried_at: Option<Instant>,
}

/// What to do about a key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Use,
    /// Good enough for this time, but old.
    UseAndRenew,
    Fetch,
    /// The issuer has no such key, as far as may be asked.
    Refuse,
    /// Nothing is known, and it is too soon to ask again.
    Wait,
}

impl Known {
    fn step(&self, kid: &str, now: Instant, refresh_every: Duration) -> Step {
        let age = self.fetched_at.map(|at| now.saturating_duration_since(at));
        let may_ask = self
            .tried_at
            .is_none_or(|at| now.saturating_duration_since(at) >= refresh_every);
        let counts = age.is_some_and(|age| age < KEPT_FOR);
        match (counts && self.keys.contains_key(kid), may_ask) {
            (true, true) if age.is_some_and(|age| age >= FRESH_FOR) => Step::UseAndRenew,
            (true, _) => Step::Use,
            (false, true) => Step::Fetch,
            (false, false) if counts => Step::Refuse,
            (false, false) => Step::Wait,
        }
    }
}

/// The issuer's keys.
pub(crate) struct Jwks {
    client: reqwest::Client,
    options: JwksOptions,
    known: RwLock<Known>,
    /// Held by whoever asks the issuer.
    asking: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Jwks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwks")
            .field("url", &self.options.url.as_str())
            .finish_non_exhaustive()
    }
}

impl Jwks {
    pub(crate) fn new(options: JwksOptions) -> Result<Self, reqwest::Error> {
        // A second call finds the provider in place, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("Lockstep/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            client,
            options,
            known: RwLock::default(),
            asking: tokio::sync::Mutex::new(()),
        })
    }

    /// Finds the key of an id; `None` where the issuer has none.
    pub(crate) async fn find(&self, kid: &str) -> Result<Option<Arc<Key>>, Unavailable> {
        match self.step(kid) {
            Step::Use | Step::Refuse => return Ok(self.get(kid)),
            Step::Wait => return Err(Unavailable),
            Step::UseAndRenew => {
                // Whoever comes while somebody asks takes what is there.
                if let Ok(_asking) = self.asking.try_lock() {
                    self.renew().await;
                }
                return Ok(self.get(kid));
            }
            Step::Fetch => {}
        }
        let _asking = self.asking.lock().await;
        // Somebody may have asked while we waited for our turn.
        match self.step(kid) {
            Step::Fetch => self.renew().await,
            Step::Use | Step::UseAndRenew | Step::Refuse => {}
            Step::Wait => return Err(Unavailable),
        }
        match self.step(kid) {
            Step::Wait => Err(Unavailable),
            _ => Ok(self.get(kid)),
        }
    }

    fn step(&self, kid: &str) -> Step {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.step(kid, Instant::now(), self.options.refresh_every)
    }

    fn get(&self, kid: &str) -> Option<Arc<Key>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.keys.get(kid).cloned()
    }

    /// Asks the issuer. What it says replaces what was known; without an answer that stays.
    async fn renew(&self) {
        let fetched = self.fetch().await;
        let now = Instant::now();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.tried_at = Some(now);
        match fetched {
            Ok(keys) => {
                tracing::debug!(keys = keys.len(), "the issuer's keys were read");
                known.keys = keys;
                known.fetched_at = Some(now);
            }
            Err(error) => tracing::warn!(error = %Chain(&error), "the issuer's keys stay as they were"),
        }
    }

    async fn fetch(&self) -> Result<HashMap<String, Arc<Key>>, FetchError> {
        let request = self.client.get(self.options.url.clone());
        let response = request.send().await.map_err(FetchError::Http)?;
        if !response.status().is_success() {
            return Err(FetchError::Status(response.status()));
        }
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(FetchError::Http)?);
            if body.len() > BODY_LIMIT {
                return Err(FetchError::TooLarge);
            }
        }
        let keys = read(&body)?;
        if keys.is_empty() {
            return Err(FetchError::None);
        }
        Ok(keys)
    }
}

/// Reads the keys of a document; passes by what can't be used, because an issuer may have keys of any kind.
fn read(body: &[u8]) -> Result<HashMap<String, Arc<Key>>, FetchError> {
    #[derive(serde::Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }

    let set: Set = serde_json::from_slice(body).map_err(FetchError::Unreadable)?;
    let usable = set.keys.into_iter().filter_map(|key| {
        let jwk: Jwk = serde_json::from_value(key).ok()?;
        Some((jwk.common.key_id.clone()?, Arc::new(usable(&jwk)?)))
    });
    Ok(usable.take(KEY_LIMIT).collect())
}

/// A key's kind alone says which algorithm it is for: no token chooses it. A symmetric key is never one.
fn usable(jwk: &Jwk) -> Option<Key> {
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) if modulus_bytes(&rsa.n)? >= RSA_BYTES => {
            (Algorithm::RS256, KeyAlgorithm::RS256)
        }
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    let signs = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let is_for_it = jwk.common.key_algorithm.is_none_or(|given| given == named);
    if !signs || !is_for_it {
        return None;
    }
    Some(Key {
        decoding: DecodingKey::from_jwk(jwk).ok()?,
        algorithm,
    })
}

fn modulus_bytes(n: &str) -> Option<usize> {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let bytes = URL_SAFE_NO_PAD.decode(n).ok()?;
    Some(bytes.iter().skip_while(|byte| **byte == 0).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    fn known(fetched: Option<u64>, tried: Option<u64>) -> (Known, Instant) {
        let now = Instant::now() + Duration::from_hours(10);
        let ago = |secs: Option<u64>| secs.and_then(|secs| now.checked_sub(Duration::from_secs(secs)));
        let key = Key {
            decoding: DecodingKey::from_secret(b"of no matter here"),
            algorithm: Algorithm::RS256,
        };
        let known = Known {
            keys: HashMap::from([("a".to_owned(), Arc::new(key))]),
            fetched_at: ago(fetched),
            tried_at: ago(tried),
        };
        (known, now)
    }

    #[test]
    fn the_issuer_is_asked_for_what_is_unknown_or_old_and_not_too_often() {
        for (fetched, tried, kid, step) in [
            (None, None, "a", Step::Fetch),
            (None, Some(1), "a", Step::Wait),
            (None, Some(31), "a", Step::Fetch),
            (Some(1), Some(1), "a", Step::Use),
            (Some(1), Some(1), "b", Step::Refuse),
            (Some(31), Some(31), "b", Step::Fetch),
            (Some(31), Some(1), "b", Step::Refuse),
            (Some(599), Some(599), "a", Step::Use),
            (Some(601), Some(601), "a", Step::UseAndRenew),
            (Some(601), Some(1), "a", Step::Use),
            (Some(3_601), Some(31), "a", Step::Fetch),
            (Some(3_601), Some(1), "a", Step::Wait),
        ] {
            let (known, now) = known(fetched, tried);
            assert_eq!(
                known.step(kid, now, EVERY),
                step,
                "R42: {fetched:?} {tried:?} {kid}"
            );
        }
    }

    #[test]
    fn only_public_keys_for_signing_are_taken() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"; // RFC 8037, appendix A.2
        let body = serde_json::json!({ "keys": [
            { "kty": "OKP", "crv": "Ed25519", "kid": "good", "x": x },
            { "kty": "OKP", "crv": "Ed25519", "kid": "named", "x": x, "use": "sig", "alg": "EdDSA" },
            { "kty": "OKP", "crv": "Ed25519", "x": x },
            { "kty": "OKP", "crv": "Ed25519", "kid": "encrypts", "x": x, "use": "enc" },
            { "kty": "OKP", "crv": "Ed25519", "kid": "other", "x": x, "alg": "RS256" },
            { "kty": "oct", "kid": "secret", "k": "c2VjcmV0", "alg": "HS256" },
            { "kty": "RSA", "kid": "short", "n": "AQAB", "e": "AQAB" },
            { "kty": "strange", "kid": "strange" },
            "nothing",
        ]});

        let keys = read(body.to_string().as_bytes()).unwrap();

        let mut kept: Vec<&str> = keys.keys().map(String::as_str).collect();
        kept.sort_unstable();
        assert_eq!(kept, ["good", "named"], "R42");
        assert!(keys.values().all(|key| key.algorithm == Algorithm::EdDSA), "R42");
    }
}
