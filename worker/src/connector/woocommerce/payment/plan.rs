//! Which request carries what of payments, and what its answer means for each.
//!
//! A refund mails the customer at once. So its order is taken out of reach of its mails first, in a batch with others,
//! then the refund is made, and then the order is given back what it had (facts/mapping-woocommerce.md §4). Which of these
//! comes next is told by the order itself.

use std::collections::BTreeMap;
use std::time::Instant;

use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{Content, Payment, PaymentKind, RefundedLine};
use reqwest::StatusCode;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::error::{self, Kind};
use super::super::order::{self, List, Order, Silence, put_meta, restored, silenced, written};
use super::super::product::Body;
use super::super::{SYSTEM, WooCommerce, reference};
use super::wire::{DETAILS, Details, Refund};
use super::{REQUEST_LIMIT, read};
use crate::connector::http::{Answer, cut};
use crate::connector::{Action, CallError, Gate, Outcome, Parts, Refusal, Request, Step, Write};

/// What [`WooCommerce::send_payments`] needs to send a request and to read its answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Call {
    /// Nothing is sent: every outcome is known.
    Known(Vec<Slot>),
    /// Changes of orders, one per write.
    Orders { update: Vec<Value>, slots: Vec<Slot> },
    /// One refund.
    Refund {
        order: u64,
        body: Value,
        next: Option<Step>,
    },
}

/// What a write comes to when its change is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Slot {
    Refused(Refusal),
    Done {
        external_id: String,
        next: Option<Step>,
    },
    /// A payment was noted on its order, whose answer tells what became of it.
    Noted,
}

#[derive(Debug)]
enum Job {
    Nothing(Slot),
    Change(Body, Slot),
    Refund {
        order: u64,
        body: Body,
        next: Option<Step>,
    },
}

impl Job {
    fn refused(code: &str, message: &str) -> Self {
        Self::Nothing(Slot::Refused(Refusal {
            code: code.to_owned(),
            message: message.to_owned(),
        }))
    }

    /// As WooCommerce says it of an order that is not there (facts/systems.md A2).
    fn missing() -> Self {
        Self::refused("woocommerce_rest_invalid_order_id", "Invalid order ID.")
    }
}

impl WooCommerce {
    pub(in super::super) async fn plan_payments(
        &self,
        gate: &dyn Gate,
        writes: Vec<Write>,
    ) -> Result<Vec<Request>, CallError> {
        let ids: Vec<String> = writes
            .iter()
            .filter_map(|write| order_id(write).map(|id| id.to_string()))
            .collect();
        let orders = self.orders_by_id(gate, &ids).await?;
        let unchanged = self.unchanged_refunds(gate, &writes, &orders).await?;
        let jobs = writes.into_iter().map(|write| {
            let order = order_id(&write).and_then(|id| orders.get(&id));
            let job = match order {
                Some(order) => job(&write, order, unchanged.contains(&write.record), &self.settings),
                None => Job::missing(),
            };
            (write, job)
        });
        Ok(requests(jobs.collect()))
    }

    /// Returns the refunds among the writes that are in the store as they should be. A refund can't be changed, so what is
    /// to be written onto one is either there already or never will be.
    async fn unchanged_refunds(
        &self,
        gate: &dyn Gate,
        writes: &[Write],
        orders: &BTreeMap<u64, Order>,
    ) -> Result<Vec<lockstep_shared::id::RecordId>, CallError> {
        let is_open = |write: &&Write| {
            let is_silent = order_id(write)
                .and_then(|id| orders.get(&id))
                .is_some_and(|order| order.silence().is_some());
            write.step == Step::default() && !is_silent
        };
        let known: Vec<(&Write, String)> = writes
            .iter()
            .filter(is_open)
            .filter_map(|write| match (&write.action, &write.content) {
                (Action::Update { external_id, .. }, Content::Payment(payment))
                    if payment.kind == PaymentKind::Refunded =>
                {
                    Some((write, external_id.clone()))
                }
                _ => None,
            })
            .collect();
        let ids: Vec<String> = known.iter().map(|(_, id)| id.clone()).collect();
        let found = self.payments_by_id(gate, &ids).await?;
        Ok(known
            .into_iter()
            .filter(|(write, id)| {
                let theirs = found.get(id).and_then(|theirs| theirs.content.clone().ok());
                theirs.is_some_and(|theirs| is_same(write, theirs))
            })
            .map(|(write, _)| write.record)
            .collect())
    }

