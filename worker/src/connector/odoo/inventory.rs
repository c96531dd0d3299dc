//! Inventory.
use std::collections::BTreeSet;

use lockstep_shared::entity::Inventory;
use serde_json::Value;

use super::super::{Gate, Theirs, Wanted, Write};
use super::Odoo;
use super::error::Failure;
use super::lookup::Answers;
use super::write::Found;

pub(super) const MODEL: &str = "stock.quant";
pub(super) const FEED_FIELDS: [&str; 1] = ["write_date"];

pub(super) fn terms() -> Vec<Value> {
    Vec::new()
}

pub(super) fn project(level: &Inventory) -> Inventory {
    level.clone()
}

impl Odoo {
    pub(super) async fn levels(
        &self,
        _gate: &dyn Gate,
        _ids: &BTreeSet<i64>,
    ) -> Result<Vec<Theirs>, Failure> {
        Err(Failure::refused("not carried yet"))
    }

    pub(super) async fn moved_levels(
        &self,
        _gate: &dyn Gate,
        _found: Vec<Value>,
    ) -> Result<Vec<Theirs>, Failure> {
        Err(Failure::refused("not carried yet"))
    }

    pub(super) async fn find_levels(&self, _gate: &dyn Gate, _wanted: &[Wanted]) -> Result<Answers, Failure> {
        Err(Failure::refused("not carried yet"))
    }

    pub(super) async fn level_drafts(
        &self,
        _gate: &dyn Gate,
        _writes: Vec<Write>,
    ) -> Result<Vec<(Write, Found)>, Failure> {
        Err(Failure::refused("not carried yet"))
    }
}
