//! Stages: one direction, connection and entity type within a sync, one open at a time.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::id::{ConnectionId, OrgId, StageId, SyncId};
use crate::system::{Direction, EntityType, System};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Status {
    Waiting,
    Open,
    Finished,
    /// It could not be carried through; the others go on.
    Failed,
}

/// What a stage carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Scope {
    /// All that is due.
    #[default]
    All,
    /// Only what is missing and named by what the sync was asked for: the customers and products of its orders.
    Named,
    /// Only the records that the sync lists.
    Listed,
}

impl Scope {
    /// Returns the name used in the tables and the logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Named => "named",
            Self::Listed => "listed",
        }
    }
}

/// A stage to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    pub direction: Direction,
    pub connection: ConnectionId,
    pub entity: EntityType,
    pub scope: Scope,
}

/// A round of stages: what follows from the first round, stock and money, goes in the second, once the orders that
/// move them have arrived in both systems.
const ROUNDS: [&[EntityType]; 2] = [
    &[EntityType::Customers, EntityType::Products, EntityType::Orders],
    &[EntityType::Inventory, EntityType::Payments],
];

/// Returns the types that records of a type refer to, directly or not.
const fn needed_by(entity: EntityType) -> &'static [EntityType] {
    match entity {
        EntityType::Customers | EntityType::Products => &[],
        EntityType::Orders => &[EntityType::Customers, EntityType::Products],
        EntityType::Inventory => &[EntityType::Products],
        EntityType::Payments => &[EntityType::Customers, EntityType::Products, EntityType::Orders],
    }
}

/// Puts the stages of a sync in order: in each round all pulls, then all pushes; in each WooCommerce before Odoo; in each
/// of those what is referred to before what refers to it (R3). Types that the sync was not asked for, but that its
/// records name, have pushes of just those.
pub fn plan(connections: &[(ConnectionId, System)], entities: &[EntityType]) -> Vec<Planned> {
    let mut connections = connections.to_vec();
    connections.sort_by_key(|(id, system)| (*system, *id));
    let mut entities = entities.to_vec();
    entities.sort();
    entities.dedup();
    let is_needed = |entity: &EntityType| entities.iter().any(|asked| needed_by(*asked).contains(entity));
    let mut stages = Vec::new();
    for round in ROUNDS {
        for direction in [Direction::Pull, Direction::Push] {
            for (connection, _) in &connections {
                stages.extend(round.iter().filter_map(|entity| {
                    let scope = match direction {
                        _ if entities.contains(entity) => Scope::All,
                        Direction::Push if is_needed(entity) => Scope::Named,
                        Direction::Pull | Direction::Push => return None,
                    };
                    Some(Planned {
                        direction,
                        connection: *connection,
                        entity: *entity,
                        scope,
                    })
                }));
            }
        }
    }
    stages
}

/// Puts the stages of a sync of listed records in order: pushes only, since each looks at what it is about to write.
pub fn plan_listed(connections: &[(ConnectionId, System)], entities: &[EntityType]) -> Vec<Planned> {
    let mut stages = plan(connections, entities);
    stages.retain(|stage| stage.direction == Direction::Push && stage.scope == Scope::All);
    for stage in &mut stages {
        stage.scope = Scope::Listed;
    }
    stages
}

/// A stage's row.
#[derive(Clone, Debug)]
pub struct Stage {
    pub stage_id: StageId,
    pub sync_id: SyncId,
    pub direction: Direction,
    pub connection_id: ConnectionId,
    pub entity_type: EntityType,
    pub status: Status,
    pub high_water: Option<i64>,
    pub scope: Scope,
}

