//! Finding the partners that an order is to point to, or saying which have to be made first.
//!
//! The customer's own partner stands for the customer's own address; children stand for others, and one child serves all
//! orders that have the same address.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::entity::{Contact, Content, Order, PartKey};
use serde_json::{Value, json};

use super::super::super::{Gate, Links, Refusal, shown};
use super::super::Odoo;
use super::super::error::Failure;
use super::super::place::Places;
use super::super::wire::rows;
use super::super::write::Cells;
use super::contact::{self, Person, Use};

/// Whom an order is for.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    customer: Option<i64>,
    /// The customer's own address, as far as we know it.
    own: Option<Contact>,
    billing: Option<Contact>,
    shipping: Option<Contact>,
}

/// The three partners of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Partners {
    pub(super) customer: i64,
    pub(super) invoice: i64,
    pub(super) shipping: i64,
}

impl Partners {
    /// Tells whose addresses an order shows, among the ids of its parts; told apart from those of its lines.
    pub(super) fn shown(self) -> Vec<(PartKey, String)> {
        let partner = |field: &str, id: i64| (shown::key(field), format!("partner {id}"));
        vec![
            partner("billing", self.invoice),
            partner("shipping", self.shipping),
        ]
    }
}

/// What of an order's partners stands as it is to be, while the order is for the same customer: the address of such a one
/// may read otherwise by now, and is none of the order's then.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    pub(super) customer: Option<i64>,
    pub(super) invoice: Option<i64>,
    pub(super) shipping: Option<i64>,
}

impl Wish {
    pub(super) fn new(order: &Order, links: &Links, places: &Places) -> Result<Self, Refusal> {
        let contact = |contact: &Option<Contact>| {
            let contact = contact.clone()?;
            contact::project(contact, Some(places))
        };
        let linked = order
            .customer
            .as_ref()
            .map(|customer| {
                let link = links.find(customer).ok_or_else(|| Refusal {
                    code: "customer_missing".to_owned(),
                    message: "the order's customer is not in Odoo yet".to_owned(),
                })?;
                let id: i64 = link.external_id.parse().map_err(|_| Refusal {
                    code: "customer_missing".to_owned(),
                    message: "the order's customer has no id of Odoo's".to_owned(),
                })?;
                let own = match &link.content {
                    Content::Customer(customer) => contact::of_customer(customer, Some(places)),
                    _ => None,
                };
                Ok((id, own))
            })
            .transpose()?;
        let (customer, own) = linked.map_or((None, None), |(id, own)| (Some(id), own));
        Ok(Self {
            customer,
            own,
            billing: contact(&order.billing),
            shipping: contact(&order.shipping),
        })
    }

    /// Says whether what we know of the customer is not enough.
    fn needs_reading(&self) -> bool {
        let is_other = |contact: &Option<Contact>| contact.is_some() && *contact != self.own;
        self.customer.is_none() || is_other(&self.billing) || is_other(&self.shipping)
    }

    pub(super) const fn own(&self) -> Option<&Contact> {
        self.own.as_ref()
    }

    fn guest(&self) -> Contact {
        self.billing.clone().unwrap_or_default()
    }
}

/// Partners that were read, with their addresses.
#[derive(Debug, Default)]
pub(super) struct People {
    persons: BTreeMap<i64, Person>,
    contacts: BTreeMap<i64, Contact>,
}

impl People {
    fn add(&mut self, read: Vec<Person>, places: &Places) {
        for person in read {
            self.contacts
                .insert(person.id, person.contact(places).unwrap_or_default());
            self.persons.insert(person.id, person);
        }
    }

    fn own(&self, id: i64) -> Option<&Contact> {
        self.contacts.get(&id)
    }

    /// Finds the child that is this address: one that is for this use before others, older before younger.
    fn child(&self, partner: i64, kind: Use, contact: &Contact) -> Option<i64> {
        let fits = |person: &&Person| {
            person.active
                && person.customer() == Some(partner)
                && person.id != partner
                && self.contacts.get(&person.id) == Some(contact)
        };
        let children: Vec<&Person> = self.persons.values().filter(fits).collect();
        let meant = children
            .iter()
            .find(|person| person.is_delivery() == (kind == Use::Delivery));
        meant.or(children.first()).map(|person| person.id)
    }

    fn guest(&self, contact: &Contact) -> Option<i64> {
        let guests = self
            .persons
            .values()
            .filter(|person| person.is_guest() && person.active);
        let mut known = guests.filter(|person| match contact::known_email(contact) {
            Some(email) => self.contacts[&person.id].email.as_deref() == Some(email),
            None => self.contacts[&person.id] == *contact,
        });
        known.next().map(|person| person.id)
    }

