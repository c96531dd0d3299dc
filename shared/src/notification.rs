//! Notifications: what organisations are told of at addresses of theirs, signed after Standard Webhooks
//! (standardwebhooks.com, specification 1.0).
//!
//! A notification is a row per endpoint, written in the transaction of what it tells of. Delivering it is at least once:
//! its id is the same at each attempt, so that a receiver can tell.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::Sha256;
use sqlx::PgConnection;

use crate::id::{EndpointId, NotificationId, OrgId, Token};
use crate::secret::Sealed;

/// What can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(type_name = "text")]
pub enum Event {
    /// A sync came to its end, with everything or a part of it carried over.
    #[sqlx(rename = "sync.finished")]
    SyncFinished,
    /// A sync came to nothing.
    #[sqlx(rename = "sync.failed")]
    SyncFailed,
    #[sqlx(rename = "conflict.opened")]
    ConflictOpened,
    #[sqlx(rename = "connection.needs_attention")]
    ConnectionNeedsAttention,
}

impl Event {
    pub const ALL: [Self; 4] = [
        Self::SyncFinished,
        Self::SyncFailed,
        Self::ConflictOpened,
        Self::ConnectionNeedsAttention,
    ];

    /// Returns the name used in the API, the tables and what is sent.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SyncFinished => "sync.finished",
            Self::SyncFailed => "sync.failed",
            Self::ConflictOpened => "conflict.opened",
            Self::ConnectionNeedsAttention => "connection.needs_attention",
        }
    }

    /// Reads a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name() == name)
    }
}

/// Waits before each further attempt: those that Standard Webhooks proposes.
const WAITS: [Duration; 8] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(14),
    Duration::from_hours(20),
];

/// Returns how long to wait after so many attempts that failed; `None`: it is given up. Jitter, from 0 to 1, adds up to a
/// tenth, so that receivers that were down are not met by all at once.
pub fn wait(attempts: u32, jitter: f64) -> Option<Duration> {
    let index = usize::try_from(attempts).ok()?.checked_sub(1)?;
    Some(WAITS.get(index)?.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 10.0))
}

/// Writes the body of a notification, the same at each attempt.
pub fn body(event: Event, happened_at: DateTime<Utc>, data: &Value) -> String {
    json!({ "type": event.name(), "timestamp": happened_at, "data": data }).to_string()
}

/// Makes a secret to sign with, from 24 random bytes or more, in the form `whsec_…`.
pub fn secret(random: &[u8]) -> SecretString {
    format!("{PREFIX}{}", STANDARD.encode(random)).into()
}

const PREFIX: &str = "whsec_";

/// Signs a notification as it is sent at a time, in seconds since 1970: the value of the header `webhook-signature`.
/// `None` where the secret is not one of ours.
pub fn signature(secret: &SecretString, id: NotificationId, sent_at: i64, body: &str) -> Option<String> {
    let key = secret.expose_secret().strip_prefix(PREFIX)?;
    let key = STANDARD.decode(key).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{sent_at}.{body}").as_bytes());
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

/// Tells everyone in the organisation who wants to know, in the transaction of what happened.
pub async fn tell(db: &mut PgConnection, org: OrgId, event: Event, data: &Value) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into notification (org_id, notification_id, endpoint_id, event, data)
         select org_id, gen_random_uuid(), endpoint_id, $2, $3
           from notification_endpoint
          where org_id = $1 and $2 = any(events) and disabled_because is null",
        org as _,
        event.name(),
        data,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// An address that is told of things.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub endpoint_id: EndpointId,
    pub url: String,
    pub events: Vec<String>,
    pub disabled_because: Option<String>,
    pub created_at: DateTime<Utc>,
}

