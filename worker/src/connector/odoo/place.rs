//! Countries, states and languages of one Odoo: its ids and codes by those that records use, and back.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::json;

use super::super::Gate;
use super::error::Failure;
use super::rpc::{Call, Rpc};
use super::wire::{Link, falsy, rows};

#[derive(Clone, Debug, Deserialize)]
pub(super) struct CountryRow {
    pub(super) id: i64,
    #[serde(deserialize_with = "falsy")]
    pub(super) code: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct StateRow {
    pub(super) id: i64,
    #[serde(deserialize_with = "falsy")]
    pub(super) code: Option<String>,
    #[serde(deserialize_with = "falsy")]
    pub(super) country_id: Option<Link>,
}

#[derive(Clone, Debug, Deserialize)]
struct LanguageRow {
    code: String,
}

/// The tables, as they are when they are first needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    country_codes: BTreeMap<i64, String>,
    country_ids: BTreeMap<String, i64>,
    state_codes: BTreeMap<i64, String>,
    state_ids: BTreeMap<(i64, String), i64>,
    /// Codes of the languages in use; any other is refused (facts/mapping-odoo.md §2).
    languages: BTreeSet<String>,
}

impl Places {
    pub(super) fn new(countries: Vec<CountryRow>, states: Vec<StateRow>) -> Self {
        let mut places = Self::default();
        for country in countries {
            let Some(code) = country.code.map(|code| code.to_uppercase()) else {
                continue;
            };
            places.country_codes.insert(country.id, code.clone());
            places.country_ids.insert(code, country.id);
        }
        for state in states {
            let (Some(code), Some((country, _))) = (state.code, state.country_id) else {
                continue;
            };
            let code = code.to_uppercase();
            places.state_codes.insert(state.id, code.clone());
            places.state_ids.insert((country, code), state.id);
        }
        places
    }

    #[must_use]
    pub(super) fn with_languages(mut self, codes: impl IntoIterator<Item = String>) -> Self {
        self.languages.extend(codes);
        self
    }

    /// Reads the tables: 250 and about 1 700 rows, and a few languages.
    pub(super) async fn read(rpc: &Rpc, gate: &dyn Gate) -> Result<Self, Failure> {
        let call = Call::search_read("res.country", json!([]), &["code"]);
        let countries = rows(rpc.read(gate, &call).await?)?;
        let call = Call::search_read("res.country.state", json!([]), &["code", "country_id"]);
        let states = rows(rpc.read(gate, &call).await?)?;
        let call = Call::search_read("res.lang", json!([["active", "=", true]]), &["code"]);
        let languages: Vec<LanguageRow> = rows(rpc.read(gate, &call).await?)?;
        let codes = languages.into_iter().map(|row| row.code);
        Ok(Self::new(countries, states).with_languages(codes))
    }

    /// Finds a language in use by its code, `de_CH` or `de-ch`, or else one that is spoken elsewhere: `de_DE`.
    pub(super) fn language(&self, code: &str) -> Option<&str> {
        let wanted = code.replace('-', "_").to_lowercase();
        let spoken = |code: &str| code.split(['_', '@']).next().unwrap_or_default().to_lowercase();
        let codes = || self.languages.iter();
        codes()
            .find(|known| known.to_lowercase() == wanted)
            .or_else(|| codes().find(|known| spoken(known) == spoken(&wanted)))
            .map(String::as_str)
    }

    pub(super) fn country_code(&self, id: i64) -> Option<&str> {
        self.country_codes.get(&id).map(String::as_str)
    }

    pub(super) fn state_code(&self, id: i64) -> Option<&str> {
        self.state_codes.get(&id).map(String::as_str)
    }

    pub(super) fn country_id(&self, code: &str) -> Option<i64> {
        self.country_ids.get(code).copied()
    }

    /// Finds a state by its code: the same one, or without or with its country's code in front.
    ///
    /// Source: facts/mapping-odoo.md §2. Of WooCommerce's 2 040 states 583 have Odoo's code and 160 have it after
    /// their country's prefix; many others are not in Odoo at all.
    pub(super) fn state_id(&self, country: &str, state: &str) -> Option<i64> {
        let country_id = self.country_id(country)?;
        let bare = state
            .strip_prefix(country)
            .and_then(|rest| rest.strip_prefix('-'));
        let spellings = [
            Some(state.to_owned()),
            bare.map(str::to_owned),
            Some(format!("{country}-{state}")),
        ];
        spellings
            .into_iter()
            .flatten()
            .find_map(|code| self.state_ids.get(&(country_id, code)).copied())
    }
}

#[cfg(test)]
pub(super) fn sample() -> Places {
    let read = |json| serde_json::from_value(json).unwrap();
    Places::new(
        read(json!([{"id": 57, "code": "DE"}, {"id": 233, "code": "US"}, {"id": 49, "code": "CO"}])),
        serde_json::from_value(json!([
            {"id": 13, "code": "CA", "country_id": [233, "United States"]},
            {"id": 1368, "code": "DE-NW", "country_id": [57, "Germany"]},
            {"id": 700, "code": "AMA", "country_id": [49, "Colombia"]},
        ]))
        .unwrap(),
    )
    .with_languages(["en_US", "de_AT", "de_CH"].map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_found_in_each_spelling() {
        let places = sample();

        assert_eq!(places.state_id("US", "CA"), Some(13));
        assert_eq!(places.state_id("DE", "DE-NW"), Some(1368));
        assert_eq!(places.state_id("DE", "NW"), Some(1368));
        assert_eq!(places.state_id("CO", "CO-AMA"), Some(700));
    }

    #[test]
    fn a_language_is_found_or_the_same_one_of_elsewhere() {
        let places = sample();

        assert_eq!(places.language("de-ch"), Some("de_CH"));
        assert_eq!(places.language("de"), Some("de_AT"));
        assert_eq!(places.language("de_DE"), Some("de_AT"));
        assert_eq!(places.language("fr"), None);
    }

    #[test]
    fn a_state_of_another_country_is_not_found() {
        let places = sample();

        assert_eq!(places.state_id("DE", "CA"), None);
        assert_eq!(places.state_id("FR", "CA"), None);
    }
}
