//! One item of a push in hand, and what becomes of it.

use chrono::{DateTime, Utc};
use lockstep_shared::backoff;
use lockstep_shared::batch::Counts;
use lockstep_shared::conflict::{ConflictType, Course};
use lockstep_shared::decide::{Agreed, Merge};
use lockstep_shared::effect::{Effect, State as EffectState};
use lockstep_shared::entity::{Content, Customer, PartKey, Reference, fields_of};
use lockstep_shared::id::{BatchId, RecordId};
use lockstep_shared::item::{Loaded, Referred, Settled, State};
use lockstep_shared::preview::{self, Preview};
use lockstep_shared::strategy::{self, Decider, Strategy};
use lockstep_shared::system::EntityType;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::all_paths;
use crate::connector::{
    Action, Connector, Links, Parts, Purpose, Refusal, Sighting, Step, Wanted, Write, shown,
};

/// Longest wait before an item is tried again within a sync (R22).
const LONGEST_RETRY: Duration = Duration::from_secs(16);

/// An item with everything known about it.
#[derive(Debug)]
pub struct Work {
    pub item: Loaded,
    /// Our record, whole.
    pub whole: Content,
    /// Our record as the remote can hold it.
    pub ours: Content,
    /// What both sides agreed on last.
    pub base: Option<Agreed>,
    /// What the remote will hold once what was decided is written, where that is not just what is written.
    pub expected: Option<Content>,
    /// What the records of the batch refer to.
    pub links: Arc<Links>,
    /// What the remote was seen to hold.
    pub theirs: Option<Content>,
    /// When the remote was seen to have changed it, where it tells.
    pub changed_at: Option<DateTime<Utc>>,
    /// Whether what was written last is not what we hold, but what sales meanwhile left of it.
    pub is_corrected: bool,
    pub external_id: Option<String>,
    pub parts: Parts,
    pub fate: Fate,
    /// Our record with what it took over from the remote.
    pub taken: Option<Content>,
    /// The fields that what is written takes over from the remote.
    pub takes: BTreeSet<String>,
    /// Where a thing that was begun goes on.
    resume: Option<Resume>,
    /// Who began what is written.
    begun: Begun,
    /// Whether the remote said before that its key is taken: it is adopted once, not in circles.
    pub was_taken: bool,
    /// Whether the steps that are written belong to a thing that is being made.
    pub making: Making,
    /// What it was made with, where a look-up found a part of it.
    made: Option<Content>,
    /// Whether a request of this batch carried it and had no answer.
    was_unanswered: bool,
    /// Whether it is to be made where it is missing.
    pub need: Need,
    /// What it waits for was left out because that is out of use: it is wanted after all.
    pub wants: Option<RecordId>,
}

/// Who began what is written: this look at the remote, or a batch or owner before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    Here,
    Before,
}

/// Where a thing that was begun goes on.
#[derive(Debug)]
struct Resume {
    step: Step,
    /// What the steps before carried, and the others carry on with; `None`: what we hold now.
    carried: Option<Content>,
}

/// What becomes of an item.
#[derive(Debug)]
pub enum Fate {
    /// Not decided, or not sent yet.
    Open,
    /// A request that carries it had no answer and may still arrive until then.
    InDoubt {
        quiet_at: DateTime<Utc>,
    },
    /// Its request had no answer and the time for that is over: the remote is asked.
    Doubtful {
        effect: Effect,
    },
    Synced {
        base: Agreed,
        done: Done,
    },
    /// An earlier request had brought over content that we changed since.
    Outdated {
        base: Agreed,
        done: Done,
    },
    /// It can't be carried before something else is; looked at again by the next sync.
    Waiting {
        reason: String,
    },
    /// The remote had it and does not have it any more.
    Vanished {
        reason: String,
    },
    /// The remote does not have it, and needs not to.
    LeftOut {
        reason: String,
    },
    /// It would be written, were this not a dry run.
    Planned {
        action: preview::Action,
        content: Content,
    },
    Retry {
        refusal: Refusal,
    },
    /// Both sides changed what nobody owns: both are looked at again later in this sync.
    Disputed {
        reason: String,
        data: Value,
    },
    Failed {
        refusal: Refusal,
        conflict_type: ConflictType,
    },
    Conflict {
        conflict_type: ConflictType,
        reason: String,
        data: Value,
    },
    Skipped {
        reason: String,
        data: Value,
    },
}

