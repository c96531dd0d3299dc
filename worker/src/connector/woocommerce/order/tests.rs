use lockstep_shared::connection::Settings;
use lockstep_shared::entity::{
    Content, LineKind, Order as Record, OrderStatus, PartKey, Reference, TaxAmount,
};
use lockstep_shared::id::RecordId;
use lockstep_shared::system::{EntityType, System};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use uuid::Uuid;

use super::wire::{self, Order};
use super::{project, read, total, write};
use crate::connector::{Link, Links, Parts};

const MUG: RecordId = RecordId(Uuid::from_u128(1));
const SHIRT: RecordId = RecordId(Uuid::from_u128(2));

fn read_one(json: Value) -> Record {
    let order: Order = serde_json::from_value(json).unwrap();
    read::read(&order, &Settings::default()).unwrap()
}

fn record(json: Value) -> Record {
    match Content::parse(EntityType::Orders, json).unwrap() {
        Content::Order(order) => order,
        other => panic!("{other:?}"),
    }
}

fn projected(json: Value) -> Record {
    project::project(&record(json), &Settings::default())
}

/// As a real store answered it, shortened: an order with a coupon and a variation in Germany's taxes, and shipping
/// (facts/systems.md A7).
fn recorded() -> Value {
    json!({
        "id": 668, "status": "processing", "currency": "USD", "number": "668", "prices_include_tax": false,
        "date_created": "2026-11-22T14:20:27", "date_created_gmt": "2026-11-22T19:20:27",
        "date_paid_gmt": "2026-11-22T19:20:27", "total": "130.31", "total_tax": "20.81", "customer_id": 62,
        "billing": {"first_name": "Ann", "last_name": "O'Neil", "company": "Neil & Co", "address_1": "12 Main St",
            "address_2": "", "city": "Buffalo", "state": "NY", "postcode": "14201", "country": "US",
            "email": "ann.oneil@example.com", "phone": "+1 555 0100"},
        "shipping": {"first_name": "Ann", "last_name": "O'Neil", "company": "Neil & Co", "address_1": "12 Main St",
            "address_2": "", "city": "Buffalo", "state": "NY", "postcode": "14201", "country": "US",
            "phone": "+1 555 0100"},
        "payment_method": "stripe", "transaction_id": "ch_0013", "created_via": "rest-api", "customer_note": "",
        "meta_data": [],
        "line_items": [
            {"id": 49, "name": "Hoodie with Pocket", "product_id": 634, "variation_id": 0, "quantity": 2, "tax_class": "",
                "subtotal": "70.00", "subtotal_tax": "13.30", "total": "61.55", "total_tax": "11.70",
                "taxes": [{"id": 3, "total": "11.70", "subtotal": "13.30"}],
                "meta_data": [{"id": 428, "key": "_reduced_stock", "value": "2"}], "price": 35},
            {"id": 51, "name": "V-Neck T-Shirt - Red", "product_id": 626, "variation_id": 640, "quantity": 2,
                "subtotal": "40.00", "total": "40.00", "total_tax": "7.60",
                "taxes": [{"id": 3, "total": "7.60", "subtotal": "7.60"}, {"id": 4, "total": "0.00", "subtotal": ""}],
                "meta_data": [], "parent_name": "V-Neck T-Shirt"}
        ],
        "tax_lines": [{"id": 53, "rate_code": "DE-MWST.-1", "rate_id": 3, "label": "MwSt.", "compound": false,
            "tax_total": "25.65", "shipping_tax_total": "1.51", "rate_percent": 19, "meta_data": []}],
        "shipping_lines": [{"id": 52, "method_title": "Flat rate", "method_id": "flat_rate", "instance_id": "",
            "total": "7.95", "total_tax": "1.51", "taxes": [{"id": 3, "total": "1.51", "subtotal": ""}], "meta_data": []}],
        "fee_lines": [], "coupon_lines": [{"id": 57, "code": "ten", "discount": "3.6"}],
        "refunds": [{"id": 661, "reason": "goodwill", "total": "-2.00", "total_tax": "0.00"}]
    })
}

#[test]
fn an_order_of_the_store_is_what_it_is() {
    let order = read_one(recorded());

    assert_eq!(order.origin, Some(System::Woocommerce));
    assert_eq!(order.placed_at.to_rfc3339(), "2026-11-22T19:20:27+00:00");
    assert_eq!(order.customer, Some(Reference::remote("62", None)));
    assert_eq!(order.shipping, None, "it is the billing address once more");
    assert_eq!(order.coupons, ["ten"]);
    assert_eq!(order.note, None);
    let lines: Vec<(&str, LineKind, String)> = order
        .lines
        .iter()
        .map(|line| (line.key.as_str(), line.kind, line.total.to_string()))
        .collect();
    let expected = [
        ("49", LineKind::Item, "61.55".to_owned()),
        ("51", LineKind::Item, "40".to_owned()),
        ("52", LineKind::Shipping, "7.95".to_owned()),
    ];
    assert_eq!(lines, expected);
    assert_eq!(
        order.lines[1].product,
        Some(Reference::remote("626", Some("640".to_owned())))
    );
    let tax = TaxAmount {
        name: Some("MwSt.".to_owned()),
        rate: Some(Decimal::from(19)),
        amount: "7.60".parse::<Decimal>().unwrap().normalize(),
    };
    assert_eq!(order.lines[1].taxes, [tax], "taxes of nothing are left out");
}

