//! The OpenAPI document: what the framework writes, made tidy for those who generate clients from it.

use poem_openapi::{ContactObject, ExtraHeader, LicenseObject, OpenApiService, ServerObject, Tags};
use serde_json::{Map, Value, json};

use crate::activities::Activities;
use crate::api_keys::ApiKeys;
use crate::conflicts::Conflicts;
use crate::connections::Connections;
use crate::control::Control;
use crate::credentials::ConnectionCredentials;
use crate::customers::Customers;
use crate::events::Events;
use crate::example;
use crate::history::Histories;
use crate::inventory::Inventory;
use crate::notifications::Notifications;
use crate::orchestrate::Orchestrate;
use crate::orders::Orders;
use crate::organisations::Organisations;
use crate::payments::Payments;
use crate::previews::Previews;
use crate::products::Products;
use crate::retries::Retries;
use crate::role;
use crate::schedules::Schedules;
use crate::syncs::Syncs;
use crate::webhooks::Webhooks;

const DESCRIPTION: &str = "Keeps WooCommerce stores and Odoo ERPs in step. Connect a store and an ERP, put in records of \
your own, and start syncs; workers do the work, so starting one returns at once.

Every answer that is not what was asked for is a problem document after RFC 9457; its `type` is stable and safe to \
compare, and `/docs/problems` explains each. A request may carry the header `X-Request-Id`; every answer does, and it finds the request in the logs.

