//! Inventory levels: what the store has of a product, or of one variation.
//!
//! There is a level where the store counts a thing by itself. A thing that is not counted has none, and neither has a
//! variation whose parent is counted for all of them together (`manage_stock` is `parent`): one number for several
//! things is nobody's. Writing a level makes the store count the thing.
//!
//! Calls: 100 simple products or any 100 variations are read by one call. 100 simple products are written by one; the
//! variations of each parent take one of their own (facts/mapping-woocommerce.md §1, §5).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use chrono::NaiveDateTime;
use lockstep_shared::entity::{Content, Inventory, Reference, RemoteThing};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::{self, Kind};
use super::pull::{Mark, Step};
use super::wire::{number, text, time};
use super::{BATCH_LIMIT, SYSTEM, WooCommerce, page, parsed, position, reference};
use crate::connector::{
    Action, CallError, Cursor, Gate, Outcome, Page, Parts, Purpose, Refusal, Request, Sighting, Theirs,
    Wanted, Write,
};

/// The fields of [`Counted`].
const FIELDS: &str = "id,parent_id,type,status,manage_stock,stock_quantity,date_modified_gmt";

/// A product or a variation, as far as its stock goes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Counted {
    #[serde(deserialize_with = "number")]
    id: u64,
    /// Not 0 in a variation.
    #[serde(deserialize_with = "number")]
    parent_id: u64,
    #[serde(rename = "type", deserialize_with = "text")]
    type_name: String,
    #[serde(deserialize_with = "text")]
    status: String,
    /// A flag, or the string `parent` (facts/mapping-woocommerce.md §5).
    manage_stock: Value,
    #[serde(deserialize_with = "text")]
    stock_quantity: String,
    /// Moved by every regular change of the stock, and by any other of the product (facts/mapping-woocommerce.md §6).
    #[serde(deserialize_with = "time")]
    date_modified_gmt: Option<NaiveDateTime>,
}

impl Counted {
    fn is_counted(&self) -> bool {
        self.type_name != "variable"
            && match &self.manage_stock {
                Value::Bool(flag) => *flag,
                Value::String(text) => matches!(text.as_str(), "yes" | "true" | "1"),
                Value::Number(number) => number.as_i64() == Some(1),
                Value::Null | Value::Array(_) | Value::Object(_) => false,
            }
    }

    fn quantity(&self) -> Decimal {
        self.stock_quantity.trim().parse().unwrap_or_default()
    }

    fn place(&self) -> Place {
        match self.parent_id {
            0 => Place {
                product: self.id,
                variation: None,
            },
            parent => Place {
                product: parent,
                variation: Some(self.id),
            },
        }
    }

    /// Returns the level; `None` where the store does not count the thing.
    fn theirs(&self) -> Option<Theirs> {
        let place = self.place();
        let level = Inventory {
            product: place.reference(),
            quantity: self.quantity(),
        };
        self.is_counted().then(|| Theirs {
            external_id: place.to_string(),
            content: Content::Inventory(project(&level)).canonical(),
            parts: Parts::new(),
            marker: None,
            modified_at: self.date_modified_gmt.map(|at| at.and_utc()),
        })
    }
}

/// Where a level is kept: the id is `<product>` or `<product>/<variation>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    product: u64,
    variation: Option<u64>,
}

impl Place {
    fn parse(external_id: &str) -> Option<Self> {
        let (product, variation) = match external_id.split_once('/') {
            Some((product, variation)) => (product, Some(variation.parse().ok()?)),
            None => (external_id, None),
        };
        Some(Self {
            product: product.parse().ok()?,
            variation,
        })
    }

    fn of(thing: &RemoteThing) -> Option<Self> {
        Some(Self {
            product: thing.external_id.parse().ok()?,
            variation: thing.part.as_deref().map(str::parse).transpose().ok()?,
        })
    }

    fn reference(self) -> Reference {
        Reference::remote(
            self.product.to_string(),
            self.variation.map(|variation| variation.to_string()),
        )
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.variation {
            Some(variation) => write!(f, "{}/{variation}", self.product),
            None => self.product.fmt(f),
        }
    }
}

