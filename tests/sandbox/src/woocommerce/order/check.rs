//! The schema checks of single calls for orders and refunds; batches skip them (facts: systems A7, A9).

use serde_json::{Map, Value};

use super::super::refusal::{Problem, Refusal};
use super::super::schema::{self, Kind};
use super::CURRENCIES;

const STATUSES: &[&str] = &[
    "auto-draft",
    "pending",
    "processing",
    "on-hold",
    "completed",
    "cancelled",
    "refunded",
    "failed",
    "checkout-draft",
];
const FEE_TAX: &[&str] = &["taxable", "none"];

const ORDER: &[(&str, Kind)] = &[
    ("parent_id", Kind::Integer),
    ("status", Kind::OneOf(STATUSES)),
    ("currency", Kind::OneOf(CURRENCIES)),
    ("customer_id", Kind::Integer),
    ("customer_note", Kind::Text),
    ("billing", Kind::Object),
    ("shipping", Kind::Object),
    ("payment_method", Kind::Text),
    ("payment_method_title", Kind::Text),
    ("transaction_id", Kind::Text),
    ("created_via", Kind::Text),
    ("meta_data", Kind::List),
    ("line_items", Kind::List),
    ("shipping_lines", Kind::List),
    ("fee_lines", Kind::List),
    ("coupon_lines", Kind::List),
    ("set_paid", Kind::Boolean),
];

/// The fields of a part that are looked at; those that may be anything are left out.
const PARTS: &[(&str, &[(&str, Kind)])] = &[
    ("meta_data", &[("id", Kind::Integer), ("key", Kind::Text)]),
    (
        "line_items",
        &[
            ("id", Kind::Integer),
            ("variation_id", Kind::Integer),
            ("quantity", Kind::Integer),
            ("tax_class", Kind::Text),
            ("subtotal", Kind::Text),
            ("total", Kind::Text),
        ],
    ),
    (
        "shipping_lines",
        &[
            ("id", Kind::Integer),
            ("instance_id", Kind::Text),
            ("total", Kind::Text),
        ],
    ),
    (
        "fee_lines",
        &[
            ("id", Kind::Integer),
            ("tax_class", Kind::Text),
            ("tax_status", Kind::OneOf(FEE_TAX)),
            ("total", Kind::Text),
        ],
    ),
    ("coupon_lines", &[("id", Kind::Integer)]),
];

/// Checks the body of a single call.
pub(in super::super) fn check(body: &Map<String, Value>) -> Result<(), Refusal> {
    let mut problems: Vec<Problem> = Vec::new();
    for (name, kind) in ORDER {
        let Some(value) = body.get(*name) else { continue };
        match schema::problem(name, *kind, value) {
            Some(problem) => problems.push(problem),
            None => problems.extend(part_problem(name, value)),
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Refusal::invalid(&problems))
    }
}

/// Finds the first bad field of a list of parts, named as `line_items[0][quantity]`.
fn part_problem(name: &str, value: &Value) -> Option<Problem> {
    let (_, fields) = PARTS.iter().find(|(part, _)| *part == name)?;
    for (at, row) in value.as_array()?.iter().enumerate() {
        if !row.is_object() {
            return Some(Problem::wrong_type(name, &format!("{name}[{at}]"), "object"));
        }
        for (field, kind) in *fields {
            let Some(value) = row.get(*field) else { continue };
            let path = format!("{name}[{at}][{field}]");
            if let Some(problem) = schema::problem(&path, *kind, value) {
                return Some(Problem {
                    parameter: name.to_owned(),
                    ..problem
                });
            }
        }
    }
    None
}