    pub(in super::super) async fn send_payments(
        &self,
        request: &Request,
        deadline: Instant,
    ) -> Result<Vec<Outcome>, CallError> {
        let call: Call = serde_json::from_value(request.call.clone())
            .map_err(|_| error::refused("the call is not one of this connector"))?;
        match call {
            Call::Known(slots) => outcomes(request, &slots, &[], &self.settings),
            Call::Orders { update, slots } => {
                let body = json!({ "update": update });
                let builder = self.request("POST", "orders/batch", Vec::new()).json(&body);
                let answer = self.http.write(SYSTEM, builder, deadline).await?;
                let answer = error::body(&answer, Kind::Write)?;
                let items = answer.get("update").and_then(Value::as_array);
                let items = items.map(Vec::as_slice).unwrap_or_default();
                outcomes(request, &slots, items, &self.settings)
            }
            Call::Refund { order, body, next } => {
                let path = format!("orders/{order}/refunds");
                let builder = self.request("POST", &path, Vec::new()).json(&body);
                let answer = self.http.write(SYSTEM, builder, deadline).await?;
                Ok(vec![refund_outcome(&answer, order, next)?])
            }
        }
    }
}

/// Says whether what the store holds is what the write would make it.
fn is_same(write: &Write, theirs: Content) -> bool {
    let wanted = write.content.clone();
    reference::held(write, theirs).is_none_or(|held| held == wanted)
}

/// Returns the order that a payment is about.
fn order_id(write: &Write) -> Option<u64> {
    let Content::Payment(payment) = &write.content else {
        return None;
    };
    match &write.action {
        Action::Create => reference::id(&write.links, &payment.order),
        Action::Update { external_id, .. } | Action::Delete { external_id } => {
            let (order, _) = external_id.split_once('/').unwrap_or((external_id, ""));
            order.parse().ok()
        }
    }
}

fn job(write: &Write, order: &Order, is_unchanged: bool, settings: &Settings) -> Job {
    let Content::Payment(payment) = &write.content else {
        return Job::refused("wrong_type", "this is no payment");
    };
    if matches!(write.action, Action::Delete { .. }) {
        return Job::refused(
            "payment_stays",
            "money that changed hands is not taken back by deleting it",
        );
    }
    match payment.kind {
        PaymentKind::Received => receive(write, payment, order),
        PaymentKind::Refunded => refund(write, payment, order, is_unchanged, settings),
    }
}

/// Notes a payment on its order. Neither the state nor anyone's mail comes of it.
fn receive(write: &Write, payment: &Payment, order: &Order) -> Job {
    let record = write.record.to_string();
    let is_ours = order.meta(order::PAYMENT) == Some(record.as_str());
    if matches!(write.action, Action::Create) && !is_ours && read::is_paid(order) {
        return Job::refused(
            "already_paid",
            "the order is paid, and WooCommerce knows one payment of an order",
        );
    }
    if order::amount(&order.total) != Some(payment.amount.amount)
        || order.currency != payment.amount.currency.code()
    {
        let message = format!(
            "WooCommerce knows one payment of an order, of its whole total: `{} {}`, not `{} {}`",
            order.total, order.currency, payment.amount.amount, payment.amount.currency
        );
        return Job::refused("partial_payment", &message);
    }
    let mut body = Body::from_iter([("id".to_owned(), json!(order.id))]);
    // What is not known of the payment stays what it is: the way in which the buyer meant to pay.
    if let Some(method) = &payment.method {
        body.insert("payment_method".to_owned(), json!(method));
        body.insert("payment_method_title".to_owned(), json!(method));
    }
    let number = order.own_number().filter(|_| order.marker().is_some());
    if let Some(id) = payment.transaction_id.as_deref().or(number) {
        body.insert("transaction_id".to_owned(), json!(id));
    }
    // A setter that never comes back as meta; without a zone it would be the site's own (facts/mapping-woocommerce.md §3).
    let paid_at = payment.made_at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    put_meta(&mut body, "_date_paid", &json!(paid_at));
    put_meta(&mut body, order::PAYMENT, &json!(record));
    Job::Change(body, Slot::Noted)
}

