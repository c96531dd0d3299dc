//! Payments and refunds: what Odoo calls a payment of a customer, inbound or outbound.
//!
//! Source: facts/mapping-odoo.md §4. Odoo links a payment to no order: the order's reference stands in its memo. A
//! payment counts once it is posted, and is never written after that: Odoo would take another amount and leave the
//! journal entry behind it as it was.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, NaiveTime};
use lockstep_shared::entity::{
    Content, Currency, FieldError, Invalid, Money, Payment, PaymentKind, Reference,
};
use lockstep_shared::id::RecordId;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Number, Value, json};

use super::super::{Action, Gate, Parts, Purpose, Refusal, Step, Theirs, Wanted, Write};
use super::act::{ActDraft, End, Method};
use super::cursor::Second;
use super::error::Failure;
use super::load::{Settled, Source};
use super::lookup::{Answers, known};
use super::rpc::Call;
use super::wire::{Link, decimal, falsy, round, rows};
use super::write::{Cells, Draft, Found};
use super::{Odoo, name, order, refused, wrong_type};

pub(super) const MODEL: &str = "account.payment";

pub(super) const FEED_FIELDS: [&str; 1] = ["write_date"];

const DATE: &str = "%Y-%m-%d";

/// Digits of an amount.
const CENTS: u32 = 2;

const LOAD: Step = Step(0);
const POST: Step = Step(1);

/// States of a payment that counts; `posted` was the only one until version 17 (facts/mapping-odoo.md §6).
const COUNTING: [&str; 3] = ["in_process", "paid", "posted"];

/// What counts of customers' payments. One that is set back to draft or cancelled is not seen any more.
pub(super) fn terms() -> Vec<Value> {
    vec![
        json!(["partner_type", "=", "customer"]),
        json!(["state", "in", COUNTING]),
    ]
}

#[derive(Clone, Debug, Deserialize)]
struct PaymentRow {
    id: i64,
    payment_type: String,
    state: String,
    amount: Number,
    #[serde(deserialize_with = "falsy")]
    currency_id: Option<Link>,
    #[serde(deserialize_with = "falsy")]
    partner_id: Option<Link>,
    #[serde(deserialize_with = "falsy")]
    date: Option<NaiveDate>,
    /// Its name until version 17 was `ref`.
    #[serde(alias = "ref", deserialize_with = "falsy")]
    memo: Option<String>,
    #[serde(deserialize_with = "falsy")]
    payment_reference: Option<String>,
    #[serde(default, deserialize_with = "falsy")]
    write_date: Option<Second>,
}

impl PaymentRow {
    fn counts(&self) -> bool {
        COUNTING.contains(&self.state.as_str())
    }

    fn kind(&self) -> PaymentKind {
        match self.payment_type.as_str() {
            "outbound" => PaymentKind::Refunded,
            _ => PaymentKind::Received,
        }
    }

    fn amount(&self) -> Decimal {
        round(decimal(&self.amount), CENTS)
    }

    /// Reads the payment as a record. One that does not count is none: what we began has to be finished.
    fn content(&self, order: Reference) -> Result<Content, Invalid> {
        let wrong = |field: &str, what: &str| Invalid(vec![FieldError::new(field, what)]);
        if !self.counts() {
            return Err(wrong("state", "must be posted in Odoo"));
        }
        let currency: Currency = self
            .currency_id
            .as_ref()
            .and_then(|currency| currency.1.parse().ok())
            .ok_or_else(|| wrong("amount", "must have a currency of three letters"))?;
        let made_at = self.date.ok_or_else(|| wrong("made_at", "must be there"))?;
        Content::Payment(Payment {
            order,
            kind: self.kind(),
            amount: Money::new(self.amount(), currency),
            made_at: made_at.and_time(NaiveTime::MIN).and_utc(),
            method: None,
            transaction_id: self.payment_reference.clone(),
            reason: None,
            lines: Vec::new(),
        })
        .canonical()
    }
}

