//! Conflicts: what a rule or a person has to decide, as it is shown, and people's answers. An answer is only written down
//! here, with its bell; a worker applies it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, Utc};
use lockstep_shared::activity::Outcome;
use lockstep_shared::conflict::view::{self, After, Filter, Span, Step, View};
use lockstep_shared::conflict::{self, ConflictType as CanonicalType};
use lockstep_shared::connection::{self, Status as ConnectionStatus};
use lockstep_shared::db::{self, OrgTx};
use lockstep_shared::entity::Content;
use lockstep_shared::id::{ConflictId, ConnectionId, RecordId, SyncId};
use lockstep_shared::resolution::{self, Action, Locked, NewResolution, Occasion};
use lockstep_shared::strategy::{self, Strategy as CanonicalStrategy, Subject};
use lockstep_shared::sync::{self, NewSync};
use lockstep_shared::system::{EntityType as CanonicalEntityType, System};
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::{Any, Example};
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::{Authenticated, Session, commit};
use crate::body::{self, Body, FromBody, present, wrong_fields};
use crate::conditional;
use crate::connections::SystemName;
use crate::customers::Customer;
use crate::document::Tag;
use crate::inventory::InventoryLevel;
use crate::orders::Order;
use crate::page;
use crate::payments::Payment;
use crate::problem::{Kind, Refused, WrongField, camel_case, failed};
use crate::products::Product;
use crate::records::Shown;
use crate::references::{Named, Standing};
use crate::syncs::{EntityType, not_started};

/// Most conflicts that one request may answer.
const BULK_LIMIT: i64 = 1_000;

/// Most conflicts that are told with a sync.
const OF_SYNC_LIMIT: i64 = 200;

/// What statistics are about where the caller does not say.
const USUAL_SPAN: Duration = Duration::days(30);
const LONGEST_SPAN: Duration = Duration::days(366);
/// How far back the trend goes by the hour.
const HOURLY_SPAN: Duration = Duration::days(7);

/// What kind of disagreement it is. `DataMismatch`: both sides changed the same, and nobody owns it. `DuplicateKey`: another
/// thing has the key. `ValidationError`: a side can't take what the other holds. `AuthError`: the system refuses the
/// credentials. `RetryExhausted`: it was tried often enough; one that names `fields` is a mismatch, and answered like one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Deserialize)]
#[oai(remote = "CanonicalType")]
pub(crate) enum ConflictType {
    DataMismatch,
    DuplicateKey,
    ValidationError,
    AuthError,
    RetryExhausted,
}

/// How a conflict is gone about. `AutoRetry`: both sides are looked at again by themselves. `Manual`: a person decides.
/// `Skip`: the record is left as it is there until something about it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Deserialize)]
#[oai(remote = "CanonicalStrategy")]
pub(crate) enum ConflictStrategy {
    AutoRetry,
    Manual,
    Skip,
}

/// Where a conflict stands. `resolving`: it was answered, and no worker has applied the answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase", remote = "view::State")]
pub(crate) enum ConflictState {
    Open,
    Resolving,
    Resolved,
}

/// An answer to a conflict. `accept`: the proposed record is sent, or ours where none is proposed; what is no mismatch is
/// tried again as it is. `reject`: the system keeps what it holds. `custom`: a given record is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename_all = "lowercase", remote = "Action")]
#[serde(rename_all = "lowercase")]
pub(crate) enum Resolution {
    Accept,
    Reject,
    Custom,
}

/// When an answer is carried. `running`: by a sync that is running and has not come past it, else by the next one. `next`:
/// by the next sync. `now`: by a sync of its own, which counts as an active one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename_all = "lowercase", remote = "Occasion")]
#[serde(rename_all = "lowercase")]
pub(crate) enum ResolveWhen {
    Running,
    Next,
    Now,
}

/// How a conflict was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(crate) enum ClosedBy {
    Accept,
    Reject,
    Custom,
    /// Both sides came to agree, or what was wrong is not any more.
    SolvedItself,
}

impl ClosedBy {
    fn of(action: &str) -> Option<Self> {
        match action {
            "accept" => Some(Self::Accept),
            "reject" => Some(Self::Reject),
            "custom" => Some(Self::Custom),
            "solved_itself" => Some(Self::SolvedItself),
            _ => None,
        }
    }
}

/// A person's answer.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct ConflictAnswer {
    /// What was answered.
    resolution: Resolution,
    /// When it was to be carried.
    when: ResolveWhen,
    /// Who answered.
    answered_by: String,
    /// When it was answered.
    answered_at: DateTime<Utc>,
    /// When a worker applied it.
    applied_at: Option<DateTime<Utc>>,
    /// What became of it.
    outcome: Option<String>,
    /// The sync that carries it, where that is known.
    sync_id: Option<Uuid>,
}

