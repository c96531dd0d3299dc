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
    /// In the shop only, by its customers and by guests.
    pub orders: usize,
    /// Of orders that were paid; no more than one each.
    pub refunds: usize,
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
    pub orders: usize,
    pub refunds: usize,
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
    /// What the shop has of it, of each variation where it varies.
    stock: u32,
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
    let mut sale = Sale::new(plan);
    for number in 0..plan.products {
        let product = Product::invent(&mut random, number, plan.seed);
        let home = Home::of(number);
        home.count(&mut seeded.products);
        let Some(attributes) = &attributes else { continue };
        if home != Home::Erp {
            seeded.store_variations += product.options.len();
            let id = store.insert_product(product.for_store(attributes));
            sale.goods.push((id, !product.options.is_empty()));
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
            let body = customer.for_store(&email);
            let id = store.insert_customer(body.clone());
            sale.customers.push((id, body));
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
    seeded.orders = sale.take_orders(store);
    seeded.refunds = sale.give_refunds(store);
    seeded
}

/// What the shop sells, to whom, and what came of it.
#[derive(Debug)]
struct Sale {
    plan: SeedPlan,
    random: StdRng,
    /// Products, each with whether it is sold by its variations.
    goods: Vec<(u64, bool)>,
    /// Accounts with what is known of their owners.
    customers: Vec<(u64, Value)>,
    paid: Vec<u64>,
}

const STATUSES: &[&str] = &[
    "processing",
    "completed",
    "pending",
    "processing",
    "completed",
    "on-hold",
    "processing",
    "cancelled",
    "completed",
    "processing",
];

impl Sale {
    /// Draws from numbers of its own, so that orders do not change what products and customers are like.
    fn new(plan: &SeedPlan) -> Self {
        Self {
            plan: *plan,
            random: StdRng::seed_from_u64(plan.seed ^ 0x006f_7264_6572_7300),
            goods: Vec::new(),
            customers: Vec::new(),
            paid: Vec::new(),
        }
    }

    /// Makes the orders and returns how many; there are none in a shop that sells nothing.
    fn take_orders(&mut self, store: &Store) -> usize {
        let sold: Vec<u64> = self
            .goods
            .iter()
            .flat_map(|(id, varies)| pieces(store, *id, *varies))
            .collect();
        if sold.is_empty() || self.plan.orders == 0 {
            return 0;
        }
        store.insert_tax(json!({"country": "US", "state": "NY", "rate": "8.8750", "name": "NY Tax"}));
        store.insert_tax(json!({"country": "DE", "rate": "19.0000", "name": "MwSt."}));
        store.insert_coupon(json!({"code": "ten", "discount_type": "percent", "amount": "10.00"}));
        store.insert_coupon(json!({"code": "fiveoff", "discount_type": "fixed_cart", "amount": "5.00"}));
        for number in 0..self.plan.orders {
            let status = STATUSES[number % STATUSES.len()];
            let order = self.order(number, status, &sold);
            let id = store.insert_order(order);
            match status {
                "processing" | "completed" => self.paid.push(id),
                "cancelled" => store.update_order(id, json!({"status": "cancelled"})),
                _ => {}
            }
        }
        self.plan.orders
    }

    fn order(&mut self, number: usize, status: &str, sold: &[u64]) -> Value {
        let mut body = self.buyer(number);
        let count = self.random.random_range(1..=5);
        let lines: Vec<Value> = (0..count)
            .filter_map(|_| {
                let id = *sold.choose(&mut self.random)?;
                Some(json!({"product_id": id, "quantity": self.random.random_range(1..=3)}))
            })
            .collect();
        body["line_items"] = lines.into();
        if self.random.random_bool(0.6) {
            body["shipping_lines"] =
                json!([{"method_id": "flat_rate", "method_title": "Flat rate", "total": "7.95"}]);
        }
        if self.random.random_bool(0.1) {
            body["fee_lines"] = json!([{"name": "Gift wrap", "total": "3.50"}]);
        }
        if self.random.random_bool(0.2) {
            let code = if self.random.random_bool(0.7) {
                "ten"
            } else {
                "fiveoff"
            };
            body["coupon_lines"] = json!([{"code": code}]);
        }
        body["status"] = status.into();
        body["created_via"] = "checkout".into();
        match status {
            "pending" => body["payment_method"] = "stripe".into(),
            "on-hold" => {
                body["payment_method"] = "bacs".into();
                body["payment_method_title"] = "Direct bank transfer".into();
            }
            _ => {
                // Cancelled ones were paid first: their goods are taken and come back.
                let first = if status == "cancelled" {
                    "processing"
                } else {
                    status
                };
                body["status"] = first.into();
                body["set_paid"] = true.into();
                body["payment_method"] = "stripe".into();
                body["payment_method_title"] = "Credit card".into();
                body["transaction_id"] = format!("ch_{number:06}").into();
            }
        }
        body
    }

    /// One in ten buys as a guest, and so does everybody in a shop without accounts.
    fn buyer(&mut self, number: usize) -> Value {
        let account = if number % 10 == 7 {
            None
        } else {
            self.customers.choose(&mut self.random)
        };
        if let Some((id, owner)) = account {
            return json!({"customer_id": id, "billing": owner["billing"], "shipping": owner["shipping"]});
        }
        let guest = Customer::invent(&mut self.random, number);
        let owner = guest.for_store(&format!("guest{number}@example.com"));
        json!({"customer_id": 0, "billing": owner["billing"], "shipping": owner["shipping"]})
    }

    /// Refunds paid orders by amount, by line and in full, in turn.
    fn give_refunds(&mut self, store: &Store) -> usize {
        let count = self.plan.refunds.min(self.paid.len());
        let step = self.paid.len().checked_div(count).unwrap_or(1);
        for (number, id) in self.paid.iter().step_by(step).take(count).enumerate() {
            let order = store.order(*id).expect("it was made just now");
            let refund = match number % 3 {
                0 => json!({"amount": "1.00", "reason": "goodwill"}),
                1 => {
                    let line = &order["line_items"][0];
                    let each = line["price"].as_f64().unwrap_or_default();
                    let line = json!({"id": line["id"], "quantity": 1, "refund_total": format!("{each:.2}")});
                    json!({"reason": "damaged", "line_items": [line]})
                }
                _ => json!({"amount": order["total"], "reason": "returned", "api_restock": false}),
            };
            store.insert_refund(*id, refund);
        }
        count
    }
}

/// Lists what of a product can be put on an order.
fn pieces(store: &Store, id: u64, varies: bool) -> Vec<u64> {
    if !varies {
        return vec![id];
    }
    let product = store.product(id).unwrap_or_default();
    let variations = product["variations"].as_array().into_iter().flatten();
    variations.filter_map(Value::as_u64).collect()
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
        // One in five, and of every kind of home.
        let is_variable = number % 5 == number / 10 % 5;
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
        let stock = 20 + u32::try_from(number * 37 % 480).unwrap_or_default();
        Self {
            stock,
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
            body["manage_stock"] = true.into();
            body["stock_quantity"] = self.stock.into();
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
                "manage_stock": true, "stock_quantity": self.stock + choice.extra_cents / 50,
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
            orders: 80,
            refunds: 12,
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
        let variable = one
            .store
            .products()
            .iter()
            .filter(|product| product["type"] == "variable")
            .count();
        assert_eq!(variable, 24, "one in five");
        assert_eq!(
            one.store.ledger().effects().len() + one.erp.ledger().effects().len(),
            0
        );
        assert_eq!(one.store.ledger().duplicates(), []);
    }

    #[tokio::test]
    async fn orders_are_made_of_everything_that_orders_are_made_of() {
        let (one, two) = (Sandbox::start().await.unwrap(), Sandbox::start().await.unwrap());
        let plan = SeedPlan {
            seed: 7,
            products: 60,
            customers: 40,
            orders: 100,
            refunds: 15,
        };

        let seeded = seed(&one.store, &one.erp, &plan);
        seed(&two.store, &two.erp, &plan);

        let orders = one.store.orders();
        let count = |holds: &dyn Fn(&Value) -> bool| orders.iter().filter(|order| holds(order)).count();
        let has = |field: &'static str| {
            count(&|order| order[field].as_array().is_some_and(|rows| !rows.is_empty()))
        };
        assert_eq!((seeded.orders, orders.len(), seeded.refunds), (100, 100, 15));
        assert_eq!(one.store.refunds().len(), 15);
        assert_eq!(count(&|order| order["customer_id"] == 0), 10);
        for (status, number) in [
            ("pending", 10),
            ("on-hold", 10),
            ("cancelled", 10),
            ("refunded", 5),
        ] {
            assert_eq!(count(&|order| order["status"] == status), number, "{status}");
        }
        assert!(
            has("coupon_lines") > 5
                && has("shipping_lines") > 30
                && has("fee_lines") > 3
                && has("tax_lines") > 10
        );
        assert!(count(&|order| order["line_items"][0]["variation_id"] != 0) > 5);
        assert_eq!(
            count(&|order| order["transaction_id"] != "" && order["date_paid"].is_string()),
            80
        );
        let told = |orders: Vec<Value>| -> Vec<(Value, Value)> {
            orders
                .into_iter()
                .map(|order| (order["total"].clone(), order["billing"].clone()))
                .collect()
        };
        assert_eq!(told(orders.clone()), told(two.store.orders()));
        assert_eq!(one.store.ledger().effects().len(), 0);
        assert_eq!(one.store.noise(), crate::woocommerce::Noise::default());
    }
}
