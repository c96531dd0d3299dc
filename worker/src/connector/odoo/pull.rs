//! Reading: pages of what changed, and whole things from their rows.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::entity::{Attribute, Content, PartKey};
use lockstep_shared::system::EntityType;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{Cursor, Gate, Page, Parts, Theirs};
use super::Odoo;
use super::category::{self, Tree};
use super::cursor::{Position, Second, Stamp, Step};
use super::error::Failure;
use super::partner::{self, PartnerRow, deliveries};
use super::product::{
    Catalogue, TAG, TAG_FIELDS, TagRow, TemplateRow, VALUE_FIELDS, VARIANT_FIELDS, ValueRow, VariantRow,
    template_fields,
};
use super::rpc::Call;
use super::wire::{falsy, rows};
use super::{inventory, order, payment};

pub(super) const PARTNER: &str = "res.partner";
pub(super) const TEMPLATE: &str = "product.template";
pub(super) const VARIANT: &str = "product.product";
const VALUE: &str = "product.template.attribute.value";

/// A row's place in the order of changes.
#[derive(Clone, Debug, Deserialize)]
struct Dated {
    id: i64,
    #[serde(deserialize_with = "falsy")]
    write_date: Option<Second>,
}

impl From<Dated> for Stamp {
    fn from(row: Dated) -> Self {
        Self {
            id: row.id,
            at: row.write_date,
        }
    }
}

/// What a pull reads: whose changes, and which of them.
pub(super) struct Feed {
    pub(super) model: &'static str,
    pub(super) terms: Vec<Value>,
    pub(super) fields: &'static [&'static str],
}

impl Feed {
    /// A changed delivery address is a change of its partner, whose own `write_date` it leaves alone.
    fn of(entity: EntityType, major: u64) -> Self {
        match entity {
            EntityType::Customers => Self {
                model: PARTNER,
                terms: vec![json!(["type", "in", ["contact", "delivery"]])],
                fields: &partner::FIELDS,
            },
            // Writing a variant touches its template (facts/systems.md B6).
            EntityType::Products => Self {
                model: TEMPLATE,
                terms: Vec::new(),
                fields: template_fields(major),
            },
            EntityType::Orders => Self {
                model: order::MODEL,
                terms: Vec::new(),
                fields: &order::FEED_FIELDS,
            },
            EntityType::Payments => Self {
                model: payment::MODEL,
                terms: payment::terms(),
                fields: &payment::FEED_FIELDS,
            },
            EntityType::Inventory => inventory::counted(),
        }
    }

    /// What counts as a change since then. A price extra stands on an attribute value, whose template need not be
    /// written with it: the field's path is Odoo's own, from its source of version 19, not from a capture.
    fn changed(&self, since: Second) -> Vec<Value> {
        let own = json!(["write_date", ">=", since]);
        if self.model != TEMPLATE {
            return vec![own];
        }
        let values = "attribute_line_ids.product_template_value_ids.write_date";
        vec![json!("|"), own, json!([values, ">=", since])]
    }

    fn page(&self, position: &Position, limit: usize) -> Call {
        let mut terms = self.terms.clone();
        terms.extend(position.since().into_iter().flat_map(|since| self.changed(since)));
        terms.extend(position.terms());
        Call::search_read(self.model, json!(terms), self.fields)
            .option("limit", json!(limit))
            .option("order", json!(position.order()))
    }

    fn newest(&self) -> Call {
        Call::search_read(self.model, json!(self.terms), &["write_date"])
            .option("limit", json!(1))
            .option("order", json!("write_date desc,id desc"))
    }
}

impl Odoo {
    pub(super) async fn page(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        cursor: &Cursor,
        limit: usize,
    ) -> Result<Page, Failure> {
        if entity == EntityType::Inventory {
            return self.level_page(gate, cursor, limit).await;
        }
        let position = Position::read(cursor);
        let major = self.rpc.backend(gate).await?.major;
        let (found, next, is_last) = self.turn(gate, &Feed::of(entity, major), position, limit).await?;
        Ok(Page {
            seen: self.seen(gate, entity, found).await?,
            next: next.into_cursor(),
            is_last,
        })
    }

