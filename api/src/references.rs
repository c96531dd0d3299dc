//! What one record says about another: how it is written, and that it has to be there.

use std::collections::BTreeMap;

use lockstep_shared::db::OrgTx;
use lockstep_shared::entity::{PartKey, Reference};
use lockstep_shared::id::{OrgId, RecordId};
use lockstep_shared::record;
use lockstep_shared::system::EntityType;
use poem_openapi::Object;
use serde::Deserialize;
use uuid::Uuid;

use crate::body::{present, uuid};
use crate::problem::{Refused, WrongField, failed};

/// Another record of the organisation.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RecordReference {
    /// Identifier of the record. It has to be there before it is referred to.
    #[serde(deserialize_with = "uuid")]
    pub(crate) record: Uuid,
}

/// A product of the organisation, or one of its variants.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ProductReference {
    /// Identifier of the product's record. It has to be there before it is referred to.
    #[serde(deserialize_with = "uuid")]
    pub(crate) record: Uuid,
    /// The variant by its attributes in lower case, in the order of their names: `color=blue`, or `color=blue|size=l`.
    /// Left out for the only variant of a simple product.
    #[serde(default, deserialize_with = "present")]
    pub(crate) variant: Option<String>,
}

impl From<RecordReference> for Reference {
    fn from(reference: RecordReference) -> Self {
        Self::record(RecordId(reference.record), PartKey::default())
    }
}

impl From<ProductReference> for Reference {
    fn from(reference: ProductReference) -> Self {
        let part = PartKey::named(reference.variant.unwrap_or_default());
        Self::record(RecordId(reference.record), part)
    }
}

impl From<Reference> for RecordReference {
    fn from(reference: Reference) -> Self {
        let (record, _) = stored(reference);
        Self { record }
    }
}

impl From<Reference> for ProductReference {
    fn from(reference: Reference) -> Self {
        let (record, part) = stored(reference);
        let variant = (!part.is_empty()).then(|| part.to_string());
        Self { record, variant }
    }
}

fn stored(reference: Reference) -> (Uuid, PartKey) {
    match reference {
        Reference::Record(target) => (target.record.0, target.part),
        Reference::Remote(_) => unreachable!("what a connector read is never stored before it is resolved"),
    }
}

/// A record that another one names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Where it is named: the path of the field, with positions as they came.
    field: String,
    entity: EntityType,
    record: RecordId,
}

impl Named {
    pub(crate) fn new(field: impl Into<String>, entity: EntityType, record: Uuid) -> Self {
        Self {
            field: field.into(),
            entity,
            record: RecordId(record),
        }
    }
}

/// What stands under identifiers that records name.
pub(crate) struct Standing(BTreeMap<RecordId, EntityType>);

impl Standing {
    /// Looks up what is named, in the transaction that is to store what names it.
    pub(crate) async fn of<'a>(
        tx: &mut OrgTx,
        org: OrgId,
        named: impl Iterator<Item = &'a Named>,
    ) -> Result<Self, Refused> {
        let mut ids: Vec<RecordId> = named.map(|named| named.record).collect();
        if ids.is_empty() {
            return Ok(Self(BTreeMap::new()));
        }
        ids.sort_unstable();
        ids.dedup();
        let standing = record::standing(tx, org, &ids)
            .await
            .map_err(failed("could not look up what records name"))?;
        let standing = standing.into_iter().map(|one| (one.record_id, one.entity_type));
        Ok(Self(standing.collect()))
    }

    /// Says which fields name nothing that they could. What is another organisation's is not there.
    pub(crate) fn wrong(&self, named: &[Named]) -> Vec<WrongField> {
        let stands = |named: &&Named| self.0.get(&named.record) == Some(&named.entity);
        named
            .iter()
            .filter(|named| !stands(named))
            .map(|named| {
                let entity = named.entity.name();
                let message = format!("must name a record of the organisation among its {entity}");
                WrongField::new(&named.field, message)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_or_of_another_type_is_named_by_its_field() {
        let [product, customer, nothing] = [1, 2, 3].map(Uuid::from_u128);
        let standing = Standing(
            [
                (RecordId(product), EntityType::Products),
                (RecordId(customer), EntityType::Customers),
            ]
            .into(),
        );
        let named = |field: &str, record| Named::new(field, EntityType::Products, record);

        let wrong = standing.wrong(&[
            named("lines/0/product", product),
            named("lines/1/product", customer),
            named("lines/2/product", nothing),
        ]);

        let fields: Vec<&str> = wrong.iter().map(|wrong| wrong.field.as_str()).collect();
        assert_eq!(fields, ["lines/1/product", "lines/2/product"], "R45");
    }
}
