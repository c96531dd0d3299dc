//! `web_read` and `web_search_read`: records with the fields of what they point to, in one call (facts: mapping-odoo 6).

use serde_json::{Map, Value, json};

use super::exception::Exception;
use super::model::Kind;
use super::read::Links;
use super::session::Session;

impl Session<'_> {
    /// Reads records as a specification says: relations without fields are bare ids.
    pub(super) fn web_read(
        &self,
        model: &str,
        ids: &[i64],
        specification: &Value,
    ) -> Result<Vec<Value>, Exception> {
        let empty = Map::new();
        let wanted = specification.as_object().unwrap_or(&empty);
        for name in wanted.keys() {
            self.field(model, name)?;
        }
        let present = ids.iter().filter(|id| self.db.row(model, **id).is_some());
        present
            .map(|id| {
                let mut row = Map::from_iter([("id".to_owned(), json!(id))]);
                for (name, inner) in wanted {
                    row.insert(name.clone(), self.web_value(model, *id, name, inner)?);
                }
                Ok(Value::Object(row))
            })
            .collect()
    }

    fn web_value(&self, model: &str, id: i64, name: &str, inner: &Value) -> Result<Value, Exception> {
        let field = self.field(model, name)?;
        let rows = self.read(model, &[id], &[name.to_owned()], Links::Bare)?;
        let value = rows.first().map(|row| row[name].clone()).unwrap_or_default();
        let (Some(to), Some(fields)) = (field.comodel().filter(|to| self.db.has(to)), inner.get("fields"))
        else {
            return Ok(value);
        };
        if let Kind::Many2one(_) = field.kind {
            let target: Vec<i64> = value.as_i64().into_iter().collect();
            let found = self.web_read(to, &target, fields)?;
            return Ok(found.into_iter().next().unwrap_or(Value::Bool(false)));
        }
        let list = value.as_array().into_iter().flatten();
        let mut targets: Vec<i64> = list.filter_map(Value::as_i64).collect();
        if let Some(order) = inner.get("order").and_then(Value::as_str) {
            self.sort(to, &mut targets, Some(order))?;
        }
        let limit = inner.get("limit").and_then(Value::as_u64);
        if let Some(limit) = limit
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| *limit > 0)
        {
            targets.truncate(limit);
        }
        Ok(Value::Array(self.web_read(to, &targets, fields)?))
    }
}
