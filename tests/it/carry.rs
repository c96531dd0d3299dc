//! Each type of record in each direction, in both systems' own data: made in one system it arrives in the other, a change
//! in either is taken or put back by its owner (`shared/src/decide.rs`, `Ownership::usual`), and then nothing moves.
//!
//! What does not go over, by definition, is tested to do no harm: a payment that is posted in the ERP is never written
//! again, so that a change of it stands as an open conflict; a store knows one payment of an order, of its whole total,
//! so that a part of it stands as one too.

use lockstep_sandbox::fault::Fault;
use lockstep_sandbox::odoo::Erp;
use lockstep_shared::sync::Status;
use lockstep_shared::system::EntityType;
use lockstep_tests::stack::Stack;
use serde_json::{Value, json};

const PARTNER: &str = "res.partner";
const TEMPLATE: &str = "product.template";
const VARIANT: &str = "product.product";
const ORDER: &str = "sale.order";
const LINE: &str = "sale.order.line";
const PAYMENT: &str = "account.payment";

/// Where the ERP's goods lie: `WH/Stock` (facts/systems.md B7).
const SHELF: i64 = 5;

async fn empty() -> Stack {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    stack.work();
    stack
}

/// A further sync writes nothing in either system.
async fn stays_still(stack: &Stack) {
    stack.forget_effects();
    stack.sync().await;
    stack.assert_nothing_felt();
}

/// The given fields of a row.
fn only(row: &Value, fields: &[&str]) -> Value {
    fields
        .iter()
        .map(|field| ((*field).to_owned(), row[*field].clone()))
        .collect()
}

fn number(row: &Value) -> u64 {
    row["id"].as_u64().expect("an id")
}

fn id(row: &Value) -> i64 {
    row["id"].as_i64().expect("an id")
}

fn one(rows: Vec<Value>, field: &str, value: &str) -> Value {
    let mut found: Vec<Value> = rows.into_iter().filter(|row| row[field] == value).collect();
    assert_eq!(found.len(), 1, "of those whose {field} is {value}: {found:#?}");
    found.remove(0)
}

fn partner(stack: &Stack, email: &str) -> Value {
    let partners = stack.sandbox.erp.records(PARTNER);
    let own = partners.into_iter().filter(|row| row["type"] == "contact");
    one(own.collect(), "email", email)
}

fn account(stack: &Stack, email: &str) -> Value {
    one(stack.sandbox.store.customers(), "email", email)
}

fn country(erp: &Erp, code: &str) -> i64 {
    id(&one(erp.records("res.country"), "code", code))
}

fn state(erp: &Erp, country: i64, code: &str) -> i64 {
    let states = erp.records("res.country.state").into_iter();
    let own = states.filter(|row| row["country_id"][0] == country);
    id(&one(own.collect(), "code", code))
}

const HOME: [&str; 4] = ["street", "street2", "city", "zip"];

/// An account of the store's is a partner of the ERP's, with its delivery address; the store has the last word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_of_the_store_s_is_a_partner_in_the_erp() {
    let stack = empty().await;
    let (store, erp) = (&stack.sandbox.store, &stack.sandbox.erp);
    let ann = store.insert_customer(json!({
        "email": "ann@example.com", "first_name": "Ann", "last_name": "O'Neil",
        "billing": {
            "first_name": "Ann", "last_name": "O'Neil", "company": "Neil & Co", "address_1": "1 Main St",
            "address_2": "Flat 2", "city": "Buffalo", "postcode": "14201", "country": "US", "state": "NY",
            "phone": "+1 555 0100", "email": "ann@example.com",
        },
        "shipping": {
            "first_name": "Ann", "last_name": "O'Neil", "address_1": "9 Dock Rd", "city": "San Diego",
            "postcode": "92101", "country": "US", "state": "CA",
        },
    }));

    stack.in_step().await;

    let made = partner(&stack, "ann@example.com");
    let us = country(erp, "US");
    assert_eq!(
        only(&made, &["name", "company_name", "phone", "active"]),
        json!({"name": "Ann O'Neil", "company_name": "Neil & Co", "phone": "+1 555 0100", "active": true})
    );
    assert_eq!(
        only(&made, &HOME),
        json!({"street": "1 Main St", "street2": "Flat 2", "city": "Buffalo", "zip": "14201"})
    );
    assert_eq!(
        (&made["country_id"][0], &made["state_id"][0]),
        (&json!(us), &json!(state(erp, us, "NY")))
    );
    let delivery = one(erp.records(PARTNER), "type", "delivery");
    assert_eq!(delivery["parent_id"][0], made["id"]);
    assert_eq!(
        only(&delivery, &HOME),
        json!({"street": "9 Dock Rd", "street2": false, "city": "San Diego", "zip": "92101"})
    );
    assert_eq!(delivery["state_id"][0], state(erp, us, "CA"));

    store.update_customer(
        ann,
        json!({"last_name": "Lee", "billing": {"phone": "+1 555 0199", "city": "Albany"}, "shipping": {"city": "Fresno"}}),
    );
    stack.in_step().await;
    let changed = partner(&stack, "ann@example.com");
    assert_eq!(
        only(&changed, &["id", "name", "phone", "city", "street"]),
        json!({"id": made["id"], "name": "Ann Lee", "phone": "+1 555 0199", "city": "Albany", "street": "1 Main St"})
    );
    assert_eq!(one(erp.records(PARTNER), "type", "delivery")["city"], "Fresno");

    // The ERP's people have no say in it.
    erp.update(
        PARTNER,
        id(&made),
        json!({"name": "Ann Renamed", "street": "2 Side St"}),
    );
    stack.in_step().await;
    assert_eq!(
        only(&partner(&stack, "ann@example.com"), &["name", "street"]),
        json!({"name": "Ann Lee", "street": "1 Main St"})
    );
    let kept = account(&stack, "ann@example.com");
    assert_eq!(
        only(&kept, &["id", "first_name", "last_name"]),
        json!({"id": ann, "first_name": "Ann", "last_name": "Lee"})
    );
    assert_eq!(kept["billing"]["address_1"], "1 Main St");
    stays_still(&stack).await;
}