/// What a thing is made for where it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// For its own sake, while it is in use.
    InUse,
    /// Something that is to be carried waits for it.
    Awaited,
}

/// What was done to the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Created,
    Updated,
    Unchanged,
}

impl Done {
    pub fn of(operation: &str) -> Self {
        match Making::of(operation) {
            Making::No => Self::Updated,
            Making::Creating | Making::Completing => Self::Created,
        }
    }
}

/// Which part of making a thing its writes are. Part of their idempotency key: completing a thing is another write
/// than the one that made a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    No,
    Creating,
    /// A look-up found a part of it; all of it is written again onto what is there.
    Completing,
}

impl Making {
    pub fn of(operation: &str) -> Self {
        match operation {
            "create" => Self::Creating,
            "complete" => Self::Completing,
            _ => Self::No,
        }
    }

    /// What goes on after an applied write that names a next step. Only a thing that was found made in part goes on at
    /// its first step: the keys of making it are used up by then, so it is completed under keys of its own.
    fn going_on(operation: &str, next_step: i16) -> Self {
        match Self::of(operation) {
            Self::Creating if next_step == 0 => Self::Completing,
            making => making,
        }
    }
}

impl Work {
    pub fn new(
        (item, entity): (Loaded, EntityType),
        effects: Vec<Effect>,
        connector: &dyn Connector,
        now: DateTime<Utc>,
    ) -> Self {
        let parsed = Content::parse(entity, item.content.clone());
        let base = item
            .base
            .clone()
            .and_then(|base| Agreed::stored(entity, base, item.held.clone()).ok());
        let (whole, fate) = match parsed {
            Ok(whole) => (whole, Fate::Open),
            // Stored by us in canonical form: only an older form of it can fail here.
            Err(invalid) => {
                let placeholder = base
                    .as_ref()
                    .map_or_else(|| placeholder(&item), |base| base.ours.clone());
                let reason = format!("our own record can't be read: {invalid}");
                let conflict_type = ConflictType::ValidationError;
                (
                    placeholder,
                    Fate::Conflict {
                        conflict_type,
                        reason,
                        data: json!({}),
                    },
                )
            }
        };
        let mut work = Self {
            ours: connector.project(&whole),
            whole,
            base,
            expected: None,
            links: Arc::default(),
            theirs: None,
            changed_at: None,
            is_corrected: false,
            external_id: item.external_id.clone(),
            parts: serde_json::from_value(item.parts.clone()).unwrap_or_default(),
            fate,
            taken: None,
            takes: BTreeSet::new(),
            resume: None,
            begun: Begun::Here,
            was_taken: false,
            making: Making::No,
            made: None,
            was_unanswered: false,
            need: Need::InUse,
            wants: None,
            item,
        };
        work.recall(effects, now);
        work
    }

    /// Takes up what the log says about requests before this batch.
    fn recall(&mut self, effects: Vec<Effect>, now: DateTime<Utc>) {
        for effect in effects {
            match effect.state {
                EffectState::Applied => self.recall_applied(&effect),
                EffectState::Intended | EffectState::InDoubt => {
                    self.making = Making::of(&effect.operation);
                    self.fate = if effect.quiet_at > now {
                        Fate::InDoubt {
                            quiet_at: effect.quiet_at,
                        }
                    } else {
                        Fate::Doubtful { effect }
                    };
                }
                EffectState::Rejected => {}
            }
        }
    }

