//! Products: WooCommerce's form to ours and back. Pure.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use lockstep_shared::connection::{Settings, WeightUnit};
use lockstep_shared::entity::{
    Attribute, Content, Dimensions, FieldError, Invalid, Money, PartKey, Product, ProductKind, ProductStatus,
    Sale, Variant,
};
use lockstep_shared::id::RecordId;
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::category;
use super::image;
use super::tag;
use super::text;
use super::wire;
use crate::connector::{Parts, Refusal, Theirs};

/// Digits of a weight in the shop's unit. With more, a weight in pounds would not come back as it went.
const WEIGHT_DIGITS: u32 = 4;

/// Digits of a measure in centimetres.
const MEASURE_DIGITS: u32 = 4;

/// Kinds of tax that WooCommerce has beside its classes: products that are not taxed, and those of which only the
/// shipping is (facts/mapping-woocommerce.md §1, «Tax class»).
const TAX_STATUSES: [&str; 2] = ["none", "shipping"];

/// A JSON object that is being put together.
pub(super) type Body = Map<String, Value>;

/// Which fields are written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fields<'a> {
    All,
    Only(&'a BTreeSet<String>),
}

impl Fields<'_> {
    pub(super) fn has(self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(paths) => paths.contains(path),
        }
    }

    fn has_of(self, key: &PartKey, field: &str) -> bool {
        self.has(&format!("variants/{key}/{field}"))
    }
}

// Reading

/// Reads a product with its variations, as [`project`] leaves it; only the trash has a status of its own.
pub(super) fn read(
    product: &wire::Product,
    variations: &[wire::Variation],
    settings: &Settings,
) -> Result<Product, Invalid> {
    let live: Vec<&wire::Variation> = variations
        .iter()
        .filter(|variation| is_live(variation, product))
        .collect();
    if product.is_variable() && live.is_empty() {
        let message = "must be at least one: this variable product has no published variation";
        return Err(Invalid(vec![FieldError::new("variants", message)]));
    }
    let mut errors = Vec::new();
    let variants = if product.is_variable() {
        live.iter()
            .enumerate()
            .map(|(position, variation)| variant_of(variation, product, position, settings, &mut errors))
            .collect()
    } else {
        vec![only_variant(product, settings, &mut errors)]
    };
    if !errors.is_empty() {
        return Err(Invalid(errors));
    }
    let tracks_stock = if product.is_variable() {
        live.iter().any(|variation| variation.manage_stock)
    } else {
        product.manage_stock
    };
    let is_virtual = if product.is_variable() {
        live.iter().all(|variation| variation.is_virtual)
    } else {
        product.is_virtual
    };
    let status = status_of(&product.status);
    let canonical = Product {
        name: text::settled(&product.name),
        status,
        kind: if is_virtual && !tracks_stock {
            ProductKind::Service
        } else {
            ProductKind::Goods
        },
        tracks_stock,
        description: Some(product.description.clone()),
        summary: Some(text::plain(&product.short_description)),
        variants,
        categories: product.paths.clone(),
        images: image::addresses(product),
        tags: tag::names(product),
        tax_class: tax_class_of(product),
    }
    .canonical()?;
    Ok(Product {
        status,
        ..project(&canonical, settings)
    })
}

/// Says whether a variation is for sale: a private one was taken out of use, and the trash takes a product's
/// variations with it (facts/mapping-woocommerce.md §1, §10).
pub(super) fn is_live(variation: &wire::Variation, product: &wire::Product) -> bool {
    match variation.status.as_str() {
        "publish" | "" => true,
        "trash" => product.is_trashed(),
        _ => false,
    }
}

/// Archived is only the trash (facts/mapping-woocommerce.md §1, «Status»).
fn status_of(status: &str) -> ProductStatus {
    match status {
        "publish" => ProductStatus::Published,
        "private" => ProductStatus::Private,
        "trash" => ProductStatus::Archived,
        // `draft`, `pending`, `future`, `auto-draft`, or what a plugin adds: not for sale yet.
        _ => ProductStatus::Draft,
    }
}

