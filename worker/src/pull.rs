//! A pull: one page of what a system holds, matched to our records and decided about.
//!
//! The cursor moves in the same transaction that stores the page, and only from where it was when the page was read.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use lockstep_shared::batch::Counts;
use lockstep_shared::conflict::{self, ConflictType, Course, NewConflict};
use lockstep_shared::cursor;
use lockstep_shared::db::{Isolation, OrgTx};
use lockstep_shared::decide::{Agreed, Decision, Disagreement, Ownership, Side, Times, decide};
use lockstep_shared::entity::{Content, KeyKind, NaturalKey};
use lockstep_shared::id::{ItemId, RecordId};
use lockstep_shared::item::{self, Met, Sighted, State};
use lockstep_shared::record::{self, Put, Take};
use lockstep_shared::strategy::{self, Decider, Strategy};
use lockstep_shared::system::EntityType;
use serde_json::{Value, json};
use sqlx::types::Json;

use crate::batch::{BatchError, End, Hand};
use crate::connector::{CallError, Connector, Cursor, Page, Parts, Theirs, shown};
use crate::point::Point;
use crate::push::Stopped;
use crate::{named, scan};

/// Things that one page has at most: what WooCommerce gives at a time (facts/systems.md A3).
pub const PAGE_LIMIT: usize = 100;

/// What a page is read of.
#[derive(Clone, Debug)]
pub enum Feed {
    /// What changed, from where the pull before left off.
    Changes(cursor::Position),
    /// Everything: a full scan, from a position of its own.
    All(Cursor),
}

impl Feed {
    fn cursor(&self) -> Cursor {
        match self {
            Self::Changes(position) => Cursor(position.value.clone()),
            Self::All(cursor) => cursor.clone(),
        }
    }
}

/// Runs one page of a pull.
pub async fn run(hand: &Hand<'_>, connector: &dyn Connector) -> Result<(), BatchError> {
    let position = hand.persist(|| read_position(hand)).await?;
    page(hand, connector, &Feed::Changes(position)).await
}

/// Reads a page and stores what it comes to.
pub async fn page(hand: &Hand<'_>, connector: &dyn Connector, feed: &Feed) -> Result<(), BatchError> {
    match read_and_store(hand, connector, feed).await {
        Ok(()) => Ok(()),
        Err(Stopped::Batch(error)) => Err(error),
        Err(Stopped::Call(error)) => {
            let end = give_up(hand, &error).await?;
            hand.persist(|| leave(hand, &end)).await
        }
    }
}

async fn read_and_store(hand: &Hand<'_>, connector: &dyn Connector, feed: &Feed) -> Result<(), Stopped> {
    let entity = hand.batch.entity_type;
    let limit = connector.request_limit(entity).max(PAGE_LIMIT);
    hand.reach(Point::PageBefore);
    let began_at = hand.now().await?;
    let mut page = connector.pull(&hand.gate, entity, &feed.cursor(), limit).await?;
    hand.reach(Point::PageAfter);
    hand.lease.progress();
    mark(hand, connector, entity, &mut page.seen).await?;
    let mut named = named::fetch(hand, connector, &page.seen).await?;
    for (entity, things) in &mut named {
        mark(hand, connector, *entity, things).await?;
    }
    let mut read = Read {
        feed,
        began_at,
        page,
        named,
        gone: None,
    };
    while let Stored::Ask(ids) = hand.persist(|| store(hand, connector, &read)).await? {
        let ids: Vec<String> = ids.into_iter().collect();
        let there = connector.existing(&hand.gate, entity, &ids).await?;
        hand.lease.progress();
        read.gone = Some(ids.into_iter().filter(|id| !there.contains(id)).collect());
    }
    Ok(())
}

/// Has things that we don't know say whether they are ours: one that is being made for a record has an item only when its
/// write is settled, and may have no key yet, or never.
async fn mark(
    hand: &Hand<'_>,
    connector: &dyn Connector,
    entity: EntityType,
    seen: &mut [Theirs],
) -> Result<(), Stopped> {
    let unknown = hand.persist(|| unknown(hand, entity, seen)).await?;
    if unknown.is_empty() {
        return Ok(());
    }
    let marks = connector.marks(&hand.gate, entity, &unknown).await?;
    hand.lease.progress();
    for theirs in seen.iter_mut().filter(|theirs| theirs.marker.is_none()) {
        theirs.marker = marks.get(&theirs.external_id).copied();
    }
    Ok(())
}

