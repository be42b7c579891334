//! Applying one command: the dispatch over operations, and the effects of a command that succeeded.
//!
//! Source: `PrepRequestProcessor` (order of checks), `DataTree.processTxn` (effects),
//! `FinalRequestProcessor` (replies).

use std::borrow::Cow;
use std::sync::Arc;

use oxkeeper_proto::multi::{MULTI_END, MultiOp, decode_multi, encode_multi_error};
use oxkeeper_proto::records::{
    CreateRequest, CreateTtlRequest, DeleteRequest, MultiHeader, PathRecord, ReconfigRequest, SetAclRequest,
    SetDataRequest,
};
use oxkeeper_proto::{DecodeError, ErrorCode, Jute, OpCode, ServerId, SessionId, Zxid};

use crate::acl::AclList;
use crate::command::Command;
use crate::state::{State, next_zxid};
use crate::write::Write;

/// Kind of a change to a znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The znode was created; its parent has one child more.
    Created,
    /// The znode was deleted; its parent has one child less.
    Deleted,
    /// The data of the znode was set.
    DataChanged,
}

/// One change, as watchers need to know it.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Kind of the change.
    pub kind: ChangeKind,
    /// Path of the changed znode.
    pub path: &'a str,
    /// Transaction that made the change.
    pub zxid: Zxid,
    /// ACL of callers who may learn of the change; `None` allows everyone. For a deleted znode this
    /// is its last ACL.
    pub acl: Option<&'a AclList>,
    /// ACL of callers who may learn that the parent's children changed.
    pub parent_acl: Option<&'a AclList>,
}

/// Receiver of changes. It is called for each change in order, while commands are applied.
pub trait ChangeSink {
    /// Handles one change made by the command being applied.
    fn changed(&mut self, change: Change<'_>);
}

/// Ignores all changes: for replay and tests.
impl ChangeSink for () {
    fn changed(&mut self, _change: Change<'_>) {}
}

/// A change before it is announced: in a multi, all changes wait until the last operation has
/// succeeded.
#[derive(Debug)]
pub(crate) struct Effect<'p> {
    pub(crate) kind: ChangeKind,
    pub(crate) path: Cow<'p, str>,
    pub(crate) acl: Option<Arc<AclList>>,
    pub(crate) parent_acl: Option<Arc<AclList>>,
    /// Change of the data's length, bytes.
    pub(crate) bytes: i64,
}

impl Effect<'_> {
    pub(crate) fn announce(&self, zxid: Zxid, watcher: &mut dyn ChangeSink) {
        watcher.changed(Change {
            kind: self.kind,
            path: &self.path,
            zxid,
            acl: self.acl.as_deref(),
            parent_acl: self.parent_acl.as_deref(),
        });
    }

    pub(crate) fn into_owned(self) -> Effect<'static> {
        Effect {
            kind: self.kind,
            path: Cow::Owned(self.path.into_owned()),
            acl: self.acl,
            parent_acl: self.parent_acl,
            bytes: self.bytes,
        }
    }
}

impl State {
    /// Applies one command, packed at `time_ms` (Unix). The command takes the next zxid whether it
    /// succeeds or fails; only a sync, the resumption of a session, and a command with a malformed
    /// body take none. Appends the reply's body to `body` and announces changes to `watcher`.
    ///
    /// *Errors*: the code for the reply's header; the state and `body` are then unchanged. A failed
    /// multi is not an error: its codes are in its body.
    pub fn apply(
        &mut self,
        command: &Command<'_>,
        time_ms: i64,
        body: &mut Vec<u8>,
        watcher: &mut dyn ChangeSink,
    ) -> Result<(), ErrorCode> {
        let before = self.zxid;
        // ZooKeeper: neither operation is a transaction.
        if !matches!(command.op, OpCode::Sync | OpCode::ResumeSession) {
            self.zxid = next_zxid(before);
        }
        self.tell_time(time_ms);
        let start = body.len();
        let result = self.dispatch(command, body, watcher);
        if result.is_err() {
            body.truncate(start);
        }
        // ZooKeeper: takes a zxid only once the body is decoded.
        if result == Err(ErrorCode::Marshalling) && is_malformed(command) {
            self.zxid = before;
        }
        if self.zxid != before {
            self.history.note(self.zxid.0, self.tree.digest());
        }
        self.sum.applied(self.level, self.zxid.0);
        result
    }

