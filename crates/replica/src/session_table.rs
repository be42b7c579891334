//! What only this server knows of sessions: their clocks, the connections that hold them, and the next id.
//!
//! Source: `SessionTrackerImpl.initializeNextSessionId`.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use oxkeeper_proto::SessionId;

use crate::clocks::Clocks;
use crate::delivery::ConnectionId;

/// Clocks, holders, ids.
#[derive(Debug)]
pub struct SessionTable {
    /// When each session expires.
    pub clocks: Clocks,
    holders: HashMap<SessionId, ConnectionId, FixedState>,
    next_id: i64,
}

impl SessionTable {
    /// `start_ms` is a wall-clock time; `newest` is the highest id of a session that exists, so that ids do not repeat
    /// even when that clock was set back.
    pub fn new(server_id: u8, start_ms: u64, newest: Option<SessionId>, clocks: Clocks) -> SessionTable {
        // Top byte the server, then 40 bits of time, then a counter that may overflow into the time.
        let by_time = (i64::from(server_id) << 56) | ((start_ms << 24) >> 8) as i64;
        let same_server = newest.filter(|newest| newest.0 >> 56 == i64::from(server_id));
        let next_id = same_server.map_or(by_time, |newest| by_time.max(newest.0 + 1));
        SessionTable { clocks, holders: HashMap::with_hasher(FixedState::with_seed(start_ms)), next_id }
    }

    /// An id no session ever had.
    pub fn next_id(&mut self) -> SessionId {
        let id = SessionId(self.next_id);
        self.next_id += 1;
        id
    }

    /// `connection` holds the session from now on; who held it before.
    pub fn hold(&mut self, session: SessionId, connection: ConnectionId) -> Option<ConnectionId> {
        self.holders.insert(session, connection)
    }

    /// Who holds the session.
    pub fn holder(&self, session: SessionId) -> Option<ConnectionId> {
        self.holders.get(&session).copied()
    }

    /// `connection` has ended; the session may have moved on already.
    pub fn let_go(&mut self, session: SessionId, connection: ConnectionId) {
        if self.holder(session) == Some(connection) {
            self.holders.remove(&session);
        }
    }

    /// The session is over; who held it.
    pub fn close(&mut self, session: SessionId) -> Option<ConnectionId> {
        self.clocks.close(session);
        self.holders.remove(&session)
    }
}