/// An order that a payment may be for.
#[derive(Clone, Debug, Deserialize)]
struct OrderRow {
    id: i64,
    #[serde(deserialize_with = "falsy")]
    name: Option<String>,
    #[serde(deserialize_with = "falsy")]
    client_order_ref: Option<String>,
    partner_id: Link,
}

impl OrderRow {
    /// What payments of this order say that they are for.
    fn memo(&self) -> &str {
        let told = self.client_order_ref.as_deref().filter(|text| !text.is_empty());
        told.or(self.name.as_deref()).unwrap_or_default()
    }

    fn is_named(&self, memo: &str) -> bool {
        [&self.client_order_ref, &self.name]
            .into_iter()
            .any(|text| text.as_deref() == Some(memo))
    }
}

/// Finds the order that a payment is for: of several with its reference, the one that is known to be it, or else the
/// only one of its partner.
fn order_of<'a>(row: &PaymentRow, orders: &'a [OrderRow], known: Option<i64>) -> Option<&'a OrderRow> {
    let memo = row.memo.as_deref().map(str::trim)?;
    let named: Vec<&OrderRow> = orders.iter().filter(|order| order.is_named(memo)).collect();
    if let Some(order) = named.iter().find(|order| Some(order.id) == known) {
        return Some(order);
    }
    if let [order] = named.as_slice() {
        return Some(order);
    }
    let partner = row.partner_id.as_ref()?.0;
    let mut own = named.into_iter().filter(|order| order.partner_id.0 == partner);
    own.next().filter(|_| own.next().is_none())
}

/// Returns the payment as Odoo can hold it: it knows the day, and what was paid, not how or why.
pub(super) fn project(payment: &Payment) -> Payment {
    let day = payment.made_at.date_naive();
    Payment {
        order: payment.order.clone(),
        kind: payment.kind,
        amount: Money::new(round(payment.amount.amount, CENTS), payment.amount.currency),
        made_at: day.and_time(NaiveTime::MIN).and_utc(),
        method: None,
        transaction_id: payment.transaction_id.clone(),
        reason: None,
        lines: Vec::new(),
    }
}

pub(super) fn refuses(payment: &Payment) -> Option<Refusal> {
    let is_nothing = round(payment.amount.amount, CENTS) <= Decimal::ZERO;
    is_nothing.then(|| refusal("amount", "a payment must be of a cent at least"))
}

fn refusal(code: &str, message: impl Into<String>) -> Refusal {
    Refusal {
        code: code.to_owned(),
        message: message.into(),
    }
}

/// The bank that payments go through, and its way in each direction. A way of the other direction would be taken too
/// (facts/mapping-odoo.md §4).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Journal {
    id: i64,
    inbound_payment_method_line_ids: Vec<i64>,
    outbound_payment_method_line_ids: Vec<i64>,
}

impl Journal {
    fn way(&self, kind: PaymentKind) -> Option<i64> {
        let ways = match kind {
            PaymentKind::Received => &self.inbound_payment_method_line_ids,
            PaymentKind::Refunded => &self.outbound_payment_method_line_ids,
        };
        ways.first().copied()
    }
}

/// What was read for the payments of a batch.
struct Known {
    rows: BTreeMap<i64, PaymentRow>,
    orders: BTreeMap<i64, OrderRow>,
    journal: Option<Journal>,
    currencies: BTreeMap<Currency, order::Priced>,
    memo: &'static str,
}

