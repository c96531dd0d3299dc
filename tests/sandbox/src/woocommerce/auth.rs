//! Who is asking: Basic over TLS, key parameters over TLS, OAuth 1.0a anywhere (facts: systems A1, mapping 8).

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::refusal::Refusal;
use crate::server::Request;

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    Read,
    ReadWrite,
}

/// The result of looking at the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    Nobody,
    Key(Permission),
}

/// The keys of the shop and the nonces seen.
#[derive(Debug, Default)]
pub(super) struct Keys {
    secrets: HashMap<String, (String, Permission)>,
    nonces: HashMap<String, i64>,
}

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const WINDOW_SECS: i64 = 15 * 60;

impl Keys {
    pub(super) fn add(&mut self, key: String, secret: String, permission: Permission) {
        self.secrets.insert(key, (secret, permission));
    }

    /// Finds out who sent a request.
    pub(super) fn identify(
        &mut self,
        request: &Request,
        is_https: bool,
        now: i64,
    ) -> Result<Caller, Refusal> {
        let query = decoded_query(&request.query);
        if is_https {
            let by_query = query
                .get("consumer_key")
                .cloned()
                .zip(query.get("consumer_secret").cloned());
            if let Some((key, secret)) = by_query.or_else(|| basic(request)) {
                return self.check_secret(&key, &secret);
            }
        }
        let mut oauth = header_parameters(request);
        oauth.extend(
            query
                .iter()
                .filter(|(name, _)| name.starts_with("oauth_"))
                .map(clone_pair),
        );
        if oauth.contains_key("oauth_consumer_key") {
            return self.check_signature(request, is_https, oauth, now);
        }
        Ok(Caller::Nobody)
    }

    fn check_secret(&self, key: &str, secret: &str) -> Result<Caller, Refusal> {
        match self.secrets.get(key) {
            None => Ok(Caller::Nobody),
            Some((known, permission)) if known == secret => Ok(Caller::Key(*permission)),
            Some(_) => Err(refused("Consumer secret is invalid.")),
        }
    }

    fn check_signature(
        &mut self,
        request: &Request,
        is_https: bool,
        oauth: BTreeMap<String, String>,
        now: i64,
    ) -> Result<Caller, Refusal> {
        let value = |name: &str| oauth.get(name).cloned().unwrap_or_default();
        let names = [
            "oauth_timestamp",
            "oauth_nonce",
            "oauth_signature",
            "oauth_signature_method",
        ];
        if names.iter().any(|name| !oauth.contains_key(*name)) {
            return Err(refused("Missing OAuth parameters"));
        }
        let Some((secret, permission)) = self.secrets.get(&value("oauth_consumer_key")) else {
            return Err(refused("Consumer key is invalid."));
        };
        let (secret, permission) = (secret.clone(), *permission);
        let mut parameters = decoded_query(&request.query);
        let signature = value("oauth_signature").replace(' ', "+");
        let method = value("oauth_signature_method");
        let timestamp = value("oauth_timestamp").parse::<i64>().unwrap_or_default();
        let nonce = value("oauth_nonce");
        parameters.extend(oauth);
        parameters.remove("oauth_signature");
        let scheme = if is_https { "https" } else { "http" };
        let host = request.header("host").unwrap_or_default();
        let base = base_string(
            &request.method,
            &format!("{scheme}://{host}{}", request.path),
            &parameters,
        );
        let Some(expected) = sign(&method, &format!("{secret}&"), &base) else {
            return Err(refused("Invalid signature - signature method is invalid."));
        };
        // Names such as `include[]` never match, `include[0]` does (facts: mapping-woocommerce 8).
        if expected != signature || parameters.keys().any(|name| name.ends_with("[]")) {
            return Err(refused("Invalid signature - provided signature does not match."));
        }
        if (now - timestamp).abs() > WINDOW_SECS {
            return Err(refused("Invalid timestamp."));
        }
        self.nonces.retain(|_, at| (now - *at).abs() <= 2 * WINDOW_SECS);
        if self.nonces.insert(nonce, timestamp).is_some() {
            return Err(refused("Invalid nonce - nonce has already been used."));
        }
        Ok(Caller::Key(permission))
    }
}

fn clone_pair((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

fn refused(message: &str) -> Refusal {
    Refusal::new(401, "woocommerce_rest_authentication_error", message)
}

fn basic(request: &Request) -> Option<(String, String)> {
    let encoded = request.header("authorization")?.strip_prefix("Basic ")?;
    let plain = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    plain
        .split_once(':')
        .map(|(key, secret)| (key.to_owned(), secret.to_owned()))
}

fn header_parameters(request: &Request) -> BTreeMap<String, String> {
    let Some(list) = request
        .header("authorization")
        .and_then(|value| value.strip_prefix("OAuth "))
    else {
        return BTreeMap::new();
    };
    let pairs = list.split(',').filter_map(|pair| pair.trim().split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), unescape(value.trim_matches('"'))))
        .collect()
}

fn unescape(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Decodes a query string the way PHP does, `+` being a blank.
pub(super) fn decoded_query(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| {
            (
                unescape(&name.replace('+', " ")),
                unescape(&value.replace('+', " ")),
            )
        })
        .collect()
}

fn base_string(method: &str, url: &str, parameters: &BTreeMap<String, String>) -> String {
    let escape = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
    let mut pairs: Vec<(String, String)> = parameters
        .iter()
        .map(|(name, value)| (escape(name), escape(value)))
        .collect();
    pairs.sort();
    let joined = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&");
    format!("{method}&{}&{}", escape(url), escape(&joined))
}

fn sign(method: &str, key: &str, base: &str) -> Option<String> {
    let digest = match method {
        "HMAC-SHA256" => {
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).ok()?;
            mac.update(base.as_bytes());
            mac.finalize().into_bytes().to_vec()
        }
        "HMAC-SHA1" => {
            let mut mac = Hmac::<sha1::Sha1>::new_from_slice(key.as_bytes()).ok()?;
            mac.update(base.as_bytes());
            mac.finalize().into_bytes().to_vec()
        }
        _ => return None,
    };
    Some(STANDARD.encode(digest))
}

/// Signs a request for the tests of this crate.
#[cfg(test)]
pub(super) fn signature(
    method: &str,
    url: &str,
    parameters: &BTreeMap<String, String>,
    secret: &str,
) -> String {
    let base = base_string(method, url, parameters);
    sign("HMAC-SHA256", &format!("{secret}&"), &base).expect("the method is known")
}
