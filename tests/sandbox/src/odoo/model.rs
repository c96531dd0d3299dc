//! Models and their fields.

use std::collections::HashMap;

use serde_json::Value;

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Char,
    Text,
    Html,
    Integer,
    Float,
    /// Rounded to the digits of this `decimal.precision`.
    Measure(&'static str),
    /// Rounded to this many digits.
    Digits(u8),
    /// An amount in the currency of its record.
    Monetary,
    Boolean,
    Selection(&'static [(&'static str, &'static str)]),
    Many2one(String),
    Many2many(String),
    One2many(String, &'static str),
    Datetime,
    Date,
    /// Base64 of a picture.
    Image,
    Json,
}

/// Where the value of a field lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the row.
    Stored,
    /// In the row, and searched by equality often.
    Indexed,
    /// Made up when read.
    Computed,
    /// In the row that a many2one of `_inherits` points to.
    Inherited,
}

#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) label: String,
    pub(super) kind: Kind,
    pub(super) place: Place,
    pub(super) is_required: bool,
    pub(super) default: Value,
}

impl Field {
    pub(super) fn new(name: &str, label: &str, kind: Kind, place: Place) -> Self {
        let default = match kind {
            Kind::Float | Kind::Measure(_) | Kind::Digits(_) | Kind::Monetary => Value::from(0.0),
            Kind::Integer => Value::from(0),
            Kind::Many2many(_) => Value::Array(Vec::new()),
            _ => Value::Bool(false),
        };
        let (name, label) = (name.to_owned(), label.to_owned());
        Self {
            name,
            label,
            kind,
            place,
            is_required: false,
            default,
        }
    }

    pub(super) fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    pub(super) fn or(mut self, default: impl Into<Value>) -> Self {
        self.default = default.into();
        self
    }

    /// Returns the model that a relation leads to.
    pub(super) fn comodel(&self) -> Option<&str> {
        match &self.kind {
            Kind::Many2one(model) | Kind::Many2many(model) | Kind::One2many(model, _) => Some(model),
            _ => None,
        }
    }

    /// Returns the name of the type as `fields_get` tells it.
    pub(super) fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Char => "char",
            Kind::Text => "text",
            Kind::Html => "html",
            Kind::Integer => "integer",
            Kind::Float | Kind::Measure(_) | Kind::Digits(_) => "float",
            Kind::Monetary => "monetary",
            Kind::Boolean => "boolean",
            Kind::Selection(_) => "selection",
            Kind::Many2one(_) => "many2one",
            Kind::Many2many(_) => "many2many",
            Kind::One2many(..) => "one2many",
            Kind::Datetime => "datetime",
            Kind::Date => "date",
            Kind::Image => "binary",
            Kind::Json => "json",
        }
    }
}

/// A model: its fields, and how its lists are sorted when nobody says.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) label: String,
    pub(super) order: &'static str,
    pub(super) fields: Vec<Field>,
    by_name: HashMap<String, usize>,
}

/// The fields that every model has, at the end.
const COMMON: usize = 6;

impl Model {
    pub(super) fn new(name: &str, label: &str, order: &'static str, mut fields: Vec<Field>) -> Self {
        fields.push(Field::new("id", "ID", Kind::Integer, Place::Computed));
        for (name, label) in [("create_uid", "Created by"), ("write_uid", "Last Updated by")] {
            fields.push(Field::new(
                name,
                label,
                Kind::Many2one("res.users".to_owned()),
                Place::Computed,
            ));
        }
        fields.push(Field::new(
            "display_name",
            "Display Name",
            Kind::Char,
            Place::Computed,
        ));
        fields.push(Field::new(
            "create_date",
            "Created on",
            Kind::Datetime,
            Place::Computed,
        ));
        fields.push(Field::new(
            "write_date",
            "Last Updated on",
            Kind::Datetime,
            Place::Computed,
        ));
        let by_name = fields
            .iter()
            .enumerate()
            .map(|(at, field)| (field.name.clone(), at))
            .collect();
        Self {
            name: name.to_owned(),
            label: label.to_owned(),
            order,
            fields,
            by_name,
        }
    }

    /// Lists the fields that the model does not share with every other.
    pub(super) fn own_fields(&self) -> &[Field] {
        &self.fields[..self.fields.len() - COMMON]
    }

    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.by_name.get(name).map(|at| &self.fields[*at])
    }

    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(super) fn defaults(&self) -> Vec<Value> {
        self.fields.iter().map(|field| field.default.clone()).collect()
    }
}