fn tax_class_of(product: &wire::Product) -> Option<String> {
    if TAX_STATUSES.contains(&product.tax_status.as_str()) {
        return Some(product.tax_status.clone());
    }
    Some(product.tax_class.clone()).filter(|class| class != "standard")
}

fn only_variant(product: &wire::Product, settings: &Settings, errors: &mut Vec<FieldError>) -> Variant {
    let price = price_of(&product.regular_price, settings, 0, errors);
    Variant {
        attributes: Vec::new(),
        sku: Some(product.sku.clone()),
        barcode: Some(product.global_unique_id.clone()),
        sale: sale_of(&product.sale, price, 0, errors),
        price,
        weight_kg: weight_of(&product.weight, settings, 0, errors),
        dimensions: Some(dimensions_of(&product.dimensions, 0, errors)),
    }
}

/// A variation without an SKU of its own answers with its parent's, which no variation can have for itself
/// (facts/mapping-woocommerce.md §1). An inherited weight is what one unit weighs all the same, so it stays, and so do
/// inherited measures.
fn variant_of(
    variation: &wire::Variation,
    product: &wire::Product,
    position: usize,
    settings: &Settings,
    errors: &mut Vec<FieldError>,
) -> Variant {
    let is_inherited = variation.sku.eq_ignore_ascii_case(&product.sku);
    let price = price_of(&variation.regular_price, settings, position, errors);
    Variant {
        attributes: attributes_of(variation),
        sku: Some(variation.sku.clone()).filter(|_| !is_inherited),
        barcode: Some(variation.global_unique_id.clone()),
        sale: sale_of(&variation.sale, price, position, errors),
        price,
        weight_kg: weight_of(&variation.weight, settings, position, errors),
        dimensions: Some(dimensions_of(&variation.dimensions, position, errors)),
    }
}

/// An attribute without an option stands for any option: it doesn't tell the variation apart. Names and options are
/// stored encoded (facts/mapping-woocommerce.md §1).
fn attributes_of(variation: &wire::Variation) -> Vec<Attribute> {
    let set = variation
        .attributes
        .iter()
        .filter(|attribute| !attribute.option.trim().is_empty());
    set.map(|attribute| Attribute {
        name: text::settled(&attribute.name),
        option: text::settled_option(&attribute.option),
    })
    .collect()
}

pub(super) fn key_of(variation: &wire::Variation) -> PartKey {
    let clean = |attribute: Attribute| Attribute {
        name: lockstep_shared::entity::clean_line(&attribute.name),
        option: lockstep_shared::entity::clean_line(&attribute.option),
    };
    PartKey::of(
        &attributes_of(variation)
            .into_iter()
            .map(clean)
            .collect::<Vec<_>>(),
    )
}

fn price_of(text: &str, settings: &Settings, position: usize, errors: &mut Vec<FieldError>) -> Option<Money> {
    let amount = decimal(text, &format!("variants/{position}/price"), errors)?;
    Some(Money::new(amount, settings.currency))
}

/// A sale that is no reduction is none; WooCommerce drops it as soon as it sees it (facts/mapping-woocommerce.md §1,
/// «Sale»). So are dates without a price.
fn sale_of(
    sale: &wire::Sale,
    price: Option<Money>,
    position: usize,
    errors: &mut Vec<FieldError>,
) -> Option<Sale> {
    let asked = decimal(&sale.price, &format!("variants/{position}/sale/price"), errors)?;
    let is_reduction = price.is_some_and(|price| asked < price.amount) && !asked.is_sign_negative();
    is_reduction.then(|| Sale {
        price: asked,
        from: sale.from.map(|time| time.and_utc()),
        until: sale.until.map(|time| time.and_utc()),
    })
}

/// Measures are taken for centimetres: a connection has no setting for the shop's unit, and no answer tells it.
fn dimensions_of(dimensions: &wire::Dimensions, position: usize, errors: &mut Vec<FieldError>) -> Dimensions {
    let path = format!("variants/{position}/dimensions");
    let mut measure = |text: &str| decimal(text, &path, errors).map(|length| length.round_dp(MEASURE_DIGITS));
    Dimensions {
        length_cm: measure(&dimensions.length),
        width_cm: measure(&dimensions.width),
        height_cm: measure(&dimensions.height),
    }
}

