use serde_json::json;

use super::*;
use crate::decide::{Base, Decision, Owner, Ownership, Side, Times, decide};
use crate::entity::{Currency, Customer, OrderStatus};
use crate::system::System;

fn customer(name: &str, phone: &str, company: &str) -> Content {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Content::Customer(Customer {
        name: name.to_owned(),
        email: None,
        phone: text(phone),
        company: text(company),
        tax_number: None,
        language: None,
        billing: None,
        shipping: None,
        is_active: true,
    })
    .canonical()
    .unwrap()
}

/// Both sides changed the name; ours also the phone, theirs also the company.
struct Case {
    base: Agreed,
    ours: Content,
    theirs: Content,
}

impl Case {
    fn new() -> Self {
        Self {
            base: Agreed::same(customer("Ann", "1", "Acme")),
            ours: customer("Anna", "2", "Acme"),
            theirs: customer("Anne", "1", "Bolt"),
        }
    }

    fn decide(base: &Agreed, ours: &Content, theirs: &Content) -> Decision {
        let ownership = Ownership::of(Owner::Shared);
        let side = Side {
            system: System::Woocommerce,
            ownership: &ownership,
            times: Times::default(),
        };
        let base = Base {
            ours: &base.ours,
            theirs: &base.theirs,
        };
        decide(Some(base), Some(ours), Some(theirs), side)
    }

    fn seen(&self) -> Value {
        let Decision::Conflict(disagreement) = Self::decide(&self.base, &self.ours, &self.theirs) else {
            panic!("both sides changed the name");
        };
        json!({
            "fields": disagreement.fields, "base": self.base.ours.to_json(), "ours": self.ours.to_json(),
            "theirs": self.theirs.to_json(),
            "proposed": disagreement.proposed.as_ref().map(Content::to_json),
        })
    }

    /// Answers it, whether it is tried again still or was tried often enough.
    fn answer(&self, action: Action, given: Option<Content>) -> Answered {
        let seen = self.seen();
        let answered = self.answer_as(&seen, &seen, action, given.clone());
        let exhausted = Question {
            conflict_type: ConflictType::RetryExhausted,
            ..self.question(&seen, &seen)
        };
        assert_eq!(answer(exhausted, action, given).unwrap(), answered, "R25");
        answered
    }

    fn answer_as(&self, seen: &Value, latest: &Value, action: Action, given: Option<Content>) -> Answered {
        answer(self.question(seen, latest), action, given).unwrap()
    }

    fn question<'a>(&'a self, seen: &'a Value, latest: &'a Value) -> Question<'a> {
        Question {
            conflict_type: ConflictType::DataMismatch,
            seen,
            latest,
            whole: &self.ours,
            base: Some(&self.base),
            state: State::Conflict,
        }
    }
}

