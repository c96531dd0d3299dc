//! Orders in Odoo.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_sandbox::fault::Fault;
use lockstep_shared::entity::{Content, Order, OrderStatus, PartKey, RecordPart};
use lockstep_shared::id::RecordId;
use lockstep_shared::system::{EntityType, System};
use lockstep_worker::connector::{Action, Cursor, Link, Links, Purpose, Sighting, Theirs, Write, shown};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::content::{customer_of, plain, shirt};
use super::harness::{Fate, Harness, Placed, create, update, wanted};
use super::subject::Office;

/// An Odoo with a customer, a simple product and one with variants, and what orders say of them.
pub struct Desk<const MAJOR: u32> {
    pub harness: Harness<Office<MAJOR>>,
    pub links: Arc<Links>,
    known: BTreeMap<(EntityType, String), (RecordId, BTreeMap<String, PartKey>)>,
    pub customer: RecordId,
    pub product: RecordId,
    pub shirt: RecordId,
}

impl<const MAJOR: u32> Desk<MAJOR> {
    pub async fn start() -> Self {
        let harness = Harness::<Office<MAJOR>>::start().await;
        let mut desk = Self {
            harness,
            links: Arc::default(),
            known: BTreeMap::new(),
            customer: RecordId::random(),
            product: RecordId::random(),
            shirt: RecordId::random(),
        };
        let things = [
            (
                desk.customer,
                customer_of(json!({
                    "name": "Ann O'Neil", "email": "ann@example.com", "phone": "+1 555 0100", "company": "Neil & Co",
                    "billing": {"street": "8000 Marina Blvd", "city": "Brisbane", "state": "CA", "country": "US"},
                    "shipping": {"street": "2 Way", "city": "Brisbane", "state": "CA", "country": "US"}
                })),
            ),
            (desk.product, plain(EntityType::Products, 1)),
            (desk.shirt, shirt(2, &[("Blue", "10"), ("Red", "12")])),
        ];
        let mut links = Vec::new();
        for (record, content) in things {
            let placed = desk
                .harness
                .write(&Write {
                    record,
                    ..create(&content)
                })
                .await;
            links.push((record, desk.note(record, &content, &placed)));
        }
        desk.links = Arc::new(Links::new(links));
        desk
    }

    /// Notes where a record is.
    pub fn note(&mut self, record: RecordId, content: &Content, placed: &Placed) -> Link {
        let parts = placed.parts.iter().map(|(key, id)| (id.clone(), key.clone()));
        let key = (content.entity(), placed.external_id.clone());
        self.known.insert(key, (record, parts.collect()));
        Link {
            external_id: placed.external_id.clone(),
            parts: placed.parts.clone(),
            content: content.clone(),
        }
    }

    pub fn with_links(&self, mut write: Write) -> Write {
        write.links = Arc::clone(&self.links);
        write
    }

    pub fn create(&self, content: &Content) -> Write {
        self.with_links(create(&self.harness.connector.project(content)))
    }

    /// Puts records in the place of what was read.
    pub fn resolved(&self, theirs: &Theirs) -> Content {
        let content = theirs.content.clone().expect("a record");
        let known = content.resolved(|entity, thing| {
            let (record, parts) = self.known.get(&(entity, thing.external_id.clone()))?;
            let part = match &thing.part {
                None => PartKey::default(),
                Some(id) => parts.get(id)?.clone(),
            };
            Some(RecordPart {
                record: *record,
                part,
            })
        });
        known.and_then(Content::canonical).expect("a record")
    }

    pub async fn held(&self, write: &Write, placed: &Placed) -> Content {
        let theirs = self.harness.refreshed(write, &placed.external_id).await;
        self.resolved(&theirs)
    }

    async fn order(&self, write: &Write, placed: &Placed) -> Order {
        match self.held(write, placed).await {
            Content::Order(order) => order,
            other => panic!("an order, not {other:?}"),
        }
    }

    fn row(&self, model: &str, id: &str) -> Value {
        let records = self.harness.subject.erp.records(model).into_iter();
        let mut found = records.filter(|record| record["id"].as_i64() == id.parse().ok());
        found.next().expect("it is there")
    }

