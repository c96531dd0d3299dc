//! The HTTP API of Lockstep: it checks what is asked, writes it down with its bell in one transaction, and shows what
//! the workers made of it. It calls no remote system but the one that its configuration names for the keys of tokens (`jwks`), and
//! it is the only crate that names poem, but for the listener of the platform's own people (`shared::operations`).

pub mod config;
pub mod metric;
pub mod operator;
pub mod server;
pub mod token;

mod activities;
mod admission;
mod api_keys;
mod auth;
mod base_url;
mod body;
mod checks;
mod circuits;
mod compression;
mod conditional;
mod conflicts;
mod connections;
mod control;
mod credentials;
mod customers;
mod deliveries;
mod document;
mod events;
mod example;
mod exchange;
mod health;
mod history;
mod inventory;
mod jwks;
mod lines;
mod money;
mod notifications;
mod orchestrate;
mod orders;
mod organisations;
mod ownership;
mod page;
mod path;
mod payments;
mod previews;
mod problem;
mod products;
mod random;
mod records;
mod references;
mod retries;
pub mod role;
mod schedules;
mod settings;
mod syncs;
mod webhooks;
