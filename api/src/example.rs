//! Examples in the document: what a field of a name holds, and from the fields what a whole request or answer looks like.
//!
//! A type that shows an example of its own keeps it.

use serde_json::{Map, Value, json};

const ID: &str = "01983f5e-7c00-7000-8000-000000000001";
const TIME: &str = "2026-02-16T00:00:00Z";
/// How deep types may name each other: deeper than any of ours, and an end where they named themselves.
const DEPTH: u8 = 12;

/// Gives every field, parameter, request and answer of the document an example, where it has none.
pub(crate) fn complete(document: &mut Value) {
    let schemas = document["components"]["schemas"].as_object_mut();
    for (name, schema) in schemas.into_iter().flatten() {
        exemplify(name, schema);
    }
    let schemas = document["components"]["schemas"].clone();
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    let operations = paths
        .filter_map(|(_, operations)| operations.as_object_mut())
        .flatten();
    for (_, operation) in operations {
        let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
        for parameter in parameters.into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap_or_default().to_owned();
            if let Some(example) = of_field("", &name, &parameter["schema"]) {
                parameter["example"] = example;
            }
        }
        let request = operation.get_mut("requestBody");
        let bodies = request
            .into_iter()
            .filter_map(|request| request.get_mut("content"));
        for body in bodies {
            show(body, &schemas);
        }
        let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
        for (status, response) in responses.into_iter().flatten() {
            if let Some(body) = response.get_mut("content").filter(|_| status.starts_with('2')) {
                show(body, &schemas);
            }
        }
    }
}

/// Gives the fields of one type, or the names that it may take, their examples.
fn exemplify(name: &str, schema: &mut Value) {
    if schema.get("example").is_none()
        && let Some(first) = schema["enum"].get(0).cloned()
    {
        schema["example"] = first;
    }
    let parts = schema.get_mut("allOf").and_then(Value::as_array_mut);
    for part in parts.into_iter().flatten() {
        exemplify(name, part);
    }
    let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for (field, schema) in fields {
        if schema.get("example").is_none()
            && let Some(example) = of_field(name, field, schema)
        {
            schema["example"] = example;
        }
    }
}

/// Shows what JSON of a request or an answer looks like.
fn show(content: &mut Value, schemas: &Value) {
    let Some(body) = content.get_mut("application/json") else {
        return;
    };
    if body.get("example").is_none() {
        body["example"] = composed(&body["schema"], schemas, DEPTH);
    }
}

/// Puts a value together from the examples of its parts.
fn composed(schema: &Value, schemas: &Value, depth: u8) -> Value {
    let deeper = |schema: &Value| composed(schema, schemas, depth.saturating_sub(1));
    if let Some(example) = schema.get("example") {
        return example.clone();
    }
    if depth == 0 {
        return Value::Null;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return deeper(&schemas[name]);
    }
    if let Some(one) = schema["oneOf"].get(0) {
        return deeper(one);
    }
    if schema["type"] == "array" {
        return json!([deeper(&schema["items"])]);
    }
    let mut whole = Map::new();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        match deeper(part) {
            Value::Object(fields) => whole.extend(fields),
            other => return other,
        }
    }
    for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
        whole.insert(field.clone(), deeper(schema));
    }
    Value::Object(whole)
}

/// What a field holds; `None` where its type says so itself.
fn of_field(of: &str, field: &str, schema: &Value) -> Option<Value> {
    if let Some(first) = schema["enum"].get(0) {
        return Some(first.clone());
    }
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("string"), Some("uuid")) => Some(json!(ID)),
        (Some("string"), Some("date-time")) => Some(json!(TIME)),
        (Some("string"), _) => text(of, field).map(Value::from),
        (Some("boolean"), _) => Some(schema.get("default").cloned().unwrap_or(json!(false))),
        (Some("integer" | "number"), _) => {
            Some(schema.get("default").cloned().unwrap_or_else(|| number(field)))
        }
        (Some("array"), _) => {
            let items = &schema["items"];
            let one = of_field(of, field, items)?;
            Some(json!([one]))
        }
        (Some("object"), _) if schema["additionalProperties"].is_object() => Some(by_name(field)),
        (None, _) if schema["allOf"].is_null() && schema["$ref"].is_null() => Some(anything(field)),
        (_, _) => None,
    }
}

