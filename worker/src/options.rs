//! The variables that a worker process takes: all of it from the environment, checked at start, every wrong one named at once.

use std::net::SocketAddr;
use std::time::Duration;

use lockstep_shared::environment::{CommonOptions, ConfigError, Wrong};
use lockstep_shared::telemetry::LogFormat;

use crate::config::Config;

/// How much longer than its longest call a batch may make no progress and still count as living.
const PROGRESS_SPARE: Duration = Duration::from_secs(30);

/// The variables as they were given, nothing checked yet. `--help` shows them as the manual.
#[derive(Clone, Default, clap::Args)]
pub struct Options {
    /// Database to work in, as the role `lockstep_worker`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Key that seals the credentials of connections, the same for the API and the workers: 32 bytes in base64. Several with
    /// commas between: the first one seals, all of them open.
    #[arg(
        long,
        env = "INTEGRATION_ENCRYPTION_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub encryption_key: Option<String>,
    /// Batches that this process runs at once, 1 to 255 [default: 8].
    #[arg(long, env = "LOCKSTEP_BATCH_SLOTS", value_name = "N")]
    pub batch_slots: Option<String>,
    /// Commands that this process applies at once, 1 to 255 [default: 4].
    #[arg(long, env = "LOCKSTEP_COMMAND_SLOTS", value_name = "N")]
    pub command_slots: Option<String>,
    /// Connections to the database that this process may hold, 5 to 1,000 [default: 20].
    #[arg(long, env = "LOCKSTEP_DATABASE_CONNECTIONS", value_name = "N")]
    pub database_connections: Option<String>,
    /// Seconds after which the batches of a dead process are free for others, 3 to 3,600 [default: 20].
    #[arg(long, env = "LOCKSTEP_LEASE_SECS", value_name = "SECONDS")]
    pub lease_secs: Option<String>,
    /// Batches that may wait for tokens beside those, each of which keeps in memory what it has read, 0 to 65,535
    /// [default: 64].
    #[arg(long, env = "LOCKSTEP_PARKED_BATCHES", value_name = "N")]
    pub parked_batches: Option<String>,
    /// Failures in a row after which nobody calls a system any more but a probe now and then, 1 to 1,000 [default: 3].
    #[arg(long, env = "LOCKSTEP_CIRCUIT_FAILURES", value_name = "N")]
    pub circuit_failures: Option<String>,
    /// Seconds for which a system may be out of order before the stages that need it fail, 1 to 604,800 [default: 1800].
    #[arg(long, env = "LOCKSTEP_OUTAGE_SECS", value_name = "SECONDS")]
    pub outage_secs: Option<String>,
    /// Seconds between two looks for lost bells and expired leases, 1 to 3,600 [default: 5].
    #[arg(long, env = "LOCKSTEP_SWEEP_SECS", value_name = "SECONDS")]
    pub sweep_secs: Option<String>,
    /// Seconds that batches under way may take to stop after SIGTERM, 0 to 3,600: less than what the platform waits before it
    /// kills [default: 25].
    #[arg(long, env = "LOCKSTEP_DRAIN_SECS", value_name = "SECONDS")]
    pub drain_secs: Option<String>,
    /// Seconds one request to a remote system may take, 5 to 3,600. Odoo retries conflicts by itself for up to 25 s
    /// [default: 60].
    #[arg(long, env = "LOCKSTEP_CALL_SECS", value_name = "SECONDS")]
    pub call_secs: Option<String>,
    /// `true` lets connections, notifications and pictures be at addresses of private networks, and at such without TLS: for
    /// a local run, never in production [default: false].
    #[arg(long, env = "LOCKSTEP_ALLOW_INSECURE_URLS", value_name = "BOOL")]
    pub allow_insecure_urls: Option<String>,
    /// Address and port of `/metrics`, `/livez` and `/readyz` for the platform's own people, on a network of theirs: nobody is
    /// asked there who they are. Without it, there is no such listener.
    #[arg(long, env = "LOCKSTEP_OPERATIONS_BIND", value_name = "ADDRESS")]
    pub operations_bind: Option<String>,
    /// What is logged, in the syntax of `RUST_LOG` [default: info].
    #[arg(long, env = "LOCKSTEP_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How log lines look: `json` or `text` [default: json].
    #[arg(long, env = "LOCKSTEP_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("batch_slots", &self.batch_slots)
            .finish_non_exhaustive()
    }
}

/// What a worker process is started with.
#[derive(Debug)]
pub struct Settings {
    pub config: Config,
    /// Where the platform's own people ask; none: nowhere.
    pub operations_bind: Option<SocketAddr>,
    pub log: String,
    pub log_format: LogFormat,
}

impl Settings {
    /// Checks the variables.
    pub fn new(options: Options) -> Result<Self, ConfigError> {
        let mut wrong = Wrong::default();
        Self::read(options, &mut wrong).ok_or_else(|| wrong.into())
    }

