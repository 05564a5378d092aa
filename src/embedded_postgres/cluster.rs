//! The directory of one embedded Postgres: where its parts lie, how it comes to be, and what is refused. It must not start
//! the server.
//!
//! ```text
//! root/                        ours; nobody else may list it
//!   embedded_postgres.lock     held by the one process that uses the directory
//!   postgres.log               what the server says
//!   data/                      the cluster, owned by the account the server runs as
//!   data.new-<pid>/            a cluster in the making; what a killed initdb leaves is swept away
//!   run/                       the socket
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::account::Identity;
use super::binaries::Binaries;
use super::error::{Doing, EmbeddedPostgresError};
use super::lock;

/// The name of the socket file; the directory is private, so the number never clashes.
pub(super) const PORT: u16 = 5432;

/// The longest path of a socket: `sun_path` holds 104 bytes with the closing zero on macOS, 108 on Linux.
const LONGEST_SOCKET_PATH: usize = 103;

/// A log bigger than this is put aside when the server starts, so that it cannot grow for ever.
const LOG_LIMIT_BYTES: u64 = 8 * 1024 * 1024;

/// Where everything lies. All paths are absolute and free of symbolic links.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) root: PathBuf,
    pub(super) data: PathBuf,
    pub(super) log: PathBuf,
    pub(super) socket_dir: PathBuf,
}

impl Layout {
    /// Names the places without touching anything.
    pub(super) fn of(root: &Path) -> Result<Self, EmbeddedPostgresError> {
        let root = resolve(root)?;
        Ok(Self {
            data: root.join("data"),
            log: root.join("postgres.log"),
            socket_dir: socket_dir(&root),
            root,
        })
    }

    /// Creates the root if it is missing; refuses one that holds somebody else's files, or that the server cannot reach.
    pub(super) fn prepare_root(&self, identity: &Identity) -> Result<(), EmbeddedPostgresError> {
        refuse_foreign(&self.root)?;
        identity.check_can_reach(self.root.parent().unwrap_or(&self.root))?;
        // Search, not read: the server's account has to pass through what root owns.
        let mode = if identity.server.is_some() { 0o711 } else { 0o700 };
        create_missing(&self.root, mode)?;
        fs::set_permissions(&self.root, Permissions::from_mode(mode)).doing("change the mode of", &self.root)
    }

