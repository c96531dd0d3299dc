//! Checks of connections: those that people ask for, and the one that comes by itself before a connection's first sync.
//!
//! Both ask the connector the same question through a gate, so that they take tokens like anything else. One that was
//! asked for is claimed as a batch is, and holds a batch's slot: a slow remote never keeps a pause waiting. One before a
//! sync is part of the batch that needs it: a stage that is not checked, or that a finding stops, is looked at once per
//! sync, so whoever has put something right only has to start the next one.

use std::time::Duration;

use chrono::{DateTime, Utc};
use lockstep_shared::activity::{self, Activity, Outcome};
use lockstep_shared::backoff;
use lockstep_shared::bucket::Caller;
use lockstep_shared::check::{self, Check, Checked, Claim, Finding};
use lockstep_shared::circuit::{self, Circuit, Eagerness, Mishap, State};
use lockstep_shared::connection::{self, Connection};
use lockstep_shared::db::{self, Isolation, OrgTx};
use lockstep_shared::id::{ConnectionId, OrgId, Token};
use lockstep_shared::system::Direction;
use lockstep_shared::{conflict, sync};
use serde_json::json;

use crate::batch::{BatchError, End, Fleet, Hand};
use crate::connector::{CallError, Connector, Hold};
use crate::gate::{CheckGate, Errand, Meter, held_for};
use crate::outage;
use crate::slot::Slot;

/// Looks in a row that come to nothing, after which the remote counts as out of reach.
const ATTEMPTS: i32 = 3;

/// Longest wait before a look that came to nothing is tried again: somebody is waiting for it.
const LONGEST_BACKOFF: Duration = Duration::from_secs(8);

/// How a look at a connection ended.
enum Look {
    /// It came to an end: what was found, or why nothing could be.
    Over(Result<Checked, CallError>),
    /// It is for later.
    Later { wait: Wait, attempts: i32 },
    /// Somebody asked again meanwhile, or another worker took it.
    Lost,
}

enum Wait {
    For(Duration),
    /// The system is not well, as all have to know: until it may be asked again.
    Told(CallError),
    Until(DateTime<Utc>),
}

/// Answers a check's bell. One of a system whose circuit is open is its probe: somebody waits for what it finds.
pub async fn answer(fleet: &Fleet, org: OrgId, id: ConnectionId, slot: Slot) -> Result<(), sqlx::Error> {
    let held_for = held_for(fleet.config.http.timeout);
    let token = Token::random();
    let mut tx = db::begin(&fleet.pool, org, Isolation::ReadCommitted).await?;
    let attempts = match check::claim(&mut tx, org, id, (token, held_for)).await? {
        Claim::Claimed { attempts } => attempts,
        Claim::NotBefore(at) => {
            check::ring_again(&mut tx, org, id, at).await?;
            return tx.commit().await;
        }
        Claim::Nothing => return Ok(()),
    };
    let Some(connection) = connection::find(&mut tx, org, id).await? else {
        return Ok(());
    };
    circuit::probe(&mut tx, org, id, (token, held_for), Eagerness::Now).await?;
    let connector = fleet.remotes.fresh(&mut tx, org, &connection).await;
    tx.commit().await?;
    let caller = Caller {
        org,
        connection: id,
        sync: None,
        token,
    };
    let gate = CheckGate {
        errand: Errand::Check,
        meter: Meter::new(fleet.pool.clone(), caller, fleet.config.patience, slot),
        held_for,
        drain: fleet.drain.clone(),
    };
    let look = match connector {
        Ok(connector) => after(connector.check(&gate).await, attempts),
        Err(error) => Look::Over(Err(CallError::Refused {
            system: connection.system.name(),
            detail: error.to_string(),
        })),
    };
    settle(fleet, (org, &connection), token, look).await
}

/// Tells what a look came to. One that the gate held is no attempt.
fn after(looked: Result<Checked, CallError>, attempts: i32) -> Look {
    let failures = attempts + 1;
    match looked {
        Err(CallError::Held(Hold::LeaseLost)) => Look::Lost,
        Err(CallError::Held(Hold::NoToken { until } | Hold::CircuitOpen { until })) => Look::Later {
            wait: Wait::Until(until),
            attempts,
        },
        Err(CallError::Held(Hold::Draining | Hold::DoorClosed | Hold::Database)) => Look::Later {
            wait: Wait::For(Duration::ZERO),
            attempts,
        },
        Err(error @ (CallError::Throttled { .. } | CallError::Unwell { .. })) if failures < ATTEMPTS => {
            Look::Later {
                wait: Wait::Told(error),
                attempts: failures,
            }
        }
        over @ (Ok(_)
        | Err(
            CallError::Throttled { .. }
            | CallError::Unwell { .. }
            | CallError::Refused { .. }
            | CallError::Unauthorised { .. }
            | CallError::Forbidden { .. },
        )) => Look::Over(over),
    }
}

