//! Which request carries what of orders, and what its answer means for each.

use std::collections::BTreeMap;
use std::time::Instant;

use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{Content, Order, OrderStatus};
use lockstep_shared::id::RecordId;
use lockstep_shared::system::System;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::error::{self, Kind};
use super::super::product::{Body, Fields};
use super::super::{BATCH_LIMIT, SYSTEM, WooCommerce, reference};
use super::transition::{Home, Transition, lines_move_stock};
use super::wire::{self, Silence};
use super::{REQUEST_LIMIT, read, status, total, write};
use crate::connector::{Action, CallError, Gate, Outcome, Parts, Refusal, Request, Step, Write};

/// What [`WooCommerce::send_orders`] needs to send a request and to read its answer.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Call {
    create: Vec<Value>,
    update: Vec<Value>,
    /// One per write, in their order.
    slots: Vec<Slot>,
}

/// Where a write stands in a batch, and what it comes to when it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Slot {
    /// Not sent: it can't be done.
    Refused(Refusal),
    /// Not sent: there is nothing to do, or nothing that can be done unnoticed.
    Done { external_id: String },
    /// The next of `create`.
    Drafted { next: Step },
    /// The next few of `update`, all about one order.
    Changed {
        external_id: String,
        entries: usize,
        next: Option<Step>,
        /// What its total must be still, where the order is the store's own.
        total: Option<String>,
    },
    /// The next few of `update`, which place a draft.
    Placed {
        external_id: String,
        entries: usize,
        /// The step that makes the draft anew where it is gone.
        again: Step,
    },
    /// The next few of `update`, which cancel it.
    Cancelled { external_id: String, entries: usize },
}

/// What one write needs.
#[derive(Debug)]
enum Job {
    Nothing(Slot),
    Create(Body, Slot),
    Update(Vec<Body>, Slot),
}

impl Job {
    fn refused(code: &str, message: &str) -> Self {
        Self::Nothing(Slot::Refused(Refusal {
            code: code.to_owned(),
            message: message.to_owned(),
        }))
    }

    /// As WooCommerce says it of an order that is not there (facts/systems.md A2).
    fn missing() -> Self {
        Self::refused("woocommerce_rest_shop_order_invalid_id", "Invalid ID.")
    }

    fn entries(&self) -> usize {
        match self {
            Self::Nothing(_) => 0,
            Self::Create(..) => 1,
            Self::Update(changes, _) => changes.len(),
        }
    }
}

/// What the store holds of the orders that are to be written.
#[derive(Debug, Default)]
struct Present {
    orders: BTreeMap<u64, wire::Order>,
    /// Drafts that an earlier try left behind.
    drafts: BTreeMap<RecordId, wire::Order>,
}

impl WooCommerce {
    pub(in super::super) async fn plan_orders(
        &self,
        gate: &dyn Gate,
        writes: Vec<Write>,
    ) -> Result<Vec<Request>, CallError> {
        let ids: Vec<String> = writes.iter().filter_map(needs_look).collect();
        let mut present = Present {
            orders: self.orders_by_id(gate, &ids).await?,
            ..Present::default()
        };
        if writes.iter().any(makes_draft) {
            let drafts = self.marked_orders(gate, None, &[wire::DRAFT]).await?;
            let oldest = drafts.into_iter().filter_map(|(record, orders)| {
                let unplaced = orders.into_iter().find(|order| order.status == wire::DRAFT);
                Some((record, unplaced?))
            });
            present.drafts = oldest.collect();
        }
        let jobs = writes.into_iter().map(|write| {
            let job = job(&write, &present, &self.settings);
            (write, job)
        });
        Ok(requests(jobs))
    }

    pub(in super::super) async fn send_orders(
        &self,
        request: &Request,
        deadline: Instant,
    ) -> Result<Vec<Outcome>, CallError> {
        let call: Call = serde_json::from_value(request.call.clone())
            .map_err(|_| error::refused("the call is not one of this connector"))?;
        let mut answer = Value::Null;
        if !call.create.is_empty() || !call.update.is_empty() {
            let body = batch_body(&call);
            let builder = self.request("POST", "orders/batch", Vec::new()).json(&body);
            let answered = self.http.write(SYSTEM, builder, deadline).await?;
            answer = error::body(&answered, Kind::Write)?;
        }
        outcomes(&request.writes, &call.slots, &answer, &self.settings)
    }
}

