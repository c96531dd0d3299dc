//! The contract of `lockstep_worker::connector`, proved for every connector against its stand-in over real HTTP.
//!
//! A rule is written once, generic over [`Subject`], and runs for each system, and where it is about things also for
//! each entity type. Adding a system is a subject here. What only one system can do stands in the file with its name.

/// Runs rules for every system.
macro_rules! for_each_system {
    ($($rule:ident),+ $(,)?) => {
        for_each_system! { @in woocommerce, crate::contract::subject::Shop, $($rule),+ }
        for_each_system! { @in odoo_19, crate::contract::subject::Office<19>, $($rule),+ }
        for_each_system! { @in odoo_17, crate::contract::subject::Office<17>, $($rule),+ }
    };
    (@in $name:ident, $subject:ty, $($rule:ident),+) => {
        mod $name {
            $(#[tokio::test]
            async fn $rule() {
                super::$rule::<$subject>().await;
            })+
        }
    };
}

/// Runs rules of Odoo's own for each of its protocols.
macro_rules! for_each_office {
    ($($rule:ident),+ $(,)?) => {
        mod odoo_19 {
            $(#[tokio::test]
            async fn $rule() {
                super::$rule::<19>().await;
            })+
        }
        mod odoo_17 {
            $(#[tokio::test]
            async fn $rule() {
                super::$rule::<17>().await;
            })+
        }
    };
}

/// Runs rules for every system and entity type.
macro_rules! for_each_entity {
    ($($rule:ident),+ $(,)?) => {
        mod customers {
            for_each_entity! { @of Customers, $($rule),+ }
        }
        mod products {
            for_each_entity! { @of Products, $($rule),+ }
        }
    };
    (@of $entity:ident, $($rule:ident),+) => {
        for_each_entity! { @in woocommerce, crate::contract::subject::Shop, $entity, $($rule),+ }
        for_each_entity! { @in odoo_19, crate::contract::subject::Office<19>, $entity, $($rule),+ }
        for_each_entity! { @in odoo_17, crate::contract::subject::Office<17>, $entity, $($rule),+ }
    };
    (@in $name:ident, $subject:ty, $entity:ident, $($rule:ident),+) => {
        mod $name {
            $(#[tokio::test]
            async fn $rule() {
                super::super::$rule::<$subject>(lockstep_shared::system::EntityType::$entity).await;
            })+
        }
    };
}

mod check;
mod content;
mod create;
mod doubt;
mod error;
mod existing;
mod gate;
mod harness;
mod inventory;
mod odoo;
mod odoo_check;
mod odoo_inventory;
mod odoo_order;
mod odoo_payment;
mod odoo_product;
mod order;
mod order_change;
mod payment;
mod picture;
mod project;
mod pull;
mod request;
mod round_trip;
mod sale;
mod subject;
mod tag;
mod update;
mod variant;
mod webhook;
mod woocommerce;
