//! The crash suite: whatever dies, whenever, nothing is lost and nothing is written twice. Judged by what the stand-ins
//! hold and felt, beside a run of the same shop in which nothing died.

mod judge;
pub mod matrix;
mod shop;
pub mod storm;

use std::fmt;
use std::time::Duration;

use lockstep_worker::config::Config;

use crate::stack::Stack;

/// What a suite came to.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Shops that were carried over.
    pub rounds: usize,
    /// Processes and servers that died on the way.
    pub deaths: usize,
    /// Writes that the stand-ins felt.
    pub effects: usize,
    /// A sentence for everything that is missing, differs, or was not told of.
    pub lost: Vec<String>,
    /// A sentence for everything that was done twice.
    pub doubled: Vec<String>,
}

impl Verdict {
    pub fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.deaths += other.deaths;
        self.effects += other.effects;
        self.lost.extend(other.lost);
        self.doubled.extend(other.doubled);
    }

    pub fn is_good(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lost, doubled) = (self.lost.len(), self.doubled.len());
        let Self {
            rounds,
            deaths,
            effects,
            ..
        } = self;
        write!(
            f,
            "rounds={rounds} deaths={deaths} effects={effects} lost={lost} doubled={doubled}"
        )
    }
}

/// Returns the configuration of workers that die often: everything that has to run out first is short. The order of the
/// times is that of the defaults.
fn config(stack: &Stack) -> Config {
    let mut config = stack.worker_config();
    config.lease.length = Duration::from_millis(1200);
    config.lease.progress_limit = Duration::from_secs(4);
    config.sweep_every = Duration::from_millis(300);
    config.http.timeout = Duration::from_secs(2);
    // With the time of a call it is well above the longest that a storm has anybody sleep, also on a machine that is busy:
    // beyond the bound nothing is promised.
    config.grace = Some(Duration::from_secs(2));
    config.database_connections = 8;
    // Shorter than a call may take: some are given up at its end.
    config.drain = Duration::from_secs(1);
    config
}
