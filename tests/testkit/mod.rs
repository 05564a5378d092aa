//! Databases for tests: [`TestDatabase::new`] gives each test an empty, migrated database of its own within milliseconds, and
//! [`TestDatabase::private_server`] a whole server that the test may stop and kill. Nothing has to be set up: one server per
//! checkout is started on first use, shared by all test processes, and removed some time after the last one. With
//! `DATABASE_URL` set, that server is used instead. It must not be used by anything but tests: fsync is off.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests may fail loudly"
)]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::future::Future;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use smshook::embedded_postgres::{EmbeddedPostgres, Settings, Started, ensure_database};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool};

const CHECKOUT: &str = env!("CARGO_MANIFEST_DIR");
const GIBIBYTE: u64 = 1 << 30;

/// How long the shared server waits for the next test run, in seconds.
const SHARED_LINGER: &str = "30";

/// Serialises the making of the template among all test processes; any number that nobody else uses.
const TEMPLATE_LOCK: i64 = 0x736d_7368_6f6f_6b01;

/// A migrated database of one test. Dropping it drops the database.
pub(crate) struct TestDatabase {
    /// At most eight connections, opened when they are needed.
    pub(crate) pool: PgPool,
    /// The database's name.
    pub(crate) name: String,
    options: PgConnectOptions,
}

impl TestDatabase {
    /// Clones the migrated template.
    pub(crate) async fn new() -> Self {
        let shared = shared();
        let name = unique("t");
        let clone = format!("create database {name} template {}{}", shared.template, shared.strategy);
        let mut connection = shared.maintenance.connect().await.expect("connect to the test server");
        execute(&mut connection, clone).await;
        connection.close().await.expect("close the connection");
        let options = shared.maintenance.clone().database(&name);
        Self {
            pool: lazy_pool(&options),
            name,
            options,
        }
    }

    /// A server of the test's own, to be stopped and killed; takes most of a second.
    pub(crate) async fn private_server() -> PrivateServer {
        PrivateServer::new().await
    }

    /// A value for a child process' `DATABASE_URL`; the child must run as the same user.
    pub(crate) fn url(&self) -> String {
        self.options.to_url_lossy().to_string()
    }

    /// To connect in another way than through the pool.
    pub(crate) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let maintenance = shared().maintenance.clone();
        let drop_database = format!("drop database if exists {} with (force)", self.name);
        on_a_thread(move || async move {
            // A test that broke the server has reported that already.
            if let Ok(mut connection) = maintenance.connect().await {
                execute(&mut connection, drop_database).await;
            }
        });
    }
}

/// A server of one test with one migrated database. Dropping it stops the server and removes its data.
pub(crate) struct PrivateServer {
    /// At most eight connections, opened when they are needed; it survives restarts of the server.
    pub(crate) pool: PgPool,
    /// The database's name.
    pub(crate) name: String,
    settings: Settings,
    server: Option<EmbeddedPostgres>,
    options: PgConnectOptions,
    url: String,
    directory: PathBuf,
    _users: File,
}

impl PrivateServer {
    async fn new() -> Self {
        let directory = base_directory().join(unique("private"));
        create_directory(&directory);
        let users = users_lock(&directory);
        let settings = server_settings(&directory);
        let server = start(&settings).await;
        watch(&directory, "4", &directory);
        let name = "app".to_owned();
        ensure_database(&server.connect_options("postgres"), &name)
            .await
            .expect("create the database");
        let options = server.connect_options(&name);
        migrate(&options, &migrator().await).await;
        Self {
            pool: lazy_pool(&options),
            url: server.url(&name),
            name,
            settings,
            server: Some(server),
            options,
            directory,
            _users: users,
        }
    }

    /// A value for a child process' `DATABASE_URL`; the child must run as the same user.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// To connect in another way than through the pool.
    pub(crate) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// All that the server has logged.
    pub(crate) fn log_text(&self) -> String {
        let log = self.server.as_ref().expect("a running server").log();
        fs::read_to_string(log).expect("read the server's log")
    }

    /// Stops the server without any mercy for its sessions; the next start recovers from the log.
    pub(crate) async fn stop_immediate(&mut self) {
        if let Some(server) = self.server.take() {
            blocking(move || server.stop(Duration::ZERO))
                .await
                .expect("stop the server");
        }
    }

    /// Kills the server's main process, as the out-of-memory killer would.
    pub(crate) async fn kill(&mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        let pid = rustix::process::Pid::from_raw(server.pid().cast_signed()).expect("a process ID");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill the server");
        // Waits for what is left of it.
        blocking(move || server.stop(Duration::from_secs(10)))
            .await
            .expect("see the server end");
    }

