//! How calls reach Odoo: JSON-2 from version 19 on, JSON-RPC below. Both carry the same [`Call`].

use std::time::Instant;

use chrono::{TimeDelta, Utc};
use reqwest::{RequestBuilder, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;
use url::Url;

use super::super::http::{self, Answer, Client};
use super::super::{CallError, Gate, Reach};
use super::error::{Failure, Fault, of_read, refused, unwell};
use super::{Login, SYSTEM};

/// First version that has JSON-2. It also still has JSON-RPC, which it will lose with version 20, and which costs half
/// a second of password hashing after every write that clears a cache (facts/systems.md B1).
const FIRST_WITH_JSON_2: u64 = 19;

/// A call of one method of one model.
#[derive(Clone, Debug)]
pub(super) struct Call {
    model: String,
    method: &'static str,
    ids: Option<Vec<i64>>,
    /// Given by name to JSON-2 and by position to JSON-RPC.
    args: Vec<(&'static str, Value)>,
    /// Given by name to both.
    options: Vec<(&'static str, Value)>,
    context: Value,
}

impl Call {
    pub(super) fn new(model: impl Into<String>, method: &'static str) -> Self {
        Self {
            model: model.into(),
            method,
            ids: None,
            args: Vec::new(),
            options: Vec::new(),
            context: json!({}),
        }
    }

    /// Searches archived records too: without that context they are invisible (facts/systems.md B3).
    pub(super) fn search_read(model: &str, domain: Value, fields: &[&str]) -> Self {
        Self::new(model, "search_read")
            .arg("domain", domain)
            .option("fields", json!(fields))
            .context(json!({"active_test": false}))
    }

    pub(super) fn ids(mut self, ids: Vec<i64>) -> Self {
        self.ids = Some(ids);
        self
    }

    pub(super) fn arg(mut self, name: &'static str, value: Value) -> Self {
        self.args.push((name, value));
        self
    }

    pub(super) fn option(mut self, name: &'static str, value: Value) -> Self {
        self.options.push((name, value));
        self
    }

    pub(super) fn context(mut self, context: Value) -> Self {
        self.context = context;
        self
    }

    /// The body of `POST /json/2/<model>/<method>`: every argument by its name.
    fn named(&self) -> Value {
        let pairs = self.args.iter().chain(&self.options);
        let mut body: Map<String, Value> = pairs
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        if let Some(ids) = &self.ids {
            body.insert("ids".to_owned(), json!(ids));
        }
        body.insert("context".to_owned(), self.context.clone());
        Value::Object(body)
    }

    /// The positional and the named arguments of `execute_kw`.
    fn positional(&self) -> (Vec<Value>, Value) {
        let ids = self.ids.iter().map(|ids| json!(ids));
        let args = ids
            .chain(self.args.iter().map(|(_, value)| value.clone()))
            .collect();
        let mut named: Map<String, Value> = self
            .options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        named.insert("context".to_owned(), self.context.clone());
        (args, Value::Object(named))
    }
}

/// Which Odoo this is, and how it wants to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backend {
    pub(super) version: String,
    pub(super) major: u64,
    /// How far its clock was ahead of ours when we met.
    pub(super) clock_ahead: Option<TimeDelta>,
    route: Route,
}

/// What a server says of itself to anyone.
struct Met {
    version: String,
    major: u64,
    clock_ahead: Option<TimeDelta>,
}

impl Met {
    fn of((version, major): (String, u64), answer: &Answer) -> Self {
        Self {
            version,
            major,
            clock_ahead: http::clock_ahead(&answer.headers, Utc::now()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Json2,
    JsonRpc { uid: i64 },
}

/// One Odoo database, as one user.
#[derive(Debug)]
pub(super) struct Rpc {
    http: Client,
    base_url: Url,
    login: Login,
    backend: OnceCell<Backend>,
}

impl Rpc {
    pub(super) fn new(http: Client, base_url: Url, login: Login) -> Self {
        Self {
            http,
            base_url,
            login,
            backend: OnceCell::new(),
        }
    }

    /// Learns version and user, once.
    pub(super) async fn backend(&self, gate: &dyn Gate) -> Result<&Backend, Failure> {
        self.backend.get_or_try_init(|| self.meet(gate)).await
    }

    /// Sends a call that only reads, when the gate lets it.
    pub(super) async fn read(&self, gate: &dyn Gate, call: &Call) -> Result<Value, Failure> {
        let backend = self.backend(gate).await?;
        let request = self.request(backend, call)?;
        gate.pass().await?;
        let answer = self.http.read(SYSTEM, request).await?;
        decode(backend.route, &answer, &self.login.database).map_err(of_read)
    }

    /// Sends a call that writes. What has to be known for it was learnt when it was planned.
    pub(super) async fn write(&self, call: &Call, deadline: Instant) -> Result<Value, Failure> {
        let Some(backend) = self.backend.get() else {
            return Err(unwell("its version was never asked for: plan first", Reach::NoEffect).into());
        };
        let request = self.request(backend, call)?;
        let answer = self.http.write(SYSTEM, request, deadline).await?;
        decode(backend.route, &answer, &self.login.database)
    }

    fn request(&self, backend: &Backend, call: &Call) -> Result<RequestBuilder, CallError> {
        Ok(match backend.route {
            Route::Json2 => self
                .http
                .post(self.url(&["json", "2", &call.model, call.method])?)
                .bearer_auth(self.login.api_key.expose_secret())
                .header("X-Odoo-Database", &self.login.database)
                .json(&call.named()),
            Route::JsonRpc { uid } => {
                let (args, named) = call.positional();
                let key = self.login.api_key.expose_secret();
                let args = json!([
                    self.login.database,
                    uid,
                    key,
                    call.model,
                    call.method,
                    args,
                    named
                ]);
                self.json_rpc("object", "execute_kw", &args)?
            }
        })
    }

    fn json_rpc(&self, service: &str, method: &str, args: &Value) -> Result<RequestBuilder, CallError> {
        let params = json!({"service": service, "method": method, "args": args});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "call", "params": params});
        Ok(self.http.post(self.url(&["jsonrpc"])?).json(&body))
    }

    fn url(&self, path: &[&str]) -> Result<Url, CallError> {
        let mut url = self.base_url.clone();
        url.path_segments_mut()
            .map_err(|()| refused("its address can't have a path"))?
            .pop_if_empty()
            .extend(path);
        Ok(url)
    }

    async fn meet(&self, gate: &dyn Gate) -> Result<Backend, Failure> {
        let Met {
            version,
            major,
            clock_ahead,
        } = self.version(gate).await?;
        let route = if major >= FIRST_WITH_JSON_2 {
            Route::Json2
        } else {
            let uid = self.authenticate(gate).await?;
            Route::JsonRpc { uid }
        };
        Ok(Backend {
            version,
            major,
            clock_ahead,
            route,
        })
    }

    /// Asks for the version where each generation of Odoo tells it (facts/systems.md B1).
    async fn version(&self, gate: &dyn Gate) -> Result<Met, Failure> {
        for path in ["json", "web"] {
            let request = self.http.get(self.url(&[path, "version"])?);
            gate.pass().await?;
            let answer = self.http.read(SYSTEM, request).await?;
            if answer.status == StatusCode::NOT_FOUND {
                continue;
            }
            if !answer.status.is_success() {
                return Err(of_read(Failure::foreign(answer.status, &self.login.database)));
            }
            // An older Odoo may answer this address with a page.
            if let Some(version) = serde_json::from_slice(&answer.body).ok().and_then(version_of) {
                return Ok(Met::of(version, &answer));
            }
        }
        let answer = self.send_common(gate, "version", &json!([])).await?;
        let version = decode_json_rpc(&answer, &self.login.database).map_err(of_read)?;
        let version =
            version_of(version).ok_or_else(|| Failure::refused("no Odoo answers at this address"))?;
        Ok(Met::of(version, &answer))
    }

    /// Proves login and key. A wrong one is no error but `false` (facts/systems.md B1).
    async fn authenticate(&self, gate: &dyn Gate) -> Result<i64, Failure> {
        let args = json!([
            self.login.database,
            self.login.user,
            self.login.api_key.expose_secret(),
            {}
        ]);
        let answer = self.ask_common(gate, "authenticate", &args).await?;
        answer.as_i64().ok_or_else(|| {
            Failure::Call(CallError::Unauthorised {
                system: SYSTEM,
                detail: "login and API key do not fit".to_owned(),
            })
        })
    }

    async fn send_common(&self, gate: &dyn Gate, method: &str, args: &Value) -> Result<Answer, Failure> {
        let request = self.json_rpc("common", method, args)?;
        gate.pass().await?;
        Ok(self.http.read(SYSTEM, request).await?)
    }

    async fn ask_common(&self, gate: &dyn Gate, method: &str, args: &Value) -> Result<Value, Failure> {
        let answer = self.send_common(gate, method, args).await?;
        decode_json_rpc(&answer, &self.login.database).map_err(of_read)
    }
}

/// Reads `{"version_info":[19,0,…],"version":"19.0"}`, and JSON-RPC's names for the same.
#[expect(clippy::needless_pass_by_value, reason = "it consumes an answer in a chain")]
fn version_of(answer: Value) -> Option<(String, u64)> {
    let either = |name: &str| answer.get(name).or_else(|| answer.get(format!("server_{name}")));
    let version = either("version")?.as_str()?.to_owned();
    let major = match either("version_info")?.get(0)? {
        // Odoo's own cloud calls its versions `saas~18`.
        Value::String(text) => text.rsplit('~').next()?.parse().ok()?,
        number => number.as_u64()?,
    };
    Some((version, major))
}

fn decode(route: Route, answer: &Answer, database: &str) -> Result<Value, Failure> {
    match route {
        Route::Json2 => decode_json_2(answer, database),
        Route::JsonRpc { .. } => decode_json_rpc(answer, database),
    }
}

/// Reads an answer of JSON-2: the bare result, or with a real status the bare exception (facts/systems.md B2).
fn decode_json_2(answer: &Answer, database: &str) -> Result<Value, Failure> {
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    match body {
        Some(body) if answer.status.is_success() => Ok(body),
        None if answer.status.is_success() => Err(no_json().into()),
        body => Err(body
            .as_ref()
            .and_then(Fault::read)
            .map_or_else(|| Failure::foreign(answer.status, database), Failure::Fault)),
    }
}

/// Reads an answer of JSON-RPC: status 200 for both, and no `result` where the method returned nothing
/// (facts/systems.md B2).
fn decode_json_rpc(answer: &Answer, database: &str) -> Result<Value, Failure> {
    let Some(mut body) = serde_json::from_slice::<Value>(&answer.body).ok() else {
        return Err(if answer.status.is_success() {
            no_json().into()
        } else {
            Failure::foreign(answer.status, database)
        });
    };
    if let Some(fault) = body.pointer("/error/data").and_then(Fault::read) {
        return Err(Failure::Fault(fault));
    }
    if !answer.status.is_success() || body.get("jsonrpc").is_none() || body.get("error").is_some() {
        return Err(Failure::foreign(answer.status, database));
    }
    Ok(body.get_mut("result").map(Value::take).unwrap_or_default())
}

fn no_json() -> CallError {
    unwell("its answer is no JSON", Reach::InDoubt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: reqwest::header::HeaderMap::new(),
            body: body.as_bytes().to_vec(),
        }
    }

    fn call() -> Call {
        Call::search_read("res.partner", json!([["id", "=", 1]]), &["name"]).option("limit", json!(5))
    }

    #[test]
    fn both_transports_carry_the_same_call() {
        assert_eq!(
            call().named(),
            json!({"domain": [["id", "=", 1]], "fields": ["name"], "limit": 5, "context": {"active_test": false}})
        );
        assert_eq!(
            call().positional(),
            (
                vec![json!([["id", "=", 1]])],
                json!({"fields": ["name"], "limit": 5, "context": {"active_test": false}})
            )
        );
    }

    #[test]
    fn ids_have_a_name_in_one_and_the_first_place_in_the_other() {
        let call = Call::new("res.partner", "get_external_id").ids(vec![3, 4]);

        assert_eq!(call.named(), json!({"ids": [3, 4], "context": {}}));
        assert_eq!(call.positional(), (vec![json!([3, 4])], json!({"context": {}})));
    }

    #[test]
    fn every_way_of_telling_the_version_is_read() {
        let read = |text: &str| version_of(serde_json::from_str(text).unwrap());

        assert_eq!(
            read(r#"{"version_info": [19, 0, 0, "final", 0, ""], "version": "19.0"}"#),
            Some(("19.0".to_owned(), 19))
        );
        assert_eq!(
            read(
                r#"{"server_version": "17.0", "server_version_info": [17, 0, 0, "final", 0, ""], "protocol_version": 1}"#
            ),
            Some(("17.0".to_owned(), 17))
        );
        assert_eq!(
            read(r#"{"version_info": ["saas~18", 2, 0, "final", 0, ""], "version": "saas~18.2"}"#),
            Some(("saas~18.2".to_owned(), 18))
        );
        assert_eq!(read(r#"{"hello": 1}"#), None);
    }

    #[test]
    fn a_captured_json_2_answer_is_read() {
        let found = decode_json_2(&answer(200, r#"[{"id": 1, "name": "My Company"}]"#), "db").unwrap();
        let nothing = decode_json_2(&answer(200, "null"), "db").unwrap();

        assert_eq!(found, json!([{"id": 1, "name": "My Company"}]));
        assert_eq!(nothing, Value::Null);
    }

    #[test]
    fn captured_json_2_errors_go_by_their_name() {
        let serialization = answer(
            500,
            r#"{"name": "psycopg2.errors.SerializationFailure", "message": "could not serialize access due to concurrent update\n", "arguments": ["could not serialize access due to concurrent update\n"], "context": {}, "debug": "Traceback"}"#,
        );
        let value = answer(
            500,
            r#"{"name": "builtins.ValueError", "message": "Invalid field 'nofield' in 'res.partner'", "arguments": [], "context": {}, "debug": "Traceback"}"#,
        );
        let key = answer(
            401,
            r#"{"name": "werkzeug.exceptions.Unauthorized", "message": "Invalid apikey", "arguments": ["Invalid apikey", 401], "context": {}, "debug": ""}"#,
        );
        let database = answer(404, "<!DOCTYPE html>\n<title>404 Not Found</title>");
        let proxy = answer(502, "<html>Bad Gateway</html>");
        let error = |answer| CallError::from(decode_json_2(&answer, "db").unwrap_err());

        assert!(matches!(
            error(serialization),
            CallError::Unwell {
                reach: Reach::NoEffect,
                ..
            }
        ));
        assert!(matches!(error(value), CallError::Refused { .. }));
        assert!(matches!(error(key), CallError::Unauthorised { .. }));
        assert!(matches!(error(database), CallError::Refused { .. }));
        assert!(matches!(
            error(proxy),
            CallError::Unwell {
                reach: Reach::InDoubt,
                ..
            }
        ));
    }

    #[test]
    fn captured_json_rpc_answers_are_read() {
        let read = |status, text| decode_json_rpc(&answer(status, text), "db");

        assert_eq!(
            read(200, r#"{"jsonrpc": "2.0", "id": 1, "result": 3}"#).unwrap(),
            json!(3)
        );
        assert_eq!(read(200, r#"{"jsonrpc": "2.0", "id": 1}"#).unwrap(), Value::Null);
        let denied = read(
            200,
            r#"{"jsonrpc": "2.0", "id": 1, "error": {"code": 0, "message": "Odoo Server Error", "data": {"name": "odoo.exceptions.AccessDenied", "message": "Access Denied", "arguments": ["Access Denied"], "context": {}, "debug": ""}}}"#,
        );
        assert!(matches!(
            CallError::from(denied.unwrap_err()),
            CallError::Unauthorised { .. }
        ));
        let page = read(400, "Invalid JSON data");
        assert!(matches!(
            CallError::from(page.unwrap_err()),
            CallError::Refused { .. }
        ));
    }
}
