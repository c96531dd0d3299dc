//! Looking things up: by id, by SKU, by e-mail address, and by our marker.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use lockstep_shared::entity::{Content, Product};
use lockstep_shared::id::RecordId;

use super::auth::Params;
use super::customer::Welcome;
use super::error::Kind;
use super::pull::Window;
use super::{WooCommerce, category, customer, error, image, parsed, wire};
use crate::connector::{CallError, Gate, Purpose, Sighting, Theirs, Wanted};

/// How far before the request's own time a thing in doubt is looked for: clocks differ.
pub(super) const CLOCK_SLACK: TimeDelta = TimeDelta::seconds(60);

/// Most calls by which accounts are looked for before new ones are made.
const FEW_CALLS: usize = 5;

/// Returns the parameters by which a product is read as it is stored: `context=view` would put paragraphs into its
/// description (facts/mapping-woocommerce.md §1, «Text»). Of its meta only our markers are of use.
pub(super) fn product_view() -> Params {
    vec![
        ("context", "edit".to_owned()),
        (
            "include_meta",
            [wire::PRODUCT_MARKER, category::MARKER, image::MARKER].join(","),
        ),
        ("_fields", wire::PRODUCT_FIELDS.to_owned()),
    ]
}

/// Returns the parameters by which customers are read. Without `role=all` those with another role are left out
/// (facts/systems.md A3).
pub(super) fn customer_view() -> Params {
    vec![
        ("role", "all".to_owned()),
        (
            "_fields",
            "id,email,first_name,last_name,username,role,billing,shipping,meta_data,date_modified_gmt"
                .to_owned(),
        ),
    ]
}

impl WooCommerce {
    pub(super) async fn look_up_products(
        &self,
        gate: &dyn Gate,
        wanted: &[Wanted],
    ) -> Result<Vec<Sighting>, CallError> {
        let mut ids = BTreeSet::new();
        let candidates = self.candidates(gate, wanted).await?;
        ids.extend(candidates.values().flatten().map(u64::to_string));
        ids.extend(wanted.iter().filter_map(|wanted| match &wanted.purpose {
            Purpose::Refresh { external_id } => Some(external_id.clone()),
            Purpose::BeforeCreate | Purpose::InDoubt { .. } => None,
        }));
        let theirs = self
            .products_now(gate, &ids.into_iter().collect::<Vec<_>>())
            .await?;
        let (unmarked, oldest) = unmarked(wanted, &candidates, &theirs);
        let marked = match oldest {
            Some(since) => self.marked_since(gate, since, &unmarked).await?,
            None => BTreeMap::new(),
        };
        let mut sightings = Vec::with_capacity(wanted.len());
        for (position, one) in wanted.iter().enumerate() {
            let found = candidates
                .get(&position)
                .map(|found| pick(found, &theirs))
                .unwrap_or_default();
            sightings.push(match &one.purpose {
                Purpose::Refresh { external_id } => theirs
                    .get(external_id)
                    .map_or(Sighting::Missing, |theirs| Sighting::One(theirs.clone())),
                Purpose::BeforeCreate if found.is_empty() && !can_ask_all(&one.content) => Sighting::NotAsked,
                Purpose::BeforeCreate => sighting(found, None),
                Purpose::InDoubt { .. } => match marked.get(&one.record) {
                    Some(marked) => sighting(marked.clone(), Some(one.record)),
                    None => sighting(found, Some(one.record)),
                },
            });
        }
        Ok(sightings)
    }

    /// Finds the products that have an SKU of a wanted one, or that have a variation which has it. The trash holds its
    /// SKUs too, and is asked about only where a request is in doubt (facts/systems.md A3).
    async fn candidates(
        &self,
        gate: &dyn Gate,
        wanted: &[Wanted],
    ) -> Result<BTreeMap<usize, BTreeSet<u64>>, CallError> {
        let skus_of = |is_asked: fn(&Purpose) -> bool| -> BTreeSet<String> {
            let asked = wanted.iter().filter(|wanted| is_asked(&wanted.purpose));
            asked.flat_map(|wanted| askable(&wanted.content)).collect()
        };
        let asked = skus_of(|purpose| !matches!(purpose, Purpose::Refresh { .. }));
        let mut holders = self.holders(gate, &asked, "any").await?;
        let in_doubt: BTreeSet<String> = skus_of(|purpose| matches!(purpose, Purpose::InDoubt { .. }))
            .into_iter()
            .filter(|sku| !holders.contains_key(sku))
            .collect();
        holders.append(&mut self.holders(gate, &in_doubt, "trash").await?);
        let mut candidates = BTreeMap::new();
        for (position, one) in wanted.iter().enumerate() {
            if matches!(one.purpose, Purpose::Refresh { .. }) {
                continue;
            }
            let ids = askable(&one.content)
                .filter_map(|sku| holders.get(&sku))
                .flatten();
            candidates.insert(position, ids.copied().collect());
        }
        Ok(candidates)
    }

