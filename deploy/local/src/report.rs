//! What a sync came to: by its own count, by what the stand-ins felt, and by what they hold now.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use lockstep_sandbox::ledger::{Duplicate, Effect, Operation};
use lockstep_shared::item::State;
use lockstep_shared::sync::Status;
use lockstep_shared::system::{Direction, EntityType, System};

use crate::client::{Counts, Record, Records, Stage, Sync};
use crate::compare;
use crate::remote::{StandIns, title};

/// Most sentences of one kind that are printed.
const SENTENCES: usize = 20;

/// What became of the things of one type in one system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    created: u64,
    updated: u64,
    /// In step without having been written by this sync.
    unchanged: u64,
    failed: u64,
    conflicts: u64,
    skipped: u64,
}

impl Tally {
    const fn unsettled(&self) -> u64 {
        self.failed + self.conflicts + self.skipped
    }
}

/// One system and one type.
type Place = (System, EntityType);

/// How far the stand-ins' ledgers went before the sync that is reported on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Before {
    store: usize,
    erp: usize,
}

impl Before {
    pub(crate) fn of(stand_ins: &StandIns) -> Self {
        Self {
            store: stand_ins
                .store
                .as_ref()
                .map_or(0, |store| store.ledger().effects().len()),
            erp: stand_ins
                .erp
                .as_ref()
                .map_or(0, |erp| erp.ledger().effects().len()),
        }
    }
}

/// What a sync came to.
#[derive(Debug)]
pub(crate) struct Report {
    status: Status,
    items: usize,
    tallies: BTreeMap<Place, Tally>,
    /// What the ledgers say otherwise.
    disagreements: Vec<String>,
    /// Why things did not get through.
    unsettled: Vec<String>,
    duplicates: Vec<String>,
    lost: Vec<String>,
    /// Systems that keep no ledger, because they are real ones.
    unwatched: Vec<System>,
}

impl Report {
    /// Draws the report up. The stand-ins must be at rest.
    pub(crate) fn new(sync: &Sync, records: &Records, stand_ins: &StandIns, before: Before) -> Self {
        let tallies = tallies(&sync.progress.stages, records);
        let mut disagreements = Vec::new();
        let mut duplicates = Vec::new();
        let mut unwatched = Vec::new();
        let ledgers = [
            (
                System::Woocommerce,
                stand_ins
                    .store
                    .as_ref()
                    .map(|store| (store.ledger(), before.store)),
            ),
            (
                System::Odoo,
                stand_ins.erp.as_ref().map(|erp| (erp.ledger(), before.erp)),
            ),
        ];
        for (system, ledger) in ledgers {
            let Some((ledger, before)) = ledger else {
                unwatched.push(system);
                continue;
            };
            disagreements.extend(disagreeing(system, &tallies, &ledger.effects()[before..]));
            duplicates.extend(ledger.duplicates().iter().map(|one| twice(system, one)));
        }
        Self {
            status: sync.status,
            items: records.values().map(Vec::len).sum(),
            tallies,
            disagreements,
            unsettled: unsettled(records),
            duplicates,
            lost: lost(records, stand_ins),
            unwatched,
        }
    }

    /// Says whether everything is in step, and everybody agrees on how it came to be.
    pub(crate) fn is_good(&self) -> bool {
        self.status == Status::Done
            && self.disagreements.is_empty()
            && self.duplicates.is_empty()
            && self.lost.is_empty()
            && self.sum(Tally::unsettled) == 0
    }

    /// Returns the one line for programs, the last one that is printed.
    pub(crate) fn line(&self) -> String {
        format!(
            "synced items={} created={} updated={} unchanged={} failed={} duplicates={} lost={}",
            self.items,
            self.sum(|tally| tally.created),
            self.sum(|tally| tally.updated),
            self.sum(|tally| tally.unchanged),
            self.sum(Tally::unsettled),
            self.duplicates.len(),
            self.lost.len(),
        )
    }

