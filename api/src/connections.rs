//! Connections: the stores and ERPs of an organisation. Credentials come in here, are sealed at once, and never go out.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use lockstep_shared::bucket;
use lockstep_shared::check;
use lockstep_shared::circuit::{self, Circuit};
use lockstep_shared::connection::archive::{self, Identity};
use lockstep_shared::connection::{self, CreateError, Credentials, NewConnection, Settings, Status};
use lockstep_shared::db::{self, OrgTx};
use lockstep_shared::entity::clean_line;
use lockstep_shared::id::ConnectionId;
use lockstep_shared::network::Destinations;
use lockstep_shared::system::System;
use poem_openapi::param::{Header, Path};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, Union};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::{Authenticated, Session, commit};
use crate::base_url;
use crate::body::{self, Body, FromBody, present};
use crate::checks::ConnectionCheck;
use crate::circuits::ConnectionCircuit;
use crate::conditional;
use crate::credentials::{self, Deleted, seal};
use crate::document::Tag;
use crate::ownership::Ownership;
use crate::problem::{Kind, Refused, WrongField, failed};
use crate::settings::{ConnectionSettings, wrong_rate};

const NAME_LIMIT: usize = 200;
const CREDENTIAL_LIMIT: usize = 1_000;

/// A kind of remote system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enum, Deserialize)]
#[oai(rename_all = "lowercase", remote = "System")]
#[serde(rename_all = "lowercase")]
pub(crate) enum SystemName {
    Woocommerce,
    Odoo,
}

/// Whether a connection can be used. `needs_attention`: its credentials were refused, and nothing is sent until somebody
/// has looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", remote = "Status")]
pub(crate) enum ConnectionStatus {
    Active,
    NeedsAttention,
}

/// Keys of WooCommerce's REST API, made in its settings under Advanced with read and write permission.
#[derive(Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct WoocommerceCredentials {
    /// Consumer key, `ck_…`.
    #[oai(validator(min_length = 1, max_length = 1000))]
    consumer_key: String,
    /// Consumer secret, `cs_…`.
    #[oai(validator(min_length = 1, max_length = 1000))]
    consumer_secret: String,
}

impl Example for WoocommerceCredentials {
    fn example() -> Self {
        Self {
            consumer_key: "ck_0123456789abcdef".to_owned(),
            consumer_secret: "cs_0123456789abcdef".to_owned(),
        }
    }
}

impl From<WoocommerceCredentials> for Credentials {
    fn from(given: WoocommerceCredentials) -> Self {
        Self::Woocommerce {
            consumer_key: given.consumer_key.into(),
            consumer_secret: given.consumer_secret.into(),
        }
    }
}

impl From<OdooCredentials> for Credentials {
    fn from(given: OdooCredentials) -> Self {
        Self::Odoo {
            database: given.database,
            login: given.login,
            api_key: given.api_key.into(),
        }
    }
}

/// A user of Odoo and one of its API keys.
#[derive(Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OdooCredentials {
    /// Name of the database.
    #[oai(validator(min_length = 1, max_length = 1000))]
    database: String,
    /// The user's login.
    #[oai(validator(min_length = 1, max_length = 1000))]
    login: String,
    /// An API key of that user.
    #[oai(validator(min_length = 1, max_length = 1000))]
    api_key: String,
}

/// A WooCommerce store to be connected.
#[derive(Object, Deserialize)]
#[oai(
    rename_all = "camelCase",
    deny_unknown_fields,
    skip_serializing_if_is_none,
    example
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct WoocommerceStore {
    /// Name of the connection, unique in the organisation.
    #[oai(validator(min_length = 1, max_length = 200))]
    name: String,
    /// Address of the shop, without the path of its REST API.
    #[oai(validator(max_length = 2000))]
    base_url: String,
    /// What the store wants to know before it lets anyone in. Sealed on arrival, never shown again.
    credentials: WoocommerceCredentials,
    /// How to read what the store leaves unsaid, and who has the last word on what.
    #[serde(default, deserialize_with = "present")]
    settings: Option<ConnectionSettings>,
}

