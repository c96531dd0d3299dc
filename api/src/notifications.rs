//! Notifications: addresses that are told of what happens, and the log of what they were told.

use chrono::{DateTime, Utc};
use lockstep_shared::db::OrgTx;
use lockstep_shared::id::{EndpointId, NotificationId};
use lockstep_shared::notification::{self, Event, Status};
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::{Any, Example};
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::{Authenticated, Session, commit};
use crate::base_url;
use crate::body::{self, Body, FromBody};
use crate::document::Tag;
use crate::page;
use crate::problem::{Kind, Refused, WrongField, failed};
use crate::random;
use lockstep_shared::secret::Owner;

/// Most endpoints that one organisation may have: each is one more row for whatever happens.
const ENDPOINT_LIMIT: usize = 20;

/// What can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enum, Deserialize)]
#[oai(remote = "Event")]
pub(crate) enum NotificationEvent {
    /// A sync came to its end; its status says whether all of it was carried over.
    #[oai(rename = "sync.finished")]
    #[serde(rename = "sync.finished")]
    SyncFinished,
    /// A sync came to nothing.
    #[oai(rename = "sync.failed")]
    #[serde(rename = "sync.failed")]
    SyncFailed,
    /// Something waits for a person, or was left aside.
    #[oai(rename = "conflict.opened")]
    #[serde(rename = "conflict.opened")]
    ConflictOpened,
    /// A connection's credentials were refused.
    #[oai(rename = "connection.needs_attention")]
    #[serde(rename = "connection.needs_attention")]
    ConnectionNeedsAttention,
}

/// An address to be told of things.
#[derive(Clone, Debug, Object, Deserialize)]
#[oai(rename_all = "camelCase", deny_unknown_fields, example)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NotificationEndpointRequest {
    /// Where notifications are sent, by `POST`.
    #[oai(validator(max_length = 2000))]
    url: String,
    /// What it is told of.
    #[oai(validator(min_items = 1, max_items = 10))]
    events: Vec<NotificationEvent>,
}

impl FromBody for NotificationEndpointRequest {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        body::read(json)
    }
}

impl Example for NotificationEndpointRequest {
    fn example() -> Self {
        Self {
            url: "https://hooks.example.com/lockstep".to_owned(),
            events: vec![NotificationEvent::SyncFailed, NotificationEvent::ConflictOpened],
        }
    }
}

/// An address that is told of things.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none, example)]
pub(crate) struct NotificationEndpoint {
    /// Identifier of the endpoint.
    endpoint_id: Uuid,
    /// Where notifications are sent.
    url: String,
    /// What it is told of.
    events: Vec<NotificationEvent>,
    /// Why nothing is sent to it any more; left out while it is in use. Putting it takes it into use again.
    disabled_because: Option<String>,
    /// What notifications are signed with, `whsec_…`: shown once, when it is made.
    secret: Option<String>,
    /// When it was made.
    created_at: DateTime<Utc>,
}

impl NotificationEndpoint {
    fn new(endpoint: notification::Endpoint, secret: Option<String>) -> Self {
        let events = endpoint.events.iter();
        Self {
            endpoint_id: endpoint.endpoint_id.0,
            url: endpoint.url,
            events: events
                .filter_map(|name| Event::named(name))
                .map(NotificationEvent::from)
                .collect(),
            disabled_because: endpoint.disabled_because,
            secret,
            created_at: endpoint.created_at,
        }
    }
}

impl Example for NotificationEndpoint {
    fn example() -> Self {
        let asked = NotificationEndpointRequest::example();
        Self {
            endpoint_id: Uuid::from_u128(0x0198_3f5e_7c00_7000_8000_0000_0000_0021),
            url: asked.url,
            events: asked.events,
            disabled_because: None,
            secret: None,
            created_at: DateTime::UNIX_EPOCH + chrono::Duration::days(20_500),
        }
    }
}