#[test]
fn a_guest_and_a_line_with_nothing_behind_it_name_nobody() {
    let mut json = recorded();
    json["customer_id"] = json!(0);
    json["line_items"][0]["product_id"] = json!(0);

    let order = read_one(json);

    assert_eq!((order.customer, &order.lines[0].product), (None, &None));
}

#[test]
fn an_order_that_can_t_be_counted_is_not_valid() {
    let mut json = recorded();
    json["total"] = json!("a lot");
    let order: Order = serde_json::from_value(json).unwrap();

    let invalid = read::read(&order, &Settings::default()).unwrap_err();

    assert_eq!(invalid.to_string(), "`total` must be a plain number, not `a lot`");
}

/// The address is out of reach for a moment: it is read as it was, and so is the state.
#[test]
fn a_silenced_order_is_read_as_it_was() {
    let before = read_one(recorded());
    let mut json = recorded();
    json["billing"]["email"] = json!("");
    json["customer_id"] = json!(0);
    json["status"] = json!("completed");
    json["meta_data"] = json!([{"key": "_lockstep_silence", "value":
        r#"{"status":"processing","email":"ann.oneil@example.com","customer":62}"#}]);

    assert_eq!(read_one(json), before);
}

fn links() -> Links {
    let content = Content::Order(record(
        json!({"number": "1", "currency": "USD", "placed_at": "2026-01-05T10:00:00Z", "total": "0"}),
    ));
    let link = |id: &str, parts: Parts| Link {
        external_id: id.to_owned(),
        parts,
        content: content.clone(),
    };
    let blue = Parts::from([(PartKey::named("colour=blue"), "21".to_owned())]);
    Links::new([(MUG, link("12", Parts::new())), (SHIRT, link("20", blue))])
}

fn of_the_erp(lines: &Value, tax: &str, total: &str) -> Value {
    json!({
        "number": "S00021", "origin": "odoo", "status": "refunded", "currency": "USD",
        "placed_at": "2026-01-05T10:00:00Z", "lines": lines, "total_tax": tax, "total": total
    })
}

fn rows(order: &Record) -> Vec<Value> {
    write::rows(order, &links())
        .into_iter()
        .map(|row| {
            let mut body = Value::Object(row.body);
            body["list"] = json!(row.list.name());
            body
        })
        .collect()
}

#[test]
fn tax_is_a_line_and_so_is_what_rounding_leaves() {
    let lines = json!([
        {"key": "1", "product": Reference::record(MUG, PartKey::default()), "name": "Mug", "quantity": "2",
            "subtotal": "20", "total": "18.005"},
        {"key": "2", "product": Reference::record(SHIRT, PartKey::named("colour=blue")), "name": "Shirt",
            "quantity": "2.5", "subtotal": "1", "total": "5"}
    ]);
    let order = projected(of_the_erp(&lines, "2.30", "25.30"));

    let rows = rows(&order);

    assert_eq!(
        rows[0],
        json!({"list": "line_items", "product_id": 12, "name": "Mug", "quantity": 2, "subtotal": "20.00",
            "total": "18.01", "tax_class": "0", "meta_data": [{"key": "_lockstep_line", "value": "1"}]})
    );
    assert_eq!(
        rows[1],
        json!({"list": "line_items", "product_id": 20, "variation_id": 21, "name": "2.5 × Shirt", "quantity": 1,
            "subtotal": "5.00", "total": "5.00", "tax_class": "0", "meta_data": [
                {"key": "_lockstep_line", "value": "2"}, {"key": "_lockstep_quantity", "value": "2.5"}]})
    );
    assert_eq!(
        rows[2],
        json!({"list": "fee_lines", "name": "Tax", "total": "2.30", "tax_status": "none",
            "meta_data": [{"key": "_lockstep_line", "value": "tax"}]})
    );
    assert_eq!(
        rows[3],
        json!({"list": "line_items", "sku": "__none__", "name": "Rounding", "quantity": 1, "subtotal": "-0.01",
            "total": "-0.01", "tax_class": "0", "meta_data": [{"key": "_lockstep_line", "value": "rounding"}]}),
        "a fee below zero would be capped"
    );
}

#[test]
fn a_fee_below_zero_is_written_as_an_item() {
    let lines = json!([{"key": "3", "kind": "fee", "subtotal": "-500", "total": "-500"}]);

    let rows = rows(&projected(of_the_erp(&lines, "0", "-500")));

    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&rows[0]["list"], &rows[0]["sku"]),
        (&json!("line_items"), &json!("__none__"))
    );
    let meta = rows[0]["meta_data"].as_array().unwrap();
    assert!(meta.contains(&json!({"key": "_lockstep_kind", "value": "fee"})));
    assert!(meta.contains(&json!({"key": "_lockstep_unnamed", "value": "yes"})));
}

#[test]
fn what_the_store_can_t_hold_of_an_order_from_elsewhere_is_left_out() {
    let lines = json!([
        {"key": "1", "name": "A &amp; <b>B</b>", "quantity": "1.5", "subtotal": "1", "total": "2.999",
            "taxes": [{"name": "15%", "amount": "0.4499"}]},
        {"key": "2", "kind": "shipping", "product": Reference::record(MUG, PartKey::default()), "subtotal": "9",
            "total": "5"}
    ]);

    let order = projected(of_the_erp(&lines, "0.4499", "8.4489"));

    assert_eq!(order.status, OrderStatus::Completed, "refunds follow as payments");
    assert_eq!(
        (order.total.to_string(), order.total_tax.to_string()),
        ("8.45".to_owned(), "0.45".to_owned())
    );
    assert_eq!(order.lines[0].name.as_deref(), Some("A & B"));
    assert_eq!(order.lines[0].taxes, []);
    assert_eq!(
        (order.lines[0].subtotal, order.lines[0].total),
        (Decimal::from(3), Decimal::from(3))
    );
    assert_eq!(
        (&order.lines[1].product, order.lines[1].subtotal),
        (&None, Decimal::from(5))
    );
    assert_eq!(project::project(&order, &Settings::default()), order);
}

#[test]
fn keys_of_lines_that_make_the_sum_right_are_not_for_others() {
    let lines = json!([{"key": "tax", "subtotal": "1", "total": "1"}]);

    let refusal = project::refuses(&record(of_the_erp(&lines, "0", "1"))).unwrap();

    assert_eq!(refusal.code, "reserved_line_key");
}

#[test]
fn lines_go_by_their_keys_and_what_is_left_goes() {
    let lines = json!([
        {"key": "1", "product": Reference::record(MUG, PartKey::default()), "name": "Mug", "quantity": "1",
            "subtotal": "10", "total": "10"},
        {"key": "2", "name": "New", "quantity": "1", "subtotal": "1", "total": "1"}
    ]);
    let order = projected(of_the_erp(&lines, "0", "11"));
    let meta = |key: &str| json!([{"key": "_lockstep_line", "value": key}]);
    let current: Order = serde_json::from_value(json!({
        "id": 5,
        "line_items": [
            {"id": 31, "product_id": 12, "meta_data": [
                {"key": "_lockstep_line", "value": "1"}, {"key": "_lockstep_quantity", "value": "2.5"}]},
            {"id": 32, "product_id": 20, "variation_id": 21, "meta_data": meta("2")}
        ],
        "shipping_lines": [{"id": 33, "meta_data": meta("7")}],
        "fee_lines": [{"id": 34, "name": "Tax", "meta_data": meta("tax")}]
    }))
    .unwrap();

    let changes = write::line_changes(&current, &order, &links());

    let items = changes["line_items"].as_array().unwrap();
    assert_eq!((&items[0]["id"], items[0].get("product_id")), (&json!(31), None));
    let meta = items[0]["meta_data"].as_array().unwrap();
    assert!(meta.contains(&json!({"key": wire::QUANTITY, "value": null})));
    assert_eq!(items[1].get("id"), None, "another product is another line");
    assert_eq!(items[2], json!({"id": 32, "quantity": 0}));
    assert_eq!(changes["shipping_lines"], json!([{"id": 33, "method_id": null}]));
    assert_eq!(changes["fee_lines"], json!([{"id": 34, "name": null}]));
}

#[test]
fn amounts_have_the_digits_of_their_currency() {
    let written =
        |amount: &str, currency: &str| total::written(amount.parse().unwrap(), currency.parse().unwrap());

    assert_eq!(written("1.005", "USD"), "1.01");
    assert_eq!(written("-1.005", "USD"), "-1.01");
    assert_eq!(written("12", "EUR"), "12.00");
    assert_eq!(written("1.0005", "KWD"), "1.001");
    assert_eq!(total::read("-"), Some(Decimal::ZERO));
    assert_eq!(total::read("1,5"), None);
}

#[test]
fn recorded_orders_are_read_and_would_not_be_written_again() {
    let Some(recorded) = super::super::tests::recorded() else {
        return;
    };
    let settings = Settings::default();

    for row in recorded["orders"].as_array().unwrap() {
        let order = read_one(row.clone());
        let lines: Decimal = order.lines.iter().map(|line| line.total + line.tax()).sum();
        assert_eq!(project::project(&order, &settings), order, "{}", order.number);
        assert_eq!(lines, order.total, "{}", order.number);
    }
}
