//! Rules of the cluster as a whole, each on a real server.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use super::account::{self, Account};
use super::keeper::is_postgres_of;
use super::postmaster::eventually;
use super::{Cluster, ClusterOptions, Durability, PostgresError, StopMode};

const PATIENCE: Duration = Duration::from_mins(1);

/// Names the folder in which a helper process shall start a cluster.
const HELPER_FOLDER: &str = "LOCKSTEP_TEST_HELPER_FOLDER";
/// Names the file in which a helper process says what it started.
const HELPER_REPORT: &str = "LOCKSTEP_TEST_HELPER_REPORT";

fn open_folder() -> TempDir {
    tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .unwrap()
}

fn options(folder: &Path) -> ClusterOptions {
    ClusterOptions {
        data_dir: folder.to_owned(),
        durability: Durability::Fast,
    }
}

async fn connect(cluster: &Cluster, database: &str) -> PgConnection {
    PgConnection::connect(&cluster.superuser_url(database))
        .await
        .unwrap()
}

async fn setting(cluster: &Cluster, name: &str) -> String {
    let mut connection = connect(cluster, "postgres").await;
    sqlx::query_scalar("select current_setting($1)")
        .bind(name)
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

fn postmaster_pid(data: &Path) -> u32 {
    let text = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    text.lines().next().unwrap().parse().unwrap()
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_new_cluster_answers_and_has_the_extensions_of_the_job_queue() {
    let cluster = Cluster::for_tests().await.unwrap();

    let mut connection = connect(&cluster, "postgres").await;
    let answer: i32 = sqlx::query_scalar("select 1")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    sqlx::query("create extension hstore")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query("create extension pgcrypto")
        .execute(&mut connection)
        .await
        .unwrap();

    assert_eq!(answer, 1);
    assert_eq!(setting(&cluster, "fsync").await, "off");
    assert_eq!(
        setting(&cluster, "synchronous_commit").await,
        "on",
        "commits outlive the server's process"
    );
    assert_eq!(setting(&cluster, "max_connections").await, "300");
    cluster.close().await.unwrap();
}

#[tokio::test]
async fn a_safe_cluster_keeps_the_careful_settings() {
    let folder = open_folder();
    let cluster = Cluster::start(&ClusterOptions {
        data_dir: folder.path().to_owned(),
        durability: Durability::Safe,
    })
    .await
    .unwrap();

    for name in ["fsync", "synchronous_commit", "full_page_writes"] {
        assert_eq!(setting(&cluster, name).await, "on", "{name}");
    }
    cluster.close().await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let cluster = Cluster::for_tests().await.unwrap();

    let refused = PgConnection::connect(&cluster.url("postgres", "a guess", "postgres")).await;

    assert!(refused.is_err());
    cluster.close().await.unwrap();
}

#[tokio::test]
async fn a_password_with_signs_of_its_own_survives_the_address() {
    let cluster = Cluster::for_tests().await.unwrap();
    let mut connection = connect(&cluster, "postgres").await;
    sqlx::query("create role \"a user\" login password 'p@ss/w?rd#%1'")
        .execute(&mut connection)
        .await
        .unwrap();
    cluster.create_database("a b%?\"c", None).await.unwrap();

    let address = cluster.url("a user", "p@ss/w?rd#%1", "a b%?\"c");

    PgConnection::connect(&address).await.unwrap();
    cluster.close().await.unwrap();
}

#[tokio::test]
async fn a_database_is_copied_from_its_template_and_dropped_under_a_session() {
    let cluster = Cluster::for_tests().await.unwrap();
    cluster.create_database("original", None).await.unwrap();
    let mut connection = connect(&cluster, "original").await;
    sqlx::query("create table kept (id int)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();

    cluster.create_database("copy", Some("original")).await.unwrap();
    let mut connection = connect(&cluster, "copy").await;
    sqlx::query("select id from kept")
        .execute(&mut connection)
        .await
        .unwrap();
    cluster.drop_database("copy").await.unwrap();
    cluster.drop_database("copy").await.unwrap();

    assert!(
        PgConnection::connect(&cluster.superuser_url("copy"))
            .await
            .is_err()
    );
    cluster.close().await.unwrap();
}

#[tokio::test]
async fn committed_data_and_the_port_survive_a_restart_of_either_mode() {
    let cluster = Cluster::for_tests().await.unwrap();
    let port = cluster.port();
    let mut connection = connect(&cluster, "postgres").await;
    sqlx::query("create table kept (id int)")
        .execute(&mut connection)
        .await
        .unwrap();

    cluster.restart(StopMode::Fast).await.unwrap();
    cluster.restart(StopMode::Immediate).await.unwrap();
    cluster.stop(StopMode::Fast).await.unwrap();
    cluster.stop(StopMode::Fast).await.unwrap();
    let refused = PgConnection::connect(&cluster.superuser_url("postgres")).await;
    cluster.start_again().await.unwrap();
    cluster.start_again().await.unwrap();

    assert!(refused.is_err());
    assert_eq!(cluster.port(), port);
    let mut connection = connect(&cluster, "postgres").await;
    sqlx::query("select id from kept")
        .execute(&mut connection)
        .await
        .unwrap();
    cluster.close().await.unwrap();
}

#[tokio::test]
async fn a_second_owner_of_the_folder_is_refused_until_the_first_is_gone() {
    let folder = open_folder();
    let first = Cluster::start(&options(folder.path())).await.unwrap();

    let second = Cluster::start(&options(folder.path())).await;
    let wipe = Cluster::wipe(folder.path()).await;
    first.close().await.unwrap();

    assert!(matches!(second, Err(PostgresError::InUse { .. })), "{second:?}");
    assert!(matches!(wipe, Err(PostgresError::InUse { .. })), "{wipe:?}");
    Cluster::start(&options(folder.path()))
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_dropped_cluster_gives_its_folder_to_the_next_with_the_data_in_it() {
    let folder = open_folder();
    let first = Cluster::start(&options(folder.path())).await.unwrap();
    first.create_database("kept", None).await.unwrap();

    drop(first);
    let second = Cluster::start(&options(folder.path())).await.unwrap();

    connect(&second, "kept").await;
    second.close().await.unwrap();
}

#[tokio::test]
async fn a_wiped_folder_starts_empty() {
    let folder = open_folder();
    let first = Cluster::start(&options(folder.path())).await.unwrap();
    first.create_database("forgotten", None).await.unwrap();
    first.close().await.unwrap();

    Cluster::wipe(folder.path()).await.unwrap();
    let second = Cluster::start(&options(folder.path())).await.unwrap();

    assert!(
        PgConnection::connect(&second.superuser_url("forgotten"))
            .await
            .is_err()
    );
    second.close().await.unwrap();
}

#[tokio::test]
async fn a_stale_process_id_that_another_process_has_now_does_not_prevent_the_start() {
    let folder = open_folder();
    let first = Cluster::start(&options(folder.path())).await.unwrap();
    let data = first.folder().data();
    let running = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    first.close().await.unwrap();
    // Of the same user: Postgres does not mistake a process that it may not signal.
    let account = Account::for_this_process().unwrap();
    let mut bystander = account::command(Path::new("sleep"), account.as_ref())
        .arg("600")
        .spawn()
        .unwrap();
    let (_, rest) = running.split_once('\n').unwrap();
    fs::write(
        data.join("postmaster.pid"),
        format!("{}\n{rest}", bystander.id().unwrap()),
    )
    .unwrap();

    let second = Cluster::start(&options(folder.path())).await;
    let bystander_lives = matches!(bystander.try_wait(), Ok(None));
    bystander.kill().await.unwrap();

    assert!(bystander_lives);
    second.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn an_empty_process_id_file_does_not_prevent_the_start() {
    let folder = open_folder();
    let first = Cluster::start(&options(folder.path())).await.unwrap();
    let data = first.folder().data();
    first.close().await.unwrap();
    fs::write(data.join("postmaster.pid"), "").unwrap();

    let second = Cluster::start(&options(folder.path())).await;

    second.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn a_half_made_cluster_is_made_again() {
    let folder = open_folder();
    let first = Cluster::start(&options(folder.path())).await.unwrap();
    let root = first.folder().root().to_owned();
    first.close().await.unwrap();
    fs::remove_file(root.join("complete")).unwrap();
    fs::remove_file(root.join("data/global/pg_control")).unwrap();

    let second = Cluster::start(&options(folder.path())).await;

    second.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn a_throw_away_cluster_leaves_nothing_behind_when_closed_or_dropped() {
    let closed = Cluster::for_tests().await.unwrap();
    let closed_home = closed.home().to_owned();
    let dropped = Cluster::for_tests().await.unwrap();
    let dropped_home = dropped.home().to_owned();

    closed.close().await.unwrap();
    drop(dropped);

    assert!(!closed_home.exists());
    assert!(eventually(PATIENCE, || !dropped_home.exists()).await);
}

/// A process that started a cluster and waits to be killed.
struct Helper {
    process: Child,
    report: Report,
    _folder: TempDir,
}

struct Report {
    postmaster: u32,
    keeper: u32,
    data: PathBuf,
    home: PathBuf,
}

impl Helper {
    /// Runs [`helper_process`] in a process of its own; without a folder it starts a throw-away cluster.
    async fn start(folder: Option<&Path>) -> Self {
        let reports = tempfile::tempdir().unwrap();
        let path = reports.path().join("report");
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "postgres::tests::helper_process", "--ignored"])
            .env(HELPER_FOLDER, folder.unwrap_or(Path::new("")))
            .env(HELPER_REPORT, &path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        assert!(eventually(PATIENCE, || path.exists()).await, "the helper reports");
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let report = Report {
            postmaster: lines[0].parse().unwrap(),
            keeper: lines[1].parse().unwrap(),
            data: PathBuf::from(lines[2]),
            home: PathBuf::from(lines[3]),
        };
        Self {
            process,
            report,
            _folder: reports,
        }
    }

    /// Kills the process and returns what it had started.
    fn kill(mut self) -> Report {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.report
    }
}

#[tokio::test]
#[ignore = "not a test: the process that other tests start and kill"]
async fn helper_process() {
    let Ok(report) = std::env::var(HELPER_REPORT) else {
        return;
    };
    let folder = std::env::var(HELPER_FOLDER).unwrap();
    let cluster = if folder.is_empty() {
        Cluster::for_tests().await.unwrap()
    } else {
        Cluster::start(&options(Path::new(&folder))).await.unwrap()
    };
    cluster.create_database("kept", None).await.unwrap();
    let data = cluster.folder().data();
    let text = format!(
        "{}\n{}\n{}\n{}\n",
        postmaster_pid(&data),
        cluster.keeper_pid().await,
        data.display(),
        cluster.home().display()
    );
    let unfinished = format!("{report}.unfinished");
    fs::write(&unfinished, text).unwrap();
    fs::rename(&unfinished, &report).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn the_keeper_stops_postgres_and_removes_a_throw_away_folder_after_a_kill() {
    let helper = Helper::start(None).await;
    assert!(is_postgres_of(helper.report.postmaster, &helper.report.data));

    let left = helper.kill();

    assert!(eventually(PATIENCE, || !is_postgres_of(left.postmaster, &left.data)).await);
    assert!(eventually(PATIENCE, || !left.home.exists()).await);
}

#[tokio::test]
async fn the_keeper_stops_postgres_in_order_and_keeps_a_lasting_folder_after_a_kill() {
    let folder = open_folder();
    let helper = Helper::start(Some(folder.path())).await;

    let left = helper.kill();

    assert!(eventually(PATIENCE, || !is_postgres_of(left.postmaster, &left.data)).await);
    assert!(eventually(PATIENCE, || !left.data.join("postmaster.pid").exists()).await);
    assert!(left.data.join("PG_VERSION").exists());
}

#[tokio::test]
async fn a_server_that_outlived_its_run_is_stopped_and_its_data_used() {
    let folder = open_folder();
    let helper = Helper::start(Some(folder.path())).await;
    kill(helper.report.keeper);
    let left = helper.kill();
    assert!(is_postgres_of(left.postmaster, &left.data), "nobody stopped it");

    let cluster = Cluster::start(&options(folder.path())).await.unwrap();

    assert!(!is_postgres_of(left.postmaster, &left.data));
    connect(&cluster, "kept").await;
    cluster.close().await.unwrap();
}

#[tokio::test]
async fn a_server_killed_with_its_run_is_recovered() {
    let folder = open_folder();
    let helper = Helper::start(Some(folder.path())).await;
    kill(helper.report.keeper);
    kill(helper.report.postmaster);
    helper.kill();

    let cluster = Cluster::start(&options(folder.path())).await.unwrap();

    connect(&cluster, "kept").await;
    cluster.close().await.unwrap();
}