    /// Reads the rows of the next page; tells where the one after it starts, and whether it is of the next pull.
    pub(super) async fn turn(
        &self,
        gate: &dyn Gate,
        feed: &Feed,
        mut position: Position,
        limit: usize,
    ) -> Result<(Vec<Value>, Position, bool), Failure> {
        let limit = limit.max(1);
        if position.needs_newest() {
            position = position.with_newest(self.newest(gate, feed).await?);
        }
        loop {
            let found: Vec<Value> = rows(self.rpc.read(gate, &feed.page(&position, limit)).await?)?;
            match position.step(&stamps(&found)?, limit) {
                Step::AskNewest => {
                    position = position.with_newest(self.newest(gate, feed).await?);
                }
                // The whole page is one second that goes on: read that one by ids.
                Step::Page {
                    taken: 0,
                    next,
                    is_last: false,
                } if !found.is_empty() => position = next,
                Step::Page { taken, next, is_last } => {
                    return Ok((found.into_iter().take(taken).collect(), next, is_last));
                }
            }
        }
    }

    pub(super) async fn newest(&self, gate: &dyn Gate, feed: &Feed) -> Result<Option<Second>, Failure> {
        let found: Vec<Dated> = rows(self.rpc.read(gate, &feed.newest()).await?)?;
        Ok(found.into_iter().find_map(|row| row.write_date))
    }

    async fn seen(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        found: Vec<Value>,
    ) -> Result<Vec<Theirs>, Failure> {
        match entity {
            EntityType::Products => {
                let products = self.products(gate, rows(Value::Array(found))?).await?;
                Ok(products
                    .into_iter()
                    .filter(|theirs| !is_service_of_ours(theirs))
                    .collect())
            }
            EntityType::Customers => {
                let found = rows(Value::Array(found))?;
                let partners = self.with_parents(gate, found).await?;
                self.customers(gate, partners).await
            }
            EntityType::Orders => self.orders(gate, &ids(&found)).await,
            EntityType::Payments => self.payments(gate, &ids(&found)).await,
            // Read by pages of its own: it has two feeds.
            EntityType::Inventory => Ok(Vec::new()),
        }
    }

    /// Puts the partner in the place of its delivery address, each partner once.
    async fn with_parents(
        &self,
        gate: &dyn Gate,
        found: Vec<PartnerRow>,
    ) -> Result<Vec<PartnerRow>, Failure> {
        let (mut partners, children): (Vec<_>, Vec<_>) = found.into_iter().partition(PartnerRow::is_contact);
        let there: BTreeSet<i64> = partners.iter().map(|row| row.id).collect();
        let parents: BTreeSet<i64> = children.iter().filter_map(PartnerRow::delivers_for).collect();
        let missing: Vec<i64> = parents.difference(&there).copied().collect();
        let read = self
            .partners(gate, json!([["id", "in", missing]]), &missing)
            .await?;
        partners.extend(read.into_iter().filter(PartnerRow::is_contact));
        Ok(partners)
    }

