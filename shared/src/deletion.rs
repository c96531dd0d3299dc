//! Deletions in a remote system: what becomes of the records, and which items count as deleted.
//!
//! A remote's deletion leaves no trace in its lists (facts/systems.md A4, B6). It is found by a full scan, or when a write
//! meets nothing. An item whose thing is gone keeps its external id, for what still names it, and nothing is sent for it
//! until somebody puts its record again.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::id::{ConnectionId, ItemId, OrgId, RecordId, StageId};
use crate::system::EntityType;

/// Most things that may vanish at once without anybody being asked, whatever share of all they are: in a small shop one
/// product is a tenth of them.
pub const UNASKED: i64 = 5;

/// What becomes of records whose things vanish from a remote, and when somebody has to be asked first.
///
/// A level or a payment has no use to be taken out of: of those it is noted that they are gone, and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeletionSettings {
    pub customers: CustomerPolicy,
    pub products: ProductPolicy,
    pub orders: OrderPolicy,
    pub ask_above: AskAbove,
}

/// What becomes of a customer who was deleted. An account that is closed is not the end of a business partner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CustomerPolicy {
    Archive,
    #[default]
    Ignore,
}

/// What becomes of a product that was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProductPolicy {
    #[default]
    Archive,
    Ignore,
}

/// What becomes of an order that was deleted before it was carried out; one that is completed stays what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderPolicy {
    #[default]
    Cancel,
    Ignore,
}

impl DeletionSettings {
    /// Says whether records of a type are taken out of use where their things vanish.
    pub fn retires(&self, entity: EntityType) -> bool {
        match entity {
            EntityType::Customers => self.customers == CustomerPolicy::Archive,
            EntityType::Products => self.products == ProductPolicy::Archive,
            EntityType::Orders => self.orders == OrderPolicy::Cancel,
            EntityType::Inventory | EntityType::Payments => false,
        }
    }
}

/// The share of a connection's things of one type above which their vanishing is put to a person, in percent: 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct AskAbove(u8);

/// A share that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be from 1 to 100")]
pub struct NoShare;

impl AskAbove {
    pub const fn percent(self) -> u8 {
        self.0
    }

    /// Returns how many of the known things may vanish at once without anybody being asked.
    pub fn unasked(self, known: i64) -> i64 {
        (known.saturating_mul(self.0.into()) / 100).max(UNASKED)
    }
}

impl Default for AskAbove {
    fn default() -> Self {
        Self(10)
    }
}

impl TryFrom<u8> for AskAbove {
    type Error = NoShare;

    fn try_from(percent: u8) -> Result<Self, NoShare> {
        if (1..=100).contains(&percent) {
            Ok(Self(percent))
        } else {
            Err(NoShare)
        }
    }
}

impl From<AskAbove> for u8 {
    fn from(share: AskAbove) -> Self {
        share.0
    }
}

/// Counts a connection's things of one type that are there as far as we know.
pub async fn known(
    db: &mut PgConnection,
    org: OrgId,
    (connection, entity): (ConnectionId, EntityType),
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select count(*) as "count!"
          from item
         where org_id = $1 and connection_id = $2 and entity_type = $3 and external_id is not null and gone_at is null
        "#,
        org as _,
        connection as _,
        entity as _,
    )
    .fetch_one(db)
    .await
}

/// Counts the things that a stage found missing.
pub async fn missing(db: &mut PgConnection, org: OrgId, stage: StageId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from item where org_id = $1 and missing_stage_id = $2"#,
        org as _,
        stage as _,
    )
    .fetch_one(db)
    .await
}

/// An item whose thing is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub item_id: ItemId,
    pub record_id: RecordId,
    pub external_id: String,
}

/// Notes that things are gone. Items that a batch has in hand are left to it; returns the others.
pub async fn note(
    db: &mut PgConnection,
    org: OrgId,
    stage: StageId,
    items: &[ItemId],
    words: &str,
) -> Result<Vec<Missing>, sqlx::Error> {
    let items: Vec<Uuid> = items.iter().map(|id| id.0).collect();
    sqlx::query_as!(
        Missing,
        r#"
        update item
           set gone_at = lockstep_now(), missing_stage_id = $2, state = 'skipped', last_error = $4, retries = 0,
               retry_stage_id = null, retry_at = null
         where org_id = $1 and item_id = any($3) and batch_id is null and gone_at is null and external_id is not null
        returning item_id as "item_id: ItemId", record_id as "record_id: RecordId", external_id as "external_id!"
        "#,
        org as _,
        stage as _,
        &items,
        words,
    )
    .fetch_all(db)
    .await
}

