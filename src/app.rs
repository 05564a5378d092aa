//! Wiring and lifecycle: the database, the two listeners, the worker; how they start and in which order they stop.
//!
//! It must hold no logic of its own: what it connects is decided in the rooms below.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use secrecy::ExposeSecret;
use sqlx::postgres::PgConnectOptions;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::actions::{Actions, WebhookSender};
use crate::config::{Config, Endpoint, Mode};
use crate::embedded_postgres::{self, EmbeddedPostgres, EmbeddedPostgresError, Settings};
use crate::http::{self, AdminState, Limits, WebhookState};
use crate::metrics::Metrics;
use crate::notifier::Notifier;
use crate::reassembly::Reassembly;
use crate::store::{Acceptor, ErasureKey, Store, StoreError};
use crate::worker::Worker;

/// The name of our database in the embedded server.
const DATABASE: &str = "smshook";
/// How long a database that hangs may keep us from ending.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// How long the embedded server may take to write out its data at the end.
const DATABASE_GRACE: Duration = Duration::from_secs(30);
/// How long the start waits for a first connection: beyond it the listeners come up without the database, because the
/// strictest gateway waits two seconds for its answer.
const FIRST_CONNECTION: Duration = Duration::from_secs(1);
/// Between two looks at a database that was away at the start, or at the embedded server's process.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// An open database, ours or the operator's.
#[derive(Debug)]
pub struct Database {
    /// The way in.
    pub store: Store,
    /// The server, if it is ours and this process owns it.
    pub embedded: Option<EmbeddedPostgres>,
    /// A line for a shell that opens it.
    pub psql: String,
}

impl Database {
    /// Opens the configured database; without one, starts or finds the embedded Postgres under the data directory.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        if let Some(url) = &config.database.url {
            let options: PgConnectOptions = url.expose_secret().parse().context("the database URL cannot be read")?;
            let store = Store::new(options, config.database.max_connections).with_erasure_key(erasure_key(config));
            return Ok(Self {
                store,
                embedded: None,
                psql: "psql \"$DATABASE_URL\"".to_owned(),
            });
        }
        embedded_postgres::restart_without_pgoptions()?;
        let root = embedded_root(config)?;
        let settings = Settings::new(&root);
        let embedded = tokio::task::spawn_blocking(move || EmbeddedPostgres::start(&settings)).await??;
        tracing::info!(version = embedded.version(), how = ?embedded.how(), directory = %root.display(), "embedded Postgres is up");
        embedded_postgres::ensure_database(&embedded.connect_options("postgres"), DATABASE).await?;
        let store = Store::new(embedded.connect_options(DATABASE), config.database.max_connections)
            .with_erasure_key(erasure_key(config));
        let psql = embedded.psql_command(DATABASE);
        Ok(Self {
            store,
            embedded: Some(embedded),
            psql,
        })
    }

    /// Opens the database for a command beside a service that may be running: an embedded server that the service owns is
    /// used as it is.
    pub async fn open_beside(config: &Config) -> anyhow::Result<Self> {
        if config.database.url.is_none() {
            let root = embedded_root(config)?;
            // Looking must not make a database.
            if !embedded_postgres::has_data(&root) {
                bail!(
                    "there is no database yet in `{}`: `smshook serve` makes it",
                    root.display()
                );
            }
        }
        match Self::open(config).await {
            Err(error) if is_in_use(&error) => {
                let root = embedded_root(config)?;
                let store = Store::new(embedded_postgres::running_options(&root, DATABASE)?, 4)
                    .with_erasure_key(erasure_key(config));
                Ok(Self {
                    store,
                    embedded: None,
                    psql: String::new(),
                })
            }
            other => other,
        }
    }

    /// Closes it; stops the embedded server if it is ours.
    pub async fn close(self) -> anyhow::Result<()> {
        if tokio::time::timeout(CLOSE_WITHIN, self.store.close()).await.is_err() {
            tracing::warn!("the database does not let its connections go; leaving them behind");
        }
        if let Some(embedded) = self.embedded {
            tokio::task::spawn_blocking(move || embedded.stop(DATABASE_GRACE)).await??;
        }
        Ok(())
    }
}

fn erasure_key(config: &Config) -> Option<ErasureKey> {
    let secret = config.erasure_key.as_ref()?;
    ErasureKey::new(secret.expose_secret().as_bytes())
}

fn is_in_use(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(EmbeddedPostgresError::InUse { .. }))
}

fn embedded_root(config: &Config) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("could not create the data directory `{}`", config.data_dir.display()))?;
    Ok(embedded_postgres::default_root(&config.data_dir)?)
}

