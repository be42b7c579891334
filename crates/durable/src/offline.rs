//! The data directory of a server that is not running: writes a whole directory from a state that
//! comes from elsewhere, or reads one without serving it.
//!
//! A written directory holds the durable tree at index 1 and an empty log that starts there. For an
//! ensemble, the state carries the ensemble's id, and the server counts as empty apart from that
//! id: servers that hold the same state found the ensemble together, and a server that meets a
//! running ensemble takes that ensemble's state instead (`replica/src/ensemble`).
//!
//! ```text
//! <dataDir>/import.unfinished   present while a directory is being written: no server starts from it
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oxkeeper_proto::ServerId;
use oxkeeper_state::State;
use oxkeeper_store::{
    DirLock, Disk, Filling, Kind, Log, LogOptions, RealDisk, StoreError, TREE_FILE, Tree, TreeOptions, io_error,
};
use thiserror::Error;

use crate::checkpoint::{ENSEMBLE, LEVEL, SCALARS};
use crate::layout::{KNOWS, LOG_DIR, StoreOptions, UNFINISHED};
use crate::own_log;
use crate::recovery::{self, RecoveryError, Replay};
use crate::transfer::{INCOMING, INSTALLED};

/// Number of log entries that a state from elsewhere counts as.
const APPLIED: u64 = 1;
/// Number of znodes to encode at a time.
const PORTION: usize = 1024;

/// Error while writing a data directory.
#[derive(Debug, Error)]
pub enum PlantError {
    /// Error from the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory already holds data.
    #[error("{path} already exists, and the data directory must be empty. Move it away, or name another directory")]
    Occupied {
        /// Path that already exists.
        path: PathBuf,
    },
    /// An I/O operation failed.
    #[error("{path}: {source}")]
    Io {
        /// Path of the operation.
        path: PathBuf,
        /// Error from the operating system.
        source: io::Error,
    },
}

/// A data directory about to be written: locked, empty, and marked as unfinished.
#[derive(Debug)]
pub struct Plot {
    data_dir: PathBuf,
    data_log_dir: PathBuf,
    disk: Arc<dyn Disk>,
    _locks: Vec<DirLock>,
}

impl Plot {
    /// Locks and marks the directories, and removes the remains of an unfinished import.
    ///
    /// # Errors
    /// Any [`PlantError`].
    pub fn take(data_dir: &Path, data_log_dir: &Path) -> Result<Plot, PlantError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let locks = recovery::lock(&*disk, data_dir, data_log_dir)?;
        let plot =
            Plot { data_dir: data_dir.to_path_buf(), data_log_dir: data_log_dir.to_path_buf(), disk, _locks: locks };
        let marker = plot.marker();
        if marker.exists() {
            plot.clear()?;
        }
        let parts = [plot.data_dir.join(TREE_FILE), plot.data_dir.join(INSTALLED), plot.data_log_dir.join(LOG_DIR)];
        if let Some(path) = parts.into_iter().find(|path| path.exists()) {
            return Err(PlantError::Occupied { path });
        }
        fs::write(&marker, []).map_err(|source| PlantError::Io { path: marker, source })?;
        plot.sync_dir()?;
        Ok(plot)
    }

    fn marker(&self) -> PathBuf {
        self.data_dir.join(UNFINISHED)
    }

    fn sync_dir(&self) -> Result<(), StoreError> {
        self.disk.sync_dir(&self.data_dir).map_err(io_error(&self.data_dir, "sync"))
    }

    /// Removes everything that an import writes.
    fn clear(&self) -> Result<(), PlantError> {
        let gone = |path: PathBuf, removed: io::Result<()>| match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(PlantError::Io { path, source: error }),
            Ok(()) | Err(_) => Ok(()),
        };
        let (tree, incoming, log) =
            (self.data_dir.join(TREE_FILE), self.data_dir.join(INCOMING), self.data_log_dir.join(LOG_DIR));
        gone(tree.clone(), fs::remove_file(&tree))?;
        gone(incoming.clone(), fs::remove_dir_all(&incoming))?;
        gone(log.clone(), fs::remove_dir_all(&log))
    }

    /// Removes what was written and releases the directories.
    pub fn abandon(self) {
        // If files remain, a server refuses to start from them, and the next import removes them.
        if self.clear().is_ok() {
            let _ = fs::remove_file(self.marker());
        }
    }

    /// Writes the state. Calls `progress` with the number of znodes written so far.
    ///
    /// # Errors
    /// Any [`PlantError`]; no server starts from the directory then.
    pub fn plant(self, state: &mut State, progress: impl FnMut(usize)) -> Result<(), PlantError> {
        fill_log(&self.disk, &self.data_log_dir.join(LOG_DIR))?;
        fill_tree(&self.disk, &self.data_dir, state, progress)?;
        let marker = self.marker();
        fs::remove_file(&marker).map_err(|source| PlantError::Io { path: marker, source })?;
        Ok(self.sync_dir()?)
    }
}

