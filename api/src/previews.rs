//! Previews: what a dry run would have written, item by item.

use std::collections::BTreeMap;

use lockstep_shared::id::SyncId;
use lockstep_shared::{preview, sync};
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Any;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde_json::Value;
use uuid::Uuid;

use crate::auth::Authenticated;
use crate::document::Tag;
use crate::page;
use crate::problem::{Refused, failed};
use crate::syncs::EntityType;

/// What would happen to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", remote = "preview::Action")]
pub(crate) enum PreviewAction {
    Create,
    Update,
    Delete,
    Unchanged,
    /// A rule or a person would have to decide.
    Conflict,
    /// The system could not hold it.
    Refused,
    /// Something else has to be carried first.
    Waits,
    /// The system does not have it any more: it would count as deleted there.
    Vanished,
}

/// A field that would change.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct FieldChange {
    /// What the system holds; left out where it holds nothing.
    from: Option<Any<Value>>,
    /// What it would be given; left out where it would be cleared.
    to: Option<Any<Value>>,
}

/// What would happen to one record in one system.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct Preview {
    /// Identifier of the connection whose system is meant.
    connection_id: Uuid,
    /// Type of the record.
    entity_type: EntityType,
    /// Identifier of the record.
    record_id: Uuid,
    /// What would happen.
    action: PreviewAction,
    /// What would change, by the path of the field.
    changes: BTreeMap<String, FieldChange>,
    /// Why, where nothing could be written.
    reason: Option<String>,
}

/// A page of previews.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct PreviewPage {
    /// The previews.
    items: Vec<Preview>,
    /// Where the next page starts; left out on the last one.
    next_cursor: Option<String>,
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Listed {
    /// A page of previews.
    #[oai(status = 200, content_type = "application/json")]
    Page(Json<PreviewPage>),
}

impl From<preview::Listed> for Preview {
    fn from(listed: preview::Listed) -> Self {
        let changes: BTreeMap<String, preview::Change> =
            serde_json::from_value(listed.changes).unwrap_or_default();
        Self {
            connection_id: listed.connection_id.0,
            entity_type: listed.entity_type.into(),
            record_id: listed.record_id.0,
            action: listed.action.into(),
            changes: changes
                .into_iter()
                .map(|(path, change)| {
                    let change = FieldChange {
                        from: change.from.map(Any),
                        to: change.to.map(Any),
                    };
                    (path, change)
                })
                .collect(),
            reason: listed.reason,
        }
    }
}

pub(crate) struct Previews;

#[OpenApi(prefix_path = "/api/v1/syncs", tag = "Tag::Syncs")]
impl Previews {
    /// List a dry run's findings
    ///
    /// Lists what a sync with `syncConfig.dryRun` would have written, a page at a time. A sync that writes has none.
    #[oai(path = "/:syncId/previews", method = "get", operation_id = "listPreviews")]
    async fn list(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the sync.
        #[oai(name = "syncId")]
        Path(sync_id): Path<Uuid>,
        /// Where to go on: the `nextCursor` of the page before.
        Query(cursor): Query<Option<String>>,
        /// Most previews on the page, 50 where it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        Query(limit): Query<Option<i32>>,
    ) -> Result<Listed, Refused> {
        let id = SyncId(sync_id);
        let after: Option<Uuid> = page::decode(cursor.as_deref())?;
        let limit = page::rows_for(limit);
        let mut tx = session.begin().await?;
        sync::find(&mut tx, session.org(), id)
            .await
            .map_err(failed("could not read a sync"))?
            .ok_or_else(|| Refused::not_found("there is no such sync"))?;
        let mut rows = preview::list(&mut tx, session.org(), id, after, limit)
            .await
            .map_err(failed("could not list a sync's previews"))?;
        let next_cursor = page::cut(&mut rows, limit, |last| last.preview_id);
        let items = rows.into_iter().map(Preview::from).collect();
        Ok(Listed::Page(Json(PreviewPage { items, next_cursor })))
    }
}
