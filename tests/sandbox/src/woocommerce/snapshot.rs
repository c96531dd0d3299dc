//! Writes down what the shop holds, and puts it back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::attribute::GlobalAttribute;
use super::customer::Customer;
use super::media::Library;
use super::order::Order;
use super::product::Product;
use super::refund::Refund;
use super::shop::Shop;
use super::tax::Taxes;
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
    #[serde(default)]
    tags: Option<Terms>,
    #[serde(default)]
    library: Library,
    recorded: BTreeMap<String, BTreeMap<u64, Value>>,
    #[serde(default)]
    admin_mails: usize,
    #[serde(default)]
    orders: Vec<Order>,
    #[serde(default)]
    refunds: Vec<Refund>,
    /// The next part of an order, its meta data, and the meta data of an order itself.
    #[serde(default)]
    next_in_orders: (u64, u64, u64),
    #[serde(default)]
    taxes: Taxes,
    #[serde(default)]
    settings: BTreeMap<String, String>,
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
        tags: Some(shop.tags.clone()),
        library: shop.library.clone(),
        recorded: shop.recorded.clone(),
        admin_mails: shop.admin_mails,
        orders: shop.book.orders.values().cloned().collect(),
        refunds: shop.book.refunds.values().cloned().collect(),
        next_in_orders: (shop.book.next_item, shop.book.next_item_meta, shop.book.next_meta),
        taxes: shop.taxes.clone(),
        settings: shop.settings.changed.clone(),
        made_through_api: shop.ledger.made_through_api(),
    };
    serde_json::to_value(snapshot).expect("every key is a text or a number")
}

/// Replaces what the shop holds. Its people do it: no effect is felt.
pub(super) fn put_back(shop: &mut Shop, value: &Value) -> Result<(), SnapshotError> {
    let snapshot = Snapshot::deserialize(value).map_err(|source| SnapshotError { of: "a shop", source })?;
    shop.ledger.begin_anew();
    let mut fresh = Shop::new(shop.ledger.clone(), shop.offset_secs);
    fresh.webhooks = std::mem::take(&mut shop.webhooks);
    fresh.base_url.clone_from(&shop.base_url);
    for product in snapshot.products {
        fresh.put_product(product);
    }
    fresh.forget_trash();
    for customer in snapshot.customers {
        fresh.put_customer(customer);
    }
    for order in snapshot.orders {
        fresh.put_order(order);
    }
    for refund in snapshot.refunds {
        fresh.put_refund(refund);
    }
    let (item, item_meta, meta) = snapshot.next_in_orders;
    fresh.book.next_item = item.max(1);
    fresh.book.next_item_meta = item_meta.max(1);
    fresh.book.next_meta = meta.max(1);
    fresh.taxes = snapshot.taxes;
    fresh.settings.changed = snapshot.settings;
    fresh.admin_mails = snapshot.admin_mails;
    fresh.mails = snapshot.mails;
    fresh.next_post = snapshot.next_post;
    fresh.next_meta = snapshot.next_meta;
    fresh.next_user = snapshot.next_user;
    fresh.attributes = snapshot.attributes.into_iter().map(|one| (one.id, one)).collect();
    fresh.terms = snapshot.terms;
    fresh.categories = snapshot.categories;
    fresh.uncategorized = snapshot.uncategorized;
    if let Some(tags) = snapshot.tags {
        fresh.tags = tags;
    }
    fresh.library = snapshot.library;
    fresh.recorded = snapshot.recorded;
    fresh.ledger.were_made_through_api(&snapshot.made_through_api);
    *shop = fresh;
    Ok(())
}
