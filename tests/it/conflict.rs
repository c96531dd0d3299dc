//! Conflicts in whole syncs: found, tried again, answered, and carried to where they belong.

use futures::future::join_all;
use lockstep_sandbox::fault::Fault;
use lockstep_shared::decide::Owner;
use lockstep_shared::entity::{Content, Money};
use lockstep_shared::id::SyncId;
use lockstep_shared::sync::{Config, Status};
use lockstep_shared::system::EntityType;
use lockstep_tests::api::Api;
use lockstep_tests::dispute::{Dispute, own, path, start_products, sync_products};
use lockstep_tests::make::{customer, product};
use lockstep_tests::stack::{Finished, Stack, eventually};
use reqwest::Method;
use serde_json::{Value, json};

/// How many changes of products the stand-ins felt, the store's first.
fn felt(stack: &Stack) -> [usize; 2] {
    let (store, erp) = stack.effects();
    [store, erp].map(|effects| effects.iter().filter(|effect| effect.changed).count())
}

async fn settle(lamp: &Dispute) {
    let sync = sync_products(&lamp.stack).await;
    assert_eq!(sync.status(), Status::Done, "{:#?}", lamp.stack.troubles().await);
}

async fn assert_still(lamp: &Dispute) {
    lamp.stack.forget_effects();
    settle(lamp).await;
    lamp.stack.assert_nothing_felt();
    assert_eq!(lamp.stack.troubles().await, Vec::<String>::new());
}

/// Waits until a conflict is tried again by itself.
async fn retried(lamp: &Dispute) -> Value {
    eventually("a conflict that is tried again", || async {
        let conflicts = lamp.conflicts().await;
        conflicts.into_iter().find(|one| one["strategy"] == "AutoRetry")
    })
    .await
}

/// R20, R21, R22, R23, R25: a mismatch is looked at again after about 1, 2 and 4 s; then it was tried often enough, and a
/// person is asked, who is shown all that there is to know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mismatch_is_tried_again_three_times_and_then_put_before_a_person() {
    let (lamp, conflict) = Dispute::open(Owner::Shared).await;

    assert_eq!(conflict["type"], "RetryExhausted", "R25");
    assert_eq!(
        (&conflict["strategy"], &conflict["retries"]),
        (&json!("Manual"), &json!(3)),
        "R21"
    );
    assert_eq!(conflict["state"], "open");
    assert_eq!(conflict["nextRetryAt"], Value::Null);
    let time =
        |name: &str| -> chrono::DateTime<chrono::Utc> { conflict[name].as_str().unwrap().parse().unwrap() };
    let waited = time("updatedAt") - time("createdAt");
    assert!(
        waited >= chrono::Duration::milliseconds(3500),
        "R22: 1, 2 and 4 s, less at most half by jitter: {waited}"
    );
    assert_eq!(conflict["fields"], json!(["name"]), "R23");
    let names = ["base", "ours", "theirs", "proposed"].map(|side| conflict[side]["name"].clone());
    assert_eq!(
        names,
        [
            "Lamp",
            "Lamp of the shop",
            "Lamp of the office",
            "Lamp of the shop"
        ],
        "R23"
    );
    assert!(conflict["next"].as_str().unwrap().contains("`accept`"), "R23");
    assert_eq!(conflict["recordId"], json!(lamp.record().await.0));
    assert_eq!(
        (&conflict["system"], &conflict["connectionId"]),
        (&json!("odoo"), &json!(lamp.stack.erp))
    );
    assert_eq!(lamp.names(), ["Lamp of the shop", "Lamp of the office"]);
}

/// R21: what a person owns is put before a person at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mismatch_in_a_field_that_a_person_owns_is_not_tried_again() {
    let (_lamp, conflict) = Dispute::open(Owner::Manual).await;

    assert_eq!(
        (&conflict["strategy"], &conflict["retries"]),
        (&json!("Manual"), &json!(0)),
        "R21"
    );
}

/// R22, R27: what people put right while it is tried again solves itself, in the same sync, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mismatch_that_is_put_right_meanwhile_solves_itself() {
    let lamp = Dispute::new(Owner::Shared).await;
    lamp.disagree();
    lamp.stack.forget_effects();
    let id = start_products(&lamp.stack).await;

    retried(&lamp).await;
    lamp.rename_in_erp("Lamp of the shop");
    let sync = lamp.stack.finish(id).await;

    assert_eq!(
        sync.status(),
        Status::Done,
        "R27: {:#?}",
        lamp.stack.troubles().await
    );
    let conflict = lamp.conflict().await;
    assert_eq!(
        (&conflict["state"], &conflict["closedBy"]),
        (&json!("resolved"), &json!("solved_itself")),
        "R27"
    );
    assert_eq!(lamp.names(), ["Lamp of the shop", "Lamp of the shop"]);
    assert_eq!(felt(&lamp.stack), [0, 0], "nothing had to be written");
    let told: i64 =
        sqlx::query_scalar("select count(*) from sync_activity_log where action = 'conflict.solved_itself'")
            .fetch_one(&lamp.stack.database.superuser)
            .await
            .unwrap();
    assert_eq!(told, 1, "R27");
}

