//! Tax rates and classes (facts: mapping-woocommerce 3b).

use std::collections::BTreeMap;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::amount;
use super::product::as_text;
use super::refusal::Refusal;
use super::schema::{self, Kind};
use super::shop::Shop;
use super::text;
use crate::ledger::Operation;

/// One rate; an empty country or state is any.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Rate {
    pub(super) id: u64,
    pub(super) country: String,
    pub(super) state: String,
    postcodes: Vec<String>,
    cities: Vec<String>,
    /// As sent, with four digits.
    percent: String,
    name: String,
    priority: i64,
    is_compound: bool,
    pub(super) is_for_shipping: bool,
    order: i64,
    /// `standard` is the class without a name.
    class: String,
}

/// A class beside the standard one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Class {
    pub(super) slug: String,
    pub(super) name: String,
}

/// The shop's rates and classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Taxes {
    pub(super) rates: BTreeMap<u64, Rate>,
    pub(super) classes: Vec<Class>,
    next_id: u64,
}

impl Default for Taxes {
    fn default() -> Self {
        let class = |slug: &str, name: &str| Class {
            slug: slug.to_owned(),
            name: name.to_owned(),
        };
        Self {
            rates: BTreeMap::new(),
            classes: vec![
                class("reduced-rate", "Reduced rate"),
                class("zero-rate", "Zero rate"),
            ],
            next_id: 1,
        }
    }
}

/// Where a tax is owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) country: String,
    pub(super) state: String,
    pub(super) postcode: String,
    pub(super) city: String,
}

impl Rate {
    pub(super) fn percent(&self) -> Decimal {
        amount::parse(&self.percent)
    }

    pub(super) fn label(&self) -> String {
        if self.name.is_empty() {
            "Tax".to_owned()
        } else {
            self.name.clone()
        }
    }

    /// Such as `US-NY-NY TAX-1`.
    pub(super) fn code(&self) -> String {
        let name = if self.name.is_empty() { "TAX" } else { &self.name };
        let priority = self.priority.to_string();
        let parts = [&self.country, &self.state, name, &priority];
        parts
            .iter()
            .filter(|part| !part.is_empty())
            .map(|part| part.to_uppercase())
            .collect::<Vec<_>>()
            .join("-")
    }

    pub(super) fn class(&self) -> &str {
        &self.class
    }

    pub(super) fn is_compound(&self) -> bool {
        self.is_compound
    }

    fn covers(&self, place: &Place, class: &str) -> bool {
        let class = if class.is_empty() { "standard" } else { class };
        let is_any = |list: &[String], own: &str| {
            list.is_empty() || list.iter().any(|one| one.eq_ignore_ascii_case(own))
        };
        self.class == class
            && (self.country.is_empty() || self.country.eq_ignore_ascii_case(&place.country))
            && (self.state.is_empty() || self.state.eq_ignore_ascii_case(&place.state))
            && is_any(&self.postcodes, &place.postcode)
            && is_any(&self.cities, &place.city)
    }

    fn apply(&mut self, body: &Map<String, Value>) {
        let text = |name: &str| body.get(name).filter(|value| !value.is_null()).map(as_text);
        if let Some(country) = text("country") {
            self.country = country.to_uppercase();
        }
        if let Some(state) = text("state") {
            self.state = state.to_uppercase();
        }
        if let Some(rate) = text("rate") {
            self.percent = amount::shown(amount::parse(&rate), 4);
        }
        if let Some(name) = text("name") {
            self.name = name;
        }
        if let Some(class) = text("class") {
            self.class = if class.is_empty() {
                "standard".to_owned()
            } else {
                class
            };
        }
        for (name, list) in [("postcode", &mut self.postcodes), ("city", &mut self.cities)] {
            if let Some(text) = text(name) {
                *list = parts(&text);
            }
        }
        for (name, list) in [("postcodes", &mut self.postcodes), ("cities", &mut self.cities)] {
            if let Some(rows) = body.get(name).and_then(Value::as_array) {
                *list = rows.iter().map(|row| as_text(row).to_uppercase()).collect();
            }
        }
        let number = |name: &str| body.get(name).and_then(Value::as_i64);
        self.priority = number("priority").unwrap_or(self.priority);
        self.order = number("order").unwrap_or(self.order);
        let flag = |name: &str| body.get(name).and_then(schema::as_boolean);
        self.is_compound = flag("compound").unwrap_or(self.is_compound);
        self.is_for_shipping = flag("shipping").unwrap_or(self.is_for_shipping);
    }
}

