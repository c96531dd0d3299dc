//! Methods that only some models have.

use serde_json::Value;

use super::call::{Arguments, ids};
use super::exception::Exception;
use super::payment;
use super::session::Session;
use super::stock;

/// The name, whether it works on records, and what it takes by position after `ids`.
type Method = (&'static str, bool, &'static [&'static str]);

const METHODS: &[(&str, Method)] = &[
    (stock::QUANT, ("action_apply_inventory", true, &["date"])),
    (payment::PAYMENT, ("action_post", true, &[])),
    (payment::PAYMENT, ("action_draft", true, &[])),
    (payment::PAYMENT, ("action_cancel", true, &[])),
    (payment::ENTRY, ("action_post", true, &[])),
    (payment::ENTRY, ("button_draft", true, &[])),
    ("ir.config_parameter", ("get_param", false, &["key!", "default"])),
];

pub(super) fn signature(model: &str, method: &str) -> Option<&'static Method> {
    let known = METHODS
        .iter()
        .find(|(owner, (name, ..))| *owner == model && *name == method);
    known.map(|(_, signature)| signature)
}

impl Session<'_> {
    /// Answers what a model has of its own; `None` leaves the call to what every model does.
    pub(super) fn operate(
        &mut self,
        model: &str,
        method: &str,
        arguments: &Arguments,
    ) -> Option<Result<Value, Exception>> {
        if model == payment::PAYMENT && !self.may_create {
            return Some(Err(payment::no_access()));
        }
        if (model, method) == (stock::QUANT, "load") {
            return Some(self.load_quants(arguments));
        }
        signature(model, method)?;
        let ids = ids(arguments.get("ids").unwrap_or(&Value::Null));
        Some(self.operate_on(model, method, &ids, arguments))
    }

    fn operate_on(
        &mut self,
        model: &str,
        method: &str,
        ids: &[i64],
        arguments: &Arguments,
    ) -> Result<Value, Exception> {
        if let Some(id) = ids.iter().find(|id| self.db.row(model, **id).is_none()) {
            return Err(Exception::missing(model, *id, self.user));
        }
        if !self.may_create && model != "ir.config_parameter" {
            let label = &self.db.table(model).model.label;
            return Err(Exception::access(format!(
                "You are not allowed to modify '{label}' ({model}) records."
            )));
        }
        match (model, method) {
            (stock::QUANT, _) => self.apply_inventory(ids),
            (payment::PAYMENT, "action_post") => self.post_payments(ids),
            (payment::PAYMENT, "action_draft") => Ok(self.reset_payments(ids)),
            (payment::PAYMENT, _) => Ok(self.cancel_payments(ids)),
            (payment::ENTRY, "action_post") => self.post_moves(ids),
            (payment::ENTRY, _) => Ok(self.reset_moves(ids)),
            _ => self.setting(arguments),
        }
    }

    /// Refuses to delete what others stand on.
    pub(super) fn check_kept(&self, model: &str, ids: &[i64]) -> Result<(), Exception> {
        match model {
            stock::QUANT => Err(stock::no_unlink()),
            payment::PAYMENT => self.check_unlink_of_payments(ids),
            payment::ENTRY => self.check_unlink_of_moves(ids),
            "res.partner" => self.check_unlink_of_payers(ids),
            _ => Ok(()),
        }
    }

    /// Whether the context sets a flag.
    pub(super) fn is_in_context(&self, flag: &str) -> bool {
        let value = self.context.get(flag).unwrap_or(&Value::Null);
        !matches!(value, Value::Null | Value::Bool(false)) && value.as_f64() != Some(0.0) && value != ""
    }
}
