//! What we read of WooCommerce's own JSON.
//!
//! Lenient on purpose: plugins answer numbers for strings, strings for booleans and `null` for anything. What is
//! missing or of another type is empty; fields that are not named here are ignored.

use chrono::NaiveDateTime;
use lockstep_shared::id::RecordId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A product's meta key that holds our record's id (facts/mapping-woocommerce.md §1).
pub(super) const PRODUCT_MARKER: &str = "_lockstep_record";

/// A customer's. Without an underscore in front: such keys are dropped without a word for customers
/// (facts/mapping-woocommerce.md §2).
pub(super) const CUSTOMER_MARKER: &str = "lockstep_record";

/// The fields of [`Product`], so that the server need not send the rest.
pub(super) const PRODUCT_FIELDS: &str = "id,parent_id,name,type,status,virtual,manage_stock,description,\
     short_description,sku,global_unique_id,regular_price,sale_price,date_on_sale_from_gmt,date_on_sale_to_gmt,weight,\
     dimensions,tax_status,tax_class,categories,tags,images,attributes,variations,meta_data,date_modified,\
     date_modified_gmt";

/// The fields of [`Variation`].
pub(super) const VARIATION_FIELDS: &str = "id,parent_id,status,virtual,manage_stock,sku,global_unique_id,\
     regular_price,sale_price,date_on_sale_from_gmt,date_on_sale_to_gmt,weight,dimensions,attributes";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Product {
    #[serde(deserialize_with = "number")]
    pub(super) id: u64,
    /// Not 0 in a variation, which a list by SKU answers too (facts/systems.md A3).
    #[serde(deserialize_with = "number")]
    pub(super) parent_id: u64,
    #[serde(deserialize_with = "text")]
    pub(super) name: String,
    #[serde(rename = "type", deserialize_with = "text")]
    pub(super) type_name: String,
    #[serde(deserialize_with = "text")]
    pub(super) status: String,
    #[serde(rename = "virtual", deserialize_with = "flag")]
    pub(super) is_virtual: bool,
    #[serde(deserialize_with = "flag")]
    pub(super) manage_stock: bool,
    #[serde(deserialize_with = "text")]
    pub(super) description: String,
    #[serde(deserialize_with = "text")]
    pub(super) short_description: String,
    #[serde(deserialize_with = "text")]
    pub(super) sku: String,
    #[serde(deserialize_with = "text")]
    pub(super) global_unique_id: String,
    #[serde(deserialize_with = "text")]
    pub(super) regular_price: String,
    #[serde(flatten)]
    pub(super) sale: Sale,
    #[serde(deserialize_with = "text")]
    pub(super) weight: String,
    pub(super) dimensions: Dimensions,
    #[serde(deserialize_with = "text")]
    pub(super) tax_status: String,
    #[serde(deserialize_with = "text")]
    pub(super) tax_class: String,
    #[serde(deserialize_with = "list")]
    pub(super) categories: Vec<Category>,
    #[serde(deserialize_with = "list")]
    pub(super) tags: Vec<Category>,
    #[serde(deserialize_with = "list")]
    pub(super) images: Vec<Image>,
    /// Of the categories that count, where the store's tree was read.
    #[serde(skip)]
    pub(super) paths: Vec<Vec<String>>,
    #[serde(deserialize_with = "list")]
    pub(super) attributes: Vec<Attribute>,
    #[serde(deserialize_with = "list")]
    pub(super) variations: Vec<u64>,
    #[serde(deserialize_with = "list")]
    pub(super) meta_data: Vec<Meta>,
    /// In the site's own time zone (facts/systems.md A4).
    #[serde(deserialize_with = "time")]
    pub(super) date_modified: Option<NaiveDateTime>,
    #[serde(deserialize_with = "time")]
    pub(super) date_modified_gmt: Option<NaiveDateTime>,
}

