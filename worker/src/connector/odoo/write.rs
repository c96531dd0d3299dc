//! Putting the calls of many writes together: those with the same columns share one `load`.

use std::collections::BTreeMap;

use super::super::{Parts, Request, Step, Write};
use super::act::{Act, ActDraft, Method};
use super::load::{Finish, Load, PICTURE, Planned, Row, Settled, Source};
use super::picture;

/// Attributes are shared: the same one may stand in the drafts of several products.
const SHARED_MODEL: &str = "product.attribute";

/// Named cells of one row, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cells(Vec<(&'static str, String)>);

impl Cells {
    pub(super) fn put(&mut self, field: &'static str, value: &str) {
        self.0.push((field, value.to_owned()));
    }

    pub(super) fn with(mut self, field: &'static str, value: &str) -> Self {
        self.put(field, value);
        self
    }

    pub(super) fn followed_by(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(test)]
    pub(super) fn get(&self, field: &str) -> Option<&str> {
        let cell = self.0.iter().find(|cell| cell.0 == field);
        cell.map(|cell| cell.1.as_str())
    }
}

/// What one write puts into a `load`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) model: &'static str,
    pub(super) fields: Vec<String>,
    pub(super) rows: Vec<DraftRow>,
    /// Records are counted within the draft.
    pub(super) external_id: Source,
    pub(super) parts: Parts,
    pub(super) made: Vec<(lockstep_shared::entity::PartKey, usize)>,
    pub(super) next: Option<Step>,
    pub(super) held: Option<super::load::Held>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DraftRow {
    pub(super) cells: Vec<String>,
    pub(super) is_head: bool,
}

impl Draft {
    pub(super) fn single(model: &'static str, cells: Cells, external_id: Source) -> Self {
        Self::of_cells(model, vec![cells], external_id)
    }

    /// Makes a record of each row; all have the same columns.
    pub(super) fn of_cells(model: &'static str, rows: Vec<Cells>, external_id: Source) -> Self {
        let fields = rows
            .first()
            .map(|row| row.0.iter().map(|cell| cell.0.to_owned()).collect());
        let rows = rows.into_iter().map(|row| DraftRow {
            cells: row.0.into_iter().map(|cell| cell.1).collect(),
            is_head: true,
        });
        Self {
            model,
            fields: fields.unwrap_or_default(),
            rows: rows.collect(),
            external_id,
            parts: Parts::new(),
            made: Vec::new(),
            next: None,
            held: None,
        }
    }
}

/// What planning found for one write.
#[derive(Clone, Debug)]
pub(super) enum Found {
    Call(Draft),
    Act(ActDraft),
    Settled(Settled),
}

