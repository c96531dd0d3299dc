//! API keys, and the organisations that begin with one (R42, R53).

use chrono::{DateTime, Utc};
use lockstep_api::config::Access;
use lockstep_api::operator::{self, OwnQuotas};
use lockstep_shared::id::OrgId;
use lockstep_shared::role::Role;
use lockstep_tests::api::{Answer, Api, Client};
use lockstep_tests::stack::Stack;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{id, organisation, rows};

/// Makes a key; returns its identifier and itself.
async fn make(client: &Client, request: &Value) -> (String, String) {
    let made = client.post("/api/v1/api-keys", request).await.ok(201);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&made["apiKey"]["keyId"]), text(&made["key"]))
}

async fn revoke(client: &Client, key_id: &str) -> Answer {
    let request = client.request(Method::DELETE, &format!("/api/v1/api-keys/{key_id}"));
    client.send(request).await
}

/// R42: a key opens what its role may, and is shown once: neither the database nor any later answer has its secret.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_opens_what_its_role_may_and_is_shown_once() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let request = json!({ "name": "Nightly import", "role": "operator" });

    let made = api.client.post("/api/v1/api-keys", &request).await.ok(201);

    let key = made["key"].as_str().unwrap();
    let secret = key.rsplit('_').next().unwrap();
    assert_eq!(secret.len(), 64, "R42: 256 bits");
    let program = api.stranger.with_token(key);
    program.get("/api/v1/syncs").await.ok(200);
    program.post("/api/v1/syncs", &json!({})).await.ok(202);
    program
        .post("/api/v1/connections", &json!({}))
        .await
        .problem(403, "forbidden");
    let listed = api.client.get("/api/v1/api-keys").await.ok(200);
    let mut shown = listed["items"][0].clone();
    assert!(shown["lastUsedAt"].is_string(), "R42: {shown}");
    shown.as_object_mut().unwrap().remove("lastUsedAt");
    assert_eq!(shown, made["apiKey"], "R42");
    assert!(key.starts_with(shown["prefix"].as_str().unwrap()), "R42: {shown}");
    assert!(!listed.to_string().contains(secret), "R42: {listed}");
    for (table, rows) in rows(&stack.database).await {
        let bytes = hex_bytes(secret);
        for row in rows {
            assert!(
                !row.contains(secret) && !row.contains(&bytes),
                "R42: {table}: {row}"
            );
        }
    }
    let started = api
        .client
        .get("/api/v1/activity?action=sync.requested")
        .await
        .ok(200);
    let key_id = shown["keyId"].as_str().unwrap();
    assert_eq!(started["items"][0]["actor"], format!("api-key:{key_id}"), "R71");
}

/// The text that Postgres writes for these bytes.
fn hex_bytes(hex: &str) -> String {
    format!("\\x{hex}")
}

/// R42: a key that is revoked does not hold for the next request, in any process of the API.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_holds_no_more_anywhere() {
    let stack = Stack::new().await;
    let (here, there) = (Api::start(&stack), Api::start(&stack));
    let (key_id, key) = make(&here.client, &json!({ "name": "Import", "role": "viewer" })).await;
    let (program, elsewhere) = (here.stranger.with_token(&key), there.stranger.with_token(&key));
    program.get("/api/v1/syncs").await.ok(200);
    elsewhere.get("/api/v1/syncs").await.ok(200);

    let revoked = revoke(&here.client, &key_id).await.ok(200);

    assert!(revoked["revokedAt"].is_string(), "R42: {revoked}");
    program.get("/api/v1/syncs").await.problem(401, "unauthenticated");
    elsewhere
        .get("/api/v1/syncs")
        .await
        .problem(401, "unauthenticated");
    let again = revoke(&here.client, &key_id).await.ok(200);
    assert_eq!(again["revokedAt"], revoked["revokedAt"], "it stays as it is");
    revoke(&here.client, &id()).await.problem(404, "not-found");
}

/// R42: a key ends when it was said to, by the database's clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_ends_when_it_was_said_to() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let expires_at = Utc::now() + chrono::Duration::hours(2);
    let request = json!({ "name": "Visit", "role": "viewer", "expiresAt": expires_at });
    let (_, key) = make(&api.client, &request).await;
    let program = api.stranger.with_token(&key);
    program.get("/api/v1/syncs").await.ok(200);

    stack.shift_clock("3 hours").await;

    program.get("/api/v1/syncs").await.problem(401, "unauthenticated");
}

