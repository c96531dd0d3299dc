//! The one way out: an HTTP client with limits on time and size, that names the system in its errors and keeps
//! credentials out of them.

mod fetch;
mod guard;
mod strike;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use lockstep_shared::network::{Destinations, OffLimits};
use reqwest::dns::Resolve;
use reqwest::{RequestBuilder, StatusCode, header};
use secrecy::SecretString;

use super::{CallError, Reach};
use crate::metric::{self, Outcome};
pub use fetch::FetchError;
use guard::{Guard, SystemNames};
use strike::Secrets;

/// Largest answer that is read, in bytes. 100 products of a real store were 194 kB (facts/systems.md A11).
const BODY_LIMIT: usize = 32 * 1024 * 1024;

/// Longest part of a remote's own words that goes into an error.
const WORDS_LIMIT: usize = 300;

/// How the process reaches remote systems.
#[derive(Clone, Debug)]
pub struct Options {
    /// Longest time one request may take. Odoo retries conflicts by itself for 16 to 25 s, and a WooCommerce batch of
    /// 100 can take 16 s and more (facts/systems.md B5, A11).
    pub timeout: Duration,
    pub connect_timeout: Duration,
    /// PEM certificates trusted beside the platform's own.
    pub extra_roots: Vec<String>,
    /// Where connections and notifications may lead.
    pub destinations: Destinations,
    /// Where files that records name may be fetched from: a record can name any address, whoever wrote it.
    pub sources: Destinations,
}

impl Options {
    /// Returns options that lead anywhere: for a local run, never in production.
    pub fn local() -> Self {
        Self {
            destinations: Destinations::Any,
            sources: Destinations::Any,
            ..Self::default()
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_mins(1),
            connect_timeout: Duration::from_secs(10),
            extra_roots: Vec::new(),
            destinations: Destinations::Public,
            sources: Destinations::Public,
        }
    }
}

/// A client for all connections of the process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    inner: reqwest::Client,
    /// Reaches the addresses that records name, and carries nobody's credentials.
    stranger: reqwest::Client,
    destinations: Destinations,
    sources: Destinations,
    timeout: Duration,
    secrets: Secrets,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: header::HeaderMap,
    pub body: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
#[error("the HTTP client can't be built")]
pub struct ClientError(#[source] reqwest::Error);

impl Client {
    /// Builds the client. Redirects are not followed: they would carry credentials to another host.
    pub fn new(options: &Options) -> Result<Self, ClientError> {
        let guard = |destinations| -> Option<Arc<dyn Resolve>> {
            match destinations {
                Destinations::Public => Some(Arc::new(Guard {
                    names: Arc::new(SystemNames),
                    allows: |address| Destinations::Public.allows(address),
                })),
                Destinations::Any => None,
            }
        };
        Self::guarded(options, guard(options.destinations), guard(options.sources))
    }

    /// Builds the client with what looks names up: those of connections and notifications, and those of files.
    fn guarded(
        options: &Options,
        destinations: Option<Arc<dyn Resolve>>,
        sources: Option<Arc<dyn Resolve>>,
    ) -> Result<Self, ClientError> {
        // A second call finds the provider in place, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let build = |guard: Option<Arc<dyn Resolve>>| {
            let mut builder = reqwest::Client::builder()
                .timeout(options.timeout)
                .connect_timeout(options.connect_timeout)
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("Lockstep/", env!("CARGO_PKG_VERSION")));
            for pem in &options.extra_roots {
                let root = reqwest::Certificate::from_pem(pem.as_bytes()).map_err(ClientError)?;
                builder = builder.tls_certs_merge([root]);
            }
            if let Some(guard) = guard {
                // A proxy would look the names up by itself.
                builder = builder.no_proxy().dns_resolver(guard);
            }
            builder.build().map_err(ClientError)
        };
        Ok(Self {
            inner: build(destinations)?,
            stranger: build(sources)?,
            destinations: options.destinations,
            sources: options.sources,
            timeout: options.timeout,
            secrets: Secrets::default(),
        })
    }

    /// Returns a client that strikes these secrets out of every answer before anyone reads it: a remote may say them again in
    /// its errors, which are logged, stored and shown.
    #[must_use]
    pub fn striking(self, secrets: impl IntoIterator<Item = SecretString>) -> Self {
        Self {
            secrets: Secrets::new(secrets),
            ..self
        }
    }

    /// Returns the longest time one request may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    pub fn get(&self, url: url::Url) -> RequestBuilder {
        self.inner.get(url)
    }

    pub fn post(&self, url: url::Url) -> RequestBuilder {
        self.inner.post(url)
    }

    pub fn put(&self, url: url::Url) -> RequestBuilder {
        self.inner.put(url)
    }

    pub fn delete(&self, url: url::Url) -> RequestBuilder {
        self.inner.delete(url)
    }

    /// Sends a request that only reads.
    pub async fn read(&self, system: &'static str, request: RequestBuilder) -> Result<Answer, CallError> {
        self.answer(system, request, self.timeout)
            .await
            .map_err(|error| match error {
                CallError::Unwell {
                    system,
                    detail,
                    reach: Reach::InDoubt,
                } => CallError::Unwell {
                    system,
                    detail,
                    reach: Reach::NoEffect,
                },
                other => other,
            })
    }

    /// Sends a request that writes: never started after `deadline`, and timed out before it.
    pub async fn write(
        &self,
        system: &'static str,
        request: RequestBuilder,
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let detail = "its deadline had passed before it was sent".to_owned();
            return Err(CallError::Unwell {
                system,
                detail,
                reach: Reach::NoEffect,
            });
        }
        self.answer(system, request, left.min(self.timeout)).await
    }

    async fn answer(
        &self,
        system: &'static str,
        request: RequestBuilder,
        timeout: Duration,
    ) -> Result<Answer, CallError> {
        let began = Instant::now();
        let result = self.exchange(system, request, timeout).await;
        let outcome = match &result {
            Ok(answer) => Outcome::Status(answer.status.as_u16()),
            Err(CallError::Throttled { status, .. }) => Outcome::Status(*status),
            Err(_) => Outcome::NoAnswer,
        };
        metric::called(system, outcome, began.elapsed());
        result
    }

    async fn exchange(
        &self,
        system: &'static str,
        request: RequestBuilder,
        timeout: Duration,
    ) -> Result<Answer, CallError> {
        let forbidden = |why: OffLimits| CallError::Forbidden { system, why };
        let failed = |error: reqwest::Error| {
            if let Some(why) = guard::off_limits(&error) {
                return forbidden(why);
            }
            // Only a connection that never came to be proves that nothing was sent.
            let reach = if error.is_connect() || error.is_builder() {
                Reach::NoEffect
            } else {
                Reach::InDoubt
            };
            CallError::Unwell {
                system,
                detail: words(&error),
                reach,
            }
        };
        let too_large = || CallError::Unwell {
            system,
            detail: format!("its answer is larger than {BODY_LIMIT} bytes"),
            reach: Reach::InDoubt,
        };
        let (client, request) = request.timeout(timeout).build_split();
        let request = request.map_err(failed)?;
        self.destinations.check(request.url()).map_err(forbidden)?;
        let response = client.execute(request).await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        if response
            .content_length()
            .is_some_and(|length| length > BODY_LIMIT as u64)
        {
            return Err(too_large());
        }
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(failed)?);
            if body.len() > BODY_LIMIT {
                return Err(too_large());
            }
        }
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            let retry_after = retry_after(&headers, Utc::now());
            return Err(CallError::Throttled {
                system,
                status: status.as_u16(),
                retry_after,
            });
        }
        Ok(Answer {
            status,
            headers,
            body: self.secrets.strike(body),
        })
    }
}

