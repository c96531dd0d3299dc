//! The batch protocol at its edges: claims, leases, tokens, limits. Worked by hand, without a worker in the way.

use std::time::Duration;

use futures::future::join_all;
use lockstep_shared::batch::{self, Claim, Claimant, Counts, Held, Leave};
use lockstep_shared::command;
use lockstep_shared::db;
use lockstep_shared::id::{BatchId, SyncId, Token};
use lockstep_shared::sync::{self, Config, NewSync, StartError, Status};
use lockstep_shared::system::{EntityType, System};
use lockstep_tests::stack::{Stack, eventually};

use lockstep_tests::make::product;

const LEASE: Duration = Duration::from_secs(20);

fn new_sync(stack: &Stack) -> NewSync {
    NewSync {
        sync_id: SyncId::random(),
        systems: System::ALL.to_vec(),
        entity_types: EntityType::ALL.to_vec(),
        connections: vec![stack.store, stack.erp],
        config: Config::default(),
        requested_by: "test".to_owned(),
        traceparent: None,
    }
}

/// Starts a sync and applies its first command with a worker that is stopped before it claims anything.
async fn stack_with_queued_batch() -> (Stack, SyncId, BatchId) {
    let mut stack = Stack::new().await;
    stack.put(product("SKU-1", 1000)).await;
    // Nothing answers, so the pull's first batch is claimed once, given back, and waits a second or more.
    stack.sandbox.store.faults().on_path(
        "/wp-json",
        lockstep_sandbox::fault::Fault::Status {
            code: 503,
            retry_after: Some("3600".to_owned()),
            body: None,
        },
        None,
    );
    let config = stack.worker_config();
    let stop = stack.work_as(config);
    let sync = stack.start().await;
    let batch = eventually("the first batch to be put off", || async {
        let mut tx = stack.begin_as_worker().await;
        let found: Option<(uuid::Uuid,)> =
            sqlx::query_as("select batch_id from sync_batch where status = 'queued' and run_at > lockstep_now() + interval '1 hour' * 0.5")
                .fetch_optional(&mut *tx)
                .await
                .unwrap();
        found.map(|(id,)| BatchId(id))
    })
    .await;
    stop.cancel();
    (stack, sync, batch)
}

async fn claim(stack: &Stack, batch: BatchId, token: Token) -> Claim {
    let mut tx = stack.begin_as_worker().await;
    let claim = batch::claim(
        &mut tx,
        stack.org,
        Claimant {
            batch,
            token,
            owner: "test",
            lease: LEASE,
        },
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    claim
}

/// R14: a batch is claimed when it is due, not from a living owner, and anew when the lease has run out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_changes_hands_only_when_its_lease_has_run_out() {
    let (stack, _, batch) = stack_with_queued_batch().await;
    let (first, second) = (Token::random(), Token::random());

    assert!(
        matches!(claim(&stack, batch, first).await, Claim::NotBefore(_)),
        "its time has not come"
    );
    stack.shift_clock("2 hours").await;
    assert!(matches!(claim(&stack, batch, first).await, Claim::Claimed(_)));
    assert!(
        matches!(claim(&stack, batch, second).await, Claim::Nothing),
        "R14: its owner is living"
    );
    stack.shift_clock("19 seconds").await;
    assert!(
        matches!(claim(&stack, batch, second).await, Claim::Nothing),
        "R14: its lease has not run out"
    );
    stack.shift_clock("2 seconds").await;
    let Claim::Claimed(taken) = claim(&stack, batch, second).await else {
        panic!("R14: its lease has run out")
    };
    assert_eq!(taken.takeovers, 1);
}

/// R15: who lost a batch can neither send, nor record outcomes, nor settle, nor give it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_owner_can_record_nothing() {
    let (stack, _, batch) = stack_with_queued_batch().await;
    let (stale, owner) = (Token::random(), Token::random());
    stack.shift_clock("2 hours").await;
    claim(&stack, batch, stale).await;
    stack.shift_clock("21 seconds").await;
    claim(&stack, batch, owner).await;

    let mut tx = stack.begin_as_worker().await;
    assert_eq!(
        batch::hold(&mut tx, stack.org, batch, stale).await.unwrap(),
        Held::Lost,
        "R15"
    );
    assert!(matches!(
        batch::hold(&mut tx, stack.org, batch, owner).await.unwrap(),
        Held::Yes { .. }
    ));
    let counts = Counts {
        created: 1,
        ..Counts::default()
    };
    assert!(
        !batch::leave(&mut tx, stack.org, (batch, stale), &counts, Leave::Done)
            .await
            .unwrap(),
        "R15"
    );
    let renewed = batch::renew(&mut tx, &[(batch, stale), (batch, owner)], LEASE)
        .await
        .unwrap();
    assert_eq!(renewed, [batch], "R15: only the owner's lease is renewed");
    assert!(
        batch::leave(&mut tx, stack.org, (batch, owner), &counts, Leave::Done)
            .await
            .unwrap()
    );
}

/// R14: the sweep rings again what is due and silent, once for the whole fleet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_bells_are_rung_again_by_one_of_many_sweeps() {
    let (stack, _, batch) = stack_with_queued_batch().await;
    stack.shift_clock("3 hours").await;
    let quiet = Duration::from_secs(5);

    let sweeps = (0..4).map(|_| async {
        let mut tx = stack.database.worker.begin().await.unwrap();
        let bells = batch::silent_work(&mut tx, quiet, 100).await.unwrap();
        tx.commit().await.unwrap();
        bells
    });
    let bells: Vec<_> = join_all(sweeps).await.into_iter().flatten().collect();

    assert_eq!(
        bells,
        [lockstep_shared::queue::Bell::Batch {
            org_id: stack.org,
            id: batch
        }]
    );
}

