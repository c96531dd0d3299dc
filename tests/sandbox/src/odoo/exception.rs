//! Errors by the name of their Python class (facts: systems B2).

use serde_json::{Value, json};

/// An exception of a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exception {
    pub(super) name: &'static str,
    pub(super) message: String,
    /// The status of JSON-2; JSON-RPC always answers 200.
    pub(super) status: u16,
}

impl Exception {
    fn new(name: &'static str, status: u16, message: impl Into<String>) -> Self {
        Self {
            name,
            status,
            message: message.into(),
        }
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new("odoo.exceptions.ValidationError", 422, message)
    }

    pub(super) fn user(message: impl Into<String>) -> Self {
        Self::new("odoo.exceptions.UserError", 422, message)
    }

    pub(super) fn access(message: impl Into<String>) -> Self {
        Self::new("odoo.exceptions.AccessError", 403, message)
    }

    pub(super) fn denied() -> Self {
        Self::new("odoo.exceptions.AccessDenied", 401, "Access Denied")
    }

    pub(super) fn missing(model: &str, id: i64, user: i64) -> Self {
        let message =
            format!("Record does not exist or has been deleted.\n(Record: {model}({id},), User: {user})");
        Self::new("odoo.exceptions.MissingError", 404, message)
    }

    pub(super) fn value(message: impl Into<String>) -> Self {
        Self::new("builtins.ValueError", 500, message)
    }

    pub(super) fn wrong_type(message: impl Into<String>) -> Self {
        Self::new("builtins.TypeError", 500, message)
    }

    pub(super) fn attribute(message: impl Into<String>) -> Self {
        Self::new("builtins.AttributeError", 500, message)
    }

    pub(super) fn conflict() -> Self {
        Self::new("psycopg2.errors.SerializationFailure", 500, CONFLICT)
    }

    pub(super) fn web(name: &'static str, status: u16, message: impl Into<String>) -> Self {
        Self::new(name, status, message)
    }

    /// Returns the bare object of JSON-2, which is the `data` of JSON-RPC.
    pub(super) fn body(&self) -> Value {
        let arguments = if self.name.starts_with("werkzeug") {
            json!([self.message, self.status])
        } else {
            json!([self.message])
        };
        json!({
            "name": self.name, "message": self.message, "arguments": arguments, "context": {},
            "debug": format!("Traceback (most recent call last):\n  …\n{}: {}\n", self.name, self.message),
        })
    }
}

/// What PostgreSQL says when two transactions collide.
pub(super) const CONFLICT: &str = "could not serialize access due to concurrent update\n";
