//! Writing: which request carries what, and what its answer means for each write.
//!
//! Products and customers go into batches of any. Categories and tags that a product needs are made before it, level by
//! level. A variable product takes further calls: its variations have a batch of their own, one per parent. Pictures come
//! last and a few per call, because the store fetches them before it answers, and what can't be fetched must not keep the
//! rest back (facts/mapping-woocommerce.md §1).

mod answer;
mod customer_job;
mod product_job;
mod request;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use lockstep_shared::entity::{PartKey, Product};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::answer::outcomes;
use self::customer_job::{Accounts, account_to_read, customer_job, disputed_email};
use self::product_job::{
    IMAGES, Store, has_all, is_about_categories, is_about_tags, needs_current, product_job,
};
use self::request::requests;
use super::category::{Missing, Tree};
use super::error::{self, Kind};
use super::product::Body;
use super::tag::Words;
use super::{SYSTEM, WooCommerce, wire};
use crate::connector::{CallError, Gate, Outcome, Parts, Refusal, Request, Step, Write};

/// What [`WooCommerce::send_call`] needs to send a request and to read its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Call {
    /// `None` where nothing is to be sent: every outcome is known.
    path: Option<String>,
    body: Value,
    /// One per write, in their order.
    slots: Vec<Slot>,
}

/// Where a write stands in a batch, and what it comes to when it is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Slot {
    /// Not sent: it can't be done.
    Refused(Refusal),
    /// Not sent: it is so already.
    Done { external_id: String, parts: Parts },
    /// The next of `create`.
    Created {
        next: Option<Step>,
        /// What the store makes of it, where that is known and something else.
        held: Option<Value>,
    },
    /// The next of `update`.
    Updated {
        external_id: String,
        parts: Parts,
        next: Option<Step>,
        held: Option<Value>,
    },
    /// Some of `create`, by their places: categories or tags that a product needs before it can be given them. Of a
    /// request that has one of these, all are.
    Prepared {
        external_id: String,
        parts: Parts,
        terms: Vec<usize>,
        next: Step,
    },
    /// The next of `update`, which puts it into the trash.
    Trashed { external_id: String },
    /// The next of `delete`.
    Deleted { external_id: String },
    /// The next of `update`, which gives an account that was made silently its customer's address. Where that can't be
    /// had, the next step finds out why.
    Addressed { external_id: String },
    /// Not sent: the account that was made for a customer who has one already is gone by now.
    Gone {
        holder: Option<String>,
        refusal: Refusal,
    },
    /// The next of `delete`: an account that was made for a customer who has one already, in place of which that one is
    /// to be taken.
    Yielded {
        holder: Option<String>,
        refusal: Refusal,
    },
    /// All of `create` and `update`: one product's variations.
    Varied {
        external_id: String,
        /// Those that need no answer to be known.
        parts: Parts,
        created: Vec<PartKey>,
        updated: usize,
        next: Option<Step>,
    },
}

/// What one write needs.
#[derive(Clone, Debug)]
enum Job {
    Nothing(Slot),
    Create(Body, Slot),
    Update(Body, Slot),
    Delete(u64, Slot),
    /// Categories or tags that have to be made before the product is written.
    Prepare {
        of: Terms,
        external_id: String,
        parts: Parts,
        missing: Vec<Missing>,
        next: Step,
    },
    /// An update that has pictures fetched: so many.
    Fetch(Body, Slot, usize),
    /// A request of its own.
    Own {
        path: String,
        body: Value,
        slot: Slot,
    },
}

/// What is made before the products that need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Terms {
    Categories,
    Tags,
}

impl Job {
    fn refused(code: &str, message: &str) -> Self {
        Self::Nothing(Slot::Refused(Refusal {
            code: code.to_owned(),
            message: message.to_owned(),
        }))
    }

    /// As WooCommerce says it of a product that is not there (facts/systems.md A2).
    fn missing() -> Self {
        Self::refused("woocommerce_rest_product_invalid_id", "Invalid ID.")
    }
}

/// A product as it is before it is changed.
#[derive(Clone, Debug)]
struct Current {
    product: wire::Product,
    variations: Vec<wire::Variation>,
}

