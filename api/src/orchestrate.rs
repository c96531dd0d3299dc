//! The one route of orchestration: each of its actions is an operation of a route of its own, told in other words. Nothing is
//! decided here; what an action may cost and who may ask for it is its own operation's rule (`role::of_action`).

use lockstep_shared::id::{ConflictId, SyncId};
use lockstep_shared::telemetry::traceparent;
use poem::{Request, RequestBody};
use poem_openapi::param::{Header, Query};
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::{Any, Example};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, Enum, ExtractParamOptions, Object, OpenApi, Union,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::{Authenticated, Session};
use crate::body::{Body, FromBody, Unread};
use crate::conflicts::{self, Conflict, ConflictStatistics, Resolution, ResolveConflictRequest, ResolveWhen};
use crate::connections::SystemName;
use crate::control::{self, SyncCommand};
use crate::document::Tag;
use crate::problem::{Refused, WrongField};
use crate::role;
use crate::syncs::{
    self, EntityType, StartSyncRequest, StartSyncResponse, SyncConfig, SyncProgress, SyncStatus,
};

/// What is asked of the route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum SyncAction {
    /// Starts a sync.
    Start,
    /// Tells how far a sync is.
    Status,
    /// Has a sync stand still.
    Pause,
    /// Has a sync go on.
    Resume,
    /// Ends a sync before it is through.
    Cancel,
    /// Tells of conflicts.
    Conflicts,
    /// Answers a conflict.
    #[oai(rename = "resolve-conflict")]
    ResolveConflict,
}

impl SyncAction {
    const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Status => "status",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Conflicts => "conflicts",
            Self::ResolveConflict => "resolve-conflict",
        }
    }
}

/// What an action is given. `start` takes the first four fields, `resolve-conflict` the others, of which it needs
/// `conflictId` and `resolution`; the other actions take none, and no body either.
#[derive(Clone, Debug, Object)]
#[oai(
    rename_all = "camelCase",
    deny_unknown_fields,
    skip_serializing_if_is_none,
    example
)]
pub(crate) struct OrchestrateRequest {
    /// The systems. Each one named must have an active connection. Left out: every system that has one.
    #[oai(validator(min_items = 1))]
    systems: Option<Vec<SystemName>>,
    /// The entity types. Left out: all of them.
    #[oai(validator(min_items = 1))]
    entity_types: Option<Vec<EntityType>>,
    /// The connections, where the organisation has several of one system. Left out: every active connection of the
    /// systems.
    #[oai(validator(min_items = 1))]
    connection_ids: Option<Vec<Uuid>>,
    /// How to go about it.
    sync_config: Option<SyncConfig>,
    /// The conflict that is answered.
    conflict_id: Option<Uuid>,
    /// What is answered.
    resolution: Option<Resolution>,
    /// The whole record that is to be sent, for `custom` and only for it: in the form in which records of its type are put.
    custom_data: Option<Any<Value>>,
    /// When the answer is to be carried; `next` where it is not given.
    when: Option<ResolveWhen>,
}

impl Example for OrchestrateRequest {
    fn example() -> Self {
        Self {
            systems: Some(vec![SystemName::Woocommerce, SystemName::Odoo]),
            entity_types: Some(vec![EntityType::Customers, EntityType::Products]),
            connection_ids: None,
            sync_config: None,
            conflict_id: None,
            resolution: None,
            custom_data: None,
            when: None,
        }
    }
}

/// A body that may be left out, read as JSON and no further: which fields are right, the action says.
pub(crate) struct Given(Option<Value>);

impl<'a> ApiExtractor<'a> for Given {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <OrchestrateBody as Payload>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType {
                content_type: OrchestrateBody::CONTENT_TYPE,
                schema: <OrchestrateBody as Payload>::schema_ref(),
            }],
            required: false,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let is_left_out = match request.header("content-length") {
            Some(length) => length == "0",
            None => request.content_type().is_none() && request.header("transfer-encoding").is_none(),
        };
        if is_left_out {
            return Ok(Self(None));
        }
        let read =
            <OrchestrateBody as ApiExtractor>::from_request(request, body, ExtractParamOptions::default());
        let Body(Unread(json, _)) = read.await?;
        Ok(Self(Some(json)))
    }
}

type OrchestrateBody = Body<Unread<OrchestrateRequest>>;

