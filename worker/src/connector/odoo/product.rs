//! Products: what Odoo calls a template with its variants, to and from records. Pure.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use lockstep_shared::connection::{Settings, WeightUnit};
use lockstep_shared::entity::{
    Attribute, Content, FieldError, Invalid, Money, Product, ProductKind, ProductStatus, Variant,
};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Number;

use super::super::{Parts, Refusal};
use super::category::{self, Tree};
use super::cursor::Second;
use super::price;
use super::wire::{Link, decimal, falsy, round};

/// First version in which goods say by themselves whether stock is kept of them. Before, one of the kinds of product did
/// (facts/mapping-odoo.md §6).
pub(super) const FIRST_WITH_STORABLE: u64 = 18;

/// Returns the fields of `product.template` that are read.
pub(super) const fn template_fields(major: u64) -> &'static [&'static str] {
    if major >= FIRST_WITH_STORABLE {
        &TEMPLATE_FIELDS
    } else {
        &TEMPLATE_FIELDS_BEFORE_STORABLE
    }
}

const TEMPLATE_FIELDS_BEFORE_STORABLE: [&str; 9] = [
    "name",
    "list_price",
    "detailed_type",
    "description_sale",
    "active",
    "sale_ok",
    "categ_id",
    "product_tag_ids",
    "write_date",
];

const TEMPLATE_FIELDS: [&str; 10] = [
    "name",
    "list_price",
    "type",
    "is_storable",
    "description_sale",
    "active",
    "sale_ok",
    "categ_id",
    "product_tag_ids",
    "write_date",
];

/// Fields of `product.product` that are read.
pub(super) const VARIANT_FIELDS: [&str; 6] = [
    "product_tmpl_id",
    "default_code",
    "barcode",
    "weight",
    "active",
    "product_template_attribute_value_ids",
];

/// Fields of `product.template.attribute.value` that are read.
pub(super) const VALUE_FIELDS: [&str; 4] = ["product_tmpl_id", "attribute_id", "name", "price_extra"];

/// Digits of a price. Odoo 19 does not round `list_price` (facts/mapping-odoo.md §1).
const PRICE_DIGITS: u32 = 6;

/// Digits of a weight, in the unit of the remote: what «Stock Weight» is set to by default (facts/mapping-odoo.md §1).
const WEIGHT_DIGITS: u32 = 2;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct TemplateRow {
    pub(super) id: i64,
    #[serde(deserialize_with = "falsy")]
    name: Option<String>,
    list_price: Number,
    /// `detailed_type` before version 18, where goods of which stock is kept are a type of their own.
    #[serde(alias = "detailed_type")]
    r#type: String,
    #[serde(default)]
    is_storable: bool,
    #[serde(deserialize_with = "falsy")]
    description_sale: Option<String>,
    active: bool,
    sale_ok: bool,
    #[serde(default, deserialize_with = "falsy")]
    categ_id: Option<Link>,
    #[serde(default, rename = "product_tag_ids")]
    pub(super) tags: Vec<i64>,
    /// Moved by a change of a variant too (facts/systems.md B6).
    #[serde(default, deserialize_with = "falsy")]
    write_date: Option<Second>,
}

impl TemplateRow {
    pub(super) fn modified_at(&self) -> Option<DateTime<Utc>> {
        self.write_date.map(DateTime::from)
    }

    pub(super) fn has_category(&self) -> bool {
        self.categ_id.is_some()
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct VariantRow {
    pub(super) id: i64,
    pub(super) product_tmpl_id: Link,
    #[serde(deserialize_with = "falsy")]
    default_code: Option<String>,
    #[serde(deserialize_with = "falsy")]
    barcode: Option<String>,
    weight: Number,
    active: bool,
    #[serde(rename = "product_template_attribute_value_ids")]
    pub(super) values: Vec<i64>,
}

/// One option of one template's attribute, with what it adds to the price.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ValueRow {
    pub(super) id: i64,
    pub(super) product_tmpl_id: Link,
    pub(super) attribute_id: Link,
    pub(super) name: String,
    pub(super) price_extra: Number,
}

impl ValueRow {
    pub(super) fn attribute(&self) -> Attribute {
        Attribute {
            name: self.attribute_id.1.clone(),
            option: self.name.clone(),
        }
    }

