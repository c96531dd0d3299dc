//! Deaths between a person's answer and its write.

use lockstep_shared::decide::Owner;
use lockstep_shared::id::SyncId;
use lockstep_shared::sync::Status;
use lockstep_tests::dispute::{Dispute, start_products, sync_products};
use lockstep_tests::stack::{Stack, eventually};
use serde_json::json;

use super::{program, quick};

/// Where the worker that carries an answer dies: before it was sent, in doubt whether it was, and after.
const POINTS: [&str; 6] = [
    "claim.after",
    "load.after",
    "intend.after",
    "call.after",
    "outcome.after",
    "settle.inside",
];

/// R13, R23: whoever dies between an answer and its write, it arrives once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_survives_every_death_and_is_written_once() {
    let stack = Stack::new().await;
    let product = Dispute::prepare(&stack, Owner::Manual).await;
    let config = quick(&stack);
    let mut worker = program().start(&config, "");
    let first = sync_products(&stack).await;
    assert_eq!(first.status(), Status::Done, "{:#?}", stack.troubles().await);
    let lamp = Dispute::found(stack, product);

    for (round, point) in POINTS.into_iter().enumerate() {
        let shop = format!("Lamp of the shop {round}");
        lamp.rename_in_store(&shop);
        lamp.rename_in_erp(&format!("Lamp of the office {round}"));
        sync_products(&lamp.stack).await;
        let conflict = lamp.conflicts().await.remove(0);
        assert_eq!(conflict["state"], "open", "{point}");
        lamp.stack.forget_effects();
        // Killed while it may be at the answer, or before it has heard of it.
        let answer = json!({"resolution": "accept", "when": "now"});
        let answered = lamp.answered(&conflict, &answer).await;
        worker.kill();
        let id: SyncId = answered["answer"]["syncId"].as_str().unwrap().parse().unwrap();
        if lamp.stack.view(id).await.status.is_final() {
            // It was quicker than we are.
            worker = program().start(&config, "");
        } else {
            let mut dying = program().start(&config, &format!("push.odoo.products.{point}=return"));
            let view = &lamp.stack;
            eventually("the worker to die, or the end", || {
                let is_over = dying.status().is_some();
                async move { (is_over || view.view(id).await.status.is_final()).then_some(()) }
            })
            .await;
            dying.kill();
            worker = program().start(&config, "");
        }

        let sync = lamp.stack.finish(id).await;

        assert_eq!(
            sync.status(),
            Status::Done,
            "{point}: {:#?}",
            lamp.stack.troubles().await
        );
        assert_eq!(lamp.names(), [shop.clone(), shop], "R13: {point}");
        let (store, erp) = lamp.stack.effects();
        let written = erp.iter().filter(|effect| effect.changed).count();
        assert_eq!((store.len(), written), (0, 1), "R13: {point}: {erp:#?}");
        let resolved = lamp.applied(&conflict).await;
        assert_eq!(resolved["closedBy"], "accept", "{point}");
    }
    lamp.stack.forget_effects();
    let id = start_products(&lamp.stack).await;
    assert_eq!(lamp.stack.finish(id).await.status(), Status::Done);
    lamp.stack.assert_nothing_felt();
}
