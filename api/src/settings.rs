//! Settings of a connection, as the API shows and takes them.

use std::collections::BTreeMap;

use lockstep_shared::bucket;
use lockstep_shared::connection::StockSettings as CanonicalStock;
use lockstep_shared::connection::{Settings, StockBasis as CanonicalBasis, WeightUnit as CanonicalUnit};
use lockstep_shared::deletion::{
    AskAbove, CustomerPolicy as CanonicalCustomerPolicy, DeletionSettings as CanonicalDeletion,
    OrderPolicy as CanonicalOrderPolicy, ProductPolicy as CanonicalProductPolicy,
};
use lockstep_shared::entity::{Currency, OrderStatus, clean_line};
use poem_openapi::{Enum, Object};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;

use crate::body::{self, FromBody, present};
use crate::money::decimal;
use crate::ownership::Ownership;
use crate::problem::WrongField;

/// Longest name of a state of an order, in characters.
const STATUS_NAME_LIMIT: usize = 100;

/// Most units that can be kept back.
const SAFETY_STOCK_LIMIT: Decimal = Decimal::from_parts(1_000_000_000, 0, 0, false, 0);

/// A unit of weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename_all = "lowercase", remote = "CanonicalUnit")]
#[serde(rename_all = "lowercase")]
pub(crate) enum WeightUnit {
    Kg,
    G,
    Lbs,
    Oz,
}

/// A way to count stock. `available`: what is there without what was sold and not delivered yet. `on_hand`: what is there.
/// `forecast`: what there will be once everything ordered has come in and gone out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename_all = "snake_case", remote = "CanonicalBasis")]
#[serde(rename_all = "snake_case")]
pub(crate) enum StockBasis {
    Available,
    OnHand,
    Forecast,
}

/// Which number of a system's counts as its stock.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct StockSettings {
    /// How it is counted.
    #[oai(default = "default_basis")]
    basis: StockBasis,
    /// Units that are kept back and never offered elsewhere: 0 to 1,000,000,000, as a decimal in a text.
    #[oai(default)]
    #[serde(deserialize_with = "decimal")]
    safety_stock: Decimal,
    /// The warehouse that is meant, by its identifier in the remote. Left out: all of them together.
    #[oai(validator(minimum(value = "1")))]
    #[serde(deserialize_with = "present")]
    warehouse: Option<i64>,
}

/// What the remote calls the states of an order, where that is not the usual: they are read and written so. Each name has
/// 1 to 100 characters. Where two states have one name, it is read as the one that stands first here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Object, Deserialize)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OrderStatusNames {
    /// Placed, not paid.
    #[oai(validator(min_length = 1, max_length = 100))]
    #[serde(deserialize_with = "present")]
    pending: Option<String>,
    /// Placed; waits for somebody.
    #[oai(validator(min_length = 1, max_length = 100))]
    #[serde(deserialize_with = "present")]
    on_hold: Option<String>,
    /// Agreed: paid, or to be delivered on account.
    #[oai(validator(min_length = 1, max_length = 100))]
    #[serde(deserialize_with = "present")]
    processing: Option<String>,
    /// Delivered.
    #[oai(validator(min_length = 1, max_length = 100))]
    #[serde(deserialize_with = "present")]
    completed: Option<String>,
    /// Cancelled.
    #[oai(validator(min_length = 1, max_length = 100))]
    #[serde(deserialize_with = "present")]
    cancelled: Option<String>,
    /// The payment failed.
    #[oai(validator(min_length = 1, max_length = 100))]
    #[serde(deserialize_with = "present")]
    failed: Option<String>,
    /// All of it was paid back.
    #[oai(validator(min_length = 1, max_length = 100))]
    #[serde(deserialize_with = "present")]
    refunded: Option<String>,
}

/// What becomes of a customer who was deleted in the remote. `archive`: is active no more, in every system. `ignore`:
/// nothing, but is not made again there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename_all = "lowercase", remote = "CanonicalCustomerPolicy")]
#[serde(rename_all = "lowercase")]
pub(crate) enum CustomerDeletion {
    Archive,
    Ignore,
}

