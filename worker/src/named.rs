//! What things of a remote system name: an order its customer and its products, a payment its order.
//!
//! A connector knows those by their remote ids. Here they become our records; what was never seen before is read, so that
//! nothing that names it has to wait for another sync.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::db::{Isolation, OrgTx};
use lockstep_shared::decide::Agreed;
use lockstep_shared::entity::{Content, Order, PartKey, RecordPart, Reference, RemoteThing};
use lockstep_shared::id::RecordId;
use lockstep_shared::item;
use lockstep_shared::system::EntityType;

use crate::batch::{BatchError, Hand};
use crate::connector::{Connector, Parts, Theirs};
use crate::push::Stopped;

/// The records behind remote things.
#[derive(Debug, Default)]
struct Records(BTreeMap<(EntityType, String), (RecordId, Parts)>);

impl Records {
    /// Finds the record, and the part of it, that a remote thing is.
    fn find(&self, entity: EntityType, thing: &RemoteThing) -> Option<RecordPart> {
        let (record, parts) = self.0.get(&(entity, thing.external_id.clone()))?;
        let part = match &thing.part {
            None => PartKey::default(),
            Some(id) => parts.iter().find(|(_, part)| *part == id)?.0.clone(),
        };
        Some(RecordPart {
            record: *record,
            part,
        })
    }

    /// Finds the record of a product of which the part that is meant is not known.
    fn of_lost_part(&self, thing: &RemoteThing) -> Option<RecordId> {
        let entity = EntityType::Products;
        let (record, _) = self.0.get(&(entity, thing.external_id.clone()))?;
        self.find(entity, thing).is_none().then_some(*record)
    }

    /// Leaves on the lines of an order what was agreed to be sold there, where the system says only of which product it was a
    /// part: a variant that it does not have any more is still what was sold.
    fn keep_sold(&self, order: &mut Order, agreed: &Order) {
        for line in &mut order.lines {
            let Some(Reference::Remote(thing)) = &line.product else {
                continue;
            };
            let sold = agreed.lines.iter().find(|before| before.key == line.key);
            let sold = sold.and_then(|before| before.product.as_ref()?.target());
            if let Some(record) = self.of_lost_part(thing)
                && let Some(part) = sold.filter(|part| part.record == record)
            {
                line.product = Some(Reference::Record(part.clone()));
            }
        }
    }
}

/// Reads the things that are named and that we don't know, and what those name in turn; what is named first.
pub async fn fetch(
    hand: &Hand<'_>,
    connector: &dyn Connector,
    seen: &[Theirs],
) -> Result<Vec<(EntityType, Vec<Theirs>)>, Stopped> {
    let mut fetched: Vec<(EntityType, Vec<Theirs>)> = Vec::new();
    // Whatever names something comes after it in the order of types, so going back through them finds all.
    for entity in EntityType::ALL.into_iter().rev() {
        let all = || seen.iter().chain(fetched.iter().flat_map(|(_, things)| things));
        let named: BTreeSet<RemoteThing> = things_named(all())
            .filter(|(named, _)| *named == entity)
            .map(|(_, thing)| thing.clone())
            .collect();
        let unknown = hand.persist(|| unknown(hand, entity, &named)).await?;
        if unknown.is_empty() {
            continue;
        }
        let things = connector.read(&hand.gate, entity, &unknown).await?;
        hand.lease.progress();
        fetched.push((entity, things));
    }
    fetched.reverse();
    Ok(fetched)
}

fn things_named<'a>(
    things: impl Iterator<Item = &'a Theirs>,
) -> impl Iterator<Item = (EntityType, &'a RemoteThing)> {
    things
        .filter_map(|theirs| theirs.content.as_ref().ok())
        .flat_map(Content::references)
        .filter_map(|(entity, reference)| match reference {
            Reference::Remote(thing) => Some((entity, thing)),
            Reference::Record(_) => None,
        })
}

