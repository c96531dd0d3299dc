//! Workers in processes of their own, which can be killed, stopped and woken. The program that starts them is its own
//! worker: it calls [`serve`] when it is started again as one.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use lockstep_worker::config::Config;
use rustix::process::{Pid, Signal, kill_process};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::stack::{eventually, sealing_key};

/// Argument with which a program is started as a worker.
const ROLE: &str = "worker";

/// Holds the set-up of a worker process, in JSON.
const SETUP: &str = "LOCKSTEP_TEST_WORKER";

/// Says at which points the process dies or stops, in the syntax of the crate `fail`.
const POINTS: &str = "FAILPOINTS";

/// What a worker process is told of a configuration; durations in milliseconds.
#[derive(Serialize, Deserialize)]
struct Setup {
    database_url: String,
    connections: u32,
    batch_slots: usize,
    lease: u64,
    progress_limit: u64,
    sweep_every: u64,
    silence: u64,
    drain: u64,
    call: u64,
    grace: Option<u64>,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Setup {
    fn of(config: &Config) -> Self {
        Self {
            database_url: config.database_url.expose_secret().to_owned(),
            connections: config.database_connections,
            batch_slots: config.batch_slots,
            lease: millis(config.lease.length),
            progress_limit: millis(config.lease.progress_limit),
            sweep_every: millis(config.sweep_every),
            silence: millis(config.silence),
            drain: millis(config.drain),
            call: millis(config.http.timeout),
            grace: config.grace.map(millis),
        }
    }

    fn config(self) -> Config {
        let mut config = Config::new(self.database_url.into(), sealing_key());
        config.database_connections = self.connections;
        config.batch_slots = self.batch_slots;
        config.lease.length = Duration::from_millis(self.lease);
        config.lease.progress_limit = Duration::from_millis(self.progress_limit);
        config.sweep_every = Duration::from_millis(self.sweep_every);
        config.silence = Duration::from_millis(self.silence);
        config.drain = Duration::from_millis(self.drain);
        config.http = lockstep_worker::connector::http::Options::local();
        config.http.timeout = Duration::from_millis(self.call);
        config.grace = self.grace.map(Duration::from_millis);
        config
    }
}

/// Says whether this process was started as a worker.
pub fn is_worker() -> bool {
    std::env::args().nth(1).as_deref() == Some(ROLE)
}

/// Works as the process that started this one has set it up.
pub async fn serve() -> anyhow::Result<ExitCode> {
    if let Ok(filter) = std::env::var("LOCKSTEP_LOG") {
        lockstep_shared::telemetry::init(&filter, lockstep_shared::telemetry::LogFormat::Text);
    }
    let setup: Setup = serde_json::from_str(&std::env::var(SETUP)?)?;
    // Lives as long as the process: the points are set while it does.
    let _points = fail::FailScenario::setup();
    Ok(lockstep_worker::process::run(setup.config()).await)
}

/// A program that can be started as a worker.
#[derive(Clone, Debug)]
pub struct Program(PathBuf);

impl Program {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// This program.
    pub fn this() -> std::io::Result<Self> {
        std::env::current_exe().map(Self)
    }

    /// Starts a worker. `points` says where it dies: `push.odoo.orders.call.after=return` and so on, with `;` between.
    pub fn start(&self, config: &Config, points: &str) -> Worker {
        let setup = serde_json::to_string(&Setup::of(config)).expect("a set-up is plain JSON");
        let is_shown = std::env::var_os("LOCKSTEP_LOG").is_some();
        let child = Command::new(&self.0)
            .arg(ROLE)
            .env(SETUP, setup)
            .env(POINTS, points)
            .stdin(Stdio::null())
            .stdout(if is_shown { Stdio::inherit() } else { Stdio::null() })
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program is there");
        Worker { child, ended: None }
    }
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Processor time since it began.
    pub cpu_secs: f64,
    /// Memory that it has now.
    pub resident_mib: f64,
}

/// A worker process. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Fails where the process has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Worker {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.status().is_none() {
            kill_process(self.pid(), signal).expect("a child may be signalled");
        }
    }

    /// Kills the process at once, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended = self.child.wait().ok();
    }

    /// Says how the process ended, where it did.
    pub fn status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
        }
        self.ended
    }

    /// Says whether the process was killed by SIGKILL.
    pub fn was_killed(&mut self) -> bool {
        self.status()
            .is_some_and(|status| status.signal() == Some(Signal::KILL.as_raw()))
    }

    /// Returns what a process that has ended wrote on its standard error: at which point it died, last of all.
    pub fn last_words(&mut self) -> String {
        let mut words = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            // What is no text is told of no less than what is.
            let _ = stderr.read_to_string(&mut words);
        }
        words
    }

    /// Returns what the process uses now, by /proc.
    pub fn usage(&self) -> std::io::Result<Usage> {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()));
        let stat = read("stat")?;
        // What follows the name, which stands in parentheses and may hold anything.
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let times = rest.split_whitespace().skip(11).take(2);
        let ticks: u32 = times.filter_map(|field| field.parse::<u32>().ok()).sum();
        let status = read("status")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u32>().ok());
        Ok(Usage {
            // The kernel counts in hundredths of a second wherever user space can see it.
            cpu_secs: f64::from(ticks) / 100.0,
            resident_mib: f64::from(kib.unwrap_or_default()) / 1024.0,
        })
    }

    /// Says whether the process stands still.
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // The state follows the name, which stands in parentheses and may hold anything.
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('T'))
    }

    /// Waits for the end of the process, and says how long it took.
    pub async fn end(&mut self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        let mut status = None;
        eventually("the worker process to end", || {
            status = self.status();
            std::future::ready(status)
        })
        .await;
        (status.expect("it was waited for"), started.elapsed())
    }
}
