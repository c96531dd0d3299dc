//! What comes next: the next batch of a lane, the next stage of a sync, the sync's end. Runs inside the transaction
//! that found out that something is over, with the stage's row locked.

use chrono::{DateTime, Utc};
use lockstep_shared::activity::{self, Activity, Outcome};
use lockstep_shared::batch::{self, NewBatch};
use lockstep_shared::connection::{self, Status as ConnectionStatus};
use lockstep_shared::db;
use lockstep_shared::id::{BatchId, OrgId, SyncId};
use lockstep_shared::item;
use lockstep_shared::stage::{self, Stage};
use lockstep_shared::sync::{self, Config, Status};
use lockstep_shared::system::Direction;
use serde_json::json;
use sqlx::PgConnection;

/// Opens the sync's next stage that has anything to do, and its first batch; closes the sync after the last.
pub async fn open_next_stage(db: &mut PgConnection, org: OrgId, sync: SyncId) -> Result<(), sqlx::Error> {
    let config = sync::config(db, org, sync).await?;
    while let Some(waiting) = stage::next_waiting(db, org, sync).await? {
        if let Some(reason) = unusable(db, org, &waiting).await? {
            stage::close(db, org, waiting.stage_id, Some(&reason)).await?;
            continue;
        }
        if waiting.direction == Direction::Push && waiting.scope != stage::Scope::Listed {
            item::make_missing(db, org, waiting.connection_id, waiting.entity_type).await?;
        }
        let open = stage::open(db, org, &waiting).await?;
        let now = db::now(db).await?;
        if open_batch(db, org, &open, &config, now).await? {
            return Ok(());
        }
        stage::close(db, org, open.stage_id, None).await?;
    }
    close_sync(db, org, sync).await
}

async fn unusable(db: &mut PgConnection, org: OrgId, stage: &Stage) -> Result<Option<String>, sqlx::Error> {
    let connection = connection::find(db, org, stage.connection_id).await?;
    Ok(match connection {
        None => Some("the connection is gone".to_owned()),
        Some(connection) if connection.status == ConnectionStatus::NeedsAttention => Some(format!(
            "the connection needs attention: {}",
            connection.attention.as_deref().unwrap_or("see its conflict")
        )),
        Some(_) => None,
    })
}

/// Goes on after a batch of the stage was closed: opens the main lane's next batch, or ends the stage.
///
/// `run_at` is when the next batch of the chain may run: now, plus the delay between batches.
pub async fn go_on(
    db: &mut PgConnection,
    org: OrgId,
    stage: &Stage,
    run_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    if stage.status != stage::Status::Open {
        return Ok(());
    }
    let config = sync::config(db, org, stage.sync_id).await?;
    let main = batch::main_lane(db, org, stage.stage_id).await?;
    if main.has_open
        || (stage.direction == Direction::Push && open_batch(db, org, stage, &config, run_at).await?)
    {
        return Ok(());
    }
    if !batch::has_open(db, org, stage.stage_id).await? {
        end_stage(db, org, stage, None).await?;
    }
    Ok(())
}

/// Closes a stage, with a reason where it failed, and opens the next one. What the lanes of a stage that failed still had
/// in hand is free for the next sync.
pub async fn end_stage(
    db: &mut PgConnection,
    org: OrgId,
    stage: &Stage,
    failure: Option<&str>,
) -> Result<(), sqlx::Error> {
    if stage::close(db, org, stage.stage_id, failure).await? {
        if failure.is_some() {
            item::let_go_of_stage(db, org, stage.stage_id).await?;
            batch::close_all(db, org, stage.stage_id).await?;
        }
        open_next_stage(db, org, stage.sync_id).await?;
    }
    Ok(())
}

/// Opens the next batch of a stage's main lane: the next page of a pull; for a push what is due, else the retries that
/// are scheduled. `false` where there is nothing left.
pub async fn open_batch(
    db: &mut PgConnection,
    org: OrgId,
    stage: &Stage,
    config: &Config,
    run_at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let now = db::now(db).await?;
    let main = batch::main_lane(db, org, stage.stage_id).await?;
    let mut new = new_batch(stage, BatchId::random(), 0, run_at);
    new.position = main.position;
    if stage.direction == Direction::Pull {
        batch::open(db, org, &new, now).await?;
        return Ok(true);
    }
    batch::insert(db, org, &new).await?;
    let limit = i64::from(config.batch_size);
    let picked = item::pick_due(db, org, stage, (new.batch_id, main.position), limit).await?;
    (new.item_count, new.position) = (picked.count, picked.position);
    if picked.count == 0
        && let Some(due_at) = item::earliest_retry(db, org, stage.stage_id).await?
    {
        new.run_at = run_at.max(due_at);
        new.item_count =
            item::pick_retries(db, org, stage.stage_id, (new.batch_id, new.run_at), limit).await?;
    }
    if new.item_count == 0 {
        batch::discard_empty(db, org, new.batch_id).await?;
        return Ok(false);
    }
    batch::fill(db, org, &new, now).await?;
    Ok(true)
}

/// Describes a batch of a stage, without items yet.
pub fn new_batch(stage: &Stage, batch_id: BatchId, lane: i32, run_at: DateTime<Utc>) -> NewBatch {
    NewBatch {
        batch_id,
        sync_id: stage.sync_id,
        stage_id: stage.stage_id,
        connection_id: stage.connection_id,
        entity_type: stage.entity_type,
        direction: stage.direction,
        lane,
        run_at,
        position: 0,
        item_count: 0,
        traceparent: None,
    }
}

async fn close_sync(db: &mut PgConnection, org: OrgId, sync: SyncId) -> Result<(), sqlx::Error> {
    let ends = stage::ends(db, org, sync).await?;
    let status = ends.status();
    let message = (status != Status::Done).then(|| {
        format!(
            "{} of {} stages failed, {} items did not get through",
            ends.failed,
            ends.failed + ends.finished,
            ends.unsettled_items
        )
    });
    if sync::advance(db, org, sync, (Status::Processing, status), message.as_deref()).await? {
        let line = Activity {
            sync: Some(sync),
            actor: "worker".to_owned(),
            action: "sync.completed",
            outcome: if status == Status::Failed {
                Outcome::Failed
            } else {
                Outcome::Done
            },
            details: json!({ "status": status.name(), "failedStages": ends.failed, "unsettledItems": ends.unsettled_items }),
        };
        activity::record(db, org, line).await?;
        tracing::info!(org.id = %org, sync.id = %sync, status = status.name(), "the sync is over");
    }
    Ok(())
}
