//! A look at a store before anything depends on it: may its key write, and do its settings leave totals as they are?
//!
//! Six calls, none of which changes anything: products, an account that there can't be, three groups of settings, and the
//! version with the plugins. What the settings mean for totals was seen in facts/mapping-woocommerce.md §3: what we write is
//! right under every tax setting, so those are told and don't block; what the store itself would cut off or count otherwise
//! does.

use std::collections::BTreeMap;

use chrono::{TimeDelta, Utc};
use lockstep_shared::check::{Checked, Finding, Severity};
use lockstep_shared::connection::WeightUnit;
use lockstep_shared::entity::Currency;
use lockstep_shared::system::EntityType;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{self, Kind};
use super::{SYSTEM, WooCommerce, rows};
use crate::connector::http::{self, Answer};
use crate::connector::{CallError, Gate};

/// The version that all of this was proven with (facts/systems.md, its head).
const PROVEN: &str = "11.";

/// A clock that differs by more than this is told: of two changes the later one is found by it, and a signature is refused
/// from 15 minutes on (facts/mapping-woocommerce.md §8).
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(30);

/// From here on a signature is refused.
const SIGNATURE_TOLERANCE: TimeDelta = TimeDelta::minutes(15);

/// Words in the names of plugins that change currencies or exempt customers from tax: never seen at work
/// (facts/mapping-woocommerce.md §11).
const UNPROVEN_PLUGINS: [&str; 3] = ["currency", "multicurrency", "vat"];

/// What a store says about itself, as far as it lets us see.
#[derive(Debug, Default)]
struct Store {
    clock_ahead: Option<TimeDelta>,
    write: Write,
    /// By id; none where the key's user may not read them.
    settings: Option<BTreeMap<String, String>>,
    status: Status,
}

/// What became of a write that writes nothing.
#[derive(Debug, Default, PartialEq, Eq)]
enum Write {
    #[default]
    Allowed,
    /// The key may only read.
    ReadOnly,
    /// The key may write, its user may not. In the store's words.
    Refused(String),
}

/// What `system_status` answers, as far as it is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    environment: Environment,
    active_plugins: Vec<Plugin>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Environment {
    version: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Plugin {
    /// Its file, such as `woocommerce/woocommerce.php`.
    plugin: String,
    name: String,
}

impl WooCommerce {
    /// Asks for all that [`judge`] wants to know.
    pub(super) async fn look(&self, gate: &dyn Gate) -> Result<Checked, CallError> {
        let params = vec![("per_page", "1".to_owned()), ("_fields", "id".to_owned())];
        let answer = self.ask(gate, "products", params).await?;
        let clock_ahead = http::clock_ahead(&answer.headers, Utc::now());
        error::body(&answer, Kind::Read)
            .and_then(rows)
            .map_err(|error| with_clock(error, clock_ahead))?;
        let store = Store {
            clock_ahead,
            write: self.try_to_write(gate).await?,
            settings: self.settings_of_store(gate).await?,
            status: self.status(gate).await?,
        };
        let version = store.status.environment.version.as_deref().map(http::cut);
        Ok(Checked::new(
            version.unwrap_or_else(|| "unknown".to_owned()),
            judge(&store, self),
        ))
    }

    /// Changes an account that there can't be: whether that may be asked for is looked at first, and then there is nothing
    /// to change (facts/systems.md A1, A2).
    async fn try_to_write(&self, gate: &dyn Gate) -> Result<Write, CallError> {
        let request = self.request("POST", "customers/0", Vec::new()).json(&json!({}));
        gate.pass().await?;
        let answer = self.http.read(SYSTEM, request).await?;
        match error::body(&answer, Kind::Read) {
            Ok(_) => Ok(Write::Allowed),
            // Whatever else it says, it let the key get that far.
            Err(CallError::Refused { .. }) => Ok(Write::Allowed),
            Err(CallError::Unauthorised { detail, .. }) if detail.contains("write permissions") => {
                Ok(Write::ReadOnly)
            }
            Err(CallError::Unauthorised { detail, .. }) => Ok(Write::Refused(detail)),
            Err(error) => Err(error),
        }
    }

    async fn settings_of_store(
        &self,
        gate: &dyn Gate,
    ) -> Result<Option<BTreeMap<String, String>>, CallError> {
        let mut settings = BTreeMap::new();
        for group in ["general", "products", "tax"] {
            let params = vec![("_fields", "id,value".to_owned())];
            let answer = self.ask(gate, &format!("settings/{group}"), params).await?;
            if is_closed(&answer) {
                return Ok(None);
            }
            let rows = rows(error::body(&answer, Kind::Read)?)?;
            settings.extend(rows.iter().filter_map(|row| {
                let id = row.get("id")?.as_str()?.to_owned();
                let value = match row.get("value")? {
                    Value::String(text) => text.trim().to_owned(),
                    Value::Number(number) => number.to_string(),
                    Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
                };
                Some((id, value))
            }));
        }
        Ok(Some(settings))
    }

    /// Asks for version and plugins, which only an administrator's key is told.
    async fn status(&self, gate: &dyn Gate) -> Result<Status, CallError> {
        let fields = "environment.version,active_plugins".to_owned();
        let answer = self.ask(gate, "system_status", vec![("_fields", fields)]).await?;
        if is_closed(&answer) {
            return Ok(Status::default());
        }
        let body = error::body(&answer, Kind::Read)?;
        Ok(serde_json::from_value(body).unwrap_or_default())
    }
}

/// Says whether the store does not show something to the key's user, or has no such thing.
fn is_closed(answer: &Answer) -> bool {
    matches!(
        answer.status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND
    )
}

/// Says why a signature is refused, where a clock is why.
fn with_clock(error: CallError, ahead: Option<TimeDelta>) -> CallError {
    match (error, ahead) {
        (CallError::Unauthorised { system, detail }, Some(ahead)) if ahead.abs() > SIGNATURE_TOLERANCE => {
            CallError::Unauthorised {
                system,
                detail: format!("{detail} (its clock is {}: set it right)", against_ours(ahead)),
            }
        }
        (error, _) => error,
    }
}

fn against_ours(ahead: TimeDelta) -> String {
    let way = if ahead > TimeDelta::zero() {
        "ahead of"
    } else {
        "behind"
    };
    format!("{} s {way} ours", ahead.num_seconds().abs())
}

/// Says what of a store would make a sync fail or be wrong. Pure.
fn judge(store: &Store, connector: &WooCommerce) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(of_write(&store.write));
    match &store.settings {
        Some(settings) => of_settings(settings, connector, &mut findings),
        None => findings.push(Finding::new(
            Severity::Warns,
            "settings_unreadable",
            "the store's settings",
            "the key's user may not read them, so currency, decimals and taxes were not looked at",
            "give the key to an administrator or shop manager",
        )),
    }
    findings.extend(of_version(store.status.environment.version.as_deref()));
    findings.extend(store.status.active_plugins.iter().filter_map(of_plugin));
    findings.extend(store.clock_ahead.and_then(of_clock));
    findings
}

