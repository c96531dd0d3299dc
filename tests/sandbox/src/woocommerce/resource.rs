//! What can be listed, made, changed and deleted, and how a path names it.

use serde_json::{Map, Value, json};

use super::attribute::{self, Taxonomy};
use super::customer;
use super::list::{self, Listing, Query};
use super::order;
use super::product::{Context, Product};
use super::refund;
use super::refusal::Refusal;
use super::schema::{self, Kind};
use super::shop::{Actor, Shop};
use super::tax;
use crate::ledger::Operation;
use crate::server::Reply;

/// A collection of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    Products,
    Variations { parent: u64 },
    Customers,
    Attributes,
    Terms(Taxonomy),
    Orders,
    Refunds { order: u64 },
    Taxes,
    Webhooks,
}

/// Whether a delete goes through the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deletion {
    Trash,
    Forced,
}

impl Resource {
    fn schema(self) -> &'static [(&'static str, Kind)] {
        match self {
            Self::Products | Self::Variations { .. } => schema::PRODUCT,
            Self::Customers => schema::CUSTOMER,
            Self::Attributes | Self::Terms(_) => schema::TERM,
            Self::Refunds { .. } => refund::SCHEMA,
            Self::Taxes => tax::SCHEMA,
            Self::Orders | Self::Webhooks => &[],
        }
    }

    pub(super) fn listing(self) -> Listing {
        match self {
            Self::Products => Listing::Products,
            Self::Variations { .. } => Listing::Variations,
            Self::Customers => Listing::Customers,
            Self::Attributes | Self::Webhooks => Listing::Other,
            Self::Terms(_) => Listing::Terms,
            Self::Orders => Listing::Orders,
            Self::Refunds { .. } => Listing::Refunds,
            Self::Taxes => Listing::Taxes,
        }
    }

    /// Checks the body of a single call; a batch never comes here (facts: systems A9).
    pub(super) fn check_create(self, body: &Map<String, Value>) -> Result<(), Refusal> {
        let required = match self {
            Self::Customers => "email",
            Self::Attributes | Self::Terms(_) => "name",
            Self::Products
            | Self::Variations { .. }
            | Self::Orders
            | Self::Refunds { .. }
            | Self::Taxes
            | Self::Webhooks => {
                return self.check_update(body);
            }
        };
        if !body.contains_key(required) {
            return Err(Refusal::missing(&[required]));
        }
        self.check_update(body)
    }

    pub(super) fn check_update(self, body: &Map<String, Value>) -> Result<(), Refusal> {
        match self {
            Self::Orders => order::check(body),
            _ => schema::check(self.schema(), body),
        }
    }

    pub(super) fn list(self, shop: &Shop, path: &str, query: &Query) -> Result<Reply, Refusal> {
        let page = list::check(query, self.listing())?;
        let context = list::context(query);
        let ids: Vec<u64> = match self {
            Self::Products => list::products(shop, query, Listing::Products, None),
            Self::Variations { parent } => list::products(shop, query, Listing::Variations, Some(parent)),
            Self::Customers => list::customers(shop, query),
            Self::Attributes => shop.attributes.keys().copied().collect(),
            Self::Terms(taxonomy) => {
                let mut terms: Vec<_> = shop.taxonomy(taxonomy)?.all().collect();
                terms.sort_by_key(|term| term.name.to_lowercase());
                let slug = query.get("slug");
                terms
                    .iter()
                    .filter(|term| slug.is_none_or(|slug| term.slug == *slug))
                    .map(|term| term.id)
                    .collect()
            }
            Self::Orders => order::orders(shop, query),
            Self::Refunds { order } => order::refunds(shop, query, Some(order)),
            Self::Taxes => list::taxes(shop, query),
            Self::Webhooks => {
                let mut ids = shop.webhooks.ids();
                if query.get("order").is_none_or(|order| order != "asc") {
                    ids.reverse();
                }
                ids
            }
        };
        // Attributes are not paged: the list has them all.
        if self == Self::Attributes {
            let rows = ids.iter().filter_map(|id| self.render(shop, *id, context).ok());
            let rows: Vec<Value> = rows.map(|row| list::thinned(row, query)).collect();
            return Ok(Reply::json(200, &Value::Array(rows)));
        }
        let answer = list::paged(shop, path, query, page, &ids, |id| {
            self.render(shop, id, context).ok()
        });
        Ok(if self == Self::Orders && page.is_beyond(ids.len()) {
            list::without_total(answer)
        } else {
            answer
        })
    }

    /// Shows one record; an unknown id is a 404.
    pub(super) fn render(self, shop: &Shop, id: u64, context: Context) -> Result<Value, Refusal> {
        match self {
            Self::Products => {
                let product = shop.product(id).ok_or_else(|| unknown_product(404))?;
                Ok(shop.render_product(product, context))
            }
            Self::Variations { parent } => {
                Ok(shop.render_variation(variation(shop, parent, id, 404)?, context))
            }
            Self::Customers => {
                let customer = shop.customers.get(&id).ok_or_else(customer::unknown)?;
                Ok(shop.render_customer(customer))
            }
            Self::Attributes => {
                let attribute = shop.attributes.get(&id).ok_or_else(attribute::unknown)?;
                Ok(shop.render_attribute(attribute))
            }
            Self::Terms(taxonomy) => shop.render_term(taxonomy, id),
            Self::Orders => {
                let order = shop.book.orders.get(&id).ok_or_else(|| order::unknown(404))?;
                Ok(shop.render_order(order))
            }
            Self::Refunds { order } => Ok(shop.render_refund(shop.refund(order, id)?)),
            Self::Taxes => {
                let rate = shop.taxes.rates.get(&id).ok_or_else(|| tax::unknown(404))?;
                Ok(shop.render_rate(rate))
            }
            Self::Webhooks => shop.render_webhook(id),
        }
    }

    /// Makes a record and returns its id.
    pub(super) fn create(self, shop: &mut Shop, body: &Map<String, Value>, now: i64) -> Result<u64, Refusal> {
        match self {
            Self::Products => create_product(shop, 0, body, now),
            Self::Variations { parent } => {
                if shop.product(parent).is_none_or(Product::is_variation) {
                    return Err(Refusal::critical());
                }
                create_product(shop, parent, body, now)
            }
            Self::Customers => shop.create_customer(body, now),
            Self::Attributes => shop.create_attribute(body),
            Self::Terms(taxonomy) => match shop.taxonomy(taxonomy) {
                Ok(_) => shop.create_term(taxonomy, body),
                Err(refusal) => Err(refusal),
            },
            Self::Orders => shop.create_order(body, now),
            Self::Refunds { order } => shop.create_refund(order, body, now),
            Self::Taxes => Ok(shop.create_rate(body)),
            Self::Webhooks => shop.create_webhook(body, now),
        }
    }

    /// Changes a record; the time of change moves whatever is sent.
    pub(super) fn update(
        self,
        shop: &mut Shop,
        id: u64,
        body: &Map<String, Value>,
        now: i64,
    ) -> Result<(), Refusal> {
        match self {
            Self::Products => {
                let product = shop.product(id).ok_or_else(|| unknown_product(400))?;
                if product.is_variation() {
                    return Err(is_variation());
                }
                let product = product.clone();
                update_product(shop, product, body, now)
            }
            Self::Variations { parent } => {
                let product = variation(shop, parent, id, 400)?.clone();
                update_product(shop, product, body, now)
            }
            Self::Customers => shop.update_customer(id, body, now),
            Self::Attributes => shop.update_attribute(id, body),
            Self::Terms(taxonomy) => shop.update_term(taxonomy, id, body),
            Self::Orders => shop.update_order(id, body, now),
            Self::Refunds { .. } => Err(Refusal::no_route()),
            Self::Taxes => shop.update_rate(id, body),
            Self::Webhooks => shop.update_webhook(id, body, now),
        }
    }

    /// Deletes a record and shows what it was.
    pub(super) fn delete(
        self,
        shop: &mut Shop,
        id: u64,
        deletion: Deletion,
        now: i64,
    ) -> Result<Value, Refusal> {
        let view = self.render(shop, id, Context::Edit)?;
        match self {
            Self::Products | Self::Variations { .. } => {
                if self == Self::Products && shop.product(id).is_some_and(Product::is_variation) {
                    return Err(is_variation());
                }
                if deletion == Deletion::Forced {
                    shop.remove_product(id);
                } else {
                    trash(shop, id, now)?;
                }
                Ok(view)
            }
            Self::Customers if deletion == Deletion::Trash => Err(no_trash("Customers")),
            Self::Customers => {
                shop.remove_customer(id);
                Ok(view)
            }
            Self::Attributes | Self::Terms(_) if deletion == Deletion::Trash => Err(no_trash("Resource")),
            Self::Taxes if deletion == Deletion::Trash => Err(no_trash("Taxes")),
            Self::Webhooks if deletion == Deletion::Trash => Err(no_trash("Webhooks")),
            Self::Webhooks => {
                shop.remove_webhook(id);
                Ok(view)
            }
            Self::Taxes => {
                shop.delete_rate(id);
                Ok(view)
            }
            Self::Orders => {
                if deletion == Deletion::Forced {
                    shop.remove_order(id);
                } else {
                    shop.trash_order(id, now)?;
                }
                Ok(view)
            }
            // There is no trash for refunds, and none is asked for (facts: systems A8).
            Self::Refunds { .. } => {
                shop.remove_refund(id);
                Ok(view)
            }
            Self::Attributes => shop.delete_attribute(id),
            Self::Terms(taxonomy) => shop.delete_term(taxonomy, id),
        }
    }
}

