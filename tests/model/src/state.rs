//! Everything there is at one moment: rows, workers, requests under way, and the remote.

/// Most items.
pub const ITEMS: usize = 2;
/// Workers; each stands for one batch that some process has in hand.
pub const WORKERS: usize = 2;
/// Most batches that are open, or still in the hand of a worker that lost them.
pub const BATCHES: usize = 9;
/// Most requests under way; who would send more waits until one has arrived or is lost.
pub const REQUESTS: usize = 3;
/// Most syncs side by side.
pub const SYNCS: usize = 2;
/// Generations back that a worker may have loaded.
pub const LAGS: u8 = 3;

/// What a record says, or a remote holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    Ten,
    Twelve,
    /// Only a part of what was to be made.
    Part,
}

/// A write's operation, as its key names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// A create of which a part was found: applied, with a step to go on with.
    CreateInPart,
    Create,
    Update,
    Complete,
}

/// The applied writes of an item's last generations, by their keys: `effect::State::Applied`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Applied(u32);

impl Applied {
    const WIDTH: u8 = 8;

    fn bit(operation: Operation, value: Value, lag: u8) -> u32 {
        1 << (lag * Self::WIDTH + operation as u8 * 2 + value as u8)
    }

    pub fn note(&mut self, operation: Operation, value: Value, lag: u8) {
        if lag < LAGS {
            self.0 |= Self::bit(operation, value, lag);
        }
    }

    pub fn has(self, operation: Operation, value: Value, lag: u8) -> bool {
        lag < LAGS && self.0 & Self::bit(operation, value, lag) != 0
    }

    /// Lists those of the item's own generation, in the order in which they were resolved.
    pub fn present(self) -> impl Iterator<Item = (Operation, Value)> {
        use Operation::{Complete, Create, CreateInPart, Update};
        [CreateInPart, Create, Update, Complete]
            .into_iter()
            .flat_map(|operation| [(operation, Value::Ten), (operation, Value::Twelve)])
            .filter(move |(operation, value)| self.has(*operation, *value, 0))
    }

    fn age(&mut self) {
        self.0 = (self.0 << Self::WIDTH) & ((1 << (LAGS * Self::WIDTH)) - 1);
    }

    /// Forgets generations that nobody can ask for any more.
    fn forget_behind(&mut self, lag: u8) {
        if lag + 1 < LAGS {
            self.0 &= (1 << ((lag + 1) * Self::WIDTH)) - 1;
        }
    }
}

/// How far the time of an unresolved effect has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Time {
    BeforeDeadline,
    BeforeQuiet,
    Quiet,
}

/// An effect that is intended or in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Effect {
    pub operation: Operation,
    pub value: Value,
    pub time: Time,
    pub lag: u8,
}

/// `item::State`; a failed item is picked as a pending one is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ItemState {
    #[default]
    Pending,
    Synced,
    InDoubt,
}

/// An item with its record and its effects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Item {
    pub edits: u8,
    pub state: ItemState,
    pub has_external_id: bool,
    pub base: Option<Value>,
    pub batch: Option<u8>,
    /// Per sync: its due sequence is between the lane's position and the stage's high-water mark.
    pub is_due: [bool; SYNCS],
    pub effect: Option<Effect>,
    pub applied: Applied,
}

impl Item {
    pub fn content(&self) -> Value {
        if self.edits.is_multiple_of(2) {
            Value::Ten
        } else {
            Value::Twelve
        }
    }
}

/// `sync::Status`, where everything final is `Over` and the place is free for the next sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SyncStatus {
    #[default]
    Over,
    Processing,
    Pausing,
    Paused,
    Cancelling,
}

/// A sync with its one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sync {
    pub status: SyncStatus,
    pub is_stage_open: bool,
    /// Who holds the stage's row.
    pub lock: Option<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BatchStatus {
    /// Done; the place is free once nobody has it in hand.
    #[default]
    Done,
    Queued,
    Running,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the columns of a row, each for itself"
)]
pub struct Batch {
    pub status: BatchStatus,
    /// `None`: its sync is over.
    pub sync: Option<u8>,
    pub is_main: bool,
    /// Waits for the quiet of its items' effects.
    pub is_follow_up: bool,
    pub has_bell: bool,
    pub has_lease: bool,
    /// The worker that claimed it last.
    pub token: Option<u8>,
}