/// R22: a retry sends the merged record: what one side changed is that side's, what both did is its owner's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_sends_the_merged_record_once_a_rule_decides() {
    let lamp = Dispute::new(Owner::Shared).await;
    lamp.disagree();
    let store = &lamp.stack.sandbox.store;
    store.update_product(lamp.product, json!({"regular_price": "12.00"}));
    let id = start_products(&lamp.stack).await;

    retried(&lamp).await;
    own(&lamp.stack, lamp.stack.erp, Owner::Odoo).await;
    let sync = lamp.stack.finish(id).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", lamp.stack.troubles().await);
    assert_eq!(lamp.conflict().await["closedBy"], "solved_itself");
    let price = lamp.stack.sandbox.erp.records("product.template");
    let price = price.iter().find(|row| row["id"] == lamp.template).unwrap()["list_price"].clone();
    assert_eq!(price.as_f64(), Some(12.0), "R22: the store alone changed it");
    settle(&lamp).await;
    assert_eq!(
        lamp.names(),
        ["Lamp of the office", "Lamp of the office"],
        "R22: the ERP owns it"
    );
    assert_still(&lamp).await;
}

/// R23: `accept` sends what is proposed, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepting_sends_ours() {
    let (lamp, conflict) = Dispute::open(Owner::Manual).await;
    lamp.stack.forget_effects();

    let resolved = lamp.answer(&conflict, &json!({"resolution": "accept"})).await;

    assert_eq!(
        (&resolved["closedBy"], &resolved["answer"]["answeredBy"]),
        (&json!("accept"), &json!("ada")),
        "R23"
    );
    assert_eq!(resolved["resolvedData"]["name"], "Lamp of the shop", "R23");
    lamp.stack.assert_nothing_felt();
    settle(&lamp).await;
    assert_eq!(lamp.names(), ["Lamp of the shop", "Lamp of the shop"], "R23");
    assert_eq!(
        felt(&lamp.stack),
        [0, 1],
        "R23: written once, where it was another"
    );
    assert_still(&lamp).await;
    assert_eq!(lamp.conflicts().await.len(), 1, "it is not asked again");
}

/// R23: `reject` keeps what the system holds; the other gets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejecting_keeps_theirs() {
    let (lamp, conflict) = Dispute::open(Owner::Manual).await;
    lamp.stack.forget_effects();

    lamp.answer(&conflict, &json!({"resolution": "reject"})).await;
    settle(&lamp).await;

    assert_eq!(lamp.names(), ["Lamp of the office", "Lamp of the office"], "R23");
    assert_eq!(
        felt(&lamp.stack),
        [1, 0],
        "R23: nothing is written where it is kept"
    );
    assert_still(&lamp).await;
    assert_eq!(lamp.conflicts().await.len(), 1, "it is not asked again");
}

/// R23: `custom` sends what is given to both, and what is not valid is refused by its fields.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_is_sent_to_both() {
    let (lamp, conflict) = Dispute::open(Owner::Manual).await;
    lamp.stack.forget_effects();
    let (_, mut given) = lamp.record().await;
    let resolve = format!("{}/resolve", path(&conflict));

    given["name"] = json!("");
    given["colour"] = json!("red");
    let problem = lamp
        .api
        .client
        .post(&resolve, &json!({"resolution": "custom", "customData": given}))
        .await
        .problem(422, "invalid");
    assert_eq!(
        problem["errors"][0]["field"], "customData/colour",
        "R23: {problem}"
    );
    given.as_object_mut().unwrap().remove("colour");
    let problem = lamp
        .api
        .client
        .post(&resolve, &json!({"resolution": "custom", "customData": given}))
        .await
        .problem(422, "invalid");
    assert_eq!(problem["errors"][0]["field"], "customData/name", "R23: {problem}");
    given["name"] = json!("Lamp of everybody");
    lamp.answer(&conflict, &json!({"resolution": "custom", "customData": given}))
        .await;
    settle(&lamp).await;

    assert_eq!(lamp.names(), ["Lamp of everybody", "Lamp of everybody"], "R23");
    assert_eq!(felt(&lamp.stack), [1, 1], "R23: written once in each");
    assert_still(&lamp).await;
}

