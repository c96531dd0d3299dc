//! The run itself: what comes up in which order, one sync through the API, and the way down again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use chrono::Utc;
use lockstep_api::config::Jwt;
use lockstep_api::token::{self, Caller};
use lockstep_sandbox::odoo::Erp;
use lockstep_sandbox::woocommerce::Store;
use lockstep_shared::connection::Credentials;
use lockstep_shared::db::{self, Isolation};
use lockstep_shared::id::{OrgId, SyncId};
use lockstep_shared::organisation::{self, Organisation};
use lockstep_shared::role::Role;
use lockstep_shared::sync::Status;
use lockstep_shared::system::EntityType;
use secrecy::SecretString;

use crate::cli::Cli;
use crate::client::{Client, ClientError, Connection, Records, Sync};
use crate::database::{DatabaseError, Roles, Urls};
use crate::folder::{Contents, DataFolder, FolderError, RemoteState, State};
use crate::logs;
use crate::postgres::{Cluster, ClusterOptions, Durability, PostgresError};
use crate::progress::Board;
use crate::remote::{self, Access, Real, RemoteError, StandIns, title};
use crate::report::{Before, Report};
use crate::services::{ServiceError, Services};
use crate::stop::Stop;

const DATABASE: &str = "lockstep";
/// What an operator may raise the limit to; the default spares real systems.
const REQUESTS_PER_MINUTE: i32 = 1_000_000;
/// How often a sync is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long the token that is made for the user's own trials holds.
const TOKEN_DAYS: i64 = 30;
/// What a shell expects of a process that its user interrupted.
const INTERRUPTED: u8 = 130;

/// How a run ended that met with no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything is in step, or the user was told what is not and stopped the run.
    Good,
    /// The sync ended, but not everything is in step.
    Bad,
    /// Somebody asked for the end before the sync had ended.
    Interrupted,
}

