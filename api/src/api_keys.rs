//! API keys: made, listed, and revoked at once. The key itself is shown by the answer that makes it, and never again.

use chrono::{DateTime, Utc};
use lockstep_shared::api_key::{self, Key, NewApiKey};
use lockstep_shared::db::OrgTx;
use lockstep_shared::entity::clean_line;
use lockstep_shared::id::ApiKeyId;
use lockstep_shared::role::Role;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::{Authenticated, Session, commit};
use crate::body::{self, Body, FromBody, present_instant};
use crate::document::Tag;
use crate::page;
use crate::problem::{Refused, WrongField, failed};
use crate::random;

const NAME_LIMIT: usize = 200;

/// What a caller may do, each all that those before it may. `viewer`: see. `operator`: put records, start and steer syncs,
/// read the audit trail. `admin`: configure the organisation. `platform`: make organisations; no API key has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename_all = "lowercase", remote = "Role")]
#[serde(rename_all = "lowercase")]
pub(crate) enum RoleName {
    Viewer,
    Operator,
    Admin,
    Platform,
}

/// An API key to be made.
#[derive(Clone, Debug, Object, Deserialize)]
#[oai(
    rename_all = "camelCase",
    deny_unknown_fields,
    skip_serializing_if_is_none,
    example
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateApiKeyRequest {
    /// What it is for.
    #[oai(validator(min_length = 1, max_length = 200))]
    name: String,
    /// What it may do; not `platform`.
    role: RoleName,
    /// When it stops to hold. Left out: only when it is revoked.
    #[serde(default, deserialize_with = "present_instant")]
    expires_at: Option<DateTime<Utc>>,
}

impl FromBody for CreateApiKeyRequest {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        body::read(json)
    }
}

impl Example for CreateApiKeyRequest {
    fn example() -> Self {
        Self {
            name: "Nightly import".to_owned(),
            role: RoleName::Operator,
            expires_at: None,
        }
    }
}

/// A request whose every field is right.
struct Asked {
    name: String,
    role: Role,
    expires_at: Option<DateTime<Utc>>,
}

impl CreateApiKeyRequest {
    fn check(self, now: DateTime<Utc>) -> Result<Asked, Vec<WrongField>> {
        let mut wrong = Vec::new();
        let name = clean_line(&self.name);
        if name.is_empty() || name.chars().count() > NAME_LIMIT {
            let message = format!("must have 1 to {NAME_LIMIT} characters");
            wrong.push(WrongField::new("name", message));
        }
        if self.role == RoleName::Platform {
            wrong.push(WrongField::new("role", "must be `viewer`, `operator` or `admin`"));
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            wrong.push(WrongField::new("expiresAt", "must lie in the future"));
        }
        if wrong.is_empty() {
            Ok(Asked {
                name,
                role: self.role.into(),
                expires_at: self.expires_at,
            })
        } else {
            Err(wrong)
        }
    }
}

/// An API key, without its secret.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct ApiKey {
    /// Identifier of the key. The audit trail names what it did `api-key:` and this.
    key_id: Uuid,
    /// What the key begins with.
    prefix: String,
    /// What it is for.
    name: String,
    /// What it may do.
    role: RoleName,
    /// Who made it.
    created_by: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it stops to hold, where it does by itself.
    expires_at: Option<DateTime<Utc>>,
    /// When it was used last, to the minute; left out where it never was.
    last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked; left out where it was not.
    revoked_at: Option<DateTime<Utc>>,
}

impl From<api_key::ApiKey> for ApiKey {
    fn from(key: api_key::ApiKey) -> Self {
        Self {
            key_id: key.key_id.0,
            prefix: api_key::prefix(key.key_id),
            name: key.name,
            role: key.role.into(),
            created_by: key.created_by,
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
            revoked_at: key.revoked_at,
        }
    }
}

/// An API key that was made, with the key itself.
#[derive(Clone, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct CreatedApiKey {
    /// What it is and may do.
    api_key: ApiKey,
    /// The key itself, to be sent as a bearer token. It is not stored and never shown again.
    key: String,
}

impl std::fmt::Debug for CreatedApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedApiKey")
            .field("api_key", &self.api_key)
            .finish_non_exhaustive()
    }
}

