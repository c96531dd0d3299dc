use serde_json::{Value, json};

use super::{Shop, quietly};

fn refusal(answer: &(u16, Value)) -> &str {
    assert_eq!(
        (answer.0, answer.1["name"].as_str()),
        (422, Some("odoo.exceptions.UserError")),
        "{answer:?}"
    );
    answer.1["message"].as_str().unwrap()
}

#[tokio::test]
async fn confirming_makes_a_delivery_and_overwrites_the_date() {
    let shop = Shop::stocked(3.0).await;
    let line = [
        ("product_uom_qty", "5"),
        ("price_unit", "20"),
        ("tax_ids/.id", ""),
    ];
    let head = [("date_order", "2026-01-02 03:04:05")];
    let id = shop.order("o_1", &head, &[&line]).await["ids"][0].clone();

    shop.confirm(&id).await;

    let order = shop
        .read(
            &id,
            json!(["state", "date_order", "picking_ids", "invoice_status"]),
        )
        .await;
    assert_eq!(
        (&order["state"], &order["invoice_status"]),
        (&json!("sale"), &json!("to invoice"))
    );
    assert_ne!(order["date_order"], "2026-01-02 03:04:05");
    let picking = shop
        .office
        .read(
            "stock.picking",
            &order["picking_ids"][0],
            json!(["name", "state", "origin"]),
        )
        .await;
    assert_eq!(
        (&picking["name"], &picking["state"]),
        (&json!("WH/OUT/00001"), &json!("assigned"))
    );
    let moves = shop.moves(&id).await;
    assert_eq!(moves.len(), 1);
    assert_eq!(
        (&moves[0]["product_uom_qty"], &moves[0]["quantity"]),
        (&json!(5.0), &json!(3.0))
    );
    assert_eq!(moves[0]["state"], "partially_available");
}

#[tokio::test]
async fn one_order_in_a_wrong_state_refuses_all() {
    let shop = Shop::open().await;
    let (first, second) = (shop.simple("o_1", "1").await, shop.simple("o_2", "1").await);
    shop.confirm(&first).await;

    let both = json!({"ids": [second, first]});
    let both = shop.office.call("sale.order/action_confirm", both).await;

    assert_eq!(
        refusal(&both),
        "Some orders are not in a state requiring confirmation."
    );
    assert_eq!(shop.read(&second, json!(["state"])).await["state"], "draft");
}

#[tokio::test]
async fn a_line_without_a_product_can_not_be_confirmed() {
    let shop = Shop::open().await;
    let line = json!({"name": "Free text line", "product_uom_qty": 1, "price_unit": 3});
    let vals = json!({"partner_id": shop.partner, "order_line": [[0, 0, line]]});
    let id = shop
        .office
        .ok("sale.order/create", json!({"vals_list": [vals]}))
        .await[0]
        .clone();

    let answer = shop.act("action_confirm", &id).await;

    assert!(refusal(&answer).starts_with("Some order lines are missing a product"));
}

#[tokio::test]
async fn what_is_confirmed_is_not_deleted() {
    let shop = Shop::open().await;
    let id = shop.simple("o_1", "1").await;
    let line = shop.lines(&id, json!(["name"])).await[0]["id"].clone();
    shop.confirm(&id).await;

    let order = shop.office.call("sale.order/unlink", json!({"ids": [id]})).await;
    let of_line = shop
        .office
        .call("sale.order.line/unlink", json!({"ids": [line]}))
        .await;
    let command = json!({"ids": [id], "vals": {"order_line": [[2, line, 0]]}});
    let command = shop.office.call("sale.order/write", command).await;
    let partner = shop
        .office
        .call("res.partner/unlink", json!({"ids": [shop.partner]}))
        .await;
    let product = shop
        .office
        .call("product.product/unlink", json!({"ids": [shop.product]}))
        .await;

    assert!(refusal(&order).starts_with("You can not delete a sent quotation or a confirmed sales order."));
    assert!(refusal(&of_line).ends_with("Set the quantity to 0 instead."));
    assert_eq!(refusal(&command), refusal(&of_line));
    refusal(&partner);
    assert_eq!(product.1["name"], "odoo.exceptions.ValidationError");
    shop.act("action_cancel", &id).await;
    assert_eq!(
        shop.office.ok("sale.order/unlink", json!({"ids": [id]})).await,
        json!(true)
    );
    assert_eq!(shop.office.count("sale.order.line", json!([])).await, 0);
}

#[tokio::test]
async fn a_cancelled_order_starts_over_with_a_delivery_of_its_own() {
    let shop = Shop::open().await;
    let id = shop.simple("o_1", "1").await;
    let line = shop.lines(&id, json!(["name"])).await[0]["id"].clone();
    shop.confirm(&id).await;
    assert_eq!(shop.act("action_cancel", &id).await, (200, json!(true)));

    let product = shop.write_line(&line, json!({"product_id": shop.product})).await;
    shop.act("action_draft", &id).await;
    shop.confirm(&id).await;

    assert_eq!(
        refusal(&product),
        "You cannot modify the product of this order line."
    );
    let states: Vec<Value> = shop
        .moves(&id)
        .await
        .into_iter()
        .map(|one| one["state"].clone())
        .collect();
    assert_eq!(states, [json!("cancel"), json!("confirmed")]);
}

