//! The folder a private Postgres lives in: where it may be, who holds it, and what is in it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rand::distr::{Alphanumeric, SampleString};
use rustix::fs::{FlockOperation, flock};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::account::Account;
use super::error::PostgresError;

const PASSWORD_LENGTH: usize = 32;

/// Finds the folder that stands for `data_dir`, and creates it.
///
/// That is `data_dir` itself, unless Postgres must run as a user who cannot enter it (a project under `/root`, say);
/// then it is a folder of the system's temporary folder that is the same on every run.
pub(super) fn home(data_dir: &Path, account: Option<&Account>) -> Result<PathBuf, PostgresError> {
    fs::create_dir_all(data_dir).map_err(PostgresError::file("create", data_dir))?;
    let asked = fs::canonicalize(data_dir).map_err(PostgresError::file("open", data_dir))?;
    let Some(account) = account else { return Ok(asked) };
    if account.can_enter(&asked) {
        return Ok(asked);
    }
    let fallback = shared_folder(&asked.to_string_lossy(), Some(account))?;
    tracing::info!(
        asked = %asked.display(),
        used = %fallback.display(),
        "user `{}`, which runs Postgres for root, cannot enter `{}`; the cluster is kept in `{}`",
        account.name,
        asked.display(),
        fallback.display(),
    );
    Ok(fallback)
}

/// Opens the folder of the system's temporary folder that belongs to `key` and to this user, creating it.
pub(super) fn shared_folder(key: &str, account: Option<&Account>) -> Result<PathBuf, PostgresError> {
    let owner = rustix::process::geteuid().as_raw();
    let name = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("lockstep:{owner}:{key}").as_bytes());
    let folder = temporary_root(account)?.join(format!("lockstep-{}", name.simple()));
    match DirBuilder::new().mode(0o755).create(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(PostgresError::file("create", folder)(error)),
    }
    // Everybody may write to the temporary folder, and the name can be guessed.
    let found = fs::symlink_metadata(&folder).map_err(PostgresError::file("open", &folder))?;
    if !found.is_dir() || found.uid() != owner {
        return Err(PostgresError::NotOurs { folder });
    }
    fs::set_permissions(&folder, Permissions::from_mode(0o755))
        .map_err(PostgresError::file("open to others", &folder))?;
    Ok(folder)
}

/// Finds a folder for temporary files that `account` can enter.
pub(super) fn temporary_root(account: Option<&Account>) -> Result<PathBuf, PostgresError> {
    let usual = std::env::temp_dir();
    let usual = fs::canonicalize(&usual).map_err(PostgresError::file("open", usual))?;
    let Some(account) = account else { return Ok(usual) };
    let last = PathBuf::from("/tmp");
    [usual.clone(), last]
        .into_iter()
        .find(|folder| account.can_enter(folder))
        .ok_or_else(|| PostgresError::Unreachable {
            folder: usual,
            account: account.name.clone(),
        })
}

/// Holds a folder against every other process, until dropped or until this process ends in whatever way.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    pub(super) fn take(home: &Path) -> Result<Self, PostgresError> {
        let path = home.join("postgres.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(PostgresError::file("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(PostgresError::InUse {
                folder: home.to_owned(),
            }),
            Err(error) => Err(PostgresError::file("lock", path)(error.into())),
        }
    }
}

impl Drop for Lock {
    /// Unlocks by name: a process that another thread is just starting still has a copy of the file until it runs its
    /// program, and closing ours alone would leave the folder held for that long.
    fn drop(&mut self) {
        if let Err(error) = flock(&self.file, FlockOperation::Unlock) {
            tracing::debug!(%error, "the lock of a cluster folder is let go by closing its file only");
        }
    }
}

/// Knows the paths of one cluster: what belongs to one major version of Postgres.
#[derive(Debug, Clone)]
pub(super) struct ClusterFolder {
    root: PathBuf,
}

impl ClusterFolder {
    pub(super) fn of(home: &Path, major: u32) -> Self {
        Self {
            root: home.join(format!("pg-{major}")),
        }
    }

