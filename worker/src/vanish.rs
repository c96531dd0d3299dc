//! What becomes of records whose things are gone from a system: by the connection's policy, or by a person where too many
//! are gone at once.

use lockstep_shared::activity::{self, Activity, Outcome};
use lockstep_shared::batch::Counts;
use lockstep_shared::conflict::{self, ConflictType, Course, NewConflict};
use lockstep_shared::connection::Connection;
use lockstep_shared::db::OrgTx;
use lockstep_shared::deletion::{self, DeletionSettings};
use lockstep_shared::id::{ItemId, RecordId};
use lockstep_shared::item;
use lockstep_shared::record::{self, Put};
use lockstep_shared::strategy::Strategy;
use lockstep_shared::system::EntityType;
use serde_json::json;

use crate::batch::Hand;
use crate::pull::stored;

fn settings(hand: &Hand<'_>) -> DeletionSettings {
    let settings = hand.connection.as_ref().map(|connection| &connection.settings);
    settings.map(|settings| settings.deletions).unwrap_or_default()
}

fn system(connection: &Connection) -> &'static str {
    connection.system.name()
}

/// Says why nothing is sent any more for a thing that is gone.
pub fn words(hand: &Hand<'_>) -> String {
    let system = hand.connection.as_ref().map_or("the remote", system);
    format!("it was deleted in {system}; put the record again to have it made anew")
}

/// Returns how many of the known things may vanish at once without anybody being asked.
pub fn unasked(hand: &Hand<'_>, known: i64) -> i64 {
    settings(hand).ask_above.unasked(known)
}

/// Puts it to a person that too much is missing. Nothing is deleted.
///
/// A `DataMismatch`: what we know and what the system says differ, each valid by itself. It is about no item, so there is
/// nothing to be sent again; the next full scan looks again by itself.
pub async fn ask(hand: &Hand<'_>, tx: &mut OrgTx, (known, missing): (i64, i64)) -> Result<(), sqlx::Error> {
    let percent = settings(hand).ask_above.percent();
    let entity = hand.batch.entity_type;
    let conflict = NewConflict {
        sync: Some(hand.batch.sync_id),
        connection: hand.batch.connection_id,
        item: None,
        entity,
        conflict_type: ConflictType::DataMismatch,
        course: Course::of(Strategy::Manual),
        data: json!({
            "reason": format!("more than {percent} % of the {} are missing at once; none was taken to be deleted", entity.name()),
            "known": known, "missingAtLeast": missing, "askAbovePercent": percent,
            "next": "if they were deleted on purpose, raise `askAbovePercent` of the connection and run a full scan; \
                     if not, bring them back and run one",
        }),
    };
    conflict::open(tx, hand.org, &conflict).await
}

/// Notes that things are gone, and does to their records what the connection's policy says. Those are then due for the
/// other connections.
pub async fn retire(hand: &Hand<'_>, tx: &mut OrgTx, items: &[ItemId]) -> Result<Counts, sqlx::Error> {
    let (org, entity) = (hand.org, hand.batch.entity_type);
    let gone = deletion::note(tx, org, hand.stage.stage_id, items, &words(hand)).await?;
    if gone.is_empty() {
        return Ok(Counts::default());
    }
    let records: Vec<RecordId> = gone.iter().map(|missing| missing.record_id).collect();
    let mut puts = Vec::new();
    if settings(hand).retires(entity) {
        for (record_id, json, _) in record::contents(tx, org, entity, &records).await? {
            puts.extend(
                stored(entity, json)?
                    .retired()
                    .map(|content| Put { record_id, content }),
            );
        }
    }
    let changed = record::put(tx, org, entity, &puts).await?;
    item::make_due(tx, org, entity, &changed, Some(hand.batch.connection_id)).await?;
    let mut items: Vec<ItemId> = gone.iter().map(|missing| missing.item_id).collect();
    if matches!(entity, EntityType::Inventory | EntityType::Payments) {
        // There is nothing to take out of use: where it has not arrived yet, it does not arrive any more.
        let here = hand.batch.connection_id;
        items.extend(deletion::give_up_elsewhere(tx, org, here, &records, &words(hand)).await?);
    }
    conflict::close_settled(tx, org, &items).await?;
    let line = Activity {
        sync: Some(hand.batch.sync_id),
        actor: "worker".to_owned(),
        action: "deletion.found",
        outcome: Outcome::Done,
        details: json!({
            "connectionId": hand.batch.connection_id, "entityType": entity, "recordIds": records,
            "externalIds": gone.iter().map(|missing| &missing.external_id).collect::<Vec<_>>(),
            "retired": changed.len(),
        }),
    };
    activity::record(tx, org, line).await?;
    let count = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
    Ok(Counts {
        updated: count(changed.len()),
        skipped: count(gone.len() - changed.len()),
        ..Counts::default()
    })
}

/// Says what becomes of things that a push found missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Retired,
    /// Too many, with those that the stage found before: a person was asked, and none counts as deleted.
    Asked,
}

/// Does to things that a push found missing what a full scan does, and stops where a full scan does.
pub async fn meet(hand: &Hand<'_>, tx: &mut OrgTx, items: &[ItemId]) -> Result<Found, sqlx::Error> {
    let (org, stage) = (hand.org, hand.stage.stage_id);
    let key = (hand.batch.connection_id, hand.batch.entity_type);
    let before = deletion::missing(tx, org, stage).await?;
    let missing = before + i64::try_from(items.len()).unwrap_or(i64::MAX);
    // Those that this stage has retired are no longer known.
    let known = deletion::known(tx, org, key).await?.max(missing);
    if missing > unasked(hand, known) {
        let why = "it is missing, as too many others are: see the conflict about all of them";
        deletion::ask(tx, org, stage, items, why).await?;
        ask(hand, tx, (known, missing)).await?;
        return Ok(Found::Asked);
    }
    retire(hand, tx, items).await?;
    Ok(Found::Retired)
}
