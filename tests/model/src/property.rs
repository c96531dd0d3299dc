//! What must hold in every state, and what a state of rest looks like.

use std::fmt;

use crate::scenario::{Bound, Scenario};
use crate::state::{ItemState, Phase, State, SyncStatus, small};

/// What was found to be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The remote made a second thing of one of ours.
    CreatedTwice,
    /// An item counts as synced, nothing is under way, and the remote holds something else.
    EffectLost,
    /// An item counts as synced and has an effect in doubt.
    LeftInDoubt,
    /// An owner that has lost its batch wrote to the database.
    StaleOwnerRecorded,
    /// A call was begun although its sync is paused or cancelled.
    CalledWhilePaused,
    /// From here on nothing leads to the end.
    NeverEnds,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreatedTwice => "the remote has made one thing twice",
            Self::EffectLost => "an item counts as synced, and the remote holds something else",
            Self::LeftInDoubt => "an item counts as synced, and one of its effects is in doubt",
            Self::StaleOwnerRecorded => "an owner that had lost its batch wrote to the database",
            Self::CalledWhilePaused => "a call was begun although its sync is paused or cancelled",
            Self::NeverEnds => "from here on nothing leads to the end",
        })
    }
}

/// Judges a state by itself.
pub fn judge(scenario: &Scenario, state: &State) -> Option<Violation> {
    for (index, item) in state.items.iter().take(scenario.items).enumerate() {
        if item.state != ItemState::Synced || item.batch.is_some() || is_under_way(state, index) {
            continue;
        }
        // Late requests may write over it, and a pull may see the thing before its effect is resolved: then the next
        // sync has to put it right, which is what is asked of the end.
        let is_final = scenario.bound == Bound::Kept && !scenario.has_pulls;
        if is_final && item.effect.is_some() {
            return Some(Violation::LeftInDoubt);
        }
        if is_final && state.remote[index] != Some(item.content()) {
            return Some(Violation::EffectLost);
        }
    }
    None
}

fn is_under_way(state: &State, item: usize) -> bool {
    let mut requests = state.requests.iter().flatten();
    requests.any(|request| usize::from(request.item) == item)
        || state
            .workers
            .iter()
            .any(|worker| worker.phase == Phase::Checked(small(item)))
}

/// Says whether everything is done: all is synced and as it should be, and nothing is under way.
pub fn is_end(scenario: &Scenario, state: &State) -> bool {
    let mut items = state.items.iter().zip(state.remote).take(scenario.items);
    state.syncs.iter().all(|sync| sync.status == SyncStatus::Over)
        && state.workers.iter().all(|worker| worker.phase == Phase::Idle)
        && state.requests.iter().all(Option::is_none)
        && items.all(|(item, remote)| {
            item.state == ItemState::Synced
                && item.edits == scenario.edits
                // One that a pull saw before it was resolved stays in the log until the item is due again.
                && (item.effect.is_none() || scenario.has_pulls)
                && item.base == remote
                && remote == Some(item.content())
        })
}
