//! Orders as a real shop answered them.

use serde_json::Value;

use super::super::amount;
use super::super::customer::Address;
use super::super::meta::Meta;
use super::super::schema;
use super::super::shop::Shop;
use super::super::text;
use super::{Coupon, Fee, Line, LineTax, Order, Shipping, TaxLine, Totals};

fn string(view: &Value, name: &str) -> String {
    view[name].as_str().unwrap_or_default().to_owned()
}

fn rows<'a>(view: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    view[name].as_array().into_iter().flatten()
}

fn id(view: &Value) -> u64 {
    view["id"].as_u64().unwrap_or_default()
}

fn time(view: &Value, name: &str) -> Option<i64> {
    view[name].as_str().and_then(text::seconds)
}

fn meta(view: &Value) -> Vec<Meta> {
    let each = rows(view, "meta_data");
    each.map(|entry| Meta {
        id: id(entry),
        key: string(entry, "key"),
        value: entry["value"].clone(),
    })
    .collect()
}

fn taxes(view: &Value) -> Vec<LineTax> {
    let each = rows(view, "taxes");
    each.map(|tax| LineTax {
        rate: id(tax),
        total: amount::read(&tax["total"]),
        subtotal: (tax["subtotal"] != "").then(|| amount::read(&tax["subtotal"])),
    })
    .collect()
}

fn address(view: &Value) -> Address {
    let mut address = Address::default();
    for (part, stored) in schema::ADDRESS.iter().zip(&mut address) {
        *stored = string(view, part);
    }
    address
}

fn order(view: &Value) -> Order {
    let created = time(view, "date_created_gmt").unwrap_or_default();
    let amount = |name: &str| amount::read(&view[name]);
    let mut order = Order::new(id(view), created);
    order.status = string(view, "status");
    order.currency = string(view, "currency");
    order.prices_include_tax = view["prices_include_tax"].as_bool().unwrap_or_default();
    order.modified = time(view, "date_modified_gmt").unwrap_or(created);
    order.paid = time(view, "date_paid_gmt");
    order.completed = time(view, "date_completed_gmt");
    order.customer = view["customer_id"].as_u64().unwrap_or_default();
    order.secret = string(view, "order_key");
    order.billing = address(&view["billing"]);
    order.shipping = address(&view["shipping"]);
    order.payment_method = string(view, "payment_method");
    order.payment_method_title = string(view, "payment_method_title");
    order.transaction_id = string(view, "transaction_id");
    order.created_via = string(view, "created_via");
    order.customer_note = string(view, "customer_note");
    order.is_stock_reduced = matches!(
        order.status.as_str(),
        "processing" | "on-hold" | "completed" | "refunded"
    );
    order.is_announced = order.status != "pending";
    order.meta = meta(view);
    order.lines = rows(view, "line_items").map(line).collect();
    order.shippings = rows(view, "shipping_lines").map(shipping).collect();
    order.fees = rows(view, "fee_lines").map(fee).collect();
    order.coupons = rows(view, "coupon_lines").map(coupon).collect();
    order.taxes = rows(view, "tax_lines").map(tax_line).collect();
    order.totals = Totals {
        discount: amount("discount_total"),
        discount_tax: amount("discount_tax"),
        shipping: amount("shipping_total"),
        shipping_tax: amount("shipping_tax"),
        cart_tax: amount("cart_tax"),
        total: amount("total"),
    };
    order
}

pub(in super::super) fn line(view: &Value) -> Line {
    Line {
        id: id(view),
        name: string(view, "name"),
        product: view["product_id"].as_u64().unwrap_or_default(),
        variation: view["variation_id"].as_u64().unwrap_or_default(),
        quantity: view["quantity"].as_i64().unwrap_or_default(),
        tax_class: string(view, "tax_class"),
        subtotal: amount::read(&view["subtotal"]),
        total: amount::read(&view["total"]),
        taxes: taxes(view),
        meta: meta(view),
    }
}

pub(in super::super) fn shipping(view: &Value) -> Shipping {
    Shipping {
        id: id(view),
        title: string(view, "method_title"),
        method: string(view, "method_id"),
        instance: string(view, "instance_id"),
        tax_status: string(view, "tax_status"),
        total: amount::read(&view["total"]),
        taxes: taxes(view),
        meta: meta(view),
    }
}

pub(in super::super) fn fee(view: &Value) -> Fee {
    Fee {
        id: id(view),
        name: string(view, "name"),
        tax_class: string(view, "tax_class"),
        tax_status: string(view, "tax_status"),
        amount: string(view, "amount"),
        total: amount::read(&view["total"]),
        taxes: taxes(view),
        meta: meta(view),
    }
}

fn coupon(view: &Value) -> Coupon {
    Coupon {
        id: id(view),
        code: string(view, "code"),
        discount: amount::read(&view["discount"]),
        discount_tax: amount::read(&view["discount_tax"]),
        kind: string(view, "discount_type"),
        nominal: amount::read(&view["nominal_amount"]),
        is_shipping_free: view["free_shipping"].as_bool().unwrap_or_default(),
        meta: meta(view),
    }
}

pub(in super::super) fn tax_line(view: &Value) -> TaxLine {
    TaxLine {
        id: id(view),
        rate: view["rate_id"].as_u64().unwrap_or_default(),
        code: string(view, "rate_code"),
        label: string(view, "label"),
        is_compound: view["compound"].as_bool().unwrap_or_default(),
        percent: amount::read(&view["rate_percent"]),
        tax_total: amount::read(&view["tax_total"]),
        shipping_tax_total: amount::read(&view["shipping_tax_total"]),
    }
}

impl Shop {
    /// Puts a recorded order back.
    pub(in super::super) fn put_recorded_order(&mut self, view: &Value) {
        let order = order(view);
        let parts = [
            "line_items",
            "shipping_lines",
            "fee_lines",
            "coupon_lines",
            "tax_lines",
        ];
        for part in parts.iter().flat_map(|name| rows(view, name)) {
            self.saw_item(part);
        }
        let last = order
            .meta
            .iter()
            .map(|meta| meta.id + 1)
            .max()
            .unwrap_or_default();
        self.book.next_meta = self.book.next_meta.max(last);
        self.put_order(order);
    }

    /// Goes on counting behind a recorded part.
    pub(in super::super) fn saw_item(&mut self, part: &Value) {
        self.book.next_item = self.book.next_item.max(id(part) + 1);
        let last = meta(part)
            .iter()
            .map(|meta| meta.id + 1)
            .max()
            .unwrap_or_default();
        self.book.next_item_meta = self.book.next_item_meta.max(last);
    }

    /// Reads the meta data of a recorded row.
    pub(in super::super) fn recorded_meta(view: &Value) -> Vec<Meta> {
        meta(view)
    }
}
