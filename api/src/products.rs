//! Products and their variants, as the API shows and takes them.

use chrono::{DateTime, Utc};
use lockstep_shared::entity::{self, Content};
use lockstep_shared::system::EntityType;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;

use crate::body::{self, FromBody, line, lines, paths_of_lines, present, present_instant, present_line};
use crate::money::{Money, decimal, some_decimal};
use crate::problem::WrongField;
use crate::records::{self, Shown};

/// Whether a product can be bought, and by whom it is seen. `private`: by the shop's people only. `archived`: no longer
/// sold, kept because orders refer to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename_all = "lowercase", remote = "entity::ProductStatus")]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProductStatus {
    #[default]
    Published,
    Private,
    Draft,
    Archived,
}

/// Whether a product is a thing that is shipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename_all = "lowercase", remote = "entity::ProductKind")]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProductKind {
    #[default]
    Goods,
    Service,
}

/// One property that tells a product's variants apart: `Color` = `Blue`.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Attribute {
    /// Name of the property.
    #[serde(deserialize_with = "line")]
    name: String,
    /// What the variant has of it.
    #[serde(deserialize_with = "line")]
    option: String,
}

/// One thing that can be put into a basket.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Variant {
    /// What tells it apart from the product's other variants; empty for the only one of a simple product.
    #[oai(default)]
    #[serde(default)]
    attributes: Vec<Attribute>,
    /// Stock-keeping unit. By it the product is known again in other systems.
    #[serde(default, deserialize_with = "present_line")]
    sku: Option<String>,
    /// GTIN, EAN, UPC or ISBN.
    #[serde(default, deserialize_with = "present_line")]
    barcode: Option<String>,
    /// Regular price of one unit, without any sale.
    #[serde(default, deserialize_with = "present")]
    price: Option<Money>,
    /// Weight of one unit in kilograms, as a decimal in a text.
    #[serde(default, deserialize_with = "some_decimal")]
    weight_kg: Option<Decimal>,
    /// A lower price for a while.
    #[serde(default, deserialize_with = "present")]
    sale: Option<Sale>,
    /// Outer measures of one unit.
    #[serde(default, deserialize_with = "present")]
    dimensions: Option<Dimensions>,
}

/// A lower price than the regular one, in the same currency, and when it holds.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Sale {
    /// Price of one unit in the sale, below the regular one, as a decimal in a text.
    #[serde(deserialize_with = "decimal")]
    price: Decimal,
    /// From when on it holds, to the second; left out: already.
    #[serde(default, deserialize_with = "present_instant")]
    from: Option<DateTime<Utc>>,
    /// Until when it holds, to the second; left out: for good.
    #[serde(default, deserialize_with = "present_instant")]
    until: Option<DateTime<Utc>>,
}

/// Outer measures in centimetres, each as a decimal in a text.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "units stand in names")]
pub(crate) struct Dimensions {
    /// Length.
    #[serde(default, deserialize_with = "some_decimal")]
    length_cm: Option<Decimal>,
    /// Width.
    #[serde(default, deserialize_with = "some_decimal")]
    width_cm: Option<Decimal>,
    /// Height.
    #[serde(default, deserialize_with = "some_decimal")]
    height_cm: Option<Decimal>,
}

/// Something that is sold, with one or more variants. Names, options, stock-keeping units and barcodes have at most 250
/// characters as they are put.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(
    rename_all = "camelCase",
    deny_unknown_fields,
    skip_serializing_if_is_none,
    example
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Product {
    /// Name of the product.
    #[serde(deserialize_with = "line")]
    name: String,
    /// Whether it can be bought, and by whom it is seen.
    #[oai(default)]
    #[serde(default)]
    status: ProductStatus,
    /// Whether it is a thing that is shipped.
    #[oai(default)]
    #[serde(default)]
    kind: ProductKind,
    /// Whether the number in stock is counted.
    #[oai(default)]
    #[serde(default)]
    tracks_stock: bool,
    /// Long description, as HTML.
    #[serde(default, deserialize_with = "present")]
    description: Option<String>,
    /// Short description, as plain text.
    #[serde(default, deserialize_with = "present")]
    summary: Option<String>,
    /// The categories it stands in, each by the names from the outermost category to itself.
    #[oai(default)]
    #[serde(default, deserialize_with = "paths_of_lines")]
    categories: Vec<Vec<String>>,
    /// Words it is found by.
    #[oai(default)]
    #[serde(default, deserialize_with = "lines")]
    tags: Vec<String>,
    /// How it is taxed, by the name of a kind of tax such as `reduced-rate`; left out: as usual.
    #[serde(default, deserialize_with = "present_line")]
    tax_class: Option<String>,
    /// Addresses of its pictures, the main one first.
    #[oai(default)]
    #[serde(default)]
    images: Vec<String>,
    /// 1 to 500 variants; a simple product has one, without attributes.
    #[oai(validator(min_items = 1, max_items = 500))]
    variants: Vec<Variant>,
}

records::mirror!(Attribute as entity::Attribute { name, option });
records::mirror!(Sale as entity::Sale { price, from, until });
records::mirror!(Dimensions as entity::Dimensions { length_cm, width_cm, height_cm });