    fn sum(&self, count: impl Fn(&Tally) -> u64) -> u64 {
        self.tallies.values().map(count).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "", "created", "updated", "unchanged", "failed", "conflicts", "skipped"
        )?;
        for ((system, entity), tally) in &self.tallies {
            writeln!(
                f,
                "{:<24}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
                format!("{} {}", title(*system), entity.name()),
                tally.created,
                tally.updated,
                tally.unchanged,
                tally.failed,
                tally.conflicts,
                tally.skipped
            )?;
        }
        let sentences = [
            ("did not get through", &self.unsettled),
            ("counted otherwise by a stand-in", &self.disagreements),
            ("twice", &self.duplicates),
            ("lost", &self.lost),
        ];
        for (what, sentences) in sentences {
            for sentence in sentences.iter().take(SENTENCES) {
                writeln!(f, "{what}: {sentence}")?;
            }
            if sentences.len() > SENTENCES {
                writeln!(f, "{what}: {} more", sentences.len() - SENTENCES)?;
            }
        }
        for system in &self.unwatched {
            let name = title(*system);
            writeln!(
                f,
                "{name} is a real system and keeps no ledger: its numbers are the sync's own count"
            )?;
        }
        let verdict = if self.disagreements.is_empty() && self.unwatched.len() < System::ALL.len() {
            "; the stand-ins felt just that"
        } else {
            ""
        };
        writeln!(f, "the sync is {}{verdict}", self.status.name())
    }
}

/// Counts by what the sync says that it wrote, and by where each record stands after it.
fn tallies(stages: &[Stage], records: &Records) -> BTreeMap<Place, Tally> {
    let mut tallies = BTreeMap::new();
    for system in System::ALL {
        for entity in EntityType::ALL {
            let counted = |direction| {
                let here = stages.iter().find(|stage| {
                    stage.direction == direction && stage.system == system && stage.entity_type == entity
                });
                here.map(|stage| stage.counts).unwrap_or_default()
            };
            let (pulled, pushed) = (counted(Direction::Pull), counted(Direction::Push));
            let records = records.get(&entity).map_or(&[][..], Vec::as_slice);
            tallies.insert((system, entity), tally(system, records, &pulled, &pushed));
        }
    }
    tallies
}

/// Where things stand counts; what a stage could not even make a record of is in its own counts alone.
fn tally(system: System, records: &[Record], pulled: &Counts, pushed: &Counts) -> Tally {
    let standing = |states: &[State]| {
        let items = records.iter().filter_map(|record| record.item(system));
        let count = items.filter(|item| states.contains(&item.state)).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    };
    let synced = standing(&[State::Synced]);
    let told = |count: fn(&Counts) -> u64| count(pulled) + count(pushed);
    Tally {
        created: pushed.created,
        updated: pushed.updated,
        unchanged: synced.saturating_sub(pushed.created + pushed.updated),
        failed: standing(&[State::Failed, State::Pending, State::InDoubt]).max(told(|counts| counts.failed)),
        conflicts: standing(&[State::Conflict]).max(told(|counts| counts.conflicts)),
        skipped: standing(&[State::Skipped]).max(told(|counts| counts.skipped)),
    }
}

/// Says where a ledger counts otherwise than the sync.
fn disagreeing(system: System, tallies: &BTreeMap<Place, Tally>, effects: &[Effect]) -> Vec<String> {
    let mut disagreements = Vec::new();
    for entity in EntityType::ALL {
        let tally = tallies.get(&(system, entity)).copied().unwrap_or_default();
        let felt = Felt::of(system, entity, effects);
        let counts = match (system, entity) {
            // A level is set on what is there already, so that its first write is an update as well; and a level of
            // nothing needs no write where nothing was ever counted.
            (_, EntityType::Inventory) => {
                let felt = felt.created.union(&felt.updated).count();
                let told = tally.created + tally.updated;
                let told = u64::try_from(felt).map_or(told, |felt| told.min(felt));
                vec![("wrote", told, felt)]
            }
            // The store keeps an order's payment in the order: only refunds are things of their own.
            (System::Woocommerce, EntityType::Payments) => continue,
            (_, EntityType::Orders) => vec![("created", tally.created, felt.created.len())],
            (_, EntityType::Customers | EntityType::Products | EntityType::Payments) => vec![
                ("created", tally.created, felt.created.len()),
                ("updated", tally.updated, felt.updated.len()),
            ],
        };
        for (what, told, felt) in counts {
            if u64::try_from(felt) != Ok(told) {
                let (name, entity) = (title(system), entity.name());
                disagreements.push(format!(
                    "{name} {entity}: the sync {what} {told}, the stand-in felt {felt}"
                ));
            }
        }
    }
    disagreements
}

