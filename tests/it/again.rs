//! What goes out when an order goes again, while its customer changes: what really changed, and nothing else. Judged by what
//! the ERP holds, and by what its people notice.

use std::time::Duration;

use lockstep_sandbox::fault::{Fault, Rule};
use lockstep_shared::connection::Settings;
use lockstep_shared::decide::{Owner, Ownership};
use lockstep_shared::sync::Config;
use lockstep_shared::system::EntityType;
use lockstep_tests::stack::{Stack, eventually};
use serde_json::{Value, json};

const PARTNER: &str = "res.partner";
const ORDER: &str = "sale.order";
const LINE: &str = "sale.order.line";

/// A store with Ann, who has an account, and a lamp.
struct Shop {
    stack: Stack,
    ann: u64,
    lamp: u64,
}

impl Shop {
    async fn open() -> Self {
        let stack = Stack::new().await;
        stack.forget_partners();
        let store = &stack.sandbox.store;
        let (home, summer) = (address("1 Main St"), address("9 Dock Rd"));
        let ann = store.insert_customer(json!({
            "email": "ann@example.com", "first_name": "Ann", "last_name": "Lee", "billing": home, "shipping": summer,
        }));
        let lamp = store.insert_product(json!({
            "name": "Lamp", "sku": "LAMP", "regular_price": "20.00", "status": "publish", "manage_stock": true,
            "stock_quantity": 50,
        }));
        Self { stack, ann, lamp }
    }

    /// Sells Ann a lamp, to where she lives.
    fn sell(&self) -> u64 {
        self.sell_as("processing")
    }

    fn sell_as(&self, status: &str) -> u64 {
        self.stack.sandbox.store.insert_order(json!({
            "status": status, "customer_id": self.ann, "billing": address("1 Main St"),
            "shipping": address("9 Dock Rd"), "payment_method": "stripe", "customer_note": "Ring twice",
            "line_items": [{"product_id": self.lamp, "quantity": 1}],
        }))
    }

    /// Has a worker that waits long for requests without an answer.
    fn work_patiently(&mut self) {
        let mut config = self.stack.worker_config();
        config.grace = Some(Duration::from_mins(2));
        self.stack.work_as(config);
    }

    fn order(&self) -> Value {
        let mut orders = self.stack.sandbox.erp.records(ORDER);
        assert_eq!(orders.len(), 1, "R13: {orders:#?}");
        orders.remove(0)
    }

    /// The partner that is Ann.
    fn partner(&self) -> Value {
        let partners = self.stack.sandbox.erp.records(PARTNER).into_iter();
        let mut own = partners.filter(|row| row["type"] == "contact" && row["email"] == "ann@example.com");
        own.next().expect("Ann is there")
    }

    /// Ann's addresses, beside where she lives.
    fn addresses(&self) -> Vec<Value> {
        let ann = self.partner();
        let partners = self.stack.sandbox.erp.records(PARTNER).into_iter();
        partners.filter(|row| row["parent_id"][0] == ann["id"]).collect()
    }

    /// Has Ann move, all that she has.
    fn move_in_store(&self) {
        let (home, summer) = (address("2 New Way"), address("8 New Dock"));
        self.stack.sandbox.store.update_customer(
            self.ann,
            json!({"last_name": "Young", "billing": home, "shipping": summer}),
        );
    }

    /// Has the ERP know of it already, as it does where another worker brought it over meanwhile.
    fn move_in_erp(&self) {
        let erp = &self.stack.sandbox.erp;
        let id = |row: &Value| row["id"].as_i64().expect("an id");
        let addresses = self.addresses();
        erp.update(
            PARTNER,
            id(&self.partner()),
            json!({"name": "Ann Young", "street": "2 New Way"}),
        );
        for address in addresses {
            erp.update(PARTNER, id(&address), json!({"street": "8 New Dock"}));
        }
    }

    /// Starts a sync and waits until a request of it has had no answer; then Ann moves, and it goes on.
    async fn sync_while_ann_moves(&self) {
        let config = Config::new(None, Some(0), None).expect("in range");
        let id = self.stack.start_with(config).await;
        until_in_doubt(&self.stack).await;
        self.move_in_store();
        self.move_in_erp();
        self.stack.shift_clock("5 minutes").await;
        self.stack.finish(id).await;
        assert_eq!(self.stack.troubles().await, Vec::<String>::new());
    }