    /// Returns which products have which SKU, in lower case.
    async fn holders(
        &self,
        gate: &dyn Gate,
        skus: &BTreeSet<String>,
        status: &str,
    ) -> Result<BTreeMap<String, BTreeSet<u64>>, CallError> {
        let skus: Vec<String> = skus.iter().cloned().collect();
        let more = vec![
            ("status", status.to_owned()),
            ("_fields", "id,parent_id,type,sku".to_owned()),
        ];
        let rows = self.list_by(gate, "products", ("sku", &skus), &more).await?;
        let mut holders: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for row in parsed::<wire::Product>(rows) {
            let id = if row.parent_id > 0 { row.parent_id } else { row.id };
            holders.entry(row.sku.to_lowercase()).or_default().insert(id);
        }
        Ok(holders)
    }

    /// Reads products by the ids under which they are asked for; a variation's id stands for its parent.
    async fn products_now(
        &self,
        gate: &dyn Gate,
        ids: &[String],
    ) -> Result<BTreeMap<String, Theirs>, CallError> {
        let mut products = self.products_by_id(gate, ids).await?;
        let missing: Vec<String> = ids
            .iter()
            .filter(|id| id.parse().is_ok_and(|id: u64| !products.contains_key(&id)))
            .cloned()
            .collect();
        let parents = self.parents_of(gate, &missing).await?;
        let unread: Vec<String> = parents
            .values()
            .filter(|id| !products.contains_key(id))
            .map(u64::to_string)
            .collect();
        products.append(&mut self.products_by_id(gate, &unread).await?);
        let read = self
            .products_theirs(gate, products.into_values().collect())
            .await?;
        let mut theirs: BTreeMap<String, Theirs> = read
            .into_iter()
            .map(|theirs| (theirs.external_id.clone(), theirs))
            .collect();
        for (id, parent) in parents {
            if let Some(found) = theirs.get(&parent.to_string()).cloned() {
                theirs.insert(id, found);
            }
        }
        Ok(theirs)
    }

    /// Reads products by id, those in the trash as well, which no other list shows (facts/systems.md A4).
    pub(super) async fn products_by_id(
        &self,
        gate: &dyn Gate,
        ids: &[String],
    ) -> Result<BTreeMap<u64, wire::Product>, CallError> {
        let mut found: BTreeMap<u64, wire::Product> = BTreeMap::new();
        for status in ["any", "trash"] {
            let missing: Vec<String> = ids
                .iter()
                .filter(|id| id.parse().is_ok_and(|id: u64| !found.contains_key(&id)))
                .cloned()
                .collect();
            let mut more = product_view();
            more.push(("status", status.to_owned()));
            let rows = self
                .list_by(gate, "products", ("include", &missing), &more)
                .await?;
            let read = parsed::<wire::Product>(rows).into_iter();
            found.extend(
                read.filter(|product| product.id > 0)
                    .map(|product| (product.id, product)),
            );
        }
        Ok(found)
    }

    /// Returns the parents of those ids that are variations'. A list of products never shows these by id, while the
    /// id that an SKU in use is refused with may be one (facts/systems.md A3).
    async fn parents_of(&self, gate: &dyn Gate, ids: &[String]) -> Result<BTreeMap<String, u64>, CallError> {
        let mut parents = BTreeMap::new();
        if let Some(variations) = self.variations_by_id(gate, ids, "any").await? {
            for variation in variations.iter().filter(|variation| variation.parent_id > 0) {
                parents.insert(variation.id.to_string(), variation.parent_id);
            }
            return Ok(parents);
        }
        for id in ids {
            let params = vec![("_fields", "id,parent_id,type".to_owned())];
            let answer = self.ask(gate, &format!("products/{id}"), params).await?;
            if answer.status == reqwest::StatusCode::NOT_FOUND {
                continue;
            }
            let row: wire::Product =
                serde_json::from_value(error::body(&answer, Kind::Read)?).unwrap_or_default();
            if row.parent_id > 0 {
                parents.insert(id.clone(), row.parent_id);
            }
        }
        Ok(parents)
    }

