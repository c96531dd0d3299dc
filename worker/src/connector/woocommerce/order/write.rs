//! What is sent of an order: algorithm 3a of facts/mapping-woocommerce.md §3, tax as a line of its own. Pure.

use lockstep_shared::entity::{Contact, LineKind, Order, OrderLine};
use lockstep_shared::system::System;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::{Value, json};

use super::super::product::{Body, Fields};
use super::super::reference;
use super::total::{self, Makeweight};
use super::wire::{self, List};
use crate::connector::{Links, Write};

/// The name of a line that must have one and has none.
const NAMELESS: &str = "-";

/// Returns the words that stand before a name for a quantity that the store has no place for.
pub(super) fn quantity_prefix(quantity: &str) -> String {
    format!("{quantity} × ")
}

/// Returns the body that creates an order as a draft, which nobody sees and nobody is mailed about.
pub(super) fn create_body(write: &Write, order: &Order) -> Body {
    let mut body = details(order, &write.links, Fields::All);
    body.insert("status".to_owned(), json!(wire::DRAFT));
    body.insert("created_via".to_owned(), json!(wire::CREATED_VIA));
    // What people search by, until a payment has an id of its own (facts/systems.md A7).
    body.insert("transaction_id".to_owned(), json!(order.number));
    for list in [List::Items, List::Shipping, List::Fees] {
        let rows = rows(order, &write.links).into_iter();
        let rows: Vec<Value> = rows
            .filter(|row| row.list == list)
            .map(|row| Value::Object(row.body))
            .collect();
        if !rows.is_empty() {
            body.insert(list.name().to_owned(), Value::Array(rows));
        }
    }
    put_meta(&mut body, wire::MARKER, &json!(write.record.to_string()));
    // No tax on lines, fees and shipping, also when the order is counted anew later.
    put_meta(&mut body, "is_vat_exempt", &json!("yes"));
    body
}

/// Adds a meta entry; `null` takes it away (facts/systems.md A7).
pub(in super::super) fn put_meta(body: &mut Body, key: &str, value: &Value) {
    let entries = body
        .entry("meta_data")
        .or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(entries) = entries {
        entries.push(json!({"key": key, "value": value}));
    }
}

/// Returns what is neither a line nor a state.
pub(super) fn details(order: &Order, links: &Links, fields: Fields<'_>) -> Body {
    let mut body = Body::new();
    if fields.has("currency") {
        body.insert("currency".to_owned(), json!(order.currency.code()));
    }
    if fields.has("note") {
        let note = order.note.as_deref().unwrap_or_default();
        body.insert("customer_note".to_owned(), json!(note));
    }
    if fields.has("customer") {
        let customer = order.customer.as_ref();
        let id = customer.and_then(|customer| reference::id(links, customer));
        body.insert("customer_id".to_owned(), json!(id.unwrap_or_default()));
    }
    if fields.has("billing") {
        let mut billing = contact_body(order.billing.as_ref());
        let email = order
            .billing
            .as_ref()
            .and_then(|contact| contact.email.as_deref());
        billing.insert("email".to_owned(), json!(email.unwrap_or_default()));
        body.insert("billing".to_owned(), Value::Object(billing));
    }
    // None is the billing address once more, as the checkout has it.
    if fields.has("shipping") || (fields.has("billing") && order.shipping.is_none()) {
        let shipping = contact_body(order.shipping.as_ref().or(order.billing.as_ref()));
        body.insert("shipping".to_owned(), Value::Object(shipping));
    }
    if order.origin == Some(System::Woocommerce) {
        return body;
    }
    let origin = match order.origin {
        Some(System::Odoo) => "odoo",
        Some(System::Woocommerce) | None => "application",
    };
    let coupons = (!order.coupons.is_empty()).then(|| json!(order.coupons).to_string());
    let meta = [
        ("origin", wire::ORIGIN, json!(origin)),
        ("number", wire::NUMBER, json!(order.number)),
        ("placed_at", wire::PLACED_AT, json!(order.placed_at.to_rfc3339())),
        ("coupons", wire::COUPONS, json!(coupons)),
    ];
    for (path, key, value) in meta {
        let is_new = matches!(fields, Fields::All);
        if fields.has(path) && !(is_new && value.is_null()) {
            put_meta(&mut body, key, &value);
        }
    }
    body
}

