//! Pausing, resuming and cancelling: what a sync allows where it stands, who still has something of it in hand, and how
//! the news gets around.
//!
//! A command closes the door for new external calls at once, by the sync's status alone. What is in hand then is given
//! back by its owners; the last of them has the sync rest.

use sqlx::PgConnection;

use crate::command::Kind;
use crate::id::{OrgId, StageId, SyncId};
use crate::queue::{self, Bell};
use crate::sync::Status;

/// The channel on which workers are told that a sync's status has changed; the payload is its id.
pub const CHANNEL: &str = "lockstep_sync";

impl Status {
    /// Returns where a command leads from here, before anything of it is settled; `None`: it is not possible here (R1).
    pub const fn after(self, command: Kind) -> Option<Self> {
        match (command, self) {
            (Kind::Start, Self::Queued) | (Kind::Resume, Self::Pausing | Self::Paused) => {
                Some(Self::Processing)
            }
            (Kind::Pause, Self::Queued) => Some(Self::Paused),
            (Kind::Pause, Self::Processing) => Some(Self::Pausing),
            (Kind::Cancel, Self::Draft | Self::Queued) => Some(Self::Cancelled),
            (Kind::Cancel, Self::Processing | Self::Pausing | Self::Paused) => Some(Self::Cancelling),
            (
                Kind::Start | Kind::Pause | Kind::Resume | Kind::Cancel,
                Self::Draft
                | Self::Queued
                | Self::Processing
                | Self::Pausing
                | Self::Paused
                | Self::Cancelling
                | Self::Cancelled
                | Self::Done
                | Self::Partial
                | Self::Failed,
            ) => None,
        }
    }

    /// Returns where the sync will stand once commands that wait are applied, in their order. One that is not possible
    /// by then changes nothing.
    #[must_use]
    pub fn outlook(self, waiting: &[Kind]) -> Self {
        waiting
            .iter()
            .fold(self, |status, command| status.after(*command).unwrap_or(status))
    }

    /// Lists the commands of people that are possible here.
    pub fn commands(self) -> Vec<Kind> {
        [Kind::Pause, Kind::Resume, Kind::Cancel]
            .into_iter()
            .filter(|command| self.after(*command).is_some())
            .collect()
    }

    /// Returns where a sync that is to stop comes to rest once nobody has anything of it in hand.
    pub const fn rest(self) -> Option<Self> {
        match self {
            Self::Pausing => Some(Self::Paused),
            Self::Cancelling => Some(Self::Cancelled),
            Self::Draft
            | Self::Queued
            | Self::Processing
            | Self::Paused
            | Self::Cancelled
            | Self::Done
            | Self::Partial
            | Self::Failed => None,
        }
    }
}

/// Says whether a start that waits is overtaken: what was asked next is that the sync be not started.
pub fn is_overtaken(waiting: &[Kind]) -> bool {
    matches!(waiting, [Kind::Start, Kind::Pause | Kind::Cancel, ..])
}

/// Locks a sync's row until the transaction ends, and returns its status. After the stage's row, never before: see
/// [`crate::stage::lock`].
pub async fn hold(db: &mut PgConnection, org: OrgId, sync: SyncId) -> Result<Status, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select status as "status: Status" from sync_orchestration where org_id = $1 and sync_id = $2 for no key update"#,
        org as _,
        sync as _,
    )
    .fetch_one(db)
    .await
}

/// Says whether anyone has a batch of the sync in hand, under a lease that has not run out.
pub async fn is_in_hand(db: &mut PgConnection, org: OrgId, sync: SyncId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select from sync_batch
             where org_id = $1 and sync_id = $2 and status = 'running' and lease_until > lockstep_now()
        ) as "is_in_hand!"
        "#,
        org as _,
        sync as _,
    )
    .fetch_one(db)
    .await
}

/// Tells every worker that a sync's status changes, if and when the caller's transaction commits: who waits looks again.
pub async fn announce(db: &mut PgConnection, sync: SyncId) -> Result<(), sqlx::Error> {
    sqlx::query!("select pg_notify($1, $2)::text", CHANNEL, sync.to_string())
        .fetch_one(db)
        .await
        .map(|_| ())
}

