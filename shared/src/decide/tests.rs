use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::entity::{Customer, any_content_for_tests};

/// Decides where the remote holds just what was agreed on.
fn decide(
    base: Option<&Content>,
    ours: Option<&Content>,
    theirs: Option<&Content>,
    side: Side<'_>,
) -> Decision {
    super::decide(base.map(Base::same), ours, theirs, side)
}

const SYSTEMS: [System; 2] = System::ALL;
const OWNERS: [Owner; 6] = [
    Owner::Woocommerce,
    Owner::Odoo,
    Owner::Application,
    Owner::Shared,
    Owner::Newest,
    Owner::Manual,
];

fn any_side() -> impl Strategy<Value = (System, Ownership)> {
    (
        prop::sample::select(SYSTEMS.to_vec()),
        prop::sample::select(OWNERS.to_vec()),
    )
        .prop_map(|(system, owner)| (system, Ownership::of(owner)))
}

/// When each side changed last: often in one second, and sometimes unknown.
fn any_times() -> impl Strategy<Value = (Option<DateTime<Utc>>, Option<DateTime<Utc>>)> {
    let time = || {
        let millis = prop::option::weighted(0.9, 0_i64..4_000);
        millis.prop_map(|millis| Some(DateTime::UNIX_EPOCH + chrono::Duration::milliseconds(millis?)))
    };
    (time(), time())
}

/// Two or three records of one entity type.
fn alike(count: usize) -> impl Strategy<Value = Vec<Content>> {
    prop::collection::vec(any_content_for_tests(), count).prop_filter("one entity type", |all| {
        all.windows(2).all(|pair| pair[0].entity() == pair[1].entity())
    })
}