fn number(field: &str) -> Value {
    json!(match field {
        "status" => 404,
        "limit" | "requestsPerMinuteLimit" => 50,
        "position" => 0,
        "batchSize" => 50,
        "batchDelayMs" => 2_000,
        "maxRetries" | "retries" | "attempts" => 3,
        "requestsPerMinute" => 10,
        "askAbovePercent" => 10,
        "total" => 120,
        "estimatedSecondsRemaining" => 40,
        "failed" | "conflicts" | "failures" => 0,
        _ => 1,
    })
}

fn by_name(field: &str) -> Value {
    match field {
        "byEntityType" => json!({ "products": 2 }),
        "byState" => json!({ "open": 2 }),
        "byStrategy" => json!({ "Manual": 2 }),
        "bySystem" => json!({ "woocommerce": 2 }),
        "byType" => json!({ "DataMismatch": 2 }),
        "fields" => json!({ "description": "woocommerce" }),
        "changes" => json!({ "name": { "from": "Lamp", "to": "Reading lamp" } }),
        _ => json!({}),
    }
}

/// What is of no one form: a record, or what is known about something.
fn anything(field: &str) -> Value {
    match field {
        "base" => named("Lamp"),
        "theirs" => named("Lamp of the shop"),
        "ours" | "proposed" | "customData" | "resolvedData" => named("Reading lamp"),
        "from" => json!("Lamp"),
        "to" => json!("Reading lamp"),
        "data" => json!({ "syncId": ID, "status": "done" }),
        _ => json!({ "syncId": ID }),
    }
}

fn named(name: &str) -> Value {
    json!({ "name": name, "variants": [{ "sku": "LAMP", "price": { "amount": "19.9", "currency": "EUR" } }] })
}