/// Writes the empty log that goes with [`fill_tree`].
///
/// # Errors
/// Any [`StoreError`].
pub fn fill_log(disk: &Arc<dyn Disk>, dir: &Path) -> Result<(), StoreError> {
    let options = LogOptions { first_index: APPLIED, ..LogOptions::default() };
    Log::open(disk.clone(), dir, &options)?.prepare();
    Ok(())
}

/// Writes the durable tree of a state that comes from elsewhere. Calls `progress` with the number
/// of znodes written so far.
///
/// # Errors
/// Any [`StoreError`].
pub fn fill_tree(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    state: &mut State,
    mut progress: impl FnMut(usize),
) -> Result<(), StoreError> {
    let mut filling = Filling::begin(disk.clone(), dir, &TreeOptions::default())?;
    let head = state.begin_checkpoint();
    filling.put_meta(SCALARS, &head.scalars)?;
    filling.put_meta(ENSEMBLE, &head.ensemble)?;
    filling.put_meta(LEVEL, &head.level)?;
    let mut written = 0;
    loop {
        let captured = state.capture(PORTION);
        if captured.is_empty() {
            break;
        }
        written += captured.len();
        for (slot, record) in captured {
            record.map_or(Ok(()), |record| filling.put(Kind::Znode, u64::from(slot), &record))?;
        }
        progress(written);
    }
    for (id, record) in &head.sessions {
        record.as_ref().map_or(Ok(()), |record| filling.put(Kind::Session, *id as u64, record))?;
    }
    for (id, record) in &head.acls {
        record.as_ref().map_or(Ok(()), |record| filling.put(Kind::Acl, u64::from(*id), record))?;
    }
    state.end_checkpoint(&head, true);
    filling.finish(APPLIED)
}

/// The state of a server that is not running.
#[derive(Debug)]
pub struct AtRest {
    /// The state. For a member of an ensemble it includes only entries that are known to be
    /// decided.
    pub state: State,
    /// Number of log entries that are not known to be decided; 0 for a standalone server.
    pub undecided: u64,
    /// Voters recorded in the log if the server is a member of an ensemble.
    pub members: Option<Vec<ServerId>>,
    _locks: Vec<DirLock>,
}

/// Reads the durable tree of a server that is not running, without the log entries that follow it.
/// Returns the state and the number of log entries it includes.
///
/// # Errors
/// Any [`RecoveryError`].
pub fn read_tree(data_dir: &Path, seed: u64) -> Result<(State, u64), RecoveryError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let _lock = oxkeeper_store::lock(&*disk, data_dir)?;
    let tree = Tree::open(disk, data_dir, &TreeOptions::default())?;
    let snapshot = tree.snapshot()?.ok_or_else(|| RecoveryError::Nothing(data_dir.display().to_string()))?;
    Ok((recovery::load(&snapshot, seed, KNOWS)?, snapshot.applied_index()))
}

/// Reads the state of a server that is not running.
///
/// # Errors
/// Any [`RecoveryError`].
pub fn read(data_dir: &Path, data_log_dir: &Path, seed: u64) -> Result<AtRest, RecoveryError> {
    let parts = [data_dir.join(TREE_FILE), data_dir.join(INSTALLED), data_log_dir.join(LOG_DIR)];
    if !parts.iter().any(|part| part.exists()) {
        return Err(RecoveryError::Nothing(data_dir.display().to_string()));
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let options = StoreOptions::default();
    // The members recorded in the log decide how far it may be replayed, so the first recovery
    // stops at the decided index.
    let recover = |replay| recovery::recover_with(&disk, data_dir, data_log_dir, seed, &options, replay);
    let recovered = recover(Replay::DECIDED)?;
    let members = own_log::members_of(&recovered.log);
    let undecided = recovered.log.next_index() - recovered.applied;
    if members.is_some() || undecided == 0 {
        return Ok(AtRest { state: recovered.state, undecided, members, _locks: recovered.locks });
    }
    drop(recovered);
    let recovered = recover(Replay::All)?;
    Ok(AtRest { state: recovered.state, undecided: 0, members, _locks: recovered.locks })
}