/// A page of API keys.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct ApiKeyPage {
    /// The keys, newest first, those that are revoked included.
    items: Vec<ApiKey>,
    /// Where the list goes on; absent on the last page.
    next_cursor: Option<String>,
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Created {
    /// The key was made.
    #[oai(status = 201, content_type = "application/json")]
    Made(
        Json<CreatedApiKey>,
        /// Address of the key.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Found {
    /// The key, without its secret.
    #[oai(status = 200, content_type = "application/json")]
    One(Json<ApiKey>),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Listed {
    /// A page of keys.
    #[oai(status = 200, content_type = "application/json")]
    Page(Json<ApiKeyPage>),
}

pub(crate) struct ApiKeys;

#[OpenApi(prefix_path = "/api/v1/api-keys", tag = "Tag::Organisation")]
impl ApiKeys {
    /// Create an API key
    ///
    /// Makes a key for a program, which sends it as a bearer token. The key is in this answer and nowhere else: the server
    /// keeps a hash.
    #[oai(path = "/", method = "post", operation_id = "createApiKey")]
    async fn create(
        &self,
        Authenticated(session): Authenticated,
        /// The key to be made.
        Body(request): Body<CreateApiKeyRequest>,
    ) -> Result<Created, Refused> {
        let asked = request.check(Utc::now()).map_err(Refused::invalid)?;
        let key = make()?;
        let new = NewApiKey {
            key_id: key.id,
            secret_hash: key.hash(),
            name: asked.name,
            role: asked.role,
            created_by: session.caller.subject.clone(),
            expires_at: asked.expires_at,
        };
        let mut tx = session.begin().await?;
        let stored = store(&mut tx, &session, &new).await?;
        commit(tx).await?;
        let location = format!("/api/v1/api-keys/{}", key.id);
        let created = CreatedApiKey {
            api_key: stored,
            key: key.reveal().expose_secret().to_owned(),
        };
        Ok(Created::Made(Json(created), location))
    }

    /// List API keys
    ///
    /// Lists the organisation's keys, newest first, a page at a time.
    #[oai(path = "/", method = "get", operation_id = "listApiKeys")]
    async fn list(
        &self,
        Authenticated(session): Authenticated,
        /// Where to go on: the `nextCursor` of the page before.
        Query(cursor): Query<Option<String>>,
        /// Most keys on the page, 50 where it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        Query(limit): Query<Option<i32>>,
    ) -> Result<Listed, Refused> {
        let before: Option<ApiKeyId> = page::decode(cursor.as_deref())?;
        let limit = page::rows_for(limit);
        let mut tx = session.begin().await?;
        let mut keys = api_key::list(&mut tx, session.org(), before, limit)
            .await
            .map_err(failed("could not list the API keys"))?;
        let next_cursor = page::cut(&mut keys, limit, |last| last.key_id);
        let items = keys.into_iter().map(ApiKey::from).collect();
        Ok(Listed::Page(Json(ApiKeyPage { items, next_cursor })))
    }

    /// Get an API key
    ///
    /// Returns one key, without its secret.
    #[oai(path = "/:keyId", method = "get", operation_id = "getApiKey")]
    async fn get(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the key.
        #[oai(name = "keyId")]
        Path(key_id): Path<Uuid>,
    ) -> Result<Found, Refused> {
        let mut tx = session.begin().await?;
        Ok(Found::One(Json(find(&mut tx, &session, ApiKeyId(key_id)).await?)))
    }

    /// Revoke an API key
    ///
    /// Takes a key out of use, from the next request on. It stays in the list; one that is revoked already stays as it is.
    #[oai(path = "/:keyId", method = "delete", operation_id = "revokeApiKey")]
    async fn revoke(
        &self,
        Authenticated(session): Authenticated,
        /// Identifier of the key.
        #[oai(name = "keyId")]
        Path(key_id): Path<Uuid>,
    ) -> Result<Found, Refused> {
        let id = ApiKeyId(key_id);
        let mut tx = session.begin().await?;
        let is_revoked = api_key::revoke(&mut tx, session.org(), id)
            .await
            .map_err(failed("could not revoke an API key"))?;
        let key = find(&mut tx, &session, id).await?;
        if is_revoked {
            let details = json!({ "keyId": id, "name": key.name });
            session.record(&mut tx, "api_key.revoked", details).await?;
        }
        commit(tx).await?;
        Ok(Found::One(Json(key)))
    }
}

/// Makes a key of new random bits.
pub(crate) fn make() -> Result<Key, Refused> {
    Ok(Key::new(ApiKeyId::random(), random::bytes()?))
}

/// Stores a key, and says so in the audit trail.
async fn store(tx: &mut OrgTx, session: &Session, new: &NewApiKey) -> Result<ApiKey, Refused> {
    api_key::create(tx, session.org(), new)
        .await
        .map_err(failed("could not store an API key"))?;
    let details = json!({
        "keyId": new.key_id,
        "name": new.name,
        "role": new.role,
        "expiresAt": new.expires_at,
    });
    session.record(tx, "api_key.created", details).await?;
    find(tx, session, new.key_id).await
}

async fn find(tx: &mut OrgTx, session: &Session, id: ApiKeyId) -> Result<ApiKey, Refused> {
    let key = api_key::find(tx, session.org(), id)
        .await
        .map_err(failed("could not read an API key"))?
        .ok_or_else(|| Refused::not_found("there is no such API key"))?;
    Ok(key.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(json: Value) -> Vec<String> {
        let checked = CreateApiKeyRequest::from_body(json)
            .and_then(|request| request.check(DateTime::UNIX_EPOCH).map(|_| ()));
        let wrong = checked.unwrap_err();
        wrong.into_iter().map(|wrong| wrong.field).collect()
    }

    #[test]
    fn every_wrong_field_of_a_key_is_named() {
        assert_eq!(
            wrong(json!({"name": " ", "role": "platform", "expiresAt": "1969-12-31T00:00:00Z"})),
            ["name", "role", "expiresAt"],
            "R45"
        );
        assert_eq!(wrong(json!({"name": "x", "role": "root"})), ["role"], "R45");
        assert_eq!(
            wrong(json!({"name": "x", "role": "viewer", "expiresAt": null})),
            ["expiresAt"],
            "R45"
        );
    }
}
