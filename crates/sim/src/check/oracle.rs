//! The oracle that clients and checkers share: the one history, the origin of each request, and
//! what any client has seen.
//!
//! Promise: writes are linearizable. A write that is requested after another write was answered
//! takes a later zxid, and a sync shows at least every write that was answered when the sync was
//! requested. The order of zxids is the order of the one history: see the model.

use oxkeeper_proto::OpCode;
use oxkeeper_state::Command;

use crate::check::origins::Origins;
use crate::model::Model;

/// Shared knowledge of clients and checkers.
#[derive(Debug, Default)]
pub struct Oracle {
    /// Expected history.
    pub model: Model,
    /// Checks that nothing refused, and nothing that was never sent, appears.
    pub origins: Origins,
    /// The highest zxid any client has seen.
    seen_zxid: i64,
    /// The highest zxid of an answered write.
    answered_zxid: i64,
}

impl Oracle {
    /// Applies a command that is applied for the first time on any server.
    pub fn applied(&mut self, command: &Command<'_>, time_ms: i64) {
        let late = self.model.has_moved(command) || self.model.has_ended(command);
        self.origins.applied(command, late);
        self.model.apply(command, time_ms);
    }

    /// Notes that a client has seen this zxid.
    pub fn seen(&mut self, zxid: i64) {
        self.seen_zxid = self.seen_zxid.max(zxid);
    }

    /// Checks that a state at `zxid` has lost nothing that clients have seen.
    pub fn check_seen(&self, zxid: i64) {
        assert!(zxid >= self.seen_zxid, "durable: clients have seen zxid {}, the server is at {zxid}", self.seen_zxid);
    }

    /// Returns the highest zxid of an answered write: every write requested from now on must take a
    /// later one.
    pub fn answered_zxid(&self) -> i64 {
        self.answered_zxid
    }

    /// Checks the reply to a write or a sync, which has `zxid`. `floor` is the highest zxid of a
    /// write that was answered when the request was made.
    pub fn answered(&mut self, op: OpCode, zxid: i64, floor: i64) {
        if op == OpCode::Sync {
            assert!(zxid >= floor, "linearizable: a sync shows zxid {zxid}, but {floor} was answered before it");
        } else {
            assert!(zxid > floor, "linearizable: a write took zxid {zxid}, but {floor} was answered before it");
            self.answered_zxid = self.answered_zxid.max(zxid);
        }
    }
}
