//! A database of Lockstep's in a cluster: roles, tables, and an address for each role.

use lockstep_shared::db::{self, MigrateError, RolePasswords};
use rand::distr::{Alphanumeric, SampleString};

use crate::postgres::{Cluster, PostgresError};

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("the private Postgres failed")]
    Postgres(#[source] PostgresError),
    #[error("the database's roles could not be made")]
    Roles(#[source] sqlx::Error),
    #[error("the database could not be made")]
    Create(#[source] sqlx::Error),
    #[error("the database could not be brought up to date")]
    Migrate(#[source] MigrateError),
}

/// What the roles of a cluster log in with, for as long as this process runs.
#[derive(Clone, Debug)]
pub struct Roles {
    password: String,
}

/// Addresses of one database, by role.
#[derive(Clone, Debug)]
pub struct Urls {
    pub superuser: String,
    pub owner: String,
    pub api: String,
    pub worker: String,
}

impl Roles {
    /// Makes the cluster's roles and gives them new passwords.
    pub async fn make(cluster: &Cluster) -> Result<Self, DatabaseError> {
        let password = Alphanumeric.sample_string(&mut rand::rng(), 32);
        let passwords = RolePasswords {
            owner: &password,
            api: &password,
            worker: &password,
        };
        let admin = cluster.superuser_url("postgres");
        db::make_roles(&admin, &passwords)
            .await
            .map_err(DatabaseError::Roles)?;
        Ok(Self { password })
    }

    /// Returns the addresses of a database of the cluster.
    pub fn urls(&self, cluster: &Cluster, database: &str) -> Urls {
        let url = |role| cluster.url(role, &self.password, database);
        Urls {
            superuser: cluster.superuser_url(database),
            owner: url("lockstep_owner"),
            api: url("lockstep_api"),
            worker: url("lockstep_worker"),
        }
    }

    /// Makes a database unless it is there, gives it to the owner, and brings its tables up to date.
    pub async fn database(&self, cluster: &Cluster, name: &str) -> Result<Urls, DatabaseError> {
        let urls = self.urls(cluster, name);
        make(cluster, name).await.map_err(DatabaseError::Create)?;
        db::migrate(&urls.owner).await.map_err(DatabaseError::Migrate)?;
        Ok(urls)
    }
}

async fn make(cluster: &Cluster, name: &str) -> Result<(), sqlx::Error> {
    use sqlx::{Connection, PgConnection};

    let mut admin = PgConnection::connect(&cluster.superuser_url("postgres")).await?;
    let is_there: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(name)
        .fetch_one(&mut admin)
        .await?;
    if !is_there {
        let statement = format!(
            "create database \"{}\" owner lockstep_owner",
            name.replace('"', "\"\"")
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut admin)
            .await?;
    }
    admin.close().await
}
