//! Lists of orders and refunds (facts: systems A3, A4, A7, mapping-woocommerce 4, 6).

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::super::list::{Bounds, Query, ids, is_ascending};
use super::super::schema;
use super::super::shop::Shop;
use super::Order;

pub(in super::super) const STATUSES: &[&str] = &[
    "any",
    "trash",
    "auto-draft",
    "pending",
    "processing",
    "on-hold",
    "completed",
    "cancelled",
    "refunded",
    "failed",
    "checkout-draft",
];

struct Filter {
    include: Option<Vec<u64>>,
    exclude: Vec<u64>,
    statuses: Option<Vec<String>>,
    customer: Option<u64>,
    product: Option<u64>,
    makers: Vec<String>,
    search: Option<String>,
    created: Bounds,
    modified: Bounds,
}

impl Filter {
    fn read(shop: &Shop, query: &Query) -> Self {
        let value = |name: &str| query.get(name).filter(|value| !value.is_empty());
        let list = |name: &str| -> Vec<String> {
            let values = value(name).into_iter().flat_map(|list| list.split(','));
            values.map(|one| one.trim().to_owned()).collect()
        };
        let statuses = list("status");
        let is_any = statuses.is_empty() || statuses.iter().any(|status| status == "any");
        Self {
            include: ids(query, "include"),
            exclude: ids(query, "exclude").unwrap_or_default(),
            statuses: (!is_any).then_some(statuses),
            customer: value("customer").and_then(|id| id.parse().ok()),
            product: value("product").and_then(|id| id.parse().ok()),
            makers: list("created_via"),
            search: value("search").map(|search| search.to_lowercase()),
            created: Bounds::read(query, shop.offset_secs, "after", "before"),
            modified: Bounds::read(query, shop.offset_secs, "modified_after", "modified_before"),
        }
    }

    fn allows(&self, order: &Order) -> bool {
        self.allows_status(&order.status)
            && self.include.as_ref().is_none_or(|ids| ids.contains(&order.id))
            && !self.exclude.contains(&order.id)
            && self.customer.is_none_or(|customer| order.customer == customer)
            && self
                .product
                .is_none_or(|product| order.lines.iter().any(|line| line.product == product))
            && (self.makers.is_empty() || self.makers.contains(&order.created_via))
            && self.created.allow(order.created)
            && self.modified.allow(order.modified)
            && self.search.as_ref().is_none_or(|text| matches_text(order, text))
    }

    /// Neither the trash nor drafts of the checkout are part of «any».
    fn allows_status(&self, status: &str) -> bool {
        match &self.statuses {
            None => !matches!(status, "trash" | "checkout-draft" | "auto-draft"),
            Some(statuses) => statuses.iter().any(|one| one == status),
        }
    }
}

/// Looks into id, addresses, names of goods and fees and the number of the payment; not into meta data, SKUs, notes.
fn matches_text(order: &Order, text: &str) -> bool {
    let has = |own: &str| own.to_lowercase().contains(text);
    let in_billing = schema::ADDRESS
        .iter()
        .zip(&order.billing)
        .any(|(_, part)| has(part));
    let in_shipping = schema::ADDRESS
        .iter()
        .zip(&order.shipping)
        .any(|(name, part)| *name != "email" && has(part));
    order.id.to_string() == text
        || in_billing
        || in_shipping
        || has(&order.transaction_id)
        || order.lines.iter().any(|line| has(&line.name))
        || order.fees.iter().any(|fee| has(&fee.name))
}

/// Finds the orders that a query asks for, in order; what the shop does not know in a query is ignored.
pub(in super::super) fn orders(shop: &Shop, query: &Query) -> Vec<u64> {
    let filter = Filter::read(shop, query);
    let all = &shop.book.orders;
    let allows = |id: &u64| all.get(id).is_some_and(|order| filter.allows(order));
    let order_by = query.get("orderby").map_or("date", String::as_str);
    let mut found: Vec<u64> = match (order_by, &filter.include) {
        ("include", Some(include)) => {
            let mut seen = BTreeSet::new();
            let unique = include.iter().copied().filter(|id| seen.insert(*id));
            return unique.filter(allows).collect();
        }
        ("modified", _) => {
            let first = filter.modified.first();
            let newer = shop.book.by_modified.range((first, 0)..);
            newer.map(|(_, id)| *id).filter(allows).collect()
        }
        ("date" | "include", _) => {
            let by_created = shop.book.by_created.iter();
            by_created.map(|(_, id)| *id).filter(allows).collect()
        }
        _ => all.keys().copied().filter(allows).collect(),
    };
    if !is_ascending(query, "desc") {
        found.reverse();
    }
    found
}

/// Finds refunds of all orders, or of one; `parent` is ignored (facts: mapping-woocommerce 4).
pub(in super::super) fn refunds(shop: &Shop, query: &Query, order: Option<u64>) -> Vec<u64> {
    let include = ids(query, "include");
    let exclude = ids(query, "exclude").unwrap_or_default();
    let created = Bounds::read(query, shop.offset_secs, "after", "before");
    let modified = Bounds::read(query, shop.offset_secs, "modified_after", "modified_before");
    let refunds = shop.book.refunds.values().filter(|refund| {
        order.is_none_or(|order| refund.order == order)
            && include.as_ref().is_none_or(|ids| ids.contains(&refund.id))
            && !exclude.contains(&refund.id)
            && created.allow(refund.created)
            && modified.allow(refund.created)
    });
    let mut found: Vec<(i64, u64)> = refunds.map(|refund| (refund.created, refund.id)).collect();
    if query.get("orderby").is_none_or(|order| order != "id") {
        found.sort_unstable();
    }
    if !is_ascending(query, "desc") {
        found.reverse();
    }
    found.into_iter().map(|(_, id)| id).collect()
}
