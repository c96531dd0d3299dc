//! Orders (facts: systems A7, mapping-woocommerce 3).

mod check;
mod coupon;
mod currency;
mod line;
mod list;
mod recorded;
mod status;
#[cfg(test)]
mod tests;
mod total;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub(super) use self::check::check;
pub(super) use self::currency::CURRENCIES;
pub(super) use self::line::{
    Coupon, Fee, Line, LineTax, Shipping, TaxLine, has_shape, keep_count, meta_number, set_meta,
};
pub(super) use self::list::{STATUSES, orders, refunds};
pub(super) use self::recorded::{
    fee as recorded_fee, line as recorded_line, shipping as recorded_shipping, tax_line as recorded_tax_line,
};
pub(super) use self::total::Totals;
use super::customer::Address;
use super::meta::{self, Meta};
use super::product::as_text;
use super::refund::Refund;
use super::refusal::Refusal;
use super::schema;
use super::shop::Shop;
use super::text;
use crate::ledger::Operation;

/// An order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) id: u64,
    pub(super) status: String,
    pub(super) currency: String,
    pub(super) prices_include_tax: bool,
    pub(super) created: i64,
    pub(super) modified: i64,
    pub(super) paid: Option<i64>,
    pub(super) completed: Option<i64>,
    /// Zero for a guest.
    pub(super) customer: u64,
    pub(super) secret: String,
    pub(super) billing: Address,
    pub(super) shipping: Address,
    pub(super) payment_method: String,
    pub(super) payment_method_title: String,
    pub(super) transaction_id: String,
    pub(super) created_via: String,
    pub(super) customer_note: String,
    /// Whether the stock was taken for it, as far as the order remembers.
    pub(super) is_stock_reduced: bool,
    /// Whether the shop's people were told of it by mail.
    pub(super) is_announced: bool,
    pub(super) meta: Vec<Meta>,
    pub(super) lines: Vec<Line>,
    pub(super) shippings: Vec<Shipping>,
    pub(super) fees: Vec<Fee>,
    pub(super) coupons: Vec<Coupon>,
    pub(super) taxes: Vec<TaxLine>,
    pub(super) totals: Totals,
}

/// The orders and refunds of the shop with their indexes; each kind of their parts has a sequence of its own.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) orders: BTreeMap<u64, Order>,
    pub(super) by_modified: BTreeSet<(i64, u64)>,
    pub(super) by_created: BTreeSet<(i64, u64)>,
    pub(super) refunds: BTreeMap<u64, Refund>,
    /// Order and refund.
    pub(super) refunds_of: BTreeSet<(u64, u64)>,
    pub(super) next_item: u64,
    pub(super) next_item_meta: u64,
    pub(super) next_meta: u64,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            orders: BTreeMap::new(),
            by_modified: BTreeSet::new(),
            by_created: BTreeSet::new(),
            refunds: BTreeMap::new(),
            refunds_of: BTreeSet::new(),
            next_item: 1,
            next_item_meta: 1,
            next_meta: 1,
        }
    }
}

impl Book {
    pub(super) fn new_item(&mut self) -> u64 {
        let id = self.next_item;
        self.next_item += 1;
        id
    }

    pub(super) fn refunds_of(&self, order: u64) -> impl DoubleEndedIterator<Item = &Refund> {
        self.refunds_of
            .range((order, 0)..=(order, u64::MAX))
            .filter_map(|(_, id)| self.refunds.get(id))
    }

    /// Moves the times of orders and refunds back.
    pub(super) fn age(&mut self, secs: i64) {
        for order in self.orders.values_mut() {
            order.created -= secs;
            order.modified -= secs;
            order.paid = order.paid.map(|at| at - secs);
            order.completed = order.completed.map(|at| at - secs);
        }
        for refund in self.refunds.values_mut() {
            refund.created -= secs;
        }
        let older = |(at, id): &(i64, u64)| (*at - secs, *id);
        self.by_modified = self.by_modified.iter().map(older).collect();
        self.by_created = self.by_created.iter().map(older).collect();
    }
}

/// How long a draft of the checkout may lie unchanged (source: `DraftOrders` of WooCommerce).
const DRAFT_LIFE_SECS: i64 = 24 * 3600;

