//! Records to write: plain ones by number, and tricky ones.

use lockstep_shared::entity::Content;
use lockstep_shared::system::EntityType;
use serde_json::{Value, json};

pub fn customer_of(json: Value) -> Content {
    Content::parse(EntityType::Customers, json).expect("a valid customer")
}

pub fn product_of(json: Value) -> Content {
    Content::parse(EntityType::Products, json).expect("a valid product")
}

pub fn usd(amount: &str) -> Value {
    json!({"amount": amount, "currency": "USD"})
}

/// The types that the rules for each entity type are about.
pub const CARRIED: [EntityType; 2] = [EntityType::Customers, EntityType::Products];

/// A plain thing that a number tells apart.
pub fn plain(entity: EntityType, number: usize) -> Content {
    match entity {
        EntityType::Customers => customer_of(json!({
            "name": format!("Ann {number}"), "email": format!("ann-{number}@example.com"), "phone": "+1 555 0100",
            "billing": {"street": format!("{number} Main St"), "city": "Brisbane", "state": "CA", "country": "US"}
        })),
        EntityType::Products => product_of(json!({
            "name": format!("Thing {number}"), "summary": "Soft",
            "variants": [{"sku": format!("THING-{number}"), "price": usd("12.50"), "weight_kg": "0.5"}]
        })),
        _ => unreachable!("their rules are elsewhere"),
    }
}

/// A thing that no key of its own tells apart.
pub fn keyless(entity: EntityType, number: usize) -> Content {
    match entity {
        EntityType::Customers => customer_of(json!({"name": format!("Nobody {number}")})),
        EntityType::Products => product_of(json!({
            "name": format!("Nothing {number}"), "variants": [{"price": usd("1")}]
        })),
        _ => unreachable!("their rules are elsewhere"),
    }
}

/// A thing of which a part has an identity of its own.
pub fn composed(entity: EntityType, number: usize) -> Content {
    match entity {
        EntityType::Customers => customer_of(json!({
            "name": format!("Bea {number}"), "email": format!("bea-{number}@example.com"),
            "billing": {"street": "Home", "country": "DE"}, "shipping": {"name": "Bob", "street": "Away", "country": "US"}
        })),
        EntityType::Products => shirt(number, &[("Blue", "10"), ("Red", "12")]),
        _ => unreachable!("their rules are elsewhere"),
    }
}

/// A product with a variant of each colour, at a price.
pub fn shirt(number: usize, colours: &[(&str, &str)]) -> Content {
    let variants: Vec<Value> = colours
        .iter()
        .map(|(colour, amount)| {
            json!({
                "attributes": [{"name": "Color", "option": colour}], "sku": format!("SHIRT-{number}-{colour}"),
                "price": usd(amount)
            })
        })
        .collect();
    product_of(json!({"name": format!("Shirt {number}"), "variants": variants}))
}

/// Returns a content whose JSON was changed.
pub fn changed(content: &Content, change: impl FnOnce(&mut Value)) -> Content {
    let mut json = content.to_json();
    change(&mut json);
    Content::parse(content.entity(), json).expect("a valid change")
}

pub fn renamed(content: &Content, name: &str) -> Content {
    changed(content, |json| json["name"] = json!(name))
}

/// Contents that have been lost, cut, doubled or misread by one system or another.
pub fn tricky(entity: EntityType) -> Vec<Content> {
    match entity {
        EntityType::Customers => customers(),
        EntityType::Products => products(),
        _ => unreachable!("their rules are elsewhere"),
    }
}

fn customers() -> Vec<Content> {
    let long = "Ångström ".repeat(27);
    let all = [
        json!({"name": "Åsa Üçüncü 张伟", "email": "asa@example.com"}),
        json!({"name": "Neil & Sons <b>bold</b> \"quoted\" 'single'", "email": "neil@example.com"}),
        json!({"name": "Fish &amp; Chips", "email": "fish+tag@example.com", "company": "A & B <i>Ltd</i>"}),
        json!({"name": "Prince", "email": "prince@example.com", "phone": "+49 (0) 221 / 12-34"}),
        json!({"name": "No Mail"}),
        json!({"name": "No Mail"}),
        json!({"name": "Anna Maria van der Berg", "email": "anna@example.com", "tax_number": "US12-345 67"}),
        json!({"name": long, "email": "long@example.com"}),
        json!({"name": "X", "email": format!("{}@example.com", "l".repeat(64))}),
        json!({
            "name": "Everything Set", "email": "all@example.com", "phone": "1", "company": "Works, Inc.", "tax_number": "X1",
            "billing": {
                "street": "Größe 1, \"Hof\"", "street2": "c/o Müller & Co", "city": "Köln", "postcode": "00123",
                "state": "DE-NW", "country": "DE"
            },
            "shipping": {"name": "Bob O'Neil", "street": "1 Way; 2", "city": "Brisbane", "postcode": "94005", "state": "CA",
                "country": "US"}
        }),
        json!({"name": "Ships Alone", "email": "ship@example.com", "shipping": {"street": "Dock 1", "country": "NL"}}),
        json!({"name": "Ships To Self", "email": "self@example.com", "billing": {"street": "S"},
            "shipping": {"name": "Ships To Self", "street": "T"}}),
        json!({"name": "Billed Other", "email": "billed@example.com", "billing": {"name": "Payer", "street": "P"}}),
        json!({"name": "City Only", "email": "city@example.com", "billing": {"city": "São Paulo"}}),
        json!({"name": "Name Only There", "email": "nameonly@example.com", "shipping": {"name": "Someone"}}),
        json!({"name": "Gone", "email": "gone@example.com", "is_active": false}),
        json!({"name": "张伟", "email": "zhang@example.com", "billing": {"city": "上海", "country": "CN"}}),
        json!({"name": "=1+1", "email": "formula@example.com", "company": "0"}),
        json!({"name": "false", "email": "false@example.com", "phone": "0", "tax_number": "0"}),
    ];
    all.into_iter().map(customer_of).collect()
}