/// Stores the stages of a sync in their order.
pub async fn insert(
    db: &mut PgConnection,
    org: OrgId,
    sync: SyncId,
    planned: &[Planned],
) -> Result<(), sqlx::Error> {
    for (ordinal, stage) in (0_i32..).zip(planned) {
        sqlx::query!(
            "insert into sync_stage (org_id, stage_id, sync_id, ordinal, direction, connection_id, entity_type, scope)
             values ($1, $2, $3, $4, $5, $6, $7, $8)",
            org as _,
            StageId::random() as _,
            sync as _,
            ordinal,
            stage.direction as _,
            stage.connection as _,
            stage.entity as _,
            stage.scope as _,
        )
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

/// Returns the sync's first stage that waits.
pub async fn next_waiting(
    db: &mut PgConnection,
    org: OrgId,
    sync: SyncId,
) -> Result<Option<Stage>, sqlx::Error> {
    sqlx::query_as!(
        Stage,
        r#"
        select stage_id as "stage_id: StageId", sync_id as "sync_id: SyncId", direction as "direction: Direction",
               connection_id as "connection_id: ConnectionId", entity_type as "entity_type: EntityType",
               status as "status: Status", high_water, scope as "scope: Scope"
          from sync_stage
         where org_id = $1 and sync_id = $2 and status = 'waiting'
         order by ordinal
         limit 1
        "#,
        org as _,
        sync as _,
    )
    .fetch_optional(db)
    .await
}

/// Locks a stage's row and reads it. Every transaction that opens or closes a batch does this first, so that two lanes
/// can neither both miss the stage's end nor both see it.
pub async fn lock(db: &mut PgConnection, org: OrgId, id: StageId) -> Result<Stage, sqlx::Error> {
    sqlx::query_as!(
        Stage,
        r#"
        select stage_id as "stage_id: StageId", sync_id as "sync_id: SyncId", direction as "direction: Direction",
               connection_id as "connection_id: ConnectionId", entity_type as "entity_type: EntityType",
               status as "status: Status", high_water, scope as "scope: Scope"
          from sync_stage
         where org_id = $1 and stage_id = $2
           for update
        "#,
        org as _,
        id as _,
    )
    .fetch_one(db)
    .await
}

/// Finds the sync's stage that is open. No lock: whoever decides by it locks it, and then looks again.
pub async fn open_one(
    db: &mut PgConnection,
    org: OrgId,
    sync: SyncId,
) -> Result<Option<StageId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select stage_id as "stage_id: StageId" from sync_stage where org_id = $1 and sync_id = $2 and status = 'open'"#,
        org as _,
        sync as _,
    )
    .fetch_optional(db)
    .await
}

/// Reads a stage.
pub async fn find(db: &mut PgConnection, org: OrgId, id: StageId) -> Result<Stage, sqlx::Error> {
    sqlx::query_as!(
        Stage,
        r#"
        select stage_id as "stage_id: StageId", sync_id as "sync_id: SyncId", direction as "direction: Direction",
               connection_id as "connection_id: ConnectionId", entity_type as "entity_type: EntityType",
               status as "status: Status", high_water, scope as "scope: Scope"
          from sync_stage
         where org_id = $1 and stage_id = $2
        "#,
        org as _,
        id as _,
    )
    .fetch_one(db)
    .await
}

/// A push that is under way.
#[derive(Clone, Copy, Debug)]
pub struct OpenPush {
    pub stage_id: StageId,
    pub sync_id: SyncId,
    pub connection_id: ConnectionId,
}

/// Locks the open pushes of all records of a type, whichever connections and syncs they belong to: none of them ends
/// before the caller's transaction does. Dry runs are none.
pub async fn lock_open_pushes(
    db: &mut PgConnection,
    org: OrgId,
    entity: EntityType,
) -> Result<Vec<OpenPush>, sqlx::Error> {
    let pushes = sqlx::query_as!(
        OpenPush,
        r#"
        select t.stage_id as "stage_id: StageId", t.sync_id as "sync_id: SyncId",
               t.connection_id as "connection_id: ConnectionId"
          from sync_stage t
          join sync_orchestration s on s.org_id = t.org_id and s.sync_id = t.sync_id
         where t.org_id = $1 and t.entity_type = $2 and t.direction = 'push' and t.status = 'open' and t.scope = 'all'
           and s.status in ('processing', 'pausing', 'paused')
           and not coalesce((s.config ->> 'dry_run')::boolean, false)
         order by t.stage_id
           for update of t
        "#,
        org as _,
        entity.name(),
    )
    .fetch_all(db)
    .await?;
    let mut seen = std::collections::BTreeSet::new();
    Ok(pushes
        .into_iter()
        .filter(|push| seen.insert(push.connection_id))
        .collect())
}

