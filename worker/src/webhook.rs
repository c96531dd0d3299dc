//! A connection's webhooks: made in the store and taken away again as a person wants it, and watched.
//!
//! Each look lists what is there and changes what is not as it should be. Nothing is made before the list was read, a
//! request that writes keeps the row for as long as the store may go on with it, and one without an answer is waited for
//! as long: so whoever dies, and whatever reply is lost, there is one webhook per topic. A webhook that the store has
//! disabled is enabled again, and where that does not help, somebody has to look.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use lockstep_shared::activity::{self, Activity, Outcome};
use lockstep_shared::backoff;
use lockstep_shared::bucket::Caller;
use lockstep_shared::check::Claim;
use lockstep_shared::conflict::{self, ConflictType, Course, NewConflict};
use lockstep_shared::connection;
use lockstep_shared::db::{self, Isolation, OrgTx};
use lockstep_shared::id::{ConnectionId, OrgId, Token};
use lockstep_shared::secret::Owner;
use lockstep_shared::strategy::Strategy;
use lockstep_shared::system::EntityType;
use lockstep_shared::webhook::{self, HookState, Looked, Subscription};
use serde_json::json;

use crate::batch::Fleet;
use crate::check::tell;
use crate::connector::webhook::{Change, Receiver, Seen, Webhooks, changes, ours};
use crate::connector::{CallError, Gate, Hold, Reach};
use crate::gate::{self, CheckGate, Meter, held_for};
use crate::point::Aside;
use crate::slot::Slot;

/// Looks in a row that came to nothing, after which the store counts as out of reach until the next regular one.
const ATTEMPTS: i32 = 3;

/// Longest wait before a look that came to nothing is tried again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(32);

/// Lists that one look reads at most: one that finds what has to be done, and one that shows that it was.
const LISTS: usize = 3;

/// What the conflict about webhooks that stay disabled is filed under: orders are what they are there for. Its type is one that
/// no other conflict without an item has, so that it overwrites none.
const CONFLICT_ENTITY: EntityType = EntityType::Orders;

/// How a look ended.
enum Look {
    Over(Looked),
    /// It will come to nothing again until somebody does something, or the store is back.
    Failed(String),
    Later {
        wait: Wait,
        attempts: i32,
        error: Option<String>,
    },
    /// Somebody wants something else meanwhile, or another worker took it.
    Lost,
}

enum Wait {
    For(Duration),
    Until(DateTime<Utc>),
}

/// Answers a bell for a connection's webhooks.
pub async fn answer(fleet: &Fleet, org: OrgId, id: ConnectionId, slot: Slot) -> Result<(), sqlx::Error> {
    let held_for = held_for(fleet.config.http.timeout);
    let token = Token::random();
    let mut tx = db::begin(&fleet.pool, org, Isolation::ReadCommitted).await?;
    let attempts = match webhook::claim(&mut tx, org, id, (token, held_for)).await? {
        Claim::Claimed { attempts } => attempts,
        Claim::NotBefore(at) => {
            webhook::ring_again(&mut tx, org, id, at).await?;
            return tx.commit().await;
        }
        Claim::Nothing => return Ok(()),
    };
    let (Some(connection), Some(subscription)) = (
        connection::find(&mut tx, org, id).await?,
        webhook::find(&mut tx, org, id).await?,
    ) else {
        return Ok(());
    };
    let connector = fleet.remotes.fresh(&mut tx, org, &connection).await;
    tx.commit().await?;
    let secret = fleet
        .config
        .sealing_key
        .open(org, Owner::Webhook(id), &subscription.sealed);
    let caller = Caller {
        org,
        connection: id,
        sync: None,
        token,
    };
    let gate = CheckGate {
        errand: gate::Errand::Webhooks,
        meter: Meter::new(fleet.pool.clone(), caller, fleet.config.patience, slot),
        held_for,
        drain: fleet.drain.clone(),
    };
    let mut said = None;
    let look = match (&connector, secret) {
        (Ok(connector), Ok(secret)) => match connector.webhooks() {
            Some(hooks) => {
                let errand = Errand {
                    fleet,
                    at: (org, id),
                    token,
                    gate,
                    held_for: fleet.config.http.timeout + connector.grace() + Duration::from_secs(5),
                    receiver: Receiver {
                        delivery_url: subscription.delivery_url.clone(),
                        path: webhook::path(id),
                        secret,
                    },
                };
                let looked = errand.look(hooks, &subscription).await;
                let look = after(&looked, attempts, connector.grace());
                said = Some(looked.map(|_| ()));
                look
            }
            None => Look::Failed(format!("{} has no webhooks", connection.system.name())),
        },
        (Err(error), _) => Look::Failed(error.to_string()),
        (_, Err(error)) => Look::Failed(error.to_string()),
    };
    settle(fleet, (org, id), token, (look, said)).await
}

