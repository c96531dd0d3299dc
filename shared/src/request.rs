//! Requests that may be sent again: what was answered to each `Idempotency-Key`, for a day (R46).
//!
//! The row is stored in the transaction that makes what was asked for: a crash leaves both or none.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::id::OrgId;
use crate::secret::Sealed;

/// A request as its sender may repeat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The sender's `Idempotency-Key`, 1 to 255 characters.
    pub key: String,
    /// Method and address.
    pub operation: String,
    /// SHA-256 of the body.
    pub body_hash: [u8; 32],
}

/// What was answered to a request.
#[derive(Clone, Debug)]
pub struct Answered {
    /// What the sealed body belongs to.
    pub request_id: Uuid,
    pub operation: String,
    pub body_hash: Vec<u8>,
    pub status: i32,
    /// Names with their values.
    pub headers: Value,
    pub sealed_body: Sealed,
}

impl Answered {
    /// Says whether it was the answer to this very request.
    pub fn answers(&self, asked: &Asked) -> bool {
        self.operation == asked.operation && self.body_hash == asked.body_hash
    }
}

/// Waits until no other request of the same key is under way, up to so many milliseconds, and holds the key until the
/// transaction ends. `false` where another one takes longer; then the transaction can't be used any more.
pub async fn hold(
    db: &mut PgConnection,
    org: OrgId,
    key: &str,
    patience_ms: u32,
) -> Result<bool, sqlx::Error> {
    set_lock_timeout(db, patience_ms).await?;
    let held = sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended('lockstep.request', 0) # hashtextextended($1, 0))::text",
        format!("{org} {key}"),
    )
    .fetch_one(&mut *db)
    .await;
    match held {
        Ok(_) => {
            set_lock_timeout(db, 0).await?;
            Ok(true)
        }
        // 55P03: the lock was not to be had in time
        Err(error)
            if error
                .as_database_error()
                .and_then(sqlx::error::DatabaseError::code)
                .is_some_and(|code| code == "55P03") =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

async fn set_lock_timeout(db: &mut PgConnection, timeout_ms: u32) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select set_config('lock_timeout', $1, true)",
        timeout_ms.to_string()
    )
    .fetch_one(db)
    .await?;
    Ok(())
}

/// Finds what was answered under a key within the last day.
pub async fn find(db: &mut PgConnection, org: OrgId, key: &str) -> Result<Option<Answered>, sqlx::Error> {
    let row = sqlx::query!(
        "select request_id, operation, body_hash, status, headers, sealed_body, key_id
           from idempotent_request
          where org_id = $1 and idempotency_key = $2 and created_at > lockstep_now() - interval '24 hours'",
        org as _,
        key,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Answered {
        request_id: row.request_id,
        operation: row.operation,
        body_hash: row.body_hash,
        status: row.status,
        headers: row.headers,
        sealed_body: Sealed {
            bytes: row.sealed_body,
            key_id: row.key_id,
        },
    }))
}

/// Stores what is answered to a request, in the place of an answer that is older than a day. The caller holds the key.
pub async fn store(
    db: &mut PgConnection,
    org: OrgId,
    key: &str,
    answered: &Answered,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into idempotent_request
                (org_id, idempotency_key, request_id, operation, body_hash, status, headers, sealed_body, key_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict (org_id, idempotency_key) do update
            set request_id = excluded.request_id, operation = excluded.operation, body_hash = excluded.body_hash,
                status = excluded.status, headers = excluded.headers, sealed_body = excluded.sealed_body,
                key_id = excluded.key_id, created_at = excluded.created_at",
        org as _,
        key,
        answered.request_id,
        answered.operation,
        answered.body_hash,
        answered.status,
        answered.headers,
        answered.sealed_body.bytes,
        answered.sealed_body.key_id,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes away answers that are older than a day, of all organisations, up to so many. Returns how many.
pub async fn forget(db: &mut PgConnection, most: i32) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select fleet_forget_requests($1) as "count!""#, most)
        .fetch_one(db)
        .await
}
