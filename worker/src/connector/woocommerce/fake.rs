//! A store without HTTP: what WooCommerce does to what it is given, as it was seen to (facts/mapping-woocommerce.md
//! §1, §2, facts/systems.md A5, A6, A9). For the unit tests of this folder.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{customer, product, wire};
use crate::connector::Theirs;
use lockstep_shared::connection::Settings;

#[derive(Clone, Debug, Default)]
pub(super) struct Shop {
    pub(super) products: BTreeMap<u64, Map<String, Value>>,
    pub(super) variations: BTreeMap<u64, Map<String, Value>>,
    pub(super) customers: BTreeMap<u64, Map<String, Value>>,
    last_id: u64,
}

impl Shop {
    /// Carries a batch call out and answers it.
    pub(super) fn batch(&mut self, path: &str, body: &Value) -> Value {
        let items = |list: &str| body[list].as_array().cloned().unwrap_or_default();
        assert!(items("create").len() + items("update").len() + items("delete").len() <= 100);
        let parent = path
            .strip_prefix("products/")
            .and_then(|rest| rest.strip_suffix("/variations/batch"));
        let mut answer = Map::new();
        for (list, id) in [("create", false), ("update", true)] {
            let mut answers = Vec::new();
            for item in items(list) {
                let item = item
                    .as_object()
                    .expect("an item that is no object stops the batch")
                    .clone();
                let id = id.then(|| item["id"].as_u64().unwrap());
                answers.push(match (path, parent) {
                    ("products/batch", _) => self.save_product(id, item),
                    ("customers/batch", _) => self.save_customer(id, item),
                    (_, Some(parent)) => self.save_variation(parent.parse().unwrap(), id, item),
                    (_, None) => panic!("no such route: {path}"),
                });
            }
            if !answers.is_empty() {
                answer.insert(list.to_owned(), Value::Array(answers));
            }
        }
        let deleted: Vec<Value> = items("delete")
            .iter()
            .map(|id| self.delete_customer(id.as_u64().unwrap()))
            .collect();
        if !deleted.is_empty() {
            answer.insert("delete".to_owned(), Value::Array(deleted));
        }
        Value::Object(answer)
    }

    fn save_product(&mut self, id: Option<u64>, item: Map<String, Value>) -> Value {
        if let Some(id) = id.filter(|id| !self.products.contains_key(id)) {
            return failed(
                id,
                "woocommerce_rest_product_invalid_id",
                "Invalid ID.",
                &json!({"status": 400}),
            );
        }
        let target = id.unwrap_or(self.last_id + 1);
        if let Some(error) = self.taken(&item, target, id.unwrap_or(0)) {
            return error;
        }
        let mut product = self.products.get(&target).cloned().unwrap_or_else(|| {
            let fresh =
                json!({"type": "simple", "status": "publish", "virtual": false, "manage_stock": false});
            fresh.as_object().unwrap().clone()
        });
        let becomes_variable = item.get("type") == Some(&json!("variable")) && product["type"] != "variable";
        for (name, value) in item {
            product.insert(name.clone(), stored(&name, value));
        }
        if becomes_variable {
            product.insert("regular_price".to_owned(), json!(""));
        }
        product.insert("id".to_owned(), json!(target));
        self.last_id = self.last_id.max(target);
        self.products.insert(target, product.clone());
        Value::Object(product)
    }

    fn save_variation(&mut self, parent: u64, id: Option<u64>, item: Map<String, Value>) -> Value {
        let parent_row = self
            .products
            .get(&parent)
            .expect("an unknown parent is a fatal error")
            .clone();
        let target = id.unwrap_or(self.last_id + 1);
        if let Some(error) = self.taken(&item, target, id.unwrap_or(0)) {
            return error;
        }
        let mut variation = self.variations.get(&target).cloned().unwrap_or_else(|| {
            let fresh = json!({"status": "publish", "virtual": false, "manage_stock": false});
            fresh.as_object().unwrap().clone()
        });
        for (name, value) in item {
            let value = if name == "attributes" {
                linked(&parent_row, &value)
            } else {
                stored(&name, value)
            };
            variation.insert(name, value);
        }
        variation.insert("id".to_owned(), json!(target));
        variation.insert("parent_id".to_owned(), json!(parent));
        self.last_id = self.last_id.max(target);
        self.variations.insert(target, variation.clone());
        Value::Object(variation)
    }