    pub fn order_of(&self, change: &Value) -> Content {
        let mut order = json!({
            "number": "669", "origin": "woocommerce", "status": "processing", "currency": "USD",
            "placed_at": "2026-11-22T19:20:27Z", "customer": {"record": self.customer},
            "billing": {
                "company": "Neil & Co", "email": "ann@example.com", "phone": "+1 555 0100",
                "address": {
                    "name": "Ann O'Neil", "street": "8000 Marina Blvd", "city": "Brisbane", "state": "CA", "country": "US"
                }
            },
            "lines": [
                {
                    "key": "54", "product": {"record": self.product}, "name": "Beanie with Logo", "quantity": "3",
                    "subtotal": "18", "total": "16.20", "taxes": [{"name": "NY", "rate": "8.875", "amount": "1.44"}]
                },
                {
                    "key": "55", "product": {"record": self.shirt, "part": "color=red"}, "name": "Shirt, red",
                    "quantity": "7", "subtotal": "32.40", "total": "32.40",
                    "taxes": [{"rate": "8.875", "amount": "2.87"}, {"rate": "1.5", "amount": "0.49"}]
                },
                {"key": "56", "kind": "shipping", "name": "Flat rate", "subtotal": "5", "total": "5"},
                {"key": "57", "kind": "fee", "name": "Voucher", "subtotal": "-2.50", "total": "-2.50"}
            ],
            "note": "Ring <twice>\n& wait", "coupons": ["ten"], "total_tax": "4.80", "total": "55.90"
        });
        for (name, value) in change.as_object().expect("an object") {
            order[name] = value.clone();
        }
        Content::parse(EntityType::Orders, order).expect("a valid order")
    }
}

async fn an_order_comes_back_as_it_was_written<const MAJOR: u32>() {
    let desk = Desk::<MAJOR>::start().await;
    for change in [
        json!({}),
        json!({"total": "55.89"}),
        json!({"status": "pending", "shipping": {"address": {"name": "Bob", "street": "3 Lane", "country": "US"}}}),
        json!({"origin": null, "number": "A 1"}),
        json!({"lines": [], "total": "0", "total_tax": "0"}),
    ] {
        let content = desk.order_of(&change);
        let write = desk.create(&content);

        let placed = desk.harness.write(&write).await;

        let held = desk.held(&write, &placed).await;
        if MAJOR >= 19 {
            assert_eq!(held, desk.harness.connector.project(&content), "for {change}");
        }
        let (Content::Order(held), Content::Order(wanted)) = (held, content) else {
            panic!("orders")
        };
        assert_eq!(held.total, wanted.total, "for {change}");
        let points_to = shown::fields(&placed.parts).len();
        assert_eq!(points_to, 2, "for {change}: both addresses are partners");
        assert_eq!(placed.parts.len() - points_to, wanted.lines.len(), "for {change}");
    }
}

async fn an_order_keeps_its_date_and_state<const MAJOR: u32>() {
    let desk = Desk::<MAJOR>::start().await;
    for (status, state) in [
        ("pending", "draft"),
        ("on_hold", "draft"),
        ("completed", "sale"),
        ("refunded", "sale"),
        ("failed", "cancel"),
    ] {
        let write = desk.create(&desk.order_of(&json!({"status": status})));

        let placed = desk.harness.write(&write).await;

        let row = desk.row("sale.order", &placed.external_id);
        assert_eq!(row["state"], state, "for {status}");
        assert_eq!(row["date_order"], "2026-11-22 19:20:27", "for {status}");
        assert_eq!(row["name"], "WOO/669");
        assert_eq!(row["client_order_ref"], "669");
    }
}

async fn fifty_orders_take_four_calls<const MAJOR: u32>() {
    let desk = Desk::<MAJOR>::start().await;
    desk.harness.write(&desk.create(&desk.order_of(&json!({})))).await;
    let writes: Vec<Write> = (0..50)
        .map(|number| {
            let mut content = desk.order_of(&json!({"number": number.to_string()}));
            if let Content::Order(order) = &mut content {
                // What a simple product's variant is takes a call of its own.
                order.lines.remove(0);
                order.total = Decimal::new(3826, 2);
                order.total_tax = Decimal::new(336, 2);
            }
            desk.create(&content)
        })
        .collect();
    let before = desk.harness.arrivals();

    let fates = desk.harness.push(EntityType::Orders, writes).await;

    assert!(
        fates.values().all(|fate| matches!(fate, Fate::Placed(_))),
        "{fates:?}"
    );
    if MAJOR >= 19 {
        // Load, read back, agree, dates.
        assert_eq!(desk.harness.arrivals() - before, 4);
    }
}

