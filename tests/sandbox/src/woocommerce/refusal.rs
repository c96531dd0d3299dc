//! Errors in the shapes of the REST API (facts: systems A2).

use serde_json::{Map, Value, json};

use crate::server::Reply;

/// An error of one call or of one batch item.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &str, message: &str) -> Self {
        Self {
            status,
            body: json!({"code": code, "message": message, "data": {"status": status}}),
        }
    }

    /// Adds a field beside `data.status`.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body["data"][name] = value.into();
        self
    }

    pub(super) fn no_route() -> Self {
        Self::new(
            404,
            "rest_no_route",
            "No route was found matching the URL and request method.",
        )
    }

    /// Names the missing parameters; `params` is a list here.
    pub(super) fn missing(names: &[&str]) -> Self {
        let message = format!("Missing parameter(s): {}", names.join(", "));
        Self::new(400, "rest_missing_callback_param", &message).with("params", json!(names))
    }

    /// Names the bad parameters; `params` is a map here.
    pub(super) fn invalid(problems: &[Problem]) -> Self {
        let names: Vec<&str> = problems
            .iter()
            .map(|problem| problem.parameter.as_str())
            .collect();
        let mut params = Map::new();
        let mut details = Map::new();
        for problem in problems {
            params.insert(problem.parameter.clone(), problem.message.clone().into());
            let detail = json!({"code": problem.code, "message": problem.message, "data": problem.data});
            details.insert(problem.parameter.clone(), detail);
        }
        let message = format!("Invalid parameter(s): {}", names.join(", "));
        Self::new(400, "rest_invalid_param", &message)
            .with("params", params)
            .with("details", details)
    }

    /// What PHP answers after a fatal error or a kill; permanent and transient look alike (facts: mapping 7).
    pub(super) fn critical() -> Self {
        let message = "<p>There has been a critical error on this website.</p><p><a href=\"https://wordpress.org/\
                       documentation/article/faq-troubleshooting/\">Learn more about troubleshooting WordPress.</a></p>";
        Self::new(500, "internal_server_error", message)
    }

    pub(super) fn reply(&self) -> Reply {
        Reply::json(self.status, &self.body)
    }
}

/// One bad parameter.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) parameter: String,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) data: Value,
}

impl Problem {
    pub(super) fn wrong_type(parameter: &str, path: &str, kind: &str) -> Self {
        let message = format!("{path} is not of type {kind}.");
        let data = json!({"param": path});
        Self {
            parameter: parameter.to_owned(),
            code: "rest_invalid_type",
            message,
            data,
        }
    }

    pub(super) fn out_of_bounds(parameter: &str, message: String) -> Self {
        Self {
            parameter: parameter.to_owned(),
            code: "rest_out_of_bounds",
            message,
            data: Value::Null,
        }
    }

    pub(super) fn not_listed(parameter: &str, allowed: &[&str]) -> Self {
        let message = format!("{parameter} is not one of {}.", listed(allowed));
        Self {
            parameter: parameter.to_owned(),
            code: "rest_not_in_enum",
            message,
            data: Value::Null,
        }
    }

    pub(super) fn bad_date(parameter: &str) -> Self {
        let message = "Invalid date.".to_owned();
        Self {
            parameter: parameter.to_owned(),
            code: "rest_invalid_date",
            message,
            data: Value::Null,
        }
    }

    pub(super) fn bad_email(parameter: &str) -> Self {
        let message = "Invalid email address.".to_owned();
        Self {
            parameter: parameter.to_owned(),
            code: "rest_invalid_email",
            message,
            data: Value::Null,
        }
    }
}

fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first, last] => format!("{first} and {last}"),
        [head @ .., last] => format!("{}, and {last}", head.join(", ")),
    }
}
