//! The data folder: what lasts from one run to the next.
//!
//! Beside Postgres' own files it has the run's secrets, what the run was set up with, and what the stand-ins held. The
//! stand-ins live in memory, the database does not: a marker stands while they may be ahead of what was written down, so
//! that a run which finds it knows that the two do not fit together any more.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lockstep_shared::id::OrgId;
use lockstep_shared::system::System;
use rand::distr::{Alphanumeric, SampleString};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

const STATE: &str = "state.json";
const SECRETS: &str = "secrets.json";
const SNAPSHOT: &str = "stand-ins.json";
const MARKER: &str = "stand-ins.unsaved";
const TOKEN: &str = "token";

/// What went wrong with the data folder.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("could not {action} `{}`", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` can't be read; start over with `--fresh`", path.display())]
    Malformed {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

impl FolderError {
    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

/// What the stand-ins held before the first sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Contents {
    MadeUp {
        products: usize,
        customers: usize,
        #[serde(default)]
        orders: usize,
        #[serde(default)]
        refunds: usize,
        seed: u64,
    },
    Recorded {
        folder: PathBuf,
    },
    /// Nothing, because one of the systems is a real one.
    Nothing,
}

impl std::fmt::Display for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MadeUp {
                products,
                customers,
                orders,
                refunds,
                seed,
            } => write!(
                f,
                "{products} products, {customers} customers, {orders} orders and {refunds} refunds made up from seed {seed}"
            ),
            Self::Recorded { folder } => write!(f, "the recording in `{}`", folder.display()),
            Self::Nothing => f.write_str("nothing of its own"),
        }
    }
}

/// One of the remote systems of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum RemoteState {
    /// The stand-in, on a port that the connection's address names.
    StandIn {
        port: u16,
    },
    Real {
        url: Url,
    },
}

/// What the data folder was set up with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) organisation: OrgId,
    pub(crate) contents: Contents,
    pub(crate) store: RemoteState,
    pub(crate) erp: RemoteState,
}

impl State {
    /// Returns a system that is a real one, if one is.
    pub(crate) fn real_system(&self) -> Option<System> {
        let is_real = |remote: &RemoteState| matches!(remote, RemoteState::Real { .. });
        let both = [(System::Woocommerce, &self.store), (System::Odoo, &self.erp)];
        both.into_iter()
            .find(|(_, remote)| is_real(remote))
            .map(|(system, _)| system)
    }
}

/// Secrets that have to stay the same while the database does.
#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) encryption_key: SecretString,
    pub(crate) jwt_secret: SecretString,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretsFile {
    encryption_key: String,
    jwt_secret: String,
}

/// What the stand-ins held at the end of a run; none for a system that is a real one.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snapshot {
    pub(crate) store: Option<Value>,
    pub(crate) erp: Option<Value>,
}

/// The data folder of a run.
#[derive(Debug)]
pub(crate) struct DataFolder {
    root: PathBuf,
}

impl DataFolder {
    /// Opens the folder, creating it.
    pub(crate) fn open(root: &Path) -> Result<Self, FolderError> {
        fs::create_dir_all(root).map_err(FolderError::file("create", root))?;
        let root = fs::canonicalize(root).map_err(FolderError::file("open", root))?;
        let ignore = root.join(".gitignore");
        fs::write(&ignore, "*\n").map_err(FolderError::file("write", &ignore))?;
        Ok(Self { root })
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.root.join("postgres")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("lockstep.log")
    }

    /// Forgets everything but the log. The marker goes last: a wipe that is broken off is begun again by the next run.
    pub(crate) fn clear(&self) -> Result<(), FolderError> {
        for name in [STATE, SECRETS, SNAPSHOT, TOKEN, MARKER] {
            self.remove(name)?;
        }
        Ok(())
    }

    /// Says what the folder was set up with, if it was.
    pub(crate) fn state(&self) -> Result<Option<State>, FolderError> {
        self.read(STATE)
    }

    pub(crate) fn keep_state(&self, state: &State) -> Result<(), FolderError> {
        self.write(STATE, &to_json(state))
    }

    /// Returns the secrets of the folder, drawing them on the first call.
    pub(crate) fn secrets(&self) -> Result<Secrets, FolderError> {
        let file = if let Some(file) = self.read::<SecretsFile>(SECRETS)? {
            file
        } else {
            let drawn = SecretsFile {
                encryption_key: STANDARD.encode(rand::random::<[u8; 32]>()),
                jwt_secret: Alphanumeric.sample_string(&mut rand::rng(), 48),
            };
            self.write(SECRETS, &to_json(&drawn))?;
            drawn
        };
        Ok(Secrets {
            encryption_key: file.encryption_key.into(),
            jwt_secret: file.jwt_secret.into(),
        })
    }

