//! Triggers: what webhooks told of, and that no sync has read yet. One row per connection and type of record, however many
//! deliveries there were, so that a thousand of them lead to a few syncs.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::id::{ConnectionId, OrgId, SyncId};
use crate::system::EntityType;

/// How long after the first news a sync is started: what belongs together comes together.
pub const DEBOUNCE: Duration = Duration::from_secs(2);

/// Notes that things of these types changed in a connection's system.
pub async fn touch(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    entities: &[EntityType],
) -> Result<(), sqlx::Error> {
    let names: Vec<String> = entities.iter().map(|entity| entity.name().to_owned()).collect();
    // In one order, so that two deliveries never wait for each other.
    sqlx::query!(
        "insert into sync_trigger (org_id, connection_id, entity_type, touched_at, run_at)
         select $1, $2, entity_type, lockstep_now(), lockstep_now() + make_interval(secs => $4)
           from unnest($3::text[]) entity_type
          order by entity_type
         on conflict (org_id, connection_id, entity_type) do update
            set touched_at = excluded.touched_at,
                -- The first news says when: news without end would put it off without end.
                run_at = case when sync_trigger.touched_at is null then excluded.run_at else sync_trigger.run_at end",
        org as _,
        connection as _,
        &names,
        DEBOUNCE.as_secs_f64(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Finds the organisations that have something to look at, so many.
pub async fn due(db: &mut PgConnection, most: i32) -> Result<Vec<OrgId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select org_id as "org_id!: OrgId" from fleet_due_trigger($1)"#,
        most,
    )
    .fetch_all(db)
    .await
}

/// News of one type that is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub connection: ConnectionId,
    pub entity: EntityType,
    /// Some sync has read it since, and carries it to the others.
    pub is_read: bool,
    /// Some sync that is queued or under way is still going to.
    pub will_be_read: bool,
}

/// What is to be done about news.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// It was read: there is nothing more to do.
    pub done: Vec<(ConnectionId, EntityType)>,
    /// A sync that is there already will read it: look again, because it may be cancelled.
    pub waits: Vec<(ConnectionId, EntityType)>,
    /// A sync has to be started for it.
    pub starts: Vec<(ConnectionId, EntityType)>,
}

impl Plan {
    pub fn of(pending: &[Pending]) -> Self {
        let mut plan = Self::default();
        for one in pending {
            let list = if one.is_read {
                &mut plan.done
            } else if one.will_be_read {
                &mut plan.waits
            } else {
                &mut plan.starts
            };
            list.push((one.connection, one.entity));
        }
        plan
    }
}

/// Has the organisation's triggers, and the starts of its syncs, looked at by one worker at a time, until the caller's transaction
/// ends.
pub async fn lock(db: &mut PgConnection, org: OrgId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select org_id from organisation where org_id = $1 for no key update",
        org as _
    )
    .fetch_one(db)
    .await?;
    Ok(())
}

/// Reads what is to be looked at of one connection, and locks it. A sync counts that is also about all `others`: the
/// connections that the news has to be carried to. A dry run carries nothing.
pub async fn pending(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    others: &[ConnectionId],
) -> Result<Vec<Pending>, sqlx::Error> {
    let all: Vec<ConnectionId> = others.iter().copied().chain([connection]).collect();
    let all = serde_json::to_value(all).expect("ids are plain JSON");
    sqlx::query_as!(
        Pending,
        r#"
        select t.connection_id as "connection: ConnectionId", t.entity_type as "entity: EntityType",
               exists (
                   select from sync_stage g
                     join sync_orchestration s on s.org_id = g.org_id and s.sync_id = g.sync_id
                    where g.org_id = t.org_id and g.connection_id = t.connection_id and g.entity_type = t.entity_type
                      and g.direction = 'pull' and g.status in ('open', 'finished') and g.opened_at > t.touched_at
                      and s.status not in ('cancelling', 'cancelled')
                      and s.connection_ids @> $3 and not coalesce((s.config ->> 'dry_run')::boolean, false)
               ) as "is_read!",
               exists (
                   select from sync_orchestration s
                    where s.org_id = t.org_id and s.status in ('queued', 'processing')
                      and s.connection_ids @> $3 and s.entity_types ? t.entity_type
                      and not coalesce((s.config ->> 'dry_run')::boolean, false)
                      and (s.status = 'queued' or exists (
                          select from sync_stage g
                           where g.org_id = s.org_id and g.sync_id = s.sync_id and g.connection_id = t.connection_id
                             and g.entity_type = t.entity_type and g.direction = 'pull' and g.status = 'waiting'))
               ) as "will_be_read!"
          from sync_trigger t
         where t.org_id = $1 and t.connection_id = $2 and t.touched_at is not null and t.run_at <= lockstep_now()
         order by t.entity_type
           for update of t
        "#,
        org as _,
        connection as _,
        all,
    )
    .fetch_all(db)
    .await
}

/// Says whether a sync that was started for news is still under way: the next one waits for it.
pub async fn is_busy(db: &mut PgConnection, org: OrgId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select from sync_trigger t
              join sync_orchestration s on s.org_id = t.org_id and s.sync_id = t.last_sync_id
             where t.org_id = $1 and s.status not in ('cancelled', 'done', 'partial', 'failed')
        ) as "is_busy!"
        "#,
        org as _,
    )
    .fetch_one(db)
    .await
}

/// Forgets news that was read, or for which a sync was started.
pub async fn settle(
    db: &mut PgConnection,
    org: OrgId,
    (connection, entity): (ConnectionId, EntityType),
    started: Option<SyncId>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sync_trigger set touched_at = null, last_sync_id = coalesce($4, last_sync_id)
          where org_id = $1 and connection_id = $2 and entity_type = $3",
        org as _,
        connection as _,
        entity as _,
        started as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Puts a look at news off.
pub async fn put_off(
    db: &mut PgConnection,
    org: OrgId,
    (connection, entity): (ConnectionId, EntityType),
    wait: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sync_trigger set run_at = lockstep_now() + make_interval(secs => $4)
          where org_id = $1 and connection_id = $2 and entity_type = $3",
        org as _,
        connection as _,
        entity as _,
        wait.as_secs_f64(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Says since when news waits, by connection and type; none that was read.
pub async fn waiting(
    db: &mut PgConnection,
    org: OrgId,
) -> Result<Vec<(ConnectionId, EntityType, DateTime<Utc>)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select connection_id as "connection: ConnectionId", entity_type as "entity: EntityType", touched_at as "touched_at!"
          from sync_trigger
         where org_id = $1 and touched_at is not null
         order by connection_id, entity_type
        "#,
        org as _,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.connection, row.entity, row.touched_at))
        .collect())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_was_read_or_will_be_starts_nothing() {
        let connection = ConnectionId(Uuid::from_u128(1));
        let pending = |entity, is_read, will_be_read| Pending {
            connection,
            entity,
            is_read,
            will_be_read,
        };

        let plan = Plan::of(&[
            pending(EntityType::Customers, true, true),
            pending(EntityType::Products, false, true),
            pending(EntityType::Orders, false, false),
        ]);

        assert_eq!(
            plan,
            Plan {
                done: vec![(connection, EntityType::Customers)],
                waits: vec![(connection, EntityType::Products)],
                starts: vec![(connection, EntityType::Orders)],
            }
        );
    }
}
