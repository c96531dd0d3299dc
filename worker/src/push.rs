//! A push: brings a batch's items into a remote system, each write noted before it is sent.
//!
//! Reads top to bottom as it happens: load; put off or look up what is in doubt; look at what the remote holds now and
//! decide; then per request token, intent, call, outcome; and settle everything at the end.

mod doubt;
mod send;
mod stock;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_shared::batch::Counts;
use lockstep_shared::conflict::{self, ConflictType, Course, NewConflict};
use lockstep_shared::db::{Isolation, OrgTx};
use lockstep_shared::decide::{Agreed, Decision, Side, Times, decide};
use lockstep_shared::effect::{self, Effect};
use lockstep_shared::entity::{Content, fields_of};
use lockstep_shared::id::{BatchId, RecordId};
use lockstep_shared::item::{self, Referred};
use lockstep_shared::preview;
use lockstep_shared::record::{self, Put, Take};
use lockstep_shared::strategy::Decider;
use lockstep_shared::{batch, db, deletion};
use serde_json::json;

use crate::batch::{BatchError, End, Hand};
use crate::connector::{
    Action, CallError, Connector, Link, Links, Parts, Sighting, Step, Theirs, Wanted, Write, shown,
};
use crate::point::{self, Point};
use crate::{named, plan, vanish};
use work::{Fate, Need, Work};

/// Runs a batch of a push.
pub async fn run(hand: &Hand<'_>, connector: &dyn Connector) -> Result<(), BatchError> {
    let mut works = hand.persist(|| load(hand, connector)).await?;
    hand.reach(Point::LoadAfter);
    if hand.is_poison() {
        works.iter_mut().for_each(Work::park);
    }
    for work in works.iter().filter(|work| work.is_open()) {
        point::touch(work.item.item_id);
    }
    let end = match bring_over(hand, connector, &mut works).await {
        Ok(()) => End::Done,
        Err(Stopped::Call(error)) => {
            hand.after(&error, |words| {
                for work in &mut works {
                    work.exhaust(&words);
                }
                End::Done
            })
            .await?
        }
        Err(Stopped::Batch(error)) => return Err(error),
    };
    hand.persist(|| settle(hand, &works, &end)).await
}

/// Settles a batch that could not even be begun.
pub async fn abandon(hand: &Hand<'_>, end: End) -> Result<(), BatchError> {
    hand.persist(|| settle(hand, &[], &end)).await
}

/// Why a batch stopped before its end.
#[derive(Debug)]
pub enum Stopped {
    Call(CallError),
    Batch(BatchError),
}