impl From<view::Answer> for ConflictAnswer {
    fn from(answer: view::Answer) -> Self {
        Self {
            resolution: answer.action.into(),
            when: answer.occasion.into(),
            answered_by: answer.requested_by,
            answered_at: answer.requested_at,
            applied_at: answer.applied_at,
            outcome: answer.outcome,
            sync_id: answer.sync_id.map(|id| id.0),
        }
    }
}

/// Something that a rule or a person has to decide.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
#[expect(
    clippy::struct_field_names,
    reason = "identifiers say of what, everywhere in the API, and `type` is a word of Rust's"
)]
pub(crate) struct Conflict {
    /// Identifier of the conflict.
    conflict_id: Uuid,
    /// The sync that found it.
    sync_id: Option<Uuid>,
    /// Identifier of the connection that it is about.
    connection_id: Uuid,
    /// What kind of system that is.
    system: SystemName,
    /// Type of the record.
    entity_type: EntityType,
    /// Identifier of the record; left out where it is about the connection, or about a thing of the system that has none.
    record_id: Option<Uuid>,
    /// What kind of disagreement it is.
    #[oai(rename = "type")]
    conflict_type: ConflictType,
    /// How it is gone about.
    strategy: ConflictStrategy,
    /// Where it stands.
    state: ConflictState,
    /// How often it was tried again in the sync that looked at it last.
    retries: i32,
    /// When it is tried again.
    next_retry_at: Option<DateTime<Utc>>,
    /// What is the matter, in the system's own words where it refused something.
    reason: String,
    /// What a person can do about it.
    next: String,
    /// The fields that it is about, by their paths.
    fields: Vec<String>,
    /// What both sides held when they agreed last, as the system can hold it.
    base: Option<Any<Value>>,
    /// What our record says, as the system can hold it.
    ours: Option<Any<Value>>,
    /// What the system holds.
    theirs: Option<Any<Value>>,
    /// What `accept` sends: what only one side changed is taken from it, ours where both did.
    proposed: Option<Any<Value>>,
    /// Identifier of the thing in the system.
    external_id: Option<String>,
    /// What else is known about it, such as the system's error code.
    details: Option<Any<Value>>,
    /// Moves on with everything that changes about it. It is the `ETag`, which `If-Match` compares.
    version: i64,
    /// When it was found.
    created_at: DateTime<Utc>,
    /// When it was found again last, or closed.
    updated_at: DateTime<Utc>,
    /// When it was closed.
    resolved_at: Option<DateTime<Utc>>,
    /// How it was closed.
    closed_by: Option<ClosedBy>,
    /// What our record said from then on.
    resolved_data: Option<Any<Value>>,
    /// What a person answered.
    answer: Option<ConflictAnswer>,
}

/// What is shown of a conflict's data by a name of its own, and so not among its details.
const SHOWN: [&str; 8] = [
    "reason",
    "next",
    "fields",
    "base",
    "ours",
    "theirs",
    "proposed",
    "externalId",
];

impl From<View> for Conflict {
    fn from(view: View) -> Self {
        let data = &view.data;
        let text = |name: &str| data.get(name).and_then(Value::as_str).map(str::to_owned);
        let content = |json: Option<&Value>| shown(view.entity_type, json);
        let fields = data.get("fields").and_then(Value::as_array);
        let details: serde_json::Map<String, Value> = data
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, value)| !SHOWN.contains(&name.as_str()) && !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let subject = match view.record_id {
            Some(_) => Subject::Item,
            None => Subject::Connection,
        };
        let code = data.get("code").and_then(Value::as_str);
        let advice =
            || strategy::advice(view.conflict_type.matter(data), view.strategy, code, subject).to_owned();
        Self {
            conflict_id: view.conflict_id.0,
            sync_id: view.sync_id.map(|id| id.0),
            connection_id: view.connection_id.0,
            system: view.system.into(),
            entity_type: view.entity_type.into(),
            record_id: view.record_id.map(|id| id.0),
            conflict_type: view.conflict_type.into(),
            strategy: view.strategy.into(),
            state: view.state.into(),
            retries: view.retries,
            next_retry_at: view.next_retry_at,
            reason: text("reason").unwrap_or_default(),
            next: text("next").unwrap_or_else(advice),
            fields: fields
                .into_iter()
                .flatten()
                .filter_map(|field| field.as_str().map(camel_case))
                .collect(),
            base: content(data.get("base")),
            ours: content(data.get("ours")),
            theirs: content(data.get("theirs")),
            proposed: content(data.get("proposed")),
            external_id: text("externalId"),
            details: (!details.is_empty()).then_some(Any(Value::Object(details))),
            version: view.version,
            created_at: view.created_at,
            updated_at: view.updated_at,
            resolved_at: view.resolved_at,
            closed_by: view.resolution_action.as_deref().and_then(ClosedBy::of),
            resolved_data: content(view.resolved_data.as_ref()),
            answer: view.answer.map(ConflictAnswer::from),
        }
    }
}

