//! The user that runs Postgres in place of root, which Postgres refuses.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use tokio::process::Command;

use super::error::PostgresError;

/// Names of the users that may stand in for root, the first one preferred.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// Is a user of this machine other than the one that runs this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// Finds who must run Postgres: nobody else for an ordinary user, a stand-in for root.
    pub(super) fn for_this_process() -> Result<Option<Self>, PostgresError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd").map_err(PostgresError::file("read", "/etc/passwd"))?;
        CANDIDATES
            .iter()
            .find_map(|name| Self::parse(&passwd, name))
            .map(Some)
            .ok_or(PostgresError::NoAccount)
    }

    fn parse(passwd: &str, name: &str) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            if fields.next() != Some(name) {
                return None;
            }
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some(Self {
                name: name.to_owned(),
                uid,
                gid,
            })
        })
    }

    /// Says whether this user may enter `folder` and every folder above it.
    pub(super) fn can_enter(&self, folder: &Path) -> bool {
        folder
            .ancestors()
            .all(|ancestor| fs::metadata(ancestor).is_ok_and(|it| self.may_search(&it)))
    }

    fn may_search(&self, folder: &Metadata) -> bool {
        let mode = folder.permissions().mode();
        let bit = if folder.uid() == self.uid {
            0o100
        } else if folder.gid() == self.gid {
            0o010
        } else {
            0o001
        };
        mode & bit != 0
    }

    /// Makes this user the owner of `path` and of all that is below it.
    pub(super) fn own(&self, path: &Path) -> io::Result<()> {
        let found = fs::symlink_metadata(path)?;
        if found.uid() != self.uid || found.gid() != self.gid {
            lchown(path, Some(self.uid), Some(self.gid))?;
        }
        if found.is_dir() {
            for entry in fs::read_dir(path)? {
                self.own(&entry?.path())?;
            }
        }
        Ok(())
    }
}

/// Builds a command that runs as `account`, away from the settings of this process that Postgres would pick up.
pub(super) fn command(program: &Path, account: Option<&Account>) -> Command {
    let mut command = Command::new(program);
    // The folder this process stands in may be closed to the account. `LC_ALL` also keeps Postgres on macOS from
    // starting threads too early.
    command.current_dir("/").env("LC_ALL", "C").kill_on_drop(true);
    for variable in ["PGDATA", "PGPORT", "PGOPTIONS", "PGUSER", "PGDATABASE"] {
        command.env_remove(variable);
    }
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid).env("HOME", "/");
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";

    #[test]
    fn a_user_is_read_from_its_own_line() {
        let account = Account::parse(PASSWD, "postgres");

        assert_eq!(
            account,
            Some(Account {
                name: "postgres".to_owned(),
                uid: 101,
                gid: 104
            })
        );
    }

    #[test]
    fn a_user_without_a_line_is_not_found() {
        assert_eq!(Account::parse(PASSWD, "nobody"), None);
        assert_eq!(Account::parse(PASSWD, "post"), None);
    }

    #[test]
    fn a_folder_closed_to_others_cannot_be_entered() {
        let stranger = Account {
            name: "stranger".to_owned(),
            uid: 4_000_000,
            gid: 4_000_000,
        };
        let parent = tempfile::tempdir().unwrap();
        let open = parent.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();

        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!stranger.can_enter(&open));

        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o711)).unwrap();
        assert!(stranger.can_enter(&open));
    }
}
