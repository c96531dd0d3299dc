//! How a conflict is gone about: by itself, by a person, or not at all. Pure; and what a person can do about it.

use serde::{Deserialize, Serialize};

use crate::conflict::ConflictType;
use crate::decide::{Disagreement, Owner, Ownership};

/// Times that a [`ConflictType::DataMismatch`] is tried again before a person is asked (R21).
pub const MISMATCH_RETRIES: i32 = 3;

/// How a conflict is gone about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[sqlx(type_name = "text")]
pub enum Strategy {
    /// Both sides are looked at again after a while, and what they come to together is sent.
    AutoRetry,
    /// A person decides.
    Manual,
    /// The item is left as it is, with the reason, until something about it changes.
    Skip,
}

impl Strategy {
    pub const ALL: [Self; 3] = [Self::AutoRetry, Self::Manual, Self::Skip];

    /// Returns the name used in the API, the tables and the logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AutoRetry => "AutoRetry",
            Self::Manual => "Manual",
            Self::Skip => "Skip",
        }
    }
}

/// Who decides the fields that a conflict is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decider {
    /// A rule may, once the sides have moved.
    Rule,
    /// A person, always: one of the fields belongs to nobody else.
    Person,
}

impl Decider {
    /// Says who decides a disagreement.
    pub fn of(disagreement: &Disagreement, ownership: &Ownership) -> Self {
        let is_manual = |path: &String| ownership.owner(path) == Owner::Manual;
        if disagreement.fields.iter().any(is_manual) {
            Self::Person
        } else {
            Self::Rule
        }
    }
}

/// Chooses how a conflict is gone about (R21), after so many retries within the sync.
pub const fn choose(conflict_type: ConflictType, retries: i32, decider: Decider) -> Strategy {
    match conflict_type {
        ConflictType::RetryExhausted | ConflictType::ValidationError | ConflictType::AuthError => {
            Strategy::Manual
        }
        ConflictType::DuplicateKey => Strategy::Skip,
        ConflictType::DataMismatch => match decider {
            Decider::Person => Strategy::Manual,
            Decider::Rule if retries < MISMATCH_RETRIES => Strategy::AutoRetry,
            Decider::Rule => Strategy::Manual,
        },
    }
}

/// Says what a mismatch counts as after so many retries within the sync, of as many as it allows, and how it is gone about
/// (R21, R25). That it was tried often enough goes before what R21 says of retries; a person's own field is not tried at all.
pub fn mismatch(retries: i32, max_retries: u8, decider: Decider) -> (ConflictType, Strategy) {
    let conflict_type = match decider {
        Decider::Rule if retries >= i32::from(max_retries) => ConflictType::RetryExhausted,
        Decider::Rule | Decider::Person => ConflictType::DataMismatch,
    };
    (conflict_type, choose(conflict_type, retries, decider))
}

/// What a conflict is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Item,
    /// A connection, or its records of one type, as a whole.
    Connection,
}

