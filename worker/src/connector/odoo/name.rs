//! The external ids that Lockstep gives to what it creates in Odoo: one module, a name per thing.
//!
//! They make a create safe to repeat: `load` with the same external id updates what the first one made
//! (facts/systems.md B4). They are also how a record of ours is known again.

use lockstep_shared::entity::PartKey;
use lockstep_shared::id::RecordId;
use lockstep_shared::system::EntityType;
use sha2::{Digest, Sha256};

/// The module of every external id of ours.
pub(super) const MODULE: &str = "lockstep";

/// What Odoo itself appends for the template when a variant is loaded by an external id (facts/mapping-odoo.md §1).
const TEMPLATE: &str = "_product_template";

/// Hexadecimal digits of a hash that stand in a name.
const HASH_DIGITS: usize = 12;

/// Returns the name, without its module, of the thing that stands for a record.
pub(super) fn of_record(entity: EntityType, record: RecordId) -> String {
    let id = record.0.simple();
    match entity {
        EntityType::Customers => format!("customer_{id}"),
        EntityType::Products => format!("product_{id}{TEMPLATE}"),
        EntityType::Orders => format!("order_{id}"),
        // A level is no thing of its own in Odoo; the name is never given.
        EntityType::Inventory => format!("inventory_{id}"),
        EntityType::Payments => format!("payment_{id}"),
    }
}

/// Reads the record out of a whole external id of ours.
pub(super) fn record_in(entity: EntityType, external_id: &str) -> Option<RecordId> {
    let name = external_id.strip_prefix(MODULE)?.strip_prefix('.')?;
    let id = match entity {
        EntityType::Customers => name.strip_prefix("customer_")?,
        EntityType::Products => name.strip_prefix("product_")?.strip_suffix(TEMPLATE)?,
        EntityType::Orders => name.strip_prefix("order_")?,
        EntityType::Inventory => name.strip_prefix("inventory_")?,
        EntityType::Payments => name.strip_prefix("payment_")?,
    };
    id.parse().ok()
}

pub(super) fn customer(record: RecordId) -> String {
    whole(&of_record(EntityType::Customers, record))
}

pub(super) fn delivery(record: RecordId) -> String {
    format!("{}_delivery", customer(record))
}

pub(super) fn template(record: RecordId) -> String {
    whole(&of_record(EntityType::Products, record))
}

pub(super) fn variant(record: RecordId, key: &PartKey) -> String {
    whole(&format!("product_{}_{}", record.0.simple(), hash(key.as_str())))
}

pub(super) fn attribute_line(record: RecordId, attribute: &str) -> String {
    whole(&format!("product_{}_line_{}", record.0.simple(), hash(attribute)))
}

/// Names an attribute by its exact spelling: two products that spell it differently must not rename it back and
/// forth.
pub(super) fn attribute(attribute: &str) -> String {
    whole(&format!("attribute_{}", hash(attribute)))
}

pub(super) fn attribute_value(attribute: &str, option: &str) -> String {
    whole(&format!(
        "attribute_value_{}",
        hash(&format!("{attribute}|{option}"))
    ))
}

pub(super) fn order(record: RecordId) -> String {
    whole(&of_record(EntityType::Orders, record))
}

/// Names a line by its order and its key, which has only characters that such a name may have.
pub(super) fn order_line(record: RecordId, key: &PartKey) -> String {
    format!("{}{key}", order_lines(record))
}

/// Begins the names of an order's lines.
fn order_lines(record: RecordId) -> String {
    format!("{}_line_", order(record))
}

/// Reads a line's key out of its external id.
pub(super) fn line_key(record: RecordId, external_id: &str) -> Option<PartKey> {
    let key = external_id.strip_prefix(&order_lines(record))?;
    serde_json::from_value(key.into()).ok()
}

/// Names the line that makes up for what an order's total is more or less than its lines.
pub(super) fn order_round(record: RecordId) -> String {
    format!("{}_round", order(record))
}

pub(super) fn payment(record: RecordId) -> String {
    whole(&of_record(EntityType::Payments, record))
}

pub(super) fn guest(digest: &str) -> String {
    whole(&format!("guest_{digest}"))
}

pub(super) fn address(digest: &str) -> String {
    whole(&format!("address_{digest}"))
}

/// Names one of the service products that stand for what is no product.
pub(super) fn service(name: &str) -> String {
    whole(&format!("svc_{name}"))
}

pub(super) fn pricelist(currency: &str) -> String {
    whole(&format!("pricelist_{currency}"))
}

fn whole(name: &str) -> String {
    format!("{MODULE}.{name}")
}

fn hash(text: &str) -> String {
    use std::fmt::Write;
    let digest = Sha256::digest(text.as_bytes());
    let mut hex = String::with_capacity(HASH_DIGITS);
    for byte in digest.iter().take(HASH_DIGITS / 2) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_out_of_its_external_id() {
        let record = RecordId::random();

        for entity in EntityType::ALL {
            let external_id = format!("{MODULE}.{}", of_record(entity, record));
            assert_eq!(record_in(entity, &external_id), Some(record));
        }
    }

    #[test]
    fn external_ids_of_others_and_of_parts_name_no_record() {
        let record = RecordId::random();
        let key = PartKey::default();

        assert_eq!(record_in(EntityType::Customers, "base.main_partner"), None);
        assert_eq!(record_in(EntityType::Customers, &delivery(record)), None);
        assert_eq!(record_in(EntityType::Products, &variant(record, &key)), None);
        assert_eq!(record_in(EntityType::Products, &customer(record)), None);
        assert_eq!(record_in(EntityType::Customers, ""), None);
    }
}