fn of_write(write: &Write) -> Option<Finding> {
    let finding = match write {
        Write::Allowed => return None,
        Write::ReadOnly => Finding::new(
            Severity::Blocks,
            "key_read_only",
            "the REST API key",
            "it may only read",
            "make a key with the permission Read/Write and give that to the connection",
        ),
        // A shop manager may change customers, and is refused what is nobody: no proof that it may not.
        Write::Refused(words) => Finding::new(
            Severity::Warns,
            "user_may_not_write",
            "the user of the REST API key",
            format!("the store did not let it change an account ({words})"),
            "make the key for an administrator, unless its user is a shop manager",
        ),
    };
    Some(finding.of_writing())
}

fn of_settings(settings: &BTreeMap<String, String>, connector: &WooCommerce, findings: &mut Vec<Finding>) {
    let value = |id: &str| settings.get(id).map(String::as_str);
    let is = |id: &str, wanted: &str| value(id) == Some(wanted);
    if let Some(currency) = value("woocommerce_currency") {
        findings.extend(of_currency(currency, connector.settings.currency));
        let digits = value("woocommerce_price_num_decimals").and_then(|digits| digits.parse().ok());
        let needed = currency.parse().unwrap_or(connector.settings.currency).digits();
        findings.extend(digits.and_then(|digits: u32| of_decimals(digits, needed)));
    }
    if is("woocommerce_manage_stock", "no") {
        let finding = Finding::new(
            Severity::Blocks,
            "stock_not_managed",
            "the setting `Enable stock management`",
            "it is off: the store counts nothing, and sales don't change its numbers",
            "turn it on under WooCommerce, Settings, Products, Inventory; or leave inventory out of the sync",
        );
        findings.push(finding.about(&[EntityType::Inventory]));
    }
    findings.extend(of_weight(
        value("woocommerce_weight_unit"),
        connector.settings.weight_unit,
    ));
    for (id, unwanted, code, subject, problem, advice) in TAXES {
        if is(id, unwanted) {
            findings.push(
                Finding::new(Severity::Warns, code, subject, problem, advice)
                    .about(&[EntityType::Products, EntityType::Orders]),
            );
        }
    }
}

