//! The two protocols: JSON-2 and JSON-RPC (facts: systems B1, B2).

use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

use super::call;
use super::database::Database;
use super::exception::Exception;
use super::load;
use super::session::{Session, now_micros};
use crate::fault::FaultPlan;
use crate::ledger::{Ledger, Origin};
use crate::server::{Course, Reply, Request, System};

/// Someone who may log in.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) id: i64,
    pub(super) login: String,
    pub(super) api_key: String,
    pub(super) password: String,
    pub(super) may_create: bool,
}

/// The ERP behind its sockets.
#[derive(Debug)]
pub(super) struct Office {
    pub(super) db: Arc<Mutex<Database>>,
    pub(super) users: Mutex<Vec<User>>,
    pub(super) database: String,
    pub(super) major_version: u32,
    pub(super) faults: FaultPlan,
    pub(super) ledger: Ledger,
}

/// One call of a method.
#[derive(Debug)]
struct Call<'a> {
    model: &'a str,
    method: &'a str,
    arguments: call::Arguments,
    user: User,
    request: u64,
}

impl System for Office {
    async fn answer(self: Arc<Self>, request: Request, course: Course) -> Reply {
        let version = self.major_version;
        match request.path.as_str() {
            "/json/version" if version >= 19 => Reply::json(200, &self.version()),
            "/web/version" if version >= 18 => Reply::json(200, &self.version()),
            "/jsonrpc" if request.method == "POST" => self.json_rpc(&request, course).await,
            path => match path.strip_prefix("/json/2/") {
                Some(rest) if version >= 19 => self.json_2(&request, rest, course).await,
                _ => not_found(),
            },
        }
    }

    fn faults(&self) -> &FaultPlan {
        &self.faults
    }
}

fn not_found() -> Reply {
    Reply::html(
        404,
        "<!DOCTYPE html>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n",
    )
}

impl Office {
    fn version(&self) -> Value {
        let major = self.major_version;
        json!({"version_info": [major, 0, 0, "final", 0, ""], "version": format!("{major}.0")})
    }

    fn find_user(&self, is_the_one: impl Fn(&User) -> bool) -> Option<User> {
        self.users
            .lock()
            .expect("no holder of the users panics")
            .iter()
            .find(|user| is_the_one(user))
            .cloned()
    }

