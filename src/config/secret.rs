//! Where secrets come from: environment, files, the configuration itself, or a file that smshook makes at its first start.
//!
//! Nothing here may put a secret's value into an error, a label or a log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rand::TryRngCore as _;
use secrecy::SecretString;

use super::file::Secret;

/// Where a secret came from; safe to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file of the operator's.
    File(PathBuf),
    /// A file in the data directory that smshook makes.
    Generated(PathBuf),
    /// The configuration file itself.
    Inline,
}

impl std::fmt::Display for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env {name}"),
            Self::File(path) | Self::Generated(path) => write!(f, "file {}", path.display()),
            Self::Inline => f.write_str("the configuration"),
        }
    }
}

/// Why a secret cannot be had. Names the place, never the value.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    #[error("the environment variable `{0}` is not set")]
    VariableMissing(String),
    #[error("the environment variable `{0}` is empty")]
    VariableEmpty(String),
    #[error("the secret is empty")]
    Empty,
    #[error("the secret file `{}` cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the secret file `{}` is empty", .0.display())]
    FileEmpty(PathBuf),
    #[error("the secret file `{}` is not text", .0.display())]
    NotText(PathBuf),
    #[error("the secret file `{}` can be read by everybody", .0.display())]
    WorldReadable(PathBuf),
    #[error("`{0}` is not a plain file name")]
    NotAFileName(String),
    #[error("the secret file `{}` has not been made yet", .0.display())]
    NotGeneratedYet(PathBuf),
}

impl SecretError {
    pub(super) fn help(&self) -> String {
        match self {
            Self::VariableMissing(name) | Self::VariableEmpty(name) => format!("set {name} before smshook starts"),
            Self::Empty => {
                "an empty secret would let everybody in; give one in an environment variable or a file".to_owned()
            }
            Self::Unreadable { .. } => "check the path, and that the user smshook runs as may read it".to_owned(),
            Self::FileEmpty(_) | Self::NotText(_) => "write the secret into it, on one line".to_owned(),
            Self::WorldReadable(path) => format!("chmod o-rwx {}", path.display()),
            Self::NotAFileName(_) => {
                "give a name such as \"webhook-secret\"; the file is in the data directory".to_owned()
            }
            Self::NotGeneratedYet(_) => "smshook makes it at its first start; until then nothing verifies".to_owned(),
        }
    }
}

impl Secret {
    /// Where this secret comes from.
    pub(super) fn source(&self, data_dir: &Path) -> SecretSource {
        match self {
            Self::Inline(_) => SecretSource::Inline,
            Self::Env(name) => SecretSource::Env(name.clone()),
            Self::File(path) => SecretSource::File(path.clone()),
            Self::Generated(name) => SecretSource::Generated(data_dir.join(name)),
        }
    }

    /// Fetches the secret.
    pub(super) fn fetch(
        &self,
        data_dir: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<SecretString, SecretError> {
        use secrecy::ExposeSecret as _;
        match self {
            Self::Inline(secret) if secret.expose_secret().trim().is_empty() => Err(SecretError::Empty),
            Self::Inline(secret) => Ok(secret.clone()),
            Self::Env(name) => match environment(name) {
                None => Err(SecretError::VariableMissing(name.clone())),
                Some(value) if value.trim().is_empty() => Err(SecretError::VariableEmpty(name.clone())),
                Some(value) => Ok(SecretString::from(value)),
            },
            Self::File(path) => read(path),
            Self::Generated(name) => match generated_path(data_dir, name) {
                None => Err(SecretError::NotAFileName(name.clone())),
                Some(path) if !path.exists() => Err(SecretError::NotGeneratedYet(path)),
                Some(path) => read(&path),
            },
        }
    }
}

/// The path of a generated secret; `None` if `name` would leave the data directory.
pub(super) fn generated_path(data_dir: &Path, name: &str) -> Option<PathBuf> {
    let plain = Path::new(name).file_name().is_some_and(|file| file == name);
    plain.then(|| data_dir.join(name))
}

fn read(path: &Path) -> Result<SecretString, SecretError> {
    let unreadable = |source| SecretError::Unreadable {
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).is_ok_and(|metadata| is_open_to_all(path, &metadata)) {
        return Err(SecretError::WorldReadable(path.to_owned()));
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| SecretError::NotText(path.to_owned()))?;
    let line = text
        .strip_suffix('\n')
        .map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if line.trim().is_empty() {
        return Err(SecretError::FileEmpty(path.to_owned()));
    }
    Ok(SecretString::from(line))
}

/// Container runtimes mount secrets with mode 0444 under these folders, where only the container sees them.
const CONTAINER_MOUNTS: [&str; 2] = ["/run/secrets", "/var/run/secrets"];

#[cfg(unix)]
fn is_open_to_all(path: &Path, metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let mounted = CONTAINER_MOUNTS.iter().any(|mount| path.starts_with(mount));
    metadata.permissions().mode() & 0o007 != 0 && metadata.is_file() && !mounted
}

#[cfg(not(unix))]
fn is_open_to_all(_path: &Path, _metadata: &fs::Metadata) -> bool {
    false
}

/// A secret that matches nothing anybody has: 32 random bytes in hexadecimal.
pub(super) fn random() -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(io::Error::other)?;
    Ok(hex::encode(bytes))
}

/// Makes the secret file at `path` unless it is there: 32 random bytes in hexadecimal and a newline, readable by its owner
/// only, on disk before this returns. True if it was made.
///
/// The file appears complete or not at all, and two processes that start at once agree on one.
pub fn ensure_generated_secret(path: &Path) -> io::Result<bool> {
    if path.exists() {
        return Ok(false);
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let draft = folder.join(format!(".secret-{}", random()?.get(..16).unwrap_or_default()));
    let written = write_private(&draft, &format!("{}\n", random()?)).and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match written {
        Ok(()) => {
            sync_folder(folder)?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}