What a caller may do goes by its role: `viewer`, `operator`, `admin`, `platform`, each all that those before it may. How often \
goes by the organisation: commands, requests that put records, and requests that read have a quota each, over all of its \
callers. A quota that was not used for a minute may be used at once, and comes back evenly. Every answer tells what is left in \
the headers `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers).

A `POST` with an `Idempotency-Key` is carried out once: sent again within a day, it gets the same answer, with the header \
`Idempotency-Replayed`. A request that was refused leaves its key free. Every `GET` has an `ETag`; asked for with \
`If-None-Match`, what has not changed is a 304 without a body. Answers are compressed (Brotli, gzip) for who takes that.";

/// What a text holds that stands for an exact decimal.
const DECIMAL: &str = r"^-?[0-9]+(\.[0-9]+)?$";

#[derive(Tags)]
pub(crate) enum Tag {
    /// The stores and ERPs of the organisation.
    Connections,
    /// The organisation's own copy of its things.
    Records,
    /// Runs that bring systems into step.
    Syncs,
    /// Addresses that are told of what happens.
    Notifications,
    /// What a rule or a person has to decide.
    Conflicts,
    /// Syncs that start by themselves.
    Schedules,
    /// The organisation itself, what programs prove themselves by, and the audit trail.
    Organisation,
}

/// The framework takes a tuple of sixteen at most, and of tuples.
type Operations = (
    Connections,
    (Customers, Products, Orders, Inventory, Payments),
    Syncs,
    (Control, Orchestrate),
    Events,
    Previews,
    Notifications,
    Conflicts,
    Schedules,
    Webhooks,
    Organisations,
    ApiKeys,
    Activities,
    Retries,
    Histories,
    ConnectionCredentials,
);

pub(crate) type Service = OpenApiService<Operations, ()>;

/// Puts together every operation.
pub(crate) fn service() -> Service {
    let operations = (
        Connections,
        (Customers, Products, Orders, Inventory, Payments),
        Syncs,
        (Control, Orchestrate),
        Events,
        Previews,
        Notifications,
        Conflicts,
        Schedules,
        Webhooks,
        Organisations,
        ApiKeys,
        Activities,
        Retries,
        Histories,
        ConnectionCredentials,
    );
    let license = LicenseObject::new("Apache-2.0").url("https://www.apache.org/licenses/LICENSE-2.0.html");
    let contact = ContactObject::new().name("Lockstep").url("https://lockstep.dev");
    let request_id = ExtraHeader::new("X-Request-Id").description("Finds the request in the logs.");
    OpenApiService::new(operations, "Lockstep", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
        .license(license)
        .contact(contact)
        .server(ServerObject::new("/").description("The server that this document came from"))
        .extra_response_header::<Option<String>, _>(request_id)
        .extra_response_header::<Option<String>, _>(
            ExtraHeader::new("RateLimit-Policy").description("The quota: `q` requests in `w` seconds."),
        )
        .extra_response_header::<Option<String>, _>(ExtraHeader::new("RateLimit").description(
            "What is left of the quota: `r` requests; in `t` seconds it is whole again, or, where none is left, the next one \
             is there.",
        ))
}

/// Returns the document, the same text each time.
pub(crate) fn text() -> String {
    let mut document = serde_json::from_str(&service().spec()).expect("the framework writes JSON");
    tidy(&mut document);
    tell_roles(&mut document);
    document_keys(&mut document);
    example::complete(&mut document);
    let mut text = serde_json::to_string_pretty(&document).expect("a JSON value can be written");
    text.push('\n');
    text
}

/// Returns a page that shows the document and tries its operations out; it holds all it needs.
pub(crate) fn page(text: &str) -> String {
    let service = service();
    service.swagger_ui_html().replace(&service.spec(), text)
}

/// Says of each operation which role and which quota it asks for.
fn tell_roles(document: &mut Value) {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    let methods = paths.filter_map(|(_, methods)| methods.as_object_mut()).flatten();
    for (_, operation) in methods {
        let Some(rule) = operation["operationId"].as_str().and_then(role::rule) else {
            continue;
        };
        if rule.operation == role::ORCHESTRATE {
            // It says itself what its actions need.
            continue;
        }
        let needs = format!(
            "\n\nNeeds the role `{}`; taken from the quota of {}.",
            rule.least.name(),
            rule.budget.name()
        );
        if let Value::String(text) = &mut operation["description"] {
            text.push_str(&needs);
        }
    }
}

/// Mends what generators trip over, wherever it stands: references that are described become more than one schema, so that
/// generators make a type of their own for each; what stands for a whole object that is left out is none of its own
/// fields' defaults, and not every generator can write it; an event stream is no JSON array; an exact decimal is a text, of
/// which some would make a number; limits of whole numbers are written as fractions; and sentences are cut where the lines of
/// our source end.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            keep_the_reference_only(fields);
            leave_defaults_to_the_fields(fields);
            tell_a_stream(fields);
            tell_a_decimal(fields);
            for (name, field) in fields {
                match (name.as_str(), &mut *field) {
                    ("minimum" | "maximum", Value::Number(limit)) => whole(limit),
                    ("description", Value::String(text)) => *text = join_lines(text),
                    _ => tidy(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Every `POST` takes a key, wherever it is carried out: the operations know nothing of it.
fn document_keys(document: &mut Value) {
    let key = json!({
        "name": "Idempotency-Key",
        "in": "header",
        "required": false,
        "deprecated": false,
        "explode": true,
        "schema": { "type": "string", "minLength": 1, "maxLength": 255 },
        "description": "Name of your choice for this request, such as a UUID: sent again with it, the request is not carried \
                        out again, and gets the same answer. Kept for a day.",
    });
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (_, operations) in paths {
        let Some(Value::Object(operation)) = operations.get_mut("post") else {
            continue;
        };
        let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
        if let Value::Array(parameters) = parameters {
            parameters.push(key.clone());
        }
    }
}

/// `allOf: [reference, {description}]` with the same description beside it becomes `allOf: [reference]`.
fn keep_the_reference_only(fields: &mut Map<String, Value>) {
    let beside = fields.clone();
    let Some(Value::Array(parts)) = fields.get_mut("allOf") else {
        return;
    };
    let [reference, Value::Object(other)] = parts.as_slice() else {
        return;
    };
    let says_nothing_new = other.iter().all(|(name, field)| beside.get(name) == Some(field));
    if reference.get("$ref").is_some() && says_nothing_new {
        parts.truncate(1);
    }
}

/// A reference's own default is dropped: its type's fields have theirs.
fn leave_defaults_to_the_fields(fields: &mut Map<String, Value>) {
    if fields.contains_key("allOf") && fields.get("default").is_some_and(Value::is_object) {
        fields.remove("default");
    }
}

/// `array of SyncEvent` in the form of a stream becomes text, which is what clients can be given; what is in an event is
/// noted beside it.
fn tell_a_stream(fields: &mut Map<String, Value>) {
    if fields.get("format").and_then(Value::as_str) != Some("event-stream") {
        return;
    }
    let event = fields.remove("items");
    fields.remove("format");
    fields.insert("type".to_owned(), "string".into());
    let words = "Server-sent events; the data of each is the JSON of an event.";
    fields.insert("description".to_owned(), words.into());
    fields.extend(event.map(|event| ("x-event".to_owned(), event)));
}

/// A form of ours makes openapi-generator's Java write decimals as JSON numbers; a pattern says the same to all.
fn tell_a_decimal(fields: &mut Map<String, Value>) {
    if fields.get("format").and_then(Value::as_str) == Some("decimal") {
        fields.remove("format");
        fields.insert("pattern".to_owned(), DECIMAL.into());
    }
}

fn whole(limit: &mut serde_json::Number) {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "limits of ours are small, and compared after"
    )]
    let number = limit.as_f64().map(|limit| limit as i64);
    if let Some(number) = number
        .map(serde_json::Number::from)
        .filter(|number| number.as_f64() == limit.as_f64())
    {
        *limit = number;
    }
}

fn join_lines(text: &str) -> String {
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .map(|paragraph| paragraph.replace('\n', " "))
        .collect();
    paragraphs.join("\n\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn document() -> Value {
        serde_json::from_str(&text()).unwrap()
    }

    fn operations(document: &Value) -> Vec<(String, &Value)> {
        let paths = document["paths"].as_object().unwrap();
        paths
            .iter()
            .flat_map(|(path, operations)| {
                let operations = operations.as_object().unwrap();
                operations
                    .iter()
                    .map(move |(method, operation)| (format!("{method} {path}"), operation))
            })
            .collect()
    }

    #[test]
    fn the_committed_document_is_the_served_one() {
        assert!(
            include_str!("../openapi.json") == text(),
            "the OpenAPI document changed; look at the difference that this makes:\n\
             cargo run -p lockstep-api -- openapi > api/openapi.json"
        );
    }

    /// The framework writes an address twice whose operations stand in two groups, and then one of them is lost.
    #[test]
    fn no_operation_is_lost_from_the_document() {
        let written = service().spec().matches("\"operationId\"").count();

        assert_eq!(operations(&document()).len(), written, "R51");
    }

    #[test]
    fn every_operation_says_what_a_generated_client_needs() {
        let document = document();
        let mut ids = BTreeSet::new();
        for (name, operation) in operations(&document) {
            let id = operation["operationId"]
                .as_str()
                .unwrap_or_else(|| panic!("{name} has no operationId"));
            assert!(ids.insert(id), "{name}: {id} is there twice");
            assert!(operation["description"].is_string(), "{name} has no description");
            assert!(
                operation["security"].is_array(),
                "R42: {name} can be called by anyone"
            );
            for (status, response) in operation["responses"].as_object().unwrap() {
                let is_of_lines = response["content"]["application/x-ndjson"].is_object();
                if status == "204" || (status == "200" && is_of_lines) {
                    continue;
                }
                let kind = if status.starts_with('2') && id == "watchSync" {
                    "text/event-stream"
                } else if status.starts_with('2') {
                    "application/json"
                } else {
                    "application/problem+json"
                };
                assert!(
                    response["content"][kind].is_object(),
                    "R45: {name} answers {status} without {kind}"
                );
                assert_ne!(response["description"], "", "{name}: {status} has no description");
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(
                    parameter["description"].is_string(),
                    "{name}: {parameter} has no description"
                );
            }
        }
    }

    #[test]
    fn every_field_is_described() {
        let document = document();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            assert!(
                schema["description"].is_string(),
                "R51: {name} has no description"
            );
            for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
                assert!(
                    schema["description"].is_string(),
                    "R51: {name}.{field} has no description"
                );
                let parts = schema["allOf"].as_array().map_or(1, Vec::len);
                assert_eq!(parts, 1, "R51: {name}.{field} would become a type of its own");
            }
        }
    }
}
