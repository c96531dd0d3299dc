//! Credentials of connections that are there already: given anew, and taken away with the connection (R49, R57).

use lockstep_shared::check;
use lockstep_shared::connection::archive::{self, Identity, Obstacle};
use lockstep_shared::connection::{self, Credentials};
use lockstep_shared::id::{ConnectionId, OrgId};
use lockstep_shared::secret::{Owner, Sealed};
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, OpenApi, Union};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::{Authenticated, Context, Session, commit};
use crate::body::{Body, FromBody};
use crate::connections::{
    Accepted, OdooCredentials, WoocommerceCredentials, find, read_by_system, show, wrong_credentials,
};
use crate::document::Tag;
use crate::problem::{Kind, Refused, WrongField, failed};
use crate::random;

/// What a system wants to know before it lets anyone in; `system` says which, and has to be that of the connection.
#[derive(Union)]
#[oai(discriminator_name = "system", one_of)]
pub(crate) enum PutCredentialsRequest {
    #[oai(mapping = "woocommerce")]
    Woocommerce(WoocommerceCredentials),
    #[oai(mapping = "odoo")]
    Odoo(OdooCredentials),
}

impl FromBody for PutCredentialsRequest {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        read_by_system(json, Self::Woocommerce, Self::Odoo)
    }
}

impl Example for PutCredentialsRequest {
    fn example() -> Self {
        Self::Woocommerce(WoocommerceCredentials::example())
    }
}

impl From<PutCredentialsRequest> for Credentials {
    fn from(request: PutCredentialsRequest) -> Self {
        match request {
            PutCredentialsRequest::Woocommerce(credentials) => credentials.into(),
            PutCredentialsRequest::Odoo(credentials) => credentials.into(),
        }
    }
}

/// Seals credentials for their connection.
pub(crate) fn seal(
    context: &Context,
    org: OrgId,
    connection: ConnectionId,
    credentials: &Credentials,
) -> Result<Sealed, Refused> {
    let (owner, plain) = (Owner::Connection(connection), credentials.to_json());
    Ok(context
        .sealing_key
        .seal(random::bytes()?, org, owner, plain.expose_secret()))
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Deleted {
    /// The connection is gone.
    #[oai(status = 204)]
    Gone,
}

pub(crate) struct ConnectionCredentials;

#[OpenApi(prefix_path = "/api/v1/connections", tag = "Tag::Connections")]
impl ConnectionCredentials {
    /// Put a connection's credentials
    ///
    /// Replaces the credentials of a connection and has a worker check them: get the connection to see what it found. Calls
    /// that begin from now on use them; what was refused to the old ones no longer counts. A connection that needs attention
    /// goes on doing so until the check is let in.
    #[oai(
        path = "/:connectionId/credentials",
        method = "put",
        operation_id = "putConnectionCredentials"
    )]
    async fn put(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the connection.
        #[oai(name = "connectionId")]
        Path(connection_id): Path<Uuid>,
        /// The new credentials. Sealed on arrival, never shown again.
        Body(request): Body<PutCredentialsRequest>,
    ) -> Result<Accepted, Refused> {
        let (org, id) = (session.org(), ConnectionId(connection_id));
        let credentials = Credentials::from(request);
        let mut wrong = wrong_credentials(&credentials, "");
        let mut tx = session.begin().await?;
        let before = find(&mut tx, &session, id).await?;
        if credentials.system() != before.system {
            let message = format!("must be that of the connection, `{}`", before.system.name());
            wrong.insert(0, WrongField::new("system", message));
        }
        if !wrong.is_empty() {
            return Err(Refused::invalid(wrong));
        }
        let sealed = seal(&session.context, org, id, &credentials)?;
        let is_changed = connection::change_credentials(&mut tx, org, id, &sealed)
            .await
            .map_err(failed("could not change a connection's credentials"))?;
        if !is_changed {
            return Err(Refused::not_found("there is no such connection"));
        }
        check::request(&mut tx, org, id, &session.caller.subject)
            .await
            .map_err(failed("could not ask for a check"))?;
        let details = json!({ "connectionId": id, "keyId": sealed.key_id });
        session
            .record(&mut tx, "connection.credentials_changed", details)
            .await?;
        let shown = show(&mut tx, &session, id).await?;
        commit(tx).await?;
        tracing::info!(org.id = %org, connection.id = %id, "credentials changed");
        let location = format!("/api/v1/connections/{connection_id}");
        Ok(Accepted::Asked(Json(shown), location))
    }
}

/// Deletes a connection.
pub(crate) async fn delete(session: &Session, id: ConnectionId) -> Result<Deleted, Refused> {
    let org = session.org();
    let mut tx = session.begin().await?;
    let connection = find(&mut tx, session, id).await?;
    let obstacle = archive::obstacle(&mut tx, org, id)
        .await
        .map_err(failed("could not look up what a connection is used for"))?;
    if let Some(obstacle) = obstacle {
        return Err(in_the_way(obstacle));
    }
    let sealed = connection::sealed(&mut tx, org, id)
        .await
        .map_err(failed("could not read a connection"))?;
    let identity = sealed.and_then(|sealed| identity(&session.context, org, &connection, &sealed));
    archive::archive(&mut tx, org, id, identity)
        .await
        .map_err(failed("could not delete a connection"))?;
    let details = json!({ "connectionId": id, "system": connection.system, "name": connection.name });
    session.record(&mut tx, "connection.deleted", details).await?;
    commit(tx).await?;
    tracing::info!(org.id = %org, connection.id = %id, "connection deleted");
    Ok(Deleted::Gone)
}

/// Says which system a connection leads to; none where its credentials can't be opened any more: then it is not known
/// again by its address alone.
fn identity(
    context: &Context,
    org: OrgId,
    connection: &connection::Connection,
    sealed: &Sealed,
) -> Option<Identity> {
    let plain = context
        .sealing_key
        .open(org, Owner::Connection(connection.connection_id), sealed)
        .ok()?;
    let credentials = Credentials::from_json(connection.system, &plain)?;
    Some(Identity::of(&connection.base_url, &credentials))
}

fn in_the_way(obstacle: Obstacle) -> Refused {
    match obstacle {
        Obstacle::InUse { syncs } => {
            let detail = format!(
                "{} syncs work with the connection; wait for their end, or cancel them",
                syncs.len()
            );
            Refused::in_use(syncs.into_iter().map(|sync| sync.0).collect(), detail)
        }
        Obstacle::InDoubt { effects } => {
            let detail = format!(
                "{effects} requests to the system had no answer; start a sync, which looks up what became of them, and delete \
                 the connection then"
            );
            Refused::conflict(Kind::EffectsInDoubt, detail)
        }
    }
}