/// Returns the ids of the things without a mark that no item is known for.
async fn unknown(hand: &Hand<'_>, entity: EntityType, seen: &[Theirs]) -> Result<Vec<String>, BatchError> {
    let unmarked = seen.iter().filter(|theirs| theirs.marker.is_none());
    let asked: Vec<_> = unmarked
        .map(|theirs| (entity, theirs.external_id.clone()))
        .collect();
    let mut tx = hand.begin(Isolation::ReadCommitted).await?;
    let known = item::known(&mut tx, hand.org, hand.batch.connection_id, &asked).await?;
    let known: BTreeSet<String> = known.into_iter().map(|known| known.external_id).collect();
    let ids = asked.into_iter().map(|(_, id)| id);
    Ok(ids.filter(|id| !known.contains(id)).collect())
}

/// What was read for a page.
struct Read<'a> {
    feed: &'a Feed,
    /// When its reading began.
    began_at: DateTime<Utc>,
    page: Page,
    /// What its things name and we did not know.
    named: Vec<(EntityType, Vec<Theirs>)>,
    /// What is not there any more of the things in whose place those of the page may stand; `None`: nobody asked.
    gone: Option<BTreeSet<String>>,
}

/// What came of storing a page.
enum Stored {
    Done,
    /// Nothing was stored: things of the page have the keys of records whose own things may have been deleted, and these
    /// made in their place. To be asked about by their external ids, once.
    Ask(BTreeSet<String>),
}