impl Odoo {
    async fn memo_column(&self, gate: &dyn Gate) -> Result<&'static str, Failure> {
        let read = || async {
            let call = Call::new(MODEL, "fields_get").option("attributes", json!(["type"]));
            let answer = self.rpc.read(gate, &call).await?;
            Ok::<_, Failure>(if answer.get("memo").is_some() {
                "memo"
            } else {
                "ref"
            })
        };
        self.memo.get_or_try_init(read).await.copied()
    }

    async fn payment_rows(&self, gate: &dyn Gate, domain: Value) -> Result<Vec<PaymentRow>, Failure> {
        let fields = [
            "payment_type",
            "state",
            "amount",
            "currency_id",
            "partner_id",
            "date",
            "payment_reference",
            "write_date",
            self.memo_column(gate).await?,
        ];
        let call = Call::search_read(MODEL, domain, &fields).option("order", json!("id"));
        rows(self.rpc.read(gate, &call).await?)
    }

    async fn rows_by_ids(&self, gate: &dyn Gate, ids: &BTreeSet<i64>) -> Result<Vec<PaymentRow>, Failure> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.payment_rows(gate, json!([["id", "in", ids]])).await
    }

    /// Reads payments by their ids, with one search for the orders of all; a payment of no order is left out.
    pub(super) async fn payments(
        &self,
        gate: &dyn Gate,
        ids: &BTreeSet<i64>,
    ) -> Result<Vec<Theirs>, Failure> {
        let found = self.rows_by_ids(gate, ids).await?;
        self.payments_of(gate, found, &BTreeMap::new()).await
    }

    async fn payments_of(
        &self,
        gate: &dyn Gate,
        found: Vec<PaymentRow>,
        known: &BTreeMap<i64, i64>,
    ) -> Result<Vec<Theirs>, Failure> {
        let memos: BTreeSet<&str> = found
            .iter()
            .filter_map(|row| row.memo.as_deref().map(str::trim))
            .collect();
        let orders = if memos.is_empty() {
            Vec::new()
        } else {
            let domain = json!(["|", ["client_order_ref", "in", memos], ["name", "in", memos]]);
            self.paid_orders(gate, domain).await?
        };
        let theirs = found.iter().filter_map(|row| {
            let order = order_of(row, &orders, known.get(&row.id).copied())?;
            Some(Theirs {
                external_id: row.id.to_string(),
                content: row.content(Reference::remote(order.id.to_string(), None)),
                parts: Parts::new(),
                marker: None,
                modified_at: row.write_date.map(DateTime::from),
            })
        });
        Ok(theirs.collect())
    }

    async fn paid_orders(&self, gate: &dyn Gate, domain: Value) -> Result<Vec<OrderRow>, Failure> {
        let fields = ["name", "client_order_ref", "partner_id"];
        let call = Call::search_read(order::MODEL, domain, &fields).option("order", json!("id"));
        rows(self.rpc.read(gate, &call).await?)
    }

    /// Finds payments by our external ids. One in doubt is looked for by the provider's id and its amount too: somebody may
    /// have taken the external id away.
    pub(super) async fn find_payments(
        &self,
        gate: &dyn Gate,
        wanted: &[Wanted],
        created: &BTreeMap<RecordId, i64>,
    ) -> Result<Answers, Failure> {
        let mut candidates: Vec<BTreeSet<i64>> = wanted
            .iter()
            .map(|wanted| known(wanted, created).unwrap_or_default())
            .collect();
        let references: BTreeSet<&str> = wanted
            .iter()
            .zip(&candidates)
            .filter(|(_, ids)| ids.is_empty())
            .filter_map(|(wanted, _)| doubted(wanted)?.transaction_id.as_deref())
            .collect();
        let mut found = Vec::new();
        if !references.is_empty() {
            found = self
                .payment_rows(gate, json!([["payment_reference", "in", references]]))
                .await?;
            for (wanted, ids) in wanted.iter().zip(&mut candidates) {
                if let (Some(payment), true) = (doubted(wanted), ids.is_empty()) {
                    ids.extend(found.iter().filter(|row| is_same(row, payment)).map(|row| row.id));
                }
            }
        }
        let there: BTreeSet<i64> = found.iter().map(|row| row.id).collect();
        let missing = candidates.iter().flatten().copied();
        let missing: BTreeSet<i64> = missing.filter(|id| !there.contains(id)).collect();
        found.extend(self.rows_by_ids(gate, &missing).await?);
        let orders = wanted.iter().zip(&candidates).filter_map(|(wanted, ids)| {
            let Content::Payment(payment) = &wanted.content else {
                return None;
            };
            let order = wanted.links.find(&payment.order)?.external_id.parse().ok()?;
            Some(ids.iter().map(move |id| (*id, order)))
        });
        let orders = orders.flatten().collect();
        let found = self.payments_of(gate, found, &orders).await?;
        Ok(Answers::new(candidates, found))
    }

    /// Reads the journal that payments go through, once.
    async fn journal(&self, gate: &dyn Gate) -> Result<Option<Journal>, Failure> {
        let read = || async {
            let fields = [
                "type",
                "inbound_payment_method_line_ids",
                "outbound_payment_method_line_ids",
            ];
            let call = Call::search_read("account.journal", json!([["type", "=", "bank"]]), &fields)
                .option("limit", json!(1))
                .option("order", json!("id"));
            let found: Vec<Journal> = rows(self.rpc.read(gate, &call).await?)?;
            Ok::<_, Failure>(found.into_iter().next())
        };
        self.journal.get_or_try_init(read).await.cloned()
    }

    pub(super) async fn payment_drafts(
        &self,
        gate: &dyn Gate,
        writes: Vec<Write>,
    ) -> Result<Vec<(Write, Found)>, Failure> {
        let known = self.known_of_payments(gate, &writes).await?;
        let found = writes.into_iter().map(|write| {
            let found = match &write.content {
                Content::Payment(payment) => draft(&write, payment, &known).unwrap_or_else(refused),
                _ => refused(wrong_type()),
            };
            (write, found)
        });
        Ok(found.collect())
    }

    async fn known_of_payments(&self, gate: &dyn Gate, writes: &[Write]) -> Result<Known, Failure> {
        let ids: BTreeSet<i64> = writes
            .iter()
            .filter_map(|write| match &write.action {
                Action::Create => None,
                Action::Update { external_id, .. } | Action::Delete { external_id } => {
                    external_id.parse().ok()
                }
            })
            .collect();
        let found = self.rows_by_ids(gate, &ids).await?;
        let loaded: Vec<(&Write, &Payment)> = writes
            .iter()
            .filter(|write| write.step == LOAD && !matches!(write.action, Action::Delete { .. }))
            .filter_map(|write| match &write.content {
                Content::Payment(payment) => Some((write, payment)),
                _ => None,
            })
            .collect();
        let mut known = Known {
            rows: found.into_iter().map(|row| (row.id, row)).collect(),
            orders: BTreeMap::new(),
            journal: None,
            currencies: BTreeMap::new(),
            memo: self.memo_column(gate).await?,
        };
        if loaded.is_empty() {
            return Ok(known);
        }
        let orders: BTreeSet<i64> = loaded
            .iter()
            .filter_map(|(write, payment)| order_id(write, payment))
            .collect();
        let setup = self.setup(gate).await?;
        known.currencies = loaded
            .iter()
            .map(|(_, payment)| payment.amount.currency)
            .map(|currency| (currency, setup.priced(currency)))
            .collect();
        known.journal = self.journal(gate).await?;
        let read = self.paid_orders(gate, json!([["id", "in", orders]])).await?;
        known.orders = read.into_iter().map(|row| (row.id, row)).collect();
        Ok(known)
    }
}

