//! Broken requests, made from the document: every operation is asked with whatever can be wrong with an address, a parameter, a
//! header and a body. Each answer is a problem document that names what is wrong and shows nothing of our inside (R45, R73).
//!
//! What an operation asks for beyond its schema is for the tests of that operation.

use lockstep_shared::role::Role;
use lockstep_tests::api::{Answer, Api, Client};
use lockstep_tests::stack::Stack;
use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value, json};

use super::refusal::{assert_problem, fields};
use super::stranger::{belongings, resolved};

const JSON: &str = "application/json";

/// Larger than the largest body that any operation takes.
const OVERSIZE: usize = (8 << 20) + 1;

/// One operation of the document.
struct Operation<'a> {
    method: Method,
    path: &'a str,
    spec: &'a Value,
}

impl Operation<'_> {
    fn parameters(&self, place: &str) -> Vec<(&str, &Value)> {
        let parameters = self.spec["parameters"].as_array().into_iter().flatten();
        parameters
            .filter(|parameter| parameter["in"] == place)
            .map(|parameter| (parameter["name"].as_str().unwrap(), &parameter["schema"]))
            .collect()
    }

    fn body(&self) -> Option<&Value> {
        self.spec.pointer("/requestBody/content/application~1json/schema")
    }
}

fn document() -> Value {
    serde_json::from_str(include_str!("../../../api/openapi.json")).unwrap()
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, methods)| {
        methods
            .as_object()
            .unwrap()
            .iter()
            .map(move |(method, spec)| Operation {
                method: method.to_uppercase().parse().unwrap(),
                path,
                spec,
            })
    });
    operations.collect()
}

/// A whole set-up: an API, what its organisation has by the names of the document, and a caller who may do everything.
struct Setting {
    api: Api,
    ids: std::collections::BTreeMap<&'static str, String>,
    caller: Client,
    document: Value,
    _stack: Stack,
}

impl Setting {
    async fn new() -> Self {
        let mut stack = Stack::new().await;
        let api = Api::start(&stack);
        let ids = belongings(&mut stack, &api).await;
        let caller = api.client_as(stack.org, Role::Platform);
        Self {
            api,
            ids,
            caller,
            document: document(),
            _stack: stack,
        }
    }

    /// The address of something that is there.
    fn address(&self, path: &str) -> String {
        self.ids.iter().fold(path.to_owned(), |address, (name, id)| {
            address.replace(&format!("{{{name}}}"), id)
        })
    }

    fn request(&self, operation: &Operation<'_>) -> RequestBuilder {
        let mut address = self.address(operation.path);
        for parameter in operation.spec["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "query" && parameter["required"] == true {
                let value = sample(&self.document, &parameter["schema"]);
                let name = parameter["name"].as_str().unwrap();
                address = format!("{address}?{name}={}", value.as_str().unwrap());
            }
        }
        self.caller.request(operation.method.clone(), &address)
    }
}

/// Fails the test where an answer is no refusal of the caller's fault in the right form.
#[track_caller]
fn assert_refused(answer: &Answer, allowed: &[u16], what: &str) {
    let what: String = what.chars().take(300).collect();
    assert!(
        allowed.contains(&answer.status),
        "R45: {what}: {} instead of {allowed:?}: {}",
        answer.status,
        answer.text
    );
    assert_problem(answer, answer.status, &what);
}

