//! A client of the API, as anyone could write one: nothing here looks into the database.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use lockstep_shared::connection::Credentials;
use lockstep_shared::id::SyncId;
use lockstep_shared::item::State;
use lockstep_shared::stage;
use lockstep_shared::sync::Status;
use lockstep_shared::system::{Direction, EntityType, System};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::remote::Access;

/// Longest time one request may take.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Most entries of a page that the API gives.
const PAGE_LIMIT: &str = "200";

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the HTTP client can't be built")]
    Build(#[source] reqwest::Error),
    #[error("the API did not answer when it was asked to {doing}")]
    Unreachable {
        doing: &'static str,
        #[source]
        source: reqwest::Error,
    },
    #[error("the API refused to {doing}: {detail}")]
    Refused {
        doing: &'static str,
        status: StatusCode,
        detail: String,
    },
    #[error("the API's answer can't be read, when it was asked to {doing}")]
    Unreadable {
        doing: &'static str,
        #[source]
        source: reqwest::Error,
    },
}

/// A store or an ERP.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Connection {
    pub(crate) system: System,
    pub(crate) attention: Option<String>,
}

/// A sync and how far it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sync {
    pub(crate) status: Status,
    pub(crate) progress: Progress,
    pub(crate) error: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Progress {
    pub(crate) stages: Vec<Stage>,
}

/// One direction, system and entity type of a sync.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stage {
    pub(crate) direction: Direction,
    pub(crate) system: System,
    pub(crate) entity_type: EntityType,
    pub(crate) status: stage::Status,
    pub(crate) total: u64,
    pub(crate) counts: Counts,
    pub(crate) started_at: Option<DateTime<Utc>>,
    pub(crate) completed_at: Option<DateTime<Utc>>,
    pub(crate) error: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counts {
    /// Things that a pull read.
    pub(crate) seen: u64,
    pub(crate) created: u64,
    pub(crate) updated: u64,
    pub(crate) unchanged: u64,
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
    pub(crate) conflicts: u64,
}

impl Stage {
    /// Says how long it took, once it is over.
    pub(crate) fn took(&self) -> Option<Duration> {
        let took = self.completed_at? - self.started_at?;
        Some(took.to_std().unwrap_or_default())
    }
}

impl Counts {
    /// How many things the stage is through with.
    pub(crate) const fn settled(&self) -> u64 {
        self.created + self.updated + self.unchanged + self.unsettled()
    }

    /// Items that did not get through.
    pub(crate) const fn unsettled(&self) -> u64 {
        self.skipped + self.failed + self.conflicts
    }
}

/// A record as one connection sees it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Item {
    pub(crate) system: System,
    pub(crate) state: State,
    pub(crate) external_id: Option<String>,
    pub(crate) last_error: Option<String>,
}

/// A record; of its content, only what people know it by.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Record {
    pub(crate) content: Named,
    #[serde(rename = "connections")]
    pub(crate) items: Vec<Item>,
}

/// An order is known by its number; levels and payments by what they are about.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Named {
    #[serde(alias = "number", default)]
    pub(crate) name: Option<String>,
}

impl Record {
    /// Names it as people would; what has no name of its own goes by its id in a system.
    pub(crate) fn name(&self) -> String {
        let own = self.content.name.clone();
        own.or_else(|| self.items.iter().find_map(|item| item.external_id.clone()))
            .unwrap_or_default()
    }

    pub(crate) fn item(&self, system: System) -> Option<&Item> {
        self.items.iter().find(|item| item.system == system)
    }

    /// Returns its identifier in a system.
    pub(crate) fn external_id(&self, system: System) -> Option<&str> {
        self.item(system)?.external_id.as_deref()
    }
}

/// The records of the organisation, by entity type.
pub(crate) type Records = BTreeMap<EntityType, Vec<Record>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<T> {
    items: Vec<T>,
    #[serde(default = "Option::default")]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    sync_id: SyncId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    sync_id: SyncId,
    status: Status,
}