/// Notes on a stage how long its sync stood still: its rate is measured without that. Before the sync goes on.
pub async fn note_standstill(
    db: &mut PgConnection,
    org: OrgId,
    (sync, stage): (SyncId, StageId),
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sync_stage t
            set paused_for = t.paused_for + (lockstep_now() - greatest(s.paused_at, t.opened_at)),
                resumed_at = lockstep_now()
           from sync_orchestration s
          where t.org_id = $1 and t.stage_id = $3 and s.org_id = $1 and s.sync_id = $2 and s.paused_at is not null",
        org as _,
        sync as _,
        stage as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Rings every batch of a stage that is not done and has no living owner. The delay between batches and the wait before a
/// failed call is tried again do not hold the main lane back: a person wants it to go on. Follow-ups of requests in doubt
/// keep their time.
pub async fn wake(db: &mut PgConnection, org: OrgId, stage: StageId) -> Result<(), sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        update sync_batch
           set run_at = case when lane = 0 then least(run_at, lockstep_now()) else run_at end,
               rung_at = greatest(lockstep_now(), case when lane = 0 then lockstep_now() else run_at end)
         where org_id = $1 and stage_id = $2
           and (status = 'queued' or (status = 'running' and lease_until <= lockstep_now()))
        returning batch_id as "batch_id: crate::id::BatchId", run_at, run_at > lockstep_now() as "is_later!"
        "#,
        org as _,
        stage as _,
    )
    .fetch_all(&mut *db)
    .await?;
    for row in rows {
        let bell = Bell::Batch {
            org_id: org,
            id: row.batch_id,
        };
        queue::ring(db, bell, row.is_later.then_some(row.run_at)).await?;
    }
    Ok(())
}

/// Finds syncs of any organisation that are to stop and that nobody has anything of in hand.
pub async fn stopping(db: &mut PgConnection, most: i32) -> Result<Vec<(OrgId, SyncId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select org_id as "org_id!: OrgId", sync_id as "sync_id!: SyncId" from fleet_stopping_sync($1)"#,
        most,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.org_id, row.sync_id)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [Kind; 4] = [Kind::Start, Kind::Pause, Kind::Resume, Kind::Cancel];

    fn any_status() -> impl Strategy<Value = Status> {
        prop::sample::select(Status::ALL.to_vec())
    }

    /// Follows a command to where it comes to rest, move by move.
    fn walk(from: Status, command: Kind) -> Vec<Status> {
        let mut path = vec![from];
        // A sync that had not begun goes on by way of its queue.
        path.extend(from.after(command));
        path.extend(path[path.len() - 1].rest());
        path
    }

    proptest! {
        /// R1: whatever a command does, it does by moves that the state machine allows.
        #[test]
        fn commands_make_legal_moves_only(from in any_status(), command in prop::sample::select(KINDS.to_vec())) {
            for step in walk(from, command).windows(2) {
                prop_assert!(step[0].allows(step[1]), "R1: {step:?}");
            }
        }

        #[test]
        fn nothing_can_be_asked_of_what_is_over(status in any_status()) {
            if status.is_final() || status == Status::Cancelling {
                prop_assert_eq!(status.commands(), Vec::<Kind>::new());
            }
        }

        #[test]
        fn whatever_waits_a_cancelled_sync_stays_cancelled(
            from in any_status(),
            waiting in prop::collection::vec(prop::sample::select(KINDS.to_vec()), 0..6),
        ) {
            let mut waiting = waiting;
            let before = from.outlook(&waiting);
            waiting.push(Kind::Cancel);
            let after = from.outlook(&waiting);
            if before.after(Kind::Cancel).is_some() {
                prop_assert!(matches!(after, Status::Cancelled | Status::Cancelling));
            } else {
                prop_assert_eq!(after, before);
            }
        }
    }

    /// R1, R6: the whole table.
    #[test]
    fn a_sync_can_be_paused_resumed_and_cancelled_where_that_makes_sense() {
        use Kind::{Cancel, Pause, Resume};
        let possible = |status: Status| status.commands();

        assert_eq!(possible(Status::Draft), [Cancel]);
        assert_eq!(possible(Status::Queued), [Pause, Cancel]);
        assert_eq!(possible(Status::Processing), [Pause, Cancel]);
        assert_eq!(possible(Status::Pausing), [Resume, Cancel]);
        assert_eq!(possible(Status::Paused), [Resume, Cancel]);
        for status in [
            Status::Cancelling,
            Status::Cancelled,
            Status::Done,
            Status::Partial,
            Status::Failed,
        ] {
            assert_eq!(possible(status), [], "{status:?}");
        }
    }

    /// R6: what is asked quickly is judged by where the sync will stand, not by where it stands.
    #[test]
    fn a_quick_pause_resume_pause_is_paused() {
        use Kind::{Pause, Resume, Start};

        assert_eq!(
            Status::Processing.outlook(&[Pause, Resume, Pause]),
            Status::Pausing
        );
        assert_eq!(Status::Queued.outlook(&[Start, Pause]), Status::Pausing);
        assert!(is_overtaken(&[Start, Pause]));
        assert!(!is_overtaken(&[Start, Resume, Pause]));
        assert!(!is_overtaken(&[Start]));
    }
}
