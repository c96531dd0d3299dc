//! Sending: per request token, intent, call, outcome. A crash anywhere leaves at most one request in doubt.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use lockstep_shared::batch::{self, Held};
use lockstep_shared::conflict::ConflictType;
use lockstep_shared::db::{Isolation, OrgTx};
use lockstep_shared::effect::{self, Effect, Intent, Key, KeyParts, Resolved, State, Under};
use lockstep_shared::entity::Content;
use lockstep_shared::id::{EffectId, ItemId};
use serde_json::json;

use super::work::{Done, Fate, Making, Work};
use super::{Sighted, Stopped, decide_one, judge_sighting, look_up, owners};
use crate::batch::{BatchError, Hand};
use crate::connector::{
    Action, CallError, Connector, Gate, Hold, Outcome, Purpose, Reach, Refusal, Request, Wanted, Write,
};
use crate::point::Point;
use crate::vanish;

/// Sends writes in as few requests as the system allows. Returns the writes of the next round: further steps, things
/// that turned out to be there already, and parts of a request that the remote refused as a whole.
pub async fn round(
    hand: &Hand<'_>,
    connector: &dyn Connector,
    works: &mut [Work],
    writes: Vec<Write>,
) -> Result<Vec<Write>, Stopped> {
    let places: BTreeMap<ItemId, usize> = works
        .iter()
        .enumerate()
        .map(|(place, work)| (work.item.item_id, place))
        .collect();
    let mut round = Round {
        hand,
        connector,
        works,
        places,
        next: Vec::new(),
        taken: Vec::new(),
    };
    let mut waiting = vec![writes];
    while let Some(writes) = waiting.pop() {
        for request in connector.plan(&hand.gate, hand.batch.entity_type, writes).await? {
            hand.lease.progress();
            waiting.extend(round.send(request).await?);
        }
    }
    round.adopt_taken().await?;
    Ok(round.next)
}

/// Makes sure that the batch is still ours, until the transaction ends.
pub async fn still_ours(hand: &Hand<'_>, tx: &mut OrgTx) -> Result<(), BatchError> {
    match batch::hold(tx, hand.org, hand.batch.batch_id, hand.lease.token).await? {
        Held::Yes { .. } | Held::DoorClosed => Ok(()),
        Held::Lost => Err(BatchError::Lost),
    }
}

struct Round<'a> {
    hand: &'a Hand<'a>,
    connector: &'a dyn Connector,
    works: &'a mut [Work],
    places: BTreeMap<ItemId, usize>,
    next: Vec<Write>,
    /// Writes whose key the remote says is taken, with the thing that has it where the remote tells.
    taken: Vec<(Write, Option<String>, Refusal)>,
}

/// What noting the intents of a request brought.
enum Intended {
    /// All are noted: send before the deadline.
    Go { deadline: Instant },
    /// Some stand in the log already; none is noted.
    Standing(BTreeMap<ItemId, Effect>),
    /// The batch may not send any more; none is noted.
    Held(Hold),
}

