//! Orders and their lines, as the API shows and takes them.

use chrono::{DateTime, Utc};
use lockstep_shared::entity::{self, Content, PartKey};
use lockstep_shared::system::EntityType;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::body::{self, FromBody, instant, line, lines, present, present_line};
use crate::connections::SystemName;
use crate::customers::Address;
use crate::money::{currency, decimal, some_decimal};
use crate::problem::WrongField;
use crate::records::{self, Shown};
use crate::references::{Named, ProductReference, RecordReference};

/// How far an order has come. `pending`: placed, not paid. `on_hold`: waits for somebody. `processing`: paid, or to be
/// delivered on account. `completed`: delivered. `failed`: its payment failed. `refunded`: all of it was paid back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename_all = "snake_case", remote = "entity::OrderStatus")]
#[serde(rename_all = "snake_case")]
pub(crate) enum OrderStatus {
    #[default]
    Pending,
    OnHold,
    Processing,
    Completed,
    Cancelled,
    Failed,
    Refunded,
}

/// What a line of an order stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename_all = "lowercase", remote = "entity::LineKind")]
#[serde(rename_all = "lowercase")]
pub(crate) enum LineKind {
    #[default]
    Item,
    Shipping,
    Fee,
}

/// One tax on one line.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TaxAmount {
    /// What the tax is called.
    #[serde(default, deserialize_with = "present_line")]
    name: Option<String>,
    /// In percent, as a decimal in a text.
    #[serde(default, deserialize_with = "some_decimal")]
    rate: Option<Decimal>,
    /// How much it is, as a decimal in a text.
    #[serde(deserialize_with = "decimal")]
    amount: Decimal,
}

/// One line of an order. Amounts are in the order's currency, as decimals in texts.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OrderLine {
    /// Tells the line apart within its order, in every system: 1 to 60 letters, digits, `-` or `_`, each key once. Lines
    /// are kept in the order of their keys.
    #[oai(validator(pattern = "^[A-Za-z0-9_-]{1,60}$"))]
    #[serde(deserialize_with = "line")]
    key: String,
    /// What it stands for.
    #[oai(default)]
    #[serde(default)]
    kind: LineKind,
    /// What was sold; left out for shipping, fees, and things that no longer exist.
    #[serde(default, deserialize_with = "present")]
    product: Option<ProductReference>,
    /// What it was called when it was sold.
    #[serde(default, deserialize_with = "present_line")]
    name: Option<String>,
    /// How many units.
    #[oai(default = "one")]
    #[serde(default = "one", deserialize_with = "decimal")]
    quantity: Decimal,
    /// Net amount of the line before discounts.
    #[serde(deserialize_with = "decimal")]
    subtotal: Decimal,
    /// Net amount of the line after discounts.
    #[serde(deserialize_with = "decimal")]
    total: Decimal,
    /// The taxes on the line.
    #[oai(default)]
    #[serde(default)]
    taxes: Vec<TaxAmount>,
}

const fn one() -> Decimal {
    Decimal::ONE
}

/// Whom an order is billed or sent to, as the order itself says it: addresses of old orders don't move.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Contact {
    /// Company.
    #[serde(default, deserialize_with = "present_line")]
    company: Option<String>,
    /// E-mail address.
    #[serde(default, deserialize_with = "present_line")]
    email: Option<String>,
    /// Telephone number.
    #[serde(default, deserialize_with = "present_line")]
    phone: Option<String>,
    /// Name and postal address.
    #[serde(default, deserialize_with = "present")]
    address: Option<Address>,
}

