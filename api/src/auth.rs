//! Who asks: the bearer token of a request, and the transaction that works for its organisation and no other.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use lockstep_shared::db::{self, Isolation, OrgTx};
use lockstep_shared::id::OrgId;
use lockstep_shared::organisation;
use lockstep_shared::secret::SealingKey;
use poem::Request;
use poem_openapi::SecurityScheme;
use poem_openapi::auth::Bearer;
use sqlx::PgPool;

use crate::config::BaseUrls;
use crate::exchange::Exchange;
use crate::problem::{Refused, failed};
use crate::token::{Caller, Checker};

/// What every operation works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) pool: PgPool,
    pub(crate) tokens: Checker,
    pub(crate) sealing_key: SealingKey,
    pub(crate) base_urls: BaseUrls,
}

/// A caller whose token holds, with what the operation works with.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) context: Arc<Context>,
    pub(crate) caller: Caller,
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

/// A JSON Web Token signed with HS256, with the claims `sub` (who asks), `org` (the organisation's identifier) and
/// `exp`. `api issue-token` makes one.
#[derive(SecurityScheme)]
#[oai(ty = "bearer", rename = "bearer", bearer_format = "JWT", checker = "check")]
pub(crate) struct Authenticated(pub(crate) Session);

#[expect(clippy::unused_async, reason = "the framework awaits it")]
async fn check(request: &Request, bearer: Bearer) -> poem::Result<Session> {
    let context: &Arc<Context> = request
        .data()
        .expect("the server gives every request its context");
    let caller = context
        .tokens
        .check(&bearer.token)
        .map_err(|error| Refused::unauthenticated(error.to_string()))?;
    Ok(Session {
        context: Arc::clone(context),
        caller,
        exchange: request.data::<Arc<Exchange>>().cloned(),
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
        let is_known = organisation::exists(&mut tx, self.org())
            .await
            .map_err(failed("could not look the organisation up"))?;
        if !is_known {
            return Err(Refused::unauthenticated("the token's organisation is not known"));
        }
        if let Some(exchange) = &self.exchange {
            exchange.enter(&mut tx, self.org()).await?;
        }
        Ok(work(tx))
    }
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