impl From<CallError> for Stopped {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<BatchError> for Stopped {
    fn from(error: BatchError) -> Self {
        Self::Batch(error)
    }
}

async fn load(hand: &Hand<'_>, connector: &dyn Connector) -> Result<Vec<Work>, BatchError> {
    let mut tx = hand.begin(Isolation::ReadCommitted).await?;
    let items = item::of_batch(&mut tx, hand.org, hand.batch.batch_id).await?;
    let mut effects: BTreeMap<_, Vec<Effect>> = BTreeMap::new();
    for effect in effect::unsettled(&mut tx, hand.org, hand.batch.batch_id).await? {
        effects.entry(effect.item_id).or_default().push(effect);
    }
    let now = db::now(&mut tx).await?;
    let entity = hand.batch.entity_type;
    let mut works: Vec<Work> = items
        .into_iter()
        .map(|loaded| {
            let effects = effects.remove(&loaded.item_id).unwrap_or_default();
            Work::new((loaded, entity), effects, connector, now)
        })
        .collect();
    let named: BTreeSet<RecordId> = works.iter().flat_map(|work| targets(&work.whole)).collect();
    let named: Vec<RecordId> = named.into_iter().collect();
    let referred: BTreeMap<RecordId, Referred> =
        item::referred(&mut tx, hand.org, hand.batch.connection_id, &named)
            .await?
            .into_iter()
            .map(|referred| (referred.record_id, referred))
            .collect();
    let links = Arc::new(links(&referred));
    for work in &mut works {
        work.links = links.clone();
        work.await_references(&referred);
    }
    let out_of_use: Vec<RecordId> = works
        .iter()
        .filter(|work| work.external_id.is_none() && !work.is_wanted())
        .map(|work| work.item.record_id)
        .collect();
    let connection = hand.batch.connection_id;
    let awaited = deletion::awaited(&mut tx, hand.org, connection, &out_of_use).await?;
    for work in &mut works {
        if awaited.contains(&work.item.record_id) {
            work.need = Need::Awaited;
        }
    }
    stock::leave_uncounted(&mut works);
    stock::await_orders(hand, &mut tx, &mut works).await?;
    Ok(works)
}

fn targets(content: &Content) -> Vec<RecordId> {
    let targets = content.references().into_iter();
    targets
        .filter_map(|(_, reference)| Some(reference.target()?.record))
        .collect()
}

fn links(referred: &BTreeMap<RecordId, Referred>) -> Links {
    Links::new(referred.values().filter_map(|referred| {
        let link = Link {
            external_id: referred.external_id.clone()?,
            parts: serde_json::from_value(referred.parts.clone()?).unwrap_or_default(),
            content: Content::parse(referred.entity_type, referred.content.clone()).ok()?,
        };
        Some((referred.record_id, link))
    }))
}

async fn bring_over(hand: &Hand<'_>, connector: &dyn Connector, works: &mut [Work]) -> Result<(), Stopped> {
    doubt::resolve(hand, connector, works).await?;
    let mut writes = look_and_decide(hand, connector, works).await?;
    if hand.sync.dry_run {
        plan_only(works, writes);
        return Ok(());
    }
    let watch = stock::watch(hand, connector, works, &mut writes).await?;
    send_all(hand, connector, works, writes).await?;
    if let Some(watch) = watch {
        let corrections = watch.corrections(hand, connector, works).await?;
        send_all(hand, connector, works, corrections).await?;
        stock::leave_corrected(works);
    }
    Ok(())
}

/// Has a dry run note what it would send.
fn plan_only(works: &mut [Work], writes: Vec<Write>) {
    for write in writes {
        if let Some(work) = works.iter_mut().find(|work| work.item.item_id == write.item) {
            work.plan(write);
        }
    }
}

async fn send_all(
    hand: &Hand<'_>,
    connector: &dyn Connector,
    works: &mut [Work],
    mut writes: Vec<Write>,
) -> Result<(), Stopped> {
    while !writes.is_empty() {
        writes = send::round(hand, connector, works, writes).await?;
    }
    Ok(())
}

/// Looks at what the remote holds of the items that are still open, in one look-up, and decides about each.
async fn look_and_decide(
    hand: &Hand<'_>,
    connector: &dyn Connector,
    works: &mut [Work],
) -> Result<Vec<Write>, Stopped> {
    let mut writes = Vec::new();
    let mut wanted = Vec::new();
    for (position, work) in works.iter_mut().enumerate() {
        if let Some(write) = work.continued() {
            writes.push(write);
        } else if work.is_open() {
            match connector.refuses(&work.ours) {
                Some(refusal) => work.refuse(&refusal),
                None => wanted.push((position, work.wanted())),
            }
        }
    }
    let sightings = look_up(
        hand,
        connector,
        wanted.iter().map(|(_, wanted)| wanted.clone()).collect(),
    )
    .await?;
    let seen: Vec<_> = wanted
        .iter()
        .map(|(position, _)| *position)
        .zip(sightings)
        .collect();
    let mut owners = owners(hand, works, &seen).await?;
    find_vanished(hand, connector, works, &seen).await?;
    for (position, sighting) in seen {
        let work = &mut works[position];
        if !work.is_open() {
            continue;
        }
        work.reproject(connector);
        let Sighted::Holds(theirs) = judge_sighting(work, sighting, &owners) else {
            continue;
        };
        // The next item of the batch that finds the same thing comes too late.
        if let Some(theirs) = &theirs {
            owners.insert(theirs.external_id.clone(), work.item.item_id);
        }
        if let Some(write) = decide_one(hand, connector, work, theirs) {
            writes.push(write);
        }
    }
    Ok(writes)
}

/// Tells what the remote had and does not have any more, by asking about what the look-up makes doubtful. It must not be
/// made again, and what lies in a trash not be taken out of it.
async fn find_vanished(
    hand: &Hand<'_>,
    connector: &dyn Connector,
    works: &mut [Work],
    seen: &[(usize, Sighting)],
) -> Result<(), Stopped> {
    let suspects: Vec<(usize, String)> = seen
        .iter()
        .filter(|(position, sighting)| works[*position].is_suspect(sighting))
        .filter_map(|(position, _)| Some((*position, works[*position].external_id.clone()?)))
        .collect();
    if suspects.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = suspects.iter().map(|(_, id)| id.clone()).collect();
    let there = connector
        .existing(&hand.gate, hand.batch.entity_type, &ids)
        .await?;
    hand.lease.progress();
    for (position, id) in suspects {
        if !there.contains(&id) {
            works[position].vanish(vanish::words(hand));
        }
    }
    Ok(())
}

async fn look_up(
    hand: &Hand<'_>,
    connector: &dyn Connector,
    wanted: Vec<Wanted>,
) -> Result<Vec<Sighting>, Stopped> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    hand.reach(Point::LookBefore);
    let sightings = connector
        .look_up(&hand.gate, hand.batch.entity_type, &wanted)
        .await?;
    hand.reach(Point::LookAfter);
    hand.lease.progress();
    let sightings = hand.persist(|| resolve(hand, &sightings)).await?;
    if sightings.len() != wanted.len() {
        let detail = "a look-up answered for another number of things than were asked for".to_owned();
        return Err(CallError::Refused {
            system: connector.system().name(),
            detail,
        }
        .into());
    }
    Ok(sightings)
}

