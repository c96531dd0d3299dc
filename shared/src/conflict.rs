//! Conflicts as rows: what a rule or a person must decide. Opened and closed by the workers; what the API shows of them
//! stands in [`view`].

pub mod view;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::activity::{self, Activity, Outcome};
use crate::id::{ConflictId, ConnectionId, ItemId, OrgId, StageId, SyncId};
use crate::notification::{self, Event};
use crate::strategy::Strategy;
use crate::system::EntityType;

/// What kind of disagreement it is (R20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[sqlx(type_name = "text")]
pub enum ConflictType {
    DataMismatch,
    DuplicateKey,
    ValidationError,
    AuthError,
    RetryExhausted,
}

impl ConflictType {
    pub const ALL: [Self; 5] = [
        Self::DataMismatch,
        Self::DuplicateKey,
        Self::ValidationError,
        Self::AuthError,
        Self::RetryExhausted,
    ];

    /// Returns the name used in the API, the tables and the logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DataMismatch => "DataMismatch",
            Self::DuplicateKey => "DuplicateKey",
            Self::ValidationError => "ValidationError",
            Self::AuthError => "AuthError",
            Self::RetryExhausted => "RetryExhausted",
        }
    }

    /// Returns what a conflict is about, whose data is given: that what was tried often enough is a mismatch still, which
    /// is answered as one, shows in the fields that it names.
    #[must_use]
    pub fn matter(self, data: &Value) -> Self {
        match self {
            Self::RetryExhausted if data.get("fields").is_some_and(Value::is_array) => Self::DataMismatch,
            Self::DataMismatch
            | Self::DuplicateKey
            | Self::ValidationError
            | Self::AuthError
            | Self::RetryExhausted => self,
        }
    }
}

/// How far a conflict is gone about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    pub strategy: Strategy,
    /// How often it was tried again in the sync that looks at it.
    pub retries: i32,
    /// When it is tried again.
    pub next_retry_at: Option<DateTime<Utc>>,
}

impl Course {
    /// A conflict that is not tried again by itself.
    pub const fn of(strategy: Strategy) -> Self {
        Self {
            strategy,
            retries: 0,
            next_retry_at: None,
        }
    }
}

/// A conflict to be stored.
#[derive(Clone, Debug)]
pub struct NewConflict {
    pub sync: Option<SyncId>,
    pub connection: ConnectionId,
    /// None where it is about the connection as a whole.
    pub item: Option<ItemId>,
    pub entity: EntityType,
    pub conflict_type: ConflictType,
    pub course: Course,
    /// Base, ours, theirs, the fields, the proposed merge, and the remote's own words.
    pub data: Value,
}

/// An open conflict that another sight of the same is noted on.
#[derive(Debug)]
struct Standing {
    id: ConflictId,
    conflict_type: ConflictType,
    strategy: Strategy,
    retries: i32,
    data: Value,
}

impl Standing {
    /// Returns what it is from now on. A mismatch that was tried often enough stays that, while it only is seen again.
    fn with(&self, new: &NewConflict) -> (ConflictType, Course) {
        let is_seen_again = new.conflict_type == ConflictType::DataMismatch
            && new.course.strategy == Strategy::Manual
            && self.conflict_type == ConflictType::RetryExhausted
            && self.conflict_type.matter(&self.data) == ConflictType::DataMismatch;
        if is_seen_again {
            let course = Course {
                retries: self.retries,
                ..new.course
            };
            (self.conflict_type, course)
        } else {
            (new.conflict_type, new.course)
        }
    }
}