fn weight_of(
    text: &str,
    settings: &Settings,
    position: usize,
    errors: &mut Vec<FieldError>,
) -> Option<Decimal> {
    let path = format!("variants/{position}/weight_kg");
    let weight = decimal(text, &path, errors)?;
    let kilograms = to_kilograms(weight, settings.weight_unit);
    if kilograms.is_none() {
        errors.push(FieldError::new(
            path,
            format!("must be a weight that can be counted, not `{text}`"),
        ));
    }
    kilograms
}

fn decimal(text: &str, path: &str, errors: &mut Vec<FieldError>) -> Option<Decimal> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let number = text.parse().ok();
    if number.is_none() {
        errors.push(FieldError::new(
            path,
            format!("must be a plain number, not `{text}`"),
        ));
    }
    number
}

/// Returns a product as the connector hands it out.
pub(super) fn theirs(product: &wire::Product, variations: &[wire::Variation], settings: &Settings) -> Theirs {
    let parts: Parts = if product.is_variable() {
        let live = variations.iter().filter(|variation| is_live(variation, product));
        live.map(|variation| (key_of(variation), variation.id.to_string()))
            .collect()
    } else {
        Parts::new()
    };
    Theirs {
        external_id: product.id.to_string(),
        content: read(product, variations, settings).map(Content::Product),
        parts,
        marker: product.marker(),
        modified_at: product.date_modified_gmt.map(|at| at.and_utc()),
    }
}

// What WooCommerce can hold

/// Returns a product as WooCommerce gives it back after a write of ours.
pub(super) fn project(product: &Product, settings: &Settings) -> Product {
    // What is left of a name can be nothing; then the write is refused, not the comparison.
    held(product, settings).unwrap_or_else(|_| product.clone())
}

/// Returns what WooCommerce makes of a product, or why that is none.
fn held(product: &Product, settings: &Settings) -> Result<Product, Invalid> {
    let variants = product.variants.iter().map(|variant| Variant {
        attributes: variant
            .attributes
            .iter()
            .map(|attribute| Attribute {
                name: text::settled(&attribute.name),
                option: text::settled_option(&attribute.option),
            })
            .collect(),
        sku: variant.sku.clone(),
        barcode: variant.barcode.clone().filter(|code| is_barcode(code)),
        price: variant.price,
        weight_kg: variant.weight_kg.and_then(|weight| {
            to_kilograms(
                from_kilograms(weight, settings.weight_unit)?,
                settings.weight_unit,
            )
        }),
        dimensions: variant.dimensions.as_ref().map(rounded),
        sale: variant.sale.clone(),
    });
    let projected = Product {
        name: text::settled(&product.name),
        // There is no archive, and the trash is emptied by itself; a draft can still be named by orders
        // (facts/mapping-woocommerce.md §1, «Status»).
        status: match product.status {
            ProductStatus::Archived => ProductStatus::Draft,
            status @ (ProductStatus::Published | ProductStatus::Private | ProductStatus::Draft) => status,
        },
        // A service is what is virtual and not counted (facts/mapping-odoo.md §9).
        kind: if product.tracks_stock {
            ProductKind::Goods
        } else {
            product.kind
        },
        tracks_stock: product.tracks_stock,
        description: product.description.as_deref().map(text::stored_html),
        summary: product.summary.clone(),
        variants: variants.collect(),
        categories: category::project(&product.categories),
        images: image::project(&product.images),
        tags: tag::project(&product.tags),
        tax_class: product.tax_class.clone().filter(|class| class != "standard"),
    };
    projected.canonical()
}

