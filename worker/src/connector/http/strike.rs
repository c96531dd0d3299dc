//! Striking our own secrets out of what remote systems say (R70).

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

/// Stands in the place of a secret.
const STRUCK: &str = "[secret]";

/// Shorter ones are not looked for: too much else would be struck out.
const LENGTH_MIN: usize = 8;

/// Secrets that must not come back to us. `Debug` shows none.
#[derive(Clone, Debug, Default)]
pub(super) struct Secrets(Arc<[SecretString]>);

impl Secrets {
    pub(super) fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        let secrets = secrets.into_iter().flat_map(|secret| {
            // As PHP writes a slash in JSON.
            let plain = secret.expose_secret();
            let escaped = plain
                .contains('/')
                .then(|| SecretString::from(plain.replace('/', "\\/")));
            [Some(secret), escaped]
        });
        let secrets = secrets.flatten();
        Self(
            secrets
                .filter(|secret| secret.expose_secret().len() >= LENGTH_MIN)
                .collect(),
        )
    }

    /// Strikes the secrets out of an answer. One that is not UTF-8 is no JSON, and nobody passes its words on.
    pub(super) fn strike(&self, body: Vec<u8>) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(&body) else {
            return body;
        };
        let mut struck: Option<String> = None;
        for secret in self.0.iter().map(ExposeSecret::expose_secret) {
            let seen = struck.as_deref().unwrap_or(text);
            if seen.contains(secret) {
                struck = Some(seen.replace(secret, STRUCK));
            }
        }
        struck.map_or(body, String::into_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(secrets: &[&str], body: &[u8]) -> Vec<u8> {
        let secrets = secrets.iter().map(|secret| SecretString::from(*secret));
        Secrets::new(secrets).strike(body.to_vec())
    }

    #[test]
    fn every_secret_is_struck_out_wherever_it_stands() {
        let secrets = ["ck_12345", "cs_67890/ab+=", "short"];
        let body = br#"{"a": "ck_12345 and cs_67890/ab+=", "b": "cs_67890\/ab+= ck_12345", "c": "short"}"#;

        let body = struck(&secrets, body);

        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"a": "[secret] and [secret]", "b": "[secret] [secret]", "c": "short"}"#,
            "R70"
        );
    }

    #[test]
    fn what_holds_none_stays_as_it_is() {
        for body in [&b"{}"[..], b"", b"\xff ck_12345"] {
            assert_eq!(struck(&["ck_12345"], body), body);
        }
    }
}