    /// The option as [`price::solve`] names it.
    pub(super) fn value(&self) -> price::Value {
        (self.attribute_id.1.to_lowercase(), self.name.to_lowercase())
    }

    pub(super) fn extra(&self) -> Decimal {
        decimal(&self.price_extra)
    }
}

/// A word that products are found by. No two have the same name, and its case counts (Odoo's own `product_tag.py`, from
/// its source and not from a capture).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TagRow {
    pub(super) id: i64,
    pub(super) name: String,
}

pub(super) const TAG: &str = "product.tag";

/// Fields of `product.tag` that are read.
pub(super) const TAG_FIELDS: [&str; 1] = ["name"];

/// What was read of some templates.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalogue {
    variants: BTreeMap<i64, Vec<VariantRow>>,
    values: BTreeMap<i64, ValueRow>,
    categories: Tree,
    tags: BTreeMap<i64, String>,
}

impl Catalogue {
    pub(super) fn new(variants: Vec<VariantRow>, values: Vec<ValueRow>) -> Self {
        let mut catalogue = Self::default();
        for variant in variants {
            let siblings = catalogue.variants.entry(variant.product_tmpl_id.0).or_default();
            siblings.push(variant);
        }
        catalogue.values = values.into_iter().map(|value| (value.id, value)).collect();
        catalogue
    }

    pub(super) fn with_categories(mut self, categories: Tree) -> Self {
        self.categories = categories;
        self
    }

    pub(super) fn with_tags(mut self, tags: Vec<TagRow>) -> Self {
        self.tags = tags.into_iter().map(|tag| (tag.id, tag.name)).collect();
        self
    }

