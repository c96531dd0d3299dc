//! A batch in hand: claimed, loaded, looked up, decided about, and settled.

use super::fleet::{close, close_lanes, end_stage, is_claimable, let_go, open_batch};
use super::{
    BatchStatus, End, Fate, Guard, ITEMS, Operation, Phase, State, Steps, SyncStatus, Time, Verdict, What,
    Work, Worker, onward, put_down, small,
};
use crate::property::Violation;
use crate::scenario::Scenario;
use crate::state::{Batch, ItemState, Value};

impl Steps<'_> {
    /// What is loaded after the claim is what stood there when it was made, as far as anyone can tell.
    pub(super) fn claims(&mut self, worker: usize) {
        let scenario = self.scenario;
        for index in 0..self.state.batches.len() {
            let is_rung = self.state.batches[index].has_bell || !self.scenario.loses_bells;
            if !is_rung || !is_claimable(self.state, index) {
                continue;
            }
            let claim = |state: &mut State, phase: Phase, works: [Work; ITEMS]| {
                let batch = &mut state.batches[index];
                batch.status = BatchStatus::Running;
                (batch.has_bell, batch.has_lease) = (false, true);
                batch.token = Some(small(worker));
                state.workers[worker] = Worker {
                    phase,
                    batch: small(index),
                    works,
                };
            };
            if scenario.has_refusals {
                self.add(What::FindNoWay, worker, |state| {
                    claim(state, Phase::Ending(End::StageOver), <[Work; ITEMS]>::default());
                });
            }
            self.add(What::Claim, worker, |state| {
                let mut works = <[Work; ITEMS]>::default();
                for (work, row) in works.iter_mut().zip(&state.items).take(scenario.items) {
                    if row.batch == Some(small(index)) {
                        *work = recall(scenario, row);
                    }
                }
                claim(state, onward(&works), works);
            });
        }
    }

    pub(super) fn look_up_doubt(&mut self, worker: usize) {
        let asks = self.has(Guard::LookUp);
        self.add(What::LookUpDoubt, worker, |state| {
            let remote = state.remote;
            for (work, theirs) in state.workers[worker].works.iter_mut().zip(remote) {
                if let Fate::Doubtful(operation, value) = work.fate {
                    let verdict = judge(operation, value, theirs.filter(|_| asks));
                    work.fate = Fate::Judged(operation, value, verdict);
                }
            }
            state.workers[worker].phase = Phase::Judged;
        });
    }

    /// The verdicts are kept under the fence; what they mean for the items is known to the worker alone until it settles.
    pub(super) fn note_verdicts(&mut self, worker: usize) {
        let is_owner = self.state.is_owner(worker);
        if !is_owner && self.has(Guard::FenceOnOutcome) {
            self.add(What::NoteVerdicts, worker, |state| put_down(state, worker));
            return;
        }
        let scenario = self.scenario;
        self.add_judged(What::NoteVerdicts, worker, |state| {
            for item in 0..scenario.items {
                let work = &mut state.workers[worker].works[item];
                let Fate::Judged(operation, value, verdict) = work.fate else {
                    continue;
                };
                take_verdict(scenario, work, operation, value, verdict);
                if let Some(effect) = state.items[item].effect.take() {
                    let applied = &mut state.items[item].applied;
                    match verdict {
                        Verdict::Arrived => applied.note(effect.operation, effect.value, effect.lag),
                        Verdict::ArrivedInPart => {
                            applied.note(Operation::CreateInPart, effect.value, effect.lag);
                        }
                        Verdict::NeverArrived => {}
                    }
                }
            }
            state.workers[worker].phase = onward(&state.workers[worker].works);
            stale(scenario, is_owner)
        });
    }

    pub(super) fn decide(&mut self, worker: usize) {
        let is_keyed = self.scenario.remote.is_keyed();
        self.add(What::Decide, worker, |state| {
            let remote = state.remote;
            for (work, theirs) in state.workers[worker].works.iter_mut().zip(remote) {
                if work.fate != Fate::Open {
                    continue;
                }
                let seen = theirs.filter(|_| work.has_external_id || is_keyed);
                work.has_external_id |= seen.is_some();
                work.fate = match seen {
                    None => Fate::Planned(Operation::Create),
                    Some(theirs) if theirs == work.ours() => Fate::Synced {
                        base: theirs,
                        is_news: work.base != Some(theirs),
                    },
                    Some(_) => Fate::Planned(Operation::Update),
                };
            }
            state.workers[worker].phase = onward(&state.workers[worker].works);
        });
    }

    pub(super) fn begin_settling(&mut self, worker: usize, end: End) {
        if !self.state.is_owner(worker) && self.has(Guard::FenceOnSettle) {
            self.add(What::BeginSettling, worker, |state| put_down(state, worker));
            return;
        }
        let own = usize::from(self.state.workers[worker].batch);
        let sync = self.state.batches[own].sync;
        let locks = sync.filter(|_| self.has(Guard::StageLock));
        if locks.is_some_and(|sync| self.state.syncs[usize::from(sync)].lock.is_some()) {
            return;
        }
        self.add(What::BeginSettling, worker, |state| {
            if let Some(sync) = locks {
                state.syncs[usize::from(sync)].lock = Some(small(worker));
            }
            let open = |index: usize, batch: &Batch| {
                index != own && batch.sync == sync && batch.status != BatchStatus::Done
            };
            let others = || {
                state
                    .batches
                    .iter()
                    .enumerate()
                    .filter(|(index, batch)| open(*index, batch))
            };
            state.workers[worker].phase = Phase::Settling {
                end,
                has_main: others().any(|(_, batch)| batch.is_main),
                has_open: others().next().is_some(),
            };
        });
    }

    pub(super) fn settle(&mut self, worker: usize, end: End) {
        let scenario = self.scenario;
        let is_owner = self.state.is_owner(worker);
        self.add_judged(What::Settle, worker, |state| {
            let batch = usize::from(state.workers[worker].batch);
            let follow_up = open_follow_up(state, worker, batch);
            for item in 0..scenario.items {
                settle_item(state, worker, (item, batch), end, follow_up);
            }
            if end != End::Later {
                let_go(state, batch);
            }
            leave(scenario, state, (worker, batch), end, follow_up.is_some());
            put_down(state, worker);
            stale(scenario, is_owner)
        });
    }
}

