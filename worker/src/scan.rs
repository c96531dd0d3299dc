//! A full scan: reads everything a system holds of one type, then asks for what it did not see, and then carries out what
//! is to become of records whose things are gone.
//!
//! A chain of batches like any pull, each of which stores how far it is together with what it found: killed anywhere, the
//! next owner goes on from there. Pages can move while they are read, so that a thing was not seen proves nothing: only
//! the system's own answer about that thing does.

use std::collections::BTreeSet;

use lockstep_shared::batch::Counts;
use lockstep_shared::conflict::{self, ConflictType};
use lockstep_shared::cursor;
use lockstep_shared::db::{Isolation, OrgTx};
use lockstep_shared::deletion::{self, Missing};
use lockstep_shared::id::ItemId;
use lockstep_shared::preview::{self, Action, Preview};
use lockstep_shared::scan::{self, Scan};
use serde_json::Value;

use crate::batch::{BatchError, End, Hand};
use crate::connector::{Connector, Cursor, Page};
use crate::pull::{self, Feed};
use crate::vanish;

/// Things that one batch asks for.
const LIMIT: i64 = 100;

/// Runs the next batch of a full scan.
pub async fn run(hand: &Hand<'_>, connector: &dyn Connector) -> Result<(), BatchError> {
    match hand.persist(|| read(hand)).await? {
        Scan::Reading { cursor } => pull::page(hand, connector, &Feed::All(Cursor(cursor))).await,
        Scan::Checking {
            after,
            known,
            missing,
        } => {
            let asked = hand.persist(|| unseen(hand, &after)).await?;
            let Some(there) = there(hand, connector, &asked).await? else {
                return Ok(());
            };
            hand.persist(|| check(hand, &asked, &there, (known, missing)))
                .await
        }
        Scan::Retiring => {
            let asked = hand.persist(|| missed(hand)).await?;
            // Asked once more: what is carried out may have been found long ago.
            let Some(there) = there(hand, connector, &asked).await? else {
                return Ok(());
            };
            hand.persist(|| retire(hand, &asked, &there)).await
        }
    }
}

async fn read(hand: &Hand<'_>) -> Result<Scan, BatchError> {
    let mut tx = hand.begin(Isolation::ReadCommitted).await?;
    Ok(scan::read(&mut tx, hand.org, hand.stage.stage_id).await?)
}

async fn unseen(hand: &Hand<'_>, after: &str) -> Result<Vec<Missing>, BatchError> {
    let mut tx = hand.begin(Isolation::ReadCommitted).await?;
    let place = (hand.stage.stage_id, after);
    Ok(scan::unseen(&mut tx, hand.org, kind(hand), place, LIMIT).await?)
}

async fn missed(hand: &Hand<'_>) -> Result<Vec<Missing>, BatchError> {
    let mut tx = hand.begin(Isolation::ReadCommitted).await?;
    Ok(scan::missed(&mut tx, hand.org, hand.stage.stage_id, LIMIT).await?)
}

/// Asks which of the things are there; `None` where the batch was left because the system did not say.
async fn there(
    hand: &Hand<'_>,
    connector: &dyn Connector,
    asked: &[Missing],
) -> Result<Option<BTreeSet<String>>, BatchError> {
    if asked.is_empty() {
        return Ok(Some(BTreeSet::new()));
    }
    let ids: Vec<String> = asked.iter().map(|missing| missing.external_id.clone()).collect();
    match connector.existing(&hand.gate, hand.batch.entity_type, &ids).await {
        Ok(there) => {
            hand.lease.progress();
            Ok(Some(there))
        }
        Err(error) => {
            let end = pull::give_up(hand, &error).await?;
            hand.persist(|| pull::leave(hand, &end)).await?;
            Ok(None)
        }
    }
}

const fn kind(
    hand: &Hand<'_>,
) -> (
    lockstep_shared::id::ConnectionId,
    lockstep_shared::system::EntityType,
) {
    (hand.batch.connection_id, hand.batch.entity_type)
}

/// Notes what a page saw, in the transaction that stores it, and tells how its batch ends.
pub async fn after_page(hand: &Hand<'_>, tx: &mut OrgTx, page: &Page) -> Result<End, BatchError> {
    let (org, stage) = (hand.org, hand.stage.stage_id);
    let seen: Vec<String> = page
        .seen
        .iter()
        .map(|theirs| theirs.external_id.clone())
        .collect();
    scan::see(tx, org, kind(hand), &seen).await?;
    if !page.is_last {
        let cursor = page.next.0.clone();
        scan::store(tx, org, stage, &Scan::Reading { cursor }).await?;
        return Ok(End::Done);
    }
    conflict::close_unmet(tx, org, kind(hand), stage).await?;
    // The next pull of changes need not read all again where there was none yet.
    let never = cursor::Position {
        value: Value::Null,
        generation: 0,
    };
    cursor::advance(tx, org, kind(hand), &never, &page.next.0).await?;
    if scan::unseen(tx, org, kind(hand), (stage, ""), 1)
        .await?
        .is_empty()
    {
        return all_there(hand, tx).await;
    }
    let checking = Scan::Checking {
        after: String::new(),
        known: deletion::known(tx, org, kind(hand)).await?,
        missing: 0,
    };
    scan::store(tx, org, stage, &checking).await?;
    Ok(End::Done)
}