impl Product {
    pub(super) fn is_variable(&self) -> bool {
        self.type_name == "variable"
    }

    pub(super) fn is_trashed(&self) -> bool {
        self.status == "trash"
    }

    pub(super) fn marker(&self) -> Option<RecordId> {
        marker(&self.meta_data, PRODUCT_MARKER)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Variation {
    #[serde(deserialize_with = "number")]
    pub(super) id: u64,
    #[serde(deserialize_with = "number")]
    pub(super) parent_id: u64,
    #[serde(deserialize_with = "text")]
    pub(super) status: String,
    #[serde(rename = "virtual", deserialize_with = "flag")]
    pub(super) is_virtual: bool,
    /// Also the string `parent`, when the parent keeps the stock (facts/mapping-woocommerce.md §5).
    #[serde(deserialize_with = "flag")]
    pub(super) manage_stock: bool,
    #[serde(deserialize_with = "text")]
    pub(super) sku: String,
    #[serde(deserialize_with = "text")]
    pub(super) global_unique_id: String,
    #[serde(deserialize_with = "text")]
    pub(super) regular_price: String,
    #[serde(flatten)]
    pub(super) sale: Sale,
    #[serde(deserialize_with = "text")]
    pub(super) weight: String,
    pub(super) dimensions: Dimensions,
    #[serde(deserialize_with = "list")]
    pub(super) attributes: Vec<Attribute>,
}

/// A category or a tag; in a product without its parent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Category {
    #[serde(deserialize_with = "number")]
    pub(super) id: u64,
    #[serde(deserialize_with = "text")]
    pub(super) name: String,
    #[serde(deserialize_with = "text")]
    pub(super) slug: String,
    #[serde(deserialize_with = "number")]
    pub(super) parent: u64,
}

/// A picture, under the store's own address.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Image {
    #[serde(deserialize_with = "number")]
    pub(super) id: u64,
    #[serde(deserialize_with = "text")]
    pub(super) src: String,
}

/// A lower price, with its dates in UTC.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sale {
    #[serde(rename = "sale_price", deserialize_with = "text")]
    pub(super) price: String,
    #[serde(rename = "date_on_sale_from_gmt", deserialize_with = "time")]
    pub(super) from: Option<NaiveDateTime>,
    #[serde(rename = "date_on_sale_to_gmt", deserialize_with = "time")]
    pub(super) until: Option<NaiveDateTime>,
}

/// Outer measures in the shop's unit.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Dimensions {
    #[serde(deserialize_with = "text")]
    pub(super) length: String,
    #[serde(deserialize_with = "text")]
    pub(super) width: String,
    #[serde(deserialize_with = "text")]
    pub(super) height: String,
}

/// An attribute of a product, which has `options`, or of a variation, which has one `option`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Attribute {
    /// 0 for an attribute that only this product has.
    #[serde(deserialize_with = "number")]
    pub(super) id: u64,
    #[serde(deserialize_with = "text")]
    pub(super) name: String,
    #[serde(deserialize_with = "number")]
    pub(super) position: u64,
    #[serde(deserialize_with = "flag")]
    pub(super) visible: bool,
    #[serde(deserialize_with = "flag")]
    pub(super) variation: bool,
    #[serde(deserialize_with = "list")]
    pub(super) options: Vec<String>,
    #[serde(deserialize_with = "text")]
    pub(super) option: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    #[serde(deserialize_with = "text")]
    pub(super) key: String,
    #[serde(deserialize_with = "text")]
    pub(super) value: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Customer {
    #[serde(deserialize_with = "number")]
    pub(super) id: u64,
    #[serde(deserialize_with = "text")]
    pub(super) email: String,
    #[serde(deserialize_with = "text")]
    pub(super) first_name: String,
    #[serde(deserialize_with = "text")]
    pub(super) last_name: String,
    #[serde(deserialize_with = "text")]
    pub(super) username: String,
    #[serde(deserialize_with = "text")]
    pub(super) role: String,
    pub(super) billing: Address,
    pub(super) shipping: Address,
    #[serde(deserialize_with = "list")]
    pub(super) meta_data: Vec<Meta>,
    /// Moved by every change of the account; no list can be asked by it (facts/systems.md A3).
    #[serde(deserialize_with = "time")]
    pub(super) date_modified_gmt: Option<NaiveDateTime>,
}

