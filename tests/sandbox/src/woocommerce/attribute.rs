//! Global attributes and the routes of attributes, terms and categories.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::product::as_text;
use super::refusal::Refusal;
use super::shop::Shop;
use super::term::{self, Terms};
use super::text;
use crate::ledger::Operation;

/// An attribute that many products share; its options are terms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct GlobalAttribute {
    pub(super) id: u64,
    pub(super) name: String,
    /// Without the `pa_` in front.
    pub(super) slug: String,
    pub(super) order_by: String,
}

const RESERVED: &[&str] = &[
    "action",
    "attachment",
    "author",
    "category",
    "cat",
    "custom",
    "day",
    "error",
    "hour",
    "id",
    "link",
    "month",
    "name",
    "nonce",
    "order",
    "orderby",
    "p",
    "page",
    "paged",
    "post",
    "post_type",
    "product",
    "s",
    "search",
    "status",
    "tag",
    "taxonomy",
    "term",
    "terms",
    "theme",
    "title",
    "type",
    "w",
    "year",
];

/// One taxonomy in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taxonomy {
    Categories,
    Tags,
    Attribute(u64),
}

impl Shop {
    pub(super) fn attribute_name(&self, id: u64) -> Option<String> {
        self.attributes.get(&id).map(|attribute| attribute.name.clone())
    }

    pub(super) fn attribute_slug(&self, id: u64) -> String {
        self.attributes
            .get(&id)
            .map(|attribute| format!("pa_{}", attribute.slug))
            .unwrap_or_default()
    }

    pub(super) fn terms(&self, attribute: u64) -> Option<&Terms> {
        self.terms.get(&attribute)
    }

    pub(super) fn terms_mut(&mut self, attribute: u64) -> Option<&mut Terms> {
        self.terms.get_mut(&attribute)
    }

    /// Makes an attribute. Names may repeat, slugs may not; the refusals carry no id (facts: mapping-woocommerce 1).
    pub(super) fn create_attribute(&mut self, body: &Map<String, Value>) -> Result<u64, Refusal> {
        let name = text::encoded(&body.get("name").map(as_text).unwrap_or_default());
        if name.is_empty() {
            return Err(Refusal::new(
                400,
                "woocommerce_rest_cannot_create",
                "Please, provide an attribute name.",
            ));
        }
        let wanted = body
            .get("slug")
            .map(as_text)
            .filter(|slug| !slug.is_empty())
            .unwrap_or_else(|| name.clone());
        let slug = text::slug(&wanted);
        let slug = slug.strip_prefix("pa_").unwrap_or(&slug).to_owned();
        self.check_attribute_slug(0, &slug)?;
        let next = self.attributes.keys().next_back().map_or(1, |last| last + 1);
        let id = body.get("id").and_then(Value::as_u64).unwrap_or(next);
        let order_by = body
            .get("order_by")
            .map_or_else(|| "menu_order".to_owned(), as_text);
        self.attributes.insert(
            id,
            GlobalAttribute {
                id,
                name: name.clone(),
                slug,
                order_by,
            },
        );
        self.terms.insert(id, Terms::flat(id * 1000 + 16));
        self.felt("attribute", Operation::Created, id, Some(name), true);
        Ok(id)
    }

    pub(super) fn update_attribute(&mut self, id: u64, body: &Map<String, Value>) -> Result<(), Refusal> {
        let mut attribute = self.attributes.get(&id).ok_or_else(unknown)?.clone();
        let before = attribute.clone();
        if let Some(name) = body.get("name") {
            attribute.name = text::encoded(&as_text(name));
        }
        if let Some(slug) = body.get("slug") {
            let slug = text::slug(&as_text(slug));
            slug.strip_prefix("pa_")
                .unwrap_or(&slug)
                .clone_into(&mut attribute.slug);
            self.check_attribute_slug(id, &attribute.slug)?;
        }
        let is_different = attribute != before;
        let name = attribute.name.clone();
        self.attributes.insert(id, attribute);
        self.felt("attribute", Operation::Updated, id, Some(name), is_different);
        Ok(())
    }

    pub(super) fn delete_attribute(&mut self, id: u64) -> Result<Value, Refusal> {
        let view = self
            .attributes
            .get(&id)
            .map(|attribute| self.render_attribute(attribute))
            .ok_or_else(unknown)?;
        self.attributes.remove(&id);
        self.terms.remove(&id);
        self.felt("attribute", Operation::Deleted, id, None, true);
        Ok(view)
    }