/// Something that was bought. Amounts are decimals in texts, in the order's currency; names, codes and keys have at most
/// 250 characters as they are put.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(
    rename_all = "camelCase",
    deny_unknown_fields,
    skip_serializing_if_is_none,
    example
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Order {
    /// The number that people know it by, as the system gave it in which it was placed.
    #[serde(deserialize_with = "line")]
    number: String,
    /// The system in which it was placed; left out for your own application. Where nothing else is set, that system has
    /// the last word on what was ordered.
    #[serde(default, deserialize_with = "present")]
    origin: Option<SystemName>,
    /// How far it has come.
    #[oai(default)]
    #[serde(default)]
    status: OrderStatus,
    /// Currency of all its amounts: three letters after ISO 4217, such as `EUR`.
    #[oai(validator(pattern = "^[A-Za-z]{3}$"))]
    #[serde(deserialize_with = "currency")]
    currency: String,
    /// When it was placed, to the second.
    #[serde(deserialize_with = "instant")]
    placed_at: DateTime<Utc>,
    /// Whose account it belongs to; left out for a guest.
    #[serde(default, deserialize_with = "present")]
    customer: Option<RecordReference>,
    /// Who pays.
    #[serde(default, deserialize_with = "present")]
    billing: Option<Contact>,
    /// Where goods go, when that is not the billing address.
    #[serde(default, deserialize_with = "present")]
    shipping: Option<Contact>,
    /// What the buyer wrote.
    #[serde(default, deserialize_with = "present")]
    note: Option<String>,
    /// Codes of the coupons whose discounts the lines have in them, in lower case.
    #[oai(default)]
    #[serde(default, deserialize_with = "lines")]
    coupons: Vec<String>,
    /// What was bought, and what was charged beside it: at most 2,000 lines.
    #[oai(default, validator(max_items = 2000))]
    #[serde(default)]
    lines: Vec<OrderLine>,
    /// All taxes together.
    #[oai(default)]
    #[serde(default, deserialize_with = "decimal")]
    total_tax: Decimal,
    /// What the buyer has to pay, taxes included.
    #[serde(deserialize_with = "decimal")]
    total: Decimal,
}

records::mirror!(TaxAmount as entity::TaxAmount { name, rate, amount });

impl From<OrderLine> for entity::OrderLine {
    fn from(line: OrderLine) -> Self {
        Self {
            key: PartKey::named(line.key),
            kind: line.kind.into(),
            product: line.product.map(entity::Reference::from),
            name: line.name,
            quantity: line.quantity,
            subtotal: line.subtotal,
            total: line.total,
            taxes: line.taxes.into_iter().map(entity::TaxAmount::from).collect(),
        }
    }
}

impl From<entity::OrderLine> for OrderLine {
    fn from(line: entity::OrderLine) -> Self {
        Self {
            key: line.key.to_string(),
            kind: line.kind.into(),
            product: line.product.map(ProductReference::from),
            name: line.name,
            quantity: line.quantity,
            subtotal: line.subtotal,
            total: line.total,
            taxes: line.taxes.into_iter().map(TaxAmount::from).collect(),
        }
    }
}

impl From<Contact> for entity::Contact {
    fn from(contact: Contact) -> Self {
        Self {
            company: contact.company,
            email: contact.email,
            phone: contact.phone,
            address: contact.address.map(entity::Address::from).unwrap_or_default(),
        }
    }
}

impl From<entity::Contact> for Contact {
    fn from(contact: entity::Contact) -> Self {
        let address = contact.address;
        Self {
            company: contact.company,
            email: contact.email,
            phone: contact.phone,
            address: (!address.is_empty()).then(|| address.into()),
        }
    }
}

impl From<entity::Order> for Order {
    fn from(order: entity::Order) -> Self {
        Self {
            number: order.number,
            origin: order.origin.map(SystemName::from),
            status: order.status.into(),
            currency: order.currency.code().to_owned(),
            placed_at: order.placed_at,
            customer: order.customer.map(RecordReference::from),
            billing: order.billing.map(Contact::from),
            shipping: order.shipping.map(Contact::from),
            note: order.note,
            coupons: order.coupons,
            lines: order.lines.into_iter().map(OrderLine::from).collect(),
            total_tax: order.total_tax,
            total: order.total,
        }
    }
}

impl FromBody for Order {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        body::read(json)
    }
}

impl Shown for Order {
    const ENTITY: EntityType = EntityType::Orders;
    const ADDRESS: &'static str = "/api/v1/records/orders";

    fn named(&self) -> Vec<Named> {
        let customer = self.customer.iter();
        let customer =
            customer.map(|customer| Named::new("customer", EntityType::Customers, customer.record));
        let products = self.lines.iter().enumerate().filter_map(|(position, line)| {
            let record = line.product.as_ref()?.record;
            let field = format!("lines/{position}/product");
            Some(Named::new(field, EntityType::Products, record))
        });
        customer.chain(products).collect()
    }

    fn into_content(self) -> Content {
        Content::Order(entity::Order {
            number: self.number,
            origin: self.origin.map(Into::into),
            status: self.status.into(),
            currency: self.currency.parse().expect("it was checked as it was read"),
            placed_at: self.placed_at,
            customer: self.customer.map(entity::Reference::from),
            billing: self.billing.map(entity::Contact::from),
            shipping: self.shipping.map(entity::Contact::from),
            note: self.note,
            coupons: self.coupons,
            lines: self.lines.into_iter().map(entity::OrderLine::from).collect(),
            total_tax: self.total_tax,
            total: self.total,
        })
    }

