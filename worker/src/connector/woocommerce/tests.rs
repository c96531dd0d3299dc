use super::*;

/// Returns what a real store answered, which lies beside the workspace where the facts are.
pub(super) fn recorded() -> Option<Value> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/recorded/woocommerce.json"
    );
    let text = std::fs::read_to_string(path).ok();
    if text.is_none() {
        println!("skipped: no recording of a real store beside this workspace");
    }
    text.map(|text| serde_json::from_str(&text).unwrap())
}

fn store(base_url: &str) -> WooCommerce {
    let http = http::Client::new(&http::Options::default()).unwrap();
    let (key, secret) = ("ck_1".into(), "cs_2".into());
    WooCommerce::new(http, base_url.parse().unwrap(), key, secret, &Settings::default())
}

#[test]
fn a_store_may_live_under_a_path() {
    for base in ["https://shop.test/store", "https://u:p@shop.test/store/?x=1#y"] {
        let url = store(base).endpoint("products/batch");
        assert_eq!(
            url.as_str(),
            "https://shop.test/store/wp-json/wc/v3/products/batch"
        );
    }
}

#[test]
fn over_https_the_keys_go_in_a_header_and_over_http_they_stay() {
    let params = || vec![("sku", "a b+c".to_owned())];

    let secure = store("https://shop.test")
        .request("GET", "products", params())
        .build()
        .unwrap();
    assert_eq!(secure.url().query(), Some("sku=a%20b%2Bc"));
    assert_eq!(secure.headers()["authorization"], "Basic Y2tfMTpjc18y");

    let plain = store("http://shop.test")
        .request("GET", "products", params())
        .build()
        .unwrap();
    assert!(!plain.headers().contains_key("authorization"));
    let query = plain.url().query().unwrap();
    assert!(
        query.starts_with("sku=a%20b%2Bc&oauth_consumer_key=ck_1&oauth_nonce="),
        "{query}"
    );
    assert!(
        query.contains("&oauth_signature=") && !query.contains("cs_2"),
        "{query}"
    );
}

#[test]
fn two_tries_have_two_nonces() {
    let nonce = || {
        let request = store("http://shop.test")
            .request("GET", "products", Vec::new())
            .build()
            .unwrap();
        let pairs = request.url().query_pairs().into_owned();
        pairs
            .into_iter()
            .find(|(name, _)| name == "oauth_nonce")
            .unwrap()
            .1
    };

    assert_ne!(nonce(), nonce());
}

#[test]
fn a_store_shows_no_keys() {
    let shown = format!("{:?}", store("https://shop.test"));

    assert!(!shown.contains("ck_1") && !shown.contains("cs_2"), "{shown}");
}

#[test]
fn lists_are_cut_to_what_fits_an_address() {
    let ids: Vec<String> = (1..=250).map(|id: u32| id.to_string()).collect();
    let sizes: Vec<usize> = chunks(&ids).iter().map(Vec::len).collect();
    assert_eq!(sizes, [100, 100, 50]);

    let long: Vec<String> = (0..50).map(|i| format!("{i}-{}", "ü".repeat(20))).collect();
    for chunk in chunks(&long) {
        assert!(auth::query(&[("sku", chunk.join(","))]).len() <= LIST_BYTES + 10);
    }
    assert_eq!(chunks(&long).concat().len(), 50);
    assert_eq!(chunks(&["7".to_owned(), "7".to_owned()]), [["7"]]);
    assert!(chunks(&[]).is_empty());
}

#[test]
fn a_cursor_of_another_kind_is_refused() {
    assert!(position::<Place>(&Cursor(Value::Null)).is_ok());
    assert!(position::<Place>(&Cursor(serde_json::json!({"seen": "x"}))).is_err());
}
