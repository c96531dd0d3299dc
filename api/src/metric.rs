//! What the API counts of what it answers, by operations and kinds of answers: a label is never anybody's name or identifier.

use std::sync::LazyLock;
use std::time::Duration;

use lockstep_shared::metric::PREFIX;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The operation of what is asked for at no address of the document's.
pub(crate) const NO_OPERATION: &str = "none";

/// Upper bounds of the time to an answer, in seconds.
const ANSWER_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

type Labels = [(&'static str, &'static str); 2];

#[derive(Debug)]
struct Metrics {
    registry: Registry,
    answers: Family<Labels, Histogram>,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let mut registry = Registry::with_prefix(PREFIX);
    let answers = Family::new_with_constructor((|| Histogram::new(ANSWER_SECONDS)) as fn() -> Histogram);
    registry.register(
        "http_request_duration_seconds",
        "Requests to the API, and how long they took; of a stream, until it began",
        answers.clone(),
    );
    Metrics { registry, answers }
});

/// Returns what this process counts.
pub fn registry() -> &'static Registry {
    &METRICS.registry
}

pub(crate) fn answered(operation: &'static str, status: u16, took: Duration) {
    let labels = [("operation", operation), ("status", class(status))];
    METRICS.answers.get_or_create(&labels).observe(took.as_secs_f64());
}

/// Those that say who has to look stand for themselves.
const fn class(status: u16) -> &'static str {
    match status {
        401 => "401",
        403 => "403",
        409 => "409",
        429 => "429",
        _ if status < 300 => "2xx",
        _ if status < 400 => "3xx",
        _ if status < 500 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_few() {
        let classes: std::collections::BTreeSet<&str> = (100..600).map(class).collect();

        assert_eq!(
            classes.into_iter().collect::<Vec<_>>(),
            ["2xx", "3xx", "401", "403", "409", "429", "4xx", "5xx"]
        );
    }
}
