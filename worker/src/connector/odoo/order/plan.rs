//! Planning the next call of each order of a batch: reads in bulk what the orders need, then decides about each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{Content, LineKind, Order, OrderLine, PartKey, Reference};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::json;

use super::super::super::{Action, Gate, Parts, Refusal, Step, Write};
use super::super::Odoo;
use super::super::act::{ActDraft, End, Method};
use super::super::error::Failure;
use super::super::load::{Held, Settled, Source};
use super::super::name;
use super::super::place::Places;
use super::super::rpc::Call;
use super::super::wire::{Link, round, rows};
use super::super::write::{Cells, Draft, Found};
use super::super::{done, refused, wrong_type};
use super::contact;
use super::line::{CENTS, Service};
use super::people::{Partners, People, Wish};
use super::read::{self, OrderRow, Reader};
use super::setup::{self, Priced, Setup};
use super::state::State;
use super::step;
use super::tax;
use super::write::{self, LineWish, Stock};

/// What was read for the orders of a batch.
struct Known<'a> {
    setup: Arc<Setup>,
    places: &'a Places,
    settings: &'a Settings,
    rows: BTreeMap<i64, OrderRow>,
    /// External ids of the lines of orders that change.
    names: BTreeMap<i64, String>,
    people: People,
    variants: BTreeMap<i64, i64>,
    tax_to_copy: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct VariantRow {
    id: i64,
    product_tmpl_id: Link,
}

impl Odoo {
    pub(in super::super) async fn order_drafts(
        &self,
        gate: &dyn Gate,
        writes: Vec<Write>,
    ) -> Result<Vec<(Write, Found)>, Failure> {
        let known = self.known_of_orders(gate, &writes).await?;
        let found = writes.into_iter().map(|write| {
            let found = match &write.content {
                Content::Order(order) => Task::new(&write, order, &known).next().unwrap_or_else(refused),
                _ => refused(wrong_type()),
            };
            (write, found)
        });
        Ok(found.collect())
    }

    async fn known_of_orders(&self, gate: &dyn Gate, writes: &[Write]) -> Result<Known<'_>, Failure> {
        let places = self.places(gate).await?;
        let orders: Vec<(&Write, &Order)> = writes
            .iter()
            .filter_map(|write| match &write.content {
                Content::Order(order) => Some((write, order)),
                _ => None,
            })
            .collect();
        // Something was set up just now.
        let is_set_up = orders
            .iter()
            .any(|(write, _)| write.step > Step::default() && write.step <= step::LAST_SETUP);
        let mut setup = if is_set_up {
            self.fresh_setup(gate).await?
        } else {
            self.setup(gate).await?
        };
        let mut known = Known {
            setup: Arc::clone(&setup),
            places,
            settings: &self.settings,
            rows: self.rows_of_orders(gate, &orders).await?,
            names: BTreeMap::new(),
            people: People::default(),
            variants: BTreeMap::new(),
            tax_to_copy: None,
        };
        let preparing: Vec<Task<'_>> = orders
            .iter()
            .filter(|(write, _)| write.step <= step::NEW_LINES)
            .map(|(write, order)| Task::new(write, order, &known))
            .collect();
        let line_ids: BTreeSet<i64> = preparing
            .iter()
            .filter_map(Task::row)
            .flat_map(|row| row.order_line.iter().map(|line| line.id))
            .collect();
        let templates: BTreeSet<i64> = preparing.iter().flat_map(Task::simple_products).collect();
        let wishes: Vec<Wish> = preparing
            .iter()
            .filter(|task| task.changes_partners())
            .filter_map(|task| Wish::new(task.order, &task.write.links, places).ok())
            .collect();
        let names = self.external_ids_of(gate, read::LINE, &line_ids).await?;
        let variants = self.only_variants(gate, &templates).await?;
        let people = self.people(gate, &wishes).await?;
        (known.names, known.variants, known.people) = (names, variants, people);
        let lacks = |known: &Known<'_>| {
            orders
                .iter()
                .any(|(write, order)| Task::new(write, order, known).lacks())
        };
        if lacks(&known) && !is_set_up {
            setup = self.fresh_setup(gate).await?;
            known.setup = Arc::clone(&setup);
        }
        let lacks_tax = orders
            .iter()
            .any(|(write, order)| !Task::new(write, order, &known).missing_rates().is_empty());
        if lacks_tax {
            known.tax_to_copy = setup.taxes.any();
        }
        Ok(known)
    }

    /// Reads the orders that are there; one whose date is all that is left needs no look.
    async fn rows_of_orders(
        &self,
        gate: &dyn Gate,
        orders: &[(&Write, &Order)],
    ) -> Result<BTreeMap<i64, OrderRow>, Failure> {
        let ids: BTreeSet<i64> = orders
            .iter()
            .filter(|(write, _)| write.step != step::DATE)
            .filter_map(|(write, _)| known_id(write)?.parse().ok())
            .collect();
        let read = self.order_rows(gate, &ids).await?;
        Ok(read.into_iter().map(|row| (row.id, row)).collect())
    }

    /// Finds the only variant of simple products: the one without attributes.
    pub(in super::super) async fn only_variants(
        &self,
        gate: &dyn Gate,
        templates: &BTreeSet<i64>,
    ) -> Result<BTreeMap<i64, i64>, Failure> {
        if templates.is_empty() {
            return Ok(BTreeMap::new());
        }
        let domain = json!([["product_tmpl_id", "in", templates]]);
        // The first that is in use comes last and stays.
        let call = Call::search_read("product.product", domain, &["product_tmpl_id"])
            .option("order", json!("active,id desc"));
        let found: Vec<VariantRow> = rows(self.rpc.read(gate, &call).await?)?;
        Ok(found
            .into_iter()
            .map(|row| (row.product_tmpl_id.0, row.id))
            .collect())
    }
}

