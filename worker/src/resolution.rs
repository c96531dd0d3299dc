//! Applying people's answers to conflicts: each in one transaction that sets our record and its item, makes them due, and
//! closes the conflict. Whatever dies, an answer is either still waiting or its item is due; nothing is sent here.

use lockstep_shared::activity::{self, Activity, Outcome};
use lockstep_shared::conflict;
use lockstep_shared::db::{self, Isolation, OrgTx};
use lockstep_shared::decide::Agreed;
use lockstep_shared::entity::{Content, Invalid};
use lockstep_shared::id::{ConnectionId, ItemId, OrgId, StageId, SyncId};
use lockstep_shared::item::disputed::{self, Disputed};
use lockstep_shared::item::{self, State};
use lockstep_shared::queue::{self, Bell};
use lockstep_shared::record::{self, Put};
use lockstep_shared::resolution::{self, Answered, Occasion, Question, Waiting};
use lockstep_shared::stage;
use serde_json::json;
use sqlx::{PgConnection, PgPool};

/// Times that an answer is applied again where others were in its way.
const ATTEMPTS: u32 = 10;

/// Answers the bell: applies whatever answers of the organisation wait, one transaction each.
pub async fn answer(pool: &PgPool, org: OrgId) -> Result<(), sqlx::Error> {
    let mut attempts = 0;
    loop {
        match apply_next(pool, org).await {
            Ok(true) => attempts = 0,
            Ok(false) => return ring_again(pool, org).await,
            Err(error) if db::must_repeat(&error) && attempts < ATTEMPTS => attempts += 1,
            Err(error) => return Err(error),
        }
    }
}

async fn apply_next(pool: &PgPool, org: OrgId) -> Result<bool, sqlx::Error> {
    let mut tx = db::begin(pool, org, Isolation::ReadCommitted).await?;
    let Some(waiting) = resolution::next(&mut tx, org).await? else {
        return Ok(false);
    };
    apply(&mut tx, org, &waiting).await?;
    tx.commit().await?;
    Ok(true)
}

/// Rings for the answers that were put off.
async fn ring_again(pool: &PgPool, org: OrgId) -> Result<(), sqlx::Error> {
    let mut tx: OrgTx = db::begin(pool, org, Isolation::ReadCommitted).await?;
    let Some(at) = resolution::earliest(&mut tx, org).await? else {
        return Ok(());
    };
    if at > db::now(&mut tx).await? {
        queue::ring(&mut tx, Bell::Resolutions { org_id: org }, Some(at)).await?;
    }
    tx.commit().await
}

/// Applies the answers that a sync of their own is to carry, in the transaction that starts it.
pub async fn apply_of_sync(db: &mut PgConnection, org: OrgId, sync: SyncId) -> Result<(), sqlx::Error> {
    for waiting in resolution::of_sync(db, org, sync).await? {
        apply(db, org, &waiting).await?;
    }
    Ok(())
}

async fn apply(db: &mut PgConnection, org: OrgId, waiting: &Waiting) -> Result<(), sqlx::Error> {
    let id = waiting.conflict_id;
    if waiting.is_resolved {
        let outcome = "the conflict had solved itself before";
        resolution::applied(db, org, id, outcome, None).await?;
        return tell(db, org, waiting, outcome).await;
    }
    let Some(item_id) = waiting.item_id else {
        // Nothing of it can be sent: it is put away.
        return close(db, org, waiting, None, "put away").await;
    };
    // Stages are locked before items, as whoever settles a batch does.
    let open = match waiting.occasion {
        Occasion::Running => stage::lock_open_pushes(db, org, waiting.entity_type).await?,
        Occasion::Next | Occasion::Now => Vec::new(),
    };
    let Some(item) = disputed::lock(db, org, item_id).await? else {
        return close(db, org, waiting, None, "its item is not there any more").await;
    };
    if item.is_in_hand {
        return resolution::put_off(db, org, id).await;
    }
    if item.is_gone {
        let outcome =
            "nothing is sent: the thing was deleted in its system; put the record again to have it made anew";
        return close(db, org, waiting, None, outcome).await;
    }
    let answered = match decide(waiting, &item) {
        Ok(answered) => answered,
        Err(invalid) => {
            let why = format!("the answer could not be carried out: {invalid}");
            resolution::discard(db, org, id, &why).await?;
            return tell(db, org, waiting, &why).await;
        }
    };
    set(db, org, waiting, (item_id, &item), &answered).await?;
    let carried_by = match waiting.occasion {
        Occasion::Now => waiting.sync_id,
        Occasion::Next => None,
        Occasion::Running => join(db, org, waiting, &item, &open).await?,
    };
    let outcome = outcome(answered.state, waiting, carried_by);
    close(db, org, waiting, Some((&answered.content, carried_by)), outcome).await?;
    if answered.state == State::Synced {
        conflict::close_settled(db, org, &[item_id]).await?;
    }
    Ok(())
}

