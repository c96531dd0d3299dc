//! Writing customers: a partner and its delivery address, and their rows. Pure.
//!
//! Source: facts/mapping-odoo.md §2. A child of type contact would share its parent's address, one of type delivery
//! keeps its own. A create carries both; an update goes by database ids, which can't stand beside external ids, and
//! takes a second call where the delivery address changes.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::entity::{Address, Customer};

use super::super::{Action, Step, Write};
use super::load::Source;
use super::name;
use super::place::Places;
use super::write::{Cells, Draft};

const PARTNER: Step = Step(0);
const DELIVERY: Step = Step(1);

const MODEL: &str = "res.partner";

/// Ids of the delivery addresses that partners have, by partner.
pub(super) type Deliveries = BTreeMap<i64, i64>;

/// Names the partner whose delivery address has to be found before this write is planned.
pub(super) fn needs_delivery(write: &Write) -> Option<i64> {
    match &write.action {
        Action::Update {
            external_id, changed, ..
        } if changes_delivery(write, changed) => external_id.parse().ok(),
        Action::Create | Action::Update { .. } | Action::Delete { .. } => None,
    }
}

/// The step itself says so too: it is one of its own, and by then an address that is cleared may not be named any more.
fn changes_delivery(write: &Write, changed: &BTreeSet<String>) -> bool {
    write.step == DELIVERY || changed.contains("shipping")
}

/// Plans the next call of a write; `None` where nothing is left to do.
pub(super) fn draft(
    write: &Write,
    customer: &Customer,
    places: &Places,
    deliveries: &Deliveries,
) -> Option<Draft> {
    match &write.action {
        Action::Create => Some(create(write, customer, places)),
        Action::Delete { external_id } => Some(archive(external_id, external_id)),
        Action::Update {
            external_id, changed, ..
        } => update(write, customer, places, (external_id, changed), deliveries),
    }
}

const fn flag(value: bool) -> &'static str {
    if value { "1" } else { "0" }
}

fn text(value: Option<&String>) -> &str {
    value.map_or("", String::as_str)
}

fn archive(id: &str, external_id: &str) -> Draft {
    let cells = Cells::default().with(".id", id).with("active", flag(false));
    Draft::single(MODEL, cells, Source::Known(external_id.to_owned()))
}

/// The parent's row stands before its child's, or the child does not find it (facts/mapping-odoo.md §0).
fn create(write: &Write, customer: &Customer, places: &Places) -> Draft {
    let nobody = Address::default();
    let parent = Cells::default()
        .with("id", &name::customer(write.record))
        .with("name", &customer.name)
        .with("type", "contact")
        .with("parent_id/id", "")
        .with("company_name", text(customer.company.as_ref()))
        .with("email", text(customer.email.as_ref()))
        .with("phone", text(customer.phone.as_ref()))
        .with("vat", text(customer.tax_number.as_ref()))
        // An empty cell keeps the default away, which is the language of our own user.
        .with("lang", &language(customer, places))
        .with("active", flag(customer.is_active))
        .followed_by(address(customer.billing.as_ref().unwrap_or(&nobody), places));
    let child = customer.shipping.as_ref().map(|shipping| {
        Cells::default()
            .with("id", &name::delivery(write.record))
            .with("name", text(shipping.name.as_ref()))
            .with("type", "delivery")
            .with("parent_id/id", &name::customer(write.record))
            .with("company_name", "")
            .with("email", "")
            .with("phone", "")
            .with("vat", "")
            .with("lang", "")
            .with("active", flag(true))
            .followed_by(address(shipping, places))
    });
    let rows = std::iter::once(parent).chain(child).collect();
    Draft::of_cells(MODEL, rows, Source::Record(0))
}

fn update(
    write: &Write,
    customer: &Customer,
    places: &Places,
    (external_id, changed): (&str, &BTreeSet<String>),
    deliveries: &Deliveries,
) -> Option<Draft> {
    let own = own_cells(customer, changed, places);
    let delivery = changes_delivery(write, changed)
        .then(|| delivery(write, customer.shipping.as_ref(), places, external_id, deliveries))
        .flatten();
    if write.step == PARTNER && !own.is_empty() {
        let cells = Cells::default().with(".id", external_id).followed_by(own);
        let mut draft = Draft::single(MODEL, cells, Source::Known(external_id.to_owned()));
        draft.next = delivery.is_some().then_some(DELIVERY);
        return Some(draft);
    }
    delivery
}

