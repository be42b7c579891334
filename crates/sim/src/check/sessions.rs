//! Promise: a session lives for its timeout after the server last heard from it, not counting the
//! server's pauses, and at most [`LATE_TICKS`] ticks longer. It ends once, by expiry or because its
//! client asked for it, and its ephemerals end with it.
//!
//! The server hears from a session when its connection receives a request. A pause counts if it is
//! longer than [`PAUSE_HALF_TICKS`] half ticks. A server that is too busy to look at its clocks for
//! that long may take it for a pause; then sessions get at most their full timeout again.

use std::collections::BTreeMap;

use oxkeeper_proto::{Jute, OpCode};
use oxkeeper_replica::End;
use oxkeeper_state::Command;

use crate::connections::Witness;
use crate::model::Model;

/// Ticks by which a session may end late.
const LATE_TICKS: u64 = 3;
/// Half ticks above which the server must notice a pause.
const PAUSE_HALF_TICKS: u64 = 3;

#[derive(Debug)]
struct Life {
    /// Timeout at creation, which a restart restores.
    created_timeout_ms: u64,
    timeout_ms: u64,
    heard_ms: u64,
    /// Pauses of the server since it last heard from the session, ms.
    paused_ms: u64,
    /// Whether the session is about to end: nothing renews it.
    over: bool,
}

/// Lives of all existing sessions.
#[derive(Debug)]
pub struct Sessions {
    tick_ms: u64,
    lives: BTreeMap<i64, Life>,
    last_look_ms: u64,
    /// Time at which the server last looked at its clocks after a long gap, ms.
    excused_ms: u64,
}

impl Sessions {
    /// Creates a checker without sessions.
    pub fn new(tick_ms: u64) -> Sessions {
        Sessions { tick_ms, lives: BTreeMap::new(), last_look_ms: 0, excused_ms: 0 }
    }

    /// Notes a command that creates or closes a session.
    pub fn applied(&mut self, command: &Command<'_>, now_ms: u64) {
        let session = command.session.0;
        if command.op == OpCode::CreateSession {
            let timeout_ms = i32::from_bytes(command.body).expect("a timeout") as u64;
            let created_timeout_ms = timeout_ms;
            let life = Life { created_timeout_ms, timeout_ms, heard_ms: now_ms, paused_ms: 0, over: false };
            self.lives.insert(session, life);
        } else if command.op == OpCode::CloseSession {
            let life = self.lives.remove(&session);
            // Closing a session that has already ended does nothing.
            assert!(life.is_none_or(|life| life.over), "sessions: {session:x} is closed for no reason");
        }
    }

    /// Notes that the server was paused.
    pub fn paused(&mut self, pause_ms: u64) {
        if pause_ms * 2 > PAUSE_HALF_TICKS * self.tick_ms {
            self.lives.values_mut().for_each(|life| life.paused_ms += pause_ms);
        }
    }

    /// Checks the sessions that the server finds expired when it looks at its clocks.
    pub fn looked(&mut self, expired: impl Iterator<Item = i64>, now_ms: u64) {
        let gap_ms = now_ms - self.last_look_ms;
        self.last_look_ms = now_ms;
        if gap_ms * 2 > PAUSE_HALF_TICKS * self.tick_ms {
            self.excused_ms = now_ms;
        }
        for session in expired {
            let life = self.lives.get_mut(&session);
            let life = life.unwrap_or_else(|| panic!("sessions: {session:x} expires and does not exist"));
            assert!(!life.over, "sessions: {session:x} expires twice");
            let due_ms = life.heard_ms + life.timeout_ms + life.paused_ms;
            assert!(now_ms >= due_ms, "sessions: {session:x} expires early: at {now_ms}, due at {due_ms}: {life:?}");
            life.over = true;
        }
        for (session, life) in self.lives.iter().filter(|(_, life)| !life.over) {
            let from_ms = life.heard_ms.max(self.excused_ms);
            let latest_ms = from_ms + life.timeout_ms + LATE_TICKS * self.tick_ms;
            assert!(now_ms <= latest_ms, "sessions: {session:x} lives on at {now_ms}: {life:?}");
        }
    }

    /// Checks that a session which the server calls invalid has ended. (A crash before its end is
    /// durable may revive it.)
    pub fn check_over(&self, session: i64) {
        let over = self.lives.get(&session).is_none_or(|life| life.over);
        assert!(over, "sessions: {session:x} lives, and its client is told otherwise");
    }

    /// Notes that the server has started: every session has its full timeout again.
    pub fn restarted(&mut self, model: &Model, now_ms: u64) {
        (self.last_look_ms, self.excused_ms) = (now_ms, now_ms);
        self.lives.retain(|session, _| model.sessions.contains(session));
        for life in self.lives.values_mut() {
            life.timeout_ms = life.created_timeout_ms;
            (life.heard_ms, life.paused_ms, life.over) = (now_ms, 0, false);
        }
    }
}

impl Witness for Sessions {
    fn heard(&mut self, session: i64, now_ms: u64) {
        if let Some(life) = self.lives.get_mut(&session) {
            (life.heard_ms, life.paused_ms) = (now_ms, 0);
        }
    }

    fn attached(&mut self, session: i64, timeout_ms: i32, now_ms: u64) {
        let life = self.lives.get_mut(&session);
        let life = life.unwrap_or_else(|| panic!("sessions: {session:x} has ended and is taken over"));
        assert!(!life.over, "sessions: {session:x} is to end and is taken over");
        life.timeout_ms = timeout_ms as u64;
        (life.heard_ms, life.paused_ms) = (now_ms, 0);
    }

    fn closing(&mut self, session: i64) {
        if let Some(life) = self.lives.get_mut(&session) {
            life.over = true;
        }
    }

    fn ends(&mut self, end: &End) {
        if let End::SessionExpired(session) = end {
            return self.check_over(session.0);
        }
        let expected = matches!(end, End::SessionClosed | End::Disconnected);
        assert!(expected, "the server ends a connection: {end}");
    }
}
