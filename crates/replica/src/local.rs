//! Sessions that only this server knows: those of read-only mode, and, if `localSessionsEnabled` is
//! set, every new one.
//!
//! Such a session begins, expires and ends without the ensemble; its writes are agreed on like any
//! others, but it owns nothing. Before its first ephemeral znode it becomes a session of the
//! ensemble, if the configuration allows that: a createSession precedes the create. Invariant: a
//! session is in one of the two sets of clocks, or on its way from this one to the other. Source:
//! `UpgradeableSessionTracker`, `QuorumZooKeeperServer.checkUpgradeSession`.

use oxkeeper_proto::multi::{MultiOp, decode_multi};
use oxkeeper_proto::op::CreateMode;
use oxkeeper_proto::records::{CreateRequest, RequestHeader};
use oxkeeper_proto::{Jute, OpCode};
use oxkeeper_state::{Command, Identities};

use crate::connection::{Connection, End, Flow, Turn};
use crate::delivery::{Answered, Origin};

/// Sessions that only this server knows, besides those of read-only mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalSessions {
    /// No others.
    #[default]
    Off,
    /// New sessions, for life.
    Fixed,
    /// New sessions, until they create an ephemeral znode.
    Upgrading,
}

impl Connection {
    /// Begins a session without the ensemble.
    pub(crate) fn begin_local(&mut self, turn: &mut Turn<'_>) {
        let (session, heard) = turn.shared.sessions.lock().begin_local(self.timeout_ms, self.id, turn.now_ms);
        (self.session, self.heard, self.local) = (session, Some(heard), true);
        self.open(turn.out);
        let (op, zxid, received_ms) = (OpCode::CreateSession, turn.shared.state.zxid().0, self.arrived_ms);
        self.counting(turn.stats).opened(Answered { op, xid: 0, zxid, received_ms }, turn.now_ms);
    }

    /// Handles closeSession of a session that only this server knows.
    pub(crate) fn end_local(&mut self, header: RequestHeader, turn: &mut Turn<'_>) -> Flow {
        turn.shared.sessions.lock().close_local(self.session);
        let zxid = turn.shared.state.zxid().0;
        self.put_reply(header, zxid, turn, |_, _, _| Ok(()));
        Flow::End(End::SessionClosed)
    }

    /// Makes the session one of the ensemble if `body` requests an ephemeral znode.
    pub(crate) fn upgrade_for(&mut self, op: OpCode, body: &[u8], turn: &mut Turn<'_>) {
        let upgrades = self.local && turn.config.local_sessions == LocalSessions::Upgrading;
        if !upgrades || !creates_ephemeral(op, body) {
            return;
        }
        turn.shared.sessions.lock().local.close(self.session);
        let (session, settings, timeout) = (self.session, turn.config.settings, self.timeout_ms.to_be_bytes());
        let (op, identities) = (OpCode::CreateSession, Identities(&self.identities));
        let command = Command { from: None, session, xid: 0, op, settings, identities, body: &timeout };
        command.encode(&mut turn.proposals.commands);
        // No client waits for an answer to this.
        turn.proposals.origins.push(Origin::own(self.arrived_ms));
        // Once it is agreed on, the session has another clock.
        (self.local, self.heard) = (false, None);
    }
}

/// ZooKeeper: looks at create and create2 alone. A container or a TTL znode is not ephemeral,
/// whatever else the request asks for.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other request makes an ephemeral")]
fn creates_ephemeral(op: OpCode, body: &[u8]) -> bool {
    let asks = |request: &CreateRequest<'_>| CreateMode::from_wire(request.flags).is_some_and(CreateMode::is_ephemeral);
    match op {
        OpCode::Create | OpCode::Create2 => CreateRequest::from_bytes(body).is_ok_and(|request| asks(&request)),
        OpCode::Multi => decode_multi(body).is_ok_and(|ops| {
            let is = |op: &MultiOp<'_>| matches!(op, MultiOp::Create(OpCode::Create | OpCode::Create2, request) if asks(request));
            ops.iter().any(is)
        }),
        _ => false,
    }
}
