//! Everything that can happen, looked at: with all guards in nothing breaks, and without any one of them something does.

use lockstep_model::explore::explore;
use lockstep_model::property::Violation;
use lockstep_model::scenario::{Bound, Guard, Remote, Scenario};

/// Expects a scenario to hold, and to be as large as it is meant to be.
fn holds(scenario: Scenario, least_states: usize) {
    let explored = explore(&scenario);
    println!(
        "{} states, {} steps, {} of the states are ends",
        explored.states, explored.steps, explored.ends
    );
    if let Some(finding) = explored.finding {
        panic!("{scenario:?}\n{finding}\n{:?}", finding.last);
    }
    assert!(explored.states > least_states, "only {} states", explored.states);
}

/// Expects something to break, and tells what and how.
fn breaks(scenario: Scenario) -> Violation {
    let explored = explore(&scenario);
    let finding = explored.finding.expect("a counterexample");
    println!("{} states until\n{finding}", explored.states);
    finding.violation
}

const KEYLESS: Scenario = Scenario::new(Remote::Keyless);

#[test]
fn a_remote_without_a_key_gets_each_thing_once() {
    holds(Scenario { edits: 2, ..KEYLESS }, 50_000);
}

#[test]
fn a_remote_that_refuses_a_second_thing_gets_each_thing_once() {
    let scenario = Scenario::new(Remote::Refusing);
    holds(Scenario { edits: 2, ..scenario }, 50_000);
}

#[test]
fn a_remote_that_writes_over_what_it_has_gets_each_thing_once() {
    let scenario = Scenario::new(Remote::Overwriting);
    holds(Scenario { edits: 2, ..scenario }, 50_000);
}

#[test]
fn owners_that_have_lost_their_batch_go_on_without_harm() {
    let scenario = Scenario {
        has_stale_owners: true,
        edits: 1,
        ..KEYLESS
    };
    holds(scenario, 250_000);
}

#[test]
fn lost_bells_are_rung_again() {
    let scenario = Scenario {
        loses_bells: true,
        ..KEYLESS
    };
    holds(scenario, 10_000);
}

#[test]
fn things_made_in_part_and_batches_given_back_come_to_their_end() {
    let scenario = Scenario {
        edits: 1,
        has_parts: true,
        has_give_backs: true,
        ..KEYLESS
    };
    holds(scenario, 100_000);
}

#[test]
fn pauses_and_cancellations_are_kept() {
    let scenario = Scenario {
        edits: 1,
        has_commands: true,
        ..KEYLESS
    };
    holds(scenario, 80_000);
}

#[test]
fn a_stage_that_ends_early_lets_go_of_everything() {
    let scenario = Scenario {
        edits: 1,
        has_refusals: true,
        ..KEYLESS
    };
    holds(scenario, 25_000);
}

#[test]
fn two_syncs_share_an_item() {
    let scenario = Scenario {
        edits: 1,
        syncs: 2,
        ..KEYLESS
    };
    holds(scenario, 100_000);
}

#[test]
fn two_items_in_two_lanes_end_their_stage_once() {
    let scenario = Scenario {
        items: 2,
        batch_size: 1,
        ..KEYLESS
    };
    holds(scenario, 300_000);
}

#[test]
fn a_pull_that_sees_what_was_given_up_does_no_harm() {
    let scenario = Scenario {
        edits: 1,
        has_pulls: true,
        has_parts: true,
        ..KEYLESS
    };
    holds(scenario, 80_000);
}

#[test]
fn requests_beyond_the_bound_never_double_a_thing_that_has_a_key() {
    for remote in [Remote::Refusing, Remote::Overwriting] {
        let scenario = Scenario {
            bound: Bound::Broken,
            ..Scenario::new(remote)
        };
        holds(scenario, 50_000);
    }
}

#[test]
fn beyond_the_bound_a_thing_without_a_key_is_made_twice() {
    let scenario = Scenario {
        bound: Bound::Broken,
        ..KEYLESS
    };
    assert_eq!(breaks(scenario), Violation::CreatedTwice);
}

#[test]
fn without_intents_a_thing_is_made_twice() {
    assert_eq!(breaks(KEYLESS.without(Guard::Intent)), Violation::CreatedTwice);
}

#[test]
fn without_the_look_up_a_thing_is_made_twice() {
    assert_eq!(breaks(KEYLESS.without(Guard::LookUp)), Violation::CreatedTwice);
}

