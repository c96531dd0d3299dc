//! Made-up data that looks like a real shop and a real ERP, the same for the same seed.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

use crate::geography;
use crate::odoo::Erp;
use crate::woocommerce::Store;

/// How much data, and which. The numbers are of distinct things over both systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeedPlan {
    pub seed: u64,
    pub products: usize,
    pub customers: usize,
}

/// How many things ended up where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub only_store: usize,
    pub only_erp: usize,
    pub both: usize,
}

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seeded {
    pub products: Counts,
    pub customers: Counts,
    /// Variations of the shop and variants of the ERP, counted where they are.
    pub store_variations: usize,
    pub erp_variants: usize,
}

/// Where a thing exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    Store,
    Erp,
    Both,
}

impl Home {
    /// Half in the shop only, four tenths in the ERP only, a tenth in both.
    fn of(number: usize) -> Self {
        match number % 10 {
            0 | 2 | 4 | 6 | 8 => Self::Store,
            1 | 3 | 5 | 7 => Self::Erp,
            _ => Self::Both,
        }
    }

    fn count(self, counts: &mut Counts) {
        match self {
            Self::Store => counts.only_store += 1,
            Self::Erp => counts.only_erp += 1,
            Self::Both => counts.both += 1,
        }
    }
}

/// A product before it is written down in the words of either system.
#[derive(Debug)]
struct Product {
    name: String,
    sku: String,
    barcode: String,
    price_cents: u32,
    weight_cents: u32,
    description: String,
    options: Vec<Choice>,
}

/// One value of an attribute and what it adds to the price.
#[derive(Debug, Clone)]
struct Choice {
    attribute: &'static str,
    value: &'static str,
    extra_cents: u32,
}

#[derive(Debug)]
struct Customer {
    first_name: &'static str,
    last_name: &'static str,
    company: String,
    email: String,
    phone: String,
    street: String,
    city: &'static str,
    postcode: &'static str,
    country: &'static str,
    state: &'static str,
}

const THINGS: &[&str] = &[
    "Lamp",
    "Chair",
    "Desk",
    "Kettle",
    "Backpack",
    "Notebook",
    "Blanket",
    "Mug",
    "Candle",
    "Headphones",
    "Jacket",
    "Scarf",
    "Teapot",
    "Shelf",
    "Cushion",
    "Wallet",
    "Umbrella",
    "Frying Pan",
    "Käsebrett",
    "Søjlebord",
];
const MATERIALS: &[&str] = &[
    "Oak",
    "Steel",
    "Linen",
    "Wool & Silk",
    "Ceramic",
    "Bamboo",
    "Leather",
    "Glass",
    "Cotton",
    "Brass",
];
const MAKERS: &[&str] = &[
    "Aalto",
    "Brückner",
    "Casa Niña",
    "Dupré",
    "Ekström",
    "Fjord",
    "Grün",
    "Hoshi",
    "Åkerlund",
];
const COLORS: &[&str] = &["Red", "Blue", "Green", "Black", "White"];
const SIZES: &[&str] = &["S", "M", "L", "XL"];
const FIRST_NAMES: &[&str] = &[
    "Anna", "Björn", "Chloé", "Diego", "Åsa", "Jürgen", "María", "Noah", "Zoë", "伟", "Giulia", "Liam",
    "Sinéad",
];
const LAST_NAMES: &[&str] = &[
    "Müller",
    "O'Neil",
    "García",
    "Ångström",
    "张",
    "Rossi",
    "Smith",
    "Tremblay",
    "Dvořák",
    "Brown",
    "Weiß",
];
const COMPANIES: &[&str] = &[
    "Nordlicht GmbH",
    "Maple & Sons",
    "Bottega Rossi",
    "Harbour Ltd",
    "Sol y Mar SL",
];
const STREETS: &[&str] = &[
    "Main St",
    "Hauptstraße",
    "Rue de l'Église",
    "Via Roma",
    "Calle Mayor",
    "High Street",
];
const PLACES: &[(&str, &str, &str, &str)] = &[
    ("US", "NY", "Buffalo", "14201"),
    ("US", "CA", "San Diego", "92101"),
    ("US", "TX", "Austin", "73301"),
    ("DE", "DE-BE", "Berlin", "10115"),
    ("DE", "DE-BY", "München", "80331"),
    ("CA", "QC", "Montréal", "H2X 1Y4"),
    ("CA", "ON", "Toronto", "M5V 2T6"),
    ("ES", "M", "Madrid", "28001"),
    ("ES", "MA", "Málaga", "29001"),
    ("IT", "MI", "Milano", "20121"),
    ("GB", "", "London", "SW1A 1AA"),
    ("FR", "", "Lyon", "69001"),
    ("SE", "", "Malmö", "211 20"),
];

