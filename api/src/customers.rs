//! Customers, as the API shows and takes them.

use lockstep_shared::entity::{self, Content};
use lockstep_shared::system::EntityType;
use poem_openapi::param::{Path, Query};
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::auth::Authenticated;
use crate::body::{self, Body, Bulk, FromBody, line, present, present_line};
use crate::document::Tag;
use crate::problem::{Refused, WrongField};
use crate::records::{self, AllStored, Found, Listed, PutRecordsRequest, Shown, Stored};

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

impl From<Address> for entity::Address {
    fn from(address: Address) -> Self {
        Self {
            name: address.name,
            street: address.street,
            street2: address.street2,
            city: address.city,
            postcode: address.postcode,
            state: address.state,
            country: address.country,
        }
    }
}

impl From<entity::Address> for Address {
    fn from(address: entity::Address) -> Self {
        Self {
            name: address.name,
            street: address.street,
            street2: address.street2,
            city: address.city,
            postcode: address.postcode,
            state: address.state,
            country: address.country,
        }
    }
}

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
        match content {
            Content::Customer(customer) => Some(customer.into()),
            Content::Product(_) | Content::Order(_) | Content::Inventory(_) | Content::Payment(_) => None,
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
            billing: Some(Address {
                name: None,
                street: Some("12 St James's Square".to_owned()),
                street2: None,
                city: Some("London".to_owned()),
                postcode: Some("SW1Y 4JH".to_owned()),
                state: None,
                country: Some("GB".to_owned()),
            }),
            shipping: None,
            is_active: true,
        }
    }
}

pub(crate) struct Customers;

#[OpenApi(prefix_path = "/api/v1/records/customers", tag = "Tag::Records")]
impl Customers {
    /// Put a customer
    ///
    /// Stores a customer under an identifier of your choice: new, or instead of what stood there. A change is carried to
    /// every connection by the next sync; putting the same content again changes nothing.
    #[oai(path = "/:recordId", method = "put", operation_id = "putCustomer")]
    async fn put(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the record, chosen by you.
        #[oai(name = "recordId")]
        Path(record_id): Path<Uuid>,
        /// The whole customer: a field that is left out is empty.
        Body(customer): Body<Customer>,
    ) -> Result<Stored<Customer>, Refused> {
        records::put_one(&session, record_id, customer).await
    }

    /// Put many customers
    ///
    /// Stores up to 1,000 customers at once. Those that are not valid are refused one by one; the others are stored.
    #[oai(path = "/", method = "post", operation_id = "putCustomers")]
    async fn put_many(
        &self,
        Authenticated(session): Authenticated,
        /// The customers.
        Body(request): Bulk<PutRecordsRequest<Customer>>,
    ) -> Result<AllStored, Refused> {
        records::put_many(&session, request).await
    }

    /// Get a customer
    ///
    /// Returns a customer, and how each connection sees it.
    #[oai(path = "/:recordId", method = "get", operation_id = "getCustomer")]
    async fn get(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the record.
        #[oai(name = "recordId")]
        Path(record_id): Path<Uuid>,
    ) -> Result<Found<Customer>, Refused> {
        records::find(&session, record_id).await
    }

    /// List customers
    ///
    /// Lists the organisation's customers in the order of their identifiers, a page at a time.
    #[oai(path = "/", method = "get", operation_id = "listCustomers")]
    async fn list(
        &self,
        Authenticated(session): Authenticated,
        /// Where to go on: the `nextCursor` of the page before.
        Query(cursor): Query<Option<String>>,
        /// Most customers on the page, 50 where it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        Query(limit): Query<Option<i32>>,
    ) -> Result<Listed<Customer>, Refused> {
        records::list(&session, cursor.as_deref(), limit).await
    }
}