fn own_cells(customer: &Customer, changed: &BTreeSet<String>, places: &Places) -> Cells {
    let language = language(customer, places);
    let values = [
        ("name", "name", customer.name.as_str()),
        ("company", "company_name", text(customer.company.as_ref())),
        ("email", "email", text(customer.email.as_ref())),
        ("phone", "phone", text(customer.phone.as_ref())),
        ("tax_number", "vat", text(customer.tax_number.as_ref())),
        ("language", "lang", language.as_str()),
        ("is_active", "active", flag(customer.is_active)),
    ];
    let mut cells = Cells::default();
    for (path, field, value) in values {
        if changed.contains(path) {
            cells.put(field, value);
        }
    }
    if changed.contains("billing") {
        let nobody = Address::default();
        cells = cells.followed_by(address(customer.billing.as_ref().unwrap_or(&nobody), places));
    }
    cells
}

/// A language that is not in use would be refused (facts/mapping-odoo.md §2).
fn language(customer: &Customer, places: &Places) -> String {
    let code = customer.language.as_deref();
    code.and_then(|code| places.language(code))
        .unwrap_or_default()
        .to_owned()
}

fn delivery(
    write: &Write,
    shipping: Option<&Address>,
    places: &Places,
    external_id: &str,
    deliveries: &Deliveries,
) -> Option<Draft> {
    let there = external_id.parse().ok().and_then(|id: i64| deliveries.get(&id));
    let named = match (shipping, there) {
        (None, None) => return None,
        (None, Some(child)) => return Some(archive(&child.to_string(), external_id)),
        (Some(_), Some(child)) => Cells::default().with(".id", &child.to_string()),
        // One of ours that was archived comes back by its external id.
        (Some(_), None) => Cells::default()
            .with("id", &name::delivery(write.record))
            .with("type", "delivery")
            .with("parent_id/.id", external_id)
            .with("active", flag(true)),
    };
    let shipping = shipping?;
    let cells = named
        .with("name", text(shipping.name.as_ref()))
        .followed_by(address(shipping, places));
    Some(Draft::single(MODEL, cells, Source::Known(external_id.to_owned())))
}

/// The columns of an address; an empty cell clears. What Odoo has no code for stays empty.
fn address(address: &Address, places: &Places) -> Cells {
    let country = address.country.as_deref();
    let country_id = country.and_then(|code| places.country_id(code));
    let state_id = country
        .zip(address.state.as_deref())
        .and_then(|(country, state)| places.state_id(country, state));
    let id = |id: Option<i64>| id.map(|id| id.to_string()).unwrap_or_default();
    Cells::default()
        .with("street", text(address.street.as_ref()))
        .with("street2", text(address.street2.as_ref()))
        .with("city", text(address.city.as_ref()))
        .with("zip", text(address.postcode.as_ref()))
        .with("country_id/.id", &id(country_id))
        .with("state_id/.id", &id(state_id))
}

#[cfg(test)]
mod tests {
    use lockstep_shared::entity::Content;
    use lockstep_shared::id::{ItemId, RecordId};
    use serde_json::{Value, json};

    use super::super::super::Parts;
    use super::super::partner::tests::customer;
    use super::super::place::sample;
    use super::*;

    fn write(action: Action, step: u8) -> Write {
        Write {
            item: ItemId::random(),
            record: RecordId::random(),
            action,
            content: Content::Customer(customer(&content())),
            step: Step(step),
            links: std::sync::Arc::default(),
        }
    }

    fn content() -> Value {
        json!({
            "name": "Ann O'Neil", "email": "ann@example.test", "company": "Neil & Co",
            "billing": {"street": "Ünter 1", "country": "DE", "state": "DE-NW", "postcode": "50667"},
            "shipping": {"name": "Bob", "street": "2 Way", "country": "US", "state": "ZZ"}
        })
    }

