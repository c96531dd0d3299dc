//! Payments are less strict than one would think.

use serde_json::{Value, json};

use super::{Office, message};

const BANK: i64 = 6;

impl Office {
    async fn pay(&self, external: &str, reference: &str, amount: &str) -> Value {
        let partner = self.erp.insert("res.partner", json!({"name": "Ann"}));
        let fields = json!([
            "id",
            "payment_type",
            "partner_type",
            "partner_id/.id",
            "amount",
            "currency_id/.id",
            "date",
            "journal_id/.id",
            "payment_method_line_id/.id",
            "memo",
            "payment_reference"
        ]);
        let row = json!([[
            external,
            "Receive",
            "customer",
            partner.to_string(),
            amount,
            "1",
            "2026-11-22",
            "6",
            "1",
            "WOO-669",
            reference
        ]]);
        self.load("account.payment", fields, row).await
    }

    async fn post(&self, ids: &Value) -> Value {
        self.ok("account.payment/action_post", json!({"ids": ids})).await
    }
}

#[tokio::test]
async fn a_payment_without_an_account_is_posted_without_an_entry() {
    let office = Office::open().await;
    let loaded = office.pay("w.pay_669", "ch_13", "35.28").await;
    let id = loaded["ids"][0].clone();
    let draft = office.read("account.payment", &id, json!([])).await;

    let answer = office.post(&loaded["ids"]).await;
    let again = office.post(&loaded["ids"]).await;

    assert_eq!(
        (&draft["state"], &draft["name"], &draft["payment_type"]),
        (&json!("draft"), &json!(false), &json!("inbound"))
    );
    assert_eq!(
        draft["payment_method_line_id"],
        json!([1, "Manual Payment (Bank)"])
    );
    assert_eq!((answer, again), (Value::Null, Value::Null));
    let posted = office.read("account.payment", &id, json!([])).await;
    assert_eq!(
        (&posted["state"], &posted["name"], &posted["move_id"]),
        (&json!("in_process"), &json!("PAY00001"), &json!(false))
    );
    let effects = office.erp.ledger().effects();
    let told: Vec<(&str, bool)> = effects
        .iter()
        .map(|effect| (effect.entity, effect.changed))
        .collect();
    assert_eq!(told, [("payment", true), ("payment", true), ("payment", false)]);
    assert_eq!(effects[0].key.as_deref(), Some("w.pay_669"));
}

#[tokio::test]
async fn with_an_account_there_is_an_entry_that_a_later_amount_leaves_behind() {
    let office = Office::open().await;
    office
        .erp
        .update("account.payment.method.line", 1, json!({"payment_account_id": 1}));
    let loaded = office.pay("w.pay_1", "", "84.95").await;
    let id = loaded["ids"][0].clone();
    office.post(&loaded["ids"]).await;
    let posted = office.read("account.payment", &id, json!([])).await;

    let write = json!({"ids": [id], "vals": {"amount": 99}});
    office.ok("account.payment/write", write).await;

    assert_eq!(posted["name"], "PBNK1/2026/00001");
    assert_eq!(posted["move_id"][1], "PBNK1/2026/00001 (WOO-669)");
    let entry = office
        .read("account.move", &posted["move_id"][0], json!(["amount_total"]))
        .await;
    let payment = office
        .read("account.payment", &id, json!(["amount", "state"]))
        .await;
    assert_eq!(
        (&payment["amount"], &entry["amount_total"]),
        (&json!(99.0), &json!(84.95))
    );
    let (status, refused) = office.call("account.payment/unlink", json!({"ids": [id]})).await;
    assert_eq!(status, 422);
    assert_eq!(
        refused["message"],
        "A payment with an outstanding account cannot be confirmed without having a journal entry."
    );
    office
        .ok("account.payment/action_draft", json!({"ids": [id]}))
        .await;
    office.post(&loaded["ids"]).await;
    let entry = office
        .read("account.move", &posted["move_id"][0], json!(["amount_total"]))
        .await;
    assert_eq!(entry["amount_total"], json!(99.0));
}

#[tokio::test]
async fn a_second_load_of_a_posted_payment_changes_its_time_only() {
    let office = Office::open().await;
    let loaded = office.pay("w.pay_1", "ch_1", "5").await;
    office.post(&loaded["ids"]).await;
    let row = json!([["w.pay_1", "inbound", "5", "WOO-669"]]);

    let again = office
        .load(
            "account.payment",
            json!(["id", "payment_type", "amount", "memo"]),
            row,
        )
        .await;

    assert_eq!(again["ids"], loaded["ids"]);
    let last = office.erp.ledger().effects().pop().unwrap();
    assert!(!last.changed);
    assert_eq!(office.erp.records("account.payment")[0]["state"], "in_process");
}

#[tokio::test]
async fn cancelling_goes_through_draft() {
    let office = Office::open().await;
    let loaded = office.pay("w.pay_1", "ch_1", "5").await;
    let ids = json!({"ids": loaded["ids"]});
    office.post(&loaded["ids"]).await;

    let draft = office.ok("account.payment/action_draft", ids.clone()).await;
    let canceled = office.ok("account.payment/action_cancel", ids).await;

    assert_eq!((draft, canceled), (Value::Null, Value::Null));
    assert_eq!(office.erp.records("account.payment")[0]["state"], "canceled");
}