    /// One SKU, one thing, whatever its case; the same for a GTIN.
    fn taken(&self, item: &Map<String, Value>, target: u64, shown: u64) -> Option<Value> {
        let all = || self.products.iter().chain(&self.variations);
        for (field, code) in [
            ("sku", "product_invalid_sku"),
            ("global_unique_id", "product_invalid_global_unique_id"),
        ] {
            let wanted = item
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_lowercase();
            let holder = all().find(|(id, other)| {
                let held = other.get(field).and_then(Value::as_str).unwrap_or_default();
                **id != target && !wanted.is_empty() && held.to_lowercase() == wanted
            });
            if let Some((holder, _)) = holder {
                let data = json!({"status": 400, "resource_id": holder});
                return Some(failed(shown, code, "Invalid or duplicated SKU.", &data));
            }
        }
        None
    }

    fn save_customer(&mut self, id: Option<u64>, item: Map<String, Value>) -> Value {
        let target = id.unwrap_or(self.last_id + 1);
        let email = item
            .get("email")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_lowercase();
        let is_used = self
            .customers
            .values()
            .any(|other| other["email"].as_str().unwrap().to_lowercase() == email);
        if is_used {
            let code = if id.is_some() {
                "woocommerce_rest_customer_invalid_email"
            } else {
                "registration-error-email-exists"
            };
            return failed(
                id.unwrap_or(0),
                code,
                "An account is already registered.",
                &json!({"status": 400}),
            );
        }
        let mut customer = self.customers.get(&target).cloned().unwrap_or_else(|| {
            let fresh = json!({"billing": {}, "shipping": {}, "role": "customer", "username": "someone", "meta_data": []});
            fresh.as_object().unwrap().clone()
        });
        for (name, value) in item {
            match name.as_str() {
                "billing" | "shipping" => {
                    for (line, value) in value.as_object().unwrap() {
                        assert!(value.is_string(), "{line} must be a string");
                        customer[&name][line] = value.clone();
                    }
                }
                "meta_data" => merge_meta(&mut customer["meta_data"], &value),
                "first_name" | "last_name" => {
                    customer.insert(name, json!(encoded(value.as_str().unwrap())));
                }
                _ => {
                    customer.insert(name, value);
                }
            }
        }
        customer.insert("id".to_owned(), json!(target));
        self.last_id = self.last_id.max(target);
        self.customers.insert(target, customer.clone());
        Value::Object(customer)
    }

    fn delete_customer(&mut self, id: u64) -> Value {
        self.customers.remove(&id).map_or_else(
            || {
                failed(
                    id,
                    "wc_user_invalid_id",
                    "Invalid user ID.",
                    &json!({"status": 404}),
                )
            },
            Value::Object,
        )
    }

    /// Reads a product with its variations as the API answers them.
    pub(super) fn product(&self, id: u64) -> (wire::Product, Vec<wire::Variation>) {
        let mut row = Value::Object(self.products[&id].clone());
        let own: Vec<Value> = self
            .variations
            .values()
            .filter(|variation| variation["parent_id"] == json!(id))
            .map(|variation| inheriting(variation, &row))
            .collect();
        row["variations"] = own.iter().map(|variation| variation["id"].clone()).collect();
        let variations = own.into_iter().map(|row| serde_json::from_value(row).unwrap());
        (serde_json::from_value(row.clone()).unwrap(), variations.collect())
    }

    pub(super) fn product_theirs(&self, id: u64, settings: &Settings) -> Theirs {
        let (product, variations) = self.product(id);
        product::theirs(&product, &variations, settings)
    }

