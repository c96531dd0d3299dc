//! Customers: WooCommerce's form to ours and back. Pure.

use lockstep_shared::entity::{Address, Content, Customer, Invalid, clean_line};
use lockstep_shared::id::RecordId;
use serde_json::{Value, json};

use super::product::{Body, Fields};
use super::text;
use super::wire;
use crate::connector::{Parts, Refusal, Theirs};

/// Meta key of the tax number; one with an underscore in front would be dropped (facts/mapping-woocommerce.md §2).
const TAX_NUMBER: &str = "vat_number";

/// Domain of the addresses of customers that have none: an account must have one, and `.invalid` reaches nobody
/// (facts/mapping-woocommerce.md §2).
const NO_EMAIL: &str = "@no-email.invalid";

/// Longest local part of an address from which WooCommerce makes a user name (facts/mapping-woocommerce.md §2).
const LOGIN_LIMIT: usize = 60;

/// The lines of an address as the two sides call them.
type Line = (&'static str, fn(&Address) -> Option<&String>);

const LINES: [Line; 6] = [
    ("address_1", |address| address.street.as_ref()),
    ("address_2", |address| address.street2.as_ref()),
    ("city", |address| address.city.as_ref()),
    ("postcode", |address| address.postcode.as_ref()),
    ("state", |address| address.state.as_ref()),
    ("country", |address| address.country.as_ref()),
];

// Reading

/// Reads a customer, as [`project`] leaves it.
pub(super) fn read(customer: &wire::Customer) -> Result<Customer, Invalid> {
    let name = name_of(customer);
    let canonical = Customer {
        email: Some(customer.email.to_lowercase()).filter(|email| !email.trim().ends_with(NO_EMAIL)),
        phone: Some(customer.billing.phone.clone()),
        company: Some(customer.billing.company.clone()),
        tax_number: wire::meta(&customer.meta_data, TAX_NUMBER).map(str::to_owned),
        billing: Some(address_of(&customer.billing)),
        shipping: Some(address_of(&customer.shipping)),
        is_active: true,
        name,
        language: None,
    }
    .canonical()?;
    Ok(project(&canonical))
}

/// Someone who registered without a name goes by what there is.
fn name_of(customer: &wire::Customer) -> String {
    let own = whole_name(&customer.first_name, &customer.last_name);
    let billing = whole_name(&customer.billing.first_name, &customer.billing.last_name);
    let company = clean_line(&customer.billing.company);
    [own, billing, company]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| clean_line(&customer.username))
}

/// A first name is stored encoded, `A &amp; B` (facts/mapping-woocommerce.md §2).
fn whole_name(first: &str, last: &str) -> String {
    clean_line(&text::settled(&format!("{first} {last}")))
}

fn address_of(address: &wire::Address) -> Address {
    let line = |text: &str| Some(text.to_owned());
    Address {
        name: Some(whole_name(&address.first_name, &address.last_name)),
        street: line(&address.street),
        street2: line(&address.street2),
        city: line(&address.city),
        postcode: line(&address.postcode),
        state: line(&address.state),
        country: line(&address.country),
    }
}

/// Returns a customer as the connector hands it out.
pub(super) fn theirs(customer: &wire::Customer) -> Theirs {
    Theirs {
        external_id: customer.id.to_string(),
        content: read(customer).map(Content::Customer),
        parts: Parts::new(),
        marker: customer.marker(),
        modified_at: customer.date_modified_gmt.map(|at| at.and_utc()),
    }
}

// What WooCommerce can hold

/// Returns a customer as WooCommerce gives it back after a write of ours. An account can't be taken out of use.
pub(super) fn project(customer: &Customer) -> Customer {
    let name = clean_line(&text::settled(&customer.name));
    let address = |address: &Option<Address>| {
        let address = address.clone()?;
        // A name alone is no address: both of an account's addresses have one.
        LINES
            .iter()
            .any(|(_, line)| line(&address).is_some())
            .then(|| Address {
                name: address
                    .name
                    .as_deref()
                    .map(|own| clean_line(&text::settled(own)))
                    .filter(|own| !own.is_empty() && *own != name),
                ..address
            })
    };
    let projected = Customer {
        billing: address(&customer.billing),
        shipping: address(&customer.shipping),
        is_active: true,
        email: customer.email.clone().filter(|email| !email.ends_with(NO_EMAIL)),
        phone: customer.phone.clone(),
        company: customer.company.clone(),
        tax_number: customer.tax_number.clone(),
        name,
        language: None,
    };
    projected.canonical().unwrap_or_else(|_| customer.clone())
}