    /// Finds the products created since then that carry a marker of one of our records. No list can be filtered by
    /// meta, so all that were created are read (facts/mapping-woocommerce.md §1).
    async fn marked_since(
        &self,
        gate: &dyn Gate,
        since: DateTime<Utc>,
        records: &BTreeSet<RecordId>,
    ) -> Result<BTreeMap<RecordId, Vec<Theirs>>, CallError> {
        let after = (since - CLOCK_SLACK).format("%Y-%m-%dT%H:%M:%S").to_string();
        let (mut offset, mut found) = (0, Vec::new());
        loop {
            let mut params = product_view();
            params.push(("status", "any".to_owned()));
            params.push(("after", after.clone()));
            params.push(("dates_are_gmt", "true".to_owned()));
            params.push(("orderby", "id".to_owned()));
            params.push(("order", "asc".to_owned()));
            params.push(("per_page", Window::LIMIT.to_string()));
            params.push(("offset", offset.to_string()));
            let page: Vec<wire::Product> = parsed(self.list(gate, "products", params).await?);
            let count = page.len();
            let is_ours =
                |product: &wire::Product| product.marker().is_some_and(|record| records.contains(&record));
            found.extend(page.into_iter().filter(is_ours));
            if count < Window::LIMIT {
                break;
            }
            offset += count;
        }
        let mut marked: BTreeMap<RecordId, Vec<Theirs>> = BTreeMap::new();
        for theirs in self.products_theirs(gate, found).await? {
            if let Some(record) = theirs.marker {
                marked.entry(record).or_default().push(theirs);
            }
        }
        Ok(marked)
    }

    pub(super) async fn look_up_customers(
        &self,
        gate: &dyn Gate,
        wanted: &[Wanted],
    ) -> Result<Vec<Sighting>, CallError> {
        let ids: Vec<String> = wanted
            .iter()
            .filter_map(|wanted| match &wanted.purpose {
                Purpose::Refresh { external_id } => Some(external_id.clone()),
                Purpose::BeforeCreate | Purpose::InDoubt { .. } => None,
            })
            .collect();
        let accounts = self.customers_by_id(gate, &ids).await?;
        let holders = self.holders_of_emails(gate, wanted).await?;
        let mut sightings = Vec::with_capacity(wanted.len());
        for one in wanted {
            sightings.push(match &one.purpose {
                Purpose::Refresh { external_id } => {
                    accounts.get(external_id).map_or(Sighting::Missing, |account| {
                        Sighting::One(customer::theirs(account))
                    })
                }
                Purpose::BeforeCreate => match (&holders, email(&one.content)) {
                    (Some(holders), Some(email)) => {
                        let found = holders.get(email).into_iter().flatten();
                        sighting(found.map(customer::theirs).collect(), Some(one.record))
                    }
                    // What is there already is refused as it is made, or as it is given its address.
                    (None, _) | (_, None) => Sighting::NotAsked,
                },
                Purpose::InDoubt { .. } => self.customer_in_doubt(gate, one).await?,
            });
        }
        Ok(sightings)
    }

