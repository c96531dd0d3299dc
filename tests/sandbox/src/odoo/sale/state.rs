//! Confirming, cancelling, reopening and locking orders (facts: mapping-odoo 3, systems B7).

use serde_json::{Value, json};

use super::{LINE, ORDER};
use crate::ledger::Operation;
use crate::odoo::exception::Exception;
use crate::odoo::read::stamp;
use crate::odoo::session::Session;

impl Session<'_> {
    /// Confirms orders: all or none.
    pub(in crate::odoo) fn confirm_orders(&mut self, ids: &[i64]) -> Result<Value, Exception> {
        for id in ids {
            self.check_confirmation(*id)?;
        }
        for id in ids {
            self.feel(ORDER, *id, Operation::Updated);
            self.set(
                ORDER,
                *id,
                &[("state", json!("sale")), ("date_order", json!(stamp(self.now)))],
            );
            // Two messages and the salesperson as a follower, by default (facts: mapping-odoo 3).
            if !self.quiet.no_tracking {
                self.post(ORDER, *id, "Quotation confirmed");
            }
            if !self.quiet.no_log {
                self.post(ORDER, *id, "Transfer created");
            }
            if !self.quiet.no_followers {
                self.follow(ORDER, *id);
            }
            for line in self.lines_in_order(*id) {
                self.launch(line);
            }
            self.bill_order(*id);
        }
        Ok(json!(true))
    }

    fn check_confirmation(&self, id: i64) -> Result<(), Exception> {
        if !matches!(self.db.text(ORDER, id, "state").as_str(), "draft" | "sent") {
            return Err(Exception::user(
                "Some orders are not in a state requiring confirmation.",
            ));
        }
        let lacks_product = self.db.with(LINE, "order_id", id).into_iter().any(|line| {
            let is_plain = self.db.text(LINE, line, "display_type").is_empty();
            is_plain && self.db.link(LINE, line, "product_id").is_none()
        });
        if lacks_product {
            return Err(Exception::user(
                "Some order lines are missing a product, you need to correct them before going further.",
            ));
        }
        Ok(())
    }

    /// Cancels orders in whatever state, and their open deliveries.
    pub(in crate::odoo) fn cancel_orders(&mut self, ids: &[i64]) -> Result<Value, Exception> {
        if ids.iter().any(|id| self.db.flag(ORDER, *id, "locked")) {
            return Err(Exception::user(
                "You cannot cancel a locked order. Please unlock it first.",
            ));
        }
        for id in ids {
            self.feel(ORDER, *id, Operation::Updated);
            self.cancel_deliveries(*id);
            self.enter(*id, "cancel");
        }
        Ok(json!(true))
    }

    /// Makes quotations of cancelled orders again; others stay as they are.
    pub(in crate::odoo) fn reopen_orders(&mut self, ids: &[i64]) -> Value {
        for id in ids {
            self.feel(ORDER, *id, Operation::Updated);
            if matches!(self.db.text(ORDER, *id, "state").as_str(), "cancel" | "sent") {
                self.enter(*id, "draft");
            }
        }
        json!(true)
    }

    pub(in crate::odoo) fn lock_orders(&mut self, ids: &[i64], locked: &Value) -> Value {
        for id in ids {
            self.feel(ORDER, *id, Operation::Updated);
            self.set(ORDER, *id, &[("locked", locked.clone())]);
        }
        Value::Null
    }

    fn enter(&mut self, id: i64, state: &str) {
        if !self.quiet.no_tracking && self.db.text(ORDER, id, "state") != state {
            self.post(ORDER, id, "Status changed");
        }
        self.set(ORDER, id, &[("state", json!(state))]);
        self.bill_order(id);
    }

    fn lines_in_order(&self, id: i64) -> Vec<i64> {
        let mut lines = self.db.with(LINE, "order_id", id);
        let _ = self.sort(LINE, &mut lines, None);
        lines
    }
}
