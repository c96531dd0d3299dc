//! Pictures of products: the media library, and fetching from addresses (facts: mapping-woocommerce 1, «Images»).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::product::as_text;
use super::refusal::Refusal;
use super::shop::Shop;
use super::text;
use crate::ledger::Operation;

/// Where uploads stand below the shop's address.
pub(super) const FOLDER: &str = "/wp-content/uploads/2026/11/";

/// One picture in the library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Picture {
    pub(super) id: u64,
    /// The name of its file, which no other picture has.
    file: String,
    /// Where it was fetched from; empty for what the shop's people uploaded.
    source: String,
    name: String,
    alt: String,
    created: i64,
}

/// Everything that was ever uploaded: nothing that is taken off a product leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Library {
    pictures: BTreeMap<u64, Picture>,
    /// Addresses that nobody can fetch from.
    pub(super) lost: BTreeSet<String>,
}

impl Library {
    fn by_file(&self, file: &str) -> Option<&Picture> {
        self.pictures.values().find(|picture| picture.file == file)
    }

    /// A name in use gets a number (facts: `998 a-1.png`).
    fn free_file(&self, wanted: &str) -> String {
        let (stem, extension) = wanted.rsplit_once('.').unwrap_or((wanted, "png"));
        let numbered = (1..).map(|number| format!("{stem}-{number}.{extension}"));
        let mut candidates = std::iter::once(wanted.to_owned()).chain(numbered);
        candidates
            .find(|file| self.by_file(file).is_none())
            .expect("some number is free")
    }
}

fn failed(message: &str) -> Refusal {
    Refusal::new(400, "woocommerce_product_image_upload_error", message)
}

/// Returns the name of the file that an address names, or why nothing can be fetched from it.
fn file_of(address: &str, library: &Library) -> Result<String, Refusal> {
    let rest = address
        .strip_prefix("http://")
        .or_else(|| address.strip_prefix("https://"));
    let Some(rest) = rest else {
        return Err(failed("Invalid URL: A valid URL was not provided."));
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.split(':').next().unwrap_or_default();
    if host.ends_with(".invalid") || library.lost.contains(address) {
        return Err(failed(&format!(
            "Error getting remote image {address}. Error: Not Found"
        )));
    }
    let file = path.rsplit('/').next().unwrap_or_default();
    match file.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && (3..=4).contains(&extension.len()) => {
            Ok(file.to_owned())
        }
        _ => Err(failed(
            "Invalid image: Sorry, you are not allowed to upload this file type.",
        )),
    }
}

impl Shop {
    /// Reads one entry of `images`: an id wins, and an address is fetched from again each time. `None` for an entry that
    /// names neither.
    pub(super) fn picture(&mut self, entry: &Value) -> Result<Option<u64>, Refusal> {
        let named = |field: &str| entry.get(field).map(as_text).filter(|text| !text.is_empty());
        let id = match entry["id"].as_u64().filter(|id| *id > 0) {
            Some(id) if self.library.pictures.contains_key(&id) => id,
            Some(id) => {
                let message = format!("#{id} is an invalid image ID.");
                return Err(Refusal::new(
                    400,
                    "woocommerce_product_invalid_image_id",
                    &message,
                ));
            }
            None => match named("src") {
                Some(address) => self.upload(&address)?,
                None => return Ok(None),
            },
        };
        if let Some(picture) = self.library.pictures.get_mut(&id) {
            if let Some(name) = named("name") {
                picture.name = name;
            }
            if let Some(alt) = named("alt") {
                picture.alt = alt;
            }
        }
        Ok(Some(id))
    }

    fn upload(&mut self, address: &str) -> Result<u64, Refusal> {
        let wanted = file_of(address, &self.library)?;
        let file = self.library.free_file(&wanted);
        let id = self.next_post;
        self.next_post += 1;
        let picture = Picture {
            id,
            name: file.clone(),
            file,
            source: address.to_owned(),
            alt: String::new(),
            created: super::now(),
        };
        self.library.pictures.insert(id, picture);
        self.felt("picture", Operation::Created, id, None, true);
        Ok(id)
    }

    pub(super) fn render_picture(&self, id: u64) -> Option<Value> {
        let picture = self.library.pictures.get(&id)?;
        Some(json!({
            "id": id,
            "date_created": text::iso(picture.created + self.offset_secs),
            "date_created_gmt": text::iso(picture.created),
            "date_modified": text::iso(picture.created + self.offset_secs),
            "date_modified_gmt": text::iso(picture.created),
            "src": format!("{}{FOLDER}{}", self.base_url, picture.file),
            "name": picture.name, "alt": picture.alt,
        }))
    }

    pub(super) fn render_pictures(&self, ids: &[u64]) -> Value {
        ids.iter().filter_map(|id| self.render_picture(*id)).collect()
    }

    /// Shows the whole library, each picture with its `source`.
    pub(super) fn render_library(&self) -> Vec<Value> {
        let shown = self.library.pictures.values().filter_map(|picture| {
            let mut view = self.render_picture(picture.id)?;
            view["source"] = json!(picture.source);
            Some(view)
        });
        shown.collect()
    }

    /// Returns an uploaded file: the head of a GIF of 4 × 4 points, and what tells it apart.
    pub(super) fn picture_file(&self, path: &str) -> Option<String> {
        let picture = self.library.by_file(path.strip_prefix(FOLDER)?)?;
        Some(format!("GIF89a\x04\0\x04\0{}", picture.file))
    }
}

#[cfg(test)]
mod tests;
