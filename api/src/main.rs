//! The program: serves the API, and what an operator does around it.

use std::net::TcpListener;

use anyhow::Context;
use chrono::{Duration, Utc};
use clap::{Args, Parser, Subcommand};
use lockstep_api::config::{Config, Jwt, JwtOptions, Options};
use lockstep_api::server;
use lockstep_api::token::{self, Caller};
use lockstep_shared::db::{self, Isolation};
use lockstep_shared::entity::clean_line;
use lockstep_shared::id::OrgId;
use lockstep_shared::organisation::{self, Organisation};
use lockstep_shared::rotation;
use lockstep_shared::secret::SealingKey;
use lockstep_shared::telemetry;

/// The HTTP API of Lockstep. Without a command, it serves.
#[derive(Parser)]
#[command(name = "api", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API until a signal to stop (the default).
    Serve(Options),
    /// Print the OpenAPI document.
    Openapi,
    /// Bring the database's tables up to date, as their owner. One process at a time; a second run changes nothing.
    Migrate(Migrate),
    /// Make an organisation and print its identifier.
    CreateOrganisation(CreateOrganisation),
    /// Sign a bearer token and print it.
    IssueToken(IssueToken),
    /// Seal anew what another key sealed than the first one of `INTEGRATION_ENCRYPTION_KEY`, beside running processes.
    RotateKeys(RotateKeys),
}

#[derive(Args)]
struct Migrate {
    /// Database to work in, as the role `lockstep_owner`.
    #[arg(
        long,
        env = "LOCKSTEP_OWNER_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    owner_database_url: String,
}

#[derive(Args)]
struct CreateOrganisation {
    /// Database to work in, as the role `lockstep_api` or `lockstep_owner`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
    /// Name of the organisation.
    #[arg(long)]
    name: String,
    /// Requests that may be sent to its systems each minute, over all of them and the whole fleet.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i32).range(1..=10_000_000))]
    requests_per_minute: i32,
}

#[derive(Args)]
struct RotateKeys {
    /// Database to work in, as the role `lockstep_api`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
    /// The new key and, after a comma, the old one.
    #[arg(
        long,
        env = "INTEGRATION_ENCRYPTION_KEY",
        hide_env_values = true,
        value_name = "KEYS"
    )]
    encryption_key: String,
}

#[derive(Args)]
struct IssueToken {
    /// Organisation that the token is for.
    #[arg(long, value_name = "ID")]
    organisation: OrgId,
    /// Who the token speaks for; what the audit trail names.
    #[arg(long, value_name = "NAME")]
    subject: String,
    /// Hours that the token holds.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..))]
    hours: u16,
    #[command(flatten)]
    jwt: JwtOptions,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Serve(cli.options)) {
        Command::Serve(options) => serve(options).await,
        Command::Openapi => {
            print!("{}", server::openapi());
            Ok(())
        }
        Command::Migrate(arguments) => db::migrate(&arguments.owner_database_url)
            .await
            .context("could not migrate the database"),
        Command::CreateOrganisation(arguments) => create_organisation(arguments).await,
        Command::IssueToken(arguments) => issue_token(arguments),
        Command::RotateKeys(arguments) => rotate_keys(arguments).await,
    }
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let config = Config::new(options)?;
    telemetry::init(&config.log, config.log_format);
    let listener =
        TcpListener::bind(config.bind).with_context(|| format!("could not listen on `{}`", config.bind))?;
    server::serve(config, listener, asked_to_stop()?).await?;
    Ok(())
}

/// Resolves when the process is asked to end: by Kubernetes, or at a terminal.
fn asked_to_stop() -> anyhow::Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate()).context("could not listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("could not listen for signals")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

async fn create_organisation(arguments: CreateOrganisation) -> anyhow::Result<()> {
    let organisation = Organisation {
        org_id: OrgId::random(),
        name: clean_line(&arguments.name),
        requests_per_minute: arguments.requests_per_minute,
    };
    anyhow::ensure!(
        (1..=200).contains(&organisation.name.chars().count()),
        "the name must have 1 to 200 characters"
    );
    let pool = db::pool(&arguments.database_url, 1, "lockstep-api")
        .context("the address of the database can't be used")?;
    let mut tx = db::begin(&pool, organisation.org_id, Isolation::ReadCommitted)
        .await
        .context("could not reach the database")?;
    organisation::create(&mut tx, &organisation)
        .await
        .context("could not store the organisation")?;
    tx.commit().await.context("could not store the organisation")?;
    println!("{}", organisation.org_id);
    Ok(())
}

async fn rotate_keys(arguments: RotateKeys) -> anyhow::Result<()> {
    telemetry::init("info", telemetry::LogFormat::Text);
    let keys = SealingKey::parse(&arguments.encryption_key.into())
        .context("`INTEGRATION_ENCRYPTION_KEY` can't be used")?;
    let pool = db::pool(&arguments.database_url, 1, "lockstep-api")
        .context("the address of the database can't be used")?;
    let rotated = rotation::rotate(&pool, &keys, rand::random)
        .await
        .context("could not seal everything anew; run it again to go on")?;
    println!("sealed={} left={}", rotated.sealed, rotated.left);
    anyhow::ensure!(
        rotated.left == 0,
        "{} could not be opened with any of the keys, and are left as they were",
        rotated.left
    );
    Ok(())
}

fn issue_token(arguments: IssueToken) -> anyhow::Result<()> {
    let jwt = Jwt::new(arguments.jwt)?;
    let caller = Caller {
        org: arguments.organisation,
        subject: arguments.subject,
    };
    let valid_for = Duration::hours(arguments.hours.into());
    let token = token::issue(&jwt, &caller, Utc::now(), valid_for).context("could not sign the token")?;
    println!("{token}");
    Ok(())
}
