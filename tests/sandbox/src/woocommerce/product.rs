//! Products and variations: the record, what a write does to it, how it is answered.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::meta::{self, Meta};
use super::refusal::Refusal;
use super::schema;
use super::shop::Shop;
use super::text;

/// A product or a variation; they share their ids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Product {
    pub(super) id: u64,
    pub(super) parent: u64,
    pub(super) kind: String,
    pub(super) status: String,
    /// Stored encoded.
    pub(super) name: String,
    pub(super) slug: String,
    pub(super) created: i64,
    pub(super) modified: i64,
    pub(super) description: String,
    pub(super) short_description: String,
    pub(super) sku: String,
    pub(super) global_unique_id: String,
    pub(super) regular_price: String,
    pub(super) sale_price: String,
    pub(super) weight: String,
    pub(super) tax_status: String,
    pub(super) tax_class: String,
    pub(super) is_virtual: bool,
    pub(super) manages_stock: bool,
    pub(super) stock_quantity: Option<i64>,
    pub(super) stock_status: String,
    pub(super) backorders: String,
    pub(super) categories: Vec<u64>,
    #[serde(default)]
    pub(super) tags: Vec<u64>,
    /// Pictures of the library, the main one first; a variation has one at most.
    #[serde(default)]
    pub(super) pictures: Vec<u64>,
    pub(super) attributes: Vec<Attribute>,
    pub(super) chosen: Vec<Chosen>,
    pub(super) variations: Vec<u64>,
    pub(super) meta: Vec<Meta>,
    /// Fields that are stored as sent and mean nothing here.
    pub(super) other: Map<String, Value>,
}

/// An attribute of a product; a global one has an id and its options are terms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Attribute {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) position: i64,
    pub(super) is_visible: bool,
    pub(super) is_variation: bool,
    pub(super) terms: Vec<u64>,
    pub(super) options: Vec<String>,
}

/// What a variation chose for one attribute of its parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Chosen {
    pub(super) id: u64,
    pub(super) name: String,
    /// A term's slug for a global attribute, else the option as sent.
    pub(super) option: String,
}

/// Whether descriptions come as stored or for readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Context {
    View,
    Edit,
}

const KEPT: &[&str] = &[
    "featured",
    "catalog_visibility",
    "date_on_sale_from",
    "date_on_sale_from_gmt",
    "date_on_sale_to",
    "date_on_sale_to_gmt",
    "downloadable",
    "downloads",
    "download_limit",
    "download_expiry",
    "external_url",
    "button_text",
    "low_stock_amount",
    "sold_individually",
    "dimensions",
    "shipping_class",
    "reviews_allowed",
    "upsell_ids",
    "cross_sell_ids",
    "purchase_note",
    "default_attributes",
    "grouped_products",
    "menu_order",
];

impl Product {
    pub(super) fn new(id: u64, parent: u64, now: i64) -> Self {
        let is_variation = parent > 0;
        Self {
            id,
            parent,
            kind: if is_variation { "variation" } else { "simple" }.to_owned(),
            status: "publish".to_owned(),
            name: String::new(),
            slug: String::new(),
            created: now,
            modified: now,
            description: String::new(),
            short_description: String::new(),
            sku: String::new(),
            global_unique_id: String::new(),
            regular_price: String::new(),
            sale_price: String::new(),
            weight: String::new(),
            tax_status: "taxable".to_owned(),
            tax_class: if is_variation { "parent" } else { "" }.to_owned(),
            is_virtual: false,
            manages_stock: false,
            stock_quantity: None,
            stock_status: "instock".to_owned(),
            backorders: "no".to_owned(),
            categories: Vec::new(),
            tags: Vec::new(),
            pictures: Vec::new(),
            attributes: Vec::new(),
            chosen: Vec::new(),
            variations: Vec::new(),
            meta: Vec::new(),
            other: Map::new(),
        }
    }

    pub(super) fn is_variation(&self) -> bool {
        self.parent > 0
    }

    pub(super) fn is_in_trash(&self) -> bool {
        self.status == "trash"
    }

    /// Returns the price that is asked now.
    fn price(&self) -> &str {
        if self.sale_price.is_empty() {
            &self.regular_price
        } else {
            &self.sale_price
        }
    }

    /// Returns the marker, else the SKU.
    pub(super) fn key(&self) -> Option<String> {
        meta::marker(&self.meta).or_else(|| (!self.sku.is_empty()).then(|| self.sku.clone()))
    }

