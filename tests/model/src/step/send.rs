//! One request: intent, call, outcome.

use super::batch::{recall_applied, stale};
use super::{
    Answer, End, Fate, Guard, Operation, Phase, Scenario, State, Steps, SyncStatus, Time, What, onward,
    put_down, small,
};
use crate::property::Violation;
use crate::state::{BatchStatus, Effect, LAGS, Request};

impl Steps<'_> {
    /// Intends the next write that is planned.
    pub(super) fn intend(&mut self, worker: usize) {
        let hand = self.state.workers[worker];
        let planned = hand
            .works
            .iter()
            .enumerate()
            .find_map(|(item, work)| match work.fate {
                Fate::Planned(operation) => Some((item, operation)),
                _ => None,
            });
        let Some((item, operation)) = planned else {
            return;
        };
        if self.scenario.has_give_backs {
            self.add(What::GiveBack, worker, |state| {
                state.workers[worker].phase = Phase::Ending(End::Later);
            });
        }
        let is_owner = self.state.is_owner(worker);
        if !is_owner && self.has(Guard::FenceOnIntend) {
            self.add(What::Intend, worker, |state| put_down(state, worker));
            return;
        }
        let sync = self.state.batches[usize::from(hand.batch)].sync;
        let status = sync.map(|sync| self.state.syncs[usize::from(sync)].status);
        if status != Some(SyncStatus::Processing) {
            self.add(What::Intend, worker, |state| {
                state.workers[worker].phase = Phase::Ending(End::Later);
            });
            return;
        }
        let scenario = self.scenario;
        self.add_judged(What::Intend, worker, |state| {
            note_intent(scenario, state, (worker, item), operation);
            stale(scenario, is_owner)
        });
    }

    pub(super) fn check(&mut self, worker: usize, item: usize, is_late: bool) {
        let batch = self.state.batches[usize::from(self.state.workers[worker].batch)];
        let is_held = self.state.is_owner(worker) && batch.has_lease;
        let is_stopped = (!is_held && self.has(Guard::Lease)) || (is_late && self.has(Guard::Deadline));
        if is_stopped {
            // The intent stays: whoever has the batch by now looks it up.
            self.add(What::Check, worker, |state| put_down(state, worker));
            return;
        }
        let is_paused =
            (batch.sync).is_some_and(|sync| self.state.syncs[usize::from(sync)].status == SyncStatus::Paused);
        // A batch that is cancelled is done.
        let is_closed = is_paused || batch.status == BatchStatus::Done;
        self.add_judged(What::Check, worker, |state| {
            state.workers[worker].phase = Phase::Checked(small(item));
            is_closed.then_some(Violation::CalledWhilePaused)
        });
    }

    pub(super) fn send(&mut self, worker: usize, item: usize) {
        let Some(place) = self.state.requests.iter().position(Option::is_none) else {
            return;
        };
        self.add(What::Send, worker, |state| {
            let hand = &mut state.workers[worker];
            hand.phase = Phase::Waiting(small(item));
            let work = hand.works[item];
            let request = Request {
                item: small(item),
                is_create: !work.has_external_id,
                value: work.ours(),
                by: Some(small(worker)),
            };
            state.requests[place] = Some(request);
        });
    }

    /// `push::send::Round::take_failure`: the answer is lost, or does not come in time.
    pub(super) fn wait(&mut self, worker: usize, item: usize) {
        let is_owner = self.state.is_owner(worker);
        if !is_owner && self.has(Guard::FenceOnOutcome) {
            self.add(What::NoteNoAnswer, worker, |state| put_down(state, worker));
            return;
        }
        let scenario = self.scenario;
        let mut leave = |what, fate, end| {
            self.add_judged(what, worker, |state| {
                for request in state.requests.iter_mut().flatten() {
                    request.by = request.by.filter(|by| *by != small(worker));
                }
                let hand = &mut state.workers[worker];
                hand.works[item].fate = fate;
                hand.phase = Phase::Ending(end);
                stale(scenario, is_owner)
            });
        };
        leave(What::NoteNoAnswer, Fate::InDoubt, End::Later);
        if scenario.has_parts {
            leave(What::NoteAndGiveUp, Fate::GivenUp, End::Done);
        }
    }

    /// `push::send::Round::take_outcomes`.
    pub(super) fn note_outcome(&mut self, worker: usize, item: usize, answer: Answer) {
        self.wait(worker, item);
        let is_owner = self.state.is_owner(worker);
        if !is_owner && self.has(Guard::FenceOnOutcome) {
            return;
        }
        let scenario = self.scenario;
        self.add_judged(What::NoteOutcome, worker, |state| {
            note(scenario, state, (worker, item), answer);
            stale(scenario, is_owner)
        });
    }
}