impl Given {
    /// Refuses a body where an action takes none.
    fn nothing(&self, action: SyncAction) -> Result<(), Refused> {
        let fields = match &self.0 {
            None => return Ok(()),
            Some(Value::Object(fields)) => fields,
            Some(_) => return Err(Refused::invalid(vec![WrongField::new("", "must be an object")])),
        };
        let message = format!("is not a field of the action `{}`", action.name());
        let wrong: Vec<WrongField> = fields
            .keys()
            .map(|name| WrongField::new(name, &*message))
            .collect();
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(Refused::invalid(wrong))
        }
    }

    /// Reads a conflict's identifier and the answer to it.
    fn answer(self) -> Result<(ConflictId, ResolveConflictRequest), Vec<WrongField>> {
        let mut json = self.0.unwrap_or_else(|| json!({}));
        let id = json.as_object_mut().map(|fields| fields.remove("conflictId"));
        // The framework's reader of identifiers would show what was given.
        let id = match id {
            None => return Err(vec![WrongField::new("", "must be an object")]),
            Some(None) => return Err(vec![WrongField::new("conflictId", "must be given")]),
            Some(Some(id)) => id.as_str().and_then(|id| id.parse().ok()).map(ConflictId),
        };
        let id = id.ok_or_else(|| vec![WrongField::new("conflictId", "must be a UUID")])?;
        Ok((id, ResolveConflictRequest::from_body(json)?))
    }
}

/// How far a sync is.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct OrchestratedStatus {
    /// Where it stands.
    status: SyncStatus,
    /// How far it is, stage by stage.
    progress: SyncProgress,
    /// What waits to be pushed, by system and type of record.
    queues: Vec<SyncQueue>,
    /// Items that it left to a conflict, so far.
    conflicts: i64,
    /// Seconds that the rest will take. Absent until that is known, and while the sync does not go on.
    estimated_time_remaining: Option<i64>,
}

/// What a sync has to push of one type of record to the systems of one kind.
#[derive(Clone, Copy, Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct SyncQueue {
    /// The kind of system.
    system: SystemName,
    /// The type of the records.
    entity_type: EntityType,
    /// Items that wait, as far as is known.
    waiting: i64,
    /// Items that it is through with, however it ended.
    settled: i64,
}

/// What was asked for was accepted.
#[derive(Clone, Copy, Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OrchestratedCommand {
    /// Always true: what is not accepted is a problem.
    success: bool,
}

/// Conflicts, and what there is of them.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OrchestratedConflicts {
    /// Numbers of all conflicts of the organisation that were found within the last 30 days.
    stats: ConflictStatistics,
    /// The newest 200 that the sync found, or, where none is named, that the organisation has.
    conflicts: Vec<Conflict>,
}