/// One look in hand.
struct Errand<'a> {
    fleet: &'a Fleet,
    at: (OrgId, ConnectionId),
    token: Token,
    gate: CheckGate,
    /// How long a request that writes may go on, in the store too.
    held_for: Duration,
    receiver: Receiver,
}

impl Errand<'_> {
    async fn look(&self, hooks: &dyn Webhooks, wanted: &Subscription) -> Result<Looked, CallError> {
        let topics = wanted.is_wanted.then(|| hooks.topics());
        let mut found_disabled = false;
        let mut seen: Vec<Seen> = Vec::new();
        for list in 0..LISTS {
            seen = hooks.list(&self.gate).await?;
            let due = changes(topics, &seen, &self.receiver);
            found_disabled |= list == 0 && wanted.is_wanted && self.is_any_disabled(&seen);
            if due.is_empty() {
                break;
            }
            for change in &due {
                self.send(hooks, change).await?;
            }
        }
        let left = ours(&seen, &self.receiver).into_iter();
        Ok(Looked {
            hooks: left.map(|one| one.hook.clone()).collect(),
            found_disabled,
        })
    }

    fn is_any_disabled(&self, seen: &[Seen]) -> bool {
        let ours = ours(seen, &self.receiver);
        ours.iter().any(|one| one.hook.state == HookState::Disabled)
    }

    /// Sends one request that writes. The row is kept for as long as the store may go on with it: who comes after a dead
    /// worker looks only then.
    async fn send(&self, hooks: &dyn Webhooks, change: &Change) -> Result<(), CallError> {
        self.gate.pass().await?;
        let deadline = Instant::now() + self.fleet.config.http.timeout;
        if !self.keep().await.map_err(|_| CallError::Held(Hold::Database))? {
            return Err(CallError::Held(Hold::LeaseLost));
        }
        Aside::WebhookBefore.reach();
        let sent = hooks.send(change, &self.receiver, deadline).await;
        Aside::WebhookAfter.reach();
        sent
    }

    async fn keep(&self) -> Result<bool, sqlx::Error> {
        let (org, id) = self.at;
        let mut tx = db::begin(&self.fleet.pool, org, Isolation::ReadCommitted).await?;
        let kept = webhook::keep(&mut tx, org, id, (self.token, self.held_for)).await?;
        tx.commit().await?;
        Ok(kept)
    }
}

/// Tells what a look came to. One that the gate held is no attempt.
fn after(looked: &Result<Looked, CallError>, attempts: i32, grace: Duration) -> Look {
    let failures = attempts + 1;
    let wait = || backoff::wait(failures.unsigned_abs(), LONGEST_BACKOFF, rand::random());
    let later = |wait, attempts, error: &CallError| Look::Later {
        wait,
        attempts,
        error: Some(error.to_string()),
    };
    match looked {
        Ok(looked) => Look::Over(looked.clone()),
        Err(CallError::Held(Hold::LeaseLost)) => Look::Lost,
        Err(CallError::Held(Hold::NoToken { until } | Hold::CircuitOpen { until })) => Look::Later {
            wait: Wait::Until(*until),
            attempts,
            error: None,
        },
        Err(CallError::Held(Hold::Draining | Hold::DoorClosed | Hold::Database)) => Look::Later {
            wait: Wait::For(Duration::ZERO),
            attempts,
            error: None,
        },
        Err(
            error @ CallError::Unwell {
                reach: Reach::InDoubt,
                ..
            },
        ) => later(Wait::For(grace + wait()), failures.min(ATTEMPTS), error),
        Err(error @ (CallError::Throttled { .. } | CallError::Unwell { .. })) if failures < ATTEMPTS => {
            later(Wait::For(wait()), failures, error)
        }
        Err(
            error @ (CallError::Throttled { .. }
            | CallError::Unwell { .. }
            | CallError::Refused { .. }
            | CallError::Unauthorised { .. }
            | CallError::Forbidden { .. }),
        ) => Look::Failed(error.to_string()),
    }
}

