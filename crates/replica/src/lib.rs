//! The behaviour of one server, including the state that only this server has. Bytes and times in,
//! bytes and commands out.
//!
//! Pure: no I/O, clock, randomness or threads. The one lock here lets threads that share the state
//! for reading register watches; a single-threaded simulation never waits for it.
//!
//! * [`connection`]: one client connection: frames in, replies and commands out, in order.
//! * [`client_io`]: the bytes of a connection: input not handled, output not sent, and its end.
//! * `request`: the requests of a connection. `reading`: reads. `reads_ahead`: reads that travel
//!   with a later write.
//! * [`watches`]: the watches of this server's clients.
//! * [`clocks`]: the time at which each session was last heard, and its expiry.
//! * [`local`]: sessions that only this server knows.
//! * [`session_table`]: the connection that holds each session.
//! * [`applier`]: applies agreed commands, and writes the deliveries to each connection, in order.
//! * [`engine`]: the turns of a server.
//! * `withheld`: deliveries that wait until the voters of the next configuration have begun.
//! * [`ensemble`]: the messages between the servers of an ensemble, and the log that they agree on.
//! * [`outside`]: requests of an engine to its driver, and its events.
//! * [`auth`]: schemes of authentication. [`stats`]: counters of connections.
//! * [`load`]: limits on the requests under way on all connections together.
//! * [`audit`]: the audit log of changes, as lines.
//! * [`delivery`]: deliveries of the applier to connections.
//!
//! Not here: the effect of a command (`oxkeeper-state`), and sockets, files and threads
//! (`oxkeeper-server`).

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
pub mod outside;
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

/// Clients that a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// None: the server cannot reach a quorum.
    No,
    /// Clients that accept reads only, from its last known state: it has been without a quorum for
    /// a while.
    ReadOnly,
    /// All clients.
    Yes,
}

/// State that readers and the applier share: readers under a shared lock, the applier under an
/// exclusive one.
///
/// Lock order: the state, then `sessions`, then `watches`.
#[derive(Debug)]
pub struct Shared {
    /// The state that every server agrees on.
    pub state: State,
    /// The session data that only this server has.
    pub sessions: Mutex<SessionTable>,
    /// The watches of this server's clients.
    pub watches: Mutex<Watches>,
    /// The clients whose sessions are created and resumed. Set by [`Shared::serve`].
    pub serving: Serving,
}

impl Shared {
    /// Creates the shared state without connections; every session of `state` gets its full timeout
    /// anew.
    pub fn new(state: State, settings: Settings, mut sessions: SessionTable, now_ms: u64) -> Shared {
        for (id, session) in state.sessions().iter() {
            sessions.clocks.open(id, session.timeout_ms, now_ms);
        }
        let seed = state.tree().seed();
        let watches = Mutex::new(Watches::new(settings, seed));
        Shared { state, sessions: Mutex::new(sessions), watches, serving: Serving::Yes }
    }

    /// Checks every invariant of the shared data, except the state's own. Panics with the one that
    /// is broken.
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

    /// Changes which clients are served. Sessions that only this server knows end with that.
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
