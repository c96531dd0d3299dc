//! Circuits of connections, as the API shows them.

use chrono::{DateTime, Utc};
use lockstep_shared::circuit::{self, Circuit};
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};

/// Whether calls go through. `open`: its system failed several times in a row, and nobody calls it but a probe now and then.
/// `half_open`: a probe is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", remote = "circuit::State")]
pub(crate) enum CircuitState {
    Closed,
    Open,
    HalfOpen,
}

/// Whether the system answers, as all workers know it. While the circuit is open, batches of the connection wait and nothing
/// of theirs fails; a check that is asked for probes at once. A system that has not been well for too long (30 minutes unless
/// the operator said otherwise) fails the stages that need it.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none, example)]
pub(crate) struct ConnectionCircuit {
    /// Whether calls go through.
    state: CircuitState,
    /// Since when the state is what it is; left out where the system has been well since anybody asked.
    since: Option<DateTime<Utc>>,
    /// Calls that failed one after another.
    failures: i32,
    /// The first of the failures since the last success.
    unwell_since: Option<DateTime<Utc>>,
    /// When the system is probed again, at the earliest.
    next_probe_at: Option<DateTime<Utc>>,
    /// The system asked for a pause until then.
    paused_until: Option<DateTime<Utc>>,
    /// What the last call that failed came to.
    last_error: Option<String>,
}

impl ConnectionCircuit {
    /// A connection of which nothing is known has a system that is well.
    pub(crate) fn of(circuit: Option<Circuit>, now: DateTime<Utc>) -> Self {
        let Some(circuit) = circuit else {
            return Self {
                state: CircuitState::Closed,
                since: None,
                failures: 0,
                unwell_since: None,
                next_probe_at: None,
                paused_until: None,
                last_error: None,
            };
        };
        Self {
            state: circuit.state.into(),
            since: Some(circuit.changed_at),
            failures: circuit.failures,
            unwell_since: Some(circuit.unwell_since),
            next_probe_at: circuit.probe_at.filter(|_| circuit.state == circuit::State::Open),
            paused_until: circuit.held_until.filter(|until| *until > now),
            last_error: circuit.error,
        }
    }
}

impl Example for ConnectionCircuit {
    fn example() -> Self {
        Self::of(None, DateTime::UNIX_EPOCH)
    }
}
