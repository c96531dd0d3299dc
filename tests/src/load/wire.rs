//! Slow systems, and the edge of the rate limit.

use std::time::{Duration, Instant};

use lockstep_sandbox::fault::{Arrival, Fault, FaultPlan, Rule};
use lockstep_shared::sync::{Config as SyncConfig, Status};
use lockstep_shared::system::EntityType;

use super::{Report, Size, finish, float, judge_arrived, judge_done, stack_with, start, worker};
use crate::make::product;
use crate::process::Program;
use crate::stack::{Stack, within};

/// Longest that eight workers take to start.
const START: Duration = Duration::from_mins(2);

/// What one request after another takes, in milliseconds.
const LATENCIES: [u64; 5] = [100, 500, 200, 400, 300];

/// R93: what does a sync take where every call takes 100 to 500 ms, beside the same without?
pub async fn slow(program: &Program, size: Size) -> anyhow::Result<Report> {
    let items = size.of(500, 10_000);
    let mut report = Report::default();
    let (quick, _) = one(program, items, &mut report, false).await?;
    let (took, waited) = one(program, items, &mut report, true).await?;
    report.tell(format!(
        "{items} items took {quick:.1} s without latency; with 100 to 500 ms a call {took:.1} s, of which {waited:.1} s is latency"
    ));
    let rest = took - waited;
    report.judge(
        format!("beside its own time, latency costs at most as much again and 5 s: {rest:.1} s are left"),
        rest <= 2.0 * quick + 5.0,
    );
    Ok(report)
}

/// Returns what a sync took, and how much of that was latency.
async fn one(
    program: &Program,
    items: usize,
    report: &mut Report,
    is_slow: bool,
) -> anyhow::Result<(f64, f64)> {
    let stack = stack_with(items).await;
    let plans = [stack.sandbox.store.faults(), stack.sandbox.erp.faults()];
    if is_slow {
        for plan in plans {
            slow_down(plan);
        }
    }
    let _process = program.start(&worker(&stack), "");
    let started = Instant::now();
    let sync = start(&stack, 100).await?;
    let sync = finish(&stack, sync).await;
    let took = started.elapsed().as_secs_f64();
    judge_done(report, &[sync]);
    judge_arrived(report, &[&stack], items);
    let latency = |plan: &&FaultPlan| -> u64 {
        let calls = LATENCIES.iter().cycle().take(plan.requests_seen());
        calls.sum()
    };
    let waited: u64 = plans.iter().map(latency).sum();
    Ok((took, Duration::from_millis(waited).as_secs_f64()))
}

/// Has every request take its latency, one after another.
fn slow_down(plan: &FaultPlan) {
    for (place, latency) in (0_u64..).zip(LATENCIES) {
        plan.add(Rule {
            matches: Box::new(move |request| request.index % 5 == place),
            fault: Fault::Latency(Duration::from_millis(latency)),
            times: None,
        });
    }
}

/// R94: eight workers at the edge of an organisation's limit, over as many windows as fit.
pub async fn edge(program: &Program, size: Size) -> anyhow::Result<Report> {
    // In the short form half a minute stands for the minute.
    let (rate, window, windows) = size.of((60_usize, 29, 1), (50, 60, 4));
    let stack = Stack::new().await;
    for number in 0..size.of(40, 200) {
        stack.put(product(&format!("SKU-{number}"), 1_000)).await;
    }
    sqlx::query("update request_bucket set requests_per_minute = $1")
        .bind(i32::try_from(rate)?)
        .execute(&stack.database.superuser)
        .await?;
    sqlx::query("update organisation set running_batch_limit = 5")
        .execute(&stack.database.superuser)
        .await?;
    let _processes: Vec<_> = (0..8).map(|_| program.start(&worker(&stack), "")).collect();
    let one_by_one = SyncConfig::new(Some(1), Some(0), None)?;
    let mut syncs = Vec::new();
    for _ in 0..5 {
        syncs.push(stack.start_types(vec![EntityType::Products], one_by_one).await);
    }
    let plans = [stack.sandbox.store.faults(), stack.sandbox.erp.faults()];
    // All workers are there by then, and all syncs under way.
    let first = within(START, "the first requests", || async {
        arrivals(&plans).get(8).map(|arrival| arrival.at)
    })
    .await;
    let window = Duration::from_secs(window);
    tokio::time::sleep_until((first + window * windows + Duration::from_secs(2)).into()).await;

    let arrivals = arrivals(&plans);
    let is_busy = stack.view(syncs[0]).await.status == Status::Processing;
    let allowed = rate * usize::try_from(window.as_secs())? / 60;
    let most = arrivals
        .iter()
        .map(|from| count(&arrivals, from.at, window))
        .max()
        .unwrap_or_default();
    let used = count(&arrivals, first, window * windows);
    let share = float(used) / float(allowed * usize::try_from(windows)?);
    let mut report = Report::default();
    report.tell(format!(
        "{rate} requests a minute over 8 workers: {used} in {:.0} s, {:.1} % of what is allowed; at most {most} in any {window:?}",
        (window * windows).as_secs_f64(),
        100.0 * share
    ));
    report.judge("there was always something to send".to_owned(), is_busy);
    report.judge(
        format!("never more than {allowed} requests in {window:?}"),
        most <= allowed,
    );
    report.judge("at least 95 % of the limit is used".to_owned(), share >= 0.95);
    Ok(report)
}

fn arrivals(plans: &[&FaultPlan]) -> Vec<Arrival> {
    let mut all: Vec<Arrival> = plans.iter().flat_map(|plan| plan.arrivals()).collect();
    all.sort_by_key(|arrival| arrival.at);
    all
}

/// Counts the arrivals of a window.
fn count(arrivals: &[Arrival], from: Instant, window: Duration) -> usize {
    let is_within = |arrival: &&Arrival| arrival.at >= from && arrival.at < from + window;
    arrivals.iter().filter(is_within).count()
}