/// Says whether a write makes a draft. The steps of making an order alternate: a draft, placing it, and where it was
/// gone by then a draft again.
fn makes_draft(write: &Write) -> bool {
    let is_draft_step = write.step.0.is_multiple_of(2);
    match &write.action {
        Action::Create => is_draft_step,
        Action::Update { .. } => is_draft_step && write.step > Step::default(),
        Action::Delete { .. } => false,
    }
}

/// Returns the order that has to be read before it is written.
fn needs_look(write: &Write) -> Option<String> {
    match &write.action {
        Action::Update { external_id, .. } if write.step == Step::default() => Some(external_id.clone()),
        Action::Delete { external_id } => Some(external_id.clone()),
        Action::Create | Action::Update { .. } => None,
    }
}

fn next(write: &Write) -> Step {
    Step(write.step.0.saturating_add(1))
}

fn job(write: &Write, present: &Present, settings: &Settings) -> Job {
    let Content::Order(order) = &write.content else {
        return Job::refused("wrong_type", "this is no order");
    };
    if makes_draft(write) {
        return match present.drafts.get(&write.record) {
            Some(draft) => fill(write, order, draft),
            None => Job::Create(
                write::create_body(write, order),
                Slot::Drafted { next: next(write) },
            ),
        };
    }
    let (Action::Update { external_id, .. } | Action::Delete { external_id }) = &write.action else {
        return Job::refused("no_order", "an order can only be placed once it is known");
    };
    let Ok(id) = external_id.parse::<u64>() else {
        return Job::missing();
    };
    match &write.action {
        Action::Update { changed, .. } if write.step == Step::default() => match present.orders.get(&id) {
            Some(current) => update(write, order, current, Fields::Only(changed), settings),
            None => Job::missing(),
        },
        Action::Delete { .. } => match present.orders.get(&id) {
            Some(current) => cancel(current, settings),
            None => Job::Nothing(Slot::Done {
                external_id: external_id.clone(),
            }),
        },
        Action::Create | Action::Update { .. } => place(write, order, id, settings),
    }
}

/// Makes a draft that was left behind what it should be.
fn fill(write: &Write, order: &Order, draft: &wire::Order) -> Job {
    let mut body = write::details(order, &write.links, Fields::All);
    body.append(&mut write::line_changes(draft, order, &write.links));
    body.insert("id".to_owned(), json!(draft.id));
    Job::Update(
        vec![body],
        Slot::Changed {
            external_id: draft.id.to_string(),
            entries: 1,
            next: Some(next(write)),
            total: None,
        },
    )
}

/// Places a draft. Its address is the one that was sent with it.
fn place(write: &Write, order: &Order, id: u64, settings: &Settings) -> Job {
    let billing = order.billing.as_ref();
    let customer = order.customer.as_ref();
    let now = Silence {
        status: wire::DRAFT.to_owned(),
        email: billing
            .and_then(|contact| contact.email.clone())
            .unwrap_or_default(),
        customer: customer
            .and_then(|customer| reference::id(&write.links, customer))
            .unwrap_or_default(),
    };
    let transition = Transition {
        id,
        home: Home::Elsewhere,
        now: &now,
        target: order.status,
        name: status::name(order.status, settings),
    };
    let changes = transition.changes(settings);
    let slot = Slot::Placed {
        external_id: id.to_string(),
        entries: changes.len(),
        again: next(write),
    };
    Job::Update(changes, slot)
}

fn home(current: &wire::Order) -> Home {
    if current.marker().is_some() {
        Home::Elsewhere
    } else {
        Home::Store
    }
}

fn cancel(current: &wire::Order, settings: &Settings) -> Job {
    let external_id = current.id.to_string();
    let name = status::name(OrderStatus::Cancelled, settings);
    if current.status == name || current.status == "trash" {
        return Job::Nothing(Slot::Done { external_id });
    }
    let transition = Transition {
        id: current.id,
        home: home(current),
        now: &Silence::of(current),
        target: OrderStatus::Cancelled,
        name,
    };
    let changes = transition.changes(settings);
    let entries = changes.len();
    Job::Update(changes, Slot::Cancelled { external_id, entries })
}

