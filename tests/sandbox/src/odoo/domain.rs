//! Searching: domains in prefix notation, order, limits.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use chrono::NaiveDateTime;
use serde_json::Value;

use super::exception::Exception;
use super::model::Kind;
use super::session::Session;

/// A parsed domain.
#[derive(Debug, Clone)]
enum Domain {
    All(Vec<Domain>),
    Any(Vec<Domain>),
    Not(Box<Domain>),
    Leaf {
        path: String,
        operator: String,
        value: Value,
    },
}

/// The part of a result that is wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    pub(super) offset: usize,
    pub(super) limit: Option<usize>,
    pub(super) order: Option<String>,
}

impl Session<'_> {
    /// Finds records; archived ones are hidden unless the context or the domain says otherwise.
    pub(super) fn search(&self, model: &str, domain: &Value, window: &Window) -> Result<Vec<i64>, Exception> {
        let domain = parse(domain)?;
        self.check(model, &domain)?;
        let table = self.db.table(model);
        let hides = self.active_test && table.model.field("active").is_some() && !mentions(&domain, "active");
        let mut found = Vec::new();
        let mut keep = |id: i64| -> Result<(), Exception> {
            if (!hides || self.db.flag(model, id, "active")) && self.holds(model, id, &domain)? {
                found.push(id);
            }
            Ok(())
        };
        match self.candidates(model, &domain) {
            Some(ids) => ids.into_iter().try_for_each(&mut keep)?,
            None => table.rows.keys().copied().try_for_each(&mut keep)?,
        }
        self.sort(model, &mut found, window.order.as_deref())?;
        let rest = found.into_iter().skip(window.offset);
        Ok(match window.limit {
            Some(limit) if limit > 0 => rest.take(limit).collect(),
            _ => rest.collect(),
        })
    }

    /// Narrows the search by an index where the domain allows it.
    fn candidates(&self, model: &str, domain: &Domain) -> Option<BTreeSet<i64>> {
        match domain {
            Domain::All(parts) => parts.iter().find_map(|part| self.candidates(model, part)),
            Domain::Any(parts) if !parts.is_empty() => {
                let each: Option<Vec<BTreeSet<i64>>> =
                    parts.iter().map(|part| self.candidates(model, part)).collect();
                Some(each?.into_iter().flatten().collect())
            }
            Domain::Any(_) | Domain::Not(_) => None,
            Domain::Leaf {
                path,
                operator,
                value,
            } => self.indexed(model, path, operator, value),
        }
    }

    fn indexed(&self, model: &str, path: &str, operator: &str, value: &Value) -> Option<BTreeSet<i64>> {
        let table = self.db.table(model);
        let values: Vec<&Value> = match (operator, value) {
            ("in", Value::Array(values)) => values.iter().collect(),
            ("=", Value::Array(_)) => return None,
            ("=", one) if path != "write_date" => vec![one],
            (">" | ">=" | "=", Value::String(text)) if path == "write_date" => {
                let first = seconds(text).ok()? + i64::from(operator == ">");
                let start = (first.saturating_mul(1_000_000), 0);
                let ids = |(_, id): &(i64, i64)| *id;
                return Some(if operator == "=" {
                    let end = ((first + 1).saturating_mul(1_000_000), 0);
                    table.by_written.range(start..end).map(ids).collect()
                } else {
                    table.by_written.range(start..).map(ids).collect()
                });
            }
            _ => return None,
        };
        if values
            .iter()
            .any(|value| matches!(value, Value::Bool(_) | Value::Null))
        {
            return None;
        }
        if path == "id" {
            return Some(values.iter().filter_map(|value| value.as_i64()).collect());
        }
        let is_link = matches!(table.model.field(path)?.kind, Kind::Many2one(_));
        if is_link && values.iter().any(|value| value.is_string()) {
            return None;
        }
        let mut ids = BTreeSet::new();
        for value in values {
            ids.extend(table.with(path, value)?);
        }
        Some(ids)
    }

    fn check(&self, model: &str, domain: &Domain) -> Result<(), Exception> {
        match domain {
            Domain::All(parts) | Domain::Any(parts) => {
                parts.iter().try_for_each(|part| self.check(model, part))
            }
            Domain::Not(part) => self.check(model, part),
            Domain::Leaf {
                path,
                operator,
                value,
            } => {
                let (head, rest) = path
                    .split_once('.')
                    .map_or((path.as_str(), None), |(h, r)| (h, Some(r)));
                let Some(field) = self.db.table(model).model.field(head) else {
                    let (path, value) = (python(&Value::from(path.as_str())), python(value));
                    let condition = format!("({path}, '{operator}', {value})");
                    return Err(Exception::value(format!(
                        "Invalid field {model}.{head} in condition {condition}"
                    )));
                };
                if !OPERATORS.contains(&operator.as_str()) {
                    let condition = format!("('{path}', '{operator}', {})", python(value));
                    return Err(Exception::value(format!(
                        "Invalid operator in condition {condition}"
                    )));
                }
                let Some(rest) = rest else {
                    return match (&field.kind, value) {
                        (Kind::Datetime, Value::String(text)) => seconds(text).map(|_| ()),
                        _ => Ok(()),
                    };
                };
                let to = field
                    .comodel()
                    .filter(|to| self.db.has(to))
                    .ok_or_else(|| Exception::value(format!("Invalid field {model}.{path} in condition")))?;
                let inner = Domain::Leaf {
                    path: rest.to_owned(),
                    operator: operator.clone(),
                    value: value.clone(),
                };
                self.check(to, &inner)
            }
        }
    }

    fn holds(&self, model: &str, id: i64, domain: &Domain) -> Result<bool, Exception> {
        match domain {
            Domain::All(parts) => {
                for part in parts {
                    if !self.holds(model, id, part)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Domain::Any(parts) => {
                for part in parts {
                    if self.holds(model, id, part)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Domain::Not(part) => Ok(!self.holds(model, id, part)?),
            Domain::Leaf {
                path,
                operator,
                value,
            } => self.leaf(model, id, path, operator, value),
        }
    }

    fn leaf(
        &self,
        model: &str,
        id: i64,
        path: &str,
        operator: &str,
        value: &Value,
    ) -> Result<bool, Exception> {
        let negated = match operator {
            "!=" => Some("="),
            "not in" => Some("in"),
            "not like" => Some("like"),
            "not ilike" => Some("ilike"),
            _ => None,
        };
        if let Some(positive) = negated {
            return Ok(!self.leaf(model, id, path, positive, value)?);
        }
        if let Some((head, rest)) = path.split_once('.') {
            let to = self.field(model, head)?.comodel().unwrap_or_default().to_owned();
            let targets = as_ids(&self.raw(model, id, head));
            for target in targets {
                if self.leaf(&to, target, rest, operator, value)? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        let own = self.raw(model, id, path);
        let field = self.field(model, path)?;
        Ok(match (&field.kind, operator) {
            (Kind::Datetime, _) => compare_times(&own, operator, value)?,
            (_, "in") => {
                let values = value.as_array().map_or_else(|| vec![value.clone()], Clone::clone);
                values
                    .iter()
                    .any(|value| self.equals(field.comodel(), &own, value))
            }
            (_, "child_of") => self.is_below(field.comodel().unwrap_or(model), &own, value),
            (_, "=") => self.equals(field.comodel(), &own, value),
            (_, "like" | "ilike" | "=like" | "=ilike") => {
                let texts: Vec<String> = match field.comodel() {
                    Some(to) => as_ids(&own)
                        .into_iter()
                        .map(|target| self.display_name(to, target))
                        .collect(),
                    None => own.as_str().map(str::to_owned).into_iter().collect(),
                };
                let pattern = value.as_str().unwrap_or_default();
                texts.iter().any(|text| matches_pattern(text, operator, pattern))
            }
            _ => compare(&own, operator, value),
        })
    }

    fn equals(&self, comodel: Option<&str>, own: &Value, value: &Value) -> bool {
        let is_unset = |value: &Value| match value {
            Value::Bool(false) | Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        match (comodel, value) {
            (_, Value::Bool(false) | Value::Null) => is_unset(own),
            (Some(to), Value::String(name)) => as_ids(own)
                .into_iter()
                .any(|target| self.display_name(to, target) == *name),
            (Some(_), _) => as_ids(own)
                .into_iter()
                .any(|target| as_ids(value).contains(&target)),
            (None, Value::Number(number)) => own.as_f64().is_some_and(|own| Some(own) == number.as_f64()),
            (None, _) => own == value,
        }
    }

    /// Whether a record is one of others or stands below one of them.
    fn is_below(&self, model: &str, own: &Value, value: &Value) -> bool {
        let parent = if model == "stock.location" {
            "location_id"
        } else {
            "parent_id"
        };
        let tops = as_ids(value);
        as_ids(own).into_iter().any(|start| {
            let above = std::iter::successors(Some(start), |id| self.db.link(model, *id, parent));
            above.take(100).any(|id| tops.contains(&id))
        })
    }

    pub(super) fn sort(&self, model: &str, ids: &mut [i64], order: Option<&str>) -> Result<(), Exception> {
        let order = order
            .filter(|order| !order.trim().is_empty())
            .unwrap_or(self.db.table(model).model.order);
        let mut keys = Vec::new();
        for part in order.split(',') {
            let mut words = part.split_whitespace();
            let name = words.next().unwrap_or("id");
            self.field(model, name)?;
            keys.push((
                name,
                words.next().is_some_and(|word| word.eq_ignore_ascii_case("desc")),
            ));
        }
        if keys.first() == Some(&("id", false)) {
            ids.sort_unstable();
            return Ok(());
        }
        // The order of a cursor, over many records.
        if keys == [("write_date", false), ("id", false)] {
            let table = self.db.table(model);
            ids.sort_unstable_by_key(|id| (table.rows.get(id).map(|row| row.written), *id));
            return Ok(());
        }
        ids.sort_by_cached_key(|id| {
            let values = keys.iter().map(|(name, descends)| {
                let value = match self.raw(model, *id, name) {
                    Value::String(text) => SortKey::Text(text.to_lowercase()),
                    Value::Number(number) => SortKey::Number(number.as_f64().unwrap_or_default()),
                    _ => SortKey::Nothing,
                };
                Directed {
                    value,
                    descends: *descends,
                }
            });
            (values.collect::<Vec<_>>(), *id)
        });
        Ok(())
    }
}

const OPERATORS: &[&str] = &[
    "=",
    "!=",
    ">",
    ">=",
    "<",
    "<=",
    "in",
    "not in",
    "like",
    "not like",
    "ilike",
    "not ilike",
    "=like",
    "=ilike",
    "child_of",
];

#[derive(Debug, PartialEq)]
enum SortKey {
    Number(f64),
    Text(String),
    Nothing,
}

#[derive(Debug, PartialEq)]
struct Directed {
    value: SortKey,
    descends: bool,
}

impl Eq for Directed {}

impl PartialOrd for Directed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Directed {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = match (&self.value, &other.value) {
            (SortKey::Number(one), SortKey::Number(two)) => one.total_cmp(two),
            (SortKey::Text(one), SortKey::Text(two)) => one.cmp(two),
            (SortKey::Nothing, SortKey::Nothing) => Ordering::Equal,
            (SortKey::Nothing, _) | (SortKey::Text(_), SortKey::Number(_)) => Ordering::Greater,
            (_, SortKey::Nothing) | (SortKey::Number(_), SortKey::Text(_)) => Ordering::Less,
        };
        if self.descends { order.reverse() } else { order }
    }
}

fn as_ids(value: &Value) -> Vec<i64> {
    match value {
        Value::Number(number) => number.as_i64().into_iter().collect(),
        Value::Array(list) => list.iter().filter_map(Value::as_i64).collect(),
        _ => Vec::new(),
    }
}

/// Compares whole seconds on both sides (facts: systems B6).
fn compare_times(own: &Value, operator: &str, value: &Value) -> Result<bool, Exception> {
    let own = match own {
        Value::Number(micros) => micros.as_i64().unwrap_or_default().div_euclid(1_000_000),
        Value::String(text) => seconds(text)?,
        _ => return Ok(operator == "=" && !value.is_string()),
    };
    let parsed = |value: &Value| value.as_str().map(seconds).transpose();
    if operator == "in" {
        let values = value.as_array().cloned().unwrap_or_default();
        return Ok(values
            .iter()
            .any(|value| matches!(parsed(value), Ok(Some(at)) if at == own)));
    }
    Ok(parsed(value)?.is_some_and(|value| ordered(own.cmp(&value), operator)))
}

fn compare(own: &Value, operator: &str, value: &Value) -> bool {
    match (own, value) {
        (Value::Number(own), Value::Number(value)) => {
            let (own, value) = (
                own.as_f64().unwrap_or_default(),
                value.as_f64().unwrap_or_default(),
            );
            ordered(own.total_cmp(&value), operator)
        }
        (Value::String(own), Value::String(value)) => ordered(own.cmp(value), operator),
        _ => false,
    }
}

fn ordered(order: Ordering, operator: &str) -> bool {
    match operator {
        "=" => order.is_eq(),
        ">" => order.is_gt(),
        ">=" => order.is_ge(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        _ => false,
    }
}

fn matches_pattern(text: &str, operator: &str, pattern: &str) -> bool {
    let (text, pattern) = if operator.ends_with("ilike") {
        (text.to_lowercase(), pattern.to_lowercase())
    } else {
        (text.to_owned(), pattern.to_owned())
    };
    let pattern = if operator.starts_with('=') {
        pattern
    } else {
        format!("%{pattern}%")
    };
    wildcard(
        &text.chars().collect::<Vec<_>>(),
        &pattern.chars().collect::<Vec<_>>(),
    )
}

fn wildcard(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skip| wildcard(&text[skip..], rest)),
        ['_', rest @ ..] => !text.is_empty() && wildcard(&text[1..], rest),
        ['\\', literal, rest @ ..] | [literal, rest @ ..] => {
            text.first() == Some(literal) && wildcard(&text[1..], rest)
        }
    }
}

/// Reads a time without a zone; fractions are dropped (facts: systems B6).
pub(super) fn seconds(text: &str) -> Result<i64, Exception> {
    let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"];
    let at = formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let day = || NaiveDateTime::parse_from_str(&format!("{text} 00:00:00"), formats[0]).ok();
    match at.or_else(day) {
        Some(at) => Ok(at.and_utc().timestamp()),
        None if text.ends_with('Z') || text.contains('+') => Err(Exception::value(format!(
            "expecting only datetimes with no timezone: '{text}'"
        ))),
        None => Err(Exception::value(format!(
            "time data '{text}' does not match format '%Y-%m-%d %H:%M:%S'"
        ))),
    }
}

fn mentions(domain: &Domain, name: &str) -> bool {
    match domain {
        Domain::All(parts) | Domain::Any(parts) => parts.iter().any(|part| mentions(part, name)),
        Domain::Not(part) => mentions(part, name),
        Domain::Leaf { path, .. } => path == name,
    }
}

fn parse(domain: &Value) -> Result<Domain, Exception> {
    let items = match domain {
        Value::Array(items) => items.as_slice(),
        Value::Null | Value::Bool(false) => &[],
        other => {
            return Err(Exception::value(format!(
                "Domain() invalid item in domain: {}",
                python(other)
            )));
        }
    };
    let mut rest = items.iter();
    let mut parts = Vec::new();
    while rest.len() > 0 {
        parts.push(parse_one(&mut rest)?);
    }
    Ok(Domain::All(parts))
}

fn parse_one<'v>(rest: &mut impl Iterator<Item = &'v Value>) -> Result<Domain, Exception> {
    let malformed =
        |item: &Value| Exception::value(format!("Domain() invalid item in domain: {}", python(item)));
    let Some(item) = rest.next() else {
        return Err(Exception::value("Domain() is malformed"));
    };
    match item {
        Value::String(operator) => match operator.as_str() {
            "&" => Ok(Domain::All(vec![parse_one(rest)?, parse_one(rest)?])),
            "|" => Ok(Domain::Any(vec![parse_one(rest)?, parse_one(rest)?])),
            "!" => Ok(Domain::Not(Box::new(parse_one(rest)?))),
            _ => Err(malformed(item)),
        },
        Value::Array(leaf) => match leaf.as_slice() {
            [Value::String(path), Value::String(operator), value] => Ok(Domain::Leaf {
                path: path.clone(),
                operator: operator.clone(),
                value: value.clone(),
            }),
            // The constants (1, '=', 1) and (0, '=', 1).
            [Value::Number(one), _, Value::Number(two)] => {
                let parts = Vec::new();
                Ok(if one == two {
                    Domain::All(parts)
                } else {
                    Domain::Any(parts)
                })
            }
            _ => Err(malformed(item)),
        },
        _ => Err(malformed(item)),
    }
}

/// Writes a value the way Python shows it.
pub(super) fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("'{text}'"),
        Value::Array(list) => format!("[{}]", list.iter().map(python).collect::<Vec<_>>().join(", ")),
        Value::Object(_) => value.to_string(),
    }
}
