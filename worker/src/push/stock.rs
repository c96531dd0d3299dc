//! Stock and sales: a level is written only when the orders that move it are known, and a sale that a write ran over is
//! put back.
//!
//! A store's number is already minus what it sold; the ERP's falls when the order arrives there. While an order is on its
//! way the two mean different things, so the levels of what is in it wait. A store has no conditional write: a sale
//! between our look and our write is erased by it. So the orders are looked at again after the write, and what they
//! took is taken off in a second write. What is left is a sale in the moment between that second look and its write.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::cursor;
use lockstep_shared::db::{Isolation, OrgTx};
use lockstep_shared::decide::Agreed;
use lockstep_shared::entity::{Content, ContentHash, Inventory, Order, OrderStatus, RecordPart};
use lockstep_shared::id::RecordId;
use lockstep_shared::item;
use lockstep_shared::system::EntityType;
use rust_decimal::Decimal;

use super::work::{Fate, Work};
use super::{Stopped, look_up};
use crate::batch::{BatchError, Hand};
use crate::connector::{Action, Connector, Cursor, Purpose, Sighting, Step, Theirs, Wanted, Write, shown};
use crate::named;
use crate::pull::PAGE_LIMIT;

/// Most pages of orders that are looked at beside a batch of levels: where there are more, the levels wait.
const PAGES: usize = 5;

const UNSETTLED: &str = "it is in an order that has not arrived everywhere yet; the next sync looks again";

/// Leaves out the levels of products that nobody counts any more: what is known of them is from before.
pub fn leave_uncounted(works: &mut [Work]) {
    for work in works.iter_mut().filter(|work| work.is_open()) {
        let Content::Inventory(level) = &work.whole else {
            continue;
        };
        let product = work.links.find(&level.product).map(|link| &link.content);
        if matches!(product, Some(Content::Product(product)) if !product.tracks_stock) {
            work.leave_out("its product's stock is not kept");
        }
    }
}

/// Puts off the levels of what is in an order that we know and that has not arrived everywhere.
pub async fn await_orders(hand: &Hand<'_>, tx: &mut OrgTx, works: &mut [Work]) -> Result<(), sqlx::Error> {
    if hand.batch.entity_type != EntityType::Inventory {
        return Ok(());
    }
    let open: Vec<RecordId> = works
        .iter()
        .filter(|work| work.is_open())
        .map(|work| work.item.record_id)
        .collect();
    let unsettled: BTreeSet<RecordId> = item::of_unsettled_orders(tx, hand.org, &open)
        .await?
        .into_iter()
        .collect();
    for work in works.iter_mut().filter(|work| work.is_open()) {
        if unsettled.contains(&work.item.record_id) {
            work.wait(UNSETTLED);
        }
    }
    Ok(())
}

/// The orders that the system had when levels were about to be written.
pub struct Watch {
    seen: BTreeSet<(String, ContentHash)>,
}

/// Looks for orders that we don't know yet before levels are written, and puts off the levels of what is in them.
/// `None` where nothing is written, or where the system's number is not the one that sales change first.
pub async fn watch(
    hand: &Hand<'_>,
    connector: &dyn Connector,
    works: &mut [Work],
    writes: &mut Vec<Write>,
) -> Result<Option<Watch>, Stopped> {
    let Some(first) = writes.first() else {
        return Ok(None);
    };
    let ownership = hand.ownership(&first.content);
    if hand.batch.entity_type != EntityType::Inventory || ownership.owner("quantity").is(connector.system()) {
        return Ok(None);
    }
    let Some(orders) = peek(hand, connector).await? else {
        return Ok(None);
    };
    let is_unsettled = |write: &Write| {
        !orders.is_whole
            || subject(&write.content).is_some_and(|subject| orders.sold(subject, |_| true) > Decimal::ZERO)
    };
    let (put_off, kept): (Vec<Write>, Vec<Write>) =
        std::mem::take(writes).into_iter().partition(is_unsettled);
    *writes = kept;
    let put_off: BTreeSet<_> = put_off.iter().map(|write| write.item).collect();
    for work in works
        .iter_mut()
        .filter(|work| put_off.contains(&work.item.item_id))
    {
        work.wait(UNSETTLED);
    }
    let seen = orders.news.into_iter().map(|(id, order)| (id, order.1)).collect();
    Ok(Some(Watch { seen }))
}