/// What the system changes after the person looked was not answered: it is a conflict of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_after_the_answer_is_another_conflict() {
    let (lamp, conflict) = Dispute::open(Owner::Manual).await;

    lamp.answer(&conflict, &json!({"resolution": "accept"})).await;
    lamp.rename_in_erp("Lamp of the warehouse");
    sync_products(&lamp.stack).await;

    let conflicts = lamp.conflicts().await;
    assert_eq!(conflicts.len(), 2, "{conflicts:#?}");
    assert_eq!(conflicts[0]["state"], "open");
    assert_eq!(conflicts[0]["theirs"]["name"], "Lamp of the warehouse");
    assert_eq!(lamp.names()[1], "Lamp of the warehouse", "nothing ran over it");
}

/// R23: one conflict has one answer, however many come at once; a condition that does not hold answers nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ten_answers_at_once_one_counts() {
    let (lamp, conflict) = Dispute::open(Owner::Manual).await;
    let client = &lamp.api.client;
    let resolve = format!("{}/resolve", path(&conflict));
    let conditional = |tag: &str| {
        let answer = json!({"resolution": "reject"});
        let request = client.request(Method::POST, &resolve).header("If-Match", tag);
        client.send(request.json(&answer))
    };
    let seen = client.get(&path(&conflict)).await;
    let tag = seen.header("etag").to_owned();
    assert_eq!(tag, format!("\"{}\"", seen.body["version"]));
    conditional("\"0\"").await.problem(412, "precondition-failed");

    let answers = join_all((0..10).map(|_| conditional(&tag))).await;

    let accepted = answers.iter().filter(|answer| answer.status == 202).count();
    assert_eq!(accepted, 1, "R23");
    for answer in answers.into_iter().filter(|answer| answer.status != 202) {
        answer.problem(409, "conflict-answered");
    }
    lamp.applied(&conflict).await;
    conditional(&tag).await.problem(409, "conflict-answered");
    let rows: i64 = sqlx::query_scalar("select count(*) from conflict_resolution")
        .fetch_one(&lamp.stack.database.superuser)
        .await
        .unwrap();
    assert_eq!(rows, 1, "R23");
}

/// `now`: a sync of its own carries what was answered, and nothing else that is due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_carried_at_once_by_a_sync_of_its_own() {
    let (lamp, conflict) = Dispute::open(Owner::Manual).await;
    let other = lamp.stack.put(product("OTHER", 1000)).await;
    lamp.stack.forget_effects();

    let answered = lamp
        .answered(&conflict, &json!({"resolution": "accept", "when": "now"}))
        .await;

    let sync: SyncId = answered["answer"]["syncId"].as_str().unwrap().parse().unwrap();
    let sync = lamp.stack.finish(sync).await;
    assert_eq!(sync.status(), Status::Done, "{:#?}", lamp.stack.troubles().await);
    assert_eq!(lamp.names(), ["Lamp of the shop", "Lamp of the shop"]);
    assert_eq!(felt(&lamp.stack), [0, 1], "the other product is not its business");
    assert_eq!(lamp.conflict().await["closedBy"], "accept");
    let mut tx = lamp.stack.begin_as_api().await;
    let states = lockstep_shared::item::of_record(&mut tx, lamp.stack.org, other)
        .await
        .unwrap();
    assert!(
        states
            .iter()
            .all(|one| one.state == lockstep_shared::item::State::Pending)
    );
}

/// `running`: the sync whose push is under way carries it, though it had picked what was due before the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_joins_the_sync_that_is_running() {
    let (lamp, conflict) = Dispute::open(Owner::Manual).await;
    let stack = &lamp.stack;
    for sku in ["ONE", "TWO"] {
        let thing = json!({"name": sku, "sku": sku, "regular_price": "1.00"});
        stack.sandbox.store.insert_product(thing);
    }
    // Each batch of the push has one of them, and the next comes much later.
    let config = Config::new(Some(1), Some(600_000), None).unwrap();
    let id = stack.start_types(vec![EntityType::Products], config).await;
    skip_delays(stack, async || stack.sandbox.erp.ledger().created("product") >= 2).await;

    lamp.answer(&conflict, &json!({"resolution": "accept", "when": "running"}))
        .await;
    skip_delays(stack, async || stack.view(id).await.status.is_final()).await;

    let sync = stack.finish(id).await;
    // Its pull may have met the conflict before it was answered.
    assert_ne!(sync.status(), Status::Failed);
    assert_eq!(stack.troubles().await, Vec::<String>::new());
    assert_eq!(lamp.names(), ["Lamp of the shop", "Lamp of the shop"]);
    let answered = lamp.conflict().await;
    assert_eq!(answered["answer"]["syncId"], json!(id), "{answered:#}");
    let carried_by: uuid::Uuid = sqlx::query_scalar(
        "select e.sync_id from sync_idempotency_log e join sync_conflict c on c.item_id = e.item_id
          order by e.created_at desc limit 1",
    )
    .fetch_one(&stack.database.superuser)
    .await
    .unwrap();
    assert_eq!(carried_by, id.0);
}

