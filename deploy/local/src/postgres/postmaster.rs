//! The running server: its start, its stop, and what an earlier run may have left of it.

use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::time::{Instant, sleep, timeout};

use super::account::{self, Account};
use super::cluster::{Durability, StopMode};
use super::error::PostgresError;
use super::folder::ClusterFolder;
use super::keeper::{Keeper, is_postgres_of};
use super::locate::{Binaries, last_lines, run};

pub(super) const SUPERUSER: &str = "postgres";

const INITDB_TIMEOUT: Duration = Duration::from_mins(2);
/// Long, because a server that was killed first repairs its files.
const START_TIMEOUT: Duration = Duration::from_mins(2);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);
const START_ATTEMPTS: u32 = 5;

/// Has all that it takes to run the server of one cluster.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) binaries: Binaries,
    pub(super) account: Option<Account>,
    pub(super) folder: ClusterFolder,
    pub(super) durability: Durability,
}

impl Server {
    /// Makes the cluster unless that was done before.
    pub(super) async fn prepare(&self) -> Result<(), PostgresError> {
        if self.folder.is_complete() {
            self.folder.hand_over(self.account.as_ref())?;
            return Ok(());
        }
        self.folder.create(self.account.as_ref())?;
        let program = self.binaries.program("initdb");
        let mut initdb = account::command(&program, self.account.as_ref());
        initdb
            .arg("--pgdata")
            .arg(self.folder.data())
            .arg("--pwfile")
            .arg(self.folder.password_file())
            .args(["--username", SUPERUSER, "--auth", "scram-sha-256"])
            .args(["--encoding", "UTF8", "--locale", "C", "--no-sync"]);
        let output = run(&mut initdb, INITDB_TIMEOUT).await?;
        if !output.status.success() {
            let program = program.display().to_string();
            return Err(PostgresError::Failed {
                program,
                output: last_lines(&output.stderr),
            });
        }
        self.folder.mark_complete()
    }