/// What is written to the remote after an answer.
fn written(answered: &Answered, theirs: &Content) -> Vec<String> {
    match Case::decide(answered.base.as_ref().unwrap(), &answered.content, theirs) {
        Decision::Unchanged => Vec::new(),
        Decision::Update(merge) => {
            assert!(merge.to_take.is_empty(), "{merge:?}");
            merge.to_write.into_iter().collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn accepting_sends_ours_where_both_changed_and_takes_what_only_they_changed() {
    let case = Case::new();

    let answered = case.answer(Action::Accept, None);

    assert_eq!(answered.content, customer("Anna", "2", "Bolt"), "R23");
    assert_eq!(answered.state, State::Pending);
    assert_eq!(written(&answered, &case.theirs), ["name", "phone"], "R23");
}

#[test]
fn rejecting_keeps_theirs_and_writes_nothing_there() {
    let case = Case::new();

    let answered = case.answer(Action::Reject, None);

    assert_eq!(answered.content, case.theirs, "R23");
    assert_eq!(answered.state, State::Synced);
    assert_eq!(written(&answered, &case.theirs), Vec::<String>::new(), "R23");
}

#[test]
fn what_is_given_is_sent_whatever_either_side_said() {
    let case = Case::new();
    let given = customer("Anouk", "1", "Core");

    let answered = case.answer(Action::Custom, Some(given.clone()));

    assert_eq!(answered.content, given, "R23");
    assert_eq!(written(&answered, &case.theirs), ["company", "name"], "R23");
}

#[test]
fn what_the_remote_changes_after_the_answer_is_another_conflict() {
    let case = Case::new();
    let answered = case.answer(Action::Accept, None);

    let later = customer("Annette", "1", "Bolt");
    let decision = Case::decide(answered.base.as_ref().unwrap(), &answered.content, &later);

    assert!(
        matches!(decision, Decision::Conflict(_)),
        "nobody answered that: {decision:?}"
    );
}

#[test]
fn a_rejection_of_what_moved_on_meanwhile_is_looked_at_again() {
    let case = Case::new();
    let seen = case.seen();
    let mut latest = seen.clone();
    latest["theirs"] = customer("Annette", "1", "Bolt").to_json();

    let answered = case.answer_as(&seen, &latest, Action::Reject, None);

    assert_eq!(answered.state, State::Pending);
    assert_eq!(answered.base.unwrap().theirs, case.theirs);
}

#[test]
fn where_the_sides_agreed_to_differ_they_still_do() {
    let case = Case {
        base: Agreed {
            ours: customer("Ann", "1", "Acme Limited"),
            theirs: customer("Ann", "1", "Acme Ltd"),
        },
        ours: customer("Anna", "1", "Acme Limited"),
        theirs: customer("Anne", "1", "Acme Ltd"),
    };

    let rejected = case.answer(Action::Reject, None);
    let accepted = case.answer(Action::Accept, None);

    assert_eq!(rejected.content, customer("Anne", "1", "Acme Limited"));
    assert_eq!(written(&rejected, &case.theirs), Vec::<String>::new());
    assert_eq!(written(&accepted, &case.theirs), ["name"]);
}

#[test]
fn a_record_changed_after_the_question_keeps_its_change() {
    let case = Case::new();
    let seen = case.seen();
    let whole = customer("Anna", "3", "Acme");
    let question = Question {
        conflict_type: ConflictType::DataMismatch,
        seen: &seen,
        latest: &seen,
        whole: &whole,
        base: Some(&case.base),
        state: State::Pending,
    };

    let answered = answer(question, Action::Accept, None).unwrap();

    assert_eq!(answered.content, customer("Anna", "3", "Bolt"));
}

#[test]
fn what_is_no_mismatch_is_tried_again_or_left() {
    let whole = customer("Ann", "", "");
    let given = customer("Anna", "", "");
    let seen = json!({ "reason": "refused" });
    for conflict_type in [
        ConflictType::ValidationError,
        ConflictType::RetryExhausted,
        ConflictType::DuplicateKey,
    ] {
        let question = Question {
            conflict_type,
            seen: &seen,
            latest: &seen,
            whole: &whole,
            base: None,
            state: State::Failed,
        };
        let come = |action, given| {
            let answered = answer(question, action, given).unwrap();
            assert_eq!(answered.base, None, "nothing is agreed on");
            (answered.content, answered.state)
        };

        assert_eq!(come(Action::Accept, None), (whole.clone(), State::Pending), "R23");
        assert_eq!(come(Action::Reject, None), (whole.clone(), State::Skipped), "R23");
        assert_eq!(
            come(Action::Custom, Some(given.clone())),
            (given.clone(), State::Pending),
            "R23"
        );
    }
}

#[test]
fn an_order_that_is_given_stays_an_order_of_where_it_was_placed() {
    let order = |origin: Option<System>, number: &str| {
        Content::Order(Order {
            number: number.to_owned(),
            origin,
            status: OrderStatus::Processing,
            currency: Currency::USD,
            placed_at: DateTime::UNIX_EPOCH,
            customer: None,
            billing: None,
            shipping: None,
            note: None,
            coupons: Vec::new(),
            lines: Vec::new(),
            total_tax: 0.into(),
            total: 0.into(),
        })
    };
    let seen = json!({});
    let question = Question {
        conflict_type: ConflictType::ValidationError,
        seen: &seen,
        latest: &seen,
        whole: &order(Some(System::Woocommerce), "1"),
        base: None,
        state: State::Conflict,
    };

    let answered = answer(question, Action::Custom, Some(order(None, "2"))).unwrap();

    assert_eq!(answered.content, order(Some(System::Woocommerce), "2"));
}

#[test]
fn a_question_that_can_not_be_read_is_not_answered() {
    let whole = customer("Ann", "", "");
    let seen = json!({ "ours": whole.to_json(), "theirs": { "colour": "red" } });
    let question = Question {
        conflict_type: ConflictType::DataMismatch,
        seen: &seen,
        latest: &seen,
        whole: &whole,
        base: None,
        state: State::Conflict,
    };

    assert!(answer(question, Action::Accept, None).is_err());
}