/// Stores a conflict; where the same is open already, brings its data up to date instead. An item's mismatch and its being
/// tried often enough are one conflict that goes from one to the other. Its version moves on only where it says something
/// else than before. Who wants to be notified is told once it is not worked on by itself any more.
pub async fn open(db: &mut PgConnection, org: OrgId, new: &NewConflict) -> Result<(), sqlx::Error> {
    let standing = sqlx::query_as!(
        Standing,
        r#"
        select id as "id: ConflictId", conflict_type as "conflict_type: ConflictType", strategy as "strategy: Strategy",
               retries, data
          from sync_conflict
         where org_id = $1 and connection_id = $2 and item_id is not distinct from $3
           and (conflict_type = $4
                or (item_id is not null and conflict_type in ('DataMismatch', 'RetryExhausted')
                    and $4 in ('DataMismatch', 'RetryExhausted')))
           and (entity_type = $5 or conflict_type = 'AuthError') and not is_resolved
         order by conflict_type = $4 desc
         limit 1
           for update
        "#,
        org as _,
        new.connection as _,
        new.item as _,
        new.conflict_type as _,
        new.entity as _,
    )
    .fetch_optional(&mut *db)
    .await?;
    let (id, conflict_type, was_told) = match standing {
        Some(standing) => {
            let (conflict_type, course) = standing.with(new);
            update(db, org, standing.id, (conflict_type, course, &new.data)).await?;
            let is_the_same = standing.conflict_type == conflict_type;
            let was_told = standing.strategy != Strategy::AutoRetry && is_the_same;
            (standing.id, conflict_type, was_told)
        }
        // Somebody else opened it meanwhile, and told of it.
        None => match insert(db, org, new).await? {
            Some(id) => (id, new.conflict_type, false),
            None => return Ok(()),
        },
    };
    if was_told || new.course.strategy == Strategy::AutoRetry {
        return Ok(());
    }
    let told = json!({
        "conflictId": id, "connectionId": new.connection, "syncId": new.sync, "itemId": new.item,
        "entityType": new.entity, "conflictType": conflict_type, "reason": new.data["reason"],
    });
    notification::tell(db, org, Event::ConflictOpened, &told).await
}

async fn update(
    db: &mut PgConnection,
    org: OrgId,
    id: ConflictId,
    (conflict_type, course, data): (ConflictType, Course, &Value),
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sync_conflict
            set data = $3, strategy = $4, retries = $5, next_retry_at = $6, conflict_type = $7,
                updated_at = lockstep_now(),
                version = version + (data <> $3 or strategy <> $4 or conflict_type <> $7)::int
          where org_id = $1 and id = $2",
        org as _,
        id as _,
        data,
        course.strategy as _,
        course.retries,
        course.next_retry_at,
        conflict_type as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn insert(
    db: &mut PgConnection,
    org: OrgId,
    new: &NewConflict,
) -> Result<Option<ConflictId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        insert into sync_conflict (id, org_id, sync_id, connection_id, item_id, entity_type, conflict_type, data, strategy,
                                   retries, next_retry_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        on conflict do nothing
        returning id as "id: ConflictId"
        "#,
        ConflictId::random() as _,
        org as _,
        new.sync as _,
        new.connection as _,
        new.item as _,
        new.entity as _,
        new.conflict_type as _,
        new.data,
        new.course.strategy as _,
        new.course.retries,
        new.course.next_retry_at,
    )
    .fetch_optional(db)
    .await
}

/// Closes the open conflicts about refused credentials of a connection that lets us in again (R27).
pub async fn close_admitted(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
) -> Result<u64, sqlx::Error> {
    let closed = sqlx::query_scalar!(
        r#"
        update sync_conflict
           set is_resolved = true, resolution_action = 'solved_itself', resolved_at = lockstep_now(),
               updated_at = lockstep_now(), version = version + 1
         where org_id = $1 and connection_id = $2 and item_id is null and conflict_type = 'AuthError'
           and not is_resolved
        returning id as "id: ConflictId"
        "#,
        org as _,
        connection as _,
    )
    .fetch_all(&mut *db)
    .await?;
    tell(db, org, &closed, "the connection lets us in again").await
}

/// Closes the open conflicts of items that got through after all (R27).
pub async fn close_settled(db: &mut PgConnection, org: OrgId, items: &[ItemId]) -> Result<u64, sqlx::Error> {
    let items: Vec<uuid::Uuid> = items.iter().map(|id| id.0).collect();
    let closed = sqlx::query_scalar!(
        r#"
        update sync_conflict
           set is_resolved = true, resolution_action = 'solved_itself', resolved_at = lockstep_now(),
               updated_at = lockstep_now(), next_retry_at = null, version = version + 1
         where org_id = $1 and item_id = any($2) and not is_resolved
        returning id as "id: ConflictId"
        "#,
        org as _,
        &items,
    )
    .fetch_all(&mut *db)
    .await?;
    tell(db, org, &closed, "both sides agree").await
}

/// Closes the open conflict of one type that is about a connection's records of a type as a whole.
pub async fn close_of_type(
    db: &mut PgConnection,
    org: OrgId,
    (connection, entity): (ConnectionId, EntityType),
    conflict_type: ConflictType,
) -> Result<u64, sqlx::Error> {
    let closed = sqlx::query_scalar!(
        r#"
        update sync_conflict
           set is_resolved = true, resolution_action = 'solved_itself', resolved_at = lockstep_now(),
               updated_at = lockstep_now(), version = version + 1
         where org_id = $1 and connection_id = $2 and entity_type = $3 and conflict_type = $4 and item_id is null
           and not is_resolved
        returning id as "id: ConflictId"
        "#,
        org as _,
        connection as _,
        entity as _,
        conflict_type as _,
    )
    .fetch_all(&mut *db)
    .await?;
    tell(db, org, &closed, "it was looked at again, and all is well").await
}

