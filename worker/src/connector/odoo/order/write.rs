//! Writing orders: their rows, and which of them differ from what is there. Pure.
//!
//! Source: facts/mapping-odoo.md §3. A new order is one record of one `load`, lines and all, each with an external id of
//! its own: loading it again changes it and doubles nothing. Of an order that is there only the columns that differ are
//! written, by database ids: a column that is written with the same value still posts messages.

use std::collections::BTreeMap;

use lockstep_shared::entity::{LineKind, Order, OrderLine, PartKey, clean_line};
use lockstep_shared::id::RecordId;
use rust_decimal::Decimal;

use super::super::super::{Links, Parts, Refusal, Step};
use super::super::html;
use super::super::load::Source;
use super::super::name;
use super::super::write::{Draft, DraftRow};
use super::line::{self, Discounts, Priced, Service};
use super::people::Partners;
use super::read::{self, LINE, LineRow, MODEL, OrderRow};
use super::setup::{Columns, Setup};

/// Cells by their columns.
pub(super) type Cells = Vec<(&'static str, String)>;

/// What a line should be, in Odoo's terms.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LineWish {
    pub(super) key: PartKey,
    pub(super) external_id: String,
    pub(super) product: i64,
    pub(super) name: String,
    pub(super) priced: Priced,
}

/// What lines are made of that is not in them.
pub(super) struct Stock<'a> {
    pub(super) record: RecordId,
    pub(super) links: &'a Links,
    pub(super) setup: &'a Setup,
    /// The only variant of simple products, by template.
    pub(super) variants: &'a BTreeMap<i64, i64>,
    pub(super) discounts: Discounts,
}

impl Stock<'_> {
    /// The variant that a line is about, where Odoo has it.
    fn variant(&self, line: &OrderLine) -> Option<i64> {
        let product = line.product.as_ref()?;
        let found = self.links.find(product)?;
        match self.links.part(product) {
            Some(id) => id.parse().ok(),
            None if product.target()?.part.is_empty() => {
                self.variants.get(&found.external_id.parse().ok()?).copied()
            }
            None => None,
        }
    }

    /// The service that a line stands on, where it is about no product that Odoo has.
    pub(super) fn service(&self, line: &OrderLine) -> Option<Service> {
        let has_product = line.kind == LineKind::Item && self.variant(line).is_some();
        (!has_product).then(|| Service::of(line.kind))
    }

    pub(super) fn wish(&self, line: &OrderLine) -> Result<LineWish, Refusal> {
        let product = match self.service(line) {
            Some(service) => self.setup.services.get(&service).copied(),
            None => self.variant(line),
        };
        let mut taxes: Vec<(i64, Decimal)> = Vec::new();
        for tax in &line.taxes {
            let id = self
                .setup
                .taxes
                .find(tax.rate)
                .ok_or_else(|| not_set_up("a tax"))?;
            taxes.push((id, tax.amount));
        }
        Ok(LineWish {
            key: line.key.clone(),
            external_id: name::order_line(self.record, &line.key),
            product: product.ok_or_else(|| not_set_up("a product"))?,
            name: line.name.clone().unwrap_or_default(),
            priced: Priced::new(line, self.discounts, taxes),
        })
    }

    pub(super) fn round(&self, amount: Decimal) -> Result<LineWish, Refusal> {
        let product = self.setup.services.get(&Service::Round).copied();
        Ok(LineWish {
            key: PartKey::default(),
            external_id: name::order_round(self.record),
            product: product.ok_or_else(|| not_set_up("a product"))?,
            name: Service::Round.title().to_owned(),
            priced: Priced::residual(amount),
        })
    }

    /// All lines of an order, with the one that makes up for the difference to its total.
    pub(super) fn wishes(&self, order: &Order) -> Result<Vec<LineWish>, Refusal> {
        let mut wishes: Vec<LineWish> = order
            .lines
            .iter()
            .map(|line| self.wish(line))
            .collect::<Result<_, _>>()?;
        let residual = self.residual(order);
        if !residual.is_zero() && self.setup.columns.is_forced {
            wishes.push(self.round(residual)?);
        }
        Ok(wishes)
    }

    /// Odoo computes the totals of its own orders itself.
    pub(super) fn residual(&self, order: &Order) -> Decimal {
        match self.discounts {
            Discounts::Held => Decimal::ZERO,
            Discounts::InTotals => line::residual(order.total, &order.lines),
        }
    }
}

fn not_set_up(what: &str) -> Refusal {
    Refusal {
        code: "not_set_up".to_owned(),
        message: format!("{what} that the order needs could not be made in Odoo"),
    }
}

impl LineWish {
    fn product_cell(&self) -> Cells {
        vec![("product_id/.id", self.product.to_string())]
    }

    fn name_cell(&self) -> Cells {
        vec![("name", self.name.clone())]
    }

