//! A connector at work: the worker's protocol in short, which holds the connector to its word at every step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lockstep_sandbox::fault::{Fault, Rule};
use lockstep_shared::entity::{Content, fields_of};
use lockstep_shared::id::{ItemId, RecordId};
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::http::Options;
use lockstep_worker::connector::{
    Action, CallError, Connector, Cursor, Gate, Hold, Outcome, Page, Parts, Purpose, Refusal, Request,
    Sighting, Step, Theirs, Wanted, Write,
};

use super::subject::{Caller, Subject};

/// Most requests and pages any rule needs.
const PLENTY: usize = 500;

/// Counts who passes, and closes after so many.
#[derive(Debug)]
pub struct Turnstile {
    passes: AtomicUsize,
    limit: usize,
}

impl Turnstile {
    pub const fn open() -> Self {
        Self::closing_after(usize::MAX)
    }

    pub const fn closing_after(limit: usize) -> Self {
        Self {
            passes: AtomicUsize::new(0),
            limit,
        }
    }

    pub fn passes(&self) -> usize {
        self.passes.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Gate for Turnstile {
    async fn pass(&self) -> Result<(), CallError> {
        let is_open = |passes: usize| (passes < self.limit).then_some(passes + 1);
        match self
            .passes
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_open)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(CallError::Held(Hold::Draining)),
        }
    }
}

/// A thing that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub external_id: String,
    pub parts: Parts,
}

/// What became of a write in the end.
#[derive(Clone, Debug)]
pub enum Fate {
    Placed(Placed),
    Rejected(Refusal),
    Transient(Refusal),
    Taken {
        external_id: Option<String>,
        refusal: Refusal,
    },
}

impl Fate {
    pub fn placed(self) -> Placed {
        match self {
            Self::Placed(placed) => placed,
            other => panic!("not written: {other:?}"),
        }
    }
}

pub fn create(content: &Content) -> Write {
    Write {
        item: ItemId::random(),
        record: RecordId::random(),
        action: Action::Create,
        content: content.clone(),
        step: Step::default(),
        links: Arc::default(),
    }
}

/// Changes a thing of this record from one content to another.
pub fn update(record: RecordId, placed: &Placed, from: &Content, to: &Content) -> Write {
    Write {
        item: ItemId::random(),
        record,
        action: Action::Update {
            external_id: placed.external_id.clone(),
            parts: placed.parts.clone(),
            changed: fields_of(from).differing(&fields_of(to)),
        },
        content: to.clone(),
        step: Step::default(),
        links: Arc::default(),
    }
}

pub fn delete(record: RecordId, placed: &Placed, content: &Content) -> Write {
    Write {
        item: ItemId::random(),
        record,
        action: Action::Delete {
            external_id: placed.external_id.clone(),
        },
        content: content.clone(),
        step: Step::default(),
        links: Arc::default(),
    }
}

pub fn wanted(write: &Write, purpose: Purpose) -> Wanted {
    Wanted {
        record: write.record,
        purpose,
        content: write.content.clone(),
        links: Arc::default(),
    }
}

pub fn refresh(write: &Write, external_id: &str) -> Wanted {
    let external_id = external_id.to_owned();
    wanted(write, Purpose::Refresh { external_id })
}

/// A stand-in and one connector to it.
pub struct Harness<S> {
    pub subject: S,
    pub connector: Box<dyn Connector>,
}

/// What of a pull was seen: by id, the last word.
#[derive(Debug)]
pub struct Pulled {
    pub seen: Vec<Theirs>,
    pub next: Cursor,
}

impl Pulled {
    pub fn by_id(&self) -> BTreeMap<&str, &Theirs> {
        self.seen
            .iter()
            .map(|theirs| (theirs.external_id.as_str(), theirs))
            .collect()
    }

    pub fn find(&self, external_id: &str) -> &Theirs {
        let found = self.by_id().get(external_id).copied();
        found.unwrap_or_else(|| panic!("{external_id} was not seen"))
    }
}

pub fn a_while() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