fn contact_body(contact: Option<&Contact>) -> Body {
    let contact = contact.cloned().unwrap_or_default();
    let address = contact.address;
    let name = address.name.unwrap_or_default();
    let (first, last) = name.split_once(' ').unwrap_or((&name, ""));
    let lines = [
        ("first_name", Some(first.to_owned())),
        ("last_name", Some(last.to_owned())),
        ("company", contact.company),
        ("phone", contact.phone),
        ("address_1", address.street),
        ("address_2", address.street2),
        ("city", address.city),
        ("postcode", address.postcode),
        ("state", address.state),
        ("country", address.country),
    ];
    lines
        .into_iter()
        .map(|(field, value)| (field.to_owned(), json!(value.unwrap_or_default())))
        .collect()
}

/// One line as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) list: List,
    pub(super) key: String,
    pub(super) body: Body,
    /// What is behind it: product and variation, 0 for none.
    pub(super) product: (u64, u64),
}

/// Returns all lines of an order, with those that make the sum right.
pub(super) fn rows(order: &Order, links: &Links) -> Vec<Row> {
    let rest = Makeweight::of(order);
    let extra = [
        (wire::TAX, "Tax", rest.tax),
        (wire::ROUNDING, "Rounding", rest.rounding),
    ];
    let own = order.lines.iter().map(|line| row(order, line, links));
    let extra = extra
        .into_iter()
        .filter(|(_, _, amount)| !amount.is_zero())
        .map(|(key, name, amount)| fee(order, (key, name, amount)));
    own.chain(extra).collect()
}

fn row(order: &Order, line: &OrderLine, links: &Links) -> Row {
    let (subtotal, total) = total::of_line(line, order.currency);
    // A fee below zero is capped at what came before it (facts/mapping-woocommerce.md §3).
    let list = match line.kind {
        LineKind::Item => List::Items,
        LineKind::Shipping | LineKind::Fee if total < Decimal::ZERO => List::Items,
        LineKind::Shipping => List::Shipping,
        LineKind::Fee => List::Fees,
    };
    let pieces = pieces(line.quantity).filter(|pieces| list == List::Items || *pieces == 1);
    let name = line.name.as_deref().unwrap_or(NAMELESS);
    let name = match pieces {
        Some(_) => name.to_owned(),
        None => format!("{}{name}", quantity_prefix(&line.quantity.to_string())),
    };
    let written = |amount| json!(total::written(amount, order.currency));
    let mut body = Body::new();
    let mut put = |field: &str, value: Value| body.insert(field.to_owned(), value);
    let product = line
        .product
        .as_ref()
        .and_then(|product| reference::remote(links, product))
        .and_then(|thing| Some((thing.external_id.parse().ok()?, thing.part)))
        .map_or((0, 0), |(id, part): (u64, _)| {
            (id, part.and_then(|part| part.parse().ok()).unwrap_or_default())
        });
    match list {
        List::Items => {
            match product {
                // A line with nothing behind it (facts/mapping-woocommerce.md §3).
                (0, _) => put("sku", json!("__none__")),
                (id, 0) => put("product_id", json!(id)),
                (id, variation) => {
                    put("product_id", json!(id));
                    put("variation_id", json!(variation))
                }
            };
            put("name", json!(name));
            put("quantity", json!(pieces.unwrap_or(1)));
            put("subtotal", written(subtotal));
            // Accepted, and means no tax.
            put("tax_class", json!("0"));
        }
        List::Shipping => {
            put("method_id", json!("other"));
            put("method_title", json!(name));
        }
        List::Fees => {
            put("name", json!(name));
            put("tax_status", json!("none"));
        }
    }
    put("total", written(total));
    put_meta(&mut body, wire::LINE, &json!(line.key));
    if pieces.is_none() {
        put_meta(&mut body, wire::QUANTITY, &json!(line.quantity.to_string()));
    }
    if line.name.is_none() {
        put_meta(&mut body, wire::UNNAMED, &json!("yes"));
    }
    if list == List::Items && line.kind != LineKind::Item {
        let kind = if line.kind == LineKind::Fee {
            "fee"
        } else {
            "shipping"
        };
        put_meta(&mut body, wire::KIND, &json!(kind));
    }
    Row {
        list,
        key: line.key.to_string(),
        body,
        product,
    }
}

