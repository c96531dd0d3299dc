//! Whatever dies, whenever: workers killed at every named point, and storms of random faults, judged by the stand-ins.
//!
//! `cargo run --release -p lockstep-tests --bin crash -- --matrix` or `-- --rounds 100 --seed 1`. The last line sums up;
//! the exit status is 0 only where nothing was lost and nothing doubled.

use std::process::ExitCode;

use clap::Parser;
use lockstep_tests::crash::{Verdict, matrix, storm};
use lockstep_tests::process::{self, Program};

#[derive(Parser)]
struct Options {
    /// Kills a worker at every named point of every place, instead of at random.
    #[arg(long)]
    matrix: bool,
    /// Shops that are carried over; 10 storms, or every round of the matrix, unless told otherwise.
    #[arg(long)]
    rounds: Option<usize>,
    /// What the first storm is made from, or the first round of the matrix; the next takes the next number.
    #[arg(long)]
    seed: Option<u64>,
    /// Shops at a time.
    #[arg(long, default_value_t = 3)]
    at_once: usize,
}

fn main() -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if process::is_worker() {
        return runtime.block_on(process::serve());
    }
    runtime.block_on(run(Options::parse()))
}

async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let program = Program::this()?;
    if options.matrix {
        let first = usize::try_from(options.seed.unwrap_or_default())?;
        let rounds = options.rounds.unwrap_or(matrix::ALL);
        let outcome = matrix::run(&program, first..first + rounds, options.at_once).await;
        for (operation, place, point) in &outcome.unreached {
            println!("nobody came by {operation:?} {}", place.name(*point));
        }
        for sentence in outcome.verdict.lost.iter().chain(&outcome.verdict.doubled) {
            println!("{sentence}");
        }
        return Ok(tell(&outcome.verdict));
    }
    let seed = options.seed.unwrap_or_else(rand::random);
    println!("the storms begin with seed {seed}");
    let verdict = storm::run(&program, options.rounds.unwrap_or(10), seed, options.at_once).await;
    Ok(tell(&verdict))
}

fn tell(verdict: &Verdict) -> ExitCode {
    println!("{verdict}");
    if verdict.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
