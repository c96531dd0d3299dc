//! Who may ask, and that nobody sees what is another organisation's.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{Duration, Utc};
use lockstep_api::config::Jwt;
use lockstep_api::token::{self, Caller};
use lockstep_shared::id::OrgId;
use lockstep_shared::role::Role;
use lockstep_tests::api::{Answer, Api, Client};
use lockstep_tests::stack::Stack;
use reqwest::Method;
use serde_json::{Value, json};

use super::{customer, id, organisation, product, rows, start};

/// Every operation that the API's document promises, with identifiers made up.
fn operations() -> Vec<(Method, String)> {
    let document: Value = serde_json::from_str(include_str!("../../../api/openapi.json")).unwrap();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let segments = path.split('/').map(|segment| {
            if segment.starts_with('{') {
                id()
            } else {
                segment.to_owned()
            }
        });
        let path = segments.collect::<Vec<_>>().join("/");
        for method in methods.as_object().unwrap().keys() {
            operations.push((method.to_uppercase().parse().unwrap(), path.clone()));
        }
    }
    operations
}

async fn ask(client: &Client, (method, path): (Method, String)) -> Answer {
    let request = client.request(method.clone(), &path);
    let request = if method == Method::GET {
        request
    } else {
        request.json(&json!({}))
    };
    client.send(request).await
}

fn signed_by(secret: &str, org: OrgId, valid_for: Duration) -> String {
    let jwt = Jwt::of_secret(secret.to_owned().into());
    token::issue(
        &jwt,
        &Caller {
            org,
            subject: "ada".to_owned(),
            role: Role::Admin,
        },
        Utc::now(),
        valid_for,
    )
    .unwrap()
}

/// R42 (JWT): no operation answers who has no token, or one that does not hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_operation_answers_without_a_token_that_holds() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let hour = Duration::hours(1);
    let good = Api::token(stack.org);
    let [_, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("{good}")
    };
    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let other_claims =
        json!({ "sub": "ada", "org": OrgId::random(), "role": "admin", "exp": 4_102_444_800_u64 })
            .to_string();
    let clients = [
        ("no token", api.stranger.clone()),
        ("no JWT", api.stranger.with_token("hello")),
        (
            "a wrong secret",
            api.stranger.with_token(&signed_by(
                "another-secret-of-at-least-32-bytes!!",
                stack.org,
                hour,
            )),
        ),
        (
            "expired",
            api.stranger
                .with_token(&signed_by(lockstep_tests::api::JWT_SECRET, stack.org, -hour)),
        ),
        (
            "unsigned",
            api.stranger.with_token(&format!("{unsigned}.{claims}.")),
        ),
        (
            "unsigned, with a signature",
            api.stranger
                .with_token(&format!("{unsigned}.{claims}.{signature}")),
        ),
        (
            "an API key that nobody made",
            api.stranger
                .with_token(&format!("lsk_{}_{}", "0".repeat(32), "0".repeat(64))),
        ),
        (
            "changed claims",
            api.stranger
                .with_token(&good.replace(claims, &URL_SAFE_NO_PAD.encode(other_claims))),
        ),
    ];
    let before = rows(&stack.database).await;

    for operation in operations() {
        for (what, client) in &clients {
            let answer = ask(client, operation.clone()).await;
            assert_eq!(
                answer.status, 401,
                "R42: {operation:?} with {what}: {}",
                answer.text
            );
            assert_eq!(answer.header("www-authenticate"), "Bearer", "R42");
            answer.problem(401, "unauthenticated");
        }
    }

    assert_eq!(rows(&stack.database).await, before, "R42");
}

/// R42 (JWT): a token signed with our secret but by another algorithm does not hold.
///
/// The tokens were signed apart, with Python's `hmac`; they say the same but for `alg`, and hold until 2100.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_algorithm_does_not_hold() {
    const CLAIMS: &str = "eyJzdWIiOiJhZGEiLCJvcmciOiIwMDAwMDAwMC0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwNDIiLCJyb2xlIjoidmlld2VyIiwiZXhwIjo0MTAyNDQ0ODAwfQ";
    let stack = Stack::new().await;
    organisation(
        &stack,
        OrgId("00000000-0000-4000-8000-000000000042".parse().unwrap()),
    )
    .await;
    let api = Api::start(&stack);
    let ask = async |header: &str, signature: &str| {
        let token = format!("{header}.{CLAIMS}.{signature}");
        api.stranger.with_token(&token).get("/api/v1/syncs").await
    };

    let hs256 = ask(
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
        "CCnVqDCrKxvUIrb_ARAspRmeTbL9e5B-kZLeeO-4G-o",
    )
    .await;
    let hs384 = ask(
        "eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9",
        "JoiUTQLycNN-GgWI3uKL31Afxkqiba2jV9Syf3ADoWmo38HPuqgG-k66m0v_I2UM",
    )
    .await;
    let hs512 = ask(
        "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9",
        "fBL4W5wRznGA0wk4bJiuJnl9o6XZupR-OTB8XGqRX81GMdZw7aaxXZtGvnGuo2j0R053DQL6ywOtVdxAHxteew",
    )
    .await;

    hs256.ok(200);
    hs384.problem(401, "unauthenticated");
    hs512.problem(401, "unauthenticated");
}