    /// Starts the server again on the same data, at the same address.
    pub(crate) async fn start_again(&mut self) {
        if self.server.is_none() {
            self.server = Some(start(&self.settings).await);
        }
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop(Duration::from_secs(10)).expect("stop the server");
        }
        fs::remove_dir_all(&self.directory).expect("remove the server's data");
    }
}

/// What the tests of this process share.
struct Shared {
    /// Connects to the database `postgres`.
    maintenance: PgConnectOptions,
    template: String,
    /// Cloning the files is twice as quick as cloning through the log, where fsync is off; `PostgreSQL` 15 brought the choice.
    strategy: &'static str,
    /// Held for life; see `watchdog.sh`.
    _users: Option<File>,
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| match std::env::var("DATABASE_URL") {
        Ok(url) if !url.is_empty() => Shared::on(url.parse().expect("DATABASE_URL"), None),
        _ => Shared::embedded(),
    })
}

impl Shared {
    fn embedded() -> Self {
        let directory = base_directory();
        create_directory(&directory);
        // In this order: whoever has the first lock keeps the watchdog from removing what it is about to use.
        let users = users_lock(&directory);
        let start_lock = open(&directory.join("start"));
        start_lock.lock().expect("lock the start of the server");
        let mut settings = server_settings(&directory);
        settings.parameters.push(("synchronous_commit".into(), "off".into()));
        let server = EmbeddedPostgres::start(&settings).unwrap_or_else(|error| {
            // Without fsync, a machine that lost power leaves data that nothing can start. Nobody misses it.
            eprintln!("the test server does not start ({error}); its data is made anew");
            fs::remove_dir_all(&settings.root).expect("remove the old test data");
            EmbeddedPostgres::start(&settings).expect("start the test server")
        });
        if server.how() != Started::Reattached {
            watch(&directory, SHARED_LINGER, &settings.root);
        }
        let maintenance = server.connect_options("postgres");
        server.detach();
        Self::on(maintenance, Some(users))
    }

    fn on(server: PgConnectOptions, users: Option<File>) -> Self {
        let maintenance = server.database("postgres");
        let options = maintenance.clone();
        let (template, version) = on_a_thread(move || async move {
            let mut connection = options.connect().await.expect("connect to the test server");
            let version: i32 = sqlx::query_scalar("select current_setting('server_version_num')::int")
                .fetch_one(&mut connection)
                .await
                .expect("ask for the version");
            (ensure_template(&mut connection, &options).await, version)
        });
        Self {
            maintenance,
            template,
            strategy: if version >= 150_000 { " strategy file_copy" } else { "" },
            _users: users,
        }
    }
}

/// The template's name is a hash of all migrations: changed migrations make a new one.
async fn ensure_template(connection: &mut PgConnection, options: &PgConnectOptions) -> String {
    let migrator = migrator().await;
    let checksums = migrator.iter().flat_map(|migration| migration.checksum.iter());
    let name = format!("smshook_template_{:016x}", hash(checksums));
    execute(connection, format!("select pg_advisory_lock({TEMPLATE_LOCK})")).await;
    let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(&name)
        .fetch_one(&mut *connection)
        .await
        .expect("look for the template");
    if !exists {
        // Under its final name only when it is complete: a killed test run must not leave half of one.
        execute(connection, format!("drop database if exists {name}_new with (force)")).await;
        execute(connection, format!("create database {name}_new")).await;
        migrate(&options.clone().database(&format!("{name}_new")), &migrator).await;
        execute(connection, format!("alter database {name}_new rename to {name}")).await;
    }
    execute(connection, format!("select pg_advisory_unlock({TEMPLATE_LOCK})")).await;
    name
}

async fn migrate(options: &PgConnectOptions, migrator: &Migrator) {
    let mut connection = options.connect().await.expect("connect to migrate");
    migrator.run(&mut connection).await.expect("migrate");
    connection.close().await.expect("close the connection");
}

/// Read at run time, so that a new migration file is seen without a rebuild.
async fn migrator() -> Migrator {
    Migrator::new(Path::new(CHECKOUT).join("migrations"))
        .await
        .expect("read the migrations")
}

async fn execute(connection: &mut PgConnection, statement: String) {
    sqlx::query(AssertSqlSafe(statement.clone()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

fn lazy_pool(options: &PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(8)
        .connect_lazy_with(options.clone())
}

async fn start(settings: &Settings) -> EmbeddedPostgres {
    let settings = settings.clone();
    blocking(move || EmbeddedPostgres::start(&settings))
        .await
        .expect("start the server")
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the work panicked")
}

/// Runs a future to its end where no runtime can be entered: in `Drop`, and inside a `OnceLock`.
fn on_a_thread<T: Send + 'static, F: Future<Output = T>>(work: impl FnOnce() -> F + Send + 'static) -> T {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(work())
    });
    thread.join().expect("the thread panicked")
}