    /// Finds the accounts that have the addresses of customers who are to get one, by address, in a few calls; `None`
    /// where it would take more.
    ///
    /// A list can be filtered by one address at a time, so a small store is read whole instead. Whoever is missed has
    /// their account found when the new one can't have their address; that costs two calls, once, and this may cost
    /// them again for each batch.
    async fn holders_of_emails(
        &self,
        gate: &dyn Gate,
        wanted: &[Wanted],
    ) -> Result<Option<BTreeMap<String, Vec<wire::Customer>>>, CallError> {
        let asked = wanted.iter().filter(|one| one.purpose == Purpose::BeforeCreate);
        let emails: BTreeSet<&str> = asked.filter_map(|one| email(&one.content)).collect();
        if self.welcome() == Welcome::Mailed {
            return Ok(None);
        }
        let mut holders: BTreeMap<String, Vec<wire::Customer>> = BTreeMap::new();
        if emails.len() <= FEW_CALLS {
            for email in emails {
                holders.insert(email.to_owned(), self.customers_by_email(gate, email).await?);
            }
            return Ok(Some(holders));
        }
        let mut offset = 0;
        for _ in 0..FEW_CALLS {
            let mut params = customer_view();
            params.push(("orderby", "id".to_owned()));
            params.push(("order", "asc".to_owned()));
            params.push(("per_page", Window::LIMIT.to_string()));
            params.push(("offset", offset.to_string()));
            let answer = self.ask(gate, "customers", params).await?;
            let total = answer
                .headers
                .get("x-wp-total")
                .and_then(|total| total.to_str().ok()?.parse().ok());
            if total.is_some_and(|total: usize| total > FEW_CALLS * Window::LIMIT) {
                return Ok(None);
            }
            let page: Vec<wire::Customer> = parsed(super::rows(error::body(&answer, Kind::Read)?)?);
            let is_last = page.len() < Window::LIMIT;
            offset += page.len();
            for account in page {
                let email = account.email.trim().to_lowercase();
                holders.entry(email).or_default().push(account);
            }
            if is_last {
                return Ok(Some(holders));
            }
        }
        Ok(None)
    }

    /// Reads accounts by id.
    pub(super) async fn customers_by_id(
        &self,
        gate: &dyn Gate,
        ids: &[String],
    ) -> Result<BTreeMap<String, wire::Customer>, CallError> {
        let rows = self
            .list_by(gate, "customers", ("include", ids), &customer_view())
            .await?;
        let accounts = parsed::<wire::Customer>(rows).into_iter();
        Ok(accounts
            .map(|account| (account.id.to_string(), account))
            .collect())
    }

    /// Reads the accounts that have an address: two, when two requests raced (facts/systems.md A5).
    pub(super) async fn customers_by_email(
        &self,
        gate: &dyn Gate,
        email: &str,
    ) -> Result<Vec<wire::Customer>, CallError> {
        let found = self.customers_with(gate, ("email", email)).await?;
        let has_it = |account: &wire::Customer| account.email.trim().eq_ignore_ascii_case(email);
        Ok(found.into_iter().filter(has_it).collect())
    }

    async fn customers_with(
        &self,
        gate: &dyn Gate,
        (name, value): (&'static str, &str),
    ) -> Result<Vec<wire::Customer>, CallError> {
        let mut params = customer_view();
        params.push((name, value.to_owned()));
        params.push(("per_page", Window::LIMIT.to_string()));
        Ok(parsed(self.list(gate, "customers", params).await?))
    }

    /// The customer's own address goes first: where a new account and an old one are both there, the old one is the
    /// customer's. A new one that has no address yet is found by its name, which a search looks at
    /// (facts/systems.md A5).
    async fn customer_in_doubt(&self, gate: &dyn Gate, wanted: &Wanted) -> Result<Sighting, CallError> {
        let Content::Customer(customer) = &wanted.content else {
            return Err(error::refused("a product was looked for among the customers"));
        };
        let mut found = match &customer.email {
            Some(email) => self.customers_by_email(gate, email).await?,
            None => Vec::new(),
        };
        if found.is_empty() {
            let login = customer::login(wanted.record);
            found = self.customers_with(gate, ("search", &login)).await?;
            found.retain(|account| account.username == login);
        }
        Ok(sighting(
            found.iter().map(customer::theirs).collect(),
            Some(wanted.record),
        ))
    }
}

fn email(content: &Content) -> Option<&str> {
    match content {
        Content::Customer(customer) => customer.email.as_deref(),
        Content::Product(_) | Content::Order(_) | Content::Inventory(_) | Content::Payment(_) => None,
    }
}

/// Returns the SKUs that a list can be filtered by, in lower case: a comma would separate two, and `0` is ignored, with
/// all products for an answer (facts/mapping-woocommerce.md §1, «SKU»).
fn askable(content: &Content) -> impl Iterator<Item = String> + '_ {
    skus(content).filter(|sku| can_ask(sku)).map(str::to_lowercase)
}

fn skus(content: &Content) -> impl Iterator<Item = &str> {
    let variants = match content {
        Content::Product(product) => product.variants.as_slice(),
        Content::Customer(_) | Content::Order(_) | Content::Inventory(_) | Content::Payment(_) => &[],
    };
    variants.iter().filter_map(|variant| variant.sku.as_deref())
}

