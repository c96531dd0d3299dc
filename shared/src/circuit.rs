//! What the fleet knows of systems that are not well: who asked for a pause and until when, and whose circuit is open.
//!
//! A connection whose system is well has no row, so that success writes nothing. Each failure of a whole call is noted;
//! after some in a row the circuit opens, and nobody calls any more but a single probe of the whole fleet now and then, which
//! asks one harmless thing. Its success closes the circuit.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::backoff;
use crate::id::{ConnectionId, OrgId, Token};

/// Longest wait where a system asks to slow down and doesn't say for how long (R32).
const LONGEST_BACKOFF: Duration = Duration::from_secs(32);

/// Longest pause that is believed; no system means more, and a time has to stay within what a date can hold.
const LONGEST_PAUSE: Duration = Duration::from_hours(24);

/// When circuits open, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Failures in a row, of the whole fleet, after which a circuit opens.
    pub threshold: u32,
    /// Wait before the first probe; doubled by each probe that fails.
    pub first_wait: Duration,
    pub longest_wait: Duration,
    /// A system that has not been well for so long fails the stages that need it, instead of keeping them waiting.
    pub outage: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            threshold: 3,
            first_wait: Duration::from_secs(5),
            longest_wait: Duration::from_mins(1),
            outage: Duration::from_mins(30),
        }
    }
}

/// Whether calls go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum State {
    Closed,
    Open,
    /// A probe is under way.
    HalfOpen,
}

/// What is known of a system that is not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circuit {
    pub connection_id: ConnectionId,
    pub state: State,
    pub failures: i32,
    pub throttles: i32,
    pub openings: i32,
    /// No call begins before; `None` where that is over.
    pub held_until: Option<DateTime<Utc>>,
    /// The first failure since the last success.
    pub unwell_since: DateTime<Utc>,
    /// When the state became what it is.
    pub changed_at: DateTime<Utc>,
    /// Open: when a probe may go. Half open: when the probe under way counts as lost.
    pub probe_at: Option<DateTime<Utc>>,
    pub probe_token: Option<Token>,
    pub error: Option<String>,
}

/// What went wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// No answer, or one that says that the system is broken.
    Failed,
    /// It asks to slow down (429).
    Throttled { retry_after: Option<Duration> },
    /// It can't serve now (503): a request to slow down where it says until when, and a failure where it doesn't.
    Unavailable { retry_after: Option<Duration> },
}

impl Circuit {
    fn new(connection_id: ConnectionId, now: DateTime<Utc>) -> Self {
        Self {
            connection_id,
            state: State::Closed,
            failures: 0,
            throttles: 0,
            openings: 0,
            held_until: None,
            unwell_since: now,
            changed_at: now,
            probe_at: None,
            probe_token: None,
            error: None,
        }
    }

    /// Tells what is known after a mishap of `caller`. `jitter`: see [`backoff::wait`].
    #[must_use]
    pub fn after(
        self,
        mishap: Mishap,
        caller: Token,
        now: DateTime<Utc>,
        (limits, jitter): (&Limits, f64),
    ) -> Self {
        match mishap {
            Mishap::Failed => self.fail(caller, now, limits),
            Mishap::Throttled { retry_after } => self.hold(retry_after, now, jitter),
            Mishap::Unavailable {
                retry_after: retry_after @ Some(_),
            } => self.hold(retry_after, now, jitter),
            Mishap::Unavailable { retry_after: None } => {
                self.hold(None, now, jitter).fail(caller, now, limits)
            }
        }
    }

    fn fail(mut self, caller: Token, now: DateTime<Utc>, limits: &Limits) -> Self {
        self.failures = self.failures.saturating_add(1);
        let opens = match self.state {
            State::Closed => self.failures.unsigned_abs() >= limits.threshold,
            State::HalfOpen => self.probe_token == Some(caller),
            // A call that began before it opened.
            State::Open => false,
        };
        if opens {
            let since = if self.state == State::Closed {
                now
            } else {
                self.changed_at
            };
            self.openings = self.openings.saturating_add(1);
            let wait = backoff_from(limits, self.openings.unsigned_abs());
            (self.state, self.changed_at) = (State::Open, since);
            (self.probe_at, self.probe_token) = (Some(now + wait), None);
        }
        self
    }

    /// One that was told to wait tells all. What others are told while everybody waits already comes from calls that began
    /// before: it makes no wait grow.
    fn hold(mut self, retry_after: Option<Duration>, now: DateTime<Utc>, jitter: f64) -> Self {
        let is_held = self.held_until.is_some_and(|until| until > now);
        if !is_held && retry_after.is_none() {
            self.throttles = self.throttles.saturating_add(1);
        }
        let wait = match retry_after {
            Some(wait) => wait.clamp(Duration::from_secs(1), LONGEST_PAUSE),
            None if is_held => Duration::ZERO,
            None => backoff::wait(self.throttles.unsigned_abs(), LONGEST_BACKOFF, jitter),
        };
        let until = now + wait;
        self.held_until = Some(self.held_until.map_or(until, |held| held.max(until)));
        self
    }

