//! What moves stock, and what a line of an order needs to know of a product (facts: mapping-woocommerce 5, 6).

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::{Map, Value};

use super::amount;
use super::order::{Line, Order};
use super::product::{Product, whole_number};
use super::resource::Resource;
use super::shop::Shop;
use super::text;

/// How long a relative change lies between its reading and its setting, so that others get in between.
///
/// Seen on WooCommerce 11.0.1: 40 parallel changes by -1 took 30 off.
const GAP: Duration = Duration::from_millis(2);

/// Turns a relative change of stock into an absolute one: reads, and waits as the real shop does before it sets.
pub(super) async fn with_delta_read(
    shop: &Arc<Mutex<Shop>>,
    resource: Resource,
    id: u64,
    body: &Map<String, Value>,
) -> Option<Map<String, Value>> {
    let has_stock = matches!(resource, Resource::Products | Resource::Variations { .. });
    let delta = body
        .get("inventory_delta")
        .and_then(whole_number)
        .filter(|_| has_stock)?;
    let mut absolute = body.clone();
    absolute.remove("inventory_delta");
    // A quantity beside it wins.
    if body.get("stock_quantity").and_then(whole_number).is_none() {
        let before = {
            let shop = shop.lock().expect("no holder of the shop panics");
            shop.product(id)?.stock_quantity.unwrap_or_default()
        };
        absolute.insert("stock_quantity".to_owned(), (before + delta).into());
        tokio::time::sleep(GAP).await;
    }
    Some(absolute)
}

impl Product {
    /// Sets the quantity, and the status that follows from it.
    pub(super) fn set_quantity(&mut self, quantity: i64) {
        self.stock_quantity = Some(quantity);
        let status = match (quantity > 0, self.backorders.as_str()) {
            (true, _) => "instock",
            (false, "no") => "outofstock",
            (false, _) => "onbackorder",
        };
        status.clone_into(&mut self.stock_status);
    }
}

impl Shop {
    /// Returns the product whose number is that of a product or variation: its own, else its parent's.
    fn stock_keeper(&self, id: u64) -> Option<&Product> {
        let product = self.product(id)?;
        if product.manages_stock {
            return Some(product);
        }
        self.product(product.parent).filter(|parent| parent.manages_stock)
    }

    pub(super) fn keeps_stock(&self, id: u64) -> bool {
        self.settings.is_on("products/woocommerce_manage_stock") && self.stock_keeper(id).is_some()
    }

    /// Adds to the stock at once, as orders do; the time of change moves, that of a parent too.
    pub(super) fn move_stock(&mut self, id: u64, by: i64, now: i64) {
        if let Some(keeper) = self.stock_keeper(id) {
            let (id, quantity) = (keeper.id, keeper.stock_quantity.unwrap_or_default() + by);
            self.set_stock(id, quantity, now);
        }
    }

    /// Sets the stock the regular way.
    pub(super) fn set_stock(&mut self, id: u64, quantity: i64, now: i64) {
        let Some(mut product) = self.product(id).cloned() else {
            return;
        };
        product.manages_stock = true;
        product.set_quantity(quantity);
        product.modified = now;
        let parent = product.parent;
        self.put_product(product);
        self.touch(parent, now);
    }

    /// Writes the number behind the shop's back: nothing else moves (facts: mapping-woocommerce 6).
    pub(super) fn set_stock_raw(&mut self, id: u64, quantity: i64) {
        if let Some(product) = self.products.get_mut(&id) {
            product.stock_quantity = Some(quantity);
        }
    }

    /// Whether lines of a product are taxed; what is not in the shop is.
    pub(super) fn is_taxable(&self, product: u64, variation: u64) -> bool {
        let id = if variation > 0 { variation } else { product };
        self.product(id)
            .is_none_or(|product| product.tax_status == "taxable")
    }

    /// Whether there is anything to send: goods that are not both virtual and a download (source: `WC_Order`).
    pub(super) fn needs_processing(&self, order: &Order) -> bool {
        let goods = order
            .lines
            .iter()
            .filter_map(|line| self.product(line.stock_id()));
        goods.into_iter().any(|product| {
            let is_download = product.other.get("downloadable").and_then(Value::as_bool);
            !(product.is_virtual && is_download.unwrap_or_default())
        })
    }

    /// Returns the price of one piece without tax; nothing where there is no price.
    pub(super) fn net_price(&self, id: u64) -> Decimal {
        let Some(product) = self.product(id) else {
            return Decimal::ZERO;
        };
        let price = amount::parse(&self.asked_price(product));
        if !self.settings.is_on("tax/woocommerce_prices_include_tax") || product.tax_status != "taxable" {
            return price;
        }
        let rates = self.taxes.owed(&self.base_place(), &self.class_of(product));
        let percent: Decimal = rates.iter().map(|rate| rate.percent()).sum();
        let hundred = Decimal::from(100);
        amount::rounded(price * hundred / (hundred + percent), 6)
    }

    fn class_of(&self, product: &Product) -> String {
        match self.product(product.parent) {
            Some(parent) if product.tax_class == "parent" => parent.tax_class.clone(),
            _ => product.tax_class.clone(),
        }
    }

    /// Makes a line sell a product; a variation brings its parent and its attributes with it.
    pub(super) fn sell_in(&mut self, line: &mut Line, id: u64) {
        let Some(product) = self.product(id).cloned() else {
            return;
        };
        line.tax_class = self.class_of(&product);
        let Some(parent) = self.product(product.parent).cloned() else {
            line.name.clone_from(&product.name);
            (line.product, line.variation) = (id, 0);
            return;
        };
        line.name = format!("{} - {}", parent.name, self.chosen_names(&product));
        (line.product, line.variation) = (parent.id, id);
        let varying = parent
            .attributes
            .iter()
            .filter(|attribute| attribute.is_variation);
        for attribute in varying {
            let chosen = product
                .chosen
                .iter()
                .find(|chosen| chosen.id == attribute.id && chosen.name == attribute.name);
            let key = if attribute.id > 0 {
                self.attribute_slug(attribute.id)
            } else {
                text::slug(&attribute.name)
            };
            let value = chosen.map_or("", |chosen| chosen.option.as_str());
            super::order::set_meta(&mut line.meta, &key, Some(value), &mut self.book.next_item_meta);
        }
    }

    /// Returns how an attribute of a line and its value are shown to people.
    pub(super) fn attribute_shown(&self, line: &Line, key: &str, value: &str) -> Option<(String, String)> {
        let slug = key.strip_prefix("pa_").unwrap_or(key);
        if let Some(global) = self
            .attributes
            .values()
            .find(|one| one.slug == slug && key != slug)
        {
            let term = self.terms(global.id)?.by_slug(value)?;
            return Some((global.name.clone(), term.name.clone()));
        }
        let own = self.product(line.product)?.attributes.iter();
        let own = own
            .into_iter()
            .find(|attribute| attribute.id == 0 && text::slug(&attribute.name) == key)?;
        Some((own.name.clone(), value.to_owned()))
    }

    /// Returns the SKU as it is answered.
    pub(super) fn own_or_inherited_sku(&self, product: &Product) -> String {
        match self.product(product.parent) {
            Some(parent) if product.sku.is_empty() => parent.sku.clone(),
            _ => product.sku.clone(),
        }
    }
}
