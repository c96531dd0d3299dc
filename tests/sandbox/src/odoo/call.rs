//! The public methods of models, with their arguments by name.

use serde_json::{Map, Value, json};

use super::domain::Window;
use super::exception::Exception;
use super::noise::Quiet;
use super::operation;
use super::read::Links;
use super::session::Session;

/// The named arguments of a call; `ids` and `context` are among them.
pub(super) type Arguments = Map<String, Value>;

/// What the methods take by position after `ids`, in order; those marked with `!` must be there.
const METHODS: &[(&str, bool, &[&str])] = &[
    ("search", false, &["domain!", "offset", "limit", "order"]),
    (
        "search_read",
        false,
        &["domain", "fields", "offset", "limit", "order", "load"],
    ),
    ("search_count", false, &["domain!", "limit"]),
    ("read", true, &["fields", "load"]),
    ("create", false, &["vals_list!"]),
    ("write", true, &["vals!"]),
    ("unlink", true, &[]),
    ("load", false, &["fields!", "data!"]),
    ("fields_get", false, &["allfields", "attributes"]),
    ("has_access", true, &["operation!"]),
    ("check_access_rights", false, &["operation!", "raise_exception"]),
    ("get_external_id", true, &[]),
    (
        "formatted_read_group",
        false,
        &[
            "domain!",
            "groupby",
            "aggregates",
            "having",
            "offset",
            "limit",
            "order",
        ],
    ),
    (
        "check_object_reference",
        false,
        &["module!", "xml_id!", "raise_on_access_error"],
    ),
];

/// Puts positional arguments under their names.
pub(super) fn named(
    model: &str,
    method: &str,
    positional: Vec<Value>,
    keywords: Arguments,
) -> Result<Arguments, Exception> {
    let (_, takes_ids, parameters) = signature(model, method)?;
    let mut arguments = keywords;
    let names = takes_ids
        .then_some("ids")
        .into_iter()
        .chain(parameters.iter().map(|name| name.trim_end_matches('!')));
    for (name, value) in names.zip(positional) {
        arguments.insert(name.to_owned(), value);
    }
    Ok(arguments)
}

fn signature(
    model: &str,
    method: &str,
) -> Result<&'static (&'static str, bool, &'static [&'static str]), Exception> {
    let private = method.starts_with('_') || matches!(method, "exists" | "init" | "browse" | "sudo");
    if private {
        let message = format!("Private methods (such as '{model}.{method}') cannot be called remotely.");
        return Err(Exception::access(message));
    }
    let known = METHODS.iter().find(|(name, _, _)| *name == method);
    known
        .filter(|_| method != "check_object_reference" || model == "ir.model.data")
        .or_else(|| super::action::signature(model, method))
        .or_else(|| operation::signature(model, method))
        .ok_or_else(|| Exception::attribute(format!("The method '{model}.{method}' does not exist")))
}

/// Whether a method works on records; the others refuse `ids` in JSON-2.
pub(super) fn takes_ids(model: &str, method: &str) -> Result<bool, Exception> {
    signature(model, method).map(|(_, takes_ids, _)| *takes_ids)
}

