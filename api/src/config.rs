//! The configuration of the API: all of it from the environment, checked at start, every wrong variable named at once.

use std::net::SocketAddr;

use lockstep_shared::secret::SealingKey;
use lockstep_shared::telemetry::LogFormat;
use secrecy::SecretString;

/// Fewest bytes that the secret of HS256 may have: RFC 7518, section 3.2, asks for as many as the hash has.
const JWT_SECRET_BYTES: usize = 32;

/// The variables as they were given, nothing checked yet. `--help` shows them as the manual.
#[derive(Clone, Default, clap::Args)]
pub struct Options {
    /// Database to work in, as the role `lockstep_api`: `postgres://lockstep_api:…@host:5432/lockstep`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Address and port to listen on [default: 127.0.0.1:8080].
    #[arg(long, env = "LOCKSTEP_BIND", value_name = "ADDRESS")]
    pub bind: Option<String>,
    /// How bearer tokens are checked.
    #[command(flatten)]
    pub jwt: JwtOptions,
    /// Key that seals the credentials of connections, the same for the API and the workers: 32 bytes in base64, such
    /// as `openssl rand -base64 32` prints. Several with commas between: the first one seals, all of them open.
    #[arg(
        long,
        env = "INTEGRATION_ENCRYPTION_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub encryption_key: Option<String>,
    /// `true` lets connections use http and addresses of private networks: for a local run, never in production
    /// [default: false].
    #[arg(long, env = "LOCKSTEP_ALLOW_INSECURE_URLS", value_name = "BOOL")]
    pub allow_insecure_urls: Option<String>,
    /// What is logged, in the syntax of `RUST_LOG` [default: info].
    #[arg(long, env = "LOCKSTEP_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How log lines look: `json` or `text` [default: json].
    #[arg(long, env = "LOCKSTEP_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,
}

/// The part of the variables that is about bearer tokens.
#[derive(Clone, Default, clap::Args)]
pub struct JwtOptions {
    /// Secret that bearer tokens are signed with (HS256), at least 32 bytes.
    #[arg(
        long,
        env = "LOCKSTEP_JWT_SECRET",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    pub jwt_secret: Option<String>,
    /// Issuer that tokens must name (`iss`); without it, none is asked for.
    #[arg(long, env = "LOCKSTEP_JWT_ISSUER", value_name = "ISSUER")]
    pub jwt_issuer: Option<String>,
    /// Audience that tokens must name (`aud`); without it, none is asked for.
    #[arg(long, env = "LOCKSTEP_JWT_AUDIENCE", value_name = "AUDIENCE")]
    pub jwt_audience: Option<String>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("bind", &self.bind)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for JwtOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtOptions").finish_non_exhaustive()
    }
}

/// A configuration that is complete and valid.
#[derive(Clone, Debug)]
pub struct Config {
    pub database_url: SecretString,
    pub bind: SocketAddr,
    pub jwt: Jwt,
    pub sealing_key: SealingKey,
    pub base_urls: BaseUrls,
    pub log: String,
    pub log_format: LogFormat,
}

/// How bearer tokens are checked.
#[derive(Clone, Debug)]
pub struct Jwt {
    pub secret: SecretString,
    pub issuer: Option<String>,
    pub audience: Option<String>,
}

/// Which addresses a connection may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseUrls {
    /// `https`, and no address of a private network.
    Public,
    /// `http` too, and any address: for a local run.
    Any,
}

/// Everything that is wrong with the configuration, one sentence each, each naming its variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration is wrong: {}", .0.join("; "))]
pub struct ConfigError(pub Vec<String>);

