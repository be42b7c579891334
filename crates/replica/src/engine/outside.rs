//! The engine's side of its driver: what it needs done, and what it tells. A checker of the simulator sees what an operator sees.

use oxkeeper_proto::{ServerId, SessionId};
use oxkeeper_state::{Expendable, Level};
use parking_lot::RwLockWriteGuard;

use crate::connection::Takeover;
use crate::{Applier, Serving, Shared};

/// Something that has happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A session of the ensemble is over by the leader's clocks: its end is proposed.
    SessionExpired {
        /// The session.
        session: SessionId,
        /// Ephemeral znodes that it owns.
        ephemerals: usize,
    },
    /// A session that only this server knows is over.
    LocalSessionExpired {
        /// The session.
        session: SessionId,
        /// The connection that holds it, which is to end.
        holder: Option<Takeover>,
    },
    /// A container or TTL znode is proposed to be deleted.
    Reaped(&'a Expendable),
    /// Others are served than before.
    Serving {
        /// Before.
        former: Serving,
        /// From now on.
        now: Serving,
    },
    /// A standalone server has raised the feature level of its data.
    LevelRaised(Level),
    /// The disk of a standalone server is full: an entry was refused, and everybody who waits for it is told so.
    DiskFull,
    /// The leader's disk stands still: another server is asked to lead.
    DiskStalled {
        /// For so long, ms.
        stalled_ms: u64,
    },
}

/// The driver of an engine.
pub trait Outside {
    /// Adds a frame to what leaves for `peer`. Without a link it is dropped.
    fn send(&mut self, peer: ServerId, frame: Vec<u8>);

    /// All that was added may leave.
    fn flush(&mut self);

    /// Ends the link to `peer`, which is told as the link's end.
    fn end_link(&mut self, peer: ServerId, why: &str);

    /// Takes the applier's outboxes, before it unlocks the state. If `entry` is there, it is applied as a whole with this.
    fn deliver(&mut self, applier: &mut Applier, locked: RwLockWriteGuard<'_, Shared>, entry: Option<&[u8]>);

    /// Whether entries may be applied that this server's disk does not have. [`Outside::note_ahead`] follows.
    fn may_run_ahead(&mut self) -> bool {
        true
    }

    /// Whether entries are applied that this server's disk does not have.
    fn note_ahead(&mut self, _is_ahead: bool) {}

    /// Nothing was applied for a tick.
    fn idle(&mut self) {}

    /// Entries below this index are needed by nobody outside: a checkpoint holds them.
    fn spent(&mut self) -> u64;

    /// Something has happened.
    fn happened(&mut self, event: Event<'_>);
}
