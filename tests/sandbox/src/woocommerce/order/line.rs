//! The parts of an order and what a body does to them (facts: systems A7, mapping-woocommerce 3).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::amount;
use super::super::meta::{self, Meta};
use super::super::product::{as_text, whole_number};
use super::super::refusal::Refusal;
use super::super::shop::Shop;
use super::Order;
use super::status::{REDUCED, RESTOCKED};

/// What one rate adds to one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct LineTax {
    pub(in super::super) rate: u64,
    pub(in super::super) total: Decimal,
    /// Before discounts; only goods have it.
    pub(in super::super) subtotal: Option<Decimal>,
}

/// Goods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Line {
    pub(in super::super) id: u64,
    pub(in super::super) name: String,
    /// Zero where nothing of the shop is behind it.
    pub(in super::super) product: u64,
    pub(in super::super) variation: u64,
    pub(in super::super) quantity: i64,
    pub(in super::super) tax_class: String,
    pub(in super::super) subtotal: Decimal,
    pub(in super::super) total: Decimal,
    pub(in super::super) taxes: Vec<LineTax>,
    pub(in super::super) meta: Vec<Meta>,
}

/// A way to send it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Shipping {
    pub(in super::super) id: u64,
    pub(in super::super) title: String,
    pub(in super::super) method: String,
    pub(in super::super) instance: String,
    pub(in super::super) tax_status: String,
    pub(in super::super) total: Decimal,
    pub(in super::super) taxes: Vec<LineTax>,
    pub(in super::super) meta: Vec<Meta>,
}

/// A fee, or less than one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Fee {
    pub(in super::super) id: u64,
    pub(in super::super) name: String,
    pub(in super::super) tax_class: String,
    pub(in super::super) tax_status: String,
    pub(in super::super) amount: String,
    pub(in super::super) total: Decimal,
    pub(in super::super) taxes: Vec<LineTax>,
    pub(in super::super) meta: Vec<Meta>,
}

/// A coupon that was used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Coupon {
    pub(in super::super) id: u64,
    pub(in super::super) code: String,
    pub(in super::super) discount: Decimal,
    pub(in super::super) discount_tax: Decimal,
    pub(in super::super) kind: String,
    pub(in super::super) nominal: Decimal,
    pub(in super::super) is_shipping_free: bool,
    pub(in super::super) meta: Vec<Meta>,
}

/// The sum of one rate over an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct TaxLine {
    pub(in super::super) id: u64,
    pub(in super::super) rate: u64,
    pub(in super::super) code: String,
    pub(in super::super) label: String,
    pub(in super::super) is_compound: bool,
    pub(in super::super) percent: Decimal,
    pub(in super::super) tax_total: Decimal,
    pub(in super::super) shipping_tax_total: Decimal,
}

impl Line {
    /// Returns the product or variation that it sells.
    pub(in super::super) fn stock_id(&self) -> u64 {
        if self.variation > 0 {
            self.variation
        } else {
            self.product
        }
    }
}

/// A move of stock that a change of lines asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) product: u64,
    pub(super) by: i64,
}

const SECTIONS: &[&str] = &["line_items", "shipping_lines", "fee_lines"];

/// Whether the parts can be read at all; PHP dies of the others (facts: mapping-woocommerce 7).
pub(in super::super) fn has_shape(body: &Map<String, Value>) -> bool {
    let is_list_of_objects = |value: &Value| {
        value.is_null()
            || value
                .as_array()
                .is_some_and(|rows| rows.iter().all(Value::is_object))
    };
    SECTIONS
        .iter()
        .chain(&["coupon_lines", "meta_data"])
        .all(|name| body.get(*name).is_none_or(is_list_of_objects))
}

/// Applies the three kinds of parts that can be sent.
pub(super) fn apply(
    order: &mut Order,
    shop: &mut Shop,
    body: &Map<String, Value>,
) -> Result<Vec<Move>, Refusal> {
    let mut moves = Vec::new();
    for section in SECTIONS {
        for one in body.get(*section).and_then(Value::as_array).into_iter().flatten() {
            if is_removal(one) {
                moves.extend(remove(order, section, one)?);
                continue;
            }
            let id = one.get("id").and_then(whole_number).unwrap_or_default();
            let id = u64::try_from(id).unwrap_or_default();
            match *section {
                "line_items" => moves.extend(goods(order, shop, one, id)?),
                "shipping_lines" => shipping(order, shop, one, id)?,
                _ => fee(order, shop, one, id)?,
            }
        }
    }
    Ok(moves)
}

