//! Bringing an order into a state without anyone being told and without stock being moved, by the recipes that were
//! seen to work (facts/mapping-woocommerce.md §3, «Side effects»). Pure.
//!
//! A recipe is several changes of one order in one batch, which carries them out in their order.

use lockstep_shared::connection::Settings;
use lockstep_shared::entity::OrderStatus;
use serde_json::{Value, json};

use super::super::product::Body;
use super::status;
use super::wire::{self, Silence};
use super::write::put_meta;

/// Where an order was placed, which decides about its stock: the store keeps that of its own orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    Store,
    Elsewhere,
}

/// An order that is to come into a state.
#[derive(Clone, Debug)]
pub(super) struct Transition<'a> {
    pub(super) id: u64,
    pub(super) home: Home,
    /// What it has now, or had before it was silenced.
    pub(super) now: &'a Silence,
    pub(super) target: OrderStatus,
    /// The target's name in the store.
    pub(super) name: &'a str,
}

impl Transition<'_> {
    /// Returns the changes that bring the order there, none where that can't be done unnoticed: a payment that failed
    /// is told to people, and the state `refunded` makes a refund of its own. Refunds follow as payments.
    pub(super) fn changes(&self, settings: &Settings) -> Vec<Body> {
        if settings.notifies_people {
            return self.told();
        }
        let is_draft = self.now.status == wire::DRAFT;
        match (self.target, self.home) {
            (OrderStatus::Pending, _) => vec![self.arrival()],
            (OrderStatus::Cancelled, _)
            | (OrderStatus::Processing | OrderStatus::OnHold, Home::Elsewhere) => {
                // From a draft nobody is told.
                if is_draft {
                    vec![self.arrival()]
                } else {
                    let mut last = self.arrival();
                    put_meta(&mut last, wire::SILENCE, &Value::Null);
                    vec![self.hidden(), last]
                }
            }
            (OrderStatus::Completed, _) | (OrderStatus::Processing | OrderStatus::OnHold, Home::Store) => {
                self.unreachable()
            }
            (OrderStatus::Failed | OrderStatus::Refunded, _) => Vec::new(),
        }
    }

    /// The plain way, with the mails that belong to it: a draft's have to pass a state first in which it was placed.
    fn told(&self) -> Vec<Body> {
        let mut changes = Vec::new();
        if self.now.status == wire::DRAFT && self.target != OrderStatus::Pending {
            changes.push(self.moved("pending"));
        }
        let mut last = self.moved(self.name);
        if self.home == Home::Elsewhere {
            put_meta(&mut last, "_order_stock_reduced", &json!("yes"));
        }
        changes.push(last);
        changes
    }

    fn moved(&self, status: &str) -> Body {
        Body::from_iter([
            ("id".to_owned(), json!(self.id)),
            ("status".to_owned(), json!(status)),
        ])
    }

    /// The change that brings it there. `pending` and `cancelled` forget that stock was taken, so an order whose stock is
    /// kept elsewhere says it every time.
    fn arrival(&self) -> Body {
        let mut body = self.moved(self.name);
        if self.home == Home::Elsewhere {
            put_meta(&mut body, "_order_stock_reduced", &json!("yes"));
        }
        put_meta(&mut body, "_new_order_email_sent", &json!("true"));
        body
    }

    fn hidden(&self) -> Body {
        let mut body = self.moved(wire::DRAFT);
        put_silence(&mut body, self.now);
        body
    }

    /// A mail goes to the billing address, or to the account's where there is none.
    fn unreachable(&self) -> Vec<Body> {
        if self.now.email.is_empty() && self.now.customer == 0 {
            return vec![self.arrival()];
        }
        vec![
            silenced(self.id, self.now),
            self.arrival(),
            restored(self.id, self.now),
        ]
    }
}

/// Takes an order out of reach of its mails, and notes what it had.
pub(in super::super) fn silenced(id: u64, now: &Silence) -> Body {
    let mut body = addressed(id, "", 0);
    put_silence(&mut body, now);
    body
}

/// Gives an order back what it had.
pub(in super::super) fn restored(id: u64, before: &Silence) -> Body {
    let mut body = addressed(id, &before.email, before.customer);
    put_meta(&mut body, wire::SILENCE, &Value::Null);
    body
}