impl Session<'_> {
    /// Calls a method. Unknown keywords and missing arguments are refused (facts: systems B2).
    pub(super) fn call(
        &mut self,
        model: &str,
        method: &str,
        arguments: &Arguments,
    ) -> Result<Value, Exception> {
        let (_, _, parameters) = signature(model, method)?;
        check_arguments(method, parameters, arguments)?;
        let context = arguments.get("context").and_then(Value::as_object);
        let active_test = context.and_then(|context| context.get("active_test"));
        self.active_test = active_test.is_none_or(|value| value != &Value::Bool(false) && value != &json!(0));
        self.context = context.cloned().unwrap_or_default();
        if matches!(method, "has_access" | "check_access_rights") {
            return self.access(model, method, arguments);
        }
        if let Some(answer) = self.operate(model, method, arguments) {
            return answer;
        }
        let none = Value::Null;
        let argument = |name: &str| arguments.get(name).unwrap_or(&none);
        let window = Window {
            offset: usize::try_from(argument("offset").as_u64().unwrap_or_default()).unwrap_or_default(),
            limit: argument("limit")
                .as_u64()
                .and_then(|limit| usize::try_from(limit).ok()),
            order: argument("order").as_str().map(str::to_owned),
        };
        self.quiet = context.map(Quiet::of).unwrap_or_default();
        let links = match arguments.get("load") {
            Some(load) if !load.is_string() => Links::Bare,
            _ => Links::Named,
        };
        let ids = ids(argument("ids"));
        if super::action::signature(model, method).is_some() {
            return self.act(model, method, &ids, arguments);
        }
        match method {
            "search" => Ok(json!(self.search(model, argument("domain"), &window)?)),
            "search_read" => {
                let found = self.search(model, argument("domain"), &window)?;
                Ok(Value::Array(self.read(
                    model,
                    &found,
                    &texts(argument("fields")),
                    links,
                )?))
            }
            "search_count" => {
                let unsorted = Window {
                    order: Some("id".to_owned()),
                    ..window
                };
                Ok(json!(self.search(model, argument("domain"), &unsorted)?.len()))
            }
            "read" => Ok(Value::Array(self.read(
                model,
                &ids,
                &texts(argument("fields")),
                links,
            )?)),
            "create" => self.create_all(model, argument("vals_list")),
            "write" => {
                let vals = argument("vals").as_object().cloned().unwrap_or_default();
                self.write(model, &ids, &vals).map(|()| json!(true))
            }
            "unlink" => self.unlink(model, &ids).map(|()| json!(true)),
            "load" => {
                let data = argument("data").as_array().cloned().unwrap_or_default();
                self.load(model, &texts(argument("fields")), &data)
            }
            "fields_get" => Ok(self.fields_get(model, &texts(argument("allfields")), argument("attributes"))),
            "get_external_id" => {
                let names = ids.iter().map(|id| {
                    (
                        id.to_string(),
                        json!(self.external_id(model, *id).unwrap_or_default()),
                    )
                });
                Ok(Value::Object(names.collect()))
            }
            "formatted_read_group" => self.formatted_read_group(model, arguments),
            _ => {
                let module = argument("module").as_str().unwrap_or_default();
                let name = argument("xml_id").as_str().unwrap_or_default();
                let external = format!("{module}.{name}");
                let found = self.resolve(&external);
                found.map(|(_, model, id)| json!([model, id])).ok_or_else(|| {
                    Exception::value(format!("External ID not found in the system: {external}"))
                })
            }
        }
    }

    /// Says whether the user may do something with records of a model. Version 18 brought `has_access`, 19 has no
    /// `check_access_rights` any more; both are Odoo's own reference of its ORM, and not from a capture.
    fn access(&self, model: &str, method: &str, arguments: &Arguments) -> Result<Value, Exception> {
        let is_known = match method {
            "has_access" => self.db.version >= 18,
            _ => self.db.version < 19,
        };
        if !is_known {
            let message = format!("The method '{model}.{method}' does not exist");
            return Err(Exception::attribute(message));
        }
        let operation = arguments.get("operation").and_then(Value::as_str);
        let is_allowed = operation == Some("read") || self.may_create;
        let raises =
            method == "check_access_rights" && arguments.get("raise_exception") != Some(&Value::Bool(false));
        if raises && !is_allowed {
            let message = format!("You are not allowed to modify ({model}) records.");
            return Err(Exception::access(message));
        }
        Ok(json!(is_allowed))
    }

    /// A list gives a list of ids, one dict the same with one.
    fn create_all(&mut self, model: &str, list: &Value) -> Result<Value, Exception> {
        let list = match list {
            Value::Array(list) => list.clone(),
            one => vec![one.clone()],
        };
        let mut made = Vec::new();
        for vals in list {
            made.push(self.create(model, &vals.as_object().cloned().unwrap_or_default())?);
        }
        if model == super::stock::QUANT {
            super::stock::once_each(&mut made);
        }
        Ok(json!(made))
    }

    fn fields_get(&self, model: &str, wanted: &[String], attributes: &Value) -> Value {
        let attributes = texts(attributes);
        let mut answer = Map::new();
        for field in self
            .db
            .table(model)
            .model
            .fields
            .iter()
            .filter(|field| field.name != "target")
        {
            if !wanted.is_empty() && !wanted.contains(&field.name) {
                continue;
            }
            let mut about = Map::from_iter([
                ("type".to_owned(), json!(field.type_name())),
                ("string".to_owned(), json!(field.label)),
                ("required".to_owned(), json!(field.is_required)),
                (
                    "readonly".to_owned(),
                    json!(field.name == "id" || field.name == "display_name"),
                ),
                ("store".to_owned(), json!(Session::is_stored(field))),
            ]);
            about.extend(field.comodel().map(|to| ("relation".to_owned(), json!(to))));
            if let super::model::Kind::Selection(options) = field.kind {
                about.insert("selection".to_owned(), json!(options));
            }
            match field.kind {
                super::model::Kind::Measure(precision) => {
                    about.insert("digits".to_owned(), json!([16, self.digits(precision)]));
                }
                super::model::Kind::Digits(digits) => {
                    about.insert("digits".to_owned(), json!([16, digits]));
                }
                _ => {}
            }
            if !attributes.is_empty() {
                about.retain(|name, _| attributes.contains(name));
            }
            answer.insert(field.name.clone(), Value::Object(about));
        }
        Value::Object(answer)
    }
}

fn check_arguments(method: &str, parameters: &[&str], arguments: &Arguments) -> Result<(), Exception> {
    let implementation = if method == "search_read" {
        "_read_format"
    } else {
        method
    };
    for name in arguments
        .keys()
        .filter(|name| !matches!(name.as_str(), "ids" | "context"))
    {
        if !parameters
            .iter()
            .any(|parameter| parameter.trim_end_matches('!') == name)
        {
            let message = format!("BaseModel.{implementation}() got an unexpected keyword argument '{name}'");
            return Err(Exception::wrong_type(message));
        }
    }
    let mut required = parameters.iter().filter_map(|name| name.strip_suffix('!'));
    if let Some(name) = required.find(|name| !arguments.contains_key(*name)) {
        let message = format!("BaseModel.{method}() missing 1 required positional argument: '{name}'");
        return Err(Exception {
            status: 422,
            ..Exception::wrong_type(message)
        });
    }
    Ok(())
}

pub(super) fn ids(value: &Value) -> Vec<i64> {
    match value {
        Value::Number(number) => number.as_i64().into_iter().collect(),
        Value::Array(list) => list.iter().filter_map(Value::as_i64).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}
