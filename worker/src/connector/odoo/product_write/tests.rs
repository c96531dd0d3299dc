use lockstep_shared::entity::Content;
use lockstep_shared::id::{ItemId, RecordId};
use serde_json::{Value, json};

use super::super::name;
use super::super::product::tests::product;
use super::*;

fn write(action: Action, content: &Value, step: u8) -> Write {
    Write {
        item: ItemId::random(),
        record: RecordId::random(),
        action,
        content: Content::Product(product(content)),
        step: Step(step),
        links: std::sync::Arc::default(),
    }
}

fn update(parts: &[(&str, &str)], changed: &[&str]) -> Action {
    let key = |text: &str| serde_json::from_value(json!(text)).unwrap();
    Action::Update {
        external_id: "9".to_owned(),
        parts: parts.iter().map(|(k, id)| (key(k), (*id).to_owned())).collect(),
        changed: changed.iter().map(|path| (*path).to_owned()).collect(),
    }
}

fn plan(write: &Write, known: &Known) -> Result<Option<Draft>, Refusal> {
    let Content::Product(product) = &write.content else {
        panic!("a product")
    };
    draft(write, product, known, &Settings::default())
}

fn simple() -> Value {
    json!({
        "name": "Beanie", "tracks_stock": true, "summary": "Warm",
        "variants": [{"sku": "B-1", "weight_kg": "0.2", "price": {"amount": "20", "currency": "USD"}}]
    })
}

fn variable(amounts: &[(&str, &str)]) -> Value {
    let variants: Vec<Value> = amounts
        .iter()
        .map(|(option, amount)| {
            json!({
                "attributes": [{"name": "Color", "option": option}], "sku": format!("V-{option}"),
                "price": {"amount": amount, "currency": "USD"}
            })
        })
        .collect();
    json!({"name": "Tee", "variants": variants})
}

fn known(options: &[(&str, f64)]) -> Known {
    let values = options.iter().zip(1..).map(|((option, extra), id)| {
        serde_json::from_value(json!({
            "id": id, "product_tmpl_id": [9, "Tee"], "attribute_id": [1, "Color"], "name": option,
            "price_extra": extra
        }))
        .unwrap()
    });
    Known {
        values: BTreeMap::from([(9, values.collect())]),
        ours: BTreeSet::from([9]),
        archived: BTreeMap::new(),
        categories: Tree::default(),
        tags: BTreeMap::new(),
        may_lack_category: true,
        has_storable_kind: false,
    }
}

fn cell<'a>(draft: &'a Draft, row: usize, field: &str) -> &'a str {
    let column = draft.fields.iter().position(|name| name == field).unwrap();
    &draft.rows[row].cells[column]
}

#[test]
fn a_simple_product_is_made_in_one_call() {
    let write = write(Action::Create, &simple(), 0);

    let draft = plan(&write, &Known::default()).unwrap().unwrap();

    assert_eq!(draft.model, "product.template");
    assert_eq!(draft.next, None);
    assert_eq!(cell(&draft, 0, "id"), name::template(write.record));
    assert_eq!(
        [
            "name",
            "list_price",
            "weight",
            "type",
            "is_storable",
            "active",
            "sale_ok",
            "taxes_id"
        ]
        .map(|field| cell(&draft, 0, field)),
        ["Beanie", "20", "0.2", "consu", "1", "1", "1", ""]
    );
}

#[test]
fn an_update_writes_the_changed_columns_alone() {
    let write = write(update(&[], &["name", "variants//price"]), &simple(), 0);

    let draft = plan(&write, &Known::default()).unwrap().unwrap();

    assert_eq!(draft.fields, [".id", "name", "list_price"]);
    assert_eq!(draft.rows[0].cells, ["9", "Beanie", "20"]);
    assert_eq!(draft.external_id, Source::Known("9".to_owned()));
}

#[test]
fn a_delete_archives() {
    let write = write(
        Action::Delete {
            external_id: "9".to_owned(),
        },
        &simple(),
        0,
    );

    let draft = plan(&write, &Known::default()).unwrap().unwrap();

    assert_eq!(draft.fields, [".id", "active"]);
    assert_eq!(draft.rows[0].cells, ["9", "0"]);
}

#[test]
fn an_update_to_archived_leaves_sale_ok() {
    let mut content = simple();
    content["status"] = json!("archived");
    let write = write(update(&[], &["status"]), &content, 0);

    let draft = plan(&write, &Known::default()).unwrap().unwrap();

    assert_eq!(draft.fields, [".id", "active"]);
}