    fn of_content(content: Content) -> Option<Self> {
        let Content::Order(order) = content else {
            return None;
        };
        Some(order.into())
    }
}

impl Example for Order {
    fn example() -> Self {
        let id = |last: u128| Uuid::from_u128(0x0198_3f5e_7c00_7000_8000_0000_0000_0000 | last);
        let tax = |amount| TaxAmount {
            name: Some("VAT".to_owned()),
            rate: Some(Decimal::from(19)),
            amount,
        };
        Self {
            number: "1042".to_owned(),
            origin: None,
            status: OrderStatus::Processing,
            currency: "EUR".to_owned(),
            placed_at: DateTime::UNIX_EPOCH + chrono::Duration::days(20_500),
            customer: Some(RecordReference { record: id(1) }),
            billing: Some(Contact {
                company: None,
                email: Some("ada@example.com".to_owned()),
                phone: None,
                address: Some(Address::example()),
            }),
            shipping: None,
            note: Some("Please ring twice".to_owned()),
            coupons: vec!["spring".to_owned()],
            lines: vec![
                OrderLine {
                    key: "1".to_owned(),
                    kind: LineKind::Item,
                    product: Some(ProductReference {
                        record: id(2),
                        variant: Some("color=blue".to_owned()),
                    }),
                    name: Some("Enamel mug, blue".to_owned()),
                    quantity: Decimal::TWO,
                    subtotal: Decimal::new(398, 1),
                    total: Decimal::new(3582, 2),
                    taxes: vec![tax(Decimal::new(681, 2))],
                },
                OrderLine {
                    key: "shipping".to_owned(),
                    kind: LineKind::Shipping,
                    product: None,
                    name: Some("Parcel".to_owned()),
                    quantity: Decimal::ONE,
                    subtotal: Decimal::new(398, 2),
                    total: Decimal::new(398, 2),
                    taxes: vec![tax(Decimal::new(76, 2))],
                },
            ],
            total_tax: Decimal::new(757, 2),
            total: Decimal::new(4737, 2),
        }
    }
}

records::operations! {
    Orders of Order;
    put: "putOrder", "Put an order";
    put_many: "putOrders", "Put many orders";
    put_lines: "putOrdersLines", "Put many orders, a line each";
    get: "getOrder", "Get an order";
    list: "listOrders", "List orders";
}

#[cfg(test)]
mod tests {
    use poem_openapi::types::ToJSON;
    use serde_json::json;

    use super::*;

    fn wrong(field: &str, value: Value) -> String {
        let mut order = Order::example().to_json().unwrap();
        *order.pointer_mut(field).unwrap() = value;
        let wrong = Order::from_body(order).unwrap_err();
        format!("{} {}", wrong[0].field, wrong[0].message)
    }

    #[test]
    fn an_order_comes_back_as_it_was_put() {
        let json = Order::example().to_json().unwrap();

        let content = Order::from_body(json.clone()).unwrap().into_content();
        let shown = Order::of_content(content.canonical().unwrap()).unwrap();

        assert_eq!(shown.to_json().unwrap(), json, "R50");
    }

    #[test]
    fn what_is_wrong_with_an_order_is_said_in_words_of_json() {
        let wrong = [
            wrong("/placedAt", json!("yesterday")),
            wrong("/total", json!(47.37)),
            wrong("/lines/1/quantity", json!("1e3")),
            wrong("/status", json!("gone")),
            wrong("/lines/0/product", json!("x")),
            wrong("/customer/record", json!("x")),
        ];

        insta::assert_snapshot!(wrong.join("\n"), @r"
        placedAt is wrong: it must be a date and time after RFC 3339, such as `2026-11-27T09:30:00Z`
        total must be a string
        lines/1/quantity is wrong: it must be a decimal in a text, such as `19.9`
        status must be `pending` or `on_hold` or `processing` or `completed` or `cancelled` or `failed` or `refunded`
        lines/0/product must be an object
        customer/record is wrong: it must be a UUID
        ");
    }

    #[test]
    fn products_are_named_by_the_positions_that_they_came_in() {
        let mut json = Order::example().to_json().unwrap();
        json["lines"].as_array_mut().unwrap().reverse();

        let named = Order::from_body(json).unwrap().named();

        let id = |last: u128| Uuid::from_u128(0x0198_3f5e_7c00_7000_8000_0000_0000_0000 | last);
        assert_eq!(
            named,
            [
                Named::new("customer", EntityType::Customers, id(1)),
                Named::new("lines/1/product", EntityType::Products, id(2)),
            ]
        );
    }
}
