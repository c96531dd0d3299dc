//! "Why is this not there?", answered in one sentence from how a record stands with a connection. Pure.

use chrono::{DateTime, SecondsFormat, Utc};

use crate::conflict::ConflictType;
use crate::item::State;
use crate::system::{EntityType, System};

/// How a record stands with a connection.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    pub system: System,
    pub entity: EntityType,
    /// Why the connection needs somebody, where it does.
    pub attention: Option<&'a str>,
    /// What keeps stages that would write it from beginning.
    pub stopper: Option<&'a str>,
    /// Whether another connection of the same system has it.
    pub is_of_another_store: bool,
    /// None where the connection has never looked at it.
    pub asked: Option<Asked<'a>>,
}

/// What is known of the record there.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    pub state: State,
    pub external_id: Option<&'a str>,
    pub last_error: Option<&'a str>,
    pub last_synced_at: Option<DateTime<Utc>>,
    pub gone_at: Option<DateTime<Utc>>,
    pub retry_at: Option<DateTime<Utc>>,
    pub is_in_hand: bool,
    pub quiet_at: Option<DateTime<Utc>>,
    pub conflict: Option<(ConflictType, &'a str)>,
}

/// An answer: whether the record is in the system as it is here, and a sentence that says why, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub is_in_step: bool,
    pub sentence: String,
}

/// Says why a record is, or is not, in a system. What stands in the way first is said, and of several things the one that
/// has to go before the others.
pub fn answer(situation: &Situation<'_>) -> Answer {
    let sentence = match &situation.asked {
        None => never_asked(situation),
        Some(asked) => return known(situation, asked),
    };
    Answer {
        is_in_step: false,
        sentence,
    }
}

/// Says whether things of a type stay in the store that they came from.
const fn stays(entity: EntityType) -> bool {
    match entity {
        EntityType::Customers | EntityType::Orders | EntityType::Payments => true,
        EntityType::Products | EntityType::Inventory => false,
    }
}

fn never_asked(situation: &Situation<'_>) -> String {
    if situation.is_of_another_store && stays(situation.entity) {
        return format!(
            "It belongs to another connection of {}: customers, orders and payments never cross from one to another.",
            name(situation.system)
        );
    }
    blocked(situation)
        .unwrap_or_else(|| "No sync has looked at it for this connection yet; the next one does.".to_owned())
}

fn known(situation: &Situation<'_>, asked: &Asked<'_>) -> Answer {
    let reason = asked.last_error.map(full_stop);
    let or = |usual: &str| reason.clone().unwrap_or_else(|| usual.to_owned());
    let there = asked.external_id.map(|id| format!("It is there as `{id}`"));
    let mut is_in_step = false;
    let sentence = if let Some(quiet_at) = asked.quiet_at {
        format!(
            "A request that carries it had no answer; from {} on the system is asked whether it took effect, before \
             anything is sent again.",
            time(quiet_at)
        )
    } else if let Some((kind, reason)) = asked.conflict {
        format!(
            "A conflict ({kind:?}) has to be decided first: {}",
            full_stop(reason)
        )
    } else if let Some(gone_at) = asked.gone_at {
        format!(
            "It was deleted there, which was noticed at {}; it is made again only when the record is put with other \
             content.",
            time(gone_at)
        )
    } else {
        match asked.state {
            State::Synced => {
                is_in_step = true;
                let since = asked.last_synced_at.map(|at| format!(" since {}", time(at)));
                let there = there.unwrap_or_else(|| "It is there".to_owned());
                format!("{there}, and in step{}.", since.unwrap_or_default())
            }
            State::Skipped => format!("It is left alone: {}", or("nothing asks for it.")),
            State::Conflict => format!("It waits for a person: {}", or("see its conflict.")),
            State::InDoubt => {
                "A request that carries it had no answer; the system is asked whether it took effect before \
                               anything is sent again."
                    .to_owned()
            }
            State::Failed => match blocked(situation) {
                Some(blocked) => blocked,
                None => format!(
                    "The system refused it: {} The next sync tries again.",
                    or("it did not say why.")
                ),
            },
            State::Pending => pending(situation, asked, there),
        }
    };
    Answer { is_in_step, sentence }
}

fn pending(situation: &Situation<'_>, asked: &Asked<'_>, there: Option<String>) -> String {
    if let Some(at) = asked.retry_at {
        let why = asked
            .last_error
            .map_or_else(String::new, |error| format!(": {}", error.trim_end_matches('.')));
        return format!("A first try failed{why}. It is tried again at {}.", time(at));
    }
    if asked.is_in_hand {
        return "A sync has it in hand at this moment.".to_owned();
    }
    if let Some(blocked) = blocked(situation) {
        return blocked;
    }
    match (asked.last_error, there) {
        (Some(error), _) => format!("It waits: {} The next sync looks again.", full_stop(error)),
        (None, Some(there)) => format!("{there}, but has changed since; the next sync carries that."),
        (None, None) => "It is new here; the next sync carries it.".to_owned(),
    }
}

