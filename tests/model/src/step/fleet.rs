//! Syncs, batches, bells and leases: what happens besides the workers, and what comes next.

use super::{Steps, What, mark_moved};
use crate::property::Violation;
use crate::scenario::{Guard, Scenario};
use crate::state::{
    Batch, BatchStatus, ItemState, Phase, Request, State, Sync, SyncStatus, Time, Value, small,
};

impl Steps<'_> {
    pub(super) fn of_syncs(&mut self) {
        for sync in 0..self.scenario.syncs {
            match self.state.syncs[sync].status {
                SyncStatus::Over => {
                    let scenario = self.scenario;
                    self.add(What::Start, sync, |state| start(scenario, state, sync));
                }
                SyncStatus::Processing if self.scenario.has_commands => {
                    self.advance(What::Pause, sync, SyncStatus::Pausing);
                    self.advance(What::Cancel, sync, SyncStatus::Cancelling);
                }
                SyncStatus::Pausing => {
                    self.advance(What::Cancel, sync, SyncStatus::Cancelling);
                    self.add(What::Resume, sync, |state| resume(state, sync));
                    if !self.has_living_lease(sync) {
                        self.advance(What::Paused, sync, SyncStatus::Paused);
                    }
                }
                SyncStatus::Paused => {
                    self.advance(What::Cancel, sync, SyncStatus::Cancelling);
                    self.add(What::Resume, sync, |state| resume(state, sync));
                }
                SyncStatus::Cancelling if !self.has_living_lease(sync) => {
                    self.add(What::Cancelled, sync, |state| {
                        close_lanes(state, sync, None);
                        end_sync(state, sync);
                    });
                }
                SyncStatus::Processing | SyncStatus::Cancelling => {}
            }
        }
    }

    fn advance(&mut self, what: What, sync: usize, to: SyncStatus) {
        self.add(what, sync, |state| state.syncs[sync].status = to);
    }

    fn has_living_lease(&self, sync: usize) -> bool {
        let of_sync = |batch: &&Batch| batch.sync == Some(small(sync));
        let mut batches = self.state.batches.iter().filter(of_sync);
        batches.any(|batch| batch.status == BatchStatus::Running && batch.has_lease)
    }

    pub(super) fn of_batches(&mut self) {
        for index in 0..self.state.batches.len() {
            let batch = self.state.batches[index];
            if self.scenario.has_deaths && batch.status == BatchStatus::Running && batch.has_lease {
                self.add(What::LeaseRunsOut, index, |state| {
                    state.batches[index].has_lease = false;
                });
            }
            if !self.scenario.loses_bells {
                continue;
            }
            if batch.has_bell {
                self.add(What::LoseBell, index, |state| {
                    state.batches[index].has_bell = false;
                });
            } else if self.has(Guard::Sweep) && is_claimable(self.state, index) {
                self.add(What::Sweep, index, |state| state.batches[index].has_bell = true);
            }
        }
    }

    pub(super) fn of_requests(&mut self) {
        for index in 0..self.state.requests.len() {
            let Some(request) = self.state.requests[index] else {
                continue;
            };
            let remote = self.scenario.remote;
            self.add_judged(What::Arrive, index, |state| {
                state.requests[index] = None;
                arrive(remote, state, request)
            });
            self.add(What::Vanish, index, |state| state.requests[index] = None);
            let is_first = request.is_create && self.state.remote[usize::from(request.item)].is_none();
            if self.scenario.has_parts && is_first {
                self.add(What::ArriveInPart, index, |state| {
                    state.requests[index] = None;
                    state.remote[usize::from(request.item)] = Some(Value::Part);
                });
            }
            if let (true, Some(by)) = (self.scenario.has_give_backs, request.by) {
                self.add(What::ComeTooOften, index, |state| {
                    state.requests[index] = None;
                    state.workers[usize::from(by)].phase =
                        Phase::Answered(request.item, crate::state::Answer::NotNow);
                });
            }
        }
    }
}

/// The remote does what a request asks for, and answers whoever still waits.
fn arrive(remote: crate::scenario::Remote, state: &mut State, request: Request) -> Option<Violation> {
    use crate::scenario::Remote;
    use crate::state::Answer;
    let held = &mut state.remote[usize::from(request.item)];
    let (answer, violation) = match (*held, request.is_create, remote) {
        (Some(_), true, Remote::Keyless) => (Answer::Applied, Some(Violation::CreatedTwice)),
        (Some(_), true, Remote::Refusing) => (Answer::Taken, None),
        (Some(_), true, Remote::Overwriting) | (None, _, _) | (Some(_), false, _) => {
            *held = Some(request.value);
            (Answer::Applied, None)
        }
    };
    if let Some(by) = request.by {
        state.workers[usize::from(by)].phase = Phase::Answered(request.item, answer);
    }
    violation
}