fn server_settings(directory: &Path) -> Settings {
    let parameters = [
        ("max_connections", "300"),
        ("wal_level", "minimal"),
        ("max_wal_senders", "0"),
        ("autovacuum", "off"),
    ];
    Settings {
        durable: false,
        parameters: parameters.map(|(name, value)| (name.into(), value.into())).to_vec(),
        ..Settings::new(directory.join("server"))
    }
}

/// In memory where there is room (Docker's default of 64 MB is none), else on disk; one for each checkout and user.
fn base_directory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let has_room = rustix::fs::statvfs(memory).is_ok_and(|stat| stat.f_bavail * stat.f_frsize >= GIBIBYTE);
    let parent = if has_room {
        memory.to_path_buf()
    } else {
        std::env::temp_dir()
    };
    let user = rustix::process::geteuid().as_raw();
    parent.join(format!(
        "smshook-test-{user}-{:016x}",
        hash(Path::new(CHECKOUT).as_os_str().as_bytes())
    ))
}

/// Others may pass through (as root, the server runs as another account), not look.
fn create_directory(directory: &Path) {
    DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(directory)
        .expect("create the test directory");
}

fn users_lock(directory: &Path) -> File {
    let file = open(&directory.join("users"));
    file.lock_shared().expect("lock the users file");
    file
}

fn open(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .expect("open a lock file")
}

#[expect(
    clippy::zombie_processes,
    reason = "the watchdog outlives this process, that is its task"
)]
fn watch(directory: &Path, linger: &str, remove: &Path) {
    Command::new("sh")
        .args(["-c", include_str!("watchdog.sh"), "smshook-test-watchdog"])
        .arg(directory)
        .arg(linger)
        .arg(remove)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("start the watchdog");
}

/// Unique among the processes and the runs that share a server.
fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock")
        .as_micros();
    format!("{prefix}_{}_{count}_{now:x}", std::process::id())
}

/// FNV-1a: the same in every build, unlike the standard library's.
fn hash<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

mod tests {
    use super::*;

    async fn tables(options: &PgConnectOptions) -> i64 {
        let mut connection = options.connect().await.expect("connect");
        sqlx::query_scalar("select count(*) from pg_tables where schemaname = 'smshook'")
            .fetch_one(&mut connection)
            .await
            .expect("count the tables")
    }

    #[tokio::test]
    async fn two_test_databases_are_migrated_and_share_nothing() {
        let (one, other) = tokio::join!(TestDatabase::new(), TestDatabase::new());
        assert_ne!(one.name, other.name);
        assert!(tables(&one.options()).await > 0);
        sqlx::query("create table only_here ()")
            .execute(&one.pool)
            .await
            .expect("create");
        let error = sqlx::query("select from only_here")
            .execute(&other.pool)
            .await
            .expect_err("not there");
        assert!(error.to_string().contains("only_here"), "{error}");
    }

    #[tokio::test]
    async fn a_dropped_test_database_is_gone_even_while_it_is_in_use() {
        let database = TestDatabase::new().await;
        let in_use = database.pool.acquire().await.expect("connect");
        let name = database.name.clone();
        drop(database);
        drop(in_use);
        let mut connection = shared().maintenance.connect().await.expect("connect");
        let left: i64 = sqlx::query_scalar("select count(*) from pg_database where datname = $1")
            .bind(&name)
            .fetch_one(&mut connection)
            .await
            .expect("count");
        assert_eq!(left, 0);
    }

    #[tokio::test]
    async fn the_url_of_a_test_database_leads_to_it() {
        let database = TestDatabase::new().await;
        let options: PgConnectOptions = database.url().parse().expect("a URL");
        let mut connection = options.connect().await.expect("connect");
        let name: String = sqlx::query_scalar("select current_database()::text")
            .fetch_one(&mut connection)
            .await
            .expect("ask");
        assert_eq!(name, database.name);
    }

    #[tokio::test]
    async fn a_private_server_keeps_its_rows_and_its_address_when_it_is_stopped_or_killed() {
        let mut server = TestDatabase::private_server().await;
        assert!(tables(&server.options()).await > 0);
        sqlx::query("create table kept (id int)")
            .execute(&server.pool)
            .await
            .expect("create");
        for kill in [false, true] {
            sqlx::query("insert into kept values (1)")
                .execute(&server.pool)
                .await
                .expect("insert");
            if kill {
                server.kill().await;
            } else {
                server.stop_immediate().await;
            }
            assert!(
                server
                    .url()
                    .parse::<PgConnectOptions>()
                    .expect("a URL")
                    .connect()
                    .await
                    .is_err()
            );
            server.start_again().await;
        }
        let mut connection = server.options().connect().await.expect("connect");
        let rows: i64 = sqlx::query_scalar("select count(*) from kept")
            .fetch_one(&mut connection)
            .await
            .expect("count");
        assert_eq!((rows, server.name.as_str()), (2, "app"));
    }
}