/// An Odoo ERP to be connected.
#[derive(Object, Deserialize)]
#[oai(
    rename_all = "camelCase",
    deny_unknown_fields,
    skip_serializing_if_is_none,
    example
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OdooServer {
    /// Name of the connection, unique in the organisation.
    #[oai(validator(min_length = 1, max_length = 200))]
    name: String,
    /// Address of the server.
    #[oai(validator(max_length = 2000))]
    base_url: String,
    /// What the server wants to know before it lets anyone in. Sealed on arrival, never shown again.
    credentials: OdooCredentials,
    /// How to read what the server leaves unsaid, and who has the last word on what.
    #[serde(default, deserialize_with = "present")]
    settings: Option<ConnectionSettings>,
}

impl Example for WoocommerceStore {
    fn example() -> Self {
        Self {
            name: "Main shop".to_owned(),
            base_url: "https://shop.example.com".to_owned(),
            credentials: WoocommerceCredentials::example(),
            settings: Some(ConnectionSettings::default()),
        }
    }
}

impl Example for OdooServer {
    fn example() -> Self {
        Self {
            name: "ERP".to_owned(),
            base_url: "https://erp.example.com".to_owned(),
            credentials: OdooCredentials {
                database: "production".to_owned(),
                login: "lockstep@example.com".to_owned(),
                api_key: "0123456789abcdef".to_owned(),
            },
            settings: Some(ConnectionSettings::default()),
        }
    }
}

/// A store or ERP to be connected; `system` says which.
#[derive(Union)]
#[oai(discriminator_name = "system", one_of)]
pub(crate) enum CreateConnectionRequest {
    #[oai(mapping = "woocommerce")]
    Woocommerce(WoocommerceStore),
    #[oai(mapping = "odoo")]
    Odoo(OdooServer),
}

impl FromBody for CreateConnectionRequest {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        read_by_system(json, Self::Woocommerce, Self::Odoo)
    }
}

/// Reads a body whose `system` says what the other fields are. By hand, because serde forgets the paths of fields behind a
/// tag.
pub(crate) fn read_by_system<W: DeserializeOwned, O: DeserializeOwned, T>(
    mut json: Value,
    woocommerce: impl FnOnce(W) -> T,
    odoo: impl FnOnce(O) -> T,
) -> Result<T, Vec<WrongField>> {
    let system = json.as_object_mut().and_then(|fields| fields.remove("system"));
    match system.as_ref().and_then(Value::as_str) {
        Some("woocommerce") => body::read(json).map(woocommerce),
        Some("odoo") => body::read(json).map(odoo),
        _ => Err(vec![WrongField::new("system", "must be `woocommerce` or `odoo`")]),
    }
}

/// A request whose every field is right.
struct Asked {
    name: String,
    base_url: String,
    credentials: Credentials,
    settings: Settings,
}

impl CreateConnectionRequest {
    fn check(self, allowed: Destinations) -> Result<Asked, Vec<WrongField>> {
        let (name, base_url, credentials, settings) = match self {
            Self::Woocommerce(store) => (
                store.name,
                store.base_url,
                Credentials::from(store.credentials),
                store.settings,
            ),
            Self::Odoo(erp) => (
                erp.name,
                erp.base_url,
                Credentials::from(erp.credentials),
                erp.settings,
            ),
        };
        let settings = settings.unwrap_or_default();
        let mut wrong = wrong_credentials(&credentials, "credentials/");
        let name = clean_line(&name);
        if name.is_empty() || name.chars().count() > NAME_LIMIT {
            wrong.push(WrongField::new(
                "name",
                format!("must have 1 to {NAME_LIMIT} characters"),
            ));
        }
        let base_url = base_url::parse(&base_url, allowed);
        if let Err(reason) = &base_url {
            wrong.push(WrongField::new("baseUrl", reason.as_str()));
        }
        let settings = settings.check("settings/");
        if let Err(errors) = &settings {
            wrong.extend(errors.iter().cloned());
        }
        match (base_url, settings) {
            (Ok(base_url), Ok(settings)) if wrong.is_empty() => Ok(Asked {
                name,
                base_url,
                credentials,
                settings,
            }),
            _ => Err(wrong),
        }
    }
}

/// Says which credentials can't be any; `below` is the path of what holds them.
pub(crate) fn wrong_credentials(credentials: &Credentials, below: &str) -> Vec<WrongField> {
    let fields = match credentials {
        Credentials::Woocommerce {
            consumer_key,
            consumer_secret,
        } => vec![
            ("consumerKey", consumer_key.expose_secret()),
            ("consumerSecret", consumer_secret.expose_secret()),
        ],
        Credentials::Odoo {
            database,
            login,
            api_key,
        } => vec![
            ("database", database.as_str()),
            ("login", login.as_str()),
            ("apiKey", api_key.expose_secret()),
        ],
    };
    let is_wrong = |value: &str| value.trim().is_empty() || value.chars().count() > CREDENTIAL_LIMIT;
    fields
        .into_iter()
        .filter(|(_, value)| is_wrong(value))
        .map(|(field, _)| {
            let message = format!("must have 1 to {CREDENTIAL_LIMIT} characters");
            WrongField::new(format!("{below}{field}"), message)
        })
        .collect()
}