/// Only digits and hyphens are kept of a GTIN: `ABC123` would become `123` (facts/mapping-woocommerce.md §1).
fn is_barcode(code: &str) -> bool {
    code.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

fn rounded(dimensions: &Dimensions) -> Dimensions {
    let measure = |length: Option<Decimal>| length.map(|length| length.round_dp(MEASURE_DIGITS));
    Dimensions {
        length_cm: measure(dimensions.length_cm),
        width_cm: measure(dimensions.width_cm),
        height_cm: measure(dimensions.height_cm),
    }
}

fn kilograms_per(unit: WeightUnit) -> Decimal {
    match unit {
        WeightUnit::Kg => Decimal::ONE,
        WeightUnit::G => Decimal::new(1, 3),
        // The international pound and its sixteenth, exact by definition.
        WeightUnit::Lbs => Decimal::new(45_359_237, 8),
        WeightUnit::Oz => Decimal::new(28_349_523_125, 12),
    }
}

fn to_kilograms(weight: Decimal, unit: WeightUnit) -> Option<Decimal> {
    weight
        .round_dp(WEIGHT_DIGITS)
        .checked_mul(kilograms_per(unit))
        .map(|weight| weight.normalize())
}

/// Returns a weight in the shop's unit, as it is written; `None` where it is out of all bounds.
fn from_kilograms(weight: Decimal, unit: WeightUnit) -> Option<Decimal> {
    let weight = weight.checked_div(kilograms_per(unit))?;
    Some(weight.round_dp(WEIGHT_DIGITS).normalize())
}

// Refusing

/// Says why a product can't be written.
pub(super) fn refuses(product: &Product, settings: &Settings) -> Option<Refusal> {
    let refusal = |code: &str, message: String| {
        Some(Refusal {
            code: code.to_owned(),
            message,
        })
    };
    if text::settled(&product.name).trim().is_empty() {
        return refusal("no_name", "the product has no name".to_owned());
    }
    for variant in &product.variants {
        if let Some(price) = variant.price
            && price.currency != settings.currency
        {
            let message = format!(
                "the price is in {}, and this store sells in {}",
                price.currency, settings.currency
            );
            return refusal("wrong_currency", message);
        }
        if let Some(sku) = variant.sku.as_deref().filter(|sku| is_altered(sku)) {
            let message = format!("the SKU `{sku}` has parts that WooCommerce takes for markup and drops");
            return refusal("unfit_sku", message);
        }
    }
    let invalid = held(product, settings).err()?;
    refusal(
        "unfit_text",
        format!("WooCommerce drops markup, and then {invalid}"),
    )
}

/// Tags and encoded bytes are stripped from an SKU (facts/mapping-woocommerce.md §1, «SKU»).
fn is_altered(sku: &str) -> bool {
    text::encoded_byte(sku).is_some() || sku.contains('<')
}

// Writing

/// Returns the body that creates a product; a variable one gets its variations by calls of their own.
pub(super) fn create_body(
    product: &Product,
    record: RecordId,
    settings: &Settings,
    mut categories: Body,
) -> Body {
    let mut body = text_fields(product, Fields::All);
    if let (true, Some(variant)) = (product.is_simple(), product.variants.first()) {
        body.insert("type".to_owned(), json!("simple"));
        body.append(&mut variant_fields(variant, Fields::All, settings));
        body.append(&mut stock_fields(product, Fields::All));
    } else {
        body.insert("type".to_owned(), json!("variable"));
        body.insert("attributes".to_owned(), Value::Array(with_options(&[], product)));
    }
    body.retain(|_, value| !is_blank(value));
    if product.tax_class.is_none() {
        body.remove("tax_status");
    }
    let mut meta = vec![json!({"key": wire::PRODUCT_MARKER, "value": record.to_string()})];
    if let Some(Value::Array(mut more)) = categories.remove("meta_data") {
        meta.append(&mut more);
    }
    body.append(&mut categories);
    body.insert("meta_data".to_owned(), Value::Array(meta));
    body
}

/// Returns the fields that a product has whatever its type.
pub(super) fn text_fields(product: &Product, fields: Fields<'_>) -> Body {
    let mut body = Body::new();
    let mut put = |path: &str, name: &str, value: &str| {
        if fields.has(path) {
            body.insert(name.to_owned(), json!(value));
        }
    };
    put("name", "name", &product.name);
    put("status", "status", status_name(product.status));
    put(
        "description",
        "description",
        product.description.as_deref().unwrap_or_default(),
    );
    let summary = text::html(product.summary.as_deref().unwrap_or_default());
    put("summary", "short_description", &summary);
    // An unknown class is taken for the usual one without a word (facts/mapping-woocommerce.md §1, «Tax class»).
    match product.tax_class.as_deref() {
        Some(status) if TAX_STATUSES.contains(&status) => put("tax_class", "tax_status", status),
        class => {
            put("tax_class", "tax_status", "taxable");
            put("tax_class", "tax_class", class.unwrap_or_default());
        }
    }
    body
}

fn status_name(status: ProductStatus) -> &'static str {
    match status {
        ProductStatus::Published => "publish",
        ProductStatus::Private => "private",
        ProductStatus::Draft | ProductStatus::Archived => "draft",
    }
}

