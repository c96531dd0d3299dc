//! Tables, their indexes, and the undo log of the running transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::{Field, Kind, Model, Place};
use super::noise::Noise;

/// One record. Its times are microseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) values: Vec<Value>,
    pub(super) created: i64,
    pub(super) written: i64,
    pub(super) created_by: i64,
    pub(super) written_by: i64,
}

/// The records of one model.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) model: Model,
    pub(super) rows: BTreeMap<i64, Row>,
    pub(super) by_written: BTreeSet<(i64, i64)>,
    indexes: HashMap<usize, HashMap<String, BTreeSet<i64>>>,
    pub(super) next_id: i64,
}

/// All tables, and what must be put back if the transaction fails.
#[derive(Debug)]
pub(super) struct Database {
    /// The major version: what the fields are called, and a few of the rules.
    pub(super) version: u32,
    /// What the API caused besides its effects.
    pub(super) noise: Noise,
    tables: HashMap<String, Table>,
    undo: Vec<(String, i64, Option<Row>)>,
    /// Whether the module that looks at tax ids is installed.
    pub(super) has_base_vat: bool,
    /// Models that nobody may write: what a group that the users lack allows.
    pub(super) denied: BTreeSet<String>,
    /// Models whose modules are not installed.
    pub(super) uninstalled: BTreeSet<String>,
    /// When a quant became visible to others; who began before did not see it.
    pub(super) quants_since: HashMap<i64, i64>,
}

impl Table {
    pub(super) fn new(model: Model) -> Self {
        let is_indexed =
            |(at, field): (usize, &Field)| (field.place == Place::Indexed).then_some((at, HashMap::new()));
        let indexes = model.fields.iter().enumerate().filter_map(is_indexed).collect();
        Self {
            model,
            rows: BTreeMap::new(),
            by_written: BTreeSet::new(),
            indexes,
            next_id: 1,
        }
    }

    pub(super) fn value(&self, id: i64, field: &str) -> Option<&Value> {
        let at = self.model.position(field)?;
        self.rows.get(&id).map(|row| &row.values[at])
    }

    /// Finds rows by the value of an indexed field; `None` when there is no index.
    pub(super) fn with(&self, field: &str, value: &Value) -> Option<impl Iterator<Item = i64> + '_> {
        let index = self.indexes.get(&self.model.position(field)?)?;
        Some(
            index_key(value)
                .and_then(|key| index.get(&key))
                .into_iter()
                .flatten()
                .copied(),
        )
    }

    fn put(&mut self, id: i64, row: Row) -> Option<Row> {
        let before = self.take(id);
        for (at, index) in &mut self.indexes {
            if let Some(key) = index_key(&row.values[*at]) {
                index.entry(key).or_default().insert(id);
            }
        }
        self.by_written.insert((row.written, id));
        self.rows.insert(id, row);
        self.next_id = self.next_id.max(id + 1);
        before
    }

    fn take(&mut self, id: i64) -> Option<Row> {
        let row = self.rows.remove(&id)?;
        for (at, index) in &mut self.indexes {
            let Some(key) = index_key(&row.values[*at]) else {
                continue;
            };
            if let Some(ids) = index.get_mut(&key) {
                ids.remove(&id);
                if ids.is_empty() {
                    index.remove(&key);
                }
            }
        }
        self.by_written.remove(&(row.written, id));
        Some(row)
    }
}

