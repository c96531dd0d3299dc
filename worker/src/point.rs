//! Named points of a batch's life, at which a test has the process die or stand still. Only a build with the feature
//! `failpoints` knows them.

use lockstep_shared::batch::Batch;
use lockstep_shared::connection::Connection;
use lockstep_shared::id::ItemId;
use lockstep_shared::system::{Direction, EntityType, System};

/// A moment in the life of a batch: before or after a step of the protocol, or inside its transaction, with everything
/// written and nothing committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    ClaimInside,
    ClaimAfter,
    /// Before a page of a pull is read.
    PageBefore,
    PageAfter,
    /// After a push has read what it is to bring over.
    LoadAfter,
    /// Before the remote is asked what it holds.
    LookBefore,
    LookAfter,
    TokenAfter,
    IntendInside,
    IntendAfter,
    /// The last moment before the request: the deadline has been looked at.
    CallBefore,
    /// The reply is here, and nobody knows of it yet.
    CallAfter,
    OutcomeInside,
    OutcomeAfter,
    SettleBefore,
    SettleInside,
    SettleAfter,
}

impl Point {
    /// The points that every batch of a pull goes by, in their order.
    pub const PULL: [Self; 7] = [
        Self::ClaimInside,
        Self::ClaimAfter,
        Self::PageBefore,
        Self::PageAfter,
        Self::SettleBefore,
        Self::SettleInside,
        Self::SettleAfter,
    ];

    /// The points that every batch of a push goes by that has something to write, in their order.
    pub const PUSH: [Self; 15] = [
        Self::ClaimInside,
        Self::ClaimAfter,
        Self::LoadAfter,
        Self::LookBefore,
        Self::LookAfter,
        Self::TokenAfter,
        Self::IntendInside,
        Self::IntendAfter,
        Self::CallBefore,
        Self::CallAfter,
        Self::OutcomeInside,
        Self::OutcomeAfter,
        Self::SettleBefore,
        Self::SettleInside,
        Self::SettleAfter,
    ];

    /// Returns the points that a batch of a direction goes by.
    pub const fn of(direction: Direction) -> &'static [Self] {
        match direction {
            Direction::Pull => &Self::PULL,
            Direction::Push => &Self::PUSH,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::ClaimInside => "claim.inside",
            Self::ClaimAfter => "claim.after",
            Self::PageBefore => "page.before",
            Self::PageAfter => "page.after",
            Self::LoadAfter => "load.after",
            Self::LookBefore => "look.before",
            Self::LookAfter => "look.after",
            Self::TokenAfter => "token.after",
            Self::IntendInside => "intend.inside",
            Self::IntendAfter => "intend.after",
            Self::CallBefore => "call.before",
            Self::CallAfter => "call.after",
            Self::OutcomeInside => "outcome.inside",
            Self::OutcomeAfter => "outcome.after",
            Self::SettleBefore => "settle.before",
            Self::SettleInside => "settle.inside",
            Self::SettleAfter => "settle.after",
        }
    }
}

/// Which batches a point is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub direction: Direction,
    pub system: System,
    pub entity: EntityType,
}

impl Place {
    /// Returns the place of a batch; `None` where its connection is gone.
    pub fn of(batch: &Batch, connection: Option<&Connection>) -> Option<Self> {
        Some(Self {
            direction: batch.direction,
            system: connection?.system,
            entity: batch.entity_type,
        })
    }

    /// Returns the name under which a point of this place is set, such as `push.odoo.orders.call.before`.
    pub fn name(self, point: Point) -> String {
        let (direction, system) = (self.direction.name(), self.system.name());
        format!("{direction}.{system}.{}.{}", self.entity.name(), point.name())
    }

    /// Does what a test has set for the point: `return` kills the process, `return(stop)` has it stand still.
    #[cfg(feature = "failpoints")]
    pub fn reach(self, point: Point) {
        strike(&self.name(point));
    }

    /// Does nothing: nobody can set a point in this build.
    #[cfg(not(feature = "failpoints"))]
    pub const fn reach(self, _point: Point) {}
}

/// A moment of what workers do beside batches: by itself, or for a connection as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aside {
    /// A schedule that is due has started its sync; nothing is committed.
    ScheduleInside,
    /// That is committed.
    ScheduleAfter,
    /// Before a request that changes a store's webhooks.
    WebhookBefore,
    /// Its reply is here, and nobody knows of it yet.
    WebhookAfter,
}

impl Aside {
    pub const SCHEDULE: [Self; 2] = [Self::ScheduleInside, Self::ScheduleAfter];
    pub const WEBHOOK: [Self; 2] = [Self::WebhookBefore, Self::WebhookAfter];

    /// Returns the name under which it is set.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScheduleInside => "schedule.inside",
            Self::ScheduleAfter => "schedule.after",
            Self::WebhookBefore => "webhook.before",
            Self::WebhookAfter => "webhook.after",
        }
    }

    /// Does what a test has set for it, as [`Place::reach`].
    #[cfg(feature = "failpoints")]
    pub fn reach(self) {
        strike(self.name());
    }

    /// Does nothing: nobody can set a point in this build.
    #[cfg(not(feature = "failpoints"))]
    pub const fn reach(self) {}
}

/// Does what a test has set for whoever takes an item in hand, under a name such as `item.` and the item's id.
#[cfg(feature = "failpoints")]
pub fn touch(item: ItemId) {
    strike(&format!("item.{item}"));
}

/// Does nothing: nobody can set a point in this build.
#[cfg(not(feature = "failpoints"))]
pub const fn touch(_item: ItemId) {}

#[cfg(feature = "failpoints")]
fn strike(name: &str) {
    use nix::sys::signal::{Signal, raise};

    fail::fail_point!(name, |how| {
        let is_stop = how.as_deref() == Some("stop");
        let signal = if is_stop { Signal::SIGSTOP } else { Signal::SIGKILL };
        // Its last words, for the test that set the point.
        eprintln!("{name}");
        // Sent to this very thread, which does not get past it: one sent to the process may find another thread first.
        raise(signal).expect("a thread may signal itself");
    });
}
