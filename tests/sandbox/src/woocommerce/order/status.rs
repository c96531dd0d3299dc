//! What a change of status does: dates, stock, mails, refunds (facts: mapping-woocommerce 3, «Side effects»).

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use super::super::product::as_text;
use super::super::refund::{self, Payment, Restock};
use super::super::shop::Shop;
use super::{Order, keep_count, meta_number, set_meta};

/// Whether an order is new to the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    Create,
    Update,
}

const KNOWN: &[&str] = &[
    "auto-draft",
    "pending",
    "processing",
    "on-hold",
    "completed",
    "cancelled",
    "refunded",
    "failed",
    "checkout-draft",
    "trash",
];

/// The part of a line that says how much stock was taken for it.
pub(in super::super) const REDUCED: &str = "_reduced_stock";
/// The part of a line that says how much a refund gave back.
pub(in super::super) const RESTOCKED: &str = "_restock_refunded_items";

impl Shop {
    /// Sets the status and the payment that a body asks for.
    pub(super) fn settle(&mut self, order: &mut Order, body: &Map<String, Value>, write: Write, now: i64) {
        let asked = body
            .get("status")
            .map(as_text)
            .filter(|status| !status.is_empty());
        if let Some(asked) = asked {
            let asked = asked.strip_prefix("wc-").unwrap_or(&asked);
            // A status that nobody knows ends as `pending`; only batches let one through (facts: systems A9).
            let asked = if KNOWN.contains(&asked) { asked } else { "pending" };
            self.move_to(order, asked, now);
        }
        let is_paid = body.get("set_paid") == Some(&Value::Bool(true));
        if is_paid && (write == Write::Create || order.needs_payment()) {
            self.pay(order, now);
        }
    }

    /// Completes the payment; only an open order cares.
    fn pay(&mut self, order: &mut Order, now: i64) {
        if !matches!(
            order.status.as_str(),
            "on-hold" | "pending" | "failed" | "cancelled"
        ) {
            return;
        }
        order.paid = order.paid.or(Some(now));
        let next = self.status_when_paid(order);
        self.move_to(order, next, now);
    }

    /// An order with nothing to send is complete once it is paid.
    fn status_when_paid(&self, order: &Order) -> &'static str {
        if self.needs_processing(order) {
            "processing"
        } else {
            "completed"
        }
    }

    /// Moves an order to a status, with all that follows from it.
    pub(in super::super) fn move_to(&mut self, order: &mut Order, to: &str, now: i64) {
        let from = std::mem::replace(&mut order.status, to.to_owned());
        if from == to {
            return;
        }
        let is_paid_status = match to {
            "processing" => self.status_when_paid(order) == "processing",
            "completed" => true,
            _ => false,
        };
        if is_paid_status {
            order.paid = order.paid.or(Some(now));
        }
        if to == "completed" {
            order.completed = Some(now);
        }
        match to {
            "processing" | "on-hold" | "completed" => self.take_stock(order, now),
            "pending" | "cancelled" => self.give_stock_back(order, now),
            "refunded" => self.refund_rest(order, now),
            _ => {}
        }
        self.tell(order, &from, to);
    }

    fn take_stock(&mut self, order: &mut Order, now: i64) {
        if order.is_stock_reduced {
            return;
        }
        for at in 0..order.lines.len() {
            let line = &order.lines[at];
            let (id, quantity) = (line.stock_id(), line.quantity);
            if meta_number(&line.meta, REDUCED) != 0 || !self.keeps_stock(id) {
                continue;
            }
            self.move_stock(id, -quantity, now);
            keep_count(self, &mut order.lines[at], REDUCED, quantity);
        }
        order.is_stock_reduced = true;
    }

    /// Gives back what was taken by line, and forgets that it was.
    fn give_stock_back(&mut self, order: &mut Order, now: i64) {
        if !order.is_stock_reduced {
            return;
        }
        for line in &mut order.lines {
            let taken = meta_number(&line.meta, REDUCED);
            let id = line.stock_id();
            if taken == 0 || !self.keeps_stock(id) {
                continue;
            }
            self.move_stock(id, taken, now);
            set_meta(&mut line.meta, REDUCED, None, &mut self.book.next_item_meta);
        }
        order.is_stock_reduced = false;
    }

    /// The status itself makes a refund over what is left (facts: mapping-woocommerce 3).
    fn refund_rest(&mut self, order: &mut Order, now: i64) {
        let rest = self.refundable(order);
        if rest.is_zero() {
            return;
        }
        let asked = refund::Asked {
            amount: Some(rest),
            reason: "Order fully refunded.".to_owned(),
            parts: Vec::new(),
            payment: Payment::ByHand,
            restock: Restock::Leave,
        };
        // The rest can always be refunded, and nothing is paid through a gateway.
        let _ = self.make_refund(order, &asked, now);
    }

    /// Mails the customer and the shop's people about a change of status.
    fn tell(&mut self, order: &mut Order, from: &str, to: &str) {
        let is_open = matches!(from, "pending" | "failed" | "cancelled");
        let customer_mail = match to {
            "processing" if is_open || from == "on-hold" => Some("customer_processing_order"),
            "on-hold" if is_open => Some("customer_on_hold_order"),
            "completed" => Some("customer_completed_order"),
            "failed" if matches!(from, "pending" | "on-hold") => Some("customer_failed_order"),
            _ => None,
        };
        if let Some(mail) = customer_mail {
            self.mail_customer(order, mail);
        }
        match to {
            "processing" | "on-hold" | "completed" if is_open && !order.is_announced => {
                self.mail_people("new_order");
                order.is_announced = true;
            }
            "cancelled" if matches!(from, "pending" | "processing" | "on-hold") => {
                self.mail_people("cancelled_order");
            }
            "failed" if matches!(from, "pending" | "on-hold") => self.mail_people("failed_order"),
            _ => {}
        }
    }

    /// Sends a mail to the order's address, or to that of its account; without either nobody gets one.
    pub(in super::super) fn mail_customer(&mut self, order: &Order, mail: &str) {
        let has_account = self.customers.contains_key(&order.customer);
        if (!order.email().is_empty() || has_account) && self.settings.sends(mail) {
            self.mails += 1;
        }
    }

    fn mail_people(&mut self, mail: &str) {
        if self.settings.sends(mail) {
            self.admin_mails += 1;
        }
    }
}
