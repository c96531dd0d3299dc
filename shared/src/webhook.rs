//! Webhooks of stores: whether they are wanted, what the last look at them saw, and whether a delivery is what it says.
//!
//! A connection's row is looked after as a check is: a bell, a claim under a token, and a regular look that the sweep rings
//! for. Deliveries arrive at the API, which checks the signature and notes what changed.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use crate::check::Claim;
use crate::id::{ConnectionId, OrgId, Token};
use crate::queue::{self, Bell};
use crate::secret::Sealed;
use crate::system::EntityType;

/// How often webhooks are looked at that are as they should be.
pub const WATCH_EVERY: Duration = Duration::from_mins(15);

/// Looks that find a webhook disabled, with no delivery in between, after which somebody has to look.
pub const DISABLED_LIMIT: i32 = 3;

/// How long the ids of deliveries are kept. A store delivers each once (facts/systems.md A10): later than this comes only
/// who replays one.
pub const DELIVERIES_KEPT: Duration = Duration::from_hours(7 * 24);

/// Returns the path at which a connection's deliveries arrive, behind the public address.
pub fn path(connection: ConnectionId) -> String {
    format!("/webhooks/woocommerce/{connection}")
}

/// Returns what changed, by the topic of a delivery; empty where nobody cares.
///
/// An order's payments are part of it. Stock is not: whatever a store sells tells of its product, and the numbers follow
/// from the orders (facts/systems.md A10).
pub fn touched_by(topic: &str) -> &'static [EntityType] {
    match topic.split_once('.') {
        Some(("customer", "created" | "updated" | "deleted")) => &[EntityType::Customers],
        Some(("product", "created" | "updated" | "deleted" | "restored")) => &[EntityType::Products],
        Some(("order", "created" | "updated" | "deleted" | "restored")) => {
            &[EntityType::Orders, EntityType::Payments]
        }
        Some(_) | None => &[],
    }
}

/// Says whether a body was signed with the secret: base64 of its HMAC-SHA256 (facts/systems.md A10). Takes the same time
/// however much of a wrong signature is right.
pub fn is_signed(secret: &SecretString, body: &[u8], signature: &str) -> bool {
    let Ok(signature) = STANDARD.decode(signature.trim()) else {
        return false;
    };
    let key = secret.expose_secret().as_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(body);
    mac.verify_slice(&signature).is_ok()
}

/// Returns a mark that tells secrets apart without telling anything of them: a store never shows a webhook's own.
pub fn mark(secret: &SecretString) -> String {
    let text = [
        b"lockstep webhook secret".as_slice(),
        secret.expose_secret().as_bytes(),
    ];
    hex::encode(&Sha256::digest(text.concat())[..4])
}

/// A webhook as the store has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    pub external_id: String,
    pub topic: String,
    pub state: HookState,
}

/// Whether a store delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookState {
    Active,
    /// Somebody paused it in the store: that is left alone.
    Paused,
    /// The store gave up after several deliveries that failed.
    Disabled,
}

/// How far it is to have what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Status {
    Queued,
    Running,
    Idle,
}

/// The webhooks of one connection.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub is_wanted: bool,
    pub delivery_url: String,
    pub sealed: Sealed,
    pub status: Status,
    pub requested_by: String,
    pub requested_at: DateTime<Utc>,
    /// When the last look that came to an end did so.
    pub looked_at: Option<DateTime<Utc>>,
    /// What it saw.
    pub hooks: Vec<Hook>,
    /// Why the store could not be looked at, or did not do what it was asked.
    pub error: Option<String>,
    /// Looks that found one disabled, since a delivery arrived last.
    pub disabled_count: i32,
}

/// What a person asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    pub is_wanted: bool,
    pub delivery_url: String,
    pub sealed: Sealed,
    pub requested_by: String,
}

/// Stores what is wanted and rings its bell, in the caller's transaction. A look that is under way is begun anew.
pub async fn want(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    wish: &Wish,
) -> Result<(), sqlx::Error> {
    // What its last owner may have sent is waited for, as after its death.
    sqlx::query!(
        "insert into connection_webhook
             (org_id, connection_id, is_wanted, delivery_url, sealed_secret, key_id, requested_by, status)
         values ($1, $2, $3, $4, $5, $6, $7, 'queued')
         on conflict (org_id, connection_id) do update
            set is_wanted = excluded.is_wanted, delivery_url = excluded.delivery_url,
                sealed_secret = excluded.sealed_secret, key_id = excluded.key_id, requested_by = excluded.requested_by,
                requested_at = lockstep_now(), status = 'queued',
                run_at = greatest(lockstep_now(), connection_webhook.held_until), rung_at = lockstep_now(),
                attempts = 0, token = null, held_until = null, error = null, disabled_count = 0, enabled_again_at = null",
        org as _,
        connection as _,
        wish.is_wanted,
        wish.delivery_url,
        wish.sealed.bytes,
        wish.sealed.key_id,
        wish.requested_by,
    )
    .execute(&mut *db)
    .await?;
    ring(db, org, connection, None).await
}

