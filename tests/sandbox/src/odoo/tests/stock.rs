//! What setting stock does, and what it does not.

use std::time::Duration;

use serde_json::{Value, json};

use super::Office;
use crate::fault::Fault;

const STOCK: i64 = 5;

impl Office {
    fn storable(&self, code: &str) -> i64 {
        let vals = json!({"name": code, "default_code": code, "type": "consu", "is_storable": true});
        self.erp.insert("product.product", vals)
    }

    async fn count_stock(&self, product: i64, amount: f64) -> Value {
        let vals = json!({"product_id": product, "location_id": STOCK, "inventory_quantity": amount});
        let body = json!({"vals_list": [vals], "context": {"inventory_mode": true}});
        self.ok("stock.quant/create", body).await
    }

    async fn apply(&self, ids: &Value) -> Value {
        let body = json!({"ids": ids, "context": {"inventory_name": "Woo"}});
        self.ok("stock.quant/action_apply_inventory", body).await
    }

    /// On hand, free, forecast, outgoing.
    async fn quantities(&self, product: i64, context: Value) -> Value {
        let fields = ["qty_available", "free_qty", "virtual_available", "outgoing_qty"];
        let body = json!({"ids": [product], "fields": fields, "context": context});
        let row = self.ok("product.product/read", body).await[0].clone();
        json!(fields.map(|field| row[field].clone()))
    }
}

#[tokio::test]
async fn stock_is_counted_then_applied_and_a_move_says_so() {
    let office = Office::open().await;
    let product = office.storable("p-1");

    let quants = office.count_stock(product, 25.0).await;
    let counted = office.read("stock.quant", &quants[0], json!([])).await;
    let answer = office.apply(&quants).await;

    assert_eq!(
        (&counted["quantity"], &counted["inventory_quantity"]),
        (&json!(0.0), &json!(25.0))
    );
    assert_eq!(
        (&counted["inventory_quantity_set"], answer),
        (&json!(true), Value::Null)
    );
    let applied = office.read("stock.quant", &quants[0], json!([])).await;
    assert_eq!(
        (&applied["quantity"], &applied["inventory_quantity"]),
        (&json!(25.0), &json!(0.0))
    );
    assert_eq!(applied["inventory_quantity_set"], json!(false));
    assert_eq!(applied["location_id"], json!([STOCK, "WH/Stock"]));
    let moves = office.erp.records("stock.move");
    assert_eq!(moves.len(), 1);
    assert_eq!(
        (&moves[0]["state"], &moves[0]["reference"]),
        (&json!("done"), &json!("Woo"))
    );
    assert_eq!(moves[0]["location_id"], json!([11, "Inventory adjustment"]));
    assert_eq!(
        office.quantities(product, json!({})).await,
        json!([25.0, 25.0, 25.0, 0.0])
    );
    let effects = office.erp.ledger().effects();
    assert_eq!(effects.len(), 1);
    assert_eq!((effects[0].entity, effects[0].changed), ("stock_quant", true));
    assert_eq!(
        (effects[0].thing.clone(), effects[0].key.as_deref()),
        (product.to_string(), Some("p-1"))
    );
}

#[tokio::test]
async fn json_rpc_answers_an_applied_count_without_a_result() {
    let office = Office::open().await;
    let product = office.storable("p-1");
    let quants = office.count_stock(product, 25.0).await;

    let answer = office
        .execute("stock.quant", "action_apply_inventory", json!([quants]))
        .await;

    assert_eq!(answer, json!({"jsonrpc": "2.0", "id": 1}));
}

#[tokio::test]
async fn an_equal_count_still_writes_a_move() {
    let office = Office::open().await;
    let product = office.storable("p-1");
    office.erp.set_stock(product, STOCK, 7.0);

    let quants = office.count_stock(product, 7.0).await;
    office.apply(&quants).await;

    let moves = office.erp.records("stock.move");
    assert_eq!((moves.len(), &moves[1]["quantity"]), (2, &json!(0.0)));
    assert!(!office.erp.ledger().effects()[0].changed);
}