/// Puts our records in the place of what the things that were found name.
async fn resolve(hand: &Hand<'_>, sightings: &[Sighting]) -> Result<Vec<Sighting>, BatchError> {
    let found: Vec<Theirs> = sightings
        .iter()
        .filter_map(|sighting| match sighting {
            Sighting::One(theirs) => Some(theirs.clone()),
            Sighting::Missing | Sighting::Many(_) | Sighting::NotAsked => None,
        })
        .collect();
    if !named::names_any(&found) {
        return Ok(sightings.to_vec());
    }
    let mut tx = hand.begin(Isolation::ReadCommitted).await?;
    let mut resolved = named::resolve(hand, &mut tx, &found).await?.into_iter();
    Ok(sightings
        .iter()
        .map(|sighting| match sighting {
            Sighting::One(theirs) => Sighting::One(resolved.next().unwrap_or_else(|| theirs.clone())),
            other => other.clone(),
        })
        .collect())
}

/// Tells which items own the things that were found, so that no two items come to mean one thing: also what this batch has
/// made itself, of which no row tells yet.
async fn owners(
    hand: &Hand<'_>,
    works: &[Work],
    seen: &[(usize, Sighting)],
) -> Result<BTreeMap<String, lockstep_shared::id::ItemId>, BatchError> {
    let ids: Vec<String> = seen
        .iter()
        .filter_map(|(_, sighting)| match sighting {
            Sighting::One(theirs) => Some(theirs.external_id.clone()),
            Sighting::Missing | Sighting::Many(_) | Sighting::NotAsked => None,
        })
        .collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let key = (hand.batch.connection_id, hand.batch.entity_type);
    let mut owners = hand
        .persist(|| async {
            let mut tx = hand.begin(Isolation::ReadCommitted).await?;
            Ok(item::owners(&mut tx, hand.org, key, &ids).await?)
        })
        .await?;
    for work in works {
        if let Some(external_id) = work.external_id.clone() {
            owners.entry(external_id).or_insert(work.item.item_id);
        }
    }
    Ok(owners)
}

/// What a sighting comes to for an item.
enum Sighted {
    /// The remote holds this of it, or nothing: to be decided about.
    Holds(Option<Theirs>),
    /// There is nothing to decide: the item is settled.
    Settled,
}

/// Tells what the remote holds of an item, where the sighting tells.
fn judge_sighting(
    work: &mut Work,
    sighting: Sighting,
    owners: &BTreeMap<String, lockstep_shared::id::ItemId>,
) -> Sighted {
    match sighting {
        Sighting::Missing | Sighting::NotAsked => Sighted::Holds(None),
        Sighting::One(theirs) => match owners.get(&theirs.external_id) {
            Some(owner) if *owner != work.item.item_id => {
                let why = format!(
                    "its key belongs to `{}`, which is another record's",
                    theirs.external_id
                );
                work.skip_duplicate(&why, json!({ "externalId": theirs.external_id, "item": owner }));
                Sighted::Settled
            }
            _ => Sighted::Holds(Some(theirs)),
        },
        Sighting::Many(external_ids) => {
            let why = format!("{} things of the remote answer to its keys", external_ids.len());
            work.skip_duplicate(&why, json!({ "externalIds": external_ids }));
            Sighted::Settled
        }
    }
}