/// Stores an endpoint.
pub async fn create_endpoint(
    db: &mut PgConnection,
    org: OrgId,
    (id, url): (EndpointId, &str),
    events: &[Event],
    secret: &Sealed,
) -> Result<(), sqlx::Error> {
    let events: Vec<String> = events.iter().map(|event| event.name().to_owned()).collect();
    sqlx::query!(
        "insert into notification_endpoint (org_id, endpoint_id, url, events, sealed_secret, key_id)
         values ($1, $2, $3, $4, $5, $6)",
        org as _,
        id as _,
        url,
        &events,
        secret.bytes,
        secret.key_id,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Changes what an endpoint is told of and where, and takes it into use again. `false`: there is none.
pub async fn change_endpoint(
    db: &mut PgConnection,
    org: OrgId,
    (id, url): (EndpointId, &str),
    events: &[Event],
    disabled_because: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let events: Vec<String> = events.iter().map(|event| event.name().to_owned()).collect();
    let changed = sqlx::query!(
        "update notification_endpoint set url = $3, events = $4, disabled_because = $5
          where org_id = $1 and endpoint_id = $2",
        org as _,
        id as _,
        url,
        &events,
        disabled_because,
    )
    .execute(db)
    .await?;
    Ok(changed.rows_affected() > 0)
}

/// Deletes an endpoint with its notifications.
pub async fn delete_endpoint(db: &mut PgConnection, org: OrgId, id: EndpointId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from notification_endpoint where org_id = $1 and endpoint_id = $2",
        org as _,
        id as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Lists the organisation's endpoints, oldest first.
pub async fn endpoints(db: &mut PgConnection, org: OrgId) -> Result<Vec<Endpoint>, sqlx::Error> {
    sqlx::query_as!(
        Endpoint,
        r#"
        select endpoint_id as "endpoint_id: EndpointId", url, events, disabled_because, created_at
          from notification_endpoint
         where org_id = $1
         order by endpoint_id
        "#,
        org as _,
    )
    .fetch_all(db)
    .await
}

/// How far a notification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Status {
    Pending,
    Delivered,
    /// Given up.
    Failed,
}

/// A notification as it is listed: the log of its delivery.
#[derive(Clone, Debug)]
pub struct Notification {
    pub notification_id: NotificationId,
    pub event: Event,
    pub data: Value,
    pub created_at: DateTime<Utc>,
    pub status: Status,
    pub attempts: i32,
    /// When it is tried next, while it is pending.
    pub run_at: DateTime<Utc>,
    pub attempted_at: Option<DateTime<Utc>>,
    pub response_status: Option<i32>,
    pub error: Option<String>,
}

/// Where a list of notifications goes on: behind this one, newest first.
pub type After = (DateTime<Utc>, NotificationId);

/// Lists an endpoint's notifications, newest first.
pub async fn list(
    db: &mut PgConnection,
    org: OrgId,
    endpoint: EndpointId,
    after: Option<After>,
    limit: i64,
) -> Result<Vec<Notification>, sqlx::Error> {
    sqlx::query_as!(
        Notification,
        r#"
        select notification_id as "notification_id: NotificationId", event as "event: Event", data, created_at,
               status as "status: Status", attempts, run_at, attempted_at, response_status, error
          from notification
         where org_id = $1 and endpoint_id = $2
           and ($3::timestamptz is null or (created_at, notification_id) < ($3, $4::uuid))
         order by created_at desc, notification_id desc
         limit $5
        "#,
        org as _,
        endpoint as _,
        after.map(|(created_at, _)| created_at),
        after.map(|(_, id)| id) as _,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Has a notification delivered anew, under the id that it has. `None`: the endpoint has none of that id.
pub async fn retry(
    db: &mut PgConnection,
    org: OrgId,
    (endpoint, id): (EndpointId, NotificationId),
) -> Result<Option<Notification>, sqlx::Error> {
    sqlx::query_as!(
        Notification,
        r#"
        update notification set status = 'pending', attempts = 0, run_at = lockstep_now()
         where org_id = $1 and endpoint_id = $2 and notification_id = $3
        returning notification_id as "notification_id: NotificationId", event as "event: Event", data, created_at,
                  status as "status: Status", attempts, run_at, attempted_at, response_status, error
        "#,
        org as _,
        endpoint as _,
        id as _,
    )
    .fetch_optional(db)
    .await
}

/// Claims notifications that are due, of any organisation, for so long.
pub async fn claim(
    db: &mut PgConnection,
    token: Token,
    held_for: Duration,
    most: i32,
) -> Result<Vec<(OrgId, NotificationId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select org_id as "org_id!: OrgId", notification_id as "notification_id!: NotificationId"
          from fleet_claim_notifications($1, make_interval(secs => $2), $3)
        "#,
        token as _,
        held_for.as_secs_f64(),
        most,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.org_id, row.notification_id))
        .collect())
}

/// A notification that is to be sent.
#[derive(Clone, Debug)]
pub struct Letter {
    pub endpoint_id: EndpointId,
    pub url: String,
    pub sealed: Sealed,
    pub event: Event,
    pub data: Value,
    pub created_at: DateTime<Utc>,
    pub attempts: i32,
    /// The time, for the signature.
    pub now: DateTime<Utc>,
}

/// Reads a notification that was claimed. `None`: it is another's by now, or its endpoint is out of use.
pub async fn read(
    db: &mut PgConnection,
    org: OrgId,
    (id, token): (NotificationId, Token),
) -> Result<Option<Letter>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select e.endpoint_id as "endpoint_id: EndpointId", e.url, e.sealed_secret, e.key_id, n.event as "event: Event",
               n.data, n.created_at, n.attempts, lockstep_now() as "now!"
          from notification n
          join notification_endpoint e on e.org_id = n.org_id and e.endpoint_id = n.endpoint_id
         where n.org_id = $1 and n.notification_id = $2 and n.token = $3 and e.disabled_because is null
        "#,
        org as _,
        id as _,
        token as _,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Letter {
        endpoint_id: row.endpoint_id,
        url: row.url,
        sealed: Sealed {
            bytes: row.sealed_secret,
            key_id: row.key_id,
        },
        event: row.event,
        data: row.data,
        created_at: row.created_at,
        attempts: row.attempts,
        now: row.now,
    }))
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub status: Status,
    pub response_status: Option<i32>,
    pub error: Option<String>,
    /// How long to wait for the next one.
    pub wait: Duration,
}

