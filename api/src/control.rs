//! Pausing, resuming and cancelling a sync. Only written down here, with a bell: workers carry it out.

use lockstep_shared::activity::Outcome;
use lockstep_shared::command::{self, Kind as Canonical, NewCommand};
use lockstep_shared::control;
use lockstep_shared::id::SyncId;
use lockstep_shared::sync::{self, Status};
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde_json::json;
use uuid::Uuid;

use crate::auth::{Authenticated, Session, commit};
use crate::document::Tag;
use crate::problem::{Kind, Problem, Refused, boxed, failed};
use crate::syncs::SyncStatus;

/// What can be asked of a sync that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum SyncCommand {
    Pause,
    Resume,
    Cancel,
}

impl From<SyncCommand> for Canonical {
    fn from(command: SyncCommand) -> Self {
        match command {
            SyncCommand::Pause => Self::Pause,
            SyncCommand::Resume => Self::Resume,
            SyncCommand::Cancel => Self::Cancel,
        }
    }
}

impl SyncCommand {
    const ALL: [Self; 3] = [Self::Pause, Self::Resume, Self::Cancel];

    /// The verb's participle.
    const fn done(self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Cancel => "cancelled",
        }
    }

    /// Lists what is possible where a sync stands.
    fn possible(status: Status) -> Vec<Self> {
        let possible = status.commands();
        let is_possible = |command: &Self| possible.contains(&(*command).into());
        Self::ALL.into_iter().filter(is_possible).collect()
    }
}

/// A command that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct AcceptedCommand {
    /// Identifier of the sync.
    sync_id: Uuid,
    /// What was asked.
    command: SyncCommand,
    /// Where the sync is to stand once this and what was asked before it is applied: at once, where a worker is there.
    status: SyncStatus,
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Accepted {
    /// It was accepted; the sync shows what becomes of it.
    #[oai(status = 202, content_type = "application/json")]
    Command(
        Json<AcceptedCommand>,
        /// Address of the sync.
        #[oai(header = "Location")]
        String,
    ),
}

pub(crate) struct Control;

#[OpenApi(prefix_path = "/api/v1/syncs", tag = "Tag::Syncs")]
impl Control {
    /// Pause a sync
    ///
    /// Has a sync stand still. Within two seconds no new request to a system begins; one that is under way ends and is
    /// noted, and until then the sync is `pausing`. What was not sent stays as it is, for who resumes it. A sync that is
    /// queued is not begun.
    #[oai(path = "/:syncId/pause", method = "post", operation_id = "pauseSync")]
    async fn pause(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the sync.
        #[oai(name = "syncId")]
        Path(sync_id): Path<Uuid>,
    ) -> Result<Accepted, Refused> {
        ask(&session, SyncId(sync_id), SyncCommand::Pause).await
    }

    /// Resume a sync
    ///
    /// Has a sync that is paused, or about to be, go on where it stopped.
    #[oai(path = "/:syncId/resume", method = "post", operation_id = "resumeSync")]
    async fn resume(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the sync.
        #[oai(name = "syncId")]
        Path(sync_id): Path<Uuid>,
    ) -> Result<Accepted, Refused> {
        ask(&session, SyncId(sync_id), SyncCommand::Resume).await
    }

    /// Cancel a sync
    ///
    /// Ends a sync before it is through. Within two seconds no new request to a system begins; one that is under way ends
    /// and is noted, and until then the sync is `cancelling`. What was written stays written, and is known to be; what was
    /// not is due for the next sync.
    #[oai(path = "/:syncId/cancel", method = "post", operation_id = "cancelSync")]
    async fn cancel(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the sync.
        #[oai(name = "syncId")]
        Path(sync_id): Path<Uuid>,
    ) -> Result<Accepted, Refused> {
        ask(&session, SyncId(sync_id), SyncCommand::Cancel).await
    }
}

/// Writes a command down, with its bell, unless it is not possible where the sync will stand by then.
pub(crate) async fn ask(session: &Session, id: SyncId, asked: SyncCommand) -> Result<Accepted, Refused> {
    let org = session.org();
    let mut tx = session.begin().await?;
    sync::find(&mut tx, org, id)
        .await
        .map_err(failed("could not read a sync"))?
        .ok_or_else(|| Refused::not_found("there is no such sync"))?;
    // With the row locked nobody asks for anything in between.
    let status = control::hold(&mut tx, org, id)
        .await
        .map_err(failed("could not lock a sync"))?;
    let waiting = command::waiting(&mut tx, org, id)
        .await
        .map_err(failed("could not read a sync's commands"))?;
    let outlook = status.outlook(&waiting);
    let Some(next) = outlook.after(asked.into()) else {
        return Err(not_possible(asked, outlook));
    };
    let new = NewCommand {
        sync: id,
        kind: asked.into(),
        requested_by: session.caller.subject.clone(),
        traceparent: None,
    };
    command::enqueue(&mut tx, org, &new)
        .await
        .map_err(failed("could not store a command"))?;
    let action = match asked {
        SyncCommand::Pause => "sync.pause_requested",
        SyncCommand::Resume => "sync.resume_requested",
        SyncCommand::Cancel => "sync.cancel_requested",
    };
    session
        .record_line(&mut tx, Some(id), (action, Outcome::Done), json!({}))
        .await?;
    commit(tx).await?;
    tracing::info!(org.id = %org, sync.id = %id, command = new.kind.name(), "command accepted");
    let accepted = AcceptedCommand {
        sync_id: id.0,
        command: asked,
        status: next.into(),
    };
    Ok(Accepted::Command(Json(accepted), format!("/api/v1/syncs/{id}")))
}

fn not_possible(asked: SyncCommand, status: Status) -> Refused {
    let possible = SyncCommand::possible(status);
    let detail = format!("a sync that is {} can't be {}", status.name(), asked.done());
    Refused::Conflict(boxed(Problem {
        sync_status: Some(status.into()),
        possible_commands: Some(possible),
        ..Problem::new(Kind::NotPossibleNow, detail)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_state_and_what_is_possible() {
        let Refused::Conflict(Json(problem)) = not_possible(SyncCommand::Pause, Status::Paused) else {
            panic!("a conflict");
        };

        assert_eq!(problem.status, 409);
        assert_eq!(problem.kind, "https://lockstep.dev/problems/not-possible-now");
        assert_eq!(problem.detail, "a sync that is paused can't be paused");
        assert_eq!(problem.sync_status, Some(SyncStatus::Paused), "R1");
        assert_eq!(
            problem.possible_commands,
            Some(vec![SyncCommand::Resume, SyncCommand::Cancel]),
            "R1"
        );
    }
}