impl Watch {
    /// Looks at the orders again after the writes. Returns the writes that give back what sales meanwhile had taken.
    pub async fn corrections(
        self,
        hand: &Hand<'_>,
        connector: &dyn Connector,
        works: &mut [Work],
    ) -> Result<Vec<Write>, Stopped> {
        let Some(orders) = peek(hand, connector).await? else {
            return Ok(Vec::new());
        };
        let mut due = Vec::new();
        for (position, work) in works.iter_mut().enumerate() {
            let Fate::Synced { base, .. } = &work.fate else {
                continue;
            };
            let Content::Inventory(written) = &base.ours else {
                continue;
            };
            let is_new = |news: &(String, ContentHash)| !self.seen.contains(news);
            let sold = subject(&base.ours).map_or(Decimal::ZERO, |subject| orders.sold(subject, is_new));
            if sold > Decimal::ZERO {
                let left = Content::Inventory(Inventory {
                    product: written.product.clone(),
                    quantity: (written.quantity - sold).normalize(),
                });
                due.push((position, left, work.external_id.clone().unwrap_or_default()));
            }
        }
        let wanted = due.iter().map(|(position, left, external_id)| Wanted {
            record: works[*position].item.record_id,
            purpose: Purpose::Refresh {
                external_id: external_id.clone(),
            },
            content: left.clone(),
            links: works[*position].links.clone(),
        });
        let sightings = look_up(hand, connector, wanted.collect()).await?;
        let mut writes = Vec::new();
        for ((position, left, external_id), sighting) in due.into_iter().zip(sightings) {
            let work = &mut works[position];
            work.is_corrected = true;
            let is_right = matches!(&sighting, Sighting::One(theirs) if theirs.content.as_ref().is_ok_and(|content| *content == left));
            if is_right {
                // The sale came after the write, and has been taken off by the store itself.
                if let Fate::Synced { base, .. } = &mut work.fate {
                    *base = Agreed::same(left);
                }
                continue;
            }
            let action = Action::Update {
                external_id,
                parts: work.parts.clone(),
                changed: BTreeSet::from(["quantity".to_owned()]),
            };
            tracing::info!(item.id = %work.item.item_id, "a sale came between look and write; its quantity is taken off again");
            writes.push(work.write(action, left, Step(0)));
        }
        Ok(writes)
    }
}

/// Leaves the levels that were corrected to be looked at again: what we hold becomes right when their orders arrive.
pub fn leave_corrected(works: &mut [Work]) {
    for work in works.iter_mut().filter(|work| work.is_corrected) {
        if let Fate::Synced { base, done } = &work.fate {
            work.fate = Fate::Outdated {
                base: base.clone(),
                done: *done,
            };
        }
    }
}

/// Orders of the system that say something that we don't know yet.
#[derive(Default)]
struct News {
    news: BTreeMap<String, (Order, ContentHash)>,
    /// Whether these are all.
    is_whole: bool,
}

impl News {
    /// Counts what the orders took of a product.
    fn sold(&self, subject: &RecordPart, is_meant: impl Fn(&(String, ContentHash)) -> bool) -> Decimal {
        self.news
            .iter()
            .filter(|(id, (order, hash))| takes_stock(order.status) && is_meant(&((*id).clone(), *hash)))
            .flat_map(|(_, (order, _))| &order.lines)
            .filter(|line| line.product.as_ref().and_then(|product| product.target()) == Some(subject))
            .map(|line| line.quantity)
            .sum()
    }
}

const fn takes_stock(status: OrderStatus) -> bool {
    matches!(
        status,
        OrderStatus::Processing | OrderStatus::Completed | OrderStatus::OnHold
    )
}

fn subject(content: &Content) -> Option<&RecordPart> {
    match content {
        Content::Inventory(level) => level.product.target(),
        Content::Customer(_) | Content::Product(_) | Content::Order(_) | Content::Payment(_) => None,
    }
}

/// Reads what changed in the system's orders since the last pull of them. `None` where its orders are not kept in step.
async fn peek(hand: &Hand<'_>, connector: &dyn Connector) -> Result<Option<News>, Stopped> {
    let position = hand
        .persist(|| async {
            let mut tx = hand.begin(Isolation::ReadCommitted).await?;
            let connection = hand.batch.connection_id;
            Ok(cursor::read(&mut tx, hand.org, connection, EntityType::Orders).await?)
        })
        .await?;
    if position.value.is_null() {
        return Ok(None);
    }
    let mut next = Cursor(position.value);
    let mut all = News::default();
    for _ in 0..PAGES {
        let page = connector
            .pull(&hand.gate, EntityType::Orders, &next, PAGE_LIMIT)
            .await?;
        hand.lease.progress();
        all.news
            .append(&mut hand.persist(|| news(hand, &page.seen)).await?);
        if page.is_last {
            all.is_whole = true;
            break;
        }
        next = page.next;
    }
    Ok(Some(all))
}

async fn news(
    hand: &Hand<'_>,
    seen: &[Theirs],
) -> Result<BTreeMap<String, (Order, ContentHash)>, BatchError> {
    let mut tx = hand.begin(Isolation::ReadCommitted).await?;
    let ids: Vec<String> = seen.iter().map(|theirs| theirs.external_id.clone()).collect();
    let agreed = named::agreed_orders(hand, &mut tx, &ids).await?;
    let resolved = named::resolve(hand, &mut tx, seen).await?;
    Ok(resolved
        .into_iter()
        .filter_map(|theirs| {
            let content = theirs.content.ok()?;
            // What it shows of others moves no stock.
            let shown = shown::fields(&theirs.parts);
            let is_known = agreed
                .get(&theirs.external_id)
                .is_some_and(|agreed| shown::as_agreed(&content, &agreed.theirs, &shown) == agreed.theirs);
            let hash = content.hash();
            match content {
                Content::Order(order) if !is_known => Some((theirs.external_id, (order, hash))),
                _ => None,
            }
        })
        .collect())
}
