//! Credit notes, and the entries behind payments (facts: mapping-odoo 3, 4).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::exception::Exception;
use super::model::Kind::{Char, Date, Float, Html, Integer, Json, Selection};
use super::model::Model;
use super::payment::{ENTRY, Numbers, PAYMENT};
use super::schema::{computed, field, lines, many, to};
use super::session::{Session, Touched};
use crate::ledger::Operation;

pub(super) const LINE: &str = "account.move.line";

const TYPES: &[(&str, &str)] = &[
    ("entry", "Journal Entry"),
    ("out_invoice", "Customer Invoice"),
    ("out_refund", "Customer Credit Note"),
    ("in_invoice", "Vendor Bill"),
    ("in_refund", "Vendor Credit Note"),
];
const STATES: &[(&str, &str)] = &[("draft", "Draft"), ("posted", "Posted"), ("cancel", "Cancelled")];
const DISPLAYS: &[(&str, &str)] = &[
    ("product", "Product"),
    ("line_section", "Section"),
    ("line_note", "Note"),
];

/// What may not be written once a move is posted, the same values either (source: `unmodifiable_fields`).
const FIXED: [&str; 5] = [
    "invoice_line_ids",
    "invoice_date",
    "date",
    "partner_id",
    "currency_id",
];

pub(super) fn models() -> Vec<Model> {
    vec![
        Model::new(
            ENTRY,
            "Journal Entry",
            "date desc, name desc, id desc",
            vec![
                field("name", "Number", Char),
                field("move_type", "Type", Selection(TYPES)).or("entry"),
                field("state", "Status", Selection(STATES)).or("draft"),
                to("partner_id", "Partner", "res.partner"),
                field("invoice_date", "Invoice/Bill Date", Date),
                field("date", "Date", Date),
                field("ref", "Reference", Char),
                field("payment_reference", "Payment Reference", Char),
                field("invoice_origin", "Origin", Char),
                field("narration", "Terms and Conditions", Html),
                to("reversed_entry_id", "Reversal of", ENTRY),
                to("journal_id", "Journal", super::payment::JOURNAL),
                to("currency_id", "Currency", "res.currency").or(1),
                lines("invoice_line_ids", "Invoice lines", LINE, "move_id"),
                field("amount_untaxed", "Untaxed Amount", Float),
                field("amount_tax", "Tax", Float),
                field("amount_total", "Total", Float),
                computed("amount_residual", "Amount Due", Float),
                computed("payment_state", "Payment Status", Char),
            ],
        ),
        Model::new(
            LINE,
            "Journal Item",
            "sequence, id",
            vec![
                to("move_id", "Journal Entry", ENTRY).required(),
                field("sequence", "Sequence", Integer).or(100),
                field("name", "Label", Char),
                to("product_id", "Product", "product.product"),
                field("quantity", "Quantity", Float).or(1.0),
                field("price_unit", "Unit Price", Float),
                field("discount", "Discount (%)", Float),
                many("tax_ids", "Taxes", "account.tax"),
                field("extra_tax_data", "Extra Tax Data", Json),
                field("display_type", "Display Type", Selection(DISPLAYS)).or("product"),
                field("price_subtotal", "Subtotal", Float),
                field("price_total", "Total", Float),
            ],
        ),
    ]
}

fn in_cents(amount: f64) -> f64 {
    (amount * 100.0).round() / 100.0
}

fn is_same(one: f64, two: f64) -> bool {
    (one - two).abs() < 1e-9
}

/// What a line comes to: without taxes, and each tax, rounded already where it was forced.
struct Share {
    untaxed: f64,
    taxes: BTreeMap<i64, (f64, bool)>,
}