fn index_key(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

impl Database {
    /// Makes a database without models.
    pub(super) fn of_version(version: u32) -> Self {
        Self {
            version,
            noise: Noise::default(),
            has_base_vat: false,
            denied: BTreeSet::new(),
            uninstalled: BTreeSet::new(),
            quants_since: HashMap::new(),
            tables: HashMap::new(),
            undo: Vec::new(),
        }
    }

    /// Moves every time of every row back.
    pub(super) fn age(&mut self, micros: i64) {
        self.quants_since.clear();
        for table in self.tables.values_mut() {
            for row in table.rows.values_mut() {
                row.created -= micros;
                row.written -= micros;
            }
            table.by_written = table.rows.iter().map(|(id, row)| (row.written, *id)).collect();
        }
    }

    /// Lists the tables by the names of their models.
    pub(super) fn tables(&self) -> BTreeMap<&str, &Table> {
        self.tables
            .iter()
            .map(|(name, table)| (name.as_str(), table))
            .collect()
    }

    /// Sets the id of the next row of a model.
    pub(super) fn set_next_id(&mut self, model: &str, next_id: i64) {
        self.tables
            .get_mut(model)
            .expect("callers check the model first")
            .next_id = next_id;
    }

    pub(super) fn add_model(&mut self, model: Model) {
        self.tables.insert(model.name.clone(), Table::new(model));
    }

    pub(super) fn has(&self, model: &str) -> bool {
        self.tables.contains_key(model) && !self.uninstalled.contains(model)
    }

    /// Returns a table that is known to exist.
    pub(super) fn table(&self, model: &str) -> &Table {
        self.tables.get(model).expect("callers check the model first")
    }

    pub(super) fn row(&self, model: &str, id: i64) -> Option<&Row> {
        self.tables.get(model)?.rows.get(&id)
    }

    /// Returns a stored value; false when there is no such row.
    pub(super) fn value(&self, model: &str, id: i64, field: &str) -> Value {
        let value = self.tables.get(model).and_then(|table| table.value(id, field));
        value.cloned().unwrap_or(Value::Bool(false))
    }

    pub(super) fn text(&self, model: &str, id: i64, field: &str) -> String {
        self.value(model, id, field)
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub(super) fn link(&self, model: &str, id: i64, field: &str) -> Option<i64> {
        self.value(model, id, field).as_i64()
    }

    pub(super) fn links(&self, model: &str, id: i64, field: &str) -> Vec<i64> {
        self.value(model, id, field)
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_i64)
            .collect()
    }

    pub(super) fn flag(&self, model: &str, id: i64, field: &str) -> bool {
        self.value(model, id, field).as_bool().unwrap_or_default()
    }

    /// Finds rows by an indexed field.
    pub(super) fn with(&self, model: &str, field: &str, value: impl Into<Value>) -> Vec<i64> {
        let value = value.into();
        let Some(table) = self.tables.get(model) else {
            return Vec::new();
        };
        table
            .with(field, &value)
            .map(Iterator::collect)
            .unwrap_or_default()
    }

    /// Takes the next id; a rolled back transaction leaves a gap, as sequences do.
    pub(super) fn next_id(&mut self, model: &str) -> i64 {
        let table = self.tables.get_mut(model).expect("callers check the model first");
        table.next_id += 1;
        table.next_id - 1
    }

    pub(super) fn put(&mut self, model: &str, id: i64, row: Row) {
        let before = self
            .tables
            .get_mut(model)
            .expect("callers check the model first")
            .put(id, row);
        self.undo.push((model.to_owned(), id, before));
    }

    pub(super) fn remove(&mut self, model: &str, id: i64) {
        let before = self.tables.get_mut(model).and_then(|table| table.take(id));
        if before.is_some() {
            self.undo.push((model.to_owned(), id, before));
        }
    }

    /// Marks a point that can be gone back to.
    pub(super) fn savepoint(&self) -> usize {
        self.undo.len()
    }

    pub(super) fn roll_back(&mut self, savepoint: usize) {
        while self.undo.len() > savepoint {
            let Some((model, id, before)) = self.undo.pop() else {
                return;
            };
            let Some(table) = self.tables.get_mut(&model) else {
                continue;
            };
            match before {
                Some(row) => {
                    table.put(id, row);
                }
                None => {
                    table.take(id);
                }
            }
        }
    }

    pub(super) fn commit(&mut self) {
        self.undo.clear();
    }

    /// Tells what the oldest state of each touched record in this transaction was.
    pub(super) fn touched(&self) -> BTreeMap<(String, i64), Option<Row>> {
        let mut first = BTreeMap::new();
        for (model, id, before) in &self.undo {
            first
                .entry((model.clone(), *id))
                .or_insert_with(|| before.clone());
        }
        first
    }

    /// Lists the rows of a one2many.
    pub(super) fn lines(&self, field: &Field, id: i64) -> Vec<i64> {
        match &field.kind {
            Kind::One2many(model, inverse) => self.with(model, inverse, id),
            _ => Vec::new(),
        }
    }
}
