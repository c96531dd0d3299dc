//! Records: the organisation's own copy of its things, put in and read through the API. What is the same for every entity
//! type stands here; each type's own fields stand in a file of its own, with the names of its operations, so that a
//! generated client has a type and a method for each.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use lockstep_shared::db::OrgTx;
use lockstep_shared::entity::Content;
use lockstep_shared::id::RecordId;
use lockstep_shared::item::{self, State};
use lockstep_shared::record::{self, Put};
use lockstep_shared::system::EntityType;
use poem_openapi::payload::Json;
use poem_openapi::registry::Registry;
use poem_openapi::types::{ParseFromJSON, ToJSON, Type};
use poem_openapi::{ApiResponse, Enum, Object};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::{Session, commit};
use crate::body::{self, FromBody, Unread, wrong_fields};
use crate::connections::SystemName;
use crate::page;
use crate::problem::{Kind, Refused, WrongField, failed};
use crate::references::{Named, Standing};

/// Most records that one request may put.
const BULK_LIMIT: usize = 1_000;

/// The content of a record as the API shows and takes it.
pub(crate) trait Shown:
    Type + ParseFromJSON + ToJSON + DeserializeOwned + FromBody + Send + Sync + 'static
{
    const ENTITY: EntityType;
    /// Where records of the type stand.
    const ADDRESS: &'static str;

    /// Returns the records that it names, each with the field that does.
    fn named(&self) -> Vec<Named> {
        Vec::new()
    }

    fn into_content(self) -> Content;

    /// Returns the names of the fields that can have an owner, as the schema has them.
    fn owned_fields() -> Vec<&'static str> {
        field_names::<Self>()
    }

    /// Shows a canonical record; `None` where it is of another entity type.
    fn of_content(content: Content) -> Option<Self>;
}

/// Returns the names of the fields of a schema.
pub(crate) fn field_names<T: Type>() -> Vec<&'static str> {
    let mut registry = Registry::new();
    T::register(&mut registry);
    let schema = registry.schemas.get(&*T::name());
    let properties = schema.into_iter().flat_map(|schema| &schema.properties);
    properties.map(|(name, _)| *name).collect()
}

/// Makes the operations of one type of record. A macro, because a name in the document is a literal of an attribute.
macro_rules! operations {
    ($operations:ident of $record:ident;
     put: $put_id:tt, $put:tt;
     put_many: $put_many_id:tt, $put_many:tt;
     put_lines: $put_lines_id:tt, $put_lines:tt;
     get: $get_id:tt, $get:tt;
     list: $list_id:tt, $list:tt;) => {
        pub(crate) struct $operations;

        #[poem_openapi::OpenApi(
                                            prefix_path = <$record as $crate::records::Shown>::ADDRESS,
                                            tag = "crate::document::Tag::Records"
                                        )]
        impl $operations {
            #[doc = $put]
            ///
            /// Stores a record under an identifier of your choice: new, or instead of what stood there. A change is
            /// carried to every connection by the next sync; putting the same content again changes nothing. A record
            /// that names others is refused unless they are there.
            #[oai(path = "/:recordId", method = "put", operation_id = $put_id)]
            async fn put(
                &self,
                $crate::auth::Authenticated(session): $crate::auth::Authenticated,
                /// Identifier of the record, chosen by you.
                #[oai(name = "recordId")]
                poem_openapi::param::Path(record_id): poem_openapi::param::Path<uuid::Uuid>,
                /// The whole record: a field that is left out is empty, or has its default.
                $crate::body::Body(record): $crate::body::Body<$record>,
            ) -> Result<$crate::records::Stored<$record>, $crate::problem::Refused> {
                $crate::records::put_one(&session, record_id, record).await
            }

            #[doc = $put_many]
            ///
            /// Stores up to 1,000 records at once. Those that are not valid are refused one by one; the others are
            /// stored.
            #[oai(path = "/", method = "post", operation_id = $put_many_id)]
            async fn put_many(
                &self,
                $crate::auth::Authenticated(session): $crate::auth::Authenticated,
                /// The records.
                $crate::body::Body(request): $crate::body::Bulk<
                    $crate::records::PutRecordsRequest<$record>,
                >,
            ) -> Result<$crate::records::AllStored, $crate::problem::Refused> {
                $crate::records::put_many(&session, request).await
            }

            #[doc = $put_lines]
            ///
            /// Stores up to 100,000 records, a line each (NDJSON): `{"recordId": "…", "content": {…}}`. They are read and
            /// stored a few hundred at a time, so an early end leaves those before it stored; putting them again changes
            /// nothing. Lines that are not valid are refused one by one, by their numbers.
            #[oai(path = "/", method = "put", operation_id = $put_lines_id)]
            async fn put_lines(
                &self,
                $crate::auth::Authenticated(session): $crate::auth::Authenticated,
                /// The records, a JSON object a line.
                lines: $crate::lines::Lines,
            ) -> Result<$crate::lines::LinesStored, $crate::problem::Refused> {
                $crate::lines::put::<$record>(&session, lines).await
            }

            #[doc = $get]
            ///
            /// Returns a record, and how each connection sees it.
            #[oai(path = "/:recordId", method = "get", operation_id = $get_id)]
            async fn get(
                &self,
                $crate::auth::Authenticated(session): $crate::auth::Authenticated,
                /// Identifier of the record.
                #[oai(name = "recordId")]
                poem_openapi::param::Path(record_id): poem_openapi::param::Path<uuid::Uuid>,
            ) -> Result<$crate::records::Found<$record>, $crate::problem::Refused> {
                $crate::records::find(&session, record_id).await
            }

            #[doc = $list]
            ///
            /// Lists the organisation's records of the type in the order of their identifiers, a page at a time.
            #[oai(path = "/", method = "get", operation_id = $list_id)]
            async fn list(
                &self,
                $crate::auth::Authenticated(session): $crate::auth::Authenticated,
                /// Where to go on: the `nextCursor` of the page before.
                poem_openapi::param::Query(cursor): poem_openapi::param::Query<Option<String>>,
                /// Most records on the page, 50 where it is not given.
                #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
                poem_openapi::param::Query(limit): poem_openapi::param::Query<Option<i32>>,
            ) -> Result<$crate::records::Listed<$record>, $crate::problem::Refused> {
                $crate::records::list(&session, cursor.as_deref(), limit).await
            }
        }
    };
}
pub(crate) use operations;

