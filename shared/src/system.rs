//! The systems that can be connected, and the types of thing that are kept in step.

use serde::{Deserialize, Serialize};

/// A kind of remote system. Its order is the order of the stages: WooCommerce first, then Odoo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum System {
    Woocommerce,
    Odoo,
}

impl System {
    pub const ALL: [Self; 2] = [Self::Woocommerce, Self::Odoo];

    /// Returns the name used in the API, the tables and the logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Woocommerce => "woocommerce",
            Self::Odoo => "odoo",
        }
    }
}

/// A type of record. Its order is the order of the stages: what is referred to goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum EntityType {
    Customers,
    Products,
    Orders,
    Inventory,
    Payments,
}

impl EntityType {
    pub const ALL: [Self; 5] = [
        Self::Customers,
        Self::Products,
        Self::Orders,
        Self::Inventory,
        Self::Payments,
    ];

    /// Returns the name used in the API, the tables and the logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Customers => "customers",
            Self::Products => "products",
            Self::Orders => "orders",
            Self::Inventory => "inventory",
            Self::Payments => "payments",
        }
    }
}

/// Which way a stage carries records, as seen from Lockstep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Direction {
    Pull,
    Push,
}

impl Direction {
    /// Returns the name used in the API, the tables and the logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
        }
    }
}