/// A partner of the ERP's is an account in the store, which then has the last word about it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_of_the_erp_s_is_an_account_in_the_store() {
    let stack = empty().await;
    let (store, erp) = (&stack.sandbox.store, &stack.sandbox.erp);
    let us = country(erp, "US");
    let bob = erp.insert(
        PARTNER,
        json!({
            "name": "Bob Brown", "email": "bob@example.com", "phone": "+1 555 0200", "company_name": "Brown Ltd",
            "street": "5 High Street", "street2": "Rear", "city": "Austin", "zip": "73301", "country_id": us,
            "state_id": state(erp, us, "TX"),
        }),
    );
    erp.insert(
        PARTNER,
        json!({
            "parent_id": bob, "type": "delivery", "name": "Bob's Barn", "street": "7 Farm Rd", "city": "Buffalo",
            "zip": "14201", "country_id": us, "state_id": state(erp, us, "NY"),
        }),
    );

    stack.in_step().await;

    let made = account(&stack, "bob@example.com");
    assert_eq!(
        only(&made, &["first_name", "last_name"]),
        json!({"first_name": "Bob", "last_name": "Brown"})
    );
    let address = [
        "first_name",
        "last_name",
        "company",
        "address_1",
        "address_2",
        "city",
        "postcode",
        "state",
        "country",
    ];
    assert_eq!(
        only(&made["billing"], &address),
        json!({
            "first_name": "Bob", "last_name": "Brown", "company": "Brown Ltd", "address_1": "5 High Street",
            "address_2": "Rear", "city": "Austin", "postcode": "73301", "state": "TX", "country": "US",
        })
    );
    assert_eq!(made["billing"]["phone"], "+1 555 0200");
    assert_eq!(
        only(
            &made["shipping"],
            &[
                "first_name",
                "last_name",
                "address_1",
                "city",
                "postcode",
                "state",
                "country"
            ]
        ),
        json!({
            "first_name": "Bob's", "last_name": "Barn", "address_1": "7 Farm Rd", "city": "Buffalo",
            "postcode": "14201", "state": "NY", "country": "US",
        })
    );
    assert_eq!(store.noise().customer_mails, 0);

    // The store owns customers, also those that come from the ERP.
    erp.update(PARTNER, bob, json!({"phone": "+1 555 0299"}));
    stack.in_step().await;
    assert_eq!(partner(&stack, "bob@example.com")["phone"], "+1 555 0200");
    assert_eq!(
        account(&stack, "bob@example.com")["billing"]["phone"],
        "+1 555 0200"
    );

    store.update_customer(
        number(&made),
        json!({"billing": {"phone": "+1 555 0300", "city": "Waco"}, "shipping": {"address_1": "8 Farm Rd"}}),
    );
    stack.in_step().await;
    assert_eq!(
        only(
            &partner(&stack, "bob@example.com"),
            &["id", "name", "phone", "city"]
        ),
        json!({"id": bob, "name": "Bob Brown", "phone": "+1 555 0300", "city": "Waco"})
    );
    assert_eq!(
        one(erp.records(PARTNER), "type", "delivery")["street"],
        "8 Farm Rd"
    );
    stays_still(&stack).await;
}

/// A product of the store's, or a variation.
fn goods(stack: &Stack, sku: &str) -> Value {
    let store = &stack.sandbox.store;
    let products = store.products();
    let ids = products
        .iter()
        .flat_map(|product| product["variations"].as_array().cloned().unwrap_or_default());
    let variations = ids.filter_map(|id| store.product(id.as_u64()?)).collect();
    one([products.clone(), variations].concat(), "sku", sku)
}

fn variant(stack: &Stack, sku: &str) -> Value {
    one(stack.sandbox.erp.records(VARIANT), "default_code", sku)
}

