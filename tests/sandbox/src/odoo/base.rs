//! What a fresh database holds, and how recorded rows are put back.

use serde_json::{Map, Value, json};

use super::database::{Database, Row};
use super::model::{Field, Kind, Model, Place};
use super::session::{ADMIN, Session, now_micros};
use super::{company, domain, payment, schema, stock};
use crate::geography;

/// Builds the database of a new installation.
pub(super) fn fresh(version: u32) -> Database {
    let mut db = Database::of_version(version);
    for model in schema::models(version) {
        db.add_model(model);
    }
    let mut session = Session::new(&mut db, now_micros());
    for country in geography::COUNTRIES {
        put(
            &mut session,
            "res.country",
            country.id,
            &json!({"name": country.name, "code": country.code}),
        );
        session.name_record(
            &format!("base.{}", country.code.to_lowercase()),
            "res.country",
            country.id,
        );
    }
    for state in geography::STATES {
        let country = geography::country(state.country).map(|country| country.id);
        let vals = json!({"name": state.name, "code": state.code, "country_id": country});
        put(&mut session, "res.country.state", state.id, &vals);
    }
    let rows = [
        (
            "res.users",
            1,
            json!({"name": "OdooBot", "login": "__system__", "active": false}),
        ),
        (
            "res.users",
            ADMIN,
            json!({"name": "Administrator", "login": "admin"}),
        ),
        ("res.currency", 1, json!({"name": "USD"})),
        (
            "account.tax.group",
            1,
            json!({"name": "Tax 15%", "country_id": 233}),
        ),
        (
            "ir.sequence",
            1,
            json!({"name": "Sales Order", "code": "sale.order", "prefix": "S"}),
        ),
        (
            "ir.sequence",
            2,
            json!({"name": "YourCompany Sequence out", "code": "stock.picking.out", "prefix": "WH/OUT/"}),
        ),
        (
            "ir.sequence",
            3,
            json!({"name": "YourCompany Sequence in", "code": "stock.picking.in", "prefix": "WH/IN/"}),
        ),
        ("uom.uom", 1, json!({"name": "Units"})),
        ("res.lang", 1, json!({"name": "English (US)", "code": "en_US"})),
        ("account.tax", 1, json!({"name": "15%", "amount": 15.0})),
        ("product.category", 1, json!({"name": "Goods"})),
        ("product.category", 2, json!({"name": "Expenses"})),
        (
            "decimal.precision",
            1,
            json!({"name": "Product Price", "digits": 2}),
        ),
        (
            "decimal.precision",
            2,
            json!({"name": "Stock Weight", "digits": 2}),
        ),
        ("decimal.precision", 3, json!({"name": "Volume", "digits": 2})),
        (
            "decimal.precision",
            4,
            json!({"name": super::sale::unit_precision(version), "digits": 2}),
        ),
        ("decimal.precision", 5, json!({"name": "Discount", "digits": 2})),
        (
            "ir.config_parameter",
            1,
            json!({"key": "product.weight_in_lbs", "value": "0"}),
        ),
        (
            "res.partner",
            1,
            json!({"name": "My Company", "is_company": true}),
        ),
        ("res.partner", 2, json!({"name": "OdooBot", "active": false})),
        ("res.partner", 3, json!({"name": "Administrator"})),
    ];
    let rows = rows
        .into_iter()
        .chain(stock::rows())
        .chain(payment::rows())
        .chain(company::rows());
    for (model, id, vals) in rows {
        put(&mut session, model, id, &vals);
    }
    session.name_record("base.main_partner", "res.partner", 1);
    session.db.commit();
    db
}

/// Stores a row as it is, without any of the rules.
pub(super) fn put(session: &mut Session<'_>, model: &str, id: i64, view: &Value) {
    let row = row_of(session, model, view);
    session.db.put(model, id, row);
}

fn row_of(session: &Session<'_>, model: &str, view: &Value) -> Row {
    let mut row = session.blank(model);
    let view = &super::sale::as_recorded(session.db.version, model, view);
    let table = &session.db.table(model).model;
    for (at, field) in table.fields.iter().enumerate() {
        let Some(value) = view.get(&field.name).filter(|_| Session::is_stored(field)) else {
            continue;
        };
        row.values[at] = match (&field.kind, value) {
            (_, Value::Null) => Value::Bool(false),
            (Kind::Many2one(_), Value::Array(pair)) => pair.first().cloned().unwrap_or_default(),
            _ => value.clone(),
        };
    }
    let time = |name: &str| view[name].as_str().and_then(|text| domain::seconds(text).ok());
    if let Some(at) = time("write_date") {
        row.written = at * 1_000_000;
        row.created = time("create_date").unwrap_or(at) * 1_000_000;
    }
    row
}

/// Puts recorded rows back with their ids and returns how many there were.
pub(super) fn restore(db: &mut Database, data: &Map<String, Value>) -> usize {
    let mut count = 0;
    for (model, rows) in data {
        let rows = rows.as_array().cloned().unwrap_or_default();
        if !db.has(model) {
            db.add_model(inferred(model, &rows));
        }
        let mut session = Session::new(db, now_micros());
        for view in &rows {
            let Some(id) = view["id"].as_i64() else { continue };
            if model == "ir.model.data" {
                restore_external_id(&mut session, view);
            } else {
                put(&mut session, model, id, view);
            }
            count += 1;
        }
    }
    super::sale::continue_names(db);
    name_units(db, data);
    order_lines(db, data);
    dress_variants(db, data);
    relate_values(db);
    stock::complete(db, data);
    payment::complete(db);
    db.commit();
    count
}

