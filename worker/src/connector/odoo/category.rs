//! Product categories: the tree of one Odoo, and the one category that a product has there. Pure.
//!
//! A product stands in one category here and in any number elsewhere, so of a record's categories the one that says most
//! is held: the deepest, and of several the first. What else a record says stays with it and is no difference.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::entity::clean_line;
use serde::Deserialize;

use super::name;
use super::wire::{Link, falsy};

pub(super) const MODEL: &str = "product.category";

/// Fields of `product.category` that are read.
pub(super) const FIELDS: [&str; 2] = ["name", "parent_id"];

/// Up to Odoo 18 the outermost category, in which all others and every product without one stand. Version 19 has none
/// such, and products without a category.
const ALL: &str = "All";

/// What a store calls the category of what has none. One of that name here means no more, and could not be told to the
/// store.
const NONE: &str = "uncategorized";

/// How deep a tree is followed.
const DEPTH_LIMIT: usize = 32;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct CategoryRow {
    pub(super) id: i64,
    #[serde(deserialize_with = "falsy")]
    name: Option<String>,
    #[serde(deserialize_with = "falsy")]
    parent_id: Option<Link>,
}

/// A category's names from the outermost to itself.
type Path = Vec<String>;

/// All categories.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    paths: BTreeMap<i64, Path>,
    /// By their names in lower case; of two that are the same, the older one.
    by_path: BTreeMap<Path, i64>,
    all: Option<i64>,
    /// External ids of ours that categories have.
    names: BTreeSet<String>,
}

/// A category that is not there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) external_id: String,
    pub(super) name: String,
    pub(super) parent: Option<i64>,
}

impl Tree {
    pub(super) fn new(rows: Vec<CategoryRow>) -> Self {
        let rows: BTreeMap<i64, CategoryRow> = rows.into_iter().map(|row| (row.id, row)).collect();
        let mut tree = Self::default();
        for id in rows.keys().copied() {
            let path = path_of(&rows, id);
            if path.is_empty() {
                tree.all.get_or_insert(id);
                continue;
            }
            tree.by_path.entry(lower(&path)).or_insert(id);
            tree.paths.insert(id, path);
        }
        tree
    }

    /// Notes which external ids of ours are in use, so that none is given twice.
    pub(super) fn with_names(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.names.extend(names);
        self
    }

    pub(super) fn ids(&self) -> BTreeSet<i64> {
        self.paths.keys().copied().collect()
    }

    pub(super) fn path(&self, id: i64) -> Option<&Path> {
        self.paths.get(&id)
    }

    pub(super) fn find(&self, path: &[String]) -> Option<i64> {
        self.by_path.get(&lower(path)).copied()
    }

    /// The category of products without one, where there is such.
    pub(super) fn all(&self) -> Option<i64> {
        self.all
    }

    /// Returns the outermost category on the way to one that is not there.
    ///
    /// Its external id says which category it is when it is made. It may have been renamed since, and is another one
    /// then: loading it again would rename it back, so the new one goes by another id.
    pub(super) fn missing(&self, path: &[String]) -> Option<Missing> {
        let depth = (1..=path.len()).find(|depth| self.find(&path[..*depth]).is_none())?;
        let own = name::category(&path[..depth]);
        let mut candidates =
            std::iter::once(own.clone()).chain((2..).map(|number| format!("{own}_{number}")));
        Some(Missing {
            external_id: candidates.find(|name| !self.names.contains(name))?,
            name: path[depth - 1].clone(),
            parent: self
                .find(&path[..depth - 1])
                .or_else(|| self.all.filter(|_| depth == 1)),
        })
    }
}

/// Says whether an outermost category is one for products that have none.
fn says_nothing(outermost: &str) -> bool {
    outermost == ALL || outermost.eq_ignore_ascii_case(NONE)
}

/// Walks to the outermost category; one that says nothing is not part of a path.
fn path_of(rows: &BTreeMap<i64, CategoryRow>, id: i64) -> Path {
    let mut path = Path::new();
    let mut next = Some(id);
    while let Some(row) = next
        .and_then(|id| rows.get(&id))
        .filter(|_| path.len() < DEPTH_LIMIT)
    {
        path.push(clean_line(row.name.as_deref().unwrap_or_default()));
        next = row.parent_id.as_ref().map(|parent| parent.0);
    }
    while path.last().is_some_and(|outermost| says_nothing(outermost)) {
        path.pop();
    }
    path.reverse();
    path
}

fn lower(path: &[String]) -> Path {
    path.iter().map(|name| name.to_lowercase()).collect()
}

/// Picks the category that is held of a record's; they are in order.
pub(super) fn held(categories: &[Path]) -> Vec<Path> {
    let without_all = categories.iter().map(|path| {
        path.iter()
            .skip_while(|name| says_nothing(name))
            .cloned()
            .collect::<Path>()
    });
    let mut held: Option<Path> = None;
    for path in without_all.filter(|path| !path.is_empty()) {
        if held.as_ref().is_none_or(|held| path.len() > held.len()) {
            held = Some(path);
        }
    }
    held.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn tree(rows: &Value) -> Tree {
        Tree::new(serde_json::from_value(rows.clone()).unwrap())
    }

    fn path(names: &[&str]) -> Path {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_category_goes_by_its_names_without_the_one_for_all() {
        let rows = json!([
            {"id": 1, "name": "All", "parent_id": false},
            {"id": 4, "name": "Furniture", "parent_id": [1, "All"]},
            {"id": 5, "name": "Office / Home", "parent_id": [4, "All / Furniture"]},
        ]);
        let tree = tree(&rows);

        assert_eq!(tree.path(5), Some(&path(&["Furniture", "Office / Home"])));
        assert_eq!((tree.path(1), tree.all()), (None, Some(1)));
        assert_eq!(tree.find(&path(&["furniture", "office / home"])), Some(5));
        let missing = tree.missing(&path(&["Music", "Vinyl"])).unwrap();
        assert_eq!((missing.name.as_str(), missing.parent), ("Music", Some(1)));
    }

    #[test]
    fn what_is_missing_is_made_from_the_outermost_inwards() {
        let tree = tree(&json!([{"id": 4, "name": "Furniture", "parent_id": false}]));
        let wanted = path(&["Furniture", "Office", "Desks"]);

        let missing = tree.missing(&wanted).unwrap();

        assert_eq!((missing.name.as_str(), missing.parent), ("Office", Some(4)));
        assert_eq!(missing.external_id, name::category(&wanted[..2]));
        assert_eq!(tree.missing(&wanted[..1]), None);
    }

    #[test]
    fn an_external_id_of_a_renamed_category_is_not_given_again() {
        let wanted = path(&["Furniture"]);
        let renamed = tree(&json!([{"id": 4, "name": "Fittings", "parent_id": false}]));

        let missing = renamed
            .with_names([name::category(&wanted)])
            .missing(&wanted)
            .unwrap();

        assert_eq!(missing.external_id, format!("{}_2", name::category(&wanted)));
    }

    #[test]
    fn the_deepest_is_held_and_of_several_the_first() {
        let paths = [path(&["A"]), path(&["B", "x"]), path(&["C", "y"]), path(&["All"])];

        assert_eq!(held(&paths), [path(&["B", "x"])]);
        assert_eq!(held(&[path(&["All", "A"])]), [path(&["A"])]);
        assert_eq!(held(&[path(&["All", "All", "A"])]), [path(&["A"])]);
        assert_eq!(held(&[path(&["All", "Uncategorized"])]), Vec::<Path>::new());
    }
}