impl From<End> for ExitCode {
    fn from(end: End) -> Self {
        match end {
            End::Good => Self::SUCCESS,
            End::Bad => Self::FAILURE,
            End::Interrupted => Self::from(INTERRUPTED),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Folder(FolderError),
    #[error("the log `{}` can't be written", path.display())]
    Log {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("signals can't be listened for")]
    Signals(#[source] std::io::Error),
    #[error("`{}` is no folder that can be read", path.display())]
    NoRecording {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the data folder was set up with {there}, not with {asked}; start over with `--fresh`, or name another data \
         folder with `--data`"
    )]
    OtherContents { there: String, asked: String },
    #[error(
        "the last run was killed before it had written down what its stand-in held; start over with `--fresh`, but \
         mind that {system} is a real system, in which things without SKU or e-mail may then be made twice"
    )]
    Unsaved { system: &'static str },
    #[error(transparent)]
    Postgres(PostgresError),
    #[error(transparent)]
    Database(DatabaseError),
    #[error("the organisation can't be stored")]
    Organisation(#[source] sqlx::Error),
    #[error("no token can be signed: {0}")]
    Token(String),
    #[error(transparent)]
    Remote(RemoteError),
    #[error("the data folder does not say what the stand-ins held; start over with `--fresh`")]
    NoSnapshot,
    #[error(transparent)]
    Service(ServiceError),
    #[error(transparent)]
    Client(ClientError),
    #[error(
        "the data folder knows no credentials for {system}; give its address and credentials again, or start over \
         with `--fresh`"
    )]
    NoCredentials { system: &'static str },
    #[error("{system} needs attention: {why}")]
    Attention { system: &'static str, why: String },
    #[error("the sync failed: {why}")]
    Failed { why: String },
}

/// Runs everything, until the first sync is over or somebody asks for the end.
///
/// # Errors
/// When anything that the run needs can't be had. Whatever was started is stopped in order all the same.
pub async fn run(cli: Cli) -> Result<End, RunError> {
    let stop = Stop::listen().map_err(RunError::Signals)?;
    let folder = DataFolder::open(&cli.data).map_err(RunError::Folder)?;
    logs::start(cli.log.as_deref(), &folder.log()).map_err(|source| RunError::Log {
        path: folder.log(),
        source,
    })?;
    let state = prepare(&cli, &folder).await?;
    let options = ClusterOptions {
        data_dir: folder.postgres(),
        durability: Durability::Safe,
    };
    let cluster = tokio::select! {
        cluster = Cluster::start(&options) => cluster.map_err(RunError::Postgres)?,
        () = stop.asked() => return Ok(End::Interrupted),
    };
    let ended = with_postgres(&cli, &folder, state, &cluster, &stop).await;
    let closed = cluster.close().await.map_err(RunError::Postgres);
    ended.and_then(|end| closed.map(|()| end))
}

/// What there is to go on with, or what to begin with.
#[derive(Debug)]
enum Beginning {
    GoOn(State),
    Anew(State),
}

/// Decides whether to go on with what the data folder has. Whatever has to be forgotten is forgotten here.
async fn prepare(cli: &Cli, folder: &DataFolder) -> Result<Beginning, RunError> {
    let mut asked = Asked::of(cli)?;
    let is_unsaved = folder.is_unsaved().map_err(RunError::Folder)?;
    if !cli.fresh
        && let Some(state) = folder.state().map_err(RunError::Folder)?
    {
        if !is_unsaved {
            asked.fits(&state)?;
            return Ok(Beginning::GoOn(state));
        }
        if let Some(system) = state.real_system() {
            let system = title(system);
            return Err(RunError::Unsaved { system });
        }
        asked = asked.or(state);
    }
    for real in [Real::store(&cli.woocommerce), Real::erp(&cli.odoo)]
        .iter()
        .flatten()
    {
        real.check().await.map_err(RunError::Remote)?;
    }
    // The cluster first: it knows whether another run is using the folder.
    Cluster::wipe(&folder.postgres())
        .await
        .map_err(RunError::Postgres)?;
    if is_unsaved && !cli.fresh {
        eprintln!(
            "The last run was killed before it had written down what its stand-ins held, so this one starts over."
        );
    }
    folder.clear().map_err(RunError::Folder)?;
    Ok(Beginning::Anew(asked.state()))
}

/// What the command line says about remote systems and what they hold; `None` where it says nothing.
#[derive(Debug)]
struct Asked {
    contents: Option<Contents>,
    default_contents: Contents,
    store: Option<RemoteState>,
    erp: Option<RemoteState>,
}

impl Asked {
    fn of(cli: &Cli) -> Result<Self, RunError> {
        let real = |url: &Option<url::Url>| url.clone().map(|url| RemoteState::Real { url });
        let (store, erp) = (real(&cli.woocommerce.woocommerce_url), real(&cli.odoo.odoo_url));
        let options = &cli.contents;
        let plan = options.plan();
        let made_up = Contents::MadeUp {
            products: plan.products,
            customers: plan.customers,
            orders: plan.orders,
            refunds: plan.refunds,
            seed: plan.seed,
        };
        let says_numbers = options.products.is_some()
            || options.customers.is_some()
            || options.orders.is_some()
            || options.refunds.is_some()
            || options.seed.is_some();
        let contents = match &options.recorded {
            Some(path) => {
                let folder = std::fs::canonicalize(path).map_err(|source| RunError::NoRecording {
                    path: path.clone(),
                    source,
                })?;
                Some(Contents::Recorded { folder })
            }
            None if store.is_some() || erp.is_some() => Some(Contents::Nothing),
            None => says_numbers.then(|| made_up.clone()),
        };
        Ok(Self {
            contents,
            default_contents: made_up,
            store,
            erp,
        })
    }

    /// Refuses what contradicts the way the data folder was set up.
    fn fits(&self, state: &State) -> Result<(), RunError> {
        let other = |there: String, asked: String| Err(RunError::OtherContents { there, asked });
        for (asked, there, name) in [
            (&self.store, &state.store, "WooCommerce"),
            (&self.erp, &state.erp, "Odoo"),
        ] {
            let Some(asked) = asked.as_ref().filter(|asked| *asked != there) else {
                continue;
            };
            return other(described(name, there), described(name, asked));
        }
        match &self.contents {
            Some(asked) if *asked != state.contents => other(state.contents.to_string(), asked.to_string()),
            _ => Ok(()),
        }
    }

    /// Takes from the way the data folder was set up what the command line does not say.
    fn or(self, state: State) -> Self {
        Self {
            contents: self.contents.or(Some(state.contents)),
            store: self.store.or(Some(state.store)),
            erp: self.erp.or(Some(state.erp)),
            ..self
        }
    }

    fn state(self) -> State {
        let stand_in = || RemoteState::StandIn { port: 0 };
        let is_real = |remote: &RemoteState| matches!(remote, RemoteState::Real { .. });
        State {
            organisation: OrgId::random(),
            contents: self.contents.unwrap_or(self.default_contents),
            store: self.store.filter(is_real).unwrap_or_else(stand_in),
            erp: self.erp.filter(is_real).unwrap_or_else(stand_in),
        }
    }
}

fn described(name: &str, remote: &RemoteState) -> String {
    match remote {
        RemoteState::StandIn { .. } => format!("a stand-in for {name}"),
        RemoteState::Real { url } => format!("{name} at `{url}`"),
    }
}

async fn with_postgres(
    cli: &Cli,
    folder: &DataFolder,
    beginning: Beginning,
    cluster: &Cluster,
    stop: &Stop,
) -> Result<End, RunError> {
    let roles = Roles::make(cluster).await.map_err(RunError::Database)?;
    let urls = roles
        .database(cluster, DATABASE)
        .await
        .map_err(RunError::Database)?;
    let secrets = folder.secrets().map_err(RunError::Folder)?;
    let (state, stand_ins) = stand_ins(folder, beginning).await?;
    let mut services = Services::start(&urls, &secrets, cli.port).map_err(RunError::Service)?;
    let scene = Scene {
        cli,
        folder,
        state: &state,
        stand_ins: &stand_ins,
        urls: &urls,
    };
    let (base_url, jwt) = (services.base_url.clone(), services.jwt.clone());
    let played = tokio::select! {
        played = scene.play(&base_url, &jwt) => played.map(Some),
        error = services.ended() => Err(RunError::Service(error)),
        () = stop.asked() => Ok(None),
    };
    let ended = match played {
        Ok(Some((end, _))) if cli.once => Ok(end),
        Ok(Some((_, client))) => tokio::select! {
            error = scene.stay(&client) => Err(error),
            error = services.ended() => Err(RunError::Service(error)),
            () = stop.asked() => Ok(End::Good),
        },
        Ok(None) => {
            eprintln!("Stopping; the next run goes on where this one ends.");
            Ok(End::Interrupted)
        }
        Err(error) => Err(error),
    };
    // Only now nothing moves any more, and what is written down fits the database.
    let stopped = services.stop().await.map_err(RunError::Service);
    let kept = scene.keep();
    let end = ended?;
    stopped?;
    kept?;
    Ok(end)
}

/// Starts the stand-ins as the last run left them, or fills them for the first time.
async fn stand_ins(folder: &DataFolder, beginning: Beginning) -> Result<(State, StandIns), RunError> {
    match beginning {
        Beginning::GoOn(state) => {
            let stand_ins = StandIns::start(&state.store, &state.erp)
                .await
                .map_err(RunError::Remote)?;
            let snapshot = folder.snapshot().map_err(RunError::Folder)?;
            let snapshot = snapshot.ok_or(RunError::NoSnapshot)?;
            stand_ins.restore(&snapshot).map_err(RunError::Remote)?;
            Ok((state, stand_ins))
        }
        Beginning::Anew(mut state) => {
            let stand_ins = StandIns::start(&state.store, &state.erp)
                .await
                .map_err(RunError::Remote)?;
            let store = stand_ins.store.as_ref().map(Store::base_url);
            state.store = remote::with_port(&state.store, store);
            let erp = stand_ins.erp.as_ref().map(Erp::base_url);
            state.erp = remote::with_port(&state.erp, erp);
            stand_ins.fill(&state.contents).map_err(RunError::Remote)?;
            folder
                .keep_snapshot(&stand_ins.snapshot())
                .map_err(RunError::Folder)?;
            folder.keep_state(&state).map_err(RunError::Folder)?;
            Ok((state, stand_ins))
        }
    }
}

/// Everything that is up while a sync runs.
#[derive(Debug, Clone, Copy)]
struct Scene<'a> {
    cli: &'a Cli,
    folder: &'a DataFolder,
    state: &'a State,
    stand_ins: &'a StandIns,
    urls: &'a Urls,
}

impl Scene<'_> {
    /// Brings the systems into step once, and says what that came to.
    async fn play(&self, base_url: &str, jwt: &Jwt) -> Result<(End, Client), RunError> {
        self.make_organisation().await?;
        let token = self.sign(jwt)?;
        let token_path = self.folder.keep_token(&token).map_err(RunError::Folder)?;
        let client = Client::new(base_url, token).map_err(RunError::Client)?;
        self.connect(&client).await?;
        self.mark()?;
        for left in client.active_syncs().await.map_err(RunError::Client)? {
            eprintln!("The last run left a sync unfinished, which goes on first.");
            self.follow(&client, left).await?;
        }

        let before = Before::of(self.stand_ins);
        let id = client.start_sync().await.map_err(RunError::Client)?;
        let sync = self.follow(&client, id).await?;
        let records = all_records(&client).await?;
        let report = Report::new(&sync, &records, self.stand_ins, before);
        self.tell(&report, base_url, &token_path);
        self.complain(&client, &sync).await?;
        let end = if report.is_good() { End::Good } else { End::Bad };
        Ok((end, client))
    }

