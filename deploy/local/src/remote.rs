//! The remote systems of a run: stand-ins in this process, or real ones somewhere else.

use std::net::{Ipv4Addr, SocketAddr};

use async_trait::async_trait;
use lockstep_sandbox::odoo::{Erp, ErpOptions};
use lockstep_sandbox::recorded::{self, RecordedError};
use lockstep_sandbox::seed::{SeedPlan, seed};
use lockstep_sandbox::snapshot::SnapshotError;
use lockstep_sandbox::woocommerce::{Store, StoreOptions};
use lockstep_shared::connection::{Credentials, Settings};
use lockstep_shared::system::System;
use lockstep_worker::connector::http::{self, ClientError};
use lockstep_worker::connector::odoo::Odoo;
use lockstep_worker::connector::woocommerce::WooCommerce;
use lockstep_worker::connector::{CallError, Connector, Gate};
use rand::RngExt;
use url::Url;

use crate::cli::{OdooOptions, WoocommerceOptions};
use crate::folder::{Contents, RemoteState, Snapshot};

/// Ports for stand-ins: below those that systems give to outgoing connections, so that they are free again next time.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
const PORT_ATTEMPTS: usize = 100;

#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error(
        "port {port}, on which the stand-in for {} was set up, is taken; end the program that holds it, or start \
         over with `--fresh`", title(*system)
    )]
    PortTaken {
        system: System,
        port: u16,
        #[source]
        source: std::io::Error,
    },
    #[error("no port is free for the stand-in for {}", title(*system))]
    NoPort { system: System },
    #[error("what the stand-ins held can't be put back; start over with `--fresh`")]
    Snapshot(#[source] SnapshotError),
    #[error("the recording can't be used")]
    Recorded(#[source] RecordedError),
    #[error("the HTTP client can't be set up")]
    Client(#[source] ClientError),
    #[error("`{url}` can't be used")]
    Unusable {
        url: String,
        #[source]
        source: Box<CallError>,
    },
}

/// Returns the name that people know a system by.
pub(crate) const fn title(system: System) -> &'static str {
    match system {
        System::Woocommerce => "WooCommerce",
        System::Odoo => "Odoo",
    }
}

/// A real system that was asked for.
#[derive(Debug)]
pub(crate) struct Real {
    pub(crate) url: Url,
    pub(crate) credentials: Credentials,
}

impl Real {
    pub(crate) fn store(options: &WoocommerceOptions) -> Option<Self> {
        Some(Self {
            url: options.woocommerce_url.clone()?,
            credentials: Credentials::Woocommerce {
                consumer_key: options.woocommerce_key.clone()?,
                consumer_secret: options.woocommerce_secret.clone()?,
            },
        })
    }

    pub(crate) fn erp(options: &OdooOptions) -> Option<Self> {
        Some(Self {
            url: options.odoo_url.clone()?,
            credentials: Credentials::Odoo {
                database: options.odoo_database.clone()?,
                login: options.odoo_login.clone()?,
                api_key: options.odoo_api_key.clone()?,
            },
        })
    }

    /// Proves address and credentials, before anything is stored of them.
    pub(crate) async fn check(&self) -> Result<(), RemoteError> {
        let client = http::Client::new(&http::Options::local()).map_err(RemoteError::Client)?;
        let (url, settings) = (self.url.clone(), Settings::default());
        let connector: Box<dyn Connector> = match self.credentials.clone() {
            Credentials::Woocommerce {
                consumer_key,
                consumer_secret,
            } => Box::new(WooCommerce::new(
                client,
                url,
                consumer_key,
                consumer_secret,
                &settings,
            )),
            Credentials::Odoo {
                database,
                login,
                api_key,
            } => Box::new(Odoo::new(client, url, database, login, api_key, &settings)),
        };
        let checked = connector.check(&Open).await;
        checked.map(drop).map_err(|source| RemoteError::Unusable {
            url: self.url.to_string(),
            source: Box::new(source),
        })
    }
}

/// Lets every request pass: there are two of them, before anything is metered.
struct Open;

#[async_trait]
impl Gate for Open {
    async fn pass(&self) -> Result<(), CallError> {
        Ok(())
    }
}

/// What a connection is made of.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) system: System,
    pub(crate) base_url: String,
    /// `None` where they are known to the database alone: a real system that an earlier run was given.
    pub(crate) credentials: Option<Credentials>,
}

/// The stand-ins of a run; a system that is a real one has none.
#[derive(Debug)]
pub(crate) struct StandIns {
    pub(crate) store: Option<Store>,
    pub(crate) erp: Option<Erp>,
}

impl StandIns {
    /// Starts the stand-ins on the ports that they had, or on new ones: port 0 takes any.
    pub(crate) async fn start(store: &RemoteState, erp: &RemoteState) -> Result<Self, RemoteError> {
        let store = match store {
            RemoteState::Real { .. } => None,
            RemoteState::StandIn { port } => Some(start_store(*port).await?),
        };
        let erp = match erp {
            RemoteState::Real { .. } => None,
            RemoteState::StandIn { port } => Some(start_erp(*port).await?),
        };
        Ok(Self { store, erp })
    }

