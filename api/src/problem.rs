//! Problems: every answer that is not what was asked for, as RFC 9457 describes them. What is shown is for the caller;
//! what went wrong inside is logged here, once, and not shown.

use lockstep_shared::db;
use lockstep_shared::entity::FieldError;
use lockstep_shared::telemetry::Chain;
use poem::error::{MethodNotAllowedError, NotFoundError, ReadBodyError};
use poem::http::header;
use poem::{IntoResponse, Response};
use poem_openapi::error::{AuthorizationError, ContentTypeError, ParseParamError, ParsePathError};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object};
use uuid::Uuid;

use crate::control::SyncCommand;
use crate::path::Asked;
use crate::syncs::SyncStatus;

const MEDIA_TYPE: &str = "application/problem+json";

/// Explains every kind of problem, for people.
pub(crate) const PAGE: &str = include_str!("../PROBLEMS.md");

/// What is wrong with one field, parameter or header.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
pub(crate) struct WrongField {
    /// Path of the field in the request's body, such as `variants/0/price`, or the name of a parameter. Empty for the
    /// body as a whole.
    pub(crate) field: String,
    /// What would be right, in words that follow the field's name, such as `must not be empty`.
    pub(crate) message: String,
    /// Which answer it makes of the request; not shown.
    #[oai(skip)]
    pub(crate) fault: Fault,
}

/// What a wrong field makes of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    Invalid,
    /// A number of a configuration is out of its range: a 400, whatever else is wrong.
    OutOfRange,
}

impl WrongField {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
            fault: Fault::Invalid,
        }
    }

    /// A number of a configuration that is out of its range, which the message names.
    pub(crate) fn out_of_range(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            fault: Fault::OutOfRange,
            ..Self::new(field, message)
        }
    }
}

impl From<FieldError> for WrongField {
    fn from(error: FieldError) -> Self {
        Self::new(camel_case(&error.field), error.message)
    }
}

/// Turns a path of canonical names into the names that the API uses: `variants/0/weight_kg` → `variants/0/weightKg`.
pub(crate) fn camel_case(path: &str) -> String {
    let mut letters = path.chars();
    let mut text = String::with_capacity(path.len());
    while let Some(letter) = letters.next() {
        match letter {
            '_' => text.extend(letters.next().map(|next| next.to_ascii_uppercase())),
            letter => text.push(letter),
        }
    }
    text
}

/// Why a request was not answered as asked, after RFC 9457.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct Problem {
    /// URI that names the kind of problem. It never changes: programs tell problems apart by it.
    #[oai(rename = "type")]
    pub(crate) kind: String,
    /// The kind of problem in a few words.
    pub(crate) title: String,
    /// Status code of the response.
    pub(crate) status: i32,
    /// What happened this time, for people.
    pub(crate) detail: String,
    /// Every field that is wrong, where it is about fields.
    pub(crate) errors: Option<Vec<WrongField>>,
    /// Identifiers of the syncs that are active already, where there are too many of them.
    pub(crate) running_syncs: Option<Vec<Uuid>>,
    /// Where the sync stands, or will stand once what was asked of it before is applied, where that does not allow what was
    /// asked.
    pub(crate) sync_status: Option<SyncStatus>,
    /// What can be asked of the sync instead.
    pub(crate) possible_commands: Option<Vec<SyncCommand>>,
}

/// Makes the kinds, and the list of them that the page is compared to.
macro_rules! kinds {
    ($($kind:ident),+ $(,)?) => {
        /// The kinds of problems. `PROBLEMS.md` explains each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($kind),+
        }

        impl Kind {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$kind),+];
        }
    };
}

kinds! {
    Malformed,
    OutOfRange,
    Unauthenticated,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    TooSlow,
    NameTaken,
    OtherEntityType,
    TooManyActiveSyncs,
    TooManyEndpoints,
    NotPossibleNow,
    ConflictAnswered,
    ConflictNotAnswerable,
    PreconditionFailed,
    TooManySchedules,
    Changed,
    NoWebhooks,
    NoPublicUrl,
    WrongSignature,
    RequestUnderWay,
    KeyReused,
    ConnectionInUse,
    EffectsInDoubt,
    SyncNotOver,
    NothingToRetry,
    TooLarge,
    UnsupportedMediaType,
    Invalid,
    NoConnection,
    TooManyRequests,
    Internal,
    Unavailable,
}

