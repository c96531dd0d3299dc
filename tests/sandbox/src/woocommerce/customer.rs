//! Customers (facts: systems A5, mapping-woocommerce 2).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::meta::{self, Meta};
use super::product::as_text;
use super::refusal::Refusal;
use super::schema;
use super::shop::Shop;
use super::text;
use crate::ledger::Operation;

/// An account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Customer {
    pub(super) id: u64,
    pub(super) created: i64,
    pub(super) modified: i64,
    pub(super) email: String,
    pub(super) first_name: String,
    pub(super) last_name: String,
    pub(super) role: String,
    pub(super) username: String,
    pub(super) billing: Address,
    pub(super) shipping: Address,
    pub(super) is_paying: bool,
    pub(super) meta: Vec<Meta>,
}

/// The parts of an address in the order of [`schema::ADDRESS`].
pub(super) type Address = [String; 11];

impl Customer {
    pub(super) fn new(id: u64, now: i64) -> Self {
        Self {
            id,
            created: now,
            modified: now,
            email: String::new(),
            first_name: String::new(),
            last_name: String::new(),
            role: "customer".to_owned(),
            username: String::new(),
            billing: Address::default(),
            shipping: Address::default(),
            is_paying: false,
            meta: Vec::new(),
        }
    }

    pub(super) fn key(&self) -> Option<String> {
        meta::marker(&self.meta).or_else(|| Some(self.email.clone()))
    }

    fn keys(&self) -> Vec<String> {
        let marker = meta::marker(&self.meta).map(|marker| format!("marker:{marker}"));
        marker
            .into_iter()
            .chain([format!("email:{}", self.email.to_lowercase())])
            .collect()
    }

    /// Country and state are stored as sent, whatever they are; parts that are not sent stay.
    pub(super) fn apply(&mut self, body: &Map<String, Value>, next_meta: &mut u64) {
        if let Some(name) = body.get("first_name") {
            self.first_name = text::encoded(&as_text(name));
        }
        if let Some(name) = body.get("last_name") {
            self.last_name = text::encoded(&as_text(name));
        }
        for (field, address) in [("billing", &mut self.billing), ("shipping", &mut self.shipping)] {
            for (part, stored) in schema::ADDRESS.iter().zip(address) {
                if let Some(value) = body.get(field).and_then(|parts| parts.get(*part)) {
                    *stored = as_text(value);
                }
            }
        }
        if let Some(list) = body.get("meta_data") {
            meta::apply(&mut self.meta, list, next_meta, meta::Owner::Customer);
        }
    }
}

impl Shop {
    /// Makes an account and mails its owner at once.
    pub(super) fn create_customer(&mut self, body: &Map<String, Value>, now: i64) -> Result<u64, Refusal> {
        let email = body.get("email").map(as_text).unwrap_or_default();
        if email.is_empty() {
            let message = "Please provide a valid email address.";
            return Err(Refusal::new(400, "registration-error-invalid-email", message));
        }
        if !schema::is_email(&email) {
            return Err(Refusal::new(
                400,
                "customer_invalid_email",
                "Invalid email address",
            ));
        }
        if self.is_email_taken(&email) {
            let message = format!(
                "An account is already registered with {email}. Please log in or use a different email address."
            );
            return Err(Refusal::new(400, "registration-error-email-exists", &message));
        }
        let username = self.username(&email, body.get("username").map(as_text))?;
        let mut customer = Customer::new(self.next_user, now);
        customer.email = email;
        customer.username = username;
        customer.meta.push(Meta {
            id: self.next_meta,
            key: "default_password_nag".to_owned(),
            value: json!("1"),
        });
        self.next_meta += 1;
        customer.apply(body, &mut self.next_meta);
        let id = customer.id;
        if self.settings.sends("customer_new_account") {
            self.mail(&customer.email);
        }
        self.put_customer(customer);
        Ok(id)
    }

    /// Makes an account once more, under another id.
    pub(super) fn twin_customer(&mut self, id: u64, now: i64) -> u64 {
        let mut twin = self.customers[&id].clone();
        twin.id = self.next_user;
        twin.modified = now;
        let id = twin.id;
        self.put_customer(twin);
        id
    }

    /// Changes an account. The own address in another letter case is refused too; the name and role are ignored.
    pub(super) fn update_customer(
        &mut self,
        id: u64,
        body: &Map<String, Value>,
        now: i64,
    ) -> Result<(), Refusal> {
        let mut customer = self.customers.get(&id).ok_or_else(unknown)?.clone();
        if let Some(email) = body
            .get("email")
            .map(as_text)
            .filter(|email| *email != customer.email)
        {
            if !schema::is_email(&email) || self.is_email_taken(&email) {
                let message = "Email address is invalid.";
                return Err(Refusal::new(
                    400,
                    "woocommerce_rest_customer_invalid_email",
                    message,
                ));
            }
            // The change is told to the address that was (facts: mapping-woocommerce 2).
            self.mail(&customer.email);
            customer.email = email;
        }
        let name = body.get("username").map(as_text);
        if name.is_some_and(|name| name != customer.username) {
            let message = "Username isn't editable.";
            return Err(Refusal::new(
                400,
                "woocommerce_rest_customer_invalid_argument",
                message,
            ));
        }
        if body.contains_key("password") {
            self.mail(&customer.email);
        }
        customer.apply(body, &mut self.next_meta);
        customer.modified = now;
        self.put_customer(customer);
        Ok(())
    }