/// What a look-up says about a request in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    Arrived,
    ArrivedInPart,
    NeverArrived,
}

/// `push::work::Fate`, with what is planned for an item that is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fate {
    /// The batch has no such item.
    #[default]
    Absent,
    Open,
    Planned(Operation),
    /// In doubt, and not quiet yet.
    InDoubt,
    Doubtful(Operation, Value),
    Judged(Operation, Value, Verdict),
    Synced {
        base: Value,
        is_news: bool,
    },
    Outdated(Value),
    /// Failed, with its effect still in doubt.
    GivenUp,
}

/// An item as a worker loaded it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Work {
    pub fate: Fate,
    /// Whether it was loaded as 12 (and not 10).
    pub is_twelve: bool,
    pub has_external_id: bool,
    pub base: Option<Value>,
    /// Generations that the item has gone on since.
    pub lag: u8,
    /// Its due sequence has moved since.
    pub is_moved: bool,
}

impl Work {
    pub fn ours(&self) -> Value {
        if self.is_twelve { Value::Twelve } else { Value::Ten }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    Applied,
    Taken,
    /// Surely not carried out: no connection, too many requests.
    NotNow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    Done,
    Later,
    StageOver,
}

/// Where a worker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    #[default]
    Idle,
    Doubting,
    Judged,
    Deciding,
    Sending,
    Intended {
        item: u8,
        is_late: bool,
    },
    /// Deadline and lease are checked; the next thing is the socket.
    Checked(u8),
    Waiting(u8),
    Answered(u8, Answer),
    Ending(End),
    /// In the transaction that settles: what it read of the stage's other batches.
    Settling {
        end: End,
        has_main: bool,
        has_open: bool,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Worker {
    pub phase: Phase,
    pub batch: u8,
    pub works: [Work; ITEMS],
}

/// A request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Request {
    pub item: u8,
    pub is_create: bool,
    pub value: Value,
    /// Who waits for the answer.
    pub by: Option<u8>,
}

/// Everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State {
    pub items: [Item; ITEMS],
    /// What the remote holds of each.
    pub remote: [Option<Value>; ITEMS],
    pub syncs: [Sync; SYNCS],
    pub batches: [Batch; BATCHES],
    pub workers: [Worker; WORKERS],
    pub requests: [Option<Request>; REQUESTS],
}

impl State {
    /// Says whether a worker's batch is its own: what `batch::hold` asks.
    pub fn is_owner(&self, worker: usize) -> bool {
        let batch = &self.batches[usize::from(self.workers[worker].batch)];
        batch.status == BatchStatus::Running && batch.token == Some(small(worker))
    }

    /// Moves an item's generation on.
    pub fn settle_base(&mut self, item: usize, base: Value) {
        let row = &mut self.items[item];
        row.base = Some(base);
        row.applied.age();
        row.effect
            .iter_mut()
            .for_each(|effect| effect.lag = (effect.lag + 1).min(LAGS));
        for worker in &mut self.workers {
            let work = &mut worker.works[item];
            if work.fate != Fate::Absent {
                work.lag = (work.lag + 1).min(LAGS);
            }
        }
    }

    /// Finds a place for a batch that nobody remembers the last user of.
    ///
    /// # Panics
    ///
    /// Where there is none: then [`BATCHES`] is too small for what is modelled.
    pub fn free_batch(&self) -> usize {
        (0..BATCHES)
            .find(|index| self.batches[*index].status == BatchStatus::Done && !self.is_named(*index))
            .expect("there are more places than batches can be open")
    }

    fn is_named(&self, batch: usize) -> bool {
        let has_it = |worker: &Worker| worker.phase != Phase::Idle && usize::from(worker.batch) == batch;
        self.workers.iter().any(has_it) || self.items.iter().any(|item| item.batch == Some(small(batch)))
    }