impl Kind {
    /// Returns the last part of its type URI, its title, and its status.
    const fn words(self) -> (&'static str, &'static str, u16) {
        match self {
            Self::Malformed => ("malformed-request", "The request can't be read", 400),
            Self::OutOfRange => (
                "out-of-range",
                "A value of the configuration is out of its range",
                400,
            ),
            Self::Unauthenticated => ("unauthenticated", "A valid bearer token is needed", 401),
            Self::Forbidden => ("forbidden", "The caller's role does not allow it", 403),
            Self::NotFound => ("not-found", "There is nothing here", 404),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                "The method is not possible at this address",
                405,
            ),
            Self::NotAcceptable => (
                "not-acceptable",
                "The answer can't be given in the form asked for",
                406,
            ),
            Self::TooSlow => ("request-timeout", "The request took too long to arrive", 408),
            Self::NameTaken => ("name-taken", "The name is taken", 409),
            Self::OtherEntityType => ("other-entity-type", "The record is of another entity type", 409),
            Self::TooManyActiveSyncs => (
                "too-many-active-syncs",
                "The organisation has as many active syncs as it may",
                409,
            ),
            Self::TooManyEndpoints => (
                "too-many-endpoints",
                "The organisation has as many notification endpoints as it may",
                409,
            ),
            Self::NotPossibleNow => (
                "not-possible-now",
                "The sync does not stand where that is possible",
                409,
            ),
            Self::ConflictAnswered => ("conflict-answered", "The conflict was answered already", 409),
            Self::ConflictNotAnswerable => (
                "conflict-not-answerable",
                "The conflict can't be answered like this",
                409,
            ),
            Self::PreconditionFailed => (
                "precondition-failed",
                "What was seen is not what is there by now",
                412,
            ),
            Self::TooManySchedules => (
                "too-many-schedules",
                "The organisation has as many schedules as it may",
                409,
            ),
            Self::Changed => ("changed", "It was changed since it was read", 409),
            Self::NoWebhooks => ("no-webhooks", "The system has no webhooks", 409),
            Self::NoPublicUrl => ("no-public-url", "The installation has no public address", 409),
            Self::WrongSignature => ("wrong-signature", "The delivery's signature is wrong", 401),
            Self::RequestUnderWay => (
                "request-under-way",
                "The same request is still being carried out",
                409,
            ),
            Self::KeyReused => (
                "idempotency-key-reused",
                "The idempotency key belongs to another request",
                422,
            ),
            Self::ConnectionInUse => ("connection-in-use", "Syncs are working with the connection", 409),
            Self::EffectsInDoubt => (
                "effects-in-doubt",
                "Requests to the system had no answer yet",
                409,
            ),
            Self::SyncNotOver => ("sync-not-over", "The sync is not over yet", 409),
            Self::NothingToRetry => ("nothing-to-retry", "Nothing of the sync is failed", 409),
            Self::TooLarge => ("body-too-large", "The request's body is too large", 413),
            Self::UnsupportedMediaType => (
                "unsupported-media-type",
                "The request's body is not in a form that is taken here",
                415,
            ),
            Self::Invalid => ("invalid", "Something in the request's body is wrong", 422),
            Self::NoConnection => ("no-connection", "There is no connection that could be used", 422),
            Self::TooManyRequests => ("too-many-requests", "The organisation asked too often", 429),
            Self::Internal => ("internal", "Something went wrong on our side", 500),
            Self::Unavailable => ("unavailable", "The service is not available for the moment", 503),
        }
    }
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (slug, title, status) = kind.words();
        Self {
            kind: format!("https://lockstep.dev/problems/{slug}"),
            title: title.to_owned(),
            status: status.into(),
            detail: detail.into(),
            errors: None,
            running_syncs: None,
            sync_status: None,
            possible_commands: None,
        }
    }
}

/// A problem as a payload; boxed, because every function that may refuse something returns room for one.
pub(crate) fn boxed(problem: Problem) -> Json<Box<Problem>> {
    Json(Box::new(problem))
}

