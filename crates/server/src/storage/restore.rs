//! Replaces the data of a running standalone server with a snapshot.
//!
//! There are two steps. `Restorer::restore`, on a separate thread, reads and verifies the whole
//! stream and writes the files of the new state next to the current ones while the server keeps
//! serving. Then the engine ends its incarnation, makes the new files effective
//! ([`Planted::count`]) and begins the next incarnation from them (`engine/incarnation.rs`).
//! This module owns `incoming` and `incoming-log` while it writes them. Invariant: if the process
//! or the machine stops at any point, the next start has either the old data or the new, complete.
//! A single rename decides; `durable/src/transfer/install.rs` has the argument. Source:
//! `Commands.RestoreCommand`, `ZooKeeperServer#restoreFromSnapshot`; the files, the order and the
//! epoch are ours.

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

/// Reason why nothing was restored. The old data stays in effect.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The input is not a complete, valid snapshot.
    #[error("what was sent {0}")]
    Snapshot(#[from] Problem),
    /// The new files cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No zxid is left after those that clients have seen.
    #[error("no epoch of zxids is left after zxid {zxid}")]
    LastEpoch {
        /// The later of the snapshot's zxid and this server's.
        zxid: Zxid,
    },
    /// Another restore is in progress.
    #[error("another snapshot is being restored")]
    Busy,
    /// This server's own zxids have advanced into the epoch meant for the restored data.
    #[error("this server's zxids reached the next epoch meanwhile; restore again")]
    Overtaken,
    /// The server is stopping.
    #[error("the server stops")]
    Stopping,
}

/// Data directories of a standalone server.
#[derive(Clone, Debug)]
pub struct Dirs {
    /// The disk that holds the files.
    pub disk: Arc<dyn Disk>,
    /// `dataDir`.
    pub data_dir: PathBuf,
    /// `dataLogDir`, or `dataDir` if that is not set.
    pub data_log_dir: PathBuf,
    /// Hash seed, against crafted collisions of paths.
    pub seed: u64,
}

/// Files of a new state next to the current ones: complete and durable, but not yet in effect.
#[derive(Debug)]
pub struct Planted {
    dirs: Dirs,
    /// Zxid at which the new state begins.
    pub(crate) begin: Zxid,
    /// Zxid of the snapshot.
    pub zxid: Zxid,
    /// The tree does not match the digest in the snapshot.
    pub(crate) differs: bool,
}

/// Files waiting for the engine, and the channel for its answer.
#[derive(Debug)]
pub(crate) struct Replacement {
    pub(crate) planted: Planted,
    pub(crate) answer: Channel<Result<(), RestoreError>>,
}

/// Outcome of a restore.
pub(crate) struct Restored {
    /// The last transaction in the snapshot.
    pub(crate) zxid: Zxid,
    /// The tree does not match the digest in the snapshot.
    pub(crate) differs: bool,
}

impl Dirs {
    /// Writes the new files. `seen` is the last zxid that clients have seen.
    ///
    /// # Errors
    /// Any [`RestoreError`]; the written files are removed.
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
        // The server refuses clients that have seen a later zxid than its own.
        if !state.leave_epoch(seen) {
            return Err(RestoreError::LastEpoch { zxid: zxid.max(seen) });
        }
        info!(%zxid, znodes = state.tree().len(), sessions = kept.sessions, begin = %state.zxid(), "read a sound snapshot");
        Ok((state, Restored { zxid, differs }))
    }

    fn write(&self, state: &mut State) -> Result<(), StoreError> {
        // This server's recovery has completed any installation.
        assert!(begin_install(&*self.disk, &self.data_dir, &self.data_log_dir)?, "nothing waits to be installed");
        fill_log(&self.disk, &self.data_log_dir.join(INCOMING_LOG))?;
        fill_tree(&self.disk, &self.data_dir.join(INCOMING), state, |_| ())
    }

    /// Removes the files of a failed restore. The next attempt or the next start removes any that
    /// remain.
    pub(crate) fn clear(&self) {
        if let Err(problem) = remove_leftovers(&*self.disk, &self.data_dir, &self.data_log_dir) {
            warn!(%problem, "cannot remove some files of a snapshot that was not restored");
        }
    }
}

impl Planted {
    /// Makes the new files effective. Neither the old log nor the old tree may be open. The next
    /// recovery moves the files into place.
    ///
    /// # Errors
    /// [`StoreError::Io`]: the old files stay in effect.
    ///
    /// # Panics
    /// If it is unknown which files are in effect.
    pub fn count(&self) -> Result<(), StoreError> {
        commit_install(&*self.dirs.disk, &self.dirs.data_dir)
    }
}