pub(super) fn stale(scenario: &Scenario, is_owner: bool) -> Option<Violation> {
    (!is_owner && scenario.minds_stale_records).then_some(Violation::StaleOwnerRecorded)
}

/// `Work::new` and `Work::recall`.
fn recall(scenario: &Scenario, row: &crate::state::Item) -> Work {
    let mut work = Work {
        fate: Fate::Open,
        is_twelve: row.content() == Value::Twelve,
        has_external_id: row.has_external_id,
        base: row.base,
        lag: 0,
        is_moved: false,
    };
    for (operation, value) in row.applied.present() {
        recall_applied(scenario, &mut work, operation, value);
    }
    if let Some(effect) = row.effect.filter(|_| scenario.has(Guard::ResolveFirst)) {
        work.fate = match effect.time {
            Time::Quiet => Fate::Doubtful(effect.operation, effect.value),
            Time::BeforeDeadline | Time::BeforeQuiet => Fate::InDoubt,
        };
    }
    work
}

/// `Work::recall_applied`.
pub(super) fn recall_applied(scenario: &Scenario, work: &mut Work, operation: Operation, value: Value) {
    work.has_external_id = true;
    if operation == Operation::CreateInPart {
        let operation = if scenario.has(Guard::OwnKeyToComplete) {
            Operation::Complete
        } else {
            Operation::Create
        };
        work.fate = Fate::Planned(operation);
    } else {
        arrive(scenario, work, value);
    }
}

/// `Work::arrived`.
fn arrive(scenario: &Scenario, work: &mut Work, carried: Value) {
    let base = if scenario.has(Guard::BaseFromEffect) {
        carried
    } else {
        work.ours()
    };
    work.fate = if base == work.ours() {
        Fate::Synced { base, is_news: true }
    } else {
        Fate::Outdated(base)
    };
}