#[derive(Deserialize)]
struct Problem {
    detail: String,
}

/// Speaks to the API for one organisation.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base_url: String,
    token: SecretString,
}

impl Client {
    pub(crate) fn new(base_url: &str, token: SecretString) -> Result<Self, ClientError> {
        // A second call finds the provider in place, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            .build()
            .map_err(ClientError::Build)?;
        Ok(Self {
            http,
            base_url: format!("{base_url}/api/v1"),
            token,
        })
    }

    pub(crate) async fn connections(&self) -> Result<Vec<Connection>, ClientError> {
        let page: Page<Connection> = self.get("list the connections", "/connections", &[]).await?;
        Ok(page.items)
    }

    pub(crate) async fn connect(
        &self,
        access: &Access,
        credentials: &Credentials,
    ) -> Result<Connection, ClientError> {
        let credentials = match credentials {
            Credentials::Woocommerce {
                consumer_key,
                consumer_secret,
            } => json!({
                "consumerKey": consumer_key.expose_secret(),
                "consumerSecret": consumer_secret.expose_secret(),
            }),
            Credentials::Odoo {
                database,
                login,
                api_key,
            } => json!({"database": database, "login": login, "apiKey": api_key.expose_secret()}),
        };
        let name = match access.system {
            System::Woocommerce => "Store",
            System::Odoo => "ERP",
        };
        let body = json!({
            "system": access.system.name(),
            "name": name,
            "baseUrl": access.base_url,
            "credentials": credentials,
        });
        self.post("make a connection", "/connections", &body).await
    }

    /// Starts a sync of everything, with no wait between its batches.
    pub(crate) async fn start_sync(&self) -> Result<SyncId, ClientError> {
        let body = json!({"syncConfig": {"batchDelayMs": 0}});
        let started: Started = self.post("start a sync", "/syncs", &body).await?;
        Ok(started.sync_id)
    }

    pub(crate) async fn sync(&self, id: SyncId) -> Result<Sync, ClientError> {
        self.get("show a sync", &format!("/syncs/{id}"), &[]).await
    }

    /// Lists the syncs of the first page that are not over, oldest first; there are never more than a few.
    pub(crate) async fn active_syncs(&self) -> Result<Vec<SyncId>, ClientError> {
        let page: Page<Listed> = self.get("list the syncs", "/syncs", &[("limit", "20")]).await?;
        let active = page
            .items
            .into_iter()
            .rev()
            .filter(|sync| !sync.status.is_final());
        Ok(active.map(|sync| sync.sync_id).collect())
    }

    /// Reads all records of one entity type.
    pub(crate) async fn records(&self, entity: EntityType) -> Result<Vec<Record>, ClientError> {
        let path = format!("/records/{}", entity.name());
        let mut records = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = vec![("limit", PAGE_LIMIT)];
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page: Page<Record> = self.get("list the records", &path, &query).await?;
            records.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(records);
            }
        }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, ClientError> {
        let request = self.request(Method::GET, path).query(query);
        answer(doing, request).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        path: &str,
        body: &Value,
    ) -> Result<T, ClientError> {
        let request = self.request(Method::POST, path).json(body);
        answer(doing, request).await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base_url))
            .bearer_auth(self.token.expose_secret())
    }
}

async fn answer<T: DeserializeOwned>(
    doing: &'static str,
    request: reqwest::RequestBuilder,
) -> Result<T, ClientError> {
    let response = request
        .send()
        .await
        .map_err(|source| ClientError::Unreachable { doing, source })?;
    let status = response.status();
    if status.is_success() {
        let unreadable = |source| ClientError::Unreadable { doing, source };
        return response.json().await.map_err(unreadable);
    }
    let problem = response.json::<Problem>().await;
    let detail = problem.map_or_else(|_| format!("status {status}"), |problem| problem.detail);
    Err(ClientError::Refused {
        doing,
        status,
        detail,
    })
}
