//! Variables of the environment that a process is configured by: checked at its start, every wrong one named at once (R80).

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use secrecy::SecretString;

use crate::network::Destinations;
use crate::secret::SealingKey;
use crate::telemetry::{self, LogFormat};

/// Everything that is wrong with the configuration, one sentence each, each naming its variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration is wrong: {}", .0.join("; "))]
pub struct ConfigError(pub Vec<String>);

/// What was found wrong so far.
#[derive(Debug, Default)]
pub struct Wrong(Vec<String>);

impl Wrong {
    /// Reads a variable, or what stands for it where it is not set or blank; `None`, and a sentence more, where it is wrong
    /// or has nothing that stands for it. The reason follows the variable's name.
    pub fn check<T, R: Display>(
        &mut self,
        name: &str,
        given: Option<String>,
        default: Option<&str>,
        parse: impl FnOnce(String) -> Result<T, R>,
    ) -> Option<T> {
        let Some(text) = said(given).or_else(|| default.map(str::to_owned)) else {
            self.say(format!("`{name}` is not set"));
            return None;
        };
        match parse(text) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.say(format!("`{name}` {reason}"));
                None
            }
        }
    }

    /// Reads a number within its range.
    pub fn number<T: FromStr + PartialOrd + Display>(
        &mut self,
        name: &str,
        given: Option<String>,
        default: &str,
        range: &RangeInclusive<T>,
    ) -> Option<T> {
        self.check(name, given, Some(default), |text| {
            let number = text.trim().parse().ok();
            number
                .filter(|number| range.contains(number))
                .ok_or_else(|| format!("must be a number from {} to {}", range.start(), range.end()))
        })
    }

    /// Reads `true` or `false`.
    pub fn flag(&mut self, name: &str, given: Option<String>, default: &str) -> Option<bool> {
        self.check(name, given, Some(default), |text| {
            text.parse().map_err(|_| "must be `true` or `false`")
        })
    }

    /// Adds a sentence that names its variables.
    pub fn say(&mut self, sentence: String) {
        self.0.push(sentence);
    }

    /// Returns how many sentences there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl From<Wrong> for ConfigError {
    fn from(wrong: Wrong) -> Self {
        Self(wrong.0)
    }
}

/// Returns what was said, if anything was.
pub fn said(given: Option<String>) -> Option<String> {
    given.filter(|text| !text.trim().is_empty())
}

/// The variables that every process takes, as they were given.
#[expect(
    missing_debug_implementations,
    reason = "they hold secrets that nobody has checked yet"
)]
#[derive(Clone, Default)]
pub struct CommonOptions {
    pub database_url: Option<String>,
    pub encryption_key: Option<String>,
    pub allow_insecure_urls: Option<String>,
    pub operations_bind: Option<String>,
    pub log: Option<String>,
    pub log_format: Option<String>,
}

/// What every process is configured with.
#[derive(Clone, Debug)]
pub struct Common {
    pub database_url: SecretString,
    pub sealing_key: SealingKey,
    /// Where connections and notifications may be.
    pub destinations: Destinations,
    /// Where the platform's own people ask; none: nowhere.
    pub operations_bind: Option<SocketAddr>,
    /// What is logged, in the syntax of `RUST_LOG`.
    pub log: String,
    pub log_format: LogFormat,
}

impl CommonOptions {
    /// Checks them.
    pub fn check(self, wrong: &mut Wrong) -> Option<Common> {
        let database_url = wrong.check("DATABASE_URL", self.database_url, None, database_url);
        let sealing_key = wrong.check("INTEGRATION_ENCRYPTION_KEY", self.encryption_key, None, |text| {
            SealingKey::parse(&text.into())
                .map_err(|_| "must be 32 bytes in base64, such as `openssl rand -base64 32` prints")
        });
        let allows_insecure = wrong.flag("LOCKSTEP_ALLOW_INSECURE_URLS", self.allow_insecure_urls, "false");
        let operations_bind = match said(self.operations_bind) {
            None => Some(None),
            given => wrong
                .check("LOCKSTEP_OPERATIONS_BIND", given, None, |text| {
                    address(&text, "0.0.0.0:9464")
                })
                .map(Some),
        };
        let log = wrong.check("LOCKSTEP_LOG", self.log, Some("info"), |text| {
            if telemetry::is_filter(&text) {
                Ok(text)
            } else {
                Err("must be a filter in the syntax of `RUST_LOG`, such as `info` or `info,sqlx=warn`")
            }
        });
        let log_format = wrong.check(
            "LOCKSTEP_LOG_FORMAT",
            self.log_format,
            Some("json"),
            |text| match &*text {
                "json" => Ok(LogFormat::Json),
                "text" => Ok(LogFormat::Text),
                _ => Err("must be `json` or `text`"),
            },
        );
        Some(Common {
            database_url: database_url?,
            sealing_key: sealing_key?,
            destinations: if allows_insecure? {
                Destinations::Any
            } else {
                Destinations::Public
            },
            operations_bind: operations_bind?,
            log: log?,
            log_format: log_format?,
        })
    }
}

fn database_url(text: String) -> Result<SecretString, &'static str> {
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        Ok(text.into())
    } else {
        Err("must be the URL of a PostgreSQL database, `postgres://…`")
    }
}

/// Reads an address and a port to listen on.
pub fn address(text: &str, example: &str) -> Result<SocketAddr, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("must be an address and a port, such as `{example}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_at_once() {
        let mut wrong = Wrong::default();

        let common = CommonOptions {
            database_url: Some("mysql://db".to_owned()),
            encryption_key: Some(" ".to_owned()),
            allow_insecure_urls: Some("maybe".to_owned()),
            operations_bind: Some("here".to_owned()),
            log: Some("info,=".to_owned()),
            log_format: Some("xml".to_owned()),
        }
        .check(&mut wrong);
        let number = wrong.number("A_NUMBER", Some("6".to_owned()), "1", &(1..=5));

        assert!(common.is_none() && number.is_none(), "R80");
        assert_eq!(wrong.count(), 7, "R80");
        assert_eq!(
            ConfigError::from(wrong).0,
            [
                "`DATABASE_URL` must be the URL of a PostgreSQL database, `postgres://…`",
                "`INTEGRATION_ENCRYPTION_KEY` is not set",
                "`LOCKSTEP_ALLOW_INSECURE_URLS` must be `true` or `false`",
                "`LOCKSTEP_OPERATIONS_BIND` must be an address and a port, such as `0.0.0.0:9464`",
                "`LOCKSTEP_LOG` must be a filter in the syntax of `RUST_LOG`, such as `info` or `info,sqlx=warn`",
                "`LOCKSTEP_LOG_FORMAT` must be `json` or `text`",
                "`A_NUMBER` must be a number from 1 to 5",
            ],
            "R80"
        );
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let mut wrong = Wrong::default();

        let common = CommonOptions {
            database_url: Some("postgres://lockstep_worker@db/lockstep".to_owned()),
            encryption_key: Some("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".to_owned()),
            log: Some(String::new()),
            ..CommonOptions::default()
        }
        .check(&mut wrong)
        .unwrap();

        assert_eq!(wrong.count(), 0);
        assert_eq!(common.destinations, Destinations::Public, "R72");
        assert_eq!(common.operations_bind, None);
        assert_eq!((&*common.log, common.log_format), ("info", LogFormat::Json));
        assert_eq!(
            wrong.number("A_NUMBER", Some(" 3 ".to_owned()), "1", &(1..=5)),
            Some(3)
        );
        assert_eq!(wrong.number("A_NUMBER", None, "1", &(1..=5)), Some(1));
    }
}
