//! Promise: every command that is applied was requested, once, by the client that is named as its
//! origin; a refused request is never applied; and the requests of a session are applied in the
//! order in which they were sent.

use std::collections::{BTreeMap, BTreeSet};

use oxkeeper_proto::OpCode;
use oxkeeper_state::{Command, reconfig};

/// Identity of a request: session and xid. Clients of the simulation never use an xid twice in a
/// session.
type Name = (i64, i32);

/// Requests that were sent, refused and applied.
#[derive(Debug, Default)]
pub struct Origins {
    sent: BTreeMap<Name, (OpCode, Vec<u8>)>,
    refused: BTreeSet<Name>,
    applied: BTreeSet<Name>,
    last_applied: BTreeMap<i64, i32>,
}

impl Origins {
    /// Notes that a client has sent a write.
    pub fn sent(&mut self, session: i64, xid: i32, op: OpCode, body: &[u8]) {
        assert!(self.sent.insert((session, xid), (op, body.to_vec())).is_none(), "xid {xid} is new");
    }

    /// Notes that a client was told that its write was refused.
    pub fn refused(&mut self, session: i64, xid: i32) {
        assert!(!self.applied.contains(&(session, xid)), "refused: {xid} of session {session:x} was applied");
        self.refused.insert((session, xid));
    }

    /// Checks a command that is applied. The server's own commands have xid 0. A `late` command,
    /// whose session has moved or ended, has no effect, and may come in any order.
    pub fn applied(&mut self, command: &Command<'_>, late: bool) {
        let (session, xid, op) = (command.session.0, command.xid, command.op);
        if xid == 0 {
            let own = matches!(
                op,
                OpCode::CreateSession | OpCode::ResumeSession | OpCode::CloseSession | OpCode::DeleteContainer
            );
            assert!(own, "invented: the server has asked for {op:?}");
            return;
        }
        let name = (session, xid);
        assert!(!self.refused.contains(&name), "refused: {op:?} {xid} of session {session:x} happens nevertheless");
        let sent = self.sent.get(&name).map(|(op, body)| (*op, body.as_slice()));
        // The leader appends its ruling to the client's request.
        let ruling_len = if op == OpCode::Reconfig { reconfig::RULING_LEN } else { 0 };
        let asked = &command.body[..command.body.len() - ruling_len];
        assert_eq!(sent, Some((op, asked)), "invented: {xid} of session {session:x}");
        assert!(self.applied.insert(name), "once: {op:?} {xid} of session {session:x} is applied twice");
        if late {
            return;
        }
        let last = self.last_applied.insert(session, xid).unwrap_or(0);
        assert!(last < xid, "session order: {xid} of session {session:x} is applied behind {last}");
    }
}