    /// Keeps a bearer token for who wants to try the API, and returns where.
    pub(crate) fn keep_token(&self, token: &SecretString) -> Result<PathBuf, FolderError> {
        self.write(TOKEN, token.expose_secret().as_bytes())?;
        Ok(self.root.join(TOKEN))
    }

    /// Says whether an earlier run ended before it wrote down what its stand-ins held.
    pub(crate) fn is_unsaved(&self) -> Result<bool, FolderError> {
        let path = self.root.join(MARKER);
        path.try_exists().map_err(FolderError::file("look for", &path))
    }

    /// Notes that the stand-ins may be ahead of what is written down.
    pub(crate) fn mark_unsaved(&self) -> Result<(), FolderError> {
        self.write(MARKER, b"")
    }

    /// Writes down what the stand-ins hold; from then on they are not ahead any more.
    pub(crate) fn keep_snapshot(&self, snapshot: &Snapshot) -> Result<(), FolderError> {
        self.write(SNAPSHOT, &to_json(snapshot))?;
        self.remove(MARKER)
    }

    /// Reads what the stand-ins held at the end of the last run.
    pub(crate) fn snapshot(&self) -> Result<Option<Snapshot>, FolderError> {
        self.read(SNAPSHOT)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, FolderError> {
        let path = self.root.join(name);
        match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(value) => Ok(Some(value)),
                Err(source) => Err(FolderError::Malformed { path, source }),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FolderError::file("read", &path)(error)),
        }
    }

    /// Writes a file whole or not at all, for nobody else to read.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let path = self.root.join(name);
        let beside = self.root.join(format!("{name}.new"));
        let write = || {
            let mut file = OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            self.sync()
        };
        write().map_err(FolderError::file("write", &path))
    }

    fn remove(&self, name: &str) -> Result<(), FolderError> {
        let path = self.root.join(name);
        match fs::remove_file(&path) {
            Ok(()) => self.sync().map_err(FolderError::file("remove", &path)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(FolderError::file("remove", &path)(error)),
        }
    }

    /// Makes the names in the folder last, too.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.root)?.sync_all()
    }
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("every key is a text")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    fn folder() -> (TempDir, DataFolder) {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&place.path().join("data")).unwrap();
        (place, folder)
    }

    fn state() -> State {
        State {
            organisation: OrgId::random(),
            contents: Contents::MadeUp {
                products: 5,
                customers: 3,
                orders: 4,
                refunds: 1,
                seed: 1,
            },
            store: RemoteState::StandIn { port: 20_001 },
            erp: RemoteState::Real {
                url: "https://erp.example.com".parse().unwrap(),
            },
        }
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let (_place, folder) = folder();
        let state = state();
        assert_eq!(folder.state().unwrap(), None);

        folder.keep_state(&state).unwrap();
        let drawn = folder.secrets().unwrap();
        let again = DataFolder::open(&folder.root).unwrap();

        assert_eq!(again.state().unwrap(), Some(state));
        let kept = again.secrets().unwrap();
        assert_eq!(
            kept.encryption_key.expose_secret(),
            drawn.encryption_key.expose_secret()
        );
        assert_eq!(kept.jwt_secret.expose_secret(), drawn.jwt_secret.expose_secret());
    }

    #[test]
    fn only_the_owner_can_read_the_secrets() {
        let (_place, folder) = folder();

        folder.secrets().unwrap();

        let mode = fs::metadata(folder.root.join(SECRETS))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "R70");
    }

    #[test]
    fn the_marker_stands_until_a_snapshot_is_written() {
        let (_place, folder) = folder();
        assert!(!folder.is_unsaved().unwrap());

        folder.mark_unsaved().unwrap();
        assert!(folder.is_unsaved().unwrap());
        let snapshot = Snapshot {
            store: Some(json!({"products": []})),
            erp: None,
        };
        folder.keep_snapshot(&snapshot).unwrap();

        assert!(!folder.is_unsaved().unwrap());
        assert_eq!(folder.snapshot().unwrap().unwrap().store, snapshot.store);
    }

    #[test]
    fn a_cleared_folder_is_as_new() {
        let (_place, folder) = folder();
        folder.keep_state(&state()).unwrap();
        folder.mark_unsaved().unwrap();
        folder.keep_snapshot(&Snapshot::default()).unwrap();

        folder.clear().unwrap();

        assert_eq!(folder.state().unwrap(), None);
        assert!(folder.snapshot().unwrap().is_none());
    }

    #[test]
    fn a_damaged_file_is_one_sentence_that_helps() {
        let (_place, folder) = folder();
        fs::write(folder.root.join(STATE), "{").unwrap();

        let error = folder.state().unwrap_err();

        assert!(
            error
                .to_string()
                .ends_with("can't be read; start over with `--fresh`"),
            "{error}"
        );
    }
}
