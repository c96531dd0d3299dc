//! How an order that is there is brought to what it should be: its head, its lines, and its total. Pure.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::entity::{OrderLine, PartKey};
use rust_decimal::Decimal;

use super::super::super::Refusal;
use super::super::act::{ActDraft, End, Method};
use super::super::load::Source;
use super::super::wire::round;
use super::super::write::{Draft, Found};
use super::contact;
use super::line::{CENTS, Discounts, Service};
use super::people::Partners;
use super::plan::{Task, refusal};
use super::read::{self, OrderRow, Reader};
use super::state::State;
use super::step;
use super::write::{self, LineWish};

/// How an order's lines differ from what they should be.
#[derive(Default)]
struct LineChanges {
    differing: Vec<(i64, write::Cells, LineWish)>,
    gone: Vec<i64>,
    new: Vec<LineWish>,
}

impl LineChanges {
    fn differ(&mut self, id: i64, cells: write::Cells, wish: LineWish) {
        if !cells.is_empty() {
            self.differing.push((id, cells, wish));
        }
    }

    fn is_nothing(&self) -> bool {
        self.differing.is_empty() && self.gone.is_empty() && self.new.is_empty()
    }
}

impl Task<'_> {
    /// Plans the change of what differs: the head, lines that are there, those that are gone, and new ones.
    pub(super) fn change(&self, id: &str, row: &OrderRow) -> Result<Option<Found>, Refusal> {
        let at = self.write.step;
        let partners = if self.changes_partners() && at <= step::HEAD {
            match self.partners()? {
                Ok(partners) => Some(partners),
                Err(rows) => return self.set_up(contact::MODEL, rows).map(Some),
            }
        } else {
            None
        };
        if self.changes_total()
            && at <= step::HEAD
            && let Some(found) = self.missing()?
        {
            return Ok(Some(found));
        }
        let code = self.order.currency.code();
        let is_new_currency = self.changes("currency") && row.currency_id.name != code;
        let pricelist = is_new_currency.then(|| self.priced()).transpose()?;
        let head = write::differing_head(
            self.order,
            row,
            partners,
            pricelist.map(|(_, pricelist)| pricelist),
            |field| self.changes(field),
        );
        if at <= step::HEAD && !head.is_empty() {
            let mut parts = self.parts();
            parts.extend(partners.into_iter().flat_map(Partners::shown));
            let draft = write::change_head(id, head, parts, Some(step::LINES));
            return Ok(Some(Found::Call(draft)));
        }
        if !self.changes_total() {
            return Ok(None);
        }
        let lines = self.line_changes(row)?;
        if row.is_locked() && !lines.is_nothing() {
            return Err(refusal(
                "order_locked",
                "the order is locked in Odoo: unlock it there before its lines can change",
            ));
        }
        self.lines(id, row, lines)
    }

    fn lines(&self, id: &str, row: &OrderRow, changes: LineChanges) -> Result<Option<Found>, Refusal> {
        let at = self.write.step;
        let columns = &self.known.setup.columns;
        let currency = row.currency_id.id;
        if at <= step::LINES && !changes.differing.is_empty() {
            let is_other_product =
                |cells: &write::Cells| cells.iter().any(|(field, _)| *field == "product_id/.id");
            if row.state() == Some(State::Cancel)
                && changes
                    .differing
                    .iter()
                    .any(|(_, cells, _)| is_other_product(cells))
            {
                return Err(refusal(
                    "order_cancelled",
                    "the order is cancelled in Odoo: the product of a line can't change any more",
                ));
            }
            let lines = changes
                .differing
                .iter()
                .map(|(line, cells, wish)| (*line, cells.clone(), wish))
                .collect();
            let rows = write::with_same_columns(lines, columns, currency);
            let draft = write::change_lines(id, rows, self.parts(), Some(step::GONE));
            return Ok(Some(Found::Call(draft)));
        }
        if at <= step::GONE && !changes.gone.is_empty() {
            let mut parts = self.parts();
            parts.retain(|_, line| !changes.gone.iter().any(|gone| gone.to_string() == *line));
            if row.state() == Some(State::Sale) {
                let rows = write::empty_lines(&changes.gone);
                let draft = write::change_lines(id, rows, parts, Some(step::NEW_LINES));
                return Ok(Some(Found::Call(draft)));
            }
            return Ok(Some(Found::Act(ActDraft {
                method: Method::RemoveLines,
                ids: changes.gone,
                value: None,
                end: End {
                    external_id: Source::Known(id.to_owned()),
                    parts,
                    made: None,
                    next: Some(step::NEW_LINES),
                    held: None,
                },
            })));
        }
        if changes.new.is_empty() {
            return Ok(None);
        }
        let next = (self.parts(), Some(step::TOTAL));
        let draft = write::add_lines(id, &changes.new, currency, columns, next);
        Ok(Some(Found::Call(draft)))
    }

    fn reader(&self) -> Reader<'_> {
        Reader {
            ours: const { &BTreeMap::new() },
            names: &self.known.names,
            taxes: &self.known.setup.taxes,
            places: self.known.places,
            settings: self.known.settings,
        }
    }

    fn line_changes(&self, row: &OrderRow) -> Result<LineChanges, Refusal> {
        let (reader, stock) = (self.reader(), self.stock());
        let columns = &self.known.setup.columns;
        let currency = row.currency_id.id;
        let mut there: BTreeMap<PartKey, &read::LineRow> = BTreeMap::new();
        let mut rest = None;
        for line in row.order_line.iter().filter(|line| !line.is_text()) {
            if line.service() == Some(Service::Round) {
                rest = Some(line);
            } else {
                there.insert(reader.key(line, Some(self.write.record)), line);
            }
        }
        let mut changes = LineChanges::default();
        for line in self.changed_lines() {
            let wish = stock.wish(line)?;
            let Some(found) = there.get(&line.key) else {
                changes.new.push(wish);
                continue;
            };
            let held = reader.line(found, Some(self.write.record), stock.discounts);
            let cells = wish.differing(found, (Some(line), held.as_ref()), columns, currency);
            changes.differ(found.id, cells, wish);
        }
        let wanted: BTreeSet<&PartKey> = self.order.lines.iter().map(|line| &line.key).collect();
        for (key, line) in &there {
            // A line of ours that the record does not have any more; one that people added goes when it was taken away.
            let is_ours = reader.is_ours(line, self.write.record);
            let is_gone = !wanted.contains(key) && (is_ours || self.changes(&format!("lines/{key}")));
            if is_gone && !line.quantity().is_zero() {
                changes.gone.push(line.id);
            }
        }
        let residual = stock.residual(self.order);
        if columns.is_forced && (rest.is_some() || !residual.is_zero()) {
            let wish = stock.round(residual)?;
            match rest {
                Some(line) => {
                    let cells = wish.differing(line, (None, None), columns, currency);
                    changes.differ(line.id, cells, wish);
                }
                None => changes.new.push(wish),
            }
        }
        Ok(changes)
    }

    /// Holds the order's total against what it should be. Where taxes can't be forced, plans the line that makes up for
    /// the difference.
    pub(super) fn rest(&self, id: &str, row: &OrderRow) -> Result<Option<Draft>, Refusal> {
        let stock = self.stock();
        let is_native = stock.discounts == Discounts::Held;
        if is_native || !(self.changes_total() || self.write.step == step::TOTAL) {
            return Ok(None);
        }
        let off = round(self.order.total - row.total(), CENTS);
        let columns = &self.known.setup.columns;
        let is_wrong_tax = columns.is_forced && row.total_tax() != self.order.total_tax;
        if off.is_zero() && !is_wrong_tax {
            return Ok(None);
        }
        if columns.is_forced || self.write.step > step::TOTAL {
            return Err(self.differs(row));
        }
        let there = row
            .order_line
            .iter()
            .find(|line| line.service() == Some(Service::Round));
        let wish = stock.round(round(
            off + there.map_or(Decimal::ZERO, read::LineRow::net),
            CENTS,
        ))?;
        let currency = row.currency_id.id;
        let next = Some(step::STATE);
        Ok(Some(match there {
            Some(line) => {
                let cells = wish.differing(line, (None, None), columns, currency);
                let rows = write::with_same_columns(vec![(line.id, cells, &wish)], columns, currency);
                write::change_lines(id, rows, self.parts(), next)
            }
            None => write::add_lines(id, &[wish], currency, columns, (self.parts(), next)),
        }))
    }

    /// Says which line is not what was written.
    fn differs(&self, row: &OrderRow) -> Refusal {
        let reader = self.reader();
        let held: Vec<OrderLine> = row
            .order_line
            .iter()
            .filter_map(|line| reader.line(line, None, self.stock().discounts))
            .collect();
        let amounts = |line: &OrderLine| (line.total, line.tax());
        let odd = self.order.lines.iter().find(|line| {
            !held
                .iter()
                .any(|held| held.name == line.name && amounts(held) == amounts(line))
        });
        let named = odd.map_or_else(String::new, |line| {
            format!("; line `{}` is not there as it was written", line.key)
        });
        refusal(
            "total_differs",
            format!(
                "Odoo makes it {} with {} tax, and it should be {} with {}{named}",
                row.total(),
                row.total_tax(),
                self.order.total,
                self.order.total_tax
            ),
        )
    }
}
