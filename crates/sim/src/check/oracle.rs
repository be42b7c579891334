//! What clients and checkers share: the one history there is, who asked for what, and what anyone has seen.
//!
//! Promise: writes are linearizable. What is asked for after a write was answered takes a later zxid; and a sync shows
//! at least every write that was answered when it was asked for. Zxids are the order of the one history: see the model.

use oxkeeper_proto::OpCode;
use oxkeeper_state::Command;

use crate::check::origins::Origins;
use crate::model::Model;

/// See the module.
#[derive(Debug, Default)]
pub struct Oracle {
    /// What must be.
    pub model: Model,
    /// Nothing refused or never sent appears.
    pub origins: Origins,
    /// The highest zxid any client has seen.
    seen_zxid: i64,
    /// The highest zxid of an answered write.
    answered_zxid: i64,
}

impl Oracle {
    /// A command is applied for the first time anywhere.
    pub fn applied(&mut self, command: &Command<'_>, time_ms: i64) {
        let late = self.model.has_moved(command) || self.model.has_ended(command);
        self.origins.applied(command, late);
        self.model.apply(command, time_ms);
    }

    /// A client has seen something of this zxid.
    pub fn seen(&mut self, zxid: i64) {
        self.seen_zxid = self.seen_zxid.max(zxid);
    }

    /// Of a state that has lost nothing.
    pub fn check_seen(&self, zxid: i64) {
        assert!(zxid >= self.seen_zxid, "durable: clients have seen zxid {}, the server is at {zxid}", self.seen_zxid);
    }

    /// The highest zxid of a write that is answered: everything asked for from now on comes behind it.
    pub fn answered_zxid(&self) -> i64 {
        self.answered_zxid
    }

    /// A write or a sync is answered with `zxid`. `floor` is the highest zxid of a write that was answered when it was
    /// asked for.
    pub fn answered(&mut self, op: OpCode, zxid: i64, floor: i64) {
        if op == OpCode::Sync {
            assert!(zxid >= floor, "linearizable: a sync shows zxid {zxid}, but {floor} was answered before it");
        } else {
            assert!(zxid > floor, "linearizable: a write took zxid {zxid}, but {floor} was answered before it");
            self.answered_zxid = self.answered_zxid.max(zxid);
        }
    }
}
