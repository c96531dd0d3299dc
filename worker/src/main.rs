//! The worker process: configuration from the environment, and logs.

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use clap::Parser;
use lockstep_shared::db;
use lockstep_shared::operations::{self, Operations, Scope};
use lockstep_shared::telemetry;
use lockstep_worker::config::Config;
use lockstep_worker::options::{Options, Settings};
use lockstep_worker::{metric, process};
use secrecy::ExposeSecret;

/// Claims batches from the queue and brings WooCommerce and Odoo in step.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("the system gives a process its threads");
    let code = runtime.block_on(work());
    // A look-up of a name that does not answer would keep the process beyond its deadline.
    runtime.shutdown_background();
    code
}

async fn work() -> ExitCode {
    let (operations, config) = match set_up(Cli::parse().options) {
        Ok(set_up) => set_up,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::FAILURE;
        }
    };
    let telling = operations.map(|(operations, listener)| {
        tokio::spawn(operations::serve(operations, listener, std::future::pending()))
    });
    let code = process::run(config).await;
    // To the very end: how a process drains can be watched.
    if let Some(telling) = telling {
        telling.abort();
    }
    code
}

/// Checks the variables, and starts logging.
fn set_up(options: Options) -> Result<(Option<(Operations, TcpListener)>, Config), String> {
    let settings = Settings::new(options).map_err(|error| error.to_string())?;
    telemetry::init(&settings.log, settings.log_format);
    let operations = operations(settings.operations_bind, &settings.config)?;
    Ok((operations, settings.config))
}

/// Returns what the platform's own people are told, and where, if anywhere.
fn operations(
    bind: Option<SocketAddr>,
    config: &Config,
) -> Result<Option<(Operations, TcpListener)>, String> {
    let Some(bind) = bind else { return Ok(None) };
    let listener = TcpListener::bind(bind)
        .map_err(|error| format!("`LOCKSTEP_OPERATIONS_BIND`: could not listen on `{bind}`: {error}"))?;
    let pool = db::pool(
        config.database_url.expose_secret(),
        1,
        "lockstep-worker-operations",
    )
    .map_err(|_| "`DATABASE_URL` is no address of a database".to_owned())?;
    let operations = Operations {
        pool,
        registry: metric::registry(),
        scope: Scope::Process,
    };
    Ok(Some((operations, listener)))
}