/// Finds a sync that is running and has a push of a connection's records of a type before it.
pub async fn coming_push(
    db: &mut PgConnection,
    org: OrgId,
    (connection, entity): (ConnectionId, EntityType),
) -> Result<Option<SyncId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select t.sync_id as "sync_id: SyncId"
          from sync_stage t
          join sync_orchestration s on s.org_id = t.org_id and s.sync_id = t.sync_id
         where t.org_id = $1 and t.connection_id = $2 and t.entity_type = $3 and t.direction = 'push'
           and t.status = 'waiting' and t.scope = 'all' and s.status in ('processing', 'pausing', 'paused')
           and not coalesce((s.config ->> 'dry_run')::boolean, false)
         order by s.created_at
         limit 1
        "#,
        org as _,
        connection as _,
        entity.name(),
    )
    .fetch_optional(db)
    .await
}

/// Opens a stage. A push takes what is due by now and counts it.
pub async fn open(db: &mut PgConnection, org: OrgId, stage: &Stage) -> Result<Stage, sqlx::Error> {
    sqlx::query_as!(
        Stage,
        r#"
        update sync_stage t
           set status = 'open', opened_at = lockstep_now(),
               high_water = case when direction = 'push' then nextval('item_due_sequence') end,
               total = case when direction = 'push' then (
                   select count(*) from item i
                    where i.org_id = t.org_id and i.connection_id = t.connection_id and i.entity_type = t.entity_type
                      and i.state in ('pending', 'failed') and i.batch_id is null and i.retry_stage_id is null
                      and i.gone_at is null
                      and (t.scope = 'all'
                           or (t.scope = 'named'
                               and item_is_awaited(i.org_id, i.connection_id, i.record_id, i.external_id))
                           or (t.scope = 'listed' and exists (
                               select from sync_record l
                                where l.org_id = t.org_id and l.sync_id = t.sync_id and l.record_id = i.record_id
                                  and (l.connection_ids is null or i.connection_id = any (l.connection_ids)))))
               ) else 0 end
         where org_id = $1 and stage_id = $2 and status = 'waiting'
        returning stage_id as "stage_id: StageId", sync_id as "sync_id: SyncId", direction as "direction: Direction",
                  connection_id as "connection_id: ConnectionId", entity_type as "entity_type: EntityType",
                  status as "status: Status", high_water, scope as "scope: Scope"
        "#,
        org as _,
        stage.stage_id as _,
    )
    .fetch_one(db)
    .await
}

/// Closes a stage: failed where a reason is given. `false` where it was closed already.
pub async fn close(
    db: &mut PgConnection,
    org: OrgId,
    id: StageId,
    failure: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let closed = sqlx::query!(
        "update sync_stage
            set status = case when $3::text is null then 'finished' else 'failed' end, error_message = $3,
                closed_at = lockstep_now()
          where org_id = $1 and stage_id = $2 and status in ('waiting', 'open')",
        org as _,
        id as _,
        failure,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(closed == 1)
}

/// How a sync's stages ended, to tell how the sync ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub finished: i64,
    pub failed: i64,
    /// Items that did not get through.
    pub unsettled_items: i64,
    pub settled_items: i64,
}

impl Ends {
    /// Returns the state in which the sync ends (R1, R8): done if all got through, failed if nothing did.
    pub const fn status(self) -> crate::sync::Status {
        match (
            self.failed,
            self.finished,
            self.unsettled_items,
            self.settled_items,
        ) {
            (0, _, 0, _) => crate::sync::Status::Done,
            (_, 0, _, _) => crate::sync::Status::Failed,
            (0, _, _, 0) => crate::sync::Status::Failed,
            _ => crate::sync::Status::Partial,
        }
    }
}