/// A null name removes, and so does the number 0 as a quantity, not the text.
fn is_removal(one: &Value) -> bool {
    let names = ["product_id", "method_id", "method_title", "name", "code"];
    names
        .iter()
        .any(|name| one.get(*name).is_some_and(Value::is_null))
        || one.get("quantity").and_then(Value::as_i64) == Some(0)
}

fn not_of_order() -> Refusal {
    let message = "Order item ID provided is not associated with order.";
    Refusal::new(400, "woocommerce_rest_invalid_item_id", message)
}

/// Removes a part; goods give back what was taken for them, whatever the status.
fn remove(order: &mut Order, section: &str, one: &Value) -> Result<Option<Move>, Refusal> {
    let Some(id) = one.get("id").and_then(Value::as_u64) else {
        return Err(Refusal::critical());
    };
    let mut given_back = None;
    if let Some(at) = order.lines.iter().position(|line| line.id == id) {
        let line = order.lines.remove(at);
        let taken = meta_number(&line.meta, REDUCED);
        if section == "line_items" && taken != 0 {
            given_back = Some(Move {
                product: line.stock_id(),
                by: taken,
            });
        }
    } else if let Some(at) = order.shippings.iter().position(|shipping| shipping.id == id) {
        order.shippings.remove(at);
    } else if let Some(at) = order.fees.iter().position(|fee| fee.id == id) {
        order.fees.remove(at);
    } else {
        return Err(not_of_order());
    }
    Ok(given_back)
}

fn goods(order: &mut Order, shop: &mut Shop, one: &Value, id: u64) -> Result<Option<Move>, Refusal> {
    let is_new = id == 0;
    let mut line = if is_new {
        Line {
            id: shop.book.new_item(),
            name: String::new(),
            product: 0,
            variation: 0,
            quantity: 1,
            tax_class: String::new(),
            subtotal: Decimal::ZERO,
            total: Decimal::ZERO,
            taxes: Vec::new(),
            meta: Vec::new(),
        }
    } else {
        let known = order.lines.iter().find(|line| line.id == id);
        known.ok_or_else(not_of_order)?.clone()
    };
    let quantity = one.get("quantity").and_then(whole_number);
    if let Some(product) = referenced(shop, one, is_new)?.filter(|id| *id != line.stock_id()) {
        shop.sell_in(&mut line, product);
        if is_new {
            let price = shop.net_price(product);
            line.total = price * Decimal::from(quantity.unwrap_or(1));
            line.subtotal = line.total;
        }
    }
    if let Some(name) = one.get("name") {
        line.name = as_text(name);
    }
    line.quantity = quantity.unwrap_or(line.quantity);
    let total = one
        .get("total")
        .filter(|value| !value.is_null())
        .map(amount::read);
    let subtotal = one
        .get("subtotal")
        .filter(|value| !value.is_null())
        .map(amount::read);
    line.total = total.unwrap_or(line.total);
    line.subtotal = subtotal.unwrap_or(line.subtotal);
    // Nothing may cost more than before its discount.
    line.subtotal = line.subtotal.max(line.total);
    if let Some(class) = one.get("tax_class").filter(|value| !value.is_null()).map(as_text) {
        check_class(shop, &class, "order_item_product_invalid_tax_class")?;
        line.tax_class = class;
    }
    apply_meta(shop, &mut line.meta, one);
    let moved = if matches!(order.status.as_str(), "processing" | "on-hold" | "completed") {
        adjust(order, shop, &mut line)
    } else {
        None
    };
    match order.lines.iter_mut().find(|known| known.id == line.id) {
        Some(known) => *known = line,
        None => order.lines.push(line),
    }
    Ok(moved)
}

/// Compares a line with what was taken for it, whatever the order remembers (facts: mapping-woocommerce 3).
fn adjust(order: &mut Order, shop: &mut Shop, line: &mut Line) -> Option<Move> {
    if !shop.keeps_stock(line.stock_id()) {
        return None;
    }
    let given_back = meta_number(&line.meta, RESTOCKED);
    let due = line.quantity - given_back;
    let more = due - meta_number(&line.meta, REDUCED);
    if more == 0 {
        return None;
    }
    keep_count(shop, line, REDUCED, due);
    order.is_stock_reduced |= line.quantity > 0;
    Some(Move {
        product: line.stock_id(),
        by: -more,
    })
}