fn known_id(write: &Write) -> Option<&str> {
    match &write.action {
        Action::Create => None,
        Action::Update { external_id, .. } | Action::Delete { external_id } => Some(external_id),
    }
}

fn refusal(code: &str, message: impl Into<String>) -> Refusal {
    Refusal {
        code: code.to_owned(),
        message: message.into(),
    }
}

/// One order to be written.
struct Task<'a> {
    write: &'a Write,
    order: &'a Order,
    known: &'a Known<'a>,
}

impl<'a> Task<'a> {
    fn new(write: &'a Write, order: &'a Order, known: &'a Known<'a>) -> Self {
        Self { write, order, known }
    }

    fn row(&self) -> Option<&'a OrderRow> {
        self.known.rows.get(&known_id(self.write)?.parse().ok()?)
    }

    fn stock(&self) -> Stock<'_> {
        Stock {
            record: self.write.record,
            links: &self.write.links,
            setup: &self.known.setup,
            variants: &self.known.variants,
            discounts: read::discounts(self.order.origin),
        }
    }

    fn changes(&self, field: &str) -> bool {
        match &self.write.action {
            Action::Create => true,
            Action::Update { changed, .. } => changed.contains(field),
            Action::Delete { .. } => false,
        }
    }

    fn changes_partners(&self) -> bool {
        ["customer", "billing", "shipping"]
            .iter()
            .any(|field| self.changes(field))
    }

    /// The lines that change; those that are gone are not among them.
    fn changed_lines(&self) -> impl Iterator<Item = &'a OrderLine> {
        let lines = self.order.lines.iter();
        lines.filter(|line| self.changes(&format!("lines/{}", line.key)))
    }

    fn changes_total(&self) -> bool {
        match &self.write.action {
            Action::Create => true,
            Action::Update { changed, .. } => changed
                .iter()
                .any(|path| path == "total" || path.starts_with("lines/")),
            Action::Delete { .. } => false,
        }
    }

    /// Templates of products whose variant has to be looked up.
    fn simple_products(&self) -> Vec<i64> {
        let links = &self.write.links;
        let unknown = |product: &&Reference| links.part(product).is_none();
        self.changed_lines()
            .filter(|line| line.kind == LineKind::Item)
            .filter_map(|line| line.product.as_ref())
            .filter(unknown)
            .filter(|product| product.target().is_some_and(|target| target.part.is_empty()))
            .filter_map(|product| links.find(product)?.external_id.parse().ok())
            .collect()
    }

    fn is_preparing(&self) -> bool {
        self.write.step <= step::NEW_LINES && !matches!(self.write.action, Action::Delete { .. })
    }

    fn missing_services(&self) -> BTreeSet<Service> {
        if !self.is_preparing() {
            return BTreeSet::new();
        }
        let stock = self.stock();
        let mut needed: BTreeSet<Service> = self
            .changed_lines()
            .filter_map(|line| stock.service(line))
            .collect();
        // Where taxes can't be forced, the difference is known only when the order is there.
        let has_rest = !stock.residual(self.order).is_zero() || !self.known.setup.columns.is_forced;
        if self.changes_total() && has_rest {
            needed.insert(Service::Round);
        }
        needed.retain(|service| !self.known.setup.services.contains_key(service));
        needed
    }

    fn missing_rates(&self) -> BTreeSet<Option<Decimal>> {
        if !self.is_preparing() {
            return BTreeSet::new();
        }
        self.changed_lines()
            .flat_map(|line| line.taxes.iter().map(|tax| tax.rate))
            .filter(|rate| self.known.setup.taxes.find(*rate).is_none())
            .collect()
    }

    fn lacks(&self) -> bool {
        let lacks_currency =
            self.is_preparing() && !matches!(self.known.setup.priced(self.order.currency), Priced::By { .. });
        lacks_currency || !self.missing_services().is_empty() || !self.missing_rates().is_empty()
    }

    /// Plans the next call, or finds that there is none.
    fn next(&self) -> Result<Found, Refusal> {
        match &self.write.action {
            Action::Create => self.create(),
            Action::Update { external_id, .. } => self.update(external_id),
            Action::Delete { external_id } => self.cancel(external_id),
        }
    }

    fn create(&self) -> Result<Found, Refusal> {
        let partners = match self.partners()? {
            Ok(partners) => partners,
            Err(rows) => return self.set_up(contact::MODEL, rows),
        };
        if let Some(found) = self.missing()? {
            return Ok(found);
        }
        let (currency, pricelist) = self.priced()?;
        let lines = self.stock().wishes(self.order)?;
        Ok(Found::Call(write::create(
            (self.write.record, self.order),
            partners,
            (currency, pricelist),
            &lines,
            (&self.known.setup.columns, step::TOTAL),
        )))
    }

    fn partners(&self) -> Result<Result<Partners, Vec<Cells>>, Refusal> {
        let wish = Wish::new(self.order, &self.write.links, self.known.places)?;
        Ok(self.known.people.find(&wish, self.known.places))
    }

    fn priced(&self) -> Result<(i64, i64), Refusal> {
        let code = self.order.currency;
        match self.known.setup.priced(code) {
            Priced::By { currency, pricelist } => Ok((currency, pricelist)),
            Priced::NoPricelist { .. } => Err(refusal(
                "not_set_up",
                format!("a price list in {code} could not be made in Odoo"),
            )),
            Priced::Inactive => Err(refusal(
                "currency_inactive",
                format!("the currency {code} is not active in Odoo: activate it there"),
            )),
            Priced::Unknown => Err(refusal(
                "currency_unknown",
                format!("Odoo does not know the currency {code}"),
            )),
        }
    }

    /// Plans what has to be there before the order's lines: services, a price list, taxes.
    fn missing(&self) -> Result<Option<Found>, Refusal> {
        let services = self.missing_services();
        if !services.is_empty() {
            let rows = services.into_iter().map(service_row).collect();
            return self.set_up("product.product", rows).map(Some);
        }
        if let Priced::NoPricelist { currency } = self.known.setup.priced(self.order.currency) {
            let code = self.order.currency;
            let row = Cells::default()
                .with("id", &name::pricelist(code.code()))
                .with("name", &setup::pricelist_name(code.code()))
                .with("currency_id/.id", &currency.to_string())
                .with("active", "1");
            return self.set_up("product.pricelist", vec![row]).map(Some);
        }
        let Some(rate) = self.missing_rates().into_iter().next() else {
            return Ok(None);
        };
        let copied = self.known.tax_to_copy.ok_or_else(|| {
            refusal(
                "tax_missing",
                format!(
                    "Odoo has no sales tax that `{}` could be like",
                    tax::name_of(rate)
                ),
            )
        })?;
        Ok(Some(Found::Act(ActDraft {
            method: Method::CopyTax {
                name: tax::name_of(rate),
                amount: rate.unwrap_or_default().normalize().to_string(),
                was_included: self.known.setup.taxes.includes_price(copied),
            },
            ids: vec![copied],
            value: None,
            end: End {
                external_id: self.source(),
                parts: self.parts(),
                made: None,
                next: Some(self.after_setup()?),
                held: None,
            },
        })))
    }

    fn source(&self) -> Source {
        known_id(self.write).map_or(Source::Later, |id| Source::Known(id.to_owned()))
    }

    /// The ids of the order's lines. Of an order that was just made they are known by where its lines are shown: their
    /// external ids would take another call.
    fn parts(&self) -> Parts {
        let known = match &self.write.action {
            Action::Update { parts, .. } => parts.clone(),
            Action::Create | Action::Delete { .. } => Parts::new(),
        };
        let Some(row) = self.row().filter(|_| known.is_empty() && !self.is_preparing()) else {
            return known;
        };
        let lines = self
            .order
            .lines
            .iter()
            .enumerate()
            .filter_map(|(position, line)| {
                let shown = write::sequence(position);
                let found = row.order_line.iter().find(|found| found.sequence == shown)?;
                Some((line.key.clone(), found.id.to_string()))
            });
        lines.collect()
    }

    /// What the order is read back as, where that is more or less than was written: nobody's own address is that of the
    /// customer, and what Odoo has not is no product.
    fn held(&self) -> Option<Held> {
        let mut held = self.order.clone();
        if held.billing.is_none() {
            let wish = Wish::new(self.order, &self.write.links, self.known.places).ok()?;
            held.billing = wish.own().cloned();
        }
        let links = &self.write.links;
        for line in &mut held.lines {
            line.product = line
                .product
                .take()
                .filter(|product| links.find(product).is_some());
        }
        let held = Content::Order(held).canonical().ok()?;
        (held != self.write.content).then(|| Held::new(&held))
    }

    fn after_setup(&self) -> Result<Step, Refusal> {
        if self.write.step >= step::LAST_SETUP {
            return Err(refusal(
                "not_set_up",
                "Odoo does not keep what the order needs (an address, a tax) as it was made",
            ));
        }
        Ok(step::after(self.write.step))
    }

    fn set_up(&self, model: &'static str, rows: Vec<Cells>) -> Result<Found, Refusal> {
        let mut draft = Draft::of_cells(model, rows, self.source());
        draft.parts = self.parts();
        draft.next = Some(self.after_setup()?);
        Ok(Found::Call(draft))
    }

    /// Finds the first thing that is left to do about an order that is there.
    fn update(&self, id: &str) -> Result<Found, Refusal> {
        let at = self.write.step;
        if at == step::DATE {
            let cells = vec![("date_order", read::datetime(self.order.placed_at))];
            let mut draft = write::change_head(id, cells, self.parts(), None);
            draft.held = self.held();
            return Ok(Found::Call(draft));
        }
        let row = self.there()?;
        let (want, have) = self.states(row);
        if at <= step::RESTORE && have == Some(State::Cancel) && want != State::Cancel {
            return Ok(self.act(id, Method::RestoreOrders, Some(step::HEAD)));
        }
        if at <= step::NEW_LINES
            && let Some(found) = self.change(id, row)?
        {
            return Ok(found);
        }
        if at <= step::TOTAL
            && let Some(draft) = self.rest(id, row)?
        {
            return Ok(Found::Call(draft));
        }
        if at <= step::STATE
            && let Some(found) = self.transition(id, row)?
        {
            return Ok(found);
        }
        Ok(Found::Settled(Settled::Done {
            external_id: id.to_owned(),
            parts: self.parts(),
            held: self.held(),
        }))
    }

    fn there(&self) -> Result<&'a OrderRow, Refusal> {
        self.row()
            .ok_or_else(|| refusal("gone", "Odoo does not have this order any more"))
    }

    fn states(&self, row: &OrderRow) -> (State, Option<State>) {
        let have = row.state();
        if self.changes("status") {
            return (State::of(self.order.status, self.known.settings), have);
        }
        (have.unwrap_or(State::Draft), have)
    }

    fn act(&self, id: &str, method: Method, next: Option<Step>) -> Found {
        Found::Act(ActDraft {
            method,
            ids: id.parse().into_iter().collect(),
            value: None,
            end: End {
                external_id: Source::Known(id.to_owned()),
                parts: self.parts(),
                made: None,
                held: next.is_none().then(|| self.held()).flatten(),
                next,
            },
        })
    }

    /// Plans the change of what differs: the head, lines that are there, those that are gone, and new ones.
    fn change(&self, id: &str, row: &OrderRow) -> Result<Option<Found>, Refusal> {
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
            let draft = write::change_head(id, head, self.parts(), Some(step::LINES));
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
    fn rest(&self, id: &str, row: &OrderRow) -> Result<Option<Draft>, Refusal> {
        let stock = self.stock();
        let is_native = stock.discounts == super::line::Discounts::Held;
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

    fn transition(&self, id: &str, row: &OrderRow) -> Result<Option<Found>, Refusal> {
        let (want, have) = self.states(row);
        let Some(have) = have else {
            return Err(refusal(
                "state_unknown",
                "the order has a state in Odoo that is none",
            ));
        };
        let (method, next) = match (have, want) {
            (State::Draft, State::Sale) => (Method::ConfirmOrders, Some(step::DATE)),
            (State::Cancel, State::Draft | State::Sale) => (Method::RestoreOrders, Some(step::STATE)),
            (State::Sale, State::Cancel) if row.is_locked() => {
                return Err(refusal(
                    "order_locked",
                    "the order is locked in Odoo: unlock it there before it can be cancelled",
                ));
            }
            (State::Draft | State::Sale, State::Cancel) => (Method::CancelOrders, None),
            (State::Sale, State::Draft) => {
                return Err(refusal(
                    "order_agreed",
                    "the order is agreed in Odoo: it can be cancelled there, and not be made a quotation again",
                ));
            }
            (State::Draft, State::Draft) | (State::Sale, State::Sale) | (State::Cancel, State::Cancel) => {
                return Ok(None);
            }
        };
        Ok(Some(self.act(id, method, next)))
    }

    /// Takes an order out of use: it is cancelled.
    fn cancel(&self, id: &str) -> Result<Found, Refusal> {
        let Some(row) = self.row() else {
            return Ok(done(self.write, Parts::new()));
        };
        match row.state() {
            Some(State::Cancel) => Ok(done(self.write, Parts::new())),
            _ if row.is_locked() => Err(refusal(
                "order_locked",
                "the order is locked in Odoo: unlock it there before it can be cancelled",
            )),
            _ => Ok(self.act(id, Method::CancelOrders, None)),
        }
    }
}

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

/// Not for sale by itself, never taxed by itself, and invoiced as it was ordered.
fn service_row(service: Service) -> Cells {
    Cells::default()
        .with("id", &name::service(service.name()))
        .with("name", service.title())
        .with("default_code", service.code())
        .with("type", "service")
        .with("list_price", "0")
        .with("taxes_id", "")
        .with("invoice_policy", "order")
        .with("active", "1")
}
