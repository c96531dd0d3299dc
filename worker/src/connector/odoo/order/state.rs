//! How far an order has come, in Odoo's words: draft, sent, sale, cancel. Pure.
//!
//! Source: facts/mapping-odoo.md §3, "Status".

use lockstep_shared::connection::Settings;
use lockstep_shared::entity::OrderStatus;

/// A state of `sale.order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A quotation, sent or not: nobody can tell from outside what was done with it.
    Draft,
    /// Agreed. Once `done` was a state of its own: agreed and locked.
    Sale,
    Cancel,
}

const ALL: [OrderStatus; 7] = [
    OrderStatus::Pending,
    OrderStatus::OnHold,
    OrderStatus::Processing,
    OrderStatus::Completed,
    OrderStatus::Cancelled,
    OrderStatus::Failed,
    OrderStatus::Refunded,
];

impl State {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "draft" | "sent" => Some(Self::Draft),
            "sale" | "done" => Some(Self::Sale),
            "cancel" => Some(Self::Cancel),
            _ => None,
        }
    }

    /// The state that stands for a status. Where the connection calls a status by another of Odoo's states, that one.
    pub(super) fn of(status: OrderStatus, settings: &Settings) -> Self {
        let named = settings.order_statuses.get(&status);
        if let Some(state) = named.and_then(|name| Self::parse(name)) {
            return state;
        }
        match status {
            OrderStatus::Pending | OrderStatus::OnHold => Self::Draft,
            OrderStatus::Processing | OrderStatus::Completed | OrderStatus::Refunded => Self::Sale,
            OrderStatus::Cancelled | OrderStatus::Failed => Self::Cancel,
        }
    }

    /// The status that a state stands for: the usual one where it is written so, else the first that is.
    pub(super) fn status(self, settings: &Settings) -> OrderStatus {
        let usual = match self {
            Self::Draft => OrderStatus::Pending,
            Self::Sale => OrderStatus::Processing,
            Self::Cancel => OrderStatus::Cancelled,
        };
        if Self::of(usual, settings) == self {
            return usual;
        }
        let written = ALL.into_iter().find(|status| Self::of(*status, settings) == self);
        written.unwrap_or(usual)
    }
}

/// Returns the status that comes back when this one was written.
pub(super) fn project(status: OrderStatus, settings: &Settings) -> OrderStatus {
    State::of(status, settings).status(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_statuses_are_three_states() {
        let settings = Settings::default();
        let told: Vec<OrderStatus> = ALL.into_iter().map(|status| project(status, &settings)).collect();

        assert_eq!(
            told,
            [
                OrderStatus::Pending,
                OrderStatus::Pending,
                OrderStatus::Processing,
                OrderStatus::Processing,
                OrderStatus::Cancelled,
                OrderStatus::Cancelled,
                OrderStatus::Processing
            ]
        );
    }

    #[test]
    fn a_connection_may_call_a_status_otherwise() {
        let mut settings = Settings::default();
        settings
            .order_statuses
            .insert(OrderStatus::OnHold, "sale".to_owned());
        settings
            .order_statuses
            .insert(OrderStatus::Pending, "cancel".to_owned());

        assert_eq!(project(OrderStatus::OnHold, &settings), OrderStatus::Processing);
        assert_eq!(State::of(OrderStatus::Pending, &settings), State::Cancel);
        for status in ALL {
            let once = project(status, &settings);
            assert_eq!(project(once, &settings), once);
        }
    }

    #[test]
    fn what_is_no_state_of_odoos_changes_nothing() {
        let mut settings = Settings::default();
        settings
            .order_statuses
            .insert(OrderStatus::Pending, "wc-new".to_owned());

        assert_eq!(State::of(OrderStatus::Pending, &settings), State::Draft);
    }
}