/// What becomes of a product that was deleted in the remote. `archive`: it is archived in every system. `ignore`: nothing,
/// but it is not made again there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename_all = "lowercase", remote = "CanonicalProductPolicy")]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProductDeletion {
    Archive,
    Ignore,
}

/// What becomes of an order that was deleted in the remote. `cancel`: it is cancelled in every system, unless it was
/// completed or ended otherwise before. `ignore`: nothing, but it is not made again there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename_all = "lowercase", remote = "CanonicalOrderPolicy")]
#[serde(rename_all = "lowercase")]
pub(crate) enum OrderDeletion {
    Cancel,
    Ignore,
}

/// What becomes of records whose things were deleted in the remote, its trash included. Syncs with `fullScan` find them,
/// and writes that meet nothing. Inventory levels and payments are always ignored. Whatever was deleted is made again
/// only once its record is put again with other content.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct DeletionSettings {
    /// Of customers.
    #[oai(default = "default_customer_deletion")]
    customers: CustomerDeletion,
    /// Of products.
    #[oai(default = "default_product_deletion")]
    products: ProductDeletion,
    /// Of orders.
    #[oai(default = "default_order_deletion")]
    orders: OrderDeletion,
    /// The share of all things of one type, in percent, above which their being missing at once becomes a conflict and
    /// none counts as deleted: 1 to 100. Up to five things may always be missing.
    #[oai(
        default = "default_ask_above",
        validator(minimum(value = "1"), maximum(value = "100"))
    )]
    ask_above_percent: i32,
}

/// How to read what the remote system leaves unsaid, and who has the last word on what. What is left out has its default.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ConnectionSettings {
    /// Currency of prices that the remote states without one: three letters after ISO 4217.
    #[oai(default = "default_currency", validator(pattern = "^[A-Za-z]{3}$"))]
    currency: String,
    /// Unit in which the remote states weights.
    #[oai(default = "default_weight_unit")]
    weight_unit: WeightUnit,
    /// Which number of the remote's counts as its stock.
    #[oai(default)]
    stock: StockSettings,
    /// What the remote calls the states of an order, where that is not the usual.
    #[oai(default)]
    order_statuses: OrderStatusNames,
    /// Whether people may notice what is written: mails to customers, messages, activities.
    #[oai(default)]
    notifies_people: bool,
    /// Who has the last word on what.
    #[oai(default)]
    ownership: Ownership,
    /// What becomes of records whose things were deleted in the remote.
    #[oai(default)]
    deletions: DeletionSettings,
    /// Requests that may be sent to this system per minute, by the whole fleet, beside the organisation's own limit: from 1 to
    /// 50, or to what the operator gave the organisation where that is more. Left out: the organisation's limit alone holds.
    #[oai(validator(minimum(value = "1")))]
    #[serde(deserialize_with = "present")]
    requests_per_minute: Option<i32>,
}

fn default_customer_deletion() -> CustomerDeletion {
    CanonicalCustomerPolicy::default().into()
}

fn default_product_deletion() -> ProductDeletion {
    CanonicalProductPolicy::default().into()
}

fn default_order_deletion() -> OrderDeletion {
    CanonicalOrderPolicy::default().into()
}

fn default_ask_above() -> i32 {
    AskAbove::default().percent().into()
}

fn default_currency() -> String {
    Settings::default().currency.code().to_owned()
}

fn default_weight_unit() -> WeightUnit {
    Settings::default().weight_unit.into()
}

fn default_basis() -> StockBasis {
    CanonicalBasis::default().into()
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Settings::default().into()
    }
}

impl Default for StockSettings {
    fn default() -> Self {
        CanonicalStock::default().into()
    }
}

impl From<CanonicalStock> for StockSettings {
    fn from(stock: CanonicalStock) -> Self {
        Self {
            basis: stock.basis.into(),
            safety_stock: stock.safety_stock,
            warehouse: stock.warehouse,
        }
    }
}

impl Default for DeletionSettings {
    fn default() -> Self {
        CanonicalDeletion::default().into()
    }
}

impl From<CanonicalDeletion> for DeletionSettings {
    fn from(deletions: CanonicalDeletion) -> Self {
        Self {
            customers: deletions.customers.into(),
            products: deletions.products.into(),
            orders: deletions.orders.into(),
            ask_above_percent: deletions.ask_above.percent().into(),
        }
    }
}

