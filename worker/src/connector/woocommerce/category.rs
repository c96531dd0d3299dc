//! Categories: a store's tree of them, and which of a product's are ours. Pure.
//!
//! A product may stand in categories that its shop gave it and no other system knows of. So we note in the product's
//! meta which categories we gave it: of a product with that note only these are read, and a write replaces these alone.
//! Of a product without the note all are read, and a write adds to them. Whatever is not ours stays, and is no
//! difference.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::connection::Settings;
use lockstep_shared::decide::Owner;
use lockstep_shared::entity::clean_line;
use lockstep_shared::system::EntityType;
use serde_json::{Value, json};

use super::product::Body;
use super::text;
use super::wire;

/// A product's meta key that holds the ids of the categories that we gave it, `0` for none: a key without a value is as
/// good as no key.
pub(super) const MARKER: &str = "_lockstep_categories";

/// The category that everything without one stands in (facts/mapping-woocommerce.md §1).
const NONE: &str = "uncategorized";

/// How deep a tree is followed.
const DEPTH_LIMIT: usize = 14;

/// All categories of a store.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    rows: BTreeMap<u64, wire::Category>,
    by_name: BTreeMap<(u64, String), u64>,
}

/// A category, or a tag, that is not there yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Missing {
    /// 0 for the outermost.
    parent: u64,
    name: String,
}

impl Missing {
    pub(super) fn outermost(name: &str) -> Self {
        Self {
            parent: 0,
            name: name.to_owned(),
        }
    }

    /// What tells it apart: one name has one category, whatever its case.
    pub(super) fn key(&self) -> (u64, String) {
        (self.parent, self.name.to_lowercase())
    }

    pub(super) fn body(&self) -> Value {
        if self.parent == 0 {
            json!({"name": self.name})
        } else {
            json!({"name": self.name, "parent": self.parent})
        }
    }
}

impl Tree {
    pub(super) fn new(rows: Vec<wire::Category>) -> Self {
        let mut tree = Self::default();
        for row in rows {
            let key = (row.parent, name_of(&row).to_lowercase());
            tree.by_name.entry(key).or_insert(row.id);
            tree.rows.insert(row.id, row);
        }
        tree
    }

    /// Returns the names from the outermost category to this one; none for the category of what has none.
    fn path(&self, id: u64) -> Option<Vec<String>> {
        let mut path = Vec::new();
        let mut next = id;
        while next > 0 && path.len() < DEPTH_LIMIT {
            let row = self.rows.get(&next)?;
            path.push(name_of(row));
            next = row.parent;
        }
        path.reverse();
        (!is_none(&path)).then_some(path)
    }

    /// Finds a category, or tells the outermost on the way to it that is missing. Two of one name and parent are one,
    /// whatever their case (facts/mapping-woocommerce.md §1).
    pub(super) fn find(&self, path: &[String]) -> Result<u64, Missing> {
        let mut parent = 0;
        for name in path {
            let found = self.by_name.get(&(parent, name.to_lowercase()));
            parent = *found.ok_or_else(|| Missing {
                parent,
                name: name.clone(),
            })?;
        }
        Ok(parent)
    }

    /// Returns the paths of the categories that count of a product's.
    pub(super) fn paths(&self, product: &wire::Product, settings: &Settings) -> Vec<Vec<String>> {
        let ours = ours(product).filter(|_| !is_theirs_to_say(settings));
        let ids = product.categories.iter().map(|category| category.id);
        ids.filter(|id| ours.as_ref().is_none_or(|ours| ours.contains(id)))
            .filter_map(|id| self.path(id))
            .collect()
    }

    /// Returns categories as the store spells them.
    pub(super) fn spelt(&self, ids: &BTreeSet<u64>) -> Vec<Vec<String>> {
        ids.iter().filter_map(|id| self.path(*id)).collect()
    }
}

/// Says whether a product stands in a category at all.
pub(super) fn has_any(product: &wire::Product) -> bool {
    product.categories.iter().any(|category| category.slug != NONE)
}

fn name_of(row: &wire::Category) -> String {
    clean_line(&text::settled(&row.name))
}

fn is_none(path: &[String]) -> bool {
    match path {
        [] => true,
        [only] => only.eq_ignore_ascii_case(NONE),
        _ => false,
    }
}

fn ours(product: &wire::Product) -> Option<BTreeSet<u64>> {
    let noted = wire::meta(&product.meta_data, MARKER)?;
    Some(noted.split(',').filter_map(|id| id.trim().parse().ok()).collect())
}

/// Says whether the store's people have a say in a product's categories: then all of them count.
fn is_theirs_to_say(settings: &Settings) -> bool {
    let ownership = settings.ownership.get(&EntityType::Products);
    ownership.is_some_and(|ownership| match ownership.owner("categories") {
        Owner::Woocommerce | Owner::Shared | Owner::Newest | Owner::Manual => true,
        Owner::Odoo | Owner::Application => false,
    })
}

