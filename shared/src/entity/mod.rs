//! Records in canonical form: the one shape that both remote systems are translated into and out of.
//!
//! A record is valid or it can't be built: [`Content::parse`] and the types' own constructors refuse the rest with a
//! message per field. Two records that mean the same have the same canonical JSON and the same [`ContentHash`].
//! What a remote system calls its fields, and how, is the connectors' business, not this room's.

mod customer;
mod field;
mod inventory;
mod money;
mod order;
mod payment;
mod product;
mod reference;
mod retire;
mod text;

pub use customer::{Address, Customer, Email};
pub(crate) use field::owned_name;
pub use field::{Fields, fields_of};
pub use inventory::Inventory;
pub use money::{Currency, Money};
pub use order::{Contact, LineKind, Order, OrderLine, OrderStatus, TaxAmount};
pub use payment::{Payment, PaymentKind, RefundedLine};
pub use product::{Attribute, Dimensions, PartKey, Product, ProductKind, ProductStatus, Sale, Variant};
pub use reference::{RecordPart, Reference, RemoteThing};
pub use text::{clean_line, clean_text};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::system::EntityType;

/// One wrong field of a record, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("`{field}` {message}")]
pub struct FieldError {
    /// Path of the field in the canonical form, such as `variants/0/price`.
    pub field: String,
    /// What would be right, in words that follow the field's name: "must not be empty".
    pub message: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// Every reason why a record is not valid; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invalid(pub Vec<FieldError>);

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, error) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// What a record says, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Content {
    Customer(Customer),
    Product(Product),
    Order(Order),
    Inventory(Inventory),
    Payment(Payment),
}

impl Content {
    /// Reads a record of the given type from its JSON form, normalises and validates it.
    ///
    /// Unknown fields are refused: a misspelt field would otherwise be lost without a word.
    pub fn parse(entity: EntityType, json: serde_json::Value) -> Result<Self, Invalid> {
        let shape = |error: serde_json::Error| {
            Invalid(vec![FieldError::new(
                "content",
                format!("can't be read: {error}"),
            )])
        };
        let content = match entity {
            EntityType::Customers => Self::Customer(serde_json::from_value(json).map_err(shape)?),
            EntityType::Products => Self::Product(serde_json::from_value(json).map_err(shape)?),
            EntityType::Orders => Self::Order(serde_json::from_value(json).map_err(shape)?),
            EntityType::Inventory => Self::Inventory(serde_json::from_value(json).map_err(shape)?),
            EntityType::Payments => Self::Payment(serde_json::from_value(json).map_err(shape)?),
        };
        content.canonical()
    }

    /// Normalises white space, empty values and order, and validates what results.
    pub fn canonical(self) -> Result<Self, Invalid> {
        match self {
            Self::Customer(customer) => customer.canonical().map(Self::Customer),
            Self::Product(product) => product.canonical().map(Self::Product),
            Self::Order(order) => order.canonical().map(Self::Order),
            Self::Inventory(inventory) => inventory.canonical().map(Self::Inventory),
            Self::Payment(payment) => payment.canonical().map(Self::Payment),
        }
    }

    pub const fn entity(&self) -> EntityType {
        match self {
            Self::Customer(_) => EntityType::Customers,
            Self::Product(_) => EntityType::Products,
            Self::Order(_) => EntityType::Orders,
            Self::Inventory(_) => EntityType::Inventory,
            Self::Payment(_) => EntityType::Payments,
        }
    }

