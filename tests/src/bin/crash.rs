//! Whatever dies, whenever: workers killed at every named point, and storms of random faults, judged by the stand-ins.
//!
//! `cargo run --release -p lockstep-tests --bin crash -- --matrix` or `-- --rounds 100 --seed 1`. The last line sums up;
//! the exit status is 0 only where nothing was lost and nothing doubled.

use std::process::ExitCode;

use clap::Parser;
use lockstep_tests::crash::{Verdict, matrix};
use lockstep_tests::process::{self, Program};

#[derive(Parser)]
struct Options {
    /// Kills a worker at every named point of every place, instead of at random.
    #[arg(long)]
    matrix: bool,
    /// Shops that are carried over.
    #[arg(long)]
    rounds: Option<usize>,
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
    let rounds = options.rounds.unwrap_or(matrix::ALL);
    let outcome = matrix::run(&program, 0..rounds, options.at_once).await;
    for (operation, place, point) in &outcome.unreached {
        println!("nobody came by {operation:?} {}", place.name(*point));
    }
    Ok(tell(&outcome.verdict))
}

fn tell(verdict: &Verdict) -> ExitCode {
    for sentence in verdict.lost.iter().chain(&verdict.doubled) {
        println!("{sentence}");
    }
    println!("{verdict}");
    if verdict.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
