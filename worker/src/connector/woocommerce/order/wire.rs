//! What we read of WooCommerce's orders, and the names under which we keep what they have no field for.

use chrono::NaiveDateTime;
use lockstep_shared::id::RecordId;
use serde::{Deserialize, Serialize};

use super::super::wire::{self, Address, Meta, list, number, text, time};

/// Meta of an order that we made: the record. Orders keep keys with an underscore (facts/mapping-woocommerce.md §2).
pub(in super::super) const MARKER: &str = "_lockstep_record";

/// Where it was placed: `odoo` or `application`.
pub(super) const ORIGIN: &str = "_lockstep_origin";

/// The number it has there; WooCommerce's own can't be chosen (facts/mapping-woocommerce.md §3).
pub(super) const NUMBER: &str = "_lockstep_number";

/// When it was placed; `date_created` can't be chosen either.
pub(super) const PLACED_AT: &str = "_lockstep_placed_at";

/// Codes of its coupons, as a JSON list. As coupon lines they would be applied once more.
pub(super) const COUPONS: &str = "_lockstep_coupons";

/// Meta of a line: its key.
pub(super) const LINE: &str = "_lockstep_line";

/// Its quantity, where that is not a whole number of pieces.
pub(super) const QUANTITY: &str = "_lockstep_quantity";

/// Its kind, where it could not be written as what it is.
pub(super) const KIND: &str = "_lockstep_kind";

/// Says that its name is only there because a line must have one.
pub(super) const UNNAMED: &str = "_lockstep_unnamed";

/// What was taken from an order for a moment, so that a write sends no mail: see [`Silence`].
pub(in super::super) const SILENCE: &str = "_lockstep_silence";

/// Meta of a payment that we noted on an order: its record.
pub(in super::super) const PAYMENT: &str = "_lockstep_payment";

/// What we put into `created_via`, by which a list can be narrowed (facts/systems.md A7).
pub(super) const CREATED_VIA: &str = "lockstep";

/// The line that holds all taxes, and the one that makes up what rounding leaves.
pub(in super::super) const TAX: &str = "tax";
pub(in super::super) const ROUNDING: &str = "rounding";

/// The state of an order that nobody sees yet, and which WooCommerce deletes after a day (facts/mapping-woocommerce.md
/// §3).
pub(in super::super) const DRAFT: &str = "checkout-draft";

/// The fields of [`Order`], so that the server need not send the rest.
pub(in super::super) const ORDER_FIELDS: &str = "id,status,currency,date_created_gmt,date_modified_gmt,date_paid_gmt,\
     customer_id,billing,shipping,payment_method,transaction_id,customer_note,number,total,total_tax,meta_data,\
     line_items,tax_lines,shipping_lines,fee_lines,coupon_lines";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Order {
    #[serde(deserialize_with = "number")]
    pub(in super::super) id: u64,
    #[serde(deserialize_with = "text")]
    pub(in super::super) status: String,
    #[serde(deserialize_with = "text")]
    pub(in super::super) currency: String,
    #[serde(deserialize_with = "time")]
    pub(in super::super) date_created_gmt: Option<NaiveDateTime>,
    #[serde(deserialize_with = "time")]
    pub(in super::super) date_modified_gmt: Option<NaiveDateTime>,
    #[serde(deserialize_with = "time")]
    pub(in super::super) date_paid_gmt: Option<NaiveDateTime>,
    /// 0 for a guest.
    #[serde(deserialize_with = "number")]
    pub(in super::super) customer_id: u64,
    pub(in super::super) billing: Address,
    pub(in super::super) shipping: Address,
    #[serde(deserialize_with = "text")]
    pub(in super::super) payment_method: String,
    #[serde(deserialize_with = "text")]
    pub(in super::super) transaction_id: String,
    #[serde(deserialize_with = "text")]
    pub(in super::super) customer_note: String,
    #[serde(deserialize_with = "text")]
    pub(in super::super) number: String,
    #[serde(deserialize_with = "text")]
    pub(in super::super) total: String,
    #[serde(deserialize_with = "text")]
    pub(in super::super) total_tax: String,
    #[serde(deserialize_with = "list")]
    pub(in super::super) meta_data: Vec<Meta>,
    #[serde(deserialize_with = "list")]
    pub(in super::super) line_items: Vec<Line>,
    #[serde(deserialize_with = "list")]
    pub(in super::super) shipping_lines: Vec<Line>,
    #[serde(deserialize_with = "list")]
    pub(in super::super) fee_lines: Vec<Line>,
    #[serde(deserialize_with = "list")]
    pub(in super::super) tax_lines: Vec<TaxLine>,
    #[serde(deserialize_with = "list")]
    pub(in super::super) coupon_lines: Vec<Coupon>,
}