/// The answers to requests that were not carried out, each with its problem document.
#[derive(Debug, ApiResponse)]
pub(crate) enum Refused {
    /// The request can't be read: its JSON is broken, or a parameter is not what it should be. Or a number of `syncConfig` is
    /// out of its range; `errors` names each of them, with its range.
    #[oai(status = 400, content_type = "application/problem+json")]
    Malformed(Json<Box<Problem>>),
    /// There is no bearer token or API key, or it is not valid, or its organisation is not known.
    #[oai(status = 401, content_type = "application/problem+json")]
    Unauthenticated(
        Json<Box<Problem>>,
        /// The scheme that is asked for.
        #[oai(header = "WWW-Authenticate")]
        String,
    ),
    /// The role of the caller does not allow it.
    #[oai(status = 403, content_type = "application/problem+json")]
    Forbidden(Json<Box<Problem>>),
    /// There is no such thing in the organisation of the token.
    #[oai(status = 404, content_type = "application/problem+json")]
    NotFound(Json<Box<Problem>>),
    /// The answer can be given as `application/json` only.
    #[oai(status = 406, content_type = "application/problem+json")]
    NotAcceptable(Json<Box<Problem>>),
    /// The request's body took too long to arrive.
    #[oai(status = 408, content_type = "application/problem+json")]
    TooSlow(Json<Box<Problem>>),
    /// It contradicts what is there already; the problem's `type` says how.
    #[oai(status = 409, content_type = "application/problem+json")]
    Conflict(Json<Box<Problem>>),
    /// What `If-Match` asks for is not so any more.
    #[oai(status = 412, content_type = "application/problem+json")]
    PreconditionFailed(Json<Box<Problem>>),
    /// The request's body is larger than it may be: 1 MiB, 8 MiB for many records at once.
    #[oai(status = 413, content_type = "application/problem+json")]
    TooLarge(Json<Box<Problem>>),
    /// The request's body must be `application/json`.
    #[oai(status = 415, content_type = "application/problem+json")]
    UnsupportedMediaType(Json<Box<Problem>>),
    /// The request's body is JSON, but not what is asked for; `errors` names every field that is wrong.
    #[oai(status = 422, content_type = "application/problem+json")]
    Invalid(Json<Box<Problem>>),
    /// The organisation asked more often than its quota allows, over all its callers.
    #[oai(status = 429, content_type = "application/problem+json")]
    TooManyRequests(
        Json<Box<Problem>>,
        /// Seconds after which the next request is allowed.
        #[oai(header = "Retry-After")]
        i32,
    ),
    /// Something went wrong inside. It was logged; the header `X-Request-Id` helps to find it.
    #[oai(status = 500, content_type = "application/problem+json")]
    Internal(Json<Box<Problem>>),
    /// The database, or the issuer of the token, can't be reached for the moment.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<Box<Problem>>,
        /// Seconds after which to try again.
        #[oai(header = "Retry-After")]
        i32,
    ),
}

impl Refused {
    pub(crate) fn malformed(detail: impl Into<String>, errors: Vec<WrongField>) -> Self {
        Self::Malformed(boxed(Problem {
            errors: (!errors.is_empty()).then_some(errors),
            ..Problem::new(Kind::Malformed, detail)
        }))
    }

    pub(crate) fn unauthenticated(detail: impl Into<String>) -> Self {
        let problem = Problem::new(Kind::Unauthenticated, detail);
        Self::Unauthenticated(boxed(problem), "Bearer".to_owned())
    }

    pub(crate) fn forbidden(least: &str) -> Self {
        Self::Forbidden(boxed(Problem::new(
            Kind::Forbidden,
            format!("the role `{least}` is needed"),
        )))
    }

    pub(crate) fn too_many_requests(quota: &str, wait_secs: i32) -> Self {
        let detail = format!("the quota of {quota} is used up; the next request is allowed in {wait_secs} s");
        Self::TooManyRequests(boxed(Problem::new(Kind::TooManyRequests, detail)), wait_secs)
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::Unavailable(boxed(Problem::new(Kind::Unavailable, detail)), 5)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::NotFound(boxed(Problem::new(Kind::NotFound, detail)))
    }

    pub(crate) fn not_acceptable() -> Self {
        Self::NotAcceptable(boxed(Problem::new(
            Kind::NotAcceptable,
            "answers are given as `application/json` only; events of a sync as `text/event-stream`",
        )))
    }

    pub(crate) fn too_slow() -> Self {
        Self::TooSlow(boxed(Problem::new(
            Kind::TooSlow,
            "the body must have arrived within 30 seconds",
        )))
    }

    pub(crate) fn conflict(kind: Kind, detail: impl Into<String>) -> Self {
        Self::Conflict(boxed(Problem::new(kind, detail)))
    }

