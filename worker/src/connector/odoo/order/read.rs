//! Orders as Odoo holds them, as records. Pure.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDateTime, Utc};
use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{
    Contact, Content, FieldError, Invalid, LineKind, Order, OrderLine, PartKey, Reference,
};
use lockstep_shared::id::RecordId;
use lockstep_shared::system::{EntityType, System};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Number, Value};

use super::super::super::{Parts, Theirs};
use super::super::cursor::Second;
use super::super::html;
use super::super::name;
use super::super::place::Places;
use super::super::web::Shape;
use super::super::wire::{decimal, falsy, round};
use super::contact::{self, Person};
use super::line::{self, CENTS, Discounts, Service};
use super::people::Partners;
use super::setup::Columns;
use super::state::{self, State};
use super::tax::Taxes;

pub(in super::super) const MODEL: &str = "sale.order";
pub(super) const LINE: &str = "sale.order.line";

const DATETIME: &str = "%Y-%m-%d %H:%M:%S";

#[derive(Clone, Debug, Deserialize)]
pub(super) struct OrderRow {
    pub(super) id: i64,
    #[serde(deserialize_with = "falsy")]
    pub(super) name: Option<String>,
    state: String,
    #[serde(default)]
    locked: bool,
    #[serde(deserialize_with = "falsy")]
    pub(super) client_order_ref: Option<String>,
    #[serde(deserialize_with = "falsy")]
    pub(super) origin: Option<String>,
    #[serde(deserialize_with = "falsy")]
    date_order: Option<String>,
    #[serde(deserialize_with = "falsy")]
    note: Option<String>,
    pub(super) currency_id: Named,
    amount_tax: Number,
    amount_total: Number,
    pub(super) partner_id: Person,
    #[serde(deserialize_with = "falsy")]
    pub(super) partner_invoice_id: Option<Person>,
    #[serde(deserialize_with = "falsy")]
    pub(super) partner_shipping_id: Option<Person>,
    pub(super) order_line: Vec<LineRow>,
    #[serde(default, deserialize_with = "falsy")]
    write_date: Option<Second>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Named {
    pub(super) id: i64,
    pub(super) name: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct LineRow {
    pub(super) id: i64,
    #[serde(deserialize_with = "falsy")]
    pub(super) name: Option<String>,
    pub(super) sequence: i64,
    #[serde(deserialize_with = "falsy")]
    display_type: Option<String>,
    #[serde(deserialize_with = "falsy")]
    product_id: Option<ProductRow>,
    product_uom_qty: Number,
    price_unit: Number,
    price_subtotal: Number,
    price_tax: Number,
    /// Its name until version 18 was `tax_id`.
    #[serde(alias = "tax_id")]
    pub(super) tax_ids: Vec<i64>,
    #[serde(default)]
    extra_tax_data: Value,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct ProductRow {
    pub(super) id: i64,
    product_tmpl_id: i64,
    #[serde(deserialize_with = "falsy")]
    default_code: Option<String>,
    #[serde(rename = "product_template_attribute_value_ids")]
    values: Vec<i64>,
}

impl ProductRow {
    /// The only variant of a simple product goes by its template alone: it is no part of its own.
    fn reference(&self) -> Reference {
        let part = (!self.values.is_empty()).then(|| self.id.to_string());
        Reference::remote(self.product_tmpl_id.to_string(), part)
    }
}

pub(super) fn shape(columns: &Columns) -> Shape {
    let product = Shape::new(
        "product.product",
        &[
            "product_tmpl_id",
            "default_code",
            "product_template_attribute_value_ids",
        ],
    );
    let mut fields = vec![
        "name",
        "sequence",
        "display_type",
        "product_uom_qty",
        "price_unit",
        "price_subtotal",
        "price_tax",
        columns.tax,
    ];
    fields.extend(columns.is_forced.then_some("extra_tax_data"));
    let mut head = vec![
        "name",
        "state",
        "client_order_ref",
        "origin",
        "date_order",
        "note",
        "amount_tax",
        "amount_total",
        "write_date",
    ];
    head.extend(columns.can_lock.then_some("locked"));
    Shape::new(MODEL, &head)
        .with("currency_id", Shape::new("res.currency", &["name"]))
        .with("partner_id", contact::shape())
        .with("partner_invoice_id", contact::shape())
        .with("partner_shipping_id", contact::shape())
        .with(
            "order_line",
            Shape::new(LINE, &fields).with("product_id", product),
        )
}

/// What is needed beside the rows to read them.
pub(super) struct Reader<'a> {
    /// Orders of ours, by their ids.
    pub(super) ours: &'a BTreeMap<i64, RecordId>,
    /// External ids of their lines.
    pub(super) names: &'a BTreeMap<i64, String>,
    pub(super) taxes: &'a Taxes,
    pub(super) places: &'a Places,
    pub(super) settings: &'a Settings,
}

impl OrderRow {
    pub(super) fn state(&self) -> Option<State> {
        State::parse(&self.state)
    }

    /// Once `done` was the state of an order that is locked.
    pub(super) fn is_locked(&self) -> bool {
        self.locked || self.state == "done"
    }

    /// Whom it is for; where it names nobody for its addresses, they are the customer's.
    pub(super) fn partners(&self) -> Partners {
        let customer = self.partner_id.id;
        let or = |person: &Option<Person>, otherwise| person.as_ref().map_or(otherwise, |person| person.id);
        let invoice = or(&self.partner_invoice_id, customer);
        Partners {
            customer,
            invoice,
            shipping: or(&self.partner_shipping_id, invoice),
        }
    }

    /// Whose addresses it shows.
    pub(super) fn shown(&self) -> Vec<(PartKey, String)> {
        self.partners().shown()
    }

    pub(super) fn placed_at(&self) -> Option<DateTime<Utc>> {
        let text = self.date_order.as_deref()?;
        Some(NaiveDateTime::parse_from_str(text, DATETIME).ok()?.and_utc())
    }

    pub(super) fn note(&self) -> Option<String> {
        let text = html::to_text(self.note.as_deref()?);
        (!text.is_empty()).then_some(text)
    }

    pub(super) fn total(&self) -> Decimal {
        round(decimal(&self.amount_total), CENTS)
    }

    pub(super) fn total_tax(&self) -> Decimal {
        round(decimal(&self.amount_tax), CENTS)
    }

    /// Where the order was placed, and its number there. What we made says so in its source document, which people may
    /// change.
    fn origin(&self, is_ours: bool) -> (Option<System>, String) {
        let name = self.name.clone().unwrap_or_default();
        if !is_ours {
            return (Some(System::Odoo), name);
        }
        let told = self.origin.as_deref().and_then(parse_origin);
        told.unwrap_or_else(|| {
            let number = self.client_order_ref.clone();
            match name.strip_prefix(WOOCOMMERCE) {
                Some(rest) => (
                    Some(System::Woocommerce),
                    number.unwrap_or_else(|| rest.to_owned()),
                ),
                None => (None, number.unwrap_or(name)),
            }
        })
    }
}

impl LineRow {
    pub(super) fn product(&self) -> Option<i64> {
        self.product_id.as_ref().map(|product| product.id)
    }

    pub(super) fn service(&self) -> Option<Service> {
        Service::parse(self.product_id.as_ref()?.default_code.as_deref()?)
    }

    pub(super) fn quantity(&self) -> Decimal {
        decimal(&self.product_uom_qty)
    }

    pub(super) fn net(&self) -> Decimal {
        round(decimal(&self.price_subtotal), CENTS)
    }

    /// Before discounts.
    pub(super) fn gross(&self) -> Decimal {
        round(decimal(&self.price_unit) * self.quantity(), CENTS)
    }

    pub(super) fn tax(&self) -> Decimal {
        round(decimal(&self.price_tax), CENTS)
    }

    pub(super) const fn forced(&self) -> &Value {
        &self.extra_tax_data
    }

    /// Sections and notes are no lines of what was bought.
    pub(super) const fn is_text(&self) -> bool {
        self.display_type.is_some()
    }
}

/// Begins the names of orders that were placed in WooCommerce.
const WOOCOMMERCE: &str = "WOO/";

/// Names an order in Odoo: names are not unique there (facts/mapping-odoo.md §3).
pub(super) fn order_name(order: &Order) -> String {
    match order.origin {
        Some(System::Woocommerce) => format!("{WOOCOMMERCE}{}", order.number),
        Some(System::Odoo) | None => order.number.clone(),
    }
}

/// The source document of an order: where it was placed, and its number there.
pub(super) fn origin_text(order: &Order) -> String {
    let system = match order.origin {
        Some(System::Woocommerce) => "WooCommerce",
        Some(System::Odoo) => "Odoo",
        None => "Lockstep",
    };
    format!("{system} {}", order.number)
}

fn parse_origin(text: &str) -> Option<(Option<System>, String)> {
    let (system, number) = text.split_once(' ')?;
    let system = match system {
        "WooCommerce" => Some(System::Woocommerce),
        "Odoo" => Some(System::Odoo),
        "Lockstep" => None,
        _ => return None,
    };
    Some((system, number.to_owned())).filter(|(_, number)| !number.is_empty())
}

/// Writes a time as Odoo does: UTC, without a zone.
pub(super) fn datetime(at: DateTime<Utc>) -> String {
    at.format(DATETIME).to_string()
}

/// All taxes that lines have.
pub(super) fn taxes_of(orders: &[OrderRow]) -> BTreeSet<i64> {
    let lines = orders.iter().flat_map(|order| &order.order_line);
    lines.flat_map(|line| line.tax_ids.iter().copied()).collect()
}

impl Reader<'_> {
    pub(super) fn theirs(&self, row: &OrderRow) -> Theirs {
        let record = self.ours.get(&row.id).copied();
        let (content, parts) = self.content(row, record);
        Theirs {
            external_id: row.id.to_string(),
            content,
            parts,
            marker: record,
            modified_at: row.write_date.map(DateTime::from),
        }
    }

    fn content(&self, row: &OrderRow, record: Option<RecordId>) -> (Result<Content, Invalid>, Parts) {
        let (origin, number) = row.origin(record.is_some());
        let discounts = discounts(origin);
        let lines: Vec<(OrderLine, i64)> = row
            .order_line
            .iter()
            .filter_map(|line| Some((self.line(line, record, discounts)?, line.id)))
            .collect();
        let parts = lines
            .iter()
            .map(|(line, id)| (line.key.clone(), id.to_string()))
            .chain(row.shown())
            .collect();
        let wrong = |field: &str, what: &str| Err(Invalid(vec![FieldError::new(field, what)]));
        let Some(status) = row.state().map(|state| state.status(self.settings)) else {
            return (wrong("status", "must be one of Odoo's own"), parts);
        };
        let Some(placed_at) = row.placed_at() else {
            return (wrong("placed_at", "must be there"), parts);
        };
        let Ok(currency) = row.currency_id.name.parse() else {
            return (wrong("currency", "must be a code of three letters"), parts);
        };
        let contact = |person: Option<&Person>| -> Option<Contact> { person?.contact(self.places) };
        let order = Order {
            number,
            origin,
            status,
            currency,
            placed_at,
            customer: row
                .partner_id
                .customer()
                .map(|id| Reference::remote(id.to_string(), None)),
            billing: contact(row.partner_invoice_id.as_ref().or(Some(&row.partner_id))),
            shipping: contact(row.partner_shipping_id.as_ref()),
            note: row.note(),
            coupons: Vec::new(),
            lines: lines.into_iter().map(|(line, _)| line).collect(),
            total_tax: row.total_tax(),
            total: row.total(),
        };
        let read = Content::Order(order).canonical().map(|content| match content {
            Content::Order(order) => Content::Order(project(&order, self.settings, Some(self.places))),
            other => other,
        });
        (read.and_then(Content::canonical), parts)
    }

    /// The key of a line: what we gave it, or its id.
    pub(super) fn key(&self, line: &LineRow, record: Option<RecordId>) -> PartKey {
        let ours = record.and_then(|record| self.own_key(line, record));
        ours.unwrap_or_else(|| PartKey::named(line.id.to_string()))
    }

    pub(super) fn is_ours(&self, line: &LineRow, record: RecordId) -> bool {
        self.own_key(line, record).is_some()
    }

    fn own_key(&self, line: &LineRow, record: RecordId) -> Option<PartKey> {
        name::line_key(record, self.names.get(&line.id)?)
    }

    pub(super) fn line(
        &self,
        row: &LineRow,
        record: Option<RecordId>,
        discounts: Discounts,
    ) -> Option<OrderLine> {
        let service = row.service();
        if row.is_text() || service == Some(Service::Round) {
            return None;
        }
        let product = row.product_id.as_ref().filter(|_| service.is_none());
        let read = OrderLine {
            key: self.key(row, record),
            kind: service.map_or(LineKind::Item, Service::kind),
            product: product.map(ProductRow::reference),
            name: row.name.clone(),
            quantity: row.quantity(),
            subtotal: row.gross(),
            total: row.net(),
            taxes: self
                .taxes
                .amounts(&row.tax_ids, row.tax(), row.net(), row.forced()),
        };
        line::project(&read, discounts)
    }
}

pub(super) const fn discounts(origin: Option<System>) -> Discounts {
    match origin {
        Some(System::Odoo) => Discounts::Held,
        Some(System::Woocommerce) | None => Discounts::InTotals,
    }
}

/// Returns the order as Odoo can hold it.
///
/// Codes of coupons have no place there: their discounts are in the lines (facts/mapping-odoo.md §3). The taxes of an
/// order that was not placed in Odoo are those of its lines, and what its total is more than both stands on a line of
/// its own, which is not read back.
pub(in super::super) fn project(order: &Order, settings: &Settings, places: Option<&Places>) -> Order {
    let mut projected = order.clone();
    projected.status = state::project(order.status, settings);
    projected.billing = projected
        .billing
        .and_then(|contact| contact::project(contact, places));
    projected.shipping = projected
        .shipping
        .and_then(|contact| contact::project(contact, places));
    projected.note = projected.note.map(|note| html::to_text(&html::to_html(&note)));
    projected.coupons = Vec::new();
    let discounts = discounts(order.origin);
    projected.lines = order
        .lines
        .iter()
        .filter_map(|line| line::project(line, discounts))
        .collect();
    projected.total = round(order.total, CENTS);
    projected.total_tax = match discounts {
        Discounts::Held => round(order.total_tax, CENTS),
        Discounts::InTotals => projected
            .lines
            .iter()
            .map(OrderLine::tax)
            .sum::<Decimal>()
            .normalize(),
    };
    projected
}

/// Reads which orders are ours out of their external ids.
pub(super) fn ours(external_ids: &BTreeMap<i64, String>) -> BTreeMap<i64, RecordId> {
    let named = external_ids.iter();
    named
        .filter_map(|(id, text)| Some((*id, name::record_in(EntityType::Orders, text)?)))
        .collect()
}