/// Does the next thing that a refund needs.
fn refund(write: &Write, payment: &Payment, order: &Order, is_unchanged: bool, settings: &Settings) -> Job {
    let next = Some(Step(write.step.0.saturating_add(1)));
    let silence = order.silence();
    let known = match &write.action {
        Action::Update { external_id, .. } | Action::Delete { external_id } => Some(external_id.clone()),
        Action::Create => None,
    };
    match (known, silence) {
        (None, None) if order.has_reader() && !settings.notifies_people => Job::Change(
            silenced(order.id, &Silence::of(order)),
            Slot::Done {
                external_id: String::new(),
                next,
            },
        ),
        (None, silence) => match refund_body(write, payment, order) {
            Ok(body) => Job::Refund {
                order: order.id,
                body,
                next: silence.and(next),
            },
            Err(refusal) => Job::Nothing(Slot::Refused(refusal)),
        },
        (Some(external_id), Some(before)) => Job::Change(
            restored(order.id, &before),
            Slot::Done {
                external_id,
                next: None,
            },
        ),
        (Some(external_id), None) if is_unchanged || write.step > Step::default() => {
            Job::Nothing(Slot::Done {
                external_id,
                next: None,
            })
        }
        (Some(_), None) => Job::refused("refund_fixed", "WooCommerce can't change a refund"),
    }
}

/// Returns the body that makes a refund. No money moves, and no stock (facts/mapping-woocommerce.md §4).
fn refund_body(write: &Write, payment: &Payment, order: &Order) -> Result<Body, Refusal> {
    if order.currency != payment.amount.currency.code() {
        return Err(Refusal {
            code: "wrong_currency".to_owned(),
            message: format!("the order is in {}", order.currency),
        });
    }
    let currency = payment.amount.currency;
    let details = Details {
        made_at: payment.made_at,
        method: payment.method.clone(),
        transaction_id: payment.transaction_id.clone(),
        reason: payment.reason.clone(),
        lines: payment.lines.clone(),
    };
    let mut body = Body::from_iter([
        (
            "amount".to_owned(),
            json!(written(payment.amount.amount, currency)),
        ),
        (
            "reason".to_owned(),
            json!(payment.reason.as_deref().unwrap_or_default()),
        ),
        ("api_refund".to_owned(), json!(false)),
        ("api_restock".to_owned(), json!(false)),
    ]);
    let lines: Vec<Value> = payment
        .lines
        .iter()
        .filter_map(|line| refund_line(line, order))
        .collect();
    if !lines.is_empty() {
        body.insert("line_items".to_owned(), Value::Array(lines));
    }
    put_meta(&mut body, order::MARKER, &json!(write.record.to_string()));
    let details = serde_json::to_string(&details).expect("details are plain JSON");
    put_meta(&mut body, DETAILS, &json!(details));
    Ok(body)
}

/// Returns what is given back of one line of the order, where the store has it. Tax goes by its rates.
fn refund_line(line: &RefundedLine, order: &Order) -> Option<Value> {
    let (list, of) = order
        .lines()
        .find(|(_, of)| of.key() == line.line.as_str() && !of.is_makeweight())?;
    let quantity = match list {
        List::Items => line.quantity.to_u32().filter(|_| line.quantity.fract().is_zero()),
        List::Shipping | List::Fees => None,
    };
    let mut item = json!({"id": of.id, "refund_total": amount(line.total)});
    if let Some(quantity) = quantity {
        item["quantity"] = json!(quantity);
    }
    let rates: Vec<u64> = of.taxes.iter().map(|tax| tax.id).collect();
    if let ([rate], false) = (rates.as_slice(), line.tax.is_zero()) {
        item["refund_tax"] = json!([{"id": rate, "refund_total": amount(line.tax)}]);
    }
    Some(item)
}

/// Refunded amounts of lines are numbers, that of the refund is a text (facts/mapping-woocommerce.md §4).
fn amount(amount: Decimal) -> Value {
    serde_json::from_str(&amount.to_string()).unwrap_or(Value::Null)
}