/// `push::send::intend` and `effect::intend`: a standing effect under the key is taken up, and nothing is noted; one
/// under another key refuses the intent.
fn note_intent(scenario: &Scenario, state: &mut State, (worker, item): (usize, usize), operation: Operation) {
    let work = &state.workers[worker].works[item];
    let (value, lag) = (work.ours(), work.lag);
    let row = &state.items[item];
    let keyed_by = |lag: u8| {
        let in_part = operation == Operation::Create && row.applied.has(Operation::CreateInPart, value, lag);
        if in_part {
            Some(Operation::CreateInPart)
        } else {
            row.applied.has(operation, value, lag).then_some(operation)
        }
    };
    let standing = if scenario.has(Guard::GenerationInKey) {
        keyed_by(lag)
    } else {
        (0..LAGS).find_map(keyed_by)
    };
    if let Some(standing) = standing {
        let hand = &mut state.workers[worker];
        recall_applied(scenario, &mut hand.works[item], standing, value);
        hand.phase = onward(&hand.works);
        return;
    }
    if let (true, Some(effect)) = (scenario.has(Guard::ResolveFirst), row.effect) {
        if (effect.operation, effect.value, effect.lag) == (operation, value, lag) {
            let hand = &mut state.workers[worker];
            hand.works[item].fate = Fate::InDoubt;
            hand.phase = onward(&hand.works);
        } else {
            put_down(state, worker);
        }
        return;
    }
    if scenario.has(Guard::Intent) {
        state.items[item].effect = Some(Effect {
            operation,
            value,
            time: Time::BeforeDeadline,
            lag,
        });
    }
    state.workers[worker].phase = Phase::Intended {
        item: small(item),
        is_late: false,
    };
}

/// Notes an outcome in whatever effect of the item is unresolved (`effect::resolve`), and takes it up.
fn note(scenario: &Scenario, state: &mut State, (worker, item): (usize, usize), answer: Answer) {
    let hand = &mut state.workers[worker];
    let work = &mut hand.works[item];
    let sent = (work.fate, work.ours(), work.lag);
    match answer {
        Answer::Applied => {
            work.has_external_id = true;
            work.fate = Fate::Synced {
                base: work.ours(),
                is_news: true,
            };
            hand.phase = onward(&hand.works);
        }
        Answer::Taken => {
            work.fate = Fate::Open;
            hand.phase = onward(&hand.works);
        }
        Answer::NotNow => hand.phase = Phase::Ending(End::Later),
    }
    let row = &mut state.items[item];
    let noted = match (row.effect.take(), sent) {
        (Some(effect), _) => Some((effect.operation, effect.value, effect.lag)),
        // Without an intent the outcome is the first that the log hears of it.
        (None, (Fate::Planned(operation), value, lag)) if !scenario.has(Guard::Intent) => {
            Some((operation, value, lag))
        }
        (None, _) => None,
    };
    if let (Answer::Applied, Some((operation, value, lag))) = (answer, noted) {
        row.applied.note(operation, value, lag);
    }
}
