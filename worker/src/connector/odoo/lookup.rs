//! Looking things up: by database id, by our external id, by natural key.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_shared::entity::{Content, KeyKind, NaturalKey};
use lockstep_shared::id::RecordId;
use lockstep_shared::system::EntityType;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{Gate, Purpose, Sighting, Theirs, Wanted};
use super::Odoo;
use super::error::{Failure, Kind};
use super::name::{self, MODULE};
use super::partner::PartnerRow;
use super::product::{TemplateRow, template_fields};
use super::pull::{PARTNER, TEMPLATE, VARIANT};
use super::rpc::Call;
use super::wire::{Link, falsy, rows};
use super::{order, payment};

#[derive(Clone, Debug, Deserialize)]
struct NamedRow {
    name: String,
    res_id: i64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct IdRow {
    id: i64,
}

/// A variant's natural keys.
#[derive(Clone, Debug, Deserialize)]
struct KeyRow {
    product_tmpl_id: Link,
    #[serde(deserialize_with = "falsy")]
    default_code: Option<String>,
    #[serde(deserialize_with = "falsy")]
    barcode: Option<String>,
}

impl KeyRow {
    fn has(&self, key: &NaturalKey) -> bool {
        let value = match key.kind {
            KeyKind::Sku => self.default_code.as_deref(),
            KeyKind::Barcode => self.barcode.as_deref(),
            KeyKind::Email | KeyKind::Subject => None,
        };
        value.is_some_and(|value| value.trim().to_lowercase() == key.value)
    }
}

impl Odoo {
    pub(super) async fn sightings(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        wanted: &[Wanted],
    ) -> Result<Vec<Sighting>, Failure> {
        if entity == EntityType::Inventory {
            // A level is no thing of its own: it has neither an external id nor anything to be mixed up with.
            return self.find_levels(gate, wanted).await;
        }
        let created = self.created(gate, entity, wanted).await?;
        let answers = match entity {
            EntityType::Products => self.find_products(gate, wanted, &created).await?,
            EntityType::Customers => self.find_customers(gate, wanted, &created).await?,
            EntityType::Orders => self.find_orders(gate, wanted, &created).await?,
            EntityType::Payments => self.find_payments(gate, wanted, &created).await?,
            EntityType::Inventory => Answers::new(Vec::new(), Vec::new()),
        };
        let mut found = answers.found;
        self.mark(gate, entity, wanted, &answers.candidates, &mut found)
            .await?;
        Ok(answers
            .candidates
            .iter()
            .map(|ids| sighting(ids, &found))
            .collect())
    }

    /// Orders have no natural key: two of one number may be two orders.
    async fn find_orders(
        &self,
        gate: &dyn Gate,
        wanted: &[Wanted],
        created: &BTreeMap<RecordId, i64>,
    ) -> Result<Answers, Failure> {
        let candidates: Vec<BTreeSet<i64>> = wanted
            .iter()
            .map(|wanted| known(wanted, created).unwrap_or_default())
            .collect();
        let found = self.orders(gate, &worth_reading(&candidates)).await?;
        Ok(Answers::new(candidates, found))
    }

    /// Finds what we have made ourselves, by the external ids that we gave.
    async fn created(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        wanted: &[Wanted],
    ) -> Result<BTreeMap<RecordId, i64>, Failure> {
        let names: BTreeMap<String, RecordId> = wanted
            .iter()
            .filter(|wanted| !is_refresh(wanted))
            .map(|wanted| (name::of_record(entity, wanted.record), wanted.record))
            .collect();
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let all: Vec<&String> = names.keys().collect();
        let domain = json!([["module", "=", MODULE], ["name", "in", all]]);
        let call = Call::search_read("ir.model.data", domain, &["name", "res_id"]);
        match self.rpc.read(gate, &call).await {
            Ok(answer) => Ok(rows::<NamedRow>(answer)?
                .into_iter()
                .filter_map(|row| Some((*names.get(&row.name)?, row.res_id)))
                .collect()),
            // Reading that table needs a right that writing does not (facts/mapping-odoo.md §7).
            Err(Failure::Fault(fault)) if fault.kind() == Kind::Access => {
                self.created_one_by_one(gate, entity, wanted).await
            }
            Err(failure) => Err(failure),
        }
    }

