//! Reading what changed, page by page: where a page starts and where the next one does. Pure.
//!
//! Pages go in the order of the ids, which no write changes and no two things share. The order of modification would
//! be no help: it has whole seconds, moves while it is read, and is WordPress' local time, which repeats an hour when
//! summer time ends and jumps when somebody sets another time zone. What is filtered by is UTC
//! (facts/systems.md A3, A4).
//!
//! Products are listed from the second on in which the pull before began. Customers have no such filter, so all of
//! them are read each time (facts/systems.md A3).

use chrono::{NaiveDateTime, TimeDelta};
use serde::{Deserialize, Serialize};

use super::auth::Params;

/// Where a pull of products goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Mark {
    /// Only what was modified later than this is listed, in UTC; a new connection starts without.
    since: Option<NaiveDateTime>,
    /// What `since` will be for the next pull: set when this one begins, because what is modified while it runs can
    /// come to stand on a page that was read.
    next_since: Option<NaiveDateTime>,
    place: Place,
}

impl Mark {
    /// Says whether the pull has yet to begin, so that the latest modification has to be asked for.
    pub(super) fn is_new(&self) -> bool {
        self.next_since.is_none() && self.place == Place::default()
    }

    /// Begins a pull, when the latest modification in the store is `newest`.
    ///
    /// The next pull reads that second once more: `modified_after` means strictly greater, in whole seconds, and the
    /// second may not have been over (facts/systems.md A4).
    pub(super) fn begun(self, newest: Option<NaiveDateTime>) -> Self {
        let next_since = newest.map(|time| time - TimeDelta::seconds(1)).max(self.since);
        Self { next_since, ..self }
    }

    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn params(&self, window: Window) -> Params {
        let mut params = vec![
            ("orderby", "id".to_owned()),
            ("order", "asc".to_owned()),
            ("status", "any".to_owned()),
        ];
        params.append(&mut window.params());
        if let Some(time) = self.since {
            // With a `Z` as well it would be shifted twice (facts/systems.md A4).
            params.push(("modified_after", time.format("%Y-%m-%dT%H:%M:%S").to_string()));
            params.push(("dates_are_gmt", "true".to_owned()));
        }
        params
    }

    /// Goes on at a place; after the last page the next pull does.
    pub(super) fn at(self, place: Place, is_last: bool) -> Self {
        if is_last {
            return Self {
                since: self.next_since,
                ..Self::default()
            };
        }
        Self { place, ..self }
    }
}

/// Which rows of a list are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) offset: usize,
    pub(super) count: usize,
}

impl Window {
    /// Most rows of one page; more are refused with 400 (facts/systems.md A3).
    pub(super) const LIMIT: usize = 100;

    pub(super) fn params(self) -> Params {
        let mut params = vec![("per_page", self.count.to_string())];
        if self.offset > 0 {
            params.push(("offset", self.offset.to_string()));
        }
        params
    }
}

/// How far a list in the order of ids is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Place {
    /// How many rows of the list are read.
    seen: usize,
    /// The highest id that was read.
    last_id: u64,
    /// How many rows further back the next page starts, after rows vanished.
    back: usize,
}

/// What a page means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Rows before this page vanished, and it does not join the one before: ask again from here.
    Again(Place),
    /// The rows that are [`Place::is_new`] are the page.
    Page { next: Place, is_last: bool },
}

impl Place {
    /// Returns which rows to ask for: a page starts with the row that the last one ended with, to prove that nothing
    /// between them is missed.
    pub(super) fn window(&self, limit: usize) -> Window {
        let repeated = usize::from(self.seen > 0);
        Window {
            offset: (self.seen - repeated).saturating_sub(self.back),
            // Room for the repeated row and a new one.
            count: (limit.max(1) + repeated).min(Window::LIMIT),
        }
    }

    /// Says whether a row was not in a page before.
    pub(super) const fn is_new(&self, id: u64) -> bool {
        id > self.last_id
    }

