//! Writes down what the database holds, and puts it back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::database::{Database, Row};
use super::model::{Field, Kind, Model, Place};
use super::schema;
use super::session::{Session, now_micros};
use crate::ledger::{Ledger, Origin};
use crate::snapshot::SnapshotError;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    tables: BTreeMap<String, TableSnapshot>,
    made_through_api: BTreeSet<(String, u64)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableSnapshot {
    /// The fields of a model that came with a recording; the others are in the schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fields: Option<Vec<FieldSnapshot>>,
    next_id: i64,
    rows: BTreeMap<i64, Row>,
}

/// A field of a model that was made up from a recording.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldSnapshot {
    name: String,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comodel: Option<String>,
}

pub(super) fn take(db: &Database, ledger: &Ledger) -> Value {
    let known: BTreeSet<String> = schema::models(db.version)
        .into_iter()
        .map(|model| model.name)
        .collect();
    let tables = db.tables().into_iter().map(|(name, table)| {
        let fields = (!known.contains(name)).then(|| {
            let own = table.model.own_fields().iter();
            own.map(|field| FieldSnapshot {
                name: field.name.clone(),
                kind: field.type_name().to_owned(),
                comodel: field.comodel().map(str::to_owned),
            })
            .collect()
        });
        let table = TableSnapshot {
            fields,
            next_id: table.next_id,
            rows: table.rows.clone(),
        };
        (name.to_owned(), table)
    });
    let snapshot = Snapshot {
        tables: tables.collect(),
        made_through_api: ledger.made_through_api(),
    };
    serde_json::to_value(snapshot).expect("every key is a text or a number")
}

/// Replaces what the database holds. No effect is felt.
pub(super) fn put_back(db: &mut Database, ledger: &Ledger, value: &Value) -> Result<(), SnapshotError> {
    let no_snapshot = |source| SnapshotError { of: "an ERP", source };
    let snapshot = Snapshot::deserialize(value).map_err(no_snapshot)?;
    let mut fresh = Database::of_version(db.version);
    for model in schema::models(db.version) {
        fresh.add_model(model);
    }
    for (name, table) in &snapshot.tables {
        if let Some(fields) = &table.fields {
            let fields: Result<Vec<Field>, serde_json::Error> = fields.iter().map(made_up).collect();
            fresh.add_model(Model::new(name, name, "id", fields.map_err(no_snapshot)?));
        }
        check(&fresh, name, table).map_err(no_snapshot)?;
    }
    for (name, table) in snapshot.tables {
        for (id, row) in table.rows {
            fresh.put(&name, id, row);
        }
        fresh.set_next_id(&name, table.next_id);
    }
    fresh.commit();
    fresh.has_base_vat = db.has_base_vat;
    *db = fresh;
    ledger.begin_anew();
    for model in super::session::ANNOUNCED {
        let ids: Vec<i64> = db.table(model).rows.keys().copied().collect();
        Session::new(db, now_micros()).announce(model, &ids, ledger, Origin::People);
    }
    ledger.were_made_through_api(&snapshot.made_through_api);
    Ok(())
}

/// Refuses tables that nobody knows, and rows that another version of the schema wrote.
fn check(db: &Database, name: &str, table: &TableSnapshot) -> Result<(), serde_json::Error> {
    use serde::de::Error;

    if !db.has(name) {
        return Err(Error::custom(format!("there is no model `{name}`")));
    }
    let width = db.table(name).model.fields.len();
    match table.rows.values().find(|row| row.values.len() != width) {
        Some(row) => {
            let found = row.values.len();
            Err(Error::custom(format!(
                "a row of `{name}` has {found} values instead of {width}"
            )))
        }
        None => Ok(()),
    }
}

fn made_up(field: &FieldSnapshot) -> Result<Field, serde_json::Error> {
    use serde::de::Error;

    let kind = match (field.kind.as_str(), &field.comodel) {
        ("char", None) => Kind::Char,
        ("integer", None) => Kind::Integer,
        ("float", None) => Kind::Float,
        ("boolean", None) => Kind::Boolean,
        ("many2one", Some(model)) => Kind::Many2one(model.clone()),
        ("many2many", Some(model)) => Kind::Many2many(model.clone()),
        (kind, _) => return Err(Error::custom(format!("a field can't be of type `{kind}`"))),
    };
    Ok(Field::new(&field.name, &field.name, kind, Place::Indexed))
}
