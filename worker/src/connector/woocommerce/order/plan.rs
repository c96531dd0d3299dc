//! Which request carries what of orders.

use std::collections::BTreeMap;
use std::time::Instant;

use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{Content, Order, OrderStatus};
use lockstep_shared::id::RecordId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::error::{self, Kind};
use super::super::product::{Body, Fields};
use super::super::{BATCH_LIMIT, SYSTEM, WooCommerce, reference};
use super::answer::{self, Slot};
use super::transition::{Home, Transition, lines_move_stock, restored};
use super::wire::{self, Silence};
use super::{REQUEST_LIMIT, read, status, write};
use crate::connector::{Action, CallError, Gate, Outcome, Refusal, Request, Step, Write};

/// What [`WooCommerce::send_orders`] needs to send a request and to read its answer.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Call {
    create: Vec<Value>,
    update: Vec<Value>,
    /// One per write, in their order.
    slots: Vec<Slot>,
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
        answer::outcomes(&request.writes, &call.slots, &answer, &self.settings)
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
                held: None,
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
        target: status::of_ours(order.status),
        name: status::name(status::of_ours(order.status), settings),
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

/// Brings an order into a state by the recipe for it. What was taken from the order by a write that was cut short is
/// given back first.
fn moved(
    current: &wire::Order,
    now: &Silence,
    (target, name): (OrderStatus, &str),
    settings: &Settings,
) -> Vec<Body> {
    let transition = Transition {
        id: current.id,
        home: home(current),
        now,
        target,
        name,
    };
    transition.changes(settings)
}

fn mended(current: &wire::Order) -> Option<Body> {
    Some(restored(current.id, &current.silence()?))
}

fn cancel(current: &wire::Order, settings: &Settings) -> Job {
    let external_id = current.id.to_string();
    let name = status::name(OrderStatus::Cancelled, settings);
    let mut changes: Vec<Body> = mended(current).into_iter().collect();
    if current.status != name && current.status != "trash" {
        let now = Silence {
            status: current.status.clone(),
            ..Silence::of(current)
        };
        changes.extend(moved(current, &now, (OrderStatus::Cancelled, name), settings));
    }
    if changes.is_empty() {
        return Job::Nothing(Slot::Done {
            external_id,
            held: None,
        });
    }
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
    let before = Silence::of(current);
    let mut changes: Vec<Body> = mended(current).into_iter().collect();
    let mut body = write::details(order, &write.links, fields);
    let has_lines = home == Home::Elsewhere && touches_lines(fields);
    if has_lines {
        body.append(&mut write::line_changes(current, order, &write.links));
    }
    let must_hide = has_lines && lines_move_stock(&current.status, settings);
    if must_hide {
        changes.push(Body::from_iter([("status".to_owned(), json!(wire::DRAFT))]));
    }
    let mut now = Silence {
        status: current.status.clone(),
        ..before.clone()
    };
    if must_hide {
        wire::DRAFT.clone_into(&mut now.status);
    }
    if let Some(billing) = body.get("billing") {
        billing["email"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut now.email);
    }
    if let Some(customer) = body.get("customer_id").and_then(Value::as_u64) {
        now.customer = customer;
    }
    if !body.is_empty() {
        changes.push(body);
    }
    let is_placed_by_this = fields.has("status") || before.status == wire::DRAFT;
    let name = if is_placed_by_this {
        status::name(order.status, settings)
    } else {
        &before.status
    };
    if name != now.status {
        changes.extend(moved(current, &now, (order.status, name), settings));
    }
    let external_id = current.id.to_string();
    if changes.is_empty() {
        let theirs = read::theirs(current, settings).content.ok();
        let held = theirs.and_then(|theirs| reference::held(write, theirs));
        return Job::Nothing(Slot::Done {
            external_id,
            held: held.map(|held| held.to_json()),
        });
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
