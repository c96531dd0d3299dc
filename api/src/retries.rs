//! Retries of syncs: what failed in one that is over, as a new one of just those items (R55).

use std::collections::BTreeSet;

use lockstep_shared::activity::Outcome;
use lockstep_shared::id::SyncId;
use lockstep_shared::sync::{self, Config, NewSync, retry};
use lockstep_shared::telemetry::traceparent;
use poem_openapi::OpenApi;
use poem_openapi::param::{Header, Path};
use serde_json::json;
use uuid::Uuid;

use crate::auth::{Authenticated, commit};
use crate::document::Tag;
use crate::problem::{Kind, Refused, failed};
use crate::syncs::{Started, not_started};

pub(crate) struct Retries;

#[OpenApi(prefix_path = "/api/v1/syncs", tag = "Tag::Syncs")]
impl Retries {
    /// Retry a sync's failures
    ///
    /// Starts a sync of just the items that failed in one that is over, are failed still, and were tried by no later sync. It
    /// goes about them as the first one did, but reads nothing: each is looked up before it is written. What waits for a
    /// person is not among them, nor what belongs to a connection that needs attention.
    #[oai(path = "/:syncId/retry", method = "post", operation_id = "retrySync")]
    async fn retry(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the sync that is over.
        #[oai(name = "syncId")]
        Path(sync_id): Path<Uuid>,
        /// Trace that the request belongs to, after W3C Trace Context. The sync's work continues it; what can't be read
        /// is ignored.
        #[oai(name = "traceparent")]
        Header(trace): Header<Option<String>>,
    ) -> Result<Started, Refused> {
        let (org, of) = (session.org(), SyncId(sync_id));
        let mut tx = session.begin().await?;
        let first = sync::find(&mut tx, org, of)
            .await
            .map_err(failed("could not read a sync"))?
            .ok_or_else(|| Refused::not_found("there is no such sync"))?;
        if !first.status.is_final() {
            let detail = format!(
                "the sync is `{}`: wait for its end, or cancel it",
                first.status.name()
            );
            return Err(Refused::conflict(Kind::SyncNotOver, detail));
        }
        let kinds = retry::failed(&mut tx, org, of)
            .await
            .map_err(failed("could not look up what failed in a sync"))?;
        if kinds.is_empty() {
            return Err(Refused::conflict(
                Kind::NothingToRetry,
                "nothing is failed that this sync tried last, at a connection that can be used",
            ));
        }
        let new = NewSync {
            sync_id: SyncId::random(),
            systems: distinct(kinds.iter().map(|kind| kind.system)),
            entity_types: distinct(kinds.iter().map(|kind| kind.entity)),
            connections: distinct(kinds.iter().map(|kind| kind.connection)),
            config: Config {
                full_scan: false,
                ..first.config
            },
            requested_by: session.caller.subject.clone(),
            traceparent: trace.as_deref().and_then(traceparent),
        };
        retry::start(&mut tx, org, &new, of).await.map_err(not_started)?;
        let details = json!({
            "retryOf": of,
            "items": kinds.iter().map(|kind| kind.items).sum::<i64>(),
            "systems": new.systems,
            "entityTypes": new.entity_types,
            "connectionIds": new.connections,
            "syncConfig": new.config,
        });
        let requested = ("sync.requested", Outcome::Done);
        session
            .record_line(&mut tx, Some(new.sync_id), requested, details)
            .await?;
        commit(tx).await?;
        tracing::info!(org.id = %org, sync.id = %new.sync_id, "retry of sync {of} requested");
        Ok(Started::queued(new.sync_id))
    }
}

fn distinct<T: Ord>(all: impl Iterator<Item = T>) -> Vec<T> {
    all.collect::<BTreeSet<_>>().into_iter().collect()
}
