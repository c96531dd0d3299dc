//! Writes down what the shop holds, and puts it back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::attribute::GlobalAttribute;
use super::customer::Customer;
use super::product::Product;
use super::shop::Shop;
use super::term::Terms;
use crate::snapshot::SnapshotError;

/// What the shop holds. The indexes are left out: they follow from the rest.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    mails: usize,
    next_post: u64,
    next_meta: u64,
    next_user: u64,
    products: Vec<Product>,
    customers: Vec<Customer>,
    attributes: Vec<GlobalAttribute>,
    terms: BTreeMap<u64, Terms>,
    categories: Terms,
    uncategorized: u64,
    recorded: BTreeMap<String, BTreeMap<u64, Value>>,
    made_through_api: BTreeSet<(String, u64)>,
}

pub(super) fn take(shop: &Shop) -> Value {
    let snapshot = Snapshot {
        mails: shop.mails,
        next_post: shop.next_post,
        next_meta: shop.next_meta,
        next_user: shop.next_user,
        products: shop.products.values().cloned().collect(),
        customers: shop.customers.values().cloned().collect(),
        attributes: shop.attributes.values().cloned().collect(),
        terms: shop.terms.clone(),
        categories: shop.categories.clone(),
        uncategorized: shop.uncategorized,
        recorded: shop.recorded.clone(),
        made_through_api: shop.ledger.made_through_api(),
    };
    serde_json::to_value(snapshot).expect("every key is a text or a number")
}

/// Replaces what the shop holds. Its people do it: no effect is felt.
pub(super) fn put_back(shop: &mut Shop, value: &Value) -> Result<(), SnapshotError> {
    let snapshot = Snapshot::deserialize(value).map_err(|source| SnapshotError { of: "a shop", source })?;
    shop.ledger.begin_anew();
    let mut fresh = Shop::new(shop.ledger.clone(), shop.offset_secs);
    fresh.base_url.clone_from(&shop.base_url);
    for product in snapshot.products {
        fresh.put_product(product);
    }
    fresh.forget_trash();
    for customer in snapshot.customers {
        fresh.put_customer(customer);
    }
    fresh.mails = snapshot.mails;
    fresh.next_post = snapshot.next_post;
    fresh.next_meta = snapshot.next_meta;
    fresh.next_user = snapshot.next_user;
    fresh.attributes = snapshot.attributes.into_iter().map(|one| (one.id, one)).collect();
    fresh.terms = snapshot.terms;
    fresh.categories = snapshot.categories;
    fresh.uncategorized = snapshot.uncategorized;
    fresh.recorded = snapshot.recorded;
    fresh.ledger.were_made_through_api(&snapshot.made_through_api);
    *shop = fresh;
    Ok(())
}