/// What the shop puts on sale stands in the ERP, which then has the last word, but for what only a shop shows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_of_the_store_s_is_one_in_the_erp() {
    let stack = empty().await;
    let (store, erp) = (&stack.sandbox.store, &stack.sandbox.erp);
    let lamp = store.insert_product(json!({
        "name": "Lamp & Shade", "sku": "LAMP", "regular_price": "19.90", "status": "publish", "weight": "1.25",
        "global_unique_id": "4006381333931", "description": "<p>Bright.</p>", "short_description": "A lamp",
    }));
    let size = store.insert_attribute(json!({"name": "Size"}));
    store.insert_product(json!({
        "name": "Shirt", "type": "variable", "status": "publish",
        "attributes": [{"id": size, "variation": true, "visible": true, "options": ["S", "M"]}],
        "variations_full": [
            {"sku": "SHIRT-S", "regular_price": "10.00", "attributes": [{"id": size, "option": "S"}]},
            {"sku": "SHIRT-M", "regular_price": "12.50", "attributes": [{"id": size, "option": "M"}]},
        ],
    }));

    stack.in_step().await;

    let made = variant(&stack, "LAMP");
    assert_eq!(
        only(
            &made,
            &[
                "name",
                "lst_price",
                "weight",
                "barcode",
                "active",
                "type",
                "sale_ok"
            ]
        ),
        json!({
            "name": "Lamp & Shade", "lst_price": 19.9, "weight": 1.25, "barcode": "4006381333931", "active": true,
            "type": "consu", "sale_ok": true,
        })
    );
    let (small, medium) = (variant(&stack, "SHIRT-S"), variant(&stack, "SHIRT-M"));
    assert_eq!(small["product_tmpl_id"], medium["product_tmpl_id"]);
    assert_eq!(
        (&small["lst_price"], &medium["lst_price"]),
        (&json!(10.0), &json!(12.5))
    );

    // The long text is the shop's, which alone holds it; name, price and summary are the ERP's.
    store.update_product(
        lamp,
        json!({"description": "<p>Brighter.</p>", "short_description": "Cheap", "regular_price": "5.00", "name": "Renamed"}),
    );
    stack.in_step().await;
    let kept = store.product(lamp).expect("it is there");
    assert_eq!(
        only(
            &kept,
            &["name", "regular_price", "description", "short_description"]
        ),
        json!({
            "name": "Lamp &amp; Shade", "regular_price": "19.90", "description": "<p>Brighter.</p>",
            "short_description": "A lamp",
        })
    );
    let template = one(erp.records(TEMPLATE), "default_code", "LAMP");
    assert_eq!(
        only(&template, &["list_price", "description_sale"]),
        json!({"list_price": 19.9, "description_sale": "A lamp"})
    );

    erp.update(
        TEMPLATE,
        id(&template),
        json!({"name": "Lamp, tall", "list_price": 24.5, "weight": 2.0, "default_code": "LAMP-2"}),
    );
    erp.update(VARIANT, id(&medium), json!({"barcode": "5901234123457"}));
    stack.in_step().await;
    let changed = store.product(lamp).expect("it is there");
    assert_eq!(
        only(&changed, &["name", "regular_price", "weight", "sku"]),
        json!({"name": "Lamp, tall", "regular_price": "24.50", "weight": "2", "sku": "LAMP-2"})
    );
    assert_eq!(goods(&stack, "SHIRT-M")["global_unique_id"], "5901234123457");
    stays_still(&stack).await;
}

/// What the ERP has on sale is on sale in the shop, and follows the ERP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_of_the_erp_s_is_one_in_the_store() {
    let stack = empty().await;
    let (store, erp) = (&stack.sandbox.store, &stack.sandbox.erp);
    let desk = erp.insert(
        TEMPLATE,
        json!({
            "name": "Desk", "default_code": "DESK", "list_price": 250.0, "weight": 30.5, "type": "consu",
            "barcode": "4006381333931", "taxes_id": [],
        }),
    );
    let color = erp.insert(
        "product.attribute",
        json!({"name": "Color", "create_variant": "always"}),
    );
    let [red, blue] = ["Red", "Blue"].map(|name| {
        erp.insert(
            "product.attribute.value",
            json!({"name": name, "attribute_id": color}),
        )
    });
    let mug = erp.insert(
        TEMPLATE,
        json!({
            "name": "Mug", "list_price": 8.0, "type": "consu", "taxes_id": [],
            "attribute_line_ids": [[0, 0, {"attribute_id": color, "value_ids": [[6, 0, [red, blue]]]}]],
        }),
    );
    let cups = erp.records(VARIANT).into_iter();
    let cups = cups.filter(|row| row["product_tmpl_id"][0] == mug);
    for (cup, sku) in cups.zip(["MUG-R", "MUG-B"]) {
        erp.update(VARIANT, id(&cup), json!({"default_code": sku}));
    }

    stack.in_step().await;

    let made = goods(&stack, "DESK");
    assert_eq!(
        only(
            &made,
            &[
                "name",
                "type",
                "status",
                "regular_price",
                "weight",
                "global_unique_id"
            ]
        ),
        json!({
            "name": "Desk", "type": "simple", "status": "publish", "regular_price": "250.00", "weight": "30.5",
            "global_unique_id": "4006381333931",
        })
    );
    let cups = one(store.products(), "name", "Mug");
    assert_eq!(cups["type"], "variable");
    assert_eq!(cups["variations"].as_array().map(Vec::len), Some(2));
    let option = |sku: &str| {
        let cup = goods(&stack, sku);
        (
            cup["attributes"][0]["option"].clone(),
            cup["regular_price"].clone(),
        )
    };
    assert_eq!(option("MUG-R"), (json!("Red"), json!("8.00")));
    assert_eq!(option("MUG-B"), (json!("Blue"), json!("8.00")));

    erp.update(
        TEMPLATE,
        desk,
        json!({"name": "Desk, oak", "list_price": 275.25, "active": true}),
    );
    erp.update(TEMPLATE, mug, json!({"list_price": 9.0}));
    stack.in_step().await;
    let changed = goods(&stack, "DESK");
    assert_eq!(
        only(&changed, &["id", "name", "regular_price"]),
        json!({"id": made["id"], "name": "Desk, oak", "regular_price": "275.25"})
    );
    assert_eq!(option("MUG-B").1, "9.00");

    store.update_product(
        number(&made),
        json!({"name": "Cheap desk", "regular_price": "1.00", "status": "draft", "description": "Solid."}),
    );
    stack.in_step().await;
    assert_eq!(
        only(
            &goods(&stack, "DESK"),
            &["name", "regular_price", "status", "description"]
        ),
        json!({"name": "Desk, oak", "regular_price": "275.25", "status": "publish", "description": "Solid."})
    );
    let template = one(erp.records(TEMPLATE), "default_code", "DESK");
    assert_eq!(
        only(&template, &["id", "name", "list_price", "active"]),
        json!({"id": desk, "name": "Desk, oak", "list_price": 275.25, "active": true})
    );
    stays_still(&stack).await;
}

