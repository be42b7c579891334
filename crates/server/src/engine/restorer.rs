//! Restores a snapshot into a running standalone server. The snapshot is read on the caller's
//! thread; then the engine continues from it.

use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc;

use oxkeeper_replica::Shared;
use parking_lot::{Mutex, RwLock};

use super::mailbox::Proposing;
use crate::storage::restore::{Dirs, Replacement, RestoreError, Restored};

/// Replaces a server's data with snapshots, one at a time.
#[derive(Debug)]
pub(crate) struct Restorer {
    dirs: Dirs,
    shared: Arc<RwLock<Shared>>,
    proposing: Arc<Proposing>,
    /// Held during a restore.
    turn: Mutex<()>,
}

impl Restorer {
    /// Returns a restorer for the server whose data is in `dirs`.
    pub(crate) fn new(dirs: Dirs, shared: Arc<RwLock<Shared>>, proposing: Arc<Proposing>) -> Restorer {
        Restorer { dirs, shared, proposing, turn: Mutex::default() }
    }

    /// Reads a snapshot to the end of `stream` and makes it this server's data. Blocks until
    /// clients are served from it.
    pub(crate) fn restore(&self, stream: impl Read) -> Result<Restored, RestoreError> {
        let _turn = self.turn.try_lock().ok_or(RestoreError::Busy)?;
        let seen = self.shared.read().state.zxid();
        let planted = self.dirs.plant(stream, seen)?;
        let restored = Restored { zxid: planted.zxid, differs: planted.differs };
        let (answer, answered) = mpsc::channel();
        self.proposing.replace(Replacement { planted, answer });
        let done = answered.recv().unwrap_or(Err(RestoreError::Stopping));
        if done.is_err() {
            self.dirs.clear();
        }
        done.map(|()| restored)
    }
}
