//! What a shop came to, and what that says beside a run in which nothing died.

use std::collections::BTreeMap;

use lockstep_local::compare;
use lockstep_sandbox::ledger::{Effect, Operation};
use lockstep_sandbox::odoo::Erp;
use lockstep_shared::system::{EntityType, System};
use serde_json::Value;

use super::{Verdict, shop};
use crate::stack::Stack;

/// What was done to what: by system, type of thing, and operation.
type Tally = BTreeMap<(System, &'static str, &'static str), Vec<String>>;

/// What stands in both systems after a sync, and what it took.
#[derive(Clone, Debug)]
pub struct State {
    /// Writes that came to something.
    done: Tally,
    /// What people in both systems noticed.
    noticed: BTreeMap<&'static str, usize>,
    effects: usize,
    /// What lies in the ERP and what is promised of it, by SKU.
    stock: BTreeMap<String, [Value; 2]>,
    /// What is told to have been deleted by people, and so kept out of step.
    gone: Vec<String>,
    wrong: Vec<String>,
    twice: Vec<String>,
}

impl State {
    /// Reads where a stack stands. Nothing may be at work.
    pub async fn read(stack: &Stack) -> Self {
        let pairs = pairs(stack).await;
        let (store, erp) = (&stack.sandbox.store, &stack.sandbox.erp);
        let of = |entity: EntityType| pairs.get(&entity).cloned().unwrap_or_default();
        let mut wrong = compare::stand_ins(store, erp, of);
        // A stage that failed was told of, and what it left is in step by now or told of itself. The level of what is not
        // counted any more is known only where a storm kept the word on that from the store while its levels were read.
        let is_told_of = |trouble: &String| {
            trouble.starts_with("stage ") || trouble.ends_with("its product's stock is not kept")
        };
        let troubles = stack.troubles().await;
        let (mut gone, troubles): (Vec<_>, Vec<_>) = troubles
            .into_iter()
            .partition(|trouble| trouble.contains("was deleted"));
        wrong.extend(troubles.into_iter().filter(|trouble| !is_told_of(trouble)));
        // What was thrown away in the ERP stays in the store, out of use, with nothing to be beside.
        let (put_away, is_it) = shop::put_away(store);
        wrong.retain(|sentence| !is_it(sentence));
        gone.push(put_away);
        wrong.extend(unresolved(stack).await);
        let ledgers = [
            (System::Woocommerce, store.ledger()),
            (System::Odoo, erp.ledger()),
        ];
        let mut done = Tally::new();
        let mut effects = 0;
        let mut twice = Vec::new();
        for (system, ledger) in ledgers {
            for effect in ledger.effects().iter().filter(|effect| effect.changed) {
                effects += 1;
                done.entry((system, effect.entity, operation(effect)))
                    .or_default()
                    .push(format!(
                        "{} `{}`",
                        effect.id,
                        effect.key.as_deref().unwrap_or_default()
                    ));
            }
            twice.extend(ledger.duplicates().into_iter().map(|one| {
                format!(
                    "{} has {} `{}` {} times",
                    system.name(),
                    one.entity,
                    one.key,
                    one.ids.len()
                )
            }));
        }
        let (shop, office) = (store.noise(), erp.noise());
        let noticed = BTreeMap::from([
            ("mails to customers", shop.customer_mails),
            ("mails to the shop", shop.admin_mails),
            ("mails of the ERP", office.mails),
            ("messages", office.messages),
            ("activities", office.activities),
            ("pickings", office.pickings),
            ("stock moves", office.moves),
        ]);
        Self {
            done,
            noticed,
            effects,
            stock: stock(erp),
            gone,
            wrong,
            twice,
        }
    }

    /// Returns it where nothing is wrong with it: what others are measured by.
    pub fn right(self) -> Self {
        assert!(self.wrong.is_empty(), "without any death: {:#?}", self.wrong);
        assert!(self.twice.is_empty(), "without any death: {:#?}", self.twice);
        self
    }

