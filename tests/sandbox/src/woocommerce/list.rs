//! Lists: paging, filters, order (facts: systems A3, A4).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::order;
use super::product::{Context, Product};
use super::refusal::{Problem, Refusal};
use super::shop::Shop;
use super::text;
use crate::server::Reply;

/// A decoded query string.
pub(super) type Query = BTreeMap<String, String>;

/// What kind of list it is, as far as its parameters differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    Products,
    Variations,
    Customers,
    Terms,
    Orders,
    Refunds,
    Taxes,
    Other,
}

const PRODUCT_ORDERS: &[&str] = &[
    "date",
    "id",
    "include",
    "title",
    "slug",
    "modified",
    "popularity",
    "rating",
    "post__in",
    "price",
    "sales",
    "menu_order",
    "random",
    "popularity",
    "rating",
    "menu_order",
    "price",
    "popularity",
    "rating",
];
const ORDER_ORDERS: &[&str] = &["date", "id", "include", "title", "slug", "modified"];
const TAX_ORDERS: &[&str] = &["id", "order", "priority"];
const CUSTOMER_ORDERS: &[&str] = &["id", "include", "name", "registered_date"];
const TERM_ORDERS: &[&str] = &[
    "id",
    "include",
    "name",
    "slug",
    "term_group",
    "description",
    "count",
    "menu_order",
];
const STATUSES: &[&str] = &[
    "any",
    "draft",
    "pending",
    "private",
    "publish",
    "future",
    "trash",
    "auto-draft",
];

/// The part of a list that is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    number: usize,
    size: usize,
    offset: Option<usize>,
}

impl Page {
    fn start(self) -> usize {
        self.offset.unwrap_or((self.number - 1) * self.size)
    }

    /// Whether a list of this length ends before it.
    pub(super) fn is_beyond(self, length: usize) -> bool {
        self.start() > 0 && self.start() >= length
    }
}

/// Checks the parameters, every bad one named in the order of the route's arguments.
pub(super) fn check(query: &Query, listing: Listing) -> Result<Page, Refusal> {
    let mut problems = Vec::new();
    let number = bounded(query, "page", 1, 1, None, &mut problems);
    let size = bounded(query, "per_page", 10, 1, Some(100), &mut problems);
    if !matches!(listing, Listing::Customers | Listing::Terms | Listing::Taxes) {
        for name in ["after", "before", "modified_after", "modified_before"] {
            let is_bad = query
                .get(name)
                .is_some_and(|value| text::date_parameter(value).is_none());
            problems.extend(is_bad.then(|| Problem::bad_date(name)));
        }
    }
    let offset = query
        .contains_key("offset")
        .then(|| bounded(query, "offset", 0, 0, None, &mut problems));
    one_of(query, "order", &["asc", "desc"], &mut problems);
    match listing {
        Listing::Products | Listing::Variations => one_of(query, "orderby", PRODUCT_ORDERS, &mut problems),
        Listing::Customers => one_of(query, "orderby", CUSTOMER_ORDERS, &mut problems),
        Listing::Terms => one_of(query, "orderby", TERM_ORDERS, &mut problems),
        Listing::Orders | Listing::Refunds => one_of(query, "orderby", ORDER_ORDERS, &mut problems),
        Listing::Taxes => one_of(query, "orderby", TAX_ORDERS, &mut problems),
        Listing::Other => {}
    }
    if listing == Listing::Products {
        one_of(query, "status", STATUSES, &mut problems);
    }
    if listing == Listing::Orders {
        each_of(query, "status", order::STATUSES, &mut problems);
        bounded(query, "customer", 0, i64::MIN, None, &mut problems);
        bounded(query, "product", 0, i64::MIN, None, &mut problems);
    }
    if problems.is_empty() {
        Ok(Page { number, size, offset })
    } else {
        Err(Refusal::invalid(&problems))
    }
}