/// Says whether a batch may be claimed, its bell apart: due or without a living owner, and its sync running. A claim reads
/// where the sync stands without a lock, so that a pause may come in between: who has claimed finds the door closed.
pub(super) fn is_claimable(state: &State, index: usize) -> bool {
    let batch = &state.batches[index];
    let is_processing = batch.sync.is_some_and(|sync| {
        matches!(
            state.syncs[usize::from(sync)].status,
            SyncStatus::Processing | SyncStatus::Pausing | SyncStatus::Paused
        )
    });
    let mut items = state.items.iter().filter(|item| item.batch == Some(small(index)));
    let is_free = match batch.status {
        BatchStatus::Done => false,
        BatchStatus::Queued => {
            !batch.is_follow_up
                || items.all(|item| item.effect.is_none_or(|effect| effect.time == Time::Quiet))
        }
        // Who settles it holds its row.
        BatchStatus::Running => {
            !batch.has_lease
                && !state.workers.iter().enumerate().any(|(worker, hand)| {
                    matches!(hand.phase, Phase::Settling { .. })
                        && usize::from(hand.batch) == index
                        && batch.token == Some(small(worker))
                })
        }
    };
    is_processing && is_free
}

/// `commands::start` and `plan::open_next_stage`; where the sync reads first, what its pull sees.
fn start(scenario: &Scenario, state: &mut State, sync: usize) {
    if scenario.has_pulls {
        for item in 0..scenario.items {
            sight(state, item);
        }
    }
    state.syncs[sync] = Sync {
        status: SyncStatus::Processing,
        is_stage_open: true,
        lock: None,
    };
    for item in &mut state.items {
        item.is_due[sync] = true;
    }
    if !open_batch(scenario, state, sync) {
        end_stage(state, sync);
    }
}

/// `item::sight`.
fn sight(state: &mut State, item: usize) {
    let Some(theirs) = state.remote[item] else {
        return;
    };
    let row = &mut state.items[item];
    if row.batch.is_some() {
        mark_moved(state, item);
        return;
    }
    row.has_external_id = true;
    if theirs == row.content() {
        row.state = ItemState::Synced;
        if row.base != Some(theirs) {
            state.settle_base(item, theirs);
        }
    } else {
        row.state = ItemState::Pending;
    }
}

/// `plan::open_batch` and `item::pick_due`. `false` where nothing is due.
pub(super) fn open_batch(scenario: &Scenario, state: &mut State, sync: usize) -> bool {
    let is_free = |item: &crate::state::Item| item.batch.is_none() || !scenario.has(Guard::OneBatchPerItem);
    let due = (0..scenario.items).filter(|index| {
        let item = &state.items[*index];
        item.is_due[sync] && item.state == ItemState::Pending && is_free(item)
    });
    let picked: Vec<usize> = due.take(scenario.batch_size).collect();
    let Some(last) = picked.last() else {
        return false;
    };
    let index = state.free_batch();
    // What the lane has passed over comes with the next sync.
    for item in &mut state.items[..=*last] {
        item.is_due[sync] = false;
    }
    for item in &picked {
        state.items[*item].batch = Some(small(index));
    }
    state.batches[index] = Batch {
        status: BatchStatus::Queued,
        sync: Some(small(sync)),
        is_main: true,
        has_bell: true,
        ..Batch::default()
    };
    true
}

/// `plan::end_stage` and `plan::close_sync`: the sync has no other stage. One that is to pause or to be cancelled is not
/// closed; that follows from its command.
pub(super) fn end_stage(state: &mut State, sync: usize) {
    state.syncs[sync].is_stage_open = false;
    if state.syncs[sync].status == SyncStatus::Processing {
        end_sync(state, sync);
    }
}

/// `control::resume`: the last batch may have been settled after the door was closed, and then nothing is left.
fn resume(state: &mut State, sync: usize) {
    if state.syncs[sync].is_stage_open {
        state.syncs[sync].status = SyncStatus::Processing;
    } else {
        end_sync(state, sync);
    }
}

/// A sync is over: its place is for the next one, which has nothing to do with its batches, and nobody claims these.
fn end_sync(state: &mut State, sync: usize) {
    state.syncs[sync] = Sync::default();
    for batch in &mut state.batches {
        batch.sync = batch.sync.filter(|of| *of != small(sync));
    }
}

/// Closes the open batches of a sync, one apart, and lets go of their items.
pub(super) fn close_lanes(state: &mut State, sync: usize, except: Option<usize>) {
    for index in 0..state.batches.len() {
        let batch = state.batches[index];
        if batch.sync == Some(small(sync)) && batch.status != BatchStatus::Done && Some(index) != except {
            let_go(state, index);
            close(state, index);
        }
    }
}

/// `item::let_go`.
pub(super) fn let_go(state: &mut State, batch: usize) {
    for item in &mut state.items {
        if item.batch == Some(small(batch)) {
            item.batch = None;
            if item.state == ItemState::InDoubt {
                item.state = ItemState::Pending;
            }
        }
    }
}

pub(super) fn close(state: &mut State, batch: usize) {
    state.batches[batch] = Batch {
        sync: state.batches[batch].sync,
        ..Batch::default()
    };
}
