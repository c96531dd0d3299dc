//! The token bucket: how often an organisation's systems may be asked, shared by the whole fleet.
//!
//! A generic cell rate algorithm without bursts: each request reserves the next slot of an evenly spaced row of slots.
//! One statement takes it, so that the fleet never takes one twice.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::id::OrgId;

/// What asking for a token brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// A slot is reserved: send after this wait.
    Reserved { wait: Duration },
    /// The next slot is too far away to wait for; nothing is reserved.
    Later { at: DateTime<Utc> },
}

/// Takes a token for one request of an organisation, if its slot is at most `patience` away.
pub async fn take(db: &mut PgConnection, org: OrgId, patience: Duration) -> Result<Take, sqlx::Error> {
    let reserved = sqlx::query_scalar!(
        r#"
        update request_bucket
           set free_at = greatest(free_at, lockstep_now()) + interval '60 seconds' / requests_per_minute
         where org_id = $1 and scope = $1
           and free_at <= lockstep_now() + make_interval(secs => $2)
        returning greatest(
            extract(epoch from free_at - interval '60 seconds' / requests_per_minute - lockstep_now())::float8, 0
        ) as "wait_secs!"
        "#,
        org as _,
        patience.as_secs_f64(),
    )
    .fetch_optional(&mut *db)
    .await?;
    if let Some(wait_secs) = reserved {
        return Ok(Take::Reserved {
            wait: Duration::from_secs_f64(wait_secs),
        });
    }
    let at = sqlx::query_scalar!(
        r#"select greatest(free_at, lockstep_now()) as "at!" from request_bucket where org_id = $1 and scope = $1"#,
        org as _,
    )
    .fetch_one(db)
    .await?;
    Ok(Take::Later { at })
}

/// Moves the organisation's next slot out to at least `wait` from now: one worker was told to slow down, all obey.
pub async fn hold_back(db: &mut PgConnection, org: OrgId, wait: Duration) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update request_bucket set free_at = greatest(free_at, lockstep_now() + make_interval(secs => $2))
          where org_id = $1 and scope = $1",
        org as _,
        wait.as_secs_f64(),
    )
    .execute(db)
    .await?;
    Ok(())
}
