//! What a worker counts of what it does. Of all organisations together, by kinds of which there are few: a label is never
//! anybody's name or identifier.

use std::sync::LazyLock;
use std::time::Duration;

use lockstep_shared::batch::Counts;
use lockstep_shared::bucket::Verdict;
use lockstep_shared::metric::PREFIX;
use lockstep_shared::system::{EntityType, System};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Upper bounds of the time that a request to a system takes, in seconds. WooCommerce needs 16 s and more for a batch of 100
/// (facts/systems.md A11); none takes longer than its limit of a minute.
const CALL_SECONDS: [f64; 12] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0];

/// What became of a request to a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Status(u16),
    /// None was there in time, or it broke off.
    NoAnswer,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Status(429 | 503) => "throttled",
            Self::Status(401 | 403) => "unauthorised",
            Self::Status(..400) => "answered",
            Self::Status(..500) => "refused",
            Self::Status(_) => "failed",
            Self::NoAnswer => "no_answer",
        }
    }
}

#[derive(Debug)]
struct Metrics {
    registry: Registry,
    calls: Family<Labels<2>, Histogram>,
    tokens: Family<Labels<1>, Counter>,
    items: Family<Labels<4>, Counter>,
    takeovers: Counter,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let mut registry = Registry::with_prefix(PREFIX);
    let calls = Family::new_with_constructor((|| Histogram::new(CALL_SECONDS)) as fn() -> Histogram);
    registry.register(
        "external_request_duration_seconds",
        "Requests to systems, and how long they took",
        calls.clone(),
    );
    let tokens = Family::default();
    registry.register(
        "tokens",
        "Questions for a token: how many were let through at once or after a wait, and how many were put off",
        tokens.clone(),
    );
    let items = Family::default();
    registry.register("items", "Items that settled batches came to", items.clone());
    let takeovers = Counter::default();
    registry.register(
        "batch_takeovers",
        "Batches that were taken from an owner whose lease had run out",
        takeovers.clone(),
    );
    Metrics {
        registry,
        calls,
        tokens,
        items,
        takeovers,
    }
});

/// Returns what this process counts.
pub fn registry() -> &'static Registry {
    &METRICS.registry
}

pub(crate) fn called(system: &'static str, outcome: Outcome, took: Duration) {
    // By its proper name here, and by that of the tables everywhere else.
    let system = System::ALL
        .into_iter()
        .map(System::name)
        .find(|name| name.eq_ignore_ascii_case(system))
        .unwrap_or("other");
    let labels = [("system", system), ("outcome", outcome.name())];
    METRICS.calls.get_or_create(&labels).observe(took.as_secs_f64());
}

pub(crate) fn asked_for_token(verdict: &Verdict) {
    let outcome = match verdict {
        Verdict::Go => "taken",
        Verdict::Wait { .. } => "reserved",
        Verdict::Later { .. } => "put_off",
        Verdict::Paused { .. } => "paused",
        Verdict::Open { .. } => "circuit_open",
    };
    METRICS.tokens.get_or_create(&[("outcome", outcome)]).inc();
}

pub(crate) fn taken_over() {
    METRICS.takeovers.inc();
}

/// Counts what a batch came to, once it is settled.
pub(crate) fn settled(system: System, entity: EntityType, direction: &'static str, counts: &Counts) {
    for (outcome, count) in [
        ("created", counts.created),
        ("updated", counts.updated),
        ("unchanged", counts.unchanged),
        ("skipped", counts.skipped),
        ("failed", counts.failed),
        ("conflict", counts.conflicts),
        ("in_doubt", counts.in_doubt),
    ] {
        let Some(count) = u64::try_from(count).ok().filter(|count| *count > 0) else {
            continue;
        };
        let labels = [
            ("system", system.name()),
            ("entity_type", entity.name()),
            ("direction", direction),
            ("outcome", outcome),
        ];
        METRICS.items.get_or_create(&labels).inc_by(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_few_and_tell_who_has_to_look() {
        for (status, name) in [
            (200, "answered"),
            (304, "answered"),
            (400, "refused"),
            (401, "unauthorised"),
            (403, "unauthorised"),
            (404, "refused"),
            (429, "throttled"),
            (500, "failed"),
            (503, "throttled"),
        ] {
            assert_eq!(Outcome::Status(status).name(), name, "{status}");
        }
        assert_eq!(Outcome::NoAnswer.name(), "no_answer");
    }
}