impl Order {
    fn new(id: u64, now: i64) -> Self {
        Self {
            id,
            status: "pending".to_owned(),
            currency: String::new(),
            prices_include_tax: false,
            created: now,
            modified: now,
            paid: None,
            completed: None,
            customer: 0,
            secret: secret(id, now),
            billing: Address::default(),
            shipping: Address::default(),
            payment_method: String::new(),
            payment_method_title: String::new(),
            transaction_id: String::new(),
            created_via: "rest-api".to_owned(),
            customer_note: String::new(),
            is_stock_reduced: false,
            is_announced: false,
            meta: Vec::new(),
            lines: Vec::new(),
            shippings: Vec::new(),
            fees: Vec::new(),
            coupons: Vec::new(),
            taxes: Vec::new(),
            totals: Totals::default(),
        }
    }

    /// Returns the marker, else the number of the payment where the order says who made it.
    pub(super) fn key(&self) -> Option<String> {
        let has_maker = !matches!(
            self.created_via.as_str(),
            "" | "rest-api" | "checkout" | "admin" | "store-api"
        );
        meta::marker(&self.meta)
            .or_else(|| (has_maker && !self.transaction_id.is_empty()).then(|| self.transaction_id.clone()))
    }

    /// Returns what must be unique among the orders that anyone sees.
    fn keys(&self) -> Vec<String> {
        if matches!(self.status.as_str(), "trash" | "checkout-draft" | "auto-draft") {
            return Vec::new();
        }
        let marker = meta::marker(&self.meta).map(|marker| format!("marker:{marker}"));
        marker.into_iter().collect()
    }

    pub(super) fn email(&self) -> String {
        part(&self.billing, "email")
    }

    fn set_email(&mut self, email: &str) {
        for (part, stored) in schema::ADDRESS.iter().zip(&mut self.billing) {
            if *part == "email" {
                email.clone_into(stored);
            }
        }
    }

    pub(super) fn needs_payment(&self) -> bool {
        matches!(self.status.as_str(), "pending" | "failed")
            && self.totals.total > rust_decimal::Decimal::ZERO
    }

    /// Applies everything but status, coupons and payment; the moves of stock that come of it are still to be made.
    fn apply(&mut self, shop: &mut Shop, body: &Map<String, Value>) -> Result<Vec<line::Move>, Refusal> {
        if let Some(currency) = body.get("currency").filter(|value| !value.is_null()) {
            let currency = as_text(currency);
            if !CURRENCIES.contains(&currency.as_str()) {
                return Err(Refusal::new(
                    400,
                    "order_invalid_currency",
                    "Invalid currency code",
                ));
            }
            self.currency = currency;
        }
        for (name, stored) in [
            ("customer_note", &mut self.customer_note),
            ("payment_method", &mut self.payment_method),
            ("payment_method_title", &mut self.payment_method_title),
            ("transaction_id", &mut self.transaction_id),
        ] {
            if let Some(value) = body.get(name).filter(|value| !value.is_null()) {
                *stored = as_text(value);
            }
        }
        if let Some(customer) = body.get("customer_id").and_then(super::product::whole_number) {
            self.customer = u64::try_from(customer).unwrap_or_default();
        }
        self.apply_addresses(body)?;
        if let Some(list) = body.get("meta_data") {
            self.apply_meta(shop, list);
        }
        let moves = line::apply(self, shop, body)?;
        if self.customer > 1
            && !shop.customers.contains_key(&self.customer)
            && body.contains_key("customer_id")
        {
            let message = "Customer ID is invalid.";
            return Err(Refusal::new(400, "woocommerce_rest_invalid_customer_id", message));
        }
        Ok(moves)
    }

    /// Parts that are not sent stay.
    fn apply_addresses(&mut self, body: &Map<String, Value>) -> Result<(), Refusal> {
        for (field, address) in [("billing", &mut self.billing), ("shipping", &mut self.shipping)] {
            for (part, stored) in schema::ADDRESS.iter().zip(address) {
                let Some(value) = body.get(field).and_then(|parts| parts.get(*part)) else {
                    continue;
                };
                let value = as_text(value);
                if *part == "email" && field == "billing" && !value.is_empty() && !schema::is_email(&value) {
                    let message = "Invalid billing email address";
                    return Err(Refusal::new(400, "order_invalid_billing_email", message));
                }
                *stored = value;
            }
        }
        Ok(())
    }