    /// Returns everything that must be unique.
    pub(super) fn keys(&self) -> Vec<String> {
        let marker = meta::marker(&self.meta).map(|marker| format!("marker:{marker}"));
        let sku = (!self.sku.is_empty()).then(|| format!("sku:{}", self.sku.to_lowercase()));
        marker.into_iter().chain(sku).collect()
    }

    /// Applies a body to a copy; nothing of it is stored yet, except for terms that come into being by being named.
    pub(super) fn apply(&mut self, shop: &mut Shop, body: &Map<String, Value>) -> Result<(), Refusal> {
        let text = |name: &str| body.get(name).map(as_text);
        self.apply_kind(text("type"));
        if let Some(name) = text("name") {
            self.name = text::encoded(&name);
        }
        if let Some(slug) = text("slug") {
            self.slug = text::slug(&slug);
        }
        if let Some(status) = text("status") {
            known_status(&status).clone_into(&mut self.status);
        }
        if let Some(description) = text("description") {
            self.description = text::safe_html(&description);
        }
        if let Some(description) = text("short_description") {
            self.short_description = text::safe_html(&description);
        }
        self.apply_unique(shop, &text)?;
        self.apply_prices(&text);
        if let Some(weight) = text("weight") {
            self.weight = text::decimal(&weight);
        }
        if let Some(status) = text("tax_status") {
            self.tax_status = status;
        }
        if let Some(class) = text("tax_class") {
            let is_known = class == "parent" || shop.taxes.has_class(&class);
            self.tax_class = if is_known { class } else { String::new() };
        }
        if let Some(flag) = body.get("virtual").and_then(schema::as_boolean) {
            self.is_virtual = flag;
        }
        self.apply_stock(body);
        if let Some(categories) = body.get("categories").and_then(Value::as_array) {
            let ids = categories.iter().filter_map(|category| category["id"].as_u64());
            self.categories = ids.filter(|id| shop.categories.contains(*id)).collect();
        }
        if let Some(tags) = body.get("tags").and_then(Value::as_array) {
            let ids = tags.iter().filter_map(|tag| tag["id"].as_u64());
            self.tags = ids.filter(|id| shop.tags.contains(*id)).collect();
        }
        self.apply_pictures(shop, body)?;
        if let Some(attributes) = body.get("attributes").and_then(Value::as_array) {
            if self.is_variation() {
                self.choose(shop, attributes);
            } else {
                self.attributes = attributes
                    .iter()
                    .filter_map(|one| Attribute::parse(shop, one))
                    .collect();
            }
        }
        if let Some(list) = body.get("meta_data") {
            meta::apply(&mut self.meta, list, &mut shop.next_meta, meta::Owner::Product);
        }
        for name in KEPT {
            if let Some(value) = body.get(*name) {
                self.other.insert((*name).to_owned(), value.clone());
            }
        }
        Ok(())
    }

    /// What was uploaded before one picture fails stays in the library, and nothing else is applied
    /// (facts: mapping-woocommerce 1, «Images»).
    fn apply_pictures(&mut self, shop: &mut Shop, body: &Map<String, Value>) -> Result<(), Refusal> {
        let entries = if self.is_variation() {
            body.get("image").map(std::slice::from_ref)
        } else {
            body.get("images").and_then(Value::as_array).map(Vec::as_slice)
        };
        if let Some(entries) = entries {
            let mut pictures = Vec::new();
            for entry in entries {
                pictures.extend(shop.picture(entry)?);
            }
            self.pictures = pictures;
        }
        Ok(())
    }

    /// A product that becomes variable loses its price, not its SKU (facts: mapping-woocommerce 1).
    fn apply_kind(&mut self, kind: Option<String>) {
        let Some(kind) = kind.filter(|_| !self.is_variation()) else {
            return;
        };
        let kind = if ["simple", "grouped", "external", "variable"].contains(&kind.as_str()) {
            kind
        } else {
            "simple".to_owned()
        };
        if kind == "variable" && self.kind != "variable" {
            self.regular_price.clear();
            self.sale_price.clear();
        }
        self.kind = kind;
    }

    fn apply_unique(&mut self, shop: &Shop, text: &dyn Fn(&str) -> Option<String>) -> Result<(), Refusal> {
        if let Some(sku) = text("sku") {
            let sku = text::clean(&sku);
            shop.check_sku(self.id, &sku)?;
            self.sku = sku;
        }
        if let Some(code) = text("global_unique_id") {
            let code: String = code.chars().filter(|c| c.is_ascii_digit() || *c == '-').collect();
            shop.check_global_unique_id(self.id, &code)?;
            self.global_unique_id = code;
        }
        Ok(())
    }

