//! Money and other exact numbers, as the API shows and takes them.

use lockstep_shared::entity;
use poem_openapi::Object;
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer};

/// Largest number that is taken: the sum of as many as a request can hold is still a number.
const LARGEST: Decimal = Decimal::from_parts(0xa4c6_7fff, 0x0003_8d7e, 0, false, 0);

/// An amount of money, exact.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Money {
    /// The amount, as a decimal in a text, such as `19.9`.
    #[serde(deserialize_with = "decimal")]
    pub(crate) amount: Decimal,
    /// Three letters after ISO 4217, such as `EUR`.
    #[oai(validator(pattern = "^[A-Za-z]{3}$"))]
    #[serde(deserialize_with = "currency")]
    pub(crate) currency: String,
}

impl From<Money> for entity::Money {
    fn from(money: Money) -> Self {
        let currency = money.currency.parse().expect("it was checked as it was read");
        Self::new(money.amount, currency)
    }
}

impl From<entity::Money> for Money {
    fn from(money: entity::Money) -> Self {
        Self {
            amount: money.amount,
            currency: money.currency.code().to_owned(),
        }
    }
}

/// Reads a decimal from a text only: a number would pass through binary floating point, and lose digits.
pub(crate) fn decimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    let text = String::deserialize(deserializer)?;
    let number = Decimal::from_str_exact(&text)
        .map_err(|_| serde::de::Error::custom("it must be a decimal in a text, such as `19.9`"))?;
    if number.abs() > LARGEST {
        let message = format!("it must be from -{LARGEST} to {LARGEST}");
        return Err(serde::de::Error::custom(message));
    }
    Ok(number)
}

/// Reads an optional decimal that is there.
pub(crate) fn some_decimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    decimal(deserializer).map(Some)
}

/// Reads a currency's code, in capitals.
pub(crate) fn currency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    entity::Currency::deserialize(deserializer).map(|currency| currency.code().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_number_is_fifteen_nines() {
        assert_eq!(LARGEST.to_string(), "9".repeat(15));
    }
}