/// Turns a type of the API into the canonical one of the same fields, and back.
macro_rules! mirror {
    ($shown:ident as $canonical:path { $($field:ident),+ $(,)? }) => {
        impl From<$shown> for $canonical {
            fn from(shown: $shown) -> Self {
                Self { $($field: shown.$field),+ }
            }
        }

        impl From<$canonical> for $shown {
            fn from(canonical: $canonical) -> Self {
                Self { $($field: canonical.$field),+ }
            }
        }
    };
}
pub(crate) use mirror;

/// How a record stands with one connection. `pending`: to be looked at by the next sync. `failed`: the remote refused it;
/// the next sync tries again. `conflict`: waits for a person. `in_doubt`: a request that carried it had no answer; it is
/// looked up before anything is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", remote = "State")]
pub(crate) enum ItemState {
    Pending,
    Synced,
    Failed,
    Skipped,
    Conflict,
    InDoubt,
}

/// How one connection sees a record.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct RecordConnection {
    /// Identifier of the connection.
    connection_id: Uuid,
    /// What kind of system it is.
    system: SystemName,
    /// How the record stands there.
    state: ItemState,
    /// Identifier of the record in that system, once it is known.
    external_id: Option<String>,
    /// How often it was tried again in the sync that looked at it last.
    retries: i32,
    /// Why it failed, where it did.
    last_error: Option<String>,
    /// When both sides agreed last.
    last_synced_at: Option<DateTime<Utc>>,
}

impl From<item::View> for RecordConnection {
    fn from(view: item::View) -> Self {
        Self {
            connection_id: view.connection_id.0,
            system: view.system.into(),
            state: view.state.into(),
            external_id: view.external_id,
            retries: view.retries,
            last_error: view.last_error,
            last_synced_at: view.last_synced_at,
        }
    }
}

/// A record with how each connection sees it.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase")]
#[expect(
    clippy::struct_field_names,
    reason = "identifiers say of what, everywhere in the API"
)]
pub(crate) struct Record<T: Shown> {
    /// Identifier of the record, chosen by whoever put it in.
    record_id: Uuid,
    /// What it says.
    content: T,
    /// How often its content changed, the first one included.
    version: i64,
    /// When it was put in.
    created_at: DateTime<Utc>,
    /// When its content changed last.
    updated_at: DateTime<Utc>,
    /// How it stands with each connection.
    connections: Vec<RecordConnection>,
}

/// A page of records.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct RecordPage<T: Shown> {
    /// The records, in the order of their identifiers.
    items: Vec<Record<T>>,
    /// Where the list goes on; absent on the last page.
    next_cursor: Option<String>,
}