    /// Takes up a write that arrived but was not settled: its content is the new base, and no call is made for it.
    pub fn recall_applied(&mut self, effect: &Effect) {
        if let Some(id) = &effect.external_id
            && !id.is_empty()
        {
            self.external_id = Some(id.clone());
        }
        if let Some(parts) = effect
            .parts
            .clone()
            .and_then(|parts| serde_json::from_value(parts).ok())
        {
            self.parts = parts;
        }
        if let Some(step) = effect.next_step {
            if effect.operation == "create" && step == 0 {
                self.made = Content::parse(self.ours.entity(), effect.content.clone()).ok();
            }
            self.making = Making::going_on(&effect.operation, step);
            self.takes = taken(effect);
            self.expected = effect
                .held
                .clone()
                .and_then(|held| Content::parse(self.ours.entity(), held).ok());
            // What is completed is given what we hold now; what is changed goes on being what it was begun to be.
            let carried = Content::parse(self.ours.entity(), effect.content.clone()).ok();
            self.resume = Some(Resume {
                step: Step(u8::try_from(step).unwrap_or_default()),
                carried: carried.filter(|_| step > 0),
            });
            return;
        }
        self.resume = None;
        let Ok(carried) = Content::parse(self.ours.entity(), effect.content.clone()) else {
            return;
        };
        let held = effect
            .held
            .clone()
            .and_then(|held| Content::parse(carried.entity(), held).ok());
        self.takes = taken(effect);
        self.arrived(&carried, held, Done::of(&effect.operation));
    }

    /// Notes that a write arrived whole: what it carried, and what the remote made of it where that is told, is agreed
    /// on, whatever we hold by now. What it took over is the remote's change still: our record does not have it.
    pub fn arrived(&mut self, carried: &Content, held: Option<Content>, done: Done) {
        let is_current = *carried == self.ours;
        let base = shown::on_arrival((carried, held), self.base.as_ref(), &self.ours, &self.takes);
        self.fate = if is_current {
            Fate::Synced { base, done }
        } else {
            Fate::Outdated { base, done }
        };
    }

    /// Notes that its last write was carried out, and what the remote made of it where that is told.
    pub fn applied(&mut self, sent: Content, held: Option<Content>, done: Done) {
        if self.begun == Begun::Before {
            let held = held.or_else(|| self.expected.take());
            return self.arrived(&sent, held, done);
        }
        let theirs = held
            .or_else(|| self.expected.take())
            .unwrap_or_else(|| sent.clone());
        let base = Agreed { ours: sent, theirs };
        self.fate = Fate::Synced { base, done };
    }

    /// Says which of the records that it refers to the remote does not have, or not the part that is meant yet, and puts it
    /// off, or fails it where they will not come by themselves. What is there already waits only for what is coming.
    pub fn await_references(&mut self, referred: &BTreeMap<RecordId, Referred>) {
        if !self.is_open() {
            return;
        }
        let is_there = self.external_id.is_some();
        // An order points to its customer's own address where it is the same: to be told once that has arrived.
        let is_moving = |(entity, reference): &(EntityType, &Reference)| {
            let known = reference.target().and_then(|target| referred.get(&target.record));
            *entity == EntityType::Customers && known.is_some_and(|known| known.is_on_the_way)
        };
        if !is_there && self.whole.references().iter().any(is_moving) {
            return self.wait("waits for its customer, whose change is on its way there in another sync");
        }
        let missing = self
            .whole
            .references()
            .into_iter()
            .find_map(|(entity, reference)| {
                let target = reference.target()?;
                let known = referred.get(&target.record);
                let has_it = known.is_some_and(|known| has(known, &target.part));
                let is_missing = !has_it && (!is_there || known.is_some_and(is_coming));
                is_missing.then_some((entity, target.record, known))
            });
        let Some((entity, record, known)) = missing else {
            return;
        };
        let is_gone = known.is_some_and(|known| known.is_gone);
        if is_gone && matches!(self.whole, Content::Inventory(_) | Content::Payment(_)) {
            return self.leave_out(format!(
                "{} `{record}` was deleted there, and this with it",
                one_of(entity)
            ));
        }
        if let Some(known) = known.filter(|known| is_left_out(known)) {
            self.wants = Some(known.record_id);
            return self.wait(format!(
                "waits for {} `{record}`, which is out of use",
                one_of(entity)
            ));
        }
        if known.is_some_and(is_coming) {
            let reason = format!("waits for {} `{record}`, which is not there yet", one_of(entity));
            self.fate = Fate::Waiting { reason };
            return;
        }
        let why = known.and_then(|known| known.last_error.as_deref());
        let message = format!(
            "it needs {} `{record}`, which did not get there: {}",
            one_of(entity),
            why.unwrap_or("nothing of it was ever to be carried to this connection"),
        );
        let refusal = Refusal {
            code: "reference_missing".to_owned(),
            message,
        };
        self.fate = Fate::Failed {
            refusal,
            conflict_type: ConflictType::ValidationError,
        };
    }

