use lockstep_shared::entity::{Fields, PartKey, fields_of};
use lockstep_shared::id::{ItemId, RecordId};
use uuid::Uuid;

use super::*;
use crate::connector::{Link, Links, Step as WriteStep};

const SIMPLE: RecordId = RecordId(Uuid::from_u128(1));
const SHIRT: RecordId = RecordId(Uuid::from_u128(2));

fn links() -> Links {
    let content = Content::Inventory(Inventory {
        product: Reference::record(SIMPLE, PartKey::default()),
        quantity: Decimal::ZERO,
    });
    let link = |external_id: &str, parts: &[(&str, &str)]| Link {
        external_id: external_id.to_owned(),
        parts: parts
            .iter()
            .map(|(key, id)| (PartKey::named(*key), (*id).to_owned()))
            .collect(),
        content: content.clone(),
    };
    Links::new([
        (SIMPLE, link("12", &[])),
        (SHIRT, link("20", &[("colour=blue", "21"), ("colour=red", "22")])),
    ])
}

fn level(record: RecordId, part: &str, quantity: i64) -> Write {
    Write {
        item: ItemId(Uuid::nil()),
        record,
        action: Action::Create,
        content: Content::Inventory(Inventory {
            product: Reference::record(record, PartKey::named(part)),
            quantity: Decimal::from(quantity),
        }),
        step: WriteStep::default(),
        links: std::sync::Arc::new(links()),
    }
}

fn seen(json: Value) -> Option<Theirs> {
    serde_json::from_value::<Counted>(json).unwrap().theirs()
}

#[test]
fn a_level_is_what_the_store_counts_by_itself() {
    let simple = json!({"id": 12, "type": "simple", "manage_stock": true, "stock_quantity": -4});
    let variation =
        json!({"id": 21, "parent_id": 20, "type": "variation", "manage_stock": true, "stock_quantity": 7});

    let simple = seen(simple).unwrap();
    let variation = seen(variation).unwrap();

    assert_eq!(
        (simple.external_id.as_str(), variation.external_id.as_str()),
        ("12", "20/21")
    );
    assert_eq!(
        fields_of(&simple.content.unwrap()).get("quantity"),
        Some(&json!("-4"))
    );
    assert_eq!(
        variation.content.unwrap(),
        Content::Inventory(Inventory {
            product: Reference::remote("20", Some("21".to_owned())),
            quantity: Decimal::from(7),
        })
    );
}

#[test]
fn what_is_not_counted_by_itself_has_no_level() {
    for row in [
        json!({"id": 12, "type": "simple", "manage_stock": false, "stock_quantity": null}),
        json!({"id": 21, "parent_id": 20, "manage_stock": "parent", "stock_quantity": 7}),
        json!({"id": 20, "type": "variable", "manage_stock": true, "stock_quantity": 7}),
    ] {
        assert!(seen(row.clone()).is_none(), "{row}");
    }
}

#[test]
fn part_of_a_piece_is_not_there() {
    let floored = |text: &str| {
        let level = Inventory {
            product: Reference::record(SIMPLE, PartKey::default()),
            quantity: text.parse().unwrap(),
        };
        project(&level).quantity.to_string()
    };

    assert_eq!(
        [floored("2.5"), floored("-2.5"), floored("3.0")],
        ["2", "-3", "3"]
    );
}

#[test]
fn variations_go_by_their_parent_and_the_rest_together() {
    let writes = vec![
        level(SIMPLE, "", 3),
        level(SHIRT, "colour=blue", 4),
        level(SHIRT, "colour=red", 5),
    ];

    let requests = requests(writes, |_| true);

    let calls: Vec<Call> = requests
        .iter()
        .map(|request| serde_json::from_value(request.call.clone()).unwrap())
        .collect();
    assert_eq!(calls[0].path.as_deref(), Some("products/20/variations/batch"));
    assert_eq!(
        calls[0].update,
        [
            json!({"id": 21, "manage_stock": true, "stock_quantity": 4}),
            json!({"id": 22, "manage_stock": true, "stock_quantity": 5})
        ]
    );
    assert_eq!(calls[1].path.as_deref(), Some("products/batch"));
    assert_eq!(
        calls[1].update,
        [json!({"id": 12, "manage_stock": true, "stock_quantity": 3})]
    );
}

#[test]
fn a_sale_in_between_is_told() {
    let write = level(SIMPLE, "", 3);
    let Outcome::Applied {
        held, external_id, ..
    } = outcome(
        &write,
        &json!({"id": 12, "type": "simple", "manage_stock": true, "stock_quantity": 2}),
    )
    .unwrap()
    else {
        panic!("it was applied")
    };

    assert_eq!(external_id, "12");
    let fields: Fields = fields_of(&held.unwrap());
    assert_eq!(fields.get("quantity"), Some(&json!("2")));
    let same = json!({"id": 12, "type": "simple", "manage_stock": true, "stock_quantity": 3});
    assert!(matches!(
        outcome(&write, &same),
        Some(Outcome::Applied { held: None, .. })
    ));
}
