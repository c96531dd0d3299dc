use lockstep_shared::entity::Currency;

use super::*;

fn settings(weight_unit: WeightUnit) -> Settings {
    Settings {
        currency: Currency::USD,
        weight_unit,
        ..Settings::default()
    }
}

fn product(row: Value) -> wire::Product {
    serde_json::from_value(row).unwrap()
}

fn variation(row: Value) -> wire::Variation {
    serde_json::from_value(row).unwrap()
}

fn read_simple(row: Value) -> Product {
    read(&product(row), &[], &settings(WeightUnit::Kg)).unwrap()
}

#[test]
fn a_simple_product_has_one_variant_without_attributes() {
    let read = read_simple(json!({
        "id": 12, "name": "A &amp; B", "type": "simple", "status": "publish", "virtual": false, "manage_stock": true,
        "description": "<p>Long</p>\n", "short_description": "<p>Short<br />text &amp; more</p>\n",
        "sku": "SKU-1", "global_unique_id": "4006381333931", "regular_price": "19.9000", "weight": "0.2",
    }));

    assert_eq!(
        Content::Product(read).to_json(),
        json!({
            "name": "A & B", "status": "published", "kind": "goods", "tracks_stock": true,
            "description": "<p>Long</p>", "summary": "Short\ntext & more",
            "variants": [{
                "sku": "SKU-1", "barcode": "4006381333931", "weight_kg": "0.2",
                "price": {"amount": "19.9", "currency": "USD"},
            }],
        })
    );
}

#[test]
fn a_sale_measures_and_the_tax_are_read() {
    let read = read_simple(json!({
        "name": "x", "type": "simple", "regular_price": "20", "sale_price": "15.50",
        "date_on_sale_from_gmt": "2026-11-22T18:29:02", "date_on_sale_to_gmt": null,
        "dimensions": {"length": "10.5", "width": "", "height": "0"}, "tax_status": "taxable", "tax_class": "reduced-rate",
    }));

    let json = Content::Product(read).to_json();
    assert_eq!(
        json["variants"][0],
        json!({
            "price": {"amount": "20", "currency": "USD"}, "dimensions": {"length_cm": "10.5"},
            "sale": {"price": "15.5", "from": "2026-11-22T18:29:02Z"},
        })
    );
    assert_eq!(json["tax_class"], "reduced-rate");
}

#[test]
fn a_sale_that_is_no_reduction_is_none() {
    let sale = |regular: &str, sale: &str| {
        let row = json!({"name": "x", "type": "simple", "regular_price": regular, "sale_price": sale});
        read_simple(row).variants[0].sale.clone()
    };

    assert!(sale("20", "19.99").is_some());
    assert_eq!(sale("20", "20.00"), None);
    assert_eq!(sale("", "5"), None);
    assert_eq!(sale("20", ""), None);
}

#[test]
fn what_is_not_taxed_is_a_kind_of_tax() {
    let class = |status: &str, class: &str| {
        read_simple(json!({"name": "x", "type": "simple", "tax_status": status, "tax_class": class}))
            .tax_class
    };

    assert_eq!(class("none", "").as_deref(), Some("none"));
    assert_eq!(class("shipping", "zero-rate").as_deref(), Some("shipping"));
    assert_eq!(class("taxable", "zero-rate").as_deref(), Some("zero-rate"));
    assert_eq!(class("taxable", ""), None);
}

#[test]
fn a_service_is_what_is_virtual_and_not_counted() {
    let kind = |is_virtual: bool, manages: bool| {
        let row = json!({"name": "x", "type": "simple", "virtual": is_virtual, "manage_stock": manages});
        let read = read_simple(row);
        (read.kind, read.tracks_stock)
    };

    assert_eq!(kind(true, false), (ProductKind::Service, false));
    assert_eq!(kind(true, true), (ProductKind::Goods, true));
    assert_eq!(kind(false, false), (ProductKind::Goods, false));
}

#[test]
fn every_status_has_a_meaning() {
    for (status, meaning) in [
        ("publish", ProductStatus::Published),
        ("private", ProductStatus::Private),
        ("draft", ProductStatus::Draft),
        ("pending", ProductStatus::Draft),
        ("future", ProductStatus::Draft),
        ("trash", ProductStatus::Archived),
    ] {
        let read = read_simple(json!({"name": "x", "type": "simple", "status": status}));
        assert_eq!(read.status, meaning, "{status}");
    }
}

fn hoodie() -> wire::Product {
    product(
        json!({"id": 627, "name": "Hoodie", "type": "variable", "status": "publish", "sku": "woo-hoodie",
        "weight": "1.5", "variations": [1, 2, 3]}),
    )
}