    /// Lists the clusters of every version below `home`.
    pub(super) fn all(home: &Path) -> Result<Vec<Self>, PostgresError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(home).map_err(PostgresError::file("list", home))? {
            let root = entry.map_err(PostgresError::file("list", home))?.path();
            let is_cluster = root
                .file_name()
                .and_then(|name| name.to_str()?.strip_prefix("pg-")?.parse::<u32>().ok())
                .is_some();
            if is_cluster {
                found.push(Self { root });
            }
        }
        Ok(found)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where Postgres keeps its files.
    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    pub(super) fn password_file(&self) -> PathBuf {
        self.root.join("password")
    }

    fn marker(&self) -> PathBuf {
        self.root.join("complete")
    }

    /// Says whether the cluster was made to the end once.
    pub(super) fn is_complete(&self) -> bool {
        self.marker().is_file() && self.data().join("PG_VERSION").is_file()
    }

    pub(super) fn mark_complete(&self) -> Result<(), PostgresError> {
        fs::write(self.marker(), "").map_err(PostgresError::file("write", self.marker()))
    }

    /// Removes what a run left that ended while it made the cluster, and makes the folder anew.
    pub(super) fn create(&self, account: Option<&Account>) -> Result<(), PostgresError> {
        self.remove()?;
        DirBuilder::new()
            .mode(0o700)
            .create(&self.root)
            .map_err(PostgresError::file("create", &self.root))?;
        let password = Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LENGTH);
        let path = self.password_file();
        OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(password.as_bytes()))
            .map_err(PostgresError::file("write", path))?;
        self.hand_over(account)
    }

    pub(super) fn remove(&self) -> Result<(), PostgresError> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(PostgresError::file("remove", &self.root)(error))
            }
            _ => Ok(()),
        }
    }

    /// Makes `account` the owner of everything; an ordinary user must own it already.
    pub(super) fn hand_over(&self, account: Option<&Account>) -> Result<(), PostgresError> {
        let Some(account) = account else {
            let found = fs::symlink_metadata(&self.root).map_err(PostgresError::file("open", &self.root))?;
            if found.uid() == rustix::process::geteuid().as_raw() {
                return Ok(());
            }
            return Err(PostgresError::NotOurs {
                folder: self.root.clone(),
            });
        };
        account
            .own(&self.root)
            .map_err(PostgresError::file("change the owner of", &self.root))
    }

    pub(super) fn password(&self) -> Result<SecretString, PostgresError> {
        let path = self.password_file();
        let text = fs::read_to_string(&path).map_err(PostgresError::file("read", path))?;
        let password = SecretString::from(text.trim());
        debug_assert_eq!(password.expose_secret().len(), PASSWORD_LENGTH);
        Ok(password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_folder_is_refused_until_it_is_let_go() {
        let home = tempfile::tempdir().unwrap();

        let first = Lock::take(home.path()).unwrap();
        let refused = Lock::take(home.path()).unwrap_err();
        drop(first);

        assert!(
            refused.to_string().contains("already in use by another run"),
            "{refused}"
        );
        Lock::take(home.path()).unwrap();
    }

    #[test]
    fn a_shared_folder_is_the_same_for_the_same_key_only() {
        let first = shared_folder("a test of keys: one", None).unwrap();
        let again = shared_folder("a test of keys: one", None).unwrap();
        let other = shared_folder("a test of keys: two", None).unwrap();
        fs::remove_dir(&first).unwrap();
        fs::remove_dir(&other).unwrap();

        assert_eq!(first, again);
        assert_ne!(first, other);
    }

    #[test]
    fn a_planted_link_is_not_taken_for_a_shared_folder() {
        let elsewhere = tempfile::tempdir().unwrap();
        let planted = shared_folder("a test of planted links", None).unwrap();
        fs::remove_dir(&planted).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), &planted).unwrap();

        let refused = shared_folder("a test of planted links", None);
        fs::remove_file(&planted).unwrap();

        assert!(
            matches!(refused, Err(PostgresError::NotOurs { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn a_half_made_cluster_is_not_complete_and_is_made_anew() {
        let home = tempfile::tempdir().unwrap();
        let cluster = ClusterFolder::of(home.path(), 15);
        cluster.create(None).unwrap();
        fs::create_dir(cluster.data()).unwrap();
        fs::write(cluster.data().join("PG_VERSION"), "15\n").unwrap();

        assert!(!cluster.is_complete());
        cluster.create(None).unwrap();

        assert!(!cluster.data().exists());
        let mode = fs::metadata(cluster.password_file())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