    /// The major version of the data, if there is data.
    pub(super) fn data_major(&self) -> Result<Option<String>, EmbeddedPostgresError> {
        let file = self.data.join("PG_VERSION");
        match fs::read_to_string(&file) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Only a finished cluster is ever called `data`, so this is something else.
                match fs::symlink_metadata(&self.data) {
                    Ok(_) => Err(EmbeddedPostgresError::NotOurs { dir: self.data.clone() }),
                    Err(_) => Ok(None),
                }
            }
            Err(error) => Err(error).doing("read", &file),
        }
    }

    /// Existing data must belong to whom the server will run as; Postgres itself says so far less clearly.
    pub(super) fn check_owner(&self, identity: &Identity) -> Result<(), EmbeddedPostgresError> {
        let owner = fs::metadata(&self.data).doing("look at", &self.data)?.uid();
        if owner == identity.server_uid() {
            return Ok(());
        }
        Err(EmbeddedPostgresError::OwnedByAnother {
            dir: self.data.clone(),
            owner,
            uid: identity.uid,
        })
    }

    /// Makes a new cluster beside its final place and renames it when it is complete, so that `data` is all or nothing.
    pub(super) fn initialise(
        &self,
        identity: &Identity,
        binaries: &Binaries,
        durable: bool,
    ) -> Result<(), EmbeddedPostgresError> {
        self.sweep_unfinished();
        // A name of its own: an initdb orphaned by our predecessor's death may still be writing into the old one.
        let fresh = self.root.join(format!("data.new-{}", std::process::id()));
        create_private(&fresh, identity)?;
        let locale = if cfg!(target_os = "macos") { "C" } else { "C.UTF-8" };
        let mut result = initdb(&fresh, identity, binaries, durable, locale);
        if result.as_ref().is_err_and(|error| error.to_string().contains("locale")) {
            result = initdb(&fresh, identity, binaries, durable, "C");
        }
        if let Err(error) = result {
            self.sweep_unfinished();
            return Err(error);
        }
        fs::rename(&fresh, &self.data).doing("give its final name to", &fresh)?;
        // Without this, the rename itself may not survive a power cut.
        File::open(&self.root)
            .and_then(|dir| dir.sync_all())
            .doing("flush", &self.root)
    }

    fn sweep_unfinished(&self) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if entry.file_name().as_bytes().starts_with(b"data.new-")
                && let Err(error) = fs::remove_dir_all(entry.path())
            {
                // Harmless: it is tried again at the next start.
                tracing::warn!(directory = %entry.path().display(), %error, "could not remove an unfinished database");
            }
        }
    }

    /// Creates the directory of the socket, readable by nobody but the server's account (and root).
    pub(super) fn prepare_socket_dir(&self, identity: &Identity) -> Result<(), EmbeddedPostgresError> {
        let dir = &self.socket_dir;
        match fs::symlink_metadata(dir) {
            Ok(meta) if meta.is_dir() && meta.uid() == identity.server_uid() => {
                fs::set_permissions(dir, Permissions::from_mode(0o700)).doing("change the mode of", dir)
            }
            // Somebody could have put it into the shared temporary directory to listen in our place.
            Ok(_) => Err(EmbeddedPostgresError::SocketDirectory { dir: dir.clone() }),
            Err(_) => create_private(dir, identity),
        }
    }

    /// Leaves nothing in the shared temporary directory behind.
    pub(super) fn remove_outside_socket_dir(&self) {
        if !self.socket_dir.starts_with(&self.root)
            && let Err(error) = fs::remove_dir(&self.socket_dir)
        {
            // Harmless: the next start uses it.
            tracing::debug!(directory = %self.socket_dir.display(), %error, "could not remove the socket directory");
        }
    }

    /// Opens the server's log for appending. It is a file, never a pipe: a server that outlives us must not die of writing.
    pub(super) fn open_log(&self) -> Result<File, EmbeddedPostgresError> {
        if fs::metadata(&self.log).is_ok_and(|meta| meta.len() > LOG_LIMIT_BYTES) {
            fs::rename(&self.log, self.log.with_extension("log.old")).doing("put aside", &self.log)?;
        }
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.log)
            .doing("open", &self.log)
    }

    /// The last lines of the server's log.
    pub(super) fn log_tail(&self, lines: usize) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        let skipped = all.len().saturating_sub(lines);
        all.into_iter().skip(skipped).collect::<Vec<_>>().join("\n")
    }
}

/// Makes a path absolute and resolves what exists of it: a server is recognised by the exact spelling of its data directory.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, EmbeddedPostgresError> {
    let path = std::path::absolute(path).doing("resolve", path)?;
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(&path);
    let real = existing.canonicalize().doing("resolve", existing)?;
    Ok(match path.strip_prefix(existing) {
        Ok(rest) if rest.as_os_str().is_empty() => real,
        Ok(rest) => real.join(rest),
        Err(_) => path,
    })
}

