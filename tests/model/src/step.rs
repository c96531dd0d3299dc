//! What can happen next. Every step names the function it stands for; what a transaction does is one step.

mod batch;
mod fleet;
mod send;

use std::fmt;

use crate::property::Violation;
use crate::scenario::{Guard, Scenario};
use crate::state::{
    Answer, BatchStatus, End, Fate, ITEMS, Operation, Phase, State, SyncStatus, Time, Verdict, Work, Worker,
    small,
};

/// One thing that happens, to a worker, a row or a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub what: What,
    /// The worker, or the index of what it happens to.
    pub whom: u8,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Start,
    Pause,
    Paused,
    Resume,
    Cancel,
    Cancelled,
    Edit,
    LoseBell,
    Sweep,
    LeaseRunsOut,
    DeadlinePasses,
    QuietComes,
    Claim,
    LookUpDoubt,
    NoteVerdicts,
    Decide,
    Intend,
    GiveBack,
    BeRefused,
    FindNoWay,
    Check,
    Send,
    NoteOutcome,
    NoteNoAnswer,
    NoteAndGiveUp,
    BeginSettling,
    Settle,
    Die,
    Arrive,
    ArriveInPart,
    Vanish,
    ComeTooOften,
}

impl What {
    /// Says in words what happens, and where the workspace does it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Start => "a sync starts (commands::start, plan::open_next_stage)",
            Self::Pause => "it is to pause (control::pause)",
            Self::Paused => "it has paused: no batch has a living lease (control::rest)",
            Self::Resume => "it resumes (control::resume)",
            Self::Cancel => "it is to be cancelled (control::cancel)",
            Self::Cancelled => "it is cancelled, and lets go of its items (control::rest)",
            Self::Edit => "our content changes (record::put, item::make_due)",
            Self::LoseBell => "a bell is lost",
            Self::Sweep => "the sweep rings again (sweep::keep, fleet_silent_work)",
            Self::LeaseRunsOut => "a lease runs out (fleet_renew_leases)",
            Self::DeadlinePasses => "a call's deadline passes",
            Self::QuietComes => "deadline and grace are over (effect::Under::quiet_at)",
            Self::Claim => "claims and loads (batch::claim, push::load, Work::recall)",
            Self::LookUpDoubt => "asks the remote about requests in doubt (push::doubt::resolve)",
            Self::NoteVerdicts => "notes what it heard of them (push::send::note)",
            Self::Decide => "looks up and decides (push::look_and_decide)",
            Self::Intend => "notes the intent (push::send::intend)",
            Self::GiveBack => "has no token (gate::BatchGate::pass)",
            Self::BeRefused => "has its credentials refused (End::Unauthorised)",
            Self::FindNoWay => "claims, and can't open the connection (Hand::connector, push::abandon)",
            Self::Check => "checks lease and deadline (push::send::Round::send)",
            Self::Send => "sends (Connector::send)",
            Self::NoteOutcome => "notes the outcome (push::send::note)",
            Self::NoteNoAnswer => "hears nothing in time, and notes that (Reach::InDoubt)",
            Self::NoteAndGiveUp => "notes that nothing was heard, for the last time (Work::leave_in_doubt)",
            Self::BeginSettling => "begins to settle (Hand::begin_settling)",
            Self::Settle => "settles (push::settle, Hand::leave, plan::go_on)",
            Self::Die => "dies",
            Self::Arrive => "a request arrives",
            Self::ArriveInPart => "a request arrives, and is carried out in part",
            Self::Vanish => "a request is lost",
            Self::ComeTooOften => "a request is turned away (CallError::Throttled)",
        }
    }

    const fn is_of_worker(self) -> bool {
        matches!(
            self,
            Self::Claim
                | Self::LookUpDoubt
                | Self::NoteVerdicts
                | Self::Decide
                | Self::Intend
                | Self::GiveBack
                | Self::BeRefused
                | Self::FindNoWay
                | Self::Check
                | Self::Send
                | Self::NoteOutcome
                | Self::NoteNoAnswer
                | Self::NoteAndGiveUp
                | Self::BeginSettling
                | Self::Settle
                | Self::Die
        )
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.what.is_of_worker() {
            write!(f, "a worker {}", self.what.words())
        } else {
            write!(f, "{} ({})", self.what.words(), self.whom)
        }
    }
}

/// A step and where it leads.
#[derive(Clone, Copy, Debug)]
pub struct Next {
    pub step: Step,
    pub state: State,
    /// What the step itself broke.
    pub violation: Option<Violation>,
}

/// Returns the first state: items that the remote does not have, and nothing under way.
pub fn first() -> State {
    State::default().normal()
}

/// Lists everything that can happen next.
pub fn all(scenario: &Scenario, state: &State, found: &mut Vec<Next>) {
    found.clear();
    let mut steps = Steps {
        scenario,
        state,
        found,
    };
    steps.of_syncs();
    steps.of_batches();
    steps.of_items();
    steps.of_requests();
    steps.of_workers();
}

struct Steps<'a> {
    scenario: &'a Scenario,
    state: &'a State,
    found: &'a mut Vec<Next>,
}