/// A record to be put.
#[derive(Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
#[serde(rename_all = "camelCase", deny_unknown_fields, bound = "")]
pub(crate) struct PutRecord<T: Shown> {
    /// Identifier of the record, chosen by you: putting the same one again changes it.
    #[serde(deserialize_with = "body::uuid")]
    pub(crate) record_id: Uuid,
    /// What it is to say, whole: a field that is left out is empty.
    content: Unread<T>,
}

/// Records to be put.
#[derive(Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
#[serde(rename_all = "camelCase", deny_unknown_fields, bound = "")]
pub(crate) struct PutRecordsRequest<T: Shown> {
    /// 1 to 1,000 records, each identifier once.
    #[oai(validator(min_items = 1, max_items = 1000))]
    records: Vec<PutRecord<T>>,
}

impl<T: Shown> FromBody for PutRecordsRequest<T> {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        let request: Self = body::read(json)?;
        if (1..=BULK_LIMIT).contains(&request.records.len()) {
            return Ok(request);
        }
        let message = format!("must be 1 to {BULK_LIMIT}");
        Err(vec![WrongField::new("records", message)])
    }
}

/// What became of a record that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum PutOutcome {
    Created,
    Changed,
    Unchanged,
    /// It is not valid; those beside it were stored.
    Refused,
}

impl PutOutcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

/// What became of one record of a request.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct PutRecordResult {
    /// Identifier of the record.
    pub(crate) record_id: Uuid,
    /// What became of it. `unchanged`: it said the same already.
    pub(crate) outcome: PutOutcome,
    /// Every field that is wrong, where it was refused.
    pub(crate) errors: Option<Vec<WrongField>>,
}

impl PutRecordResult {
    fn refused(record_id: RecordId, errors: Vec<WrongField>) -> Self {
        Self {
            record_id: record_id.0,
            outcome: PutOutcome::Refused,
            errors: Some(errors),
        }
    }
}