    pub(crate) fn precondition_failed(detail: impl Into<String>) -> Self {
        Self::PreconditionFailed(boxed(Problem::new(Kind::PreconditionFailed, detail)))
    }

    pub(crate) fn in_use(running: Vec<Uuid>, detail: impl Into<String>) -> Self {
        Self::Conflict(boxed(Problem {
            running_syncs: Some(running),
            ..Problem::new(Kind::ConnectionInUse, detail)
        }))
    }

    pub(crate) fn key_reused() -> Self {
        let message = "must be a new one: under this one something else was asked for within the last day";
        Self::Invalid(boxed(Problem {
            errors: Some(vec![WrongField::new("Idempotency-Key", message)]),
            ..Problem::new(Kind::KeyReused, format!("`Idempotency-Key` {message}"))
        }))
    }

    pub(crate) fn unsupported(detail: impl Into<String>) -> Self {
        Self::UnsupportedMediaType(boxed(Problem::new(Kind::UnsupportedMediaType, detail)))
    }

    /// It took us too long; what was asked for may be asked for again.
    pub(crate) fn overdue() -> Self {
        tracing::warn!("a request took too long and was given up");
        let problem = Problem::new(Kind::Unavailable, "the request took too long; try again later");
        Self::Unavailable(boxed(problem), 5)
    }

    pub(crate) fn too_many_lines(limit: usize) -> Self {
        Self::TooLarge(boxed(Problem::new(
            Kind::TooLarge,
            format!(
                "the body must have at most {limit} lines; so many were stored, the others were not read"
            ),
        )))
    }

    pub(crate) fn too_large(limit_bytes: usize) -> Self {
        Self::TooLarge(boxed(Problem::new(
            Kind::TooLarge,
            format!("the body must have at most {limit_bytes} bytes"),
        )))
    }

    /// Refuses a body by its fields.
    pub(crate) fn invalid(errors: Vec<WrongField>) -> Self {
        let detail = match errors.as_slice() {
            [one] if one.field.is_empty() => format!("the body {}", one.message),
            [one] => format!("`{}` {}", one.field, one.message),
            several => format!("{} fields are wrong", several.len()),
        };
        let is_out_of_range = errors.iter().any(|error| error.fault == Fault::OutOfRange);
        let problem = |kind| {
            boxed(Problem {
                errors: Some(errors),
                ..Problem::new(kind, detail)
            })
        };
        if is_out_of_range {
            Self::Malformed(problem(Kind::OutOfRange))
        } else {
            Self::Invalid(problem(Kind::Invalid))
        }
    }

    pub(crate) fn no_connection(detail: impl Into<String>) -> Self {
        Self::Invalid(boxed(Problem::new(Kind::NoConnection, detail)))
    }

    /// Logs an error of ours with its causes, and shows a fixed sentence.
    pub(crate) fn internal(what: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = %Chain(error), "{what}");
        Self::Internal(boxed(Problem::new(
            Kind::Internal,
            "the request could not be carried out; it was logged",
        )))
    }
}

/// Turns an error of the database into an answer: `map_err(failed("could not list the connections"))`.
pub(crate) fn failed(what: &'static str) -> impl FnOnce(sqlx::Error) -> Refused {
    move |error| {
        // A deadlock is over for whoever tries again, as a database out of reach may be.
        if !db::is_unreachable(&error) && !db::must_repeat(&error) {
            return Refused::internal(what, &error);
        }
        tracing::warn!(error = %Chain(&error), "{what} for the moment");
        let problem = Problem::new(
            Kind::Unavailable,
            "the database is busy or can't be reached; try again later",
        );
        Refused::Unavailable(boxed(problem), 5)
    }
}

/// Answers what the framework refused: it knows statuses and plain text only.
pub(crate) fn of_framework(error: poem::Error, asked: &Asked) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    if error.is::<MethodNotAllowedError>() {
        return method_not_allowed(asked);
    }
    let refused = if error.is::<NotFoundError>() {
        Refused::not_found("there is no such address")
    } else if error.is::<AuthorizationError>() {
        Refused::unauthenticated("send the header `Authorization: Bearer <token>`")
    } else if let Some(error) = error.downcast_ref::<ParseParamError>() {
        wrong_parameter(error.name, &error.reason)
    } else if let Some(error) = error.downcast_ref::<ParsePathError>() {
        wrong_parameter(asked.path_parameter(error.name), &error.reason)
    } else if error.is::<ContentTypeError>() {
        Refused::unsupported(
            "send the header `Content-Type: application/json`, or `application/x-ndjson` where lines are taken",
        )
    } else if error.is::<ReadBodyError>() {
        Refused::malformed("the body broke off", Vec::new())
    } else {
        Refused::internal("a request failed in the framework", &error)
    };
    refused.into_response()
}

