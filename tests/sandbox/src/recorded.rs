//! Loads what two real servers held, with its ids, from a folder that is not part of the project.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::odoo::Erp;
use crate::woocommerce::Store;

/// How much was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    pub store_records: usize,
    pub erp_records: usize,
}

/// Why a recording could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum RecordedError {
    #[error("could not read `{path}`")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{path}` is no recording")]
    Malformed {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("`{path}` holds no object")]
    NoObject { path: PathBuf },
}

/// Loads `woocommerce.json` and `odoo.json` of a folder; nothing of it is counted in a ledger.
///
/// # Errors
/// When a file is missing or is no JSON object.
pub fn load(folder: &Path, store: &Store, erp: &Erp) -> Result<Loaded, RecordedError> {
    let shop = read(folder.join("woocommerce.json"))?;
    let office = read(folder.join("odoo.json"))?;
    let Value::Object(models) = office else {
        return Err(RecordedError::NoObject {
            path: folder.join("odoo.json"),
        });
    };
    Ok(Loaded {
        store_records: store.put_recorded(&shop),
        erp_records: erp.put_recorded(&models),
    })
}

fn read(path: PathBuf) -> Result<Value, RecordedError> {
    let text = std::fs::read_to_string(&path).map_err(|source| RecordedError::Unreadable {
        path: path.clone(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|source| RecordedError::Malformed { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sandbox;

    const SHOP: &str = r#"{
        "categories": [{"id": 21, "name": "Decor", "slug": "decor", "parent": 0}],
        "attributes": [{"id": 1, "name": "Color", "slug": "pa_color", "order_by": "menu_order"}],
        "products": [{"id": 627, "name": "Hoodie &amp; Cap", "slug": "hoodie", "type": "variable", "status": "publish",
            "date_created_gmt": "2026-11-22T19:19:34", "date_modified_gmt": "2026-11-22T19:19:35", "sku": "woo-hoodie",
            "description": "<p>x</p>\n", "categories": [{"id": 21}], "variations": [650], "parent_id": 0,
            "attributes": [{"id": 1, "name": "Color", "position": 0, "visible": true, "variation": true,
                "options": ["Blue", "Red"]}]}],
        "variations": {"627": [{"id": 650, "type": "variation", "parent_id": 627, "status": "publish",
            "sku": "woo-hoodie", "regular_price": "45", "date_created_gmt": "2026-11-22T19:19:34",
            "date_modified_gmt": "2026-11-22T19:19:35", "attributes": [{"id": 1, "name": "Color", "option": "Blue"}]}]},
        "customers": [{"id": 62, "email": "ann@example.com", "username": "ann", "role": "customer",
            "billing": {"city": "Buffalo"}}],
        "orders": [{"id": 669, "date_modified_gmt": "2026-11-22T19:19:35"}],
        "refunds": {"669": [{"id": 670}]}
    }"#;
    const OFFICE: &str = r#"{
        "res.partner": [{"id": 40, "name": "Child", "parent_id": [14, "Jackson"], "write_date": "2026-11-22 19:20:36"},
            {"id": 14, "name": "Jackson", "is_company": true, "active": true}],
        "sale.order": [{"id": 1, "name": "S00001", "partner_id": [14, "Jackson"], "amount_total": 1740.0,
            "write_date": "2026-11-22 19:21:09"}],
        "ir.model.data": [{"id": 3, "module": "base", "name": "jackson", "model": "res.partner", "res_id": 14}]
    }"#;

    #[tokio::test]
    async fn recorded_rows_keep_their_ids_times_and_texts() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("woocommerce.json"), SHOP).unwrap();
        std::fs::write(folder.path().join("odoo.json"), OFFICE).unwrap();
        let sandbox = Sandbox::start().await.unwrap();

        let loaded = load(folder.path(), &sandbox.store, &sandbox.erp).unwrap();

        assert_eq!(
            loaded,
            Loaded {
                store_records: 7,
                erp_records: 4
            }
        );
        let hoodie = sandbox.store.product(627).unwrap();
        assert_eq!(hoodie["name"], "Hoodie &amp; Cap");
        assert_eq!(hoodie["date_modified_gmt"], "2026-11-22T19:19:35");
        assert_eq!(hoodie["categories"][0]["name"], "Decor");
        assert_eq!(hoodie["variations_full"][0]["attributes"][0]["option"], "Blue");
        let partners = sandbox.erp.records("res.partner");
        let jackson = partners.iter().find(|partner| partner["id"] == 14).unwrap();
        assert_eq!(jackson["external_id"], "base.jackson");
        assert_eq!(sandbox.erp.records("sale.order")[0]["partner_id"][1], "Jackson");
        assert_eq!(sandbox.store.ledger().effects().len(), 0);
    }

    /// Reads a real recording when `LOCKSTEP_RECORDED` names its folder; it is not part of the project.
    #[tokio::test]
    async fn a_real_recording_comes_back_as_it_was() {
        let Some(folder) = std::env::var_os("LOCKSTEP_RECORDED").map(PathBuf::from) else {
            return;
        };
        let sandbox = Sandbox::start().await.unwrap();

        let mut different = Vec::new();
        load(&folder, &sandbox.store, &sandbox.erp).unwrap();

        let recorded = read(folder.join("woocommerce.json")).unwrap();
        let ignored = [
            "_links",
            "permalink",
            "price_html",
            "related_ids",
            "rating_count",
            "average_rating",
            "total_sales",
        ];
        for product in recorded["products"].as_array().unwrap() {
            let shown = sandbox.store.product(product["id"].as_u64().unwrap()).unwrap();
            for (field, value) in product
                .as_object()
                .unwrap()
                .iter()
                .filter(|(field, _)| !ignored.contains(&field.as_str()))
            {
                note(
                    &mut different,
                    &shown[field],
                    value,
                    &format!("{field} of product {}", product["id"]),
                );
            }
        }
        for customer in recorded["customers"].as_array().unwrap() {
            let shown = sandbox
                .store
                .customers()
                .into_iter()
                .find(|shown| shown["id"] == customer["id"])
                .unwrap();
            for field in [
                "email",
                "billing",
                "shipping",
                "meta_data",
                "date_modified",
                "username",
                "role",
            ] {
                let what = format!("{field} of customer {}", customer["id"]);
                note(&mut different, &shown[field], &customer[field], &what);
            }
        }
        let recorded = read(folder.join("odoo.json")).unwrap();
        for (model, rows) in recorded.as_object().unwrap() {
            if model == "ir.model.data" {
                continue;
            }
            let shown = sandbox.erp.records(model);
            for row in rows.as_array().unwrap() {
                let shown = shown.iter().find(|shown| shown["id"] == row["id"]).unwrap();
                for (field, value) in row.as_object().unwrap() {
                    let Some(shown) = shown.get(field) else { continue };
                    note(
                        &mut different,
                        shown,
                        value,
                        &format!("{field} of {model} {}", row["id"]),
                    );
                }
            }
        }
        assert!(different.is_empty(), "{}", different.join("\n"));
    }

    fn note(different: &mut Vec<String>, shown: &Value, recorded: &Value, what: &str) {
        if shown != recorded {
            different.push(format!("{what}: {shown} instead of {recorded}"));
        }
    }
}
