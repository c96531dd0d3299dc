//! Load: does it stay flat, does everyone get their turn, does it keep to its limits? Each scenario prints its figures and
//! `pass` or `fail`; the exit status is 0 only where all passed.
//!
//! `cargo run --release -p lockstep-tests --bin load -- --scenario all`, or one of `items`, `chain`, `breadth`, `latency`,
//! `edge` and `fairness`; with `--short` as it runs with the tests.

use std::process::ExitCode;

use clap::Parser;
use lockstep_tests::load::{Scenario, Size, run};
use lockstep_tests::process::{self, Program};

#[derive(Parser)]
struct Options {
    /// Which to run: a name, the number of its requirement (R90 to R94, R35), or `all`.
    #[arg(long, default_value = "all")]
    scenario: String,
    /// A small one of each, in less than half a minute.
    #[arg(long)]
    short: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if process::is_worker() {
        return runtime.block_on(process::serve());
    }
    runtime.block_on(load(&Options::parse()))
}

async fn load(options: &Options) -> anyhow::Result<ExitCode> {
    let scenarios: Vec<Scenario> = Scenario::ALL
        .into_iter()
        .filter(|scenario| {
            let name = options.scenario.as_str();
            name == "all" || name == scenario.name() || name.eq_ignore_ascii_case(scenario.requirement())
        })
        .collect();
    anyhow::ensure!(
        !scenarios.is_empty(),
        "there is no scenario `{}`",
        options.scenario
    );
    let size = if options.short { Size::Short } else { Size::Full };
    let program = Program::this()?;
    let mut has_passed = true;
    for scenario in scenarios {
        println!("{} {}", scenario.requirement(), scenario.name());
        let report = run(&program, scenario, size).await?;
        println!("{report}");
        has_passed &= report.has_passed();
    }
    Ok(if has_passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