impl<S: Subject> Harness<S> {
    pub async fn start() -> Self {
        Self::of(S::start().await)
    }

    pub fn of(subject: S) -> Self {
        let connector = subject.connect(Caller::Known, &Options::local());
        Self { subject, connector }
    }

    /// Connects anew, as another worker would that knows nothing yet.
    pub fn reconnect(&mut self) {
        self.connector = self.subject.connect(Caller::Known, &Options::local());
    }

    pub fn arrivals(&self) -> usize {
        self.subject.faults().requests_seen()
    }

    /// Strikes the next writes.
    pub fn fault_on_writes(&self, fault: Fault, times: Option<u32>) {
        self.subject.faults().add(Rule {
            matches: Box::new(S::is_write),
            fault,
            times,
        });
    }

    pub async fn plan(&self, entity: EntityType, writes: Vec<Write>) -> Result<Vec<Request>, CallError> {
        let mut items: Vec<ItemId> = writes.iter().map(|write| write.item).collect();
        let requests = self.connector.plan(&Turnstile::open(), entity, writes).await?;
        let planned = requests.iter().flat_map(|request| &request.writes);
        let mut planned: Vec<ItemId> = planned.map(|write| write.item).collect();
        items.sort_unstable();
        planned.sort_unstable();
        assert_eq!(items, planned, "every write is in exactly one request");
        let limit = self.connector.request_limit(entity);
        for request in &requests {
            assert!(
                (1..=limit).contains(&request.writes.len()),
                "a request carries 1 to {limit} writes"
            );
        }
        Ok(requests)
    }

    pub async fn send(&self, request: &Request) -> Result<Vec<Outcome>, CallError> {
        let before = self.arrivals();
        // The worker stores requests between planning and sending.
        let outcomes = self.connector.send(request, a_while()).await;
        let sent = self.arrivals() - before;
        assert!(sent <= 1, "send makes one HTTP request at most, not {sent}");
        if let Ok(outcomes) = &outcomes {
            assert_eq!(outcomes.len(), request.writes.len(), "one outcome per write");
        }
        outcomes
    }

    /// Writes until every write has its fate, as the worker does: further steps, smaller requests where one thing of
    /// several is to blame.
    pub async fn push(&self, entity: EntityType, writes: Vec<Write>) -> BTreeMap<RecordId, Fate> {
        let mut fates = BTreeMap::new();
        let mut groups = vec![writes];
        let mut rounds = 0;
        while let Some(group) = groups.pop() {
            rounds += 1;
            assert!(rounds < PLENTY, "a write comes to an end");
            for request in self.plan(entity, group).await.expect("the plan is made") {
                let outcomes = self.send(&request).await.expect("the request is answered");
                groups.append(&mut take(request, outcomes, &mut fates));
            }
        }
        fates
    }

    /// Writes one thing that must succeed.
    pub async fn write(&self, write: &Write) -> Placed {
        let mut fates = self.push(write.content.entity(), vec![write.clone()]).await;
        let (_, fate) = fates.pop_first().expect("the write has a fate");
        fate.placed()
    }

    pub async fn look_up(&self, entity: EntityType, wanted: &[Wanted]) -> Vec<Sighting> {
        let found = self.connector.look_up(&Turnstile::open(), entity, wanted).await;
        let found = found.expect("the look-up is answered");
        assert_eq!(found.len(), wanted.len(), "one sighting per thing");
        found
    }

    pub async fn look_up_one(&self, wanted: Wanted) -> Sighting {
        let mut found = self.look_up(wanted.content.entity(), &[wanted]).await;
        found.remove(0)
    }

    pub async fn refreshed(&self, write: &Write, external_id: &str) -> Theirs {
        match self.look_up_one(refresh(write, external_id)).await {
            Sighting::One(theirs) => theirs,
            other => panic!("{external_id} is there, not {other:?}"),
        }
    }