/// Tells the fleet what a look says about the system. Returns what is known of it where it is not well.
pub async fn tell(
    fleet: &Fleet,
    tx: &mut OrgTx,
    (org, id): (OrgId, ConnectionId),
    token: Token,
    error: Option<&CallError>,
) -> Result<Option<Circuit>, sqlx::Error> {
    if let Some(CallError::Held(_) | CallError::Forbidden { .. }) = error {
        circuit::give_up_probe(tx, org, id, token).await?;
        return Ok(None);
    }
    let said: Option<(Mishap, String)> =
        error.and_then(|error| Some((outage::mishap(error)?, error.to_string())));
    if let Some((mishap, words)) = said {
        let told = outage::report(fleet, tx, (org, id), token, (mishap, &words)).await?;
        return Ok(Some(told));
    }
    let before = circuit::find(tx, org, id).await?;
    let was = before.map_or(State::Closed, |circuit| circuit.state);
    outage::recover(tx, (org, id), token, was).await?;
    Ok(None)
}

async fn settle(
    fleet: &Fleet,
    (org, connection): (OrgId, &Connection),
    token: Token,
    look: Look,
) -> Result<(), sqlx::Error> {
    let id = connection.connection_id;
    let mut tx = db::begin(&fleet.pool, org, Isolation::ReadCommitted).await?;
    let is_ours = match look {
        Look::Lost => false,
        Look::Later { wait, attempts } => {
            let now = db::now(&mut tx).await?;
            let at = match wait {
                Wait::Until(at) => {
                    circuit::give_up_probe(&mut tx, org, id, token).await?;
                    at
                }
                Wait::For(wait) => {
                    circuit::give_up_probe(&mut tx, org, id, token).await?;
                    now + wait
                }
                Wait::Told(error) => {
                    let told = tell(fleet, &mut tx, (org, id), token, Some(&error)).await?;
                    let wait = backoff::wait(attempts.unsigned_abs(), LONGEST_BACKOFF, rand::random());
                    // Its turn to probe comes whenever it asks; a pause that was asked for holds it too.
                    told.and_then(|circuit| circuit.held_until)
                        .unwrap_or(now)
                        .max(now + wait)
                }
            };
            check::put_off(&mut tx, org, id, (token, attempts), at).await?
        }
        Look::Over(result) => {
            tell(fleet, &mut tx, (org, id), token, result.as_ref().err()).await?;
            let told = match &result {
                Ok(checked) => Ok(checked.clone()),
                Err(error) => Err(error.to_string()),
            };
            let is_ours = check::settle(&mut tx, org, id, token, &told).await?;
            if is_ours {
                take_effect(&mut tx, (org, connection), &result).await?;
                tracing::info!(org.id = %org, connection.id = %id, is_well = result.is_ok(), "a connection was checked");
            }
            is_ours
        }
    };
    if is_ours {
        tx.commit().await?;
    }
    Ok(())
}

/// Marks the connection as what its check showed: one whose credentials are refused needs somebody, and one that lets us in
/// does not any more.
async fn take_effect(
    tx: &mut OrgTx,
    (org, connection): (OrgId, &Connection),
    result: &Result<Checked, CallError>,
) -> Result<(), sqlx::Error> {
    let id = connection.connection_id;
    match result {
        Ok(_) => {
            connection::clear_attention(tx, org, id).await?;
            conflict::close_admitted(tx, org, id).await?;
        }
        Err(error @ (CallError::Unauthorised { .. } | CallError::Forbidden { .. })) => {
            let refused = (id, connection.credentials_set_at);
            connection::need_attention(tx, org, refused, &error.to_string()).await?;
        }
        Err(_) => {}
    }
    let (outcome, details) = match result {
        Ok(checked) => (Outcome::Done, found(checked)),
        Err(error) => (Outcome::Failed, json!({ "error": error.to_string() })),
    };
    record(tx, (org, id), outcome, details).await
}

fn found(checked: &Checked) -> serde_json::Value {
    let codes: Vec<&str> = checked.findings.iter().map(|found| found.code.as_str()).collect();
    json!({ "version": checked.version, "findings": codes })
}

