//! What we read of WooCommerce's refunds.

use chrono::{DateTime, NaiveDateTime, Utc};
use lockstep_shared::entity::RefundedLine;
use lockstep_shared::id::RecordId;
use serde::{Deserialize, Serialize};

use super::super::order::{Line, MARKER};
use super::super::wire::{self, Meta, list, number, text, time};

/// Meta of a refund that we made: what it has no field for, as it was sent. A refund never changes.
pub(super) const DETAILS: &str = "_lockstep_details";

/// Meta of a refund's line: the order's line that it is about (facts/systems.md A8).
pub(super) const REFUNDED_ITEM: &str = "_refunded_item_id";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refund {
    #[serde(deserialize_with = "number")]
    pub(super) id: u64,
    /// The order; only the list of all refunds says it (facts/mapping-woocommerce.md §4).
    #[serde(deserialize_with = "number")]
    pub(super) parent_id: u64,
    #[serde(deserialize_with = "time")]
    pub(super) date_created_gmt: Option<NaiveDateTime>,
    /// Can be empty (facts/systems.md A8).
    #[serde(deserialize_with = "text")]
    pub(super) amount: String,
    #[serde(deserialize_with = "text")]
    pub(super) reason: String,
    #[serde(deserialize_with = "list")]
    pub(super) meta_data: Vec<Meta>,
    #[serde(deserialize_with = "list")]
    pub(super) line_items: Vec<Line>,
    #[serde(deserialize_with = "list")]
    pub(super) shipping_lines: Vec<Line>,
    #[serde(deserialize_with = "list")]
    pub(super) fee_lines: Vec<Line>,
}

impl Refund {
    pub(super) fn marker(&self) -> Option<RecordId> {
        wire::marker(&self.meta_data, MARKER)
    }

    pub(super) fn details(&self) -> Option<Details> {
        serde_json::from_str(wire::meta(&self.meta_data, DETAILS)?).ok()
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.line_items
            .iter()
            .chain(&self.shipping_lines)
            .chain(&self.fee_lines)
    }
}

/// What a refund of ours says beside its amount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Details {
    pub(super) made_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) transaction_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) lines: Vec<RefundedLine>,
}
