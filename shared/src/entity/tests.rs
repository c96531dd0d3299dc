use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::json;

use super::*;

fn words() -> impl Strategy<Value = String> {
    "[A-Za-zÅåüß张&<'\" \t]{0,12}[A-Za-zÅ张]"
}

fn maybe(strategy: impl Strategy<Value = String>) -> impl Strategy<Value = Option<String>> {
    prop::option::of(strategy)
}

pub(crate) fn any_address() -> impl Strategy<Value = Option<Address>> {
    let address = (
        maybe(words()),
        maybe(words()),
        maybe("[0-9]{5}"),
        maybe("[A-Z]{2}"),
    )
        .prop_map(|(street, city, postcode, country)| Address {
            street,
            city,
            postcode,
            country,
            ..Address::default()
        });
    prop::option::of(address)
}

pub(crate) fn any_customer() -> impl Strategy<Value = Content> {
    let email = maybe("[A-Z]?[a-z]{1,8}(\\+[a-z]{1,3})?@[a-z]{1,6}\\.(com|TEST)");
    (
        words(),
        email,
        maybe("[0-9 +]{1,12}"),
        any_address(),
        any_address(),
        any::<bool>(),
    )
        .prop_map(|(name, email, phone, billing, shipping, is_active)| {
            let customer = Customer {
                name,
                email,
                phone,
                company: None,
                tax_number: None,
                language: None,
                billing,
                shipping,
                is_active,
            };
            Content::Customer(customer)
                .canonical()
                .expect("valid by its making")
        })
}

pub(crate) fn any_product() -> impl Strategy<Value = Content> {
    let variant = (
        maybe("[A-Z]{1,3}-[0-9]{1,4}"),
        prop::option::of(0_i64..100_000),
        prop::option::of(0_i64..5_000),
    );
    let variants = prop::collection::vec(variant, 1..4);
    (words(), maybe(words()), variants, any::<bool>()).prop_map(|(name, summary, variants, tracks_stock)| {
        let is_variable = variants.len() > 1;
        let variants = variants
            .into_iter()
            .enumerate()
            .map(|(number, (sku, cents, grams))| Variant {
                attributes: if is_variable {
                    vec![Attribute {
                        name: "Size".to_owned(),
                        option: format!("No {number}"),
                    }]
                } else {
                    Vec::new()
                },
                sku: sku.map(|sku| format!("{sku}-{number}")),
                price: cents.map(|cents| Money::new(Decimal::new(cents, 2), Currency::USD)),
                weight_kg: grams.map(|grams| Decimal::new(grams, 3)),
                ..Variant::default()
            });
        let product = Product {
            name,
            status: ProductStatus::Published,
            kind: ProductKind::Goods,
            tracks_stock,
            description: None,
            categories: vec![vec!["Clothing".to_owned(), "Hats".to_owned()]],
            tags: Vec::new(),
            tax_class: None,
            images: Vec::new(),
            summary,
            variants: variants.collect(),
        };
        Content::Product(product)
            .canonical()
            .expect("valid by its making")
    })
}

fn any_reference() -> impl Strategy<Value = Reference> {
    (any::<u128>(), "[a-z=]{0,6}").prop_map(|(id, part)| {
        Reference::record(
            crate::id::RecordId(uuid::Uuid::from_u128(id)),
            PartKey::named(part),
        )
    })
}

fn any_cents() -> impl Strategy<Value = Decimal> {
    (-100_000_i64..1_000_000).prop_map(|cents| Decimal::new(cents, 2))
}

fn any_line() -> impl Strategy<Value = OrderLine> {
    let taxes = prop::collection::vec((prop::option::of(0_i64..25), any_cents()), 0..3);
    (
        prop::option::of(any_reference()),
        maybe(words()),
        1_i64..20,
        any_cents(),
        taxes,
    )
        .prop_map(|(product, name, quantity, total, taxes)| OrderLine {
            product,
            name,
            quantity: Decimal::from(quantity),
            subtotal: total,
            total,
            taxes: taxes
                .into_iter()
                .map(|(rate, amount)| TaxAmount {
                    name: None,
                    rate: rate.map(Decimal::from),
                    amount,
                })
                .collect(),
            ..OrderLine::default()
        })
}

