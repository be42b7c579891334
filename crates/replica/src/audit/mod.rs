//! The audit log: which client changed, or tried to change, what. Commands are recorded while they
//! are applied, in as few bytes and as little time as possible; another thread formats the records
//! as lines ([`Lines`]) and writes them.
//!
//! As in ZooKeeper, every server logs the commands of its own clients, and the changes that happen
//! on every server: ephemeral znodes that end with their session. Source: `AuditHelper`,
//! `AuditEvent`, `DataTree.deleteNodes`, `AuthUtil.getUsers`.
//!
//! A record is a length (u32), then: doer (u8), success (u8), session (i64), operation (i32),
//! settings (u8), identities (buffer), the part of the request's body that lines need (buffer), and
//! the changes: kind (u8) and path (buffer) of each. Records are in memory only.

mod lines;

use bytes::BufMut;
use oxkeeper_proto::records::MultiHeader;
use oxkeeper_proto::{DecodeError, ErrorCode, Jute, OpClass, OpCode, Reader, SessionId};
use oxkeeper_state::{Change, ChangeKind, Command, Identities, Settings};

pub use lines::Lines;

/// Originator of a recorded command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doer {
    /// A client of this server requested it.
    Client,
    /// The server did it, because of the time or the end of a session.
    Server,
    /// The server itself started or stopped; the body has the line's fields.
    Process,
}

/// Records commands for the audit log.
#[derive(Debug, Default)]
pub struct Audit {
    /// Records that have not been taken yet.
    pub records: Vec<u8>,
    /// Changes of the current command.
    changes: Vec<u8>,
}

impl Audit {
    /// Records that the server itself starts or stops.
    pub fn process(&mut self, operation: &str, result: &str) {
        let fields = format!("operation={operation}\tresult={result}");
        let (session, settings, identities) = (SessionId::NONE, Settings::default(), Identities::default());
        let body = fields.as_bytes();
        let command = Command { from: None, session, xid: 0, op: OpCode::Ping, settings, identities, body };
        self.put(Doer::Process, result != "failure", &command, body);
    }

    pub(crate) fn changed(&mut self, change: &Change<'_>) {
        self.changes.put_u8(match change.kind {
            ChangeKind::Created => 0,
            ChangeKind::Deleted => 1,
            ChangeKind::DataChanged => 2,
        });
        Some(change.path.as_bytes()).encode(&mut self.changes);
    }

    /// Records a command that was applied or refused. `ours`: a client of this server waits for the
    /// answer, which has this `body`.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the operations that ZooKeeper writes down")]
    pub(crate) fn applied(&mut self, command: &Command<'_>, result: Result<(), ErrorCode>, ours: bool, body: &[u8]) {
        // ZooKeeper: a session that has moved gets no answer, and nothing is logged.
        let ours = ours && result != Err(ErrorCode::SessionMoved);
        match command.op {
            // ZooKeeper: logs nothing of containers and TTL znodes that the server deletes.
            OpCode::CloseSession | OpCode::DeleteContainer if !self.changes.is_empty() => {
                self.put(Doer::Server, true, command, &[]);
            }
            OpCode::Multi if ours => {
                let first = MultiHeader::decode(&mut Reader::new(body));
                let failed = first.is_ok_and(|header| header.op == OpCode::Error.wire() && !header.done);
                self.put(Doer::Client, result.is_ok() && !failed, command, command.body);
            }
            // The changes say everything.
            OpCode::Delete | OpCode::SetData if ours && result.is_ok() => self.put(Doer::Client, true, command, &[]),
            op if ours && op.class() == OpClass::Write && op != OpCode::CloseSession => {
                self.put(Doer::Client, result.is_ok(), command, command.body);
            }
            _ => {}
        }
        self.changes.clear();
    }

    fn put(&mut self, doer: Doer, succeeded: bool, command: &Command<'_>, body: &[u8]) {
        let (start, out) = (self.records.len(), &mut self.records);
        out.put_u32(0);
        out.put_slice(&[doer as u8, u8::from(succeeded)]);
        out.put_i64(command.session.0);
        out.put_i32(command.op.wire());
        out.put_u32(command.settings.0);
        Some(command.identities.0).encode(out);
        Some(body).encode(out);
        out.put_slice(&self.changes);
        let len = u32::try_from(out.len() - start - 4).expect("a command and its changes are shorter than 4 GiB");
        out[start..start + 4].copy_from_slice(&len.to_be_bytes());
    }
}

/// The record of one command.
struct Record<'a> {
    doer: Doer,
    succeeded: bool,
    session: SessionId,
    op: OpCode,
    settings: Settings,
    identities: Identities<'a>,
    body: &'a [u8],
    changes: Reader<'a>,
}

impl<'a> Record<'a> {
    /// Decodes the first record.
    fn decode(records: &mut Reader<'a>) -> Result<Record<'a>, DecodeError> {
        let mut reader = Reader::new(records.buffer()?.unwrap_or_default());
        let [doer, succeeded] = [reader.take(1)?[0], reader.take(1)?[0]];
        Ok(Record {
            doer: [Doer::Client, Doer::Server, Doer::Process][usize::from(doer)],
            succeeded: succeeded == 1,
            session: SessionId(i64::decode(&mut reader)?),
            op: OpCode::from_wire(i32::decode(&mut reader)?).ok_or(DecodeError::NotAllowed("operation"))?,
            settings: Settings(i32::decode(&mut reader)? as u32),
            identities: Identities(reader.buffer()?.unwrap_or_default()),
            body: reader.buffer()?.unwrap_or_default(),
            changes: reader,
        })
    }

    /// Returns the kinds and paths of the changes.
    fn changes(&self) -> impl Iterator<Item = (ChangeKind, &'a str)> + use<'a> {
        let mut reader = Reader::new(self.changes.rest());
        std::iter::from_fn(move || {
            let kind = reader.take(1).ok()?[0];
            let path = reader.buffer().ok()?.unwrap_or_default();
            let kind = [ChangeKind::Created, ChangeKind::Deleted, ChangeKind::DataChanged][usize::from(kind)];
            Some((kind, std::str::from_utf8(path).unwrap_or_default()))
        })
    }
}