/// Decides about one item against what the remote holds. Returns what has to be written, if anything.
fn decide_one(
    hand: &Hand<'_>,
    connector: &dyn Connector,
    work: &mut Work,
    theirs: Option<Theirs>,
) -> Option<Write> {
    let ownership = hand.ownership(&work.whole);
    let side = Side {
        system: connector.system(),
        ownership: &ownership,
        times: Times {
            ours: Some(work.item.changed_at),
            theirs: theirs.as_ref().and_then(|theirs| theirs.modified_at),
        },
    };
    let (external_id, parts, content) = match theirs {
        None => (None, Parts::new(), None),
        Some(theirs) => match theirs.content {
            Ok(content) => {
                let elsewhere = |fields| shown::not_owned(fields, &ownership, side.system);
                let content = work.read(&content, &theirs.parts, elsewhere);
                (Some(theirs.external_id), theirs.parts, Some(content))
            }
            Err(invalid) => {
                work.conflict(
                    ConflictType::ValidationError,
                    format!("what the remote holds is not valid: {invalid}"),
                    json!({ "externalId": theirs.external_id }),
                );
                return None;
            }
        },
    };
    work.theirs.clone_from(&content);
    work.changed_at = side.times.theirs;
    if let Some(external_id) = &external_id {
        work.found(external_id.clone(), parts.clone());
    }
    match decide(
        work.base.as_ref().map(Agreed::as_base),
        Some(&work.ours),
        content.as_ref(),
        side,
    ) {
        Decision::Unchanged | Decision::Adopt(_) => {
            let base = Agreed {
                ours: work.ours.clone(),
                theirs: content.unwrap_or_else(|| work.ours.clone()),
            };
            work.fate = Fate::Synced {
                base,
                done: work::Done::Unchanged,
            };
            None
        }
        Decision::Create(_) if !work.is_wanted() => {
            work.leave_out("it is out of use, and not made where it is not there");
            None
        }
        Decision::Create(content) => Some(work.write(Action::Create, content, Step(0))),
        Decision::Update(merge) => {
            work.take(&merge);
            let held = content.as_ref().map(|theirs| merge.held(theirs));
            if merge.to_write.is_empty() {
                let base = Agreed {
                    theirs: held.unwrap_or_else(|| merge.content.clone()),
                    ours: merge.content,
                };
                work.fate = Fate::Synced {
                    base,
                    done: work::Done::Unchanged,
                };
                return None;
            }
            work.expected = held;
            let external_id = external_id.unwrap_or_default();
            let action = Action::Update {
                external_id,
                parts,
                changed: merge.to_write,
            };
            Some(work.write(action, merge.content, Step(0)))
        }
        Decision::Delete => {
            let action = Action::Delete {
                external_id: external_id.unwrap_or_default(),
            };
            Some(work.write(action, work.ours.clone(), Step(0)))
        }
        Decision::Conflict(disagreement) => {
            let data = json!({
                "fields": disagreement.fields, "base": work.base.as_ref().map(|base| base.ours.to_json()),
                "ours": work.ours.to_json(), "theirs": content.as_ref().map(Content::to_json),
                "proposed": disagreement.proposed.as_ref().map(Content::to_json),
            });
            let decider = Decider::of(&disagreement, &ownership);
            // A dry run waits for nothing: its items go back as they were.
            let retries = if hand.sync.dry_run {
                0
            } else {
                hand.sync.max_retries
            };
            work.dispute(disagreement.reason, data, decider, retries);
            None
        }
    }
}

/// Returns every field path of a record: what a thing that was just made has to be given.
fn all_paths(content: &Content) -> std::collections::BTreeSet<String> {
    fields_of(content).0.into_keys().collect()
}

/// Settles the batch: items, bases, conflicts, records that took something over, follow-ups, counts and what is next.
async fn settle(hand: &Hand<'_>, works: &[Work], end: &End) -> Result<(), BatchError> {
    hand.reach(Point::SettleBefore);
    let mut tx = hand.begin_settling().await?;
    let org = hand.org;
    if hand.sync.dry_run {
        return settle_dry(hand, tx, works, end).await;
    }
    // The stage is locked first by every transaction that opens or closes a batch.
    let stage = lockstep_shared::stage::lock(&mut tx, org, hand.stage.stage_id).await?;
    let follow_up = open_follow_up(hand, &mut tx, &stage, works).await?;
    let now = db::now(&mut tx).await?;
    let is_over = !matches!(end, End::Later { .. });
    let settled: Vec<_> = works
        .iter()
        .filter_map(|work| work.settled(follow_up, now, is_over))
        .collect();
    let key = (hand.batch.batch_id, stage.stage_id);
    // Records before their items, as whoever pulls locks them.
    take_over(hand, &mut tx, works).await?;
    item::settle(&mut tx, org, key, &settled).await?;
    let asked = meet_vanished(hand, &mut tx, works).await?;
    for work in works {
        if let Some((conflict_type, course, data)) = work.to_report() {
            let new = settled.iter().find(|new| new.item_id == work.item.item_id);
            let conflict = NewConflict {
                sync: Some(hand.batch.sync_id),
                connection: hand.batch.connection_id,
                item: Some(work.item.item_id),
                entity: hand.batch.entity_type,
                conflict_type,
                course: Course {
                    next_retry_at: new.and_then(|new| new.retry_at),
                    ..course
                },
                data,
            };
            conflict::open(&mut tx, org, &conflict).await?;
        }
    }
    let at_rest: Vec<_> = works
        .iter()
        .filter(|work| work.is_at_rest())
        .map(|work| work.item.item_id)
        .collect();
    if !at_rest.is_empty() {
        conflict::close_settled(&mut tx, org, &at_rest).await?;
    }
    if is_over {
        item::let_go(&mut tx, org, hand.batch.batch_id).await?;
    }
    let mut counts = counts(works);
    (counts.skipped, counts.conflicts) = (counts.skipped - asked, counts.conflicts + asked);
    hand.leave(&mut tx, &counts, end).await?;
    hand.commit(tx).await
}

