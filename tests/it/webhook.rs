//! Webhooks at work: made in the store and watched, and what they tell of is read within seconds.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use lockstep_sandbox::fault::{Fault, Rule};
use lockstep_shared::check::Claim;
use lockstep_shared::id::{ConnectionId, SyncId, Token};
use lockstep_shared::secret::Owner;
use lockstep_shared::sync::{self, Config, NewSync, Status};
use lockstep_shared::system::{EntityType, System};
use lockstep_shared::trigger::{self, Pending};
use lockstep_shared::webhook::{self, Looked};
use lockstep_tests::api::{Answer, Api};
use lockstep_tests::make::product;
use lockstep_tests::stack::{Stack, sealing_key, within};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::Sha256;

use super::api::rows;

/// Longest a test waits: a store's queue, several sweeps and a sync, on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(2);

/// What a store is asked to tell of.
const TOPICS: usize = 8;

fn address(connection: ConnectionId) -> String {
    format!("/api/v1/connections/{connection}/webhooks")
}

/// Has the store tell of changes, and waits until its webhooks are there.
async fn turned_on(stack: &Stack, api: &Api) {
    turn(api, stack.store, true).await;
    shown(api, stack.store, |shown| {
        shown["webhooks"].as_array().unwrap().len() == TOPICS
    })
    .await;
}

async fn turn(api: &Api, connection: ConnectionId, enabled: bool) -> Value {
    let body = json!({ "enabled": enabled });
    api.client.put(&address(connection), &body).await.ok(202)
}

/// Waits until nothing is left to do and the webhooks are so.
async fn shown(api: &Api, connection: ConnectionId, are_so: impl Fn(&Value) -> bool) -> Value {
    within(PATIENCE, "the webhooks to be as wanted", || async {
        let shown = api.client.get(&address(connection)).await.ok(200);
        (shown["isPending"] == false && are_so(&shown)).then_some(shown)
    })
    .await
}

/// Wants webhooks without a worker who makes them: deliveries are accepted from then on.
async fn wanted(stack: &Stack, api: &Api) -> Sender {
    turn(api, stack.store, true).await;
    sender(stack, api).await
}

/// Somebody who can sign deliveries as the store does.
struct Sender {
    http: reqwest::Client,
    url: String,
    secret: SecretString,
}

async fn sender(stack: &Stack, api: &Api) -> Sender {
    let mut tx = stack.begin_as_api().await;
    let wanted = webhook::find(&mut tx, stack.org, stack.store)
        .await
        .unwrap()
        .unwrap();
    let secret = sealing_key()
        .open(stack.org, Owner::Webhook(stack.store), &wanted.sealed)
        .unwrap();
    assert!(
        wanted.delivery_url.starts_with(&api.url),
        "{}",
        wanted.delivery_url
    );
    Sender {
        http: reqwest::Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .build()
            .unwrap(),
        url: wanted.delivery_url,
        secret,
    }
}

