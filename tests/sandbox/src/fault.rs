//! What goes wrong, when, and what was asked: the fault plan and the log of arrivals of one stand-in.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

/// One thing that goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The server thinks for a while first; the effect happens even when the client has left by then.
    Latency(Duration),
    /// An answer without effect.
    Status {
        code: u16,
        retry_after: Option<String>,
        body: Option<String>,
    },
    /// The effect happens, and the connection is cut before the reply.
    LostReply,
    /// The connection is cut before any effect.
    CutConnection,
    /// The process dies after so many items of a batch: they exist, the answer is a 500.
    PartialBatch(usize),
    /// The connection is cut at once and the effect happens over this time, item by item in a WooCommerce batch, at its
    /// end in an Odoo transaction (facts: mapping-woocommerce 7, systems B6).
    RunsOn(Duration),
    /// Odoo gives up on a conflict: a row message in `load`, an error elsewhere; no effect (facts: systems B4, B5).
    SerializationMessage,
    /// The effect happens; the body stops in its middle.
    Truncated,
}

/// What a rule may look at.
#[derive(Debug, Clone)]
pub struct RequestInfo {
    pub method: String,
    pub path: String,
    pub query: String,
    /// The JSON body, or null.
    pub body: Value,
    /// Counts from 0 in the order of arrival.
    pub index: u64,
}

/// When a fault strikes.
pub struct Rule {
    pub matches: Box<dyn Fn(&RequestInfo) -> bool + Send + Sync>,
    pub fault: Fault,
    /// How often it strikes; `None` means always.
    pub times: Option<u32>,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("fault", &self.fault)
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}

/// One request that came in, whatever became of it.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub at: Instant,
    pub method: String,
    pub path: String,
}

#[derive(Debug)]
struct Chance {
    random: StdRng,
    probability: f64,
    faults: Vec<Fault>,
}

#[derive(Debug, Default)]
struct Plan {
    rules: Vec<Rule>,
    latency: Option<Duration>,
    chance: Option<Chance>,
    arrivals: Vec<Arrival>,
    clock_ahead_secs: i64,
}

/// The faults of one stand-in; clones share it and it may change at run time.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan {
    plan: Arc<Mutex<Plan>>,
}

/// What the plan decided for one request.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    pub(crate) latency: Duration,
    pub(crate) fault: Option<Fault>,
}

impl FaultPlan {
    /// Adds a rule behind the others; the first that matches strikes, latencies add up.
    pub fn add(&self, rule: Rule) {
        self.lock().rules.push(rule);
    }

    /// Adds a rule for every path that contains `part`.
    pub fn on_path(&self, part: &str, fault: Fault, times: Option<u32>) {
        let part = part.to_owned();
        self.add(Rule {
            matches: Box::new(move |request| request.path.contains(&part)),
            fault,
            times,
        });
    }

    /// Removes every rule, the latency and the random plan; the arrivals stay.
    pub fn clear(&self) {
        let mut plan = self.lock();
        plan.rules.clear();
        plan.latency = None;
        plan.chance = None;
    }

    /// Makes every request take this much longer.
    pub fn set_latency(&self, latency: Duration) {
        self.lock().latency = Some(latency);
    }

    /// Strikes a share of all requests with one of the faults, the same way for the same seed and order of arrival.
    pub fn random(&self, seed: u64, probability: f64, faults: Vec<Fault>) {
        let random = StdRng::seed_from_u64(seed);
        self.lock().chance = Some(Chance {
            random,
            probability,
            faults,
        });
    }

    /// Puts the system's clock ahead of ours, or behind it: its answers say so, and signatures are judged by it. What it
    /// holds keeps its times.
    pub fn set_clock_ahead(&self, secs: i64) {
        self.lock().clock_ahead_secs = secs;
    }

    pub(crate) fn clock_ahead_secs(&self) -> i64 {
        self.lock().clock_ahead_secs
    }

    /// Counts the requests that came in.
    pub fn requests_seen(&self) -> usize {
        self.lock().arrivals.len()
    }

    /// Lists the requests that came in, first to last.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.lock().arrivals.clone()
    }

    /// Counts the requests that came in for paths that end so.
    pub fn asked(&self, end: &str) -> usize {
        let plan = self.lock();
        plan.arrivals
            .iter()
            .filter(|arrival| arrival.path.ends_with(end))
            .count()
    }

    /// Notes an arrival and returns its index.
    pub(crate) fn arrive(&self, method: &str, path: &str) -> u64 {
        let mut plan = self.lock();
        plan.arrivals.push(Arrival {
            at: Instant::now(),
            method: method.to_owned(),
            path: path.to_owned(),
        });
        plan.arrivals.len() as u64 - 1
    }

    pub(crate) fn decide(&self, request: &RequestInfo) -> Decision {
        let mut plan = self.lock();
        let mut decision = Decision {
            latency: plan.latency.unwrap_or_default(),
            fault: None,
        };
        for rule in &mut plan.rules {
            let is_latency = matches!(rule.fault, Fault::Latency(_));
            if rule.times == Some(0) || (!is_latency && decision.fault.is_some()) || !(rule.matches)(request)
            {
                continue;
            }
            rule.times = rule.times.map(|times| times - 1);
            strike(&mut decision, rule.fault.clone());
        }
        if let Some(chance) = &mut plan.chance {
            let strikes = chance.random.random_bool(chance.probability.clamp(0.0, 1.0));
            if strikes && !chance.faults.is_empty() && decision.fault.is_none() {
                let choice = chance.random.random_range(0..chance.faults.len());
                strike(&mut decision, chance.faults[choice].clone());
            }
        }
        decision
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("no holder of the plan panics")
    }
}

fn strike(decision: &mut Decision, fault: Fault) {
    if let Fault::Latency(more) = fault {
        decision.latency += more;
    } else {
        decision.fault = Some(fault);
    }
}
