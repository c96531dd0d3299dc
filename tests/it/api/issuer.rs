//! Tokens of an issuer whose public keys are read over HTTP (R42: JWKS).

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::Utc;
use futures::future::join_all;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use lockstep_api::config::{Config, JwksOptions, Jwt};
use lockstep_shared::id::OrgId;
use lockstep_tests::api::{Answer, Api, JWT_SECRET};
use lockstep_tests::stack::Stack;
use serde_json::{Value, json};

const ISSUER: &str = "https://login.example.com";
const AUDIENCE: &str = "lockstep";

// Made for these tests, and used nowhere else: PKCS #1 for RSA, PKCS #8 for the others.
const RSA: &str = "MIIEowIBAAKCAQEAlzp81oKuXqzGbV1o7KDa10FIjIf+qH3gCr91TTAkWU2obAqkc9HOMXgouJMGnSUHGeQWuR5IofSc4kiX0V7a\
     SAhtMck4gy6WMQqh5WUUN8LI9RfOT4yP9VS87kHhnHxJTeGFI4xyd5LKSkMzt2R9yr2ykENtYaW6r4ZP6/MU2DExIERdIEWYRoYW\
     f2nZopdQ727DvXx7JV/nxrg8wjS4vnAMxTq2ynLIHnfkKFmkyQjiK4eP1QnPQLq/vTzfReOUASEqE4twOuqFonUoXP+ySrHYjgRi\
     94E1JF9YvNS/cc+Fa28LFR2L3aGs7NdzluJXg7uXnjjNqom2elYld6NYdQIDAQABAoIBABjFA2gGKQXIQkrs8w/Y6+c4YefkqXUT\
     AvR3tgCRy05WPikOGDABNAbdwbuzlzB7fV2EAqXI/EgMnvqgPb+VC+ci/DGcnfU8luyK64f9ZZGZhZ1BTDEy2mxqN/TFVSzynXYU\
     Y2B2c1Q69oex2KFn5AOmTP48kQieosR3mRUSMD6VlY319VCjcUu8A3ta8bYRYfQbbvc4y/Ezjef/y/XV1zRaIU3yx0GVDqtznUdb\
     QYOmCAyBSBT8kfKnLHQ5/En59EXz4qrAeSjLgXoTzu2ly+nFijOMFQTR7jszlzpfm7Y/Z1X8gNiTL1Sa6FYpZPdWeSHbzLMePRAB\
     iHvxJzeD3UkCgYEAzQu/wKWQQW3HOt3Rm7ESjdNw94ldFpHtfA0Wf7XW1T3uQQk9c0HwLqS5N0Yls7e0G2tAtsClq1WB2IIQ8u2X\
     gIaK0h+g/rlFxXbhIgG1ixDvYsEowsVDk1SWow8ml0eNEPP/9jar/PBxJ+CQR21OmatAif8oPYwKReoyIn1ZbB0CgYEAvM8TYEbF\
     cFY/uesA3AmXgcH1Y6JpWzcfO7jT+J6kikLCnQfF7fLnjswI3R5if2+a0Ny1a9ntjaE0T03bzvbHeesE5GtlOb9NCjUHCr1pG45R\
     JhPHG7GySCF1dHJUjHDx6MY17PlL9PH3LrIHPhROK0rO1T6Y7r7nN+kclbpUfjkCgYEAxAHPM6EQ3PrL0IHqtSH30oulGXu9+K1W\
     j5cTQtHYo8+nyZPDokIODwh35VaxA7NAAFXubsSJmdcLYKQ0/4QPp1T1rxd9FwKUp8aUP6XSnTV7ILP0+vsHNfdOaGE7SrGjL+mP\
     bRWmIwzVnoEUarMax9rkvwWiufL8fwj5E+8vZCECgYAetgAM1PYgg6bx8su8/sJqFMZ5Yl2IvLqT2EiCVCunYZyONkl3nt8TVxTK\
     Ars6x0iDWKMZ2+TL+MCtdZifXXys1BGDpgRdFETPuDhhAtYp6UhBzU3Br3G0UdztB/vArE5s8nCrDxHP0dvG+KY87siYOh7SiNAP\
     ZXXunjhMEnbT4QKBgCW9+Mbq+GifvnTr+TcN225sNgLb1rDq3JPc7Oi24nQx0ZICihkXWp0loZDcDc07epVGwAJxZDQJ0gggSdVN\
     KGq9wGzw/6LWPzY1UkBhcrg/PGmPWO85fjKLWH9aHIl+zKk/6XupZ37SALRhxApqAzUXcK1d3Lo3qyp4/UWd6t/t";