/// Says why a customer can't be written.
pub(super) fn refuses(customer: &Customer) -> Option<Refusal> {
    let refusal = |code: &str, message: &str| {
        Some(Refusal {
            code: code.to_owned(),
            message: message.to_owned(),
        })
    };
    if clean_line(&text::settled(&customer.name)).is_empty() {
        return refusal("no_name", "the customer has no name");
    }
    // `customer_invalid_email` (facts/mapping-woocommerce.md §2).
    if customer.email.as_deref().is_some_and(|email| !email.is_ascii()) {
        return refusal(
            "unfit_email",
            "WooCommerce takes e-mail addresses of ASCII characters only",
        );
    }
    None
}

// Writing

/// Returns the user name of the account that is made for a record. It can't be changed later, and a second account of
/// the same name is refused (facts/systems.md A5): a key of ours, for as long as the account is there. It is no more
/// than that: two requests at once can still both be carried out.
pub(super) fn login(record: RecordId) -> String {
    record.0.simple().to_string()
}

/// Returns the address of an account whose customer has none, or none yet: a mail to it reaches nobody.
pub(super) fn own_email(record: RecordId) -> String {
    format!("{}{NO_EMAIL}", login(record))
}

/// Says whether an account is one that was made for a record and has not been given its customer's address.
pub(super) fn is_unaddressed(account: &wire::Customer, record: RecordId) -> bool {
    account.email.trim().eq_ignore_ascii_case(&own_email(record)) && account.marker() == Some(record)
}

/// Returns the address by which the customer's account is known.
fn account_email(customer: &Customer, record: RecordId) -> String {
    customer.email.clone().unwrap_or_else(|| own_email(record))
}

/// Whether the customer may be told of an account that is made for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    Mailed,
    /// Nothing can keep WooCommerce from mailing a new account's owner, so the account is made with an address that
    /// reaches nobody, and is given the customer's by a call of its own: that change is told to the address that it had
    /// before (facts/mapping-woocommerce.md §2, «Mail»).
    Silent,
}

/// Returns the body that creates a customer.
pub(super) fn create_body(customer: &Customer, record: RecordId, welcome: Welcome) -> Body {
    let email = match welcome {
        Welcome::Mailed => account_email(customer, record),
        Welcome::Silent => own_email(record),
    };
    let mut body = Body::new();
    put_names(&mut body, &customer.name);
    let is_too_long = |local: &str| local.len() > LOGIN_LIMIT;
    if welcome == Welcome::Silent || email.split('@').next().is_some_and(is_too_long) {
        body.insert("username".to_owned(), json!(login(record)));
    }
    body.insert("email".to_owned(), json!(email));
    let mut billing = address_body(customer, customer.billing.as_ref());
    billing.insert("company".to_owned(), json!(customer.company));
    billing.insert("phone".to_owned(), json!(customer.phone));
    billing.insert("email".to_owned(), json!(customer.email));
    // A `null` is refused where a string is meant (facts/mapping-woocommerce.md §2).
    billing.retain(|_, value| !value.is_null() && value != "");
    body.insert("billing".to_owned(), Value::Object(billing));
    if customer.shipping.is_some() {
        let mut shipping = address_body(customer, customer.shipping.as_ref());
        shipping.retain(|_, value| value != "");
        body.insert("shipping".to_owned(), Value::Object(shipping));
    }
    let mut meta = vec![json!({"key": wire::CUSTOMER_MARKER, "value": record.to_string()})];
    if let Some(number) = &customer.tax_number {
        meta.push(json!({"key": TAX_NUMBER, "value": number}));
    }
    body.insert("meta_data".to_owned(), Value::Array(meta));
    body
}

