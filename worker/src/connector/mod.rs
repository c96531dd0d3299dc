//! Our code for the remote systems: one trait, one folder per system.
//!
//! A connector knows records and its own wire types. It never sees the database, a sync, or another connector: before
//! each HTTP request that reads it asks its [`Gate`], and for writes it is handed the permission together with the
//! request, because the caller has to note the intent in between.
//!
//! Adding a system is a folder here, a variant of [`System`], a stand-in in the sandbox and an entry in the contract
//! suite.

pub mod http;
pub mod odoo;
pub mod shown;
pub mod webhook;
pub mod woocommerce;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
pub use lockstep_shared::check::Checked;
use lockstep_shared::entity::{Content, Invalid, PartKey, Reference};
use lockstep_shared::id::{ItemId, RecordId};
use lockstep_shared::network::OffLimits;
use lockstep_shared::system::{EntityType, System};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Asked before every HTTP request that reads: takes a token, waits a short wait out, and stops a batch that may not
/// go on.
#[async_trait]
pub trait Gate: Send + Sync {
    async fn pass(&self) -> Result<(), CallError>;
}

/// Where a pull goes on: the connector's own, opaque to everyone else. The default starts from the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub Value);

/// One page of what a system holds.
#[derive(Clone, Debug)]
pub struct Page {
    pub seen: Vec<Theirs>,
    /// Where the next page starts. After the last page: where the next pull starts.
    pub next: Cursor,
    pub is_last: bool,
}

/// A thing as a remote system holds it.
#[derive(Clone, Debug)]
pub struct Theirs {
    pub external_id: String,
    /// In canonical form and as [`Connector::project`] leaves it, or why it has none. What it refers to stands in it as
    /// [`Reference::Remote`]: which records those are is not the connector's to know.
    pub content: Result<Content, Invalid>,
    /// The remote ids of the thing's parts that have their own, such as a product's variants, and of what its fields show
    /// of another thing ([`shown`]).
    pub parts: Parts,
    /// The record that our marker on the thing names, where it carries one and the system tells with the thing;
    /// [`Connector::marks`] asks for the others.
    pub marker: Option<RecordId>,
    /// When it was changed last, by the remote's clock and to its second: the thing as a whole, whatever of it, by
    /// whomever. `None` where the remote doesn't tell.
    pub modified_at: Option<DateTime<Utc>>,
}

/// Remote ids of a thing's parts: a product's variants, an order's lines.
pub type Parts = BTreeMap<PartKey, String>;

/// What the records of a batch refer to, as the remote system knows it.
#[derive(Clone, Debug, Default)]
pub struct Links(BTreeMap<RecordId, Link>);

/// A record that others refer to.
#[derive(Clone, Debug)]
pub struct Link {
    pub external_id: String,
    pub parts: Parts,
    /// What we hold of it, whole.
    pub content: Content,
}

impl Links {
    pub fn new(links: impl IntoIterator<Item = (RecordId, Link)>) -> Self {
        Self(links.into_iter().collect())
    }

    /// Finds what a reference means; `None` where the system has no such thing.
    pub fn find(&self, reference: &Reference) -> Option<&Link> {
        self.0.get(&reference.target()?.record)
    }

    /// Finds the remote id of the part that a reference means, such as that of a product's variant.
    pub fn part(&self, reference: &Reference) -> Option<&str> {
        let link = self.find(reference)?;
        link.parts.get(&reference.target()?.part).map(String::as_str)
    }
}

/// One thing to look up.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub record: RecordId,
    pub purpose: Purpose,
    /// Ours, for its natural keys.
    pub content: Content,
    pub links: Arc<Links>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It is known there: read what it is now.
    Refresh { external_id: String },
    /// We are about to create it: is it there already, by natural key or marker?
    BeforeCreate,
    /// A request that may have created it had no answer. Found by marker, external id or natural key; `since` is when
    /// the request was intended.
    InDoubt { since: DateTime<Utc> },
}

/// What a look-up found.
#[derive(Clone, Debug)]
pub enum Sighting {
    One(Theirs),
    Missing,
    /// More than one thing answers to the keys: their external ids.
    Many(Vec<String>),
    /// The system can't tell without being asked once per thing, and refuses a second one by itself.
    NotAsked,
}

/// One thing to write.
#[derive(Clone, Debug)]
pub struct Write {
    pub item: ItemId,
    pub record: RecordId,
    pub action: Action,
    /// What the thing should be, as [`Connector::project`] leaves it. Only mapped fields are ever written; in an update
    /// only the changed ones.
    pub content: Content,
    pub step: Step,
    pub links: Arc<Links>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Create,
    Update {
        external_id: String,
        parts: Parts,
        changed: BTreeSet<String>,
    },
    /// Takes the thing out of use, as the system does that: trash, archive.
    Delete {
        external_id: String,
    },
}

impl Action {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update { .. } => "update",
            Self::Delete { .. } => "delete",
        }
    }
}

/// Which of the calls that one thing needs is meant: a product with variants takes several, one after another.
/// Each is an effect of its own, so a step that was done is not done again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Step(pub u8);

/// One HTTP request that writes, with all the writes it carries.
#[derive(Clone, Debug)]
pub struct Request {
    /// In the order in which [`Connector::send`] answers.
    pub writes: Vec<Write>,
    /// The body and whatever else the connector needs to send it: its own, opaque to everyone else.
    pub call: Value,
}