#[tokio::test]
async fn a_locked_order_refuses_its_lines_and_cancelling() {
    let shop = Shop::open().await;
    let id = shop.simple("o_1", "1").await;
    let line = shop.lines(&id, json!(["name"])).await[0]["id"].clone();
    shop.confirm(&id).await;
    assert_eq!(shop.act("action_lock", &id).await, (200, Value::Null));

    let same = shop.write_line(&line, json!({"product_uom_qty": 1})).await;
    let cancel = shop.act("action_cancel", &id).await;

    assert_eq!(
        refusal(&same),
        "It is forbidden to modify the following fields in a locked order:\nQuantity"
    );
    assert_eq!(
        refusal(&cancel),
        "You cannot cancel a locked order. Please unlock it first."
    );
    shop.act("action_unlock", &id).await;
    assert_eq!(shop.act("action_cancel", &id).await.0, 200);
    let none = shop
        .office
        .execute("sale.order", "action_unlock", json!([[id]]))
        .await;
    assert_eq!((none.get("result"), none.get("error")), (None, None));
}

#[tokio::test]
async fn writing_the_state_sells_without_a_delivery_and_loading_it_with_one() {
    let shop = Shop::open().await;
    let written = shop.simple("o_1", "1").await;
    let body = json!({"ids": [written], "vals": {"state": "sale"}, "context": quietly()});
    shop.office.ok("sale.order/write", body).await;
    let line = [("price_unit", "1"), ("tax_ids/.id", "")];
    let head = [
        ("state", "sale"),
        ("date_order", "2026-01-02 03:04:05"),
        ("user_id/.id", ""),
    ];
    let before = shop.office.erp.noise();

    let loaded = shop.order("o_2", &head, &[&line, &line, &line]).await["ids"][0].clone();

    let fields = json!(["state", "picking_ids", "date_order"]);
    let written = shop.read(&written, fields.clone()).await;
    assert_eq!(
        (&written["state"], &written["picking_ids"]),
        (&json!("sale"), &json!([]))
    );
    let loaded = shop.read(&loaded, fields).await;
    assert_eq!(loaded["date_order"], "2026-01-02 03:04:05");
    assert_eq!(loaded["picking_ids"].as_array().unwrap().len(), 1);
    let after = shop.office.erp.noise();
    assert_eq!(
        (after.messages - before.messages, after.moves - before.moves),
        (3, 3)
    );
}

#[tokio::test]
async fn less_comes_back_in_a_second_picking_and_more_is_added() {
    let shop = Shop::open().await;
    let id = shop.simple("o_1", "3").await;
    let line = shop.lines(&id, json!(["name"])).await[0]["id"].clone();
    shop.confirm(&id).await;
    shop.write_line(&line, json!({"product_uom_qty": 5, "price_unit": 20}))
        .await;
    let more = shop.moves(&id).await;
    let before = shop.office.erp.noise();

    shop.write_line(&line, json!({"product_uom_qty": 1, "price_unit": 20}))
        .await;

    assert_eq!(more.len(), 2);
    assert_eq!(more[0]["picking_id"], more[1]["picking_id"]);
    assert_eq!(more[1]["product_uom_qty"], 2.0);
    let less = shop.moves(&id).await;
    assert_eq!((less.len(), &less[2]["product_uom_qty"]), (3, &json!(4.0)));
    assert_eq!(less[2]["picking_id"][1], "WH/IN/00001");
    let after = shop.office.erp.noise();
    assert_eq!(
        (
            after.activities - before.activities,
            after.pickings - before.pickings
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn a_delivery_asks_unless_the_context_answers() {
    let shop = Shop::open().await;
    let id = shop.simple("o_1", "2").await;
    shop.confirm(&id).await;
    let picking = shop.read(&id, json!(["picking_ids"])).await["picking_ids"][0].clone();
    let found = shop.moves(&id).await[0]["id"].clone();
    let row = json!([[found.to_string(), "2", "1"]]);
    shop.office
        .load("stock.move", json!([".id", "quantity", "picked"]), row)
        .await;
    let validate = async |context: Value| {
        let body = json!({"ids": [picking], "context": context});
        shop.office.ok("stock.picking/button_validate", body).await
    };

    let asked = validate(json!({"skip_backorder": true})).await;
    let state = shop
        .office
        .read("stock.picking", &picking, json!(["state"]))
        .await;
    let done = validate(json!({"skip_backorder": true, "skip_sms": true})).await;

    assert_eq!(
        (&asked["res_model"], &state["state"]),
        (&json!("confirm.stock.sms"), &json!("assigned"))
    );
    assert_eq!(done, json!(true));
    assert_eq!(shop.moves(&id).await[0]["state"], "done");
    // Goods that were never there leave all the same.
    let product = shop
        .office
        .read("product.product", &json!(shop.product), json!(["qty_available"]))
        .await;
    assert_eq!(product["qty_available"], -2.0);
    assert_eq!(
        shop.lines(&id, json!(["qty_delivered"])).await[0]["qty_delivered"],
        2.0
    );
}

#[tokio::test]
async fn a_service_is_not_delivered() {
    let shop = Shop::open().await;
    let service = json!({"name": "Shipping", "type": "service", "list_price": 0});
    let service = shop.office.erp.insert("product.product", service).to_string();
    let line = [
        ("product_id/.id", service.as_str()),
        ("price_unit", "7.95"),
        ("tax_ids/.id", ""),
    ];
    let id = shop.order("o_1", &[], &[&line]).await["ids"][0].clone();

    shop.confirm(&id).await;

    assert_eq!(
        shop.read(&id, json!(["picking_ids"])).await["picking_ids"],
        json!([])
    );
}

#[tokio::test]
async fn a_user_without_the_right_makes_no_orders() {
    let shop = Shop::open().await;
    shop.office.erp.add_user("limited", "limited-key", false);
    let call =
        json!(["sandbox", 5, "limited-key", "sale.order", "create", [{"partner_id": shop.partner}], {}]);

    let answer = shop.office.rpc("object", "execute_kw", call).await;

    let error = &answer["error"]["data"];
    assert_eq!(error["name"], "odoo.exceptions.AccessError");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("You are not allowed to create 'Sales Order' (sale.order) records."));
}