impl Session<'_> {
    /// Whether a move is a credit note, also one that was deleted just now.
    pub(super) fn is_credit_note(&self, id: i64, touched: &Touched) -> bool {
        let before = touched.get(&(ENTRY.to_owned(), id)).and_then(Option::as_ref);
        let row = self.db.row(ENTRY, id).or(before);
        let at = self
            .db
            .table(ENTRY)
            .model
            .position("move_type")
            .unwrap_or_default();
        row.is_some_and(|row| row.values[at] == "out_refund")
    }

    /// A credit note gets its journal and its day.
    pub(super) fn settle_new_move(&mut self, id: i64) {
        if self.db.link(ENTRY, id, "journal_id").is_none() {
            let journal = if self.db.text(ENTRY, id, "move_type").starts_with("in_") {
                2
            } else {
                1
            };
            self.set(ENTRY, id, &[("journal_id", json!(journal))]);
        }
        if self.db.text(ENTRY, id, "date").is_empty() {
            self.set(ENTRY, id, &[("date", json!(self.today()))]);
        }
    }

    /// Adds up a move after its lines changed.
    pub(super) fn total_move(&mut self, id: i64) {
        if self.db.text(ENTRY, id, "move_type") == "entry" {
            return;
        }
        let rounds_lines = self.rounds_lines();
        let (mut untaxed, mut forced) = (0.0, 0.0);
        let mut computed: BTreeMap<i64, f64> = BTreeMap::new();
        for line in self.db.with(LINE, "move_id", id) {
            let share = self.share(line);
            let tax: f64 = share.taxes.values().map(|(amount, _)| in_cents(*amount)).sum();
            let subtotal = in_cents(share.untaxed);
            for (tax, (amount, is_forced)) in share.taxes {
                if is_forced {
                    forced += amount;
                } else {
                    let amount = if rounds_lines { in_cents(amount) } else { amount };
                    *computed.entry(tax).or_default() += amount;
                }
            }
            untaxed += subtotal;
            let totals = [
                ("price_subtotal", json!(subtotal)),
                ("price_total", json!(in_cents(subtotal + tax))),
            ];
            self.set(LINE, line, &totals);
        }
        let tax = forced + computed.values().map(|amount| in_cents(*amount)).sum::<f64>();
        let totals = [
            ("amount_untaxed", json!(in_cents(untaxed))),
            ("amount_tax", json!(in_cents(tax))),
            ("amount_total", json!(in_cents(untaxed + tax))),
        ];
        self.set(ENTRY, id, &totals);
    }

    /// Forced amounts count while price, discount, quantity and currency are those they were made for.
    fn share(&self, line: i64) -> Share {
        let value = |name: &str| self.float(LINE, line, name);
        let untaxed = value("quantity") * value("price_unit") * (1.0 - value("discount") / 100.0);
        let extra = self.db.value(LINE, line, "extra_tax_data");
        let number = |name: &str| extra[name].as_f64().unwrap_or(f64::NAN);
        let currency = self
            .db
            .link(LINE, line, "move_id")
            .and_then(|entry| self.db.link(ENTRY, entry, "currency_id"));
        let holds = ["quantity", "price_unit", "discount"]
            .into_iter()
            .all(|name| is_same(number(name), value(name)))
            && extra["currency_id"].as_i64() == currency;
        let percent = |tax: i64| untaxed * self.float("account.tax", tax, "amount") / 100.0;
        let taxes = self.db.links(LINE, line, "tax_ids").into_iter().map(|tax| {
            let forced = &extra["manual_tax_amounts"][tax.to_string()]["tax_amount_currency"];
            match forced.as_f64().filter(|_| holds) {
                Some(amount) => (tax, (amount, true)),
                None => (tax, (percent(tax), false)),
            }
        });
        let taxes = taxes.collect();
        let total = extra["manual_total_excluded_currency"].as_f64();
        Share {
            untaxed: total.filter(|_| holds).unwrap_or(untaxed),
            taxes,
        }
    }

    /// A line that names a product only takes its name and taxes from it.
    pub(super) fn settle_new_move_line(&mut self, id: i64, vals: &Map<String, Value>) {
        let Some(product) = self.db.link(LINE, id, "product_id") else {
            return;
        };
        let mut values = Vec::new();
        if !vals.contains_key("name") {
            values.push(("name", json!(self.display_name("product.product", product))));
        }
        if !vals.contains_key("price_unit") {
            values.push(("price_unit", self.raw("product.product", product, "lst_price")));
        }
        if !vals.contains_key("tax_ids") {
            values.push(("tax_ids", self.raw("product.product", product, "taxes_id")));
        }
        self.set(LINE, id, &values);
    }

    /// A posted move keeps what it says; its reference may change.
    pub(super) fn check_fixed(
        &self,
        model: &str,
        ids: &[i64],
        vals: &Map<String, Value>,
    ) -> Result<(), Exception> {
        let fixed: Vec<&str> = match model {
            ENTRY => vals
                .keys()
                .map(String::as_str)
                .filter(|name| FIXED.contains(name))
                .collect(),
            LINE => vec!["invoice_line_ids"],
            _ => return Ok(()),
        };
        let is_posted = |id: &i64| {
            let entry = match model {
                LINE => self.db.link(LINE, *id, "move_id").unwrap_or_default(),
                _ => *id,
            };
            self.db.text(ENTRY, entry, "state") == "posted"
        };
        if fixed.is_empty() || !ids.iter().any(is_posted) {
            return Ok(());
        }
        Err(Exception::user(format!(
            "You cannot modify the following readonly fields on a posted move: {}",
            fixed.join(", ")
        )))
    }

    pub(super) fn check_unlink_of_moves(&self, ids: &[i64]) -> Result<(), Exception> {
        if ids.iter().any(|id| self.db.text(ENTRY, *id, "state") == "posted") {
            return Err(Exception::user(
                "You can't delete a posted journal item. Don’t play games with your accounting records; reset the \
                 journal entry to draft before deleting it.",
            ));
        }
        Ok(())
    }

    pub(super) fn post_moves(&mut self, ids: &[i64]) -> Result<Value, Exception> {
        for id in ids {
            if self.db.text(ENTRY, *id, "state") != "draft" {
                let name = self.db.text(ENTRY, *id, "name");
                return Err(Exception::user(format!(
                    "The entry {name} (id {id}) must be in draft."
                )));
            }
            if self.db.with(LINE, "move_id", *id).is_empty() {
                return Err(Exception::user("You need to add a line before posting."));
            }
        }
        let mut numbers = Numbers::default();
        for id in ids {
            let day = match self.db.text(ENTRY, *id, "invoice_date") {
                day if day.is_empty() => self.today(),
                day => day,
            };
            let own = self.db.text(ENTRY, *id, "name");
            let name = if own.is_empty() {
                let journal = self.db.link(ENTRY, *id, "journal_id").unwrap_or_default();
                let code = self.db.text(super::payment::JOURNAL, journal, "code");
                let refund = if self.db.text(ENTRY, *id, "move_type").ends_with("refund") {
                    "R"
                } else {
                    ""
                };
                let year = day.get(..4).unwrap_or_default();
                self.next_number(ENTRY, &format!("{refund}{code}/{year}/"), &mut numbers)
            } else {
                own
            };
            let values = [
                ("state", json!("posted")),
                ("name", json!(name)),
                ("invoice_date", json!(day)),
                ("date", json!(day)),
            ];
            self.set(ENTRY, *id, &values);
            self.feel(ENTRY, *id, Operation::Updated);
        }
        Ok(json!(false))
    }

    pub(super) fn reset_moves(&mut self, ids: &[i64]) -> Value {
        for id in ids {
            self.set(ENTRY, *id, &[("state", json!("draft"))]);
            self.feel(ENTRY, *id, Operation::Updated);
        }
        Value::Null
    }

    /// A payment without an entry that names an invoice makes it paid while all of it stays due.
    pub(super) fn computed_move(&self, id: i64, name: &str) -> Value {
        let is_posted = self.db.text(ENTRY, id, "state") == "posted";
        match name {
            "amount_residual" if is_posted && self.db.text(ENTRY, id, "move_type") != "entry" => {
                json!(self.float(ENTRY, id, "amount_total"))
            }
            "amount_residual" => json!(0.0),
            "payment_state" => {
                let pays = |payment: &i64| {
                    self.db.links(PAYMENT, *payment, "invoice_ids").contains(&id) && self.is_posted(*payment)
                };
                let is_paid = is_posted && self.db.table(PAYMENT).rows.keys().any(pays);
                json!(if is_paid { "paid" } else { "not_paid" })
            }
            _ => Value::Bool(false),
        }
    }
}