/// Says whether a thing is there only because orders need it: a guest, an address, a product that stands for shipping.
fn is_accessory(effect: &Effect) -> bool {
    let names = [
        "lockstep.guest_",
        "lockstep.address_",
        "lockstep.svc_",
        compare::ACCESSORY,
    ];
    let key = effect.key.as_deref().unwrap_or_default();
    names.iter().any(|name| key.starts_with(name))
}

/// The things that effects touched: a product with all its variations is one thing, and so is a customer with the
/// delivery address.
#[derive(Debug, Default, PartialEq, Eq)]
struct Felt<'a> {
    created: BTreeSet<&'a str>,
    /// Touched, but not created.
    updated: BTreeSet<&'a str>,
}

impl<'a> Felt<'a> {
    fn of(system: System, entity: EntityType, effects: &'a [Effect]) -> Self {
        let (itself, parts): (&str, &[&str]) = match entity {
            EntityType::Customers => ("customer", &[]),
            EntityType::Products => ("product", &["variation", "attribute_line", "price_extra"]),
            EntityType::Orders if system == System::Odoo => ("sale_order", &["sale_order_line"]),
            EntityType::Orders => ("order", &[]),
            EntityType::Inventory if system == System::Odoo => ("stock_quant", &[]),
            EntityType::Inventory => ("stock", &[]),
            EntityType::Payments if system == System::Odoo => ("payment", &[]),
            EntityType::Payments => ("refund", &[]),
        };
        let mut felt = Self::default();
        for effect in effects.iter().filter(|effect| !is_accessory(effect)) {
            let is_part = parts.contains(&effect.entity)
                // A child address of a partner.
                || entity == EntityType::Customers && effect.id != effect.thing;
            if effect.entity == itself && effect.operation == Operation::Created && !is_part {
                felt.created.insert(&effect.thing);
            } else if effect.entity == itself || is_part && parts.contains(&effect.entity) {
                felt.updated.insert(&effect.thing);
            }
        }
        felt.updated.retain(|thing| !felt.created.contains(thing));
        felt
    }
}

fn twice(system: System, duplicate: &Duplicate) -> String {
    let (name, entity) = (title(system), duplicate.entity);
    format!(
        "{name} has `{}` as {entity} {}",
        duplicate.key,
        duplicate.ids.join(" and ")
    )
}

fn unsettled(records: &Records) -> Vec<String> {
    let items = records.values().flatten().flat_map(|record| {
        let open = record.items.iter().filter(|item| item.state != State::Synced);
        open.map(move |item| (record, item))
    });
    items
        .map(|(record, item)| {
            let state = match item.state {
                State::Pending => "pending",
                State::Synced => "in step",
                State::Failed => "failed",
                State::Skipped => "skipped",
                State::Conflict => "in conflict",
                State::InDoubt => "in doubt",
            };
            let why = item.last_error.as_deref().map(|error| format!(": {error}"));
            let (name, system) = (record.name(), title(item.system));
            format!("`{name}` is {state} in {system}{}", why.unwrap_or_default())
        })
        .collect()
}

/// Compares what the stand-ins hold. Where a system is a real one, the records have to do.
fn lost(records: &Records, stand_ins: &StandIns) -> Vec<String> {
    let of = |entity| records.get(&entity).map_or(&[][..], Vec::as_slice);
    let (Some(store), Some(erp)) = (&stand_ins.store, &stand_ins.erp) else {
        return unknown_to_one(records);
    };
    compare::stand_ins(store, erp, |entity| pairs(of(entity)))
}

fn pairs(records: &[Record]) -> Vec<(String, String)> {
    let pair = |record: &Record| {
        let id = |system| record.external_id(system).map(str::to_owned);
        Some((id(System::Woocommerce)?, id(System::Odoo)?))
    };
    records.iter().filter_map(pair).collect()
}