/// R42 (JWT): a token that holds for an organisation that is not known is no better than none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_an_unknown_organisation_opens_nothing() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let client = api.client_of(OrgId::random());
    let before = rows(&stack.database).await;

    for list in [
        "connections",
        "syncs",
        "records/products",
        "records/customers",
        "records/orders",
        "records/inventory",
        "records/payments",
    ] {
        client
            .get(&format!("/api/v1/{list}"))
            .await
            .problem(401, "unauthenticated");
    }
    client
        .get(&format!("/api/v1/syncs/{}", id()))
        .await
        .problem(401, "unauthenticated");
    client
        .post("/api/v1/syncs", &json!({}))
        .await
        .problem(401, "unauthenticated");
    client
        .post("/api/v1/connections", &super::store(&stack))
        .await
        .problem(401, "unauthenticated");
    client
        .put(&format!("/api/v1/records/products/{}", id()), &product("SKU-1"))
        .await
        .problem(401, "unauthenticated");
    let many = json!({ "records": [{ "recordId": id(), "content": customer("ada@example.com") }] });
    client
        .post("/api/v1/records/customers", &many)
        .await
        .problem(401, "unauthenticated");

    assert_eq!(rows(&stack.database).await, before, "R42");
}

/// R43: what another organisation has looks as if it were not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_organisation_has_is_not_there() {
    let mut stack = Stack::new().await;
    let api = Api::start(&stack);
    let record = format!("/api/v1/records/products/{}", id());
    api.client.put(&record, &product("SKU-1")).await.ok(201);
    stack.work();
    let sync = start(&api.client).await;
    super::watch(&api.client, &sync).await;
    let stranger = api.client_of(organisation(&stack, OrgId::random()).await);

    for path in [
        record,
        format!("/api/v1/syncs/{sync}"),
        format!("/api/v1/connections/{}", stack.store),
    ] {
        api.client.get(&path).await.ok(200);
        let theirs = stranger.get(&path).await.problem(404, "not-found");
        let (folder, _) = path.rsplit_once('/').unwrap();
        let nobodys = stranger
            .get(&format!("{folder}/{}", id()))
            .await
            .problem(404, "not-found");
        assert_eq!(theirs, nobodys, "R43: nothing tells that it is there for others");
    }
    for list in [
        "connections",
        "syncs",
        "records/products",
        "records/customers",
        "records/orders",
        "records/inventory",
        "records/payments",
    ] {
        let list = stranger.get(&format!("/api/v1/{list}")).await.ok(200);
        assert_eq!(list, json!({ "items": [] }), "R43");
    }
    let request = json!({ "connectionIds": [stack.store] });
    let problem = stranger
        .post("/api/v1/syncs", &request)
        .await
        .problem(422, "invalid");
    assert_eq!(problem["errors"][0]["field"], "connectionIds/0", "R43: {problem}");
    stranger
        .post("/api/v1/syncs", &json!({}))
        .await
        .problem(422, "no-connection");
}

/// R43: an identifier is of one organisation: two may use the same, and neither notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_record_identifier_is_another_record_in_another_organisation() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let other = api.client_of(organisation(&stack, OrgId::random()).await);
    let (one, two) = (id(), id());
    let path = |id: &str| format!("/api/v1/records/products/{id}");
    for record in [&one, &two] {
        api.client.put(&path(record), &product("OURS")).await.ok(201);
    }
    let before = (
        api.client.get(&path(&one)).await.ok(200),
        api.client.get(&path(&two)).await.ok(200),
    );

    other.put(&path(&one), &product("THEIRS")).await.ok(201);
    let many = json!({ "records": [{ "recordId": two, "content": product("THEIRS") }] });
    let results = other.post("/api/v1/records/products", &many).await.ok(200);

    assert_eq!(results["results"][0]["outcome"], "created", "R43: {results}");
    let after = (
        api.client.get(&path(&one)).await.ok(200),
        api.client.get(&path(&two)).await.ok(200),
    );
    assert_eq!(after, before, "R43");
    for record in [&one, &two] {
        let theirs = other.get(&path(record)).await.ok(200);
        assert_eq!(theirs["content"]["variants"][0]["sku"], "THEIRS", "R43");
        assert_eq!(theirs["connections"], json!([]), "R43: they have no connection");
    }
    assert_eq!(
        other.get("/api/v1/records/products").await.ok(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        2,
        "R43"
    );
}

/// R43: a name is taken in one organisation only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_of_a_connection_is_taken_in_one_organisation_only() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let other = api.client_of(organisation(&stack, OrgId::random()).await);

    api.client
        .post("/api/v1/connections", &super::store(&stack))
        .await
        .ok(201);

    api.client
        .post("/api/v1/connections", &super::store(&stack))
        .await
        .problem(409, "name-taken");
    other
        .post("/api/v1/connections", &super::store(&stack))
        .await
        .ok(201);
}