/// Returns a level as WooCommerce can hold it: whole pieces (facts/mapping-woocommerce.md §5).
pub(super) fn project(level: &Inventory) -> Inventory {
    Inventory {
        product: level.product.clone(),
        quantity: level.quantity.floor().normalize(),
    }
}

/// Where a pull of levels goes on: products first, then variations.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Feeds {
    is_at_variations: bool,
    products: Mark,
    variations: Mark,
}

impl WooCommerce {
    pub(super) async fn pull_inventory(
        &self,
        gate: &dyn Gate,
        cursor: &Cursor,
        limit: usize,
    ) -> Result<Page, CallError> {
        let mut feeds: Feeds = position(cursor)?;
        let (path, mark) = if feeds.is_at_variations {
            ("variations", feeds.variations.clone())
        } else {
            ("products", feeds.products.clone())
        };
        let (things, mark, is_last) = self.changed_stock(gate, path, (mark, limit)).await?;
        let seen: Vec<Theirs> = things
            .iter()
            // A variation that was taken out of use is no part of its product.
            .filter(|thing| thing.parent_id == 0 || matches!(thing.status.as_str(), "publish" | ""))
            .filter_map(Counted::theirs)
            .collect();
        let is_end = is_last && feeds.is_at_variations;
        if feeds.is_at_variations {
            feeds.variations = mark;
        } else {
            feeds.products = mark;
        }
        if is_last {
            feeds.is_at_variations = !feeds.is_at_variations;
        }
        page(seen, &feeds, is_end)
    }

    /// Reads one page of what changed: every regular change of stock bumps the time of the thing itself
    /// (facts/mapping-woocommerce.md §6).
    async fn changed_stock(
        &self,
        gate: &dyn Gate,
        path: &str,
        (mut mark, limit): (Mark, usize),
    ) -> Result<(Vec<Counted>, Mark, bool), CallError> {
        if mark.is_new() {
            let newest = self.newest_change(gate, path).await?;
            mark = mark.begun(newest);
        }
        loop {
            let window = mark.place().window(limit);
            let mut params = mark.params(window);
            params.push(("context", "edit".to_owned()));
            params.push(("_fields", FIELDS.to_owned()));
            let things: Vec<Counted> = parsed(self.list(gate, path, params).await?);
            let ids: Vec<u64> = things.iter().map(|thing| thing.id).collect();
            match mark.place().step(&ids, window) {
                Step::Again(place) => mark = mark.at(place, false),
                Step::Page { next, is_last } => {
                    let fresh = things.into_iter().filter(|thing| mark.place().is_new(thing.id));
                    return Ok((fresh.collect(), mark.clone().at(next, is_last), is_last));
                }
            }
        }
    }

    /// Reads what is counted at some places: simple products together, variations of any parents together.
    async fn counted(
        &self,
        gate: &dyn Gate,
        places: &[Place],
    ) -> Result<BTreeMap<Place, Counted>, CallError> {
        let simple = places.iter().filter(|place| place.variation.is_none());
        let simple: Vec<String> = simple.map(|place| place.product.to_string()).collect();
        let variations: Vec<String> = places
            .iter()
            .filter_map(|place| Some(place.variation?.to_string()))
            .collect();
        let more = vec![
            ("status", "any".to_owned()),
            ("context", "edit".to_owned()),
            ("_fields", FIELDS.to_owned()),
        ];
        let mut found = BTreeMap::new();
        for (path, ids) in [("products", simple), ("variations", variations)] {
            let rows = self.list_by(gate, path, ("include", &ids), &more).await?;
            let things = parsed::<Counted>(rows).into_iter();
            found.extend(
                things
                    .filter(|thing| thing.id > 0)
                    .map(|thing| (thing.place(), thing)),
            );
        }
        Ok(found)
    }

    /// Says which of the places are there, counted or not.
    pub(super) async fn existing_places(
        &self,
        gate: &dyn Gate,
        ids: &[String],
    ) -> Result<BTreeSet<String>, CallError> {
        let places: Vec<Place> = ids.iter().filter_map(|id| Place::parse(id)).collect();
        let found = self.counted(gate, &places).await?;
        Ok(found.keys().map(Place::to_string).collect())
    }