    /// Says when the connection may be called or probed again, if not now.
    pub fn not_before(&self) -> Option<DateTime<Utc>> {
        self.held_until.max(self.probe_at)
    }

    /// Says whether the system has not been well for longer than a stage may wait.
    pub fn is_outage(&self, now: DateTime<Utc>, limits: &Limits) -> bool {
        now - self.unwell_since > TimeDelta::from_std(limits.outage).unwrap_or(TimeDelta::MAX)
    }

    /// Says in a sentence what is the matter.
    pub fn words(&self) -> String {
        let error = self.error.as_deref().unwrap_or("it asks to slow down");
        format!(
            "the system has not been well since {}: {error}",
            self.unwell_since.format("%Y-%m-%d %H:%M UTC")
        )
    }
}

/// Twice as long after each opening without jitter: there is only one probe.
fn backoff_from(limits: &Limits, openings: u32) -> Duration {
    let doubled = limits
        .first_wait
        .saturating_mul(1_u32 << openings.saturating_sub(1).min(20));
    doubled.min(limits.longest_wait)
}

/// Finds what is known of a connection's system; `None`: it is well.
pub async fn find(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
) -> Result<Option<Circuit>, sqlx::Error> {
    sqlx::query_as!(
        Circuit,
        r#"
        select connection_id as "connection_id: ConnectionId", state as "state: State", failures, throttles, openings,
               case when held_until > '-infinity' then held_until end as held_until, unwell_since, changed_at, probe_at,
               probe_token as "probe_token: Token", error
          from circuit
         where org_id = $1 and connection_id = $2
        "#,
        org as _,
        connection as _,
    )
    .fetch_optional(db)
    .await
}

/// Lists the connections of an organisation whose systems are not well.
pub async fn list(db: &mut PgConnection, org: OrgId) -> Result<Vec<Circuit>, sqlx::Error> {
    sqlx::query_as!(
        Circuit,
        r#"
        select connection_id as "connection_id: ConnectionId", state as "state: State", failures, throttles, openings,
               case when held_until > '-infinity' then held_until end as held_until, unwell_since, changed_at, probe_at,
               probe_token as "probe_token: Token", error
          from circuit
         where org_id = $1
        "#,
        org as _,
    )
    .fetch_all(db)
    .await
}

/// A mishap to be noted.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    pub connection: ConnectionId,
    pub mishap: Mishap,
    pub caller: Token,
    pub error: &'a str,
    /// See [`backoff::wait`].
    pub jitter: f64,
}

/// Notes a mishap, for the whole fleet. Returns what is known after it.
pub async fn note(
    db: &mut PgConnection,
    org: OrgId,
    report: Report<'_>,
    limits: &Limits,
) -> Result<Circuit, sqlx::Error> {
    sqlx::query!(
        "insert into circuit (org_id, connection_id) values ($1, $2) on conflict do nothing",
        org as _,
        report.connection as _,
    )
    .execute(&mut *db)
    .await?;
    sqlx::query!(
        "select 1 as one from circuit where org_id = $1 and connection_id = $2 for update",
        org as _,
        report.connection as _,
    )
    .fetch_optional(&mut *db)
    .await?;
    let now = crate::db::now(db).await?;
    let before = find(db, org, report.connection).await?;
    let before = before.unwrap_or_else(|| Circuit::new(report.connection, now));
    let mut after = before.after(report.mishap, report.caller, now, (limits, report.jitter));
    after.error = Some(report.error.to_owned());
    sqlx::query!(
        "update circuit
            set state = $3, failures = $4, throttles = $5, openings = $6, held_until = coalesce($7, held_until),
                changed_at = $8, probe_at = $9, probe_token = $10, error = $11
          where org_id = $1 and connection_id = $2",
        org as _,
        report.connection as _,
        after.state as _,
        after.failures,
        after.throttles,
        after.openings,
        after.held_until,
        after.changed_at,
        after.probe_at,
        after.probe_token as _,
        after.error,
    )
    .execute(db)
    .await?;
    Ok(after)
}

/// Notes that a call succeeded. Only where there is a row is there anything to note, and a pause that was asked for holds
/// whoever succeeds. An open circuit is closed by its probe alone. Returns whether the system counts as well now.
pub async fn succeed(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    caller: Token,
) -> Result<bool, sqlx::Error> {
    let forgotten = sqlx::query!(
        "delete from circuit
          where org_id = $1 and connection_id = $2 and held_until <= lockstep_now()
            and (state = 'closed' or probe_token = $3)",
        org as _,
        connection as _,
        caller as _,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(forgotten == 1)
}

/// When a probe may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eagerness {
    /// When it is time.
    Patient,
    /// At once: somebody waits for an answer.
    Now,
}

/// Becomes the one probe of an open circuit, for so long. `false`: it is not time yet, somebody else is, or it is not open.
pub async fn probe(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    (caller, length): (Token, Duration),
    eagerness: Eagerness,
) -> Result<bool, sqlx::Error> {
    let claimed = sqlx::query!(
        "update circuit
            set state = 'half_open', probe_token = $3, probe_at = lockstep_now() + make_interval(secs => $4)
          where org_id = $1 and connection_id = $2 and held_until <= lockstep_now()
            and (probe_at <= lockstep_now() or (state = 'open' and $5))",
        org as _,
        connection as _,
        caller as _,
        length.as_secs_f64(),
        eagerness == Eagerness::Now,
    )
    .execute(db)
    .await?
    .rows_affected();
    Ok(claimed == 1)
}

