//! Storms: while a shop is carried over by three workers, whatever can happen to them, to their database and to the
//! remote systems happens at random, people pause, cancel and start syncs, and guests buy. The same seed makes the same
//! storm, as far as the machine keeps time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use lockstep_local::postgres::StopMode;
use lockstep_sandbox::fault::Fault;
use lockstep_shared::command::Kind;
use lockstep_shared::id::SyncId;
use lockstep_shared::sync::Config;
use lockstep_worker::config::Config as WorkerConfig;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use tokio::sync::Mutex;

use super::judge::State;
use super::{Verdict, config, shop};
use crate::process::{Program, Worker};
use crate::proxy::Proxy;
use crate::stack::{Server, Stack};

const WORKERS: usize = 3;

/// Kinds of shops: a storm takes one of them.
const SHOPS: u64 = 4;

/// Longest that a sync may take once the storm is over.
const PATIENCE: Duration = Duration::from_mins(10);

/// Syncs after which everything has come to rest.
const CALM_SYNCS: usize = 3;

/// Things that happen while one sync runs, unless it ends before; then the storm has blown itself out.
const EVENTS: usize = 24;

/// Syncs that run at once, at most: fewer than an organisation may have.
const AT_ONCE: usize = 4;

/// The share of requests that go wrong.
const FAULT_RATE: f64 = 0.06;

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A worker is killed; another takes its place.
    Kill(usize),
    /// A worker is stopped for longer than its leases last, and wakes in the belief that nothing happened.
    Sleep(usize, Duration),
    /// A worker is asked to end, and killed if it takes too long; another takes its place.
    Drain(usize),
    /// The database is started anew, in good order or not.
    Restart(StopMode),
    Cut,
    Stall(Duration),
    Refuse(Duration),
    /// Somebody pauses the newest sync, and has it go on after a while, whether it stands still by then or not.
    Pause(Duration),
    /// Somebody cancels the newest sync, wherever it stands, and starts another in its place.
    Cancel(Config),
    /// Somebody starts another sync of everything beside those that run.
    Start(Config),
}

/// Draws how a sync goes about it: in batches of any size, with a look at everything or only at what changed, or without
/// writing anything.
fn draw_config(random: &mut StdRng) -> Config {
    let batch_size = [1, 2, 4, 50][random.random_range(0..4)];
    let config = Config::new(Some(batch_size), Some(0), None).expect("in range");
    let (full_scan, dry_run) = match random.random_range(0..10) {
        0..=3 => (true, false),
        4 => (false, true),
        _ => (false, false),
    };
    Config {
        full_scan,
        dry_run,
        ..config
    }
}

impl Event {
    fn draw(random: &mut StdRng) -> Self {
        let worker = random.random_range(0..WORKERS);
        match random.random_range(0..25) {
            0..=11 => Self::Kill(worker),
            // Longer than a lease, shorter than the deadline and the grace of a request: the bound that the promise has
            // for remotes without a unique key.
            12..=14 => Self::Sleep(worker, Duration::from_millis(random.random_range(1400..2300))),
            15 => Self::Drain(worker),
            16 => Self::Restart(if random.random() {
                StopMode::Fast
            } else {
                StopMode::Immediate
            }),
            17 => Self::Cut,
            18 => Self::Stall(Duration::from_millis(random.random_range(200..2000))),
            19 => Self::Refuse(Duration::from_millis(random.random_range(200..2000))),
            20..=21 => Self::Pause(Duration::from_millis(random.random_range(0..1500))),
            22 => Self::Cancel(draw_config(random)),
            _ => Self::Start(draw_config(random)),
        }
    }
}

/// Everything that can go wrong with a request. What runs on ends before a request counts as never to arrive.
fn faults() -> Vec<Fault> {
    let status = |code| Fault::Status {
        code,
        retry_after: None,
        body: None,
    };
    vec![
        Fault::LostReply,
        Fault::LostReply,
        Fault::CutConnection,
        Fault::PartialBatch(2),
        Fault::RunsOn(Duration::from_millis(600)),
        Fault::SerializationMessage,
        Fault::Truncated,
        Fault::Latency(Duration::from_millis(700)),
        status(500),
        status(502),
        Fault::Status {
            code: 429,
            retry_after: Some("1".to_owned()),
            body: None,
        },
    ]
}

