//! Checks of connections, as the API shows them.

use chrono::{DateTime, Utc};
use lockstep_shared::check;
use lockstep_shared::system::Direction;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};

use crate::syncs::EntityType;

/// How much a finding matters. `blocks`: a sync would fail or be wrong, so the stages that it is about don't begin. `warns`:
/// a sync works, and somebody should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", remote = "check::Severity")]
pub(crate) enum Severity {
    Blocks,
    Warns,
}

/// How far the check that was asked for last has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", remote = "check::Status")]
pub(crate) enum CheckStatus {
    Queued,
    Running,
    Done,
}

/// One thing that a check found.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct CheckFinding {
    /// How much it matters.
    severity: Severity,
    /// What kind of thing it is, such as `key_read_only`. Stays the same whatever the words say; there may come more.
    code: String,
    /// What it is about: a setting, a module, a right.
    subject: String,
    /// What is wrong.
    problem: String,
    /// What to do next.
    advice: String,
    /// The types of records that it is about.
    entity_types: Vec<EntityType>,
    /// Whether it is only about what is written to the system, and not about what is read from it.
    only_writing: bool,
}

/// What the latest look at a connection found, before anything depends on it. A check changes nothing in the system.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none, example)]
pub(crate) struct ConnectionCheck {
    /// How far the check that was asked for last has come. The rest is of the last one that came to an end.
    status: CheckStatus,
    /// When a check was asked for last; left out where none ever was, and the first sync made one.
    requested_at: Option<DateTime<Utc>>,
    /// When the last one came to an end.
    checked_at: Option<DateTime<Utc>>,
    /// The system's own version; `unknown` where it doesn't tell.
    version: Option<String>,
    /// What was found, what blocks first.
    findings: Vec<CheckFinding>,
    /// Why the system could not be looked at, in its own words.
    error: Option<String>,
}

impl From<check::Finding> for CheckFinding {
    fn from(finding: check::Finding) -> Self {
        Self {
            severity: finding.severity.into(),
            code: finding.code,
            subject: finding.subject,
            problem: finding.problem,
            advice: finding.advice,
            entity_types: finding.concerns.into_iter().map(EntityType::from).collect(),
            only_writing: finding.direction == Some(Direction::Push),
        }
    }
}

impl From<check::Check> for ConnectionCheck {
    fn from(check: check::Check) -> Self {
        let (version, findings) = match check.checked {
            Some(checked) => (Some(checked.version), checked.findings),
            None => (None, Vec::new()),
        };
        Self {
            status: check.status.into(),
            requested_at: check.requested_at,
            checked_at: check.checked_at,
            version,
            findings: findings.into_iter().map(CheckFinding::from).collect(),
            error: check.error,
        }
    }
}

impl Example for ConnectionCheck {
    fn example() -> Self {
        let at = DateTime::UNIX_EPOCH + chrono::Duration::days(20_500);
        let finding = check::Finding::new(
            check::Severity::Blocks,
            "key_read_only",
            "the REST API key",
            "it may only read",
            "make a key with the permission Read/Write and give that to the connection",
        );
        Self {
            status: CheckStatus::Done,
            requested_at: Some(at),
            checked_at: Some(at + chrono::Duration::seconds(4)),
            version: Some("11.0.1".to_owned()),
            findings: vec![finding.of_writing().into()],
            error: None,
        }
    }
}