/// The organisation's endpoints.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct NotificationEndpointList {
    /// All of them, oldest first.
    items: Vec<NotificationEndpoint>,
}

/// How far a notification has come. `failed`: it was tried for two days, or its endpoint wants nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase", remote = "Status")]
pub(crate) enum NotificationStatus {
    Pending,
    Delivered,
    Failed,
}

/// One thing that one endpoint is told of, and how far that has come.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
#[expect(
    clippy::struct_field_names,
    reason = "identifiers say of what, everywhere in the API"
)]
pub(crate) struct Notification {
    /// Identifier of the notification: the header `webhook-id` of each attempt.
    notification_id: Uuid,
    /// What happened.
    event: NotificationEvent,
    /// What is told of it.
    data: Any<Value>,
    /// How far it has come.
    status: NotificationStatus,
    /// Attempts so far.
    attempts: i32,
    /// When it happened.
    created_at: DateTime<Utc>,
    /// When the latest attempt was made.
    attempted_at: Option<DateTime<Utc>>,
    /// When the next one is made.
    next_attempt_at: Option<DateTime<Utc>>,
    /// Status of the latest answer; left out where there was none.
    response_status: Option<i32>,
    /// Why the latest attempt came to nothing.
    error: Option<String>,
}

impl From<notification::Notification> for Notification {
    fn from(row: notification::Notification) -> Self {
        Self {
            notification_id: row.notification_id.0,
            event: row.event.into(),
            data: Any(row.data),
            status: row.status.into(),
            attempts: row.attempts,
            created_at: row.created_at,
            attempted_at: row.attempted_at,
            next_attempt_at: (row.status == Status::Pending).then_some(row.run_at),
            response_status: row.response_status,
            error: row.error,
        }
    }
}