impl Order {
    pub(in super::super) fn marker(&self) -> Option<RecordId> {
        wire::marker(&self.meta_data, MARKER)
    }

    pub(in super::super) fn meta(&self, key: &str) -> Option<&str> {
        wire::meta(&self.meta_data, key)
    }

    /// Returns the number that the order has where it was placed, where it says one.
    pub(in super::super) fn own_number(&self) -> Option<&str> {
        self.meta(NUMBER)
    }

    pub(in super::super) fn is_draft(&self) -> bool {
        matches!(self.status.as_str(), DRAFT | "auto-draft")
    }

    pub(in super::super) fn silence(&self) -> Option<Silence> {
        serde_json::from_str(self.meta(SILENCE)?).ok()
    }

    /// Says whom the order would mail: its billing address, or that of its account where it has none.
    pub(in super::super) fn has_reader(&self) -> bool {
        self.customer_id != 0 || !self.billing.email.trim().is_empty()
    }

    pub(in super::super) fn lines(&self) -> impl Iterator<Item = (List, &Line)> {
        let of = |list: List, lines: &'_ Vec<Line>| -> Vec<(List, usize)> {
            (0..lines.len()).map(|at| (list, at)).collect()
        };
        let all = [
            of(List::Items, &self.line_items),
            of(List::Shipping, &self.shipping_lines),
            of(List::Fees, &self.fee_lines),
        ];
        all.into_iter().flatten().map(|(list, at)| {
            let line = match list {
                List::Items => &self.line_items[at],
                List::Shipping => &self.shipping_lines[at],
                List::Fees => &self.fee_lines[at],
            };
            (list, line)
        })
    }
}

/// What an order had before its address was taken out of reach of its mails. It stands in the order itself from the
/// moment it is taken until it is back, so that whoever finds the order in between knows what it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in super::super) struct Silence {
    pub(in super::super) status: String,
    pub(in super::super) email: String,
    pub(in super::super) customer: u64,
}

impl Silence {
    pub(in super::super) fn of(order: &Order) -> Self {
        order.silence().unwrap_or_else(|| Self {
            status: order.status.clone(),
            email: order.billing.email.clone(),
            customer: order.customer_id,
        })
    }
}

/// The lists in which an order's lines stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum List {
    Items,
    Shipping,
    Fees,
}

impl List {
    pub(in super::super) const fn name(self) -> &'static str {
        match self {
            Self::Items => "line_items",
            Self::Shipping => "shipping_lines",
            Self::Fees => "fee_lines",
        }
    }
}

/// A line of any list; what it has not is empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Line {
    #[serde(deserialize_with = "number")]
    pub(in super::super) id: u64,
    #[serde(deserialize_with = "text")]
    pub(in super::super) name: String,
    /// The name of a line of shipping.
    #[serde(deserialize_with = "text")]
    pub(in super::super) method_title: String,
    #[serde(deserialize_with = "number")]
    pub(in super::super) product_id: u64,
    #[serde(deserialize_with = "number")]
    pub(in super::super) variation_id: u64,
    #[serde(deserialize_with = "text")]
    pub(in super::super) quantity: String,
    #[serde(deserialize_with = "text")]
    pub(in super::super) subtotal: String,
    #[serde(deserialize_with = "text")]
    pub(in super::super) total: String,
    #[serde(deserialize_with = "text")]
    pub(in super::super) total_tax: String,
    #[serde(deserialize_with = "list")]
    pub(in super::super) taxes: Vec<LineTax>,
    #[serde(deserialize_with = "list")]
    pub(in super::super) meta_data: Vec<Meta>,
}

impl Line {
    pub(in super::super) fn meta(&self, key: &str) -> Option<&str> {
        wire::meta(&self.meta_data, key)
    }

    /// Returns the key by which the line is known: ours where we wrote it, otherwise its id.
    pub(in super::super) fn key(&self) -> String {
        self.meta(LINE).map_or_else(|| self.id.to_string(), str::to_owned)
    }

    /// Says whether the line only makes the sum right.
    pub(in super::super) fn is_makeweight(&self) -> bool {
        matches!(self.meta(LINE), Some(TAX | ROUNDING))
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct LineTax {
    /// Of the rate.
    #[serde(deserialize_with = "number")]
    pub(in super::super) id: u64,
    #[serde(deserialize_with = "text")]
    pub(in super::super) total: String,
}

/// What an order says about a rate of its lines.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct TaxLine {
    #[serde(deserialize_with = "number")]
    pub(in super::super) rate_id: u64,
    #[serde(deserialize_with = "text")]
    pub(in super::super) label: String,
    #[serde(deserialize_with = "text")]
    pub(in super::super) rate_percent: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Coupon {
    #[serde(deserialize_with = "text")]
    pub(in super::super) code: String,
}
