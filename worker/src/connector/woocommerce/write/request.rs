//! Which request carries which write.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::category::Missing;
use super::super::{BATCH_LIMIT, image};
use super::{Call, Job, Slot, Terms};
use crate::connector::{Request, Write};

/// A batch that is being filled.
#[derive(Debug, Default)]
struct Batch {
    writes: Vec<Write>,
    slots: Vec<Slot>,
    create: Vec<Value>,
    update: Vec<Value>,
    delete: Vec<Value>,
}

impl Batch {
    fn push(&mut self, write: Write, slot: Slot) {
        self.writes.push(write);
        self.slots.push(slot);
    }

    fn into_request(self, path: &str) -> Request {
        let body = batch_body(self.create, self.update, self.delete);
        request(self.writes, Some(path.to_owned()), body, self.slots)
    }
}

/// Categories or tags that are being put together: each is made once, whichever products need it. A second one would be
/// refused all the same (facts/mapping-woocommerce.md §1, «Categories»).
#[derive(Debug)]
struct Preparation {
    path: &'static str,
    writes: Vec<Write>,
    slots: Vec<Slot>,
    places: BTreeMap<(u64, String), usize>,
    create: Vec<Value>,
}

impl Preparation {
    fn of(terms: Terms) -> Self {
        Self {
            path: match terms {
                Terms::Categories => "products/categories/batch",
                Terms::Tags => "products/tags/batch",
            },
            writes: Vec::new(),
            slots: Vec::new(),
            places: BTreeMap::new(),
            create: Vec::new(),
        }
    }

    fn has_room(&self, missing: &[Missing]) -> bool {
        self.writes.len() < BATCH_LIMIT && self.create.len() + missing.len() <= BATCH_LIMIT
    }

    fn place(&mut self, missing: &Missing) -> usize {
        let place = self.create.len();
        *self.places.entry(missing.key()).or_insert_with(|| {
            self.create.push(missing.body());
            place
        })
    }

    fn into_request(self) -> Request {
        let body = batch_body(self.create, Vec::new(), Vec::new());
        request(self.writes, Some(self.path.to_owned()), body, self.slots)
    }
}

/// Puts every write into exactly one request. What need not be sent shares one that is not.
pub(super) fn requests(path: &str, jobs: impl Iterator<Item = (Write, Job)>) -> Vec<Request> {
    let (mut requests, mut own) = (Vec::new(), Vec::new());
    let (mut batch, mut unsent) = (Batch::default(), Batch::default());
    let (mut fetching, mut fetched) = (Batch::default(), 0);
    let mut preparations = [Terms::Categories, Terms::Tags].map(Preparation::of);
    for (write, job) in jobs {
        if batch.writes.len() == BATCH_LIMIT {
            requests.push(std::mem::take(&mut batch).into_request(path));
        }
        match job {
            Job::Nothing(slot) => unsent.push(write, slot),
            Job::Create(body, slot) => {
                batch.create.push(Value::Object(body));
                batch.push(write, slot);
            }
            Job::Update(body, slot) => {
                batch.update.push(Value::Object(body));
                batch.push(write, slot);
            }
            Job::Delete(id, slot) => {
                batch.delete.push(json!(id));
                batch.push(write, slot);
            }
            Job::Fetch(body, slot, count) => {
                if fetched > 0 && fetched + count > image::FETCH_LIMIT {
                    requests.push(std::mem::take(&mut fetching).into_request(path));
                    fetched = 0;
                }
                fetched += count;
                fetching.update.push(Value::Object(body));
                fetching.push(write, slot);
            }
            Job::Prepare {
                of,
                external_id,
                parts,
                missing,
                next,
            } => {
                let preparation = &mut preparations[usize::from(of == Terms::Tags)];
                if !preparation.has_room(&missing) {
                    requests.push(std::mem::replace(preparation, Preparation::of(of)).into_request());
                }
                let terms = missing.iter().map(|missing| preparation.place(missing)).collect();
                preparation.writes.push(write);
                preparation.slots.push(Slot::Prepared {
                    external_id,
                    parts,
                    terms,
                    next,
                });
            }
            Job::Own { path, body, slot } => own.push(request(vec![write], Some(path), body, vec![slot])),
        }
    }
    if !batch.writes.is_empty() {
        requests.push(batch.into_request(path));
    }
    if !fetching.writes.is_empty() {
        requests.push(fetching.into_request(path));
    }
    let begun = preparations.into_iter().filter(|one| !one.writes.is_empty());
    requests.extend(begun.map(Preparation::into_request));
    requests.append(&mut own);
    if !unsent.writes.is_empty() {
        requests.push(request(unsent.writes, None, Value::Null, unsent.slots));
    }
    requests
}

fn request(writes: Vec<Write>, path: Option<String>, body: Value, slots: Vec<Slot>) -> Request {
    let call = Call { path, body, slots };
    Request {
        writes,
        call: serde_json::to_value(call).expect("a call has string keys and no floats"),
    }
}

pub(super) fn batch_body(create: Vec<Value>, update: Vec<Value>, delete: Vec<Value>) -> Value {
    let lists = [("create", create), ("update", update), ("delete", delete)];
    let filled = lists.into_iter().filter(|(_, items)| !items.is_empty());
    Value::Object(
        filled
            .map(|(name, items)| (name.to_owned(), Value::Array(items)))
            .collect(),
    )
}