/// Waits for a condition, with the time between two batches passing as soon as nothing is under way.
async fn skip_delays(stack: &Stack, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..3000 {
        if is_so().await {
            return;
        }
        let is_waiting: bool = sqlx::query_scalar(
            "select coalesce(bool_and(status = 'queued' and run_at > lockstep_now() + interval '10 s'), false)
               from sync_batch where status <> 'done'",
        )
        .fetch_one(&stack.database.superuser)
        .await
        .unwrap();
        if is_waiting {
            stack.shift_clock("10 minutes").await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("waited too long: {:#?}", stack.troubles().await);
}

/// R23: many are answered by what they have in common.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_conflicts_are_answered_at_once() {
    let mut stack = Stack::new().await;
    for connection in [stack.store, stack.erp] {
        own(&stack, connection, Owner::Manual).await;
    }
    let skus = ["ONE", "TWO", "THREE", "FOUR"];
    let products = skus.map(|sku| {
        let thing = json!({"name": "Lamp", "sku": sku, "regular_price": "1.00"});
        stack.sandbox.store.insert_product(thing)
    });
    let api = Api::start(&stack);
    stack.work();
    sync_products(&stack).await;
    let erp = &stack.sandbox.erp;
    let templates = erp.records("product.template");
    for (sku, id) in skus.iter().zip(products) {
        // The last one is not about its name.
        let (in_store, in_erp) = if *sku == "FOUR" {
            (json!({"regular_price": "2.00"}), json!({"list_price": 3.0}))
        } else {
            (json!({"name": "Of the shop"}), json!({"name": "Of the office"}))
        };
        let template = templates.iter().find(|row| row["default_code"] == *sku).unwrap();
        stack.sandbox.store.update_product(id, in_store);
        erp.update("product.template", template["id"].as_i64().unwrap(), in_erp);
    }
    sync_products(&stack).await;
    stack.forget_effects();

    let request = json!({
        "resolution": "accept", "when": "now", "type": "DataMismatch", "entityType": "products", "field": "name",
    });
    let answer = api
        .client
        .post("/api/v1/conflicts/resolve", &request)
        .await
        .ok(202);

    assert_eq!(
        (&answer["accepted"], &answer["left"]),
        (&json!(3), &json!(0)),
        "{answer}"
    );
    let sync: SyncId = answer["syncId"].as_str().unwrap().parse().unwrap();
    assert_eq!(stack.finish(sync).await.status(), Status::Done);
    assert_eq!(felt(&stack), [0, 3]);
    let open = api.client.get("/api/v1/conflicts?state=open").await.ok(200);
    assert_eq!(open["items"].as_array().unwrap().len(), 1, "{open:#}");
    assert_eq!(open["items"][0]["fields"], json!(["variants//price"]), "{open:#}");
}

/// R20, R23: what a system can't take is corrected by an answer, for every system that refused it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_refused_is_corrected_by_an_answer() {
    let mut stack = Stack::new().await;
    let mut foreign = product("LAMP", 1000);
    if let Content::Product(product) = &mut foreign {
        product.variants[0].price = Some(Money::new(10.into(), "EUR".parse().unwrap()));
    }
    stack.put(foreign).await;
    let api = Api::start(&stack);
    stack.work();
    sync_products(&stack).await;
    let list = api
        .client
        .get("/api/v1/conflicts?type=ValidationError")
        .await
        .ok(200);
    let conflicts = list["items"].as_array().unwrap();
    assert_eq!(conflicts.len(), 2, "R20: one for each system: {list:#}");
    for conflict in conflicts {
        assert_eq!(conflict["strategy"], "Manual", "R21");
        assert!(conflict["next"].as_str().unwrap().contains("`custom`"), "R23");
    }
    let mut given = conflicts[0]["ours"].clone();
    given["variants"][0]["price"]["currency"] = json!("USD");

    let resolve = format!("{}/resolve", path(&conflicts[0]));
    let answer = json!({"resolution": "custom", "customData": given, "when": "now"});
    let answered = api.client.post(&resolve, &answer).await.ok(202);

    let sync: SyncId = answered["answer"]["syncId"].as_str().unwrap().parse().unwrap();
    let sync = stack.finish(sync).await;
    assert_eq!(sync.status(), Status::Done, "{:#?}", stack.troubles().await);
    assert_eq!(stack.sandbox.store.ledger().created("product"), 1);
    assert_eq!(stack.sandbox.erp.ledger().created("product"), 1);
    assert_eq!(
        stack.troubles().await,
        Vec::<String>::new(),
        "the other one solved itself"
    );
}

