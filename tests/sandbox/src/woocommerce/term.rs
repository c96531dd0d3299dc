//! Terms: of one global attribute, or the categories.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::product::as_text;
use super::refusal::Refusal;
use super::text;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Term {
    pub(super) id: u64,
    /// Stored encoded.
    pub(super) name: String,
    pub(super) slug: String,
    pub(super) parent: u64,
    pub(super) description: String,
    pub(super) menu_order: i64,
}

/// The terms of one taxonomy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Terms {
    is_tree: bool,
    rows: BTreeMap<u64, Term>,
    #[serde(with = "pairs")]
    by_name: HashMap<(u64, String), u64>,
    by_slug: HashMap<String, u64>,
    /// Ids that [`Terms::adopt`] gave since the last look, for the ledger.
    pub(super) adopted: Vec<u64>,
    next_id: u64,
}

impl Terms {
    pub(super) fn flat(first_id: u64) -> Self {
        Self {
            next_id: first_id,
            ..Self::default()
        }
    }

    pub(super) fn tree(first_id: u64) -> Self {
        Self {
            is_tree: true,
            next_id: first_id,
            ..Self::default()
        }
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.rows.contains_key(&id)
    }

    pub(super) fn get(&self, id: u64) -> Option<&Term> {
        self.rows.get(&id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Term> {
        self.rows.values()
    }

    pub(super) fn by_name(&self, name: &str) -> Option<&Term> {
        self.rows
            .get(self.by_name.get(&(0, text::encoded(name).to_lowercase()))?)
    }

    pub(super) fn by_slug(&self, slug: &str) -> Option<&Term> {
        self.rows.get(self.by_slug.get(slug)?)
    }

    /// Finds or makes the term of an option.
    pub(super) fn adopt(&mut self, option: &str) -> u64 {
        let known = self
            .by_name(option)
            .or_else(|| self.by_slug(option))
            .map(|term| term.id);
        known.unwrap_or_else(|| {
            let body = Map::from_iter([("name".to_owned(), json!(option))]);
            let id = self.create(&body).expect("the name is free");
            self.adopted.push(id);
            id
        })
    }

    /// Returns the names of some terms in the order of the taxonomy.
    pub(super) fn names(&self, ids: &[u64]) -> Vec<String> {
        let mut terms: Vec<&Term> = ids.iter().filter_map(|id| self.rows.get(id)).collect();
        terms.sort_by_key(|term| (term.menu_order, term.name.to_lowercase()));
        terms.into_iter().map(|term| term.name.clone()).collect()
    }

    /// Makes a term; the same name under the same parent is refused with the id of the holder.
    pub(super) fn create(&mut self, body: &Map<String, Value>) -> Result<u64, Refusal> {
        let name = text::encoded(&as_text(body.get("name").unwrap_or(&Value::Null)));
        if name.is_empty() {
            return Err(Refusal::new(
                400,
                "empty_term_name",
                "A name is required for this term.",
            ));
        }
        let parent = body
            .get("parent")
            .and_then(Value::as_u64)
            .filter(|_| self.is_tree)
            .unwrap_or_default();
        let slug = body
            .get("slug")
            .map(as_text)
            .filter(|slug| !slug.is_empty())
            .map(|slug| text::slug(&slug));
        let holder = self.by_name.get(&(parent, name.to_lowercase())).copied();
        let taken_slug = slug.as_ref().and_then(|slug| self.by_slug.get(slug)).copied();
        // The same name with a slug of its own is fine (facts: mapping-woocommerce 1).
        if let Some(holder) = holder.filter(|_| slug.is_none() || taken_slug.is_some()) {
            return Err(self.exists(holder));
        }
        if let Some(holder) = taken_slug {
            return Err(self.exists(holder));
        }
        let id = body
            .get("id")
            .and_then(Value::as_u64)
            .unwrap_or(self.next_id.max(1));
        let slug = slug.unwrap_or_else(|| self.free_slug(&text::slug(&name)));
        self.next_id = self.next_id.max(id + 1);
        let term = Term {
            id,
            name,
            slug,
            parent,
            description: body.get("description").map(as_text).unwrap_or_default(),
            menu_order: body.get("menu_order").and_then(Value::as_i64).unwrap_or_default(),
        };
        self.put(term);
        Ok(id)
    }

    /// Changes a term and returns whether anything is different.
    pub(super) fn update(&mut self, id: u64, body: &Map<String, Value>) -> Result<bool, Refusal> {
        let before = self.rows.get(&id).ok_or_else(unknown)?.clone();
        let mut term = before.clone();
        if let Some(name) = body.get("name") {
            term.name = text::encoded(&as_text(name));
            let holder = self.by_name.get(&(term.parent, term.name.to_lowercase()));
            if let Some(holder) = holder.filter(|holder| **holder != id) {
                return Err(self.exists(*holder));
            }
        }
        if let Some(slug) = body.get("slug") {
            term.slug = text::slug(&as_text(slug));
        }
        if let Some(description) = body.get("description") {
            term.description = as_text(description);
        }
        if let Some(order) = body.get("menu_order").and_then(Value::as_i64) {
            term.menu_order = order;
        }
        let is_different = term != before;
        self.remove(id);
        self.put(term);
        Ok(is_different)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Term> {
        let term = self.rows.remove(&id)?;
        self.by_name.remove(&(term.parent, term.name.to_lowercase()));
        self.by_slug.remove(&term.slug);
        Some(term)
    }

    fn put(&mut self, term: Term) {
        self.by_name
            .entry((term.parent, term.name.to_lowercase()))
            .or_insert(term.id);
        self.by_slug.insert(term.slug.clone(), term.id);
        self.rows.insert(term.id, term);
    }

    fn free_slug(&self, wanted: &str) -> String {
        let numbered = (2..).map(|number| format!("{wanted}-{number}"));
        let mut candidates = std::iter::once(wanted.to_owned()).chain(numbered);
        candidates
            .find(|slug| !self.by_slug.contains_key(slug))
            .expect("some number is free")
    }

    fn exists(&self, holder: u64) -> Refusal {
        let place = if self.is_tree {
            "with this parent"
        } else {
            "in this taxonomy"
        };
        let message = format!("A term with the name provided already exists {place}.");
        Refusal::new(400, "term_exists", &message).with("resource_id", holder)
    }

    pub(super) fn render(&self, term: &Term) -> Value {
        let mut view = json!({
            "id": term.id, "name": term.name, "slug": term.slug, "description": term.description,
            "menu_order": term.menu_order, "count": 0,
        });
        if self.is_tree {
            view["parent"] = term.parent.into();
            view["display"] = "default".into();
            view["image"] = Value::Null;
        }
        view
    }
}

pub(super) fn unknown() -> Refusal {
    Refusal::new(404, "woocommerce_rest_term_invalid", "Resource does not exist.")
}

/// Writes a map as a list of pairs: the keys of a JSON object are texts.
mod pairs {
    use std::collections::{BTreeMap, HashMap};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    type Names = HashMap<(u64, String), u64>;

    pub(super) fn serialize<S: Serializer>(names: &Names, serializer: S) -> Result<S::Ok, S::Error> {
        let sorted: BTreeMap<_, _> = names.iter().collect();
        sorted.into_iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
        let pairs = Vec::<((u64, String), u64)>::deserialize(deserializer)?;
        Ok(pairs.into_iter().collect())
    }
}
