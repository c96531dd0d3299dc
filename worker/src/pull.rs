//! A pull: one page of what a system holds, matched to our records and decided about.
//!
//! The cursor moves in the same transaction that stores the page, and only from where it was when the page was read.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use lockstep_shared::batch::Counts;
use lockstep_shared::conflict::{self, ConflictType, NewConflict};
use lockstep_shared::cursor;
use lockstep_shared::db::{Isolation, OrgTx};
use lockstep_shared::decide::{Agreed, Decision, Side, Times, decide};
use lockstep_shared::entity::{Content, KeyKind, NaturalKey};
use lockstep_shared::id::{ItemId, RecordId};
use lockstep_shared::item::{self, Met, Sighted, State};
use lockstep_shared::record::{self, Put, Take};
use lockstep_shared::system::EntityType;
use serde_json::{Value, json};

use crate::batch::{BatchError, End, Hand};
use crate::connector::{CallError, Connector, Cursor, Page, Theirs};
use crate::named;
use crate::push::Stopped;

/// Things that one page has at most: what WooCommerce gives at a time (facts/systems.md A3).
pub const PAGE_LIMIT: usize = 100;

/// Runs one page of a pull.
pub async fn run(hand: &Hand<'_>, connector: &dyn Connector) -> Result<(), BatchError> {
    let entity = hand.batch.entity_type;
    let position = hand.persist(|| read_position(hand)).await?;
    let limit = connector.request_limit(entity).max(PAGE_LIMIT);
    let end = match connector
        .pull(&hand.gate, entity, &Cursor(position.value.clone()), limit)
        .await
    {
        Ok(page) => {
            hand.lease.progress();
            match named::fetch(hand, connector, &page.seen).await {
                Ok(named) => {
                    return hand
                        .persist(|| store(hand, connector, &position, &page, &named))
                        .await;
                }
                Err(Stopped::Batch(error)) => return Err(error),
                Err(Stopped::Call(error)) => give_up(hand, &error).await?,
            }
        }
        Err(error) => give_up(hand, &error).await?,
    };
    hand.persist(|| leave(hand, &end)).await
}

async fn give_up(hand: &Hand<'_>, error: &CallError) -> Result<End, BatchError> {
    hand.after(error, |words| End::StageOver { failure: Some(words) })
        .await
}

async fn read_position(hand: &Hand<'_>) -> Result<cursor::Position, BatchError> {
    let mut tx = hand.begin(Isolation::ReadCommitted).await?;
    Ok(cursor::read(
        &mut tx,
        hand.org,
        hand.batch.connection_id,
        hand.batch.entity_type,
    )
    .await?)
}

async fn leave(hand: &Hand<'_>, end: &End) -> Result<(), BatchError> {
    let mut tx = hand.begin_settling().await?;
    hand.leave(&mut tx, &Counts::default(), end).await?;
    Ok(tx.commit().await?)
}

async fn store(
    hand: &Hand<'_>,
    connector: &dyn Connector,
    position: &cursor::Position,
    page: &Page,
    named: &[(EntityType, Vec<Theirs>)],
) -> Result<(), BatchError> {
    let mut tx = hand.begin_settling().await?;
    let key = (hand.batch.connection_id, hand.batch.entity_type);
    let is_ours = cursor::advance(&mut tx, hand.org, key, position, &page.next.0).await?;
    let mut outcome = Outcome::of(hand.batch.entity_type);
    if is_ours {
        // Met in one order by everyone, so that two pages wait for each other instead of locking crosswise.
        for (entity, seen) in named {
            let seen = named::resolve(hand, &mut tx, seen).await?;
            let outcome = judge(hand, &mut tx, connector, *entity, &seen).await?;
            outcome.write(hand, &mut tx).await?;
        }
        let seen = named::resolve(hand, &mut tx, &page.seen).await?;
        outcome = judge(hand, &mut tx, connector, hand.batch.entity_type, &seen).await?;
        outcome.write(hand, &mut tx).await?;
    }
    // Somebody else's page moved the cursor meanwhile: theirs counts, and ours is read again from there.
    let end = if is_ours && page.is_last {
        End::StageOver { failure: None }
    } else {
        End::Done
    };
    hand.leave(&mut tx, &outcome.counts, &end).await?;
    Ok(tx.commit().await?)
}