/// Shows a record that was stored with a conflict in the names of the API; `None` where there is none that can be read.
fn shown(entity: CanonicalEntityType, json: Option<&Value>) -> Option<Any<Value>> {
    fn of<T: Shown>(content: Content) -> Option<Value> {
        T::of_content(content)?.to_json()
    }
    let content = Content::parse(entity, json.filter(|json| !json.is_null())?.clone()).ok()?;
    let json = match entity {
        CanonicalEntityType::Customers => of::<Customer>(content),
        CanonicalEntityType::Products => of::<Product>(content),
        CanonicalEntityType::Orders => of::<Order>(content),
        CanonicalEntityType::Inventory => of::<InventoryLevel>(content),
        CanonicalEntityType::Payments => of::<Payment>(content),
    };
    json.map(Any)
}

/// Reads a record that is given as an answer, as one that is put is read.
fn read_given(entity: CanonicalEntityType, json: Value) -> Result<(Content, Vec<Named>), Vec<WrongField>> {
    fn of<T: Shown>(json: Value) -> Result<(Content, Vec<Named>), Vec<WrongField>> {
        let given = T::from_body(json)?;
        let named = given.named();
        let content = given.into_content().canonical().map_err(wrong_fields)?;
        Ok((content, named))
    }
    match entity {
        CanonicalEntityType::Customers => of::<Customer>(json),
        CanonicalEntityType::Products => of::<Product>(json),
        CanonicalEntityType::Orders => of::<Order>(json),
        CanonicalEntityType::Inventory => of::<InventoryLevel>(json),
        CanonicalEntityType::Payments => of::<Payment>(json),
    }
}

/// Puts what is wrong with a given record under the field that holds it.
fn below_custom_data(mut errors: Vec<WrongField>) -> Vec<WrongField> {
    for wrong in &mut errors {
        wrong.field = match wrong.field.as_str() {
            "" => "customData".to_owned(),
            field => format!("customData/{field}"),
        };
    }
    errors
}

/// A page of conflicts.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct ConflictPage {
    /// The conflicts, newest first.
    items: Vec<Conflict>,
    /// Where the list goes on; absent on the last page.
    next_cursor: Option<String>,
}

/// An answer to one conflict.
#[derive(Clone, Debug, Object, Deserialize)]
#[oai(
    rename_all = "camelCase",
    deny_unknown_fields,
    skip_serializing_if_is_none,
    example
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ResolveConflictRequest {
    /// What is answered.
    resolution: Resolution,
    /// The whole record that is to be sent, for `custom` and only for it: in the form in which records of its type are put.
    #[serde(default, deserialize_with = "present")]
    custom_data: Option<Any<Value>>,
    /// When it is to be carried; `next` where it is not given.
    #[serde(default, deserialize_with = "present")]
    when: Option<ResolveWhen>,
}

impl Example for ResolveConflictRequest {
    fn example() -> Self {
        Self {
            resolution: Resolution::Accept,
            custom_data: None,
            when: None,
        }
    }
}

impl FromBody for ResolveConflictRequest {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        let request: Self = body::read(json)?;
        let wrong = |message| Err(vec![WrongField::new("customData", message)]);
        match (request.resolution, &request.custom_data) {
            (Resolution::Custom, None) => wrong("must be given with the resolution `custom`"),
            (Resolution::Accept | Resolution::Reject, Some(_)) => {
                wrong("must be given with the resolution `custom` only")
            }
            _ => Ok(request),
        }
    }
}

/// One answer to many conflicts: to the open ones that everything which is given here is true of.
#[derive(Clone, Debug, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ResolveConflictsRequest {
    /// What is answered: `accept` or `reject`.
    resolution: Resolution,
    /// When it is to be carried; `next` where it is not given. With `now`, one sync carries them all.
    #[serde(default, deserialize_with = "present")]
    when: Option<ResolveWhen>,
    /// Only conflicts of this type. Refused credentials are not answered, but checked again.
    #[oai(rename = "type")]
    #[serde(rename = "type", default, deserialize_with = "present")]
    conflict_type: Option<ConflictType>,
    /// Only conflicts that are gone about so.
    #[serde(default, deserialize_with = "present")]
    strategy: Option<ConflictStrategy>,
    /// Only conflicts of records of this type.
    #[serde(default, deserialize_with = "present")]
    entity_type: Option<EntityType>,
    /// Only conflicts of this connection.
    #[serde(default, deserialize_with = "present")]
    connection_id: Option<Uuid>,
    /// Only conflicts that this sync found.
    #[serde(default, deserialize_with = "present")]
    sync_id: Option<Uuid>,
    /// Only conflicts about this field, by its path as it is shown.
    #[serde(default, deserialize_with = "present")]
    field: Option<String>,
}

