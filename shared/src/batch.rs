//! Batches: what a worker has in hand, under a lease that a token proves.
//!
//! Every write of an owner names its token; no row answering means that the batch has another owner by now.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::id::{BatchId, ConnectionId, OrgId, StageId, SyncId, Token};
use crate::queue::{self, Bell};
use crate::system::{Direction, EntityType};

/// What became of a batch's items. Kept on the batch's own row and summed when read: no row that every worker updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Things a pull read.
    pub seen: i64,
    pub created: i64,
    pub updated: i64,
    pub unchanged: i64,
    pub skipped: i64,
    pub failed: i64,
    pub conflicts: i64,
    /// Items moved to a follow-up batch because a request had no answer.
    pub in_doubt: i64,
}

impl Counts {
    /// Items that a push is through with.
    pub const fn settled(&self) -> i64 {
        self.created + self.updated + self.unchanged + self.skipped + self.failed + self.conflicts
    }

    /// Adds what became of other items.
    pub const fn add(&mut self, other: &Self) {
        self.seen += other.seen;
        self.created += other.created;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.skipped += other.skipped;
        self.failed += other.failed;
        self.conflicts += other.conflicts;
        self.in_doubt += other.in_doubt;
    }
}

/// A batch to be opened.
#[derive(Clone, Debug)]
pub struct NewBatch {
    pub batch_id: BatchId,
    pub sync_id: SyncId,
    pub stage_id: StageId,
    pub connection_id: ConnectionId,
    pub entity_type: EntityType,
    pub direction: Direction,
    pub lane: i32,
    pub run_at: DateTime<Utc>,
    pub position: i64,
    pub item_count: i32,
    pub traceparent: Option<String>,
}

/// A batch's row, as its owner holds it.
#[derive(Clone, Debug)]
pub struct Batch {
    pub batch_id: BatchId,
    pub sync_id: SyncId,
    pub stage_id: StageId,
    pub connection_id: ConnectionId,
    pub entity_type: EntityType,
    pub direction: Direction,
    pub lane: i32,
    pub position: i64,
    pub item_count: i32,
    pub attempts: i32,
    pub takeovers: i32,
    /// Whether this claim took it from an owner whose lease had run out.
    pub is_taken_over: bool,
    pub traceparent: Option<String>,
}

/// Opens a batch and rings its bell.
pub async fn open(
    db: &mut PgConnection,
    org: OrgId,
    new: &NewBatch,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    insert(db, org, new).await?;
    let at = (new.run_at > now).then_some(new.run_at);
    queue::ring(
        db,
        Bell::Batch {
            org_id: org,
            id: new.batch_id,
        },
        at,
    )
    .await
}

/// Stores a batch without ringing: its items have to join it first.
pub async fn insert(db: &mut PgConnection, org: OrgId, new: &NewBatch) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into sync_batch (org_id, batch_id, sync_id, stage_id, connection_id, entity_type, direction, lane,
                                 run_at, position, item_count, traceparent)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        org as _,
        new.batch_id as _,
        new.sync_id as _,
        new.stage_id as _,
        new.connection_id as _,
        new.entity_type as _,
        new.direction as _,
        new.lane,
        new.run_at,
        new.position,
        new.item_count,
        new.traceparent,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes how many items joined a batch that was just stored, and how far its lane has got, and rings its bell.
pub async fn fill(
    db: &mut PgConnection,
    org: OrgId,
    new: &NewBatch,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sync_batch set item_count = $3, position = $4, run_at = $5 where org_id = $1 and batch_id = $2",
        org as _,
        new.batch_id as _,
        new.item_count,
        new.position,
        new.run_at,
    )
    .execute(&mut *db)
    .await?;
    let at = (new.run_at > now).then_some(new.run_at);
    queue::ring(
        db,
        Bell::Batch {
            org_id: org,
            id: new.batch_id,
        },
        at,
    )
    .await
}

/// Takes back a batch that nothing joined.
pub async fn discard_empty(db: &mut PgConnection, org: OrgId, id: BatchId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from sync_batch where org_id = $1 and batch_id = $2 and item_count = 0 and status = 'queued'",
        org as _,
        id as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What claiming a batch brought.
#[derive(Clone, Debug)]
pub enum Claim {
    Claimed(Batch),
    /// Not now: its time has not come, another page of its kind is running, or its organisation has as many batches
    /// running as it may. Look again then.
    NotBefore(DateTime<Utc>),
    /// Nothing to do: done, in other hands, or its sync is not running.
    Nothing,
}

/// A claim that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    pub batch: BatchId,
    pub token: Token,
    pub owner: &'a str,
    pub lease: Duration,
}

