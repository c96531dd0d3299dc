//! What Odoo's errors mean. It tells them apart by the exception's name: the status and the code say too little
//! (facts/systems.md B2).

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::super::http::cut;
use super::super::{CallError, Reach};
use super::SYSTEM;

/// An exception of Odoo's, by its Python name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Fault {
    pub(super) name: String,
    #[serde(default)]
    pub(super) message: String,
}

/// Code of the refusal of a change of what is not there.
pub(super) const RECORD_GONE: &str = "record_missing";

/// Why a call gave no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// Odoo carried the call out, raised this and rolled back.
    Fault(Fault),
    /// Anything else, told as everyone else knows it.
    Call(CallError),
}

/// What kind of thing a fault tells about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The user may not do this, or is nobody.
    Access,
    /// Two transactions met; nothing was done.
    Conflict,
    /// Odoo has lost its database, or never had it.
    Database,
    /// Odoo refuses what the record says.
    Record,
    /// The call itself is wrong.
    Call,
}

impl Fault {
    /// Writing to an id that is not there (facts/systems.md B2).
    pub(super) fn is_gone(&self) -> bool {
        self.name.ends_with(".MissingError")
    }

    /// Reads the exception out of an error body: the whole body of JSON-2, `error.data` of JSON-RPC
    /// (facts/systems.md B2).
    pub(super) fn read(body: &Value) -> Option<Self> {
        Self::deserialize(body).ok()
    }

    /// Sorts the exception by its name.
    ///
    /// Source: the table of facts/systems.md B2, and B5 for the conflicts that Odoo gives up on after its own retries.
    pub(super) fn kind(&self) -> Kind {
        let class = self.name.rsplit('.').next().unwrap_or_default();
        match class {
            "AccessDenied" | "AccessError" | "Unauthorized" | "Forbidden" => Kind::Access,
            "SerializationFailure" | "DeadlockDetected" | "LockNotAvailable" | "ConcurrencyError" => {
                Kind::Conflict
            }
            "OperationalError" | "InterfaceError" => Kind::Database,
            "ValidationError" | "UserError" | "MissingError" | "RedirectWarning" => Kind::Record,
            _ => Kind::Call,
        }
    }

    fn into_call_error(self) -> CallError {
        let detail = cut(&self.message);
        match self.kind() {
            Kind::Access => CallError::Unauthorised {
                system: SYSTEM,
                detail,
            },
            Kind::Conflict => unwell(detail, Reach::NoEffect),
            Kind::Database if self.message.contains("does not exist") => refused(detail),
            // It never came to a transaction; any other loss may have been that of the commit's answer.
            Kind::Database if self.message.contains("connection to server") => {
                unwell(detail, Reach::NoEffect)
            }
            Kind::Database => unwell(detail, Reach::InDoubt),
            Kind::Record | Kind::Call => refused(format!("{}: {detail}", cut(&self.name))),
        }
    }
}

impl Failure {
    pub(super) fn refused(detail: impl Into<String>) -> Self {
        Self::Call(refused(detail))
    }

    /// An answer that is JSON but not of the shape that was asked for.
    pub(super) fn unreadable(error: &serde_json::Error) -> Self {
        Self::refused(format!(
            "its answer has another shape than it should: {}",
            cut(&error.to_string())
        ))
    }

    /// An answer that has not Odoo's shape at all.
    pub(super) fn foreign(status: StatusCode, database: &str) -> Self {
        Self::Call(match status {
            // JSON-2 answers a database it has not with a page (facts/systems.md B1).
            StatusCode::NOT_FOUND => refused(format!(
                "database `{database}` is not there, or no Odoo answers at this address"
            )),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => CallError::Unauthorised {
                system: SYSTEM,
                detail: format!("status {status}"),
            },
            status if status.is_redirection() => refused(format!(
                "it answers with a redirect (status {status}): is this its address?"
            )),
            status if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT => {
                refused(format!("status {status}"))
            }
            status => unwell(
                format!("status {status} without Odoo's own words"),
                Reach::InDoubt,
            ),
        })
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Fault(fault) => fault.into_call_error(),
            Failure::Call(error) => error,
        }
    }
}

