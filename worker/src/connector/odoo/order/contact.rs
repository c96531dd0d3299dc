//! Whom an order is billed and sent to: partners of Odoo as the contacts of an order. Pure.
//!
//! An order of Odoo holds no address, only links to partners. A customer's own partner stands for the customer's own
//! address; any other address is a child of it of type other or delivery, which keeps its address for itself
//! (facts/mapping-odoo.md §2). A guest is a partner of type other without a parent: that makes it no customer.
//!
//! A child can't have a company of its own: Odoo clears `company_name` of whatever has a parent (seen in its source, not
//! in a capture). It stands behind the name instead.

use lockstep_shared::entity::{Address, Contact, Customer, Email, clean_line};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::super::name;
use super::super::partner;
use super::super::place::Places;
use super::super::web::Shape;
use super::super::wire::falsy;

pub(super) const MODEL: &str = "res.partner";

/// Stands between a child's name and its company.
const COMPANY: &str = "·";

/// The name of a guest who gave none.
const GUEST: &str = "Guest";

/// A partner that an order points to.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Person {
    pub(super) id: i64,
    #[serde(deserialize_with = "falsy")]
    name: Option<String>,
    #[serde(deserialize_with = "falsy")]
    r#type: Option<String>,
    #[serde(deserialize_with = "falsy")]
    pub(super) parent_id: Option<Parent>,
    #[serde(deserialize_with = "falsy")]
    company_name: Option<String>,
    #[serde(deserialize_with = "falsy")]
    pub(super) email: Option<String>,
    #[serde(deserialize_with = "falsy")]
    phone: Option<String>,
    #[serde(deserialize_with = "falsy")]
    street: Option<String>,
    #[serde(deserialize_with = "falsy")]
    street2: Option<String>,
    #[serde(deserialize_with = "falsy")]
    city: Option<String>,
    #[serde(deserialize_with = "falsy")]
    zip: Option<String>,
    #[serde(deserialize_with = "falsy")]
    state_id: Option<i64>,
    #[serde(deserialize_with = "falsy")]
    country_id: Option<i64>,
    #[serde(default)]
    pub(super) active: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Parent {
    pub(super) id: i64,
    #[serde(deserialize_with = "falsy")]
    name: Option<String>,
}

pub(super) fn shape() -> Shape {
    let fields = [
        "name",
        "type",
        "company_name",
        "email",
        "phone",
        "street",
        "street2",
        "city",
        "zip",
        "state_id",
        "country_id",
        "active",
    ];
    Shape::new(MODEL, &fields).with("parent_id", Shape::new(MODEL, &["name"]))
}

impl Person {
    fn is_address(&self) -> bool {
        self.r#type.as_deref().is_some_and(|kind| kind != "contact")
    }

    pub(super) fn is_delivery(&self) -> bool {
        self.r#type.as_deref() == Some("delivery")
    }

    pub(super) fn is_guest(&self) -> bool {
        self.is_address() && self.parent_id.is_none()
    }

    /// The partner that is the customer: an address belongs to its parent.
    pub(super) fn customer(&self) -> Option<i64> {
        match &self.parent_id {
            Some(parent) if self.is_address() => Some(parent.id),
            None if self.is_address() => None,
            Some(_) | None => Some(self.id),
        }
    }

    /// Reads the partner as an order's contact; none where it says nothing of anyone.
    pub(super) fn contact(&self, places: &Places) -> Option<Contact> {
        let own = clean_line(self.name.as_deref().unwrap_or_default());
        let (name, company) = match &self.parent_id {
            // An address without a name is for whom it belongs to.
            Some(parent) if self.is_address() && own.is_empty() => {
                (parent.name.clone().unwrap_or_default(), None)
            }
            Some(_) if self.is_address() => split(&own),
            Some(parent) => (own, self.company_name.clone().or_else(|| parent.name.clone())),
            // A guest without a name was given another of its properties as one.
            None if self.is_guest()
                && (Some(&own) == self.email.as_ref() || Some(&own) == self.company_name.as_ref()) =>
            {
                (String::new(), self.company_name.clone())
            }
            None => (own, self.company_name.clone()),
        };
        let contact = Contact {
            company,
            email: self.email.clone(),
            phone: self.phone.clone(),
            address: Address {
                name: Some(name),
                street: self.street.clone(),
                street2: self.street2.clone(),
                city: self.city.clone(),
                postcode: self.zip.clone(),
                state: self
                    .state_id
                    .and_then(|id| places.state_code(id))
                    .map(str::to_owned),
                country: self
                    .country_id
                    .and_then(|id| places.country_code(id))
                    .map(str::to_owned),
            },
        };
        let nobody = Contact {
            address: Address {
                name: Some(GUEST.to_owned()),
                ..Address::default()
            },
            ..Contact::default()
        };
        project(contact, Some(places)).filter(|contact| !(self.is_guest() && *contact == nobody))
    }
}

