//! Calls of methods other than `load`: those that do something with records that are there.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::http::cut;
use super::super::{CallError, Outcome, Parts, Reach, Refusal, Step};
use super::error::{Failure, Kind, RECORD_GONE, unwell};
use super::load::{Held, ISOLATE, Source};
use super::rpc::Call;
use lockstep_shared::entity::PartKey;

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Method {
    ConfirmOrders,
    CancelOrders,
    /// Makes drafts of orders that were cancelled.
    RestoreOrders,
    RemoveLines,
    /// Copies the company's tax for another rate: a tax that is made anew has no account (facts/mapping-odoo.md §3).
    CopyTax {
        name: String,
        amount: String,
        /// Whether the copied one is included in prices; ours never is.
        was_included: bool,
    },
    PostPayments,
    /// Notes what was counted of products.
    Count,
    /// Takes over what was counted.
    ApplyCount,
}

impl Method {
    const fn model(&self) -> &'static str {
        match self {
            Self::ConfirmOrders | Self::CancelOrders | Self::RestoreOrders => "sale.order",
            Self::RemoveLines => "sale.order.line",
            Self::CopyTax { .. } => "account.tax",
            Self::PostPayments => "account.payment",
            Self::Count | Self::ApplyCount => "stock.quant",
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::ConfirmOrders => "action_confirm",
            Self::CancelOrders => "action_cancel",
            Self::RestoreOrders => "action_draft",
            Self::RemoveLines => "unlink",
            Self::CopyTax { .. } => "copy",
            Self::PostPayments => "action_post",
            Self::Count => "create",
            Self::ApplyCount => "action_apply_inventory",
        }
    }

    /// What the context says beside what it says for every write.
    fn context(&self) -> Option<(&'static str, Value)> {
        match self {
            // Version 17 asks back in a dialogue otherwise.
            Self::CancelOrders => Some(("disable_cancel_warning", json!(true))),
            // Without it a second quant is made beside the one that is there (facts/systems.md B7).
            Self::Count => Some(("inventory_mode", json!(true))),
            Self::ApplyCount => Some(("inventory_name", json!("Lockstep"))),
            Self::ConfirmOrders
            | Self::RestoreOrders
            | Self::RemoveLines
            | Self::CopyTax { .. }
            | Self::PostPayments => None,
        }
    }
}

/// One call of a method for several writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Act {
    pub(super) method: Method,
    pub(super) ids: Vec<i64>,
    /// What a `create` makes, one after the other.
    pub(super) values: Vec<Value>,
    /// What each write has from it, in the order of the request's writes.
    pub(super) ends: Vec<End>,
}

/// What a write has of a call that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) external_id: Source,
    pub(super) parts: Parts,
    /// The part that the record becomes that a `create` makes for it.
    pub(super) made: Option<PartKey>,
    pub(super) next: Option<Step>,
    pub(super) held: Option<Held>,
}

/// What one write puts into a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ActDraft {
    pub(super) method: Method,
    pub(super) ids: Vec<i64>,
    pub(super) value: Option<Value>,
    pub(super) end: End,
}

impl Act {
    pub(super) fn of(method: Method, drafts: Vec<ActDraft>) -> Self {
        let mut act = Self {
            method,
            ids: Vec::new(),
            values: Vec::new(),
            ends: Vec::new(),
        };
        for draft in drafts {
            for id in draft.ids {
                // A call with an id twice would do it twice.
                if !act.ids.contains(&id) {
                    act.ids.push(id);
                }
            }
            act.values.extend(draft.value);
            act.ends.push(draft.end);
        }
        act
    }

    pub(super) fn call(&self, silence: &Map<String, Value>) -> Call {
        let mut context = silence.clone();
        context.extend(
            self.method
                .context()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        let call = Call::new(self.method.model(), self.method.name());
        let call = match &self.method {
            Method::Count => call.arg("vals_list", json!(self.values)),
            Method::CopyTax {
                name,
                amount,
                was_included,
            } => {
                let amount: f64 = amount.parse().unwrap_or_default();
                let mut default = json!({"name": name, "amount": amount});
                if *was_included {
                    default["price_include_override"] = json!("tax_excluded");
                }
                call.ids(self.ids.clone()).option("default", default)
            }
            _ => call.ids(self.ids.clone()),
        };
        call.context(Value::Object(context))
    }

    /// Reads the answer. A method that returns nothing has succeeded; one that returns a dialogue has done nothing.
    pub(super) fn outcomes(&self, answer: &Value) -> Result<Vec<Outcome>, CallError> {
        if answer.is_object() {
            return Ok(self.ends.iter().map(|_| self.asked_back()).collect());
        }
        let ids: Vec<i64> = answer
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_i64)
            .collect();
        if self.method == Method::Count && ids.len() != self.ends.len() {
            return Err(unwell(
                "it noted another number of counts than were sent",
                Reach::InDoubt,
            ));
        }
        let outcomes = self.ends.iter().enumerate().map(|(place, end)| {
            let made = end
                .made
                .clone()
                .zip(ids.get(place))
                .map(|(key, id)| (key, id.to_string()));
            Outcome::Applied {
                external_id: match &end.external_id {
                    Source::Known(external_id) => external_id.clone(),
                    Source::Record(_) | Source::Later => String::new(),
                },
                parts: end.parts.clone().into_iter().chain(made).collect(),
                next: end.next,
                held: end.held.as_ref().and_then(Held::content),
            }
        });
        Ok(outcomes.collect())
    }

