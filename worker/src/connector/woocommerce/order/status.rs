//! The states of an order: WooCommerce's names to ours and back. Pure.

use lockstep_shared::connection::Settings;
use lockstep_shared::entity::OrderStatus;

const USUAL: [(OrderStatus, &str); 7] = [
    (OrderStatus::Pending, "pending"),
    (OrderStatus::OnHold, "on-hold"),
    (OrderStatus::Processing, "processing"),
    (OrderStatus::Completed, "completed"),
    (OrderStatus::Cancelled, "cancelled"),
    (OrderStatus::Failed, "failed"),
    (OrderStatus::Refunded, "refunded"),
];

/// Whether an order was paid, where its state does not say how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paid {
    Yes,
    No,
}

/// Returns what a state means. What the connection calls a state goes before its usual name; one that neither knows was
/// added by a plugin: the order was placed, and waits for somebody unless it is paid.
pub(super) fn read(name: &str, paid: Paid, settings: &Settings) -> OrderStatus {
    let name = plain(name);
    let own = settings.order_statuses.iter();
    let own = own.map(|(status, own)| (*status, plain(own)));
    let known = own.chain(USUAL).find(|(_, known)| *known == name);
    match (known, name, paid) {
        (Some((status, _)), _, _) => status,
        // Thrown away: nothing will come of it any more.
        (None, "trash", _) => OrderStatus::Cancelled,
        (None, _, Paid::Yes) => OrderStatus::Processing,
        (None, _, Paid::No) => OrderStatus::OnHold,
    }
}

/// Returns the name of a state.
pub(super) fn name(status: OrderStatus, settings: &Settings) -> &str {
    if let Some(own) = settings.order_statuses.get(&status) {
        return plain(own);
    }
    let usual = USUAL.iter().find(|(known, _)| *known == status);
    usual.map_or("pending", |(_, name)| name)
}

/// The database has them with a prefix, which the API does not show.
fn plain(name: &str) -> &str {
    let name = name.trim();
    name.strip_prefix("wc-").unwrap_or(name)
}

/// Returns a state as it comes back after it was written: two can have one name.
pub(super) fn settled(status: OrderStatus, settings: &Settings) -> OrderStatus {
    read(name(status, settings), Paid::No, settings)
}

/// Returns the state in which we keep an order that was placed elsewhere.
///
/// The state `refunded` makes a refund over the rest by itself, and refunds follow as payments; a failed payment is
/// told to the customer and to the shop's people (facts/mapping-woocommerce.md §3).
pub(super) const fn of_ours(status: OrderStatus) -> OrderStatus {
    match status {
        OrderStatus::Refunded => OrderStatus::Completed,
        OrderStatus::Failed => OrderStatus::Cancelled,
        OrderStatus::Pending
        | OrderStatus::OnHold
        | OrderStatus::Processing
        | OrderStatus::Completed
        | OrderStatus::Cancelled => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(names: &[(OrderStatus, &str)]) -> Settings {
        Settings {
            order_statuses: names
                .iter()
                .map(|(status, name)| (*status, (*name).to_owned()))
                .collect(),
            ..Settings::default()
        }
    }

    #[test]
    fn every_state_comes_back_as_it_was_written() {
        for settings in [settings(&[]), settings(&[(OrderStatus::Completed, "wc-shipped")])] {
            for (status, _) in USUAL {
                assert_eq!(settled(status, &settings), status);
            }
        }
    }

    #[test]
    fn a_connection_has_its_own_names_and_still_knows_the_usual_ones() {
        let settings = settings(&[(OrderStatus::Completed, "wc-shipped")]);

        assert_eq!(name(OrderStatus::Completed, &settings), "shipped");
        assert_eq!(read("shipped", Paid::No, &settings), OrderStatus::Completed);
        assert_eq!(read("completed", Paid::No, &settings), OrderStatus::Completed);
    }

    #[test]
    fn two_states_of_one_name_come_back_as_one() {
        let settings = settings(&[(OrderStatus::OnHold, "processing")]);

        assert_eq!(settled(OrderStatus::Processing, &settings), OrderStatus::OnHold);
        assert_eq!(settled(OrderStatus::OnHold, &settings), OrderStatus::OnHold);
    }

    #[test]
    fn a_state_of_a_plugin_waits_unless_it_is_paid() {
        let settings = Settings::default();

        assert_eq!(read("in-the-oven", Paid::Yes, &settings), OrderStatus::Processing);
        assert_eq!(read("in-the-oven", Paid::No, &settings), OrderStatus::OnHold);
        assert_eq!(read("trash", Paid::Yes, &settings), OrderStatus::Cancelled);
    }
}