fn sign(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

impl Sender {
    async fn deliver(&self, topic: &str, id: &str) -> u16 {
        let body = json!({ "id": 7, "topic": topic }).to_string();
        let signature = sign(self.secret.expose_secret(), &body);
        self.send(
            &body,
            &[("topic", topic), ("delivery-id", id), ("signature", &signature)],
        )
        .await
    }

    async fn send(&self, body: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = self.http.request(Method::POST, &self.url);
        for (name, value) in headers {
            request = request.header(format!("x-wc-webhook-{name}"), *value);
        }
        let request = request
            .header("content-type", "application/json")
            .body(body.to_owned());
        request.send().await.unwrap().status().as_u16()
    }
}

/// What webhooks told of and nobody has read.
async fn news(stack: &Stack) -> Vec<EntityType> {
    let mut tx = stack.begin_as_api().await;
    let waiting = trigger::waiting(&mut tx, stack.org).await.unwrap();
    waiting.into_iter().map(|(_, entity, _)| entity).collect()
}

async fn syncs(stack: &Stack) -> Vec<sync::View> {
    let mut tx = stack.begin_as_api().await;
    let all = sync::list(&mut tx, stack.org, None, None, 100).await.unwrap();
    all.into_iter()
        .filter(|sync| sync.requested_by == "webhook")
        .collect()
}

/// Waits until everything that was told of has been read, and the syncs for it are over.
async fn read(stack: &Stack) -> Vec<sync::View> {
    within(PATIENCE, "what was told of to be read", || async {
        // The news first: it is gone when its sync is there.
        if !news(stack).await.is_empty() {
            return None;
        }
        let syncs = syncs(stack).await;
        syncs.iter().all(|sync| sync.status.is_final()).then_some(syncs)
    })
    .await
}

async fn pending(stack: &Stack) -> Vec<Pending> {
    let mut tx = stack.begin_as_worker().await;
    trigger::pending(&mut tx, stack.org, stack.store, &[stack.erp])
        .await
        .unwrap()
}

async fn touch(stack: &Stack, entities: &[EntityType]) {
    let mut tx = stack.begin_as_api().await;
    trigger::touch(&mut tx, stack.org, stack.store, entities)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

fn states(stack: &Stack) -> Vec<String> {
    let webhooks = stack.sandbox.store.webhooks();
    let own = webhooks
        .iter()
        .map(|webhook| webhook["status"].as_str().unwrap().to_owned());
    own.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_are_made_once_and_taken_away_again_and_others_stay() {
    let mut stack = Stack::new().await;
    let api = Api::start_reachable(&stack);
    let theirs = json!({ "topic": "order.created", "delivery_url": "http://127.0.0.1:9/theirs" });
    stack.sandbox.store.insert_webhook(theirs);
    stack.work();

    turned_on(&stack, &api).await;
    let first = stack.sandbox.store.webhooks();
    turned_on(&stack, &api).await;

    assert_eq!(
        stack.sandbox.store.webhooks(),
        first,
        "nothing was changed the second time"
    );
    let own = format!("{}{}", api.url, webhook::path(stack.store));
    assert_eq!(
        first
            .iter()
            .filter(|one| one["delivery_url"] == own.as_str())
            .count(),
        TOPICS
    );
    let ledger = stack.sandbox.store.ledger();
    assert_eq!(ledger.created("webhook"), TOPICS);
    let pings = stack.sandbox.store.deliveries();
    assert!(pings.is_empty(), "pings are no deliveries: {pings:?}");

    turn(&api, stack.store, false).await;
    let off = shown(&api, stack.store, |shown| shown["webhooks"] == json!([])).await;

    assert_eq!(off["enabled"], false);
    let [left] = stack.sandbox.store.webhooks().try_into().unwrap();
    assert_eq!(left["delivery_url"], "http://127.0.0.1:9/theirs");
    let never = stack.connect(
        lockstep_shared::connection::Credentials::Woocommerce {
            consumer_key: "ck".to_owned().into(),
            consumer_secret: "cs".to_owned().into(),
        },
        stack.sandbox.store.base_url(),
    );
    let nothing = turn(&api, never.await, false).await;
    assert_eq!(
        nothing,
        json!({ "enabled": false, "isPending": false, "webhooks": [], "disabledCount": 0 })
    );
}

/// R10, R13: a reply that is lost after its effect makes no second webhook.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_makes_no_second_webhook() {
    let mut stack = Stack::new().await;
    let api = Api::start_reachable(&stack);
    stack.sandbox.store.faults().add(Rule {
        matches: Box::new(|request| request.method == "POST" && request.path.ends_with("/webhooks")),
        fault: Fault::LostReply,
        times: Some(3),
    });
    stack.work();

    turned_on(&stack, &api).await;

    let ledger = stack.sandbox.store.ledger();
    assert_eq!(ledger.created("webhook"), TOPICS, "R13");
    assert_eq!(ledger.duplicates(), [], "R13");
}

/// R14, R15: a look whose worker died is made by another, but not before the store is through with what it may have been sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_whose_worker_died_is_made_by_another_once_the_store_is_through() {
    let mut stack = Stack::new().await;
    let api = Api::start_reachable(&stack);
    turn(&api, stack.store, true).await;
    let dead = (Token::random(), Duration::from_secs(1));
    let next = (Token::random(), Duration::from_secs(1));
    let at = (stack.org, stack.store);
    let mut tx = stack.begin_as_worker().await;
    let claimed = webhook::claim(&mut tx, at.0, at.1, dead).await.unwrap();
    assert_eq!(claimed, Claim::Claimed { attempts: 0 });
    let is_kept = webhook::keep(&mut tx, at.0, at.1, (dead.0, Duration::from_mins(2))).await;
    assert!(is_kept.unwrap(), "it is about to send");
    tx.commit().await.unwrap();

    stack.shift_clock("1 minute").await;
    let mut tx = stack.begin_as_worker().await;
    let early = webhook::claim(&mut tx, at.0, at.1, next).await.unwrap();
    assert_eq!(early, Claim::Nothing, "R13: the store may still be at it");
    tx.commit().await.unwrap();
    stack.shift_clock("2 minutes").await;
    stack.work();
    shown(&api, stack.store, |shown| {
        shown["webhooks"].as_array().unwrap().len() == TOPICS
    })
    .await;

    let mut tx = stack.begin_as_worker().await;
    let looked = Looked {
        hooks: Vec::new(),
        found_disabled: false,
    };
    let late = webhook::settle(&mut tx, at.0, at.1, dead.0, &looked)
        .await
        .unwrap();
    assert_eq!(late, None, "R15: the dead one has lost it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_in_the_store_is_carried_to_the_erp_by_a_small_sync() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let api = Api::start_reachable(&stack);
    stack.work();
    turned_on(&stack, &api).await;
    assert!(syncs(&stack).await.is_empty(), "nothing was told of yet");

    let lamp = json!({ "name": "Lamp", "sku": "LAMP", "regular_price": "5.00" });
    stack.sandbox.store.insert_product(lamp);
    within(PATIENCE, "the product to arrive in the ERP", || async {
        (stack.sandbox.erp.ledger().created("product") == 1).then_some(())
    })
    .await;
    let syncs = read(&stack).await;

    assert!(
        syncs.iter().all(|sync| sync.status == Status::Done),
        "{:#?}",
        stack.troubles().await
    );
    assert!(
        syncs
            .iter()
            .all(|sync| sync.entity_types == [EntityType::Products]),
        "{syncs:#?}"
    );
    let listed = api.client.get("/api/v1/syncs").await.ok(200);
    assert_eq!(
        listed["items"][0]["requestedBy"], "webhook",
        "R71: who asked is shown"
    );
    assert_eq!(stack.sandbox.erp.ledger().duplicates(), []);
    let told = stack.sandbox.store.deliveries();
    assert!(
        told.iter().all(|delivery| delivery.status == Some(200)),
        "{told:#?}"
    );
}

/// R17: what we write ourselves comes back as news, and the sync for it writes nothing: there it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_of_our_own_writes_ends_with_a_sync_that_writes_nothing() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let api = Api::start_reachable(&stack);
    stack.work();
    turned_on(&stack, &api).await;
    stack.put(product("LAMP", 500)).await;
    let sync = stack.start_types(
        vec![EntityType::Products],
        Config::new(None, Some(0), None).unwrap(),
    );
    let carried = stack.finish_within(sync.await, PATIENCE).await;
    assert_eq!(carried.status(), Status::Done, "{:#?}", stack.troubles().await);
    stack.forget_effects();

    within(PATIENCE, "the store to tell of it", || async {
        (!syncs(&stack).await.is_empty()).then_some(())
    })
    .await;
    let read = read(&stack).await;

    assert!(
        read.iter().all(|sync| sync.status == Status::Done),
        "{:#?}",
        stack.troubles().await
    );
    stack.assert_nothing_felt();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_deliveries_lead_to_few_syncs() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let api = Api::start_reachable(&stack);
    let sender = wanted(&stack, &api).await;

    for number in 0..300 {
        let topic = if number % 2 == 0 {
            "order.updated"
        } else {
            "customer.updated"
        };
        assert_eq!(sender.deliver(topic, &format!("delivery-{number}")).await, 200);
    }
    assert_eq!(
        news(&stack).await,
        [EntityType::Customers, EntityType::Orders, EntityType::Payments]
    );
    stack.shift_clock("10 seconds").await;
    stack.work();
    let syncs = read(&stack).await;

    assert_eq!(syncs.len(), 1, "all of it was told of before anybody looked");
    assert_eq!(
        syncs[0].entity_types,
        [EntityType::Customers, EntityType::Orders, EntityType::Payments]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_comes_again_has_no_effect() {
    let stack = Stack::new().await;
    let api = Api::start_reachable(&stack);
    let sender = wanted(&stack, &api).await;
    assert_eq!(sender.deliver("product.updated", "261e6a").await, 200);
    assert_eq!(news(&stack).await, [EntityType::Products]);
    let mut tx = stack.begin_as_worker().await;
    let told = (stack.store, EntityType::Products);
    trigger::settle(&mut tx, stack.org, told, None).await.unwrap();
    tx.commit().await.unwrap();
    let before = rows(&stack.database).await;

    assert_eq!(sender.deliver("product.updated", "261e6a").await, 200);
    assert_eq!(rows(&stack.database).await, before);

    assert_eq!(sender.deliver("product.updated", "261e6b").await, 200);
    assert_eq!(news(&stack).await, [EntityType::Products], "another one has");
}

/// R43, R45: what is not signed with the connection's own secret changes nothing, and learns nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_signed_by_the_store_changes_nothing() {
    let stack = Stack::new().await;
    let api = Api::start_reachable(&stack);
    let sender = wanted(&stack, &api).await;
    let body = r#"{"id":7}"#;
    let (right, wrong) = (sign(sender.secret.expose_secret(), body), sign("guessed", body));
    let elsewhere = Sender {
        http: sender.http.clone(),
        url: format!("{}{}", api.url, webhook::path(ConnectionId::random())),
        secret: sender.secret.clone(),
    };
    let unwanted = Sender {
        http: sender.http.clone(),
        url: format!("{}{}", api.url, webhook::path(stack.erp)),
        secret: sender.secret.clone(),
    };
    let named = [("topic", "order.updated"), ("delivery-id", "1")];
    let before = rows(&stack.database).await;

    assert_eq!(sender.send(body, &named).await, 401, "no signature");
    for signature in ["", "AAAA", "no base64", &wrong, &right[..right.len() - 4]] {
        let headers = [named[0], named[1], ("signature", signature)];
        assert_eq!(sender.send(body, &headers).await, 401, "{signature}");
    }
    let signed = [named[0], named[1], ("signature", right.as_str())];
    assert_eq!(sender.send(r#"{"id":8}"#, &signed).await, 401, "another body");
    for other in [&elsewhere, &unwanted] {
        assert_eq!(other.send(body, &signed).await, 401, "another connection");
    }
    assert_eq!(sender.send(body, &signed[..1]).await, 401);
    assert_eq!(sender.send(body, &signed[1..]).await, 400, "no topic");
    assert_eq!(
        sender.send("webhook_id=1", &[]).await,
        200,
        "a ping has no effect"
    );

    assert_eq!(rows(&stack.database).await, before, "R43");
    assert_eq!(sender.deliver("coupon.updated", "2").await, 200);
    assert_eq!(news(&stack).await, [], "nobody cares for coupons");
    turn(&api, stack.store, false).await;
    assert_eq!(
        sender.deliver("order.updated", "3").await,
        401,
        "it is turned off"
    );
}

/// R5: what webhooks tell of waits while there are as many active syncs as there may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_of_waits_for_room_and_is_read_then() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let mut active = Vec::new();
    for _ in 0..sync::ACTIVE_LIMIT {
        active.push(stack.start().await);
    }
    // Nobody knows when one that is paused goes on, so none of them counts as about to read it.
    sqlx::query("update sync_orchestration set status = 'paused' where status = 'queued'")
        .execute(&stack.database.superuser)
        .await
        .unwrap();
    touch(&stack, &[EntityType::Customers]).await;
    let due = due_at(&stack).await;
    stack.work();

    within(PATIENCE, "it to be looked at", || async {
        (due_at(&stack).await > due).then_some(())
    })
    .await;
    assert!(syncs(&stack).await.is_empty(), "R5");
    sqlx::query("update sync_orchestration set status = 'cancelled', completed_at = lockstep_now() where sync_id = $1")
        .bind(active[0].0)
        .execute(&stack.database.superuser)
        .await
        .unwrap();

    let read = read(&stack).await;
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].entity_types, [EntityType::Customers]);
}

async fn due_at(stack: &Stack) -> chrono::DateTime<chrono::Utc> {
    sqlx::query_scalar("select run_at from sync_trigger")
        .fetch_one(&stack.database.superuser)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_reads_it_anyway_makes_another_unnecessary() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    touch(&stack, &[EntityType::Customers]).await;
    stack.shift_clock("10 seconds").await;
    let seen = |is_read, will_be_read| {
        vec![Pending {
            connection: stack.store,
            entity: EntityType::Customers,
            is_read,
            will_be_read,
        }]
    };
    assert_eq!(pending(&stack).await, seen(false, false));

    let config = Config::new(None, Some(0), None).unwrap();
    let dry = Config {
        dry_run: true,
        ..config
    };
    stack.start_types(vec![EntityType::Customers], dry).await;
    stack.start_types(vec![EntityType::Products], config).await;
    start_alone(&stack, stack.store).await;
    assert_eq!(
        pending(&stack).await,
        seen(false, false),
        "none of these carries customers to the ERP"
    );
    let reads = stack.start_types(vec![EntityType::Customers], config).await;
    assert_eq!(pending(&stack).await, seen(false, true));

    stack.work();
    stack.finish_within(reads, PATIENCE).await;
    read(&stack).await;

    assert!(syncs(&stack).await.is_empty(), "nothing more was started");
}

/// Starts a sync of one connection only.
async fn start_alone(stack: &Stack, connection: ConnectionId) {
    let new = NewSync {
        sync_id: SyncId::random(),
        systems: vec![System::Woocommerce],
        entity_types: vec![EntityType::Customers],
        connections: vec![connection],
        config: Config::new(None, Some(0), None).unwrap(),
        requested_by: "test".to_owned(),
        traceparent: None,
    };
    let mut tx = stack.begin_as_api().await;
    sync::start(&mut tx, stack.org, &new).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sweeps_at_once_start_one_sync_for_the_same_news() {
    let stack = Stack::new().await;
    touch(&stack, &[EntityType::Orders]).await;
    stack.shift_clock("10 seconds").await;
    let mut first = stack.begin_as_worker().await;
    trigger::lock(&mut first, stack.org).await.unwrap();
    let seen = trigger::pending(&mut first, stack.org, stack.store, &[stack.erp]).await;
    assert_eq!(seen.unwrap().len(), 1);

    let mut second = stack.begin_as_worker().await;
    sqlx::query("set local lock_timeout = '100ms'")
        .execute(&mut *second)
        .await
        .unwrap();
    let waits = trigger::lock(&mut second, stack.org).await.unwrap_err();
    assert!(waits.to_string().contains("lock timeout"), "{waits}");
    drop(second);
    let told = (stack.store, EntityType::Orders);
    trigger::settle(&mut first, stack.org, told, None).await.unwrap();
    first.commit().await.unwrap();

    assert_eq!(pending(&stack).await, [], "who comes second finds nothing to do");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_the_store_disabled_is_enabled_again() {
    let mut stack = Stack::new().await;
    let api = Api::start_reachable(&stack);
    stack.work();
    turned_on(&stack, &api).await;
    let hooks = stack.sandbox.store.webhooks();
    let disabled = hooks[3]["id"].as_u64().unwrap();
    stack.sandbox.store.disable_webhook(disabled);

    stack.shift_clock("16 minutes").await;
    let mended = shown(&api, stack.store, |shown| shown["disabledCount"] == 1).await;

    assert!(
        states(&stack).iter().all(|state| state == "active"),
        "{:?}",
        states(&stack)
    );
    assert_eq!(mended["webhooks"][3]["state"], "active");
    assert_eq!(
        stack.troubles().await,
        Vec::<String>::new(),
        "once is no conflict"
    );
}

/// R20, R27: what stays disabled is a conflict that says what to do, and closes itself when a delivery arrives again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_that_stay_disabled_are_a_conflict_until_a_delivery_arrives() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    let api = Api::start_reachable(&stack);
    stack.work();
    turned_on(&stack, &api).await;
    let sender = sender(&stack, &api).await;
    let disabled = stack.sandbox.store.webhooks()[0]["id"].as_u64().unwrap();

    for count in 1..=webhook::DISABLED_LIMIT {
        stack.sandbox.store.disable_webhook(disabled);
        stack.shift_clock("16 minutes").await;
        shown(&api, stack.store, |shown| shown["disabledCount"] == count).await;
        // A look that finds all well proves nothing: there may have been nothing to tell of.
        if count == 1 {
            let looked = looked_at(&stack).await;
            stack.shift_clock("16 minutes").await;
            within(PATIENCE, "another look", || async {
                (looked_at(&stack).await > looked).then_some(())
            })
            .await;
        }
    }
    let open: Vec<Value> = sqlx::query_scalar(
        "select data from sync_conflict
          where not is_resolved and conflict_type = 'RetryExhausted' and item_id is null",
    )
    .fetch_all(&stack.database.superuser)
    .await
    .unwrap();
    assert_eq!(open.len(), 1, "R20");
    assert!(
        open[0]["reason"]
            .as_str()
            .unwrap()
            .contains("has disabled Lockstep's webhooks 3 times")
    );

    assert_eq!(sender.deliver("coupon.updated", "after").await, 200);
    stack.shift_clock("16 minutes").await;
    shown(&api, stack.store, |shown| shown["disabledCount"] == 0).await;

    assert_eq!(stack.troubles().await, Vec::<String>::new(), "R27");
}

async fn looked_at(stack: &Stack) -> Option<chrono::DateTime<chrono::Utc>> {
    let mut tx = stack.begin_as_api().await;
    let found = webhook::find(&mut tx, stack.org, stack.store).await.unwrap();
    found.unwrap().looked_at
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_store_that_can_reach_the_api_can_be_asked_to_tell() {
    let stack = Stack::new().await;
    let reachable = Api::start_reachable(&stack);
    let hidden = Api::start(&stack);
    let wish = json!({ "enabled": true });
    let before = rows(&stack.database).await;

    let put = async |api: &Api, connection| -> Answer { api.client.put(&address(connection), &wish).await };
    put(&reachable, stack.erp).await.problem(409, "no-webhooks");
    let problem = put(&hidden, stack.store).await.problem(409, "no-public-url");
    put(&reachable, ConnectionId::random())
        .await
        .problem(404, "not-found");

    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("LOCKSTEP_PUBLIC_URL")
    );
    assert_eq!(rows(&stack.database).await, before);
    let shown = reachable.client.get(&address(stack.erp)).await.ok(200);
    assert_eq!(shown["enabled"], false);
}

/// R70: the secret is nowhere to be read, and old deliveries are forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secret_is_sealed_and_deliveries_are_forgotten_after_a_week() {
    let stack = Stack::new().await;
    let api = Api::start_reachable(&stack);
    let sender = wanted(&stack, &api).await;
    assert_eq!(sender.deliver("order.updated", "1").await, 200);

    let secret = sender.secret.expose_secret();
    let shown = api.client.get(&address(stack.store)).await;
    assert!(!shown.text.contains(secret), "R70");
    let stored = rows(&stack.database).await;
    assert!(!stored.values().flatten().any(|row| row.contains(secret)), "R70");

    let forget = async || {
        let mut db = stack.database.worker.acquire().await.unwrap();
        webhook::forget_deliveries(&mut db, 10).await.unwrap()
    };
    assert_eq!(forget().await, 0);
    stack.shift_clock("8 days").await;
    assert_eq!((forget().await, forget().await), (1, 0));
}
