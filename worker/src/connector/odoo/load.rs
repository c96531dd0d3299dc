//! `load`: the one call that writes records and their external ids, all or nothing, and what it answers.
//!
//! Source: facts/systems.md B4, facts/mapping-odoo.md §0.

use lockstep_shared::entity::Content;
use lockstep_shared::system::EntityType;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::http::cut;
use super::super::{CallError, Outcome, Parts, Reach, Refusal, Step};
use super::SYSTEM;
use super::error::{Failure, Kind, RECORD_GONE, unwell};
use super::rpc::Call;

/// All writes of a request failed for a reason that may be one of them alone: smaller requests tell which.
pub(super) const ISOLATE: &str = "isolate";

/// Another write of the same request was refused, and with it this one was rolled back.
const BATCH_REFUSED: &str = "batch_refused";

/// The column of a picture. Its cells are addresses until the request is sent.
pub(super) const PICTURE: &str = "image_1920";

/// What a planned request does: kept in [`super::super::Request::call`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Planned {
    Load(Load),
    Act(super::act::Act),
    /// There is nothing to send: the thing is as it should be, or the plan found out that it can't be.
    Settled(Vec<Settled>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Settled {
    Done {
        external_id: String,
        parts: Parts,
        /// What the remote made of it, in canonical form.
        held: Option<Held>,
    },
    Refused(Refusal),
}

/// One `load`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) model: String,
    pub(super) fields: Vec<String>,
    pub(super) rows: Vec<Row>,
    /// What each write has from it, in the order of the request's writes.
    pub(super) finishes: Vec<Finish>,
}

/// One row. A row whose cells in front are empty goes on with the record of the row before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    /// The writes that it belongs to, by their place in the request.
    pub(super) writes: Vec<usize>,
    pub(super) is_head: bool,
}

/// How a write's outcome is made of the answer. Records are counted by their head rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Finish {
    pub(super) external_id: Source,
    /// Ids of parts that were there before.
    pub(super) parts: Parts,
    /// Parts that this request makes, by the record each becomes.
    pub(super) made: Vec<(lockstep_shared::entity::PartKey, usize)>,
    pub(super) next: Option<Step>,
    /// What the remote makes of it, where that is known before.
    pub(super) held: Option<Held>,
}

/// A record as the remote holds it, in its JSON form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    entity: EntityType,
    content: Value,
}

impl Held {
    pub(super) fn new(content: &Content) -> Self {
        Self {
            entity: content.entity(),
            content: content.to_json(),
        }
    }

    pub(super) fn content(&self) -> Option<Content> {
        Content::parse(self.entity, self.content.clone()).ok()
    }
}

/// Where a thing's external id comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    Known(String),
    Record(usize),
    /// A later step makes the thing.
    Later,
}

#[derive(Debug, Deserialize)]
struct Answer {
    ids: Ids,
    #[serde(default)]
    messages: Vec<Message>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Ids {
    Loaded(Vec<i64>),
    /// `false`: everything was rolled back.
    #[expect(dead_code, reason = "its shape is what counts")]
    RolledBack(bool),
}

#[derive(Clone, Debug, Deserialize)]
struct Message {
    rows: Option<Rows>,
    #[serde(default)]
    field: Option<String>,
    /// Stands beside `field` in messages about a value that can't be converted.
    #[serde(default)]
    field_name: Option<String>,
    #[serde(default)]
    r#type: String,
    #[serde(default, rename = "message")]
    text: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Rows {
    from: usize,
    to: usize,
}

impl Message {
    fn is_error(&self) -> bool {
        self.r#type == "error"
    }

    fn names_first_row(&self) -> bool {
        self.rows.is_some_and(|rows| rows.from == 0)
    }

    /// Found before anything was written, so about the row that it names.
    fn is_conversion(&self) -> bool {
        self.field_name.is_some() || self.field.as_deref() == Some(".id")
    }

    /// The record that the row is about is not there (facts/systems.md B4).
    fn is_gone(&self) -> bool {
        self.field.as_deref() == Some(".id") && self.text.starts_with("Unknown database identifier")
    }

    /// Two transactions met. `load` does not retry these by itself, and tells them as if a row were wrong
    /// (facts/systems.md B4).
    fn is_conflict(&self) -> bool {
        let text = self.text.to_lowercase();
        ["could not serialize", "deadlock", "could not obtain lock"]
            .iter()
            .any(|sign| text.contains(sign))
    }

    /// The user may not do this at all. Not in a capture of `load`, but these are the words of the exception, and `load`
    /// repeats an exception's words.
    fn is_access(&self) -> bool {
        self.text.starts_with("You are not allowed to")
    }

