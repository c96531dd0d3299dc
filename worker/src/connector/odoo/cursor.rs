//! Reading what changed, page by page, by `write_date`.
//!
//! Three things about Odoo's `write_date` shape this (facts/systems.md B6). Rows are ordered by its microseconds, but a
//! domain compares, and an answer shows, whole seconds only: a page that ends within a second can't be continued
//! by time. It is the start of the transaction that wrote: a row can appear with a time that a reader has passed. And it
//! is the remote's clock, not ours.
//!
//! So a page is asked for *across* seconds in order of time. Where it is full, its last second may be cut: that second
//! is left out and read *within*, in order of ids, before going on. And each pull is about what changed since an overlap
//! before the newest row that was there when the last pull began. What counts as changed is the reader's to say: a row
//! may count for a change elsewhere, and then stands at its own, older time.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::Cursor;

/// How far a pull reaches back behind the newest row that the one before it could see: longer than the longest
/// transaction of the remote. A load of 1500 rows took 4.3 s (facts/systems.md B6); imports by hand take minutes.
pub(super) const OVERLAP: TimeDelta = TimeDelta::minutes(5);

const FORMAT: &str = "%Y-%m-%d %H:%M:%S";

/// A time as Odoo writes it: UTC, whole seconds, no zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Second(NaiveDateTime);

impl Second {
    fn next(self) -> Self {
        Self(self.0 + TimeDelta::seconds(1))
    }

    fn before(self, span: TimeDelta) -> Self {
        Self(self.0 - span)
    }
}

impl TryFrom<String> for Second {
    type Error = chrono::ParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        NaiveDateTime::parse_from_str(&text, FORMAT).map(Self)
    }
}

impl From<Second> for DateTime<Utc> {
    fn from(second: Second) -> Self {
        second.0.and_utc()
    }
}

impl From<Second> for String {
    fn from(second: Second) -> Self {
        second.0.format(FORMAT).to_string()
    }
}

/// What decides about a row's place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) id: i64,
    /// Rows written past the ORM have none; they are found by the first pull alone, and come last.
    pub(super) at: Option<Second>,
}

/// Where a pull stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Position {
    /// What this pull is about: changes since then; none for the first pull, which is about everything.
    since: Option<Second>,
    /// First second that is not read yet; none at the start of a pull.
    from: Option<Second>,
    /// The second that is being read by ids.
    within: Option<Within>,
    /// The newest row's time when this pull began; none until it is known.
    mark: Option<Second>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Within {
    second: Second,
    after: i64,
}

/// What to do with the rows that a position's question was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is more than a page and nobody knows yet how new the newest row is: ask, then ask for this page again.
    AskNewest,
    /// The first `taken` rows are the page.
    Page {
        taken: usize,
        next: Position,
        is_last: bool,
    },
}

impl Position {
    /// Reads a cursor; what is no position of ours starts from the beginning.
    pub(super) fn read(cursor: &Cursor) -> Self {
        Self::deserialize(&cursor.0).unwrap_or_default()
    }

    /// Where a reader starts that needs nothing of what is there already.
    pub(super) fn caught_up(newest: Option<Second>) -> Self {
        Self::default().with_newest(newest).after_last(&[])
    }

    pub(super) fn into_cursor(self) -> Cursor {
        Cursor(json!(self))
    }

    /// Says whether the newest row's time has to be known before the first page: the first pull surely has several.
    pub(super) fn needs_newest(&self) -> bool {
        self.mark.is_none() && self.since.is_none()
    }

    pub(super) const fn since(&self) -> Option<Second> {
        self.since
    }

    pub(super) fn with_newest(mut self, newest: Option<Second>) -> Self {
        // Nothing is there: whatever comes is new.
        self.mark = newest
            .or(self.from)
            .or(Some(Second(DateTime::UNIX_EPOCH.naive_utc())));
        self
    }

    /// The terms of the domain that finds this position's rows among those that changed. Upper bounds are written as `<` the next second: older
    /// versions compare microseconds, and mean the same by it.
    pub(super) fn terms(&self) -> Vec<Value> {
        match (self.within, self.from) {
            (Some(Within { second, after }), _) => vec![
                json!(["write_date", ">=", second]),
                json!(["write_date", "<", second.next()]),
                json!(["id", ">", after]),
            ],
            (None, Some(from)) => vec![json!(["write_date", ">=", from])],
            (None, None) => Vec::new(),
        }
    }