async fn a_create_without_an_answer_is_found_and_not_doubled<const MAJOR: u32>() {
    let desk = Desk::<MAJOR>::start().await;
    desk.harness.write(&desk.create(&desk.order_of(&json!({})))).await;
    let content = desk.order_of(&json!({"number": "670", "status": "pending"}));
    let write = desk.create(&content);
    desk.harness.fault_on_writes(Fault::LostReply, Some(1));
    let requests = desk
        .harness
        .plan(EntityType::Orders, vec![write.clone()])
        .await
        .expect("a plan");
    desk.harness.send(&requests[0]).await.expect_err("no answer");

    let since = chrono::Utc::now();
    let mut doubt = wanted(&write, Purpose::InDoubt { since });
    doubt.links = Arc::clone(&desk.links);
    let Sighting::One(theirs) = desk.harness.look_up_one(doubt).await else {
        panic!("it is there")
    };

    assert_eq!(theirs.marker, Some(write.record));
    assert_eq!(theirs.parts.len() - shown::fields(&theirs.parts).len(), 4);
    let again = desk.harness.write(&write).await;
    assert_eq!(again.external_id, theirs.external_id);
    assert_eq!(desk.harness.subject.erp.records("sale.order").len(), 2);
}

async fn a_guest_is_made_once_and_is_no_customer<const MAJOR: u32>() {
    let desk = Desk::<MAJOR>::start().await;
    let before = desk.harness.subject.erp.records("res.partner").len();
    let guest = json!({
        "customer": null,
        "billing": {"email": "Guest@example.com", "address": {"name": "Gus Guest", "street": "1 Road", "country": "US"}}
    });
    let moved = json!({
        "customer": null, "number": "670",
        "billing": {"email": "guest@example.com", "address": {"name": "Gus Guest", "street": "9 Road", "country": "US"}},
        "shipping": {"address": {"name": "Mum", "street": "5 Hill", "country": "US"}}
    });
    let nameless = json!({"customer": null, "number": "671", "billing": null});
    for change in [&guest, &guest, &moved, &nameless, &nameless] {
        let content = desk.order_of(change);
        let write = desk.create(&content);

        let placed = desk.harness.write(&write).await;

        let held = desk.order(&write, &placed).await;
        let Content::Order(wanted) = desk.harness.connector.project(&content) else {
            panic!("an order")
        };
        assert_eq!(held.customer, None);
        assert_eq!((held.billing, held.shipping), (wanted.billing, wanted.shipping));
    }
    let after = desk.harness.subject.erp.records("res.partner").len();
    assert_eq!(after - before, 4, "a guest, two addresses, and nobody");
    let pulled = desk.harness.pull(EntityType::Customers, &Cursor::default()).await;
    let is_guest = |theirs: &Theirs| matches!(&theirs.content, Ok(Content::Customer(customer)) if customer.name.starts_with("Gus"));
    assert!(!pulled.seen.iter().any(is_guest));
}

async fn an_agreed_order_changes_where_it_differs<const MAJOR: u32>() {
    let desk = Desk::<MAJOR>::start().await;
    let before = desk.order_of(&json!({}));
    let first = desk.create(&before);
    let placed = desk.harness.write(&first).await;
    let mut after = before.clone();
    if let Content::Order(order) = &mut after {
        order.note = Some("Leave it".to_owned());
        order.lines.remove(3);
        order.lines[0].quantity = Decimal::from(2);
        order.lines[0].total = Decimal::new(1080, 2);
        order.lines[0].taxes[0].amount = Decimal::new(96, 2);
        order.total = Decimal::new(5252, 2);
        order.total_tax = Decimal::new(432, 2);
    }
    let project = |content: &Content| desk.harness.connector.project(content);
    let change = desk.with_links(update(first.record, &placed, &project(&before), &project(&after)));

    let changed = desk.harness.write(&change).await;

    if MAJOR >= 19 {
        assert_eq!(desk.held(&change, &changed).await, project(&after));
    }
    let again = desk.with_links(update(
        first.record,
        &changed,
        &project(&before),
        &project(&after),
    ));
    let effects = desk.harness.subject.erp.ledger().effects().len();
    desk.harness.write(&again).await;
    assert_eq!(desk.harness.subject.erp.ledger().effects().len(), effects);
}

async fn an_order_moves_on<const MAJOR: u32>() {
    let desk = Desk::<MAJOR>::start().await;
    let mut now = desk.order_of(&json!({"status": "pending"}));
    let write = desk.create(&now);
    let mut placed = desk.harness.write(&write).await;
    for (status, state) in [
        (OrderStatus::Processing, "sale"),
        (OrderStatus::Cancelled, "cancel"),
        (OrderStatus::Processing, "sale"),
    ] {
        let mut next = now.clone();
        if let Content::Order(order) = &mut next {
            order.status = status;
        }
        let change = desk.with_links(update(write.record, &placed, &now, &next));
        placed = desk.harness.write(&change).await;
        assert_eq!(desk.row("sale.order", &placed.external_id)["state"], state);
        assert_eq!(
            desk.row("sale.order", &placed.external_id)["date_order"],
            "2026-11-22 19:20:27"
        );
        now = next;
    }
    let mut back = now.clone();
    if let Content::Order(order) = &mut back {
        order.status = OrderStatus::Pending;
    }
    let change = desk.with_links(update(write.record, &placed, &now, &back));
    let fates = desk.harness.push(EntityType::Orders, vec![change]).await;
    assert!(
        matches!(&fates[&write.record], Fate::Rejected(refusal) if refusal.code == "order_agreed"),
        "{fates:?}"
    );
}