    /// The amounts hang together: what is forced holds only beside the price and quantity that it was computed for.
    fn amount_cells(&self, columns: &Columns, currency: i64) -> Cells {
        let priced = &self.priced;
        let taxes: Vec<String> = priced.taxes.iter().map(|(id, _)| id.to_string()).collect();
        let mut cells = vec![
            ("product_uom_qty", priced.quantity.to_string()),
            ("price_unit", priced.price_unit.to_string()),
            ("discount", priced.discount.to_string()),
            (tax_column(columns), taxes.join(",")),
        ];
        if columns.is_forced {
            cells.push(("extra_tax_data", priced.forcing(currency)));
        }
        if columns.is_technical {
            // Otherwise an edit of the quantity puts the list price in the place of ours.
            cells.push(("technical_price_unit", "0".to_owned()));
        }
        cells
    }

    fn all_cells(&self, columns: &Columns, currency: i64) -> Cells {
        let mut cells = self.product_cell();
        cells.extend(self.name_cell());
        cells.extend(self.amount_cells(columns, currency));
        cells
    }

    /// The cells of a line that is there which differ. `held` is what the line is read as.
    pub(super) fn differing(
        &self,
        row: &LineRow,
        (wanted, held): (Option<&OrderLine>, Option<&OrderLine>),
        columns: &Columns,
        currency: i64,
    ) -> Cells {
        let mut cells = Cells::new();
        if row.product() != Some(self.product) {
            cells.extend(self.product_cell());
        }
        if clean_line(row.name.as_deref().unwrap_or_default()) != clean_line(&self.name) {
            cells.extend(self.name_cell());
        }
        let amounts = |line: &OrderLine| (line.quantity, line.subtotal, line.total, line.taxes.clone());
        let is_same = match (wanted, held) {
            (Some(wanted), Some(held)) => amounts(wanted) == amounts(held),
            // A line for the rest, which is no line of the order.
            (None, _) => row.net() == self.priced.net && row.tax().is_zero(),
            (Some(_), None) => false,
        };
        if !is_same {
            cells.extend(self.amount_cells(columns, currency));
        }
        cells
    }
}

const fn tax_column(columns: &Columns) -> &'static str {
    if columns.is_new_tax() {
        "tax_ids/.id"
    } else {
        "tax_id/.id"
    }
}

/// The cells of an order's head that stand for its fields. No salesperson: it would be told of everything.
pub(super) fn head(order: &Order, partners: Partners, pricelist: i64) -> Cells {
    let mut cells = numbers(order);
    cells.extend(partner_cells(partners));
    cells.push(("date_order", read::datetime(order.placed_at)));
    cells.push(("note", note(order)));
    cells.push(("pricelist_id/.id", pricelist.to_string()));
    cells
}

fn numbers(order: &Order) -> Cells {
    vec![
        ("name", read::order_name(order)),
        ("client_order_ref", order.number.clone()),
        ("origin", read::origin_text(order)),
    ]
}

fn partner_cells(partners: Partners) -> Cells {
    vec![
        ("partner_id/.id", partners.customer.to_string()),
        ("partner_invoice_id/.id", partners.invoice.to_string()),
        ("partner_shipping_id/.id", partners.shipping.to_string()),
    ]
}

fn note(order: &Order) -> String {
    order.note.as_deref().map(html::to_html).unwrap_or_default()
}

/// The cells of a head that differ from what is there, of those whose fields change. What was made elsewhere has a
/// number of its own there.
pub(super) fn differing_head(
    order: &Order,
    row: &OrderRow,
    partners: Option<Partners>,
    pricelist: Option<i64>,
    changes: impl Fn(&str) -> bool,
) -> Cells {
    let mut cells = Cells::new();
    if changes("number") || changes("origin") {
        let there = [&row.name, &row.client_order_ref, &row.origin];
        let wanted = if read::discounts(order.origin) == Discounts::Held {
            Cells::new()
        } else {
            numbers(order)
        };
        let differing = wanted.into_iter().zip(there);
        cells.extend(
            differing
                .filter(|((_, wanted), there)| there.as_ref() != Some(wanted))
                .map(|(cell, _)| cell),
        );
    }
    if let Some(partners) = partners {
        let id = |person: &Option<super::contact::Person>| person.as_ref().map(|person| person.id);
        let there = [
            Some(row.partner_id.id),
            id(&row.partner_invoice_id),
            id(&row.partner_shipping_id),
        ];
        let differing = partner_cells(partners).into_iter().zip(there);
        // Writing the delivery address of an agreed order tells people, even when it is the same.
        cells.extend(
            differing
                .filter(|((_, wanted), there)| there.map(|id| id.to_string()).as_ref() != Some(wanted))
                .map(|(cell, _)| cell),
        );
    }
    if changes("placed_at") && row.placed_at() != Some(order.placed_at) {
        cells.push(("date_order", read::datetime(order.placed_at)));
    }
    if changes("note") && row.note() != order.note {
        cells.push(("note", note(order)));
    }
    if let Some(pricelist) = pricelist {
        cells.push(("pricelist_id/.id", pricelist.to_string()));
    }
    cells
}

