//! Credit notes to the cent, and fixed once posted.

use serde_json::{Value, json};

use super::{Office, message};

impl Office {
    async fn credit(&self, extra: &Value) -> Value {
        if self.erp.records("product.product").is_empty() {
            let vals = json!({"name": "Shirt", "type": "service"});
            self.erp.insert("product.product", vals);
            self.erp.insert("res.partner", json!({"name": "Ann"}));
        }
        let fields = json!([
            "id",
            "move_type",
            "partner_id/.id",
            "invoice_date",
            "ref",
            "invoice_line_ids/id",
            "invoice_line_ids/product_id/.id",
            "invoice_line_ids/name",
            "invoice_line_ids/quantity",
            "invoice_line_ids/price_unit",
            "invoice_line_ids/tax_ids/.id",
            "invoice_line_ids/extra_tax_data"
        ]);
        let partner = self.erp.records("res.partner").last().unwrap()["id"].to_string();
        let product = self.erp.records("product.product")[0]["id"].to_string();
        let rows = json!([
            [
                "w.ref_1",
                "out_refund",
                partner,
                "2026-11-22",
                "WOO-661",
                "w.rl_1",
                product,
                "Shirt",
                "1",
                "16.2",
                "1",
                extra.to_string()
            ],
            ["", "", "", "", "", "w.rl_2", "", "Rounding", "1", "-0.01", "", ""]
        ]);
        self.load("account.move", fields, rows).await
    }
}

fn forced() -> Value {
    json!({
        "manual_tax_amounts": {"1": {"tax_amount_currency": 1.44, "base_amount_currency": 16.2}},
        "manual_total_excluded_currency": 16.2, "currency_id": 1, "price_unit": 16.2, "discount": 0, "quantity": 1,
        "rate": 1.0,
    })
}

#[tokio::test]
async fn forced_taxes_count_while_the_line_is_what_they_were_made_for() {
    let office = Office::open().await;
    let loaded = office.credit(&forced()).await;
    let id = loaded["ids"][0].clone();
    let totals = json!(["amount_untaxed", "amount_tax", "amount_total"]);

    let exact = office.read("account.move", &id, totals.clone()).await;
    let again = office.credit(&forced()).await;
    let mut other = forced();
    other["currency_id"] = json!(125);
    office.credit(&other).await;
    let computed = office.read("account.move", &id, totals).await;

    assert_eq!(
        exact,
        json!({"id": id, "amount_untaxed": 16.19, "amount_tax": 1.44, "amount_total": 17.63})
    );
    assert_eq!(again["ids"], loaded["ids"]);
    assert_eq!(office.count("account.move.line", json!([])).await, 2);
    assert_eq!(computed["amount_tax"], json!(2.43));
    assert_eq!(office.erp.ledger().created("credit_note"), 1);
    assert_eq!(office.erp.ledger().updated("credit_note"), 2);
}

#[tokio::test]
async fn a_posted_credit_note_keeps_all_but_its_reference() {
    let office = Office::open().await;
    let ids = office.credit(&forced()).await["ids"].clone();

    office.ok("account.move/action_post", json!({"ids": ids})).await;

    let posted = office
        .read(
            "account.move",
            &ids[0],
            json!(["name", "state", "amount_residual"]),
        )
        .await;
    assert_eq!(
        (&posted["name"], &posted["state"], &posted["amount_residual"]),
        (&json!("RINV/2026/00001"), &json!("posted"), &json!(17.63))
    );
    let again = office.credit(&forced()).await;
    assert_eq!(again["ids"], json!(false));
    assert!(
        message(&again).starts_with("You cannot modify the following readonly fields on a posted move"),
        "{again}"
    );
    let renamed = json!([["w.ref_1", "WOO-661b"]]);
    let renamed = office.load("account.move", json!(["id", "ref"]), renamed).await;
    assert_eq!(renamed["ids"], ids);
    let twice = office.call("account.move/action_post", json!({"ids": ids})).await;
    assert_eq!(
        (twice.0, twice.1["name"].as_str()),
        (422, Some("odoo.exceptions.UserError"))
    );
}

#[tokio::test]
async fn a_payment_that_names_a_move_makes_it_paid_while_all_stays_due() {
    let office = Office::open().await;
    let ids = office.credit(&forced()).await["ids"].clone();
    office.ok("account.move/action_post", json!({"ids": ids})).await;
    let partner = office.erp.records("res.partner").last().unwrap()["id"].clone();
    let vals = json!({"payment_type": "outbound", "partner_id": partner, "amount": 17.63, "journal_id": 6});
    let payment = office
        .ok("account.payment/create", json!({"vals_list": [vals]}))
        .await;
    office
        .ok("account.payment/action_post", json!({"ids": payment}))
        .await;
    office
        .ok(
            "account.payment/write",
            json!({"ids": payment, "vals": {"invoice_ids": [[6, 0, ids]]}}),
        )
        .await;

    let paid = office
        .read(
            "account.move",
            &ids[0],
            json!(["payment_state", "amount_residual"]),
        )
        .await;

    assert_eq!(
        (&paid["payment_state"], &paid["amount_residual"]),
        (&json!("paid"), &json!(17.63))
    );
}