    pub(super) async fn read_inventory(
        &self,
        gate: &dyn Gate,
        ids: &[String],
    ) -> Result<Vec<Theirs>, CallError> {
        let places: Vec<Place> = ids.iter().filter_map(|id| Place::parse(id)).collect();
        let found = self.counted(gate, &places).await?;
        Ok(found.values().filter_map(Counted::theirs).collect())
    }

    /// Reads the stock that there is now. What is not counted yet has no level, whatever the look is for.
    pub(super) async fn look_up_inventory(
        &self,
        gate: &dyn Gate,
        wanted: &[Wanted],
    ) -> Result<Vec<Sighting>, CallError> {
        let places: Vec<Option<Place>> = wanted
            .iter()
            .map(|one| match (&one.purpose, &one.content) {
                (Purpose::Refresh { external_id }, _) => Place::parse(external_id),
                (Purpose::BeforeCreate | Purpose::InDoubt { .. }, Content::Inventory(level)) => {
                    Place::of(&reference::remote(&one.links, &level.product)?)
                }
                (Purpose::BeforeCreate | Purpose::InDoubt { .. }, _) => None,
            })
            .collect();
        let asked: Vec<Place> = places.iter().flatten().copied().collect();
        let found = self.counted(gate, &asked).await?;
        let seen = |place: &Option<Place>| found.get(place.as_ref()?)?.theirs();
        Ok(places
            .iter()
            .map(|place| seen(place).map_or(Sighting::Missing, Sighting::One))
            .collect())
    }

    /// A call about the variations of a product that is not there ends in an error that looks like one of the store's
    /// own, so those that are written for the first time are looked at before (facts/mapping-woocommerce.md §1).
    pub(super) async fn plan_inventory(
        &self,
        gate: &dyn Gate,
        writes: Vec<Write>,
    ) -> Result<Vec<Request>, CallError> {
        let new: Vec<Place> = writes
            .iter()
            .filter(|write| matches!(write.action, Action::Create))
            .filter_map(|write| place_of(write).ok())
            .filter(|place| place.variation.is_some())
            .collect();
        let present = self.counted(gate, &new).await?;
        Ok(requests(writes, |place| {
            !new.contains(place) || present.contains_key(place)
        }))
    }

    pub(super) async fn send_inventory(
        &self,
        request: &Request,
        deadline: Instant,
    ) -> Result<Vec<Outcome>, CallError> {
        let call: Call = serde_json::from_value(request.call.clone())
            .map_err(|_| error::refused("the call is not one of this connector"))?;
        let Some(path) = &call.path else {
            return outcomes(&request.writes, &call, &Value::Null);
        };
        let body = json!({ "update": call.update });
        let builder = self.request("POST", path, Vec::new()).json(&body);
        let answer = self.http.write(SYSTEM, builder, deadline).await?;
        outcomes(&request.writes, &call, &error::body(&answer, Kind::Write)?)
    }
}

/// What [`WooCommerce::send_inventory`] needs to send a request and to read its answer.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Call {
    /// `None` where nothing is sent.
    path: Option<String>,
    /// One per write, in their order.
    update: Vec<Value>,
    /// One per write, where nothing is sent.
    refused: Vec<Refusal>,
}

