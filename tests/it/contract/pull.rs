//! Pulls: whatever happens while they run, nothing is missed for good.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lockstep_shared::entity::Content;
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::{Cursor, Theirs};

use super::content::{composed, renamed};
use super::harness::{Harness, Pulled, create, update};
use super::subject::Subject;

const HOUR: Duration = Duration::from_hours(1);

fn ids(pulled: &Pulled) -> BTreeSet<String> {
    pulled
        .seen
        .iter()
        .map(|theirs| theirs.external_id.clone())
        .collect()
}

fn add_many<S: Subject>(subject: &S, entity: EntityType, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| subject.add(entity, number)).collect()
}

/// R13: no lost item. All are of one second or two, so time does not tell them apart.
async fn everything_is_seen_however_the_pages_fall<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let things = add_many(&harness.subject, entity, 0..57);
    for limit in [1, 10, 19, 57, 58, 500] {
        let pulled = harness.pull_while(entity, Cursor::default(), limit, |_| {}).await;

        let seen = ids(&pulled);
        let missed: Vec<_> = things.iter().filter(|id| !seen.contains(*id)).collect();
        assert!(missed.is_empty(), "page of {limit}: {missed:?}");
    }
}

async fn a_system_of_which_nobody_made_use_is_pulled_too<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    // An Odoo is born with some partners.
    let born = harness.subject.count(entity);

    let first = harness.pull(entity, &Cursor::default()).await;
    let second = harness.pull(entity, &first.next).await;
    let id = harness.subject.add(entity, 1);
    let third = harness.pull(entity, &second.next).await;

    assert_eq!(ids(&first).len(), born);
    third.find(&id);
}

/// R17, R36: what did not change is not read again, where the system can tell.
async fn the_next_pull_sees_what_changed_and_little_else<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let old = add_many(&harness.subject, entity, 0..30);
    harness.subject.age(HOUR);
    let recent = add_many(&harness.subject, entity, 30..32);
    let first = harness.pull(entity, &Cursor::default()).await;
    harness.subject.rename(entity, &old[7], "Renamed");
    let new = harness.subject.add(entity, 99);

    let second = harness.pull(entity, &first.next).await;

    let seen = ids(&second);
    assert!(seen.contains(&old[7]) && seen.contains(&new), "{seen:?}");
    let name = name_of(second.find(&old[7]));
    assert_eq!(name, "Renamed");
    if S::tells_changes(entity) {
        let fresh: BTreeSet<String> = recent.iter().chain([&old[7], &new]).cloned().collect();
        assert!(seen.is_subset(&fresh), "{seen:?} is more than {fresh:?}");
    }
}

async fn a_pull_without_news_ends_and_the_one_after_it_sees_the_next_change<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let things = add_many(&harness.subject, entity, 0..12);
    harness.subject.age(HOUR);
    let mut cursor = harness.pull(entity, &Cursor::default()).await.next;
    for (round, id) in things.iter().enumerate().take(3) {
        cursor = harness.pull(entity, &cursor).await.next;
        let name = format!("Round {round}");
        harness.subject.rename(entity, id, &name);

        let pulled = harness.pull(entity, &cursor).await;

        assert_eq!(name_of(pulled.find(id)), name);
        cursor = pulled.next;
    }
}

fn name_of(theirs: &Theirs) -> String {
    match theirs.content.as_ref().expect("it can be read") {
        Content::Customer(customer) => customer.name.clone(),
        Content::Product(product) => product.name.clone(),
        _ => unreachable!("their rules are elsewhere"),
    }
}