const EC: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQovITpUsYB2SdrB+2r/R+CyfjVcB7asjnK7mfiEd8DmhRANCAASL\
     3aEJg3QM870mpw37qmvXdPTnuY47Dwf2PELEq4J4u6WZrIBt3tnOwM+bWht6KXQSln5+6L+Jvv1TwZ06Ilvt";
const ED: &str = "MC4CAQAwBQYDK2VwBCIEIJ6rSFV/AJP5iPdRq1QPpbtskaKV8qWx7Vv3Gf9Xl4sT";

fn der(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

/// A key of the issuer's.
struct Signer {
    kid: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    fn all() -> [Self; 3] {
        let signer = |kid, algorithm, key| Self { kid, algorithm, key };
        [
            signer("rsa-1", Algorithm::RS256, EncodingKey::from_rsa_der(&der(RSA))),
            signer("ec-1", Algorithm::ES256, EncodingKey::from_ec_der(&der(EC))),
            signer("ed-1", Algorithm::EdDSA, EncodingKey::from_ed_der(&der(ED))),
        ]
    }

    fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.kid.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as(Some(self.kid), claims)
    }

    fn sign_as(&self, kid: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

/// Serves the issuer's keys, and counts how often it is asked.
struct Issuer {
    url: String,
    asked: Arc<AtomicUsize>,
    says: Arc<Mutex<(u16, String)>>,
}

impl Issuer {
    async fn start(keys: &[Value]) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let says = Arc::new(Mutex::new((200, json!({ "keys": keys }).to_string())));
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let (counted, answered) = (Arc::clone(&asked), Arc::clone(&says));
        let answer = move || async move {
            counted.fetch_add(1, Ordering::SeqCst);
            let (status, text) = answered.lock().unwrap().clone();
            (axum::http::StatusCode::from_u16(status).unwrap(), text)
        };
        let app = Router::new().route("/keys", get(answer));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, asked, says }
    }

    fn say(&self, status: u16, text: impl Into<String>) {
        *self.says.lock().unwrap() = (status, text.into());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The configuration of an API that trusts it, beside its own secret.
    fn trusted_by(&self, stack: &Stack, refresh_every: Duration) -> Config {
        let mut config = Api::config(stack);
        config.jwt = Jwt {
            secret: Some(JWT_SECRET.to_owned().into()),
            issuer: Some(ISSUER.to_owned()),
            audience: Some(AUDIENCE.to_owned()),
            jwks: Some(JwksOptions {
                url: self.url.parse().unwrap(),
                refresh_every,
            }),
        };
        config
    }
}

fn claims(org: OrgId) -> Value {
    json!({
        "sub": "grace",
        "org": org,
        "role": "viewer",
        "iss": ISSUER,
        "aud": [AUDIENCE, "others"],
        "exp": (Utc::now() + chrono::Duration::hours(1)).timestamp(),
    })
}

fn with(mut claims: Value, name: &str, value: impl Into<Value>) -> Value {
    claims[name] = value.into();
    claims
}

async fn ask(api: &Api, token: &str) -> Answer {
    api.stranger.with_token(token).get("/api/v1/syncs").await
}

/// R42 (JWKS): what the issuer signed with any of its keys holds, and its role counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_the_issuer_holds_whatever_the_kind_of_its_key() {
    let stack = Stack::new().await;
    let signers = Signer::all();
    let issuer = Issuer::start(&signers.each_ref().map(Signer::public)).await;
    let api = Api::start_as(stack.org, issuer.trusted_by(&stack, Duration::from_secs(30)));

    for signer in &signers {
        let token = signer.sign(&claims(stack.org));
        ask(&api, &token).await.ok(200);
        let client = api.stranger.with_token(&token);
        client
            .post("/api/v1/syncs", &json!({}))
            .await
            .problem(403, "forbidden");
        let admin = signer.sign(&with(claims(stack.org), "role", "admin"));
        let renamed = api.stranger.with_token(&admin);
        let request = renamed
            .request(reqwest::Method::PATCH, "/api/v1/organisation")
            .json(&json!({ "name": signer.kid }));
        renamed.send(request).await.ok(200);
    }

    assert_eq!(issuer.asked(), 1, "R42: the keys are kept");
}

