//! Sealing secrets: authenticated encryption under the operator's key, bound to the organisation and to what the secret is
//! of: a connection, an endpoint.
//!
//! A sealed text is a nonce followed by the ciphertext of ChaCha20-Poly1305 (RFC 8439). Because organisation and
//! owner are part of what is authenticated, a row copied to another tenant can't be opened there.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::id::OrgId;

const NONCE_BYTES: usize = 12;

/// The operator's key, from `INTEGRATION_ENCRYPTION_KEY`.
#[derive(Clone)]
pub struct SealingKey {
    cipher: ChaCha20Poly1305,
    id: String,
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealingKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    #[error("the encryption key must be 32 bytes in base64, such as `openssl rand -base64 32` prints")]
    Key,
    #[error("the secret was sealed with key `{sealed}`, but this process holds key `{held}`")]
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
    /// Reads a key from its base64 form.
    pub fn parse(text: &SecretString) -> Result<Self, SecretError> {
        let bytes = STANDARD
            .decode(text.expose_secret().trim())
            .map_err(|_| SecretError::Key)?;
        let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| SecretError::Key)?;
        // The id tells keys apart without telling anything of the key.
        let id = hex::encode(&Sha256::digest([b"lockstep key id".as_slice(), &key].concat())[..6]);
        Ok(Self {
            cipher: ChaCha20Poly1305::new(&Key::from(key)),
            id,
        })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Seals a text. The nonce is drawn by the caller and must never be used twice.
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], org: OrgId, owner: impl Into<Uuid>, plain: &str) -> Sealed {
        let payload = Payload {
            msg: plain.as_bytes(),
            aad: &associated(org, owner.into()),
        };
        let ciphertext = self
            .cipher
            .encrypt(&Nonce::from(nonce), payload)
            .expect("a text in memory is below the cipher's limit");
        Sealed {
            bytes: [nonce.as_slice(), &ciphertext].concat(),
            key_id: self.id.clone(),
        }
    }

    /// Opens a sealed text.
    pub fn open(
        &self,
        org: OrgId,
        owner: impl Into<Uuid>,
        sealed: &Sealed,
    ) -> Result<SecretString, SecretError> {
        if sealed.key_id != self.id {
            return Err(SecretError::OtherKey {
                sealed: sealed.key_id.clone(),
                held: self.id.clone(),
            });
        }
        let (nonce, ciphertext) = sealed
            .bytes
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(SecretError::Broken)?;
        let payload = Payload {
            msg: ciphertext,
            aad: &associated(org, owner.into()),
        };
        let plain = self
            .cipher
            .decrypt(&Nonce::from(*nonce), payload)
            .map_err(|_| SecretError::Broken)?;
        String::from_utf8(plain)
            .map(SecretString::from)
            .map_err(|_| SecretError::Broken)
    }
}

fn associated(org: OrgId, owner: Uuid) -> Vec<u8> {
    [org.0.as_bytes().as_slice(), owner.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ConnectionId;

    fn key(byte: u8) -> SealingKey {
        SealingKey::parse(&STANDARD.encode([byte; 32]).into()).unwrap()
    }

    fn ids() -> (OrgId, ConnectionId) {
        (OrgId(Uuid::from_u128(1)), ConnectionId(Uuid::from_u128(2)))
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
    fn a_key_of_another_length_is_refused() {
        assert_eq!(
            SealingKey::parse(&"c2hvcnQ=".to_owned().into()).unwrap_err(),
            SecretError::Key
        );
    }
}