    fn dispatch(
        &mut self,
        command: &Command<'_>,
        body: &mut Vec<u8>,
        watcher: &mut dyn ChangeSink,
    ) -> Result<(), ErrorCode> {
        self.check_owner(command)?;
        self.check_expiry(command)?;
        let mut write = Write::new(self, command, watcher);
        match command.op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
                write.create(command.op, decoded(command.body)?, body)
            }
            OpCode::CreateTtl => write.create_ttl(decoded(command.body)?, body),
            OpCode::Delete => write.delete(decoded(command.body)?),
            OpCode::SetData => write.set_data(decoded(command.body)?, body),
            OpCode::SetAcl => write.set_acl(decoded(command.body)?, body),
            OpCode::Multi => self.multi(command, body, watcher),
            OpCode::Reconfig => write.reconfig(command, body),
            OpCode::DeleteContainer => write.reap(command.body),
            OpCode::CreateSession => {
                let timeout_ms = decoded(command.body)?;
                self.sessions.open(command.session, timeout_ms, asking_server(command));
                Ok(())
            }
            OpCode::ResumeSession => {
                let timeout_ms = decoded(command.body)?;
                let resumed = self.sessions.resume(command.session, timeout_ms, asking_server(command));
                if resumed { Ok(()) } else { Err(ErrorCode::SessionExpired) }
            }
            OpCode::CloseSession => {
                write.close_session();
                Ok(())
            }
            OpCode::Sync => {
                // A sync is a barrier: nothing changes, and the path is echoed.
                decoded::<PathRecord<'_>>(command.body)?.encode(body);
                Ok(())
            }
            OpCode::Exists
            | OpCode::GetData
            | OpCode::GetAcl
            | OpCode::GetChildren
            | OpCode::Ping
            | OpCode::GetChildren2
            | OpCode::Check
            | OpCode::CheckWatches
            | OpCode::RemoveWatches
            | OpCode::MultiRead
            | OpCode::Auth
            | OpCode::SetWatches
            | OpCode::Sasl
            | OpCode::GetEphemerals
            | OpCode::GetAllChildrenNumber
            | OpCode::SetWatches2
            | OpCode::AddWatch
            | OpCode::WhoAmI
            | OpCode::Error => Err(ErrorCode::Unimplemented),
        }
    }

    /// Checks that the command comes from the server that owns the session. In an ensemble only
    /// that server acts for the session. Source: `SessionTrackerImpl.checkSession`.
    ///
    /// ZooKeeper obeys a closeSession that arrives late through a former owner; here the resumed
    /// session lives on.
    fn check_owner(&self, command: &Command<'_>) -> Result<(), ErrorCode> {
        let Some(number) = command.from else { return Ok(()) };
        let owner = self.sessions.get(command.session).map(|session| session.owner);
        if owner.is_none_or(|owner| owner == number.server) || command.op == OpCode::ResumeSession {
            return Ok(());
        }
        // ZooKeeper: checks the body first.
        Err(if is_malformed(command) { ErrorCode::Marshalling } else { ErrorCode::SessionMoved })
    }

    /// Refuses to expire a session that was resumed after the leader took it for expired: its
    /// client was told that the session lives. A closeSession of the server's own, which carries no
    /// identities, says how often the session had been resumed by then. One without that count,
    /// from an older log, is obeyed.
    fn check_expiry(&self, command: &Command<'_>) -> Result<(), ErrorCode> {
        if command.op != OpCode::CloseSession || command.from.is_some() || !command.identities.0.is_empty() {
            return Ok(());
        }
        let (known, session) = (command.body.try_into().map(u32::from_be_bytes), self.sessions.get(command.session));
        match (known, session) {
            (Ok(known), Some(session)) if session.resumes > known => Err(ErrorCode::SessionMoved),
            _ => Ok(()),
        }
    }

    /// Returns the body of the closeSession for an expired session: the number of resumptions that
    /// the leader knows of.
    pub fn expiry(&self, session: SessionId) -> [u8; 4] {
        self.sessions.get(session).map_or(0, |session| session.resumes).to_be_bytes()
    }

    /// Applies all operations of a multi or none. Each operation sees the changes of those before
    /// it; the first failure undoes them.
    fn multi(
        &mut self,
        command: &Command<'_>,
        body: &mut Vec<u8>,
        watcher: &mut dyn ChangeSink,
    ) -> Result<(), ErrorCode> {
        let ops = decode_multi(command.body).map_err(|_| ErrorCode::Marshalling)?;
        // ZooKeeper: a null path is a NullPointerException before any operation is tried.
        if ops.iter().any(|op| is_read(op) || op_path(op).is_none()) {
            return Err(ErrorCode::Marshalling);
        }
        let start = body.len();
        let count = ops.len();
        let mut write = Write::transaction(self, command, watcher);
        for (position, op) in ops.into_iter().enumerate() {
            if let Err(code) = write.multi_op(op, body) {
                write.roll_back();
                // ZooKeeper: an exception that is not a KeeperException fails the whole request instead of
                // its operation.
                if code == ErrorCode::Marshalling {
                    return Err(code);
                }
                body.truncate(start);
                put_failed_results(position, code, count, body);
                return Ok(());
            }
        }
        write.commit();
        MULTI_END.encode(body);
        Ok(())
    }

    /// Returns the number of znodes that would end with a session, for its log line.
    pub fn ephemerals_of(&self, session: SessionId) -> usize {
        self.sessions.get(session).map_or(0, |session| session.ephemerals.len())
    }
}