/// A store or ERP of the organisation. Its credentials are never shown.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none, example)]
#[expect(
    clippy::struct_field_names,
    reason = "identifiers say of what, everywhere in the API"
)]
pub(crate) struct Connection {
    /// Identifier of the connection.
    connection_id: Uuid,
    /// What kind of system it is.
    system: SystemName,
    /// Name of the connection, unique in the organisation.
    name: String,
    /// Its address.
    base_url: String,
    /// How to read what the remote leaves unsaid, and who has the last word on what.
    settings: ConnectionSettings,
    /// Whether it can be used.
    status: ConnectionStatus,
    /// Why somebody has to look at it, where its status says so.
    attention: Option<String>,
    /// What the latest look at it found; left out where nobody has looked yet.
    check: Option<ConnectionCheck>,
    /// Whether its system answers.
    circuit: ConnectionCircuit,
    /// When it was made.
    created_at: DateTime<Utc>,
}

impl Connection {
    fn new(
        connection: connection::Connection,
        check: Option<check::Check>,
        (circuit, now): (Option<Circuit>, DateTime<Utc>),
    ) -> Self {
        Self {
            connection_id: connection.connection_id.0,
            system: connection.system.into(),
            name: connection.name,
            base_url: connection.base_url,
            settings: connection.settings.into(),
            status: connection.status.into(),
            attention: connection.attention,
            check: check.map(ConnectionCheck::from),
            circuit: ConnectionCircuit::of(circuit, now),
            created_at: connection.created_at,
        }
    }
}

impl Example for Connection {
    fn example() -> Self {
        Self {
            connection_id: Uuid::from_u128(0x0198_3f5e_7c00_7000_8000_0000_0000_0001),
            system: SystemName::Woocommerce,
            name: "Main shop".to_owned(),
            base_url: "https://shop.example.com".to_owned(),
            settings: ConnectionSettings::default(),
            status: ConnectionStatus::Active,
            attention: None,
            check: Some(ConnectionCheck::example()),
            circuit: ConnectionCircuit::example(),
            created_at: DateTime::UNIX_EPOCH + chrono::Duration::days(20_500),
        }
    }
}

