//! One private cluster, from its start to its end.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, Connection};
use tempfile::TempDir;
use tokio::sync::Mutex;
use url::Url;

use super::account::Account;
use super::error::PostgresError;
use super::folder::{self, ClusterFolder, Lock};
use super::keeper::{Afterwards, Keeper};
use super::locate::Binaries;
use super::postmaster::{self, SUPERUSER, Server, eventually};

const KEEPER_TIMEOUT: Duration = Duration::from_secs(30);

/// Says where a cluster is kept and how carefully it writes.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// The folder of the clusters, one per major version of Postgres; made if missing.
    pub data_dir: PathBuf,
    pub durability: Durability,
}

/// Chooses between the safety of the data and the speed of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// What was committed survives a crash of the machine.
    Safe,
    /// What was committed survives a crash of Postgres, but not of the machine. For tests.
    Fast,
}

/// Chooses how sessions end when the server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Transactions are rolled back, and the files are left in order.
    Fast,
    /// Sessions are cut, and the next start repairs the files: a crash, for tests of faults.
    Immediate,
}

/// Is a Postgres server of our own, which stops when this value is dropped or this process ends in whatever way.
///
/// A drop does not wait for the stop; [`Cluster::close`] does.
#[derive(Debug)]
pub struct Cluster {
    server: Server,
    password: SecretString,
    port: u16,
    running: Mutex<Running>,
    /// The folder that goes away with the cluster.
    throwaway: Option<PathBuf>,
    // Last, so that the keeper is let go before the folder is.
    _lock: Lock,
}

#[derive(Debug)]
struct Running {
    postmaster: Option<Child>,
    keeper: Keeper,
}

/// The folders of one start.
struct Places {
    home: PathBuf,
    wheel_cache: PathBuf,
    throwaway: Option<TempDir>,
}

impl Cluster {
    /// Starts the cluster below `options.data_dir`, after making it on the first call.
    ///
    /// A server that a killed run left there is stopped first.
    ///
    /// # Errors
    /// When another process holds the folder, when no usable Postgres is found, or when it does not start.
    pub async fn start(options: &ClusterOptions) -> Result<Self, PostgresError> {
        let account = Account::for_this_process()?;
        let home = folder::home(&options.data_dir, account.as_ref())?;
        let places = Places {
            wheel_cache: home.join("wheel"),
            home,
            throwaway: None,
        };
        Self::start_in(places, account, options.durability).await
    }

    /// Starts an empty cluster in a new temporary folder, which is removed when the cluster stops.
    ///
    /// # Errors
    /// When no usable Postgres is found, or when it does not start.
    pub async fn for_tests() -> Result<Self, PostgresError> {
        let account = Account::for_this_process()?;
        let root = folder::temporary_root(account.as_ref())?;
        let mode = if account.is_some() { 0o755 } else { 0o700 };
        let throwaway = tempfile::Builder::new()
            .prefix("lockstep-test-")
            .permissions(Permissions::from_mode(mode))
            .tempdir_in(&root)
            .map_err(PostgresError::file("create a folder in", root))?;
        let places = Places {
            home: throwaway.path().to_owned(),
            // Not in the folder: each run of the tests would install it anew.
            wheel_cache: folder::shared_folder("wheel", account.as_ref())?,
            throwaway: Some(throwaway),
        };
        Self::start_in(places, account, Durability::Fast).await
    }

    async fn start_in(
        places: Places,
        account: Option<Account>,
        durability: Durability,
    ) -> Result<Self, PostgresError> {
        let lock = Lock::take(&places.home)?;
        let binaries = Binaries::find(&places.wheel_cache, account.as_ref()).await?;
        let folder = ClusterFolder::of(&places.home, binaries.major);
        let server = Server {
            binaries,
            account,
            folder,
            durability,
        };

        let afterwards = match &places.throwaway {
            Some(throwaway) => Afterwards::Remove(throwaway.path()),
            None => Afterwards::Keep,
        };
        let mut keeper =
            Keeper::start(&server.folder.data(), afterwards).map_err(|source| PostgresError::Run {
                program: "/bin/sh".to_owned(),
                source,
            })?;
        let throwaway = places.throwaway.map(TempDir::keep);

        postmaster::clear_leftovers(&server.folder).await?;
        server.prepare().await?;
        let password = server.folder.password()?;
        let (child, port) = server.start_anywhere(&mut keeper, &password).await?;
        tracing::info!(
            port,
            folder = %server.folder.root().display(),
            "Postgres {} runs on port {port}",
            server.binaries.major
        );
        let running = Mutex::new(Running {
            postmaster: Some(child),
            keeper,
        });
        Ok(Self {
            server,
            password,
            port,
            running,
            throwaway,
            _lock: lock,
        })
    }

