//! Organisations: the tenants.

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
