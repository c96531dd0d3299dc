//! A look at an ERP before anything depends on it: is all installed, may the user write it, and do its settings leave totals
//! as they are?
//!
//! Nine calls at most beside those that log in, none of which changes anything. A right is asked for per model, which also
//! tells whether the module is there; what the settings mean for totals stands in facts/mapping-odoo.md §3.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use lockstep_shared::check::{Checked, Finding, Severity};
use lockstep_shared::connection::Settings;
use lockstep_shared::entity::Currency;
use lockstep_shared::system::EntityType;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Gate;
use super::error::{Failure, Fault, Kind};
use super::rpc::{Backend, Call};
use super::wire::{Link, falsy, rows};
use super::{Odoo, inventory, order, payment, pull};

/// The version that all of this was proven with, and the oldest that it was written for.
const PROVEN: u64 = 19;
const OLDEST: u64 = 17;

/// First version whose orders can be given their taxes to the cent, and whose prices are not rounded
/// (facts/mapping-odoo.md §3, §6).
const FIRST_EXACT: u64 = 19;

/// First version that answers `has_access`; before, it was `check_access_rights`. Odoo's own, from its source and not from
/// a capture.
const FIRST_WITH_HAS_ACCESS: u64 = 18;

/// A clock that differs by more than this is told: of two changes the later one is found by it.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(30);

/// What is written, the module that brings it, the group that may write it, and the types of records that need it
/// (facts/mapping-odoo.md §7).
struct Need {
    model: &'static str,
    module: &'static str,
    group: &'static str,
    concerns: &'static [EntityType],
}

const NEEDS: [Need; 5] = [
    Need {
        model: pull::PARTNER,
        module: "contacts",
        group: "Contact Creation (base.group_partner_manager)",
        concerns: &[EntityType::Customers, EntityType::Orders],
    },
    Need {
        model: pull::TEMPLATE,
        module: "product",
        group: "Products: Creation (product.group_product_manager)",
        concerns: &[EntityType::Products],
    },
    Need {
        model: order::MODEL,
        module: "sale_management",
        group: "Sales: All Documents (sales_team.group_sale_salesman_all_leads)",
        concerns: &[EntityType::Orders],
    },
    Need {
        model: inventory::QUANT,
        module: "stock",
        group: "Inventory: User (stock.group_stock_user)",
        concerns: &[EntityType::Inventory],
    },
    Need {
        model: payment::MODEL,
        module: "account",
        group: "Invoicing (account.group_account_invoice)",
        concerns: &[EntityType::Payments],
    },
];

/// Digits that are taken for granted, by what they are of: two is how Odoo comes (facts/mapping-odoo.md §1, §3). The name of
/// the unit's was longer until version 18.
const DIGITS: [(&str, i64, &[EntityType]); 3] = [
    ("Product Unit", 2, &[EntityType::Orders, EntityType::Inventory]),
    (
        "Product Unit of Measure",
        2,
        &[EntityType::Orders, EntityType::Inventory],
    ),
    ("Stock Weight", 2, &[EntityType::Products]),
];

const PRICE: &str = "Product Price";

/// Whether the user may write a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    Granted,
    Denied,
    /// There is no such model: its module is not installed.
    Missing,
}

