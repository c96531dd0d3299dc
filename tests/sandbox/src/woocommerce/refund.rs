//! Refunds (facts: systems A2, A8, mapping-woocommerce 4).

#[cfg(test)]
mod tests;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::amount;
use super::meta::{self, Meta};
use super::order::{Fee, Line, LineTax, Order, Shipping, TaxLine, keep_count, meta_number};
use super::product::{as_text, whole_number};
use super::refusal::Refusal;
use super::schema::{self, Kind};
use super::shop::Shop;
use super::text;
use crate::ledger::Operation;

/// Money that went back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Refund {
    pub(super) id: u64,
    pub(super) order: u64,
    pub(super) created: i64,
    /// Missing when neither an amount nor lines were sent.
    pub(super) amount: Option<Decimal>,
    pub(super) reason: String,
    pub(super) lines: Vec<Line>,
    pub(super) shippings: Vec<Shipping>,
    pub(super) fees: Vec<Fee>,
    pub(super) taxes: Vec<TaxLine>,
    pub(super) meta: Vec<Meta>,
}

/// What a refund is asked to be.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) amount: Option<Decimal>,
    pub(super) reason: String,
    pub(super) parts: Vec<Part>,
    pub(super) payment: Payment,
    pub(super) restock: Restock,
}

/// A line of the order that is refunded.
#[derive(Debug, Clone)]
pub(super) struct Part {
    item: u64,
    quantity: i64,
    total: Decimal,
    taxes: Vec<(u64, Decimal)>,
}

/// Whether the shop's gateway is to send the money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payment {
    ByGateway,
    ByHand,
}

/// Whether refunded goods go back to the stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restock {
    GiveBack,
    Leave,
}

pub(super) const SCHEMA: &[(&str, Kind)] = &[
    ("amount", Kind::Text),
    ("reason", Kind::Text),
    ("refunded_by", Kind::Integer),
    ("meta_data", Kind::List),
    ("line_items", Kind::List),
    ("api_refund", Kind::Boolean),
    ("api_restock", Kind::Boolean),
];

/// The gateways of a fresh shop; none of them sends money back by itself.
const GATEWAYS: &[&str] = &["bacs", "cheque", "cod"];

/// Refuses with HTTP 500 whatever it was, and a bare number as `data` (facts: systems A2).
fn refuse(code: &str, message: &str, data: u16) -> Refusal {
    Refusal {
        status: 500,
        body: json!({"code": code, "message": message, "data": data}),
    }
}

fn cannot(message: &str) -> Refusal {
    refuse("woocommerce_rest_cannot_create_order_refund", message, 500)
}

pub(super) fn unknown() -> Refusal {
    Refusal::new(
        404,
        "woocommerce_rest_shop_order_refund_invalid_id",
        "Invalid ID.",
    )
}

impl Refund {
    /// Returns the tax in it, which is negative.
    pub(super) fn tax(&self) -> Decimal {
        self.taxes
            .iter()
            .map(|line| line.tax_total + line.shipping_tax_total)
            .sum()
    }

    pub(super) fn key(&self) -> Option<String> {
        meta::marker(&self.meta)
    }
}

impl Asked {
    /// Reads a body: the gateway and the stock are asked unless it says otherwise.
    fn read(body: &Map<String, Value>) -> Self {
        let flag = |name: &str| body.get(name).and_then(schema::as_boolean).unwrap_or(true);
        let rows = body
            .get("line_items")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let parts: Vec<Part> = rows.map(Part::read).collect();
        let sent = body
            .get("amount")
            .map(as_text)
            .filter(|amount| !amount.is_empty());
        let summed = || {
            let sum = parts
                .iter()
                .map(|part| part.total + part.taxes.iter().map(|(_, tax)| *tax).sum::<Decimal>());
            (!parts.is_empty()).then(|| sum.sum())
        };
        Self {
            amount: sent.map(|amount| amount::parse(&amount)).or_else(summed),
            reason: body.get("reason").map(as_text).unwrap_or_default(),
            payment: if flag("api_refund") {
                Payment::ByGateway
            } else {
                Payment::ByHand
            },
            restock: if flag("api_restock") {
                Restock::GiveBack
            } else {
                Restock::Leave
            },
            parts,
        }
    }
}