/// Gives up bringing records to the other connections that have no thing of them yet; returns the items.
pub async fn give_up_elsewhere(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    records: &[RecordId],
    words: &str,
) -> Result<Vec<ItemId>, sqlx::Error> {
    let records: Vec<Uuid> = records.iter().map(|id| id.0).collect();
    sqlx::query_scalar!(
        r#"
        update item
           set state = 'skipped', last_error = $4, retries = 0, retry_stage_id = null, retry_at = null
         where org_id = $1 and connection_id <> $2 and record_id = any($3)
           and external_id is null and batch_id is null and gone_at is null
        returning item_id as "item_id: ItemId"
        "#,
        org as _,
        connection as _,
        &records,
        words,
    )
    .fetch_all(db)
    .await
}

/// Puts items before a person whose things are missing, where too many are.
pub async fn ask(
    db: &mut PgConnection,
    org: OrgId,
    stage: StageId,
    items: &[ItemId],
    words: &str,
) -> Result<(), sqlx::Error> {
    let items: Vec<Uuid> = items.iter().map(|id| id.0).collect();
    sqlx::query!(
        "update item set missing_stage_id = $2, state = 'conflict', last_error = $4
          where org_id = $1 and item_id = any($3) and batch_id is null and gone_at is null",
        org as _,
        stage as _,
        &items,
        words,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets things that were deleted, so that they are made again. What is written then is another write than any before:
/// the base generation moves on.
pub async fn forget(db: &mut PgConnection, org: OrgId, records: &[RecordId]) -> Result<(), sqlx::Error> {
    let records: Vec<Uuid> = records.iter().map(|id| id.0).collect();
    sqlx::query!(
        "update item
            set state = 'pending', external_id = null, parts = '{}', base = null, held = null,
                generation = generation + 1, last_error = null, seen_at = null, missing_stage_id = null, gone_at = null
          where org_id = $1 and record_id = any($2) and gone_at is not null",
        org as _,
        &records,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Has things made after all that were left out because they are out of use: something names them.
pub async fn want(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    records: &[RecordId],
) -> Result<(), sqlx::Error> {
    if records.is_empty() {
        return Ok(());
    }
    let records: Vec<Uuid> = records.iter().map(|id| id.0).collect();
    sqlx::query!(
        "update item set state = 'pending', due_sequence = nextval('item_due_sequence')
          where org_id = $1 and connection_id = $2 and record_id = any($3)
            and state = 'skipped' and external_id is null and gone_at is null",
        org as _,
        connection as _,
        &records,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Says which records something waits for that is to be carried to a connection.
pub async fn awaited(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    records: &[RecordId],
) -> Result<Vec<RecordId>, sqlx::Error> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let records: Vec<Uuid> = records.iter().map(|id| id.0).collect();
    sqlx::query_scalar!(
        r#"
        select i.record_id as "record_id: RecordId"
          from item i
         where i.org_id = $1 and i.connection_id = $2 and i.record_id = any($3)
           and item_is_awaited(i.org_id, i.connection_id, i.record_id, i.external_id)
        "#,
        org as _,
        connection as _,
        &records,
    )
    .fetch_all(db)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_may_vanish_unasked_and_of_few_things_five() {
        let share = AskAbove::default();

        assert_eq!(share.unasked(1_000), 100);
        assert_eq!(share.unasked(59), 5);
        assert_eq!(share.unasked(3), UNASKED);
        assert_eq!(AskAbove(100).unasked(1_000), 1_000, "all of them");
    }

    #[test]
    fn a_share_is_from_one_to_a_hundred() {
        assert!(AskAbove::try_from(0).is_err());
        assert!(AskAbove::try_from(101).is_err());
        assert_eq!(serde_json::from_str::<AskAbove>("25").unwrap().percent(), 25);
        assert!(serde_json::from_str::<AskAbove>("0").is_err());
    }

    #[test]
    fn settings_that_say_nothing_of_deletions_have_the_usual_policy() {
        let settings: DeletionSettings = serde_json::from_str("{}").unwrap();

        let retired = EntityType::ALL.map(|entity| settings.retires(entity));

        assert_eq!(retired, [false, true, true, false, false]);
    }
}