/// What an ERP says about itself, as far as it lets us see.
#[derive(Debug)]
struct Office {
    major: u64,
    version: String,
    clock_ahead: Option<TimeDelta>,
    /// In the order of [`NEEDS`].
    rights: Vec<Right>,
    /// None where the user may not read them.
    companies: Option<Vec<CompanyRow>>,
    /// None where the user may not read them.
    digits: Option<BTreeMap<String, i64>>,
    /// Whether the warehouse that the settings name is there; none where they name none.
    has_warehouse: Option<bool>,
    /// Whether money can come in and go out through a bank; none where nobody can tell.
    bank: Option<Bank>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bank {
    can_receive: bool,
    can_pay: bool,
}

#[derive(Debug, Deserialize)]
struct CompanyRow {
    name: String,
    currency_id: Link,
    /// Only there once the module `account` is.
    #[serde(default, deserialize_with = "falsy")]
    tax_calculation_rounding_method: Option<String>,
}

#[derive(Debug, Deserialize)]
struct DigitsRow {
    name: String,
    digits: i64,
}

#[derive(Debug, Deserialize)]
struct BankRow {
    inbound_payment_method_line_ids: Vec<i64>,
    outbound_payment_method_line_ids: Vec<i64>,
}

impl Odoo {
    /// Asks for all that [`judge`] wants to know.
    pub(super) async fn look(&self, gate: &dyn Gate) -> Result<Checked, Failure> {
        let backend = self.rpc.backend(gate).await?.clone();
        let mut rights = Vec::with_capacity(NEEDS.len());
        for need in &NEEDS {
            rights.push(self.right(gate, &backend, need.model).await?);
        }
        let is_there = |model: &str| {
            let place = NEEDS.iter().position(|need| need.model == model);
            place.is_some_and(|place| rights[place] != Right::Missing)
        };
        let office = Office {
            companies: self.companies(gate, is_there(payment::MODEL)).await?,
            digits: self.digits(gate).await?,
            has_warehouse: self.has_warehouse(gate, is_there(inventory::QUANT)).await?,
            bank: self.bank(gate, is_there(payment::MODEL)).await?,
            major: backend.major,
            version: backend.version,
            clock_ahead: backend.clock_ahead,
            rights,
        };
        let findings = judge(&office, &self.settings);
        Ok(Checked::new(office.version, findings))
    }

    /// Asks for a company, which takes a database that works.
    pub(super) async fn answers(&self, gate: &dyn Gate) -> Result<(), Failure> {
        let call = Call::search_read("res.company", json!([]), &["id"]).option("limit", json!(1));
        self.if_readable(gate, &call).await.map(drop)
    }

    /// Asks whether records of a model may be made: who may make them may change them.
    async fn right(&self, gate: &dyn Gate, backend: &Backend, model: &str) -> Result<Right, Failure> {
        let call = if backend.major >= FIRST_WITH_HAS_ACCESS {
            Call::new(model, "has_access")
                .ids(Vec::new())
                .arg("operation", json!("create"))
        } else {
            Call::new(model, "check_access_rights")
                .arg("operation", json!("create"))
                .option("raise_exception", json!(false))
        };
        match self.rpc.read(gate, &call).await {
            Ok(Value::Bool(true)) => Ok(Right::Granted),
            Ok(_) => Ok(Right::Denied),
            Err(Failure::Fault(fault)) if is_missing_model(&fault, model) => Ok(Right::Missing),
            Err(Failure::Fault(fault)) if fault.name.ends_with("AccessError") => Ok(Right::Denied),
            Err(failure) => Err(failure),
        }
    }

    async fn companies(
        &self,
        gate: &dyn Gate,
        has_accounts: bool,
    ) -> Result<Option<Vec<CompanyRow>>, Failure> {
        let mut fields = vec!["name", "currency_id"];
        fields.extend(has_accounts.then_some("tax_calculation_rounding_method"));
        let call = Call::search_read("res.company", json!([]), &fields).option("order", json!("id"));
        self.if_readable(gate, &call).await?.map(rows).transpose()
    }

    async fn digits(&self, gate: &dyn Gate) -> Result<Option<BTreeMap<String, i64>>, Failure> {
        let names: Vec<&str> = DIGITS.iter().map(|(name, ..)| *name).chain([PRICE]).collect();
        let domain = json!([["name", "in", names]]);
        let call = Call::search_read("decimal.precision", domain, &["name", "digits"]);
        let found: Option<Vec<DigitsRow>> = self.if_readable(gate, &call).await?.map(rows).transpose()?;
        Ok(found.map(|found| found.into_iter().map(|row| (row.name, row.digits)).collect()))
    }

