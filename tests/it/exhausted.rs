//! Mismatches that were tried as often as their sync allows: what they are called, and that they are answered like any other.

use lockstep_shared::decide::Owner;
use lockstep_shared::sync::{Config, Status};
use lockstep_shared::system::EntityType;
use lockstep_tests::dispute::{Dispute, sync_products};
use serde_json::{Value, json};

/// Has both systems call the lamp by another name, and syncs with so many retries; returns the conflict.
async fn exhausted(max_retries: u32) -> (Dispute, Value) {
    let lamp = Dispute::new(Owner::Shared).await;
    lamp.disagree();
    let config = Config::new(None, Some(0), Some(max_retries)).unwrap();
    let sync = lamp.stack.start_types(vec![EntityType::Products], config).await;
    let sync = lamp.stack.finish(sync).await;
    assert_eq!(
        sync.status(),
        Status::Partial,
        "{:#?}",
        lamp.stack.troubles().await
    );
    let conflict = lamp.conflict().await;
    (lamp, conflict)
}

fn summary(conflict: &Value) -> [&Value; 3] {
    ["type", "strategy", "retries"].map(|name| &conflict[name])
}

/// Answers an exhausted mismatch, syncs, and returns the names that the lamp has in the store and the ERP then.
async fn answered(answer: impl AsyncFnOnce(&Dispute) -> Value) -> [String; 2] {
    let (lamp, conflict) = exhausted(1).await;
    assert_eq!(summary(&conflict)[0], "RetryExhausted", "R25");
    let answer = answer(&lamp).await;

    lamp.answer(&conflict, &answer).await;
    let sync = sync_products(&lamp.stack).await;

    assert_eq!(sync.status(), Status::Done, "{:#?}", lamp.stack.troubles().await);
    assert_eq!(lamp.conflicts().await.len(), 1, "it is not asked again");
    lamp.names()
}

/// R25: as many retries as the sync allows; what was known of it stays known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mismatch_is_exhausted_after_as_many_retries_as_its_sync_allows() {
    let (_lamp, conflict) = exhausted(1).await;

    assert_eq!(
        summary(&conflict),
        [&json!("RetryExhausted"), &json!("Manual"), &json!(1)],
        "R25"
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
    assert!(
        conflict["next"]
            .as_str()
            .unwrap()
            .contains("`reject` keeps what the system holds"),
        "R23"
    );
}

/// R21: after three retries a person is asked, however many more the sync would allow: it is a mismatch still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_asked_after_three_retries_where_a_sync_allows_five() {
    let (_lamp, conflict) = exhausted(5).await;

    assert_eq!(
        summary(&conflict),
        [&json!("DataMismatch"), &json!("Manual"), &json!(3)],
        "R21"
    );
}

/// R25: the next sync sees it again, and it stays one conflict that was tried often enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exhausted_mismatch_that_is_seen_again_stays_one_conflict() {
    let (lamp, before) = exhausted(1).await;

    lamp.rename_in_erp("Lamp of the warehouse");
    sync_products(&lamp.stack).await;

    let after = lamp.conflict().await;
    assert_eq!(summary(&after), summary(&before), "R25");
    assert_eq!(after["conflictId"], before["conflictId"]);
    assert_eq!(after["theirs"]["name"], "Lamp of the warehouse");
}

/// R23, R25: `accept` sends what is proposed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepting_an_exhausted_mismatch_sends_ours() {
    let names = answered(async |_| json!({"resolution": "accept"})).await;

    assert_eq!(names, ["Lamp of the shop", "Lamp of the shop"]);
}

/// R23, R25: `reject` keeps what the system holds, and brings it to the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejecting_an_exhausted_mismatch_keeps_theirs() {
    let names = answered(async |_| json!({"resolution": "reject"})).await;

    assert_eq!(names, ["Lamp of the office", "Lamp of the office"]);
}

/// R23, R25: `custom` sends what is given to both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_for_an_exhausted_mismatch_is_sent_to_both() {
    let names = answered(async |lamp: &Dispute| {
        let (_, mut given) = lamp.record().await;
        given["name"] = json!("Lamp of everybody");
        json!({"resolution": "custom", "customData": given})
    })
    .await;

    assert_eq!(names, ["Lamp of everybody", "Lamp of everybody"]);
}