fn addressed(id: u64, email: &str, customer: u64) -> Body {
    Body::from_iter([
        ("id".to_owned(), json!(id)),
        ("billing".to_owned(), json!({"email": email})),
        ("customer_id".to_owned(), json!(customer)),
    ])
}

fn put_silence(body: &mut Body, now: &Silence) {
    let text = serde_json::to_string(now).expect("texts and a number");
    put_meta(body, wire::SILENCE, &json!(text));
}

/// Says whether a change of an order's lines moves stock in a state, whatever the order's own flag says
/// (facts/mapping-woocommerce.md §3). A state that nobody knows may.
pub(super) fn lines_move_stock(name: &str, settings: &Settings) -> bool {
    let name = name.trim_start_matches("wc-");
    if matches!(name, wire::DRAFT | "auto-draft" | "trash") {
        return false;
    }
    match status::read(name, status::Paid::Yes, settings) {
        OrderStatus::Processing | OrderStatus::OnHold | OrderStatus::Completed => true,
        OrderStatus::Pending | OrderStatus::Cancelled | OrderStatus::Failed | OrderStatus::Refunded => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statuses(changes: &[Body]) -> Vec<&str> {
        changes
            .iter()
            .map(|change| change.get("status").and_then(Value::as_str).unwrap_or("-"))
            .collect()
    }

    fn changes(home: Home, from: &str, target: OrderStatus, settings: &Settings) -> Vec<Body> {
        let now = Silence {
            status: from.to_owned(),
            email: "ann@example.com".to_owned(),
            customer: 67,
        };
        let transition = Transition {
            id: 5,
            home,
            now: &now,
            target,
            name: status::name(target, settings),
        };
        transition.changes(settings)
    }

    #[test]
    fn a_draft_of_ours_is_placed_by_one_change() {
        let settings = Settings::default();
        for (target, name) in [
            (OrderStatus::Processing, "processing"),
            (OrderStatus::OnHold, "on-hold"),
            (OrderStatus::Cancelled, "cancelled"),
            (OrderStatus::Pending, "pending"),
        ] {
            let made = changes(Home::Elsewhere, wire::DRAFT, target, &settings);
            assert_eq!(statuses(&made), [name]);
            let meta = made[0]["meta_data"].as_array().unwrap();
            assert!(meta.contains(&json!({"key": "_order_stock_reduced", "value": "yes"})));
            assert!(meta.contains(&json!({"key": "_new_order_email_sent", "value": "true"})));
        }
    }

    #[test]
    fn an_order_is_completed_out_of_reach_of_its_mail() {
        let settings = Settings::default();

        let made = changes(Home::Store, "processing", OrderStatus::Completed, &settings);

        assert_eq!(statuses(&made), ["-", "completed", "-"]);
        assert_eq!(made[0]["billing"], json!({"email": ""}));
        assert_eq!(made[0]["customer_id"], json!(0));
        assert_eq!(made[2]["billing"], json!({"email": "ann@example.com"}));
        assert_eq!(made[2]["customer_id"], json!(67));
        assert_eq!(
            made[2]["meta_data"],
            json!([{"key": wire::SILENCE, "value": null}])
        );
        let meta = made[1]["meta_data"].as_array().unwrap();
        assert!(
            !meta.iter().any(|entry| entry["key"] == "_order_stock_reduced"),
            "the store keeps the stock of its own orders"
        );
    }

    #[test]
    fn an_order_is_cancelled_by_way_of_a_draft() {
        let made = changes(
            Home::Store,
            "processing",
            OrderStatus::Cancelled,
            &Settings::default(),
        );

        assert_eq!(statuses(&made), [wire::DRAFT, "cancelled"]);
    }

    #[test]
    fn what_people_would_be_told_is_not_written() {
        for target in [OrderStatus::Failed, OrderStatus::Refunded] {
            assert!(changes(Home::Store, "processing", target, &Settings::default()).is_empty());
        }
    }

    #[test]
    fn people_are_told_where_the_connection_asks_for_it() {
        let settings = Settings {
            notifies_people: true,
            ..Settings::default()
        };

        let made = changes(Home::Elsewhere, wire::DRAFT, OrderStatus::Processing, &settings);

        assert_eq!(statuses(&made), ["pending", "processing"]);
        assert!(
            !serde_json::to_string(&made)
                .unwrap()
                .contains("_new_order_email_sent")
        );
    }
}