fn order_id(write: &Write, payment: &Payment) -> Option<i64> {
    write.links.find(&payment.order)?.external_id.parse().ok()
}

/// The payment whose request had no answer.
fn doubted(wanted: &Wanted) -> Option<&Payment> {
    match (&wanted.purpose, &wanted.content) {
        (Purpose::InDoubt { .. }, Content::Payment(payment)) => Some(payment),
        _ => None,
    }
}

fn is_same(row: &PaymentRow, payment: &Payment) -> bool {
    row.payment_reference.as_ref() == payment.transaction_id.as_ref()
        && row.kind() == payment.kind
        && row.amount() == payment.amount.amount
}

/// Plans the next call of a payment: it is loaded as a draft and posted.
fn draft(write: &Write, payment: &Payment, known: &Known) -> Result<Found, Refusal> {
    let (external_id, row) = match &write.action {
        Action::Create => {
            let cells = Cells::default().with("id", &name::payment(write.record));
            return Ok(Found::Call(load(cells, payment_cells(write, payment, known)?)));
        }
        Action::Update { external_id, .. } | Action::Delete { external_id } => {
            let row = external_id.parse().ok().and_then(|id: i64| known.rows.get(&id));
            (external_id, row)
        }
    };
    let done = || {
        Found::Settled(Settled::Done {
            external_id: external_id.clone(),
            parts: Parts::new(),
            held: None,
        })
    };
    let is_delete = matches!(write.action, Action::Delete { .. });
    let Some(row) = row else {
        return if is_delete {
            Ok(done())
        } else {
            Err(refusal("gone", "Odoo does not have this payment any more"))
        };
    };
    match (row.state.as_str(), is_delete) {
        ("draft", false) if write.step == LOAD => {
            let cells = Cells::default().with(".id", external_id);
            let mut draft = load(cells, payment_cells(write, payment, known)?);
            draft.external_id = Source::Known(external_id.clone());
            Ok(Found::Call(draft))
        }
        ("draft", false) => Ok(Found::Act(ActDraft {
            method: Method::PostPayments,
            ids: vec![row.id],
            value: None,
            end: End {
                external_id: Source::Known(external_id.clone()),
                parts: Parts::new(),
                made: None,
                next: None,
                held: None,
            },
        })),
        (_, false) if row.counts() && is_held(row, write, payment) => Ok(done()),
        (_, false) if row.counts() => Err(refusal(
            "payment_posted",
            "the payment is posted in Odoo and can't change any more: cancel it there, or pay the difference",
        )),
        ("canceled" | "cancel" | "rejected", true) => Ok(done()),
        ("canceled" | "cancel" | "rejected", false) => {
            Err(refusal("payment_cancelled", "the payment was cancelled in Odoo"))
        }
        (_, true) => Err(refusal(
            "payment_posted",
            "a payment is not taken back from here: cancel it in Odoo",
        )),
        (state, false) => Err(refusal(
            "payment_state",
            format!("the payment is in the state `{state}` in Odoo"),
        )),
    }
}

