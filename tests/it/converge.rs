//! Whatever people do in both systems at once, the systems come to agree or say why not, and then stay still.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_sandbox::seed::{SeedPlan, seed};
use lockstep_shared::sync::Status;
use lockstep_shared::system::EntityType;
use lockstep_tests::stack::Stack;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Syncs after which nothing may be left to write: one for what people did, one for the stock that waits for its orders,
/// and one for what that moved.
const ROUNDS: usize = 4;

/// Things that people do between two syncs.
const EDITS: usize = 9;

/// Kinds of things that people do.
const KINDS: u64 = 17;

/// Kinds that a seed is sure to have.
const OWN: u64 = 3;

fn id(row: &Value) -> u64 {
    row["id"].as_u64().unwrap()
}

fn key(row: &Value) -> i64 {
    row["id"].as_i64().unwrap()
}

/// A shop and an office in which people do things at random.
struct People<'a> {
    stack: &'a Stack,
    random: &'a mut StdRng,
}

impl People<'_> {
    /// Does one thing of a kind, in either system; none where there is nothing to do it to.
    fn act(&mut self, kind: u64) -> Option<String> {
        let number = self.random.random_range(1..1000);
        match kind % KINDS {
            0 => self.rename_in_store(number),
            1 => self.change_template(
                "got another name",
                &json!({"name": format!("Renamed in the office {number}")}),
            ),
            2 => self.change_template(
                "got another price",
                &json!({"list_price": f64::from(number) / 4.0}),
            ),
            3 => self.price_in_store(number),
            4 => self.rename_customer(number),
            5 => self.sell(),
            6 => self.count(),
            7 => self.move_order("processing", "completed"),
            8 => self.move_order("processing", "cancelled"),
            9 => self.move_order("on-hold", "cancelled"),
            10 => self.cancel_in_erp(),
            11 => self.change_template("was archived", &json!({"active": false})),
            12 => self.trash(),
            13 => self.delete_in_erp(),
            14 => self.refund(),
            15 => Some(self.new_customer(number)),
            _ => self.new_order(),
        }
    }

    fn pick(&mut self, rows: Vec<Value>, fits: impl Fn(&Value) -> bool) -> Option<Value> {
        let fitting: Vec<Value> = rows.into_iter().filter(fits).collect();
        fitting.choose(self.random).cloned()
    }

    fn product(&mut self) -> Option<u64> {
        let products = self.stack.sandbox.store.products();
        let found = self.pick(products, |product| {
            product["type"] == "simple"
                && product["manage_stock"] == true
                && product["sku"] != ""
                && product["status"] == "publish"
        });
        found.as_ref().map(id)
    }

    fn template(&mut self, fits: impl Fn(&Value) -> bool) -> Option<i64> {
        let templates = self.stack.sandbox.erp.records("product.template");
        let found = self.pick(templates, |template| {
            template["active"] == true && template["type"] != "service" && fits(template)
        });
        found.as_ref().map(key)
    }

    fn rename_in_store(&mut self, number: u32) -> Option<String> {
        let product = self.product()?;
        let name = json!({"name": format!("Renamed in the shop {number}")});
        self.stack.sandbox.store.update_product(product, name);
        Some(format!("product {product} was renamed in the shop"))
    }

    fn price_in_store(&mut self, number: u32) -> Option<String> {
        let product = self.product()?;
        let price = json!({"regular_price": format!("{number}.50")});
        self.stack.sandbox.store.update_product(product, price);
        Some(format!("product {product} got another price in the shop"))
    }

    fn change_template(&mut self, what: &str, vals: &Value) -> Option<String> {
        let template = self.template(|_| true)?;
        let erp = &self.stack.sandbox.erp;
        erp.update("product.template", template, vals.clone());
        Some(format!("template {template} {what}"))
    }

    fn trash(&mut self) -> Option<String> {
        let product = self.product()?;
        self.stack.sandbox.store.trash_product(product);
        Some(format!("product {product} was put into the trash"))
    }

    /// Odoo lets nobody delete what was sold or moved.
    fn delete_in_erp(&mut self) -> Option<String> {
        let erp = &self.stack.sandbox.erp;
        let used: Vec<Value> = ["sale.order.line", "stock.move"]
            .into_iter()
            .flat_map(|model| erp.records(model))
            .map(|row| row["product_id"][0].clone())
            .collect();
        let variants = erp.records("product.product");
        let kept: Vec<&Value> = variants
            .iter()
            .filter(|variant| used.contains(&variant["id"]))
            .map(|variant| &variant["product_tmpl_id"][0])
            .collect();
        let template = self.template(|template| !kept.contains(&&template["id"]))?;
        self.stack.sandbox.erp.unlink("product.template", template);
        Some(format!("template {template} was deleted"))
    }

    fn rename_customer(&mut self, number: u32) -> Option<String> {
        let customers = self.stack.sandbox.store.customers();
        let customer = self.pick(customers, |_| true).as_ref().map(id)?;
        let name = json!({"first_name": format!("Ann{number}")});
        self.stack.sandbox.store.update_customer(customer, name);
        Some(format!("customer {customer} has another name"))
    }

    fn new_customer(&mut self, number: u32) -> String {
        let email = format!("new{number}@example.com");
        if self.random.random_bool(0.5) {
            self.stack.sandbox.store.insert_customer(
                json!({"email": email, "first_name": "New", "last_name": format!("Shopper{number}")}),
            );
            format!("{email} has an account")
        } else {
            let vals = json!({"name": format!("New Partner{number}"), "email": email});
            self.stack.sandbox.erp.insert("res.partner", vals);
            format!("{email} is a partner")
        }
    }

    fn sell(&mut self) -> Option<String> {
        let product = self.product()?;
        let quantity = self.random.random_range(1..4);
        self.stack.sandbox.store.sell(product, quantity);
        Some(format!("product {product} was sold"))
    }

    fn count(&mut self) -> Option<String> {
        let variants = self.stack.sandbox.erp.records("product.product");
        let counted = self.pick(variants, |variant| {
            variant["is_storable"] == true && variant["active"] == true
        });
        let variant = counted.as_ref().map(key)?;
        let quantity = f64::from(self.random.random_range(0..200));
        self.stack.sandbox.erp.set_stock(variant, 5, quantity);
        Some(format!("variant {variant} was counted"))
    }

    fn new_order(&mut self) -> Option<String> {
        let store = &self.stack.sandbox.store;
        let customer = self.pick(store.customers(), |_| true)?;
        let product = self.product()?;
        let order = store.insert_order(json!({
            "status": "processing", "customer_id": customer["id"], "billing": customer["billing"],
            "shipping": customer["shipping"], "payment_method": "stripe", "transaction_id": "ch_new",
            "line_items": [{"product_id": product, "quantity": 2}],
            "shipping_lines": [{"method_id": "flat_rate", "method_title": "Flat rate", "total": "7.95"}],
        }));
        Some(format!("order {order} of product {product} was placed"))
    }

    fn move_order(&mut self, from: &str, to: &str) -> Option<String> {
        let orders = self.stack.sandbox.store.orders();
        let order = self
            .pick(orders, |order| order["status"] == from)
            .as_ref()
            .map(id)?;
        self.stack
            .sandbox
            .store
            .update_order(order, json!({"status": to}));
        Some(format!("order {order} went from {from} to {to}"))
    }

    fn cancel_in_erp(&mut self) -> Option<String> {
        let orders = self.stack.sandbox.erp.records("sale.order");
        let order = self.pick(orders, |order| {
            order["state"] != "cancel" && order["locked"] == false
        })?;
        self.stack
            .sandbox
            .erp
            .press("sale.order", key(&order), "action_cancel");
        Some(format!(
            "order {} was cancelled in the office",
            order["client_order_ref"]
        ))
    }

    fn refund(&mut self) -> Option<String> {
        let orders = self.stack.sandbox.store.orders();
        let order = self.pick(orders, |order| {
            matches!(order["status"].as_str(), Some("processing" | "completed"))
                && order["refunds"].as_array().is_none_or(Vec::is_empty)
        });
        let order = order.as_ref().map(id)?;
        let refund = json!({"amount": "1.00", "reason": "goodwill"});
        self.stack.sandbox.store.insert_refund(order, refund);
        Some(format!("a part of order {order} was paid back"))
    }
}

