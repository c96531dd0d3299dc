//! Sealing secrets: authenticated encryption under the operator's key, bound to the organisation and to what the secret is
//! of: a connection, an endpoint.
//!
//! A sealed text is a nonce followed by the ciphertext of ChaCha20-Poly1305 (RFC 8439). Because organisation and
//! owner are part of what is authenticated, a row copied to another tenant can't be opened there.
//!
//! A key is changed in three steps, with every process running on: all of them are given the new key after the old one,
//! which opens both and goes on sealing with the old; then the new key before the old one; then `api rotate-keys` seals anew
//! what is left, and the old key can go.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::id::{ConnectionId, EndpointId, OrgId};

const NONCE_BYTES: usize = 12;

/// The operator's key, from `INTEGRATION_ENCRYPTION_KEY`, and the ones beside it that still open what they sealed.
#[derive(Clone)]
pub struct SealingKey {
    newest: OneKey,
    others: Vec<OneKey>,
}

#[derive(Clone)]
struct OneKey {
    cipher: ChaCha20Poly1305,
    id: String,
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealingKey")
            .field("id", &self.newest.id)
            .finish_non_exhaustive()
    }
}

/// What a sealed text belongs to: beside it, it can't be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The credentials of a connection.
    Connection(ConnectionId),
    /// The answer to a request that may be sent again.
    Request(Uuid),
    /// What a connection's store signs its deliveries with.
    Webhook(ConnectionId),
    /// What notifications to an endpoint are signed with.
    Endpoint(EndpointId),
}

impl Owner {
    /// Returns the name of its kind, and its id among those of the kind.
    pub const fn parts(self) -> (&'static str, Uuid) {
        match self {
            Self::Connection(connection) => ("connection", connection.0),
            Self::Request(id) => ("request", id),
            Self::Webhook(connection) => ("webhook", connection.0),
            Self::Endpoint(endpoint) => ("endpoint", endpoint.0),
        }
    }

    /// Reads it from its parts.
    pub fn of_parts(kind: &str, id: Uuid) -> Option<Self> {
        match kind {
            "connection" => Some(Self::Connection(ConnectionId(id))),
            "request" => Some(Self::Request(id)),
            "webhook" => Some(Self::Webhook(ConnectionId(id))),
            "endpoint" => Some(Self::Endpoint(EndpointId(id))),
            _ => None,
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    #[error(
        "the encryption key must be 32 bytes in base64, such as `openssl rand -base64 32` prints, or several of them with \
         commas between, the one that seals first"
    )]
    Key,
    #[error("the secret was sealed with key `{sealed}`, but this process holds `{held}`")]
    OtherKey { sealed: String, held: String },
    #[error("the sealed secret can't be opened: it was changed, or belongs to something else")]
    Broken,
}

/// Credentials as they are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub bytes: Vec<u8>,
    pub key_id: String,
}

impl SealingKey {
    /// Reads a key from its base64 form, or several with commas between: the first one seals, each opens what it sealed.
    pub fn parse(text: &SecretString) -> Result<Self, SecretError> {
        let mut keys = text.expose_secret().split(',').map(OneKey::parse);
        let newest = keys.next().ok_or(SecretError::Key)??;
        let others = keys.collect::<Result<_, _>>()?;
        Ok(Self { newest, others })
    }

    /// Returns the id of the key that seals.
    pub fn id(&self) -> &str {
        &self.newest.id
    }