    /// Decides what a page means and where the next one starts.
    pub(super) fn step(&self, ids: &[u64], window: Window) -> Step {
        let joins = window.offset == 0 || ids.first().is_some_and(|id| !self.is_new(*id));
        if !joins {
            return Step::Again(Self {
                back: (self.back * 10).max(10),
                ..self.clone()
            });
        }
        let last_id = ids.iter().copied().max().unwrap_or_default();
        let next = Self {
            seen: window.offset + ids.len(),
            last_id: last_id.max(self.last_id),
            back: 0,
        };
        Step::Page {
            next,
            is_last: ids.len() < window.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// A store's list: ids with the second of their last modification.
    #[derive(Clone, Debug)]
    struct Store(BTreeMap<u64, i64>);

    fn second(second: i64) -> NaiveDateTime {
        chrono::DateTime::from_timestamp(second, 0).unwrap().naive_utc()
    }

    impl Store {
        fn list(&self, since: Option<NaiveDateTime>, window: Window) -> Vec<u64> {
            let listed = self
                .0
                .iter()
                .filter(|(_, at)| since.is_none_or(|since| second(**at) > since));
            listed
                .map(|(id, _)| *id)
                .skip(window.offset)
                .take(window.count)
                .collect()
        }

        fn newest(&self) -> Option<NaiveDateTime> {
            self.0.values().max().map(|at| second(*at))
        }
    }

    /// Reads one page, as the connector does.
    fn page(store: &Store, mark: &mut Mark, limit: usize) -> (Vec<u64>, bool) {
        if mark.is_new() {
            *mark = mark.clone().begun(store.newest());
        }
        loop {
            let window = mark.place().window(limit);
            let ids = store.list(mark.since, window);
            match mark.place().step(&ids, window) {
                Step::Again(place) => *mark = mark.clone().at(place, false),
                Step::Page { next, is_last } => {
                    let fresh = ids
                        .iter()
                        .copied()
                        .filter(|id| mark.place().is_new(*id))
                        .collect();
                    *mark = mark.clone().at(next, is_last);
                    return (fresh, is_last);
                }
            }
        }
    }

    fn pull(store: &Store, mark: &mut Mark, limit: usize) -> Vec<u64> {
        let mut seen = Vec::new();
        loop {
            let (mut fresh, is_last) = page(store, mark, limit);
            seen.append(&mut fresh);
            if is_last {
                return seen;
            }
        }
    }

    #[test]
    fn a_first_pull_asks_without_a_date_and_the_next_from_the_second_before() {
        let store = Store((1..=3).map(|id| (id, 100)).collect());
        let mut mark = Mark::default();

        let window = mark.place().window(50);
        assert!(
            !mark
                .params(window)
                .iter()
                .any(|(name, _)| *name == "modified_after")
        );
        assert_eq!(pull(&store, &mut mark, 50), [1, 2, 3]);

        let params = mark.params(window);
        assert!(params.contains(&("modified_after", "1970-01-01T00:01:39".to_owned())));
        assert!(params.contains(&("dates_are_gmt", "true".to_owned())));
        assert_eq!(
            pull(&store, &mut mark, 50),
            [1, 2, 3],
            "the newest second is read again"
        );
    }

    #[test]
    fn the_cursor_survives_being_stored() {
        let mark = Mark::default().begun(Some(second(5))).at(
            Place {
                seen: 7,
                last_id: 9,
                back: 0,
            },
            false,
        );

        let stored = serde_json::to_value(&mark).unwrap();

        assert_eq!(serde_json::from_value::<Mark>(stored).unwrap(), mark);
        assert_eq!(serde_json::from_str::<Mark>("{}").unwrap(), Mark::default());
    }

    proptest! {
        #[test]
        fn nothing_of_one_second_is_missed(seconds in prop::collection::vec(0_i64..3, 0..40), limit in 1_usize..7) {
            let store = Store((1..).zip(seconds).collect());

            let seen = pull(&store, &mut Mark::default(), limit);

            prop_assert_eq!(seen, store.0.keys().copied().collect::<Vec<_>>());
        }

        /// Whatever happens between the pages, this pull or the next one sees what is there in the end.
        #[test]
        fn what_changes_while_it_is_read_is_seen_by_this_pull_or_the_next(
            count in 1_u64..40,
            events in prop::collection::vec((1_u64..60, prop::bool::ANY, 0_i64..2), 0..40),
            limit in 1_usize..7,
        ) {
            let mut store = Store((1..=count).map(|id| (id, 0)).collect());
            let (mut mark, mut clock, mut events) = (Mark::default(), 0, events.into_iter());
            // What we hold of each thing: the second at which it was last seen.
            let mut held = BTreeMap::new();

            for _ in 0..2 {
                loop {
                    let (fresh, is_last) = page(&store, &mut mark, limit);
                    held.extend(fresh.into_iter().map(|id| (id, store.0[&id])));
                    if is_last {
                        break;
                    }
                    if let Some((id, is_deletion, pause)) = events.next() {
                        clock += pause;
                        if is_deletion { store.0.remove(&id); } else { store.0.insert(id, clock); }
                    }
                }
                // The next pull runs undisturbed.
                events = Vec::new().into_iter();
            }

            let missed: BTreeSet<_> = store.0.iter().filter(|(id, at)| held.get(id) != Some(at)).collect();
            prop_assert!(missed.is_empty(), "{missed:?}");
        }
    }
}
