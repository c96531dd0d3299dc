//! Requests in doubt: the remote is asked before anything is sent again.
//!
//! By now the call's deadline and the system's grace are over, so what has not arrived never will.

use std::collections::BTreeSet;

use lockstep_shared::conflict::ConflictType;
use lockstep_shared::effect::{Effect, Resolved, State};
use lockstep_shared::entity::Content;
use serde_json::json;

use super::work::{Done, Fate, Making, Work, taken};
use super::{Stopped, look_up, send};
use crate::batch::Hand;
use crate::connector::{Connector, Parts, Purpose, Sighting, Theirs, Wanted, shown};

/// Resolves the effects that are in doubt, in one look-up.
pub async fn resolve(hand: &Hand<'_>, connector: &dyn Connector, works: &mut [Work]) -> Result<(), Stopped> {
    let mut doubtful = Vec::new();
    for (position, work) in works.iter().enumerate() {
        if let Fate::Doubtful { effect } = &work.fate {
            doubtful.push((position, effect.clone(), wanted(work, effect)));
        }
    }
    if doubtful.is_empty() {
        return Ok(());
    }
    let asked = doubtful.iter().map(|(_, _, wanted)| wanted.clone()).collect();
    let sightings = look_up(hand, connector, asked).await?;
    let mut resolved = Vec::new();
    let mut fates = Vec::new();
    for ((position, effect, _), sighting) in doubtful.iter().zip(sightings) {
        let verdict = judge(effect, &works[*position], sighting);
        resolved.extend(verdict.resolved(effect));
        fates.push((*position, verdict));
    }
    hand.persist(|| send::note(hand, &resolved)).await?;
    for (position, verdict) in fates {
        verdict.take_effect(&mut works[position]);
    }
    Ok(())
}

fn wanted(work: &Work, effect: &Effect) -> Wanted {
    // What the request carried, not what we hold now: its keys are what the remote would know it by.
    let carried =
        Content::parse(work.ours.entity(), effect.content.clone()).unwrap_or_else(|_| work.ours.clone());
    let purpose = match &work.external_id {
        Some(external_id) if effect.operation != "create" => Purpose::Refresh {
            external_id: external_id.clone(),
        },
        _ => Purpose::InDoubt {
            since: effect.created_at,
        },
    };
    Wanted {
        record: work.item.record_id,
        purpose,
        content: carried,
        links: work.links.clone(),
    }
}

/// What the look-up says about a request that had no answer.
enum Verdict {
    /// It arrived whole.
    Arrived {
        theirs: Theirs,
        carried: Content,
        taken: BTreeSet<String>,
        done: Done,
    },
    /// The thing was made, but is not all there: it is written again as a change of that thing.
    ArrivedInPart { theirs: Theirs, carried: Content },
    /// It did not arrive, and can be sent again.
    NeverArrived,
    /// Nobody can tell.
    Unclear { why: String, external_ids: Vec<String> },
}

fn judge(effect: &Effect, work: &Work, sighting: Sighting) -> Verdict {
    let carried = Content::parse(work.ours.entity(), effect.content.clone());
    let is_create = effect.operation == "create";
    match (sighting, carried) {
        (Sighting::Missing, _) => Verdict::NeverArrived,
        (Sighting::One(theirs), Ok(carried)) => match &theirs.content {
            Ok(content) if read(effect, work, (content, &theirs.parts), &carried) == carried => {
                Verdict::Arrived {
                    done: Done::of(&effect.operation),
                    theirs,
                    carried,
                    taken: taken(effect),
                }
            }
            Ok(_) | Err(_) if is_create => Verdict::ArrivedInPart { theirs, carried },
            Ok(_) | Err(_) => Verdict::NeverArrived,
        },
        (Sighting::One(_), Err(invalid)) => Verdict::Unclear {
            why: format!("what the request carried can't be read: {invalid}"),
            external_ids: vec![],
        },
        (Sighting::Many(external_ids), _) => Verdict::Unclear {
            why: "more than one thing may be the one that was sent".to_owned(),
            external_ids,
        },
        (Sighting::NotAsked, _) => Verdict::Unclear {
            why: "the system can't tell whether it has the thing".to_owned(),
            external_ids: vec![],
        },
    }
}

/// Reads what the remote holds as the request left it: what it shows of others, as it was when the request was made.
fn read(effect: &Effect, work: &Work, (seen, parts): (&Content, &Parts), carried: &Content) -> Content {
    if effect.operation == "create" {
        return shown::as_agreed(seen, carried, &shown::fields(parts));
    }
    work.read(seen, parts, |fields| fields)
}

impl Verdict {
    fn resolved(&self, effect: &Effect) -> Option<Resolved> {
        let (state, theirs, next_step) = match self {
            Self::Arrived { theirs, .. } => (State::Applied, Some(theirs), None),
            Self::ArrivedInPart { theirs, .. } => (State::Applied, Some(theirs), Some(0)),
            Self::NeverArrived => (State::Rejected, None, None),
            Self::Unclear { .. } => return None,
        };
        Some(Resolved {
            item_id: effect.item_id,
            state,
            external_id: theirs.map(|theirs| theirs.external_id.clone()),
            parts: theirs.map(crate::pull::parts),
            held: None,
            next_step,
            error: (state == State::Rejected).then(|| json!({ "code": "never_arrived" })),
        })
    }

    fn take_effect(self, work: &mut Work) {
        match self {
            Self::Arrived {
                theirs,
                carried,
                taken,
                done,
            } => {
                work.found(theirs.external_id, theirs.parts);
                work.takes = taken;
                work.arrived(&carried, None, done);
            }
            Self::ArrivedInPart { theirs, carried } => {
                work.found(theirs.external_id, theirs.parts);
                work.complete(carried);
            }
            Self::NeverArrived if work.making == Making::Completing => work.resume_at_start(),
            Self::NeverArrived => (work.fate, work.making) = (Fate::Open, Making::No),
            Self::Unclear { why, external_ids } => {
                work.conflict(
                    ConflictType::DuplicateKey,
                    why,
                    json!({ "externalIds": external_ids }),
                );
            }
        }
    }
}
