//! Customers: what Odoo calls a partner, with a delivery address of its own. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use lockstep_shared::entity::{Address, Content, Customer, Email, Invalid};
use serde::Deserialize;

use super::cursor::Second;
use super::place::Places;
use super::wire::{Link, falsy};

/// Fields of `res.partner` that are read.
pub(super) const FIELDS: [&str; 18] = [
    "name",
    "type",
    "parent_id",
    "is_company",
    "company_name",
    "email",
    "phone",
    "vat",
    "street",
    "street2",
    "city",
    "zip",
    "state_id",
    "country_id",
    "lang",
    "active",
    "email_normalized",
    "write_date",
];

#[derive(Clone, Debug, Deserialize)]
pub(super) struct PartnerRow {
    pub(super) id: i64,
    #[serde(deserialize_with = "falsy")]
    name: Option<String>,
    #[serde(deserialize_with = "falsy")]
    r#type: Option<String>,
    #[serde(deserialize_with = "falsy")]
    pub(super) parent_id: Option<Link>,
    is_company: bool,
    #[serde(deserialize_with = "falsy")]
    company_name: Option<String>,
    #[serde(deserialize_with = "falsy")]
    email: Option<String>,
    /// In lower case, and without the name that may stand around the address.
    #[serde(default, deserialize_with = "falsy")]
    email_normalized: Option<String>,
    #[serde(deserialize_with = "falsy")]
    phone: Option<String>,
    #[serde(deserialize_with = "falsy")]
    vat: Option<String>,
    #[serde(deserialize_with = "falsy")]
    street: Option<String>,
    #[serde(deserialize_with = "falsy")]
    street2: Option<String>,
    #[serde(deserialize_with = "falsy")]
    city: Option<String>,
    #[serde(deserialize_with = "falsy")]
    zip: Option<String>,
    #[serde(deserialize_with = "falsy")]
    state_id: Option<Link>,
    #[serde(deserialize_with = "falsy")]
    country_id: Option<Link>,
    #[serde(default, deserialize_with = "falsy")]
    lang: Option<String>,
    pub(super) active: bool,
    #[serde(default, deserialize_with = "falsy")]
    write_date: Option<Second>,
}

impl PartnerRow {
    /// Says whether this is someone, and not an address of someone. Contacts of a company are customers themselves.
    pub(super) fn is_contact(&self) -> bool {
        self.r#type.as_deref().is_none_or(|kind| kind == "contact")
    }

    /// When the partner or its delivery address was changed last: the address leaves its partner's own time alone.
    pub(super) fn modified_at(&self, delivery: Option<&Self>) -> Option<DateTime<Utc>> {
        let address = delivery.and_then(|delivery| delivery.write_date);
        self.write_date.max(address).map(DateTime::from)
    }

    /// The parent, where this is its delivery address.
    pub(super) fn delivers_for(&self) -> Option<i64> {
        let is_delivery = self.r#type.as_deref() == Some("delivery");
        self.parent_id
            .as_ref()
            .filter(|_| is_delivery)
            .map(|parent| parent.0)
    }

    /// Says whether this partner answers to an address in lower case.
    pub(super) fn has_email(&self, email: &str) -> bool {
        self.email_normalized.as_deref() == Some(email) || self.email().as_deref() == Some(email)
    }

    fn email(&self) -> Option<String> {
        let email = Email::parse(self.email.as_deref()?)?;
        Some(email.as_str().to_owned())
    }

    fn address(&self, places: &Places) -> Address {
        let country = self.country_id.as_ref();
        let state = self.state_id.as_ref();
        Address {
            name: None,
            street: self.street.clone(),
            street2: self.street2.clone(),
            city: self.city.clone(),
            postcode: self.zip.clone(),
            state: state
                .and_then(|link| places.state_code(link.0))
                .map(str::to_owned),
            country: country
                .and_then(|link| places.country_code(link.0))
                .map(str::to_owned),
        }
    }