fn unknown_to_one(records: &Records) -> Vec<String> {
    let missing = records.values().flatten().flat_map(|record| {
        let systems = System::ALL
            .into_iter()
            .filter(|system| record.external_id(*system).is_none());
        systems.map(move |system| format!("`{}` has no identifier in {}", record.name(), title(system)))
    });
    missing.collect()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::client::{Item, Named};

    fn effect(entity: &'static str, operation: Operation, id: &str, thing: &str) -> Effect {
        Effect {
            at: SystemTime::UNIX_EPOCH,
            entity,
            operation,
            id: id.to_owned(),
            thing: thing.to_owned(),
            key: None,
            changed: true,
            request: 0,
        }
    }

    fn record(store: State, erp: State) -> Record {
        let item = |system, state| Item {
            system,
            state,
            external_id: None,
            last_error: None,
        };
        Record {
            content: Named {
                name: Some("Lamp".to_owned()),
            },
            items: vec![item(System::Woocommerce, store), item(System::Odoo, erp)],
        }
    }

    fn report() -> Report {
        let tally = Tally {
            created: 4,
            updated: 1,
            unchanged: 5,
            ..Tally::default()
        };
        Report {
            status: Status::Done,
            items: 10,
            tallies: BTreeMap::from([
                ((System::Woocommerce, EntityType::Products), tally),
                ((System::Odoo, EntityType::Products), tally),
            ]),
            disagreements: Vec::new(),
            unsettled: Vec::new(),
            duplicates: Vec::new(),
            lost: Vec::new(),
            unwatched: Vec::new(),
        }
    }

    #[test]
    fn the_last_line_sums_up_both_systems() {
        let report = report();

        assert_eq!(
            report.line(),
            "synced items=10 created=8 updated=2 unchanged=10 failed=0 duplicates=0 lost=0"
        );
        assert!(report.is_good());
    }

    #[test]
    fn whatever_is_wrong_makes_the_report_a_bad_one() {
        let broken: [fn(&mut Report); 5] = [
            |report| report.status = Status::Partial,
            |report| report.disagreements.push("x".to_owned()),
            |report| report.duplicates.push("x".to_owned()),
            |report| report.lost.push("x".to_owned()),
            |report| {
                let tally = Tally {
                    skipped: 1,
                    ..Tally::default()
                };
                report
                    .tallies
                    .insert((System::Odoo, EntityType::Customers), tally);
            },
        ];

        for breaks in broken {
            let mut report = report();
            breaks(&mut report);
            assert!(!report.is_good(), "{report}");
        }
    }

    #[test]
    fn failed_items_count_whatever_they_are_called() {
        let records = [
            record(State::Synced, State::Conflict),
            record(State::Synced, State::Skipped),
            record(State::Synced, State::Failed),
            record(State::Synced, State::Pending),
        ];

        let store = tally(
            System::Woocommerce,
            &records,
            &Counts::default(),
            &Counts::default(),
        );
        let erp = tally(System::Odoo, &records, &Counts::default(), &Counts::default());

        assert_eq!((store.unchanged, store.unsettled()), (4, 0));
        assert_eq!((erp.unchanged, erp.unsettled()), (0, 4));
    }

    #[test]
    fn what_became_no_record_is_counted_by_its_stage() {
        let pulled = Counts {
            conflicts: 2,
            ..Counts::default()
        };

        let tally = tally(System::Odoo, &[], &pulled, &Counts::default());

        assert_eq!(tally.unsettled(), 2);
    }

    #[test]
    fn a_product_with_its_variations_is_one_thing() {
        let effects = [
            effect("product", Operation::Created, "1", "1"),
            effect("variation", Operation::Created, "2", "1"),
            effect("product", Operation::Updated, "1", "1"),
            effect("variation", Operation::Updated, "8", "7"),
            effect("product", Operation::Updated, "7", "7"),
            effect("term", Operation::Created, "5", "5"),
            effect("customer", Operation::Created, "9", "9"),
        ];

        let felt = Felt::of(System::Odoo, EntityType::Products, &effects);

        assert_eq!(felt.created, BTreeSet::from(["1"]));
        assert_eq!(felt.updated, BTreeSet::from(["7"]));
    }

    #[test]
    fn a_delivery_address_is_a_part_of_its_customer() {
        let effects = [
            effect("customer", Operation::Created, "1", "1"),
            effect("customer", Operation::Created, "2", "1"),
            effect("customer", Operation::Created, "4", "3"),
        ];

        let felt = Felt::of(System::Odoo, EntityType::Customers, &effects);

        assert_eq!(felt.created, BTreeSet::from(["1"]));
        assert_eq!(felt.updated, BTreeSet::from(["3"]));
    }

    #[test]
    fn a_ledger_that_counts_otherwise_is_quoted() {
        let tallies = BTreeMap::from([(
            (System::Odoo, EntityType::Customers),
            Tally {
                created: 2,
                ..Tally::default()
            },
        )]);
        let effects = [effect("customer", Operation::Created, "1", "1")];

        let disagreements = disagreeing(System::Odoo, &tallies, &effects);

        assert_eq!(
            disagreements,
            ["Odoo customers: the sync created 2, the stand-in felt 1"]
        );
    }
}
