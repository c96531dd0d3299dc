//! What only Odoo does with products: its tags, and pictures that are fetched for it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lockstep_sandbox::woocommerce::{Store, StoreOptions};
use lockstep_shared::entity::Content;
use lockstep_shared::network::Destinations;
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::Write;
use lockstep_worker::connector::http::Options;
use serde_json::{Value, json};

use super::content::{changed, plain, shirt};
use super::harness::{Fate, Harness, Placed, create, update};
use super::subject::{Caller, Office, Subject};

const PRODUCTS: EntityType = EntityType::Products;

fn tagged(number: usize, tags: &[&str]) -> Content {
    changed(&plain(PRODUCTS, number), |json| json["tags"] = json!(tags))
}

async fn tags_are_made_once_and_those_that_are_there_are_used<const MAJOR: u32>() {
    let harness = Harness::<Office<MAJOR>>::start().await;
    harness
        .subject
        .erp
        .insert("product.tag", json!({"name": "Wool & Silk"}));
    let writes: Vec<Write> = (0..30)
        .map(|number| {
            create(&tagged(
                number,
                &["Wool & Silk", "wool", &format!("No {}", number % 3)],
            ))
        })
        .collect();

    let mut fates = harness.push(PRODUCTS, writes.clone()).await;

    for write in &writes {
        let placed = fates.remove(&write.record).expect("a fate").placed();
        harness.assert_holds(write, &placed).await;
    }
    assert_eq!(harness.subject.erp.records("product.tag").len(), 5);
}

async fn tags_come_and_go<const MAJOR: u32>() {
    let harness = Harness::<Office<MAJOR>>::start().await;
    let with = |tags: &[&str]| changed(&shirt(1, &[("Blue", "10")]), |json| json["tags"] = json!(tags));
    let mut before = with(&["A"]);
    let write = create(&before);
    let placed = harness.write(&write).await;
    harness.assert_holds(&write, &placed).await;

    for tags in [&["A", "B"][..], &["B"], &[], &["C"]] {
        let after = with(tags);
        let change = update(write.record, &placed, &before, &after);
        harness.write(&change).await;
        harness.assert_holds(&change, &placed).await;
        before = after;
    }
}

/// A store whose files are fetched, with the addresses of two pictures.
async fn gallery() -> (Store, Vec<String>) {
    let store = Store::start(StoreOptions::default())
        .await
        .expect("a port is free");
    store.insert_product(json!({
        "name": "Theirs", "images": [{"src": "https://x.example.com/a.png"}, {"src": "https://x.example.com/b.png"}]
    }));
    let addresses = store.pictures();
    let addresses = addresses
        .iter()
        .map(|picture| picture["src"].as_str().expect("a text"));
    let addresses = addresses.map(str::to_owned).collect();
    (store, addresses)
}

async fn start<const MAJOR: u32>(sources: Destinations) -> Harness<Office<MAJOR>> {
    let subject = Office::<MAJOR>::start().await;
    let options = Options {
        sources,
        ..Options::local()
    };
    let connector = subject.connect(Caller::Known, &options);
    Harness { subject, connector }
}

/// The name in the file that a product has for its picture.
fn picture<const MAJOR: u32>(harness: &Harness<Office<MAJOR>>, placed: &Placed) -> Option<String> {
    let records = harness.subject.erp.records("product.template");
    let id = Office::<MAJOR>::id(&placed.external_id);
    let record = records.iter().find(|record| record["id"] == id);
    let image = record.expect("it is there")["image_1920"].as_str()?.to_owned();
    let file = STANDARD.decode(image).expect("base64");
    Some(String::from_utf8_lossy(&file[10..]).into_owned())
}

fn pictured(content: &Content, addresses: &[&String]) -> Content {
    changed(content, |json| json["images"] = json!(addresses))
}