    async fn has_warehouse(&self, gate: &dyn Gate, has_stock: bool) -> Result<Option<bool>, Failure> {
        let Some(warehouse) = self.settings.stock.warehouse.filter(|_| has_stock) else {
            return Ok(None);
        };
        let call = Call::search_read("stock.warehouse", json!([["id", "=", warehouse]]), &["id"]);
        let found = self.if_readable(gate, &call).await?;
        Ok(found.and_then(|found| Some(!found.as_array()?.is_empty())))
    }

    async fn bank(&self, gate: &dyn Gate, has_accounts: bool) -> Result<Option<Bank>, Failure> {
        if !has_accounts {
            return Ok(None);
        }
        let fields = [
            "inbound_payment_method_line_ids",
            "outbound_payment_method_line_ids",
        ];
        let call = Call::search_read("account.journal", json!([["type", "=", "bank"]]), &fields)
            .option("limit", json!(1))
            .option("order", json!("id"));
        let found: Option<Vec<BankRow>> = self.if_readable(gate, &call).await?.map(rows).transpose()?;
        Ok(found.map(|found| Bank {
            can_receive: found
                .iter()
                .any(|row| !row.inbound_payment_method_line_ids.is_empty()),
            can_pay: found
                .iter()
                .any(|row| !row.outbound_payment_method_line_ids.is_empty()),
        }))
    }

