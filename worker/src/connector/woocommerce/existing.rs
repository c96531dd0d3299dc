//! Which things are there. «Any» state leaves the trash out: what lies in it is deleted (facts/systems.md A4).

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{WooCommerce, order, parsed};
use crate::connector::{CallError, Gate};

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Row {
    id: u64,
}

impl WooCommerce {
    pub(super) async fn existing_products(
        &self,
        gate: &dyn Gate,
        ids: &[String],
    ) -> Result<BTreeSet<String>, CallError> {
        self.listed(gate, "products", ids, ("status", "any")).await
    }

    /// Without `role=all` accounts with another role are left out (facts/systems.md A3).
    pub(super) async fn existing_customers(
        &self,
        gate: &dyn Gate,
        ids: &[String],
    ) -> Result<BTreeSet<String>, CallError> {
        self.listed(gate, "customers", ids, ("role", "all")).await
    }

    /// An order that is a draft only until a write to it is done is there.
    pub(super) async fn existing_orders(
        &self,
        gate: &dyn Gate,
        ids: &[String],
    ) -> Result<BTreeSet<String>, CallError> {
        let mut found = self.listed(gate, "orders", ids, ("status", "any")).await?;
        let missing: Vec<String> = ids.iter().filter(|id| !found.contains(*id)).cloned().collect();
        let mut drafts = self
            .listed(gate, "orders", &missing, ("status", order::DRAFT))
            .await?;
        found.append(&mut drafts);
        Ok(found)
    }

    /// A payment received has its order's id, a refund `<order>/<refund>`. What was paid for an order in the trash went
    /// there with it.
    pub(super) async fn existing_payments(
        &self,
        gate: &dyn Gate,
        ids: &[String],
    ) -> Result<BTreeSet<String>, CallError> {
        let orders: Vec<String> = ids
            .iter()
            .map(|id| {
                id.split_once('/')
                    .map_or(id.as_str(), |(order, _)| order)
                    .to_owned()
            })
            .collect();
        let orders = self.existing_orders(gate, &orders).await?;
        let refunds: Vec<String> = ids
            .iter()
            .filter_map(|id| Some(id.split_once('/')?.1.to_owned()))
            .collect();
        let rows = self
            .list_by(
                gate,
                "refunds",
                ("include", &refunds),
                &vec![("_fields", "id".to_owned())],
            )
            .await?;
        let refunds: BTreeSet<String> = parsed::<Row>(rows).iter().map(|row| row.id.to_string()).collect();
        let is_there = |id: &&String| match id.split_once('/') {
            Some((order, refund)) => orders.contains(order) && refunds.contains(refund),
            None => orders.contains(*id),
        };
        Ok(ids.iter().filter(is_there).cloned().collect())
    }

    async fn listed(
        &self,
        gate: &dyn Gate,
        path: &str,
        ids: &[String],
        (name, value): (&'static str, &str),
    ) -> Result<BTreeSet<String>, CallError> {
        let more = vec![(name, value.to_owned()), ("_fields", "id".to_owned())];
        let rows = self.list_by(gate, path, ("include", ids), &more).await?;
        let ids = parsed::<Row>(rows).into_iter().filter(|row| row.id > 0);
        Ok(ids.map(|row| row.id.to_string()).collect())
    }
}