/// The names that the goods of both systems have, by SKU.
fn names(stack: &Stack) -> [BTreeMap<String, String>; 2] {
    let text = |value: &Value| value.as_str().unwrap_or_default().replace("&amp;", "&");
    let store = stack.sandbox.store.products();
    let erp = stack.sandbox.erp.records("product.product");
    let in_erp: BTreeMap<String, String> = erp
        .iter()
        .filter(|row| row["default_code"].is_string() && row["active"] == true)
        .map(|row| (text(&row["default_code"]), text(&row["name"])))
        .collect();
    let in_store: BTreeMap<String, String> = store
        .iter()
        .filter(|row| row["type"] == "simple" && in_erp.contains_key(&text(&row["sku"])))
        .map(|row| (text(&row["sku"]), text(&row["name"])))
        .collect();
    let in_both = in_erp
        .into_iter()
        .filter(|(sku, _)| in_store.contains_key(sku))
        .collect();
    [in_store, in_both]
}

/// What both systems say can be sold, by SKU, in whole pieces.
fn stock(stack: &Stack) -> [BTreeMap<String, i64>; 2] {
    let store: BTreeMap<String, i64> = stack
        .sandbox
        .store
        .products()
        .iter()
        .filter(|row| row["type"] == "simple" && row["manage_stock"] == true && row["sku"] != "")
        .filter(|row| row["status"] == "publish")
        .map(|row| {
            (
                row["sku"].as_str().unwrap().to_owned(),
                row["stock_quantity"].as_i64().unwrap(),
            )
        })
        .collect();
    #[expect(clippy::cast_possible_truncation, reason = "pieces of a small shop")]
    let available = |row: &Value| {
        (row["qty_available"].as_f64().unwrap() - row["outgoing_qty"].as_f64().unwrap()).floor() as i64
    };
    let erp: BTreeMap<String, i64> = stack
        .sandbox
        .erp
        .records("product.product")
        .iter()
        .filter(|row| {
            row["default_code"]
                .as_str()
                .is_some_and(|sku| store.contains_key(sku))
        })
        .map(|row| (row["default_code"].as_str().unwrap().to_owned(), available(row)))
        .collect();
    [store, erp]
}

