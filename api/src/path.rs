//! What the OpenAPI document says about an address: its methods and its parameters. The document is what is promised, so
//! it is also what `Allow` and the check of query parameters go by.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::role::{self, Rule};

/// Every address of the document.
#[derive(Debug)]
pub(crate) struct Paths(Vec<Template>);

#[derive(Debug)]
struct Template {
    segments: Vec<Segment>,
    /// By methods in capitals.
    methods: BTreeMap<String, Operation>,
}

#[derive(Debug)]
struct Operation {
    query_parameters: BTreeSet<String>,
    rule: Option<&'static Rule>,
}

#[derive(Debug)]
enum Segment {
    Literal(String),
    Parameter(String),
}

/// What a request asked for, as far as the document knows it.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    template: Option<&'a Template>,
}

impl Paths {
    /// Reads the addresses of a document.
    pub(crate) fn of_document(document: &str) -> Self {
        let document: Value = serde_json::from_str(document).expect("the document is JSON");
        let paths = document["paths"].as_object().expect("the document has paths");
        Self(
            paths
                .iter()
                .map(|(path, operations)| Template::new(path, operations))
                .collect(),
        )
    }

    pub(crate) fn find(&self, path: &str) -> Asked<'_> {
        let segments: Vec<&str> = path.split('/').collect();
        let template = self.0.iter().find(|template| template.matches(&segments));
        Asked { template }
    }
}

impl Template {
    fn new(path: &str, operations: &Value) -> Self {
        let segments = path.split('/').map(|segment| {
            let parameter = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            parameter.map_or_else(
                || Segment::Literal(segment.to_owned()),
                |name| Segment::Parameter(name.to_owned()),
            )
        });
        let methods = operations.as_object().into_iter().flatten();
        Self {
            segments: segments.collect(),
            methods: methods
                .map(|(method, operation)| (method.to_uppercase(), Operation::new(operation)))
                .collect(),
        }
    }

    fn matches(&self, path: &[&str]) -> bool {
        let matches = |(segment, given): (&Segment, &&str)| match segment {
            Segment::Literal(literal) => literal == given,
            Segment::Parameter(_) => !given.is_empty(),
        };
        self.segments.len() == path.len() && self.segments.iter().zip(path).all(matches)
    }
}

impl Operation {
    fn new(operation: &Value) -> Self {
        Self {
            query_parameters: query_parameters(operation),
            rule: operation["operationId"].as_str().and_then(role::rule),
        }
    }
}

fn query_parameters(operation: &Value) -> BTreeSet<String> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    parameters
        .filter(|parameter| parameter["in"] == "query")
        .filter_map(|parameter| parameter["name"].as_str().map(str::to_owned))
        .collect()
}

impl Asked<'_> {
    /// Returns the methods that are possible here. What stands outside the document can only be read.
    pub(crate) fn allowed_methods(&self) -> Vec<&str> {
        let mut methods: Vec<&str> = self.template.map_or_else(
            || vec!["GET"],
            |template| template.methods.keys().map(String::as_str).collect(),
        );
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods
    }

    /// Returns the name of a path parameter from the one that the framework gives it by its position: `param0`.
    pub(crate) fn path_parameter(&self, position: &str) -> &str {
        let position = position
            .strip_prefix("param")
            .and_then(|digits| digits.parse::<usize>().ok());
        let names = self.template.into_iter().flat_map(|template| &template.segments);
        let mut names = names.filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        });
        position
            .and_then(|position| names.nth(position))
            .unwrap_or("path")
    }

    /// Returns what the operation asks of its caller.
    pub(crate) fn rule(&self, method: &str) -> Option<&'static Rule> {
        let method = if method == "HEAD" { "GET" } else { method };
        self.template?.methods.get(method)?.rule
    }

    /// Returns the first query parameter that is given twice, or holds what no row can, with what is wrong about it.
    pub(crate) fn wrong_query_parameter(&self, query: Option<&str>) -> Option<(String, &'static str)> {
        self.template?;
        let mut seen = BTreeSet::new();
        url::form_urlencoded::parse(query?.as_bytes()).find_map(|(name, value)| {
            let wrong = if value.contains('\0') {
                "must not contain the character U+0000"
            } else if seen.insert(name.to_string()) {
                return None;
            } else {
                "must not be given twice"
            };
            Some((name.into_owned(), wrong))
        })
    }

    /// Returns the first query parameter that the operation does not have.
    pub(crate) fn unknown_query_parameter(&self, method: &str, query: Option<&str>) -> Option<String> {
        let known = &self.template?.methods.get(method)?.query_parameters;
        url::form_urlencoded::parse(query?.as_bytes())
            .map(|(name, _)| name.into_owned())
            .find(|name| !known.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> Paths {
        Paths::of_document(
            r#"{"paths": {
                "/syncs": {"get": {"parameters": [{"in": "query", "name": "limit"}]}, "post": {}},
                "/syncs/{syncId}": {"get": {}}
            }}"#,
        )
    }

    #[test]
    fn an_address_knows_its_methods_and_parameters() {
        let paths = paths();

        assert_eq!(paths.find("/syncs").allowed_methods(), ["GET", "POST", "HEAD"]);
        assert_eq!(paths.find("/syncs/1").allowed_methods(), ["GET", "HEAD"]);
        assert_eq!(paths.find("/livez").allowed_methods(), ["GET", "HEAD"]);
        assert_eq!(paths.find("/syncs/1").path_parameter("param0"), "syncId");
    }

    #[test]
    fn an_operation_knows_its_rule() {
        let paths = Paths::of_document(&crate::document::text());
        let rule = |method: &str, path: &str| paths.find(path).rule(method).map(|rule| rule.operation);

        assert_eq!(rule("POST", "/api/v1/syncs"), Some("startSync"), "R42");
        assert_eq!(rule("HEAD", "/api/v1/syncs"), Some("listSyncs"), "R42");
        assert_eq!(rule("DELETE", "/api/v1/syncs"), None);
        assert_eq!(rule("GET", "/api/v1/syncs/"), None);
    }

    #[test]
    fn a_misspelt_query_parameter_is_noticed() {
        let paths = paths();
        let asked = paths.find("/syncs");

        assert_eq!(asked.unknown_query_parameter("GET", Some("limit=1")), None);
        let unknown = asked.unknown_query_parameter("GET", Some("limit=1&stauts=done"));
        assert_eq!(unknown.as_deref(), Some("stauts"));
    }

    #[test]
    fn a_query_parameter_is_given_once_and_as_what_can_be_stored() {
        let paths = paths();
        let asked = paths.find("/syncs");
        let wrong = |query| asked.wrong_query_parameter(Some(query)).map(|(name, _)| name);

        assert_eq!(wrong("limit=1&status=a"), None);
        assert_eq!(wrong("limit=1&%6cimit=2").as_deref(), Some("limit"), "R45");
        assert_eq!(wrong("status=a%00b").as_deref(), Some("status"), "R45");
    }
}
