//! Payments, journals and the ways to pay (facts: systems B7, mapping-odoo 4).

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::database::Database;
use super::exception::Exception;
use super::model::Kind::{Boolean, Char, Date, Float, Integer, Many2many, Selection};
use super::model::Model;
use super::schema::{computed, field, indexed, many, to};
use super::session::{Session, now_micros};
use crate::ledger::Operation;

pub(super) const PAYMENT: &str = "account.payment";
pub(super) const ENTRY: &str = "account.move";
pub(super) const JOURNAL: &str = "account.journal";
const WAY: &str = "account.payment.method.line";

const DIRECTIONS: &[(&str, &str)] = &[("outbound", "Send"), ("inbound", "Receive")];
const PARTNERS: &[(&str, &str)] = &[("customer", "Customer"), ("supplier", "Vendor")];
const STATES: &[(&str, &str)] = &[
    ("draft", "Draft"),
    ("in_process", "In Process"),
    ("paid", "Paid"),
    ("canceled", "Canceled"),
    ("rejected", "Rejected"),
];
const JOURNALS: &[(&str, &str)] = &[
    ("sale", "Sales"),
    ("purchase", "Purchase"),
    ("cash", "Cash"),
    ("bank", "Bank"),
    ("credit", "Credit Card"),
    ("general", "Miscellaneous"),
];

/// The last number of each prefix, as far as one call gave any out.
pub(super) type Numbers = HashMap<String, u32>;

pub(super) fn models() -> Vec<Model> {
    vec![
        payment_model(),
        Model::new(
            WAY,
            "Payment Methods",
            "sequence, id",
            vec![
                field("name", "Name", Char).or("Manual Payment"),
                field("sequence", "Sequence", Integer).or(10),
                to("journal_id", "Journal", JOURNAL),
                field("payment_type", "Payment Type", Selection(DIRECTIONS)),
                field("code", "Code", Char).or("manual"),
                to("payment_account_id", "Account", "account.account"),
            ],
        ),
        Model::new(
            JOURNAL,
            "Journal",
            "id",
            vec![
                field("name", "Journal Name", Char).required(),
                field("code", "Sequence Prefix", Char),
                field("type", "Type", Selection(JOURNALS)).required(),
                field("active", "Active", Boolean).or(true),
                to("currency_id", "Currency", "res.currency"),
                computed(
                    "inbound_payment_method_line_ids",
                    "Inbound Payment Methods",
                    Many2many(WAY.to_owned()),
                ),
                computed(
                    "outbound_payment_method_line_ids",
                    "Outbound Payment Methods",
                    Many2many(WAY.to_owned()),
                ),
            ],
        ),
        Model::new(
            "account.account",
            "Account",
            "code",
            vec![
                field("code", "Code", Char),
                field("name", "Account Name", Char).required(),
                field("account_type", "Type", Char),
            ],
        ),
    ]
}

fn payment_model() -> Model {
    Model::new(
        PAYMENT,
        "Payments",
        "date desc, name desc, id desc",
        vec![
            field("name", "Number", Char),
            field("payment_type", "Payment Type", Selection(DIRECTIONS)).or("inbound"),
            field("partner_type", "Partner Type", Selection(PARTNERS)).or("customer"),
            to("partner_id", "Customer/Vendor", "res.partner"),
            field("amount", "Amount", Float),
            to("currency_id", "Currency", "res.currency").or(1),
            field("date", "Date", Date),
            to("journal_id", "Journal", JOURNAL),
            to("payment_method_line_id", "Payment Method", WAY),
            indexed("memo", "Memo", Char),
            indexed("payment_reference", "Payment Reference", Char),
            field("state", "State", Selection(STATES)).or("draft"),
            to("move_id", "Journal Entry", ENTRY),
            many("invoice_ids", "Invoices", ENTRY),
            computed("is_reconciled", "Is Reconciled", Boolean),
        ],
    )
}