async fn sync_customers(stack: &Stack) -> Finished {
    let config = Config::new(None, Some(0), None).unwrap();
    let id = stack.start_types(vec![EntityType::Customers], config).await;
    stack.finish(id).await
}

/// R24: a duplicate is skipped, and stays visible until somebody puts it away; the record is left as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_is_skipped_and_may_be_left_so() {
    let mut stack = Stack::new().await;
    for name in ["First", "Second"] {
        let partner = json!({ "name": name, "email": "shared@example.com" });
        stack.sandbox.erp.insert("res.partner", partner);
    }
    let api = Api::start(&stack);
    stack.work();
    sync_customers(&stack).await;
    let list = api.client.get("/api/v1/conflicts?strategy=Skip").await.ok(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "R24: {list:#}");
    let conflict = &list["items"][0];
    assert_eq!(conflict["type"], "DuplicateKey", "R21");

    let resolve = format!("{}/resolve", path(conflict));
    let answer = json!({"resolution": "reject"});
    api.client.post(&resolve, &answer).await.ok(202);
    eventually("the answer to be applied", || async {
        let open = api.client.get("/api/v1/conflicts?state=resolved").await.ok(200);
        (open["items"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    stack.forget_effects();
    let sync = sync_customers(&stack).await;

    assert_eq!(sync.status(), Status::Done, "R24: {:#?}", stack.troubles().await);
    stack.assert_nothing_felt();
    let troubles = stack.troubles().await;
    assert_eq!(troubles.len(), 1, "{troubles:#?}");
    assert!(
        troubles[0].contains("left as it is, as ada answered"),
        "{troubles:#?}"
    );
}

/// R34: refused credentials are one conflict, however many batches and syncs met them; a check that is let in closes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_credentials_are_one_conflict_that_a_check_closes() {
    let mut stack = Stack::new().await;
    stack.sandbox.erp.faults().on_path(
        "/json/2",
        Fault::Status {
            code: 401,
            retry_after: None,
            body: None,
        },
        None,
    );
    let api = Api::start(&stack);
    for number in 0..5 {
        stack.put(product(&format!("SKU-{number}"), 1000)).await;
        stack.put(customer(&format!("person{number}@example.com"))).await;
    }
    let config = Config::new(Some(1), Some(0), None).unwrap();
    let mut syncs = Vec::new();
    for entity in [EntityType::Products, EntityType::Customers, EntityType::Products] {
        syncs.push(stack.start_types(vec![entity], config).await);
    }
    stack.work();
    for sync in syncs {
        stack.finish(sync).await;
    }

    let list = api.client.get("/api/v1/conflicts").await.ok(200);
    let conflicts = list["items"].as_array().unwrap();
    assert_eq!(conflicts.len(), 1, "R34: {list:#}");
    assert_eq!(
        (&conflicts[0]["type"], &conflicts[0]["strategy"]),
        (&json!("AuthError"), &json!("Manual")),
        "R21"
    );
    let resolve = format!("{}/resolve", path(&conflicts[0]));
    api.client
        .post(&resolve, &json!({"resolution": "accept"}))
        .await
        .problem(409, "conflict-not-answerable");
    stack.sandbox.erp.faults().clear();
    let check = format!("/api/v1/connections/{}/check", stack.erp);
    api.client
        .send(api.client.request(Method::POST, &check))
        .await
        .ok(202);
    let closed = eventually("the check to close it", || async {
        let shown = api.client.get(&path(&conflicts[0])).await.ok(200);
        (shown["state"] == "resolved").then_some(shown)
    })
    .await;
    assert_eq!(closed["closedBy"], "solved_itself", "R27");
    let connection = api
        .client
        .get(&format!("/api/v1/connections/{}", stack.erp))
        .await
        .ok(200);
    assert_eq!(connection["status"], "active", "R34");
}