fn parts(text: &str) -> Vec<String> {
    text.split(';')
        .map(|part| part.trim().to_uppercase())
        .filter(|part| !part.is_empty())
        .collect()
}

pub(super) const SCHEMA: &[(&str, Kind)] = &[
    ("country", Kind::Text),
    ("state", Kind::Text),
    ("postcode", Kind::Text),
    ("city", Kind::Text),
    ("rate", Kind::Text),
    ("name", Kind::Text),
    ("priority", Kind::Integer),
    ("compound", Kind::Boolean),
    ("shipping", Kind::Boolean),
    ("order", Kind::Integer),
    ("class", Kind::Text),
];

pub(super) fn unknown(status: u16) -> Refusal {
    Refusal::new(status, "woocommerce_rest_invalid_id", "Invalid resource ID.")
}

impl Taxes {
    pub(super) fn has_class(&self, slug: &str) -> bool {
        self.classes.iter().any(|class| class.slug == slug)
    }

    /// Finds the rates that are owed; of each priority the most exact one.
    pub(super) fn owed(&self, place: &Place, class: &str) -> Vec<&Rate> {
        let mut rates: Vec<&Rate> = self
            .rates
            .values()
            .filter(|rate| rate.covers(place, class))
            .collect();
        let is_open = |rate: &Rate| {
            (
                rate.country.is_empty(),
                rate.state.is_empty(),
                rate.postcodes.is_empty(),
                rate.cities.is_empty(),
            )
        };
        rates.sort_by_key(|rate| (rate.priority, is_open(rate), rate.order, rate.id));
        rates.dedup_by_key(|rate| rate.priority);
        rates
    }

    /// Puts a recorded rate back.
    pub(super) fn put_recorded(&mut self, view: &Value) {
        let id = view["id"].as_u64().unwrap_or_default();
        let mut rate = Rate::new(id);
        rate.apply(&view.as_object().cloned().unwrap_or_default());
        self.next_id = self.next_id.max(id + 1);
        if rate.class != "standard" && !self.has_class(&rate.class) {
            self.classes.push(Class {
                slug: rate.class.clone(),
                name: rate.class.clone(),
            });
        }
        self.rates.insert(id, rate);
    }
}

impl Rate {
    fn new(id: u64) -> Self {
        Self {
            id,
            country: String::new(),
            state: String::new(),
            postcodes: Vec::new(),
            cities: Vec::new(),
            percent: "0.0000".to_owned(),
            name: String::new(),
            priority: 1,
            is_compound: false,
            is_for_shipping: true,
            order: 0,
            class: "standard".to_owned(),
        }
    }
}

/// Calculates what each rate adds to a net amount; compound rates come on top of the others.
pub(super) fn of(net: Decimal, rates: &[&Rate]) -> Vec<(u64, Decimal)> {
    let hundred = Decimal::from(100);
    let simple = rates.iter().filter(|rate| !rate.is_compound);
    let mut taxes: Vec<(u64, Decimal)> = simple
        .map(|rate| (rate.id, amount::rounded(net * rate.percent() / hundred, 6)))
        .collect();
    for rate in rates.iter().filter(|rate| rate.is_compound) {
        let before: Decimal = taxes.iter().map(|(_, tax)| *tax).sum();
        let tax = (net + before) * rate.percent() / hundred;
        taxes.push((rate.id, amount::rounded(tax, 6)));
    }
    taxes
}

impl Shop {
    /// Rounds a tax: half a cent goes down where prices include it (facts: mapping-woocommerce 3b).
    pub(super) fn rounded_tax(&self, tax: Decimal) -> Decimal {
        let strategy = if self.settings.is_on("tax/woocommerce_prices_include_tax") {
            RoundingStrategy::MidpointTowardZero
        } else {
            RoundingStrategy::MidpointAwayFromZero
        };
        tax.round_dp_with_strategy(self.settings.decimals(), strategy)
    }