/// A service that listens and works.
#[derive(Debug)]
pub struct Running {
    /// Where gateways reach it.
    pub public: std::net::SocketAddr,
    /// Where health and metrics are.
    pub admin: std::net::SocketAddr,
    /// A line for a shell that opens the database.
    pub psql: String,
    /// Whether the database was there; if not, it is waited for.
    pub is_ready: bool,
    database: Database,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// Starts everything. When this returns, the listeners take connections; a database that is away is waited for, and until it
/// is there deliveries are answered 503.
pub async fn start(config: Arc<Config>) -> anyhow::Result<Running> {
    http::raise_open_files();
    let public = http::bind(config.server.listen)
        .with_context(|| format!("could not listen on {} (server.listen)", config.server.listen))?;
    let admin = http::bind(config.admin.listen)
        .with_context(|| format!("could not listen on {} (admin.listen)", config.admin.listen))?;
    warn_of_unsigned(&config);
    let database = Database::open(&config).await?;
    let metrics = Arc::new(Metrics::new());
    let stop = CancellationToken::new();
    let store = database.store.clone();
    let actions = Arc::new(Actions::new(Arc::clone(&config), store.clone())?.counted(&metrics));
    let acceptor = Acceptor::start(&store, config.server.accept_deadline, &metrics)?;
    let reassembly = Reassembly::new(Arc::clone(&config), store.clone(), acceptor.clone());
    let webhook = Arc::new(WebhookState::new(Arc::clone(&config), acceptor, Arc::clone(&metrics)));
    let admin_state = Arc::new(AdminState {
        store: store.clone(),
        metrics: Arc::clone(&metrics),
        token: config.admin.token.clone(),
        groups: config
            .suppression_groups()
            .iter()
            .map(|(group, _)| (*group).to_owned())
            .collect(),
        stopping: stop.clone(),
    });
    let (public_address, admin_address) = (public.local_addr()?, admin.local_addr()?);
    let sender = Arc::new(WebhookSender::new(Arc::clone(&config))?);
    let notifier = Notifier::new(Arc::clone(&config), store.clone(), sender, Arc::clone(&metrics));
    let worker = Worker::new(&config, store.clone(), actions, metrics).waking(notifier.waker());
    // Migrated before anything else where the database is there; where it is not, the listeners come first and say 503.
    let migrated = migrate(&store, &config).await?;
    let limits = Limits::from(&config.server);
    let mut tasks = JoinSet::new();
    tasks.spawn(report(
        http::serve_public(public, webhook, limits, stop.clone()),
        "the public listener ended",
    ));
    tasks.spawn(report(
        http::serve_admin(admin, admin_state, stop.clone()),
        "the admin listener ended",
    ));
    tasks.spawn(work(
        (worker, notifier, reassembly),
        store,
        config,
        migrated,
        stop.clone(),
    ));
    let psql = database.psql.clone();
    Ok(Running {
        public: public_address,
        admin: admin_address,
        psql,
        is_ready: migrated,
        database,
        stop,
        tasks,
    })
}

impl Running {
    /// The database, for who looks over the shoulder of the service.
    pub fn store(&self) -> Store {
        self.database.store.clone()
    }

    /// Asks everything to stop; [`Running::finish`] waits for it.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until `stop` was asked for and everything in flight is finished or given back, then closes the database.
    pub async fn finish(mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a part of the service panicked")?;
        }
        self.database.close().await
    }

    /// Serves until a signal: the first stops gently, the second at once (its exit code is the caller's to decide, see
    /// [`Ended`]). An embedded server that dies, or a part of the service that does, ends all of it, so that its supervisor
    /// starts it again.
    pub async fn serve_until_signal(mut self, signals: &mut Signals) -> anyhow::Result<Ended> {
        tokio::select! {
            () = signals.next() => {}
            () = database_died(self.database.embedded.as_ref()) => {
                let log = self.database.embedded.as_ref().map(|embedded| embedded.log().display().to_string());
                self.stop.cancel();
                bail!("the embedded Postgres ended by itself; its log is `{}`", log.unwrap_or_default());
            }
            Some(ended) = self.tasks.join_next() => {
                self.stop.cancel();
                bail!("a part of the service ended by itself: {ended:?}");
            }
        }
        tracing::info!("stopping: finishing what is in flight");
        self.stop.cancel();
        tokio::select! {
            finished = self.finish() => finished.map(|()| Ended::Gently),
            () = signals.next() => Ok(Ended::AtOnce),
        }
    }
}

/// How a service ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Everything in flight was finished or given back.
    Gently,
    /// A second signal: jobs in flight run again when their leases end.
    AtOnce,
}

