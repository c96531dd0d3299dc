//! Pictures: which of a product's came from where, and what is sent for them. Pure.
//!
//! A store fetches a picture from the address that it is given, keeps it under an address of its own and tells that one;
//! given the same address again it makes a second picture (facts/mapping-woocommerce.md §1, «Images»). So we note in the
//! product's meta which of its pictures came from where, and a picture that is noted is read under the address that it
//! came from, and named by its id when it is written. The others are read under the store's own address.
//!
//! The note goes along with the pictures, when their ids are not known yet: those stand there by their place, so that a
//! request without an answer is known again. A second write puts the ids in. What has its id is told apart wherever it
//! stands; what goes by its place counts only while the product has as many pictures as the note, and until then
//! somebody who puts another picture in its very place is not noticed.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::product::Body;
use super::wire;

/// A product's meta key that tells where its pictures came from: `id=address` for each in their order, with `0` for an id
/// that is not known yet and no address for a picture of the store's own; `0` alone for none at all.
pub(super) const MARKER: &str = "_lockstep_images";

/// Most pictures that one request has a store fetch. It does so one after the other before it answers, and a slow one
/// takes 8 s (facts/mapping-woocommerce.md §1, «Images»).
pub(super) const FETCH_LIMIT: usize = 5;

/// One picture, as the note tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Noted {
    /// 0 where it is not known yet.
    id: u64,
    /// Empty for one of the store's own.
    source: String,
}

fn noted(product: &wire::Product) -> Vec<Noted> {
    let note = wire::meta(&product.meta_data, MARKER).unwrap_or_default();
    let entries = note.split_whitespace().filter_map(|entry| {
        let (id, source) = entry.split_once('=')?;
        Some(Noted {
            id: id.parse().ok()?,
            source: source.to_owned(),
        })
    });
    entries.collect()
}

fn note(entries: &[Noted]) -> String {
    if entries.is_empty() {
        return "0".to_owned();
    }
    let texts: Vec<String> = entries
        .iter()
        .map(|entry| format!("{}={}", entry.id, entry.source))
        .collect();
    texts.join(" ")
}

/// A picture that a product has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held<'a> {
    id: u64,
    own: &'a str,
    source: Option<String>,
}

impl Held<'_> {
    fn address(&self) -> &str {
        self.source.as_deref().unwrap_or(self.own)
    }
}

fn held(product: &wire::Product) -> Vec<Held<'_>> {
    let noted = noted(product);
    let images = || product.images.iter().filter(|image| image.id > 0);
    let is_whole = noted.len() == images().count()
        && noted
            .iter()
            .zip(images())
            .all(|(noted, image)| noted.id == 0 || noted.id == image.id);
    let source = |place: usize, id: u64| {
        let known = noted.iter().find(|noted| noted.id == id);
        let placed = noted.get(place).filter(|noted| is_whole && noted.id == 0);
        let source = &known.or(placed)?.source;
        (!source.is_empty()).then(|| source.clone())
    };
    images()
        .enumerate()
        .map(|(place, image)| Held {
            id: image.id,
            own: &image.src,
            source: source(place, image.id),
        })
        .collect()
}

/// Returns the addresses of a product's pictures: those that they came from, or else the store's own.
pub(super) fn addresses(product: &wire::Product) -> Vec<String> {
    let held = held(product);
    let addresses = held.iter().map(Held::address);
    addresses
        .filter(|address| is_address(address))
        .map(str::to_owned)
        .collect()
}

fn is_address(text: &str) -> bool {
    (text.starts_with("https://") || text.starts_with("http://")) && !text.contains(char::is_whitespace)
}

/// Returns pictures as a store can hold them: each once.
pub(super) fn project(images: &[String]) -> Vec<String> {
    let mut known = BTreeSet::new();
    let new = images.iter().filter(|image| known.insert(image.as_str()));
    new.cloned().collect()
}

/// What has to be sent next for a product's pictures.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) body: Body,
    /// How many pictures the store fetches for it. While there are any, their ids are to be noted after it.
    pub(super) fetched: usize,
}