fn no_trash(what: &str) -> Refusal {
    let verb = if what.ends_with('s') { "do" } else { "does" };
    let message = format!("{what} {verb} not support trashing.");
    Refusal::new(501, "woocommerce_rest_trash_not_supported", &message)
}

fn unknown_product(status: u16) -> Refusal {
    Refusal::new(status, "woocommerce_rest_product_invalid_id", "Invalid ID.")
}

fn is_variation() -> Refusal {
    let message = "To manipulate product variations you should use the \
                   /products/&lt;product_id&gt;/variations/&lt;id&gt; endpoint.";
    Refusal::new(404, "woocommerce_rest_invalid_product_id", message)
}

fn variation(shop: &Shop, parent: u64, id: u64, status: u16) -> Result<&Product, Refusal> {
    let unknown = || {
        Refusal::new(
            status,
            "woocommerce_rest_product_variation_invalid_id",
            "Invalid ID.",
        )
    };
    shop.product(id)
        .filter(|product| product.is_variation() && product.parent == parent)
        .ok_or_else(unknown)
}

fn create_product(shop: &mut Shop, parent: u64, body: &Map<String, Value>, now: i64) -> Result<u64, Refusal> {
    if parent == 0
        && body
            .get("id")
            .is_some_and(|id| shop.actor != Actor::People && !id.is_null())
    {
        return Err(Refusal::new(
            400,
            "woocommerce_rest_product_exists",
            "Cannot create existing product.",
        ));
    }
    let mut product = Product::new(shop.next_post, parent, now);
    let applied = product.apply(shop, body);
    shop.note_adopted_terms();
    applied?;
    // Its pictures came before it.
    product.id = shop.next_post;
    if product.name.is_empty() && parent == 0 {
        "Product".clone_into(&mut product.name);
    }
    let id = product.id;
    shop.put_product(product);
    if parent > 0 {
        if let Some(parent) = shop.products.get_mut(&parent) {
            parent.variations.push(id);
        }
        shop.touch(parent, now);
    }
    Ok(id)
}

