//! Products and their variants.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, SubsecRound, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::text::{LINE_LIMIT, clean_line, clean_text, optional};
use super::{FieldError, Invalid, KeyKind, Money, NaturalKey};

/// Most variants one product may have.
const VARIANT_LIMIT: usize = 500;

/// Whether a product can be bought, and by whom it is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProductStatus {
    /// For sale and seen by everyone.
    #[default]
    Published,
    /// Kept, seen by the shop's people only.
    Private,
    /// Not finished.
    Draft,
    /// No longer sold; kept because orders refer to it.
    Archived,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProductKind {
    /// A thing that is shipped.
    #[default]
    Goods,
    Service,
}

/// One property that tells a product's variants apart: `Color` = `Blue`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attribute {
    pub name: String,
    pub option: String,
}

/// Which part of its record a part is. A product's variant goes by its attributes, in order of their names, and the only
/// variant of a simple product by the empty key; an order's line goes by a key of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartKey(String);

impl PartKey {
    pub fn of(attributes: &[Attribute]) -> Self {
        let mut pairs: Vec<String> = attributes
            .iter()
            .map(|a| format!("{}={}", a.name.to_lowercase(), a.option.to_lowercase()))
            .collect();
        pairs.sort();
        Self(pairs.join("|"))
    }

    /// Takes a key that a part has by itself.
    pub fn named(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for PartKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One thing that can be put into a basket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// None for the only variant of a simple product.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<String>,
    /// GTIN, EAN, UPC or ISBN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barcode: Option<String>,
    /// Regular price of one unit, without any sale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Money>,
    /// A lower price for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sale: Option<Sale>,
    /// Weight of one unit in kilograms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_kg: Option<Decimal>,
    /// Outer measures of one unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<Dimensions>,
}

/// A lower price than the regular one, in the same currency, and when it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sale {
    pub price: Decimal,
    /// From when on it holds, to the second; none: already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// Until when it holds, to the second; none: for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// Length, width and height in centimetres; none where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dimensions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length_cm: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width_cm: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height_cm: Option<Decimal>,
}

impl Dimensions {
    fn canonical(self) -> Option<Self> {
        let measure = |measure: Option<Decimal>| {
            measure
                .map(|length| length.normalize())
                .filter(|length| !length.is_zero())
        };
        let dimensions = Self {
            length_cm: measure(self.length_cm),
            width_cm: measure(self.width_cm),
            height_cm: measure(self.height_cm),
        };
        (dimensions != Self::default()).then_some(dimensions)
    }

    fn has_negative(&self) -> bool {
        [self.length_cm, self.width_cm, self.height_cm]
            .into_iter()
            .flatten()
            .any(|length| length.is_sign_negative())
    }
}

impl Variant {
    pub fn key(&self) -> PartKey {
        PartKey::of(&self.attributes)
    }
}

/// Something that is sold, with one or more variants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    pub name: String,
    #[serde(default)]
    pub status: ProductStatus,
    #[serde(default)]
    pub kind: ProductKind,
    /// Whether the number in stock is counted.
    #[serde(default)]
    pub tracks_stock: bool,
    /// Long description, as HTML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Short description, as plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The categories it stands in, each by the names from the outermost category to itself, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<Vec<String>>,
    /// Words it is found by, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// How it is taxed, by the name of a kind of tax such as `reduced-rate`; none: as usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_class: Option<String>,
    /// Addresses of its pictures, the main one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// At least one, in the order of their keys.
    pub variants: Vec<Variant>,
}

impl Product {
    /// Returns the product in canonical form, or every reason why there is none.
    pub fn canonical(self) -> Result<Self, Invalid> {
        let mut errors = Vec::new();
        let name = clean_line(&self.name);
        if name.is_empty() {
            errors.push(FieldError::new("name", "must not be empty"));
        }
        if self.variants.is_empty() {
            errors.push(FieldError::new("variants", "must have at least one variant"));
        }
        if self.variants.len() > VARIANT_LIMIT {
            errors.push(FieldError::new(
                "variants",
                format!("must be at most {VARIANT_LIMIT}"),
            ));
        }
        for (position, image) in self.images.iter().enumerate() {
            if !(image.starts_with("https://") || image.starts_with("http://"))
                || image.contains(char::is_whitespace)
            {
                errors.push(FieldError::new(
                    format!("images/{position}"),
                    "must be the address of a picture, with https",
                ));
            }
        }
        if name.chars().count() > LINE_LIMIT {
            errors.push(FieldError::new(
                "name",
                format!("must have at most {LINE_LIMIT} characters"),
            ));
        }
        let has_several = self.variants.len() > 1;
        let mut variants: Vec<Variant> = self
            .variants
            .into_iter()
            .enumerate()
            .map(|(position, variant)| canonical_variant(variant, position, has_several, &mut errors))
            .collect();
        refuse_doubles(&variants, &mut errors);
        if !errors.is_empty() {
            return Err(Invalid(errors));
        }
        variants.sort_by_cached_key(Variant::key);
        Ok(Self {
            name,
            status: self.status,
            kind: self.kind,
            tracks_stock: self.tracks_stock,
            description: optional(self.description, clean_text),
            summary: optional(self.summary, clean_text),
            categories: canonical_categories(&self.categories),
            tags: canonical_tags(&self.tags),
            tax_class: optional(self.tax_class, clean_line),
            images: self.images,
            variants,
        })
    }