    fn asked_back(&self) -> Outcome {
        if self.method == Method::ApplyCount {
            // Something moved since it was counted (facts/mapping-odoo.md §5).
            return Outcome::Transient(Refusal {
                code: "stock_moved".to_owned(),
                message: "stock was moved while it was being set".to_owned(),
            });
        }
        Outcome::Rejected(Refusal {
            code: "asked_back".to_owned(),
            message: format!("Odoo wants a person to decide about `{}`", self.method.name()),
        })
    }

    /// Turns an exception into outcomes where it is about the records.
    pub(super) fn failed(&self, failure: Failure) -> Result<Vec<Outcome>, CallError> {
        match failure {
            Failure::Fault(fault) if fault.kind() == Kind::Record => {
                let code = if fault.is_gone() { RECORD_GONE } else { "refused" };
                Ok(self.all_refused(code, &fault.message))
            }
            Failure::Fault(fault)
                if fault.kind() == Kind::Access && matches!(self.method, Method::CopyTax { .. }) =>
            {
                let message = "Odoo has no tax for this rate, and its user may not make one: it needs the right \
                               `account.group_account_manager`, or add the tax there";
                let refusal = Refusal {
                    code: "right_missing".to_owned(),
                    message: message.to_owned(),
                };
                Ok(self
                    .ends
                    .iter()
                    .map(|_| Outcome::Rejected(refusal.clone()))
                    .collect())
            }
            other => Err(other.into()),
        }
    }

    /// A write that went alone is to blame; of several, nobody knows which.
    fn all_refused(&self, code: &str, message: &str) -> Vec<Outcome> {
        let refusal = |code: &str| Refusal {
            code: code.to_owned(),
            message: cut(message),
        };
        match self.ends.len() {
            1 => vec![Outcome::Rejected(refusal(code))],
            several => (0..several)
                .map(|_| Outcome::Transient(refusal(ISOLATE)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::Fault;
    use super::*;

    fn act(method: &Method, writes: i64) -> Act {
        let drafts = (1..=writes).map(|id| ActDraft {
            method: method.clone(),
            ids: vec![id],
            value: None,
            end: End {
                external_id: Source::Known(id.to_string()),
                parts: Parts::new(),
                made: None,
                next: None,
                held: None,
            },
        });
        Act::of(method.clone(), drafts.collect())
    }

    fn fault(name: &str) -> Failure {
        Failure::Fault(Fault {
            name: format!("odoo.exceptions.{name}"),
            message: "Some orders are not in a state requiring confirmation.".to_owned(),
        })
    }

    #[test]
    fn nothing_and_true_are_success() {
        for answer in [json!(null), json!(true)] {
            let outcomes = act(&Method::ConfirmOrders, 2).outcomes(&answer).unwrap();

            assert!(matches!(&outcomes[1], Outcome::Applied { external_id, .. } if external_id == "2"));
        }
    }

    #[test]
    fn a_dialogue_is_no_success() {
        let dialogue = json!({"type": "ir.actions.act_window", "res_model": "stock.inventory.conflict"});
        let told = |method: &Method| act(method, 1).outcomes(&dialogue).unwrap().remove(0);

        assert!(matches!(told(&Method::ApplyCount), Outcome::Transient(_)));
        assert!(matches!(told(&Method::CancelOrders), Outcome::Rejected(_)));
    }

    #[test]
    fn nobody_is_blamed_before_it_stood_alone() {
        let told = |writes| {
            act(&Method::ConfirmOrders, writes)
                .failed(fault("UserError"))
                .unwrap()
        };

        assert!(matches!(&told(2)[0], Outcome::Transient(refusal) if refusal.code == ISOLATE));
        assert!(matches!(&told(1)[0], Outcome::Rejected(_)));
    }

    #[test]
    fn a_right_that_is_missing_is_named() {
        let copy = Method::CopyTax {
            name: "Lockstep 7%".to_owned(),
            amount: "7".to_owned(),
            was_included: false,
        };

        let outcomes = act(&copy, 1).failed(fault("AccessError")).unwrap();

        assert!(
            matches!(&outcomes[0], Outcome::Rejected(refusal) if refusal.message.contains("account_manager"))
        );
    }

    #[test]
    fn counts_are_known_by_their_places() {
        let mut counts = act(&Method::Count, 2);
        for end in &mut counts.ends {
            end.made = Some(PartKey::named("quant"));
        }

        let outcomes = counts.outcomes(&json!([31, 32])).unwrap();

        let Outcome::Applied { parts, .. } = &outcomes[1] else {
            panic!("applied")
        };
        assert_eq!(parts[&PartKey::named("quant")], "32");
        assert!(counts.outcomes(&json!([31])).is_err());
    }
}
