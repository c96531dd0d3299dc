//! Stock: how many of a product variant there are, known by the variant's id.
//!
//! Source: facts/mapping-odoo.md §5. Odoo's stock falls when goods are delivered, a shop's when they are sold: what is to
//! be sold is what is there without what is to go out. A number is set by counting: one call notes what was counted,
//! another takes it over, and Odoo itself refuses the second when something was moved in between. Taking over a count
//! that was not noted just now would set the stock to nothing.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::connection::{StockBasis, StockSettings};
use lockstep_shared::entity::{Content, Inventory, PartKey, Reference};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};

use super::super::{
    Action, Cursor, Gate, Page, Parts, Purpose, Refusal, Sighting, Step, Theirs, Wanted, Write,
};
use super::act::{ActDraft, End, Method};
use super::cursor::Position;
use super::error::{Failure, Kind};
use super::load::{Settled, Source};
use super::pull::{Feed, VARIANT};
use super::rpc::Call;
use super::wire::{Link, decimal, round, rows};
use super::write::Found;
use super::{Odoo, done, refused, wrong_type};

pub(super) const QUANT: &str = "stock.quant";
const MOVE: &str = "stock.move";

const FEED_FIELDS: [&str; 2] = ["product_id", "write_date"];

/// Digits of a quantity: what «Product Unit» is set to by default (facts/mapping-odoo.md §3).
const DIGITS: u32 = 2;

/// Most steps until a count is taken over: each time something was moved meanwhile, it is counted again.
const LAST: Step = Step(20);

/// Names the quant that a count was noted on, among a level's parts.
const COUNT: &str = "quant";

/// What was counted anywhere. A change of stock does not touch the product (facts/systems.md B6).
pub(super) fn counted() -> Feed {
    Feed {
        model: QUANT,
        terms: vec![json!(["location_id.usage", "=", "internal"])],
        fields: &FEED_FIELDS,
    }
}

/// What is to come and go: an order that is agreed moves nothing yet, and touches no quant.
fn moved() -> Feed {
    Feed {
        model: MOVE,
        terms: Vec::new(),
        fields: &FEED_FIELDS,
    }
}

/// Where a pull stands: first what was counted, then what is to come and go.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Stand {
    quants: Position,
    /// None until the first pull began: what is to come and go by then is in the numbers that it reads.
    moves: Option<Position>,
    is_at_moves: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct LevelRow {
    id: i64,
    product_tmpl_id: Link,
    #[serde(default)]
    is_storable: bool,
    /// What told stock-kept products apart until version 17 (facts/mapping-odoo.md §6).
    #[serde(default)]
    detailed_type: String,
    qty_available: Number,
    outgoing_qty: Number,
    virtual_available: Number,
    #[serde(rename = "product_template_attribute_value_ids")]
    values: Vec<i64>,
}

impl LevelRow {
    fn is_kept(&self) -> bool {
        self.is_storable || self.detailed_type == "product"
    }

    fn on_hand(&self) -> Decimal {
        decimal(&self.qty_available)
    }

    /// What the number that is meant is less than what is there.
    fn reserved(&self, settings: &StockSettings) -> Decimal {
        let by_basis = match settings.basis {
            StockBasis::Available => decimal(&self.outgoing_qty),
            StockBasis::OnHand => Decimal::ZERO,
            StockBasis::Forecast => self.on_hand() - decimal(&self.virtual_available),
        };
        by_basis + settings.safety_stock
    }

    fn quantity(&self, settings: &StockSettings) -> Decimal {
        round(self.on_hand() - self.reserved(settings), DIGITS)
    }