/// R45, R73: whatever stands in the place of an identifier or a parameter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_address_is_refused_by_every_operation() {
    let setting = Setting::new().await;
    let document = document();
    let long = "x".repeat(3000);
    let mut asked = 0;

    for operation in operations(&document) {
        let (method, path) = (&operation.method, operation.path);
        for (name, _) in operation.parameters("path") {
            for wrong in [
                "x",
                "0",
                "%00",
                "%FF",
                "%C3%28",
                "..%2F..%2Fetc%2Fpasswd",
                "%27%3B%20drop%20table%20connection%3B--",
                "%F0%9F%92%A9",
                "00000000-0000-0000-0000-00000000000g",
                &long,
            ] {
                let template = path.replace(&format!("{{{name}}}"), wrong);
                let address = setting.address(&template);
                let mut request = setting.caller.request(method.clone(), &address);
                if operation.body().is_some() {
                    request = request.json(&json!({}));
                }
                let answer = setting.caller.send(request).await;
                assert_refused(&answer, &[400, 404, 422], &format!("{method} {address}"));
                asked += 1;
            }
        }
        for (name, schema) in operation.parameters("query") {
            let schema = resolved(&document, schema);
            let is_free =
                schema["type"] == "string" && schema.get("format").is_none() && schema.get("enum").is_none();
            for (wrong, is_wrong) in [
                ("%00", true),
                ("a%00b", true),
                ("%FF", !is_free),
                ("%27%22%3B--", !is_free),
                ("1e999", !is_free),
                ("-1", !is_free),
                ("99999999999999999999", !is_free),
                ("%F0%9F%92%A9", !is_free),
                ("", !is_free),
                (&long, !is_free || schema.get("maxLength").is_some()),
            ] {
                let address = format!("{}?{name}={wrong}", setting.address(path));
                let answer = setting
                    .caller
                    .send(setting.caller.request(method.clone(), &address))
                    .await;
                asked += 1;
                if is_wrong || name == "cursor" || operation.method != Method::GET {
                    assert_refused(&answer, &[400], &format!("{method} {address}"));
                    // Where another parameter has to be given, that may be named.
                    let is_alone = operation.method == Method::GET;
                    assert!(
                        !is_alone || fields(&answer) == [name],
                        "R45: {method} {address}: {}",
                        answer.text
                    );
                } else {
                    assert_eq!(answer.status, 200, "R45: {method} {address}: {}", answer.text);
                }
            }
        }
        for query in ["nonsense=1", "nonsense", "%00=1", "%FF=%FF", "a[]=1&a[]=2", "=1"] {
            let address = format!("{}?{query}", setting.address(path));
            let answer = setting
                .caller
                .send(setting.caller.request(method.clone(), &address))
                .await;
            assert_refused(&answer, &[400], &format!("{method} {address}"));
            asked += 1;
        }
        for header in operation.parameters("header") {
            if operation.body().is_none() {
                continue;
            }
            let value = reqwest::header::HeaderValue::from_bytes(b"\xff\xfe\"';").unwrap();
            let request = setting
                .request(&operation)
                .header(header.0, value)
                .json(&json!({"nonsense": 1}));
            let answer = setting.caller.send(request).await;
            assert_refused(
                &answer,
                &[400, 412, 422],
                &format!("{method} {path} with a broken {}", header.0),
            );
            asked += 1;
        }
    }
    assert!(asked > 500, "R45: {asked}");
}

/// R45: at every address, for every method that is not possible there, and for every form that is not to be had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_method_and_another_form_are_refused_at_every_address() {
    let setting = Setting::new().await;
    let document = document();

    for (path, methods) in document["paths"].as_object().unwrap() {
        let address = setting.address(path);
        for method in [
            "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW",
        ] {
            if methods.get(method.to_lowercase()).is_some() {
                continue;
            }
            let request = setting.caller.request(method.parse().unwrap(), &address);
            let answer = setting.caller.send(request).await;
            assert_refused(&answer, &[405], &format!("{method} {path}"));
            for method in methods.as_object().unwrap().keys() {
                let allow = answer.header("allow");
                assert!(allow.contains(&method.to_uppercase()), "R45: {path}: {allow}");
            }
        }
    }
    for operation in operations(&document) {
        let request = setting.request(&operation).header("accept", "image/png");
        let answer = setting.caller.send(request).await;
        assert_refused(
            &answer,
            &[406],
            &format!("{} {} as a picture", operation.method, operation.path),
        );
        // Without a token nothing else is looked at.
        let request = setting
            .api
            .stranger
            .request(operation.method.clone(), &setting.address(operation.path))
            .header("content-type", "text/plain")
            .body("{");
        let answer = setting.api.stranger.send(request).await;
        assert_refused(
            &answer,
            &[401],
            &format!("{} {} without a token", operation.method, operation.path),
        );
    }
}

