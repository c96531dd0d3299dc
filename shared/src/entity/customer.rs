//! Customers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::text::{LINE_LIMIT, clean_line, optional};
use super::{FieldError, Invalid, KeyKind, NaturalKey};

/// An e-mail address in lower case. Checked for its shape only: whether it exists is the mail server's to say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Email(String);

impl Email {
    /// Reads an address; `None` where the text has not the shape of one.
    pub fn parse(text: &str) -> Option<Self> {
        let address = text.trim().to_lowercase();
        let (local, domain) = address.rsplit_once('@')?;
        let is_address = !local.is_empty()
            && domain.contains('.')
            && !domain.starts_with('.')
            && !domain.ends_with('.')
            && address.len() <= 254
            && !address
                .chars()
                .any(|c| c.is_whitespace() || c.is_control() || matches!(c, ',' | ';' | '<' | '>'));
        is_address.then_some(Self(address))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A postal address. Lines are kept as the source had them; codes are ISO 3166-1 alpha-2 and the part of ISO 3166-2
/// that the systems share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Address {
    /// Who receives at this address, where that is not the customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub street: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub street2: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postcode: Option<String>,
    /// State or province by its code within the country, such as `CA`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Country by its two-letter code, such as `US`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

impl Address {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn canonical(self, path: &str, errors: &mut Vec<FieldError>) -> Option<Self> {
        let line = |text| optional(text, clean_line);
        let address = Self {
            name: line(self.name),
            street: line(self.street),
            street2: line(self.street2),
            city: line(self.city),
            postcode: line(self.postcode),
            // A code has one spelling; anything longer is a name, and names keep theirs.
            state: line(self.state).map(|text| {
                if text.len() <= 3 {
                    text.to_uppercase()
                } else {
                    text
                }
            }),
            country: line(self.country).map(|code| code.to_uppercase()),
        };
        if let Some(country) = &address.country
            && !(country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase()))
        {
            errors.push(FieldError::new(
                format!("{path}/country"),
                format!("must be a country code of two letters, such as `DE`, not `{country}`"),
            ));
        }
        (!address.is_empty()).then_some(address)
    }
}

/// Someone who buys: a person or a company.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Customer {
    /// Whole name, as it would stand on a letter.
    pub name: String,
    /// Parsed and put into lower case by [`Customer::canonical`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<String>,
    /// VAT or other tax number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_number: Option<String>,
    /// The language to write to them in, such as `de` or `de_CH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing: Option<Address>,
    /// Where goods go, when that is not the billing address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping: Option<Address>,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub is_active: bool,
}

fn yes() -> bool {
    true
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_true(value: &bool) -> bool {
    *value
}

impl Customer {
    /// Returns the customer in canonical form, or every reason why there is none.
    pub fn canonical(self) -> Result<Self, Invalid> {
        let mut errors = Vec::new();
        let line = |text| optional(text, clean_line);
        let name = clean_line(&self.name);
        if name.is_empty() {
            errors.push(FieldError::new("name", "must not be empty"));
        }
        if name.chars().count() > LINE_LIMIT {
            errors.push(FieldError::new(
                "name",
                format!("must have at most {LINE_LIMIT} characters"),
            ));
        }
        let email = line(self.email).and_then(|text| {
            let email = Email::parse(&text);
            if email.is_none() {
                errors.push(FieldError::new(
                    "email",
                    format!("must be an e-mail address, not `{text}`"),
                ));
            }
            email.map(|email| email.0)
        });
        let billing = self
            .billing
            .and_then(|address| address.canonical("billing", &mut errors));
        let shipping = self
            .shipping
            .and_then(|address| address.canonical("shipping", &mut errors))
            .filter(|address| Some(address) != billing.as_ref());
        if !errors.is_empty() {
            return Err(Invalid(errors));
        }
        Ok(Self {
            name,
            email,
            phone: line(self.phone),
            company: line(self.company),
            tax_number: line(self.tax_number),
            language: line(self.language),
            billing,
            shipping,
            is_active: self.is_active,
        })
    }

    pub(super) fn natural_keys(&self) -> Vec<NaturalKey> {
        self.email
            .iter()
            .map(|email| NaturalKey::new(KeyKind::Email, email))
            .collect()
    }
}
