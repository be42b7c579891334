//! Promises of sessions that only one server knows: those of read-only mode, and new ones where the configuration says so.
//!
//! Such a session lives for its timeout after its server last heard from it, by the clock of that server and not counting the time
//! for which that stood still; until then it goes on there when its client comes back. It does not outlive the service under
//! which it began. No other server ever knows of it, unless its own has made it the ensemble's. (That it does end is asked for at
//! the end of a run.)

use std::collections::{BTreeMap, BTreeSet};

use crate::check::expiry::Expiry;

#[derive(Clone, Copy, Debug)]
struct Life {
    server: usize,
    timeout_ms: u64,
    heard_ms: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Locals {
    lives: BTreeMap<i64, Life>,
    /// All there ever were, but for those that were made the ensemble's.
    own: BTreeSet<i64>,
    /// Sessions that began.
    pub begun: u64,
    /// Sessions that were made the ensemble's.
    pub upgraded: u64,
    /// Sessions that expired.
    pub expired: u64,
}

impl Locals {
    /// A connection of `server` has the session now.
    pub fn attached(&mut self, session: i64, server: usize, timeout_ms: i32, heard_ms: u64) {
        let life = Life { server, timeout_ms: timeout_ms as u64, heard_ms };
        if let Some(former) = self.lives.insert(session, life) {
            assert_eq!(former.server, server, "local: session {session:x} goes on at another server");
            return;
        }
        self.begun += 1;
        assert!(self.own.insert(session), "local: session {session:x} had ended, or its id is given twice");
    }

    /// A connection of `server` has taken in a request.
    pub fn heard(&mut self, session: i64, server: usize, now_ms: u64) {
        if let Some(life) = self.lives.get_mut(&session).filter(|life| life.server == server) {
            life.heard_ms = now_ms;
        }
    }

    /// Its client has closed it.
    pub fn closed(&mut self, session: i64) {
        self.lives.remove(&session);
    }

    /// It is about to be the ensemble's.
    pub fn upgraded(&mut self, session: i64) {
        assert!(self.lives.remove(&session).is_some(), "local: session {session:x} is upgraded, and does not exist");
        self.own.remove(&session);
        self.upgraded += 1;
    }

    /// The server is gone, or serves others than before.
    pub fn gone(&mut self, server: usize) {
        self.lives.retain(|_, life| life.server != server);
    }

    /// The server takes the session for expired.
    pub fn expires(&mut self, session: i64, server: usize, now_ms: u64, expiry: &Expiry) {
        let life = self.lives.remove(&session);
        let life = life.unwrap_or_else(|| panic!("local: session {session:x} expires, and does not exist"));
        assert_eq!(life.server, server, "local: session {session:x} expires at another server");
        let is_due = expiry.is_due(server, life.heard_ms, life.timeout_ms, now_ms);
        assert!(is_due, "local: session {session:x} expires early: at {now_ms}, {life:?}");
        self.expired += 1;
    }

    /// `server` tells the client of a session that it is over.
    pub fn check_over(&self, session: i64, server: usize) {
        let lives = self.lives.get(&session).is_some_and(|life| life.server == server);
        assert!(!lives, "local: session {session:x} lives, and its client is told otherwise");
    }

    /// A session is in the table that all servers have.
    pub fn check_agreed(&self, session: i64) {
        assert!(!self.own.contains(&session), "local: session {session:x} is the ensemble's, and was not upgraded");
    }

    /// `server` knows so many such sessions.
    pub fn check_count(&self, server: usize, count: usize) {
        let alive = self.lives.values().filter(|life| life.server == server).count();
        assert_eq!(count, alive, "local: server {} has not the sessions that live there", server + 1);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lives.is_empty()
    }
}
