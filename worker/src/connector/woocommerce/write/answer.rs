//! What an answer means for each write of its request.

use lockstep_shared::entity::Content;
use lockstep_shared::system::EntityType;
use serde_json::Value;

use super::super::error::{self, ItemError, Kind};
use super::Slot;
use super::customer_job::DISPUTE;
use crate::connector::{CallError, Outcome, Parts, Refusal, Step};

/// Reads what became of each write. Answers stand in the order of the request, list by list (facts/systems.md A9); one
/// that has more or fewer says nothing for sure.
pub(super) fn outcomes(slots: &[Slot], answer: &Value) -> Result<Vec<Outcome>, CallError> {
    let mut lists = Lists::of(answer);
    if slots.iter().any(|slot| matches!(slot, Slot::Prepared { .. })) {
        let terms = lists.create.as_slice();
        let outcomes = slots
            .iter()
            .map(|slot| prepared(slot, terms))
            .collect::<Option<_>>();
        return outcomes.ok_or_else(|| error::unwell("its answer does not match the request", Kind::Write));
    }
    let outcomes = slots
        .iter()
        .map(|slot| outcome(slot, &mut lists))
        .collect::<Option<Vec<_>>>();
    match outcomes {
        Some(outcomes) if lists.are_read() => Ok(outcomes),
        Some(_) | None => Err(error::unwell(
            "its answer does not match the request",
            Kind::Write,
        )),
    }
}

/// The lists of an answer, as far as they are not read.
struct Lists<'a> {
    create: std::slice::Iter<'a, Value>,
    update: std::slice::Iter<'a, Value>,
    delete: std::slice::Iter<'a, Value>,
}

impl<'a> Lists<'a> {
    fn of(answer: &'a Value) -> Self {
        let list = |name: &str| {
            let items = answer.get(name).and_then(Value::as_array);
            items.map(Vec::as_slice).unwrap_or_default().iter()
        };
        Self {
            create: list("create"),
            update: list("update"),
            delete: list("delete"),
        }
    }

    fn are_read(&self) -> bool {
        self.create.len() + self.update.len() + self.delete.len() == 0
    }
}

/// Reads what became of the categories that a product needs. One that is there already is as good; where it is, the
/// next call finds out.
fn prepared(slot: &Slot, terms: &[Value]) -> Option<Outcome> {
    let Slot::Prepared {
        external_id,
        parts,
        terms: places,
        next,
    } = slot
    else {
        return None;
    };
    for place in places {
        match written(terms.get(*place)?)? {
            Ok(_) => {}
            Err(error) if error.refusal.code == "term_exists" => {}
            Err(error) => return Some(error.outcome()),
        }
    }
    Some(Outcome::Applied {
        external_id: external_id.clone(),
        parts: parts.clone(),
        next: Some(*next),
        held: None,
    })
}

/// Reads the outcome of one write; `None` where the answer has none.
fn outcome(slot: &Slot, lists: &mut Lists<'_>) -> Option<Outcome> {
    let applied = |external_id: &str, parts: &Parts, next: Option<Step>| Outcome::Applied {
        external_id: external_id.to_owned(),
        parts: parts.clone(),
        next,
        held: None,
    };
    Some(match slot {
        Slot::Refused(refusal) => Outcome::Rejected(refusal.clone()),
        Slot::Done { external_id, parts } => applied(external_id, parts, None),
        Slot::Prepared { .. } => return None,
        Slot::Created { next, held } => match written(lists.create.next()?)? {
            Ok(id) => holding(applied(&id, &Parts::new(), *next), held.as_ref()),
            Err(error) => error.outcome(),
        },
        Slot::Updated {
            external_id,
            parts,
            next,
            held,
        } => match written(lists.update.next()?)? {
            Ok(_) => holding(applied(external_id, parts, *next), held.as_ref()),
            Err(error) => error.outcome(),
        },
        Slot::Gone { holder, refusal } => Outcome::Taken {
            external_id: holder.clone(),
            refusal: refusal.clone(),
        },
        Slot::Addressed { external_id } => match written(lists.update.next()?)? {
            Ok(_) => applied(external_id, &Parts::new(), None),
            Err(error) if error.is_unfit_email() => applied(external_id, &Parts::new(), Some(DISPUTE)),
            Err(error) => error.outcome(),
        },
        Slot::Yielded { holder, refusal } => match written(lists.delete.next()?)? {
            Err(error) if !error.is_missing() => error.outcome(),
            Ok(_) | Err(_) => Outcome::Taken {
                external_id: holder.clone(),
                refusal: refusal.clone(),
            },
        },
        Slot::Trashed { external_id } => gone(external_id, written(lists.update.next()?)?),
        Slot::Deleted { external_id } => gone(external_id, written(lists.delete.next()?)?),
        Slot::Varied {
            external_id,
            parts,
            created,
            updated,
            next,
        } => {
            let mut parts = parts.clone();
            let mut errors = Vec::new();
            for key in created {
                match written(lists.create.next()?)? {
                    Ok(id) => {
                        parts.insert(key.clone(), id);
                    }
                    Err(error) => errors.push((key.to_string(), error)),
                }
            }
            for _ in 0..*updated {
                let item = lists.update.next()?;
                if let Err(error) = written(item)? {
                    errors.push((format!("id {}", item.get("id").unwrap_or(&Value::Null)), error));
                }
            }
            match varied(errors) {
                None => applied(external_id, &parts, *next),
                Some(failure) => failure,
            }
        }
    })
}

/// Adds what the store holds of a thing.
fn holding(outcome: Outcome, content: Option<&Value>) -> Outcome {
    match outcome {
        Outcome::Applied {
            external_id,
            parts,
            next,
            held: None,
        } => Outcome::Applied {
            external_id,
            parts,
            next,
            held: content.and_then(|json| Content::parse(EntityType::Products, json.clone()).ok()),
        },
        other => other,
    }
}

/// Reads the id of a written item, or why it was not written; `None` where the answer says neither.
fn written(item: &Value) -> Option<Result<String, ItemError>> {
    if let Some(error) = error::of_item(item) {
        return Some(Err(error));
    }
    let id = item.get("id").and_then(Value::as_u64).filter(|id| *id > 0)?;
    Some(Ok(id.to_string()))
}

/// What is not there any more is gone already.
fn gone(external_id: &str, written: Result<String, ItemError>) -> Outcome {
    match written {
        Err(error) if !error.is_missing() => error.outcome(),
        Ok(_) | Err(_) => Outcome::Applied {
            external_id: external_id.to_owned(),
            parts: Parts::new(),
            next: None,
            held: None,
        },
    }
}

/// Puts the failures of a product's variations together. The product itself is there, so a value in use is no reason to
/// look for another product: it is refused. The ones that were written stay, and are found by the next try.
fn varied(errors: Vec<(String, ItemError)>) -> Option<Outcome> {
    let mut transient = None;
    for (variant, error) in errors {
        match error.outcome() {
            Outcome::Transient(refusal) => transient = Some(Outcome::Transient(named(&variant, refusal))),
            Outcome::Rejected(refusal) | Outcome::Taken { refusal, .. } => {
                return Some(Outcome::Rejected(named(&variant, refusal)));
            }
            Outcome::Applied { .. } => {}
        }
    }
    transient
}

fn named(variant: &str, refusal: Refusal) -> Refusal {
    Refusal {
        message: format!("variant `{variant}`: {}", refusal.message),
        code: refusal.code,
    }
}