/// A page of notifications.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct NotificationPage {
    /// The notifications, newest first.
    items: Vec<Notification>,
    /// Where the next page starts; left out on the last one.
    next_cursor: Option<String>,
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Created {
    /// The endpoint was made. Its secret is shown this once.
    #[oai(status = 201, content_type = "application/json")]
    Made(
        Json<NotificationEndpoint>,
        /// Address of the endpoint.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Found {
    /// The endpoint.
    #[oai(status = 200, content_type = "application/json")]
    One(Json<NotificationEndpoint>),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Listed {
    /// The endpoints.
    #[oai(status = 200, content_type = "application/json")]
    All(Json<NotificationEndpointList>),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Log {
    /// A page of notifications.
    #[oai(status = 200, content_type = "application/json")]
    Page(Json<NotificationPage>),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Accepted {
    /// It is delivered anew.
    #[oai(status = 202, content_type = "application/json")]
    Asked(Json<Notification>),
}

pub(crate) struct Notifications;

#[OpenApi(prefix_path = "/api/v1/notification-endpoints", tag = "Tag::Notifications")]
impl Notifications {
    /// Create a notification endpoint
    ///
    /// Has an address told of what happens. Each notification is a `POST` signed after Standard Webhooks, with the headers
    /// `webhook-id`, `webhook-timestamp` and `webhook-signature`; the secret is shown by this answer alone. Whatever is not
    /// answered by a 2xx within 20 s is tried again for two days, so that one may arrive twice, under the same `webhook-id`.
    #[oai(path = "/", method = "post", operation_id = "createNotificationEndpoint")]
    async fn create(
        &self,
        Authenticated(session): Authenticated,
        /// The endpoint to be made.
        Body(request): Body<NotificationEndpointRequest>,
    ) -> Result<Created, Refused> {
        let (url, events) = check(&session, &request)?;
        let (org, id) = (session.org(), EndpointId::random());
        let secret = notification::secret(&random::bytes::<24>()?);
        let sealed = session.context.sealing_key.seal(
            random::bytes()?,
            org,
            Owner::Endpoint(id),
            secret.expose_secret(),
        );
        let mut tx = session.begin().await?;
        if list(&mut tx, &session).await?.len() >= ENDPOINT_LIMIT {
            return Err(Refused::conflict(
                Kind::TooManyEndpoints,
                format!(
                    "there are {ENDPOINT_LIMIT} endpoints already, the most there may be; delete one first"
                ),
            ));
        }
        notification::create_endpoint(&mut tx, org, (id, &url), &events, &sealed)
            .await
            .map_err(failed("could not store an endpoint"))?;
        session
            .record(&mut tx, "notification_endpoint.created", details(id))
            .await?;
        let stored = find(&mut tx, &session, id).await?;
        commit(tx).await?;
        let shown = NotificationEndpoint::new(stored, Some(secret.expose_secret().to_owned()));
        Ok(Created::Made(
            Json(shown),
            format!("/api/v1/notification-endpoints/{id}"),
        ))
    }

    /// List notification endpoints
    ///
    /// Lists the organisation's endpoints, oldest first. There are 20 at most, so there are no pages.
    #[oai(path = "/", method = "get", operation_id = "listNotificationEndpoints")]
    async fn list(&self, Authenticated(session): Authenticated) -> Result<Listed, Refused> {
        let mut tx = session.begin().await?;
        let endpoints = list(&mut tx, &session).await?.into_iter();
        let items = endpoints
            .map(|endpoint| NotificationEndpoint::new(endpoint, None))
            .collect();
        Ok(Listed::All(Json(NotificationEndpointList { items })))
    }

    /// Get a notification endpoint
    ///
    /// Returns one endpoint, without its secret.
    #[oai(
        path = "/:endpointId",
        method = "get",
        operation_id = "getNotificationEndpoint"
    )]
    async fn get(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the endpoint.
        #[oai(name = "endpointId")]
        Path(endpoint_id): Path<Uuid>,
    ) -> Result<Found, Refused> {
        let mut tx = session.begin().await?;
        let endpoint = find(&mut tx, &session, EndpointId(endpoint_id)).await?;
        Ok(Found::One(Json(NotificationEndpoint::new(endpoint, None))))
    }

    /// Put a notification endpoint
    ///
    /// Replaces where an endpoint is and what it is told of, and takes it into use again where it was not. Its secret stays.
    #[oai(
        path = "/:endpointId",
        method = "put",
        operation_id = "putNotificationEndpoint"
    )]
    async fn put(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the endpoint.
        #[oai(name = "endpointId")]
        Path(endpoint_id): Path<Uuid>,
        /// The whole endpoint.
        Body(request): Body<NotificationEndpointRequest>,
    ) -> Result<Found, Refused> {
        let (url, events) = check(&session, &request)?;
        let id = EndpointId(endpoint_id);
        let mut tx = session.begin().await?;
        find(&mut tx, &session, id).await?;
        notification::change_endpoint(&mut tx, session.org(), (id, &url), &events, None)
            .await
            .map_err(failed("could not change an endpoint"))?;
        session
            .record(&mut tx, "notification_endpoint.changed", details(id))
            .await?;
        let stored = find(&mut tx, &session, id).await?;
        commit(tx).await?;
        Ok(Found::One(Json(NotificationEndpoint::new(stored, None))))
    }

    /// Delete a notification endpoint
    ///
    /// Deletes an endpoint, with the log of what it was told and what is on its way to it, and returns what it was.
    #[oai(
        path = "/:endpointId",
        method = "delete",
        operation_id = "deleteNotificationEndpoint"
    )]
    async fn delete(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the endpoint.
        #[oai(name = "endpointId")]
        Path(endpoint_id): Path<Uuid>,
    ) -> Result<Found, Refused> {
        let id = EndpointId(endpoint_id);
        let mut tx = session.begin().await?;
        let endpoint = find(&mut tx, &session, id).await?;
        notification::delete_endpoint(&mut tx, session.org(), id)
            .await
            .map_err(failed("could not delete an endpoint"))?;
        session
            .record(&mut tx, "notification_endpoint.deleted", details(id))
            .await?;
        commit(tx).await?;
        Ok(Found::One(Json(NotificationEndpoint::new(endpoint, None))))
    }

    /// List an endpoint's notifications
    ///
    /// Lists what an endpoint was told and is to be told, newest first, with what the latest attempt came to.
    #[oai(
        path = "/:endpointId/notifications",
        method = "get",
        operation_id = "listNotifications"
    )]
    async fn log(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the endpoint.
        #[oai(name = "endpointId")]
        Path(endpoint_id): Path<Uuid>,
        /// Where to go on: the `nextCursor` of the page before.
        Query(cursor): Query<Option<String>>,
        /// Most notifications on the page, 50 where it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        Query(limit): Query<Option<i32>>,
    ) -> Result<Log, Refused> {
        let id = EndpointId(endpoint_id);
        let after: Option<notification::After> = page::decode(cursor.as_deref())?;
        let limit = page::rows_for(limit);
        let mut tx = session.begin().await?;
        find(&mut tx, &session, id).await?;
        let mut rows = notification::list(&mut tx, session.org(), id, after, limit)
            .await
            .map_err(failed("could not list an endpoint's notifications"))?;
        let next_cursor = page::cut(&mut rows, limit, |last| (last.created_at, last.notification_id));
        let items = rows.into_iter().map(Notification::from).collect();
        Ok(Log::Page(Json(NotificationPage { items, next_cursor })))
    }

    /// Deliver a notification again
    ///
    /// Has a notification delivered anew, under the `webhook-id` that it has, whatever became of it before.
    #[oai(
        path = "/:endpointId/notifications/:notificationId/retry",
        method = "post",
        operation_id = "retryNotification"
    )]
    async fn retry(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the endpoint.
        #[oai(name = "endpointId")]
        Path(endpoint_id): Path<Uuid>,
        /// Identifier of the notification.
        #[oai(name = "notificationId")]
        Path(notification_id): Path<Uuid>,
    ) -> Result<Accepted, Refused> {
        let key = (EndpointId(endpoint_id), NotificationId(notification_id));
        let mut tx = session.begin().await?;
        let notification = notification::retry(&mut tx, session.org(), key)
            .await
            .map_err(failed("could not have a notification delivered again"))?
            .ok_or_else(|| Refused::not_found("there is no such notification"))?;
        session
            .record(&mut tx, "notification.retried", details(key.0))
            .await?;
        commit(tx).await?;
        Ok(Accepted::Asked(Json(notification.into())))
    }
}