/// Lists what a fresh database has; the ids are those that were seen.
pub(super) fn rows() -> Vec<(&'static str, i64, Value)> {
    let journal = |id: i64, name: &str, kind: &str, code: &str| {
        (JOURNAL, id, json!({"name": name, "type": kind, "code": code}))
    };
    let account = |id: i64, code: &str, name: &str| {
        let vals = json!({"code": code, "name": name, "account_type": "asset_current"});
        ("account.account", id, vals)
    };
    vec![
        journal(1, "Sales", "sale", "INV"),
        journal(2, "Purchases", "purchase", "BILL"),
        journal(3, "Miscellaneous Operations", "general", "MISC"),
        journal(4, "Exchange Difference", "general", "EXCH"),
        journal(5, "Cash Basis Taxes", "general", "CABA"),
        journal(6, "Bank", "bank", "BNK1"),
        (WAY, 1, json!({"journal_id": 6, "payment_type": "inbound"})),
        (WAY, 2, json!({"journal_id": 6, "payment_type": "outbound"})),
        account(1, "101403", "Outstanding Receipts"),
        account(2, "101404", "Outstanding Payments"),
    ]
}

/// A recording has journals without their ways to pay.
pub(super) fn complete(db: &mut Database) {
    let mut session = Session::new(db, now_micros());
    let ids: Vec<i64> = session.db.table(JOURNAL).rows.keys().copied().collect();
    for id in ids {
        let _ = session.settle_new_journal(id);
    }
}

pub(super) fn no_access() -> Exception {
    Exception::access(
        "You are not allowed to access 'Payments' (account.payment) records.\n\nThis operation is allowed for the \
         following groups:\n\t- Accounting/Invoicing\n\t- Show Accounting Features - Readonly\n\nContact your \
         administrator to request access if necessary.",
    )
}

fn without_entry() -> Exception {
    Exception::validation(
        "A payment with an outstanding account cannot be confirmed without having a journal entry.",
    )
}