impl From<BTreeMap<OrderStatus, String>> for OrderStatusNames {
    fn from(mut names: BTreeMap<OrderStatus, String>) -> Self {
        Self {
            pending: names.remove(&OrderStatus::Pending),
            on_hold: names.remove(&OrderStatus::OnHold),
            processing: names.remove(&OrderStatus::Processing),
            completed: names.remove(&OrderStatus::Completed),
            cancelled: names.remove(&OrderStatus::Cancelled),
            failed: names.remove(&OrderStatus::Failed),
            refunded: names.remove(&OrderStatus::Refunded),
        }
    }
}

impl From<Settings> for ConnectionSettings {
    fn from(settings: Settings) -> Self {
        Self {
            currency: settings.currency.code().to_owned(),
            weight_unit: settings.weight_unit.into(),
            stock: settings.stock.into(),
            order_statuses: settings.order_statuses.into(),
            notifies_people: settings.notifies_people,
            ownership: Ownership::of(&settings.ownership),
            deletions: settings.deletions.into(),
            requests_per_minute: settings
                .requests_per_minute
                .and_then(|rate| i32::try_from(rate).ok()),
        }
    }
}

impl FromBody for ConnectionSettings {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        body::read(json)
    }
}

impl ConnectionSettings {
    /// Returns the settings in canonical form, or every field that is wrong, each under the path at which they stand.
    pub(crate) fn check(self, path: &str) -> Result<Settings, Vec<WrongField>> {
        let mut wrong = Vec::new();
        let currency = self.currency.parse::<Currency>();
        if let Err(error) = &currency {
            wrong.push(WrongField::new(format!("{path}currency"), error.to_string()));
        }
        let stock = self.stock.check(&format!("{path}stock/"), &mut wrong);
        let order_statuses = self
            .order_statuses
            .check(&format!("{path}orderStatuses/"), &mut wrong);
        let ownership = self.ownership.check(&format!("{path}ownership/"));
        let ownership = ownership.unwrap_or_else(|errors| {
            wrong.extend(errors);
            BTreeMap::new()
        });
        let deletions = self.deletions.check(&format!("{path}deletions/"), &mut wrong);
        let rate = self
            .requests_per_minute
            .map(|rate| u32::try_from(rate).unwrap_or_default());
        // What the organisation may ask for, the database says.
        wrong.extend(wrong_rate(path, rate, bucket::LIMIT));
        match currency {
            Ok(currency) if wrong.is_empty() => Ok(Settings {
                currency,
                weight_unit: self.weight_unit.into(),
                stock,
                order_statuses,
                notifies_people: self.notifies_people,
                ownership,
                deletions,
                requests_per_minute: rate,
            }),
            _ => Err(wrong),
        }
    }
}

/// Names a rate that is not from 1 to the ceiling.
pub(crate) fn wrong_rate(path: &str, requests_per_minute: Option<u32>, ceiling: u32) -> Option<WrongField> {
    let rate = requests_per_minute?;
    let is_wrong = !(1..=ceiling).contains(&rate);
    is_wrong.then(|| {
        WrongField::new(
            format!("{path}requestsPerMinute"),
            format!("must be from 1 to {ceiling}"),
        )
    })
}

impl StockSettings {
    fn check(self, path: &str, wrong: &mut Vec<WrongField>) -> CanonicalStock {
        if !(Decimal::ZERO..=SAFETY_STOCK_LIMIT).contains(&self.safety_stock) {
            let message = format!("must be from 0 to {SAFETY_STOCK_LIMIT}");
            wrong.push(WrongField::new(format!("{path}safetyStock"), message));
        }
        if self.warehouse.is_some_and(|id| id < 1) {
            wrong.push(WrongField::new(
                format!("{path}warehouse"),
                "must be the identifier of a warehouse: at least 1",
            ));
        }
        CanonicalStock {
            basis: self.basis.into(),
            safety_stock: self.safety_stock.normalize(),
            warehouse: self.warehouse,
        }
    }
}