/// What a page comes to, before it is written.
#[derive(Debug)]
struct Outcome {
    entity: EntityType,
    counts: Counts,
    takes: Vec<Take>,
    sighted: Vec<Sighted>,
    conflicts: Vec<NewConflict>,
    settled: Vec<ItemId>,
}

impl Outcome {
    fn of(entity: EntityType) -> Self {
        Self {
            entity,
            counts: Counts::default(),
            takes: Vec::new(),
            sighted: Vec::new(),
            conflicts: Vec::new(),
            settled: Vec::new(),
        }
    }

    async fn write(&self, hand: &Hand<'_>, tx: &mut OrgTx) -> Result<(), sqlx::Error> {
        let (org, connection, entity) = (hand.org, hand.batch.connection_id, self.entity);
        let changed = record::take(tx, org, entity, &self.takes).await?;
        item::sight(tx, org, (connection, entity), &self.sighted).await?;
        item::make_due(tx, org, entity, &changed, Some(connection)).await?;
        for conflict in &self.conflicts {
            conflict::open(tx, org, conflict).await?;
        }
        if !self.settled.is_empty() {
            conflict::close_settled(tx, org, &self.settled).await?;
        }
        Ok(())
    }

    fn conflict(&mut self, hand: &Hand<'_>, item: Option<ItemId>, conflict_type: ConflictType, data: Value) {
        self.counts.conflicts += 1;
        self.conflicts.push(NewConflict {
            sync: Some(hand.batch.sync_id),
            connection: hand.batch.connection_id,
            item,
            entity: self.entity,
            conflict_type,
            data,
        });
    }
}

/// What is known on our side about the things of a page.
struct Known {
    by_external_id: BTreeMap<String, Met>,
    by_record: BTreeMap<RecordId, Met>,
    by_key: BTreeMap<(String, String), Vec<RecordId>>,
    /// Content of the records that the keys led to.
    contents: BTreeMap<RecordId, (Content, DateTime<Utc>)>,
}