    /// Forgets the keys of generations that no worker has loaded any more.
    pub fn forget_generations(&mut self) {
        for item in 0..ITEMS {
            let works = self.workers.iter().map(|worker| worker.works[item]);
            let lags = works
                .filter(|work| work.fate != Fate::Absent)
                .map(|work| work.lag);
            self.items[item].applied.forget_behind(lags.max().unwrap_or(0));
        }
    }

    /// Batches have no names of their own: whichever place one has, it is the same.
    fn sort_batches(&mut self) {
        let mut order: [u8; BATCHES] = std::array::from_fn(small);
        let batches = self.batches;
        let (items, workers) = (self.items, self.workers);
        order.sort_by_key(|index| {
            let named = items.map(|item| item.batch == Some(*index));
            let held = workers.map(|worker| worker.phase != Phase::Idle && worker.batch == *index);
            std::cmp::Reverse((batches[usize::from(*index)], named, held))
        });
        let mut places = [0; BATCHES];
        for (place, index) in order.iter().enumerate() {
            places[usize::from(*index)] = small(place);
            self.batches[place] = batches[usize::from(*index)];
        }
        for item in &mut self.items {
            item.batch = item.batch.map(|batch| places[usize::from(batch)]);
        }
        for worker in &mut self.workers {
            if worker.phase != Phase::Idle {
                worker.batch = places[usize::from(worker.batch)];
            }
        }
    }

    /// What is left of a batch without items does nothing but look whether the stage is over: two of a kind are one.
    fn merge_empty_batches(&mut self) {
        for index in 0..BATCHES {
            let is_empty = !self.is_named(index) && self.batches[index].status == BatchStatus::Queued;
            if !is_empty {
                continue;
            }
            self.batches[index].is_follow_up = false;
            let has_like =
                (0..index).any(|other| !self.is_named(other) && self.batches[other] == self.batches[index]);
            if has_like {
                self.batches[index] = Batch::default();
            }
        }
        self.sort_batches();
    }

    /// Returns the same state in its one form: what nobody can tell apart is the same.
    #[must_use]
    pub fn normal(mut self) -> Self {
        let (workers, items) = (self.workers, self.items);
        let has_in_hand =
            |worker: &Worker, batch: usize| worker.phase != Phase::Idle && usize::from(worker.batch) == batch;
        for (index, batch) in self.batches.iter_mut().enumerate() {
            // A token whose owner died is nobody's, and its lease as good as over.
            batch.token = (batch.token).filter(|worker| has_in_hand(&workers[usize::from(*worker)], index));
            batch.has_lease &= batch.token.is_some();
            if batch.status == BatchStatus::Running && batch.token.is_none() {
                // To be claimed at once, as one that is due is.
                (batch.status, batch.is_follow_up) = (BatchStatus::Queued, false);
            }
            if batch.status == BatchStatus::Done {
                // Whoever still has it in hand asks which sync it was of.
                let is_named = workers.iter().any(|worker| has_in_hand(worker, index))
                    || items.iter().any(|item| item.batch == Some(small(index)));
                *batch = Batch {
                    sync: batch.sync.filter(|_| is_named),
                    ..Batch::default()
                };
            }
        }
        for (index, sync) in self.syncs.iter().enumerate() {
            if sync.status == SyncStatus::Over {
                self.items.iter_mut().for_each(|item| item.is_due[index] = false);
            }
        }
        self.sort_batches();
        self.merge_empty_batches();
        if self.workers[0] < self.workers[1] {
            self.workers.swap(0, 1);
            let swap = |worker: &mut Option<u8>| *worker = worker.map(|worker| 1 - worker);
            self.batches.iter_mut().for_each(|batch| swap(&mut batch.token));
            self.syncs.iter_mut().for_each(|sync| swap(&mut sync.lock));
            let requests = self.requests.iter_mut().flatten();
            requests.for_each(|request| swap(&mut request.by));
        }
        self.requests.sort_unstable_by(|a, b| b.cmp(a));
        self
    }
}

/// Returns an index as it is kept.
pub fn small(index: usize) -> u8 {
    u8::try_from(index).expect("there are few of everything")
}
