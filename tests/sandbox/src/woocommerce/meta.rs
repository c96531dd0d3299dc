//! Meta data of products, customers and orders (facts: systems A7, mapping-woocommerce 2).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) id: u64,
    pub(super) key: String,
    pub(super) value: Value,
}

/// Whose meta data it is: customers lose keys with a leading underscore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Product,
    Customer,
    Order,
}

/// Applies `meta_data`: an id or a known key updates in place, null deletes, numbers become strings.
pub(super) fn apply(entries: &mut Vec<Meta>, list: &Value, next_id: &mut u64, owner: Owner) {
    for one in list.as_array().into_iter().flatten() {
        let key = one["key"].as_str().unwrap_or_default();
        let id = one["id"].as_u64();
        if id.is_none() && (key.is_empty() || (owner == Owner::Customer && key.starts_with('_'))) {
            continue;
        }
        let known = entries.iter().position(|entry| match id {
            Some(id) => entry.id == id,
            None => entry.key == key,
        });
        let value = match &one["value"] {
            Value::Number(number) => json!(number.to_string()),
            Value::Bool(flag) => json!(if *flag { "1" } else { "" }),
            other => other.clone(),
        };
        match (known, value) {
            (Some(at), Value::Null) => {
                entries.remove(at);
            }
            (None, Value::Null) => {}
            (Some(at), value) => entries[at].value = value,
            (None, value) => {
                entries.push(Meta {
                    id: *next_id,
                    key: key.to_owned(),
                    value,
                });
                *next_id += 1;
            }
        }
    }
}

pub(super) fn render(entries: &[Meta]) -> Value {
    entries
        .iter()
        .map(|entry| json!({"id": entry.id, "key": entry.key, "value": entry.value}))
        .collect()
}

/// Finds the marker of Lockstep.
pub(super) fn marker(entries: &[Meta]) -> Option<String> {
    let marker = entries
        .iter()
        .find(|entry| matches!(entry.key.as_str(), "_lockstep_record" | "lockstep_record"))?;
    marker.value.as_str().map(str::to_owned)
}