    /// Says whether it is to be made where it is missing: what is out of use is only where something needs it.
    pub fn is_wanted(&self) -> bool {
        self.need == Need::Awaited || self.whole.is_wanted_when_new()
    }

    /// Leaves it as it is there, of which there is nothing to be said to anybody.
    pub fn leave_out(&mut self, reason: impl Into<String>) {
        self.fate = Fate::LeftOut {
            reason: reason.into(),
        };
    }

    /// Says whether nothing is left to be decided about it, by anybody.
    pub fn is_at_rest(&self) -> bool {
        matches!(self.fate, Fate::Synced { .. } | Fate::LeftOut { .. })
    }

    pub fn vanish(&mut self, reason: String) {
        self.fate = Fate::Vanished { reason };
    }

    pub fn is_vanished(&self) -> bool {
        matches!(self.fate, Fate::Vanished { .. })
    }

    /// Says whether a sighting of it makes it doubtful that the remote has it still: it is not found, or it is out of use
    /// there, as what lies in a trash is.
    pub fn is_suspect(&self, sighting: &Sighting) -> bool {
        let was_in_use = !self.base.as_ref().is_some_and(|base| base.theirs.is_retired());
        self.external_id.is_some()
            && match sighting {
                Sighting::Missing => true,
                Sighting::One(theirs) => was_in_use && theirs.content.as_ref().is_ok_and(Content::is_retired),
                Sighting::Many(_) | Sighting::NotAsked => false,
            }
    }

    /// Puts it off to the next sync.
    pub fn wait(&mut self, reason: impl Into<String>) {
        self.fate = Fate::Waiting {
            reason: reason.into(),
        };
    }

    pub fn is_open(&self) -> bool {
        matches!(self.fate, Fate::Open)
    }

    /// Returns the write that goes on with a thing of which a part was made already.
    pub fn continued(&mut self) -> Option<Write> {
        let Resume { step, carried } = self.resume.take().filter(|_| self.is_open())?;
        self.begun = Begun::Before;
        let content = carried.unwrap_or_else(|| self.ours.clone());
        let begun = self.fields_begun(&content);
        let mut write = self.next_write(content, step);
        if let (Action::Update { changed, .. }, Some(begun)) = (&mut write.action, begun) {
            *changed = begun;
        }
        Some(write)
    }

    /// Returns the fields that a change which was begun is about: those of ours that changed since both sides agreed.
    /// What was to be put back besides is seen by whoever looks next. `None` where that can't be told.
    fn fields_begun(&self, carried: &Content) -> Option<BTreeSet<String>> {
        let base = self.base.as_ref().filter(|_| self.making == Making::No)?;
        let changed = fields_of(carried).differing(&fields_of(&base.ours));
        let changed = &changed - &self.takes;
        (!changed.is_empty()).then_some(changed)
    }

    /// Has a thing that was made in part written again, from its first step, as a change of what is there.
    pub fn resume_at_start(&mut self) {
        let resume = Resume {
            step: Step(0),
            carried: None,
        };
        (self.fate, self.resume, self.making) = (Fate::Open, Some(resume), Making::Completing);
    }

    /// Notes what a thing was made with of which a part was found, and has it written again.
    pub fn complete(&mut self, made: Content) {
        self.made = Some(made);
        self.resume_at_start();
    }

    /// Reads what the remote holds: what it only shows of another thing, and still of the same one, as it was agreed on or
    /// made.
    pub fn read(
        &self,
        seen: &Content,
        parts: &Parts,
        elsewhere: impl Fn(BTreeSet<String>) -> BTreeSet<String>,
    ) -> Content {
        let agreed = self.base.as_ref().map(|base| &base.theirs).or(self.made.as_ref());
        match agreed {
            Some(agreed) => shown::as_agreed(seen, agreed, &elsewhere(shown::steady(&self.parts, parts))),
            None => seen.clone(),
        }
    }

