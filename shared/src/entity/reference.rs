//! What one record says about another.

use serde::{Deserialize, Serialize};

use super::PartKey;
use crate::id::RecordId;

/// A thing of a remote system, as that system knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteThing {
    pub external_id: String,
    /// The remote id of the part that is meant, such as a product's variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
}

/// Another record that a record is about: an order's customer, a line's product, a payment's order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reference {
    /// One of our records, and the part of it that is meant: the variant of a product.
    Record(RecordPart),
    /// What a connector read, before it is known which record it is. Never stored, and never read from JSON.
    #[serde(skip_deserializing)]
    Remote(RemoteThing),
}

/// A record, or one part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordPart {
    pub record: RecordId,
    /// Empty where the record is meant as a whole, or has the one part only.
    #[serde(default, skip_serializing_if = "PartKey::is_empty")]
    pub part: PartKey,
}

impl Reference {
    pub fn record(record: RecordId, part: PartKey) -> Self {
        Self::Record(RecordPart { record, part })
    }

    pub fn remote(external_id: impl Into<String>, part: Option<String>) -> Self {
        Self::Remote(RemoteThing {
            external_id: external_id.into(),
            part,
        })
    }

    /// Returns the record that is meant, where that is known.
    pub const fn target(&self) -> Option<&RecordPart> {
        match self {
            Self::Record(part) => Some(part),
            Self::Remote(_) => None,
        }
    }
}