    /// Asserts that the system holds a content, and knows its parts.
    pub async fn assert_holds(&self, write: &Write, placed: &Placed) {
        let theirs = self.refreshed(write, &placed.external_id).await;
        let expected = self.connector.project(&write.content);
        let content = theirs.content.as_ref();
        assert_eq!(content, Ok(&expected), "for {:?}", write.content);
        assert_eq!(theirs.parts, placed.parts, "parts of {:?}", write.content);
    }

    pub async fn page(&self, entity: EntityType, cursor: &Cursor, limit: usize) -> Page {
        let page = self
            .connector
            .pull(&Turnstile::open(), entity, cursor, limit)
            .await;
        let page = page.expect("the page is answered");
        assert!(
            page.seen.len() <= limit,
            "a page has at most {limit} things, not {}",
            page.seen.len()
        );
        page
    }

    /// Pulls from a cursor to the end; between the pages something may happen.
    pub async fn pull_while(
        &self,
        entity: EntityType,
        cursor: Cursor,
        limit: usize,
        mut between: impl FnMut(usize),
    ) -> Pulled {
        let mut pulled = Pulled {
            seen: Vec::new(),
            next: cursor,
        };
        for number in 0..PLENTY {
            let page = self.page(entity, &pulled.next, limit).await;
            pulled.seen.extend(page.seen);
            pulled.next = page.next;
            if page.is_last {
                return pulled;
            }
            between(number);
        }
        panic!("the pull has no end");
    }

    pub async fn pull(&self, entity: EntityType, cursor: &Cursor) -> Pulled {
        self.pull_while(entity, cursor.clone(), 10, |_| {}).await
    }
}

/// Sorts outcomes into fates and groups of writes that go on.
fn take(request: Request, outcomes: Vec<Outcome>, fates: &mut BTreeMap<RecordId, Fate>) -> Vec<Vec<Write>> {
    let is_culprit = |outcome: &Outcome| matches!(outcome, Outcome::Rejected(_) | Outcome::Taken { .. });
    let has_culprit = outcomes.iter().any(is_culprit);
    let (mut next, mut again, mut isolated) = (Vec::new(), Vec::new(), Vec::new());
    for (write, outcome) in request.writes.into_iter().zip(outcomes) {
        match outcome {
            Outcome::Applied {
                external_id,
                parts,
                next: Some(step),
                ..
            } => next.push(continued(write, external_id, parts, step)),
            Outcome::Applied {
                external_id, parts, ..
            } => {
                fates.insert(write.record, Fate::Placed(Placed { external_id, parts }));
            }
            Outcome::Transient(refusal) => match refusal.code.as_str() {
                "batch_refused" if has_culprit => again.push(write),
                "isolate" => isolated.push(write),
                _ => {
                    fates.insert(write.record, Fate::Transient(refusal));
                }
            },
            Outcome::Rejected(refusal) => {
                fates.insert(write.record, Fate::Rejected(refusal));
            }
            Outcome::Taken { external_id, refusal } => {
                fates.insert(write.record, Fate::Taken { external_id, refusal });
            }
        }
    }
    let half = isolated.split_off(isolated.len().div_ceil(2));
    let groups = [next, again, isolated, half];
    groups.into_iter().filter(|group| !group.is_empty()).collect()
}

/// The next step of a write, as the worker makes it: a change stays one of the same fields, a thing that was just made is
/// changed in all its fields, and one that has no id is still made.
pub fn continued(write: Write, external_id: String, parts: Parts, step: Step) -> Write {
    let known = match &write.action {
        Action::Update {
            external_id, parts, ..
        } => (external_id.clone(), parts.clone()),
        Action::Create | Action::Delete { .. } => (String::new(), Parts::new()),
    };
    let id = if external_id.is_empty() {
        known.0
    } else {
        external_id
    };
    if id.is_empty() {
        return Write { step, ..write };
    }
    let mut all_parts = known.1;
    all_parts.extend(parts);
    let changed = match write.action {
        Action::Update { changed, .. } => changed,
        Action::Create | Action::Delete { .. } => fields_of(&write.content).0.into_keys().collect(),
    };
    Write {
        action: Action::Update {
            external_id: id,
            parts: all_parts,
            changed,
        },
        step,
        ..write
    }
}
