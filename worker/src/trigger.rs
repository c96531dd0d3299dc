//! Starting small syncs for what webhooks told of: of just the types that changed, with the store that told and the other
//! systems, one at a time for an organisation.

use std::collections::BTreeSet;
use std::time::Duration;

use lockstep_shared::activity::{self, Activity, Outcome};
use lockstep_shared::connection::{self, Connection, Status};
use lockstep_shared::db::{self, Isolation};
use lockstep_shared::id::{ConnectionId, OrgId, SyncId};
use lockstep_shared::sync::{self, Config, NewSync, StartError};
use lockstep_shared::system::{EntityType, System};
use lockstep_shared::telemetry::Chain;
use lockstep_shared::trigger::{self, Plan};
use serde_json::json;
use sqlx::PgPool;

/// Who asked for such a sync.
const REQUESTED_BY: &str = "webhook";

/// Most organisations that one sweep looks at.
const ORGANISATIONS: i32 = 100;

/// How soon it is looked whether a sync has read what it is expected to, or has ended.
const SOON: Duration = Duration::from_secs(2);

/// How soon a connection is looked at again that can't be used now.
const LATER: Duration = Duration::from_mins(1);

/// Starts what is due. What fails is told, and tried again by the next sweep.
pub async fn start_due(pool: &PgPool) -> Result<(), sqlx::Error> {
    let due = trigger::due(&mut *pool.acquire().await?, ORGANISATIONS).await?;
    for org in due {
        if let Err(error) = start(pool, org).await {
            tracing::warn!(error = %Chain(&error), org.id = %org, "what webhooks told of waits for the next sweep");
        }
    }
    Ok(())
}

async fn start(pool: &PgPool, org: OrgId) -> Result<(), sqlx::Error> {
    let mut tx = db::begin(pool, org, Isolation::ReadCommitted).await?;
    trigger::lock(&mut tx, org).await?;
    let connections = connection::list(&mut tx, org).await?;
    let mut plan = Plan::default();
    for one in &connections {
        let others = others(one, &connections);
        let pending = trigger::pending(&mut tx, org, one.connection_id, &others).await?;
        if one.status == Status::NeedsAttention {
            for news in pending {
                trigger::put_off(&mut tx, org, (news.connection, news.entity), LATER).await?;
            }
            continue;
        }
        let own = Plan::of(&pending);
        plan.done.extend(own.done);
        plan.waits.extend(own.waits);
        plan.starts.extend(own.starts);
    }
    for news in plan.done {
        trigger::settle(&mut tx, org, news, None).await?;
    }
    if !plan.starts.is_empty() && trigger::is_busy(&mut tx, org).await? {
        plan.waits.append(&mut plan.starts);
    }
    if !plan.starts.is_empty() {
        let new = sync_of(&plan.starts, &connections);
        match sync::start(&mut tx, org, &new).await {
            Ok(()) => {
                for news in plan.starts {
                    trigger::settle(&mut tx, org, news, Some(new.sync_id)).await?;
                }
                let line = Activity {
                    sync: Some(new.sync_id),
                    actor: REQUESTED_BY.to_owned(),
                    action: "sync.requested",
                    outcome: Outcome::Done,
                    details: json!({
                        "systems": new.systems, "entityTypes": new.entity_types, "connectionIds": new.connections,
                    }),
                };
                activity::record(&mut tx, org, line).await?;
                tracing::info!(org.id = %org, sync.id = %new.sync_id, "a sync was started for what webhooks told of");
            }
            Err(StartError::TooManyActive { .. }) => plan.waits.append(&mut plan.starts),
            Err(StartError::Database(error)) => return Err(error),
        }
    }
    for news in plan.waits {
        trigger::put_off(&mut tx, org, news, SOON).await?;
    }
    tx.commit().await
}

/// Returns where news of a connection has to be carried: the usable connections of the other systems. Nothing crosses from one
/// store into another (R52).
fn others(told: &Connection, connections: &[Connection]) -> Vec<ConnectionId> {
    connections
        .iter()
        .filter(|one| one.status == Status::Active && one.system != told.system)
        .map(|one| one.connection_id)
        .collect()
}

/// Makes the one sync that reads all the news.
fn sync_of(news: &[(ConnectionId, EntityType)], connections: &[Connection]) -> NewSync {
    let told: BTreeSet<ConnectionId> = news.iter().map(|(connection, _)| *connection).collect();
    let mut chosen = told.clone();
    for one in connections {
        if told.contains(&one.connection_id) {
            chosen.extend(others(one, connections));
        }
    }
    let entity_types: BTreeSet<EntityType> = news.iter().map(|(_, entity)| *entity).collect();
    let systems: BTreeSet<System> = connections
        .iter()
        .filter(|one| chosen.contains(&one.connection_id))
        .map(|one| one.system)
        .collect();
    NewSync {
        sync_id: SyncId::random(),
        systems: systems.into_iter().collect(),
        entity_types: entity_types.into_iter().collect(),
        connections: chosen.into_iter().collect(),
        config: Config::default(),
        requested_by: REQUESTED_BY.to_owned(),
        traceparent: None,
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use lockstep_shared::connection::Settings;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_sync_is_about_just_what_was_told_and_no_other_store() {
        let connection = |id: u128, system, status| Connection {
            connection_id: ConnectionId(Uuid::from_u128(id)),
            system,
            name: id.to_string(),
            base_url: "https://example.com".to_owned(),
            settings: Settings::default(),
            status,
            attention: None,
            credentials_set_at: DateTime::UNIX_EPOCH,
            created_at: DateTime::UNIX_EPOCH,
        };
        let connections = [
            connection(1, System::Woocommerce, Status::Active),
            connection(2, System::Woocommerce, Status::Active),
            connection(3, System::Odoo, Status::Active),
            connection(4, System::Odoo, Status::NeedsAttention),
        ];
        let told = connections[0].connection_id;

        let new = sync_of(
            &[(told, EntityType::Orders), (told, EntityType::Payments)],
            &connections,
        );

        let ids: Vec<u128> = new.connections.iter().map(|id| id.0.as_u128()).collect();
        assert_eq!(ids, [1, 3], "R52");
        assert_eq!(new.entity_types, [EntityType::Orders, EntityType::Payments]);
        assert_eq!(new.systems, System::ALL);
    }
}