impl Round<'_> {
    fn work(&mut self, item: ItemId) -> &mut Work {
        let place = self.places[&item];
        &mut self.works[place]
    }

    /// Sends one request. Returns parts of it that have to be planned and sent anew.
    async fn send(&mut self, request: Request) -> Result<Vec<Vec<Write>>, Stopped> {
        let hand = self.hand;
        hand.gate.pass().await?;
        hand.reach(Point::TokenAfter);
        let intents = self.intents(&request);
        let (deadline, quiet_at) = match hand.persist(|| intend(hand, self.connector, &intents)).await {
            Ok((Intended::Go { deadline }, quiet_at)) => (deadline, quiet_at),
            Ok((Intended::Standing(standing), _)) => return Ok(self.complete_standing(request, standing)),
            Ok((Intended::Held(hold), _)) => return Err(CallError::Held(hold).into()),
            Err(error) => return Err(error.into()),
        };
        hand.reach(Point::IntendAfter);
        if !hand.lease.is_held() || Instant::now() >= deadline {
            // Noted, not sent: whoever has the batch by now will look it up and find nothing.
            return Err(CallError::Held(Hold::LeaseLost).into());
        }
        hand.lease.progress();
        hand.reach(Point::CallBefore);
        let result = self.connector.send(&request, deadline).await;
        hand.reach(Point::CallAfter);
        hand.lease.progress();
        match result {
            Ok(outcomes) if outcomes.len() == request.writes.len() => {
                self.take_outcomes(request, outcomes).await
            }
            Ok(_) => {
                let detail = "it answered for another number of things than were sent".to_owned();
                let system = self.connector.system().name();
                let error = CallError::Unwell {
                    system,
                    detail,
                    reach: Reach::InDoubt,
                };
                self.take_failure(&request, error, quiet_at).await
            }
            Err(error) => self.take_failure(&request, error, quiet_at).await,
        }
    }

    fn intents(&mut self, request: &Request) -> Vec<Intent> {
        let connection = self.hand.batch.connection_id;
        let mut intents = Vec::with_capacity(request.writes.len());
        for write in &request.writes {
            let generation = self.work(write.item).item.generation;
            let taken = self.work(write.item).takes.clone();
            let operation = self.operation(write);
            let parts = KeyParts {
                connection,
                record: write.record,
                operation,
                step: write.step.0,
                content: write.content.hash(),
                generation,
            };
            intents.push(Intent {
                effect_id: EffectId::random(),
                key: Key::of(parts),
                item_id: write.item,
                record_id: write.record,
                operation,
                step: write.step.0,
                generation,
                content: write.content.to_json(),
                taken,
            });
        }
        intents
    }

    /// A further step of a thing that is being made is part of making it.
    fn operation(&mut self, write: &Write) -> &'static str {
        match self.work(write.item).making {
            Making::No => write.action.name(),
            Making::Creating => "create",
            Making::Completing => "complete",
        }
    }

    /// Completes what an earlier request has brought over already, without a call, and sends the rest anew.
    fn complete_standing(
        &mut self,
        request: Request,
        mut standing: BTreeMap<ItemId, Effect>,
    ) -> Vec<Vec<Write>> {
        let mut rest = Vec::new();
        for write in request.writes {
            match standing.remove(&write.item) {
                None => rest.push(write),
                Some(effect) if effect.state == State::Applied => {
                    let work = self.work(write.item);
                    work.recall_applied(&effect);
                    self.next.extend(self.works[self.places[&write.item]].continued());
                }
                Some(effect) => {
                    self.work(write.item).fate = Fate::InDoubt {
                        quiet_at: effect.quiet_at,
                    }
                }
            }
        }
        if rest.is_empty() { Vec::new() } else { vec![rest] }
    }

    async fn take_outcomes(
        &mut self,
        request: Request,
        outcomes: Vec<Outcome>,
    ) -> Result<Vec<Vec<Write>>, Stopped> {
        let hand = self.hand;
        let resolved: Vec<Resolved> = request
            .writes
            .iter()
            .zip(&outcomes)
            .map(|(write, outcome)| resolution(self.work(write.item), outcome))
            .collect();
        hand.persist(|| note(hand, &resolved)).await?;
        hand.reach(Point::OutcomeAfter);
        let has_culprit = outcomes
            .iter()
            .any(|outcome| matches!(outcome, Outcome::Rejected(_) | Outcome::Taken { .. }));
        let mut again = Vec::new();
        for (write, outcome) in request.writes.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Applied {
                    external_id,
                    parts,
                    next,
                    held,
                } => self.applied(write, (external_id, parts), next, held),
                Outcome::Rejected(refusal)
                    if matches!(write.action, Action::Update { .. })
                        && self.connector.says_gone(&refusal) =>
                {
                    self.work(write.item).vanish(vanish::words(hand));
                }
                Outcome::Rejected(refusal) => {
                    self.work(write.item).fate = Fate::Failed {
                        refusal,
                        conflict_type: ConflictType::ValidationError,
                    };
                }
                Outcome::Transient(refusal) => match refusal.code.as_str() {
                    // Refused only for the sake of another row of the same request.
                    "batch_refused" if has_culprit => again.push(write),
                    // Nobody knows for which row: asked again in halves until the row stands alone.
                    "isolate" => again.push(write),
                    _ => {
                        let max_retries = hand.sync.max_retries;
                        self.work(write.item).retry(refusal, max_retries);
                    }
                },
                Outcome::Taken { external_id, refusal } => self.taken.push((write, external_id, refusal)),
            }
        }
        Ok(if has_culprit {
            non_empty(again)
        } else {
            halves(again)
        })
    }

    fn applied(
        &mut self,
        write: Write,
        (external_id, parts): (String, crate::connector::Parts),
        next: Option<crate::connector::Step>,
        held: Option<Content>,
    ) {
        let operation = self.operation(&write);
        let work = self.work(write.item);
        if !external_id.is_empty() {
            work.external_id = Some(external_id);
        }
        work.parts.extend(parts);
        if let Some(step) = next {
            if operation == "create" {
                work.making = Making::Creating;
            }
            if held.is_some() {
                // Told by this step, true when the last one is done.
                work.expected = held;
            }
            let write = work.following(write, step);
            self.next.push(write);
        } else {
            work.applied(write.content, held, Done::of(operation));
        }
    }

    async fn take_failure(
        &mut self,
        request: &Request,
        error: CallError,
        quiet_at: DateTime<Utc>,
    ) -> Result<Vec<Vec<Write>>, Stopped> {
        let is_in_doubt = matches!(
            error,
            CallError::Unwell {
                reach: Reach::InDoubt,
                ..
            }
        );
        let state = if is_in_doubt {
            State::InDoubt
        } else {
            State::Rejected
        };
        let resolved: Vec<Resolved> = request
            .writes
            .iter()
            .map(|write| Resolved {
                item_id: write.item,
                state,
                external_id: None,
                parts: None,
                held: None,
                next_step: None,
                error: Some(json!({ "code": "call_failed", "message": error.to_string() })),
            })
            .collect();
        let hand = self.hand;
        hand.persist(|| note(hand, &resolved)).await?;
        if is_in_doubt {
            for write in &request.writes {
                self.work(write.item)
                    .leave_in_doubt(quiet_at, &error.to_string(), hand.sync.max_retries);
            }
        }
        if let CallError::Refused { detail, .. } = &error {
            // One thing of the request may be to blame for all of it.
            if request.writes.len() > 1 {
                return Ok(halves(request.writes.clone()));
            }
            for write in &request.writes {
                let refusal = Refusal {
                    code: "call_refused".to_owned(),
                    message: detail.clone(),
                };
                self.work(write.item).fate = Fate::Failed {
                    refusal,
                    conflict_type: ConflictType::ValidationError,
                };
            }
            return Ok(Vec::new());
        }
        Err(error.into())
    }

    /// Looks at the things whose keys are taken, and adopts those that are plainly the same.
    async fn adopt_taken(&mut self) -> Result<(), Stopped> {
        let taken = std::mem::take(&mut self.taken);
        let mut asked = Vec::new();
        for (write, external_id, refusal) in taken {
            let work = self.work(write.item);
            if work.was_taken {
                work.skip_duplicate(&refusal.message, json!({ "code": refusal.code }));
                continue;
            }
            work.was_taken = true;
            let purpose = match external_id {
                Some(external_id) => Purpose::Refresh { external_id },
                None => Purpose::InDoubt {
                    since: DateTime::UNIX_EPOCH,
                },
            };
            let wanted = Wanted {
                record: write.record,
                purpose,
                content: write.content.clone(),
                links: write.links.clone(),
            };
            asked.push((self.places[&write.item], wanted, refusal));
        }
        let wanted = asked.iter().map(|(_, wanted, _)| wanted.clone()).collect();
        let sightings = look_up(self.hand, self.connector, wanted).await?;
        let seen: Vec<_> = asked.iter().map(|(place, ..)| *place).zip(sightings).collect();
        let mut owners = owners(self.hand, self.works, &seen).await?;
        for ((place, sighting), (_, _, refusal)) in seen.into_iter().zip(asked) {
            let work = &mut self.works[place];
            match judge_sighting(work, sighting, &owners) {
                Sighted::Holds(Some(theirs)) => {
                    owners.insert(theirs.external_id.clone(), work.item.item_id);
                    let write = decide_one(self.hand, self.connector, work, Some(theirs));
                    self.next.extend(write);
                }
                Sighted::Holds(None) => {
                    work.skip_duplicate(&refusal.message, json!({ "code": refusal.code }));
                }
                Sighted::Settled => {}
            }
        }
        Ok(())
    }
}