/// Reads what the answer is about, and tells what it comes to.
fn decide(waiting: &Waiting, item: &Disputed) -> Result<Answered, Invalid> {
    let entity = waiting.entity_type;
    let given = waiting
        .content
        .clone()
        .map(|json| Content::parse(entity, json))
        .transpose()?;
    let whole = match (&given, Content::parse(entity, item.content.clone())) {
        (_, Ok(whole)) => whole,
        // A record of ours that can't be read any more is mended by one that is given.
        (Some(given), Err(_)) => given.clone(),
        (None, Err(invalid)) => return Err(invalid),
    };
    let base = item
        .base
        .clone()
        .and_then(|base| Agreed::stored(entity, base, item.held.clone()).ok());
    let question = Question {
        conflict_type: waiting.conflict_type,
        seen: &waiting.seen,
        latest: &waiting.latest,
        whole: &whole,
        base: base.as_ref(),
        state: item.state,
    };
    resolution::answer(question, waiting.action, given)
}

/// Writes what the record says from now on, and makes it due: for the other connections where it changed, and here.
async fn set(
    db: &mut PgConnection,
    org: OrgId,
    waiting: &Waiting,
    (item_id, item): (ItemId, &Disputed),
    answered: &Answered,
) -> Result<(), sqlx::Error> {
    let put = Put {
        record_id: item.record_id,
        content: answered.content.clone(),
    };
    let entity = waiting.entity_type;
    let changed = record::put(db, org, entity, &[put]).await?;
    // With this connection as the source: what is gone elsewhere stays gone.
    item::make_due(db, org, entity, &changed, Some(waiting.connection_id)).await?;
    let left = format!("left as it is, as {} answered", waiting.requested_by);
    let last_error = (answered.state == State::Skipped).then_some(left.as_str());
    let new = (answered.state, answered.base.as_ref());
    disputed::answer(db, org, item_id, new, last_error).await
}

/// Has what is due join the pushes that are under way. Returns the sync that carries this connection's part, if one does.
async fn join(
    db: &mut PgConnection,
    org: OrgId,
    waiting: &Waiting,
    item: &Disputed,
    open: &[stage::OpenPush],
) -> Result<Option<SyncId>, sqlx::Error> {
    let now = db::now(db).await?;
    let stages: Vec<(StageId, ConnectionId)> = open
        .iter()
        .map(|push| (push.stage_id, push.connection_id))
        .collect();
    disputed::join(db, org, item.record_id, &stages, now).await?;
    let here = open
        .iter()
        .find(|push| push.connection_id == waiting.connection_id);
    match here {
        Some(push) => Ok(Some(push.sync_id)),
        None => stage::coming_push(db, org, (waiting.connection_id, waiting.entity_type)).await,
    }
}

const fn outcome(state: State, waiting: &Waiting, carried_by: Option<SyncId>) -> &'static str {
    match (state, waiting.occasion, carried_by) {
        (State::Synced, ..) => "the system's own is kept; the others get it",
        (State::Skipped, ..) => "left as it is",
        (_, Occasion::Now, _) => "carried by a sync of its own",
        (_, Occasion::Running, Some(_)) => "carried by the sync that is running",
        (_, Occasion::Running | Occasion::Next, _) => "carried by the next sync",
    }
}

/// Closes the conflict, and says who answered and what became of it.
async fn close(
    db: &mut PgConnection,
    org: OrgId,
    waiting: &Waiting,
    carried: Option<(&Content, Option<SyncId>)>,
    outcome: &str,
) -> Result<(), sqlx::Error> {
    let (content, sync) = carried.unzip();
    resolution::close(db, org, waiting, content).await?;
    resolution::applied(db, org, waiting.conflict_id, outcome, sync.flatten()).await?;
    tell(db, org, waiting, outcome).await
}

async fn tell(
    db: &mut PgConnection,
    org: OrgId,
    waiting: &Waiting,
    outcome: &str,
) -> Result<(), sqlx::Error> {
    let line = Activity {
        sync: waiting.sync_id,
        actor: waiting.requested_by.clone(),
        action: "conflict.resolved",
        outcome: Outcome::Done,
        details: json!({
            "conflictId": waiting.conflict_id, "conflictType": waiting.conflict_type, "resolution": waiting.action,
            "outcome": outcome,
        }),
    };
    tracing::info!(org.id = %org, conflict.id = %waiting.conflict_id, action = waiting.action.name(), outcome, "a conflict was answered");
    activity::record(db, org, line).await
}
