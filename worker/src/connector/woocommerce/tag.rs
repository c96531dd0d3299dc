//! Tags: a store's words for its products. Pure.
//!
//! A product names its tags in full, so only who writes them needs the store's list: they are put on by id. One word has
//! one tag, whatever its case (facts/mapping-woocommerce.md §1, «Categories/brands/tags»).

use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::entity::clean_line;
use serde_json::{Value, json};

use super::category::Missing;
use super::text;
use super::wire;

/// All tags of a store.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    names: BTreeMap<u64, String>,
    by_name: BTreeMap<String, u64>,
}

impl Words {
    pub(super) fn new(rows: Vec<wire::Category>) -> Self {
        let mut words = Self::default();
        for row in rows {
            let name = name_of(&row);
            // Two of one name have slugs of their own; the older one is meant.
            let id = words.by_name.entry(name.to_lowercase()).or_insert(row.id);
            *id = (*id).min(row.id);
            words.names.insert(row.id, name);
        }
        words
    }

    pub(super) fn find(&self, tag: &str) -> Result<u64, Missing> {
        let found = self.by_name.get(&tag.to_lowercase());
        found.copied().ok_or_else(|| Missing::outermost(tag))
    }

    /// Returns tags as the store spells them.
    pub(super) fn spelt(&self, ids: &BTreeSet<u64>) -> Vec<String> {
        ids.iter().filter_map(|id| self.names.get(id).cloned()).collect()
    }
}

fn name_of(row: &wire::Category) -> String {
    clean_line(&text::settled(&row.name))
}

/// Returns the tags of a product.
pub(super) fn names(product: &wire::Product) -> Vec<String> {
    product.tags.iter().map(name_of).collect()
}

/// Returns the list that puts tags on a product in place of those that it has.
pub(super) fn body(ids: &BTreeSet<u64>) -> Value {
    ids.iter().map(|id| json!({"id": id})).collect()
}

/// Returns tags as a store can hold them: what it drops from names is gone, and one word is there once.
pub(super) fn project(tags: &[String]) -> Vec<String> {
    let mut spelling: BTreeMap<String, String> = BTreeMap::new();
    for tag in tags {
        let name = clean_line(&text::settled(tag));
        spelling.entry(name.to_lowercase()).or_insert(name);
    }
    spelling.into_values().filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_whatever_its_case_and_the_older_of_two() {
        let rows = json!([
            {"id": 9, "name": "Wool &amp; Silk"}, {"id": 4, "name": "wool &amp; silk"}, {"id": 5, "name": "New"},
        ]);
        let words = Words::new(serde_json::from_value(rows).unwrap());

        assert_eq!(words.find("WOOL & silk"), Ok(4));
        assert_eq!(words.find("Old").unwrap_err().body(), json!({"name": "Old"}));
        assert_eq!(words.spelt(&[4, 5].into()), ["wool & silk", "New"]);
    }

    #[test]
    fn one_word_is_held_once() {
        let tags = ["Sale", "sale", "A &amp; B", "<b>"].map(str::to_owned);

        let once = project(&tags);

        assert_eq!(once, ["A & B", "Sale"]);
        assert_eq!(project(&once), once);
    }
}
