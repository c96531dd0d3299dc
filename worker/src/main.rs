//! The worker process: configuration from the environment, and logs.

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use lockstep_shared::db;
use lockstep_shared::network::Destinations;
use lockstep_shared::operations::{self, Operations, Scope};
use lockstep_shared::secret::SealingKey;
use lockstep_shared::telemetry::{self, LogFormat};
use lockstep_worker::config::Config;
use lockstep_worker::{metric, process};
use secrecy::{ExposeSecret, SecretString};

/// Claims batches from the queue and brings WooCommerce and Odoo in step.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Database to work in, as the role `lockstep_worker`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
    /// Key that seals the credentials of connections, the same for the API and the workers: 32 bytes in base64. Several with
    /// commas between: the first one seals, all of them open.
    #[arg(
        long,
        env = "INTEGRATION_ENCRYPTION_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    encryption_key: String,
    /// Batches that this process runs at once.
    #[arg(long, env = "LOCKSTEP_BATCH_SLOTS", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..))]
    batch_slots: u8,
    /// Commands that this process applies at once.
    #[arg(long, env = "LOCKSTEP_COMMAND_SLOTS", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..))]
    command_slots: u8,
    /// Connections to the database that this process may hold.
    #[arg(long, env = "LOCKSTEP_DATABASE_CONNECTIONS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(5..))]
    database_connections: u32,
    /// Seconds after which the batches of a dead process are free for others.
    #[arg(long, env = "LOCKSTEP_LEASE_SECS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(3..))]
    lease_secs: u64,
    /// Batches that may wait for tokens beside those: each keeps in memory what it has read.
    #[arg(long, env = "LOCKSTEP_PARKED_BATCHES", default_value_t = 64)]
    parked_batches: u16,
    /// Failures in a row after which nobody calls a system any more but a probe now and then.
    #[arg(long, env = "LOCKSTEP_CIRCUIT_FAILURES", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    circuit_failures: u32,
    /// Seconds for which a system may be out of order before the stages that need it fail.
    #[arg(long, env = "LOCKSTEP_OUTAGE_SECS", default_value_t = 1800, value_parser = clap::value_parser!(u32).range(1..))]
    outage_secs: u32,
    /// Seconds between two looks for lost bells and expired leases.
    #[arg(long, env = "LOCKSTEP_SWEEP_SECS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    sweep_secs: u64,
    /// Seconds that batches under way may take to stop after SIGTERM: less than what the platform waits before it kills.
    #[arg(long, env = "LOCKSTEP_DRAIN_SECS", default_value_t = 25)]
    drain_secs: u64,
    /// Seconds one request to a remote system may take. Odoo retries conflicts by itself for up to 25 s.
    #[arg(long, env = "LOCKSTEP_CALL_SECS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..))]
    call_secs: u64,
    /// Lets connections, notifications and pictures be at addresses of private networks, and at such without TLS: for a local
    /// run, never in production.
    #[arg(long, env = "LOCKSTEP_ALLOW_INSECURE_URLS", default_value_t = false, action = clap::ArgAction::Set)]
    allow_insecure_urls: bool,
    /// Address and port of `/metrics`, `/livez` and `/readyz` for the platform's own people, on a network of theirs: nobody is
    /// asked there who they are. Without it, there is no such listener.
    #[arg(long, env = "LOCKSTEP_OPERATIONS_BIND", value_name = "ADDRESS")]
    operations_bind: Option<SocketAddr>,
    /// What is logged, in the syntax of `RUST_LOG`.
    #[arg(long, env = "LOCKSTEP_LOG", default_value = "info")]
    log: String,
    /// How log lines look: `json` or `text`.
    #[arg(long, env = "LOCKSTEP_LOG_FORMAT", default_value = "json", value_parser = ["json", "text"])]
    log_format: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let format = if options.log_format == "text" {
        LogFormat::Text
    } else {
        LogFormat::Json
    };
    telemetry::init(&options.log, format);
    let bind = options.operations_bind;
    let set_up = configure(options).and_then(|config| Ok((operations(bind, &config)?, config)));
    let (operations, config) = match set_up {
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

fn configure(options: Options) -> Result<Config, String> {
    let key = SealingKey::parse(&SecretString::from(options.encryption_key))
        .map_err(|error| format!("`INTEGRATION_ENCRYPTION_KEY`: {error}"))?;
    let mut config = Config::new(options.database_url.into(), key);
    config.batch_slots = options.batch_slots.into();
    config.command_slots = options.command_slots.into();
    config.parked = options.parked_batches.into();
    config.circuit.threshold = options.circuit_failures;
    config.circuit.outage = Duration::from_secs(options.outage_secs.into());
    config.database_connections = options.database_connections;
    config.lease.length = Duration::from_secs(options.lease_secs);
    config.sweep_every = Duration::from_secs(options.sweep_secs);
    config.drain = Duration::from_secs(options.drain_secs);
    config.http.timeout = Duration::from_secs(options.call_secs);
    if options.allow_insecure_urls {
        (config.http.destinations, config.http.sources) = (Destinations::Any, Destinations::Any);
    }
    config.lease.progress_limit = config.http.timeout + Duration::from_secs(30);
    Ok(config)
}