impl Customer {
    pub(super) fn marker(&self) -> Option<RecordId> {
        marker(&self.meta_data, CUSTOMER_MARKER)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Address {
    #[serde(deserialize_with = "text")]
    pub(super) first_name: String,
    #[serde(deserialize_with = "text")]
    pub(super) last_name: String,
    #[serde(deserialize_with = "text")]
    pub(super) company: String,
    #[serde(rename = "address_1", deserialize_with = "text")]
    pub(super) street: String,
    #[serde(rename = "address_2", deserialize_with = "text")]
    pub(super) street2: String,
    #[serde(deserialize_with = "text")]
    pub(super) city: String,
    #[serde(deserialize_with = "text")]
    pub(super) postcode: String,
    #[serde(deserialize_with = "text")]
    pub(super) country: String,
    #[serde(deserialize_with = "text")]
    pub(super) state: String,
    #[serde(deserialize_with = "text")]
    pub(super) phone: String,
    /// Only billing addresses have one.
    #[serde(deserialize_with = "text")]
    pub(super) email: String,
}

/// Returns the first value of a meta key that is not empty.
pub(super) fn meta<'a>(meta_data: &'a [Meta], key: &str) -> Option<&'a str> {
    meta_data
        .iter()
        .find(|meta| meta.key == key && !meta.value.is_empty())
        .map(|meta| meta.value.as_str())
}

pub(super) fn marker(meta_data: &[Meta], key: &str) -> Option<RecordId> {
    meta(meta_data, key)?.parse().ok()
}

pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    })
}

pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
    .unwrap_or_default())
}

pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Bool(flag) => flag,
        Value::String(text) => matches!(text.as_str(), "parent" | "yes" | "true" | "1"),
        Value::Number(number) => number.as_i64().is_some_and(|number| number != 0),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    })
}

pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NaiveDateTime>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value
        .as_str()
        .and_then(|text| text.trim_end_matches('Z').parse().ok()))
}

/// PHP has one type for lists and maps, so a list may come as either.
pub(super) fn list<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let items: Vec<Value> = match Value::deserialize(deserializer)? {
        Value::Array(items) => items,
        Value::Object(items) => items.into_iter().map(|(_, item)| item).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    let known = items
        .into_iter()
        .filter_map(|item| serde_json::from_value(item).ok());
    Ok(known.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn odd_types_are_read() {
        let product: Product = serde_json::from_value(json!({
            "id": "12", "name": null, "regular_price": 2.5, "manage_stock": "parent", "attributes": {"0": {"name": "A"}},
            "date_modified_gmt": "2026-11-22T18:29:02", "date_modified": null, "variations": [], "surprise": {}
        }))
        .unwrap();

        assert_eq!(
            (product.id, product.name.as_str(), product.regular_price.as_str()),
            (12, "", "2.5")
        );
        assert!(
            product.manage_stock && product.date_modified.is_none() && product.date_modified_gmt.is_some()
        );
        assert_eq!(product.attributes[0].name, "A");
    }

    #[test]
    fn the_marker_is_the_record_s_id() {
        let id = "0198c0de-0000-7000-8000-000000000001";
        let product: Product = serde_json::from_value(json!({"meta_data": [
            {"id": 1, "key": "other", "value": {"a": [1]}}, {"id": 2, "key": "_lockstep_record", "value": id}
        ]}))
        .unwrap();

        assert_eq!(product.marker(), Some(id.parse().unwrap()));
    }
}
