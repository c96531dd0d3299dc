//! Secrets come out nowhere (R70), also where a remote system says them again in its errors, as one behind a talkative proxy
//! or a broken extension may.
//!
//! What is looked through: everything that is logged, at every level and by every crate; every column of every table,
//! the queue's among them; the answer of every operation that reads, with its headers; problems; and the document.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use lockstep_sandbox::fault::Fault;
use lockstep_sandbox::odoo::ErpOptions;
use lockstep_sandbox::woocommerce::StoreOptions;
use lockstep_tests::api::{Answer, Api, JWT_SECRET};
use lockstep_tests::stack::{Stack, within};
use reqwest::Method;
use serde_json::{Value, json};

use super::credentials::Logbook;
use super::stranger::belongings;
use super::{erp, id, product, rows, start, store};

/// Longest wait for anything: the systems fail, and are asked again.
const PATIENCE: Duration = Duration::from_mins(3);

/// Every form in which a secret would be one still: as it is, in hexadecimal, in base64 wherever it begins in what was
/// encoded, and as it stands in an address.
fn forms(secret: &str) -> Vec<String> {
    let hex = secret
        .bytes()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let mut forms = vec![secret.to_owned(), hex.to_uppercase(), hex];
    for before in 0..3_usize {
        let bytes = [vec![0; before], secret.as_bytes().to_vec()].concat();
        // The characters at either end hold bits of what stands beside it.
        let first = (before * 8).div_ceil(6);
        let last = bytes.len() * 8 / 6;
        forms.extend([
            STANDARD_NO_PAD.encode(&bytes)[first..last].to_owned(),
            URL_SAFE_NO_PAD.encode(&bytes)[first..last].to_owned(),
        ]);
    }
    forms.push(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect());
    forms.sort();
    forms.dedup();
    forms
}

/// An error in each of the forms that our connectors read, with the credentials in its words.
fn talkative(code: u16, words: &str) -> Fault {
    let fault = json!({ "name": "odoo.exceptions.ValidationError", "message": words, "debug": words });
    let body = json!({
        "code": "woocommerce_rest_cannot_do",
        "message": words,
        "name": fault["name"],
        "error": { "code": 200, "message": words, "data": fault },
        "create": [{ "id": 0, "error": { "code": "odd", "message": words } }],
        "debug": words,
    });
    Fault::Status {
        code,
        retry_after: None,
        body: Some(body.to_string()),
    }
}