    fn theirs(&self, settings: &StockSettings) -> Theirs {
        // The only variant of a simple product goes by its template alone: it is no part of its own.
        let part = (!self.values.is_empty()).then(|| self.id.to_string());
        let level = Inventory {
            product: Reference::remote(self.product_tmpl_id.0.to_string(), part),
            quantity: self.quantity(settings),
        };
        Theirs {
            external_id: self.id.to_string(),
            content: Content::Inventory(level).canonical(),
            parts: Parts::new(),
            marker: None,
            // Stock moves by its quants, and leaves the product's own time alone (facts/systems.md B6).
            modified_at: None,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
struct QuantRow {
    id: i64,
    product_id: Link,
    quantity: Number,
    #[serde(default)]
    inventory_quantity_set: bool,
    #[serde(default)]
    is_outdated: bool,
}

/// Returns the level as Odoo can hold it.
pub(super) fn project(level: &Inventory) -> Inventory {
    Inventory {
        product: level.product.clone(),
        quantity: round(level.quantity, DIGITS),
    }
}

fn refusal(code: &str, message: impl Into<String>) -> Refusal {
    Refusal {
        code: code.to_owned(),
        message: message.into(),
    }
}

fn products(found: &[Value]) -> BTreeSet<i64> {
    let ids = found
        .iter()
        .filter_map(|row| row.get("product_id")?.get(0)?.as_i64());
    ids.collect()
}

/// What was read for the levels of a batch.
struct Known<'a> {
    levels: BTreeMap<i64, LevelRow>,
    /// What is on hand where counts are noted, by product.
    stocked: BTreeMap<i64, Decimal>,
    location: Option<i64>,
    /// Counts that were noted, by quant.
    counts: BTreeMap<i64, QuantRow>,
    settings: &'a StockSettings,
}

impl Odoo {
    /// Reads one page: of what was counted, and when that is through, of what is to come and go.
    pub(super) async fn level_page(
        &self,
        gate: &dyn Gate,
        cursor: &Cursor,
        limit: usize,
    ) -> Result<Page, Failure> {
        let mut stand = Stand::deserialize(&cursor.0).unwrap_or_default();
        let moves = match stand.moves.take() {
            Some(moves) => moves,
            None => self.moves_from_now(gate).await?,
        };
        let (found, is_last) = if stand.is_at_moves {
            let (found, next, is_last) = self.moves(gate, moves, limit).await?;
            stand.moves = Some(next);
            stand.is_at_moves = !is_last;
            (found, is_last)
        } else {
            let (found, next, is_last) = self.turn(gate, &counted(), stand.quants, limit).await?;
            stand.quants = next;
            stand.moves = Some(moves);
            stand.is_at_moves = is_last;
            (found, false)
        };
        Ok(Page {
            seen: self.levels(gate, &products(&found)).await?,
            next: Cursor(json!(stand)),
            is_last,
        })
    }

    async fn moves_from_now(&self, gate: &dyn Gate) -> Result<Position, Failure> {
        match self.newest(gate, &moved()).await {
            Ok(newest) => Ok(Position::caught_up(newest)),
            Err(Failure::Fault(fault)) if fault.kind() == Kind::Access => Ok(Position::caught_up(None)),
            Err(failure) => Err(failure),
        }
    }

    /// Reads moves; who may not see them sees what orders reserve when something is delivered.
    async fn moves(
        &self,
        gate: &dyn Gate,
        position: Position,
        limit: usize,
    ) -> Result<(Vec<Value>, Position, bool), Failure> {
        match self.turn(gate, &moved(), position.clone(), limit).await {
            Err(Failure::Fault(fault)) if fault.kind() == Kind::Access => Ok((Vec::new(), position, true)),
            other => other,
        }
    }

    /// Reads the levels of variants: those that stock is kept of and that were ever counted.
    pub(super) async fn levels(&self, gate: &dyn Gate, ids: &BTreeSet<i64>) -> Result<Vec<Theirs>, Failure> {
        let found = self.level_rows(gate, ids).await?;
        let quants = self.counted_products(gate, ids).await?;
        let settings = &self.settings.stock;
        let levels = found
            .values()
            .filter(|row| row.is_kept() && quants.contains(&row.id));
        Ok(levels.map(|row| row.theirs(settings)).collect())
    }

    async fn level_rows(
        &self,
        gate: &dyn Gate,
        ids: &BTreeSet<i64>,
    ) -> Result<BTreeMap<i64, LevelRow>, Failure> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let major = self.rpc.backend(gate).await?.major;
        let kept = if major >= super::product::FIRST_WITH_STORABLE {
            "is_storable"
        } else {
            "detailed_type"
        };
        let fields = [
            "product_tmpl_id",
            kept,
            "qty_available",
            "outgoing_qty",
            "virtual_available",
            "product_template_attribute_value_ids",
        ];
        let mut context = Map::from_iter([("active_test".to_owned(), json!(false))]);
        if let Some(warehouse) = self.settings.stock.warehouse {
            // Its name until version 17 was `warehouse`.
            context.insert("warehouse_id".to_owned(), json!(warehouse));
            context.insert("warehouse".to_owned(), json!(warehouse));
        }
        let call = Call::search_read(VARIANT, json!([["id", "in", ids]]), &fields)
            .option("order", json!("id"))
            .context(Value::Object(context));
        let found: Vec<LevelRow> = rows(self.rpc.read(gate, &call).await?)?;
        Ok(found.into_iter().map(|row| (row.id, row)).collect())
    }

    async fn counted_products(&self, gate: &dyn Gate, ids: &BTreeSet<i64>) -> Result<BTreeSet<i64>, Failure> {
        if ids.is_empty() {
            return Ok(BTreeSet::new());
        }
        let domain = json!([["product_id", "in", ids], ["location_id.usage", "=", "internal"]]);
        let call = Call::search_read(QUANT, domain, &["product_id"]);
        let found: Vec<Value> = rows(self.rpc.read(gate, &call).await?)?;
        Ok(products(&found))
    }

    /// Looks levels up by their variants. One that is known stays there without a quant: Odoo removes those of nothing.
    pub(super) async fn find_levels(
        &self,
        gate: &dyn Gate,
        wanted: &[Wanted],
    ) -> Result<Vec<Sighting>, Failure> {
        let templates = wanted.iter().filter_map(|wanted| match &wanted.content {
            Content::Inventory(level) => simple_template(&wanted.links, level),
            _ => None,
        });
        let variants = self.only_variants(gate, &templates.collect()).await?;
        let ids: Vec<Option<i64>> = wanted
            .iter()
            .map(|wanted| match (&wanted.purpose, &wanted.content) {
                (Purpose::Refresh { external_id }, _) => external_id.parse().ok(),
                (Purpose::BeforeCreate | Purpose::InDoubt { .. }, Content::Inventory(level)) => {
                    variant(&wanted.links, level, &variants)
                }
                _ => None,
            })
            .collect();
        let all: BTreeSet<i64> = ids.iter().flatten().copied().collect();
        let found = self.level_rows(gate, &all).await?;
        let unknown: BTreeSet<i64> = wanted
            .iter()
            .zip(&ids)
            .filter(|(wanted, _)| !matches!(wanted.purpose, Purpose::Refresh { .. }))
            .filter_map(|(_, id)| *id)
            .collect();
        let quants = self.counted_products(gate, &unknown).await?;
        let sightings = wanted.iter().zip(&ids).map(|(wanted, id)| {
            let is_known = matches!(wanted.purpose, Purpose::Refresh { .. });
            id.and_then(|id| found.get(&id))
                .filter(|row| row.is_kept() && (is_known || quants.contains(&row.id)))
                .map_or(Sighting::Missing, |row| {
                    Sighting::One(row.theirs(&self.settings.stock))
                })
        });
        Ok(sightings.collect())
    }

    /// Finds where stock is kept: the first warehouse's own location, or that of the one that is meant.
    async fn location(&self, gate: &dyn Gate) -> Result<Option<i64>, Failure> {
        #[derive(Deserialize)]
        struct WarehouseRow {
            lot_stock_id: Link,
        }
        let read = || async {
            let terms = self
                .settings
                .stock
                .warehouse
                .map(|warehouse| json!(["id", "=", warehouse]));
            let terms: Vec<Value> = terms.into_iter().collect();
            let call = Call::search_read("stock.warehouse", json!(terms), &["lot_stock_id"])
                .option("limit", json!(1))
                .option("order", json!("id"));
            let found: Vec<WarehouseRow> = rows(self.rpc.read(gate, &call).await?)?;
            Ok::<_, Failure>(found.into_iter().next().map(|row| row.lot_stock_id.0))
        };
        self.location.get_or_try_init(read).await.copied()
    }

    pub(super) async fn level_drafts(
        &self,
        gate: &dyn Gate,
        writes: Vec<Write>,
    ) -> Result<Vec<(Write, Found)>, Failure> {
        let templates = writes.iter().filter_map(|write| match &write.content {
            Content::Inventory(level) if write.action == Action::Create => {
                simple_template(&write.links, level)
            }
            _ => None,
        });
        let variants = self.only_variants(gate, &templates.collect()).await?;
        let ids: Vec<Option<i64>> = writes.iter().map(|write| product(write, &variants)).collect();
        let known = self.known_of_levels(gate, &writes, &ids).await?;
        let found = writes.into_iter().zip(ids).map(|(write, id)| {
            let found = match &write.content {
                Content::Inventory(level) => draft(&write, level, id, &known).unwrap_or_else(refused),
                _ => refused(wrong_type()),
            };
            (write, found)
        });
        Ok(found.collect())
    }

    async fn known_of_levels(
        &self,
        gate: &dyn Gate,
        writes: &[Write],
        ids: &[Option<i64>],
    ) -> Result<Known<'_>, Failure> {
        let location = self.location(gate).await?;
        let noted: BTreeSet<i64> = writes.iter().filter_map(noted).collect();
        let fields = ["product_id", "quantity", "inventory_quantity_set", "is_outdated"];
        let mut known = Known {
            levels: BTreeMap::new(),
            stocked: BTreeMap::new(),
            location,
            counts: BTreeMap::new(),
            settings: &self.settings.stock,
        };
        if !noted.is_empty() {
            let call = Call::search_read(QUANT, json!([["id", "in", noted]]), &fields);
            let found: Vec<QuantRow> = rows(self.rpc.read(gate, &call).await?)?;
            known.counts = found.into_iter().map(|row| (row.id, row)).collect();
        }
        let products: BTreeSet<i64> = writes
            .iter()
            .zip(ids)
            .filter(|(write, _)| known.count(write).is_none())
            .filter_map(|(_, id)| *id)
            .collect();
        known.levels = self.level_rows(gate, &products).await?;
        if !products.is_empty() {
            let domain = json!([["product_id", "in", products], ["location_id", "=", location]]);
            let call = Call::search_read(QUANT, domain, &fields);
            let found: Vec<QuantRow> = rows(self.rpc.read(gate, &call).await?)?;
            for row in found {
                *known.stocked.entry(row.product_id.0).or_default() += decimal(&row.quantity);
            }
        }
        Ok(known)
    }
}