/// Claims a batch that is due, or whose owner's lease has run out, under a new token.
pub async fn claim(db: &mut PgConnection, org: OrgId, claimant: Claimant<'_>) -> Result<Claim, sqlx::Error> {
    lock_claims(db, org).await?;
    let limit = sqlx::query_scalar!(
        "select running_batch_limit from organisation where org_id = $1",
        org as _
    )
    .fetch_one(&mut *db)
    .await?;
    let Some(found) = sqlx::query!(
        r#"
        select b.direction, b.connection_id, b.entity_type, b.run_at, lockstep_now() as "now!",
               (b.status = 'queued' and b.run_at > lockstep_now()) as "is_early!",
               ((b.status = 'queued' and b.run_at <= lockstep_now())
                or (b.status = 'running' and b.lease_until <= lockstep_now())) as "is_claimable!",
               (b.status = 'running') as "is_takeover!", b.takeovers > 0 as "was_taken_over!",
               (s.status = 'processing') as "is_processing!"
          from sync_batch b
          join sync_orchestration s on s.org_id = b.org_id and s.sync_id = b.sync_id
         where b.org_id = $1 and b.batch_id = $2
           for update of b
        "#,
        org as _,
        claimant.batch as _,
    )
    .fetch_optional(&mut *db)
    .await?
    else {
        return Ok(Claim::Nothing);
    };
    if found.is_early {
        return Ok(Claim::NotBefore(found.run_at));
    }
    if !found.is_claimable || !found.is_processing {
        return Ok(Claim::Nothing);
    }
    let others = sqlx::query!(
        r#"
        select count(*) filter (where parked_token is distinct from token) as "running!",
               coalesce(bool_or(takeovers > 0 and owner = $5 and lease_until > lockstep_now()
                                and parked_token is distinct from token), false) as "has_suspect!",
               coalesce(bool_or(direction = 'pull' and connection_id = $3 and entity_type = $4), false) as "has_page!"
          from sync_batch
         where org_id = $1 and status = 'running' and batch_id <> $2
        "#,
        org as _,
        claimant.batch as _,
        found.connection_id,
        found.entity_type,
        claimant.owner,
    )
    .fetch_one(&mut *db)
    .await?;
    // What outlived its owner goes alone among its like: an item that kills whoever touches it takes no other along again.
    if (found.is_takeover || found.was_taken_over) && others.has_suspect {
        return Ok(Claim::NotBefore(found.now + chrono::Duration::seconds(1)));
    }
    if others.running >= i64::from(limit) || (found.direction == "pull" && others.has_page) {
        return Ok(Claim::NotBefore(found.now + chrono::Duration::seconds(1)));
    }
    take(db, org, claimant, found.is_takeover)
        .await
        .map(Claim::Claimed)
}

/// Has the claims of one organisation go one after another until the transaction ends, so that its cap on running batches
/// holds. Taken before any row of a batch is locked.
pub async fn lock_claims(db: &mut PgConnection, org: OrgId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended('lockstep.claim', 0) # hashtextextended($1, 0))::text",
        org.to_string(),
    )
    .fetch_one(db)
    .await?;
    Ok(())
}