/// Quantities are whole numbers: a fraction is refused, or cut off without a word in a batch; 0 takes the line away
/// (facts/mapping-woocommerce.md §3).
fn pieces(quantity: Decimal) -> Option<u32> {
    let is_whole = quantity.fract().is_zero() && quantity >= Decimal::ONE;
    is_whole.then(|| quantity.to_u32()).flatten()
}

fn fee(order: &Order, (key, name, amount): (&str, &str, Decimal)) -> Row {
    let amount_text = json!(total::written(amount, order.currency));
    let (list, body) = if amount < Decimal::ZERO {
        let body = json!({
            "sku": "__none__", "name": name, "quantity": 1, "subtotal": amount_text, "total": amount_text,
            "tax_class": "0"
        });
        (List::Items, body)
    } else {
        let body = json!({"name": name, "total": amount_text, "tax_status": "none"});
        (List::Fees, body)
    };
    let Value::Object(mut body) = body else {
        unreachable!("both are objects")
    };
    put_meta(&mut body, wire::LINE, &json!(key));
    Row {
        list,
        key: key.to_owned(),
        body,
        product: (0, 0),
    }
}

/// Returns what makes the lines of an order in the store those that it should have. A line without an id would be added
/// to them, so each goes by the one that has its key (facts/mapping-woocommerce.md §3).
pub(super) fn line_changes(current: &wire::Order, order: &Order, links: &Links) -> Body {
    let mut rest: Vec<(List, &wire::Line)> = current.lines().collect();
    let mut changes: Vec<(List, Value)> = Vec::new();
    for row in rows(order, links) {
        let position = rest.iter().position(|(list, line)| {
            let is_same_thing =
                row.list != List::Items || row.product == (line.product_id, line.variation_id);
            *list == row.list && line.key() == row.key && is_same_thing
        });
        let mut body = row.body;
        if let Some(position) = position {
            let (_, line) = rest.remove(position);
            body.insert("id".to_owned(), json!(line.id));
            for field in ["sku", "product_id", "variation_id"] {
                body.remove(field);
            }
            for key in [wire::QUANTITY, wire::UNNAMED, wire::KIND] {
                if line.meta(key).is_some() && !has_meta(&body, key) {
                    put_meta(&mut body, key, &Value::Null);
                }
            }
        }
        changes.push((row.list, Value::Object(body)));
    }
    changes.extend(rest.into_iter().map(|(list, line)| {
        let gone = match list {
            List::Items => json!({"id": line.id, "quantity": 0}),
            List::Shipping => json!({"id": line.id, "method_id": null}),
            List::Fees => json!({"id": line.id, "name": null}),
        };
        (list, gone)
    }));
    let mut body = Body::new();
    for (list, change) in changes {
        let entries = body
            .entry(list.name())
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(entries) = entries {
            entries.push(change);
        }
    }
    body
}

fn has_meta(body: &Body, key: &str) -> bool {
    let entries = body.get("meta_data").and_then(Value::as_array);
    entries.is_some_and(|entries| entries.iter().any(|entry| entry["key"] == key))
}
