//! Organisations: the tenants.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::id::OrgId;

/// A tenant and what it may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organisation {
    pub org_id: OrgId,
    pub name: String,
    /// Requests to remote systems, over all its connections and the whole fleet.
    pub requests_per_minute: i32,
}

/// Makes an organisation with its bucket. The caller's transaction must work for that organisation.
pub async fn create(db: &mut PgConnection, organisation: &Organisation) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into organisation (org_id, name, requests_per_minute) values ($1, $2, $3)",
        organisation.org_id as _,
        organisation.name,
        organisation.requests_per_minute,
    )
    .execute(&mut *db)
    .await?;
    sqlx::query!(
        "insert into request_bucket (org_id, scope, requests_per_minute) values ($1, $1, $2)",
        organisation.org_id as _,
        organisation.requests_per_minute,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Says whether the organisation is known.
pub async fn exists(db: &mut PgConnection, org: OrgId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from organisation where org_id = $1) as "is_known!""#,
        org as _
    )
    .fetch_one(db)
    .await
}

/// Has every line of the audit trail that this transaction writes tell where its request came from. `false` where the
/// organisation is not known.
pub async fn enter(
    db: &mut PgConnection,
    org: OrgId,
    source_address: &str,
    request_id: &str,
) -> Result<bool, sqlx::Error> {
    // One round trip: settings of the transaction, which the columns' defaults read.
    let row = sqlx::query!(
        r#"select exists (select from organisation where org_id = $1) as "is_known!",
                  set_config('lockstep.source_address', $2, true), set_config('lockstep.request_id', $3, true) as request"#,
        org as _,
        source_address,
        request_id,
    )
    .fetch_one(db)
    .await?;
    Ok(row.is_known)
}

/// An organisation as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub org_id: OrgId,
    pub name: String,
    pub requests_per_minute: i32,
    /// The most of them that may be asked for.
    pub requests_per_minute_limit: i32,
    pub running_batch_limit: i32,
    /// None: as many as the configuration of the API says.
    pub commands_per_minute: Option<i32>,
    pub records_per_minute: Option<i32>,
    pub reads_per_minute: Option<i32>,
    pub created_at: DateTime<Utc>,
}

/// Reads an organisation.
pub async fn find(db: &mut PgConnection, org: OrgId) -> Result<Option<View>, sqlx::Error> {
    sqlx::query_as!(
        View,
        r#"
        select org_id as "org_id: OrgId", name, requests_per_minute, requests_per_minute_limit, running_batch_limit,
               commands_per_minute, records_per_minute, reads_per_minute, created_at
          from organisation
         where org_id = $1
        "#,
        org as _,
    )
    .fetch_optional(db)
    .await
}

/// Gives an organisation another name.
pub async fn rename(db: &mut PgConnection, org: OrgId, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update organisation set name = $2 where org_id = $1",
        org as _,
        name
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Changes how many requests a minute are sent to an organisation's systems. `false`, and nothing is changed, where that is
/// more than it may ask for.
pub async fn set_rate(
    db: &mut PgConnection,
    org: OrgId,
    requests_per_minute: i32,
) -> Result<bool, sqlx::Error> {
    let set = sqlx::query!(
        "with changed as (
             update organisation set requests_per_minute = $2
              where org_id = $1 and $2 between 1 and requests_per_minute_limit
             returning org_id
         )
         update request_bucket b set requests_per_minute = $2
           from changed o
          where b.org_id = o.org_id and b.scope = o.org_id",
        org as _,
        requests_per_minute,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(set == 1)
}

/// Sets how many requests a minute an organisation may ask for, as `lockstep_owner`; one that asked for more gets that many.
/// `false` where the organisation is not known.
pub async fn set_rate_limit(
    db: &mut PgConnection,
    org: OrgId,
    requests_per_minute_limit: i32,
) -> Result<bool, sqlx::Error> {
    let set = sqlx::query!(
        "with changed as (
             update organisation
                set requests_per_minute_limit = $2, requests_per_minute = least(requests_per_minute, $2)
              where org_id = $1
             returning org_id, requests_per_minute
         )
         update request_bucket b set requests_per_minute = o.requests_per_minute
           from changed o
          where b.org_id = o.org_id and b.scope = o.org_id",
        org as _,
        requests_per_minute_limit,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(set == 1)
}

/// Sets the quotas of an organisation's own, as `lockstep_owner`; none: what the API is configured with. `false` where the
/// organisation is not known.
pub async fn set_quotas(
    db: &mut PgConnection,
    org: OrgId,
    commands: Option<i32>,
    records: Option<i32>,
    reads: Option<i32>,
) -> Result<bool, sqlx::Error> {
    let set = sqlx::query!(
        "update organisation set commands_per_minute = $2, records_per_minute = $3, reads_per_minute = $4 where org_id = $1",
        org as _,
        commands,
        records,
        reads,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(set == 1)
}
