//! Many items in one sync, and a chain of the largest batches.

use std::time::{Duration, Instant};

use lockstep_shared::id::SyncId;

use super::{Report, Size, fill, finish, float, judge_arrived, judge_done, stack_with, start, worker};
use crate::process::{Program, Usage, Worker};
use crate::stack::{Stack, within};

/// The largest batch there may be (R2).
const LARGEST: u32 = 200;

/// How often the worker is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a worker used while a share of the items was written.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    items: f64,
    secs: f64,
    cpu_secs: f64,
    most_mib: f64,
}

impl Share {
    fn cost_ms(&self) -> f64 {
        1_000.0 * self.secs / self.items
    }

    fn cpu_ms(&self) -> f64 {
        1_000.0 * self.cpu_secs / self.items
    }
}

/// R90, R9: one sync of many items. What the last quarter of the writes takes, and keeps in memory, is compared with the second:
/// the first warms up what is kept on purpose.
pub async fn many(program: &Program, size: Size) -> anyhow::Result<Report> {
    let items = size.of(2_000, 100_000);
    let stack = stack_with(items).await;
    let process = program.start(&worker(&stack), "");
    let started = Instant::now();
    let sync = start(&stack, LARGEST).await?;

    let quarters = watch(&stack, sync, items, &process).await?;

    let sync = finish(&stack, sync).await;
    let took = started.elapsed().as_secs_f64();
    let mut report = Report::default();
    report.tell(format!(
        "{items} items in {took:.1} s, {:.0} a second, reading and writing",
        float(items) / took
    ));
    for (number, share) in quarters.iter().enumerate() {
        report.tell(format!(
            "quarter {} of the writes: {:.2} ms an item, {:.3} ms of the worker's processor, {:.1} MiB at most",
            number + 1,
            share.cost_ms(),
            share.cpu_ms(),
            share.most_mib
        ));
    }
    let (second, last) = (quarters[1], quarters[3]);
    judge_done(&mut report, &[sync]);
    judge_arrived(&mut report, &[&stack], items);
    let memory = last.most_mib / second.most_mib;
    report.judge(
        format!("memory of the last quarter is at most 1.25 times that of the second: {memory:.2}"),
        memory <= 1.25,
    );
    let cpu = last.cpu_ms() / second.cpu_ms();
    report.judge(
        format!("processor time an item is at most 1.5 times: {cpu:.2}"),
        cpu <= 1.5,
    );
    // Of the whole machine, stand-ins and Postgres included, and of whatever else runs there.
    let cost = last.cost_ms() / second.cost_ms();
    report.judge(format!("time an item is at most 2 times: {cost:.2}"), cost <= 2.0);
    Ok(report)
}

/// Watches a sync until all items are written, in quarters.
async fn watch(stack: &Stack, sync: SyncId, items: usize, process: &Worker) -> anyhow::Result<[Share; 4]> {
    let mut quarters = [Share::default(); 4];
    let mut before: Option<(usize, Instant, Usage)> = None;
    loop {
        let (written, is_over): (i64, bool) = sqlx::query_as(
            "select coalesce(sum(b.created_count), 0)::bigint,
                    exists (select from sync_orchestration where sync_id = $1 and completed_at is not null)
               from sync_batch b where b.sync_id = $1 and b.direction = 'push'",
        )
        .bind(sync.0)
        .fetch_one(&stack.database.superuser)
        .await?;
        let (written, now) = (usize::try_from(written)?, Instant::now());
        let usage = process.usage()?;
        match before {
            Some((was, since, used)) if written > was => {
                let share = &mut quarters[(was * 4 / items).min(3)];
                share.items += float(written - was);
                share.secs += (now - since).as_secs_f64();
                share.cpu_secs += usage.cpu_secs - used.cpu_secs;
                share.most_mib = share.most_mib.max(usage.resident_mib);
                before = Some((written, now, usage));
            }
            // The reading is over with the first write.
            None if written > 0 => before = Some((written, now, usage)),
            Some((was, ..)) => {
                let share = &mut quarters[(was * 4 / items).min(3)];
                share.most_mib = share.most_mib.max(usage.resident_mib);
            }
            None => {}
        }
        if is_over || written >= items {
            return Ok(quarters);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// R91: at the largest batch size, a chain of batches carries everything, in as few calls as the system allows.
pub async fn chain(program: &Program, size: Size) -> anyhow::Result<Report> {
    let items = size.of(1_000, 10_000);
    let stack = stack_with(items).await;
    let _process = program.start(&worker(&stack), "");
    let started = Instant::now();
    let sync = start(&stack, LARGEST).await?;
    let sync = finish(&stack, sync).await;
    let took = started.elapsed().as_secs_f64();
    let sizes: Vec<i32> = sqlx::query_scalar(
        "select item_count from sync_batch b join connection c using (org_id, connection_id)
          where sync_id = $1 and direction = 'push' and c.system = 'woocommerce' and lane = 0 order by position",
    )
    .bind(sync.view.sync_id.0)
    .fetch_all(&stack.database.superuser)
    .await?;
    let calls = stack.sandbox.store.faults().asked("/products/batch");
    let mut report = Report::default();
    report.tell(format!(
        "{items} items in {took:.1} s: a chain of {} batches, {calls} calls that write",
        sizes.len()
    ));
    judge_done(&mut report, &[sync]);
    judge_arrived(&mut report, &[&stack], items);
    let fewest = items.div_ceil(usize::try_from(LARGEST)?);
    report.judge(
        format!("the chain has {fewest} batches of at most {LARGEST}"),
        sizes.len() == fewest && sizes.iter().all(|size| size.unsigned_abs() <= LARGEST),
    );
    // WooCommerce takes 100 of them at a time (facts/systems.md A2).
    let bulk = items.div_ceil(100);
    report.judge(format!("{bulk} calls wrote them all"), calls == bulk);

    // A second chain through the same store: it looks, and writes what is new and nothing else.
    fill(&stack, items, items + 1);
    let again = start(&stack, LARGEST).await?;
    let again = finish(&stack, again).await;
    judge_done(&mut report, &[again]);
    let made = within(Duration::from_secs(1), "the ledger", || async {
        Some(stack.sandbox.store.ledger().created("product"))
    })
    .await;
    report.judge(
        "a second sync writes only what is new".to_owned(),
        made == items + 1,
    );
    Ok(report)
}
