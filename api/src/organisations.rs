//! Organisations: one's own, and new ones for those who run the platform.

use chrono::{DateTime, Utc};
use lockstep_shared::api_key::{self, NewApiKey};
use lockstep_shared::db::{self, OrgTx};
use lockstep_shared::entity::clean_line;
use lockstep_shared::id::OrgId;
use lockstep_shared::organisation::{self, View};
use lockstep_shared::quota::Quotas;
use lockstep_shared::role::Role;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::api_keys;
use crate::auth::{Authenticated, Session, commit};
use crate::body::{self, Body, FromBody, present};
use crate::document::Tag;
use crate::problem::{Refused, WrongField, failed};
use crate::settings::wrong_rate;

const NAME_LIMIT: usize = 200;
/// Requests to remote systems a minute, where nothing else is said.
const REQUESTS_PER_MINUTE: i32 = 10;
/// Most of them that may be asked for here; more is for the database's administrator.
const REQUESTS_LIMIT: i32 = 100_000;

/// What to change of the organisation; what is left out stays.
#[derive(Clone, Debug, Object, Deserialize)]
#[oai(
    rename_all = "camelCase",
    deny_unknown_fields,
    skip_serializing_if_is_none,
    example
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangeOrganisationRequest {
    /// Its new name.
    #[oai(validator(min_length = 1, max_length = 200))]
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    /// Requests a minute that may be sent to its systems, over all of them: from 1 to its `requestsPerMinuteLimit`.
    #[oai(validator(minimum(value = "1"), maximum(value = "10000000")))]
    #[serde(default, deserialize_with = "present")]
    requests_per_minute: Option<i32>,
}

impl FromBody for ChangeOrganisationRequest {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        body::read(json)
    }
}

/// A change whose every field is right.
struct Change {
    name: Option<String>,
    requests_per_minute: Option<i32>,
}

impl ChangeOrganisationRequest {
    fn check(self, requests_per_minute_limit: i32) -> Result<Change, Vec<WrongField>> {
        let mut wrong = Vec::new();
        if self.name.is_none() && self.requests_per_minute.is_none() {
            wrong.push(WrongField::new("name", "must be given where nothing else is"));
        }
        let name = self.name.map(|name| checked_name("name", &name, &mut wrong));
        let rate = self.requests_per_minute;
        // What is below zero is as wrong as zero.
        let positive = rate.map(|rate| u32::try_from(rate).unwrap_or_default());
        wrong.extend(wrong_rate("", positive, requests_per_minute_limit.unsigned_abs()));
        if wrong.is_empty() {
            Ok(Change {
                name,
                requests_per_minute: rate,
            })
        } else {
            Err(wrong)
        }
    }
}

impl Example for ChangeOrganisationRequest {
    fn example() -> Self {
        Self {
            name: Some("Acme".to_owned()),
            requests_per_minute: Some(40),
        }
    }
}

/// An organisation to be made, with its first administrator.
#[derive(Clone, Debug, Object, Deserialize)]
#[oai(
    rename_all = "camelCase",
    deny_unknown_fields,
    skip_serializing_if_is_none,
    example
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateOrganisationRequest {
    /// Its name.
    #[oai(validator(min_length = 1, max_length = 200))]
    name: String,
    /// What the first administrator's API key is called.
    #[oai(validator(min_length = 1, max_length = 200))]
    admin: String,
    /// Requests a minute that may be sent to its systems, over all of them; 10 where it is not given.
    #[oai(validator(minimum(value = "1"), maximum(value = "100000")))]
    #[serde(default, deserialize_with = "present")]
    requests_per_minute: Option<i32>,
}

impl FromBody for CreateOrganisationRequest {
    fn from_body(json: Value) -> Result<Self, Vec<WrongField>> {
        body::read(json)
    }
}

impl Example for CreateOrganisationRequest {
    fn example() -> Self {
        Self {
            name: "Acme".to_owned(),
            admin: "First administrator".to_owned(),
            requests_per_minute: None,
        }
    }
}

/// A request whose every field is right.
struct Asked {
    name: String,
    admin: String,
    requests_per_minute: i32,
}

impl CreateOrganisationRequest {
    fn check(self) -> Result<Asked, Vec<WrongField>> {
        let mut wrong = Vec::new();
        let name = checked_name("name", &self.name, &mut wrong);
        let admin = checked_name("admin", &self.admin, &mut wrong);
        let requests_per_minute = self.requests_per_minute.unwrap_or(REQUESTS_PER_MINUTE);
        if !(1..=REQUESTS_LIMIT).contains(&requests_per_minute) {
            let message = format!("must be from 1 to {REQUESTS_LIMIT}");
            wrong.push(WrongField::new("requestsPerMinute", message));
        }
        if wrong.is_empty() {
            Ok(Asked {
                name,
                admin,
                requests_per_minute,
            })
        } else {
            Err(wrong)
        }
    }
}

