//! Session data that only this server has: the clocks, the connections that hold sessions, and the
//! next id.
//!
//! Source: `SessionTrackerImpl.initializeNextSessionId`.

use std::collections::{HashMap, HashSet};

use foldhash::fast::FixedState;
use oxkeeper_proto::{ServerId, SessionId};
use oxkeeper_state::State;
use oxkeeper_state::znode::Owner;

use crate::clocks::{Clocks, Heard};
use crate::delivery::ConnectionId;

/// Clocks, holders and ids of sessions.
#[derive(Debug)]
pub struct SessionTable {
    /// Expiry of each session.
    pub clocks: Clocks,
    /// Expiry of sessions that are not agreed on and that only this server knows, such as those of
    /// read-only mode.
    pub local: Clocks,
    holders: HashMap<SessionId, ConnectionId, FixedState>,
    /// The last connection that asked for a session, until that is settled.
    asking: HashMap<SessionId, ConnectionId, FixedState>,
    /// Sessions whose connections have ended and which were heard since the leader was last told.
    departed: HashSet<SessionId, FixedState>,
    next_id: i64,
}

impl SessionTable {
    /// Creates a table. Ids start from `wall_ms`, but above every id of a session of `state`, even
    /// if that session has ended and the clock was set back since.
    pub fn new(server_id: ServerId, wall_ms: i64, state: &State, clocks: Clocks) -> SessionTable {
        let start_ms = u64::try_from(wall_ms).unwrap_or(0);
        let by_time = first_id(server_id, start_ms);
        let newest = state.sessions().newest(server_id);
        let next_id = newest.map_or(by_time, |newest| by_time.max(newest.0 + 1));
        let hasher = FixedState::with_seed(start_ms);
        let holders = HashMap::with_hasher(hasher.clone());
        let asking = HashMap::with_hasher(hasher.clone());
        let local = clocks.emptied(0);
        SessionTable { clocks, local, holders, asking, departed: HashSet::with_hasher(hasher), next_id }
    }

    /// Raises the next id, in an ensemble: sessions whose ids a former start of this server
    /// assigned may yet be created. `boot` is greater than that of every former start, which the
    /// wall clock need not be.
    pub fn start(&mut self, server_id: ServerId, boot: u64) {
        self.next_id = self.next_id.max(first_id(server_id, boot));
    }

    /// Keeps the next id of `former` after another state has replaced its state, which may know
    /// sessions that the new state does not: their ids are not assigned again.
    pub fn succeed(&mut self, former: &SessionTable) {
        self.next_id = self.next_id.max(former.next_id);
    }

    /// Returns an id that no session ever had, and that stands for an ephemeral znode in the owner
    /// field of a znode.
    pub fn next_id(&mut self) -> SessionId {
        while Owner(self.next_id).session().is_none() {
            self.next_id += 1;
        }
        let id = SessionId(self.next_id);
        self.next_id += 1;
        id
    }

    /// Makes `connection` the holder of the session. Returns the previous holder.
    pub fn hold(&mut self, session: SessionId, connection: ConnectionId) -> Option<ConnectionId> {
        self.holders.insert(session, connection)
    }

    /// Returns the holder of the session.
    pub fn holder(&self, session: SessionId) -> Option<ConnectionId> {
        self.holders.get(&session).copied()
    }

    /// Notes that `connection` has ended; the session may have moved already.
    pub fn let_go(&mut self, session: SessionId, connection: ConnectionId) {
        self.settle(session, connection);
        if self.holder(session) == Some(connection) {
            self.holders.remove(&session);
            // The last time it was heard counts as much as earlier ones.
            if self.clocks.take_touched(session) {
                self.departed.insert(session);
            }
        }
    }

    /// Notes that `connection` asks for the session: from now on no other connection of this server
    /// acts for it.
    pub fn take_over(&mut self, session: SessionId, connection: ConnectionId) {
        self.clocks.take_over(session);
        self.asking.insert(session, connection);
    }

    /// Returns whether `connection` may act for the session: no other connection holds it, or asks
    /// for it.
    pub fn may_speak(&self, session: SessionId, connection: ConnectionId) -> bool {
        let other = |who: Option<&ConnectionId>| who.is_some_and(|&who| who != connection);
        !other(self.holders.get(&session)) && !other(self.asking.get(&session))
    }

    /// Settles what `connection` asked for.
    pub fn settle(&mut self, session: SessionId, connection: ConnectionId) {
        if self.asking.get(&session) == Some(&connection) {
            self.asking.remove(&session);
        }
    }

    /// Resumes the session, as agreed: at `connection`, or, if that is `None`, at another server.
    /// Returns the previous holder.
    pub fn resume(
        &mut self,
        session: SessionId,
        timeout_ms: i32,
        connection: Option<ConnectionId>,
        now_ms: u64,
    ) -> Option<ConnectionId> {
        self.clocks.resume(session, timeout_ms, now_ms);
        match connection {
            Some(connection) => {
                self.settle(session, connection);
                self.hold(session, connection)
            }
            None => self.holders.remove(&session),
        }
    }

