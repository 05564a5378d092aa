//! Everything that can keep the embedded server from running, told so that the reader knows what to do next. It must not
//! decide anything.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why the embedded Postgres could not be started, used or stopped.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedPostgresError {
    /// No directory with both `initdb` and `postgres` was found.
    #[error(
        "no PostgreSQL server programs (initdb and postgres) were found on this machine. {install}, or set PG_BIN_DIR to the \
         directory that holds them, or set DATABASE_URL to use a server of your own"
    )]
    NoBinaries {
        /// A sentence naming the command for this system.
        install: String,
    },
    /// The directory that was asked for lacks one of the two programs.
    #[error("{} does not hold both initdb and postgres of PostgreSQL {oldest} or later", dir.display())]
    UnusableBinaries {
        /// The directory from the settings or from `PG_BIN_DIR`.
        dir: PathBuf,
        /// The oldest supported major version.
        oldest: u32,
    },
    /// The data was written by a major version that is not installed.
    #[error(
        "the data in {} was written by PostgreSQL {data}, but this machine has PostgreSQL {installed}. Install PostgreSQL {data} \
         beside it (or point PG_BIN_DIR at it), or move the data with pg_upgrade or pg_dump",
        dir.display()
    )]
    AnotherMajor {
        /// The data directory.
        dir: PathBuf,
        /// Major version of the data.
        data: String,
        /// Version that is installed.
        installed: String,
    },
    /// Another process owns the directory.
    #[error("another process{} is already using the database in {}", holder.as_ref().map(|pid| format!(" (pid {pid})")).unwrap_or_default(), dir.display())]
    InUse {
        /// The directory with the lock.
        dir: PathBuf,
        /// The other process's id, where it is known.
        holder: Option<u32>,
    },
    /// The directory holds something that this module did not put there.
    #[error("{} is not empty and holds no embedded Postgres: it is left alone. Name an empty or a new directory", dir.display())]
    NotOurs {
        /// The directory that was refused.
        dir: PathBuf,
    },
    /// Postgres must not run as root, and the account it runs as cannot get through a directory.
    #[error(
        "Postgres does not run as root, so it runs as {account}, and {account} may not enter {}, which leads to {}. \
         Use a directory outside it, or `chmod o+x {}`",
        blocker.display(), wanted.display(), blocker.display()
    )]
    CannotEnter {
        /// The account the server runs as.
        account: String,
        /// The directory without the search permission.
        blocker: PathBuf,
        /// What the account has to reach.
        wanted: PathBuf,
    },
    /// Running as root on a system without an account to run the server as.
    #[error(
        "Postgres does not run as root, and this system has neither an account `postgres` nor `nobody` to run it as"
    )]
    NoAccount,
    /// The user this process runs as has no name, which Postgres needs for authentication.
    #[error(
        "the user with ID {uid} has no name on this system (no entry in /etc/passwd), and Postgres refuses to run without one"
    )]
    NoUserName {
        /// Our effective user ID.
        uid: u32,
    },
    /// The data belongs to another user.
    #[error("{} belongs to the user with ID {owner}, but this process runs as {uid}. Start it as the same user as before", dir.display())]
    OwnedByAnother {
        /// The data directory.
        dir: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        uid: u32,
    },
    /// The short socket directory exists but is not safe to use.
    #[error("{} is needed for the database's socket, but it belongs to somebody else. Remove it, or use a shorter data directory", dir.display())]
    SocketDirectory {
        /// The directory.
        dir: PathBuf,
    },
    /// `PGOPTIONS` would change every connection.
    #[error(
        "the environment variable PGOPTIONS would be applied to every connection of the embedded database, where it could switch \
         durability off. Unset it"
    )]
    OptionsInEnvironment,
    /// `initdb` failed.
    #[error("initdb could not create the database in {}: {output}", dir.display())]
    Initdb {
        /// The directory it worked in.
        dir: PathBuf,
        /// What it said.
        output: String,
    },
    /// The server ended instead of becoming ready.
    #[error("Postgres ended while starting. The end of {}: {tail}", log.display())]
    Exited {
        /// The server's log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// Postgres is still recovering; it was left running.
    #[error("Postgres is still not ready after {after:?}. It was left running to finish its recovery; see {}", log.display())]
    StillStarting {
        /// How long it was waited for.
        after: Duration,
        /// The server's log.
        log: PathBuf,
    },
    /// A server, or a part of one, does not end.
    #[error("Postgres (pid {pid}) does not stop. It was not killed, because that could cost data; see {}", log.display())]
    StillRunning {
        /// The process.
        pid: i32,
        /// The server's log.
        log: PathBuf,
    },
    /// A file or process operation failed.
    #[error("could not {doing}: {source}")]
    Io {
        /// What was tried, with its path.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The server answered with an error.
    #[error("the embedded database answered with an error: {0}")]
    Database(#[from] sqlx::Error),
}

/// Names what was tried in an I/O error; the error alone says neither the operation nor the path.
pub(super) trait Doing<T> {
    fn doing(self, verb: &str, path: &Path) -> Result<T, EmbeddedPostgresError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, verb: &str, path: &Path) -> Result<T, EmbeddedPostgresError> {
        self.map_err(|source| EmbeddedPostgresError::Io {
            doing: format!("{verb} {}", path.display()),
            source,
        })
    }
}