/// Returns the body that changes the given fields of a customer; empty where WooCommerce holds none of them.
///
/// `copied` tells whether the account's shipping address is the billing address once more, which we hold as none: it
/// has to go along, or it would be taken for an address of its own from then on.
pub(super) fn update_body(customer: &Customer, record: RecordId, fields: Fields<'_>, copied: Copied) -> Body {
    let mut body = Body::new();
    let is_renamed = fields.has("name");
    if is_renamed {
        put_names(&mut body, &customer.name);
    }
    // An account's own address in another case is refused, so it is left out unless it changes
    // (facts/mapping-woocommerce.md §2).
    if fields.has("email") {
        body.insert("email".to_owned(), json!(account_email(customer, record)));
    }
    let billing = billing_body(customer, fields);
    if !billing.is_empty() {
        body.insert("billing".to_owned(), Value::Object(billing));
    }
    let shipping = shipping_body(customer, fields, copied);
    if !shipping.is_empty() {
        body.insert("shipping".to_owned(), Value::Object(shipping));
    }
    if fields.has("tax_number") {
        let number = customer.tax_number.as_deref().unwrap_or_default();
        body.insert(
            "meta_data".to_owned(),
            json!([{"key": TAX_NUMBER, "value": number}]),
        );
    }
    body
}

/// Whether the account's shipping address repeats its billing address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copied {
    Yes,
    No,
}

/// Says whether a change may leave a copied shipping address behind, so that the account has to be read first.
pub(super) fn may_leave_copy(customer: &Customer, fields: Fields<'_>) -> bool {
    customer.shipping.is_none() && (fields.has("billing") || fields.has("name"))
}

/// Says whether an account's shipping address is one that we hold as none.
pub(super) fn copied(account: &wire::Customer) -> Copied {
    let shipping = address_of(&account.shipping);
    let has_shipping = LINES
        .iter()
        .any(|(_, line)| line(&shipping).is_some_and(|text| !text.trim().is_empty()));
    match read(account) {
        Ok(customer) if has_shipping && customer.shipping.is_none() => Copied::Yes,
        Ok(_) | Err(_) => Copied::No,
    }
}

fn billing_body(customer: &Customer, fields: Fields<'_>) -> Body {
    let mut billing = if fields.has("billing") {
        address_body(customer, customer.billing.as_ref())
    } else {
        Body::new()
    };
    if fields.has("name")
        && customer
            .billing
            .as_ref()
            .is_none_or(|address| address.name.is_none())
    {
        put_names(&mut billing, &customer.name);
    }
    for (path, value) in [("company", &customer.company), ("phone", &customer.phone)] {
        if fields.has(path) {
            billing.insert(path.to_owned(), json!(value.as_deref().unwrap_or_default()));
        }
    }
    billing
}

fn shipping_body(customer: &Customer, fields: Fields<'_>, copied: Copied) -> Body {
    let Some(shipping) = &customer.shipping else {
        return match (copied, &customer.billing) {
            (Copied::Yes, Some(billing)) if may_leave_copy(customer, fields) => {
                address_body(customer, Some(billing))
            }
            (Copied::Yes, None) if may_leave_copy(customer, fields) => blank_address(),
            (Copied::Yes | Copied::No, _) if fields.has("shipping") => blank_address(),
            (Copied::Yes | Copied::No, _) => Body::new(),
        };
    };
    let mut body = Body::new();
    if fields.has("shipping") {
        body = address_body(customer, Some(shipping));
    } else if fields.has("name") && shipping.name.is_none() {
        put_names(&mut body, &customer.name);
    }
    body
}

fn address_body(customer: &Customer, address: Option<&Address>) -> Body {
    let mut body = blank_address();
    let name = address
        .and_then(|address| address.name.as_deref())
        .unwrap_or(&customer.name);
    put_names(&mut body, name);
    for (field, line) in LINES {
        let value = address.and_then(line).map(String::as_str).unwrap_or_default();
        body.insert(field.to_owned(), json!(value));
    }
    body
}

fn blank_address() -> Body {
    let fields = LINES.iter().map(|(field, _)| *field);
    let names = ["first_name", "last_name"];
    fields
        .chain(names)
        .map(|field| (field.to_owned(), json!("")))
        .collect()
}

/// The first word is the first name, the rest the last (facts/mapping-woocommerce.md §10).
fn put_names(body: &mut Body, name: &str) {
    let (first, last) = name.split_once(' ').unwrap_or((name, ""));
    body.insert("first_name".to_owned(), json!(first));
    body.insert("last_name".to_owned(), json!(last));
}

#[cfg(test)]
mod tests;