fn bounded(
    query: &Query,
    name: &str,
    default: usize,
    least: i64,
    most: Option<i64>,
    problems: &mut Vec<Problem>,
) -> usize {
    let Some(text) = query.get(name) else {
        return default;
    };
    let Ok(value) = text.trim().parse::<i64>() else {
        problems.push(Problem::wrong_type(name, name, "integer"));
        return default;
    };
    match most {
        Some(most) if value < least || value > most => {
            let message = format!("{name} must be between {least} (inclusive) and {most} (inclusive)");
            problems.push(Problem::out_of_bounds(name, message));
        }
        None if value < least => {
            let message = format!("{name} must be greater than or equal to {least}");
            problems.push(Problem::out_of_bounds(name, message));
        }
        _ => return usize::try_from(value).unwrap_or(default),
    }
    default
}

/// Checks every word of a comma list; the first bad one is named by its place.
fn each_of(query: &Query, name: &str, allowed: &[&str], problems: &mut Vec<Problem>) {
    let words = query.get(name).into_iter().flat_map(|list| list.split(','));
    let bad = words
        .map(str::trim)
        .enumerate()
        .find(|(_, word)| !word.is_empty() && !allowed.contains(word));
    if let Some((at, _)) = bad {
        let problem = Problem::not_listed(&format!("{name}[{at}]"), allowed);
        problems.push(Problem {
            parameter: name.to_owned(),
            ..problem
        });
    }
}

fn one_of(query: &Query, name: &str, allowed: &[&str], problems: &mut Vec<Problem>) {
    if query
        .get(name)
        .is_some_and(|value| !allowed.contains(&value.as_str()))
    {
        problems.push(Problem::not_listed(name, allowed));
    }
}

pub(super) fn is_ascending(query: &Query, default: &str) -> bool {
    query.get("order").map_or(default, String::as_str) == "asc"
}

/// Reads a comma list, or `include[0]=…&include[1]=…`.
pub(super) fn ids(query: &Query, name: &str) -> Option<Vec<u64>> {
    let indexed = format!("{name}[");
    let values: Vec<&str> = query
        .iter()
        .filter(|(key, _)| *key == name || key.starts_with(&indexed))
        .flat_map(|(_, value)| value.split(','))
        .collect();
    let ids: Vec<u64> = values
        .iter()
        .filter_map(|value| value.trim().parse().ok())
        .collect();
    (!ids.is_empty()).then_some(ids)
}

/// Cuts a page out of a list of ids and answers it with the totals (facts: systems A3).
pub(super) fn paged(
    shop: &Shop,
    path: &str,
    query: &Query,
    page: Page,
    ids: &[u64],
    render: impl Fn(u64) -> Option<Value>,
) -> Reply {
    let shown = ids.iter().skip(page.start()).take(page.size);
    let rows: Vec<Value> = shown
        .filter_map(|id| render(*id))
        .map(|row| thinned(row, query))
        .collect();
    let pages = ids.len().div_ceil(page.size);
    let link = link(shop, path, query, page, pages);
    Reply::json(200, &Value::Array(rows))
        .with_header("x-wp-total", ids.len().to_string())
        .with_header("x-wp-totalpages", pages.to_string())
        .with_header("link", link)
        .with_header("allow", "GET, POST".to_owned())
}

/// Orders forget how many there are when a page past the end is asked for (facts: mapping-woocommerce 6).
pub(super) fn without_total(mut answer: Reply) -> Reply {
    for (name, value) in &mut answer.headers {
        if matches!(*name, "x-wp-total" | "x-wp-totalpages") {
            "0".clone_into(value);
        }
    }
    answer
}

/// Finds tax rates.
pub(super) fn taxes(shop: &Shop, query: &Query) -> Vec<u64> {
    let class = query.get("class").filter(|class| !class.is_empty());
    let rates = shop.taxes.rates.values();
    let mut found: Vec<u64> = rates
        .filter(|rate| class.is_none_or(|class| rate.class() == class))
        .map(|rate| rate.id)
        .collect();
    if !is_ascending(query, "asc") {
        found.reverse();
    }
    found
}