/// R45, R73: bodies that can't be read at all: cut off, nested deeply, not UTF-8, of another type, too large.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_can_not_be_read_is_refused_by_every_operation() {
    let setting = Setting::new().await;
    let document = document();
    let deep = 100_000;
    let bodies: Vec<(&str, Vec<u8>, u16)> = vec![
        ("nothing", Vec::new(), 400),
        ("a beginning", b"{\"a\":".to_vec(), 400),
        ("two", b"{}{}".to_vec(), 400),
        ("no JSON", b"<a/>".to_vec(), 400),
        ("not a number", b"NaN".to_vec(), 400),
        ("a byte order mark", b"\xef\xbb\xbf{}".to_vec(), 400),
        ("no UTF-8", b"{\"nonsense\": \"\xff\xfe\"}".to_vec(), 400),
        ("half a character", b"{\"nonsense\": \"\\ud800\"}".to_vec(), 400),
        ("a bare NUL", b"{\"nonsense\": \"\0\"}".to_vec(), 400),
        ("a huge number", b"{\"nonsense\": 1e999}".to_vec(), 400),
        ("lists of lists", "[".repeat(deep).into_bytes(), 400),
        (
            "whole lists of lists",
            ["[".repeat(deep), "]".repeat(deep)].concat().into_bytes(),
            400,
        ),
        ("objects of objects", "{\"a\":".repeat(deep).into_bytes(), 400),
        (
            "lists below the limit",
            ["[".repeat(100), "]".repeat(100)].concat().into_bytes(),
            422,
        ),
        ("a written NUL", b"{\"nonsense\": \"\\u0000\"}".to_vec(), 422),
        ("a NUL in a name", b"{\"\\u0000\": 1}".to_vec(), 422),
        ("nothing of ours", b"{\"nonsense\": 1}".to_vec(), 422),
        ("null", b"null".to_vec(), 422),
        ("a number", b"5".to_vec(), 422),
        ("a text", b"\"x\"".to_vec(), 422),
        ("a list", b"[null]".to_vec(), 422),
        ("too much", vec![b' '; OVERSIZE], 413),
    ];

    let mut asked = 0;
    for operation in operations(&document) {
        if operation.body().is_none() {
            continue;
        }
        for (what, body, status) in &bodies {
            if body.is_empty() && operation.spec["requestBody"]["required"] == false {
                continue;
            }
            let request = setting.request(&operation).header("content-type", JSON);
            let answer = setting.caller.send(request.body(body.clone())).await;
            assert_refused(
                &answer,
                &[*status],
                &format!("{} {}: {what}", operation.method, operation.path),
            );
            if *status == 422 {
                assert!(!fields(&answer).is_empty(), "R45: {what}: {}", answer.text);
            }
            asked += 1;
        }
        for media_type in [
            None,
            Some("text/plain"),
            Some("application/xml"),
            Some("application/x-www-form-urlencoded"),
            Some("multipart/form-data; boundary=x"),
            Some("application/jsonp"),
            Some("nonsense"),
        ] {
            let mut request = setting.request(&operation).body("{}");
            if let Some(media_type) = media_type {
                request = request.header("content-type", media_type);
            }
            let answer = setting.caller.send(request).await;
            assert_refused(
                &answer,
                &[415],
                &format!("{} {} as {media_type:?}", operation.method, operation.path),
            );
            asked += 1;
        }
    }
    assert!(asked > 500, "R45: {asked}");
}