/// Says whether a posted payment is what it should be, as far as it was read.
fn is_held(row: &PaymentRow, write: &Write, payment: &Payment) -> bool {
    let Action::Update { changed, .. } = &write.action else {
        return false;
    };
    let is_same_order = !changed.contains("order") || order_id(write, payment).is_some();
    is_same(row, payment)
        && is_same_order
        && row.date == Some(payment.made_at.date_naive())
        && row
            .currency_id
            .as_ref()
            .is_some_and(|currency| currency.1 == payment.amount.currency.code())
}

fn load(named: Cells, cells: Cells) -> Draft {
    let mut draft = Draft::single(MODEL, named.followed_by(cells), Source::Record(0));
    draft.next = Some(POST);
    draft
}

fn payment_cells(write: &Write, payment: &Payment, known: &Known) -> Result<Cells, Refusal> {
    let order = order_id(write, payment).and_then(|id| known.orders.get(&id));
    let order = order.ok_or_else(|| refusal("order_missing", "the payment's order is not in Odoo"))?;
    let direction = match payment.kind {
        PaymentKind::Received => "inbound",
        PaymentKind::Refunded => "outbound",
    };
    let way = known
        .journal
        .as_ref()
        .and_then(|journal| Some((journal.id, journal.way(payment.kind)?)));
    let (journal, way) = way.ok_or_else(|| {
        refusal(
            "journal_missing",
            format!("Odoo has no bank journal with an {direction} payment method"),
        )
    })?;
    let code = payment.amount.currency;
    let currency = match known.currencies.get(&code) {
        Some(order::Priced::By { currency, .. } | order::Priced::NoPricelist { currency }) => *currency,
        Some(order::Priced::Inactive) => {
            return Err(refusal(
                "currency_inactive",
                format!("the currency {code} is not active in Odoo: activate it there"),
            ));
        }
        Some(order::Priced::Unknown) | None => {
            return Err(refusal(
                "currency_unknown",
                format!("Odoo does not know the currency {code}"),
            ));
        }
    };
    Ok(Cells::default()
        .with("payment_type", direction)
        .with("partner_type", "customer")
        .with("partner_id/.id", &order.partner_id.0.to_string())
        .with("amount", &payment.amount.amount.to_string())
        .with("currency_id/.id", &currency.to_string())
        .with("date", &payment.made_at.format(DATE).to_string())
        .with("journal_id/.id", &journal.to_string())
        .with("payment_method_line_id/.id", &way.to_string())
        .with(known.memo, order.memo())
        .with(
            "payment_reference",
            payment.transaction_id.as_deref().unwrap_or_default(),
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(change: &Value) -> PaymentRow {
        let mut row = json!({
            "id": 3, "payment_type": "inbound", "state": "in_process", "amount": 35.28, "currency_id": [1, "USD"],
            "partner_id": [40, "Ann"], "date": "2026-11-22", "memo": "669", "payment_reference": "ch_0013"
        });
        for (name, value) in change.as_object().unwrap() {
            row[name] = value.clone();
        }
        serde_json::from_value(row).unwrap()
    }

    fn order(id: i64, reference: &str, partner: i64) -> OrderRow {
        serde_json::from_value(json!({
            "id": id, "name": format!("WOO/{id}"), "client_order_ref": reference, "partner_id": [partner, "Ann"]
        }))
        .unwrap()
    }

    #[test]
    fn a_posted_payment_is_read_to_the_day() {
        let Content::Payment(payment) = row(&json!({})).content(Reference::remote("7", None)).unwrap() else {
            panic!("a payment")
        };

        assert_eq!(payment.kind, PaymentKind::Received);
        assert_eq!(payment.amount, Money::new(Decimal::new(3528, 2), Currency::USD));
        assert_eq!(payment.made_at.to_rfc3339(), "2026-11-22T00:00:00+00:00");
        assert_eq!(payment.transaction_id.as_deref(), Some("ch_0013"));
        assert_eq!(project(&payment), payment);
    }

    #[test]
    fn what_is_not_posted_is_no_payment_yet() {
        for state in ["draft", "canceled"] {
            let read = row(&json!({"state": state})).content(Reference::remote("7", None));

            assert!(read.is_err(), "{state}");
        }
    }

    #[test]
    fn an_order_is_found_by_what_the_memo_says() {
        let orders = [order(1, "669", 40), order(2, "670", 40)];
        let found = |memo: &str| order_of(&row(&json!({"memo": memo})), &orders, None).map(|order| order.id);

        assert_eq!(found("669"), Some(1));
        assert_eq!(found("WOO/2"), Some(2));
        assert_eq!(found("INV/2026/00001"), None);
    }

    #[test]
    fn of_orders_with_one_number_the_partner_or_the_record_decides() {
        let orders = [order(1, "669", 40), order(2, "669", 41)];
        let twins = [order(1, "669", 40), order(2, "669", 40)];
        let of = |orders: &[OrderRow], known| order_of(&row(&json!({})), orders, known).map(|order| order.id);

        assert_eq!(of(&orders, None), Some(1));
        assert_eq!(of(&twins, None), None);
        assert_eq!(of(&twins, Some(2)), Some(2));
    }

    #[test]
    fn a_refund_is_outbound() {
        assert_eq!(
            row(&json!({"payment_type": "outbound"})).kind(),
            PaymentKind::Refunded
        );
    }
}
