//! The configuration of the API: all of it from the environment, checked at start, every wrong variable named at once.

use std::net::SocketAddr;
use std::time::Duration;

use lockstep_shared::environment::{self, CommonOptions, ConfigError, Wrong, said};
use lockstep_shared::network::Destinations;
use lockstep_shared::quota::{self, Quotas};
use lockstep_shared::secret::SealingKey;
use lockstep_shared::telemetry::LogFormat;
use secrecy::SecretString;
use url::{Host, Url};

/// Fewest bytes that the secret of HS256 may have: RFC 7518, section 3.2, asks for as many as the hash has.
const JWT_SECRET_BYTES: usize = 32;
/// How often an issuer is asked for its keys at most.
const JWKS_REFRESH: Duration = Duration::from_secs(30);
/// Most proxies that may stand in front.
const HOP_LIMIT: u8 = 10;

/// The variables as they were given, nothing checked yet. `--help` shows them as the manual.
#[derive(Clone, Default, clap::Args)]
pub struct Options {
    /// Database to work in, as the role `lockstep_api`: `postgres://lockstep_api:…@host:5432/lockstep`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Address and port to listen on [default: 127.0.0.1:8080].
    #[arg(long, env = "LOCKSTEP_BIND", value_name = "ADDRESS")]
    pub bind: Option<String>,
    /// Address and port of `/metrics`, `/livez` and `/readyz` for the platform's own people, on a network of theirs: nobody is
    /// asked there who they are. Without it, there is no such listener.
    #[arg(long, env = "LOCKSTEP_OPERATIONS_BIND", value_name = "ADDRESS")]
    pub operations_bind: Option<String>,
    /// How bearer tokens are checked.
    #[command(flatten)]
    pub jwt: JwtOptions,
    /// How often organisations may ask, and from where.
    #[command(flatten)]
    pub access: AccessOptions,
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
    /// Address at which stores reach this API, such as `https://lockstep.example.com`: webhooks deliver there. Without it,
    /// there are none.
    #[arg(long, env = "LOCKSTEP_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
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
    /// Secret that bearer tokens are signed with (HS256), at least 32 bytes. It or `LOCKSTEP_JWKS_URL` is needed.
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
    /// Address of the public keys of the issuer of bearer tokens (RS256, ES256, EdDSA): https, or http on this machine. It
    /// needs `LOCKSTEP_JWT_ISSUER` and `LOCKSTEP_JWT_AUDIENCE`.
    #[arg(long, env = "LOCKSTEP_JWKS_URL", value_name = "URL")]
    pub jwks_url: Option<String>,
}

/// The part of the variables that is about how often one may ask.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct AccessOptions {
    /// `false` lets organisations ask as often as they like: for a local run, or where something in front counts
    /// [default: true].
    #[arg(long, env = "LOCKSTEP_THROTTLE", value_name = "BOOL")]
    pub throttle: Option<String>,
    /// Commands a minute of an organisation that has no quota of its own, 1 to 50 [default: 10].
    #[arg(long, env = "LOCKSTEP_COMMANDS_PER_MINUTE", value_name = "N")]
    pub commands_per_minute: Option<String>,
    /// Requests a minute that put records, of an organisation that has no quota of its own, 1 to 6,000 [default: 600].
    #[arg(long, env = "LOCKSTEP_RECORDS_PER_MINUTE", value_name = "N")]
    pub records_per_minute: Option<String>,
    /// Requests a minute that read, of an organisation that has no quota of its own, 1 to 6,000 [default: 600].
    #[arg(long, env = "LOCKSTEP_READS_PER_MINUTE", value_name = "N")]
    pub reads_per_minute: Option<String>,
    /// Proxies in front, each of which adds the address that it was asked from to `X-Forwarded-For`: the audit trail takes
    /// the one that the outermost of them added [default: 0: whoever connects].
    #[arg(long, env = "LOCKSTEP_FORWARDED_HOPS", value_name = "N")]
    pub forwarded_hops: Option<String>,
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
    /// Where the platform's own people ask; none: nowhere.
    pub operations_bind: Option<SocketAddr>,
    pub jwt: Jwt,
    pub access: Access,
    pub sealing_key: SealingKey,
    pub base_urls: Destinations,
    /// Without a slash at its end.
    pub public_url: Option<String>,
    pub log: String,
    pub log_format: LogFormat,
}

/// How bearer tokens are checked.
#[derive(Clone, Debug)]
pub struct Jwt {
    /// Without it, none signed with HS256 is taken.
    pub secret: Option<SecretString>,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub jwks: Option<JwksOptions>,
}

/// Where an issuer's public keys are.
#[derive(Clone, Debug)]
pub struct JwksOptions {
    pub url: Url,
    /// Shortest time between two requests for them.
    pub refresh_every: Duration,
}