/// The same number for the same path in every build, so that a later run finds what an earlier one made (FNV-1a).
pub(super) fn stable_hash(path: &Path) -> u64 {
    path.as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// `root/run`, unless its name is too long for a socket or holds what Postgres would read as a list of directories.
fn socket_dir(root: &Path) -> PathBuf {
    let inside = root.join("run");
    let length = inside.as_os_str().len() + format!("/.s.PGSQL.{PORT}").len();
    let plain = inside
        .to_str()
        .is_some_and(|text| !text.contains(|c: char| c.is_control() || matches!(c, ',' | '"' | '\\')));
    if plain && length <= LONGEST_SOCKET_PATH {
        inside
    } else {
        // Not the directory from TMPDIR: it may be long as well, and differ from one run to the next.
        PathBuf::from(format!("/tmp/postgres-{:016x}", stable_hash(root)))
    }
}

fn refuse_foreign(root: &Path) -> Result<(), EmbeddedPostgresError> {
    let mut entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).doing("list", root),
    };
    if entries.next().is_none() || root.join(lock::FILE_NAME).is_file() {
        return Ok(());
    }
    Err(EmbeddedPostgresError::NotOurs {
        dir: root.to_path_buf(),
    })
}

/// Creates a directory and its missing parents with exactly this mode, whatever the umask is.
fn create_missing(dir: &Path, mode: u32) -> Result<(), EmbeddedPostgresError> {
    let mut missing: Vec<&Path> = dir.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    missing.reverse();
    for dir in missing {
        fs::create_dir(dir).doing("create", dir)?;
        fs::set_permissions(dir, Permissions::from_mode(mode)).doing("change the mode of", dir)?;
    }
    Ok(())
}

fn create_private(dir: &Path, identity: &Identity) -> Result<(), EmbeddedPostgresError> {
    DirBuilder::new().mode(0o700).create(dir).doing("create", dir)?;
    identity.give(dir)
}

fn initdb(
    dir: &Path,
    identity: &Identity,
    binaries: &Binaries,
    durable: bool,
    locale: &str,
) -> Result<(), EmbeddedPostgresError> {
    let program = binaries.initdb();
    let mut command = identity.command(&program, dir);
    command.arg("-D").arg(dir).args(["-U", &identity.user]);
    // The kernel vouches for who is at the other end of the socket: no password exists that could leak.
    command.args([
        "--auth-local=peer",
        "--auth-host=reject",
        "--encoding=UTF8",
        "--data-checksums",
    ]);
    command.arg(format!("--locale={locale}"));
    if !durable {
        command.arg("--no-sync");
    }
    let output = command.output().doing("run", &program)?;
    if output.status.success() {
        return Ok(());
    }
    Err(EmbeddedPostgresError::Initdb {
        dir: dir.to_path_buf(),
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_lies_inside_a_root_with_a_short_plain_name() {
        assert_eq!(
            socket_dir(Path::new("/var/lib/x y/pg")),
            Path::new("/var/lib/x y/pg/run")
        );
    }

    #[test]
    fn a_root_that_is_long_or_holds_a_comma_gets_a_short_socket_directory() {
        for root in [format!("/{}", "x".repeat(120)), "/a,b".into(), "/a\"b".into()] {
            let dir = socket_dir(Path::new(&root));
            assert!(
                dir.starts_with("/tmp") && dir.as_os_str().len() < 40,
                "{}",
                dir.display()
            );
        }
        assert_ne!(socket_dir(Path::new("/a,b")), socket_dir(Path::new("/a,c")));
    }

    #[test]
    fn a_path_is_resolved_through_links_even_where_its_end_does_not_exist_yet() {
        let top = tempfile::tempdir().unwrap();
        let real = top.path().canonicalize().unwrap().join("real");
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, top.path().join("link")).unwrap();
        assert_eq!(resolve(&top.path().join("link/new/pg")).unwrap(), real.join("new/pg"));
        assert_eq!(resolve(&top.path().join("link")).unwrap(), real);
    }

    #[test]
    fn a_directory_with_foreign_files_is_refused_and_an_empty_one_is_not() {
        let top = tempfile::tempdir().unwrap();
        assert!(refuse_foreign(top.path()).is_ok());
        assert!(refuse_foreign(&top.path().join("missing")).is_ok());
        fs::write(top.path().join("letter.txt"), "dear").unwrap();
        assert!(matches!(
            refuse_foreign(top.path()),
            Err(EmbeddedPostgresError::NotOurs { .. })
        ));
    }
}