impl From<Variant> for entity::Variant {
    fn from(variant: Variant) -> Self {
        Self {
            attributes: variant
                .attributes
                .into_iter()
                .map(entity::Attribute::from)
                .collect(),
            sku: variant.sku,
            barcode: variant.barcode,
            price: variant.price.map(entity::Money::from),
            weight_kg: variant.weight_kg,
            sale: variant.sale.map(entity::Sale::from),
            dimensions: variant.dimensions.map(entity::Dimensions::from),
        }
    }
}

impl From<entity::Variant> for Variant {
    fn from(variant: entity::Variant) -> Self {
        Self {
            attributes: variant.attributes.into_iter().map(Attribute::from).collect(),
            sku: variant.sku,
            barcode: variant.barcode,
            price: variant.price.map(Money::from),
            weight_kg: variant.weight_kg,
            sale: variant.sale.map(Sale::from),
            dimensions: variant.dimensions.map(Dimensions::from),
        }
    }
}

impl From<entity::Product> for Product {
    fn from(product: entity::Product) -> Self {
        Self {
            name: product.name,
            status: product.status.into(),
            kind: product.kind.into(),
            tracks_stock: product.tracks_stock,
            description: product.description,
            summary: product.summary,
            categories: product.categories,
            tags: product.tags,
            tax_class: product.tax_class,
            images: product.images,
            variants: product.variants.into_iter().map(Variant::from).collect(),
        }
    }
}

impl FromBody for Product {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        body::read(json)
    }
}

impl Shown for Product {
    const ENTITY: EntityType = EntityType::Products;
    const ADDRESS: &'static str = "/api/v1/records/products";

    fn owned_fields() -> Vec<&'static str> {
        let own = records::field_names::<Self>();
        let own = own.into_iter().filter(|name| *name != "variants");
        own.chain(records::field_names::<Variant>()).collect()
    }

    fn into_content(self) -> Content {
        Content::Product(entity::Product {
            name: self.name,
            status: self.status.into(),
            kind: self.kind.into(),
            tracks_stock: self.tracks_stock,
            description: self.description,
            summary: self.summary,
            categories: self.categories,
            tags: self.tags,
            tax_class: self.tax_class,
            images: self.images,
            variants: self.variants.into_iter().map(entity::Variant::from).collect(),
        })
    }

    fn of_content(content: Content) -> Option<Self> {
        let Content::Product(product) = content else {
            return None;
        };
        Some(product.into())
    }
}

impl Example for Product {
    fn example() -> Self {
        Self {
            name: "Enamel mug".to_owned(),
            status: ProductStatus::Published,
            kind: ProductKind::Goods,
            tracks_stock: true,
            description: Some("<p>Holds coffee, and a little more.</p>".to_owned()),
            summary: Some("Holds coffee".to_owned()),
            categories: vec![vec!["Kitchen".to_owned(), "Mugs".to_owned()]],
            tags: vec!["enamel".to_owned()],
            tax_class: None,
            images: vec!["https://shop.example.com/mug.jpg".to_owned()],
            variants: vec![Variant {
                attributes: Vec::new(),
                sku: Some("MUG-1".to_owned()),
                barcode: Some("4006381333931".to_owned()),
                price: Some(Money {
                    amount: Decimal::new(199, 1),
                    currency: "EUR".to_owned(),
                }),
                weight_kg: Some(Decimal::new(35, 2)),
                sale: None,
                dimensions: Some(Dimensions {
                    length_cm: Some(Decimal::from(12)),
                    width_cm: Some(Decimal::from(8)),
                    height_cm: Some(Decimal::new(95, 1)),
                }),
            }],
        }
    }
}

records::operations! {
    Products of Product;
    put: "putProduct", "Put a product";
    put_many: "putProducts", "Put many products";
    put_lines: "putProductsLines", "Put many products, a line each";
    get: "getProduct", "Get a product";
    list: "listProducts", "List products";
}

#[cfg(test)]
mod tests {
    use poem_openapi::types::ToJSON;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_product_comes_back_as_it_was_put() {
        let json = Product::example().to_json().unwrap();

        let content = Product::from_body(json.clone()).unwrap().into_content();
        let shown = Product::of_content(content.canonical().unwrap()).unwrap();

        assert_eq!(shown.to_json().unwrap(), json, "R50");
    }

    #[test]
    fn a_key_that_no_index_can_hold_is_refused() {
        let product = |length| {
            let sku = "x".repeat(length);
            Product::from_body(json!({"name": "Mug", "variants": [{"sku": sku}]}))
        };

        assert!(product(250).is_ok());
        assert_eq!(product(251).unwrap_err()[0].field, "variants/0/sku");
    }

    #[test]
    fn a_price_is_a_text_and_no_float() {
        let product = |amount: Value| {
            let price = json!({"amount": amount, "currency": "EUR"});
            Product::from_body(json!({"name": "Mug", "variants": [{"price": price}]}))
        };

        assert!(product(json!("19.90")).is_ok());
        for amount in [json!(19.9), json!(null), json!("1e3"), json!("a lot"), json!("")] {
            let wrong = product(amount).unwrap_err();
            assert_eq!(wrong[0].field, "variants/0/price/amount");
        }
    }
}