    /// Puts the first contents in.
    pub(crate) fn fill(&self, contents: &Contents) -> Result<(), RemoteError> {
        let (Some(store), Some(erp)) = (&self.store, &self.erp) else {
            return Ok(());
        };
        match contents {
            Contents::MadeUp {
                products,
                customers,
                orders,
                refunds,
                seed: number,
            } => {
                let plan = SeedPlan {
                    seed: *number,
                    products: *products,
                    customers: *customers,
                    orders: *orders,
                    refunds: *refunds,
                };
                seed(store, erp, &plan);
            }
            Contents::Recorded { folder } => {
                recorded::load(folder, store, erp).map_err(RemoteError::Recorded)?;
            }
            Contents::Nothing => {}
        }
        Ok(())
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            store: self.store.as_ref().map(Store::snapshot),
            erp: self.erp.as_ref().map(Erp::snapshot),
        }
    }

    pub(crate) fn restore(&self, snapshot: &Snapshot) -> Result<(), RemoteError> {
        if let (Some(store), Some(held)) = (&self.store, &snapshot.store) {
            store.restore(held).map_err(RemoteError::Snapshot)?;
        }
        if let (Some(erp), Some(held)) = (&self.erp, &snapshot.erp) {
            erp.restore(held).map_err(RemoteError::Snapshot)?;
        }
        Ok(())
    }

    /// Says whether there is a stand-in at all.
    pub(crate) const fn is_any(&self) -> bool {
        self.store.is_some() || self.erp.is_some()
    }
}

/// Says what the connection to the store is made of.
pub(crate) fn store_access(stand_in: Option<&Store>, state: &RemoteState, real: Option<Real>) -> Access {
    let options = StoreOptions::default();
    access(
        System::Woocommerce,
        state,
        real,
        stand_in.map(|store| {
            let credentials = Credentials::Woocommerce {
                consumer_key: options.consumer_key.into(),
                consumer_secret: options.consumer_secret.into(),
            };
            (store.base_url(), credentials)
        }),
    )
}

/// Says what the connection to the ERP is made of.
pub(crate) fn erp_access(stand_in: Option<&Erp>, state: &RemoteState, real: Option<Real>) -> Access {
    let options = ErpOptions::default();
    access(
        System::Odoo,
        state,
        real,
        stand_in.map(|erp| {
            let credentials = Credentials::Odoo {
                database: options.database,
                login: options.login,
                api_key: options.api_key.into(),
            };
            (erp.base_url(), credentials)
        }),
    )
}

fn access(
    system: System,
    state: &RemoteState,
    real: Option<Real>,
    stand_in: Option<(String, Credentials)>,
) -> Access {
    let (base_url, credentials) = match (stand_in, real, state) {
        (Some((base_url, credentials)), _, _) => (base_url, Some(credentials)),
        (None, Some(real), _) => (real.url.into(), Some(real.credentials)),
        (None, None, RemoteState::Real { url }) => (url.to_string(), None),
        (None, None, RemoteState::StandIn { port }) => (format!("http://127.0.0.1:{port}"), None),
    };
    Access {
        system,
        base_url,
        credentials,
    }
}

/// Returns the state of a remote with the port that its stand-in has got.
pub(crate) fn with_port(state: &RemoteState, base_url: Option<String>) -> RemoteState {
    let port = base_url
        .and_then(|base_url| Url::parse(&base_url).ok())
        .and_then(|url| url.port());
    match (state, port) {
        (RemoteState::StandIn { .. }, Some(port)) => RemoteState::StandIn { port },
        (state, _) => state.clone(),
    }
}

async fn start_store(port: u16) -> Result<Store, RemoteError> {
    let system = System::Woocommerce;
    for address in addresses(port) {
        match Store::start_on(StoreOptions::default(), address).await {
            Ok(store) => return Ok(store),
            Err(source) if port > 0 => return Err(RemoteError::PortTaken { system, port, source }),
            Err(_) => {}
        }
    }
    Err(RemoteError::NoPort { system })
}

async fn start_erp(port: u16) -> Result<Erp, RemoteError> {
    let system = System::Odoo;
    for address in addresses(port) {
        match Erp::start_on(ErpOptions::default(), address).await {
            Ok(erp) => return Ok(erp),
            Err(source) if port > 0 => return Err(RemoteError::PortTaken { system, port, source }),
            Err(_) => {}
        }
    }
    Err(RemoteError::NoPort { system })
}

fn addresses(port: u16) -> impl Iterator<Item = SocketAddr> {
    let attempts = if port > 0 { 1 } else { PORT_ATTEMPTS };
    (0..attempts).map(move |_| {
        let port = if port > 0 {
            port
        } else {
            rand::rng().random_range(PORTS)
        };
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_one_clear_sentence() {
        let nothing = RemoteState::Real {
            url: "https://erp.example.com".parse().unwrap(),
        };
        let new = RemoteState::StandIn { port: 0 };
        let first = StandIns::start(&new, &nothing).await.unwrap();
        let taken = with_port(&new, first.store.as_ref().map(Store::base_url));

        let error = StandIns::start(&taken, &nothing).await.unwrap_err();

        let RemoteState::StandIn { port } = taken else {
            panic!("a stand-in")
        };
        assert_eq!(
            error.to_string(),
            format!(
                "port {port}, on which the stand-in for WooCommerce was set up, is taken; end the program that holds \
                 it, or start over with `--fresh`"
            )
        );
    }

    #[tokio::test]
    async fn wrong_credentials_are_noticed_before_they_are_stored() {
        let erp = Erp::start(ErpOptions::default()).await.unwrap();
        let real = |api_key: &str| Real {
            url: erp.base_url().parse().unwrap(),
            credentials: Credentials::Odoo {
                database: "sandbox".to_owned(),
                login: "admin".to_owned(),
                api_key: api_key.to_owned().into(),
            },
        };

        assert!(real(&ErpOptions::default().api_key).check().await.is_ok());
        let error = real("wrong").check().await.unwrap_err();

        let RemoteError::Unusable { source, .. } = error else {
            panic!("{error}")
        };
        assert!(matches!(*source, CallError::Unauthorised { .. }), "{source}");
    }
}