/// Turns a failure of a call that only reads into one without an effect.
pub(super) fn of_read(failure: Failure) -> Failure {
    match failure {
        Failure::Call(CallError::Unwell {
            system,
            detail,
            reach: Reach::InDoubt,
        }) => Failure::Call(CallError::Unwell {
            system,
            detail,
            reach: Reach::NoEffect,
        }),
        Failure::Fault(fault) if fault.kind() == Kind::Database => {
            of_read(Failure::Call(fault.into_call_error()))
        }
        other => other,
    }
}

pub(super) fn refused(detail: impl Into<String>) -> CallError {
    CallError::Refused {
        system: SYSTEM,
        detail: detail.into(),
    }
}

pub(super) fn unwell(detail: impl Into<String>, reach: Reach) -> CallError {
    CallError::Unwell {
        system: SYSTEM,
        detail: detail.into(),
        reach,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call_error(name: &str, message: &str) -> CallError {
        Failure::Fault(Fault {
            name: name.to_owned(),
            message: message.to_owned(),
        })
        .into()
    }

    #[test]
    fn access_faults_stop_the_batch() {
        for (name, message) in [
            ("odoo.exceptions.AccessDenied", "Access Denied"),
            ("werkzeug.exceptions.Unauthorized", "Invalid apikey"),
            (
                "odoo.exceptions.AccessError",
                "You are not allowed to access 'Payments' (account.payment) records.",
            ),
        ] {
            let error = call_error(name, message);

            assert!(matches!(error, CallError::Unauthorised { .. }), "{name}: {error}");
        }
    }

    #[test]
    fn a_conflict_did_nothing() {
        let error = call_error(
            "psycopg2.errors.SerializationFailure",
            "could not serialize access due to concurrent update\n",
        );

        assert!(matches!(
            error,
            CallError::Unwell {
                reach: Reach::NoEffect,
                ..
            }
        ));
    }

    #[test]
    fn wrong_records_and_wrong_calls_are_refused() {
        for name in [
            "odoo.exceptions.ValidationError",
            "odoo.exceptions.UserError",
            "odoo.exceptions.MissingError",
            "builtins.ValueError",
            "builtins.TypeError",
            "builtins.AttributeError",
            "werkzeug.exceptions.NotFound",
        ] {
            assert!(
                matches!(call_error(name, "no"), CallError::Refused { .. }),
                "{name}"
            );
        }
    }

    #[test]
    fn a_database_that_is_not_there_is_told_so() {
        let error = call_error(
            "psycopg2.OperationalError",
            "connection to server at \"127.0.0.1\", port 5544 failed: FATAL:  database \"nodb\" does not exist\n",
        );

        assert!(matches!(error, CallError::Refused { .. }), "{error}");
        let page: CallError = Failure::foreign(StatusCode::NOT_FOUND, "nodb").into();
        assert!(
            page.to_string().contains("database `nodb` is not there"),
            "{page}"
        );
    }

    #[test]
    fn a_lost_database_leaves_a_write_in_doubt_and_a_read_without_effect() {
        let lost = || {
            Failure::Fault(Fault {
                name: "psycopg2.OperationalError".to_owned(),
                message: "server closed the connection unexpectedly".to_owned(),
            })
        };

        let write: CallError = lost().into();
        let read: CallError = of_read(lost()).into();

        assert!(matches!(
            write,
            CallError::Unwell {
                reach: Reach::InDoubt,
                ..
            }
        ));
        assert!(matches!(
            read,
            CallError::Unwell {
                reach: Reach::NoEffect,
                ..
            }
        ));
    }

    #[test]
    fn an_answer_without_odoos_words_goes_by_its_status() {
        let of = |status| CallError::from(Failure::foreign(status, "db"));

        assert!(matches!(
            of(StatusCode::BAD_GATEWAY),
            CallError::Unwell {
                reach: Reach::InDoubt,
                ..
            }
        ));
        assert!(matches!(of(StatusCode::SEE_OTHER), CallError::Refused { .. }));
        assert!(matches!(
            of(StatusCode::PAYLOAD_TOO_LARGE),
            CallError::Refused { .. }
        ));
        assert!(matches!(
            of(StatusCode::FORBIDDEN),
            CallError::Unauthorised { .. }
        ));
    }
}
