//! The private Postgres behind the default: found on the machine, initialised, started, supervised and stopped by us, reached
//! over a Unix socket that only our own user may use. It must not know what is stored in it, and it must never put data at
//! risk to be quick: no SIGKILL, no start beside a server that may still be alive.
//!
//! Everything but [`ensure_database`] blocks; call it from `spawn_blocking`.
//!
//! What holds, and why:
//! - A server outlives a killed application; the next start reattaches to it, or recovers after it.
//! - Nothing is listened on but the socket, and the kernel names the peer (`peer` authentication): no port, no password.
//! - The server's processes get almost none of our environment, so `PG*`, `LANG` and our secrets stay out.
//! - `PgConnectOptions` reads `PG*` of our own environment; each field is therefore set here. `PGOPTIONS` cannot be overridden
//!   through its interface, so [`EmbeddedPostgres::start`] refuses to run with it, and [`restart_without_pgoptions`] gets rid of it.

mod account;
mod binaries;
mod cluster;
mod error;
mod lock;
mod postmaster;
mod process;

use std::env;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use account::Identity;
use cluster::{Layout, PORT};
use error::Doing;
pub use error::EmbeddedPostgresError;
use lock::OwnerLock;
use postmaster::{Launch, Postmaster};

/// How long a server that is dropped, not stopped, may take to write out its data.
const DROP_GRACE: Duration = Duration::from_secs(30);

/// What to run and where.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory of this server and nothing else: empty, missing, or made by an earlier start.
    pub root: PathBuf,
    /// Whether a commit has to survive a power cut. Only tests say no. (A commit still survives the death of every process,
    /// unless the parameters say `synchronous_commit=off`.)
    pub durable: bool,
    /// Server parameters, name and value. Durability, log and network parameters are not for this list: ours win.
    pub parameters: Vec<(String, String)>,
    /// The directory with `initdb` and `postgres`; `None` looks at `PG_BIN_DIR` and then in the usual places.
    pub bin_dir: Option<PathBuf>,
    /// How long [`EmbeddedPostgres::start`] waits for the server to get ready before it returns
    /// [`EmbeddedPostgresError::StillStarting`], leaving the server to its recovery. `None` waits for ever.
    pub start_patience: Option<Duration>,
}

impl Settings {
    /// A durable server in `root`, as Postgres' defaults have it.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            durable: true,
            parameters: Vec::new(),
            bin_dir: None,
            start_patience: None,
        }
    }
}

/// How a server came to be ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// There was no data: a new cluster was made.
    Initialised,
    /// The data was there, the server was not.
    Started,
    /// The server was still running from an earlier process.
    Reattached,
}

/// A running server that belongs to this process alone. Dropping it stops the server.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    layout: Layout,
    user: String,
    version: String,
    how: Started,
    /// `None` once the server is stopped or left to itself.
    postmaster: Option<Postmaster>,
    pid: u32,
    _lock: OwnerLock,
}

impl EmbeddedPostgres {
    /// Makes sure that the server runs and takes connections.
    ///
    /// # Errors
    /// Each of [`EmbeddedPostgresError`]'s cases but the last; nothing is left running that was not running before, except in
    /// the case [`EmbeddedPostgresError::StillStarting`].
    pub fn start(settings: &Settings) -> Result<Self, EmbeddedPostgresError> {
        if env::var_os("PGOPTIONS").is_some() {
            return Err(EmbeddedPostgresError::OptionsInEnvironment);
        }
        let layout = Layout::of(&settings.root)?;
        let identity = Identity::discover(&layout.data)?;
        layout.prepare_root(&identity)?;
        let lock = lock::acquire(&layout.root)?;
        let data_major = layout.data_major()?;
        let known = data_major.as_deref().map(|major| (layout.data.as_path(), major));
        let binaries = binaries::choose(settings.bin_dir.as_deref(), known, &identity)?;
        let launch = Launch {
            layout: &layout,
            identity: &identity,
            binaries: &binaries,
            durable: settings.durable,
            parameters: &settings.parameters,
            patience: settings.start_patience,
        };
        let (how, postmaster) = bring_up(&launch, data_major.is_some())?;
        Ok(Self {
            user: identity.user.clone(),
            version: binaries.version.clone(),
            how,
            pid: postmaster.pid.as_raw_pid().unsigned_abs(),
            postmaster: Some(postmaster),
            layout,
            _lock: lock,
        })
    }

    /// How the server came to be ours.
    pub fn how(&self) -> Started {
        self.how
    }

    /// The version of the server programs, for example `15.18`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The ID of the server's main process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The server's log file, worth naming in an error.
    pub fn log(&self) -> &Path {
        &self.layout.log
    }

    /// Whether the server's main process is alive. A caller that sees `false` should say so and exit: a supervisor's restart
    /// recovers the data, while every query would only report a broken connection.
    pub fn is_alive(&self) -> bool {
        self.postmaster
            .as_ref()
            .is_some_and(|postmaster| postmaster.is_alive(&self.layout.data))
    }

    /// Options to connect with, independent of our environment.
    pub fn connect_options(&self, database: &str) -> PgConnectOptions {
        options(&self.layout, &self.user, database)
    }