/// Returns the ids of the named things that are not known, or of which the named part is not.
async fn unknown(
    hand: &Hand<'_>,
    entity: EntityType,
    named: &BTreeSet<RemoteThing>,
) -> Result<Vec<String>, BatchError> {
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let mut tx = hand.begin(Isolation::ReadCommitted).await?;
    let records = records(hand, &mut tx, named.iter().map(|thing| (entity, thing))).await?;
    let unknown: BTreeSet<String> = named
        .iter()
        .filter(|thing| records.find(entity, thing).is_none())
        .map(|thing| thing.external_id.clone())
        .collect();
    Ok(unknown.into_iter().collect())
}

async fn records(
    hand: &Hand<'_>,
    tx: &mut OrgTx,
    things: impl Iterator<Item = (EntityType, &RemoteThing)>,
) -> Result<Records, sqlx::Error> {
    let asked: BTreeSet<(EntityType, String)> = things
        .map(|(entity, thing)| (entity, thing.external_id.clone()))
        .collect();
    let asked: Vec<_> = asked.into_iter().collect();
    let known = item::known(tx, hand.org, hand.batch.connection_id, &asked).await?;
    Ok(Records(
        known
            .into_iter()
            .map(|known| {
                let parts = serde_json::from_value(known.parts).unwrap_or_default();
                ((known.entity_type, known.external_id), (known.record_id, parts))
            })
            .collect(),
    ))
}

/// Puts our records in the place of what things name.
pub async fn resolve(hand: &Hand<'_>, tx: &mut OrgTx, seen: &[Theirs]) -> Result<Vec<Theirs>, sqlx::Error> {
    let records = records(hand, tx, things_named(seen.iter())).await?;
    let lost = orders_with_lost_parts(&records, seen);
    let agreed = agreed_orders(hand, tx, &lost).await?;
    let resolve = |theirs: &Theirs| {
        let mut theirs = theirs.clone();
        if let (Ok(Content::Order(order)), Some(agreed)) =
            (&mut theirs.content, agreed.get(&theirs.external_id))
            && let Content::Order(agreed) = &agreed.theirs
        {
            records.keep_sold(order, agreed);
        }
        theirs.content = theirs
            .content
            .and_then(|content| content.resolved(|entity, thing| records.find(entity, thing)))
            // Lines that lost their product may now read like others.
            .and_then(Content::canonical);
        theirs
    };
    Ok(seen.iter().map(resolve).collect())
}

/// Returns the ids of the orders with a line whose product we know and whose part of it we don't.
fn orders_with_lost_parts(records: &Records, seen: &[Theirs]) -> Vec<String> {
    let is_lost = |(entity, thing): (EntityType, &RemoteThing)| {
        entity == EntityType::Products && records.of_lost_part(thing).is_some()
    };
    let orders = seen
        .iter()
        .filter(|theirs| matches!(theirs.content, Ok(Content::Order(_))))
        .filter(|theirs| things_named(std::iter::once(*theirs)).any(is_lost));
    orders.map(|theirs| theirs.external_id.clone()).collect()
}

/// Reads what was agreed on about orders of the batch's connection, by their ids there.
pub async fn agreed_orders(
    hand: &Hand<'_>,
    tx: &mut OrgTx,
    external_ids: &[String],
) -> Result<BTreeMap<String, Agreed>, sqlx::Error> {
    if external_ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let key = (hand.batch.connection_id, EntityType::Orders);
    let bases = item::bases(tx, hand.org, key, external_ids).await?;
    Ok(bases
        .into_iter()
        .filter_map(|base| {
            let agreed = Agreed::stored(EntityType::Orders, base.base?, base.held).ok()?;
            Some((base.external_id, agreed))
        })
        .collect())
}

/// Says whether any of the things names another.
pub fn names_any(seen: &[Theirs]) -> bool {
    things_named(seen.iter()).next().is_some()
}
