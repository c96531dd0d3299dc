//! What was recorded of two real servers, where the folder beside the project exists.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::Shop;
use crate::odoo::tests::Office;

fn recorded(file: &str) -> Option<Value> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("../shared/recorded").join(file)).ok()?;
    Some(serde_json::from_str(&text).expect("a recording is JSON"))
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap_or_default().parse().unwrap_or_default()
}

#[tokio::test]
async fn every_recorded_order_is_read_as_it_was() {
    let Some(Value::Object(models)) = recorded("odoo.json") else {
        return;
    };
    let office = Office::open().await;
    office.erp.put_recorded(&models);

    for model in ["sale.order", "sale.order.line", "account.tax", "res.currency"] {
        for row in models[model].as_array().unwrap() {
            let fields: Vec<&String> = row.as_object().unwrap().keys().collect();
            let shown = office.read(model, &row["id"], json!(fields)).await;
            assert_eq!(shown, *row, "{model}");
        }
    }
    let partner = models["res.partner"][0]["id"].clone();
    let next = json!({"vals_list": [{"partner_id": partner}]});
    let next = office.ok("sale.order/create", next).await[0].clone();
    assert_eq!(
        office.read("sale.order", &next, json!(["name"])).await["name"],
        "S00025"
    );
}

#[tokio::test]
async fn the_stored_amounts_of_recorded_orders_are_those_that_are_computed() {
    let Some(Value::Object(models)) = recorded("odoo.json") else {
        return;
    };
    let office = Office::open().await;
    office.erp.put_recorded(&models);

    for order in models["sale.order"].as_array().unwrap() {
        office.erp.as_person(|session| {
            for line in order["order_line"].as_array().unwrap() {
                let vals = json!({"discount": 0.0});
                let vals = vals.as_object().cloned().unwrap_or_default();
                session
                    .write("sale.order.line", &[line.as_i64().unwrap()], &vals)
                    .unwrap();
            }
        });
        let fields = json!(["amount_untaxed", "amount_tax", "amount_total"]);
        let shown = office.read("sale.order", &order["id"], fields).await;
        for name in ["amount_untaxed", "amount_tax", "amount_total"] {
            assert_eq!(shown[name], order[name], "{name} of {}", order["name"]);
        }
    }
}

/// The items, shipping and fees of a shop's order.
fn lines(order: &Value) -> Vec<&Value> {
    let lists = ["line_items", "shipping_lines", "fee_lines"];
    lists
        .iter()
        .flat_map(|list| order[list].as_array().unwrap())
        .collect()
}

/// Creates a shop's order, with its taxes forced or left to be computed, and returns its total.
async fn total(shop: &Shop, taxes: &Map<String, Value>, order: &Value, forces: bool) -> f64 {
    let lines = lines(order).into_iter().map(|line| {
        let quantity = line["quantity"].as_f64().unwrap_or(1.0);
        let total = number(&line["total"]);
        let price = total / quantity;
        let of_line: Vec<&Value> = line["taxes"].as_array().into_iter().flatten().collect();
        let ids: Vec<&Value> = of_line.iter().map(|tax| &taxes[&tax["id"].to_string()]).collect();
        let mut vals = json!({
            "product_id": shop.product, "product_uom_qty": quantity, "price_unit": price, "discount": 0,
            "technical_price_unit": 0, "tax_ids": [[6, 0, ids]],
        });
        if forces && !of_line.is_empty() {
            let amounts = of_line.iter().zip(&ids).map(|(tax, id)| {
                let amount =
                    json!({"tax_amount_currency": number(&tax["total"]), "base_amount_currency": total});
                (id.to_string(), amount)
            });
            vals["extra_tax_data"] = json!({
                "manual_tax_amounts": amounts.collect::<Map<_, _>>(), "manual_total_excluded_currency": total,
                "currency_id": 1, "price_unit": price, "discount": 0, "quantity": quantity, "rate": 1.0,
            });
        }
        json!([0, 0, vals])
    });
    let vals = json!({"partner_id": shop.partner, "order_line": lines.collect::<Vec<_>>()});
    let id = shop
        .office
        .ok("sale.order/create", json!({"vals_list": [vals]}))
        .await[0]
        .clone();
    shop.read(&id, json!(["amount_total"])).await["amount_total"]
        .as_f64()
        .unwrap()
}

#[tokio::test]
async fn recorded_shop_orders_are_exact_with_forced_taxes_and_two_are_off_without() {
    let Some(store) = recorded("woocommerce.json") else {
        return;
    };
    let shop = Shop::open().await;
    let mut taxes = Map::new();
    for rate in store["taxes"].as_array().unwrap() {
        let name = format!("{} ({})", rate["name"].as_str().unwrap(), rate["id"]);
        let id = shop.tax(&name, number(&rate["rate"]));
        taxes.insert(rate["id"].to_string(), json!(id));
    }

    let (mut exact, mut off) = (0, Vec::new());
    for order in store["orders"].as_array().unwrap() {
        let told = number(&order["total"]);
        if (total(&shop, &taxes, order, true).await - told).abs() < 1e-9 {
            exact += 1;
        }
        let plain = total(&shop, &taxes, order, false).await;
        if (plain - told).abs() > 1e-9 {
            off.push((order["id"].as_i64().unwrap(), plain));
        }
    }

    assert_eq!(exact, 14);
    assert_eq!(off, [(662, 275.40), (655, 70.55)]);
}