/// R13: whatever people do between two pages, this pull or the next one sees it.
async fn what_happens_between_two_pages_is_seen_by_this_pull_or_the_next<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let mut things = add_many(&harness.subject, entity, 0..20);
    harness.subject.age(HOUR);
    things.extend(add_many(&harness.subject, entity, 20..57));
    let mut names: BTreeMap<String, String> = things
        .iter()
        .zip(0..)
        .map(|(id, number)| (id.clone(), format!("Their {number}")))
        .collect();
    let subject = &harness.subject;
    let mut made = 100;
    let first = harness
        .pull_while(entity, Cursor::default(), 10, |page| {
            // Things of pages that were read, that are being read, and that are to come: one is renamed, one goes.
            for (at, is_removed) in [
                (page, false),
                (56 - page, false),
                (10 + 2 * page, true),
                (page + 30, true),
            ] {
                let id = &things[at % things.len()];
                if !names.contains_key(id) {
                    continue;
                }
                if is_removed {
                    subject.remove(entity, id);
                    names.remove(id);
                } else {
                    let name = format!("Renamed {page}");
                    subject.rename(entity, id, &name);
                    names.insert(id.clone(), name);
                }
            }
            made += 1;
            let id = subject.add(entity, made);
            names.insert(id, format!("Their {made}"));
        })
        .await;

    let second = harness.pull(entity, &first.next).await;

    // What a reader of both holds: the last word about each.
    let held: BTreeMap<&String, String> = first
        .seen
        .iter()
        .chain(&second.seen)
        .map(|theirs| (&theirs.external_id, name_of(theirs)))
        .collect();
    for (id, name) in &names {
        assert_eq!(held.get(id), Some(name), "R13: {id}");
    }
}

/// R13: a worker that dies between two pages leaves the cursor, and nothing else.
async fn a_cursor_is_all_that_a_pull_needs_to_go_on<S: Subject>(entity: EntityType) {
    let mut harness = Harness::<S>::start().await;
    let things = add_many(&harness.subject, entity, 0..35);
    let (mut cursor, mut seen) = (Cursor::default(), BTreeSet::new());
    loop {
        harness.reconnect();
        let stored = serde_json::to_string(&cursor).expect("a cursor is JSON");
        let read: Cursor = serde_json::from_str(&stored).expect("a cursor is JSON");
        assert_eq!(read, cursor);
        // The page whose end was not noted is read again.
        harness.page(entity, &read, 10).await;

        let page = harness.page(entity, &read, 10).await;

        seen.extend(page.seen.into_iter().map(|theirs| theirs.external_id));
        cursor = page.next;
        if page.is_last {
            break;
        }
    }
    assert!(things.iter().all(|id| seen.contains(id)));
}

/// A part may have a time of change of its own.
async fn a_change_of_a_part_is_a_change_of_the_thing<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let write = create(&composed(entity, 1));
    let placed = harness.write(&write).await;
    add_many(&harness.subject, entity, 0..25);
    harness.subject.age(HOUR);
    add_many(&harness.subject, entity, 25..26);
    let cursor = harness.pull(entity, &Cursor::default()).await.next;
    let to = super::content::changed(&write.content, |json| match entity {
        EntityType::Customers => json["shipping"]["city"] = "Elsewhere".into(),
        EntityType::Products => json["variants"][1]["price"]["amount"] = "13".into(),
        _ => unreachable!("their rules are elsewhere"),
    });
    harness
        .write(&update(write.record, &placed, &write.content, &to))
        .await;

    let pulled = harness.pull(entity, &cursor).await;

    let content = &pulled.find(&placed.external_id).content;
    assert_eq!(content.as_ref(), Ok(&harness.connector.project(&to)));
}

/// R17: our own writes are seen as what they are, so a pull after a push has nothing to carry.
async fn our_own_writes_are_pulled_as_we_hold_them<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let cursor = harness.pull(entity, &Cursor::default()).await.next;
    let write = create(&composed(entity, 1));
    let placed = harness.write(&write).await;
    let to = renamed(&write.content, "Renamed");
    let after = harness
        .write(&update(write.record, &placed, &write.content, &to))
        .await;

    let pulled = harness.pull(entity, &cursor).await;

    let theirs = pulled.find(&placed.external_id);
    assert_eq!(theirs.content, Ok(harness.connector.project(&to)));
    assert_eq!(theirs.parts, after.parts);
}

for_each_entity! {
    everything_is_seen_however_the_pages_fall,
    a_system_of_which_nobody_made_use_is_pulled_too,
    the_next_pull_sees_what_changed_and_little_else,
    a_pull_without_news_ends_and_the_one_after_it_sees_the_next_change,
    what_happens_between_two_pages_is_seen_by_this_pull_or_the_next,
    a_cursor_is_all_that_a_pull_needs_to_go_on,
    a_change_of_a_part_is_a_change_of_the_thing,
    our_own_writes_are_pulled_as_we_hold_them,
}