/// R42: when a key was used last is known to the minute, and not written for every request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_use_is_noted_once_a_minute() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let (key_id, key) = make(&api.client, &json!({ "name": "Import", "role": "viewer" })).await;
    let program = api.stranger.with_token(&key);
    let last_used = async || {
        let key = api
            .client
            .get(&format!("/api/v1/api-keys/{key_id}"))
            .await
            .ok(200);
        let text = key["lastUsedAt"].as_str().map(str::to_owned);
        text.map(|text| DateTime::parse_from_rfc3339(&text).unwrap())
    };
    assert_eq!(last_used().await, None);

    program.get("/api/v1/syncs").await.ok(200);
    let first = last_used().await.unwrap();
    stack.shift_clock("1 hour").await;
    program.get("/api/v1/syncs").await.ok(200);
    let second = last_used().await.unwrap();
    // Back within the minute after it, on however slow a machine.
    stack.shift_clock("-30 minutes").await;
    program.get("/api/v1/syncs").await.ok(200);

    assert!(second - first >= chrono::Duration::hours(1), "R42");
    assert_eq!(last_used().await.unwrap(), second, "R42");
}

/// R42: without the whole of it, a key is nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_nearly_a_key_opens_nothing() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let made = api
        .client
        .post("/api/v1/api-keys", &json!({ "name": "Import", "role": "admin" }))
        .await
        .ok(201);
    let key = made["key"].as_str().unwrap();
    let (prefix, secret) = key.rsplit_once('_').unwrap();
    let last = if secret.ends_with('0') { '1' } else { '0' };
    let other = api
        .client
        .post("/api/v1/api-keys", &json!({ "name": "Other", "role": "admin" }))
        .await
        .ok(201);
    let (_, others_secret) = other["key"].as_str().unwrap().rsplit_once('_').unwrap();

    for near in [
        prefix.to_owned(),
        format!("{prefix}_"),
        format!("{prefix}_{}{last}", &secret[..63]),
        format!("{prefix}_{secret}0"),
        format!(
            "{prefix}_{}",
            secret.to_uppercase().replace(char::is_numeric, "A")
        ),
        format!("{prefix}_{others_secret}"),
        format!("lsk_{}_{secret}", "0".repeat(32)),
        secret.to_owned(),
    ] {
        let answer = api.stranger.with_token(&near).get("/api/v1/syncs").await;
        answer.problem(401, "unauthenticated");
    }
    api.stranger.with_token(key).get("/api/v1/syncs").await.ok(200);
}

/// R42: what is wrong with a key that is asked for is named, and none is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_not_possible_is_refused() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let good = json!({ "name": "Import", "role": "viewer" });
    for (field, value) in [
        ("name", json!("")),
        ("name", json!("x".repeat(201))),
        ("role", json!("platform")),
        ("role", json!("root")),
        ("expiresAt", json!("2001-01-01T00:00:00Z")),
        ("expiresAt", Value::Null),
        ("scopes", json!([])),
    ] {
        let mut request = good.clone();
        request[field] = value;
        let problem = api
            .client
            .post("/api/v1/api-keys", &request)
            .await
            .problem(422, "invalid");
        assert_eq!(problem["errors"][0]["field"], field, "R45: {problem}");
    }

    let listed = api.client.get("/api/v1/api-keys").await.ok(200);
    assert_eq!(listed, json!({ "items": [] }));
}

/// R47 (API keys): the list goes on where a page ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_listed_a_page_at_a_time() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let mut made = Vec::new();
    for number in 0..5 {
        let request = json!({ "name": format!("Key {number}"), "role": "viewer" });
        made.push(make(&api.client, &request).await.0);
    }
    made.sort_unstable_by(|one, other| other.cmp(one));

    let mut seen = Vec::new();
    let mut path = "/api/v1/api-keys?limit=2".to_owned();
    loop {
        let page = api.client.get(&path).await.ok(200);
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|key| key["keyId"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/api/v1/api-keys?limit=2&cursor={cursor}");
    }

    assert_eq!(seen, made, "R47");
}

