//! What the real shop does with pictures and tags (facts: mapping-woocommerce 1).

use serde_json::{Value, json};

use super::super::tests::Shop;

fn ids(product: &Value) -> Vec<u64> {
    let images = product["images"].as_array().unwrap();
    images.iter().map(|image| image["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn the_same_address_is_fetched_again_and_an_id_is_not() {
    let shop = Shop::open().await;
    let one = json!({"src": "https://cdn.example.com/a.png?v=1"});
    let made = shop
        .post("/products", json!({"name": "Hat", "images": [one, one]}))
        .await
        .body;
    let (id, first) = (made["id"].as_u64().unwrap(), ids(&made));

    let path = format!("/products/{id}");
    let kept =
        json!({"images": [{"id": first[1], "src": "https://cdn.example.com/b.png"}, {"id": first[0]}]});
    let turned = shop.put(&path, kept).await.body;
    let again = shop.put(&path, json!({"images": [one]})).await.body;
    let none = shop.put(&path, json!({"images": []})).await.body;

    assert_ne!(first[0], first[1]);
    assert!(!first.contains(&id));
    let files: Vec<&str> = made["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["src"].as_str().unwrap().rsplit('/').next().unwrap())
        .collect();
    assert_eq!(files, ["a.png", "a-1.png"]);
    assert_eq!(ids(&turned), [first[1], first[0]]);
    assert!(!first.contains(&ids(&again)[0]));
    assert_eq!(none["images"], json!([]));
    assert_eq!(shop.store.pictures().len(), 3);
}

#[tokio::test]
async fn a_picture_that_can_t_be_had_keeps_the_whole_item_back() {
    let shop = Shop::open().await;
    let id = shop.store.insert_product(json!({"name": "Hat"}));
    shop.store.lose_picture("https://cdn.example.com/lost.png");
    let path = format!("/products/{id}");

    for source in [
        "https://nowhere.invalid/a.png",
        "https://cdn.example.com/lost.png",
        "https://cdn.example.com/extensionless",
        "data:image/png;base64,AAAA",
    ] {
        let refused = shop
            .put(&path, json!({"name": "Cap", "images": [{"src": source}]}))
            .await;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "woocommerce_product_image_upload_error"),
            "{source}"
        );
    }
    let unknown = shop.put(&path, json!({"images": [{"id": 99_999}]})).await;
    assert_eq!(unknown.code(), "woocommerce_product_invalid_image_id");
    let batch = json!({"create": [
        {"name": "A", "images": [{"src": "https://nowhere.invalid/a.png"}]}, {"name": "B"},
    ]});
    let answer = shop.post("/products/batch", batch).await.body;
    assert_eq!(
        answer["create"][0]["error"]["code"],
        "woocommerce_product_image_upload_error"
    );
    assert!(answer["create"][1]["id"].is_u64());
    assert_eq!(shop.store.product(id).unwrap()["name"], "Hat");
    assert_eq!(shop.store.products().len(), 2);
}

#[tokio::test]
async fn tags_go_by_id_and_one_name_is_there_once() {
    let shop = Shop::open().await;
    let tag = shop
        .post("/products/tags", json!({"name": "Wool & Silk"}))
        .await
        .body;
    let twice = shop.post("/products/tags", json!({"name": "wool & silk"})).await;

    let named = json!({"name": "Hat", "tags": [{"id": tag["id"]}, {"id": 999_999}, {"name": "New"}]});
    let made = shop.post("/products", named).await.body;

    assert_eq!(tag["name"], "Wool &amp; Silk");
    assert_eq!(
        (twice.code(), &twice.body["data"]["resource_id"]),
        ("term_exists", &tag["id"])
    );
    let shown = json!([{"id": tag["id"], "name": "Wool &amp; Silk", "slug": tag["slug"]}]);
    assert_eq!(made["tags"], shown);
    assert_eq!(shop.store.tags().len(), 1);
}