async fn an_order_that_goes_is_cancelled<const MAJOR: u32>() {
    let desk = Desk::<MAJOR>::start().await;
    let write = desk.create(&desk.order_of(&json!({})));
    let placed = desk.harness.write(&write).await;
    let mut gone = write.clone();
    gone.action = Action::Delete {
        external_id: placed.external_id.clone(),
    };

    desk.harness.write(&gone).await;

    assert_eq!(desk.row("sale.order", &placed.external_id)["state"], "cancel");
}

async fn a_currency_that_is_not_there_is_named<const MAJOR: u32>() {
    let desk = Desk::<MAJOR>::start().await;
    let write = desk.create(&desk.order_of(&json!({"currency": "XXX"})));

    let fates = desk.harness.push(EntityType::Orders, vec![write.clone()]).await;

    let Fate::Rejected(refusal) = &fates[&write.record] else {
        panic!("{fates:?}")
    };
    assert!(refusal.message.contains("XXX"), "{refusal:?}");
}

async fn nobody_is_told_of_an_order<const MAJOR: u32>() {
    let desk = Desk::<MAJOR>::start().await;
    let told = || {
        let noise = desk.harness.subject.erp.noise();
        [noise.messages, noise.activities, noise.followers, noise.mails]
    };
    let before = told();

    desk.harness.write(&desk.create(&desk.order_of(&json!({})))).await;

    assert_eq!(told(), before);
}

async fn an_order_of_odoos_own_is_read<const MAJOR: u32>() {
    let desk = Desk::<MAJOR>::start().await;
    let customer = desk
        .links
        .find(&serde_json::from_value(json!({"record": desk.customer})).unwrap());
    let partner: i64 = customer.expect("linked").external_id.parse().unwrap();
    let tax = if MAJOR >= 18 { "tax_ids" } else { "tax_id" };
    let mut line = json!({
        "product_id": 1, "name": "By hand", "product_uom_qty": 2, "price_unit": 10, "discount": 10
    });
    let product = desk
        .links
        .find(&serde_json::from_value(json!({"record": desk.product})).unwrap());
    let template: i64 = product.expect("linked").external_id.parse().unwrap();
    let variants = desk.harness.subject.erp.records("product.product");
    let variant = variants.iter().find(|row| {
        row["product_tmpl_id"].as_i64() == Some(template)
            || row["product_tmpl_id"][0].as_i64() == Some(template)
    });
    line["product_id"] = variant.expect("it has one")["id"].clone();
    line[tax] = json!([[6, 0, [1]]]);
    let id = desk.harness.subject.erp.insert(
        "sale.order",
        json!({"partner_id": partner, "order_line": [[0, 0, line], [0, 0, {"display_type": "line_note", "name": "Note"}]]}),
    );

    let pulled = desk.harness.pull(EntityType::Orders, &Cursor::default()).await;

    let theirs = pulled.find(&id.to_string());
    let Content::Order(order) = desk.resolved(theirs) else {
        panic!("an order")
    };
    assert_eq!(theirs.marker, None);
    assert_eq!(order.origin, Some(System::Odoo));
    assert_eq!(order.lines.len(), 1);
    let line = &order.lines[0];
    assert_eq!(
        (line.subtotal, line.total),
        (Decimal::from(20), Decimal::from(18))
    );
    assert_eq!(line.taxes[0].amount, Decimal::new(27, 1));
    assert_eq!(line.taxes[0].rate, Some(Decimal::from(15)));
    assert!(line.product.is_some() && order.customer.is_some());
    let whole = Content::Order(order);
    assert_eq!(desk.harness.connector.project(&whole), whole);
}

for_each_office! {
    an_order_comes_back_as_it_was_written,
    an_order_keeps_its_date_and_state,
    fifty_orders_take_four_calls,
    a_create_without_an_answer_is_found_and_not_doubled,
    a_guest_is_made_once_and_is_no_customer,
    an_agreed_order_changes_where_it_differs,
    an_order_moves_on,
    an_order_that_goes_is_cancelled,
    a_currency_that_is_not_there_is_named,
    nobody_is_told_of_an_order,
    an_order_of_odoos_own_is_read,
}