    /// A sale price that is no reduction vanishes (facts: mapping-woocommerce 1).
    fn apply_prices(&mut self, text: &dyn Fn(&str) -> Option<String>) {
        if let Some(price) = text("regular_price").filter(|_| self.kind != "variable") {
            self.regular_price = text::decimal(&price);
        }
        if let Some(price) = text("sale_price").filter(|_| self.kind != "variable") {
            self.sale_price = text::decimal(&price);
        }
        let number = |price: &str| price.parse::<Decimal>().ok();
        let is_reduction = match (number(&self.sale_price), number(&self.regular_price)) {
            (Some(sale), Some(regular)) => sale < regular,
            _ => false,
        };
        if !is_reduction {
            self.sale_price.clear();
        }
    }

    /// A quantity without stock keeping is dropped (facts: systems A6).
    fn apply_stock(&mut self, body: &Map<String, Value>) {
        if let Some(flag) = body.get("manage_stock").and_then(schema::as_boolean) {
            self.manages_stock = flag;
        }
        if let Some(backorders) = body.get("backorders").map(as_text) {
            self.backorders = backorders;
        }
        if let Some(status) = body.get("stock_status").map(as_text) {
            self.stock_status = status;
        }
        if !self.manages_stock {
            self.stock_quantity = None;
            return;
        }
        let quantity = body.get("stock_quantity").and_then(whole_number);
        let delta = body.get("inventory_delta").and_then(whole_number);
        let before = self.stock_quantity.unwrap_or_default();
        let after = quantity.unwrap_or(before + delta.unwrap_or_default());
        self.set_quantity(after);
    }

    /// Only attributes that the parent varies by are kept; unknown options are kept, in lower case (facts: mapping 1).
    fn choose(&mut self, shop: &Shop, attributes: &[Value]) {
        let Some(parent) = shop.product(self.parent) else {
            return;
        };
        let mut chosen = Vec::new();
        for one in attributes {
            let id = one["id"].as_u64().unwrap_or_default();
            let name = one["name"].as_str().unwrap_or_default();
            let option = as_text(&one["option"]);
            let matching = parent.attributes.iter().find(|attribute| {
                attribute.is_variation
                    && if id > 0 {
                        attribute.id == id
                    } else {
                        attribute.id == 0 && same_name(&attribute.name, name)
                    }
            });
            let Some(attribute) = matching else { continue };
            let option = if id == 0 {
                text::clean(&option)
            } else {
                let term = shop.terms(id).and_then(|terms| terms.by_name(&option));
                term.map_or_else(|| text::slug(&option), |term| term.slug.clone())
            };
            chosen.push(Chosen {
                id: attribute.id,
                name: attribute.name.clone(),
                option,
            });
        }
        self.chosen = chosen;
    }
}

fn same_name(one: &str, other: &str) -> bool {
    text::slug(one) == text::slug(other)
}

impl Attribute {
    fn parse(shop: &mut Shop, one: &Value) -> Option<Self> {
        let id = one["id"].as_u64().unwrap_or_default();
        let mut attribute = Self {
            id,
            name: one["name"].as_str().unwrap_or_default().to_owned(),
            position: one["position"].as_i64().unwrap_or_default(),
            is_visible: schema::as_boolean(&one["visible"]).unwrap_or_default(),
            is_variation: schema::as_boolean(&one["variation"]).unwrap_or_default(),
            terms: Vec::new(),
            options: Vec::new(),
        };
        let options: Vec<String> = match &one["options"] {
            Value::Array(options) => options.iter().map(as_text).collect(),
            Value::String(options) => options
                .split('|')
                .map(|option| option.trim().to_owned())
                .collect(),
            _ => Vec::new(),
        };
        if id > 0 {
            attribute.name = shop.attribute_name(id)?;
            let terms = shop.terms_mut(id)?;
            attribute.terms = options.iter().map(|option| terms.adopt(option)).collect();
            attribute.terms.sort_unstable();
            attribute.terms.dedup();
        } else if attribute.name.is_empty() {
            return None;
        } else {
            attribute.options = options.iter().map(|option| text::clean(option)).collect();
        }
        Some(attribute)
    }

