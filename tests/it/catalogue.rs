//! What makes a catalogue: pictures, tags and categories from store to ERP and back, and nothing moves twice.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lockstep_sandbox::fault::{Fault, Rule};
use lockstep_shared::entity::Content;
use lockstep_shared::sync::Status;
use lockstep_tests::stack::Stack;
use serde_json::{Value, json};

use lockstep_tests::make::{customer, order, product};

const ELSEWHERE: &str = "https://cdn.example.com";

async fn stays_still(stack: &Stack) {
    stack.forget_effects();
    let pictures = stack.sandbox.store.pictures().len();
    stack.in_step().await;
    stack.assert_nothing_felt();
    assert_eq!(stack.sandbox.store.pictures().len(), pictures, "R17");
}

/// The ERP's product of an SKU: the name in the file of its picture, its tags and its category.
fn in_erp(stack: &Stack, sku: &str) -> (Option<String>, Vec<String>, String) {
    let erp = &stack.sandbox.erp;
    let templates = erp.records("product.template");
    let template = templates.iter().find(|template| template["default_code"] == sku);
    let template = template.unwrap_or_else(|| panic!("no {sku} in the ERP"));
    let picture = template["image_1920"].as_str().map(|image| {
        let file = STANDARD.decode(image).expect("base64");
        String::from_utf8_lossy(&file[10..]).into_owned()
    });
    let ids = template["product_tag_ids"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut tags: Vec<String> = erp
        .records("product.tag")
        .iter()
        .filter(|tag| ids.contains(&tag["id"]))
        .map(|tag| tag["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    tags.sort();
    let category = template["categ_id"][1].as_str().unwrap_or_default().to_owned();
    (picture, tags, category)
}

fn in_store(stack: &Stack, sku: &str) -> Value {
    let products = stack.sandbox.store.products();
    let found = products.into_iter().find(|product| product["sku"] == sku);
    found.unwrap_or_else(|| panic!("no {sku} in the store"))
}

/// Where the pictures of the store's product came from, in their order.
fn sources(stack: &Stack, sku: &str) -> Vec<String> {
    let library = stack.sandbox.store.pictures();
    let images = in_store(stack, sku)["images"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let source = |image: &Value| {
        let picture = library.iter().find(|picture| picture["id"] == image["id"]);
        picture.expect("it is in the library")["source"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    images.iter().map(source).collect()
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

/// R17: what the store's people put on a product stands in the ERP, follows every change, and a sync after it is still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_of_the_store_s_stands_in_the_erp_with_picture_tags_and_category() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let category = stack
        .sandbox
        .store
        .insert_category(json!({"name": "Hats & Caps"}));
    let wool = stack.sandbox.store.insert_tag(json!({"name": "Wool & Silk"}));
    let new = stack.sandbox.store.insert_tag(json!({"name": "New"}));
    let id = stack.sandbox.store.insert_product(json!({
        "name": "Beanie", "sku": "BEANIE", "regular_price": "18.00", "categories": [{"id": category}],
        "tags": [{"id": wool}, {"id": new}],
        "images": [{"src": format!("{ELSEWHERE}/main.png")}, {"src": format!("{ELSEWHERE}/side.png")}],
    }));
    stack.work();

    stack.in_step().await;

    let (picture, tags, category) = in_erp(&stack, "BEANIE");
    assert_eq!(picture.as_deref(), Some("main.png"));
    assert_eq!(tags, ["New", "Wool & Silk"]);
    assert_eq!(category, "Hats & Caps");
    stays_still(&stack).await;

    // The shop's people turn the pictures round and take a tag off.
    let images = in_store(&stack, "BEANIE")["images"].clone();
    let turned = json!([{"id": images[1]["id"]}, {"id": images[0]["id"]}]);
    stack
        .sandbox
        .store
        .update_product(id, json!({"images": turned, "tags": [{"id": wool}]}));
    stack.in_step().await;
    let (picture, tags, _) = in_erp(&stack, "BEANIE");
    assert_eq!(picture.as_deref(), Some("side.png"));
    assert_eq!(tags, ["Wool & Silk"]);
    assert_eq!(
        stack.sandbox.store.pictures().len(),
        2,
        "nothing was fetched again"
    );
    stays_still(&stack).await;
}

/// Both systems fetch what the application names, each picture once, also where the store's answer was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_that_the_application_names_are_fetched_once() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    // Somewhere to fetch from: the files of another product.
    stack.sandbox.store.insert_product(json!({
        "name": "Other", "sku": "OTHER", "regular_price": "1.00",
        "images": [{"src": format!("{ELSEWHERE}/a.png")}, {"src": format!("{ELSEWHERE}/b.png")}],
    }));
    let files: Vec<String> = stack
        .sandbox
        .store
        .pictures()
        .iter()
        .map(|picture| picture["src"].as_str().expect("a text").to_owned())
        .collect();
    let with = |names: &[usize], tags: &[&str]| {
        let Content::Product(mut product) = product("LAMP", 1000) else {
            unreachable!("a product")
        };
        product.images = names.iter().map(|at| files[*at].clone()).collect();
        product.tags = texts(tags);
        Content::Product(product)
    };
    let lamp = stack.put(with(&[0], &["Light"])).await;
    let is_fetch = |body: &Value| body.to_string().contains("\"src\"");
    stack.sandbox.store.faults().add(Rule {
        matches: Box::new(move |request| is_fetch(&request.body)),
        fault: Fault::LostReply,
        times: Some(1),
    });
    stack.work();

    stack.in_step().await;

    assert_eq!(sources(&stack, "LAMP"), [files[0].clone()]);
    assert_eq!(stack.sandbox.store.pictures().len(), 3, "R13: fetched once");
    let (picture, tags, _) = in_erp(&stack, "LAMP");
    assert_eq!((picture.as_deref(), tags), (Some("a.png"), texts(&["Light"])));
    stays_still(&stack).await;

    stack.put_as(lamp, with(&[1, 0], &["Bright", "Light"])).await;
    stack.in_step().await;
    assert_eq!(sources(&stack, "LAMP"), [files[1].clone(), files[0].clone()]);
    assert_eq!(stack.sandbox.store.pictures().len(), 4);
    let (picture, tags, _) = in_erp(&stack, "LAMP");
    assert_eq!(
        (picture.as_deref(), tags),
        (Some("b.png"), texts(&["Bright", "Light"]))
    );
    stays_still(&stack).await;
}

/// A picture that the store can't fetch is told, keeps nothing else back, and follows once it can be had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_that_is_gone_is_told_and_follows_later() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    stack.sandbox.store.insert_product(json!({
        "name": "Other", "sku": "OTHER", "regular_price": "1.00", "images": [{"src": format!("{ELSEWHERE}/a.png")}],
    }));
    let file = stack.sandbox.store.pictures()[0]["src"]
        .as_str()
        .expect("a text")
        .to_owned();
    stack.sandbox.store.lose_picture(&file);
    let Content::Product(mut lamp) = product("LAMP", 1000) else {
        unreachable!("a product")
    };
    lamp.images = vec![file.clone()];
    let lamp = stack.put(Content::Product(lamp)).await;
    let buyer = stack.put(customer("buyer@example.com")).await;
    stack.put(order("LAMPS", buyer, lamp)).await;
    stack.work();

    let sync = stack.sync().await;

    assert_eq!(
        sync.status(),
        Status::Partial,
        "R8: {:#?}",
        stack.troubles().await
    );
    assert_eq!(stack.sandbox.store.orders().len(), 1, "what was ordered of it");
    let troubles = stack.troubles().await;
    assert!(
        troubles
            .iter()
            .any(|trouble| trouble.contains("Error getting remote image")),
        "{troubles:#?}"
    );
    assert_eq!(in_store(&stack, "LAMP")["regular_price"], "10.00");
    assert_eq!(in_erp(&stack, "LAMP").0.as_deref(), Some("a.png"));

    stack.sandbox.store.find_pictures();
    stack.in_step().await;
    assert_eq!(sources(&stack, "LAMP"), [file]);
    stays_still(&stack).await;
}

/// The store's own spelling of categories and tags is no change, also of a product that takes several calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_spelling_of_the_store_s_is_no_change() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    stack.sandbox.store.insert_category(json!({"name": "lamps"}));
    stack.sandbox.store.insert_tag(json!({"name": "BRIGHT"}));
    stack.sandbox.store.insert_product(json!({
        "name": "Other", "sku": "OTHER", "regular_price": "1.00", "images": [{"src": format!("{ELSEWHERE}/a.png")}],
    }));
    let file = stack.sandbox.store.pictures()[0]["src"]
        .as_str()
        .expect("a text")
        .to_owned();
    let Content::Product(mut lamp) = product("LAMP", 1000) else {
        unreachable!("a product")
    };
    lamp.images = vec![file];
    lamp.categories = vec![texts(&["Lamps"])];
    lamp.tags = texts(&["Bright"]);
    stack.put(Content::Product(lamp)).await;
    stack.work();

    stack.in_step().await;

    assert_eq!(in_store(&stack, "LAMP")["categories"][0]["name"], "lamps");
    let (_, tags, category) = in_erp(&stack, "LAMP");
    assert_eq!((tags, category.as_str()), (texts(&["Bright"]), "Lamps"));
    stays_still(&stack).await;
}
