//! One Lockstep on a database of its own: worker, sandbox, and shortcuts past the API where a test is not about it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use lockstep_local::database::{Roles, Urls};
use lockstep_local::postgres::{Cluster, StopMode};
use lockstep_sandbox::Sandbox;
use lockstep_sandbox::ledger::Effect;
use lockstep_sandbox::odoo::ErpOptions;
use lockstep_sandbox::woocommerce::StoreOptions;
use lockstep_shared::command::{self, Kind, NewCommand};
use lockstep_shared::connection::{self, Credentials, NewConnection, Settings};
use lockstep_shared::db::{self, Isolation};
use lockstep_shared::entity::Content;
use lockstep_shared::id::{ConnectionId, OrgId, RecordId, SyncId};
use lockstep_shared::organisation::{self, Organisation};
use lockstep_shared::record::{self, Put};
use lockstep_shared::secret::{Owner, SealingKey};
use lockstep_shared::sync::{self, Config as SyncConfig, NewSync, StageView, View};
use lockstep_shared::system::{EntityType, System};
use lockstep_shared::{item, sync::Status};
use lockstep_worker::config::Config as WorkerConfig;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

/// Longest a test waits for anything before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

const TEMPLATE: &str = "lockstep_template";

/// A private cluster with a database that all others are copied from.
#[derive(Clone, Debug)]
pub struct Server {
    pub cluster: Arc<Cluster>,
    roles: Roles,
}

impl Server {
    /// Starts a cluster of its own.
    pub async fn start() -> Self {
        let cluster = Cluster::for_tests()
            .await
            .expect("a private Postgres can be started");
        let roles = Roles::make(&cluster).await.expect("its roles can be made");
        roles
            .database(&cluster, TEMPLATE)
            .await
            .expect("its tables can be made");
        Self {
            cluster: Arc::new(cluster),
            roles,
        }
    }

    /// Returns the one cluster that the tests of this process share.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Server> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }
}

/// Has the cluster of this process count the statements that it runs. Restarts it: to be called before anything else.
pub async fn count_statements() -> anyhow::Result<()> {
    let cluster = &Server::shared().await.cluster;
    let mut admin = PgConnection::connect(&cluster.superuser_url("postgres")).await?;
    // Fails where the library is missing, with which the server would not start again.
    sqlx::raw_sql("load 'pg_stat_statements'")
        .execute(&mut admin)
        .await?;
    sqlx::raw_sql("alter system set shared_preload_libraries = 'pg_stat_statements'")
        .execute(&mut admin)
        .await?;
    admin.close().await?;
    Ok(cluster.restart(StopMode::Fast).await?)
}

/// A database of its own, empty but for its tables.
#[derive(Clone, Debug)]
pub struct Database {
    pub urls: Urls,
    /// As the role of the workers.
    pub worker: PgPool,
    /// As the role of the API.
    pub api: PgPool,
    /// Sees everything: for looking at what no role may see.
    pub superuser: PgPool,
}

impl Database {
    /// Makes a database in the cluster that tests share.
    pub async fn new() -> Self {
        Self::new_in(Server::shared().await).await
    }

    /// Makes a database.
    pub async fn new_in(server: &Server) -> Self {
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        server
            .cluster
            .create_database(&name, Some(TEMPLATE))
            .await
            .expect("the template can be copied");
        let urls = server.roles.urls(&server.cluster, &name);
        let given = format!("alter database {name} owner to lockstep_owner");
        let mut admin = PgConnection::connect(&urls.superuser)
            .await
            .expect("the database answers");
        sqlx::raw_sql(sqlx::AssertSqlSafe(given))
            .execute(&mut admin)
            .await
            .expect("the role is there");
        admin.close().await.expect("the database answers");
        let pool = |url: &str| db::pool(url, 10, "lockstep-tests").expect("the address is right");
        Self {
            worker: pool(&urls.worker),
            api: pool(&urls.api),
            superuser: pool(&urls.superuser),
            urls,
        }
    }
}