    /// Reads partners; nothing is asked where there is nothing to find.
    pub(super) async fn partners(
        &self,
        gate: &dyn Gate,
        domain: Value,
        wanted: &[i64],
    ) -> Result<Vec<PartnerRow>, Failure> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let call = Call::search_read(PARTNER, domain, &partner::FIELDS).option("order", json!("id"));
        rows(self.rpc.read(gate, &call).await?)
    }

    /// Reads the delivery addresses of partners.
    pub(super) async fn children(
        &self,
        gate: &dyn Gate,
        parents: &[i64],
    ) -> Result<Vec<PartnerRow>, Failure> {
        let domain = json!([["parent_id", "in", parents], ["type", "=", "delivery"]]);
        self.partners(gate, domain, parents).await
    }

    pub(super) async fn customers(
        &self,
        gate: &dyn Gate,
        partners: Vec<PartnerRow>,
    ) -> Result<Vec<Theirs>, Failure> {
        let places = self.places(gate).await?;
        let ids: Vec<i64> = partners.iter().map(|row| row.id).collect();
        let children = self.children(gate, &ids).await?;
        let deliveries = deliveries(&children);
        let theirs = partners.iter().map(|row| Theirs {
            external_id: row.id.to_string(),
            content: row.content(deliveries.get(&row.id).copied(), places),
            parts: Parts::new(),
            marker: None,
            modified_at: row.modified_at(deliveries.get(&row.id).copied()),
        });
        Ok(theirs.collect())
    }

    pub(super) async fn products(
        &self,
        gate: &dyn Gate,
        templates: Vec<TemplateRow>,
    ) -> Result<Vec<Theirs>, Failure> {
        let ids: Vec<i64> = templates.iter().map(|row| row.id).collect();
        let mut catalogue = self.catalogue(gate, &ids).await?;
        if templates.iter().any(TemplateRow::has_category) {
            catalogue = catalogue.with_categories(self.categories(gate).await?);
        }
        let tags: BTreeSet<i64> = templates
            .iter()
            .flat_map(|row| row.tags.iter().copied())
            .collect();
        if !tags.is_empty() {
            catalogue = catalogue.with_tags(self.tags(gate, json!([["id", "in", tags]])).await?);
        }
        let theirs = templates.iter().map(|row| {
            let (content, parts) = catalogue.content(row, &self.settings);
            Theirs {
                external_id: row.id.to_string(),
                content,
                parts,
                marker: None,
                modified_at: row.modified_at(),
            }
        });
        Ok(theirs.collect())
    }

    async fn catalogue(&self, gate: &dyn Gate, templates: &[i64]) -> Result<Catalogue, Failure> {
        if templates.is_empty() {
            return Ok(Catalogue::default());
        }
        let domain = json!([["product_tmpl_id", "in", templates]]);
        let call = Call::search_read(VARIANT, domain, &VARIANT_FIELDS).option("order", json!("id"));
        let variants: Vec<VariantRow> = rows(self.rpc.read(gate, &call).await?)?;
        let values: BTreeSet<i64> = variants
            .iter()
            .flat_map(|row| row.values.iter().copied())
            .collect();
        let values = if values.is_empty() {
            Vec::new()
        } else {
            let call = Call::search_read(VALUE, json!([["id", "in", values]]), &VALUE_FIELDS);
            rows(self.rpc.read(gate, &call).await?)?
        };
        Ok(Catalogue::new(variants, values))
    }

    /// Reads all categories: a template names its own by a text in which names can't be told apart for sure.
    pub(super) async fn categories(&self, gate: &dyn Gate) -> Result<Tree, Failure> {
        let call =
            Call::search_read(category::MODEL, json!([]), &category::FIELDS).option("order", json!("id"));
        Ok(Tree::new(rows(self.rpc.read(gate, &call).await?)?))
    }

    pub(super) async fn tags(&self, gate: &dyn Gate, domain: Value) -> Result<Vec<TagRow>, Failure> {
        let call = Call::search_read(TAG, domain, &TAG_FIELDS);
        rows(self.rpc.read(gate, &call).await?)
    }

    /// Reads the variants of templates that are out of use, by what tells them apart.
    pub(super) async fn archived(
        &self,
        gate: &dyn Gate,
        templates: &BTreeSet<i64>,
        values: &BTreeMap<i64, Vec<ValueRow>>,
    ) -> Result<BTreeMap<i64, Parts>, Failure> {
        if templates.is_empty() {
            return Ok(BTreeMap::new());
        }
        let domain = json!([["product_tmpl_id", "in", templates], ["active", "=", false]]);
        let call = Call::search_read(VARIANT, domain, &VARIANT_FIELDS).option("order", json!("id"));
        let found: Vec<VariantRow> = rows(self.rpc.read(gate, &call).await?)?;
        let mut archived: BTreeMap<i64, Parts> = BTreeMap::new();
        for row in found.iter().filter(|row| !row.values.is_empty()) {
            let template = row.product_tmpl_id.0;
            let own = values.get(&template).map_or(&[][..], Vec::as_slice);
            let attributes: Vec<Attribute> = own
                .iter()
                .filter(|value| row.values.contains(&value.id))
                .map(ValueRow::attribute)
                .collect();
            let key = PartKey::of(&attributes);
            archived
                .entry(template)
                .or_default()
                .insert(key, row.id.to_string());
        }
        Ok(archived)
    }

    /// Reads the attribute values of templates, whether a variant has them or not.
    pub(super) async fn values(
        &self,
        gate: &dyn Gate,
        templates: &BTreeSet<i64>,
    ) -> Result<BTreeMap<i64, Vec<ValueRow>>, Failure> {
        if templates.is_empty() {
            return Ok(BTreeMap::new());
        }
        let domain = json!([["product_tmpl_id", "in", templates]]);
        let call = Call::search_read(VALUE, domain, &VALUE_FIELDS).option("order", json!("id"));
        let found: Vec<ValueRow> = rows(self.rpc.read(gate, &call).await?)?;
        let mut values: BTreeMap<i64, Vec<ValueRow>> = BTreeMap::new();
        for row in found {
            values.entry(row.product_tmpl_id.0).or_default().push(row);
        }
        Ok(values)
    }
}