    /// Prints what came of the sync, and where everything is. A reader who has left changes nothing.
    fn tell(&self, report: &Report, base_url: &str, token: &Path) {
        use std::fmt::Write as _;
        use std::io::Write as _;

        let mut text = report.to_string();
        let _ = writeln!(text, "API docs     {base_url}/docs");
        let _ = writeln!(text, "API token    {}", token.display());
        for (name, remote) in self.addresses() {
            let _ = writeln!(text, "{name:<13}{remote}");
        }
        let data = token.parent().unwrap_or(token).display();
        let database = without_password(&self.urls.superuser);
        let _ = writeln!(
            text,
            "database     PGPASSWORD=$(cat {data}/pg-*/password) psql '{database}'"
        );
        let _ = writeln!(text, "{}", report.line());
        let _ = std::io::stdout().write_all(text.as_bytes());
    }

    fn addresses(&self) -> Vec<(&'static str, String)> {
        let address = |stand_in: Option<String>, state: &RemoteState| match (stand_in, state) {
            (Some(base_url), _) => format!("{base_url} (stand-in)"),
            (None, RemoteState::Real { url }) => url.to_string(),
            (None, RemoteState::StandIn { .. }) => String::new(),
        };
        let store = self.stand_ins.store.as_ref().map(Store::base_url);
        let erp = self.stand_ins.erp.as_ref().map(Erp::base_url);
        vec![
            ("WooCommerce", address(store, &self.state.store)),
            ("Odoo", address(erp, &self.state.erp)),
        ]
    }