/// Sums up how a sync's stages ended.
pub async fn ends(db: &mut PgConnection, org: OrgId, sync: SyncId) -> Result<Ends, sqlx::Error> {
    sqlx::query_as!(
        Ends,
        r#"
        select (select count(*) from sync_stage where org_id = $1 and sync_id = $2 and status = 'finished') as "finished!",
               (select count(*) from sync_stage where org_id = $1 and sync_id = $2 and status = 'failed') as "failed!",
               coalesce(sum(failed_count + conflict_count), 0) as "unsettled_items!",
               coalesce(sum(created_count + updated_count + unchanged_count), 0)
                   -- What was seen and did not get through is no success; what failed need not have been seen in this sync.
                   + greatest(coalesce(sum(seen_count - failed_count - conflict_count), 0), 0) as "settled_items!"
          from sync_batch
         where org_id = $1 and sync_id = $2
        "#,
        org as _,
        sync as _,
    )
    .fetch_one(db)
    .await
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn pulls_go_before_pushes_and_the_store_before_the_erp() {
        let (store, erp) = (ConnectionId(Uuid::from_u128(9)), ConnectionId(Uuid::from_u128(1)));

        let stages = plan(
            &[(erp, System::Odoo), (store, System::Woocommerce)],
            &[EntityType::Products, EntityType::Customers],
        );

        let order: Vec<_> = stages
            .iter()
            .map(|s| (s.direction, s.connection == store, s.entity))
            .collect();
        let (pull, push) = (Direction::Pull, Direction::Push);
        let (customers, products) = (EntityType::Customers, EntityType::Products);
        assert_eq!(
            order,
            [
                (pull, true, customers),
                (pull, true, products),
                (pull, false, customers),
                (pull, false, products),
                (push, true, customers),
                (push, true, products),
                (push, false, customers),
                (push, false, products),
            ],
            "R3"
        );
    }

    #[test]
    fn stock_and_money_follow_once_the_orders_have_arrived() {
        let (store, erp) = (ConnectionId(Uuid::from_u128(1)), ConnectionId(Uuid::from_u128(2)));
        let systems = [(store, System::Woocommerce), (erp, System::Odoo)];

        let stages = plan(&systems, &EntityType::ALL);

        let last_order = stages
            .iter()
            .rposition(|stage| stage.entity == EntityType::Orders)
            .unwrap();
        let first_level = stages
            .iter()
            .position(|stage| stage.entity == EntityType::Inventory)
            .unwrap();
        assert_eq!(stages.len(), 20);
        assert!(last_order < first_level);
        assert!(stages.iter().all(|stage| stage.scope == Scope::All));
    }

    #[test]
    fn a_sync_of_orders_alone_carries_what_its_orders_name() {
        let erp = ConnectionId(Uuid::from_u128(2));

        let stages = plan(&[(erp, System::Odoo)], &[EntityType::Orders]);

        let order: Vec<_> = stages.iter().map(|s| (s.direction, s.entity, s.scope)).collect();
        assert_eq!(
            order,
            [
                (Direction::Pull, EntityType::Orders, Scope::All),
                (Direction::Push, EntityType::Customers, Scope::Named),
                (Direction::Push, EntityType::Products, Scope::Named),
                (Direction::Push, EntityType::Orders, Scope::All),
            ]
        );
    }

    #[test]
    fn a_sync_of_listed_records_only_pushes() {
        let (store, erp) = (ConnectionId(Uuid::from_u128(1)), ConnectionId(Uuid::from_u128(2)));
        let systems = [(erp, System::Odoo), (store, System::Woocommerce)];

        let stages = plan_listed(&systems, &[EntityType::Orders]);

        let order: Vec<_> = stages
            .iter()
            .map(|s| (s.direction, s.connection, s.entity, s.scope))
            .collect();
        assert_eq!(
            order,
            [
                (Direction::Push, store, EntityType::Orders, Scope::Listed),
                (Direction::Push, erp, EntityType::Orders, Scope::Listed),
            ]
        );
    }

    #[test]
    fn a_failed_system_makes_a_sync_partial_and_only_failures_make_it_failed() {
        use crate::sync::Status::{Done, Failed, Partial};
        let ends = |finished, failed, unsettled_items, settled_items| {
            Ends {
                finished,
                failed,
                unsettled_items,
                settled_items,
            }
            .status()
        };

        assert_eq!(ends(8, 0, 0, 50), Done);
        assert_eq!(ends(8, 0, 0, 0), Done, "nothing to do is done");
        assert_eq!(ends(8, 0, 1, 50), Partial, "R8");
        assert_eq!(ends(4, 4, 0, 50), Partial, "R8");
        assert_eq!(ends(0, 8, 0, 0), Failed);
        assert_eq!(ends(8, 0, 5, 0), Failed);
    }
}