    /// Options of a global attribute come in the order of the terms, encoded (facts: mapping-woocommerce 1).
    fn render(&self, shop: &Shop) -> Value {
        let (slug, options) = if self.id > 0 {
            (
                shop.attribute_slug(self.id),
                shop.terms(self.id)
                    .map(|terms| terms.names(&self.terms))
                    .unwrap_or_default(),
            )
        } else {
            (self.name.clone(), self.options.clone())
        };
        json!({
            "id": self.id, "name": self.name, "slug": slug, "position": self.position,
            "visible": self.is_visible, "variation": self.is_variation, "options": options,
        })
    }
}

impl Chosen {
    fn shown(&self, shop: &Shop) -> String {
        let term = shop.terms(self.id).and_then(|terms| terms.by_slug(&self.option));
        term.map_or_else(|| self.option.clone(), |term| term.name.clone())
    }

    fn render(&self, shop: &Shop) -> Value {
        let slug = if self.id > 0 {
            shop.attribute_slug(self.id)
        } else {
            text::slug(&self.name)
        };
        json!({"id": self.id, "name": self.name, "slug": slug, "option": self.shown(shop)})
    }
}

/// Reads anything as text, as PHP does.
pub(super) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(true) => "1".to_owned(),
        Value::Bool(false) | Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

/// Reads a quantity; a batch cuts a fraction off (facts: mapping-woocommerce 3).
#[expect(
    clippy::cast_possible_truncation,
    reason = "PHP's intval cuts a fraction off too"
)]
pub(super) fn whole_number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number
            .as_i64()
            .or_else(|| number.as_f64().map(|number| number as i64)),
        Value::String(text) => Some(text.trim().parse::<f64>().map_or(0, |number| number as i64)),
        _ => None,
    }
}

/// An unknown status ends as a draft, one in the future at once (facts: systems A9, mapping 1).
fn known_status(status: &str) -> &str {
    match status {
        "publish" | "future" => "publish",
        "draft" | "pending" | "private" | "trash" | "auto-draft" => status,
        _ => "draft",
    }
}

impl Shop {
    /// Answers a product or variation the way `/products` does.
    pub(super) fn render_product(&self, product: &Product, context: Context) -> Value {
        let parent = self.product(product.parent);
        let description = |text: &str| match context {
            Context::View => text::in_paragraphs(text),
            Context::Edit => text.to_owned(),
        };
        // A variation without its own answers with its parent's (facts: mapping-woocommerce 1).
        let inherited = |own: &str, theirs: fn(&Product) -> &String| match parent {
            Some(parent) if own.is_empty() => theirs(parent).clone(),
            _ => own.to_owned(),
        };
        let name = match parent {
            Some(parent) => format!("{} - {}", parent.name, self.chosen_names(product)),
            None => product.name.clone(),
        };
        let (manages_stock, stock) = match parent {
            Some(parent) if !product.manages_stock && parent.manages_stock => {
                (json!("parent"), parent.stock_quantity)
            }
            _ => (json!(product.manages_stock), product.stock_quantity),
        };
        let price = self.asked_price(product);
        let base = format!("{}/wp-json/wc/v3/products", self.base_url);
        let mut view = json!({
            "id": product.id, "name": name, "slug": product.slug,
            "permalink": format!("{}/product/{}/", self.base_url, product.slug),
            "date_created": text::iso(product.created + self.offset_secs),
            "date_created_gmt": text::iso(product.created),
            "date_modified": text::iso(product.modified + self.offset_secs),
            "date_modified_gmt": text::iso(product.modified),
            "type": product.kind, "status": product.status, "featured": false, "catalog_visibility": "visible",
            "description": description(&product.description),
            "short_description": description(&product.short_description),
            "sku": inherited(&product.sku, |parent| &parent.sku), "global_unique_id": product.global_unique_id,
            "price": price, "regular_price": product.regular_price, "sale_price": product.sale_price,
            "date_on_sale_from": null, "date_on_sale_from_gmt": null,
            "date_on_sale_to": null, "date_on_sale_to_gmt": null,
            "on_sale": self.is_on_sale(product),
            "purchasable": !price.is_empty() && product.status == "publish" && !matches!(product.kind.as_str(), "external" | "grouped"),
            "total_sales": 0, "virtual": product.is_virtual, "downloadable": false, "downloads": [],
            "download_limit": -1, "download_expiry": -1, "external_url": "", "button_text": "",
            "tax_status": product.tax_status, "tax_class": product.tax_class, "manage_stock": manages_stock,
            "stock_quantity": stock, "stock_status": product.stock_status, "backorders": product.backorders,
            "backorders_allowed": product.backorders != "no", "backordered": false, "low_stock_amount": null,
            "sold_individually": false, "weight": inherited(&product.weight, |parent| &parent.weight),
            "dimensions": {"length": "", "width": "", "height": ""},
            "shipping_required": !product.is_virtual, "shipping_taxable": !product.is_virtual,
            "shipping_class": "", "shipping_class_id": 0, "reviews_allowed": true, "average_rating": "0",
            "rating_count": 0, "upsell_ids": [], "cross_sell_ids": [], "parent_id": product.parent,
            "purchase_note": "", "categories": self.render_categories(product), "brands": [],
            "tags": self.render_tags(product), "images": self.render_pictures(&product.pictures), "default_attributes": [], "variations": product.variations, "grouped_products": [],
            "menu_order": 0, "related_ids": [], "meta_data": meta::render(&product.meta),
            "has_options": product.kind == "variable", "post_password": "",
            "attributes": self.render_attributes(product),
            "_links": {
                "self": [{"href": format!("{base}/{}", product.id)}], "collection": [{"href": base}],
            },
        });
        for (field, value) in &product.other {
            view[field] = value.clone();
        }
        view
    }