/// Ends a scan that found nothing missing: what was asked about before has come back.
async fn all_there(hand: &Hand<'_>, tx: &mut OrgTx) -> Result<End, BatchError> {
    conflict::close_of_type(tx, hand.org, kind(hand), ConflictType::DataMismatch).await?;
    Ok(End::StageOver { failure: None })
}

/// Marks what is not there, and stops where that is more than may vanish unasked.
async fn check(
    hand: &Hand<'_>,
    asked: &[Missing],
    there: &BTreeSet<String>,
    (known, missing): (i64, i64),
) -> Result<(), BatchError> {
    let mut tx = hand.begin_settling().await?;
    let (org, stage) = (hand.org, hand.stage.stage_id);
    scan::see(
        &mut tx,
        org,
        kind(hand),
        &there.iter().cloned().collect::<Vec<_>>(),
    )
    .await?;
    let missing = missing + scan::miss(&mut tx, org, stage, &gone(asked, there)).await?;
    let mut counts = Counts::default();
    let is_last = asked.len() < usize::try_from(LIMIT).unwrap_or(usize::MAX);
    let end = if missing > vanish::unasked(hand, known) {
        vanish::ask(hand, &mut tx, (known, missing)).await?;
        counts.conflicts = 1;
        End::StageOver { failure: None }
    } else if !is_last {
        let after = asked
            .last()
            .map(|last| last.external_id.clone())
            .unwrap_or_default();
        let checking = Scan::Checking {
            after,
            known,
            missing,
        };
        scan::store(&mut tx, org, stage, &checking).await?;
        End::Done
    } else if missing > 0 {
        scan::store(&mut tx, org, stage, &Scan::Retiring).await?;
        End::Done
    } else {
        all_there(hand, &mut tx).await?
    };
    hand.leave(&mut tx, &counts, &end).await?;
    hand.commit(tx).await
}

fn gone(asked: &[Missing], there: &BTreeSet<String>) -> Vec<ItemId> {
    let gone = asked
        .iter()
        .filter(|missing| !there.contains(&missing.external_id));
    gone.map(|missing| missing.item_id).collect()
}

/// Carries out what is to become of records whose things are gone; a dry run only tells of it.
async fn retire(hand: &Hand<'_>, asked: &[Missing], there: &BTreeSet<String>) -> Result<(), BatchError> {
    let mut tx = hand.begin_settling().await?;
    let (back, gone): (Vec<&Missing>, Vec<&Missing>) = asked
        .iter()
        .partition(|missing| there.contains(&missing.external_id));
    scan::unmiss(&mut tx, hand.org, &ids(&back)).await?;
    let counts = if hand.sync.dry_run {
        preview(hand, &mut tx, &gone).await?;
        scan::unmiss(&mut tx, hand.org, &ids(&gone)).await?;
        Counts {
            skipped: i64::try_from(gone.len()).unwrap_or(i64::MAX),
            ..Counts::default()
        }
    } else {
        vanish::retire(hand, &mut tx, &ids(&gone)).await?
    };
    let is_last = asked.len() < usize::try_from(LIMIT).unwrap_or(usize::MAX);
    let end = if is_last {
        all_there(hand, &mut tx).await?
    } else {
        End::Done
    };
    hand.leave(&mut tx, &counts, &end).await?;
    hand.commit(tx).await
}

fn ids(missing: &[&Missing]) -> Vec<ItemId> {
    missing.iter().map(|missing| missing.item_id).collect()
}

async fn preview(hand: &Hand<'_>, tx: &mut OrgTx, gone: &[&Missing]) -> Result<(), sqlx::Error> {
    let previews: Vec<Preview> = gone
        .iter()
        .map(|missing| Preview {
            item: missing.item_id,
            record: missing.record_id,
            action: Action::Vanished,
            changes: std::collections::BTreeMap::new(),
            reason: Some(vanish::words(hand)),
        })
        .collect();
    let (connection, entity) = kind(hand);
    preview::store(tx, hand.org, (hand.batch.sync_id, connection, entity), &previews).await
}