/// Notes that a batch waits and does nothing: it does not count as running any more. `false`: it has another owner.
pub async fn park(db: &mut PgConnection, org: OrgId, id: BatchId, token: Token) -> Result<bool, sqlx::Error> {
    let parked = sqlx::query!(
        "update sync_batch set parked_token = token
          where org_id = $1 and batch_id = $2 and token = $3 and status = 'running'",
        org as _,
        id as _,
        token as _,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(parked == 1)
}

/// Counts a batch that was parked as running again. `false`: its organisation has as many running as it may, or it has
/// another owner. Only under [`lock_claims`].
pub async fn unpark(
    db: &mut PgConnection,
    org: OrgId,
    id: BatchId,
    token: Token,
) -> Result<bool, sqlx::Error> {
    let unparked = sqlx::query!(
        "update sync_batch b set parked_token = null
          where b.org_id = $1 and b.batch_id = $2 and b.token = $3 and b.status = 'running'
            and (select running_batch_limit from organisation where org_id = $1)
                > (select count(*) from sync_batch o
                    where o.org_id = $1 and o.status = 'running' and o.batch_id <> $2
                      and o.parked_token is distinct from o.token)",
        org as _,
        id as _,
        token as _,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(unparked == 1)
}

async fn take(
    db: &mut PgConnection,
    org: OrgId,
    claimant: Claimant<'_>,
    is_takeover: bool,
) -> Result<Batch, sqlx::Error> {
    sqlx::query_as!(
        Batch,
        r#"
        update sync_batch
           set status = 'running', token = $3, owner = $4, lease_until = lockstep_now() + make_interval(secs => $5),
               takeovers = takeovers + $6::int
         where org_id = $1 and batch_id = $2
        returning batch_id as "batch_id: BatchId", sync_id as "sync_id: SyncId", stage_id as "stage_id: StageId",
                  connection_id as "connection_id: ConnectionId", entity_type as "entity_type: EntityType",
                  direction as "direction: Direction", lane, position, item_count, attempts, takeovers,
                  ($6::int > 0) as "is_taken_over!", traceparent
        "#,
        org as _,
        claimant.batch as _,
        claimant.token as _,
        claimant.owner,
        claimant.lease.as_secs_f64(),
        i32::from(is_takeover),
    )
    .fetch_one(db)
    .await
}

/// Puts a batch's next look off and rings its bell for then.
pub async fn ring_again(
    db: &mut PgConnection,
    org: OrgId,
    id: BatchId,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    queue::ring(db, Bell::Batch { org_id: org, id }, Some(at)).await
}

/// Says whether the batch is still the token's, and holds it so until the transaction ends. `true` also means that its
/// sync is running: the door for new external calls is open.
pub async fn hold(db: &mut PgConnection, org: OrgId, id: BatchId, token: Token) -> Result<Held, sqlx::Error> {
    let found = sqlx::query!(
        r#"
        select (s.status = 'processing') as "is_open!", lockstep_now() as "now!"
          from sync_batch b
          join sync_orchestration s on s.org_id = b.org_id and s.sync_id = b.sync_id
         where b.org_id = $1 and b.batch_id = $2 and b.token = $3 and b.status = 'running'
           for share of b
        "#,
        org as _,
        id as _,
        token as _,
    )
    .fetch_optional(db)
    .await?;
    Ok(match found {
        Some(row) if row.is_open => Held::Yes { now: row.now },
        Some(_) => Held::DoorClosed,
        None => Held::Lost,
    })
}

/// Takes a batch's row for the transaction that settles it. The renewal of leases passes it by from here on, so that
/// neither waits for the other nor has the other repeated. `false`: it has another owner.
pub async fn take_to_settle(
    db: &mut PgConnection,
    org: OrgId,
    id: BatchId,
    token: Token,
) -> Result<bool, sqlx::Error> {
    let found = sqlx::query_scalar!(
        "select 1 from sync_batch where org_id = $1 and batch_id = $2 and token = $3 and status = 'running'
            for no key update",
        org as _,
        id as _,
        token as _,
    )
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

/// Whether a batch is still its owner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    Yes {
        now: DateTime<Utc>,
    },
    /// It is, but its sync is not to make new external calls.
    DoorClosed,
    Lost,
}

/// How a batch is left.
#[derive(Clone, Copy, Debug)]
pub enum Leave<'a> {
    /// Nothing is left of it.
    Done,
    /// What is left is for later; the token is given up.
    Later {
        at: DateTime<Utc>,
        attempts: i32,
        error: Option<&'a str>,
    },
}

/// Settles a batch: adds its counts and leaves it. `false` where the token is not the batch's any more: then nothing
/// of the caller's transaction may stand.
pub async fn leave(
    db: &mut PgConnection,
    org: OrgId,
    (id, token): (BatchId, Token),
    counts: &Counts,
    leave: Leave<'_>,
) -> Result<bool, sqlx::Error> {
    let (is_done, at, attempts, error) = match leave {
        Leave::Done => (true, None, 0, None),
        Leave::Later { at, attempts, error } => (false, Some(at), attempts, error),
    };
    let count = |value: i64| i32::try_from(value).unwrap_or(i32::MAX);
    let left = sqlx::query!(
        "update sync_batch
            set status = case when $4 then 'done' else 'queued' end,
                token = null, owner = null, lease_until = null,
                closed_at = case when $4 then lockstep_now() end,
                run_at = coalesce($5, run_at), rung_at = greatest(lockstep_now(), coalesce($5, rung_at)),
                attempts = $6, error_message = $7,
                takeovers = case when $16 then 0 else takeovers end,
                seen_count = seen_count + $8, created_count = created_count + $9, updated_count = updated_count + $10,
                unchanged_count = unchanged_count + $11, skipped_count = skipped_count + $12,
                failed_count = failed_count + $13, conflict_count = conflict_count + $14,
                in_doubt_count = in_doubt_count + $15
          where org_id = $1 and batch_id = $2 and token = $3 and status = 'running'",
        org as _,
        id as _,
        token as _,
        is_done,
        at,
        attempts,
        error,
        count(counts.seen),
        count(counts.created),
        count(counts.updated),
        count(counts.unchanged),
        count(counts.skipped),
        count(counts.failed),
        count(counts.conflicts),
        count(counts.in_doubt),
        *counts != Counts::default(),
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(left == 1)
}

/// Says whether a stage has a batch that is not done.
pub async fn has_open(db: &mut PgConnection, org: OrgId, stage: StageId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from sync_batch where org_id = $1 and stage_id = $2 and status <> 'done') as "has_open!""#,
        org as _,
        stage as _,
    )
    .fetch_one(db)
    .await
}

