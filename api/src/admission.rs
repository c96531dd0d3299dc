//! The one place that decides who may call an operation, and how often: a request proves itself, is taken from its
//! organisation's quota, and must have the operation's role. Only then anything of its body is read. What was refused to
//! somebody known is put down in the audit trail.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lockstep_shared::activity::Outcome;
use lockstep_shared::api_key::{self, Key};
use lockstep_shared::db::{self, Isolation};
use lockstep_shared::id::ApiKeyId;
use lockstep_shared::quota::{self, Taken, WINDOW_SECS};
use poem::http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::{Addr, Body, IntoResponse, Request, Response};
use serde_json::{Value, json};

use crate::auth::{Context, Origin, Session, unknown_organisation};
use crate::problem::{Refused, failed};
use crate::role::Rule;
use crate::token::{API_KEY_ACTOR, Caller, TokenError};

/// How long a refusal keeps its caller waiting for the sake of the audit trail.
const RECORDING_LIMIT: Duration = Duration::from_secs(1);

const POLICY: &str = "ratelimit-policy";
const LIMIT: &str = "ratelimit";
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Longest path that the audit trail keeps, in characters.
const PATH_LIMIT: usize = 300;
/// Most names of fields that it keeps.
const FIELD_LIMIT: usize = 20;

/// Who asks, and what is to be noted of it.
struct Identity {
    caller: Caller,
    /// The key that proved it, where its use is to be noted.
    used: Option<ApiKeyId>,
}

/// Admits a request to an operation, and has it carried out.
pub(crate) async fn answer<F: Future<Output = Response>>(
    context: &Arc<Context>,
    rule: &'static Rule,
    mut request: Request,
    request_id: String,
    carry_out: impl FnOnce(Request) -> F,
) -> Response {
    let identity = match identify(context, request.headers()).await {
        Ok(identity) => identity,
        Err(refused) => return refused.into_response(),
    };
    let taken = match take(context, rule, &identity).await {
        Ok(taken) => taken,
        Err(refused) => return refused.into_response(),
    };
    let mut response = if taken.is_none_or(|taken| taken.is_allowed) {
        let source = source_address(
            peer(&request.remote_addr().0),
            request.headers(),
            context.access.forwarded_hops,
        );
        let session = Session {
            context: Arc::clone(context),
            caller: identity.caller,
            origin: Arc::new(Origin {
                source_address: source.map_or_else(String::new, |source| source.to_string()),
                request_id,
            }),
            exchange: None,
        };
        let path: String = request.uri().path().chars().take(PATH_LIMIT).collect();
        let response = if session.caller.role >= rule.least {
            request.set_data(session.clone());
            carry_out(request).await
        } else {
            Refused::forbidden(rule.least.name()).into_response()
        };
        record_refusal(&session, rule, &path, response).await
    } else {
        let wait = taken.map_or(1, |taken| secs(&taken).max(1));
        Refused::too_many_requests(rule.budget.name(), wait).into_response()
    };
    if let Some(taken) = taken {
        tell(response.headers_mut(), rule, &taken);
    }
    response
}

/// Finds out who asks, by a token or by a key.
async fn identify(context: &Context, headers: &HeaderMap) -> Result<Identity, Refused> {
    let Some(bearer) = bearer(headers) else {
        return Err(Refused::unauthenticated(
            "send the header `Authorization: Bearer <token>`",
        ));
    };
    if bearer.starts_with(api_key::PREFIX) {
        return identify_key(context, bearer).await;
    }
    match context.tokens.check(bearer).await {
        Ok(caller) => Ok(Identity { caller, used: None }),
        Err(error @ TokenError::Unavailable) => Err(Refused::unavailable(error.to_string())),
        Err(error) => Err(Refused::unauthenticated(error.to_string())),
    }
}

async fn identify_key(context: &Context, bearer: &str) -> Result<Identity, Refused> {
    // One sentence for all of them: a caller without the secret learns nothing of the key.
    let refused = || Refused::unauthenticated("the API key is not known, is revoked, or has expired");
    let key = Key::parse(bearer).ok_or_else(refused)?;
    let mut connection = context
        .pool
        .acquire()
        .await
        .map_err(failed("could not reach the database"))?;
    let known = api_key::known(&mut connection, key.id)
        .await
        .map_err(failed("could not look an API key up"))?
        .filter(|known| key.opens(&known.secret_hash) && known.is_usable)
        .ok_or_else(refused)?;
    Ok(Identity {
        caller: Caller {
            org: known.org,
            subject: format!("{API_KEY_ACTOR}{}", key.id),
            role: known.role,
        },
        used: known.is_use_to_be_noted.then_some(key.id),
    })
}

/// Takes the request from its organisation's quota; `None` where nothing is counted.
async fn take(context: &Context, rule: &Rule, identity: &Identity) -> Result<Option<Taken>, Refused> {
    if context.access.quotas.is_none() && identity.used.is_none() {
        return Ok(None);
    }
    let org = identity.caller.org;
    let mut tx = db::begin(&context.pool, org, Isolation::ReadCommitted)
        .await
        .map_err(failed("could not begin a transaction"))?;
    if let Some(used) = identity.used {
        api_key::note_use(&mut tx, org, used)
            .await
            .map_err(failed("could not note the use of an API key"))?;
    }
    let taken = match context.access.quotas {
        Some(quotas) => quota::take(&mut tx, org, rule.budget, quotas)
            .await
            .map_err(failed("could not take a request from the quota"))?
            .ok_or_else(unknown_organisation)
            .map(Some)?,
        None => None,
    };
    tx.commit()
        .await
        .map_err(failed("could not take a request from the quota"))?;
    Ok(taken)
}