impl Part {
    fn read(row: &Value) -> Self {
        let taxes = row["refund_tax"].as_array().into_iter().flatten();
        Self {
            item: row["id"].as_u64().unwrap_or_default(),
            quantity: row.get("quantity").and_then(whole_number).unwrap_or_default(),
            total: amount::read(&row["refund_total"]),
            taxes: taxes
                .map(|tax| {
                    (
                        tax["id"].as_u64().unwrap_or_default(),
                        amount::read(&tax["refund_total"]),
                    )
                })
                .filter(|(_, tax)| !tax.is_zero())
                .collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.quantity == 0 && self.total.is_zero() && self.taxes.is_empty()
    }

    fn line_taxes(&self, has_subtotal: bool) -> Vec<LineTax> {
        let each = self.taxes.iter();
        each.map(|(rate, tax)| LineTax {
            rate: *rate,
            total: -*tax,
            subtotal: has_subtotal.then_some(-*tax),
        })
        .collect()
    }
}

impl Shop {
    /// Makes a refund through the API.
    pub(super) fn create_refund(
        &mut self,
        order: u64,
        body: &Map<String, Value>,
        now: i64,
    ) -> Result<u64, Refusal> {
        let Some(mut order) = self.book.orders.get(&order).cloned() else {
            return Err(refuse(
                "woocommerce_rest_invalid_order_id",
                "Invalid order ID.",
                404,
            ));
        };
        let asked = Asked::read(body);
        if asked.amount.is_some_and(|amount| amount < Decimal::ZERO) {
            let message = "Refund amount must be greater than zero.";
            return Err(refuse("woocommerce_rest_invalid_order_refund", message, 400));
        }
        let before = order.clone();
        let id = self.make_refund(&mut order, &asked, now)?;
        if let (Some(list), Some(refund)) = (body.get("meta_data"), self.book.refunds.get_mut(&id)) {
            let next = &mut self.book.next_meta;
            meta::apply(&mut refund.meta, list, next, meta::Owner::Order);
        }
        self.note_refund(id, Operation::Created);
        if order == before {
            self.touch_order(order.id, now);
        } else {
            order.modified = now;
            self.put_order(order);
        }
        Ok(id)
    }

    /// Tells the ledger of a refund.
    fn note_refund(&mut self, id: u64, operation: Operation) {
        if let Some(refund) = self.book.refunds.get(&id) {
            let keys = refund.key().map(|marker| format!("marker:{marker}"));
            self.ledger
                .lives("refund", id, keys.into_iter().collect(), self.origin());
            self.felt("refund", operation, refund, refund.key(), true);
        }
    }

    /// Returns what can still be refunded.
    pub(super) fn refundable(&self, order: &Order) -> Decimal {
        let refunded: Decimal = self
            .book
            .refunds_of(order.id)
            .filter_map(|refund| refund.amount)
            .sum();
        order.totals.total - refunded
    }

    /// Makes a refund of an order, which is changed but not stored.
    ///
    /// A refund that the gateway cannot pay existed for a moment: its id is gone.
    pub(super) fn make_refund(&mut self, order: &mut Order, asked: &Asked, now: i64) -> Result<u64, Refusal> {
        let digits = self.settings.decimals();
        let rest = amount::rounded(self.refundable(order), digits);
        let amount = asked.amount.map(|amount| amount::rounded(amount, digits));
        if amount.is_some_and(|amount| amount < Decimal::ZERO || amount > rest) {
            return Err(cannot("Invalid refund amount."));
        }
        let id = self.next_post;
        self.next_post += 1;
        if asked.payment == Payment::ByGateway {
            let message = if GATEWAYS.contains(&order.payment_method.as_str()) {
                "The payment gateway for this order does not support automatic refunds."
            } else {
                "The payment gateway for this order does not exist."
            };
            return Err(cannot(message));
        }
        let mut refund = Refund {
            id,
            order: order.id,
            created: now,
            amount,
            reason: asked.reason.clone(),
            lines: Vec::new(),
            shippings: Vec::new(),
            fees: Vec::new(),
            taxes: Vec::new(),
            meta: Vec::new(),
        };
        let parts: Vec<&Part> = asked.parts.iter().filter(|part| !part.is_empty()).collect();
        for part in &parts {
            self.copy_part(order, part, &mut refund);
        }
        if asked.restock == Restock::GiveBack {
            for part in &parts {
                self.restock(order, part, now);
            }
        }
        let is_full = self.leaves_nothing(order, rest - amount.unwrap_or_default(), &parts);
        refund.meta.push(Meta {
            id: self.book.next_meta,
            key: "_refund_type".to_owned(),
            value: json!(if is_full { "full" } else { "partial" }),
        });
        self.book.next_meta += 1;
        self.book.refunds_of.insert((order.id, id));
        self.book.refunds.insert(id, refund);
        self.mail_customer(order, "customer_refunded_order");
        if is_full {
            self.move_to(order, "refunded", now);
        }
        Ok(id)
    }