/// The template of a simple product, whose only variant has to be looked up.
fn simple_template(links: &super::super::Links, level: &Inventory) -> Option<i64> {
    let is_part = links.part(&level.product).is_some() || !level.product.target()?.part.is_empty();
    links
        .find(&level.product)?
        .external_id
        .parse()
        .ok()
        .filter(|_| !is_part)
}

fn variant(links: &super::super::Links, level: &Inventory, variants: &BTreeMap<i64, i64>) -> Option<i64> {
    if let Some(id) = links.part(&level.product) {
        return id.parse().ok();
    }
    variants.get(&simple_template(links, level)?).copied()
}

fn product(write: &Write, variants: &BTreeMap<i64, i64>) -> Option<i64> {
    match (&write.action, &write.content) {
        (Action::Create, Content::Inventory(level)) => variant(&write.links, level, variants),
        (Action::Update { external_id, .. } | Action::Delete { external_id }, _) => external_id.parse().ok(),
        (Action::Create, _) => None,
    }
}

/// The quant that an earlier step noted a count on.
fn noted(write: &Write) -> Option<i64> {
    match &write.action {
        Action::Update { parts, .. } if write.step > Step::default() => {
            parts.get(&PartKey::named(COUNT))?.parse().ok()
        }
        _ => None,
    }
}

