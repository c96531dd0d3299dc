//! Checks of connections at work: asked for, made by themselves, and what they stop.

use std::time::Duration;

use lockstep_sandbox::fault::Fault;
use lockstep_sandbox::woocommerce::Permission;
use lockstep_shared::check::{self, Check, Claim, Status as CheckStatus};
use lockstep_shared::connection::{self, Credentials, Status as ConnectionStatus};
use lockstep_shared::id::{ConnectionId, Token};
use lockstep_shared::sync::{Config, Status};
use lockstep_shared::system::EntityType;
use lockstep_tests::stack::{Finished, Stack, eventually};

use lockstep_tests::make::{customer, product};

async fn ask(stack: &Stack, connection: ConnectionId) {
    let mut tx = stack.begin_as_api().await;
    check::request(&mut tx, stack.org, connection, "ada")
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

async fn found(stack: &Stack, connection: ConnectionId) -> Option<Check> {
    let mut tx = stack.begin_as_api().await;
    check::find(&mut tx, stack.org, connection).await.unwrap()
}

/// Waits until the check that was asked for is over.
async fn done(stack: &Stack, connection: ConnectionId) -> Check {
    eventually("the check to end", || async {
        found(stack, connection)
            .await
            .filter(|check| check.status == CheckStatus::Done)
    })
    .await
}

async fn sync_types(stack: &Stack, types: &[EntityType]) -> Finished {
    let config = Config::new(None, Some(0), None).unwrap();
    let id = stack.start_types(types.to_vec(), config).await;
    stack.finish(id).await
}

/// How often a store was looked at.
fn looks(stack: &Stack) -> usize {
    let arrivals = stack.sandbox.store.faults().arrivals();
    let looks = arrivals
        .iter()
        .filter(|arrival| arrival.path.contains("system_status"));
    looks.count()
}

/// R49: a connection that nobody checked is checked by its first sync, and by no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_checked_once_before_its_first_sync() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    stack.put(customer("ann@example.com")).await;
    stack.work();
    assert!(found(&stack, stack.store).await.is_none());

    let first = sync_types(&stack, &[EntityType::Customers]).await;
    let second = sync_types(&stack, &[EntityType::Customers]).await;

    assert_eq!((first.status(), second.status()), (Status::Done, Status::Done));
    assert_eq!(looks(&stack), 1, "R49");
    for connection in [stack.store, stack.erp] {
        let check = found(&stack, connection).await.unwrap();
        assert!(check.checked.is_some() && check.requested_at.is_none(), "R49");
    }
}

/// R8, R49: what is found stops the stages that it is about, in words, and no others; once it was put right, the next sync
/// notices by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_blocks_stops_just_the_stages_that_it_is_about() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    stack.put(customer("ann@example.com")).await;
    stack.put(product("LAMP", 1000)).await;
    stack.sandbox.erp.deny("res.partner");
    stack.work();
    let types = [EntityType::Customers, EntityType::Products];

    let stopped = sync_types(&stack, &types).await;

    let troubles = stack.troubles().await;
    assert_eq!(stopped.status(), Status::Partial, "R8: {troubles:#?}");
    let stages: Vec<&String> = troubles
        .iter()
        .filter(|trouble| trouble.starts_with("stage"))
        .collect();
    let [stage] = stages.as_slice() else {
        panic!("R8: {troubles:#?}")
    };
    assert!(
        stage.starts_with("stage push customers: the user's right to write `res.partner`"),
        "R49: {stage}"
    );
    assert!(stage.contains("base.group_partner_manager"), "R49: {stage}");
    let ledger = stack.sandbox.erp.ledger();
    assert_eq!(
        (ledger.created("customer"), ledger.created("product")),
        (0, 1),
        "R8"
    );
    let mut tx = stack.begin_as_api().await;
    let erp = connection::find(&mut tx, stack.org, stack.erp).await.unwrap();
    drop(tx);
    assert_eq!(
        erp.unwrap().status,
        ConnectionStatus::Active,
        "its credentials are right"
    );

    stack.sandbox.erp.allow("res.partner");
    let put_right = sync_types(&stack, &types).await;

    assert_eq!(put_right.status(), Status::Done, "{:#?}", stack.troubles().await);
    assert_eq!(stack.sandbox.erp.ledger().created("customer"), 1);
}