/// What an action is answered with: `start` with the sync's identifier, `status` with how far it is, `conflicts` with those, and
/// the others with `success`.
#[derive(Debug, Union)]
#[oai(one_of)]
pub(crate) enum OrchestrateResponse {
    Started(StartSyncResponse),
    Status(OrchestratedStatus),
    Accepted(OrchestratedCommand),
    Conflicts(OrchestratedConflicts),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Orchestrated {
    /// What the actions `status` and `conflicts` tell.
    #[oai(status = 200, content_type = "application/json")]
    Told(Json<OrchestrateResponse>),
    /// Any other action was accepted; workers carry it out.
    #[oai(status = 202, content_type = "application/json")]
    Accepted(Json<OrchestrateResponse>),
}

impl Orchestrated {
    const fn accepted() -> Self {
        let accepted = OrchestratedCommand { success: true };
        Self::Accepted(Json(OrchestrateResponse::Accepted(accepted)))
    }
}

pub(crate) struct Orchestrate;

#[OpenApi(prefix_path = "/api/v1/integrations/sync/orchestrate", tag = "Tag::Syncs")]
impl Orchestrate {
    /// Orchestrate syncs
    ///
    /// Does by one route what syncs and conflicts do by theirs, with the same rules. `start` begins a sync; `status` tells how
    /// far it is; `pause`, `resume` and `cancel` say what is to become of it; `conflicts` tells what waits for an answer, and
    /// `resolve-conflict` gives one. Each action needs the role of the operation that it stands for, and is taken from the same
    /// quota: `status` and `conflicts` need `viewer` and are reads, the others need `operator` and are commands.
    #[oai(path = "/", method = "post", operation_id = "orchestrateSync")]
    async fn orchestrate(
        &self,
        Authenticated(session): Authenticated,
        /// What is to be done.
        Query(action): Query<SyncAction>,
        /// Which sync is meant: needed by `status`, `pause`, `resume` and `cancel`, possible with `conflicts` and
        /// `resolve-conflict`, and not with `start`.
        #[oai(name = "syncId")]
        Query(sync_id): Query<Option<Uuid>>,
        /// Trace that a `start` belongs to, after W3C Trace Context; what can't be read is ignored.
        #[oai(name = "traceparent")]
        Header(trace): Header<Option<String>>,
        /// What the action is given.
        given: Given,
    ) -> Result<Orchestrated, Refused> {
        // Its rule was asked before; what is carried out must be what it was asked about.
        let least = role::of_named_action(action.name()).map(|rule| rule.least);
        if least.is_none_or(|least| session.caller.role < least) {
            return Err(Refused::forbidden(least.map_or("admin", |least| least.name())));
        }
        let sync = sync_id.map(SyncId);
        match action {
            SyncAction::Start => start(&session, sync, given, trace).await,
            SyncAction::Status => {
                given.nothing(action)?;
                status(&session, named(sync, action)?).await
            }
            SyncAction::Pause => ask(&session, sync, (action, SyncCommand::Pause), &given).await,
            SyncAction::Resume => ask(&session, sync, (action, SyncCommand::Resume), &given).await,
            SyncAction::Cancel => ask(&session, sync, (action, SyncCommand::Cancel), &given).await,
            SyncAction::Conflicts => {
                given.nothing(action)?;
                let (stats, conflicts) = conflicts::of_sync(&session, sync).await?;
                let told = OrchestratedConflicts { stats, conflicts };
                Ok(Orchestrated::Told(Json(OrchestrateResponse::Conflicts(told))))
            }
            SyncAction::ResolveConflict => {
                let (conflict, answer) = given.answer().map_err(Refused::invalid)?;
                conflicts::resolve_of_sync(&session, conflict, sync, answer).await?;
                Ok(Orchestrated::accepted())
            }
        }
    }
}

fn named(sync: Option<SyncId>, action: SyncAction) -> Result<SyncId, Refused> {
    sync.ok_or_else(|| {
        let message = format!("must be given with the action `{}`", action.name());
        Refused::malformed(
            "the parameter `syncId` is wrong",
            vec![WrongField::new("syncId", message)],
        )
    })
}

async fn start(
    session: &Session,
    sync: Option<SyncId>,
    given: Given,
    trace: Option<String>,
) -> Result<Orchestrated, Refused> {
    if sync.is_some() {
        let wrong = WrongField::new("syncId", "must not be given with the action `start`");
        return Err(Refused::malformed("the parameter `syncId` is wrong", vec![wrong]));
    }
    let json = given.0.unwrap_or_else(|| json!({}));
    let request = StartSyncRequest::from_body(json).map_err(Refused::invalid)?;
    let asked = request.check().map_err(Refused::invalid)?;
    let sync_id = syncs::start(session, asked, trace.as_deref().and_then(traceparent)).await?;
    let started = StartSyncResponse::queued(sync_id);
    Ok(Orchestrated::Accepted(Json(OrchestrateResponse::Started(
        started,
    ))))
}

async fn status(session: &Session, sync: SyncId) -> Result<Orchestrated, Refused> {
    let look = syncs::look(session, sync).await?;
    let progress = look.progress();
    let queues = progress.parts.iter().map(|part| SyncQueue {
        system: part.system,
        entity_type: part.entity_type,
        waiting: (part.total - part.settled).max(0),
        settled: part.settled,
    });
    let told = OrchestratedStatus {
        status: look.view.status.into(),
        queues: queues.collect(),
        conflicts: look.conflicts(),
        estimated_time_remaining: progress.estimated_seconds_remaining,
        progress,
    };
    Ok(Orchestrated::Told(Json(OrchestrateResponse::Status(told))))
}

async fn ask(
    session: &Session,
    sync: Option<SyncId>,
    (action, command): (SyncAction, SyncCommand),
    given: &Given,
) -> Result<Orchestrated, Refused> {
    given.nothing(action)?;
    control::ask(session, named(sync, action)?, command).await?;
    Ok(Orchestrated::accepted())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(wrong: Result<impl Sized, Vec<WrongField>>) -> Vec<String> {
        let wrong = wrong.err().unwrap_or_default();
        wrong.into_iter().map(|wrong| wrong.field).collect()
    }

    #[test]
    fn an_answer_names_its_conflict() {
        let id = Uuid::from_u128(7);
        let answer = |json: Value| Given(Some(json)).answer().map(|(id, _)| id.0);

        assert_eq!(
            answer(json!({ "conflictId": id, "resolution": "accept" })).unwrap(),
            id,
            "R40"
        );
        assert_eq!(
            fields(answer(json!({ "resolution": "accept" }))),
            ["conflictId"],
            "R45"
        );
        assert_eq!(fields(answer(json!({ "conflictId": 7 }))), ["conflictId"], "R45");
        assert_eq!(fields(answer(json!({ "conflictId": id }))), ["resolution"], "R45");
        assert_eq!(fields(answer(json!([]))), [""], "R45");
        let other = json!({ "conflictId": id, "resolution": "accept", "systems": ["odoo"] });
        assert_eq!(fields(answer(other)), ["systems"], "R45");
    }

    #[test]
    fn every_action_has_the_rule_of_its_operation() {
        for action in [
            SyncAction::Start,
            SyncAction::Status,
            SyncAction::Pause,
            SyncAction::Resume,
            SyncAction::Cancel,
            SyncAction::Conflicts,
            SyncAction::ResolveConflict,
        ] {
            assert!(role::of_named_action(action.name()).is_some(), "R42: {action:?}");
        }
    }
}
