//! Deaths at every named point of a batch: in a pull and a push, of every type, in either system, for what is new and
//! for what changed.
//!
//! One round carries a shop over twice, what is new and then what changed. In each of both syncs a process dies in every
//! place, at the point that the round has for it, and the next process goes on; so that as many rounds as there are points
//! have had a death at every point of every place.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_shared::system::{Direction, EntityType, System};
use lockstep_worker::point::{Place, Point};
use tokio::sync::Semaphore;

use super::judge::State;
use super::{Verdict, config, shop};
use crate::process::Program;
use crate::stack::{Stack, within};

/// Rounds after which every point of every place had its death.
pub const ALL: usize = Point::PUSH.len();

/// Longest that a sync may take, with twenty deaths on its way.
const PATIENCE: Duration = Duration::from_mins(10);

/// How long a worker may live on after the commit that ended the sync, where it is to die right then.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Whether the things that are carried over are new or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    Create,
    Update,
}

/// A place and a point of it.
type Spot = (Operation, Place, Point);

/// What the rounds came to.
#[derive(Debug, Default)]
pub struct Outcome {
    pub verdict: Verdict,
    /// Where a process died.
    pub died: BTreeSet<Spot>,
    /// Where one was to die, and nobody came by.
    pub unreached: BTreeSet<Spot>,
}

fn places() -> Vec<Place> {
    let mut places = Vec::new();
    for direction in [Direction::Pull, Direction::Push] {
        for system in System::ALL {
            for entity in EntityType::ALL {
                places.push(Place {
                    direction,
                    system,
                    entity,
                });
            }
        }
    }
    places
}

/// The type whose pushes have two deaths in a round, so that half as many rounds as there are points see all of them, in
/// either system, of what is new and of what changed. As many rounds see all points of a pull anyhow, whose page is not read
/// any more after three deaths in a row.
pub const THOROUGH: EntityType = EntityType::Products;

/// The points at which a place has its deaths in a round.
fn points(round: usize, place: Place) -> BTreeSet<Point> {
    let has_two = (place.direction, place.entity) == (Direction::Push, THOROUGH);
    let second = has_two.then(|| point(round + ALL.div_ceil(2), place));
    second.into_iter().chain([point(round, place)]).collect()
}

/// The point at which a place has a death in a round. Places that differ in one thing alone have different points, so
/// that a few rounds see every point in either system and of every type.
fn point(round: usize, place: Place) -> Point {
    let points = Point::of(place.direction);
    let type_number = EntityType::ALL.iter().position(|entity| *entity == place.entity);
    // So that half as many rounds as there are points see each of them in one system or the other.
    let ahead = match place.system {
        System::Woocommerce => 0,
        System::Odoo => points.len() / 2,
    };
    points[(round + type_number.unwrap_or_default() * 4 + ahead) % points.len()]
}

/// Runs rounds, some at a time.
pub async fn run(program: &Program, rounds: impl IntoIterator<Item = usize>, at_once: usize) -> Outcome {
    let calm = Arc::new(calm(program).await);
    let slots = Arc::new(Semaphore::new(at_once));
    let tasks: Vec<_> = rounds
        .into_iter()
        .map(|number| {
            let (calm, slots, program) = (calm.clone(), slots.clone(), program.clone());
            tokio::spawn(async move {
                let _slot = slots.acquire().await.expect("nobody closes it");
                round(&program, number, &calm).await
            })
        })
        .collect();
    let mut outcome = Outcome::default();
    for task in tasks {
        let one = task.await.expect("a round does not panic");
        outcome.verdict.add(one.verdict);
        outcome.died.extend(one.died);
        outcome.unreached.extend(one.unreached);
    }
    outcome
}

/// Carries the shop over without any death: what is right.
async fn calm(program: &Program) -> [State; 2] {
    let mut states = Vec::new();
    let stack = Stack::new().await;
    let own = shop::open(&stack, 7).await;
    let worker = program.start(&config(&stack), "");
    for operation in [Operation::Create, Operation::Update] {
        if operation == Operation::Update {
            shop::change(&stack, own).await;
        }
        let id = stack.start().await;
        stack.finish_within(id, PATIENCE).await;
        states.push(State::read(&stack).await.right());
    }
    drop(worker);
    states.try_into().expect("two were read")
}

async fn round(program: &Program, number: usize, calm: &[State; 2]) -> Outcome {
    let mut outcome = Outcome::default();
    let stack = Stack::new().await;
    let own = shop::open(&stack, 7).await;
    for (operation, calm) in [Operation::Create, Operation::Update].into_iter().zip(calm) {
        if operation == Operation::Update {
            shop::change(&stack, own).await;
        }
        let mut spots: BTreeSet<Spot> = places()
            .into_iter()
            .flat_map(|place| {
                points(number, place)
                    .into_iter()
                    .map(move |point| (operation, place, point))
            })
            .collect();
        let died = sync_with_deaths(program, &stack, &mut spots).await;
        let story = format!("round {number}, {operation:?}");
        let state = State::read(&stack).await;
        outcome.verdict.add(state.beside(calm, died.len(), &story));
        outcome.died.extend(died);
        outcome.unreached.extend(spots);
    }
    // A shop is one round, however often it is carried over.
    outcome.verdict.rounds = 1;
    outcome
}

/// Carries one sync to its end, with a new process for every death. Takes the spots out at which a process died.
async fn sync_with_deaths(program: &Program, stack: &Stack, spots: &mut BTreeSet<Spot>) -> Vec<Spot> {
    let config = config(stack);
    let id = stack.start().await;
    let mut died = Vec::new();
    loop {
        let set: Vec<String> = spots
            .iter()
            .map(|(_, place, point)| format!("{}=return", place.name(*point)))
            .collect();
        let mut worker = program.start(&config, &set.join(";"));
        let mut was_killed = false;
        within(PATIENCE, "the sync to end or the worker to die", || {
            was_killed = worker.was_killed();
            let is_dead = worker.status().is_some();
            async move {
                let is_over = stack.view(id).await.status.is_final();
                (is_over || is_dead).then_some(())
            }
        })
        .await;
        // It may die right after the commit that ended the sync, which is seen here before its death.
        let last_moment = Instant::now() + LAST_MOMENT;
        while !was_killed && Instant::now() < last_moment {
            tokio::time::sleep(Duration::from_millis(20)).await;
            was_killed = worker.was_killed();
        }
        if !was_killed {
            assert!(
                worker.status().is_none(),
                "the worker ended by itself: {:?}",
                worker.status()
            );
            return died;
        }
        let words = worker.last_words();
        let last = words.lines().last().unwrap_or_default();
        let spot = spots
            .iter()
            .find(|(_, place, point)| place.name(*point) == last)
            .copied();
        let spot = spot.unwrap_or_else(|| panic!("a worker died where nothing was set: {words}"));
        spots.remove(&spot);
        died.push(spot);
    }
}
