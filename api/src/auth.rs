//! Who asks: the session of a request that was admitted, and the transaction that works for its organisation and no other.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use lockstep_shared::activity::{self, Activity, Outcome};
use lockstep_shared::db::{self, Isolation, OrgTx};
use lockstep_shared::id::{OrgId, SyncId};
use lockstep_shared::network::Destinations;
use lockstep_shared::organisation;
use lockstep_shared::secret::SealingKey;
use poem::Request;
use poem_openapi::SecurityScheme;
use poem_openapi::auth::Bearer;
use serde_json::Value;
use sqlx::PgPool;
use tokio::sync::watch;

use crate::config::Access;
use crate::exchange::Exchange;
use crate::problem::{Refused, failed};
use crate::token::{Caller, Checker};

/// What every operation works with.
pub(crate) struct Context {
    pub(crate) pool: PgPool,
    pub(crate) tokens: Checker,
    pub(crate) access: Access,
    pub(crate) sealing_key: SealingKey,
    pub(crate) base_urls: Destinations,
    /// True once the process is to end: what would go on by itself ends then.
    pub(crate) closing: watch::Receiver<bool>,
    /// Where others reach this installation, without a slash at its end; none: they can't.
    pub(crate) public_url: Option<String>,
}

/// Where a request came from, for the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Address of the caller; empty where it is not known.
    pub(crate) source_address: String,
    pub(crate) request_id: String,
}

/// A caller who may call the operation, with what that works with. Made by `admission` alone.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) context: Arc<Context>,
    pub(crate) caller: Caller,
    pub(crate) origin: Arc<Origin>,
    /// Where the request may be sent again.
    pub(crate) exchange: Option<Arc<Exchange>>,
}

/// The transaction of an operation.
#[derive(Debug)]
pub(crate) struct Work {
    tx: OrgTx,
    org: OrgId,
    exchange: Option<Arc<Exchange>>,
}

impl Deref for Work {
    type Target = OrgTx;

    fn deref(&self) -> &OrgTx {
        &self.tx
    }
}

impl DerefMut for Work {
    fn deref_mut(&mut self) -> &mut OrgTx {
        &mut self.tx
    }
}

/// A JSON Web Token with the claims `sub` (who asks), `org` (the organisation's identifier), `role` (`viewer`, `operator`,
/// `admin` or `platform`) and `exp`, signed with the server's own secret (HS256) or by the issuer that it trusts (RS256,
/// ES256, EdDSA); `api issue-token` makes one. Or an API key, `lsk_…`.
#[derive(SecurityScheme)]
#[oai(ty = "bearer", rename = "bearer", checker = "admitted")]
pub(crate) struct Authenticated(pub(crate) Session);

/// Hands over the session that `admission` left. An address that it did not know has none, whoever asks.
#[expect(clippy::unused_async, reason = "the framework awaits it")]
async fn admitted(request: &Request, _: Bearer) -> poem::Result<Session> {
    let session = request.data::<Session>().cloned();
    let session = session.ok_or_else(|| Refused::not_found("there is no such address"))?;
    Ok(Session {
        exchange: request.data::<Arc<Exchange>>().cloned(),
        ..session
    })
}

impl Session {
    pub(crate) const fn org(&self) -> OrgId {
        self.caller.org
    }

    /// Begins the operation's transaction. An organisation that is not known is noticed here, in the same transaction,
    /// and not by a round trip of its own before it.
    pub(crate) async fn begin(&self) -> Result<Work, Refused> {
        let work = |tx| Work {
            tx,
            org: self.org(),
            exchange: self.exchange.clone(),
        };
        if let Some(tx) = self.exchange.as_ref().and_then(|exchange| exchange.take_up()) {
            return Ok(work(tx));
        }
        let mut tx = db::begin(&self.context.pool, self.org(), Isolation::ReadCommitted)
            .await
            .map_err(failed("could not begin a transaction"))?;
        let Origin {
            source_address,
            request_id,
        } = &*self.origin;
        let is_known = organisation::enter(&mut tx, self.org(), source_address, request_id)
            .await
            .map_err(failed("could not look the organisation up"))?;
        if !is_known {
            return Err(unknown_organisation());
        }
        if let Some(exchange) = &self.exchange {
            exchange.enter(&mut tx, self.org()).await?;
        }
        Ok(work(tx))
    }

    /// Writes down in the audit trail what the caller did, in the transaction that does it.
    pub(crate) async fn record(
        &self,
        tx: &mut OrgTx,
        action: &'static str,
        details: Value,
    ) -> Result<(), Refused> {
        self.record_line(tx, None, (action, Outcome::Done), details).await
    }

    /// Writes a line of the audit trail about a sync, where there is one, and how it ended.
    pub(crate) async fn record_line(
        &self,
        tx: &mut OrgTx,
        sync: Option<SyncId>,
        (action, outcome): (&'static str, Outcome),
        details: Value,
    ) -> Result<(), Refused> {
        let line = Activity {
            sync,
            actor: self.caller.subject.clone(),
            action,
            outcome,
            details,
        };
        activity::record(tx, self.org(), line)
            .await
            .map_err(failed("could not record the activity"))
    }
}

pub(crate) fn unknown_organisation() -> Refused {
    Refused::unauthenticated("the token's organisation is not known")
}

/// Ends the operation's transaction: only now anything of it is true. Where the request may be sent again, that waits for
/// the answer, which is stored with it.
pub(crate) async fn commit(work: Work) -> Result<(), Refused> {
    let Work { tx, org, exchange } = work;
    if let Some(exchange) = exchange {
        exchange.put_down(tx, org);
        return Ok(());
    }
    tx.commit().await.map_err(failed("could not commit"))
}
