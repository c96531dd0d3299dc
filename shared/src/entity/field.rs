//! A record as a flat map of fields: what is compared, merged and named in conflicts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Content, Invalid, PartKey};
use crate::system::EntityType;

/// The fields of a record by their path. A field that is empty has no entry. A variant's fields stand under
/// `variants/<key>/…`; an order's line is one field, `lines/<key>`, and so is an address: half of one from each side
/// would be nobody's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub BTreeMap<String, Value>);

impl Fields {
    pub fn get(&self, path: &str) -> Option<&Value> {
        self.0.get(path)
    }

    /// Sets or clears a field.
    pub fn set(&mut self, path: &str, value: Option<Value>) {
        match value {
            Some(value) => self.0.insert(path.to_owned(), value),
            None => self.0.remove(path),
        };
    }

    /// Returns the paths in which two records differ.
    pub fn differing(&self, other: &Self) -> BTreeSet<String> {
        let paths = self.0.keys().chain(other.0.keys());
        paths
            .filter(|path| self.get(path) != other.get(path))
            .cloned()
            .collect()
    }

    /// Puts the fields together to a record again.
    pub fn into_content(self, entity: EntityType) -> Result<Content, Invalid> {
        let mut object = serde_json::Map::new();
        let mut variants: BTreeMap<String, serde_json::Map<String, Value>> = BTreeMap::new();
        let mut lines = Vec::new();
        for (path, value) in self.0 {
            if entity == EntityType::Orders && path.starts_with(LINES) {
                lines.push(value);
                continue;
            }
            match variant_path(&path) {
                Some((key, field)) => {
                    variants
                        .entry(key.to_owned())
                        .or_default()
                        .insert(field.to_owned(), value);
                }
                None => {
                    object.insert(path, value);
                }
            }
        }
        if entity == EntityType::Products {
            // A variant whose attributes went is gone, whatever else of it was still named.
            let is_variable = variants
                .values()
                .any(|variant| variant.contains_key("attributes"));
            let kept = variants
                .into_values()
                .filter(|variant| !is_variable || variant.contains_key("attributes"));
            object.insert("variants".to_owned(), kept.map(Value::Object).collect());
        }
        if entity == EntityType::Orders {
            object.insert("lines".to_owned(), Value::Array(lines));
        }
        Content::parse(entity, Value::Object(object))
    }
}

/// Under this stands an order's line, by its key.
const LINES: &str = "lines/";

/// Splits `variants/<key>/<field>`; the key may hold slashes, the field has none.
fn variant_path(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("variants/")?.rsplit_once('/')
}

/// Returns the name by which a field's owner is looked up: a variant's field goes by its own name, an order's lines by
/// theirs together.
pub(crate) fn owned_name(path: &str) -> &str {
    if path.starts_with(LINES) {
        return "lines";
    }
    variant_path(path).map_or(path, |(_, field)| field)
}

/// Takes a canonical record apart into its fields.
pub fn fields_of(content: &Content) -> Fields {
    let Value::Object(mut object) = content.to_json() else {
        unreachable!("a record is an object")
    };
    let mut fields = Fields::default();
    if let Content::Product(product) = content {
        object.remove("variants");
        for variant in &product.variants {
            let key: PartKey = variant.key();
            let Ok(Value::Object(parts)) = serde_json::to_value(variant) else {
                unreachable!("a variant is an object")
            };
            let mut has_any = false;
            for (name, value) in parts {
                has_any = true;
                fields.0.insert(format!("variants/{key}/{name}"), value);
            }
            if !has_any {
                // A simple product without SKU, price and weight still has its one variant.
                fields
                    .0
                    .insert(format!("variants/{key}/attributes"), Value::Array(Vec::new()));
            }
        }
    }
    if let Content::Order(order) = content {
        object.remove("lines");
        for line in &order.lines {
            let line_json = serde_json::to_value(line).expect("a line has string keys");
            fields.0.insert(format!("{LINES}{}", line.key), line_json);
        }
    }
    fields.0.extend(object);
    fields
}