async fn record(
    tx: &mut OrgTx,
    (org, id): (OrgId, ConnectionId),
    outcome: Outcome,
    mut details: serde_json::Value,
) -> Result<(), sqlx::Error> {
    details["connectionId"] = json!(id);
    let line = Activity {
        sync: None,
        actor: "worker".to_owned(),
        action: "connection.checked",
        outcome,
        details,
    };
    activity::record(tx, org, line).await
}

/// Looks at a batch's connection first, where that is due. Returns how the batch ends where its stage can't begin.
pub async fn before(hand: &Hand<'_>, connector: &dyn Connector) -> Result<Option<End>, BatchError> {
    let known = hand.check.as_ref();
    let known_stopper = known.and_then(|check| stopper(hand, check.checked.as_ref()));
    if !is_due(hand, known, known_stopper).await? {
        return Ok(known_stopper.map(stopped));
    }
    let checked = match connector.check(&hand.gate).await {
        Ok(checked) => checked,
        Err(error @ CallError::Refused { .. }) => {
            // Only the looking is refused: what the sync itself asks for may well be answered.
            tracing::warn!(%error, connection.id = %hand.batch.connection_id, "a connection can't be checked");
            return Ok(None);
        }
        Err(error) => {
            let failed = |words| End::StageOver { failure: Some(words) };
            return Ok(Some(hand.after(&error, failed).await?));
        }
    };
    hand.lease.progress();
    hand.persist(|| note(hand, &checked)).await?;
    Ok(stopper(hand, Some(&checked)).map(stopped))
}

/// A connection is checked before its first sync; and where a finding stops a stage, once more by each sync that comes to
/// it: it may have been put right.
async fn is_due(
    hand: &Hand<'_>,
    known: Option<&Check>,
    stopper: Option<&Finding>,
) -> Result<bool, BatchError> {
    let Some(check) = known.filter(|check| check.checked.is_some()) else {
        return Ok(true);
    };
    if stopper.is_none() {
        return Ok(false);
    }
    let mut tx = hand.begin(Isolation::ReadCommitted).await?;
    let sync = sync::find(&mut tx, hand.org, hand.batch.sync_id).await?;
    Ok(check.checked_at < sync.and_then(|sync| sync.started_at))
}

/// Finds what keeps the batch's stage from beginning. A dry run writes nothing, so nothing about writing stops it.
fn stopper<'a>(hand: &Hand<'_>, checked: Option<&'a Checked>) -> Option<&'a Finding> {
    let (entity, direction) = (hand.batch.entity_type, hand.batch.direction);
    checked?
        .findings
        .iter()
        .filter(|finding| !(hand.sync.dry_run && finding.direction == Some(Direction::Push)))
        .find(|finding| finding.stops(entity, direction))
}

fn stopped(finding: &Finding) -> End {
    End::StageOver {
        failure: Some(finding.words()),
    }
}

async fn note(hand: &Hand<'_>, checked: &Checked) -> Result<(), BatchError> {
    let id = hand.batch.connection_id;
    let mut tx = hand.begin(Isolation::ReadCommitted).await?;
    check::note(&mut tx, hand.org, id, checked).await?;
    record(&mut tx, (hand.org, id), Outcome::Done, found(checked)).await?;
    Ok(tx.commit().await?)
}

#[cfg(test)]
mod tests {
    use crate::connector::Reach;

    use super::*;

    fn unwell() -> CallError {
        CallError::Unwell {
            system: "Odoo",
            detail: "no answer in time".to_owned(),
            reach: Reach::NoEffect,
        }
    }

    fn attempts(look: &Look) -> Option<i32> {
        match look {
            Look::Later { attempts, .. } => Some(*attempts),
            Look::Over(_) | Look::Lost => None,
        }
    }

    #[test]
    fn a_remote_that_is_not_well_is_looked_at_a_few_times() {
        assert_eq!(attempts(&after(Err(unwell()), 0)), Some(1));
        assert_eq!(attempts(&after(Err(unwell()), 1)), Some(2));
        assert!(matches!(after(Err(unwell()), 2), Look::Over(Err(_))));
    }

    #[test]
    fn what_the_gate_held_is_no_attempt() {
        for hold in [
            Hold::Draining,
            Hold::Database,
            Hold::NoToken {
                until: DateTime::UNIX_EPOCH,
            },
        ] {
            assert_eq!(attempts(&after(Err(CallError::Held(hold)), 2)), Some(2));
        }
        assert!(matches!(
            after(Err(CallError::Held(Hold::LeaseLost)), 0),
            Look::Lost
        ));
    }
}
