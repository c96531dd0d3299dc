//! What to do about one record and one connection: the three-way decision, as a pure function.
//!
//! Pull and push ask the same question, [`decide`]: given what both sides agreed on last (*base*), what we hold (*ours*)
//! and what the remote holds (*theirs*), what has to change on which side? All three are given as the remote can hold
//! them, so that what it can't carry is no difference. How a decision becomes calls and rows is not told here.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::entity::{Content, Fields, Invalid, fields_of, owned_name};
use crate::system::{EntityType, System};

/// Who has the last word on a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// The store.
    Woocommerce,
    /// The ERP.
    Odoo,
    /// The organisation's own application, through the API.
    Application,
    /// Whichever side changed it; both at once is a conflict.
    Shared,
    /// Whichever side changed it; of both, the one that did so later. Where that can't be told, a conflict.
    Newest,
    /// A person decides whenever both sides changed it.
    Manual,
}

impl Owner {
    /// Says whether a system is the owner.
    pub fn is(self, system: System) -> bool {
        match self {
            Self::Woocommerce => system == System::Woocommerce,
            Self::Odoo => system == System::Odoo,
            Self::Application | Self::Shared | Self::Newest | Self::Manual => false,
        }
    }
}

/// The owners of the fields of one entity type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ownership {
    /// Owner of every field that has no owner of its own.
    pub all: Owner,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Owner>,
}

impl Ownership {
    pub const fn of(all: Owner) -> Self {
        Self {
            all,
            fields: BTreeMap::new(),
        }
    }

    fn with(all: Owner, fields: &[&str], owner: Owner) -> Self {
        Self {
            all,
            fields: fields.iter().map(|field| ((*field).to_owned(), owner)).collect(),
        }
    }

    /// Returns what shops want: the ERP owns the catalogue and the stock, the store owns its customers; what only one of
    /// them can hold is its own. What was bought and paid belongs to the system it was bought in, and how far an order
    /// has come, to whoever moves it on.
    pub fn usual(content: &Content) -> Self {
        match content {
            Content::Customer(_) => Self::with(Owner::Woocommerce, &["language"], Owner::Odoo),
            Content::Payment(_) => Self::of(Owner::Woocommerce),
            Content::Product(_) => Self::with(
                Owner::Odoo,
                &["description", "tags", "tax_class", "images", "sale", "dimensions"],
                Owner::Woocommerce,
            ),
            Content::Inventory(_) => Self::of(Owner::Odoo),
            Content::Order(order) => Self {
                all: match order.origin {
                    Some(System::Woocommerce) => Owner::Woocommerce,
                    Some(System::Odoo) => Owner::Odoo,
                    None => Owner::Application,
                },
                fields: [("status".to_owned(), Owner::Shared)].into(),
            },
        }
    }

    /// Returns the owner of the field at a path; a variant's field goes by its own name.
    pub fn owner(&self, path: &str) -> Owner {
        self.fields.get(owned_name(path)).copied().unwrap_or(self.all)
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Both sides say the same.
    Unchanged,
    /// The remote has no such thing, and should.
    Create(Content),
    /// The sides differ.
    Update(Merge),
    /// The remote has a thing that was deleted here.
    Delete,
    /// The remote's thing is new here.
    Adopt(Content),
    /// A person or a later rule has to decide.
    Conflict(Disagreement),
}

/// The record both sides should hold, and what each has to change for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merge {
    pub content: Content,
    /// Fields that the remote has to change; empty where it holds the merged record already.
    pub to_write: BTreeSet<String>,
    /// Fields that we have to change; empty where we hold the merged record already.
    pub to_take: BTreeSet<String>,
    /// Fields in which the sides differ as they did when they agreed.
    pub agreed: BTreeSet<String>,
}

impl Merge {
    /// Returns what we hold to be agreed on once a sighting of theirs is noted: what they hold, and in the fields in
    /// which the sides agreed to differ what we hold.
    pub fn base(&self, ours: &Content, theirs: &Content) -> Content {
        Self::with(theirs, ours, &self.agreed)
    }

    /// Returns what the remote holds once it was given the merged record: that, and in the fields in which the sides
    /// agreed to differ what it held before.
    pub fn held(&self, theirs: &Content) -> Content {
        Self::with(&self.content, theirs, &self.agreed)
    }