/// R73: a body that stops in its middle, or comes too slowly, is cut off after 30 s with a problem, and nothing is kept open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_arrive_is_cut_off() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let address = api.url.trim_start_matches("http://").to_owned();
    let token = Api::token(stack.org);
    let head = format!(
        "POST /api/v1/syncs HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: 1000\r\nconnection: close\r\n\r\n"
    );
    let ask = async |trickles: bool| {
        let mut socket = tokio::net::TcpStream::connect(&address).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = socket.into_split();
        let trickling = tokio::spawn(async move {
            let mut beat = tokio::time::interval(std::time::Duration::from_secs(1));
            if !trickles {
                // Kept open, and silent.
                std::future::pending::<()>().await;
            }
            loop {
                beat.tick().await;
                if writer.write_all(b" ").await.is_err() {
                    return;
                }
            }
        });
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        let is_whole = |answer: &[u8]| String::from_utf8_lossy(answer).contains("request-timeout");
        while !is_whole(&answer) {
            let read = reader.read(&mut chunk).await.unwrap();
            assert!(read > 0, "R73: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&chunk[..read]);
        }
        trickling.abort();
        String::from_utf8_lossy(&answer).into_owned()
    };

    let (silent, slow) = tokio::join!(ask(false), ask(true));

    for answer in [silent, slow] {
        assert!(answer.starts_with("HTTP/1.1 408 "), "R73: {answer}");
        assert!(answer.contains("application/problem+json"), "R45: {answer}");
    }
}

/// A value that a schema allows, with every field.
fn sample(document: &Value, schema: &Value) -> Value {
    let schema = resolved(document, schema);
    if let Some(example) = schema.get("example") {
        return example.clone();
    }
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let mut whole = Map::new();
        for part in parts {
            if let Value::Object(fields) = sample(document, part) {
                whole.extend(fields);
            }
        }
        return Value::Object(whole);
    }
    match schema["type"].as_str() {
        Some("object") => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            let fields = fields.map(|(name, schema)| (name.clone(), sample(document, schema)));
            Value::Object(fields.collect())
        }
        Some("array") => json!([sample(document, &schema["items"])]),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(true),
        Some("string") => json!(match schema["format"].as_str() {
            Some("uuid") => "00000000-0000-4000-8000-000000000001",
            Some("date-time") => "2026-11-02T09:30:15Z",
            _ => "1",
        }),
        _ => Value::Null,
    }
}

