//! News of syncs: what Postgres tells about commands that were applied, for whoever waits in this process.
//!
//! News only has somebody look earlier than they would have: what they see then, the rows say. One that is lost costs a
//! second at most, because those who wait look by themselves that often.

use std::time::Duration;

use lockstep_shared::control::CHANNEL;
use lockstep_shared::id::SyncId;
use lockstep_shared::telemetry::Chain;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio_util::sync::CancellationToken;

/// Longest that somebody who waits goes without a look of their own.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// News that a slow listener may be behind by; one that is further behind looks at once.
const BACKLOG: usize = 256;

/// How long to go without news after the database could not be listened to.
const PAUSE: Duration = Duration::from_secs(1);

/// The news of one process.
#[derive(Debug)]
pub struct News {
    told: Sender<SyncId>,
}

impl Default for News {
    fn default() -> Self {
        Self {
            told: broadcast::channel(BACKLOG).0,
        }
    }
}

impl News {
    /// Begins to listen for news of a sync. To be called before looking: what happens in between is not missed.
    pub fn of(&self, sync: SyncId) -> Listening {
        Listening {
            sync,
            told: self.told.subscribe(),
        }
    }

    /// Passes on what the database tells until told to stop.
    pub async fn keep(&self, pool: &PgPool, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                error = self.listen(pool) => {
                    tracing::warn!(error = %Chain(&error), "news of commands can't be heard; who waits looks every second");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn listen(&self, pool: &PgPool) -> sqlx::Error {
        let mut listener = match PgListener::connect_with(pool).await {
            Ok(listener) => listener,
            Err(error) => return error,
        };
        if let Err(error) = listener.listen(CHANNEL).await {
            return error;
        }
        loop {
            match listener.recv().await {
                Ok(notification) => {
                    if let Ok(sync) = notification.payload().parse() {
                        // Nobody may be waiting.
                        let _ = self.told.send(sync);
                    }
                }
                Err(error) => return error,
            }
        }
    }
}

/// Somebody who waits for news of one sync.
#[derive(Debug)]
pub struct Listening {
    sync: SyncId,
    told: Receiver<SyncId>,
}

impl Listening {
    /// Resolves when there is news, or when it is time to look anyway.
    pub async fn look(&mut self) {
        let heard = async {
            loop {
                match self.told.recv().await {
                    Ok(sync) if sync == self.sync => return,
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Lagged(_)) => return,
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        let _ = tokio::time::timeout(LOOK_EVERY, heard).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_waits_hears_of_their_own_sync_only() {
        let news = News::default();
        let (own, other) = (SyncId::random(), SyncId::random());
        let mut listening = news.of(own);

        news.told.send(other).unwrap();
        assert!(listening.look().now_or_never().is_none(), "R6");
        news.told.send(own).unwrap();
        assert!(listening.look().now_or_never().is_some(), "R6");
    }

    #[tokio::test]
    async fn who_missed_too_much_looks_at_once() {
        let news = News::default();
        let mut listening = news.of(SyncId::random());

        for _ in 0..=BACKLOG {
            news.told.send(SyncId::random()).unwrap();
        }

        assert!(listening.look().now_or_never().is_some(), "R6");
    }
}
