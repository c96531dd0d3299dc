//! Connections: one store or ERP of an organisation, with its address, its credentials and its settings.

pub mod archive;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use crate::bucket;
use crate::decide::Ownership;
use crate::deletion::DeletionSettings;
use crate::entity::{Currency, OrderStatus};
use crate::id::{ConnectionId, OrgId};
use crate::notification::{self, Event};
use crate::secret::Sealed;
use crate::system::{EntityType, System};

/// What a person can set about a connection, beside its address and credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Currency of prices that the remote states without one.
    pub currency: Currency,
    /// Unit in which the remote states weights.
    pub weight_unit: WeightUnit,
    /// Which number of the remote's counts as its stock.
    pub stock: StockSettings,
    /// What the remote calls the states of an order, where that is not the usual: read and written so.
    pub order_statuses: BTreeMap<OrderStatus, String>,
    /// Whether people may notice what is written: mails to customers, messages and activities (R17).
    pub notifies_people: bool,
    /// Who has the last word on what, by type of record; the usual rules hold for types that are not named.
    pub ownership: BTreeMap<EntityType, Ownership>,
    /// What becomes of records whose things vanish from the remote.
    pub deletions: DeletionSettings,
    /// How often the system may be asked, beside the organisation's own limit; none: that one alone holds.
    // Left out where there is none, so that a version that doesn't know it can still read the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
}

/// Which number of a system's counts as its stock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StockSettings {
    pub basis: StockBasis,
    /// Units that are kept back: never offered elsewhere.
    pub safety_stock: Decimal,
    /// The warehouse that is meant, by its id in the remote; none: all of them together.
    pub warehouse: Option<i64>,
}

/// A way to count stock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StockBasis {
    /// What is there without what was sold and not delivered yet.
    #[default]
    Available,
    /// What is there.
    OnHand,
    /// What there will be once everything ordered has come in and gone out.
    Forecast,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            currency: Currency::USD,
            weight_unit: WeightUnit::Kg,
            stock: StockSettings::default(),
            order_statuses: BTreeMap::new(),
            notifies_people: false,
            ownership: BTreeMap::new(),
            deletions: DeletionSettings::default(),
            requests_per_minute: None,
        }
    }
}

/// A unit of weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightUnit {
    Kg,
    G,
    Lbs,
    Oz,
}

/// What a system wants to know before it lets anyone in. Never shown, never logged, stored only sealed.
#[derive(Clone, Debug)]
pub enum Credentials {
    Woocommerce {
        consumer_key: SecretString,
        consumer_secret: SecretString,
    },
    Odoo {
        database: String,
        login: String,
        api_key: SecretString,
    },
}

impl Credentials {
    pub const fn system(&self) -> System {
        match self {
            Self::Woocommerce { .. } => System::Woocommerce,
            Self::Odoo { .. } => System::Odoo,
        }
    }
}

/// A connection as it is shown: everything but its credentials.
#[derive(Clone, Debug)]
pub struct Connection {
    pub connection_id: ConnectionId,
    pub system: System,
    pub name: String,
    pub base_url: String,
    pub settings: Settings,
    pub status: Status,
    /// Why a person has to look at it.
    pub attention: Option<String>,
    /// When its credentials were given: what was refused to older ones says nothing of these.
    pub credentials_set_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
}

/// Whether a connection can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type, Serialize, Deserialize)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Active,
    /// Its credentials were refused; nothing is sent until somebody has looked.
    NeedsAttention,
}

/// A connection to be made, its credentials sealed already.
#[derive(Clone, Debug)]
pub struct NewConnection {
    pub connection_id: ConnectionId,
    pub system: System,
    pub name: String,
    pub base_url: String,
    pub settings: Settings,
    pub sealed: Sealed,
}

#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("the organisation has a connection named `{0}` already")]
    NameTaken(String),
    #[error("could not store the connection")]
    Database(#[source] sqlx::Error),
}