/// A key that every test uses.
pub fn sealing_key() -> SealingKey {
    SealingKey::parse(&base64::engine::general_purpose::STANDARD.encode([7; 32]).into()).expect("32 bytes")
}

/// An organisation with a store and an ERP, and workers as asked for.
#[derive(Debug)]
pub struct Stack {
    pub database: Database,
    pub sandbox: Sandbox,
    pub org: OrgId,
    pub store: ConnectionId,
    pub erp: ConnectionId,
    workers: Vec<CancellationToken>,
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.workers.iter().for_each(CancellationToken::cancel);
    }
}

impl Stack {
    /// Starts a sandbox and makes an organisation that knows it; no worker yet. `LOCKSTEP_LOG` shows the workers' log.
    pub async fn new() -> Self {
        Self::new_in(Server::shared().await).await
    }

    /// Does so in a cluster of one's own, which may be stopped and started.
    pub async fn new_in(server: &Server) -> Self {
        if let Ok(filter) = std::env::var("LOCKSTEP_LOG") {
            lockstep_shared::telemetry::init(&filter, lockstep_shared::telemetry::LogFormat::Text);
        }
        Self::on(Database::new_in(server).await).await
    }

    /// Makes another organisation in the same database, with systems of its own: the same workers serve it.
    pub async fn neighbour(&self) -> Self {
        Self::on(self.database.clone()).await
    }

    async fn on(database: Database) -> Self {
        let sandbox = Sandbox::start().await.expect("a port is free");
        let org = OrgId::random();
        let mut stack = Self {
            org,
            store: ConnectionId::random(),
            erp: ConnectionId::random(),
            database,
            sandbox,
            workers: Vec::new(),
        };
        let mut tx = db::begin(&stack.database.api, org, Isolation::ReadCommitted)
            .await
            .expect("the database answers");
        let organisation = Organisation {
            org_id: org,
            name: "Test".to_owned(),
            requests_per_minute: 1_000_000,
        };
        organisation::create(&mut tx, &organisation)
            .await
            .expect("a new id");
        tx.commit().await.expect("the database answers");
        let (store, erp) = (StoreOptions::default(), ErpOptions::default());
        stack.store = stack
            .connect(
                Credentials::Woocommerce {
                    consumer_key: store.consumer_key.into(),
                    consumer_secret: store.consumer_secret.into(),
                },
                stack.sandbox.store.base_url(),
            )
            .await;
        stack.erp = stack
            .connect(
                Credentials::Odoo {
                    database: erp.database,
                    login: erp.login,
                    api_key: erp.api_key.into(),
                },
                stack.sandbox.erp.base_url(),
            )
            .await;
        stack
    }

    /// Takes the partners away that an empty ERP has of its own: its company and its users.
    pub fn forget_partners(&self) {
        for partner in self.sandbox.erp.records("res.partner") {
            self.sandbox.erp.update(
                "res.partner",
                partner["id"].as_i64().expect("an id"),
                serde_json::json!({ "active": false }),
            );
        }
    }

    /// Stores a connection.
    pub async fn connect(&self, credentials: Credentials, base_url: String) -> ConnectionId {
        let connection_id = ConnectionId::random();
        let json = credentials.to_json();
        let plain = secrecy::ExposeSecret::expose_secret(&json);
        let new = NewConnection {
            connection_id,
            system: credentials.system(),
            name: format!("{} {connection_id}", credentials.system().name()),
            base_url,
            settings: Settings::default(),
            sealed: sealing_key().seal(rand::random(), self.org, Owner::Connection(connection_id), plain),
        };
        let mut tx = self.begin_as_api().await;
        connection::create(&mut tx, self.org, &new)
            .await
            .expect("the name is new");
        tx.commit().await.expect("the database answers");
        connection_id
    }

    /// Changes a connection's settings.
    pub async fn set(&self, connection: ConnectionId, settings: &Settings) {
        let mut tx = self.begin_as_api().await;
        connection::change_settings(&mut tx, self.org, connection, settings)
            .await
            .expect("the database answers");
        tx.commit().await.expect("the database answers");
    }