async fn ring(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    at: Option<DateTime<Utc>>,
) -> Result<(), sqlx::Error> {
    let bell = Bell::Webhook {
        org_id: org,
        id: connection,
    };
    queue::ring(db, bell, at).await
}

/// Finds the webhooks of a connection.
pub async fn find(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
) -> Result<Option<Subscription>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select is_wanted, delivery_url, sealed_secret, key_id, status as "status: Status", requested_by, requested_at,
               looked_at, hooks, error, disabled_count
          from connection_webhook
         where org_id = $1 and connection_id = $2
        "#,
        org as _,
        connection as _,
    )
    .fetch_optional(db)
    .await?;
    row.map(|row| {
        let hooks = serde_json::from_value(row.hooks).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Subscription {
            is_wanted: row.is_wanted,
            delivery_url: row.delivery_url,
            sealed: Sealed {
                bytes: row.sealed_secret,
                key_id: row.key_id,
            },
            status: row.status,
            requested_by: row.requested_by,
            requested_at: row.requested_at,
            looked_at: row.looked_at,
            hooks,
            error: row.error,
            disabled_count: row.disabled_count,
        })
    })
    .transpose()
}

/// Claims a look that is due, for so long unless it is [kept](keep).
pub async fn claim(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    (token, length): (Token, Duration),
) -> Result<Claim, sqlx::Error> {
    let claimed = sqlx::query_scalar!(
        "update connection_webhook
            set status = 'running', token = $3, held_until = lockstep_now() + make_interval(secs => $4)
          where org_id = $1 and connection_id = $2
            and ((status = 'queued' and run_at <= lockstep_now())
                 or (status = 'running' and held_until <= lockstep_now()))
        returning attempts",
        org as _,
        connection as _,
        token as _,
        length.as_secs_f64(),
    )
    .fetch_optional(&mut *db)
    .await?;
    if let Some(attempts) = claimed {
        return Ok(Claim::Claimed { attempts });
    }
    // A regular look is rung for by the sweep, so that no bell hangs about for minutes.
    let run_at = sqlx::query_scalar!(
        "select run_at from connection_webhook
          where org_id = $1 and connection_id = $2 and status = 'queued' and run_at < lockstep_now() + interval '2 minutes'",
        org as _,
        connection as _,
    )
    .fetch_optional(db)
    .await?;
    Ok(run_at.map_or(Claim::Nothing, Claim::NotBefore))
}

/// Keeps a claimed look for at least so long from now: before a request that writes, until whatever it may do is done.
/// `false` where it is the caller's no longer.
pub async fn keep(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    (token, length): (Token, Duration),
) -> Result<bool, sqlx::Error> {
    let kept = sqlx::query!(
        "update connection_webhook
            set held_until = greatest(held_until, lockstep_now() + make_interval(secs => $4))
          where org_id = $1 and connection_id = $2 and status = 'running' and token = $3",
        org as _,
        connection as _,
        token as _,
        length.as_secs_f64(),
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(kept == 1)
}

/// Rings a look again that is not due yet.
pub async fn ring_again(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    ring(db, org, connection, Some(at)).await
}

/// Gives a claimed look back for later. `false` where it is the caller's no longer.
pub async fn put_off(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    (token, attempts): (Token, i32),
    (at, error): (DateTime<Utc>, Option<&str>),
) -> Result<bool, sqlx::Error> {
    let given_back = sqlx::query!(
        "update connection_webhook
            set status = 'queued', token = null, held_until = null, run_at = $5, rung_at = lockstep_now(), attempts = $4,
                error = coalesce($6, error)
          where org_id = $1 and connection_id = $2 and status = 'running' and token = $3",
        org as _,
        connection as _,
        token as _,
        attempts,
        at,
        error,
    )
    .execute(&mut *db)
    .await?
    .rows_affected();
    if given_back == 1 {
        ring(db, org, connection, Some(at)).await?;
    }
    Ok(given_back == 1)
}

/// What a look that came to an end saw and did.
#[derive(Clone, Debug)]
pub struct Looked {
    pub hooks: Vec<Hook>,
    /// Whether one was found disabled.
    pub found_disabled: bool,
}

/// Ends a claimed look; the next one comes by itself, unless nothing is wanted and nothing is left. Returns how many looks have
/// found one disabled since a delivery arrived last, or `None` where it is the caller's no longer.
pub async fn settle(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    token: Token,
    looked: &Looked,
) -> Result<Option<i32>, sqlx::Error> {
    sqlx::query_scalar!(
        "update connection_webhook w
            set status = case when is_wanted then 'queued' else 'idle' end, token = null, held_until = null, attempts = 0,
                run_at = lockstep_now() + make_interval(secs => $4), rung_at = lockstep_now(),
                looked_at = lockstep_now(), hooks = $5, error = null,
                disabled_count = case
                    when $6 then disabled_count + 1
                    -- Only a delivery proves that it is well: nothing may have happened that it could have told of.
                    when exists (select from webhook_delivery d
                                  where d.org_id = w.org_id and d.connection_id = w.connection_id
                                    and d.received_at > w.enabled_again_at) then 0
                    else disabled_count end,
                enabled_again_at = case when $6 then lockstep_now() else enabled_again_at end
          where org_id = $1 and connection_id = $2 and status = 'running' and token = $3
        returning disabled_count",
        org as _,
        connection as _,
        token as _,
        WATCH_EVERY.as_secs_f64(),
        serde_json::to_value(&looked.hooks).expect("names are plain JSON"),
        looked.found_disabled,
    )
    .fetch_optional(db)
    .await
}

/// Ends a claimed look that came to nothing; the next one comes by itself. `false` where it is the caller's no longer.
pub async fn fail(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    token: Token,
    error: &str,
) -> Result<bool, sqlx::Error> {
    let failed = sqlx::query!(
        "update connection_webhook
            set status = 'queued', token = null, held_until = null, attempts = 0,
                run_at = lockstep_now() + make_interval(secs => $4), rung_at = lockstep_now(), error = $5
          where org_id = $1 and connection_id = $2 and status = 'running' and token = $3",
        org as _,
        connection as _,
        token as _,
        WATCH_EVERY.as_secs_f64(),
        error,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(failed == 1)
}

/// Finds the looks that are due and that nobody has rung for a while, whichever organisation they belong to.
pub async fn silent(db: &mut PgConnection, quiet: Duration, most: i32) -> Result<Vec<Bell>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select org_id as "org_id!: OrgId", connection_id as "id!: ConnectionId"
          from fleet_silent_webhook(make_interval(secs => $1), $2)
        "#,
        quiet.as_secs_f64(),
        most,
    )
    .fetch_all(db)
    .await?;
    let bells = rows.into_iter().map(|row| Bell::Webhook {
        org_id: row.org_id,
        id: row.id,
    });
    Ok(bells.collect())
}