// Grouping

fn requests(jobs: Vec<(Write, Job)>) -> Vec<Request> {
    let (mut changed, mut known, mut requests) = (Vec::new(), Vec::new(), Vec::new());
    for (write, job) in jobs {
        match job {
            Job::Nothing(slot) => known.push((write, slot)),
            Job::Change(body, slot) => changed.push((write, Value::Object(body), slot)),
            Job::Refund { order, body, next } => {
                let body = Value::Object(body);
                requests.push(request(vec![write], &Call::Refund { order, body, next }));
            }
        }
    }
    for chunk in changed.chunks(REQUEST_LIMIT) {
        let writes = chunk.iter().map(|(write, ..)| write.clone()).collect();
        let update = chunk.iter().map(|(_, body, _)| body.clone()).collect();
        let slots = chunk.iter().map(|(.., slot)| slot.clone()).collect();
        requests.push(request(writes, &Call::Orders { update, slots }));
    }
    for chunk in known.chunks(REQUEST_LIMIT) {
        let (writes, slots) = chunk.iter().cloned().unzip();
        requests.push(request(writes, &Call::Known(slots)));
    }
    requests
}

fn request(writes: Vec<Write>, call: &Call) -> Request {
    Request {
        writes,
        call: serde_json::to_value(call).expect("a call has string keys and no floats"),
    }
}

// Answers

fn outcomes(
    request: &Request,
    slots: &[Slot],
    items: &[Value],
    settings: &Settings,
) -> Result<Vec<Outcome>, CallError> {
    let mut items = items.iter();
    let is_sent = items.len() > 0;
    let outcomes: Option<Vec<Outcome>> = request
        .writes
        .iter()
        .zip(slots)
        .map(|(write, slot)| {
            let item = if is_sent { Some(items.next()?) } else { None };
            outcome(write, slot, item, settings)
        })
        .collect();
    match outcomes {
        Some(outcomes) if items.len() == 0 && slots.len() == request.writes.len() => Ok(outcomes),
        Some(_) | None => Err(error::unwell(
            "its answer does not match the request",
            Kind::Write,
        )),
    }
}

fn outcome(write: &Write, slot: &Slot, item: Option<&Value>, settings: &Settings) -> Option<Outcome> {
    if let Some(error) = item.and_then(error::of_item) {
        return Some(error.outcome());
    }
    Some(match slot {
        Slot::Refused(refusal) => Outcome::Rejected(refusal.clone()),
        Slot::Done { external_id, next } => Outcome::Applied {
            external_id: external_id.clone(),
            parts: Parts::new(),
            next: *next,
            held: None,
        },
        Slot::Noted => {
            let order: Order = serde_json::from_value(item?.clone()).ok()?;
            let theirs = read::received(&order, settings);
            let held = theirs.and_then(|theirs| reference::held(write, theirs.content.ok()?));
            (order.id > 0).then(|| Outcome::Applied {
                external_id: order.id.to_string(),
                parts: Parts::new(),
                next: None,
                held,
            })?
        }
    })
}

/// Reads the answer to a refund. Its errors have status 500 and will come again: an amount that is more than what is left,
/// an order that is not there (facts/systems.md A2, A8). Any other 500 leaves it in doubt.
fn refund_outcome(answer: &Answer, order: u64, next: Option<Step>) -> Result<Outcome, CallError> {
    if answer.status == StatusCode::INTERNAL_SERVER_ERROR {
        let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let code = json["code"].as_str().unwrap_or_default();
        if matches!(
            code,
            "woocommerce_rest_cannot_create_order_refund" | "woocommerce_rest_invalid_order_id"
        ) {
            return Ok(Outcome::Rejected(Refusal {
                code: code.to_owned(),
                message: cut(json["message"].as_str().unwrap_or_default()),
            }));
        }
    }
    let body = error::body(answer, Kind::Write)?;
    let refund: Refund = serde_json::from_value(body).unwrap_or_default();
    if refund.id == 0 {
        return Err(error::unwell("its answer names no refund", Kind::Write));
    }
    Ok(Outcome::Applied {
        external_id: read::external_id(order, refund.id),
        parts: Parts::new(),
        next,
        held: None,
    })
}
