//! Payments: what was paid for an order, and what was paid back.
//!
//! WooCommerce knows one payment of an order, of its whole total: the order's own fields. Its id is that of the order. Any
//! number of refunds stand beside it, `<order>/<refund>`; a refund can't be changed (facts/mapping-woocommerce.md §4).
//!
//! An order that we brought is paid only where a payment was noted on it: its state alone sets `date_paid` too.
//!
//! Calls: payments are read by the page, as orders and as refunds, one more call for the orders of 100 refunds. 50
//! payments received take one call to read their orders and one to write. 50 refunds take one call each, which no batch
//! can carry, and up to two more around them that keep their customers from being mailed, with three to read the orders.

mod lookup;
mod plan;
mod read;
mod wire;

use std::collections::BTreeMap;

use lockstep_shared::entity::{Payment, PaymentKind, RefundedLine};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use self::wire::Refund;
use super::order;
use super::pull::{Mark, Step};
use super::{WooCommerce, page, parsed, position};
use crate::connector::{CallError, Cursor, Gate, Page, Refusal, Theirs};

/// Most payments of one request. Each is one or two changes of an order without lines: 50 took 0.6 s to 0.9 s
/// (facts/mapping-woocommerce.md §0).
pub(super) const REQUEST_LIMIT: usize = 50;

/// The fields of an order that are about its payment.
const ORDER_FIELDS: &str = "id,status,currency,date_modified_gmt,date_paid_gmt,payment_method,transaction_id,number,\
     total,meta_data";

/// Returns a payment as WooCommerce can hold it. A refund is kept as it was sent, in its meta.
pub(super) fn project(payment: &Payment) -> Payment {
    let round = |amount: Decimal| order::rounded(amount, payment.amount.currency);
    let projected = Payment {
        order: payment.order.clone(),
        kind: payment.kind,
        amount: lockstep_shared::entity::Money::new(round(payment.amount.amount), payment.amount.currency),
        made_at: payment.made_at,
        method: payment.method.clone(),
        transaction_id: payment.transaction_id.clone(),
        reason: payment
            .reason
            .clone()
            .filter(|_| payment.kind == PaymentKind::Refunded),
        lines: payment
            .lines
            .iter()
            .map(|line| RefundedLine {
                line: line.line.clone(),
                quantity: line.quantity,
                total: round(line.total),
                tax: round(line.tax),
            })
            .collect(),
    };
    projected.canonical().unwrap_or_else(|_| payment.clone())
}

/// Where a pull of payments goes on: orders first, then refunds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Feeds {
    is_at_refunds: bool,
    orders: Mark,
    refunds: Mark,
}

impl WooCommerce {
    pub(super) async fn pull_payments(
        &self,
        gate: &dyn Gate,
        cursor: &Cursor,
        limit: usize,
    ) -> Result<Page, CallError> {
        let mut feeds: Feeds = position(cursor)?;
        if !feeds.is_at_refunds {
            let place = (feeds.orders.clone(), limit);
            let (orders, next, is_last) = self.changed_orders(gate, place, ORDER_FIELDS).await?;
            let seen: Vec<Theirs> = orders
                .iter()
                .filter_map(|order| read::received(order, &self.settings))
                .collect();
            (feeds.orders, feeds.is_at_refunds) = (next, is_last);
            return page(seen, &feeds, false);
        }
        let place = (feeds.refunds.clone(), limit);
        let (refunds, next, is_last) = self.changed_refunds(gate, place).await?;
        let seen = self.refunds_theirs(gate, &refunds).await?;
        (feeds.refunds, feeds.is_at_refunds) = (next, !is_last);
        page(seen, &feeds, is_last)
    }

