//! Pictures, measures, and of what stock is kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Office, message};

/// The head of a PNG is all that is looked at.
fn picture(width: u32, height: u32) -> String {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend_from_slice(&width.to_be_bytes());
    bytes.extend_from_slice(&height.to_be_bytes());
    STANDARD.encode(bytes)
}

impl Office {
    async fn picture_of(&self, model: &str, id: &Value) -> Value {
        self.read(model, id, json!(["image_1920"])).await["image_1920"].clone()
    }
}

#[tokio::test]
async fn a_picture_reads_back_equal_unless_it_is_large() {
    let office = Office::open().await;
    let fields = json!(["id", "name", "image_1920"]);
    let small = picture(800, 800);
    let large = picture(3000, 2000);

    let rows = json!([["w.p_1", "Small", small], ["w.p_2", "Large", large]]);
    let ids = office.load("product.product", fields, rows).await["ids"].clone();

    assert_eq!(office.picture_of("product.product", &ids[0]).await, json!(small));
    assert_ne!(office.picture_of("product.product", &ids[1]).await, json!(large));
    let body = json!({"ids": [ids[0]], "fields": ["image_1920"], "context": {"bin_size": true}});
    let size = office.ok("product.product/read", body).await;
    assert_eq!(size[0]["image_1920"], "24.00 bytes");
}

#[tokio::test]
async fn what_is_no_picture_in_base64_is_a_row_message() {
    let office = Office::open().await;

    for text in [
        "not base64!".to_owned(),
        STANDARD.encode("plain text"),
        "https://shop.test/a.png".to_owned(),
    ] {
        let rows = json!([["w.p_1", "x", text]]);
        let answer = office
            .load("product.product", json!(["id", "name", "image_1920"]), rows)
            .await;
        assert_eq!(answer["ids"], json!(false), "{text}");
        assert!(message(&answer).contains("could not be decoded as an image"));
    }
}

#[tokio::test]
async fn the_first_picture_of_a_variant_goes_to_its_template() {
    let office = Office::open().await;
    let attribute = office.erp.insert("product.attribute", json!({"name": "Legs"}));
    let value = |name: &str| {
        let vals = json!({"name": name, "attribute_id": attribute});
        office.erp.insert("product.attribute.value", vals)
    };
    let values = [value("Steel"), value("Wood")];
    let line = json!([[0, 0, {"attribute_id": attribute, "value_ids": [[6, 0, values]]}]]);
    let vals = json!({"name": "Desk", "attribute_line_ids": line});
    let template = json!(office.erp.insert("product.template", vals));
    let read = office
        .read("product.template", &template, json!(["product_variant_ids"]))
        .await;
    let variants = read["product_variant_ids"].clone();
    let write = async |variant: &Value, image: &str| {
        let body = json!({"ids": [variant], "vals": {"image_1920": image}});
        office.ok("product.product/write", body).await;
    };
    let (first, second) = (picture(1, 1), picture(2, 2));

    write(&variants[0], &first).await;
    let shared = office.picture_of("product.product", &variants[1]).await;
    write(&variants[1], &second).await;

    assert_eq!(shared, json!(first));
    assert_eq!(
        office.picture_of("product.template", &template).await,
        json!(first)
    );
    assert_eq!(
        office.picture_of("product.product", &variants[1]).await,
        json!(second)
    );
}

#[tokio::test]
async fn measures_are_rounded_to_the_digits_that_are_set() {
    let office = Office::open().await;
    let weight = async || {
        let fields = json!(["id", "name", "weight", "list_price"]);
        let rows = json!([["w.p_1", "x", "0.1234", "19.999"]]);
        let ids = office.load("product.product", fields, rows).await["ids"].clone();
        let read = office
            .read("product.product", &ids[0], json!(["weight", "list_price"]))
            .await;
        assert_eq!(read["list_price"], json!(19.999));
        read["weight"].clone()
    };

    assert_eq!(weight().await, json!(0.12));
    office.erp.update("decimal.precision", 2, json!({"digits": 4}));
    assert_eq!(weight().await, json!(0.1234));
}

#[tokio::test]
async fn stock_is_kept_of_goods_only_and_for_good_once_it_moved() {
    let office = Office::open().await;
    let service = json!({"name": "x", "type": "service", "is_storable": true});
    let service = office.erp.insert("product.product", service);
    let goods = json!({"name": "y", "type": "consu", "is_storable": true});
    let goods = office.erp.insert("product.product", goods);
    let write = |id: i64, vals: Value| {
        let body = json!({"ids": [id], "vals": vals});
        async { office.call("product.product/write", body).await }
    };

    let untracked = office
        .read("product.product", &json!(service), json!(["is_storable"]))
        .await;
    let turned = write(service, json!({"type": "consu", "is_storable": true})).await;
    office.erp.set_stock(goods, 5, 1.0);
    let refused = write(goods, json!({"type": "service"})).await;

    assert_eq!(untracked["is_storable"], json!(false));
    assert_eq!(turned.0, 200);
    assert_eq!(
        (refused.0, refused.1["name"].as_str()),
        (422, Some("odoo.exceptions.UserError"))
    );
}
