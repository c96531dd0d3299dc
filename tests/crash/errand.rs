//! Workers that die at what they do beside batches: when they fire a schedule, and when they make webhooks in a store.

use std::collections::BTreeSet;
use std::time::Duration;

use lockstep_tests::api::Api;
use lockstep_tests::process::Worker;
use lockstep_tests::schedule::{come_due, hourly};
use lockstep_tests::stack::within;
use lockstep_worker::point::Aside;
use serde_json::json;

use super::{count, program, quick, stack_with};

/// Longest a test waits: for what a dead worker may still have sent, several sweeps and a sync, on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(3);

/// What a store is asked to tell of.
const TOPICS: usize = 8;

/// Waits until a worker has died at its point.
async fn has_died(worker: &mut Worker, point: Aside) {
    worker.end().await;
    assert!(worker.was_killed());
    let words = worker.last_words();
    assert!(words.contains(point.name()), "{words}");
}

/// R13: whoever dies while it fires a schedule, before or after that is committed: the due time starts one sync.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_whose_worker_dies_as_it_fires_starts_one_sync() {
    for point in Aside::SCHEDULE {
        let stack = stack_with(1).await;
        come_due(&stack, hourly(&stack, true).await, "").await;
        let mut doomed = program().start(&quick(&stack), &format!("{}=return", point.name()));
        has_died(&mut doomed, point).await;

        let _other = program().start(&quick(&stack), "");

        within(PATIENCE, "its sync to end", || async {
            let ended = "select count(*) from sync_orchestration where completed_at is not null";
            (count(&stack, ended).await > 0).then_some(())
        })
        .await;
        let syncs = count(&stack, "select count(*) from sync_orchestration").await;
        assert_eq!(syncs, 1, "R13: {}", point.name());
        let fired = "select count(*) from sync_activity_log where action = 'schedule.fired'";
        assert_eq!(count(&stack, fired).await, 1, "R13: {}", point.name());
        let commands = count(&stack, "select count(*) from sync_command").await;
        assert_eq!(commands, 1, "R13: {}", point.name());
    }
}

/// R13: whoever dies with a request under way that makes a webhook, before it is sent or with its reply in hand: the store
/// has each webhook once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_has_each_webhook_once_whose_worker_dies_as_it_makes_it() {
    for point in Aside::WEBHOOK {
        let stack = stack_with(0).await;
        let api = Api::start_reachable(&stack);
        let address = format!("/api/v1/connections/{}/webhooks", stack.store);
        // The third of them: some are there, and some are not.
        let points = format!("{}=2*off->return", point.name());
        let mut doomed = program().start(&quick(&stack), &points);
        api.client
            .put(&address, &json!({ "enabled": true }))
            .await
            .ok(202);
        has_died(&mut doomed, point).await;

        let _other = program().start(&quick(&stack), "");

        within(PATIENCE, "the webhooks to be made", || async {
            let shown = api.client.get(&address).await.ok(200);
            let are_made = shown["webhooks"].as_array().unwrap().len() == TOPICS;
            (shown["isPending"] == false && are_made).then_some(())
        })
        .await;
        let made = stack.sandbox.store.webhooks();
        assert_eq!(made.len(), TOPICS, "R13: {}: {made:#?}", point.name());
        let topics: BTreeSet<&str> = made.iter().filter_map(|hook| hook["topic"].as_str()).collect();
        assert_eq!(topics.len(), TOPICS, "R13: {}: {made:#?}", point.name());
    }
}
