//! Webhooks: how a system that has them is brought to tell us of changes. One that has none is asked again and again
//! instead, as every system is from time to time.

use std::time::Instant;

use async_trait::async_trait;
use lockstep_shared::webhook::{self, Hook, HookState};
use secrecy::SecretString;

use super::{CallError, Gate};

/// Where deliveries are to go, and what they are to be signed with.
#[derive(Clone, Debug)]
pub struct Receiver {
    pub delivery_url: String,
    /// What of the address is the connection's own, whatever host it was registered for.
    pub path: String,
    pub secret: SecretString,
}

impl Receiver {
    /// Returns the name that a webhook of ours has in the system: it tells which secret it was given, which no system
    /// shows.
    pub fn name(&self, topic: &str) -> String {
        format!("Lockstep {topic} {}", webhook::mark(&self.secret))
    }
}

/// A webhook that a system has, whoever made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub hook: Hook,
    pub name: String,
    pub delivery_url: String,
}

/// One request that brings a system's webhooks nearer to what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Create {
        topic: &'static str,
    },
    /// Gives it address, name and secret anew, and has it deliver.
    Renew {
        external_id: String,
        topic: String,
    },
    Remove {
        external_id: String,
    },
}

/// The webhooks of a system.
#[async_trait]
pub trait Webhooks: Send + Sync {
    /// What is worth being told of.
    fn topics(&self) -> &'static [&'static str];

    /// Lists every webhook there is.
    async fn list(&self, gate: &dyn Gate) -> Result<Vec<Seen>, CallError>;

    /// Makes one change: exactly one HTTP request, with no look at the gate, never started after `deadline` and timed out
    /// before it. What is removed already is removed.
    async fn send(&self, change: &Change, receiver: &Receiver, deadline: Instant) -> Result<(), CallError>;
}

/// Returns those webhooks that are ours, by their address.
pub fn ours<'a>(seen: &'a [Seen], receiver: &Receiver) -> Vec<&'a Seen> {
    let own = seen.iter();
    own.filter(|one| one.delivery_url.ends_with(&receiver.path))
        .collect()
}

/// Says what has to be done so that a system has one webhook of ours per topic, or none. Pure. What is there is looked at
/// before anything is made, so a request whose answer was lost makes no second one; and where there are two all the same,
/// the later one goes.
pub fn changes(topics: Option<&'static [&'static str]>, seen: &[Seen], receiver: &Receiver) -> Vec<Change> {
    let topics = topics.unwrap_or_default();
    let mut ours = ours(seen, receiver);
    // Ids are numbers that go up.
    ours.sort_by_key(|one| (one.hook.external_id.len(), one.hook.external_id.clone()));
    let mut kept: Vec<&str> = Vec::new();
    let mut changes = Vec::new();
    for one in ours {
        let (external_id, topic) = (one.hook.external_id.clone(), one.hook.topic.as_str());
        if !topics.contains(&topic) || kept.contains(&topic) {
            changes.push(Change::Remove { external_id });
            continue;
        }
        kept.push(topic);
        let is_right = one.delivery_url == receiver.delivery_url && one.name == receiver.name(topic);
        if !is_right || one.hook.state == HookState::Disabled {
            let topic = topic.to_owned();
            changes.push(Change::Renew { external_id, topic });
        }
    }
    let missing = topics.iter().filter(|topic| !kept.contains(topic));
    changes.extend(missing.map(|topic| Change::Create { topic }));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPICS: &[&str] = &["order.created", "order.updated"];

    fn receiver() -> Receiver {
        Receiver {
            delivery_url: "https://lockstep.example.com/webhooks/1".to_owned(),
            path: "/webhooks/1".to_owned(),
            secret: "s3cret".to_owned().into(),
        }
    }

    fn seen(id: u64, topic: &str) -> Seen {
        Seen {
            hook: Hook {
                external_id: id.to_string(),
                topic: topic.to_owned(),
                state: HookState::Active,
            },
            name: receiver().name(topic),
            delivery_url: receiver().delivery_url,
        }
    }

    fn in_state(state: HookState, mut seen: Seen) -> Seen {
        seen.hook.state = state;
        seen
    }

    fn remove(id: u64) -> Change {
        Change::Remove {
            external_id: id.to_string(),
        }
    }

    fn renew(id: u64, topic: &str) -> Change {
        Change::Renew {
            external_id: id.to_string(),
            topic: topic.to_owned(),
        }
    }

    #[test]
    fn what_is_as_it_should_be_is_left_alone() {
        let all = [
            seen(1, TOPICS[0]),
            in_state(HookState::Paused, seen(2, TOPICS[1])),
        ];

        assert_eq!(changes(Some(TOPICS), &all, &receiver()), []);
    }

    #[test]
    fn what_is_missing_is_made_once() {
        assert_eq!(
            changes(Some(TOPICS), &[seen(1, TOPICS[0])], &receiver()),
            [Change::Create { topic: TOPICS[1] }]
        );
        let twice = [seen(12, TOPICS[0]), seen(9, TOPICS[0]), seen(3, TOPICS[1])];
        assert_eq!(changes(Some(TOPICS), &twice, &receiver()), [remove(12)]);
    }

    #[test]
    fn what_is_disabled_or_was_made_for_another_secret_or_host_is_renewed() {
        let disabled = in_state(HookState::Disabled, seen(1, TOPICS[0]));
        let mut elsewhere = seen(2, TOPICS[1]);
        elsewhere.delivery_url = "https://old.example.com/webhooks/1".to_owned();

        let mended = changes(Some(TOPICS), &[disabled, elsewhere], &receiver());

        assert_eq!(mended, [renew(1, TOPICS[0]), renew(2, TOPICS[1])]);
        let other = Receiver {
            secret: "another".to_owned().into(),
            ..receiver()
        };
        assert_eq!(
            changes(Some(TOPICS), &[seen(1, TOPICS[0]), seen(2, TOPICS[1])], &other).len(),
            2
        );
    }

    #[test]
    fn only_what_is_ours_is_ever_removed() {
        let mut theirs = seen(1, TOPICS[0]);
        theirs.delivery_url = "https://lockstep.example.com/webhooks/2".to_owned();
        let ours = [theirs, seen(2, TOPICS[0]), seen(3, "coupon.created")];

        assert_eq!(changes(None, &ours, &receiver()), [remove(2), remove(3)]);
        assert_eq!(
            changes(Some(TOPICS), &ours, &receiver()),
            [remove(3), Change::Create { topic: TOPICS[1] }]
        );
    }
}