fn non_empty(writes: Vec<Write>) -> Vec<Vec<Write>> {
    if writes.is_empty() {
        Vec::new()
    } else {
        vec![writes]
    }
}

fn halves(mut writes: Vec<Write>) -> Vec<Vec<Write>> {
    let second = writes.split_off(writes.len().div_ceil(2));
    [writes, second].into_iter().flat_map(non_empty).collect()
}

fn resolution(work: &Work, outcome: &Outcome) -> Resolved {
    let item_id = work.item.item_id;
    let refused = |refusal: &Refusal| Resolved {
        item_id,
        state: State::Rejected,
        external_id: None,
        parts: None,
        held: None,
        next_step: None,
        error: Some(json!(refusal)),
    };
    match outcome {
        Outcome::Applied {
            external_id,
            parts,
            next,
            held,
        } => Resolved {
            item_id,
            state: State::Applied,
            external_id: Some(external_id.clone()),
            parts: Some(serde_json::to_value(parts).expect("parts are strings")),
            held: held.as_ref().or(work.expected.as_ref()).map(Content::to_json),
            next_step: next.map(|step| step.0.into()),
            error: None,
        },
        Outcome::Rejected(refusal) | Outcome::Transient(refusal) | Outcome::Taken { refusal, .. } => {
            refused(refusal)
        }
    }
}

