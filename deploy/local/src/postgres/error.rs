//! What can go wrong with a private Postgres, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Says why a private Postgres could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error(
        "no usable Postgres was found: {looked}; {wheel}; install one with its contrib modules (Debian and Ubuntu: \
         `apt-get install postgresql`, Fedora: `dnf install postgresql-server postgresql-contrib`, macOS: \
         `brew install postgresql@17`), or set `PG_BIN_DIR` to the folder that has `initdb`"
    )]
    NotFound { looked: String, wheel: String },

    #[error(
        "`PG_BIN_DIR` is `{}`, which cannot be used: {problem}; correct it, or unset it to search the usual places",
        folder.display()
    )]
    BinDir { folder: PathBuf, problem: String },

    #[error(
        "`{program}` answered `{answer}` where a Postgres version was expected; set `PG_BIN_DIR` to another one"
    )]
    Version { program: String, answer: String },

    #[error(
        "`{}` is already in use by another run; stop that run, or give this one another data folder",
        folder.display()
    )]
    InUse { folder: PathBuf },

    #[error(
        "Postgres refuses to run as root, and there is no user `postgres` or `nobody` to run it as; create one \
         (`useradd --system postgres`), or start this program as an ordinary user"
    )]
    NoAccount,

    #[error(
        "user `{account}`, which runs Postgres for root, cannot enter `{}`; choose a folder whose parents may be \
         entered by everyone, or start this program as an ordinary user",
        folder.display()
    )]
    Unreachable { folder: PathBuf, account: String },

    #[error("`{}` belongs to another user; remove it, or choose another data folder", folder.display())]
    NotOurs { folder: PathBuf },

    #[error("could not {action} `{}`", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    #[error("could not run `{program}`")]
    Run {
        program: String,
        #[source]
        source: io::Error,
    },

    #[error("`{program}` did not end within {} s", after.as_secs())]
    TooSlow {
        program: String,
        after: std::time::Duration,
    },

    #[error("`{program}` failed: {output}")]
    Failed { program: String, output: String },

    #[error("Postgres did not start: {reason}; its log is `{}`", log.display())]
    DidNotStart { reason: String, log: PathBuf },

    #[error("Postgres with process id {pid} did not stop; end it with `kill -QUIT {pid}` and try again")]
    DidNotStop { pid: u32 },

    #[error("Postgres is stopped; start it again first")]
    Stopped,

    #[error("the process that guards Postgres on port {port} is gone; start this program again")]
    Unguarded {
        port: u16,
        #[source]
        source: io::Error,
    },

    #[error("could not {action} database `{name}`")]
    Database {
        action: &'static str,
        name: String,
        #[source]
        source: sqlx::Error,
    },
}

impl PostgresError {
    /// Wraps the failure of one act on one path, to be used with `map_err`.
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