    /// Finds an order's partners, or tells what has to be made first: the rows of a `load`.
    pub(super) fn find(
        &self,
        wish: &Wish,
        standing: Standing,
        places: &Places,
    ) -> Result<Partners, Vec<Cells>> {
        let customer = match wish.customer {
            Some(id) => id,
            None => self.guest(&wish.guest()).ok_or_else(|| {
                let contact = wish.guest();
                vec![row(
                    &contact::guest_name(&contact),
                    "other",
                    None,
                    &contact,
                    places,
                )]
            })?,
        };
        let own = self.own(customer).or(wish.own.as_ref());
        let mut missing = Vec::new();
        let mut place = |kind: Use, contact: Option<&Contact>, otherwise: i64| match contact {
            None => otherwise,
            Some(contact) if Some(contact) == own => customer,
            Some(contact) => self.child(customer, kind, contact).unwrap_or_else(|| {
                let name = contact::address_name(customer, kind, contact);
                let kind = match kind {
                    Use::Billing => "other",
                    Use::Delivery => "delivery",
                };
                missing.push(row(&name, kind, Some(customer), contact, places));
                otherwise
            }),
        };
        let is_same = standing.customer == Some(customer);
        let invoice = match standing.invoice.filter(|_| is_same) {
            Some(invoice) => invoice,
            None => place(Use::Billing, wish.billing.as_ref(), customer),
        };
        // Where nothing is said of it, it goes where the bill goes.
        let follows = wish.shipping.is_none() && Some(invoice) != standing.invoice;
        let shipping = match standing.shipping.filter(|_| is_same && !follows) {
            Some(shipping) => shipping,
            None => place(Use::Delivery, wish.shipping.as_ref(), invoice),
        };
        if !missing.is_empty() {
            return Err(missing);
        }
        Ok(Partners {
            customer,
            invoice,
            shipping,
        })
    }
}

fn row(name: &str, kind: &str, parent: Option<i64>, contact: &Contact, places: &Places) -> Cells {
    let parent_id = parent.map(|id| id.to_string()).unwrap_or_default();
    let mut cells = Cells::default()
        .with("id", name)
        .with("type", kind)
        .with("parent_id/.id", &parent_id)
        .with("active", "1");
    for (field, value) in contact::cells(contact, parent.is_some(), places) {
        cells.put(field, &value);
    }
    cells
}

impl Odoo {
    /// Reads the partners that these orders may point to: at most two calls, and none where each customer's own address
    /// will do.
    pub(super) async fn people(&self, gate: &dyn Gate, wishes: &[Wish]) -> Result<People, Failure> {
        let places = self.places(gate).await?;
        let wishes: Vec<&Wish> = wishes.iter().filter(|wish| wish.needs_reading()).collect();
        let mut people = People::default();
        if wishes.is_empty() {
            return Ok(people);
        }
        let customers: BTreeSet<i64> = wishes.iter().filter_map(|wish| wish.customer).collect();
        let guests: Vec<Contact> = wishes
            .iter()
            .filter(|wish| wish.customer.is_none())
            .map(|wish| wish.guest())
            .collect();
        let read = self
            .nested(gate, &contact::shape(), partner_domain(&customers, &guests))
            .await?;
        people.add(rows(Value::Array(read))?, places);
        // A guest's further addresses are known only when the guest is.
        let known: BTreeSet<i64> = wishes
            .iter()
            .filter(|wish| wish.customer.is_none())
            .filter_map(|wish| {
                let id = people.guest(&wish.guest())?;
                let is_other = |contact: &Option<Contact>| {
                    contact
                        .as_ref()
                        .is_some_and(|contact| people.own(id) != Some(contact))
                };
                (is_other(&wish.billing) || is_other(&wish.shipping)).then_some(id)
            })
            .collect();
        if !known.is_empty() {
            let domain = json!([["parent_id", "in", known], ["type", "!=", "contact"]]);
            let read = self.nested(gate, &contact::shape(), domain).await?;
            people.add(rows(Value::Array(read))?, places);
        }
        Ok(people)
    }
}

/// Customers with their addresses, and the guests that answer to an e-mail address or, without one, to a name.
fn partner_domain(customers: &BTreeSet<i64>, guests: &[Contact]) -> Value {
    let mut either: Vec<Vec<Value>> = Vec::new();
    if !customers.is_empty() {
        either.push(vec![json!(["id", "in", customers])]);
        either.push(vec![
            json!("&"),
            json!(["parent_id", "in", customers]),
            json!(["type", "!=", "contact"]),
        ]);
    }
    let emails: BTreeSet<&str> = guests.iter().filter_map(contact::known_email).collect();
    let guest = |field: &str, values: Value| {
        vec![
            json!("&"),
            json!("&"),
            json!(["type", "=", "other"]),
            json!(["parent_id", "=", false]),
            json!([field, "in", values]),
        ]
    };
    if !emails.is_empty() {
        either.push(guest("email_normalized", json!(emails)));
    }
    let names: BTreeSet<String> = guests
        .iter()
        .filter(|guest| contact::known_email(guest).is_none())
        .map(contact::guest_title)
        .collect();
    if !names.is_empty() {
        either.push(guest("name", json!(names)));
    }
    let mut domain = vec![json!("|"); either.len().saturating_sub(1)];
    domain.extend(either.into_iter().flatten());
    Value::Array(domain)
}

#[cfg(test)]
mod tests {
    use super::super::super::place::sample;
    use super::*;

    fn contact(street: &str, email: Option<&str>) -> Contact {
        serde_json::from_value(json!({"address": {"name": "Ann", "street": street}, "email": email})).unwrap()
    }

