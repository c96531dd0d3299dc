//! What an answer means for each of the orders that a request carried. Pure.

use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{Content, Order};
use lockstep_shared::system::{EntityType, System};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::error::{self, Kind};
use super::super::reference;
use super::{read, total, wire};
use crate::connector::http::cut;
use crate::connector::{CallError, Outcome, Parts, Refusal, Step, Write};

/// Where a write stands in a batch, and what it comes to when it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Slot {
    /// Not sent: it can't be done.
    Refused(Refusal),
    /// Not sent: there is nothing to do, or nothing that can be done. What the store holds, where that is not what was
    /// to be written.
    Done {
        external_id: String,
        held: Option<Value>,
    },
    /// The next of `create`.
    Drafted { next: Step },
    /// The next few of `update`, all about one order.
    Changed {
        external_id: String,
        entries: usize,
        next: Option<Step>,
        /// What its total must be still, where the order is the store's own.
        total: Option<String>,
    },
    /// The next few of `update`, which place a draft.
    Placed {
        external_id: String,
        entries: usize,
        /// The step that makes the draft anew where it is gone.
        again: Step,
    },
    /// The next few of `update`, which cancel it.
    Cancelled { external_id: String, entries: usize },
}

/// Reads what became of each write; an answer with more or fewer items than were sent says nothing for sure.
pub(super) fn outcomes(
    writes: &[Write],
    slots: &[Slot],
    answer: &Value,
    settings: &Settings,
) -> Result<Vec<Outcome>, CallError> {
    let list = |name: &str| {
        let items = answer.get(name).and_then(Value::as_array);
        items.map(Vec::as_slice).unwrap_or_default().iter()
    };
    let mut lists = (list("create"), list("update"));
    let outcomes: Option<Vec<Outcome>> = writes
        .iter()
        .zip(slots)
        .map(|(write, slot)| {
            let items: Vec<&Value> = match slot {
                Slot::Refused(_) | Slot::Done { .. } => Vec::new(),
                Slot::Drafted { .. } => vec![lists.0.next()?],
                Slot::Changed { entries, .. }
                | Slot::Placed { entries, .. }
                | Slot::Cancelled { entries, .. } => {
                    (0..*entries).map(|_| lists.1.next()).collect::<Option<_>>()?
                }
            };
            outcome(write, slot, &items, settings)
        })
        .collect();
    match outcomes {
        Some(outcomes) if lists.0.len() + lists.1.len() == 0 => Ok(outcomes),
        Some(_) | None => Err(error::unwell(
            "its answer does not match the request",
            Kind::Write,
        )),
    }
}

/// Reads the outcome of one write; `None` where the answer says neither that it was written nor why not.
fn outcome(write: &Write, slot: &Slot, items: &[&Value], settings: &Settings) -> Option<Outcome> {
    let applied = |external_id: &str, next: Option<Step>| Outcome::Applied {
        external_id: external_id.to_owned(),
        parts: Parts::new(),
        next,
        held: None,
    };
    let failed = items.iter().find_map(|item| error::of_item(item));
    Some(match (slot, failed) {
        (Slot::Refused(refusal), _) => Outcome::Rejected(refusal.clone()),
        (Slot::Done { external_id, held }, _) => Outcome::Applied {
            external_id: external_id.clone(),
            parts: Parts::new(),
            next: None,
            held: held
                .clone()
                .and_then(|held| Content::parse(EntityType::Orders, held).ok()),
        },
        (Slot::Cancelled { external_id, .. }, None) => applied(external_id, None),
        (Slot::Cancelled { external_id, .. }, Some(error)) if error.is_missing() => {
            applied(external_id, None)
        }
        // The draft lay too long and was dropped.
        (
            Slot::Placed {
                external_id, again, ..
            },
            Some(error),
        ) if error.is_missing() => applied(external_id, Some(*again)),
        (_, Some(error)) => error.outcome(),
        (Slot::Drafted { next }, None) => written(write, items, (Some(*next), None), settings)?,
        (Slot::Changed { next, total, .. }, None) => {
            written(write, items, (*next, total.as_deref()), settings)?
        }
        (Slot::Placed { .. }, None) => written(write, items, (None, None), settings)?,
    })
}

/// Reads an order as it is after the last change of it. Its sum must be what was agreed, to the cent.
fn written(
    write: &Write,
    items: &[&Value],
    (next, before): (Option<Step>, Option<&str>),
    settings: &Settings,
) -> Option<Outcome> {
    let Content::Order(sent) = &write.content else {
        return None;
    };
    let order: wire::Order = serde_json::from_value((*items.last()?).clone()).ok()?;
    if order.id == 0 {
        return None;
    }
    if let Some(refusal) = total_differs(sent, &order, before) {
        return Some(Outcome::Rejected(refusal));
    }
    let theirs = read::theirs(&order, settings);
    let held = theirs
        .content
        .ok()
        .filter(|_| next.is_none())
        .and_then(|content| reference::held(write, content));
    Some(Outcome::Applied {
        external_id: theirs.external_id,
        parts: theirs.parts,
        next,
        held,
    })
}

/// Compares what the store makes of an order with what it should be: the total that was sent, or of the store's own
/// order the one that it had.
fn total_differs(sent: &Order, order: &wire::Order, before: Option<&str>) -> Option<Refusal> {
    let theirs = total::read(&order.total);
    let expected = match before {
        Some(before) => total::read(before)?,
        None if sent.origin == Some(System::Woocommerce) => return None,
        None => total::rounded(sent.total, sent.currency),
    };
    if theirs == Some(expected) {
        return None;
    }
    let mut message = format!(
        "the store makes `{}` of order `{}`, whose total is `{expected}`",
        order.total, sent.number
    );
    let lines = order.lines().collect::<Vec<_>>();
    for line in &sent.lines {
        let (_, total) = total::of_line(line, sent.currency);
        let kept = lines.iter().find(|(_, kept)| kept.key() == line.key.as_str());
        let kept = kept.map_or("nothing", |(_, kept)| kept.total.as_str());
        if before.is_none() && total::read(kept) != Some(total) {
            message = format!("{message}; of line `{}`, `{total}`, it makes `{kept}`", line.key);
        }
    }
    Some(Refusal {
        code: "total_differs".to_owned(),
        message: cut(&message),
    })
}