    pub(super) fn customer(&self, id: u64) -> wire::Customer {
        serde_json::from_value(Value::Object(self.customers[&id].clone())).unwrap()
    }

    pub(super) fn customer_theirs(&self, id: u64) -> Theirs {
        customer::theirs(&self.customer(id))
    }
}

fn failed(id: u64, code: &str, message: &str, data: &Value) -> Value {
    json!({"id": id, "error": {"code": code, "message": message, "data": data}})
}

/// Stores one field as it was seen to be stored.
fn stored(name: &str, value: Value) -> Value {
    let Some(text) = value.as_str() else {
        assert!(
            matches!(
                name,
                "virtual" | "manage_stock" | "attributes" | "meta_data" | "dimensions" | "id"
            ),
            "`{name}` must be a string"
        );
        return match value {
            Value::Array(items) if name == "attributes" => items.into_iter().map(stored_attribute).collect(),
            other => other,
        };
    };
    json!(match name {
        "name" => encoded(text),
        "description" | "short_description" =>
            encoded(&text.replace("<script>", "").replace("</script>", "")),
        "sku" => {
            assert!(!text.contains(['<', '%']), "{text} would be altered");
            text.trim().to_owned()
        }
        "global_unique_id" => text.chars().filter(|c| c.is_ascii_digit() || *c == '-').collect(),
        // Anything but digits and a point is lost.
        "regular_price" | "sale_price" | "weight" =>
            text.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect(),
        _ => text.to_owned(),
    })
}

fn stored_attribute(mut attribute: Value) -> Value {
    attribute["name"] = json!(encoded(attribute["name"].as_str().unwrap()));
    let options: Vec<Value> = attribute["options"]
        .as_array()
        .unwrap()
        .iter()
        .map(|option| json!(encoded(option.as_str().unwrap())))
        .collect();
    attribute["options"] = Value::Array(options);
    attribute
}

/// A variation's attribute goes by the parent's: a global one by id, another by name; the rest is dropped.
fn linked(parent: &Map<String, Value>, attributes: &Value) -> Value {
    let known = parent["attributes"].as_array().cloned().unwrap_or_default();
    let linked = attributes.as_array().unwrap().iter().filter_map(|attribute| {
        let found = known.iter().find(|known| match attribute.get("id") {
            Some(id) => known.get("id") == Some(id),
            None => known.get("id").is_none() && known["name"] == json!(encoded(attribute["name"].as_str().unwrap())),
        })?;
        let option = encoded(attribute["option"].as_str().unwrap());
        assert!(
            found["options"].as_array().unwrap().contains(&json!(option)),
            "the parent lacks the option `{option}`"
        );
        Some(json!({"id": found.get("id").cloned().unwrap_or(json!(0)), "name": found["name"], "option": option}))
    });
    linked.collect()
}

fn inheriting(variation: &Map<String, Value>, parent: &Value) -> Value {
    let mut row = Value::Object(variation.clone());
    for field in ["sku", "weight"] {
        let own = row.get(field).and_then(Value::as_str).unwrap_or_default();
        if own.is_empty() {
            row[field] = parent.get(field).cloned().unwrap_or(json!(""));
        }
    }
    row
}

fn merge_meta(held: &mut Value, sent: &Value) {
    let mut all = held.as_array().cloned().unwrap();
    for meta in sent.as_array().unwrap() {
        if meta["key"].as_str().unwrap().starts_with('_') {
            continue;
        }
        all.retain(|known| known["key"] != meta["key"]);
        all.push(meta.clone());
    }
    *held = Value::Array(all);
}

/// `A & B` becomes `A &amp; B`; an entity stays.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for (at, c) in text.char_indices() {
        let is_entity = ["&amp;", "&lt;", "&gt;", "&quot;"]
            .iter()
            .any(|entity| text[at..].starts_with(entity));
        if c == '&' && !is_entity {
            out.push_str("&amp;");
        } else {
            out.push(c);
        }
    }
    out
}