/// Changes an order. Of the store's own only what is no line and no amount: those belong to the store, whose taxes
/// would be counted anew.
fn update(
    write: &Write,
    order: &Order,
    current: &wire::Order,
    fields: Fields<'_>,
    settings: &Settings,
) -> Job {
    let home = home(current);
    let mut now = Silence::of(current);
    let is_hidden = current.is_draft();
    let mut body = write::details(order, &write.links, fields);
    if home == Home::Elsewhere && touches_lines(fields) {
        body.append(&mut write::line_changes(current, order, &write.links));
    }
    let has_lines = ["line_items", "shipping_lines", "fee_lines"]
        .iter()
        .any(|list| body.contains_key(*list));
    let mut changes = Vec::new();
    let must_hide = has_lines && lines_move_stock(&current.status, settings);
    if must_hide {
        changes.push(Body::from_iter([("status".to_owned(), json!(wire::DRAFT))]));
    }
    if !body.is_empty() {
        // What an address was taken away for a moment is given back with the rest.
        if let Some(billing) = order.billing.as_ref().filter(|_| fields.has("billing")) {
            now.email = billing.email.clone().unwrap_or_default();
        }
        if let Some(customer) = body.get("customer_id").and_then(Value::as_u64) {
            now.customer = customer;
        }
        changes.push(body);
    }
    let target = if fields.has("status") || (is_hidden && now.status == wire::DRAFT) {
        Some((order.status, status::name(order.status, settings).to_owned()))
    } else if must_hide || is_hidden {
        Some((order.status, now.status.clone()))
    } else {
        None
    };
    let is_there = !must_hide && !is_hidden && current.silence().is_none();
    if let Some((target, name)) = target.filter(|(_, name)| !is_there || *name != current.status) {
        if must_hide || is_hidden {
            wire::DRAFT.clone_into(&mut now.status);
        }
        let transition = Transition {
            id: current.id,
            home,
            now: &now,
            target,
            name: &name,
        };
        changes.extend(transition.changes(settings));
    }
    let external_id = current.id.to_string();
    if changes.is_empty() {
        return Job::Nothing(Slot::Done { external_id });
    }
    for change in &mut changes {
        change.insert("id".to_owned(), json!(current.id));
    }
    let slot = Slot::Changed {
        external_id,
        entries: changes.len(),
        next: None,
        total: (home == Home::Store).then(|| current.total.clone()),
    };
    Job::Update(changes, slot)
}

fn touches_lines(fields: Fields<'_>) -> bool {
    match fields {
        Fields::All => true,
        Fields::Only(paths) => paths.iter().any(|path| {
            path.starts_with("lines/") || matches!(path.as_str(), "total" | "total_tax" | "currency")
        }),
    }
}

// Grouping

/// Puts every write into exactly one request. What need not be sent shares one that is not.
fn requests(jobs: impl Iterator<Item = (Write, Job)>) -> Vec<Request> {
    let (mut requests, mut entries) = (Vec::new(), 0);
    let (mut batch, mut unsent) = (Filling::default(), Filling::default());
    for (write, job) in jobs {
        let more = job.entries();
        if batch.writes.len() == REQUEST_LIMIT || entries + more > BATCH_LIMIT {
            requests.push(std::mem::take(&mut batch).into_request());
            entries = 0;
        }
        match job {
            Job::Nothing(slot) => {
                unsent.push(write, slot);
                if unsent.writes.len() == REQUEST_LIMIT {
                    requests.push(std::mem::take(&mut unsent).into_request());
                }
            }
            Job::Create(body, slot) => {
                batch.call.create.push(Value::Object(body));
                batch.push(write, slot);
            }
            Job::Update(changes, slot) => {
                batch.call.update.extend(changes.into_iter().map(Value::Object));
                batch.push(write, slot);
            }
        }
        entries += more;
    }
    let rest = [batch, unsent].into_iter();
    requests.extend(
        rest.filter(|batch| !batch.writes.is_empty())
            .map(Filling::into_request),
    );
    requests
}

/// A batch that is being filled.
#[derive(Debug, Default)]
struct Filling {
    writes: Vec<Write>,
    call: Call,
}

impl Filling {
    fn push(&mut self, write: Write, slot: Slot) {
        self.writes.push(write);
        self.call.slots.push(slot);
    }

    fn into_request(self) -> Request {
        Request {
            writes: self.writes,
            call: serde_json::to_value(self.call).expect("a call has string keys and no floats"),
        }
    }
}

fn batch_body(call: &Call) -> Value {
    let lists = [("create", &call.create), ("update", &call.update)];
    let filled = lists.into_iter().filter(|(_, items)| !items.is_empty());
    Value::Object(
        filled
            .map(|(name, items)| (name.to_owned(), json!(items)))
            .collect(),
    )
}

// Answers

