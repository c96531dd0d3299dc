//! API keys: what programs prove themselves by. The secret is shown once, when the key is made; the database has its hash.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use subtle::ConstantTimeEq;

use crate::id::{ApiKeyId, OrgId};
use crate::role::Role;

/// What every key begins with, so that scanners for leaked secrets can know one.
pub const PREFIX: &str = "lsk_";

/// A key as its owner has it: `lsk_<id>_<secret>`, both in hexadecimal.
pub struct Key {
    pub id: ApiKeyId,
    secret: [u8; 32],
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// Puts a key together from 256 random bits.
    pub const fn new(id: ApiKeyId, secret: [u8; 32]) -> Self {
        Self { id, secret }
    }

    /// Reads a key; `None` for what is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        // A UUID has other forms, too, and a secret may be in capitals: one key, one text.
        let is_plain = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if id.len() != 32 || secret.len() != 64 || !is_plain(id) || !is_plain(secret) {
            return None;
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(secret, &mut bytes).ok()?;
        Some(Self::new(id.parse().ok()?, bytes))
    }

    /// Writes the key out, for its owner.
    pub fn reveal(&self) -> SecretString {
        format!("{}_{}", prefix(self.id), hex::encode(self.secret)).into()
    }

    /// Returns the hash that is stored.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    /// Says whether this is the secret of a hash, and takes as long wherever they differ.
    pub fn opens(&self, hash: &[u8]) -> bool {
        self.hash().ct_eq(hash).into()
    }
}

/// Returns the part of a key that may be shown.
pub fn prefix(id: ApiKeyId) -> String {
    format!("{PREFIX}{}", id.0.simple())
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    pub key_id: ApiKeyId,
    pub secret_hash: [u8; 32],
    pub name: String,
    pub role: Role,
    /// Who made it.
    pub created_by: String,
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key as it is shown.
#[derive(Clone, Debug)]
pub struct ApiKey {
    pub key_id: ApiKeyId,
    pub name: String,
    pub role: Role,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    /// To the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

/// What a request's key is compared with.
#[derive(Clone, Debug)]
pub struct Known {
    pub org: OrgId,
    pub secret_hash: Vec<u8>,
    pub role: Role,
    /// Neither revoked nor expired.
    pub is_usable: bool,
    /// Its last use was not noted within the last minute.
    pub is_use_to_be_noted: bool,
}

/// Stores a key.
pub async fn create(db: &mut PgConnection, org: OrgId, new: &NewApiKey) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into api_key (org_id, key_id, secret_hash, name, role, created_by, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
        org as _,
        new.key_id as _,
        &new.secret_hash[..],
        new.name,
        new.role as _,
        new.created_by,
        new.expires_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Lists an organisation's keys, newest first, those that are revoked included.
pub async fn list(
    db: &mut PgConnection,
    org: OrgId,
    before: Option<ApiKeyId>,
    limit: i64,
) -> Result<Vec<ApiKey>, sqlx::Error> {
    sqlx::query_as!(
        ApiKey,
        r#"
        select key_id as "key_id: ApiKeyId", name, role as "role: Role", created_by, created_at, expires_at, last_used_at,
               revoked_at
          from api_key
         where org_id = $1 and ($2::uuid is null or key_id < $2)
         order by key_id desc
         limit $3
        "#,
        org as _,
        before as _,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Finds one key.
pub async fn find(db: &mut PgConnection, org: OrgId, id: ApiKeyId) -> Result<Option<ApiKey>, sqlx::Error> {
    sqlx::query_as!(
        ApiKey,
        r#"
        select key_id as "key_id: ApiKeyId", name, role as "role: Role", created_by, created_at, expires_at, last_used_at,
               revoked_at
          from api_key
         where org_id = $1 and key_id = $2
        "#,
        org as _,
        id as _,
    )
    .fetch_optional(db)
    .await
}

/// Revokes a key. `false` where there is none, or it is revoked already.
pub async fn revoke(db: &mut PgConnection, org: OrgId, id: ApiKeyId) -> Result<bool, sqlx::Error> {
    let revoked = sqlx::query!(
        "update api_key set revoked_at = lockstep_now() where org_id = $1 and key_id = $2 and revoked_at is null",
        org as _,
        id as _,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(revoked == 1)
}

/// Finds what a key is compared with, before it is known whose it is.
pub async fn known(db: &mut PgConnection, id: ApiKeyId) -> Result<Option<Known>, sqlx::Error> {
    sqlx::query_as!(
        Known,
        r#"
        select org_id as "org!: OrgId", secret_hash as "secret_hash!", role as "role!: Role", is_usable as "is_usable!",
               is_use_to_be_noted as "is_use_to_be_noted!"
          from fleet_api_key($1)
        "#,
        id as _,
    )
    .fetch_optional(db)
    .await
}

/// Notes that a key was used, unless that was noted within the last minute.
pub async fn note_use(db: &mut PgConnection, org: OrgId, id: ApiKeyId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update api_key set last_used_at = lockstep_now()
          where org_id = $1 and key_id = $2
            and (last_used_at is null or last_used_at <= lockstep_now() - interval '1 minute')",
        org as _,
        id as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;
    use uuid::Uuid;

    use super::*;

    proptest! {
        #[test]
        fn a_key_is_read_as_it_was_written(id in any::<u128>(), secret in any::<[u8; 32]>()) {
            let key = Key::new(ApiKeyId(Uuid::from_u128(id)), secret);

            let read = Key::parse(key.reveal().expose_secret()).unwrap();

            prop_assert_eq!(read.id, key.id);
            prop_assert!(read.opens(&key.hash()), "R42");
        }

        #[test]
        fn another_secret_does_not_open(secret in any::<[u8; 32]>(), bit in 0_usize..256) {
            let mut other = secret;
            other[bit / 8] ^= 1 << (bit % 8);
            let id = ApiKeyId(Uuid::from_u128(7));

            prop_assert!(!Key::new(id, other).opens(&Key::new(id, secret).hash()), "R42");
        }

        #[test]
        fn any_other_text_is_no_key(text in "(lsk_)?[0-9a-fA-F_-]{0,100}") {
            if let Some(key) = Key::parse(&text) {
                let revealed = key.reveal();
                prop_assert_eq!(revealed.expose_secret(), text.as_str());
            }
        }
    }

    #[test]
    fn a_secret_is_neither_stored_nor_shown() {
        let key = Key::new(ApiKeyId(Uuid::from_u128(7)), [0xab; 32]);

        assert_ne!(key.hash(), [0xab; 32], "R42");
        assert!(!key.opens(&[]) && !key.opens(&[0xab; 32]), "R42");
        assert!(!format!("{key:?}").contains("ab"), "R70: {key:?}");
    }
}