/// The connections of the organisation.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct ConnectionList {
    /// All of them, oldest first.
    items: Vec<Connection>,
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Created {
    /// The connection was made.
    #[oai(status = 201, content_type = "application/json")]
    Made(
        Json<Connection>,
        /// Address of the connection.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Listed {
    /// The connections.
    #[oai(status = 200, content_type = "application/json")]
    All(Json<ConnectionList>),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Found {
    /// The connection.
    #[oai(status = 200, content_type = "application/json")]
    One(Json<Connection>),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Accepted {
    /// The check was asked for; the connection shows what becomes of it.
    #[oai(status = 202, content_type = "application/json")]
    Asked(
        Json<Connection>,
        /// Address of the connection.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Set {
    /// The whole settings.
    #[oai(status = 200, content_type = "application/json")]
    To(Json<ConnectionSettings>),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Owned {
    /// Who has the last word on what, for every type of record.
    #[oai(status = 200, content_type = "application/json")]
    By(Json<Ownership>),
}

pub(crate) struct Connections;

#[OpenApi(prefix_path = "/api/v1/connections", tag = "Tag::Connections")]
impl Connections {
    /// Create a connection
    ///
    /// Connects a store or an ERP. Its credentials are sealed on arrival and never shown again; whether they are right, and
    /// all is set up for a sync, a check tells. One that was connected before and deleted gets its old identifier: what is
    /// there of the organisation's records is known again.
    #[oai(path = "/", method = "post", operation_id = "createConnection")]
    async fn create(
        &self,
        Authenticated(session): Authenticated,
        /// The connection to be made.
        Body(request): Body<CreateConnectionRequest>,
    ) -> Result<Created, Refused> {
        let asked = request
            .check(session.context.base_urls)
            .map_err(Refused::invalid)?;
        let connection = create(&session, asked).await?;
        let location = format!("/api/v1/connections/{}", connection.connection_id);
        Ok(Created::Made(Json(connection), location))
    }

    /// List connections
    ///
    /// Lists all connections of the organisation, oldest first. There is a handful of them, so there are no pages.
    #[oai(path = "/", method = "get", operation_id = "listConnections")]
    async fn list(&self, Authenticated(session): Authenticated) -> Result<Listed, Refused> {
        let mut tx = session.begin().await?;
        let connections = connection::list(&mut tx, session.org())
            .await
            .map_err(failed("could not list the connections"))?;
        let checks = check::list(&mut tx, session.org())
            .await
            .map_err(failed("could not read the checks"))?;
        let mut checks: BTreeMap<_, _> = checks
            .into_iter()
            .map(|check| (check.connection_id, check))
            .collect();
        let circuits = circuit::list(&mut tx, session.org())
            .await
            .map_err(failed("could not read the circuits"))?;
        let mut circuits: BTreeMap<_, _> = circuits
            .into_iter()
            .map(|circuit| (circuit.connection_id, circuit))
            .collect();
        let now = db::now(&mut tx)
            .await
            .map_err(failed("could not read the time"))?;
        let items = connections
            .into_iter()
            .map(|connection| {
                let check = checks.remove(&connection.connection_id);
                let circuit = circuits.remove(&connection.connection_id);
                Connection::new(connection, check, (circuit, now))
            })
            .collect();
        Ok(Listed::All(Json(ConnectionList { items })))
    }

    /// Get a connection
    ///
    /// Returns one connection, without its credentials.
    #[oai(path = "/:connectionId", method = "get", operation_id = "getConnection")]
    async fn get(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the connection.
        #[oai(name = "connectionId")]
        Path(connection_id): Path<Uuid>,
    ) -> Result<Found, Refused> {
        let mut tx = session.begin().await?;
        let shown = show(&mut tx, &session, ConnectionId(connection_id)).await?;
        Ok(Found::One(Json(shown)))
    }

    /// Delete a connection
    ///
    /// Takes a connection away, its credentials at once and for good. Refused while a sync works with it, and while requests
    /// to it had no answer: the next sync looks up what became of them. Records stay, and so does the knowledge of what they
    /// are called in that system: connecting the same store or ERP again (the same address and, of an ERP, the same
    /// database) gives it the same identifier, reads it from the beginning, and makes nothing twice.
    #[oai(path = "/:connectionId", method = "delete", operation_id = "deleteConnection")]
    async fn delete(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the connection.
        #[oai(name = "connectionId")]
        Path(connection_id): Path<Uuid>,
    ) -> Result<Deleted, Refused> {
        credentials::delete(&session, ConnectionId(connection_id)).await
    }

    /// Check a connection
    ///
    /// Has a worker look at the system: whether it lets us in, whether all is there that a sync needs (rights, modules), and
    /// whether its settings (rounding, decimals, currency) leave totals as they are. Nothing is changed there. Get the
    /// connection to see what was found; a check under way is begun anew.
    ///
    /// A connection that needs attention is usable again when its credentials turn out to be right. What blocks keeps the
    /// stages of syncs that it is about from beginning. A connection that was never checked is checked by its first sync, and
    /// one that something blocks is looked at again by each sync.
    #[oai(
        path = "/:connectionId/check",
        method = "post",
        operation_id = "checkConnection"
    )]
    async fn check(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the connection.
        #[oai(name = "connectionId")]
        Path(connection_id): Path<Uuid>,
    ) -> Result<Accepted, Refused> {
        let (org, id) = (session.org(), ConnectionId(connection_id));
        let mut tx = session.begin().await?;
        find(&mut tx, &session, id).await?;
        check::request(&mut tx, org, id, &session.caller.subject)
            .await
            .map_err(failed("could not ask for a check"))?;
        let details = json!({ "connectionId": id });
        session
            .record(&mut tx, "connection.check_requested", details)
            .await?;
        let shown = show(&mut tx, &session, id).await?;
        commit(tx).await?;
        let location = format!("/api/v1/connections/{connection_id}");
        Ok(Accepted::Asked(Json(shown), location))
    }

    /// Get a connection's settings
    ///
    /// Returns all settings of a connection. Its `ETag` is what `If-Match` asks for where they are put.
    #[oai(
        path = "/:connectionId/settings",
        method = "get",
        operation_id = "getConnectionSettings"
    )]
    async fn get_settings(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the connection.
        #[oai(name = "connectionId")]
        Path(connection_id): Path<Uuid>,
    ) -> Result<Set, Refused> {
        let mut tx = session.begin().await?;
        let connection = find(&mut tx, &session, ConnectionId(connection_id)).await?;
        Ok(Set::To(Json(connection.settings.into())))
    }

    /// Put a connection's settings
    ///
    /// Replaces all settings of a connection, its ownership included; what is left out has its default again. Batches that
    /// begin from now on go by them. With `If-Match`, only where they still are what `GET` of the same address returned.
    #[oai(
        path = "/:connectionId/settings",
        method = "put",
        operation_id = "putConnectionSettings"
    )]
    async fn put_settings(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the connection.
        #[oai(name = "connectionId")]
        Path(connection_id): Path<Uuid>,
        /// The `ETag` of the settings that you have seen.
        #[oai(name = "If-Match")]
        Header(if_match): Header<Option<String>>,
        /// The whole settings.
        Body(settings): Body<ConnectionSettings>,
    ) -> Result<Found, Refused> {
        let settings = settings.check("").map_err(Refused::invalid)?;
        let (org, id) = (session.org(), ConnectionId(connection_id));
        let mut tx = session.begin().await?;
        connection::lock(&mut tx, org, id)
            .await
            .map_err(failed("could not hold a connection"))?;
        let before = find(&mut tx, &session, id).await?.settings;
        conditional::require(if_match.as_deref(), &ConnectionSettings::from(before.clone()))?;
        check_rate(&mut tx, &session, ("", &settings)).await?;
        connection::change_settings(&mut tx, org, id, &settings)
            .await
            .map_err(failed("could not change a connection's settings"))?;
        let change = json!({ "connectionId": id, "from": before, "to": settings });
        session
            .record(&mut tx, "connection.settings_changed", change)
            .await?;
        let shown = show(&mut tx, &session, id).await?;
        commit(tx).await?;
        Ok(Found::One(Json(shown)))
    }

    /// Get who owns what
    ///
    /// Returns who has the last word on what, for every type of record: what was set for the connection, and the usual
    /// rules where nothing was.
    #[oai(
        path = "/:connectionId/ownership",
        method = "get",
        operation_id = "getConnectionOwnership"
    )]
    async fn get_ownership(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the connection.
        #[oai(name = "connectionId")]
        Path(connection_id): Path<Uuid>,
    ) -> Result<Owned, Refused> {
        let mut tx = session.begin().await?;
        let connection = find(&mut tx, &session, ConnectionId(connection_id)).await?;
        Ok(Owned::By(Json(Ownership::of(&connection.settings.ownership))))
    }

    /// Put who owns what
    ///
    /// Replaces who has the last word on what; a type of record that is left out has the usual rules again. The other
    /// settings stay. Batches that begin from now on go by it. With `If-Match`, only where it still is what `GET` of the same
    /// address returned.
    #[oai(
        path = "/:connectionId/ownership",
        method = "put",
        operation_id = "putConnectionOwnership"
    )]
    async fn put_ownership(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the connection.
        #[oai(name = "connectionId")]
        Path(connection_id): Path<Uuid>,
        /// The `ETag` of the owners that you have seen.
        #[oai(name = "If-Match")]
        Header(if_match): Header<Option<String>>,
        /// The owners, by type of record.
        Body(ownership): Body<Ownership>,
    ) -> Result<Owned, Refused> {
        let set = ownership.check("").map_err(Refused::invalid)?;
        let (org, id) = (session.org(), ConnectionId(connection_id));
        let mut tx = session.begin().await?;
        connection::lock(&mut tx, org, id)
            .await
            .map_err(failed("could not hold a connection"))?;
        let before = find(&mut tx, &session, id).await?.settings.ownership;
        conditional::require(if_match.as_deref(), &Ownership::of(&before))?;
        connection::change_ownership(&mut tx, org, id, &set)
            .await
            .map_err(failed("could not change a connection's ownership"))?;
        let change = json!({ "connectionId": id, "from": before, "to": set });
        session
            .record(&mut tx, "connection.ownership_changed", change)
            .await?;
        commit(tx).await?;
        Ok(Owned::By(Json(Ownership::of(&set))))
    }
}