    /// Returns the canonical JSON: keys sorted, empty fields left out, decimals without trailing zeros.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("canonical records have string keys and no floats")
    }

    /// Returns the hash of the canonical JSON.
    pub fn hash(&self) -> ContentHash {
        ContentHash::of(&self.to_json())
    }

    /// Returns the keys by which the same thing is known again in another system, strongest first.
    pub fn natural_keys(&self) -> Vec<NaturalKey> {
        match self {
            Self::Customer(customer) => customer.natural_keys(),
            Self::Product(product) => product.natural_keys(),
            Self::Inventory(inventory) => inventory.natural_keys(),
            // Two orders of one number may be two orders; a payment may be made twice.
            Self::Order(_) | Self::Payment(_) => Vec::new(),
        }
    }

    /// Says whether a thing in this state, never seen before, is worth carrying to other systems.
    pub fn is_wanted_when_new(&self) -> bool {
        match self {
            Self::Customer(customer) => customer.is_active,
            Self::Product(product) => product.status != ProductStatus::Archived,
            Self::Order(_) | Self::Inventory(_) | Self::Payment(_) => true,
        }
    }

    /// Returns the records that this one is about, with the type of each.
    pub fn references(&self) -> Vec<(EntityType, &Reference)> {
        match self {
            Self::Customer(_) | Self::Product(_) => Vec::new(),
            Self::Order(order) => {
                let customer = order
                    .customer
                    .iter()
                    .map(|customer| (EntityType::Customers, customer));
                let products = order
                    .lines
                    .iter()
                    .filter_map(|line| Some((EntityType::Products, line.product.as_ref()?)));
                customer.chain(products).collect()
            }
            Self::Inventory(inventory) => vec![(EntityType::Products, &inventory.product)],
            Self::Payment(payment) => vec![(EntityType::Orders, &payment.order)],
        }
    }

    /// Puts our own records in the place of what a connector read. `known` answers for one remote thing.
    ///
    /// # Errors
    /// What can't be without its reference, such as a payment of an order that nobody knows, is not valid.
    pub fn resolved(
        self,
        mut known: impl FnMut(EntityType, &RemoteThing) -> Option<RecordPart>,
    ) -> Result<Self, Invalid> {
        let mut resolve = |entity: EntityType, reference: Reference| match reference {
            Reference::Record(_) => Some(reference),
            Reference::Remote(thing) => known(entity, &thing).map(Reference::Record),
        };
        let needed = |field: &str, what: &str| {
            Invalid(vec![FieldError::new(
                field,
                format!("must name {what} that is kept in step; the remote's is not"),
            )])
        };
        match self {
            Self::Customer(_) | Self::Product(_) => Ok(self),
            Self::Order(mut order) => {
                order.customer = order
                    .customer
                    .and_then(|customer| resolve(EntityType::Customers, customer));
                for line in &mut order.lines {
                    line.product = line
                        .product
                        .take()
                        .and_then(|product| resolve(EntityType::Products, product));
                }
                Ok(Self::Order(order))
            }
            Self::Inventory(inventory) => {
                let product = resolve(EntityType::Products, inventory.product)
                    .ok_or_else(|| needed("product", "a product"))?;
                Ok(Self::Inventory(Inventory { product, ..inventory }))
            }
            Self::Payment(payment) => {
                let order =
                    resolve(EntityType::Orders, payment.order).ok_or_else(|| needed("order", "an order"))?;
                Ok(Self::Payment(Payment { order, ..payment }))
            }
        }
    }
}

/// SHA-256 of a canonical record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    fn of(json: &serde_json::Value) -> Self {
        Self(Sha256::digest(json.to_string().as_bytes()).into())
    }
}

/// A kind of natural key. Its order is the order of trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    Sku,
    Barcode,
    Email,
    /// The record and part that an inventory level is about.
    Subject,
}

impl KeyKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sku => "sku",
            Self::Barcode => "barcode",
            Self::Email => "email",
            Self::Subject => "subject",
        }
    }
}

/// A value that tells a thing apart from others of its type; compared in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NaturalKey {
    pub kind: KeyKind,
    pub value: String,
}

impl NaturalKey {
    pub(crate) fn new(kind: KeyKind, value: &str) -> Self {
        Self {
            kind,
            value: value.to_lowercase(),
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::any_content as any_content_for_tests;