    /// Nothing is left when the money is back, and the goods too where some cost nothing (source: `wc_create_refund`).
    fn leaves_nothing(&self, order: &Order, rest: Decimal, parts: &[&Part]) -> bool {
        if rest > Decimal::ZERO {
            return false;
        }
        let has_free_line = order.lines.iter().any(|line| line.total.is_zero());
        let sold: i64 = order.lines.iter().map(|line| line.quantity).sum();
        let before = self.book.refunds_of(order.id).flat_map(|refund| &refund.lines);
        let back = before.map(|line| -line.quantity).sum::<i64>()
            + parts.iter().map(|part| part.quantity).sum::<i64>();
        !has_free_line || sold - back <= 0
    }

    /// Copies a line of the order with the signs turned round; one that is not of the order is passed over.
    fn copy_part(&mut self, order: &Order, part: &Part, refund: &mut Refund) {
        let link = Meta {
            id: self.book.next_item_meta,
            key: "_refunded_item_id".to_owned(),
            value: json!(part.item.to_string()),
        };
        let taxes = part.line_taxes(false);
        if let Some(line) = order.lines.iter().find(|line| line.id == part.item) {
            refund.lines.push(Line {
                id: self.book.new_item(),
                quantity: -part.quantity,
                subtotal: -part.total,
                total: -part.total,
                taxes: part.line_taxes(true),
                meta: vec![link],
                ..line.clone()
            });
        } else if let Some(line) = order.shippings.iter().find(|line| line.id == part.item) {
            refund.shippings.push(Shipping {
                id: self.book.new_item(),
                total: -part.total,
                taxes,
                meta: vec![link],
                ..line.clone()
            });
        } else if let Some(line) = order.fees.iter().find(|line| line.id == part.item) {
            refund.fees.push(Fee {
                id: self.book.new_item(),
                total: -part.total,
                taxes,
                meta: vec![link],
                ..line.clone()
            });
        } else {
            return;
        }
        self.book.next_item_meta += 1;
        let is_shipping = order.shippings.iter().any(|line| line.id == part.item);
        for (rate, tax) in &part.taxes {
            self.add_tax(*rate, -*tax, is_shipping, refund);
        }
    }

    fn add_tax(&mut self, rate: u64, tax: Decimal, is_shipping: bool, refund: &mut Refund) {
        let (cart, shipping) = if is_shipping {
            (Decimal::ZERO, tax)
        } else {
            (tax, Decimal::ZERO)
        };
        if let Some(line) = refund.taxes.iter_mut().find(|line| line.rate == rate) {
            line.tax_total += cart;
            line.shipping_tax_total += shipping;
        } else if let Some(rate) = self.taxes.rates.get(&rate) {
            refund.taxes.push(TaxLine {
                id: self.book.new_item(),
                rate: rate.id,
                code: rate.code(),
                label: rate.label(),
                is_compound: rate.is_compound(),
                percent: rate.percent(),
                tax_total: cart,
                shipping_tax_total: shipping,
            });
        }
    }

    /// Gives goods back that were taken for a line, and keeps the tally in its meta data.
    fn restock(&mut self, order: &mut Order, part: &Part, now: i64) {
        let Some(line) = order.lines.iter_mut().find(|line| line.id == part.item) else {
            return;
        };
        let taken = meta_number(&line.meta, "_reduced_stock");
        let id = line.stock_id();
        if taken == 0 || part.quantity == 0 || !self.keeps_stock(id) {
            return;
        }
        self.move_stock(id, part.quantity, now);
        keep_count(self, line, "_reduced_stock", taken - part.quantity);
        let back = meta_number(&line.meta, "_restock_refunded_items");
        keep_count(self, line, "_restock_refunded_items", back + part.quantity);
    }