/// Compares a product's pictures with those that it should have; `None` where they are these and are noted.
///
/// Pictures beyond the most that one request has fetched are left to the next, which puts them in their places.
pub(super) fn change(wanted: &[String], product: &wire::Product) -> Option<Change> {
    let held = held(product);
    let (mut entries, mut bodies, mut fetched) = (Vec::new(), Vec::new(), 0);
    for address in wanted {
        let known = held
            .iter()
            .find(|held| held.address() == address)
            .or_else(|| held.iter().find(|held| held.own == address));
        if let Some(known) = known {
            entries.push(Noted {
                id: known.id,
                source: known.source.clone().unwrap_or_default(),
            });
            bodies.push(json!({"id": known.id}));
        } else if fetched < FETCH_LIMIT {
            fetched += 1;
            entries.push(Noted {
                id: 0,
                source: address.clone(),
            });
            bodies.push(json!({"src": address}));
        }
    }
    let is_same = fetched == 0
        && entries
            .iter()
            .map(|entry| entry.id)
            .eq(held.iter().map(|held| held.id));
    let before = wire::meta(&product.meta_data, MARKER);
    let after = note(&entries);
    let is_noted = match before {
        Some(before) => before == after,
        None => entries.iter().all(|entry| entry.source.is_empty()),
    };
    if is_same && is_noted {
        return None;
    }
    let mut body = Body::new();
    if !is_same {
        body.insert("images".to_owned(), Value::Array(bodies));
    }
    if !is_noted {
        body.insert("meta_data".to_owned(), json!([{"key": MARKER, "value": after}]));
    }
    Some(Change { body, fetched })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(images: &[(u64, &str)], note: Option<&str>) -> wire::Product {
        let images: Vec<Value> = images
            .iter()
            .map(
                |(id, file)| json!({"id": id, "src": format!("https://shop/{file}"), "name": "x", "alt": ""}),
            )
            .collect();
        let meta: Vec<Value> = note
            .iter()
            .map(|note| json!({"key": MARKER, "value": note}))
            .collect();
        serde_json::from_value(json!({"images": images, "meta_data": meta})).unwrap()
    }

    fn list(addresses: &[&str]) -> Vec<String> {
        addresses.iter().map(|address| (*address).to_owned()).collect()
    }

    fn read(images: &[(u64, &str)], note: Option<&str>) -> Vec<String> {
        addresses(&product(images, note))
    }

    const A: &str = "https://cdn/a.png";
    const B: &str = "https://cdn/b.png";

    #[test]
    fn a_picture_is_read_under_the_address_that_it_came_from() {
        let note = Some("7=https://cdn/a.png 8=");

        assert_eq!(
            read(&[(7, "a-1.png"), (8, "own.png")], note),
            [A, "https://shop/own.png"]
        );
        assert_eq!(
            read(&[(8, "own.png"), (7, "a-1.png")], note),
            ["https://shop/own.png", A]
        );
        assert_eq!(read(&[(9, "new.png")], note), ["https://shop/new.png"]);
        assert_eq!(read(&[(7, "a.png")], None), ["https://shop/a.png"]);
    }

    #[test]
    fn one_that_has_no_id_yet_goes_by_its_place_while_all_the_others_stand_where_they_stood() {
        let note = Some("8= 0=https://cdn/a.png");

        assert_eq!(
            read(&[(8, "own.png"), (9, "a.png")], note),
            ["https://shop/own.png", A]
        );
        assert_eq!(
            read(&[(9, "a.png"), (8, "own.png")], note)[0],
            "https://shop/a.png"
        );
        assert_eq!(read(&[(9, "a.png")], note), ["https://shop/a.png"]);
    }

    #[test]
    fn a_new_picture_is_fetched_noted_by_its_place_and_then_by_its_id() {
        let first = change(&list(&[A]), &product(&[], None)).unwrap();

        assert_eq!(first.fetched, 1);
        assert_eq!(first.body["images"], json!([{"src": A}]));
        let placed = first.body["meta_data"][0]["value"].as_str().unwrap().to_owned();
        let second = change(&list(&[A]), &product(&[(7, "a.png")], Some(&placed))).unwrap();
        assert_eq!(second.fetched, 0);
        assert_eq!(second.body.keys().collect::<Vec<_>>(), ["meta_data"]);
        let noted = second.body["meta_data"][0]["value"].as_str().unwrap().to_owned();
        assert_eq!(noted, "7=https://cdn/a.png");
        assert_eq!(change(&list(&[A]), &product(&[(7, "a.png")], Some(&noted))), None);
    }

    #[test]
    fn what_is_there_is_named_by_its_id_in_any_order_and_what_is_not_wanted_goes() {
        let before = product(&[(7, "a.png"), (8, "own.png")], Some("7=https://cdn/a.png 8="));

        let turned = change(&list(&["https://shop/own.png", A]), &before).unwrap();
        assert_eq!(turned.body["images"], json!([{"id": 8}, {"id": 7}]));
        assert_eq!(turned.fetched, 0);
        let added = change(&list(&[A, B]), &before).unwrap();
        assert_eq!(added.body["images"], json!([{"id": 7}, {"src": B}]));
        let none = change(&[], &before).unwrap();
        assert_eq!(
            (&none.body["images"], &none.body["meta_data"][0]["value"]),
            (&json!([]), &json!("0"))
        );
        assert_eq!(change(&[], &product(&[], Some("0"))), None);
    }

    #[test]
    fn a_store_s_own_pictures_need_no_note() {
        let before = product(&[(7, "a.png"), (8, "b.png")], None);

        let turned = change(&list(&["https://shop/b.png", "https://shop/a.png"]), &before).unwrap();

        assert_eq!(turned.body.keys().collect::<Vec<_>>(), ["images"]);
        assert_eq!(
            change(&list(&["https://shop/a.png", "https://shop/b.png"]), &before),
            None
        );
    }

    #[test]
    fn many_are_fetched_a_few_at_a_time_and_none_that_is_there_is_lost_meanwhile() {
        let wanted: Vec<String> = (0..8)
            .map(|number| format!("https://cdn/{number}.png"))
            .chain(["https://shop/own.png".to_owned()])
            .collect();

        let first = change(&wanted, &product(&[(3, "own.png")], None)).unwrap();

        assert_eq!(first.fetched, FETCH_LIMIT);
        let images = first.body["images"].as_array().unwrap();
        assert_eq!((images.len(), &images[5]), (6, &json!({"id": 3})));
    }

    #[test]
    fn each_is_held_once() {
        assert_eq!(project(&list(&[A, B, A])), [A, B]);
    }
}