/// `push::doubt::judge`.
fn judge(operation: Operation, carried: Value, theirs: Option<Value>) -> Verdict {
    match theirs {
        None => Verdict::NeverArrived,
        Some(theirs) if theirs == carried => Verdict::Arrived,
        Some(_) if operation == Operation::Create => Verdict::ArrivedInPart,
        Some(_) => Verdict::NeverArrived,
    }
}

/// `Verdict::take_effect`.
fn take_verdict(
    scenario: &Scenario,
    work: &mut Work,
    operation: Operation,
    carried: Value,
    verdict: Verdict,
) {
    match verdict {
        Verdict::Arrived => {
            work.has_external_id = true;
            arrive(scenario, work, carried);
        }
        Verdict::ArrivedInPart => {
            work.has_external_id = true;
            work.fate = Fate::Planned(Operation::Complete);
        }
        Verdict::NeverArrived if operation == Operation::Complete => {
            work.fate = Fate::Planned(Operation::Complete);
        }
        Verdict::NeverArrived => work.fate = Fate::Open,
    }
}

/// `push::open_follow_up`.
fn open_follow_up(state: &mut State, worker: usize, batch: usize) -> Option<usize> {
    let mut works = state.workers[worker].works.iter();
    if !works.any(|work| work.fate == Fate::InDoubt) {
        return None;
    }
    let index = state.free_batch();
    state.batches[index] = Batch {
        status: BatchStatus::Queued,
        sync: state.batches[batch].sync,
        is_follow_up: true,
        has_bell: true,
        ..Batch::default()
    };
    Some(index)
}

/// `Work::settled` and `item::settle`.
fn settle_item(
    state: &mut State,
    worker: usize,
    (item, batch): (usize, usize),
    end: End,
    follow_up: Option<usize>,
) {
    let work = state.workers[worker].works[item];
    let row = &mut state.items[item];
    if row.batch != Some(small(batch)) {
        return;
    }
    let (next, base) = match work.fate {
        Fate::Absent => return,
        Fate::Open | Fate::Planned(_) | Fate::Doubtful(..) | Fate::Judged(..) => {
            if end == End::Later {
                return;
            }
            (ItemState::Pending, None)
        }
        Fate::InDoubt => (ItemState::InDoubt, None),
        Fate::GivenUp => (ItemState::Pending, None),
        Fate::Synced { base, is_news } => {
            let next = if work.is_moved {
                ItemState::Pending
            } else {
                ItemState::Synced
            };
            (next, is_news.then_some(base))
        }
        Fate::Outdated(base) => (ItemState::Pending, Some(base)),
    };
    row.state = next;
    row.has_external_id = work.has_external_id;
    row.batch = follow_up.filter(|_| next == ItemState::InDoubt).map(small);
    if let Some(base) = base {
        state.settle_base(item, base);
    }
}

/// `Hand::leave`, `batch::leave` and `plan::go_on`.
fn leave(
    scenario: &Scenario,
    state: &mut State,
    (worker, batch): (usize, usize),
    end: End,
    has_follow_up: bool,
) {
    let Phase::Settling {
        has_main, has_open, ..
    } = state.workers[worker].phase
    else {
        return;
    };
    let row = &mut state.batches[batch];
    if end == End::Later {
        row.status = BatchStatus::Queued;
        (row.has_bell, row.has_lease, row.token) = (true, false, None);
        return;
    }
    let sync = row.sync;
    close(state, batch);
    let Some(sync) = sync.map(usize::from) else {
        return;
    };
    let is_over = state.syncs[sync].status == SyncStatus::Over;
    if is_over || !state.syncs[sync].is_stage_open {
        return;
    }
    if state.syncs[sync].status == SyncStatus::Cancelling && end == End::Done {
        // Nothing more is taken up.
        return;
    }
    if end == End::StageOver {
        if scenario.has(Guard::EndFreesLanes) {
            close_lanes(state, sync, Some(batch));
        }
        end_stage(state, sync);
    } else if !has_main && !open_batch(scenario, state, sync) && !has_open && !has_follow_up {
        end_stage(state, sync);
    }
}