/// How often organisations may ask, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Of organisations that have none of their own. None: nothing is counted.
    pub quotas: Option<Quotas>,
    /// Trusted proxies in front.
    pub forwarded_hops: u8,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            quotas: Some(Quotas::default()),
            forwarded_hops: 0,
        }
    }
}

impl Config {
    /// Checks the variables.
    pub fn new(options: Options) -> Result<Self, ConfigError> {
        let mut wrong = Wrong::default();
        let common = CommonOptions {
            database_url: options.database_url,
            encryption_key: options.encryption_key,
            allow_insecure_urls: options.allow_insecure_urls,
            operations_bind: options.operations_bind,
            log: options.log,
            log_format: options.log_format,
        }
        .check(&mut wrong);
        let bind = wrong.check("LOCKSTEP_BIND", options.bind, Some("127.0.0.1:8080"), |text| {
            environment::address(&text, "0.0.0.0:8080")
        });
        let jwt = jwt(&mut wrong, options.jwt);
        let access = access(&mut wrong, options.access);
        let public_url = match said(options.public_url) {
            None => Some(None),
            given => wrong
                .check("LOCKSTEP_PUBLIC_URL", given, None, |text| public_url(&text))
                .map(Some),
        };
        match (common, bind, jwt, access, public_url) {
            (Some(common), Some(bind), Some(jwt), Some(access), Some(public_url)) => Ok(Self {
                database_url: common.database_url,
                bind,
                operations_bind: common.operations_bind,
                jwt,
                access,
                sealing_key: common.sealing_key,
                base_urls: common.destinations,
                public_url,
                log: common.log,
                log_format: common.log_format,
            }),
            _ => Err(wrong.into()),
        }
    }
}

impl Jwt {
    /// Takes what is signed with a secret, whoever it names.
    pub const fn of_secret(secret: SecretString) -> Self {
        Self {
            secret: Some(secret),
            issuer: None,
            audience: None,
            jwks: None,
        }
    }

    /// Checks the variables about tokens alone, for who only issues them.
    pub fn new(options: JwtOptions) -> Result<Self, ConfigError> {
        let mut wrong = Wrong::default();
        jwt(&mut wrong, options).ok_or_else(|| wrong.into())
    }
}

fn jwt(wrong: &mut Wrong, options: JwtOptions) -> Option<Jwt> {
    let (issuer, audience) = (said(options.jwt_issuer), said(options.jwt_audience));
    let (given_secret, given_url) = (said(options.jwt_secret), said(options.jwks_url));
    if given_secret.is_none() && given_url.is_none() {
        wrong.say("`LOCKSTEP_JWT_SECRET` or `LOCKSTEP_JWKS_URL` must be set".to_owned());
        return None;
    }
    let before = wrong.count();
    let secret = given_secret.and_then(|secret| {
        wrong.check("LOCKSTEP_JWT_SECRET", Some(secret), None, |text| {
            if text.len() < JWT_SECRET_BYTES {
                Err("must have at least 32 bytes")
            } else {
                Ok(SecretString::from(text))
            }
        })
    });
    let url =
        given_url.and_then(|url| wrong.check("LOCKSTEP_JWKS_URL", Some(url), None, |text| jwks_url(&text)));
    if url.is_some() {
        // An issuer signs for others, too: without both, what it signed for them would hold here.
        for (name, given) in [
            ("LOCKSTEP_JWT_ISSUER", &issuer),
            ("LOCKSTEP_JWT_AUDIENCE", &audience),
        ] {
            if given.is_none() {
                wrong.say(format!("`{name}` must be set where `LOCKSTEP_JWKS_URL` is"));
            }
        }
    }
    (wrong.count() == before).then_some(Jwt {
        secret,
        issuer,
        audience,
        jwks: url.map(|url| JwksOptions {
            url,
            refresh_every: JWKS_REFRESH,
        }),
    })
}

fn access(wrong: &mut Wrong, options: AccessOptions) -> Option<Access> {
    let throttle = wrong.flag("LOCKSTEP_THROTTLE", options.throttle, "true");
    let commands = wrong.number(
        "LOCKSTEP_COMMANDS_PER_MINUTE",
        options.commands_per_minute,
        "10",
        &quota::COMMANDS_RANGE,
    );
    let records = wrong.number(
        "LOCKSTEP_RECORDS_PER_MINUTE",
        options.records_per_minute,
        "600",
        &quota::OTHERS_RANGE,
    );
    let reads = wrong.number(
        "LOCKSTEP_READS_PER_MINUTE",
        options.reads_per_minute,
        "600",
        &quota::OTHERS_RANGE,
    );
    let forwarded_hops = wrong.number(
        "LOCKSTEP_FORWARDED_HOPS",
        options.forwarded_hops,
        "0",
        &(0..=HOP_LIMIT),
    );
    let quotas = Quotas {
        commands: commands?,
        records: records?,
        reads: reads?,
    };
    Some(Access {
        quotas: throttle?.then_some(quotas),
        forwarded_hops: forwarded_hops?,
    })
}

