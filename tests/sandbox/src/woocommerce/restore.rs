//! Puts recorded answers of a real shop back, with their ids, times and encoded texts.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::attribute::GlobalAttribute;
use super::customer::Customer;
use super::meta::Meta;
use super::product::{Attribute, Chosen, Product};
use super::schema;
use super::shop::Shop;
use super::term::Terms;
use super::text;

/// Loads everything of one recording and returns how many records that were.
pub(super) fn restore(shop: &mut Shop, data: &Value) -> usize {
    let rows = |name: &str| data[name].as_array().cloned().unwrap_or_default();
    let mut count = 0;
    for category in rows("categories") {
        restore_category(shop, &category);
        count += 1;
    }
    for tag in rows("tags") {
        let _ = shop.tags.create(&tag.as_object().cloned().unwrap_or_default());
        count += 1;
    }
    for attribute in rows("attributes") {
        restore_attribute(shop, &attribute);
        count += 1;
    }
    let variations: Vec<Value> = data["variations"]
        .as_object()
        .into_iter()
        .flat_map(Map::values)
        .flat_map(as_rows)
        .collect();
    let mut products = rows("products");
    products.sort_by_key(|product| product["id"].as_u64());
    for view in products.iter().chain(&variations) {
        let product = product(shop, view);
        shop.put_product(product);
        count += 1;
    }
    for view in rows("customers") {
        let customer = customer(shop, &view);
        shop.put_customer(customer);
        count += 1;
    }
    for view in rows("taxes") {
        shop.taxes.put_recorded(&view);
        count += 1;
    }
    for view in rows("orders") {
        shop.put_recorded_order(&view);
        count += 1;
    }
    for (order, list) in data["refunds"].as_object().into_iter().flatten() {
        for refund in as_rows(list) {
            shop.put_recorded_refund(order.parse().unwrap_or_default(), &refund);
            count += 1;
        }
    }
    let coupons: BTreeMap<u64, Value> = rows("coupons").into_iter().filter_map(keyed).collect();
    let last = coupons.keys().next_back().map_or(0, |last| last + 1);
    shop.next_post = shop.next_post.max(last);
    count += coupons.len();
    shop.recorded.insert("coupons".to_owned(), coupons);
    count
}

fn as_rows(list: &Value) -> Vec<Value> {
    list.as_array().cloned().unwrap_or_default()
}

fn keyed(row: Value) -> Option<(u64, Value)> {
    row["id"].as_u64().map(|id| (id, row))
}

fn restore_category(shop: &mut Shop, view: &Value) {
    let id = view["id"].as_u64().unwrap_or_default();
    shop.categories.remove(id);
    if view["slug"] == "uncategorized" {
        shop.categories.remove(shop.uncategorized);
        shop.uncategorized = id;
    }
    let body = view.as_object().cloned().unwrap_or_default();
    let _ = shop.categories.create(&body);
}

fn restore_attribute(shop: &mut Shop, view: &Value) {
    let id = view["id"].as_u64().unwrap_or_default();
    let slug = string(view, "slug");
    let attribute = GlobalAttribute {
        id,
        name: string(view, "name"),
        slug: slug.strip_prefix("pa_").unwrap_or(&slug).to_owned(),
        order_by: string(view, "order_by"),
    };
    shop.attributes.insert(id, attribute);
    // The recording has no terms: they come with the products that name them.
    shop.terms.insert(id, Terms::flat(id * 1000 + 16));
}

fn string(view: &Value, name: &str) -> String {
    view[name].as_str().unwrap_or_default().to_owned()
}

fn time(view: &Value, name: &str) -> i64 {
    view[name].as_str().and_then(text::seconds).unwrap_or_default()
}