fn check(session: &Session, request: &NotificationEndpointRequest) -> Result<(String, Vec<Event>), Refused> {
    let url = base_url::address(&request.url, session.context.base_urls)
        .map(String::from)
        .map_err(|reason| Refused::invalid(vec![WrongField::new("url", reason)]))?;
    let mut events: Vec<NotificationEvent> = request.events.clone();
    events.sort();
    events.dedup();
    if events.is_empty() {
        let wrong = WrongField::new("events", "must name at least one");
        return Err(Refused::invalid(vec![wrong]));
    }
    Ok((url, events.into_iter().map(Event::from).collect()))
}

async fn list(tx: &mut OrgTx, session: &Session) -> Result<Vec<notification::Endpoint>, Refused> {
    notification::endpoints(tx, session.org())
        .await
        .map_err(failed("could not list the endpoints"))
}

async fn find(tx: &mut OrgTx, session: &Session, id: EndpointId) -> Result<notification::Endpoint, Refused> {
    let all = list(tx, session).await?;
    all.into_iter()
        .find(|endpoint| endpoint.endpoint_id == id)
        .ok_or_else(missing)
}

fn missing() -> Refused {
    Refused::not_found("there is no such notification endpoint")
}

fn details(id: EndpointId) -> Value {
    json!({ "endpointId": id })
}