impl Steps<'_> {
    fn has(&self, guard: Guard) -> bool {
        self.scenario.has(guard)
    }

    /// Adds a step that changes a copy of the state.
    fn add(&mut self, what: What, whom: usize, change: impl FnOnce(&mut State)) {
        self.add_judged(what, whom, |state| {
            change(state);
            None
        });
    }

    /// Adds a step that may break something by itself.
    fn add_judged(&mut self, what: What, whom: usize, change: impl FnOnce(&mut State) -> Option<Violation>) {
        let mut state = *self.state;
        let violation = change(&mut state);
        if self.has(Guard::GenerationInKey) {
            state.forget_generations();
        }
        if !self.scenario.has_stale_owners {
            drop_stale_hands(&mut state);
        }
        if !self.scenario.loses_bells {
            state.batches.iter_mut().for_each(|batch| batch.has_bell = false);
        }
        let state = state.normal();
        if state == *self.state && violation.is_none() {
            return;
        }
        let step = Step {
            what,
            whom: small(whom),
        };
        self.found.push(Next {
            step,
            state,
            violation,
        });
    }

    fn of_items(&mut self) {
        for item in 0..self.scenario.items {
            if self.state.items[item].edits < self.scenario.edits {
                self.add(What::Edit, item, |state| edit(state, item));
            }
            let Some(effect) = self.state.items[item].effect else {
                continue;
            };
            match effect.time {
                Time::BeforeDeadline => {
                    self.add(What::DeadlinePasses, item, |state| pass_deadline(state, item));
                }
                Time::BeforeQuiet if self.may_be_quiet(item) => {
                    self.add(What::QuietComes, item, |state| {
                        if let Some(effect) = &mut state.items[item].effect {
                            effect.time = Time::Quiet;
                        }
                    });
                }
                Time::BeforeQuiet | Time::Quiet => {}
            }
        }
    }

    /// Within the bound, what was to arrive has arrived by the time that is called quiet, and who was about to send has
    /// sent.
    fn may_be_quiet(&self, item: usize) -> bool {
        let is_promised = self.scenario.bound == crate::scenario::Bound::Kept && self.has(Guard::Grace);
        let mut requests = self.state.requests.iter().flatten();
        let is_on_its_way = requests.any(|request| usize::from(request.item) == item)
            || (self.state.workers.iter()).any(|worker| worker.phase == Phase::Checked(small(item)));
        !is_promised || !is_on_its_way
    }

    fn of_workers(&mut self) {
        for worker in 0..self.state.workers.len() {
            let phase = self.state.workers[worker].phase;
            match phase {
                Phase::Idle => {
                    self.claims(worker);
                    continue;
                }
                Phase::Doubting => self.look_up_doubt(worker),
                Phase::Judged => self.note_verdicts(worker),
                Phase::Deciding => self.decide(worker),
                Phase::Sending => self.intend(worker),
                Phase::Intended { item, is_late } => self.check(worker, usize::from(item), is_late),
                Phase::Checked(item) => self.send(worker, usize::from(item)),
                Phase::Waiting(item) => self.wait(worker, usize::from(item)),
                Phase::Answered(item, answer) => self.note_outcome(worker, usize::from(item), answer),
                Phase::Ending(end) => self.begin_settling(worker, end),
                Phase::Settling { end, .. } => self.settle(worker, end),
            }
            let may_be_refused = matches!(phase, Phase::Doubting | Phase::Deciding | Phase::Sending);
            if self.scenario.has_refusals && may_be_refused {
                self.add(What::BeRefused, worker, |state| {
                    state.workers[worker].phase = Phase::Ending(End::StageOver);
                });
            }
            if self.scenario.has_deaths {
                self.add(What::Die, worker, |state| put_down(state, worker));
            }
        }
    }
}

/// A worker has nothing in hand any more: its transaction is rolled back, and it waits for no answer.
fn put_down(state: &mut State, worker: usize) {
    state.workers[worker] = Worker::default();
    for sync in &mut state.syncs {
        sync.lock = sync.lock.filter(|holder| *holder != small(worker));
    }
    for request in state.requests.iter_mut().flatten() {
        request.by = request.by.filter(|by| *by != small(worker));
    }
}

/// `item::make_due`.
fn edit(state: &mut State, item: usize) {
    let row = &mut state.items[item];
    row.edits += 1;
    if row.state != crate::state::ItemState::InDoubt {
        row.state = crate::state::ItemState::Pending;
    }
    row.is_due = <[bool; crate::state::SYNCS]>::default();
    mark_moved(state, item);
}

fn mark_moved(state: &mut State, item: usize) {
    for worker in &mut state.workers {
        let work = &mut worker.works[item];
        work.is_moved |= work.fate != Fate::Absent;
    }
}

fn pass_deadline(state: &mut State, item: usize) {
    if let Some(effect) = &mut state.items[item].effect {
        effect.time = Time::BeforeQuiet;
    }
    for worker in &mut state.workers {
        if let Phase::Intended { item: own, is_late } = &mut worker.phase
            && usize::from(*own) == item
        {
            *is_late = true;
        }
    }
}

/// A worker that has lost its batch stops, unless it is just about to send: all that it could still do is to be told.
fn drop_stale_hands(state: &mut State) {
    for worker in 0..state.workers.len() {
        let is_sending = matches!(state.workers[worker].phase, Phase::Idle | Phase::Checked(_));
        if !is_sending && !state.is_owner(worker) {
            put_down(state, worker);
        }
    }
}

/// Returns what is to be done next about the items in hand.
fn onward(works: &[Work; ITEMS]) -> Phase {
    let any = |is: fn(&Fate) -> bool| works.iter().any(|work| is(&work.fate));
    if any(|fate| matches!(fate, Fate::Doubtful(..))) {
        Phase::Doubting
    } else if any(|fate| *fate == Fate::Open) {
        Phase::Deciding
    } else if any(|fate| matches!(fate, Fate::Planned(_))) {
        Phase::Sending
    } else {
        Phase::Ending(End::Done)
    }
}