/// SIGTERM, SIGINT and SIGHUP, whichever comes.
#[derive(Debug)]
pub struct Signals(Vec<tokio::signal::unix::Signal>);

impl Signals {
    /// From here on these signals do not end the process: somebody must wait for [`Signals::next`].
    pub fn new() -> anyhow::Result<Self> {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        Ok(Self(
            kinds
                .into_iter()
                .map(signal)
                .collect::<Result<_, _>>()
                .context("could not listen for signals")?,
        ))
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        std::future::poll_fn(|context| {
            let came = self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if came {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    }
}

async fn database_died(embedded: Option<&EmbeddedPostgres>) {
    let Some(embedded) = embedded else {
        return std::future::pending().await;
    };
    while embedded.is_alive() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Brings the schema up to date, and what belongs to this configuration in it. An error, too, where this process could not
/// tell who must not be texted.
async fn bring_up(store: &Store, config: &Config) -> Result<(), StoreError> {
    store.migrate().await?;
    store.check_erasure_key().await?;
    let is_own = |endpoint: &&Endpoint| endpoint.suppression_group() == endpoint.name;
    let own: Vec<String> = config
        .endpoints
        .iter()
        .filter(is_own)
        .map(|endpoint| endpoint.name.clone())
        .collect();
    let adopted = store.adopt_default_opt_outs(&own).await?;
    if adopted > 0 {
        tracing::info!(
            adopted,
            "opt-outs of the former shared group `default` hold in the group of each endpoint now"
        );
    }
    let webhooks: Vec<String> = config.webhooks.keys().cloned().collect();
    store.register_webhooks(&webhooks).await
}

/// [`bring_up`]. False if the database is away; an error if it is there and will not have it.
async fn migrate(store: &Store, config: &Config) -> anyhow::Result<bool> {
    let migrated = match tokio::time::timeout(FIRST_CONNECTION, store.pool().acquire()).await {
        Ok(connected) => {
            drop(connected);
            bring_up(store, config).await
        }
        Err(_elapsed) => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)),
    };
    match migrated {
        Ok(()) => Ok(true),
        Err(error) if is_away(&error) => {
            tracing::warn!(error = %error, "the database is away; deliveries are answered 503 until it is there");
            Ok(false)
        }
        Err(error) => Err(error).context("could not bring the database's schema up to date"),
    }
}

fn is_away(error: &StoreError) -> bool {
    // Connection lost, too many connections, shutting down or starting up (PostgreSQL manual, appendix A).
    let passing = |code: &str| ["08", "53", "57"].iter().any(|class| code.starts_with(class));
    match error {
        StoreError::Unavailable(_) => true,
        StoreError::Migrate(sqlx::migrate::MigrateError::Execute(error)) => {
            matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut)
                || error
                    .as_database_error()
                    .and_then(sqlx::error::DatabaseError::code)
                    .is_some_and(|code| passing(&code))
        }
        _ => false,
    }
}

/// The worker, the notifier and what puts texts together, as soon as there is a schema to work on.
async fn work(
    (worker, notifier, reassembly): (Worker, Notifier, Reassembly),
    store: Store,
    config: Arc<Config>,
    mut migrated: bool,
    stop: CancellationToken,
) {
    while !migrated {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
        migrated = match bring_up(&store, &config).await {
            Ok(()) => {
                tracing::info!("the database is there now");
                true
            }
            Err(error) if is_away(&error) => false,
            Err(error) => {
                tracing::error!(error = %error, "could not bring the database's schema up to date");
                false
            }
        };
    }
    tokio::join!(
        worker.run(stop.clone()),
        notifier.run(stop.clone()),
        reassembly.run(stop)
    );
}

async fn report(listener: impl Future<Output = std::io::Result<()>>, what: &'static str) {
    if let Err(error) = listener.await {
        tracing::error!(error = %error, "{what}");
    }
}

fn warn_of_unsigned(config: &Config) {
    for endpoint in &config.endpoints {
        match endpoint.mode {
            Mode::Observe { runs_actions } => tracing::warn!(
                endpoint = %endpoint.name,
                runs_actions,
                "this endpoint ONLY OBSERVES signatures (`mode = \"observe\"`): anybody who finds its URL can write messages; set `mode = \"enforce\"` as soon as signatures verify"
            ),
            Mode::Enforce if endpoint.keys.is_none() => {
                tracing::warn!(endpoint = %endpoint.name, "this endpoint takes unsigned deliveries (`allow_unsigned = true`): anybody who finds its URL can write messages");
            }
            Mode::Enforce => {}
        }
    }
}
