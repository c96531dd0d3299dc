//! What a record refers to, as this store knows it, and back. Pure.

use lockstep_shared::entity::{Content, RecordPart, Reference, RemoteThing};
use lockstep_shared::system::EntityType;

use crate::connector::{Links, Write};

/// Finds what a reference means here; `None` where the store has no such thing. A simple product has no part.
pub(super) fn remote(links: &Links, reference: &Reference) -> Option<RemoteThing> {
    let link = links.find(reference)?;
    Some(RemoteThing {
        external_id: link.external_id.clone(),
        part: links.part(reference).map(str::to_owned),
    })
}

/// Finds the number of what a reference means here.
pub(super) fn id(links: &Links, reference: &Reference) -> Option<u64> {
    links.find(reference)?.external_id.parse().ok()
}

/// Returns what the store made of a write, where that is not what was sent. What is named in it stands for our records
/// again, as far as the write named them.
pub(super) fn held(write: &Write, theirs: Content) -> Option<Content> {
    let known: Vec<(EntityType, RemoteThing, RecordPart)> = write
        .content
        .references()
        .into_iter()
        .filter_map(|(entity, reference)| {
            let thing = remote(&write.links, reference)?;
            Some((entity, thing, reference.target()?.clone()))
        })
        .collect();
    let resolve = |entity: EntityType, thing: &RemoteThing| {
        let mut found = known
            .iter()
            .filter(|(of, known, _)| *of == entity && known == thing);
        found.next().map(|(_, _, part)| part.clone())
    };
    let held = theirs.resolved(resolve).ok()?;
    (held != write.content).then_some(held)
}
