//! Finding orders again: by id, and by our marker among those that we made.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use lockstep_shared::entity::{FieldError, Invalid};
use lockstep_shared::id::RecordId;

use super::super::lookup::CLOCK_SLACK;
use super::super::pull::Window;
use super::super::{WooCommerce, parsed};
use super::wire::{self, Order};
use super::{is_thing, theirs, view};
use crate::connector::{CallError, Gate, Purpose, Sighting, Theirs, Wanted};

impl WooCommerce {
    pub(in super::super) async fn look_up_orders(
        &self,
        gate: &dyn Gate,
        wanted: &[Wanted],
    ) -> Result<Vec<Sighting>, CallError> {
        let ids: Vec<String> = wanted
            .iter()
            .filter_map(|wanted| match &wanted.purpose {
                Purpose::Refresh { external_id } => Some(external_id.clone()),
                Purpose::BeforeCreate | Purpose::InDoubt { .. } => None,
            })
            .collect();
        let known = self.orders_by_id(gate, &ids).await?;
        let oldest = wanted.iter().filter_map(|wanted| match wanted.purpose {
            Purpose::InDoubt { since } => Some(since),
            Purpose::Refresh { .. } | Purpose::BeforeCreate => None,
        });
        let marked = match oldest.min() {
            Some(since) => {
                self.marked_orders(gate, Some(since), &["any", super::HIDDEN])
                    .await?
            }
            None => BTreeMap::new(),
        };
        let settings = &self.settings;
        Ok(wanted
            .iter()
            .map(|one| match &one.purpose {
                Purpose::Refresh { external_id } => external_id
                    .parse()
                    .ok()
                    .and_then(|id: u64| known.get(&id))
                    .filter(|order| is_thing(order))
                    .map_or(Sighting::Missing, |order| Sighting::One(theirs(order, settings))),
                // An order has no key but our marker, by which no list can be asked (facts/systems.md A7).
                Purpose::BeforeCreate => Sighting::NotAsked,
                Purpose::InDoubt { .. } => {
                    let found = marked.get(&one.record).map(Vec::as_slice);
                    let is_done = |order: &Order| is_thing(order) && order.silence().is_none();
                    sighting(found.unwrap_or_default(), |order| {
                        if is_done(order) {
                            theirs(order, settings)
                        } else {
                            unfinished(order)
                        }
                    })
                }
            })
            .collect())
    }

    /// Reads the orders that we made, those of one record together, oldest first. No list can be asked for meta, so all
    /// that were created since are read, of which `created_via` leaves ours (facts/mapping-woocommerce.md §3).
    pub(super) async fn marked_orders(
        &self,
        gate: &dyn Gate,
        since: Option<DateTime<Utc>>,
        statuses: &[&str],
    ) -> Result<BTreeMap<RecordId, Vec<Order>>, CallError> {
        let mut marked: BTreeMap<RecordId, Vec<Order>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for status in statuses {
            let mut offset = 0;
            loop {
                let mut params = view(wire::ORDER_FIELDS);
                params.push(("status", (*status).to_owned()));
                params.push(("created_via", wire::CREATED_VIA.to_owned()));
                params.push(("orderby", "id".to_owned()));
                params.push(("order", "asc".to_owned()));
                params.push(("per_page", Window::LIMIT.to_string()));
                params.push(("offset", offset.to_string()));
                if let Some(since) = since {
                    let after = (since - CLOCK_SLACK).format("%Y-%m-%dT%H:%M:%S");
                    params.push(("after", after.to_string()));
                    params.push(("dates_are_gmt", "true".to_owned()));
                }
                let page: Vec<Order> = parsed(self.list(gate, "orders", params).await?);
                let count = page.len();
                for order in page {
                    if let (Some(record), true) = (order.marker(), seen.insert(order.id)) {
                        marked.entry(record).or_default().push(order);
                    }
                }
                if count < Window::LIMIT {
                    break;
                }
                offset += count;
            }
        }
        for orders in marked.values_mut() {
            orders.sort_by_key(|order| order.id);
        }
        Ok(marked)
    }
}

/// Says which of the orders with our marker is the one. A draft is nobody's as long as there is another: what was placed
/// goes first, and of drafts the oldest; WooCommerce drops the others by itself.
fn sighting(found: &[Order], theirs: impl Fn(&Order) -> Theirs) -> Sighting {
    let placed: Vec<&Order> = found.iter().filter(|order| is_thing(order)).collect();
    match (placed.as_slice(), found.first()) {
        ([order], _) => Sighting::One(theirs(order)),
        ([], None) => Sighting::Missing,
        ([], Some(draft)) => Sighting::One(theirs(draft)),
        (several, _) => Sighting::Many(several.iter().map(|order| order.id.to_string()).collect()),
    }
}

/// A draft was made and not placed, or what was taken from an order was not given back: not what was sent, whatever
/// stands in it.
fn unfinished(order: &Order) -> Theirs {
    let message = "must be that of a placed order: this one was left halfway";
    Theirs {
        external_id: order.id.to_string(),
        content: Err(Invalid(vec![FieldError::new("status", message)])),
        parts: crate::connector::Parts::new(),
        marker: order.marker(),
        modified_at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: u64, status: &str) -> Order {
        Order {
            id,
            status: status.to_owned(),
            ..Order::default()
        }
    }

    fn seen(orders: &[Order]) -> String {
        match sighting(orders, unfinished) {
            Sighting::One(theirs) => theirs.external_id,
            Sighting::Many(ids) => ids.join(" "),
            Sighting::Missing => "none".to_owned(),
            Sighting::NotAsked => "not asked".to_owned(),
        }
    }

    #[test]
    fn what_was_placed_goes_before_drafts_and_two_placed_ones_are_many() {
        let (draft, placed) = (order(4, "checkout-draft"), order(5, "processing"));
        let second = order(6, "on-hold");

        assert_eq!(seen(&[]), "none");
        assert_eq!(seen(std::slice::from_ref(&draft)), "4");
        assert_eq!(seen(&[draft.clone(), order(7, "checkout-draft")]), "4");
        assert_eq!(seen(&[draft.clone(), placed.clone()]), "5");
        assert_eq!(seen(&[draft, placed, second]), "5 6");
    }
}