/// A model and the columns of a `load` of it.
type Columns = (&'static str, Vec<String>);

/// Puts writes into requests of at most `limit` each.
pub(super) fn requests(found: Vec<(Write, Found)>, limit: usize) -> Vec<Request> {
    let mut loads: BTreeMap<Columns, Vec<(Write, Draft)>> = BTreeMap::new();
    let mut acts: BTreeMap<Method, Vec<(Write, ActDraft)>> = BTreeMap::new();
    let mut settled = Vec::new();
    for (write, found) in found {
        match found {
            Found::Call(draft) => {
                let group = (draft.model, draft.fields.clone());
                loads.entry(group).or_default().push((write, draft));
            }
            Found::Act(draft) => {
                acts.entry(draft.method.clone()).or_default().push((write, draft));
            }
            Found::Settled(outcome) => settled.push((write, outcome)),
        }
    }
    let acts = acts.into_iter().flat_map(|(method, group)| {
        chunks(group, limit).into_iter().map(move |chunk| {
            let (writes, drafts) = chunk.into_iter().unzip();
            request(writes, &Planned::Act(Act::of(method.clone(), drafts)))
        })
    });
    let loads = loads.into_iter().flat_map(|((_, fields), group)| {
        let is_bulky = fields.iter().any(|field| field == PICTURE);
        chunks(group, if is_bulky { picture::REQUEST_LIMIT } else { limit })
    });
    let loads = loads.map(load);
    let settled = chunks(settled, limit).into_iter().map(|chunk| {
        let (writes, outcomes) = chunk.into_iter().unzip();
        request(writes, &Planned::Settled(outcomes))
    });
    loads.chain(acts).chain(settled).collect()
}

fn chunks<T>(mut items: Vec<T>, size: usize) -> Vec<Vec<T>> {
    let mut chunks = Vec::new();
    while items.len() > size {
        let rest = items.split_off(size);
        chunks.push(std::mem::replace(&mut items, rest));
    }
    if !items.is_empty() {
        chunks.push(items);
    }
    chunks
}

fn request(writes: Vec<Write>, planned: &Planned) -> Request {
    let call = serde_json::to_value(planned).expect("a plan has string keys and no floats");
    Request { writes, call }
}

fn load(group: Vec<(Write, Draft)>) -> Request {
    let mut writes = Vec::new();
    let mut load: Option<Load> = None;
    let mut records = 0;
    for (place, (write, draft)) in group.into_iter().enumerate() {
        let load = load.get_or_insert_with(|| Load {
            model: draft.model.to_owned(),
            fields: draft.fields.clone(),
            rows: Vec::new(),
            finishes: Vec::new(),
        });
        let heads = draft.rows.iter().filter(|row| row.is_head).count();
        load.finishes.push(Finish {
            external_id: match draft.external_id {
                Source::Record(record) => Source::Record(records + record),
                other => other,
            },
            parts: draft.parts,
            made: draft
                .made
                .into_iter()
                .map(|(key, record)| (key, records + record))
                .collect(),
            next: draft.next,
            held: draft.held,
        });
        load.rows.extend(draft.rows.into_iter().map(|row| Row {
            cells: row.cells,
            writes: vec![place],
            is_head: row.is_head,
        }));
        records += heads;
        writes.push(write);
    }
    let mut load = load.expect("a group has a write");
    if load.model == SHARED_MODEL {
        load.rows = merge_shared(load.rows);
    } else if load.finishes.iter().all(|finish| !finish.needs_ids()) {
        load.rows = without_repeats(load.rows);
    }
    request(writes, &Planned::Load(load))
}

/// Puts equal rows into one: several writes may need the same thing to be there first.
fn without_repeats(rows: Vec<Row>) -> Vec<Row> {
    let mut kept: Vec<Row> = Vec::new();
    for row in rows {
        match kept
            .iter_mut()
            .find(|other| other.is_head && row.is_head && other.cells == row.cells)
        {
            Some(same) => same.writes.extend(row.writes),
            None => kept.push(row),
        }
    }
    kept
}

/// An attribute with the cells of its values, and the writes that need each.
struct Shared {
    head: Vec<String>,
    values: BTreeMap<Vec<String>, Vec<usize>>,
}

/// Puts equal attributes into one record each, with the values of all: a record that stands twice in one `load` is
/// written twice (facts/systems.md B4). Nothing of the answer is needed, so the count of records may change.
fn merge_shared(rows: Vec<Row>) -> Vec<Row> {
    let mut attributes: BTreeMap<String, Shared> = BTreeMap::new();
    let mut head = Vec::new();
    for row in rows {
        let (own, value) = row.cells.split_at(SHARED_COLUMNS);
        if row.is_head {
            head = own.to_vec();
        }
        let Some(external_id) = head.first() else { continue };
        let attribute = attributes.entry(external_id.clone()).or_insert_with(|| Shared {
            head: head.clone(),
            values: BTreeMap::new(),
        });
        let writes = attribute.values.entry(value.to_vec()).or_default();
        writes.extend(&row.writes);
        writes.dedup();
    }
    let rows = attributes.into_values().flat_map(|Shared { head, values }| {
        values
            .into_iter()
            .enumerate()
            .map(move |(place, (value, writes))| {
                let is_head = place == 0;
                let own = if is_head {
                    head.clone()
                } else {
                    vec![String::new(); head.len()]
                };
                Row {
                    cells: own.into_iter().chain(value).collect(),
                    writes,
                    is_head,
                }
            })
    });
    rows.collect()
}

/// Columns of an attribute before those of its values.
const SHARED_COLUMNS: usize = 3;

#[cfg(test)]
mod tests {
    use lockstep_shared::entity::Content;
    use lockstep_shared::id::{ItemId, RecordId};
    use lockstep_shared::system::EntityType;
    use serde_json::json;

    use super::super::super::Action;
    use super::*;

    fn write() -> Write {
        Write {
            item: ItemId::random(),
            record: RecordId::random(),
            action: Action::Create,
            content: Content::parse(EntityType::Customers, json!({"name": "A"})).unwrap(),
            step: Step::default(),
            links: std::sync::Arc::default(),
        }
    }

    fn named(name: &str) -> Found {
        let cells = Cells::default().with("id", name).with("name", name);
        Found::Call(Draft::single("res.partner", cells, Source::Record(0)))
    }

    fn planned(request: &Request) -> Planned {
        serde_json::from_value(request.call.clone()).unwrap()
    }

    fn planned_load(request: &Request) -> Load {
        match planned(request) {
            Planned::Load(load) => load,
            Planned::Act(_) | Planned::Settled(_) => panic!("a load"),
        }
    }

    #[test]
    fn writes_with_the_same_columns_share_a_call() {
        let other = Draft::single(
            "res.partner",
            Cells::default().with(".id", "7").with("active", "0"),
            Source::Known("7".to_owned()),
        );
        let found = vec![
            (write(), named("a")),
            (write(), Found::Call(other)),
            (write(), named("b")),
        ];

        let requests = requests(found, 200);

        let sizes: Vec<usize> = requests.iter().map(|request| request.writes.len()).collect();
        assert_eq!(sizes, [1, 2]);
        let load = planned_load(&requests[1]);
        assert_eq!(load.finishes[1].external_id, Source::Record(1));
        assert_eq!(load.rows[1].writes, [1]);
    }

    #[test]
    fn requests_have_a_limit() {
        let found = (0..5).map(|_| (write(), named("a"))).collect();

        let sizes: Vec<usize> = requests(found, 2)
            .iter()
            .map(|request| request.writes.len())
            .collect();

        assert_eq!(sizes, [2, 2, 1]);
    }

    #[test]
    fn what_is_settled_is_a_request_of_its_own() {
        let settled = Settled::Done {
            external_id: "7".to_owned(),
            parts: Parts::new(),
            held: None,
        };
        let found = vec![(write(), named("a")), (write(), Found::Settled(settled))];

        let requests = requests(found, 200);

        assert_eq!(requests.len(), 2);
        assert!(matches!(planned(&requests[1]), Planned::Settled(_)));
    }

    #[test]
    fn an_attribute_of_two_products_is_one_record() {
        let attribute = |options: &[&str]| {
            let rows = options.iter().enumerate().map(|(place, option)| DraftRow {
                cells: if place == 0 {
                    vec!["color", "Color", "dynamic", option, option]
                } else {
                    vec!["", "", "", option, option]
                }
                .into_iter()
                .map(str::to_owned)
                .collect(),
                is_head: place == 0,
            });
            Found::Call(Draft {
                model: SHARED_MODEL,
                fields: vec![String::new(); 5],
                rows: rows.collect(),
                external_id: Source::Later,
                parts: Parts::new(),
                made: Vec::new(),
                next: Some(Step(1)),
                held: None,
            })
        };
        let found = vec![
            (write(), attribute(&["Blue", "Red"])),
            (write(), attribute(&["Red", "Tan"])),
        ];

        let load = planned_load(&requests(found, 200)[0]);

        let rows: Vec<(&str, &[usize], bool)> = load
            .rows
            .iter()
            .map(|row| (row.cells[3].as_str(), row.writes.as_slice(), row.is_head))
            .collect();
        assert_eq!(
            rows,
            [
                ("Blue", &[0][..], true),
                ("Red", &[0, 1][..], false),
                ("Tan", &[1][..], false)
            ]
        );
    }
}