/// Does what is to be done about things that vanished, and about what was left out and is wanted after all.
/// Returns about how many things a person was asked.
async fn meet_vanished(hand: &Hand<'_>, tx: &mut OrgTx, works: &[Work]) -> Result<i64, sqlx::Error> {
    let wanted: Vec<RecordId> = works.iter().filter_map(|work| work.wants).collect();
    deletion::want(tx, hand.org, hand.batch.connection_id, &wanted).await?;
    let vanished = works.iter().filter(|work| work.is_vanished());
    let vanished: Vec<_> = vanished.map(|work| work.item.item_id).collect();
    if vanished.is_empty() {
        return Ok(0);
    }
    Ok(match vanish::meet(hand, tx, &vanished).await? {
        vanish::Found::Asked => i64::try_from(vanished.len()).unwrap_or(i64::MAX),
        vanish::Found::Retired => 0,
    })
}

/// Settles a batch of a dry run: what it found is kept, and its items go back as they were.
async fn settle_dry(hand: &Hand<'_>, mut tx: OrgTx, works: &[Work], end: &End) -> Result<(), BatchError> {
    let stage = lockstep_shared::stage::lock(&mut tx, hand.org, hand.stage.stage_id).await?;
    let previews: Vec<_> = works.iter().filter_map(Work::preview).collect();
    let key = (hand.batch.sync_id, stage.connection_id, stage.entity_type);
    preview::store(&mut tx, hand.org, key, &previews).await?;
    if !matches!(end, End::Later { .. }) {
        item::let_go(&mut tx, hand.org, hand.batch.batch_id).await?;
    }
    hand.leave(&mut tx, &counts(works), end).await?;
    hand.commit(tx).await
}

/// Opens the batch that waits until the requests in doubt can no longer arrive, if any item needs it.
async fn open_follow_up(
    hand: &Hand<'_>,
    tx: &mut OrgTx,
    stage: &lockstep_shared::stage::Stage,
    works: &[Work],
) -> Result<Option<BatchId>, sqlx::Error> {
    let quiet_ats: Vec<_> = works.iter().filter_map(Work::quiet_at).collect();
    let Some(run_at) = quiet_ats.iter().max().copied() else {
        return Ok(None);
    };
    let lane = batch::free_lane(tx, hand.org, stage.stage_id).await?;
    let mut new = plan::new_batch(stage, BatchId::random(), lane, run_at);
    new.item_count = i32::try_from(quiet_ats.len()).unwrap_or(i32::MAX);
    let now = db::now(tx).await?;
    batch::open(tx, hand.org, &new, now).await?;
    Ok(Some(new.batch_id))
}

/// Stores what our records took over from the remote, and makes it due for the other connections.
async fn take_over(hand: &Hand<'_>, tx: &mut OrgTx, works: &[Work]) -> Result<(), sqlx::Error> {
    let entity = hand.batch.entity_type;
    let takes: Vec<Take> = works
        .iter()
        .filter_map(|work| {
            let put = Put {
                record_id: work.item.record_id,
                content: work.taken.clone()?,
            };
            Some(Take {
                put,
                changed_at: work.changed_at,
            })
        })
        .collect();
    let changed = record::take(tx, hand.org, entity, &takes).await?;
    item::make_due(tx, hand.org, entity, &changed, Some(hand.batch.connection_id)).await
}

fn counts(works: &[Work]) -> Counts {
    let mut counts = Counts::default();
    for work in works {
        work.count(&mut counts);
    }
    counts
}