/// What became of one write.
#[derive(Clone, Debug)]
pub enum Outcome {
    Applied {
        external_id: String,
        parts: Parts,
        /// The call that this thing needs next; `None` when it is all there.
        next: Option<Step>,
        /// What the remote made of it, where its answer tells and that differs from what was sent: the next sighting of
        /// it is no change. With a next step: what it will hold when all are done.
        held: Option<Content>,
    },
    /// The remote refuses this thing and will again.
    Rejected(Refusal),
    /// The remote did nothing and may do it if asked again.
    Transient(Refusal),
    /// A thing with the same unique key is there already, and nothing was written. `external_id` where the remote says
    /// which; otherwise a look-up tells.
    Taken {
        external_id: Option<String>,
        refusal: Refusal,
    },
}

/// Why a remote did not write a thing, in its own words (cut, and free of secrets).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The remote's code, such as `product_invalid_sku`.
    pub code: String,
    pub message: String,
}

/// Whether a failed call can have changed the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It was never sent, or the remote said that it did nothing.
    NoEffect,
    /// It may have been carried out, in part or whole, and may still be running.
    InDoubt,
}

/// Why a whole call failed. Says what happened and on which system; never holds a credential or a body.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The gate did not let it pass: nothing was sent.
    #[error("not now: {0}")]
    Held(Hold),
    #[error("{system} refuses the credentials: {detail}")]
    Unauthorised { system: &'static str, detail: String },
    #[error("{system} asks to slow down (status {status})")]
    Throttled {
        system: &'static str,
        status: u16,
        retry_after: Option<Duration>,
    },
    #[error("{system} is not well: {detail}")]
    Unwell {
        system: &'static str,
        detail: String,
        reach: Reach,
    },
    /// The system's address is one that nothing may be sent to, and nothing was.
    #[error("{system} can't be called: its address {why}")]
    Forbidden { system: &'static str, why: OffLimits },
    /// The call itself is wrong and will be again: a bug of ours, or a remote that is not what it says.
    #[error("{system} refuses the call: {detail}")]
    Refused { system: &'static str, detail: String },
}

/// Why the gate holds a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hold {
    #[error("no token before {until}")]
    NoToken { until: DateTime<Utc> },
    #[error("the batch has another owner")]
    LeaseLost,
    #[error("the sync is not running")]
    DoorClosed,
    #[error("the process is shutting down")]
    Draining,
    #[error("the database does not answer")]
    Database,
    #[error("the system's circuit is open until {until}")]
    CircuitOpen { until: DateTime<Utc> },
}

/// One remote system, as every room outside this folder sees it.
#[async_trait]
pub trait Connector: Debug + Send + Sync {
    fn system(&self) -> System;

    /// Says whether a refusal means that the thing which was to be changed is not there. Pure.
    fn says_gone(&self, refusal: &Refusal) -> bool;

    /// Returns the record as this system can hold it: what it can't carry is left out, what it rounds is rounded.
    /// Pure. Comparisons happen in this form, so that what a system can't hold is never seen as a difference.
    fn project(&self, content: &Content) -> Content;

    /// Says why this system can't hold a record at all, before anything is sent. Pure.
    fn refuses(&self, content: &Content) -> Option<Refusal>;

    /// Most writes of one batch that one request carries.
    fn request_limit(&self, entity: EntityType) -> usize;

    /// How long the remote may go on with a request after the caller has gone.
    fn grace(&self) -> Duration;

    /// Proves address and credentials, and looks for whatever would make a sync fail or be wrong: rights, modules, settings.
    /// Few calls, none of which changes anything; what it could not look at is a finding too.
    async fn check(&self, gate: &dyn Gate) -> Result<Checked, CallError>;

    /// Asks one harmless thing that everyone may ask, in one call where the system has been met before, to find out whether it
    /// answers. Whatever it says: who was refused has been answered.
    async fn ping(&self, gate: &dyn Gate) -> Result<(), CallError>;

    /// Reads one page of what changed since the cursor, at most `limit` things.
    async fn pull(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        cursor: &Cursor,
        limit: usize,
    ) -> Result<Page, CallError>;

    /// Reads things by their remote ids, in as few calls as the system allows. Those that are gone are left out.
    async fn read(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        external_ids: &[String],
    ) -> Result<Vec<Theirs>, CallError>;

    /// Names the records whose marks things carry, by their remote ids, in as few calls as the system allows: those that
    /// [`Self::pull`] and [`Self::read`] gave none for.
    async fn marks(
        &self,
        _gate: &dyn Gate,
        _entity: EntityType,
        _external_ids: &[String],
    ) -> Result<BTreeMap<String, RecordId>, CallError> {
        Ok(BTreeMap::new())
    }

    /// Says which things are there, by their remote ids, in as few calls as the system allows. What lies in a trash is
    /// deleted; what is archived is there.
    async fn existing(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        external_ids: &[String],
    ) -> Result<BTreeSet<String>, CallError>;

    /// Looks things up in as few calls as the system allows; one sighting per thing, in the same order.
    async fn look_up(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        wanted: &[Wanted],
    ) -> Result<Vec<Sighting>, CallError>;

    /// Groups writes of one entity type into requests, reading what they need (through the gate) first. Every write
    /// is in exactly one request.
    async fn plan(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        writes: Vec<Write>,
    ) -> Result<Vec<Request>, CallError>;

    /// Sends one request: exactly one HTTP request to the system, with no look at the gate, never started after `deadline` and timed
    /// out before it. What the system can't fetch by itself is fetched from elsewhere first. One outcome per write, in
    /// their order.
    async fn send(&self, request: &Request, deadline: Instant) -> Result<Vec<Outcome>, CallError>;

    /// How the system tells of changes by itself; `None` where it does not.
    fn webhooks(&self) -> Option<&dyn webhook::Webhooks> {
        None
    }
}
