//! What a thing only shows of another: an order of Odoo has no address of its own and points to the partner that has it.
//!
//! While it points where it did when both sides agreed, whatever it reads as by now is news of that partner and none of the
//! order: a customer who moves changes no order, and no order is written for it. Pure.

use std::collections::BTreeSet;

use lockstep_shared::decide::{Agreed, Ownership};
use lockstep_shared::entity::{Content, PartKey, fields_of};
use lockstep_shared::system::System;

use super::Parts;

/// Begins the key under which the id of what a field points to stands among a thing's parts. No key of an order's line
/// begins so, and a variant's that does names no field.
const MARK: char = '@';

/// Returns the key of what a field shows.
pub fn key(field: &str) -> PartKey {
    PartKey::named(format!("{MARK}{field}"))
}

fn field(key: &PartKey) -> Option<&str> {
    key.as_str().strip_prefix(MARK)
}

/// Returns the fields of a thing that show something of another.
pub fn fields(parts: &Parts) -> BTreeSet<String> {
    parts.keys().filter_map(field).map(str::to_owned).collect()
}

/// Returns the fields that point to the same thing as they did.
pub fn steady(before: &Parts, now: &Parts) -> BTreeSet<String> {
    let same = now.iter().filter(|(key, id)| before.get(*key) == Some(id));
    same.filter_map(|(key, _)| field(key))
        .map(str::to_owned)
        .collect()
}

/// Leaves out fields that are the system's own: what these show there is what counts.
pub fn not_owned(fields: BTreeSet<String>, ownership: &Ownership, system: System) -> BTreeSet<String> {
    let is_elsewhere = |field: &String| !ownership.owner(field).is(system);
    fields.into_iter().filter(is_elsewhere).collect()
}

/// Returns a thing with some of its fields as they read when they were agreed on.
pub fn as_agreed(seen: &Content, agreed: &Content, fields: &BTreeSet<String>) -> Content {
    if fields.is_empty() {
        return seen.clone();
    }
    let agreed = fields_of(agreed);
    let mut read = fields_of(seen);
    for field in fields {
        read.set(field, agreed.get(field).cloned());
    }
    // Where that makes no record, it is taken as it reads.
    read.into_content(seen.entity()).unwrap_or_else(|_| seen.clone())
}

/// Returns what is agreed on once a write has arrived: what it carried and what the remote holds of it, but for the fields
/// that it took over from the remote. These are the remote's change still: our record may not have them.
pub fn on_arrival(
    (carried, held): (&Content, Option<Content>),
    before: Option<&Agreed>,
    ours: &Content,
    taken: &BTreeSet<String>,
) -> Agreed {
    let before = |side: fn(&Agreed) -> &Content| before.map_or(ours, side);
    let theirs = held.unwrap_or_else(|| carried.clone());
    Agreed {
        theirs: as_agreed(&theirs, before(|base| &base.theirs), taken),
        ours: as_agreed(carried, before(|base| &base.ours), taken),
    }
}

/// Returns the fields of `among` in which two records are the same.
pub fn same(one: &Content, other: &Content, among: BTreeSet<String>) -> BTreeSet<String> {
    let differing = fields_of(one).differing(&fields_of(other));
    among
        .into_iter()
        .filter(|field| !differing.contains(field))
        .collect()
}

#[cfg(test)]
mod tests {
    use lockstep_shared::decide::Owner;
    use lockstep_shared::system::EntityType;
    use serde_json::json;

    use super::*;

    fn parts(billing: &str, line: &str) -> Parts {
        Parts::from([
            (key("billing"), billing.to_owned()),
            (PartKey::named("1"), line.to_owned()),
        ])
    }

    fn order(name: &str, note: &str) -> Content {
        Content::parse(
            EntityType::Orders,
            json!({
                "number": "1", "status": "processing", "currency": "USD", "placed_at": "2026-03-01T10:00:00Z",
                "billing": {"address": {"name": name}}, "note": note, "lines": [], "total_tax": "0", "total": "0",
            }),
        )
        .unwrap()
    }

    #[test]
    fn only_what_points_to_the_same_thing_is_steady() {
        let billing = BTreeSet::from(["billing".to_owned()]);

        assert_eq!(steady(&parts("7", "1"), &parts("7", "2")), billing);
        assert_eq!(steady(&parts("7", "1"), &parts("8", "1")), BTreeSet::new());
        assert_eq!(steady(&Parts::new(), &parts("7", "1")), BTreeSet::new());
        assert_eq!(fields(&parts("7", "1")), billing);
    }

    #[test]
    fn what_is_shown_reads_as_agreed_and_the_rest_as_it_is() {
        let billing = BTreeSet::from(["billing".to_owned()]);

        let read = as_agreed(
            &order("Ann Lee", "Ring once"),
            &order("Ann", "Ring twice"),
            &billing,
        );

        assert_eq!(read, order("Ann", "Ring once"));
    }

    #[test]
    fn what_the_system_owns_reads_as_it_is() {
        let fields = BTreeSet::from(["billing".to_owned()]);
        let of = |owner| not_owned(fields.clone(), &Ownership::of(owner), System::Odoo);

        assert_eq!(of(Owner::Odoo), BTreeSet::new());
        assert_eq!(of(Owner::Woocommerce), fields);
    }

    #[test]
    fn what_was_changed_since_is_not_the_same() {
        let fields = BTreeSet::from(["billing".to_owned()]);

        assert_eq!(
            same(&order("Ann", "a"), &order("Ann", "b"), fields.clone()),
            fields
        );
        assert_eq!(
            same(&order("Ann", "a"), &order("Lee", "a"), fields),
            BTreeSet::new()
        );
    }
}
