//! Effects: every external write, noted before it is sent, and what became of it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::entity::ContentHash;
use crate::id::{BatchId, ConnectionId, EffectId, ItemId, OrgId, RecordId, SyncId, Token};

#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum State {
    /// Noted, and perhaps sent.
    Intended,
    Applied,
    /// The remote did not do it: it may be intended again.
    Rejected,
    /// Sent, and no answer came: the remote is asked before anything is sent again.
    InDoubt,
}

/// The identity of a write: the same write is never sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub [u8; 32]);

/// What a key is made of.
#[derive(Clone, Copy, Debug)]
pub struct KeyParts<'a> {
    pub connection: ConnectionId,
    pub record: RecordId,
    pub operation: &'a str,
    pub step: u8,
    pub content: ContentHash,
    /// Generation of the item's agreed base, so that 10 → 12 → 10 is three writes.
    pub generation: i64,
}

impl Key {
    /// Derives the key of a write (R10).
    pub fn of(parts: KeyParts<'_>) -> Self {
        let mut hash = Sha256::new();
        hash.update(parts.connection.0.as_bytes());
        hash.update(parts.record.0.as_bytes());
        hash.update((parts.operation.len() as u64).to_be_bytes());
        hash.update(parts.operation.as_bytes());
        hash.update([parts.step]);
        hash.update(parts.content.0);
        hash.update(parts.generation.to_be_bytes());
        Self(hash.finalize().into())
    }
}

/// A write that is about to be sent.
#[derive(Clone, Debug)]
pub struct Intent {
    pub effect_id: EffectId,
    pub key: Key,
    pub item_id: ItemId,
    pub record_id: RecordId,
    pub operation: &'static str,
    pub step: u8,
    pub generation: i64,
    pub content: Value,
    /// Fields of the content that are the remote's own change, which our record does not have yet.
    pub taken: BTreeSet<String>,
}

/// Under which circumstances effects are intended.
#[derive(Clone, Copy, Debug)]
pub struct Under {
    pub sync: SyncId,
    pub batch: BatchId,
    pub connection: ConnectionId,
    pub token: Token,
    /// The request is not started after this and has timed out before it.
    pub call_deadline: DateTime<Utc>,
    /// From here on a late request can no longer arrive.
    pub quiet_at: DateTime<Utc>,
}

/// An effect as it stands in the log.
#[derive(Clone, Debug)]
pub struct Effect {
    pub effect_id: EffectId,
    pub item_id: ItemId,
    pub operation: String,
    pub step: i16,
    pub generation: i64,
    pub content: Value,
    /// Fields of the content that are the remote's own change: paths, as an array.
    pub taken: Value,
    pub state: State,
    pub token: Token,
    pub quiet_at: DateTime<Utc>,
    pub external_id: Option<String>,
    pub parts: Option<Value>,
    /// What the remote made of it, where that is not just what was sent.
    pub held: Option<Value>,
    pub next_step: Option<i16>,
    pub created_at: DateTime<Utc>,
}

/// Notes the intents of one request. Returns the effects that stand in the log under those keys already and were not
/// opened again: applied ones, which complete their item without a call. All others are intended now. The caller holds
/// the batch.
pub async fn intend(
    db: &mut PgConnection,
    org: OrgId,
    under: Under,
    intents: &[Intent],
) -> Result<BTreeMap<ItemId, Effect>, sqlx::Error> {
    let ids: Vec<Uuid> = intents.iter().map(|i| i.effect_id.0).collect();
    let keys: Vec<Vec<u8>> = intents.iter().map(|i| i.key.0.to_vec()).collect();
    let items: Vec<Uuid> = intents.iter().map(|i| i.item_id.0).collect();
    let records: Vec<Uuid> = intents.iter().map(|i| i.record_id.0).collect();
    let operations: Vec<String> = intents.iter().map(|i| i.operation.to_owned()).collect();
    let steps: Vec<i16> = intents.iter().map(|i| i.step.into()).collect();
    let generations: Vec<i64> = intents.iter().map(|i| i.generation).collect();
    let contents: Vec<Value> = intents.iter().map(|i| i.content.clone()).collect();
    let taken: Vec<Value> = intents.iter().map(|i| json!(i.taken)).collect();
    let opened: Vec<ItemId> = sqlx::query_scalar!(
        r#"
        insert into sync_idempotency_log
               (org_id, effect_id, sync_id, batch_id, connection_id, token, call_deadline, quiet_at, state,
                idempotency_key, item_id, record_id, operation, step, generation, content, taken)
        select $1, i.effect_id, $2, $3, $4, $5, $6, $7, 'intended',
               i.key, i.item_id, i.record_id, i.operation, i.step, i.generation, i.content, i.taken
          from unnest($8::uuid[], $9::bytea[], $10::uuid[], $11::uuid[], $12::text[], $13::smallint[], $14::bigint[],
                      $15::jsonb[], $16::jsonb[])
               i (effect_id, key, item_id, record_id, operation, step, generation, content, taken)
        on conflict (idempotency_key) do update
           set state = 'intended', resolved_at = null, sync_id = excluded.sync_id, batch_id = excluded.batch_id,
               token = excluded.token, call_deadline = excluded.call_deadline, quiet_at = excluded.quiet_at,
               taken = excluded.taken, created_at = lockstep_now(), error = null
         where sync_idempotency_log.org_id = excluded.org_id and sync_idempotency_log.state = 'rejected'
        returning item_id as "item_id: ItemId"
        "#,
        org as _,
        under.sync as _,
        under.batch as _,
        under.connection as _,
        under.token as _,
        under.call_deadline,
        under.quiet_at,
        &ids,
        &keys,
        &items,
        &records,
        &operations,
        &steps,
        &generations,
        &contents,
        &taken,
    )
    .fetch_all(&mut *db)
    .await?;
    if opened.len() == intents.len() {
        return Ok(BTreeMap::new());
    }
    let standing = sqlx::query_as!(
        Effect,
        r#"
        select effect_id as "effect_id: EffectId", item_id as "item_id: ItemId", operation, step, generation, content, taken,
               state as "state: State", token as "token: Token", quiet_at, external_id, parts, held, next_step, created_at
          from sync_idempotency_log
         where org_id = $1 and idempotency_key = any($2)
        "#,
        org as _,
        &keys,
    )
    .fetch_all(db)
    .await?;
    let is_opened: std::collections::HashSet<ItemId> = opened.into_iter().collect();
    Ok(standing
        .into_iter()
        .filter(|e| !is_opened.contains(&e.item_id))
        .map(|e| (e.item_id, e))
        .collect())
}