fn product(shop: &mut Shop, view: &Value) -> Product {
    let id = view["id"].as_u64().unwrap_or_default();
    let parent = view["parent_id"].as_u64().unwrap_or_default();
    let is_variation = view["type"] == "variation";
    let mut product = Product::new(
        id,
        if is_variation { parent } else { 0 },
        time(view, "date_created_gmt"),
    );
    product.modified = time(view, "date_modified_gmt");
    product.kind = string(view, "type");
    product.status = string(view, "status");
    product.name = if is_variation {
        String::new()
    } else {
        string(view, "name")
    };
    product.slug = string(view, "slug");
    product.description = string(view, "description");
    product.short_description = string(view, "short_description");
    product.sku = own(shop, &product, string(view, "sku"), |parent| &parent.sku);
    product.weight = own(shop, &product, string(view, "weight"), |parent| &parent.weight);
    product.global_unique_id = string(view, "global_unique_id");
    product.regular_price = string(view, "regular_price");
    product.sale_price = string(view, "sale_price");
    product.tax_status = string(view, "tax_status");
    product.tax_class = string(view, "tax_class");
    product.is_virtual = view["virtual"].as_bool().unwrap_or_default();
    product.manages_stock = view["manage_stock"].as_bool().unwrap_or_default();
    product.stock_quantity = view["stock_quantity"].as_i64();
    product.stock_status = string(view, "stock_status");
    product.backorders = string(view, "backorders");
    let ids =
        |name: &str, of: fn(&Value) -> Option<u64>| as_rows(&view[name]).iter().filter_map(of).collect();
    product.categories = ids("categories", |category| category["id"].as_u64());
    product.variations = ids("variations", Value::as_u64);
    product.meta = meta(shop, view);
    for one in as_rows(&view["attributes"]) {
        if is_variation {
            product.chosen.push(chosen(shop, &one));
        } else {
            product.attributes.push(attribute(shop, &one));
        }
    }
    for name in [
        "downloadable",
        "downloads",
        "download_limit",
        "download_expiry",
        "featured",
        "catalog_visibility",
        "external_url",
        "button_text",
        "dimensions",
        "grouped_products",
    ] {
        if let Some(value) = view.get(name) {
            product.other.insert(name.to_owned(), value.clone());
        }
    }
    product
}

/// What a variation shows although it is its parent's is not its own.
fn own(shop: &Shop, product: &Product, shown: String, theirs: fn(&Product) -> &String) -> String {
    match shop.product(product.parent) {
        Some(parent) if *theirs(parent) == shown => String::new(),
        _ => shown,
    }
}

fn meta(shop: &mut Shop, view: &Value) -> Vec<Meta> {
    let entries = as_rows(&view["meta_data"]);
    let metas: Vec<Meta> = entries
        .iter()
        .map(|entry| Meta {
            id: entry["id"].as_u64().unwrap_or_default(),
            key: string(entry, "key"),
            value: entry["value"].clone(),
        })
        .collect();
    let last = metas.iter().map(|meta| meta.id + 1).max().unwrap_or_default();
    shop.next_meta = shop.next_meta.max(last);
    metas
}

fn attribute(shop: &mut Shop, one: &Value) -> Attribute {
    let id = one["id"].as_u64().unwrap_or_default();
    let options: Vec<String> = as_rows(&one["options"])
        .iter()
        .filter_map(|option| option.as_str().map(str::to_owned))
        .collect();
    let terms = match shop.terms_mut(id) {
        Some(terms) => options.iter().map(|option| terms.adopt(option)).collect(),
        None => Vec::new(),
    };
    shop.note_adopted_terms();
    Attribute {
        id,
        name: string(one, "name"),
        position: one["position"].as_i64().unwrap_or_default(),
        is_visible: one["visible"].as_bool().unwrap_or_default(),
        is_variation: one["variation"].as_bool().unwrap_or_default(),
        options: if id > 0 { Vec::new() } else { options },
        terms,
    }
}

fn chosen(shop: &mut Shop, one: &Value) -> Chosen {
    let id = one["id"].as_u64().unwrap_or_default();
    let option = string(one, "option");
    let slug = shop
        .terms(id)
        .and_then(|terms| terms.by_name(&option))
        .map(|term| term.slug.clone());
    Chosen {
        id,
        name: string(one, "name"),
        option: slug.unwrap_or(option),
    }
}

fn customer(shop: &mut Shop, view: &Value) -> Customer {
    let mut customer = Customer::new(
        view["id"].as_u64().unwrap_or_default(),
        time(view, "date_created_gmt"),
    );
    customer.modified = time(view, "date_modified_gmt");
    customer.email = string(view, "email");
    customer.first_name = string(view, "first_name");
    customer.last_name = string(view, "last_name");
    customer.role = string(view, "role");
    customer.username = string(view, "username");
    customer.is_paying = view["is_paying_customer"].as_bool().unwrap_or_default();
    customer.meta = meta(shop, view);
    for (field, address) in [
        ("billing", &mut customer.billing),
        ("shipping", &mut customer.shipping),
    ] {
        for (part, stored) in schema::ADDRESS.iter().zip(address) {
            *stored = string(&view[field], part);
        }
    }
    customer
}
