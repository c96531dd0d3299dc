//! The program: everything on one machine with one command.

use std::process::ExitCode;

use clap::Parser;
use lockstep_local::cli::Cli;
use lockstep_local::run;
use lockstep_shared::telemetry::Chain;

#[tokio::main]
async fn main() -> ExitCode {
    match run::run(Cli::parse()).await {
        Ok(end) => end.into(),
        Err(error) => {
            eprintln!("error: {}", Chain(&error));
            ExitCode::FAILURE
        }
    }
}