impl FromBody for ResolveConflictsRequest {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        let request: Self = body::read(json)?;
        if request.resolution == Resolution::Custom {
            let message = "must be `accept` or `reject`: one record is no answer to many conflicts";
            return Err(vec![WrongField::new("resolution", message)]);
        }
        Ok(request)
    }
}

impl ResolveConflictsRequest {
    fn filter(&self) -> Filter {
        Filter {
            state: None,
            conflict_type: self.conflict_type.map(Into::into),
            strategy: self.strategy.map(Into::into),
            entity_type: self.entity_type.map(Into::into),
            connection: self.connection_id.map(ConnectionId),
            sync: self.sync_id.map(SyncId),
            field: self.field.clone(),
        }
    }
}

/// How many conflicts were answered.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct ResolveConflictsResponse {
    /// Conflicts that were answered by this request, 1,000 at most.
    accepted: i64,
    /// Conflicts that the same request would answer when it is sent again.
    left: i64,
    /// The sync that carries them, with `now`.
    sync_id: Option<Uuid>,
}

/// What happened to conflicts within an hour or a day.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct ConflictTrendPoint {
    /// When the hour or the day began, in UTC.
    at: DateTime<Utc>,
    /// Conflicts that were found.
    opened: i64,
    /// Conflicts that were closed, by people or by themselves.
    resolved: i64,
    /// Conflicts that solved themselves.
    solved_themselves: i64,
}

impl From<view::Point> for ConflictTrendPoint {
    fn from(point: view::Point) -> Self {
        Self {
            at: point.at,
            opened: point.opened,
            resolved: point.resolved,
            solved_themselves: point.solved_themselves,
        }
    }
}

/// Numbers of the conflicts that were found within a span of time. What there are none of is left out.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct ConflictStatistics {
    /// From when on.
    from: DateTime<Utc>,
    /// Before when.
    to: DateTime<Utc>,
    /// All of them.
    total: i64,
    /// By their type.
    by_type: BTreeMap<String, i64>,
    /// By how they are gone about.
    by_strategy: BTreeMap<String, i64>,
    /// By the kind of system.
    by_system: BTreeMap<String, i64>,
    /// By the type of record.
    by_entity_type: BTreeMap<String, i64>,
    /// By where they stand.
    by_state: BTreeMap<String, i64>,
    /// Hour by hour, over the last seven days of the span at most. Hours in which nothing happened are left out.
    per_hour: Vec<ConflictTrendPoint>,
    /// Day by day. Days on which nothing happened are left out.
    per_day: Vec<ConflictTrendPoint>,
}