async fn judge(
    hand: &Hand<'_>,
    tx: &mut OrgTx,
    connector: &dyn Connector,
    entity: EntityType,
    seen: &[Theirs],
) -> Result<Outcome, BatchError> {
    let mut known = know(hand, tx, entity, seen).await?;
    let mut outcome = Outcome::of(entity);
    outcome.counts.seen = count(seen.len());
    // A thing that moved while the page was read may stand in it twice: the later one counts.
    let latest: BTreeMap<&str, &Theirs> = seen
        .iter()
        .map(|theirs| (theirs.external_id.as_str(), theirs))
        .collect();
    for theirs in latest.into_values() {
        judge_one(hand, connector, &mut known, theirs, &mut outcome);
    }
    Ok(outcome)
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

async fn know(
    hand: &Hand<'_>,
    tx: &mut OrgTx,
    entity: EntityType,
    seen: &[Theirs],
) -> Result<Known, BatchError> {
    let org = hand.org;
    let external_ids: Vec<String> = seen.iter().map(|theirs| theirs.external_id.clone()).collect();
    let keys: BTreeSet<(String, String)> = seen
        .iter()
        .filter_map(|theirs| theirs.content.as_ref().ok())
        .flat_map(Content::natural_keys)
        .map(|key| (key.kind.name().to_owned(), key.value))
        .collect();
    let by_key = record::by_keys(tx, org, entity, &keys.into_iter().collect::<Vec<_>>()).await?;
    let candidates: BTreeSet<RecordId> = by_key
        .values()
        .flatten()
        .copied()
        .chain(seen.iter().filter_map(|theirs| theirs.marker))
        .collect();
    let candidates: Vec<RecordId> = candidates.into_iter().collect();
    let met = item::meet(
        tx,
        org,
        (hand.batch.connection_id, entity),
        &external_ids,
        &candidates,
    )
    .await?;
    let mut contents = BTreeMap::new();
    for (record_id, json, changed_at) in record::contents(tx, org, entity, &candidates).await? {
        contents.insert(record_id, (stored(entity, json)?, changed_at));
    }
    Ok(Known {
        by_external_id: met
            .iter()
            .filter_map(|met| Some((met.external_id.clone()?, met.clone())))
            .collect(),
        by_record: met.into_iter().map(|met| (met.record_id, met)).collect(),
        by_key,
        contents,
    })
}

/// Reads content that we stored ourselves.
pub fn stored(entity: EntityType, json: Value) -> Result<Content, sqlx::Error> {
    Content::parse(entity, json).map_err(|invalid| sqlx::Error::Decode(invalid.into()))
}

fn judge_one(
    hand: &Hand<'_>,
    connector: &dyn Connector,
    known: &mut Known,
    theirs: &Theirs,
    outcome: &mut Outcome,
) {
    let met = known.by_external_id.get(&theirs.external_id).cloned();
    let content = match &theirs.content {
        Ok(content) => content,
        Err(invalid) => {
            let reason = json!({ "reason": invalid.to_string(), "externalId": theirs.external_id });
            outcome.conflict(
                hand,
                met.as_ref().map(|met| met.item_id),
                ConflictType::ValidationError,
                reason,
            );
            if let Some(met) = met {
                outcome.sighted.push(sighted(
                    &met,
                    theirs,
                    State::Conflict,
                    None,
                    Some(invalid.to_string()),
                ));
            }
            return;
        }
    };
    match met {
        Some(met) => judge_known(hand, connector, &met, theirs, content, outcome),
        None => match find_record(known, theirs, content) {
            Match::One(record_id) => {
                let met = known.by_record.get(&record_id).cloned().unwrap_or_else(|| Met {
                    item_id: ItemId::random(),
                    record_id,
                    external_id: None,
                    base: None,
                    held: None,
                    content: known
                        .contents
                        .get(&record_id)
                        .map(|(content, _)| content.to_json())
                        .unwrap_or_default(),
                    changed_at: known
                        .contents
                        .get(&record_id)
                        .map_or(DateTime::UNIX_EPOCH, |(_, changed_at)| *changed_at),
                    is_in_hand: false,
                    state: State::Pending,
                });
                // Taken from now on: the next thing of this page with the same key is another thing.
                known.by_record.insert(
                    record_id,
                    Met {
                        external_id: Some(theirs.external_id.clone()),
                        ..met.clone()
                    },
                );
                judge_known(hand, connector, &met, theirs, content, outcome);
            }
            Match::Many(records) => {
                let reason = json!({
                    "reason": "more than one record answers to its keys", "externalId": theirs.external_id,
                    "records": records, "theirs": content.to_json(),
                });
                outcome.conflict(hand, None, ConflictType::DuplicateKey, reason);
            }
            Match::None if !content.is_wanted_when_new() => outcome.counts.unchanged += 1,
            Match::None => {
                let record_id = RecordId::random();
                outcome.counts.created += 1;
                outcome.takes.push(Take {
                    put: Put {
                        record_id,
                        content: content.clone(),
                    },
                    changed_at: theirs.modified_at,
                });
                outcome.sighted.push(Sighted {
                    item_id: ItemId::random(),
                    record_id,
                    state: State::Synced,
                    external_id: theirs.external_id.clone(),
                    parts: parts(theirs),
                    base: Some(content.to_json()),
                    held: None,
                    last_error: None,
                });
            }
        },
    }
}

enum Match {
    One(RecordId),
    Many(Vec<RecordId>),
    None,
}

/// Finds the record that a thing is a copy of: by our marker on it, else by SKU, barcode, e-mail, in this order. A
/// record that has its counterpart on this connection already is not asked for.
fn find_record(known: &Known, theirs: &Theirs, content: &Content) -> Match {
    let is_free = |record: &RecordId| {
        known
            .by_record
            .get(record)
            .is_none_or(|met| met.external_id.is_none())
    };
    if let Some(record) = theirs.marker
        && known.contents.contains_key(&record)
        && is_free(&record)
    {
        return Match::One(record);
    }
    let keys = content.natural_keys();
    for kind in [KeyKind::Sku, KeyKind::Barcode, KeyKind::Email, KeyKind::Subject] {
        let of_kind = keys.iter().filter(|key| key.kind == kind);
        let hits: BTreeSet<RecordId> = of_kind.flat_map(|key| free_hits(known, key, &is_free)).collect();
        match hits.len() {
            0 => {}
            1 => return hits.into_iter().next().map_or(Match::None, Match::One),
            _ => return Match::Many(hits.into_iter().collect()),
        }
    }
    Match::None
}

fn free_hits(known: &Known, key: &NaturalKey, is_free: &impl Fn(&RecordId) -> bool) -> Vec<RecordId> {
    let hits = known.by_key.get(&(key.kind.name().to_owned(), key.value.clone()));
    hits.into_iter().flatten().copied().filter(is_free).collect()
}

fn judge_known(
    hand: &Hand<'_>,
    connector: &dyn Connector,
    met: &Met,
    theirs: &Theirs,
    content: &Content,
    outcome: &mut Outcome,
) {
    let entity = outcome.entity;
    let (Ok(ours), Ok(base)) = (
        stored(entity, met.content.clone()),
        met.base
            .clone()
            .map(|base| Agreed::stored(entity, base, met.held.clone()))
            .transpose(),
    ) else {
        // Stored by us in canonical form: only an older form of it can fail here, and a person has to see that.
        let reason = json!({ "reason": "our own record can't be read", "externalId": theirs.external_id });
        return outcome.conflict(hand, Some(met.item_id), ConflictType::ValidationError, reason);
    };
    let projected = connector.project(&ours);
    let ownership = hand.ownership(&ours);
    let side = Side {
        system: connector.system(),
        ownership: &ownership,
        times: Times {
            ours: Some(met.changed_at),
            theirs: theirs.modified_at,
        },
    };
    match decide(
        base.as_ref().map(Agreed::as_base),
        Some(&projected),
        Some(content),
        side,
    ) {
        Decision::Unchanged | Decision::Adopt(_) => {
            // Where the sides differ as they agreed to, what they agreed on stays.
            let plain = (projected == *content).then(|| Agreed::same(content.clone()));
            let new_base = plain.filter(|plain| base.as_ref() != Some(plain));
            if met.state != State::Synced || met.external_id.is_none() || new_base.is_some() {
                outcome
                    .sighted
                    .push(sighted(met, theirs, State::Synced, new_base, None));
                outcome.settled.push(met.item_id);
            }
            outcome.counts.unchanged += 1;
        }
        Decision::Update(merge) => {
            if merge.to_take.is_empty() {
                outcome.counts.unchanged += 1;
            } else {
                match merge.taken_into(&ours) {
                    Ok(whole) => {
                        outcome.takes.push(Take {
                            put: Put {
                                record_id: met.record_id,
                                content: whole,
                            },
                            changed_at: theirs.modified_at,
                        });
                        outcome.counts.updated += 1;
                    }
                    Err(invalid) => {
                        let reason =
                            json!({ "reason": invalid.to_string(), "externalId": theirs.external_id });
                        return outcome.conflict(
                            hand,
                            Some(met.item_id),
                            ConflictType::ValidationError,
                            reason,
                        );
                    }
                }
            }
            // What was taken is agreed on; what is ours to write differs from theirs as it was just seen.
            let state = if merge.to_write.is_empty() {
                State::Synced
            } else {
                State::Pending
            };
            let agreed = Agreed {
                ours: merge.base(&projected, content),
                theirs: content.clone(),
            };
            outcome
                .sighted
                .push(sighted(met, theirs, state, Some(agreed), None));
            if state == State::Synced {
                outcome.settled.push(met.item_id);
            }
        }
        Decision::Conflict(disagreement) => {
            let data = json!({
                "reason": disagreement.reason, "fields": disagreement.fields, "externalId": theirs.external_id,
                "base": met.base, "ours": projected.to_json(), "theirs": content.to_json(),
                "proposed": disagreement.proposed.as_ref().map(Content::to_json),
            });
            outcome.conflict(hand, Some(met.item_id), ConflictType::DataMismatch, data);
            outcome.sighted.push(sighted(
                met,
                theirs,
                State::Conflict,
                None,
                Some(disagreement.reason),
            ));
        }
        Decision::Create(_) | Decision::Delete => unreachable!("both sides hold the thing"),
    }
}

fn sighted(
    met: &Met,
    theirs: &Theirs,
    state: State,
    base: Option<Agreed>,
    last_error: Option<String>,
) -> Sighted {
    Sighted {
        item_id: met.item_id,
        record_id: met.record_id,
        state,
        external_id: theirs.external_id.clone(),
        parts: parts(theirs),
        held: base.as_ref().and_then(Agreed::held),
        base: base.map(|base| base.ours.to_json()),
        last_error,
    }
}

/// Returns the remote ids of a thing's parts as they are stored.
pub fn parts(theirs: &Theirs) -> Value {
    serde_json::to_value(&theirs.parts).expect("parts are strings")
}