/// Whose connection a delivery names, and what it must be signed with.
#[derive(Clone, Debug)]
pub struct Receiver {
    pub org: OrgId,
    pub sealed: Sealed,
}

/// Finds who a delivery is for, before any organisation is known; `None` where nobody wants it.
pub async fn receiver(
    db: &mut PgConnection,
    connection: ConnectionId,
) -> Result<Option<Receiver>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select org_id as "org_id!: OrgId", sealed_secret as "sealed_secret!", key_id as "key_id!"
          from fleet_webhook_receiver($1)
        "#,
        connection as _,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Receiver {
        org: row.org_id,
        sealed: Sealed {
            bytes: row.sealed_secret,
            key_id: row.key_id,
        },
    }))
}

/// Notes a delivery. `false` where one with this id was noted before.
pub async fn receive(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    (delivery_id, topic): (&str, &str),
) -> Result<bool, sqlx::Error> {
    let noted = sqlx::query!(
        "insert into webhook_delivery (org_id, connection_id, delivery_id, topic) values ($1, $2, $3, $4)
         on conflict do nothing",
        org as _,
        connection as _,
        delivery_id,
        topic,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(noted == 1)
}

/// Forgets old deliveries, whichever organisation they belong to. Returns how many went.
pub async fn forget_deliveries(db: &mut PgConnection, most: i32) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select fleet_forget_deliveries(make_interval(secs => $1), $2) as "gone!""#,
        DELIVERIES_KEPT.as_secs_f64(),
        most,
    )
    .fetch_one(db)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_body_that_was_signed_passes() {
        let secret: SecretString = "s3cret".to_owned().into();
        // printf '{"id":1}' | openssl dgst -sha256 -hmac s3cret -binary | base64
        let signature = "Y92rNNpYOOODVF6ckLQPdKTj2qvF3ZqNSaUYda1LJBg=";

        assert!(is_signed(&secret, br#"{"id":1}"#, signature));
        assert!(!is_signed(&secret, br#"{"id":2}"#, signature));
        assert!(!is_signed(&"other".to_owned().into(), br#"{"id":1}"#, signature));
        for wrong in ["", "no base64!", "AAAA", &signature[..20]] {
            assert!(!is_signed(&secret, br#"{"id":1}"#, wrong), "{wrong}");
        }
    }

    #[test]
    fn topics_that_nobody_cares_for_touch_nothing() {
        for topic in [
            "",
            "order",
            "coupon.created",
            "order.paid",
            "action.woocommerce_x",
            "customer.restored",
        ] {
            assert!(touched_by(topic).is_empty(), "{topic}");
        }
        assert_eq!(touched_by("customer.updated"), [EntityType::Customers]);
        assert_eq!(
            touched_by("order.restored"),
            [EntityType::Orders, EntityType::Payments]
        );
    }

    #[test]
    fn a_mark_tells_secrets_apart_and_nothing_of_them() {
        let (one, other) = ("one".to_owned().into(), "other".to_owned().into());

        assert_ne!(mark(&one), mark(&other));
        assert_eq!(mark(&one).len(), 8);
    }
}