#[test]
fn a_product_with_variants_is_made_step_by_step() {
    let content = variable(&[("Blue", "12"), ("Red", "10")]);
    let create = |step| write(Action::Create, &content, step);

    let first = plan(&create(0), &Known::default()).unwrap().unwrap();
    assert_eq!(
        (first.model, first.next),
        ("product.attribute", Some(Stage::Template.step()))
    );
    assert_eq!(first.external_id, Source::Later);
    assert_eq!(first.rows.len(), 2);
    assert!(!first.rows[1].is_head);

    let second = plan(&create(9), &Known::default()).unwrap().unwrap();
    assert_eq!(
        (second.model, second.next),
        ("product.template", Some(Stage::NewVariants.step()))
    );
    assert_eq!(second.external_id, Source::Record(0));
    assert_eq!(cell(&second, 0, "list_price"), "10");
    assert_eq!(
        cell(&second, 0, "attribute_line_ids/value_ids/id")
            .split(',')
            .count(),
        2
    );

    let all = [
        "name",
        "status",
        "variants/color=blue/price",
        "variants/color=red/price",
    ];
    let known = known(&[("Blue", 0.0), ("Red", 0.0)]);
    let third = plan(&write(update(&[], &all), &content, 12), &known)
        .unwrap()
        .unwrap();
    assert_eq!(
        (third.model, third.next),
        ("product.product", Some(Stage::Extras.step()))
    );
    assert_eq!(third.made.len(), 2);
    assert_eq!(cell(&third, 0, "product_tmpl_id/.id"), "9");
    assert_eq!(cell(&third, 0, "product_template_attribute_value_ids/.id"), "1");

    let parts = [("color=blue", "21"), ("color=red", "22")];
    let fourth = plan(&write(update(&parts, &all), &content, 13), &known)
        .unwrap()
        .unwrap();
    assert_eq!(fourth.model, "product.template.attribute.value");
    assert_eq!(fourth.next, None);
    assert_eq!(fourth.rows.len(), 1);
    assert_eq!(fourth.rows[0].cells, ["1", "2"]);
}

#[test]
fn extras_that_are_right_take_no_call() {
    let content = variable(&[("Blue", "10"), ("Red", "10")]);
    let known = known(&[("Blue", 0.0), ("Red", 0.0)]);

    let draft = plan(&write(update(&[], &["name"]), &content, 12), &known)
        .unwrap()
        .unwrap();

    assert_eq!(draft.next, None);
}

#[test]
fn a_variants_fields_go_by_its_own_id() {
    let content = variable(&[("Blue", "10"), ("Red", "10")]);
    let parts = [("color=blue", "21"), ("color=red", "22")];
    let write = write(update(&parts, &["variants/color=red/sku"]), &content, 0);

    let draft = plan(&write, &Known::default()).unwrap().unwrap();

    assert_eq!(draft.model, "product.product");
    assert_eq!(draft.fields, [".id", "default_code"]);
    assert_eq!(draft.rows.len(), 1);
    assert_eq!(draft.rows[0].cells, ["22", "V-Red"]);
    assert_eq!(draft.parts.len(), 2);
}

#[test]
fn a_variant_that_went_is_archived() {
    let content = variable(&[("Blue", "10")]);
    let parts = [("color=blue", "21"), ("color=red", "22")];
    let write = write(update(&parts, &["variants/color=red/attributes"]), &content, 0);

    let draft = plan(&write, &Known::default()).unwrap().unwrap();

    assert_eq!(draft.rows.len(), 1);
    assert_eq!(draft.rows[0].cells, ["22", "0"]);
    assert_eq!(draft.parts.len(), 1);
}

#[test]
fn a_new_option_keeps_the_options_that_are_there() {
    let content = variable(&[("Blue", "10"), ("Green", "10")]);
    let parts = [("color=blue", "21")];
    let changed = ["variants/color=green/attributes", "variants/color=green/price"];
    let known = known(&[("Blue", 0.0), ("Old", 0.0)]);

    let first = plan(&write(update(&parts, &changed), &content, 0), &known)
        .unwrap()
        .unwrap();
    let second = plan(&write(update(&parts, &changed), &content, 9), &known)
        .unwrap()
        .unwrap();

    assert_eq!(first.rows.len(), 3);
    assert_eq!(
        cell(&second, 0, "attribute_line_ids/value_ids/id")
            .split(',')
            .count(),
        3
    );
    assert_eq!(second.fields[0], "id");
}

#[test]
fn a_new_option_on_a_template_of_others_is_refused() {
    let content = variable(&[("Blue", "10"), ("Green", "10")]);
    let changed = ["variants/color=green/attributes"];
    let mut known = known(&[("Blue", 0.0)]);
    known.ours.clear();
    let write = write(update(&[("color=blue", "21")], &changed), &content, 0);

    let refusal = plan(&write, &known).unwrap_err();

    assert_eq!(refusal.code, "attribute_values_missing");
    assert!(
        refusal.message.contains("`color` = `green`"),
        "{}",
        refusal.message
    );
}

#[test]
fn a_new_combination_of_known_options_needs_no_ownership() {
    let content = variable(&[("Blue", "10"), ("Red", "10")]);
    let mut known = known(&[("Blue", 0.0), ("Red", 0.0)]);
    known.ours.clear();
    let changed = ["variants/color=red/attributes"];
    let write = write(update(&[("color=blue", "21")], &changed), &content, 10);

    let draft = plan(&write, &known).unwrap().unwrap();

    assert_eq!(draft.made.len(), 1);
}