/// R5: of many starts at once, five are accepted, and the others are told what runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_syncs_may_be_active_however_many_start_at_once() {
    let stack = Stack::new().await;

    let starts = (0..20).map(|_| async {
        let mut tx = stack.begin_as_api().await;
        let started = sync::start(&mut tx, stack.org, &new_sync(&stack)).await;
        if started.is_ok() {
            tx.commit().await.unwrap();
        }
        started
    });
    let results = join_all(starts).await;

    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 5, "R5");
    for refused in results.into_iter().filter_map(Result::err) {
        let StartError::TooManyActive { running } = refused else {
            panic!("{refused}")
        };
        assert_eq!(running.len(), 5, "R5: the answer says which run");
    }
}

/// R41: a start that does not commit leaves nothing, neither row nor bell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_rolled_back_leaves_neither_rows_nor_a_bell() {
    let stack = Stack::new().await;

    let mut tx = stack.begin_as_api().await;
    sync::start(&mut tx, stack.org, &new_sync(&stack)).await.unwrap();
    tx.rollback().await.unwrap();

    for table in ["sync_orchestration", "sync_command", "apalis.jobs"] {
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from {table}")))
            .fetch_one(&stack.database.superuser)
            .await
            .unwrap();
        assert_eq!(count, 0, "R41: {table}");
    }
}

/// R1: what the type refuses, the database refuses too, and the other way round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_allows_exactly_the_moves_that_the_type_allows() {
    let stack = Stack::new().await;
    let moves: Vec<(String, String)> = sqlx::query_as("select from_status, to_status from sync_move")
        .fetch_all(&stack.database.superuser)
        .await
        .unwrap();

    for from in Status::ALL {
        for to in Status::ALL {
            let is_in_table = moves.contains(&(from.name().to_owned(), to.name().to_owned()));
            assert_eq!(from.allows(to), is_in_table, "R1: {from:?} → {to:?}");
        }
    }
    let mut tx = stack.begin_as_api().await;
    let new = new_sync(&stack);
    sync::start(&mut tx, stack.org, &new).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = stack.begin_as_worker().await;
    let error = sync::advance(
        &mut tx,
        stack.org,
        new.sync_id,
        (Status::Queued, Status::Done),
        None,
    )
    .await
    .unwrap_err();
    assert_eq!(
        db::constraint(&error),
        Some("sync_orchestration_move_check"),
        "R1: {error}"
    );
}

/// A command is applied once, however often its bell rings, and a second start changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_applied_once_and_in_their_order() {
    let mut stack = Stack::new().await;
    let id = stack.start().await;
    let mut tx = stack.begin_as_api().await;
    let again = command::NewCommand {
        sync: id,
        kind: command::Kind::Start,
        requested_by: "test".to_owned(),
        traceparent: None,
    };
    command::enqueue(&mut tx, stack.org, &again).await.unwrap();
    tx.commit().await.unwrap();
    stack.work();

    let sync = stack.finish(id).await;

    assert_eq!(sync.status(), Status::Done);
    let outcomes: Vec<Option<String>> = eventually("both commands to be applied", || async {
        let outcomes: Vec<Option<String>> =
            sqlx::query_scalar("select outcome from sync_command order by sequence")
                .fetch_all(&stack.database.superuser)
                .await
                .unwrap();
        outcomes.iter().all(Option::is_some).then_some(outcomes)
    })
    .await;
    assert_eq!(
        outcomes,
        [
            Some("applied".to_owned()),
            Some("refused: the sync is not queued".to_owned())
        ]
    );
    assert_eq!(sync.stages.len(), 20, "the stages were made once");
}

/// One organisation runs at most so many batches at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organisation_runs_no_more_batches_at_once_than_its_cap() {
    let (stack, _, batch) = stack_with_queued_batch().await;
    stack.shift_clock("2 hours").await;
    sqlx::query("update organisation set running_batch_limit = 1")
        .execute(&stack.database.superuser)
        .await
        .unwrap();
    // Another batch of the organisation is running.
    sqlx::query(
        "insert into sync_batch (org_id, batch_id, sync_id, stage_id, connection_id, entity_type, direction, lane, status,
                                 run_at, token, owner, lease_until)
         select org_id, gen_random_uuid(), sync_id, stage_id, connection_id, entity_type, 'push', 9, 'running',
                lockstep_now(), gen_random_uuid(), 'other', lockstep_now() + interval '1 minute'
           from sync_batch where batch_id = $1",
    )
    .bind(batch.0)
    .execute(&stack.database.superuser)
    .await
    .unwrap();

    let refused = claim(&stack, batch, Token::random()).await;

    assert!(matches!(refused, Claim::NotBefore(_)), "{refused:?}");
    sqlx::query("update sync_batch set lease_until = null, token = null, owner = null, status = 'done', closed_at = now() where lane = 9")
        .execute(&stack.database.superuser)
        .await
        .unwrap();
    assert!(matches!(
        claim(&stack, batch, Token::random()).await,
        Claim::Claimed(_)
    ));
}