/// What people see of an order's lines in the ERP: text, quantity, net, tax.
fn erp_lines(stack: &Stack, order: i64) -> Vec<Value> {
    let lines = stack.sandbox.erp.records(LINE).into_iter();
    let own = lines.filter(|line| line["order_id"][0] == order && line["display_type"] == false);
    own.map(|line| {
        json!([
            line["product_id"][1],
            line["product_uom_qty"],
            line["price_subtotal"],
            line["price_tax"]
        ])
    })
    .collect()
}

/// A shop in the state of New York, with what it sells and who buys there.
struct Shop {
    stack: Stack,
    ann: u64,
    lamp: u64,
}

impl Shop {
    async fn open() -> Self {
        let stack = empty().await;
        let store = &stack.sandbox.store;
        store.insert_tax(json!({"country": "US", "state": "NY", "rate": "10.0000", "name": "NY Tax"}));
        let home = json!({
            "first_name": "Ann", "last_name": "Lee", "address_1": "1 Main St", "city": "Buffalo", "postcode": "14201",
            "country": "US", "state": "NY",
        });
        let ann = store.insert_customer(json!({
            "email": "ann@example.com", "first_name": "Ann", "last_name": "Lee", "billing": home, "shipping": home,
        }));
        let lamp = store.insert_product(json!({
            "name": "Lamp", "sku": "LAMP", "regular_price": "20.00", "status": "publish", "manage_stock": true,
            "stock_quantity": 50,
        }));
        Self { stack, ann, lamp }
    }

    /// Two lamps, and how they get to Ann: 40.00, 5.00, and a tenth of it.
    fn sell(&self, status: &str, rest: &Value) -> u64 {
        let account = account(&self.stack, "ann@example.com");
        let mut billing = account["billing"].clone();
        billing["email"] = json!("ann@example.com");
        let mut order = json!({
            "status": status, "customer_id": self.ann, "billing": billing, "shipping": account["shipping"],
            "payment_method": "stripe", "payment_method_title": "Card", "customer_note": "Ring twice",
            "line_items": [{"product_id": self.lamp, "quantity": 2}],
            "shipping_lines": [{"method_id": "flat_rate", "method_title": "Flat rate", "total": "5.00"}],
        });
        for (field, value) in rest.as_object().expect("fields") {
            order[field] = value.clone();
        }
        self.stack.sandbox.store.insert_order(order)
    }

    fn in_erp(&self, order: u64) -> Value {
        let orders = self.stack.sandbox.erp.records(ORDER);
        one(orders, "client_order_ref", &order.to_string())
    }

    fn in_store(&self, order: u64) -> Value {
        self.stack.sandbox.store.order(order).expect("it is there")
    }
}

