//! Values as Odoo writes them in JSON: an empty field is `false`, a reference is `[id, "Name"]`, a decimal is a float.

use rust_decimal::{Decimal, RoundingStrategy};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};

use super::error::Failure;

/// Digits to which a decimal is read: what lies beyond is the noise of the float that carried it.
const DECIMAL_DIGITS: u32 = 6;

/// A reference to another record: its id and its display name.
pub(super) type Link = (i64, String);

/// Reads a value that is `false` where there is none.
pub(super) fn falsy<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Falsy<T> {
        Value(T),
        Nothing(bool),
    }
    match Option::deserialize(deserializer)? {
        Some(Falsy::Value(value)) => Ok(Some(value)),
        None | Some(Falsy::Nothing(false)) => Ok(None),
        Some(Falsy::Nothing(true)) => Err(D::Error::custom("`true` stands where a value should")),
    }
}

/// Reads a decimal from the text of a JSON number, without any arithmetic on floats.
pub(super) fn decimal(number: &Number) -> Decimal {
    let text = number.to_string();
    let exact = text.parse().or_else(|_| Decimal::from_scientific(&text));
    round(exact.unwrap_or_default(), DECIMAL_DIGITS)
}

/// Rounds half away from zero, as Odoo's own `float_round` does.
pub(super) fn round(amount: Decimal, digits: u32) -> Decimal {
    amount
        .round_dp_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero)
        .normalize()
}

/// Reads the rows that a `search_read` answered.
pub(super) fn rows<T: serde::de::DeserializeOwned>(answer: Value) -> Result<Vec<T>, Failure> {
    serde_json::from_value(answer).map_err(|error| Failure::unreadable(&error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Row {
        #[serde(deserialize_with = "falsy")]
        name: Option<String>,
        #[serde(deserialize_with = "falsy")]
        link: Option<Link>,
    }

    #[test]
    fn what_is_false_is_nothing() {
        let read = |json| serde_json::from_value::<Row>(json).unwrap();

        assert_eq!(
            read(json!({"name": false, "link": false})),
            Row {
                name: None,
                link: None
            }
        );
        assert_eq!(
            read(json!({"name": "A", "link": [13, "California (US)"]})),
            Row {
                name: Some("A".to_owned()),
                link: Some((13, "California (US)".to_owned())),
            }
        );
    }

    #[test]
    fn a_decimal_is_read_from_its_text() {
        let read = |json: Value| decimal(json.as_number().unwrap()).to_string();

        assert_eq!(read(json!(800.4)), "800.4");
        assert_eq!(read(json!(750.0)), "750");
        assert_eq!(read(json!(19.999)), "19.999");
        assert_eq!(read(json!(20.099_999_999_999_998)), "20.1");
        assert_eq!(read(json!(1e-5)), "0.00001");
        assert_eq!(read(json!(3)), "3");
    }
}