    fn with(content: &Content, other: &Content, paths: &BTreeSet<String>) -> Content {
        if paths.is_empty() {
            return content.clone();
        }
        let other = fields_of(other);
        let mut fields = fields_of(content);
        for path in paths {
            fields.set(path, other.get(path).cloned());
        }
        // Where the fields make no record together, the sides are taken to agree as they stand.
        fields
            .into_content(content.entity())
            .unwrap_or_else(|_| content.clone())
    }

    /// Takes the remote's changes over into our whole record, of which the remote may hold only a part.
    pub fn taken_into(&self, whole: &Content) -> Result<Content, Invalid> {
        let merged = fields_of(&self.content);
        let mut fields = fields_of(whole);
        for path in &self.to_take {
            fields.set(path, merged.get(path).cloned());
        }
        fields.into_content(whole.entity())
    }
}

/// Fields that both sides changed, and nobody owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    pub fields: BTreeSet<String>,
    /// The merge that is proposed: ours in the fields that disagree. `None` where the merged fields are no valid record.
    pub proposed: Option<Content>,
    pub reason: String,
}

/// What both sides agreed on last: what we held then, and what the remote made of it. The two differ where a remote
/// rounds, trims or fills in by itself; neither side has changed anything while each still holds its own of them.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    pub ours: &'a Content,
    pub theirs: &'a Content,
}

impl<'a> Base<'a> {
    /// The usual case: both sides held the same.
    pub const fn same(content: &'a Content) -> Self {
        Self {
            ours: content,
            theirs: content,
        }
    }
}

/// A [`Base`] as an item keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    pub ours: Content,
    pub theirs: Content,
}

impl Agreed {
    pub fn same(content: Content) -> Self {
        Self {
            theirs: content.clone(),
            ours: content,
        }
    }

    /// Reads what is stored: the base, and what the remote made of it where that is not the same.
    pub fn stored(entity: EntityType, base: Value, held: Option<Value>) -> Result<Self, Invalid> {
        let ours = Content::parse(entity, base)?;
        let theirs = match held {
            Some(held) => Content::parse(entity, held)?,
            None => ours.clone(),
        };
        Ok(Self { ours, theirs })
    }

    pub const fn as_base(&self) -> Base<'_> {
        Base {
            ours: &self.ours,
            theirs: &self.theirs,
        }
    }

    /// Returns what the remote made of it, as it is stored.
    pub fn held(&self) -> Option<Value> {
        (self.theirs != self.ours).then(|| self.theirs.to_json())
    }
}

/// The remote's side of a decision.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    pub system: System,
    pub ownership: &'a Ownership,
    pub times: Times,
}

/// When each side last changed the thing, as far as that is known: the remote's by its own clock.
///
/// A time is that of the whole thing, not of a field: no system tells more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub ours: Option<DateTime<Utc>>,
    pub theirs: Option<DateTime<Utc>>,
}

/// A side of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Later {
    Ours,
    Theirs,
}

impl Times {
    /// Tells which side changed later; `None` where one is not known, or both did in the same second: the systems tell
    /// no less than that (facts/systems.md A4, B6).
    fn later(self) -> Option<Later> {
        let (ours, theirs) = (self.ours?.timestamp(), self.theirs?.timestamp());
        match ours.cmp(&theirs) {
            Ordering::Greater => Some(Later::Ours),
            Ordering::Less => Some(Later::Theirs),
            Ordering::Equal => None,
        }
    }
}

/// Decides what is to be done about one record and one connection.
///
/// `base` is what both sides held when they agreed last, `ours` what we hold (`None`: deleted here, or never seen), `theirs` what
/// the remote holds (`None`: it has no such thing). Field by field: what only one side changed is taken from that side,
/// except that a field which belongs to another system is put back where the remote changed it; what both changed goes
/// by the field's owner, or by `side.times` where the newest counts; equal changes are no difference.
pub fn decide(
    base: Option<Base<'_>>,
    ours: Option<&Content>,
    theirs: Option<&Content>,
    side: Side<'_>,
) -> Decision {
    match (ours, theirs) {
        (None, None) => Decision::Unchanged,
        (Some(ours), None) => Decision::Create(ours.clone()),
        (None, Some(theirs)) if base.is_none() => Decision::Adopt(theirs.clone()),
        (None, Some(_)) => Decision::Delete,
        (Some(ours), Some(theirs)) if ours == theirs => Decision::Unchanged,
        (Some(ours), Some(theirs)) => merge(base, ours, theirs, side),
    }
}

