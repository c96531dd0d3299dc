//! Connections that were deleted. Of the credentials nothing is left, but the row stays, and its items stay with the ids that
//! their things have in the remote: they are all that tells what is there already. Connecting the same store again takes
//! them up under the same identifier, so that nothing is made twice; what changed here meanwhile is due already, and what
//! changed there is read from the beginning.

use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::{CreateError, Credentials, NewConnection};
use crate::bucket;
use crate::id::{ConnectionId, OrgId, SyncId};
use crate::system::System;

/// Which system a connection leads to, whatever it is called and whoever logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity([u8; 32]);

impl Identity {
    /// Tells a store by its address, and an ERP by its address and its database; `http` or `https` is the same.
    pub fn of(base_url: &str, credentials: &Credentials) -> Self {
        let (_, address) = base_url.split_once("://").unwrap_or(("", base_url));
        let database = match credentials {
            Credentials::Woocommerce { .. } => "",
            Credentials::Odoo { database, .. } => database,
        };
        let mut hash = Sha256::new();
        for part in [
            credentials.system().name(),
            address.trim_end_matches('/'),
            database,
        ] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(hash.finalize().into())
    }
}

/// Why a connection can't be deleted now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Syncs work with it.
    InUse { syncs: Vec<SyncId> },
    /// Requests to it had no answer: whether they took effect is looked up by the next sync.
    InDoubt { effects: i64 },
}

/// Says what keeps a connection from being deleted, if anything does, and holds it so: no sync of the organisation starts
/// before the transaction ends.
pub async fn obstacle(
    db: &mut PgConnection,
    org: OrgId,
    id: ConnectionId,
) -> Result<Option<Obstacle>, sqlx::Error> {
    sqlx::query!(
        "select org_id from organisation where org_id = $1 for no key update",
        org as _
    )
    .fetch_one(&mut *db)
    .await?;
    let syncs = sqlx::query_scalar!(
        r#"
        select sync_id as "sync_id: SyncId"
          from sync_orchestration
         where org_id = $1 and status in ('draft', 'queued', 'processing', 'pausing', 'paused', 'cancelling')
           and connection_ids ? $2
         order by created_at
        "#,
        org as _,
        id.to_string(),
    )
    .fetch_all(&mut *db)
    .await?;
    if !syncs.is_empty() {
        return Ok(Some(Obstacle::InUse { syncs }));
    }
    let effects = sqlx::query_scalar!(
        r#"
        select count(*) as "count!"
          from sync_idempotency_log
         where org_id = $1 and connection_id = $2 and state in ('intended', 'in_doubt')
        "#,
        org as _,
        id as _,
    )
    .fetch_one(db)
    .await?;
    Ok((effects > 0).then_some(Obstacle::InDoubt { effects }))
}

/// Deletes a connection that nothing is in the way of: its credentials, its positions and its check go, its items stay.
/// Without an identity it is never taken up again. `false` where there is no such connection.
pub async fn archive(
    db: &mut PgConnection,
    org: OrgId,
    id: ConnectionId,
    identity: Option<Identity>,
) -> Result<bool, sqlx::Error> {
    let archived = sqlx::query!(
        "update connection
            set deleted_at = lockstep_now(), identity = $3, sealed_credentials = '', key_id = '', status = 'active',
                attention = null
          where org_id = $1 and connection_id = $2 and deleted_at is null",
        org as _,
        id as _,
        identity.map(|identity| identity.0.to_vec()),
    )
    .execute(&mut *db)
    .await?
    .rows_affected();
    // What a store goes on delivering is not for anyone here any more, and it gives up after a few refusals.
    sqlx::query!(
        "with cursors as (delete from pull_cursor where org_id = $1 and connection_id = $2),
              webhooks as (delete from connection_webhook where org_id = $1 and connection_id = $2),
              triggers as (delete from sync_trigger where org_id = $1 and connection_id = $2)
         delete from connection_check where org_id = $1 and connection_id = $2",
        org as _,
        id as _
    )
    .execute(db)
    .await?;
    Ok(archived == 1)
}

/// Finds the deleted connection that led to a system, the last one where there were several, and holds it.
pub async fn find(
    db: &mut PgConnection,
    org: OrgId,
    system: System,
    identity: Identity,
) -> Result<Option<ConnectionId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select connection_id as "connection_id: ConnectionId"
          from connection
         where org_id = $1 and system = $2 and identity = $3
         order by deleted_at desc
         limit 1
           for update
        "#,
        org as _,
        system as _,
        &identity.0[..],
    )
    .fetch_optional(db)
    .await
}

/// Takes a deleted connection up again, with everything that is said about the new one. The caller holds it.
pub async fn revive(db: &mut PgConnection, org: OrgId, new: &NewConnection) -> Result<(), CreateError> {
    sqlx::query!(
        "update connection
            set name = $3, base_url = $4, sealed_credentials = $5, key_id = $6, settings = $7, deleted_at = null,
                identity = null, credentials_set_at = lockstep_now()
          where org_id = $1 and connection_id = $2",
        org as _,
        new.connection_id as _,
        new.name,
        new.base_url,
        new.sealed.bytes,
        new.sealed.key_id,
        serde_json::to_value(&new.settings).expect("settings are plain JSON"),
    )
    .execute(&mut *db)
    .await
    .map_err(|error| super::not_stored(error, &new.name))?;
    bucket::limit_connection(db, org, new.connection_id, new.settings.requests_per_minute)
        .await
        .map_err(CreateError::Database)
}

/// Closes open conflicts of deleted connections, of all organisations, up to so many. Returns how many.
pub async fn close_conflicts(db: &mut PgConnection, most: i32) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select fleet_close_conflicts_of_deleted($1) as "count!""#, most)
        .fetch_one(db)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn erp(database: &str, login: &str) -> Credentials {
        Credentials::Odoo {
            database: database.to_owned(),
            login: login.to_owned(),
            api_key: "key".to_owned().into(),
        }
    }

    #[test]
    fn a_system_is_the_same_whoever_logs_in() {
        let identity = |url, database, login| Identity::of(url, &erp(database, login));
        let first = identity("https://erp.example.com", "production", "ada");

        assert_eq!(first, identity("http://erp.example.com/", "production", "bo"));
        assert_ne!(first, identity("https://erp.example.com", "test", "ada"));
        assert_ne!(first, identity("https://erp.example.org", "production", "ada"));
    }
}