    fn read(options: Options, wrong: &mut Wrong) -> Option<Self> {
        let common = CommonOptions {
            database_url: options.database_url,
            encryption_key: options.encryption_key,
            allow_insecure_urls: options.allow_insecure_urls,
            operations_bind: options.operations_bind,
            log: options.log,
            log_format: options.log_format,
        }
        .check(wrong);
        let slots = 1..=u8::MAX;
        let batch_slots = wrong.number("LOCKSTEP_BATCH_SLOTS", options.batch_slots, "8", &slots);
        let command_slots = wrong.number("LOCKSTEP_COMMAND_SLOTS", options.command_slots, "4", &slots);
        let parked = wrong.number(
            "LOCKSTEP_PARKED_BATCHES",
            options.parked_batches,
            "64",
            &(0..=u16::MAX),
        );
        let connections = wrong.number(
            "LOCKSTEP_DATABASE_CONNECTIONS",
            options.database_connections,
            "20",
            &(5..=1_000),
        );
        let failures = wrong.number(
            "LOCKSTEP_CIRCUIT_FAILURES",
            options.circuit_failures,
            "3",
            &(1..=1_000),
        );
        let mut seconds = |name, given, default, from, to| {
            wrong
                .number(name, given, default, &(from..=to))
                .map(Duration::from_secs)
        };
        let outage = seconds("LOCKSTEP_OUTAGE_SECS", options.outage_secs, "1800", 1, 604_800);
        let lease = seconds("LOCKSTEP_LEASE_SECS", options.lease_secs, "20", 3, 3_600);
        let sweep = seconds("LOCKSTEP_SWEEP_SECS", options.sweep_secs, "5", 1, 3_600);
        let drain = seconds("LOCKSTEP_DRAIN_SECS", options.drain_secs, "25", 0, 3_600);
        let call = seconds("LOCKSTEP_CALL_SECS", options.call_secs, "60", 5, 3_600);

        let common = common?;
        let mut config = Config::new(common.database_url, common.sealing_key);
        config.batch_slots = batch_slots?.into();
        config.command_slots = command_slots?.into();
        config.parked = parked?.into();
        config.database_connections = connections?;
        config.circuit.threshold = failures?;
        config.circuit.outage = outage?;
        config.lease.length = lease?;
        config.sweep_every = sweep?;
        config.drain = drain?;
        config.http.timeout = call?;
        config.lease.progress_limit = config.http.timeout + PROGRESS_SPARE;
        (config.http.destinations, config.http.sources) = (common.destinations, common.destinations);
        Some(Self {
            config,
            operations_bind: common.operations_bind,
            log: common.log,
            log_format: common.log_format,
        })
    }
}

#[cfg(test)]
mod tests {
    use lockstep_shared::network::Destinations;

    use super::*;

    fn good() -> Options {
        Options {
            database_url: Some("postgres://lockstep_worker:hunter2@db/lockstep".to_owned()),
            encryption_key: Some("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".to_owned()),
            ..Options::default()
        }
    }

    #[test]
    fn every_wrong_variable_is_named_at_once() {
        let wrong = |text: &str| Some(text.to_owned());
        let options = Options {
            encryption_key: wrong("c2hvcnQ="),
            batch_slots: wrong("0"),
            command_slots: wrong("256"),
            parked_batches: wrong("-1"),
            database_connections: wrong("4"),
            circuit_failures: wrong("0"),
            outage_secs: wrong("0"),
            lease_secs: wrong("2"),
            sweep_secs: wrong("0"),
            drain_secs: wrong("soon"),
            call_secs: wrong("4"),
            log_format: wrong("xml"),
            ..Options::default()
        };

        let error = Settings::new(options).unwrap_err();

        assert_eq!(
            error.0,
            [
                "`DATABASE_URL` is not set",
                "`INTEGRATION_ENCRYPTION_KEY` must be 32 bytes in base64, such as `openssl rand -base64 32` prints",
                "`LOCKSTEP_LOG_FORMAT` must be `json` or `text`",
                "`LOCKSTEP_BATCH_SLOTS` must be a number from 1 to 255",
                "`LOCKSTEP_COMMAND_SLOTS` must be a number from 1 to 255",
                "`LOCKSTEP_PARKED_BATCHES` must be a number from 0 to 65535",
                "`LOCKSTEP_DATABASE_CONNECTIONS` must be a number from 5 to 1000",
                "`LOCKSTEP_CIRCUIT_FAILURES` must be a number from 1 to 1000",
                "`LOCKSTEP_OUTAGE_SECS` must be a number from 1 to 604800",
                "`LOCKSTEP_LEASE_SECS` must be a number from 3 to 3600",
                "`LOCKSTEP_SWEEP_SECS` must be a number from 1 to 3600",
                "`LOCKSTEP_DRAIN_SECS` must be a number from 0 to 3600",
                "`LOCKSTEP_CALL_SECS` must be a number from 5 to 3600",
            ],
            "R80"
        );
    }

    /// What no variable says is what [`Config::new`] says, so that tests and local runs have the same.
    #[test]
    fn what_is_not_said_has_its_default() {
        let settings = Settings::new(good()).unwrap();

        let usual = Config::new("postgres://db".into(), settings.config.sealing_key.clone());
        let tell = |config: &Config| {
            let Config {
                batch_slots,
                command_slots,
                parked,
                database_connections,
                circuit,
                lease,
                sweep_every,
                drain,
                http,
                ..
            } = config;
            format!(
                "{batch_slots} {command_slots} {parked} {database_connections} {circuit:?} {lease:?} {sweep_every:?} {drain:?} {http:?}"
            )
        };
        assert_eq!(tell(&settings.config), tell(&usual));
        assert_eq!(settings.config.http.destinations, Destinations::Public, "R72");
        assert_eq!(
            (&*settings.log, settings.log_format, settings.operations_bind),
            ("info", LogFormat::Json, None)
        );
        let open = Options {
            allow_insecure_urls: Some("true".to_owned()),
            ..good()
        };
        assert_eq!(
            Settings::new(open).unwrap().config.http.destinations,
            Destinations::Any
        );
    }

    #[test]
    fn no_secret_is_shown() {
        let shown = format!("{:?}", Settings::new(good()).unwrap());

        for secret in ["hunter2", "AQEB"] {
            assert!(!shown.contains(secret), "R70: {shown}");
        }
    }
}
