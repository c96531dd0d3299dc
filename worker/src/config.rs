//! How a worker process is set up, from its environment.

use std::time::Duration;

use lockstep_shared::circuit;
use lockstep_shared::secret::SealingKey;
use secrecy::SecretString;

use crate::connector::http;

/// Everything a worker process needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Database, as the role `lockstep_worker`.
    pub database_url: SecretString,
    pub database_connections: u32,
    pub sealing_key: SealingKey,
    /// Batches that this process runs at once.
    pub batch_slots: usize,
    /// Commands that this process applies at once.
    pub command_slots: usize,
    pub lease: LeaseConfig,
    /// How often the sweep looks for lost bells and expired leases.
    pub sweep_every: Duration,
    /// How long the database may leave who is connected without an answer while it answers who connects anew.
    pub silence: Duration,
    /// How long the worker may take to end after the signal.
    pub drain: Duration,
    pub http: http::Options,
    /// How long a remote may go on with a request after we have gone; `None` takes each system's own.
    pub grace: Option<Duration>,
    /// Longest wait for a token on a slot; who waits longer leaves it to others.
    pub patience: Duration,
    /// Batches that may wait for tokens beside the slots. Each keeps in memory what it has read.
    pub parked: usize,
    /// When calls to a system that is not well are put off, and for how long.
    pub circuit: circuit::Limits,
}

/// How batches are held.
#[derive(Clone, Copy, Debug)]
pub struct LeaseConfig {
    /// Time after which a batch of a dead process is free. With the sweep's interval it stays below 30 s (R14).
    pub length: Duration,
    /// A batch that makes no progress for so long is not renewed any more; longer than the longest call.
    pub progress_limit: Duration,
}

impl Config {
    /// Returns the defaults, with the database and the key that have none.
    pub fn new(database_url: SecretString, sealing_key: SealingKey) -> Self {
        let http = http::Options::default();
        Self {
            database_url,
            database_connections: 20,
            sealing_key,
            batch_slots: 8,
            command_slots: 4,
            lease: LeaseConfig {
                length: Duration::from_secs(20),
                progress_limit: http.timeout + Duration::from_secs(30),
            },
            sweep_every: Duration::from_secs(5),
            silence: Duration::from_mins(1),
            drain: Duration::from_secs(25),
            http,
            grace: None,
            patience: Duration::from_secs(1),
            parked: 64,
            circuit: circuit::Limits::default(),
        }
    }

    /// Returns how long before the end of its drain a worker gives back what has not stopped by itself.
    pub fn closing(&self) -> Duration {
        (self.drain / 4).min(Duration::from_secs(2))
    }
}