/// Returns a contact as Odoo can hold it; none where nothing is left.
pub(super) fn project(contact: Contact, places: Option<&Places>) -> Option<Contact> {
    let line = |text: Option<String>| text.map(|text| clean_line(&text)).filter(|text| !text.is_empty());
    let mut address = partner::spell(contact.address, places);
    let together = join(
        line(address.name.take()).as_deref().unwrap_or_default(),
        line(contact.company).as_deref(),
    );
    let (name, company) = split(&together);
    let email = line(contact.email).map(|text| match Email::parse(&text) {
        Some(email) => email.as_str().to_owned(),
        None => text,
    });
    let contact = Contact {
        company,
        email,
        phone: line(contact.phone),
        address: Address {
            name: Some(name).filter(|name| !name.is_empty()),
            street: line(address.street),
            street2: line(address.street2),
            city: line(address.city),
            postcode: line(address.postcode),
            ..address
        },
    };
    (contact != Contact::default()).then_some(contact)
}

/// Writes name and company as one line.
fn join(name: &str, company: Option<&str>) -> String {
    match company {
        Some(company) if name.is_empty() => format!("{COMPANY} {company}"),
        Some(company) => format!("{name} {COMPANY} {company}"),
        None => name.to_owned(),
    }
}

fn split(line: &str) -> (String, Option<String>) {
    let bare = line.strip_prefix(COMPANY).map(|company| ("", company));
    let between = || line.split_once(&format!(" {COMPANY} "));
    match bare.or_else(between) {
        Some((name, company)) if !company.trim().is_empty() => {
            (name.trim().to_owned(), Some(company.trim().to_owned()))
        }
        Some((name, _)) => (name.trim().to_owned(), None),
        None => (line.to_owned(), None),
    }
}

/// The contact that a customer's own partner is read back as.
pub(super) fn of_customer(customer: &Customer, places: Option<&Places>) -> Option<Contact> {
    let address = customer.billing.clone().unwrap_or_default();
    let contact = Contact {
        company: customer.company.clone(),
        email: customer.email.clone(),
        phone: customer.phone.clone(),
        address: Address {
            name: Some(customer.name.clone()),
            ..address
        },
    };
    project(contact, places)
}

/// What kind of child an address becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Billing,
    Delivery,
}

/// The cells of a partner that stands for a contact, without those that place it.
pub(super) fn cells(contact: &Contact, is_child: bool, places: &Places) -> Vec<(&'static str, String)> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let address = &contact.address;
    let own = address.name.clone().unwrap_or_default();
    let (name, company) = if is_child {
        let name = join(&own, contact.company.as_deref());
        // One that is nobody's in particular must not be taken for its parent's.
        (
            if name.is_empty() { COMPANY.to_owned() } else { name },
            String::new(),
        )
    } else {
        (own, text(&contact.company))
    };
    let name = if is_child { name } else { guest_title(contact) };
    let country = address.country.as_deref();
    let country_id = country.and_then(|code| places.country_id(code));
    let state_id = country
        .zip(address.state.as_deref())
        .and_then(|(country, state)| places.state_id(country, state));
    let id = |id: Option<i64>| id.map(|id| id.to_string()).unwrap_or_default();
    vec![
        ("name", name),
        ("company_name", company),
        ("email", text(&contact.email)),
        ("phone", text(&contact.phone)),
        ("street", text(&address.street)),
        ("street2", text(&address.street2)),
        ("city", text(&address.city)),
        ("zip", text(&address.postcode)),
        ("country_id/.id", id(country_id)),
        ("state_id/.id", id(state_id)),
    ]
}

/// The name of a guest's partner: nobody could tell one without a name from others.
pub(super) fn guest_title(contact: &Contact) -> String {
    let names = [&contact.address.name, &contact.company, &contact.email];
    let first = names.into_iter().flatten().next();
    first.cloned().unwrap_or_else(|| GUEST.to_owned())
}

