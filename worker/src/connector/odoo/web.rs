//! Records with the fields of what they point to, in one call where Odoo has one for that.
//!
//! Source: facts/mapping-odoo.md §6. `web_search_read` takes a specification of nested fields; an Odoo that does not know
//! it answers with an `AttributeError`, and is asked once per kind of record instead.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};

use super::super::Gate;
use super::Odoo;
use super::error::Failure;
use super::rpc::Call;
use super::wire::rows;

/// Which fields of a record are wanted, and which of the records that it points to.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    model: &'static str,
    fields: Vec<(&'static str, Option<Self>)>,
}

impl Shape {
    pub(super) fn new(model: &'static str, fields: &[&'static str]) -> Self {
        Self {
            model,
            fields: fields.iter().map(|field| (*field, None)).collect(),
        }
    }

    pub(super) fn with(mut self, field: &'static str, shape: Self) -> Self {
        self.fields.push((field, Some(shape)));
        self
    }

    fn specification(&self) -> Value {
        let fields = self.fields.iter().map(|(field, shape)| {
            let inner = shape
                .as_ref()
                .map_or_else(|| json!({}), |shape| json!({"fields": shape.specification()}));
            ((*field).to_owned(), inner)
        });
        Value::Object(fields.collect())
    }

    fn names(&self) -> Vec<&'static str> {
        self.fields.iter().map(|(field, _)| *field).collect()
    }
}

/// A call that reads one kind of record after the other.
type Reading<'a> = Pin<Box<dyn Future<Output = Result<Vec<Value>, Failure>> + Send + 'a>>;

impl Odoo {
    /// Reads records in order of their ids, archived ones too. References without a shape of their own are bare ids.
    pub(super) async fn nested(
        &self,
        gate: &dyn Gate,
        shape: &Shape,
        domain: Value,
    ) -> Result<Vec<Value>, Failure> {
        if !self.is_flat.load(Ordering::Relaxed) {
            let call = Call::new(shape.model, "web_search_read")
                .arg("domain", domain.clone())
                .arg("specification", shape.specification())
                .option("order", json!("id"))
                .context(json!({"active_test": false}));
            match self.rpc.read(gate, &call).await {
                Ok(mut answer) => {
                    return rows(answer.get_mut("records").map(Value::take).unwrap_or_default());
                }
                Err(Failure::Fault(fault)) if fault.name.ends_with("AttributeError") => {
                    self.is_flat.store(true, Ordering::Relaxed);
                }
                Err(failure) => return Err(failure),
            }
        }
        self.flat(gate, shape, domain).await
    }

    fn flat<'a>(&'a self, gate: &'a dyn Gate, shape: &'a Shape, domain: Value) -> Reading<'a> {
        Box::pin(async move {
            let call = Call::search_read(shape.model, domain, &shape.names()).option("order", json!("id"));
            let mut found: Vec<Map<String, Value>> = rows(self.rpc.read(gate, &call).await?)?;
            for (field, inner) in &shape.fields {
                let Some(inner) = inner else {
                    for row in &mut found {
                        bare(row.get_mut(*field));
                    }
                    continue;
                };
                let ids: BTreeSet<i64> = found.iter().flat_map(|row| ids_in(row.get(*field))).collect();
                let read = if ids.is_empty() {
                    Vec::new()
                } else {
                    self.flat(gate, inner, json!([["id", "in", ids]])).await?
                };
                let by_id: BTreeMap<i64, Value> = read
                    .into_iter()
                    .filter_map(|row| Some((row.get("id")?.as_i64()?, row)))
                    .collect();
                for row in &mut found {
                    fill(row.get_mut(*field), &by_id);
                }
            }
            Ok(found.into_iter().map(Value::Object).collect())
        })
    }
}

/// Says whether a value is a reference as `search_read` writes it: `[id, "Name"]`.
fn link(value: &Value) -> Option<i64> {
    match value.as_array()?.as_slice() {
        [id, Value::String(_)] => id.as_i64(),
        _ => None,
    }
}

fn ids_in(value: Option<&Value>) -> Vec<i64> {
    let Some(value) = value else { return Vec::new() };
    link(value).map_or_else(
        || {
            value
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_i64)
                .collect()
        },
        |id| vec![id],
    )
}

fn bare(value: Option<&mut Value>) {
    if let Some(value) = value
        && let Some(id) = link(value)
    {
        *value = json!(id);
    }
}

fn fill(value: Option<&mut Value>, by_id: &BTreeMap<i64, Value>) {
    let Some(value) = value else { return };
    if let Some(id) = link(value) {
        *value = by_id.get(&id).cloned().unwrap_or(Value::Bool(false));
    } else if value.is_array() {
        let ids = ids_in(Some(value));
        *value = ids.iter().filter_map(|id| by_id.get(id).cloned()).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_nests() {
        let shape = Shape::new("sale.order", &["name"])
            .with("order_line", Shape::new("sale.order.line", &["price_tax"]));

        assert_eq!(
            shape.specification(),
            json!({"name": {}, "order_line": {"fields": {"price_tax": {}}}})
        );
    }

    #[test]
    fn what_was_read_apart_is_put_together() {
        let by_id = BTreeMap::from([(7, json!({"id": 7})), (8, json!({"id": 8}))]);
        let filled = |mut value: Value| {
            fill(Some(&mut value), &by_id);
            value
        };

        assert_eq!(filled(json!([7, "A"])), json!({"id": 7}));
        assert_eq!(filled(json!([8, 7, 9])), json!([{"id": 8}, {"id": 7}]));
        assert_eq!(filled(json!(false)), json!(false));
    }
}
