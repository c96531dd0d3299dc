//! What is modelled: the remote's kind, how much there is of everything, what may go wrong, and which guards are in.

/// What the remote does with a create of a thing that it has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// It has no key of ours: it makes a second thing, and nobody can ask for the first before a create.
    /// `facts/systems.md`: WooCommerce products without SKU, refunds.
    Keyless,
    /// It refuses: WooCommerce SKUs.
    Refusing,
    /// It writes over what it has: Odoo's `load` with an external id.
    Overwriting,
}

impl Remote {
    pub const fn is_keyed(self) -> bool {
        match self {
            Self::Keyless => false,
            Self::Refusing | Self::Overwriting => true,
        }
    }
}

/// Whether a request can still arrive after its deadline and grace, or a process stall for longer than that between its
/// last check and the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Kept,
    Broken,
}

/// What keeps the protocol safe. Each can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// `effect::intend` before the call.
    Intent,
    /// `push::doubt::resolve` asks the remote.
    LookUp,
    /// `push::send` does not start a call after its deadline.
    Deadline,
    /// `push::send` does not start a call without a living lease.
    Lease,
    /// `Connector::grace` is waited for after the deadline.
    Grace,
    /// `Work::recall` and the index `sync_idempotency_log_unresolved_key`.
    ResolveFirst,
    /// `batch::hold` in `push::send::intend`.
    FenceOnIntend,
    /// `push::send::still_ours` in `push::send::note`.
    FenceOnOutcome,
    /// `batch::take_to_settle` and the token in `batch::leave`.
    FenceOnSettle,
    /// `batch_id is null` in `item::pick_due`.
    OneBatchPerItem,
    /// The generation in `effect::Key::of`.
    GenerationInKey,
    /// `Work::arrived` takes what the effect carried for the base.
    BaseFromEffect,
    /// `sweep::keep`.
    Sweep,
    /// `stage::lock` in `Hand::leave`.
    StageLock,
    /// `Making::going_on`: a thing found made in part is completed under a key of its own, also by the next owner.
    OwnKeyToComplete,
    /// `plan::end_stage`: a stage that is ended by one lane lets go of what the batches of its other lanes have in hand.
    EndFreesLanes,
}

/// What is modelled.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says whether one kind of trouble is there, and any may go together"
)]
pub struct Scenario {
    pub remote: Remote,
    pub bound: Bound,
    /// 1 or 2.
    pub items: usize,
    /// Items that a batch may take.
    pub batch_size: usize,
    /// Syncs that may run side by side, 1 or 2; each may be started again once it is over.
    pub syncs: usize,
    /// Times the content is changed: 10, 12, 10.
    pub edits: u8,
    /// Workers may die or stall beyond their lease.
    pub has_deaths: bool,
    /// Bells may be lost. Where they may not, a batch's bell is there when it is needed.
    pub loses_bells: bool,
    /// Syncs can be paused, resumed and cancelled.
    pub has_commands: bool,
    /// A create may be carried out in part, and a request be given up for the running sync.
    pub has_parts: bool,
    /// Credentials may be refused, or not be there, which ends the stage.
    pub has_refusals: bool,
    /// Requests may be answered with a refusal to carry them out now, and batches be given back for want of a token.
    pub has_give_backs: bool,
    /// A sync reads the remote before it writes.
    pub has_pulls: bool,
    /// An owner that has lost its batch goes on until it is told so. Where it does not, it stops as soon as all that it
    /// could still do is to be told: all fences have to be in.
    pub has_stale_owners: bool,
    /// The guard that is taken out.
    pub without: Option<Guard>,
    /// Whether a stale owner's record counts by itself, or only what comes of it.
    pub minds_stale_records: bool,
}

impl Scenario {
    /// One item, one sync, two workers, nothing but death, delay and loss.
    pub const fn new(remote: Remote) -> Self {
        Self {
            remote,
            bound: Bound::Kept,
            items: 1,
            batch_size: 2,
            syncs: 1,
            edits: 0,
            has_deaths: true,
            loses_bells: false,
            has_commands: false,
            has_parts: false,
            has_refusals: false,
            has_give_backs: false,
            has_pulls: false,
            has_stale_owners: false,
            without: None,
            minds_stale_records: true,
        }
    }

    /// Takes a guard out. Where it is one that stops stale owners, these go on until something else does.
    #[must_use]
    pub const fn without(mut self, guard: Guard) -> Self {
        self.without = Some(guard);
        self.has_stale_owners |= matches!(
            guard,
            Guard::Lease | Guard::FenceOnIntend | Guard::FenceOnOutcome | Guard::FenceOnSettle
        );
        self
    }

    pub fn has(&self, guard: Guard) -> bool {
        self.without != Some(guard)
    }
}