/// Says what a person can do about a conflict, by what it is about ([`ConflictType::matter`]). `code` is the remote's own, or ours where we refused.
pub fn advice(
    conflict_type: ConflictType,
    strategy: Strategy,
    code: Option<&str>,
    subject: Subject,
) -> &'static str {
    match (conflict_type, strategy, subject) {
        (ConflictType::AuthError, ..) => "correct the credentials of the connection, then check it",
        (_, Strategy::AutoRetry, _) => {
            "nothing yet: both sides are looked at again by themselves; or answer it with `accept`, `reject` or `custom`"
        }
        (ConflictType::DataMismatch, _, Subject::Connection) => {
            "look at what the connection holds, put right what is wrong, and run a full scan; `reject` puts this message away"
        }
        (ConflictType::DataMismatch, ..) => {
            "`accept` sends the proposed record, `reject` keeps what the system holds, `custom` sends a record of yours"
        }
        (ConflictType::DuplicateKey, _, Subject::Connection) => {
            "change the key of one of the two things, or delete the one that is too many; `reject` puts this message away"
        }
        (ConflictType::DuplicateKey, ..) => {
            "change or delete the other thing and `accept`, which looks again and takes over what is plainly the same; \
             `custom` gives the record another key; `reject` leaves it out"
        }
        (ConflictType::ValidationError, _, Subject::Connection) => {
            "correct the thing in its system; the next sync reads it again; `reject` puts this message away"
        }
        (ConflictType::ValidationError, ..) => match code {
            Some("reference_missing") => {
                "put right what is named first, then `accept` to try again; `custom` sends a corrected record; \
                 `reject` leaves the system as it is"
            }
            _ => {
                "`custom` sends a corrected record; `accept` tries again as it is, where the cause is put right in the \
                 system; `reject` leaves the system as it is"
            }
        },
        (ConflictType::RetryExhausted, ..) => match code {
            Some("poison") => {
                "have somebody read the workers' logs first; then `accept` tries again as it is, `custom` sends a \
                 corrected record, `reject` leaves the system as it is"
            }
            _ => {
                "see that the system is well, then `accept` to try again; `custom` sends a corrected record; `reject` \
                 leaves the system as it is"
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn by_rule(conflict_type: ConflictType, retries: i32) -> Strategy {
        choose(conflict_type, retries, Decider::Rule)
    }

    #[test]
    fn a_mismatch_of_fewer_than_three_retries_is_tried_again() {
        for retries in 0..3 {
            assert_eq!(
                by_rule(ConflictType::DataMismatch, retries),
                Strategy::AutoRetry,
                "R21"
            );
        }
    }

    #[test]
    fn a_mismatch_of_three_retries_or_more_is_a_persons() {
        for retries in [3, 4, 5, i32::MAX] {
            assert_eq!(
                by_rule(ConflictType::DataMismatch, retries),
                Strategy::Manual,
                "R21"
            );
        }
    }

    #[test]
    fn a_mismatch_that_was_tried_as_often_as_the_sync_allows_is_exhausted() {
        let exhausted = (ConflictType::RetryExhausted, Strategy::Manual);
        let retried = (ConflictType::DataMismatch, Strategy::AutoRetry);
        let asked = (ConflictType::DataMismatch, Strategy::Manual);
        for (max_retries, after) in [
            (
                1,
                [retried, exhausted, exhausted, exhausted, exhausted, exhausted],
            ),
            (2, [retried, retried, exhausted, exhausted, exhausted, exhausted]),
            (3, [retried, retried, retried, exhausted, exhausted, exhausted]),
            // R21 asks a person after three, however many a sync allows.
            (4, [retried, retried, retried, asked, exhausted, exhausted]),
            (5, [retried, retried, retried, asked, asked, exhausted]),
        ] {
            for (retries, expected) in (0..).zip(after) {
                assert_eq!(
                    mismatch(retries, max_retries, Decider::Rule),
                    expected,
                    "R21, R25: {retries} of {max_retries}"
                );
            }
        }
    }

    #[test]
    fn a_mismatch_in_a_persons_own_field_is_a_mismatch_at_once() {
        for retries in 0..6 {
            let expected = (ConflictType::DataMismatch, Strategy::Manual);
            assert_eq!(mismatch(retries, 3, Decider::Person), expected, "R21");
        }
    }

    #[test]
    fn a_field_that_a_person_owns_is_a_persons_at_once() {
        for retries in 0..5 {
            let strategy = choose(ConflictType::DataMismatch, retries, Decider::Person);
            assert_eq!(strategy, Strategy::Manual, "R21");
        }
    }

    #[test]
    fn what_is_not_valid_is_a_persons() {
        for retries in 0..5 {
            assert_eq!(
                by_rule(ConflictType::ValidationError, retries),
                Strategy::Manual,
                "R21"
            );
        }
    }

    #[test]
    fn refused_credentials_are_a_persons() {
        for retries in 0..5 {
            assert_eq!(by_rule(ConflictType::AuthError, retries), Strategy::Manual, "R21");
        }
    }

    #[test]
    fn a_key_that_is_taken_is_skipped() {
        for retries in 0..5 {
            assert_eq!(
                by_rule(ConflictType::DuplicateKey, retries),
                Strategy::Skip,
                "R21"
            );
            let strategy = choose(ConflictType::DuplicateKey, retries, Decider::Person);
            assert_eq!(strategy, Strategy::Skip, "R21");
        }
    }

    #[test]
    fn what_was_tried_often_enough_is_a_persons_whatever_else() {
        for decider in [Decider::Rule, Decider::Person] {
            for retries in 0..6 {
                let strategy = choose(ConflictType::RetryExhausted, retries, decider);
                assert_eq!(strategy, Strategy::Manual, "R21");
            }
        }
    }

    #[test]
    fn one_field_of_a_persons_makes_the_whole_disagreement_a_persons() {
        let mut ownership = Ownership::of(Owner::Shared);
        ownership.fields.insert("price".to_owned(), Owner::Manual);
        let about = |fields: &[&str]| {
            let fields: BTreeSet<String> = fields.iter().map(|&field| field.to_owned()).collect();
            let disagreement = Disagreement {
                fields,
                proposed: None,
                reason: String::new(),
            };
            Decider::of(&disagreement, &ownership)
        };

        assert_eq!(about(&["name"]), Decider::Rule);
        assert_eq!(
            about(&["name", "variants/color=blue/price"]),
            Decider::Person,
            "R21"
        );
    }

    #[test]
    fn there_is_something_to_do_about_every_conflict() {
        for conflict_type in ConflictType::ALL {
            for subject in [Subject::Item, Subject::Connection] {
                for strategy in Strategy::ALL {
                    assert!(!advice(conflict_type, strategy, None, subject).is_empty(), "R23");
                }
            }
        }
    }
}