fn wrong_parameter(name: &str, reason: &str) -> Refused {
    // The framework's reasons begin with the name of a type of ours.
    let reason = reason.strip_prefix("failed to parse ").map_or(reason, |rest| {
        rest.split_once(": ").map_or(rest, |(_, reason)| reason)
    });
    let reason = reason
        .split(" (occurred while parsing")
        .next()
        .unwrap_or_default()
        .trim_end_matches('.')
        .trim_start_matches("verification failed. ");
    Refused::malformed(
        format!("the parameter `{name}` is wrong"),
        vec![WrongField::new(name, format!("is not possible: {reason}"))],
    )
}

fn method_not_allowed(asked: &Asked) -> Response {
    wrong_method(&asked.allowed_methods().join(", "))
}

/// Refuses a caller that no bearer token would help.
pub(crate) fn without_bearer(kind: Kind, detail: &str) -> Response {
    let mut response = Json(Problem::new(kind, detail))
        .with_status(poem::http::StatusCode::UNAUTHORIZED)
        .with_header(header::WWW_AUTHENTICATE, "HMAC-SHA256")
        .into_response();
    let media_type = header::HeaderValue::from_static(MEDIA_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

/// Answers a method that is not possible at an address, where the document does not know it.
pub(crate) fn wrong_method(allow: &str) -> Response {
    let problem = Problem::new(
        Kind::MethodNotAllowed,
        format!("the methods possible here are {allow}"),
    );
    let mut response = Json(problem)
        .with_status(poem::http::StatusCode::METHOD_NOT_ALLOWED)
        .with_header(header::ALLOW, allow)
        .into_response();
    let media_type = header::HeaderValue::from_static(MEDIA_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_explains_every_type_and_no_other() {
        let explained: Vec<&str> = PAGE.lines().filter_map(|line| line.strip_prefix("## ")).collect();

        let expected: Vec<String> = Kind::ALL
            .iter()
            .map(|kind| {
                let (slug, _, status) = kind.words();
                format!("{slug} ({status})")
            })
            .collect();
        assert_eq!(explained, expected, "R45: PROBLEMS.md, in the order of the kinds");
        for kind in Kind::ALL {
            let (_, title, _) = kind.words();
            assert!(PAGE.contains(&format!("*{title}.*")), "R45: {title}");
        }
    }

    #[tokio::test]
    async fn a_problem_is_rendered_as_rfc_9457_says() {
        let errors = vec![FieldError::new("variants/0/weight_kg", "must not be negative").into()];

        let response = Refused::invalid(errors).into_response();

        assert_eq!(response.status().as_u16(), 422);
        assert_eq!(response.content_type(), Some(MEDIA_TYPE));
        let body: serde_json::Value = response.into_body().into_json().await.unwrap();
        insta::assert_json_snapshot!(body, @r#"
        {
          "detail": "`variants/0/weightKg` must not be negative",
          "errors": [
            {
              "field": "variants/0/weightKg",
              "message": "must not be negative"
            }
          ],
          "status": 422,
          "title": "Something in the request's body is wrong",
          "type": "https://lockstep.dev/problems/invalid"
        }
        "#);
    }

    #[tokio::test]
    async fn what_went_wrong_inside_is_not_shown() {
        let error = sqlx::Error::Protocol("password of lockstep_api".to_owned());

        let response = failed("could not list the syncs")(error).into_response();

        let text = response.into_body().into_string().await.unwrap();
        assert!(text.contains("https://lockstep.dev/problems/internal"), "{text}");
        assert!(!text.contains("password"), "R45, R73: {text}");
    }

    #[test]
    fn a_database_out_of_reach_is_a_503() {
        let response = failed("could not list the syncs")(sqlx::Error::PoolTimedOut).into_response();

        assert_eq!(response.status().as_u16(), 503);
        assert_eq!(response.header("retry-after"), Some("5"));
    }
}
