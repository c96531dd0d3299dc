//! Batches that wait for tokens and do nothing: what they leave to others of their organisation (R31, R35).

use std::time::Duration;

use lockstep_sandbox::fault::Fault;
use lockstep_shared::batch::{self, Claim, Claimant, Leave};
use lockstep_shared::connection::Settings;
use lockstep_shared::id::{BatchId, ConnectionId, SyncId, Token};
use lockstep_shared::sync::{self, Config, NewSync, Status};
use lockstep_shared::system::{EntityType, System};
use lockstep_tests::make::product;
use lockstep_tests::stack::{Stack, eventually};

/// Starts a sync of products with one connection alone.
async fn start_alone(stack: &Stack, connection: ConnectionId, system: System) -> SyncId {
    let new = NewSync {
        sync_id: SyncId::random(),
        systems: vec![system],
        entity_types: vec![EntityType::Products],
        connections: vec![connection],
        config: Config::new(None, Some(0), None).unwrap(),
        requested_by: "test".to_owned(),
        traceparent: None,
    };
    let mut tx = stack.begin_as_api().await;
    sync::start(&mut tx, stack.org, &new).await.unwrap();
    tx.commit().await.unwrap();
    new.sync_id
}

async fn cap(stack: &Stack, running_batches: i32) {
    sqlx::query("update organisation set running_batch_limit = $1")
        .bind(running_batches)
        .execute(&stack.database.superuser)
        .await
        .unwrap();
}

async fn claim(stack: &Stack, batch: BatchId, token: Token) -> Claim {
    claim_as(stack, "test", batch, token).await
}

async fn claim_as(stack: &Stack, owner: &str, batch: BatchId, token: Token) -> Claim {
    let claimant = Claimant {
        batch,
        token,
        owner,
        lease: Duration::from_mins(1),
    };
    let mut tx = stack.begin_as_worker().await;
    let claim = batch::claim(&mut tx, stack.org, claimant).await.unwrap();
    tx.commit().await.unwrap();
    claim
}

async fn unpark(stack: &Stack, batch: BatchId, token: Token) -> bool {
    let mut tx = stack.begin_as_worker().await;
    batch::lock_claims(&mut tx, stack.org).await.unwrap();
    let goes_on = batch::unpark(&mut tx, stack.org, batch, token).await.unwrap();
    tx.commit().await.unwrap();
    goes_on
}

/// Two batches of two lanes of one stage that are due, and nobody who would claim them.
async fn two_batches() -> (Stack, [BatchId; 2]) {
    let mut stack = Stack::new().await;
    // The store asks everyone to wait, so that the sync stands where it began.
    let later = Fault::Status {
        code: 503,
        retry_after: Some("3600".to_owned()),
        body: None,
    };
    stack.sandbox.store.faults().on_path("/wp-json", later, None);
    let config = stack.worker_config();
    let stop = stack.work_as(config);
    let sync = start_alone(&stack, stack.store, System::Woocommerce).await;
    eventually("the first batch to be put off", || async {
        let is_put_off: bool = sqlx::query_scalar(
            "select exists (select from sync_batch
                             where status = 'queued' and run_at > lockstep_now() + interval '30 minutes')",
        )
        .fetch_one(&stack.database.superuser)
        .await
        .unwrap();
        is_put_off.then_some(())
    })
    .await;
    stop.cancel();
    let batches = [BatchId::random(), BatchId::random()];
    for (lane, batch) in (7..).zip(batches) {
        sqlx::query(
            "insert into sync_batch (org_id, batch_id, sync_id, stage_id, connection_id, entity_type, direction, lane, run_at)
             select org_id, $1, sync_id, stage_id, connection_id, entity_type, 'push', $3, lockstep_now()
               from sync_batch where sync_id = $2 and lane = 0",
        )
        .bind(batch.0)
        .bind(sync.0)
        .bind(lane)
        .execute(&stack.database.superuser)
        .await
        .unwrap();
    }
    (stack, batches)
}

/// R31, R35: a sync whose system may be asked once a minute keeps no other sync of its organisation from running.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_waits_for_a_token_takes_nobodys_turn() {
    let mut stack = Stack::new().await;
    cap(&stack, 1).await;
    let settings = Settings {
        requests_per_minute: Some(1),
        ..Settings::default()
    };
    stack.set(stack.store, &settings).await;
    stack.put(product("SKU-1", 1000)).await;
    stack.work();
    let slow = start_alone(&stack, stack.store, System::Woocommerce).await;
    eventually("its batch to wait", || async {
        let parked: i64 = sqlx::query_scalar("select count(*) from sync_batch where parked_token = token")
            .fetch_one(&stack.database.superuser)
            .await
            .unwrap();
        (parked == 1).then_some(())
    })
    .await;

    let quick = start_alone(&stack, stack.erp, System::Odoo).await;

    assert_eq!(stack.finish(quick).await.status(), Status::Done, "R35");
    assert_eq!(stack.view(slow).await.status, Status::Processing);
}

