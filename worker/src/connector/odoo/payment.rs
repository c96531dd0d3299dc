//! Payments.
use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::entity::Payment;
use lockstep_shared::id::RecordId;
use serde_json::Value;

use super::super::{Gate, Refusal, Theirs, Wanted, Write};
use super::Odoo;
use super::error::Failure;
use super::lookup::Answers;
use super::write::Found;

pub(super) const MODEL: &str = "account.payment";
pub(super) const FEED_FIELDS: [&str; 1] = ["write_date"];

pub(super) fn terms() -> Vec<Value> {
    Vec::new()
}

pub(super) fn project(payment: &Payment) -> Payment {
    payment.clone()
}

pub(super) fn refuses(_payment: &Payment) -> Option<Refusal> {
    None
}

impl Odoo {
    pub(super) async fn payments(
        &self,
        _gate: &dyn Gate,
        _ids: &BTreeSet<i64>,
    ) -> Result<Vec<Theirs>, Failure> {
        Err(Failure::refused("not carried yet"))
    }

    pub(super) async fn find_payments(
        &self,
        _gate: &dyn Gate,
        _wanted: &[Wanted],
        _created: &BTreeMap<RecordId, i64>,
    ) -> Result<Answers, Failure> {
        Err(Failure::refused("not carried yet"))
    }

    pub(super) async fn payment_drafts(
        &self,
        _gate: &dyn Gate,
        _writes: Vec<Write>,
    ) -> Result<Vec<(Write, Found)>, Failure> {
        Err(Failure::refused("not carried yet"))
    }
}