fn link(shop: &Shop, path: &str, query: &Query, page: Page, pages: usize) -> String {
    let to = |number: usize, relation: &str| {
        let mut serializer = String::new();
        for (name, value) in query.iter().filter(|(name, _)| !is_secret(name)) {
            let value = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
            let _ = write!(serializer, "{name}={value}&");
        }
        format!(
            "<{}{path}?{serializer}page={number}>; rel=\"{relation}\"",
            shop.base_url
        )
    };
    let mut links = Vec::new();
    if page.number > 1 && pages > 0 {
        links.push(to((page.number - 1).min(pages), "prev"));
    }
    if page.number < pages {
        links.push(to(page.number + 1, "next"));
    }
    if links.is_empty() {
        links.push(format!(
            "<{}/wp-json/>; rel=\"https://api.w.org/\"",
            shop.base_url
        ));
    }
    links.join(", ")
}

fn is_secret(name: &str) -> bool {
    name == "page" || name.starts_with("consumer_") || name.starts_with("oauth_")
}

/// Keeps the fields of `_fields` and the meta keys of `include_meta`.
pub(super) fn thinned(mut row: Value, query: &Query) -> Value {
    if let (Some(keys), Some(meta)) = (query.get("include_meta"), row["meta_data"].as_array_mut()) {
        let keys: Vec<&str> = keys.split(',').map(str::trim).collect();
        meta.retain(|entry| entry["key"].as_str().is_some_and(|key| keys.contains(&key)));
    }
    let Some(fields) = query.get("_fields").filter(|fields| !fields.is_empty()) else {
        return row;
    };
    let Value::Object(object) = row else { return row };
    let wanted: BTreeSet<&str> = fields
        .split(',')
        .map(|field| field.split('.').next().unwrap_or(field).trim())
        .collect();
    Value::Object(
        object
            .into_iter()
            .filter(|(name, _)| wanted.contains(name.as_str()))
            .collect::<Map<_, _>>(),
    )
}

pub(super) fn context(query: &Query) -> Context {
    if query.get("context").is_some_and(|context| context == "edit") {
        Context::Edit
    } else {
        Context::View
    }
}

/// A bound on a time, compared with whole seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    after: Option<i64>,
    before: Option<i64>,
}

impl Bounds {
    /// Reads two parameters. A time without a zone is the site's unless `dates_are_gmt`; one with a zone is shifted
    /// by the site's offset when `dates_are_gmt` is set as well (facts: systems A4).
    pub(super) fn read(query: &Query, offset_secs: i64, after: &str, before: &str) -> Self {
        let is_gmt = query
            .get("dates_are_gmt")
            .is_some_and(|value| matches!(value.as_str(), "true" | "1"));
        let bound = |name: &str| {
            let (plain, zoned) = text::date_parameter(query.get(name)?)?;
            Some(match (zoned, is_gmt) {
                (None, true) => plain,
                (None, false) => plain - offset_secs,
                (Some(utc), false) => utc,
                (Some(utc), true) => utc + offset_secs,
            })
        };
        Self {
            after: bound(after),
            before: bound(before),
        }
    }

    /// Returns the first second that is allowed.
    pub(super) fn first(self) -> i64 {
        self.after.map_or(i64::MIN, |after| after.saturating_add(1))
    }

    pub(super) fn allow(self, at: i64) -> bool {
        self.after.is_none_or(|after| at > after) && self.before.is_none_or(|before| at < before)
    }
}