fn refusal(code: &str, message: &str) -> Refusal {
    Refusal {
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

fn place_of(write: &Write) -> Result<Place, Refusal> {
    let missing = || refusal("woocommerce_rest_product_invalid_id", "Invalid ID.");
    let Content::Inventory(level) = &write.content else {
        return Err(refusal("wrong_type", "this is no inventory level"));
    };
    match &write.action {
        Action::Update { external_id, .. } => Place::parse(external_id).ok_or_else(missing),
        Action::Create => reference::remote(&write.links, &level.product)
            .and_then(|thing| Place::of(&thing))
            .ok_or_else(missing),
        // What is not counted can be sold without end.
        Action::Delete { .. } => Err(refusal(
            "stock_stays",
            "a product that is counted stays so: otherwise any number of it could be sold",
        )),
    }
}

fn item(write: &Write, place: Place) -> Result<Value, Refusal> {
    let Content::Inventory(level) = &write.content else {
        return Err(refusal("wrong_type", "this is no inventory level"));
    };
    let quantity = level.quantity.floor().to_i64();
    let quantity =
        quantity.ok_or_else(|| refusal("unfit_quantity", "the quantity is larger than any store has"))?;
    // Without the first the second is dropped (facts/mapping-woocommerce.md §5).
    Ok(json!({
        "id": place.variation.unwrap_or(place.product), "manage_stock": true, "stock_quantity": quantity
    }))
}

/// Puts every write into exactly one request: simple products together, variations by their parent.
fn requests(writes: Vec<Write>, is_there: impl Fn(&Place) -> bool) -> Vec<Request> {
    let mut groups: BTreeMap<String, Vec<(Write, Value)>> = BTreeMap::new();
    let mut refused = Vec::new();
    for write in writes {
        let planned = place_of(&write).and_then(|place| {
            if !is_there(&place) {
                return Err(refusal("woocommerce_rest_product_invalid_id", "Invalid ID."));
            }
            Ok((place, item(&write, place)?))
        });
        match planned {
            Ok((place, item)) => {
                let path = match place.variation {
                    Some(_) => format!("products/{}/variations/batch", place.product),
                    None => "products/batch".to_owned(),
                };
                groups.entry(path).or_default().push((write, item));
            }
            Err(refusal) => refused.push((write, refusal)),
        }
    }
    let mut requests = Vec::new();
    for (path, group) in groups {
        for chunk in group.chunks(BATCH_LIMIT) {
            let (writes, update) = chunk.iter().cloned().unzip();
            let call = Call {
                path: Some(path.clone()),
                update,
                refused: Vec::new(),
            };
            requests.push(request(writes, &call));
        }
    }
    for chunk in refused.chunks(BATCH_LIMIT) {
        let (writes, refused) = chunk.iter().cloned().unzip();
        let call = Call {
            refused,
            ..Call::default()
        };
        requests.push(request(writes, &call));
    }
    requests
}

fn request(writes: Vec<Write>, call: &Call) -> Request {
    Request {
        writes,
        call: serde_json::to_value(call).expect("a call has string keys and no floats"),
    }
}

fn outcomes(writes: &[Write], call: &Call, answer: &Value) -> Result<Vec<Outcome>, CallError> {
    if call.path.is_none() {
        return Ok(call.refused.iter().cloned().map(Outcome::Rejected).collect());
    }
    let items = answer.get("update").and_then(Value::as_array);
    let items = items.map(Vec::as_slice).unwrap_or_default();
    let outcomes: Option<Vec<Outcome>> = writes
        .iter()
        .zip(items)
        .map(|(write, item)| outcome(write, item))
        .collect();
    match outcomes {
        Some(outcomes) if items.len() == writes.len() => Ok(outcomes),
        Some(_) | None => Err(error::unwell(
            "its answer does not match the request",
            Kind::Write,
        )),
    }
}

/// Reads what the store counts now: a sale may have come in between (facts/mapping-woocommerce.md §5).
fn outcome(write: &Write, item: &Value) -> Option<Outcome> {
    if let Some(error) = error::of_item(item) {
        return Some(error.outcome());
    }
    let counted: Counted = serde_json::from_value(item.clone())
        .ok()
        .filter(|one: &Counted| one.id > 0)?;
    if !counted.is_counted() {
        return Some(Outcome::Rejected(refusal(
            "stock_not_kept",
            "the store does not count this product by itself",
        )));
    }
    let place = place_of(write).ok()?;
    let theirs = Content::Inventory(project(&Inventory {
        product: place.reference(),
        quantity: counted.quantity(),
    }));
    Some(Outcome::Applied {
        external_id: place.to_string(),
        parts: Parts::new(),
        next: None,
        held: theirs
            .canonical()
            .ok()
            .and_then(|theirs| reference::held(write, theirs)),
    })
}

#[cfg(test)]
mod tests;