async fn intend(
    hand: &Hand<'_>,
    connector: &dyn Connector,
    intents: &[Intent],
) -> Result<(Intended, DateTime<Utc>), BatchError> {
    let mut tx = hand.begin(Isolation::ReadCommitted).await?;
    // The deadline is counted from before the database is asked, so that ours is never later than the one it notes.
    let timeout = hand.fleet.config.http.timeout;
    let deadline = Instant::now() + timeout;
    let now = match batch::hold(&mut tx, hand.org, hand.batch.batch_id, hand.lease.token).await? {
        Held::Yes { now } => now,
        Held::DoorClosed => return Ok((Intended::Held(Hold::DoorClosed), DateTime::UNIX_EPOCH)),
        Held::Lost => return Ok((Intended::Held(Hold::LeaseLost), DateTime::UNIX_EPOCH)),
    };
    let call_deadline = now + chrono(timeout);
    let quiet_at = call_deadline + chrono(connector.grace());
    let under = Under {
        sync: hand.batch.sync_id,
        batch: hand.batch.batch_id,
        connection: hand.batch.connection_id,
        token: hand.lease.token,
        call_deadline,
        quiet_at,
    };
    let standing = effect::intend(&mut tx, hand.org, under, intents).await?;
    if !standing.is_empty() {
        // Nothing of this request is sent as it stands, so nothing of it may stay noted.
        return Ok((Intended::Standing(standing), quiet_at));
    }
    hand.reach(Point::IntendInside);
    tx.commit().await?;
    Ok((Intended::Go { deadline }, quiet_at))
}

fn chrono(duration: Duration) -> chrono::Duration {
    chrono::Duration::from_std(duration).unwrap_or(chrono::Duration::MAX)
}

pub async fn note(hand: &Hand<'_>, resolved: &[Resolved]) -> Result<(), BatchError> {
    let mut tx = hand.begin(Isolation::ReadCommitted).await?;
    still_ours(hand, &mut tx).await?;
    effect::resolve(&mut tx, hand.org, resolved).await?;
    if hand.batch.takeovers > 0 && resolved.iter().any(|one| one.state == State::Applied) {
        batch::got_on(&mut tx, hand.org, hand.batch.batch_id).await?;
    }
    hand.reach(Point::OutcomeInside);
    Ok(tx.commit().await?)
}