    fn check_attribute_slug(&self, own: u64, slug: &str) -> Result<(), Refusal> {
        let refuse = |message: String| Err(Refusal::new(400, "woocommerce_rest_cannot_create", &message));
        if slug.len() > 28 {
            return refuse(format!(
                "Slug \"{slug}\" is too long (28 characters max). Shorten it, please."
            ));
        }
        if RESERVED.contains(&slug) {
            return refuse(format!(
                "Slug \"{slug}\" is not allowed because it is a reserved term. Change it, please."
            ));
        }
        if self
            .attributes
            .values()
            .any(|other| other.id != own && other.slug == slug)
        {
            return refuse(format!("Slug \"{slug}\" is already in use. Change it, please."));
        }
        Ok(())
    }

    pub(super) fn render_attribute(&self, attribute: &GlobalAttribute) -> Value {
        let base = format!("{}/wp-json/wc/v3/products/attributes", self.base_url);
        json!({
            "id": attribute.id, "name": attribute.name, "slug": format!("pa_{}", attribute.slug), "type": "select",
            "order_by": attribute.order_by, "has_archives": false,
            "_links": {"self": [{"href": format!("{base}/{}", attribute.id)}], "collection": [{"href": base}]},
        })
    }

    pub(super) fn taxonomy(&self, taxonomy: Taxonomy) -> Result<&Terms, Refusal> {
        match taxonomy {
            Taxonomy::Categories => Ok(&self.categories),
            Taxonomy::Tags => Ok(&self.tags),
            Taxonomy::Attribute(id) => self.terms.get(&id).ok_or_else(unknown),
        }
    }

    fn taxonomy_mut(&mut self, taxonomy: Taxonomy) -> Result<&mut Terms, Refusal> {
        match taxonomy {
            Taxonomy::Categories => Ok(&mut self.categories),
            Taxonomy::Tags => Ok(&mut self.tags),
            Taxonomy::Attribute(id) => self.terms.get_mut(&id).ok_or_else(unknown),
        }
    }

    pub(super) fn create_term(
        &mut self,
        taxonomy: Taxonomy,
        body: &Map<String, Value>,
    ) -> Result<u64, Refusal> {
        let id = self.taxonomy_mut(taxonomy)?.create(body)?;
        let name = body.get("name").map(as_text);
        self.felt(taxonomy.entity(), Operation::Created, id, name, true);
        Ok(id)
    }

    pub(super) fn update_term(
        &mut self,
        taxonomy: Taxonomy,
        id: u64,
        body: &Map<String, Value>,
    ) -> Result<(), Refusal> {
        let is_different = self.taxonomy_mut(taxonomy)?.update(id, body)?;
        self.felt(taxonomy.entity(), Operation::Updated, id, None, is_different);
        Ok(())
    }

    pub(super) fn delete_term(&mut self, taxonomy: Taxonomy, id: u64) -> Result<Value, Refusal> {
        let view = self.render_term(taxonomy, id)?;
        self.taxonomy_mut(taxonomy)?.remove(id);
        self.felt(taxonomy.entity(), Operation::Deleted, id, None, true);
        Ok(view)
    }

    pub(super) fn render_term(&self, taxonomy: Taxonomy, id: u64) -> Result<Value, Refusal> {
        let terms = self.taxonomy(taxonomy)?;
        terms
            .get(id)
            .map(|one| terms.render(one))
            .ok_or_else(term::unknown)
    }

    /// Tells the ledger about terms that came into being by being named in a product.
    pub(super) fn note_adopted_terms(&mut self) {
        let mut adopted = Vec::new();
        for terms in self.terms.values_mut() {
            for id in std::mem::take(&mut terms.adopted) {
                adopted.push((id, terms.get(id).map(|term| term.name.clone())));
            }
        }
        for (id, name) in adopted {
            self.felt("term", Operation::Created, id, name, true);
        }
    }
}

impl Taxonomy {
    fn entity(self) -> &'static str {
        match self {
            Self::Categories => "category",
            Self::Tags => "tag",
            Self::Attribute(_) => "term",
        }
    }
}

pub(super) fn unknown() -> Refusal {
    Refusal::new(
        404,
        "woocommerce_rest_taxonomy_invalid",
        "Resource does not exist.",
    )
}
