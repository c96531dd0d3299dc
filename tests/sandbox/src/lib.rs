//! Stand-ins for the systems that are synchronised, over real HTTP, with a fault plan and a ledger.
//!
//! They behave as `facts/systems.md` and the captures beside it say, oddities included, and are never kinder than the
//! real servers. They are no general fakes: what the facts do not mention is left out or refused.

#![recursion_limit = "256"]

pub mod fault;
mod geography;
pub mod ledger;
pub mod odoo;
pub mod recorded;
mod sandbox;
pub mod seed;
mod server;
pub mod snapshot;
pub mod woocommerce;

pub use sandbox::Sandbox;
