//! The company and the settings that a sync asks for (facts: mapping-odoo 1, 3).

use serde_json::{Value, json};

use super::call::Arguments;
use super::exception::Exception;
use super::model::Kind::{Char, Selection};
use super::model::Model;
use super::schema::{field, to};
use super::session::Session;

const COMPANY: &str = "res.company";
const SETTING: &str = "ir.config_parameter";

const ROUNDINGS: &[(&str, &str)] = &[
    ("round_per_line", "Round per Line"),
    ("round_globally", "Round Globally"),
];

pub(super) fn models(version: u32) -> Vec<Model> {
    vec![Model::new(
        COMPANY,
        "Companies",
        "id",
        vec![
            field("name", "Company Name", Char).required(),
            to("partner_id", "Partner", "res.partner"),
            to("currency_id", "Currency", "res.currency").or(1),
            to("country_id", "Country", "res.country"),
            field(
                "tax_calculation_rounding_method",
                "Tax Calculation Rounding Method",
                Selection(ROUNDINGS),
            )
            .or(if version >= 19 {
                "round_globally"
            } else {
                "round_per_line"
            }),
        ],
    )]
}

/// Lists what a fresh database has.
pub(super) fn rows() -> Vec<(&'static str, i64, Value)> {
    let euro = json!({"name": "EUR", "active": false});
    let yen = json!({"name": "JPY", "active": false, "rounding": 1.0, "decimal_places": 0});
    vec![
        (
            COMPANY,
            1,
            json!({"name": "My Company", "partner_id": 1, "country_id": 233}),
        ),
        ("res.currency", 25, yen),
        ("res.currency", 125, euro),
    ]
}

impl Session<'_> {
    pub(super) fn rounds_lines(&self) -> bool {
        let company = self.db.table(COMPANY).rows.keys().next().copied();
        let method = self.db.text(
            COMPANY,
            company.unwrap_or_default(),
            "tax_calculation_rounding_method",
        );
        method == "round_per_line"
    }

    /// Returns a setting, or the default, or false.
    pub(super) fn setting(&self, arguments: &Arguments) -> Result<Value, Exception> {
        if !self.may_create {
            return Err(Exception::access(
                "You are not allowed to access 'System Parameter' (ir.config_parameter) records.",
            ));
        }
        let key = arguments.get("key").and_then(Value::as_str).unwrap_or_default();
        let row = self.db.with(SETTING, "key", key).into_iter().next();
        let value = row.map(|row| self.db.value(SETTING, row, "value"));
        let default = || arguments.get("default").cloned().unwrap_or(Value::Bool(false));
        Ok(value.filter(Value::is_string).unwrap_or_else(default))
    }
}
