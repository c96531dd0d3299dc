//! Orders as WooCommerce answers them, in our form. Pure.

use chrono::{DateTime, Utc};
use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{
    Address, Contact, Content, FieldError, Invalid, LineKind, Order, OrderLine, PartKey, Reference,
    TaxAmount, clean_line,
};
use lockstep_shared::system::System;
use rust_decimal::Decimal;

use super::super::{text, wire as shop};
use super::status::{self, Paid};
use super::wire::{self, List};
use super::{project, total};
use crate::connector::{Parts, Theirs};

/// Returns an order as the connector hands it out.
pub(in super::super) fn theirs(order: &wire::Order, settings: &Settings) -> Theirs {
    let lines = order.lines().filter(|(_, line)| !line.is_makeweight());
    Theirs {
        external_id: order.id.to_string(),
        content: read(order, settings).map(Content::Order),
        parts: lines
            .map(|(_, line)| (PartKey::named(line.key()), line.id.to_string()))
            .collect::<Parts>(),
        marker: order.marker(),
        modified_at: order.date_modified_gmt.map(|at| at.and_utc()),
    }
}

/// Reads an order, as [`project`] leaves it. One that we made says itself where it was placed, and when.
pub(super) fn read(order: &wire::Order, settings: &Settings) -> Result<Order, Invalid> {
    let mut errors = Vec::new();
    let currency = order.currency.parse().unwrap_or_else(|error| {
        errors.push(FieldError::new("currency", format!("{error}")));
        settings.currency
    });
    let placed_at = placed_at(order).unwrap_or_else(|| {
        errors.push(FieldError::new("placed_at", "must be there"));
        DateTime::UNIX_EPOCH
    });
    let silence = order.silence();
    // Of an order that was being placed, the state before was none.
    let before = silence.as_ref().map(|silence| silence.status.as_str());
    let name = before
        .filter(|before| *before != wire::DRAFT)
        .unwrap_or(&order.status);
    let paid = if order.date_paid_gmt.is_some() {
        Paid::Yes
    } else {
        Paid::No
    };
    let customer = silence
        .as_ref()
        .map_or(order.customer_id, |silence| silence.customer);
    let mut lines = Vec::new();
    let mut tax = amount(&order.total_tax, "total_tax", &mut errors);
    for (position, (list, line)) in order.lines().enumerate() {
        let path = format!("lines/{position}");
        if line.is_makeweight() {
            if line.meta(wire::LINE) == Some(wire::TAX) {
                tax += amount(&line.total, &path, &mut errors);
            }
            continue;
        }
        lines.push(line_of(list, line, order, (path, &mut errors)));
    }
    let read = Order {
        number: number(order).to_owned(),
        origin: origin(order),
        status: status::read(name, paid, settings),
        currency,
        placed_at,
        customer: (customer != 0).then(|| Reference::remote(customer.to_string(), None)),
        billing: Some(contact(
            &order.billing,
            silence.map_or_else(|| order.billing.email.clone(), |silence| silence.email),
        )),
        shipping: Some(contact(&order.shipping, String::new())),
        note: Some(order.customer_note.clone()),
        coupons: coupons(order),
        lines,
        total_tax: tax,
        total: amount(&order.total, "total", &mut errors),
    };
    if !errors.is_empty() {
        return Err(Invalid(errors));
    }
    Ok(project::project(&read.canonical()?, settings))
}

fn number(order: &wire::Order) -> &str {
    let own = order.marker().and_then(|_| order.meta(wire::NUMBER));
    own.unwrap_or(&order.number)
}

fn origin(order: &wire::Order) -> Option<System> {
    if order.marker().is_none() {
        return Some(System::Woocommerce);
    }
    (order.meta(wire::ORIGIN) == Some("odoo")).then_some(System::Odoo)
}

fn placed_at(order: &wire::Order) -> Option<DateTime<Utc>> {
    let own = order.marker().and_then(|_| order.meta(wire::PLACED_AT));
    own.and_then(|text| text.parse().ok())
        .or_else(|| Some(order.date_created_gmt?.and_utc()))
}

