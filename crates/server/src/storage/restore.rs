//! A snapshot takes the place of the data of a running server alone.
//!
//! Two steps. `Restorer::restore`, on a thread of its own, reads the stream to its end, checks all of it, and writes the files of the
//! new state beside the ones in use; the server serves meanwhile. Then the engine ends its life, makes the new files count
//! ([`Planted::count`]) and begins the next life from them (`engine/incarnation.rs`).
//! Owns `incoming` and `incoming-log` while it writes them. Invariant: whenever the process or the machine stops, the next start has the
//! old data or the new, whole; one rename decides, and `durable/src/transfer/install.rs` has the argument.
//! Source: `Commands.RestoreCommand`, `ZooKeeperServer#restoreFromSnapshot`; the files, the order and the epoch are ours.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender as Channel;

use oxkeeper_durable::offline::{fill_log, fill_tree};
use oxkeeper_durable::transfer::{INCOMING, INCOMING_LOG, begin_install, commit_install, remove_leftovers};
use oxkeeper_proto::Zxid;
use oxkeeper_state::State;
use oxkeeper_store::{Disk, StoreError};
use oxkeeper_zkfiles::Problem;
use oxkeeper_zkfiles::dir::load_stream;
use thiserror::Error;
use tracing::{info, warn};

/// Why nothing was restored: the old data counts.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// What was sent is no whole, sound snapshot.
    #[error("what was sent {0}")]
    Snapshot(#[from] Problem),
    /// The new files cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no zxid behind those that clients have seen.
    #[error("no epoch of zxids is left after zxid {zxid}")]
    LastEpoch {
        /// The snapshot's, or this server's.
        zxid: Zxid,
    },
    /// Another one is being restored.
    #[error("another snapshot is being restored")]
    Busy,
    /// This server's own zxids went on into the epoch that the restored data was to have.
    #[error("this server's zxids reached the next epoch meanwhile; restore again")]
    Overtaken,
    /// Nobody takes it any more.
    #[error("the server stops")]
    Stopping,
}

/// Where a standalone server has its data.
#[derive(Clone, Debug)]
pub struct Dirs {
    /// What keeps the files.
    pub disk: Arc<dyn Disk>,
    /// `dataDir`.
    pub data_dir: PathBuf,
    /// `dataLogDir`, or the same again.
    pub data_log_dir: PathBuf,
    /// Against crafted collisions of paths.
    pub seed: u64,
}

/// The files of a new state beside the ones in use, whole and durable, which do not count yet.
#[derive(Debug)]
pub struct Planted {
    dirs: Dirs,
    /// With which it begins.
    pub(crate) begin: Zxid,
    /// The snapshot's.
    pub zxid: Zxid,
    /// Its tree is not the one whose digest stands in it.
    pub(crate) differs: bool,
}

/// Files that wait for the engine, and who wants to hear of it.
#[derive(Debug)]
pub(crate) struct Replacement {
    pub(crate) planted: Planted,
    pub(crate) answer: Channel<Result<(), RestoreError>>,
}

/// Outcome of a restore.
pub(crate) struct Restored {
    /// The last transaction in it.
    pub(crate) zxid: Zxid,
    /// The tree is not the one whose digest stands in the snapshot.
    pub(crate) differs: bool,
}

impl Dirs {
    /// Writes the new files; clients have seen zxids up to `seen`.
    ///
    /// # Errors
    /// Any [`RestoreError`]; what was written is removed.
    pub fn plant(&self, stream: impl Read, seen: Zxid) -> Result<Planted, RestoreError> {
        let (mut state, Restored { zxid, differs }) = self.read(stream, seen)?;
        let written = self.write(&mut state);
        if written.is_err() {
            self.clear();
        }
        written?;
        Ok(Planted { dirs: self.clone(), begin: state.zxid(), zxid, differs })
    }

    fn read(&self, stream: impl Read, seen: Zxid) -> Result<(State, Restored), RestoreError> {
        let snapshot = load_stream(stream, self.seed)?;
        let zxid = Zxid(snapshot.zxid);
        let differs = snapshot.digest_matches == Some(false);
        if differs {
            warn!(%zxid, "the snapshot's tree does not match its digest");
        }
        let (mut state, kept) = snapshot.importing.finish(zxid.0, true);
        // A client is refused that has seen a later zxid than the server's.
        if !state.leave_epoch(seen) {
            return Err(RestoreError::LastEpoch { zxid: zxid.max(seen) });
        }
        info!(%zxid, znodes = state.tree().len(), sessions = kept.sessions, begin = %state.zxid(), "read a sound snapshot");
        Ok((state, Restored { zxid, differs }))
    }

    fn write(&self, state: &mut State) -> Result<(), StoreError> {
        // The recovery that this server began with has finished every installation.
        assert!(begin_install(&*self.disk, &self.data_dir, &self.data_log_dir)?, "nothing waits to be installed");
        fill_log(&self.disk, &self.data_log_dir.join(INCOMING_LOG))?;
        fill_tree(&self.disk, &self.data_dir.join(INCOMING), state, |_| ())
    }

    /// Removes what came to nothing. What stays is removed by the next attempt, or the next start.
    pub(crate) fn clear(&self) {
        if let Err(problem) = remove_leftovers(&*self.disk, &self.data_dir, &self.data_log_dir) {
            warn!(%problem, "cannot remove some files of a snapshot that was not restored");
        }
    }
}

impl Planted {
    /// From here on the new files count: neither the old log nor the old tree may be open. The next recovery puts them into their place.
    ///
    /// # Errors
    /// [`StoreError::Io`]: the old ones count.
    ///
    /// # Panics
    /// When nobody can tell which count.
    pub fn count(&self) -> Result<(), StoreError> {
        commit_install(&*self.dirs.disk, &self.dirs.data_dir)
    }
}