impl Config {
    /// Checks the variables.
    pub fn new(options: Options) -> Result<Self, ConfigError> {
        let mut wrong = Wrong::default();
        let database_url = wrong.check("DATABASE_URL", options.database_url, None, database_url);
        let bind = wrong.check("LOCKSTEP_BIND", options.bind, Some("127.0.0.1:8080"), |text| {
            text.parse()
                .map_err(|_| "must be an address and a port, such as `0.0.0.0:8080`")
        });
        let jwt = wrong.jwt(options.jwt);
        let sealing_key = wrong.check(
            "INTEGRATION_ENCRYPTION_KEY",
            options.encryption_key,
            None,
            |text| {
                SealingKey::parse(&text.into())
                    .map_err(|_| "must be 32 bytes in base64, such as `openssl rand -base64 32` prints")
            },
        );
        let base_urls = wrong.check(
            "LOCKSTEP_ALLOW_INSECURE_URLS",
            options.allow_insecure_urls,
            Some("false"),
            |text| match &*text {
                "false" => Ok(BaseUrls::Public),
                "true" => Ok(BaseUrls::Any),
                _ => Err("must be `true` or `false`"),
            },
        );
        let log = wrong.check("LOCKSTEP_LOG", options.log, Some("info"), Ok);
        let log_format =
            wrong.check(
                "LOCKSTEP_LOG_FORMAT",
                options.log_format,
                Some("json"),
                |text| match &*text {
                    "json" => Ok(LogFormat::Json),
                    "text" => Ok(LogFormat::Text),
                    _ => Err("must be `json` or `text`"),
                },
            );
        match (database_url, bind, jwt, sealing_key, base_urls, log, log_format) {
            (
                Some(database_url),
                Some(bind),
                Some(jwt),
                Some(sealing_key),
                Some(base_urls),
                Some(log),
                Some(log_format),
            ) => Ok(Self {
                database_url,
                bind,
                jwt,
                sealing_key,
                base_urls,
                log,
                log_format,
            }),
            _ => Err(ConfigError(wrong.0)),
        }
    }
}

impl Jwt {
    /// Checks the variables about tokens alone, for who only issues them.
    pub fn new(options: JwtOptions) -> Result<Self, ConfigError> {
        let mut wrong = Wrong::default();
        wrong.jwt(options).ok_or(ConfigError(wrong.0))
    }
}

#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn check<T>(
        &mut self,
        name: &str,
        given: Option<String>,
        default: Option<&str>,
        parse: impl FnOnce(String) -> Result<T, &'static str>,
    ) -> Option<T> {
        let given = given.filter(|text| !text.trim().is_empty());
        let Some(text) = given.or_else(|| default.map(str::to_owned)) else {
            self.0.push(format!("`{name}` is not set"));
            return None;
        };
        match parse(text) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.0.push(format!("`{name}` {reason}"));
                None
            }
        }
    }

    fn jwt(&mut self, options: JwtOptions) -> Option<Jwt> {
        let named = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let secret = self.check("LOCKSTEP_JWT_SECRET", options.jwt_secret, None, |text| {
            if text.len() < JWT_SECRET_BYTES {
                Err("must have at least 32 bytes")
            } else {
                Ok(SecretString::from(text))
            }
        })?;
        Some(Jwt {
            secret,
            issuer: named(options.jwt_issuer),
            audience: named(options.jwt_audience),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Options {
        Options {
            database_url: Some("postgres://lockstep_api:hunter2@db/lockstep".to_owned()),
            jwt: JwtOptions {
                jwt_secret: Some("an-hs256-secret-of-at-least-32-bytes".to_owned()),
                ..JwtOptions::default()
            },
            encryption_key: Some("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".to_owned()),
            ..Options::default()
        }
    }

    #[test]
    fn every_wrong_variable_is_named_at_once() {
        let options = Options {
            bind: Some("here".to_owned()),
            encryption_key: Some("c2hvcnQ=".to_owned()),
            allow_insecure_urls: Some("maybe".to_owned()),
            log_format: Some("xml".to_owned()),
            jwt: JwtOptions {
                jwt_secret: Some("short".to_owned()),
                ..JwtOptions::default()
            },
            ..Options::default()
        };

        let error = Config::new(options).unwrap_err();

        insta::assert_snapshot!(error.0.join("\n"), @r"
        `DATABASE_URL` is not set
        `LOCKSTEP_BIND` must be an address and a port, such as `0.0.0.0:8080`
        `LOCKSTEP_JWT_SECRET` must have at least 32 bytes
        `INTEGRATION_ENCRYPTION_KEY` must be 32 bytes in base64, such as `openssl rand -base64 32` prints
        `LOCKSTEP_ALLOW_INSECURE_URLS` must be `true` or `false`
        `LOCKSTEP_LOG_FORMAT` must be `json` or `text`
        ");
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let config = Config::new(good()).unwrap();

        assert_eq!(config.bind, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(config.base_urls, BaseUrls::Public, "R72");
        assert_eq!((config.jwt.issuer, config.log), (None, "info".to_owned()));
    }

    #[test]
    fn no_secret_is_shown() {
        let options = good();

        let shown = format!("{options:?} {:?}", Config::new(options.clone()).unwrap());

        for secret in ["hunter2", "an-hs256", "AQEB"] {
            assert!(!shown.contains(secret), "R70: {shown}");
        }
    }
}