fn checked_name(field: &str, given: &str, wrong: &mut Vec<WrongField>) -> String {
    let name = clean_line(given);
    if name.is_empty() || name.chars().count() > NAME_LIMIT {
        let message = format!("must have 1 to {NAME_LIMIT} characters");
        wrong.push(WrongField::new(field, message));
    }
    name
}

/// An organisation and what it may use.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
#[expect(
    clippy::struct_field_names,
    reason = "identifiers say of what, everywhere in the API"
)]
pub(crate) struct Organisation {
    /// Identifier of the organisation.
    organisation_id: Uuid,
    /// Its name.
    name: String,
    /// Requests a minute that may be sent to its systems, over all of them.
    requests_per_minute: i32,
    /// The most of them that it may ask for, here, for a connection or for a sync.
    requests_per_minute_limit: i32,
    /// Batches that workers carry out at once for it.
    running_batch_limit: i32,
    /// Commands a minute that it may send; left out where nothing is counted.
    commands_per_minute: Option<i32>,
    /// Requests a minute that put records; left out where nothing is counted.
    records_per_minute: Option<i32>,
    /// Requests a minute that read; left out where nothing is counted.
    reads_per_minute: Option<i32>,
    /// When it was made.
    created_at: DateTime<Utc>,
}

impl Organisation {
    fn new(view: View, quotas: Option<Quotas>) -> Self {
        let quota =
            |own: Option<i32>, usual: fn(Quotas) -> i32| quotas.map(|quotas| own.unwrap_or(usual(quotas)));
        Self {
            organisation_id: view.org_id.0,
            requests_per_minute: view.requests_per_minute,
            requests_per_minute_limit: view.requests_per_minute_limit,
            running_batch_limit: view.running_batch_limit,
            commands_per_minute: quota(view.commands_per_minute, |usual| usual.commands),
            records_per_minute: quota(view.records_per_minute, |usual| usual.records),
            reads_per_minute: quota(view.reads_per_minute, |usual| usual.reads),
            name: view.name,
            created_at: view.created_at,
        }
    }
}

/// An organisation that was made, with its first administrator's key.
#[derive(Clone, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct CreatedOrganisation {
    /// The organisation.
    organisation: Organisation,
    /// API key of its first administrator. It is not stored and never shown again.
    admin_key: String,
}

impl std::fmt::Debug for CreatedOrganisation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedOrganisation")
            .field("organisation", &self.organisation)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Created {
    /// The organisation was made.
    #[oai(status = 201, content_type = "application/json")]
    Made(Json<CreatedOrganisation>),
}

#[derive(Debug, ApiResponse)]
pub(crate) enum Found {
    /// The organisation.
    #[oai(status = 200, content_type = "application/json")]
    One(Json<Organisation>),
}

pub(crate) struct Organisations;

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Organisation")]
impl Organisations {
    /// Get the organisation
    ///
    /// Returns the caller's organisation and what it may use.
    #[oai(path = "/organisation", method = "get", operation_id = "getOrganisation")]
    async fn get(&self, Authenticated(session): Authenticated) -> Result<Found, Refused> {
        let mut tx = session.begin().await?;
        Ok(Found::One(Json(read(&mut tx, &session).await?)))
    }

    /// Change the organisation
    ///
    /// Gives the caller's organisation another name, or another rate of requests to its systems within its
    /// `requestsPerMinuteLimit`. What else it may use, that limit too, is set by those who run the platform.
    #[oai(path = "/organisation", method = "patch", operation_id = "changeOrganisation")]
    async fn change(
        &self,
        Authenticated(session): Authenticated,
        /// What to change.
        Body(request): Body<ChangeOrganisationRequest>,
    ) -> Result<Found, Refused> {
        let mut tx = session.begin().await?;
        let before = read(&mut tx, &session).await?;
        let asked = request
            .check(before.requests_per_minute_limit)
            .map_err(Refused::invalid)?;
        let mut changes = Map::new();
        if let Some(name) = asked.name {
            organisation::rename(&mut tx, session.org(), &name)
                .await
                .map_err(failed("could not rename an organisation"))?;
            changes.insert("name".to_owned(), json!({ "from": before.name, "to": name }));
        }
        if let Some(rate) = asked.requests_per_minute {
            let is_allowed = organisation::set_rate(&mut tx, session.org(), rate)
                .await
                .map_err(failed("could not change an organisation's rate"))?;
            if !is_allowed {
                return Err(Refused::invalid(vec![WrongField::new(
                    "requestsPerMinute",
                    "is more than the organisation may ask for by now",
                )]));
            }
            let change = json!({ "from": before.requests_per_minute, "to": rate });
            changes.insert("requestsPerMinute".to_owned(), change);
        }
        session
            .record(&mut tx, "organisation.changed", Value::Object(changes))
            .await?;
        let after = read(&mut tx, &session).await?;
        commit(tx).await?;
        Ok(Found::One(Json(after)))
    }