/// What both systems say is on sale, by SKU, of what has no variants.
fn on_sale(stack: &Stack) -> [BTreeSet<String>; 2] {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let store = stack.sandbox.store.products();
    let erp = stack.sandbox.erp.records("product.template");
    let of_store = store
        .iter()
        .filter(|row| row["type"] == "simple" && row["status"] == "publish" && row["sku"] != "");
    let of_erp = erp
        .iter()
        .filter(|row| row["active"] == true && row["type"] != "service" && row["default_code"].is_string());
    [
        of_store.map(|row| text(&row["sku"])).collect(),
        of_erp.map(|row| text(&row["default_code"])).collect(),
    ]
}

/// The totals of the store's orders in both systems, in cents, and whether they stand, by number.
fn orders(stack: &Stack) -> [BTreeMap<String, (i64, bool)>; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "orders of a small shop")]
    let cents = |amount: f64| (amount * 100.0).round() as i64;
    let store = stack.sandbox.store.orders();
    let erp = stack.sandbox.erp.records("sale.order");
    let of_store = store.iter().map(|order| {
        let total = order["total"].as_str().unwrap().parse().unwrap();
        let stands = !matches!(order["status"].as_str(), Some("cancelled" | "failed"));
        let number = order["number"].as_str().unwrap();
        (number.to_owned(), (cents(total), stands))
    });
    let of_erp = erp.iter().map(|order| {
        let number = order["client_order_ref"].as_str().unwrap_or_default();
        let total = order["amount_total"].as_f64().unwrap();
        (number.to_owned(), (cents(total), order["state"] != "cancel"))
    });
    [of_store.collect(), of_erp.collect()]
}

