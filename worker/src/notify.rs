//! Delivering notifications: signed, tried again for two days, each attempt noted. At least once, under one id.
//!
//! Runs on every worker beside its batches and holds none of their slots: a receiver that hangs keeps nobody's stock
//! waiting.

use std::sync::Arc;
use std::time::Duration;

use lockstep_shared::db::{self, Isolation};
use lockstep_shared::id::{NotificationId, OrgId, Token};
use lockstep_shared::notification::{self, Attempt, Letter, Status};
use lockstep_shared::secret::{Owner, SealingKey};
use lockstep_shared::telemetry::Chain;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::connector::http::{self, FetchError};

/// Longest that a receiver may take to answer: what Standard Webhooks proposes at most.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How long a notification is a worker's, longer than an attempt takes.
const HELD_FOR: Duration = Duration::from_mins(1);

/// Most notifications that one process has on their way at once.
const AT_ONCE: usize = 16;

/// What it takes to deliver.
#[derive(Debug)]
pub struct Courier {
    pub pool: PgPool,
    pub http: http::Client,
    pub key: SealingKey,
}

/// Delivers until told to stop. What is under way by then is delivered again by another worker.
pub async fn keep(courier: Arc<Courier>, every: Duration, stop: CancellationToken) {
    let mut beat = tokio::time::interval(every);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
            _ = beat.tick() => {
                if let Err(error) = take_up(&courier, &mut under_way).await {
                    tracing::warn!(error = %Chain(&error), "notifications can't be claimed; trying again");
                }
            }
        }
    }
}

async fn take_up(courier: &Arc<Courier>, under_way: &mut JoinSet<()>) -> Result<(), sqlx::Error> {
    let room = i32::try_from(AT_ONCE.saturating_sub(under_way.len())).unwrap_or_default();
    if room == 0 {
        return Ok(());
    }
    let token = Token::random();
    let mut db = courier.pool.acquire().await?;
    for (org, id) in notification::claim(&mut db, token, HELD_FOR, room).await? {
        let courier = courier.clone();
        under_way.spawn(async move {
            if let Err(error) = deliver(&courier, org, (id, token)).await {
                tracing::warn!(error = %Chain(&error), org.id = %org, notification.id = %id, "a notification is tried again later");
            }
        });
    }
    Ok(())
}

async fn deliver(courier: &Courier, org: OrgId, key: (NotificationId, Token)) -> Result<(), sqlx::Error> {
    let mut tx = db::begin(&courier.pool, org, Isolation::ReadCommitted).await?;
    let Some(letter) = notification::read(&mut tx, org, key).await? else {
        return Ok(());
    };
    tx.commit().await?;
    let answer = send(courier, org, key.0, &letter).await;
    let is_unwanted = answer == Ok(410);
    let attempt = judge(answer, letter.attempts, rand::random());
    let mut tx = db::begin(&courier.pool, org, Isolation::ReadCommitted).await?;
    if notification::attempted(&mut tx, org, key, &attempt).await? {
        if is_unwanted {
            let because = "it answered 410: it wants to hear nothing more";
            notification::disable(&mut tx, org, letter.endpoint_id, because).await?;
        }
        tx.commit().await?;
    }
    Ok(())
}

async fn send(courier: &Courier, org: OrgId, id: NotificationId, letter: &Letter) -> Result<u16, FetchError> {
    // Whoever runs us can put that right.
    let unable = |error: &dyn std::fmt::Display| FetchError::Unavailable(error.to_string());
    let secret = courier
        .key
        .open(org, Owner::Endpoint(letter.endpoint_id), &letter.sealed)
        .map_err(|error| unable(&error))?;
    let body = notification::body(letter.event, letter.created_at, &letter.data);
    let sent_at = letter.now.timestamp();
    let signature = notification::signature(&secret, id, sent_at, &body)
        .ok_or_else(|| unable(&"its secret can't be signed with"))?;
    let headers = [
        ("webhook-id", id.to_string()),
        ("webhook-timestamp", sent_at.to_string()),
        ("webhook-signature", signature),
    ];
    courier.http.tell(&letter.url, &headers, body, TIMEOUT).await
}

/// Tells what an attempt came to, after so many before it.
fn judge(answer: Result<u16, FetchError>, attempts_before: i32, jitter: f64) -> Attempt {
    let (response_status, error) = match answer {
        Ok(status @ 200..=299) => {
            return Attempt {
                status: Status::Delivered,
                response_status: Some(status.into()),
                error: None,
                wait: Duration::ZERO,
            };
        }
        Ok(status) => (Some(i32::from(status)), format!("it answered {status}")),
        Err(FetchError::Refused(words)) => {
            return Attempt {
                status: Status::Failed,
                response_status: None,
                error: Some(words),
                wait: Duration::ZERO,
            };
        }
        Err(FetchError::Unavailable(words)) => (None, words),
    };
    let wait = notification::wait(attempts_before.unsigned_abs() + 1, jitter);
    Attempt {
        status: if wait.is_some() {
            Status::Pending
        } else {
            Status::Failed
        },
        response_status,
        error: Some(error),
        wait: wait.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_2xx_is_an_answer_and_the_last_attempt_gives_up() {
        assert_eq!(judge(Ok(204), 0, 0.0).status, Status::Delivered, "R54");
        let refused = judge(Ok(301), 0, 0.0);
        assert_eq!(
            (refused.status, refused.wait),
            (Status::Pending, Duration::from_secs(5))
        );
        let down = judge(Err(FetchError::Unavailable("no route".to_owned())), 8, 0.0);
        assert_eq!(
            (down.status, down.error.as_deref()),
            (Status::Failed, Some("no route"))
        );
        let inside = judge(Err(FetchError::Refused("inside".to_owned())), 0, 0.0);
        assert_eq!(
            (inside.status, inside.error.as_deref()),
            (Status::Failed, Some("inside")),
            "R72"
        );
    }
}