impl Known<'_> {
    /// A count that is noted and still right.
    fn count(&self, write: &Write) -> Option<&QuantRow> {
        let count = self.counts.get(&noted(write)?)?;
        (count.inventory_quantity_set && !count.is_outdated).then_some(count)
    }
}

/// Plans the next call of a level: what was counted is noted, then taken over.
fn draft(write: &Write, level: &Inventory, id: Option<i64>, known: &Known<'_>) -> Result<Found, Refusal> {
    if matches!(write.action, Action::Delete { .. }) {
        return Ok(done(write, Parts::new()));
    }
    let id = id.ok_or_else(|| refusal("product_missing", "Odoo does not have the product"))?;
    let act = |method: Method, end: End, ids: Vec<i64>, value: Option<Value>| {
        Found::Act(ActDraft {
            method,
            ids,
            value,
            end,
        })
    };
    let end = |made: Option<PartKey>, next: Option<Step>| End {
        external_id: Source::Known(id.to_string()),
        parts: Parts::new(),
        made,
        next,
        held: None,
    };
    if let Some(count) = known.count(write) {
        return Ok(act(Method::ApplyCount, end(None, None), vec![count.id], None));
    }
    let row = known
        .levels
        .get(&id)
        .ok_or_else(|| refusal("product_missing", "Odoo does not have the product any more"))?;
    if !row.is_kept() {
        return Err(refusal(
            "stock_not_kept",
            "Odoo keeps no stock of this product: let it track the inventory of it",
        ));
    }
    let off = round(level.quantity - row.quantity(known.settings), DIGITS);
    if off.is_zero() {
        // Setting the same number would move goods all the same (facts/mapping-odoo.md §5).
        return Ok(Found::Settled(Settled::Done {
            external_id: id.to_string(),
            parts: Parts::new(),
            held: None,
        }));
    }
    if write.step >= LAST {
        return Err(refusal("stock_moved", "stock is moved faster than it can be set"));
    }
    let location = known
        .location
        .ok_or_else(|| refusal("warehouse_missing", "Odoo has no such warehouse"))?;
    // What lies elsewhere in the warehouse stays where it is.
    let counted = known.stocked.get(&id).copied().unwrap_or_default() + off;
    let value = json!({
        "product_id": id,
        "location_id": location,
        "inventory_quantity": number(counted),
    });
    let next = Step(write.step.0 + 1);
    let end = end(Some(PartKey::named(COUNT)), Some(next));
    Ok(act(Method::Count, end, Vec::new(), Some(value)))
}