/// Says what keeps anything from being sent to the connection.
fn blocked(situation: &Situation<'_>) -> Option<String> {
    if let Some(attention) = situation.attention {
        return Some(format!(
            "The connection needs attention, and nothing is sent until a check is let in: {}",
            full_stop(attention)
        ));
    }
    situation.stopper.map(|stopper| {
        format!(
            "What its check found keeps it from being written: {}",
            full_stop(stopper)
        )
    })
}

const fn name(system: System) -> &'static str {
    match system {
        System::Woocommerce => "WooCommerce",
        System::Odoo => "Odoo",
    }
}

fn full_stop(text: &str) -> String {
    let text = text.trim();
    if text.ends_with(['.', '!', '?']) {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn asked(state: State) -> Asked<'static> {
        Asked {
            state,
            external_id: None,
            last_error: None,
            last_synced_at: None,
            gone_at: None,
            retry_at: None,
            is_in_hand: false,
            quiet_at: None,
            conflict: None,
        }
    }

    const fn about(asked: Option<Asked<'static>>) -> Situation<'static> {
        Situation {
            system: System::Woocommerce,
            entity: EntityType::Customers,
            attention: None,
            stopper: None,
            is_of_another_store: false,
            asked,
        }
    }

    fn sentence(situation: &Situation<'_>) -> String {
        let answer = answer(situation);
        assert!(!answer.is_in_step, "R56: {answer:?}");
        answer.sentence
    }

    #[test]
    fn what_is_in_step_says_where_and_since_when() {
        let answer = answer(&about(Some(Asked {
            external_id: Some("17"),
            last_synced_at: Some(DateTime::UNIX_EPOCH),
            ..asked(State::Synced)
        })));

        assert!(answer.is_in_step);
        assert_eq!(
            answer.sentence, "It is there as `17`, and in step since 1970-01-01T00:00:00Z.",
            "R56"
        );
    }

    #[test]
    fn what_was_never_looked_at_says_whether_it_ever_will_be() {
        assert!(sentence(&about(None)).contains("the next one does"), "R56");
        let elsewhere = Situation {
            is_of_another_store: true,
            ..about(None)
        };
        assert!(sentence(&elsewhere).contains("never cross"), "R52, R56");
        let product = Situation {
            entity: EntityType::Products,
            ..elsewhere
        };
        assert!(sentence(&product).contains("the next one does"), "R56");
    }

    #[test]
    fn a_refusal_is_told_in_the_system_s_own_words() {
        let refused = about(Some(Asked {
            last_error: Some("invalid e-mail"),
            ..asked(State::Failed)
        }));

        assert_eq!(
            sentence(&refused),
            "The system refused it: invalid e-mail. The next sync tries again.",
            "R56"
        );
    }

    #[test]
    fn what_stands_in_the_way_first_is_said_first() {
        let waiting = Asked {
            last_error: Some("its customer is not there yet"),
            ..asked(State::Pending)
        };
        let conflict = Some((ConflictType::DuplicateKey, "two accounts have this address"));
        let cases = [
            (about(Some(waiting.clone())), "its customer is not there yet"),
            (
                Situation {
                    stopper: Some("the key: it may only read"),
                    ..about(Some(waiting.clone()))
                },
                "it may only read",
            ),
            (
                Situation {
                    attention: Some("the key was refused"),
                    stopper: Some("the key: it may only read"),
                    ..about(Some(waiting.clone()))
                },
                "the key was refused",
            ),
            (
                Situation {
                    attention: Some("the key was refused"),
                    ..about(Some(Asked {
                        conflict,
                        ..waiting.clone()
                    }))
                },
                "two accounts have this address",
            ),
            (
                about(Some(Asked {
                    conflict,
                    quiet_at: Some(DateTime::UNIX_EPOCH),
                    ..waiting
                })),
                "had no answer",
            ),
        ];
        for (situation, says) in cases {
            let sentence = sentence(&situation);
            assert!(sentence.contains(says), "R56: {sentence}");
        }
    }

    #[test]
    fn what_was_deleted_there_says_how_it_comes_back() {
        let gone = about(Some(Asked {
            gone_at: Some(DateTime::UNIX_EPOCH),
            ..asked(State::Skipped)
        }));

        assert!(sentence(&gone).contains("put with other content"), "R56");
    }
}