    /// Returns the sessions of this server's clients, including those that are coming back, that
    /// were heard since the last call; for the leader's clocks.
    pub fn take_touched(&mut self) -> Vec<SessionId> {
        let mut touched: Vec<_> = self.departed.drain().collect();
        let known = self.holders.keys().chain(self.asking.keys());
        touched.extend(known.filter(|&&session| self.clocks.take_touched(session)));
        touched
    }

    /// Begins a session that only this server knows, at `connection`.
    pub(crate) fn begin_local(&mut self, timeout_ms: i32, connection: ConnectionId, now_ms: u64) -> (SessionId, Heard) {
        let session = self.next_id();
        self.local.open(session, timeout_ms, now_ms);
        self.hold(session, connection);
        (session, self.local.attach(session, timeout_ms, now_ms).expect("it has just begun"))
    }

    /// Ends the expired sessions that only this server knows, and returns their holders.
    pub fn expire_local(&mut self, now_ms: u64) -> Vec<(SessionId, Option<ConnectionId>)> {
        let expired = self.local.tick(now_ms);
        expired.into_iter().map(|session| (session, self.close_local(session))).collect()
    }

    /// Ends a session that only this server knows, and returns its holder.
    pub(crate) fn close_local(&mut self, session: SessionId) -> Option<ConnectionId> {
        self.local.close(session);
        self.holders.remove(&session)
    }

    /// Ends the session, and returns its holder.
    pub fn close(&mut self, session: SessionId) -> Option<ConnectionId> {
        self.clocks.close(session);
        self.departed.remove(&session);
        self.holders.remove(&session)
    }
}

/// Returns the first id: the server in the top byte, then 40 bits of time, then a counter that may
/// overflow into the time.
///
/// For server 255 one bit of the time is always set: without it, ids could look like owners of TTL
/// znodes.
// ZooKeeper: has no such bit, and a server 255 with TTL znodes does not serve.
fn first_id(server_id: ServerId, time_ms: u64) -> i64 {
    let unlike_ttl = if server_id == ServerId(u8::MAX) { UNLIKE_TTL } else { 0 };
    (i64::from(server_id.0) << 56) | ((time_ms << 24) >> 8) as i64 | unlike_ttl
}

const UNLIKE_TTL: i64 = 1 << 55;

#[cfg(test)]
mod tests {
    use oxkeeper_proto::OpCode;
    use oxkeeper_state::{Command, Identities, Settings};

    use super::*;

    fn apply(state: &mut State, session: SessionId, op: OpCode) {
        let (settings, identities) = (Settings::default(), Identities::default());
        let command = Command { from: None, session, xid: 0, op, settings, identities, body: &1000i32.to_be_bytes() };
        state.apply(&command, 0, &mut Vec::new(), &mut ()).unwrap();
    }

    #[test]
    fn an_id_is_not_given_twice_when_the_clock_was_set_back() {
        let mut state = State::new(1);
        let table = |wall_ms, state: &State| SessionTable::new(ServerId(1), wall_ms, state, Clocks::new(100, 0));
        let first = table(5_000, &state).next_id();
        apply(&mut state, first, OpCode::CreateSession);
        apply(&mut state, first, OpCode::CloseSession);
        for wall_ms in [5_000, 4_000] {
            assert!(table(wall_ms, &state).next_id() > first, "{wall_ms}");
        }
    }

    #[test]
    fn no_id_looks_like_another_kind_of_owner() {
        let state = State::new(1);
        // Times at which the time bits do not tell an id apart from other owners (as in ZooKeeper
        // after a start): 0, that of a container, those of TTL znodes.
        for wall_ms in [0, 1 << 24, 1 << 40, 1_800_000_000_000] {
            for server in 0..=u8::MAX {
                let mut table = SessionTable::new(ServerId(server), wall_ms, &state, Clocks::new(100, 0));
                let (id, next) = (table.next_id(), table.next_id());
                assert_eq!((id.0 >> 56) as u8, server, "{id:?}");
                assert!(Owner(id.0).session().is_some() && next > id, "{id:?}, {next:?}");
            }
        }
    }

    #[test]
    fn an_id_that_is_under_way_is_not_given_again() {
        let state = State::new(1);
        let start = |boot, wall_ms| {
            let mut table = SessionTable::new(ServerId(2), wall_ms, &state, Clocks::new(100, 0));
            table.start(ServerId(2), boot);
            table
        };
        let under_way = start(5_000, 5_000).next_id();
        assert!(start(5_001, 3_000).next_id() > under_way, "the clock was set back, nothing is agreed on yet");
    }

    #[test]
    fn an_id_that_a_replaced_state_knew_is_not_given_again() {
        let state = State::new(1);
        let table = |wall_ms| SessionTable::new(ServerId(1), wall_ms, &state, Clocks::new(100, 0));
        let mut former = table(5_000);
        let known = former.next_id();
        let mut restored = table(4_000);
        restored.succeed(&former);
        assert!(restored.next_id() > known, "the clock was set back");
    }
}
