//! The workers: they claim batches, talk to the remote systems through connectors, and settle what became of it.

pub mod connector;