    /// Reads a template with its variants as a record, or says why it is none.
    pub(super) fn content(
        &self,
        template: &TemplateRow,
        settings: &Settings,
    ) -> (Result<Content, Invalid>, Parts) {
        let variants = self.variants_of(template);
        if variants.is_empty() {
            let error = FieldError::new("variants", "must be there: Odoo has made none of them yet");
            return (Err(Invalid(vec![error])), Parts::new());
        }
        let read: Vec<(Variant, i64)> = variants
            .iter()
            .map(|row| (self.variant(template, row, settings), row.id))
            .collect();
        // The only variant of a simple product is written through its template and needs no id of its own.
        let parts = read
            .iter()
            .filter(|(variant, _)| !variant.attributes.is_empty())
            .map(|(variant, id)| (variant.key(), id.to_string()))
            .collect();
        let product = Product {
            name: template.name.clone().unwrap_or_default(),
            status: status(template),
            kind: kind(&template.r#type),
            tracks_stock: (template.is_storable || template.r#type == "product")
                && kind(&template.r#type) == ProductKind::Goods,
            description: None,
            summary: template.description_sale.clone(),
            variants: read.into_iter().map(|(variant, _)| variant).collect(),
            categories: template
                .categ_id
                .as_ref()
                .and_then(|category| self.categories.path(category.0))
                .cloned()
                .into_iter()
                .collect(),
            // A picture is bytes here and has no address that others could fetch it from.
            images: Vec::new(),
            tags: template
                .tags
                .iter()
                .filter_map(|id| self.tags.get(id))
                .cloned()
                .collect(),
            tax_class: None,
        };
        (Content::Product(product).canonical(), parts)
    }

    /// Returns the variants that count: an archived variant of a template in use is gone, those of an archived
    /// template were archived with it (facts/mapping-odoo.md §1). One without values beside others with some is what
    /// was left when a simple product got variants.
    fn variants_of(&self, template: &TemplateRow) -> Vec<&VariantRow> {
        let all = self.variants.get(&template.id).map_or(&[][..], Vec::as_slice);
        let kept: Vec<&VariantRow> = all
            .iter()
            .filter(|variant| variant.active || !template.active)
            .collect();
        let has_choices = kept.iter().any(|variant| !variant.values.is_empty());
        kept.into_iter()
            .filter(|variant| !has_choices || !variant.values.is_empty())
            .collect()
    }

    fn variant(&self, template: &TemplateRow, row: &VariantRow, settings: &Settings) -> Variant {
        let values = || row.values.iter().filter_map(|id| self.values.get(id));
        let extras: Decimal = values().map(ValueRow::extra).sum();
        let amount = round(decimal(&template.list_price) + extras, PRICE_DIGITS);
        Variant {
            attributes: values().map(ValueRow::attribute).collect(),
            sku: row.default_code.clone(),
            barcode: row.barcode.clone(),
            price: Some(Money::new(amount, settings.currency)),
            weight_kg: Some(to_kilograms(decimal(&row.weight), settings.weight_unit)),
            dimensions: None,
            sale: None,
        }
    }
}

/// Draft and archived are one thing to Odoo.
fn status(template: &TemplateRow) -> ProductStatus {
    match (template.active, template.sale_ok) {
        (true, true) => ProductStatus::Published,
        (true, false) => ProductStatus::Private,
        (false, _) => ProductStatus::Archived,
    }
}

/// A combo is sold as one thing: goods, as far as a record knows.
fn kind(r#type: &str) -> ProductKind {
    match r#type {
        "service" => ProductKind::Service,
        _ => ProductKind::Goods,
    }
}

/// Returns the product as Odoo can hold it.
///
/// Source: facts/mapping-odoo.md §1 and §9. Odoo's own `description` is for notes that no customer sees, so ours has no
/// place there. A price that is not set is 0.
///
/// Of several categories one is held, of several pictures the main one, and kinds of tax and measures have no place: Odoo
/// Community has a volume and no sides. A sale would be a line of a price list, which holds only where an order or a
/// partner goes by that list. These stay with our record.
pub(super) fn project(product: &Product, settings: &Settings) -> Product {
    let mut projected = product.clone();
    projected.description = None;
    projected.categories = category::held(&projected.categories);
    projected.images.truncate(1);
    projected.tax_class = None;
    if projected.status == ProductStatus::Draft {
        projected.status = ProductStatus::Archived;
    }
    if projected.kind == ProductKind::Service {
        projected.tracks_stock = false;
    }
    for variant in &mut projected.variants {
        (variant.sale, variant.dimensions) = (None, None);
        let price = variant
            .price
            .unwrap_or_else(|| Money::new(Decimal::ZERO, settings.currency));
        variant.price = Some(Money::new(round(price.amount, PRICE_DIGITS), price.currency));
        variant.weight_kg = variant
            .weight_kg
            .map(|weight| to_kilograms(from_kilograms(weight, settings.weight_unit), settings.weight_unit));
    }
    projected
}

/// Says why Odoo can't hold a product.
pub(super) fn refuses(product: &Product, settings: &Settings) -> Option<Refusal> {
    let refusal = |code: &str, message: String| {
        Some(Refusal {
            code: code.to_owned(),
            message,
        })
    };
    if product.name.is_empty() {
        return refusal("name_missing", "a product needs a name".to_owned());
    }
    let foreign = product
        .variants
        .iter()
        .filter_map(|variant| variant.price)
        .find(|price| price.currency != settings.currency);
    if let Some(price) = foreign {
        return refusal(
            "currency",
            format!(
                "prices here are in {}, not in {}",
                settings.currency, price.currency
            ),
        );
    }
    let sets: BTreeSet<Vec<String>> = product
        .variants
        .iter()
        .map(|variant| variant.attributes.iter().map(|a| a.name.to_lowercase()).collect())
        .collect();
    if product.variants.len() > 1 && (sets.len() > 1 || product.is_simple()) {
        return refusal(
            "attributes_uneven",
            "each variant must have a value for each of the product's attributes".to_owned(),
        );
    }
    if price::solve(&project(product, settings).variants).is_none() {
        return refusal(
            "prices_not_additive",
            "prices must be one base price plus an extra per attribute value".to_owned(),
        );
    }
    None
}

/// Kilograms in one of the unit: exact by the definition of the pound of 1959.
fn kilograms(unit: WeightUnit) -> Decimal {
    match unit {
        WeightUnit::Kg => Decimal::ONE,
        WeightUnit::G => Decimal::new(1, 3),
        WeightUnit::Lbs => Decimal::new(45_359_237, 8),
        WeightUnit::Oz => Decimal::new(28_349_523_125, 12),
    }
}

fn to_kilograms(weight: Decimal, unit: WeightUnit) -> Decimal {
    (round(weight, WEIGHT_DIGITS) * kilograms(unit)).normalize()
}

/// Returns the weight in the remote's unit, rounded as it rounds.
pub(super) fn from_kilograms(weight: Decimal, unit: WeightUnit) -> Decimal {
    round(weight / kilograms(unit), WEIGHT_DIGITS)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    pub(crate) fn product(content: &Value) -> Product {
        let entity = lockstep_shared::system::EntityType::Products;
        let Content::Product(product) = Content::parse(entity, content.clone()).unwrap() else {
            panic!("a product")
        };
        product
    }

    fn template(change: &Value) -> TemplateRow {
        let mut row = json!({
            "id": 9, "name": "Customizable Desk", "list_price": 750.0, "type": "consu", "is_storable": true,
            "description_sale": false, "active": true, "sale_ok": true, "write_date": "2026-11-22 19:21:06"
        });
        for (name, value) in change.as_object().unwrap() {
            row[name] = value.clone();
        }
        serde_json::from_value(row).unwrap()
    }

    fn catalogue(variants: &Value, values: &Value) -> Catalogue {
        let full = |row: &Value| {
            let mut full = json!({
                "product_tmpl_id": [9, "Desk"], "default_code": false, "barcode": false, "weight": 0.01,
                "active": true, "product_template_attribute_value_ids": []
            });
            for (name, value) in row.as_object().unwrap() {
                full[name] = value.clone();
            }
            serde_json::from_value(full).unwrap()
        };
        let variants = variants.as_array().unwrap().iter().map(full).collect();
        Catalogue::new(variants, serde_json::from_value(values.clone()).unwrap())
    }

    fn values() -> Value {
        json!([
            {"id": 1, "name": "Steel", "attribute_id": [8, "Legs"], "product_tmpl_id": [9, "Desk"], "price_extra": 0.0},
            {"id": 2, "name": "Aluminium", "attribute_id": [8, "Legs"], "product_tmpl_id": [9, "Desk"], "price_extra": 50.4}
        ])
    }

    #[test]
    fn a_template_with_one_variant_without_values_is_simple() {
        let catalogue = catalogue(
            &json!([{"id": 13, "default_code": "E-COM06", "barcode": "601647855633"}]),
            &json!([]),
        );

        let (content, parts) = catalogue.content(&template(&json!({})), &Settings::default());

        let expected = product(&json!({
            "name": "Customizable Desk", "tracks_stock": true,
            "variants": [{
                "sku": "E-COM06", "barcode": "601647855633", "weight_kg": "0.01",
                "price": {"amount": "750", "currency": "USD"}
            }]
        }));
        assert_eq!(content.unwrap(), Content::Product(expected));
        assert!(parts.is_empty());
    }

    #[test]
    fn a_variant_costs_the_list_price_and_its_extras() {
        let catalogue = catalogue(
            &json!([
                {"id": 13, "product_template_attribute_value_ids": [1]},
                {"id": 14, "product_template_attribute_value_ids": [2]}
            ]),
            &values(),
        );

        let (content, parts) = catalogue.content(&template(&json!({})), &Settings::default());

        let Content::Product(product) = content.unwrap() else {
            panic!("a product")
        };
        let prices: Vec<String> = product
            .variants
            .iter()
            .map(|variant| variant.price.unwrap().amount.to_string())
            .collect();
        assert_eq!(prices, ["800.4", "750"]);
        assert_eq!(parts.values().collect::<Vec<_>>(), ["14", "13"]);
    }

    #[test]
    fn an_archived_variant_is_gone_unless_its_template_is_archived_too() {
        let catalogue = catalogue(
            &json!([
                {"id": 13, "product_template_attribute_value_ids": [1]},
                {"id": 14, "product_template_attribute_value_ids": [2], "active": false}
            ]),
            &values(),
        );
        let count = |change: Value| {
            let (_, parts) = catalogue.content(&template(&change), &Settings::default());
            parts.len()
        };

        assert_eq!(count(json!({})), 1);
        assert_eq!(count(json!({"active": false})), 2);
    }

    #[test]
    fn a_template_without_variants_is_no_record() {
        let (content, _) = Catalogue::default().content(&template(&json!({})), &Settings::default());

        assert_eq!(content.unwrap_err().0[0].field, "variants");
    }

    #[test]
    fn status_and_kind_are_read() {
        let catalogue = catalogue(&json!([{"id": 13}]), &json!([]));
        let read = |change: Value| {
            let (content, _) = catalogue.content(&template(&change), &Settings::default());
            let Content::Product(product) = content.unwrap() else {
                panic!("a product")
            };
            (product.status, product.kind, product.tracks_stock)
        };

        assert_eq!(
            read(json!({"sale_ok": false, "type": "combo"})),
            (ProductStatus::Private, ProductKind::Goods, true)
        );
        assert_eq!(
            read(json!({"type": "service"})),
            (ProductStatus::Published, ProductKind::Service, false)
        );
    }

    #[test]
    fn what_odoo_cannot_hold_is_projected_away() {
        let projected = project(
            &product(&json!({
                "name": "A", "status": "draft", "kind": "service", "tracks_stock": true, "description": "<p>x</p>",
                "variants": [{"weight_kg": "0.1254"}]
            })),
            &Settings::default(),
        );

        let expected = product(&json!({
            "name": "A", "status": "archived", "kind": "service",
            "variants": [{"weight_kg": "0.13", "price": {"amount": "0", "currency": "USD"}}]
        }));
        assert_eq!(projected, expected);
    }

    #[test]
    fn products_that_odoo_cannot_hold_are_refused_with_a_reason() {
        let code = |variants: Value| {
            let product = product(&json!({"name": "A", "variants": variants}));
            refuses(&product, &Settings::default()).map(|refusal| refusal.code)
        };
        let price = |amount: &str| json!({"amount": amount, "currency": "USD"});
        let at = |color: &str, size: &str, amount: &str| {
            json!({
                "attributes": [{"name": "Color", "option": color}, {"name": "Size", "option": size}],
                "price": price(amount)
            })
        };

        assert_eq!(code(json!([{"price": price("3")}])), None);
        assert_eq!(
            code(json!([{"price": {"amount": "3", "currency": "EUR"}}])).as_deref(),
            Some("currency")
        );
        assert_eq!(
            code(json!([
                at("Red", "S", "1"),
                at("Red", "L", "2"),
                at("Blue", "S", "1"),
                at("Blue", "L", "3")
            ]))
            .as_deref(),
            Some("prices_not_additive")
        );
        assert_eq!(
            code(json!([
                at("Red", "S", "1"),
                {"attributes": [{"name": "Color", "option": "Blue"}], "price": price("1")}
            ]))
            .as_deref(),
            Some("attributes_uneven")
        );
    }

    proptest! {
        #[test]
        fn a_weight_that_was_rounded_stays(grams in 0..10_000_000_i64) {
            for unit in [WeightUnit::Kg, WeightUnit::G, WeightUnit::Lbs, WeightUnit::Oz] {
                let once = to_kilograms(from_kilograms(Decimal::new(grams, 3), unit), unit);
                let twice = to_kilograms(from_kilograms(once, unit), unit);
                prop_assert_eq!(once, twice);
            }
        }
    }
}