/// Notes what an attempt came to, where it is the token's still. `false`: it is another's.
pub async fn attempted(
    db: &mut PgConnection,
    org: OrgId,
    (id, token): (NotificationId, Token),
    attempt: &Attempt,
) -> Result<bool, sqlx::Error> {
    let noted = sqlx::query!(
        "update notification
            set status = $4, attempts = attempts + 1, run_at = lockstep_now() + make_interval(secs => $5),
                token = null, held_until = null, attempted_at = lockstep_now(), response_status = $6, error = $7
          where org_id = $1 and notification_id = $2 and token = $3",
        org as _,
        id as _,
        token as _,
        attempt.status as _,
        attempt.wait.as_secs_f64(),
        attempt.response_status,
        attempt.error,
    )
    .execute(db)
    .await?;
    Ok(noted.rows_affected() > 0)
}

/// Takes an endpoint out of use, and gives up what is still on its way to it.
pub async fn disable(
    db: &mut PgConnection,
    org: OrgId,
    id: EndpointId,
    because: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update notification_endpoint set disabled_because = $3 where org_id = $1 and endpoint_id = $2",
        org as _,
        id as _,
        because,
    )
    .execute(&mut *db)
    .await?;
    sqlx::query!(
        "update notification set status = 'failed', error = $3
          where org_id = $1 and endpoint_id = $2 and status = 'pending'",
        org as _,
        id as _,
        because,
    )
    .execute(db)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_event_is_known_by_its_name() {
        for event in Event::ALL {
            assert_eq!(Event::named(event.name()), Some(event));
        }
        assert_eq!(Event::named("sync.began"), None);
    }

    #[test]
    fn attempts_come_further_and_further_apart_and_end() {
        let waits: Vec<Option<Duration>> = (0..=9).map(|attempts| wait(attempts, 0.0)).collect();

        assert_eq!(waits[1], Some(Duration::from_secs(5)), "R54");
        assert!(
            waits[1..9].windows(2).all(|pair| pair[0] < pair[1]),
            "R54: {waits:?}"
        );
        assert_eq!((waits[0], waits[9]), (None, None), "R54");
        assert_eq!(wait(1, 1.0), Some(Duration::from_millis(5500)));
    }

    /// R54: with the secret and the body of the specification's example, and an id of our kind.
    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        let secret: SecretString = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned().into();
        let id = NotificationId(Uuid::from_u128(7));
        let signed = signature(&secret, id, 1_614_265_330, r#"{"test": 2432232314}"#).unwrap();
        let other = signature(&secret, id, 1_614_265_331, r#"{"test": 2432232314}"#).unwrap();

        // As Python's `hmac` makes it of the same.
        assert_eq!(signed, "v1,DpjDiUQtqY4KpU+ttsaMN4ufTzLZ/I1uCUwqulcoqnM=");
        assert_ne!(signed, other, "the time is part of what is signed");
        assert_eq!(signature(&"short".to_owned().into(), id, 0, ""), None);
    }
}