#[tokio::test]
async fn counting_at_once_skips_an_equal_value() {
    let office = Office::open().await;
    let product = office.storable("p-1");
    let at_once = |amount: i64| {
        let vals =
            json!({"product_id": product, "location_id": STOCK, "inventory_quantity_auto_apply": amount});
        json!({"vals_list": [vals], "context": {"inventory_mode": true}})
    };

    office.ok("stock.quant/create", at_once(4)).await;
    office.ok("stock.quant/create", at_once(4)).await;

    assert_eq!(office.erp.records("stock.move").len(), 1);
    assert_eq!(office.erp.ledger().updated("stock_quant"), 1);
    assert_eq!(office.quantities(product, json!({})).await[0], 4.0);
}

#[tokio::test]
async fn without_inventory_mode_there_is_a_second_quant_and_applying_the_first_zeroes_it() {
    let office = Office::open().await;
    let product = office.storable("p-1");
    let first = office.count_stock(product, 25.0).await;
    office.apply(&first).await;

    let vals = json!({"product_id": product, "location_id": STOCK, "inventory_quantity": 30});
    let second = office
        .ok("stock.quant/create", json!({"vals_list": [vals]}))
        .await;
    office.apply(&first).await;

    assert_ne!(first, second);
    let zeroed = office.read("stock.quant", &first[0], json!(["quantity"])).await;
    assert_eq!(zeroed["quantity"], json!(0.0));
    let again = office.count_stock(product, 41.0).await;
    assert_eq!(again, first);
}

#[tokio::test]
async fn a_count_that_the_stock_moved_under_applies_nothing() {
    let office = Office::open().await;
    let product = office.storable("p-1");
    let other = office.storable("p-2");
    let outdated = office.count_stock(product, 5.0).await;
    let fresh = office.count_stock(other, 5.0).await;
    office.erp.update(
        "stock.quant",
        outdated[0].as_i64().unwrap(),
        json!({"quantity": 2}),
    );

    let answer = office.apply(&json!([outdated[0], fresh[0]])).await;

    assert_eq!(answer["res_model"], "stock.inventory.conflict");
    assert_eq!(answer["context"]["default_quant_to_fix_ids"], outdated);
    assert_eq!(office.quantities(product, json!({})).await[0], 2.0);
    assert_eq!(office.quantities(other, json!({})).await[0], 0.0);
    let again = office.count_stock(product, 5.0).await;
    assert_eq!((office.apply(&again).await, again), (Value::Null, outdated));
}

#[tokio::test]
async fn one_product_that_is_not_kept_in_stock_refuses_the_whole_create() {
    let office = Office::open().await;
    let kept = office.storable("p-1");
    let consumed = office.erp.insert("product.product", json!({"name": "Paper"}));
    let vals = |product: i64| json!({"product_id": product, "location_id": STOCK, "inventory_quantity": 1});

    let body = json!({"vals_list": [vals(kept), vals(consumed)], "context": {"inventory_mode": true}});
    let (status, answer) = office.call("stock.quant/create", body).await;

    assert_eq!(
        (status, answer["name"].as_str()),
        (422, Some("odoo.exceptions.ValidationError"))
    );
    assert_eq!(
        answer["message"],
        "Quants cannot be created for consumables or services."
    );
    assert_eq!(office.count("stock.quant", json!([])).await, 0);
}

#[tokio::test]
async fn quants_take_direct_writes_and_negative_stock_but_no_unlink() {
    let office = Office::open().await;
    let product = office.storable("p-1");
    let quants = office.count_stock(product, -3.0).await;
    office.apply(&quants).await;
    assert_eq!(office.quantities(product, json!({})).await[0], -3.0);

    let written = office
        .ok(
            "stock.quant/write",
            json!({"ids": quants, "vals": {"quantity": 99}}),
        )
        .await;
    let (status, refused) = office.call("stock.quant/unlink", json!({"ids": quants})).await;

    assert_eq!(written, json!(true));
    assert_eq!(office.quantities(product, json!({})).await[0], 99.0);
    assert_eq!(office.erp.records("stock.move").len(), 1);
    assert_eq!(status, 403);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("No group currently allows")
    );
}