    /// Create an organisation
    ///
    /// Makes an organisation and an API key of the role `admin` for its first administrator, who makes every other. For
    /// those who run the platform.
    #[oai(path = "/organisations", method = "post", operation_id = "createOrganisation")]
    async fn create(
        &self,
        Authenticated(session): Authenticated,
        /// The organisation to be made.
        Body(request): Body<CreateOrganisationRequest>,
    ) -> Result<Created, Refused> {
        let asked = request.check().map_err(Refused::invalid)?;
        let created = create(&session, asked).await?;
        Ok(Created::Made(Json(created)))
    }
}

async fn read(tx: &mut OrgTx, session: &Session) -> Result<Organisation, Refused> {
    let view = organisation::find(tx, session.org())
        .await
        .map_err(failed("could not read an organisation"))?
        .ok_or_else(crate::auth::unknown_organisation)?;
    Ok(Organisation::new(view, session.context.access.quotas))
}

async fn create(session: &Session, asked: Asked) -> Result<CreatedOrganisation, Refused> {
    let org = OrgId::random();
    let key = api_keys::make()?;
    // The same caller, working for the new organisation: in its audit trail stands who made it.
    let mut founder = session.clone();
    founder.caller.org = org;
    let new = organisation::Organisation {
        org_id: org,
        name: asked.name,
        requests_per_minute: asked.requests_per_minute,
    };
    let new_key = NewApiKey {
        key_id: key.id,
        secret_hash: key.hash(),
        name: asked.admin,
        role: Role::Admin,
        created_by: session.caller.subject.clone(),
        expires_at: None,
    };
    // The caller's own organisation must be known, and what is answered is kept there.
    let mut tx = session.begin().await?;
    let not_turned = "could not turn to another organisation";
    db::turn_to(&mut tx, org).await.map_err(failed(not_turned))?;
    organisation::create(&mut tx, &new)
        .await
        .map_err(failed("could not store an organisation"))?;
    api_key::create(&mut tx, org, &new_key)
        .await
        .map_err(failed("could not store an API key"))?;
    let details = json!({ "name": new.name, "keyId": key.id, "by": session.org() });
    founder.record(&mut tx, "organisation.created", details).await?;
    let organisation = read(&mut tx, &founder).await?;
    db::turn_to(&mut tx, session.org())
        .await
        .map_err(failed(not_turned))?;
    commit(tx).await?;
    tracing::info!(org.id = %org, "organisation created");
    Ok(CreatedOrganisation {
        organisation,
        admin_key: key.reveal().expose_secret().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_of_a_change_is_named() {
        for (request, named) in [
            (json!({}), vec!["name"]),
            (
                json!({"name": " ", "requestsPerMinute": 51}),
                vec!["name", "requestsPerMinute"],
            ),
            (json!({"requestsPerMinute": 0}), vec!["requestsPerMinute"]),
            (
                json!({"requestsPerMinuteLimit": 51}),
                vec!["requestsPerMinuteLimit"],
            ),
        ] {
            let wrong = ChangeOrganisationRequest::from_body(request)
                .and_then(|request| request.check(50).map(|_| ()))
                .unwrap_err();

            let fields: Vec<String> = wrong.into_iter().map(|wrong| wrong.field).collect();
            assert_eq!(fields, named, "R45");
        }
    }

    #[test]
    fn every_wrong_field_of_an_organisation_is_named() {
        let request = json!({"name": "", "admin": " ", "requestsPerMinute": 0});

        let wrong = CreateOrganisationRequest::from_body(request)
            .and_then(|request| request.check().map(|_| ()))
            .unwrap_err();

        let fields: Vec<String> = wrong.into_iter().map(|wrong| wrong.field).collect();
        assert_eq!(fields, ["name", "admin", "requestsPerMinute"], "R45");
    }
}
