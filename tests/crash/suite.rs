//! The suites, as long as a build may take; the program `crash` runs them for longer.

use lockstep_shared::system::{Direction, EntityType, System};
use lockstep_tests::crash::matrix::Operation;
use lockstep_tests::crash::{matrix, storm};
use lockstep_worker::point::{Place, Point};

use super::program;

/// Rounds after which every point of a push has had its deaths: all of one type, and in pairs of the rest.
const ROUNDS: usize = 8;

/// R13: killed at every named point, of every type, pull and push: both systems end as if nobody had died. Of one type there
/// is a death at each point in either system, of what is new and of what changed; of the others there is one
/// at each point of every type, in one system or the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_at_any_point_loses_nothing_and_doubles_nothing() {
    let outcome = matrix::run(&program(), 0..ROUNDS, 4).await;

    assert!(outcome.verdict.is_good(), "R13: {:#?}", outcome.verdict);
    println!("{}", outcome.verdict);
    let is_met = |is_meant: &dyn Fn(Operation, Place) -> bool, direction, point| {
        let mut died = outcome.died.iter();
        died.any(|(operation, place, at)| {
            (place.direction, *at) == (direction, point) && is_meant(*operation, *place)
        })
    };
    let mut missing = Vec::new();
    for direction in [Direction::Pull, Direction::Push] {
        for point in Point::of(direction) {
            for entity in EntityType::ALL {
                if !is_met(&|_, place| place.entity == entity, direction, *point) {
                    missing.push(format!("{entity:?} {direction:?} {point:?}"));
                }
            }
            for system in System::ALL {
                for operation in [Operation::Create, Operation::Update] {
                    let is_thorough = |of: Operation, place: Place| {
                        (of, place.system, place.entity) == (operation, system, matrix::THOROUGH)
                    };
                    if !is_met(&is_thorough, direction, *point) {
                        missing.push(format!("{operation:?} {system:?} {direction:?} {point:?}"));
                    }
                }
            }
        }
    }
    assert!(missing.is_empty(), "nobody died at {missing:#?}");
}

/// R13, R15, R16: everything at random: kills, workers that sleep past their leases, restarts of the database, cut and
/// stalled connections, replies lost after their effect, errors of the remote systems.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storms_lose_nothing_and_double_nothing() {
    // The same ones for everyone who builds: other storms are the program's (`--seed`).
    let seed = 1;
    println!("the storms begin with seed {seed}");

    let verdict = storm::run(&program(), 2, seed, 2).await;

    assert!(verdict.is_good(), "R13: seed {seed}: {verdict:#?}");
    assert!(verdict.deaths > 5, "{verdict}");
}