/// Closes the open conflicts about a connection's things that no record is known for, of which a stage that has read
/// everything met none: the thing that was too many, or could not be read, is gone or has a record by now (R27).
pub async fn close_unmet(
    db: &mut PgConnection,
    org: OrgId,
    (connection, entity): (ConnectionId, EntityType),
    stage: StageId,
) -> Result<u64, sqlx::Error> {
    let closed = sqlx::query_scalar!(
        r#"
        update sync_conflict c
           set is_resolved = true, resolution_action = 'solved_itself', resolved_at = lockstep_now(),
               updated_at = lockstep_now(), version = c.version + 1
          from sync_stage s
         where s.org_id = $1 and s.stage_id = $4
           and c.org_id = $1 and c.connection_id = $2 and c.entity_type = $3 and c.item_id is null
           and c.conflict_type in ('DuplicateKey', 'ValidationError') and not c.is_resolved
           -- Whoever meets the thing again brings its conflict up to date.
           and c.updated_at < s.opened_at
        returning c.id as "id: ConflictId"
        "#,
        org as _,
        connection as _,
        entity as _,
        stage as _,
    )
    .fetch_all(&mut *db)
    .await?;
    tell(
        db,
        org,
        &closed,
        "everything was read, and nothing of the kind is there",
    )
    .await
}

/// Says in the activity log that conflicts solved themselves.
async fn tell(
    db: &mut PgConnection,
    org: OrgId,
    closed: &[ConflictId],
    why: &str,
) -> Result<u64, sqlx::Error> {
    if !closed.is_empty() {
        let line = Activity {
            sync: None,
            actor: "worker".to_owned(),
            action: "conflict.solved_itself",
            outcome: Outcome::Done,
            details: json!({ "conflictIds": closed, "why": why }),
        };
        activity::record(db, org, line).await?;
    }
    Ok(u64::try_from(closed.len()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(conflict_type: ConflictType, data: Value) -> Standing {
        Standing {
            id: ConflictId::random(),
            conflict_type,
            strategy: Strategy::Manual,
            retries: 3,
            data,
        }
    }

    fn seen(conflict_type: ConflictType, strategy: Strategy) -> NewConflict {
        NewConflict {
            sync: None,
            connection: ConnectionId::random(),
            item: Some(ItemId::random()),
            entity: EntityType::Products,
            conflict_type,
            course: Course::of(strategy),
            data: json!({ "fields": ["name"] }),
        }
    }

    #[test]
    fn a_mismatch_that_was_tried_often_enough_is_one_still() {
        let exhausted = ConflictType::RetryExhausted;

        assert_eq!(
            exhausted.matter(&json!({ "fields": ["name"] })),
            ConflictType::DataMismatch
        );
        assert_eq!(exhausted.matter(&json!({ "code": "unreachable" })), exhausted);
        for other in ConflictType::ALL {
            if other != exhausted {
                assert_eq!(other.matter(&json!({ "fields": ["name"] })), other);
            }
        }
    }

    #[test]
    fn a_mismatch_that_was_tried_often_enough_stays_that_when_it_is_seen_again() {
        let standing = standing(ConflictType::RetryExhausted, json!({ "fields": ["name"] }));

        let (conflict_type, course) = standing.with(&seen(ConflictType::DataMismatch, Strategy::Manual));

        assert_eq!(
            (conflict_type, course.retries),
            (ConflictType::RetryExhausted, 3),
            "R25"
        );
    }

    #[test]
    fn a_mismatch_that_is_tried_anew_is_not_exhausted_any_more() {
        let standing = standing(ConflictType::RetryExhausted, json!({ "fields": ["name"] }));

        let (conflict_type, course) = standing.with(&seen(ConflictType::DataMismatch, Strategy::AutoRetry));

        assert_eq!((conflict_type, course.retries), (ConflictType::DataMismatch, 0));
    }

    #[test]
    fn a_mismatch_takes_the_place_of_what_could_not_be_reached() {
        let standing = standing(ConflictType::RetryExhausted, json!({ "code": "unreachable" }));

        let (conflict_type, _) = standing.with(&seen(ConflictType::DataMismatch, Strategy::Manual));

        assert_eq!(conflict_type, ConflictType::DataMismatch);
    }
}
