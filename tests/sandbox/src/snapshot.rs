//! What a stand-in holds, as JSON: taken at the end of a run, put back at the start of the next one.

/// Why a snapshot could not be put back.
#[derive(Debug, thiserror::Error)]
#[error("this is no snapshot of {of}")]
pub struct SnapshotError {
    /// `a shop` or `an ERP`.
    pub(crate) of: &'static str,
    #[source]
    pub(crate) source: serde_json::Error,
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::{Value, json};

    use crate::Sandbox;
    use crate::seed::{SeedPlan, seed};

    /// As it goes through a file.
    fn written(snapshot: &Value) -> Value {
        serde_json::from_str(&snapshot.to_string()).unwrap()
    }

    async fn copied(sandbox: &Sandbox) -> Sandbox {
        let copy = Sandbox::start().await.unwrap();
        copy.store.restore(&written(&sandbox.store.snapshot())).unwrap();
        copy.erp.restore(&written(&sandbox.erp.snapshot())).unwrap();
        copy
    }

    fn assert_same(one: &Sandbox, other: &Sandbox) {
        assert_eq!(one.store.snapshot(), other.store.snapshot());
        assert_eq!(one.erp.snapshot(), other.erp.snapshot());
        let links = |products: Vec<Value>| -> Vec<Value> {
            let without = |mut product: Value| {
                product["_links"] = Value::Null;
                product["permalink"] = Value::Null;
                for variation in product["variations_full"].as_array_mut().into_iter().flatten() {
                    variation["_links"] = Value::Null;
                    variation["permalink"] = Value::Null;
                }
                product
            };
            products.into_iter().map(without).collect()
        };
        assert_eq!(links(one.store.products()), links(other.store.products()));
        let bare = |rows: Vec<Value>| -> Vec<Value> {
            let without = |mut row: Value| {
                row["_links"] = Value::Null;
                row["payment_url"] = Value::Null;
                row
            };
            rows.into_iter().map(without).collect()
        };
        assert_eq!(bare(one.store.orders()), bare(other.store.orders()));
        assert_eq!(bare(one.store.refunds()), bare(other.store.refunds()));
        for model in [
            "res.partner",
            "product.template",
            "product.product",
            "ir.model.data",
        ] {
            assert_eq!(one.erp.records(model), other.erp.records(model));
        }
    }

    #[tokio::test]
    async fn a_restored_sandbox_holds_the_same_and_goes_on_counting_alike() {
        let sandbox = Sandbox::start().await.unwrap();
        let plan = SeedPlan {
            seed: 3,
            products: 60,
            customers: 40,
            orders: 20,
            refunds: 5,
        };
        seed(&sandbox.store, &sandbox.erp, &plan);
        let gone = sandbox
            .store
            .insert_product(json!({"name": "Gone", "sku": "gone"}));
        sandbox.store.trash_product(gone);
        let last = sandbox.store.insert_product(json!({"name": "Last"}));
        sandbox.store.delete_product(last);

        let copy = copied(&sandbox).await;

        assert_same(&sandbox, &copy);
        assert!(copy.store.ledger().effects().is_empty() && copy.erp.ledger().effects().is_empty());
        let product = json!({"name": "Hook", "sku": "h-1", "meta_data": [{"key": "note", "value": "x"}]});
        assert_eq!(
            sandbox.store.insert_product(product.clone()),
            copy.store.insert_product(product)
        );
        let partner = json!({"name": "Ann"});
        assert_eq!(
            sandbox.erp.insert("res.partner", partner.clone()),
            copy.erp.insert("res.partner", partner)
        );
    }

    #[tokio::test]
    async fn a_duplicate_is_still_one_after_the_restore() {
        let sandbox = Sandbox::start().await.unwrap();
        sandbox
            .erp
            .insert("res.partner", json!({"name": "Ann", "email": "ann@example.com"}));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let timeout = std::time::Duration::from_secs(10);
        let client = reqwest::Client::builder().timeout(timeout).build().unwrap();
        let url = format!("{}/json/2/res.partner/create", sandbox.erp.base_url());
        let body = json!({"vals_list": [{"name": "Ann", "email": "Ann@example.com"}]});
        let request = client.post(url).bearer_auth("sandbox-api-key").json(&body);
        assert!(request.send().await.unwrap().status().is_success());
        assert_eq!(sandbox.erp.ledger().duplicates().len(), 1);

        let copy = copied(&sandbox).await;

        assert_eq!(copy.erp.ledger().duplicates(), sandbox.erp.ledger().duplicates());
    }

    #[tokio::test]
    async fn what_is_no_snapshot_changes_nothing() {
        let sandbox = Sandbox::start().await.unwrap();
        sandbox.store.insert_product(json!({"name": "Hook"}));
        let mut narrow = sandbox.erp.snapshot();
        narrow["tables"]["res.lang"]["rows"]["1"]["values"] = json!([]);

        let shop = sandbox.store.restore(&json!({"products": []})).unwrap_err();
        let office = sandbox.erp.restore(&narrow).unwrap_err();

        assert_eq!(shop.to_string(), "this is no snapshot of a shop");
        assert_eq!(office.to_string(), "this is no snapshot of an ERP");
        assert_eq!(sandbox.store.products().len(), 1);
        assert_eq!(sandbox.erp.records("res.lang").len(), 1);
    }

    /// Keeps a real recording when `LOCKSTEP_RECORDED` names its folder; it is not part of the project.
    #[tokio::test]
    async fn a_recording_survives_a_snapshot() {
        let Some(folder) = std::env::var_os("LOCKSTEP_RECORDED").map(PathBuf::from) else {
            return;
        };
        let sandbox = Sandbox::start().await.unwrap();
        crate::recorded::load(&folder, &sandbox.store, &sandbox.erp).unwrap();

        let copy = copied(&sandbox).await;

        assert_same(&sandbox, &copy);
        assert_eq!(copy.erp.records("sale.order"), sandbox.erp.records("sale.order"));
    }
}
