//! Metrics of what stands in the database, of all organisations together: read at each scrape by one query. They say nothing
//! of anybody in particular. What a process does is counted in the process.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::Value;
use sqlx::PgPool;

/// What every metric's name begins with.
pub const PREFIX: &str = "lockstep";

/// The metrics that the database tells, with what they mean.
const GAUGES: [(&str, &str); 9] = [
    ("circuits", "Connections by the state of their circuit"),
    (
        "connections_needing_attention",
        "Connections whose credentials are refused",
    ),
    ("queue_depth", "What is due and nobody has taken up"),
    (
        "queue_oldest_seconds",
        "How long the oldest of it has been due; 0 where there is none",
    ),
    (
        "batches",
        "Batches that run, that wait for a token off their slots, and that nobody has in hand",
    ),
    ("syncs", "Syncs that are not over, by where they stand"),
    ("syncs_ended_last_hour", "Syncs that ended within the last hour"),
    ("conflicts_open", "Conflicts that are not resolved"),
    (
        "effects_unresolved",
        "External writes without an outcome: under way, or in doubt",
    ),
];

type Labels = Vec<(String, String)>;

/// One number, as the database tells it.
#[derive(Clone, Debug)]
pub struct Sample {
    pub name: String,
    /// An object of texts.
    pub labels: Value,
    pub value: f64,
}

/// Reads what the database tells.
pub async fn samples(pool: &PgPool) -> Result<Vec<Sample>, sqlx::Error> {
    sqlx::query_as!(
        Sample,
        r#"select name as "name!", labels as "labels!", value as "value!" from fleet_metrics()"#
    )
    .fetch_all(pool)
    .await
}

/// Puts samples into a registry of their own; `None` says that the database could not be asked.
pub fn registry(samples: Option<&[Sample]>) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    let is_up = Gauge::<i64>::default();
    is_up.set(samples.is_some().into());
    registry.register("database_up", "Whether the database answered this scrape", is_up);
    let mut families: BTreeMap<&str, Family<Labels, Gauge<f64, AtomicU64>>> = BTreeMap::new();
    for sample in samples.into_iter().flatten() {
        let family = families.entry(&sample.name).or_default();
        family.get_or_create(&labels(&sample.labels)).set(sample.value);
    }
    for (name, help) in GAUGES {
        if let Some(family) = families.remove(name) {
            registry.register(name, help, family);
        }
    }
    registry
}

fn labels(json: &Value) -> Labels {
    let labels = json.as_object().into_iter().flatten();
    labels
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use serde_json::json;

    use super::*;

    fn shown(samples: Option<&[Sample]>) -> String {
        let mut shown = String::new();
        text::encode(&mut shown, &registry(samples)).expect("a text takes everything");
        shown
    }

    #[test]
    fn samples_are_shown_by_their_labels() {
        let sample = |state: &str, value| Sample {
            name: "circuits".to_owned(),
            labels: json!({ "system": "odoo", "state": state }),
            value,
        };

        let shown = shown(Some(&[sample("open", 1.0), sample("closed", 4.0)]));

        assert!(shown.contains("# TYPE lockstep_circuits gauge\n"), "{shown}");
        assert!(
            shown.contains("lockstep_circuits{state=\"open\",system=\"odoo\"} 1.0\n"),
            "{shown}"
        );
        assert!(shown.contains("lockstep_database_up 1\n"), "{shown}");
    }

    #[test]
    fn a_database_that_does_not_answer_is_told() {
        let shown = shown(None);

        assert!(shown.contains("lockstep_database_up 0\n"), "{shown}");
        assert!(!shown.contains("circuits"), "{shown}");
    }
}