    /// Reads the partner as a record. An e-mail address that is none is left out: partners have them without being
    /// asked, several in one field even.
    pub(super) fn content(&self, delivery: Option<&PartnerRow>, places: &Places) -> Result<Content, Invalid> {
        let parent = self.parent_id.as_ref().filter(|_| !self.is_company);
        let customer = Customer {
            name: self.name.clone().unwrap_or_default(),
            email: self.email(),
            phone: self.phone.clone(),
            company: self
                .company_name
                .clone()
                .or_else(|| parent.map(|parent| parent.1.clone())),
            tax_number: self.vat.clone(),
            billing: Some(self.address(places)),
            shipping: delivery.map(|child| Address {
                name: child.name.clone(),
                ..child.address(places)
            }),
            is_active: self.active,
            language: self.lang.clone(),
        };
        let read = Content::Customer(customer).canonical()?;
        let Content::Customer(customer) = &read else {
            return Ok(read);
        };
        Content::Customer(project(customer, Some(places))).canonical()
    }
}

/// Picks the delivery address of each partner: the first child of that type that is in use.
pub(super) fn deliveries(rows: &[PartnerRow]) -> BTreeMap<i64, &PartnerRow> {
    let mut first: BTreeMap<i64, &PartnerRow> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.active) {
        let Some(parent) = row.delivers_for() else {
            continue;
        };
        let slot = first.entry(parent).or_insert(row);
        if row.id < slot.id {
            *slot = row;
        }
    }
    first
}

/// Returns the customer as Odoo can hold it. Without the tables of this Odoo countries, states and languages stay as they
/// are; with them, a code is spelt as Odoo spells it, and one it does not have is left out.
pub(super) fn project(customer: &Customer, places: Option<&Places>) -> Customer {
    let mut projected = customer.clone();
    if let Some(places) = places {
        let language = projected.language.as_deref();
        projected.language = language.and_then(|code| places.language(code)).map(str::to_owned);
    }
    let spelt = |address: Option<Address>| address.map(|address| spell(address, places));
    projected.billing = spelt(projected.billing).map(|billing| Address {
        // A partner's own address has no other name than the partner's.
        name: None,
        ..billing
    });
    projected.shipping = spelt(projected.shipping).map(|shipping| Address {
        name: shipping.name.filter(|name| *name != customer.name),
        ..shipping
    });
    projected
}

