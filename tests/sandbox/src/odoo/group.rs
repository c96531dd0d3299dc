//! `formatted_read_group`: sums per group (facts: mapping-odoo 5, 6).

use serde_json::{Map, Value, json};

use super::call::{Arguments, texts};
use super::domain::Window;
use super::exception::Exception;
use super::model::Kind;
use super::read::{Links, stamp};
use super::session::Session;

/// One key of a group as it is shown, and the domain that finds its records again.
#[derive(Debug, Clone, PartialEq)]
struct Key {
    shown: Value,
    domain: Vec<Value>,
}

impl Session<'_> {
    /// Sums up; grouping by nothing, by plain fields, or by the day or month of a time.
    pub(super) fn formatted_read_group(
        &self,
        model: &str,
        arguments: &Arguments,
    ) -> Result<Value, Exception> {
        let domain = arguments.get("domain").cloned().unwrap_or_default();
        let unsorted = Window {
            order: Some("id".to_owned()),
            ..Window::default()
        };
        let found = self.search(model, &domain, &unsorted)?;
        let groupby = texts(arguments.get("groupby").unwrap_or(&Value::Null));
        let aggregates = texts(arguments.get("aggregates").unwrap_or(&Value::Null));
        let mut groups: Vec<(Vec<Key>, Vec<i64>)> = Vec::new();
        if groupby.is_empty() {
            groups.push((Vec::new(), found));
        } else {
            let mut places = std::collections::HashMap::new();
            for id in found {
                let keys: Vec<Key> = groupby
                    .iter()
                    .map(|spec| self.group_key(model, id, spec))
                    .collect::<Result<_, _>>()?;
                let name = keys.iter().map(|key| key.shown.to_string()).collect::<String>();
                let at = *places.entry(name).or_insert_with(|| {
                    groups.push((keys, Vec::new()));
                    groups.len() - 1
                });
                groups[at].1.push(id);
            }
        }
        let window = |name: &str| {
            arguments
                .get(name)
                .and_then(Value::as_u64)
                .and_then(|number| usize::try_from(number).ok())
        };
        let groups = groups
            .into_iter()
            .skip(window("offset").unwrap_or_default())
            .take(window("limit").filter(|limit| *limit > 0).unwrap_or(usize::MAX));
        let mut answer = Vec::new();
        for (keys, ids) in groups {
            let mut row = Map::new();
            for (spec, key) in groupby.iter().zip(&keys) {
                row.insert(spec.clone(), key.shown.clone());
            }
            for aggregate in &aggregates {
                row.insert(aggregate.clone(), self.aggregated(model, &ids, aggregate)?);
            }
            let extra: Vec<&Value> = keys.iter().flat_map(|key| &key.domain).collect();
            row.insert("__extra_domain".to_owned(), json!(extra));
            answer.push(Value::Object(row));
        }
        Ok(Value::Array(answer))
    }

    fn group_key(&self, model: &str, id: i64, spec: &str) -> Result<Key, Exception> {
        let (name, part) = spec.split_once(':').map_or((spec, None), |(n, p)| (n, Some(p)));
        let is_time = self.field(model, name)?.kind == Kind::Datetime;
        let names = [name.to_owned()];
        let rows = self.read(model, &[id], &names, Links::Named)?;
        let shown = rows[0][name].clone();
        if let (true, Some(text)) = (is_time, shown.as_str()) {
            let len = if part == Some("day") { 10 } else { 7 };
            let start = if len == 10 {
                format!("{} 00:00:00", &text[..10])
            } else {
                format!("{}-01 00:00:00", &text[..7])
            };
            let label = text[..len].to_owned();
            return Ok(Key {
                domain: vec![json!([name, ">=", start])],
                shown: json!([start, label]),
            });
        }
        let plain = match &shown {
            Value::Array(pair) => pair.first().cloned().unwrap_or_default(),
            other => other.clone(),
        };
        Ok(Key {
            domain: vec![json!([name, "=", plain])],
            shown,
        })
    }

    fn aggregated(&self, model: &str, ids: &[i64], aggregate: &str) -> Result<Value, Exception> {
        if aggregate == "__count" {
            return Ok(json!(ids.len()));
        }
        let (name, function) = aggregate.split_once(':').unwrap_or((aggregate, "sum"));
        self.field(model, name)?;
        let numbers = ids.iter().filter_map(|id| self.raw(model, *id, name).as_f64());
        let extreme = |best: fn(f64, f64) -> f64| {
            ids.iter()
                .filter_map(|id| self.raw(model, *id, name).as_f64())
                .reduce(best)
        };
        let number = match function {
            "max" => extreme(f64::max),
            "min" => extreme(f64::min),
            "sum" => Some(numbers.sum()),
            "array_agg" => return Ok(ids.iter().map(|id| self.raw(model, *id, name)).collect()),
            _ => {
                return Err(Exception::value(format!(
                    "Invalid aggregate method '{function}' for '{aggregate}'."
                )));
            }
        };
        let is_time = matches!(name, "write_date" | "create_date");
        let is_whole = matches!(name, "id" | "res_id");
        #[expect(
            clippy::cast_possible_truncation,
            reason = "microseconds and ids are whole and below 2^53"
        )]
        Ok(match number {
            None => Value::Bool(false),
            Some(number) if is_time => json!(stamp(number as i64)),
            Some(number) if is_whole => json!(number as i64),
            Some(number) => json!(number),
        })
    }
}