/// Finds the products or variations a query asks for, in order.
pub(super) fn products(shop: &Shop, query: &Query, listing: Listing, parent: Option<u64>) -> Vec<u64> {
    let filter = Filter::read(shop, query, listing, parent);
    let order = query.get("orderby").map_or("date", String::as_str);
    let ascending = is_ascending(query, "desc");
    let mut found: Vec<u64> = match (&filter.skus, &filter.include, order) {
        (Some(skus), _, _) => {
            let ids: BTreeSet<u64> = skus
                .iter()
                .flat_map(|sku| shop.with_sku(sku))
                .map(|product| product.id)
                .collect();
            ids.into_iter().filter(|id| filter.allows(shop, *id)).collect()
        }
        (None, Some(include), _) => {
            let unique: BTreeSet<u64> = include.iter().copied().collect();
            unique.into_iter().filter(|id| filter.allows(shop, *id)).collect()
        }
        (None, None, "modified") => {
            let after = filter.modified.after.map_or(i64::MIN, |after| after + 1);
            let range = shop
                .by_modified
                .range((filter.variations, after, 0)..=(filter.variations, i64::MAX, u64::MAX));
            range
                .map(|(_, _, id)| *id)
                .filter(|id| filter.allows(shop, *id))
                .collect()
        }
        (None, None, "date") => {
            let range = shop
                .by_created
                .range((filter.variations, i64::MIN, 0)..=(filter.variations, i64::MAX, u64::MAX));
            range
                .map(|(_, _, id)| *id)
                .filter(|id| filter.allows(shop, *id))
                .collect()
        }
        _ => shop
            .products
            .keys()
            .copied()
            .filter(|id| filter.allows(shop, *id))
            .collect(),
    };
    let is_by_index = filter.skus.is_none() && filter.include.is_none();
    let product = |id: &u64| &shop.products[id];
    match order {
        "include" => {
            let include = filter.include.unwrap_or_default();
            found.sort_by_key(|id| include.iter().position(|one| one == id));
            return found;
        }
        "title" => found.sort_by_cached_key(|id| (product(id).name.to_lowercase(), *id)),
        "slug" => found.sort_by_cached_key(|id| (product(id).slug.clone(), *id)),
        "modified" if !is_by_index => found.sort_by_key(|id| (product(id).modified, *id)),
        "date" if !is_by_index => found.sort_by_key(|id| (product(id).created, *id)),
        _ => {}
    }
    if !ascending {
        found.reverse();
    }
    found
}

struct Filter {
    variations: bool,
    parent: Option<u64>,
    skus: Option<Vec<String>>,
    include: Option<Vec<u64>>,
    exclude: Vec<u64>,
    statuses: Option<Vec<String>>,
    kind: Option<String>,
    slug: Option<u64>,
    code: Option<u64>,
    search: Option<String>,
    search_sku: Option<String>,
    created: Bounds,
    modified: Bounds,
}

impl Filter {
    fn read(shop: &Shop, query: &Query, listing: Listing, parent: Option<u64>) -> Self {
        let value = |name: &str| query.get(name).filter(|value| !value.is_empty()).cloned();
        // The number zero is stored but never looked for (facts: mapping-woocommerce 1).
        let sku = value("sku").filter(|sku| sku != "0");
        let statuses =
            value("status").map(|statuses| statuses.split(',').map(str::to_owned).collect::<Vec<_>>());
        Self {
            variations: listing == Listing::Variations,
            parent,
            skus: sku.map(|skus| skus.split(',').map(|sku| sku.trim().to_owned()).collect()),
            include: ids(query, "include"),
            exclude: ids(query, "exclude").unwrap_or_default(),
            statuses: statuses.filter(|statuses| !statuses.iter().any(|status| status == "any")),
            kind: value("type"),
            slug: value("slug").map(|slug| shop.with_slug(&slug).map_or(0, |product| product.id)),
            code: value("global_unique_id")
                .map(|code| shop.with_global_unique_id(&code).map_or(0, |product| product.id)),
            search: value("search").map(|search| search.to_lowercase()),
            search_sku: value("search_sku").map(|search| search.to_lowercase()),
            created: Bounds::read(query, shop.offset_secs, "after", "before"),
            modified: Bounds::read(query, shop.offset_secs, "modified_after", "modified_before"),
        }
    }