/// R42 (JWKS): what is not the issuer's, not for us or not for now does not hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_does_not_hold_is_refused_whoever_signed_it() {
    let stack = Stack::new().await;
    let signers = Signer::all();
    let issuer = Issuer::start(&signers.each_ref().map(Signer::public)).await;
    let api = Api::start_as(stack.org, issuer.trusted_by(&stack, Duration::from_secs(30)));
    let good = claims(stack.org);
    let hour = |hours| (Utc::now() + chrono::Duration::hours(hours)).timestamp();
    let [rsa, ec, ed] = &signers;
    ask(&api, &rsa.sign(&good)).await.ok(200);

    for signer in &signers {
        for (what, claims) in [
            (
                "another issuer",
                with(good.clone(), "iss", "https://evil.example.com"),
            ),
            ("another audience", with(good.clone(), "aud", "others")),
            ("expired", with(good.clone(), "exp", hour(-1))),
            ("not yet", with(good.clone(), "nbf", hour(1))),
            ("no role", with(good.clone(), "role", Value::Null)),
            ("no such role", with(good.clone(), "role", "root")),
            ("the name of a worker", with(good.clone(), "sub", "worker")),
            ("the name of a key", with(good.clone(), "sub", "api-key:7")),
        ] {
            let answer = ask(&api, &signer.sign(&claims)).await;
            assert_eq!(answer.status, 401, "R42: {what}, {}: {}", signer.kid, answer.text);
            answer.problem(401, "unauthenticated");
        }
    }
    let stolen: Vec<String> = rsa.sign(&good).split('.').map(str::to_owned).collect();
    let forged = URL_SAFE_NO_PAD.encode(with(good.clone(), "role", "admin").to_string());
    for (what, token) in [
        ("no key id", rsa.sign_as(None, &good)),
        ("an unknown key id", rsa.sign_as(Some("rsa-2"), &good)),
        ("another key's id", ec.sign_as(Some("rsa-1"), &good)),
        ("another key's id", ed.sign_as(Some("ec-1"), &good)),
        ("changed claims", format!("{}.{forged}.{}", stolen[0], stolen[2])),
    ] {
        let answer = ask(&api, &token).await;
        assert_eq!(answer.status, 401, "R42: {what}: {}", answer.text);
    }
}

/// R42 (JWKS): a public key is no secret: who signs with it by HS256 has signed nothing, whatever form of it they take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_key_is_never_taken_for_a_secret() {
    let stack = Stack::new().await;
    let signers = Signer::all();
    let publics = signers.each_ref().map(Signer::public);
    let issuer = Issuer::start(&publics).await;
    let api = Api::start_as(stack.org, issuer.trusted_by(&stack, Duration::from_secs(30)));
    let claims = claims(stack.org);

    for (signer, public) in signers.iter().zip(&publics) {
        let mut secrets = vec![public.to_string().into_bytes(), signer.kid.as_bytes().to_vec()];
        for part in ["n", "x"] {
            if let Some(part) = public[part].as_str() {
                secrets.push(part.as_bytes().to_vec());
                secrets.push(URL_SAFE_NO_PAD.decode(part).unwrap());
            }
        }
        for secret in secrets {
            let mut header = Header::new(Algorithm::HS256);
            header.kid = Some(signer.kid.to_owned());
            let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&secret)).unwrap();
            ask(&api, &token).await.problem(401, "unauthenticated");
        }
        let none = URL_SAFE_NO_PAD.encode(json!({ "alg": "none", "kid": signer.kid }).to_string());
        let token = format!("{none}.{}.", URL_SAFE_NO_PAD.encode(claims.to_string()));
        ask(&api, &token).await.problem(401, "unauthenticated");
    }
    let ours = jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        &claims,
        &EncodingKey::from_secret(JWT_SECRET.as_bytes()),
    );
    ask(&api, &ours.unwrap()).await.ok(200);
}

