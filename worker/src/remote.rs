//! Connectors by connection: built from the sealed credentials, kept while nothing about the connection changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_shared::connection::{self, Connection, Credentials, Status};
use lockstep_shared::id::{ConnectionId, OrgId};
use lockstep_shared::secret::{Owner, Sealed, SealingKey, SecretError};
use sqlx::PgConnection;

use crate::connector::odoo::Odoo;
use crate::connector::woocommerce::WooCommerce;
use crate::connector::{Connector, http};

#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("connection `{0}` is gone")]
    Gone(ConnectionId),
    #[error("connection `{0}` needs attention: {1}")]
    NeedsAttention(ConnectionId, String),
    #[error("the credentials of connection `{0}` can't be opened")]
    Secret(ConnectionId, #[source] SecretError),
    #[error("the credentials or the address of connection `{0}` are not those of its system")]
    Shape(ConnectionId),
    #[error("could not read connection `{0}`")]
    Database(ConnectionId, #[source] sqlx::Error),
}

/// Builds and keeps connectors.
#[derive(Debug)]
pub struct Remotes {
    http: http::Client,
    key: SealingKey,
    grace: Option<std::time::Duration>,
    built: Mutex<HashMap<ConnectionId, Built>>,
}

#[derive(Debug)]
struct Built {
    sealed: Sealed,
    base_url: String,
    settings: connection::Settings,
    connector: Arc<dyn Connector>,
}

impl Remotes {
    pub fn new(http: http::Client, key: SealingKey, grace: Option<std::time::Duration>) -> Self {
        Self {
            http,
            key,
            grace,
            built: Mutex::default(),
        }
    }

    /// Returns the connector of a connection.
    pub async fn connector(
        &self,
        db: &mut PgConnection,
        org: OrgId,
        connection: &Connection,
    ) -> Result<Arc<dyn Connector>, RemoteError> {
        let id = connection.connection_id;
        let sealed = sealed(db, org, id).await?;
        if connection.status == Status::NeedsAttention {
            let attention = connection.attention.clone().unwrap_or_default();
            return Err(RemoteError::NeedsAttention(id, attention));
        }
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = built.get(&id)
            && kept.sealed == sealed
            && kept.base_url == connection.base_url
            && kept.settings == connection.settings
        {
            return Ok(kept.connector.clone());
        }
        let connector = self.build(org, connection, &sealed)?;
        let kept = Built {
            sealed,
            base_url: connection.base_url.clone(),
            settings: connection.settings.clone(),
            connector: connector.clone(),
        };
        built.insert(id, kept);
        Ok(connector)
    }

    /// Builds a connector that knows nothing yet, whether the connection needs attention or not: whoever checks it wants to
    /// hear what the remote says now.
    pub async fn fresh(
        &self,
        db: &mut PgConnection,
        org: OrgId,
        connection: &Connection,
    ) -> Result<Arc<dyn Connector>, RemoteError> {
        let sealed = sealed(db, org, connection.connection_id).await?;
        self.build(org, connection, &sealed)
    }

    fn build(
        &self,
        org: OrgId,
        connection: &Connection,
        sealed: &Sealed,
    ) -> Result<Arc<dyn Connector>, RemoteError> {
        let id = connection.connection_id;
        let json = self
            .key
            .open(org, Owner::Connection(id), sealed)
            .map_err(|error| RemoteError::Secret(id, error))?;
        let credentials = Credentials::from_json(connection.system, &json).ok_or(RemoteError::Shape(id))?;
        let base_url = connection.base_url.parse().map_err(|_| RemoteError::Shape(id))?;
        let (http, settings) = (self.http.clone(), &connection.settings);
        Ok(match credentials {
            Credentials::Woocommerce {
                consumer_key,
                consumer_secret,
            } => {
                let connector = WooCommerce::new(http, base_url, consumer_key, consumer_secret, settings);
                Arc::new(match self.grace {
                    Some(grace) => connector.with_grace(grace),
                    None => connector,
                })
            }
            Credentials::Odoo {
                database,
                login,
                api_key,
            } => {
                let connector = Odoo::new(http, base_url, database, login, api_key, settings);
                Arc::new(match self.grace {
                    Some(grace) => connector.with_grace(grace),
                    None => connector,
                })
            }
        })
    }
}

async fn sealed(db: &mut PgConnection, org: OrgId, id: ConnectionId) -> Result<Sealed, RemoteError> {
    connection::sealed(db, org, id)
        .await
        .map_err(|error| RemoteError::Database(id, error))?
        .ok_or(RemoteError::Gone(id))
}