/// What became of the records of a request.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct PutRecordsResponse {
    /// One result for each record, in the order of the request.
    results: Vec<PutRecordResult>,
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Stored<T: Shown> {
    /// The record was there already, and says now what was put.
    #[oai(status = 200, content_type = "application/json")]
    Known(Json<Record<T>>),
    /// The record is new.
    #[oai(status = 201, content_type = "application/json")]
    New(
        Json<Record<T>>,
        /// Address of the record.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum AllStored {
    /// What became of each record. Those that were refused do not keep the others from being stored.
    #[oai(status = 200, content_type = "application/json")]
    Results(Json<PutRecordsResponse>),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Found<T: Shown> {
    /// The record.
    #[oai(status = 200, content_type = "application/json")]
    One(Json<Record<T>>),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Listed<T: Shown> {
    /// A page of records.
    #[oai(status = 200, content_type = "application/json")]
    Page(Json<RecordPage<T>>),
}

/// Puts one record.
pub(crate) async fn put_one<T: Shown>(
    session: &Session,
    record_id: Uuid,
    content: T,
) -> Result<Stored<T>, Refused> {
    let id = RecordId(record_id);
    let checked = Checked::of(id, content).map_err(Refused::invalid)?;
    let mut tx = session.begin().await?;
    let wrong = Standing::of(&mut tx, session.org(), checked.named.iter())
        .await?
        .wrong(&checked.named);
    if !wrong.is_empty() {
        return Err(Refused::invalid(wrong));
    }
    let outcome = store(&mut tx, session, T::ENTITY, &[checked.put])
        .await?
        .remove(&id)
        .ok_or_else(|| {
            Refused::conflict(
                Kind::OtherEntityType,
                "there is a record of another entity type under this identifier",
            )
        })?;
    record_activity(&mut tx, session, (T::ENTITY, Some(id)), &[outcome]).await?;
    let record = read_one(&mut tx, session, id).await?;
    commit(tx).await?;
    Ok(match outcome {
        PutOutcome::Created => Stored::New(Json(record), format!("{}/{id}", T::ADDRESS)),
        PutOutcome::Changed | PutOutcome::Unchanged | PutOutcome::Refused => Stored::Known(Json(record)),
    })
}

/// Puts many records: those that are valid are stored, whatever is wrong with the others.
pub(crate) async fn put_many<T: Shown>(
    session: &Session,
    request: PutRecordsRequest<T>,
) -> Result<AllStored, Refused> {
    let results = put_batch(session, request.records).await?;
    Ok(AllStored::Results(Json(PutRecordsResponse { results })))
}

/// Puts records in one transaction; returns what became of each, in their order.
pub(crate) async fn put_batch<T: Shown>(
    session: &Session,
    records: Vec<PutRecord<T>>,
) -> Result<Vec<PutRecordResult>, Refused> {
    let order: Vec<RecordId> = records.iter().map(|record| RecordId(record.record_id)).collect();
    let (checked, mut refused) = check_all(records);
    let mut tx = session.begin().await?;
    let named = checked.values().flat_map(|checked| &checked.named);
    let standing = Standing::of(&mut tx, session.org(), named).await?;
    let mut puts = Vec::with_capacity(checked.len());
    for (position, checked) in checked {
        let wrong = standing.wrong(&checked.named);
        if wrong.is_empty() {
            puts.push(checked.put);
        } else {
            refused.insert(position, below_content(wrong));
        }
    }
    let outcomes = store(&mut tx, session, T::ENTITY, &puts).await?;
    let mut results = Vec::with_capacity(order.len());
    for (position, id) in order.into_iter().enumerate() {
        let result = match (refused.remove(&position), outcomes.get(&id)) {
            (Some(errors), _) => PutRecordResult::refused(id, errors),
            (None, Some(outcome)) => PutRecordResult {
                record_id: id.0,
                outcome: *outcome,
                errors: None,
            },
            (None, None) => {
                let message = "must not be that of a record of another entity type";
                PutRecordResult::refused(id, vec![WrongField::new("recordId", message)])
            }
        };
        results.push(result);
    }
    let outcomes: Vec<PutOutcome> = results.iter().map(|result| result.outcome).collect();
    record_activity(&mut tx, session, (T::ENTITY, None), &outcomes).await?;
    commit(tx).await?;
    Ok(results)
}

/// A record that is valid by itself, and what it names.
struct Checked {
    put: Put,
    named: Vec<Named>,
}

impl Checked {
    fn of<T: Shown>(record_id: RecordId, shown: T) -> Result<Self, Vec<WrongField>> {
        // Named before the canonical form puts parts into its own order: the caller knows the order they came in.
        let named = shown.named();
        let content = shown.into_content().canonical().map_err(wrong_fields)?;
        let put = Put { record_id, content };
        Ok(Self { put, named })
    }
}

/// What is valid of a request, and what is wrong with the rest; both by the position in the request.
type Parted = (BTreeMap<usize, Checked>, BTreeMap<usize, Vec<WrongField>>);

/// Parts the records that are valid by themselves from those that are not.
fn check_all<T: Shown>(records: Vec<PutRecord<T>>) -> Parted {
    let mut seen = HashSet::new();
    let mut valid = BTreeMap::new();
    let mut refused = BTreeMap::new();
    for (position, record) in records.into_iter().enumerate() {
        let record_id = RecordId(record.record_id);
        let checked = if seen.insert(record_id) {
            T::from_body(record.content.0)
                .and_then(|shown| Checked::of(record_id, shown))
                .map_err(below_content)
        } else {
            Err(vec![WrongField::new(
                "recordId",
                "must be named once in a request",
            )])
        };
        match checked {
            Ok(checked) => {
                valid.insert(position, checked);
            }
            Err(errors) => {
                refused.insert(position, errors);
            }
        }
    }
    (valid, refused)
}

/// Puts what is wrong with a record's content under the field that holds it in a request of many.
fn below_content(mut errors: Vec<WrongField>) -> Vec<WrongField> {
    for wrong in &mut errors {
        wrong.field = match wrong.field.as_str() {
            "" => "content".to_owned(),
            field => format!("content/{field}"),
        };
    }
    errors
}

/// Writes records and makes those that changed due everywhere. Returns what became of each; records of another entity
/// type, which stay as they are, are not among them.
async fn store(
    tx: &mut OrgTx,
    session: &Session,
    entity: EntityType,
    puts: &[Put],
) -> Result<BTreeMap<RecordId, PutOutcome>, Refused> {
    let org = session.org();
    let changed = record::put(tx, org, entity, puts)
        .await
        .map_err(failed("could not put records"))?;
    item::make_due(tx, org, entity, &changed, None)
        .await
        .map_err(failed("could not make records due"))?;
    let ids: Vec<RecordId> = puts.iter().map(|put| put.record_id).collect();
    let standing = record::standing(tx, org, &ids)
        .await
        .map_err(failed("could not read records"))?;
    let changed: BTreeSet<RecordId> = changed.into_iter().collect();
    Ok(standing
        .into_iter()
        .filter(|standing| standing.entity_type == entity)
        .map(|standing| {
            let outcome = match (changed.contains(&standing.record_id), standing.version) {
                (true, 1) => PutOutcome::Created,
                (true, _) => PutOutcome::Changed,
                (false, _) => PutOutcome::Unchanged,
            };
            (standing.record_id, outcome)
        })
        .collect())
}

async fn record_activity(
    tx: &mut OrgTx,
    session: &Session,
    (entity, one): (EntityType, Option<RecordId>),
    outcomes: &[PutOutcome],
) -> Result<(), Refused> {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for outcome in outcomes {
        *counts.entry(outcome.name()).or_default() += 1;
    }
    let mut details = json!({ "entityType": entity, "counts": counts });
    if let Some(id) = one {
        details["recordId"] = json!(id);
    }
    session.record(tx, "record.put", details).await
}

/// Finds one record.
pub(crate) async fn find<T: Shown>(session: &Session, record_id: Uuid) -> Result<Found<T>, Refused> {
    let mut tx = session.begin().await?;
    let record = read_one(&mut tx, session, RecordId(record_id)).await?;
    Ok(Found::One(Json(record)))
}

/// Lists a page of records.
pub(crate) async fn list<T: Shown>(
    session: &Session,
    cursor: Option<&str>,
    limit: Option<i32>,
) -> Result<Listed<T>, Refused> {
    let after: Option<RecordId> = page::decode(cursor)?;
    let limit = page::rows_for(limit);
    let mut tx = session.begin().await?;
    let mut rows = record::list(&mut tx, session.org(), T::ENTITY, after, limit)
        .await
        .map_err(failed("could not list records"))?;
    let next_cursor = page::cut(&mut rows, limit, |last| last.record_id);
    let items = with_items(&mut tx, session, rows).await?;
    Ok(Listed::Page(Json(RecordPage { items, next_cursor })))
}

async fn read_one<T: Shown>(tx: &mut OrgTx, session: &Session, id: RecordId) -> Result<Record<T>, Refused> {
    let found = record::find(tx, session.org(), id)
        .await
        .map_err(failed("could not read a record"))?
        .filter(|record| record.entity_type == T::ENTITY);
    let records = with_items(tx, session, found.into_iter().collect()).await?;
    let no_record = || Refused::not_found("there is no such record");
    records.into_iter().next().ok_or_else(no_record)
}

async fn with_items<T: Shown>(
    tx: &mut OrgTx,
    session: &Session,
    rows: Vec<record::Record>,
) -> Result<Vec<Record<T>>, Refused> {
    let ids: Vec<RecordId> = rows.iter().map(|row| row.record_id).collect();
    let mut items = item::of_records(tx, session.org(), &ids)
        .await
        .map_err(failed("could not read how connections see records"))?;
    rows.into_iter()
        .map(|row| {
            let content = Content::parse(row.entity_type, row.content)
                .map_err(|invalid| Refused::internal("a stored record can't be read", &invalid))?;
            let Some(content) = T::of_content(content) else {
                unreachable!("rows of one entity type were asked for")
            };
            let views = items.remove(&row.record_id).unwrap_or_default();
            Ok(Record {
                record_id: row.record_id.0,
                content,
                version: row.version,
                created_at: row.created_at,
                updated_at: row.updated_at,
                connections: views.into_iter().map(RecordConnection::from).collect(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::customers::Customer;

    use super::*;

    #[test]
    fn a_record_that_is_wrong_does_not_refuse_those_beside_it() {
        let [good, bad] = [Uuid::from_u128(1), Uuid::from_u128(2)];
        let request = json!({"records": [
            {"recordId": good, "content": {"name": "Ada"}},
            {"recordId": bad, "content": {"name": "", "billing": {"country": "Germany"}}},
            {"recordId": good, "content": {"name": "Ada"}},
            {"recordId": Uuid::from_u128(3), "content": {"name": "Bo", "vatNumber": "1"}},
        ]});

        let (valid, refused) = check_all(PutRecordsRequest::<Customer>::from_body(request).unwrap().records);

        let valid: Vec<Uuid> = valid.values().map(|checked| checked.put.record_id.0).collect();
        assert_eq!(valid, [good]);
        let fields = |position: usize| -> Vec<&str> {
            refused[&position]
                .iter()
                .map(|wrong| wrong.field.as_str())
                .collect()
        };
        assert_eq!(fields(1), ["content/name", "content/billing/country"], "R45");
        assert_eq!(fields(2), ["recordId"]);
        assert_eq!(fields(3), ["content/vatNumber"]);
    }

    #[test]
    fn a_request_has_one_to_a_thousand_records() {
        let request = |count: u128| {
            let records: Vec<Value> = (0..count)
                .map(|id| json!({"recordId": Uuid::from_u128(id), "content": {}}))
                .collect();
            PutRecordsRequest::<Customer>::from_body(json!({ "records": records }))
        };

        assert!(request(0).is_err());
        assert!(request(1_000).is_ok());
        assert!(request(1_001).is_err());
    }
}