/// Fills both systems as their own people would: no ledger counts it.
pub fn seed(store: &Store, erp: &Erp, plan: &SeedPlan) -> Seeded {
    let mut seeded = Seeded::default();
    let mut random = StdRng::seed_from_u64(plan.seed);
    let attributes = if plan.products > 0 {
        Some(Attributes::make(store, erp))
    } else {
        None
    };
    let mut batch = Vec::new();
    for number in 0..plan.products {
        let product = Product::invent(&mut random, number, plan.seed);
        let home = Home::of(number);
        home.count(&mut seeded.products);
        let Some(attributes) = &attributes else { continue };
        if home != Home::Erp {
            seeded.store_variations += product.options.len();
            store.insert_product(product.for_store(attributes));
        }
        if home != Home::Store {
            seeded.erp_variants += product.options.len();
            batch.push(product);
        }
        if batch.len() == 500 {
            attributes.insert(erp, &std::mem::take(&mut batch));
        }
    }
    if let Some(attributes) = &attributes {
        attributes.insert(erp, &batch);
    }
    let mut partners = Vec::new();
    for number in 0..plan.customers {
        let customer = Customer::invent(&mut random, number);
        let home = Home::of(number);
        home.count(&mut seeded.customers);
        if home != Home::Erp {
            // Letter case may differ between the systems.
            let email = if home == Home::Both && number % 20 == 9 {
                customer.email.to_uppercase()
            } else {
                customer.email.clone()
            };
            store.insert_customer(customer.for_store(&email));
        }
        if home != Home::Store {
            partners.push(customer);
        }
    }
    for some in partners.chunks(500) {
        erp.as_person(|session| {
            for customer in some {
                session
                    .create("res.partner", &customer.for_erp())
                    .expect("the partner is complete");
            }
        });
    }
    seeded
}

/// The global attributes and their ids on both sides.
#[derive(Debug)]
struct Attributes {
    in_store: [(&'static str, u64); 2],
    in_erp: [ErpAttribute; 2],
}

/// The name and id of an attribute, and those of its values.
type ErpAttribute = (&'static str, i64, Vec<(&'static str, i64)>);

impl Attributes {
    fn make(store: &Store, erp: &Erp) -> Self {
        let in_store = ["Color", "Size"].map(|name| (name, store.insert_attribute(json!({"name": name}))));
        let in_erp = [("Color", COLORS), ("Size", SIZES)].map(|(name, values)| {
            let attribute = erp.insert(
                "product.attribute",
                json!({"name": name, "create_variant": "always"}),
            );
            let made = |value: &&'static str| {
                let vals = json!({"name": value, "attribute_id": attribute});
                (*value, erp.insert("product.attribute.value", vals))
            };
            (name, attribute, values.iter().map(made).collect())
        });
        Self { in_store, in_erp }
    }

    fn in_store(&self, name: &str) -> u64 {
        self.in_store
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(0, |(_, id)| *id)
    }

    /// Writes products into the ERP as one transaction.
    fn insert(&self, erp: &Erp, products: &[Product]) {
        erp.as_person(|session| {
            for product in products {
                let mut vals = product.for_erp();
                let Some(first) = product.options.first() else {
                    session
                        .create("product.product", &vals)
                        .expect("the product is complete");
                    continue;
                };
                let found = self.in_erp.iter().find(|(name, _, _)| *name == first.attribute);
                let (_, attribute, values) = found.expect("both attributes were made");
                let id = |choice: &Choice| {
                    values
                        .iter()
                        .find(|(name, _)| *name == choice.value)
                        .map(|(_, id)| *id)
                };
                let chosen: Vec<i64> = product.options.iter().filter_map(id).collect();
                let line = json!([0, 0, {"attribute_id": attribute, "value_ids": [[6, 0, chosen]]}]);
                vals.insert("attribute_line_ids".to_owned(), json!([line]));
                for own in ["default_code", "barcode", "weight"] {
                    vals.remove(own);
                }
                let template = session
                    .create("product.template", &vals)
                    .expect("the template is complete");
                session.dress_variants(template, &product.variant_values());
            }
        });
    }
}

