//! Which commands a sync takes where it stands.

use lockstep_shared::id::SyncId;
use lockstep_shared::sync::Status;
use lockstep_tests::api::Api;
use lockstep_tests::stack::{Stack, eventually};
use serde_json::json;

use super::{id, start};

const COMMANDS: [&str; 3] = ["pause", "resume", "cancel"];

/// What is possible in a state, and where it ends once a worker has carried it out. Nothing else is possible.
const fn possible(status: Status) -> &'static [(&'static str, Status)] {
    match status {
        Status::Draft => &[("cancel", Status::Cancelled)],
        Status::Queued => &[("pause", Status::Paused), ("cancel", Status::Cancelled)],
        Status::Processing => &[("pause", Status::Paused), ("cancel", Status::Cancelled)],
        // These have no stage left, so that who resumes them closes them.
        Status::Pausing | Status::Paused => &[("resume", Status::Done), ("cancel", Status::Cancelled)],
        Status::Cancelling | Status::Cancelled | Status::Done | Status::Partial | Status::Failed => &[],
    }
}

/// Where a sync stands in the end that nobody could ask anything of. Who is to stop does.
const fn in_the_end(status: Status) -> Status {
    match status {
        Status::Pausing => Status::Paused,
        Status::Cancelling => Status::Cancelled,
        other => other,
    }
}

/// Stores a sync that stands somewhere; it has no stages.
async fn stand(stack: &Stack, status: Status) -> SyncId {
    let sync = SyncId::random();
    let has_begun = !matches!(status, Status::Draft | Status::Queued);
    sqlx::query(
        "insert into sync_orchestration (sync_id, org_id, systems, entity_types, connection_ids, status, requested_by,
                                         started_at, completed_at, config)
         values ($1, $2, '[]', '[]', '[]', $3, 'test', case when $4 then lockstep_now() end,
                 case when $5 then lockstep_now() end,
                 '{\"batch_size\": 50, \"batch_delay_ms\": 0, \"max_retries\": 3}')",
    )
    .bind(sync.0)
    .bind(stack.org.0)
    .bind(status.name())
    .bind(has_begun)
    .bind(status.is_final())
    .execute(&stack.database.superuser)
    .await
    .unwrap();
    sync
}

/// R1, R6, R45: every command in every state: accepted and carried out, or a problem that names the state and what is
/// possible, and nothing is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_state_takes_the_commands_that_it_allows_and_no_others() {
    let mut stack = Stack::new().await;
    let api = Api::start(&stack);
    let mut ends = Vec::new();
    for status in Status::ALL {
        for command in COMMANDS {
            let sync = stand(&stack, status).await;
            let path = format!("/api/v1/syncs/{sync}/{command}");
            let answer = api.client.post(&path, &json!({})).await;
            let what = format!("{command} of a sync that is {}", status.name());
            if let Some((_, end)) = possible(status).iter().find(|(name, _)| *name == command) {
                assert_eq!(
                    answer.header("location"),
                    format!("/api/v1/syncs/{sync}"),
                    "{what}"
                );
                let accepted = answer.ok(202);
                assert_eq!(accepted["syncId"], json!(sync), "{what}");
                assert_eq!(accepted["command"], command, "{what}");
                ends.push((what, sync, *end));
            } else {
                let problem = answer.problem(409, "not-possible-now");
                assert_eq!(problem["syncStatus"], status.name(), "R1: {what}");
                let names: Vec<&str> = possible(status).iter().map(|(name, _)| *name).collect();
                assert_eq!(problem["possibleCommands"], json!(names), "R1: {what}");
                ends.push((what, sync, in_the_end(status)));
            }
        }
    }
    let stored: i64 = sqlx::query_scalar("select count(*) from sync_command")
        .fetch_one(&stack.database.superuser)
        .await
        .unwrap();
    assert_eq!(stored, 9, "R1: what was refused left nothing");

    stack.work();

    for (what, sync, end) in ends {
        eventually(&format!("{what} to end {}", end.name()), || async {
            (stack.view(sync).await.status == end).then_some(())
        })
        .await;
    }
}

/// R6: what is asked before the workers have heard of what was asked before is judged by where the sync will stand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_wait_count_when_another_is_asked() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let sync = start(&api.client).await;
    let ask = async |command: &str| {
        let path = format!("/api/v1/syncs/{sync}/{command}");
        api.client.post(&path, &json!({})).await
    };

    assert_eq!(ask("pause").await.ok(202)["status"], "pausing", "R6");
    let problem = ask("pause").await.problem(409, "not-possible-now");
    assert_eq!(problem["possibleCommands"], json!(["resume", "cancel"]), "R6");
    assert_eq!(ask("resume").await.ok(202)["status"], "processing", "R6");
    assert_eq!(ask("cancel").await.ok(202)["status"], "cancelling", "R6");
    let problem = ask("resume").await.problem(409, "not-possible-now");
    assert_eq!(problem["possibleCommands"], json!([]), "R6");
}

/// R43: what another organisation has can't be told anything, and looks as if it were not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_commands_another_organisations_sync() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let sync = start(&api.client).await;
    let other = lockstep_shared::id::OrgId::random();
    let stranger = api.client_of(super::organisation(&stack, other).await);

    for command in COMMANDS {
        for sync in [&sync, &id()] {
            let path = format!("/api/v1/syncs/{sync}/{command}");
            stranger.post(&path, &json!({})).await.problem(404, "not-found");
        }
    }
    let events = format!("/api/v1/syncs/{sync}/events");
    stranger.get(&events).await.problem(404, "not-found");

    let stored: i64 = sqlx::query_scalar("select count(*) from sync_command")
        .fetch_one(&stack.database.superuser)
        .await
        .unwrap();
    assert_eq!(stored, 1, "R43: only the start");
}