impl Session<'_> {
    /// Money comes and goes through a bank or a till, by hand at least.
    pub(super) fn settle_new_journal(&mut self, id: i64) -> Result<(), Exception> {
        let handles_money = matches!(
            self.db.text(JOURNAL, id, "type").as_str(),
            "bank" | "cash" | "credit"
        );
        if !handles_money || !self.db.with(WAY, "journal_id", id).is_empty() {
            return Ok(());
        }
        for direction in ["inbound", "outbound"] {
            let vals = json!({"journal_id": id, "payment_type": direction});
            self.create_quietly(WAY, &vals.as_object().cloned().unwrap_or_default())?;
        }
        Ok(())
    }

    pub(super) fn computed_account(&self, model: &str, id: i64, name: &str) -> Value {
        match (model, name) {
            (JOURNAL, _) => {
                let direction = name.split('_').next().unwrap_or_default();
                json!(self.ways(id, direction))
            }
            (ENTRY, _) => self.computed_move(id, name),
            _ => Value::Bool(false),
        }
    }

    /// Lists the ways of a journal in one direction.
    fn ways(&self, journal: i64, direction: &str) -> Vec<i64> {
        let mut ways = self.db.with(WAY, "journal_id", journal);
        ways.retain(|way| self.db.text(WAY, *way, "payment_type") == direction);
        ways
    }

    pub(super) fn account_name(&self, model: &str, id: i64) -> String {
        let name = self.db.text(model, id, "name");
        match model {
            WAY => {
                let journal = self.db.link(WAY, id, "journal_id").unwrap_or_default();
                format!("{name} ({})", self.db.text(JOURNAL, journal, "name"))
            }
            PAYMENT if name.is_empty() => "Draft Payment".to_owned(),
            ENTRY if name.is_empty() => match self.db.text(ENTRY, id, "move_type").as_str() {
                "out_refund" => "Draft Credit Note".to_owned(),
                "out_invoice" => "Draft Invoice".to_owned(),
                _ => "Draft Entry".to_owned(),
            },
            ENTRY => match self.db.text(ENTRY, id, "ref") {
                memo if memo.is_empty() => name,
                memo => format!("{name} ({memo})"),
            },
            _ => name,
        }
    }

    /// A new payment gets today's date, the first bank, and that bank's first way in its direction.
    pub(super) fn settle_new_payment(&mut self, id: i64) -> Result<(), Exception> {
        let mut values = Vec::new();
        if self.db.text(PAYMENT, id, "date").is_empty() {
            values.push(("date", json!(self.today())));
        }
        let is_money =
            |journal: &i64| matches!(self.db.text(JOURNAL, *journal, "type").as_str(), "bank" | "cash");
        let first = || self.db.table(JOURNAL).rows.keys().copied().find(is_money);
        let journal = self.db.link(PAYMENT, id, "journal_id").or_else(first);
        values.push(("journal_id", json!(journal)));
        if self.db.link(PAYMENT, id, "payment_method_line_id").is_none() {
            let direction = self.db.text(PAYMENT, id, "payment_type");
            let ways = journal.map_or_else(Vec::new, |journal| self.ways(journal, &direction));
            let way = ways.first().ok_or_else(|| {
                Exception::validation("Please define a payment method line on your payment.")
            })?;
            values.push(("payment_method_line_id", json!(way)));
        }
        self.set(PAYMENT, id, &values);
        Ok(())
    }

    /// Another journal or direction brings its own first way along, unless one was named.
    pub(super) fn settle_payment(&mut self, id: i64, vals: &Map<String, Value>) {
        let turns = vals.contains_key("journal_id") || vals.contains_key("payment_type");
        if !turns || vals.contains_key("payment_method_line_id") {
            return;
        }
        let journal = self.db.link(PAYMENT, id, "journal_id").unwrap_or_default();
        let ways = self.ways(journal, &self.db.text(PAYMENT, id, "payment_type"));
        let now = self.db.link(PAYMENT, id, "payment_method_line_id");
        let keeps = now.is_some_and(|now| ways.contains(&now));
        if let Some(way) = ways.first().filter(|_| !keeps) {
            self.set(PAYMENT, id, &[("payment_method_line_id", json!(way))]);
        }
    }

    /// Nothing is as strict about a payment as one would think: 0 is fine, and the way of the other direction too.
    pub(super) fn check_payment(&self, id: i64) -> Result<(), Exception> {
        if self.float(PAYMENT, id, "amount") < 0.0 {
            let message = "The operation cannot be completed: The payment amount cannot be negative.";
            return Err(Exception::validation(message));
        }
        let way = self.db.link(PAYMENT, id, "payment_method_line_id");
        let of_way = way.and_then(|way| self.db.link(WAY, way, "journal_id"));
        if of_way != self.db.link(PAYMENT, id, "journal_id") {
            return Err(Exception::validation(
                "The selected payment method is not available for this payment, please select the payment method \
                 again.",
            ));
        }
        if self.is_posted(id) && self.has_account(id) && self.db.link(PAYMENT, id, "move_id").is_none() {
            return Err(without_entry());
        }
        Ok(())
    }

    pub(super) fn is_posted(&self, payment: i64) -> bool {
        matches!(
            self.db.text(PAYMENT, payment, "state").as_str(),
            "in_process" | "paid"
        )
    }

    /// Whether the money waits on an account; without one there is no journal entry.
    fn has_account(&self, payment: i64) -> bool {
        let way = self.db.link(PAYMENT, payment, "payment_method_line_id");
        way.is_some_and(|way| self.db.link(WAY, way, "payment_account_id").is_some())
    }

    /// Posts drafts; what is posted already stays as it is, without an error.
    pub(super) fn post_payments(&mut self, ids: &[i64]) -> Result<Value, Exception> {
        let mut numbers = Numbers::default();
        for id in ids {
            self.feel(PAYMENT, *id, Operation::Updated);
            if self.db.text(PAYMENT, *id, "state") != "draft" {
                continue;
            }
            let entry = if self.has_account(*id) {
                json!(self.post_entry(*id, &mut numbers)?)
            } else {
                Value::Bool(false)
            };
            let own = self.db.text(PAYMENT, *id, "name");
            let name = match entry.as_i64() {
                Some(entry) => self.db.text(ENTRY, entry, "name"),
                None if own.is_empty() => self.next_number(PAYMENT, "PAY", &mut numbers),
                None => own,
            };
            let values = [
                ("state", json!("in_process")),
                ("move_id", entry),
                ("name", json!(name)),
            ];
            self.set(PAYMENT, *id, &values);
        }
        Ok(Value::Null)
    }

    /// Makes the journal entry of a payment, or posts the one that was set back to draft.
    fn post_entry(&mut self, payment: i64, numbers: &mut Numbers) -> Result<i64, Exception> {
        let value = |field: &str| self.db.value(PAYMENT, payment, field);
        let mut vals = Map::from_iter([
            ("move_type".to_owned(), json!("entry")),
            ("state".to_owned(), json!("posted")),
            ("ref".to_owned(), value("memo")),
            ("amount_total".to_owned(), value("amount")),
        ]);
        for field in ["date", "partner_id", "journal_id", "currency_id"] {
            vals.insert(field.to_owned(), value(field));
        }
        if let Some(entry) = self.db.link(PAYMENT, payment, "move_id") {
            self.write_one(ENTRY, entry, &vals)?;
            return Ok(entry);
        }
        let journal = self.db.link(PAYMENT, payment, "journal_id").unwrap_or_default();
        let date = self.db.text(PAYMENT, payment, "date");
        let year = date.get(..4).unwrap_or_default();
        let prefix = format!("P{}/{year}/", self.db.text(JOURNAL, journal, "code"));
        vals.insert(
            "name".to_owned(),
            json!(self.next_number(ENTRY, &prefix, numbers)),
        );
        self.create_quietly(ENTRY, &vals)
    }

    /// Returns the number after the highest that was given out, five digits wide.
    pub(super) fn next_number(&self, model: &str, prefix: &str, numbers: &mut Numbers) -> String {
        let highest = || {
            let names = self.db.table(model).rows.keys();
            let given = names.filter_map(|id| {
                let name = self.db.text(model, *id, "name");
                name.strip_prefix(prefix)?.parse::<u32>().ok()
            });
            given.max().unwrap_or_default()
        };
        let number = numbers.entry(prefix.to_owned()).or_insert_with(highest);
        *number += 1;
        format!("{prefix}{number:05}")
    }

    pub(super) fn reset_payments(&mut self, ids: &[i64]) -> Value {
        for id in ids {
            self.feel(PAYMENT, *id, Operation::Updated);
            self.set(PAYMENT, *id, &[("state", json!("draft"))]);
            if let Some(entry) = self.db.link(PAYMENT, *id, "move_id") {
                self.set(ENTRY, entry, &[("state", json!("draft"))]);
            }
        }
        Value::Null
    }

    /// Cancels payments; an entry in draft goes, a posted one is cancelled too.
    pub(super) fn cancel_payments(&mut self, ids: &[i64]) -> Value {
        for id in ids {
            self.feel(PAYMENT, *id, Operation::Updated);
            let mut values = vec![("state", json!("canceled"))];
            if let Some(entry) = self.db.link(PAYMENT, *id, "move_id") {
                if self.db.text(ENTRY, entry, "state") == "draft" {
                    values.push(("move_id", json!(false)));
                    self.erase(ENTRY, entry);
                } else {
                    self.set(ENTRY, entry, &[("state", json!("cancel"))]);
                }
            }
            self.set(PAYMENT, *id, &values);
        }
        Value::Null
    }

    pub(super) fn check_unlink_of_payments(&self, ids: &[i64]) -> Result<(), Exception> {
        if ids.iter().any(|id| self.is_posted(*id)) {
            return Err(without_entry());
        }
        Ok(())
    }

    /// Whoever paid stays (facts: mapping-odoo 2).
    pub(super) fn check_unlink_of_payers(&self, ids: &[i64]) -> Result<(), Exception> {
        let paid = |id: &i64| {
            [PAYMENT, ENTRY]
                .into_iter()
                .any(|model| !self.db.with(model, "partner_id", *id).is_empty())
        };
        if ids.iter().any(paid) {
            return Err(Exception::user(
                "The partner cannot be deleted because it is used in Accounting",
            ));
        }
        Ok(())
    }

    /// Whether a record is there but counts for nothing.
    pub(super) fn is_void(&self, model: &str, id: i64) -> bool {
        model == PAYMENT && self.db.text(PAYMENT, id, "state") == "canceled"
    }

    pub(super) fn payment_key(&self, id: i64) -> String {
        match self.db.text(PAYMENT, id, "memo") {
            memo if memo.is_empty() => self.db.text(PAYMENT, id, "payment_reference"),
            memo => memo,
        }
    }

    /// Two payments of one amount in one direction with one transaction are the same money twice.
    pub(super) fn payment_keys(&self, id: i64) -> Option<String> {
        let reference = self.db.text(PAYMENT, id, "payment_reference");
        let direction = self.db.text(PAYMENT, id, "payment_type");
        let amount = self.float(PAYMENT, id, "amount");
        (!reference.is_empty()).then(|| format!("payment:{reference} {direction} {amount}"))
    }
}
