//! The audit trail, as the API shows it.

use chrono::{DateTime, Utc};
use lockstep_shared::activity::{self, After, Filter, Line, Outcome};
use lockstep_shared::id::SyncId;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::types::Any;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde_json::Value;
use uuid::Uuid;

use crate::auth::Authenticated;
use crate::document::Tag;
use crate::page;
use crate::problem::{Refused, failed};

/// How it ended. `refused`: what was asked for was not done, and the caller was told why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase", remote = "Outcome")]
pub(crate) enum ActivityOutcome {
    Done,
    Refused,
    Failed,
}

/// One thing that happened.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
#[expect(
    clippy::struct_field_names,
    reason = "identifiers say of what, everywhere in the API"
)]
pub(crate) struct Activity {
    /// Identifier of the line.
    activity_id: Uuid,
    /// When it happened.
    created_at: DateTime<Utc>,
    /// Who did it: the `sub` of a token, `api-key:` and the identifier of a key, or `worker`.
    actor: String,
    /// What was done, as `thing.verb`.
    action: String,
    /// How it ended.
    outcome: ActivityOutcome,
    /// The sync that it was about, where it was about one.
    sync_id: Option<Uuid>,
    /// Address that the request came from; left out for what a worker did.
    source_address: Option<String>,
    /// The request's `X-Request-Id`; left out for what a worker did.
    request_id: Option<String>,
    /// More about it, by the kind of action.
    details: Any<Value>,
}

impl From<Line> for Activity {
    fn from(line: Line) -> Self {
        Self {
            activity_id: line.activity_id,
            created_at: line.created_at,
            actor: line.actor,
            action: line.action,
            outcome: line.outcome.into(),
            sync_id: line.sync_id.map(|id| id.0),
            source_address: line.source_address,
            request_id: line.request_id,
            details: Any(line.details),
        }
    }
}

/// A page of the audit trail.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct ActivityPage {
    /// What happened, newest first.
    items: Vec<Activity>,
    /// Where the list goes on; absent on the last page.
    next_cursor: Option<String>,
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Listed {
    /// A page of the audit trail.
    #[oai(status = 200, content_type = "application/json")]
    Page(Json<ActivityPage>),
}

pub(crate) struct Activities;

#[OpenApi(prefix_path = "/api/v1/activity", tag = "Tag::Organisation")]
impl Activities {
    /// List activity
    ///
    /// Lists what happened in the organisation, newest first, a page at a time: every command and every change of
    /// configuration, accepted or refused, and what workers did. Nothing of it can be changed.
    #[oai(path = "/", method = "get", operation_id = "listActivities")]
    #[expect(clippy::too_many_arguments, reason = "each is a filter of the list")]
    async fn list(
        &self,
        Authenticated(session): Authenticated,
        /// Only this action, such as `sync.requested`.
        #[oai(validator(max_length = 100))]
        Query(action): Query<Option<String>>,
        /// Only what this caller did.
        #[oai(validator(max_length = 250))]
        Query(actor): Query<Option<String>>,
        /// Only what ended so.
        Query(outcome): Query<Option<ActivityOutcome>>,
        /// Only what was about this sync.
        #[oai(name = "syncId")]
        Query(sync_id): Query<Option<Uuid>>,
        /// Only what this request did, by its `X-Request-Id`.
        #[oai(name = "requestId", validator(max_length = 128))]
        Query(request_id): Query<Option<String>>,
        /// Only what happened then or later.
        Query(from): Query<Option<DateTime<Utc>>>,
        /// Only what happened before.
        Query(to): Query<Option<DateTime<Utc>>>,
        /// Where to go on: the `nextCursor` of the page before.
        Query(cursor): Query<Option<String>>,
        /// Most lines on the page, 50 where it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        Query(limit): Query<Option<i32>>,
    ) -> Result<Listed, Refused> {
        // A text with U+0000 can't be in the database, nor be sent to it.
        let text = |given: Option<String>| given.map(|text| text.replace('\0', "\u{fffd}"));
        let filter = Filter {
            action: text(action),
            actor: text(actor),
            outcome: outcome.map(Outcome::from),
            sync: sync_id.map(SyncId),
            request_id: text(request_id),
            from,
            to,
        };
        let after: Option<(DateTime<Utc>, Uuid)> = page::decode(cursor.as_deref())?;
        let after = after.map(|(created_at, activity_id)| After {
            created_at,
            activity_id,
        });
        let limit = page::rows_for(limit);
        let mut tx = session.begin().await?;
        let mut lines = activity::list(&mut tx, session.org(), &filter, after, limit)
            .await
            .map_err(failed("could not list the activity"))?;
        let next_cursor = page::cut(&mut lines, limit, |last| (last.created_at, last.activity_id));
        let items = lines.into_iter().map(Activity::from).collect();
        Ok(Listed::Page(Json(ActivityPage { items, next_cursor })))
    }
}