/// Where a stage's main lane stands: whether it has an open batch, and how far it has picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MainLane {
    pub has_open: bool,
    pub position: i64,
}

/// Reads where a stage's main lane stands.
pub async fn main_lane(db: &mut PgConnection, org: OrgId, stage: StageId) -> Result<MainLane, sqlx::Error> {
    sqlx::query_as!(
        MainLane,
        r#"
        select coalesce(bool_or(status <> 'done'), false) as "has_open!", coalesce(max(position), 0) as "position!"
          from sync_batch
         where org_id = $1 and stage_id = $2 and lane = 0
        "#,
        org as _,
        stage as _,
    )
    .fetch_one(db)
    .await
}

/// Closes every batch of a stage that is not done. An owner of one finds out before its next call.
pub async fn close_all(db: &mut PgConnection, org: OrgId, stage: StageId) -> Result<u64, sqlx::Error> {
    let closed = sqlx::query!(
        "update sync_batch
            set status = 'done', token = null, owner = null, lease_until = null, closed_at = lockstep_now()
          where org_id = $1 and stage_id = $2 and status <> 'done'",
        org as _,
        stage as _,
    )
    .execute(db)
    .await?;
    Ok(closed.rows_affected())
}

/// Moves half of a batch's items to another batch, which has to be stored already; returns how many moved.
pub async fn halve(db: &mut PgConnection, org: OrgId, id: BatchId, to: BatchId) -> Result<i32, sqlx::Error> {
    let moved = sqlx::query!(
        "update item i set batch_id = $3
           from (select item_id, row_number() over (order by due_sequence) as place, count(*) over () as size
                   from item where org_id = $1 and batch_id = $2) half
          where i.org_id = $1 and i.item_id = half.item_id and half.place > (half.size + 1) / 2",
        org as _,
        id as _,
        to as _,
    )
    .execute(&mut *db)
    .await?
    .rows_affected();
    sqlx::query!(
        "update sync_batch set takeovers = 0, item_count = item_count - $3 where org_id = $1 and batch_id = $2",
        org as _,
        id as _,
        i32::try_from(moved).unwrap_or(i32::MAX),
    )
    .execute(db)
    .await?;
    Ok(i32::try_from(moved).unwrap_or(i32::MAX))
}

/// Notes that a batch gets on: the owners that it lost before were not lost to one of its items. The caller holds it.
pub async fn got_on(db: &mut PgConnection, org: OrgId, id: BatchId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sync_batch set takeovers = 0 where org_id = $1 and batch_id = $2 and takeovers > 0",
        org as _,
        id as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Returns a lane of the stage that was never used.
pub async fn free_lane(db: &mut PgConnection, org: OrgId, stage: StageId) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select coalesce(max(lane), 0) + 1 as "lane!" from sync_batch where org_id = $1 and stage_id = $2"#,
        org as _,
        stage as _,
    )
    .fetch_one(db)
    .await
}

/// Renews the leases of batches that this process runs and that make progress, whichever organisations they belong to.
/// Returns those that are still its own.
pub async fn renew(
    db: &mut PgConnection,
    held: &[(BatchId, Token)],
    lease: Duration,
) -> Result<Vec<BatchId>, sqlx::Error> {
    let batches: Vec<uuid::Uuid> = held.iter().map(|(batch, _)| batch.0).collect();
    let tokens: Vec<uuid::Uuid> = held.iter().map(|(_, token)| token.0).collect();
    sqlx::query_scalar!(
        r#"select batch_id as "batch_id!: BatchId" from fleet_renew_leases($1, $2, make_interval(secs => $3))"#,
        &batches,
        &tokens,
        lease.as_secs_f64(),
    )
    .fetch_all(db)
    .await
}

/// Finds work that is due and was not rung for a while, of any organisation, and marks it rung.
pub async fn silent_work(
    db: &mut PgConnection,
    quiet: Duration,
    most: i32,
) -> Result<Vec<Bell>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select org_id as "org_id!: OrgId", kind as "kind!", id as "id!"
          from fleet_silent_work(make_interval(secs => $1), $2)
        "#,
        quiet.as_secs_f64(),
        most,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| match row.kind.as_str() {
            "command" => Bell::Command {
                org_id: row.org_id,
                id: crate::id::CommandId(row.id),
            },
            _ => Bell::Batch {
                org_id: row.org_id,
                id: BatchId(row.id),
            },
        })
        .collect())
}