    /// Returns the configuration that workers of tests have: quick to notice, nothing spared.
    pub fn worker_config(&self) -> WorkerConfig {
        let mut config = WorkerConfig::new(self.database.urls.worker.clone().into(), sealing_key());
        config.sweep_every = Duration::from_millis(300);
        config.lease.length = Duration::from_secs(3);
        config.http = lockstep_worker::connector::http::Options::local();
        config.http.timeout = Duration::from_secs(3);
        config.lease.progress_limit = Duration::from_secs(10);
        config.grace = Some(Duration::from_millis(200));
        config
    }

    /// Has the database tell another time, such as `2 hours` later.
    pub async fn shift_clock(&self, interval: &str) {
        sqlx::query("update clock set shift = shift + $1::text::interval")
            .bind(interval)
            .execute(&self.database.superuser)
            .await
            .expect("the database answers");
    }

    /// Starts a worker.
    pub fn work(&mut self) {
        self.work_as(self.worker_config());
    }

    /// Starts a worker that is set up otherwise; returns what stops it.
    pub fn work_as(&mut self, config: WorkerConfig) -> CancellationToken {
        let stop = CancellationToken::new();
        self.workers.push(stop.clone());
        let stopped = stop.clone();
        tokio::spawn(async move {
            lockstep_worker::run(config, stopped)
                .await
                .expect("the worker runs");
        });
        stop
    }

    pub async fn begin_as_api(&self) -> db::OrgTx {
        db::begin(&self.database.api, self.org, Isolation::ReadCommitted)
            .await
            .expect("the database answers")
    }

    pub async fn begin_as_worker(&self) -> db::OrgTx {
        db::begin(&self.database.worker, self.org, Isolation::ReadCommitted)
            .await
            .expect("the database answers")
    }

    /// Puts a record, as the API does.
    pub async fn put(&self, content: Content) -> RecordId {
        let record_id = RecordId::random();
        self.put_as(record_id, content).await;
        record_id
    }

    /// Puts new content for a record.
    pub async fn put_as(&self, record_id: RecordId, content: Content) {
        let entity = content.entity();
        let content = content.canonical().expect("a valid record");
        let mut tx = self.begin_as_api().await;
        let changed = record::put(&mut tx, self.org, entity, &[Put { record_id, content }])
            .await
            .expect("stored");
        item::make_due(&mut tx, self.org, entity, &changed, None)
            .await
            .expect("made due");
        tx.commit().await.expect("the database answers");
    }

    /// Starts a sync of everything with no delay between batches.
    pub async fn start(&self) -> SyncId {
        self.start_with(SyncConfig::new(None, Some(0), None).expect("in range"))
            .await
    }

    pub async fn start_with(&self, config: SyncConfig) -> SyncId {
        self.start_types(EntityType::ALL.to_vec(), config).await
    }

    /// Starts a sync of some types of records.
    pub async fn start_types(&self, entity_types: Vec<EntityType>, config: SyncConfig) -> SyncId {
        let new = NewSync {
            sync_id: SyncId::random(),
            systems: System::ALL.to_vec(),
            entity_types,
            connections: vec![self.store, self.erp],
            config,
            requested_by: "test".to_owned(),
            traceparent: None,
        };
        let mut tx = self.begin_as_api().await;
        sync::start(&mut tx, self.org, &new).await.expect("accepted");
        tx.commit().await.expect("the database answers");
        new.sync_id
    }

    /// Starts a sync and waits for its end.
    pub async fn sync(&self) -> Finished {
        let id = self.start().await;
        self.finish(id).await
    }

    /// Waits for a sync's end.
    pub async fn finish(&self, id: SyncId) -> Finished {
        self.finish_within(id, PATIENCE).await
    }

    pub async fn finish_within(&self, id: SyncId, patience: Duration) -> Finished {
        let what = format!("sync {id} to end");
        let view = within(patience, &what, || async {
            let view = self.view(id).await;
            view.status.is_final().then_some(view)
        })
        .await;
        let mut tx = self.begin_as_api().await;
        let stages = sync::stages(&mut tx, self.org, id)
            .await
            .expect("the database answers");
        Finished { view, stages }
    }