    /// Deletes a refund for good; stock and status of the order stay as they are.
    pub(super) fn remove_refund(&mut self, id: u64) {
        if let Some(refund) = self.book.refunds.remove(&id) {
            self.book.refunds_of.remove(&(refund.order, id));
            self.ledger.is_gone("refund", id);
            self.felt("refund", Operation::Deleted, &refund, refund.key(), true);
        }
    }

    /// Finds a refund of one order.
    pub(super) fn refund(&self, order: u64, id: u64) -> Result<&Refund, Refusal> {
        let refund = self.book.refunds.get(&id).ok_or_else(unknown)?;
        if refund.order == order {
            Ok(refund)
        } else {
            let message = "Invalid order refund ID.";
            Err(Refusal::new(
                404,
                "woocommerce_rest_invalid_order_refund_id",
                message,
            ))
        }
    }

    /// Puts a recorded refund back.
    pub(super) fn put_recorded_refund(&mut self, order: u64, view: &Value) {
        let rows = |name: &str| view[name].as_array().cloned().unwrap_or_default();
        let id = view["id"].as_u64().unwrap_or_default();
        let parts = ["line_items", "shipping_lines", "fee_lines", "tax_lines"];
        for part in parts.iter().flat_map(|name| rows(name)) {
            self.saw_item(&part);
        }
        let refund = Refund {
            id,
            order,
            created: view["date_created_gmt"]
                .as_str()
                .and_then(text::seconds)
                .unwrap_or_default(),
            amount: (view["amount"] != "").then(|| amount::read(&view["amount"])),
            reason: as_text(&view["reason"]),
            lines: rows("line_items")
                .iter()
                .map(super::order::recorded_line)
                .collect(),
            shippings: rows("shipping_lines")
                .iter()
                .map(super::order::recorded_shipping)
                .collect(),
            fees: rows("fee_lines").iter().map(super::order::recorded_fee).collect(),
            taxes: rows("tax_lines")
                .iter()
                .map(super::order::recorded_tax_line)
                .collect(),
            meta: Self::recorded_meta(view),
        };
        let last = refund
            .meta
            .iter()
            .map(|meta| meta.id + 1)
            .max()
            .unwrap_or_default();
        self.book.next_meta = self.book.next_meta.max(last);
        self.put_refund(refund);
    }

    /// Stores a refund that was made elsewhere.
    pub(super) fn put_refund(&mut self, refund: Refund) {
        let id = refund.id;
        self.next_post = self.next_post.max(id + 1);
        self.book.refunds_of.insert((refund.order, id));
        self.book.refunds.insert(id, refund);
        self.note_refund(id, Operation::Created);
    }

    /// Answers a refund; only the list of all refunds says which order it is of.
    pub(super) fn render_refund(&self, refund: &Refund) -> Value {
        let digits = self.settings.decimals();
        let amount = refund
            .amount
            .map(|amount| amount::shown(amount, digits))
            .unwrap_or_default();
        let up = format!("{}/wp-json/wc/v3/orders/{}", self.base_url, refund.order);
        json!({
            "id": refund.id, "date_created": text::iso(refund.created + self.offset_secs),
            "date_created_gmt": text::iso(refund.created), "amount": amount, "reason": refund.reason,
            "refunded_by": 1, "refunded_payment": false, "meta_data": meta::render(&refund.meta),
            "line_items": refund.lines.iter().map(|line| self.render_line(line)).collect::<Value>(),
            "shipping_lines": refund.shippings.iter().map(|line| self.render_shipping(line)).collect::<Value>(),
            "tax_lines": refund.taxes.iter().map(|line| self.render_tax_line(line)).collect::<Value>(),
            "fee_lines": refund.fees.iter().map(|line| self.render_fee(line)).collect::<Value>(),
            "_links": {
                "self": [{"href": format!("{up}/refunds/{}", refund.id)}],
                "collection": [{"href": format!("{up}/refunds")}], "up": [{"href": up}],
            },
        })
    }

    /// Answers a refund with the order it is of.
    pub(super) fn render_refund_of(&self, refund: &Refund) -> Value {
        let mut view = self.render_refund(refund);
        view["parent_id"] = refund.order.into();
        view
    }
}