/// Returns the fields that make a thing a service, or one that is counted. `virtual` is left alone where it need not
/// change: a download is virtual and may be counted. The number in stock is never written.
pub(super) fn stock_fields(product: &Product, fields: Fields<'_>) -> Body {
    let mut body = Body::new();
    let stops_counting = fields.has("tracks_stock") && !product.tracks_stock;
    if fields.has("kind") || stops_counting {
        body.insert("virtual".to_owned(), json!(product.kind == ProductKind::Service));
    }
    if fields.has("tracks_stock") {
        body.insert("manage_stock".to_owned(), json!(product.tracks_stock));
    }
    body
}

/// Returns the fields of what can be put into a basket. All are strings: a batch takes numbers and `abc` without a
/// word and stores something else (facts/systems.md A6, A9).
pub(super) fn variant_fields(variant: &Variant, fields: Fields<'_>, settings: &Settings) -> Body {
    let key = variant.key();
    let mut body = Body::new();
    let mut put = |path: &str, name: &str, value: Option<String>| {
        if fields.has_of(&key, path) {
            body.insert(name.to_owned(), json!(value.unwrap_or_default()));
        }
    };
    put("sku", "sku", variant.sku.clone());
    // One that would be cut to its digits is another one.
    let barcode = variant.barcode.clone().filter(|code| is_barcode(code));
    put("barcode", "global_unique_id", barcode);
    put(
        "price",
        "regular_price",
        variant.price.map(|price| price_text(price.amount)),
    );
    let weight = variant
        .weight_kg
        .and_then(|weight| from_kilograms(weight, settings.weight_unit))
        .filter(|weight| !weight.is_zero());
    put("weight_kg", "weight", weight.map(|weight| weight.to_string()));
    // All three are cleared by an empty text; a `null` would leave a date (facts/mapping-woocommerce.md §1, «Sale»).
    let sale = variant.sale.as_ref();
    let date = |time: Option<DateTime<Utc>>| time.map(|time| time.format("%Y-%m-%dT%H:%M:%S").to_string());
    put("sale", "sale_price", sale.map(|sale| price_text(sale.price)));
    put(
        "sale",
        "date_on_sale_from_gmt",
        date(sale.and_then(|sale| sale.from)),
    );
    put(
        "sale",
        "date_on_sale_to_gmt",
        date(sale.and_then(|sale| sale.until)),
    );
    if fields.has_of(&key, "dimensions") {
        body.insert("dimensions".to_owned(), measures(variant.dimensions.as_ref()));
    }
    body
}

/// Writes measures, an unknown one as an empty text.
pub(super) fn measures(dimensions: Option<&Dimensions>) -> Value {
    let text = |measure: fn(&Dimensions) -> Option<Decimal>| {
        let length = dimensions.and_then(measure);
        length
            .map(|length| length.normalize().to_string())
            .unwrap_or_default()
    };
    json!({
        "length": text(|dimensions| dimensions.length_cm),
        "width": text(|dimensions| dimensions.width_cm),
        "height": text(|dimensions| dimensions.height_cm),
    })
}

/// Says whether a field need not be sent of a thing that is new.
pub(super) fn is_blank(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.values().all(is_blank),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
    }
}

/// Writes a price with at least two digits behind the point: `0.00`, as the shop itself does
/// (facts/mapping-woocommerce.md §1).
fn price_text(mut amount: Decimal) -> String {
    if amount.scale() < 2 {
        amount.rescale(2);
    }
    amount.to_string()
}