/// R42 (JWKS): without a secret of our own, HS256 is not taken at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_secret_no_symmetric_signature_is_taken() {
    let stack = Stack::new().await;
    let [rsa, ..] = Signer::all();
    let issuer = Issuer::start(&[rsa.public()]).await;
    let mut config = issuer.trusted_by(&stack, Duration::from_secs(30));
    config.jwt.secret = None;
    let api = Api::start_as(stack.org, config);

    for secret in [JWT_SECRET, ""] {
        let key = EncodingKey::from_secret(secret.as_bytes());
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(stack.org), &key).unwrap();
        ask(&api, &token).await.problem(401, "unauthenticated");
    }
    ask(&api, &rsa.sign(&claims(stack.org))).await.ok(200);
}

/// R42 (JWKS): whoever makes key ids up does not have us ask the issuer for each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_unknown_keys_does_not_reach_the_issuer() {
    let stack = Stack::new().await;
    let [rsa, ec, _] = Signer::all();
    let issuer = Issuer::start(&[rsa.public()]).await;
    let api = Api::start_as(stack.org, issuer.trusted_by(&stack, Duration::from_hours(1)));
    let claims = claims(stack.org);
    ask(&api, &rsa.sign(&claims)).await.ok(200);

    let flood = (0..100).map(|number| {
        let token = ec.sign_as(Some(&format!("made-up-{number}")), &claims);
        let api = &api;
        async move { ask(api, &token).await }
    });
    for answer in join_all(flood).await {
        answer.problem(401, "unauthenticated");
    }

    assert_eq!(
        issuer.asked(),
        1,
        "R42: within the hour it was asked for the first key only"
    );
    ask(&api, &rsa.sign(&claims)).await.ok(200);
}

/// R42 (JWKS): a flood that comes first waits for one answer, and asks for no second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_wait_for_one_answer_of_the_issuer() {
    let stack = Stack::new().await;
    let [rsa, ..] = Signer::all();
    let issuer = Issuer::start(&[rsa.public()]).await;
    let api = Api::start_as(stack.org, issuer.trusted_by(&stack, Duration::from_hours(1)));
    let token = rsa.sign(&claims(stack.org));

    let many = (0..30).map(|_| ask(&api, &token));
    for answer in join_all(many).await {
        answer.ok(200);
    }

    assert_eq!(issuer.asked(), 1, "R42");
}

/// R42 (JWKS): a key that the issuer takes into use is known by its first token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_of_the_issuer_is_learnt() {
    let stack = Stack::new().await;
    let [rsa, ec, _] = Signer::all();
    let issuer = Issuer::start(&[rsa.public()]).await;
    let api = Api::start_as(stack.org, issuer.trusted_by(&stack, Duration::ZERO));
    let claims = claims(stack.org);
    ask(&api, &rsa.sign(&claims)).await.ok(200);
    ask(&api, &ec.sign(&claims)).await.problem(401, "unauthenticated");

    issuer.say(200, json!({ "keys": [ec.public()] }).to_string());

    ask(&api, &ec.sign(&claims)).await.ok(200);
    ask(&api, &rsa.sign(&claims))
        .await
        .problem(401, "unauthenticated");
}

/// R42 (JWKS): an issuer that is unwell keeps nobody out who was let in before, and is our trouble and not the token's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_does_not_answer_is_a_503_for_those_who_need_it() {
    let stack = Stack::new().await;
    let [rsa, ec, _] = Signer::all();
    let issuer = Issuer::start(&[rsa.public()]).await;
    let api = Api::start_as(stack.org, issuer.trusted_by(&stack, Duration::ZERO));
    let claims = claims(stack.org);
    let (known, unknown) = (rsa.sign(&claims), ec.sign(&claims));
    for (status, text) in [
        (500, String::new()),
        (200, "nonsense".to_owned()),
        (200, json!({ "keys": [] }).to_string()),
        (200, "x".repeat(300 * 1024)),
    ] {
        issuer.say(status, text);
        let fresh = Api::start_as(stack.org, issuer.trusted_by(&stack, Duration::from_hours(1)));
        // The first asks, the second must not ask again so soon.
        for _ in 0..2 {
            let answer = ask(&fresh, &known).await;
            assert_eq!(answer.header("retry-after"), "5", "R42: {}", answer.text);
            answer.problem(503, "unavailable");
        }
    }
    issuer.say(200, json!({ "keys": [rsa.public()] }).to_string());
    ask(&api, &known).await.ok(200);

    issuer.say(500, "");

    ask(&api, &unknown).await.problem(401, "unauthenticated");
    ask(&api, &known).await.ok(200);
}