impl DeletionSettings {
    fn check(self, path: &str, wrong: &mut Vec<WrongField>) -> CanonicalDeletion {
        let ask_above = u8::try_from(self.ask_above_percent).map(AskAbove::try_from);
        let ask_above = ask_above.ok().and_then(Result::ok).unwrap_or_else(|| {
            let message = "must be from 1 to 100";
            wrong.push(WrongField::new(format!("{path}askAbovePercent"), message));
            AskAbove::default()
        });
        CanonicalDeletion {
            customers: self.customers.into(),
            products: self.products.into(),
            orders: self.orders.into(),
            ask_above,
        }
    }
}

impl OrderStatusNames {
    fn check(self, path: &str, wrong: &mut Vec<WrongField>) -> BTreeMap<OrderStatus, String> {
        let mut names = BTreeMap::new();
        for (status, field, name) in [
            (OrderStatus::Pending, "pending", self.pending),
            (OrderStatus::OnHold, "on_hold", self.on_hold),
            (OrderStatus::Processing, "processing", self.processing),
            (OrderStatus::Completed, "completed", self.completed),
            (OrderStatus::Cancelled, "cancelled", self.cancelled),
            (OrderStatus::Failed, "failed", self.failed),
            (OrderStatus::Refunded, "refunded", self.refunded),
        ] {
            let Some(name) = name.map(|name| clean_line(&name)) else {
                continue;
            };
            if !(1..=STATUS_NAME_LIMIT).contains(&name.chars().count()) {
                let message = format!("must have 1 to {STATUS_NAME_LIMIT} characters");
                wrong.push(WrongField::new(format!("{path}{field}"), message));
            }
            names.insert(status, name);
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use poem_openapi::types::ToJSON;
    use serde_json::json;

    use super::*;

    fn settings(json: Value) -> Result<Settings, Vec<WrongField>> {
        ConnectionSettings::from_body(json)?.check("")
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!(settings(json!({})), Ok(Settings::default()));
        assert_eq!(settings(json!({ "stock": {} })), Ok(Settings::default()));
    }

    #[test]
    fn settings_come_back_as_they_were_put() {
        let json = json!({
            "currency": "EUR",
            "weightUnit": "lbs",
            "stock": { "basis": "on_hand", "safetyStock": "2.5", "warehouse": 3 },
            "orderStatuses": { "on_hold": "awaiting-check", "completed": "shipped" },
            "notifiesPeople": true,
            "ownership": Ownership::default().to_json(),
            "deletions": {
                "customers": "archive", "products": "ignore", "orders": "ignore", "askAbovePercent": 25
            },
            "requestsPerMinute": 20,
        });

        let settings = settings(json.clone()).unwrap();

        assert_eq!(settings.order_statuses[&OrderStatus::OnHold], "awaiting-check");
        let shown = ConnectionSettings::from(settings).to_json().unwrap();
        assert_eq!(shown, json);
    }

    #[test]
    fn every_wrong_setting_is_named() {
        let wrong = settings(json!({
            "currency": "EURO",
            "stock": { "safetyStock": "-1", "warehouse": 0 },
            "orderStatuses": { "pending": " ", "failed": "x".repeat(101) },
            "ownership": { "products": { "all": "origin" } },
            "deletions": { "askAbovePercent": 0 },
            "requestsPerMinute": -1,
        }))
        .unwrap_err();

        let fields: Vec<&str> = wrong.iter().map(|wrong| wrong.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "currency",
                "stock/safetyStock",
                "stock/warehouse",
                "orderStatuses/pending",
                "orderStatuses/failed",
                "ownership/products/all",
                "deletions/askAbovePercent",
                "requestsPerMinute",
            ],
            "R45"
        );
    }

    #[test]
    fn a_policy_that_a_type_does_not_have_is_named() {
        for (given, field) in [
            (
                json!({ "deletions": { "products": "cancel" } }),
                "deletions/products",
            ),
            (
                json!({ "deletions": { "orders": "archive" } }),
                "deletions/orders",
            ),
            (
                json!({ "deletions": { "payments": "ignore" } }),
                "deletions/payments",
            ),
            (
                json!({ "deletions": { "askAbovePercent": 2.5 } }),
                "deletions/askAbovePercent",
            ),
        ] {
            let wrong = settings(given).unwrap_err();
            assert_eq!(wrong[0].field, field, "R45");
        }
    }
}
