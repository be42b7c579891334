//! Promises about local sessions, which only one server knows: those of read-only mode, and new
//! ones if the configuration says so.
//!
//! A local session lives for its timeout after its server last heard from it, by that server's
//! clock, not counting the server's pauses. Until then it goes on at that server when its client
//! comes back. It ends with the kind of service under which it was created. No other server ever
//! knows of it, unless its server has upgraded it to a session of the ensemble. (The end of a run
//! checks that it does end.)

use std::collections::{BTreeMap, BTreeSet};

use crate::check::expiry::Expiry;

#[derive(Clone, Copy, Debug)]
struct Life {
    server: usize,
    timeout_ms: u64,
    heard_ms: u64,
}

/// Checker of local sessions.
#[derive(Debug, Default)]
pub struct Locals {
    lives: BTreeMap<i64, Life>,
    /// All local sessions that ever existed, except those that were upgraded.
    own: BTreeSet<i64>,
    /// Sessions created.
    pub begun: u64,
    /// Sessions upgraded to sessions of the ensemble.
    pub upgraded: u64,
    /// Sessions that expired.
    pub expired: u64,
}

impl Locals {
    /// Notes that a connection of `server` now has the session.
    pub fn attached(&mut self, session: i64, server: usize, timeout_ms: i32, heard_ms: u64) {
        let life = Life { server, timeout_ms: timeout_ms as u64, heard_ms };
        if let Some(former) = self.lives.insert(session, life) {
            assert_eq!(former.server, server, "local: session {session:x} goes on at another server");
            return;
        }
        self.begun += 1;
        assert!(self.own.insert(session), "local: session {session:x} had ended, or its id is given twice");
    }

    /// Notes that a connection of `server` has received a request.
    pub fn heard(&mut self, session: i64, server: usize, now_ms: u64) {
        if let Some(life) = self.lives.get_mut(&session).filter(|life| life.server == server) {
            life.heard_ms = now_ms;
        }
    }

    /// Notes that the client has closed the session.
    pub fn closed(&mut self, session: i64) {
        self.lives.remove(&session);
    }

    /// Notes that the session is about to be upgraded.
    pub fn upgraded(&mut self, session: i64) {
        assert!(self.lives.remove(&session).is_some(), "local: session {session:x} is upgraded, and does not exist");
        self.own.remove(&session);
        self.upgraded += 1;
    }

    /// Notes that the server has stopped, or has changed its kind of service.
    pub fn gone(&mut self, server: usize) {
        self.lives.retain(|_, life| life.server != server);
    }

    /// Checks that a session which the server finds expired was due.
    pub fn expires(&mut self, session: i64, server: usize, now_ms: u64, expiry: &Expiry) {
        let life = self.lives.remove(&session);
        let life = life.unwrap_or_else(|| panic!("local: session {session:x} expires, and does not exist"));
        assert_eq!(life.server, server, "local: session {session:x} expires at another server");
        let is_due = expiry.is_due(server, life.heard_ms, life.timeout_ms, now_ms);
        assert!(is_due, "local: session {session:x} expires early: at {now_ms}, {life:?}");
        self.expired += 1;
    }

    /// Checks that a session which `server` calls invalid does not live there.
    pub fn check_over(&self, session: i64, server: usize) {
        let lives = self.lives.get(&session).is_some_and(|life| life.server == server);
        assert!(!lives, "local: session {session:x} lives, and its client is told otherwise");
    }

    /// Checks a session in the table that all servers share: it must not be local.
    pub fn check_agreed(&self, session: i64) {
        assert!(!self.own.contains(&session), "local: session {session:x} is the ensemble's, and was not upgraded");
    }

    /// Checks the number of local sessions that `server` has.
    pub fn check_count(&self, server: usize, count: usize) {
        let alive = self.lives.values().filter(|life| life.server == server).count();
        assert_eq!(count, alive, "local: server {} has not the sessions that live there", server + 1);
    }

    /// Returns whether no local session lives.
    pub fn is_empty(&self) -> bool {
        self.lives.is_empty()
    }
}