/// R35: what waited goes on only where its organisation has room for one more that runs; nobody else's turn ends for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_waited_goes_on_when_there_is_room() {
    let (stack, [first, second]) = two_batches().await;
    cap(&stack, 1).await;
    let (waits, runs) = (Token::random(), Token::random());
    assert!(matches!(claim(&stack, first, waits).await, Claim::Claimed(_)));
    let refused = claim(&stack, second, runs).await;
    assert!(matches!(refused, Claim::NotBefore(_)), "R35: {refused:?}");

    let mut tx = stack.begin_as_worker().await;
    assert!(batch::park(&mut tx, stack.org, first, waits).await.unwrap());
    tx.commit().await.unwrap();

    assert!(
        matches!(claim(&stack, second, runs).await, Claim::Claimed(_)),
        "R31"
    );
    assert!(!unpark(&stack, first, waits).await, "R35: the other has the turn");
    let mut tx = stack.begin_as_worker().await;
    let counts = batch::Counts::default();
    let left = batch::leave(&mut tx, stack.org, (second, runs), &counts, Leave::Done).await;
    assert!(left.unwrap());
    tx.commit().await.unwrap();
    assert!(unpark(&stack, first, waits).await);
    assert!(!unpark(&stack, first, runs).await, "it is not that owner's");
}

/// R14, R35: a batch whose owner died while it waited runs for whoever takes it over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_taken_over_does_not_wait_any_more() {
    let (stack, [first, second]) = two_batches().await;
    cap(&stack, 1).await;
    let dies = Token::random();
    assert!(matches!(claim(&stack, first, dies).await, Claim::Claimed(_)));
    let mut tx = stack.begin_as_worker().await;
    assert!(batch::park(&mut tx, stack.org, first, dies).await.unwrap());
    tx.commit().await.unwrap();

    stack.shift_clock("2 minutes").await;

    assert!(matches!(
        claim(&stack, first, Token::random()).await,
        Claim::Claimed(_)
    ));
    let refused = claim(&stack, second, Token::random()).await;
    assert!(matches!(refused, Claim::NotBefore(_)), "R35: {refused:?}");
}

/// R14: what outlived its owner is run one at a time by a process, so that an item that kills its owners takes no innocent
/// one along until that counts as poisonous, too. Another process takes the next, and none goes along once it got on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_has_one_batch_at_a_time_that_outlived_its_owner() {
    let (stack, [first, second]) = two_batches().await;
    for batch in [first, second] {
        assert!(matches!(
            claim_as(&stack, "dead", batch, Token::random()).await,
            Claim::Claimed(_)
        ));
    }
    stack.shift_clock("2 minutes").await;

    let taken = claim_as(&stack, "one", first, Token::random()).await;
    let waiting = claim_as(&stack, "one", second, Token::random()).await;
    let elsewhere = claim_as(&stack, "two", second, Token::random()).await;

    assert!(
        matches!(taken, Claim::Claimed(batch) if batch.takeovers == 1),
        "R14"
    );
    assert!(matches!(waiting, Claim::NotBefore(_)), "R14");
    assert!(
        matches!(elsewhere, Claim::Claimed(batch) if batch.takeovers == 1),
        "R14: waiting is no takeover"
    );
}

/// R14: once the first has got on, it is no suspect any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_got_on_keeps_no_other_waiting() {
    let (stack, [first, second]) = two_batches().await;
    for batch in [first, second] {
        assert!(matches!(
            claim_as(&stack, "dead", batch, Token::random()).await,
            Claim::Claimed(_)
        ));
    }
    stack.shift_clock("2 minutes").await;
    claim_as(&stack, "one", first, Token::random()).await;

    let mut tx = stack.begin_as_worker().await;
    batch::got_on(&mut tx, stack.org, first).await.unwrap();
    tx.commit().await.unwrap();

    assert!(
        matches!(
            claim_as(&stack, "one", second, Token::random()).await,
            Claim::Claimed(_)
        ),
        "R14"
    );
}
