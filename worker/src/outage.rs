//! What a batch does about a system that is not well: it tells the fleet, waits without a slot, or is the one that probes.
//!
//! A probe is a harmless call of its own, not what the batch is about: a system that breaks on one request only is well, and
//! that request uses its attempts up; one that is down costs nobody an attempt, until the stages that need it give up.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use lockstep_shared::activity::{self, Activity, Outcome};
use lockstep_shared::circuit::{self, Circuit, Eagerness, Mishap, Report, State};
use lockstep_shared::db::{self, Isolation, OrgTx};
use lockstep_shared::id::{ConnectionId, OrgId, Token};
use serde_json::json;

use crate::batch::{BatchError, End, Fleet, Hand};
use crate::connector::{CallError, Connector};
use crate::gate::held_for;

/// Time in which a probe has its token.
const PROBE_WAIT: Duration = Duration::from_mins(2);

/// Returns what a failed call says about the system; `None` where it says nothing against it.
pub fn mishap(error: &CallError) -> Option<Mishap> {
    match error {
        CallError::Unwell { .. } => Some(Mishap::Failed),
        CallError::Throttled {
            status: 503,
            retry_after,
            ..
        } => Some(Mishap::Unavailable {
            retry_after: *retry_after,
        }),
        CallError::Throttled { retry_after, .. } => Some(Mishap::Throttled {
            retry_after: *retry_after,
        }),
        CallError::Held(_)
        | CallError::Unauthorised { .. }
        | CallError::Forbidden { .. }
        | CallError::Refused { .. } => None,
    }
}

/// Tells the fleet of a mishap. Returns what is known of the system after it.
pub async fn report(
    fleet: &Fleet,
    tx: &mut OrgTx,
    (org, connection): (OrgId, ConnectionId),
    caller: Token,
    (mishap, error): (Mishap, &str),
) -> Result<Circuit, sqlx::Error> {
    let before = circuit::find(tx, org, connection).await?;
    let report = Report {
        connection,
        mishap,
        caller,
        error,
        jitter: rand::random(),
    };
    let after = circuit::note(tx, org, report, &fleet.config.circuit).await?;
    let was_closed = before.is_none_or(|before| before.state == State::Closed);
    if was_closed && after.state == State::Open {
        record(tx, (org, connection), "circuit.opened", Some(error)).await?;
        tracing::warn!(org.id = %org, connection.id = %connection, error, "a circuit opened: nobody calls the system but a probe");
    }
    Ok(after)
}

/// Tells the fleet that the system answers.
pub async fn recover(
    tx: &mut OrgTx,
    (org, connection): (OrgId, ConnectionId),
    caller: Token,
    was: State,
) -> Result<(), sqlx::Error> {
    if circuit::succeed(tx, org, connection, caller).await? && was != State::Closed {
        record(tx, (org, connection), "circuit.closed", None).await?;
        tracing::info!(org.id = %org, connection.id = %connection, "a circuit closed");
    }
    Ok(())
}

async fn record(
    tx: &mut OrgTx,
    (org, connection): (OrgId, ConnectionId),
    action: &'static str,
    error: Option<&str>,
) -> Result<(), sqlx::Error> {
    let line = Activity {
        sync: None,
        actor: "worker".to_owned(),
        action,
        outcome: if error.is_some() {
            Outcome::Failed
        } else {
            Outcome::Done
        },
        details: json!({ "connectionId": connection, "error": error }),
    };
    activity::record(tx, org, line).await
}

/// Looks at the circuit before a batch begins: it goes on, waits, or probes for everyone. Returns how it ends where it
/// can't begin.
pub async fn before(hand: &Hand<'_>, connector: &dyn Connector) -> Result<Option<End>, BatchError> {
    let Some(circuit) = &hand.circuit else {
        return Ok(None);
    };
    if circuit.state == State::Closed {
        // A pause that was asked for is the gate's.
        return Ok(None);
    }
    let length = held_for(hand.fleet.config.http.timeout) + PROBE_WAIT;
    let (org, connection, token) = key(hand);
    let (is_probe, now) = hand
        .persist(|| async {
            let mut tx = hand.begin(Isolation::ReadCommitted).await?;
            let claimed = (token, length);
            let is_probe = circuit::probe(&mut tx, org, connection, claimed, Eagerness::Patient).await?;
            let now = db::now(&mut tx).await?;
            tx.commit().await?;
            Ok((is_probe, now))
        })
        .await?;
    if !is_probe {
        return Ok(Some(put_off(hand, circuit, now)));
    }
    let probed = connector.ping(&hand.gate).await;
    hand.lease.progress();
    match probed {
        Err(error) if mishap(&error).is_some() => hand
            .after(&error, |words| End::StageOver { failure: Some(words) })
            .await
            .map(Some),
        // Nothing was asked.
        Err(error @ (CallError::Held(_) | CallError::Forbidden { .. })) => {
            let mut tx = hand.begin(Isolation::ReadCommitted).await?;
            circuit::give_up_probe(&mut tx, org, connection, token).await?;
            tx.commit().await?;
            let failed = |words| End::StageOver { failure: Some(words) };
            hand.after(&error, failed).await.map(Some)
        }
        // Whatever it says, it answers.
        Ok(()) | Err(_) => {
            hand.persist(|| async {
                let mut tx = hand.begin(Isolation::ReadCommitted).await?;
                recover(&mut tx, (org, connection), token, State::HalfOpen).await?;
                Ok(tx.commit().await?)
            })
            .await?;
            Ok(None)
        }
    }
}