/// Tells how the batch ends after a call failed.
pub async fn give_up(hand: &Hand<'_>, error: &CallError) -> Result<End, BatchError> {
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

/// Leaves a batch of which nothing is to be stored.
pub async fn leave(hand: &Hand<'_>, end: &End) -> Result<(), BatchError> {
    let mut tx = hand.begin_settling().await?;
    hand.leave(&mut tx, &Counts::default(), end).await?;
    hand.commit(tx).await
}

async fn store(hand: &Hand<'_>, connector: &dyn Connector, read: &Read<'_>) -> Result<Stored, BatchError> {
    let Read {
        feed,
        began_at,
        page,
        named,
        gone,
    } = read;
    hand.reach(Point::SettleBefore);
    let mut tx = hand.begin_settling().await?;
    let key = (hand.batch.connection_id, hand.batch.entity_type);
    let is_ours = match feed {
        Feed::Changes(position) => cursor::advance(&mut tx, hand.org, key, position, &page.next.0).await?,
        // Its position is the stage's own, which the batch's token fences.
        Feed::All(_) => true,
    };
    let mut outcome = Outcome::of(hand.batch.entity_type);
    if is_ours {
        // Met in one order by everyone, so that two pages wait for each other instead of locking crosswise.
        for (entity, seen) in named {
            let seen = named::resolve(hand, &mut tx, seen).await?;
            let asked = BTreeSet::new();
            let things = (*entity, seen.as_slice(), *began_at);
            let outcome = judge(hand, &mut tx, connector, things, Some(&asked)).await?;
            outcome.write(hand, &mut tx).await?;
        }
        let seen = named::resolve(hand, &mut tx, &page.seen).await?;
        let things = (hand.batch.entity_type, seen.as_slice(), *began_at);
        outcome = judge(hand, &mut tx, connector, things, gone.as_ref()).await?;
        if !outcome.doubtful.is_empty() {
            return Ok(Stored::Ask(outcome.doubtful));
        }
        outcome.write(hand, &mut tx).await?;
    }
    let end = match feed {
        Feed::All(_) => scan::after_page(hand, &mut tx, page).await?,
        Feed::Changes(_) if is_ours && page.is_last => End::StageOver { failure: None },
        // Or somebody else's page moved the cursor meanwhile: theirs counts, and ours is read again from there.
        Feed::Changes(_) => End::Done,
    };
    hand.leave(&mut tx, &outcome.counts, &end).await?;
    hand.commit(tx).await?;
    Ok(Stored::Done)
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
    /// External ids of the things of records that new things have the keys of.
    doubtful: BTreeSet<String>,
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
            doubtful: BTreeSet::new(),
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
        let strategy = strategy::choose(conflict_type, 0, Decider::Rule);
        self.open(hand, item, (conflict_type, strategy), data);
    }

    fn open(
        &mut self,
        hand: &Hand<'_>,
        item: Option<ItemId>,
        (conflict_type, strategy): (ConflictType, Strategy),
        data: Value,
    ) {
        self.conflicts.push(NewConflict {
            sync: Some(hand.batch.sync_id),
            connection: hand.batch.connection_id,
            item,
            entity: self.entity,
            conflict_type,
            course: Course::of(strategy),
            data,
        });
    }

    /// Takes up that both sides changed what nobody owns. The push of the same sync looks at both again, and after a while
    /// once more, unless a person has been asked already or has to be.
    fn dispute(
        &mut self,
        hand: &Hand<'_>,
        (met, theirs): (&Met, &Theirs),
        ownership: &Ownership,
        (disagreement, data): (Disagreement, Value),
    ) {
        let strategy = match met.state {
            State::Conflict => Strategy::Manual,
            _ => strategy::choose(
                ConflictType::DataMismatch,
                0,
                Decider::of(&disagreement, ownership),
            ),
        };
        let state = match strategy {
            Strategy::AutoRetry => State::Pending,
            Strategy::Manual | Strategy::Skip => {
                self.counts.conflicts += 1;
                State::Conflict
            }
        };
        let kind = (ConflictType::DataMismatch, strategy);
        self.open(hand, Some(met.item_id), kind, data);
        let reason = Some(disagreement.reason);
        self.sighted.push(sighted(met, theirs, state, None, reason));
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
    (entity, seen, began_at): (EntityType, &[Theirs], DateTime<Utc>),
    gone: Option<&BTreeSet<String>>,
) -> Result<Outcome, BatchError> {
    let mut known = know(hand, tx, (entity, seen, began_at)).await?;
    for met in known.by_record.values_mut() {
        met.is_gone |= gone
            .zip(met.external_id.as_ref())
            .is_some_and(|(gone, id)| gone.contains(id));
    }
    let mut outcome = Outcome::of(entity);
    outcome.counts.seen = count(seen.len());
    // A thing that moved while the page was read may stand in it twice: the later one counts.
    let latest: BTreeMap<&str, &Theirs> = seen
        .iter()
        .map(|theirs| (theirs.external_id.as_str(), theirs))
        .collect();
    for theirs in latest.values() {
        judge_one(hand, connector, &mut known, theirs, &mut outcome);
    }
    if gone.is_some() {
        outcome.doubtful.clear();
    }
    outcome.doubtful.retain(|id| !latest.contains_key(id.as_str()));
    Ok(outcome)
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

async fn know(
    hand: &Hand<'_>,
    tx: &mut OrgTx,
    (entity, seen, began_at): (EntityType, &[Theirs], DateTime<Utc>),
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
        (&external_ids, &candidates),
        began_at,
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
    let marked = met.clone().or_else(|| being_made(known, theirs).cloned());
    if let Some(met) = &marked
        && is_for_push(met, theirs)
    {
        return leave_to_push(met, theirs, outcome);
    }
    let content = match &theirs.content {
        Ok(content) => content,
        Err(invalid) => {
            let reason = json!({ "reason": invalid.to_string(), "externalId": theirs.external_id });
            outcome.conflict(
                hand,
                marked.as_ref().map(|met| met.item_id),
                ConflictType::ValidationError,
                reason,
            );
            if let Some(met) = marked {
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
                // What was deleted and is there again under another id is another thing: nothing was agreed on about it.
                let known_item = known.by_record.get(&record_id).cloned().map(|met| Met {
                    base: met.base.filter(|_| !met.is_gone),
                    held: met.held.filter(|_| !met.is_gone),
                    arrived: met.arrived.filter(|_| !met.is_gone),
                    ..met
                });
                let met = known_item.unwrap_or_else(|| {
                    let (content, changed_at) = match known.contents.get(&record_id) {
                        Some((content, changed_at)) => (content.to_json(), *changed_at),
                        None => (Value::Null, DateTime::UNIX_EPOCH),
                    };
                    Met {
                        item_id: ItemId::random(),
                        record_id,
                        external_id: None,
                        parts: Value::Null,
                        base: None,
                        held: None,
                        content,
                        changed_at,
                        is_in_hand: false,
                        is_gone: false,
                        is_under_way: false,
                        overtaken_at: None,
                        arrived: None,
                        state: State::Pending,
                    }
                });
                // Taken from now on: the next thing of this page with the same key is another thing.
                known.by_record.insert(
                    record_id,
                    Met {
                        external_id: Some(theirs.external_id.clone()),
                        is_gone: false,
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
            Match::Twice { record, other } => {
                // Or the other was deleted, and this one made in its place.
                outcome.doubtful.insert(other.clone());
                let reason = json!({
                    "reason": "two things of the remote carry the mark of one record: delete the one that is too many",
                    "externalId": theirs.external_id, "otherExternalId": other, "record": record,
                    "theirs": content.to_json(),
                });
                outcome.conflict(hand, None, ConflictType::DuplicateKey, reason);
            }
            Match::None if !content.is_wanted_when_new() => outcome.counts.unchanged += 1,
            Match::None => {
                outcome.doubtful.extend(holders(known, content));
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
    /// A record's, which has another thing for its counterpart: a request that came late made it a second time.
    Twice {
        record: RecordId,
        other: String,
    },
    None,
}

/// Finds the record that a thing is a copy of: by our marker on it, else by SKU, barcode, e-mail, in this order. A
/// record that has its counterpart on this connection already is not asked for, unless that was deleted; but what carries
/// its marker and answers to the same keys was made by us, and not by people, who change the SKU of a copy that they make.
fn find_record(known: &Known, theirs: &Theirs, content: &Content) -> Match {
    let is_free = |record: &RecordId| {
        known
            .by_record
            .get(record)
            .is_none_or(|met| met.external_id.is_none() || met.is_gone)
    };
    let keys = content.natural_keys();
    if let Some(record) = theirs.marker
        && let Some((ours, _)) = known.contents.get(&record)
    {
        let counterpart = known
            .by_record
            .get(&record)
            .filter(|met| !met.is_gone)
            .and_then(|met| met.external_id.clone());
        match counterpart {
            None => return Match::One(record),
            Some(other) if ours.natural_keys() == keys => return Match::Twice { record, other },
            Some(_) => {}
        }
    }
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

/// Returns the external ids of the things of all records that answer to a thing's keys.
fn holders(known: &Known, content: &Content) -> Vec<String> {
    let keys = content.natural_keys();
    let hits = keys.iter().flat_map(|key| free_hits(known, key, &|_| true));
    hits.filter_map(|record| known.by_record.get(&record)?.external_id.clone())
        .collect()
}

fn free_hits(known: &Known, key: &NaturalKey, is_free: &impl Fn(&RecordId) -> bool) -> Vec<RecordId> {
    let hits = known.by_key.get(&(key.kind.name().to_owned(), key.value.clone()));
    hits.into_iter().flatten().copied().filter(is_free).collect()
}

/// Finds whose making a thing may come from, before we know its id: by our marker on it.
fn being_made<'a>(known: &'a Known, theirs: &Theirs) -> Option<&'a Met> {
    let met = known.by_record.get(&theirs.marker?)?;
    met.external_id.is_none().then_some(met)
}

/// Says whether what is seen of a thing is what our own writes leave or left there, and not what anybody wants: a stage of
/// one that is not through, or how it was before one that ended since. What a person has been asked about is judged as ever.
fn is_for_push(met: &Met, theirs: &Theirs) -> bool {
    match met.state {
        State::Pending | State::Failed | State::InDoubt => {
            is_overtaken(met, theirs) || met.is_under_way && !met.is_gone
        }
        State::Synced => is_overtaken(met, theirs),
        State::Skipped | State::Conflict => false,
    }
}

/// Says whether a write of ours may have changed a thing since it was read.
fn is_overtaken(met: &Met, theirs: &Theirs) -> bool {
    let is_same = met
        .external_id
        .as_ref()
        .is_none_or(|id| *id == theirs.external_id);
    met.overtaken_at.is_some() && is_same
}

/// Takes nothing of a thing that is for the push to look at anew, the one that ends the write or the next, but which one it
/// is, for what names it.
fn leave_to_push(met: &Met, theirs: &Theirs, outcome: &mut Outcome) {
    outcome.counts.unchanged += 1;
    let (is_overtaken, is_known) = (is_overtaken(met, theirs), met.external_id.is_some());
    // Our write deleted it, or found it deleted, after it was seen.
    if is_overtaken && met.is_gone {
        return;
    }
    let is_news = !is_known || !is_overtaken && met.parts != parts(theirs);
    // Due as it is, unless a batch has looked at it already: then that has to look once more.
    if met.is_in_hand || met.state == State::Synced || is_news {
        let mut marked = sighted(met, theirs, State::Pending, None, None);
        if !is_news {
            marked.parts = met.parts.clone();
        }
        outcome.sighted.push(marked);
    }
}

fn judge_known(
    hand: &Hand<'_>,
    connector: &dyn Connector,
    met: &Met,
    theirs: &Theirs,
    content: &Content,
    outcome: &mut Outcome,
) {
    if is_for_push(met, theirs) {
        return leave_to_push(met, theirs, outcome);
    }
    let entity = outcome.entity;
    let agreed = |base: &Value, held: &Option<Value>| Agreed::stored(entity, base.clone(), held.clone());
    let last_write = met.arrived.as_ref();
    let (Ok(mut ours), Ok(settled), Ok(arrived)) = (
        stored(entity, met.content.clone()),
        met.base.as_ref().map(|base| agreed(base, &met.held)).transpose(),
        last_write
            .map(|Json(it)| agreed(&it.content, &it.held))
            .transpose(),
    ) else {
        // Stored by us in canonical form: only an older form of it can fail here, and a person has to see that.
        let reason = json!({ "reason": "our own record can't be read", "externalId": theirs.external_id });
        return outcome.conflict(hand, Some(met.item_id), ConflictType::ValidationError, reason);
    };
    // What was deleted and came back takes the record with it, as it did when it went.
    let restored = ours.restored(content).filter(|_| met.is_gone);
    if let Some(restored) = &restored {
        ours.clone_from(restored);
    }
    let projected = connector.project(&ours);
    // What our last write left there is no news, although whoever sent it died before it was settled.
    let arrived = arrived
        .zip(last_write)
        .map(|(Agreed { ours, theirs }, Json(it))| {
            shown::on_arrival((&ours, Some(theirs)), settled.as_ref(), &projected, &it.taken)
        });
    let base = arrived.as_ref().or(settled.as_ref());
    let ownership = hand.ownership(&ours);
    let side = Side {
        system: connector.system(),
        ownership: &ownership,
        times: Times {
            ours: Some(met.changed_at),
            theirs: theirs.modified_at,
        },
    };
    let known: Parts = serde_json::from_value(met.parts.clone()).unwrap_or_default();
    let steady = shown::not_owned(shown::steady(&known, &theirs.parts), &ownership, side.system);
    let content = &match base {
        Some(base) => shown::as_agreed(content, &base.theirs, &steady),
        None => content.clone(),
    };
    // What a write that is not through may have left there is looked up by the push that ends it.
    let in_step = if met.is_under_way {
        State::Pending
    } else {
        State::Synced
    };
    match decide(base.map(Agreed::as_base), Some(&projected), Some(content), side) {
        Decision::Unchanged | Decision::Adopt(_) => {
            // Where the sides differ as they agreed to, what they agreed on stays.
            let plain = (projected == *content).then(|| Agreed::same(content.clone()));
            let new_base = plain.or(arrived).filter(|new| settled.as_ref() != Some(new));
            if met.state != in_step || met.external_id.is_none() || new_base.is_some() {
                outcome
                    .sighted
                    .push(sighted(met, theirs, in_step, new_base, None));
                outcome.settled.push(met.item_id);
            }
            match restored {
                Some(content) => {
                    let record_id = met.record_id;
                    outcome.takes.push(Take {
                        put: Put { record_id, content },
                        changed_at: theirs.modified_at,
                    });
                    outcome.counts.updated += 1;
                }
                None => outcome.counts.unchanged += 1,
            }
        }
        Decision::Update(merge) => {
            if merge.to_take.is_empty() && restored.is_none() {
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
                in_step
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
            outcome.dispute(hand, (met, theirs), &ownership, (disagreement, data));
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