/// R53: those who run the platform make an organisation by the API, and its first administrator's key opens it, and it
/// alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organisation_is_made_with_its_first_administrator() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let platform = api.client_as(stack.org, Role::Platform);
    let request = json!({ "name": "Acme", "admin": "Grace", "requestsPerMinute": 60 });

    let made = platform.post("/api/v1/organisations", &request).await.ok(201);

    let admin = api.stranger.with_token(made["adminKey"].as_str().unwrap());
    let shown = admin.get("/api/v1/organisation").await.ok(200);
    assert_eq!(shown, made["organisation"], "R53");
    assert_eq!(
        (&shown["name"], &shown["requestsPerMinute"]),
        (&json!("Acme"), &json!(60)),
        "R53"
    );
    let (_, more) = make(&admin, &json!({ "name": "More", "role": "admin" })).await;
    let more = api.stranger.with_token(&more);
    more.get("/api/v1/api-keys").await.ok(200);
    assert_eq!(
        admin.get("/api/v1/connections").await.ok(200),
        json!({ "items": [] }),
        "R43"
    );
    let trail = admin
        .get("/api/v1/activity?action=organisation.created")
        .await
        .ok(200);
    assert_eq!(trail["items"][0]["actor"], "ada", "R71: {trail}");
    api.client
        .post("/api/v1/organisations", &request)
        .await
        .problem(403, "forbidden");
    let stranger = api.client_as(OrgId::random(), Role::Platform);
    stranger
        .post("/api/v1/organisations", &request)
        .await
        .problem(401, "unauthenticated");
}

/// An organisation's name is its administrators' to change; its limit is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organisation_is_renamed_by_its_administrators() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let other = api.client_of(organisation(&stack, OrgId::random()).await);
    let change = async |body: Value| {
        let request = api
            .client
            .request(Method::PATCH, "/api/v1/organisation")
            .json(&body);
        api.client.send(request).await
    };

    change(json!({ "name": "New name" })).await.ok(200);

    let shown = api.client.get("/api/v1/organisation").await.ok(200);
    assert_eq!(shown["name"], "New name");
    assert_eq!(
        other.get("/api/v1/organisation").await.ok(200)["name"],
        "Other",
        "R43"
    );
    for body in [
        json!({ "name": " " }),
        json!({ "name": "x", "requestsPerMinuteLimit": 1_000 }),
        json!({}),
    ] {
        change(body).await.problem(422, "invalid");
    }
}

/// R53: the first organisation and its first administrator come from a command of the program.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_organisation_is_made_by_a_command() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let url = &stack.database.urls.api;

    let made = operator::create_organisation(url, "First", 10, Some("Grace"))
        .await
        .unwrap();

    let key = made.admin_key.unwrap();
    let key = key.expose_secret();
    let admin = api.stranger.with_token(key);
    let shown = admin.get("/api/v1/organisation").await.ok(200);
    assert_eq!(shown["organisationId"], made.org_id.to_string(), "R53");
    let keys = admin.get("/api/v1/api-keys").await.ok(200);
    assert_eq!(
        (&keys["items"][0]["name"], &keys["items"][0]["role"]),
        (&json!("Grace"), &json!("admin")),
        "R53: {keys}"
    );
    let trail = admin.get("/api/v1/activity").await.ok(200);
    assert_eq!(
        (&trail["items"][0]["action"], &trail["items"][0]["actor"]),
        (&json!("organisation.created"), &json!("command")),
        "R71: {trail}"
    );
    for (name, admin) in [(" ", "Grace"), ("Second", "")] {
        let refused = operator::create_organisation(url, name, 10, Some(admin)).await;
        assert!(refused.is_err(), "R53");
    }
}

/// R44: those who run the platform set an organisation's own quotas by a command, as the owner of the database alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_of_an_organisation_are_set_by_a_command() {
    let stack = Stack::new().await;
    let mut config = Api::config(&stack);
    config.access = Access::default();
    let api = Api::start_as(stack.org, config);
    let quotas = OwnQuotas {
        commands: Some(50),
        reads: Some(6_000),
        ..OwnQuotas::default()
    };

    let refused = operator::set_quotas(&stack.database.urls.api, stack.org, quotas).await;
    assert!(refused.is_err(), "R44: the API may not raise its own limits");
    operator::set_quotas(&stack.database.urls.owner, stack.org, quotas)
        .await
        .unwrap();

    let shown = api.client.get("/api/v1/organisation").await.ok(200);
    assert_eq!(
        (
            &shown["commandsPerMinute"],
            &shown["recordsPerMinute"],
            &shown["readsPerMinute"]
        ),
        (&json!(50), &json!(600), &json!(6_000)),
        "R44: {shown}"
    );
    let unknown = operator::set_quotas(&stack.database.urls.owner, OrgId::random(), quotas).await;
    assert!(unknown.is_err(), "R44");
}