    /// Reads what the user may not be allowed to read; `None` where it is not.
    async fn if_readable(&self, gate: &dyn Gate, call: &Call) -> Result<Option<Value>, Failure> {
        match self.rpc.read(gate, call).await {
            Ok(answer) => Ok(Some(answer)),
            Err(Failure::Fault(fault)) if fault.name.ends_with("AccessError") => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

/// JSON-RPC says `Object x doesn't exist`, JSON-2 `the model 'x' does not exist` (facts/systems.md B2).
fn is_missing_model(fault: &Fault, model: &str) -> bool {
    matches!(fault.kind(), Kind::Record | Kind::Call)
        && fault.message.contains(model)
        && (fault.message.contains("doesn't exist") || fault.message.contains("does not exist"))
}

/// Says what of an ERP would make a sync fail or be wrong. Pure.
fn judge(office: &Office, settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(of_version(office));
    let rights = NEEDS.iter().zip(&office.rights);
    findings.extend(rights.filter_map(|(need, right)| of_right(need, *right)));
    match &office.companies {
        Some(companies) => of_companies(companies, (office.major, settings), &mut findings),
        None => findings.push(unreadable("the company", "currency and rounding of taxes")),
    }
    let digits = settings.currency.digits();
    match &office.digits {
        Some(known) => of_digits(known, (office.major, digits), &mut findings),
        None => findings.push(unreadable(
            "the decimal accuracies",
            "digits of prices and quantities",
        )),
    }
    if office.has_warehouse == Some(false) {
        let finding = Finding::new(
            Severity::Blocks,
            "warehouse_missing",
            "the connection's warehouse",
            "the ERP has none of that id, or does not show it to the user",
            "set the id of a warehouse of the ERP, or none to count all of them",
        );
        findings.push(finding.about(&[EntityType::Inventory]));
    }
    findings.extend(office.bank.and_then(of_bank));
    findings.extend(office.clock_ahead.and_then(of_clock));
    findings
}

fn of_version(office: &Office) -> Option<Finding> {
    let (severity, code, problem) = match office.major {
        PROVEN => return None,
        ..OLDEST => (
            Severity::Blocks,
            "version_unsupported",
            format!("the server runs {}, and Lockstep knows 17 to 19", office.version),
        ),
        _ => (
            Severity::Warns,
            "version_unproven",
            format!(
                "the server runs {}, and Lockstep was proven with 19",
                office.version
            ),
        ),
    };
    let advice = if severity == Severity::Blocks {
        "upgrade the server"
    } else {
        "try a sync on a copy of the database first"
    };
    Some(Finding::new(severity, code, "Odoo's version", problem, advice))
}

fn of_right(need: &Need, right: Right) -> Option<Finding> {
    let finding = match right {
        // Levels are set in a mode of their own, in which the group counts and not the right (facts/mapping-odoo.md §5).
        Right::Denied if need.model == inventory::QUANT => return None,
        Right::Granted => return None,
        Right::Missing => Finding::new(
            Severity::Blocks,
            "module_missing",
            format!("the module `{}`", need.module),
            format!("it is not installed: the ERP has no `{}`", need.model),
            "install it, or leave what needs it out of the sync",
        ),
        Right::Denied => Finding::new(
            Severity::Blocks,
            "right_missing",
            format!("the user's right to write `{}`", need.model),
            "it has none",
            format!("put the user into the group {}", need.group),
        )
        .of_writing(),
    };
    Some(finding.about(need.concerns))
}

fn of_companies(companies: &[CompanyRow], (major, settings): (u64, &Settings), findings: &mut Vec<Finding>) {
    let Some(company) = companies.first() else {
        return;
    };
    if companies.len() > 1 {
        findings.push(Finding::new(
            Severity::Warns,
            "several_companies",
            "the companies of the ERP",
            format!(
                "the user sees {}, and Lockstep was never proven with more than one",
                companies.len()
            ),
            format!(
                "let the user see `{}` alone, or the one that the store sells for",
                company.name
            ),
        ));
    }
    findings.extend(of_currency(&company.currency_id.1, settings.currency));
    if company.tax_calculation_rounding_method.as_deref() == Some("round_globally") {
        findings.push(of_rounding(major));
    }
}

/// Taxes rounded over a whole order differ by cents from those of a store, which rounds per line. From version 19 on what is
/// written is right all the same; the rest is seen in facts/mapping-odoo.md §3.
fn of_rounding(major: u64) -> Finding {
    let problem = if major >= FIRST_EXACT {
        "taxes are rounded over the whole order: orders arrive to the cent, but one that people change there is computed \
         anew and may differ from the store's by a cent"
    } else {
        "taxes are rounded over the whole order, a store's per line: totals are made equal by a line for the difference, \
         and the tax within may differ by cents"
    };
    Finding::new(
        Severity::Warns,
        "tax_rounded_globally",
        "the company's setting `Rounding Method`",
        problem,
        "set it to `Round per Line` under Invoicing, Settings, Taxes",
    )
    .about(&[EntityType::Orders])
}

/// Prices of the catalogue are in the company's currency.
fn of_currency(own: &str, set: Currency) -> Option<Finding> {
    let is_same = own.parse() == Ok(set);
    (!is_same).then(|| {
        Finding::new(
            Severity::Warns,
            "currency_differs",
            "the company's currency",
            format!("the ERP's prices are in {own}, and the connection's settings say {set}"),
            "set the connection's currency to the company's",
        )
        .about(&[EntityType::Products])
    })
}

fn of_digits(known: &BTreeMap<String, i64>, (major, currency): (u64, u32), findings: &mut Vec<Finding>) {
    let advice = |digits: i64| {
        format!("set it to {digits} under Settings, Technical, Decimal Accuracy, with the developer mode on")
    };
    let subject = |name: &str| format!("the decimal accuracy `{name}`");
    let needed = i64::from(currency);
    if let Some(digits) = known.get(PRICE).filter(|digits| **digits < needed) {
        // Version 19 keeps what it is given, and only shows it so (facts/mapping-odoo.md §1, §3).
        let (severity, problem) = if major >= FIRST_EXACT {
            (
                Severity::Warns,
                "prices are shown with fewer digits than they have",
            )
        } else {
            (
                Severity::Blocks,
                "prices are rounded as they are stored, and totals with them",
            )
        };
        let problem = format!("{problem}: {digits} of {needed}");
        let finding = Finding::new(
            severity,
            "price_decimals_too_few",
            subject(PRICE),
            problem,
            advice(needed),
        );
        findings.push(finding.about(&[EntityType::Products, EntityType::Orders]));
    }
    for (name, needed, concerns) in DIGITS {
        if let Some(digits) = known.get(name).filter(|digits| **digits < needed) {
            let problem =
                format!("what is written is rounded to {digits} digits, and {needed} are counted on");
            let finding = Finding::new(
                Severity::Warns,
                "decimals_too_few",
                subject(name),
                problem,
                advice(needed),
            );
            findings.push(finding.about(concerns));
        }
    }
}

fn of_bank(bank: Bank) -> Option<Finding> {
    let lacks = match (bank.can_receive, bank.can_pay) {
        (true, true) => return None,
        (true, false) => "has no way for money to go out",
        (false, true) => "has no way for money to come in",
        (false, false) => "is missing, or has no way for money to come in or go out",
    };
    let finding = Finding::new(
        Severity::Blocks,
        "bank_missing",
        "the bank journal",
        format!("the first one {lacks}: payments can't be written"),
        "add a bank journal with a payment method in each direction under Invoicing, Configuration, Journals",
    );
    Some(finding.about(&[EntityType::Payments]).of_writing())
}

fn of_clock(ahead: TimeDelta) -> Option<Finding> {
    let way = if ahead > TimeDelta::zero() {
        "ahead of"
    } else {
        "behind"
    };
    (ahead.abs() > CLOCK_TOLERANCE).then(|| {
        Finding::new(
            Severity::Warns,
            "clock_differs",
            "the server's clock",
            format!(
                "it is {} s {way} ours: where the newest change counts, the wrong one may win",
                ahead.num_seconds().abs()
            ),
            "have the server keep time by NTP",
        )
    })
}

fn unreadable(subject: &str, what: &str) -> Finding {
    Finding::new(
        Severity::Warns,
        "settings_unreadable",
        subject,
        format!("the user may not read it, so {what} were not looked at"),
        "make it an internal user",
    )
}

#[cfg(test)]
mod tests {
    use lockstep_shared::connection::StockSettings;

    use super::*;

    /// An ERP of which there is nothing to say.
    fn office() -> Office {
        Office {
            major: 19,
            version: "19.0".to_owned(),
            clock_ahead: Some(TimeDelta::seconds(1)),
            rights: vec![Right::Granted; NEEDS.len()],
            companies: Some(vec![company("USD", "round_per_line")]),
            digits: Some(digits(&[(PRICE, 2), ("Product Unit", 2), ("Stock Weight", 4)])),
            has_warehouse: None,
            bank: Some(Bank {
                can_receive: true,
                can_pay: true,
            }),
        }
    }

    fn company(currency: &str, rounding: &str) -> CompanyRow {
        CompanyRow {
            name: "My Company".to_owned(),
            currency_id: (1, currency.to_owned()),
            tax_calculation_rounding_method: Some(rounding.to_owned()),
        }
    }

    fn digits(known: &[(&str, i64)]) -> BTreeMap<String, i64> {
        known
            .iter()
            .map(|(name, digits)| ((*name).to_owned(), *digits))
            .collect()
    }

    fn found(office: &Office) -> Vec<(String, Severity)> {
        let findings = judge(office, &Settings::default()).into_iter();
        findings.map(|finding| (finding.code, finding.severity)).collect()
    }

    fn one(office: &Office) -> (String, Severity) {
        let mut found = found(office);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn of_an_erp_that_is_set_up_well_there_is_nothing_to_say() {
        assert_eq!(found(&office()), []);
    }

    #[test]
    fn a_version_is_proven_told_or_refused() {
        let of = |major| Office { major, ..office() };

        assert_eq!(one(&of(16)), ("version_unsupported".to_owned(), Severity::Blocks));
        assert_eq!(one(&of(17)), ("version_unproven".to_owned(), Severity::Warns));
        assert_eq!(one(&of(20)), ("version_unproven".to_owned(), Severity::Warns));
    }

    #[test]
    fn a_missing_right_blocks_what_is_written_and_a_missing_module_all_of_it() {
        for (place, need) in NEEDS.iter().enumerate() {
            let with = |right| {
                let mut office = office();
                office.rights[place] = right;
                judge(&office, &Settings::default()).into_iter().next()
            };
            if need.model == inventory::QUANT {
                assert_eq!(with(Right::Denied), None);
                continue;
            }
            let (denied, missing) = (with(Right::Denied).unwrap(), with(Right::Missing).unwrap());
            assert_eq!(
                (denied.code.as_str(), missing.code.as_str()),
                ("right_missing", "module_missing")
            );
            assert!(denied.subject.contains(need.model) && missing.subject.contains(need.module));
            assert!(denied.direction.is_some() && missing.direction.is_none());
            assert_eq!(
                (denied.concerns, missing.concerns),
                (need.concerns.to_vec(), need.concerns.to_vec())
            );
        }
    }

    #[test]
    fn digits_that_are_too_few_block_where_prices_are_stored_so() {
        let with = |major, known| Office {
            major,
            digits: Some(digits(known)),
            ..office()
        };

        assert_eq!(
            one(&with(19, &[(PRICE, 1)])),
            ("price_decimals_too_few".to_owned(), Severity::Warns)
        );
        assert!(
            found(&with(17, &[(PRICE, 1)]))
                .contains(&("price_decimals_too_few".to_owned(), Severity::Blocks))
        );
        assert_eq!(
            one(&with(19, &[("Product Unit", 0)])),
            ("decimals_too_few".to_owned(), Severity::Warns)
        );
    }

    #[test]
    fn what_a_company_does_otherwise_is_told() {
        let with = |companies| Office {
            companies: Some(companies),
            ..office()
        };

        assert_eq!(
            one(&with(vec![company("EUR", "round_per_line")])),
            ("currency_differs".to_owned(), Severity::Warns)
        );
        assert_eq!(
            one(&with(vec![company("USD", "round_globally")])),
            ("tax_rounded_globally".to_owned(), Severity::Warns)
        );
        assert_eq!(
            one(&with(vec![
                company("USD", "round_per_line"),
                company("EUR", "round_per_line")
            ])),
            ("several_companies".to_owned(), Severity::Warns)
        );
    }

    #[test]
    fn a_bank_without_a_way_and_a_warehouse_that_is_not_there_block() {
        let mut office = office();
        office.bank = Some(Bank {
            can_receive: true,
            can_pay: false,
        });
        office.has_warehouse = Some(false);
        let settings = Settings {
            stock: StockSettings {
                warehouse: Some(9),
                ..StockSettings::default()
            },
            ..Settings::default()
        };

        let findings = judge(&office, &settings);

        let told: Vec<_> = findings
            .iter()
            .map(|finding| (finding.code.as_str(), finding.concerns.as_slice()))
            .collect();
        assert_eq!(
            told,
            [
                ("warehouse_missing", [EntityType::Inventory].as_slice()),
                ("bank_missing", &[EntityType::Payments])
            ]
        );
    }

    #[test]
    fn what_can_t_be_seen_is_told() {
        let closed = Office {
            companies: None,
            digits: None,
            bank: None,
            ..office()
        };

        let unreadable = || ("settings_unreadable".to_owned(), Severity::Warns);
        assert_eq!(found(&closed), [unreadable(), unreadable()]);
    }

    #[test]
    fn both_ways_of_saying_that_there_is_no_such_model_are_known() {
        let fault = |name: &str, message: &str| Fault {
            name: name.to_owned(),
            message: message.to_owned(),
        };
        let rpc = fault("odoo.exceptions.UserError", "Object stock.quant doesn't exist");
        let json_2 = fault(
            "werkzeug.exceptions.NotFound",
            "the model 'stock.quant' does not exist",
        );
        let other = fault(
            "psycopg2.OperationalError",
            "database \"stock.quant\" does not exist",
        );

        assert!(is_missing_model(&rpc, "stock.quant") && is_missing_model(&json_2, "stock.quant"));
        assert!(!is_missing_model(&rpc, "sale.order") && !is_missing_model(&other, "stock.quant"));
    }
}