/// An order of the store's is one in the ERP, to the cent, and the store has the last word; cancelling it is for both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_of_the_store_s_is_one_in_the_erp() {
    let shop = Shop::open().await;
    let (store, erp) = (&shop.stack.sandbox.store, &shop.stack.sandbox.erp);
    let order = shop.sell("processing", &json!({}));
    let other = shop.sell("on-hold", &json!({}));

    shop.stack.in_step().await;

    let made = shop.in_erp(order);
    assert_eq!(
        only(&made, &["state", "amount_untaxed", "amount_tax", "amount_total"]),
        json!({"state": "sale", "amount_untaxed": 45.0, "amount_tax": 4.5, "amount_total": 49.5})
    );
    assert_eq!(shop.in_erp(other)["state"], "draft");
    assert_eq!(
        made["partner_id"][0],
        partner(&shop.stack, "ann@example.com")["id"]
    );
    assert!(made["note"].to_string().contains("Ring twice"), "{made:#}");
    let lines = erp_lines(&shop.stack, id(&made));
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], json!(["[LAMP] Lamp", 2.0, 40.0, 4.0]));
    assert_eq!(
        lines[1].as_array().expect("cells")[1..],
        [json!(1.0), json!(5.0), json!(0.5)]
    );

    // Ann adds a lamp to what she has not paid for, and has the other one.
    let line = shop.in_store(other)["line_items"][0]["id"].clone();
    store.update_order(
        other,
        json!({"line_items": [{"id": line, "quantity": 3, "subtotal": "60.00", "total": "60.00"}], "customer_note": "Ring once"}),
    );
    store.update_order(order, json!({"status": "completed"}));
    shop.stack.in_step().await;
    let changed = shop.in_erp(other);
    assert_eq!(
        only(
            &changed,
            &["state", "amount_untaxed", "amount_tax", "amount_total"]
        ),
        json!({"state": "draft", "amount_untaxed": 65.0, "amount_tax": 6.5, "amount_total": 71.5})
    );
    assert_eq!(
        erp_lines(&shop.stack, id(&changed))[0],
        json!(["[LAMP] Lamp", 3.0, 60.0, 6.0])
    );
    assert!(changed["note"].to_string().contains("Ring once"), "{changed:#}");
    assert_eq!(shop.in_erp(order)["state"], "sale");
    assert_eq!(shop.in_store(order)["status"], "completed");

    // The ERP's people give a lamp more: that is put back. They confirm it: that is taken.
    let lines = erp.records(LINE).into_iter();
    let lamps = lines
        .filter(|line| line["order_id"][0] == changed["id"] && line["product_uom_qty"] == 3.0)
        .collect::<Vec<_>>();
    erp.update(LINE, id(&lamps[0]), json!({"product_uom_qty": 4.0}));
    erp.press(ORDER, id(&changed), "action_confirm");
    shop.stack.in_step().await;
    let back = shop.in_erp(other);
    assert_eq!(
        only(&back, &["state", "amount_total"]),
        json!({"state": "sale", "amount_total": 71.5})
    );
    assert_eq!(
        only(&shop.in_store(other), &["status", "total"]),
        json!({"status": "processing", "total": "71.50"})
    );

    erp.press(ORDER, id(&back), "action_cancel");
    shop.stack.in_step().await;
    assert_eq!(shop.in_store(other)["status"], "cancelled");
    assert_eq!(shop.in_erp(other)["state"], "cancel");
    assert_eq!(shop.in_store(order)["status"], "completed");
    shop.stack.in_step().await;
    stays_still(&shop.stack).await;
}

/// An order that is cancelled in the store is cancelled in the ERP, where it was agreed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_cancelled_in_the_store_is_cancelled_in_the_erp() {
    let shop = Shop::open().await;
    let order = shop.sell("processing", &json!({}));
    shop.stack.in_step().await;
    assert_eq!(shop.in_erp(order)["state"], "sale");

    shop.stack
        .sandbox
        .store
        .update_order(order, json!({"status": "cancelled"}));
    shop.stack.in_step().await;

    assert_eq!(shop.in_erp(order)["state"], "cancel");
    assert_eq!(shop.in_store(order)["status"], "cancelled");
    shop.stack.in_step().await;
    assert_eq!(goods(&shop.stack, "LAMP")["stock_quantity"], 50);
    assert_eq!(variant(&shop.stack, "LAMP")["qty_available"], 50.0);
    stays_still(&shop.stack).await;
}

/// An ERP with a customer, something to sell, and an order of it.
struct Office {
    stack: Stack,
    chair: i64,
    order: i64,
}

impl Office {
    /// Two chairs of 50.00 less a tenth for Bob, agreed.
    async fn open() -> Self {
        let stack = empty().await;
        let erp = &stack.sandbox.erp;
        let us = country(erp, "US");
        let bob = erp.insert(
            PARTNER,
            json!({
                "name": "Bob Brown", "email": "bob@example.com", "street": "5 High Street", "city": "Austin",
                "zip": "73301", "country_id": us, "state_id": state(erp, us, "TX"),
            }),
        );
        let template = erp.insert(
            TEMPLATE,
            json!({
                "name": "Chair", "default_code": "CHAIR", "list_price": 50.0, "type": "consu", "is_storable": true,
                "taxes_id": [],
            }),
        );
        let chair = id(&variant(&stack, "CHAIR"));
        assert_eq!(variant(&stack, "CHAIR")["product_tmpl_id"][0], template);
        stack.sandbox.erp.set_stock(chair, SHELF, 20.0);
        let line = json!({"product_id": chair, "product_uom_qty": 2, "price_unit": 50.0, "discount": 10.0, "tax_ids": []});
        let order = stack
            .sandbox
            .erp
            .insert(ORDER, json!({"partner_id": bob, "order_line": [[0, 0, line]]}));
        stack.sandbox.erp.press(ORDER, order, "action_confirm");
        Self { stack, chair, order }
    }

    fn in_erp(&self) -> Value {
        let mut orders = self.stack.sandbox.erp.records(ORDER).into_iter();
        orders
            .find(|order| order["id"] == self.order)
            .expect("it is there")
    }

    fn in_store(&self) -> Value {
        let mut orders = self.stack.sandbox.store.orders();
        assert_eq!(orders.len(), 1, "{orders:#?}");
        orders.remove(0)
    }
}

