//! The API and one worker in this process, as they run apart in a cluster.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use lockstep_api::config::{Access, Config as ApiConfig, Jwt};
use lockstep_api::server::{self, ServeError};
use lockstep_shared::network::Destinations;
use lockstep_shared::secret::{SealingKey, SecretError};
use lockstep_shared::telemetry::LogFormat;
use lockstep_worker::RunError;
use lockstep_worker::config::Config as WorkerConfig;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::database::Urls;
use crate::folder::Secrets;

/// How long a remote may go on with a request after we have gone: it is on this machine, or somebody watches.
const GRACE: Duration = Duration::from_secs(2);
/// How often the worker looks for what its bells did not tell.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("port {port} of 127.0.0.1, on which the API is to listen, can't be had")]
    Listen {
        port: u16,
        #[source]
        source: std::io::Error,
    },
    #[error("the key in the data folder can't be used; start over with `--fresh`")]
    Key(#[source] SecretError),
    #[error("the API failed")]
    Api(#[source] ServeError),
    #[error("the worker failed")]
    Worker(#[source] RunError),
    #[error("a part of the process panicked")]
    Panicked(#[source] tokio::task::JoinError),
    #[error("the API or the worker ended before it was told to")]
    Ended,
}

/// The API and the worker while they run.
#[derive(Debug)]
pub(crate) struct Services {
    /// Address of the API, without a slash at its end.
    pub(crate) base_url: String,
    pub(crate) jwt: Jwt,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), ServiceError>>,
}

impl Services {
    /// Starts both.
    pub(crate) fn start(urls: &Urls, secrets: &Secrets, port: u16) -> Result<Self, ServiceError> {
        let failed = |source| ServiceError::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
        let bind = listener.local_addr().map_err(failed)?;
        let sealing_key = SealingKey::parse(&secrets.encryption_key).map_err(ServiceError::Key)?;
        let jwt = Jwt::of_secret(secrets.jwt_secret.clone());
        let api = api_config(urls, bind, &jwt, &sealing_key);
        let mut worker = WorkerConfig::new(urls.worker.clone().into(), sealing_key);
        worker.grace = Some(GRACE);
        worker.sweep_every = SWEEP_EVERY;
        worker.http = lockstep_worker::connector::http::Options::local();

        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let asked = stop.clone();
        tasks.spawn(async move {
            let stopped = asked.cancelled_owned();
            server::serve(api, listener, stopped)
                .await
                .map_err(ServiceError::Api)
        });
        let asked = stop.clone();
        tasks.spawn(async move {
            lockstep_worker::run(worker, asked)
                .await
                .map_err(ServiceError::Worker)
        });
        Ok(Self {
            base_url: format!("http://{bind}"),
            jwt,
            stop,
            tasks,
        })
    }

    /// Resolves when one of them ends although nobody asked for it, with the reason.
    pub(crate) async fn ended(&mut self) -> ServiceError {
        match self.tasks.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => ServiceError::Panicked(error),
            Some(Ok(Ok(()))) | None => ServiceError::Ended,
        }
    }

    /// Stops both: the worker gives back what it has in hand at the next item boundary.
    pub(crate) async fn stop(mut self) -> Result<(), ServiceError> {
        self.stop.cancel();
        let mut first = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let ended = ended.map_err(ServiceError::Panicked).flatten();
            first = first.and(ended);
        }
        first
    }
}

fn api_config(urls: &Urls, bind: SocketAddr, jwt: &Jwt, sealing_key: &SealingKey) -> ApiConfig {
    ApiConfig {
        database_url: urls.api.clone().into(),
        bind,
        jwt: jwt.clone(),
        access: Access {
            quotas: None,
            ..Access::default()
        },
        sealing_key: sealing_key.clone(),
        base_urls: Destinations::Any,
        public_url: None,
        operations_bind: None,
        // Logging was set up by the run.
        log: String::new(),
        log_format: LogFormat::Text,
    }
}