/// Tax settings that are told: what is written is right under each (facts/mapping-woocommerce.md §3), what people do in the
/// store may not be.
const TAXES: [(&str, &str, &str, &str, &str, &str); 3] = [
    (
        "woocommerce_prices_include_tax",
        "yes",
        "prices_include_tax",
        "the setting `Prices entered with tax`",
        "prices of the catalogue are read and written as they stand, here with tax: an ERP whose sales prices are without \
         it would sell for less than it means to",
        "have both systems state prices alike",
    ),
    (
        "woocommerce_tax_round_at_subtotal",
        "yes",
        "tax_rounded_at_subtotal",
        "the setting `Round tax at subtotal level`",
        "the store rounds taxes once per order, and not per line: an order that is changed in the ERP may come out a cent \
         off",
        "turn it off, so that both round per line",
    ),
    (
        "woocommerce_calc_taxes",
        "no",
        "taxes_off",
        "the setting `Enable taxes`",
        "it is off: orders that are placed in the store have no tax, whatever the ERP says of their products",
        "turn it on, unless nothing is taxed",
    ),
];

fn of_currency(own: &str, set: Currency) -> Option<Finding> {
    let is_same = own.parse() == Ok(set);
    (!is_same).then(|| {
        Finding::new(
            Severity::Warns,
            "currency_differs",
            "the store's currency",
            format!("the store's prices are in {own}, and the connection's settings say {set}"),
            "set the connection's currency to the store's, or the other way round",
        )
        .about(&[EntityType::Products])
    })
}

/// A store with fewer digits than its coins rounds every line (facts/mapping-woocommerce.md §3).
fn of_decimals(digits: u32, needed: u32) -> Option<Finding> {
    let subject = "the setting `Number of decimals`";
    if digits < needed {
        let finding = Finding::new(
            Severity::Blocks,
            "price_decimals_too_few",
            subject,
            format!(
                "the store rounds every amount to {digits} digits, and its currency has {needed}: totals come out wrong"
            ),
            format!("set it to {needed} under WooCommerce, Settings, General"),
        );
        return Some(finding.about(&[EntityType::Products, EntityType::Orders, EntityType::Payments]));
    }
    (digits > needed).then(|| {
        Finding::new(
            Severity::Warns,
            "price_decimals_too_many",
            subject,
            format!("the store keeps {digits} digits, and its currency has {needed}: totals may have parts of a coin, which no payment has"),
            format!("set it to {needed} under WooCommerce, Settings, General"),
        )
        .about(&[EntityType::Products, EntityType::Orders, EntityType::Payments])
    })
}

fn of_weight(own: Option<&str>, set: WeightUnit) -> Option<Finding> {
    let own = own?;
    let set = match set {
        WeightUnit::Kg => "kg",
        WeightUnit::G => "g",
        WeightUnit::Lbs => "lbs",
        WeightUnit::Oz => "oz",
    };
    (own != set).then(|| {
        Finding::new(
            Severity::Warns,
            "weight_unit_differs",
            "the store's unit of weight",
            format!(
                "the store weighs in {own}, and the connection's settings say {set}: weights are read wrong"
            ),
            format!("set the connection's unit of weight to {own}"),
        )
        .about(&[EntityType::Products])
    })
}

fn of_version(version: Option<&str>) -> Option<Finding> {
    let (code, problem) = match version {
        Some(version) if version.starts_with(PROVEN) => return None,
        Some(version) => (
            "version_unproven",
            format!(
                "the store runs {}, and Lockstep was proven with 11",
                http::cut(version)
            ),
        ),
        None => (
            "version_unknown",
            "the key's user may not see it, and Lockstep was proven with 11".to_owned(),
        ),
    };
    Some(Finding::new(
        Severity::Warns,
        code,
        "WooCommerce's version",
        problem,
        "try a sync on a copy of the store first",
    ))
}

fn of_plugin(plugin: &Plugin) -> Option<Finding> {
    let folder = plugin.plugin.split('/').next().unwrap_or_default().to_lowercase();
    let name = plugin.name.to_lowercase();
    let mut words = folder.split(['-', '_']).chain(name.split_whitespace());
    let is_unproven = words.any(|word| UNPROVEN_PLUGINS.contains(&word));
    is_unproven.then(|| {
        Finding::new(
            Severity::Warns,
            "plugin_unproven",
            format!("the plugin `{}`", http::cut(&plugin.name)),
            "it may change currencies or taxes of orders, and Lockstep was never proven beside such a plugin",
            "compare the totals of a few orders after the first sync",
        )
        .about(&[EntityType::Products, EntityType::Orders, EntityType::Payments])
    })
}

fn of_clock(ahead: TimeDelta) -> Option<Finding> {
    (ahead.abs() > CLOCK_TOLERANCE).then(|| {
        Finding::new(
            Severity::Warns,
            "clock_differs",
            "the store's clock",
            format!(
                "it is {}: where the newest change counts, the wrong one may win",
                against_ours(ahead)
            ),
            "have the store's server keep time by NTP",
        )
    })
}