/// Runs storms one after another on each of several databases.
pub async fn run(program: &Program, rounds: usize, seed: u64, at_once: usize) -> Verdict {
    let seeds: Vec<u64> = (0..rounds as u64).map(|round| seed.wrapping_add(round)).collect();
    let kinds: BTreeSet<u64> = seeds.iter().map(|seed| seed % SHOPS).collect();
    let calm: BTreeMap<u64, State> = join_all(
        kinds
            .into_iter()
            .map(async |kind| (kind, calm(program, kind).await)),
    )
    .await
    .into_iter()
    .collect();
    let calm = Arc::new(calm);
    let left = Arc::new(Mutex::new(seeds.into_iter()));
    let lanes: Vec<_> = (0..at_once.min(rounds))
        .map(|_| {
            let (calm, left, program) = (calm.clone(), left.clone(), program.clone());
            tokio::spawn(async move {
                let server = Server::start().await;
                let mut verdict = Verdict::default();
                loop {
                    let next = left.lock().await.next();
                    let Some(seed) = next else { return verdict };
                    let one = storm(&program, &server, seed, &calm[&(seed % SHOPS)]).await;
                    println!("seed {seed}: {one}");
                    for sentence in one.lost.iter().chain(&one.doubled) {
                        println!("    {sentence}");
                    }
                    verdict.add(one);
                }
            })
        })
        .collect();
    let mut verdict = Verdict::default();
    for lane in lanes {
        verdict.add(lane.await.expect("a storm does not panic"));
    }
    verdict
}

/// Carries a kind of shop over without a storm: what is right.
async fn calm(program: &Program, kind: u64) -> State {
    let stack = Stack::new().await;
    let own = shop::open(&stack, kind).await;
    let _worker = program.start(&config(&stack), "");
    stack.finish_within(stack.start().await, PATIENCE).await;
    shop::change(&stack, own).await;
    shop::clear_out(&stack).await;
    let store = &stack.sandbox.store;
    let sales = shop::goods(store)
        .into_iter()
        .map(|product| (product, Duration::ZERO));
    shop::trade(store.shopper(), sales.collect()).await;
    come_to_rest(&stack).await;
    scan(&stack).await;
    State::read(&stack).await.right()
}

async fn come_to_rest(stack: &Stack) {
    for _ in 0..CALM_SYNCS {
        stack.finish_within(stack.start().await, PATIENCE).await;
    }
}

/// Has what was thrown away be found.
async fn scan(stack: &Stack) {
    let config = Config {
        full_scan: true,
        ..Config::new(None, Some(0), None).expect("in range")
    };
    stack
        .finish_within(stack.start_with(config).await, PATIENCE)
        .await;
    come_to_rest(stack).await;
}

async fn storm(program: &Program, server: &Server, seed: u64, calm: &State) -> Verdict {
    let mut random = StdRng::seed_from_u64(seed);
    let stack = Stack::new_in(server).await;
    let own = shop::open(&stack, seed % SHOPS).await;
    let proxy = Proxy::to(server.cluster.port()).await.expect("a port is free");
    let mut config = config(&stack);
    config.database_url = proxy.rewired(&stack.database.urls.worker).into();
    let mut fleet = Fleet {
        program,
        workers: (0..WORKERS).map(|_| program.start(&config, "")).collect(),
        config,
        deaths: 0,
    };
    for is_changed in [false, true] {
        let mut sales = None;
        if is_changed {
            shop::change(&stack, own).await;
            shop::clear_out(&stack).await;
            let store = &stack.sandbox.store;
            let pause = || Duration::from_millis(random.random_range(0..3000));
            let planned = shop::goods(store).into_iter().zip(std::iter::repeat_with(pause));
            sales = Some(tokio::spawn(shop::trade(store.shopper(), planned.collect())));
        }
        for stand_in in [stack.sandbox.store.faults(), stack.sandbox.erp.faults()] {
            stand_in.random(random.random(), FAULT_RATE, faults());
        }
        blow(&stack, server, &proxy, &mut fleet, &mut random).await;
        if let Some(sales) = sales {
            sales.await.expect("whoever pays may buy");
        }
        // What is left over arrives before people change more: an order says where its customer lived when it arrived.
        stack.sandbox.store.faults().clear();
        stack.sandbox.erp.faults().clear();
        come_to_rest(&stack).await;
    }
    let story = format!("seed {seed}");
    // Before a look at everything, which would find what a look at changes has missed.
    let amiss = State::read(&stack).await.amiss(&story);
    scan(&stack).await;
    let mut verdict = State::read(&stack).await.beside(calm, fleet.deaths, &story);
    verdict.lost.extend(amiss);
    drop(fleet);
    verdict
}

