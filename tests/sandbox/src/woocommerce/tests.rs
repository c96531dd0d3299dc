//! The traps of the real shop, through real HTTP.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Permission, Store, StoreOptions};
use crate::fault::Fault;
use crate::ledger::Operation;

pub(super) struct Shop {
    pub(super) store: Store,
    client: reqwest::Client,
}

pub(super) struct Answer {
    pub(super) status: u16,
    headers: reqwest::header::HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        self.body
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["id"].as_u64().unwrap())
            .collect()
    }
}

impl Shop {
    pub(super) async fn open() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = Store::start(StoreOptions {
            is_https: true,
            ..StoreOptions::default()
        })
        .await
        .unwrap();
        let pem = store.certificate_pem().unwrap();
        let client = reqwest::Client::builder()
            .add_root_certificate(reqwest::Certificate::from_pem(pem.as_bytes()).unwrap())
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        Self { store, client }
    }

    pub(super) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}/wp-json/wc/v3{path}", self.store.base_url());
        self.client
            .request(method, url)
            .basic_auth("ck_sandbox", Some("cs_sandbox"))
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        answer(self.request(Method::POST, path).json(&body)).await
    }

    pub(super) async fn put(&self, path: &str, body: Value) -> Answer {
        answer(self.request(Method::PUT, path).json(&body)).await
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        answer(self.request(Method::DELETE, path)).await
    }

    pub(super) async fn order(&self, body: Value) -> Value {
        let made = self.post("/orders", body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        made.body
    }

    /// Returns the stock of a product or variation as the API tells it.
    pub(super) async fn stock(&self, id: u64) -> Value {
        self.get(&format!("/products/{id}")).await.body["stock_quantity"].clone()
    }

    pub(super) async fn product(&self, body: Value) -> u64 {
        let made = self.post("/products", body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        made.body["id"].as_u64().unwrap()
    }
}

pub(super) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default();
    Answer {
        status,
        headers,
        body,
    }
}

pub(super) async fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "the condition never held");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_wrong_secret_and_an_unknown_key_are_told_apart() {
    let shop = Shop::open().await;
    let url = format!("{}/wp-json/wc/v3/products", shop.store.base_url());

    let wrong = answer(shop.client.get(&url).basic_auth("ck_sandbox", Some("nope"))).await;
    let unknown = answer(shop.client.get(&url).basic_auth("ck_other", Some("nope"))).await;
    let by_query = answer(
        shop.client
            .get(format!(
                "{url}?consumer_key=ck_sandbox&consumer_secret=cs_sandbox"
            ))
            .basic_auth("ck_sandbox", Some("nope")),
    )
    .await;

    let words = |answer: &Answer| (answer.status, answer.code().to_owned());
    assert_eq!(
        words(&wrong),
        (401, "woocommerce_rest_authentication_error".to_owned())
    );
    assert_eq!(words(&unknown), (401, "woocommerce_rest_cannot_view".to_owned()));
    assert_eq!(by_query.status, 200);
}

#[tokio::test]
async fn a_key_that_may_only_read_gets_401_for_a_write() {
    let shop = Shop::open().await;
    shop.store.add_key("ck_r", "cs_r", Permission::Read);
    let url = format!("{}/wp-json/wc/v3/products", shop.store.base_url());

    let refused = answer(
        shop.client
            .post(url)
            .basic_auth("ck_r", Some("cs_r"))
            .json(&json!({"name": "x"})),
    )
    .await;

    assert_eq!(refused.status, 401);
    assert_eq!(
        refused.body["message"],
        "The API key provided does not have write permissions."
    );
    assert!(shop.store.products().is_empty());
}

