//! The HTTP side that both stand-ins share: sockets, TLS, faults, cut connections.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::fault::{Fault, FaultPlan, RequestInfo};

/// A request, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) index: u64,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether the body claims to be JSON; neither server looks into any other.
    pub(crate) fn claims_json(&self) -> bool {
        self.header("content-type")
            .is_some_and(|kind| kind.contains("application/json"))
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        let kind = ("content-type", "application/json; charset=UTF-8".to_owned());
        Self {
            status,
            headers: vec![kind],
            body: body.to_string(),
        }
    }

    pub(crate) fn html(status: u16, body: &str) -> Self {
        let kind = ("content-type", "text/html; charset=utf-8".to_owned());
        Self {
            status,
            headers: vec![kind],
            body: body.to_owned(),
        }
    }

    pub(crate) fn file(kind: &str, body: String) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type", kind.to_owned())],
            body,
        }
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// How a system carries a request out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Course {
    /// The time over which the effect spreads.
    pub(crate) runs_on: Duration,
    /// The number of batch items after which the process dies.
    pub(crate) dies_after: Option<usize>,
    /// Whether the database gives up on a conflict.
    pub(crate) conflicts: bool,
}

/// What a stand-in answers; the task that runs it goes on when the client leaves.
pub(crate) trait System: Send + Sync + 'static {
    fn answer(self: Arc<Self>, request: Request, course: Course) -> impl Future<Output = Reply> + Send;
    fn faults(&self) -> &FaultPlan;
}

/// A listening stand-in; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) certificate: Option<String>,
    listening: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Whether the stand-in speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    Tls,
}

impl Server {
    pub(crate) async fn start<S: System>(
        system: Arc<S>,
        address: SocketAddr,
        transport: Transport,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (acceptor, certificate) = match transport {
            Transport::Plain => (None, None),
            Transport::Tls => {
                let (acceptor, certificate) = self_signed()?;
                (Some(acceptor), Some(certificate))
            }
        };
        let listening = tokio::spawn(listen(system, listener, acceptor)).abort_handle();
        Ok(Self {
            address,
            certificate,
            listening,
        })
    }
}

fn self_signed() -> std::io::Result<(TlsAcceptor, String)> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(std::io::Error::other)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .map_err(std::io::Error::other)?;
    Ok((TlsAcceptor::from(Arc::new(config)), made.cert.pem()))
}

async fn listen<S: System>(system: Arc<S>, listener: TcpListener, acceptor: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        while connections.try_join_next().is_some() {}
        let system = Arc::clone(&system);
        match acceptor.clone() {
            None => connections.spawn(serve(system, TokioIo::new(stream))),
            Some(acceptor) => connections.spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(system, TokioIo::new(stream)).await;
                }
            }),
        };
    }
}

async fn serve<S: System, I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static>(system: Arc<S>, io: I) {
    let service = service_fn(move |request| exchange(Arc::clone(&system), request));
    // An error here is a client that left or a connection that was cut on purpose.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(io, service)
        .await;
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection was cut")]
struct Cut;

async fn exchange<S: System>(
    system: Arc<S>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Payload>, Cut> {
    let (parts, body) = request.into_parts();
    let index = system.faults().arrive(parts.method.as_str(), parts.uri.path());
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let request = Request {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body,
        index,
    };
    let info = RequestInfo {
        method: request.method.clone(),
        path: request.path.clone(),
        query: request.query.clone(),
        body: serde_json::from_slice(&request.body).unwrap_or_default(),
        index,
    };
    let decision = system.faults().decide(&info);
    let clock_ahead_secs = system.faults().clock_ahead_secs();
    let mut course = Course::default();
    match &decision.fault {
        Some(Fault::CutConnection) => {
            tokio::time::sleep(decision.latency).await;
            return Err(Cut);
        }
        Some(Fault::Status {
            code,
            retry_after,
            body,
        }) => {
            tokio::time::sleep(decision.latency).await;
            return Ok(respond(&refusal(*code, retry_after.clone(), body.clone())));
        }
        Some(Fault::RunsOn(time)) => course.runs_on = *time,
        Some(Fault::PartialBatch(items)) => course.dies_after = Some(*items),
        Some(Fault::SerializationMessage) => course.conflicts = true,
        Some(Fault::LostReply | Fault::Truncated | Fault::Latency(_)) | None => {}
    }
    // A task of its own: hyper drops this future when the client leaves, the servers go on to the end.
    let work = tokio::spawn(async move {
        tokio::time::sleep(decision.latency).await;
        system.answer(request, course).await
    });
    if course.runs_on > Duration::ZERO {
        return Err(Cut);
    }
    let reply = dated(work.await.map_err(|_| Cut)?, clock_ahead_secs);
    match decision.fault {
        Some(Fault::LostReply) => Err(Cut),
        Some(Fault::Truncated) => Ok(truncated(&reply)),
        _ => Ok(respond(&reply)),
    }
}

/// Tells the time by the system's clock, where that is not ours; else the server tells its own.
fn dated(reply: Reply, clock_ahead_secs: i64) -> Reply {
    if clock_ahead_secs == 0 {
        return reply;
    }
    let now = Utc::now() + TimeDelta::seconds(clock_ahead_secs);
    let date = now.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    reply.with_header("date", date)
}

fn refusal(code: u16, retry_after: Option<String>, body: Option<String>) -> Reply {
    let body = body.unwrap_or_else(|| format!("<html><body><h1>{code}</h1></body></html>"));
    let kind = if body.starts_with(['{', '[']) {
        "application/json; charset=UTF-8"
    } else {
        "text/html"
    };
    let mut headers = vec![("content-type", kind.to_owned())];
    headers.extend(retry_after.map(|value| ("retry-after", value)));
    Reply {
        status: code,
        headers,
        body,
    }
}

fn respond(reply: &Reply) -> hyper::Response<Payload> {
    let body = Bytes::from(reply.body.clone());
    let length = body.len() as u64;
    assemble(
        reply,
        Payload {
            rest: Some(body),
            announced: length,
        },
    )
}

fn truncated(reply: &Reply) -> hyper::Response<Payload> {
    let whole = reply.body.as_bytes();
    let half = Bytes::copy_from_slice(&whole[..whole.len() / 2]);
    assemble(
        reply,
        Payload {
            rest: Some(half),
            announced: whole.len() as u64,
        },
    )
}

fn assemble(reply: &Reply, payload: Payload) -> hyper::Response<Payload> {
    let mut response = hyper::Response::new(payload);
    *response.status_mut() = hyper::StatusCode::from_u16(reply.status).unwrap_or_default();
    for (name, value) in &reply.headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response
                .headers_mut()
                .append(HeaderName::from_static(name), value);
        }
    }
    response
}

/// A body that may announce more bytes than it has; the missing ones end the connection.
struct Payload {
    rest: Option<Bytes>,
    announced: u64,
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let Some(data) = self.rest.take() else {
            let is_short = self.announced > 0;
            return Poll::Ready(is_short.then_some(Err(Cut)));
        };
        self.announced -= data.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.announced == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.announced)
    }
}

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