/// Finds what a line refers to: an SKU counts before an id, and one that nobody has is nothing, without an error.
fn referenced(shop: &Shop, one: &Value, is_new: bool) -> Result<Option<u64>, Refusal> {
    let id = |name: &str| {
        let id = one.get(name).and_then(whole_number).unwrap_or_default();
        u64::try_from(id).ok().filter(|id| *id > 0)
    };
    let sku = one
        .get("sku")
        .map(as_text)
        .filter(|sku| !sku.is_empty() && sku != "0");
    if let Some(sku) = sku {
        return Ok(shop
            .with_sku(&sku)
            .find(|product| !product.is_in_trash())
            .map(|product| product.id));
    }
    let found = id("variation_id").or_else(|| id("product_id"));
    if found.is_none() && is_new {
        let message = "Product ID or SKU is required.";
        return Err(Refusal::new(
            400,
            "woocommerce_rest_required_product_reference",
            message,
        ));
    }
    Ok(found.filter(|id| shop.product(*id).is_some()))
}

fn check_class(shop: &Shop, class: &str, code: &str) -> Result<(), Refusal> {
    if matches!(class, "" | "0") || shop.taxes.has_class(class) {
        return Ok(());
    }
    Err(Refusal::new(400, code, "Invalid tax class"))
}

fn shipping(order: &mut Order, shop: &mut Shop, one: &Value, id: u64) -> Result<(), Refusal> {
    let mut shipping = if id == 0 {
        Shipping {
            id: shop.book.new_item(),
            title: String::new(),
            method: String::new(),
            instance: String::new(),
            tax_status: "taxable".to_owned(),
            total: Decimal::ZERO,
            taxes: Vec::new(),
            meta: Vec::new(),
        }
    } else {
        let known = order.shippings.iter().find(|shipping| shipping.id == id);
        known.ok_or_else(not_of_order)?.clone()
    };
    for (name, stored) in [
        ("method_title", &mut shipping.title),
        ("method_id", &mut shipping.method),
        ("instance_id", &mut shipping.instance),
    ] {
        if let Some(value) = one.get(name).filter(|value| !value.is_null()) {
            *stored = as_text(value);
        }
    }
    if let Some(total) = one.get("total").filter(|value| !value.is_null()) {
        shipping.total = amount::read(total);
    }
    apply_meta(shop, &mut shipping.meta, one);
    match order.shippings.iter_mut().find(|known| known.id == shipping.id) {
        Some(known) => *known = shipping,
        None => order.shippings.push(shipping),
    }
    Ok(())
}

fn fee(order: &mut Order, shop: &mut Shop, one: &Value, id: u64) -> Result<(), Refusal> {
    let mut fee = if id == 0 {
        Fee {
            id: shop.book.new_item(),
            name: String::new(),
            tax_class: String::new(),
            tax_status: "taxable".to_owned(),
            amount: String::new(),
            total: Decimal::ZERO,
            taxes: Vec::new(),
            meta: Vec::new(),
        }
    } else {
        let known = order.fees.iter().find(|fee| fee.id == id);
        known.ok_or_else(not_of_order)?.clone()
    };
    let text = |name: &str| one.get(name).filter(|value| !value.is_null()).map(as_text);
    if let Some(name) = text("name") {
        fee.name = name;
    }
    if let Some(class) = text("tax_class") {
        check_class(shop, &class, "order_item_fee_invalid_tax_class")?;
        fee.tax_class = class;
    }
    if let Some(status) = text("tax_status") {
        let is_known = matches!(status.as_str(), "taxable" | "none");
        fee.tax_status = if is_known { status } else { "taxable".to_owned() };
    }
    if let Some(total) = one.get("total").filter(|value| !value.is_null()) {
        fee.total = amount::read(total);
    }
    apply_meta(shop, &mut fee.meta, one);
    match order.fees.iter_mut().find(|known| known.id == fee.id) {
        Some(known) => *known = fee,
        None => order.fees.push(fee),
    }
    Ok(())
}

fn apply_meta(shop: &mut Shop, entries: &mut Vec<Meta>, one: &Value) {
    if let Some(list) = one.get("meta_data") {
        meta::apply(entries, list, &mut shop.book.next_item_meta, meta::Owner::Order);
    }
}

/// Reads a number out of meta data; nothing counts as zero.
pub(in super::super) fn meta_number(entries: &[Meta], key: &str) -> i64 {
    let entry = entries.iter().find(|entry| entry.key == key);
    entry
        .and_then(|entry| whole_number(&entry.value))
        .unwrap_or_default()
}

/// Sets or removes one entry.
pub(in super::super) fn set_meta(entries: &mut Vec<Meta>, key: &str, value: Option<&str>, next_id: &mut u64) {
    let list = json!([{"key": key, "value": value}]);
    meta::apply(entries, &list, next_id, meta::Owner::Order);
}

/// Writes a count into the meta data of a line.
pub(in super::super) fn keep_count(shop: &mut Shop, line: &mut Line, key: &str, count: i64) {
    set_meta(
        &mut line.meta,
        key,
        Some(&count.to_string()),
        &mut shop.book.next_item_meta,
    );
}