    /// Seals a text. The nonce is drawn by the caller and must never be used twice.
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], org: OrgId, owner: Owner, plain: &str) -> Sealed {
        let payload = Payload {
            msg: plain.as_bytes(),
            aad: &associated(org, owner),
        };
        let ciphertext = self
            .newest
            .cipher
            .encrypt(&Nonce::from(nonce), payload)
            .expect("a text in memory is below the cipher's limit");
        Sealed {
            bytes: [nonce.as_slice(), &ciphertext].concat(),
            key_id: self.newest.id.clone(),
        }
    }

    /// Opens a sealed text.
    pub fn open(&self, org: OrgId, owner: Owner, sealed: &Sealed) -> Result<SecretString, SecretError> {
        let mut held = std::iter::once(&self.newest).chain(&self.others);
        let Some(key) = held.find(|key| key.id == sealed.key_id) else {
            let held = std::iter::once(&self.newest).chain(&self.others);
            return Err(SecretError::OtherKey {
                sealed: sealed.key_id.clone(),
                held: held.map(|key| key.id.as_str()).collect::<Vec<_>>().join(", "),
            });
        };
        let (nonce, ciphertext) = sealed
            .bytes
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(SecretError::Broken)?;
        let payload = Payload {
            msg: ciphertext,
            aad: &associated(org, owner),
        };
        let plain = key
            .cipher
            .decrypt(&Nonce::from(*nonce), payload)
            .map_err(|_| SecretError::Broken)?;
        String::from_utf8(plain)
            .map(SecretString::from)
            .map_err(|_| SecretError::Broken)
    }
}

impl OneKey {
    fn parse(text: &str) -> Result<Self, SecretError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| SecretError::Key)?;
        let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| SecretError::Key)?;
        // The id tells keys apart without telling anything of the key.
        let id = hex::encode(&Sha256::digest([b"lockstep key id".as_slice(), &key].concat())[..6]);
        Ok(Self {
            cipher: ChaCha20Poly1305::new(&Key::from(key)),
            id,
        })
    }
}

fn associated(org: OrgId, owner: Owner) -> Vec<u8> {
    let (kind, id) = owner.parts();
    [org.0.as_bytes().as_slice(), id.as_bytes(), kind.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealingKey {
        SealingKey::parse(&STANDARD.encode([byte; 32]).into()).unwrap()
    }

    fn ids() -> (OrgId, Owner) {
        (
            OrgId(Uuid::from_u128(1)),
            Owner::Connection(ConnectionId(Uuid::from_u128(2))),
        )
    }

    #[test]
    fn what_was_sealed_opens_for_its_own_connection_only() {
        let (org, connection) = ids();
        let sealed = key(1).seal([7; 12], org, connection, "ck_secret");

        assert_eq!(
            key(1).open(org, connection, &sealed).unwrap().expose_secret(),
            "ck_secret"
        );
        let other = OrgId(Uuid::from_u128(3));
        assert_eq!(
            key(1).open(other, connection, &sealed).unwrap_err(),
            SecretError::Broken
        );
        assert!(matches!(
            key(2).open(org, connection, &sealed).unwrap_err(),
            SecretError::OtherKey { .. }
        ));
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let (org, connection) = ids();
        let mut sealed = key(1).seal([7; 12], org, connection, "ck_secret");
        *sealed.bytes.last_mut().unwrap() ^= 1;

        assert_eq!(
            key(1).open(org, connection, &sealed).unwrap_err(),
            SecretError::Broken
        );
    }

    #[test]
    fn an_older_key_opens_what_it_sealed_and_the_first_one_seals() {
        let (org, connection) = ids();
        let (old, new) = (STANDARD.encode([1; 32]), STANDARD.encode([2; 32]));
        let both = SealingKey::parse(&format!("{new}, {old}").into()).unwrap();
        let sealed = key(1).seal([7; 12], org, connection, "ck_secret");

        let opened = both.open(org, connection, &sealed).unwrap();
        let anew = both.seal([8; 12], org, connection, opened.expose_secret());

        assert_eq!(anew.key_id, key(2).id(), "R70");
        assert_eq!(
            key(2).open(org, connection, &anew).unwrap().expose_secret(),
            "ck_secret",
            "R70"
        );
    }

    #[test]
    fn an_answer_does_not_open_as_credentials() {
        let (org, connection) = ids();
        let sealed = key(1).seal([7; 12], org, Owner::Request(connection.parts().1), "{}");

        assert_eq!(
            key(1).open(org, connection, &sealed).unwrap_err(),
            SecretError::Broken
        );
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        assert_eq!(
            SealingKey::parse(&"c2hvcnQ=".to_owned().into()).unwrap_err(),
            SecretError::Key
        );
    }
}