/// Puts a refusal down: of what would have changed something, and of everything that the role did not allow. What came too
/// often is not among it: it would let anyone fill the audit trail.
async fn record_refusal(session: &Session, rule: &Rule, path: &str, response: Response) -> Response {
    let status = response.status();
    let outcome = if status == StatusCode::INTERNAL_SERVER_ERROR {
        Outcome::Failed
    } else if status.is_client_error() {
        Outcome::Refused
    } else {
        return response;
    };
    let is_of_note = rule.action.is_some() && status != StatusCode::UNAUTHORIZED;
    if !is_of_note && status != StatusCode::FORBIDDEN {
        return response;
    }
    let (parts, body) = response.into_parts();
    // A problem document, which is in memory already.
    let body = body.into_vec().await.unwrap_or_default();
    let details = refusal(rule, path, status, &body);
    let response = Response::from_parts(parts, Body::from_vec(body));
    let recorded = async {
        let mut tx = session.begin().await?;
        let action = rule.action.unwrap_or("request.refused");
        session
            .record_line(&mut tx, None, (action, outcome), details)
            .await?;
        crate::auth::commit(tx).await
    };
    // What fails is logged already. The caller's own answer stays, as nothing was done, and does not wait for long.
    let recorded: Result<Result<(), Refused>, _> = tokio::time::timeout(RECORDING_LIMIT, recorded).await;
    if recorded.is_err() {
        tracing::warn!(
            operation = rule.operation,
            "a refusal could not be recorded in time"
        );
    }
    response
}

/// Returns what is kept of a refusal: no value that was given, and no sentence that may say one.
fn refusal(rule: &Rule, path: &str, status: StatusCode, body: &[u8]) -> Value {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let kind = problem["type"]
        .as_str()
        .and_then(|kind| kind.rsplit('/').next())
        .unwrap_or_default();
    let fields: Vec<&str> = problem["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|wrong| wrong["field"].as_str())
        .take(FIELD_LIMIT)
        .collect();
    json!({
        "operation": rule.operation,
        "path": path,
        "status": status.as_u16(),
        "problem": kind,
        "fields": fields,
    })
}

/// Tells what is left of the quota, as draft-ietf-httpapi-ratelimit-headers-10 has it: `q` requests in `w` seconds; `r` are
/// left, and in `t` seconds the quota is whole again, or, where none is left, the next one is there.
fn tell(headers: &mut HeaderMap, rule: &Rule, taken: &Taken) {
    let budget = rule.budget.name();
    let policy = format!("\"{budget}\";q={};w={WINDOW_SECS}", taken.per_minute);
    let mut renewed = secs(taken);
    if !taken.is_allowed {
        renewed = renewed.max(1);
    }
    let limit = format!("\"{budget}\";r={};t={renewed}", taken.left());
    for (name, value) in [(POLICY, policy), (LIMIT, limit)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}

/// Whole seconds, and never too few.
fn secs(taken: &Taken) -> i32 {
    let renewed = taken.renewed_in();
    let up = u64::from(renewed.subsec_nanos() > 0);
    i32::try_from(renewed.as_secs() + up).unwrap_or(i32::MAX)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn peer(address: &Addr) -> Option<IpAddr> {
    address.as_socket_addr().map(std::net::SocketAddr::ip)
}

/// Returns who asked: who connected, or whom the outermost of our proxies saw. What stands further left in
/// `X-Forwarded-For` anyone can write.
fn source_address(peer: Option<IpAddr>, headers: &HeaderMap, hops: u8) -> Option<IpAddr> {
    let Some(from_the_right) = usize::from(hops).checked_sub(1) else {
        return peer;
    };
    let lines = headers.get_all(FORWARDED_FOR).iter();
    let seen: Vec<&str> = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .collect();
    seen.iter()
        .rev()
        .nth(from_the_right)
        .and_then(|address| address.parse().ok())
        .or(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_what_our_own_proxies_added_is_believed() {
        let peer = "10.0.0.9".parse().ok();
        let source = |lines: &[&str], hops| source_address(peer, &headers(lines), hops).unwrap().to_string();

        let lines = ["6.6.6.6, 203.0.113.7", "10.0.0.8"];
        assert_eq!(source(&lines, 0), "10.0.0.9", "R71: nobody is believed");
        assert_eq!(source(&lines, 1), "10.0.0.8", "R71");
        assert_eq!(source(&lines, 2), "203.0.113.7", "R71");
        assert_eq!(source(&["nonsense"], 1), "10.0.0.9", "R71");
        assert_eq!(source(&[], 3), "10.0.0.9", "R71");
    }

    #[test]
    fn a_refusal_is_kept_without_what_was_given() {
        let rule = crate::role::rule("createConnection").unwrap();
        let body = json!({
            "type": "https://lockstep.dev/problems/invalid",
            "detail": "`credentials/secret` must not be hunter2",
            "errors": [{ "field": "name", "message": "must not be hunter2" }],
        });

        let kept = refusal(
            rule,
            "/api/v1/connections",
            StatusCode::UNPROCESSABLE_ENTITY,
            body.to_string().as_bytes(),
        );

        assert_eq!(
            (&kept["problem"], &kept["fields"]),
            (&json!("invalid"), &json!(["name"])),
            "R71"
        );
        assert!(!kept.to_string().contains("hunter2"), "R70: {kept}");
    }

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        let given = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            bearer(&headers).map(str::to_owned)
        };

        assert_eq!(given("Bearer a.b.c").as_deref(), Some("a.b.c"));
        assert_eq!(given("bearer  a.b.c ").as_deref(), Some("a.b.c"));
        assert_eq!(given("Basic YTpi"), None);
        assert_eq!(given("a.b.c"), None);
    }
}