    /// Says what is missing or differs, whatever it took.
    pub fn amiss(&self, story: &str) -> Vec<String> {
        self.wrong
            .iter()
            .map(|sentence| format!("{story}: {sentence}"))
            .collect()
    }

    /// Says what this run, in which so many died, lost or did twice beside one in which nobody did.
    pub fn beside(&self, calm: &Self, deaths: usize, story: &str) -> Verdict {
        let told = |sentence: &String| format!("{story}: {sentence}");
        let mut lost = self.amiss(story);
        let mut doubled: Vec<String> = self.twice.iter().map(told).collect();
        let places: std::collections::BTreeSet<_> = self.done.keys().chain(calm.done.keys()).collect();
        for place in places
            .into_iter()
            .filter(|(.., operation)| *operation != "updated")
        {
            let (system, entity, operation) = *place;
            let [ours, theirs] =
                [self, calm].map(|state| state.done.get(place).map_or(&[][..], Vec::as_slice));
            let sentence = format!(
                "{} {entity} {operation} {} times instead of {}: {ours:?} instead of {theirs:?}",
                system.name(),
                ours.len(),
                theirs.len(),
            );
            match ours.len().cmp(&theirs.len()) {
                std::cmp::Ordering::Less => lost.push(told(&sentence)),
                std::cmp::Ordering::Greater => doubled.push(told(&sentence)),
                std::cmp::Ordering::Equal => {}
            }
        }
        for (sku, calmly) in &calm.stock {
            let ours = self.stock.get(sku);
            if ours != Some(calmly) {
                lost.push(told(&format!("stock of {sku} is {ours:?} instead of {calmly:?}")));
            }
        }
        if self.gone != calm.gone {
            lost.push(told(&format!("{:?} instead of {:?}", self.gone, calm.gone)));
        }
        for (what, times) in &self.noticed {
            let calmly = calm.noticed[what];
            if *times > calmly {
                doubled.push(told(&format!("{what}: {times} instead of {calmly}")));
            }
        }
        Verdict {
            rounds: 1,
            deaths,
            effects: self.effects,
            lost,
            doubled,
        }
    }
}

const fn operation(effect: &Effect) -> &'static str {
    match effect.operation {
        Operation::Created => "created",
        Operation::Updated => "updated",
        Operation::Deleted => "deleted",
    }
}

fn stock(erp: &Erp) -> BTreeMap<String, [Value; 2]> {
    let variants = erp.records("product.product").into_iter();
    variants
        .filter(|variant| variant["active"] == true)
        .filter_map(|variant| {
            let sku = variant["default_code"].as_str()?.to_owned();
            Some((
                sku,
                ["qty_available", "outgoing_qty"].map(|name| variant[name].clone()),
            ))
        })
        .collect()
}

/// The identifiers in the store and in the ERP of what is one record.
async fn pairs(stack: &Stack) -> BTreeMap<EntityType, Vec<(String, String)>> {
    let rows: Vec<(EntityType, String, String)> = sqlx::query_as(
        "select s.entity_type, s.external_id, e.external_id
           from item s
           join item e on e.org_id = s.org_id and e.record_id = s.record_id and e.connection_id = $2
          where s.connection_id = $1 and s.external_id is not null and e.external_id is not null",
    )
    .bind(stack.store.0)
    .bind(stack.erp.0)
    .fetch_all(&stack.database.superuser)
    .await
    .expect("the database answers");
    let mut pairs: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (entity, store, erp) in rows {
        pairs.entry(entity).or_default().push((store, erp));
    }
    pairs
}

/// What our own tables have not come to an end with.
async fn unresolved(stack: &Stack) -> Vec<String> {
    sqlx::query_scalar(
        "select 'effect ' || operation || ' is ' || state from sync_idempotency_log where state in ('intended', 'in_doubt')
         union all
         select 'batch of ' || direction || ' ' || entity_type || ' is ' || status from sync_batch where status <> 'done'
         union all
         select 'item of ' || entity_type || ' is in a batch' from item where batch_id is not null",
    )
    .fetch_all(&stack.database.superuser)
    .await
    .expect("the database answers")
}