/// What became of one item's effect.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub item_id: ItemId,
    pub state: State,
    pub external_id: Option<String>,
    pub parts: Option<Value>,
    pub held: Option<Value>,
    pub next_step: Option<i16>,
    pub error: Option<Value>,
}

/// Notes outcomes of effects that are unresolved, for items in the given batch. The caller holds the batch. Returns
/// how many were noted.
pub async fn resolve(db: &mut PgConnection, org: OrgId, resolved: &[Resolved]) -> Result<u64, sqlx::Error> {
    let items: Vec<Uuid> = resolved.iter().map(|r| r.item_id.0).collect();
    let states: Vec<&str> = resolved
        .iter()
        .map(|r| match r.state {
            State::Intended => "intended",
            State::Applied => "applied",
            State::Rejected => "rejected",
            State::InDoubt => "in_doubt",
        })
        .collect();
    let external_ids: Vec<Option<String>> = resolved.iter().map(|r| r.external_id.clone()).collect();
    let parts: Vec<Option<Value>> = resolved.iter().map(|r| r.parts.clone()).collect();
    let helds: Vec<Option<Value>> = resolved.iter().map(|r| r.held.clone()).collect();
    let next_steps: Vec<Option<i16>> = resolved.iter().map(|r| r.next_step).collect();
    let errors: Vec<Option<Value>> = resolved.iter().map(|r| r.error.clone()).collect();
    let noted = sqlx::query!(
        "update sync_idempotency_log e
            set state = r.state, external_id = r.external_id, parts = r.parts, held = r.held, next_step = r.next_step,
                error = r.error, resolved_at = case when r.state in ('applied', 'rejected') then lockstep_now() end
           from unnest($2::uuid[], $3::text[], $4::text[], $5::jsonb[], $6::jsonb[], $7::smallint[], $8::jsonb[])
                r (item_id, state, external_id, parts, held, next_step, error)
          where e.org_id = $1 and e.item_id = r.item_id and e.state in ('intended', 'in_doubt')",
        org as _,
        &items,
        &states as &[&str],
        &external_ids as &[Option<String>],
        &parts as &[Option<Value>],
        &helds as &[Option<Value>],
        &next_steps as &[Option<i16>],
        &errors as &[Option<Value>],
    )
    .execute(db)
    .await?;
    Ok(noted.rows_affected())
}

/// Returns what a batch's items have in the log that is not settled yet: unresolved effects, and applied ones of the
/// item's present generation.
pub async fn unsettled(
    db: &mut PgConnection,
    org: OrgId,
    batch: BatchId,
) -> Result<Vec<Effect>, sqlx::Error> {
    sqlx::query_as!(
        Effect,
        r#"
        select e.effect_id as "effect_id: EffectId", e.item_id as "item_id: ItemId", e.operation, e.step, e.generation,
               e.content, e.taken, e.state as "state: State", e.token as "token: Token", e.quiet_at, e.external_id, e.parts,
               e.held, e.next_step, e.created_at
          from item i
          join sync_idempotency_log e on e.org_id = i.org_id and e.item_id = i.item_id
         where i.org_id = $1 and i.batch_id = $2
           and (e.state in ('intended', 'in_doubt') or (e.state = 'applied' and e.generation = i.generation))
         order by e.item_id, e.resolved_at nulls last, e.step
        "#,
        org as _,
        batch as _,
    )
    .fetch_all(db)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_write_is_part_of_its_key() {
        let ids = (ConnectionId(Uuid::from_u128(1)), RecordId(Uuid::from_u128(2)));
        let key = |operation, step, content, generation| {
            Key::of(KeyParts {
                connection: ids.0,
                record: ids.1,
                operation,
                step,
                content: ContentHash([content; 32]),
                generation,
            })
        };
        let first = key("update", 0, 10, 1);

        assert_eq!(
            first,
            key("update", 0, 10, 1),
            "R10: the same write has the same key"
        );
        for other in [
            key("create", 0, 10, 1),
            key("update", 1, 10, 1),
            key("update", 0, 12, 1),
            key("update", 0, 10, 3),
        ] {
            assert_ne!(first, other, "R10: 10 → 12 → 10 is three writes");
        }
    }
}