    /// Returns the fields of a thing made in part that stand as they are to be: it points to others as it was made, whatever
    /// these read as by now.
    fn standing(&self, content: &Content) -> BTreeSet<String> {
        match &self.made {
            Some(made) if self.making == Making::Completing => {
                shown::same(made, content, shown::fields(&self.parts))
            }
            Some(_) | None => BTreeSet::new(),
        }
    }

    /// Returns the write of a further step; a thing without an id yet is still being created.
    pub fn next_write(&self, content: Content, step: Step) -> Write {
        let action = match &self.external_id {
            Some(external_id) => {
                let standing = self.standing(&content);
                Action::Update {
                    external_id: external_id.clone(),
                    parts: self.parts.clone(),
                    // Whatever may differ: all that it has now, and all that it had and was cleared.
                    changed: all_paths(&content)
                        .into_iter()
                        .chain(self.base.iter().flat_map(|base| all_paths(&base.ours)))
                        .filter(|path| !standing.contains(path))
                        .collect(),
                }
            }
            None => Action::Create,
        };
        self.write(action, content, step)
    }

    /// Returns the write of the step that follows another: of a change it is about the same fields still.
    pub fn following(&self, write: Write, step: Step) -> Write {
        match (write.action, &self.external_id) {
            (Action::Update { changed, .. }, Some(external_id)) if self.making == Making::No => {
                let (external_id, parts) = (external_id.clone(), self.parts.clone());
                self.write(
                    Action::Update {
                        external_id,
                        parts,
                        changed,
                    },
                    write.content,
                    step,
                )
            }
            _ => self.next_write(write.content, step),
        }
    }

    /// Takes another look at what the remote can hold of our record: a connector may have learnt it meanwhile.
    pub fn reproject(&mut self, connector: &dyn Connector) {
        self.ours = connector.project(&self.whole);
    }

    pub fn write(&self, action: Action, content: Content, step: Step) -> Write {
        Write {
            item: self.item.item_id,
            record: self.item.record_id,
            action,
            content,
            step,
            links: self.links.clone(),
        }
    }

    pub fn wanted(&self) -> Wanted {
        let purpose = match &self.external_id {
            Some(external_id) => Purpose::Refresh {
                external_id: external_id.clone(),
            },
            None => Purpose::BeforeCreate,
        };
        Wanted {
            record: self.item.record_id,
            purpose,
            content: self.ours.clone(),
            links: self.links.clone(),
        }
    }

    pub fn found(&mut self, external_id: String, parts: Parts) {
        (self.external_id, self.parts) = (Some(external_id), parts);
    }

    /// Takes over what the remote changed.
    pub fn take(&mut self, merge: &Merge) {
        self.takes.clear();
        if merge.to_take.is_empty() {
            return;
        }
        if let Ok(whole) = merge.taken_into(&self.whole) {
            self.taken = Some(whole);
            self.takes.clone_from(&merge.to_take);
        }
    }

    pub fn refuse(&mut self, refusal: &Refusal) {
        self.conflict(
            ConflictType::ValidationError,
            refusal.message.clone(),
            json!({ "code": refusal.code }),
        );
    }

    pub fn conflict(&mut self, conflict_type: ConflictType, reason: String, data: Value) {
        self.fate = Fate::Conflict {
            conflict_type,
            reason,
            data,
        };
    }

    /// Takes up that both sides changed what nobody owns: they are looked at again after a while, until that was done often
    /// enough, or not at all where a person decides (R21, R25).
    pub fn dispute(&mut self, reason: String, data: Value, decider: Decider, max_retries: u8) {
        match strategy::mismatch(self.item.retries, max_retries, decider) {
            (_, Strategy::AutoRetry) => self.fate = Fate::Disputed { reason, data },
            (conflict_type, Strategy::Manual | Strategy::Skip) => self.conflict(conflict_type, reason, data),
        }
    }

    pub fn skip_duplicate(&mut self, reason: &str, data: Value) {
        self.fate = Fate::Skipped {
            reason: reason.to_owned(),
            data,
        };
    }