/// Stores a connection.
pub async fn create(db: &mut PgConnection, org: OrgId, new: &NewConnection) -> Result<(), CreateError> {
    sqlx::query!(
        "insert into connection (org_id, connection_id, system, name, base_url, sealed_credentials, key_id, settings)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        org as _,
        new.connection_id as _,
        new.system as _,
        new.name,
        new.base_url,
        new.sealed.bytes,
        new.sealed.key_id,
        serde_json::to_value(&new.settings).expect("settings are plain JSON"),
    )
    .execute(&mut *db)
    .await
    .map_err(|error| not_stored(error, &new.name))?;
    bucket::limit_connection(db, org, new.connection_id, new.settings.requests_per_minute)
        .await
        .map_err(CreateError::Database)
}

fn not_stored(error: sqlx::Error, name: &str) -> CreateError {
    match crate::db::constraint(&error) {
        Some("connection_name_key") => CreateError::NameTaken(name.to_owned()),
        _ => CreateError::Database(error),
    }
}

struct Row {
    connection_id: ConnectionId,
    system: System,
    name: String,
    base_url: String,
    settings: serde_json::Value,
    status: Status,
    attention: Option<String>,
    credentials_set_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
}

impl TryFrom<Row> for Connection {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            settings: serde_json::from_value(row.settings)
                .map_err(|error| sqlx::Error::Decode(error.into()))?,
            connection_id: row.connection_id,
            system: row.system,
            name: row.name,
            base_url: row.base_url,
            status: row.status,
            attention: row.attention,
            credentials_set_at: row.credentials_set_at,
            created_at: row.created_at,
        })
    }
}

/// Lists an organisation's connections, oldest first; all of them: an organisation has a handful.
pub async fn list(db: &mut PgConnection, org: OrgId) -> Result<Vec<Connection>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        select connection_id as "connection_id: ConnectionId", system as "system: System", name, base_url, settings,
               status as "status: Status", attention, credentials_set_at, created_at
          from connection
         where org_id = $1 and deleted_at is null
         order by connection_id
        "#,
        org as _,
    )
    .fetch_all(db)
    .await?
    .into_iter()
    .map(Connection::try_from)
    .collect()
}

/// Finds one connection.
pub async fn find(
    db: &mut PgConnection,
    org: OrgId,
    id: ConnectionId,
) -> Result<Option<Connection>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        select connection_id as "connection_id: ConnectionId", system as "system: System", name, base_url, settings,
               status as "status: Status", attention, credentials_set_at, created_at
          from connection
         where org_id = $1 and connection_id = $2 and deleted_at is null
        "#,
        org as _,
        id as _,
    )
    .fetch_optional(db)
    .await?
    .map(Connection::try_from)
    .transpose()
}

/// Locks a connection's row: whoever changes it with an eye to what it says goes after whoever came before.
pub async fn lock(db: &mut PgConnection, org: OrgId, id: ConnectionId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select connection_id from connection where org_id = $1 and connection_id = $2 for no key update",
        org as _,
        id as _,
    )
    .fetch_optional(db)
    .await
    .map(|_| ())
}

/// Reads a connection's sealed credentials.
pub async fn sealed(
    db: &mut PgConnection,
    org: OrgId,
    id: ConnectionId,
) -> Result<Option<Sealed>, sqlx::Error> {
    let row = sqlx::query!(
        "select sealed_credentials, key_id from connection
          where org_id = $1 and connection_id = $2 and deleted_at is null",
        org as _,
        id as _,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Sealed {
        bytes: row.sealed_credentials,
        key_id: row.key_id,
    }))
}

/// Replaces a connection's credentials. Where it needs attention it goes on doing so, until a check is let in. `false` where
/// there is no such connection.
pub async fn change_credentials(
    db: &mut PgConnection,
    org: OrgId,
    id: ConnectionId,
    sealed: &Sealed,
) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query!(
        "update connection set sealed_credentials = $3, key_id = $4, credentials_set_at = lockstep_now()
          where org_id = $1 and connection_id = $2 and deleted_at is null",
        org as _,
        id as _,
        sealed.bytes,
        sealed.key_id,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(changed == 1)
}