    /// Makes the organisation, unless an earlier run did.
    async fn make_organisation(&self) -> Result<(), RunError> {
        let org = self.state.organisation;
        let make = async {
            let pool = db::pool(&self.urls.api, 1, "lockstep-local")?;
            let mut tx = db::begin(&pool, org, Isolation::ReadCommitted).await?;
            if !organisation::exists(&mut tx, org).await? {
                let organisation = Organisation {
                    org_id: org,
                    name: "Local".to_owned(),
                    requests_per_minute: REQUESTS_PER_MINUTE,
                };
                organisation::create(&mut tx, &organisation).await?;
            }
            tx.commit().await?;
            pool.close().await;
            Ok(())
        };
        make.await.map_err(RunError::Organisation)
    }

    fn sign(&self, jwt: &Jwt) -> Result<SecretString, RunError> {
        let caller = Caller {
            org: self.state.organisation,
            subject: "local".to_owned(),
            role: Role::Platform,
        };
        let signed = token::issue(jwt, &caller, Utc::now(), chrono::Duration::days(TOKEN_DAYS));
        signed
            .map(SecretString::from)
            .map_err(|error| RunError::Token(error.to_string()))
    }

    /// Makes the connections that are not there yet.
    async fn connect(&self, client: &Client) -> Result<(), RunError> {
        let there = client.connections().await.map_err(RunError::Client)?;
        let stand_ins = self.stand_ins;
        let accesses = [
            remote::store_access(
                stand_ins.store.as_ref(),
                &self.state.store,
                Real::store(&self.cli.woocommerce),
            ),
            remote::erp_access(stand_ins.erp.as_ref(), &self.state.erp, Real::erp(&self.cli.odoo)),
        ];
        for access in accesses {
            let is_there = |connection: &Connection| connection.system == access.system;
            if !there.iter().any(is_there) {
                let credentials = known_credentials(&access)?;
                client
                    .connect(&access, credentials)
                    .await
                    .map_err(RunError::Client)?;
            }
        }
        Ok(())
    }