    /// Reads one page of the refunds of all orders. When one was modified is not told, and only its making is told of.
    async fn changed_refunds(
        &self,
        gate: &dyn Gate,
        (mut mark, limit): (Mark, usize),
    ) -> Result<(Vec<Refund>, Mark, bool), CallError> {
        if mark.is_new() {
            let params = vec![
                ("orderby", "date".to_owned()),
                ("order", "desc".to_owned()),
                ("per_page", "1".to_owned()),
                ("_fields", "id,date_created_gmt".to_owned()),
            ];
            let newest: Vec<Refund> = parsed(self.list(gate, "refunds", params).await?);
            mark = mark.begun(newest.first().and_then(|refund| refund.date_created_gmt));
        }
        loop {
            let window = mark.place().window(limit);
            let mut params = mark.params(window);
            params.retain(|(name, _)| *name != "status");
            let refunds: Vec<Refund> = parsed(self.list(gate, "refunds", params).await?);
            let ids: Vec<u64> = refunds.iter().map(|refund| refund.id).collect();
            match mark.place().step(&ids, window) {
                Step::Again(place) => mark = mark.at(place, false),
                Step::Page { next, is_last } => {
                    let fresh = refunds
                        .into_iter()
                        .filter(|refund| mark.place().is_new(refund.id));
                    return Ok((fresh.collect(), mark.clone().at(next, is_last), is_last));
                }
            }
        }
    }

    /// Reads refunds together with their orders, which say the currency and the keys of the lines.
    async fn refunds_theirs(&self, gate: &dyn Gate, refunds: &[Refund]) -> Result<Vec<Theirs>, CallError> {
        let orders = self.orders_of(gate, refunds).await?;
        Ok(refunds
            .iter()
            .filter_map(|refund| read::refunded(refund, orders.get(&refund.parent_id)?))
            .collect())
    }

    async fn orders_of(
        &self,
        gate: &dyn Gate,
        refunds: &[Refund],
    ) -> Result<BTreeMap<u64, order::Order>, CallError> {
        let ids: Vec<String> = refunds
            .iter()
            .map(|refund| refund.parent_id.to_string())
            .collect();
        self.orders_by_id(gate, &ids).await
    }

    pub(super) async fn read_payments(
        &self,
        gate: &dyn Gate,
        ids: &[String],
    ) -> Result<Vec<Theirs>, CallError> {
        let found = self.payments_by_id(gate, ids).await?;
        Ok(found.into_values().collect())
    }

    /// Reads payments by id, those received as their orders.
    async fn payments_by_id(
        &self,
        gate: &dyn Gate,
        ids: &[String],
    ) -> Result<BTreeMap<String, Theirs>, CallError> {
        let refunds: Vec<String> = ids
            .iter()
            .filter_map(|id| Some(id.split_once('/')?.1.to_owned()))
            .collect();
        let rows = self
            .list_by(gate, "refunds", ("include", &refunds), &Vec::new())
            .await?;
        let refunds: Vec<Refund> = parsed(rows);
        let orders: Vec<String> = ids
            .iter()
            .filter(|id| !id.contains('/'))
            .cloned()
            .chain(refunds.iter().map(|refund| refund.parent_id.to_string()))
            .collect();
        let orders = self.orders_by_id(gate, &orders).await?;
        let received = orders
            .values()
            .filter_map(|order| read::received(order, &self.settings));
        let refunded = refunds
            .iter()
            .filter_map(|refund| read::refunded(refund, orders.get(&refund.parent_id)?));
        Ok(received
            .chain(refunded)
            .filter(|theirs| ids.contains(&theirs.external_id))
            .map(|theirs| (theirs.external_id.clone(), theirs))
            .collect())
    }
}

/// Says why a payment can't be written.
pub(super) fn refuses(payment: &Payment) -> Option<Refusal> {
    let is_nothing = order::rounded(payment.amount.amount, payment.amount.currency).is_zero();
    is_nothing.then(|| Refusal {
        code: "no_amount".to_owned(),
        message: "less than the smallest coin can't be paid".to_owned(),
    })
}
