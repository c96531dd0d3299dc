//! What a customer needs: an account, made silently, and then given its address.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::entity::{Content, Customer};
use serde_json::json;

use super::super::customer::{Copied, Welcome};
use super::super::product::{Body, Fields};
use super::super::{customer, error, wire};
use super::{Job, Slot};
use crate::connector::{Action, Parts, Refusal, Step, Write};

/// The call that gives an account that was made silently its customer's address.
pub(super) const ADDRESS: Step = Step(1);

/// The call for an account that could not have that address.
pub(super) const DISPUTE: Step = Step(2);

/// Accounts that were read for the writes of a plan.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    pub(super) by_id: BTreeMap<String, wire::Customer>,
    /// Those that have an address which another account was refused.
    pub(super) by_email: BTreeMap<String, Vec<wire::Customer>>,
}

/// Returns the id of an account that has to be read before it is written.
pub(super) fn account_to_read(write: &Write) -> Option<String> {
    let Content::Customer(customer) = &write.content else {
        return None;
    };
    match &write.action {
        Action::Create => None,
        Action::Update {
            external_id, changed, ..
        } => {
            let is_needed = match write.step {
                ADDRESS => false,
                DISPUTE => true,
                _ => customer::may_leave_copy(customer, Fields::Only(changed)),
            };
            is_needed.then(|| external_id.clone())
        }
        Action::Delete { external_id } => Some(external_id.clone()),
    }
}

/// Returns the address that the write's account was refused.
pub(super) fn disputed_email(write: &Write) -> Option<&str> {
    match &write.content {
        Content::Customer(customer) if write.step == DISPUTE => customer.email.as_deref(),
        _ => None,
    }
}

pub(super) fn customer_job(write: &Write, known: &Accounts, welcome: Welcome) -> Job {
    let Content::Customer(customer) = &write.content else {
        return Job::refused("wrong_type", "this is no customer");
    };
    match &write.action {
        Action::Create => {
            let is_addressed_later = welcome == Welcome::Silent && customer.email.is_some();
            Job::Create(
                customer::create_body(customer, write.record, welcome),
                Slot::Created {
                    next: is_addressed_later.then_some(ADDRESS),
                    held: None,
                },
            )
        }
        Action::Update {
            external_id, changed, ..
        } => {
            let Ok(id) = external_id.parse::<u64>() else {
                return Job::refused("wc_user_invalid_id", "Invalid user ID.");
            };
            match (write.step, &customer.email) {
                (ADDRESS, Some(email)) => address(id, email),
                (DISPUTE, Some(email)) => settle_dispute(write, id, email, known),
                _ => update_customer(write, customer, id, changed, known.by_id.get(external_id)),
            }
        }
        Action::Delete { external_id } => delete_customer(external_id, known.by_id.get(external_id)),
    }
}

fn address(id: u64, email: &str) -> Job {
    Job::Update(
        Body::from_iter([("id".to_owned(), json!(id)), ("email".to_owned(), json!(email))]),
        Slot::Addressed {
            external_id: id.to_string(),
        },
    )
}

/// Gives up the account that was just made, where its customer has another one. Nobody knows of it and it has nothing
/// but what we put there, so it is deleted for good; whatever is not plainly so stays. An account that has been there
/// for longer never comes here: it may have orders.
fn settle_dispute(write: &Write, id: u64, email: &str, known: &Accounts) -> Job {
    let account = known.by_id.get(&id.to_string());
    let has_email = account.is_some_and(|account| account.email.trim().eq_ignore_ascii_case(email));
    if has_email {
        // The refused request was a late second one.
        return Job::Nothing(Slot::Done {
            external_id: id.to_string(),
            parts: Parts::new(),
        });
    }
    let holders = known.by_email.get(email).map_or(&[][..], Vec::as_slice);
    let is_ours = account.is_some_and(|account| {
        customer::is_unaddressed(account, write.record) && account.role.as_str() == "customer"
    });
    let refusal = Refusal {
        code: error::UNFIT_EMAIL.to_owned(),
        message: "the e-mail address is another account's, or WooCommerce takes it for none".to_owned(),
    };
    let holder = holders.first().filter(|_| holders.len() == 1);
    let holder = holder.map(|holder| holder.id.to_string());
    if account.is_none() && !holders.is_empty() {
        return Job::Nothing(Slot::Gone { holder, refusal });
    }
    if holders.is_empty() || !is_ours {
        return Job::Nothing(Slot::Refused(refusal));
    }
    Job::Delete(id, Slot::Yielded { holder, refusal })
}

fn update_customer(
    write: &Write,
    customer: &Customer,
    id: u64,
    changed: &BTreeSet<String>,
    account: Option<&wire::Customer>,
) -> Job {
    let copied = account.map_or(Copied::No, customer::copied);
    let mut body = customer::update_body(customer, write.record, Fields::Only(changed), copied);
    let (external_id, parts) = (id.to_string(), Parts::new());
    if body.is_empty() {
        return Job::Nothing(Slot::Done { external_id, parts });
    }
    body.insert("id".to_owned(), json!(id));
    Job::Update(
        body,
        Slot::Updated {
            external_id,
            parts,
            next: None,
            held: None,
        },
    )
}

/// Accounts have no trash, so one that is taken out of use is gone (facts/systems.md A5). Whoever can do more than buy
/// in the store stays.
fn delete_customer(external_id: &str, account: Option<&wire::Customer>) -> Job {
    let Ok(id) = external_id.parse::<u64>() else {
        return Job::refused("wc_user_invalid_id", "Invalid user ID.");
    };
    match account.map(|account| account.role.as_str()) {
        None | Some("customer" | "subscriber") => Job::Delete(
            id,
            Slot::Deleted {
                external_id: external_id.to_owned(),
            },
        ),
        Some(role) => {
            let message = format!("the account has the role `{role}` and is not deleted");
            Job::refused("not_a_customer", &message)
        }
    }
}