    fn wish(customer: Option<i64>, billing: Option<&str>, shipping: Option<&str>) -> Wish {
        let email = customer.is_none().then_some("ann@example.test");
        Wish {
            customer,
            own: customer.map(|_| contact("1 Own", None)),
            billing: billing.map(|street| contact(street, email)),
            shipping: shipping.map(|street| contact(street, None)),
        }
    }

    fn person(id: i64, kind: &str, parent: Option<i64>, street: &str) -> Person {
        let parent = parent.map_or(json!(false), |id| json!({"id": id, "name": "Ann"}));
        let is_guest = kind == "other" && parent == json!(false);
        serde_json::from_value(json!({
            "id": id, "name": "Ann", "type": kind, "parent_id": parent, "company_name": false,
            "email": if is_guest { json!("ann@example.test") } else { json!(false) }, "phone": false, "street": street,
            "street2": false, "city": false, "zip": false, "state_id": false, "country_id": false, "active": true
        }))
        .unwrap()
    }

    fn people(persons: Vec<Person>) -> People {
        let mut people = People::default();
        people.add(persons, &sample());
        people
    }

    #[test]
    fn a_customers_own_address_takes_nothing() {
        let own = wish(Some(7), Some("1 Own"), None);

        let found = People::default()
            .find(&own, Standing::default(), &sample())
            .unwrap();

        assert!(!own.needs_reading());
        assert_eq!((found.customer, found.invoice, found.shipping), (7, 7, 7));
    }

    #[test]
    fn an_address_that_is_there_is_used_again() {
        let there = people(vec![
            person(7, "contact", None, "1 Own"),
            person(8, "other", Some(7), "2 Way"),
            person(9, "delivery", Some(7), "2 Way"),
        ]);

        let found = there
            .find(
                &wish(Some(7), Some("1 Own"), Some("2 Way")),
                Standing::default(),
                &sample(),
            )
            .unwrap();

        assert_eq!((found.invoice, found.shipping), (7, 9));
    }

    #[test]
    fn addresses_that_are_missing_are_made_as_children() {
        let there = people(vec![person(7, "contact", None, "1 Own")]);

        let missing = there
            .find(
                &wish(Some(7), Some("2 Way"), Some("3 Lane")),
                Standing::default(),
                &sample(),
            )
            .unwrap_err();

        let kinds: Vec<&str> = missing.iter().filter_map(|row| row.get("type")).collect();
        assert_eq!(kinds, ["other", "delivery"]);
        assert_eq!(missing[0].get("parent_id/.id"), Some("7"));
    }

    #[test]
    fn what_stands_stays_whatever_it_reads_as() {
        let moved = people(vec![person(7, "contact", None, "9 New Way")]);
        let standing = |invoice, shipping| Standing {
            customer: Some(7),
            invoice,
            shipping,
        };
        let order = wish(Some(7), Some("1 Own"), None);

        let both = moved.find(&order, standing(Some(7), Some(7)), &sample());
        let none = moved.find(&order, standing(None, None), &sample());
        let other_customer = Standing {
            customer: Some(8),
            ..standing(Some(8), Some(8))
        };

        assert_eq!(both.map(|found| (found.invoice, found.shipping)), Ok((7, 7)));
        assert_eq!(none.map_err(|rows| rows.len()), Err(1));
        assert_eq!(
            moved
                .find(&order, other_customer, &sample())
                .map_err(|rows| rows.len()),
            Err(1)
        );
    }

    #[test]
    fn what_is_sent_where_the_bill_goes_follows_it() {
        let there = people(vec![
            person(7, "contact", None, "1 Own"),
            person(8, "other", Some(7), "2 Way"),
        ]);
        let standing = Standing {
            customer: Some(7),
            invoice: None,
            shipping: Some(7),
        };

        let found = there
            .find(&wish(Some(7), Some("2 Way"), None), standing, &sample())
            .unwrap();

        assert_eq!((found.invoice, found.shipping), (8, 8));
    }

    #[test]
    fn a_guest_is_made_once_and_found_by_email() {
        let new = wish(None, Some("1 Own"), None);

        let missing = People::default()
            .find(&new, Standing::default(), &sample())
            .unwrap_err();
        let there = people(vec![person(30, "other", None, "1 Own")])
            .find(&new, Standing::default(), &sample())
            .unwrap();

        assert_eq!(missing[0].get("type"), Some("other"));
        assert_eq!(missing[0].get("parent_id/.id"), Some(""));
        assert_eq!((there.customer, there.invoice), (30, 30));
    }

    #[test]
    fn a_domain_has_as_many_operators_as_it_needs() {
        let both = partner_domain(&BTreeSet::from([7]), &[contact("1", Some("a@b.test"))]);

        assert_eq!(
            both,
            json!([
                "|",
                "|",
                ["id", "in", [7]],
                "&",
                ["parent_id", "in", [7]],
                ["type", "!=", "contact"],
                "&",
                "&",
                ["type", "=", "other"],
                ["parent_id", "=", false],
                ["email_normalized", "in", ["a@b.test"]]
            ])
        );
    }
}