/// R70: no secret stands in a log, an error, an answer, the queue or anywhere else in the database, in any form, although all
/// of them were used, and although both systems said them again in their errors.
///
/// The test's runtime has one thread, so that what the API and the worker log can be kept.
#[tokio::test]
async fn secrets_come_out_nowhere_even_if_a_system_says_them_again() {
    let logbook = Logbook::default();
    let _kept = tracing::subscriber::set_default(logbook.clone());
    let _other = tracing::Dispatch::new(Logbook::default());
    // What crates log in the older way; another test may have asked for it already.
    let _ = tracing_log::LogTracer::init();
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let api = Api::start_reachable(&stack);
    let (shop, office) = (StoreOptions::default(), ErpOptions::default());
    let pair = format!("{}:{}", shop.consumer_key, shop.consumer_secret);
    let shop_words = format!(
        "Refused {} with {}, that is Basic {}",
        shop.consumer_key,
        shop.consumer_secret,
        STANDARD.encode(&pair)
    );
    let office_words = format!("Refused {}, that is Bearer {0}", office.api_key);
    let mut answers: Vec<Answer> = Vec::new();
    // Those who make them are told two secrets, once.
    let key = json!({ "name": "Import", "role": "viewer" });
    let key = api.client.post("/api/v1/api-keys", &key).await.ok(201);
    let endpoint = json!({ "url": "http://127.0.0.1:1/", "events": ["sync.failed", "conflict.opened"] });
    let endpoint = api
        .client
        .post("/api/v1/notification-endpoints", &endpoint)
        .await
        .ok(201);
    let reader = api.stranger.with_token(key["key"].as_str().unwrap());
    reader.get("/api/v1/syncs").await.ok(200);

    // Everything is used once and does well, then each system refuses everything it is asked for.
    let theirs = belongings(&mut stack, &api).await;
    let hooks = format!("/api/v1/connections/{}/webhooks", stack.store);
    api.client.put(&hooks, &json!({ "enabled": true })).await.ok(202);
    within(PATIENCE, "the store to have its webhooks", || async {
        let shown = api.client.get(&hooks).await.ok(200);
        (!shown["webhooks"].as_array()?.is_empty()).then_some(())
    })
    .await;
    let strike = |code: u16, (store, erp): (&str, &str)| {
        let (shop, office) = (stack.sandbox.store.faults(), stack.sandbox.erp.faults());
        for (faults, part, words) in [(shop, store, &shop_words), (office, erp, &office_words)] {
            faults.clear();
            faults.on_path(part, talkative(code, words), None);
        }
    };
    // Everything that a sync asks for is refused; then only what it writes, as a whole and one by one.
    for (code, parts) in [
        (400, ("", "")),
        (400, ("/batch", "/load")),
        (200, ("/batch", "/load")),
    ] {
        strike(code, parts);
        let path = format!("/api/v1/records/products/{}", id());
        api.client
            .put(&path, &product(&format!("SKU-{}", answers.len())))
            .await
            .ok(201);
        let sync = start(&api.client).await;
        let path = format!("/api/v1/syncs/{sync}");
        let ended = within(PATIENCE, "the sync to end", || async {
            let shown = api.client.get(&path).await;
            shown.body["completedAt"].is_string().then_some(shown)
        })
        .await;
        assert_ne!(ended.body["status"], "done", "{parts:?}");
        answers.push(ended);
    }
    for code in [500, 401] {
        strike(code, ("", ""));
        for connection in [stack.store, stack.erp] {
            let path = format!("/api/v1/connections/{connection}");
            answers.push(api.client.post(&format!("{path}/check"), &json!({})).await);
            let checked = within(PATIENCE, "the check to end", || async {
                let shown = api.client.get(&path).await;
                let is_over =
                    shown.body["check"]["status"] == "done" && shown.body["check"]["error"].is_string();
                (is_over && (code == 500 || shown.body["status"] == "needs_attention")).then_some(shown)
            })
            .await;
            answers.push(checked);
        }
    }

    // Every operation that reads, by its owner; and what is refused.
    let document: Value = serde_json::from_str(include_str!("../../../api/openapi.json")).unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        if methods.get("get").is_none() {
            continue;
        }
        let address = theirs.iter().fold(path.clone(), |address, (name, id)| {
            address.replace(&format!("{{{name}}}"), id)
        });
        let read = api.client.get(&address).await;
        assert_ne!(read.status, 500, "{address}: {}", read.text);
        answers.push(read);
        answers.push(api.client.get(&format!("{address}?x={}", pair.len())).await);
        answers.push(api.client.send(api.client.request(Method::PATCH, &address)).await);
    }
    for connection in [store(&stack), erp(&stack)] {
        let mut wrong = connection.clone();
        wrong["baseUrl"] = json!(format!("http://{pair}@127.0.0.1"));
        wrong["extra"] = connection["credentials"].clone();
        answers.push(api.client.post("/api/v1/connections", &wrong).await);
    }
    answers.push(api.stranger.with_token("lsk_nobody").get("/api/v1/syncs").await);
    answers.push(api.stranger.get("/openapi.json").await);
    answers.push(api.stranger.get("/docs").await);

    let rows = rows(&stack.database).await;
    let logged = logbook.text();
    assert!(answers.len() > 60, "{} answers", answers.len());
    for (what, is_there) in [
        ("jobs", !rows["apalis.jobs"].is_empty()),
        ("conflicts", !rows["public.sync_conflict"].is_empty()),
        ("effects", !rows["public.sync_idempotency_log"].is_empty()),
        (
            "the systems' words",
            rows.values().flatten().any(|row| row.contains("Refused [")),
        ),
        ("a sync's log", logged.contains("sync requested")),
        (
            "another crate's log",
            logged.contains("sqlx") || logged.contains("statement"),
        ),
    ] {
        assert!(is_there, "there is nothing to look through: {what}");
    }
    let database = url::Url::parse(&stack.database.urls.worker).unwrap();
    let secrets = [
        Some(&*shop.consumer_key),
        Some(&*shop.consumer_secret),
        Some(&*office.api_key),
        Some(&*pair),
        Some(JWT_SECRET),
        Some(&STANDARD.encode([7; 32])),
        key["key"].as_str(),
        endpoint["secret"].as_str(),
        database.password(),
    ];
    for secret in secrets.into_iter().flatten() {
        assert!(secret.len() >= 8, "too short to be looked for: {secret}");
        for form in forms(secret) {
            for answer in &answers {
                let headers = format!("{:?}", answer.headers);
                assert!(!answer.text.contains(&form), "R70: {form} in {}", answer.text);
                assert!(!headers.contains(&form), "R70: {form} in {headers}");
            }
            for (table, lines) in &rows {
                let line = lines.iter().find(|line| line.contains(&form));
                assert_eq!(line, None, "R70: {form} in {table}");
            }
            let line = logged.lines().find(|line| line.contains(&form));
            assert_eq!(line, None, "R70: {form} was logged");
        }
    }
}
