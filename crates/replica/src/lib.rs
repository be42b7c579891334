//! One server's behaviour: what only this server knows. Bytes and times in, bytes and commands out.
//!
//! Pure: no I/O, clock, randomness or threads. The one lock here lets threads that share the state for reading register
//! watches; a simulation in one thread never waits for it.
//!
//! * [`connection`]: one client connection: frames in, replies and commands out, in order.
//! * [`client_io`]: its bytes: what is not handled, what is not sent, and how it ends.
//! * [`watches`]: who wants to know of which change.
//! * [`clocks`]: when a session was last heard of, and when it expires.
//! * [`local`]: sessions that only this server knows.
//! * [`session_table`]: which connection holds which session.
//! * [`applier`]: applies what was agreed on, and tells each connection what it must hear, in order.
//! * [`engine`]: a server's turns.
//! * `withheld`: what a connection hears only when those who vote from now on have begun.
//! * [`ensemble`]: what servers of an ensemble say to each other and agree on.
//! * [`load`]: what all connections together may have under way.
//! * [`audit`]: who changed what, as lines.
//! * [`delivery`]: what the applier has to say to connections.
//!
//! Deliberately absent: what a command does (`oxkeeper-state`), sockets, files and threads (`oxkeeper-server`).

pub mod applier;
pub mod audit;
pub mod auth;
pub mod client_io;
pub mod clocks;
pub mod connection;
pub mod delivery;
pub mod engine;
pub mod ensemble;
pub mod load;
pub mod local;
mod reading;
mod reads_ahead;
mod request;
pub mod session_table;
pub mod stats;
pub mod watches;
mod withheld;

use oxkeeper_state::{Settings, State};
use parking_lot::Mutex;

pub use applier::Applier;
pub use clocks::Clocks;
pub use connection::{Connection, ConnectionConfig, End, Flow, Takeover, Turn};
pub use delivery::{ConnectionId, Delivery, DeliveryKind, Origin, Outbox, Proposals, ReadsAhead};
pub use load::Load;
pub use local::LocalSessions;
pub use session_table::SessionTable;
pub use watches::Watches;

/// Whom a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// Nobody: it cannot reach a quorum.
    No,
    /// Clients that will do with reads, from what it last knew: it has been without a quorum for a while.
    ReadOnly,
    /// Everybody.
    Yes,
}

/// What readers and the applier share: readers under a shared lock, the applier under an exclusive one.
///
/// Lock order: the state, then `sessions`, then `watches`.
#[derive(Debug)]
pub struct Shared {
    /// What every server agrees on.
    pub state: State,
    /// What only this server knows of sessions.
    pub sessions: Mutex<SessionTable>,
    /// Who wants to know of which change.
    pub watches: Mutex<Watches>,
    /// Whose sessions are begun and resumed. Set by [`Shared::serve`].
    pub serving: Serving,
}

impl Shared {
    /// Nobody is connected yet; every session of `state` gets its full timeout anew.
    pub fn new(state: State, settings: Settings, mut sessions: SessionTable, now_ms: u64) -> Shared {
        for (id, session) in state.sessions().iter() {
            sessions.clocks.open(id, session.timeout_ms, now_ms);
        }
        let seed = state.tree().seed();
        let watches = Mutex::new(Watches::new(settings, seed));
        Shared { state, sessions: Mutex::new(sessions), watches, serving: Serving::Yes }
    }

    /// Checks every invariant of what is shared, but for the state's own. Panics with what is broken.
    pub fn check(&self) {
        let sessions = self.sessions.lock();
        sessions.clocks.check();
        sessions.local.check();
        let (known, clocks) = (self.state.sessions().len(), sessions.clocks.len());
        assert!(known == clocks, "invariant: there are {known} sessions, and {clocks} clocks");
        for (session, _) in self.state.sessions().iter() {
            assert!(sessions.clocks.knows(session), "invariant: {session:?} has no clock");
            assert!(!sessions.local.knows(session), "invariant: {session:?} is agreed on, and is this server's own");
        }
        drop(sessions);
        self.watches.lock().check();
    }

    /// Serves others than before. Sessions that only this server knows do not outlive that.
    pub fn serve(&mut self, serving: Serving, now_ms: u64) {
        self.serving = serving;
        let sessions = self.sessions.get_mut();
        sessions.local = sessions.local.emptied(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use oxkeeper_proto::{ServerId, SessionId};

    use super::*;
    use crate::ensemble::check::tests::assert_found;

    #[test]
    fn what_is_wrong_in_what_is_shared_is_found() {
        let shared = || {
            let state = State::new(1);
            let sessions = SessionTable::new(ServerId(1), 0, &state, Clocks::new(100, 0));
            Shared::new(state, Settings::default(), sessions, 0)
        };
        assert_found(
            shared,
            |shared| shared.check(),
            &[("there are 0 sessions, and 1 clocks", |it| it.sessions.get_mut().clocks.open(SessionId(1), 100, 0))],
        );
    }
}