/// An order of the ERP's is one in the store, and the ERP has the last word; cancelling it is for both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_of_the_erp_s_is_one_in_the_store() {
    let office = Office::open().await;
    let (store, erp) = (&office.stack.sandbox.store, &office.stack.sandbox.erp);

    office.stack.in_step().await;

    let made = office.in_store();
    assert_eq!(
        only(&made, &["status", "total", "total_tax", "discount_total"]),
        json!({"status": "processing", "total": "90.00", "total_tax": "0.00", "discount_total": "10.00"})
    );
    assert_eq!(
        made["customer_id"],
        account(&office.stack, "bob@example.com")["id"]
    );
    assert_eq!(
        only(
            &made["billing"],
            &[
                "first_name",
                "last_name",
                "address_1",
                "city",
                "postcode",
                "state",
                "country"
            ]
        ),
        json!({
            "first_name": "Bob", "last_name": "Brown", "address_1": "5 High Street", "city": "Austin",
            "postcode": "73301", "state": "TX", "country": "US",
        })
    );
    let line = &made["line_items"][0];
    assert_eq!(
        only(line, &["sku", "quantity", "subtotal", "total"]),
        json!({"sku": "CHAIR", "quantity": 2, "subtotal": "100.00", "total": "90.00"})
    );
    assert_eq!(erp.records(PAYMENT), Vec::<Value>::new(), "nobody paid");

    let lines = erp.records(LINE);
    erp.update(LINE, id(&lines[0]), json!({"product_uom_qty": 3}));
    office.stack.in_step().await;
    let changed = office.in_store();
    assert_eq!(
        only(&changed, &["id", "status", "total"]),
        json!({"id": made["id"], "status": "processing", "total": "135.00"})
    );
    assert_eq!(changed["line_items"][0]["quantity"], 3);

    // The shop's people write another address and carry it out: one is put back, the other is the shop's to say.
    store.update_order(
        number(&made),
        json!({"billing": {"city": "Waco"}, "status": "completed"}),
    );
    office.stack.in_step().await;
    let back = office.in_store();
    assert_eq!(back["billing"]["city"], "Austin");
    assert_eq!(
        only(&back, &["status", "total"]),
        json!({"status": "completed", "total": "135.00"})
    );
    assert_eq!(
        only(&office.in_erp(), &["state", "amount_total"]),
        json!({"state": "sale", "amount_total": 135.0})
    );

    store.update_order(number(&made), json!({"status": "cancelled"}));
    office.stack.in_step().await;
    assert_eq!(office.in_erp()["state"], "cancel");
    assert_eq!(office.in_store()["status"], "cancelled");
    office.stack.in_step().await;
    stays_still(&office.stack).await;
}

/// An order that is cancelled in the ERP it was placed in is cancelled in the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_of_the_erp_s_that_is_cancelled_there_is_cancelled_in_the_store() {
    let office = Office::open().await;
    office.stack.in_step().await;

    office
        .stack
        .sandbox
        .erp
        .press(ORDER, office.order, "action_cancel");
    office.stack.in_step().await;

    assert_eq!(office.in_store()["status"], "cancelled");
    office.stack.in_step().await;
    assert_eq!(goods(&office.stack, "CHAIR")["stock_quantity"], 20);
    stays_still(&office.stack).await;
}

/// What the shop has in stock is what the ERP begins with; from then on the ERP counts, and sales are orders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_s_stock_is_the_erp_s_to_begin_with() {
    let shop = Shop::open().await;
    let (store, erp) = (&shop.stack.sandbox.store, &shop.stack.sandbox.erp);
    shop.stack.in_step().await;
    let made = variant(&shop.stack, "LAMP");
    assert_eq!(
        only(&made, &["is_storable", "qty_available", "outgoing_qty"]),
        json!({"is_storable": true, "qty_available": 50.0, "outgoing_qty": 0.0})
    );

    // Somebody writes a number into the shop: it is put back. Somebody buys: that is an order.
    store.set_stock(shop.lamp, 44);
    shop.stack.in_step().await;
    assert_eq!(goods(&shop.stack, "LAMP")["stock_quantity"], 50);
    assert_eq!(variant(&shop.stack, "LAMP")["qty_available"], 50.0);
    store.sell(shop.lamp, 3);
    shop.stack.in_step().await;
    shop.stack.in_step().await;
    assert_eq!(goods(&shop.stack, "LAMP")["stock_quantity"], 47);
    assert_eq!(
        only(&variant(&shop.stack, "LAMP"), &["qty_available", "outgoing_qty"]),
        json!({"qty_available": 50.0, "outgoing_qty": 3.0})
    );

    erp.set_stock(id(&made), SHELF, 60.0);
    shop.stack.in_step().await;
    assert_eq!(goods(&shop.stack, "LAMP")["stock_quantity"], 57);
    assert_eq!(variant(&shop.stack, "LAMP")["qty_available"], 60.0);
    stays_still(&shop.stack).await;
}

