//! Finding payments again: by id, by their orders, and refunds by our marker.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use lockstep_shared::entity::{Content, FieldError, Invalid, Payment, PaymentKind};
use lockstep_shared::id::RecordId;

use super::super::auth::Params;
use super::super::lookup::CLOCK_SLACK;
use super::super::order::Order;
use super::super::pull::Window;
use super::super::{WooCommerce, parsed, reference};
use super::read;
use super::wire::Refund;
use crate::connector::{CallError, Gate, Purpose, Sighting, Theirs, Wanted};

impl WooCommerce {
    pub(in super::super) async fn look_up_payments(
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
            .chain(wanted.iter().filter_map(order_of_received))
            .collect();
        let known = self.payments_by_id(gate, &ids).await?;
        let refunds = self.refunds_in_doubt(gate, wanted).await?;
        Ok(wanted
            .iter()
            .map(|one| match (&one.purpose, kind(one)) {
                (Purpose::Refresh { external_id }, _) => seen(&known, external_id, None),
                (Purpose::BeforeCreate, PaymentKind::Received) => match order_of_received(one) {
                    Some(id) => seen(&known, &id, None),
                    None => Sighting::Missing,
                },
                // What we noted says so; what someone else did is not what was sent.
                (Purpose::InDoubt { .. }, PaymentKind::Received) => match order_of_received(one) {
                    Some(id) => seen(&known, &id, Some(one.record)),
                    None => Sighting::NotAsked,
                },
                // Two refunds of one amount may be two.
                (Purpose::BeforeCreate, PaymentKind::Refunded) => Sighting::NotAsked,
                (Purpose::InDoubt { .. }, PaymentKind::Refunded) => {
                    sighting(refunds.get(&one.record).map(Vec::as_slice).unwrap_or_default())
                }
            })
            .collect())
    }

    /// Finds the refunds that carry the markers of those in doubt: all that were made since then are read, and where that
    /// does not show one, those of its order. A refund whose order is out of reach of its mails still is not all done.
    async fn refunds_in_doubt(
        &self,
        gate: &dyn Gate,
        wanted: &[Wanted],
    ) -> Result<BTreeMap<RecordId, Vec<Theirs>>, CallError> {
        let doubtful: Vec<(&Wanted, DateTime<Utc>)> = wanted
            .iter()
            .filter(|one| kind(one) == PaymentKind::Refunded)
            .filter_map(|one| match one.purpose {
                Purpose::InDoubt { since } => Some((one, since)),
                Purpose::Refresh { .. } | Purpose::BeforeCreate => None,
            })
            .collect();
        let Some(oldest) = doubtful.iter().map(|(_, since)| *since).min() else {
            return Ok(BTreeMap::new());
        };
        let after = (oldest - CLOCK_SLACK).format("%Y-%m-%dT%H:%M:%S").to_string();
        let since = vec![("after", after), ("dates_are_gmt", "true".to_owned())];
        let mut refunds = self.all_refunds(gate, "refunds", since).await?;
        for (one, _) in &doubtful {
            let is_found = refunds.iter().any(|refund| refund.marker() == Some(one.record));
            let order = order_of(one).filter(|_| !is_found);
            let Some(order) = order.and_then(|id| id.parse::<u64>().ok()) else {
                continue;
            };
            let path = format!("orders/{order}/refunds");
            let own = self.all_refunds(gate, &path, Vec::new()).await;
            let own = match own {
                Ok(own) => own,
                // The order is gone, and its refunds with it (facts/systems.md A2).
                Err(CallError::Refused { .. }) => Vec::new(),
                Err(error) => return Err(error),
            };
            refunds.extend(own.into_iter().map(|refund| Refund {
                parent_id: order,
                ..refund
            }));
        }
        let records: Vec<RecordId> = doubtful.iter().map(|(one, _)| one.record).collect();
        refunds.retain(|refund| refund.marker().is_some_and(|record| records.contains(&record)));
        refunds.sort_by_key(|refund| refund.id);
        refunds.dedup_by_key(|refund| refund.id);
        let orders = self.orders_of(gate, &refunds).await?;
        let mut found: BTreeMap<RecordId, Vec<Theirs>> = BTreeMap::new();
        for refund in &refunds {
            let theirs = orders
                .get(&refund.parent_id)
                .and_then(|order| Some((read::refunded(refund, order)?, order)));
            if let (Some((theirs, order)), Some(record)) = (theirs, refund.marker()) {
                found.entry(record).or_default().push(if_done(theirs, order));
            }
        }
        Ok(found)
    }

    async fn all_refunds(&self, gate: &dyn Gate, path: &str, more: Params) -> Result<Vec<Refund>, CallError> {
        let mut found: Vec<Refund> = Vec::new();
        loop {
            let mut params = more.clone();
            params.push(("orderby", "id".to_owned()));
            params.push(("order", "asc".to_owned()));
            params.push(("per_page", Window::LIMIT.to_string()));
            params.push(("offset", found.len().to_string()));
            let page: Vec<Refund> = parsed(self.list(gate, path, params).await?);
            let count = page.len();
            found.extend(page);
            if count < Window::LIMIT {
                return Ok(found);
            }
        }
    }
}

fn payment(wanted: &Wanted) -> Option<&Payment> {
    match &wanted.content {
        Content::Payment(payment) => Some(payment),
        Content::Customer(_) | Content::Product(_) | Content::Order(_) | Content::Inventory(_) => None,
    }
}

fn kind(wanted: &Wanted) -> PaymentKind {
    payment(wanted).map(|payment| payment.kind).unwrap_or_default()
}

fn order_of(wanted: &Wanted) -> Option<String> {
    let link = reference::remote(&wanted.links, &payment(wanted)?.order)?;
    Some(link.external_id)
}

fn order_of_received(wanted: &Wanted) -> Option<String> {
    let is_asked = !matches!(wanted.purpose, Purpose::Refresh { .. });
    order_of(wanted).filter(|_| is_asked && kind(wanted) == PaymentKind::Received)
}

fn seen(known: &BTreeMap<String, Theirs>, id: &str, marker: Option<RecordId>) -> Sighting {
    let found = known
        .get(id)
        .filter(|theirs| marker.is_none() || theirs.marker == marker);
    found.map_or(Sighting::Missing, |theirs| Sighting::One(theirs.clone()))
}

fn sighting(found: &[Theirs]) -> Sighting {
    match found {
        [] => Sighting::Missing,
        [theirs] => Sighting::One(theirs.clone()),
        several => Sighting::Many(several.iter().map(|theirs| theirs.external_id.clone()).collect()),
    }
}

fn if_done(theirs: Theirs, order: &Order) -> Theirs {
    if order.silence().is_none() {
        return theirs;
    }
    let message = "must be that of an order with its own address: it was not given back yet";
    Theirs {
        content: Err(Invalid(vec![FieldError::new("order", message)])),
        ..theirs
    }
}