    /// Takes an item out of the way that has outlived too many owners.
    pub fn park(&mut self) {
        if self.is_open() {
            let message =
                "every worker that took it up died; it is left aside until somebody has looked".to_owned();
            let refusal = Refusal {
                code: "poison".to_owned(),
                message,
            };
            self.fate = Fate::Failed {
                refusal,
                conflict_type: ConflictType::RetryExhausted,
            };
        }
    }

    /// Gives an item up that was not sent because calls kept failing. One in doubt stays to be looked up: it is failed,
    /// and its effect is not.
    pub fn exhaust(&mut self, words: &str) {
        if matches!(self.fate, Fate::Open | Fate::Doubtful { .. }) {
            let refusal = Refusal {
                code: "unreachable".to_owned(),
                message: words.to_owned(),
            };
            self.fate = Fate::Failed {
                refusal,
                conflict_type: ConflictType::RetryExhausted,
            };
        }
    }

    /// Has an item tried again later in this sync, or fails it where it was tried often enough (R25).
    pub fn retry(&mut self, refusal: Refusal, max_retries: u8) {
        self.fate = if self.item.retries < i32::from(max_retries) {
            Fate::Retry { refusal }
        } else {
            Fate::Failed {
                refusal,
                conflict_type: ConflictType::RetryExhausted,
            }
        };
    }

    /// Leaves an item whose request had no answer to a follow-up, or, where that happened often enough, to the next
    /// sync: its effect stays in doubt, and is looked up before anything else is sent for it.
    pub fn leave_in_doubt(&mut self, quiet_at: DateTime<Utc>, words: &str, max_retries: u8) {
        self.was_unanswered = true;
        self.fate = if self.item.retries < i32::from(max_retries) {
            Fate::InDoubt { quiet_at }
        } else {
            let refusal = Refusal {
                code: "no_answer".to_owned(),
                message: words.to_owned(),
            };
            Fate::Failed {
                refusal,
                conflict_type: ConflictType::RetryExhausted,
            }
        };
    }

    pub fn quiet_at(&self) -> Option<DateTime<Utc>> {
        match self.fate {
            Fate::InDoubt { quiet_at } => Some(quiet_at),
            _ => None,
        }
    }

    /// Returns the conflict that a person should see of it, with how it is gone about.
    pub fn to_report(&self) -> Option<(ConflictType, Course, Value)> {
        let report = |conflict_type, strategy, reason: &str, more: &Value| {
            let course = Course {
                strategy,
                retries: self.item.retries,
                next_retry_at: None,
            };
            Some((conflict_type, course, self.known(reason, more)))
        };
        let by_rule = |conflict_type| strategy::choose(conflict_type, self.item.retries, Decider::Rule);
        match &self.fate {
            Fate::Failed {
                refusal,
                conflict_type,
            } => {
                let code = json!({ "code": refusal.code });
                report(*conflict_type, by_rule(*conflict_type), &refusal.message, &code)
            }
            Fate::Disputed { reason, data } => {
                report(ConflictType::DataMismatch, Strategy::AutoRetry, reason, data)
            }
            Fate::Conflict {
                conflict_type,
                reason,
                data,
            } => report(*conflict_type, Strategy::Manual, reason, data),
            Fate::Skipped { reason, data } => {
                let conflict_type = ConflictType::DuplicateKey;
                report(conflict_type, by_rule(conflict_type), reason, data)
            }
            Fate::Open
            | Fate::InDoubt { .. }
            | Fate::Doubtful { .. }
            | Fate::Synced { .. }
            | Fate::Outdated { .. }
            | Fate::Waiting { .. }
            | Fate::Vanished { .. }
            | Fate::LeftOut { .. }
            | Fate::Planned { .. }
            | Fate::Retry { .. } => None,
        }
    }