/// What stands on an order's lines for what is no product is no product of the shop's.
fn is_service_of_ours(theirs: &Theirs) -> bool {
    let Ok(Content::Product(product)) = &theirs.content else {
        return false;
    };
    let mut codes = product
        .variants
        .iter()
        .filter_map(|variant| variant.sku.as_deref());
    codes.any(|code| order::Service::parse(code).is_some())
}

fn ids(found: &[Value]) -> BTreeSet<i64> {
    let ids = found.iter().filter_map(|row| row.get("id")?.as_i64());
    ids.collect()
}

fn stamps(found: &[Value]) -> Result<Vec<Stamp>, Failure> {
    found
        .iter()
        .map(|row| Dated::deserialize(row).map(Stamp::from))
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::unreadable(&error))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lockstep_shared::connection::Settings;

    use super::super::place::Places;
    use super::*;

    /// What a real Odoo 19 answered, where it lies beside the project.
    fn recorded() -> Option<Value> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/recorded/odoo.json");
        let Ok(text) = std::fs::read_to_string(path) else {
            println!("note: there is no recording, so nothing was compared with one");
            return None;
        };
        Some(serde_json::from_str(&text).unwrap())
    }

    fn table<T: serde::de::DeserializeOwned>(recorded: &Value, model: &str) -> Vec<T> {
        serde_json::from_value(recorded[model].clone()).unwrap()
    }

    #[test]
    fn every_recorded_product_is_a_record() {
        let Some(recorded) = recorded() else { return };
        let mut variants = recorded[VARIANT].clone();
        for row in variants.as_array_mut().unwrap() {
            // The recording has the weight on the template alone.
            row["weight"] = json!(0.01);
        }
        let variants: Vec<VariantRow> = serde_json::from_value(variants).unwrap();
        let prices: BTreeMap<i64, Value> = recorded[VARIANT]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["id"].as_i64().unwrap(), row["lst_price"].clone()))
            .collect();
        let tree = Tree::new(table(&recorded, category::MODEL));
        let catalogue = Catalogue::new(variants, table(&recorded, VALUE)).with_categories(tree);
        let templates: Vec<TemplateRow> = table(&recorded, TEMPLATE);
        let settings = Settings::default();

        let (mut several, mut placed) = (0, 0);
        for template in &templates {
            let (content, parts) = catalogue.content(template, &settings);
            let Content::Product(product) = content.unwrap() else {
                panic!("a product")
            };
            assert_eq!(super::super::product::project(&product, &settings), product);
            assert!(super::super::product::refuses(&product, &settings).is_none());
            several += usize::from(!product.is_simple());
            placed += usize::from(product.categories == [["Furniture", "Office"]]);
            for variant in &product.variants {
                if let Some(id) = parts.get(&variant.key()) {
                    let listed =
                        super::super::wire::decimal(prices[&id.parse().unwrap()].as_number().unwrap());
                    assert_eq!(variant.price.unwrap().amount, listed);
                }
            }
        }
        assert_eq!(templates.len(), 37);
        assert_eq!((several, placed), (5, 29));
    }

    #[test]
    fn every_recorded_partner_is_a_record() {
        let Some(recorded) = recorded() else { return };
        let places = Places::new(
            table(&recorded, "res.country"),
            table(&recorded, "res.country.state"),
        );
        let partners: Vec<PartnerRow> = table(&recorded, PARTNER);

        for partner in &partners {
            let Content::Customer(customer) = partner.content(None, &places).unwrap() else {
                panic!("a customer")
            };
            assert_eq!(partner::project(&customer, Some(&places)), customer);
        }
        assert_eq!(partners.len(), 41);
    }
}