/// Gives a probe up that was never made.
pub async fn give_up_probe(
    db: &mut PgConnection,
    org: OrgId,
    connection: ConnectionId,
    caller: Token,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update circuit set state = 'open', probe_token = null, probe_at = lockstep_now()
          where org_id = $1 and connection_id = $2 and probe_token = $3",
        org as _,
        connection as _,
        caller as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const PROBE: Token = Token(Uuid::from_u128(1));
    const OTHER: Token = Token(Uuid::from_u128(2));

    fn at(secs: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(secs)
    }

    fn well() -> Circuit {
        Circuit::new(ConnectionId(Uuid::nil()), at(0))
    }

    fn after(circuit: Circuit, mishap: Mishap, caller: Token, secs: i64) -> Circuit {
        circuit.after(mishap, caller, at(secs), (&Limits::default(), 0.0))
    }

    #[test]
    fn a_circuit_opens_after_failures_in_a_row_and_waits_longer_after_each_probe_that_fails() {
        let mut circuit = well();
        for secs in 1..=2 {
            circuit = after(circuit, Mishap::Failed, OTHER, secs);
            assert_eq!(circuit.state, State::Closed);
        }

        let mut circuit = after(circuit, Mishap::Failed, OTHER, 3);

        let mut waits = Vec::new();
        for probe in 0..6 {
            assert_eq!((circuit.state, circuit.changed_at), (State::Open, at(3)));
            let now = 3 + i64::from(probe) * 100;
            waits.push((circuit.probe_at.unwrap() - at(now)).num_seconds());
            (circuit.state, circuit.probe_token) = (State::HalfOpen, Some(PROBE));
            circuit = after(circuit, Mishap::Failed, PROBE, now + 100);
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60], "R33");
    }

    #[test]
    fn only_the_probe_opens_a_half_open_circuit_again() {
        let mut circuit = well();
        (circuit.state, circuit.probe_token, circuit.probe_at) = (State::HalfOpen, Some(PROBE), Some(at(9)));

        let straggler = after(circuit.clone(), Mishap::Failed, OTHER, 4);
        let probe = after(circuit, Mishap::Failed, PROBE, 4);

        assert_eq!(straggler.state, State::HalfOpen, "R33");
        assert_eq!(probe.state, State::Open, "R33");
    }

    #[test]
    fn waits_without_a_word_grow_to_32_seconds() {
        let (mut circuit, mut now, mut waits) = (well(), 0, Vec::new());
        for _ in 0..8 {
            circuit = after(circuit, Mishap::Throttled { retry_after: None }, OTHER, now);
            // Told by a call that was under way beside it.
            circuit = after(circuit, Mishap::Throttled { retry_after: None }, OTHER, now);
            let until = circuit.held_until.unwrap();
            waits.push((until - at(now)).num_seconds());
            now = until.timestamp();
        }

        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 32, 32], "R32");
        assert_eq!(
            circuit.state,
            State::Closed,
            "a request to slow down is no failure"
        );
    }

    #[test]
    fn a_system_that_can_not_serve_has_failed_unless_it_says_when_it_can() {
        let told = Mishap::Unavailable {
            retry_after: Some(Duration::from_mins(2)),
        };
        let untold = Mishap::Unavailable { retry_after: None };

        let told = after(well(), told, OTHER, 0);
        let untold = after(well(), untold, OTHER, 0);

        assert_eq!((told.failures, told.held_until), (0, Some(at(120))));
        assert_eq!((untold.failures, untold.held_until), (1, Some(at(1))));
    }

    #[test]
    fn an_outage_is_told_by_the_first_failure() {
        let limits = Limits::default();
        let circuit = after(well(), Mishap::Failed, OTHER, 0);

        assert!(!circuit.is_outage(at(30 * 60), &limits));
        assert!(circuit.is_outage(at(30 * 60 + 1), &limits));
    }

    fn mishaps() -> impl Strategy<Value = Mishap> {
        let retry_after = || proptest::option::of((0_u64..u64::MAX).prop_map(Duration::from_secs));
        prop_oneof![
            Just(Mishap::Failed),
            retry_after().prop_map(|retry_after| Mishap::Throttled { retry_after }),
            retry_after().prop_map(|retry_after| Mishap::Unavailable { retry_after }),
        ]
    }

    proptest! {
        #[test]
        fn a_pause_is_never_shortened(told in proptest::collection::vec((mishaps(), 0_i64..60), 1..20)) {
            let (mut circuit, mut now) = (well(), 0);
            for (mishap, later) in told {
                now += later;
                let before = circuit.held_until;
                circuit = after(circuit, mishap, OTHER, now);
                prop_assert!(circuit.held_until >= before);
            }
        }
    }
}
