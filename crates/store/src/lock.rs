//! The lock that lets only one server use a directory.
//!
//! Owns the file `lock`, which stays empty and is never removed: removing it would let two servers
//! lock two files of that name. The operating system releases the lock when the process ends,
//! however it ends.

use std::fmt;
use std::path::Path;

use crate::disk::Disk;
use crate::error::{StoreError, io_error};

const LOCK_FILE: &str = "lock";

/// Lock on a directory, held by this process until dropped.
pub struct DirLock {
    _held: Box<dyn Send + Sync>,
}

impl fmt::Debug for DirLock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DirLock")
    }
}

/// Creates the directory if absent (durably, with its parents) and locks it for this process.
///
/// # Errors
/// [`StoreError::Locked`] if another server holds it, [`StoreError::Io`].
pub fn lock(disk: &dyn Disk, dir: &Path) -> Result<DirLock, StoreError> {
    disk.create_dir(dir).map_err(io_error(dir, "create the directory"))?;
    let path = dir.join(LOCK_FILE);
    match disk.lock(&path).map_err(io_error(&path, "lock"))? {
        Some(held) => Ok(DirLock { _held: held }),
        None => Err(StoreError::Locked { path }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn a_second_server_is_refused_until_the_first_is_gone() {
        let root = tempfile::tempdir().expect("temporary directory");
        let dir = root.path().join("data");
        let first = lock(&RealDisk, &dir).expect("free");
        let refused = lock(&RealDisk, &dir).expect_err("held");
        assert!(matches!(refused, StoreError::Locked { .. }));
        assert!(refused.to_string().contains("another server runs on this directory"));
        drop(first);
        lock(&RealDisk, &dir).expect("free again");
    }
}