async fn the_main_picture_is_fetched_and_goes_along<const MAJOR: u32>() {
    let (_store, addresses) = gallery().await;
    let harness = start::<MAJOR>(Destinations::Any).await;
    for content in [plain(PRODUCTS, 1), shirt(1, &[("Blue", "10"), ("Red", "12")])] {
        let first = harness
            .connector
            .project(&pictured(&content, &[&addresses[0], &addresses[1]]));
        let write = create(&first);
        let placed = harness.write(&write).await;
        assert_eq!(picture(&harness, &placed).as_deref(), Some("a.png"));
        let theirs = harness.refreshed(&write, &placed.external_id).await;
        assert_eq!(
            theirs.content,
            Ok(harness.connector.project(&content)),
            "it is not read back"
        );

        let second = pictured(&content, &[&addresses[1]]);
        let change = update(write.record, &placed, &first, &second);
        harness.write(&change).await;
        assert_eq!(picture(&harness, &placed).as_deref(), Some("b.png"));
        // One that goes stays there.
        let third = update(write.record, &placed, &second, &content);
        harness.write(&third).await;
        assert_eq!(picture(&harness, &placed).as_deref(), Some("b.png"));
    }
}

/// Those that can't be had are told one by one, with their products there and the others' pictures on them.
async fn a_picture_that_can_t_be_had_keeps_nothing_else_back<const MAJOR: u32>() {
    let (store, addresses) = gallery().await;
    let harness = start::<MAJOR>(Destinations::Any).await;
    let gone = format!("{}/wp-content/uploads/2026/11/gone.png", store.base_url());
    let nowhere = "http://nowhere.invalid/a.png".to_owned();
    // What answers, and is no picture.
    let page = format!("{}/wp-json/", store.base_url());
    let sources = [
        &addresses[0],
        &gone,
        &nowhere,
        &page,
        &addresses[1],
        &addresses[0],
    ];
    let writes: Vec<Write> = sources
        .iter()
        .enumerate()
        .map(|(number, source)| create(&pictured(&plain(PRODUCTS, number), &[*source])))
        .collect();

    let mut fates = harness.push(PRODUCTS, writes.clone()).await;

    let mut told = Vec::new();
    for write in &writes {
        told.push(match fates.remove(&write.record).expect("a fate") {
            Fate::Placed(placed) => picture(&harness, &placed).expect("it has one"),
            Fate::Rejected(refusal) => format!("rejected {}", refusal.code),
            Fate::Transient(refusal) => format!("transient {}", refusal.code),
            Fate::Taken { refusal, .. } => format!("taken {}", refusal.code),
        });
    }
    let expected = [
        "a.png",
        "rejected picture_refused",
        "transient picture_unavailable",
        "rejected load_refused",
        "b.png",
        "a.png",
    ];
    assert_eq!(told, expected);
    let names: Vec<Value> = harness
        .subject
        .erp
        .records("product.template")
        .iter()
        .map(|record| record["name"].clone())
        .collect();
    for number in 0..writes.len() {
        assert!(names.contains(&json!(format!("Thing {number}"))), "{names:?}");
    }
}

/// A record must not make a worker look into its own network.
async fn a_picture_of_a_private_network_is_not_fetched<const MAJOR: u32>() {
    let (store, addresses) = gallery().await;
    let harness = start::<MAJOR>(Destinations::Public).await;
    let write = create(&pictured(&plain(PRODUCTS, 1), &[&addresses[0]]));
    let before = store.faults().requests_seen();

    let fates = harness.push(PRODUCTS, vec![write]).await;

    let fates: Vec<Fate> = fates.into_values().collect();
    assert!(
        matches!(&fates[..], [Fate::Rejected(refusal)] if refusal.message.contains("private network")),
        "{fates:?}"
    );
    assert_eq!(store.faults().requests_seen(), before);
}

for_each_office! {
    tags_are_made_once_and_those_that_are_there_are_used,
    tags_come_and_go,
    the_main_picture_is_fetched_and_goes_along,
    a_picture_that_can_t_be_had_keeps_nothing_else_back,
    a_picture_of_a_private_network_is_not_fetched,
}
