//! `load`: the idempotent upsert by external id, all or nothing (facts: systems B4, mapping-odoo 0).

use serde_json::{Map, Value, json};

use super::exception::{CONFLICT, Exception};
use super::model::{Field, Kind};
use super::session::Session;

/// One column, split at its slashes.
type Column = Vec<String>;

/// One message of an answer.
#[derive(Debug, Clone)]
struct Message(Value);

/// The lines of one record.
#[derive(Debug, Clone, Copy)]
struct Span {
    record: usize,
    from: usize,
    to: usize,
}

/// Why a record was not written.
enum Failure {
    /// Found while converting: all are reported.
    Conversion(Vec<Message>),
    /// Found while writing: reporting stops after ten.
    Writing { message: Message, is_refusal: bool },
    /// No message, the call fails.
    Exception(Exception),
}

impl Session<'_> {
    /// Loads rows of text under the names of columns.
    pub(super) fn load(
        &mut self,
        model: &str,
        fields: &[String],
        data: &[Value],
    ) -> Result<Value, Exception> {
        let columns: Vec<Column> = fields
            .iter()
            .map(|field| field.split('/').map(str::to_owned).collect())
            .collect();
        for column in &columns {
            let name = &column[0];
            if !matches!(name.as_str(), "id" | ".id") && self.db.table(model).model.field(name).is_none() {
                return Err(Exception::value(format!("Invalid field name '{name}'")));
            }
        }
        let rows: Vec<Vec<Value>> = data
            .iter()
            .map(|row| row.as_array().cloned().unwrap_or_default())
            .collect();
        let spans = self.spans(model, &columns, &rows);
        let start = (self.db.savepoint(), self.felt_len());
        let (mut ids, mut conversions, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
        let mut has_refusal = false;
        for (number, span) in spans.iter().enumerate() {
            let point = (self.db.savepoint(), self.felt_len());
            match self.load_record(model, &columns, &rows[span.from..=span.to], *span) {
                Ok(id) => {
                    ids.push(id);
                    continue;
                }
                Err(Failure::Exception(exception)) => return Err(exception),
                Err(Failure::Conversion(messages)) => conversions.extend(messages),
                Err(Failure::Writing { message, is_refusal }) => {
                    has_refusal |= is_refusal;
                    refusals.push(message);
                }
            }
            self.db.roll_back(point.0);
            self.forget_after(point.1);
            if refusals.len() >= 10 && refusals.len() >= (number + 1) / 10 {
                let message = "Found more than 10 errors and more than one error per 10 records, interrupted to \
                               avoid showing too many errors.";
                refusals.push(Message(json!({"type": "warning", "message": message})));
                break;
            }
        }
        if conversions.is_empty() && refusals.is_empty() {
            return Ok(json!({"ids": ids, "messages": [], "nextrow": 0}));
        }
        // The attempt on the whole batch fails first and is told of its first record, however innocent.
        if has_refusal && spans.len() > 1 {
            let mut first = refusals[0].clone();
            first.0["record"] = json!(0);
            first.0["rows"] = json!({"from": spans[0].from, "to": spans[0].to});
            refusals.insert(0, first);
        }
        self.db.roll_back(start.0);
        self.forget_after(start.1);
        let messages: Vec<Value> = conversions
            .into_iter()
            .chain(refusals)
            .map(|message| message.0)
            .collect();
        Ok(json!({"ids": false, "messages": messages, "nextrow": 0}))
    }

    /// Joins continuation rows to their head: all but the lines of a one2many is empty in them.
    fn spans(&self, model: &str, columns: &[Column], rows: &[Vec<Value>]) -> Vec<Span> {
        let is_line = |column: &Column| {
            let field = self.db.table(model).model.field(&column[0]);
            field.is_some_and(|field| matches!(field.kind, Kind::One2many(..)))
        };
        let has_lines = columns.iter().any(is_line);
        let mut spans: Vec<Span> = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let filled = |wanted: bool| {
                let mut pairs = columns.iter().zip(row);
                pairs.any(|(column, cell)| is_line(column) == wanted && !is_blank(cell))
            };
            match spans.last_mut() {
                Some(last) if has_lines && !filled(false) && filled(true) => last.to = at,
                _ => spans.push(Span {
                    record: spans.len(),
                    from: at,
                    to: at,
                }),
            }
        }
        spans
    }

    fn load_record(
        &mut self,
        model: &str,
        columns: &[Column],
        rows: &[Vec<Value>],
        span: Span,
    ) -> Result<i64, Failure> {
        let cell = |row: usize, column: usize| rows[row].get(column).cloned().unwrap_or(Value::Null);
        let mut problems = Vec::new();
        let mut vals = Map::new();
        let mut external = String::new();
        let mut database_id = None;
        for (at, column) in columns.iter().enumerate() {
            let value = cell(0, at);
            match column[0].as_str() {
                "id" => external = as_text(&value),
                ".id" => database_id = Some(as_text(&value)).filter(|id| !id.is_empty()),
                name => {
                    let field = self.field(model, name).map_err(Failure::Exception)?.clone();
                    if matches!(field.kind, Kind::One2many(..)) {
                        continue;
                    }
                    if column.len() == 1
                        && columns
                            .iter()
                            .any(|other| other.len() > 1 && other[0] == column[0])
                        || columns.iter().filter(|other| other[0] == column[0]).count() > 1
                    {
                        let text = format!(
                            "Ambiguous specification for field '{}', only provide one of name, external id or \
                             database id",
                            field.label
                        );
                        problems.push(conversion(span, &field, &text, None));
                        continue;
                    }
                    match self.cell(&field, &column[1..], &value) {
                        Ok(value) => {
                            vals.insert(name.to_owned(), value);
                        }
                        Err(CellError::Exception(exception)) => return Err(Failure::Exception(exception)),
                        Err(CellError::Message(text, to)) => {
                            problems.push(conversion(span, &field, &text, to.as_deref()));
                        }
                    }
                }
            }
        }
        if let Some(text) = database_id.as_ref().filter(|_| external.is_empty())
            && text
                .parse()
                .ok()
                .and_then(|id: i64| self.db.row(model, id))
                .is_none()
        {
            let message = json!({
                "rows": {"from": span.from, "to": span.to}, "type": "error", "record": span.record, "field": ".id",
                "message": format!("Unknown database identifier '{text}'"),
            });
            problems.push(Message(message));
        }
        let lines = self.line_cells(model, columns, rows, span, &mut problems)?;
        if !problems.is_empty() {
            return Err(Failure::Conversion(problems));
        }
        let target = database_id
            .and_then(|id| id.parse().ok())
            .filter(|_| external.is_empty());
        let written = self.upsert(model, &external, target, &vals, &lines);
        written.map_err(|exception| writing(span, &exception))
    }

    /// Creates or updates the record of an external id.
    fn upsert(
        &mut self,
        model: &str,
        external: &str,
        target: Option<i64>,
        vals: &Map<String, Value>,
        lines: &[Line],
    ) -> Result<i64, Exception> {
        let external = qualified(external);
        let known = if external.is_empty() {
            None
        } else {
            self.resolve(&external)
        };
        if let Some((row, other, _)) = known.as_ref().filter(|(_, other, _)| other != model) {
            return Err(Exception::user(format!(
                "For external id {external} when trying to create/update a record of model {model} found record of \
                 different model {other} ({row})"
            )));
        }
        let existing = known
            .map(|(_, _, id)| id)
            .filter(|id| self.db.row(model, *id).is_some())
            .or(target);
        let mut vals = vals.clone();
        let commands = self.commands(lines);
        for (field, commands) in commands {
            vals.insert(field, Value::Array(commands));
        }
        let id = match existing {
            Some(id) => {
                self.write(model, &[id], &vals)?;
                id
            }
            None => self.create_named(model, &external, vals)?,
        };
        self.name_lines(model, id, lines);
        Ok(id)
    }

    /// Creates a record with its external id; a variant's template gets one too, or is found by it.
    fn create_named(
        &mut self,
        model: &str,
        external: &str,
        mut vals: Map<String, Value>,
    ) -> Result<i64, Exception> {
        let parent = format!("{external}_product_template");
        let brings_template = model == "product.product" && !vals.contains_key("product_tmpl_id");
        if brings_template
            && let Some((_, _, template)) = self.resolve(&parent).filter(|_| !external.is_empty())
        {
            vals.insert("product_tmpl_id".to_owned(), json!(template));
        }
        let id = self.create(model, &vals)?;
        if external.is_empty() {
            return Ok(id);
        }
        self.name_record(external, model, id);
        if brings_template
            && self.resolve(&parent).is_none()
            && let Some(template) = self.db.link(model, id, "product_tmpl_id")
        {
            self.name_record(&parent, "product.template", template);
        }
        Ok(id)
    }

    /// Reads the one2many cells of a head row and its continuation rows.
    fn line_cells(
        &self,
        model: &str,
        columns: &[Column],
        rows: &[Vec<Value>],
        span: Span,
        problems: &mut Vec<Message>,
    ) -> Result<Vec<Line>, Failure> {
        let mut lines: Vec<Line> = Vec::new();
        for row in rows {
            let mut of_row: Vec<Line> = Vec::new();
            // A line is there when any of its cells is filled; then its empty cells clear, as those of a head do.
            let is_there = |field: &str| {
                let mut cells = columns.iter().zip(row);
                cells.any(|(column, value)| column[0] == field && !is_blank(value))
            };
            for (column, value) in columns.iter().zip(row) {
                let Some(field) = self.db.table(model).model.field(&column[0]) else {
                    continue;
                };
                let Kind::One2many(to, _) = &field.kind else {
                    continue;
                };
                if !is_there(&field.name) {
                    continue;
                }
                let at = of_row
                    .iter()
                    .position(|line| line.field == field.name)
                    .unwrap_or_else(|| {
                        of_row.push(Line {
                            field: field.name.clone(),
                            to: to.clone(),
                            ..Line::default()
                        });
                        of_row.len() - 1
                    });
                let name = column.get(1).map_or("name", String::as_str);
                if name == "id" {
                    of_row[at].external = qualified(&as_text(value));
                    continue;
                }
                if name == ".id" {
                    of_row[at].id = as_text(value).parse().ok();
                    continue;
                }
                let Some(inner) = self.db.table(to).model.field(name) else {
                    let message = format!("Invalid field name '{name}'");
                    return Err(Failure::Exception(Exception::value(message)));
                };
                match self.cell(inner, column.get(2..).unwrap_or_default(), value) {
                    Ok(value) => {
                        of_row[at].vals.insert(name.to_owned(), value);
                    }
                    Err(CellError::Exception(exception)) => return Err(Failure::Exception(exception)),
                    Err(CellError::Message(text, to)) => {
                        problems.push(conversion(span, field, &text, to.as_deref()));
                    }
                }
            }
            lines.extend(
                of_row
                    .into_iter()
                    .filter(|line| !line.vals.is_empty() || !line.external.is_empty()),
            );
        }
        Ok(lines)
    }

    fn commands(&self, lines: &[Line]) -> Vec<(String, Vec<Value>)> {
        let mut commands: Vec<(String, Vec<Value>)> = Vec::new();
        for line in lines {
            let known = self
                .resolve(&line.external)
                .filter(|(_, model, _)| *model == line.to)
                .map(|(_, _, id)| id)
                .or(line.id);
            let command = match known {
                Some(id) if self.db.row(&line.to, id).is_some() => json!([1, id, line.vals]),
                _ => json!([0, 0, line.vals]),
            };
            match commands.iter_mut().find(|(field, _)| *field == line.field) {
                Some((_, list)) => list.push(command),
                None => commands.push((line.field.clone(), vec![command])),
            }
        }
        commands
    }

    /// Gives new lines their external ids: they are the newest of the record, in order.
    fn name_lines(&mut self, model: &str, id: i64, lines: &[Line]) {
        let mut fields: Vec<&str> = lines.iter().map(|line| line.field.as_str()).collect();
        fields.dedup();
        for name in fields {
            let unnamed: Vec<&Line> = lines
                .iter()
                .filter(|line| line.field == name && line.id.is_none())
                .filter(|line| self.resolve(&line.external).is_none())
                .collect();
            let Some(field) = self.db.table(model).model.field(name).cloned() else {
                continue;
            };
            let mut present = self.db.lines(&field, id);
            present.sort_unstable();
            let new = present.split_off(present.len().saturating_sub(unnamed.len()));
            for (line, record) in unnamed.into_iter().zip(new) {
                if !line.external.is_empty() {
                    self.name_record(&line.external, &line.to, record);
                }
            }
        }
    }

    /// Converts one cell of text.
    fn cell(&self, field: &Field, part: &[String], value: &Value) -> Result<Value, CellError> {
        let label = &field.label;
        let say = |text: String| Err(CellError::Message(text, None));
        if let (Kind::Boolean, Value::Bool(_) | Value::Number(_)) = (&field.kind, value) {
            let kind = if value.is_boolean() { "bool" } else { "int" };
            let message = format!("'{kind}' object has no attribute 'lower'");
            return Err(CellError::Exception(Exception::attribute(message)));
        }
        if is_blank(value) {
            return Ok(match field.kind {
                Kind::Many2many(_) => json!([[6, 0, []]]),
                _ => Value::Bool(false),
            });
        }
        let text = as_text(value);
        match &field.kind {
            Kind::Boolean => Ok(json!(matches!(
                text.to_lowercase().as_str(),
                "1" | "true" | "yes"
            ))),
            Kind::Integer => match text.trim().parse::<i64>() {
                Ok(number) => Ok(json!(number)),
                Err(_) => say(format!(
                    "'{text}' does not seem to be an integer for field '{label}'"
                )),
            },
            Kind::Float | Kind::Measure(_) | Kind::Digits(_) | Kind::Monetary => {
                match text.trim().parse::<f64>() {
                    Ok(number) => Ok(json!(number)),
                    Err(_) => say(format!(
                        "'{text}' does not seem to be a number for field '{label}'"
                    )),
                }
            }
            Kind::Selection(options) => {
                match options
                    .iter()
                    .find(|(key, name)| *key == text || name.eq_ignore_ascii_case(&text))
                {
                    Some((key, _)) => Ok(json!(key)),
                    None => say(format!("Value '{text}' not found in selection field '{label}'")),
                }
            }
            Kind::Char if field.name == "lang" => {
                let is_known = self.db.table("res.lang").rows.keys().any(|id| {
                    self.db.text("res.lang", *id, "code") == text && self.db.flag("res.lang", *id, "active")
                });
                if is_known {
                    Ok(json!(text))
                } else {
                    say(format!("Value '{text}' not found in selection field '{label}'"))
                }
            }
            Kind::Datetime => match super::domain::seconds(&text) {
                Ok(_) if !text.contains('T') => Ok(json!(text)),
                _ => say(format!(
                    "'{text}' does not seem to be a valid datetime for field '{label}'"
                )),
            },
            Kind::Json => match serde_json::from_str::<Value>(&text) {
                Ok(value) => Ok(value),
                Err(_) => say(format!(
                    "'{text}' does not seem to be a valid JSON for field '{label}'"
                )),
            },
            Kind::Date => match super::domain::seconds(&text) {
                Ok(_) if text.len() == 10 => Ok(json!(text)),
                _ => say(format!(
                    "'{text}' does not seem to be a valid date for field '{label}'"
                )),
            },
            Kind::Many2one(to) => self.reference(field, to, part, &text).map(|id| json!(id)),
            Kind::Many2many(to) => {
                let ids: Result<Vec<i64>, CellError> = text
                    .split(',')
                    .map(|one| self.reference(field, to, part, one.trim()))
                    .collect();
                Ok(json!([[6, 0, ids?]]))
            }
            Kind::Char | Kind::Text | Kind::Html | Kind::Image | Kind::One2many(..) => Ok(json!(text)),
        }
    }

    /// Finds a record by external id, database id or name.
    fn reference(&self, field: &Field, to: &str, part: &[String], text: &str) -> Result<i64, CellError> {
        let (kind, found) = match part.first().map(String::as_str) {
            Some("id") => {
                let external = if text.contains('.') {
                    text.to_owned()
                } else {
                    format!("__import__.{text}")
                };
                let resolved = self.resolve(&external).filter(|(_, model, _)| model == to);
                ("external id", resolved.map(|(_, _, id)| id))
            }
            Some(_) => {
                let id = text
                    .parse::<i64>()
                    .ok()
                    .filter(|id| !self.db.has(to) || self.db.row(to, *id).is_some());
                ("database id", id)
            }
            None => {
                let mut rows = self
                    .db
                    .has(to)
                    .then(|| self.db.table(to).rows.keys())
                    .into_iter()
                    .flatten();
                let found = rows.find(|id| {
                    self.db.text(to, **id, "name") == text
                        || self.display_name(to, **id) == text
                        || (to.starts_with("res.country") && self.db.text(to, **id, "code") == text)
                });
                ("name", found.copied())
            }
        };
        found.ok_or_else(|| {
            let label = &field.label;
            let message = format!("No matching record found for {kind} '{text}' in field '{label}'");
            CellError::Message(message, Some(to.to_owned()))
        })
    }
}