    fn allows(&self, shop: &Shop, id: u64) -> bool {
        let Some(product) = shop.product(id) else {
            return false;
        };
        // Only a look-up by SKU mixes variations into the products.
        let is_right_kind =
            product.is_variation() == self.variations || (self.skus.is_some() && !self.variations);
        is_right_kind
            && self.parent.is_none_or(|parent| product.parent == parent)
            && self.allows_status(product)
            && self.include.as_ref().is_none_or(|ids| ids.contains(&id))
            && !self.exclude.contains(&id)
            && self.kind.as_ref().is_none_or(|kind| product.kind == *kind)
            && self.slug.is_none_or(|one| one == id)
            && self.code.is_none_or(|one| one == id)
            && self
                .search
                .as_ref()
                .is_none_or(|text| matches_text(product, text))
            && self
                .search_sku
                .as_ref()
                .is_none_or(|text| product.sku.to_lowercase().contains(text))
            && self.created.allow(product.created)
            && self.modified.allow(product.modified)
    }

    fn allows_status(&self, product: &Product) -> bool {
        match &self.statuses {
            None => !matches!(product.status.as_str(), "trash" | "auto-draft"),
            Some(statuses) => statuses.contains(&product.status),
        }
    }
}

fn matches_text(product: &Product, text: &str) -> bool {
    product.name.to_lowercase().contains(text) || product.description.to_lowercase().contains(text)
}

/// Finds customers; there is no filter by change, and only the role «customer» unless all are asked for.
pub(super) fn customers(shop: &Shop, query: &Query) -> Vec<u64> {
    let role = query.get("role").map_or("customer", String::as_str);
    let include = ids(query, "include");
    let exclude = ids(query, "exclude").unwrap_or_default();
    let search = query.get("search").map(|search| search.to_lowercase());
    let allows = |id: &u64| {
        let Some(customer) = shop.customers.get(id) else {
            return false;
        };
        (role == "all" || customer.role == role)
            && include.as_ref().is_none_or(|ids| ids.contains(id))
            && !exclude.contains(id)
            && search.as_ref().is_none_or(|search| {
                customer.email.to_lowercase().contains(search)
                    || customer.username.to_lowercase().contains(search)
            })
    };
    let by_email = query.get("email").filter(|email| !email.is_empty());
    let mut found: Vec<u64> = match (by_email, &include) {
        (Some(email), _) => {
            let holders = shop.by_email.get(&email.to_lowercase()).into_iter().flatten();
            holders.copied().filter(allows).collect()
        }
        (None, Some(include)) => {
            let unique: BTreeSet<u64> = include.iter().copied().collect();
            unique.into_iter().filter(allows).collect()
        }
        (None, None) => shop.customers.keys().copied().filter(allows).collect(),
    };
    let customer = |id: &u64| &shop.customers[id];
    match query.get("orderby").map_or("name", String::as_str) {
        "include" => {
            let include = include.unwrap_or_default();
            found.sort_by_key(|id| include.iter().position(|one| one == id));
            return found;
        }
        "name" => found.sort_by_cached_key(|id| (customer(id).username.to_lowercase(), *id)),
        "registered_date" => found.sort_by_key(|id| (customer(id).created, *id)),
        _ => {}
    }
    if !is_ascending(query, "asc") {
        found.reverse();
    }
    found
}

/// Finds rows that can only be read, newest first unless asked otherwise; coupons are also found by their code.
pub(super) fn recorded(shop: &Shop, rows: &BTreeMap<u64, Value>, query: &Query) -> Vec<u64> {
    let include = ids(query, "include");
    let modified = Bounds::read(query, shop.offset_secs, "modified_after", "modified_before");
    let code = query.get("code").filter(|code| !code.is_empty());
    let allows = |(id, row): &(&u64, &Value)| {
        let at = row["date_modified_gmt"]
            .as_str()
            .and_then(text::seconds)
            .unwrap_or_default();
        include.as_ref().is_none_or(|ids| ids.contains(id))
            && code.is_none_or(|code| {
                row["code"]
                    .as_str()
                    .is_some_and(|own| own.eq_ignore_ascii_case(code))
            })
            && modified.allow(at)
    };
    let mut found: Vec<u64> = rows.iter().filter(allows).map(|(id, _)| *id).collect();
    if query.get("orderby").is_some_and(|order| order == "modified") {
        found.sort_by_key(|id| (rows[id]["date_modified_gmt"].as_str().map(str::to_owned), *id));
    }
    if !is_ascending(query, "desc") {
        found.reverse();
    }
    found
}