    /// Loses the answer to the next write of an order that has such a column.
    fn lose_a_write_of(&self, column: &'static str) {
        self.stack.sandbox.erp.faults().add(Rule {
            matches: Box::new(move |request| {
                request.path.ends_with("/sale.order/load")
                    && request.body["fields"]
                        .as_array()
                        .is_some_and(|fields| fields.iter().any(|field| field == column))
            }),
            fault: Fault::LostReply,
            times: Some(1),
        });
    }

    /// R17: the order points to Ann and to her one address, nobody was told anything, and a further sync writes nothing.
    async fn assert_only_what_changed(&self) {
        self.stack.in_step().await;
        let (order, ann, addresses) = (self.order(), self.partner(), self.addresses());
        assert_eq!(addresses.len(), 1, "R17: {addresses:#?}");
        assert_eq!(ann["name"], "Ann Young");
        assert_eq!(addresses[0]["street"], "8 New Dock");
        assert_eq!(order["state"], "sale");
        assert_eq!(order["partner_invoice_id"][0], ann["id"], "R17");
        assert_eq!(order["partner_shipping_id"][0], addresses[0]["id"], "R17");
        let noise = self.stack.sandbox.erp.noise();
        assert_eq!(
            (noise.activities, noise.messages, noise.pickings),
            (0, 0, 1),
            "R17"
        );
        self.stack.forget_effects();
        self.stack.sync().await;
        self.stack.assert_nothing_felt();
    }
}

/// Waits until a request has had no answer.
pub async fn until_in_doubt(stack: &Stack) {
    eventually("a request without an answer", || async {
        let in_doubt: i64 =
            sqlx::query_scalar("select count(*) from sync_idempotency_log where state = 'in_doubt'")
                .fetch_one(&stack.database.superuser)
                .await
                .expect("the database answers");
        (in_doubt > 0).then_some(())
    })
    .await;
}

fn address(street: &str) -> Value {
    json!({
        "first_name": "Ann", "last_name": "Lee", "address_1": street, "city": "Buffalo", "postcode": "14201",
        "country": "US", "state": "NY",
    })
}

/// R17: an order that goes again for its note after its customer moved is given the note.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_goes_again_after_its_customer_moved_is_given_what_changed() {
    let mut shop = Shop::open().await;
    let order = shop.sell();
    shop.stack.work();
    shop.stack.in_step().await;
    shop.stack.forget_effects();

    shop.move_in_store();
    let note = json!({"customer_note": "Ring once"});
    shop.stack.sandbox.store.update_order(order, note);
    shop.stack.in_step().await;

    assert_eq!(shop.stack.sandbox.erp.ledger().updated("sale_order"), 1, "R17");
    assert!(shop.order()["note"].to_string().contains("Ring once"));
    shop.assert_only_what_changed().await;
}

/// R17: a full scan, which looks at every order there is, finds nothing to say about those whose customer moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_scan_leaves_the_orders_of_who_moved_alone() {
    let mut shop = Shop::open().await;
    shop.sell();
    shop.stack.work();
    shop.stack.in_step().await;
    shop.move_in_store();
    shop.stack.in_step().await;
    shop.stack.forget_effects();

    shop.stack.scan(&EntityType::ALL).await;

    shop.stack.assert_nothing_felt();
    shop.assert_only_what_changed().await;
}

/// R13, R17: an order of which only a part is known to have arrived is completed; its addresses are what it was made with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_made_in_part_before_its_customer_moved_is_given_what_is_missing() {
    let mut shop = Shop::open().await;
    shop.sell();
    shop.lose_a_write_of("partner_id/.id");
    shop.work_patiently();

    shop.sync_while_ann_moves().await;

    assert_eq!(shop.stack.sandbox.erp.ledger().created("sale_order"), 1, "R13");
    assert!(shop.order()["note"].to_string().contains("Ring twice"));
    shop.assert_only_what_changed().await;
}

/// R13, R17: a change whose answer was lost, and whose customer moved before anybody looked, is seen to have arrived.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_an_order_that_arrived_before_its_customer_moved_is_not_made_again() {
    let mut shop = Shop::open().await;
    let order = shop.sell();
    shop.work_patiently();
    shop.stack.in_step().await;
    shop.stack.forget_effects();
    let note = json!({"customer_note": "Ring once"});
    shop.stack.sandbox.store.update_order(order, note);
    shop.lose_a_write_of("note");

    shop.sync_while_ann_moves().await;

    assert_eq!(shop.stack.sandbox.erp.ledger().updated("sale_order"), 1, "R13");
    assert!(shop.order()["note"].to_string().contains("Ring once"));
    shop.assert_only_what_changed().await;
}

