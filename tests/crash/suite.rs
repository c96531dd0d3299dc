//! The suites, as long as a build may take; the program `crash` runs them for longer.

use std::collections::BTreeSet;

use lockstep_shared::system::{Direction, EntityType};
use lockstep_tests::crash::{matrix, storm};
use lockstep_worker::point::{Place, Point};

use super::program;

/// Rounds after which every type of record has had a death at every point of a push, in one system or the other.
const ROUNDS: usize = 8;

/// R13: killed at every named point, of every type, pull and push: both systems end as if nobody had died.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_at_any_point_loses_nothing_and_doubles_nothing() {
    let outcome = matrix::run(&program(), 0..ROUNDS, 4).await;

    assert!(outcome.verdict.is_good(), "R13: {:#?}", outcome.verdict);
    println!("{}", outcome.verdict);
    let died: BTreeSet<(Direction, EntityType, Point)> = outcome
        .died
        .iter()
        .map(
            |(
                _,
                Place {
                    direction, entity, ..
                },
                point,
            )| (*direction, *entity, *point),
        )
        .collect();
    let mut missing = Vec::new();
    for direction in [Direction::Pull, Direction::Push] {
        for entity in EntityType::ALL {
            for point in Point::of(direction) {
                if !died.contains(&(direction, entity, *point)) {
                    missing.push((direction, entity, *point));
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
