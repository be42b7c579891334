//! The interface of the engine to its driver: its requests and its events. A checker of the
//! simulator sees what an operator sees.

use oxkeeper_proto::{ServerId, SessionId};
use oxkeeper_state::{Expendable, Level};
use parking_lot::RwLockWriteGuard;

use crate::connection::Takeover;
use crate::{Applier, Serving, Shared};

/// Event that the engine reports.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A session of the ensemble has expired by the leader's clocks: its end is proposed.
    SessionExpired {
        /// The session.
        session: SessionId,
        /// Ephemeral znodes that it owns.
        ephemerals: usize,
    },
    /// A session that only this server knows has expired.
    LocalSessionExpired {
        /// The session.
        session: SessionId,
        /// The connection that holds it, which must end.
        holder: Option<Takeover>,
    },
    /// The deletion of a container or TTL znode is proposed.
    Reaped(&'a Expendable),
    /// The server serves other clients than before.
    Serving {
        /// The former clients.
        former: Serving,
        /// The clients from now on.
        now: Serving,
    },
    /// A standalone server has raised the feature level of its data.
    LevelRaised(Level),
    /// The disk of a standalone server is full: an entry was refused, and every client that waits
    /// for it is told.
    DiskFull,
    /// The leader's disk stands still: another server is asked to lead.
    DiskStalled {
        /// Duration of the stall so far, ms.
        stalled_ms: u64,
    },
}

/// Driver of an engine.
pub trait Outside {
    /// Adds a frame to those that leave for `peer`. Without a link it is dropped.
    fn send(&mut self, peer: ServerId, frame: Vec<u8>);

    /// Lets all added frames leave.
    fn flush(&mut self);

    /// Ends the link to `peer` and gives `why` as the reason.
    fn end_link(&mut self, peer: ServerId, why: &str);

    /// Takes the applier's outboxes, before it unlocks the state. If `entry` is set, this completes
    /// the application of that entry.
    fn deliver(&mut self, applier: &mut Applier, locked: RwLockWriteGuard<'_, Shared>, entry: Option<&[u8]>);

    /// Returns whether entries may be applied that this server's disk does not have. A call to
    /// [`Outside::note_ahead`] follows.
    fn may_run_ahead(&mut self) -> bool {
        true
    }

    /// Notes whether entries are applied that this server's disk does not have.
    fn note_ahead(&mut self, _is_ahead: bool) {}

    /// Notes that nothing was applied for a tick.
    fn idle(&mut self) {}

    /// Returns the index below which nothing outside needs entries, because a checkpoint holds
    /// them.
    fn spent(&mut self) -> u64;

    /// Handles an event.
    fn happened(&mut self, event: Event<'_>);
}