async fn settle(
    fleet: &Fleet,
    (org, id): (OrgId, ConnectionId),
    token: Token,
    (look, said): (Look, Option<Result<(), CallError>>),
) -> Result<(), sqlx::Error> {
    let mut tx = db::begin(&fleet.pool, org, Isolation::ReadCommitted).await?;
    let told = match said {
        Some(said) => tell(fleet, &mut tx, (org, id), token, said.as_ref().err()).await?,
        // The store was not asked.
        None => None,
    };
    let held_until = told.and_then(|circuit| circuit.held_until);
    let is_ours = match look {
        Look::Lost => false,
        Look::Later {
            wait,
            attempts,
            error,
        } => {
            let at = match wait {
                Wait::Until(at) => at,
                Wait::For(wait) => db::now(&mut tx).await? + wait,
            };
            let at = held_until.map_or(at, |until| at.max(until));
            webhook::put_off(&mut tx, org, id, (token, attempts), (at, error.as_deref())).await?
        }
        Look::Failed(error) => {
            tracing::warn!(error, org.id = %org, connection.id = %id, "webhooks can't be looked after: {error}");
            webhook::fail(&mut tx, org, id, token, &error).await?
        }
        Look::Over(looked) => {
            let before = webhook::find(&mut tx, org, id).await?;
            match webhook::settle(&mut tx, org, id, token, &looked).await? {
                None => false,
                Some(disabled_count) => {
                    take_effect(&mut tx, (org, id), &looked, disabled_count).await?;
                    let is_news =
                        before.is_none_or(|before| before.hooks != looked.hooks) || looked.found_disabled;
                    if is_news {
                        record(&mut tx, (org, id), &looked, disabled_count).await?;
                    }
                    true
                }
            }
        }
    };
    if is_ours {
        tx.commit().await?;
    }
    Ok(())
}

/// Opens a conflict about webhooks that do not stay enabled, and closes it when a delivery proves that they do.
async fn take_effect(
    tx: &mut OrgTx,
    (org, id): (OrgId, ConnectionId),
    looked: &Looked,
    disabled_count: i32,
) -> Result<(), sqlx::Error> {
    if disabled_count == 0 {
        let own = (id, CONFLICT_ENTITY);
        conflict::close_of_type(tx, org, own, ConflictType::RetryExhausted).await?;
    }
    if disabled_count < webhook::DISABLED_LIMIT || !looked.found_disabled {
        return Ok(());
    }
    let reason = format!(
        "the store has disabled Lockstep's webhooks {disabled_count} times, and no delivery arrived in between: find out why \
         they don't reach the API at the address that the connection's webhooks show (its log names those that were refused); \
         until then changes are found by schedules only"
    );
    let new = NewConflict {
        sync: None,
        connection: id,
        item: None,
        entity: CONFLICT_ENTITY,
        conflict_type: ConflictType::RetryExhausted,
        course: Course::of(Strategy::Manual),
        data: json!({ "reason": reason, "about": "webhooks", "hooks": looked.hooks }),
    };
    conflict::open(tx, org, &new).await
}

async fn record(
    tx: &mut OrgTx,
    (org, id): (OrgId, ConnectionId),
    looked: &Looked,
    disabled_count: i32,
) -> Result<(), sqlx::Error> {
    let line = Activity {
        sync: None,
        actor: "worker".to_owned(),
        action: "connection.webhooks_kept",
        outcome: Outcome::Done,
        details: json!({
            "connectionId": id, "hooks": looked.hooks, "foundDisabled": looked.found_disabled,
            "disabledCount": disabled_count,
        }),
    };
    activity::record(tx, org, line).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unwell(reach: Reach) -> Result<Looked, CallError> {
        Err(CallError::Unwell {
            system: "WooCommerce",
            detail: "no answer in time".to_owned(),
            reach,
        })
    }

    #[test]
    fn a_request_without_an_answer_is_waited_for_as_long_as_the_store_may_go_on() {
        let grace = Duration::from_mins(1);

        for attempts in [0, 1, 2, 3] {
            let Look::Later {
                wait: Wait::For(wait),
                ..
            } = after(&unwell(Reach::InDoubt), attempts, grace)
            else {
                panic!("it is never given up at once")
            };
            assert!(wait >= grace);
        }
    }

    #[test]
    fn a_store_that_is_not_well_is_left_alone_after_a_few_looks() {
        let look = |attempts| after(&unwell(Reach::NoEffect), attempts, Duration::ZERO);

        assert!(matches!(look(0), Look::Later { attempts: 1, .. }));
        assert!(matches!(look(1), Look::Later { attempts: 2, .. }));
        assert!(matches!(look(2), Look::Failed(_)));
    }

    #[test]
    fn what_the_gate_held_is_no_attempt() {
        let held = Err(CallError::Held(Hold::Draining));

        assert!(matches!(
            after(&held, 2, Duration::ZERO),
            Look::Later {
                attempts: 2,
                error: None,
                ..
            }
        ));
    }
}