    pub(super) const fn order(&self) -> &'static str {
        if self.within.is_some() {
            "id"
        } else {
            "write_date,id"
        }
    }

    /// Decides about the rows found, at most `limit` of them.
    pub(super) fn step(&self, rows: &[Stamp], limit: usize) -> Step {
        let is_full = rows.len() >= limit;
        if self.mark.is_none() && is_full {
            return Step::AskNewest;
        }
        match self.within {
            Some(within) => self.step_within(within, rows, is_full),
            None => self.step_across(rows, is_full),
        }
    }

    fn step_within(&self, within: Within, rows: &[Stamp], is_full: bool) -> Step {
        let mut next = self.clone();
        match rows.last() {
            Some(last) if is_full => {
                next.within = Some(Within {
                    after: last.id,
                    ..within
                });
            }
            _ => {
                next.within = None;
                next.from = Some(within.second.next());
            }
        }
        Step::Page {
            taken: rows.len(),
            next,
            is_last: false,
        }
    }

    fn step_across(&self, rows: &[Stamp], is_full: bool) -> Step {
        let cut = rows.last().and_then(|row| row.at).filter(|_| is_full);
        let Some(cut) = cut else {
            return Step::Page {
                taken: rows.len(),
                next: self.after_last(rows),
                is_last: true,
            };
        };
        let mut next = self.clone();
        next.within = Some(Within {
            second: cut,
            after: 0,
        });
        Step::Page {
            taken: rows.iter().take_while(|row| row.at != Some(cut)).count(),
            next,
            is_last: false,
        }
    }

    /// Where the next pull starts. A pull of one page saw its newest row in that page.
    fn after_last(&self, rows: &[Stamp]) -> Self {
        let mark = self.mark.or_else(|| rows.iter().filter_map(|row| row.at).max());
        let overlapped = mark.map(|mark| mark.before(OVERLAP));
        Self {
            // What is older than this pull's own start was there for the one before it.
            since: overlapped.max(self.since),
            from: None,
            within: None,
            mark: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const MICROS: i64 = 1_000_000;

    /// A table with Odoo's habits: ordered by microseconds, compared and shown in seconds.
    #[derive(Clone, Debug)]
    struct Table {
        rows: Vec<Row>,
        now: i64,
    }

    /// Times are in microseconds.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Row {
        id: i64,
        at: i64,
        /// When something changed elsewhere that this row counts for.
        elsewhere: i64,
    }

    fn second(micros: i64) -> Second {
        let at = chrono::DateTime::from_timestamp(micros.div_euclid(MICROS), 0).unwrap();
        Second(at.naive_utc())
    }

    impl Table {
        fn newest(&self) -> Option<Second> {
            self.rows.iter().map(|row| second(row.at)).max()
        }

        fn find(&self, position: &Position, limit: usize) -> Vec<Row> {
            let changed = |row: &Row| {
                let since = position.since();
                since.is_none_or(|since| second(row.at) >= since || second(row.elsewhere) >= since)
            };
            let is_next = |row: &Row| match (position.within, position.from) {
                (Some(within), _) => second(row.at) == within.second && row.id > within.after,
                (None, from) => from.is_none_or(|from| second(row.at) >= from),
            };
            let mut found: Vec<Row> = self.rows.clone();
            found.retain(|row| changed(row) && is_next(row));
            match position.order() {
                "id" => found.sort_unstable_by_key(|row| row.id),
                _ => found.sort_unstable_by_key(|row| (row.at, row.id)),
            }
            found.truncate(limit);
            found
        }
    }

    /// What happens to the table between two questions.
    #[derive(Clone, Debug)]
    enum Event {
        Quiet,
        /// A row is written now.
        Touch(usize),
        /// Something is written elsewhere that a row counts for.
        Elsewhere(usize),
        /// A transaction that began this many microseconds ago commits a new row.
        Late(i64),
    }

    /// Pulls once, with the events between the questions; returns what was seen and where the next pull starts.
    fn pull(
        table: &mut Table,
        start: Position,
        limit: usize,
        events: &mut impl Iterator<Item = Event>,
        seen: &mut BTreeSet<Row>,
    ) -> Position {
        let mut position = start;
        for _ in 0..10_000 {
            table.apply(events.next().as_ref());
            if position.needs_newest() {
                position = position.with_newest(table.newest());
                continue;
            }
            let rows = table.find(&position, limit);
            let stamps: Vec<_> = rows
                .iter()
                .map(|row| Stamp {
                    id: row.id,
                    at: Some(second(row.at)),
                })
                .collect();
            match position.step(&stamps, limit) {
                Step::AskNewest => {
                    table.apply(events.next().as_ref());
                    position = position.with_newest(table.newest());
                }
                Step::Page { taken, next, is_last } => {
                    assert!(taken <= limit);
                    seen.extend(&rows[..taken]);
                    if is_last {
                        return next;
                    }
                    position = next;
                }
            }
        }
        panic!("the pull has no end")
    }

    impl Table {
        fn apply(&mut self, event: Option<&Event>) {
            self.now += 30 * MICROS;
            match event {
                Some(&Event::Touch(index)) if !self.rows.is_empty() => {
                    let index = index % self.rows.len();
                    self.rows[index].at = self.now;
                }
                Some(&Event::Elsewhere(index)) if !self.rows.is_empty() => {
                    let index = index % self.rows.len();
                    self.rows[index].elsewhere = self.now;
                }
                Some(&Event::Late(age)) => {
                    let id = self.rows.iter().map(|row| row.id).max().unwrap_or_default() + 1;
                    self.rows.push(Row {
                        id,
                        at: self.now - age,
                        elsewhere: 0,
                    });
                }
                Some(Event::Touch(_) | Event::Elsewhere(_) | Event::Quiet) | None => {}
            }
        }
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let longest = (OVERLAP.num_seconds() - 1) * MICROS;
        let event = prop_oneof![
            Just(Event::Quiet),
            (0..50_usize).prop_map(Event::Touch),
            (0..50_usize).prop_map(Event::Elsewhere),
            (0..longest).prop_map(Event::Late),
        ];
        proptest::collection::vec(event, 0..60)
    }

    fn table() -> impl Strategy<Value = Table> {
        // Few distinct times make ties larger than a page; the ids' order has nothing to do with the times'.
        let base = 1_800_000_000 * MICROS;
        proptest::collection::vec((0..4_i64, 0..MICROS), 0..50).prop_map(move |times| Table {
            rows: times
                .into_iter()
                .zip(1..)
                .map(|((secs, micros), id)| Row {
                    id,
                    at: base + secs * MICROS + micros,
                    elsewhere: 0,
                })
                .collect(),
            now: base + 5 * MICROS,
        })
    }

    proptest! {
        #[test]
        fn a_pull_sees_every_row_of_a_table_that_rests(table in table(), limit in 1..12_usize) {
            let mut table = table;
            let mut seen = BTreeSet::new();

            pull(&mut table, Position::default(), limit, &mut std::iter::empty(), &mut seen);

            prop_assert_eq!(seen, table.rows.iter().copied().collect());
        }

        #[test]
        fn two_pulls_see_whatever_happened_during_the_first(
            table in table(),
            limit in 1..12_usize,
            events in events(),
        ) {
            let mut table = table;
            let mut seen = BTreeSet::new();
            let mut events = events.into_iter();

            let next = pull(&mut table, Position::default(), limit, &mut events, &mut seen);
            for event in events.by_ref() {
                table.apply(Some(&event));
            }
            pull(&mut table, next, limit, &mut events, &mut seen);

            for row in &table.rows {
                prop_assert!(seen.contains(row), "{row:?} was never seen");
            }
        }

        #[test]
        fn a_third_pull_sees_whatever_happened_during_the_second(
            table in table(),
            limit in 1..12_usize,
            before in events(),
            during in events(),
        ) {
            let mut table = table;
            let mut seen = BTreeSet::new();
            let nothing = || std::iter::empty::<Event>();

            let next = pull(&mut table, Position::default(), limit, &mut nothing(), &mut seen);
            for event in before {
                table.apply(Some(&event));
            }
            let next = pull(&mut table, next, limit, &mut during.into_iter(), &mut seen);
            pull(&mut table, next, limit, &mut nothing(), &mut seen);

            for row in &table.rows {
                prop_assert!(seen.contains(row), "{row:?} was never seen");
            }
        }
    }

    #[test]
    fn a_position_survives_its_cursor() {
        let position = Position {
            since: Some(second(1_700_000_000 * MICROS)),
            from: Some(second(1_800_000_000 * MICROS)),
            within: Some(Within {
                second: second(1_800_000_007 * MICROS),
                after: 12,
            }),
            mark: None,
        };

        assert_eq!(Position::read(&position.clone().into_cursor()), position);
        assert_eq!(Position::read(&Cursor::default()), Position::default());
    }

    #[test]
    fn a_domain_names_whole_seconds_without_a_zone() {
        let mut position = Position {
            from: Some(Second::try_from("2026-11-22 18:38:59".to_owned()).unwrap()),
            ..Position::default()
        };
        assert_eq!(
            json!(position.terms()),
            json!([["write_date", ">=", "2026-11-22 18:38:59"]])
        );

        position.within = position.from.map(|second| Within { second, after: 7 });
        assert_eq!(
            json!(position.terms()),
            json!([
                ["write_date", ">=", "2026-11-22 18:38:59"],
                ["write_date", "<", "2026-11-22 18:39:00"],
                ["id", ">", 7]
            ])
        );
    }
}