    fn outcome(&self) -> Outcome {
        let message = match &self.field {
            Some(field) => format!("`{field}`: {}", self.text),
            None => self.text.clone(),
        };
        let refusal = |code: &str| Refusal {
            code: code.to_owned(),
            message: cut(&message),
        };
        if self.text.contains("Tag name already exists") {
            // Somebody else made it just now.
            return Outcome::Transient(refusal("tag_exists"));
        }
        if self.text.contains("Barcode(s) already assigned") {
            return Outcome::Taken {
                external_id: None,
                refusal: refusal("barcode_taken"),
            };
        }
        if self.is_gone() {
            return Outcome::Rejected(refusal(RECORD_GONE));
        }
        Outcome::Rejected(refusal("load_refused"))
    }
}

impl Load {
    fn picture_column(&self) -> Option<usize> {
        self.fields.iter().position(|field| field == PICTURE)
    }

    /// Says whether pictures have to be fetched before it can be sent.
    pub(super) fn brings_pictures(&self) -> bool {
        self.picture_column().is_some()
    }

    /// Returns the addresses of its pictures; each write has one row.
    pub(super) fn pictures(&self) -> impl Iterator<Item = &str> {
        let column = self.picture_column().unwrap_or_default();
        self.rows
            .iter()
            .map(move |row| row.cells.get(column).map_or("", String::as_str))
    }

    /// Puts pictures, as Odoo takes them, in the place of their addresses, and leaves the writes out that have none.
    pub(super) fn with_pictures(self, pictures: Vec<Option<String>>) -> Self {
        let column = self.picture_column().unwrap_or_default();
        let rows = self.rows.into_iter().zip(self.finishes).zip(pictures);
        let found = rows.filter_map(|((mut row, finish), picture)| {
            *row.cells.get_mut(column)? = picture?;
            Some((row, finish))
        });
        let (mut rows, finishes): (Vec<Row>, Vec<Finish>) = found.unzip();
        for (place, row) in rows.iter_mut().enumerate() {
            row.writes = vec![place];
        }
        Self {
            rows,
            finishes,
            ..self
        }
    }

    /// Makes the call, with the context of every write of ours.
    pub(super) fn call(&self, silence: &Map<String, Value>) -> Call {
        let mut context = silence.clone();
        // A `.id` column has to find archived records too.
        context.insert("active_test".to_owned(), json!(false));
        let data: Vec<&Vec<String>> = self.rows.iter().map(|row| &row.cells).collect();
        Call::new(self.model.clone(), "load")
            .arg("fields", json!(self.fields))
            .arg("data", json!(data))
            .context(Value::Object(context))
    }

    /// Reads the answer: one outcome per write.
    pub(super) fn outcomes(&self, answer: Value) -> Result<Vec<Outcome>, CallError> {
        let answer: Answer = serde_json::from_value(answer)
            .map_err(|_| unwell("its answer to `load` can't be read", Reach::InDoubt))?;
        match answer.ids {
            Ids::Loaded(ids) if ids.len() == self.rows.iter().filter(|row| row.is_head).count() => {
                Ok(self.finishes.iter().map(|finish| finish.outcome(&ids)).collect())
            }
            Ids::Loaded(ids) => {
                let detail = format!("`load` made {} records of {} rows", ids.len(), self.rows.len());
                Err(unwell(detail, Reach::InDoubt))
            }
            Ids::RolledBack(_) => self.rolled_back(&answer.messages),
        }
    }

    /// Turns an exception into outcomes where it is about the records; `load` itself tells most of these as messages.
    pub(super) fn failed(&self, failure: Failure) -> Result<Vec<Outcome>, CallError> {
        match failure {
            Failure::Fault(fault) if fault.kind() == Kind::Record => {
                let message = Message {
                    rows: None,
                    field: None,
                    field_name: None,
                    r#type: "error".to_owned(),
                    text: fault.message,
                };
                Ok(self.blame_nobody(&message))
            }
            other => Err(other.into()),
        }
    }

    fn rolled_back(&self, messages: &[Message]) -> Result<Vec<Outcome>, CallError> {
        let errors: Vec<&Message> = messages.iter().filter(|message| message.is_error()).collect();
        let Some(first) = errors.first() else {
            return Err(unwell("`load` did nothing and does not say why", Reach::NoEffect));
        };
        if let Some(denied) = errors.iter().find(|message| message.is_access()) {
            return Err(CallError::Unauthorised {
                system: SYSTEM,
                detail: cut(&denied.text),
            });
        }
        if let Some(conflict) = errors.iter().find(|message| message.is_conflict()) {
            return Ok(self.all_transient("concurrent_update", &conflict.text));
        }
        let trusted = trusted(&errors);
        let blamed = |write: usize| {
            trusted
                .iter()
                .find(|message| self.writes_of(message).any(|named| named == write))
        };
        let outcomes: Vec<Option<Outcome>> = (0..self.finishes.len())
            .map(|write| blamed(write).map(|message| message.outcome()))
            .collect();
        if outcomes.iter().all(Option::is_none) {
            return Ok(self.blame_nobody(first));
        }
        let innocent = || transient(BATCH_REFUSED, "another record of the same request was refused");
        Ok(outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(innocent))
            .collect())
    }