/// A dry run writes nothing, so it is not stopped by what is only about writing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_needs_no_right_to_write() {
    let mut stack = Stack::new().await;
    stack.forget_partners();
    stack.put(customer("ann@example.com")).await;
    stack.sandbox.erp.deny("res.partner");
    stack.work();
    let config = Config {
        dry_run: true,
        ..Config::new(None, Some(0), None).unwrap()
    };

    let id = stack.start_types(vec![EntityType::Customers], config).await;
    let dry = stack.finish(id).await;

    assert_eq!(dry.status(), Status::Done, "{:#?}", stack.troubles().await);
}

/// R34: credentials that are refused mark the connection, and a check that is let in takes the mark away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_marks_refused_credentials_and_clears_the_mark() {
    let mut stack = Stack::new().await;
    let credentials = Credentials::Woocommerce {
        consumer_key: "ck_late".to_owned().into(),
        consumer_secret: "cs_late".to_owned().into(),
    };
    let shop = stack.connect(credentials, stack.sandbox.store.base_url()).await;
    let status = async |stack: &Stack| {
        let mut tx = stack.begin_as_api().await;
        let found = connection::find(&mut tx, stack.org, shop).await.unwrap();
        found.unwrap().status
    };
    stack.work();

    ask(&stack, shop).await;
    let refused = done(&stack, shop).await;

    assert!(refused.checked.is_none(), "R34");
    assert!(refused.error.unwrap().contains("refuses the credentials"), "R34");
    assert_eq!(status(&stack).await, ConnectionStatus::NeedsAttention, "R34");

    stack
        .sandbox
        .store
        .add_key("ck_late", "cs_late", Permission::ReadWrite);
    ask(&stack, shop).await;
    let admitted = done(&stack, shop).await;

    assert!(admitted.checked.is_some() && admitted.error.is_none());
    assert_eq!(status(&stack).await, ConnectionStatus::Active);
}

/// R32: a remote that is not well is looked at again; nobody has to ask twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_a_store_that_is_not_well_is_tried_again() {
    let mut stack = Stack::new().await;
    let unwell = Fault::Status {
        code: 502,
        retry_after: None,
        body: None,
    };
    stack.sandbox.store.faults().on_path("", unwell, Some(1));
    stack.work();

    ask(&stack, stack.store).await;
    let check = done(&stack, stack.store).await;

    assert!(check.checked.is_some(), "R32: {:?}", check.error);
    assert_eq!(looks(&stack), 1);
}

/// R14: a check whose worker died, and whose bell is gone, is made by another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_whose_worker_died_is_made_by_another() {
    let mut stack = Stack::new().await;
    ask(&stack, stack.store).await;
    sqlx::raw_sql("delete from apalis.jobs")
        .execute(&stack.database.superuser)
        .await
        .unwrap();
    let mut tx = stack.begin_as_worker().await;
    let dead = (Token::random(), Duration::from_millis(10));
    let claim = check::claim(&mut tx, stack.org, stack.store, dead).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(claim, Claim::Claimed { attempts: 0 });

    stack.work();

    assert!(done(&stack, stack.store).await.checked.is_some(), "R14");
    let mut tx = stack.begin_as_worker().await;
    let late = check::keep(&mut tx, stack.org, stack.store, dead).await.unwrap();
    assert!(!late, "R15: the dead one has lost it");
}

/// Asking again takes a check out of the hands of who is at it: what was seen by then may be older than what was put right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_again_begins_a_check_anew() {
    let stack = Stack::new().await;
    let at_it = (Token::random(), Duration::from_mins(1));
    ask(&stack, stack.store).await;
    let mut tx = stack.begin_as_worker().await;
    check::claim(&mut tx, stack.org, stack.store, at_it)
        .await
        .unwrap();
    tx.commit().await.unwrap();

    ask(&stack, stack.store).await;

    let mut tx = stack.begin_as_worker().await;
    assert!(!check::keep(&mut tx, stack.org, stack.store, at_it).await.unwrap());
    let next = (Token::random(), Duration::from_mins(1));
    let claim = check::claim(&mut tx, stack.org, stack.store, next).await.unwrap();
    assert_eq!(claim, Claim::Claimed { attempts: 0 });
    let second = check::claim(&mut tx, stack.org, stack.store, at_it)
        .await
        .unwrap();
    assert_eq!(second, Claim::Nothing, "one worker at a time");
}