/// An order that is to go elsewhere is sent there, and is billed to whom it was, who moved meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_is_to_go_elsewhere_is_billed_as_before() {
    let mut shop = Shop::open().await;
    let order = shop.sell();
    shop.stack.work();
    shop.stack.in_step().await;
    shop.move_in_store();
    shop.stack.in_step().await;

    let elsewhere = json!({"shipping": address("5 High Street")});
    shop.stack.sandbox.store.update_order(order, elsewhere);
    shop.stack.in_step().await;

    let (made, ann, addresses) = (shop.order(), shop.partner(), shop.addresses());
    assert_eq!(made["partner_invoice_id"][0], ann["id"], "R17");
    assert_eq!(addresses.len(), 2, "{addresses:#?}");
    let there = addresses
        .iter()
        .find(|row| row["id"] == made["partner_shipping_id"][0])
        .expect("one of hers");
    assert_eq!(there["street"], "5 High Street");
    shop.stack.in_step().await;
    shop.stack.forget_effects();
    shop.stack.sync().await;
    shop.stack.assert_nothing_felt();
}

/// People of the ERP have no say in where a store's order goes: another contact is put back, though its customer moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_people_point_elsewhere_is_put_back() {
    let mut shop = Shop::open().await;
    shop.sell();
    shop.stack.work();
    shop.stack.in_step().await;
    let erp = &shop.stack.sandbox.erp;
    let other = erp.insert(PARTNER, json!({"name": "Somebody", "street": "7 Farm Rd"}));
    let order = shop.order()["id"].as_i64().expect("an id");

    erp.update(ORDER, order, json!({"partner_shipping_id": other}));
    shop.stack.in_step().await;
    shop.stack.in_step().await;

    let (made, addresses) = (shop.order(), shop.addresses());
    assert_eq!(addresses.len(), 1, "{addresses:#?}");
    assert_eq!(made["partner_shipping_id"][0], addresses[0]["id"]);
}

/// A change of several steps that goes on after one of them never arrived is about what it was begun for: what people did in
/// the ERP meanwhile is theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_goes_on_is_about_what_it_was_begun_for() {
    let mut shop = Shop::open().await;
    let order = shop.sell_as("on-hold");
    shop.work_patiently();
    shop.stack.in_step().await;
    let (store, erp) = (&shop.stack.sandbox.store, &shop.stack.sandbox.erp);
    let line = store.order(order).expect("it is there")["line_items"][0]["id"].clone();
    store.update_order(
        order,
        json!({
            "line_items": [{"id": line, "quantity": 3, "subtotal": "60.00", "total": "60.00"}],
            "customer_note": "Ring once",
        }),
    );
    let lines = "/sale.order.line/load";
    erp.faults().on_path(lines, Fault::CutConnection, Some(1));
    let config = Config::new(None, Some(0), None).expect("in range");
    let id = shop.stack.start_with(config).await;
    until_in_doubt(&shop.stack).await;

    erp.press(
        ORDER,
        shop.order()["id"].as_i64().expect("an id"),
        "action_confirm",
    );
    shop.stack.shift_clock("5 minutes").await;
    shop.stack.finish(id).await;

    let made = shop.order();
    assert_eq!(
        (&made["state"], &made["amount_total"]),
        (&json!("sale"), &json!(60.0))
    );
    shop.stack.in_step().await;
    assert_eq!(store.order(order).expect("it is there")["status"], "processing");
    assert_eq!(shop.order()["state"], "sale");
}

/// What a write took over from the remote is not lost with its answer: it is the remote's change still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_a_write_without_an_answer_took_over_is_taken_by_the_next() {
    let mut shop = Shop::open().await;
    let shared = [(EntityType::Orders, Ownership::of(Owner::Shared))];
    let settings = Settings {
        ownership: shared.into(),
        ..Settings::default()
    };
    shop.stack.set(shop.stack.erp, &settings).await;
    let order = shop.sell();
    shop.stack.work();
    shop.stack.in_step().await;
    let (store, erp) = (&shop.stack.sandbox.store, &shop.stack.sandbox.erp);
    // No pull sees the text of a line (facts/systems.md B6): the push does, when the order goes for another reason.
    let line = erp.records(LINE).remove(0)["id"].as_i64().expect("an id");
    erp.update(LINE, line, json!({"name": "Lamp, blue"}));
    store.update_order(order, json!({"customer_note": "Ring once"}));
    shop.lose_a_write_of("note");

    shop.stack.sync().await;
    shop.stack.in_step().await;
    shop.stack.in_step().await;

    assert!(shop.order()["note"].to_string().contains("Ring once"));
    assert_eq!(erp.records(LINE)[0]["name"], "Lamp, blue");
}

