//! Connections: one store or ERP of an organisation, with its address, its credentials and its settings.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::entity::Currency;
use crate::system::System;

/// What a person can set about a connection, beside its address and credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Currency of prices that the remote states without one.
    pub currency: Currency,
    /// Unit in which the remote states weights.
    pub weight_unit: WeightUnit,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            currency: Currency::USD,
            weight_unit: WeightUnit::Kg,
        }
    }
}

/// A unit of weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightUnit {
    Kg,
    G,
    Lbs,
    Oz,
}

/// What a system wants to know before it lets anyone in. Never shown, never logged, stored only sealed.
#[derive(Clone, Debug)]
pub enum Credentials {
    Woocommerce {
        consumer_key: SecretString,
        consumer_secret: SecretString,
    },
    Odoo {
        database: String,
        login: String,
        api_key: SecretString,
    },
}

impl Credentials {
    pub const fn system(&self) -> System {
        match self {
            Self::Woocommerce { .. } => System::Woocommerce,
            Self::Odoo { .. } => System::Odoo,
        }
    }
}
