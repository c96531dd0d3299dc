//! Every operation of the document, asked for another organisation's things (R43).

use std::collections::BTreeMap;

use lockstep_shared::id::OrgId;
use lockstep_tests::api::Api;
use lockstep_tests::stack::{Database, Stack};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Row;

use super::{customer, id, organisation, product, start, watch};

/// What an organisation has, by the name that its identifier has in the document. An operation with an identifier of
/// another name fails the test until what it names is here.
pub(super) async fn belongings(stack: &mut Stack, api: &Api) -> BTreeMap<&'static str, String> {
    let record = id();
    api.client
        .put(&format!("/api/v1/records/products/{record}"), &product("SKU-1"))
        .await
        .ok(201);
    api.client
        .put(
            &format!("/api/v1/records/customers/{}", id()),
            &customer("ada@example.com"),
        )
        .await
        .ok(201);
    let key = api
        .client
        .post("/api/v1/api-keys", &json!({ "name": "Import", "role": "viewer" }))
        .await
        .ok(201);
    let schedule = json!({
        "name": "Yearly", "cron": "0 3 1 1 *", "timeZone": "UTC", "systems": ["woocommerce"],
    });
    let schedule = api.client.post("/api/v1/schedules", &schedule).await.ok(201);
    stack.work();
    let sync = start(&api.client).await;
    watch(&api.client, &sync).await;
    let endpoint = json!({ "url": "https://hooks.example.com", "events": ["sync.failed"] });
    let endpoint = api
        .client
        .post("/api/v1/notification-endpoints", &endpoint)
        .await
        .ok(201);
    let endpoint = endpoint["endpointId"].as_str().unwrap().to_owned();
    let (notification, conflict) = (id(), id());
    for statement in [
        format!(
            "insert into notification (org_id, notification_id, endpoint_id, event, data, status)
             values ('{}', '{notification}', '{endpoint}', 'sync.failed', '{{}}', 'delivered')",
            stack.org
        ),
        format!(
            "insert into sync_conflict (id, org_id, sync_id, connection_id, entity_type, conflict_type, data)
             values ('{conflict}', '{}', '{sync}', '{}', 'orders', 'ValidationError', '{{}}')",
            stack.org, stack.store
        ),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&stack.database.superuser)
            .await
            .unwrap();
    }
    BTreeMap::from([
        ("scheduleId", schedule["scheduleId"].as_str().unwrap().to_owned()),
        ("endpointId", endpoint),
        ("notificationId", notification),
        ("conflictId", conflict),
        ("connectionId", stack.store.to_string()),
        ("recordId", record),
        ("syncId", sync),
        ("keyId", key["apiKey"]["keyId"].as_str().unwrap().to_owned()),
    ])
}

/// The rows of an organisation's, by table.
async fn rows_of(database: &Database, org: OrgId) -> BTreeMap<String, Vec<String>> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'org_id'
          where c.relkind in ('r', 'p') and not c.relispartition and c.relnamespace = 'public'::regnamespace",
    )
    .fetch_all(&database.superuser)
    .await
    .unwrap();
    let mut all = BTreeMap::new();
    for table in tables {
        let statement = format!("select t::text as line from {table} t where org_id = $1 order by 1");
        let rows = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(org.0)
            .fetch_all(&database.superuser)
            .await
            .unwrap();
        all.insert(table, rows.iter().map(|row| row.get("line")).collect());
    }
    all
}

/// Follows a reference of the document.
pub(super) fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// A body that the document calls an example, or an empty one.
fn body(document: &Value, operation: &Value) -> Option<Value> {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    (!schema.is_null()).then(|| example(document, schema))
}

/// Makes an example of a schema: its own, that of the first of several, or what its parts come to.
fn example(document: &Value, schema: &Value) -> Value {
    let schema = resolved(document, schema);
    if let Some(own) = schema.get("example") {
        return own.clone();
    }
    if let Some(first) = schema["oneOf"].get(0) {
        return example(document, first);
    }
    let mut fields = serde_json::Map::new();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        fields.extend(field.get("example").map(|own| (name.clone(), own.clone())));
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        if let Value::Object(more) = example(document, part) {
            fields.extend(more);
        }
    }
    Value::Object(fields)
}

/// R43: whatever operation a stranger calls with an organisation's identifiers, it is not there; lists are empty; no answer
/// says anything of it, and nothing of it changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_operation_reaches_what_another_organisation_has() {
    let mut stack = Stack::new().await;
    let api = Api::start(&stack);
    let theirs = belongings(&mut stack, &api).await;
    let stranger = api.client_of(organisation(&stack, OrgId::random()).await);
    let document: Value = serde_json::from_str(include_str!("../../../api/openapi.json")).unwrap();
    let before = rows_of(&stack.database, stack.org).await;
    let mut asked = 0;

    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
            let named = |place: &str| {
                let parameters = parameters.iter().filter(|parameter| parameter["in"] == place);
                parameters
                    .map(|parameter| parameter["name"].as_str().unwrap())
                    .collect::<Vec<_>>()
            };
            let mut address = path.clone();
            for name in named("path") {
                let id = theirs
                    .get(name)
                    .unwrap_or_else(|| panic!("R43: make a `{name}` for {method} {path}"));
                address = address.replace(&format!("{{{name}}}"), id);
            }
            let filters: Vec<String> = named("query")
                .into_iter()
                .filter_map(|name| Some(format!("{name}={}", theirs.get(name)?)))
                .collect();
            let mut addresses = vec![address.clone()];
            if !filters.is_empty() {
                addresses.push(format!("{address}?{}", filters.join("&")));
            }
            for address in addresses {
                let method: Method = method.to_uppercase().parse().unwrap();
                let mut request = stranger.request(method.clone(), &address);
                if let Some(body) = body(&document, operation) {
                    request = request.json(&body);
                }
                let answer = stranger.send(request).await;
                asked += 1;
                let what = format!("R43: {method} {address}: {} {}", answer.status, answer.text);
                for id in theirs.values().filter(|id| !address.contains(*id)) {
                    assert!(!answer.text.contains(id), "{what}");
                }
                if path.contains('{') {
                    // A record's identifier is its organisation's own: another's is free to be used. What an example
                    // names is not there, and the second type of record finds the stranger's own of the first.
                    let is_put = method == Method::PUT && path.starts_with("/api/v1/records/");
                    let expected: &[u16] = if is_put { &[201, 409, 422] } else { &[404] };
                    assert!(expected.contains(&answer.status), "{what}");
                } else if answer.body.get("items").is_some() {
                    // Before anything is made: the methods of an address come in the order of their names.
                    assert_eq!(
                        (answer.status, &answer.body["items"]),
                        (200, &json!([])),
                        "{what}"
                    );
                } else {
                    assert_ne!(answer.status, 500, "{what}");
                }
            }
        }
    }

    assert_eq!(rows_of(&stack.database, stack.org).await, before, "R43");
    assert!(asked >= 39, "R43: {asked} operations");
    for (name, address) in [
        ("connectionId", "connections"),
        ("syncId", "syncs"),
        ("recordId", "records/products"),
        ("keyId", "api-keys"),
        ("scheduleId", "schedules"),
        ("endpointId", "notification-endpoints"),
        ("conflictId", "conflicts"),
    ] {
        // They are there for those whose they are: the test asked for something.
        api.client
            .get(&format!("/api/v1/{address}/{}", theirs[name]))
            .await
            .ok(200);
    }
}