fn key(hand: &Hand<'_>) -> (OrgId, ConnectionId, Token) {
    (hand.org, hand.batch.connection_id, hand.lease.token)
}

/// Tells how a batch ends after its system failed, or asked to slow down. `None`: as any call that failed.
pub async fn after(hand: &Hand<'_>, mishap: Mishap, words: &str) -> Result<Option<End>, BatchError> {
    hand.gate.meter.is_marked.store(false, Ordering::Relaxed);
    let (org, connection, token) = key(hand);
    let (circuit, now) = hand
        .persist(|| async {
            let mut tx = hand.begin(Isolation::ReadCommitted).await?;
            let to = (org, connection);
            let circuit = report(hand.fleet, &mut tx, to, token, (mishap, words)).await?;
            let now = db::now(&mut tx).await?;
            tx.commit().await?;
            Ok((circuit, now))
        })
        .await?;
    if circuit.state == State::Closed && mishap == Mishap::Failed {
        return Ok(None);
    }
    let attempts = hand.batch.attempts;
    let is_own =
        mishap == Mishap::Failed && hand.circuit.as_ref().is_none_or(|was| was.state == State::Closed);
    Ok(Some(match put_off(hand, &circuit, now) {
        End::Later { at, error, .. } => End::Later {
            at,
            // Its own call failed, and it may be its own fault. What happens to a probe is not.
            attempts: (attempts + i32::from(is_own)).min(hand.sync.max_retries.into()),
            error,
        },
        end => end,
    }))
}

/// Tells how a batch ends for which the gate found the circuit open: it waits, unless it has been so for too long.
pub async fn at_gate(hand: &Hand<'_>, until: DateTime<Utc>) -> Result<End, BatchError> {
    let (org, connection, _) = key(hand);
    let (circuit, now) = hand
        .persist(|| async {
            let mut tx = hand.begin(Isolation::ReadCommitted).await?;
            let circuit = circuit::find(&mut tx, org, connection).await?;
            Ok((circuit, db::now(&mut tx).await?))
        })
        .await?;
    Ok(match circuit {
        Some(circuit) if circuit.is_outage(now, &hand.fleet.config.circuit) => give_up(&circuit),
        _ => End::Later {
            at: until,
            attempts: hand.batch.attempts,
            error: None,
        },
    })
}

fn put_off(hand: &Hand<'_>, circuit: &Circuit, now: DateTime<Utc>) -> End {
    let at = circuit.not_before().unwrap_or(now);
    if circuit.is_outage(now, &hand.fleet.config.circuit) {
        return give_up(circuit);
    }
    let at = match circuit.state {
        // The probe may be over any moment.
        State::HalfOpen => at.min(now + Duration::from_secs(2)),
        State::Open | State::Closed => at,
    };
    End::Later {
        at,
        attempts: hand.batch.attempts,
        error: Some(circuit.words()),
    }
}

fn give_up(circuit: &Circuit) -> End {
    End::StageOver {
        failure: Some(circuit.words()),
    }
}

/// Tells the fleet that the last call of a batch that came to its end succeeded, where that is news.
pub async fn after_success(hand: &Hand<'_>) -> Result<(), BatchError> {
    let meter = &hand.gate.meter;
    if !meter.is_marked.load(Ordering::Relaxed) || meter.passed.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let (org, connection, token) = key(hand);
    let mut tx = hand.begin(Isolation::ReadCommitted).await?;
    recover(&mut tx, (org, connection), token, State::Closed).await?;
    Ok(tx.commit().await?)
}