fn merge(base: Option<Base<'_>>, ours: &Content, theirs: &Content, side: Side<'_>) -> Decision {
    let base_fields = base.map(|base| (fields_of(base.ours), fields_of(base.theirs)));
    let (our_fields, their_fields) = (fields_of(ours), fields_of(theirs));
    let mut merged = our_fields.clone();
    let mut disagreeing = BTreeSet::new();
    let mut agreed = BTreeSet::new();
    let mut reason = "both sides changed";
    for path in our_fields.differing(&their_fields) {
        match pick(&path, base_fields.as_ref(), &our_fields, &their_fields, side) {
            Pick::Ours => {}
            Pick::Agreed => {
                agreed.insert(path);
            }
            Pick::Theirs => merged.set(&path, their_fields.get(&path).cloned()),
            Pick::Nobody => {
                disagreeing.insert(path);
            }
        }
    }
    let content = merged.clone().into_content(ours.entity());
    if let Err(Invalid(errors)) = &content {
        // Each side is valid by itself; put together they are not, so no rule can answer.
        disagreeing.extend(errors.iter().map(|error| error.field.clone()));
        reason = "what both sides hold does not fit together";
    }
    if !disagreeing.is_empty() {
        let named = disagreeing
            .iter()
            .map(|path| format!("`{path}`"))
            .collect::<Vec<_>>()
            .join(", ");
        return Decision::Conflict(Disagreement {
            reason: format!("{reason}: {named}"),
            fields: disagreeing,
            proposed: content.ok(),
        });
    }
    let content = content.expect("an invalid merge is a conflict");
    // The canonical form may have folded two spellings into one, so compare what came out.
    let merged = fields_of(&content);
    let to_write: BTreeSet<String> = &merged.differing(&their_fields) - &agreed;
    let to_take = merged.differing(&our_fields);
    if to_write.is_empty() && to_take.is_empty() {
        return Decision::Unchanged;
    }
    Decision::Update(Merge {
        content,
        to_write,
        to_take,
        agreed,
    })
}

enum Pick {
    Ours,
    Theirs,
    /// The sides differ as they did when they agreed: neither has changed.
    Agreed,
    Nobody,
}

fn pick(path: &str, base: Option<&(Fields, Fields)>, ours: &Fields, theirs: &Fields, side: Side<'_>) -> Pick {
    let owner = side.ownership.owner(path);
    let (our, their): (Option<&Value>, Option<&Value>) = (ours.get(path), theirs.get(path));
    let Some(base) = base else {
        // Never agreed on anything: the owner wins, and where there is none, who has a value.
        return match owner {
            owner if owner.is(side.system) => {
                if their.is_some() {
                    Pick::Theirs
                } else {
                    Pick::Ours
                }
            }
            Owner::Manual if our.is_some() && their.is_some() => Pick::Nobody,
            Owner::Newest if their.is_some() && side.times.later() == Some(Later::Theirs) => Pick::Theirs,
            _ if our.is_none() => Pick::Theirs,
            _ => Pick::Ours,
        };
    };
    let (our_base, their_base) = base;
    match (our == our_base.get(path), their == their_base.get(path), owner) {
        (true, true, _) => Pick::Agreed,
        (_, true, _) => Pick::Ours,
        (true, false, Owner::Shared | Owner::Newest | Owner::Manual) => Pick::Theirs,
        (_, false, owner) if owner.is(side.system) => Pick::Theirs,
        // Drift in a field that belongs elsewhere, or a change of ours to a field that is ours: write it (again).
        (_, false, Owner::Woocommerce | Owner::Odoo | Owner::Application) => Pick::Ours,
        (false, false, Owner::Newest) => match side.times.later() {
            Some(Later::Ours) => Pick::Ours,
            Some(Later::Theirs) => Pick::Theirs,
            None => Pick::Nobody,
        },
        (false, false, Owner::Shared | Owner::Manual) => Pick::Nobody,
    }
}

#[cfg(test)]
mod tests;