    /// The address of `database` for some user of this server.
    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        let mut url = Url::parse("postgres://127.0.0.1").expect("a constant address");
        url.set_port(Some(self.port))
            .expect("an address with a host can have a port");
        url.set_username(user)
            .expect("an address with a host can have a user");
        url.set_password(Some(password))
            .expect("an address with a host can have a password");
        url.set_path(database);
        url.into()
    }

    /// The address of `database` for the superuser, with the password in it.
    pub fn superuser_url(&self, database: &str) -> String {
        self.url(SUPERUSER, self.password.expose_secret(), database)
    }

    /// The port of 127.0.0.1, the same from the start to the end of this value.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the server and starts it again on the same port.
    pub async fn restart(&self, mode: StopMode) -> Result<(), PostgresError> {
        let mut running = self.running.lock().await;
        self.stop_locked(&mut running, mode).await?;
        self.start_locked(&mut running).await
    }

    /// Stops the server and keeps the folder; does nothing when it is stopped.
    pub async fn stop(&self, mode: StopMode) -> Result<(), PostgresError> {
        let mut running = self.running.lock().await;
        self.stop_locked(&mut running, mode).await
    }

    /// Starts a stopped server on the port it had; does nothing when it runs.
    pub async fn start_again(&self) -> Result<(), PostgresError> {
        let mut running = self.running.lock().await;
        self.start_locked(&mut running).await
    }

    /// Stops the server, and waits until it is stopped and a throw-away folder is removed.
    pub async fn close(self) -> Result<(), PostgresError> {
        let mode = if self.throwaway.is_some() {
            StopMode::Immediate
        } else {
            StopMode::Fast
        };
        let mut running = self.running.lock().await;
        self.stop_locked(&mut running, mode).await?;
        running.keeper.let_go();
        eventually(KEEPER_TIMEOUT, || running.keeper.is_done()).await;
        Ok(())
    }

    async fn stop_locked(&self, running: &mut Running, mode: StopMode) -> Result<(), PostgresError> {
        if let Some(child) = &mut running.postmaster {
            postmaster::stop(child, mode).await?;
            running.postmaster = None;
            let unguarded = |source| PostgresError::Unguarded {
                port: self.port,
                source,
            };
            running.keeper.guard(None).map_err(unguarded)?;
        }
        Ok(())
    }

    async fn start_locked(&self, running: &mut Running) -> Result<(), PostgresError> {
        if let Some(child) = &mut running.postmaster
            && matches!(child.try_wait(), Ok(None))
        {
            return Ok(());
        }
        running.postmaster = Some(
            self.server
                .start_again(&mut running.keeper, self.port, &self.password)
                .await?,
        );
        Ok(())
    }

    /// Creates a database, as a copy of `template` if one is named; nobody may be connected to the template.
    pub async fn create_database(&self, name: &str, template: Option<&str>) -> Result<(), PostgresError> {
        let copied = template
            .map(|template| format!(" template {}", quoted(template)))
            .unwrap_or_default();
        self.execute(format!("create database {}{copied}", quoted(name)))
            .await
            .map_err(|source| PostgresError::Database {
                action: "create",
                name: name.to_owned(),
                source,
            })
    }

    /// Drops a database and cuts its sessions; does nothing when there is none of that name.
    pub async fn drop_database(&self, name: &str) -> Result<(), PostgresError> {
        self.execute(format!("drop database if exists {} with (force)", quoted(name)))
            .await
            .map_err(|source| PostgresError::Database {
                action: "drop",
                name: name.to_owned(),
                source,
            })
    }

    async fn execute(&self, statement: String) -> Result<(), sqlx::Error> {
        let options = postmaster::connect_options(self.port, &self.password);
        let mut connection = postmaster::connect(&options).await?;
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut connection)
            .await?;
        connection.close().await
    }

    /// Removes the clusters of every version below `data_dir`, stopping a server that a killed run left.
    ///
    /// # Errors
    /// When another process holds the folder, or when a file cannot be removed.
    pub async fn wipe(data_dir: &Path) -> Result<(), PostgresError> {
        let account = Account::for_this_process()?;
        let home = folder::home(data_dir, account.as_ref())?;
        let _lock = Lock::take(&home)?;
        for cluster in ClusterFolder::all(&home)? {
            postmaster::clear_leftovers(&cluster).await?;
            cluster.remove()?;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) async fn keeper_pid(&self) -> u32 {
        self.running.lock().await.keeper.pid()
    }

    #[cfg(test)]
    pub(super) fn folder(&self) -> &ClusterFolder {
        &self.server.folder
    }

    #[cfg(test)]
    pub(super) fn home(&self) -> &Path {
        self.server.folder.root().parent().unwrap()
    }
}

/// Writes a name so that the statement takes it for a name whatever is in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_a_name_does_not_end_the_name() {
        assert_eq!(
            quoted(r#"a"; drop database b; --"#),
            r#""a""; drop database b; --""#
        );
    }
}