pub(crate) async fn find(
    tx: &mut OrgTx,
    session: &Session,
    id: ConnectionId,
) -> Result<connection::Connection, Refused> {
    connection::find(tx, session.org(), id)
        .await
        .map_err(failed("could not read a connection"))?
        .ok_or_else(|| Refused::not_found("there is no such connection"))
}

/// Shows a connection with its latest check. The check is read first: what it has done to the connection is then to be seen.
pub(crate) async fn show(tx: &mut OrgTx, session: &Session, id: ConnectionId) -> Result<Connection, Refused> {
    let check = check::find(tx, session.org(), id)
        .await
        .map_err(failed("could not read a check"))?;
    let connection = find(tx, session, id).await?;
    let circuit = circuit::find(tx, session.org(), id)
        .await
        .map_err(failed("could not read a circuit"))?;
    let now = db::now(tx).await.map_err(failed("could not read the time"))?;
    Ok(Connection::new(connection, check, (circuit, now)))
}

/// Refuses a rate that is above what the organisation may ask for.
async fn check_rate(
    tx: &mut OrgTx,
    session: &Session,
    (path, settings): (&str, &Settings),
) -> Result<(), Refused> {
    let Some(rate) = settings.requests_per_minute else {
        return Ok(());
    };
    let ceiling = bucket::ceiling(tx, session.org()).await.map_err(failed(
        "could not read how often the organisation's systems may be asked",
    ))?;
    match wrong_rate(path, Some(rate), ceiling) {
        None => Ok(()),
        Some(wrong) => Err(Refused::invalid(vec![wrong])),
    }
}