/// R3: an order waits for its customer's new address while another sync has that in hand: it is the customer's own then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_waits_for_the_change_of_its_customer_that_another_sync_has_in_hand() {
    let mut shop = Shop::open().await;
    shop.work_patiently();
    shop.stack.in_step().await;
    let (store, erp) = (&shop.stack.sandbox.store, &shop.stack.sandbox.erp);
    let home = address("2 New Way");
    store.update_customer(shop.ann, json!({"billing": home}));
    store.insert_order(json!({
        "status": "processing", "customer_id": shop.ann, "billing": home, "shipping": address("9 Dock Rd"),
        "payment_method": "stripe", "line_items": [{"product_id": shop.lamp, "quantity": 1}],
    }));
    let customers = "/res.partner/load";
    erp.faults().on_path(customers, Fault::CutConnection, Some(1));
    let first = shop.stack.start().await;
    until_in_doubt(&shop.stack).await;

    let second = shop.stack.start().await;
    shop.stack.finish(second).await;
    assert_eq!(erp.records(ORDER), Vec::<Value>::new(), "R3");
    shop.stack.shift_clock("5 minutes").await;
    shop.stack.finish(first).await;
    shop.stack.in_step().await;

    let (order, ann) = (shop.order(), shop.partner());
    assert_eq!(ann["street"], "2 New Way");
    assert_eq!(order["partner_invoice_id"][0], ann["id"], "R17");
    assert_eq!(shop.addresses().len(), 1, "R17: {:#?}", shop.addresses());
}

/// A wallet in two colours, the blue one dearer.
pub fn wallet(stack: &Stack) -> u64 {
    let variation = |color: &str, sku: &str, price: &str| {
        json!({
            "sku": sku, "regular_price": price,
            "attributes": [{"name": "Colour", "option": color}],
        })
    };
    stack.sandbox.store.insert_product(json!({
        "name": "Wallet", "type": "variable", "status": "publish",
        "attributes": [{"name": "Colour", "options": ["Red", "Blue"], "variation": true, "visible": true}],
        "variations_full": [variation("Red", "W-RED", "20.00"), variation("Blue", "W-BLUE", "25.00")],
    }))
}

/// R13: a product that is only half made when its sync gives up is finished by the next one. What it looks like meanwhile is
/// nobody's wish: it changes no record, and is no conflict.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_that_is_half_made_says_nothing_and_is_finished() {
    for step in ["/product.product/load", "/product.template.attribute.value/load"] {
        let mut stack = Stack::new().await;
        stack.forget_partners();
        let id = wallet(&stack);
        let before = stack.sandbox.store.product(id).unwrap();
        // The ERP's worker is killed each time, and nobody can tell what it did.
        let dies = Fault::PartialBatch(1);
        stack.sandbox.erp.faults().on_path(step, dies, None);
        stack.work();
        let first = stack.sync().await;
        assert_ne!(first.status(), lockstep_shared::sync::Status::Done, "{step}");
        assert_eq!(stack.sandbox.erp.ledger().created("product"), 1, "{step}");

        stack.sandbox.erp.faults().clear();
        stack.sync().await;
        stack.sync().await;

        assert_eq!(stack.troubles().await, Vec::<String>::new(), "R13: {step}");
        let variants = stack.sandbox.erp.records("product.product");
        let mut skus: Vec<_> = variants
            .iter()
            .map(|row| (row["default_code"].clone(), row["lst_price"].clone()))
            .collect();
        skus.sort_by_key(|(sku, _)| sku.to_string());
        assert_eq!(
            skus,
            [(json!("W-BLUE"), json!(25.0)), (json!("W-RED"), json!(20.0))],
            "R13: {step}"
        );
        let prices = |product: &Value| -> Vec<Value> {
            let variations = product["variations_full"].as_array().unwrap().iter();
            variations
                .map(|variation| variation["regular_price"].clone())
                .collect()
        };
        assert_eq!(
            prices(&stack.sandbox.store.product(id).unwrap()),
            prices(&before),
            "R13: {step}"
        );
        assert_eq!(stack.sandbox.erp.ledger().duplicates().len(), 0, "R13: {step}");
    }
}