    /// Asks for each thing whose create had no answer: any user may. A thing that was never created is known by its
    /// natural keys alone.
    async fn created_one_by_one(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        wanted: &[Wanted],
    ) -> Result<BTreeMap<RecordId, i64>, Failure> {
        let mut created = BTreeMap::new();
        for wanted in wanted {
            if !matches!(wanted.purpose, Purpose::InDoubt { .. }) {
                continue;
            }
            let call = Call::new("ir.model.data", "check_object_reference")
                .arg("module", json!(MODULE))
                .arg("xml_id", json!(name::of_record(entity, wanted.record)));
            match self.rpc.read(gate, &call).await {
                Ok(answer) => {
                    let id = answer.get(1).and_then(Value::as_i64);
                    created.extend(id.map(|id| (wanted.record, id)));
                }
                // What is not there is an exception.
                Err(Failure::Fault(fault)) if matches!(fault.kind(), Kind::Call | Kind::Record) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(created)
    }

    async fn find_products(
        &self,
        gate: &dyn Gate,
        wanted: &[Wanted],
        created: &BTreeMap<RecordId, i64>,
    ) -> Result<Answers, Failure> {
        let keys: Vec<NaturalKey> = wanted
            .iter()
            .filter(|wanted| !is_refresh(wanted) && !created.contains_key(&wanted.record))
            .flat_map(|wanted| wanted.content.natural_keys())
            .collect();
        let keyed = self.keyed(gate, wanted, &keys).await?;
        let candidates: Vec<BTreeSet<i64>> = wanted
            .iter()
            .map(|wanted| known(wanted, created).unwrap_or_else(|| by_keys(wanted, &keyed)))
            .collect();
        let ids = worth_reading(&candidates);
        if ids.is_empty() {
            return Ok(Answers::new(candidates, Vec::new()));
        }
        let found = self.products_by_ids(gate, &ids).await?;
        Ok(Answers::new(candidates, found))
    }

    pub(super) async fn products_by_ids(
        &self,
        gate: &dyn Gate,
        ids: &BTreeSet<i64>,
    ) -> Result<Vec<Theirs>, Failure> {
        let fields = template_fields(self.rpc.backend(gate).await?.major);
        let call = Call::search_read(TEMPLATE, json!([["id", "in", ids]]), fields);
        let templates: Vec<TemplateRow> = rows(self.rpc.read(gate, &call).await?)?;
        self.products(gate, templates).await
    }

    /// Reads the variants that have one of the keys. Keys go by lower case, and `in` does not: a code is asked for as it
    /// is written, in lower case and in capitals.
    async fn keyed(
        &self,
        gate: &dyn Gate,
        wanted: &[Wanted],
        keys: &[NaturalKey],
    ) -> Result<Vec<KeyRow>, Failure> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let skus = spellings(wanted, keys, KeyKind::Sku);
        let barcodes = spellings(wanted, keys, KeyKind::Barcode);
        let domain = json!(["|", ["default_code", "in", skus], ["barcode", "in", barcodes]]);
        let fields = ["product_tmpl_id", "default_code", "barcode"];
        rows(
            self.rpc
                .read(gate, &Call::search_read(VARIANT, domain, &fields))
                .await?,
        )
    }

    async fn find_customers(
        &self,
        gate: &dyn Gate,
        wanted: &[Wanted],
        created: &BTreeMap<RecordId, i64>,
    ) -> Result<Answers, Failure> {
        let ids: BTreeSet<i64> = wanted
            .iter()
            .filter_map(|wanted| known(wanted, created))
            .flatten()
            .collect();
        let emails: BTreeSet<&str> = wanted
            .iter()
            .filter(|wanted| known(wanted, created).is_none())
            .filter_map(email)
            .collect();
        let partners: Vec<PartnerRow> = match (ids.is_empty(), emails.is_empty()) {
            (true, true) => Vec::new(),
            (false, true) => self.find_partners(gate, json!([["id", "in", ids]])).await?,
            (_, false) => {
                let by_email = json!([
                    "|",
                    ["id", "in", ids],
                    "&",
                    ["type", "=", "contact"],
                    ["email_normalized", "in", emails]
                ]);
                self.find_partners(gate, by_email).await?
            }
        };
        let candidates: Vec<BTreeSet<i64>> = wanted
            .iter()
            .map(|wanted| known(wanted, created).unwrap_or_else(|| by_email(wanted, &partners)))
            .collect();
        let ids = worth_reading(&candidates);
        let partners = partners.into_iter().filter(|row| ids.contains(&row.id)).collect();
        let found = self.customers(gate, partners).await?;
        Ok(Answers::new(candidates, found))
    }

    async fn find_partners(&self, gate: &dyn Gate, domain: Value) -> Result<Vec<PartnerRow>, Failure> {
        let call = Call::search_read(PARTNER, domain, &super::partner::FIELDS).option("order", json!("id"));
        rows(self.rpc.read(gate, &call).await?)
    }

    /// Names the record that each thing carries our external id for; a refresh knows it already.
    async fn mark(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        wanted: &[Wanted],
        candidates: &[BTreeSet<i64>],
        found: &mut BTreeMap<i64, Theirs>,
    ) -> Result<(), Failure> {
        let unknown: BTreeSet<i64> = wanted
            .iter()
            .zip(candidates)
            .filter(|(wanted, ids)| !is_refresh(wanted) && ids.len() == 1)
            .flat_map(|(_, ids)| ids.iter().copied())
            .filter(|id| found.contains_key(id))
            .collect();
        let external_ids = self.external_ids(gate, entity, &unknown).await?;
        for (id, theirs) in found {
            let external_id = external_ids.get(id);
            theirs.marker = external_id.and_then(|text| name::record_in(entity, text));
        }
        Ok(())
    }

    /// Reads external ids the way that is open to any user (facts/mapping-odoo.md §0).
    pub(super) async fn external_ids(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        ids: &BTreeSet<i64>,
    ) -> Result<BTreeMap<i64, String>, Failure> {
        self.external_ids_of(gate, model(entity), ids).await
    }

    /// Names the records whose external ids things carry. Those of orders come with the orders, and a level has none.
    pub(super) async fn records_of(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        ids: &[String],
    ) -> Result<BTreeMap<String, RecordId>, Failure> {
        if matches!(entity, EntityType::Orders | EntityType::Inventory) {
            return Ok(BTreeMap::new());
        }
        let asked: BTreeSet<i64> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        let named = self.external_ids(gate, entity, &asked).await?.into_iter();
        Ok(named
            .filter_map(|(id, text)| Some((id.to_string(), name::record_in(entity, &text)?)))
            .collect())
    }

    /// Says which ids there are, archived ones too; asking for one that is not there is no error (facts/systems.md B2).
    pub(super) async fn existing_ids(
        &self,
        gate: &dyn Gate,
        entity: EntityType,
        external_ids: &[String],
    ) -> Result<BTreeSet<String>, Failure> {
        let asked: BTreeSet<i64> = external_ids.iter().filter_map(|id| id.parse().ok()).collect();
        if asked.is_empty() {
            return Ok(BTreeSet::new());
        }
        let call = Call::search_read(model(entity), json!([["id", "in", asked]]), &["id"]);
        let found: Vec<IdRow> = rows(self.rpc.read(gate, &call).await?)?;
        Ok(found.into_iter().map(|row| row.id.to_string()).collect())
    }

    pub(super) async fn external_ids_of(
        &self,
        gate: &dyn Gate,
        model: &'static str,
        ids: &BTreeSet<i64>,
    ) -> Result<BTreeMap<i64, String>, Failure> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let call = Call::new(model, "get_external_id").ids(ids.iter().copied().collect());
        let answer: BTreeMap<String, String> = serde_json::from_value(self.rpc.read(gate, &call).await?)
            .map_err(|error| Failure::unreadable(&error))?;
        let named = answer.into_iter();
        Ok(named
            .filter_map(|(id, name)| Some((id.parse().ok()?, name)))
            .collect())
    }
}

/// The table of a type's things. Those of an inventory level are the variants that it is of.
const fn model(entity: EntityType) -> &'static str {
    match entity {
        EntityType::Customers => PARTNER,
        EntityType::Products => TEMPLATE,
        EntityType::Orders => order::MODEL,
        EntityType::Inventory => VARIANT,
        EntityType::Payments => payment::MODEL,
    }
}