    /// Asks something of a sync, as the API does once it has found that it is possible.
    pub async fn ask(&self, id: SyncId, kind: Kind) {
        let command = NewCommand {
            sync: id,
            kind,
            requested_by: "test".to_owned(),
            traceparent: None,
        };
        let mut tx = self.begin_as_api().await;
        command::enqueue(&mut tx, self.org, &command)
            .await
            .expect("the sync is there");
        tx.commit().await.expect("the database answers");
    }

    /// Waits until a sync stands somewhere.
    pub async fn until(&self, id: SyncId, status: Status) {
        let what = format!("sync {id} to be {}", status.name());
        eventually(&what, || async {
            (self.view(id).await.status == status).then_some(())
        })
        .await;
    }

    /// Has both stand-ins forget what they felt.
    pub fn forget_effects(&self) {
        self.sandbox.store.ledger().reset();
        self.sandbox.erp.ledger().reset();
    }

    /// Returns what the stand-ins felt, the store's first.
    pub fn effects(&self) -> (Vec<Effect>, Vec<Effect>) {
        (
            self.sandbox.store.ledger().effects(),
            self.sandbox.erp.ledger().effects(),
        )
    }

    /// Fails the test where a stand-in felt anything since its effects were forgotten.
    pub fn assert_nothing_felt(&self) {
        let effects = self.effects();
        assert!(effects.0.is_empty() && effects.1.is_empty(), "R17: {effects:#?}");
    }

    /// Syncs once, after which nothing may be amiss.
    pub async fn in_step(&self) {
        let sync = self.sync().await;
        assert_eq!(sync.status(), Status::Done, "{:#?}", self.troubles().await);
        assert_eq!(self.troubles().await, Vec::<String>::new());
    }

    /// Syncs some types of records by a full scan of both systems, and waits for the end.
    pub async fn scan(&self, entity_types: &[EntityType]) -> Finished {
        let config = SyncConfig {
            full_scan: true,
            ..SyncConfig::new(None, Some(0), None).expect("in range")
        };
        let id = self.start_types(entity_types.to_vec(), config).await;
        self.finish(id).await
    }

    /// Says of every item that is not in step where it stands and why, and what conflicts are open.
    pub async fn troubles(&self) -> Vec<String> {
        let mut tx = self.begin_as_worker().await;
        sqlx::query_scalar(
            "select c.system || ' ' || i.entity_type || ' ' || i.state || ': ' || coalesce(i.last_error, '')
               from item i join connection c on c.org_id = i.org_id and c.connection_id = i.connection_id
              where i.state <> 'synced'
             union all
             select 'conflict ' || entity_type || ' ' || conflict_type || ': ' || coalesce(data ->> 'reason', '')
               from sync_conflict where not is_resolved
             union all
             select 'stage ' || direction || ' ' || entity_type || ': ' || error_message
               from sync_stage where error_message is not null
              order by 1",
        )
        .fetch_all(&mut *tx)
        .await
        .expect("the database answers")
    }

    pub async fn view(&self, id: SyncId) -> View {
        let mut tx = self.begin_as_api().await;
        sync::find(&mut tx, self.org, id)
            .await
            .expect("the database answers")
            .expect("the sync is there")
    }
}

/// A sync that is over.
#[derive(Debug)]
pub struct Finished {
    pub view: View,
    pub stages: Vec<StageView>,
}

impl Finished {
    pub fn status(&self) -> Status {
        self.view.status
    }

    /// Sums a count over the pushes.
    pub fn pushed(&self, count: impl Fn(&lockstep_shared::batch::Counts) -> i64) -> i64 {
        let pushes = self
            .stages
            .iter()
            .filter(|s| s.direction == lockstep_shared::system::Direction::Push);
        pushes.map(|stage| count(&stage.counts)).sum()
    }
}

/// Waits until a condition holds, and fails the test when it does not in time.
pub async fn eventually<T, F>(what: &str, condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    within(PATIENCE, what, condition).await
}

/// Waits until a condition holds, and fails the test when it does not within a time.
pub async fn within<T, F>(patience: Duration, what: &str, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