    fn writes_of(&self, message: &Message) -> impl Iterator<Item = usize> {
        let rows = message.rows;
        let named = rows.map_or(0..0, |rows| rows.from..rows.to.saturating_add(1));
        self.rows
            .get(named.start..named.end.min(self.rows.len()))
            .unwrap_or_default()
            .iter()
            .flat_map(|row| row.writes.iter().copied())
    }

    /// A write that went alone is to blame; of several, nobody knows which.
    fn blame_nobody(&self, message: &Message) -> Vec<Outcome> {
        if self.finishes.len() == 1 {
            return vec![message.outcome()];
        }
        self.all_transient(ISOLATE, &message.text)
    }

    fn all_transient(&self, code: &str, message: &str) -> Vec<Outcome> {
        self.finishes.iter().map(|_| transient(code, message)).collect()
    }
}

/// Picks the messages that tell the truth about their row.
///
/// Where writing all rows at once fails, Odoo tries them one by one, tells those that fail, and puts the error of the
/// whole in front as if it were about the first row (facts/mapping-odoo.md §0).
fn trusted<'a>(errors: &[&'a Message]) -> Vec<&'a Message> {
    let is_suspect = |message: &Message| message.names_first_row() && !message.is_conversion();
    let first_row_fails_again = errors.iter().filter(|message| is_suspect(message)).count() > 1;
    errors
        .iter()
        .filter(|message| first_row_fails_again || !is_suspect(message))
        .copied()
        .collect()
}

fn transient(code: &str, message: &str) -> Outcome {
    Outcome::Transient(Refusal {
        code: code.to_owned(),
        message: cut(message),
    })
}

impl Finish {
    /// Says whether something of the answer's ids is this write's own.
    pub(super) fn needs_ids(&self) -> bool {
        matches!(self.external_id, Source::Record(_)) || !self.made.is_empty()
    }

    /// `ids` has one id for every record that a finish names.
    fn outcome(&self, ids: &[i64]) -> Outcome {
        let id = |record: usize| ids.get(record).map(ToString::to_string).unwrap_or_default();
        let made = self.made.iter().map(|(key, record)| (key.clone(), id(*record)));
        Outcome::Applied {
            external_id: match &self.external_id {
                Source::Known(external_id) => external_id.clone(),
                Source::Record(record) => id(*record),
                Source::Later => String::new(),
            },
            parts: self.parts.clone().into_iter().chain(made).collect(),
            next: self.next,
            held: self.held.as_ref().and_then(Held::content),
        }
    }
}

impl Settled {
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Done {
                external_id,
                parts,
                held,
            } => Outcome::Applied {
                external_id: external_id.clone(),
                parts: parts.clone(),
                next: None,
                held: held.as_ref().and_then(Held::content),
            },
            Self::Refused(refusal) => Outcome::Rejected(refusal.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A load with one row per write.
    fn load(writes: usize) -> Load {
        Load {
            model: "res.partner".to_owned(),
            fields: vec!["id".to_owned(), "name".to_owned()],
            rows: (0..writes)
                .map(|write| Row {
                    cells: vec![format!("lockstep.c_{write}"), "A".to_owned()],
                    writes: vec![write],
                    is_head: true,
                })
                .collect(),
            finishes: (0..writes)
                .map(|write| Finish {
                    external_id: Source::Record(write),
                    parts: Parts::new(),
                    made: Vec::new(),
                    next: None,
                    held: None,
                })
                .collect(),
        }
    }

    fn told(writes: usize, answer: &str) -> Vec<String> {
        let answer = serde_json::from_str(answer).unwrap();
        let outcomes = load(writes).outcomes(answer).unwrap();
        outcomes
            .iter()
            .map(|outcome| match outcome {
                Outcome::Applied { external_id, .. } => format!("applied {external_id}"),
                Outcome::Rejected(refusal) => format!("rejected {}", refusal.message),
                Outcome::Transient(refusal) => format!("transient {}", refusal.code),
                Outcome::Taken { refusal, .. } => format!("taken {}", refusal.code),
            })
            .collect()
    }

    #[test]
    fn a_captured_success_gives_each_write_its_id() {
        assert_eq!(
            told(3, r#"{"ids": [12, 13, 14], "messages": [], "nextrow": 0}"#),
            ["applied 12", "applied 13", "applied 14"]
        );
    }

    #[test]
    fn a_captured_conversion_error_rejects_its_row_alone() {
        let answer = r#"{"ids": false, "messages": [{"rows": {"from": 1, "to": 1}, "type": "error", "record": 1, "field": "country_id", "message": "No matching record found for name 'Nowhereland' in field 'Country'", "moreinfo": {"name": "Possible Values"}, "field_name": "Country"}], "nextrow": 0}"#;

        assert_eq!(
            told(3, answer),
            [
                "transient batch_refused",
                "rejected `country_id`: No matching record found for name 'Nowhereland' in field 'Country'",
                "transient batch_refused"
            ]
        );
    }

    #[test]
    fn a_conversion_error_of_the_first_row_is_trusted() {
        let answer = r#"{"ids": false, "messages": [{"rows": {"from": 0, "to": 0}, "type": "error", "record": 0, "field": "parent_id", "message": "No matching record found for external id 'sync.missing' in field 'Related Company'", "field_name": "Related Company"}], "nextrow": 0}"#;

        assert!(told(2, answer)[0].starts_with("rejected"));
        assert_eq!(told(2, answer)[1], "transient batch_refused");
    }

    #[test]
    fn a_captured_write_error_in_front_is_not_the_first_rows() {
        let answer = r#"{"ids": false, "messages": [
            {"rows": {"from": 0, "to": 0}, "record": 0, "type": "error", "message": "Contacts require a name"},
            {"rows": {"from": 1, "to": 1}, "record": 1, "type": "error", "message": "Contacts require a name"}
        ], "nextrow": 0}"#;

        assert_eq!(
            told(2, answer),
            ["transient batch_refused", "rejected Contacts require a name"]
        );
    }