/// Returns the fields of a variation as it holds them, to compare with what would be written.
pub(super) fn variation_fields(
    variation: &wire::Variation,
    parent: &wire::Product,
    settings: &Settings,
) -> Body {
    let mut errors = Vec::new();
    let held = Variant {
        attributes: Vec::new(),
        ..variant_of(variation, parent, 0, settings, &mut errors)
    };
    let mut body = variant_fields(&held, Fields::All, settings);
    // What can't be read is not what it should be.
    for error in errors {
        let name = match error.field.rsplit_once("variants/0/") {
            Some((_, "price")) => "regular_price",
            Some((_, "sale/price")) => "sale_price",
            Some((_, "dimensions")) => "dimensions",
            Some(_) | None => "weight",
        };
        body.remove(name);
    }
    body
}

/// Returns a parent's attributes with every option that the product's variants need.
///
/// The list replaces the one that is there, so it starts from that: attributes and options of others stay, and a
/// global attribute keeps its id. What is missing becomes an attribute of this product alone
/// (facts/mapping-woocommerce.md §1).
pub(super) fn with_options(present: &[wire::Attribute], product: &Product) -> Vec<Value> {
    let mut attributes: Vec<wire::Attribute> = present.iter().map(unescaped).collect();
    let wanted = product.variants.iter().flat_map(|variant| &variant.attributes);
    for attribute in wanted {
        let known = attributes
            .iter()
            .position(|known| is_same(&known.name, &attribute.name));
        let position = known.unwrap_or(attributes.len());
        if known.is_none() {
            attributes.push(wire::Attribute {
                name: attribute.name.clone(),
                position: position as u64,
                visible: true,
                ..wire::Attribute::default()
            });
        }
        let entry = &mut attributes[position];
        entry.variation = true;
        if !entry
            .options
            .iter()
            .any(|option| is_same(option, &attribute.option))
        {
            entry.options.push(attribute.option.clone());
        }
    }
    attributes.iter().map(attribute_json).collect()
}

/// Says whether a parent has every option that the product's variants need.
pub(super) fn has_options(present: &[wire::Attribute], product: &Product) -> bool {
    let mut wanted = product.variants.iter().flat_map(|variant| &variant.attributes);
    wanted.all(|attribute| {
        present.iter().any(|known| {
            known.variation
                && is_same(&known.name, &attribute.name)
                && known
                    .options
                    .iter()
                    .any(|option| is_same(option, &attribute.option))
        })
    })
}

fn unescaped(attribute: &wire::Attribute) -> wire::Attribute {
    wire::Attribute {
        name: text::settled(&attribute.name),
        options: attribute
            .options
            .iter()
            .map(|option| text::settled(option))
            .collect(),
        ..attribute.clone()
    }
}

fn attribute_json(attribute: &wire::Attribute) -> Value {
    let mut body = json!({
        "name": attribute.name,
        "position": attribute.position,
        "visible": attribute.visible,
        "variation": attribute.variation,
        "options": attribute.options,
    });
    if attribute.id > 0 {
        body["id"] = json!(attribute.id);
    }
    body
}

/// Names and options are the same whatever their case: that is how [`PartKey`] tells variants apart.
fn is_same(stored: &str, ours: &str) -> bool {
    text::settled(stored).trim().to_lowercase() == ours.to_lowercase()
}

/// Returns the attributes of a variation as they are written: a global one goes by its id, by its name it would be
/// dropped without a word (facts/mapping-woocommerce.md §1).
pub(super) fn variation_attributes(parent: &[wire::Attribute], variant: &Variant) -> Value {
    let named = variant.attributes.iter().map(|attribute| {
        let known = parent.iter().find(|known| is_same(&known.name, &attribute.name));
        let option = known
            .and_then(|known| {
                known
                    .options
                    .iter()
                    .find(|option| is_same(option, &attribute.option))
            })
            .map_or_else(|| attribute.option.clone(), |option| text::settled(option));
        match known.filter(|known| known.id > 0) {
            Some(known) => json!({"id": known.id, "option": option}),
            None => json!({"name": attribute.name, "option": option}),
        }
    });
    Value::Array(named.collect())
}

#[cfg(test)]
mod tests;