/// The things that may be meant by each wanted one, and what was read of them.
pub(super) struct Answers {
    candidates: Vec<BTreeSet<i64>>,
    found: BTreeMap<i64, Theirs>,
}

impl Answers {
    pub(super) fn new(candidates: Vec<BTreeSet<i64>>, found: Vec<Theirs>) -> Self {
        let by_id = found
            .into_iter()
            .filter_map(|theirs| Some((theirs.external_id.parse().ok()?, theirs)));
        Self {
            candidates,
            found: by_id.collect(),
        }
    }
}

fn is_refresh(wanted: &Wanted) -> bool {
    matches!(wanted.purpose, Purpose::Refresh { .. })
}

/// The one thing that is meant, where its id is known: an id that is none names nothing.
pub(super) fn known(wanted: &Wanted, created: &BTreeMap<RecordId, i64>) -> Option<BTreeSet<i64>> {
    match &wanted.purpose {
        Purpose::Refresh { external_id } => Some(external_id.parse().into_iter().collect()),
        Purpose::BeforeCreate | Purpose::InDoubt { .. } => {
            created.get(&wanted.record).map(|id| BTreeSet::from([*id]))
        }
    }
}

/// The templates that answer to the strongest kind of key that any answers to.
fn by_keys(wanted: &Wanted, rows: &[KeyRow]) -> BTreeSet<i64> {
    let keys = wanted.content.natural_keys();
    let by = |kind: KeyKind| -> BTreeSet<i64> {
        rows.iter()
            .filter(|row| keys.iter().any(|key| key.kind == kind && row.has(key)))
            .map(|row| row.product_tmpl_id.0)
            .collect()
    };
    let by_sku = by(KeyKind::Sku);
    if by_sku.is_empty() {
        by(KeyKind::Barcode)
    } else {
        by_sku
    }
}

