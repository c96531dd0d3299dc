//! The schema checks of single calls; batches skip them (facts: systems A6, A9).

use serde_json::{Map, Value};

use super::refusal::{Problem, Refusal};

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    Integer,
    Boolean,
    Object,
    List,
    OneOf(&'static [&'static str]),
}

const STATUSES: &[&str] = &[
    "draft",
    "pending",
    "private",
    "publish",
    "future",
    "auto-draft",
    "trash",
];
const TYPES: &[&str] = &["simple", "grouped", "external", "variable"];
const VISIBILITIES: &[&str] = &["visible", "catalog", "search", "hidden"];
const STOCK: &[&str] = &["instock", "outofstock", "onbackorder"];
const BACKORDERS: &[&str] = &["no", "notify", "yes"];
const TAX: &[&str] = &["taxable", "shipping", "none"];

pub(super) const PRODUCT: &[(&str, Kind)] = &[
    ("name", Kind::Text),
    ("slug", Kind::Text),
    ("type", Kind::OneOf(TYPES)),
    ("status", Kind::OneOf(STATUSES)),
    ("featured", Kind::Boolean),
    ("catalog_visibility", Kind::OneOf(VISIBILITIES)),
    ("description", Kind::Text),
    ("short_description", Kind::Text),
    ("sku", Kind::Text),
    ("global_unique_id", Kind::Text),
    ("regular_price", Kind::Text),
    ("sale_price", Kind::Text),
    ("virtual", Kind::Boolean),
    ("downloadable", Kind::Boolean),
    ("external_url", Kind::Text),
    ("button_text", Kind::Text),
    ("tax_status", Kind::OneOf(TAX)),
    ("tax_class", Kind::Text),
    ("manage_stock", Kind::Boolean),
    ("stock_quantity", Kind::Integer),
    ("stock_status", Kind::OneOf(STOCK)),
    ("backorders", Kind::OneOf(BACKORDERS)),
    ("sold_individually", Kind::Boolean),
    ("weight", Kind::Text),
    ("dimensions", Kind::Object),
    ("shipping_class", Kind::Text),
    ("reviews_allowed", Kind::Boolean),
    ("parent_id", Kind::Integer),
    ("purchase_note", Kind::Text),
    ("categories", Kind::List),
    ("brands", Kind::List),
    ("tags", Kind::List),
    ("images", Kind::List),
    ("attributes", Kind::List),
    ("default_attributes", Kind::List),
    ("menu_order", Kind::Integer),
    ("meta_data", Kind::List),
];

pub(super) const CUSTOMER: &[(&str, Kind)] = &[
    ("email", Kind::Text),
    ("first_name", Kind::Text),
    ("last_name", Kind::Text),
    ("username", Kind::Text),
    ("password", Kind::Text),
    ("billing", Kind::Object),
    ("shipping", Kind::Object),
    ("meta_data", Kind::List),
];

pub(super) const TERM: &[(&str, Kind)] = &[
    ("name", Kind::Text),
    ("slug", Kind::Text),
    ("parent", Kind::Integer),
    ("description", Kind::Text),
    ("menu_order", Kind::Integer),
];

pub(super) const ADDRESS: &[&str] = &[
    "first_name",
    "last_name",
    "company",
    "address_1",
    "address_2",
    "city",
    "postcode",
    "country",
    "state",
    "email",
    "phone",
];

/// Checks a body against a schema, naming every bad parameter in the order of the schema.
pub(super) fn check(schema: &[(&str, Kind)], body: &Map<String, Value>) -> Result<(), Refusal> {
    let problems: Vec<Problem> = schema
        .iter()
        .filter_map(|(name, kind)| body.get(*name).and_then(|value| problem(name, *kind, value)))
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Refusal::invalid(&problems))
    }
}

pub(super) fn problem(name: &str, kind: Kind, value: &Value) -> Option<Problem> {
    match kind {
        Kind::Text | Kind::OneOf(_) if !value.is_string() => Some(Problem::wrong_type(name, name, "string")),
        Kind::Integer if !is_integer(value) => {
            // A null quantity is how a product without stock keeping is sent back.
            let is_empty_stock = name == "stock_quantity" && value.is_null();
            (!is_empty_stock).then(|| Problem::wrong_type(name, name, "integer"))
        }
        Kind::Boolean if as_boolean(value).is_none() => Some(Problem::wrong_type(name, name, "boolean")),
        Kind::List if !value.is_array() && !value.is_string() => {
            Some(Problem::wrong_type(name, name, "array"))
        }
        Kind::OneOf(allowed) => {
            let is_listed = value.as_str().is_some_and(|value| allowed.contains(&value));
            (!is_listed).then(|| Problem::not_listed(name, allowed))
        }
        Kind::Object => object_problem(name, value),
        Kind::Text | Kind::Integer | Kind::Boolean | Kind::List => None,
    }
}

fn object_problem(name: &str, value: &Value) -> Option<Problem> {
    let Some(object) = value.as_object() else {
        return Some(Problem::wrong_type(name, name, "object"));
    };
    for part in ADDRESS.iter().chain(&["length", "width", "height"]) {
        let Some(inner) = object.get(*part) else { continue };
        let Some(text) = inner.as_str() else {
            return Some(Problem::wrong_type(name, &format!("{name}[{part}]"), "string"));
        };
        if name == "billing" && *part == "email" && !is_email(text) {
            return Some(Problem::bad_email(name));
        }
    }
    None
}

fn is_integer(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|number| number.fract() == 0.0),
        Value::String(text) => text.trim().parse::<i64>().is_ok(),
        _ => false,
    }
}

/// Reads a boolean the way the REST API does.
pub(super) fn as_boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) if number.as_i64() == Some(1) => Some(true),
        Value::Number(number) if number.as_i64() == Some(0) => Some(false),
        Value::String(text) => match text.to_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" | "" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Whether WordPress takes this for an e-mail address: ASCII only (facts: mapping-woocommerce 2).
pub(super) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    let is_local = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~.-".contains(c);
    !local.is_empty()
        && local.chars().all(is_local)
        && domain.contains('.')
        && domain.split('.').all(|part| {
            !part.is_empty()
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        })
}