/// Marks a connection as one that a person has to look at, because of the credentials that it had then. `false` where it has
/// others by now, or is gone.
pub async fn need_attention(
    db: &mut PgConnection,
    org: OrgId,
    (id, credentials_set_at): (ConnectionId, DateTime<Utc>),
    why: &str,
) -> Result<bool, sqlx::Error> {
    let marked = sqlx::query!(
        "update connection
            set attention = case when status = 'active' then $3 else attention end, status = 'needs_attention'
          where org_id = $1 and connection_id = $2 and credentials_set_at = $4 and deleted_at is null",
        org as _,
        id as _,
        why,
        credentials_set_at,
    )
    .execute(&mut *db)
    .await?
    .rows_affected();
    if marked == 1 {
        let told = json!({ "connectionId": id, "reason": why });
        notification::tell(db, org, Event::ConnectionNeedsAttention, &told).await?;
    }
    Ok(marked == 1)
}

/// Takes the mark away again: somebody has looked, and the remote lets us in. `false` where there was none.
pub async fn clear_attention(
    db: &mut PgConnection,
    org: OrgId,
    id: ConnectionId,
) -> Result<bool, sqlx::Error> {
    let cleared = sqlx::query!(
        "update connection set status = 'active', attention = null
          where org_id = $1 and connection_id = $2 and status = 'needs_attention'",
        org as _,
        id as _,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(cleared == 1)
}

/// Replaces a connection's settings. `false` where there is no such connection.
pub async fn change_settings(
    db: &mut PgConnection,
    org: OrgId,
    id: ConnectionId,
    settings: &Settings,
) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query!(
        "update connection set settings = $3 where org_id = $1 and connection_id = $2",
        org as _,
        id as _,
        serde_json::to_value(settings).expect("settings are plain JSON"),
    )
    .execute(&mut *db)
    .await?
    .rows_affected();
    if changed == 1 {
        bucket::limit_connection(db, org, id, settings.requests_per_minute).await?;
    }
    Ok(changed == 1)
}

/// Replaces who owns what, and leaves the other settings as they are. `false` where there is no such connection.
pub async fn change_ownership(
    db: &mut PgConnection,
    org: OrgId,
    id: ConnectionId,
    ownership: &BTreeMap<EntityType, Ownership>,
) -> Result<bool, sqlx::Error> {
    // In one statement, so that another's change of the other settings is not undone.
    let changed = sqlx::query!(
        "update connection set settings = settings || jsonb_build_object('ownership', $3::jsonb)
          where org_id = $1 and connection_id = $2",
        org as _,
        id as _,
        serde_json::to_value(ownership).expect("owners are plain JSON"),
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(changed == 1)
}

impl Credentials {
    /// Returns the JSON form that is sealed. The only place where the secrets are written out.
    pub fn to_json(&self) -> SecretString {
        let json = match self {
            Self::Woocommerce {
                consumer_key,
                consumer_secret,
            } => serde_json::json!({
                "consumer_key": consumer_key.expose_secret(),
                "consumer_secret": consumer_secret.expose_secret(),
            }),
            Self::Odoo {
                database,
                login,
                api_key,
            } => serde_json::json!({
                "database": database,
                "login": login,
                "api_key": api_key.expose_secret(),
            }),
        };
        json.to_string().into()
    }

    /// Reads the JSON form; `None` where it is not that of the system.
    pub fn from_json(system: System, json: &SecretString) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_str(json.expose_secret()).ok()?;
        let text = |field: &str| {
            value
                .get(field)
                .and_then(serde_json::Value::as_str)
                .map(str::to_owned)
        };
        Some(match system {
            System::Woocommerce => Self::Woocommerce {
                consumer_key: text("consumer_key")?.into(),
                consumer_secret: text("consumer_secret")?.into(),
            },
            System::Odoo => Self::Odoo {
                database: text("database")?,
                login: text("login")?,
                api_key: text("api_key")?.into(),
            },
        })
    }
}