/// Texts, by the names of their fields, and of their types where one name means two things.
fn text(of: &str, field: &str) -> Option<&'static str> {
    let text = match (of, field) {
        ("Problem", "title") => "There is nothing here",
        ("Problem", "type") => "https://lockstep.dev/problems/not-found",
        ("Problem", "detail") => "there is no sync with this identifier",
        ("Address" | "Customer" | "Contact", "name") => "Ada Lovelace",
        ("Address", "state") => "BE",
        ("Attribute", "name") => "Colour",
        ("TaxAmount", "name") => "VAT 19 %",
        ("Product" | "OrderLine", "name") => "Reading lamp",
        ("OdooServer", "name") => "Main ERP",
        ("OdooServer", "baseUrl") => "https://erp.example.com",
        ("ConnectionSettings", "name") => "Main shop",
        ("ApiKey" | "CreateApiKeyRequest", "name") => "Nightly import",
        ("ChangeOrganisationRequest" | "CreateOrganisationRequest" | "Organisation", "name") => "Example Ltd",
        ("PutScheduleRequest" | "Schedule", "name") => "Every quarter of an hour",
        ("WoocommerceStore" | "Connection" | "RecordStanding", "name") => "Main shop",
        ("OrderLine", "key") => "line-1",
        ("ConnectionCheck", "version") => "11.0.1",
        ("ConflictAnswer", "outcome") => "applied",
        ("Payment", "reason") => "returned",
        ("Preview", "reason") => "it is new there",
        ("TaxAmount", "rate") => "19",
        ("RefundedLine", "tax") => "3.18",
        ("ResolveConflictsRequest" | "", "field") => "name",
        ("Sale", "price") => "14.9",
        ("TaxAmount", "amount") => "3.18",
        (_, "action") => "sync.start",
        (_, "actor" | "requestedBy" | "createdBy" | "answeredBy" | "admin") => "ada",
        (_, "adminKey" | "key") => "lsk_0000000000000000_an-example-and-no-key",
        (_, "prefix") => "lsk_0000000000000000",
        (_, "answer") => "it is in step: both systems hold what the record says",
        (_, "Idempotency-Key") => "8d1f7f0e-1c57-4f0f-9a53-3f5f8f0a4b11",
        (_, "advice") => "make a key with the permission Read/Write and give that to the connection",
        (_, "amount" | "total" | "subtotal") => "19.9",
        (_, "totalTax") => "3.18",
        (_, "quantity") => "1",
        (_, "safetyStock") => "0",
        (_, "weightKg") => "1.2",
        (_, "lengthCm" | "widthCm" | "heightCm") => "30",
        (_, "apiKey" | "consumerSecret" | "secret") => "an-example-and-no-secret",
        (_, "consumerKey") => "ck_an-example-and-no-key",
        (_, "attention") => "its system refuses the credentials",
        (_, "barcode") => "4006381333931",
        (_, "baseUrl") => "https://shop.example.com",
        (_, "url") => "https://hooks.example.com/lockstep",
        (_, "deliveryUrl") => {
            "https://lockstep.example.com/webhooks/woocommerce/01983f5e-7c00-7000-8000-000000000001"
        }
        (_, "cancelled" | "completed" | "failed" | "on_hold" | "pending" | "processing" | "refunded") => {
            "wc-packed"
        }
        (_, "city") => "Berlin",
        (_, "code") => "key_read_only",
        (_, "company") => "Example Ltd",
        (_, "country") => "DE",
        (_, "coupons") => "WINTER10",
        (_, "cron") => "*/15 * * * *",
        (_, "currency") => "EUR",
        (_, "cursor" | "nextCursor") => "MDE5ODNmNWU",
        (_, "database") => "production",
        (_, "description") => "<p>A lamp to read by.</p>",
        (_, "detail" | "lastDetail" | "reason") => "both sides changed: `name`",
        (_, "disabledBecause") => "it answered 410",
        (_, "email") => "ada@example.com",
        (_, "error" | "lastError") => "no answer within 60 s",
        (_, "externalId") => "42",
        (_, "field" | "fields") => "name",
        (_, "images") => "https://shop.example.com/lamp.jpg",
        (_, "categories") => "Lamps",
        (_, "language") => "de_DE",
        (_, "line") => "line-1",
        (_, "login") => "lockstep@example.com",
        (_, "message") => "must not be empty",
        (_, "method") => "bacs",
        (_, "next") => "`accept` sends what is proposed; `reject` keeps what the system holds",
        (_, "note") => "Leave it at the door",
        (_, "number") => "1042",
        (_, "option") => "red",
        (_, "phone") => "+49 30 123456",
        (_, "postcode") => "10117",
        (_, "problem") => "it may only read",
        (_, "requestId") => "01983f5e-7c00-7000-8000-00000000000a",
        (_, "sku" | "variant") => "LAMP",
        (_, "sourceAddress") => "203.0.113.7",
        (_, "street") => "Unter den Linden 1",
        (_, "street2") => "3rd floor",
        (_, "subject") => "the REST API key",
        (_, "summary") => "A lamp",
        (_, "tags") => "light",
        (_, "taxClass") => "reduced-rate",
        (_, "taxNumber") => "DE123456788",
        (_, "timeZone") => "Europe/Berlin",
        (_, "topic") => "product.updated",
        (_, "transactionId") => "txn_1042",
        (_, "If-Match") => "\"1\"",
        (_, "traceparent") => "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        (_, _) => return None,
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Value {
        serde_json::from_str(&crate::document::text()).unwrap()
    }

    /// Says whether a field shows what it holds, itself or by its type.
    fn is_shown(schema: &Value) -> bool {
        let is_typed = |schema: &Value| schema["$ref"].is_string();
        schema.get("example").is_some()
            || is_typed(schema)
            || is_typed(&schema["allOf"][0])
            || schema["type"] == "array" && is_shown(&schema["items"])
    }

    #[test]
    fn every_field_and_parameter_has_an_example() {
        let document = document();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            let parts = schema["allOf"].as_array().into_iter().flatten().chain([schema]);
            for (field, schema) in parts.filter_map(|part| part["properties"].as_object()).flatten() {
                assert!(is_shown(schema), "R51: {name}.{field} has no example");
            }
            assert!(
                schema["enum"].is_null() || schema["example"].is_string(),
                "{name}"
            );
        }
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    let is_shown = parameter.get("example").is_some() || is_shown(&parameter["schema"]);
                    assert!(is_shown, "R51: {method} {path}: {parameter} has no example");
                }
            }
        }
    }

    #[test]
    fn every_request_and_answer_has_an_example_without_gaps() {
        let document = document();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let answers = operation["responses"].as_object().unwrap();
                let answers = answers.iter().filter(|(status, _)| status.starts_with('2'));
                let bodies = answers
                    .map(|(_, answer)| answer)
                    .chain(operation.get("requestBody"));
                for body in bodies.filter_map(|body| body["content"].get("application/json")) {
                    let example = body["example"].to_string();
                    assert!(!example.contains("null"), "R51: {method} {path}: {example}");
                }
            }
        }
    }
}