    /// Answers a variation the way `/products/<id>/variations` does.
    pub(super) fn render_variation(&self, variation: &Product, context: Context) -> Value {
        let mut view = self.render_product(variation, context);
        view["name"] = self.chosen_names(variation).into();
        if let Some(fields) = view.as_object_mut() {
            for absent in [
                "slug",
                "featured",
                "catalog_visibility",
                "short_description",
                "variations",
                "categories",
                "tags",
                "images",
            ] {
                fields.remove(absent);
            }
            let picture = variation.pictures.first().and_then(|id| self.render_picture(*id));
            fields.insert("image".to_owned(), picture.unwrap_or(Value::Null));
        }
        view
    }

    /// Answers a product with its variations in full.
    pub(super) fn render_whole(&self, product: &Product) -> Value {
        let mut view = self.render_product(product, Context::Edit);
        let variations = product.variations.iter().filter_map(|id| self.product(*id));
        view["variations_full"] = variations
            .map(|one| self.render_variation(one, Context::Edit))
            .collect();
        view
    }

    fn render_attributes(&self, product: &Product) -> Value {
        if product.is_variation() {
            product.chosen.iter().map(|chosen| chosen.render(self)).collect()
        } else {
            product
                .attributes
                .iter()
                .map(|attribute| attribute.render(self))
                .collect()
        }
    }

    fn render_categories(&self, product: &Product) -> Value {
        let fallback = [self.uncategorized];
        let ids: &[u64] = match product.categories.as_slice() {
            [] if product.is_variation() => &[],
            [] => &fallback,
            ids => ids,
        };
        let known = ids.iter().filter_map(|id| self.categories.get(*id));
        known
            .map(|term| json!({"id": term.id, "name": term.name, "slug": term.slug}))
            .collect()
    }

    fn render_tags(&self, product: &Product) -> Value {
        let known = product.tags.iter().filter_map(|id| self.tags.get(*id));
        known
            .map(|term| json!({"id": term.id, "name": term.name, "slug": term.slug}))
            .collect()
    }

    pub(super) fn chosen_names(&self, variation: &Product) -> String {
        variation
            .chosen
            .iter()
            .map(|chosen| chosen.shown(self))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// A variable product asks the lowest price of its published variations, a group that of its members.
    pub(super) fn asked_price(&self, product: &Product) -> String {
        let Some(parts) = self.parts(product) else {
            return product.price().to_owned();
        };
        let priced = parts.filter(|part| part.status == "publish").filter_map(|part| {
            let number = part.price().parse::<Decimal>().ok()?;
            Some((number, part.price().to_owned()))
        });
        priced
            .min_by_key(|(number, _)| *number)
            .map(|(_, price)| price)
            .unwrap_or_default()
    }

    fn is_on_sale(&self, product: &Product) -> bool {
        match self.parts(product) {
            Some(mut parts) => parts.any(|part| !part.sale_price.is_empty()),
            None => !product.sale_price.is_empty(),
        }
    }

    /// Lists what a variable or grouped product is made of.
    fn parts<'a>(&'a self, product: &'a Product) -> Option<Box<dyn Iterator<Item = &'a Product> + 'a>> {
        match product.kind.as_str() {
            "variable" => Some(Box::new(
                product.variations.iter().filter_map(|id| self.product(*id)),
            )),
            "grouped" => {
                let ids = product
                    .other
                    .get("grouped_products")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten();
                Some(Box::new(
                    ids.filter_map(Value::as_u64).filter_map(|id| self.product(id)),
                ))
            }
            _ => None,
        }
    }
}