impl WooCommerce {
    pub(super) async fn plan_products(
        &self,
        gate: &dyn Gate,
        writes: Vec<Write>,
    ) -> Result<Vec<Request>, CallError> {
        let current = self.current(gate, &writes).await?;
        let tree = if writes.iter().any(is_about_categories) {
            self.categories(gate).await?
        } else {
            Tree::default()
        };
        let words = if writes.iter().any(is_about_tags) {
            self.tags(gate).await?
        } else {
            Words::default()
        };
        let store = Store {
            current: &current,
            tree: &tree,
            words: &words,
            settings: &self.settings,
        };
        let jobs = writes.into_iter().map(|write| {
            let job = product_job(&write, store);
            (write, job)
        });
        Ok(requests("products/batch", jobs))
    }

    pub(super) async fn plan_customers(
        &self,
        gate: &dyn Gate,
        writes: Vec<Write>,
    ) -> Result<Vec<Request>, CallError> {
        let ids: Vec<String> = writes.iter().filter_map(account_to_read).collect();
        let mut known = Accounts {
            by_id: self.customers_by_id(gate, &ids).await?,
            by_email: BTreeMap::new(),
        };
        for email in writes.iter().filter_map(disputed_email) {
            let holders = self.customers_by_email(gate, email).await?;
            known.by_email.insert(email.to_owned(), holders);
        }
        let welcome = self.welcome();
        let jobs = writes.into_iter().map(|write| {
            let job = customer_job(&write, &known, welcome);
            (write, job)
        });
        Ok(requests("customers/batch", jobs))
    }

    /// Reads the products whose variations or attributes are to change, with their variations, also those that are out
    /// of use: they are used again before new ones are made. Nothing but us keeps two variations from being the same
    /// (facts/mapping-woocommerce.md §1).
    async fn current(&self, gate: &dyn Gate, writes: &[Write]) -> Result<BTreeMap<u64, Current>, CallError> {
        let (pictured, written): (Vec<&Write>, Vec<&Write>) =
            writes.iter().partition(|write| write.step >= IMAGES);
        let needed: Vec<(&Product, &String, &Parts)> =
            written.into_iter().filter_map(needs_current).collect();
        let ids: Vec<String> = needed.iter().map(|(_, id, _)| (*id).clone()).collect();
        let products = self.products_by_id(gate, &ids).await?;
        let complete = self
            .with_variations(gate, products.into_values().collect())
            .await?;
        let mut current: BTreeMap<u64, Current> = complete
            .into_iter()
            .map(|(product, variations)| (product.id, Current { product, variations }))
            .collect();
        let lost: Vec<String> = needed
            .iter()
            .flat_map(|(_, _, parts)| parts.values())
            .filter(|id| {
                let mut known = current.values().flat_map(|current| &current.variations);
                !known.any(|variation| variation.id.to_string() == **id)
            })
            .cloned()
            .collect();
        // The trash takes a parent's variations with it; a parent that came back is without them.
        for variation in self
            .variations_by_id(gate, &lost, "trash")
            .await?
            .unwrap_or_default()
        {
            if let Some(current) = current.get_mut(&variation.parent_id) {
                current.variations.push(variation);
            }
        }
        for (product, id, _) in needed {
            let Some(current) = id.parse().ok().and_then(|id: u64| current.get_mut(&id)) else {
                continue;
            };
            let is_new = current.product.variations.is_empty() && current.variations.is_empty();
            if current.product.is_variable() && !is_new && !has_all(product, current) {
                let listed = self.variations_of(gate, current.product.id, "any").await?;
                let known: BTreeSet<u64> = current.variations.iter().map(|variation| variation.id).collect();
                current.variations.extend(
                    listed
                        .into_iter()
                        .filter(|variation| !known.contains(&variation.id)),
                );
            }
        }
        // For their pictures alone, products are of interest without their variations.
        let ids: Vec<String> = pictured
            .into_iter()
            .filter_map(|write| Some(needs_current(write)?.1.clone()))
            .collect();
        for (id, product) in self.products_by_id(gate, &ids).await? {
            let variations = Vec::new();
            current.entry(id).or_insert(Current { product, variations });
        }
        Ok(current)
    }

    pub(super) async fn send_call(
        &self,
        request: &Request,
        deadline: Instant,
    ) -> Result<Vec<Outcome>, CallError> {
        let call: Call = serde_json::from_value(request.call.clone())
            .map_err(|_| error::refused("the call is not one of this connector"))?;
        let Some(path) = &call.path else {
            return outcomes(&call.slots, &Value::Null);
        };
        let builder = self.request("POST", path, Vec::new()).json(&call.body);
        let answer = self.http.write(SYSTEM, builder, deadline).await?;
        outcomes(&call.slots, &error::body(&answer, Kind::Write)?)
    }
}