fn restore_external_id(session: &mut Session<'_>, view: &Value) {
    let text = |name: &str| view[name].as_str().unwrap_or_default();
    let external = format!("{}.{}", text("module"), text("name"));
    let record = view["res_id"].as_i64().unwrap_or_default();
    match session.resolve(&external) {
        Some((row, _, _)) => {
            let target = format!("{},{record}", text("model"));
            session.set(
                "ir.model.data",
                row,
                &[("res_id", json!(record)), ("target", json!(target))],
            );
        }
        None => session.name_record(&external, text("model"), record),
    }
}

/// Units are in a recording by their names only.
fn name_units(db: &mut Database, data: &Map<String, Value>) {
    let mut session = Session::new(db, now_micros());
    for view in data
        .get("product.template")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let unit = view["uom_id"][0].as_i64();
        let missing = unit.filter(|unit| session.db.row("uom.uom", *unit).is_none());
        if let Some(unit) = missing {
            put(&mut session, "uom.uom", unit, &json!({"name": view["uom_id"][1]}));
        }
    }
}

/// The order of attribute lines is in a recording by their templates only.
fn order_lines(db: &mut Database, data: &Map<String, Value>) {
    let session = Session::new(db, now_micros());
    let table = "product.template.attribute.line";
    for view in data
        .get("product.template")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        for (rank, id) in view["attribute_line_ids"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            let id = id.as_i64().unwrap_or_default();
            let Some(mut row) = session.db.row(table, id).cloned() else {
                continue;
            };
            if let Some(at) = session.db.table(table).model.position("sequence") {
                row.values[at] = json!(10 + rank);
            }
            session.db.put(table, id, row);
        }
    }
}

/// Measures were recorded with the templates alone; their variants have them.
fn dress_variants(db: &mut Database, data: &Map<String, Value>) {
    let session = Session::new(db, now_micros());
    for view in data
        .get("product.template")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let template = view["id"].as_i64().unwrap_or_default();
        for variant in session.db.with("product.product", "product_tmpl_id", template) {
            let Some(mut row) = session.db.row("product.product", variant).cloned() else {
                continue;
            };
            for name in ["weight", "volume", "standard_price"] {
                let at = session.db.table("product.product").model.position(name);
                if let Some((at, value)) = at.zip(view.get(name)) {
                    row.values[at] = value.clone();
                }
            }
            session.db.put("product.product", variant, row);
        }
    }
}

/// A recording names the values of templates but does not say which line and value they stand for.
fn relate_values(db: &mut Database) {
    const VALUE: &str = "product.template.attribute.value";
    let session = Session::new(db, now_micros());
    let unrelated: Vec<i64> = session.db.table(VALUE).rows.keys().copied().collect();
    for id in unrelated {
        if session.db.link(VALUE, id, "attribute_line_id").is_some() {
            continue;
        }
        let template = session.db.link(VALUE, id, "product_tmpl_id").unwrap_or_default();
        let attribute = session.db.link(VALUE, id, "attribute_id").unwrap_or_default();
        let lines = session
            .db
            .with("product.template.attribute.line", "product_tmpl_id", template);
        let line = lines.into_iter().find(|line| {
            session
                .db
                .link("product.template.attribute.line", *line, "attribute_id")
                == Some(attribute)
        });
        let Some(line) = line else { continue };
        // The values of a line were made in the order of the attribute's values.
        let rank = session.db.with(VALUE, "product_tmpl_id", template);
        let rank = rank
            .into_iter()
            .filter(|other| *other < id && session.db.link(VALUE, *other, "attribute_id") == Some(attribute))
            .count();
        let values = session
            .db
            .links("product.template.attribute.line", line, "value_ids");
        let Some(value) = values.get(rank) else { continue };
        let Some(mut row) = session.db.row(VALUE, id).cloned() else {
            continue;
        };
        let table = &session.db.table(VALUE).model;
        for (name, target) in [
            ("attribute_line_id", line),
            ("product_attribute_value_id", *value),
        ] {
            if let Some(at) = table.position(name) {
                row.values[at] = json!(target);
            }
        }
        session.db.put(VALUE, id, row);
    }
}

/// Makes up a model from the rows that were recorded of it.
fn inferred(name: &str, rows: &[Value]) -> Model {
    let mut fields: Vec<Field> = Vec::new();
    let first = rows.first().and_then(Value::as_object);
    for field in first.into_iter().flat_map(Map::keys) {
        if matches!(
            field.as_str(),
            "id" | "write_date" | "create_date" | "display_name"
        ) {
            continue;
        }
        let sample = rows
            .iter()
            .map(|row| &row[field])
            .find(|value| !matches!(value, Value::Bool(false)));
        let kind = match sample {
            Some(Value::Array(pair)) if pair.len() == 2 && pair[1].is_string() => {
                Kind::Many2one(related(field).to_owned())
            }
            Some(Value::Array(_)) => Kind::Many2many(related(field).to_owned()),
            Some(Value::Number(number)) if number.is_f64() => Kind::Float,
            Some(Value::Number(_)) => Kind::Integer,
            Some(Value::Bool(_)) => Kind::Boolean,
            _ => Kind::Char,
        };
        fields.push(Field::new(field, field, kind, Place::Indexed));
    }
    Model::new(name, name, "id", fields)
}

fn related(field: &str) -> &'static str {
    match field {
        "partner_id" | "partner_invoice_id" | "partner_shipping_id" => "res.partner",
        "order_id" => "sale.order",
        "order_line" => "sale.order.line",
        "product_id" => "product.product",
        "currency_id" => "res.currency",
        "country_id" => "res.country",
        "location_id" | "lot_stock_id" => "stock.location",
        "tax_ids" => "account.tax",
        _ => "res.users",
    }
}