#[tokio::test]
async fn load_counts_on_the_quant_that_is_there_and_applies_nothing() {
    let office = Office::open().await;
    let product = office.storable("p-1");
    office.erp.set_stock(product, STOCK, 8.0);

    let fields = json!(["id", "product_id/.id", "location_id/.id", "inventory_quantity"]);
    let row = json!([["w.q_1", product.to_string(), "5", "55"]]);
    let loaded = office.load("stock.quant", fields.clone(), row.clone()).await;

    let quant = office.read("stock.quant", &loaded["ids"][0], json!([])).await;
    assert_eq!(
        (&quant["quantity"], &quant["inventory_quantity"]),
        (&json!(8.0), &json!(55.0))
    );
    assert_eq!(office.quantities(product, json!({})).await[0], 8.0);
    let again = office.load("stock.quant", fields, row).await;
    assert_eq!(again["ids"], json!(false));
    assert_eq!(
        super::message(&again),
        "Quant's editing is restricted, you can't do this operation."
    );
}

#[tokio::test]
async fn stock_does_not_move_the_time_of_its_product() {
    let office = Office::open().await;
    let product = office.storable("p-1");
    office.erp.set_stock(product, STOCK, 1.0);
    office.erp.age(Duration::from_mins(1));
    let time = async |model: &str, id: i64| {
        office.read(model, &json!(id), json!(["write_date"])).await["write_date"].clone()
    };
    let quant = office.erp.records("stock.quant")[0]["id"].as_i64().unwrap();
    let before = (
        time("product.product", product).await,
        time("stock.quant", quant).await,
    );

    let quants = office.count_stock(product, 2.0).await;
    office.apply(&quants).await;

    assert_eq!(time("product.product", product).await, before.0);
    assert_ne!(time("stock.quant", quant).await, before.1);
}

/// The first call began before the second one committed, so it sees no quant and makes one of its own.
#[tokio::test]
async fn parallel_counts_of_one_product_add_up_to_what_nobody_asked_for() {
    let office = Office::open().await;
    let product = office.storable("p-1");
    let running_on = Fault::RunsOn(Duration::from_millis(400));
    office
        .erp
        .faults()
        .on_path("stock.quant/create", running_on, Some(1));
    let vals = json!({"product_id": product, "location_id": STOCK, "inventory_quantity": 3});
    let body = json!({"vals_list": [vals], "context": {"inventory_mode": true}});
    let cut = office.request("stock.quant/create").json(&body).send().await;
    let quick = office.count_stock(product, 5.0).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while office.count("stock.quant", json!([])).await < 2 {
        assert!(
            std::time::Instant::now() < deadline,
            "the cut call never committed"
        );
    }

    let all = office.ok("stock.quant/search", json!({"domain": []})).await;
    office.apply(&quick).await;
    let late: Vec<&Value> = all
        .as_array()
        .unwrap()
        .iter()
        .filter(|id| **id != quick[0])
        .collect();
    office.apply(&json!(late)).await;

    assert!(cut.is_err());
    assert_eq!(office.quantities(product, json!({})).await[0], 8.0);
}

#[tokio::test]
async fn quantities_follow_the_place_of_the_context_and_open_moves() {
    let office = Office::open().await;
    let product = office.storable("p-1");
    let chicago = office
        .erp
        .insert("stock.warehouse", json!({"name": "Chicago", "code": "CHI"}));
    let warehouse = office
        .read("stock.warehouse", &json!(chicago), json!(["lot_stock_id"]))
        .await;
    let shelf = warehouse["lot_stock_id"][0].as_i64().unwrap();
    office.erp.set_stock(product, STOCK, 10.0);
    office.erp.set_stock(product, shelf, 4.0);
    let sold = json!({
        "product_id": product, "product_uom_qty": 3, "state": "confirmed", "location_id": STOCK, "location_dest_id": 2,
    });
    office.erp.insert("stock.move", sold);

    let everywhere = office.quantities(product, json!({})).await;
    let there = office.quantities(product, json!({"warehouse_id": chicago})).await;
    let here = office.quantities(product, json!({"location": STOCK})).await;

    assert_eq!(warehouse["lot_stock_id"][1], "CHI/Stock");
    assert_eq!(everywhere, json!([14.0, 14.0, 11.0, 3.0]));
    assert_eq!(there, json!([4.0, 4.0, 4.0, 0.0]));
    assert_eq!(here, json!([10.0, 10.0, 7.0, 3.0]));
}

