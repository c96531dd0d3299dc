//! Price lists: the currency of an order, and the price of a line that brings none (facts: mapping-odoo 1, 3).

use serde_json::Value;

use super::domain;
use super::model::Kind::{Boolean, Char, Datetime, Float, Integer, Selection};
use super::model::Model;
use super::schema::{field, lines, to};
use super::session::Session;

const LIST: &str = "product.pricelist";
const ITEM: &str = "product.pricelist.item";

const APPLIED_ON: &[(&str, &str)] = &[
    ("3_global", "All Products"),
    ("2_product_category", "Product Category"),
    ("1_product", "Product"),
    ("0_product_variant", "Product Variant"),
];
const COMPUTE_PRICE: &[(&str, &str)] = &[
    ("percentage", "Discount"),
    ("formula", "Formula"),
    ("fixed", "Fixed Price"),
];

/// Builds the two models.
pub(super) fn models() -> Vec<Model> {
    vec![
        Model::new(
            LIST,
            "Pricelist",
            "sequence, id",
            vec![
                field("name", "Pricelist Name", Char).required(),
                to("currency_id", "Currency", "res.currency").or(1).required(),
                field("active", "Active", Boolean).or(true),
                field("sequence", "Sequence", Integer).or(16),
                lines("item_ids", "Pricelist Rules", ITEM, "pricelist_id"),
            ],
        ),
        Model::new(
            ITEM,
            "Pricelist Rule",
            "applied_on, min_quantity desc, categ_id desc, id desc",
            vec![
                to("pricelist_id", "Pricelist", LIST).required(),
                field("applied_on", "Apply On", Selection(APPLIED_ON))
                    .or("3_global")
                    .required(),
                field("compute_price", "Compute Price", Selection(COMPUTE_PRICE))
                    .or("fixed")
                    .required(),
                to("product_id", "Variant", "product.product"),
                to("product_tmpl_id", "Product", "product.template"),
                to("categ_id", "Category", "product.category"),
                field("fixed_price", "Fixed Price", Float),
                field("percent_price", "Percentage Price", Float),
                field("min_quantity", "Min. Quantity", Float),
                field("date_start", "Start Date", Datetime),
                field("date_end", "End Date", Datetime),
            ],
        ),
    ]
}

impl Session<'_> {
    pub(super) fn pricelist_name(&self, id: i64) -> String {
        let currency = self.db.link(LIST, id, "currency_id").unwrap_or_default();
        let (name, currency) = (
            self.db.text(LIST, id, "name"),
            self.db.text("res.currency", currency, "name"),
        );
        format!("{name} ({currency})")
    }

    /// Returns what a product costs on a list at a time, or without a list.
    pub(super) fn list_price(&self, list: Option<i64>, product: i64, quantity: f64, at: i64) -> f64 {
        let own = self
            .raw("product.product", product, "lst_price")
            .as_f64()
            .unwrap_or_default();
        let Some(list) = list else { return own };
        let mut items = self.db.with(ITEM, "pricelist_id", list);
        let _ = self.sort(ITEM, &mut items, None);
        let fits = items
            .into_iter()
            .find(|item| self.is_for(*item, product) && self.is_valid(*item, quantity, at));
        let Some(item) = fits else { return own };
        let number = |field: &str| self.db.value(ITEM, item, field).as_f64().unwrap_or_default();
        match self.db.text(ITEM, item, "compute_price").as_str() {
            "fixed" => number("fixed_price"),
            "percentage" => own * (1.0 - number("percent_price") / 100.0),
            _ => own,
        }
    }

    fn is_for(&self, item: i64, product: i64) -> bool {
        let of_product = |field: &str| self.raw("product.product", product, field).as_i64();
        let of_item = |field: &str| self.db.link(ITEM, item, field);
        match self.db.text(ITEM, item, "applied_on").as_str() {
            "0_product_variant" => of_item("product_id") == Some(product),
            "1_product" => of_item("product_tmpl_id") == of_product("product_tmpl_id"),
            "2_product_category" => of_item("categ_id") == of_product("categ_id"),
            _ => true,
        }
    }

    fn is_valid(&self, item: i64, quantity: f64, at: i64) -> bool {
        let time = |field: &str| match self.db.value(ITEM, item, field) {
            Value::String(text) => domain::seconds(&text).ok(),
            _ => None,
        };
        let least = self
            .db
            .value(ITEM, item, "min_quantity")
            .as_f64()
            .unwrap_or_default();
        quantity >= least
            && time("date_start").is_none_or(|start| start <= at)
            && time("date_end").is_none_or(|end| end >= at)
    }
}
