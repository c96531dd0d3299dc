//! Customers, as the API shows and takes them.

use lockstep_shared::entity::{self, Content};
use lockstep_shared::system::EntityType;
use poem_openapi::Object;
use poem_openapi::types::Example;
use serde::Deserialize;
use serde_json::Value;

use crate::body::{self, FromBody, line, present, present_line};
use crate::problem::WrongField;
use crate::records::{self, Shown};

/// A postal address.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Address {
    /// Who receives at this address, where that is not the customer.
    #[serde(default, deserialize_with = "present_line")]
    name: Option<String>,
    /// Street and number.
    #[serde(default, deserialize_with = "present_line")]
    street: Option<String>,
    /// Second line of the street.
    #[serde(default, deserialize_with = "present_line")]
    street2: Option<String>,
    /// City.
    #[serde(default, deserialize_with = "present_line")]
    city: Option<String>,
    /// Postcode.
    #[serde(default, deserialize_with = "present_line")]
    postcode: Option<String>,
    /// State or province by its code within the country, such as `CA`.
    #[serde(default, deserialize_with = "present_line")]
    state: Option<String>,
    /// Country by its two-letter code, such as `US`.
    #[serde(default, deserialize_with = "present_line")]
    country: Option<String>,
}

records::mirror!(Address as entity::Address {
    name,
    street,
    street2,
    city,
    postcode,
    state,
    country,
});

/// Someone who buys: a person or a company. Each text has at most 250 characters as it is put.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(
    rename_all = "camelCase",
    deny_unknown_fields,
    skip_serializing_if_is_none,
    example
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Customer {
    /// Whole name, as it would stand on a letter.
    #[serde(deserialize_with = "line")]
    name: String,
    /// E-mail address. By it the customer is known again in other systems.
    #[serde(default, deserialize_with = "present_line")]
    email: Option<String>,
    /// Telephone number.
    #[serde(default, deserialize_with = "present_line")]
    phone: Option<String>,
    /// Company.
    #[serde(default, deserialize_with = "present_line")]
    company: Option<String>,
    /// VAT or other tax number.
    #[serde(default, deserialize_with = "present_line")]
    tax_number: Option<String>,
    /// The language to write to them in, such as `de` or `de_CH`.
    #[serde(default, deserialize_with = "present_line")]
    language: Option<String>,
    /// Where invoices go.
    #[serde(default, deserialize_with = "present")]
    billing: Option<Address>,
    /// Where goods go, when that is not the billing address.
    #[serde(default, deserialize_with = "present")]
    shipping: Option<Address>,
    /// Whether the customer is still one.
    #[oai(default = "yes")]
    #[serde(default = "yes")]
    is_active: bool,
}

const fn yes() -> bool {
    true
}

impl From<entity::Customer> for Customer {
    fn from(customer: entity::Customer) -> Self {
        Self {
            name: customer.name,
            email: customer.email,
            phone: customer.phone,
            company: customer.company,
            tax_number: customer.tax_number,
            language: customer.language,
            billing: customer.billing.map(Address::from),
            shipping: customer.shipping.map(Address::from),
            is_active: customer.is_active,
        }
    }
}

impl FromBody for Customer {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        body::read(json)
    }
}

impl Shown for Customer {
    const ENTITY: EntityType = EntityType::Customers;
    const ADDRESS: &'static str = "/api/v1/records/customers";

    fn into_content(self) -> Content {
        Content::Customer(entity::Customer {
            name: self.name,
            email: self.email,
            phone: self.phone,
            company: self.company,
            tax_number: self.tax_number,
            language: self.language,
            billing: self.billing.map(entity::Address::from),
            shipping: self.shipping.map(entity::Address::from),
            is_active: self.is_active,
        })
    }

    fn of_content(content: Content) -> Option<Self> {
        let Content::Customer(customer) = content else {
            return None;
        };
        Some(customer.into())
    }
}

impl Example for Address {
    fn example() -> Self {
        Self {
            name: None,
            street: Some("12 St James's Square".to_owned()),
            street2: None,
            city: Some("London".to_owned()),
            postcode: Some("SW1Y 4JH".to_owned()),
            state: None,
            country: Some("GB".to_owned()),
        }
    }
}

impl Example for Customer {
    fn example() -> Self {
        Self {
            name: "Ada Lovelace".to_owned(),
            email: Some("ada@example.com".to_owned()),
            phone: Some("+44 20 7946 0000".to_owned()),
            company: None,
            tax_number: None,
            language: Some("en_GB".to_owned()),
            billing: Some(Address::example()),
            shipping: None,
            is_active: true,
        }
    }
}

records::operations! {
    Customers of Customer;
    put: "putCustomer", "Put a customer";
    put_many: "putCustomers", "Put many customers";
    put_lines: "putCustomersLines", "Put many customers, a line each";
    get: "getCustomer", "Get a customer";
    list: "listCustomers", "List customers";
}