pub(super) fn spell(mut address: Address, places: Option<&Places>) -> Address {
    let Some(places) = places else {
        return address;
    };
    address.country = address.country.filter(|code| places.country_id(code).is_some());
    let country = address.country.as_deref();
    address.state = address
        .state
        .zip(country)
        .and_then(|(state, country)| places.state_id(country, &state))
        .and_then(|id| places.state_code(id))
        .map(str::to_owned);
    address
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::super::place::sample;
    use super::*;

    pub(crate) fn customer(content: &Value) -> Customer {
        let entity = lockstep_shared::system::EntityType::Customers;
        let Content::Customer(customer) = Content::parse(entity, content.clone()).unwrap() else {
            panic!("a customer")
        };
        customer
    }

    fn row(change: &Value) -> PartnerRow {
        let mut row = json!({
            "id": 42, "name": "Ann O'Neil", "email": "Ann@Example.test", "phone": "+1 555", "street": "8000 Marina Blvd",
            "street2": false, "city": "Brisbane", "zip": "94005", "state_id": [13, "California (US)"],
            "country_id": [233, "United States"], "vat": false, "company_name": false, "is_company": false,
            "parent_id": false, "type": "contact", "active": true, "write_date": "2026-11-22 19:20:55"
        });
        for (name, value) in change.as_object().unwrap() {
            row[name] = value.clone();
        }
        serde_json::from_value(row).unwrap()
    }

    fn read(change: &Value) -> Customer {
        let Content::Customer(customer) = row(change).content(None, &sample()).unwrap() else {
            panic!("a customer")
        };
        customer
    }

    #[test]
    fn a_partner_is_read() {
        let expected = customer(&json!({
            "name": "Ann O'Neil", "email": "ann@example.test", "phone": "+1 555",
            "billing": {
                "street": "8000 Marina Blvd", "city": "Brisbane", "postcode": "94005", "state": "CA", "country": "US"
            }
        }));

        assert_eq!(read(&json!({})), expected);
    }

    #[test]
    fn a_contact_of_a_company_works_for_it() {
        let of_parent = read(&json!({"parent_id": [15, "Azure Interior"]}));
        let by_name = read(&json!({"parent_id": [15, "Azure Interior"], "company_name": "Neil & Co"}));
        let company = read(&json!({"parent_id": [15, "Azure Interior"], "is_company": true}));

        assert_eq!(of_parent.company.as_deref(), Some("Azure Interior"));
        assert_eq!(by_name.company.as_deref(), Some("Neil & Co"));
        assert_eq!(company.company, None);
    }

    #[test]
    fn an_address_that_is_no_email_is_left_out() {
        assert_eq!(read(&json!({"email": "call me"})).email, None);
        assert_eq!(read(&json!({"email": "a@b.test, c@d.test"})).email, None);
    }

    #[test]
    fn the_first_delivery_address_in_use_is_where_goods_go() {
        let children = [
            row(&json!({"id": 50, "type": "delivery", "parent_id": [42, "Ann"], "active": false})),
            row(&json!({"id": 52, "type": "delivery", "parent_id": [42, "Ann"], "city": "Later"})),
            row(
                &json!({"id": 51, "type": "delivery", "parent_id": [42, "Ann"], "city": "Köln", "name": false}),
            ),
            row(&json!({"id": 49, "type": "invoice", "parent_id": [42, "Ann"]})),
        ];

        let first = deliveries(&children)[&42];
        let content = row(&json!({})).content(Some(first), &sample()).unwrap();

        assert_eq!(first.id, 51);
        let Content::Customer(customer) = content else {
            panic!("a customer")
        };
        assert_eq!(customer.shipping.unwrap().city.as_deref(), Some("Köln"));
    }

    #[test]
    fn a_delivery_address_names_only_others() {
        let named = |name: &str| {
            let child = row(&json!({"id": 51, "city": "Köln", "name": name}));
            let Content::Customer(customer) = row(&json!({})).content(Some(&child), &sample()).unwrap()
            else {
                panic!("a customer")
            };
            customer.shipping.unwrap().name
        };

        assert_eq!(named("Ann O'Neil"), None);
        assert_eq!(named("Bob").as_deref(), Some("Bob"));
    }

    #[test]
    fn places_are_spelt_as_odoo_spells_them_or_left_out() {
        let places = sample();
        let projected = |country: &str, state: &str| {
            let customer = customer(&json!({
                "name": "A", "billing": {"name": "B", "street": "S", "country": country, "state": state}
            }));
            let billing = project(&customer, Some(&places)).billing.unwrap();
            assert_eq!(billing.name, None);
            (billing.country, billing.state)
        };
        let some = |text: &str| Some(text.to_owned());

        assert_eq!(projected("CO", "CO-AMA"), (some("CO"), some("AMA")));
        assert_eq!(projected("DE", "NW"), (some("DE"), some("DE-NW")));
        assert_eq!(projected("US", "ZZ"), (some("US"), None));
        assert_eq!(projected("JP", "JP01"), (None, None));
    }

    #[test]
    fn a_language_is_one_in_use_or_none() {
        let places = sample();
        let held = |code: &str| {
            let customer = customer(&json!({"name": "A", "language": code}));
            project(&customer, Some(&places)).language
        };

        assert_eq!(held("de_CH").as_deref(), Some("de_CH"));
        assert_eq!(held("xx_YY"), None);
        assert_eq!(read(&json!({"lang": "en_US"})).language.as_deref(), Some("en_US"));
        assert_eq!(read(&json!({"lang": false})).language, None);
    }

    #[test]
    fn without_the_tables_places_stay_as_they_are() {
        let customer = customer(&json!({"name": "A", "billing": {"country": "JP", "state": "JP01"}}));

        assert_eq!(project(&customer, None), customer);
    }
}