    async fn json_2(&self, request: &Request, rest: &str, course: Course) -> Reply {
        let refused = |exception: &Exception| Reply::json(exception.status, &exception.body());
        if request
            .header("x-odoo-database")
            .is_some_and(|name| name != self.database)
        {
            let text = "<p>No database is selected and the requested URL was not found in the server-wide \
                        controllers.</p>\n";
            return Reply::html(
                404,
                &format!("<!DOCTYPE html>\n<title>404 Not Found</title>\n{text}"),
            );
        }
        if request.method != "POST" {
            let message = "Did you mean POST /json/2/<model>/<method>?";
            return refused(&Exception::web("werkzeug.exceptions.NotFound", 404, message));
        }
        if !request.claims_json() {
            return Reply::html(
                415,
                "<!doctype html>\n<html lang=en>\n<title>415 Unsupported Media Type</title>\n",
            );
        }
        let key = request.header("authorization").and_then(bearer);
        let user = match key {
            None => Err("User not authenticated, use an API Key with a Bearer Authorization header."),
            Some(key) => self.find_user(|user| user.api_key == key).ok_or("Invalid apikey"),
        };
        let user = match user {
            Ok(user) => user,
            Err(message) => {
                return refused(&Exception::web("werkzeug.exceptions.Unauthorized", 401, message));
            }
        };
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            let message = "could not parse the body as json: Expecting value: line 1 column 1 (char 0)";
            return refused(&Exception::web("werkzeug.exceptions.BadRequest", 400, message));
        };
        let Some((model, method)) = rest.split_once('/') else {
            return not_found();
        };
        let arguments = body.as_object().cloned().unwrap_or_default();
        if let Err(exception) = self.check_json_2(model, method, &arguments) {
            return refused(&exception);
        }
        let call = Call {
            model,
            method,
            arguments,
            user,
            request: request.index,
        };
        match self.run(call, course).await {
            Ok(result) => Reply::json(200, &result),
            Err(exception) => refused(&exception),
        }
    }

    fn check_json_2(&self, model: &str, method: &str, arguments: &call::Arguments) -> Result<(), Exception> {
        if !self
            .db
            .lock()
            .expect("no holder of the database panics")
            .has(model)
        {
            let message = format!("the model '{model}' does not exist");
            return Err(Exception::web("werkzeug.exceptions.NotFound", 404, message));
        }
        let takes_ids = call::takes_ids(model, method).map_err(|exception| match exception.name {
            "builtins.AttributeError" => {
                Exception::web("werkzeug.exceptions.NotFound", 404, exception.message)
            }
            _ => exception,
        })?;
        if !takes_ids && arguments.contains_key("ids") {
            let message = format!("cannot call {model}.{method} with ids");
            return Err(Exception::web(
                "werkzeug.exceptions.UnprocessableEntity",
                422,
                message,
            ));
        }
        Ok(())
    }

    async fn json_rpc(&self, request: &Request, course: Course) -> Reply {
        let Ok(envelope) = serde_json::from_slice::<Value>(&request.body) else {
            return Reply::html(400, "Invalid JSON data");
        };
        if !envelope.is_object() {
            return Reply::html(400, "Invalid JSON-RPC data");
        }
        let id = envelope.get("id").cloned().unwrap_or_default();
        let answer = match self.rpc_result(request, &envelope["params"], course).await {
            // A method that returns None has no result at all (facts: systems B2).
            Ok(Value::Null) => json!({"jsonrpc": "2.0", "id": id}),
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(exception) => json!({
                "jsonrpc": "2.0", "id": id,
                "error": {"code": 0, "message": "Odoo Server Error", "data": exception.body()},
            }),
        };
        Reply::json(200, &answer)
    }

    async fn rpc_result(
        &self,
        request: &Request,
        params: &Value,
        course: Course,
    ) -> Result<Value, Exception> {
        let parts = (
            params["service"].as_str(),
            params["method"].as_str(),
            params["args"].as_array(),
        );
        let (Some(service), Some(method), Some(args)) = parts else {
            let message =
                "JSONRPC.jsonrpc() missing 3 required positional arguments: 'service', 'method', and 'args'";
            return Err(Exception::wrong_type(message));
        };
        match (service, method) {
            ("common", "version") => {
                let major = self.major_version;
                Ok(json!({
                    "server_version": format!("{major}.0"), "server_version_info": [major, 0, 0, "final", 0, ""],
                    "server_serie": format!("{major}.0"), "protocol_version": 1,
                }))
            }
            ("common", "login" | "authenticate") => {
                self.check_database(args)?;
                let text = |at: usize| args.get(at).and_then(Value::as_str).unwrap_or_default();
                let user = self.find_user(|user| {
                    user.login == text(1) && (user.password == text(2) || user.api_key == text(2))
                });
                Ok(user.map_or(Value::Bool(false), |user| json!(user.id)))
            }
            ("object", "execute_kw" | "execute") => self.execute(request, method, args, course).await,
            _ => Err(Exception::attribute(format!("Method not found: {method}"))),
        }
    }

    async fn execute(
        &self,
        request: &Request,
        how: &str,
        args: &[Value],
        course: Course,
    ) -> Result<Value, Exception> {
        self.check_database(args)?;
        let uid = args.get(1).and_then(Value::as_i64).unwrap_or_default();
        let secret = args.get(2).and_then(Value::as_str).unwrap_or_default();
        let user = self
            .find_user(|user| user.id == uid)
            .ok_or_else(|| Exception::missing("res.users", uid, uid))?;
        if user.password != secret && user.api_key != secret {
            return Err(Exception::denied());
        }
        let model = args.get(3).and_then(Value::as_str).unwrap_or_default();
        let method = args.get(4).and_then(Value::as_str).unwrap_or_default();
        if !self
            .db
            .lock()
            .expect("no holder of the database panics")
            .has(model)
        {
            return Err(Exception::user(format!("Object {model} doesn't exist")));
        }
        let (positional, keywords) = if how == "execute_kw" {
            let list = args.get(5).and_then(Value::as_array).cloned().unwrap_or_default();
            (
                list,
                args.get(6)
                    .and_then(Value::as_object)
                    .cloned()
                    .unwrap_or_default(),
            )
        } else {
            (args.get(5..).unwrap_or_default().to_vec(), Map::new())
        };
        let is_single = method == "create" && positional.first().is_some_and(Value::is_object);
        let arguments = call::named(model, method, positional, keywords)?;
        let call = Call {
            model,
            method,
            arguments,
            user,
            request: request.index,
        };
        let result = self.run(call, course).await?;
        Ok(if is_single { result[0].clone() } else { result })
    }

    fn check_database(&self, args: &[Value]) -> Result<(), Exception> {
        let name = args.first().and_then(Value::as_str).unwrap_or_default();
        if name == self.database {
            return Ok(());
        }
        let message = format!(
            "connection to server at \"127.0.0.1\", port 5432 failed: FATAL:  database \"{name}\" does not exist\n"
        );
        Err(Exception::web("psycopg2.OperationalError", 500, message))
    }

    /// Runs one call as one transaction, whose time is its start.
    async fn run(&self, call: Call<'_>, course: Course) -> Result<Value, Exception> {
        let start = now_micros();
        if course.conflicts {
            let rows = call
                .arguments
                .get("data")
                .and_then(Value::as_array)
                .map_or(1, Vec::len);
            return if call.method == "load" {
                Ok(load::conflict(rows))
            } else {
                Err(Exception::conflict())
            };
        }
        if course.dies_after.is_some() {
            return Err(Exception::web(
                "werkzeug.exceptions.InternalServerError",
                500,
                "the worker was killed",
            ));
        }
        tokio::time::sleep(course.runs_on).await;
        let mut db = self.db.lock().expect("no holder of the database panics");
        let mut session = Session::new(&mut db, start);
        session.user = call.user.id;
        session.may_create = call.user.may_create && !session.db.denied.contains(call.model);
        session.origin = Origin::Api;
        match session.call(call.model, call.method, &call.arguments) {
            Ok(result) => {
                session.commit(&self.ledger, Some(call.request));
                Ok(result)
            }
            Err(exception) => {
                db.roll_back(0);
                Err(exception)
            }
        }
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, key) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
}
