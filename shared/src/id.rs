//! Identifiers: a newtype each, so that one can't be passed for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Makes a time-ordered identifier (UUID version 7). Randomness enters here: call it at the edges.
            pub fn random() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )+};
}

ids! {
    /// A tenant.
    OrgId,
    /// One store or ERP of an organisation.
    ConnectionId,
    /// The organisation's own copy of a thing.
    RecordId,
    /// A record as one connection must see it.
    ItemId,
    /// One run.
    SyncId,
    /// One direction, connection and entity type within a sync.
    StageId,
    /// Up to 50 items, or one page of a pull.
    BatchId,
    /// One external write of one item.
    EffectId,
    /// A disagreement that a rule or a person must decide.
    ConflictId,
    /// Something asked of a sync.
    CommandId,
    /// An address that an organisation wants to be told of things at.
    EndpointId,
    /// One thing that one address is told of.
    NotificationId,
    /// A sync that starts by itself, again and again.
    ScheduleId,
    /// A secret that a program proves itself by.
    ApiKeyId,
    /// What a batch's owner proves itself by; new with every claim.
    Token,
}