    fn update(changed: &[&str]) -> Action {
        Action::Update {
            external_id: "42".to_owned(),
            parts: Parts::new(),
            changed: changed.iter().map(|path| (*path).to_owned()).collect(),
        }
    }

    fn plan(write: &Write, content: &Value, deliveries: &[(i64, i64)]) -> Option<Draft> {
        let deliveries = deliveries.iter().copied().collect();
        draft(write, &customer(content), &sample(), &deliveries)
    }

    fn cell<'a>(draft: &'a Draft, row: usize, field: &str) -> &'a str {
        let column = draft.fields.iter().position(|name| name == field).unwrap();
        &draft.rows[row].cells[column]
    }

    #[test]
    fn a_create_loads_the_partner_before_its_delivery_address() {
        let write = write(Action::Create, 0);

        let draft = plan(&write, &content(), &[]).unwrap();

        assert_eq!(draft.external_id, Source::Record(0));
        assert_eq!(draft.rows.len(), 2);
        assert_eq!(
            ["type", "company_name", "street", "country_id/.id", "state_id/.id"].map(|f| cell(&draft, 0, f)),
            ["contact", "Neil & Co", "Ünter 1", "57", "1368"]
        );
        assert_eq!(
            ["type", "name", "company_name", "country_id/.id", "state_id/.id"].map(|f| cell(&draft, 1, f)),
            ["delivery", "Bob", "", "233", ""]
        );
        assert_eq!(cell(&draft, 1, "parent_id/id"), cell(&draft, 0, "id"));
        assert!(draft.rows.iter().all(|row| row.cells.len() == draft.fields.len()));
    }

    #[test]
    fn an_update_writes_the_changed_columns_by_database_id() {
        let draft = plan(&write(update(&["email", "phone"]), 0), &content(), &[]).unwrap();

        assert_eq!(draft.fields, [".id", "email", "phone"]);
        assert_eq!(draft.rows[0].cells, ["42", "ann@example.test", ""]);
        assert_eq!(draft.next, None);
    }

    #[test]
    fn a_changed_delivery_address_takes_a_second_call() {
        let both = update(&["name", "shipping"]);

        let first = plan(&write(both.clone(), 0), &content(), &[(42, 51)]).unwrap();
        let second = plan(&write(both, 1), &content(), &[(42, 51)]).unwrap();

        assert_eq!((first.fields[1].as_str(), first.next), ("name", Some(DELIVERY)));
        assert_eq!(cell(&second, 0, ".id"), "51");
        assert_eq!(second.external_id, Source::Known("42".to_owned()));
        assert_eq!(second.next, None);
    }

    #[test]
    fn a_first_delivery_address_is_made_by_its_external_id() {
        let write = write(update(&["shipping"]), 0);

        let draft = plan(&write, &content(), &[]).unwrap();

        assert_eq!(cell(&draft, 0, "id"), name::delivery(write.record));
        assert_eq!(cell(&draft, 0, "parent_id/.id"), "42");
    }

    #[test]
    fn a_delivery_address_that_went_is_archived() {
        let mut content = content();
        content.as_object_mut().unwrap().remove("shipping");

        let draft = plan(&write(update(&["shipping"]), 0), &content, &[(42, 51)]).unwrap();
        let nothing = plan(&write(update(&["shipping"]), 0), &content, &[]);

        assert_eq!(draft.rows[0].cells, ["51", "0"]);
        assert_eq!(nothing, None);
    }

    #[test]
    fn a_billing_address_that_went_is_cleared_whole() {
        let mut content = content();
        content.as_object_mut().unwrap().remove("billing");

        let draft = plan(&write(update(&["billing"]), 0), &content, &[]).unwrap();

        assert_eq!(draft.rows[0].cells, ["42", "", "", "", "", "", ""]);
    }

    #[test]
    fn a_delete_archives_the_partner() {
        let action = Action::Delete {
            external_id: "42".to_owned(),
        };

        let draft = plan(&write(action, 0), &content(), &[]).unwrap();

        assert_eq!(draft.fields, [".id", "active"]);
        assert_eq!(draft.rows[0].cells, ["42", "0"]);
    }
}