/// Reads `Retry-After`, in seconds or as an HTTP date (RFC 9110, section 10.2.3).
pub fn retry_after(headers: &header::HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(secs) = value.parse() {
        return Some(Duration::from_secs(secs));
    }
    let date = DateTime::parse_from_rfc2822(value).ok()?;
    Some((date.with_timezone(&Utc) - now).to_std().unwrap_or_default())
}

/// Returns how far a remote's clock is ahead of ours, by the `Date` of its answer (RFC 9110, section 6.6.1); to the second,
/// and within what the answer took on its way.
pub fn clock_ahead(headers: &header::HeaderMap, now: DateTime<Utc>) -> Option<TimeDelta> {
    let date = headers.get(header::DATE)?.to_str().ok()?.trim();
    let date = DateTime::parse_from_rfc2822(date).ok()?;
    Some(date.with_timezone(&Utc) - now)
}

/// Cuts a remote's own words to a length that fits an error or a log line, on one line.
pub fn cut(text: &str) -> String {
    let line = lockstep_shared::entity::clean_line(text);
    match line.char_indices().nth(WORDS_LIMIT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Tells what went wrong without the URL, which may carry a signature or a key.
fn words(error: &reqwest::Error) -> String {
    let kind = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else if error.is_body() || error.is_decode() {
        "the answer broke off"
    } else {
        "the connection broke"
    };
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    let mut last = None;
    while let Some(inner) = cause {
        last = Some(inner.to_string());
        cause = inner.source();
    }
    last.map_or_else(|| kind.to_owned(), |cause| cut(&format!("{kind} ({cause})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> header::HeaderMap {
        header::HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())])
    }

    #[test]
    fn a_retry_after_is_read_in_seconds_and_as_a_date() {
        let now = "2026-11-22T10:00:00Z".parse().unwrap();

        assert_eq!(retry_after(&headers("120"), now), Some(Duration::from_mins(2)));
        assert_eq!(
            retry_after(&headers("Sun, 22 Nov 2026 10:00:30 GMT"), now),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            retry_after(&headers("Sun, 22 Nov 2026 09:00:00 GMT"), now),
            Some(Duration::ZERO)
        );
        assert_eq!(retry_after(&headers("soon"), now), None);
    }

    #[test]
    fn a_clock_that_goes_ahead_is_told_by_the_date_of_an_answer() {
        let now = "2026-11-22T10:00:00Z".parse().unwrap();
        let answered = |date: &str| {
            let headers = header::HeaderMap::from_iter([(header::DATE, date.parse().unwrap())]);
            clock_ahead(&headers, now)
        };

        assert_eq!(
            answered("Sun, 22 Nov 2026 10:02:00 GMT"),
            Some(TimeDelta::minutes(2))
        );
        assert_eq!(
            answered("Sun, 22 Nov 2026 09:59:57 GMT"),
            Some(TimeDelta::seconds(-3))
        );
        assert_eq!(answered("today"), None);
        assert_eq!(clock_ahead(&header::HeaderMap::new(), now), None);
    }
}