fn number(quantity: Decimal) -> f64 {
    quantity
        .to_string()
        .parse()
        .expect("a decimal's text is a number")
}

#[cfg(test)]
mod tests {
    use lockstep_shared::id::{ItemId, RecordId};

    use super::*;

    fn row(change: &Value) -> LevelRow {
        let mut row = json!({
            "id": 21, "product_tmpl_id": [9, "Beanie"], "is_storable": true, "qty_available": 30.0, "outgoing_qty": 4.0,
            "virtual_available": 36.0, "product_template_attribute_value_ids": []
        });
        for (name, value) in change.as_object().unwrap() {
            row[name] = value.clone();
        }
        serde_json::from_value(row).unwrap()
    }

    fn settings(basis: StockBasis, safety: i64) -> StockSettings {
        StockSettings {
            basis,
            safety_stock: Decimal::from(safety),
            warehouse: None,
        }
    }

    fn write(parts: Parts, step: u8) -> Write {
        Write {
            item: ItemId::random(),
            record: RecordId::random(),
            action: Action::Update {
                external_id: "21".to_owned(),
                parts,
                changed: BTreeSet::from(["quantity".to_owned()]),
            },
            content: Content::Inventory(level(0)),
            step: Step(step),
            links: std::sync::Arc::default(),
        }
    }

    fn level(quantity: i64) -> Inventory {
        Inventory {
            product: Reference::record(RecordId::random(), PartKey::default()),
            quantity: Decimal::from(quantity),
        }
    }