fn by_email(wanted: &Wanted, partners: &[PartnerRow]) -> BTreeSet<i64> {
    let Some(email) = email(wanted) else {
        return BTreeSet::new();
    };
    partners
        .iter()
        .filter(|row| row.is_contact() && row.has_email(email))
        .map(|row| row.id)
        .collect()
}

fn email(wanted: &Wanted) -> Option<&str> {
    match &wanted.content {
        Content::Customer(customer) => customer.email.as_deref(),
        _ => None,
    }
}

fn spellings(wanted: &[Wanted], keys: &[NaturalKey], kind: KeyKind) -> BTreeSet<String> {
    let written = wanted.iter().flat_map(|wanted| match &wanted.content {
        Content::Product(product) => product.variants.as_slice(),
        Content::Customer(_) | Content::Order(_) | Content::Inventory(_) | Content::Payment(_) => &[],
    });
    let written = written.filter_map(|variant| match kind {
        KeyKind::Sku => variant.sku.clone(),
        KeyKind::Barcode => variant.barcode.clone(),
        KeyKind::Email | KeyKind::Subject => None,
    });
    let lower: BTreeSet<&str> = keys
        .iter()
        .filter(|key| key.kind == kind)
        .map(|key| key.value.as_str())
        .collect();
    written
        .filter(|text| lower.contains(text.to_lowercase().as_str()))
        .flat_map(|text| [text.to_lowercase(), text.to_uppercase(), text])
        .collect()
}

/// What is known by one id is read whole; of several only the ids are told.
pub(super) fn worth_reading(candidates: &[BTreeSet<i64>]) -> BTreeSet<i64> {
    let single = candidates.iter().filter(|ids| ids.len() == 1);
    single.flatten().copied().collect()
}

fn sighting(ids: &BTreeSet<i64>, found: &BTreeMap<i64, Theirs>) -> Sighting {
    match ids.first() {
        Some(_) if ids.len() > 1 => Sighting::Many(ids.iter().map(ToString::to_string).collect()),
        Some(id) => found.get(id).cloned().map_or(Sighting::Missing, Sighting::One),
        None => Sighting::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(sku: &str, barcode: &str) -> Wanted {
        Wanted {
            record: RecordId::random(),
            purpose: Purpose::BeforeCreate,
            content: Content::parse(
                EntityType::Products,
                json!({"name": "A", "variants": [{"sku": sku, "barcode": barcode}]}),
            )
            .unwrap(),
            links: std::sync::Arc::default(),
        }
    }

    fn row(template: i64, sku: &str, barcode: &str) -> KeyRow {
        serde_json::from_value(json!({
            "product_tmpl_id": [template, "A"], "default_code": sku, "barcode": barcode
        }))
        .unwrap()
    }

    #[test]
    fn a_sku_is_found_in_any_case_and_before_a_barcode() {
        let rows = [row(1, "woo-beanie", "400"), row(2, "other", "401")];

        assert_eq!(by_keys(&wanted("Woo-Beanie", "401"), &rows), BTreeSet::from([1]));
        assert_eq!(by_keys(&wanted("none", "401"), &rows), BTreeSet::from([2]));
        assert_eq!(by_keys(&wanted("none", "none"), &rows), BTreeSet::new());
    }

    #[test]
    fn codes_are_asked_for_in_each_case() {
        let wanted = [wanted("Woo-1", "")];
        let keys = wanted[0].content.natural_keys();

        let skus = spellings(&wanted, &keys, KeyKind::Sku);

        assert_eq!(skus, ["Woo-1", "woo-1", "WOO-1"].map(str::to_owned).into());
    }

    #[test]
    fn several_things_are_named_and_none_is_missing() {
        let found = BTreeMap::new();

        assert!(
            matches!(sighting(&BTreeSet::from([1, 2]), &found), Sighting::Many(ids) if ids == ["1", "2"])
        );
        assert!(matches!(sighting(&BTreeSet::new(), &found), Sighting::Missing));
        assert!(matches!(
            sighting(&BTreeSet::from([1]), &found),
            Sighting::Missing
        ));
    }
}