    /// Tells what is known of it, for whoever has to decide.
    fn known(&self, reason: &str, more: &Value) -> Value {
        let mut known = json!({
            "reason": reason, "externalId": self.external_id, "ours": self.ours.to_json(),
            "theirs": self.theirs.as_ref().map(Content::to_json),
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            known[name] = value.clone();
        }
        known
    }

    pub fn count(&self, counts: &mut Counts) {
        match &self.fate {
            Fate::Synced { done, .. } | Fate::Outdated { done, .. } => match done {
                Done::Created => counts.created += 1,
                Done::Updated => counts.updated += 1,
                Done::Unchanged => counts.unchanged += 1,
            },
            Fate::InDoubt { .. } => counts.in_doubt += 1,
            Fate::Failed { .. } => counts.failed += 1,
            Fate::Conflict { .. } => counts.conflicts += 1,
            // Looked at and left for later counts as passed over in this sync.
            Fate::Skipped { .. } | Fate::Waiting { .. } | Fate::Vanished { .. } | Fate::LeftOut { .. } => {
                counts.skipped += 1;
            }
            Fate::Planned { action, .. } => match action {
                preview::Action::Create => counts.created += 1,
                _ => counts.updated += 1,
            },
            Fate::Open | Fate::Doubtful { .. } | Fate::Retry { .. } | Fate::Disputed { .. } => {}
        }
    }

    /// Notes what would be written, in the place of writing it.
    pub fn plan(&mut self, write: Write) {
        let action = match (self.making, &write.action) {
            (Making::No, Action::Update { .. }) => preview::Action::Update,
            (_, Action::Delete { .. }) => preview::Action::Delete,
            (_, Action::Create | Action::Update { .. }) => preview::Action::Create,
        };
        self.fate = Fate::Planned {
            action,
            content: write.content,
        };
    }

    /// Tells what a dry run found about it; `None` where it was not looked at.
    pub fn preview(&self) -> Option<Preview> {
        let (action, changes, reason) = match &self.fate {
            Fate::Planned { action, content } => {
                (*action, preview::changes(self.theirs.as_ref(), content), None)
            }
            Fate::Synced { .. } | Fate::Outdated { .. } => {
                (preview::Action::Unchanged, BTreeMap::new(), None)
            }
            Fate::Waiting { reason } => (preview::Action::Waits, BTreeMap::new(), Some(reason.clone())),
            Fate::Vanished { reason } => (preview::Action::Vanished, BTreeMap::new(), Some(reason.clone())),
            Fate::LeftOut { reason } => (preview::Action::Unchanged, BTreeMap::new(), Some(reason.clone())),
            Fate::InDoubt { .. } => {
                let reason = "a request that carries it had no answer yet".to_owned();
                (preview::Action::Waits, BTreeMap::new(), Some(reason))
            }
            Fate::Failed { refusal, .. } | Fate::Retry { refusal } => {
                (preview::Action::Refused, BTreeMap::new(), Some(words(refusal)))
            }
            Fate::Conflict { reason, .. } | Fate::Skipped { reason, .. } | Fate::Disputed { reason, .. } => {
                (preview::Action::Conflict, BTreeMap::new(), Some(reason.clone()))
            }
            Fate::Open | Fate::Doubtful { .. } => return None,
        };
        Some(Preview {
            item: self.item.item_id,
            record: self.item.record_id,
            action,
            changes,
            reason,
        })
    }

    /// Returns how often it will have been tried again, and when it is (R22).
    fn next_try(&self, now: DateTime<Utc>) -> (i32, Option<DateTime<Utc>>) {
        let retries = self.item.retries + 1;
        let wait = backoff::wait(retries.unsigned_abs(), LONGEST_RETRY, rand::random());
        (retries, Some(now + wait))
    }

    /// Returns the item's new row. `None` leaves it with the batch as it is: it is still to be done.
    pub fn settled(&self, follow_up: Option<BatchId>, now: DateTime<Utc>, is_over: bool) -> Option<Settled> {
        let mut settled = Settled {
            item_id: self.item.item_id,
            due_sequence: self.item.due_sequence,
            state: State::Pending,
            external_id: self.external_id.clone(),
            parts: serde_json::to_value(&self.parts).expect("parts are strings"),
            base: None,
            held: None,
            retries: self.item.retries,
            retry_at: None,
            last_error: None,
            follow_up: None,
        };
        match &self.fate {
            Fate::Planned { .. } => return None,
            Fate::Open | Fate::Doubtful { .. } if !is_over => return None,
            Fate::Open | Fate::Doubtful { .. } => {}
            Fate::InDoubt { .. } => {
                settled.state = State::InDoubt;
                settled.retries = self.item.retries + i32::from(self.was_unanswered);
                settled.follow_up = follow_up;
            }
            Fate::Synced { base, done } => {
                settled.state = State::Synced;
                settled.retries = 0;
                // Every write moves the generation on, even one that put back what both had agreed on before: the
                // same write may be needed again.
                let is_news = *done != Done::Unchanged || self.base.as_ref() != Some(base);
                if is_news {
                    (settled.base, settled.held) = (Some(base.ours.to_json()), base.held());
                }
            }
            Fate::Outdated { base, .. } => {
                (settled.base, settled.held) = (Some(base.ours.to_json()), base.held());
            }
            Fate::Waiting { reason } => settled.last_error = Some(reason.clone()),
            Fate::Retry { refusal } => {
                (settled.retries, settled.retry_at) = self.next_try(now);
                settled.last_error = Some(words(refusal));
            }
            Fate::Disputed { reason, .. } => {
                (settled.retries, settled.retry_at) = self.next_try(now);
                settled.last_error = Some(reason.clone());
            }
            Fate::Failed { refusal, .. } => {
                settled.state = State::Failed;
                settled.last_error = Some(words(refusal));
            }
            Fate::Conflict { reason, .. } => {
                settled.state = State::Conflict;
                settled.last_error = Some(reason.clone());
            }
            Fate::Skipped { reason, .. } | Fate::Vanished { reason } | Fate::LeftOut { reason } => {
                settled.state = State::Skipped;
                settled.last_error = Some(reason.clone());
            }
        }
        Some(settled)
    }
}

/// Says whether a record is there with the part that is meant. Of one that is being made the part may be still to come; else
/// what it does not have there it never had, or has no more.
fn has(known: &Referred, part: &PartKey) -> bool {
    let has_part = || {
        let parts: Parts = known
            .parts
            .clone()
            .and_then(|parts| serde_json::from_value(parts).ok())
            .unwrap_or_default();
        part.is_empty() || parts.contains_key(part)
    };
    known.external_id.is_some() && !known.is_gone && (!known.is_being_made || has_part())
}

/// Says whether a record that is not there, or not all of it, is still to be carried there by itself.
fn is_coming(known: &Referred) -> bool {
    matches!(known.state, Some(State::Pending | State::InDoubt))
}

/// Says whether a record is not there because it is out of use and nothing needed it.
fn is_left_out(known: &Referred) -> bool {
    let is_out_of_use =
        || Content::parse(known.entity_type, known.content.clone()).is_ok_and(|it| !it.is_wanted_when_new());
    known.state == Some(State::Skipped) && known.external_id.is_none() && !known.is_gone && is_out_of_use()
}

/// Returns the fields that an effect took over from the remote.
pub fn taken(effect: &Effect) -> BTreeSet<String> {
    serde_json::from_value(effect.taken.clone()).unwrap_or_default()
}

fn one_of(entity: EntityType) -> &'static str {
    match entity {
        EntityType::Customers => "customer",
        EntityType::Products => "product",
        EntityType::Orders => "order",
        EntityType::Inventory => "inventory level",
        EntityType::Payments => "payment",
    }
}

fn words(refusal: &Refusal) -> String {
    format!("{} ({})", refusal.message, refusal.code)
}

/// Stands in for a record that can't be read, whatever its type, so that its item can be told of; it is never sent.
fn placeholder(item: &Loaded) -> Content {
    Content::Customer(Customer {
        name: item.record_id.to_string(),
        email: None,
        phone: None,
        company: None,
        tax_number: None,
        language: None,
        billing: None,
        shipping: None,
        is_active: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_found_made_in_part_is_completed_under_keys_of_its_own() {
        assert_eq!(Making::going_on("create", 0), Making::Completing);
        assert_eq!(Making::going_on("complete", 0), Making::Completing);
    }

    #[test]
    fn a_thing_being_made_goes_on_being_made() {
        assert_eq!(Making::going_on("create", 1), Making::Creating);
        assert_eq!(Making::going_on("complete", 1), Making::Completing);
        assert_eq!(Making::going_on("update", 1), Making::No);
    }
}