    fn known(settings: &StockSettings, elsewhere: i64) -> Known<'_> {
        Known {
            levels: BTreeMap::from([(21, row(&json!({})))]),
            stocked: BTreeMap::from([(21, Decimal::from(30 - elsewhere))]),
            location: Some(5),
            counts: BTreeMap::new(),
            settings,
        }
    }

    fn counted(found: Found) -> Option<f64> {
        match found {
            Found::Act(ActDraft {
                value: Some(value), ..
            }) => value["inventory_quantity"].as_f64(),
            _ => None,
        }
    }

    #[test]
    fn what_is_to_be_sold_is_less_than_what_is_there() {
        let quantity = |basis, safety| row(&json!({})).quantity(&settings(basis, safety)).to_string();

        assert_eq!(quantity(StockBasis::Available, 0), "26");
        assert_eq!(quantity(StockBasis::OnHand, 0), "30");
        assert_eq!(quantity(StockBasis::Forecast, 0), "36");
        assert_eq!(quantity(StockBasis::Available, 3), "23");
    }

    #[test]
    fn what_is_to_go_out_is_on_hand_still() {
        for (basis, safety, on_hand) in [
            (StockBasis::Available, 0, 14.0),
            (StockBasis::OnHand, 0, 10.0),
            (StockBasis::Forecast, 0, 4.0),
            (StockBasis::Available, 2, 16.0),
        ] {
            let settings = settings(basis, safety);

            let found = draft(
                &write(Parts::new(), 0),
                &level(10),
                Some(21),
                &known(&settings, 0),
            )
            .unwrap();

            assert_eq!(counted(found), Some(on_hand), "{basis:?}");
        }
    }

    #[test]
    fn what_lies_elsewhere_stays_there() {
        let settings = settings(StockBasis::OnHand, 0);

        let found = draft(
            &write(Parts::new(), 0),
            &level(35),
            Some(21),
            &known(&settings, 20),
        )
        .unwrap();

        assert_eq!(counted(found), Some(15.0));
    }

    #[test]
    fn the_same_number_is_not_set() {
        let settings = settings(StockBasis::Available, 0);

        let found = draft(
            &write(Parts::new(), 0),
            &level(26),
            Some(21),
            &known(&settings, 0),
        )
        .unwrap();

        assert!(matches!(found, Found::Settled(Settled::Done { .. })));
    }

    #[test]
    fn only_a_count_that_is_noted_and_right_is_taken_over() {
        let settings = settings(StockBasis::Available, 0);
        let method = |set: bool, outdated: bool| {
            let mut known = known(&settings, 0);
            let quant = json!({
                "id": 31, "product_id": [21, "Beanie"], "quantity": 30.0, "inventory_quantity_set": set,
                "is_outdated": outdated
            });
            known.counts.insert(31, serde_json::from_value(quant).unwrap());
            let parts = Parts::from([(PartKey::named(COUNT), "31".to_owned())]);
            match draft(&write(parts, 1), &level(10), Some(21), &known).unwrap() {
                Found::Act(draft) => (draft.method, draft.ids, draft.end.next),
                other => panic!("{other:?}"),
            }
        };

        assert_eq!(method(true, false), (Method::ApplyCount, vec![31], None));
        assert_eq!(method(true, true), (Method::Count, vec![], Some(Step(2))));
        assert_eq!(method(false, false), (Method::Count, vec![], Some(Step(2))));
    }

    #[test]
    fn a_variant_is_named_as_a_part_and_a_simple_product_is_not() {
        let reference = |values: Value| {
            let row = row(&json!({"product_template_attribute_value_ids": values}));
            match row.theirs(&StockSettings::default()).content.unwrap() {
                Content::Inventory(level) => level.product,
                other => panic!("{other:?}"),
            }
        };

        assert_eq!(reference(json!([])), Reference::remote("9", None));
        assert_eq!(
            reference(json!([4])),
            Reference::remote("9", Some("21".to_owned()))
        );
    }

    #[test]
    fn where_a_pull_stands_survives_its_page() {
        let stand = Stand {
            moves: Some(Position::caught_up(None)),
            is_at_moves: true,
            ..Stand::default()
        };

        let kept = Stand::deserialize(json!(stand)).unwrap();

        assert!(kept.is_at_moves);
        assert_eq!(kept.moves, stand.moves);
        assert!(!Stand::deserialize(Value::Null).unwrap_or_default().is_at_moves);
    }
}