#[test]
fn without_the_check_of_the_deadline_a_thing_is_made_twice() {
    assert_eq!(breaks(KEYLESS.without(Guard::Deadline)), Violation::CreatedTwice);
}

#[test]
fn without_the_check_of_the_lease_a_paused_sync_calls() {
    let scenario = Scenario {
        has_commands: true,
        ..KEYLESS
    };
    assert_eq!(
        breaks(scenario.without(Guard::Lease)),
        Violation::CalledWhilePaused
    );
}

#[test]
fn without_the_grace_a_thing_is_made_twice() {
    assert_eq!(breaks(KEYLESS.without(Guard::Grace)), Violation::CreatedTwice);
}

#[test]
fn without_resolving_first_a_thing_is_made_twice() {
    assert_eq!(
        breaks(KEYLESS.without(Guard::ResolveFirst)),
        Violation::CreatedTwice
    );
}

#[test]
fn without_the_fence_on_intents_a_stale_owner_leaves_an_item_in_doubt() {
    let scenario = Scenario { edits: 1, ..KEYLESS }.without(Guard::FenceOnIntend);
    assert_eq!(breaks(scenario), Violation::StaleOwnerRecorded);
    let scenario = Scenario {
        minds_stale_records: false,
        ..scenario
    };
    assert_eq!(breaks(scenario), Violation::LeftInDoubt);
}

#[test]
fn without_the_fence_on_outcomes_a_thing_is_made_twice() {
    let scenario = KEYLESS.without(Guard::FenceOnOutcome);
    assert_eq!(breaks(scenario), Violation::StaleOwnerRecorded);
    let scenario = Scenario {
        minds_stale_records: false,
        ..scenario
    };
    assert_eq!(breaks(scenario), Violation::CreatedTwice);
}

#[test]
fn without_the_fence_on_settling_and_giving_back_a_stale_owner_records() {
    let scenario = KEYLESS.without(Guard::FenceOnSettle);
    assert_eq!(breaks(scenario), Violation::StaleOwnerRecorded);
}

#[test]
fn with_two_batches_for_one_item_an_effect_is_left_behind() {
    let scenario = Scenario {
        edits: 1,
        syncs: 2,
        ..KEYLESS
    };
    let violation = breaks(scenario.without(Guard::OneBatchPerItem));
    assert_eq!(violation, Violation::LeftInDoubt);
}

#[test]
fn without_the_generation_in_the_key_ten_twelve_ten_twelve_loses_the_last_write() {
    let scenario = Scenario { edits: 3, ..KEYLESS };
    let violation = breaks(scenario.without(Guard::GenerationInKey));
    assert_eq!(violation, Violation::EffectLost);
}

#[test]
fn with_a_base_from_the_content_of_now_a_change_is_lost() {
    let scenario = Scenario { edits: 1, ..KEYLESS };
    let violation = breaks(scenario.without(Guard::BaseFromEffect));
    assert_eq!(violation, Violation::EffectLost);
}

#[test]
fn without_the_sweep_a_lost_bell_is_the_end_of_it() {
    let scenario = Scenario {
        loses_bells: true,
        ..KEYLESS
    };
    assert_eq!(breaks(scenario.without(Guard::Sweep)), Violation::NeverEnds);
}

#[test]
fn without_the_lock_on_the_stage_two_lanes_both_miss_its_end() {
    let scenario = Scenario {
        items: 2,
        batch_size: 1,
        has_deaths: false,
        ..KEYLESS
    };
    assert_eq!(breaks(scenario.without(Guard::StageLock)), Violation::NeverEnds);
}

#[test]
fn without_a_key_of_its_own_the_completion_of_a_thing_goes_in_circles() {
    let scenario = Scenario {
        has_parts: true,
        ..KEYLESS
    };
    let violation = breaks(scenario.without(Guard::OwnKeyToComplete));
    assert_eq!(violation, Violation::NeverEnds);
}

#[test]
fn a_stage_that_ends_early_without_freeing_its_lanes_strands_their_items() {
    let scenario = Scenario {
        has_refusals: true,
        ..KEYLESS
    };
    let violation = breaks(scenario.without(Guard::EndFreesLanes));
    assert_eq!(violation, Violation::NeverEnds);
}