fn coupons(order: &wire::Order) -> Vec<String> {
    let own = order.marker().and_then(|_| order.meta(wire::COUPONS));
    match own.and_then(|json| serde_json::from_str(json).ok()) {
        Some(codes) => codes,
        None => order
            .coupon_lines
            .iter()
            .map(|coupon| text::settled(&coupon.code))
            .collect(),
    }
}

fn contact(address: &shop::Address, email: String) -> Contact {
    let line = |text: &str| Some(text.to_owned());
    let name = clean_line(&text::settled(&format!(
        "{} {}",
        address.first_name, address.last_name
    )));
    Contact {
        company: line(&address.company),
        email: Some(email),
        phone: line(&address.phone),
        address: Address {
            name: Some(name).filter(|name| !name.is_empty()),
            street: filled(&address.street),
            street2: filled(&address.street2),
            city: filled(&address.city),
            postcode: filled(&address.postcode),
            state: filled(&address.state),
            country: filled(&address.country),
        },
    }
}

fn filled(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.trim().is_empty())
}

fn line_of(
    list: List,
    line: &wire::Line,
    order: &wire::Order,
    (path, errors): (String, &mut Vec<FieldError>),
) -> OrderLine {
    let mut number = |text: &str, field: &str| amount(text, &format!("{path}/{field}"), errors);
    let total = number(&line.total, "total");
    let kind = match (list, line.meta(wire::KIND)) {
        (List::Shipping, _) | (List::Items, Some("shipping")) => LineKind::Shipping,
        (List::Fees, _) | (List::Items, Some("fee")) => LineKind::Fee,
        (List::Items, _) => LineKind::Item,
    };
    let own_quantity = line.meta(wire::QUANTITY);
    let quantity = match (own_quantity, list) {
        (Some(own), _) => number(own, "quantity"),
        (None, List::Items) => number(&line.quantity, "quantity"),
        (None, List::Shipping | List::Fees) => Decimal::ONE,
    };
    let subtotal = match list {
        List::Items => number(&line.subtotal, "subtotal"),
        List::Shipping | List::Fees => total,
    };
    let taxes: Vec<TaxAmount> = line
        .taxes
        .iter()
        .map(|tax| TaxAmount {
            amount: number(&tax.total, "taxes"),
            ..rate(order, tax.id)
        })
        .filter(|tax| !tax.amount.is_zero())
        .collect();
    OrderLine {
        key: PartKey::named(line.key()),
        kind,
        product: (line.product_id != 0).then(|| {
            let variation = (line.variation_id != 0).then(|| line.variation_id.to_string());
            Reference::remote(line.product_id.to_string(), variation)
        }),
        name: name_of(list, line),
        quantity,
        subtotal,
        total,
        taxes,
    }
}

/// A quantity that is not a whole number stands in the name as well (facts/mapping-woocommerce.md §3).
fn name_of(list: List, line: &wire::Line) -> Option<String> {
    if line.meta(wire::UNNAMED).is_some() {
        return None;
    }
    let name = match list {
        List::Shipping => &line.method_title,
        List::Items | List::Fees => &line.name,
    };
    let name = text::settled(name);
    let prefix = line.meta(wire::QUANTITY).map(super::write::quantity_prefix);
    let bare = prefix.and_then(|prefix| name.strip_prefix(&prefix).map(str::to_owned));
    Some(bare.unwrap_or(name))
}

/// Returns what the order says about a rate.
fn rate(order: &wire::Order, id: u64) -> TaxAmount {
    let line = order.tax_lines.iter().find(|line| line.rate_id == id);
    TaxAmount {
        name: line.map(|line| text::settled(&line.label)),
        rate: line.and_then(|line| line.rate_percent.parse().ok()),
        amount: Decimal::ZERO,
    }
}

fn amount(text: &str, path: &str, errors: &mut Vec<FieldError>) -> Decimal {
    total::read(text).unwrap_or_else(|| {
        errors.push(FieldError::new(
            path,
            format!("must be a plain number, not `{text}`"),
        ));
        Decimal::ZERO
    })
}
