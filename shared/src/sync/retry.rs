//! Retries: what failed in a sync that is over, as a sync of just those items (R55).

use sqlx::PgConnection;

use super::{NewSync, StartError, mark_restricted};
use crate::id::{ConnectionId, OrgId, SyncId};
use crate::system::{EntityType, System};

/// Items of one kind that failed in a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    pub connection: ConnectionId,
    pub system: System,
    pub entity: EntityType,
    pub items: i64,
}

/// Counts what failed in a sync, is failed still and was tried by no later sync: of connections that can be used.
pub async fn failed(db: &mut PgConnection, org: OrgId, sync: SyncId) -> Result<Vec<Failed>, sqlx::Error> {
    sqlx::query_as!(
        Failed,
        r#"
        select i.connection_id as "connection: ConnectionId", c.system as "system: System",
               i.entity_type as "entity: EntityType", count(*) as "items!"
          from item i
          join connection c on c.org_id = i.org_id and c.connection_id = i.connection_id
         where i.org_id = $1 and i.settled_sync_id = $2 and i.state = 'failed' and i.record_id is not null
           and c.status = 'active' and c.deleted_at is null
         group by i.connection_id, c.system, i.entity_type
         order by i.connection_id, i.entity_type
        "#,
        org as _,
        sync as _,
    )
    .fetch_all(db)
    .await
}

/// Starts a sync as [`start`](super::start) does, of nothing but the items that failed in another one.
pub async fn start(db: &mut PgConnection, org: OrgId, new: &NewSync, of: SyncId) -> Result<(), StartError> {
    super::start(db, org, new).await?;
    mark_restricted(db, org, new.sync_id)
        .await
        .map_err(StartError::Database)?;
    let connections: Vec<uuid::Uuid> = new.connections.iter().map(|connection| connection.0).collect();
    sqlx::query!(
        "insert into sync_record (org_id, sync_id, record_id, connection_ids)
         select org_id, $3, record_id, array_agg(connection_id)
           from item
          where org_id = $1 and settled_sync_id = $2 and state = 'failed' and connection_id = any($4)
            and record_id is not null
          group by org_id, record_id",
        org as _,
        of as _,
        new.sync_id as _,
        &connections,
    )
    .execute(db)
    .await
    .map_err(StartError::Database)?;
    Ok(())
}