impl ConflictStatistics {
    fn of(span: Span, counts: &[view::Count], hours: Vec<view::Point>, days: Vec<view::Point>) -> Self {
        let by = |name: fn(&view::Count) -> &'static str| {
            let mut sums: BTreeMap<String, i64> = BTreeMap::new();
            for count in counts {
                *sums.entry(name(count).to_owned()).or_default() += count.count;
            }
            sums
        };
        Self {
            from: span.from,
            to: span.to,
            total: counts.iter().map(|count| count.count).sum(),
            by_type: by(|count| count.conflict_type.name()),
            by_strategy: by(|count| count.strategy.name()),
            by_system: by(|count| count.system.name()),
            by_entity_type: by(|count| count.entity_type.name()),
            by_state: by(|count| count.state.name()),
            per_hour: hours.into_iter().map(Into::into).collect(),
            per_day: days.into_iter().map(Into::into).collect(),
        }
    }
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Found {
    /// The conflict.
    #[oai(status = 200, content_type = "application/json")]
    One(
        Json<Box<Conflict>>,
        /// Version of the conflict, for `If-Match`.
        #[oai(header = "ETag")]
        String,
    ),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Listed {
    /// A page of conflicts.
    #[oai(status = 200, content_type = "application/json")]
    Page(Json<ConflictPage>),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Counted {
    /// The numbers.
    #[oai(status = 200, content_type = "application/json")]
    Statistics(Json<ConflictStatistics>),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Answered {
    /// The answer was accepted and waits for a worker.
    #[oai(status = 202, content_type = "application/json")]
    Accepted(
        Json<Box<Conflict>>,
        /// Version of the conflict, for `If-Match`.
        #[oai(header = "ETag")]
        String,
    ),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum AllAnswered {
    /// The answers were accepted and wait for a worker.
    #[oai(status = 202, content_type = "application/json")]
    Accepted(Json<ResolveConflictsResponse>),
}

fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

fn matches(condition: &str, version: i64) -> bool {
    conditional::is_met(condition, &etag(version))
}

pub(crate) struct Conflicts;

#[OpenApi(prefix_path = "/api/v1/conflicts", tag = "Tag::Conflicts")]
impl Conflicts {
    /// List conflicts
    ///
    /// Lists the organisation's conflicts, newest first, a page at a time.
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the operation")]
    #[oai(path = "/", method = "get", operation_id = "listConflicts")]
    async fn list(
        &self,
        Authenticated(session): Authenticated,
        /// Only conflicts that stand there.
        Query(state): Query<Option<ConflictState>>,
        /// Only conflicts of this type.
        #[oai(name = "type")]
        Query(conflict_type): Query<Option<ConflictType>>,
        /// Only conflicts that are gone about so.
        Query(strategy): Query<Option<ConflictStrategy>>,
        /// Only conflicts of records of this type.
        #[oai(name = "entityType")]
        Query(entity_type): Query<Option<EntityType>>,
        /// Only conflicts of this connection.
        #[oai(name = "connectionId")]
        Query(connection_id): Query<Option<Uuid>>,
        /// Only conflicts that this sync found.
        #[oai(name = "syncId")]
        Query(sync_id): Query<Option<Uuid>>,
        /// Only conflicts about this field, by its path as it is shown.
        Query(field): Query<Option<String>>,
        /// Where to go on: the `nextCursor` of the page before.
        Query(cursor): Query<Option<String>>,
        /// Most conflicts on the page, 50 where it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        Query(limit): Query<Option<i32>>,
    ) -> Result<Listed, Refused> {
        let filter = Filter {
            state: state.map(Into::into),
            conflict_type: conflict_type.map(Into::into),
            strategy: strategy.map(Into::into),
            entity_type: entity_type.map(Into::into),
            connection: connection_id.map(ConnectionId),
            sync: sync_id.map(SyncId),
            field,
        };
        let after: Option<(DateTime<Utc>, ConflictId)> = page::decode(cursor.as_deref())?;
        let after = after.map(|(created_at, conflict_id)| After {
            created_at,
            conflict_id,
        });
        let limit = page::rows_for(limit);
        let mut tx = session.begin().await?;
        let mut views = view::list(&mut tx, session.org(), &filter, after, limit)
            .await
            .map_err(failed("could not list the conflicts"))?;
        let next_cursor = page::cut(&mut views, limit, |last| (last.created_at, last.conflict_id));
        let items = views.into_iter().map(Conflict::from).collect();
        Ok(Listed::Page(Json(ConflictPage { items, next_cursor })))
    }

    /// Count conflicts
    ///
    /// Counts the conflicts that were found within a span of time by what tells them apart, and tells what happened to
    /// conflicts hour by hour and day by day.
    #[oai(path = "/statistics", method = "get", operation_id = "getConflictStatistics")]
    async fn statistics(
        &self,
        Authenticated(session): Authenticated,
        /// From when on; 30 days before the end where it is not given.
        Query(from): Query<Option<DateTime<Utc>>>,
        /// Before when; now where it is not given. At most 366 days after the beginning.
        Query(to): Query<Option<DateTime<Utc>>>,
    ) -> Result<Counted, Refused> {
        let mut tx = session.begin().await?;
        let statistics = count(&mut tx, &session, from, to).await?;
        Ok(Counted::Statistics(Json(statistics)))
    }

    /// Get a conflict
    ///
    /// Returns a conflict with what both sides hold and what can be done about it. Its `ETag` is for `If-Match`.
    #[oai(path = "/:conflictId", method = "get", operation_id = "getConflict")]
    async fn get(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the conflict.
        #[oai(name = "conflictId")]
        Path(conflict_id): Path<Uuid>,
    ) -> Result<Found, Refused> {
        let mut tx = session.begin().await?;
        let conflict = find(&mut tx, &session, ConflictId(conflict_id)).await?;
        let etag = etag(conflict.version);
        Ok(Found::One(Json(Box::new(conflict)), etag))
    }

    /// Resolve a conflict
    ///
    /// Accepts an answer and returns at once; a worker applies it. A conflict is answered once: a second answer is a 409,
    /// also where it solved itself meanwhile. What the system changes after it was shown is not answered with it, but
    /// becomes a conflict of its own. Refused credentials can't be answered: correct them and check the connection.
    #[oai(
        path = "/:conflictId/resolve",
        method = "post",
        operation_id = "resolveConflict"
    )]
    async fn resolve(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the conflict.
        #[oai(name = "conflictId")]
        Path(conflict_id): Path<Uuid>,
        /// The `ETag` of the conflict as it was seen: where it says something else by now, it is not answered, but a 412.
        #[oai(name = "If-Match")]
        Header(if_match): Header<Option<String>>,
        /// The answer.
        Body(request): Body<ResolveConflictRequest>,
    ) -> Result<Answered, Refused> {
        let id = ConflictId(conflict_id);
        let conflict = resolve(&session, id, if_match.as_deref(), request).await?;
        let etag = etag(conflict.version);
        Ok(Answered::Accepted(Json(Box::new(conflict)), etag))
    }

    /// Resolve many conflicts
    ///
    /// Gives one answer to the open conflicts that a filter chooses, the oldest first, 1,000 at most.
    #[oai(path = "/resolve", method = "post", operation_id = "resolveConflicts")]
    async fn resolve_many(
        &self,
        Authenticated(session): Authenticated,
        /// The answer, and to which conflicts.
        Body(request): Body<ResolveConflictsRequest>,
    ) -> Result<AllAnswered, Refused> {
        let response = resolve_many(&session, &request).await?;
        Ok(AllAnswered::Accepted(Json(response)))
    }
}

/// Counts the conflicts of a span.
async fn count(
    tx: &mut OrgTx,
    session: &Session,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
) -> Result<ConflictStatistics, Refused> {
    let org = session.org();
    let now = db::now(tx).await.map_err(failed("could not tell the time"))?;
    let span = span(from, to, now).map_err(|wrong| {
        Refused::malformed(format!("the parameter `{}` is wrong", wrong.field), vec![wrong])
    })?;
    let failed_count = || failed("could not count the conflicts");
    let counts = view::counts(tx, org, span).await.map_err(failed_count())?;
    let hourly = Span {
        from: span.from.max(span.to - HOURLY_SPAN),
        ..span
    };
    let hours = view::trend(tx, org, hourly, Step::Hour)
        .await
        .map_err(failed_count())?;
    let days = view::trend(tx, org, span, Step::Day)
        .await
        .map_err(failed_count())?;
    Ok(ConflictStatistics::of(span, &counts, hours, days))
}

/// Returns the numbers of the organisation's conflicts, and the newest of those that a sync found, where one is named.
pub(crate) async fn of_sync(
    session: &Session,
    sync: Option<SyncId>,
) -> Result<(ConflictStatistics, Vec<Conflict>), Refused> {
    let org = session.org();
    let mut tx = session.begin().await?;
    if let Some(id) = sync {
        sync::find(&mut tx, org, id)
            .await
            .map_err(failed("could not read a sync"))?
            .ok_or_else(|| Refused::not_found("there is no such sync"))?;
    }
    let statistics = count(&mut tx, session, None, None).await?;
    let filter = Filter {
        sync,
        ..Filter::default()
    };
    let views = view::list(&mut tx, org, &filter, None, OF_SYNC_LIMIT)
        .await
        .map_err(failed("could not list the conflicts"))?;
    Ok((statistics, views.into_iter().map(Conflict::from).collect()))
}

/// Answers a conflict, as [`resolve`] does; where a sync is named, the conflict must be one that it found.
pub(crate) async fn resolve_of_sync(
    session: &Session,
    id: ConflictId,
    sync: Option<SyncId>,
    request: ResolveConflictRequest,
) -> Result<Conflict, Refused> {
    if let Some(sync) = sync {
        let mut tx = session.begin().await?;
        let conflict = find(&mut tx, session, id).await?;
        if conflict.sync_id != Some(sync.0) {
            return Err(no_conflict());
        }
        commit(tx).await?;
    }
    resolve(session, id, None, request).await
}

/// Returns the span that statistics are about.
fn span(
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Span, WrongField> {
    let to = to.unwrap_or(now);
    let from = match from {
        Some(from) => from,
        None => to
            .checked_sub_signed(USUAL_SPAN)
            .ok_or_else(|| WrongField::new("to", "is too long ago"))?,
    };
    if from >= to {
        return Err(WrongField::new("from", "must be before `to`"));
    }
    if to.signed_duration_since(from) > LONGEST_SPAN {
        return Err(WrongField::new("from", "must be at most 366 days before `to`"));
    }
    Ok(Span { from, to })
}

async fn find(tx: &mut OrgTx, session: &Session, id: ConflictId) -> Result<Conflict, Refused> {
    view::find(tx, session.org(), id)
        .await
        .map_err(failed("could not read a conflict"))?
        .map(Conflict::from)
        .ok_or_else(no_conflict)
}

fn no_conflict() -> Refused {
    Refused::not_found("there is no such conflict")
}

async fn resolve(
    session: &Session,
    id: ConflictId,
    if_match: Option<&str>,
    request: ResolveConflictRequest,
) -> Result<Conflict, Refused> {
    let org = session.org();
    let mut tx = session.begin().await?;
    let locked = resolution::lock(&mut tx, org, id)
        .await
        .map_err(failed("could not lock a conflict"))?
        .ok_or_else(no_conflict)?;
    let action = Action::from(request.resolution);
    refuse_unanswerable(&locked, action)?;
    // Conditions count only where the request would be carried out without them (RFC 9110, section 13.2.1).
    if if_match.is_some_and(|condition| !matches(condition, locked.version)) {
        return Err(Refused::precondition_failed(
            "the conflict says something else by now; look at it again",
        ));
    }
    let content = match request.custom_data {
        Some(Any(json)) => Some(given(&mut tx, session, &locked, json).await?),
        None => None,
    };
    let occasion = request.when.map_or(Occasion::Next, Occasion::from);
    let sync = match (occasion, locked.record_id) {
        (Occasion::Now, Some(record)) => {
            let records = [(record, locked.entity_type)];
            Some(start(&mut tx, session, &records, Some(locked.connection_id)).await?)
        }
        _ => None,
    };
    let new = NewResolution {
        action,
        content,
        occasion,
        sync,
        requested_by: session.caller.subject.clone(),
    };
    let noted = resolution::insert(&mut tx, org, &[id], &new)
        .await
        .map_err(failed("could not note an answer"))?;
    if noted == 0 {
        return Err(answered_already());
    }
    record(&mut tx, session, &new, json!({ "conflictId": id })).await?;
    let conflict = find(&mut tx, session, id).await?;
    commit(tx).await?;
    tracing::info!(org.id = %org, conflict.id = %id, action = action.name(), "conflict answered");
    Ok(conflict)
}

fn answered_already() -> Refused {
    Refused::conflict(
        Kind::ConflictAnswered,
        "the conflict was answered already, or solved itself",
    )
}

fn refuse_unanswerable(locked: &Locked, action: Action) -> Result<(), Refused> {
    if locked.is_resolved || locked.is_answered {
        return Err(answered_already());
    }
    if locked.conflict_type == conflict::ConflictType::AuthError {
        return Err(Refused::conflict(
            Kind::ConflictNotAnswerable,
            "correct the credentials of the connection, then check it: a check that is let in closes the conflict",
        ));
    }
    if locked.record_id.is_none() && action != Action::Reject {
        return Err(Refused::conflict(
            Kind::ConflictNotAnswerable,
            "the conflict is about no record of yours, so nothing can be sent; `reject` puts it away",
        ));
    }
    Ok(())
}

/// Reads the record that is given as an answer. Whatever it names has to be there.
async fn given(tx: &mut OrgTx, session: &Session, locked: &Locked, json: Value) -> Result<Content, Refused> {
    let (content, named) =
        read_given(locked.entity_type, json).map_err(|errors| Refused::invalid(below_custom_data(errors)))?;
    let standing = Standing::of(tx, session.org(), named.iter()).await?;
    let wrong = standing.wrong(&named);
    if wrong.is_empty() {
        Ok(content)
    } else {
        Err(Refused::invalid(below_custom_data(wrong)))
    }
}

async fn resolve_many(
    session: &Session,
    request: &ResolveConflictsRequest,
) -> Result<ResolveConflictsResponse, Refused> {
    let org = session.org();
    let filter = request.filter();
    let mut tx = session.begin().await?;
    let chosen = resolution::choose(&mut tx, org, &filter, BULK_LIMIT)
        .await
        .map_err(failed("could not choose conflicts"))?;
    let occasion = request.when.map_or(Occasion::Next, Occasion::from);
    let records: Vec<(RecordId, CanonicalEntityType)> = chosen
        .iter()
        .map(|chosen| (chosen.record_id, chosen.entity_type))
        .collect();
    let sync = match occasion {
        Occasion::Now if !records.is_empty() => Some(start(&mut tx, session, &records, None).await?),
        Occasion::Now | Occasion::Next | Occasion::Running => None,
    };
    let new = NewResolution {
        action: request.resolution.into(),
        content: None,
        occasion,
        sync,
        requested_by: session.caller.subject.clone(),
    };
    let ids: Vec<ConflictId> = chosen.iter().map(|chosen| chosen.conflict_id).collect();
    let noted = resolution::insert(&mut tx, org, &ids, &new)
        .await
        .map_err(failed("could not note answers"))?;
    let left = view::answerable(&mut tx, org, &filter)
        .await
        .map_err(failed("could not count the conflicts"))?;
    record(&mut tx, session, &new, json!({ "conflictIds": ids })).await?;
    commit(tx).await?;
    tracing::info!(org.id = %org, count = noted, "conflicts answered");
    Ok(ResolveConflictsResponse {
        accepted: i64::try_from(noted).unwrap_or(i64::MAX),
        left,
        sync_id: sync.map(|id| id.0),
    })
}

/// Starts a sync of just the records that were answered about, to every active connection: what an answer changes here is
/// news to the others too.
async fn start(
    tx: &mut OrgTx,
    session: &Session,
    records: &[(RecordId, CanonicalEntityType)],
    needed: Option<ConnectionId>,
) -> Result<SyncId, Refused> {
    let org = session.org();
    let connections: Vec<connection::Connection> = connection::list(tx, org)
        .await
        .map_err(failed("could not list the connections"))?
        .into_iter()
        .filter(|connection| connection.status == ConnectionStatus::Active)
        .collect();
    let is_usable = match needed {
        Some(needed) => connections.iter().any(|one| one.connection_id == needed),
        None => !connections.is_empty(),
    };
    if !is_usable {
        return Err(Refused::no_connection(
            "the connection is not active: see what it needs, or let the next sync carry the answer",
        ));
    }
    let systems: BTreeSet<System> = connections.iter().map(|connection| connection.system).collect();
    let entity_types: BTreeSet<CanonicalEntityType> = records.iter().map(|(_, entity)| *entity).collect();
    let new = NewSync {
        sync_id: SyncId::random(),
        systems: systems.into_iter().collect(),
        entity_types: entity_types.into_iter().collect(),
        connections: connections.into_iter().map(|one| one.connection_id).collect(),
        config: sync::Config {
            batch_delay_ms: 0,
            ..sync::Config::default()
        },
        requested_by: session.caller.subject.clone(),
        traceparent: None,
    };
    sync::start(tx, org, &new).await.map_err(not_started)?;
    let records: Vec<RecordId> = records.iter().map(|(record, _)| *record).collect();
    sync::restrict(tx, org, new.sync_id, &records)
        .await
        .map_err(failed("could not limit a sync to its records"))?;
    Ok(new.sync_id)
}

/// Writes down who answered what.
async fn record(
    tx: &mut OrgTx,
    session: &Session,
    new: &NewResolution,
    mut details: Value,
) -> Result<(), Refused> {
    details["resolution"] = json!(new.action);
    details["when"] = json!(new.occasion);
    let line = ("conflict.answered", Outcome::Done);
    session.record_line(tx, new.sync, line, details).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(json: Value) -> String {
        let errors = ResolveConflictRequest::from_body(json).unwrap_err();
        errors.into_iter().map(|wrong| wrong.field).collect()
    }

    #[test]
    fn a_record_is_given_with_a_custom_answer_and_no_other() {
        assert_eq!(wrong(json!({ "resolution": "custom" })), "customData");
        assert_eq!(
            wrong(json!({ "resolution": "accept", "customData": {} })),
            "customData"
        );
        assert_eq!(wrong(json!({ "resolution": "maybe" })), "resolution");
        assert_eq!(wrong(json!({ "resolution": "accept", "when": "soon" })), "when");
        assert_eq!(wrong(json!({ "resolution": "accept", "who": "me" })), "who");
        assert!(
            ResolveConflictRequest::from_body(json!({ "resolution": "custom", "customData": {} })).is_ok()
        );
    }

    #[test]
    fn one_record_is_no_answer_to_many() {
        let errors = ResolveConflictsRequest::from_body(json!({ "resolution": "custom" })).unwrap_err();

        assert_eq!(errors[0].field, "resolution");
    }

    #[test]
    fn a_condition_holds_for_the_version_that_was_seen() {
        assert!(matches("\"3\"", 3));
        assert!(matches("\"1\", \"3\"", 3));
        assert!(matches("*", 3));
        assert!(!matches("\"2\"", 3));
        assert!(!matches("W/\"3\"", 3), "RFC 9110, section 13.1.1");
        assert!(!matches("3", 3));
    }

    #[test]
    fn a_span_has_a_beginning_before_its_end() {
        let now = DateTime::UNIX_EPOCH + Duration::days(20_000);
        let day = |day: i64| Some(DateTime::UNIX_EPOCH + Duration::days(day));

        let usual = span(None, None, now).unwrap();
        assert_eq!((usual.from, usual.to), (now - Duration::days(30), now), "R26");
        assert_eq!(span(day(5), day(5), now).unwrap_err().field, "from");
        assert_eq!(span(day(5), day(372), now).unwrap_err().field, "from");
        assert!(span(day(5), day(371), now).is_ok());
        let first = Some(DateTime::<Utc>::MIN_UTC);
        assert_eq!(span(None, first, now).unwrap_err().field, "to");
    }
}
