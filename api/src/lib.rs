//! The HTTP API of Lockstep: it checks what is asked, writes it down with its bell in one transaction, and shows what
//! the workers made of it. It calls no remote system, and it is the only crate that names poem.

pub mod config;
pub mod server;
pub mod token;

mod auth;
mod base_url;
mod body;
mod checks;
mod compression;
mod conditional;
mod connections;
mod credentials;
mod customers;
mod document;
mod exchange;
mod health;
mod history;
mod inventory;
mod lines;
mod money;
mod orders;
mod ownership;
mod page;
mod path;
mod payments;
mod previews;
mod problem;
mod products;
mod records;
mod references;
mod retries;
mod settings;
mod syncs;
