//! Orders as WooCommerce can hold them. Pure.

use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{Contact, Email, LineKind, Order, OrderLine, clean_line};
use lockstep_shared::system::System;

use super::super::text;
use super::{status, total, wire};
use crate::connector::Refusal;

/// Returns an order as WooCommerce gives it back after a write of ours.
///
/// One that was placed in the store is what it is. One that was placed elsewhere has its tax in one line, because the
/// store would count it anew, and its amounts in whole cents (facts/mapping-woocommerce.md §3).
pub(super) fn project(order: &Order, settings: &Settings) -> Order {
    if order.origin == Some(System::Woocommerce) {
        return Order {
            status: status::settled(order.status, settings),
            ..order.clone()
        };
    }
    let round = |amount| total::rounded(amount, order.currency);
    let projected = Order {
        number: order.number.clone(),
        origin: order.origin,
        status: status::settled(status::of_ours(order.status), settings),
        currency: order.currency,
        placed_at: order.placed_at,
        customer: order.customer.clone(),
        billing: order.billing.as_ref().map(contact),
        // Goods go somewhere, and nobody is written to there.
        shipping: order.shipping.as_ref().map(|shipping| Contact {
            email: None,
            ..contact(shipping)
        }),
        note: order.note.clone(),
        coupons: order.coupons.clone(),
        lines: order
            .lines
            .iter()
            .map(|line| {
                let (subtotal, total) = total::of_line(line, order.currency);
                OrderLine {
                    key: line.key.clone(),
                    kind: line.kind,
                    product: line.product.clone().filter(|_| line.kind == LineKind::Item),
                    name: line.name.as_deref().map(text::settled),
                    quantity: line.quantity,
                    subtotal,
                    total,
                    taxes: Vec::new(),
                }
            })
            .collect(),
        total_tax: round(order.total_tax),
        total: round(order.total),
    };
    projected.canonical().unwrap_or_else(|_| order.clone())
}

/// An address that WooCommerce takes for none would be refused, with the whole order.
fn contact(contact: &Contact) -> Contact {
    let mut contact = contact.clone();
    contact.email = contact
        .email
        .filter(|email| email.is_ascii() && Email::parse(email).is_some());
    contact.address.name = contact
        .address
        .name
        .map(|name| clean_line(&text::settled(&name)))
        .filter(|name| !name.is_empty());
    contact
}

/// Says why an order can't be written.
pub(super) fn refuses(order: &Order) -> Option<Refusal> {
    if order.origin == Some(System::Woocommerce) {
        return None;
    }
    let reserved = order
        .lines
        .iter()
        .find(|line| matches!(line.key.as_str(), wire::TAX | wire::ROUNDING))?;
    Some(Refusal {
        code: "reserved_line_key".to_owned(),
        message: format!(
            "the line `{}` has the key of a line that makes the sum right",
            reserved.key
        ),
    })
}