#[tokio::test]
async fn plain_http_ignores_basic_and_takes_a_fresh_signature_once() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store = Store::start(StoreOptions::default()).await.unwrap();
    let client = reqwest::Client::builder().build().unwrap();
    let url = format!("{}/wp-json/wc/v3/products", store.base_url());
    let signed = |secs_ago: i64, nonce: &str| {
        let mut parameters: BTreeMap<String, String> = [
            ("oauth_consumer_key", "ck_sandbox".to_owned()),
            ("oauth_timestamp", (super::now() - secs_ago).to_string()),
            ("oauth_nonce", nonce.to_owned()),
            ("oauth_signature_method", "HMAC-SHA256".to_owned()),
            ("search", "Ä & b".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let signature = super::auth::signature("GET", &url, &parameters, "cs_sandbox");
        parameters.insert("oauth_signature".to_owned(), signature);
        client.get(&url).query(&parameters)
    };

    let basic = answer(client.get(&url).basic_auth("ck_sandbox", Some("cs_sandbox"))).await;
    let first = answer(signed(0, "a")).await;
    let again = answer(signed(0, "a")).await;
    let late = answer(signed(16 * 60, "b")).await;
    let early_enough = answer(signed(14 * 60, "c")).await;

    assert_eq!(
        (basic.status, basic.code()),
        (401, "woocommerce_rest_cannot_view")
    );
    assert_eq!(first.status, 200, "{}", first.body);
    assert_eq!(
        again.body["message"],
        "Invalid nonce - nonce has already been used."
    );
    assert_eq!(late.body["message"], "Invalid timestamp.");
    assert_eq!(early_enough.status, 200);
}

#[tokio::test]
async fn bad_parameters_are_a_map_and_missing_ones_a_list() {
    let shop = Shop::open().await;

    let bad = shop.get("/products?orderby=bogus&modified_after=notadate").await;
    let page = shop.get("/products?per_page=101").await;
    let missing = shop.post("/customers", json!({})).await;

    assert_eq!(
        bad.body["message"],
        "Invalid parameter(s): modified_after, orderby"
    );
    assert_eq!(bad.body["data"]["params"]["modified_after"], "Invalid date.");
    assert_eq!(bad.body["data"]["details"]["orderby"]["code"], "rest_not_in_enum");
    let bounds = "per_page must be between 1 (inclusive) and 100 (inclusive)";
    assert_eq!(page.body["data"]["params"]["per_page"], bounds);
    assert_eq!(missing.code(), "rest_missing_callback_param");
    assert_eq!(missing.body["data"]["params"], json!(["email"]));
}

#[tokio::test]
async fn unknown_ids_answer_by_verb() {
    let shop = Shop::open().await;

    assert_eq!(shop.get("/products/999").await.status, 404);
    assert_eq!(shop.put("/products/999", json!({"name": "x"})).await.status, 400);
    assert_eq!(shop.delete("/products/999?force=true").await.status, 404);
    let customer = shop.put("/customers/999", json!({"last_name": "x"})).await;
    assert_eq!((customer.status, customer.code()), (404, "wc_user_invalid_id"));
    assert_eq!(shop.get("/products/abc").await.code(), "rest_no_route");
    assert_eq!(shop.get("/nonexistent").await.code(), "rest_no_route");
}

#[tokio::test]
async fn a_body_without_a_content_type_makes_an_empty_product() {
    let shop = Shop::open().await;

    let made = answer(shop.request(Method::POST, "/products").body(r#"{"name":"Lost"}"#)).await;
    let broken = answer(
        shop.request(Method::POST, "/products")
            .header("content-type", "application/json")
            .body("{"),
    )
    .await;

    assert_eq!((made.status, made.body["name"].as_str()), (201, Some("Product")));
    assert_eq!((broken.status, broken.code()), (400, "rest_invalid_json"));
}

#[tokio::test]
async fn lists_are_paged_with_totals_and_links() {
    let shop = Shop::open().await;
    for number in 0..5 {
        shop.store
            .insert_product(json!({"name": format!("P{number}"), "sku": format!("S{number}")}));
    }

    let first = shop
        .get("/products?per_page=2&orderby=id&order=asc&_fields=id,sku")
        .await;
    let beyond = shop.get("/products?per_page=2&page=9").await;
    let skipped = shop
        .get("/products?per_page=2&offset=3&orderby=id&order=asc")
        .await;
    let unknown = shop.get("/products?meta_key=x&meta_value=y").await;

    assert_eq!(
        (first.header("x-wp-total"), first.header("x-wp-totalpages")),
        ("5", "3")
    );
    assert!(first.header("link").contains("rel=\"next\""));
    assert_eq!(first.body[0].as_object().unwrap().len(), 2);
    assert_eq!(
        (beyond.body.clone(), beyond.header("x-wp-total")),
        (json!([]), "5")
    );
    assert_eq!(skipped.body[0]["sku"], "S3");
    assert_eq!(unknown.ids().len(), 5);
}

#[tokio::test]
async fn a_price_must_be_text_in_a_single_call_and_may_be_a_number_in_a_batch() {
    let shop = Shop::open().await;

    let single = shop
        .post(
            "/products",
            json!({"name": "x", "regular_price": 12.5, "status": "bogus"}),
        )
        .await;
    let batch = json!({"create": [{"name": "y", "regular_price": 2.5}, {"name": "z", "status": "bogus"}]});
    let batch = shop.post("/products/batch", batch).await;

    assert_eq!(
        single.body["message"],
        "Invalid parameter(s): status, regular_price"
    );
    assert_eq!(batch.body["create"][0]["regular_price"], "2.5");
    assert_eq!(batch.body["create"][1]["status"], "draft");
}

#[tokio::test]
async fn prices_are_damaged_in_silence() {
    let shop = Shop::open().await;
    let id = shop.product(json!({"name": "x", "regular_price": "1,50"})).await;
    let price = async |value: &str| {
        let changed = shop
            .put(&format!("/products/{id}"), json!({"regular_price": value}))
            .await;
        changed.body["regular_price"].as_str().unwrap().to_owned()
    };

    assert_eq!(
        shop.get(&format!("/products/{id}")).await.body["regular_price"],
        "150"
    );
    assert_eq!(price("1e3").await, "13");
    assert_eq!(price("abc").await, "");
    assert_eq!(price("19.9900").await, "19.9900");
    let sale = shop
        .put(&format!("/products/{id}"), json!({"sale_price": "20"}))
        .await;
    assert_eq!(sale.body["sale_price"], "");
}

#[tokio::test]
async fn a_taken_sku_names_its_holder_unless_that_is_in_the_trash() {
    let shop = Shop::open().await;
    let holder = shop.product(json!({"name": "Widget", "sku": "SKU-1"})).await;

    let taken = shop
        .post("/products", json!({"name": "dup", "sku": "sku-1 "}))
        .await;
    let trashed = shop.delete(&format!("/products/{holder}")).await;
    let again = shop.delete(&format!("/products/{holder}")).await;
    let hidden = shop
        .post("/products", json!({"name": "dup", "sku": "SKU-1"}))
        .await;
    let listed = shop.get("/products?sku=sku-1").await;
    let in_trash = shop.get("/products?sku=SKU-1&status=trash").await;

    assert_eq!(taken.code(), "product_invalid_sku");
    let data = json!({"status": 400, "resource_id": holder, "unique_sku": "sku-1-1"});
    assert_eq!(taken.body["data"], data);
    assert_eq!(trashed.body["status"], "publish");
    assert_eq!(
        (again.status, again.code()),
        (410, "woocommerce_rest_already_trashed")
    );
    assert_eq!(hidden.code(), "woocommerce_rest_product_not_created");
    assert_eq!(hidden.body["data"], json!({"status": 400}));
    assert_eq!(listed.ids(), Vec::<u64>::new());
    assert_eq!(in_trash.ids(), [holder]);
}

#[tokio::test]
async fn a_global_unique_id_keeps_digits_and_is_unique() {
    let shop = Shop::open().await;
    let holder = shop
        .product(json!({"name": "a", "global_unique_id": "ABC4006381333931"}))
        .await;

    let taken = shop
        .post(
            "/products",
            json!({"name": "b", "global_unique_id": "4006381333931"}),
        )
        .await;
    let found = shop.get("/products?global_unique_id=4006381333931").await;

    assert_eq!(taken.code(), "product_invalid_global_unique_id");
    assert_eq!(taken.body["data"]["resource_id"], holder);
    assert_eq!(found.body[0]["global_unique_id"], "4006381333931");
}

#[tokio::test]
async fn texts_come_back_encoded_and_dressed_by_context() {
    let shop = Shop::open().await;
    let body =
        json!({"name": "A & B", "description": "one\n\ntwo<script>x</script>", "sku": "a%20b <b>c</b>"});
    let id = shop.product(body).await;

    let view = shop.get(&format!("/products/{id}")).await.body;
    let edit = shop.get(&format!("/products/{id}?context=edit")).await.body;

    assert_eq!(view["name"], "A &amp; B");
    assert_eq!(view["description"], "<p>one</p>\n<p>twox</p>\n");
    assert_eq!(edit["description"], "one\n\ntwox");
    assert_eq!(view["sku"], "ab c");
}

#[tokio::test]
async fn stock_is_dropped_unless_it_is_kept() {
    let shop = Shop::open().await;
    let id = shop.product(json!({"name": "x", "stock_quantity": 5})).await;
    let path = format!("/products/{id}");

    assert_eq!(shop.get(&path).await.body["stock_quantity"], Value::Null);
    let kept = shop
        .put(&path, json!({"manage_stock": true, "stock_quantity": "8"}))
        .await;
    assert_eq!(kept.body["stock_quantity"], 8);
    assert_eq!(
        shop.put(&path, json!({"inventory_delta": -3})).await.body["stock_quantity"],
        5
    );
    assert_eq!(shop.put(&path, json!({"stock_quantity": 2.5})).await.status, 400);
    assert_eq!(
        shop.put(&path, json!({"stock_quantity": -2})).await.body["stock_status"],
        "outofstock"
    );
}

#[tokio::test]
async fn modified_after_is_strict_and_the_zone_can_be_told_wrongly() {
    let shop = Shop::open().await;
    let id = shop.product(json!({"name": "x"})).await;
    let view = shop.get(&format!("/products/{id}")).await.body;
    let (gmt, local) = (
        view["date_modified_gmt"].as_str().unwrap(),
        view["date_modified"].as_str().unwrap(),
    );
    let before = super::text::iso(super::text::seconds(gmt).unwrap() - 1);
    let an_hour_later = super::text::iso(super::text::seconds(gmt).unwrap() + 3600);
    let hits = async |query: String| {
        shop.get(&format!("/products?modified_after={query}"))
            .await
            .ids()
            .len()
    };

    assert_eq!(hits(format!("{gmt}&dates_are_gmt=true")).await, 0);
    assert_eq!(hits(format!("{before}&dates_are_gmt=true")).await, 1);
    assert_eq!(hits(format!("{before}Z")).await, 1);
    assert_eq!(hits(local.to_owned()).await, 0);
    assert_eq!(hits(before).await, 0, "without a zone it is the site's clock");
    assert_eq!(
        hits(format!("{an_hour_later}Z&dates_are_gmt=true")).await,
        1,
        "shifted by the site's offset"
    );
}

#[tokio::test]
async fn a_batch_item_with_a_taken_sku_answers_inside_200() {
    let shop = Shop::open().await;
    let body = json!({
        "create": [{"name": "D1", "sku": "D"}, {"name": "D2", "sku": "D"}],
        "update": [{"id": 999_999, "name": "x"}, {"name": "no id"}],
        "delete": [999_998],
    });

    let done = shop.post("/products/batch", body).await;

    assert_eq!(done.status, 200);
    let first = done.body["create"][0]["id"].clone();
    assert_eq!(done.body["create"][1]["id"], 0);
    assert_eq!(done.body["create"][1]["error"]["data"]["resource_id"], first);
    assert_eq!(done.body["update"][0]["error"]["data"]["status"], 400);
    assert_eq!(done.body["update"][1]["id"], Value::Null);
    assert_eq!(done.body["delete"][0]["error"]["data"]["status"], 404);
}

#[tokio::test]
async fn a_batch_has_a_limit_and_an_empty_one_is_a_list() {
    let shop = Shop::open().await;
    let many: Vec<Value> = (0..101)
        .map(|number| json!({"name": format!("x{number}")}))
        .collect();

    let refused = shop.post("/products/batch", json!({"create": many})).await;

    assert_eq!(
        (refused.status, refused.code()),
        (413, "woocommerce_rest_request_entity_too_large")
    );
    assert_eq!(shop.post("/products/batch", json!({})).await.body, json!([]));
    assert_eq!(
        shop.post("/products/batch", json!({"create": "x"})).await.body,
        json!([])
    );
    assert!(shop.store.products().is_empty());
}

#[tokio::test]
async fn an_item_that_is_no_object_kills_the_call_after_the_items_before_it() {
    let shop = Shop::open().await;

    let killed = shop
        .post(
            "/products/batch",
            json!({"create": [{"name": "a"}, 7, {"name": "b"}]}),
        )
        .await;

    assert_eq!((killed.status, killed.code()), (500, "internal_server_error"));
    assert_eq!(shop.store.products().len(), 1);
}

#[tokio::test]
async fn variations_live_under_their_parent_and_show_its_sku() {
    let shop = Shop::open().await;
    let color = shop
        .post("/products/attributes", json!({"name": "Color", "slug": "ls-8"}))
        .await
        .body;
    assert_eq!(color["slug"], "pa_ls-8");
    let options = json!(["Red", "Ä & B", "Blue"]);
    let attribute = json!([{"id": color["id"], "variation": true, "visible": true, "options": options}]);
    let body = json!({"name": "Tee", "type": "variable", "sku": "TEE", "attributes": attribute});
    let parent = shop.product(body).await;
    let create = json!({"create": [
        {"regular_price": "33.00", "attributes": [{"id": color["id"], "option": "Red"}]},
        {"sku": "TEE", "attributes": []},
        {"sku": "TEE-B", "attributes": [{"id": color["id"], "option": "Bogus"}, {"id": 99, "option": "x"}]},
    ]});

    let made = shop
        .post(&format!("/products/{parent}/variations/batch"), create)
        .await
        .body;

    let view = shop.get(&format!("/products/{parent}")).await.body;
    assert_eq!(
        view["attributes"][0]["options"],
        json!(["Blue", "Red", "Ä &amp; B"])
    );
    assert_eq!(view["price"], "33.00");
    assert_eq!(made["create"][0]["sku"], "TEE");
    assert_eq!(made["create"][0]["name"], "Red");
    assert_eq!(made["create"][0]["tax_class"], "parent");
    assert_eq!(made["create"][1]["error"]["data"]["resource_id"], parent);
    assert_eq!(
        made["create"][2]["attributes"],
        json!([
            {"id": color["id"], "name": "Color", "slug": "pa_ls-8", "option": "bogus"},
        ])
    );
    let by_sku = shop.get("/products?sku=tee-b").await.body;
    assert_eq!(
        (by_sku[0]["type"].as_str(), by_sku[0]["parent_id"].as_u64()),
        (Some("variation"), Some(parent))
    );
    assert_eq!(shop.get("/variations?orderby=id").await.ids().len(), 2);
    assert_eq!(
        shop.post("/variations/batch", json!({})).await.code(),
        "rest_no_route"
    );
    let stray = shop
        .put(&format!("/products/{}", by_sku[0]["id"]), json!({}))
        .await;
    assert_eq!(
        (stray.status, stray.code()),
        (404, "woocommerce_rest_invalid_product_id")
    );
    let lost = shop
        .post("/products/999/variations/batch", json!({"create": [{}]}))
        .await;
    assert_eq!((lost.status, lost.code()), (500, "internal_server_error"));
}

#[tokio::test]
async fn attributes_and_terms_refuse_duplicates_each_in_their_way() {
    let shop = Shop::open().await;
    let legs = shop
        .post("/products/attributes", json!({"name": "Legs"}))
        .await
        .body["id"]
        .clone();

    let same = shop.post("/products/attributes", json!({"name": "Legs"})).await;
    let other_slug = shop
        .post("/products/attributes", json!({"name": "Legs", "slug": "ls-2"}))
        .await;
    let reserved = shop
        .post("/products/attributes", json!({"name": "x", "slug": "type"}))
        .await;
    let long = shop
        .post(
            "/products/attributes",
            json!({"name": "x", "slug": "a".repeat(29)}),
        )
        .await;
    let terms = format!("/products/attributes/{legs}/terms");
    let steel = shop.post(&terms, json!({"name": "Steel"})).await.body["id"].clone();
    let twice = shop.post(&terms, json!({"name": "steel"})).await;

    for refused in [&same, &reserved, &long] {
        assert_eq!(refused.code(), "woocommerce_rest_cannot_create");
        assert_eq!(refused.body["data"], json!({"status": 400}));
    }
    assert_eq!(other_slug.status, 201);
    assert_eq!(
        (twice.code(), &twice.body["data"]["resource_id"]),
        ("term_exists", &steel)
    );
}

#[tokio::test]
async fn a_customers_email_is_unique_in_any_case_and_its_change_is_picky() {
    let shop = Shop::open().await;
    let body = json!({
        "email": "ann@example.com", "first_name": "Ann", "billing": {"country": "Germany", "state": "XX"},
        "meta_data": [{"key": "_hidden", "value": "x"}, {"key": "lockstep_record", "value": "odoo/res.partner/1"}],
    });

    let made = shop.post("/customers", body).await.body;
    let path = format!("/customers/{}", made["id"]);
    let twice = shop.post("/customers", json!({"email": "ANN@example.com"})).await;
    let own_case = shop.put(&path, json!({"email": "Ann@example.com"})).await;
    let same = shop
        .put(
            &path,
            json!({"email": "ann@example.com", "billing": {"city": "NY"}}),
        )
        .await;

    assert_eq!(
        (made["username"].as_str(), made["billing"]["state"].as_str()),
        (Some("ann"), Some("XX"))
    );
    let keys: Vec<&Value> = made["meta_data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|meta| &meta["key"])
        .collect();
    assert_eq!(keys, ["default_password_nag", "lockstep_record"]);
    assert_eq!(twice.code(), "registration-error-email-exists");
    assert_eq!(twice.body["data"], json!({"status": 400}));
    assert_eq!(
        (own_case.status, own_case.code()),
        (400, "woocommerce_rest_customer_invalid_email")
    );
    let address = (&same.body["billing"]["city"], &same.body["billing"]["country"]);
    assert_eq!(address, (&json!("NY"), &json!("Germany")));
    assert_eq!(shop.store.mails(), 1);
}

#[tokio::test]
async fn customer_lists_know_no_modification() {
    let shop = Shop::open().await;
    shop.store
        .insert_customer(json!({"email": "ann@example.com", "last_name": "Lee"}));

    assert_eq!(
        shop.get("/customers?modified_after=2030-01-01T00:00:00")
            .await
            .ids()
            .len(),
        1
    );
    assert_eq!(shop.get("/customers?orderby=modified").await.status, 400);
    assert_eq!(
        shop.get("/customers?email=ANN%40example.com&role=all")
            .await
            .ids()
            .len(),
        1
    );
    assert_eq!(shop.get("/customers?search=lee").await.ids().len(), 0);
    let id = shop.get("/customers").await.ids()[0];
    assert_eq!(shop.delete(&format!("/customers/{id}")).await.status, 501);
    assert_eq!(
        shop.delete(&format!("/customers/{id}?force=true")).await.status,
        200
    );
    assert_eq!(
        shop.delete(&format!("/customers/{id}?force=true")).await.status,
        404
    );
}

#[tokio::test]
async fn bad_customers_of_a_batch_have_their_own_codes() {
    let shop = Shop::open().await;
    let create = json!([
        {"email": "c@example.com"}, {"email": "C@example.com"}, {"first_name": "noemail"}, {"email": "bad"},
        {"email": "ünï@example.com"},
    ]);

    let done = shop
        .post("/customers/batch", json!({"create": create}))
        .await
        .body;

    let codes: Vec<&Value> = done["create"].as_array().unwrap()[1..]
        .iter()
        .map(|item| &item["error"]["code"])
        .collect();
    let expected = [
        "registration-error-email-exists",
        "registration-error-invalid-email",
    ];
    assert_eq!(codes[..2], expected);
    assert_eq!(codes[2..], ["customer_invalid_email", "customer_invalid_email"]);
}

#[tokio::test]
async fn meta_is_updated_by_key_deleted_by_null_and_made_text() {
    let shop = Shop::open().await;
    let meta = json!([{"key": "_k", "value": 5}]);
    let id = shop.product(json!({"name": "x", "meta_data": meta})).await;
    let path = format!("/products/{id}");
    let meta = |value: Value| json!({"meta_data": [{"key": "_k", "value": value}]});

    assert_eq!(shop.get(&path).await.body["meta_data"][0]["value"], "5");
    let changed = shop.put(&path, meta(json!({"a": [1]}))).await.body;
    assert_eq!(changed["meta_data"].as_array().unwrap().len(), 1);
    assert_eq!(changed["meta_data"][0]["value"], json!({"a": [1]}));
    assert_eq!(
        shop.put(&path, meta(Value::Null)).await.body["meta_data"],
        json!([])
    );
}

#[tokio::test]
async fn the_ledger_knows_no_ops_and_duplicates_but_not_the_shops_people() {
    let shop = Shop::open().await;
    shop.store.insert_product(
        json!({"name": "theirs", "sku": "T", "meta_data": [{"key": "_lockstep_record", "value": "m"}]}),
    );
    let id = shop
        .product(json!({"name": "ours", "meta_data": [{"key": "_lockstep_record", "value": "m"}]}))
        .await;

    shop.put(&format!("/products/{id}"), json!({"name": "ours"}))
        .await;
    shop.put(&format!("/products/{id}"), json!({"name": "changed"}))
        .await;

    let ledger = shop.store.ledger();
    let changed: Vec<bool> = ledger.effects().iter().map(|effect| effect.changed).collect();
    assert_eq!((ledger.created("product"), ledger.updated("product")), (1, 2));
    assert_eq!(ledger.count("product", Operation::Deleted), 0);
    assert_eq!(changed, [true, false, true]);
    assert_eq!(ledger.effects()[0].key.as_deref(), Some("m"));
    assert_eq!(ledger.duplicates()[0].key, "marker:m");
}

#[tokio::test]
async fn a_lost_reply_leaves_its_effect_and_a_cut_connection_none() {
    let shop = Shop::open().await;
    shop.store
        .faults()
        .on_path("/products", Fault::CutConnection, Some(1));
    shop.store
        .faults()
        .on_path("/products", Fault::LostReply, Some(1));
    let send = || {
        shop.request(Method::POST, "/products")
            .json(&json!({"name": "x"}))
            .send()
    };

    let cut = send().await;
    let after_cut = shop.store.products().len();
    let lost = send().await;

    assert!(cut.is_err() && lost.is_err());
    assert_eq!((after_cut, shop.store.products().len()), (0, 1));
    assert_eq!(shop.store.faults().requests_seen(), 2);
}

#[tokio::test]
async fn a_batch_dies_half_way_and_its_items_stay() {
    let shop = Shop::open().await;
    let items: Vec<Value> = (0..10)
        .map(|number| json!({"name": format!("x{number}")}))
        .collect();
    shop.store
        .faults()
        .on_path("/batch", Fault::PartialBatch(7), Some(1));

    let died = shop.post("/products/batch", json!({"create": items})).await;

    assert_eq!((died.status, died.code()), (500, "internal_server_error"));
    assert_eq!(shop.store.products().len(), 7);
}

#[tokio::test]
async fn a_batch_goes_on_when_its_client_has_left() {
    let shop = Shop::open().await;
    let items: Vec<Value> = (0..10)
        .map(|number| json!({"name": format!("x{number}")}))
        .collect();
    shop.store
        .faults()
        .on_path("/batch", Fault::RunsOn(Duration::from_millis(200)), None);

    let left = shop
        .request(Method::POST, "/products/batch")
        .json(&json!({"create": items}))
        .send()
        .await;
    let at_once = shop.store.products().len();

    assert!(left.is_err());
    assert!(at_once < 10, "{at_once}");
    eventually(|| shop.store.products().len() == 10).await;
}

#[tokio::test]
async fn a_truncated_body_is_no_json_although_the_effect_happened() {
    let shop = Shop::open().await;
    shop.store
        .faults()
        .on_path("/products", Fault::Truncated, Some(1));

    let response = shop
        .request(Method::POST, "/products")
        .json(&json!({"name": "x"}))
        .send()
        .await;
    let is_broken = match response {
        Ok(response) => response.text().await.is_err(),
        Err(_) => true,
    };

    assert!(is_broken);
    assert_eq!(shop.store.products().len(), 1);
}

#[tokio::test]
async fn a_status_fault_carries_its_retry_after() {
    let shop = Shop::open().await;
    let busy = Fault::Status {
        code: 503,
        retry_after: Some("7".to_owned()),
        body: None,
    };
    shop.store.faults().on_path("/products", busy, Some(1));

    let refused = shop.get("/products").await;

    assert_eq!((refused.status, refused.header("retry-after")), (503, "7"));
    assert_eq!(StatusCode::OK, shop.get("/products").await.status);
}

#[tokio::test]
async fn countries_come_with_the_states_of_the_shop() {
    let shop = Shop::open().await;

    let berlin = shop.get("/data/countries/de").await.body;
    let britain = shop.get("/data/countries/gb").await.body;
    let status = shop.get("/system_status").await.body;

    assert!(
        berlin["states"]
            .as_array()
            .unwrap()
            .iter()
            .any(|state| state["code"] == "DE-BE")
    );
    assert_eq!(britain["states"], json!([]));
    assert_eq!(status["environment"]["version"], "11.0.1");
}