fn update_product(
    shop: &mut Shop,
    before: Product,
    body: &Map<String, Value>,
    now: i64,
) -> Result<(), Refusal> {
    let mut product = before;
    let parent = product.parent;
    let applied = product.apply(shop, body);
    shop.note_adopted_terms();
    applied?;
    product.modified = now;
    shop.put_product(product);
    shop.touch(parent, now);
    Ok(())
}

/// Puts a product into the trash, its variations with it; it keeps its SKU (facts: systems A6).
fn trash(shop: &mut Shop, id: u64, now: i64) -> Result<(), Refusal> {
    let Some(product) = shop.product(id).cloned() else {
        return Err(unknown_product(404));
    };
    if product.is_in_trash() {
        let message = "The product has already been deleted.";
        return Err(Refusal::new(410, "woocommerce_rest_already_trashed", message));
    }
    let (entity, key) = (
        if product.is_variation() {
            "variation"
        } else {
            "product"
        },
        product.key(),
    );
    let actor = std::mem::replace(&mut shop.actor, Actor::People);
    for one in product.variations.iter().copied().chain([id]) {
        if let Some(mut product) = shop.product(one).cloned() {
            "trash".clone_into(&mut product.status);
            product.modified = now;
            let entity = if product.is_variation() {
                "variation"
            } else {
                "product"
            };
            shop.put_product(product);
            shop.ledger.is_gone(entity, one);
        }
    }
    shop.actor = actor;
    shop.felt(entity, Operation::Deleted, id, key, true);
    Ok(())
}

/// Turns a refusal into what stands in a batch answer.
pub(super) fn batch_error(id: &Value, refusal: &Refusal) -> Value {
    json!({"id": id, "error": refusal.body})
}