    /// Some keys are setters and never come back as meta data (facts: mapping-woocommerce 3).
    fn apply_meta(&mut self, shop: &mut Shop, list: &Value) {
        let mut rest = Vec::new();
        for one in list.as_array().into_iter().flatten() {
            let value = &one["value"];
            match one["key"].as_str().unwrap_or_default() {
                "_order_stock_reduced" => self.is_stock_reduced = is_yes(value),
                "_new_order_email_sent" => self.is_announced = is_yes(value),
                "_date_paid" => self.paid = moment(value, shop.offset_secs),
                "_date_completed" => self.completed = moment(value, shop.offset_secs),
                _ => rest.push(one.clone()),
            }
        }
        let next = &mut shop.book.next_meta;
        meta::apply(&mut self.meta, &Value::Array(rest), next, meta::Owner::Order);
    }
}

/// Returns one part of an address.
fn part(address: &Address, name: &str) -> String {
    let at = schema::ADDRESS.iter().position(|one| *one == name);
    at.map(|at| address[at].clone()).unwrap_or_default()
}

fn is_yes(value: &Value) -> bool {
    schema::as_boolean(value).unwrap_or_default() || value == "yes"
}

/// Reads seconds since 1970 or a date; one without a zone is the site's (facts: mapping-woocommerce 3).
fn moment(value: &Value, offset_secs: i64) -> Option<i64> {
    let written = as_text(value);
    if let Ok(secs) = written.parse::<i64>() {
        return Some(secs);
    }
    if let Some(local) = text::seconds(&written) {
        return Some(local - offset_secs);
    }
    DateTime::parse_from_rfc3339(&written)
        .ok()
        .map(|at| at.timestamp())
}

/// Makes the secret part of an order's address; nobody can set it.
fn secret(id: u64, now: i64) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut state = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ now.unsigned_abs();
    let letters = (0..13).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(state >> 33).unwrap_or_default() % LETTERS.len();
        char::from(LETTERS[at])
    });
    format!("wc_order_{}", letters.collect::<String>())
}

/// Refuses an unknown order; the words differ by verb.
pub(super) fn unknown(status: u16) -> Refusal {
    let message = if status == 400 {
        "ID is invalid."
    } else {
        "Invalid ID."
    };
    Refusal::new(status, "woocommerce_rest_shop_order_invalid_id", message)
}

impl Shop {
    pub(super) fn create_order(&mut self, body: &Map<String, Value>, now: i64) -> Result<u64, Refusal> {
        if !has_shape(body) {
            return Err(Refusal::critical());
        }
        let mut order = Order::new(self.next_post, now);
        self.settings
            .get("general/woocommerce_currency")
            .clone_into(&mut order.currency);
        order.prices_include_tax = self.settings.is_on("tax/woocommerce_prices_include_tax");
        order.apply(self, body)?;
        self.next_post += 1;
        if let Some(maker) = body
            .get("created_via")
            .map(as_text)
            .filter(|maker| !maker.is_empty())
        {
            order.created_via = text::clean(&maker);
        }
        self.fill_email(&mut order);
        total::calculate(self, &mut order);
        let id = order.id;
        if let Err(refusal) = coupon::apply(self, &mut order, body) {
            // It was saved before its coupons were looked at (facts: mapping-woocommerce 3).
            "checkout-draft".clone_into(&mut order.status);
            self.put_order(order);
            return Err(refusal.with("new_draft_order_id", id));
        }
        self.settle(&mut order, body, status::Write::Create, now);
        self.put_order(order);
        Ok(id)
    }

    /// Changes an order; nothing of a refused change is kept.
    pub(super) fn update_order(
        &mut self,
        id: u64,
        body: &Map<String, Value>,
        now: i64,
    ) -> Result<(), Refusal> {
        let mut order = self.book.orders.get(&id).ok_or_else(|| unknown(400))?.clone();
        if !has_shape(body) {
            return Err(Refusal::critical());
        }
        let moves = order.apply(self, body)?;
        for one in moves {
            self.move_stock(one.product, one.by, now);
        }
        let recalculates = [
            "billing",
            "shipping",
            "line_items",
            "shipping_lines",
            "fee_lines",
            "coupon_lines",
        ];
        if recalculates
            .iter()
            .any(|name| body.get(*name).is_some_and(|value| !value.is_null()))
        {
            total::calculate(self, &mut order);
        }
        coupon::apply(self, &mut order, body)?;
        order.modified = now;
        self.settle(&mut order, body, status::Write::Update, now);
        self.fill_email(&mut order);
        self.put_order(order);
        Ok(())
    }

