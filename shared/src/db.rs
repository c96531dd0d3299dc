//! The database: pools, migrations, and transactions bound to one organisation.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgAdvisoryLock, PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, Postgres, Transaction};

use crate::id::OrgId;

/// A transaction that sees the rows of one organisation only.
pub type OrgTx = Transaction<'static, Postgres>;

/// How strictly a transaction is kept apart from those beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadCommitted,
    /// As if all transactions ran one after another; may have to be repeated, see [`must_repeat`].
    Serializable,
}

/// Opens a pool without connecting yet. `application` is what operators see in `pg_stat_activity`.
pub fn pool(url: &str, connections: u32, application: &str) -> Result<PgPool, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?
        .application_name(application)
        .options([
            ("statement_timeout", "60s"),
            ("idle_in_transaction_session_timeout", "60s"),
        ]);
    Ok(PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        .connect_lazy_with(options))
}

/// Begins a transaction that works for one organisation. The one place where the organisation is set: row-level
/// security refuses every row of another.
pub async fn begin(pool: &PgPool, org: OrgId, isolation: Isolation) -> Result<OrgTx, sqlx::Error> {
    let level = match isolation {
        Isolation::ReadCommitted => "read committed",
        Isolation::Serializable => "serializable",
    };
    // One round trip. The id is a UUID that was parsed: it can hold nothing but hexadecimal digits and dashes.
    let statement = format!("begin isolation level {level}; set local lockstep.org_id = '{org}'");
    pool.begin_with(AssertSqlSafe(statement)).await
}

/// Has a transaction work for another organisation from here on.
pub async fn turn_to(tx: &mut OrgTx, org: OrgId) -> Result<(), sqlx::Error> {
    sqlx::query_scalar!("select set_config('lockstep.org_id', $1, true)", org.to_string())
        .fetch_one(&mut **tx)
        .await?;
    Ok(())
}

/// Says whether a transaction failed only because of those beside it (serialization failure, deadlock): the same
/// transaction, repeated, may well succeed.
pub fn must_repeat(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("40001" | "40P01"))
}

/// Says whether the database itself was out of reach: lost, restarting, or out of connections.
pub fn is_unreachable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed => {
            true
        }
        sqlx::Error::Database(inner) => {
            // 57P01-57P03: shut down, crashed, starting up; 08xxx: connection; 53300: too many connections;
            // 57014: a statement took too long
            inner.code().is_some_and(|code| {
                code.starts_with("08")
                    || matches!(&*code, "57P01" | "57P02" | "57P03" | "53300" | "57014" | "25P03")
            })
        }
        _ => false,
    }
}

/// Returns the constraint that refused a statement.
pub fn constraint(error: &sqlx::Error) -> Option<&str> {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::constraint)
}

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("could not connect to the database as its owner")]
    Connect(#[source] sqlx::Error),
    #[error("could not wait for another process's migration")]
    Turn(#[source] sqlx::Error),
    #[error("could not make the queue's tables")]
    Queue(#[source] crate::queue::QueueError),
    #[error("could not make the tables")]
    Tables(#[source] sqlx::migrate::MigrateError),
    #[error("could not finish the migration")]
    Finish(#[source] sqlx::Error),
}

/// Brings the database up to date: the queue's tables, then ours, then what has to be said again after either. One
/// process at a time does it, held apart by an advisory lock (each migrator has its own, but what is said after them
/// needs one, too); a second run changes nothing.
pub async fn migrate(owner_url: &str) -> Result<(), MigrateError> {
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .connect(owner_url)
        .await
        .map_err(MigrateError::Connect)?;
    let connection = pool.acquire().await.map_err(MigrateError::Connect)?;
    let turn = PgAdvisoryLock::new("lockstep.migrate")
        .acquire(connection)
        .await
        .map_err(MigrateError::Turn)?;
    crate::queue::migrate(&pool).await.map_err(MigrateError::Queue)?;
    sqlx::migrate!("../migrations")
        .run(&pool)
        .await
        .map_err(MigrateError::Tables)?;
    crate::queue::open_to_roles(&pool)
        .await
        .map_err(MigrateError::Finish)?;
    turn.release_now().await.map_err(MigrateError::Turn)?;
    pool.close().await;
    Ok(())
}

/// Makes the cluster's roles, as its administrator, and sets the passwords they log in with. Safe to run again.
pub async fn make_roles(admin_url: &str, passwords: &RolePasswords<'_>) -> Result<(), sqlx::Error> {
    // The passwords stand in the statements, which are logged otherwise.
    let options = admin_url.parse::<PgConnectOptions>()?.disable_statement_logging();
    let mut admin = PgConnection::connect_with(&options).await?;
    sqlx::raw_sql(include_str!("../../migrations/roles.sql"))
        .execute(&mut admin)
        .await?;
    let roles = [
        ("lockstep_owner", passwords.owner),
        ("lockstep_api", passwords.api),
        ("lockstep_worker", passwords.worker),
    ];
    for (role, password) in roles {
        let literal = password.replace('\'', "''");
        sqlx::raw_sql(AssertSqlSafe(format!("alter role {role} password '{literal}'")))
            .execute(&mut admin)
            .await?;
    }
    admin.close().await
}

/// What the three roles log in with.
#[derive(Clone, Copy)]
pub struct RolePasswords<'a> {
    pub owner: &'a str,
    pub api: &'a str,
    pub worker: &'a str,
}

impl std::fmt::Debug for RolePasswords<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RolePasswords")
    }
}

/// Reads the time that statements are told.
pub async fn now(db: &mut PgConnection) -> Result<chrono::DateTime<chrono::Utc>, sqlx::Error> {
    sqlx::query_scalar!(r#"select lockstep_now() as "now!""#)
        .fetch_one(db)
        .await
}
