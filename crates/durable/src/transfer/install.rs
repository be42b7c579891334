//! Moves an installed state into place; see the parent module for the files and the invariant.
//!
//! Each step is durable before the next one begins, and leaves what a repetition needs: `installed`
//! is removed last. First the directory entries found are synced, because after a kill some of them
//! may not survive a power failure: `installed`, when the old log is already gone, or the new name
//! of the log, when `installed` is already gone.

use std::path::Path;

use oxkeeper_store::{Disk, StoreError, TREE_FILE, io_error};
use tracing::info;

use crate::layout::LOG_DIR;

/// Directory below `dataDir` in which a new tree is built.
pub const INCOMING: &str = "incoming";
/// Directory below `dataLogDir` in which the log of the new state is built.
pub const INCOMING_LOG: &str = "incoming-log";
/// Name that [`INCOMING`] gets once the new state counts.
pub const INSTALLED: &str = "installed";

/// Removes the remains of an earlier attempt before a new state is written to `incoming` and
/// `incoming-log`. Returns false, and removes nothing, while an installed state waits for a
/// recovery.
///
/// # Errors
/// [`StoreError::Io`], [`StoreError::Full`].
pub fn begin_install(disk: &dyn Disk, data_dir: &Path, data_log_dir: &Path) -> Result<bool, StoreError> {
    // An `installed` whose removal is not durable must not come back beside an incomplete
    // `incoming-log`.
    sync_dir(disk, data_dir)?;
    if has(disk, data_dir, INSTALLED)? {
        return Ok(false);
    }
    remove_leftovers(disk, data_dir, data_log_dir)?;
    Ok(true)
}

/// Makes the completed new state count. From here on nothing may be written to the old log or tree.
///
/// # Errors
/// [`StoreError::Io`]: the old state still counts.
///
/// # Panics
/// Panics if the new name cannot be made durable: it would be unknown which of the two states
/// counts.
pub fn commit_install(disk: &dyn Disk, data_dir: &Path) -> Result<(), StoreError> {
    let (from, to) = (data_dir.join(INCOMING), data_dir.join(INSTALLED));
    disk.rename(&from, &to).map_err(io_error(&to, "name"))?;
    disk.sync_dir(data_dir).unwrap_or_else(|error| panic!("{}: cannot sync: {error}", data_dir.display()));
    Ok(())
}

/// Finishes an installation if one was begun, and removes the remains of other attempts. Returns
/// whether there was one to finish. Neither the log nor the tree may be open. Both directories must
/// exist.
///
/// # Errors
/// [`StoreError::Io`], [`StoreError::Full`]: call it again.
pub fn finish_install(disk: &dyn Disk, data_dir: &Path, data_log_dir: &Path) -> Result<bool, StoreError> {
    let installed = has(disk, data_dir, INSTALLED)?;
    if installed {
        sync_dir(disk, data_dir)?;
        sync_dir(disk, data_log_dir)?;
        place_log(disk, data_log_dir)?;
        place_tree(disk, data_dir)?;
        remove_all(disk, data_dir, INSTALLED)?;
        info!("installed the new state");
    }
    remove_leftovers(disk, data_dir, data_log_dir)?;
    Ok(installed)
}

/// Removes the files of a transfer or a restore that did not complete.
pub fn remove_leftovers(disk: &dyn Disk, data_dir: &Path, data_log_dir: &Path) -> Result<(), StoreError> {
    remove_all(disk, data_dir, INCOMING)?;
    remove_all(disk, data_log_dir, INCOMING_LOG)
}

fn place_log(disk: &dyn Disk, data_log_dir: &Path) -> Result<(), StoreError> {
    if !has(disk, data_log_dir, INCOMING_LOG)? {
        return Ok(());
    }
    remove_all(disk, data_log_dir, LOG_DIR)?;
    let log = data_log_dir.join(LOG_DIR);
    disk.rename(&data_log_dir.join(INCOMING_LOG), &log).map_err(io_error(&log, "name"))?;
    sync_dir(disk, data_log_dir)
}

fn place_tree(disk: &dyn Disk, data_dir: &Path) -> Result<(), StoreError> {
    let installed = data_dir.join(INSTALLED);
    if !has(disk, &installed, TREE_FILE)? {
        return Ok(());
    }
    let tree = data_dir.join(TREE_FILE);
    disk.rename(&installed.join(TREE_FILE), &tree).map_err(io_error(&tree, "name"))?;
    sync_dir(disk, data_dir)
}

/// Removes a directory and its files durably, if it exists.
fn remove_all(disk: &dyn Disk, around: &Path, name: &str) -> Result<(), StoreError> {
    if !has(disk, around, name)? {
        return Ok(());
    }
    let dir = around.join(name);
    for name in disk.list(&dir).map_err(io_error(&dir, "list"))? {
        let path = dir.join(name);
        disk.remove(&path).map_err(io_error(&path, "remove"))?;
    }
    disk.remove_dir(&dir).map_err(io_error(&dir, "remove"))?;
    sync_dir(disk, around)
}

fn has(disk: &dyn Disk, dir: &Path, name: &str) -> Result<bool, StoreError> {
    let names = disk.list(dir).map_err(io_error(dir, "list"))?;
    Ok(names.iter().any(|found| found == name))
}

fn sync_dir(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    disk.sync_dir(dir).map_err(io_error(dir, "sync"))
}