    #[test]
    fn a_lone_write_error_of_the_first_row_asks_for_smaller_requests() {
        let answer = r#"{"ids": false, "messages": [{"rows": {"from": 0, "to": 0}, "record": 0, "type": "error", "message": "Contacts require a name"}], "nextrow": 0}"#;

        assert_eq!(told(2, answer), ["transient isolate", "transient isolate"]);
        assert_eq!(told(1, answer), ["rejected Contacts require a name"]);
    }

    #[test]
    fn a_captured_barcode_that_is_taken_is_told_so() {
        let answer = r#"{"ids": false, "messages": [{"rows": {"from": 0, "to": 0}, "record": 0, "type": "error", "message": "Barcode(s) already assigned:\n\n- Barcode \"BC1795373148\" already assigned to product(s): [PPA1795373148] PP A and PP B\n\nNote: products that you don't have access to will not be shown above."}], "nextrow": 0}"#;

        assert_eq!(told(1, answer), ["taken barcode_taken"]);
    }

    #[test]
    fn a_captured_conflict_is_transient_for_all() {
        let answer = r#"{"ids": false, "messages": [{"rows": {"from": 0, "to": 0}, "record": 0, "type": "error", "message": "could not serialize access due to concurrent update\n"}, {"rows": {"from": 1, "to": 1}, "record": 1, "type": "error", "message": "could not serialize access due to concurrent update\n"}], "nextrow": 0}"#;

        assert_eq!(
            told(2, answer),
            ["transient concurrent_update", "transient concurrent_update"]
        );
    }

    #[test]
    fn the_warning_at_the_end_of_many_errors_blames_nobody() {
        let answer = r#"{"ids": false, "messages": [
            {"rows": {"from": 1, "to": 1}, "record": 1, "type": "error", "message": "Contacts require a name"},
            {"type": "warning", "message": "Found more than 10 errors and more than one error per 10 records, interrupted to avoid showing too many errors."}
        ], "nextrow": 0}"#;

        assert_eq!(
            told(2, answer),
            ["transient batch_refused", "rejected Contacts require a name"]
        );
    }

    #[test]
    fn a_user_without_rights_stops_the_batch() {
        let answer = json!({"ids": false, "messages": [{
            "rows": {"from": 0, "to": 0}, "record": 0, "type": "error",
            "message": "You are not allowed to create 'Contact' (res.partner) records."
        }]});

        let error = load(2).outcomes(answer).unwrap_err();

        assert!(matches!(error, CallError::Unauthorised { .. }), "{error}");
    }

    #[test]
    fn an_answer_of_another_size_leaves_the_writes_in_doubt() {
        let error = load(2).outcomes(json!({"ids": [7], "messages": []})).unwrap_err();

        assert!(matches!(
            error,
            CallError::Unwell {
                reach: Reach::InDoubt,
                ..
            }
        ));
    }

    #[test]
    fn a_plan_survives_its_request() {
        let planned = Planned::Load(load(2));

        let kept: Planned = serde_json::from_value(json!(planned)).unwrap();

        assert_eq!(kept, planned);
    }

    #[test]
    fn a_call_carries_fields_and_cells() {
        let silence = Map::from_iter([("tracking_disable".to_owned(), json!(true))]);

        let body = format!("{:?}", load(1).call(&silence));

        assert!(body.contains("tracking_disable"), "{body}");
    }
}
