//! Changing the sealing key: what another key sealed is opened and sealed anew, one row a transaction, beside running
//! processes (R70).

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::db::{self, Isolation};
use crate::id::OrgId;
use crate::secret::{Owner, Sealed, SealingKey, SecretError};
use crate::telemetry::Chain;
use secrecy::ExposeSecret;

/// Rows that are looked up at once.
const PAGE: i32 = 100;

/// What changing the key came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    /// Sealed anew.
    pub sealed: u64,
    /// Not to be opened with any key that is held: left as they are.
    pub left: u64,
}

/// Something sealed, whichever organisation it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    org: OrgId,
    owner: Owner,
}

impl Found {
    fn position(self) -> (OrgId, &'static str, Uuid) {
        let (kind, id) = self.owner.parts();
        (self.org, kind, id)
    }
}

/// Seals everything anew that another key than the newest sealed. A row that somebody else changes meanwhile stays as they
/// leave it. Run again, it goes on where it was stopped. `nonce` draws a new one each time.
pub async fn rotate(
    pool: &PgPool,
    keys: &SealingKey,
    mut nonce: impl FnMut() -> [u8; 12],
) -> Result<Rotated, sqlx::Error> {
    let mut rotated = Rotated::default();
    let mut after = (OrgId(Uuid::nil()), "", Uuid::nil());
    loop {
        let mut db = pool.acquire().await?;
        let page = sealed_otherwise(&mut db, keys.id(), after).await?;
        drop(db);
        let Some(last) = page.last() else {
            return Ok(rotated);
        };
        after = last.position();
        for found in page {
            match seal_anew(pool, keys, found, nonce()).await? {
                Ok(is_changed) => rotated.sealed += u64::from(is_changed),
                Err(error) => {
                    rotated.left += 1;
                    let (org, kind, id) = found.position();
                    tracing::warn!(error = %Chain(&error), org.id = %org, sealed.kind = kind, sealed.id = %id, "what is sealed can't be opened");
                }
            }
        }
    }
}

async fn sealed_otherwise(
    db: &mut PgConnection,
    newest: &str,
    (org, kind, id): (OrgId, &str, Uuid),
) -> Result<Vec<Found>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select org_id as "org_id!: OrgId", kind as "kind!", id as "id!"
          from fleet_sealed_otherwise($1, $2, $3, $4, $5)
        "#,
        newest,
        org as _,
        kind,
        id,
        PAGE,
    )
    .fetch_all(db)
    .await?;
    let found = rows.into_iter().map(|row| {
        let owner = Owner::of_parts(&row.kind, row.id).ok_or_else(|| {
            sqlx::Error::Decode(format!("`{}` is no kind of sealed thing", row.kind).into())
        })?;
        Ok(Found {
            org: row.org_id,
            owner,
        })
    });
    found.collect()
}

/// Seals one thing anew. `false` where it is gone or was changed meanwhile.
async fn seal_anew(
    pool: &PgPool,
    keys: &SealingKey,
    found: Found,
    nonce: [u8; 12],
) -> Result<Result<bool, SecretError>, sqlx::Error> {
    let Found { org, owner } = found;
    let mut tx = db::begin(pool, org, Isolation::ReadCommitted).await?;
    let Some(old) = read(&mut tx, found).await? else {
        return Ok(Ok(false));
    };
    let new = match keys.open(org, owner, &old) {
        Ok(plain) => keys.seal(nonce, org, owner, plain.expose_secret()),
        Err(error) => return Ok(Err(error)),
    };
    let is_changed = replace(&mut tx, found, &old, &new).await?;
    tx.commit().await?;
    Ok(Ok(is_changed))
}

async fn read(db: &mut PgConnection, Found { org, owner }: Found) -> Result<Option<Sealed>, sqlx::Error> {
    match owner {
        Owner::Connection(connection) => crate::connection::sealed(db, org, connection).await,
        Owner::Request(id) => sqlx::query_as!(
            Sealed,
            "select sealed_body as bytes, key_id from idempotent_request where org_id = $1 and request_id = $2",
            org as _,
            id,
        )
        .fetch_optional(db)
        .await,
        Owner::Webhook(connection) => sqlx::query_as!(
            Sealed,
            "select sealed_secret as bytes, key_id from connection_webhook where org_id = $1 and connection_id = $2",
            org as _,
            connection as _,
        )
        .fetch_optional(db)
        .await,
        Owner::Endpoint(endpoint) => sqlx::query_as!(
            Sealed,
            "select sealed_secret as bytes, key_id from notification_endpoint where org_id = $1 and endpoint_id = $2",
            org as _,
            endpoint as _,
        )
        .fetch_optional(db)
        .await,
    }
}

async fn replace(
    db: &mut PgConnection,
    Found { org, owner }: Found,
    old: &Sealed,
    new: &Sealed,
) -> Result<bool, sqlx::Error> {
    let replace = match owner {
        Owner::Connection(connection) => sqlx::query!(
            "update connection set sealed_credentials = $3, key_id = $4
              where org_id = $1 and connection_id = $2 and sealed_credentials = $5 and deleted_at is null",
            org as _,
            connection as _,
            new.bytes,
            new.key_id,
            old.bytes,
        ),
        Owner::Request(id) => sqlx::query!(
            "update idempotent_request set sealed_body = $3, key_id = $4
              where org_id = $1 and request_id = $2 and sealed_body = $5",
            org as _,
            id,
            new.bytes,
            new.key_id,
            old.bytes,
        ),
        Owner::Webhook(connection) => sqlx::query!(
            "update connection_webhook set sealed_secret = $3, key_id = $4
              where org_id = $1 and connection_id = $2 and sealed_secret = $5",
            org as _,
            connection as _,
            new.bytes,
            new.key_id,
            old.bytes,
        ),
        Owner::Endpoint(endpoint) => sqlx::query!(
            "update notification_endpoint set sealed_secret = $3, key_id = $4
              where org_id = $1 and endpoint_id = $2 and sealed_secret = $5",
            org as _,
            endpoint as _,
            new.bytes,
            new.key_id,
            old.bytes,
        ),
    };
    Ok(replace.execute(db).await?.rows_affected() == 1)
}
