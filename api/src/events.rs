//! Progress as it happens: a stream of server-sent events per sync.
//!
//! Each stream reads the sync every second, whichever process works on it. It ends after the sync's end, when the process
//! is to end, and after a quarter of an hour, so that a token that does not hold any more is noticed; whoever still wants
//! to know asks again.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream, StreamExt};
use lockstep_shared::id::SyncId;
use lockstep_shared::sync::Status;
use poem::web::sse::Event;
use poem_openapi::param::Path;
use poem_openapi::payload::EventStream;
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use tokio::time::Instant;
use uuid::Uuid;

use crate::auth::{Authenticated, Session};
use crate::document::Tag;
use crate::problem::Refused;
use crate::syncs::{self, SyncProgress, SyncStatus};

/// How often a stream looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest silence; then a comment shows that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a stream may last.
const LIMIT: Duration = Duration::from_mins(15);
/// Looks in a row that may fail before the stream ends.
const FAILURES: u32 = 30;

/// What an event is about; also the event's name in the stream. `status`: the sync stands elsewhere, or this is the first
/// event. `progress`: it got on. `end`: it is over, and the stream with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum SyncEventKind {
    Status,
    Progress,
    End,
}

impl SyncEventKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Progress => "progress",
            Self::End => "end",
        }
    }

    /// Tells what there is to say of a sync after what was said last; `None`: nothing.
    fn of(said: Option<&Said>, now: &Said) -> Option<Self> {
        if now.status.is_final() {
            return Some(Self::End);
        }
        match said {
            Some(said) if said == now => None,
            Some(said) if said.status == now.status => Some(Self::Progress),
            Some(_) | None => Some(Self::Status),
        }
    }
}

/// One event of a sync: where it stands, and how far it is.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct SyncEvent {
    /// What the event is about.
    kind: SyncEventKind,
    /// Identifier of the sync.
    sync_id: Uuid,
    /// When this was so.
    at: DateTime<Utc>,
    /// Where the sync stands.
    status: SyncStatus,
    /// How far it is.
    progress: SyncProgress,
}

#[derive(ApiResponse)]
pub(crate) enum Streamed {
    /// The events, from now until the sync is over.
    #[oai(status = 200)]
    Events(EventStream<BoxStream<'static, SyncEvent>>),
}

pub(crate) struct Events;

#[OpenApi(prefix_path = "/api/v1/syncs", tag = "Tag::Syncs")]
impl Events {
    /// Watch a sync
    ///
    /// Sends where the sync stands and how far it is as server-sent events: at once, and then whenever that changed, once a
    /// second at most. The event after which the sync is over is named `end`; then the stream ends. A stream also ends
    /// after a quarter of an hour: ask again to go on watching. Comments keep a silent one alive.
    #[oai(path = "/:syncId/events", method = "get", operation_id = "watchSync")]
    async fn watch(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the sync.
        #[oai(name = "syncId")]
        Path(sync_id): Path<Uuid>,
    ) -> Result<Streamed, Refused> {
        let first = look(&session, SyncId(sync_id)).await?;
        let watch = Watch {
            session,
            sync: SyncId(sync_id),
            until: Instant::now() + LIMIT,
            first: Some(first),
            said: None,
        };
        let events = stream::unfold(watch, |mut watch| async move {
            let event = watch.next().await?;
            Some((event, watch))
        });
        let events = EventStream::new(events.boxed())
            .keep_alive(HEARTBEAT)
            .to_event(|event| Event::message(event.to_json_string()).event_type(event.kind.name()));
        Ok(Streamed::Events(events))
    }
}

/// What a stream has said.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    status: Status,
    progress: SyncProgress,
}

/// Somebody who watches a sync.
struct Watch {
    session: Session,
    sync: SyncId,
    until: Instant,
    /// What was seen before the stream began; from then on it looks by itself.
    first: Option<Seen>,
    said: Option<Said>,
}

struct Seen {
    at: DateTime<Utc>,
    said: Said,
}

async fn look(session: &Session, sync: SyncId) -> Result<Seen, Refused> {
    let shown = syncs::look(session, sync).await?;
    Ok(Seen {
        at: shown.now,
        said: Said {
            status: shown.view.status,
            progress: shown.progress(),
        },
    })
}

impl Watch {
    /// Waits for the next thing to say. `None`: the stream is over.
    async fn next(&mut self) -> Option<SyncEvent> {
        if self.said.as_ref().is_some_and(|said| said.status.is_final()) {
            return None;
        }
        let mut failures = 0;
        loop {
            let seen = if let Some(first) = self.first.take() {
                Ok(first)
            } else {
                self.pause().await?;
                look(&self.session, self.sync).await
            };
            match seen {
                Ok(seen) => {
                    failures = 0;
                    if let Some(kind) = SyncEventKind::of(self.said.as_ref(), &seen.said) {
                        return Some(self.say(kind, seen));
                    }
                }
                // It was logged where it came from. A database that restarts is back before long.
                Err(Refused::Unavailable(..)) if failures < FAILURES => failures += 1,
                Err(_) => return None,
            }
        }
    }

    /// Lets a moment pass. `None`: there is no next look.
    async fn pause(&self) -> Option<()> {
        let next = Instant::now() + LOOK_EVERY;
        if next > self.until {
            return None;
        }
        let mut closing = self.session.context.closing.clone();
        tokio::select! {
            () = tokio::time::sleep_until(next) => Some(()),
            _ = closing.wait_for(|is_closing| *is_closing) => None,
        }
    }

    fn say(&mut self, kind: SyncEventKind, seen: Seen) -> SyncEvent {
        let event = SyncEvent {
            kind,
            sync_id: self.sync.0,
            at: seen.at,
            status: seen.said.status.into(),
            progress: seen.said.progress.clone(),
        };
        self.said = Some(seen.said);
        event
    }
}

#[cfg(test)]
mod tests {
    use lockstep_shared::progress::Progress;

    use super::*;

    fn said(status: Status, settled: i64) -> Said {
        let mut progress = Progress::of(status, &[], &[], DateTime::UNIX_EPOCH);
        progress.settled = settled;
        Said {
            status,
            progress: SyncProgress::of(progress, Vec::new()),
        }
    }

    #[test]
    fn an_event_says_what_changed() {
        let event = |before: Option<&Said>, now: &Said| SyncEventKind::of(before, now);
        let began = said(Status::Processing, 0);

        assert_eq!(event(None, &began), Some(SyncEventKind::Status), "R48");
        assert_eq!(event(Some(&began), &began), None, "R48");
        let later = said(Status::Processing, 1);
        assert_eq!(event(Some(&began), &later), Some(SyncEventKind::Progress), "R48");
        let paused = said(Status::Paused, 1);
        assert_eq!(event(Some(&later), &paused), Some(SyncEventKind::Status), "R48");
        let over = said(Status::Done, 1);
        assert_eq!(event(Some(&paused), &over), Some(SyncEventKind::End), "R48");
        assert_eq!(event(None, &over), Some(SyncEventKind::End), "R48");
    }
}
