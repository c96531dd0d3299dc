//! How a call proves who sends it: Basic over https, a signature of OAuth 1.0a over http.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use url::Url;

/// What RFC 3986 leaves unencoded (facts/mapping-woocommerce.md §8).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The parameters of a query, in the order in which they are sent.
pub(super) type Params = Vec<(&'static str, String)>;

/// A key of WooCommerce's REST API. Its `Debug` shows neither half.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) consumer_key: SecretString,
    pub(super) consumer_secret: SecretString,
}

/// What makes one signature different from every other: a nonce used again is refused with 401, and a timestamp more
/// than 15 minutes off as well, so each try needs its own (facts/mapping-woocommerce.md §8).
#[derive(Clone, Debug)]
pub(super) struct Stamp {
    pub(super) timestamp: i64,
    pub(super) nonce: String,
}

impl Keys {
    /// Returns what of them goes along with a call.
    pub(super) fn secrets(&self) -> [SecretString; 3] {
        let (key, secret) = (
            self.consumer_key.expose_secret(),
            self.consumer_secret.expose_secret(),
        );
        let basic = STANDARD.encode(format!("{key}:{secret}"));
        [
            self.consumer_key.clone(),
            self.consumer_secret.clone(),
            basic.into(),
        ]
    }

    /// Returns the parameters with the signature's own. Lists have to be comma lists: `include[]` is refused with 401
    /// (facts/mapping-woocommerce.md §8). A JSON body is not signed.
    pub(super) fn signed(&self, method: &str, endpoint: &Url, mut params: Params, stamp: Stamp) -> Params {
        params.push(("oauth_consumer_key", self.consumer_key.expose_secret().to_owned()));
        params.push(("oauth_nonce", stamp.nonce));
        params.push(("oauth_signature_method", "HMAC-SHA256".to_owned()));
        params.push(("oauth_timestamp", stamp.timestamp.to_string()));
        let base = base_string(method, endpoint, &params);
        params.push(("oauth_signature", self.signature(&base)));
        params
    }

    /// The key is the secret and `&`: there is no token (facts/mapping-woocommerce.md §8).
    fn signature(&self, base: &str) -> String {
        let key = format!("{}&", self.consumer_secret.expose_secret());
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(base.as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }
}

/// Puts together what is signed: method, address without query, and the parameters in the order of their encoded
/// names, each encoded twice (facts/mapping-woocommerce.md §8).
fn base_string(method: &str, endpoint: &Url, params: &[(&'static str, String)]) -> String {
    let mut pairs: Vec<(String, String)> = params
        .iter()
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort();
    let joined = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&");
    let mut address = endpoint.clone();
    address.set_query(None);
    address.set_fragment(None);
    format!("{method}&{}&{}", encode(address.as_str()), encode(&joined))
}

/// Writes parameters as a query. By hand, because a form's encoding has `+` for a space and signs differently.
pub(super) fn query(params: &[(&'static str, String)]) -> String {
    let mut query = String::new();
    for (name, value) in params {
        let separator = if query.is_empty() { "" } else { "&" };
        write!(query, "{separator}{}={}", encode(name), encode(value))
            .expect("a string takes what is written");
    }
    query
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys {
            consumer_key: "ck_1".into(),
            consumer_secret: "cs_2".into(),
        }
    }

    fn stamp() -> Stamp {
        Stamp {
            timestamp: 1_795_372_140,
            nonce: "abc".to_owned(),
        }
    }

    #[test]
    fn the_base_string_is_sorted_and_encoded_twice() {
        let endpoint = "http://shop.test:8880/store/wp-json/wc/v3/products"
            .parse()
            .unwrap();
        let params = vec![
            ("sku", "A B,ü+%".to_owned()),
            ("context", "edit".to_owned()),
            ("oauth_nonce", "n".to_owned()),
        ];

        assert_eq!(
            base_string("GET", &endpoint, &params),
            "GET&http%3A%2F%2Fshop.test%3A8880%2Fstore%2Fwp-json%2Fwc%2Fv3%2Fproducts\
             &context%3Dedit%26oauth_nonce%3Dn%26sku%3DA%2520B%252C%25C3%25BC%252B%2525"
        );
    }

    /// The signature was computed apart with Python's `hmac`.
    #[test]
    fn a_signature_is_the_hmac_of_the_base_string() {
        let endpoint: Url = "http://127.0.0.1:8880/wp-json/wc/v3/products".parse().unwrap();

        let params = keys().signed("GET", &endpoint, vec![("per_page", "1".to_owned())], stamp());

        let names: Vec<_> = params.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "per_page",
                "oauth_consumer_key",
                "oauth_nonce",
                "oauth_signature_method",
                "oauth_timestamp",
                "oauth_signature"
            ]
        );
        assert_eq!(params[5].1, "e9f62w5KM+8cWdAI6b7ekJqlh9r1t2xUvm91BCOW2ok=");
    }

    #[test]
    fn a_query_has_no_plus_for_a_space_and_keeps_a_plus() {
        let params = vec![
            ("email", "kim+shop@example.com".to_owned()),
            ("sku", "a b".to_owned()),
        ];

        assert_eq!(query(&params), "email=kim%2Bshop%40example.com&sku=a%20b");
    }

    #[test]
    fn keys_are_not_shown() {
        let shown = format!("{:?}", keys());

        assert!(!shown.contains("ck_1") && !shown.contains("cs_2"), "{shown}");
    }
}
