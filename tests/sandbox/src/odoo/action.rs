//! The methods that belong to some models, and those of the web client.

use serde_json::{Value, json};

use super::call::Arguments;
use super::domain::Window;
use super::exception::Exception;
use super::session::Session;

type Signature = (&'static str, bool, &'static [&'static str]);

/// The models of a method (none means every one), and what it takes.
const METHODS: &[(&[&str], Signature)] = &[
    (
        &[],
        (
            "web_search_read",
            false,
            &[
                "domain!",
                "specification!",
                "offset",
                "limit",
                "order",
                "count_limit",
            ],
        ),
    ),
    (&[], ("web_read", true, &["specification!"])),
    (&["account.tax"], ("copy", true, &["default"])),
    (&["sale.order"], ("action_confirm", true, &[])),
    (&["sale.order"], ("action_cancel", true, &[])),
    (&["sale.order"], ("action_draft", true, &[])),
    (&["sale.order"], ("action_lock", true, &[])),
    (&["sale.order"], ("action_unlock", true, &[])),
    (&["stock.picking"], ("button_validate", true, &[])),
];

pub(super) fn signature(model: &str, method: &str) -> Option<&'static Signature> {
    let mut known = METHODS.iter();
    let found = known
        .find(|(models, signature)| signature.0 == method && (models.is_empty() || models.contains(&model)));
    found.map(|(_, signature)| signature)
}

impl Session<'_> {
    /// Calls one of these methods.
    pub(super) fn act(
        &mut self,
        model: &str,
        method: &str,
        ids: &[i64],
        arguments: &Arguments,
    ) -> Result<Value, Exception> {
        let none = Value::Null;
        let argument = |name: &str| arguments.get(name).unwrap_or(&none);
        if !matches!(method, "web_search_read" | "web_read")
            && let Some(missing) = ids.iter().find(|id| self.db.row(model, **id).is_none())
        {
            return Err(Exception::missing(model, *missing, self.user));
        }
        match method {
            "web_search_read" => {
                let number = |name: &str| {
                    let number = argument(name).as_u64();
                    number.and_then(|number| usize::try_from(number).ok())
                };
                let order = argument("order").as_str().map(str::to_owned);
                let all = Window {
                    order: order.clone(),
                    ..Window::default()
                };
                let found = self.search(model, argument("domain"), &all)?;
                let shown = found.iter().copied().skip(number("offset").unwrap_or_default());
                let limit = number("limit").filter(|limit| *limit > 0).unwrap_or(usize::MAX);
                let page: Vec<i64> = shown.take(limit).collect();
                let records = self.web_read(model, &page, argument("specification"))?;
                Ok(json!({"length": found.len(), "records": records}))
            }
            "web_read" => self
                .web_read(model, ids, argument("specification"))
                .map(Value::Array),
            "copy" => self.copy_tax(ids, argument("default")),
            "action_confirm" => self.confirm_orders(ids),
            "action_cancel" => self.cancel_orders(ids),
            "action_draft" => Ok(self.reopen_orders(ids)),
            "action_lock" => Ok(self.lock_orders(ids, &json!(true))),
            "action_unlock" => Ok(self.lock_orders(ids, &json!(false))),
            _ => self.validate_pickings(ids),
        }
    }
}
