//! Taking a record out of use, where its thing was deleted in a system, and back.

use super::{Content, OrderStatus, ProductStatus};

impl Content {
    /// Returns the record as it is once its thing was deleted in a system: a product is archived, a customer is active no
    /// more, an order that is still to be carried out is cancelled. `None` where that changes nothing: what was delivered
    /// or paid back was, and a level or a payment has no use to be taken out of.
    pub fn retired(&self) -> Option<Self> {
        match self {
            Self::Customer(customer) if customer.is_active => {
                let mut customer = customer.clone();
                customer.is_active = false;
                Some(Self::Customer(customer))
            }
            Self::Product(product) if product.status != ProductStatus::Archived => {
                let mut product = product.clone();
                product.status = ProductStatus::Archived;
                Some(Self::Product(product))
            }
            Self::Order(order) => match order.status {
                OrderStatus::Pending | OrderStatus::OnHold | OrderStatus::Processing => {
                    let mut order = order.clone();
                    order.status = OrderStatus::Cancelled;
                    Some(Self::Order(order))
                }
                OrderStatus::Completed
                | OrderStatus::Cancelled
                | OrderStatus::Failed
                | OrderStatus::Refunded => None,
            },
            Self::Customer(_) | Self::Product(_) | Self::Inventory(_) | Self::Payment(_) => None,
        }
    }

    /// Says whether it is as [`Content::retired`] leaves a record.
    pub fn is_retired(&self) -> bool {
        match self {
            Self::Customer(customer) => !customer.is_active,
            Self::Product(product) => product.status == ProductStatus::Archived,
            Self::Order(order) => order.status == OrderStatus::Cancelled,
            Self::Inventory(_) | Self::Payment(_) => false,
        }
    }

    /// Returns a record that was retired in use as its thing is, which came back. `None` where it was not retired, or
    /// its thing is not in use either.
    pub fn restored(&self, theirs: &Self) -> Option<Self> {
        if !self.is_retired() || theirs.is_retired() {
            return None;
        }
        match (self, theirs) {
            (Self::Customer(ours), Self::Customer(theirs)) => {
                let mut customer = ours.clone();
                customer.is_active = theirs.is_active;
                Some(Self::Customer(customer))
            }
            (Self::Product(ours), Self::Product(theirs)) => {
                let mut product = ours.clone();
                product.status = theirs.status;
                Some(Self::Product(product))
            }
            (Self::Order(ours), Self::Order(theirs)) => {
                let mut order = ours.clone();
                order.status = theirs.status;
                Some(Self::Order(order))
            }
            (_, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::any_content_for_tests;

    proptest! {
        #[test]
        fn a_record_is_retired_once_and_comes_back_as_it_was(content in any_content_for_tests()) {
            if let Some(retired) = content.retired() {
                prop_assert!(retired.is_retired());
                prop_assert!(!content.is_retired());
                prop_assert_eq!(retired.retired(), None);
                prop_assert_eq!(retired.restored(&content), Some(content));
            }
        }
    }
}