/// One `load` of a whole order.
pub(super) fn create(
    (record, order): (RecordId, &Order),
    partners: Partners,
    (currency, pricelist): (i64, i64),
    lines: &[LineWish],
    (columns, next): (&Columns, Step),
) -> Draft {
    let mut head = head(order, partners, pricelist);
    head.insert(0, ("id", name::order(record)));
    head.push(("user_id/.id", String::new()));
    let rows: Vec<Cells> = lines
        .iter()
        .enumerate()
        .map(|(position, line)| {
            let mut cells = vec![("id", line.external_id.clone())];
            cells.extend(line.all_cells(columns, currency));
            cells.push(("sequence", sequence(position).to_string()));
            cells
        })
        .collect();
    let mut fields: Vec<String> = head.iter().map(|(field, _)| (*field).to_owned()).collect();
    let width = fields.len();
    let line_fields = rows.first().into_iter().flatten();
    fields.extend(line_fields.map(|(field, _)| format!("order_line/{field}")));
    let head: Vec<String> = head.into_iter().map(|(_, value)| value).collect();
    let first = rows.is_empty().then(|| DraftRow {
        cells: head.clone(),
        is_head: true,
    });
    let rows = rows.into_iter().enumerate().map(|(place, line)| {
        let own = if place == 0 {
            head.clone()
        } else {
            vec![String::new(); width]
        };
        DraftRow {
            cells: own
                .into_iter()
                .chain(line.into_iter().map(|(_, value)| value))
                .collect(),
            is_head: place == 0,
        }
    });
    Draft {
        model: MODEL,
        fields,
        rows: first.into_iter().chain(rows).collect(),
        external_id: Source::Record(0),
        parts: Parts::new(),
        made: Vec::new(),
        next: Some(next),
        held: None,
    }
}

/// Where a line of a new order is shown: with room for others between them.
pub(super) fn sequence(position: usize) -> i64 {
    (i64::try_from(position).unwrap_or_default() + 1) * 10
}

/// A `load` of one row for an order that is there.
pub(super) fn change_head(id: &str, cells: Cells, parts: Parts, next: Option<Step>) -> Draft {
    let mut row = vec![(".id", id.to_owned())];
    row.extend(cells);
    draft(MODEL, id, vec![row], parts, next)
}

/// A `load` of lines that are there; all rows have the same columns.
pub(super) fn change_lines(id: &str, rows: Vec<Cells>, parts: Parts, next: Option<Step>) -> Draft {
    draft(LINE, id, rows, parts, next)
}

/// A `load` of lines that an order does not have yet.
pub(super) fn add_lines(
    id: &str,
    lines: &[LineWish],
    currency: i64,
    columns: &Columns,
    (parts, next): (Parts, Option<Step>),
) -> Draft {
    let rows = lines.iter().map(|line| {
        let mut cells = vec![("id", line.external_id.clone()), ("order_id/.id", id.to_owned())];
        cells.extend(line.all_cells(columns, currency));
        cells
    });
    let mut draft = draft(LINE, id, rows.collect(), parts, next);
    draft.made = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !line.key.is_empty())
        .map(|(place, line)| (line.key.clone(), place))
        .collect();
    draft
}

/// Gives lines that differ in some columns the same columns: a line's other cells are what they are already.
pub(super) fn with_same_columns(
    lines: Vec<(i64, Cells, &LineWish)>,
    columns: &Columns,
    currency: i64,
) -> Vec<Cells> {
    let has = |field: &str| {
        lines
            .iter()
            .any(|(_, cells, _)| cells.iter().any(|(own, _)| *own == field))
    };
    let (product, title, amounts) = (has("product_id/.id"), has("name"), has("price_unit"));
    lines
        .into_iter()
        .map(|(id, _, wish)| {
            let mut row = vec![(".id", id.to_string())];
            row.extend(product.then(|| wish.product_cell()).into_iter().flatten());
            row.extend(title.then(|| wish.name_cell()).into_iter().flatten());
            let amounts = amounts.then(|| wish.amount_cells(columns, currency));
            row.extend(amounts.into_iter().flatten());
            row
        })
        .collect()
}

/// Takes lines out of an agreed order: they can't be removed, only emptied (facts/mapping-odoo.md §3).
pub(super) fn empty_lines(ids: &[i64]) -> Vec<Cells> {
    ids.iter()
        .map(|id| vec![(".id", id.to_string()), ("product_uom_qty", "0".to_owned())])
        .collect()
}

fn draft(model: &'static str, id: &str, rows: Vec<Cells>, parts: Parts, next: Option<Step>) -> Draft {
    let fields = rows.first().into_iter().flatten();
    let fields = fields.map(|(field, _)| (*field).to_owned()).collect();
    let rows = rows.into_iter().map(|cells| DraftRow {
        cells: cells.into_iter().map(|(_, value)| value).collect(),
        is_head: true,
    });
    Draft {
        model,
        fields,
        rows: rows.collect(),
        external_id: Source::Known(id.to_owned()),
        parts,
        made: Vec::new(),
        next,
        held: None,
    }
}
