//! Who the server runs as, and whether that account can reach a path. Postgres refuses to run as root, so root lends it an
//! unprivileged account. It must not touch any file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::{Doing, EmbeddedPostgresError};

/// What a child process may inherit of our environment. Everything else stays here: webhook secrets have no business in
/// `/proc/<postmaster>/environ`, and `PG*`, `LANG` or `LC_*` would change what the server does.
const INHERITED: [&str; 5] = ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZDIR", "ICU_DATA"];

/// An unprivileged account that root lends to the server.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Who we are, and who the server will be.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// Our own user's name, which is also the database superuser's: peer authentication compares the two.
    pub(super) user: String,
    /// Our own effective user ID.
    pub(super) uid: u32,
    /// The account the server is run as; `None` means as ourselves.
    pub(super) server: Option<Account>,
}

impl Identity {
    /// Finds out who we are. As root, the owner of existing data goes on owning it; new data goes to `postgres`, else `nobody`.
    pub(super) fn discover(data: &Path) -> Result<Self, EmbeddedPostgresError> {
        let uid = rustix::process::geteuid().as_raw();
        let user = id(&["-un"]).ok_or(EmbeddedPostgresError::NoUserName { uid })?;
        let server = match (uid, owner_of(data)) {
            (0, Some(owner)) => Some(owner),
            (0, None) => Some(
                named("postgres")
                    .or_else(|| named("nobody"))
                    .ok_or(EmbeddedPostgresError::NoAccount)?,
            ),
            _ => None,
        };
        Ok(Self { user, uid, server })
    }

    /// The user ID that owns the server's files.
    pub(super) fn server_uid(&self) -> u32 {
        self.server.as_ref().map_or(self.uid, |account| account.uid)
    }

    /// A command that runs `program` as the server's account, in `cwd`, with hardly any of our environment.
    pub(super) fn command(&self, program: &Path, cwd: &Path) -> Command {
        let mut command = Command::new(program);
        // Our own working directory may be closed to the account, and initdb complains about that.
        command.current_dir(cwd).env_clear().env("LC_ALL", "C");
        command.envs(
            INHERITED
                .into_iter()
                .filter_map(|key| Some((key, std::env::var_os(key)?))),
        );
        // Its own process group: a terminal's Ctrl-C must not stop the database before we have drained.
        command.process_group(0).stdin(Stdio::null());
        if let Some(account) = &self.server {
            command.gid(account.gid).uid(account.uid);
        }
        command
    }

    /// Gives a path to the server's account; nothing to do when that is ourselves.
    pub(super) fn give(&self, path: &Path) -> Result<(), EmbeddedPostgresError> {
        match &self.server {
            None => Ok(()),
            Some(account) => {
                std::os::unix::fs::lchown(path, Some(account.uid), Some(account.gid)).doing("change the owner of", path)
            }
        }
    }

    /// Fails with the first directory on the way to `path` that the server's account may not enter.
    pub(super) fn check_can_reach(&self, path: &Path) -> Result<(), EmbeddedPostgresError> {
        let Some(account) = &self.server else {
            return Ok(());
        };
        match first_blocker(path, account) {
            None => Ok(()),
            Some(blocker) => Err(EmbeddedPostgresError::CannotEnter {
                account: account.name.clone(),
                blocker,
                wanted: path.to_path_buf(),
            }),
        }
    }
}

/// The topmost existing directory among `path` and its parents that `account` has no search permission for.
fn first_blocker(path: &Path, account: &Account) -> Option<PathBuf> {
    let mut parents: Vec<&Path> = path.ancestors().collect();
    parents.reverse();
    parents
        .into_iter()
        .find(|dir| fs::metadata(dir).is_ok_and(|meta| meta.is_dir() && !may_enter(&meta, account)))
        .map(Path::to_path_buf)
}

fn may_enter(meta: &fs::Metadata, account: &Account) -> bool {
    let bit = if meta.uid() == account.uid {
        0o100
    } else if meta.gid() == account.gid {
        0o010
    } else {
        0o001
    };
    meta.mode() & bit != 0
}

fn owner_of(data: &Path) -> Option<Account> {
    let meta = fs::metadata(data).ok().filter(|meta| meta.uid() != 0)?;
    Some(Account {
        name: format!("the user with ID {}", meta.uid()),
        uid: meta.uid(),
        gid: meta.gid(),
    })
}

fn named(name: &str) -> Option<Account> {
    Some(Account {
        name: format!("`{name}`"),
        uid: number(&id(&["-u", name])?)?,
        gid: number(&id(&["-g", name])?)?,
    })
}

/// `id` asks every source of accounts the system has (on macOS and with LDAP, /etc/passwd is not the whole truth).
fn id(args: &[&str]) -> Option<String> {
    let output = Command::new("id").args(args).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// macOS prints the user ID of `nobody` as -2.
fn number(text: &str) -> Option<u32> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<i32>().ok().map(i32::cast_unsigned))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn stranger() -> Account {
        Account {
            name: "`stranger`".into(),
            uid: 4_000_001,
            gid: 4_000_001,
        }
    }

    #[test]
    fn the_topmost_closed_directory_is_named() {
        let top = tempfile::tempdir().unwrap();
        fs::set_permissions(top.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let closed = top.path().join("closed");
        let below = closed.join("open/data");
        fs::create_dir_all(&below).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(first_blocker(&below, &stranger()), Some(closed.clone()));
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o701)).unwrap();
        assert_eq!(first_blocker(&below, &stranger()), None);
    }

    #[test]
    fn a_directory_that_does_not_exist_yet_blocks_nobody() {
        let top = tempfile::tempdir().unwrap();
        fs::set_permissions(top.path(), fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(first_blocker(&top.path().join("not/yet"), &stranger()), None);
    }

    #[test]
    fn a_user_id_printed_as_a_negative_number_is_understood() {
        assert_eq!(number("-2"), Some(4_294_967_294));
        assert_eq!(number("106"), Some(106));
        assert_eq!(number("nobody"), None);
    }
}