fn can_ask(sku: &str) -> bool {
    !sku.contains(',') && sku != "0"
}

/// Says whether a look-up by SKU can prove that a product is not there.
fn can_ask_all(content: &Content) -> bool {
    let mut skus = skus(content).peekable();
    skus.peek().is_some() && skus.all(can_ask)
}

/// Returns the things in doubt for which all that was created has to be read, and since when: those that the SKU can't
/// find. A variable product has none of its own, and its variations come after it.
fn unmarked(
    wanted: &[Wanted],
    candidates: &BTreeMap<usize, BTreeSet<u64>>,
    theirs: &BTreeMap<String, Theirs>,
) -> (BTreeSet<RecordId>, Option<DateTime<Utc>>) {
    let (mut records, mut oldest) = (BTreeSet::new(), None);
    for (position, one) in wanted.iter().enumerate() {
        let Purpose::InDoubt { since } = one.purpose else {
            continue;
        };
        let found = candidates
            .get(&position)
            .map(|found| pick(found, theirs))
            .unwrap_or_default();
        let is_marked = found.iter().any(|theirs| theirs.marker == Some(one.record));
        let is_simple = matches!(&one.content, Content::Product(product) if Product::is_simple(product));
        let can_tell = is_marked || (is_simple && can_ask_all(&one.content));
        if !can_tell {
            records.insert(one.record);
            oldest = Some(oldest.map_or(since, |oldest: DateTime<Utc>| oldest.min(since)));
        }
    }
    (records, oldest)
}

fn pick(ids: &BTreeSet<u64>, theirs: &BTreeMap<String, Theirs>) -> Vec<Theirs> {
    ids.iter()
        .filter_map(|id| theirs.get(&id.to_string()).cloned())
        .collect()
}

/// Says what was found. The one that carries our marker is ours, whatever else has our keys.
fn sighting(mut found: Vec<Theirs>, record: Option<RecordId>) -> Sighting {
    let ours: Vec<usize> = (0..found.len())
        .filter(|position| record.is_some() && found[*position].marker == record)
        .collect();
    match (ours.as_slice(), found.len()) {
        ([position], _) => Sighting::One(found.swap_remove(*position)),
        (_, 0) => Sighting::Missing,
        (_, 1) => Sighting::One(found.swap_remove(0)),
        (_, _) => Sighting::Many(found.into_iter().map(|theirs| theirs.external_id).collect()),
    }
}

#[cfg(test)]
mod tests {
    use lockstep_shared::entity::{Invalid, Variant};
    use uuid::Uuid;

    use super::*;
    use crate::connector::Parts;

    fn found(id: &str, marker: Option<RecordId>) -> Theirs {
        Theirs {
            external_id: id.to_owned(),
            content: Err(Invalid(Vec::new())),
            parts: Parts::new(),
            marker,
            modified_at: None,
        }
    }

    fn product(skus: &[&str]) -> Content {
        let variants = skus.iter().map(|sku| Variant {
            sku: Some((*sku).to_owned()),
            ..Variant::default()
        });
        Content::Product(Product {
            name: "x".to_owned(),
            status: lockstep_shared::entity::ProductStatus::Published,
            kind: lockstep_shared::entity::ProductKind::Goods,
            tracks_stock: false,
            description: None,
            summary: None,
            variants: variants.collect(),
            categories: Vec::new(),
            images: Vec::new(),
            tags: Vec::new(),
            tax_class: None,
        })
    }

    #[test]
    fn the_marked_one_is_ours_among_several() {
        let record = RecordId(Uuid::from_u128(7));
        let two = || vec![found("1", None), found("2", Some(record))];

        assert!(matches!(sighting(two(), Some(record)), Sighting::One(theirs) if theirs.external_id == "2"));
        assert!(matches!(sighting(two(), None), Sighting::Many(ids) if ids == ["1", "2"]));
        assert!(matches!(sighting(Vec::new(), Some(record)), Sighting::Missing));
    }

    #[test]
    fn some_skus_cant_be_asked_for() {
        assert!(can_ask_all(&product(&["A", "B"])));
        assert!(!can_ask_all(&product(&["A", "B,C"])));
        assert!(!can_ask_all(&product(&["0"])));
        assert!(!can_ask_all(&product(&[])));
        assert_eq!(askable(&product(&["A", "B,C", "0"])).collect::<Vec<_>>(), ["a"]);
    }
}
