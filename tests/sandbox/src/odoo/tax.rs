//! Taxes (facts: mapping-odoo 3, 6).

use serde_json::{Map, Value, json};

use super::exception::Exception;
use super::model::Kind::{Boolean, Char, Digits, Html, Integer, Selection};
use super::model::Model;
use super::schema::{computed, field, to};
use super::session::Session;

const TAX: &str = "account.tax";
const GROUP: &str = "account.tax.group";

const COMPUTATIONS: &[(&str, &str)] = &[
    ("fixed", "Fixed"),
    ("percent", "Percentage"),
    ("division", "Percentage Tax Included"),
];
const USES: &[(&str, &str)] = &[("sale", "Sales"), ("purchase", "Purchases"), ("none", "None")];
const OVERRIDES: &[(&str, &str)] = &[("tax_included", "Tax Included"), ("tax_excluded", "Tax Excluded")];

/// Builds the model of taxes; whether one is included in prices was a field of its own until 17.
pub(super) fn model(version: u32) -> Model {
    let mut fields = vec![
        field("name", "Tax Name", Char).required(),
        field("amount", "Amount", Digits(4)),
        field("amount_type", "Tax Computation", Selection(COMPUTATIONS)).or("percent"),
        field("type_tax_use", "Tax Type", Selection(USES)).or("sale"),
        field("active", "Active", Boolean).or(true),
        field("sequence", "Sequence", Integer).or(1),
        field("description", "Description", Html),
        field("invoice_label", "Label on Invoices", Char),
        to("country_id", "Country", "res.country").or(233),
        to("tax_group_id", "Tax Group", GROUP).or(1).required(),
        to("company_id", "Company", "res.company").or(1),
    ];
    if version < 18 {
        fields.push(field("price_include", "Included in Price", Boolean));
    } else {
        fields.extend([
            computed("price_include", "Price Include", Boolean),
            field(
                "price_include_override",
                "Included in Price",
                Selection(OVERRIDES),
            ),
        ]);
    }
    Model::new(TAX, "Tax", "sequence, id", fields)
}

/// Builds the model of tax groups.
pub(super) fn group() -> Model {
    let fields = vec![
        field("name", "Name", Char).required(),
        to("country_id", "Country", "res.country"),
    ];
    Model::new(GROUP, "Tax Group", "id", fields)
}

impl Session<'_> {
    /// A tax needs a name of its own and a group of its country.
    pub(super) fn settle_tax(&mut self, id: i64) -> Result<(), Exception> {
        let country = self.db.link(TAX, id, "country_id");
        let group = self.db.link(TAX, id, "tax_group_id").unwrap_or_default();
        if country.is_some() && self.db.link(GROUP, group, "country_id") != country {
            let groups: Vec<i64> = self.db.table(GROUP).rows.keys().copied().collect();
            let fits = groups
                .into_iter()
                .find(|group| self.db.link(GROUP, *group, "country_id") == country);
            let Some(fits) = fits else {
                return Err(Exception::validation(
                    "The operation cannot be completed: Missing required value for the field 'Tax Group' \
                     (tax_group_id).\nModel: 'Tax' (account.tax)\n- create/update: a mandatory field is not set\n- \
                     delete: another model requires the record being deleted, you can archive it instead\n",
                ));
            };
            self.set(TAX, id, &[("tax_group_id", json!(fits))]);
        }
        let identity = |tax: i64| {
            let fields = ["name", "type_tax_use", "country_id", "company_id"];
            fields.map(|name| self.db.value(TAX, tax, name))
        };
        let own = identity(id);
        let mut others = self.db.table(TAX).rows.keys().filter(|other| **other != id);
        if others.any(|other| identity(*other) == own) {
            let name = self.db.text(TAX, id, "name");
            return Err(Exception::validation(format!(
                "Tax names must be unique!\n- {name} in My Company"
            )));
        }
        Ok(())
    }

    /// Copies a tax; from 18 on the answer is a list.
    pub(super) fn copy_tax(&mut self, ids: &[i64], default: &Value) -> Result<Value, Exception> {
        let mut made = Vec::new();
        for id in ids {
            if self.db.row(TAX, *id).is_none() {
                return Err(Exception::missing(TAX, *id, self.user));
            }
            let fields = self.db.table(TAX).model.own_fields();
            let stored = fields.iter().filter(|field| Session::is_stored(field));
            let mut vals: Map<String, Value> = stored
                .map(|field| (field.name.clone(), self.db.value(TAX, *id, &field.name)))
                .collect();
            vals.insert(
                "name".to_owned(),
                json!(format!("{} (copy)", self.db.text(TAX, *id, "name"))),
            );
            vals.extend(default.as_object().cloned().unwrap_or_default());
            made.push(self.create(TAX, &vals)?);
        }
        match made.as_slice() {
            [one] if self.db.version < 18 => Ok(json!(one)),
            _ => Ok(json!(made)),
        }
    }

    /// Says whether prices include a tax; no company setting says otherwise here.
    pub(super) fn is_included(&self, tax: i64) -> bool {
        if self.db.version < 18 {
            self.db.flag(TAX, tax, "price_include")
        } else {
            self.db.text(TAX, tax, "price_include_override") == "tax_included"
        }
    }
}