#[test]
fn a_variable_product_has_its_published_variations() {
    let rows = [
        json!({"id": 1, "parent_id": 627, "status": "publish", "sku": "WOO-hoodie", "regular_price": "45",
            "weight": "1.5", "manage_stock": "parent", "attributes": [
                {"id": 1, "name": "Color", "option": "Blue"}, {"id": 0, "name": "Logo", "option": "A &amp; B"}]}),
        json!({"id": 2, "parent_id": 627, "status": "publish", "sku": "woo-hoodie-red", "attributes": [
                {"id": 1, "name": "Color", "option": "Red"}, {"id": 0, "name": "Logo", "option": ""}]}),
        json!({"id": 3, "parent_id": 627, "status": "private", "sku": "old", "attributes": []}),
    ];
    let variations: Vec<_> = rows.into_iter().map(variation).collect();

    let theirs = theirs(&hoodie(), &variations, &settings(WeightUnit::Kg));

    let Ok(Content::Product(read)) = theirs.content else {
        panic!("no content")
    };
    let keys: Vec<String> = read
        .variants
        .iter()
        .map(|variant| variant.key().to_string())
        .collect();
    assert_eq!(keys, ["color=blue|logo=a & b", "color=red"]);
    assert_eq!(read.variants[0].sku, None, "it is the parent's");
    assert_eq!(read.variants[0].weight_kg, Some(Decimal::new(15, 1)));
    assert_eq!(read.variants[1].sku.as_deref(), Some("woo-hoodie-red"));
    assert!(read.tracks_stock);
    let parts: Vec<&str> = theirs.parts.values().map(String::as_str).collect();
    assert_eq!(parts, ["1", "2"]);
}

#[test]
fn a_variable_product_without_a_variation_has_no_content() {
    let invalid = read(&hoodie(), &[], &settings(WeightUnit::Kg)).unwrap_err();

    assert_eq!(
        invalid.to_string(),
        "`variants` must be at least one: this variable product has no published variation"
    );
}

#[test]
fn a_number_that_is_none_is_named() {
    let row = json!({"name": "x", "type": "simple", "regular_price": "12,50"});

    let invalid = read(&product(row), &[], &settings(WeightUnit::Kg)).unwrap_err();

    assert_eq!(
        invalid.to_string(),
        "`variants/0/price` must be a plain number, not `12,50`"
    );
}

#[test]
fn weights_come_back_as_they_went_in_every_unit() {
    for unit in [WeightUnit::Kg, WeightUnit::G, WeightUnit::Lbs, WeightUnit::Oz] {
        for weight in ["0.33", "1", "12.34567", "0.0001", "999.999"] {
            let once = to_kilograms(from_kilograms(weight.parse().unwrap(), unit).unwrap(), unit).unwrap();
            let twice = to_kilograms(from_kilograms(once, unit).unwrap(), unit).unwrap();
            assert_eq!(once, twice, "{weight} {unit:?}");
        }
    }
    assert_eq!(
        to_kilograms(Decimal::ONE, WeightUnit::Lbs).unwrap().to_string(),
        "0.45359237"
    );
    let pounds = from_kilograms("0.45359237".parse().unwrap(), WeightUnit::Lbs);
    assert_eq!(pounds, Some(Decimal::ONE));
}

fn plain(sku: Option<&str>, barcode: Option<&str>) -> Product {
    Product {
        name: "x".to_owned(),
        status: ProductStatus::Archived,
        kind: ProductKind::Service,
        tracks_stock: true,
        description: None,
        summary: None,
        variants: vec![Variant {
            sku: sku.map(str::to_owned),
            barcode: barcode.map(str::to_owned),
            ..Variant::default()
        }],
        categories: Vec::new(),
        images: Vec::new(),
        tags: Vec::new(),
        tax_class: None,
    }
}

#[test]
fn what_the_store_cant_hold_is_left_out() {
    let projected = project(&plain(None, Some("ABC123")), &settings(WeightUnit::Kg));

    assert_eq!(projected.variants[0].barcode, None);
    assert_eq!(
        (projected.status, projected.kind),
        (ProductStatus::Draft, ProductKind::Goods)
    );
    let kept = project(&plain(None, Some("978-3-16")), &settings(WeightUnit::Kg));
    assert_eq!(kept.variants[0].barcode.as_deref(), Some("978-3-16"));
}

#[test]
fn what_the_store_would_alter_is_refused() {
    let settings = settings(WeightUnit::Kg);
    let code = |product: &Product| refuses(product, &settings).map(|refusal| refusal.code);

    assert_eq!(code(&plain(Some("A,B 50% off"), None)), None);
    assert_eq!(code(&plain(Some("A%20B"), None)).as_deref(), Some("unfit_sku"));
    assert_eq!(code(&plain(Some("<b>"), None)).as_deref(), Some("unfit_sku"));

    let mut euro = plain(None, None);
    euro.variants[0].price = Some(Money::new(Decimal::ONE, "EUR".parse().unwrap()));
    let refusal = refuses(&euro, &settings).unwrap();
    assert_eq!(
        refusal.message,
        "the price is in EUR, and this store sells in USD"
    );
}

/// What a real store answered, where it lies beside the workspace.
#[test]
fn recorded_products_are_read_and_would_not_be_written_again() {
    let Some(recorded) = super::super::tests::recorded() else {
        return;
    };
    let settings = settings(WeightUnit::Lbs);
    let (mut seen, mut variants) = (0, 0);

    for row in recorded["products"].as_array().unwrap() {
        let id = row["id"].to_string();
        let rows = recorded["variations"].get(&id).and_then(Value::as_array).cloned();
        let variations: Vec<_> = rows.unwrap_or_default().into_iter().map(variation).collect();
        let theirs = theirs(&product(row.clone()), &variations, &settings);
        let Ok(Content::Product(read)) = theirs.content else {
            panic!("{id}: {:?}", theirs.content)
        };
        assert_eq!(project(&read, &settings), read, "{id}");
        assert!(read.variants.iter().all(|variant| variant.sku.is_some()), "{id}");
        assert!(refuses(&read, &settings).is_none(), "{id}");
        seen += 1;
        variants += read.variants.len();
    }

    assert_eq!((seen, variants), (18, 16 + 7));
}