fn asking_server(command: &Command<'_>) -> ServerId {
    command.from.map_or(ServerId(0), |number| number.server)
}

/// Decodes a body as the record its operation needs.
pub(crate) fn decoded<'a, T: Jute<'a>>(body: &'a [u8]) -> Result<T, ErrorCode> {
    T::from_bytes(body).map_err(|_| ErrorCode::Marshalling)
}

/// Returns whether a body cannot be decoded as its operation needs. For a multi only a null ACL
/// counts: its other defects are found after it took its zxid.
fn is_malformed(command: &Command<'_>) -> bool {
    fn fails<'a, T: Jute<'a>>(body: &'a [u8]) -> bool {
        T::from_bytes(body).is_err()
    }
    let body = command.body;
    #[expect(clippy::wildcard_enum_match_arm, reason = "the operations whose bodies clients write and the log keeps")]
    match command.op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => fails::<CreateRequest<'_>>(body),
        OpCode::CreateTtl => fails::<CreateTtlRequest<'_>>(body),
        OpCode::Delete => fails::<DeleteRequest<'_>>(body),
        OpCode::SetData => fails::<SetDataRequest<'_>>(body),
        OpCode::SetAcl => fails::<SetAclRequest<'_>>(body),
        OpCode::Reconfig => fails::<ReconfigRequest<'_>>(body),
        OpCode::Multi => matches!(decode_multi(body), Err(DecodeError::Null(_))),
        _ => false,
    }
}

fn is_read(op: &MultiOp<'_>) -> bool {
    matches!(op, MultiOp::GetData(_) | MultiOp::GetChildren(_))
}

fn op_path<'o>(op: &'o MultiOp<'_>) -> Option<&'o str> {
    match op {
        MultiOp::Create(_, request) => request.path.as_deref(),
        MultiOp::CreateTtl(request) => request.path.as_deref(),
        MultiOp::Delete(request) => request.path.as_deref(),
        MultiOp::SetData(request) => request.path.as_deref(),
        MultiOp::Check(request) => request.path.as_deref(),
        MultiOp::GetData(request) | MultiOp::GetChildren(request) => request.path.as_deref(),
    }
}

/// Appends the results of a failed multi: 0 before the failure, the code at the failure, and
/// `RuntimeInconsistency` after it.
fn put_failed_results(failed: usize, code: ErrorCode, count: usize, body: &mut Vec<u8>) {
    for position in 0..count {
        let err = match position.cmp(&failed) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => code.wire(),
            std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency.wire(),
        };
        encode_multi_error(err, body);
    }
    MULTI_END.encode(body);
}

/// Appends the header in front of one result of a multi that succeeded.
pub(crate) fn put_result_header(op: OpCode, body: &mut Vec<u8>) {
    MultiHeader { op: op.wire(), done: false, err: 0 }.encode(body);
}