pub(crate) fn any_order() -> impl Strategy<Value = Content> {
    let origin = prop::sample::select(vec![
        None,
        Some(crate::system::System::Woocommerce),
        Some(crate::system::System::Odoo),
    ]);
    let lines = prop::collection::vec(any_line(), 0..4);
    (
        words(),
        origin,
        prop::option::of(any_reference()),
        lines,
        any_address(),
        0_i64..2_000_000_000,
    )
        .prop_map(|(number, origin, customer, lines, address, second)| {
            let lines = lines.into_iter().enumerate().map(|(number, line)| OrderLine {
                key: PartKey::named(format!("{number}")),
                ..line
            });
            let order = Order {
                number,
                origin,
                status: OrderStatus::Processing,
                currency: Currency::USD,
                placed_at: chrono::DateTime::from_timestamp(second, 0).expect("within the years"),
                customer,
                billing: address.map(|address| Contact {
                    address,
                    ..Contact::default()
                }),
                shipping: None,
                note: None,
                coupons: vec!["Summer".to_owned()],
                lines: lines.collect(),
                total_tax: Decimal::ZERO,
                total: Decimal::ONE,
            };
            Content::Order(order).canonical().expect("valid by its making")
        })
}

pub(crate) fn any_content() -> impl Strategy<Value = Content> {
    let inventory = (any_reference(), any_cents()).prop_map(|(product, quantity)| {
        Content::Inventory(Inventory { product, quantity })
            .canonical()
            .expect("valid by its making")
    });
    let payment = (any_reference(), 1_i64..1_000_000, maybe(words())).prop_map(|(order, cents, reason)| {
        let payment = Payment {
            order,
            kind: PaymentKind::Refunded,
            amount: Money::new(Decimal::new(cents, 2), Currency::USD),
            made_at: chrono::DateTime::UNIX_EPOCH,
            method: None,
            transaction_id: None,
            reason,
            lines: Vec::new(),
        };
        Content::Payment(payment)
            .canonical()
            .expect("valid by its making")
    });
    prop_oneof![any_customer(), any_product(), any_order(), inventory, payment]
}

proptest! {
    #[test]
    fn the_canonical_form_has_one_form(content in any_content()) {
        prop_assert_eq!(content.clone().canonical().unwrap(), content);
    }

    #[test]
    fn what_is_stored_reads_back_as_the_same_record(content in any_content()) {
        let read = Content::parse(content.entity(), content.to_json()).unwrap();

        prop_assert_eq!(read.hash(), content.hash());
        prop_assert_eq!(read, content);
    }

    #[test]
    fn a_record_taken_apart_goes_together_again(content in any_content()) {
        let entity = content.entity();

        prop_assert_eq!(fields_of(&content).into_content(entity).unwrap(), content);
    }

    #[test]
    fn another_content_has_another_hash(one in any_content(), other in any_content()) {
        prop_assert_eq!(one == other, one.hash() == other.hash());
    }
}

