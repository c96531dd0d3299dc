//! Load scenarios: a whole Lockstep with a worker in a process of its own, judged by what the stand-ins felt and by what the
//! process used. Each has a criterion of its own that it passes or fails.

mod breadth;
mod items;
mod wire;

use std::fmt;
use std::time::Duration;

use lockstep_shared::id::SyncId;
use lockstep_shared::sync::{Config as SyncConfig, Status};
use lockstep_shared::system::EntityType;
use lockstep_worker::config::Config;
use serde_json::json;

use crate::process::Program;
use crate::stack::{Finished, Stack, sealing_key};

/// Longest that one sync of a scenario may take.
const PATIENCE: Duration = Duration::from_hours(2);

/// One question about load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// R90: do memory and cost per item stay flat over many items?
    Items,
    /// R91: does a chain of the largest batches carry everything?
    Chain,
    /// R92: do many syncs and many organisations at once all get through?
    Breadth,
    /// R93: does latency cost nothing but itself?
    Latency,
    /// R94: is a limit never passed, and used?
    Edge,
    /// R35: does a large organisation leave a small one its turn?
    Fairness,
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// What a test can wait for.
    Short,
    Full,
}

impl Size {
    const fn of<T: Copy>(self, short: T, full: T) -> T {
        match self {
            Self::Short => short,
            Self::Full => full,
        }
    }
}

impl Scenario {
    pub const ALL: [Self; 6] = [
        Self::Items,
        Self::Chain,
        Self::Breadth,
        Self::Latency,
        Self::Edge,
        Self::Fairness,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Items => "items",
            Self::Chain => "chain",
            Self::Breadth => "breadth",
            Self::Latency => "latency",
            Self::Edge => "edge",
            Self::Fairness => "fairness",
        }
    }

    pub const fn requirement(self) -> &'static str {
        match self {
            Self::Items => "R90",
            Self::Chain => "R91",
            Self::Breadth => "R92",
            Self::Latency => "R93",
            Self::Edge => "R94",
            Self::Fairness => "R35",
        }
    }
}

/// What a scenario found: figures, and what they were judged by.
#[derive(Clone, Debug, Default)]
pub struct Report {
    figures: Vec<String>,
    judged: Vec<(String, bool)>,
}

impl Report {
    fn tell(&mut self, figure: String) {
        self.figures.push(figure);
    }

    fn judge(&mut self, criterion: String, holds: bool) {
        self.judged.push((criterion, holds));
    }

    /// Says whether all criteria hold.
    pub fn has_passed(&self) -> bool {
        self.judged.iter().all(|(_, holds)| *holds)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for figure in &self.figures {
            writeln!(f, "  {figure}")?;
        }
        for (criterion, holds) in &self.judged {
            writeln!(f, "  {} {criterion}", if *holds { "holds:" } else { "BROKEN:" })?;
        }
        f.write_str(if self.has_passed() { "pass" } else { "fail" })
    }
}

/// Runs one scenario. `program` is started again as a worker.
pub async fn run(program: &Program, scenario: Scenario, size: Size) -> anyhow::Result<Report> {
    match scenario {
        Scenario::Items => items::many(program, size).await,
        Scenario::Chain => items::chain(program, size).await,
        Scenario::Breadth => breadth::many(program, size).await,
        Scenario::Latency => wire::slow(program, size).await,
        Scenario::Edge => wire::edge(program, size).await,
        Scenario::Fairness => breadth::fair(program, size).await,
    }
}

/// What workers of scenarios are set up with: as they come.
fn worker(stack: &Stack) -> Config {
    let mut config = Config::new(stack.database.urls.worker.clone().into(), sealing_key());
    config.sweep_every = Duration::from_secs(1);
    config
}

/// Puts products into the ERP that the store has not.
fn fill(stack: &Stack, from: usize, to: usize) {
    for number in from..to {
        let price = u32::try_from(number % 5_000).unwrap_or_default();
        let product = json!({
            "name": format!("Product {number}"), "default_code": format!("SKU-{number:06}"),
            "list_price": f64::from(price) / 4.0 + 1.0, "weight": 0.25, "type": "consu", "is_storable": true,
            "description_sale": format!("What product {number} is good for."),
        });
        stack.sandbox.erp.insert("product.template", product);
    }
}

/// A stack whose systems hold so many products in the ERP and nothing else.
async fn stack_with(products: usize) -> Stack {
    let stack = Stack::new().await;
    stack.forget_partners();
    fill(&stack, 0, products);
    stack
}

fn config(batch_size: u32) -> anyhow::Result<SyncConfig> {
    Ok(SyncConfig::new(Some(batch_size), Some(0), None)?)
}

/// Starts a sync of products.
async fn start(stack: &Stack, batch_size: u32) -> anyhow::Result<SyncId> {
    Ok(stack
        .start_types(vec![EntityType::Products], config(batch_size)?)
        .await)
}

async fn finish(stack: &Stack, sync: SyncId) -> Finished {
    stack.finish_within(sync, PATIENCE).await
}

/// Judges whether so many products arrived in the store, each once.
fn judge_arrived(report: &mut Report, stacks: &[&Stack], products: usize) {
    let arrived = stacks
        .iter()
        .all(|stack| stack.sandbox.store.ledger().created("product") == products);
    report.judge(format!("each of {products} products was made once"), arrived);
    let is_doubled = stacks
        .iter()
        .any(|stack| !stack.sandbox.store.ledger().duplicates().is_empty());
    report.judge("nothing is there twice".to_owned(), !is_doubled);
}

fn judge_done(report: &mut Report, syncs: &[Finished]) {
    let done = syncs.iter().filter(|sync| sync.status() == Status::Done).count();
    report.judge(
        format!("{done} of {} syncs ended as done", syncs.len()),
        done == syncs.len(),
    );
}

/// Figures of these sizes are exact enough as floats.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a scenario stay far below 2^52"
)]
fn float(count: usize) -> f64 {
    count as f64
}