fn jwks_url(text: &str) -> Result<Url, &'static str> {
    let url: Url = text.parse().map_err(|_| "must be a URL")?;
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() == "https" || (url.scheme() == "http" && is_local) {
        Ok(url)
    } else {
        Err("must begin with `https://`; `http://` only on this machine")
    }
}

fn public_url(text: &str) -> Result<String, &'static str> {
    let wrong = "must be an address without query, such as `https://lockstep.example.com`";
    let url = url::Url::parse(text.trim()).map_err(|_| wrong)?;
    let is_right = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if is_right {
        Ok(url.as_str().trim_end_matches('/').to_owned())
    } else {
        Err(wrong)
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
            public_url: Some("lockstep.example.com".to_owned()),
            jwt: JwtOptions {
                jwt_secret: Some("short".to_owned()),
                jwks_url: Some("https://login.example.com/keys".to_owned()),
                ..JwtOptions::default()
            },
            access: AccessOptions {
                throttle: Some("perhaps".to_owned()),
                commands_per_minute: Some("51".to_owned()),
                records_per_minute: Some("0".to_owned()),
                reads_per_minute: Some("many".to_owned()),
                forwarded_hops: Some("11".to_owned()),
            },
            ..Options::default()
        };

        let error = Config::new(options).unwrap_err();

        insta::assert_snapshot!(error.0.join("\n"), @r"
        `DATABASE_URL` is not set
        `INTEGRATION_ENCRYPTION_KEY` must be 32 bytes in base64, such as `openssl rand -base64 32` prints
        `LOCKSTEP_ALLOW_INSECURE_URLS` must be `true` or `false`
        `LOCKSTEP_LOG_FORMAT` must be `json` or `text`
        `LOCKSTEP_BIND` must be an address and a port, such as `0.0.0.0:8080`
        `LOCKSTEP_JWT_SECRET` must have at least 32 bytes
        `LOCKSTEP_JWT_ISSUER` must be set where `LOCKSTEP_JWKS_URL` is
        `LOCKSTEP_JWT_AUDIENCE` must be set where `LOCKSTEP_JWKS_URL` is
        `LOCKSTEP_THROTTLE` must be `true` or `false`
        `LOCKSTEP_COMMANDS_PER_MINUTE` must be a number from 1 to 50
        `LOCKSTEP_RECORDS_PER_MINUTE` must be a number from 1 to 6000
        `LOCKSTEP_READS_PER_MINUTE` must be a number from 1 to 6000
        `LOCKSTEP_FORWARDED_HOPS` must be a number from 0 to 10
        `LOCKSTEP_PUBLIC_URL` must be an address without query, such as `https://lockstep.example.com`
        ");
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let config = Config::new(good()).unwrap();

        assert_eq!(config.bind, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(config.base_urls, Destinations::Public, "R72");
        assert_eq!((config.jwt.issuer, config.log), (None, "info".to_owned()));
        assert_eq!(config.public_url, None);
        assert_eq!(config.access, Access::default(), "R44");
        assert_eq!(Quotas::default().commands, 10, "R44");
    }

    #[test]
    fn a_public_address_may_have_a_path_and_a_slash_at_its_end() {
        for (given, kept) in [
            ("https://lockstep.example.com/", "https://lockstep.example.com"),
            ("https://example.com/lockstep/", "https://example.com/lockstep"),
        ] {
            assert_eq!(public_url(given), Ok(kept.to_owned()));
        }
        for wrong in [
            "ftp://example.com",
            "https://example.com?x=1",
            "https://a:b@example.com",
            "/lockstep",
        ] {
            assert!(public_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_come_from_where_nobody_can_change_them_on_the_way() {
        for (url, is_right) in [
            ("https://login.example.com/keys", true),
            ("http://127.0.0.1:8081/keys", true),
            ("http://localhost/keys", true),
            ("http://login.example.com/keys", false),
            ("http://10.0.0.1/keys", false),
            ("file:///etc/passwd", false),
            ("keys", false),
        ] {
            assert_eq!(jwks_url(url).is_ok(), is_right, "R42: {url}");
        }
        let neither = Jwt::new(JwtOptions::default()).unwrap_err();
        assert_eq!(
            neither.0,
            ["`LOCKSTEP_JWT_SECRET` or `LOCKSTEP_JWKS_URL` must be set"]
        );
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
