//! The program: serves the API, and what an operator does around it.

use std::net::TcpListener;

use anyhow::Context;
use chrono::{Duration, Utc};
use clap::{Args, Parser, Subcommand};
use lockstep_api::config::{Config, Jwt, JwtOptions, Options};
use lockstep_api::token::{self, Caller};
use lockstep_api::{metric, operator, role, server};
use lockstep_shared::db;
use lockstep_shared::id::OrgId;
use lockstep_shared::operations::{self, Operations, Scope};
use lockstep_shared::role::Role;
use lockstep_shared::rotation;
use lockstep_shared::secret::SealingKey;
use lockstep_shared::telemetry;
use secrecy::ExposeSecret;

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
    /// Print the table of what each role may do.
    Roles,
    /// Make an organisation and print its identifier and, where it is asked for, its first administrator's API key.
    CreateOrganisation(CreateOrganisation),
    /// Set how often an organisation may ask the API, as the database's owner.
    SetQuotas(SetQuotas),
    /// Set how many requests a minute an organisation may ask for to be sent to its systems, as the database's owner. Its
    /// administrators choose within that; what is more is lowered to it.
    SetRequestLimit(SetRequestLimit),
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
    /// Make an API key of the role `admin` for its first administrator, under this name, and print it on a second line.
    /// It is shown this once.
    #[arg(long, value_name = "NAME")]
    admin: Option<String>,
    /// Requests that may be sent to its systems each minute, over all of them and the whole fleet.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i32).range(1..=10_000_000))]
    requests_per_minute: i32,
}

/// Whose limits the owner of the database sets.
#[derive(Args)]
struct Tenant {
    /// Database to work in, as the role `lockstep_owner`.
    #[arg(
        long,
        env = "LOCKSTEP_OWNER_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    owner_database_url: String,
    /// Organisation that is meant.
    #[arg(long, value_name = "ID")]
    organisation: OrgId,
}

#[derive(Args)]
struct SetRequestLimit {
    #[command(flatten)]
    tenant: Tenant,
    /// Requests a minute, over all of its systems and the whole fleet.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=10_000_000))]
    requests_per_minute_limit: i32,
}

#[derive(Args)]
struct SetQuotas {
    #[command(flatten)]
    tenant: Tenant,
    /// Commands a minute; left out: what the API is configured with.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=50))]
    commands_per_minute: Option<i32>,
    /// Requests a minute that put records; left out: what the API is configured with.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=6_000))]
    records_per_minute: Option<i32>,
    /// Requests a minute that read; left out: what the API is configured with.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=6_000))]
    reads_per_minute: Option<i32>,
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
    /// What it may do: `viewer`, `operator`, `admin`, or `platform`, which makes organisations.
    #[arg(long, value_name = "ROLE")]
    role: Role,
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
        Command::Roles => {
            print!("{}", role::table());
            Ok(())
        }
        Command::SetQuotas(arguments) => set_quotas(arguments).await,
        Command::SetRequestLimit(SetRequestLimit {
            tenant,
            requests_per_minute_limit: limit,
        }) => operator::set_request_limit(&tenant.owner_database_url, tenant.organisation, limit).await,
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
    let operations = operations(&config)?;
    let telling = operations.map(|(operations, listener)| {
        tokio::spawn(operations::serve(operations, listener, std::future::pending()))
    });
    let served = server::serve(config, listener, asked_to_stop()?).await;
    // To the very end: how a process drains can be watched.
    if let Some(telling) = telling {
        telling.abort();
    }
    Ok(served?)
}

/// Returns what the platform's own people are told, and where, if anywhere.
fn operations(config: &Config) -> anyhow::Result<Option<(Operations, TcpListener)>> {
    let Some(bind) = config.operations_bind else {
        return Ok(None);
    };
    let listener = TcpListener::bind(bind).with_context(|| format!("could not listen on `{bind}`"))?;
    // One for metrics, and one for health while those take long.
    let pool = db::pool(config.database_url.expose_secret(), 2, "lockstep-api-operations")
        .context("the address of the database can't be used")?;
    let operations = Operations {
        pool,
        registry: metric::registry(),
        scope: Scope::Fleet,
    };
    Ok(Some((operations, listener)))
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
    let (name, admin) = (&arguments.name, arguments.admin.as_deref());
    let made = operator::create_organisation(
        &arguments.database_url,
        name,
        arguments.requests_per_minute,
        admin,
    )
    .await?;
    println!("{}", made.org_id);
    if let Some(key) = made.admin_key {
        println!("{}", key.expose_secret());
    }
    Ok(())
}

async fn set_quotas(arguments: SetQuotas) -> anyhow::Result<()> {
    let quotas = operator::OwnQuotas {
        commands: arguments.commands_per_minute,
        records: arguments.records_per_minute,
        reads: arguments.reads_per_minute,
    };
    let Tenant {
        owner_database_url,
        organisation,
    } = arguments.tenant;
    operator::set_quotas(&owner_database_url, organisation, quotas).await
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
        role: arguments.role,
    };
    let valid_for = Duration::hours(arguments.hours.into());
    let token = token::issue(&jwt, &caller, Utc::now(), valid_for).context("could not sign the token")?;
    println!("{token}");
    Ok(())
}
