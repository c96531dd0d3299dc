//! The settings of the shop that a sync asks for (facts: mapping-woocommerce 2, 3).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::product::as_text;
use super::refusal::Refusal;
use super::shop::Shop;
use crate::ledger::Operation;

/// A setting that the shop knows.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// Group and id with a slash between them.
    path: &'static str,
    kind: &'static str,
    default: &'static str,
    label: &'static str,
    /// What may be chosen; empty where anything may be written.
    options: &'static [&'static str],
}

const fn known(
    path: &'static str,
    kind: &'static str,
    default: &'static str,
    label: &'static str,
    options: &'static [&'static str],
) -> Known {
    Known {
        path,
        kind,
        default,
        label,
        options,
    }
}

const YES_NO: &[&str] = &["yes", "no"];

/// Tax is on, prices are without it, weights in pounds: as in the shop of the facts.
#[rustfmt::skip]
const KNOWN: &[Known] = &[
    known("general/woocommerce_default_country", "select", "US:CA", "Country / State", &[]),
    known("general/woocommerce_calc_taxes", "checkbox", "yes", "Enable taxes", YES_NO),
    known("general/woocommerce_enable_coupons", "checkbox", "yes", "Enable coupons", YES_NO),
    known("general/woocommerce_currency", "select", "USD", "Currency", super::order::CURRENCIES),
    known("general/woocommerce_currency_pos", "select", "left", "Currency position", &["left", "right", "left_space", "right_space"]),
    known("general/woocommerce_price_thousand_sep", "text", ",", "Thousand separator", &[]),
    known("general/woocommerce_price_decimal_sep", "text", ".", "Decimal separator", &[]),
    known("general/woocommerce_price_num_decimals", "number", "2", "Number of decimals", &[]),
    known("products/woocommerce_weight_unit", "select", "lbs", "Weight unit", &["kg", "g", "lbs", "oz"]),
    known("products/woocommerce_dimension_unit", "select", "in", "Dimensions unit", &["m", "cm", "mm", "in", "yd"]),
    known("products/woocommerce_manage_stock", "checkbox", "yes", "Manage stock", YES_NO),
    known("tax/woocommerce_prices_include_tax", "radio", "no", "Prices entered with tax", YES_NO),
    known("tax/woocommerce_tax_based_on", "select", "shipping", "Calculate tax based on", &["shipping", "billing", "base"]),
    known("tax/woocommerce_shipping_tax_class", "select", "inherit", "Shipping tax class", &[]),
    known("tax/woocommerce_tax_round_at_subtotal", "checkbox", "no", "Rounding", YES_NO),
    known("email_new_order/enabled", "checkbox", "yes", "Enable/Disable", YES_NO),
    known("email_cancelled_order/enabled", "checkbox", "yes", "Enable/Disable", YES_NO),
    known("email_failed_order/enabled", "checkbox", "yes", "Enable/Disable", YES_NO),
    known("email_customer_failed_order/enabled", "checkbox", "yes", "Enable/Disable", YES_NO),
    known("email_customer_on_hold_order/enabled", "checkbox", "yes", "Enable/Disable", YES_NO),
    known("email_customer_processing_order/enabled", "checkbox", "yes", "Enable/Disable", YES_NO),
    known("email_customer_completed_order/enabled", "checkbox", "yes", "Enable/Disable", YES_NO),
    known("email_customer_refunded_order/enabled", "checkbox", "yes", "Enable/Disable", YES_NO),
    known("email_customer_note/enabled", "checkbox", "yes", "Enable/Disable", YES_NO),
    known("email_customer_new_account/enabled", "checkbox", "yes", "Enable/Disable", YES_NO),
];

/// What was set; the rest is as it comes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) changed: BTreeMap<String, String>,
}

impl Settings {
    /// Returns a value by group and id, empty for one that the shop does not know.
    pub(super) fn get(&self, path: &str) -> &str {
        match self.changed.get(path) {
            Some(value) => value,
            None => find(path).map_or("", |known| known.default),
        }
    }

    pub(super) fn is_on(&self, path: &str) -> bool {
        self.get(path) == "yes"
    }

    /// Returns the digits behind the point of a price.
    pub(super) fn decimals(&self) -> u32 {
        let digits = self.get("general/woocommerce_price_num_decimals").parse();
        digits.unwrap_or(2).min(6)
    }

    /// Whether a mail of this kind is sent.
    pub(super) fn sends(&self, mail: &str) -> bool {
        self.get(&format!("email_{mail}/enabled")) != "no"
    }
}

fn find(path: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.path == path)
}

fn is_of(known: &Known, group: &str) -> bool {
    known.path.split_once('/').is_some_and(|(own, _)| own == group)
}

fn named(group: &str, id: &str) -> Result<&'static Known, Refusal> {
    match find(&format!("{group}/{id}")) {
        Some(known) => Ok(known),
        None if KNOWN.iter().any(|known| is_of(known, group)) => Err(Refusal::new(
            404,
            "rest_setting_setting_invalid",
            "Invalid setting.",
        )),
        None => Err(unknown_group()),
    }
}

fn unknown_group() -> Refusal {
    Refusal::new(
        404,
        "rest_setting_setting_group_invalid",
        "Invalid setting group.",
    )
}

impl Shop {
    pub(super) fn render_group(&self, group: &str) -> Result<Value, Refusal> {
        let of_group = KNOWN.iter().filter(|known| is_of(known, group));
        let rows: Vec<Value> = of_group.map(|known| self.render_known(known)).collect();
        if rows.is_empty() {
            return Err(unknown_group());
        }
        Ok(Value::Array(rows))
    }

    pub(super) fn render_setting(&self, group: &str, id: &str) -> Result<Value, Refusal> {
        named(group, id).map(|known| self.render_known(known))
    }

    /// Changes a setting; a value that cannot be chosen is refused.
    pub(super) fn update_setting(
        &mut self,
        group: &str,
        id: &str,
        body: &Map<String, Value>,
    ) -> Result<Value, Refusal> {
        let known = named(group, id)?;
        if let Some(value) = body.get("value").filter(|value| !value.is_null()) {
            let value = as_text(value);
            if !known.options.is_empty() && !known.options.contains(&value.as_str()) {
                let message = "An invalid setting value was passed.";
                return Err(Refusal::new(400, "rest_setting_value_invalid", message));
            }
            let is_different = self.settings.get(known.path) != value;
            self.settings.changed.insert(known.path.to_owned(), value);
            let place = KNOWN.iter().position(|one| one.path == known.path);
            let place = u64::try_from(place.unwrap_or_default()).unwrap_or_default();
            self.felt(
                "setting",
                Operation::Updated,
                place,
                Some(known.path.to_owned()),
                is_different,
            );
        }
        Ok(self.render_known(known))
    }

    fn render_known(&self, known: &Known) -> Value {
        let (group, id) = known.path.split_once('/').unwrap_or_default();
        let base = format!("{}/wp-json/wc/v3/settings/{group}", self.base_url);
        let mut view = json!({
            "id": id, "label": known.label, "description": "", "type": known.kind, "default": known.default,
            "tip": "", "value": self.settings.get(known.path), "group_id": group,
            "_links": {"self": [{"href": format!("{base}/{id}")}], "collection": [{"href": base}]},
        });
        if matches!(known.kind, "select" | "radio") {
            let options = known
                .options
                .iter()
                .map(|option| ((*option).to_owned(), json!(option)));
            view["options"] = Value::Object(options.collect());
        }
        view
    }
}