    /// Rounds the tax of one line, unless the shop rounds the sums only.
    pub(super) fn rounded_line_tax(&self, tax: Decimal) -> Decimal {
        if self.settings.is_on("tax/woocommerce_tax_round_at_subtotal") {
            tax
        } else {
            self.rounded_tax(tax)
        }
    }

    /// Where the shop itself is.
    pub(super) fn base_place(&self) -> Place {
        let base = self.settings.get("general/woocommerce_default_country");
        let (country, state) = base.split_once(':').unwrap_or((base, ""));
        Place {
            country: country.to_owned(),
            state: state.to_owned(),
            postcode: String::new(),
            city: String::new(),
        }
    }

    pub(super) fn create_rate(&mut self, body: &Map<String, Value>) -> u64 {
        let id = self.taxes.next_id;
        self.taxes.next_id += 1;
        let mut rate = Rate::new(id);
        rate.apply(body);
        self.taxes.rates.insert(id, rate);
        self.felt("tax", Operation::Created, id, None, true);
        id
    }

    pub(super) fn update_rate(&mut self, id: u64, body: &Map<String, Value>) -> Result<(), Refusal> {
        let rate = self.taxes.rates.get_mut(&id).ok_or_else(|| unknown(404))?;
        let before = rate.clone();
        rate.apply(body);
        let is_different = before != *rate;
        self.felt("tax", Operation::Updated, id, None, is_different);
        Ok(())
    }

    pub(super) fn delete_rate(&mut self, id: u64) {
        if self.taxes.rates.remove(&id).is_some() {
            self.felt("tax", Operation::Deleted, id, None, true);
        }
    }

    pub(super) fn render_rate(&self, rate: &Rate) -> Value {
        let base = format!("{}/wp-json/wc/v3/taxes", self.base_url);
        json!({
            "id": rate.id, "country": rate.country, "state": rate.state,
            "postcode": rate.postcodes.last().cloned().unwrap_or_default(),
            "city": rate.cities.last().cloned().unwrap_or_default(),
            "rate": rate.percent, "name": rate.name, "priority": rate.priority, "compound": rate.is_compound,
            "shipping": rate.is_for_shipping, "order": rate.order, "class": rate.class,
            "postcodes": rate.postcodes, "cities": rate.cities,
            "_links": {"self": [{"href": format!("{base}/{}", rate.id)}], "collection": [{"href": base}]},
        })
    }

    pub(super) fn render_classes(&self) -> Value {
        let standard = Class {
            slug: "standard".to_owned(),
            name: "Standard rate".to_owned(),
        };
        std::iter::once(&standard)
            .chain(&self.taxes.classes)
            .map(|class| self.render_class(class))
            .collect()
    }

    pub(super) fn render_class(&self, class: &Class) -> Value {
        let href = format!("{}/wp-json/wc/v3/taxes/classes", self.base_url);
        json!({"slug": class.slug, "name": class.name, "_links": {"collection": [{"href": href}]}})
    }

    /// Makes a class; its slug follows from the name.
    pub(super) fn create_class(&mut self, body: &Map<String, Value>) -> Result<Value, Refusal> {
        let name = body.get("name").map(as_text).unwrap_or_default();
        let slug = text::slug(&name);
        if slug == "standard" || self.taxes.has_class(&slug) {
            let message = "Tax class already exists";
            return Err(Refusal::new(400, "woocommerce_rest_tax_class_exists", message));
        }
        let class = Class { slug, name };
        let view = self.render_class(&class);
        self.taxes.classes.push(class);
        let place = u64::try_from(self.taxes.classes.len()).unwrap_or_default();
        self.felt("tax_class", Operation::Created, place, None, true);
        Ok(view)
    }

    /// Deletes a class together with its rates.
    pub(super) fn delete_class(&mut self, slug: &str) -> Result<Value, Refusal> {
        let place = self.taxes.classes.iter().position(|class| class.slug == slug);
        let Some(place) = place else {
            let message = "Invalid slug.";
            return Err(Refusal::new(
                400,
                "woocommerce_rest_tax_class_invalid_slug",
                message,
            ));
        };
        let class = self.taxes.classes.remove(place);
        self.taxes.rates.retain(|_, rate| rate.class != slug);
        let place = u64::try_from(place + 1).unwrap_or_default();
        self.felt("tax_class", Operation::Deleted, place, None, true);
        Ok(self.render_class(&class))
    }
}