/// Reads what became of each write; an answer with more or fewer items than were sent says nothing for sure.
fn outcomes(
    writes: &[Write],
    slots: &[Slot],
    answer: &Value,
    settings: &Settings,
) -> Result<Vec<Outcome>, CallError> {
    let list = |name: &str| {
        let items = answer.get(name).and_then(Value::as_array);
        items.map(Vec::as_slice).unwrap_or_default().iter()
    };
    let mut lists = (list("create"), list("update"));
    let outcomes: Option<Vec<Outcome>> = writes
        .iter()
        .zip(slots)
        .map(|(write, slot)| {
            let items: Vec<&Value> = match slot {
                Slot::Refused(_) | Slot::Done { .. } => Vec::new(),
                Slot::Drafted { .. } => vec![lists.0.next()?],
                Slot::Changed { entries, .. }
                | Slot::Placed { entries, .. }
                | Slot::Cancelled { entries, .. } => {
                    (0..*entries).map(|_| lists.1.next()).collect::<Option<_>>()?
                }
            };
            outcome(write, slot, &items, settings)
        })
        .collect();
    match outcomes {
        Some(outcomes) if lists.0.len() + lists.1.len() == 0 => Ok(outcomes),
        Some(_) | None => Err(error::unwell(
            "its answer does not match the request",
            Kind::Write,
        )),
    }
}

/// Reads the outcome of one write; `None` where the answer says neither that it was written nor why not.
fn outcome(write: &Write, slot: &Slot, items: &[&Value], settings: &Settings) -> Option<Outcome> {
    let applied = |external_id: &str, next: Option<Step>| Outcome::Applied {
        external_id: external_id.to_owned(),
        parts: Parts::new(),
        next,
        held: None,
    };
    let failed = items.iter().find_map(|item| error::of_item(item));
    Some(match (slot, failed) {
        (Slot::Refused(refusal), _) => Outcome::Rejected(refusal.clone()),
        (Slot::Done { external_id }, _) => applied(external_id, None),
        (Slot::Cancelled { external_id, .. }, None) => applied(external_id, None),
        (Slot::Cancelled { external_id, .. }, Some(error)) if error.is_missing() => {
            applied(external_id, None)
        }
        // The draft lay too long and was dropped.
        (
            Slot::Placed {
                external_id, again, ..
            },
            Some(error),
        ) if error.is_missing() => applied(external_id, Some(*again)),
        (_, Some(error)) => error.outcome(),
        (Slot::Drafted { next }, None) => written(write, items, (Some(*next), None), settings)?,
        (Slot::Changed { next, total, .. }, None) => {
            written(write, items, (*next, total.as_deref()), settings)?
        }
        (Slot::Placed { .. }, None) => written(write, items, (None, None), settings)?,
    })
}

/// Reads an order as it is after the last change of it. Its sum must be what was agreed, to the cent.
fn written(
    write: &Write,
    items: &[&Value],
    (next, before): (Option<Step>, Option<&str>),
    settings: &Settings,
) -> Option<Outcome> {
    let Content::Order(sent) = &write.content else {
        return None;
    };
    let order: wire::Order = serde_json::from_value((*items.last()?).clone()).ok()?;
    if order.id == 0 {
        return None;
    }
    if let Some(refusal) = total_differs(sent, &order, before) {
        return Some(Outcome::Rejected(refusal));
    }
    let theirs = read::theirs(&order, settings);
    let held = theirs
        .content
        .ok()
        .filter(|_| next.is_none())
        .and_then(|content| reference::held(write, content));
    Some(Outcome::Applied {
        external_id: theirs.external_id,
        parts: theirs.parts,
        next,
        held,
    })
}

/// Compares what the store makes of an order with what it should be: the total that was sent, or of the store's own
/// order the one that it had.
fn total_differs(sent: &Order, order: &wire::Order, before: Option<&str>) -> Option<Refusal> {
    let theirs = total::read(&order.total);
    let expected = match before {
        Some(before) => total::read(before)?,
        None if sent.origin == Some(System::Woocommerce) => return None,
        None => total::rounded(sent.total, sent.currency),
    };
    if theirs == Some(expected) {
        return None;
    }
    let mut message = format!(
        "the store makes `{}` of order `{}`, whose total is `{expected}`",
        order.total, sent.number
    );
    let lines = order.lines().collect::<Vec<_>>();
    for line in &sent.lines {
        let (_, total) = total::of_line(line, sent.currency);
        let kept = lines.iter().find(|(_, kept)| kept.key() == line.key.as_str());
        let kept = kept.map_or("nothing", |(_, kept)| kept.total.as_str());
        if before.is_none() && total::read(kept) != Some(total) {
            message = format!("{message}; of line `{}`, `{total}`, it makes `{kept}`", line.key);
        }
    }
    Some(Refusal {
        code: "total_differs".to_owned(),
        message: super::super::super::http::cut(&message),
    })
}