#[tokio::test]
async fn only_a_negative_amount_and_a_way_of_another_journal_are_refused() {
    let office = Office::open().await;
    let till = office.erp.insert(
        "account.journal",
        json!({"name": "Till", "type": "cash", "code": "CSH1"}),
    );
    let partner = office.erp.insert("res.partner", json!({"name": "Ann"}));
    let fields = json!(["id", "payment_type", "partner_id/.id", "amount", "journal_id/.id"]);
    let row = |id: &str, amount: &str| json!([id, "inbound", partner.to_string(), amount, "6"]);

    let rows = json!([row("w.p_1", "5"), row("w.p_2", "-5")]);
    let negative = office.load("account.payment", fields.clone(), rows).await;
    let nothing = office
        .load("account.payment", fields, json!([row("w.p_3", "0")]))
        .await;
    let wrong_way = json!({"payment_type": "outbound", "partner_id": partner, "amount": 1, "journal_id": BANK,
        "payment_method_line_id": 1});
    let wrong_way = office
        .call("account.payment/create", json!({"vals_list": [wrong_way]}))
        .await;
    let elsewhere =
        json!({"partner_id": partner, "amount": 1, "journal_id": till, "payment_method_line_id": 1});
    let elsewhere = office
        .call("account.payment/create", json!({"vals_list": [elsewhere]}))
        .await;

    let told = &negative["messages"][0];
    assert_eq!(message(&negative), "The payment amount cannot be negative.");
    assert_eq!((&told["record"], &negative["ids"]), (&json!(1), &json!(false)));
    assert_eq!(nothing["messages"], json!([]));
    assert_eq!(wrong_way.0, 200);
    assert_eq!(elsewhere.0, 422);
    let journal = office.read("account.journal", &json!(till), json!([])).await;
    assert_eq!(
        journal["inbound_payment_method_line_ids"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[tokio::test]
async fn a_state_that_is_loaded_posts_nothing() {
    let office = Office::open().await;
    let loaded = office.pay("w.pay_1", "ch_1", "5").await;
    let row = json!([["w.pay_1", "in_process"]]);

    office.load("account.payment", json!(["id", "state"]), row).await;

    let payment = office
        .read("account.payment", &loaded["ids"][0], json!(["state", "name"]))
        .await;
    assert_eq!(
        (&payment["state"], &payment["name"]),
        (&json!("in_process"), &json!(false))
    );
}

#[tokio::test]
async fn one_transaction_paid_twice_is_a_duplicate_until_one_is_cancelled() {
    let office = Office::open().await;
    office.pay("w.pay_1", "ch_13", "35.28").await;
    office.pay("w.pay_2", "ch_14", "35.28").await;
    assert_eq!(office.erp.ledger().duplicates(), []);

    let twice = office.pay("w.pay_3", "ch_13", "35.28").await;

    let found = office.erp.ledger().duplicates();
    assert_eq!((found.len(), found[0].entity), (1, "payment"));
    office
        .ok("account.payment/action_cancel", json!({"ids": twice["ids"]}))
        .await;
    assert_eq!(office.erp.ledger().duplicates(), []);
}

#[tokio::test]
async fn a_limited_user_sees_no_payments_and_who_paid_stays() {
    let office = Office::open().await;
    office.erp.add_user("limited", "limited-key", false);
    office.pay("w.pay_1", "ch_13", "1").await;
    let partner = office.erp.records("account.payment")[0]["partner_id"][0].clone();

    let unlink = office.call("res.partner/unlink", json!({"ids": [partner]})).await;
    let url = format!("{}/json/2/account.payment/search_read", office.erp.base_url());
    let request = office.client.post(url).bearer_auth("limited-key");
    let (status, answer) = super::answer(request.json(&json!({"domain": []}))).await;

    assert_eq!(
        (unlink.0, unlink.1["name"].as_str()),
        (422, Some("odoo.exceptions.UserError"))
    );
    assert_eq!(
        (status, answer["name"].as_str()),
        (403, Some("odoo.exceptions.AccessError"))
    );
}

#[tokio::test]
async fn another_direction_or_journal_brings_its_own_way() {
    let office = Office::open().await;
    let till = json!({"name": "Till", "type": "cash", "code": "CSH1"});
    let till = office.erp.insert("account.journal", till);
    let id = office.pay("w.pay_1", "ch_1", "5").await["ids"][0].clone();
    let way = async |vals: Value| {
        let body = json!({"ids": [id], "vals": vals});
        office.ok("account.payment/write", body).await;
        let read = office
            .read("account.payment", &id, json!(["payment_method_line_id"]))
            .await;
        read["payment_method_line_id"].clone()
    };

    assert_eq!(
        way(json!({"payment_type": "outbound"})).await,
        json!([2, "Manual Payment (Bank)"])
    );
    assert_eq!(
        way(json!({"journal_id": till})).await,
        json!([4, "Manual Payment (Till)"])
    );
}