    /// Sends a mail; one to a domain that can't be reaches nobody.
    fn mail(&mut self, address: &str) {
        self.mails += usize::from(!address.ends_with(".invalid"));
    }

    /// Stores an account, keeps the indexes and tells the ledger.
    pub(super) fn put_customer(&mut self, customer: Customer) {
        let before = self.customers.remove(&customer.id);
        if let Some(ids) = before
            .as_ref()
            .and_then(|before| self.by_email.get_mut(&before.email.to_lowercase()))
        {
            ids.remove(&customer.id);
        }
        self.by_email
            .entry(customer.email.to_lowercase())
            .or_default()
            .insert(customer.id);
        self.by_username
            .insert(customer.username.to_lowercase(), customer.id);
        let operation = if before.is_some() {
            Operation::Updated
        } else {
            Operation::Created
        };
        let is_different = before.is_none_or(|before| {
            before
                != Customer {
                    modified: before.modified,
                    ..customer.clone()
                }
        });
        self.ledger
            .lives("customer", customer.id, customer.keys(), self.origin());
        self.felt("customer", operation, customer.id, customer.key(), is_different);
        self.next_user = self.next_user.max(customer.id + 1);
        self.customers.insert(customer.id, customer);
    }

    pub(super) fn remove_customer(&mut self, id: u64) -> Option<Customer> {
        let customer = self.customers.remove(&id)?;
        if let Some(ids) = self.by_email.get_mut(&customer.email.to_lowercase()) {
            ids.remove(&id);
        }
        self.by_username.remove(&customer.username.to_lowercase());
        self.orphan_orders(id);
        self.ledger.is_gone("customer", id);
        self.felt("customer", Operation::Deleted, id, customer.key(), true);
        Some(customer)
    }

    fn is_email_taken(&self, email: &str) -> bool {
        let holders = self.by_email.get(&email.to_lowercase());
        holders.is_some_and(|ids| !ids.is_empty())
    }

    /// Derives the name from the address; a clash gets a number, a name that was asked for does not.
    fn username(&self, email: &str, asked: Option<String>) -> Result<String, Refusal> {
        if let Some(asked) = asked.filter(|asked| !asked.is_empty()) {
            if self.by_username.contains_key(&asked.to_lowercase()) {
                let message = "An account is already registered with that username. Please choose another.";
                return Err(Refusal::new(400, "registration-error-username-exists", message));
            }
            return Ok(asked);
        }
        let local = email.split('@').next().unwrap_or_default();
        if local.chars().count() > 60 {
            let message = "Username may not be longer than 60 characters.";
            return Err(Refusal::new(400, "user_login_too_long", message));
        }
        let local: String = local
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "._-@".contains(*c))
            .collect();
        if !self.by_username.contains_key(&local.to_lowercase()) {
            return Ok(local);
        }
        let mut numbered = (0..).map(|number| format!("{local}-{}", 1000 + self.next_user + number));
        Ok(numbered
            .find(|name| !self.by_username.contains_key(&name.to_lowercase()))
            .expect("some number is free"))
    }

    pub(super) fn render_customer(&self, customer: &Customer) -> Value {
        let address = |parts: &Address, with_email: bool| {
            let named = schema::ADDRESS.iter().zip(parts);
            named
                .filter(|(part, _)| with_email || **part != "email")
                .map(|(part, value)| ((*part).to_owned(), json!(value)))
                .collect::<Map<String, Value>>()
        };
        let base = format!("{}/wp-json/wc/v3/customers", self.base_url);
        // An account that was never changed, as the administrator's, has no such date.
        let modified = |offset: i64| match customer.modified {
            0 => Value::Null,
            at => json!(text::iso(at + offset)),
        };
        json!({
            "id": customer.id,
            "date_created": text::iso(customer.created + self.offset_secs),
            "date_created_gmt": text::iso(customer.created),
            "date_modified": modified(self.offset_secs), "date_modified_gmt": modified(0),
            "email": customer.email, "first_name": customer.first_name, "last_name": customer.last_name,
            "role": customer.role, "username": customer.username,
            "billing": address(&customer.billing, true), "shipping": address(&customer.shipping, false),
            "is_paying_customer": customer.is_paying,
            "avatar_url": "https://secure.gravatar.com/avatar/?s=96&d=mm&r=g",
            "meta_data": meta::render(&customer.meta),
            "_links": {"self": [{"href": format!("{base}/{}", customer.id)}], "collection": [{"href": base}]},
        })
    }
}

pub(super) fn unknown() -> Refusal {
    Refusal::new(404, "wc_user_invalid_id", "Invalid user ID.")
}