#[tokio::test]
async fn a_limited_user_applies_nothing() {
    let office = Office::open().await;
    office.erp.add_user("limited", "limited-key", false);
    let product = office.storable("p-1");
    let quants = office.count_stock(product, 3.0).await;

    let url = format!(
        "{}/json/2/stock.quant/action_apply_inventory",
        office.erp.base_url()
    );
    let request = office.client.post(url).bearer_auth("limited-key");
    let (status, _) = super::answer(request.json(&json!({"ids": quants}))).await;

    assert_eq!(status, 403);
    assert_eq!(office.quantities(product, json!({})).await[0], 0.0);
}

#[tokio::test]
async fn sums_per_warehouse_need_the_usage_filter() {
    let office = Office::open().await;
    let product = office.storable("p-1");
    office.erp.set_stock(product, STOCK, 10.0);
    let sums = async |domain: Value| {
        let body = json!({
            "domain": domain, "groupby": ["product_id", "warehouse_id"],
            "aggregates": ["quantity:sum", "reserved_quantity:sum", "write_date:max", "__count"],
        });
        office.ok("stock.quant/formatted_read_group", body).await
    };

    let inside = sums(json!([["location_id.usage", "=", "internal"]])).await;
    let below = sums(json!([["location_id", "child_of", 4]])).await;
    let all = sums(json!([])).await;

    assert_eq!(inside.as_array().unwrap().len(), 1);
    assert_eq!(inside[0]["quantity:sum"], json!(10.0));
    assert_eq!(inside[0]["warehouse_id"], json!([1, "My Company"]));
    assert_eq!(inside[0]["product_id"], json!([product, "[p-1] p-1"]));
    assert_eq!(
        inside[0]["__extra_domain"],
        json!([["product_id", "=", product], ["warehouse_id", "=", 1]])
    );
    assert_eq!(below, inside);
    let total: f64 = all
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["quantity:sum"].as_f64().unwrap())
        .sum();
    assert_eq!((all.as_array().unwrap().len(), total), (2, 0.0));
}

#[tokio::test]
async fn what_is_reserved_is_not_free_and_moves_the_time_of_its_quant() {
    let office = Office::open().await;
    let product = office.storable("p-1");
    office.erp.set_stock(product, STOCK, 10.0);
    office.erp.age(Duration::from_mins(1));
    let time = || office.erp.records("stock.quant")[0]["write_date"].clone();
    let before = time();

    let sold = json!({
        "product_id": product, "product_uom_qty": 4, "quantity": 3, "state": "assigned", "location_id": STOCK,
        "location_dest_id": 2,
    });
    office.erp.insert("stock.move", sold);

    assert_eq!(
        office.quantities(product, json!({})).await,
        json!([10.0, 7.0, 6.0, 4.0])
    );
    let quant = &office.erp.records("stock.quant")[0];
    assert_eq!(
        (&quant["reserved_quantity"], &quant["available_quantity"]),
        (&json!(3.0), &json!(7.0))
    );
    assert_ne!(time(), before);
}

#[tokio::test]
async fn stock_and_payments_survive_a_snapshot() {
    let office = Office::open().await;
    let product = office.storable("p-1");
    office.erp.set_stock(product, STOCK, 10.0);
    let partner = office.erp.insert("res.partner", json!({"name": "Ann"}));
    let vals = json!({"partner_id": partner, "amount": 5, "payment_reference": "ch_1"});
    for _ in 0..2 {
        office
            .ok("account.payment/create", json!({"vals_list": [vals]}))
            .await;
    }
    let copy = Office::open().await;

    copy.erp.restore(&office.erp.snapshot()).unwrap();

    for model in ["stock.quant", "stock.move", "account.payment", "product.product"] {
        assert_eq!(copy.erp.records(model), office.erp.records(model));
    }
    assert_eq!(copy.erp.ledger().duplicates().len(), 1);
    assert_eq!(copy.quantities(product, json!({})).await[0], 10.0);
}
