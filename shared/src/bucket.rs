//! Token buckets: how often an organisation's systems may be asked, shared by the whole fleet.
//!
//! A generic cell rate algorithm without bursts: each request reserves the next slot of an evenly spaced row of slots. An
//! organisation has a bucket, and so has a connection or a sync that was given a rate of its own; a request takes the same
//! slot of all that it comes under, or of none. One statement takes it (`take_request_slot` in the migrations), so that the
//! fleet never takes one twice.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::id::{ConnectionId, OrgId, SyncId, Token};

/// Most requests per minute that any bucket lets through.
pub const LIMIT: u32 = 10_000_000;

/// Who asks for a slot, and for which requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub org: OrgId,
    pub connection: ConnectionId,
    pub sync: Option<SyncId>,
    /// The one that holds its batch or check: it may pass an open circuit where it is the probe.
    pub token: Token,
}

/// What asking for a slot brought. Times are the database's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Take {
    pub verdict: Verdict,
    pub asked_at: DateTime<Utc>,
    /// Whether the connection's system was not well lately: a call that succeeds is news then.
    pub is_marked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send now.
    Go,
    /// The slot is the caller's: ask again when it has come.
    Wait { at: DateTime<Utc> },
    /// Nothing is reserved: the next slot is too far away, or another bucket is free sooner. Ask again then.
    Later { at: DateTime<Utc> },
    /// The system asked everyone for a pause.
    Paused { until: DateTime<Utc> },
    /// The system's circuit is open, and somebody else probes it, or nobody before then.
    Open { until: DateTime<Utc> },
}

impl Take {
    /// Returns how far away a time of the database's is.
    pub fn until(&self, at: DateTime<Utc>) -> Duration {
        (at - self.asked_at).to_std().unwrap_or_default()
    }
}

/// Takes a slot for one request, if it is at most `patience` away. `reserved` is a slot that was taken before and has been
/// waited for: it is given up for another where its time is long over, or the system asked for a pause meanwhile.
pub async fn take(
    db: &mut PgConnection,
    caller: Caller,
    reserved: Option<DateTime<Utc>>,
    patience: Duration,
) -> Result<Take, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select verdict as "verdict!", slot_at, asked_at as "asked_at!", is_marked as "is_marked!"
          from take_request_slot($1, $2, $3, $4, $5, make_interval(secs => $6))
        "#,
        caller.org as _,
        caller.connection as _,
        caller.sync as _,
        caller.token as _,
        reserved,
        patience.as_secs_f64(),
    )
    .fetch_one(db)
    .await?;
    let at = row.slot_at.unwrap_or(row.asked_at);
    let verdict = match row.verdict.as_str() {
        "go" => Verdict::Go,
        "wait" => Verdict::Wait { at },
        "later" => Verdict::Later { at },
        "held" => Verdict::Paused { until: at },
        "open" => Verdict::Open { until: at },
        other => return Err(sqlx::Error::Decode(format!("verdict `{other}`").into())),
    };
    Ok(Take {
        verdict,
        asked_at: row.asked_at,
        is_marked: row.is_marked,
    })
}

/// Returns the highest rate that an organisation may ask for, itself or for a connection or a sync (R30).
pub async fn ceiling(db: &mut PgConnection, org: OrgId) -> Result<u32, sqlx::Error> {
    let given = sqlx::query_scalar!(
        "select requests_per_minute_limit from organisation where org_id = $1",
        org as _
    )
    .fetch_one(db)
    .await?;
    Ok(u32::try_from(given).unwrap_or_default())
}

/// Gives a connection a bucket of its own, changes its rate, or takes it away.
pub async fn limit_connection(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    requests_per_minute: Option<u32>,
) -> Result<(), sqlx::Error> {
    limit(db, org, connection.0, requests_per_minute).await
}

/// Gives a sync a bucket of its own.
pub async fn limit_sync(
    db: &mut PgConnection,
    org: OrgId,
    sync: SyncId,
    requests_per_minute: Option<u32>,
) -> Result<(), sqlx::Error> {
    limit(db, org, sync.0, requests_per_minute).await
}

async fn limit(
    db: &mut PgConnection,
    org: OrgId,
    scope: Uuid,
    requests_per_minute: Option<u32>,
) -> Result<(), sqlx::Error> {
    let Some(rate) = requests_per_minute else {
        sqlx::query!(
            "delete from request_bucket where org_id = $1 and scope = $2 and scope <> org_id",
            org as _,
            scope,
        )
        .execute(db)
        .await?;
        return Ok(());
    };
    sqlx::query!(
        "insert into request_bucket (org_id, scope, requests_per_minute) values ($1, $2, $3)
         on conflict (org_id, scope) do update set requests_per_minute = excluded.requests_per_minute",
        org as _,
        scope,
        i32::try_from(rate).unwrap_or(i32::MAX),
    )
    .execute(db)
    .await?;
    Ok(())
}