    /// Starts on some free port; another program may take the port first, hence the attempts.
    pub(super) async fn start_anywhere(
        &self,
        keeper: &mut Keeper,
        password: &SecretString,
    ) -> Result<(Child, u16), PostgresError> {
        let mut attempt = 1;
        loop {
            let port = free_port().map_err(PostgresError::file("find a free port on", "127.0.0.1"))?;
            match self.start(keeper, port, password).await {
                Ok(child) => return Ok((child, port)),
                Err(error) if attempt == START_ATTEMPTS => return Err(error),
                Err(error @ PostgresError::DidNotStart { .. }) => {
                    tracing::debug!(attempt, %error, "Postgres did not start on port {port}, trying another");
                    sleep(POLL * 10 * attempt).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts on the port it had before.
    pub(super) async fn start_again(
        &self,
        keeper: &mut Keeper,
        port: u16,
        password: &SecretString,
    ) -> Result<Child, PostgresError> {
        let mut attempt = 1;
        loop {
            match self.start(keeper, port, password).await {
                Err(PostgresError::DidNotStart { .. }) if attempt < START_ATTEMPTS => {
                    sleep(POLL * 10 * attempt).await;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn start(
        &self,
        keeper: &mut Keeper,
        port: u16,
        password: &SecretString,
    ) -> Result<Child, PostgresError> {
        clear_leftovers(&self.folder).await?;
        let log = Log::open(&self.folder)?;
        let mut child = self.spawn(port, &log)?;
        if let Err(source) = keeper.guard(Some(child.id())) {
            stop(&mut child, StopMode::Immediate).await?;
            return Err(PostgresError::Unguarded { port, source });
        }
        let options = connect_options(port, password);
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(log.did_not_start(&format!("it ended with {status}")));
            }
            match answers(&options).await {
                Ok(()) => return Ok(child),
                Err(error) if is_refused_password(&error) || Instant::now() > deadline => {
                    stop(&mut child, StopMode::Immediate).await?;
                    return Err(log.did_not_start(&error.to_string()));
                }
                Err(_) => sleep(POLL).await,
            }
        }
    }

    fn spawn(&self, port: u16, log: &Log) -> Result<Child, PostgresError> {
        let program = self.binaries.program("postgres");
        let mut settings = vec![
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=300",
            "shared_buffers=128MB",
            "logging_collector=off",
            "log_destination=stderr",
        ];
        match self.durability {
            Durability::Safe => {}
            Durability::Fast => {
                // Not `synchronous_commit`: what was committed would be lost with the server's process.
                settings.extend(["fsync=off", "full_page_writes=off"]);
            }
        }
        let file = |error| PostgresError::file("open", &log.path)(error);
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log.path)
            .map_err(file)?;
        let errors = output.try_clone().map_err(file)?;

        // From here on a process of the standard library: tests share a cluster between runtimes, and a process of the
        // runtime that started it cannot be waited for once that runtime is gone.
        let mut command: Command = account::command(&program, self.account.as_ref()).into_std();
        command
            .arg("-D")
            .arg(self.folder.data())
            .args(["-p", &port.to_string()]);
        for setting in settings {
            command.args(["-c", setting]);
        }
        command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|source| PostgresError::Run {
                program: program.display().to_string(),
                source,
            })
    }
}

/// Stops a server that this process started.
pub(super) async fn stop(child: &mut Child, mode: StopMode) -> Result<(), PostgresError> {
    let signal = match mode {
        StopMode::Fast => Signal::INT,
        StopMode::Immediate => Signal::QUIT,
    };
    let pid = child.id();
    if has_ended(child) {
        return Ok(());
    }
    // It cannot be another process: this one's id is not given away before it is collected.
    send(Pid::from_child(child), signal);
    if eventually(STOP_TIMEOUT, || has_ended(child)).await {
        return Ok(());
    }
    send(Pid::from_child(child), Signal::QUIT);
    if eventually(STOP_TIMEOUT, || has_ended(child)).await {
        return Ok(());
    }
    Err(PostgresError::DidNotStop { pid })
}

/// Sends a signal. Whether it arrived shows in whether the process ends, which every caller waits for.
fn send(process: Pid, signal: Signal) {
    if let Err(error) = kill_process(process, signal) {
        tracing::debug!(pid = process.as_raw_nonzero().get(), %error, "a signal was not sent");
    }
}

fn has_ended(child: &mut Child) -> bool {
    matches!(child.try_wait(), Ok(Some(_)))
}

/// Clears what an earlier run left: a server that still runs, or the file that says one does.
///
/// The caller holds the folder, so that nobody else has a right to such a server.
pub(super) async fn clear_leftovers(folder: &ClusterFolder) -> Result<(), PostgresError> {
    let data = folder.data();
    let path = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&path) else {
        return Ok(());
    };
    let Some(pid) = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse::<u32>().ok())
    else {
        // Postgres refuses to start beside an empty one, which a crash of the system can leave.
        return fs::remove_file(&path).map_err(PostgresError::file("remove", path));
    };
    if is_postgres_of(pid, &data) {
        tracing::info!(
            pid,
            "stopping the Postgres that an earlier run left in `{}`",
            data.display()
        );
        stop_leftover(pid, &data).await?;
        if !path.exists() {
            return Ok(());
        }
    }
    // The id may belong to another process by now, and Postgres would take that one for itself. It passes over the id of
    // its own parent, but still looks whether some process uses the old shared memory; so the file is kept.
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    fs::write(&path, format!("{}\n{rest}", std::process::id())).map_err(PostgresError::file("write", path))
}

async fn stop_leftover(pid: u32, data: &Path) -> Result<(), PostgresError> {
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    for signal in [Signal::INT, Signal::QUIT] {
        send(process, signal);
        if eventually(STOP_TIMEOUT, || !is_postgres_of(pid, data)).await {
            return Ok(());
        }
    }
    Err(PostgresError::DidNotStop { pid })
}

/// Waits until `condition` holds, and says whether it did before `limit` was over.
pub(super) async fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        sleep(POLL).await;
    }
    true
}

/// Addresses the server as its superuser.
pub(super) fn connect_options(port: u16, password: &SecretString) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username(SUPERUSER)
        .password(password.expose_secret())
        .database("postgres")
        .ssl_mode(PgSslMode::Disable)
        .disable_statement_logging()
}

/// Opens a connection, and gives up on a server that accepts but does not answer.
pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options))
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

async fn answers(options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    let mut connection = connect(options).await?;
    sqlx::query("select 1").execute(&mut connection).await?;
    connection.close().await
}

fn is_refused_password(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == "28P01")
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The part of the log that one start writes.
struct Log {
    path: PathBuf,
    begin: usize,
}

impl Log {
    fn open(folder: &ClusterFolder) -> Result<Self, PostgresError> {
        const LIMIT_BYTES: u64 = 10 * 1024 * 1024;
        let path = folder.log();
        let size = fs::metadata(&path).map_or(0, |found| found.len());
        if size > LIMIT_BYTES {
            fs::remove_file(&path).map_err(PostgresError::file("remove", &path))?;
        }
        let begin = fs::metadata(&path).map_or(0, |found| found.len());
        Ok(Self {
            path,
            begin: usize::try_from(begin).unwrap_or(0),
        })
    }

    fn did_not_start(&self, what: &str) -> PostgresError {
        let text = fs::read(&self.path).unwrap_or_default();
        let said = last_lines(text.get(self.begin..).unwrap_or_default());
        let reason = if said.is_empty() {
            what.to_owned()
        } else {
            format!("{what}: {said}")
        };
        PostgresError::DidNotStart {
            reason,
            log: self.path.clone(),
        }
    }
}