fn products() -> Vec<Content> {
    let variants = |all: &[(&str, &str, &str)]| -> Vec<Value> {
        all.iter()
            .map(|(colour, size, amount)| {
                json!({
                    "attributes": [{"name": "Farbe", "option": colour}, {"name": "Größe", "option": size}],
                    "sku": format!("V-{colour}-{size}"), "price": usd(amount)
                })
            })
            .collect()
    };
    let one = |sku: &str| json!([{"sku": sku, "price": usd("1")}]);
    let all = [
        json!({"name": "Åkta Üäö 张", "variants": one("Å-1")}),
        json!({"name": "Salt & Pepper <b>bold</b> \"quoted\" 5\"", "variants": one("SALT&PEPPER")}),
        json!({"name": "Fish &amp; Chips", "variants": one("FISH &amp CHIPS")}),
        json!({"name": "Spaced", "variants": one("a b  c")}),
        json!({"name": "Comma", "variants": one("a,b")}),
        json!({"name": "Zero", "variants": one("0")}),
        json!({"name": "Nothing At All", "variants": [{}]}),
        json!({"name": "Nothing At All", "variants": [{}]}),
        json!({"name": "Free", "variants": [{"sku": "FREE", "price": usd("0.00")}]}),
        json!({"name": "Three Digits", "variants": [{"sku": "D3", "price": usd("19.999")}]}),
        json!({"name": "Dear", "variants": [{"sku": "DEAR", "price": usd("1234567.89")}]}),
        json!({"name": "Long ".repeat(49), "variants": one("LONG")}),
        json!({"name": "Light", "variants": [{"sku": "LIGHT", "weight_kg": "0.01"}]}),
        json!({"name": "Lighter", "variants": [{"sku": "LIGHTER", "weight_kg": "0.0004"}]}),
        json!({"name": "Heavy", "variants": [{"sku": "HEAVY", "weight_kg": "1250.755", "price": usd("3")}]}),
        json!({"name": "Coded", "variants": [{"sku": "CODED", "barcode": "4006381333931"}]}),
        json!({"name": "Word Coded", "variants": [{"sku": "WORD", "barcode": "ABC-123"}]}),
        json!({"name": "Draft", "status": "draft", "variants": one("DRAFT")}),
        json!({"name": "Private", "status": "private", "variants": one("PRIVATE")}),
        json!({"name": "Archived", "status": "archived", "variants": one("ARCHIVED")}),
        json!({"name": "Counted", "tracks_stock": true, "variants": one("COUNTED")}),
        json!({"name": "Service", "kind": "service", "variants": one("SERVICE")}),
        json!({"name": "Counted Service", "kind": "service", "tracks_stock": true, "variants": one("BOTH")}),
        json!({"name": "Told", "description": "<p>A & B</p>\n<ul><li>ü &lt; 张</li></ul>", "summary": "Line & one\nline <two>\n\nlast",
            "variants": one("TOLD")}),
        json!({"name": "Grid", "variants": variants(&[("Blau", "S", "10"), ("Blau", "L", "12"), ("Rot", "S", "13.5"), ("Rot", "L", "15.5")])}),
        json!({"name": "Gaps", "tracks_stock": true, "variants": variants(&[("Grün", "S", "10"), ("Gelb", "M", "10.99"), ("Grün", "XL", "0")])}),
        json!({"name": "Escaped", "variants": [
            {"attributes": [{"name": "R & D", "option": "5\" <x>"}], "price": usd("1")},
            {"attributes": [{"name": "R & D", "option": "Å/张 | =2"}], "price": usd("1")},
        ]}),
        json!({"name": "Priceless", "variants": [
            {"attributes": [{"name": "Color", "option": "Blue"}], "weight_kg": "0.25"},
            {"attributes": [{"name": "Color", "option": "Green"}], "barcode": "4006381333948"},
        ]}),
        json!({"name": "Lonely", "variants": [{"attributes": [{"name": "Color", "option": "Blue"}], "sku": "LONELY", "price": usd("2")}]}),
        json!({"name": "Draft Grid", "status": "draft", "variants": [
            {"attributes": [{"name": "Color", "option": "Blue"}], "sku": "DG-B", "price": usd("2")},
            {"attributes": [{"name": "Color", "option": "Red"}], "sku": "DG-R", "price": usd("3")},
        ]}),
        json!({"name": "Private Grid", "status": "private", "kind": "service", "variants": [
            {"attributes": [{"name": "color", "option": "Blue"}], "sku": "PG-B", "price": usd("2")},
            {"attributes": [{"name": "color", "option": "blau"}], "sku": "PG-R", "price": usd("2")},
        ]}),
    ];
    all.into_iter().map(product_of).collect()
}