/// The external id of an address of a partner: the same address is the same child.
pub(super) fn address_name(partner: i64, kind: Use, contact: &Contact) -> String {
    let text = serde_json::to_string(contact).expect("a contact has string keys");
    name::address(&digest(&format!("{partner}|{kind:?}|{text}")))
}

/// The external id of a guest: one per e-mail address, or per contact where there is none.
pub(super) fn guest_name(contact: &Contact) -> String {
    let known_by = known_email(contact).map_or_else(
        || serde_json::to_string(contact).expect("a contact has string keys"),
        str::to_lowercase,
    );
    name::guest(&digest(&known_by))
}

/// The e-mail address that a guest is known by: what is none is nobody's.
pub(super) fn known_email(contact: &Contact) -> Option<&str> {
    let email = contact.email.as_deref()?;
    Email::parse(email).map(|_| email)
}

fn digest(text: &str) -> String {
    use std::fmt::Write;
    let mut hex = String::new();
    for byte in Sha256::digest(text.as_bytes()).iter().take(12) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::place::sample;
    use super::*;

    fn person(change: &Value) -> Person {
        let mut row = json!({
            "id": 42, "name": "Ann O'Neil", "type": "contact", "parent_id": false, "company_name": "Neil & Co",
            "email": "Ann@Example.test", "phone": false, "street": "8000 Marina Blvd", "street2": false,
            "city": "Brisbane", "zip": "94005", "state_id": 13, "country_id": 233, "active": true
        });
        for (name, value) in change.as_object().unwrap() {
            row[name] = value.clone();
        }
        serde_json::from_value(row).unwrap()
    }

    fn contact(change: &Value) -> Contact {
        person(change).contact(&sample()).unwrap()
    }

    #[test]
    fn a_customers_own_partner_is_its_own_address() {
        let read = contact(&json!({}));

        assert_eq!(read.address.name.as_deref(), Some("Ann O'Neil"));
        assert_eq!(read.company.as_deref(), Some("Neil & Co"));
        assert_eq!(read.email.as_deref(), Some("ann@example.test"));
        assert_eq!(
            (read.address.state.as_deref(), read.address.country.as_deref()),
            (Some("CA"), Some("US"))
        );
    }

    #[test]
    fn a_childs_company_stands_behind_its_name() {
        let places = sample();
        for (name, company) in [
            (Some("Bob"), Some("Big & Co")),
            (None, Some("Big & Co")),
            (Some("Bob"), None),
            (None, None),
        ] {
            let wanted = Contact {
                company: company.map(str::to_owned),
                address: Address {
                    name: name.map(str::to_owned),
                    street: Some("2 Way".to_owned()),
                    ..Address::default()
                },
                ..Contact::default()
            };
            let written = cells(&wanted, true, &places)[0].1.clone();

            let read = contact(&json!({
                "name": written, "type": "other", "parent_id": {"id": 7, "name": "Ann"}, "company_name": false,
                "email": false, "street": "2 Way", "city": false, "zip": false, "state_id": false, "country_id": false
            }));

            assert_eq!(read, wanted);
            assert_eq!(project(wanted.clone(), Some(&places)), Some(wanted));
        }
    }

    #[test]
    fn an_address_belongs_to_its_parent_and_a_guest_to_nobody() {
        let parent = json!({"id": 7, "name": "Azure"});
        let customer =
            |kind: &str, parent: &Value| person(&json!({"type": kind, "parent_id": parent})).customer();

        assert_eq!(customer("contact", &json!(false)), Some(42));
        assert_eq!(customer("contact", &parent), Some(42));
        assert_eq!(customer("delivery", &parent), Some(7));
        assert_eq!(customer("other", &json!(false)), None);
    }

    #[test]
    fn a_guest_is_one_per_email_address() {
        let named = |email: Option<&str>, street: &str| {
            guest_name(&Contact {
                email: email.map(str::to_owned),
                address: Address {
                    street: Some(street.to_owned()),
                    ..Address::default()
                },
                ..Contact::default()
            })
        };

        assert_eq!(named(Some("A@b.test"), "1"), named(Some("a@b.test"), "2"));
        assert_ne!(named(None, "1"), named(None, "2"));
    }
}