#[cfg(test)]
mod tests {
    use lockstep_shared::connection::Settings;

    use super::*;

    fn connector(settings: &Settings) -> WooCommerce {
        let http = http::Client::new(&http::Options::default()).unwrap();
        let url = "https://shop.example.com".parse().unwrap();
        WooCommerce::new(
            http,
            url,
            "ck".to_owned().into(),
            "cs".to_owned().into(),
            settings,
        )
    }

    /// A store of which there is nothing to say, but for what is changed.
    fn store(changed: &[(&str, &str)]) -> Store {
        let mut settings: BTreeMap<String, String> = [
            ("woocommerce_currency", "USD"),
            ("woocommerce_price_num_decimals", "2"),
            ("woocommerce_calc_taxes", "yes"),
            ("woocommerce_prices_include_tax", "no"),
            ("woocommerce_tax_round_at_subtotal", "no"),
            ("woocommerce_manage_stock", "yes"),
            ("woocommerce_weight_unit", "kg"),
        ]
        .map(|(id, value)| (id.to_owned(), value.to_owned()))
        .into();
        settings.extend(
            changed
                .iter()
                .map(|(id, value)| ((*id).to_owned(), (*value).to_owned())),
        );
        Store {
            clock_ahead: Some(TimeDelta::seconds(-2)),
            write: Write::Allowed,
            settings: Some(settings),
            status: Status {
                environment: Environment {
                    version: Some("11.0.1".to_owned()),
                },
                active_plugins: vec![plugin("woocommerce/woocommerce.php", "WooCommerce")],
            },
        }
    }

    fn plugin(file: &str, name: &str) -> Plugin {
        Plugin {
            plugin: file.to_owned(),
            name: name.to_owned(),
        }
    }

    fn codes(store: &Store) -> Vec<String> {
        let findings = judge(store, &connector(&Settings::default()));
        findings.into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn of_a_store_that_is_set_up_well_there_is_nothing_to_say() {
        assert_eq!(codes(&store(&[])), Vec::<String>::new());
    }

    #[test]
    fn each_setting_that_matters_has_words_of_its_own() {
        for (id, value, code) in [
            ("woocommerce_currency", "EUR", "currency_differs"),
            ("woocommerce_price_num_decimals", "0", "price_decimals_too_few"),
            ("woocommerce_price_num_decimals", "4", "price_decimals_too_many"),
            ("woocommerce_calc_taxes", "no", "taxes_off"),
            ("woocommerce_prices_include_tax", "yes", "prices_include_tax"),
            (
                "woocommerce_tax_round_at_subtotal",
                "yes",
                "tax_rounded_at_subtotal",
            ),
            ("woocommerce_manage_stock", "no", "stock_not_managed"),
            ("woocommerce_weight_unit", "lbs", "weight_unit_differs"),
        ] {
            assert_eq!(codes(&store(&[(id, value)])), [code], "{id} {value}");
        }
    }

    #[test]
    fn a_currency_without_cents_needs_no_decimals() {
        let settings = Settings {
            currency: "JPY".parse().unwrap(),
            ..Settings::default()
        };
        let store = store(&[
            ("woocommerce_currency", "JPY"),
            ("woocommerce_price_num_decimals", "0"),
        ]);

        assert_eq!(judge(&store, &connector(&settings)), []);
    }

    #[test]
    fn what_can_t_be_seen_is_told() {
        let mut store = store(&[]);
        (store.settings, store.status) = (None, Status::default());

        assert_eq!(codes(&store), ["settings_unreadable", "version_unknown"]);
    }

    #[test]
    fn plugins_that_change_money_are_told_by_the_words_of_their_names() {
        let mut store = store(&[]);
        store.status.active_plugins = vec![
            plugin("woocommerce-multi-currency/index.php", "CURCY"),
            plugin("eu-tools/eu.php", "EU VAT for WooCommerce"),
            plugin("innovation/private.php", "Private Innovation"),
        ];

        assert_eq!(codes(&store), ["plugin_unproven", "plugin_unproven"]);
    }

    #[test]
    fn a_clock_far_off_is_told_and_explains_a_refused_signature() {
        let mut late = store(&[]);
        late.clock_ahead = Some(TimeDelta::minutes(-20));
        let refused = CallError::Unauthorised {
            system: SYSTEM,
            detail: "Invalid timestamp.".to_owned(),
        };

        assert_eq!(codes(&late), ["clock_differs"]);
        assert_eq!(
            with_clock(refused, late.clock_ahead).to_string(),
            "WooCommerce refuses the credentials: Invalid timestamp. (its clock is 1200 s behind ours: set it right)"
        );
    }
}
