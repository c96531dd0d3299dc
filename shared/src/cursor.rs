//! Where the pulls of a connection and entity type have got to.

use serde_json::Value;
use sqlx::PgConnection;

use crate::id::{ConnectionId, OrgId};
use crate::system::EntityType;

/// A pull's position, and the generation that proves nobody moved it meanwhile.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    pub value: Value,
    pub generation: i64,
}

/// Reads the position; the beginning where none is stored.
pub async fn read(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    entity: EntityType,
) -> Result<Position, sqlx::Error> {
    let row = sqlx::query!(
        "select position, generation from pull_cursor where org_id = $1 and connection_id = $2 and entity_type = $3",
        org as _,
        connection as _,
        entity as _,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map_or(
        Position {
            value: Value::Null,
            generation: 0,
        },
        |row| Position {
            value: row.position,
            generation: row.generation,
        },
    ))
}

/// Moves the position on from the one that was read. `false` where somebody else moved it first.
pub async fn advance(
    db: &mut PgConnection,
    org: OrgId,
    (connection, entity): (ConnectionId, EntityType),
    from: &Position,
    to: &Value,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query!(
        "insert into pull_cursor (org_id, connection_id, entity_type, position, generation)
         values ($1, $2, $3, $4, $5::bigint + 1)
         on conflict (org_id, connection_id, entity_type) do update
            set position = excluded.position, generation = excluded.generation, updated_at = lockstep_now()
          where pull_cursor.generation = $5",
        org as _,
        connection as _,
        entity as _,
        to,
        from.generation,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(moved == 1)
}