#[test]
fn what_a_connector_read_is_put_into_records_or_left_out() {
    let known = RecordPart {
        record: crate::id::RecordId(uuid::Uuid::from_u128(7)),
        part: PartKey::named("size=s"),
    };
    let line = |key: &str, id: &str| OrderLine {
        key: PartKey::named(key),
        product: Some(Reference::remote(id, Some("12".to_owned()))),
        ..OrderLine::default()
    };
    let order = Order {
        number: "1".to_owned(),
        origin: None,
        status: OrderStatus::Pending,
        currency: Currency::USD,
        placed_at: chrono::DateTime::UNIX_EPOCH,
        customer: None,
        billing: None,
        shipping: None,
        note: None,
        coupons: Vec::new(),
        lines: vec![line("1", "10"), line("2", "gone")],
        total_tax: Decimal::ZERO,
        total: Decimal::ZERO,
    };
    let payment = Payment {
        order: Reference::remote("gone", None),
        kind: PaymentKind::Received,
        amount: Money::new(Decimal::ONE, Currency::USD),
        made_at: chrono::DateTime::UNIX_EPOCH,
        method: None,
        transaction_id: None,
        reason: None,
        lines: Vec::new(),
    };
    let find = |_, thing: &RemoteThing| (thing.external_id == "10").then(|| known.clone());

    let Ok(Content::Order(order)) = Content::Order(order).resolved(find) else {
        panic!("an order can be without its products")
    };
    let products: Vec<_> = order.lines.into_iter().map(|line| line.product).collect();
    assert_eq!(products, [Some(Reference::Record(known.clone())), None]);

    let refused = Content::Payment(payment).resolved(find).unwrap_err();
    assert_eq!(refused.0[0].field, "order");
    let forged = json!({ "order": { "externalId": "9" }, "amount": { "amount": "1", "currency": "USD" }, "made_at": "2026-01-01T00:00:00Z" });
    assert!(
        Content::parse(crate::system::EntityType::Payments, forged).is_err(),
        "nobody puts in what only a connector reads"
    );
}

#[test]
fn the_order_of_keys_variants_and_digits_does_not_matter() {
    let variant = |size: &str, amount: &str| json!({ "attributes": [{ "name": "Size", "option": size }], "price": { "amount": amount, "currency": "usd" } });
    let one = json!({ "name": " Shirt  blue ", "variants": [variant("S", "10.50"), variant("M", "11")] });
    let other = json!({ "variants": [variant("M", "11.00"), variant("S", "10.5")], "name": "Shirt blue" });

    let read = |json| Content::parse(crate::system::EntityType::Products, json).unwrap();

    assert_eq!(read(one).hash(), read(other).hash());
}

#[test]
fn every_wrong_field_is_named_with_what_would_be_right() {
    let wrong = json!({
        "name": " ",
        "variants": [
            { "attributes": [{ "name": "Size", "option": "S" }], "sku": "A", "price": { "amount": "-1", "currency": "USD" } },
            { "attributes": [{ "name": "size", "option": "s" }], "sku": "a" },
        ],
    });

    let Invalid(errors) = Content::parse(crate::system::EntityType::Products, wrong).unwrap_err();

    let named: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        named,
        [
            "`name` must not be empty",
            "`variants/0/price` must not be negative",
            "`variants/1/attributes` must differ from those of another variant (`size=s`)",
            "`variants/1/sku` `a` must be used once in a product",
        ]
    );
}

#[test]
fn an_unknown_field_is_refused_instead_of_lost() {
    let misspelt = json!({ "name": "Ann", "emial": "ann@example.com" });

    let error = Content::parse(crate::system::EntityType::Customers, misspelt).unwrap_err();

    assert!(error.to_string().contains("emial"), "{error}");
}

#[test]
fn an_address_that_is_the_billing_address_again_is_none() {
    let json = json!({ "name": "Ann", "billing": { "city": "Ghent" }, "shipping": { "city": " Ghent " } });

    let content = Content::parse(crate::system::EntityType::Customers, json).unwrap();

    assert_eq!(
        content.to_json(),
        json!({ "name": "Ann", "billing": { "city": "Ghent" } })
    );
}

#[test]
fn email_addresses_are_told_from_other_texts() {
    for good in ["ann@example.com", " ANN+shop@Example.co.uk "] {
        assert!(Email::parse(good).is_some(), "{good}");
    }
    for bad in [
        "",
        "ann",
        "ann@",
        "@example.com",
        "ann@example",
        "a b@example.com",
        "a@b.c,d@e.f",
        "ann@.com",
    ] {
        assert!(Email::parse(bad).is_none(), "{bad}");
    }
}