/// The bodies that a schema stands for, each with its schema: one, or one of each kind.
fn variants(document: &Value, schema: &Value) -> Vec<(Value, Value)> {
    let schema = resolved(document, schema);
    let Some(kinds) = schema["oneOf"].as_array() else {
        return vec![(sample(document, schema), schema.clone())];
    };
    let kinds = kinds.iter().map(|kind| {
        let mut value = sample(document, kind);
        // The part that tells the kinds apart, and the part with the fields.
        let parts = resolved(document, kind)["allOf"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let mut properties = Map::new();
        for part in &parts {
            let part = resolved(document, part);
            let named = part["properties"].as_object().into_iter().flatten();
            properties.extend(named.map(|(name, schema)| (name.clone(), schema.clone())));
        }
        let tag = schema["discriminator"]["propertyName"]
            .as_str()
            .unwrap_or_default();
        if let Some(name) = properties.get(tag).and_then(|schema| schema["enum"][0].as_str()) {
            value[tag] = json!(name);
        }
        let required: Vec<&Value> = parts
            .iter()
            .filter_map(|part| resolved(document, part)["required"].as_array())
            .flatten()
            .collect();
        let schema = json!({ "type": "object", "properties": properties, "required": required });
        (value, schema)
    });
    kinds.collect()
}

/// Every way to break a value at one place: the place, and what stands there then. `None`: nothing does.
fn breakages(
    document: &Value,
    schema: &Value,
    value: &Value,
    at: &[String],
) -> Vec<(Vec<String>, Option<Value>)> {
    let schema = resolved(document, schema);
    let wrong: Vec<Value> = match schema["type"].as_str() {
        Some("object") => vec![json!("x"), json!(5), json!([])],
        Some("array") => vec![json!("x"), json!({ "x": 1 }), json!(true)],
        Some("integer" | "number") => vec![json!("1"), json!({}), json!(1.5e300)],
        Some("boolean") => vec![json!("true"), json!(1)],
        Some("string") => vec![json!(5), json!(["x"]), json!("a\0b")],
        // Anything goes.
        _ => return Vec::new(),
    };
    let mut all: Vec<_> = wrong
        .into_iter()
        .map(|wrong| (at.to_vec(), Some(wrong)))
        .collect();
    let below = |name: &str| [at, &[name.to_owned()]].concat();
    match value {
        Value::Object(given) => {
            let properties = schema["properties"].as_object();
            for required in schema["required"].as_array().into_iter().flatten() {
                all.push((below(required.as_str().unwrap()), None));
            }
            for (name, schema) in properties.into_iter().flatten() {
                if let Some(inner) = given.get(name) {
                    all.extend(breakages(document, schema, inner, &below(name)));
                }
            }
            if properties.is_some() {
                all.push((below("nonsense"), Some(json!(1))));
            }
        }
        Value::Array(items) => {
            if let Some(first) = items.first() {
                all.extend(breakages(document, &schema["items"], first, &below("0")));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    all
}

/// The value with one place broken.
fn broken(value: &Value, at: &[String], with: Option<&Value>) -> Value {
    let Some((name, above)) = at.split_last() else {
        return with.cloned().unwrap_or_default();
    };
    let mut value = value.clone();
    let pointer = above
        .iter()
        .fold(String::new(), |pointer, name| format!("{pointer}/{name}"));
    match (value.pointer_mut(&pointer).unwrap(), with) {
        (Value::Array(items), Some(with)) => items[name.parse::<usize>().unwrap()] = with.clone(),
        (Value::Object(fields), Some(with)) => {
            fields.insert(name.clone(), with.clone());
        }
        (Value::Object(fields), None) => {
            fields.remove(name);
        }
        (other, _) => panic!("{other} has no parts"),
    }
    value
}

/// R45: every field of every body, at any depth: of another type, left out where it must be given, with one beside it that is
/// not known. The answer names the field.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_field_is_refused_by_its_name_wherever_it_stands() {
    let setting = Setting::new().await;
    let document = document();
    let mut asked = 0;

    for operation in operations(&document) {
        let Some(schema) = operation.body() else {
            continue;
        };
        for (body, schema) in variants(&document, schema) {
            for (at, with) in breakages(&document, &schema, &body, &[]) {
                let body = broken(&body, &at, with.as_ref());
                let answer = setting.caller.send(setting.request(&operation).json(&body)).await;
                asked += 1;
                let field = at.join("/");
                let what = format!("{} {}: `{field}` is {with:?}", operation.method, operation.path);
                if field.starts_with("records/0/content") && answer.status == 200 {
                    // One of many: the others are taken, and it is told what is wrong with it.
                    let shown = answer.text.replace("\"type\":\"", "");
                    assert!(shown.contains("errors"), "R45: {what}: {shown}");
                    continue;
                }
                assert_refused(&answer, &[422], &what);
                let named = fields(&answer);
                // What is made up from types alone may be wrong in more than one way.
                let has_example = resolved(&document, operation.body().unwrap())
                    .get("example")
                    .is_some();
                let is_named = !has_example
                    || named.iter().any(|named| {
                        // What is of another kind altogether is named as far down as it could be read.
                        *named == field
                            || field.starts_with(&format!("{named}/"))
                            || named.starts_with(&format!("{field}/"))
                    });
                assert!(is_named || field.is_empty(), "R45: {what}: {named:?}");
            }
        }
    }
    assert!(asked > 400, "R45: {asked}");
}