struct Fleet<'a> {
    program: &'a Program,
    config: WorkerConfig,
    workers: Vec<Worker>,
    deaths: usize,
}

impl Fleet<'_> {
    fn replace(&mut self, number: usize) {
        self.workers[number] = self.program.start(&self.config, "");
    }

    /// A worker that ended without being asked is started anew, as its platform would.
    fn look_after(&mut self) {
        for number in 0..self.workers.len() {
            if self.workers[number].status().is_some() {
                self.replace(number);
            }
        }
    }
}

/// Has things happen while a sync runs and those that are started beside it, and waits for their ends.
async fn blow(stack: &Stack, server: &Server, proxy: &Proxy, fleet: &mut Fleet<'_>, random: &mut StdRng) {
    // The first is not a dry run: what there is to do is done while it blows.
    let first = Config {
        dry_run: false,
        ..draw_config(random)
    };
    let mut syncs = vec![stack.start_with(first).await];
    for _ in 0..EVENTS {
        let running = running(stack, &syncs).await;
        let Some(&newest) = running.last() else { break };
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1200))).await;
        fleet.look_after();
        match Event::draw(random) {
            Event::Kill(number) => {
                fleet.workers[number].kill();
                fleet.deaths += 1;
                fleet.replace(number);
            }
            Event::Sleep(number, length) => {
                fleet.workers[number].signal(Signal::STOP);
                tokio::time::sleep(length).await;
                fleet.workers[number].signal(Signal::CONT);
            }
            Event::Drain(number) => {
                fleet.workers[number].signal(Signal::TERM);
                tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
                if fleet.workers[number].status().is_none() {
                    fleet.workers[number].kill();
                    fleet.deaths += 1;
                }
                fleet.replace(number);
            }
            Event::Restart(mode) => {
                fleet.deaths += 1;
                server
                    .cluster
                    .restart(mode)
                    .await
                    .expect("the server starts again");
            }
            Event::Cut => proxy.cut(),
            Event::Stall(length) => proxy.stall(length).await,
            Event::Refuse(length) => proxy.refuse(length).await,
            Event::Pause(length) => {
                // Where it has ended meanwhile, whoever applies these refuses them.
                stack.ask(newest, Kind::Pause).await;
                tokio::time::sleep(length).await;
                stack.ask(newest, Kind::Resume).await;
            }
            Event::Cancel(_) | Event::Start(_) if running.len() >= AT_ONCE => {}
            Event::Cancel(config) => {
                stack.ask(newest, Kind::Cancel).await;
                syncs.push(stack.start_with(config).await);
            }
            Event::Start(config) => syncs.push(stack.start_with(config).await),
        }
    }
    fleet.look_after();
    for sync in syncs {
        stack.finish_within(sync, PATIENCE).await;
    }
}

/// Returns those of the syncs that have not ended, in the order in which they were started.
async fn running(stack: &Stack, syncs: &[SyncId]) -> Vec<SyncId> {
    let mut running = Vec::new();
    for sync in syncs {
        if !stack.view(*sync).await.status.is_final() {
            running.push(*sync);
        }
    }
    running
}