/// What the ERP can promise is what the shop has to sell: what lies there less what is on its way out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_erp_s_stock_is_what_the_store_can_sell() {
    let office = Office::open().await;
    let (store, erp) = (&office.stack.sandbox.store, &office.stack.sandbox.erp);
    office.stack.in_step().await;
    office.stack.in_step().await;
    let made = goods(&office.stack, "CHAIR");
    assert_eq!(
        only(&made, &["manage_stock", "stock_quantity", "stock_status"]),
        json!({"manage_stock": true, "stock_quantity": 18, "stock_status": "instock"})
    );

    // Counted anew, and the two that were promised leave the house.
    erp.set_stock(office.chair, SHELF, 12.0);
    let picking = erp.records("stock.picking").remove(0);
    erp.press("stock.picking", id(&picking), "button_validate");
    office.stack.in_step().await;
    let stock = variant(&office.stack, "CHAIR");
    assert_eq!(
        only(&stock, &["qty_available", "outgoing_qty"]),
        json!({"qty_available": 10.0, "outgoing_qty": 0.0})
    );
    assert_eq!(goods(&office.stack, "CHAIR")["stock_quantity"], 10);

    store.set_stock(number(&made), 99);
    office.stack.in_step().await;
    assert_eq!(goods(&office.stack, "CHAIR")["stock_quantity"], 10);
    assert_eq!(variant(&office.stack, "CHAIR")["qty_available"], 10.0);
    erp.set_stock(office.chair, SHELF, 0.0);
    office.stack.in_step().await;
    assert_eq!(
        only(
            &goods(&office.stack, "CHAIR"),
            &["stock_quantity", "stock_status"]
        ),
        json!({"stock_quantity": 0, "stock_status": "outofstock"})
    );
    stays_still(&office.stack).await;
}

/// A level of goods that nobody counts any more is left where it is, and nobody is asked about it: the store's is known
/// because the ERP's word on counting could not be brought to it in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_level_of_what_is_not_counted_any_more_is_nobody_s_trouble() {
    let stack = empty().await;
    let lamp = stack.sandbox.store.insert_product(json!({
        "name": "Lamp", "sku": "LAMP", "regular_price": "10.00", "manage_stock": true, "stock_quantity": 5,
    }));
    stack.sandbox.erp.insert(
        TEMPLATE,
        json!({"name": "Lamp", "default_code": "LAMP", "list_price": 10.0, "type": "consu", "is_storable": false}),
    );
    let broken = Fault::Status {
        code: 500,
        retry_after: None,
        body: None,
    };
    let faults = stack.sandbox.store.faults();
    faults.on_path("/products/batch", broken, None);
    stack.sync().await;
    stack.sandbox.store.faults().clear();

    stack.sync().await;

    assert_eq!(stack.sandbox.store.product(lamp).unwrap()["manage_stock"], false);
    assert_eq!(
        stack.troubles().await,
        ["odoo inventory skipped: its product's stock is not kept"]
    );
}

fn booked(stack: &Stack, direction: &str) -> Vec<Value> {
    let payments = stack.sandbox.erp.records(PAYMENT).into_iter();
    let counted = payments.filter(|row| row["payment_type"] == direction);
    counted
        .map(|row| {
            only(
                &row,
                &["state", "amount", "memo", "payment_reference", "partner_type"],
            )
        })
        .collect()
}

/// What is said of a payment that differs from one that the ERP has posted.
const POSTED: [&str; 2] = [
    "conflict payments ValidationError: the payment is posted in Odoo and can't change any more: cancel it there, or \
     pay the difference",
    "odoo payments failed: the payment is posted in Odoo and can't change any more: cancel it there, or pay the \
     difference (payment_posted)",
];

/// What is paid and paid back in the store is booked in the ERP once. A payment that is posted is not written again: what
/// people change of it stands as a conflict, and does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_s_payments_are_booked_in_the_erp() {
    let shop = Shop::open().await;
    let (store, erp) = (&shop.stack.sandbox.store, &shop.stack.sandbox.erp);
    let order = shop.sell("on-hold", &json!({}));
    shop.stack.in_step().await;
    assert_eq!(
        booked(&shop.stack, "inbound"),
        Vec::<Value>::new(),
        "nothing is paid"
    );

    store.update_order(order, json!({"status": "processing", "transaction_id": "ch_1"}));
    shop.stack.in_step().await;
    let payment = [json!({
        "state": "in_process", "amount": 49.5, "memo": order.to_string(), "payment_reference": "ch_1",
        "partner_type": "customer",
    })];
    assert_eq!(booked(&shop.stack, "inbound"), payment);
    let row = erp.records(PAYMENT).remove(0);
    let day = shop.in_store(order)["date_paid_gmt"].as_str().expect("a time")[..10].to_owned();
    assert_eq!(row["date"], day);
    assert_eq!(
        row["partner_id"][0],
        partner(&shop.stack, "ann@example.com")["id"]
    );

    store.insert_refund(order, json!({"amount": "9.50", "reason": "late"}));
    shop.stack.in_step().await;
    let back = booked(&shop.stack, "outbound");
    assert_eq!(back.len(), 1);
    assert_eq!(
        only(&back[0], &["state", "amount", "partner_type"]),
        json!({"state": "in_process", "amount": 9.5, "partner_type": "customer"})
    );
    assert_eq!(booked(&shop.stack, "inbound"), payment);
    stays_still(&shop.stack).await;

    // What the ERP's people write over it is theirs to settle, and so is what the shop's people do: it is told, and
    // nothing moves.
    erp.update(PAYMENT, id(&row), json!({"payment_reference": "ch_2"}));
    shop.stack.sync().await;
    assert_eq!(shop.stack.troubles().await, POSTED);
    assert_eq!(shop.in_store(order)["transaction_id"], "ch_1");
    stays_still(&shop.stack).await;
    erp.update(PAYMENT, id(&row), json!({"payment_reference": "ch_1"}));
    shop.stack.in_step().await;

    store.update_order(order, json!({"transaction_id": "ch_3"}));
    shop.stack.sync().await;
    assert_eq!(shop.stack.troubles().await, POSTED);
    assert_eq!(booked(&shop.stack, "inbound"), payment);
    stays_still(&shop.stack).await;
}

