//! Orders: reading them, finding them again, and writing those that were placed elsewhere.
//!
//! An order of ours carries our marker. It is made as a draft of the checkout, which nobody sees and WooCommerce drops
//! after a day, and then placed by its id, which can be repeated (facts/mapping-woocommerce.md §3). So a draft is never
//! seen as a thing: where one is left behind, the next try takes it over.
//!
//! Calls: 50 orders are read by one call, and made by one look for drafts left behind, three calls that make drafts and
//! three that place them. 50 changes take one call to read the orders and three to write.

mod answer;
mod lookup;
mod plan;
mod project;
mod read;
mod status;
mod total;
mod transition;
mod wire;
mod write;

use std::collections::BTreeMap;

use lockstep_shared::connection::Settings;
use lockstep_shared::entity::Order as Record;

use super::auth::Params;
use super::pull::{Mark, Step};
use super::{WooCommerce, page, parsed, position};
use crate::connector::{CallError, Cursor, Gate, Page, Refusal, Theirs};

pub(super) use self::read::theirs;
pub(super) use self::total::{read as amount, rounded, written};
pub(super) use self::transition::{restored, silenced};
pub(super) use self::wire::{DRAFT, Line, List, MARKER, Order, PAYMENT, Silence};
pub(super) use self::write::put_meta;

/// Most orders of one request. 50 unpaid orders took 9 s on a loaded machine, and placing one takes up to three changes
/// (facts/systems.md A11, facts/mapping-woocommerce.md §3).
pub(super) const REQUEST_LIMIT: usize = 20;

/// The states that «any» leaves out: the trash, and drafts of the checkout (facts/mapping-woocommerce.md §3).
const HIDDEN: &str = "trash,checkout-draft";

pub(super) fn project(order: &Record, settings: &Settings) -> Record {
    project::project(order, settings)
}

pub(super) fn refuses(order: &Record) -> Option<Refusal> {
    project::refuses(order)
}

/// Returns the parameters by which orders are read.
fn view(fields: &str) -> Params {
    vec![("_fields", fields.to_owned())]
}

impl WooCommerce {
    pub(super) async fn pull_orders(
        &self,
        gate: &dyn Gate,
        cursor: &Cursor,
        limit: usize,
    ) -> Result<Page, CallError> {
        let mark: Mark = position(cursor)?;
        let (orders, next, is_last) = self
            .changed_orders(gate, (mark, limit), wire::ORDER_FIELDS)
            .await?;
        let seen: Vec<Theirs> = orders.iter().map(|order| theirs(order, &self.settings)).collect();
        page(seen, &next, is_last)
    }

    /// Reads one page of the orders that changed. Drafts and the trash are not among them.
    pub(super) async fn changed_orders(
        &self,
        gate: &dyn Gate,
        (mut mark, limit): (Mark, usize),
        fields: &str,
    ) -> Result<(Vec<Order>, Mark, bool), CallError> {
        if mark.is_new() {
            let newest = self.newest_change(gate, "orders").await?;
            mark = mark.begun(newest);
        }
        loop {
            let window = mark.place().window(limit);
            let mut params = mark.params(window);
            params.append(&mut view(fields));
            let orders: Vec<Order> = parsed(self.list(gate, "orders", params).await?);
            let ids: Vec<u64> = orders.iter().map(|order| order.id).collect();
            match mark.place().step(&ids, window) {
                Step::Again(place) => mark = mark.at(place, false),
                Step::Page { next, is_last } => {
                    let fresh = orders.into_iter().filter(|order| {
                        mark.place().is_new(order.id) && !order.is_draft() && order.status != "trash"
                    });
                    return Ok((fresh.collect(), mark.clone().at(next, is_last), is_last));
                }
            }
        }
    }

    /// Reads orders by id, also those in the trash and drafts.
    pub(super) async fn orders_by_id(
        &self,
        gate: &dyn Gate,
        ids: &[String],
    ) -> Result<BTreeMap<u64, Order>, CallError> {
        let mut found: BTreeMap<u64, Order> = BTreeMap::new();
        for status in ["any", HIDDEN] {
            let missing: Vec<String> = ids
                .iter()
                .filter(|id| id.parse().is_ok_and(|id: u64| !found.contains_key(&id)))
                .cloned()
                .collect();
            let mut more = view(wire::ORDER_FIELDS);
            more.push(("status", status.to_owned()));
            let rows = self.list_by(gate, "orders", ("include", &missing), &more).await?;
            let read = parsed::<Order>(rows).into_iter();
            found.extend(read.filter(|order| order.id > 0).map(|order| (order.id, order)));
        }
        Ok(found)
    }

    /// Reads orders by id, as things.
    pub(super) async fn read_orders(
        &self,
        gate: &dyn Gate,
        ids: &[String],
    ) -> Result<Vec<Theirs>, CallError> {
        let orders = self.orders_by_id(gate, ids).await?;
        Ok(orders
            .values()
            .filter(|order| is_thing(order))
            .map(|order| theirs(order, &self.settings))
            .collect())
    }
}

/// Says whether an order is there for anyone: a draft is not, unless it is one only until the write that hid it is done.
fn is_thing(order: &Order) -> bool {
    !order.is_draft()
        || order
            .silence()
            .is_some_and(|silence| silence.status != wire::DRAFT)
}

#[cfg(test)]
mod tests;