/// Returns the fields that put a product into categories; `current` is what it is now, if it is there.
pub(super) fn body(ids: &BTreeSet<u64>, current: Option<&wire::Product>, settings: &Settings) -> Body {
    let mut all = ids.clone();
    if let Some(product) = current.filter(|_| !is_theirs_to_say(settings)) {
        let before = ours(product).unwrap_or_default();
        let kept = product.categories.iter().filter(|category| category.slug != NONE);
        all.extend(kept.map(|category| category.id).filter(|id| !before.contains(id)));
    }
    let noted = if ids.is_empty() {
        "0".to_owned()
    } else {
        ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
    };
    let named: Vec<Value> = all.iter().map(|id| json!({"id": id})).collect();
    Body::from_iter([
        ("categories".to_owned(), Value::Array(named)),
        ("meta_data".to_owned(), json!([{"key": MARKER, "value": noted}])),
    ])
}

/// Returns categories as a store can hold them: what it drops from names is gone, and one name has one spelling.
pub(super) fn project(categories: &[Vec<String>]) -> Vec<Vec<String>> {
    let mut spelling: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut paths = Vec::new();
    for path in categories {
        let names = path
            .iter()
            .map(|name| clean_line(&text::settled(name)))
            .filter(|name| !name.is_empty())
            .take(DEPTH_LIMIT);
        let (mut key, mut spelt) = (Vec::new(), Vec::new());
        for name in names {
            key.push(name.to_lowercase());
            spelt.push(spelling.entry(key.clone()).or_insert(name).clone());
        }
        if !is_none(&spelt) {
            paths.push(spelt);
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let rows = json!([
            {"id": 15, "name": "Uncategorized", "slug": "uncategorized", "parent": 0},
            {"id": 16, "name": "Clothing", "slug": "clothing", "parent": 0},
            {"id": 17, "name": "Hats &amp; Caps", "slug": "hats", "parent": 16},
            {"id": 18, "name": "Sale", "slug": "sale", "parent": 0},
        ]);
        Tree::new(serde_json::from_value(rows).unwrap())
    }

    fn product(ids: &[u64], noted: Option<&str>) -> wire::Product {
        let slug = |id: &u64| if *id == 15 { "uncategorized" } else { "x" };
        let categories: Vec<Value> = ids.iter().map(|id| json!({"id": id, "slug": slug(id)})).collect();
        let meta: Vec<Value> = noted
            .iter()
            .map(|noted| json!({"key": MARKER, "value": noted}))
            .collect();
        serde_json::from_value(json!({"categories": categories, "meta_data": meta})).unwrap()
    }

    fn path(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_path_is_found_whatever_its_case_or_told_where_it_ends() {
        let missing = |names: &[&str]| tree().find(&path(names)).unwrap_err();

        assert_eq!(tree().find(&path(&["clothing", "HATS & CAPS"])), Ok(17));
        assert_eq!(
            missing(&["Clothing", "Shoes", "Boots"]).body(),
            json!({"name": "Shoes", "parent": 16})
        );
        assert_eq!(missing(&["Music"]).body(), json!({"name": "Music"}));
    }

    #[test]
    fn all_categories_are_read_until_some_are_ours() {
        let settings = Settings::default();
        let read = |ids: &[u64], noted: Option<&str>| tree().paths(&product(ids, noted), &settings);

        assert_eq!(
            read(&[17, 18], None),
            [path(&["Clothing", "Hats & Caps"]), path(&["Sale"])]
        );
        assert_eq!(read(&[17, 18], Some("17")), [path(&["Clothing", "Hats & Caps"])]);
        assert_eq!(read(&[17, 18], Some("0")), Vec::<Vec<String>>::new());
        assert_eq!(read(&[15], None), Vec::<Vec<String>>::new());
    }

    #[test]
    fn what_the_shop_added_stays() {
        let written = |noted: Option<&str>| {
            let body = body(
                &[16].into(),
                Some(&product(&[17, 18], noted)),
                &Settings::default(),
            );
            body["categories"].clone()
        };

        assert_eq!(written(Some("17")), json!([{"id": 16}, {"id": 18}]));
        assert_eq!(written(None), json!([{"id": 16}, {"id": 17}, {"id": 18}]));
        let none = body(
            &BTreeSet::new(),
            Some(&product(&[15], None)),
            &Settings::default(),
        );
        assert_eq!(none["categories"], json!([]));
        assert_eq!(none["meta_data"][0]["value"], "0");
    }

    #[test]
    fn a_store_that_owns_its_categories_has_all_of_them_read_and_replaced() {
        let mut settings = Settings::default();
        let ownership = lockstep_shared::decide::Ownership::of(Owner::Woocommerce);
        settings.ownership.insert(EntityType::Products, ownership);
        let product = product(&[17, 18], Some("17"));

        assert_eq!(tree().paths(&product, &settings).len(), 2);
        assert_eq!(
            body(&[16].into(), Some(&product), &settings)["categories"],
            json!([{"id": 16}])
        );
    }

    #[test]
    fn one_name_has_one_spelling_and_none_is_none() {
        let paths = [
            path(&["A &amp; B", "x"]),
            path(&["a & b", "Y"]),
            path(&["<b>"]),
            path(&["uncategorized"]),
        ];

        let once = project(&paths);

        assert_eq!(once, [path(&["A & B", "x"]), path(&["A & B", "Y"])]);
        assert_eq!(project(&once), once);
    }
}