    /// The same as a URL, for `psql` and for other processes of our own user.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://{}@localhost:{PORT}/{}?host={}&sslmode=disable",
            percent_encode(self.user.as_bytes()),
            percent_encode(database.as_bytes()),
            percent_encode(self.layout.socket_dir.as_os_str().as_bytes()),
        )
    }

    /// A line that a person can paste into a shell to look at the data.
    pub fn psql_command(&self, database: &str) -> String {
        let socket_dir = self.layout.socket_dir.to_string_lossy();
        let [host, user, database] = [&*socket_dir, &self.user, database].map(shell_quote);
        format!("psql -h {host} -p {PORT} -U {user} -d {database}")
    }

    /// Ends open sessions, writes out the data and stops; after `grace` it stops at once, and the next start recovers.
    ///
    /// # Errors
    /// [`EmbeddedPostgresError::StillRunning`] when even that does not end the server.
    pub fn stop(mut self, grace: Duration) -> Result<(), EmbeddedPostgresError> {
        self.shut_down(grace)
    }

    /// Leaves the server running and gives the directory free; the next start anywhere reattaches to it.
    pub fn detach(mut self) {
        self.postmaster = None;
    }

    fn shut_down(&mut self, grace: Duration) -> Result<(), EmbeddedPostgresError> {
        if let Some(mut postmaster) = self.postmaster.take() {
            postmaster.stop(&self.layout, grace)?;
            self.layout.remove_outside_socket_dir();
        }
        Ok(())
    }
}

impl Drop for EmbeddedPostgres {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down(DROP_GRACE) {
            tracing::error!(%error, "could not stop the embedded Postgres");
        }
    }
}

fn bring_up(launch: &Launch<'_>, has_data: bool) -> Result<(Started, Postmaster), EmbeddedPostgresError> {
    if has_data {
        launch.layout.check_owner(launch.identity)?;
        launch.layout.prepare_socket_dir(launch.identity)?;
        if let Some(postmaster) = launch.reattach()? {
            return Ok((Started::Reattached, postmaster));
        }
        return Ok((Started::Started, launch.launch()?));
    }
    launch
        .layout
        .initialise(launch.identity, launch.binaries, launch.durable)?;
    launch.layout.prepare_socket_dir(launch.identity)?;
    Ok((Started::Initialised, launch.launch()?))
}

/// Where the embedded server of an application belongs: `postgres` inside its data directory. Root's data directory may be
/// closed to the account the server runs as (everything below /root is); then it is a directory of its own below
/// `/var/lib/smshook`, a different one for each data directory.
///
/// # Errors
/// When the path cannot be resolved, or this user or an account for the server cannot be found.
pub fn default_root(data_dir: &Path) -> Result<PathBuf, EmbeddedPostgresError> {
    let data_dir = cluster::resolve(data_dir)?;
    let wanted = data_dir.join("postgres");
    match Identity::discover(&wanted.join("data"))?.check_can_reach(&wanted) {
        Err(EmbeddedPostgresError::CannotEnter { .. }) => {
            let name = format!("postgres-{:016x}", cluster::stable_hash(&data_dir));
            Ok(Path::new("/var/lib/smshook").join(name))
        }
        Err(error) => Err(error),
        Ok(()) => Ok(wanted),
    }
}

/// Whether a start in `root` would find data there.
pub fn has_data(root: &Path) -> bool {
    Layout::of(root).is_ok_and(|layout| layout.data.exists())
}

/// Options to connect with to a server that another process of ours owns and runs in `root`; nothing is started or locked.
///
/// # Errors
/// When the path cannot be resolved, or an account for the server cannot be found.
pub fn running_options(root: &Path, database: &str) -> Result<PgConnectOptions, EmbeddedPostgresError> {
    let layout = Layout::of(root)?;
    let identity = Identity::discover(&layout.data)?;
    Ok(options(&layout, &identity.user, database))
}

fn options(layout: &Layout, user: &str, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("localhost")
        .socket(&layout.socket_dir)
        .port(PORT)
        .username(user)
        .password("")
        .database(database)
        .ssl_mode(PgSslMode::Disable)
        .application_name("smshook")
}

/// Starts this program anew in place of itself without `PGOPTIONS`, if that is set; otherwise returns at once. To be called
/// before [`EmbeddedPostgres::start`] and before anything is opened that should stay open. The process ID stays the same.
///
/// # Errors
/// When this program's file can no longer be run.
pub fn restart_without_pgoptions() -> Result<(), EmbeddedPostgresError> {
    if env::var_os("PGOPTIONS").is_none() {
        return Ok(());
    }
    let program = env::current_exe().doing("find", Path::new("this program"))?;
    let mut arguments = env::args_os();
    let mut command = Command::new(&program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Only returns when it fails.
    Err(command.args(arguments).env_remove("PGOPTIONS").exec()).doing("restart", &program)
}

/// Creates the database if there is none of that name. `maintenance` connects to a database that is always there
/// (`postgres`).
///
/// # Errors
/// [`EmbeddedPostgresError::Database`] with what the server said.
pub async fn ensure_database(maintenance: &PgConnectOptions, name: &str) -> Result<(), EmbeddedPostgresError> {
    let mut connection = maintenance.connect().await?;
    let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(name)
        .fetch_one(&mut connection)
        .await?;
    if !exists {
        let quoted = name.replace('"', "\"\"");
        let create = AssertSqlSafe(format!("create database \"{quoted}\""));
        match sqlx::query(create).execute(&mut connection).await {
            Err(error) if !is_already_there(&error) => return Err(error.into()),
            _ => {}
        }
    }
    connection.close().await?;
    Ok(())
}

/// Somebody else created it at the same moment: `duplicate_database`, or the unique index behind it.
fn is_already_there(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == "42P04" || code == "23505")
}

fn percent_encode(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => char::from(*byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn shell_quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '.' | '_');
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_odd_bytes_of_a_path_encoded() {
        assert_eq!(percent_encode("/a b/ü&?".as_bytes()), "/a%20b/%C3%BC%26%3F");
    }

    #[test]
    fn a_pasted_line_survives_spaces_and_quotes() {
        assert_eq!(shell_quote("/var/lib/x-1"), "/var/lib/x-1");
        assert_eq!(shell_quote("it's here"), r"'it'\''s here'");
        assert_eq!(shell_quote(""), "''");
    }
}