/// The names of customers in both systems, by address.
fn customers(stack: &Stack) -> [BTreeMap<String, String>; 2] {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let store = stack.sandbox.store.customers();
    let erp = stack.sandbox.erp.records("res.partner");
    let of_store = store.iter().map(|row| {
        let name = format!("{} {}", text(&row["first_name"]), text(&row["last_name"]));
        (text(&row["email"]).to_lowercase(), name)
    });
    let of_erp = erp
        .iter()
        .filter(|row| row["active"] == true && row["type"] == "contact" && row["email"].is_string())
        .map(|row| (text(&row["email"]).to_lowercase(), text(&row["name"])));
    [of_store.collect(), of_erp.collect()]
}

/// What is not in step although its thing is there, and no conflict says why.
async fn unexplained(stack: &Stack) -> Vec<String> {
    sqlx::query_scalar(
        "select c.system || ' ' || i.entity_type || ' ' || i.state || ': ' || coalesce(i.last_error, '')
           from item i join connection c on c.org_id = i.org_id and c.connection_id = i.connection_id
          where i.state <> 'synced' and i.gone_at is null
            and not exists (select from sync_conflict o
                             where o.org_id = i.org_id and o.item_id = i.item_id and not o.is_resolved)",
    )
    .fetch_all(&stack.database.superuser)
    .await
    .unwrap()
}

/// Syncs until a sync writes nothing; says whether one did.
async fn rests(stack: &Stack) -> bool {
    for _ in 0..ROUNDS {
        stack.forget_effects();
        stack.sync().await;
        let (store, erp) = stack.effects();
        if store.is_empty() && erp.is_empty() {
            return true;
        }
    }
    false
}

async fn comes_to_rest(seed_number: u64) {
    let mut random = StdRng::seed_from_u64(seed_number);
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let plan = SeedPlan {
        seed: seed_number,
        products: 20,
        customers: 10,
        orders: 12,
        refunds: 2,
    };
    seed(&stack.sandbox.store, &stack.sandbox.erp, &plan);
    stack.work();
    let first = stack.sync().await;
    assert_eq!(
        first.status(),
        Status::Done,
        "seed {seed_number}: {:#?}",
        stack.troubles().await
    );

    let mut people = People {
        stack: &stack,
        random: &mut random,
    };
    // Each seed begins with some kinds of its own, so that all of them together have every kind.
    let own = seed_number * OWN..(seed_number + 1) * OWN;
    let mut edits: Vec<String> = own.filter_map(|kind| people.act(kind)).collect();
    while edits.len() < EDITS {
        let kind = people.random.random_range(0..KINDS);
        edits.extend(people.act(kind));
    }

    let comes_to_rest = rests(&stack).await;
    // What is gone is found by a look at everything.
    stack.scan(&EntityType::ALL).await;
    let stays_at_rest = rests(&stack).await;

    let story = format!(
        "seed {seed_number}, {edits:#?}, {:#?}, {:#?}",
        stack.troubles().await,
        stack.effects()
    );
    assert!(
        comes_to_rest && stays_at_rest,
        "it does not come to rest: {comes_to_rest} {story}"
    );
    assert_eq!(unexplained(&stack).await, Vec::<String>::new(), "{story}");
    let [in_store, in_erp] = on_sale(&stack);
    assert_eq!(in_store, in_erp, "{story}");
    let [in_store, in_erp] = names(&stack);
    assert_eq!(in_store, in_erp, "{story}");
    let [in_store, in_erp] = stock(&stack);
    assert_eq!(in_store, in_erp, "{story}");
    let [in_store, in_erp] = orders(&stack);
    assert_eq!(in_store, in_erp, "{story}");
    let [in_store, in_erp] = customers(&stack);
    assert_eq!(in_store, in_erp, "{story}");
    assert_eq!(stack.sandbox.store.ledger().duplicates(), []);
    assert_eq!(stack.sandbox.erp.ledger().duplicates(), []);
}

/// Random edits of random shops end in agreement, or in a conflict that says why not; a seed that fails says which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_on_both_sides_come_to_rest() {
    for some in [[11, 12, 13], [14, 15, 16]] {
        let shops: JoinSet<()> = some.into_iter().map(comes_to_rest).collect();
        shops.join_all().await;
    }
}