impl Office {
    /// Books money for the order, as a person does.
    fn pay(&self, kind: &str, amount: f64, reference: &str) -> i64 {
        let (erp, order) = (&self.stack.sandbox.erp, self.in_erp());
        let payment = erp.insert(
            PAYMENT,
            json!({
                "payment_type": kind, "partner_type": "customer", "partner_id": order["partner_id"][0],
                "amount": amount, "memo": order["name"], "payment_reference": reference, "journal_id": 6,
                "date": "2026-11-20",
            }),
        );
        erp.press(PAYMENT, payment, "action_post");
        payment
    }
}

/// What is paid in the ERP for an order is noted on it in the store, and what is paid back is a refund there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_erp_s_payments_are_noted_in_the_store() {
    let office = Office::open().await;
    let (store, erp) = (&office.stack.sandbox.store, &office.stack.sandbox.erp);
    office.stack.in_step().await;

    let payment = office.pay("inbound", 90.0, "WIRE-1");
    office.stack.in_step().await;
    let paid = office.in_store();
    assert_eq!(
        only(&paid, &["status", "total", "transaction_id", "date_paid_gmt"]),
        json!({
            "status": "processing", "total": "90.00", "transaction_id": "WIRE-1",
            "date_paid_gmt": "2026-11-20T00:00:00",
        })
    );

    office.pay("outbound", 30.0, "WIRE-2");
    office.stack.in_step().await;
    let refunds = store.refunds();
    assert_eq!(refunds.len(), 1, "{refunds:#?}");
    assert_eq!(
        only(&refunds[0], &["amount", "parent_id"]),
        json!({"amount": "30.00", "parent_id": paid["id"]})
    );
    assert_eq!(office.in_store()["status"], "processing");
    assert_eq!(store.noise().customer_mails, 0);
    stays_still(&office.stack).await;

    // The store has the last word about payments, and the ERP can't follow it: that is told, and nothing moves.
    store.update_order(number(&paid), json!({"transaction_id": "OTHER"}));
    office.stack.sync().await;
    assert_eq!(office.stack.troubles().await, POSTED);
    let row = one(erp.records(PAYMENT), "payment_type", "inbound");
    assert_eq!(
        only(&row, &["id", "payment_reference", "state"]),
        json!({"id": payment, "payment_reference": "WIRE-1", "state": "in_process"})
    );
    stays_still(&office.stack).await;
    store.update_order(number(&paid), json!({"transaction_id": "WIRE-1"}));
    office.stack.in_step().await;

    erp.update(PAYMENT, payment, json!({"payment_reference": "WIRE-9"}));
    office.stack.sync().await;
    assert_eq!(office.stack.troubles().await, POSTED);
    assert_eq!(office.in_store()["transaction_id"], "WIRE-1");
    stays_still(&office.stack).await;
}

/// A part of an order's total has no place in the store: that is told, and nothing is noted there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_payment_of_the_erp_s_is_told_and_noted_nowhere() {
    let office = Office::open().await;
    office.stack.in_step().await;
    let before = office.in_store();

    office.pay("inbound", 40.0, "WIRE-0");
    let sync = office.stack.sync().await;

    assert_eq!(sync.status(), Status::Partial);
    let why = "WooCommerce knows one payment of an order, of its whole total: `90.00 USD`, not `40 USD`";
    assert_eq!(
        office.stack.troubles().await,
        [
            format!("conflict payments ValidationError: {why}"),
            format!("woocommerce payments failed: {why} (partial_payment)"),
        ]
    );
    assert_eq!(office.in_store(), before);
    stays_still(&office.stack).await;
}

/// A payment that was taken back where it was made, before it got anywhere, gets nowhere any more, and nobody is asked
/// about it; the one that takes its place does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_the_erp_took_back_is_not_noted_later() {
    let office = Office::open().await;
    let erp = &office.stack.sandbox.erp;
    office.stack.in_step().await;
    let part = office.pay("inbound", 40.0, "WIRE-0");
    office.stack.sync().await;
    assert_eq!(
        office.stack.troubles().await.len(),
        2,
        "{:#?}",
        office.stack.troubles().await
    );

    erp.press(PAYMENT, part, "action_draft");
    erp.unlink(PAYMENT, part);
    office.stack.scan(&EntityType::ALL).await;

    let open: i64 = sqlx::query_scalar("select count(*) from sync_conflict where not is_resolved")
        .fetch_one(&office.stack.database.superuser)
        .await
        .unwrap();
    assert_eq!(open, 0, "{:#?}", office.stack.troubles().await);
    office.pay("inbound", 90.0, "WIRE-1");
    office.stack.sync().await;
    assert_eq!(office.in_store()["transaction_id"], "WIRE-1");
    let sync = office.stack.scan(&EntityType::ALL).await;
    assert_eq!(
        sync.status(),
        Status::Done,
        "{:#?}",
        office.stack.troubles().await
    );
    stays_still(&office.stack).await;
}
