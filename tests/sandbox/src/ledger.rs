//! Every effect a stand-in felt, and which live records look like two copies of one thing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

/// What was done to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    Created,
    Updated,
    Deleted,
}

/// One write that reached the stand-in through its API.
#[derive(Debug, Clone)]
pub struct Effect {
    pub at: SystemTime,
    /// `product`, `variation`, `customer`, `order`, `refund`, `attribute`, `term`, `category` and so on. Stock that an
    /// order moves is an update of its product.
    pub entity: &'static str,
    pub operation: Operation,
    /// The id in the stand-in.
    pub id: String,
    /// The id of the product, customer or order that it is a part of: of a variation, a delivery address, a price
    /// extra, a refund; its own id where it is a thing itself.
    pub thing: String,
    /// Marker, external id, SKU, e-mail or number of a payment: the first of these that the record has.
    pub key: Option<String>,
    /// False when the write left everything as it was, apart from the time of change.
    pub changed: bool,
    /// The index of the request, as in [`crate::fault::RequestInfo::index`].
    pub request: u64,
}

/// Live records of one entity that share a key although at least one of them was created through the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    pub entity: &'static str,
    pub key: String,
    pub ids: Vec<String>,
}

/// Where a live record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Api,
    People,
}

#[derive(Debug)]
struct Live {
    keys: Vec<String>,
    origin: Origin,
}

#[derive(Debug, Default)]
struct Book {
    effects: Vec<Effect>,
    live: BTreeMap<(&'static str, u64), Live>,
}

/// The book of effects of one stand-in; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    book: Arc<Mutex<Book>>,
}

impl Ledger {
    /// Returns every effect so far, oldest first.
    pub fn effects(&self) -> Vec<Effect> {
        self.lock().effects.clone()
    }

    /// Counts the records of an entity that were created through the API.
    pub fn created(&self, entity: &str) -> usize {
        self.count(entity, Operation::Created)
    }

    /// Counts the updates of an entity, those that changed nothing too.
    pub fn updated(&self, entity: &str) -> usize {
        self.count(entity, Operation::Updated)
    }

    /// Counts the effects of one kind on an entity.
    pub fn count(&self, entity: &str, operation: Operation) -> usize {
        let book = self.lock();
        book.effects
            .iter()
            .filter(|effect| effect.entity == entity && effect.operation == operation)
            .count()
    }

    /// Lists what exists twice because of the API.
    pub fn duplicates(&self) -> Vec<Duplicate> {
        let book = self.lock();
        let mut holders: BTreeMap<(&'static str, &str), (BTreeSet<u64>, bool)> = BTreeMap::new();
        for ((entity, id), live) in &book.live {
            for key in &live.keys {
                let holder = holders.entry((entity, key)).or_default();
                holder.0.insert(*id);
                holder.1 |= live.origin == Origin::Api;
            }
        }
        let twice = holders
            .into_iter()
            .filter(|(_, (ids, through_api))| ids.len() > 1 && *through_api);
        twice
            .map(|((entity, key), (ids, _))| Duplicate {
                entity,
                key: key.to_owned(),
                ids: ids.iter().map(ToString::to_string).collect(),
            })
            .collect()
    }

    /// Forgets the effects; what lives is still known, as made by people.
    pub fn reset(&self) {
        let mut book = self.lock();
        book.effects.clear();
        for live in book.live.values_mut() {
            live.origin = Origin::People;
        }
    }

    /// Forgets everything, and begins with what lives now.
    pub(crate) fn begin_anew(&self) {
        *self.lock() = Book::default();
    }

    /// Lists the live records that were created through the API.
    pub(crate) fn made_through_api(&self) -> BTreeSet<(String, u64)> {
        let book = self.lock();
        let through_api = book.live.iter().filter(|(_, live)| live.origin == Origin::Api);
        through_api
            .map(|((entity, id), _)| ((*entity).to_owned(), *id))
            .collect()
    }

    /// Notes that live records were created through the API.
    pub(crate) fn were_made_through_api(&self, made: &BTreeSet<(String, u64)>) {
        for ((entity, id), live) in &mut self.lock().live {
            if made.contains(&((*entity).to_owned(), *id)) {
                live.origin = Origin::Api;
            }
        }
    }

    pub(crate) fn record(&self, effects: Vec<Effect>) {
        self.lock().effects.extend(effects);
    }

    /// Notes the present keys of a live record; the origin counts only the first time.
    pub(crate) fn lives(&self, entity: &'static str, id: u64, keys: Vec<String>, origin: Origin) {
        let mut book = self.lock();
        let live = book.live.entry((entity, id)).or_insert(Live {
            keys: Vec::new(),
            origin,
        });
        live.keys = keys;
    }

    pub(crate) fn is_gone(&self, entity: &'static str, id: u64) {
        self.lock().live.remove(&(entity, id));
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no holder of the ledger panics")
    }
}