#[test]
fn variants_do_not_become_a_simple_product() {
    let write = write(update(&[("color=blue", "21")], &["name"]), &simple(), 0);

    assert_eq!(
        plan(&write, &Known::default()).unwrap_err().code,
        "variants_to_simple"
    );
}

#[test]
fn categories_are_made_from_the_outermost_inwards_and_then_the_product() {
    let mut content = simple();
    content["categories"] = json!([["Clothing", "Hats"]]);
    let create = |step| write(Action::Create, &content, step);
    let rows = json!([{"id": 4, "name": "Clothing", "parent_id": false}]);
    let mut known = Known {
        may_lack_category: true,
        has_storable_kind: false,
        ..Known::default()
    };

    let outer = plan(&create(0), &known).unwrap().unwrap();
    known.categories = Tree::new(serde_json::from_value(rows).unwrap());
    let inner = plan(&create(1), &known).unwrap().unwrap();
    let rows = json!([
        {"id": 4, "name": "Clothing", "parent_id": false}, {"id": 7, "name": "Hats", "parent_id": [4, "Clothing"]}
    ]);
    known.categories = Tree::new(serde_json::from_value(rows).unwrap());
    let last = plan(&create(2), &known).unwrap().unwrap();

    assert_eq!((outer.model, outer.next), ("product.category", Some(Step(1))));
    assert_eq!(outer.external_id, Source::Later);
    assert_eq!(
        [cell(&outer, 0, "name"), cell(&outer, 0, "parent_id/.id")],
        ["Clothing", ""]
    );
    assert_eq!(
        [cell(&inner, 0, "name"), cell(&inner, 0, "parent_id/.id")],
        ["Hats", "4"]
    );
    assert_eq!((last.model, last.next), ("product.template", None));
    assert_eq!(cell(&last, 0, "categ_id/.id"), "7");
}

#[test]
fn a_product_without_a_category_is_given_none() {
    let mut known = Known {
        may_lack_category: true,
        has_storable_kind: false,
        ..Known::default()
    };
    let write = write(update(&[], &["categories"]), &simple(), 0);
    let cell_of = |known: &Known| {
        let draft = plan(&write, known).unwrap();
        draft.map(|draft| cell(&draft, 0, "categ_id/.id").to_owned())
    };

    assert_eq!(cell_of(&known).as_deref(), Some(""));
    known.may_lack_category = false;
    assert_eq!(cell_of(&known), None);
    let rows = json!([{"id": 1, "name": "All", "parent_id": false}]);
    known.categories = Tree::new(serde_json::from_value(rows).unwrap());
    assert_eq!(cell_of(&known).as_deref(), Some("1"));
}

#[test]
fn tags_that_are_not_there_are_made_and_all_are_put_on() {
    let mut content = simple();
    content["tags"] = json!(["New", "Old"]);
    let mut known = Known {
        tags: [("Old".to_owned(), 3)].into(),
        ..Known::default()
    };

    let first = plan(&write(Action::Create, &content, 0), &known)
        .unwrap()
        .unwrap();
    known.tags.insert("New".to_owned(), 7);
    let second = plan(&write(Action::Create, &content, 1), &known)
        .unwrap()
        .unwrap();

    assert_eq!((first.model, first.next), ("product.tag", Some(Step(1))));
    assert_eq!(
        first.rows.iter().map(|row| &row.cells[0]).collect::<Vec<_>>(),
        ["New"]
    );
    assert_eq!(cell(&second, 0, "product_tag_ids/.id"), "7,3");
    let without = plan(&write(update(&[], &["tags"]), &simple(), 0), &known);
    let without = without.unwrap().unwrap();
    assert_eq!(without.rows[0].cells, ["9", ""]);
}

#[test]
fn a_picture_comes_last_and_is_not_expected_back() {
    let mut content = simple();
    content["images"] = json!(["https://cdn.example.com/a.png"]);

    let first = plan(&write(Action::Create, &content, 0), &Known::default());
    let first = first.unwrap().unwrap();
    let second = plan(
        &write(update(&[], &["name", "images"]), &content, 14),
        &Known::default(),
    );
    let second = second.unwrap().unwrap();

    assert_eq!(first.next, Some(Stage::Picture.step()));
    assert_eq!(second.fields, [".id", "image_1920"]);
    assert_eq!(second.rows[0].cells, ["9", "https://cdn.example.com/a.png"]);
    assert_eq!(second.next, None);
    let held = second.held.unwrap().content().unwrap();
    assert_eq!(held, Content::Product(product(&simple())));
    assert_eq!(
        plan(&write(update(&[], &["images"]), &simple(), 0), &Known::default()),
        Ok(None)
    );
}

#[test]
fn nothing_changed_takes_no_call() {
    let write = write(update(&[], &["description"]), &simple(), 0);

    assert_eq!(plan(&write, &Known::default()).unwrap(), None);
}
