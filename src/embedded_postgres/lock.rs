//! One owner for one directory: an advisory lock on a file, held for life, so that it vanishes with the process however it
//! ends. The file is also the mark by which a directory is known to be ours. It must not be deleted.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::error::{Doing, EmbeddedPostgresError};

/// The file's name inside the root.
pub(super) const FILE_NAME: &str = "embedded_postgres.lock";

/// Proof that no other process works on the directory.
#[derive(Debug)]
pub(super) struct OwnerLock {
    _file: File,
}

/// Takes the lock, or says who has it.
pub(super) fn acquire(root: &Path) -> Result<OwnerLock, EmbeddedPostgresError> {
    let path = root.join(FILE_NAME);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .doing("open", &path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(EmbeddedPostgresError::InUse {
                dir: root.to_path_buf(),
                holder: holder(&mut file),
            });
        }
        Err(TryLockError::Error(error)) => return Err(error).doing("lock", &path),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .doing("write to", &path)?;
    Ok(OwnerLock { _file: file })
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