    /// Says whether this is one thing without choices.
    pub fn is_simple(&self) -> bool {
        self.variants.iter().all(|variant| variant.attributes.is_empty())
    }

    pub(super) fn natural_keys(&self) -> Vec<NaturalKey> {
        let skus = self
            .variants
            .iter()
            .filter_map(|v| v.sku.as_deref())
            .map(|sku| NaturalKey::new(KeyKind::Sku, sku));
        let barcodes = self
            .variants
            .iter()
            .filter_map(|v| v.barcode.as_deref())
            .map(|code| NaturalKey::new(KeyKind::Barcode, code));
        skus.chain(barcodes).collect()
    }
}

fn canonical_categories(categories: &[Vec<String>]) -> Vec<Vec<String>> {
    let mut categories: Vec<Vec<String>> = categories
        .iter()
        .map(|path| {
            path.iter()
                .map(|name| clean_line(name))
                .filter(|name| !name.is_empty())
                .collect()
        })
        .filter(|path: &Vec<String>| !path.is_empty())
        .collect();
    categories.sort();
    categories.dedup();
    categories
}

fn canonical_tags(tags: &[String]) -> Vec<String> {
    let mut tags: Vec<String> = tags
        .iter()
        .map(|tag| clean_line(tag))
        .filter(|tag| !tag.is_empty())
        .collect();
    tags.sort();
    tags.dedup();
    tags
}

fn canonical_variant(
    variant: Variant,
    position: usize,
    has_several: bool,
    errors: &mut Vec<FieldError>,
) -> Variant {
    let path = |field: &str| format!("variants/{position}/{field}");
    let mut attributes: Vec<Attribute> = variant
        .attributes
        .into_iter()
        .map(|attribute| Attribute {
            name: clean_line(&attribute.name),
            option: clean_line(&attribute.option),
        })
        .collect();
    attributes.sort();
    if attributes
        .iter()
        .any(|attribute| attribute.name.is_empty() || attribute.option.is_empty())
    {
        errors.push(FieldError::new(
            path("attributes"),
            "must have a name and an option each",
        ));
    }
    if attributes
        .windows(2)
        .any(|pair| pair[0].name.eq_ignore_ascii_case(&pair[1].name))
    {
        errors.push(FieldError::new(
            path("attributes"),
            "must name each attribute once",
        ));
    }
    if has_several && attributes.is_empty() {
        errors.push(FieldError::new(
            path("attributes"),
            "must tell this variant apart from the product's others",
        ));
    }
    let price = variant
        .price
        .map(|price| Money::new(price.amount, price.currency));
    if price.is_some_and(|price| price.amount.is_sign_negative() && !price.amount.is_zero()) {
        errors.push(FieldError::new(path("price"), "must not be negative"));
    }
    let weight_kg = variant
        .weight_kg
        .map(|weight| weight.normalize())
        .filter(|weight| !weight.is_zero());
    let line = |text, field: &str, errors: &mut Vec<FieldError>| {
        let line = optional(text, clean_line);
        if line
            .as_ref()
            .is_some_and(|line| line.chars().count() > LINE_LIMIT)
        {
            errors.push(FieldError::new(
                path(field),
                format!("must have at most {LINE_LIMIT} characters"),
            ));
        }
        line
    };
    let (sku, barcode) = (
        line(variant.sku, "sku", errors),
        line(variant.barcode, "barcode", errors),
    );
    if weight_kg.is_some_and(|weight| weight.is_sign_negative()) {
        errors.push(FieldError::new(path("weight_kg"), "must not be negative"));
    }
    let dimensions = variant.dimensions.and_then(Dimensions::canonical);
    if dimensions.as_ref().is_some_and(Dimensions::has_negative) {
        errors.push(FieldError::new(path("dimensions"), "must not be negative"));
    }
    let sale = variant.sale.map(|sale| Sale {
        price: sale.price.normalize(),
        from: sale.from.map(|from| from.trunc_subsecs(0)),
        until: sale.until.map(|until| until.trunc_subsecs(0)),
    });
    if let Some(sale) = &sale {
        if price.is_none_or(|price| sale.price >= price.amount) {
            errors.push(FieldError::new(
                path("sale/price"),
                "must be below the regular price",
            ));
        }
        if sale.price.is_sign_negative() {
            errors.push(FieldError::new(path("sale/price"), "must not be negative"));
        }
    }
    Variant {
        attributes,
        sku,
        barcode,
        price,
        sale,
        weight_kg,
        dimensions,
    }
}

fn refuse_doubles(variants: &[Variant], errors: &mut Vec<FieldError>) {
    let mut keys = BTreeSet::new();
    let mut skus = BTreeSet::new();
    for (position, variant) in variants.iter().enumerate() {
        if variants.len() > 1 && !variant.attributes.is_empty() && !keys.insert(variant.key()) {
            let message = format!("must differ from those of another variant (`{}`)", variant.key());
            errors.push(FieldError::new(
                format!("variants/{position}/attributes"),
                message,
            ));
        }
        if let Some(sku) = &variant.sku
            && !skus.insert(sku.to_lowercase())
        {
            errors.push(FieldError::new(
                format!("variants/{position}/sku"),
                format!("`{sku}` must be used once in a product"),
            ));
        }
    }
}