impl Product {
    fn invent(random: &mut StdRng, number: usize, seed: u64) -> Self {
        let word =
            |random: &mut StdRng, words: &[&'static str]| *words.choose(random).expect("there are words");
        let (maker, material, thing) = (
            word(random, MAKERS),
            word(random, MATERIALS),
            word(random, THINGS),
        );
        let is_variable = matches!(number % 16, 5 | 8) || number % 50 == 19;
        let has_sku = number % 25 != 3 && number % 25 != 12;
        let options = if is_variable { choices(random) } else { Vec::new() };
        let price_cents = random.random_range(199..30_000);
        let weight_cents = random.random_range(1..2_500);
        let description = if number.is_multiple_of(3) {
            format!(
                "<p>{thing} made of {}.</p><p>Every piece is <strong>unique</strong>.</p>",
                material.to_lowercase()
            )
        } else {
            String::new()
        };
        Self {
            name: format!("{maker} {thing}, {material} {number}"),
            sku: if has_sku {
                format!("{}-{number:06}", thing[..1].to_uppercase())
            } else {
                String::new()
            },
            barcode: if has_sku && number % 4 != 2 {
                ean13(seed, number, 0)
            } else {
                String::new()
            },
            price_cents,
            weight_cents,
            description,
            options,
        }
    }

    fn price(cents: u32) -> String {
        format!("{}.{:02}", cents / 100, cents % 100)
    }

    fn for_store(&self, attributes: &Attributes) -> Value {
        let mut body = json!({
            "name": self.name, "status": "publish", "description": self.description,
            "weight": Self::price(self.weight_cents),
        });
        let Some(first) = self.options.first() else {
            body["regular_price"] = Self::price(self.price_cents).into();
            body["sku"] = self.sku.as_str().into();
            body["global_unique_id"] = self.barcode.as_str().into();
            return body;
        };
        let attribute = attributes.in_store(first.attribute);
        let values: Vec<&str> = self.options.iter().map(|choice| choice.value).collect();
        body["type"] = "variable".into();
        body["attributes"] =
            json!([{"id": attribute, "position": 0, "visible": true, "variation": true, "options": values}]);
        let variation = |choice: &Choice| {
            json!({
                "regular_price": Self::price(self.price_cents + choice.extra_cents), "sku": self.variant_sku(choice),
                "attributes": [{"id": attribute, "option": choice.value}],
            })
        };
        body["variations_full"] = self.options.iter().map(variation).collect();
        body
    }

    fn for_erp(&self) -> Map<String, Value> {
        let text = |text: &str| {
            if text.is_empty() {
                Value::Bool(false)
            } else {
                json!(text)
            }
        };
        let vals = json!({
            "name": self.name, "default_code": text(&self.sku), "barcode": text(&self.barcode),
            "list_price": f64::from(self.price_cents) / 100.0, "weight": f64::from(self.weight_cents) / 100.0,
            "description": text(&self.description), "type": "consu", "taxes_id": [],
        });
        vals.as_object().cloned().unwrap_or_default()
    }

    fn variant_sku(&self, choice: &Choice) -> String {
        if self.sku.is_empty() {
            String::new()
        } else {
            format!("{}-{}", self.sku, choice.value.to_uppercase())
        }
    }

    /// Lists value, SKU, extra price and weight of each variant.
    fn variant_values(&self) -> Vec<(&'static str, String, f64, f64)> {
        let weight = f64::from(self.weight_cents) / 100.0;
        let each = self.options.iter();
        each.map(|choice| {
            (
                choice.value,
                self.variant_sku(choice),
                f64::from(choice.extra_cents) / 100.0,
                weight,
            )
        })
        .collect()
    }
}

fn choices(random: &mut StdRng) -> Vec<Choice> {
    let (attribute, values) = if random.random_bool(0.5) {
        ("Color", COLORS)
    } else {
        ("Size", SIZES)
    };
    let count = random.random_range(2..=4);
    let extra = random.random_range(0..4) * 250;
    let each = values.iter().take(count).zip(0_u32..);
    each.map(|(value, rank)| Choice {
        attribute,
        value,
        extra_cents: rank * extra,
    })
    .collect()
}

/// Makes a barcode with its check digit.
fn ean13(seed: u64, number: usize, variant: usize) -> String {
    let body = format!("40{:03}{number:06}{variant}", seed % 1000);
    let sum: u32 = body
        .chars()
        .zip([1, 3].into_iter().cycle())
        .map(|(digit, weight)| digit.to_digit(10).unwrap_or_default() * weight)
        .sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

impl Customer {
    fn invent(random: &mut StdRng, number: usize) -> Self {
        let word =
            |random: &mut StdRng, words: &[&'static str]| *words.choose(random).expect("there are words");
        let (country, state, city, postcode) = *PLACES.choose(random).expect("there are places");
        let tag = if number % 9 == 4 { "+shop" } else { "" };
        let company = if number % 5 == 2 {
            word(random, COMPANIES).to_owned()
        } else {
            String::new()
        };
        Self {
            first_name: word(random, FIRST_NAMES),
            last_name: word(random, LAST_NAMES),
            company,
            email: format!("customer{number}{tag}@example{}.com", number % 7),
            phone: format!(
                "+1 555 {:04} {:03}",
                random.random_range(0..10_000),
                number % 1000
            ),
            street: format!("{} {}", random.random_range(1..250), word(random, STREETS)),
            city,
            postcode,
            country,
            state,
        }
    }

    fn for_store(&self, email: &str) -> Value {
        let address = json!({
            "first_name": self.first_name, "last_name": self.last_name, "company": self.company,
            "address_1": self.street, "address_2": "", "city": self.city, "postcode": self.postcode,
            "country": self.country, "state": self.state, "phone": self.phone,
        });
        let mut billing = address.clone();
        billing["email"] = email.into();
        json!({
            "email": email, "first_name": self.first_name, "last_name": self.last_name, "billing": billing,
            "shipping": address,
        })
    }

    fn for_erp(&self) -> Map<String, Value> {
        let country = geography::country(self.country).map(|country| country.id);
        let state = geography::state(self.country, self.state).map(|state| state.id);
        let company = if self.company.is_empty() {
            Value::Bool(false)
        } else {
            json!(self.company)
        };
        let vals = json!({
            "name": format!("{} {}", self.first_name, self.last_name), "email": self.email, "phone": self.phone,
            "street": self.street, "city": self.city, "zip": self.postcode, "country_id": country,
            "state_id": state, "company_name": company,
        });
        vals.as_object().cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sandbox;

    #[test]
    fn a_barcode_ends_with_its_check_digit() {
        let barcode = ean13(638, 133_393, 1);

        let sum: u32 = barcode
            .chars()
            .zip([1, 3].into_iter().cycle())
            .map(|(d, w)| d.to_digit(10).unwrap() * w)
            .sum();
        assert_eq!(barcode.len(), 13);
        assert_eq!(sum % 10, 0);
    }

    #[tokio::test]
    async fn the_same_seed_gives_the_same_data_in_the_promised_shares() {
        let (one, two) = (Sandbox::start().await.unwrap(), Sandbox::start().await.unwrap());
        let plan = SeedPlan {
            seed: 7,
            products: 200,
            customers: 100,
        };

        let seeded = seed(&one.store, &one.erp, &plan);
        seed(&two.store, &two.erp, &plan);

        assert_eq!(
            seeded.products,
            Counts {
                only_store: 100,
                only_erp: 80,
                both: 20
            }
        );
        assert_eq!(
            seeded.customers,
            Counts {
                only_store: 50,
                only_erp: 40,
                both: 10
            }
        );
        let skus = |sandbox: &Sandbox| -> Vec<Value> {
            sandbox
                .store
                .products()
                .iter()
                .map(|product| product["sku"].clone())
                .collect()
        };
        assert_eq!(skus(&one), skus(&two));
        assert_eq!(one.store.products().len(), 120);
        assert_eq!(one.erp.records("product.template").len(), 100);
        assert!(seeded.store_variations > 10 && seeded.erp_variants > 10);
        assert_eq!(
            one.store.ledger().effects().len() + one.erp.ledger().effects().len(),
            0
        );
        assert_eq!(one.store.ledger().duplicates(), []);
    }
}