/// One line of a one2many.
#[derive(Debug, Clone, Default)]
struct Line {
    field: String,
    to: String,
    external: String,
    /// The database id, where the line is named by it.
    id: Option<i64>,
    vals: Map<String, Value>,
}

enum CellError {
    /// The text, and the model that was searched.
    Message(String, Option<String>),
    Exception(Exception),
}

/// An external id without a module belongs to imports.
fn qualified(external: &str) -> String {
    if external.is_empty() || external.contains('.') {
        external.to_owned()
    } else {
        format!("__import__.{external}")
    }
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(false) => String::new(),
        other => other.to_string(),
    }
}

fn conversion(span: Span, field: &Field, text: &str, to: Option<&str>) -> Message {
    let mut message = json!({
        "rows": {"from": span.from, "to": span.to}, "type": "error", "record": span.record, "field": field.name,
        "message": text, "field_name": field.label,
    });
    if let Some(to) = to {
        message["moreinfo"] = json!({
            "name": "Possible Values", "type": "ir.actions.act_window", "target": "new", "view_mode": "list,form",
            "views": [[false, "list"], [false, "form"]], "context": {"create": false},
            "help": "See all possible values", "res_model": to,
        });
    }
    Message(message)
}

/// Turns what the database or a check said into a row message, without the words that frame it elsewhere.
fn writing(span: Span, exception: &Exception) -> Failure {
    if exception.status == 500 || exception.status == 403 {
        return Failure::Exception(exception.clone());
    }
    let inner = exception
        .message
        .strip_prefix("The operation cannot be completed: ");
    let text = match inner {
        Some(inner) if inner.starts_with("Missing required value") => {
            inner.lines().next().unwrap_or(inner).trim_end_matches('.')
        }
        Some(inner) => inner,
        None => &exception.message,
    };
    let message = json!({
        "rows": {"from": span.from, "to": span.to}, "record": span.record, "type": "error", "message": text,
    });
    let is_foreign = text.contains("found record of different model");
    Failure::Writing {
        message: Message(message),
        is_refusal: inner.is_none() && !is_foreign,
    }
}

/// The answer when another transaction was faster: a message for every row (facts: systems B4).
pub(super) fn conflict(rows: usize) -> Value {
    let message = |row: usize| {
        json!({
            "rows": {"from": row, "to": row}, "record": row, "type": "error", "message": CONFLICT,
        })
    };
    json!({"ids": false, "messages": (0..rows.clamp(1, 10)).map(message).collect::<Vec<_>>(), "nextrow": 0})
}
