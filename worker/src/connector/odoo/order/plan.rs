//! Deciding about one order: which call is next, or that there is none. Pure.

use std::collections::BTreeSet;

use lockstep_shared::entity::{Content, LineKind, Order, OrderLine, Reference};
use rust_decimal::Decimal;

use super::super::super::{Action, Parts, Refusal, Step, Write};
use super::super::act::{ActDraft, End, Method};
use super::super::load::{Held, Settled, Source};
use super::super::write::{Cells, Draft, Found};
use super::super::{done, name};
use super::contact;
use super::known::Known;
use super::line::Service;
use super::people::{Partners, Standing, Wish};
use super::read::{self, OrderRow};
use super::setup::{self, Priced};
use super::state::State;
use super::step;
use super::tax;
use super::write::{self, Stock};

pub(super) fn known_id(write: &Write) -> Option<&str> {
    match &write.action {
        Action::Create => None,
        Action::Update { external_id, .. } | Action::Delete { external_id } => Some(external_id),
    }
}

pub(super) fn refusal(code: &str, message: impl Into<String>) -> Refusal {
    Refusal {
        code: code.to_owned(),
        message: message.into(),
    }
}

/// One order to be written.
pub(super) struct Task<'a> {
    pub(super) write: &'a Write,
    pub(super) order: &'a Order,
    pub(super) known: &'a Known<'a>,
}

impl<'a> Task<'a> {
    pub(super) fn new(write: &'a Write, order: &'a Order, known: &'a Known<'a>) -> Self {
        Self { write, order, known }
    }

    pub(super) fn row(&self) -> Option<&'a OrderRow> {
        self.known.rows.get(&known_id(self.write)?.parse().ok()?)
    }

    pub(super) fn stock(&self) -> Stock<'_> {
        Stock {
            record: self.write.record,
            links: &self.write.links,
            setup: &self.known.setup,
            variants: &self.known.variants,
            discounts: read::discounts(self.order.origin),
        }
    }

    pub(super) fn changes(&self, field: &str) -> bool {
        match &self.write.action {
            Action::Create => true,
            Action::Update { changed, .. } => changed.contains(field),
            Action::Delete { .. } => false,
        }
    }

    pub(super) fn changes_partners(&self) -> bool {
        ["customer", "billing", "shipping"]
            .iter()
            .any(|field| self.changes(field))
    }

    /// The lines that change; those that are gone are not among them.
    pub(super) fn changed_lines(&self) -> impl Iterator<Item = &'a OrderLine> {
        let lines = self.order.lines.iter();
        lines.filter(|line| self.changes(&format!("lines/{}", line.key)))
    }

    pub(super) fn changes_total(&self) -> bool {
        match &self.write.action {
            Action::Create => true,
            Action::Update { changed, .. } => changed
                .iter()
                .any(|path| path == "total" || path.starts_with("lines/")),
            Action::Delete { .. } => false,
        }
    }

    /// Templates of products whose variant has to be looked up.
    pub(super) fn simple_products(&self) -> Vec<i64> {
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

    pub(super) fn missing_rates(&self) -> BTreeSet<Option<Decimal>> {
        if !self.is_preparing() {
            return BTreeSet::new();
        }
        self.changed_lines()
            .flat_map(|line| line.taxes.iter().map(|tax| tax.rate))
            .filter(|rate| self.known.setup.taxes.find(*rate).is_none())
            .collect()
    }

    pub(super) fn lacks(&self) -> bool {
        let lacks_currency =
            self.is_preparing() && !matches!(self.known.setup.priced(self.order.currency), Priced::By { .. });
        lacks_currency || !self.missing_services().is_empty() || !self.missing_rates().is_empty()
    }

    /// Plans the next call, or finds that there is none.
    pub(super) fn next(&self) -> Result<Found, Refusal> {
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

    pub(super) fn partners(&self) -> Result<Result<Partners, Vec<Cells>>, Refusal> {
        let wish = Wish::new(self.order, &self.write.links, self.known.places)?;
        let standing = self.row().map(OrderRow::partners);
        let standing = standing.map_or_else(Standing::default, |partners| Standing {
            customer: Some(partners.customer),
            invoice: Some(partners.invoice).filter(|_| !self.changes("billing")),
            shipping: Some(partners.shipping).filter(|_| !self.changes("shipping")),
        });
        Ok(self.known.people.find(&wish, standing, self.known.places))
    }

    pub(super) fn priced(&self) -> Result<(i64, i64), Refusal> {
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
    pub(super) fn missing(&self) -> Result<Option<Found>, Refusal> {
        let services = self.missing_services();
        if !services.is_empty() {
            let column = self.known.setup.columns.kind;
            let rows = services.into_iter().map(|service| service_row(service, column));
            return self.set_up("product.product", rows.collect()).map(Some);
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
    pub(super) fn parts(&self) -> Parts {
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
        lines.chain(row.shown()).collect()
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

    pub(super) fn set_up(&self, model: &'static str, rows: Vec<Cells>) -> Result<Found, Refusal> {
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

/// Not for sale by itself, never taxed by itself, and invoiced as it was ordered.
fn service_row(service: Service, kind: &'static str) -> Cells {
    Cells::default()
        .with("id", &name::service(service.name()))
        .with("name", service.title())
        .with("default_code", service.code())
        .with(kind, "service")
        .with("list_price", "0")
        .with("taxes_id", "")
        .with("invoice_policy", "order")
        .with("active", "1")
}