    /// Looks at a sync until it is over, and shows how far it is.
    async fn follow(&self, client: &Client, id: SyncId) -> Result<Sync, RunError> {
        let mut board = Board::new();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            let sync = client.sync(id).await.map_err(RunError::Client)?;
            board.show(&sync.progress.stages);
            if sync.status.is_final() {
                return Ok(sync);
            }
        }
    }

    /// Turns a sync that failed as a whole into one sentence.
    async fn complain(&self, client: &Client, sync: &Sync) -> Result<(), RunError> {
        let connections = client.connections().await.map_err(RunError::Client)?;
        let wanting = connections
            .into_iter()
            .find_map(|connection| Some((connection.system, connection.attention?)));
        if let Some((system, why)) = wanting {
            let system = title(system);
            return Err(RunError::Attention { system, why });
        }
        if sync.status != Status::Failed {
            return Ok(());
        }
        let stages = &sync.progress.stages;
        let why = sync
            .error
            .clone()
            .or_else(|| stages.iter().find_map(|stage| stage.error.clone()));
        match why {
            Some(why) => Err(RunError::Failed { why }),
            // Its items failed one by one, and the report said why.
            None => Ok(()),
        }
    }

    /// Keeps an eye on syncs that others start: what the stand-ins hold is written down after each. Ends with an error
    /// only.
    async fn stay(&self, client: &Client) -> RunError {
        eprintln!("Everything stays up; Ctrl-C ends it.");
        let mut looks = tokio::time::interval(LOOK_EVERY);
        // What the first sync did is not written down yet.
        let mut is_kept = false;
        loop {
            looks.tick().await;
            let done = match client.active_syncs().await {
                Ok(active) if !active.is_empty() && is_kept => {
                    is_kept = false;
                    self.mark()
                }
                Ok(active) if active.is_empty() && !is_kept => {
                    is_kept = true;
                    self.keep()
                }
                Ok(_) => Ok(()),
                Err(error) => Err(RunError::Client(error)),
            };
            if let Err(error) = done {
                return error;
            }
        }
    }

    /// Notes that the stand-ins may change from here on.
    fn mark(&self) -> Result<(), RunError> {
        if self.stand_ins.is_any() {
            self.folder.mark_unsaved().map_err(RunError::Folder)?;
        }
        Ok(())
    }

    /// Writes down what the stand-ins hold.
    fn keep(&self) -> Result<(), RunError> {
        if self.stand_ins.is_any() {
            self.folder
                .keep_snapshot(&self.stand_ins.snapshot())
                .map_err(RunError::Folder)?;
        }
        Ok(())
    }
}

fn known_credentials(access: &Access) -> Result<&Credentials, RunError> {
    access.credentials.as_ref().ok_or(RunError::NoCredentials {
        system: title(access.system),
    })
}

async fn all_records(client: &Client) -> Result<Records, RunError> {
    let mut records = Records::new();
    for entity in EntityType::ALL {
        records.insert(entity, client.records(entity).await.map_err(RunError::Client)?);
    }
    Ok(records)
}

/// Takes the password out of an address that is about to be shown.
fn without_password(url: &str) -> String {
    let Ok(mut url) = url.parse::<url::Url>() else {
        return String::new();
    };
    // Refused only for addresses without a host, which have no password either.
    let _ = url.set_password(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn asked(arguments: &[&str]) -> Asked {
        let program = ["lockstep-local"];
        Asked::of(&Cli::parse_from(program.iter().chain(arguments))).unwrap()
    }

    #[test]
    fn without_a_word_about_it_the_contents_stay_what_they_are() {
        let state = asked(&["--products", "5", "--seed", "9"]).state();

        assert!(asked(&[]).fits(&state).is_ok());
        assert!(asked(&["--products", "5", "--seed", "9"]).fits(&state).is_ok());
    }

    #[test]
    fn other_contents_need_a_fresh_start() {
        let state = asked(&[]).state();

        let error = asked(&["--products", "5"]).fits(&state).unwrap_err();

        assert_eq!(
            error.to_string(),
            "the data folder was set up with 500 products, 300 customers, 400 orders and 40 refunds made up from seed 1, \
             not with 5 products, 300 customers, 400 orders and 40 refunds made up from seed 1; start over with `--fresh`, or name another data folder with `--data`"
        );
        assert!(asked(&["--recorded", "."]).fits(&state).is_err());
    }

    #[test]
    fn a_start_over_keeps_what_is_not_said_anew() {
        let state = asked(&["--products", "5"]).state();

        assert_eq!(asked(&[]).or(state.clone()).state().contents, state.contents);
        let other = asked(&["--products", "6"]);
        assert_ne!(other.or(state.clone()).state().contents, state.contents);
    }

    #[test]
    fn a_real_system_does_not_take_the_place_of_a_stand_in() {
        let real = [
            "--woocommerce-url",
            "https://shop.example.com",
            "--woocommerce-key",
            "ck",
            "--woocommerce-secret",
            "cs",
        ];
        let state = asked(&[]).state();

        let error = asked(&real).fits(&state).unwrap_err();

        let words =
            "set up with a stand-in for WooCommerce, not with WooCommerce at `https://shop.example.com/`";
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(asked(&real).state().contents, Contents::Nothing);
        assert!(asked(&[]).fits(&asked(&real).state()).is_ok());
    }
}
