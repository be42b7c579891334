//! A data directory at rest: written whole from a state that comes from elsewhere, or read without being served.
//!
//! What is written is the durable tree at index 1 and an empty log from there on. For an ensemble the state carries the
//! ensemble's id, and the server counts as empty but for it: servers that hold the same found the ensemble together; one that
//! meets a running ensemble takes that one's state instead (`replica/src/ensemble`).
//!
//! ```text
//! <dataDir>/import.unfinished   there while a directory is being written: no server starts from it
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
use crate::own_log;
use crate::recovery::{self, LOG_DIR, RecoveryError, Replay, StoreOptions};
use crate::transfer::{INCOMING, INSTALLED};

/// Says that what is beside it is not whole.
pub const UNFINISHED: &str = "import.unfinished";
/// The log entries that a state from elsewhere counts as.
const APPLIED: u64 = 1;
/// Znodes encoded at once.
const PORTION: usize = 1024;

/// Why a directory is not written.
#[derive(Debug, Error)]
pub enum PlantError {
    /// The store says why.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is data already.
    #[error("{path} already exists, and the data directory must be empty. Move it away, or name another directory")]
    Occupied {
        /// What is there.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("{path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A directory that a state is about to be written to: locked, free, and marked as unfinished.
#[derive(Debug)]
pub struct Plot {
    data_dir: PathBuf,
    data_log_dir: PathBuf,
    disk: Arc<dyn Disk>,
    _locks: Vec<DirLock>,
}

impl Plot {
    /// Takes the directories; what an import left there that did not get through is removed.
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

    /// Removes what an import has written.
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

    /// Gives the directories back as they were found.
    pub fn abandon(self) {
        // What stays is refused by a start, and removed by the next import.
        if self.clear().is_ok() {
            let _ = fs::remove_file(self.marker());
        }
    }

    /// Writes the state; `progress` is told how many of its znodes are written.
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

/// Writes the log that goes with [`fill_tree`]: an empty one.
///
/// # Errors
/// Any [`StoreError`].
pub fn fill_log(disk: &Arc<dyn Disk>, dir: &Path) -> Result<(), StoreError> {
    let options = LogOptions { first_index: APPLIED, ..LogOptions::default() };
    Log::open(disk.clone(), dir, &options)?.prepare();
    Ok(())
}

/// Writes the durable tree of a state that comes from elsewhere; `progress` is told how many of its znodes are written.
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

/// A state at rest.
#[derive(Debug)]
pub struct AtRest {
    /// The state: of an ensemble's member, as far as it is known to be decided.
    pub state: State,
    /// Log entries of an ensemble's member that are not known to be decided.
    pub undecided: u64,
    /// Of which ensemble's member it is, if it is one.
    pub members: Option<Vec<ServerId>>,
    _locks: Vec<DirLock>,
}

/// Reads the durable tree of a server that does not run, without the log behind it; and the log entries it holds.
///
/// # Errors
/// Any [`RecoveryError`].
pub fn read_tree(data_dir: &Path, seed: u64) -> Result<(State, u64), RecoveryError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let _lock = oxkeeper_store::lock(&*disk, data_dir)?;
    let tree = Tree::open(disk, data_dir, &TreeOptions::default())?;
    let snapshot = tree.snapshot()?.ok_or_else(|| RecoveryError::Nothing(data_dir.display().to_string()))?;
    Ok((recovery::load(&snapshot, seed, recovery::KNOWS)?, snapshot.applied_index()))
}

/// Reads the state of a server that does not run.
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
    // What a log says of its members tells how far it may be replayed.
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
