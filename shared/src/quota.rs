//! Quotas: how often an organisation may ask the API, shared by all of its processes.
//!
//! A generic cell rate algorithm whose burst is the whole quota: a quota that was not used for a minute may be used at once,
//! and comes back evenly. One statement takes a request, so that two processes never take the same one.

use std::time::Duration;

use sqlx::PgConnection;

use crate::id::OrgId;

/// Seconds that a quota is for.
pub const WINDOW_SECS: u32 = 60;
/// Commands a minute that one may ask for (R44).
pub const COMMANDS_RANGE: std::ops::RangeInclusive<i32> = 1..=50;
/// Other requests a minute that one may ask for.
pub const OTHERS_RANGE: std::ops::RangeInclusive<i32> = 1..=6_000;
/// What the database's rounding to microseconds may make of a minute's parts.
const ROUNDING_SECS: f64 = 0.005;

/// A kind of request, with a quota of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Budget {
    Reads,
    /// Putting records.
    Records,
    /// Everything else that changes something.
    Commands,
}

impl Budget {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Records => "records",
            Self::Commands => "commands",
        }
    }
}

/// Requests a minute of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    pub commands: i32,
    pub records: i32,
    pub reads: i32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            commands: 10,
            records: 600,
            reads: 600,
        }
    }
}

impl Quotas {
    const fn of(self, budget: Budget) -> i32 {
        match budget {
            Budget::Reads => self.reads,
            Budget::Records => self.records,
            Budget::Commands => self.commands,
        }
    }
}

/// What asking for a request brought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taken {
    pub is_allowed: bool,
    /// The quota.
    pub per_minute: i32,
    /// Until the quota is whole again, the request included where it is allowed.
    whole_in_secs: f64,
}

impl Taken {
    fn interval_secs(self) -> f64 {
        f64::from(WINDOW_SECS) / f64::from(self.per_minute)
    }

    /// Returns how many requests may follow at once.
    pub fn left(self) -> i32 {
        let left = (f64::from(WINDOW_SECS) + ROUNDING_SECS - self.whole_in_secs) / self.interval_secs();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is a whole number within the quota"
        )]
        let left = left.floor().clamp(0.0, f64::from(self.per_minute)) as i32;
        if self.is_allowed { left } else { 0 }
    }

    /// Returns when there is more: the whole quota after a request that is allowed, the next request after one that is not.
    pub fn renewed_in(self) -> Duration {
        let secs = if self.is_allowed {
            self.whole_in_secs
        } else {
            self.whole_in_secs + self.interval_secs() - f64::from(WINDOW_SECS)
        };
        Duration::from_secs_f64(secs.max(0.0))
    }
}

/// Takes one request of an organisation's. `default` counts where it has no quota of its own. `None`: the organisation is
/// not known.
pub async fn take(
    db: &mut PgConnection,
    org: OrgId,
    budget: Budget,
    default: Quotas,
) -> Result<Option<Taken>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        with own as materialized (
            select lockstep_now() as moment, q.per_minute, interval '60 seconds' / q.per_minute as apart
              from organisation o
             cross join lateral (
                 select coalesce(case $2 when 'commands' then o.commands_per_minute
                                         when 'records' then o.records_per_minute
                                         else o.reads_per_minute end, $3) as per_minute
             ) q
             where o.org_id = $1
        ), taken as (
            insert into request_quota as q (org_id, budget, whole_at)
            select $1, $2, own.moment + own.apart from own
            on conflict (org_id, budget) do update
               set whole_at = greatest(q.whole_at, (select moment from own)) + (select apart from own)
             where greatest(q.whole_at, (select moment from own)) + (select apart from own)
                   <= (select moment from own) + interval '60.005 seconds'
            returning q.whole_at
        )
        select taken.whole_at is not null as "is_allowed!", own.per_minute as "per_minute!",
               greatest(extract(epoch from coalesce(taken.whole_at, before.whole_at, own.moment) - own.moment)::float8, 0)
                   as "whole_in_secs!"
          from own
          left join taken on true
          left join request_quota before on before.org_id = $1 and before.budget = $2
        "#,
        org as _,
        budget as _,
        default.of(budget),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Taken {
        is_allowed: row.is_allowed,
        per_minute: row.per_minute,
        whole_in_secs: row.whole_in_secs,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(is_allowed: bool, whole_in_secs: f64) -> Taken {
        Taken {
            is_allowed,
            per_minute: 10,
            whole_in_secs,
        }
    }

    #[test]
    fn what_is_left_is_what_may_follow_at_once() {
        for (whole_in_secs, left) in [(6.0, 9), (6.5, 8), (30.0, 5), (59.9, 0), (60.0, 0)] {
            assert_eq!(taken(true, whole_in_secs).left(), left, "R44: {whole_in_secs}");
        }
        assert_eq!(taken(false, 57.0).left(), 0, "R44");
    }

    #[test]
    fn who_is_refused_hears_when_the_next_request_is_allowed() {
        assert_eq!(taken(false, 57.0).renewed_in(), Duration::from_secs(3), "R44");
        assert_eq!(taken(false, 10.0).renewed_in(), Duration::ZERO);
        assert_eq!(taken(true, 12.0).renewed_in(), Duration::from_secs(12), "R44");
    }
}