    /// An order without an address of its own takes that of its account (facts: mapping-woocommerce 3).
    fn fill_email(&self, order: &mut Order) {
        if order.email().is_empty()
            && let Some(customer) = self.customers.get(&order.customer)
        {
            order.set_email(&customer.email);
        }
    }

    /// Puts an order into the trash; nothing is given back.
    pub(super) fn trash_order(&mut self, id: u64, now: i64) -> Result<(), Refusal> {
        let mut order = self.book.orders.get(&id).ok_or_else(|| unknown(404))?.clone();
        if order.status == "trash" {
            let message = "The shop_order has already been deleted.";
            return Err(Refusal::new(410, "woocommerce_rest_already_trashed", message));
        }
        let key = order.key();
        "trash".clone_into(&mut order.status);
        order.modified = now;
        self.unindex_order(id);
        self.ledger.lives("order", id, order.keys(), self.origin());
        self.index_order(order);
        self.felt("order", Operation::Deleted, id, key, true);
        Ok(())
    }

    /// Deletes an order for good, its refunds with it.
    pub(super) fn remove_order(&mut self, id: u64) {
        let refunds: Vec<u64> = self.book.refunds_of(id).map(|refund| refund.id).collect();
        for refund in refunds {
            self.remove_refund(refund);
        }
        if let Some(order) = self.unindex_order(id) {
            self.ledger.is_gone("order", id);
            self.felt("order", Operation::Deleted, id, order.key(), true);
        }
    }

    /// Stores an order, keeps the indexes and tells the ledger.
    pub(super) fn put_order(&mut self, order: Order) {
        let before = self.unindex_order(order.id);
        let operation = if before.is_some() {
            Operation::Updated
        } else {
            Operation::Created
        };
        let is_different = before.is_none_or(|before| {
            before
                != Order {
                    modified: before.modified,
                    ..order.clone()
                }
        });
        self.ledger.lives("order", order.id, order.keys(), self.origin());
        self.felt("order", operation, order.id, order.key(), is_different);
        if operation == Operation::Created && order.paid.is_some() {
            // One that is paid as it is made counts as changed, too (facts: systems A10).
            self.announce("order", Operation::Updated, order.id, order.id);
        }
        self.index_order(order);
    }

    fn index_order(&mut self, order: Order) {
        self.next_post = self.next_post.max(order.id + 1);
        self.book.by_modified.insert((order.modified, order.id));
        self.book.by_created.insert((order.created, order.id));
        self.book.orders.insert(order.id, order);
    }

    fn unindex_order(&mut self, id: u64) -> Option<Order> {
        let order = self.book.orders.remove(&id)?;
        self.book.by_modified.remove(&(order.modified, id));
        self.book.by_created.remove(&(order.created, id));
        Some(order)
    }

    /// Moves the time of change of an order that was not written itself.
    pub(super) fn touch_order(&mut self, id: u64, now: i64) {
        if let Some(mut order) = self.unindex_order(id) {
            order.modified = now;
            self.index_order(order);
        }
    }

    /// Deletes what the checkout left behind: drafts that nobody changed for a day.
    pub(super) fn sweep_drafts(&mut self, now: i64) {
        let old = self
            .book
            .orders
            .values()
            .filter(|order| order.status == "checkout-draft" && order.modified <= now - DRAFT_LIFE_SECS);
        for id in old.map(|order| order.id).collect::<Vec<_>>() {
            self.remove_order(id);
        }
    }

    /// The orders of an account that is gone are those of a guest; their time of change stays.
    pub(super) fn orphan_orders(&mut self, customer: u64) {
        for order in self
            .book
            .orders
            .values_mut()
            .filter(|order| order.customer == customer)
        {
            order.customer = 0;
        }
    }
}

/// What stands at the end of a line's address in an answer.
fn link(base: &str, id: u64) -> Value {
    json!([{"href": format!("{base}/{id}")}])
}