proptest! {
    #[test]
    fn what_is_equal_is_left_alone(content in any_content_for_tests(), base in prop::option::of(any_content_for_tests()), (system, ownership) in any_side()) {
        let side = Side { system, ownership: &ownership, times: Times::default() };

        prop_assert_eq!(decide(base.as_ref(), Some(&content), Some(&content), side), Decision::Unchanged);
    }

    #[test]
    fn a_decision_that_was_carried_out_leaves_nothing_to_decide(all in alike(3), (system, ownership) in any_side()) {
        let side = Side { system, ownership: &ownership, times: Times::default() };

        if let Decision::Update(merge) = decide(Some(&all[0]), Some(&all[1]), Some(&all[2]), side) {
            let after = Some(&merge.content);
            prop_assert_eq!(decide(after, after, after, side), Decision::Unchanged);
            prop_assert_eq!(&merge.taken_into(&all[1]).unwrap(), &merge.content);
            prop_assert!(!merge.to_write.is_empty() || !merge.to_take.is_empty());
        }
    }

    #[test]
    fn what_a_remote_makes_of_a_record_is_no_change_of_it(all in alike(2), (system, ownership) in any_side()) {
        let (ours, theirs) = (&all[0], &all[1]);
        let side = Side { system, ownership: &ownership, times: Times::default() };

        prop_assert_eq!(super::decide(Some(Base { ours, theirs }), Some(ours), Some(theirs), side), Decision::Unchanged);
    }

    #[test]
    fn what_we_change_is_written_beside_what_a_remote_made_of_the_rest(all in alike(3), (system, ownership) in any_side()) {
        let (base, ours, theirs) = (&all[0], &all[1], &all[2]);
        let side = Side { system, ownership: &ownership, times: Times::default() };
        let (base_fields, our_fields, their_fields) = (fields_of(base), fields_of(ours), fields_of(theirs));

        if let Decision::Update(merge) = super::decide(Some(Base { ours: base, theirs }), Some(ours), Some(theirs), side) {
            prop_assert!(merge.to_take.is_empty());
            for path in &merge.to_write {
                prop_assert!(base_fields.get(path) != our_fields.get(path));
            }
            let new_base = merge.base(ours, theirs);
            for path in &merge.agreed {
                prop_assert!(our_fields.get(path) != their_fields.get(path));
                // Fields that make no record together leave the sides as they stand.
                prop_assert!(&new_base == theirs || fields_of(&new_base).get(path) == our_fields.get(path));
            }
        }
    }

    #[test]
    fn what_only_we_changed_is_written(all in alike(2), (system, ownership) in any_side()) {
        let (base, ours) = (&all[0], &all[1]);
        let side = Side { system, ownership: &ownership, times: Times::default() };

        match decide(Some(base), Some(ours), Some(base), side) {
            Decision::Unchanged => prop_assert_eq!(base, ours),
            Decision::Update(merge) => {
                prop_assert_eq!(&merge.content, ours);
                prop_assert!(merge.to_take.is_empty());
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn what_only_they_changed_is_taken_from_an_owner_and_put_back_otherwise(all in alike(2), (system, ownership) in any_side()) {
        let (base, theirs) = (&all[0], &all[1]);
        let side = Side { system, ownership: &ownership, times: Times::default() };
        let is_theirs = matches!(
            (ownership.all, system),
            (Owner::Woocommerce, System::Woocommerce) | (Owner::Odoo, System::Odoo) | (Owner::Shared | Owner::Newest | Owner::Manual, _)
        );

        match decide(Some(base), Some(base), Some(theirs), side) {
            Decision::Unchanged => prop_assert_eq!(base, theirs),
            Decision::Update(merge) if is_theirs => prop_assert_eq!(&merge.content, theirs),
            Decision::Update(merge) => {
                prop_assert_eq!(&merge.content, base);
                prop_assert!(merge.to_take.is_empty());
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn the_newest_takes_no_side(all in alike(3), (system, _) in any_side(), (ours_at, theirs_at) in any_times()) {
        let ownership = Ownership::of(Owner::Newest);
        let decided = |ours: &Content, theirs: &Content, times| {
            let side = Side { system, ownership: &ownership, times };
            match decide(Some(&all[0]), Some(ours), Some(theirs), side) {
                Decision::Unchanged => Ok(None),
                Decision::Update(merge) => Ok(Some(merge.content)),
                // How the fields are called may differ: parts are named after the side that is ours.
                Decision::Conflict(_) => Err("conflict"),
                other => panic!("{other:?}"),
            }
        };

        let one_way = decided(&all[1], &all[2], Times { ours: ours_at, theirs: theirs_at });
        let other_way = decided(&all[2], &all[1], Times { ours: theirs_at, theirs: ours_at });

        prop_assert_eq!(one_way, other_way);
    }

    #[test]
    fn of_a_field_that_both_changed_the_later_change_wins((system, _) in any_side(), (ours_at, theirs_at) in any_times()) {
        let ownership = Ownership::of(Owner::Newest);
        let times = Times { ours: ours_at, theirs: theirs_at };
        let side = Side { system, ownership: &ownership, times };
        let (base, ours, theirs) = (customer("Ann", None), customer("Ann Lee", None), customer("Ann Kim", None));

        let decision = decide(Some(&base), Some(&ours), Some(&theirs), side);

        let later = ours_at.zip(theirs_at).map(|(ours, theirs)| ours.timestamp() - theirs.timestamp());
        match (later, decision) {
            (Some(1..), Decision::Update(merge)) => {
                prop_assert_eq!(&merge.content, &ours);
                prop_assert!(merge.to_take.is_empty());
            }
            (Some(..0), Decision::Update(merge)) => {
                prop_assert_eq!(&merge.content, &theirs);
                prop_assert!(merge.to_write.is_empty());
            }
            (None | Some(0), Decision::Conflict(disagreement)) => {
                prop_assert_eq!(disagreement.fields.iter().collect::<Vec<_>>(), ["name"]);
            }
            (later, decision) => prop_assert!(false, "{:?}: {:?}", later, decision),
        }
    }

    #[test]
    fn only_fields_without_an_owner_disagree(all in alike(3), (system, ownership) in any_side()) {
        let side = Side { system, ownership: &ownership, times: Times::default() };

        if let Decision::Conflict(disagreement) = decide(Some(&all[0]), Some(&all[1]), Some(&all[2]), side) {
            prop_assert!(!disagreement.fields.is_empty());
            let is_owned = !matches!(ownership.all, Owner::Shared | Owner::Newest | Owner::Manual);
            prop_assert!(!is_owned || disagreement.proposed.is_none(), "an owner decides, unless the merge is invalid");
        }
    }
}

fn customer(name: &str, phone: Option<&str>) -> Content {
    let customer = Customer {
        name: name.to_owned(),
        email: Some("ann@example.com".to_owned()),
        phone: phone.map(str::to_owned),
        company: None,
        tax_number: None,
        language: None,
        billing: None,
        shipping: None,
        is_active: true,
    };
    Content::Customer(customer).canonical().unwrap()
}

#[test]
fn each_side_keeps_the_field_that_only_it_changed() {
    let ownership = Ownership::of(Owner::Shared);
    let side = Side {
        system: System::Odoo,
        ownership: &ownership,
        times: Times::default(),
    };
    let (base, ours, theirs) = (
        customer("Ann", None),
        customer("Ann Lee", None),
        customer("Ann", Some("555")),
    );

    let Decision::Update(merge) = decide(Some(&base), Some(&ours), Some(&theirs), side) else {
        panic!()
    };

    assert_eq!(merge.content, customer("Ann Lee", Some("555")));
    assert_eq!(merge.to_write.iter().collect::<Vec<_>>(), ["name"]);
    assert_eq!(merge.to_take.iter().collect::<Vec<_>>(), ["phone"]);
}

#[test]
fn a_field_that_both_changed_goes_to_a_person_only_where_nobody_owns_it() {
    let (base, ours, theirs) = (
        customer("Ann", None),
        customer("Ann Lee", None),
        customer("Ann Kim", None),
    );
    let decided = |owner| {
        let ownership = Ownership {
            all: Owner::Odoo,
            fields: BTreeMap::from([("name".to_owned(), owner)]),
        };
        let side = Side {
            system: System::Odoo,
            ownership: &ownership,
            times: Times::default(),
        };
        match decide(Some(&base), Some(&ours), Some(&theirs), side) {
            Decision::Update(merge) => merge.content.to_json()["name"].as_str().map(str::to_owned),
            Decision::Conflict(disagreement) => {
                assert_eq!(disagreement.fields.iter().collect::<Vec<_>>(), ["name"]);
                assert_eq!(disagreement.proposed, Some(ours.clone()));
                None
            }
            other => panic!("{other:?}"),
        }
    };

    assert_eq!(decided(Owner::Odoo).as_deref(), Some("Ann Kim"));
    assert_eq!(decided(Owner::Woocommerce).as_deref(), Some("Ann Lee"));
    assert_eq!(decided(Owner::Manual), None);
    assert_eq!(decided(Owner::Shared), None);
}

/// Before the sides agreed on anything, too, what is later counts; where nobody can tell, ours stays.
#[test]
fn at_first_sight_the_later_thing_wins() {
    let ownership = Ownership::of(Owner::Newest);
    let at = |secs| Some(DateTime::UNIX_EPOCH + chrono::Duration::seconds(secs));
    let (ours, theirs) = (customer("Ann", Some("555")), customer("Ann Kim", None));
    let merged = |ours_at, theirs_at| {
        let times = Times {
            ours: ours_at,
            theirs: theirs_at,
        };
        let side = Side {
            system: System::Odoo,
            ownership: &ownership,
            times,
        };
        match decide(None, Some(&ours), Some(&theirs), side) {
            Decision::Update(merge) => merge.content,
            other => panic!("{other:?}"),
        }
    };

    assert_eq!(merged(at(2), at(1)), ours);
    assert_eq!(
        merged(at(1), at(2)),
        customer("Ann Kim", Some("555")),
        "what only one side has stays"
    );
    assert_eq!(merged(at(1), at(1)), ours);
    assert_eq!(merged(at(1), None), ours);
    assert_eq!(merged(None, at(1)), ours);
}

#[test]
fn what_is_missing_on_one_side_is_made_adopted_or_deleted() {
    let ownership = Ownership::of(Owner::Woocommerce);
    let side = Side {
        system: System::Odoo,
        ownership: &ownership,
        times: Times::default(),
    };
    let ann = customer("Ann", None);

    assert_eq!(
        decide(None, Some(&ann), None, side),
        Decision::Create(ann.clone())
    );
    assert_eq!(
        decide(Some(&ann), Some(&ann), None, side),
        Decision::Create(ann.clone()),
        "deleted there, made again"
    );
    assert_eq!(decide(None, None, Some(&ann), side), Decision::Adopt(ann.clone()));
    assert_eq!(decide(Some(&ann), None, Some(&ann), side), Decision::Delete);
    assert_eq!(decide(None, None, None, side), Decision::Unchanged);
}
