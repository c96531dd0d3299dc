//! The history of a record, and for each connection the answer to "why is this not there?" (R56).

use chrono::{DateTime, Utc};
use lockstep_shared::history::{self, After, What};
use lockstep_shared::id::RecordId;
use lockstep_shared::system::Direction;
use lockstep_shared::{check, record};
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Any;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::auth::Authenticated;
use crate::connections::SystemName;
use crate::document::Tag;
use crate::page;
use crate::problem::{Refused, failed};
use crate::records::ItemState;
use crate::syncs::EntityType;

/// What happened to a record. `created` and `changed`: here, the first and the last time. `asked`: somebody did something
/// through the API. `sent`, `applied`, `rejected`, `in_doubt`: a request to a system, and what became of it. `synced`: both
/// sides agreed, the last time. `vanished`: it was deleted there. `conflict_opened`, `conflict_closed`: something that had to
/// be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Serialize, Deserialize)]
#[oai(rename_all = "snake_case", remote = "What")]
#[serde(rename_all = "snake_case")]
pub(crate) enum HistoryEventKind {
    Created,
    Changed,
    Asked,
    Sent,
    Applied,
    Rejected,
    InDoubt,
    Synced,
    Vanished,
    ConflictOpened,
    ConflictClosed,
}

/// One thing that happened to a record.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct HistoryEvent {
    /// When it happened.
    at: DateTime<Utc>,
    /// What happened.
    kind: HistoryEventKind,
    /// The connection that it was about, where it was about one.
    connection_id: Option<Uuid>,
    /// The sync that it happened in, where it did in one.
    sync_id: Option<Uuid>,
    /// Who did it, where a person did.
    actor: Option<String>,
    /// What else is known of it: the operation, the identifier there, the system's own words.
    details: Any<Value>,
}

/// How a record stands with a connection, and why.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct RecordStanding {
    /// Identifier of the connection.
    connection_id: Uuid,
    /// What kind of system it is.
    system: SystemName,
    /// Name of the connection.
    name: String,
    /// Where the record stands there; left out where the connection has never looked at it.
    state: Option<ItemState>,
    /// Identifier of the record in that system, once it is known.
    external_id: Option<String>,
    /// Whether the system has it as it is here.
    in_step: bool,
    /// One sentence for people: why the record is there, or why it is not.
    answer: String,
}

/// A page of a record's history.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct RecordHistory {
    /// Identifier of the record.
    record_id: Uuid,
    /// Its type.
    entity_type: EntityType,
    /// How it stands now with each connection.
    connections: Vec<RecordStanding>,
    /// What happened, oldest first.
    items: Vec<HistoryEvent>,
    /// Where the next page starts; left out on the last one.
    next_cursor: Option<String>,
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Found {
    /// A page of the history.
    #[oai(status = 200, content_type = "application/json")]
    Page(Json<RecordHistory>),
}

impl From<history::Event> for HistoryEvent {
    fn from(event: history::Event) -> Self {
        Self {
            at: event.at,
            kind: event.what.into(),
            connection_id: event.connection.map(|id| id.0),
            sync_id: event.sync.map(|id| id.0),
            actor: event.actor,
            details: Any(event.details),
        }
    }
}

pub(crate) struct Histories;

#[OpenApi(prefix_path = "/api/v1/history", tag = "Tag::Records")]
impl Histories {
    /// Get a record's history
    ///
    /// Returns how a record of any type stands with each connection, with a sentence that says why it is there or why not,
    /// and everything that is known to have happened to it, oldest first, a page at a time.
    #[oai(path = "/:recordId", method = "get", operation_id = "getRecordHistory")]
    async fn get(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the record.
        #[oai(name = "recordId")]
        Path(record_id): Path<Uuid>,
        /// Where to go on: the `nextCursor` of the page before.
        Query(cursor): Query<Option<String>>,
        /// Most events on the page, 50 where it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        Query(limit): Query<Option<i32>>,
    ) -> Result<Found, Refused> {
        let (org, id) = (session.org(), RecordId(record_id));
        let after: Option<(DateTime<Utc>, HistoryEventKind, Uuid)> = page::decode(cursor.as_deref())?;
        let after = after.map(|(at, what, id)| After {
            at,
            what: what.into(),
            id,
        });
        let limit = page::rows_for(limit);
        let mut tx = session.begin().await?;
        let record = record::find(&mut tx, org, id)
            .await
            .map_err(failed("could not read a record"))?
            .ok_or_else(|| Refused::not_found("there is no such record"))?;
        let standing = history::standing(&mut tx, org, id)
            .await
            .map_err(failed("could not read how connections see a record"))?;
        let checks = check::list(&mut tx, org)
            .await
            .map_err(failed("could not read the checks"))?;
        let mut events = history::events(&mut tx, org, id, after, limit)
            .await
            .map_err(failed("could not read a record's history"))?;
        let next_cursor = page::cut(&mut events, limit, |last| {
            (last.at, HistoryEventKind::from(last.what), last.id)
        });
        let entity = record.entity_type;
        let connections = standing.into_iter().map(|standing| {
            let check = checks
                .iter()
                .find(|check| check.connection_id == standing.connection);
            let stopper = check.and_then(|check| check.stopper(entity, Direction::Push));
            let words = stopper.map(check::Finding::words);
            let answer = history::answer(&standing.situation(entity, words.as_deref()));
            RecordStanding {
                connection_id: standing.connection.0,
                system: standing.system.into(),
                name: standing.name,
                state: standing.state.map(ItemState::from),
                external_id: standing.external_id,
                in_step: answer.is_in_step,
                answer: answer.sentence,
            }
        });
        Ok(Found::Page(Json(RecordHistory {
            record_id,
            entity_type: entity.into(),
            connections: connections.collect(),
            items: events.into_iter().map(HistoryEvent::from).collect(),
            next_cursor,
        })))
    }
}
