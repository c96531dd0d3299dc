//! How many of a thing there are to sell.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{Invalid, KeyKind, NaturalKey, Reference};

/// What there is of one product variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// The product and its variant.
    pub product: Reference,
    /// What can still be sold: what is there without what was sold and not delivered yet. Less than nothing where more
    /// was sold than there is.
    pub quantity: Decimal,
}

impl Inventory {
    /// Returns the level in canonical form.
    ///
    /// # Errors
    /// None today; the signature is that of every kind of record.
    pub fn canonical(self) -> Result<Self, Invalid> {
        Ok(Self {
            product: self.product,
            quantity: self.quantity.normalize(),
        })
    }

    pub(super) fn natural_keys(&self) -> Vec<NaturalKey> {
        let target = self.product.target();
        target
            .map(|target| NaturalKey::new(KeyKind::Subject, &format!("{}/{}", target.record, target.part)))
            .into_iter()
            .collect()
    }
}
