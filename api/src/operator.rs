//! What those who run the platform do by a command of the program, before anyone could do it by the API.

use anyhow::Context;
use lockstep_shared::activity::{self, Activity, Outcome};
use lockstep_shared::api_key::{self, Key, NewApiKey};
use lockstep_shared::db::{self, Isolation, OrgTx};
use lockstep_shared::entity::clean_line;
use lockstep_shared::id::{ApiKeyId, OrgId};
use lockstep_shared::organisation::{self, Organisation};
use lockstep_shared::role::Role;
use rand::TryRng;
use rand::rngs::SysRng;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::token::OPERATOR_ACTOR;

/// An organisation that was made.
#[derive(Debug)]
pub struct Made {
    pub org_id: OrgId,
    /// What its first administrator proves itself by; to be shown once.
    pub admin_key: Option<SecretString>,
}

/// An organisation's own quotas, in requests a minute; none: what the API is configured with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnQuotas {
    pub commands: Option<i32>,
    pub records: Option<i32>,
    pub reads: Option<i32>,
}

/// Makes an organisation and, under the name that is given for it, its first administrator's API key. As `lockstep_api` or
/// `lockstep_owner`.
pub async fn create_organisation(
    database_url: &str,
    name: &str,
    requests_per_minute: i32,
    admin: Option<&str>,
) -> anyhow::Result<Made> {
    let organisation = Organisation {
        org_id: OrgId::random(),
        name: checked("the name", name)?,
        requests_per_minute,
    };
    let admin = admin.map(first_key).transpose()?;
    let mut tx = begin(database_url, organisation.org_id).await?;
    organisation::create(&mut tx, &organisation)
        .await
        .context("could not store the organisation")?;
    if let Some((_, new)) = &admin {
        api_key::create(&mut tx, organisation.org_id, new)
            .await
            .context("could not store the administrator's key")?;
    }
    let details = json!({
        "name": organisation.name,
        "keyId": admin.as_ref().map(|(key, _)| key.id),
    });
    record(&mut tx, organisation.org_id, "organisation.created", details).await?;
    tx.commit().await.context("could not store the organisation")?;
    Ok(Made {
        org_id: organisation.org_id,
        admin_key: admin.map(|(key, _)| key.reveal()),
    })
}

/// Sets how often an organisation may ask the API. As `lockstep_owner`.
pub async fn set_quotas(owner_database_url: &str, org: OrgId, quotas: OwnQuotas) -> anyhow::Result<()> {
    let mut tx = begin(owner_database_url, org).await?;
    let OwnQuotas {
        commands,
        records,
        reads,
    } = quotas;
    let is_known = organisation::set_quotas(&mut tx, org, commands, records, reads)
        .await
        .context("could not set the quotas")?;
    anyhow::ensure!(is_known, "there is no organisation `{org}`");
    let details = json!({
        "commandsPerMinute": commands,
        "recordsPerMinute": records,
        "readsPerMinute": reads,
    });
    record(&mut tx, org, "organisation.quotas_changed", details).await?;
    tx.commit().await.context("could not set the quotas")
}

/// Sets how many requests a minute an organisation may ask for to be sent to its systems. As `lockstep_owner`.
pub async fn set_request_limit(
    owner_database_url: &str,
    org: OrgId,
    requests_per_minute_limit: i32,
) -> anyhow::Result<()> {
    let mut tx = begin(owner_database_url, org).await?;
    let is_known = organisation::set_rate_limit(&mut tx, org, requests_per_minute_limit)
        .await
        .context("could not set the limit")?;
    anyhow::ensure!(is_known, "there is no organisation `{org}`");
    let details = json!({ "requestsPerMinuteLimit": requests_per_minute_limit });
    record(&mut tx, org, "organisation.request_limit_changed", details).await?;
    tx.commit().await.context("could not set the limit")
}

async fn begin(url: &str, org: OrgId) -> anyhow::Result<OrgTx> {
    let pool = db::pool(url, 1, "lockstep-api").context("the address of the database can't be used")?;
    db::begin(&pool, org, Isolation::ReadCommitted)
        .await
        .context("could not reach the database")
}

async fn record(tx: &mut OrgTx, org: OrgId, action: &'static str, details: Value) -> anyhow::Result<()> {
    let line = Activity {
        sync: None,
        actor: OPERATOR_ACTOR.to_owned(),
        action,
        outcome: Outcome::Done,
        details,
    };
    activity::record(tx, org, line)
        .await
        .context("could not record the activity")
}

/// Makes the key that everything else of an organisation begins with.
fn first_key(name: &str) -> anyhow::Result<(Key, NewApiKey)> {
    let name = checked("the administrator's name", name)?;
    let mut secret = [0; 32];
    SysRng
        .try_fill_bytes(&mut secret)
        .context("the system gave no random bytes")?;
    let key = Key::new(ApiKeyId::random(), secret);
    let new = NewApiKey {
        key_id: key.id,
        secret_hash: key.hash(),
        name,
        role: Role::Admin,
        created_by: OPERATOR_ACTOR.to_owned(),
        expires_at: None,
    };
    Ok((key, new))
}

fn checked(what: &str, given: &str) -> anyhow::Result<String> {
    let name = clean_line(given);
    anyhow::ensure!(
        (1..=200).contains(&name.chars().count()),
        "{what} must have 1 to 200 characters"
    );
    Ok(name)
}