async fn create(session: &Session, asked: Asked) -> Result<Connection, Refused> {
    let org = session.org();
    let system = asked.credentials.system();
    let identity = Identity::of(&asked.base_url, &asked.credentials);
    let mut tx = session.begin().await?;
    let known = archive::find(&mut tx, org, system, identity)
        .await
        .map_err(failed("could not look up deleted connections"))?;
    let connection_id = known.unwrap_or_else(ConnectionId::random);
    let sealed = seal(&session.context, org, connection_id, &asked.credentials)?;
    let new = NewConnection {
        connection_id,
        system,
        name: asked.name,
        base_url: asked.base_url,
        settings: asked.settings,
        sealed,
    };
    check_rate(&mut tx, session, ("settings/", &new.settings)).await?;
    let stored = match known {
        Some(_) => archive::revive(&mut tx, org, &new).await,
        None => connection::create(&mut tx, org, &new).await,
    };
    stored.map_err(|error| match error {
        CreateError::NameTaken(name) => Refused::conflict(
            Kind::NameTaken,
            format!("there is a connection named `{name}` already"),
        ),
        CreateError::Database(error) => failed("could not store a connection")(error),
    })?;
    let details = json!({
        "connectionId": connection_id, "system": system, "name": new.name, "isKnown": known.is_some(),
    });
    session.record(&mut tx, "connection.created", details).await?;
    let shown = show(&mut tx, session, connection_id).await?;
    commit(tx).await?;
    tracing::info!(org.id = %org, connection.id = %connection_id, system = system.name(), "connection created");
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(json: Value) -> Vec<String> {
        let checked = CreateConnectionRequest::from_body(json)
            .and_then(|request| request.check(Destinations::Public).map(|_| ()));
        let wrong = checked.unwrap_err();
        wrong.into_iter().map(|wrong| wrong.field).collect()
    }

    #[test]
    fn every_wrong_field_of_a_connection_is_named() {
        let request = json!({
            "system": "woocommerce",
            "name": " ",
            "baseUrl": "http://10.0.0.1",
            "credentials": { "consumerKey": "", "consumerSecret": "cs_1" },
            "settings": { "currency": "EURO" },
        });

        assert_eq!(
            wrong(request),
            ["credentials/consumerKey", "name", "baseUrl", "settings/currency"],
            "R45"
        );
    }

    #[test]
    fn the_system_says_which_credentials_are_wanted() {
        let odoo = json!({
            "system": "odoo",
            "name": "ERP",
            "baseUrl": "https://erp.example.com",
            "credentials": { "consumerKey": "ck_1", "consumerSecret": "cs_1" },
        });

        assert_eq!(wrong(odoo), ["credentials/consumerKey"]);
        assert_eq!(wrong(json!({"system": "shopify"})), ["system"]);
        assert_eq!(wrong(json!([])), ["system"]);
    }
}
