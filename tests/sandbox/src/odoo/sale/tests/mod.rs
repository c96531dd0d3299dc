//! The traps of orders, through real HTTP.

mod load;
mod noise;
mod price;
mod recorded;
mod state;
mod tax;
mod version;

use serde_json::{Value, json};

use crate::odoo::tests::Office;

/// The context of a careful writer (facts: mapping-odoo 0).
fn quietly() -> Value {
    json!({
        "tracking_disable": true, "mail_create_nolog": true, "mail_notrack": true, "mail_create_nosubscribe": true,
    })
}

/// An office with a customer and a product of 20.00 without taxes.
struct Shop {
    office: Office,
    partner: i64,
    product: i64,
}

impl Shop {
    async fn open() -> Self {
        Self::stocked(0.0).await
    }

    /// With so many of a storable product on hand.
    async fn stocked(on_hand: f64) -> Self {
        let office = Office::open().await;
        let partner = office.erp.insert("res.partner", json!({"name": "Ann O'Neil"}));
        let product = json!({
            "name": "Beanie", "default_code": "B-1", "list_price": 20, "taxes_id": [[6, 0, []]], "is_storable": true,
        });
        let product = office.erp.insert("product.product", product);
        if on_hand > 0.0 {
            office.erp.set_stock(product, 5, on_hand);
        }
        Self {
            office,
            partner,
            product,
        }
    }

    /// Loads one order quietly: its columns after the customer, and its lines' cells after the product.
    async fn order(&self, name: &str, columns: &[(&str, &str)], lines: &[&[(&str, &str)]]) -> Value {
        let mut fields = vec!["id".to_owned(), "partner_id/.id".to_owned()];
        fields.extend(columns.iter().map(|(column, _)| (*column).to_owned()));
        let head: Vec<String> = [format!("woo1.{name}"), self.partner.to_string()]
            .into_iter()
            .chain(columns.iter().map(|(_, cell)| (*cell).to_owned()))
            .collect();
        let width = head.len();
        let has_product = lines
            .iter()
            .any(|line| line.iter().any(|(column, _)| column.starts_with("product_id")));
        fields.push("order_line/id".to_owned());
        if !has_product {
            fields.push("order_line/product_id/.id".to_owned());
        }
        let of_lines = lines.first().into_iter().flat_map(|line| line.iter());
        fields.extend(of_lines.map(|(column, _)| format!("order_line/{column}")));
        let data: Vec<Vec<String>> = lines
            .iter()
            .enumerate()
            .map(|(number, line)| {
                let mut row = if number == 0 {
                    head.clone()
                } else {
                    vec![String::new(); width]
                };
                row.push(format!("woo1.{name}_l{number}"));
                if !has_product {
                    row.push(self.product.to_string());
                }
                row.extend(line.iter().map(|(_, cell)| (*cell).to_owned()));
                row
            })
            .collect();
        let body = json!({"fields": fields, "data": data, "context": quietly()});
        self.office.ok("sale.order/load", body).await
    }

    /// Loads one order of one line and returns its id.
    async fn simple(&self, name: &str, quantity: &str) -> Value {
        let line = [
            ("product_uom_qty", quantity),
            ("price_unit", "20"),
            ("tax_ids/.id", ""),
        ];
        let answer = self.order(name, &[("user_id/.id", "")], &[&line]).await;
        assert_eq!(answer["messages"], json!([]), "{answer}");
        answer["ids"][0].clone()
    }

    async fn act(&self, action: &str, id: &Value) -> (u16, Value) {
        let body = json!({"ids": [id], "context": quietly()});
        self.office.call(&format!("sale.order/{action}"), body).await
    }

    async fn confirm(&self, id: &Value) {
        let answer = self.act("action_confirm", id).await;
        assert_eq!(answer, (200, json!(true)));
    }

    async fn read(&self, id: &Value, fields: Value) -> Value {
        self.office.read("sale.order", id, fields).await
    }

    async fn lines(&self, id: &Value, fields: Value) -> Vec<Value> {
        let query = json!({"domain": [["order_id", "=", id]], "fields": fields});
        let rows = self.office.ok("sale.order.line/search_read", query).await;
        rows.as_array().unwrap().clone()
    }

    async fn write_line(&self, id: &Value, vals: Value) -> (u16, Value) {
        let body = json!({"ids": [id], "vals": vals, "context": quietly()});
        self.office.call("sale.order.line/write", body).await
    }

    fn tax(&self, name: &str, amount: f64) -> i64 {
        let vals = json!({"name": name, "amount": amount});
        self.office.erp.insert("account.tax", vals)
    }

    async fn moves(&self, id: &Value) -> Vec<Value> {
        let query = json!({
            "domain": [["sale_line_id.order_id", "=", id]], "order": "id",
            "fields": ["product_uom_qty", "quantity", "state", "picking_id", "location_dest_id"],
        });
        let rows = self.office.ok("stock.move/search_read", query).await;
        rows.as_array().unwrap().clone()
    }
}
