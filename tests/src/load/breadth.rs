//! Many syncs and many organisations at once, and a small organisation beside a large one.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use lockstep_shared::id::SyncId;
use lockstep_shared::sync::Status;

use super::{Report, Size, fill, finish, judge_arrived, judge_done, stack_with, start, worker};
use crate::process::Program;
use crate::stack::{Finished, Stack};

/// Products of each organisation.
const ITEMS: usize = 40;

/// Syncs that an organisation may have at once (R5).
const AT_ONCE: usize = 5;

/// R92: five syncs of one organisation, beside one each of many others, over two workers.
pub async fn many(program: &Program, size: Size) -> anyhow::Result<Report> {
    let organisations = size.of(10, 50);
    let first = stack_with(ITEMS).await;
    let mut stacks = Vec::with_capacity(organisations);
    for _ in 1..organisations {
        let stack = first.neighbour().await;
        stack.forget_partners();
        fill(&stack, 0, ITEMS);
        stacks.push(stack);
    }
    let _processes = [
        program.start(&worker(&first), ""),
        program.start(&worker(&first), ""),
    ];
    let started = Instant::now();
    let mut running: Vec<(&Stack, SyncId)> = Vec::new();
    for _ in 0..AT_ONCE {
        running.push((&first, start(&first, 50).await?));
    }
    for stack in &stacks {
        running.push((stack, start(stack, 50).await?));
    }

    let most = most_batches_at_once(&first, running.len()).await?;

    let mut syncs = Vec::with_capacity(running.len());
    for (stack, sync) in &running {
        syncs.push(finish(stack, *sync).await);
    }
    let took = started.elapsed().as_secs_f64();
    let mut times: Vec<f64> = syncs[AT_ONCE..].iter().map(secs).collect();
    times.sort_by(f64::total_cmp);
    let mut report = Report::default();
    report.tell(format!(
        "{} syncs of {organisations} organisations in {took:.1} s; those of one sync took {:.1} to {:.1} s",
        syncs.len(),
        times.first().copied().unwrap_or_default(),
        times.last().copied().unwrap_or_default()
    ));
    judge_done(&mut report, &syncs);
    let mut all = vec![&first];
    all.extend(&stacks);
    judge_arrived(&mut report, &all, ITEMS);
    report.judge(
        format!("no organisation had more than 4 batches running at once: {most}"),
        most <= 4,
    );
    Ok(report)
}

fn secs(sync: &Finished) -> f64 {
    let view = &sync.view;
    let ended = view.completed_at.unwrap_or(view.created_at);
    (ended - view.created_at).as_seconds_f64()
}

/// Looks again and again until so many syncs are over.
async fn most_batches_at_once(stack: &Stack, syncs: usize) -> anyhow::Result<i64> {
    let mut most = 0;
    loop {
        let (now, over): (i64, i64) = sqlx::query_as(
            "select coalesce((select max(running) from (
                        select count(*) running from sync_batch where status = 'running' and parked_token is distinct from token
                         group by org_id) o), 0),
                    (select count(*) from sync_orchestration where completed_at is not null)",
        )
        .fetch_one(&stack.database.superuser)
        .await?;
        most = most.max(now);
        if usize::try_from(over)? >= syncs {
            return Ok(most);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// R35: how long does a small organisation take alone, and beside a large one that began first and has all the syncs that it
/// may have?
pub async fn fair(program: &Program, size: Size) -> anyhow::Result<Report> {
    let (many, few) = size.of((5_000, 50), (100_000, 100));
    let large = stack_with(many).await;
    let small = large.neighbour().await;
    small.forget_partners();
    for stack in [&large, &small] {
        // A remote that takes its time: what is measured is who gets a turn, not who gets the processor.
        for faults in [stack.sandbox.store.faults(), stack.sandbox.erp.faults()] {
            faults.set_latency(Duration::from_millis(200));
        }
    }
    let mut set_up = worker(&large);
    set_up.batch_slots = 4;
    let _process = program.start(&set_up, "");

    // Once before, so that what is learnt of the systems at first is not measured; then half of it alone.
    let sync = start(&small, 50).await?;
    finish(&small, sync).await;
    fill(&small, 0, few);
    let alone = timed(&small).await?;
    let running = try_join_all((0..AT_ONCE).map(|_| start(&large, 50))).await?;
    while large.sandbox.erp.faults().requests_seen() < 20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fill(&small, few, 2 * few);
    let beside = timed(&small).await?;

    let is_running = large.view(running[0]).await.status == Status::Processing;
    let mut report = Report::default();
    let (alone, beside) = (alone.as_secs_f64(), beside.as_secs_f64());
    report.tell(format!(
        "{few} items took {alone:.1} s alone and {beside:.1} s beside {many}, with 4 slots for both"
    ));
    report.judge("the large one was still at it".to_owned(), is_running);
    let delay = (beside - alone) / alone;
    report.judge(
        format!("the small one was delayed by at most twice its time alone: {delay:.2}"),
        delay <= 2.0,
    );
    judge_arrived(&mut report, &[&small], 2 * few);
    Ok(report)
}

async fn timed(stack: &Stack) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let sync = start(stack, 50).await?;
    finish(stack, sync).await;
    Ok(started.elapsed())
}
